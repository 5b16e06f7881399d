"""Stride diagnosis (Zeiler & Fergus 2013, section 4.1): what the first layer's filter size and stride do to its filters, as numbers.

    python -m experiments.stride_diagnosis
    python -m experiments.stride_diagnosis --config=configs/stride_diagnosis.py:cifar10 --config.trials.seeds=5 --config.data.dir=DATA
    python -m experiments.stride_diagnosis --config=configs/stride_diagnosis.py:cifar10 --config.trials.budget=2h --dry_run

Trains every crossing of filter size, stride and renormalisation of filters from scratch with each seed, and measures dead filters, filters
that dominate, frequencies and colours, what the stride folds, and how far shifts of an image change the features, beside the test error.
Leaves report.html, tables as csv, md and tex, and figures in the workdir; the same command again goes on where it was stopped.
"""

import numpy as np

from cnn_research import checkpoints, tasks, trials
from cnn_research import config as configs
from cnn_research.fields import Field
from cnn_research.reporting import claims, paired
from cnn_research.studies.stride import filters, weights
from cnn_research.studies.stride import report as stride
from experiments.launch import command, pages, plans, sweep

FIELDS = (
    *trials.FIELDS,
    Field('stride.examples', 256, 'test images on which aliasing and shift sensitivity are measured, evenly spaced', low=2),
    Field('stride.shift', 4, 'largest shift of an image, in px', low=1),
)


def _protocol(options) -> str:
    """The evaluation's name; options: {dotted name: value} of FIELDS."""
    return f'filters-{options["stride.examples"]}-{options["stride.shift"]}'


def _measure(given: command.Command, trial: trials.Trial) -> None:
    """The measures of a trained network, and its layer-1 kernels, which the report draws."""
    options = configs.flat(given.options)

    def measured():
        test = tasks.sources(trial.config)['test']
        return filters.diagnosis(checkpoints.load(trial.workdir), test, options['stride.examples'], options['stride.shift'])

    def kernels():
        return np.asarray(checkpoints.load(trial.workdir).variables['params']['layer1']['convolution']['kernel']).tolist()

    trials.stored(trial.workdir, _protocol(options), measured, trial.protocol)
    if trial.config.seed == given.config.seed:
        trials.stored(trial.workdir, 'layer1', kernels)


def _covered(measures: dict, kernel: int) -> dict:
    """The measures with layer 1's 'coverage' of the mid frequencies, which follows from the stored shares and the kernel's size."""
    shares = weights.Bands(*(np.array(measures['layer1'][name], float) for name in weights.Bands._fields))
    return measures | {'layer1': measures['layer1'] | {'coverage': weights.mid_coverage(shares, kernel, kernel)}}


def _rows(book: pages.Book) -> list[stride.Row]:
    rows = []
    for label, records in book.of().items():
        done = [record for record in records if record.result]
        net = configs.network(configs.update(configs.default(), done[0].config)) if done else None
        measures = {record.seed: trials.read(record.workdir, _protocol(book.options), record.protocol) for record in done}
        kernels = next((found for record in done if (found := trials.read(record.workdir, 'layer1'))), None)
        rows.append(
            stride.Row(
                label,
                net.parameters if net else None,
                {record.seed: 100 * record.result['test']['top1_error'] for record in done},
                {seed: _covered(found, net.layer(1).stages[0].kernel) for seed, found in measures.items() if found},
                None if kernels is None else np.array(kernels),
                pages.problem(records),
                {r.seed: 100 * r.result['test']['top5_error'] for r in done if net.num_classes >= claims.FEWEST_CLASSES},
                {record.seed: paired.tested(record.result) for record in done},
                net.num_classes if net else None,
            )
        )
    return rows


def reads(row: str) -> bool:
    """Whether a row names a cell."""
    try:
        return bool(stride.cell(row))
    except ValueError:
        return False


def render(book: pages.Book) -> pages.Rendered:
    """The report's sections, and the tables and figures beside it, from the records alone."""
    bound = max((record.config['optimizer.max_rms'] for record in book.records if record.config), default=0.0)
    rows = _rows(book)
    ranges = {kernel: weights.mid_range(kernel, kernel) for kernel in sorted({row.cell.kernel for row in rows})}
    axes = stride.Axes(weights.EDGES, weights.LIMITS, ranges)
    shown = stride.report(rows, pages.data_name(book), axes, book.options['stride.shift'], bound, book.shelf)
    return pages.Rendered(*shown)


def main(given: command.Command) -> None:
    planned = plans.made(given, plans.rows(given, FIELDS, reads))
    if given.dry_run:
        print(plans.table(given, planned))
        return
    sweep.carry_out(given, planned, lambda trial, stop: _measure(given, trial))


if __name__ == '__main__':
    command.run('stride_diagnosis', main, __doc__, 'configs/stride_diagnosis.py:clutter', FIELDS)
