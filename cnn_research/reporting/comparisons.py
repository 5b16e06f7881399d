"""Figures that compare rows of a table: ours beside the papers', error against size."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from cnn_research.reporting.figures import COLOURS, QUIET, WIDTH

_MARKERS = ('D', 's', '^', 'v')


def bars(
    labels: Sequence[str],
    ours: Mapping[str, Sequence[Sequence[float] | None]],
    others: Mapping[str, Sequence[float | None]],
    x_label: str,
) -> Figure:
    """One horizontal bar for each label and series of `ours`, its values by seed as dots and their mean as the bar's end; `others`, one
    value for each label, as markers. None leaves a gap."""
    high = 0.8 / max(1, len(ours))
    figure = Figure(figsize=(WIDTH, 0.9 + 0.42 * len(labels) * max(1, 0.6 * len(ours))), layout='constrained')
    axes = figure.add_subplot()
    for index, (name, series) in enumerate(ours.items()):
        places = [row - 0.4 + high * (index + 0.5) for row in range(len(labels))]
        means = [sum(values) / len(values) if values else math.nan for values in series]
        axes.barh(places, means, height=0.9 * high, color=COLOURS[index], alpha=0.75, label=name)
        dots = [(value, place) for values, place in zip(series, places, strict=True) for value in values or ()]
        axes.plot(*zip(*dots, strict=True), 'o', color='#222222', markersize=2.6, alpha=0.8) if dots else None
    for index, (name, series) in enumerate(others.items()):
        points = [(value, row) for row, value in enumerate(series) if value is not None]
        style = {'marker': _MARKERS[index % len(_MARKERS)], 'markerfacecolor': 'white', 'markeredgecolor': COLOURS[1 + index]}
        axes.plot(*zip(*points, strict=True), linestyle='none', markersize=6, markeredgewidth=1.5, label=name, **style) if points else None
    axes.set_yticks(range(len(labels)), labels, fontsize=9, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel(x_label, parse_math=False)
    axes.grid(axis='x', color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.tick_params(axis='y', length=0)
    figure.legend(loc='outside lower center', ncols=3, frameon=False, fontsize=9)
    return figure


def scatter(points: Sequence[tuple[str, float, float]], x_label: str, y_label: str) -> Figure:
    """(label, x, y), x on a logarithmic scale; every point carries a number that the legend at the right explains, so that none collide."""
    figure = Figure(figsize=(WIDTH, 3.6), layout='constrained')
    axes = figure.add_subplot()
    for index, (label, x, y) in enumerate(points):
        axes.plot([x], [y], 'o', color=COLOURS[index % len(COLOURS)], markersize=7, label=f'{index + 1}  {label}')
        axes.annotate(str(index + 1), (x, y), textcoords='offset points', xytext=(6, 5), fontsize=8, color=QUIET)
    axes.set_xscale('log')
    axes.xaxis.set_minor_formatter(NullFormatter())  # between the powers of ten labels would run into each other
    if points and max(x for _, x, _ in points) < 20 * min(x for _, x, _ in points):
        ends = [min(x for _, x, _ in points), max(x for _, x, _ in points)]
        axes.set_xticks(ends, [f'{x:,.0f}' for x in ends])
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)
    axes.grid(color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside right upper', frameon=False, fontsize=8, handletextpad=0.3)
    return figure
