"""Linear classifiers on fixed features, fitted on the accelerator: what a layer knows, as far as a linear SVM or a softmax can read it.

Both minimise 1/2 |w|^2 + C sum of losses, as scikit-learn's LinearSVC and LogisticRegression do. The minimum is a combination of the
training examples, so the features are first rotated into the examples' own directions (`rotation`): at most one for each example, however
many features there are, and uncorrelated, which is what a diagonal preconditioner needs. Newton's method with conjugate gradients does the
rest: all classes and several subsets of the training examples at once, from the smallest C to the largest, each beginning where the last
one ended.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

KINDS = ('svm', 'softmax')
TOLERANCE = 1e-5  # Newton's method ends where its next step promises less than this share of the objective
NEWTON_STEPS, CONJUGATE_STEPS, HALVINGS = 60, 100, 12
ENOUGH = 1e-2  # of the squared residual, where conjugate gradients end
_TINY, _FLAT = 1e-30, 1e-6


class Fit(NamedTuple):
    """The classifiers of one C. weights: (D + 1, K, S) for D features, K classes and S subsets, the biases in the last row;
    objective: (S,), over all classes; unsettled: (S,), the share of it that a further Newton step promises."""

    cost: float
    weights: jax.Array
    objective: np.ndarray
    unsettled: np.ndarray


@jax.jit
def rotation(features) -> jax.Array:
    """(D, min(N, D)) orthonormal columns that span the N examples of features (N, D).

    The L2-regularised linear classifier of features @ rotation with weights w is that of the features with weights rotation @ w.
    """
    count, dimensions = features.shape
    if dimensions <= count:
        return jnp.linalg.eigh(features.T @ features)[1]
    # The orthogonal factor keeps the small directions exact, which rounding would drown in a Gram matrix.
    orthogonal, upper = jnp.linalg.qr(features.T)
    return orthogonal @ jnp.linalg.eigh(upper @ upper.T)[1]


def fits(kind: str, features, labels, num_classes: int, costs: Sequence[float], subsets=None) -> Iterator[Fit]:
    """Fits a classifier for each of `costs` (C, ascending) on every subset.

    features: (N, D), best rotated; labels: (N,) from 0; subsets: (N, S) bool, the examples that each of S classifiers learns from (default:
    one that learns from all). kind 'svm': one against the rest for every class, squared hinge, the bias regularised like a weight of a
    feature that is 1 (LinearSVC with intercept_scaling=1); 'softmax': multinomial, the bias free (LogisticRegression).
    """
    features = jnp.asarray(features, jnp.float32)
    features = jnp.concatenate([features, jnp.ones((len(features), 1), jnp.float32)], axis=1)
    subsets = np.ones((len(features), 1), bool) if subsets is None else subsets
    subsets = jnp.asarray(subsets, jnp.float32)[:, None]  # (N, 1, S)
    targets = jax.nn.one_hot(labels, num_classes)[..., None]  # (N, K, 1)
    weights = jnp.zeros((features.shape[1], num_classes, subsets.shape[2]), jnp.float32)
    for cost in costs:
        weights, objective, unsettled = _minimise(kind, features, targets, subsets, jnp.float32(cost), weights)
        yield Fit(cost, weights, np.asarray(objective, np.float64), np.asarray(unsettled, np.float64))


def scores(fit: Fit, features) -> jax.Array:
    """(N, K, S): what each class's classifier says of features (N, D), rotated as those that it learned from."""
    return _product(jnp.asarray(features, jnp.float32), fit.weights[:-1]) + fit.weights[-1]


def _product(features, weights):
    return (features @ weights.reshape(weights.shape[0], -1)).reshape(-1, *weights.shape[1:])


def _squared_hinge(outputs, targets, subsets):
    """Losses (N, K, S), their slopes, and the product of their curvature with changes of the outputs, with its diagonal."""
    signs = 2 * targets - 1
    slack = jnp.maximum(0, 1 - signs * outputs)
    curvature = 2 * subsets * (slack > 0)
    return subsets * slack**2, -2 * subsets * signs * slack, lambda change: curvature * change, curvature


def _logistic(outputs, targets, subsets):
    logarithms = jax.nn.log_softmax(outputs, axis=1)
    shares = jnp.exp(logarithms)

    def bent(change):
        return subsets * shares * (change - jnp.sum(shares * change, axis=1, keepdims=True))

    return -subsets * targets * logarithms, subsets * (shares - targets), bent, subsets * shares * (1 - shares)


@functools.partial(jax.jit, static_argnames='kind')
def _minimise(kind, features, targets, subsets, cost, weights):
    """(weights, objective (S,), unsettled (S,)) from where `weights` (D + 1, K, S) begin."""
    losses = {'svm': _squared_hinge, 'softmax': _logistic}[kind]
    # A problem is what a step length belongs to: each class and subset of an SVM, each subset of a softmax.
    problem = functools.partial(jnp.sum, axis=0 if kind == 'svm' else (0, 1), keepdims=True)
    penalty = jnp.ones((len(weights), 1, 1)).at[-1].set(kind == 'svm')
    variances = jnp.mean(features**2, axis=0)[:, None, None]

    def objective(weights, outputs):
        return problem(penalty * weights**2) / 2 + cost * problem(losses(outputs, targets, subsets)[0])

    def newton(state):
        count, weights, outputs, value, _, _ = state
        _, slopes, bent, diagonal = losses(outputs, targets, subsets)
        gradient = penalty * weights + cost * _product(features.T, slopes)
        preconditioner = 1 / jnp.maximum(penalty + cost * jnp.sum(diagonal, axis=0) * variances, _TINY)
        step, change = _conjugate_gradients(
            lambda direction, change: penalty * direction + cost * _product(features.T, bent(change)),
            -gradient,
            preconditioner,
            features,
            problem,
        )
        promised = -problem(gradient * step) / 2

        def trial(length):
            return objective(weights + length * step, outputs + length * change)

        def halve(search):
            count, length, reached = search
            length = jnp.where(reached < value, length, length / 2)
            return count + 1, length, trial(length)

        first = jnp.ones_like(value)
        _, length, reached = jax.lax.while_loop(
            lambda search: (search[0] < HALVINGS) & jnp.any((search[2] >= value) & (promised > TOLERANCE * value)),
            halve,
            (0, first, trial(first)),
        )
        better = reached < value
        weights = jnp.where(better, weights + length * step, weights)
        outputs = _product(features, weights)
        return count + 1, weights, outputs, objective(weights, outputs), promised, better

    def going(state):
        count, _, _, value, promised, moved = state
        return (count < NEWTON_STEPS) & jnp.any((promised > TOLERANCE * value) & moved)

    outputs = _product(features, weights)
    value = objective(weights, outputs)
    begin = (0, weights, outputs, value, jnp.full_like(value, jnp.inf), jnp.ones_like(value, bool))
    _, weights, _, value, promised, _ = jax.lax.while_loop(going, newton, begin)
    return weights, jnp.sum(value, (0, 1)), jnp.sum(promised, (0, 1)) / jnp.sum(value, (0, 1))


def _conjugate_gradients(curved, residual, preconditioner, features, problem):
    """(step, features @ step) that bring `residual` to a tenth in every problem; curved(direction, features @ direction)."""

    def advance(state):
        count, step, change, residual, direction, size = state
        along = _product(features, direction)
        bent = curved(direction, along)
        curvature = problem(direction * bent)
        # Where rounding is all that is left of a residual, it points to where nothing curves: the same bias more for every class.
        sound = (size > ENOUGH * first) & (curvature > _FLAT * problem(direction**2 / preconditioner))
        length = jnp.where(sound, size / jnp.maximum(curvature, _TINY), 0)
        step, residual = step + length * direction, residual - length * bent
        conditioned = preconditioner * residual
        after = jnp.where(sound, problem(residual * conditioned), 0)
        direction = conditioned + after / jnp.maximum(size, _TINY) * direction
        return count + 1, step, change + length * along, residual, direction, after

    def going(state):
        return (state[0] < CONJUGATE_STEPS) & jnp.any(state[5] > ENOUGH * first)

    direction = preconditioner * residual
    first = problem(residual * direction)
    none = jnp.zeros_like(residual)
    begin = (0, none, jnp.zeros((len(features), *none.shape[1:])), residual, direction, first)
    return jax.lax.while_loop(going, advance, begin)[1:3]
