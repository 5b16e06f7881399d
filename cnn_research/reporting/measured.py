"""Numbers of results without claims, set beside printed ones: measured, not judged."""

import csv
import io
import math
import pathlib
from collections.abc import Mapping

from cnn_research.errors import CheckpointError
from cnn_research.reporting import claims
from cnn_research.reporting.catalogue import Measured
from cnn_research.reporting.claims import Difference
from cnn_research.reporting.claims_file import Told
from cnn_research.reporting.publication import Published

VERDICT = 'measured, not judged'
_WHY = 'no rule was written down before the numbers were seen'


def told(sentence: str, one: Measured, results: pathlib.Path) -> list[tuple[pathlib.Path, Told]]:
    """[(file, what it says)] of every file that `one` names, is there and has its row; CheckpointError for a number that is none."""
    found = [(path, _told(sentence, one, path)) for path in sorted(results.glob(one.path))]
    return [(path, said) for path, said in found if said]


def _told(sentence: str, one: Measured, path: pathlib.Path) -> Told | None:
    ours = _numbers(path, one.row, one.column)
    if isinstance(one.beside, Published):
        theirs, beside = [one.beside.value] * len(ours), f'{one.beside.value:g} as printed'
    else:
        theirs = _numbers(path, *one.beside)
        beside = _shown(theirs)
        beside += f', {_mean(ours) / _mean(theirs):.2f} times that' if theirs and _mean(theirs) else ''
    if not ours or not theirs:
        return None
    if len(ours) == len(theirs):
        mean, low, high = claims.interval([a - b for a, b in zip(ours, theirs, strict=True)])
    else:
        mean, low, high = _mean(ours) - _mean(theirs), math.nan, math.nan
    seeds = f'{len(ours)} {"number" if len(ours) == 1 else "seeds"}'
    why = 'a demonstration: data and recipe were chosen so that the effect shows' if one.demonstration else _WHY
    reason = '; '.join(filter(None, (f'{_shown(ours)} beside {beside}', seeds, one.note, why)))
    compared = Difference('ours - printed' if isinstance(one.beside, Published) else 'difference', mean, low, high, len(ours))
    return Told(sentence, '', VERDICT, (compared,), None, one.what, reason, '', 'seed', 0.0)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _shown(values: list[float]) -> str:
    return f'{_mean(values):.3g}'


def _numbers(path: pathlib.Path, row: Mapping[str, str], column: str) -> list[float]:
    """Of one row, one a seed; [] where the file has no such row."""
    fitting = [one for one in rows(path) if all(one.get(name) == value for name, value in row.items())]
    named = ', '.join(f'{name} {value}' for name, value in row.items()) or 'anything'
    if not fitting:
        return []
    if len(fitting) > 1:
        raise CheckpointError(f'{path} is damaged: it has {len(fitting)} rows of {named} instead of one.')
    return numbers(path, fitting[0], column, named)


def rows(path: pathlib.Path) -> list[dict[str, str]]:
    """The rows of a csv file; CheckpointError where it cannot be read as one."""
    try:
        return list(csv.DictReader(io.StringIO(path.read_bytes().decode())))
    except (OSError, ValueError, csv.Error) as error:
        raise CheckpointError(f'{path} cannot be read as csv ({error}).') from None


def numbers(path: pathlib.Path, row: Mapping[str, str], column: str, named: str) -> list[float]:
    """The numbers of a cell, one a seed; CheckpointError where there is none, or something else. named: the row, for the message."""
    cell = row.get(column) or ''
    try:
        found = [float(word) for word in cell.split()]
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)):
        raise CheckpointError(f'{path} is damaged: {column} of {named} is {cell[:40]!r}, not a number.')
    return found
