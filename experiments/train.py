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
from experiments.launch import command, outcome, pages, plans, progress, sweep

FIELDS = trials.FIELDS
SAMPLES = 18


def report(run: train.Run, line: str) -> str:
    """The text of report.html for a finished run, and its figures and tables beside it."""
    trained, result = checkpoints.load(run.workdir), run.result
    config, net = run.config, trained.architecture  # a finished run's data may have moved since
    test = tasks.sources(config)['test']
    chosen = subset(test, np.linspace(0, test.num_examples - 1, SAMPLES).astype(int))
    feed = stream.evaluation_feed(chosen, SAMPLES, config.data.resize, config.data.resident_gb, workers=0)
    told = evaluate.predictor(tasks.network(config), loss=config.loss.name, j=config.loss.j)(trained.variables, feed)
    folder, sections = run.workdir / 'figures', []

    def show(name, figure, caption):
        figures.save(figure, folder / name)
        return page.figure_html(figure, caption)

    def curve(role, key, factor=1.0):
        lines = [record for record in run.history if record['role'] == role]
        return (role, [r['epoch'] for r in lines], [factor * r[key] for r in lines])

    roles = [role for role in ('train', 'holdout') if any(r['role'] == role for r in run.history)]
    quantities = [('top-1 error (%)', 'top1_error', 100), ('top-5 error (%)', 'top5_error', 100), ('loss', 'loss', 1)]
    rows = [
        {'split': role, 'examples': result[role]['examples']}
        | {name: None if result[role][key] is None else factor * result[role][key] for name, key, factor in quantities}
        for role in ('holdout', 'test')
        if role in result
    ]
    columns = [tables.Column('split'), tables.Column('examples', format=',d')]
    columns += [tables.Column(name, format='.2f' if '%' in name else '.4f') for name, _, _ in quantities]
    table = tables.Table(columns, rows, 'At the end of training, every example counted once.')
    tables.write(table, run.workdir / 'result')
    record = outcome.made(run.workdir)
    facts = [
        ('architecture', net.name),
        ('parameters', f'{net.parameters:,}'),
        ('multiply-adds an image', f'{net.multiply_adds:,}'),
        ('training', f'{run.step:,} steps of {config.data.batch_size}, {run.history[-1]["epoch"]:.3g} epochs, seed {config.seed}'),
        ('time in steps', outcome.spent(run.workdir)),
        ('machine', record['machine']),
        ('versions', record['versions']),
        ('key', result['key']),
    ]
    sections.append(('Result', tables.to_html(table) + page.facts_html(facts)))
    notes = [*record.get('notes', []), *trained.notes]
    if notes:
        sections.append((outcome.NOTES, page.text_html('\n\n'.join(notes))))
    error = figures.learning_curves([curve(role, 'error', 100) for role in roles], 'epoch', 'error (%)')
    loss = figures.learning_curves([curve(role, 'loss') for role in roles], 'epoch', 'loss', log_y=True)
    noted = 'Training values are means since the point before, with augmentation and dropout where the recipe has them.'
    sections.append(('Learning curves', show('error', error, f'Top-1 error. {noted}') + show('loss', loss, f'Loss. {noted}')))
    kernel = trained.variables['params'].get('layer1', {}).get('convolution', {}).get('kernel')
    if kernel is not None:
        files.write(run.workdir / 'layer1.npz', lambda file: np.savez(file, kernel=kernel))
        caption = f'The {kernel.shape[-1]} layer-1 filters, {kernel.shape[0]}x{kernel.shape[1]}, at the end, each scaled by itself.'
        sections.append(('Layer-1 filters', show('layer1', figures.filter_grid(kernel), caption)))
    images, _ = chosen.read(np.arange(SAMPLES))
    names, best = test.class_names, told.probabilities.argmax(axis=1)
    side = min(min(image.shape[:2]) for image in images)
    pictures = np.stack([stream.resized(image, side) for image in images])
    sample = figures.sample_predictions(
        pictures, [names[i] for i in told.labels], [names[i] for i in best], told.probabilities.max(axis=1).tolist()
    )
    caption = f'{SAMPLES} test images, evenly spaced over the split, not chosen: what the network says and how sure it is.'
    sections.append(('Sample predictions', show('predictions', sample, caption)))
    matrix = figures.confusion(np.array(result['test']['confusion']), names)
    sections.append(('Confusion', show('confusion', matrix, 'Test images of each true class (rows) by what they were called (columns).')))
    if test.name == 'clutter':
        about = 'Clutter is a demonstration: its data and recipe were chosen so that depth can matter. '
        about += 'Its holdout shares digits with the training composites; its test composites show digits of their own.'
        sections.append(('About clutter', page.text_html(about)))
    lead = f'{net.name} trained on {test.name}: {100 * result["test"]["top1_error"]:.2f} % test error.'
    return page.page(f'Training {net.name.split()[0]} on {test.name}', lead, sections, line)


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
        planned = trials.plan({given.recipe.label: {}}, given.config, given.options, given.workdir)
        sweep.carry_out(given, planned) if not given.dry_run else print(plans.table(given, planned))
        return
    if given.dry_run:
        plans.show(given.config)
        return
    parallel.led(lambda: outcome.check_place(given, 'checkpoints', 'evaluations', 'figures'))
    run = train.fit(given.config, given.workdir, watch=progress.Progress(given), stop=command.stopper())
    parallel.led(lambda: files.write(run.workdir / 'report.html', report(run, given.line)))
    parallel.led(lambda: print(f'test error {100 * run.result["test"]["top1_error"]:.2f} %; report: {run.workdir / "report.html"}'))


if __name__ == '__main__':
    command.run('train', main, __doc__, 'configs/alexnet.py:clutter', FIELDS)
