"""Activation maximisation: the image that a unit answers to most, found by gradient ascent from the mean image on.

With nothing to hold it, ascent ends in high frequencies that mean nothing to a reader; what holds it is a regulariser, and which ones were
on belongs to the picture (`Regularisers`, whose fields say where each is from).
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import parallel
from cnn_research.errors import ArchitectureError
from cnn_research.models.network import Network


class Regularisers(NamedTuple):
    """l2: the image's decay, a share of it at each step (Simonyan et al. 2014, equation 1; Yosinski et al. 2015, section 3).

    blur: standard deviation in px of a Gaussian blur (Yosinski et al. 2015), applied after every `every` steps. jitter: px by which the
    image is moved around, at random, before every step and back after it (Mordvintsev et al. 2015). 0 = off.
    """

    l2: float = 0.0
    blur: float = 0.0
    every: int = 4
    jitter: int = 0

    @property
    def words(self) -> str:
        """What a caption calls them."""
        found = [f'L2 decay {self.l2:g}'] if self.l2 else []
        found += [f'blur of {self.blur:g} px every {self.every} steps'] if self.blur else []
        return ', '.join([*found, *([f'jitter of {self.jitter} px'] if self.jitter else [])]) or 'no regulariser'


class Found(NamedTuple):
    """images (U, H, W, C), prepared as a network's are; activations (steps + 1, U): of the image as it is, before and after every step."""

    images: np.ndarray
    activations: np.ndarray


def maximise(
    network: Network, variables: dict, tap: str, units: Sequence[int], held: Regularisers, steps: int, rate: float, seed: int = 0
) -> Found:
    """An image for each unit of a tap, (U,): of maps the middle position, of the last layer the output before any softmax.

    A step goes `rate` along the gradient, which is divided by its root mean square, so that a rate suits any unit. ArchitectureError for an
    unknown tap or unit.
    """
    shape = network.architecture.row(tap).output
    wrong = [unit for unit in units if not 0 <= unit < shape[-1]]
    if wrong:
        raise ArchitectureError(f'{network.architecture.name}: the units of {tap} are 0 to {shape[-1] - 1}; there is no {wrong[0]}.')
    moves = np.random.default_rng(seed).integers(-held.jitter, held.jitter + 1, (steps, 2))
    blurred = np.array([held.blur > 0 and (step + 1) % held.every == 0 for step in range(steps)])
    run = _compiled(network, tap, held.l2, held.blur)
    images, activations = run(variables['params'], np.asarray(units, np.int32), moves.astype(np.int32), blurred, np.float32(rate))
    return Found(np.asarray(images), np.asarray(activations))


def blurring(side: int, deviation: float) -> np.ndarray:
    """(side, side): a Gaussian blur along a line as a matrix; near an end what would lie outside is left out."""
    distance = np.arange(side)[:, None] - np.arange(side)
    weights = np.exp(-0.5 * (distance / deviation) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _compiled(network, tap, l2, blur):
    height, width, channels = network.architecture.input_shape
    across = [jnp.asarray(blurring(side, blur)) for side in (height, width)] if blur else None

    def answer(images, params, units):
        maps = network.apply({'params': params}, images, taps=(tap,), method='features')[tap].astype(jnp.float32)
        if maps.ndim == 4:
            maps = maps[:, maps.shape[1] // 2, maps.shape[2] // 2]
        return jnp.take_along_axis(maps, units[:, None], axis=1)[:, 0]

    def step(images, now, params, units, rate):
        move, blurs = now
        before = answer(images, params, units)
        moved = jnp.roll(images, move, (1, 2))
        slope = jax.grad(lambda seen: answer(seen, params, units).sum())(moved)
        size = jnp.sqrt(jnp.mean(slope**2, (1, 2, 3), keepdims=True))
        images = jnp.roll((1 - l2) * moved + rate * slope / jnp.maximum(size, 1e-12), -move, (1, 2))
        if across:
            soft = jnp.einsum('hi,wj,nijc->nhwc', *across, images)
            images = jnp.where(blurs, soft, images)
        return images, before

    def run(params, units, moves, blurred, rate):
        begin = jnp.zeros((len(units), height, width, channels), jnp.float32)
        images, before = jax.lax.scan(lambda images, now: step(images, now, params, units, rate), begin, (moves, blurred))
        return images, jnp.concatenate([before, answer(images, params, units)[None]])

    return jax.jit(run, compiler_options=parallel.compiler_options())
