"""Pooling of maps (B, H, W, C), as pure functions of arrays.

Windows are square, `kernel` pixels wide and `stride` apart; `padding` pixels are added on every side. They are counted as
floor((size + 2 padding - kernel) / stride) + 1 or, with `ceil`, rounded up, as cuda-convnet does; a last window that would start
beyond the image and its leading padding is left out (the rule of Caffe and PyTorch). Padding must be smaller than the kernel.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_research.stages import window_count

# Up to this side a window is read as kernel^2 strided slices, which XLA fuses into one pass: with a 3x3/2 window on two CPU cores the
# sum and its gradient take 2.5 ms instead of reduce_window's 15.9. Beyond it, the number of slices is what costs.
_SLICED = 5
_NO_TAP = 255


class _Grid(NamedTuple):
    """Where the windows lie: on an image height x width, rows x columns of them."""

    height: int
    width: int
    kernel: int
    stride: int
    padding: int
    rows: int
    columns: int

    def after(self, size: int, count: int) -> int:
        """Pixels missing beyond the end of a side of `size` pixels that carries `count` windows."""
        return max(0, (count - 1) * self.stride + self.kernel - size - self.padding)

    def pads(self) -> tuple[tuple[int, int], ...]:
        down, right = self.after(self.height, self.rows), self.after(self.width, self.columns)
        return (0, 0), (self.padding, down), (self.padding, right), (0, 0)


def _grid(x: jax.Array, kernel: int, stride: int, padding: int, ceil: bool) -> _Grid:
    def count(size):
        windows = window_count(size, kernel, stride, padding, ceil)
        return windows - (ceil and (windows - 1) * stride >= size + padding)

    height, width = x.shape[1:3]
    return _Grid(height, width, kernel, stride, padding, count(height), count(width))


def _taps(x: jax.Array, grid: _Grid, outside: float) -> list[jax.Array]:
    """The kernel^2 arrays (B, rows, columns, C) of what lies under each element of the window, in row order."""
    padded = jnp.pad(x, grid.pads(), constant_values=outside)
    down, right = grid.stride * (grid.rows - 1) + 1, grid.stride * (grid.columns - 1) + 1
    sides = range(grid.kernel)
    return [padded[:, i : i + down : grid.stride, j : j + right : grid.stride] for i in sides for j in sides]


def max_pool(x: jax.Array, kernel: int, stride: int, padding: int = 0, ceil: bool = False) -> jax.Array:
    """The largest value under each window: (B, H, W, C) -> (B, rows, columns, C). Among equals the first in row order gets the gradient."""
    grid = _grid(x, kernel, stride, padding, ceil)
    if kernel > _SLICED:
        return lax.reduce_window(x, np.array(-np.inf, x.dtype), lax.max, (1, kernel, kernel, 1), (1, stride, stride, 1), grid.pads())
    return _max_pool(x, grid)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x, grid):
    return functools.reduce(jnp.maximum, _taps(x, grid, -jnp.inf))


def _max_pool_forward(x, grid):
    largest = _materialised_by_place(_max_pool(x, grid))
    first = jnp.zeros(largest.shape, jnp.uint8)
    for number, tap in reversed(list(enumerate(_taps(x, grid, -jnp.inf)))):
        first = jnp.where(tap == largest, jnp.uint8(number), first)
    return largest, materialised(first)


def _max_pool_backward(grid, first, g):
    """Every pixel asks the few windows above it whether it was their maximum.

    Nothing is scattered: on CPU this is 10 to 30 times faster than XLA's select-and-scatter, for the same result. Pixels are seen as
    stride x stride blocks; the window m steps above and n steps left of a block meets the block's pixel (r, c) at its element
    (r + stride m, c + stride n).
    """
    kernel, stride = grid.kernel, grid.stride
    above = -(-kernel // stride)
    down, right = (-(-(size + grid.padding) // stride) for size in (grid.height, grid.width))
    margins = ((0, 0), (above - 1, max(0, down - grid.rows)), (above - 1, max(0, right - grid.columns)), (0, 0))
    first, g = jnp.pad(first, margins, constant_values=_NO_TAP), jnp.pad(g, margins)
    total = jnp.zeros((), g.dtype)
    for m in range(above):
        for n in range(above):
            i, j = np.ogrid[stride * m : stride * (m + 1), stride * n : stride * (n + 1)]
            element = np.where((i < kernel) & (j < kernel), i * kernel + j, _NO_TAP - 1).astype(np.uint8)
            top, left = above - 1 - m, above - 1 - n
            windows = (slice(None), slice(top, top + down), None, slice(left, left + right), None)
            total = total + jnp.where(first[windows] == element[:, None, :, None], g[windows], 0)
    pixels = total.reshape(g.shape[0], down * stride, right * stride, g.shape[-1])
    p = grid.padding
    return (materialised(pixels[:, p : p + grid.height, p : p + grid.width]),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def materialised(y):
    """The same array, computed once.

    The weight gradient of a convolution above transposes its input, and XLA's CPU compiler would compute the whole pooling again inside
    that transpose (28 ms instead of 4); the same holds for the gradient that leaves a max pool (a whole step of the 18 % CIFAR net: 142
    instead of 167 ms with both) and for which element of the window was the maximum, which each of the gradient's windows would look
    for again in a copy of the input (35.2 instead of 38.3 ms). It drops optimization_barrier, but does not fuse across a conditional;
    both branches return y.
    """
    if jax.default_backend() != 'cpu' or not y.size:
        return y
    if jnp.issubdtype(y.dtype, jnp.integer):
        rare, same = _NO_TAP - 1, lambda a: jnp.minimum(a, _NO_TAP - 1)
    else:
        rare, same = 1e30, lambda a: jnp.where(a == a, a, jnp.nan)
    return lax.cond(y.reshape(-1)[0] >= rare, same, lambda a: a, y)


def _materialised_by_place(y):
    """(B, H, W, C), lying in memory as (H, W, B, C).

    The weight gradient of a convolution above wants the batch innermost. From there it takes blocks of B x C; from (B, H, W, C) it would
    fetch each number from another image (the 18 % CIFAR net's second layer: 2.2 ms; its whole step 34.0 instead of 35.2).
    """
    return materialised(y.transpose(1, 2, 0, 3)).transpose(2, 0, 1, 3)


def weighted_windows(x: jax.Array, vertical: np.ndarray, horizontal: np.ndarray) -> jax.Array:
    """Sums over windows whose weights are a product: (B, H, W, C), (rows, H), (columns, W) -> (B, rows, columns, C).

    Two matrix products cost the same for any window: for a 9x9 one, sum and gradient take 5.6 ms where reduce_window takes 41.
    """
    product = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    return product('ih,bhjc->bijc', vertical.astype(x.dtype), product('jw,bhwc->bhjc', horizontal.astype(x.dtype), x))


def _covered(grid: _Grid, size: int, count: int) -> np.ndarray:
    """(count, size), 1 where the window covers the pixel, else 0."""
    place = np.arange(size) + grid.padding - grid.stride * np.arange(count)[:, None]
    return ((place >= 0) & (place < grid.kernel)).astype(np.float32)


def _sums(x, grid):
    if grid.kernel <= _SLICED:
        total = sum(_taps(x, grid, 0))
        return _materialised_by_place(total) if grid.stride > 1 else total
    return weighted_windows(x, _covered(grid, grid.height, grid.rows), _covered(grid, grid.width, grid.columns))


def neighbourhood_sums(x: jax.Array, size: int, before: int) -> jax.Array:
    """The sum over size x size pixels of each map that start `before` rows and columns before the pixel; same shape, zeros outside."""
    return _sums(x, _Grid(*x.shape[1:3], size, 1, before, *x.shape[1:3]))


def sum_pool(x: jax.Array, kernel: int, stride: int, padding: int = 0, ceil: bool = False) -> jax.Array:
    """The sum under each window: (B, H, W, C) -> (B, rows, columns, C)."""
    return _sums(x, _grid(x, kernel, stride, padding, ceil))


def average_pool(x: jax.Array, kernel: int, stride: int, padding: int = 0, ceil: bool = False) -> jax.Array:
    """The mean under each window over the pixels inside the image, as in cuda-convnet: (B, H, W, C) -> (B, rows, columns, C)."""
    grid = _grid(x, kernel, stride, padding, ceil)
    inside = np.outer(_covered(grid, grid.height, grid.rows).sum(1), _covered(grid, grid.width, grid.columns).sum(1))
    return _sums(x, grid) / inside[..., None].astype(x.dtype)


def subsampling(x: jax.Array, coefficient: jax.Array, bias: jax.Array, kernel: int, stride: int) -> jax.Array:
    """LeNet-5's S2 and S4 before their squashing: (B, H, W, C), (C,), (C,) -> (B, rows, columns, C).

    The sum under each window times the map's coefficient plus its bias (LeCun et al. 1998, II.B).
    """
    return coefficient * sum_pool(x, kernel, stride) + bias


def global_average(x: jax.Array) -> jax.Array:
    """The mean of each map: (B, H, W, C) -> (B, C)."""
    return x.mean((1, 2))
