"""A table's workdir as a page, and as files for results/: rendered from what was written down, nothing trained or measured."""

import importlib
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from cnn_research import config as configs
from cnn_research import files, trials
from cnn_research import records as kept
from cnn_research.errors import CheckpointError, ConfigError, ResearchError
from cnn_research.reporting import page, tables
from cnn_research.reporting.shelf import Shelf
from experiments.launch import outcome, progress, training_page, trial_pages

# Those whose workdirs are tables.
EXPERIMENTS = ('committee', 'depth_ablation', 'dropconnect', 'finetune', 'handmade', 'ingredients', 'layer_probing', 'stride_diagnosis')
EXPERIMENTS += ('train',)
# What an evaluation must hold, by the first word of its protocol.
_EVALUATIONS = {
    'train': (0, 1),
    'bypassed': dict,
    'one_view': {'top1_error': (0, 1), 'ranks': list},
    'layer1': list,
    'kernels': {'before': list, 'after': list},
    'filters': {'layer1': dict, 'layer2': dict, 'shift': dict},
    'fitted': {'error': (0, 1), 'loss': float, 'examples': int},
    'averages': {
        'images': int,
        'masks': int,
        'reference': {'error': (0, 1)},
        'halves': {'absolute': (0, 1)},
        'forms': [{'form': str, 'error': (0, 1), 'absolute': (0, 1), 'divergence': float}],
    },
    'probabilities': {'digest': str, 'images': str, 'classes': [str]},
    'plate': [{'shape': [int], 'pixels': str}],
    'probe': {'dimension': int, 'classes': int, 'test': int, 'outcomes': dict},
}
_FEW = 6  # rows whose chosen points a lead can name
_PLAN = {'experiment': str, 'label': str, 'line': str, 'options': dict}


class Book(NamedTuple):
    """What an experiment's `render` is given: its name within the page, where, by which command, with which own fields, the records of its
    trials in order, the shelf for its tables and figures, and the trials of the points of a grid that were not chosen."""

    name: str
    workdir: pathlib.Path
    experiment: str
    line: str
    label: str
    options: dict[str, Any]
    records: list[trials.Record]
    shelf: Shelf | None = None
    losers: Sequence[trials.Record] = ()

    def of(self, part: str = '') -> dict[str, list[trials.Record]]:
        """{row: its records} of a part of the experiment."""
        rows: dict[str, list[trials.Record]] = {}
        for record in self.records:
            if record.part == part:
                rows.setdefault(self.row_of(record), []).append(record)
        return rows

    def tried(self, field: str) -> list[float]:
        """What the points of the table, those that were not chosen too, have of a field that they differ in, rising."""
        words = {word for record in (*self.records, *self.losers) for word in record.point.split(', ')}
        return sorted({float(word.partition('=')[2]) for word in words if word.startswith(f'{field}=')})

    def row_of(self, record: trials.Record) -> str:
        """The row that a trial stands in: with a grid one for each point, unless one point was selected."""
        return f'{record.row} ({record.point})' if record.point and not self.options['trials.select'] else record.row


def problem(records: Sequence[trials.Record]) -> str:
    """What keeps a row from counting, in one line: trials that failed, are damaged, not finished, or were cut short; '' for nothing."""
    said = [f'seed {r.seed} {r.state}: {r.error}' for r in records if r.state in ('failed', 'damaged')]
    open_ = [str(r.seed) for r in records if r.state not in ('finished', 'failed', 'damaged')]
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


def _sound(record: trials.Record) -> trials.Record:
    """The record, its config complete, or without numbers as 'damaged' where a table could not be made of what it holds."""
    home = record.workdir
    try:
        config = configs.flat(outcome.config(home, record.config)) if record.config else {}
        if record.result:
            if not config:
                raise CheckpointError(f'{home / "config.json"} is missing.')
            files.check(home / 'result.json', record.result, outcome.TEST)
            holdout = {'top1_error': (0, 1), 'error': (0, 1)} if 'holdout' in record.result else {}
            files.check(home / 'result.json', record.result.get('holdout', {}), holdout, 'holdout')
            for path in sorted((home / 'evaluations').glob('*.json')):
                protocol = path.stem.partition('-')[0]
                kept.read(path, {'key': str} | ({'result': _EVALUATIONS[protocol]} if protocol in _EVALUATIONS else {}))
        run = outcome.made(home) if record.run else {}  # no number rests on it
        return record._replace(config=config, run=run, error=trials.inside(record.error, home))
    except ResearchError as error:
        return record._replace(state='damaged', error=trials.inside(error, home), config={}, result=None, run={}, seconds=0.0)


def _chosen(record: trials.Record, book: Book) -> bool:
    return any(record.key == other.key for other in book.records)


def _points(records: Sequence[trials.Record]) -> dict[tuple[str, str], dict[str, list[trials.Record]]]:
    """{(part, row): {point: its records}}."""
    found: dict[tuple[str, str], dict[str, list[trials.Record]]] = {}
    for record in sorted(records, key=lambda record: (record.part, record.row)):
        found.setdefault((record.part, record.row), {}).setdefault(record.point, []).append(record)
    return found


def _compared(records: Sequence[trials.Record]) -> list[trials.Record]:
    """What a choice on the holdout is made among: of each row the points of which most seeds are finished, since a mean over other seeds is
    another quantity."""
    kept = []
    for points in _points(records).values():
        done = {point: sum('holdout' in (record.result or {}) for record in of) for point, of in points.items()}
        kept += [record for point, of in points.items() if done[point] == max(done.values()) for record in of]
    return [record for record in records if record in kept]


def _provisional(records: Sequence[trials.Record]) -> list[str]:
    """The rows whose choice may change: a point has trials that are not finished and have not failed, or no point has all its seeds."""
    rows = []
    for (part, row), points in _points(records).items():
        open_ = any(record.state not in ('finished', 'failed') for of in points.values() for record in of)
        if open_ or not any(all(record.result for record in of) for of in points.values()):
            rows.append(f'{part}: {row}' if part else row)
    return rows


def _selection(book: Book) -> tuple[str, tuple[str, str]]:
    """(what the lead says, the section) of the points of a grid: what each has on the holdout, the losers too."""
    every, lines, best = _points([record for record in (*book.records, *book.losers) if record.point]), [], {}
    for (part, row), point, records in ((row, point, of) for row, points in every.items() for point, of in points.items()):
        done = [record for record in records if record.result and 'holdout' in record.result]
        chosen = bool(done) and _chosen(done[0], book)
        if chosen:
            best[row if not part else f'{part}: {row}'] = point
        lines.append(
            {
                'of': row if not part else f'{part}: {row}',
                'point': point,
                'holdout': [100 * record.result['holdout']['error'] for record in done] or None,
                'chosen': chosen,
                'note': problem(records) or None,
            }
        )
    columns = [tables.Column('of', 'row'), tables.Column('point'), tables.Column('holdout', 'holdout error, % (seeds)', '.2f')]
    columns += [tables.Column('chosen'), *([tables.Column('note')] if any(line['note'] for line in lines) else [])]
    caption = 'Every point that was tried: of each row the one with the lowest mean error on the holdout, among those with most seeds '
    caption += 'finished, stands in the tables above.'
    same = len(set(best.values())) == 1 and len(best) == len({line['of'] for line in lines})
    words = f'{next(iter(best.values()))} for every row' if same else '; '.join(f'{row}: {point}' for row, point in best.items())
    if not same and len(best) > _FEW:
        words = f'a point for each of {len(best)} rows, named in the last table'
    lead = f' Chosen on the holdout: {words or "nothing yet, since no trial is finished"}.'
    waiting = _provisional((*book.records, *book.losers)) if best else []
    if waiting:
        lead += f' Provisional, among the points with most seeds finished, since not every seed of every point is: {", ".join(waiting)}.'
    table = book.shelf.table('selection', tables.Table(columns, lines, caption))
    return lead, ('Chosen on the holdout', trial_pages.searched(book, every) + table)


def _curves(book: Book, taken: Sequence[str]) -> list[tuple[str, str]]:
    """The sections that draw what every training wrote down: a grid of which nothing was chosen, and learning curves; taken: headings that
    the experiment has itself."""
    points = _points([record for record in book.records if record.point])
    searched = trial_pages.searched(book, points) if points and not book.options['trials.select'] else ''
    name = 'Learning curves' + ' of the trainings' * ('Learning curves' in taken)
    return [(heading, markup) for heading, markup in (('The grid', searched), (name, trial_pages.learning(book))) if markup]


def _about(workdir: pathlib.Path, module, about: dict[str, Any]) -> dict[str, Any]:
    """What plan.json says of the whole table, its options checked and complete; CheckpointError where they are none."""
    fields = getattr(module, 'FIELDS', trials.FIELDS)
    known = {field.name for field in fields}
    try:
        options = configs.update(
            configs.default(fields), {name: value for name, value in about['options'].items() if name in known}, fields
        )
        configs.check_values(options, fields)
    except ConfigError as error:
        raise CheckpointError(f'{workdir / "plan.json"} is damaged: {error}') from None
    return {**about, 'options': configs.flat(options)}


def _rendered(workdir: pathlib.Path, folder: pathlib.Path, number: int = 0) -> tuple[Book, Rendered]:
    """A workdir's book, and what its experiment makes of it, tables and figures in the folder; number: its place among several."""
    about, found = trials.records_of(workdir)
    files.check(workdir / 'plan.json', about, _PLAN)
    if about['experiment'] not in EXPERIMENTS:
        raise CheckpointError(
            f'{workdir / "plan.json"} is of no experiment known here: {about["experiment"]!r}; there are {", ".join(EXPERIMENTS)}.'
        )
    module = importlib.import_module(f'experiments.{about["experiment"]}')
    about, found = _about(workdir, module, about), [_sound(record) for record in found]
    unread = [record.row for record in found if not module.reads(record.row)]
    if unread:
        raise CheckpointError(f'{workdir / "plan.json"} has the row {unread[0]!r}, which {about["experiment"]} does not read.')
    selecting = about['options']['trials.select'] == 'holdout'
    shown = trials.selected(_compared(found)) if selecting else found
    name = about['experiment'] + (f'-{number}' if number else '')
    book = Book(name, workdir, about['experiment'], about['line'], about['label'], about['options'], shown)
    book = book._replace(losers=[record for record in found if not _chosen(record, book)])
    points = {record.row: record.point for record in shown if record.result and record.point} if selecting else {}
    book = book._replace(shelf=Shelf(folder, name, set(book.of()), points))
    done = module.render(book)
    if selecting:
        words, section = _selection(book)
        done = done._replace(lead=done.lead + words, sections=[*done.sections, section])
    notes = dict.fromkeys(line for record in found for line in record.run.get('notes', []))
    if notes:
        done = done._replace(sections=[*done.sections, (outcome.NOTES, book.shelf.text('\n\n'.join(notes)))])
    return book, done


def report(workdirs: Sequence[pathlib.Path], folder: pathlib.Path | None = None) -> str:
    """report.html of one workdir or, joined, of several; nothing is trained or measured.

    folder: where tables and figures go, of several workdirs into folders by their number; None: each into its own workdir.
    """
    parts, several = [], len(workdirs) > 1
    for number, workdir in enumerate(workdirs, 1):
        place = workdir if folder is None else folder / str(number) if several else folder
        parts.append(_part(workdir, place, number if several else 0))
    if not several:
        return page.page(*parts[0][1:])
    return page.joined(' and '.join(part.title for part in parts), 'Several experiments in one report.', parts)


def _part(workdir: pathlib.Path, place: pathlib.Path, number: int) -> page.Report:
    """A workdir's share of a report: of a table, of one training, or as the command that looked into networks drew it."""
    if (workdir / 'plan.json').is_file():
        book, done = _rendered(workdir, place, number)
        sections = [*done.sections, *_curves(book, [heading for heading, _ in done.sections]), ('Trials', trial_pages.details(book))]
        return page.Report(book.name, done.title, done.lead, sections, book.line)
    if (workdir / configs.FILE).is_file():
        return training_page.report(workdir, place, f'train-{number}' if number else 'train')
    return outcome.told(workdir, number)


def results(workdir: pathlib.Path, folder: pathlib.Path) -> None:
    """FOLDER/README.md with the report's tables, figures and texts, the files beside it, and what the runs were: command, seeds, time,
    machine, versions. What a command that looks into a network has left is copied, without arrays and the figures for print."""
    if (workdir / 'README.md').is_file() and not (workdir / 'plan.json').is_file():
        outcome.results(workdir, folder)
        return
    book, done = _rendered(workdir, folder)
    every = [*book.records, *book.losers]
    finished = [record for record in every if record.result]
    seeds = ', '.join(map(str, sorted({record.seed for record in finished})))
    command = progress.elsewhere(book.line, 'config.trials.shard', 'config.network')
    command += ' --config.network=WORKDIR,...' if book.options.get('network') else ''
    lines = [
        f'- command: {tables.code(command)}',
        f'- {len(finished)} of {len(every)} trainings finished, seeds {seeds}, '
        f'{progress.duration(sum(record.seconds for record in finished))} in their steps',
    ]
    lines += sorted(
        {
            tables.escaped('- ' + '; '.join(r.run[name] for name in ('machine', 'versions', 'date', 'code') if name in r.run))
            for r in finished
            if r.run
        }
    )
    trained = {progress.elsewhere(r.run['command'], 'config.seed') for r in finished if r.part == 'adopted' and r.run}
    lines += [f'- its networks: {tables.code(line)}' for line in sorted(trained)]
    parts = [
        f'# {tables.escaped(done.title)}\n',
        f'{tables.escaped(done.lead)}\n',
        *book.shelf.markdown,
        'Rendered from the records of the runs:\n',
        '\n'.join(lines),
    ]
    files.write(folder / 'README.md', '\n'.join(parts) + '\n')
