"""Invariance (Zeiler & Fergus 2013, section 4.1 and Fig. 5): how far features move when an image is moved, scaled and turned.

    python -m experiments.invariance
    python -m experiments.invariance --config.network=WORKDIR --config.look.images=3,14,15,65,92
    python -m experiments.invariance --config.network=alexnet.pth --config.look.data=folder:DIR --config.invariance.taps=layer1,layer7

For chosen images: the distance between the features of the original and of the transformed image at a low and a high layer, over the length
of the original's features, and the probability of the true class. Leaves report.html, a figure and arrays.npz.
"""

import numpy as np

from cnn_research.data import augment
from cnn_research.fields import Field
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table
from cnn_research.studies.looking import invariance
from cnn_research.studies.looking.figures.invariance import Curves, invariance_curves
from experiments.launch import command, gallery, looking, outcome

FIELDS = (
    *looking.FIELDS,
    gallery.IMAGES,
    Field('invariance.taps', 'layer1,layer7', 'where features are compared'),
    Field('invariance.steps', 41, 'values of each transformation, evenly spaced, beside the one that changes nothing', low=3, high=1000),
    Field('invariance.colour', 127.5, 'grey level of what comes into view', low=0, high=255),
)
# {transformation: (axis, lowest, highest, what changes nothing, a small one, those that are shown)}; a translation in shares of the side,
# at most a quarter as in the paper's figure (60 of 224 px).
RANGES = {
    'translation': ('vertical translation, px', -0.25, 0.25, 0.0, 1 / 16, (-0.25, 0.0, 0.25)),
    'scale': ('scale', 0.5, 1.8, 1.0, 1.1, (0.5, 1.0, 1.8)),
    'rotation': ('rotation, degrees', 0.0, 360.0, 0.0, 10.0, (0.0, 45.0, 180.0)),
}


def check(given, architecture, source) -> None:
    """ResearchError for an image or a tap that is not there."""
    gallery.numbers(given, source)
    looking.taps(architecture, given.options.invariance.taps, 'invariance.taps')


def _shown(looked: looking.Looked, raw: np.ndarray, kind: str, values: np.ndarray, colour: float) -> np.ndarray:
    """uint8 (N, P, h, w, C): what the network sees of the images at some values."""
    shape = looked.trained.architecture.input_shape
    parts = [augment.prepare(invariance.transformed(raw, kind, value, colour), augment.AS_IT_IS, shape) for value in values]
    return np.stack([np.clip(np.round(part), 0, 255).astype(np.uint8) for part in parts], axis=1)


def _each(line: dict, taps: list[str]) -> str:
    return ', '.join(f'{line[tap]:.2f} at {tap}' for tap in taps)


def draw(given: command.Command, looked: looking.Looked, shelf: Shelf) -> outcome.Page:
    options = given.options.invariance
    taps = looking.taps(looked.trained.architecture, options.taps, 'invariance.taps')
    pictures = gallery.pictures(looked, gallery.numbers(given, looked.source))
    labels = gallery.classes(looked, pictures)
    rows, arrays, table = [], {}, []
    for kind, (label, low, high, none, small, shown) in RANGES.items():
        side = looked.trained.architecture.input_shape[0] if kind == 'translation' else 1
        values = np.linspace(low * side, high * side, options.steps)
        values = np.sort(np.append(values[~np.isclose(values, none)], none))
        found = invariance.invariance(looked.network, looked.variables, pictures.raw, labels, kind, values, taps, options.colour)
        distance = {tap: found.distance[tap] / found.length[tap][:, None] for tap in taps}
        shown = side * np.array(shown)
        seen = _shown(looked, pictures.raw, kind, shown, options.colour)
        rows.append(Curves(label, values, distance, found.probability, shown, seen))
        near = np.argmin(np.where(values == none, np.inf, np.abs(values - small * side)))
        told = {tap: np.mean(found.distance[tap][:, near] / found.length[tap]) for tap in taps}
        table.append({'kind': label, 'value': values[near], **told, 'p': 100 * found.probability[:, near].mean()})
        arrays |= {f'{kind} values': values, f'{kind} probability': found.probability}
        arrays |= {f'{kind} {tap} {name}': getattr(found, name)[tap] for tap in taps for name in ('distance', 'length')}
    caption = f'{looked.name} on {looked.images}: {len(pictures.names)} images moved, scaled and turned.'
    drawn = shelf.figure('invariance', invariance_curves(rows, pictures.names, looked.truth), caption)
    columns = [Column('kind', 'transformation'), Column('value', 'by', '.3g')]
    columns += [*(Column(tap, f'{tap}: distance / length', '.2f') for tap in taps), Column('p', f'p({looked.truth}), %', '.0f')]
    drawn += shelf.table('small', Table(columns, table, f'Means over the {len(pictures.names)} images at a small transformation.'))
    told = (
        "Euclidean distance between the features of the original and of the transformed image, over the length of the original's features "
        '(the paper does not say how its distances are scaled); all panels of distances have one scale. Left: the images, as the network '
        f'sees them, at the values below; what the image does not reach is grey {options.colour:g}.'
    )
    moved = [f'{line["kind"].partition(",")[0]} by {line["value"]:.3g}: {_each(line, taps)}' for line in table]
    lead = f'Features of {len(pictures.names)} images of {looked.source.name} move, in shares of their length: {"; ".join(moved)}.'
    return outcome.Page('Invariance', lead, [('Curves', drawn), ('How to read the curves', shelf.text(told))], arrays)


def main(given: command.Command) -> None:
    looking.run(given, draw, check)


if __name__ == '__main__':
    command.run('invariance', main, __doc__, 'configs/looking.py:clutter', FIELDS)
