"""What a table's report shows of its trainings one by one: learning curves of every row, searched grids, and a page for each trial.

`book` is a pages.Book.
"""

import contextlib
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from cnn_research import files, journal, trials
from cnn_research.errors import CheckpointError
from cnn_research.reporting import curves, page
from experiments.launch import progress

UNSHOWN = ('architecture_json', 'data.dir')  # of a config: what the architecture's words say already, and a place on one machine
_ROLES = ('train', 'holdout')
_TOLD = ('damaged', 'stale')  # states in which what a journal holds is not known to be of the trial
_STATES = {'begun': 'not finished', 'missing': 'not begun', 'untested': 'not tested'}
_LONGEST = 90  # characters of a reason within a panel


def written(home: pathlib.Path) -> list[dict]:
    """The lines of metrics.jsonl that a training has written so far, where it failed those before its end; [] where they cannot be read. No
    number of a table rests on them."""
    with contextlib.suppress(CheckpointError):
        return [line for line in files.read_lines(home / journal.METRICS) if line.get('role') in _ROLES]
    return []


def told(line: Mapping[str, Any], name: str) -> float | None:
    """A number of such a line, None where it is none."""
    value = line.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 else None


def failure(home: pathlib.Path) -> str:
    """Why a training of a table failed, '' where none is written down."""
    with contextlib.suppress(CheckpointError):
        return trials.inside(files.read_json(home / 'error.json', {'error': str})['error'], home)
    return ''


class _Journals:
    """The curves of several trainings in the quantity that all of them have, the error or, without one, the loss, over epochs or, where
    their lengths are nearer to each other in them, over steps."""

    def __init__(self, lines: Mapping[Any, Sequence[Mapping[str, Any]]]):
        self._lines = lines
        every = [line for of in lines.values() for line in of]
        self.error = bool(every) and all(told(line, 'error') is not None for line in every)
        unlike = {at: _unlike([of[-1] for of in lines.values() if of], at) for at in ('epoch', 'step')}
        self._at = 'step' if unlike['epoch'] > max(2.0, unlike['step']) else 'epoch'

    def of(self, name) -> list[curves.Curve]:
        field, factor = ('error', 100.0) if self.error else ('loss', 1.0)
        found = []
        for role in _ROLES:
            pairs = [(told(line, self._at), told(line, field)) for line in self._lines[name] if line['role'] == role]
            pairs = [(x, y) for x, y in pairs if x is not None and y is not None]
            if pairs:
                found.append(curves.Curve(role, [x for x, _ in pairs], [factor * y for _, y in pairs]))
        return found

    def drawn(self, panels: Sequence[curves.Panel]) -> str:
        return curves.learning(panels, f'{self._at}s', 'Error in %' if self.error else 'Loss', not self.error)


def _unlike(last: Sequence[Mapping[str, Any]], at: str) -> float:
    """How many times the longest training is as long as the shortest; infinite where one does not say it."""
    ends = [told(line, at) for line in last]
    return max(ends) / min(ends) if ends and all(end is not None and end > 0 for end in ends) else math.inf


def alone(home: pathlib.Path) -> str:
    """The learning curves of one training, as markup."""
    journals = _Journals({'': written(home)})
    return journals.drawn([curves.Panel('', None, journals.of(''))])


def _label(book, record: trials.Record) -> str:
    label = f'{record.row} ({record.point}), not chosen' if record in book.losers else book.row_of(record)
    return f'{record.part}: {label}' if record.part else label


def _problem(records: Sequence[trials.Record]) -> str:
    """What a panel says of trainings that do not count as they should, short; the table beside it says all."""
    said = []
    for state in dict.fromkeys(record.state for record in records if record.state != 'finished'):
        of = [record for record in records if record.state == state]
        reason = next((record.error for record in of if record.error), '').partition(';')[0]
        reason = reason if len(reason) <= _LONGEST else f'{reason[:_LONGEST].rsplit(" ", 1)[0]} …'
        words = f'seed{"s" * (len(of) > 1)} {", ".join(str(record.seed) for record in of)} {_STATES.get(state, state)}'
        said.append(f'{words}: {reason}' if reason else words)
    return '; '.join(said + ['reduced'] * any(record.reduced for record in records))


def rows(book) -> dict[str, list[trials.Record]]:
    """{what a row is called in the page: its trials}."""
    found: dict[str, list[trials.Record]] = {}
    for record in book.records:
        found.setdefault(_label(book, record), []).append(record)
    return found


def learning(book) -> str:
    """Small panels of the learning curves, one a row, those of each part by themselves; '' where nothing is written down."""
    drawn = []
    for part in dict.fromkeys(record.part for record in book.records):
        own = {label: of for label, of in rows(book).items() if of[0].part == part}
        lines = {record.workdir: [] if record.state in _TOLD else written(record.workdir) for of in own.values() for record in of}
        journals, panels = _Journals(lines), []
        for label, of in own.items():
            found = [curve for record in of for curve in journals.of(record.workdir)]
            panels.append(curves.Panel(label, page.place(book.name, label), found, _problem(of)))
        if any(panel.curves for panel in panels):
            drawn.append(journals.drawn(panels))
    return ''.join(drawn)


def searched(book, points: Mapping[tuple[str, str], Mapping[str, Sequence[trials.Record]]]) -> str:
    """What each point of a grid has on the holdout or, where nothing was held out and nothing chosen, on the test, a panel a row.

    points: {(part, row): {point: its records}}.
    """
    every = [record for of in points.values() for records in of.values() for record in records if record.result]
    role = 'holdout' if any('holdout' in record.result for record in every) else 'test'
    chosen = {record.key for record in book.records} if book.options['trials.select'] else set()
    drawn = []
    for (part, row), of in points.items():
        found = []
        for point, records in of.items():
            at = dict(word.partition('=')[::2] for word in point.split(', '))
            values = [100 * record.result[role]['error'] for record in records if record.result and role in record.result]
            found.append(curves.Point(at, values, bool(values) and records[0].key in chosen, _problem(records)))
        first = [record for records in of.values() for record in records]
        label = _label(book, next((record for record in first if record.key in chosen), first[0]))
        drawn.append(curves.Searched(f'{part}: {row}' if part else row, page.place(book.name, label), found))
    return curves.searched(drawn, f'{role.capitalize()} error in %')


def _facts(record: trials.Record) -> dict[str, object]:
    """What is known of a trial beside its config."""
    facts: dict[str, object] = {}
    for role in ('test', 'holdout'):
        error = (record.result or {}).get(role, {}).get('error')
        facts |= {f'{role} error': f'{100 * error:.2f} %'} if isinstance(error, float) else {}
    facts |= {'steps': f'{record.result["step"]:,}'} if record.result and isinstance(record.result.get('step'), int) else {}
    facts |= {'time in steps': progress.duration(record.seconds)} if record.seconds else {}
    facts |= peak(record.workdir) if record.seconds else {}
    facts |= {name: record.run[name] for name in ('machine', 'versions', 'date', 'code') if name in record.run}
    return facts | ({'run.json': 'missing or damaged'} if record.result and not record.run else {})


def peak(home: pathlib.Path) -> dict[str, str]:
    """{what it is: the most memory that the process had at a training's last step}; {} where nothing says it."""
    most = journal.peak(home)
    return {'peak memory of its process': f'{most / 1e9:.2f} GB'} if most else {}


def _shown(config: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) or "''" for name, value in config.items() if name not in UNSHOWN}


def _differences(record: trials.Record, base: trials.Record) -> list[tuple[str, str, str]] | None:
    """The fields in which a config is not that of the base; None for the base itself, and where one of them is not known."""
    if record.key == base.key or not record.config or not base.config:
        return None
    own, other = _shown(record.config), _shown(base.config)
    return [(name, own.get(name, '–'), other.get(name, '–')) for name in {**other, **own} if own.get(name) != other.get(name)]


def details(book) -> str:
    """Every trial where the rows' links lead, each with a page of its own."""
    shown, bases = [], {}
    first = next((record for record in book.records if not record.part), next(iter(book.records), None))
    for record in book.records:
        if first and (record.part, record.row, record.point) == (first.part, first.row, first.point):
            bases[record.seed] = record
    for record in (*book.records, *book.losers):
        state = f'{record.state}: {record.error}' if record.error else record.state
        config = '\n'.join(f'{name}={value}' for name, value in record.config.items() if name not in UNSHOWN)
        base = bases.get(record.seed, first)
        drawn = '' if record.state in _TOLD else alone(record.workdir)
        shown.append(
            page.Trial(
                _label(book, record),
                record.seed,
                record.key,
                state,
                record.run.get('command', book.line),
                config,
                _facts(record),
                drawn,
                f'{_label(book, base)}, seed {base.seed}',
                _differences(record, base),
            )
        )
    return page.trials_html(book.name, shown)
