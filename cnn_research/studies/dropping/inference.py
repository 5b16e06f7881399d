"""What a network that learned with dropped weights or units says on average, and the ways to come near it (Wan et al. 2013, inference).

The reference is the average of the softmax outputs of many networks, each with masks of its own. The paper's Algorithm 2 takes the input
of a unit that DropConnect feeds as a Gaussian of the right mean and variance, draws samples of it, and averages what is rectified of
them: before the next layer, and so before the softmax. Only such stages sample; with several, the next one sees the averages of the last.

Everything below the first stage that drops is computed once. Images go in blocks of BLOCK, each with masks and samples of its own that
follow from the seed, the block's number, the mask's number and the stage alone; within a block a DropConnect mask is shared by the images,
so that one masked kernel is held at a time.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research.architecture import Architecture, DropConnect, Dropout, Layer
from cnn_research.checkpoints import Trained
from cnn_research.data import augment, stream
from cnn_research.data.sources import Source
from cnn_research.errors import ArchitectureError
from cnn_research.models import layers
from cnn_research.models.network import Network, run_stages

BLOCK = 100  # images
SMALLEST = 1e-30  # a probability below it counts as this in a divergence
_KEY = 0x44524F50  # sets these draws apart from all that the training of the same seed has drawn

Parameters = Mapping[str, Mapping[str, Mapping[str, jax.Array]]]


class Head(NamedTuple):
    """The layers from the first that drops on, as a network by itself; their parameters; what they read of each image, and its class."""

    net: Architecture
    params: Parameters
    features: np.ndarray
    labels: np.ndarray


def dropping(net: Architecture) -> str:
    """'dropconnect', 'dropout' or '', what a network drops; ArchitectureError for one that drops both."""
    found = {stage.name for layer in net.layers for stage in layer.stages if isinstance(stage, Dropout | DropConnect)}
    if len(found) > 1:
        raise ArchitectureError(f'{net.name} drops both weights and units; their averages are told apart here, so let it drop one.')
    return next(iter(found), '')


def head(trained: Trained, source: Source) -> Head:
    """What is above the first stage that drops, on the centre view of every example; all but the last layer for none that drops."""
    net, data = trained.architecture, trained.config.data
    first = next(
        (at for at, layer in enumerate(net.layers) if any(isinstance(stage, Dropout | DropConnect) for stage in layer.stages)),
        len(net.layers) - 1,
    )
    tap = net.layers[first - 1].name if first else ''
    network = Network(net, dtype=trained.config.dtype)

    @jax.jit
    def below(variables, images):
        seen = augment.prepare(images, variables['preprocessing'], net.input_shape)
        return network.apply({'params': variables['params']}, seen, (tap,), method='features')[tap] if tap else seen

    feed, features, labels = stream.evaluation_feed(source, BLOCK, data.resize, data.resident_gb, data.workers), [], []
    with contextlib.closing(feed):
        for step in range(feed.steps):
            batch = feed.batch(step)
            images, classes, _ = stream.fetch(feed.store, batch)
            features.append(np.asarray(below(trained.variables, images), np.float32)[batch['mask']])
            labels.append(np.asarray(classes)[batch['mask']])
    found = np.concatenate(features)
    shape = found.shape[1:] if found.ndim == 4 else (1, 1, found.shape[1])
    above = Architecture(f'the upper part of {net.name}', shape, net.layers[first:])
    params = {layer.name: trained.variables['params'].get(layer.name, {}) for layer in above.layers}
    return Head(above, params, found.reshape(-1, *shape), np.concatenate(labels))


# ---- one pass through the layers, however what is dropped is met


def _logits(net, params, x, key, connected, dropped=lambda x, rate, key: x):
    """connected(x, kernel, bias, rate, key) -> (B, m) stands for a DropConnect stage, dropped(x, rate, key) for a dropout stage; the keys
    follow from `key`, the layer's number and the stage's place in it."""
    for layer in net.layers:
        own = params[layer.name]
        for place, (name, stage) in enumerate(layer.named_stages()):
            inner = jax.random.fold_in(jax.random.fold_in(key, layer.number), place)
            if isinstance(stage, DropConnect):
                x = connected(x.reshape(len(x), -1), own[name]['kernel'], own[name]['bias'], stage.rate, inner)
            elif isinstance(stage, Dropout):
                x = dropped(x, stage.rate, inner)
            else:
                x = run_stages(Layer(layer.number, (stage,)), own, x)
    return x


def one_mask(net: Architecture, params: Parameters, x: jax.Array, key: jax.Array) -> jax.Array:
    """Logits (B, classes) of one network of those that dropping averages over: all examples with one mask of the weights, each with masks
    of its own of the units."""

    def connected(x, kernel, bias, rate, key):
        return layers.relu(layers.dense(x, *layers.thinned(kernel, bias, key, rate)))

    return _logits(net, params, x, key, connected, lambda x, rate, key: layers.dropout(x, jax.random.split(key, len(x)), rate))


def mean_network(net: Architecture, params: Parameters, x: jax.Array) -> jax.Array:
    """Logits (B, classes) of the one network whose weights are the mean of the masked ones: 1 - rate of them for DropConnect."""

    def connected(x, kernel, bias, rate, key):
        return layers.relu(layers.moments(x, kernel, bias, rate)[0])

    return _logits(net, params, x, jax.random.key(0), connected)


def limit(net: Architecture, params: Parameters, x: jax.Array) -> jax.Array:
    """Logits (B, classes) by moment matching with as many samples as there can be: the mean of the rectified Gaussian."""
    return _logits(net, params, x, jax.random.key(0), lambda x, kernel, bias, rate, key: layers.dropconnect(x, kernel, bias, None, rate))


def sampled(net: Architecture, params: Parameters, x: jax.Array, key: jax.Array, samples: int | jax.Array) -> jax.Array:
    """Logits (B, classes) by the paper's Algorithm 2: the mean of `samples` rectified draws from each unit's Gaussian."""

    def connected(x, kernel, bias, rate, key):
        mean, variance = layers.moments(x, kernel, bias, rate)
        deviation = jnp.sqrt(variance)

        def drawn(number, total):
            noise = jax.random.normal(jax.random.fold_in(key, number), mean.shape, mean.dtype)
            return total + layers.relu(mean + deviation * noise)

        return jax.lax.fori_loop(0, samples, drawn, jnp.zeros_like(mean)) / samples

    return _logits(net, params, x, key, connected)


# ---- over all images


def _blocks(found: Head, run: Callable[..., jax.Array], key: jax.Array, cases: Sequence[tuple] = ((),)) -> list[np.ndarray]:
    """For each case (N, classes) float64 of run(net, parameters, features of a block, the block's key, *case)."""
    compiled, parts = jax.jit(run, static_argnums=0), []
    for number, start in enumerate(range(0, len(found.features), BLOCK)):
        x, own = jnp.asarray(found.features[start : start + BLOCK]), jax.random.fold_in(key, number)
        parts.append([np.asarray(compiled(found.net, found.params, x, own, *case), np.float64) for case in cases])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _summed(net, params, x, key, first, last):
    def add(number, total):
        return total + jax.nn.softmax(one_mask(net, params, x, jax.random.fold_in(key, number)))

    return jax.lax.fori_loop(first, last, add, jnp.zeros((len(x), net.num_classes)))


def averaged(found: Head, key: jax.Array, bounds: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """For each (first, last): the mean softmax output (N, classes) of the masks with these numbers, the last not among them."""
    sums = _blocks(found, _summed, key, bounds)
    return [total / (last - first) for total, (first, last) in zip(sums, bounds, strict=True)]


def probabilities(found: Head, logits: Callable[..., jax.Array]) -> np.ndarray:
    """Softmax outputs (N, classes) of logits(net, params, x), `mean_network` or `limit`."""
    return _blocks(found, lambda net, params, x, key: jax.nn.softmax(logits(net, params, x)), jax.random.key(0))[0]


def by_samples(found: Head, key: jax.Array, samples: Sequence[int]) -> list[np.ndarray]:
    """Softmax outputs (N, classes) of `sampled` with each number of samples."""
    return _blocks(found, lambda *given: jax.nn.softmax(sampled(*given)), key, [(count,) for count in samples])


# ---- how far from the reference


def distance(shares: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Between probabilities (N, classes): 'absolute', the mean absolute difference over images and classes, and 'divergence', the mean
    Kullback-Leibler divergence from the reference, in nats; probabilities below SMALLEST count as that."""
    absolute = float(np.abs(shares - reference).mean())
    ratio = np.log(np.maximum(reference, SMALLEST)) - np.log(np.maximum(shares, SMALLEST))
    return {'absolute': absolute, 'divergence': float((reference * ratio).sum(1).mean())}


def error(shares: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose class is not the most probable one."""
    return float((shares.argmax(1) != labels).mean())


def compared(found: Head, seed: int, masks: int, samples: Sequence[int]) -> dict[str, Any]:
    """How near each way of averaging comes to the reference, the mean of `masks` masks.

    {'images', 'masks', 'reference': {'error'}, 'halves': the distance between the means of both halves of the masks, 'forms': [{'form',
    'samples', 'error', 'absolute', 'divergence'}]}. Forms: 'mean network'; for DropConnect 'moments', with each number of `samples` and,
    samples None, their limit; 'masks', for each number of samples up to half of `masks`: the mean of that many masks that are not the
    reference's. A head that drops nothing is refused with ArchitectureError: it has nothing to average over.
    """
    kind = dropping(found.net)
    if not kind:
        raise ArchitectureError(f'{found.net.name} drops nothing, so that there is nothing to average over.')
    for_masks, for_samples = jax.random.split(jax.random.fold_in(jax.random.key(seed), _KEY))
    half, few = masks // 2, [count for count in samples if count <= masks // 2]
    bounds = [(0, half), (half, masks), *((masks, masks + count) for count in few)]
    first, second, *others = averaged(found, for_masks, bounds)
    reference = (half * first + (masks - half) * second) / masks
    made = [('mean network', None, probabilities(found, mean_network))]
    if kind == 'dropconnect':
        made.append(('moments', None, probabilities(found, limit)))
        made += [('moments', count, one) for count, one in zip(samples, by_samples(found, for_samples, samples), strict=True)]
    made += [('masks', count, shares) for count, shares in zip(few, others, strict=True)]
    forms = [
        {'form': form, 'samples': count, 'error': error(shares, found.labels), **distance(shares, reference)}
        for form, count, shares in made
    ]
    about = {'images': len(found.labels), 'masks': masks, 'reference': {'error': error(reference, found.labels)}}
    return {**about, 'halves': distance(first, second), 'forms': forms}
