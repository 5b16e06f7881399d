"""What a change of a few pixels can reach in the lowest layers, computed anew; the rest of their maps is the clean image's.

A layer is run by the very same Network on a window of what it reads. At the window's edge the layer pads, which is right where that edge is
the image's, and wrong elsewhere: so the window has a margin there, and only what lies inside is put into the clean maps.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cnn_research.architecture import Architecture, Layer
from cnn_research.models.network import Network
from cnn_research.stages import AveragePool, Convolution, MaxPool, Response, Subsampling, SumPool

LAYERS = 2  # above, fields are so wide that a window is all of the map
SHARE = 0.8  # of a layer's input: a larger window is not worth the copying
_LOCAL = (Convolution, MaxPool, AveragePool, SumPool, Subsampling)


class _Axis(NamedTuple):
    """Along one axis of a layer: the side that it reads and gives, how many outputs are computed anew, the window that they need, and the
    outputs at the window's beginning that its padding spoils."""

    side: int
    outputs: int
    anew: int
    window: int
    spoiled: int


class Window(NamedTuple):
    """A layer, its receptive field, stride and leading padding in what it reads, and its axes."""

    layer: Layer
    field: int
    stride: int
    padding: int
    axes: tuple[_Axis, _Axis]


def windows(net: Architecture, size: int, below: int) -> tuple[Window, ...]:
    """Windows of the lowest layers, of numbers less than `below`, for a change of size x size pixels: as many as are worth it."""
    found, shape, changed = [], net.input_shape, (size, size)
    for layer in net.layers[:LAYERS]:
        output = net.taps()[layer.name]
        if layer.number >= below or not all(_local(stage) for stage in layer.stages):
            break
        field, stride, padding = 1, 1, 0
        for stage in layer.stages:
            kernel, step, before = stage.reach
            field, padding, stride = field + (kernel - 1) * stride, padding + before * stride, stride * step
        spoiled = -(-padding // stride)
        axes = []
        for side, outputs, extent in zip(shape[:2], output[:2], changed, strict=True):
            anew = min(outputs, (extent + field - 2) // stride + 1)
            window = (anew - 1 + spoiled) * stride + field - padding
            # A window at the far edge must begin at a multiple of the stride too.
            window += (side - window) % stride
            axes.append(_Axis(side, outputs, anew, min(window, side), spoiled))
        if axes[0].window * axes[1].window > SHARE * axes[0].side * axes[1].side:
            break
        found.append(Window(layer, field, stride, padding, tuple(axes)))
        shape, changed = output, tuple(axis.anew for axis in axes)
    return tuple(found)


def _local(stage) -> bool:
    """Does each output depend on a window around it alone, in the same way everywhere?"""
    across = isinstance(stage, Response) and stage.across
    return isinstance(stage, _LOCAL) or stage.role in ('nonlinearity', 'dropout') or across


def upper(network: Network, lowest: tuple[Window, ...]) -> Network:
    """The network above the windows."""
    net = network.architecture
    if not lowest:
        return network
    layers = net.layers[len(lowest) :]
    return network.clone(architecture=Architecture(net.name, net.taps()[lowest[-1].layer.name], layers))


def recomputed(network: Network, lowest: tuple[Window, ...], params, images, corners, clean) -> jax.Array:
    """What leaves the highest of the windows: images (B, H, W, C) -> (B, h, w, c).

    images differ from others, whose maps after each window's layer are `clean`, in the size x size pixels below and right of corners
    (B, 2) alone; these may overhang.
    """
    for window, maps in zip(lowest, clean, strict=True):
        # The first output that reads a changed pixel, and the pixel where the window for it begins.
        first = -((window.field - 1 - window.padding - corners) // window.stride)
        first = jnp.clip(first, 0, jnp.array([axis.outputs - axis.anew for axis in window.axes]))
        begin = (first - jnp.array([axis.spoiled for axis in window.axes])) * window.stride
        begin = jnp.clip(begin, 0, jnp.array([axis.side - axis.window for axis in window.axes]))
        seen = _cut(images, begin, [axis.window for axis in window.axes])
        part = network.clone(architecture=Architecture('window', seen.shape[1:], (window.layer,)))
        found = part.apply({'params': params}, seen, (window.layer.name,), method='features')[window.layer.name]
        anew = _cut(found, first - begin // window.stride, [axis.anew for axis in window.axes])
        images = jax.vmap(lambda under, over, at: lax.dynamic_update_slice(under, over, (*at, 0)))(maps, anew, first)
        corners = first
    return images


def _cut(maps, begin, sides):
    return jax.vmap(lambda one, at: lax.dynamic_slice(one, (*at, 0), (*sides, one.shape[-1])))(maps, begin)
