"""Pooling against plain loops and PyTorch, and its fast gradients against XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnn_research.models import pooling


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def maps(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradient(f, x, g):
    y, back = jax.vjp(f, x)
    return y, back(g)[0]


def ties(*shape):
    """Rectified small integers: most windows hold their maximum more than once."""
    return np.maximum(np.random.default_rng(1).integers(-3, 4, shape), 0).astype(float)


def windows(size, kernel, stride, padding, ceil):
    """[(first, last + 1) inside the image] of each window along one direction, by walking until the image is covered."""
    found, start = [], -padding
    while True:
        if start + kernel > size + padding and (not ceil or start >= size or (found and start - stride + kernel >= size + padding)):
            return found
        found.append((max(start, 0), min(start + kernel, size)))
        start += stride


def by_loops(operation, x, kernel, stride, padding=0, ceil=False):
    down, right = (windows(size, kernel, stride, padding, ceil) for size in x.shape[1:3])
    return np.stack([np.stack([operation(x[:, a:b, c:d], axis=(1, 2)) for c, d in right], 1) for a, b in down], 1)


def max_gradient_by_loops(x, g, kernel, stride, padding, ceil):
    """The gradient of each window goes to its first maximum in row order."""
    down, right = (windows(size, kernel, stride, padding, ceil) for size in x.shape[1:3])
    total = np.zeros_like(x)
    for b, c in np.ndindex(x.shape[0], x.shape[3]):
        for i, (top, bottom) in enumerate(down):
            for j, (left, end) in enumerate(right):
                place = np.unravel_index(x[b, top:bottom, left:end, c].argmax(), (bottom - top, end - left))
                total[b, top + place[0], left + place[1], c] += g[b, i, j, c]
    return total


# (height, width, kernel, stride, padding, ceil): overlap, none, gaps, windows over both edges, a last one that is left out, large ones
GEOMETRIES = (
    (9, 8, 3, 2, 0, False),
    (8, 9, 3, 2, 0, True),
    (7, 6, 3, 2, 1, True),
    (8, 5, 2, 2, 1, True),
    (7, 5, 2, 2, 0, True),
    (4, 8, 2, 4, 0, True),
    (8, 8, 3, 1, 1, False),
    (9, 7, 5, 2, 2, True),
    (9, 9, 4, 3, 1, False),
    (13, 11, 7, 3, 2, True),
)


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_pools_against_loops(geometry):
    x, window = maps(2, *geometry[:2], 3), geometry[2:]
    pools = (pooling.max_pool, pooling.sum_pool, pooling.average_pool)
    for y, operation in zip(jax.jit(lambda x: [pool(x, *window) for pool in pools])(x), (np.max, np.sum, np.mean), strict=True):
        np.testing.assert_allclose(y, by_loops(operation, x, *window), rtol=0, atol=1e-13)


@pytest.mark.parametrize('values', [maps, ties])
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_max_gradient_goes_to_the_first_maximum(geometry, values):
    x, window = values(2, *geometry[:2], 3), geometry[2:]
    expected = by_loops(np.max, x, *window)
    g = maps(*expected.shape, seed=2)
    y, gradient = value_and_gradient(lambda x: pooling.max_pool(x, *window), x, g)
    np.testing.assert_array_equal(y, expected)  # of the pass that keeps what the gradient needs
    np.testing.assert_allclose(gradient, max_gradient_by_loops(x, g, *window), rtol=0, atol=1e-13)


@pytest.mark.parametrize(('kernel', 'stride', 'padding'), [(3, 2, 1), (2, 2, 0), (3, 3, 0)])
def test_gradients_equal_those_of_reduce_window(kernel, stride, padding):
    x = jnp.asarray(ties(2, 11, 12, 4))
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))

    def plain(start, operation):
        return lambda x: lax.reduce_window(x, start, operation, (1, kernel, kernel, 1), (1, stride, stride, 1), pads)

    for fast, slow in ((pooling.max_pool, plain(-jnp.inf, lax.max)), (pooling.sum_pool, plain(0.0, lax.add))):
        g = maps(*jax.eval_shape(slow, x).shape)
        expected = value_and_gradient(slow, x, g)
        for ours, plain in zip(value_and_gradient(lambda x, f=fast: f(x, kernel, stride, padding), x, g), expected, strict=True):
            np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-13)


@pytest.mark.parametrize('geometry', GEOMETRIES[1:4])
def test_pools_and_gradients_against_torch(geometry):
    torch = pytest.importorskip('torch')
    functional = torch.nn.functional
    x, (kernel, stride, padding, ceil) = maps(2, *geometry[:2], 3), geometry[2:]
    for ours, theirs in (
        (pooling.max_pool, functional.max_pool2d),
        (pooling.average_pool, lambda *a, **kw: functional.avg_pool2d(*a, **kw, count_include_pad=False)),
    ):
        t = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
        expected = theirs(t, kernel, stride, padding, ceil_mode=ceil)
        g = maps(*expected.shape)
        expected.backward(torch.tensor(g))
        y, gradient = value_and_gradient(lambda x, f=ours: f(x, kernel, stride, padding, ceil), x, g.transpose(0, 2, 3, 1))
        np.testing.assert_allclose(y, expected.detach().numpy().transpose(0, 2, 3, 1), rtol=0, atol=1e-13)
        np.testing.assert_allclose(gradient, t.grad.numpy().transpose(0, 2, 3, 1), rtol=0, atol=1e-13)


def test_sizes_of_the_papers():
    """55-27-13-6 of AlexNet is exact; 110-55 and 26-13 of ZFNet need the ceiling."""

    def side(size, ceil):
        return jax.eval_shape(lambda x: pooling.max_pool(x, 3, 2, 0, ceil), jax.ShapeDtypeStruct((1, size, size, 1), 'float32')).shape[1]

    assert [side(size, False) for size in (55, 27, 13, 110, 26)] == [27, 13, 6, 54, 12]
    assert [side(size, True) for size in (55, 27, 13, 110, 26)] == [27, 13, 6, 55, 13]


@pytest.mark.slow
def test_max_pool_under_jit_vmap_and_in_bfloat16():
    x = jnp.asarray(ties(3, 2, 8, 8, 4))

    gradient = jax.jit(jax.grad(lambda x: (pooling.max_pool(pooling.max_pool(x, 3, 2), 2, 2) ** 2).sum()))
    one_by_one = np.stack([gradient(a) for a in x])
    np.testing.assert_array_equal(jax.vmap(gradient)(x), one_by_one)
    np.testing.assert_array_equal(gradient(x[0]), one_by_one[0])
    with jax.disable_jit():
        np.testing.assert_array_equal(gradient(x[1]), one_by_one[1])
    half = gradient(x[0].astype(jnp.bfloat16))  # small integers are exact in it
    assert half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(half.astype('float64'), one_by_one[0])


def test_max_pool_keeps_extreme_values():
    kept_for_gradient = jax.jit(lambda x: jax.vjp(lambda x: pooling.max_pool(x, 2, 2), x)[0])
    for first in (2e30, np.inf, np.nan):
        x = maps(1, 6, 6, 2)
        x[0, 0, 0, 0] = first
        np.testing.assert_array_equal(kept_for_gradient(x), by_loops(np.max, x, 2, 2))


def test_neighbourhood_sums():
    x = maps(2, 7, 6, 3)
    for size, before in ((3, 1), (4, 2), (4, 1), (7, 3)):
        padded = np.pad(x, ((0, 0), (before, size), (before, size), (0, 0)))
        expected = sum(padded[:, i : i + 7, j : j + 6] for i in range(size) for j in range(size))
        sums = jax.jit(pooling.neighbourhood_sums, static_argnums=(1, 2))(x, size, before)
        np.testing.assert_allclose(sums, expected, rtol=0, atol=1e-13)


def test_subsampling_by_hand():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1) * jnp.array([1.0, -1.0])
    coefficient, bias = jnp.array([0.25, 2.0]), jnp.array([1.0, 0.5])

    def f(x, coefficient, bias):
        return pooling.subsampling(x, coefficient, bias, 2, 2)

    y, back = jax.vjp(f, x, coefficient, bias)
    # sums of the four 2x2 blocks: 0+1+4+5, 2+3+6+7, 8+9+12+13, 10+11+14+15
    np.testing.assert_allclose(y[0, ..., 0], [[3.5, 5.5], [11.5, 13.5]], rtol=1e-15)
    np.testing.assert_allclose(y[0, ..., 1], [[-19.5, -35.5], [-83.5, -99.5]], rtol=1e-15)
    dx, dcoefficient, dbias = back(jnp.ones_like(y))
    np.testing.assert_allclose(dx, np.broadcast_to(coefficient, x.shape), rtol=1e-15)
    np.testing.assert_allclose(dcoefficient, [120, -120], rtol=1e-15)
    np.testing.assert_allclose(dbias, [4, 4], rtol=1e-15)


def test_global_average():
    x, g = maps(2, 5, 4, 3), maps(2, 3, seed=1)
    y, dx = value_and_gradient(pooling.global_average, x, g)
    np.testing.assert_allclose(y, x.reshape(2, 20, 3).mean(1), rtol=1e-13)
    np.testing.assert_allclose(dx, np.broadcast_to(g[:, None, None] / 20, x.shape), rtol=1e-13)
