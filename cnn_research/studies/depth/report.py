"""The depth ablation's tables, claims and figures, from errors by row and seed (Zeiler & Fergus 2013, Table 3, and the lecture deck).

Errors are in percent. A row's label is that of the published table; the deck's five rows are among them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cnn_research.reporting import claims, comparisons
from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.paired import OnImages, over_images
from cnn_research.reporting.published import rows as published_rows
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table

BASE, WITHOUT_34, WITHOUT_7, WITHOUT_67, WITHOUT_3467 = (
    'replication of krizhevsky, 1 convnet',
    'removed layers 3,4',
    'removed layer 7',
    'removed layers 6,7',
    'removed layers 3,4,6,7',
)
OURS = 'our model'
BASES = (BASE, OURS)
# The deck's five rows, and what it calls the four that lose layers.
DECK = {
    BASE: None,
    WITHOUT_7: 'without layer 7',
    WITHOUT_67: 'without layers 6,7',
    WITHOUT_34: 'without layers 3,4',
    WITHOUT_3467: 'without layers 3,4,6,7',
}
_TABLE3, _SAID = 'Zeiler & Fergus 2013, Table 3', "lecture deck 'A CNN for image classification', and Zeiler & Fergus 2013, Table 3"
CLAIMS = (
    claims.Claim(
        'Less depth is worse: the error without 7 is below those without 3,4 and without 6,7, and both are below that without all four.',
        _SAID,
        (
            {WITHOUT_34: 1, WITHOUT_7: -1},
            {WITHOUT_67: 1, WITHOUT_7: -1},
            {WITHOUT_3467: 1, WITHOUT_34: -1},
            {WITHOUT_3467: 1, WITHOUT_67: -1},
        ),
        key='zf.depth.order',
    ),
    claims.Claim(
        'Depth itself matters: removing all four layers costs more than removing 3,4 and removing 6,7 cost together.',
        _TABLE3,
        ({WITHOUT_3467: 1, WITHOUT_34: -1, WITHOUT_67: -1, BASE: 1},),
        key='zf.depth.together',
    ),
    claims.Claim(
        'Removing layer 7 costs little, at most the 1.1 points of the deck.',
        _SAID,
        ({WITHOUT_7: 1, BASE: -1},),
        margin=1.1,
        key='zf.depth.seven',
    ),
    claims.Claim(
        'Removing all four layers is catastrophic: half as much error again as the whole net, or more.',
        _TABLE3,
        ({WITHOUT_3467: 1, BASE: -1.5},),
        key='zf.depth.catastrophic',
    ),
    claims.Claim(
        'Removing the dense layers 6,7 costs more than removing the convolutions 3,4.',
        "the deck's drops, and the top-5 errors of Zeiler & Fergus 2013, Table 3; its top-1 errors say the opposite",
        ({WITHOUT_67: 1, WITHOUT_34: -1},),
        note='sources disagree',
        key='zf.depth.dense',
    ),
)


LABELS = frozenset(record.key.partition('/')[2] for record in published_rows('zf table 3') if record.quantity == 'train top-1')


class Row(NamedTuple):
    """One row: {seed: error in %} of each measurement, and what is wrong with it ('' if nothing); top5 {} where it has no meaning.

    images: {seed: what the test says of every image, None where it was not kept}; classes: None before the first result.
    point: of a grid, '' without one; the base of a row is that of its own point or, where one point of each row was chosen, the only one.
    """

    label: str
    point: str
    parameters: int | None
    train: Mapping[int, float]
    test: Mapping[int, float]
    top5: Mapping[int, float]
    bypassed: Mapping[int, float]
    refit: Mapping[int, float]
    retrained: str
    problem: str
    images: Mapping[int, OnImages | None]
    classes: int | None


def base_of(label: str) -> str:
    """The whole net that a row is compared with."""
    return OURS if label.startswith(OURS) else BASE


def _paired(row: Row, base: Row, quantity: str = 'test', of_base: str = 'test') -> list[float]:
    mine, theirs = getattr(row, quantity), getattr(base, of_base)
    return [mine[seed] - theirs[seed] for seed in sorted(set(mine) & set(theirs))]


def _base(row: Row, rows: Sequence[Row]) -> Row | None:
    there = [one for one in rows if one.label == base_of(row.label)]
    return next((one for one in there if one.point == row.point), there[0] if len(there) == 1 else None)


def _names(rows: Sequence[Row]) -> list[str]:
    """What each row is called: with its point where a label has several."""
    labels = [row.label for row in rows]
    return [f'{row.label} ({row.point})' if labels.count(row.label) > 1 else row.label for row in rows]


def _printed(label: str) -> dict:
    """The paper's and the deck's numbers of a row, each in a column of its own: they differ."""
    paper = {record.quantity: record.value for record in published_rows('zf table 3') if record.key == f'zf table 3/{label}'}
    base = {record.quantity: record.value for record in published_rows('zf table 3') if record.key == f'zf table 3/{base_of(label)}'}
    drops = {record.key.partition('/')[2]: record.value for record in published_rows('deck') if record.quantity == 'top-5 drop'}
    return {
        'paper_train': paper['train top-1'],
        'paper_top1': paper['val top-1'],
        'paper_top5': paper['val top-5'],
        'paper_difference': None if label in BASES else round(paper['val top-5'] - base['val top-5'], 1),
        'deck': drops.get(DECK.get(label)),
    }


def _differences(row: Row, base: Row) -> dict:
    """The cells that set a row against its base."""
    found = {'difference': claims.interval(_paired(row, base))}
    found['images'] = over_images({'row': 1, 'base': -1}, {'row': row.images, 'base': base.images}, 1)
    if row.top5 and base.top5:
        found['difference5'] = claims.interval(_paired(row, base, 'top5', 'top5'))
    return found


def _cell(values: Mapping[int, float]) -> list[float] | None:
    return [values[seed] for seed in sorted(values)] or None


def table(rows: Sequence[Row], caption: str) -> Table:
    """Each row trained from scratch, beside the paper and the deck."""
    lines = []
    for name, row in zip(_names(rows), rows, strict=True):
        base = _base(row, rows)
        lines.append(
            {
                'row': name,
                'point': row.point or None,
                'parameters': row.parameters,
                'fewer': base.parameters - row.parameters if base and row is not base and base.parameters and row.parameters else None,
                'train': _cell(row.train),
                'test': _cell(row.test),
                'top5': _cell(row.top5),
                **(_differences(row, base) if base and row is not base else {}),
                'note': row.problem or None,
                **_printed(row.label),
            }
        )
    columns = [
        Column('row'),
        *([Column('point', 'chosen on holdout')] if any(row.point for row in rows) and _names(rows) == [row.label for row in rows] else []),
        Column('test', 'test error, % (top-1)', '.2f'),
        *([Column('top5', 'test error, % (top-5)', '.2f')] if any(row.top5 for row in rows) else []),
        Column('difference', 'top-1 difference [95 %]', '+.2f'),
        *([Column('images', 'the same, over test images [95 %]', '+.2f')] if any(line.get('images') for line in lines) else []),
        *([Column('difference5', 'top-5 difference [95 %]', '+.2f')] if any(row.top5 for row in rows) else []),
        Column('deck', 'deck: top-5 drop', '+.1f'),
        Column('paper_difference', 'paper: top-5 difference', '+.1f'),
        Column('parameters', format=',d'),
        Column('fewer', 'fewer parameters', ',d'),
        Column('train', 'train error, %', '.2f'),
        Column('paper_top5', 'paper: val top-5, %', '.1f'),
        Column('paper_top1', 'paper: val top-1, %', '.1f'),
        Column('paper_train', 'paper: train top-1, %', '.1f'),
        *([Column('note')] if any(row.problem for row in rows) else []),
    ]
    return Table(columns, lines, caption)


def lesion_table(rows: Sequence[Row], caption: str) -> Table:
    """The same surgery from birth and on the grown net."""
    lines = []
    for row in rows:
        base = _base(row, rows)
        if base and (row.refit or row.bypassed):
            lines.append(
                {
                    'row': row.label,
                    'birth': claims.interval(_paired(row, base)),
                    'bypassed': claims.interval(_paired(row, base, 'bypassed')),
                    'refit': claims.interval(_paired(row, base, 'refit')),
                    'refit_error': _cell(row.refit),
                    'retrained': row.retrained,
                }
            )
    columns = [
        Column('row'),
        Column('birth', 'from birth: difference', '+.2f'),
        Column('bypassed', 'grown, bypassed: difference', '+.2f'),
        Column('refit', 'grown, refit: difference', '+.2f'),
        Column('refit_error', 'refit: test error, %', '.2f'),
        Column('retrained', 'layers retrained'),
    ]
    return Table(columns, lines, caption)


def judged(rows: Sequence[Row], demonstration: bool) -> list[claims.Judged]:
    """CLAIMS held against the test errors (the sources' top-5 ones where they have a meaning), without those about rows that were not
    trained; none where rows have several points."""
    if _names(rows) != [row.label for row in rows]:
        return []
    classes = next((row.classes for row in rows if row.classes), None)
    errors = {1: {row.label: row.test for row in rows}, 5: {row.label: row.top5 for row in rows}}
    images = {row.label: row.images for row in rows}
    problems = {row.label: row.problem for row in rows if row.problem}
    there = [claims.on_errors(one, classes) for one in CLAIMS if all(set(contrast) <= set(images) for contrast in one.contrasts)]
    return [claims.judge(claim, errors[claim.top], problems, demonstration, images) for claim in there]


def effects(rows: Sequence[Row]) -> Figure:
    """What every row's error differs by from the whole net's, with its interval over seeds, and the paper's and the deck's beside it: of
    top-5 errors, which they speak of, where these have a meaning."""
    top5 = any(row.top5 for row in rows)
    quantity = 'top5' if top5 else 'test'
    compared = [row for row in rows if row.label not in BASES and _base(row, rows)]
    names = dict(zip(map(id, rows), _names(rows), strict=True))
    printed = [_printed(row.label) for row in compared]
    marks = {'paper (ImageNet, top-5)': [one['paper_difference'] for one in printed], 'deck (top-5)': [one['deck'] for one in printed]}
    ours = [_paired(row, _base(row, rows), quantity, quantity) for row in compared]
    words = f'difference of the {"top-5" if top5 else "top-1"} error to the whole net (points)'
    return comparisons.dots([names[id(row)] for row in compared], ours, words, marks)


def against_parameters(rows: Sequence[Row]) -> Figure:
    """Test error against the number of parameters."""
    points = [
        comparisons.Point(name, row.parameters, _cell(row.test), base_of(row.label))
        for name, row in zip(_names(rows), rows, strict=True)
        if row.test
    ]
    return comparisons.scatter(points, 'parameters', 'test error (%)')


_ABOUT = (
    'The training error is measured like the test error, without augmentation and dropout, on as many training images as there are test '
    "images. Differences are taken within seeds to the whole net of the same family, with Student's 95 % interval over the seeds; over "
    'test images: the mean over the same seeds, with the bootstrap interval of drawing the test images anew. '
    "The paper's rows are ImageNet networks, and the deck's drops differ from the paper's: both stand as printed, and only signs and order "
    'can be compared with a small sibling.'
)
_EFFECTS = (
    'What each removal costs on {}, with 95 % intervals over seeds, and what it cost on ImageNet; a published number far beyond stands at '
    'the edge.'
)
_LESIONS = (
    'The lesion is the same surgery on the trained whole net. Bypassed: nothing is learned anew (a dash where shapes do not allow it). '
    'Refit: the layers named are learned anew from their initialization in one short schedule, the same for all rows, and all others keep '
    'their trained weights. What costs much from birth and little in the grown net was needed to learn, not to see.'
)
_CLUTTER = 'Clutter is a demonstration: its data and its recipe were chosen so that depth matters. Its effects stand without verdicts.'


def _lead(rows: Sequence[Row], data: str, judgements: Sequence[claims.Judged]) -> str:
    said = []
    for name, row in zip(_names(rows), rows, strict=True):
        if DECK.get(row.label) and (base := _base(row, rows)) and (values := _paired(row, base)):
            said.append(f'{name} {comparisons.signed(sum(values) / len(values), 1)}')
    effects = f'Test error (top-1) against the whole net, in points: {"; ".join(said)}.' if said else 'No row is finished yet.'
    return effects + claims.count(judgements)


def report(rows: Sequence[Row], data: str, show: Shelf) -> tuple[str, str, list[tuple[str, str]]]:
    """(title, lead, [(heading, markup)]) of the experiment on a data set; tables and figures go to the shelf."""
    demonstration = data == 'clutter'
    judgements = judged(rows, demonstration)
    caption = f'Zeiler & Fergus 2013, Table 3, on {data}: mean ± standard deviation (seeds).'
    first = show.figure('effects', effects(rows), _EFFECTS.format(data)) if any(row.test for row in rows) else ''
    sections = [('Trained from scratch', first + show.table('depth', table(rows, caption)) + show.text(_ABOUT))]
    if demonstration:
        sections.append(('About clutter', show.text(_CLUTTER)))
    if judgements:
        sections.append(('Claims', show.claims(judgements)))
    if any(row.refit or row.bypassed for row in rows):
        caption = 'Test error in points above the trained whole net of the same seed [95 %].'
        sections.append(('From birth, and in the grown net', show.table('lesions', lesion_table(rows, caption)) + show.text(_LESIONS)))
    if any(row.test for row in rows):
        drawn = show.figure('parameters', against_parameters(rows), 'Test error against the number of parameters.')
        sections.append(('Error and parameters', drawn))
    return f'Depth ablation on {data}', _lead(rows, data, judgements), sections
