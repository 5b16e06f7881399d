"""Figures of dropping: error against its rate, how trainings converge, and how near averages come to the reference."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.reporting.claims import interval
from cnn_research.reporting.drawing import Figure, NullLocator
from cnn_research.reporting.figures import COLOURS, QUIET, STYLES, WIDTH, legend_below


class Curve(NamedTuple):
    """How a training went: epochs, and what stood there: the steps' own loss, with what they dropped; loss of the holdout, without."""

    trained: np.ndarray
    loss: np.ndarray
    looked: np.ndarray
    holdout: np.ndarray

    def first_epoch(self, level: float) -> float:
        """Epochs until the holdout loss is at `level` for the first time, on straight lines between looks; NaN where it never is."""
        below = np.flatnonzero(self.holdout <= level)
        if not len(below):
            return float('nan')
        at = below[0]
        if at == 0 or self.holdout[at] == level:
            return float(self.looked[at])
        (x, z), (y, w) = self.looked[at - 1 : at + 1], self.holdout[at - 1 : at + 1]
        return float(x + (z - x) * (y - level) / (y - w))


def curve(history: Sequence[Mapping]) -> Curve:
    """The Curve of a training's records, as its metrics.jsonl has them."""
    trained, looked = ([line for line in history if line['role'] == role] for role in ('train', 'holdout'))
    columns = (trained, 'epoch'), (trained, 'loss'), (looked, 'epoch'), (looked, 'loss')
    return Curve(*(np.array([line[name] for line in lines], float) for lines, name in columns))


class Distances(NamedTuple):
    """Of one network that drops. lines: {what is averaged: {number of samples: the distances of its seeds}}; levels: {what needs none: the
    distances of its seeds}; own: how far the reference itself is likely to be from the average over all masks, of each seed."""

    title: str
    lines: Mapping[str, Mapping[int, Sequence[float]]]
    levels: Mapping[str, Sequence[float]]
    own: Sequence[float]


def _quiet(axes) -> None:
    axes.grid(color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(labelsize=8, which='both')


def rates(
    ways: Sequence[tuple[str, Mapping[float, Sequence[float]]]],
    neither: Sequence[float],
    printed: Mapping[str, tuple[float, float]],
) -> Figure:
    """Error in % against the rate at which each way (name, {rate: its seeds}) drops, with 95 % intervals from three seeds on.

    neither: the error of the seeds that drop nothing, a line across; printed: {name: (rate, error)}, the paper's, as open marks.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout='constrained')
    axes, handles, names = figure.add_subplot(), [], []
    for index, (name, points) in enumerate(ways):
        colour, aside = COLOURS[index % len(COLOURS)], 0.006 * (index - (len(ways) - 1) / 2)
        told = [(rate + aside, *interval(values)) for rate, values in sorted(points.items()) if len(values)]
        x, means, lows, highs = zip(*told, strict=True) if told else ((),) * 4
        handles += axes.plot(x, means, color=colour, linewidth=1.6, marker='os'[index % 2], markersize=5, zorder=3)
        axes.vlines(x, lows, highs, color=colour, linewidth=1.3, zorder=2)
        names.append(name)
    if len(neither):
        mean, low, high = interval(neither)
        handles.append(axes.axhline(mean, color=QUIET, linewidth=1.3, linestyle='--'))
        names.append('neither')
        if np.isfinite(low):
            axes.axhspan(low, high, color=QUIET, alpha=0.12, linewidth=0)
    for name, (rate, error) in printed.items():
        colour = COLOURS[names.index(name)] if name in names[: len(ways)] else QUIET
        mark = 'os'[names.index(name) % 2] if name in names[: len(ways)] else 'D'
        handles += axes.plot([rate], [error], color=colour, marker=mark, markersize=8, fillstyle='none', linestyle='none', zorder=4)
        names.append(f'{name}, the paper')
    axes.set_xlabel('share of weights or units that is dropped')
    axes.set_ylabel('test error (%)')
    _quiet(axes)
    legend_below(figure, handles, names)
    return figure


def convergence(rows: Sequence[tuple[str, Sequence[Curve]]]) -> Figure:
    """Cross-entropy by epoch, logarithmic: of the steps, with what they drop, and of the holdout, without; (name, the seeds'
    curves). A line is the mean over seeds, a band reaches over them."""
    figure = Figure(figsize=(WIDTH, 3.9), layout='constrained')
    panels, handles = figure.subplots(1, 2, sharex=True), []
    for axes, title, (x, y) in zip(panels, ('training steps', 'holdout'), (('trained', 'loss'), ('looked', 'holdout')), strict=True):
        for index, (_, curves) in enumerate(rows):
            points = [(getattr(curve, x), np.maximum(getattr(curve, y), 1e-9)) for curve in curves]
            length = min((len(one) for one, _ in points), default=0)
            if not length:
                continue
            values, style = np.stack([one[:length] for _, one in points]), STYLES[index % len(STYLES)]
            (line,) = axes.plot(points[0][0][:length], values.mean(0), color=COLOURS[index % len(COLOURS)], linestyle=style, linewidth=1.5)
            axes.fill_between(points[0][0][:length], values.min(0), values.max(0), color=line.get_color(), alpha=0.15, linewidth=0)
            if axes is panels[0]:
                handles.append(line)
        axes.set_yscale('log')
        axes.set_title(title, fontsize=9, loc='left')
        axes.set_xlabel('epoch', fontsize=9)
        _quiet(axes)
    panels[0].set_ylabel('cross-entropy', fontsize=9)
    legend_below(figure, handles, [name for name, curves in rows if any(len(curve.trained) for curve in curves)])
    return figure


def distances(drawn: Sequence[Distances], columns: int) -> Figure:
    """Mean absolute difference of the probabilities to the reference against the number of samples, both logarithmic; means over seeds."""
    count = -(-len(drawn) // columns)
    figure = Figure(figsize=(WIDTH, 0.8 + 2.3 * count), layout='constrained')
    grid = figure.subplots(count, columns, squeeze=False, sharex=True, sharey=True)
    names = list(dict.fromkeys(name for one in drawn for name in (*one.lines, *one.levels)))
    ticks, shown = sorted({samples for one in drawn for points in one.lines.values() for samples in points}), {}
    for axes in grid.flat[len(drawn) :]:
        axes.set_axis_off()
    for index, (axes, one) in enumerate(zip(grid.flat, drawn, strict=False)):
        for name, points in one.lines.items():
            means = [np.mean(points[samples]) for samples in sorted(points)]
            style = {'color': COLOURS[names.index(name) % len(COLOURS)], 'marker': 'osD^'[names.index(name) % 4]}
            shown[name] = axes.plot(sorted(points), means, linewidth=1.5, markersize=4, **style)[0]
        for name, values in one.levels.items():
            style = {'color': COLOURS[names.index(name) % len(COLOURS)], 'linestyle': STYLES[1 + names.index(name) % 3]}
            shown[name] = axes.axhline(np.mean(values), linewidth=1.3, **style)
        shown['the reference itself'] = axes.axhspan(0, np.mean(one.own), color=QUIET, alpha=0.2, linewidth=0)
        axes.set_xscale('log')
        axes.set_xticks(ticks, [f'{tick:,}' for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(one.title, fontsize=9, loc='left', parse_math=False)
        _quiet(axes)
        if index + columns >= len(drawn):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel('samples or masks', fontsize=9)
    told = [
        np.mean(values) for one in drawn for values in (one.own, *one.levels.values(), *(v for p in one.lines.values() for v in p.values()))
    ]
    if positive := [value for value in told if value > 0]:  # a network whose units are dead says the same under every mask
        grid[0, 0].set_ylim(0.7 * min(positive), 1.4 * max(positive))
        grid[0, 0].set_yscale('log')
    figure.supylabel('mean absolute difference', fontsize=9)
    legend_below(figure, list(shown.values()), list(shown))
    return figure


def reached(curves: Mapping[str, Mapping[int, Curve]]) -> dict[str, dict[int, float]]:
    """{row: {seed: epochs to a holdout loss that all pass on their way}} of {row: {seed: its curve}}: the geometric mean of the higher of
    their lowest and the lower of their first; their lowest themselves would ask who ends lower, not who is faster."""
    seeds = set.intersection(*(set(of) for of in curves.values())) if curves else set()
    found: dict[str, dict[int, float]] = {row: {} for row in curves}
    for seed in seeds:
        lowest = max(of[seed].holdout.min(initial=np.inf) for of in curves.values())
        begun = min(of[seed].holdout[:1].max(initial=0) or np.inf for of in curves.values())
        level = float(np.sqrt(begun * lowest)) if begun > lowest else lowest
        for row, of in curves.items():
            found[row][seed] = of[seed].first_epoch(level)
    return found
