"""How features are judged: random splits, regularisation chosen inside the training part, mean accuracy per class.

Zeiler & Fergus 2013, section 5.4 and Table 7; Donahue et al. 2013 (DeCAF), section 4.1: n training images of each class and the rest, or up
to 50, for the test, over five random splits; the regularisation by cross-validation on the training part alone.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import hinge, probes
from cnn_research.errors import ConfigError

KINDS = (*probes.KINDS, hinge.KIND)

NORMALIZATIONS = {
    'standardised': 'each feature less its mean, over its standard deviation, both of the training part, whose folds share them',
    'l2': 'each example over its Euclidean length',
    'raw': 'as they are',
}


class Protocol(NamedTuple):
    """How features are probed.

    kinds: of KINDS; costs: the values of C to choose from, rising, of which a single one is taken as it is; folds: of the cross-validation.
    power: what the size of each feature is raised to before the normalization, its sign kept (Razavian et al. 2014: 2). dropout: the share
    of a training example's features that is set to 0, once for each example, after the normalization; at test all are there, times one
    minus the share (Donahue et al. 2013, section 4.1).
    """

    kinds: tuple[str, ...] = probes.KINDS
    costs: tuple[float, ...] = (1e-3, 1e-1, 10.0)
    folds: int = 5
    normalization: str = 'standardised'
    power: float = 1.0
    dropout: float = 0.0


class Split(NamedTuple):
    """Indices of the examples of one random split: train (K, n), those of a class in a row, and test (M,)."""

    train: np.ndarray
    test: np.ndarray


class Outcome(NamedTuple):
    """Of one probe: the mean accuracy per class on the test part, the C that cross-validation chose, its accuracy there for each C
    (shares of 1; None where there was one C alone), and the share of the objective that the worst of its fits, of any C and fold, still
    expected to gain."""

    accuracy: float
    cost: float
    validation: list[float | None]
    unsettled: float

    @property
    def settled(self) -> bool:
        """False where a fit did not reach its minimum (probes.TOLERANCE), so that the accuracy may be another."""
        return self.unsettled <= probes.TOLERANCE


def draw(labels: np.ndarray, num_classes: int, per_class: int, test_per_class: int, count: int, seed: int, learned=None) -> list[Split]:
    """`count` random splits of examples with these labels (N,): up to test_per_class of a class for the test, at most half of what it has,
    then up to per_class for training, as many for every class as the smallest still has.

    learned: (N,) bool, where the network was trained on some of the examples: these are for training, the others for the test.
    The test parts depend on seed and test_per_class alone, and a smaller training part is the beginning of a larger one.
    """
    splits = []
    for number in range(count):
        random = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
        train, test = [], []
        for label in range(num_classes):
            own = random.permutation(np.flatnonzero(labels == label))
            free, usable = (own, own) if learned is None else (own[~learned[own]], own[learned[own]])
            taken = free[: min(test_per_class, len(free) // 2 if learned is None else len(free))]
            test.append(taken)
            train.append(usable[~np.isin(usable, taken)])
        n = min([per_class, *map(len, train)])
        splits.append(Split(np.stack([indices[:n] for indices in train]), np.concatenate(test)))
    return splits


def exact(
    labels: np.ndarray,
    class_names: Sequence[str],
    sizes: Sequence[int],
    test_per_class: int,
    count: int,
    seed: int,
    learned: np.ndarray | None = None,
) -> dict[int, list[Split]]:
    """{n per class: `count` random splits}: exactly n training images of each class, for each of `sizes`, and at most test_per_class of
    those that the largest leaves for the test, 0 = all of them, the same for every n (Zeiler & Fergus 2013, section 5.3; Donahue et al.
    2013). A smaller training part is the beginning of a larger one.

    learned: as in `draw`. ConfigError, with the largest n that fits, where a class has too few, and where one has none for the test.
    """
    found: dict[int, list[Split]] = {size: [] for size in sizes}
    for number in range(count):
        random = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
        train, test = [], []
        for label, name in enumerate(class_names):
            own = random.permutation(np.flatnonzero(labels == label))
            free, usable = (own[max(sizes) :], own) if learned is None else (own[~learned[own]], own[learned[own]])
            fits = len(usable) - (learned is None)
            if max(sizes) > fits:
                smallest = np.bincount(labels if learned is None else labels[learned], minlength=len(class_names)).min()
                rest = ' and one for the test' if learned is None else ', of those that a network learned from'
                raise ConfigError(
                    f'{max(sizes)} training images of each class{rest}, but {name} has {len(usable)}; '
                    f'the largest number that fits every class is {smallest - (learned is None)}.'
                )
            if not len(free):
                raise ConfigError(f'{name} has no image for the test: all of them were learned from by a network; name another split.')
            train.append(usable)
            test.append(free[: test_per_class or None])
        for size, splits in found.items():
            splits.append(Split(np.stack([indices[:size] for indices in train]), np.concatenate(test)))
    return found


def folds(labels: np.ndarray, per_class: int, count: int) -> np.ndarray:
    """int (N,): which of at most `count` folds holds each example out, of labels (N,) with per_class examples each, which take turns."""
    fold = np.empty(len(labels), int)
    for label in np.unique(labels):
        fold[labels == label] = np.arange(per_class) % min(count, per_class)
    return fold


def draws(labels: np.ndarray, num_classes: int, sizes: Sequence[int], test_per_class: int, count: int, seed: int, learned=None):
    """{n per class: its splits} as `draw` makes them; sizes that the data do not have become the largest that they have."""
    found = {}
    for size in sizes:
        splits = draw(labels, num_classes, size, test_per_class, count, seed, learned)
        found[splits[0].train.shape[1]] = splits
    return found


def gathered(drawn: Mapping[int, Sequence[Split]]) -> tuple[np.ndarray, dict[int, list[Split]]]:
    """(the examples that occur in any split, rising; the same splits as places among these)."""
    used = np.unique(np.concatenate([np.ravel(part) for splits in drawn.values() for split in splits for part in split]))
    return used, {size: [Split(*(np.searchsorted(used, part) for part in split)) for split in splits] for size, splits in drawn.items()}


def normalised(train: jax.Array, test: jax.Array, how: str, power: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """Both parts (N, D), raised to the signed power, under one of NORMALIZATIONS; nothing of the test part tells on the training part, or
    on another test example."""
    if power != 1:
        train, test = (jnp.sign(part) * jnp.abs(part) ** power for part in (train, test))
    if how == 'standardised':
        with jax.enable_x64(True):  # an offset that is large against the deviation leaves float32 neither
            return _standardised(jnp.asarray(train), jnp.asarray(test))
    if how == 'l2':
        return tuple(part / jnp.maximum(jnp.linalg.norm(part, axis=1, keepdims=True), 1e-30) for part in (train, test))
    return train, test


@jax.jit
def _standardised(train, test):
    mean, deviation = (of(train.astype(jnp.float64), axis=0) for of in (jnp.mean, jnp.std))
    # A feature that never changes in training says nothing, whatever rounding leaves of it.
    scale = jnp.where(deviation > 1e-6 * (jnp.abs(mean) + 1e-30), 1 / jnp.maximum(deviation, 1e-30), 0)
    return tuple(((part - mean) * scale).astype(jnp.float32) for part in (train, test))


def mean_class_accuracy(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> float:
    """The mean over the classes that occur of the share that is named right (Zeiler & Fergus 2013, section 5.3)."""
    counts = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[labels == predicted], minlength=num_classes)
    return float(np.mean(right[counts > 0] / counts[counts > 0]))


def probe(features: np.ndarray, labels: np.ndarray, split: Split, protocol: Protocol) -> dict[str, Outcome]:
    """{kind: Outcome} of the features (N, D) of all examples, with their labels (N,), under one split.

    Features (V, N, D) are those of V views of each example: all are learned from, and what a classifier says of them is summed.

    With several costs, cross-validation needs two or more training examples of each class. All folds share the normalisation of the whole
    training part: their own would bend the penalty of each fold alone, and so need a rotation, or half as many products again, for each.
    The mean and deviation of a fold's held-out images, never their labels, so help to choose C; nothing of the test part does. It is read
    once, with the C that the folds chose; of equally good ones the smallest.
    """
    num_classes, per_class = split.train.shape
    features = np.asarray(features)
    features = features if features.ndim == 3 else features[None]
    views = len(features)
    train, test = (np.concatenate(features[:, np.sort(part, axis=None)]) for part in split)
    labels, test_labels = (np.asarray(labels)[np.sort(part, axis=None)] for part in split)
    train, test = normalised(jnp.asarray(train), jnp.asarray(test), protocol.normalization, protocol.power)
    kept = 1 - protocol.dropout
    seen, test = (train * kept, test * kept) if protocol.dropout else (train, test)
    learned = jnp.where(jax.random.bernoulli(jax.random.key(0), kept, train.shape), train, 0) if protocol.dropout else train
    fold = folds(labels, per_class, protocol.folds) if len(protocol.costs) > 1 else np.zeros(len(labels), int)
    # One subset for each fold that is held out, and one of everything.
    held = (fold[:, None] == np.arange(fold.max() + 1)) & (len(protocol.costs) > 1)
    held = held[:, held.any(0)]
    subsets = np.concatenate([~held, np.ones((len(fold), 1), bool)], axis=1)

    def said(scores):
        return np.asarray(jnp.argmax(jnp.sum(scores.reshape(views, -1, *scores.shape[1:]), 0), axis=1))

    turned = functools.cache(functools.partial(probes.turn, learned))  # a good part of a fit, and the same for every kind
    found = {}
    for kind in protocol.kinds:
        validation, tested, unsettled = [], [], []
        taught = turned, np.tile(labels, views), num_classes, protocol.costs, np.tile(subsets, (views, 1))
        for fit in _fitted(kind, learned, seen, test, *taught):
            on_seen, on_test = said(fit.seen), said(fit.test)
            right = [mean_class_accuracy(labels[out], on_seen[out, number], num_classes) for number, out in enumerate(held.T)]
            validation.append(float(np.mean(right)) if right else None)
            tested.append(on_test[:, -1])
            unsettled.append(fit.unsettled)
        best = int(np.argmax(validation)) if held.size else 0
        accuracy = mean_class_accuracy(test_labels, tested[best], num_classes)
        found[kind] = Outcome(accuracy, protocol.costs[best], validation, float(np.max(unsettled)))
    return found


class _Fitted(NamedTuple):
    """seen, test: what the classifiers of one C say of both parts, (N, K, S) and (M, K, S); unsettled: of the worst of them."""

    seen: jax.Array
    test: jax.Array
    unsettled: float


def _fitted(kind, learned, seen, test, turned, labels, num_classes, costs, subsets) -> Iterator[_Fitted]:
    """The classifiers of each cost, of features that are learned from, and of those that they are shown, (N, D) and (M, D); turned(): the
    first of these as probes learn from them."""
    if kind == hinge.KIND:
        for fit in hinge.fits(np.asarray(learned), labels, num_classes, costs, subsets):
            yield _Fitted(hinge.scores(fit, seen), hinge.scores(fit, test), float(fit.unsettled.max()))
        return
    own = turned()
    shown = own.coordinates if seen is learned else probes.coordinates(own, seen)
    test = probes.coordinates(own, test)
    for fit in probes.fits(kind, own, labels, num_classes, costs, subsets):
        yield _Fitted(probes.scores(fit, shown), probes.scores(fit, test), float(fit.unsettled.max()))


def learning_curve(features: np.ndarray, labels: np.ndarray, drawn: Mapping[int, Sequence[Split]], protocol: Protocol) -> dict:
    """{kind: {n per class: [its Outcome of each split, as a dict]}}."""
    told: dict = {kind: {size: [] for size in drawn} for kind in protocol.kinds}
    for size, splits in drawn.items():
        for split in splits:
            for kind, outcome in probe(features, labels, split, protocol).items():
                told[kind][size].append(outcome._asdict())
    return told
