"""The networks whose test errors the tables of results and workdirs hold, for the table of reference accuracies."""

import contextlib
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cnn_research import config as configs
from cnn_research.errors import CheckpointError, ResearchError
from cnn_research.reporting import measured
from cnn_research.reporting.accuracies import Trained
from cnn_research.reporting.ledger import Place
from experiments.launch import evidence, papers


class Kind(NamedTuple):
    """A table of trained networks, known by its columns. label: of the columns that name a row, its name in the recipe; error: the column
    of test errors in percent, one a seed."""

    columns: tuple[str, ...]
    error: str
    label: str


KINDS = (
    Kind(('network', 'loss', 'epochs'), 'error', '{network}'),  # of experiments.compare
    Kind(('row',), 'test', '{row}'),  # of a table whose rows are networks
    Kind(('cell', 'renormalised', 'parameters'), 'error', '{cell}{renormalised}'),  # of the first layers
)
_WORDS = {'renormalised': {'yes': ', renormalised', 'no': ''}}


def gather(results: pathlib.Path | None, workdirs: Sequence[pathlib.Path]) -> list[Trained]:
    """The rows of every such table in `results`, in the folders just below it, and in the workdirs; the same row in two places once.

    CheckpointError for a table whose errors are none.
    """
    below = sorted(one for one in results.iterdir() if one.is_dir()) if results else []
    found: dict[tuple, Trained] = {}
    for folder in ([results] if results else []) + below + list(workdirs):
        for path in sorted(folder.glob('*.csv')):
            for one in _rows(path, results):
                found.setdefault((one.data, one.network, one.row, one.errors), one)
    return list(found.values())


def _rows(path: pathlib.Path, results: pathlib.Path | None) -> list[Trained]:
    rows = measured.rows(path)
    kind = next((kind for kind in KINDS if rows and {*kind.columns, kind.error} <= set(rows[0])), None)
    if kind is None:
        return []
    alone = path.parent == results  # a table that lies in no folder of its own, with its page beside it
    places = evidence.beside(path, rows) if alone else [evidence.place(path.parent)] * len(rows)
    places = [place if place.table.is_file() else place._replace(table=path) for place in places]
    return [_trained(kind, path, row, place) for row, place in zip(rows, places, strict=True) if row[kind.error]]


def _trained(kind: Kind, path: pathlib.Path, row: Mapping[str, str], place: Place) -> Trained:
    label = kind.label.format(**{name: _WORDS.get(name, {}).get(text, text) for name, text in row.items()})
    errors, top5 = (_errors(path, row, column) if row.get(column) else () for column in (kind.error, 'top5'))
    told = evidence.settings(place.command, row=label)
    note = '; '.join(filter(None, (row.get('note'), row.get(f'{kind.error} note'))))
    printed = None
    with contextlib.suppress(ResearchError):  # a field that is no more
        own = {name: value for name, value in told.items() if name in configs.BY_NAME}
        config = configs.flat(configs.update(configs.default(), own))
        number = papers.cells(config, errors) if told else {}
        printed = number.get('paper')
        views = 'ten views of each test image' if config['evaluate.views'] == 'ten' else ''
        note = '; '.join(dict.fromkeys(filter(None, (*note.split('; '), *number.get('note', '').split('; '), views))))
    length = f'{float(row["epochs"]):g} epochs' if row.get('epochs') else evidence.length(told)
    parameters = row.get('parameters') or ''
    return Trained(
        str(told.get('data.name', '')),
        str(told.get('architecture', '')) or label,
        label,
        int(parameters) if re.fullmatch(r'\d+', parameters) else None,
        evidence.examples(told),
        length,
        errors,
        top5,
        printed,
        note,
        place,
    )


def _errors(path: pathlib.Path, row: Mapping[str, str], column: str) -> tuple[float, ...]:
    named = ', '.join(list(row.values())[:2])
    errors = tuple(measured.numbers(path, row, column, named))
    if not all(0 <= error <= 100 for error in errors):
        raise CheckpointError(f'{path} is damaged: {column} of {named} is {row[column][:40]!r}, which is no error in percent.')
    return errors
