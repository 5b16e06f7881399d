"""Layer probing (Zeiler & Fergus 2013, Table 7; DeCAF): what a linear SVM and a softmax read off every layer of a trained network.

    python -m experiments.layer_probing
    python -m experiments.layer_probing --config=configs/layer_probing.py:cifar10 --config.trials.seeds=3 --config.data.dir=DATA
    python -m experiments.layer_probing --config=configs/layer_probing.py:caltech101 --config.network=runs/table/trials/KEY

Trains networks, or takes finished ones, streams a data set through each once, and fits for every layer and number of training images a
classifier with every regularisation, chosen by cross-validation inside the training part. Beside them stand the same network before its
training and the raw pixels. Leaves report.html, tables as csv, md and tex, and figures in the workdir, features in WORKDIR/features; the
same command again goes on where it was stopped.
"""

import functools
import itertools

import numpy as np

from cnn_research import checkpoints, features, files, probes, protocol, records, tasks, train, trials
from cnn_research import config as configs
from cnn_research.data import preprocessing
from cnn_research.data.sources import joined, open_splits, subset
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from cnn_research.models.network import check_taps
from cnn_research.studies.probing import report
from experiments.launch import command, pages, plans, sweep

FIELDS = (
    *trials.FIELDS,
    Field('network', '', "workdirs of finished trainings, separated by commas; '' = train them"),
    Field('probe.data', '', "the source that is probed; '' = the network's own"),
    Field('probe.train', 'train', "its split that is pooled with probe.test and redrawn; of the network's own source data.train counts"),
    Field('probe.test', 'test', "its split for the test; of the network's own source data.test counts"),
    Field('probe.taps', '', "the network's taps, such as 'layer5,layer6.dense'; '' = every layer below the last"),
    Field('probe.side', 6, 'maps larger than this, in px, are averaged to it; 0 = as they are', low=0),
    Field('probe.normalization', 'standardised', 'what becomes of the features', tuple(protocol.NORMALIZATIONS)),
    Field('probe.per_class', '30', "training images of each class: '5,15,30' for a learning curve"),
    Field('probe.test_per_class', 50, 'test images of each class, at most, and at most half of what a class has', low=1),
    Field('probe.splits', 5, 'random splits', low=1, high=1000),
    Field('probe.seed', 0, 'of the random splits, which all networks share', low=0),
    Field('probe.folds', 5, 'of the cross-validation that chooses C', low=2),
    Field('probe.costs', '1e-6,3e-6,1e-5,3e-5,1e-4,3e-4,1e-3,3e-3,1e-2,3e-2,1e-1', 'values of C, the weight of the losses, to choose from'),
)
reads = frozenset({'network'}).__contains__  # whether a row is its table's


def _sizes_and_costs(options) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Training images of each class, of which cross-validation needs two, and the values of C."""
    sizes = configs.numbers(options['probe.per_class'], 'probe.per_class', int, low=2)
    return sizes, configs.numbers(options['probe.costs'], 'probe.costs', float, low=1e-12)


def _source(given: command.Command, trial: trials.Trial, options):
    """(source to probe, which of it the network learned from or None, the short side that images are scaled to)."""
    data, where = trial.config.data, given.config.data.dir or trial.config.data.dir or None
    own = not options['probe.data'] or tasks.same_data(trial.config, options['probe.data'], trials.learned(trial))
    splits = (data.train, data.test) if own else (options['probe.train'], options['probe.test'])
    parts = open_splits(options['probe.data'] or data.name, splits, where)
    source = preprocessing.applied(joined(*parts), data.preprocessing)
    learned = np.arange(source.num_examples) < parts[0].num_examples if own else None
    return source, learned, tasks.resize_of(trial.config, source.image_shape, source.image_shape if own else None)


def _taps(config, options) -> list[str]:
    net = configs.network(config)
    taps = [tap.strip() for tap in options['probe.taps'].split(',') if tap.strip()] or [layer.name for layer in net.layers[:-1]]
    check_taps(net, taps)
    return taps


def _protocol(options, tap: str, trained: bool) -> str:
    """The name that a tap's outcomes are kept under, of this protocol."""
    told = records.digest({name: value for name, value in options.items() if name.startswith('probe.') and name != 'probe.taps'})[:12]
    return f'probe-{told}-{"" if trained else "untrained-"}{tap}'


def _missing(trial: trials.Trial, options, source, pixels: bool) -> dict[tuple[str, bool], str]:
    """{(tap, trained): protocol} of what has no outcome yet; pixels: whether they are probed with this network."""
    wanted = [*itertools.product(_taps(trial.config, options), (True, False)), *([(features.PIXELS, True)] if pixels else [])]
    names = {(tap, seen): _protocol(options, tap, seen) for tap, seen in wanted}
    return {key: name for key, name in names.items() if trials.read(trial.workdir, name, source.fingerprint) is None}


def _measure(given: command.Command, first: trials.Trial, trial: trials.Trial, stop) -> None:
    """The outcomes of every tap of a network; untrained with the most images alone, of the pixels with the first network only."""
    options = configs.flat(given.options)
    source, learned, resize = _source(given, trial, options)
    missing = _missing(trial, options, source, trial is first)
    if not missing:
        return
    labels, net, trained = source.labels(), tasks.network(trial.config), checkpoints.load(trial.workdir)
    (sizes, costs), drawing = _sizes_and_costs(options), (options['probe.test_per_class'], options['probe.splits'], options['probe.seed'])
    used, drawn = protocol.gathered(protocol.draws(labels, source.num_classes, sizes, *drawing, learned))
    chosen, most = subset(source, used), max(drawn)
    how = protocol.Protocol(probes.KINDS, costs, options['probe.folds'], options['probe.normalization'])

    def outcomes(array, sizes):
        about = {'dimension': array.shape[1], 'classes': source.num_classes, 'test': len(drawn[most][0].test)}
        return about | {'outcomes': protocol.learning_curve(array, labels[used], sizes, how)}

    for seen, params in ((True, trained.variables['params']), (False, features.untrained(net, trial.config.seed))):
        variables, sizes = {**trained.variables, 'params': params}, drawn if seen else {most: drawn[most]}
        folder = given.workdir / 'features' / features.fingerprint(net, variables, chosen, options['probe.side'], resize)
        collect = functools.partial(features.collect, net, variables, chosen, side=options['probe.side'], resize=resize)
        for tap, array in features.kept(folder, [tap for tap, when in missing if when is seen], collect).items():
            if stop():
                raise train.Stopped
            print(f'[network, seed {trial.config.seed}] probing {tap}' + ('' if seen else ' before training'), flush=True)
            trials.stored(trial.workdir, missing[tap, seen], functools.partial(outcomes, array, sizes), source.fingerprint)


def render(book: pages.Book) -> pages.Rendered:
    """The report's sections, and the tables and figures beside it, from the records alone."""
    rows: dict[tuple[str, bool], report.Row] = {}
    for record in [record for record in book.records if record.result]:
        taps = _taps(configs.update(configs.default(), record.config), book.options)
        for tap, seen in itertools.product((*taps, features.PIXELS), (True, False)):
            told = trials.read(record.workdir, _protocol(book.options, tap, seen))
            if told:
                new = report.Row(tap, seen, told['dimension'], told['classes'], told['test'], {}, probes.TOLERANCE)
                rows.setdefault((tap, seen), new).outcomes[record.seed] = told['outcomes']
    about = report.About(
        pages.data_name(book),
        book.options['probe.data'] or pages.data_name(book),
        book.options['probe.side'],
        book.options['probe.normalization'],
        book.options['probe.splits'],
        pages.problem(book.records),
    )
    return pages.Rendered(*report.report(list(rows.values()), about, book.shelf))


def main(given: command.Command) -> None:
    options = configs.flat(given.options)
    if crossed := trials.crossed(given.options.trials):
        raise ConfigError(f'{crossed} does not go with layer_probing, whose table has one network; give each its own workdir.')
    named = [name.strip() for name in options['network'].split(',') if name.strip()]
    networks = trials.adopted(named) or plans.made(given, plans.rows(given, FIELDS, reads))
    for trial in networks:
        source, _ = _source(given, trial, options)[0], _sizes_and_costs(options)
        if _missing(trial, options, source, trial is networks[0]) and named:
            checkpoints.load(trial.workdir), files.check_writable(trial.workdir, 'evaluations')  # before any work
    if given.dry_run:
        print(plans.table(given, networks))
        return
    sweep.carry_out(given, networks, lambda trial, stop: _measure(given, networks[0], trial, stop))


if __name__ == '__main__':
    command.run('layer_probing', main, __doc__, 'configs/layer_probing.py:clutter', FIELDS)
