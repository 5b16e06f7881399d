"""Reference accuracies: every network that was trained here from its initialization, with its error on the test split, set by set."""

import pathlib
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from cnn_research import files
from cnn_research.reporting import tables
from cnn_research.reporting.ledger import Place
from cnn_research.reporting.ledger_text import data, link
from cnn_research.reporting.tables import Cell, Column, Table

TITLE = 'Reference accuracies: every network that was trained here, by set'
NAME = 'accuracies'  # of its files
LEAD = (
    'Top-1 error on the test split, mean ± standard deviation over seeds, as the tables of results have it, of networks that were trained '
    'from their initialization; of every set the lowest mean error first. What was chosen (epochs, rates) was chosen on the holdout. As '
    'printed: the number of the paper that the same network on the same set is held against, where there is one. Probes, fine-tuned '
    'networks and tables that count by mean accuracy per class stand in folders of their own.'
)
NOTHING = 'No table there says the test error of a trained network.'


class Trained(NamedTuple):
    """A row of a table. errors, top5: test errors in percent, one a seed; top5 is empty where there is none. row: what the table calls it;
    examples, length: what it learned from and how long, in words, '' where the records do not say; printed: the paper's number in percent.
    """

    data: str
    network: str
    row: str
    parameters: int | None
    examples: str
    length: str
    errors: tuple[float, ...]
    top5: tuple[float, ...]
    printed: float | None
    note: str
    place: Place

    @property
    def mean(self) -> float:
        return statistics.fmean(self.errors)


def table(found: Sequence[Trained], folder: pathlib.Path, tidy: bool = False) -> Table:
    """One row for each; links as seen from a folder. tidy: for csv, with the names of the records and the command."""
    rows: list[dict[str, Any]] = [
        {
            'data': one.data or None,
            'network': one.network or None,
            'row': one.row if one.row != one.network else None,
            'parameters': one.parameters,
            'examples': one.examples or None,
            'length': one.length or None,
            'seeds': len(one.errors),
            'error': list(one.errors),
            'top5': list(one.top5) or None,
            'printed': one.printed,
            'difference': None if one.printed is None else one.mean - one.printed,
            'note': one.note or None,
            'table': link(one.place.table, folder) if tidy else Cell(one.place.name, link(one.place.table, folder)),
            'command': one.place.command or None,
        }
        for one in found
    ]
    columns = [
        Column('network'),
        Column('row', 'row of its table'),
        Column('parameters', format=',d'),
        Column('examples', 'training images'),
        Column('length'),
        Column('error', 'test error, % (seeds)', '.2f'),
        Column('top5', 'top-5 error, %', '.2f'),
        Column('printed', 'as printed, %', '.2f'),
        Column('difference', format='+.2f'),
        Column('note'),
        Column('table'),
    ]
    if tidy:
        return Table([Column('data'), *columns[:5], Column('seeds'), *columns[5:], Column('command')], rows)
    return Table([column for column in columns if any(row[column.key] is not None for row in rows)], rows)


def sets(found: Sequence[Trained]) -> dict[str, list[Trained]]:
    """{set: its networks, the lowest mean error first}, sets by name, those that no record names last."""
    by_set: dict[str, list[Trained]] = {}
    for one in sorted(found, key=lambda one: (one.data == '', data(one.data), one.mean, one.network, one.row)):
        by_set.setdefault(one.data, []).append(one)
    return by_set


def markdown(found: Sequence[Trained], folder: pathlib.Path, command: str) -> str:
    parts = [f'# {TITLE}\n', f'{LEAD if found else NOTHING}\n']
    for name, trained in sets(found).items():
        heading = data(name)
        parts += [f'## {heading[0].upper()}{heading[1:]}\n', tables.to_markdown(table(trained, folder))]
    made: dict[tuple[str, pathlib.Path, str], list[Trained]] = {}
    for one in found:
        made.setdefault((one.place.name, one.place.table, one.place.command), []).append(one)
    lines = []
    for (name, path, line), trained in sorted(made.items()):
        alone = f', {tables.escaped(trained[0].row)}' if len(trained) == 1 else ''
        lines += [f'- [{tables.escaped(name)}]({link(path, folder)}){alone}: {tables.code(line)}'] if line else []
    parts += ['## Commands\n', '\n'.join(lines) + '\n'] if lines else []
    return '\n'.join([*parts, 'Made again by:\n', f'{tables.code(command)}\n'])


def write(found: Sequence[Trained], folder: pathlib.Path, command: str) -> pathlib.Path:
    """Writes accuracies.md and accuracies.csv into the folder; returns the first."""
    every = [one for trained in sets(found).values() for one in trained]
    files.write(folder / f'{NAME}.csv', tables.to_csv(table(every, folder, tidy=True)))
    files.write(folder / f'{NAME}.md', markdown(found, folder, command))
    return folder / f'{NAME}.md'
