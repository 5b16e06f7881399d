"""What there is to learn. A task gives the loop its examples, loss and first state; the loop knows nothing of images."""

import dataclasses
import math
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import config as configs
from cnn_research import evaluate, levenberg_marquardt, parallel, records
from cnn_research.data import augment, preprocessing, stream
from cnn_research.data.sources import Source, open_splits, same_place, subset, verified
from cnn_research.errors import ConfigError, ResearchError
from cnn_research.losses import LOSSES
from cnn_research.models.initialization import Initialization
from cnn_research.models.network import Network

LOSS = 'the loss itself'  # where what is not finite stands when no map below has it


@dataclass(frozen=True)
class Task:
    """What `fit` is asked to learn.

    name: part of the key. feed: its batches by step; num_examples make an epoch. constants: arrays that evaluation needs beside the
    parameters, saved with them.
    initialize(key) -> params.
    loss(params, placed, batch, key) -> (losses (B,), {name: (B,) for each of `metrics`}); placed, on the device, is
    {'store': feed.store, 'constants': constants}.
    evaluate(params, role) -> {name: value}, with 'loss', and 'error' to choose by; roles: the splits that are there, of 'train', 'holdout'
    and 'test'.
    first_bad(params, placed, batch, key) -> where on an image's way up the first number that is not finite stands.
    chance_loss: what a network that knows nothing scores, or None. fingerprints: {role: fingerprint of its source}, for the key.
    about: what should be known of whoever learned it, as JSON: its checkpoints say it.
    curvature(params, placed, key, step, before) -> estimates of the loss's second derivatives, a tree like params: those `before`, or new
    ones at a step that begins a pass (levenberg_marquardt); None where they are not known.
    """

    name: str
    feed: Any
    num_examples: int
    constants: dict
    roles: tuple[str, ...]
    metrics: tuple[str, ...]
    initialize: Callable
    loss: Callable
    evaluate: Callable
    first_bad: Callable
    chance_loss: float | None
    fingerprints: Mapping[str, str]
    about: Mapping[str, Any] = field(default_factory=dict)
    curvature: Callable | None = None


class Start(NamedTuple):
    """Where a training begins instead of at its config's initialization: load() gives whole layers by name; `name` is for the key, and so
    names their content, never a place; needs: the workdir of the training that must be finished first, None without one.

    preprocessing() gives the one through which these layers learned to see, in the place of that of the images to learn from; None: theirs.
    """

    name: str
    load: Callable[[], Mapping[str, dict]]
    needs: pathlib.Path | None = None
    preprocessing: Callable[[], Mapping[str, np.ndarray]] | None = None


def sources(config) -> dict[str, Source]:
    """{'train', 'holdout' where there is one, 'test'} of a checked config, opened and held against its network and the memory.

    Of each one image is read; `verified` reads all. What was skipped, chosen or assumed is in the sources' notes.
    """
    data, net = config.data, configs.network(config)
    both = _shared(data.name, data.train, data.test)
    if both:
        raise ConfigError(f'data.train={data.train!r} and data.test={data.test!r} share {both[0]!r}; test on a split of its own.')
    whole, test = open_splits(data.name, (data.train, data.test), data.dir or None)
    held = stream.holdout_mask(whole.fingerprint, whole.num_examples, data.holdout)
    train = np.flatnonzero(~held)
    if data.examples:  # evenly spaced, since a folder lists its classes one after the other
        if data.examples > len(train):
            raise ConfigError(f'data.examples={data.examples}, but {data.name} ({data.train}) has {len(train)} beside the holdout.')
        train = train[np.linspace(0, len(train) - 1, data.examples).astype(int)]
    if data.per_class:
        train = _of_each_class(whole, held, data.per_class, config.seed)
    if data.test_examples:
        test = subset(test, np.arange(min(data.test_examples, test.num_examples)))
    found = {'train': subset(whole, train), 'test': test}
    if held.any():
        found['holdout'] = subset(whole, np.flatnonzero(held))
    found = {role: preprocessing.applied(source, data.preprocessing) for role, source in found.items()}
    if whole.num_classes < 2:
        raise ConfigError(f'{data.name} has one class, {whole.class_names[0]}, and nothing to tell it from.')
    if whole.fingerprint == test.fingerprint:
        raise ConfigError(f'data.train={data.train!r} and data.test={data.test!r} of {data.name} hold the same images; test on others.')
    if not data.per_class:  # which has seen that every class has some
        found['train'] = _with_all_classes(found['train'], data)
    last, channels = net.layers[-1].number, net.input_shape[-1]
    if whole.num_classes != net.num_classes:
        fix = f'resized({last}={whole.num_classes})'
        raise ConfigError(
            f'{data.name} has {whole.num_classes} classes, but {net.name} ends in {net.num_classes}; append {fix} to architecture.'
        )
    sizes = {source.image_shape[:2] if source.image_shape else None for source in (whole, test)}
    if not data.resize and (None in sizes or len(sizes) > 1):
        raise ConfigError(f'the images of {data.name} differ in size; set data.resize to the short side that they are scaled to.')
    for role, source in found.items():
        if source.channels not in (1, channels):
            has = f'{data.name} ({source.split}) has {source.channels} channels'
            raise ConfigError(f'{has}, but {net.name} reads {channels}; choose another architecture.')
        field, batch = ('data', data.batch_size) if role == 'train' else ('evaluate', config.evaluate.batch_size)
        shape = stream.example_shape(source, data.resize)
        resident = stream.affordable(shape, batch, source.num_examples, data.resident_gb, f'{field}.batch_size')
        if role == 'train' and config.optimizer.name == 'sdlm' and not resident:
            held = f'data.resident_gb={data.resident_gb:g} does not hold {data.name} ({source.split})'
            raise ConfigError(f"optimizer.name='sdlm' draws from all training images, which must be in memory, and {held}; give it more.")
    if config.optimizer.name == 'sdlm':
        levenberg_marquardt.check(net)
    if config.schedule.kind == 'plateau' and 'holdout' not in found:
        raise ConfigError(f"schedule.kind='plateau' looks at the holdout, but data.holdout={data.holdout} holds out no example.")
    return found


_labels: dict[str, np.ndarray] = {}  # by fingerprint: the trials of a learning curve draw from one split, whose labels take long to read


def _of_each_class(whole: Source, held: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Places of `count` examples of every class of a split, without those that are held (N,), the first of every class before any second.

    So a smaller draw of a seed is the beginning of a larger one. ConfigError, with the most there can be, where a class has fewer.
    """
    if whole.fingerprint not in _labels:
        _labels[whole.fingerprint] = whole.labels()
    labels = np.where(held, -1, _labels[whole.fingerprint])
    drawn = stream.of_each_class(seed, labels, whole.num_classes)
    most = min(map(len, drawn))
    if count > most:
        fewest = whole.class_names[[len(places) for places in drawn].index(most)]
        has = f'{whole.name} ({whole.split}) has {most} of the class {fewest} beside the holdout'
        raise ConfigError(f'data.per_class={count}, but {has}; the most that fits is {most}.')
    return np.stack([places[:count] for places in drawn], axis=1).reshape(-1)


def _with_all_classes(train: Source, data) -> Source:
    """The training examples, with a note on classes that `data.holdout` and `data.examples` leave none of; ConfigError for a folder's."""
    if not data.name.startswith('folder:') and not data.examples and train.num_examples > 100 * train.num_classes:
        return train  # reading all labels of a prepared set takes long, and such a class would be a rare one
    counts = np.bincount(train.labels(), minlength=train.num_classes)
    bare = [name for name, count in zip(train.class_names, counts, strict=True) if not count]
    if not bare:
        return train
    words = f'{len(bare)} of {train.num_classes} classes, {", ".join(bare[:3])}{", ..." if len(bare) > 3 else ""},'
    words = f'{words} have no training image beside data.holdout={data.holdout:g} and with data.examples={data.examples}'
    if data.name.startswith('folder:'):
        raise ConfigError(f'{words}; give these other values, or the classes more images.')
    return dataclasses.replace(train, notes=(*train.notes, words))


def _shared(name, train, test):
    """The splits that two texts such as 'train[:10%]+validation' have in common, sorted."""
    if name.startswith('folder:'):  # whose splits are folders
        return [train] if train == test else []
    splits = [{part.strip() for part in re.sub(r'\[[^]]*\]', '', text).split('+')} for text in (train, test)]
    # 'all' is what TFDS calls all splits together.
    return sorted(splits[0] & splits[1]) + ['all'] * any('all' in part for part in splits)


def same_data(config, name: str, learned: Mapping[str, str]) -> bool:
    """Whether a source's name is that of the data that a network learned from, or that of a folder with the same content.

    learned: {role: fingerprint} of the training, {} where they are not known.
    """
    if same_place(name, config.data.name):
        return True
    if not learned or not name.startswith('folder:'):
        return False
    try:
        there = fingerprints(sources(configs.update(config, {'data.name': name})))
    except ResearchError:
        return False
    return all(there.get(role) == fingerprint for role, fingerprint in learned.items())


def task_name(start: Start | None = None) -> str:
    """The name of `classification`, for a key."""
    return f'classification from {start.name}' if start else 'classification'


def protocol(views: str, fingerprints: Mapping[str, str]) -> str:
    """12 hex digits for how and on what a network is tested."""
    return records.digest([views, fingerprints.get('test')])[:12]


def fingerprints(found: Mapping[str, Source]) -> dict[str, str]:
    """{role: fingerprint} of sources, for a key."""
    return {role: source.fingerprint for role, source in found.items()}


def network(config) -> Network:
    """The Flax network of a checked config, with its initialization and dtype."""
    given = config.initialization
    pairs = [tuple(sorted(configs.by_layer(text).items())) for text in (given.stds, given.biases)]
    return Network(configs.network(config), Initialization(given.kernel, given.std, *pairs), config.dtype)


def fresh(net: Network, key) -> dict:
    """The parameters that the network's initialization draws with a key."""
    return jax.jit(net.init)(key, jnp.zeros((1, *net.architecture.input_shape), jnp.float32))['params']


def where_bad(params, taps: Iterable[str], kept: Callable[[tuple[str, ...]], Mapping[str, jax.Array]]) -> str:
    """Where, from an image up, the first number that is not finite stands; kept(taps): what a network makes of a batch at some taps."""
    for name in params:
        if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params[name])):
            return f'the parameters of {name}'
    taps = tuple(taps)
    found = jax.jit(lambda: kept(taps))()
    return next((f'the output of {tap}' for tap in taps if not bool(jnp.isfinite(found[tap]).all())), LOSS)


def resize_of(config, shape: Sequence[int] | None, learned: Sequence[int] | None) -> int:
    """The short side in px that images of a shape (H, W, C), None where they differ in size, are scaled to for a trained network; 0 = as
    they are.

    That of its training, data.resize. A network that learned from images as they are sees images of their shape, `learned` as far as it is
    known, or of its input's as they are, and others brought to the side of those.
    """
    own = configs.network(config).input_shape
    if config.data.resize or shape and tuple(shape[:2]) in (tuple((learned or own)[:2]), own[:2]):
        return config.data.resize
    return min((learned or own)[:2])


def _statistics(config, train: Source, feed) -> dict:
    """The preprocessing measured on at most data.statistics_examples training images, evenly spaced."""
    count = min(config.data.statistics_examples, train.num_examples)
    chosen = np.linspace(0, train.num_examples - 1, count).astype(int)
    if feed.store:
        return augment.statistics(feed.store['images'][chosen], config.data.normalization)
    parts = (stream.store(subset(train, part), config.data.resize)['images'] for part in np.array_split(chosen, max(1, count // 1000)))
    return augment.statistics(parts, config.data.normalization)


def classification(
    config,
    found: Mapping[str, Source] | None = None,
    devices=None,
    log: Callable[[str], None] | None = None,
    start: Start | None = None,
) -> Task:
    """The task of a checked config: name the class of an image. found: its `sources`; `log` is given a line where reading takes long.

    Raises SourceError where an example of any role, also of those that are read later, is found damaged.
    """
    brought = dict(start.preprocessing()) if start and start.preprocessing else {}  # first: it may have to be waited for
    net, found, data = network(config), found or sources(config), config.data
    settings = augment.Augmentation(**config.augment)
    shape = net.architecture.input_shape
    devices = devices or parallel.devices()
    examples, (index, count) = found['train'].num_examples, parallel.process(devices)
    feed = stream.open_feed(found['train'], config.seed, data.batch_size, data.resize, data.resident_gb, data.workers, index, count, log)
    for role, source in found.items():
        if role != 'train' or not feed.resident:  # a resident one has just been read
            verified(source, log)
    # Published weights bring a mean and a scale, and no directions of colour noise, which are then those of the images.
    constants = {'preprocessing': {**_statistics(config, found['train'], feed), **brought}}

    def views(placed, batch, key):
        images, labels, positions = stream.fetch(placed['store'], batch)
        keys = augment.example_keys(jax.random.fold_in(key, 0), positions)
        return augment.augmented(images, placed['constants']['preprocessing'], shape, keys, settings), labels, positions

    def apply(params, placed, batch, key, taps=()):
        images, labels, positions = views(placed, batch, key)
        rngs = {'dropout': jax.random.fold_in(key, 1)}
        return *net.apply({'params': params}, images, train=True, taps=taps, examples=positions, rngs=rngs), labels

    def loss(params, placed, batch, key):
        logits, _, labels = apply(params, placed, batch, key)
        wrong = jnp.argmax(logits, axis=-1) != labels
        return LOSSES[config.loss.name](logits, labels, config.loss.j), {'error': wrong.astype(jnp.float32)}

    def curvature(params, placed, key, step, before):
        def anew():
            drawn = jax.random.fold_in(jax.random.fold_in(key, 2), step)
            chosen = jax.random.choice(drawn, examples, (min(levenberg_marquardt.SAMPLES, examples),), replace=False)
            images, labels, _ = views(placed, {'index': chosen, 'position': chosen.astype(jnp.uint32)}, drawn)
            return levenberg_marquardt.curvature(net, config.loss.name, config.loss.j, params, images, labels)

        return jax.lax.cond(step % configs.steps({'epochs': 1}, data.batch_size, examples) == 0, anew, lambda: before)

    def first_bad(params, placed, batch, key):
        return where_bad(params, net.architecture.taps(), lambda taps: apply(params, placed, batch, key, taps)[1])

    feeds: dict = {}  # a role's images are read when they are first asked for
    predict = evaluate.predictor(net, 'centre', config.loss.name, config.loss.j, devices)

    def measure(params, role):
        if role not in feeds:
            size = parallel.share_evenly(config.evaluate.batch_size, devices)
            feeds[role] = stream.evaluation_feed(found[role], size, data.resize, data.resident_gb, data.workers, index, count, log=log)
        view = config.evaluate.views if role == 'test' else 'centre'
        chosen = predict if view == 'centre' else evaluate.predictor(net, view, config.loss.name, config.loss.j, devices)
        told = chosen({'params': params, **constants}, feeds[role])
        result = evaluate.summarize(told, found[role].num_examples).to_dict()
        return {'error': result['top1_error'], **result}

    def initialize(key):
        return fresh(net, key) | dict(start.load()) if start else fresh(net, key)

    return Task(
        name=task_name(start),
        feed=feed,
        num_examples=found['train'].num_examples,
        constants=constants,
        roles=tuple(found),
        metrics=('error',),
        initialize=initialize,
        loss=loss,
        evaluate=measure,
        first_bad=first_bad,
        chance_loss=math.log(net.architecture.num_classes) if config.loss.name == 'softmax' else None,
        fingerprints=fingerprints(found),
        about={'class_names': list(found['train'].class_names), 'image_shape': found['train'].image_shape},
        curvature=curvature,
    )
