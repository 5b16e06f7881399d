"""Winograd's F(2x2, 3x3): four outputs of a 3x3 convolution from 16 products instead of 36 (Lavin & Gray 2016, "Fast algorithms for
convolutional neural networks", 4.1), where XLA's own convolutions on a CPU are slower.

A tile of 4 x 4 inputs and the kernel are each changed to another basis, in which the tile's 2 x 2 outputs are products element by element,
summed over the input maps: 16 matrix products (tiles, Cin) x (Cin, Cout).
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

# Measured on two cores with AVX-512, forward and input's gradient together: with fewer maps on either side the change of basis costs more
# than it saves (0.4 to 0.9 of the plain speed). The tiles of 8 images of 13 x 13 px at once stay in the cache and still fill the matrix
# products: 1.05 to 1.3 times the plain speed, where the tiles of 32 images at once reach 0.9.
_LEAST_MAPS = 128
_TILES = 400


def suits(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> bool:
    """Whether the convolution of x (B, H, W, Cin) with a kernel (kh, kw, Cin, Cout) can be had this way, and faster."""
    tiles = x.shape[0] * -(-x.shape[1] // 2) * -(-x.shape[2] // 2)
    return (
        jax.default_backend() == 'cpu'
        and kernel.shape[:2] == (3, 3)
        and stride == 1
        and padding <= 2
        and min(kernel.shape[2:]) >= _LEAST_MAPS
        and tiles >= _TILES * 0.9
        and x.dtype in (jnp.float32, jnp.float64)  # the sums that it takes cost a half-precision number most of its digits
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolution(x: jax.Array, kernel: jax.Array, padding: int = 0) -> jax.Array:
    """(B, H, W, Cin), (3, 3, Cin, Cout) -> (B, H + 2 padding - 2, W + 2 padding - 2, Cout): cross-correlation, stride 1.

    `padding` zeros, at most 2, surround the image. Reverse-mode derivatives only: the input's is a convolution of this kind, the kernel's
    XLA's own.
    """
    return _transformed(x, kernel, padding)


def _forward(x, kernel, padding):
    return _transformed(x, kernel, padding), (x, kernel)


def _backward(padding, saved, g):
    x, kernel = saved
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    plain = functools.partial(
        lax.conv_general_dilated, x, window_strides=(1, 1), padding=[(padding, padding)] * 2, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    return _transformed(g, turned, 2 - padding), jax.linear_transpose(plain, kernel)(g)[0]


convolution.defvjp(_forward, _backward)


def _of_four(d0, d1, d2, d3):
    """A tile's four rows (or columns) in the other basis."""
    return d0 - d2, d1 + d2, d2 - d1, d1 - d3


def _of_three(g0, g1, g2):
    """A kernel's three rows (or columns) in the other basis."""
    ends, middle = (g0 + g2) / 2, g1 / 2
    return g0, ends + middle, ends - middle, g2


def _of_products(m0, m1, m2, m3):
    """Two rows (or columns) of outputs from four of products."""
    return m0 + m1 + m2, m1 - m2 - m3


def _twice(change, grid):
    """A change of basis of the rows of a grid of arrays, then of its columns."""
    rows = zip(*(change(*column) for column in zip(*grid, strict=True)), strict=True)
    return [change(*row) for row in rows]


def _transformed(x, kernel, padding):
    batch, height, width, _ = x.shape
    rows, columns, maps = height + 2 * padding - 2, width + 2 * padding - 2, kernel.shape[3]
    down, across = -(-rows // 2), -(-columns // 2)
    changed = _twice(_of_three, [[kernel[i, j] for j in range(3)] for i in range(3)])

    def part(x):
        x = jnp.pad(x, ((0, 0), (padding, 2 * down + 2 - height - padding), (padding, 2 * across + 2 - width - padding), (0, 0)))
        tiles = [[x[:, i : i + 2 * down - 1 : 2, j : j + 2 * across - 1 : 2] for j in range(4)] for i in range(4)]
        products = [[a @ b for a, b in zip(*both, strict=True)] for both in zip(_twice(_of_four, tiles), changed, strict=True)]
        y = jnp.stack([jnp.stack(row, 3) for row in _twice(_of_products, products)], 2)
        return y.reshape(-1, 2 * down, 2 * across, maps)[:, :rows, :columns]

    count = -(-batch // max(1, round(_TILES / (down * across))))
    size = -(-batch // count)
    x = jnp.pad(x, ((0, count * size - batch), (0, 0), (0, 0), (0, 0)))
    return lax.map(part, x.reshape(count, size, *x.shape[1:])).reshape(count * size, rows, columns, maps)[:batch]
