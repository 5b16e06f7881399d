"""Correspondence (Zeiler & Fergus 2013, section 4.3 and Table 1): does hiding the same part of different objects change features alike?

    python -m experiments.correspondence
    python -m experiments.correspondence --config.network=WORKDIR,WORKDIR,WORKDIR
    python -m experiments.correspondence --config.network=WORKDIR --config.look.data=folder:DIR --config.correspondence.boxes=boxes.csv

The boxes are a file of lines 'image,part,top,left,height,width', in px of what the network sees, under such a heading: the images of one
kind of object, each with every part; the part 'object' is where random boxes fall, by default all of the image. Clutter knows the boxes of
its digits: there the parts are the quarters of a digit, and images of one class are compared. Leaves report.html, a figure and arrays.npz.
"""

import numpy as np

from cnn_research import checkpoints, tasks
from cnn_research.data import clutter
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.looking.correspondence import OBJECT, RANDOM, correspondence, read_boxes
from cnn_research.studies.looking.figures import correspondence as drawing
from experiments.launch import command, gallery, looking, outcome

FIELDS = (
    *looking.FIELDS,
    Field('correspondence.boxes', '', "a file of boxes: lines 'image,part,top,left,height,width'; '' = the digits of clutter"),
    Field('correspondence.taps', 'layer5,layer7', 'where features are compared'),
    Field('correspondence.many', 20, 'images of each class of clutter', low=2),
    Field('correspondence.colour', 127.5, 'grey level of what hides', low=0, high=255),
)
# Share of a digit's box from the top and from the left at which a quarter begins.
_QUARTERS = {'upper left': (0, 0), 'upper right': (0, 1), 'lower left': (1, 0), 'lower right': (1, 1)}


def _quarters(split: str, many: int) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """For each class of clutter the first `many` images of a split, and the boxes of their digits' quarters."""
    labels = clutter.digits(split)[1]
    chosen = [np.flatnonzero(labels == label)[:many] for label in range(10)]
    groups = []
    for images in chosen:
        whole = clutter.boxes(split, images)
        half = whole[:, 2:] // 2
        parts = {part: np.concatenate([whole[:, :2] + half * place, half], axis=1) for part, place in _QUARTERS.items()}
        groups.append((images, parts | {OBJECT: whole}))
    return groups


def _groups(given, architecture, source) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    options = given.options.correspondence
    if options.boxes:
        return [read_boxes(options.boxes, architecture.input_shape, source.num_examples)]
    if source.name != 'clutter' or architecture.input_shape[:2] != (clutter.SIDE, clutter.SIDE):
        raise ConfigError(
            f"correspondence needs --config.correspondence.boxes=FILE: only clutter's digits have known boxes, {source.name} none."
        )
    return _quarters(source.split, min(options.many, source.num_examples // 10))


def check(given, architecture, source) -> None:
    """ResearchError for a tap or boxes that are not there."""
    looking.taps(architecture, given.options.correspondence.taps, 'correspondence.taps')
    _groups(given, architecture, source)


def _signs(trained: checkpoints.Trained, seen, taps: list[str], colour: float) -> dict[str, dict[str, np.ndarray]]:
    """{part, last 'random': {tap: sign changes (N,)}} of one network; random: the mean over boxes of every part's size."""
    signs: dict[str, dict[str, list]] = {}
    for pictures, boxes in seen:
        parts = {part: box for part, box in boxes.items() if part != OBJECT}
        found = correspondence(tasks.network(trained.config), trained.variables, pictures.raw, parts, boxes[OBJECT], taps, 0, colour)
        for tap in taps:
            for part in parts:
                signs.setdefault(part, {}).setdefault(tap, []).append(found[part][tap].part)
            elsewhere = np.mean([found[part][tap].elsewhere.mean(0) for part in parts], axis=0)
            signs.setdefault(RANDOM, {}).setdefault(tap, []).append(elsewhere)
    signs[RANDOM] = signs.pop(RANDOM)  # last
    return {part: {tap: np.concatenate(values) for tap, values in of.items()} for part, of in signs.items()}


def draw(given: command.Command, looked: looking.Looked, shelf: Shelf) -> outcome.Page:
    options, architecture = given.options.correspondence, looked.trained.architecture
    taps, groups = looking.taps(architecture, options.taps, 'correspondence.taps'), _groups(given, architecture, looked.source)
    seen = [(gallery.pictures(looked, images), boxes) for images, boxes in groups]
    colour = options.colour
    trained = [looked.trained, *(looking.network(given, home) for home in looking.workdirs(given)[1:])]
    changes: dict[str, dict[str, np.ndarray]] = {}
    found = [_signs(one, seen, taps, colour) for one in trained]
    for part in found[0]:
        changes[part] = {tap: np.stack([network[part][tap] for network in found]) for tap in taps}
    count = sum(len(images) for images, _ in groups)
    pictures, boxes = seen[0]
    figure = drawing.hidden_parts(pictures.seen[:6], {part: box[:6] for part, box in boxes.items()}, OBJECT, RANDOM, colour)
    caption = f'Some of the {count} images of {looked.images}, and the parts that are hidden; last a random box in the object (outlined).'
    sections = [('What is hidden', shelf.figure('parts', figure, caption))]
    sections.append(('Sign changes', drawing.tables_of(shelf, changes, looked.source.name == 'clutter')))
    lead = (
        f'Features of {count} images of {looked.source.name} while a part of each is hidden; {len(found)} network{"s" * (len(found) > 1)}.'
    )
    arrays = {f'{part} {tap}': values for part, of in changes.items() for tap, values in of.items()}
    return outcome.Page('Correspondence', lead, sections, arrays)


def main(given: command.Command) -> None:
    looking.run(given, draw, check, several=True)


if __name__ == '__main__':
    command.run('correspondence', main, __doc__, 'configs/looking.py:clutter', FIELDS)
