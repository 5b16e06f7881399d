"""Says what a trained network sees in an image, or in every image of a folder: its most probable classes, by name.

    python -m experiments.predict --network=runs/demo/trials/KEY --images=photo.jpg
    python -m experiments.predict --network=alexnet.pth --images=DIR --top=3 --csv=predictions.csv
    python -m experiments.predict --network=WORKDIR --step=4000 --images=DIR

--network=PATH names the workdir of a training or a file of weights, --step=N an earlier state of a training, --mean=FILE the mean image
that goes with a .caffemodel. --images=PATH is a file that Pillow reads, or a folder that is walked down, whatever its folders are called;
images are scaled as in the training, and the centre is seen. A line for each image has its --top=K classes with the softmax of the
network's outputs; --csv=FILE.csv keeps them, one row for each image and class.
"""

import csv
import io
import pathlib
import sys

import numpy as np
from absl import flags

from cnn_research import checkpoints, classes, files, tasks
from cnn_research import config as configs
from cnn_research.data import folders, images, preprocessing, stream
from cnn_research.errors import ConfigError, SourceError
from experiments.launch import command, plans

FLAGS = flags.FlagValues()  # of this command alone, so that commands can be imported together
_NETWORK = flags.DEFINE_string('network', '', 'A workdir, or a file of weights.', flag_values=FLAGS)
_STEP = flags.DEFINE_integer(
    'step', 0, 'The step of a checkpoint; 0 = that of the result, or the newest.', lower_bound=0, flag_values=FLAGS
)
_MEAN = flags.DEFINE_string('mean', '', 'A file of the mean image of a .caffemodel.', flag_values=FLAGS)
_IMAGES = flags.DEFINE_string('images', '', 'An image, or a folder of images.', flag_values=FLAGS)
_TOP = flags.DEFINE_integer('top', None, 'How many classes are named; by default five.', lower_bound=1, flag_values=FLAGS)
_CSV = flags.DEFINE_string('csv', '', 'A file to write, NAME.csv.', flag_values=FLAGS)
_CHUNK = 200  # images that are decoded before the network sees them
_COLUMNS = ('image', 'rank', 'class', 'meaning', 'probability')


def _named(trained: checkpoints.Trained) -> tuple[str, ...]:
    return trained.class_names or tuple(f'class {number}' for number in range(trained.architecture.num_classes))


def _notes(trained: checkpoints.Trained, headers) -> list[str]:
    """What should be said beside the numbers."""
    notes, loss = [], trained.config.loss.name
    if not trained.class_names:
        notes.append("the network does not know its classes' names: they are called by number")
    if loss != 'softmax':
        notes.append(f'it was trained with loss.name={loss}: the softmax of its outputs orders the classes and is no probability')
    grey = sum(header.channels == 3 for header in headers) if trained.architecture.input_shape[2] == 1 else 0
    if grey:
        notes.append(f'{grey} of {len(headers)} images are in colour, and the network reads grey levels: they are made grey')
    return notes


def _picture(trained: checkpoints.Trained, path: pathlib.Path) -> np.ndarray | None:
    """An image as the network is given it, preprocessed and then scaled: alone, since many large photographs at once would not fit in
    memory. None, said aloud, where it cannot be read."""
    try:
        picture = images.decoded(path, trained.architecture.input_shape[2], str(path), upright=True)
    except SourceError as error:
        print(f'predict: {error}', file=sys.stderr)
        return None
    picture = preprocessing.preprocessed(picture, trained.config.data.preprocessing)
    side = tasks.resize_of(trained.config, picture.shape, trained.image_shape)
    return stream.resized(picture, side) if side else picture


def _probabilities(trained: checkpoints.Trained, pictures: list[np.ndarray]) -> np.ndarray:
    """(N, classes) of images that are preprocessed and scaled: those of one size together."""
    trained = trained._replace(config=configs.update(trained.config, {'data.preprocessing': 'none'}))
    sizes = [picture.shape for picture in pictures]
    found = np.zeros((len(pictures), trained.architecture.num_classes), np.float32)
    for size in sorted(set(sizes)):
        chosen = [place for place, one in enumerate(sizes) if one == size]
        found[chosen] = trained.predict([pictures[place] for place in chosen])
    return found


def _top(trained: checkpoints.Trained) -> int:
    """How many classes are named."""
    most = trained.architecture.num_classes
    if (_TOP.value or 0) > most:
        raise ConfigError(f'--top={_TOP.value}, but {trained.architecture.name} tells {most} classes apart; ask for 1 to {most}.')
    return _TOP.value or min(5, most)


def main() -> None:
    if not _NETWORK.value or not _IMAGES.value:
        raise ConfigError('name the network and the images: --network=WORKDIR --images=PATH.')
    if _CSV.value and pathlib.Path(_CSV.value).suffix != '.csv':
        raise ConfigError(f'--csv={_CSV.value!r} is no name of a table; end it in .csv.')
    trained = checkpoints.trained(_NETWORK.value, _STEP.value or None, _MEAN.value or None)
    top, names = _top(trained), _named(trained)
    folder, headers, notes = folders.unsorted(_IMAGES.value)
    if _CSV.value:
        files.check_writable(pathlib.Path(_CSV.value).parent)
    plans.say([*trained.notes, *notes, *_notes(trained, headers.values())])
    found, rows, lost = list(headers), [], 0
    for start in range(0, len(found), _CHUNK):
        part = found[start : start + _CHUNK]
        pictures = {file: _picture(trained, folder / file) for file in part}
        pictures = {file: picture for file, picture in pictures.items() if picture is not None}
        lost += len(part) - len(pictures)
        for file, probabilities in zip(pictures, _probabilities(trained, list(pictures.values())), strict=True):
            best = np.argsort(-probabilities, kind='stable')[:top]  # of equal ones the first, as argmax has it
            said = ', '.join(f'{classes.meaning(names[number])} {100 * probabilities[number]:.1f} %' for number in best)
            print(f'{images.plain(file)}: {said}', flush=True)
            for rank, number in enumerate(best, 1):
                name = names[number]
                rows.append((images.plain(file), rank, name, classes.meaning(name), f'{probabilities[number]:.6g}'))
    if _CSV.value:
        text = io.StringIO()
        csv.writer(text, lineterminator='\n').writerows([_COLUMNS, *rows])
        files.write(_CSV.value, text.getvalue())
        print(f'table: {_CSV.value}')
    if lost:
        raise SourceError(f'{lost} of {len(found)} images could not be read and are left out.')


if __name__ == '__main__':
    command.run_with_flags('predict', main, __doc__, FLAGS)
