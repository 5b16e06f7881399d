"""Occlusion (Zeiler & Fergus 2013, section 4.2 and Fig. 7): what a network still sees when a grey square hides a part of the image.

    python -m experiments.occlusion
    python -m experiments.occlusion --config.network=WORKDIR --config.look.images=3,14,15 --config.occlusion.size=10
    python -m experiments.occlusion --config.network=alexnet.pth --config.look.data=folder:DIR --config.occlusion.stride=8

The square is slid over each image. Drawn are, for every place of it, the summed activation of the map of one layer that is strongest on the
clean image, that map's projection on this image and on those of the split where it is strongest, the probability of the true class, and
the most probable class. Without look.images, the images are those that lose most under the square. On clutter, where the digit's box is
known, many images say how much of the drop falls inside the box. Leaves report.html, figures and arrays.npz.
"""

import numpy as np

from cnn_research.fields import Field
from cnn_research.models.network import check_taps
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table
from cnn_research.studies.looking import occlusion, projection
from cnn_research.studies.looking.figures import occlusion as drawing
from experiments.launch import command, gallery, looking, occluding, outcome

FIELDS = (
    *looking.FIELDS,
    occluding.IMAGES,
    Field('occlusion.size', 0, 'side of the square in px; 0 = a quarter of the image', low=0),
    Field('occlusion.stride', 1, 'px between its places', low=1),
    Field('occlusion.colour', 127.5, 'grey level of the square', low=0, high=255),
    Field('occlusion.tap', 'layer5', 'whose maps are watched'),
    Field('occlusion.many', 100, 'images of clutter for the share inside the box', low=1),
)
_COARSE = 2  # px between places of the square, at least, where many images are summed up


def _square(options, architecture) -> occlusion.Square:
    return occlusion.Square(options.size or max(2, min(architecture.input_shape[:2]) // 4), options.stride, options.colour)


def check(given, architecture, source) -> None:
    """ResearchError for an image, a tap or a way down that is not there, or a square that is larger than the image."""
    occluding.check(given, source)
    occlusion.check_square(_square(given.options.occlusion, architecture), architecture.input_shape)
    check_taps(architecture, [given.options.occlusion.tap])
    projection.projecting(architecture, 'deconvnet')


def draw(given: command.Command, looked: looking.Looked, shelf: Shelf) -> outcome.Page:
    options, square = given.options.occlusion, _square(given.options.occlusion, looked.trained.architecture)
    chosen, rule = occluding.chosen(given, looked, square)
    pictures = gallery.pictures(looked, chosen)
    labels = gallery.classes(looked, pictures)
    places = occlusion.places(square, looked.trained.architecture.input_shape)
    print(f'[occlusion] {places:,} places of the square in each of {len(chosen)} images; stride 4 takes a 16th of stride 1', flush=True)
    found = occlusion.occlude(looked.network, looked.variables, pictures.raw, labels, options.tap, square)
    projections = occluding.projections(looked, options.tap, found.number, pictures, chosen)
    examples = [
        drawing.Example(
            image,
            int(labels[index]),
            int(found.number[index]),
            float(found.clean.probability[index]),
            found.rows,
            found.columns,
            *(array[index] for array in found.under),
            projections[index],
        )
        for index, image in enumerate(pictures.seen)
    ]
    caption = f'{looked.name} on {looked.images}: {len(chosen)} images under a square of {square.size} px. {rule}'
    figure = drawing.occlusion_panels(examples, looked.classes, square.size, options.tap, looked.truth)
    drawn = shelf.figure('occlusion', figure, caption)
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
    drawn += shelf.table('occlusion', Table(columns, rows, f'Under a square of {square.size} px, of the images above.'))
    told = (
        f'The square is of grey {options.colour:g} and moves by {options.stride} px, overhanging at the borders; a value of a map belongs '
        f'to the pixel under its middle. (b): the map of {options.tap} with the largest sum on the clean image, summed. (c): that map '
        f'projected down from this image (framed) and from its strongest others of '
        f'{min(occluding.AMONG, looked.source.num_examples):,} images of the split, by deconvnet, '
        f'response normalization passed through, {drawing.SCALING}. (b) and (d) have a colour scale of their own in '
        'each panel, whose ends stand below it: equal colours of two panels are not equal values.'
    )
    sections = [('Panels', drawn), ('How to read the panels', shelf.text(told))]
    clean, lowest = (np.mean([row[key] for row in rows]) for key in ('clean', 'lowest'))
    lead = (
        f'A square of {square.size} px slid over {len(rows)} images of {looked.source.name}: where p({looked.truth}) is lowest, it falls '
    )
    lead += f'from {clean:.0f} to {lowest:.0f} % in the mean.'
    arrays = {'images': chosen, 'seen': pictures.seen, 'rows': found.rows, 'columns': found.columns, 'map': found.number}
    arrays |= {**found.under._asdict(), 'projections': projections}
    arrays |= {f'clean {name}': array for name, array in found.clean._asdict().items()}
    if looked.source.name == 'clutter' and looked.outputs is not None:
        coarse = square._replace(stride=max(_COARSE, square.stride))
        confined = occluding.confined(looked, coarse, options.tap, np.arange(min(options.many, looked.source.num_examples)))
        share, chance = (100 * value for value in confined.means())
        lead += f" Of the drop in p(true class), {share:.0f} % falls inside the digit's box (chance: {chance:.0f} %)."
        columns = [Column('images'), Column('share', 'drop inside the box, %', '.1f'), Column('chance', 'chance, %', '.1f')]
        words = (
            f"Means over the split's first images, the square every {coarse.stride} px; inside is where its middle lies in the digit's box."
        )
        table = Table(columns, [{'images': len(confined.share), 'share': share, 'chance': chance}], words)
        sections.append(('How much of the drop is inside the box', shelf.table('box', table)))
        arrays |= {f'box {name}': array for name, array in confined._asdict().items()}
    return outcome.Page('Occlusion', lead, sections, arrays)


def main(given: command.Command) -> None:
    looking.run(given, draw, check)


if __name__ == '__main__':
    command.run('occlusion', main, __doc__, 'configs/looking.py:clutter', FIELDS)
