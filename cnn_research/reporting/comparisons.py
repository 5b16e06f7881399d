"""Figures that set rows beside each other and beside the papers: bars with intervals, error against parameters, learning curves.

Seeds are drawn as what they say of the mean (Student's 95 % interval, as in claims.py), splits as their spread. Colours and markers
both tell series apart, so that print and colour-blind readers lose nothing.
"""

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.reporting.claims import interval
from cnn_research.reporting.drawing import Axes, Figure, FigureCanvasAgg, FuncFormatter, LogLocator, NullLocator
from cnn_research.reporting.figures import COLOURS, QUIET, STYLES, WIDTH, legend_below

MARKERS = 'osD^vPX'
# Published values: hollow, so that a bar's end shows through, and in no series' colour.
_REFERENCES = 'Ds^v'
_INK = '#1c1c1a'
_LONGEST = 52  # characters of a line of a row's label


class Point(NamedTuple):
    """A network in a plane: `label`, `x` (its parameters, say), `values` (one per seed), and the `group` it is drawn with."""

    label: str
    x: float
    values: Sequence[float]
    group: str = ''


def bars(
    labels: Sequence[str],
    series: Mapping[str, Sequence[Sequence[float]]],
    x_label: str,
    references: Mapping[str, Sequence[float | None]] | None = None,
    notes: Sequence[str] | None = None,
) -> Figure:
    """Horizontal bars, one row for each label, read from the top; their means stand in a column at the right.

    `series`: {name: for each label the values of its seeds}; a bar ends at their mean and carries the 95 % interval of it from three
    seeds on; no values, no bar. `references`: {'paper': for each label a published value or None}, hollow markers below the bars.
    `notes`: for each label its state ('failed: out of memory', 'reduced') or '', written below the label.
    ValueError where a list has not one entry for each label.
    """
    references, notes = references or {}, notes or [''] * len(labels)
    for name, column in {**series, **references, 'notes': notes}.items():
        if len(column) != len(labels):
            raise ValueError(f'{name!r} has {len(column)} entries for {len(labels)} rows')
    # A row has a lane for each series, one for the references, and a gap of half a lane.
    lanes = len(series) + bool(references) + 0.5
    figure = Figure(figsize=(WIDTH, 0.85 + len(labels) * max(0.17 * lanes + 0.05, 0.36)), layout='constrained')
    axes = figure.add_subplot()
    handles = []
    means = [interval(values)[0] for column in series.values() for values in column]
    digits = 1 if max((abs(mean) for mean in means if math.isfinite(mean)), default=0) >= 10 else 2
    for place, column in enumerate(series.values()):
        centres = np.arange(len(labels)) - 0.5 + (place + 0.75) / lanes
        summaries = [interval(values) for values in column]
        lengths = [0.0 if math.isnan(mean) else mean for mean, _, _ in summaries]
        handles.append(axes.barh(centres, lengths, height=0.86 / lanes, color=COLOURS[place % len(COLOURS)], linewidth=0))
        for centre, (mean, low, high) in zip(centres, summaries, strict=True):
            if math.isfinite(low):
                whisker = {'color': _INK, 'linewidth': 1.1, 'capsize': 2.2, 'capthick': 1.1, 'zorder': 4}
                axes.errorbar(mean, centre, xerr=[[mean - low], [high - mean]], **whisker)
            if math.isfinite(mean):
                number = f'{mean:z.{digits}f}'.replace('-', '−')
                axes.text(1.075, centre, number, transform=axes.get_yaxis_transform(), ha='right', va='center_baseline', fontsize=8)
    below = len(series) + 0.7
    for marker, values in zip(itertools.cycle(_REFERENCES), references.values(), strict=False):
        shown = [(value, row - 0.5 + below / lanes) for row, value in enumerate(values) if value is not None]
        style = {'markersize': 5, 'markerfacecolor': 'white', 'markeredgecolor': _INK, 'markeredgewidth': 1.2, 'zorder': 5}
        handles += axes.plot([value for value, _ in shown], [height for _, height in shown], marker, **style)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    # Longer labels would leave no room for the bars.
    short = ['\n'.join(textwrap.wrap(label, _LONGEST, max_lines=2, placeholder='…')) for label in labels]
    names = [f'{label}\n{note}' if note else label for label, note in zip(short, notes, strict=True)]
    axes.set_yticks(range(len(labels)), names, fontsize=9, parse_math=False)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.tick_params(axis='y', length=0)
    _quiet_axes(axes, 'x')
    axes.spines['left'].set_visible(False)
    axes.set_xlabel(x_label, parse_math=False)
    if len(series) + len(references) > 1:
        legend_below(figure, handles, [*series, *references])
    return figure


def dots(
    labels: Sequence[str],
    differences: Sequence[Sequence[float]],
    x_label: str,
    references: Mapping[str, Sequence[float | None]] | None = None,
    name: str = 'ours',
) -> Figure:
    """Differences to a base, one row for each label: the mean over seeds as a dot, with its 95 % interval from three seeds on.

    `references`: {'paper': for each label a published difference or None}, hollow markers below the dots, on the same axis. The axis is
    that of ours and of what lies near: a published one far beyond stands at the edge with its number, so that it does not flatten ours.
    ValueError where a list has not one entry for each label.
    """
    references = references or {}
    for of, column in {**references, 'differences': differences}.items():
        if len(column) != len(labels):
            raise ValueError(f'{of!r} has {len(column)} entries for {len(labels)} rows')
    lanes = 1 + len(references)  # of a row, with a gap between rows
    figure = Figure(figsize=(WIDTH, 0.95 + (0.14 + 0.19 * lanes) * max(len(labels), 1)), layout='constrained')
    axes = figure.add_subplot()
    summaries = [interval(values) for values in differences]
    low, high = _reach([end for one in summaries for end in one], [value for column in references.values() for value in column])
    rows, lane = np.arange(len(labels)), 1 / (lanes + 0.8)
    heights = rows - lane * len(references) / 2
    for height, (mean, least, most) in zip(heights, summaries, strict=True):
        if math.isfinite(least):
            axes.hlines(height, least, most, color=COLOURS[0], linewidth=2.2, zorder=3)
        if math.isfinite(mean):
            axes.plot(mean, height, 'o', color=COLOURS[0], markersize=6.5, zorder=4)
            axes.text(1.09, height, signed(mean, 2), transform=axes.get_yaxis_transform(), ha='right', va='center_baseline', fontsize=8)
    handles = axes.plot([], [], 'o-', color=COLOURS[0], markersize=6.5, linewidth=2.2)
    style = {'markersize': 5.5, 'markerfacecolor': 'white', 'markeredgecolor': _INK, 'markeredgewidth': 1.2, 'zorder': 5, 'clip_on': False}
    for marker, values in zip(itertools.cycle(_REFERENCES), references.values(), strict=False):
        heights = heights + lane
        shown = [(min(max(x, low), high), y, x) for y, x in zip(heights, values, strict=True) if x is not None]
        handles += axes.plot([x for x, _, _ in shown], [y for _, y, _ in shown], marker, **style)
        for x, y, value in shown:
            if x != value:
                beside, side = (-6, 'right') if value > high else (6, 'left')
                at = {'textcoords': 'offset points', 'ha': side, 'va': 'center', 'fontsize': 7.5, 'color': _INK}
                axes.annotate(signed(value, 1), (x, y), (beside, 0), **at)
    axes.axvline(0, color=QUIET, linewidth=1)
    axes.set_xlim(low, high)
    short = ['\n'.join(textwrap.wrap(label, _LONGEST, max_lines=2, placeholder='…')) for label in labels]
    axes.set_yticks(rows, short, fontsize=9, parse_math=False)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.tick_params(axis='y', length=0)
    _quiet_axes(axes, 'x')
    axes.spines['left'].set_visible(False)
    axes.set_xlabel(x_label, parse_math=False)
    legend_below(figure, handles, [name, *references])
    return figure


def _reach(ends: Sequence[float], published: Sequence[float | None]) -> tuple[float, float]:
    """The ends of an axis of differences: all of ours, 0, and what was published within as much again on either side."""
    ends = [end for end in ends if math.isfinite(end)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    span = high - low
    near = [value for value in published if value is not None and (not span or low - span <= value <= high + span)]
    low, high = min([low, *near]), max([high, *near])
    air = 0.07 * (high - low) or 1.0
    return low - air, high + air


def signed(value: float, digits: int) -> str:
    """With its sign, and a proper minus; what rounds to 0 is +0."""
    return f'{value:+z.{digits}f}'.replace('-', '−')


def scatter(points: Sequence[Point], x_label: str, y_label: str) -> Figure:
    """Means over seeds with their 95 % intervals against a logarithmic x; every point carries its label, and no label covers another
    label or a point as long as there is room. Points without values are left out. ValueError for an x that is not above 0."""
    if any(not point.x > 0 for point in points):
        raise ValueError('x is logarithmic: every point needs an x above 0')
    figure = Figure(figsize=(WIDTH, 4.6), layout='constrained')
    axes = figure.add_subplot()
    axes.set_xscale('log')
    groups = list(dict.fromkeys(point.group for point in points))
    drawn, handles = [], {}
    for point in points:
        mean, low, high = interval(point.values)
        if not math.isfinite(mean):
            continue
        place = groups.index(point.group)
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        if math.isfinite(low):
            axes.vlines(point.x, low, high, color=colour, linewidth=1.2)
        (handles[point.group],) = axes.plot(point.x, mean, marker, color=colour, markersize=5.5)
        drawn.append((point.label, point.x, mean, low, high))
    axes.margins(x=0.12, y=0.12)
    _quiet_axes(axes, 'both')
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)
    if drawn:
        _count_ticks(axes)
    if len(handles) > 1:
        legend_below(figure, list(handles.values()), list(handles))
    _place_labels(figure, axes, drawn)
    return figure


def accuracy_curves(series: Sequence[tuple[str, Sequence[float], Sequence[Sequence[float]]]], x_label: str, y_label: str) -> Figure:
    """One line for each (name, x, values), `values[i]` holding what the splits gave at `x[i]`: the mean, within a band of one sample
    standard deviation (n - 1) to each side where there are two or more."""
    figure = Figure(figsize=(WIDTH, 4.4), layout='constrained')
    axes = figure.add_subplot()
    lines, ticks = [], set()
    for index, (_, x, values) in enumerate(series):
        colour = COLOURS[index % len(COLOURS)]
        means = np.array([np.mean(splits) if len(splits) else np.nan for splits in values])
        spreads = np.array([np.std(splits, ddof=1) if len(splits) > 1 else np.nan for splits in values])
        again = index // len(COLOURS)
        style = {'linestyle': STYLES[again % len(STYLES)], 'markerfacecolor': 'white' if again else colour}
        lines += axes.plot(x, means, color=colour, linewidth=1.5, marker=MARKERS[index % len(MARKERS)], markersize=4.5, **style)
        axes.fill_between(x, means - spreads, means + spreads, color=colour, alpha=0.16, linewidth=0)
        ticks.update(x)
    if 0 < len(ticks) <= 12:
        axes.set_xticks(sorted(ticks), [f'{tick:g}' for tick in sorted(ticks)])
    _quiet_axes(axes, 'both')
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)
    legend_below(figure, lines, [name for name, _, _ in series])
    return figure


def interval_curves(
    series: Sequence[tuple[str, Mapping[float, Sequence[float]]]], x_label: str, y_label: str, level: tuple[float, str] | None = None
) -> Figure:
    """One line for each (name, {x: the values of its seeds}) over a logarithmic x: means, with their 95 % interval from three seeds on.

    Where there are intervals, lines are moved aside a little, so that those at one x stand beside each other. level: (y, what it is
    called), a dotted line across. ValueError for an x that is not above 0.
    """
    ticks = sorted({x for _, points in series for x in points})
    if ticks and not ticks[0] > 0:
        raise ValueError('x is logarithmic: every point needs an x above 0')
    figure = Figure(figsize=(WIDTH, 4.6), layout='constrained')
    axes = figure.add_subplot()
    axes.set_xscale('log')
    summaries = [{x: interval(values) for x, values in sorted(points.items()) if len(values)} for _, points in series]
    spread = any(math.isfinite(one.low) for points in summaries for one in points.values())
    step = 1 + spread * 0.02 * math.log10(max(ticks[-1] / ticks[0], 3)) if ticks else 1.0
    handles = []
    for index, points in enumerate(summaries):
        colour, aside = COLOURS[index % len(COLOURS)], step ** (index - (len(series) - 1) / 2)
        told = [(x * aside, *one) for x, one in points.items()]
        x, means, lows, highs = zip(*told, strict=True) if told else ((),) * 4
        style = {'marker': MARKERS[index % len(MARKERS)], 'linestyle': STYLES[index // len(COLOURS) % len(STYLES)]}
        handles += axes.plot(x, means, color=colour, linewidth=1.6, markersize=5, zorder=3, **style)
        axes.vlines(x, lows, highs, color=colour, linewidth=1.3, zorder=2)
    if level:
        axes.axhline(level[0], color=QUIET, linewidth=0.9, linestyle=':')
        axes.annotate(level[1], (1, level[0]), (-2, 3), ('axes fraction', 'data'), 'offset points', ha='right', fontsize=8, color=QUIET)
    axes.set_ylim(bottom=0)
    axes.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    _quiet_axes(axes, 'both')
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)
    legend_below(figure, handles, [name for name, _ in series])
    return figure


def _quiet_axes(axes: Axes, grid: str) -> None:
    axes.grid(axis=grid, color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def _count_ticks(axes: Axes) -> None:
    """Counts as people say them (50 k, 2 M), with more marks within a decade the fewer decades there are."""
    low, high = axes.get_xlim()
    decades = math.log10(high / low)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 4 else (1.0, 3.0) if decades > 1.5 else (1.0, 2.0, 3.0, 5.0, 7.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: _count(count)))


def _count(count: float) -> str:
    for size, letter in ((1e9, ' G'), (1e6, ' M'), (1e3, ' k')):
        if count >= size:
            return f'{count / size:g}{letter}'
    return f'{count:g}'


def _place_labels(figure: Figure, axes: Axes, drawn: Sequence[tuple[str, float, float, float, float]]) -> None:
    """Each label goes where it covers nothing, or least, as near to its point as that allows; a distant one gets a line to its point.

    Boxes are (left, bottom, right, top) in pixels. Three passes: in the later ones a label may use what others have left free since.
    """
    # Positions in pixels are known only after the layout; labels take no part in it, so that it stays.
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    pixel = figure.dpi / 72
    texts = [
        axes.annotate(label, (x, mean), (0, 0), textcoords='offset points', ha='center', va='center', fontsize=8, color=_INK)
        for label, x, mean, _, _ in drawn
    ]
    for text in texts:
        text.set(parse_math=False, in_layout=False)
    sizes = [text.get_window_extent(renderer).size + 2 * pixel for text in texts]
    spots = [axes.transData.transform((x, mean)) for _, x, mean, _, _ in drawn]
    frame = axes.get_window_extent().extents
    obstacles = []
    for (_, x, mean, low, high), spot in zip(drawn, spots, strict=True):
        ends = [axes.transData.transform((x, mean if math.isnan(end) else end))[1] for end in (low, high)]
        reach = 5 * pixel
        obstacles.append([spot[0] - reach, min(ends[0], spot[1] - reach), spot[0] + reach, max(ends[1], spot[1] + reach)])
    # A label that has no place yet covers nothing.
    taken = np.array([*obstacles, *np.zeros((len(texts), 4))])
    for _, index in itertools.product(range(3), range(len(texts))):
        offsets = _offsets(sizes[index], pixel)
        centres = spots[index] + offsets
        boxes = np.hstack([centres - sizes[index] / 2, centres + sizes[index] / 2])
        covered = _common(boxes[:, None], np.delete(taken, len(drawn) + index, axis=0)[None])
        area = float(np.prod(sizes[index]))
        costs = ((covered > 0) + covered / area).sum(axis=1) + 4 * (1 - _common(boxes, frame) / area)
        # The offsets come near before far: of equally free places the first is taken.
        best = int(np.argmin(np.round(costs, 6)))
        taken[len(drawn) + index] = boxes[best]
        texts[index].set_position(offsets[best] / pixel)
    for (_, x, mean, _, _), box, spot in zip(drawn, taken[len(drawn) :], spots, strict=True):
        away = np.clip(spot, box[:2], box[2:]) - spot
        if np.hypot(*away) > 12 * pixel:
            line = {'arrowstyle': '-', 'color': QUIET, 'linewidth': 0.6, 'shrinkA': 0, 'shrinkB': 4}
            axes.annotate('', (x, mean), away / pixel, textcoords='offset points', arrowprops=line).set_in_layout(False)


def _offsets(size: np.ndarray, pixel: float) -> np.ndarray:
    """Places of a label's centre about its point, in pixels, near before far: right, left, above, below, then between these."""
    width, height = size / 2
    found = []
    for gap in (6 * pixel, 10 * pixel, 16 * pixel, 24 * pixel, 34 * pixel, 48 * pixel, 64 * pixel):
        sideways, upwards = width + gap, height + gap
        found += [(sideways, 0), (-sideways, 0), (0, upwards), (0, -upwards)]
        for across, up in ((width + 0.5 * gap, upwards), (0.5 * width, upwards), (sideways, 0.5 * upwards)):
            found += [(sign * across, other * up) for sign in (1, -1) for other in (1, -1)]
    return np.array(found)


def _common(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The area that boxes (..., 4) share."""
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    return np.prod(np.maximum(sides, 0), axis=-1)
