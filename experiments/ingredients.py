"""What each choice gains (Krizhevsky et al. 2012, sections 3 and 4): one network with every choice, and one row without each.

    python -m experiments.ingredients
    python -m experiments.ingredients --config=configs/ingredients.py:cifar10 --config.trials.seeds=5 --config.data.dir=DATA
    python -m experiments.ingredients --config=configs/ingredients.py:cuda_convnet --config.trials.budget=8h --dry_run

Rectified units, two towers, normalization, overlapping pooling, dropout, colour noise, mirroring, crops and a middle layer are taken away
one by one, from birth and with each seed; ten views at test are taken away by testing the base's networks again with one. The points of
trials.grid are trained for the rows of ingredients.tuned alone, and the holdout chooses among them. Leaves report.html, tables as csv, md
and tex, and the figure of gains in the workdir; the same command again goes on where it was stopped.
"""

from collections.abc import Mapping

import ml_collections

from cnn_research import checkpoints, tasks, trials
from cnn_research import config as configs
from cnn_research.errors import ConfigError, nearest
from cnn_research.fields import Field
from cnn_research.reporting import claims, paired, per_class
from cnn_research.studies.ingredients import report
from experiments.launch import command, looking, pages, plans, sweep

FIELDS = (
    *trials.FIELDS,
    Field('ingredients.rows', '', "rows that are trained beside 'every choice', separated by commas; '' = all"),
    Field(
        'ingredients.tuned',
        '',
        "rows that get the points of trials.grid or trials.search, separated by commas; '' = all. The others keep the recipe's point",
    ),
)
reads = report.LABELS.__contains__  # whether a row is the base or lacks one of its choices
_VIEW = 'one_view'


def _named(given: command.Command, field: str, rows: Mapping[str, dict]) -> list[str]:
    """The rows that a field names, all for ''; ConfigError for one that the recipe has not."""
    text = given.options.ingredients[field]
    names = looking.listed(text, f'ingredients.{field}') or list(rows)
    if unknown := [name for name in names if name not in rows]:
        offer = f'{given.recipe.label} has {", ".join(map(repr, rows))}'
        raise ConfigError(f'ingredients.{field}={text!r} names {unknown[0]!r}; {offer}.{nearest(unknown[0], rows)}')
    return names


def _planned(given: command.Command) -> list[trials.Trial]:
    """Every row in the recipe's order; the points of a grid for the tuned ones alone."""
    rows = plans.rows(given, FIELDS, reads)
    if report.BASE not in rows:
        raise ConfigError(f'{given.recipe.label} has no row {report.BASE!r}, with which the others are compared.')
    chosen = [report.BASE, *(row for row in _named(given, 'rows', rows) if row != report.BASE)]
    tuned = [row for row in _named(given, 'tuned', rows) if row in chosen]
    points = trials.crossed(given.options.trials)
    if points and not given.options.trials.select:
        raise ConfigError(f"{points} without trials.select='holdout' does not go with ingredients, where every row is one network.")
    if given.config.evaluate.views != 'ten' and 'evaluate.views' in configs.flat(given.recipe.config):
        raise ConfigError(
            "evaluate.views='centre' takes one choice from every row; 'one view at test' is in the table anyway, leave it out."
        )

    def options(crossed: bool) -> ml_collections.ConfigDict:
        return configs.update(given.options, {} if crossed else trials.ROWS_ALONE, FIELDS)

    made = [
        trial
        for crossed in (False, True)
        if (own := {row: rows[row] for row in rows if row in chosen and (row in tuned) is crossed})
        for trial in plans.made(given, own, options=options(crossed))
    ]
    return sorted(made, key=lambda trial: list(rows).index(trial.row))


def _measure(trial: trials.Trial) -> None:
    """The base's networks, tested with the centre view alone."""

    def tested():
        found = checkpoints.load(trial.workdir).evaluate(tasks.sources(trial.config)['test'], 'centre')
        return {name: value for name, value in found.to_dict().items() if name in ('top1_error', 'top5_error', 'ranks')}

    if trial.row == report.BASE and trial.config.evaluate.views == 'ten':
        trials.stored(trial.workdir, _VIEW, tested, trial.protocol)


def _row(label: str, records: list[trials.Record], tests: dict[int, dict], tried: list[float], problem: str) -> report.Row:
    """tests: {seed: what a test found}."""
    done = [record for record in records if record.result]
    net = configs.network(configs.update(configs.default(), done[0].config)) if done else None
    rate = done[0].config['optimizer.learning_rate'] if done else None
    several = done and net.num_classes >= claims.FEWEST_CLASSES
    held = {record.seed: 100 * record.result['holdout']['top1_error'] for record in done if 'holdout' in record.result}
    own = {record.seed: record.result['protocol'] for record in done}
    return report.Row(
        label,
        net.parameters if net else None,
        {seed: 100 * test['top1_error'] for seed, test in tests.items()},
        {seed: 100 * test['top5_error'] for seed, test in tests.items()} if several else {},
        held,
        rate,
        per_class.edge(rate, tried),
        # The same images, however many views of them were averaged.
        {seed: paired.tested({'test': test, 'protocol': own[seed]}) for seed, test in tests.items()},
        problem,
    )


def render(book: pages.Book) -> pages.Rendered:
    """The report's sections, and the tables and figures beside it, from the records alone."""
    tried, rows = book.tried('optimizer.learning_rate'), []
    for label, records in book.of().items():
        tests = {record.seed: record.result['test'] for record in records if record.result}
        rows.append(_row(label, records, tests, tried if records[0].point else [], pages.problem(records)))
    bases = [record for record in book.records if record.row == report.BASE and record.result]
    views = {record.seed: found for record in bases if (found := trials.read(record.workdir, _VIEW, record.protocol))}
    if views:
        problem = pages.problem(book.of()[report.BASE])
        rows.append(_row(report.ONE_VIEW, bases, views, tried if bases[0].point else [], problem)._replace(holdout={}))
    return pages.Rendered(*report.report(rows, pages.data_name(book), book.shelf))


def main(given: command.Command) -> None:
    planned = _planned(given)
    if given.dry_run:
        print(plans.table(given, planned))
        return
    sweep.carry_out(given, planned, lambda trial, stop: _measure(trial))


if __name__ == '__main__':
    command.run('ingredients', main, __doc__, 'configs/ingredients.py:digits', FIELDS)
