"""Figures of several panels on common axes: the same thing of several networks, side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.figures import COLOURS, QUIET, STYLES, WIDTH, filter_mosaic


class Line(NamedTuple):
    """One line of a panel. values (n,), or (seeds, n): their mean is drawn, over a band from the lowest to the highest."""

    name: str
    x: Sequence[float]
    values: np.ndarray


def filter_grids(networks: Sequence[tuple[str, np.ndarray]], columns: int, scaling: str = 'each') -> Figure:
    """The filters of several networks, each a labelled mosaic of (kh, kw, Cin, Cout); see `figures.filter_mosaic` for the scaling.

    'shared' is within a network: nets of other input scales have weights of other sizes.
    """
    pictures = [filter_mosaic(kernels, scaling)[0] for _, kernels in networks]
    rows = math.ceil(len(networks) / columns)
    tallest = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    # A line of text above every mosaic, and the caption below all.
    side, text = (WIDTH - 0.12 * (columns - 1)) / columns, 0.26
    height = rows * (side * tallest + text) + 0.3
    figure = Figure(figsize=(WIDTH, height))
    for index, ((name, _), picture) in enumerate(zip(networks, pictures, strict=True)):
        row, column = divmod(index, columns)
        top = height - row * (side * tallest + text) - text
        high = side * picture.shape[0] / picture.shape[1]
        left = column * (side + 0.12)
        axes = figure.add_axes((left / WIDTH, (top - high) / height, side / WIDTH, high / height))
        axes.imshow(picture, interpolation='none', aspect='auto')
        axes.set_axis_off()
        figure.text(left / WIDTH, (top + 0.05) / height, name, ha='left', va='bottom', fontsize=8, parse_math=False)
    caption = {'each': 'each filter scaled by its own largest weight', 'shared': "each network's filters scaled by its largest weight"}
    figure.text(0.5, 0.12 / height, f'{caption[scaling]}; mid-grey is zero', ha='center', va='center', fontsize=8, color=QUIET)
    return figure


def line_panels(
    panels: Sequence[tuple[str, Sequence[Line]]],
    columns: int,
    x_label: str,
    y_label: str,
    marks: Mapping[float, str] | None = None,
) -> Figure:
    """Panels (title, lines) on shared axes; a name has one colour and dash in all of them.

    marks: {x: what begins there}, a thin upright line with its text to the right, at the top. x begins at 0, and so does y.
    """
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(WIDTH, 0.8 + 2.15 * rows), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    names = list(dict.fromkeys(line.name for _, lines in panels for line in lines))
    drawn = {}
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for index, (axes, (title, lines)) in enumerate(zip(grid.flat, panels, strict=False)):
        axes.set_title(title, fontsize=9, loc='left', parse_math=False)
        for line in lines:
            number = names.index(line.name)
            values = np.atleast_2d(np.asarray(line.values, float))
            style = {'color': COLOURS[number % len(COLOURS)], 'linestyle': STYLES[number % len(STYLES)]}
            (drawn[line.name],) = axes.plot(line.x, values.mean(0), linewidth=1.6, **style)
            if len(values) > 1:
                axes.fill_between(line.x, values.min(0), values.max(0), color=style['color'], alpha=0.15, linewidth=0)
        for place, text in (marks or {}).items():
            axes.axvline(place, color='#999999', linewidth=0.8)
            axes.annotate(
                text, (place, 1), xycoords=('data', 'axes fraction'), xytext=(3, -9), textcoords='offset points', fontsize=7, color=QUIET
            )
        axes.grid(color='#e4e4e4', linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[['top', 'right']].set_visible(False)
        axes.tick_params(labelsize=8)
        if index + columns >= len(panels):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(x_label, fontsize=9, parse_math=False)
    highest = max((np.max(line.values, initial=0, where=np.isfinite(line.values)) for _, lines in panels for line in lines), default=0)
    # Room above the lines for the marks.
    grid[0, 0].set(xlim=(0, None), ylim=(0, 1.15 * highest or 1))
    figure.supylabel(y_label, fontsize=9, parse_math=False)
    # A legend drops labels that start with '_', so the names are put in afterwards.
    columns = max(1, min(4, len(drawn), 96 // (max(map(len, drawn), default=0) + 8)))
    legend = figure.legend(list(drawn.values()), map(str, range(len(drawn))), loc='outside lower center', ncols=columns, frameon=False)
    for text, name in zip(legend.get_texts(), drawn, strict=True):
        text.set(text=name, fontsize=8, parse_math=False)
    return figure
