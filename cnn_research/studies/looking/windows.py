"""What a change of a few pixels can reach in the lowest stages, computed anew; the rest of their maps is the clean image's.

A layer is taken apart before its pools, so that a convolution is computed where its own inputs changed and not where a pool above will
look. A piece is run by the network's own stages on a window of what it reads. At the window's edge it pads, which is right where that
edge is the image's, and wrong elsewhere: so the window has a margin there, and only what lies inside is kept.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cnn_research.architecture import Architecture, Layer
from cnn_research.models.network import Network, run_stages
from cnn_research.stages import AveragePool, CellPool, Convolution, Expand, MaxPool, Response, Subsampling, SumPool, UnitLength

SHARE = 0.8  # of what a piece reads: a larger window is not worth the copying
_POOLS = (MaxPool, AveragePool, SumPool, Subsampling, CellPool)


class _Axis(NamedTuple):
    """Along one axis of a layer: the side that it reads and gives, how many outputs are computed anew, the window that they need, and the
    outputs at the window's beginning that its padding spoils."""

    side: int
    outputs: int
    anew: int
    window: int
    spoiled: int


class Window(NamedTuple):
    """A piece of a layer, the tap after it, its receptive field, stride and leading padding in what it reads, and its axes."""

    piece: Layer
    tap: str
    field: int
    stride: int
    padding: int
    axes: tuple[_Axis, _Axis]


def windows(net: Architecture, size: int, below: int) -> tuple[Window, ...]:
    """Windows of the lowest pieces, in layers of numbers less than `below`, for a change of size x size pixels: as many as are worth it."""
    found, shape, changed = [], net.input_shape, (size, size)
    for piece, tap in _pieces(net):
        # What is above a window reads maps.
        if piece.number >= below or not all(_local(stage) for stage in piece.stages) or len(net.taps()[piece.name]) != 3:
            break
        output = net.taps()[tap]
        field, stride, padding = 1, 1, 0
        for stage in piece.stages:
            kernel, step, before = stage.reach
            field, padding, stride = field + (kernel - 1) * stride, padding + before * stride, stride * step
        spoiled = -(-padding // stride)
        axes = []
        for side, outputs, extent in zip(shape[:2], output[:2], changed, strict=True):
            anew = min(outputs, (extent + field - 2) // stride + 1)
            window = (anew - 1 + spoiled) * stride + field - padding
            # A window at the far edge must begin at a multiple of the stride too; so it also holds what no output reads there.
            window += (side - window) % stride
            axes.append(_Axis(side, outputs, anew, min(window, side), spoiled))
        # Where a stride leaves pixels out, a window need not hold all that has changed.
        if field < stride or axes[0].window * axes[1].window > SHARE * axes[0].side * axes[1].side:
            break
        found.append(Window(piece, tap, field, stride, padding, tuple(axes)))
        shape, changed = output, tuple(axis.anew for axis in axes)
    return tuple(found)


def _pieces(net):
    """(piece of a layer, the tap after it), from the image up; a layer in which weights' names would change is one piece."""
    for layer in net.layers:
        named = layer.named_stages()
        starts = [0, *(place for place, stage in enumerate(layer.stages) if place and isinstance(stage, _POOLS))]
        if len({stage.name for stage in layer.stages}) < len(named):
            starts = [0]
        for start, end in zip(starts, [*starts[1:], len(named)], strict=True):
            yield Layer(layer.number, layer.stages[start:end]), f'{layer.name}.{named[end - 1][0]}'


def _local(stage) -> bool:
    """Does each output depend on a window around it alone, in the same way everywhere?"""
    across = isinstance(stage, UnitLength) or isinstance(stage, Response) and stage.across
    return isinstance(stage, (Convolution, Expand, *_POOLS)) or stage.role in ('nonlinearity', 'dropout') or across


def upper(network: Network, lowest: tuple[Window, ...]) -> Network:
    """The network above the layers of the windows."""
    net = network.architecture
    if not lowest:
        return network
    layers = tuple(layer for layer in net.layers if layer.number > lowest[-1].piece.number)
    return network.clone(architecture=Architecture(net.name, net.taps()[lowest[-1].piece.name], layers))


def recomputed(network: Network, lowest: tuple[Window, ...], params, images, corners, clean, origins) -> jax.Array:
    """What leaves the highest layer that has a window: images (B, H, W, C) -> (B, h, w, c).

    Image i differs from the one whose maps after each window are clean[...][origins[i]], clean being (N, h, w, c) each, in the size x size
    pixels below and right of corners (B, 2) alone; these may overhang.
    """
    if not lowest:
        return images
    images = anew = images.astype(network.dtype)
    for number, window in enumerate(lowest):
        # The first output that reads a changed pixel, and the pixel where the window for it begins.
        first = -((window.field - 1 - window.padding - corners) // window.stride)
        first = jnp.clip(first, 0, jnp.array([axis.outputs - axis.anew for axis in window.axes]))
        begin = (first - jnp.array([axis.spoiled for axis in window.axes])) * window.stride
        begin = jnp.clip(begin, 0, jnp.array([axis.side - axis.window for axis in window.axes]))
        sides = [axis.window for axis in window.axes]
        if number == 0:
            seen = _cut(images, jnp.arange(len(images)), begin, sides)
        else:
            seen = _put(_cut(clean[number - 1], origins, begin, sides), anew, corners - begin)
        found = run_stages(window.piece, params[window.piece.name], seen)
        anew = _cut(found, jnp.arange(len(found)), first - begin // window.stride, [axis.anew for axis in window.axes])
        corners = first
    maps, last = _put(clean[-1][origins], anew, corners), lowest[-1].piece.number
    above = [piece for piece, _ in list(_pieces(network.architecture))[len(lowest) :] if piece.number == last]
    for piece in above:
        maps = run_stages(piece, params[piece.name], maps)
    return maps


def _cut(maps, numbers, begin, sides):
    """Windows (B, *sides, C) of maps (N, h, w, C), of those with the numbers (B,), from begin (B, 2) on."""
    size = (1, *sides, maps.shape[-1])
    return jax.vmap(lambda number, at: lax.dynamic_slice(maps, (number, *at, 0), size)[0])(numbers, begin)


def _put(under, over, at):
    return jax.vmap(lambda one, other, at: lax.dynamic_update_slice(one, other, (*at, 0)))(under, over, at)
