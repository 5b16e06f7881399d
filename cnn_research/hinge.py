"""Linear SVMs with the hinge itself as their loss, as liblinear fits them: slower than the probes, whose loss is its square.

They minimise 1/2 |w|^2 + C sum of max(0, 1 - y f(x)), one class against the rest, the bias regularised like a weight of a feature that is
1: scikit-learn's LinearSVC with loss='hinge'.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research.optional import needed

KIND = 'hinge'
_PASSES = 20_000  # of liblinear over the examples


class Fit(NamedTuple):
    """The classifiers of one C. weights: (D + 1, K, S), the last row the bias; unsettled: (S,), 0 where liblinear reached its minimum and
    inf where it gave up."""

    cost: float
    weights: np.ndarray
    unsettled: np.ndarray


def fits(features: np.ndarray, labels: np.ndarray, num_classes: int, costs: Sequence[float], subsets: np.ndarray) -> Iterator[Fit]:
    """A classifier for each of `costs` on every subset: features (N, D), labels (N,), subsets (N, S) bool, of which each has every class.

    Raises ConfigError where scikit-learn is missing.
    """
    svm = needed('sklearn.svm', 'the hinge loss')
    ones = np.ones((len(features), 1), features.dtype)
    features = np.ascontiguousarray(np.concatenate([features, ones], axis=1), np.float64)
    for cost in costs:
        weights, unsettled = np.empty((features.shape[1], num_classes, subsets.shape[1]), np.float32), np.zeros(subsets.shape[1])
        for place, chosen in enumerate(subsets.T):
            model = svm.LinearSVC(C=cost, loss='hinge', dual=True, fit_intercept=False, max_iter=_PASSES, random_state=0)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter('always')
                model.fit(features[chosen], labels[chosen])
            unsettled[place] = np.inf if any('converge' in str(one.message) for one in said) else 0.0
            # Of two classes there is one classifier, that of the second.
            found = model.coef_ if num_classes > 2 else np.concatenate([-model.coef_, model.coef_])
            weights[..., place] = found.T
        yield Fit(cost, weights, unsettled)


def scores(fit: Fit, features) -> jax.Array:
    """(M, K, S): what each class's classifier says of features (M, D)."""
    weights = jnp.asarray(fit.weights)
    return jnp.tensordot(jnp.asarray(features, jnp.float32), weights[:-1], 1, precision='highest') + weights[-1]
