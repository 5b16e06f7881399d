"""Splits of exact sizes, several views, features that are dropped, and the hinge itself, each against scikit-learn or plain loops."""

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from cnn_research import hinge, probes, protocol
from cnn_research.errors import ConfigError

NAMES = ('a', 'b', 'c')


def blobs(per_class, classes=3, dimensions=6, seed=0, spread=1.5):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    centres = random.normal(size=(classes, dimensions))
    return (centres[labels] + spread * random.normal(size=(len(labels), dimensions))).astype(np.float32), labels


def test_splits_are_exact_disjoint_nested_and_share_their_tests():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), [12, 15, 20]))
    found = protocol.exact(labels, NAMES, (2, 5, 9), 4, 3, seed=1)
    assert list(found) == [2, 5, 9] and all(len(splits) == 3 for splits in found.values())
    for number in range(3):
        small, middle, large = (found[size][number] for size in (2, 5, 9))
        assert large.train.shape == (3, 9)
        assert (small.train == large.train[:, :2]).all() and (middle.train == large.train[:, :5]).all()
        assert (small.test == large.test).all() and not np.isin(large.test, large.train).any()
        assert (np.bincount(labels[large.test]) == [3, 4, 4]).all()  # the smallest class has three left
        assert (labels[large.train] == np.arange(3)[:, None]).all()
    assert not (found[9][0].test[:4] == found[9][1].test[:4]).all()


def test_no_bound_leaves_all_the_rest_for_the_test():
    labels = np.repeat(np.arange(3), [4, 6, 9])
    split = protocol.exact(labels, NAMES, (3,), 0, 1, seed=0)[3][0]
    assert sorted(np.concatenate([split.train.ravel(), split.test])) == list(range(19))


def test_what_a_network_learned_is_for_training_and_the_rest_for_the_test():
    labels = np.tile(np.arange(3), 10)
    learned = np.arange(30) < 18
    split = protocol.exact(labels, NAMES, (6,), 2, 1, 0, learned)[6][0]
    assert learned[split.train].all() and not learned[split.test].any() and len(split.test) == 6


def test_a_class_that_is_all_learned_is_refused_since_nothing_of_it_could_be_tested():
    labels = np.tile(np.arange(3), 6)
    with pytest.raises(ConfigError, match='a has no image for the test'):
        protocol.exact(labels, NAMES, (2,), 0, 1, 0, (labels == 0) | (np.arange(18) < 9))


@pytest.mark.parametrize(('learned', 'fits'), [(None, 4), (np.arange(30) < 15, 3)])
def test_too_many_training_images_are_refused_with_the_largest_number_that_fits(learned, fits):
    labels = np.repeat(np.arange(3), [5, 10, 15])
    if learned is not None:
        labels = np.concatenate([np.repeat(np.arange(3), [3, 5, 7]), np.tile(np.arange(3), 5)])
    protocol.exact(labels, NAMES, (fits,), 50, 1, 0, learned)
    with pytest.raises(ConfigError, match=f'the largest number that fits every class is {fits}'):
        protocol.exact(labels, NAMES, (2, fits + 1), 50, 1, 0, learned)


def test_the_hinge_is_that_of_liblinear():
    features, labels = blobs(20)
    subsets = np.ones((60, 2), bool)
    subsets[::4, 0] = False
    (fit,) = hinge.fits(features, labels, 3, [0.1], subsets)
    for place, chosen in enumerate(subsets.T):
        peer = LinearSVC(C=0.1, loss='hinge', max_iter=100_000, random_state=3).fit(features[chosen], labels[chosen])
        assert np.allclose(np.asarray(hinge.scores(fit, features))[..., place], peer.decision_function(features), atol=2e-3)
    assert (fit.unsettled == 0).all()


def test_the_hinge_of_two_classes_has_two_mirrored_classifiers():
    features, labels = blobs(20, classes=2)
    (fit,) = hinge.fits(features, labels, 2, [1.0], np.ones((40, 1), bool))
    said = np.asarray(hinge.scores(fit, features))[..., 0]
    peer = LinearSVC(C=1.0, loss='hinge', max_iter=100_000, random_state=0).fit(features, labels)
    assert np.allclose(said[:, 0], -said[:, 1]) and (said.argmax(1) == peer.predict(features)).all()


def test_a_hinge_that_gave_up_says_so(monkeypatch):
    monkeypatch.setattr(hinge, '_PASSES', 1)
    features, labels = blobs(30)
    (fit,) = hinge.fits(100 * features, labels, 3, [100.0], np.ones((90, 1), bool))
    assert np.isinf(fit.unsettled).all()


@pytest.mark.parametrize('kind', ['svm', pytest.param('softmax', marks=pytest.mark.slow), 'hinge'])
def test_one_view_is_the_features_and_equal_views_change_nothing_but_the_weight_of_the_losses(kind):
    features, labels = blobs(12)
    split = protocol.exact(labels, NAMES, (8,), 0, 1, 0)[8][0]
    one = protocol.probe(features, labels, split, protocol.Protocol((kind,), (0.02, 2.0), 4))[kind]
    assert protocol.probe(features[None], labels, split, protocol.Protocol((kind,), (0.02, 2.0), 4))[kind] == one
    twice = protocol.probe(np.stack([features] * 2), labels, split, protocol.Protocol((kind,), (0.01, 1.0), 4))[kind]
    assert twice.accuracy == one.accuracy and np.allclose(twice.validation, one.validation)


def test_what_is_said_of_several_views_is_summed():
    random = np.random.default_rng(1)
    features, labels = blobs(16, spread=1.0)
    views = np.stack([features, features + random.normal(size=features.shape).astype(np.float32)])
    split = protocol.exact(labels, NAMES, (10,), 0, 1, 0)[10][0]
    how = protocol.Protocol(('hinge',), (0.1,), 5, 'raw')
    got = protocol.probe(views, labels, split, how)['hinge']
    train = np.sort(split.train, axis=None)
    peer = LinearSVC(C=0.1, loss='hinge', max_iter=100_000, random_state=0).fit(np.concatenate(views[:, train]), np.tile(labels[train], 2))
    summed = sum(peer.decision_function(view[np.sort(split.test)]) for view in views)
    assert got.accuracy == protocol.mean_class_accuracy(labels[np.sort(split.test)], summed.argmax(1), 3) and got.validation == [None]


def test_a_single_cost_needs_no_second_example():
    features, labels = blobs(5, spread=0.1)
    split = protocol.exact(labels, NAMES, (1,), 0, 1, 0)[1][0]
    assert protocol.probe(features, labels, split, protocol.Protocol(('hinge',), (1.0,)))['hinge'].accuracy == 1


def test_dropping_learns_from_half_of_the_features_and_is_tested_on_all_of_them(monkeypatch):
    features, labels = blobs(12)
    split = protocol.exact(labels, NAMES, (8,), 0, 1, 0)[8][0]
    seen = {}
    fitted = protocol._fitted

    def spy(kind, learned, shown, test, *rest):
        seen.update(learned=np.asarray(learned), shown=np.asarray(shown), test=np.asarray(test))
        return fitted(kind, learned, shown, test, *rest)

    monkeypatch.setattr(protocol, '_fitted', spy)
    protocol.probe(features, labels, split, protocol.Protocol(('svm',), (0.02, 2.0), 4, 'raw', dropout=0.5))
    train, test = (features[np.sort(part, axis=None)] for part in split)
    assert np.array_equal(seen['shown'], train / 2) and np.array_equal(seen['test'], test / 2)
    dropped = seen['learned'] == 0
    assert np.array_equal(seen['learned'][~dropped], train[~dropped]) and 0.3 < dropped.mean() < 0.7
    assert len({row.tobytes() for row in dropped}) > len(train) // 2  # not the same features for every example


def test_the_power_keeps_signs():
    part = np.array([[-2.0, 3.0, 0.5]])
    once, _ = protocol.normalised(part, part, 'l2', 2.0)
    wanted = np.array([-4.0, 9.0, 0.25])
    assert np.allclose(once, wanted / np.linalg.norm(wanted))


def test_folds_hold_out_as_many_of_every_class():
    labels = np.repeat(np.arange(3), 7)
    fold = protocol.folds(labels, 7, 3)
    for number in range(3):
        assert len(set(np.bincount(labels[fold == number], minlength=3))) == 1
    assert protocol.folds(labels[:7], 7, 50).max() == 6


def test_costs_and_accuracies_are_those_of_plain_scikit_learn():
    features, labels = blobs(15, seed=2)
    split = protocol.exact(labels, NAMES, (9,), 0, 1, 0)[9][0]
    got = protocol.probe(features, labels, split, protocol.Protocol(('hinge',), (0.01, 1.0), 3, 'raw'))['hinge']
    train, test = (np.sort(part, axis=None) for part in split)
    fold = protocol.folds(labels[train], 9, 3)
    validation = []
    for cost in (0.01, 1.0):
        right = []
        for number in range(3):
            model = LinearSVC(C=cost, loss='hinge', max_iter=100_000, random_state=0).fit(
                features[train[fold != number]], labels[train[fold != number]]
            )
            held = train[fold == number]
            right.append(protocol.mean_class_accuracy(labels[held], model.predict(features[held]), 3))
        validation.append(np.mean(right))
    assert np.allclose(got.validation, validation) and got.cost == (0.01, 1.0)[int(np.argmax(validation))]
    assert got.settled and got.unsettled <= probes.TOLERANCE
