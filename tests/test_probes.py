"""Linear probes equal scikit-learn's whatever the scale of the features, and what a split holds back tells nothing."""

import warnings

import numpy as np
import pytest
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

from cnn_research import probes, protocol

COSTS = (1e-5, 1e-3, 1e-1, 1.0, 10.0, 100.0)


def examples(count, dimensions, classes, seed=0, spread=1.2):
    """Rectified mixtures of a few hidden directions, as features are; classes overlap."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    hidden = random.normal(size=(classes, 8))[labels] + spread * random.normal(size=(count, 8))
    features = np.maximum(0, hidden @ random.normal(size=(8, dimensions)) * 0.4 + 0.5 * random.normal(size=(count, dimensions)))
    return features.astype(np.float32), labels


def standardised(features):
    return (features - features.mean(0)) / (features.std(0) + 1e-6)


def sklearn_svm(features, labels, cost):
    """(objective of all classes together, decisions)."""
    features, total, decisions = features.astype(np.float64), 0.0, []
    for label in np.unique(labels):
        signs = np.where(labels == label, 1, -1)
        model = LinearSVC(C=cost, max_iter=200_000, tol=1e-7, random_state=0).fit(features, signs)
        decisions.append(model.decision_function(features))
        slack = np.maximum(0, 1 - signs * decisions[-1])
        total += (model.coef_ @ model.coef_.T).item() / 2 + model.intercept_.item() ** 2 / 2 + cost * np.sum(slack**2)
    return total, np.stack(decisions, axis=1)


def sklearn_softmax(features, labels, cost):
    model = LogisticRegression(C=cost, max_iter=5000, tol=1e-8).fit(features.astype(np.float64), labels)
    logarithms = model.predict_log_proba(features.astype(np.float64))
    return np.sum(model.coef_**2) / 2 - cost * np.sum(logarithms[np.arange(len(labels)), labels]), logarithms


ORACLES = {'svm': sklearn_svm, 'softmax': sklearn_softmax}


@pytest.mark.parametrize('kind', probes.KINDS)
@pytest.mark.parametrize(
    'count, dimensions, standard', [pytest.param(120, 300, True, marks=pytest.mark.slow), (240, 40, True), (120, 40, False)]
)
def test_a_probe_is_scikit_learns(kind, count, dimensions, standard):
    features, labels = examples(count, dimensions, 4)
    features = standardised(features) if standard else features
    turned = probes.turn(features)
    for fit in probes.fits(kind, turned, labels, 4, COSTS):
        objective, decisions = ORACLES[kind](features, labels, fit.cost)
        assert fit.objective[0] == pytest.approx(objective, rel=1e-3), fit.cost
        ours = np.argmax(probes.scores(fit, turned.coordinates)[..., 0], axis=1)
        assert np.mean(ours == labels) == pytest.approx(np.mean(decisions.argmax(1) == labels), abs=0.002), fit.cost
        assert fit.settled.all()


def one_hot(features):
    return np.eye(features.shape[1])[features.argmax(1)]


SCALES = {
    'as they are': lambda x: x,
    'x 1e-3': lambda x: 1e-3 * x,
    'x 1e4': lambda x: 1e4 * x,
    'x 1000 + 5000': lambda x: 1000 * x + 5000,
    '+ 1e5': lambda x: x + 1e5,
    'x 1e-3 + 1': lambda x: 1e-3 * x + 1,
    'three of other scales': lambda x: x * np.r_[1e4, 1e-3, 1e2, np.ones(x.shape[1] - 3)],
    'every scale and offset': lambda x: x * np.logspace(-3, 4, x.shape[1]) + np.logspace(5, 0, x.shape[1]),
    'each twice': lambda x: np.tile(x[:, ::2], 2),
    'examples twice': lambda x: np.repeat(x[::2], 2, axis=0),
    'one hot': one_hot,
    'a constant': lambda x: np.where(np.arange(x.shape[1]) == 2, 7, x),
}


@pytest.mark.parametrize('classes, count, dimensions', [(3, 48, 16), pytest.param(2, 24, 40, marks=pytest.mark.slow)])
@pytest.mark.parametrize('scale', SCALES)
def test_the_objective_is_right_whatever_the_scale(scale, classes, count, dimensions):
    features, labels = examples(count, dimensions, classes)
    features = SCALES[scale](standardised(features)).astype(np.float32)
    turned, exact, targets = probes.turn(features), features.astype(np.float64), np.eye(classes)[labels]
    mean, axes, offset = (np.asarray(array, np.float64) for array in (turned.mean, turned.axes, turned.offset))

    def told(fit):
        """Weights, biases and outputs in the features as they were given."""
        assert fit.settled.all()
        found = np.asarray(fit.weights, np.float64)[..., 0]
        weights = axes @ found[:-1]
        return weights, found[-1] - offset @ found[:-1], (exact - mean) @ weights + found[-1]

    for fit in probes.fits('svm', turned, labels, classes, (1e-6, 1e-2, 1e2, 1e4)):
        weights, biases, outputs = told(fit)
        losses = np.maximum(0, 1 - (2 * targets - 1) * outputs) ** 2
        assert fit.objective[0] == pytest.approx((np.sum(weights**2) + np.sum(biases**2)) / 2 + fit.cost * np.sum(losses), rel=1e-4)
        lowest = sum(no_hinge_is_below(exact, signs, fit.cost) for signs in (2 * targets - 1).T)
        assert fit.objective[0] == pytest.approx(lowest, rel=1e-4), fit.cost
        if classes == 2:
            np.testing.assert_allclose(outputs[:, 0], -outputs[:, 1], atol=2e-2)
    for fit in probes.fits('softmax', turned, labels, classes, (1e-6, 1e-2, 1e2)):
        weights, _, outputs = told(fit)
        logarithms = special.log_softmax(outputs, axis=1)
        assert fit.objective[0] == pytest.approx(np.sum(weights**2) / 2 - fit.cost * np.sum(targets * logarithms), rel=1e-4)
        # scikit-learn has one vector of weights for two classes, half of whose squares ours have together.
        cost = fit.cost * (2 if classes == 2 else 1)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # where its own matrix is singular it tries something else, and may end above the minimum
            model = LogisticRegression(C=cost, max_iter=1000, tol=1e-9, solver='newton-cholesky').fit(exact - mean, labels)
        outputs = model.decision_function(exact - mean)
        logarithms = special.log_softmax(np.c_[-outputs / 2, outputs / 2] if classes == 2 else outputs, axis=1)
        objective = np.sum(model.coef_**2) / 2 - cost * np.sum(targets * logarithms)
        assert fit.objective[0] <= (1 + 1e-4) * objective / (cost / fit.cost), fit.cost


def no_hinge_is_below(features, signs, cost):
    """The maximum of an SVM's dual problem, below which no weights have their objective, as non-negative least squares in float64."""
    left, lengths, _ = np.linalg.svd(np.c_[features, np.ones(len(signs))], full_matrices=False)
    matrix = np.r_[(signs[:, None] * left * lengths).T, np.eye(len(signs)) / np.sqrt(2 * cost)]
    found, _ = optimize.nnls(matrix, np.r_[lengths * 0, np.full(len(signs), np.sqrt(2 * cost))], maxiter=10_000)
    return np.sum(found) - np.sum((matrix @ found) ** 2) / 2


def test_two_classes_are_decided_as_scikit_learn_does():
    features, labels = examples(120, 20, 2)
    turned = probes.turn(features)
    other = examples(50, 20, 2, seed=1)[0]
    for kind, model in (('svm', LinearSVC(tol=1e-7, max_iter=100_000)), ('softmax', LogisticRegression(C=2, tol=1e-8, max_iter=5000))):
        (fit,) = probes.fits(kind, turned, labels, 2, [1.0])
        ours = np.asarray(probes.scores(fit, probes.coordinates(turned, other)))[..., 0]
        decision = model.fit(features, labels).decision_function(other)
        np.testing.assert_allclose(ours[:, 1] - ours[:, 0], decision * (2 if kind == 'svm' else 1), atol=2e-2)


def test_a_fit_that_was_cut_off_says_so(monkeypatch):
    monkeypatch.setattr(probes, 'NEWTON_STEPS', 1)
    probes._minimise.clear_cache()
    features, labels = examples(50, 10, 2)
    (fit,) = probes.fits('svm', features, labels, 2, [10.0])
    assert not fit.settled.any() and fit.unsettled[0] > probes.TOLERANCE
    features[3, 4] = np.nan
    (fit,) = probes.fits('svm', features, labels, 2, [10.0])
    probes._minimise.clear_cache()
    assert not fit.settled.any()


@pytest.mark.parametrize('kind', probes.KINDS)
def test_a_subset_is_as_if_the_others_were_not_there(kind):
    features, labels = examples(90, 30, 3)
    features = standardised(features)
    subset = np.arange(90) % 5 != 0
    (both,) = probes.fits(kind, features, labels, 3, [0.1], np.stack([subset, np.ones(90, bool)], axis=1))
    (alone,) = probes.fits(kind, features[subset], labels[subset], 3, [0.1])
    assert both.objective[0] == pytest.approx(alone.objective[0], rel=2e-4)
    said = (np.asarray(fit.weights, np.float64)[..., 0] for fit in (both, alone))
    ways = (probes.turn(features), probes.turn(features[subset]))
    ours, theirs = (np.asarray(probes.coordinates(way, features)) @ w[:-1] + w[-1] for way, w in zip(ways, said, strict=True))
    np.testing.assert_allclose(ours, theirs, atol=2e-2)


@pytest.mark.parametrize('kind', probes.KINDS)
def test_duplicates_and_constant_features_do_no_harm(kind):
    features, labels = examples(60, 100, 3)
    features, labels = np.concatenate([features, features]), np.concatenate([labels, labels])
    features[:, :10] = 0
    for fit in probes.fits(kind, features, labels, 3, (1e-3, 1.0)):
        assert fit.objective[0] == pytest.approx(ORACLES[kind](features, labels, fit.cost)[0], rel=1e-3)


def test_what_nothing_decides_stays_finite():
    # As many examples of every class, fewer than classes times features, and a C so small that rounding is all there is of the biases.
    random = np.random.default_rng(0)
    features = standardised(np.maximum(0, random.normal(size=(215, 40)) @ random.normal(size=(40, 256)))).astype(np.float32)
    labels = np.arange(215) % 43
    for fit in probes.fits('softmax', features, labels, 43, (1e-7, 1e-6, 1e-5, 1e-3)):
        assert np.isfinite(fit.weights).all() and fit.objective[0] == pytest.approx(
            sklearn_softmax(features, labels, fit.cost)[0], rel=1e-3
        )


@pytest.mark.parametrize('shape', [(20, 50), (50, 20)])
@pytest.mark.parametrize('offset, precision', [(3, 'float32'), (1e4, 'float64')])
def test_turning_keeps_distances_and_centres(shape, offset, precision):
    features = (np.random.default_rng(0).normal(size=shape) + offset).astype(np.float32)
    turned = probes.turn(features)
    axes, places = np.asarray(turned.axes), np.asarray(turned.coordinates)
    assert axes.dtype == precision and axes.shape == (shape[1], min(shape))
    np.testing.assert_allclose(axes.T @ axes, np.eye(min(shape)), atol=1e-5)
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    np.testing.assert_allclose(places @ places.T, centred @ centred.T, rtol=1e-4, atol=1e-3)
    spread = places.T @ places
    np.testing.assert_allclose(spread, np.diag(np.diag(spread)), atol=1e-3)
    np.testing.assert_allclose(probes.coordinates(turned, features), places, atol=1e-3)


def test_splits_are_disjoint_balanced_and_nested():
    labels = np.repeat(np.arange(3), [20, 30, 25])
    splits = protocol.draw(labels, 3, 100, 8, 4, seed=5)
    for split in splits:
        assert split.train.shape == (3, 12)  # the smallest class has 20, of which 8 are for the test
        assert (labels[split.train] == np.arange(3)[:, None]).all()
        assert not set(split.train.ravel()) & set(split.test)
        assert np.bincount(labels[split.test]).tolist() == [8, 8, 8]
    assert len({tuple(sorted(split.test)) for split in splits}) == 4
    for small, large in zip(protocol.draw(labels, 3, 5, 8, 4, seed=5), splits, strict=True):
        np.testing.assert_array_equal(small.test, large.test)
        np.testing.assert_array_equal(small.train, large.train[:, :5])


def test_no_test_example_is_one_that_the_network_learned_from():
    labels, learned = np.tile(np.arange(2), 30), np.arange(60) < 40
    for split in protocol.draw(labels, 2, 100, 6, 3, 0, learned):
        assert learned[split.train].all() and not learned[split.test].any()
        assert split.train.shape == (2, 20) and len(split.test) == 12


def test_half_a_small_class_is_left_to_learn_from():
    (split,) = protocol.draw(np.array([0] * 6 + [1] * 40), 2, 30, 50, 1, 0)
    assert split.train.shape == (2, 3) and np.bincount(np.array([0] * 6 + [1] * 40)[split.test]).tolist() == [3, 20]


@pytest.mark.parametrize('how', protocol.NORMALIZATIONS)
def test_the_test_part_changes_nothing_in_training(how):
    features, _ = examples(40, 12, 2)
    features[:, 3] = 0.7
    train, test = protocol.normalised(features[:30], features[30:], how)
    changed, other = protocol.normalised(features[:30], features[30:][::-1] * 5, how)
    np.testing.assert_array_equal(train, changed)
    assert np.isfinite(train).all() and np.isfinite(other).all()
    if how == 'standardised':
        np.testing.assert_allclose(np.asarray(train).mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(np.delete(np.asarray(train).std(0), 3), 1, atol=1e-4)
        assert not np.asarray(train)[:, 3].any() and not np.asarray(test)[:, 3].any()
    if how == 'l2':
        np.testing.assert_allclose(np.linalg.norm(np.asarray(test), axis=1), 1, rtol=1e-5)


def test_accuracy_is_the_mean_over_classes():
    random = np.random.default_rng(0)
    labels, predicted = random.choice(4, 200, p=[0.7, 0.1, 0.1, 0.1]), random.integers(0, 4, 200)
    assert protocol.mean_class_accuracy(labels, predicted, 4) == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert protocol.mean_class_accuracy(np.array([0, 0, 2]), np.array([0, 1, 2]), 3) == pytest.approx(0.75)


@pytest.mark.parametrize('kind', probes.KINDS)
def test_probing_chooses_by_the_training_part_alone(kind):
    features, labels = examples(160, 24, 4, spread=2.0)
    (split,) = protocol.draw(labels, 4, 20, 15, 1, 0)
    how = protocol.Protocol((kind,), (1e-4, 1e-2, 1.0), 4)
    found = protocol.probe(features, labels, split, how)[kind]
    spoilt = features.copy()
    spoilt[split.test] = np.random.default_rng(1).normal(size=(len(split.test), 24)) * 100
    after = protocol.probe(spoilt, labels, split, how)[kind]
    assert (after.cost, after.validation) == (found.cost, found.validation) and after.accuracy < found.accuracy
    assert found.cost == how.costs[int(np.argmax(found.validation))]

    model = LinearSVC(C=found.cost, max_iter=100_000) if kind == 'svm' else LogisticRegression(C=found.cost, max_iter=5000)
    train, test = (
        np.asarray(part, np.float64) for part in protocol.normalised(features[split.train.ravel()], features[split.test], 'standardised')
    )
    said = model.fit(train, labels[split.train.ravel()]).predict(test)
    assert found.accuracy == pytest.approx(balanced_accuracy_score(labels[split.test], said), abs=0.002)
