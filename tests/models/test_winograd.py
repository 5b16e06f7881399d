"""Winograd's convolution against XLA's and PyTorch's, and where it is taken."""

import functools

import jax
import numpy as np
import pytest
from jax import lax

from cnn_research.models import layers, winograd


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def plain(x, kernel, padding):
    return lax.conv_general_dilated(x, kernel, (1, 1), [(padding, padding)] * 2, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


@functools.partial(jax.jit, static_argnums=(0, 4))
def value_and_gradients(convolve, x, kernel, g, padding):
    y, back = jax.vjp(lambda x, kernel: convolve(x, kernel, padding), x, kernel)
    return y, *back(g)


@pytest.mark.parametrize(('batch', 'height', 'width', 'padding'), [(3, 6, 6, 1), (2, 5, 8, 0), (1, 7, 4, 2), (17, 13, 13, 1)])
def test_outputs_and_gradients_are_the_plain_ones(batch, height, width, padding):
    with jax.enable_x64(True):
        x, kernel = normal(batch, height, width, 3), normal(3, 3, 3, 5, seed=1)
        g = normal(batch, height + 2 * padding - 2, width + 2 * padding - 2, 5, seed=2)
        got = value_and_gradients(winograd.convolution, x, kernel, g, padding)
        expected = value_and_gradients(plain, x, kernel, g, padding)
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-11)


def test_a_layer_takes_it_and_agrees_with_torch_in_float32():
    torch = pytest.importorskip('torch')
    x, kernel = normal(8, 13, 13, 128).astype(np.float32), normal(3, 3, 128, 128, seed=1).astype(np.float32)
    assert winograd.suits(x, kernel, 1, 1)
    ours = jax.jit(lambda x, kernel: layers.convolution(x, kernel, None, padding=1))(x, kernel)
    theirs = torch.nn.functional.conv2d(torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(kernel.transpose(3, 2, 0, 1)), padding=1)
    theirs = theirs.numpy().transpose(0, 2, 3, 1)
    assert np.abs(ours - theirs).max() < 2e-6 * np.abs(theirs).max()


@pytest.mark.parametrize(
    ('shape', 'kernel', 'stride', 'padding', 'dtype'),
    [
        ((8, 13, 13, 128), (3, 3, 128, 128), 2, 1, 'float32'),
        ((8, 13, 13, 128), (5, 5, 128, 128), 1, 2, 'float32'),
        ((8, 13, 13, 96), (3, 3, 96, 128), 1, 1, 'float32'),
        ((8, 13, 13, 128), (3, 3, 128, 96), 1, 1, 'float32'),
        ((1, 13, 13, 128), (3, 3, 128, 128), 1, 1, 'float32'),
        ((8, 13, 13, 128), (3, 3, 128, 128), 1, 3, 'float32'),
        ((8, 13, 13, 128), (3, 3, 128, 128), 1, 1, 'bfloat16'),
    ],
)
def test_other_convolutions_stay_as_they_are(shape, kernel, stride, padding, dtype):
    x, weights = jax.ShapeDtypeStruct(shape, dtype), jax.ShapeDtypeStruct(kernel, dtype)
    assert not winograd.suits(x, weights, stride, padding)
    text = str(jax.make_jaxpr(lambda x, weights: layers.convolution(x, weights, None, stride, padding))(x, weights))
    assert 'conv_general_dilated' in text and 'dot_general' not in text
