"""Ways of learning against how many training images of each class there are: their rows, tables, figure and what is said of them.

Accuracies are means over classes, in percent. A row is a way with a number of images of each class: 'frozen, 3 a class'.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from cnn_research.reporting import claims, comparisons
from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.tables import Cell, Column, Interval, Table

_LABEL = re.compile(r'(.+), (\d+) a class')


class Row(NamedTuple):
    """A way with a number of images of each class. accuracy, top5: {seed: accuracy in %}, top5 {} where it has no meaning; rate: the
    learning rate, None before the first result; edge: which end of the tried rates it is, '' for none; classes, held: of the target, and
    how many of its images are held out; problem: what is wrong, '' for nothing."""

    label: str
    way: str
    size: int
    accuracy: Mapping[int, float]
    top5: Mapping[int, float]
    rate: float | None
    edge: str
    classes: int
    held: int | None
    problem: str


def label(way: str, size: int) -> str:
    """What a row is called."""
    return f'{way}, {size} a class'


def parsed(label: str) -> tuple[str, int] | None:
    """(way, number of images of each class) of a row of `label`; None for other texts."""
    found = _LABEL.fullmatch(label)
    return (found[1], int(found[2])) if found else None


def edge(rate: float | None, tried: Sequence[float]) -> str:
    """Which end of the rates that were tried one is: a better one may lie beyond. '' within, and where fewer than three were tried."""
    if rate is None or len(tried) < 3 or min(tried) < rate < max(tried):
        return ''
    return 'the lowest tried' if rate <= min(tried) else 'the highest tried'


def sizes(rows: Sequence[Row]) -> list[int]:
    """The numbers of training images of each class, rising."""
    return sorted({row.size for row in rows})


def by_way(rows: Sequence[Row]) -> dict[str, dict[int, Row]]:
    """{way: {number of images of each class, rising: its row}}, ways in the order of the rows."""
    found: dict[str, dict[int, Row]] = {row.way: {} for row in rows}
    for row in sorted(rows, key=lambda row: row.size):
        found[row.way][row.size] = row
    return found


def _cell(values: Mapping[int, float]) -> list[float] | None:
    return [values[seed] for seed in sorted(values)] or None


def _above(row: Row, other: Row | None) -> Interval | None:
    if other is None or other is row:
        return None
    seeds = sorted(set(row.accuracy) & set(other.accuracy))
    return claims.interval(row.accuracy[seed] - other.accuracy[seed] for seed in seeds) if seeds else None


def curve_table(rows: Sequence[Row], caption: str) -> Table:
    """A line for each way, a column for each number of images."""
    lines = [{'way': way} | {str(size): _cell(row.accuracy) for size, row in of.items()} for way, of in by_way(rows).items()]
    return Table([Column('way'), *(Column(str(size), f'{size} a class, %', '.1f') for size in sizes(rows))], lines, caption)


def table(rows: Sequence[Row], base: str, base_of: Callable[[str], str], caption: str) -> Table:
    """Every row, what it has above the base way with the same images, and the learning rate that it came out of.

    base: what the base is called in the head; base_of(way): the way that it is for another.
    """
    ways, lines = by_way(rows), []
    for row in (row for of in ways.values() for row in of.values()):
        lines.append(
            {
                'row': row.label,
                'images': row.size * row.classes or None,
                'accuracy': _cell(row.accuracy),
                'above': _above(row, ways.get(base_of(row.way), {}).get(row.size)),
                'top5': _cell(row.top5),
                'point': Cell(row.rate, note=row.edge),
                'note': row.problem or None,
            }
        )
    columns = [
        Column('row'),
        Column('images', 'training images', ',d'),
        Column('accuracy', 'mean accuracy per class, %', '.2f'),
        Column('above', f'above {base} [95 %]', '+.2f'),
        *([Column('top5', 'top-5 accuracy, %', '.2f')] if any(row.top5 for row in rows) else []),
        Column('point', 'learning rate'),
        *([Column('note')] if any(row.problem for row in rows) else []),
    ]
    return Table(columns, lines, caption)


def curves(rows: Sequence[Row]) -> Figure:
    """Accuracy against the number of images of each class, a line for each way."""
    drawn = [(way, {size: _cell(row.accuracy) or [] for size, row in of.items()}) for way, of in by_way(rows).items()]
    classes = max(row.classes for row in rows)
    chance = (100 / classes, 'chance') if classes else None
    return comparisons.interval_curves(drawn, 'training images of each class', 'mean accuracy per class (%)', chance)


_CHOSEN = (
    ' Every row has the learning rate with the lowest error on the holdout, the mean over seeds. The holdout is the same {held:,} images '
    'for every row: with {size} a class, that one number is chosen with {held:,} labels, and the weights with {images:,}. So the rows with '
    'few images say what is possible with a rate that fits, not what somebody with these images alone would reach. A rate at an end of '
    'those that were tried is named: a better one may lie beyond.'
)


def schedule(rows: Sequence[Row], steps: int, batch: int) -> str:
    """How often images are seen in steps that are the same for all rows, as a sentence; '' where that is not known."""
    most = max((row.size * row.classes for row in rows), default=0)
    if not steps or not most:
        return ''
    said = f' All rows take the same {steps:,} steps of {batch} images, however few there are: '
    return said + f'{steps * batch / most:.3g} passes over the images of those with the most.'


def choice(rows: Sequence[Row]) -> str:
    """What it means that rates were chosen on the holdout; '' before the first result."""
    held, first = next((row.held for row in rows if row.held), 0), min(rows, key=lambda row: row.size)
    return _CHOSEN.format(held=held, size=first.size, images=first.size * max(row.classes for row in rows)) if held else ''


def lead(rows: Sequence[Row], judgements: Sequence[claims.Judged]) -> str:
    """The accuracies with the fewest and with the most images, and what became of the claims."""
    done = [size for size in sizes(rows) if any(row.accuracy for row in rows if row.size == size)]
    if not done:
        return 'No row is finished yet.'
    ends, said = list(dict.fromkeys((done[0], done[-1]))), []
    for way, of in by_way(rows).items():
        values = [_cell(of[size].accuracy) if size in of else None for size in ends]
        said.append(f'{way} ' + ' / '.join(f'{sum(one) / len(one):.1f}' if one else '–' for one in values))
    which = ' and '.join(map(str, ends))
    return f'Mean accuracy per class in percent, at {which} images a class: {", ".join(said)}.{claims.count(judgements)}'
