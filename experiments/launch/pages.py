"""A table's workdir as a page, and as files for results/: rendered from what was written down, nothing trained or measured."""

import importlib
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from cnn_research import trials
from cnn_research.reporting import page
from cnn_research.reporting.shelf import Shelf
from experiments.launch import outcome, progress


class Book(NamedTuple):
    """What an experiment's `render` is given: its name within the page, where, by which command, with which own fields, the records of its
    trials in order, and the shelf for its tables and figures."""

    name: str
    workdir: pathlib.Path
    experiment: str
    line: str
    label: str
    options: dict[str, Any]
    records: list[trials.Record]
    shelf: Shelf | None = None

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


def _rendered(workdir: pathlib.Path, folder: pathlib.Path, number: int = 0) -> tuple[Book, Rendered]:
    """A workdir's book, and what its experiment makes of it, tables and figures in the folder; number: its place among several."""
    about, found = trials.records_of(workdir)
    if about['options']['trials.select'] == 'holdout':
        found = trials.selected(found)
    name = about['experiment'] + (f'-{number}' if number else '')
    book = Book(name, workdir, about['experiment'], about['line'], about['label'], about['options'], found)
    book = book._replace(shelf=Shelf(folder, name, set(book.of())))
    return book, importlib.import_module(f'experiments.{book.experiment}').render(book)


def report(workdirs: Sequence[pathlib.Path]) -> str:
    """report.html of one experiment's workdir or, joined, of several; nothing is trained or measured."""
    parts = []
    for number, workdir in enumerate(workdirs, 1):
        book, done = _rendered(workdir, workdir, number if len(workdirs) > 1 else 0)
        sections = [*done.sections, ('Trials', _details(book))]
        parts.append(page.Report(book.name, done.title, done.lead, sections, book.line))
    if len(parts) == 1:
        return page.page(parts[0].title, parts[0].lead, parts[0].sections, parts[0].command)
    return page.joined(' and '.join(part.title for part in parts), 'Several experiments in one report.', parts)


def results(workdir: pathlib.Path, folder: pathlib.Path) -> None:
    """FOLDER/README.md with the report's tables, figures and texts, the files beside it, and what the runs were: command, seeds, time,
    machine, versions. What a command that looks into a network has left is copied, without arrays and the figures for print."""
    if (workdir / 'README.md').is_file():
        outcome.results(workdir, folder)
        return
    book, done = _rendered(workdir, folder)
    finished = [record for record in book.records if record.result]
    seeds = ', '.join(map(str, sorted({record.seed for record in finished})))
    adopted = any(record.part == 'adopted' for record in finished)
    command = progress.elsewhere(book.line, 'config.trials.shard', 'config.network') + (' --config.network=WORKDIR,...' if adopted else '')
    lines = [
        f'- command: `{command}`',
        f'- {len(finished)} of {len(book.records)} trainings finished, seeds {seeds}, '
        f'{progress.duration(sum(record.seconds for record in finished))} in their steps',
    ]
    lines += sorted({f'- {r.run["machine"]}; {r.run["versions"]}; {r.run["date"]}' for r in finished if r.run})
    trained = {progress.elsewhere(record.run['command'], 'config.seed') for record in finished if record.part == 'adopted'}
    lines += [f'- its networks: `{line}`' for line in sorted(trained)]
    parts = [f'# {done.title}\n', f'{done.lead}\n', *book.shelf.markdown, 'Rendered from the records of the runs:\n', '\n'.join(lines)]
    folder.joinpath('README.md').write_text('\n'.join(parts) + '\n')
