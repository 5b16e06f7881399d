"""Committees of columns that differ in preprocessing and seed (Ciresan et al. 2012, multi-column deep neural networks).

    python -m experiments.committee
    python -m experiments.committee --config=configs/committee.py:mnist --config.data.dir=DATA --dry_run
    python -m experiments.committee --config=configs/committee.py:mnist --config.committee.runs='runs/a*' --config.committee.train=false

Trains a column for every preprocessing and seed, keeps what each says of every test image, and tells of columns and committees: errors,
what all get wrong, how often two differ, error against the number of columns, and the images that the whole committee gets wrong. Finished
runs of experiments.train join by committee.runs, or stand in the place of a training that they are. Leaves report.html, tables as csv, md
and tex, and figures in the workdir; the same command again goes on where it was stopped.
"""

import numpy as np

from cnn_research import config as configs
from cnn_research import records, trials
from cnn_research.data import PREPROCESSINGS, WIDTHS
from cnn_research.errors import CheckpointError, ConfigError
from cnn_research.fields import Field
from cnn_research.studies.committees import measures, report
from experiments.launch import columns, command, looking, pages, plans, sweep

FIELDS = (
    *trials.FIELDS,
    Field('committee.runs', '', 'finished workdirs that join as columns, as patterns separated by commas'),
    Field('committee.train', True, "train the recipe's rows; false: the columns are those of committee.runs alone"),
    Field('committee.draws', 50, 'random orders of the columns, for the error of so many of them', low=1, high=10_000),
    Field('committee.seed', 0, 'of these orders', low=0),
)
reads = tuple(PREPROCESSINGS).__contains__  # whether a row is one of its table's


def _planned(given: command.Command) -> list[trials.Trial]:
    """Every column, those that are there already as they are; ConfigError for what makes no committee."""
    rows, options = plans.rows(given, FIELDS, reads), given.options.committee
    if given.config.data.preprocessing != 'none':
        raise ConfigError(
            f'data.preprocessing={given.config.data.preprocessing!r} does not go with committee, whose rows say it; leave it out.'
        )
    if crossed := trials.crossed(given.options.trials):
        raise ConfigError(f'{crossed} does not go with committee, whose rows are columns of one recipe; choose by experiments.train.')
    for row, fields in rows.items():
        if fields.get('data.preprocessing', 'none') != row:
            raise ConfigError(
                f'the row {row!r} of {given.recipe.label} says data.preprocessing={fields.get("data.preprocessing")!r}; name it so.'
            )
    planned = trials.plan(rows, given.config, given.options, given.workdir) if options.train else []
    patterns = looking.listed(options.runs, 'committee.runs')
    if not planned and not patterns:
        raise ConfigError('committee.train=false leaves the columns to committee.runs, which names none.')
    runs = columns.adopted(given, patterns, columns.raw(configs.check(given.config))) if patterns else []
    return columns.joined(planned, runs)


def _measure(planned: list[trials.Trial], trial: trials.Trial) -> None:
    columns.measure(trial)
    columns.draw(planned)


def _recipe(record: trials.Record) -> str:
    """What columns that claims compare have in common: all that decides a training but preprocessing and seed."""
    free = ('seed', 'data.preprocessing', 'architecture_json')
    told = {name: value for name, value in record.config.items() if name in configs.DECISIVE and name not in free}
    net = configs.network_of(record.config)
    return records.digest([told, list(net.input_shape), net.to_json().partition('"layers"')[2]])


def _told(book: pages.Book, there: list[tuple[trials.Record, columns.Said]], own: list) -> report.Told:
    """Of the columns that are there; own: those that claims compare."""
    rows, labels = [record.row for record, _ in there], there[0][1].labels
    said = np.stack([one.probabilities for _, one in there])
    shares = measures.disagreement(said)

    def together(chosen):
        part, own = said[chosen], shares[np.ix_(chosen, chosen)]
        several = 100 * float(own[~np.eye(len(chosen), dtype=bool)].mean()) if len(chosen) > 1 else None
        error = float(measures.wrong(np.mean(part, axis=0, dtype=np.float64), labels).mean())
        return report.Together(len(chosen), 100 * error, 100 * measures.oracle(part, labels), several)

    draws, seed = book.options['committee.draws'], book.options['committee.seed']
    of = {row: [place for place, one in enumerate(rows) if one == row] for row in dict.fromkeys(rows)}
    curves = {'any columns': measures.curve(said, labels, draws, seed)}
    fewest = min(map(len, of.values()))
    if len(of) > 1 and fewest > 1:
        within = [measures.curve(said[chosen], labels, draws, seed)[:, :fewest] for chosen in of.values()]
        curves['columns of one preprocessing'] = np.concatenate(within)
    holdout = {id(record): record.result['holdout']['error'] if 'holdout' in record.result else None for record, _ in own}
    ordered = sorted(own, key=lambda pair: list(PREPROCESSINGS).index(pair[0].row))
    compared = {(record.row, record.seed): measures.Said(one.probabilities, holdout[id(record)]) for record, one in ordered}
    replicates = measures.replicates(compared, labels, [f'width_{width}' for width in WIDTHS], 'none')
    every = list(range(len(rows)))
    missed = int(measures.wrong(np.mean(said, axis=0, dtype=np.float64), labels).sum())
    drawn = columns.drawn([record.workdir for record, _ in there], [one for _, one in there])
    whole = {row: together(chosen) for row, chosen in of.items()}, together(every)
    return report.Told(*whole, curves, *measures.between(shares, rows), replicates, missed, drawn)


def render(book: pages.Book) -> pages.Rendered:
    """The report's sections, and the tables and figures beside it, from the records alone."""
    order = list(PREPROCESSINGS)
    listed = sorted(book.records, key=lambda record: (record.part, order.index(record.row), record.seed))  # runs join in any order
    found = [(record, columns.said(record.workdir, record.protocol) if record.result else None) for record in listed]
    there = [(record, one) for record, one in found if one]
    if len({one.images for _, one in there}) > 1:
        raise CheckpointError(f'{book.workdir / "plan.json"} lists columns that were tested on different images.')
    recipes = [_recipe(record) for record, _ in there]
    ours = next((recipe for recipe, (record, _) in zip(recipes, there, strict=True) if not record.part), None)
    ours = ours or max(recipes, key=recipes.count, default=None)
    own = [pair for recipe, pair in zip(recipes, there, strict=True) if recipe == ours]
    lines = []
    for record, one in found:
        lost = 'what it says of the test images is not kept: give the command again' if record.result and not one else ''
        problem = '; '.join(filter(None, (pages.problem([record]), lost)))
        held = 100 * record.result['holdout']['error'] if record.result and 'holdout' in record.result else None
        error = 100 * float(measures.wrong(one.probabilities, one.labels).mean()) if one else None
        elsewhere = not record.workdir.resolve().is_relative_to(book.workdir.resolve())  # one that joins may stand in a planned one's place
        lines.append(report.Column(record.row, record.seed, error, held, elsewhere, problem))
    told = _told(book, there, own) if len(there) > 1 else None
    tested = len(there[0][1].labels) if there else 0
    views = next((record.config['evaluate.views'] for record, _ in there), 'centre')
    about = report.About(pages.data_name(book), tested, views, book.options['committee.draws'], len(there) - len(own))
    return pages.Rendered(*report.report(lines, told, about, book.shelf))


def main(given: command.Command) -> None:
    planned = _planned(given)
    if given.dry_run:
        print(plans.table(given, planned))
        return
    sweep.carry_out(given, planned, lambda trial, stop: _measure(planned, trial))


if __name__ == '__main__':
    command.run('committee', main, __doc__, 'configs/committee.py:digits', FIELDS)
