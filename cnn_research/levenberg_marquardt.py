"""The stochastic diagonal Levenberg-Marquardt method of LeNet-5 (LeCun et al. 1998, section III and appendix C).

Every parameter has a rate of its own, learning rate / (MU + h), where h is an estimate of the second derivative of the mean loss by it,
made anew from SAMPLES training examples before each pass. h is the paper's own: second derivatives are propagated back as gradients are, by

    outputs            the diagonal of the loss's second derivatives by what enters it
    unit               d2E/da2 = f'(a)^2 d2E/dx2                   (Gauss-Newton: the term with f'' is dropped, so that h is never below 0)
    unit below         d2E/dx_j2 = sum over i of w_ij^2 d2E/da_i2  (all off the diagonal is dropped)
    parameter          h = sum over its connections of x_j^2 d2E/da_i2

so that h equals the diagonal of the Gauss-Newton matrix only where each unit below is met by one above; the terms between the connections
that share a parameter are dropped as well. Radial basis units, which are no weighted sums, count with the loss.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from cnn_research import stages
from cnn_research.architecture import Architecture, Layer
from cnn_research.errors import ConfigError
from cnn_research.losses import LOSSES
from cnn_research.models.network import Network, run_stages

MU = 0.02
SAMPLES = 500
_BLOCK = 50  # examples at once

# Weighted sums, in which a parameter and what it multiplies may both be squared.
_SUMS = (stages.Convolution, stages.LocallyConnected, stages.Dense, stages.Subsampling)
# Sums with weights of 0 and 1, and functions of one number each.
_SELECTIONS = (stages.MaxPool, stages.SumPool)
_FUNCTIONS = (stages.ReLU, stages.Tanh, stages.ScaledTanh, stages.Sigmoid, stages.Absolute)


def check(net: Architecture) -> None:
    """ConfigError for a stage through which second derivatives are not known to go back."""
    known = (*_SUMS, *_SELECTIONS, *_FUNCTIONS)
    for layer in net.layers:
        for name, stage in layer.named_stages():
            if type(stage) not in (*known, stages.RadialBasis):
                offer = ', '.join(kind.name for kind in known)
                raise ConfigError(f"optimizer.name='sdlm' does not go with {name} in {layer.name} of {net.name}; it knows {offer}.")


def _back(stage: stages.Stage, run: Callable, params, x, h):
    """(h of the stage's parameters, d2E / dx2) of its input x (B, ...) and h = d2E / dy2 of its output y; run(params, x) -> y."""
    if isinstance(stage, _SUMS):
        _, vjp = jax.vjp(run, jax.tree.map(jnp.square, params), jnp.square(x))
        return vjp(h)
    if isinstance(stage, _SELECTIONS):
        _, vjp = jax.vjp(lambda x: run(params, x), x)
        return {}, vjp(h)[0]
    _, slope = jax.jvp(lambda x: run(params, x), (x,), (jnp.ones_like(x),))
    return {}, jnp.square(slope) * h


def _outputs(loss: Callable, x):
    """The diagonal (n,) of the second derivatives of loss(x) by x (n,)."""
    gradient = jax.grad(loss)
    return jax.vmap(lambda one: jnp.vdot(one, jax.jvp(gradient, (x,), (one,))[1]))(jnp.eye(x.size))


def summed(network: Network, loss: str, j: float, params, images, labels):
    """h, a tree like params: the sum over images (B, H, W, C), as a network sees them, with labels (B,)."""
    net, found = network.architecture, {}
    steps = [(layer, name, stage) for layer in net.layers for name, stage in layer.named_stages()]
    _, kept = network.apply({'params': params}, images, taps=tuple(net.taps()))

    def run(layer, stage):
        return lambda own, x: run_stages(Layer(layer.number, (stage,)), {stage.name: own}, x)

    inputs = [images, *(kept[f'{layer.name}.{name}'] for layer, name, _ in steps)]
    top, ends = inputs[-1], lambda x: x
    if isinstance(steps[-1][2], stages.RadialBasis):
        end = run(*steps[-1][::2])
        ends, top = lambda x: end({}, x), inputs[-2]
        steps, inputs = steps[:-1], inputs[:-1]
    h = jax.vmap(lambda x, label: _outputs(lambda x: LOSSES[loss](ends(x[None]), label[None], j)[0], x))(top, labels)
    for (layer, name, stage), x in zip(reversed(steps), reversed(inputs[:-1]), strict=True):
        own, h = _back(stage, run(layer, stage), params.get(layer.name, {}).get(name, {}), x, h.reshape(kept[f'{layer.name}.{name}'].shape))
        if own:
            found.setdefault(layer.name, {})[name] = own
    return found


def curvature(network: Network, loss: str, j: float, params, images, labels):
    """h, a tree like params: the mean over images (B, H, W, C), as a network sees them, with labels (B,)."""
    size = max(size for size in range(1, min(_BLOCK, len(labels)) + 1) if len(labels) % size == 0)
    blocks = images.reshape(-1, size, *images.shape[1:]), labels.reshape(-1, size)
    sums = lax.map(lambda block: summed(network, loss, j, params, *block), blocks)
    return jax.tree.map(lambda one: one.sum(axis=0) / len(labels), sums)


def scaled() -> optax.GradientTransformationExtraArgs:
    """The update over MU + h; its state is h, which curvature(h as it was) gives at each step, the same or anew."""

    def update(updates, state, params=None, *, curvature, **_):
        h = curvature(state)
        return jax.tree.map(lambda u, own: u / (MU + own), updates, h), h

    return optax.GradientTransformationExtraArgs(lambda params: jax.tree.map(jnp.zeros_like, params), update)
