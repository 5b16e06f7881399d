"""The panels of the occlusion experiment (Zeiler and Fergus 2013, Fig. 7), one row for each image."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.reporting.drawing import Axes, Figure, ListedColormap, Patch, Rectangle
from cnn_research.reporting.figures import COLOURS, QUIET, WIDTH
from cnn_research.studies.looking.figures.units import SCALING, grey_centred

_OTHERS = '#cccccc'
_SCALE = 'viridis'
_OVER, _PALE = 0.66, 0.3  # how much of a map hides the grey image below it, and how much of that is white
# Inches: left of the panels, between them, right of them for a legend; above all rows, above each, below it for scales, below all.
_MARGIN, _GAP, _LEGEND, _HEAD, _TITLE, _BAR, _FOOT = 0.04, 0.13, 1.0, 0.36, 0.2, 0.26, 0.34


class Example(NamedTuple):
    """One image under a square.

    image: uint8 (H, W, C) as the network sees it, C 1 or 3; true: number of its class; number: of the map; clean: p(true class) without a
    square. rows (R,), columns (K,): pixels under the square's middle; activation, probability, predicted: (R, K). projections
    (n, H, W, C): the map projected down from this image, then from others; n at least 1.
    """

    image: np.ndarray
    true: int
    number: int
    clean: float
    rows: np.ndarray
    columns: np.ndarray
    activation: np.ndarray
    probability: np.ndarray
    predicted: np.ndarray
    projections: np.ndarray


def occlusion_panels(examples: Sequence[Example], classes: Sequence[str], size: int, layer: str, truth: str = 'true class') -> Figure:
    """Image, summed activation of its strongest map of `layer`, that map's projections, p(true class) and most probable class.

    truth: what the class `true` of the examples is called.

    The square, `size` px wide, is outlined on the image where p(true class) is lowest. Maps lie over the image in grey, each with a scale
    of its own, whose ends are printed: a value belongs to the pixel under the square's middle. The true class and the five most frequent
    others have colours, the rest share a grey.
    """
    side = (WIDTH - _MARGIN - _LEGEND - 4 * _GAP) / 5
    heights = [side * one.image.shape[0] / one.image.shape[1] + _TITLE + _BAR for one in examples]
    height = _HEAD + sum(heights) + _FOOT
    figure = Figure(figsize=(WIDTH, height))
    titles = (
        'image',
        f'{layer}: summed\nactivation of a map',
        'its projection (framed)\nand on other images',
        f'p({truth})',
        'most probable class',
    )
    for column, title in enumerate(titles):
        left = _MARGIN + column * (side + _GAP)
        figure.text((left + side / 2) / WIDTH, 1 - 0.04 / height, f'({"abcde"[column]}) {title}', ha='center', va='top', fontsize=7)
    top = height - _HEAD
    for one, tall in zip(examples, heights, strict=True):
        high = tall - _TITLE - _BAR
        panels = [
            figure.add_axes(((_MARGIN + column * (side + _GAP)) / WIDTH, (top - _TITLE - high) / height, side / WIDTH, high / height))
            for column in range(5)
        ]
        title = f'{truth} {classes[one.true]}: p = {one.clean:.2f} without the square; strongest map: {one.number}'
        figure.text(_MARGIN / WIDTH, (top - _TITLE + 0.04) / height, title, fontsize=7, va='bottom', parse_math=False)
        _row(figure, panels, one, classes, size)
        top -= tall
    note = (
        f'square of {size} px, outlined where p({truth}) is lowest; maps lie over the image, each with its own scale\n'
        f'projections: {SCALING}'
    )
    figure.text(0.5, 0.05 / height, note, ha='center', va='bottom', fontsize=7, color=QUIET)
    return figure


def _row(figure, panels, one, classes, size):
    image, activation, projection, probability, predicted = panels
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    shown = one.image if one.image.shape[-1] == 3 else one.image[..., 0]
    image.imshow(shown, cmap='gray', vmin=0, vmax=255, interpolation='none', aspect='auto')
    row, column = np.unravel_index(np.argmin(one.probability), one.probability.shape)
    corner = one.columns[column] - size // 2 - 0.5, one.rows[row] - size // 2 - 0.5
    # Dark on light: visible on any image.
    for width, colour in ((2.4, 'black'), (1.0, 'white')):
        image.add_patch(Rectangle(corner, size, size, fill=False, linewidth=width, edgecolor=colour))
    _heat(figure, activation, one, one.activation)
    _mosaic(projection, one.projections)
    _heat(figure, probability, one, one.probability)
    _classes(predicted, one, classes)
    for axes in (image, activation, probability, predicted):
        axes.set(xlim=(-0.5, one.image.shape[1] - 0.5), ylim=(one.image.shape[0] - 0.5, -0.5))


def _extent(one: Example) -> tuple[float, float, float, float]:
    """Left, right, bottom, top, in pixels, of a map whose cells are centred on the square's places; no image pixel stays outside."""
    edges = []
    for places, side in ((one.columns, one.image.shape[1]), (one.rows, one.image.shape[0])):
        half = (places[1] - places[0]) / 2 if len(places) > 1 else side
        edges.append((min(places[0] - half, -0.5), max(places[-1] + half, side - 0.5)))
    return *edges[0], *edges[1][::-1]


def _beneath(axes: Axes, image: np.ndarray) -> None:
    """The image in grey, pale, below a map that is half transparent."""
    grey = image.astype(float).mean(-1)
    axes.imshow(_PALE * 255 + (1 - _PALE) * grey, cmap='gray', vmin=0, vmax=255, interpolation='none', aspect='auto')


def _heat(figure: Figure, axes: Axes, one: Example, values: np.ndarray) -> None:
    """values (R, K) over the image, on a scale from their lowest to their highest, which stand below."""
    _beneath(axes, one.image)
    low, high = float(values.min()), float(values.max())
    scale = {'vmin': low, 'vmax': high if high > low else low + max(1e-6, 1e-6 * abs(low))}
    axes.imshow(values, extent=_extent(one), cmap=_SCALE, alpha=_OVER, interpolation='none', aspect='auto', **scale)
    place = axes.get_position()
    inch = 1 / figure.get_figheight()
    bar = figure.add_axes((place.x0, place.y0 - 0.1 * inch, place.width, 0.05 * inch))
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=_SCALE, alpha=_OVER, aspect='auto')
    bar.set_axis_off()
    for text, at, side in zip(ends(low, high), (place.x0, place.x1), ('left', 'right'), strict=False):
        figure.text(at, place.y0 - 0.12 * inch, text, fontsize=6, ha=side, va='top')


def ends(low: float, high: float) -> list[str]:
    """What stands at the ends of a scale: as many digits as tell them apart, three at least; one text where they are equal."""
    if low == high:
        return [f'{low:.3g} everywhere']
    texts = ([f'{value:.{digits}g}' for value in (low, high)] for digits in range(3, 17))
    return next(pair for pair in texts if pair[0] != pair[1])


def _mosaic(axes: Axes, projections: np.ndarray) -> None:
    """Projections as a square of pictures, the first one framed."""
    count, height, width, _ = projections.shape
    columns = math.ceil(math.sqrt(count))
    gap = max(1, width // 12)
    canvas = np.full((math.ceil(count / columns) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, one in enumerate(grey_centred(projections)):
        down, across = index // columns * (height + gap), index % columns * (width + gap)
        canvas[down : down + height, across : across + width] = one
    axes.imshow(canvas, interpolation='none')
    axes.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor='black', linewidth=1.5, clip_on=False))


def _classes(axes: Axes, one: Example, classes: Sequence[str]) -> None:
    """The true class is always in the first colour, whether it occurs or not; the others follow by how often they do."""
    numbers, counts = np.unique(one.predicted, return_counts=True)
    frequent = [int(number) for number in numbers[np.argsort(-counts, kind='stable')] if number != one.true]
    named = [one.true, *frequent][: len(COLOURS) - 1]
    index = np.full(one.predicted.shape, len(named))
    for place, number in enumerate(named):
        index[one.predicted == number] = place
    colours = [*COLOURS[: len(named)], _OTHERS]
    _beneath(axes, one.image)
    scale = {'cmap': ListedColormap(colours), 'vmin': -0.5, 'vmax': len(named) + 0.5, 'alpha': _OVER}
    axes.imshow(index, extent=_extent(one), interpolation='none', aspect='auto', **scale)
    names = [classes[number] for number in named if (one.predicted == number).any()]
    used = [colour for number, colour in zip(named, colours, strict=False) if (one.predicted == number).any()]
    if (index == len(named)).any():
        left = len(frequent) + 1 - len(named)
        names, used = [*names, f'{left} other{"s" * (left > 1)}'], [*used, _OTHERS]
    # A legend drops labels that start with '_', so the names are put in afterwards.
    legend = axes.legend(
        [Patch(color=colour, alpha=_OVER, linewidth=0) for colour in used],
        map(str, range(len(used))),
        loc='upper left',
        bbox_to_anchor=(1.02, 1.03),
        frameon=False,
        borderaxespad=0,
        borderpad=0.2,
        handlelength=0.8,
        handleheight=0.8,
        handletextpad=0.4,
        labelspacing=0.3,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=name if len(name) <= 16 else name[:15] + '…', fontsize=6.5, parse_math=False)
