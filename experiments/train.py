"""Trains one network and leaves report.html: result, learning curves, layer-1 filters, sample predictions, confusion.

    python -m experiments.train
    python -m experiments.train --config=configs/lenet5.py:mnist --config.data.dir=DATA --config.seed=1
    python -m experiments.train --config=configs/cifar.py:cifar10 --config.schedule.epochs=200 --workdir=runs/18pct --dry_run
    python -m experiments.train --config=configs/mlp.py:smoke --config.trials.seeds=3 --config.trials.grid='data.batch_size=32,64'

--config=FILE:SCALE picks a recipe, --config.FIELD=VALUE overrides any field, --workdir=DIR says where the run is kept (default
runs/train/FILE-SCALE), --dry_run prints the plan and does nothing. The same command again goes on from the newest checkpoint. With several
seeds or points (trials.grid, trials.search), the report is a table.
"""

import numpy as np

from cnn_research import checkpoints, evaluate, files, parallel, search, tasks, train, trials
from cnn_research.data import stream
from cnn_research.data.sources import subset
from cnn_research.reporting import figures, page, tables
from experiments.launch import command, outcome, pages, plans, progress, sweep, training_page

FIELDS = trials.FIELDS


def look(run: train.Run) -> None:
    """Leaves what the page shows of the network itself: its layer-1 filters, and what it says of some test images."""
    trained, config = checkpoints.load(run.workdir), run.config
    test = tasks.sources(config)['test']
    chosen = subset(test, np.linspace(0, test.num_examples - 1, training_page.SAMPLES).astype(int))
    feed = stream.evaluation_feed(chosen, training_page.SAMPLES, config.data.resize, config.data.resident_gb, workers=0)
    told = evaluate.predictor(tasks.network(config), loss=config.loss.name, j=config.loss.j)(trained.variables, feed)
    kernel = trained.variables['params'].get('layer1', {}).get('convolution', {}).get('kernel')
    if kernel is not None:
        files.write(run.workdir / training_page.FILTERS, lambda file: np.savez(file, kernel=kernel))
    images, _ = chosen.read(np.arange(training_page.SAMPLES))
    names, best = test.class_names, told.probabilities.argmax(axis=1)
    side = min(min(image.shape[:2]) for image in images)
    pictures = np.stack([stream.resized(image, side) for image in images])
    sample = figures.sample_predictions(
        pictures, [names[i] for i in told.labels], [names[i] for i in best], told.probabilities.max(axis=1).tolist()
    )
    figures.save(sample, run.workdir / 'figures' / training_page.PREDICTIONS)


def report(run: train.Run) -> None:
    """Leaves report.html of a finished run, and its figures and table beside it."""
    look(run)
    files.write(run.workdir / 'report.html', page.page(*training_page.report(run.workdir)[1:]))


def reads(row: str) -> bool:
    """Whether a row can be the label of a recipe."""
    return bool(row)


def render(book: pages.Book) -> pages.Rendered:
    """The report of several seeds or of a grid: one row for each point, from the records alone."""
    lines = []
    for row, records in book.of().items():
        done = [record for record in records if record.result]
        errors = {role: [100 * r.result[role]['top1_error'] for r in done if role in r.result] for role in ('holdout', 'test')}
        minutes = [record.seconds / 60 for record in done if record.seconds]
        lines.append(
            {
                'row': row,
                'point': records[0].point or None,
                **{k: v or None for k, v in errors.items()},
                'minutes': sum(minutes) / len(minutes) if minutes else None,
                'note': pages.problem(records) or None,
            }
        )
    columns = [
        tables.Column('row'),
        tables.Column('test', 'test error, % (seeds)', '.2f'),
        tables.Column('holdout', 'holdout error, %', '.2f'),
    ]
    columns += [tables.Column('minutes', 'minutes in steps, a run', '.1f'), tables.Column('note')]
    data, chosen = pages.data_name(book), book.options['trials.select'] == 'holdout'
    table = tables.Table(columns, lines, 'Mean ± standard deviation; ' + ('the best point on the holdout.' if chosen else 'every point.'))
    done = sum(record.result is not None for record in book.records)
    lead = f'{done} of {len(book.records)} trials are finished.'
    return pages.Rendered(f'{book.label} on {data}', lead, [('Table', book.shelf.table('trials', table))])


def main(given: command.Command) -> None:
    asked = given.options.trials
    crossed = search.points(asked, given.config.seed) != [{}]
    if asked.seeds > 1 or crossed or any(asked[name] for name in ('select', 'shard', 'budget', 'launch', 'slurm')):
        planned = plans.made(given, {given.recipe.label: {}})
        sweep.carry_out(given, planned) if not given.dry_run else print(plans.table(given, planned))
        return
    if given.dry_run:
        plans.show(given.config)
        return
    parallel.led(lambda: outcome.check_place(given, 'checkpoints', 'evaluations', 'figures'))
    run = train.fit(given.config, given.workdir, watch=progress.Progress(given), stop=command.stopper())
    parallel.led(lambda: report(run))
    parallel.led(lambda: print(f'test error {100 * run.result["test"]["top1_error"]:.2f} %; report: {run.workdir / "report.html"}'))


if __name__ == '__main__':
    command.run('train', main, __doc__, 'configs/alexnet.py:clutter', FIELDS)
