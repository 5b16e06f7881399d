"""Saliency of one class: which pixels its score rests on, by the gradients of a network.

- gradient: Simonyan et al. 2014, section 3: the gradient of the class's score; of a pixel the largest of its channels.
- gradient x input: Shrikumar et al. 2016: its product with the image.
- integrated gradients: Sundararajan et al. 2017, equation 1: the gradient averaged from a baseline to the image, times their difference.
- Grad-CAM: Selvaraju et al. 2017, equations 1 and 2: maps weighted by the mean gradient of the score, summed and rectified.

Deconvnet and guided backpropagation are `gradient` of a network whose signals come down by another rule. The score is the network's output
for the class, before any softmax. Images are prepared, so that the baseline, 0, is the mean image.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import parallel
from cnn_research.architecture import Architecture
from cnn_research.errors import ArchitectureError
from cnn_research.models.network import Network, run_stages

_BATCH = 50


def gradient(network: Network, variables: dict, images, classes) -> np.ndarray:
    """(N, H, W, C): of the score of each image's class, (N,); images (N, H, W, C), prepared."""
    return _in_batches(_gradient(network), variables, images, classes)


def scores(network: Network, variables: dict, images, classes) -> np.ndarray:
    """(N,): the output for each image's class."""
    return _in_batches(_scores(network), variables, images, classes)


def integrated(network: Network, variables: dict, images, classes, steps: int) -> np.ndarray:
    """(N, H, W, C): integrated gradients from 0 on, by the midpoints of so many steps."""
    images, total = np.asarray(images, np.float32), 0.0
    for step in range(steps):
        total = total + gradient(network, variables, images * np.float32((step + 0.5) / steps), classes).astype(np.float64)
    return (images * total / steps).astype(np.float32)


def incompleteness(network: Network, variables: dict, images, classes, attributions: np.ndarray) -> np.ndarray:
    """(N,): by how much attributions miss what they sum to, the score's rise from the baseline, as a share of it (completeness,
    Sundararajan et al. 2017, proposition 1). What is left is the error of the sum over steps; NaN where the score does not change."""
    images = np.asarray(images)
    rise = np.subtract(*(scores(network, variables, one, classes).astype(np.float64) for one in (images, np.zeros_like(images))))
    missed = np.abs(attributions.astype(np.float64).sum((1, 2, 3)) - rise)
    return np.divide(missed, np.abs(rise), out=np.full(len(rise), np.nan), where=rise != 0)


def grad_cam(network: Network, variables: dict, images, classes, tap: str) -> np.ndarray:
    """(N, H, W), not negative: Grad-CAM of the maps of a tap, brought to the image's size (bilinear). `check_maps` says which taps."""
    small = _in_batches(_grad_cam(network, tap), variables, images, classes)
    return np.asarray(jax.image.resize(small, (len(small), *np.shape(images)[1:3]), 'bilinear'))


def default_maps(net: Architecture) -> str:
    """The tap of Grad-CAM: what leaves the nonlinearity of the highest layer with maps of more than one pixel; '' without one."""
    shapes, found = net.taps(), ''
    for layer in net.layers:
        for name, stage in layer.named_stages():
            tap = f'{layer.name}.{name}'
            if stage.role == 'nonlinearity' and len(shapes[tap]) == 3 and shapes[tap][:2] != (1, 1):
                found = tap
    return found


def check_maps(net: Architecture, tap: str) -> None:
    """ArchitectureError for a tap that is none, that has no maps, or after which a layer cannot be taken apart."""
    if len(net.row(tap).output) != 3:
        raise ArchitectureError(f'{net.name}: {tap} has no maps, which Grad-CAM weighs; name one that has, such as {default_maps(net)}.')
    _above(net, tap)


def _above(net: Architecture, tap: str):
    """The layers that make the outputs of a tap, the first of them without the stages up to it."""
    name, _, stage = tap.partition('.')
    number = int(name.removeprefix('layer'))
    layer = next(layer for layer in net.layers if layer.number == number)
    names = [one for one, _ in layer.named_stages()]
    rest = names[names.index(stage) + 1 :] if stage else []
    part = dataclasses.replace(layer, stages=layer.stages[len(names) - len(rest) :])
    if [one for one, _ in part.named_stages()] != rest:
        raise ArchitectureError(f'{net.name}: {name} cannot be taken apart after {stage}, whose kind it has twice; name {name}.')
    return (*([part] if rest else []), *(layer for layer in net.layers if layer.number > number))


@functools.lru_cache(maxsize=8)
def _scores(network):
    return _compiled(functools.partial(_score, network))


def _score(network, params, images, classes):
    logits = network.apply({'params': params}, images)[0]
    return jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]


@functools.lru_cache(maxsize=8)
def _gradient(network):
    return _compiled(lambda params, images, classes: jax.grad(lambda seen: _score(network, params, seen, classes).sum())(images))


@functools.lru_cache(maxsize=8)
def _grad_cam(network, tap):
    above = _above(network.architecture, tap)

    def score(maps, params, classes):
        for layer in above:
            maps = run_stages(layer, params[layer.name], maps)
        return jnp.take_along_axis(maps.astype(jnp.float32), classes[:, None], axis=1).sum()

    def run(params, images, classes):
        maps = network.apply({'params': params}, images, taps=(tap,), method='features')[tap]
        weights = jax.grad(score)(maps, params, classes).mean((1, 2), keepdims=True)
        return jnp.maximum((weights * maps).sum(-1), 0).astype(jnp.float32)

    return _compiled(run)


def _compiled(run):
    return jax.jit(run, compiler_options=parallel.compiler_options())


def _in_batches(run, variables, images, classes) -> np.ndarray:
    """What `run` makes of all images, in batches of one size, the last filled up: one program."""
    images, classes = np.asarray(images, np.float32), np.asarray(classes, np.int32)
    size, parts = min(_BATCH, len(images)), []
    for start in range(0, len(images), size):
        chosen = np.minimum(np.arange(start, start + size), len(images) - 1)
        parts.append(np.asarray(run(variables['params'], images[chosen], classes[chosen]))[: len(images) - start])
    return np.concatenate(parts)
