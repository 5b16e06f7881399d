"""The invariance experiment (Zeiler and Fergus 2013, Fig. 5): images under transformations, and what becomes of their features."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.reporting.drawing import Axes, Figure, MaxNLocator, Rectangle
from cnn_research.reporting.figures import COLOURS, STYLES, WIDTH, legend_below

_BAR = 0.12  # of a picture's side: the colour of its line, and the gap to the next picture


class Curves(NamedTuple):
    """One transformation of N images: x_label with its unit, values (T,), {tap: distances (N, T)} over the length of the original's
    features, and probability (N, T); pictures uint8 (N, P, h, w, C), C 1 or 3, at the P values `shown`."""

    x_label: str
    values: Sequence[float]
    distance: Mapping[str, np.ndarray]
    probability: np.ndarray
    shown: Sequence[float]
    pictures: np.ndarray


def invariance_curves(rows: Sequence[Curves], names: Sequence[str], truth: str = 'true class') -> Figure:
    """A row for each transformation: the pictures, a panel of distances for each tap, and one of p(truth); a line for each of `names`.

    All distances have one scale, from 0, so that taps and transformations can be compared, and so have all probabilities.
    """
    taps = list(rows[0].distance)
    # Rows are as high as their pictures need, and panels no lower than a curve does.
    height = max(1.6, 0.3 * len(names))
    wide = min(1.9, height * rows[0].pictures.shape[1] / len(names) * 1.2)
    figure = Figure(figsize=(WIDTH, 0.7 + (height + 0.35) * len(rows)), layout='constrained')
    ratios = [wide, *[(WIDTH - wide) / (len(taps) + 1)] * (len(taps) + 1)]
    grid = figure.subplots(len(rows), len(ratios), squeeze=False, width_ratios=ratios)
    lines: list = []
    for (pictured, *panels), row in zip(grid, rows, strict=True):
        _pictures(pictured, row)
        for axes, values in zip(panels, [*row.distance.values(), row.probability], strict=True):
            lines = [axes.plot(row.values, one, linewidth=1.2, **_style(number))[0] for number, one in enumerate(values)]
            # Steps that make quarters of a turn, where the values go around.
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 9, 10)))
            axes.set_xlim(min(row.values), max(row.values))
            axes.grid(color='#e4e4e4', linewidth=0.7)
            axes.set_axisbelow(True)
            axes.spines[['top', 'right']].set_visible(False)
            axes.tick_params(labelsize=7)
        panels[len(panels) // 2].set_xlabel(row.x_label, fontsize=8, parse_math=False)
        panels[0].set_ylabel('distance / length', fontsize=7)
        for axes in panels[1:-1]:
            axes.tick_params(labelleft=False)
    scales = [axes for across in grid for axes in across[1:-1]], [axes for across in grid for axes in across[-1:]]
    for alike in scales:
        for axes in alike[1:]:
            axes.sharey(alike[0])
    scales[0][0].set_ylim(0, 1.04 * max((float(one.max()) for row in rows for one in row.distance.values()), default=0) or 1)
    scales[1][0].set_ylim(0, 1.04)
    for axes, title in zip(grid[0], ('images', *taps, f'p({truth})'), strict=True):
        axes.set_title(title, fontsize=8.5, loc='left', parse_math=False)
    legend_below(figure, lines, names)
    return figure


def _style(number: int) -> dict:
    return {'color': COLOURS[number % len(COLOURS)], 'linestyle': STYLES[number // len(COLOURS) % len(STYLES)]}


def _pictures(axes: Axes, row: Curves) -> None:
    """A line of pictures for each image, its colour before it; the values stand below."""
    count, columns, height, width, channels = row.pictures.shape
    high, left = 1 + _BAR, 1.5 * _BAR
    for number, of_image in enumerate(row.pictures):
        top = number * height / width * high
        for column, picture in enumerate(of_image):
            extent = left + column * high, left + column * high + 1, top + height / width, top
            shown = picture if channels == 3 else picture[..., 0]
            axes.imshow(shown, cmap='gray', vmin=0, vmax=255, extent=extent, interpolation='auto')
        axes.add_patch(Rectangle((0, top), _BAR, height / width, color=_style(number)['color'], linewidth=0))
    bottom = ((count - 1) * high + 1) * height / width
    axes.set(xlim=(0, left + columns * high - _BAR), ylim=(bottom, 0), aspect='equal', yticks=[])
    axes.set_xticks([left + column * high + 0.5 for column in range(columns)], [f'{value:.3g}'.replace('-', '−') for value in row.shown])
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=7, length=0)
