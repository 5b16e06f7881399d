"""Fine-tuning (Zeiler & Fergus 2013, Fig. 9, Tables 4 and 5): one trained network learns another set, four ways, from few images or many.

    python -m experiments.finetune
    python -m experiments.finetune --config=configs/finetune.py:caltech101 --config.trials.seeds=3 --config.data.dir=DATA
    python -m experiments.finetune --config=configs/finetune.py:gtsrb --config.network=WORKDIR --dry_run

For every number of images of each class: a new last layer on the network's frozen layers; the whole network fine-tuned, its old layers more
slowly than the new one; the same from a layer on; and the same network from scratch. All go through the same number of steps, each at the
learning rate of trials.grid that is best on the holdout. Without --config.network the recipe's row 'source' is trained first, once for each
seed. Leaves report.html, tables as csv, md and tex, and figures; the same command again goes on where it was stopped.
"""

import functools
import pathlib

from cnn_research import config as configs
from cnn_research import tasks, trials
from cnn_research.data.sources import open_source
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from cnn_research.studies.finetuning import report, ways
from experiments.launch import command, learning, looking, pages, plans, sweep

FIELDS = (
    *trials.FIELDS,
    Field(
        'network',
        '',
        'workdirs of finished trainings or files of published weights, separated by commas: one for all seeds, or the s-th for the s-th '
        "seed; '' = train the recipe's row 'source' first",
    ),
    Field('finetune.sizes', '1,3,6,15', 'training images of each class, the learning curve'),
    Field('finetune.old_rate', 0.1, 'learning rate of the layers that were there before, relative to the new one', low=1e-6, high=1e3),
    Field('finetune.from_layer', 5, "the layer from which on 'upper' learns", low=1),
    Field('finetune.ways', '', f"some of {', '.join(ways.WAYS)}, separated by commas; '' = all"),
)
reads = report.reads  # whether a row is one of its table's, or a network that it begins with
_OURS = (
    'data.per_class',
    'data.preprocessing',
    'data.resize',
    'optimizer.rates',
    'optimizer.trainable',
)  # what rows differ in, or what the network says


def _origins(given: command.Command, rows: dict[str, dict]) -> tuple[list[trials.Trial], list[ways.Origin]]:
    """(the trainings that rows begin with, the network of each seed); ResearchError for networks that there cannot be."""
    named, seeds = looking.listed(given.options.network, 'network'), given.options.trials.seeds
    if not named:
        plain = configs.update(given.options, trials.ROWS_ALONE, FIELDS)
        made = plans.made(given, rows, 'pretrained', options=plain)
        return made, [ways.of_planned(trial, functools.cache(functools.partial(sweep.begun_with, given, trial, made))) for trial in made]
    if len(named) not in (1, seeds):
        raise ConfigError(f'network names {len(named)} networks for trials.seeds={seeds}; name one for all seeds, or one for each.')
    made = trials.adopted(name for name in named if not ways.published(name))
    adopted = iter(made)
    found = [ways.of_weights(name) if ways.published(name) else ways.of_finished(next(adopted)) for name in named]
    return made, found * (seeds // len(found))


def _planned(given: command.Command, origins: list[ways.Origin]) -> list[trials.Trial]:
    """Every way with every number of images, each seed beginning with its own network."""
    options, data, first = given.options.finetune, given.config.data, origins[0]
    chosen = looking.listed(options.ways, 'finetune.ways') or list(ways.WAYS)
    if unknown := [way for way in chosen if way not in ways.WAYS]:
        raise ConfigError(f'finetune.ways={options.ways!r} names {unknown[0]!r}; choose from {", ".join(ways.WAYS)}.')
    for origin in origins:
        if tasks.same_data(origin.config, data.name, origin.data) and origin.data:
            raise ConfigError(f'the network has learned {data.name} already; name another set to fine-tune it on, --config.data.name=SET.')
    target = open_source(data.name, data.train, data.dir or None)
    seen = {'data.resize': ways.resize(origins, target.image_shape), 'data.preprocessing': ways.preprocessing(origins)}
    net = {**seen, **ways.for_classes(first, target.num_classes)}
    rows, way_of = {}, {}
    for size in configs.numbers(options.sizes, 'finetune.sizes', int, low=1):
        for way in chosen:
            row = report.label(way, options.from_layer, size)
            learns = ways.learning(way, first.architecture, options.from_layer, options.old_rate)
            rows[row], way_of[row] = {**net, 'data.per_class': size, **learns}, way

    def start(row, seed):
        return None if way_of[row] == 'scratch' else ways.start(origins[seed - given.config.seed])

    return plans.made(given, rows, '', start)


def render(book: pages.Book) -> pages.Rendered:
    """The report's sections, and the tables and figures beside it, from the records alone."""
    own = [record for record in book.records if not record.part]
    begun = [record for record in book.records if record.part and record.config]
    files = [pathlib.Path(name).name for name in looking.listed(book.options['network'], 'network') if ways.published(name)]
    learned = list(dict.fromkeys([*(record.config['data.name'] for record in begun), *files]))
    config = next((record.config for record in own if record.result), {})
    about = report.About(
        pages.data_name(book._replace(records=own)),
        ', '.join(learned) or 'nothing yet',
        len(begun) + len(files),
        book.options['finetune.old_rate'],
        config.get('schedule.steps', 0),
        config.get('data.batch_size', 0),
        book.options['trials.select'] == 'holdout',
        pages.problem(begun),
    )
    return pages.Rendered(*report.report(learning.rows(book), about, book.shelf))


def main(given: command.Command) -> None:
    rows = plans.rows(given, FIELDS, {'source'}.__contains__)
    learning.check(given, _OURS, 'rows and networks')
    made, origins = _origins(given, rows)
    planned = _planned(given, origins)
    if given.dry_run:
        print(plans.table(given, planned if given.options.network else made + planned))
        return
    sweep.carry_out(given, made + planned)


if __name__ == '__main__':
    command.run('finetune', main, __doc__, 'configs/finetune.py:clutter', FIELDS)
