"""Projections of activations down to the image: deconvnet, gradient and guided backpropagation as surgery on the architecture's data.

`projecting(architecture, rule)` is the same network, with the same taps and parameters, whose vector-Jacobian product follows the rule:

- deconvnet: Zeiler and Fergus 2013, 2.1: unpool by the switches of the way up, rectify the signal itself, filter with kernels transposed.
- gradient: Simonyan et al. 2013: the stages' own gradients.
- guided: Springenberg et al. 2014, 3.4: rectify the signal, and stop it where the way up was rectified.

What the papers leave open, and how it is here: of equal values under a pooling window the first in row order is the switch. Where windows
overlap and chose the same place, their signals are added. Response and contrast normalization pass the deconvnet's signal unchanged, for
the paper mentions no inverse; the other two rules go through them by their gradient. Average pooling, and whatever else is linear, comes
down by its adjoint. Biases are not subtracted, and the signal is not rectified once more at the image. A chosen activation starts with
its own value, so that under 'gradient' the projection is that value times the gradient of the activation.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import parallel
from cnn_research.architecture import Architecture
from cnn_research.errors import ArchitectureError, nearest
from cnn_research.models.downward import RULES, Projecting
from cnn_research.models.network import Network


def projecting(architecture: Architecture, rule: str) -> Architecture:
    """The architecture whose signals come down by `rule`, one of RULES; what goes up is the same to the last bit.

    Raises ArchitectureError for an unknown rule and, where the rule is 'deconvnet' or 'guided', for a layer that these are not defined for:
    a nonlinearity other than ReLU, DropConnect (which averages over rectified sums) and radial basis units.
    """
    if rule not in RULES:
        raise ArchitectureError(f'no projection rule is called {rule!r}; choose from {", ".join(RULES)}.{nearest(rule, RULES)}')

    def directed(layer, stage):
        inverted = stage.name == 'relu' if stage.role == 'nonlinearity' else stage.name not in ('dropconnect', 'radial_basis')
        if rule != 'gradient' and not inverted:
            raise ArchitectureError(
                f'{architecture.name}: {layer.name} has a {stage.name} stage, which {rule} cannot come down through: it rectifies the '
                "signals of ReLU networks; the rule 'gradient' goes through any."
            )
        return Projecting(stage, rule) if stage.role in ('nonlinearity', 'normalization') else stage

    layers = tuple(
        dataclasses.replace(layer, stages=tuple(directed(layer, stage) for stage in layer.stages)) for layer in architecture.layers
    )
    return Architecture(f'{architecture.name} projecting({rule})', architecture.input_shape, layers)


def reconstruct(
    network: Network, variables: dict, images: jax.Array, tap: str, keep: Callable[[jax.Array], jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """(projection (B, H, W, C), activations of the tap (B, h, w, c) or (B, n)) of the activations that are kept, coming down together.

    network: of a `projecting` architecture; images: (B, H, W, C), preprocessed; keep: a function of the activations, which returns booleans
    that broadcast to them. What is not kept starts as 0. A pure function to be compiled with what surrounds it.

    Raises ArchitectureError for an unknown tap and for an architecture without a rule, whose projection would silently be the gradient.
    """
    network.architecture.row(tap)
    for layer in network.architecture.layers:
        for stage in layer.stages:
            if stage.role == 'nonlinearity' and not isinstance(stage, Projecting):
                raise ArchitectureError(
                    f'{network.architecture.name}: the {stage.name} stage of {layer.name} has no projection rule;'
                    f' use the network of projecting(architecture, rule), the rule one of {", ".join(RULES)}.'
                )

    def features(images):
        return network.apply({'params': variables['params']}, images, (tap,), method='features')[tap]

    activations, down = jax.vjp(features, images)
    return down(jnp.where(keep(activations), activations, 0))[0], activations


def project(network: Network, variables: dict, images: jax.Array, tap: str, units, positions=None) -> jax.Array:
    """The projection (B, H, W, C) of one activation of each image, in the preprocessed image's units.

    images: (B, H, W, C), preprocessed; units: (B,), a map of a convolutional tap or a unit of a dense one; positions: (B, 2), row and
    column in that map (default: where it is strongest, of equals the first in row order). Compiled once for a network, tap and batch size.

    Raises ArchitectureError as `reconstruct` does, and for a unit or position that the tap does not have.
    """
    shape = _checked(network, tap, units)
    if positions is not None:
        positions = np.asarray(positions)
        if len(shape) == 1:
            raise ArchitectureError(f'{network.architecture.name}: the units of {tap} are dense and have no positions.')
        for row, column in positions:
            if not (0 <= row < shape[0] and 0 <= column < shape[1]):
                raise ArchitectureError(
                    f'{network.architecture.name}: the maps of {tap} are {shape[0]}x{shape[1]}; none has ({row}, {column}).'
                )
    return _compiled(network, tap, False)(variables, images, np.asarray(units), positions)


def project_maps(network: Network, variables: dict, images: jax.Array, tap: str, units) -> jax.Array:
    """As `project`, with all of each image's map (B,) kept: what Zeiler and Fergus 2013 show beside their occlusions (Fig. 7c)."""
    _checked(network, tap, units)
    return _compiled(network, tap, True)(variables, images, np.asarray(units), None)


def _checked(network, tap, units):
    """The tap's shape; ArchitectureError where it has not these units."""
    shape = network.architecture.row(tap).output
    for unit in np.asarray(units):
        if not 0 <= unit < shape[-1]:
            raise ArchitectureError(f'{network.architecture.name}: the units of {tap} are 0 to {shape[-1] - 1}; there is no {unit}.')
    return shape


@functools.lru_cache(maxsize=32)
def _compiled(network, tap, whole):
    def run(variables, images, units, positions):
        def keep(activations):
            own = _one_hot(units, activations.shape[-1])
            if activations.ndim == 2:
                return own
            own = own[:, None, None]
            return own if whole else own & _at(activations, own, positions)[..., None]

        return reconstruct(network, variables, images, tap, keep)[0]

    return jax.jit(run, compiler_options=parallel.compiler_options())


def _at(activations, own, positions):
    """(B, h, w), True at each image's position, by default where its own map is strongest."""
    count, height, width, _ = activations.shape
    if positions is None:
        places = jnp.where(own, activations, -jnp.inf).max(-1).reshape(count, -1).argmax(-1)
    else:
        places = positions[:, 0] * width + positions[:, 1]
    return _one_hot(places, height * width).reshape(count, height, width)


def _one_hot(places, size):
    return places[:, None] == jnp.arange(size)
