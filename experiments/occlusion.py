"""Occlusion (Zeiler & Fergus 2013, section 4.2 and Fig. 7): what a network still sees when a grey square hides a part of the image.

    python -m experiments.occlusion
    python -m experiments.occlusion --config.network=WORKDIR --config.look.images=3,14,15 --config.occlusion.size=10
    python -m experiments.occlusion --config.network=alexnet.pth --config.look.data=folder:DIR --config.occlusion.stride=8

The square is slid over each image. Drawn are, for every place of it, the summed activation of the map of one layer that is strongest on the
clean image, that map's projection on this and on other images, the probability of the true class, and the most probable class. On clutter,
where the digit's box is known, many images say how much of the drop falls inside the box. Leaves report.html, figures and arrays.npz.
"""

import numpy as np

from cnn_research.analysis import occlusion, projection
from cnn_research.config import Field
from cnn_research.data import augment, clutter
from cnn_research.models.network import Network, check_taps
from cnn_research.reporting import occlusion as drawing
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table
from experiments import command, looking

FIELDS = (
    *looking.FIELDS,
    looking.IMAGES,
    Field('occlusion.size', 0, 'side of the square in px; 0 = a quarter of the image', low=0),
    Field('occlusion.stride', 1, 'px between its places', low=1),
    Field('occlusion.colour', 127.5, 'grey level of the square', low=0, high=255),
    Field('occlusion.tap', 'layer5', 'whose maps are watched'),
    Field('occlusion.many', 100, 'images of clutter for the share inside the box', low=1),
)
OTHERS = 3  # images beside each, as in the paper's panel (c)


def _projections(looked: looking.Looked, tap: str, number: int, raw, first: int) -> np.ndarray:
    """(1 + OTHERS, h, w, C): the map projected down from image `first` of raw, then from the others in which it is strongest."""
    down = Network(projection.projecting(looked.trained.architecture, 'deconvnet'))
    seen = augment.prepare(raw, looked.variables['preprocessing'], looked.trained.architecture.input_shape)
    kept = looked.network.apply({'params': looked.variables['params']}, seen, taps=(tap,), method='features')[tap]
    strength = np.asarray(kept[..., number].reshape(len(raw), -1).sum(1))
    order = [first, *[index for index in np.argsort(-strength, kind='stable') if index != first][:OTHERS]]
    return np.asarray(projection.project_maps(down, looked.variables, seen[np.array(order)], tap, np.full(len(order), number)))


def _confined(looked: looking.Looked, square, tap: str, count: int) -> dict:
    """Whole-set numbers on the first images of clutter's split, whose boxes are known."""
    chosen = np.arange(min(count, looked.source.num_examples))
    images, labels, boxes = clutter.examples(looked.source.split, chosen)
    found = occlusion.occlude(looked.network, looked.variables, images, labels, tap, square._replace(stride=max(2, square.stride)))
    share, chance = occlusion.confinement(found, boxes).means()
    return {'images': len(chosen), 'share': 100 * share, 'chance': 100 * chance}


def check(given, architecture, source) -> None:
    """ResearchError for an image, a tap or a way down that is not there."""
    looking.numbers(given, source)
    check_taps(architecture, [given.options.occlusion.tap])
    projection.projecting(architecture, 'deconvnet')


def draw(given: command.Command, looked: looking.Looked, shelf: Shelf) -> looking.Page:
    options = given.options.occlusion
    pictures = looking.pictures(looked, looking.numbers(given, looked.source))
    size = options.size or max(2, looked.trained.architecture.input_shape[0] // 4)
    square = occlusion.Square(size, options.stride, options.colour)
    found = occlusion.occlude(looked.network, looked.variables, pictures.raw, pictures.labels, options.tap, square)
    examples = [
        drawing.Example(
            image,
            int(pictures.labels[index]),
            int(found.number[index]),
            float(found.clean.probability[index]),
            found.rows,
            found.columns,
            *(array[index] for array in found.under),
            _projections(looked, options.tap, int(found.number[index]), pictures.raw, index),
        )
        for index, image in enumerate(pictures.seen)
    ]
    caption = (
        f'{looked.name} on {looked.images}, images {given.options.look.images}: a square of {size} px of '
        f'grey {options.colour:g}, {options.stride} px from place to place, overhanging at the borders. The map is that of {options.tap} '
        'with the largest sum on the clean image; projections are by deconvnet, '
        f'response normalization passed through, {drawing.SCALING}.'
    )
    drawn = shelf.figure('occlusion', drawing.occlusion_panels(examples, looked.classes, size, options.tap, looked.truth), caption)
    rows = [
        {
            'image': name,
            'clean': 100 * one.clean,
            'lowest': 100 * float(one.probability.min()),
            'fooled': 100 * float(np.mean(one.predicted != one.true)),
        }
        for name, one in zip(pictures.names, examples, strict=True)
    ]
    columns = [
        Column('image'),
        Column('clean', f'p({looked.truth}), %', '.1f'),
        Column('lowest', 'lowest under the square, %', '.1f'),
        Column('fooled', 'places where another class wins, %', '.1f'),
    ]
    drawn += shelf.table('occlusion', Table(columns, rows, f'Under a square of {size} px.'))
    sections, lead = [('Panels', drawn)], f'A square of {size} px slid over {len(rows)} images of {looked.source.name}.'
    if looked.source.name == 'clutter' and looked.labelled:
        row = _confined(looked, square, options.tap, options.many)
        lead += f" Of the drop in p(true class), {row['share']:.0f} % falls inside the digit's box (chance: {row['chance']:.0f} %)."
        columns = [Column('images'), Column('share', 'drop inside the box, %', '.1f'), Column('chance', 'chance, %', '.1f')]
        sections.append(('How much of the drop is inside the box', shelf.table('box', Table(columns, [row], 'Means over images.'))))
    arrays = {'rows': found.rows, 'columns': found.columns, 'map': found.number, **found.under._asdict()}
    return looking.Page('Occlusion', lead, sections, arrays)


def main(given: command.Command) -> None:
    looking.run(given, draw, check)


if __name__ == '__main__':
    command.run('occlusion', main, __doc__, 'configs/looking.py:clutter', FIELDS)
