"""The stride diagnosis's tables, claims and figures, from the measures of each network by row and seed (Zeiler & Fergus 2013, section 4.1).

A row is a cell, (kernel/stride of layer 1, stride of layer 2), with or without renormalised filters. Its measures are those of
filters.py; shares and errors are in percent.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_research.reporting import claims, panels
from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.paired import OnImages, over_images
from cnn_research.reporting.published import published
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Cell as Value
from cnn_research.reporting.tables import Column, Table


class Cell(NamedTuple):
    """What a row's label says: kernel and stride of layer 1, stride of layer 2, whether filters are renormalised, a point in a grid."""

    kernel: int
    stride: int
    second: int
    renormalised: bool
    point: str

    @property
    def name(self) -> str:
        return f'({self.kernel}/{self.stride}, {self.second})' + (f' {self.point}' if self.point else '')


def cell(label: str) -> Cell:
    """'(7/2, 2), renormalised (optimizer.learning_rate=0.01)', where both parts after the cell may be missing; else ValueError."""
    found = re.fullmatch(r'\((\d+)/(\d+), (\d+)\)(, renormalised)?(?: \((.+)\))?', label)
    if not found:
        raise ValueError(f'{label!r} is no cell; a label is like (7/2, 2), renormalised')
    return Cell(*map(int, found.group(1, 2, 3)), bool(found[4]), found[5] or '')


class Row(NamedTuple):
    """One row: {seed: test error in %}, {seed: measures}, the layer-1 kernels of its first seed, and what is wrong with it ('').

    top5 {} where it has no meaning; images: {seed: what the test says of every image, None where it was not kept}; classes: None before
    the first result.
    """

    label: str
    parameters: int | None
    test: Mapping[int, float]
    measures: Mapping[int, Mapping[str, Any]]
    kernels: np.ndarray | None
    problem: str
    top5: Mapping[int, float]
    images: Mapping[int, OnImages | None]
    classes: int | None

    @property
    def cell(self) -> Cell:
        return cell(self.label)


class Axes(NamedTuple):
    """Of the frequency histograms, in cycles per pixel: edges of the bins, upper limits of the low and the mid band.

    ranges: {kernel of layer 1: (least, that of random weights, most) of what a varying filter can have in mid}, shares of its energy.
    """

    edges: Sequence[float]
    limits: tuple[float, float]
    ranges: Mapping[int, tuple[float, float, float]]


# ---- measures


def _mean(layer: int, name: str) -> Callable:
    """The mean over a layer's filters, in percent; NaN where one has no share, as a filter of zeros."""
    return lambda measures: float(100 * np.mean(np.array(measures[f'layer{layer}'][name], float)))


def _dead(layer: int) -> Callable:
    return lambda measures: 100 * float(np.mean(np.logical_or(*(measures[f'layer{layer}'][name] for name in ('never', 'always')))))


def _shift(tap: Callable[[Mapping], str]) -> Callable:
    return lambda measures: 100 * float(np.mean(measures['shift'][tap(measures['shift'])]))


def _last_maps(shift: Mapping) -> str:
    """The highest tap of `shift` that every network has: the logits are there only where the images leave a margin."""
    return list(shift)[2]


# {quantity: (header, format, value of one network's measures)}
_LAYER1 = {
    'dead': ('dead, %', '.1f', _dead(1)),
    'dominance': ('largest / median RMS', '.2f', lambda measures: measures['layer1']['dominance']),
    'constant': ('constant, %', '.1f', _mean(1, 'constant')),
    'low': ('low, %', '.1f', _mean(1, 'low')),
    'mid': ('mid, %', '.1f', _mean(1, 'mid')),
    'high': ('high, %', '.1f', _mean(1, 'high')),
    'coverage': ('mid coverage, %', '.1f', lambda measures: 100 * measures['layer1']['coverage']),
    'colour': ('colour, %', '.1f', _mean(1, 'colour')),
    'aliasing': ('aliasing, %', '.1f', _mean(1, 'aliasing')),
    'shift': ('shift sensitivity of layer 2, %', '.1f', _shift(lambda shift: 'layer2')),
}
_MORE = {
    'rarely': ('layer 1: rarely active, %', '.1f', _mean(1, 'rarely')),
    'variation': ('layer 1: variation of RMS, %', '.1f', lambda measures: 100 * measures['layer1']['variation']),
    'oriented': ('layer 1: orientation selectivity, %', '.1f', _mean(1, 'selectivity')),
    'dead2': ('layer 2: dead, %', '.1f', _dead(2)),
    'rarely2': ('layer 2: rarely active, %', '.1f', _mean(2, 'rarely')),
    'dominance2': ('layer 2: largest / median RMS', '.2f', lambda measures: measures['layer2']['dominance']),
    'oriented2': ('layer 2: orientation selectivity, %', '.1f', _mean(2, 'selectivity')),
    'aliasing2': ('layer 2: aliasing, %', '.1f', _mean(2, 'aliasing')),
    'shift1': ('shift sensitivity of layer 1, %', '.1f', _shift(lambda shift: 'layer1')),
    'shift_last': ('shift sensitivity of the last maps, %', '.1f', _shift(_last_maps)),
}


def values(row: Row, quantity: str) -> dict[int, float]:
    """{seed: value} of a quantity, finite or not: 'error' and 'top5' in percent, or one of the columns of the tables."""
    if quantity in ('error', 'top5'):
        return dict(row.test if quantity == 'error' else row.top5)
    measure = (_LAYER1 | _MORE)[quantity][2]
    return {seed: measure(measures) for seed, measures in sorted(row.measures.items())}


# ---- claims


_SAID = 'Zeiler & Fergus 2013, section 4.1 and Fig. 6'
_PICTURES = 'the source shows pictures; the measure is ours'


def stated(rows: Sequence[Row]) -> list[claims.Claim]:
    """What the paper says of its own first layer, (7/2, 2), against Krizhevsky's, (11/4, 1), or of the cells in their place here.

    Both are renormalised, as the paper's networks are. The paper bounds the filters because a few dominate: the last claim.
    """
    if not _crossed(rows):
        return []
    bound = [row for row in rows if row.cell.renormalised]
    coarse, fine = (choose(bound, key=lambda row: row.cell[:2], default=None) for choose in (max, min))
    if coarse == fine:
        return []
    there, less, more = f'{fine.cell.name} than {coarse.cell.name}', {coarse.label: 1, fine.label: -1}, {fine.label: 1, coarse.label: -1}
    dead = f'Smaller filters and stride leave fewer dead filters in layer 1: {there}.'
    found = [
        claims.Claim(dead, _SAID, (less,), quantity='dead', instead=_PICTURES, key='zf.stride.dead'),
        claims.Claim(
            f'They cover more of the mid frequencies, measured against what filters of their size can: {there}.',
            f'{_SAID} ("little coverage of the mid frequencies")',
            (more,),
            quantity='coverage',
            instead=_PICTURES,
            key='zf.stride.mid',
        ),
        claims.Claim(
            f'What layer 2 says changes less when the image is shifted: {there}.',
            f'{_SAID} ("aliasing artifacts caused by the large stride")',
            (less,),
            quantity='shift',
            instead=_PICTURES,
            key='zf.stride.aliasing',
        ),
        claims.Claim(
            f'The error is lower: {there}.', 'Zeiler & Fergus 2013, Tables 2 and 3', (less,), quantity='error', key='zf.stride.error'
        ),
    ]
    free = next((row for row in rows if row.cell[:3] == coarse.cell[:3] and not row.cell.renormalised), None)
    if free:
        sentence = f'Without renormalisation a few filters of layer 1 dominate: {free.label} more than {coarse.label}.'
        pair = {free.label: 1, coarse.label: -1}
        source = 'Zeiler & Fergus 2013, section 3 and Fig. 6a'
        found.append(claims.Claim(sentence, source, (pair,), quantity='dominance', instead=_PICTURES, key='zf.stride.dominance'))
    return found


def _crossed(rows: Sequence[Row]) -> bool:
    """Whether a cell and its renormalisation name one row, as they do not where a grid is crossed with them."""
    return len({row.cell[:4] for row in rows}) == len(rows)


def judged(rows: Sequence[Row], demonstration: bool) -> list[claims.Judged]:
    """The claims held against the rows, each by its own quantity."""
    problems = {row.label: row.problem for row in rows if row.problem}
    classes = next((row.classes for row in rows if row.classes), None)
    images, found = {row.label: row.images for row in rows}, []
    for claim in stated(rows):
        quantity = claim.quantity
        if quantity == 'error':
            claim = claims.on_errors(claim, classes)
            quantity = 'error' if claim.top == 1 else 'top5'
        found.append(claims.judge(claim, {row.label: values(row, quantity) for row in rows}, problems, demonstration, images))
    return found


# ---- tables


def _printed(label: str) -> float | None:
    """The paper's validation top-1 error of its two cells; both were renormalised."""
    rows = {'(11/4, 1), renormalised': 'replication of krizhevsky, 1 convnet', '(7/2, 2), renormalised': 'our model'}
    return published('zf table 3', rows[label], 'val top-1').value if label in rows else None


def _cell(found: Mapping[int, float]) -> list[float] | Value | None:
    """The values of all seeds, or which of them are no numbers."""
    broken = [str(seed) for seed, value in found.items() if not np.isfinite(value)]
    return Value(None, note=f'not finite: seed {", ".join(broken)}') if broken else list(found.values()) or None


def table(rows: Sequence[Row], caption: str, more: bool = False) -> Table:
    """The measures of layer 1 with the error; `more`: the others."""
    quantities, lines = _MORE if more else _LAYER1, []
    for row in rows:
        line = {name: _cell(values(row, name)) for name in quantities}
        lines.append(
            {
                'cell': row.cell.name,
                'renormalised': 'yes' if row.cell.renormalised else 'no',
                'parameters': row.parameters,
                'error': [row.test[seed] for seed in sorted(row.test)] or None,
                'top5': _cell(row.top5),
                'paper': _printed(row.label),
                'note': row.problem or None,
                **line,
            }
        )
    columns = [Column('cell'), Column('renormalised')]
    measured = [Column(name, header, format) for name, (header, format, _) in quantities.items()]
    if more:
        return Table(columns + measured, lines, caption)
    error = [Column('error', 'test error, %', '.2f')]
    error += [Column('top5', 'test error, % (top-5)', '.2f')] if any(row.top5 for row in rows) else []
    error += [Column('paper', 'paper: val top-1, %', '.1f')] if any(line['paper'] for line in lines) else []
    note = [Column('note')] if any(row.problem for row in rows) else []
    return Table([*columns, *error, *measured, Column('parameters', format=',d'), *note], lines, caption)


def _contrast(rows: Sequence[Row], factor: str) -> dict[str, float]:
    """{label: coefficient}: the change when one factor takes its other level, the mean over all pairs of rows that differ in it alone."""
    level = {
        'filter': lambda row: -row.cell.kernel,
        'stride': lambda row: -row.cell.stride,
        'renormalisation': lambda row: row.cell.renormalised,
    }
    others = [name for name in level if name != factor]
    pairs = [
        (low.label, high.label)
        for low in rows
        for high in rows
        if level[factor](low) < level[factor](high) and all(level[name](low) == level[name](high) for name in others)
    ]
    weights = {label: 0.0 for pair in pairs for label in pair}
    for low, high in pairs if _crossed(rows) else ():
        weights[low] -= 1 / len(pairs)
        weights[high] += 1 / len(pairs)
    return {label: weight for label, weight in weights.items() if weight}


def effects(rows: Sequence[Row], caption: str) -> Table:
    """What the crossed cells are for: the effect of each factor by itself, where all rows have the seeds; errors over test images, too."""
    factors = {'filter': 'smaller filter', 'stride': 'smaller stride', 'renormalisation': 'renormalised'}
    contrasts, lines = {factor: _contrast(rows, factor) for factor in factors}, []
    errors = {'error': 'test error, %', **({'top5': 'test error, % (top-5)'} if any(row.top5 for row in rows) else {})}
    for quantity, header in {**{name: header for name, (header, _, _) in _LAYER1.items()}, **errors}.items():
        found = {row.label: values(row, quantity) for row in rows}
        lines.append({'quantity': header, **{factor: _effect(contrast, found) for factor, contrast in contrasts.items()}})
    images = {row.label: row.images for row in rows}
    over = {factor: over_images(contrast, images, 1) if contrast else None for factor, contrast in contrasts.items()}
    if any(over.values()):
        lines.append({'quantity': 'test error, %, over test images', **over})
    return Table([Column('quantity'), *(Column(factor, header, '+.2f') for factor, header in factors.items())], lines, caption)


def _effect(contrast: Mapping[str, float], found: Mapping[str, Mapping[int, float]]) -> claims.Interval | Value | None:
    seeds = set.intersection(*(set(found[label]) for label in contrast)) if contrast else set()
    sums = [sum(weight * found[label][seed] for label, weight in contrast.items()) for seed in sorted(seeds)]
    return None if not sums else claims.interval(sums) if np.isfinite(sums).all() else Value(None, note='not finite')


# ---- figures


def _halves(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    halves = [(words, [row for row in rows if row.cell.renormalised is how]) for words, how in (('', False), (', renormalised', True))]
    return [(words, half) for words, half in halves if any(row.measures for row in half)]


def filters(rows: Sequence[Row], scaling: str) -> Figure:
    """Layer 1 of every row that has a network: each cell a column, renormalised below."""
    shown = [(row.label, row.kernels) for _, half in _halves(rows) for row in half if row.kernels is not None]
    return panels.filter_grids(shown, max(len(half) for _, half in _halves(rows)), scaling)


def frequencies(rows: Sequence[Row], axes: Axes) -> Figure:
    """The mean share of a layer-1 filter's energy in every ring of frequencies."""
    edges = np.asarray(axes.edges)

    def line(row):
        shares = [100 * np.nanmean(np.array(measures['layer1']['histogram'], float), axis=0) for measures in row.measures.values()]
        return panels.Line(row.cell.name, (edges[1:] + edges[:-1]) / 2, np.stack(shares))

    drawn = [(f'layer 1{words}', [line(row) for row in half if row.measures]) for words, half in _halves(rows)]
    marks = dict(zip((edges[0], *axes.limits), ('low', 'mid', 'high'), strict=True))
    return panels.line_panels(drawn, len(drawn), 'frequency, cycles per pixel', 'share of energy, %', marks)


def shifts(rows: Sequence[Row]) -> Figure:
    """Shift sensitivity against the shift, a panel for every tap."""
    taps = list(next(iter(next(row for row in rows if row.measures).measures.values()))['shift'])

    def line(row, tap):
        curves = [[0, *(100 * value for value in measures['shift'][tap])] for measures in row.measures.values()]
        return panels.Line(row.cell.name, range(len(curves[0])), np.array(curves))

    drawn = [
        (f'{tap.replace("layer", "layer ")}{words}', [line(row, tap) for row in half if row.measures])
        for words, half in _halves(rows)
        for tap in taps
    ]
    return panels.line_panels(drawn, len(taps), 'shift of the image, px', 'change of the features, % of the distance between images')


# ---- the report

_ABOUT = (
    'A cell is (kernel/stride of layer 1, stride of layer 2). Renormalised: every convolution filter is kept at an RMS of at most '
    '{bound:g} during training. Dead: maps whose nonlinearity is active nowhere, or everywhere, on the whole test set; a smaller '
    'stride has more positions to be active at. Largest / median RMS: a bound on the RMS lowers it by definition where filters '
    'reach it, so the claim says no more than that some outgrow it. Colour: the share of energy at right angles to grey, 67 % in '
    'random weights of every size.\n\n'
    "Constant, low, mid, high: shares of a filter's energy, the mean over filters: in its mean over positions, and in frequencies "
    'below {low:g}, up to {mid:g}, and above, in cycles per pixel. They cannot be compared between sizes: a kernel of k pixels '
    'cannot tell frequencies closer than about 1/k. Of what varies, random weights and the best filter of a size have in mid: '
    '{ranges}. Mid coverage sets the share of what varies between these: 0 % where the filters have on average as much as random '
    'weights, 100 % where each has as much as any of its size could, -100 % where as little, the same at every size. The claim is '
    'judged on it; the shares are judged by nothing.\n\n'
    "Aliasing: the share of the energy of layer 1's response at stride 1 that its stride folds; it falls with the stride almost by "
    'definition, and is 0 without one, so no claim is judged on it. Shift sensitivity: the distance between the features of an '
    'image and of the same image shifted, over that between two images, the mean over shifts of 1 to {shift} px. The product of '
    'both strides is the same in all cells; but a larger kernel averages over more pixels and feels shifts less, whatever its '
    'stride.\n\n'
    'Frequencies of layer 2 are left out: its kernels read rectified and pooled responses, and what they vary with is the pattern '
    'of those, not the image. Orientation selectivity, among further measures, is larger in random weights of smaller kernels.'
)
_EFFECTS = (
    'Each column is the change when one factor takes its other level and the others stay, the mean over the four pairs of rows that differ '
    "in it alone, within seeds, with Student's 95 % interval over seeds; over test images: the same mean, with the bootstrap interval of "
    'drawing the test images anew. In all cells the product of both strides and the maps that '
    'layer 3 reads are the same: a smaller stride in layer 1 is a larger one in layer 2.'
)
_CLUTTER = 'Clutter is a demonstration: its data and its recipe were chosen so that depth matters. Its effects stand without verdicts.'


def _lead(rows: Sequence[Row], judgements: Sequence[claims.Judged]) -> str:
    if not any(row.test for row in rows):
        return 'No row is finished yet.'
    best = min((row for row in rows if row.test), key=lambda row: np.mean(list(row.test.values())))
    said = f'The lowest mean test error is that of {best.label}: {np.mean(list(best.test.values())):.2f} %.'
    return said + claims.count(judgements)


def report(
    rows: Sequence[Row], data: str, axes: Axes, largest_shift: int, bound: float, show: Shelf
) -> tuple[str, str, list[tuple[str, str]]]:
    """(title, lead, [(heading, markup)]) of the experiment on a data set; tables and figures go to the shelf.

    largest_shift: px of the last shift measured; bound: the largest RMS of a renormalised filter.
    """
    demonstration = data == 'clutter'
    judgements = judged(rows, demonstration)
    caption = f'The first layer on {data}: mean ± standard deviation (seeds).'
    ranges = '; '.join(f'{kernel} px, {100 * random:.0f} and {100 * most:.0f} %' for kernel, (_, random, most) in axes.ranges.items())
    about = _ABOUT.format(low=axes.limits[0], mid=axes.limits[1], ranges=ranges, shift=largest_shift, bound=bound)
    sections = [('Measures', show.table('stride', table(rows, caption)) + show.text(about))]
    if demonstration:
        sections.append(('About clutter', show.text(_CLUTTER)))
    if judgements:
        sections.append(('Claims', show.claims(judgements)))
    caption = 'The effect of each factor by itself [95 %].'
    sections.append(('Filter, stride, renormalisation', show.table('effects', effects(rows, caption)) + show.text(_EFFECTS)))
    sections.append(('More measures', show.table('more', table(rows, 'Mean ± standard deviation (seeds).', more=True))))
    if any(row.measures for row in rows):
        drawn = show.figure('filters', filters(rows, 'each'), 'Filters of layer 1, first seed.')
        drawn += show.figure('filters_shared', filters(rows, 'shared'), 'The same: a filter that dominates, or is dead, shows.')
        drawn += show.figure('frequencies', frequencies(rows, axes), 'Where the filters have their energy; bands reach over the seeds.')
        drawn += show.figure('shifts', shifts(rows), 'How far shifts of the image change the features; bands reach over the seeds.')
        sections.append(('Figures', drawn))
    return f'Stride diagnosis on {data}', _lead(rows, judgements), sections
