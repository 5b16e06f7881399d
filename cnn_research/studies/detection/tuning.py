"""Fine-tuning on windows: a network learns to tell the classes of objects, and what is none, from windows that overlap them.

Girshick et al. 2014, section 2.3: proposals of IoU 0.5 or more with a true box are positive for its class, all others background; a batch
is 32 positive and 96 background windows, drawn over all classes and images. As in the authors' code, true boxes are windows too, difficult
ones among them, windows are drawn with replacement, and a window belongs to the box that it overlaps most.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import boxes as geometry
from cnn_research import config as configs
from cnn_research import parallel, records, tasks
from cnn_research.architecture import Architecture
from cnn_research.data import augment, stream
from cnn_research.data.scene import Scene, Scenes
from cnn_research.errors import ConfigError, SourceError
from cnn_research.losses import LOSSES
from cnn_research.studies.detection import windows
from cnn_research.trained import Trained

LEAST = 0.5  # IoU of a positive window with a true box
ONE_IN = 4  # windows of a batch is positive
MEASURED = 256  # positive windows of the holdout that the error is measured on, with three times as many of background
BACKGROUND = 'background'  # the last class


def recipe(net: Architecture) -> dict:
    """The fields of R-CNN's fine-tuning: a rate of 0.001, ten times as much in the new last layer, twice that of the weights for biases.

    The rate falls to a tenth every 20,000 steps there; the length of the training is left to whoever trains.
    """
    return {
        'data.batch_size': 128,
        'augment.flip': True,
        'initialization.kernel': 'normal',
        'initialization.std': 0.01,
        'optimizer.learning_rate': 0.01,
        'optimizer.momentum': 0.9,
        'optimizer.weight_decay': 0.0005,
        'optimizer.bias_rate': 2.0,
        'optimizer.bias_decay': 0.0,
        'optimizer.rates': ','.join(f'{layer.number}=0.1' for layer in net.layers[:-1]),
    }


def pools(boxes: Sequence[np.ndarray], truths: Sequence[Scene], chosen: Sequence[int], background: int) -> tuple[np.ndarray, np.ndarray]:
    """(positive, background) windows of the chosen images: int32 (n, 3) of image, row of its boxes (P + M, 4) and label."""
    found = [np.zeros((0, 3), np.int32)]
    for image in chosen:
        rows, truth = boxes[image], truths[image]
        labels = np.full(len(rows), background, np.int32)
        if len(rows) and len(truth.boxes):
            overlaps = geometry.iou(rows, truth.boxes)
            labels = np.where(overlaps.max(axis=1) >= LEAST, truth.labels[overlaps.argmax(axis=1)], background)
        found.append(np.stack([np.full(len(rows), image), np.arange(len(rows)), labels], axis=1).astype(np.int32))
    every = np.concatenate(found)
    positive = every[:, 2] != background
    return every[positive], every[~positive]


def drawn(seed: int, step: int, batch_size: int, positive: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The windows (B, 3) of a step, a quarter of them positive, first: they depend on the seed and the step alone."""
    words = np.random.Philox(key=np.array([seed % 2**64, step], np.uint64)).random_raw(batch_size)
    count = batch_size // ONE_IN
    places = [(part % np.uint64(len(pool))).astype(np.int64) for part, pool in ((words[:count], positive), (words[count:], background))]
    return np.concatenate([positive[places[0]], background[places[1]]])


class _Windows:
    """Windows of some scenes, in host memory. Images stay there, decoded, as far as they fit in `most` bytes; others are read again."""

    def __init__(self, trained, scenes, boxes, how, most):
        self._trained, self._scenes, self._boxes, self._left = trained, scenes, boxes, most
        self._cut = windows.cutter(trained, how)
        self._kept: dict[int, np.ndarray] = {}

    def _image(self, place):
        if place in self._kept:
            return self._kept[place]
        scene = self._scenes.read([place])[0]
        windows.check_channels(self._trained, self._scenes, scene.image)
        if scene.image.nbytes <= self._left:
            self._left -= scene.image.nbytes
            self._kept[place] = scene.image
        return scene.image

    def __call__(self, chosen) -> np.ndarray:
        """float32 (n, h, w, C) of windows (n, 3), every image read once."""
        views = None
        for image in np.unique(chosen[:, 0]):
            places = np.flatnonzero(chosen[:, 0] == image)
            found = self._cut(self._image(int(image)), self._boxes[image][chosen[places, 1]])
            views = np.empty((len(chosen), *found.shape[1:]), np.float32) if views is None else views
            views[places] = found
        return views


class _Feed:
    """A training's batches by step, as `tasks.Task` has them: views (B, h, w, C), labels (B,), positions (B,) of this process's share."""

    store: dict = {}

    def __init__(self, views, seed, batch_size, positive, background):
        self._views, self._drawn = views, lambda step: drawn(seed, step, batch_size, positive, background)
        self._batch_size = batch_size

    def batch(self, step: int) -> dict[str, np.ndarray]:
        positions = stream.step_positions(step, self._batch_size, *parallel.process())
        chosen = self._drawn(step)[positions - step * self._batch_size]
        return {'views': self._views(chosen), 'labels': chosen[:, 2], 'position': positions.astype(np.uint32)}

    def close(self) -> None:
        pass


def task(
    config,
    trained: Trained,
    scenes: Scenes,
    proposals: Sequence[np.ndarray],
    how: windows.How = windows.RCNN,
    devices: Sequence | None = None,
    log: Callable[[str], None] | None = None,
) -> tasks.Task:
    """The task for `train.fit`: a trained network goes on learning, with a new last layer, from windows of the scenes.

    config: that of the training, whose network is the trained one with one class more than the scenes have in its last layer: the last
    output is background. Its data.batch_size (a quarter positive), data.holdout (a share of the images, by a hash), data.resident_gb (of
    decoded images that stay in the host's memory), augment (R-CNN mirrors: augment.flip), seed, loss, optimizer and schedule count; what it
    says of a source, its sizes and its normalization does not: windows are seen through the preprocessing of the trained network. An epoch
    is as many windows as show every positive one once on average. proposals: (P, 4) for each scene.
    The holdout's error is measured on a fixed quarter of positive windows and three quarters of background, whatever the seed.
    log: told what is missing, such as classes without a window. ConfigError, SourceError before any work for what cannot be learned.
    """
    config = configs.check(config)
    net, data, background = tasks.network(config), config.data, scenes.num_classes
    _check(config, net.architecture, trained, scenes)
    windows.check(how, windows.window_size(trained))
    boxes, truths = windows.rows_of(scenes, proposals), scenes.truths()
    held = stream.holdout_mask(scenes.pictures, scenes.num_examples, data.holdout)
    pool = {'train': pools(boxes, truths, np.flatnonzero(~held), background)}
    if held.any():
        pool['holdout'] = pools(boxes, truths, np.flatnonzero(held), background)
    _check_pools(pool, scenes, data.holdout)
    if config.schedule.kind == 'plateau' and not held.any():
        raise ConfigError(
            f"schedule.kind='plateau' looks at the holdout, but data.holdout={data.holdout} holds out no image of {scenes.name}."
        )
    positive, negative = pool['train']
    counts = np.bincount(positive[:, 2], minlength=background)
    bare = [name for name, count in zip(scenes.class_names, counts, strict=True) if not count]
    for text in _assumed(scenes, bare, held, data.holdout) if log else ():
        log(text)

    views = _Windows(trained, scenes, boxes, how, data.resident_gb * 1e9)
    constants = {'preprocessing': dict(trained.variables['preprocessing'])}
    shape, settings = net.architecture.input_shape, augment.Augmentation(**config.augment)
    devices = devices or parallel.local_devices()

    def apply(params, placed, batch, key, taps=()):
        keys = augment.example_keys(jax.random.fold_in(key, 0), batch['position'])
        seen = augment.augmented(batch['views'], placed['constants']['preprocessing'], shape, keys, settings)
        rngs = {'dropout': jax.random.fold_in(key, 1)}
        return net.apply({'params': params}, seen, train=True, taps=taps, examples=batch['position'], rngs=rngs)

    def loss(params, placed, batch, key):
        logits, _ = apply(params, placed, batch, key)
        wrong = jnp.argmax(logits, axis=-1) != batch['labels']
        return LOSSES[config.loss.name](logits, batch['labels'], config.loss.j), {'error': wrong.astype(jnp.float32)}

    def judge(variables, placed, batch):
        seen = augment.prepare(batch['views'], variables['preprocessing'], shape)
        logits, _ = net.apply({'params': variables['params']}, seen)
        wrong = jnp.argmax(logits, axis=-1) != batch['labels']
        return LOSSES[config.loss.name](logits, batch['labels'], config.loss.j), wrong

    run = parallel.spread_map(judge, devices)

    def measure(params, role):
        chosen = measured(*pool[role])
        variables = parallel.replicated({'params': params, **constants}, devices)
        parts = [run(variables, {}, batch) for batch in _batches(views, chosen, config.evaluate.batch_size)]
        losses, wrong = (np.concatenate(column)[: len(chosen)] for column in zip(*parts, strict=True))
        of = chosen[:, 2] != background
        found = {'error': wrong, 'positive_error': wrong[of], 'background_error': wrong[~of], 'loss': losses}
        return {name: float(np.mean(values, dtype=np.float64)) for name, values in found.items()} | {'windows': len(chosen)}

    def initialize(key):
        below = {layer.name: trained.variables['params'][layer.name] for layer in net.architecture.layers[:-1]}
        return tasks.fresh(net, key) | below

    return tasks.Task(
        name=f'windows {records.digest([list(how), LEAST, ONE_IN, _digest(trained.variables)])}',
        feed=_Feed(views, config.seed, data.batch_size, positive, negative),
        num_examples=len(positive) * ONE_IN,
        constants=constants,
        roles=tuple(pool),
        metrics=('error',),
        initialize=initialize,
        loss=loss,
        evaluate=measure,
        first_bad=lambda params, placed, batch, key: tasks.where_bad(
            params, net.architecture.taps(), lambda taps: apply(params, placed, batch, key, taps)[1]
        ),
        chance_loss=None,  # what knows only that three quarters are background is better than a guess
        fingerprints={role: records.digest([scenes.fingerprint, role, data.holdout, _digest(boxes)]) for role in pool},
        about={
            'class_names': [*scenes.class_names, BACKGROUND],
            'image_shape': [*windows.window_size(trained), shape[2]],
            'windows': {'positive': len(positive), 'background': len(negative), 'classes_without': bare},
        },
    )


def measured(positive: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The windows (n, 3) on which a holdout is judged, evenly spaced, in the order of their images, one to three as in a batch."""
    count = min(MEASURED, len(positive), -(-len(background) // (ONE_IN - 1)))
    some = [
        pool[np.linspace(0, len(pool) - 1, number).astype(int)]
        for pool, number in ((positive, count), (background, min((ONE_IN - 1) * count, len(background))))
    ]
    both = np.concatenate(some)
    return both[np.argsort(both[:, 0], kind='stable')]


def _batches(views, chosen, size) -> Iterator[dict]:
    size = min(size, len(chosen))
    for start in range(0, len(chosen), size):
        some = chosen[start : start + size]
        some = np.concatenate([some, np.repeat(some[:1], size - len(some), axis=0)])
        yield {'views': views(some), 'labels': some[:, 2]}


def _check(config, net: Architecture, trained: Trained, scenes: Scenes) -> None:
    """ConfigError where the config's network is not the trained one with a class more than the scenes', or a field does nothing."""
    old, wanted = trained.architecture, scenes.num_classes + 1
    if net.num_classes != wanted:
        last = net.layers[-1].number
        raise ConfigError(
            f'{scenes.name} has {scenes.num_classes} classes and background, but {net.name} ends in {net.num_classes}; append '
            f'resized({last}={wanted}) to architecture.'
        )
    if (net.input_shape, net.layers[:-1]) != (old.input_shape, old.layers[:-1]):
        raise ConfigError(f'architecture {net.name} is not that of the trained network, {old.name}, below its last layer.')
    if config.data.batch_size < ONE_IN:
        raise ConfigError(f'data.batch_size={config.data.batch_size} leaves no positive window, of which there is one in {ONE_IN}.')
    if config.augment.crop:
        raise ConfigError('augment.crop=True does nothing: windows have the size that the network reads.')
    if config.augment.colour and 'colour' not in trained.variables['preprocessing']:
        raise ConfigError(f'augment.colour={config.augment.colour:g} needs directions of colour, which {old.name} does not bring.')


def _check_pools(pool, scenes, holdout: float) -> None:
    """SourceError where a role has no positive window, or none of background."""
    for role, both in pool.items():
        for what, some in zip(('overlaps a true box by half', 'is of background'), both, strict=True):
            if not len(some):
                images = {'train': 'images to learn from', 'holdout': 'held-out images'}[role]
                cure = f'give other proposals, or another data.holdout than {holdout:g}'
                raise SourceError(f'{scenes.name} ({scenes.split}): no window of the {images} {what}; {cure}.')


def _assumed(scenes, bare, held, holdout) -> Iterator[str]:
    if bare:
        yield f'{scenes.name} ({scenes.split}): no window to learn {", ".join(bare)} from, beside data.holdout={holdout:g}'
    if holdout and not held.any():
        yield f'{scenes.name} ({scenes.split}): data.holdout={holdout:g} holds out none of {len(held)} images, so no error is measured'


def _digest(tree) -> str:
    """SHA-256 (hex) of a tree of arrays."""
    digest = hashlib.sha256()
    for place, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f'{jax.tree_util.keystr(place)} {array.dtype} {array.shape}'.encode() + array.tobytes())
    return digest.hexdigest()
