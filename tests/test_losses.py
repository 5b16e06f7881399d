"""The losses against their formulas, example by example in plain Python."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research import fields
from cnn_research.losses import LOSSES


@pytest.fixture(scope='module')
def examples():
    """Outputs (20, 7) and labels (20,)."""
    random = np.random.default_rng(0)
    return random.normal(size=(20, 7)).astype(np.float32) * 3, random.integers(7, size=20)


def test_every_loss_of_the_config_is_there_and_explained():
    assert set(LOSSES) == set(fields.LOSSES)


def test_softmax_is_minus_the_log_of_the_labels_share(examples):
    outputs, labels = examples
    expected = [-math.log(math.exp(row[label]) / sum(math.exp(v) for v in row)) for row, label in zip(outputs, labels, strict=True)]
    np.testing.assert_allclose(LOSSES['softmax'](jnp.asarray(outputs), labels, 1.0), expected, rtol=1e-5)


def test_squared_error_sums_over_classes(examples):
    outputs, labels = examples
    expected = [sum((v - (c == label)) ** 2 for c, v in enumerate(row)) for row, label in zip(outputs, labels, strict=True)]
    np.testing.assert_allclose(LOSSES['squared_error'](jnp.asarray(outputs), labels, 1.0), expected, rtol=1e-5)


@pytest.mark.parametrize('j', [0.0, 1.0, 4.0])
def test_radial_basis_is_equation_9(examples, j):
    outputs, labels = examples
    distances = np.abs(outputs)  # y of the paper; the network answers with -y
    expected = [row[label] + math.log(math.exp(-j) + sum(math.exp(-v) for v in row)) for row, label in zip(distances, labels, strict=True)]
    np.testing.assert_allclose(LOSSES['radial_basis'](jnp.asarray(-distances), labels, j), expected, rtol=1e-5, atol=1e-6)


def test_far_from_all_drawings_the_radial_basis_loss_stays_exact():
    # e^-300 is 0 in float32: without the j term's protection the loss would be infinite or NaN.
    distances = jnp.full((1, 10), 300.0).at[0, 3].set(290.0)
    loss, gradient = jax.value_and_grad(lambda y: LOSSES['radial_basis'](-y, jnp.array([3]), 1.0)[0])(distances)
    assert float(loss) == pytest.approx(290.0 - 1.0, abs=1e-3)
    np.testing.assert_allclose(gradient[0], np.eye(10)[3], atol=1e-6)


def test_large_logits_do_not_overflow():
    loss = LOSSES['softmax'](jnp.array([[1e4, 0.0], [1e4, 0.0]]), jnp.array([0, 1]), 1.0)
    np.testing.assert_allclose(loss, [0.0, 1e4])
