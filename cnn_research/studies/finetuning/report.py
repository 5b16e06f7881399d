"""Fine-tuning's tables, claims and figure, from the accuracies of every way at every number of images (Zeiler & Fergus 2013, Fig. 9).

Accuracies are means over classes, in percent. A row is a way with a number of training images of each class: 'frozen, 3 a class'.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from cnn_research.reporting import claims, per_class
from cnn_research.reporting.per_class import Row, by_way, parsed, sizes
from cnn_research.reporting.published import rows as published_rows
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table

FROZEN, WHOLE, SCRATCH = 'frozen', 'whole', 'scratch'
_UPPER = 'from layer '
_WAY = re.compile(rf'{FROZEN}|{WHOLE}|{_UPPER}\d+|{SCRATCH}')
_NETWORKS = ('source', 'network')  # rows of what others begin with: trained in the table, or elsewhere
_ORDER = (FROZEN, _UPPER, WHOLE, SCRATCH)


class About(NamedTuple):
    """What a report says beside the rows: the set, what the networks had learned, how many there are, the relative rate of their layers,
    steps and batch, whether rates were chosen on the holdout, what is wrong with the networks ('' if nothing)."""

    data: str
    learned: str
    networks: int
    old_rate: float
    steps: int
    batch: int
    chosen: bool
    problem: str


def label(way: str, lowest: int, size: int) -> str:
    """What a row is called; lowest: the layer from which on 'upper' learns."""
    return per_class.label(f'{_UPPER}{lowest}' if way == 'upper' else way, size)


def reads(row: str) -> bool:
    """Whether a trial's row is one of this experiment's."""
    found = parsed(row)
    return row in _NETWORKS or bool(found and _WAY.fullmatch(found[0]))


def _ordered(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: next(place for place, way in enumerate(_ORDER) if row.way.startswith(way)))


_SETS = {'zf table 4': ('Caltech-101', (15, 30)), 'zf table 5': ('Caltech-256', (15, 30, 45, 60))}


def paper() -> Table:
    """Zeiler & Fergus's Tables 4 and 5, as printed."""
    lines: dict[str, dict] = {}
    for table in _SETS:
        for record in published_rows(table):
            row, spread = record.key.partition('/')[2], f' ± {record.spread:g}' if record.spread is not None else ''
            lines.setdefault(row, {'method': row})[f'{table} {record.quantity}'] = f'{record.value:.1f}{spread}'
    columns = [Column(f'{table} {size} per class', f'{data}, {size} a class, %') for table, (data, some) in _SETS.items() for size in some]
    ordered = sorted(lines.values(), key=lambda line: 'convnet' in line['method'])  # what the paper compares with first
    caption = (
        'Zeiler & Fergus 2013, Tables 4 and 5: mean accuracy per class over five random splits. The pretrained network there is the frozen '
        'one here: ImageNet layers 1 to 7 as they are, and a new softmax.'
    )
    return Table([Column('method'), *columns], ordered, caption)


# ---- claims

_TABLES = 'Zeiler & Fergus 2013, section 5.3, Tables 4 and 5, Fig. 9'
_QUANTITY = 'mean accuracy per class'


def stated(rows: Sequence[Row]) -> list[claims.Claim]:
    """What the sources say of the ways, as far as their rows are there."""
    ways, said = by_way(rows), []

    def there(way, size):
        return size in ways.get(way, {})

    def name(way, size):
        return ways[way][size].label

    both = [size for size in sizes(rows) if there(FROZEN, size) and there(SCRATCH, size)]
    if both:
        contrasts = tuple(claims.difference(name(FROZEN, size), name(SCRATCH, size)) for size in both)
        sentence = 'A new classifier on pretrained features is above the same network from scratch, however few or many the images.'
        said.append(claims.Claim(sentence, _TABLES, contrasts, quantity=_QUANTITY, key='zf.transfer.scratch'))
    if len(both) > 1:
        few, many = both[0], both[-1]
        gap = {name(FROZEN, few): 1, name(SCRATCH, few): -1, name(FROZEN, many): -1, name(SCRATCH, many): 1}
        sentence = 'What pretraining is worth is more with the fewest images than with the most.'
        said.append(claims.Claim(sentence, _TABLES, (gap,), quantity=_QUANTITY, key='zf.transfer.fewest'))
    tuned = [size for size in sizes(rows) if there(FROZEN, size) and there(WHOLE, size)]
    if tuned:
        few, many = tuned[0], tuned[-1]
        said.append(
            claims.Claim(
                'With the most images the network fine-tuned whole is above its frozen features.',
                'Girshick et al. 2014, Table 2 (layer 7: 54.2 fine-tuned, 44.7 frozen)',
                (claims.difference(name(WHOLE, many), name(FROZEN, many)),),
                quantity=_QUANTITY,
                instead='the source: mean average precision of detection',
                note='the deck calls fine-tuning optional and gives no number',
                key='rcnn.tuned whole',
            )
        )
    if len(tuned) > 1:
        sentence = 'Frozen features against the network fine-tuned whole, with the fewest images.'
        contrast = (claims.difference(name(FROZEN, few), name(WHOLE, few)),)
        said.append(claims.Claim(sentence, 'none of the papers', contrast, quantity=_QUANTITY, directed=False, key='own.frozen fewest'))
    return said


def judged(rows: Sequence[Row], about: About) -> list[claims.Judged]:
    """The claims held against the accuracies; those of clutter, a demonstration, without verdicts."""
    values = {row.label: row.accuracy for row in rows}
    problems = {row.label: row.problem for row in rows if row.problem}
    problems |= dict.fromkeys(values, about.problem) if about.problem else {}
    return [claims.judge(claim, values, problems, 'clutter' in (about.data, about.learned)) for claim in stated(rows)]


# ---- the report


_WAYS = (
    'Frozen: the layers of the network as they are, and a new last layer. Whole: all layers learn, the old ones at {old:g} of the new '
    "one's rate, weights and biases alike. From a layer on: the same, with the layers below it frozen. Scratch: the same network from its "
    'initialization, all layers at one rate. The first three see images through the preprocessing of the network, scratch through that of '
    'its own training images.{schedule} Images are drawn anew with each seed, those of a smaller number among those of a larger one.'
)
_SPREAD = {
    True: ' Each seed has a network of its own: intervals cover the pretraining, the images drawn and the new layers.',
    False: ' All seeds begin with one network: intervals cover the images drawn and the new layers, not the pretraining.',
}
_CLUTTER = (
    'Clutter is a demonstration, and so is what a network that learned it is worth elsewhere: its composites are made of the training '
    'digits, also of those that are held out here, and never of the test digits. Its effects stand without verdicts.'
)


def _words(rows: Sequence[Row], about: About) -> str:
    words = _WAYS.format(old=about.old_rate, schedule=per_class.schedule(rows, about.steps, about.batch))
    words += per_class.choice(rows) if about.chosen else ''
    seeds = max(len(row.accuracy) for row in rows)
    return words + (_SPREAD[about.networks >= seeds] if seeds > 1 else '')


def report(rows: Sequence[Row], about: About, show: Shelf) -> tuple[str, str, list[tuple[str, str]]]:
    """(title, lead, [(heading, markup)]) of the experiment; tables and figures go to the shelf."""
    title = f'Fine-tuning on {about.data}, networks of {about.learned}'
    if not rows:
        return title, 'No row is planned.', []
    rows, judgements = _ordered(rows), judged(rows, about)
    caption = f'Mean accuracy per class on the test split of {about.data}: mean ± standard deviation (seeds).'
    sections = [('Four ways', show.table('curve', per_class.curve_table(rows, caption)) + show.text(_words(rows, about)))]
    if any(row.accuracy for row in rows):
        words = f'Mean accuracy per class on {about.data}, with 95 % intervals over seeds from three seeds on.'
        sections.append(('Learning curves', show.figure('curves', per_class.curves(rows), words)))
    if about.problem:
        sections.append(('What is wrong with the networks', show.text(about.problem)))
    if 'clutter' in (about.data, about.learned):
        sections.append(('About clutter', show.text(_CLUTTER)))
    if judgements:
        sections.append(('Claims', show.claims(judgements)))
    sections.append(
        (
            'Every row',
            show.table('rows', per_class.table(rows, SCRATCH, lambda way: SCRATCH, f'{caption} Differences are taken within seeds.')),
        )
    )
    sections.append(('In the paper', show.table('paper', paper())))
    return title, per_class.lead(rows, judgements), sections
