"""The layer probing's tables, claims and figures, from the outcomes of every probe (Zeiler & Fergus 2013, Table 7).

A row is a tap, of the trained networks or of the same networks before their training. Accuracies are means over classes, in percent.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_research.reporting import claims, comparisons
from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.published import rows as published_rows
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Cell, Column, Table

KINDS = {'svm': 'SVM', 'softmax': 'softmax'}
PIXELS = 'pixels'
MARK = '†'  # of what rests on a fit that did not settle


class Row(NamedTuple):
    """A tap's features and what probes made of them: outcomes[seed of the network][kind][n per class] lists one dict for each split.
    tolerance: the share of its objective that a fit which settled may still expect to gain."""

    tap: str
    trained: bool
    dimension: int
    classes: int
    test: int
    outcomes: dict[int, Any]
    tolerance: float


class About(NamedTuple):
    """What a report says beside the rows: the networks' data, the data probed, maps' largest side in px, normalisation, splits, what is
    wrong with the networks ('' if nothing)."""

    networks: str
    data: str
    side: int
    normalization: str
    splits: int
    problem: str


def sizes(rows: Sequence[Row]) -> list[int]:
    """The numbers of training images of each class that were probed, rising."""
    return sorted({int(size) for row in rows for told in row.outcomes.values() for curve in told.values() for size in curve})


def _told(row: Row, kind: str, size: int) -> dict[int, list[dict]]:
    """{seed of the network: the outcome of each split}, of the networks that have any."""
    found = {seed: told[kind].get(str(size), told[kind].get(size, [])) for seed, told in row.outcomes.items()}
    return {seed: splits for seed, splits in sorted(found.items()) if splits}


def accuracies(row: Row, kind: str, size: int) -> dict[int, list[float]]:
    """{seed of the network: accuracy of each split}."""
    return {seed: [100 * outcome['accuracy'] for outcome in splits] for seed, splits in _told(row, kind, size).items()}


def unsettled(row: Row, kind: str, size: int) -> float:
    """The largest share of a fit's objective that a further step still promised, 0 where all fits settled."""
    shares = [outcome['unsettled'] for splits in _told(row, kind, size).values() for outcome in splits]
    shares = [math.inf if share is None or math.isnan(share) else share for share in shares]
    worst = max(shares, default=0.0)
    return 0.0 if worst <= row.tolerance else worst


def by_network(row: Row, kind: str, size: int) -> dict[int, float]:
    """{seed of the network: mean accuracy over the splits}."""
    return {seed: float(np.mean(splits)) for seed, splits in accuracies(row, kind, size).items()}


def by_split(row: Row, kind: str, size: int) -> list[float]:
    """The accuracy of each split, the mean over the networks."""
    found = list(accuracies(row, kind, size).values())
    return np.mean(found, axis=0).tolist() if found else []


def _networks(rows: Sequence[Row]) -> int:
    return max((len(row.outcomes) for row in rows if row.tap != PIXELS), default=0)


def _over_networks(rows: Sequence[Row]) -> bool:
    return _networks(rows) >= claims.FEWEST_SEEDS


def _values(row: Row | None, kind: str, rows: Sequence[Row]) -> list[float] | None:
    """What a cell shows: networks where there are enough of them and the row depends on them, else splits."""
    if row is None:
        return None
    size = sizes(rows)[-1]
    several = _over_networks(rows) and row.tap != PIXELS
    return (list(by_network(row, kind, size).values()) if several else by_split(row, kind, size)) or None


def _cell(row: Row | None, kind: str, size: int, values: list[float] | None) -> Cell | list[float] | None:
    """The values, marked where a fit that they rest on did not settle."""
    share = unsettled(row, kind, size) if row and values else 0.0
    return Cell(values, note=f'{MARK} {share:.0e}') if share else values


def _marked(rows: Sequence[Row], some: Sequence[int], kinds: Sequence[str] = tuple(KINDS)) -> str:
    """What the marks of a table say, for its caption; '' where it has none."""
    if not any(unsettled(row, kind, size) for row in rows for kind in kinds for size in some):
        return ''
    return (
        f' {MARK}: a fit did not settle, so the accuracy may be another; beside it the share of its objective that a further step still '
        f'promised, more than {rows[0].tolerance:.0e}.'
    )


def _unsettled_taps(rows: Sequence[Row], some: Sequence[int], kinds: Sequence[str] = tuple(KINDS)) -> str:
    """The rows of a figure that rest on fits that did not settle, for its caption."""
    found = dict.fromkeys(row.tap for row in rows if any(unsettled(row, kind, size) for kind in kinds for size in some))
    return f' {MARK} fits that did not settle: {", ".join(found)}.' if found else ''


def _printed(tap: str, kind: str) -> float | None:
    number = re.fullmatch(r'layer(\d+)', tap)
    key = f'zf table 7/{kind} ({number[1]})' if number else ''
    found = [r.value for r in published_rows('zf table 7') if r.key == key and r.quantity.startswith('caltech-101')]
    return found[0] if found else None


def _pairs(rows: Sequence[Row]) -> list[tuple[Row, Row | None]]:
    """Every trained row with the same tap before training, the pixels first."""
    before = {row.tap: row for row in rows if not row.trained}
    return [(row, before.get(row.tap)) for row in sorted((row for row in rows if row.trained), key=lambda row: row.tap != PIXELS)]


def table(rows: Sequence[Row], caption: str) -> Table:
    """Every tap with the most training images, beside the untrained network and the paper's Table 7."""
    lines, size = [], sizes(rows)[-1]
    for row, before in _pairs(rows):
        chosen = sorted({outcome['cost'] for splits in _told(row, 'svm', size).values() for outcome in splits})
        lines.append(
            {
                'features': row.tap,
                'dimension': row.dimension,
                **{kind: _cell(row, kind, size, _values(row, kind, rows)) for kind in KINDS},
                **{f'untrained {kind}': _cell(before, kind, size, _values(before, kind, rows)) for kind in KINDS},
                **{f'paper {kind}': _printed(row.tap, kind) for kind in KINDS},
                'cost': ' to '.join(f'{cost:g}' for cost in dict.fromkeys((chosen[0], chosen[-1]))) if chosen else None,
            }
        )
    columns = [Column('features')]
    for kind, name in KINDS.items():
        columns += [Column(kind, f'{name}, %', '.2f'), Column(f'paper {kind}', f'paper: {name}, %', '.1f')]
    columns += [Column(f'untrained {kind}', f'untrained: {name}, %', '.2f') for kind, name in KINDS.items()]
    caption += _marked(rows, [size])
    return Table([*columns, Column('dimension', 'dimensions', ',d'), Column('cost', 'C of the SVM')], lines, caption)


def curve_table(rows: Sequence[Row], kind: str, caption: str) -> Table:
    """Every tap with every number of training images: mean and standard deviation over splits."""
    some, pairs = sizes(rows), _pairs(rows)
    lines = [
        {'features': row.tap} | {str(size): _cell(row, kind, size, by_split(row, kind, size) or None) for size in some} for row, _ in pairs
    ]
    caption += _marked([row for row, _ in pairs], some, [kind])
    return Table([Column('features'), *(Column(str(size), f'{size} per class, %', '.2f') for size in some)], lines, caption)


# ---- claims

_TABLE7 = 'Zeiler & Fergus 2013, section 5.4 and Table 7'


def stated(taps: Sequence[str]) -> list[claims.Claim]:
    """What the paper's table says of the layers, as far as their taps are there."""
    low = [f'layer{number}' for number in range(1, 6) if f'layer{number}' in taps]
    said = []
    quantity = 'mean accuracy per class (SVM)'
    if {'layer1', 'layer5'} <= set(taps):
        contrast = (claims.difference('layer5', 'layer1'),)
        said.append(claims.Claim('Layer 5 is worth more than layer 1.', _TABLE7, contrast, quantity=quantity, key='zf.layers.five'))
    if len(low) == 5:
        sentence = 'From layer 1 to layer 5 every layer is worth more.'
        said.append(claims.Claim(sentence, _TABLE7, claims.rising(*low), quantity=quantity, key='zf.layers.every'))
    if {'layer5', 'layer7'} <= set(taps):
        said.append(
            claims.Claim(
                'Layer 7 against layer 5.',
                _TABLE7,
                (claims.difference('layer7', 'layer5'),),
                quantity=quantity,
                directed=False,
                note="the paper's SVM falls on Caltech-101 and rises on Caltech-256",
                key='zf.layers.seven',
            )
        )
    return said


def judged(rows: Sequence[Row], about: About) -> list[claims.Judged]:
    """The claims held against the trained networks' mean accuracies over the splits; none rests on a fit that did not settle."""
    trained = [row for row in rows if row.trained and row.tap != PIXELS]
    size = sizes(rows)[-1]
    values = {row.tap: by_network(row, 'svm', size) for row in trained}
    problems = {
        row.tap: f'{row.tap}: a fit did not settle (a further step promised {share:.0e} of its objective)'
        for row in trained
        if (share := unsettled(row, 'svm', size))
    }
    problems |= dict.fromkeys(values, about.problem) if about.problem else {}
    return [claims.judge(claim, values, problems, 'clutter' in (about.networks, about.data)) for claim in stated(list(values))]


# ---- figures


def bars(rows: Sequence[Row]) -> Figure:
    """Every layer's accuracy, before its training and in the paper."""
    pairs = _pairs(rows)
    series = {name: [_values(row, kind, rows) or [] for row, _ in pairs] for kind, name in KINDS.items()}
    series['untrained, SVM'] = [_values(before, 'svm', rows) or [] for _, before in pairs]
    paper = {"paper's SVM, Caltech-101": [_printed(row.tap, 'svm') for row, _ in pairs]}
    return comparisons.bars([row.tap for row, _ in pairs], series, 'mean accuracy per class (%)', paper)


def curves(rows: Sequence[Row]) -> Figure:
    """Accuracy of the SVM against the number of training images of each class."""
    drawn = [(row.tap, sizes(rows), [by_split(row, 'svm', size) for size in sizes(rows)]) for row, _ in _pairs(rows)]
    return comparisons.accuracy_curves(drawn, 'training images of each class', 'mean accuracy per class (%)')


# ---- the report

_ABOUT = (
    'For every row a linear SVM (one against the rest, squared hinge) and a softmax were fitted to the features alone, {normalization}, '
    'with C chosen by cross-validation inside the training part: {size} images of each of {classes} classes, {splits} random splits, '
    '{test} test images. Maps larger than {side} x {side} px were averaged to that, pixels to 32 x 32; the dimensions are what is left. '
    'Untrained: the same networks with the weights that their training began with. {spread}'
)
_NORMALIZED = {
    'standardised': 'each standardised by its mean and deviation over the whole training part, what the cross-validation holds out of it '
    'included and the test part not',
    'l2': 'each example scaled to length 1',
    'raw': 'as they are',
}
_OWN = (
    ' The networks learned from the training images, so the classifiers do too, and the test part is drawn from images that no network '
    'has learned from.'
)
_PAPER = (
    ' The paper probes an ImageNet network on the whole Caltech-101 (102 classes, 30 images of each): its numbers stand beside ours for '
    'the order of the layers.'
)
_CLUTTER = 'Clutter is a demonstration: its data and its recipe were chosen so that depth matters. Its effects stand without verdicts.'


def _spread(rows: Sequence[Row], about: About) -> str:
    if _over_networks(rows):
        return f'± is the standard deviation over {_networks(rows)} networks, each the mean of its splits; of the pixels, over the splits.'
    count = _networks(rows)
    return f'Splits only: ± is the standard deviation over {about.splits} splits of {count} network{"s" * (count != 1)}.'


def _lead(rows: Sequence[Row], judgements: Sequence[claims.Judged]) -> str:
    trained = [row for row in rows if row.trained and row.tap != PIXELS]
    means = {row.tap: float(np.mean(by_split(row, 'svm', sizes(rows)[-1]))) for row in trained}
    marked = {row.tap for row in trained if unsettled(row, 'svm', sizes(rows)[-1])}
    said = ', '.join(f'{tap} {mean:.1f}{MARK * (tap in marked)}' for tap, mean in means.items())
    note = f' {MARK}: a fit did not settle.' if marked else ''
    return f'Accuracy of the SVM in percent: {said}.{note}{claims.count(judgements)}'


def report(rows: Sequence[Row], about: About, show: Shelf) -> tuple[str, str, list[tuple[str, str]]]:
    """(title, lead, [(heading, markup)]) of the experiment; tables and figures go to the shelf."""
    title = f'Layer probing on {about.data}' + (f', networks of {about.networks}' if about.networks != about.data else '')
    if not rows:
        return title, 'No network is probed yet.', []
    size, judgements = sizes(rows)[-1], judged(rows, about)
    row = max(rows, key=lambda row: row.test)
    words = _ABOUT.format(
        normalization=_NORMALIZED[about.normalization],
        size=size,
        classes=row.classes,
        splits=about.splits,
        test=row.test,
        side=about.side,
        spread=_spread(rows, about),
    )
    words += (_OWN if about.networks == about.data else '') + _PAPER
    caption = f'Mean accuracy per class on {about.data}, {size} training images of each: mean ± standard deviation.'
    sections = [('Every layer', show.table('probing', table(rows, caption)) + show.text(words))]
    if about.problem:
        sections.append(('What is wrong', show.text(about.problem)))
    if 'clutter' in (about.networks, about.data):
        sections.append(('About clutter', show.text(_CLUTTER)))
    if judgements:
        sections.append(('Claims', show.claims(judgements)))
    drawn = show.figure('layers', bars(rows), f'What each layer is worth on {about.data}.{_unsettled_taps(rows, [size])}')
    if len(sizes(rows)) > 1:
        more = [
            show.table(f'curve_{kind}', curve_table(rows, kind, f'{name}: mean ± standard deviation (splits).'))
            for kind, name in KINDS.items()
        ]
        sections.append(('By number of training images', ''.join(more)))
        words = 'The SVM with more and more training images; bands are the deviation over splits.'
        drawn += show.figure('curves', curves(rows), words + _unsettled_taps([row for row in rows if row.trained], sizes(rows), ['svm']))
    sections.append(('Figures', drawn))
    return title, _lead(rows, judgements), sections
