"""Normalization of maps by their neighbourhood, as pure functions of arrays.

A window of even size has one element more before its centre than after it (as in cuda-convnet and PyTorch): it reaches size // 2
elements back and (size - 1) // 2 ahead.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_research.models.pooling import neighbourhood_sums, weighted_windows

# The smallest deviation that divides: below it, an image without contrast would have its rounding errors blown up to unit contrast.
SMALLEST_DEVIATION = 1e-4


def response(x: jax.Array, size: int, alpha: float, beta: float, k: float, divided: bool = False, across: bool = True) -> jax.Array:
    """Local response normalization x / (k + A sum of squares)^beta (Krizhevsky et al. 2012, 3.3); keeps the shape.

    across: the sum runs over `size` neighbouring maps (the last axis) at the same place; otherwise over size x size pixels of the same
    map of (B, H, W, C). Beyond the ends there are zeros. divided: A is alpha over the number of elements of the window, size or size^2,
    as Caffe, cuda-convnet and PyTorch compute it; otherwise A is alpha, as the paper prints it.
    """
    elements = size if across else size * size
    return _response(x, size, alpha / elements if divided else alpha, beta, k, across)


def _band(channels: int, size: int) -> np.ndarray:
    """(channels, channels): row i holds 1 for every map whose window contains map i."""
    back = np.arange(channels) - np.arange(channels)[:, None]
    return ((back <= size // 2) & (back >= -((size - 1) // 2))).astype(np.float32)


def _window_sums(z, size, across, turned=False):
    """Sums of z over each element's window or, turned (the transpose), over all elements whose window contains it."""
    if not across:
        return neighbourhood_sums(z, size, (size - 1) // 2 if turned else size // 2)
    band = _band(z.shape[-1], size).astype(z.dtype)
    return jnp.matmul(z, band.T if turned else band, precision=lax.Precision.HIGHEST)


def _minus_power(t, beta):
    """t^-beta; two square roots where beta is 3/4, for a power is a logarithm and an exponential."""
    if beta != 0.75:
        return t**-beta
    root = lax.rsqrt(t)
    return root * jnp.sqrt(root)


# The sum over maps as a product with a band matrix and this hand-written gradient: 19 to 27 ms where the power over reduce_window and its
# automatic gradient take 37 to 62 (AlexNet's two normalizations, 16 images, two CPU cores); it turns ZFNet's training step from slower
# than PyTorch's into as fast.
@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4, 5))
def _response(x, size, scale, beta, k, across):
    return _response_forward(x, size, scale, beta, k, across)[0]


def _response_forward(x, size, scale, beta, k, across):
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))  # scale * sum is lost beside k in 8 bits
    t = k + scale * _window_sums(wide * wide, size, across)
    return (wide * _minus_power(t, beta)).astype(x.dtype), (x, t)


def _response_backward(size, scale, beta, k, across, saved, g):
    x, t = saved
    direct = g.astype(t.dtype) * _minus_power(t, beta)
    shared = _window_sums(direct * x / t, size, across, turned=True)
    return ((direct - 2 * scale * beta * x * shared).astype(x.dtype),)


_response.defvjp(_response_forward, _response_backward)


def _gaussian(length: int, size: int) -> np.ndarray:
    """(length, length): each row the weights of one element's window, a Gaussian with a standard deviation of size / 4, of sum 1."""
    distance = np.arange(length) - np.arange(length)[:, None]
    inside = (distance >= -(size // 2)) & (distance <= (size - 1) // 2)
    weights = np.where(inside, np.exp(-0.5 * (distance / (size / 4)) ** 2), 0)
    return weights / weights.sum(1, keepdims=True)


def _local_mean(x, size, across):
    """The Gaussian-weighted mean of size x size pixels, cut at the border: (B, H, W, C) -> (B, H, W, 1 if across else C)."""
    maps = x.mean(-1, keepdims=True) if across else x
    return weighted_windows(maps, _gaussian(x.shape[1], size), _gaussian(x.shape[2], size))


def subtractive_normalization(x: jax.Array, size: int, across: bool = True) -> jax.Array:
    """Minus the local mean: (B, H, W, C) -> (B, H, W, C) (Jarrett et al. 2009, 2.1).

    The mean is weighted by a Gaussian window of size x size pixels, centred on the pixel, with a standard deviation of size / 4 pixels
    (the paper gives none), over all maps or, without `across`, within each. At the border the weights inside the image are rescaled
    to sum 1, so that a constant image gives 0 everywhere.
    """
    return x - _local_mean(x, size, across)


def divisive_normalization(x: jax.Array, size: int, across: bool = True) -> jax.Array:
    """Over the local deviation: (B, H, W, C) -> (B, H, W, C) (Jarrett et al. 2009, 2.1).

    The deviation is the root of the local mean (as in subtractive_normalization) of the squares; where it is below its own mean over
    the example, that mean divides instead. Deviations count as at least SMALLEST_DEVIATION.
    """
    deviation = jnp.sqrt(jnp.maximum(_local_mean(x * x, size, across), SMALLEST_DEVIATION**2))
    return x / jnp.maximum(deviation, deviation.mean((1, 2, 3), keepdims=True))
