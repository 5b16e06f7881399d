"""Curves of the invariance experiment (Zeiler and Fergus 2013, Fig. 5)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.reporting.drawing import Figure, MaxNLocator
from cnn_research.reporting.figures import COLOURS, STYLES, WIDTH, legend_below


class Curves(NamedTuple):
    """One transformation: x_label with its unit, values (T,), and {what is measured: (N, T), a line for each of N images}."""

    x_label: str
    values: Sequence[float]
    measured: Mapping[str, np.ndarray]


def invariance_curves(rows: Sequence[Curves], names: Sequence[str]) -> Figure:
    """A row of panels for each transformation and a column for each measure, which all rows share; a line for each of `names`.

    A column has one scale, from 0, so that transformations can be compared.
    """
    columns = list(rows[0].measured)
    figure = Figure(figsize=(WIDTH, 0.6 + 1.75 * len(rows)), layout='constrained')
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharey='col')
    lines = []
    for across, row in zip(grid, rows, strict=True):
        for axes, column in zip(across, columns, strict=True):
            lines = [
                axes.plot(
                    row.values, values, color=COLOURS[i % len(COLOURS)], linestyle=STYLES[i // len(COLOURS) % len(STYLES)], linewidth=1.3
                )[0]
                for i, values in enumerate(row.measured[column])
            ]
            axes.set_xlabel(row.x_label, fontsize=8, parse_math=False)
            # Steps that make quarters of a turn, where the values go around.
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 9, 10)))
            axes.set_xlim(min(row.values), max(row.values))
            axes.grid(color='#e4e4e4', linewidth=0.7)
            axes.set_axisbelow(True)
            axes.spines[['top', 'right']].set_visible(False)
            axes.tick_params(labelsize=7)
    for axes, column in zip(grid[0], columns, strict=True):
        axes.set_title(column, fontsize=8.5, loc='left', parse_math=False)
        axes.set_ylim(0, None)
    legend_below(figure, lines, names)
    return figure
