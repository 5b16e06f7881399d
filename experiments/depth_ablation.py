"""Depth ablation (Zeiler & Fergus 2013, Table 3): which layers a network needs, from birth and once it is grown, beside the paper's table.

    python -m experiments.depth_ablation
    python -m experiments.depth_ablation --config=configs/depth_ablation.py:cifar10 --config.trials.seeds=5 --config.data.dir=DATA
    python -m experiments.depth_ablation --config=configs/depth_ablation.py:cifar10 --config.trials.budget=2h --dry_run

Every row is trained from scratch with each seed. Beside it stands the lesion: the same surgery on the trained base of that seed, once as it
is (bypassed) where shapes allow, and once with only the layers whose input changed and the classifier learned anew, the others frozen
(refit); with points of a grid or search there are no lesions. Leaves report.html, tables as csv, md and tex, and figures; the same
command again goes on where it was stopped.
"""

import numpy as np

from cnn_research import checkpoints, evaluate, tasks, trials
from cnn_research import config as configs
from cnn_research.data.sources import subset
from cnn_research.fields import Field, duration
from cnn_research.reporting import claims, paired
from cnn_research.studies.depth import lesions
from cnn_research.studies.depth import report as depth
from experiments.launch import command, pages, plans, sweep

FIELDS = (
    *trials.FIELDS,
    Field('depth.rows', 'all', "'deck': the five rows of the deck only", ('all', 'deck')),
    *duration('lesion', 'length of every refit (0 in all units = no lesions)', epochs=2),
)
reads = depth.LABELS.__contains__  # whether a row is one of the published table's


def _error(config, variables, source, views='centre') -> float:
    net, given = tasks.network(config), config.evaluate
    found = evaluate.evaluate(net, variables, source, views, config.loss.name, given.batch_size, config.data.resize, config.loss.j)
    return found.top1_error


def _refits(given: command.Command, rows: dict[str, dict], grown: list[trials.Trial]) -> list[trials.Trial]:
    """The refits of every row and seed, each beginning with the base of its family in that seed."""
    base = {(trial.row, trial.config.seed): trial for trial in grown}

    def start(row, seed):
        trained = base[depth.base_of(row), seed]
        net = configs.network(configs.check(configs.update(given.config, rows[row])))

        def load():
            whole = sweep.begun_with(given, trained, grown)
            return lesions.kept(whole.architecture, net, whole.variables['params'])

        return tasks.Start(f'refit of {trained.key}', load, trained.workdir)

    def changes(row):
        nets = [configs.network(configs.update(given.config, rows[one])) for one in (depth.base_of(row), row)]
        return {
            **rows[row],
            'optimizer.trainable': ','.join(map(str, lesions.retrained(*nets))),
            'schedule.kind': 'cosine',
            'schedule.drops': '',
            **{f'schedule.{part}.{unit}': 0 for part in ('warmup', 'cooldown') for unit in given.options.lesion},
            **{f'schedule.{unit}': length for unit, length in given.options.lesion.items() if length},
        }

    chosen = {row: changes(row) for row in rows if row in depth.DECK or row in depth.BASES}
    return plans.made(given, chosen, 'refit', start)


def _measure(trial: trials.Trial, rows: dict[str, dict]) -> None:
    """Beside the test error of `fit`: the error on as many training images as there are test images, and the bypassed rows of a base."""
    config = trial.config
    if trial.part:
        return

    def on_train():
        found, trained = tasks.sources(config), checkpoints.load(trial.workdir)
        train, count = found['train'], min(found['test'].num_examples, found['train'].num_examples)
        chosen = subset(train, np.linspace(0, train.num_examples - 1, count).astype(int))
        return _error(config, trained.variables, chosen)

    def bypassed():
        trained, test, results = checkpoints.load(trial.workdir), tasks.sources(config)['test'], {}
        for row in rows:
            if depth.base_of(row) == trial.row:
                net = configs.check(configs.update(config, rows[row]))
                params = lesions.bypassed(trained.architecture, configs.network(net), trained.variables['params'])
                results[row] = _error(net, {**trained.variables, 'params': params}, test, config.evaluate.views) if params else None
        return results

    trials.stored(trial.workdir, 'train', on_train, trial.protocol)  # of as many images as the test has
    if trial.row in depth.BASES and not trial.point:
        trials.stored(trial.workdir, 'bypassed', bypassed, trial.protocol)


def _rows(book: pages.Book) -> list[depth.Row]:
    """What the records say of each row, in percent."""
    refits = {(record.row, record.seed): record for record in book.records if record.part}
    bypassed = {
        (row, record.seed): error
        for record in book.records
        for row, error in (trials.read(record.workdir, 'bypassed', record.protocol) or {}).items()
        if error is not None
    }

    def percent(found):
        return {record.seed: 100 * value for record, value in found if value is not None}

    rows = []
    for records in book.of().values():
        label, done = records[0].row, [record for record in records if record.result]
        refit = [refits[label, record.seed] for record in done if (label, record.seed) in refits]
        net = configs.network(configs.update(configs.default(), done[0].config)) if done else None
        rows.append(
            depth.Row(
                label,
                records[0].point,
                net.parameters if net else None,
                percent((record, trials.read(record.workdir, 'train', record.protocol)) for record in done),
                percent((record, record.result['test']['top1_error']) for record in done),
                percent(
                    (record, record.result['test']['top5_error'] if net.num_classes >= claims.FEWEST_CLASSES else None) for record in done
                ),
                percent((record, bypassed.get((label, record.seed))) for record in done),
                percent((record, record.result['test']['top1_error']) for record in refit if record.result),
                next((record.config['optimizer.trainable'] for record in refit if record.config), ''),
                pages.problem(records),
                {record.seed: paired.tested(record.result) for record in done},
                net.num_classes if net else None,
            )
        )
    return rows


def render(book: pages.Book) -> pages.Rendered:
    """The report's sections, and the tables and figures beside it, from the records alone."""
    return pages.Rendered(*depth.report(_rows(book), pages.data_name(book), book.shelf))


def main(given: command.Command) -> None:
    rows = plans.rows(given, FIELDS, lambda row: reads(row) and depth.base_of(row) in given.recipe.rows)
    rows = {row: how for row, how in rows.items() if given.options.depth.rows == 'all' or row in depth.DECK}
    grown = plans.made(given, rows)
    lesioned = any(given.options.lesion.values()) and not trials.crossed(given.options.trials)
    refits = _refits(given, rows, grown) if lesioned else []
    if given.dry_run:
        print(plans.table(given, grown + refits))
        return
    sweep.carry_out(given, grown + refits, lambda trial, stop: _measure(trial, rows))


if __name__ == '__main__':
    command.run('depth_ablation', main, __doc__, 'configs/depth_ablation.py:clutter', FIELDS)
