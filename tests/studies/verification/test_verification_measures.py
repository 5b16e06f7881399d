"""How alike faces are: every measure and every number of a curve against plain loops and scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.decomposition import PCA

from cnn_research.data import pairs
from cnn_research.data.sources import open_source
from cnn_research.errors import ConfigError
from cnn_research.studies.verification import baselines, measures

OTHERS = [np.delete(np.arange(3), fold) for fold in range(3)]


def some_pairs(count=60, folds=3, seed=0):
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 40, (2, count))
    return pairs.Pairs(first, second, np.arange(count) % 2 == 0, np.arange(count) // 2 % folds, np.full(40, -1), count)


def test_chi_squared_is_the_sum_over_features_and_0_of_0_by_0():
    random = np.random.default_rng(0)
    first, second = random.random((2, 5, 7)) * (random.random((2, 5, 7)) > 0.4)
    found = measures.chi_squared(first, second)
    for p in range(5):
        for d in range(7):
            total = first[p, d] + second[p, d]
            assert found[p, d] == pytest.approx((first[p, d] - second[p, d]) ** 2 / total if total else 0)
    assert (first + second == 0).any() and np.isfinite(found).all()
    assert measures.plain('chi2', first, second) == pytest.approx(-found.sum(1))


def test_features_are_divided_by_their_largest_in_training_then_of_length_1():
    learned = np.array([[1.0, 0, 2], [4, 0, 1]])
    found = measures.scaled(np.array([[2.0, 5, 1], [0, 3, 0]]), learned)
    assert found[0] == pytest.approx(np.array([0.5, 0, 0.5]) / np.sqrt(0.5)) and not found[1].any()
    with pytest.raises(ConfigError, match='below 0'):
        measures.scaled(-learned, learned)


def test_the_inner_product_is_that_of_unit_vectors():
    first, second = np.random.default_rng(0).normal(size=(2, 4, 3))
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(first, second, strict=True)]
    assert measures.plain('inner', first, second) == pytest.approx(cosines)
    assert measures.plain('euclidean', first, second) == pytest.approx([-np.linalg.norm(a - b) for a, b in zip(first, second, strict=True)])


@pytest.mark.parametrize('seed', range(8))
def test_no_border_tells_more_pairs_rightly_than_the_threshold(seed):
    random = np.random.default_rng(seed)
    scores, same = random.integers(0, 6, 12).astype(float), random.random(12) > 0.4
    border = measures.threshold(scores, same)
    best = max(((scores >= other) == same).sum() for other in [-9, *(scores - 0.25), *(scores + 0.25), 9])
    assert ((scores >= border) == same).sum() == best and border not in scores


def test_the_threshold_lies_in_the_middle_of_a_gap():
    assert measures.threshold(np.array([0.0, 1, 5, 6]), np.array([False, False, True, True])) == 3
    assert measures.threshold(np.array([1.0, 2]), np.array([True, True])) < 1
    assert measures.threshold(np.array([1.0, 2]), np.array([False, False])) > 2


@pytest.mark.parametrize('levels', [5, 1000])
def test_curves_are_scikit_learns(levels):
    random = np.random.default_rng(0)
    same = random.random(200) > 0.5
    scores = random.integers(0, levels, 200) + 0.3 * levels * same
    false, true = measures.curve(scores, same)
    wanted = metrics.roc_curve(same, scores, drop_intermediate=False)
    assert false == pytest.approx(wanted[0]) and true == pytest.approx(wanted[1])
    rate = measures.equal_error_rate(scores, same)
    assert np.interp(rate, false, true) == pytest.approx(1 - rate, abs=1e-9) or levels == 5
    assert np.trapezoid(measures.mean_curve(scores, some_pairs(200, 1)._replace(same=same)), dx=0.005) == pytest.approx(
        metrics.roc_auc_score(same, scores), abs=0.01
    )


def test_the_equal_error_rate_of_scores_that_tell_all_none_and_the_opposite():
    same = np.array([True, True, False, False])
    assert measures.equal_error_rate(np.array([4.0, 3, 2, 1]), same) == 0
    assert measures.equal_error_rate(np.ones(4), same) == 0.5
    assert measures.equal_error_rate(np.array([1.0, 2, 3, 4]), same) == 1


@pytest.mark.parametrize('measure', ['inner', 'weighted', 'svm'])
def test_nothing_of_a_fold_tells_on_its_own_threshold_weights_or_scores(measure):
    found, features = some_pairs(), np.random.default_rng(1).random((40, 6))
    whole = measures.scored(measure, lambda fold: features, found, OTHERS)
    turned = found._replace(same=np.where(found.fold == 1, ~found.same, found.same))
    other = measures.scored(measure, lambda fold: features, turned, OTHERS)
    own = found.fold == 1
    assert (whole.scores[own] == other.scores[own]).all() and whole.thresholds[1] == other.thresholds[1]
    assert whole.thresholds[0] != other.thresholds[0]
    with pytest.raises(ValueError, match='by itself'):
        measures.scored(measure, lambda fold: features, found, [np.arange(3)] * 3)


def test_weights_find_the_feature_that_tells_and_c_is_chosen_among_those_given():
    random, found = np.random.default_rng(0), some_pairs(300)
    features = random.random((600, 30))
    found = found._replace(first=np.arange(300), second=np.arange(300, 600))
    features[300:, 4] = np.where(found.same, features[:300, 4], features[300:, 4])  # one person's agree here, all else is noise
    rights = {}
    for measure in ('inner', 'weighted', 'svm'):
        one = measures.scored(measure, lambda fold: features, found, OTHERS, (0.1, 10.0))
        rights[measure] = measures.accuracies(one.scores, one.thresholds, found).mean()
        assert set(one.costs) <= {0.1, 10.0} if measure != 'inner' else np.isnan(one.costs).all()
    assert min(rights['weighted'], rights['svm']) > 0.7 > rights['inner'] + 0.1


def test_accuracies_are_of_each_fold_and_the_hardest_are_the_surest_errors():
    found = some_pairs(12)
    scores = np.array([0.9, 0.1, 0.8, 0.7, 0.4, 0.3, 0.2, 0.6, 0.9, 0.1, 0.9, 0.1])
    told = measures.chosen(scores, found, OTHERS)
    thresholds = np.full(3, 0.5)
    right = [np.mean([(scores[i] >= 0.5) == found.same[i] for i in range(12) if found.fold[i] == fold]) for fold in range(3)]
    assert measures.accuracies(scores, thresholds, found).tolist() == right and len(told.thresholds) == 3
    accepted, rejected = measures.hardest(scores, thresholds, found, 5)
    assert set(accepted) == {3, 7} and set(rejected) == {4, 6}
    spread = [scores[found.fold == fold].std() for fold in range(3)]
    assert sorted(accepted, key=lambda i: -(scores[i] - 0.5) / spread[found.fold[i]]) == accepted.tolist()
    assert len(measures.hardest(scores, thresholds, found, 1)[0]) == 1


# ---- baselines


def test_raw_pixels_are_taken_from_the_central_square_unmixed():
    image = np.arange(96 * 120, dtype=np.int64).reshape(96, 120, 1).astype(np.uint8)
    assert (baselines.pixels(image).reshape(48, 48) == image[::2, 12:108:2, 0]).all()


def test_lbp_counts_every_pattern_of_each_cell_once():
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 1), np.uint8)
    found = baselines.lbp(image).reshape(49, 59)
    assert found.sum(axis=1) == pytest.approx(1) and found.shape == (49, 59)
    # A steady slope has one pattern everywhere; brighter and with more contrast it has the same.
    slope = np.repeat(np.arange(96, dtype=np.uint8)[None, :, None], 96, axis=0)
    flat = baselines.lbp(slope).reshape(49, 59)
    assert (flat.max(axis=1) == 1).all() and len(set(flat.argmax(axis=1))) == 1
    assert (baselines.lbp(2 * slope + 30) == baselines.lbp(slope)).all()


def test_eigenfaces_are_principal_components_of_the_learned_alone():
    raw = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32) * np.arange(1, 9)
    learned, wanted = np.arange(20), [3, 25]
    found, deviations = baselines.eigenfaces(raw, learned, wanted)
    full = PCA().fit(raw[:20]).transform(raw)
    assert np.abs(found[wanted]) == pytest.approx(np.abs(full[wanted]), abs=1e-4) and not found[[0, 1, 26]].any()
    every, _ = baselines.eigenfaces(raw, learned, learned)
    assert every[:20].std(axis=0, ddof=1) == pytest.approx(deviations, rel=1e-4)


@pytest.mark.slow
def test_raw_pixels_tell_as_many_pairs_of_the_small_lfw_as_is_known(data_dir):
    source = open_source('lfw_faces', 'train', data_dir)
    found = pairs.listed(source, data_dir / 'lfw_faces/1.0.0/pairs.txt')
    used = np.unique(np.concatenate([found.first, found.second]))
    array = np.zeros((source.num_examples, baselines.PIXELS**2), np.float32)
    for part in np.array_split(used, 20):
        array[part] = [baselines.pixels(image) for image in source.read(part)[0]]
    told = measures.scored('inner', lambda fold: array, found, [np.delete(np.arange(10), fold) for fold in range(10)])
    right = 100 * measures.accuracies(told.scores, told.thresholds, found)
    assert right.mean() == pytest.approx(60.4, abs=0.05)
    assert right.std(ddof=1) / np.sqrt(10) == pytest.approx(0.7, abs=0.05)
