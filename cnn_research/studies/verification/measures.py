"""How alike two faces are by their features, and how often that tells one person from two (Taigman et al. 2014, sections 4 and 5).

Scores rise with likeness. Whatever is chosen (a threshold, weights, the largest feature values) is chosen on pairs or images of people
that the judged pairs do not have.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.data.pairs import Pairs
from cnn_research.errors import ConfigError
from cnn_research.optional import needed

LEARNED = ('weighted', 'svm')  # by an SVM on pairs, said to be of one person or of two
_FOLDS = 3  # of the pairs, in which an SVM's C is chosen
_PASSES = 5000
_GRID = np.linspace(0, 1, 201)  # shares of false accepts at which curves are averaged


class Scored(NamedTuple):
    """What a measure says of every pair (P,), each by what was chosen for its fold; thresholds, costs: (F,), of each fold, the latter NaN
    where there is no SVM; unsettled: SVMs that stopped before they had settled."""

    scores: np.ndarray
    thresholds: np.ndarray
    costs: np.ndarray
    unsettled: int


def unit(features: np.ndarray) -> np.ndarray:
    """(N, D), each of length 1; rows of zeros stay."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-30)


def scaled(features: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Features (N, D), none below 0, divided by the largest value that each has in training, learned (M, D), then of length 1 (Taigman et
    al. 2014, section 4.1). A feature that is 0 in all of the training tells nothing, and is 0. ConfigError for features below 0."""
    if min(features.min(), learned.min()) < 0:
        raise ConfigError(
            'the features go below 0, and so have no chi-squared; take a network with a rectifier or a sigmoid below its classes.'
        )
    largest = np.asarray(learned).max(axis=0)
    return unit(np.where(largest > 0, features / np.where(largest > 0, largest, 1), 0).astype(np.float32))


def chi_squared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P, D): (f1 - f2)^2 / (f1 + f2) of each feature, none below 0; 0 where both are 0."""
    total = first + second
    return np.where(total > 0, (first - second) ** 2 / np.where(total > 0, total, 1), 0)


def _elements(measure: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P, D): what an SVM weighs."""
    return chi_squared(first, second) if measure == 'weighted' else np.abs(first - second)


def plain(measure: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P,): a measure of which nothing is learned."""
    if measure == 'inner':
        return np.einsum('pd,pd->p', unit(first), unit(second))
    if measure == 'euclidean':
        return -np.linalg.norm(first - second, axis=1)
    return -chi_squared(first, second).sum(axis=1)


def threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """The border at or above which most pairs (n,) are rightly called the same; of equally good ones the middle one.

    Borders lie half-way between neighbouring scores, or beyond all of them.
    """
    order = np.argsort(scores, kind='stable')
    ranked, alike = scores[order], same[order]
    # Border i has i pairs below it, which are called different.
    right = np.concatenate([[0], np.cumsum(~alike)]) + alike.sum() - np.concatenate([[0], np.cumsum(alike)])
    possible = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])
    borders = np.concatenate([[ranked[0] - 1], (ranked[1:] + ranked[:-1]) / 2, [ranked[-1] + 1]])
    best = np.flatnonzero(possible & (right == right[possible].max()))
    return float(borders[best[(len(best) - 1) // 2]])


def chosen(scores: np.ndarray, pairs: Pairs, tuning: Sequence[np.ndarray]) -> Scored:
    """Scores (P,) of which nothing was learned, with a threshold for each fold; tuning: of each fold, the other folds that choose it."""
    thresholds = [threshold(scores[told], pairs.same[told]) for told, _ in _parts(pairs, tuning)]
    return Scored(scores, np.array(thresholds), np.full(pairs.folds, np.nan), 0)


def _parts(pairs, tuning):
    """For each fold (which pairs something is chosen on, which are judged)."""
    for fold in range(pairs.folds):
        told, mine = np.isin(pairs.fold, tuning[fold]), pairs.fold == fold
        if told[mine].any() or not told.any():
            raise ValueError(f'fold {fold} is to be judged by itself, or by nothing')
        yield told, mine


def scored(
    measure: str,
    features: Callable[[int], np.ndarray],
    pairs: Pairs,
    tuning: Sequence[np.ndarray],
    costs: Sequence[float] = (1.0,),
) -> Scored:
    """A measure's scores of all pairs. features(fold) -> (N, D) of all examples, as they are for the pairs of that fold; tuning: of each
    fold, the other folds in whose pairs its threshold, weights and C (of `costs`) are chosen.

    Raises ConfigError where scikit-learn is missing.
    """
    scores, thresholds, best, unsettled = np.zeros(len(pairs.first)), [], [], 0
    known: tuple = (None, None)
    for fold, (told, mine) in enumerate(_parts(pairs, tuning)):
        array = features(fold)
        if measure in LEARNED:
            used = told | mine
            elements = _elements(measure, *(array[side[used]] for side in (pairs.first, pairs.second)))
            lines, cost, open_ = _weighed(elements, told[used], pairs.same[told], costs)
            of_told, of_mine, unsettled = lines[told[used]], lines[mine[used]], unsettled + open_
        else:
            if known[0] is not array:  # features that are the same for all folds are compared once
                known = array, plain(measure, array[pairs.first], array[pairs.second])
            cost, of_told, of_mine = np.nan, known[1][told], known[1][mine]
        scores[mine] = of_mine
        thresholds.append(threshold(of_told, pairs.same[told]))
        best.append(cost)
    return Scored(scores, np.array(thresholds), np.array(best), unsettled)


def _weighed(elements: np.ndarray, told: np.ndarray, same: np.ndarray, costs: Sequence[float]) -> tuple[np.ndarray, float, int]:
    """(scores (n,) of elements (n, D), the C, SVMs that did not settle): a linear SVM on those that are told to be the same or not."""
    svm = needed('sklearn.svm', 'the weighted chi-squared and the linear SVM')
    # C has a meaning where the elements have a size: their mean length is 1.
    elements = elements / max(np.linalg.norm(elements[told], axis=1).mean(), 1e-30)
    taught, open_ = elements[told], 0

    def fitted(chosen, cost):
        nonlocal open_
        model = svm.LinearSVC(C=cost, dual='auto', max_iter=_PASSES, random_state=0)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            model.fit(taught[chosen], same[chosen])
        open_ += any('converge' in str(one.message) for one in said)
        return model

    turns = min(_FOLDS, int(same.sum()), int((~same).sum()))
    # Of fewer than two pairs of a kind none can be held out: then it is the value in the middle.
    best, everything = costs[len(costs) // 2], np.ones(len(taught), bool)
    if len(costs) > 1 and turns > 1:
        held = np.zeros(len(taught), int)  # each kind of pair takes turns
        for kind in (True, False):
            held[same == kind] = np.arange((same == kind).sum()) % turns
        right = [
            np.mean([(fitted(held != out, cost).predict(taught[held == out]) == same[held == out]).mean() for out in range(turns)])
            for cost in costs
        ]
        best = costs[int(np.argmax(right))]
    return fitted(everything, best).decision_function(elements), float(best), open_


def accuracies(scores: np.ndarray, thresholds: np.ndarray, pairs: Pairs) -> np.ndarray:
    """(F,): of each fold the share of pairs that its threshold tells rightly."""
    right = (scores >= thresholds[pairs.fold]) == pairs.same
    return np.array([right[pairs.fold == fold].mean() for fold in range(pairs.folds)])


def curve(scores: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(shares of pairs of two persons that are accepted, of one person's that are): at every border from the highest score down."""
    order = np.argsort(-scores, kind='stable')
    last = np.append(scores[order][1:] != scores[order][:-1], True)  # equal scores pass together
    accepted = [np.append(0.0, np.cumsum(kind[order])[last] / max(kind.sum(), 1)) for kind in (~same, same)]
    return accepted[0], accepted[1]


def equal_error_rate(scores: np.ndarray, same: np.ndarray) -> float:
    """Where as large a share of one person's pairs is rejected as of two persons' accepted, on the straight line between borders."""
    false, true = curve(scores, same)
    gap = false - (1 - true)  # rises from -1 to 1
    at = int(np.argmax(gap >= 0))
    weight = gap[at] / (gap[at] - gap[at - 1])
    return float(false[at] + weight * (false[at - 1] - false[at]))


def mean_curve(scores: np.ndarray, pairs: Pairs) -> np.ndarray:
    """(201,): the mean over folds of the share accepted of one person's pairs, at 0, 0.5, ... 100 % of two persons' accepted."""
    found = []
    for fold in range(pairs.folds):
        false, true = curve(scores[pairs.fold == fold], pairs.same[pairs.fold == fold])
        found.append(np.interp(_GRID, false, true))  # of borders that share a false rate the highest counts
    return np.mean(found, axis=0)


def hardest(scores: np.ndarray, thresholds: np.ndarray, pairs: Pairs, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(pairs of two persons that are most surely called one, pairs of one that are most surely called two), at most `count` of each, the
    worst first; sure by the distance from their fold's threshold, in its fold's standard deviations of scores."""
    spread = np.array([max(scores[pairs.fold == fold].std(), 1e-30) for fold in range(pairs.folds)])
    margin = (scores - thresholds[pairs.fold]) / spread[pairs.fold]
    accepted, rejected = np.flatnonzero(~pairs.same & (margin >= 0)), np.flatnonzero(pairs.same & (margin < 0))
    return accepted[np.argsort(-margin[accepted], kind='stable')][:count], rejected[np.argsort(margin[rejected], kind='stable')][:count]
