"""Learning curves and searched grids as small drawings of lines within a page: one panel a row, side by side as far as the window goes.

They are markup, not pictures: they wrap on a phone, take the page's colours in light and dark, and are a few hundred bytes a line. What
they show stands as numbers in metrics.jsonl of each training, and in the table beside a grid.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnn_research.reporting import tables, templates
from cnn_research.reporting.drawing import LogLocator, MaxNLocator

_WIDE, _HIGH = 400, 240  # of a panel's own coordinates
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 102, 14, 34  # room for its ticks and for the names of its lines
_MOST = 120  # points of a line that are drawn
_APART = 27  # between names of lines


class Curve(NamedTuple):
    """What one training wrote down of a role, 'train' or 'holdout': at `x` it was `y`; what is not finite is left out."""

    role: str
    x: Sequence[float]
    y: Sequence[float]


class Panel(NamedTuple):
    """A row: its `title`, where its trials stand in the page (`href`, None: nowhere), the curves of all its seeds, and its state
    ('seed 1 failed: ...') or ''."""

    title: str
    href: str | None
    curves: Sequence[Curve]
    note: str = ''


class Point(NamedTuple):
    """A point of a grid: {field: value} as text, what its seeds have in percent, whether it was chosen, and its state or ''."""

    at: Mapping[str, str]
    values: Sequence[float]
    chosen: bool = False
    note: str = ''


class Searched(NamedTuple):
    """A row, as in Panel, and the points of the grid that it was searched over."""

    title: str
    href: str | None
    points: Sequence[Point]


class _Axis(NamedTuple):
    """Numbers from `low` to `high` laid from `start` to `end`."""

    low: float
    high: float
    start: int
    end: int
    log: bool = False

    def place(self, value: float) -> int:
        low, high, value = (map(math.log10, (self.low, self.high, value))) if self.log else (self.low, self.high, value)
        return round(self.start + (self.end - self.start) * (value - low) / (high - low))

    def ticks(self, count: int) -> list[dict[str, Any]]:
        locator = LogLocator(subs=(1.0, 2.0, 5.0), numticks=count) if self.log else MaxNLocator(count)
        values = [value for value in locator.tick_values(self.low, self.high) if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]
        return [{'at': self.place(value), 'text': f'{value:.12g}'.replace('-', '−')} for value in values]


def learning(panels: Sequence[Panel], x_label: str, y_label: str, log: bool = False) -> str:
    """The panels on the same axes, every seed a line; log: whether y, which is above 0 then, has a logarithmic axis."""
    drawn = [panel._replace(curves=[_sound(curve, log) for curve in panel.curves]) for panel in panels]
    points = [point for panel in drawn for curve in panel.curves for point in zip(curve.x, curve.y, strict=True)]
    if not points:
        x, y = None, None
    else:
        least, most = min(y for _, y in points), max(y for _, y in points)
        x = _Axis(0.0, max(x for x, _ in points) or 1.0, _LEFT, _WIDE - _RIGHT)
        y = _vertical(least / 1.1, most * 1.1, log) if log else _vertical(min(0.0, least), 1.03 * most if most > 0 else 1.0)
    parts = [_panel(panel, _lines(panel.curves, x, y), x, y) for panel in drawn]
    longest = max((len(curve.x) for panel in panels for curve in panel.curves), default=0)
    thinned = f' Of longer journals {_MOST} points are drawn.' if longest > _MOST else ''
    axes = 'All panels have the same axes. ' if len(panels) > 1 else ''
    words = f'{y_label} (up{", logarithmic" if log else ""}) over {x_label} (right). {axes}A line is one seed.{thinned}'
    return templates.part('panels', parts, words, 'learning')


def searched(rows: Sequence[Searched], label: str) -> str:
    """What the points of a grid have, a panel for each row: over the field where the grid has one whose values are numbers, else by name.

    label: what the values of the points are. Each panel has an axis of its own, since the question is which point of its row is lowest.
    """
    fields = list(dict.fromkeys(name for row in rows for point in row.points for name in point.at))
    numbers = [_number(value) for row in rows for point in row.points for value in point.at.values()]
    short = ', '.join(name.rpartition('.')[2].replace('_', ' ') for name in fields)
    if len(fields) == 1 and None not in numbers:
        log = min(numbers) > 0 and (fields[0].endswith('rate') or max(numbers) >= 10 * min(numbers))
        parts = [_over_field(row, fields[0], log) for row in rows]
        words = f'{label} (up) over the {short} (right{", logarithmic" if log else ""}).'
    else:
        parts = [_by_name(row) for row in rows]
        words = f'{label} (right) of each point, by its {short}.'
    words += ' A dot is one seed, a bar or line the mean over seeds; the chosen point is filled, × marks one of which seeds have no number.'
    words += ' Each panel has its own axis.'
    return templates.part('panels', parts, words, 'searched')


def _sound(curve: Curve, log: bool) -> Curve:
    """The curve without what cannot be drawn, and thinned evenly to so many points, its last one kept."""
    pairs = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)]
    if len(pairs) > _MOST:
        pairs = [pairs[round(place * (len(pairs) - 1) / (_MOST - 1))] for place in range(_MOST)]
    return Curve(curve.role, [x for x, _ in pairs], [y for _, y in pairs])


def _vertical(low: float, high: float, log: bool = False) -> _Axis:
    return _Axis(low, high, _HIGH - _BOTTOM, _TOP, log)


def _lines(curves: Sequence[Curve], x: _Axis | None, y: _Axis | None) -> dict[str, Any]:
    """Lines, and the name of each role at the mean height at which its lines end."""
    lines, dots, ends = [], [], {}
    for curve in (curve for curve in curves if curve.x):
        places = [(x.place(a), y.place(b)) for a, b in zip(curve.x, curve.y, strict=True)]
        if len(places) > 1:
            lines.append({'kind': curve.role, 'points': _path(places)})
        else:
            dots += [{'kind': curve.role, 'x': across, 'y': up} for across, up in places]
        ends.setdefault(curve.role, []).append(places[-1])
    heights = {role: sum(up for _, up in of) / len(of) for role, of in ends.items()}
    named, free = [], -math.inf
    for role, height in sorted(heights.items(), key=lambda item: item[1]):
        free = max(height, free + _APART)
        named.append({'kind': role, 'x': max(across for across, _ in ends[role]) + 9, 'y': round(free), 'text': role})
    return {'lines': lines, 'names': named, 'dots': dots}


def _path(points: Sequence[tuple[int, int]]) -> str:
    return ' '.join(f'{x},{y}' for x, y in points)


def _panel(panel: Panel, drawn: dict[str, Any], x: _Axis | None, y: _Axis | None) -> dict[str, Any]:
    note = panel.note or ('' if drawn['lines'] or drawn['dots'] or drawn['names'] else 'nothing is written down yet')
    alt = f'{panel.title}: ' + ', '.join(f'{name["text"]}' for name in drawn['names']) if drawn['names'] else panel.title
    frame = {'wide': _WIDE, 'high': _HIGH, 'left': _LEFT, 'right': _WIDE - _RIGHT, 'top': _TOP, 'bottom': _HIGH - _BOTTOM}
    ticks = {'across': x.ticks(4), 'up': y.ticks(4)} if x and y else None
    return {'title': panel.title, 'href': panel.href, 'note': note, 'alt': alt, 'ticks': ticks, **frame, **drawn}


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _spread(row: Searched) -> tuple[float, float]:
    """The ends of a row's own axis."""
    values = [value for point in row.points for value in point.values if math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    air = 0.12 * (high - low) or 0.05 * abs(high) or 1.0
    return low - air, high + air


def _chosen(row: Searched) -> str:
    """What a panel says in words: the point that was chosen and its mean, then the points that have no number."""
    said = []
    for point in row.points:
        if point.chosen and point.values:
            said.append(f'chosen {_named(point)}: {tables.spread(point.values)} %')
    said += [f'{_named(point)}: {point.note or "no number"}' for point in row.points if point.note or not point.values]
    return '; '.join(said)


def _named(point: Point) -> str:
    return ', '.join(point.at.values())


def _dots(point: Point, places: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    kind = 'chosen' if point.chosen else 'other'
    return [{'kind': kind, 'x': x, 'y': y} for x, y in places]


def _over_field(row: Searched, field: str, log: bool) -> dict[str, Any]:
    points = sorted(row.points, key=lambda point: float(point.at[field]))
    values = [float(point.at[field]) for point in points]
    first, last = values[0], values[-1]
    if first == last:
        first, last = (first / 2, last * 2) if log else (first - 1, last + 1)
    x, y = _Axis(first, last, _LEFT + 14, _WIDE - 24, log), _vertical(*_spread(row))
    means, dots, lost = [], [], []
    for value, point in zip(values, points, strict=True):
        found = [one for one in point.values if math.isfinite(one)]
        dots += _dots(point, [(x.place(value), y.place(one)) for one in found])
        if found:
            means.append((x.place(value), y.place(sum(found) / len(found))))
        if point.note or not found:
            lost.append({'kind': 'lost', 'x': x.place(value), 'y': _TOP - 2, 'text': '×'})
    drawn = {'lines': [{'kind': 'mean', 'points': _path(means)}] if means else [], 'names': lost, 'dots': dots}
    made = _panel(Panel(row.title, row.href, (), _chosen(row)), drawn, x, y)
    apart, shown = -math.inf, []
    for value, point in zip(values, points, strict=True):  # the grid's own values, as far as there is room for them
        if x.place(value) - apart >= 13 * max(3, len(point.at[field])):
            shown.append({'at': x.place(value), 'text': point.at[field]})
            apart = x.place(value)
    return made | {'right': _WIDE - 10, 'ticks': {**made['ticks'], 'across': shown}}


def _by_name(row: Searched) -> dict[str, Any]:
    low, high = _spread(row)
    step, left = 30, min(230, 14 + 12 * max(len(_named(point)) for point in row.points))
    bottom = _TOP + step * len(row.points)
    x, dots, names, lines, up = _Axis(low, high, left, _WIDE - 40), [], [], [], []
    for number, point in enumerate(row.points):
        height = _TOP + round(step * (number + 0.5))
        found = [one for one in point.values if math.isfinite(one)]
        dots += _dots(point, [(x.place(one), height) for one in found])
        up.append({'at': height, 'text': _named(point)})
        if found:
            mean = x.place(sum(found) / len(found))
            lines.append({'kind': 'mean', 'points': _path([(mean, height - 10), (mean, height + 10)])})
        if point.note or not found:
            names.append({'kind': 'lost', 'x': _WIDE - 20, 'y': height, 'text': '×'})
    made = _panel(Panel(row.title, row.href, (), _chosen(row)), {'lines': lines, 'names': names, 'dots': dots}, None, None)
    frame = {'left': left, 'right': _WIDE - 10, 'bottom': bottom, 'high': bottom + _BOTTOM}
    return made | frame | {'ticks': {'across': x.ticks(3), 'up': up}}
