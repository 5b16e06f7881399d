"""What features are worth elsewhere (DeCAF; Zeiler & Fergus 2013, Tables 4 and 7; Razavian et al. 2014): classifiers on fixed features.

    python -m experiments.transfer
    python -m experiments.transfer --config=configs/transfer.py:decaf --config.network=WORKDIR,weights.npz --config.data.dir=DATA
    python -m experiments.transfer --config=configs/transfer.py:zf --config.network=WORKDIR --config.transfer.data=gtsrb_32

Rows are what a classifier sees: taps of networks, trained, untrained and published, and features made by hand, all under the same random
splits of a data set that no network need have seen. Leaves report.html, README.md, tables and figures in the workdir; features are kept in
WORKDIR/features and outcomes in WORKDIR/outcomes, so that another protocol on the same features takes no pass over the images, and the
same command goes on where it was stopped.
"""

import numpy as np

from cnn_research import config as configs
from cnn_research import probes, protocol
from cnn_research.data.sources import Source, joined, open_splits
from cnn_research.data.views import VIEWS
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from cnn_research.models.network import check_taps
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.transfer import measures, report
from experiments.launch import command, elsewhere, judging, looking, outcome, plans

FIELDS = (
    *elsewhere.FIELDS,
    Field('transfer.data', 'caltech101', 'the source that features are judged on'),
    Field('transfer.train', 'train', 'its split that is pooled with transfer.test and drawn from'),
    Field('transfer.test', 'test', 'the other; the same name where all is in one split'),
    Field(
        'transfer.taps', '', "the networks' taps; '' = every layer below the last, hidden dense ones before and after their nonlinearity"
    ),
    Field('transfer.side', 6, 'maps larger than this, in px, are averaged to it; 0 = as they are', low=0),
    Field('transfer.untrained', True, 'also the same networks before their training'),
    Field('transfer.handmade', '', f"what else is judged, of {', '.join(report.HANDMADE)}; '' = all, 'none' = none"),
    Field('transfer.classifiers', 'svm,softmax', f'of {", ".join(measures.CLASSIFIERS)}'),
    Field('transfer.normalization', 'standardised', 'what becomes of the features', tuple(protocol.NORMALIZATIONS)),
    Field('transfer.power', 1.0, 'what their size is raised to before that, the sign kept (2 in Razavian et al. 2014)', low=0.01, high=10),
    Field(
        'transfer.dropout', 0.5, 'share of the features that classifiers with dropout learn without (Donahue et al. 2013)', low=0, high=0.9
    ),
    Field('transfer.views', 'centre', 'of each image', tuple(VIEWS)),
    Field('transfer.per_class', '30', "training images of each class: '5,15,30' for a learning curve"),
    Field('transfer.test_per_class', 50, 'test images of each class at most, of those that are left; 0 = all of them', low=0),
    Field('transfer.splits', 5, 'random splits', low=1, high=1000),
    Field('transfer.seed', 0, 'of the random splits and the visual words', low=0),
    Field('transfer.folds', 5, 'of the cross-validation that chooses C', low=2),
    Field('transfer.costs', '1e-6,1e-5,1e-4,1e-3,1e-2,1e-1', 'values of C to choose from; a single one is taken as it is'),
    Field('transfer.words', 200, 'of the visual vocabulary', low=2),
    Field('transfer.size', 0, 'side in px that images made for hand-made features have; 0 = 64 for images up to 64 px, else 128', low=0),
    Field('transfer.neighbours', 6, 'images whose nearest neighbours are drawn', low=0, high=50),
)


def _pool(given: command.Command, networks) -> tuple[Source, np.ndarray | None]:
    """(all images, which of them a network has learned from or None)."""
    options, where = given.options.transfer, given.config.data.dir or None
    name = options.data
    parts = open_splits(name, list(dict.fromkeys((options.train, options.test))), where)
    pool = joined(*parts) if len(parts) > 1 else parts[0]
    own = [one for one in networks if one.learned(name)]
    for one in own:
        if one.trained.config.data.train != options.train or len(parts) < 2:
            raise ConfigError(
                f'{one.home} learned from {name} ({one.trained.config.data.train}); name that as transfer.train, and a transfer.test.'
            )
    return pool, np.arange(pool.num_examples) < parts[0].num_examples if own else None


def _drawn(given: command.Command, pool: Source, learned):
    options = given.options.transfer
    several = len(configs.numbers(options.costs, 'transfer.costs', float, low=1e-12)) > 1
    sizes = configs.numbers(options.per_class, 'transfer.per_class', int, low=2 if several else 1)
    return protocol.exact(pool.labels(), pool.class_names, sizes, options.test_per_class, options.splits, options.seed, learned)


def _listed(text: str, field: str, known) -> list[str]:
    """Names out of `known`; ConfigError for another."""
    names = looking.listed(text, field)
    for name in names:
        if name not in known:
            raise ConfigError(f'{field} names {name[:100]!r}; choose from {", ".join(known)}.')
    return names


def _taps(net, text: str, every) -> list[str]:
    """Those of a network; ArchitectureError for one that no network has, and for a network that has none of them."""
    named = looking.listed(text, 'transfer.taps')
    taps = [tap for tap in named if tap in net.taps()]
    unknown = [tap for tap in named if not any(tap in other.taps() for other in every)]
    check_taps(net, unknown or (named if not taps else []))
    return taps or elsewhere.default_taps(net)


def _rows(given: command.Command, networks) -> list[report.Key]:
    """What is judged, in the order of the table."""
    options, rows = given.options.transfer, []
    for one in networks:
        taps = _taps(one.trained.architecture, options.taps, [other.trained.architecture for other in networks])
        rows += [report.Key(one.name, tap, seen) for seen in (True, False)[: 1 + options.untrained] for tap in taps]
    made = _listed(options.handmade, 'transfer.handmade', [*report.HANDMADE, 'none']) or report.HANDMADE
    return rows + [report.Key('', name, False) for name in made if name != 'none']


def _how(options) -> protocol.Protocol:
    costs = configs.numbers(options.costs, 'transfer.costs', float, low=1e-12)
    return protocol.Protocol((), costs, options.folds, options.normalization, options.power)


def main(given: command.Command) -> None:
    options, planned = given.options.transfer, elsewhere.networks(given, planned=True)
    classifiers = _listed(options.classifiers, 'transfer.classifiers', measures.CLASSIFIERS)
    pool, learned = _pool(given, planned)
    drawn, keys = _drawn(given, pool, learned), _rows(given, planned)
    if not keys or not classifiers:
        raise ConfigError('there is nothing to judge: name networks or transfer.handmade, and transfer.classifiers.')
    measures.check_libraries([*classifiers, *(key.tap for key in keys if not key.network)])
    own = (
        f'a network learned from {options.train} of {pool.name}: training images are drawn from it, and the test from {options.test} alone'
    )
    notes = dict.fromkeys((*(note for one in planned for note in one.notes), *pool.notes, *([] if learned is None else [own])))
    if given.dry_run:
        sizes = f'{", ".join(map(str, drawn))} of each of {pool.num_classes} classes of {pool.name}'
        print(f'{len(keys)} rows of {", ".join(classifiers)}; {sizes}; {options.splits} splits', *(key.label for key in keys), sep='\n  ')
        plans.say(notes)
        return
    outcome.check_place(given, 'figures', 'features', 'outcomes', *([] if given.options.network else ['network']))
    networks = elsewhere.networks(given)
    table = judging.Table(given, networks, pool, pool.labels(), drawn, classifiers, _how(options))
    told = judging.outcomes(table, keys, command.stopper())
    command.interruptible()
    rows = [report.Row(key, one['dimension'], one['outcomes']) for key, one in told.items()]
    split = drawn[max(drawn)][0]
    demonstration = 'clutter' in (pool.name, *(one.trained.config.data.name for one in networks if not one.published))
    told_of = pool.name, pool.num_classes, sorted(drawn), len(split.test), judging.words(table), options.splits
    about = report.About(*told_of, len(split.test) / split.train.size, probes.TOLERANCE, demonstration)
    shelf = Shelf(given.workdir, given.name, ())
    plate, shares, drawn_of = judging.plate(table, keys) if options.neighbours else (None, {}, {})
    page = outcome.Page(*report.report(rows, about, plate, shares, shelf), drawn_of)
    # What was kept from earlier calls took its time as well.
    outcome.write(given, page, shelf, [one.home for one in networks], list(notes), sum(one['seconds'] for one in told.values()))


if __name__ == '__main__':
    command.run('transfer', main, __doc__, 'configs/transfer.py:clutter', FIELDS)
