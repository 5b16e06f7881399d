"""Normalization against plain loops, PyTorch, XLA's automatic gradient and the invariants of local contrast."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from cnn_research.models import normalization


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


def response_by_loops(x, size, scale, beta, k, across):
    y = np.empty_like(x)
    for b, i, j, c in np.ndindex(x.shape):
        if across:
            window = x[b, i, j, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        else:
            down, right = (slice(max(0, at - size // 2), at + (size - 1) // 2 + 1) for at in (i, j))
            window = x[b, down, right, c]
        y[b, i, j, c] = x[b, i, j, c] / (k + scale * (window**2).sum()) ** beta
    return y


def plain_response(x, size, scale, beta, k, across):
    """Over reduce_window, with its automatic gradient."""
    reach = (size // 2, (size - 1) // 2)
    window = (1, 1, 1, size) if across else (1, size, size, 1)
    pads = [reach if side > 1 else (0, 0) for side in window]
    return x / (k + scale * lax.reduce_window(x * x, 0.0, lax.add, window, (1, 1, 1, 1), pads)) ** beta


@pytest.mark.parametrize(
    ('size', 'across', 'beta'), [(5, True, 0.75), (4, True, 0.75), (5, True, 0.5), (3, False, 0.75), (4, False, 1.0), (7, False, 0.75)]
)
def test_response_and_its_gradient(size, across, beta):
    x, g, k, alpha = maps(2, 6, 5, 9), maps(2, 6, 5, 9, seed=1), 2.0, 0.3
    elements = size if across else size**2
    for divided, scale in ((False, alpha), (True, alpha / elements)):
        y, gradient = value_and_gradient(lambda x, d=divided: normalization.response(x, size, alpha, beta, k, d, across), x, g)
        np.testing.assert_allclose(y, response_by_loops(x, size, scale, beta, k, across), rtol=1e-13)
        _, plain = value_and_gradient(lambda x, a=scale: plain_response(x, size, a, beta, k, across), x, g)
        np.testing.assert_allclose(gradient, plain, rtol=0, atol=1e-13)


@pytest.mark.parametrize('size', [5, 4, 1])
def test_response_against_torch(size):
    torch = pytest.importorskip('torch')
    x = maps(2, 3, 4, 8)
    t = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    expected = torch.nn.LocalResponseNorm(size, alpha=0.4, beta=0.75, k=1.0)(t)
    g = maps(*x.shape, seed=1)
    expected.backward(torch.tensor(g.transpose(0, 3, 1, 2).copy()))
    y, gradient = value_and_gradient(lambda x: normalization.response(x, size, 0.4, 0.75, 1.0, divided=True), x, g)
    np.testing.assert_allclose(y, expected.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-13)
    np.testing.assert_allclose(gradient, t.grad.numpy().transpose(0, 2, 3, 1), rtol=0, atol=1e-13)


def test_response_by_hand():
    """One pixel with maps 1, 2, 3 and a window of 3: sums of squares 5, 14, 13."""
    x = jnp.array([1.0, 2.0, 3.0]).reshape(1, 1, 1, 3)
    y = normalization.response(x, 3, 3.0, 0.5, 1.0)
    np.testing.assert_allclose(y.ravel(), [1 / 4, 2 / 43**0.5, 3 / 40**0.5], rtol=1e-15)
    y = normalization.response(x, 3, 3.0, 0.5, 2.0, divided=True)
    np.testing.assert_allclose(y.ravel(), [1 / 7**0.5, 2 / 4, 3 / 15**0.5], rtol=1e-15)


def test_response_of_features_and_in_single_and_half_precision():
    x = maps(4, 12)
    expected = normalization.response(jnp.asarray(x), 5, 0.1, 0.75, 2.0)
    np.testing.assert_allclose(expected, response_by_loops(x[:, None, None], 5, 0.1, 0.75, 2.0, True)[:, 0, 0], rtol=1e-13)
    for dtype, tolerance in ((jnp.float32, 1e-6), (jnp.bfloat16, 1e-2)):
        y = normalization.response(jnp.asarray(x, dtype), 5, 0.1, 0.75, 2.0)
        assert y.dtype == dtype
        np.testing.assert_allclose(y.astype('float64'), expected, rtol=tolerance)


def local_mean_by_loops(x, size, across):
    offsets = range(-(size // 2), (size - 1) // 2 + 1)
    mean = np.zeros_like(x)
    for i, j in np.ndindex(x.shape[1:3]):
        total = 0
        for p in offsets:
            for q in offsets:
                if 0 <= i + p < x.shape[1] and 0 <= j + q < x.shape[2]:
                    weight = np.exp(-(p * p + q * q) / (2 * (size / 4) ** 2))
                    mean[:, i, j] += weight * x[:, i + p, j + q]
                    total += weight
        mean[:, i, j] /= total
    return np.broadcast_to(mean.mean(-1, keepdims=True), x.shape) if across else mean


@pytest.mark.parametrize('across', [True, False])
@pytest.mark.parametrize('size', [9, 4])
def test_local_contrast_against_loops(size, across):
    x = maps(2, 8, 11, 3) * np.linspace(0.1, 3, 11)[:, None]  # contrast grows to the right, so that both sides of the maximum are met
    np.testing.assert_allclose(
        normalization.subtractive_normalization(jnp.asarray(x), size, across), x - local_mean_by_loops(x, size, across), rtol=0, atol=1e-13
    )
    deviation = np.sqrt(local_mean_by_loops(x * x, size, across))
    floor = deviation.mean((1, 2, 3), keepdims=True)
    assert 0.2 < (deviation > floor).mean() < 0.8
    expected = x / np.maximum(deviation, floor)
    np.testing.assert_allclose(normalization.divisive_normalization(jnp.asarray(x), size, across), expected, rtol=1e-12)


@pytest.mark.parametrize('across', [True, False])
def test_local_contrast_gradients(across):
    x = jnp.asarray(maps(1, 6, 5, 2))
    for stage in (normalization.subtractive_normalization, normalization.divisive_normalization):
        check_grads(jax.jit(lambda x, stage=stage: stage(x, 5, across)), (x,), order=1, modes=['rev'], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('across', [True, False])
def test_local_contrast_invariants(across):
    constant = jnp.full((2, 12, 10, 3), 7.3, jnp.float32)
    flat = normalization.subtractive_normalization(constant, 9, across)
    assert np.abs(flat).max() < 5e-6
    assert np.abs(normalization.divisive_normalization(flat, 9, across)).max() < 0.05  # rounding errors are not blown up to contrast
    x = jnp.asarray(maps(2, 12, 10, 3), jnp.float32)
    subtracted = normalization.subtractive_normalization(x, 9, across)
    np.testing.assert_allclose(normalization.subtractive_normalization(x + 5, 9, across), subtracted, rtol=0, atol=1e-5)
    divided = normalization.divisive_normalization(subtracted, 9, across)
    np.testing.assert_allclose(normalization.divisive_normalization(20 * subtracted, 9, across), divided, rtol=1e-5, atol=1e-6)
    alone = normalization.divisive_normalization(subtracted[:1], 9, across)
    np.testing.assert_allclose(alone, divided[:1], rtol=1e-5, atol=1e-6)  # an example's contrast is its own


def test_a_blank_image_has_a_finite_gradient():
    gradient = jax.jit(jax.grad(lambda x: (normalization.divisive_normalization(x, 9) ** 2).sum()))(jnp.zeros((1, 10, 10, 2)))
    np.testing.assert_array_equal(gradient, np.zeros((1, 10, 10, 2)))
