"""A table of trainings as a command runs it: planned, shown, trained, measured, and rendered from what was written down."""

import dataclasses
import importlib
import pathlib
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cnn_research import config as configs
from cnn_research import train, trials
from cnn_research.errors import TrialError
from cnn_research.reporting import page, shelf
from experiments import command, plans, progress


class Book(NamedTuple):
    """What an experiment's `render` is given: its name within the page, where, by which command, with which own fields, and the records
    of its trials in order."""

    name: str
    workdir: pathlib.Path
    experiment: str
    line: str
    label: str
    options: dict[str, Any]
    records: list[trials.Record]

    def of(self, part: str = '') -> dict[str, list[trials.Record]]:
        """{row: its records} of a part of the experiment."""
        rows: dict[str, list[trials.Record]] = {}
        for record in self.records:
            if record.part == part:
                rows.setdefault(self.row_of(record), []).append(record)
        return rows

    def row_of(self, record: trials.Record) -> str:
        """The row that a trial stands in: with a grid one for each point, unless one point was selected."""
        return f'{record.row} ({record.point})' if record.point and not self.options['trials.select'] else record.row

    def shelf(self) -> shelf.Shelf:
        """Where its tables and figures go."""
        return shelf.Shelf(self.workdir, self.name, set(self.of()))


def problem(records: Sequence[trials.Record]) -> str:
    """What keeps a row from counting, in one line: trials that failed, are not finished, or were cut short; '' for nothing."""
    said = [f'seed {r.seed} failed: {r.error}' for r in records if r.state == 'failed']
    open_ = [str(r.seed) for r in records if r.state not in ('finished', 'failed')]
    said += [f'not finished: seed {", ".join(open_)}'] if open_ else []
    said += ['reduced: a shorter schedule or fewer examples than the scale has'] if any(r.reduced for r in records) else []
    return '; '.join(said)


def data_name(book: Book) -> str:
    """The data set of an experiment whose trials share one."""
    return next((record.config['data.name'] for record in book.records if record.config), 'nothing yet')


class Rendered(NamedTuple):
    """An experiment's share of a report: sections are (heading, markup)."""

    title: str
    lead: str
    sections: list[tuple[str, str]]


def line(given: command.Command, trial: trials.Trial) -> str:
    """The command that trains this one network again; that of the whole table where it begins with another's weights."""
    if trial.start:
        return given.line
    words = [word for word in shlex.split(given.line)[3:] if word.startswith(('--config=', '--config.'))]
    kept = [w for w in words if w.startswith('--config=') or w[len('--config.') :].partition('=')[0] in configs.BY_NAME]
    kept = [w for w in kept if w[len('--config.') :].partition('=')[0] not in trial.overrides]
    more = [f'--config.{name}={value}' for name, value in trial.overrides.items()]
    if not any(word.startswith('--config=') for word in kept):
        kept.insert(0, f'--config=configs/{given.recipe.label.rpartition("-")[0]}.py:{given.recipe.label.rpartition("-")[2]}')
    return shlex.join(['python', '-m', 'experiments.train', *kept, *more])


def carry_out(
    given: command.Command, planned: Sequence[trials.Trial], measure: Callable[[trials.Trial], None] = lambda trial: None
) -> None:
    """Trains this process's share, measures each finished trial, and leaves plan.json; TrialError at the end if a trial failed."""
    about = {'experiment': given.name, 'label': given.recipe.label, 'options': configs.flat(given.options)}
    about['line'] = progress.elsewhere(given.line, 'config.trials.shard')
    trials.write_plan(given.workdir, planned, [plans.reduced(given, trial) for trial in planned], about)
    mine, stop = trials.share(planned, given.options.trials.shard), command.stopper()
    ended, begun, watches = [], time.monotonic(), {}

    def watch(trial, event):
        name = f'{trial.part} {trial.row} {trial.point}'.strip() + f', seed {trial.config.seed}'
        own = dataclasses.replace(given, workdir=trial.workdir, line=line(given, trial))
        show = watches.setdefault(trial.key, progress.Progress(own, f'[{name}] '))
        if 'outcome' not in event:
            show(event)
            return
        ended.append(trial)
        left = sum(trials.state(t.workdir, t.key) != 'finished' for t in mine)
        eta = progress.duration((time.monotonic() - begun) / len(ended) * left)
        show({'note': f'{event["outcome"]}; {left} of {len(mine)} trials to go' + (f', about {eta}' if left else '')})

    trials.carry_out(mine, watch, stop)
    failed = [trial for trial in mine if trials.state(trial.workdir, trial.key) == 'failed']
    for trial in mine:
        if stop():
            raise train.Stopped
        if trial not in failed:
            measure(trial)
    given.workdir.joinpath('report.html').write_text(report([given.workdir]))
    print(f'report: {given.workdir / "report.html"}', file=sys.stdout)
    if failed:
        raise TrialError(f'{len(failed)} of {len(mine)} trials failed, {failed[0].row} for one; the report shows each with its error.')


def _details(book: Book) -> str:
    """Every trial with its command and config, where the rows' links lead."""
    shown = []
    for record in book.records:
        label = f'{record.part}: {book.row_of(record)}' if record.part else book.row_of(record)
        state = f'failed: {record.error}' if record.error else record.state
        facts = {name: record.run[name] for name in ('machine', 'versions', 'date') if name in record.run}
        facts |= {'time in steps': progress.duration(record.seconds)} if record.seconds else {}
        config = '\n'.join(f'{name}={value}' for name, value in record.config.items() if name not in ('architecture_json', 'data.dir'))
        shown.append(page.Trial(label, record.seed, record.key, state, record.run.get('command', book.line), config, facts))
    return page.trials_html(book.name, shown)


def report(workdirs: Sequence[pathlib.Path]) -> str:
    """report.html of one experiment's workdir or, joined, of several; nothing is trained or measured."""
    parts = []
    for number, workdir in enumerate(workdirs):
        about, found = trials.records(workdir)
        if about['options']['trials.select'] == 'holdout':
            found = trials.selected(found)
        name = about['experiment'] + (f'-{number + 1}' if len(workdirs) > 1 else '')
        book = Book(name, workdir, about['experiment'], about['line'], about['label'], about['options'], found)
        done = importlib.import_module(f'experiments.{book.experiment}').render(book)
        sections = [*done.sections, ('Trials', _details(book))]
        parts.append(page.Report(name, done.title, done.lead, sections, book.line))
    if len(parts) == 1:
        return page.page(parts[0].title, parts[0].lead, parts[0].sections, parts[0].command)
    return page.joined(' and '.join(part.title for part in parts), 'Several experiments in one report.', parts)
