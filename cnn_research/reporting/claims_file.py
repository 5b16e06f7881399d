"""claims.csv, as `claims.table` leaves it, read back and held against itself."""

import csv
import io
import math
import pathlib
import re
from typing import NamedTuple

from cnn_research.errors import CheckpointError
from cnn_research.reporting import claims, power
from cnn_research.reporting.claims import Difference

NAME = 'claims.csv'
_INTERVAL = ('difference', 'difference low', 'difference high')
_NEEDS = ('claim', 'sentence', 'verdict', 'compared', *_INTERVAL, 'n', 'quantity', 'reason', 'source')
_MARGIN = re.compile(r' \(within ±(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\)$')
_DEMONSTRATION = 'a demonstration: '


class Told(NamedTuple):
    """One judged claim. key: '' where it carries none; unit: 'seed', 'seed pair' or 'split'; overlap: None where splits do not say how
    much they share."""

    sentence: str
    key: str
    verdict: str
    differences: tuple[Difference, ...]
    margin: float | None
    quantity: str
    reason: str
    source: str
    unit: str
    overlap: float | None

    @property
    def demonstration(self) -> bool:
        return _DEMONSTRATION in self.reason

    @property
    def identity(self) -> tuple:
        """By which the same evidence is recognised in two places: the sentence, what was compared, and every number to its last digit."""
        return self.sentence, self.quantity, self.verdict, *(str(one[:5]) for one in self.differences)


def read(path: pathlib.Path) -> list[Told]:
    """CheckpointError, naming file and line, for what is not as `claims.table` writes it, or says a verdict that its numbers do not."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read ({error.strerror or error}).') from None
    except ValueError:
        raise _damaged(path, 'it is not text in UTF-8') from None
    try:
        header, *lines = list(csv.reader(io.StringIO(text), strict=True)) or [[]]
    except csv.Error as error:
        raise _damaged(path, f'it is no csv ({error})') from None
    missing = [name for name in _NEEDS if name not in header]
    if missing or len(set(header)) < len(header):
        raise _damaged(path, f'it has no column {missing[0]!r}' if missing else 'a column is there twice')
    if not lines:
        raise _damaged(path, 'it holds no claim')
    found: list[list[dict]] = []
    for number, cells in enumerate(lines, 1):
        if len(cells) != len(header):
            raise _damaged(path, f'row {number} has {len(cells)} cells instead of {len(header)}')
        row = dict(zip(header, cells, strict=True)) | {'row': number}
        if bool(row['sentence']) != bool(row['verdict']) or not (found or row['sentence']):
            raise _damaged(path, f'row {number} begins no claim and goes on with none')
        if row['sentence']:
            found.append([])
        elif row['claim'] != found[-1][0]['claim']:
            raise _damaged(path, f'row {number} is of claim {row["claim"]!r}, which has no sentence')
        found[-1].append(row)
    return [_told(path, rows) for rows in found]


def _damaged(path, what: str) -> CheckpointError:
    return CheckpointError(f'{path} is damaged: {what}.')


def _told(path: pathlib.Path, rows: list[dict]) -> Told:
    first = rows[0]
    if first['verdict'] not in claims.VERDICTS:
        raise _damaged(path, f'row {first["row"]} has the verdict {first["verdict"][:40]!r}; there are {", ".join(claims.VERDICTS)}')
    suffix = _MARGIN.search(first['sentence'])
    overlap = _number(path, first, 'overlap') if 'overlap' in first else math.nan
    pairs = re.search(r'\bseed pairs?\b', first['reason'])
    unit = 'seed pair' if pairs else 'split' if re.search(r'\bsplits?\b', first['reason']) or not math.isnan(overlap) else 'seed'
    told = Told(
        sentence=_MARGIN.sub('', first['sentence']),
        key=first.get('key', ''),
        verdict=first['verdict'],
        differences=tuple(_difference(path, row) for row in rows),
        margin=float(suffix[1]) if suffix else None,
        quantity=first['quantity'],
        reason=first['reason'],
        source=first['source'],
        unit=unit,
        overlap=0.0 if unit != 'split' else None if math.isnan(overlap) else overlap,
    )
    if told.verdict in ('reproduced', 'undecided', 'contradicted') and told.verdict != _says(told):
        raise _damaged(path, f'row {first["row"]} says {told.verdict} where its intervals say {_says(told)}')
    return told


def _says(told: Told) -> str:
    order = ('contradicted', 'undecided', 'reproduced')
    each = [power.verdict((one.low + one.high) / 2, (one.high - one.low) / 2, told.margin) or 'undecided' for one in told.differences]
    return min(each, key=order.index)


def _difference(path, row: dict) -> Difference:
    mean, low, high = (_number(path, row, name) for name in _INTERVAL)
    p, holm = (_number(path, row, name) if name in row else math.nan for name in ('p', 'holm'))
    if not re.fullmatch(r'\d{1,9}', row['n']):
        raise _damaged(path, f'row {row["row"]}: n is {row["n"][:40]!r}, not a whole number')
    if math.isnan(low) != math.isnan(high) or low > high or mean < low or mean > high:
        raise _damaged(path, f'row {row["row"]}: the difference and the ends of its interval are not in order')
    if not row['compared']:
        raise _damaged(path, f'row {row["row"]} compares nothing')
    return Difference(row['compared'], mean, low, high, int(row['n']), p, holm)


def _number(path, row: dict, name: str) -> float:
    """NaN for an empty cell."""
    if not row[name]:
        return math.nan
    try:
        found = float(row[name])
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise _damaged(path, f'row {row["row"]}: {name} is {row[name][:40]!r}, not a number')
    return found
