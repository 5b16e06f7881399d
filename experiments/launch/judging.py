"""Rows of a transfer table: the features of each, from networks or made by hand, and what classifiers make of them, each done once."""

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research import features, protocol, records, tasks, traditional
from cnn_research.classes import meaning
from cnn_research.data.source import Source, sha256
from cnn_research.data.views import VIEWS, views
from cnn_research.errors import Stopped
from cnn_research.studies.transfer import measures, report
from experiments.launch import command, elsewhere

_NEAREST = 5  # images that stand beside a query
SMALL = 64  # px: images up to this size are brought to it for features made by hand, larger ones to twice that
_OUTCOME = {'dimension': int, 'seconds': (0, float('inf')), 'outcomes': dict}


class Table(NamedTuple):
    """What is judged, on what, and how. drawn: {n per class: its splits}; how: as in measures.outcomes."""

    given: command.Command
    networks: Sequence[elsewhere.Named]
    pool: Source
    labels: np.ndarray
    drawn: Mapping[int, Sequence[protocol.Split]]
    classifiers: Sequence[str]
    how: protocol.Protocol

    @property
    def options(self):
        return self.given.options.transfer

    @property
    def size(self) -> int:
        """Side in px of the images that features are made of by hand."""
        shape = self.pool.image_shape
        return self.options.size or (SMALL if shape and max(shape[:2]) <= SMALL else 2 * SMALL)

    def named(self, key: report.Key) -> elsewhere.Named:
        return next(one for one in self.networks if one.name == key.network)


def outcomes(table: Table, keys: Sequence[report.Key], stop: Callable[[], bool]) -> dict[report.Key, dict]:
    """{key: {'dimension': D, 'seconds': what the row took, 'outcomes': as measures.outcomes has them}} of every row, from WORKDIR/outcomes
    where it is whole there. The pass over the images counts with the first of the rows that it is for.

    Stopped between two rows; what was judged is kept.
    """
    paths = {key: table.given.workdir / 'outcomes' / f'{_name(table, key)}.json' for key in keys}
    missing = [key for key in keys if records.kept(paths[key], _OUTCOME) is None]
    # The taps of a network come from one pass over the images.
    for (network, seen), group in itertools.groupby(missing, lambda key: (key.network, key.trained)):
        wanted = list(group)
        if stop():
            raise Stopped
        begun = time.perf_counter()
        found = network_features(table, network, seen, [key.tap for key in wanted]) if network else {}
        for key in wanted:
            if stop():
                raise Stopped
            print(f'[{table.given.name}] {key.label}', flush=True)
            told = _judged(table, key, found.get(key.tap))
            records.write(paths[key], {'row': key.label, 'seconds': time.perf_counter() - begun, **told})
            begun = time.perf_counter()
    return {key: records.read(path, _OUTCOME) for key, path in paths.items()}


def network_features(table: Table, network: str, seen: bool, taps: list[str]) -> dict[str, np.ndarray]:
    """{tap: (N, D) or (V, N, D)} of a network's, of all images."""
    named = table.named(report.Key(network, taps[0], seen))
    return elsewhere.gathered(table.given.workdir, named, seen, taps, table.pool, table.options.side, table.options.views)


def handmade_features(table: Table, name: str) -> np.ndarray:
    """(N, D) of all images; of words, with the vocabulary of the first and largest split's training images."""
    if name not in report.WORDS:
        return _made(table, [name])[name]
    kept, places = descriptors(table)
    split = table.drawn[max(table.drawn)][0]
    return traditional.words_of_split(kept, places, (table.size, table.size), split, table.options.words, table.options.seed)[name]


def descriptors(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """(descriptors, places) of all images, as traditional.descriptors has them."""
    made = _made(table, ['descriptors', 'places'])
    return made['descriptors'], made['places']


def _made(table, names: list[str]) -> dict[str, np.ndarray]:
    """What is made by hand of the squashed images, kept beside the features of networks."""
    told = [table.pool.fingerprint, table.size, table.options.seed if 'jarrett' in names else 0]
    folder = table.given.workdir / 'features' / records.digest(told)[:24]

    def random_filters(images):
        side = measures.RANDOM_SIDES[table.size > SMALL]
        return measures.random_filters([traditional.squashed(image, side) for image in images], table.options.seed)

    def compute(missing):
        images = measures.images(table.pool, table.size)
        if 'descriptors' in names:
            return dict(zip(names, traditional.descriptors(images), strict=True))
        hog = functools.partial(traditional.hog, size=table.size)
        make = {'pixels': measures.pixels, 'hog': hog, 'jarrett': random_filters}
        return {name: make[name](images) for name in missing}

    return features.kept(folder, names, compute)


def words(table: Table) -> str:
    """The protocol in words, every field that a number rests on."""
    options = table.options
    dropped = f', {options.dropout:g} of the features dropped where it says so' if any('+' in name for name in table.classifiers) else ''
    power = f'raised to the signed power {options.power:g}, ' if options.power != 1 else ''
    costs = f'C of {options.costs} in {options.folds} folds' if len(table.how.costs) > 1 else f'C = {options.costs}'
    maps = f'maps averaged to {options.side} x {options.side} px' if options.side else 'maps as they are'
    test = f'at most {options.test_per_class} of each class' if options.test_per_class else 'all others'
    return (
        f'{maps}, {power}{protocol.NORMALIZATIONS[options.normalization]}{dropped}; {costs}; tested on {test} '
        f'({len(table.drawn[max(table.drawn)][0].test)} images); {VIEWS[options.views]}; hand-made features of {table.size} px'
    )


def plate(table: Table, keys: Sequence[report.Key]) -> tuple[report.Plate, dict, dict[str, np.ndarray]]:
    """The nearest neighbours in the pixels, the pyramid and the first network's lowest, middle and highest features; what measures.told
    says of each; and the numbers of the images that are drawn, queries (Q,) and per kind of features (Q, k)."""
    split, options = table.drawn[max(table.drawn)][0], table.options
    own = [key for key in keys if key.trained and key.network == table.networks[0].name] if table.networks else []
    own = list(dict.fromkeys(own[place] for place in (0, len(own) // 2, -1))) if own else []
    chosen = [key for key in keys if not key.network and key.tap in ('pixels', 'pyramid')] + own
    asked = measures.asked(table.labels, split, table.pool.num_classes, options.neighbours)
    images = {}

    def shown(index):
        if index not in images:
            image = traditional.squashed(table.pool.read([index])[0][0], 96)
            images[index] = np.repeat(image, 3 // image.shape[-1], axis=-1)
        return images[index]

    found, told, numbers = {}, {}, {'queries': asked}
    for key in chosen:
        array = network_features(table, key.network, True, [key.tap])[key.tap] if key.network else handmade_features(table, key.tap)
        array, name = array if array.ndim == 2 else array[0], key.tap if key.network else key.label
        told[name] = measures.told(measures.nearest(array, split.test, _NEAREST), table.labels)
        near = numbers[name] = measures.nearest(array, asked, _NEAREST).nearest
        found[name] = np.array([[shown(i) for i in row] for row in near]), table.labels[near] == table.labels[asked][:, None]
    names = [meaning(table.pool.class_names[table.labels[index]]) for index in asked]
    network = own[0].network if own else ''
    return report.Plate(np.array([shown(index) for index in asked]), names, found, network), told, numbers


def _judged(table: Table, key: report.Key, found: np.ndarray | None) -> dict:
    options = table.options
    if key.tap in report.WORDS and not key.network:
        kept, places = descriptors(table)
        how = options.words, options.seed, options.folds
        told = measures.words_outcomes(key.tap, kept, places, table.size, table.labels, table.drawn, *how)
        return {'dimension': options.words * (21 if key.tap == 'pyramid' else 1), 'outcomes': told}
    array = handmade_features(table, key.tap) if found is None else found
    told = measures.outcomes(array, table.labels, table.drawn, table.classifiers, table.how, options.dropout)
    return {'dimension': array.shape[-1], 'outcomes': told}


def _name(table: Table, key: report.Key) -> str:
    """What an outcome is kept under: 24 hex digits of all that it follows from."""
    options = table.options
    drawn = sha256(*(part.astype('<i8').tobytes() for splits in table.drawn.values() for split in splits for part in split))
    told = [key.tap, drawn, list(table.classifiers), table.how._asdict(), options.dropout, options.side]
    if key.network:
        named = table.named(key)
        net, config = tasks.network(named.trained.config), named.trained.config
        resize = tasks.resize_of(config, table.pool.image_shape, named.trained.image_shape)
        told += [features.fingerprint(net, elsewhere.variables(named, key.trained), table.pool, options.side, resize)]
        told += [view.fingerprint for view in views(table.pool, options.views)]
        told += [] if config.data.preprocessing == 'none' else [config.data.preprocessing]
    else:
        told += [table.pool.fingerprint, table.size, options.words, options.seed]
    return records.digest(told)[:24]
