"""'What about learning the features?' (the deck): SIFT and visual words as a network's weights, kept, learned on from, or learned anew.

    python -m experiments.handmade
    python -m experiments.handmade --config=configs/handmade.py:cifar10 --config.trials.seeds=3 --config.data.dir=DATA
    python -m experiments.handmade --config=configs/handmade.py:caltech101 --config.handmade.sizes=20 --dry_run

For every network and number of images of each class: hand-made weights that stay, with a classifier that learns; the same weights as the
beginning, from which all layers learn on; and the same architecture from random weights. All go through the same number of steps, each at
the learning rate of trials.grid that is best on the holdout. Leaves report.html, tables as csv, md and tex, and figures, of the first
layer's filters before and after too; the same command again goes on where it was stopped.
"""

import numpy as np

from cnn_research import checkpoints, search, trials
from cnn_research import config as configs
from cnn_research.data.sources import open_source
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from cnn_research.models import zoo
from cnn_research.studies.handmade import report, ways
from experiments.launch import command, learning, looking, pages, plans, sweep

FIELDS = (
    *trials.FIELDS,
    Field('handmade.networks', 'sift_32,spm_32', 'architectures that take hand-made weights, separated by commas'),
    Field('handmade.sizes', '1,10,100', 'training images of each class, the learning curve'),
    Field('handmade.ways', '', f"some of {', '.join(ways.WAYS)}, separated by commas; '' = all"),
    Field('handmade.sift_rate', 1.0, 'learning rate of the classifier on SIFT, relative to the layers below it', low=1e-6, high=1e6),
    Field('handmade.pyramid_rate', 100.0, 'that of the classifier on a pyramid of words, whose numbers are small', low=1e-6, high=1e6),
)
reads = report.reads  # whether a row is one of its table's
_OURS = ('data.per_class', 'data.resize', 'optimizer.rates', 'optimizer.trainable')  # what rows differ in
_SHARED = (*_OURS, 'architecture', 'architecture_json', 'data.normalization', 'dtype')  # what the points of a grid have in common
_PROTOCOL = 'kernels'


def _check(given: command.Command) -> None:
    """ConfigError for what rows say themselves, and for what would make weights or words those of other images."""
    learning.check(given, _OURS, 'rows')
    if given.config.architecture != configs.default().architecture:
        raise ConfigError(f'architecture={given.config.architecture!r} does not go with handmade; name it in handmade.networks.')
    asked = given.options.trials
    for name in (name for name in search.names(asked) if name in _SHARED):
        raise ConfigError(f'{trials.crossed(asked)} names {name}, and hand-made weights belong to the images of a row; leave it out.')
    if given.config.data.normalization not in ways.WHITE:
        offer = f'hand-made weights are for {" or ".join(ways.WHITE)}'
        raise ConfigError(f'data.normalization={given.config.data.normalization!r} does not go with handmade: {offer}.')


def _planned(given: command.Command) -> list[trials.Trial]:
    """Every network, way and number of images; all points of a grid, and both ways that begin with them, share hand-made weights."""
    shared = plans.rows(given, FIELDS, reads).get(report.EVERY, {})
    _check(given)
    options, data = given.options.handmade, given.config.data
    chosen = looking.listed(options.ways, 'handmade.ways') or list(ways.WAYS)
    if unknown := [way for way in chosen if way not in ways.WAYS]:
        raise ConfigError(f'handmade.ways={options.ways!r} names {unknown[0]!r}; choose from {", ".join(ways.WAYS)}.')
    source, rows, begins = open_source(data.name, data.train, data.dir or None), {}, {}
    for name in looking.listed(options.networks, 'handmade.networks'):
        text = ways.for_classes(name, source.num_classes)
        net = zoo.architecture(text)
        side = net.input_shape[0]
        resize = 0 if source.image_shape and source.image_shape[:2] == (side, side) else side
        rate = options.pyramid_rate if ways.words(net) else options.sift_rate
        fields = {'architecture': text, 'data.resize': resize}
        for way in chosen:
            for size in configs.numbers(options.sizes, 'handmade.sizes', int, low=1):
                ways.check(net, size, source.num_classes)
                row = report.label(name, way, size)
                rows[row] = {**shared, **fields, 'data.per_class': size, **ways.learning(way, net, rate)}
                begins[row] = None if way == 'learned' else (name, size)
    made = {}

    def start(row, seed):
        if not begins[row]:
            return None
        if (*begins[row], seed) not in made:
            made[*begins[row], seed] = ways.start(configs.check(configs.update(given.config, {**rows[row], 'seed': seed})))
        return made[*begins[row], seed]

    return trials.plan(rows, given.config, given.options, given.workdir, '', start)


def _measure(given: command.Command, trial: trials.Trial) -> None:
    """The kernels of layer 1 before and after, of the first seed with the most images: what the report draws."""
    most = configs.numbers(given.options.handmade.sizes, 'handmade.sizes')[-1]
    if trial.config.seed == given.config.seed and trial.config.data.per_class == most:
        trials.stored(trial.workdir, _PROTOCOL, lambda: ways.kernels(checkpoints.load(trial.workdir), trial.start is None))


def render(book: pages.Book) -> pages.Rendered:
    """The report's sections, and the tables and figures beside it, from the records alone."""
    rows, filters = learning.rows(book), []
    ways_of = {row.label: report.split(row.way) for row in rows}
    size, seed = max((row.size for row in rows), default=0), min((record.seed for record in book.records), default=0)
    for record in book.records:
        found = trials.read(record.workdir, _PROTOCOL) if record.result and record.config['data.per_class'] == size else None
        if found and record.seed == seed:
            filters.append(report.Filters(*ways_of[record.row], np.array(found['before']), np.array(found['after'])))
    config, options = next((record.config for record in book.records if record.result), {}), book.options
    about = report.About(
        pages.data_name(book),
        config.get('schedule.steps', 0),
        config.get('data.batch_size', 0),
        options['trials.select'] == 'holdout',
        options['handmade.sift_rate'],
        options['handmade.pyramid_rate'],
        size,
        seed,
    )
    return pages.Rendered(*report.report(rows, filters, about, book.shelf))


def main(given: command.Command) -> None:
    planned = _planned(given)
    if given.dry_run:
        print(plans.table(given, planned))
        return
    sweep.carry_out(given, planned, lambda trial, stop: _measure(given, trial))


if __name__ == '__main__':
    command.run('handmade', main, __doc__, 'configs/handmade.py:digits', FIELDS)
