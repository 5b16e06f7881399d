"""Linear classifiers on fixed features, fitted on the accelerator: what a layer knows, as far as a linear SVM or a softmax can read it.

Both minimise 1/2 |w|^2 + C sum of losses, as scikit-learn's LinearSVC and LogisticRegression do. The minimum is a combination of the
training examples, so the features are first turned into the examples' own directions (`turn`): at most one for each example, however many
features there are, centred and uncorrelated, which is what the preconditioner needs. Newton's method with conjugate gradients does the
rest: all classes and several subsets of the training examples at once, from the smallest C to the largest, each beginning where the last
one ended.

Features of one scale and without an offset, such as standardised ones, are fitted in float32; others, and what float32 could not settle,
in float64. Two classes are no case of their own: the SVM has two classifiers that mirror each other, whose decision is LinearSVC's and
whose objective is twice its; the softmax has weights for both classes, so that its decision at C is that of scikit-learn's binary
LogisticRegression at 2 C.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

KINDS = ('svm', 'softmax')
TOLERANCE = 1e-5  # a fit has settled where a further Newton step promises at most this share of the objective
EVEN = 100.0  # features none of whose deviations and means is larger, or this many times the smallest deviation, are fitted in float32
NEWTON_STEPS, HALVINGS, BISECTIONS = 60, 12, 40
ENOUGH = 1e-2  # of the squared residual, where conjugate gradients end
_TINY = 1e-30


class Turned(NamedTuple):
    """N examples in their own directions, float32 or, where that is too coarse, float64: jax computes with these only in `coordinates`,
    `fits` and `scores`; elsewhere take np.asarray of them.

    coordinates: (N, R), (features - mean) @ axes, uncorrelated; mean: (D,) float64; axes: (D, R) orthonormal, R = min(N, D), whose span
    holds the examples; offset: (R,), mean @ axes.
    """

    coordinates: jax.Array
    mean: jax.Array
    axes: jax.Array
    offset: jax.Array


class Fit(NamedTuple):
    """The classifiers of one C. weights: (R + 1, K, S) for R coordinates, K classes and S subsets, in the last row what they say of the
    mean; objective: (S,), over all classes; unsettled: (S,), the share of it that a further Newton step promises."""

    cost: float
    weights: jax.Array
    objective: np.ndarray
    unsettled: np.ndarray

    @property
    def settled(self) -> np.ndarray:
        """(S,) bool: False where the minimum was not reached, or nothing is known of it."""
        return self.unsettled <= TOLERANCE


def turn(features) -> Turned:
    """Features (N, D), float32 or float64, as what `fits` learns from."""
    with jax.enable_x64(True):
        features = jnp.asarray(features)
        mean, deviation = _moments(features)
        varying = deviation[deviation > 0]
        even = varying.size and max(deviation.max(), jnp.abs(mean).max()) <= EVEN * min(1, varying.min())
        return _turned(features, jnp.asarray(mean), 'float32' if even else 'float64')


def coordinates(turned: Turned, features) -> jax.Array:
    """(M, R): other features (M, D) in the directions of those that were turned."""
    with jax.enable_x64(True):
        return _coordinates(jnp.asarray(features), turned.mean, turned.axes)


def fits(kind: str, features, labels, num_classes: int, costs: Sequence[float], subsets=None) -> Iterator[Fit]:
    """Fits a classifier for each of `costs` (C, ascending) on every subset.

    features: Turned, or (N, D); labels: (N,) from 0; subsets: (N, S) bool, the examples that each of S classifiers learns from (default:
    one that learns from all). kind 'svm': one against the rest for every class, squared hinge, the bias regularised like a weight of a
    feature that is 1 (LinearSVC with intercept_scaling=1); 'softmax': multinomial, the bias free (LogisticRegression).
    """
    turned = features if isinstance(features, Turned) else turn(features)
    count, directions = turned.coordinates.shape
    subsets = np.ones((count, 1), bool) if subsets is None else np.asarray(subsets, bool)
    weights, kinds = np.zeros((directions + 1, num_classes, subsets.shape[1]), np.float32), [turned.coordinates.dtype.name]
    kinds += ['float64'] * (kinds == ['float32'])
    for cost in costs:
        while True:
            with jax.enable_x64(True):
                precise = [jnp.asarray(array, kinds[0]) for array in (turned.coordinates, turned.offset, subsets, cost, weights)]
                found = _minimise(kind, *precise[:2], jnp.asarray(labels), *precise[2:])
            weights, *told = found
            fit = Fit(cost, weights, *(np.asarray(each, np.float64) for each in told))
            if fit.settled.all() or len(kinds) == 1:
                break
            kinds = kinds[1:]
        yield fit


def scores(fit: Fit, coordinates) -> jax.Array:
    """float32 (M, K, S): what each class's classifier says of examples with these coordinates (M, R)."""
    with jax.enable_x64(True):
        return _scores(coordinates, fit.weights)


@jax.jit
def _moments(features):
    features = features.astype(jnp.float64)
    return jnp.mean(features, axis=0), jnp.std(features, axis=0)


@functools.partial(jax.jit, static_argnames='precision')
def _turned(features, mean, precision):
    count, dimensions = features.shape
    if dimensions <= count:
        centred = (features - mean).astype(precision)
        axes = jnp.linalg.eigh(_matmul(centred.T, centred))[1]
        turned = _matmul(centred, axes)
    else:
        # The orthogonal factor keeps the small directions exact, which rounding would drown in a Gram matrix.
        orthogonal, upper = jnp.linalg.qr(features.T.astype(precision))
        upper -= jnp.mean(upper, axis=1, keepdims=True)
        own = jnp.linalg.eigh(_matmul(upper, upper.T))[1]
        axes, turned = _matmul(orthogonal, own), _matmul(upper.T, own)
    return Turned(turned, mean, axes, _matmul(mean.astype(precision), axes))


@jax.jit
def _coordinates(features, mean, axes):
    return _matmul((features - mean).astype(axes.dtype), axes)


@jax.jit
def _scores(coordinates, weights):
    coordinates = coordinates.astype(jnp.promote_types(coordinates.dtype, weights.dtype))
    return (_product(coordinates, weights[:-1]) + weights[-1]).astype(jnp.float32)


def _matmul(left, right):
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def _product(features, weights):
    return _matmul(features, weights.reshape(weights.shape[0], -1)).reshape(-1, *weights.shape[1:])


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


class _Metric(NamedTuple):
    """1/2 |w|^2 + 1/2 regularised b^2 as a function of (w, b + offset w): the classifier's weights and what it says of the mean."""

    offset: jax.Array  # (R, 1, 1); 0 where the bias is free
    regularised: bool

    def applied(self, weights):
        """The penalty's Hessian times weights (R + 1, K, S)."""
        bias = self.regularised * (weights[-1:] - jnp.sum(self.offset * weights[:-1], axis=0, keepdims=True))
        return jnp.concatenate([weights[:-1] - self.offset * bias, bias])

    def squared(self, weights):
        """Per weight, what adds up to |w|^2 + regularised b^2."""
        bias = self.regularised * (weights[-1:] - jnp.sum(self.offset * weights[:-1], axis=0, keepdims=True))
        return jnp.concatenate([weights[:-1], bias]) ** 2

    def solved(self, curvature, residual):
        """residual over the penalty's Hessian plus diag(curvature): exact, because what the offset adds has rank one."""
        diagonal, last = 1 + curvature[:-1], self.regularised + curvature[-1:]
        right = residual[:-1] + self.offset * residual[-1:] / last
        plain, bent = right / diagonal, self.offset / diagonal
        share = curvature[-1:] / last
        along = jnp.sum(self.offset * plain, axis=0, keepdims=True)
        first = plain - bent * (share * along / (1 + share * jnp.sum(self.offset * bent, axis=0, keepdims=True)))
        inner = jnp.sum(self.offset * first, axis=0, keepdims=True)
        return jnp.concatenate([first, (residual[-1:] + inner) / last])


@functools.partial(jax.jit, static_argnames='kind')
def _minimise(kind, features, offset, labels, subsets, cost, weights):
    """(weights, objective (S,), unsettled (S,)) from where `weights` (R + 1, K, S) begin; all of one precision."""
    losses = {'svm': _squared_hinge, 'softmax': _logistic}[kind]
    # Where a scale of features is large against 1 / C, any descent is not enough; in float32 rounding would hide the exact place.
    exact = features.dtype == jnp.float64
    # A problem is what a step length belongs to: each class and subset of an SVM, each subset of a softmax.
    problem = functools.partial(jnp.sum, axis=0 if kind == 'svm' else (0, 1), keepdims=True)
    metric = _Metric((offset if kind == 'svm' else jnp.zeros_like(offset))[:, None, None], kind == 'svm')
    features = jnp.concatenate([features, jnp.ones((len(features), 1), features.dtype)], axis=1)
    variances = jnp.mean(features**2, axis=0)[:, None, None]
    targets, subsets = jax.nn.one_hot(labels, weights.shape[1], dtype=features.dtype)[..., None], subsets[:, None]  # (N, K, 1), (N, 1, S)

    def objective(weights, outputs):
        return problem(metric.squared(weights)) / 2 + cost * problem(losses(outputs, targets, subsets)[0])

    def newton(state):
        count, weights, outputs, value, _, _ = state
        _, slopes, bent, diagonal = losses(outputs, targets, subsets)
        gradient = metric.applied(weights) + cost * _product(features.T, slopes)
        curvature = jnp.maximum(cost * jnp.sum(diagonal, axis=0) * variances, _TINY)
        step, change = _conjugate_gradients(
            lambda direction, change: metric.applied(direction) + cost * _product(features.T, bent(change)),
            -gradient,
            functools.partial(metric.solved, curvature),
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

        def uphill(length):
            slopes = losses(outputs + length * change, targets, subsets)[1]
            return problem(step * metric.applied(weights + length * step)) + cost * problem(slopes * change) > 0

        def bisect(search):
            count, low, high = search
            middle = (low + high) / 2
            up = uphill(middle)
            return count + 1, jnp.where(up, low, middle), jnp.where(up, middle, high)

        first = jnp.ones_like(value)
        if exact:
            up = uphill(first)
            begin = (0, jnp.where(up, 0, first), first)
            _, low, high = jax.lax.while_loop(lambda search: (search[0] < BISECTIONS) & jnp.any(up), bisect, begin)
            length = (low + high) / 2
            reached = trial(length)
        else:
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


def _conjugate_gradients(curved, residual, conditioned, features, problem):
    """(step, features @ step) that bring `residual` to a tenth in every problem; curved(direction, features @ direction)."""
    most, flat = (100, 1e-6) if residual.dtype == jnp.float32 else (400, 1e-15)

    def advance(state):
        count, step, change, residual, direction, size = state
        along = _product(features, direction)
        bent = curved(direction, along)
        curvature = problem(direction * bent)
        # Where rounding is all that is left of a residual, it points to where nothing curves: the same bias more for every class.
        sound = (size > ENOUGH * first) & (curvature > flat * size)
        length = jnp.where(sound, size / jnp.maximum(curvature, _TINY), 0)
        step, residual = step + length * direction, residual - length * bent
        toward = conditioned(residual)
        after = jnp.where(sound, problem(residual * toward), 0)
        direction = toward + after / jnp.maximum(size, _TINY) * direction
        return count + 1, step, change + length * along, residual, direction, after

    def going(state):
        return (state[0] < most) & jnp.any(state[5] > ENOUGH * first)

    direction = conditioned(residual)
    first = problem(residual * direction)
    none = jnp.zeros_like(residual)
    begin = (0, none, jnp.zeros((len(features), *none.shape[1:]), none.dtype), residual, direction, first)
    return jax.lax.while_loop(going, advance, begin)[1:3]
