"""Writes what a trained network makes of every example of a source, at any taps, for other programs: .npz or ArrayRecord.

    python -m experiments.extract --network=runs/demo/trials/KEY --taps=layer5,layer7 --out=features
    python -m experiments.extract --network=alexnet.pth --data=folder:DIR --split=train --taps=layer5.relu --side=2 --out=features
    python -m experiments.extract --network=WORKDIR --data=cifar10 --split='train[:10%]' --format=array_record --out=features

--network=PATH names the workdir of a training or a file of weights, --step=N an earlier state of a training, --mean=FILE the mean image
that goes with a .caffemodel. --data and --split name the source, by default the test images of the network's training; --taps what is kept,
by default the layer below the last, `pixels` being the image as the network reads it, averaged to at most 32 x 32 px; --side=N averages
larger maps to N x N px.
Leaves OUT/extraction.json, README.md and shards of --shard examples, by default of about 100 MB; the same command goes on where it was
stopped. --format=array_record is TFDS's layout.
"""

import pathlib

from absl import flags

from cnn_research import checkpoints, extraction, features, files, memory, tasks
from cnn_research.data import preprocessing
from cnn_research.data.sources import open_source
from cnn_research.errors import ConfigError
from experiments.launch import command, looking, plans

FLAGS = flags.FlagValues()  # of this command alone, so that commands can be imported together
_NETWORK = flags.DEFINE_string('network', '', 'A workdir, or a file of weights.', flag_values=FLAGS)
_STEP = flags.DEFINE_integer(
    'step', 0, 'The step of a checkpoint; 0 = that of the result, or the newest.', lower_bound=0, flag_values=FLAGS
)
_MEAN = flags.DEFINE_string('mean', '', 'A file of the mean image of a .caffemodel.', flag_values=FLAGS)
_DATA = flags.DEFINE_string('data', '', 'The source; by default the one of the training.', flag_values=FLAGS)
_SPLIT = flags.DEFINE_string('split', '', 'Its split; by default the one that the training reports on.', flag_values=FLAGS)
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'Folder of the TFDS sets; by default the one of the training.', flag_values=FLAGS)
_TAPS = flags.DEFINE_string('taps', '', 'Taps, separated by commas; by default the layer below the last.', flag_values=FLAGS)
_SIDE = flags.DEFINE_integer('side', 0, 'Larger maps are averaged to so many px; 0 = whole.', lower_bound=0, flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', '', 'The folder to write.', flag_values=FLAGS)
_FORMAT = flags.DEFINE_enum('format', 'npz', extraction.FORMATS, 'What the shards are.', flag_values=FLAGS)
_SHARD = flags.DEFINE_integer('shard', 0, 'Examples of one file; 0 = as many as take 100 MB.', lower_bound=0, flag_values=FLAGS)


def _source(trained: checkpoints.Trained):
    config = trained.config
    if not _DATA.value and pathlib.Path(_NETWORK.value).is_file():
        raise ConfigError(f'{_NETWORK.value} does not say on which images it was trained: name a source, --data=folder:DIR.')
    own = not _DATA.value or tasks.same_data(config, _DATA.value, trained.data)
    split = _SPLIT.value or (config.data.test if own else 'test')
    known = trained.class_names or None if own else None
    found = open_source(_DATA.value or config.data.name, split, _DATA_DIR.value or config.data.dir or None, known)
    return preprocessing.applied(found, config.data.preprocessing)


def _taps(trained: checkpoints.Trained) -> list[str]:
    layers = trained.architecture.layers
    return looking.listed(_TAPS.value, 'taps') or [layers[-2].name if len(layers) > 1 else features.PIXELS]


def main() -> None:
    if not _NETWORK.value or not _OUT.value:
        raise ConfigError('name the network and the folder: --network=WORKDIR --out=DIR.')
    trained, folder = checkpoints.trained(_NETWORK.value, _STEP.value or None, _MEAN.value or None), pathlib.Path(_OUT.value)
    source = _source(trained)
    plan = extraction.plan(trained, source, _taps(trained), _FORMAT.value, _SHARD.value, _SIDE.value)
    extraction.begun(plan, folder)
    files.check_writable(folder)
    memory.batch(trained.architecture, 1)  # before anything is allocated
    plans.say([*trained.notes, *source.notes])
    taps = ', '.join(f'{tap} {"x".join(map(str, shape))}' for tap, shape in plan.taps.items())
    print(f'[extract] {source.num_examples:,} examples of {source.name} ({source.split}): {taps}; {plan.bytes / 1e6:,.1f} MB', flush=True)
    command.keep_compiled()
    extraction.extract(plan, folder, command.stopper(), lambda line: print(f'[extract] {line}', flush=True))
    command.interruptible()
    print(f'features: {folder / extraction.RECORD}')


if __name__ == '__main__':
    command.run_with_flags('extract', main, __doc__, FLAGS)
