"""ReLU against tanh (Krizhevsky et al. 2012, Fig. 1): epochs until a four-layer net is at 25 % training error.

    python -m experiments.nonlinearity
    python -m experiments.nonlinearity --config=configs/nonlinearity.py:cifar10 --config.data.dir=DATA --config.seed=1
    python -m experiments.nonlinearity --config=configs/nonlinearity.py:cifar10 --config.data.examples=20000 --dry_run

Each nonlinearity is first trained for two epochs at each learning rate of a grid, and the rate with the lowest holdout error is trained
anew until the training error, averaged over a quarter of an epoch, is at 25 %, or for schedule.epochs. The training error is that of the
steps themselves, which is fair without dropout and augmentation. The table shows where a rate at the edge of the grid was best. The same
command again goes on where it was stopped.
"""

import contextlib
import math
import pathlib

from cnn_research import config as configs
from cnn_research import files, runs, tasks, train
from cnn_research.errors import CheckpointError, ConfigError
from cnn_research.reporting import figures, page, tables
from cnn_research.reporting.published import published
from experiments.launch import command, outcome, plans, progress

NONLINEARITIES = ('relu', 'tanh')
TARGET = 0.25
TUNING_EPOCHS = 2.0


def variant(config, nonlinearity: str, **values):
    """The config with every nonlinearity of its network replaced, and dotted fields set; ConfigError where it has none, or one after its
    outputs, whose meaning for the loss would change with it."""
    net = configs.network(config)
    layers = [layer for layer in net.layers if any(stage.role == 'nonlinearity' for stage in layer.stages)]
    if not layers:
        raise ConfigError(f'{net.name} has no nonlinearity that could be replaced; choose another architecture.')
    if layers[-1] is net.layers[-1]:
        raise ConfigError(
            f'{net.name} has a nonlinearity after its outputs, which the race would replace as well; choose another architecture.'
        )
    surgery = ' '.join(f'replaced({layer.number},nonlinearity={nonlinearity})' for layer in layers)
    return configs.update(config, {'architecture': f'{config.architecture} {surgery}', **values})


def rates(config) -> tuple[float, ...]:
    """The grid: the config's learning rate times 0.3, 1, 3 and 10."""
    return tuple(float(f'{config.optimizer.learning_rate * factor:.2g}') for factor in (0.3, 1, 3, 10))


def crossing(history: list[dict]) -> float | None:
    """The epoch at which the training error is first at the target; None if it never is."""
    return next((r['epoch'] for r in history if r['role'] == 'train' and r['error'] <= TARGET), None)


def race(config, workdir: pathlib.Path, watch, asked) -> list[dict]:
    """Trains until the target or the end; metrics of the run."""
    checked, reached = configs.check(config), []
    key = configs.key(checked, tasks.fingerprints(tasks.sources(checked)))
    with contextlib.suppress(CheckpointError):  # `fit` says what is wrong, or mends it
        before = runs.history(workdir, key)
        if crossing(before) is not None:
            return before

    def look(event):
        watch(event)
        if 'rate' in event and event['error'] <= TARGET:
            reached.append(event)

    try:
        train.fit(config, workdir, watch=look, stop=lambda: asked() or bool(reached))
    except train.Stopped:
        if not reached:
            raise
    return runs.history(workdir, key)


def tuned(config, workdir: pathlib.Path, watch, asked) -> list[tuple[float, float]]:
    """(holdout error, learning rate) after TUNING_EPOCHS, best first; a rate that diverges comes last."""
    found = []
    for rate in rates(config):
        short = configs.update(config, {'optimizer.learning_rate': rate, 'schedule.epochs': TUNING_EPOCHS})
        try:
            run = train.fit(short, workdir / f'{rate:g}', watch=watch, stop=asked)
            found.append((run.result['holdout']['top1_error'], rate))
        except train.TrialError:
            found.append((math.inf, rate))
    return sorted(found)


def main(given: command.Command) -> None:
    base, asked = configs.check(given.config), command.stopper()
    plain = configs.update(base, {'architecture_json': ''})
    if given.recipe.rows:
        raise ConfigError(f'{given.recipe.label} has rows, which nonlinearity does not train; use --config=configs/nonlinearity.py.')
    variant(plain, NONLINEARITIES[0])  # refuses what cannot be raced
    if not base.data.holdout or 'holdout' not in tasks.sources(base):
        share = base.data.holdout
        raise ConfigError(f'the learning rates are chosen on the holdout, but data.holdout={share} holds out no example; give it 0.1, say.')
    if given.dry_run:
        print(
            f'tuning        {TUNING_EPOCHS:g} epochs at each learning rate of {rates(base)}, for each of {", ".join(NONLINEARITIES)}; then:'
        )
        print('\n'.join(plans.training(variant(plain, name)) for name in NONLINEARITIES))
        return
    outcome.check_place(given, *NONLINEARITIES)
    rows, series = [], []
    for name in NONLINEARITIES:
        watch = progress.Progress(given)
        trials = tuned(variant(plain, name), given.workdir / f'tune-{name}', watch, asked)
        chosen = variant(plain, name, **{'optimizer.learning_rate': trials[0][1]})
        history = race(chosen, given.workdir / name, watch, asked)
        lines = [record for record in history if record['role'] == 'train']
        series.append((name, [r['epoch'] for r in lines], [100 * r['error'] for r in lines]))
        tuning = ', '.join(f'{rate:g}: {100 * error:.1f} %' for error, rate in sorted(trials, key=lambda trial: trial[1]))
        rows.append({'nonlinearity': name, 'rate': trials[0][1], 'tuning': tuning, 'epochs': crossing(history), 'last': lines[-1]['epoch']})
    columns = [
        tables.Column('nonlinearity'),
        tables.Column('rate', 'learning rate', 'g'),
        tables.Column('tuning', f'holdout error after {TUNING_EPOCHS:g} epochs'),
        tables.Column('epochs', 'epochs to 25 % training error', '.2f'),
        tables.Column('last', 'trained for', '.2f'),
    ]
    table = tables.Table(columns, rows, f'{plain.architecture} on {plain.data.name}, seed {plain.seed}.')
    relu, tanh = (row['epochs'] for row in rows)
    paper = published('krizhevsky effects', 'relu').value
    ours = f'{tanh / relu:.1f}' if relu and tanh else 'not known, since one did not get there'
    lead = (
        f'Epochs to 25 % training error, tanh over ReLU: {ours}; Krizhevsky et al. 2012, Fig. 1, on a net that is not specified: {paper:g}.'
    )
    figure = figures.learning_curves(series, 'epoch', 'training error (%)')
    figures.save(figure, given.workdir / 'relu_tanh')
    record = outcome.made(given.workdir)
    record['command'] = progress.elsewhere(record['command'])
    made = '\n'.join(f'- {key}: {record[key]}' for key in ('command', 'date', 'machine', 'versions'))
    text = f'# ReLU against tanh\n\n{lead}\n\n{tables.to_markdown(table)}\n![curves](relu_tanh.png)\n\n{made}\n'
    files.write(given.workdir / 'relu_tanh.md', text)
    files.write(given.workdir / 'relu_tanh.csv', tables.to_csv(table))
    caption = 'Training error, each point the mean over a quarter of an epoch.'
    sections = [('Epochs', tables.to_html(table)), ('Curves', page.figure_html(figure, caption))]
    if record.get('notes'):
        sections.append((outcome.NOTES, page.text_html('\n\n'.join(record['notes']))))
    outcome.leave(given.workdir, page.Report(given.name, 'ReLU against tanh', lead, sections, given.line))
    print(f'{lead} Report: {given.workdir / "report.html"}')


if __name__ == '__main__':
    command.run('nonlinearity', main, __doc__, 'configs/nonlinearity.py:smoke')
