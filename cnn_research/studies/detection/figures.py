"""Detection's figures: recall of proposals, precision against recall, what false detections are, and boxes on images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_research.reporting import panels
from cnn_research.reporting.drawing import Axes, Figure, Rectangle
from cnn_research.reporting.figures import COLOURS, QUIET, RIGHT, STYLES, WIDTH, WRONG, legend_below
from cnn_research.reporting.panels import Line

KINDS = ('right', 'localisation', 'similar', 'other', 'background')
_COLOURS = dict(zip(KINDS[1:], ('#0072b2', '#56b4e9', '#e69f00', '#999999'), strict=True))
MOST_CLASSES = 20
_TRUTH = '#f0e442'
EXAMPLES = (
    'All detections of a class down to the score at which half of those that strong are right (Girshick et al. 2014, Fig. 8), with '
    'class and score: ✓ right, ✗ false. Dashed: objects; those that none of the drawn detections finds are named. Dotted: difficult ones, '
    'and detections of them. Images are evenly spaced over the test, not picked.'
)


class Picture(NamedTuple):
    """image uint8 (H, W, 3), and what is drawn on it, as `evaluation.scene` tells it."""

    image: np.ndarray
    scene: Mapping[str, Any]


def recall(told: Mapping[str, tuple[Sequence[int], Mapping[float, Sequence[float]]]]) -> Figure:
    """Recall against the number of proposals, a colour for each way to propose and a dash for each overlap; see `report.report`."""
    figure = Figure(figsize=(WIDTH, 4.2), layout='constrained')
    axes = figure.add_subplot()
    handles, names, ticks = [], [], set()
    overlaps = sorted({overlap for _, of in told.values() for overlap in of})
    for number, (name, (counts, of)) in enumerate(told.items()):
        for overlap, values in sorted(of.items()):
            style = {'color': COLOURS[number % len(COLOURS)], 'linestyle': STYLES[overlaps.index(overlap) % len(STYLES)]}
            handles += axes.plot(counts, values, marker='o', markersize=3.5, linewidth=1.6, **style)
            names.append(f'{name}, overlap {overlap:g}')
        ticks |= set(counts)
    axes.set_xscale('log')
    shown = _apart(sorted(ticks))
    axes.set_xticks(shown, [f'{tick:,}' for tick in shown])
    axes.minorticks_off()
    axes.set(ylim=(0, 1.02), xlabel='proposals an image', ylabel='recall of the objects')
    axes.grid(color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    legend_below(figure, handles, names)
    return figure


def _apart(ticks: Sequence[int]) -> list[int]:
    """Of rising ticks those that have room beside each other on a logarithmic axis; the last is among them."""
    room, found = math.log(ticks[-1] / ticks[0]) / 14, []
    for tick in reversed(ticks):
        if not found or math.log(found[-1] / tick) > room:
            found.append(tick)
    return found[::-1]


def precision_recall(rows: Sequence[tuple[str, Mapping[int, Mapping[str, Any]]]], class_names: Sequence[str]) -> tuple[Figure, int]:
    """A panel for each class that has objects, those with the most; a line for each (name, {seed: outcome}), of its first seed. And how
    many such classes are left out."""
    first = [(name, outcomes[min(outcomes)]) for name, outcomes in rows]
    objects = first[0][1]['objects']
    there = [label for label, count in enumerate(objects) if count]
    drawn = sorted(sorted(there, key=lambda label: -objects[label])[:MOST_CLASSES])
    found = []
    for label in drawn:
        lines = [Line(name, *_envelope(outcome['curves'][label])) for name, outcome in first]
        found.append((f'{class_names[label]} ({objects[label]})', lines))
    columns = 4 if len(found) > 6 else min(3, len(found))
    figure = panels.line_panels(found, columns, 'recall', 'precision')
    for axes in figure.axes:
        axes.set(xlim=(0, 1.02), ylim=(0, 1.04))
    return figure, len(there) - len(drawn)


def _envelope(points: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Corners (recall, highest precision at it or beyond) of steps, from recall 0 to the last, where precision falls to 0."""
    if not points:
        return np.zeros(1), np.zeros(1)
    recalls, precisions = np.array(points)[:, 0], np.maximum.accumulate(np.array(points)[::-1, 1])[::-1]
    across = np.append(np.append(0.0, recalls[:-1])[:, None], recalls[:, None], axis=1).ravel()
    return np.append(across, recalls[-1]), np.append(np.repeat(precisions, 2), 0.0)


def kinds(outcomes: Mapping[int, Mapping[str, Any]]) -> tuple[np.ndarray | None, list[str], list[float]]:
    """(counts (multiples, kinds) over all classes and seeds, the kinds, the multiples); None for counts that no outcome has."""
    told = [outcome['diagnosis'] for outcome in outcomes.values() if outcome.get('diagnosis')]
    if not told:
        return None, [], []
    return sum(np.sum(one['counts'], axis=1) for one in told), told[0]['kinds'], told[0]['multiples']


def false_detections(rows: Sequence[tuple[str, Mapping[int, Mapping[str, Any]]]]) -> Figure:
    """Shares of the kinds of false detections as more detections are looked at, a panel for each (name, {seed: outcome})."""
    columns = min(3, len(rows))
    down = -(-len(rows) // columns)
    figure = Figure(figsize=(WIDTH, 0.75 + 2.2 * down), layout='constrained')
    grid = figure.subplots(down, columns, squeeze=False, sharex=True, sharey=True)
    handles = {}
    for axes in grid.flat[len(rows) :]:
        axes.set_axis_off()
    for index, (axes, (name, outcomes)) in enumerate(zip(grid.flat, rows, strict=False)):
        counts, names, multiples = kinds(outcomes)
        false = {kind: counts[:, names.index(kind)] for kind in _COLOURS if counts[:, names.index(kind)].any()}
        total = sum(false.values()) if false else np.zeros(len(multiples), int)
        some = np.flatnonzero(total)
        x = np.array(multiples)[some]
        shares = [100 * of[some] / total[some] for of in false.values()]
        if len(some):
            drawn = axes.stackplot(x, *shares, colors=[_COLOURS[kind] for kind in false], linewidth=0.6, edgecolor='white')
            handles |= dict(zip(false, drawn, strict=True))
        axes.set_title(_wrapped(name, 34), fontsize=8, loc='left', parse_math=False)
        axes.set_xscale('log', base=2)
        axes.set(xlim=(multiples[0], multiples[-1]), ylim=(0, 100))
        axes.set_xticks(multiples, [_multiple(one) for one in multiples])
        axes.tick_params(labelsize=8, labelbottom=index + columns >= len(rows))
        if index + columns >= len(rows):
            axes.set_xlabel("detections, in times a class's objects", fontsize=8)
        axes.spines[['top', 'right']].set_visible(False)
    figure.supylabel('share of the false ones (%)', fontsize=9)
    ordered = [kind for kind in _COLOURS if kind in handles]
    legend_below(figure, [handles[kind] for kind in ordered], ordered)
    return figure


def _multiple(value: float) -> str:
    return f'{value:g}' if value >= 1 else f'1/{1 / value:g}'


def _wrapped(text: str, length: int) -> str:
    lines = ['']
    for word in text.split(' '):
        lines = [*lines, word] if lines[-1] and len(lines[-1]) + len(word) >= length else [*lines[:-1], f'{lines[-1]} {word}'.strip()]
    return '\n'.join(lines)


# ---- boxes on images

_SIZE = 6.5  # points of a label


def pictures(shown: Sequence[Picture], class_names: Sequence[str]) -> Figure:
    """Images in two columns with their objects and detections."""
    columns = min(2, len(shown))
    side, gap, title = (WIDTH - 0.15 * (columns - 1)) / columns, 0.15, 0.2
    lines = [shown[place : place + columns] for place in range(0, len(shown), columns)]
    tall = [max(min(side * one.image.shape[0] / one.image.shape[1], 1.35 * side) for one in line) for line in lines]
    height = sum(tall) + (title + 0.05) * len(lines) + 0.35
    figure = Figure(figsize=(WIDTH, height))
    top = 0.0
    for line, high in zip(lines, tall, strict=True):
        for number, one in enumerate(line):
            left = number * (side + gap)
            axes = figure.add_axes((left / WIDTH, 1 - (top + title + high) / height, side / WIDTH, high / height))
            name = one.scene['name'] or f'image {one.scene["index"]}'
            figure.text(left / WIDTH, 1 - (top + title - 0.04) / height, name, fontsize=7.5, color=QUIET, va='bottom', parse_math=False)
            _picture(axes, one, class_names, 72 * min(side / one.image.shape[1], high / one.image.shape[0]))
        top += high + title + 0.05
    handles = [
        Rectangle((0, 0), 1, 1, facecolor='none', edgecolor=colour, linestyle=style, linewidth=1.8)
        for colour, style in ((RIGHT, '-'), (WRONG, '-'), ('#a89b00', '--'), ('#a89b00', ':'))
    ]
    names = ('✓ right', '✗ false', 'object, named where it is missed', 'difficult object')
    figure.legend(handles, names, loc='lower center', ncols=4, frameon=False, fontsize=8, handlelength=1.6)
    return figure


def _picture(axes: Axes, one: Picture, class_names: Sequence[str], scale: float) -> None:
    """scale: points a pixel."""
    height, width = one.image.shape[:2]
    axes.imshow(_smaller(one.image), extent=(0, width, height, 0), interpolation='antialiased', cmap='gray', vmin=0, vmax=255)
    axes.set(xlim=(0, width), ylim=(height, 0), anchor='NW')
    axes.set_axis_off()
    labels = []
    for real in one.scene['objects']:
        _box(axes, real['box'], _TRUTH, ':' if real['difficult'] else (0, (4, 2.5)), 1.6)
        if not real['found'] and not real['difficult']:
            labels.append((real['box'], f'missed: {class_names[real["label"]]}', _TRUTH, 'black'))
    for found in sorted(one.scene['detections'], key=lambda found: found['score']):
        colour = {'right': RIGHT, 'false': WRONG, 'ignored': QUIET}[found['state']]
        _box(axes, found['box'], colour, ':' if found['state'] == 'ignored' else '-', 1.5)
        mark = {'right': '✓ ', 'false': '✗ ', 'ignored': ''}[found['state']]
        labels.append((found['box'], f'{mark}{class_names[found["label"]]} {found["score"]:.2f}', colour, 'white'))
    taken = []
    for box, text, ground, ink in reversed(labels):  # the strongest first
        size = 0.62 * _SIZE * len(text) / scale, 1.5 * _SIZE / scale
        x, y = _place(box, size, (width, height), taken)
        taken.append((x, y, x + size[0], y + size[1]))
        style = {'facecolor': ground, 'edgecolor': 'none', 'boxstyle': 'square,pad=0.12', 'alpha': 0.88}
        axes.text(x + 0.15 * size[1], y + size[1] / 2, text, fontsize=_SIZE, color=ink, va='center_baseline', bbox=style, parse_math=False)


def _box(axes, box, colour, style, line):
    ymin, xmin, ymax, xmax = box
    place = {'xy': (xmin, ymin), 'width': xmax - xmin, 'height': ymax - ymin, 'facecolor': 'none'}
    axes.add_patch(Rectangle(**place, edgecolor='black', linewidth=line + 1, alpha=0.35))
    axes.add_patch(Rectangle(**place, edgecolor=colour, linewidth=line, linestyle=style))


def _place(box, size, image, taken) -> tuple[float, float]:
    """Where a label of that (width, height) covers the least of others: above its box, within it at the top or the bottom, below it."""
    ymin, xmin, ymax, xmax = box
    across = (xmin, xmax - size[0])
    spots = [(x, y) for y in (ymin - size[1], ymin, ymax - size[1], ymax, (ymin + ymax - size[1]) / 2) for x in across]
    spots = [(min(max(x, 0), max(image[0] - size[0], 0)), min(max(y, 0), max(image[1] - size[1], 0))) for x, y in spots]

    def covered(spot):
        x, y = spot
        return sum(
            max(0, min(x + size[0], right) - max(x, left)) * max(0, min(y + size[1], low) - max(y, high))
            for left, high, right, low in taken
        )

    return min(spots, key=covered)


def _smaller(image: np.ndarray, most: int = 900) -> np.ndarray:
    """An image of which the longer side is not far above `most`: means of whole blocks."""
    step = max(1, max(image.shape[:2]) // most)
    high, wide = (side // step * step for side in image.shape[:2])
    blocks = image[:high, :wide].reshape(high // step, step, wide // step, step, -1)
    small = blocks.mean((1, 3)).astype(np.uint8)
    return small if small.shape[-1] == 3 else small[..., 0]
