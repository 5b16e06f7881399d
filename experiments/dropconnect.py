"""DropConnect against dropout against neither (Wan et al. 2013): errors by the rate of dropping, convergence, and averages over masks.

    python -m experiments.dropconnect
    python -m experiments.dropconnect --config=configs/dropconnect.py:mnist --config.trials.seeds=3 --config.data.dir=DATA
    python -m experiments.dropconnect --config=configs/dropconnect.py:cifar10 --config.dropconnect.rates=0.25,0.5,0.75 --dry_run

Trains one network without dropping, with dropout and with DropConnect at each rate, on one schedule, each at the learning rate of
trials.grid that is best on the holdout; then holds the ways to average a network that drops, moment matching with samples, its limit and
the mean network, against the average over many masks. Leaves report.html, tables as csv, md and tex, and figures; the same command again
goes on where it was stopped.
"""

import functools
from collections.abc import Callable

import numpy as np

from cnn_research import checkpoints, lengths, runs, search, tasks, trials
from cnn_research import config as configs
from cnn_research.data.sources import subset
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from cnn_research.reporting import paired, per_class
from cnn_research.studies.dropping import figures, inference, report, ways
from experiments.launch import command, learning, pages, plans, sweep

FIELDS = (
    *trials.FIELDS,
    Field('dropconnect.network', 'wan_800', f'one of {", ".join(ways.FAMILIES)}, then surgery that all ways take'),
    Field(
        'dropconnect.rates', '0.2,0.3,0.4,0.5,0.6,0.7,0.8', 'shares of weights, and of units, that are dropped: a row of each way for each'
    ),
    Field('dropconnect.images', 1000, 'test images, evenly spaced, on which averages over masks are compared', low=1),
    Field('dropconnect.masks', 1000, 'masks of the reference; a budget, as it takes most of the time of comparing', low=2),
    Field('dropconnect.samples', '1,10,100,1000', "samples of moment matching, and masks up to half of the reference's, to compare"),
    Field('dropconnect.training_images', 10000, 'training images, evenly spaced, on which the fit is measured at the end', low=1),
)
reads = report.reads  # whether a row is one of its table's
_OURS = ('architecture', 'architecture_json')  # what rows say themselves


def _samples(options: dict) -> tuple[int, ...]:
    return configs.numbers(options['dropconnect.samples'], 'dropconnect.samples', int, low=1)


def _planned(given: command.Command) -> list[trials.Trial]:
    """Every way at every rate, each with all points of the grid."""
    shared = plans.rows(given, FIELDS, reads).get(report.EVERY, {})
    if given.config.architecture != configs.default().architecture:
        raise ConfigError(f'architecture={given.config.architecture!r} does not go with dropconnect; name it in dropconnect.network.')
    for name in (name for name in search.names(given.options.trials) if name in _OURS):
        raise ConfigError(f'{trials.crossed(given.options.trials)} names {name}, which the rows of dropconnect say; leave it out.')
    learning.check(given, (), 'rows')
    _samples(configs.flat(given.options))
    rates = configs.numbers(given.options.dropconnect.rates, 'dropconnect.rates', float, low=0)
    nets = ways.architectures(given.options.dropconnect.network, rates)
    rows = {row: {**shared, 'architecture': text} for row, text in nets.items()}
    return trials.plan(rows, given.config, given.options, given.workdir)


def _protocols(options: dict) -> tuple[str, str]:
    """What the stored measurements are called: of the fit, and of the averages; options: {dotted name: value} of FIELDS."""
    images, masks, several = options['dropconnect.images'], options['dropconnect.masks'], '_'.join(map(str, _samples(options)))
    return f'fitted-{options["dropconnect.training_images"]}', f'averages-{images}-{masks}-{several}'


def _spaced(source, count: int):
    count = min(count, source.num_examples)
    return subset(source, np.linspace(0, source.num_examples - 1, count).astype(int))


def _measure(given: command.Command, trial: trials.Trial, chosen: Callable[[], set[str]]) -> None:
    """Of a point that was chosen: how closely it fits its training images and, if it drops, how near each average is to that over masks."""
    if trial.key not in chosen():
        return
    options, sources = configs.flat(given.options), functools.cache(lambda: tasks.sources(trial.config))
    fitted, averages = _protocols(options)

    def fit():
        found = checkpoints.load(trial.workdir).evaluate(
            _spaced(sources()['train'], options['dropconnect.training_images']), trial.config.evaluate.views
        )
        return {'error': found.top1_error, 'loss': found.loss, 'examples': found.examples}

    def compare():
        found = inference.head(checkpoints.load(trial.workdir), _spaced(sources()['test'], options['dropconnect.images']))
        return inference.compared(found, trial.config.seed, options['dropconnect.masks'], _samples(options))

    trials.stored(trial.workdir, fitted, fit, trial.protocol)
    if trial.row != report.NEITHER:
        trials.stored(trial.workdir, averages, compare, trial.protocol)


def _rows(book: pages.Book) -> list[report.Row]:
    fitted, averages = _protocols(book.options)
    tried, rows = book.tried('optimizer.learning_rate'), []
    for label, records in book.of().items():
        done = [record for record in records if record.result]
        rate = done[0].config['optimizer.learning_rate'] if done else None
        fits = {record.seed: trials.read(record.workdir, fitted, record.protocol) for record in done}
        seen = {record.seed: trials.read(record.workdir, averages, record.protocol) for record in done}
        rows.append(
            report.Row(
                label,
                {record.seed: 100 * record.result['test']['top1_error'] for record in done},
                {record.seed: 100 * record.result['holdout']['error'] for record in done if 'holdout' in record.result},
                {record.seed: record.result['test']['loss'] for record in done},
                {seed: fit for seed, fit in fits.items() if fit},
                {record.seed: figures.curve(runs.history(record.workdir, record.key)) for record in done},
                {seed: found for seed, found in seen.items() if found},
                rate,
                per_class.edge(rate, tried),
                pages.problem(records),
                {record.seed: paired.tested(record.result) for record in done},
            )
        )
    return rows


def render(book: pages.Book) -> pages.Rendered:
    """The report's sections, and the tables and figures beside it, from the records alone."""
    rows, config = _rows(book), next((record.config for record in book.records if record.result), {})
    about = report.About(
        pages.data_name(book),
        book.options['dropconnect.network'],
        next((f'{config[name]:g} {name.rpartition(".")[2]}' for name in lengths.LENGTH if config.get(name)), 'an unknown length'),
        config.get('data.batch_size', 0),
        book.options['trials.select'] == 'holdout',
        next((fit['examples'] for row in rows for fit in row.fitted.values()), book.options['dropconnect.training_images']),
    )
    return pages.Rendered(*report.report(rows, about, book.shelf))


def main(given: command.Command) -> None:
    planned = _planned(given)
    if given.dry_run:
        print(plans.table(given, planned))
        return
    chosen = functools.cache(lambda: {record.key for record in trials.selected(trials.records_of(given.workdir)[1])})
    sweep.carry_out(given, planned, lambda trial, stop: _measure(given, trial, chosen))


if __name__ == '__main__':
    command.run('dropconnect', main, __doc__, 'configs/dropconnect.py:digits', FIELDS)
