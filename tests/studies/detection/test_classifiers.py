"""The SVM is liblinear's, mining finds what all negatives would teach, and the softmax is scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from cnn_research import boxes as areas
from cnn_research.errors import ConfigError, SourceError, Stopped
from cnn_research.studies.detection import classifiers, svm
from cnn_research.studies.detection.classifiers import Mining, Sampling
from tests.studies.detection.planted_scenes import planted

HOW = Mining(cost=0.01, every=40)


def objective(weights, last, rows, signs, costs, bias):
    """1/2 |w|^2 + 1/2 v^2 + costs of the hinge, in double precision; last: what is added, bias times v."""
    weights = np.asarray(weights, np.float64)
    slack = np.maximum(0, 1 - signs * (rows.astype(np.float64) @ weights + last))
    return weights @ weights / 2 + (last / bias) ** 2 / 2 + costs @ slack


def liblinear(rows, signs, cost, positive_weight, bias):
    """(w, what is added) as R-CNN asks liblinear for them."""
    model = LinearSVC(C=cost, loss='hinge', class_weight={1: positive_weight, -1: 1.0}, fit_intercept=False, tol=1e-6, max_iter=10**6)
    found = model.fit(np.concatenate([rows, np.full((len(rows), 1), bias)], axis=1).astype(np.float64), signs).coef_[0]
    return found[:-1], found[-1] * bias


def two_classes(count, dimensions, positives, seed=0):
    random = np.random.default_rng(seed)
    signs = np.where(np.arange(count) < positives, 1, -1)
    rows = np.maximum(0, random.normal(size=(count, dimensions)) + 0.4 * signs[:, None] * random.normal(size=dimensions) + 0.5)
    return (20 * rows / np.linalg.norm(rows, axis=1).mean()).astype(np.float32), signs


@pytest.mark.parametrize('few', [0, 40], ids=['coordinate ascent', 'interior point'])
@pytest.mark.parametrize(
    'count, dimensions, positives, cost', [(300, 40, 7, 1e-3), (300, 40, 7, 1e-2), (90, 40, 30, 1e-3), (90, 40, 1, 1e-3)]
)
def test_an_svm_reaches_liblinears_minimum(monkeypatch, few, count, dimensions, positives, cost):
    monkeypatch.setattr(svm, 'FEW', few)
    rows, signs = two_classes(count, dimensions, positives)
    costs = np.where(signs > 0, 2 * cost, cost)
    found = svm.fit(rows, signs, costs, 10.0)
    least = objective(*liblinear(rows, signs, cost, 2.0, 10.0), rows, signs, costs, 10.0)
    reached = objective(found.weights, found.bias, rows, signs, costs, 10.0)
    assert reached == pytest.approx(least, rel=1e-4) and found.objective == pytest.approx(reached, rel=1e-5)
    assert -1e-6 <= found.gap <= svm.TOLERANCE and reached - least <= (found.gap + 1e-6) * reached
    assert ((found.alphas >= 0) & (found.alphas <= costs.astype(np.float32))).all()
    np.testing.assert_allclose((signs * found.alphas) @ rows, found.weights, atol=1e-4)


def test_an_svm_goes_on_from_where_it_stood_and_says_where_it_did_not_arrive(monkeypatch):
    rows, signs = two_classes(120, 41, 20)
    costs = np.full(120, 0.01)
    monkeypatch.setattr(svm, 'FEW', 0)
    monkeypatch.setattr(svm, 'EPOCHS', 5)
    gaps, start = [], None
    for _ in range(60):
        found = svm.fit(rows, signs, costs, 10.0, start)
        gaps.append(found.gap)
        start = found.alphas
        if found.gap <= svm.TOLERANCE:
            break
    assert gaps[0] > svm.TOLERANCE >= gaps[-1]
    least = objective(*liblinear(rows, signs, 0.01, 1.0, 10.0), rows, signs, costs, 10.0)
    assert found.objective == pytest.approx(least, rel=1e-4)


def test_few_features_that_tell_little_are_settled_where_coordinate_ascent_creeps(monkeypatch):
    rows, _ = two_classes(400, 12, 1)
    signs = np.where(np.random.default_rng(3).random(400) < 0.3, 1, -1)
    monkeypatch.setattr(svm, 'EPOCHS', 50)
    gaps = []
    for few in (0, 12):
        monkeypatch.setattr(svm, 'FEW', few)
        gaps.append(svm.fit(rows, signs, np.full(400, 1.0), 10.0).gap)
    assert gaps[1] <= svm.TOLERANCE < gaps[0]


@pytest.fixture(scope='module')
def scenes():
    return planted()


@pytest.fixture(scope='module')
def mined(scenes):
    return classifiers.svms(*scenes, 3, HOW)


def parts(scenes, label, factor):
    """(positives, negatives) of all images, by loops over their windows."""
    positives, negatives = [], []
    for rows, scene, boxes in zip(*scenes, strict=True):
        for number, box in enumerate(boxes):
            object_ = number - (len(boxes) - len(scene.boxes))
            if object_ >= 0 and scene.labels[object_] == label:
                positives.append(rows[number] * factor)
            elif all(areas.iou(box[None], other[None])[0, 0] < 0.3 for other in scene.boxes[scene.labels == label]):
                negatives.append(rows[number] * factor)
    return np.array(positives, np.float32), np.array(negatives, np.float32)


@pytest.mark.parametrize('label', range(3))
@pytest.mark.parametrize('passes, within', [(1, 0.05), (3, 0.01)])
def test_mining_finds_what_all_negatives_teach(scenes, label, passes, within):
    mined = classifiers.svms(*scenes, 3, HOW._replace(passes=passes))
    positives, negatives = parts(scenes, label, mined.scale)
    rows, signs = np.concatenate([positives, negatives]), np.repeat([1, -1], [len(positives), len(negatives)])
    costs = HOW.cost * np.where(signs > 0, HOW.positive_weight, 1)
    least = objective(*liblinear(rows, signs, HOW.cost, HOW.positive_weight, HOW.bias), rows, signs, costs, HOW.bias)
    reached = objective(mined.weights[:, label], mined.bias[label], rows, signs, costs, HOW.bias)
    told = mined.told[label]
    assert reached == pytest.approx(least, rel=within) and told.objective == pytest.approx(reached, rel=1e-4)
    assert least * (1 - 1e-5) <= reached and reached - least <= (told.gap + told.left + 1e-5) * reached
    assert (told.positives, told.negatives) == (len(positives), len(negatives)) and told.settled and not told.missing
    assert told.rounds > 2 and told.learned < told.taken < told.negatives and told.left + told.gap < 2 * within


def as_published(scenes, num_classes, how, factor):
    """rcnn_train.m with liblinear, feature by feature: (weights, bias) and how many negatives each class took in."""
    features, truths, boxes = scenes
    weights, bias, taken = np.zeros((features[0].shape[1], num_classes)), np.zeros(num_classes), np.zeros(num_classes, int)
    caches, new = [[] for _ in range(num_classes)], [0] * num_classes
    positives = [
        [
            rows[len(rows) - len(scene.boxes) + j] * factor
            for rows, scene in zip(features, truths, strict=True)
            for j in np.flatnonzero(scene.labels == k)
        ]
        for k in range(num_classes)
    ]
    for number, (rows, scene) in enumerate(zip(features, truths, strict=True)):
        before = weights.copy(), bias.copy()
        for k in range(num_classes):
            for row, box in zip(rows * factor, boxes[number], strict=True):
                overlap = max([areas.iou(box[None], other[None])[0, 0] for other in scene.boxes[scene.labels == k]], default=0)
                if overlap < how.negative and (number == 0 or row @ before[0][:, k] + before[1][k] > how.hard):
                    caches[k].append(row)
                    new[k], taken[k] = new[k] + 1, taken[k] + 1
            if number in (0, len(features) - 1) or new[k] > how.every:
                all_ = np.array(positives[k] + caches[k])
                signs = np.repeat([1, -1], [len(positives[k]), len(caches[k])])
                weights[:, k], bias[k] = liblinear(all_, signs, how.cost, how.positive_weight, how.bias)
                caches[k] = [row for row in caches[k] if row @ weights[:, k] + bias[k] >= how.evict]
                new[k] = 0
    return weights, bias, taken


def test_mining_goes_as_the_published_code_does(scenes, mined):
    weights, bias, taken = as_published(scenes, 3, HOW, mined.scale)
    rows = np.concatenate(scenes[0])
    expected = rows * np.float32(mined.scale) @ weights + bias
    assert np.abs([each.taken for each in mined.told] - taken).max() <= 2  # a score may lie on either side of a threshold
    np.testing.assert_allclose(classifiers.scored(mined, rows), expected, atol=0.02)


def test_the_grey_zone_teaches_nothing_and_difficult_objects_do(scenes):
    """Of one class, so that what lies in its grey zone is not another's negative."""
    features, truths, boxes = scenes
    one = [scene._replace(labels=np.zeros_like(scene.labels)) for scene in truths]
    turned, moved = [], 0
    for rows, scene, own in zip(features, one, boxes, strict=True):
        grey = np.flatnonzero(classifiers.overlaps(own, scene, 1)[: len(own) - len(scene.boxes), 0] >= 0.3)
        other, moved = rows.copy(), moved + len(grey)
        other[grey] = rows[grey][:, ::-1]  # other features of the same length
        turned.append(other)
    first, second = (classifiers.svms(each, one, boxes, 1, HOW) for each in (features, turned))
    np.testing.assert_array_equal(first.weights, second.weights)
    assert moved > 50 and first.told[0].positives == sum(len(scene.boxes) for scene in truths)
    assert sum(scene.difficult.sum() for scene in truths) > 0


def test_a_class_without_examples_has_no_classifier_and_says_why(scenes):
    features, truths, boxes = scenes
    found = classifiers.svms(features, truths, boxes, 4, HOW)
    assert found.told[3].missing == 'no ground truth box' and not found.told[3].settled
    assert np.isnan(classifiers.scored(found, features[0])[:, 3]).all() and np.isfinite(found.weights[:, :3]).all()
    inside = [scene._replace(boxes=scene.boxes[:1], labels=np.zeros(1, int)) for scene in truths]
    rows = [each[-len(scene.boxes) :][:1] for each, scene in zip(features, truths, strict=True)]
    alone = classifiers.svms(rows, inside, [scene.boxes for scene in inside], 1, HOW)
    assert alone.told[0].missing == 'no negative window' and alone.told[0].positives == len(truths) and np.isnan(alone.bias).all()


def test_what_cannot_be_learned_from_is_refused(scenes):
    features, truths, boxes = scenes
    with pytest.raises(SourceError, match='no box of fork, spoon in the 12 scenes'):
        classifiers.check(truths, ['cup', 'knife', 'plate', 'fork', 'spoon'])
    with pytest.raises(SourceError, match='no scene'):
        classifiers.check([], ['cup'])
    for learn in (classifiers.svms, classifiers.softmax):
        with pytest.raises(SourceError, match='scene 0: the last 1 of 63 boxes are not its ground truth'):
            learn([features[2]], [truths[0]], [boxes[2]], 3)
        with pytest.raises(SourceError, match='61 rows of features and 62 boxes'):
            learn(features[:1], truths[1:2], boxes[1:2], 3)
        with pytest.raises(SourceError, match='features of 1 images, boxes of 2 and 2 scenes'):
            learn(features[:1], truths[:2], boxes[:2], 3)
        with pytest.raises(SourceError, match='features of 0 images'):
            learn([], [], [], 3)
        with pytest.raises(SourceError, match='1 classes have 0 to 0'):
            learn(features, truths, boxes, 1)
    with pytest.raises(ConfigError, match='passes=0'):
        classifiers.svms(features, truths, boxes, 3, Mining(passes=0))
    with pytest.raises(Stopped):
        classifiers.svms(features, truths, boxes, 3, stop=lambda: True)


@pytest.mark.parametrize('learn', [classifiers.svms, classifiers.softmax])
def test_damaged_features_are_refused_wherever_they_are(scenes, learn, monkeypatch):
    features, truths, boxes = scenes
    monkeypatch.setattr(classifiers, 'scale', lambda features: 1.0)  # it sees some of the rows
    damaged = np.where(np.arange(24) == 3, np.nan, features[1])
    with pytest.raises(SourceError, match='scene 1: a feature is not finite'):
        learn([features[0], damaged, *features[2:]], truths, boxes, 3)


def test_features_are_scaled_to_a_mean_norm_of_20(scenes):
    features = scenes[0]
    factor = classifiers.scale(features)
    assert np.linalg.norm(factor * np.concatenate(features), axis=1).mean() == pytest.approx(20)
    for wrong in ([np.zeros((3, 4))], [np.zeros((0, 4))], [np.full((3, 4), np.nan)]):
        with pytest.raises(SourceError, match='cannot be scaled'):
            classifiers.scale(wrong)


def test_scores_of_many_rows_are_those_of_each(scenes, mined, monkeypatch):
    rows = np.concatenate(scenes[0])
    monkeypatch.setattr(classifiers, '_ROWS', 300)
    expected = rows.astype(np.float64) * mined.scale @ mined.weights + mined.bias
    np.testing.assert_allclose(classifiers.scored(mined, rows), expected, atol=1e-4)
    assert classifiers.scored(mined, rows[:0]).shape == (0, 3)


def test_the_softmax_is_scikit_learns_on_the_windows_it_names(scenes):
    features, truths, boxes = scenes
    found = classifiers.softmax(features, truths, boxes, 3, Sampling(examples=10**6, costs=(1e-3,)))
    labels = []
    for scene, own in zip(truths, boxes, strict=True):
        for box in own:
            overlaps = [areas.iou(box[None], other[None])[0, 0] for other in scene.boxes]
            labels.append(scene.labels[int(np.argmax(overlaps))] if max(overlaps) >= 0.5 else 3)
    assert found.told.windows == np.bincount(labels).tolist()  # all: the background is less than three times the rest
    rows = np.concatenate(features) * np.float32(found.scale)
    model = LogisticRegression(C=1e-3, max_iter=10**4, tol=1e-8).fit(rows.astype(np.float64), labels)
    expected = model.predict_proba(rows.astype(np.float64))[:, :3]
    np.testing.assert_allclose(classifiers.scored(found, np.concatenate(features)), expected, atol=2e-3)
    assert found.told.settled and found.told.validation == [None] and not found.told.at_an_end and found.told.cost == 1e-3


@pytest.mark.parametrize('examples, windows', [(40, None), (4, [1, 1, 1, 9])])
def test_a_softmax_learns_from_three_times_as_much_background_and_every_class(scenes, examples, windows):
    keys, labels = classifiers._sample(*scenes[1:], 3, Sampling(examples=examples), np.random.default_rng(0))
    counts = np.bincount(labels, minlength=4)
    assert counts[:3].sum() == max(3, examples // 4) and counts[3] == 3 * counts[:3].sum() and counts.min() > 0
    assert windows is None or counts.tolist() == windows
    assert len(np.unique(keys, axis=0)) == len(keys)


def test_the_cost_of_a_softmax_is_chosen_on_other_images(scenes):
    """What an image's own windows tell of its object helps nowhere else: whoever looked there would take the largest C."""
    random = np.random.default_rng(3)
    _, truths, boxes = scenes
    truths = [scene._replace(boxes=scene.boxes[-1:], labels=random.integers(0, 3, 1)) for scene in truths]
    features = []
    for scene, own in zip(truths, boxes, strict=True):
        shown = classifiers.overlaps(own, scene, 3).max(1) >= 0.5
        features.append(
            (np.where(shown[:, None], random.normal(size=24), 0) + 0.01 * random.normal(size=(len(own), 24))).astype(np.float32)
        )
    costs = (1e-4, 1e-2, 1.0)
    found = classifiers.softmax(features, truths, boxes, 3, Sampling(costs=costs))
    assert found.told.cost < 1.0 and np.argmin(found.told.validation) == costs.index(found.told.cost)
    assert (
        found.told.at_an_end == (found.told.cost in (costs[0], costs[-1])) and found.told._replace(validation=[3, 1, 2]).at_an_end is False
    )
    with pytest.raises(ConfigError, match='folds=3: as many images are needed'):
        classifiers.softmax(features[:2], truths[:2], boxes[:2], 3, Sampling(costs=costs))


def test_a_softmax_without_background_is_refused(scenes):
    features, truths, boxes = scenes
    alone = [rows[-len(scene.boxes) :] for rows, scene in zip(features, truths, strict=True)]
    with pytest.raises(SourceError, match='0 do not'):
        classifiers.softmax(alone, truths, [scene.boxes for scene in truths], 3)


def test_outputs_that_are_features_are_told_by_their_own_softmax():
    outputs = np.random.default_rng(0).normal(size=(70, 4)).astype(np.float32)
    expected = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifiers.scored(classifiers.as_they_are(3), outputs), expected[:, :3], atol=1e-6)
