"""What hand-made descriptors are made of, as pure functions of arrays: SIFT's cells and lengths, visual words, the spatial pyramid.

Maps are (B, H, W, C). Lowe 2004, Distinctive image features from scale-invariant keypoints, section 6.1; Lazebnik, Schmid, Ponce 2006,
Beyond bags of features, section 3.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research.models.pooling import weighted_windows
from cnn_research.stages import window_count


def _cell_weights(size: int, cells: int, kernel: int, stride: int) -> np.ndarray:
    """(windows, cells, size): the weight along one side of each pixel in each cell of each window."""
    windows, width = window_count(size, kernel, stride, 0, False), kernel / cells
    place = np.arange(size) - stride * np.arange(windows)[:, None, None]
    gaussian = np.exp(-0.5 * ((place - (kernel - 1) / 2) / (kernel / 2)) ** 2)
    middles = width * (np.arange(cells)[:, None] + 0.5) - 0.5
    share = np.maximum(0, 1 - np.abs(place - middles) / width)
    return np.where((place >= 0) & (place < kernel), gaussian * share, 0)


def cell_pool(x: jax.Array, cells: int, kernel: int, stride: int) -> jax.Array:
    """Weighted sums in cells x cells cells of each window: (B, H, W, C) -> (B, rows, columns, cells^2 C).

    A pixel that is d from the window's middle weighs exp(-d^2 / (2 (kernel / 2)^2)), times max(0, 1 - |e| / width) along each side, where
    it is e from the cell's middle and cells are kernel / cells wide. The order is (cell's row, cell's column, map). Pixels outside the
    window count nothing, as in Lowe's 16x16 samples; OpenCV takes in those up to half a cell beyond it.
    """
    batch, height, width, maps = x.shape
    down, right = _cell_weights(height, cells, kernel, stride), _cell_weights(width, cells, kernel, stride)
    sums = weighted_windows(x, down.reshape(-1, height), right.reshape(-1, width))
    sums = sums.reshape(batch, len(down), cells, len(right), cells, maps).transpose(0, 1, 3, 2, 4, 5)
    return sums.reshape(batch, len(down), len(right), cells**2 * maps)


def unit_length(x: jax.Array, floor: float) -> jax.Array:
    """x / max(|x|, floor), |x| the Euclidean length over the last axis; keeps the shape. Below the floor it is linear, at 0 too."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    # The root of the larger square, not the larger root: that of 0 has no slope.
    return (wide / jnp.sqrt(jnp.maximum(jnp.square(wide).sum(-1, keepdims=True), floor**2))).astype(x.dtype)


def clipped(x: jax.Array, most: float) -> jax.Array:
    """min(x, most)."""
    return jnp.minimum(x, most)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def winner_take_all(x: jax.Array, sharpness: float) -> jax.Array:
    """(..., C) -> (..., C): 1 where the last axis has its largest number, of equals the first, else 0.

    The gradient of that is 0 everywhere and teaches nothing; a signal comes down as through softmax(sharpness * x), a straight-through
    estimate.
    """
    return jax.nn.one_hot(x.argmax(-1), x.shape[-1], dtype=x.dtype)


def _through_softmax(sharpness, x, g):
    return jax.vjp(lambda x: jax.nn.softmax(sharpness * x, axis=-1), x)[1](g)


winner_take_all.defvjp(lambda x, sharpness: (winner_take_all(x, sharpness), x), _through_softmax)


def _splits(size: int, cells: int) -> np.ndarray:
    """(cells, size): 1 where the place is in the cell, cut at the whole part of i size / cells."""
    edges = np.arange(cells + 1) * size // cells
    place = np.arange(size)
    return ((place >= edges[:-1, None]) & (place < edges[1:, None])).astype(np.float32)


def pyramid_pool(x: jax.Array, levels: int) -> jax.Array:
    """Mean counts in 1, 4, 16, ... cells: (B, H, W, C) -> (B, C (4^levels - 1) / 3), in the order (level, row, column, map).

    The sum in each cell over H W, times 1 / 2^L on level 0 and 1 / 2^(L - l + 1) on level l of L + 1 (Lazebnik et al. 2006, eq. 3).
    """
    batch, height, width, maps = x.shape
    cells = 2 ** (levels - 1)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))  # counts beyond 256 are lost in 8 bits
    sums = weighted_windows(wide, _splits(height, cells), _splits(width, cells))
    pyramid = []
    for level in reversed(range(levels)):
        weight = 0.5 ** (levels - max(level, 1)) / (height * width)
        pyramid.insert(0, (weight * sums).reshape(batch, -1))
        if level:  # the cuts of a level are among those of the next
            sums = sums.reshape(batch, 2 ** (level - 1), 2, 2 ** (level - 1), 2, maps).sum((2, 4))
    return jnp.concatenate(pyramid, -1).astype(x.dtype)
