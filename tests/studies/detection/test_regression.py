"""Box regression is ridge regression of whitened targets, and what it learned moves windows onto their objects."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from cnn_research import boxes as areas
from cnn_research.errors import SourceError
from cnn_research.studies.detection import regression
from tests.studies.detection.planted_scenes import boxes_in, planted


def test_displacements_move_a_box_onto_its_object():
    random = np.random.default_rng(0)
    boxes, truths = boxes_in(random, 20, 100.0), boxes_in(random, 20, 300.0)
    np.testing.assert_allclose(regression.moved(boxes, regression.displacements(boxes, truths)), truths)
    # Half its height down, a quarter of its width to the left, twice as high.
    np.testing.assert_allclose(regression.displacements([[0, 0, 10, 20]], np.array([[0, -5, 20, 15]])), [[0.5, -0.25, np.log(2), 0]])
    np.testing.assert_allclose(regression.moved(boxes, np.zeros((20, 4))), boxes, rtol=1e-12)


def plain(features, truths, boxes, label, factor, strength, overlap):
    """(weights (D + 1, 4), pairs with proposals), window by window, with scikit-learn's ridge."""
    rows, targets, pairs = [], [], 0
    for those, scene, own in zip(features, truths, boxes, strict=True):
        for number, box in enumerate(own):
            shares = [areas.iou(box[None], other[None])[0, 0] for other in scene.boxes]
            nearest = int(np.argmax(shares))
            if shares[nearest] > overlap and scene.labels[nearest] == label:
                truth = scene.boxes[nearest]
                height, width = box[2:] - box[:2]
                down, across = (truth[:2] + truth[2:] - box[:2] - box[2:]) / 2
                sizes = np.log((truth[2] - truth[0]) / height), np.log((truth[3] - truth[1]) / width)
                rows.append(np.append(those[number] * factor, 1))
                targets.append((down / height, across / width, *sizes))
                pairs += number < len(own) - len(scene.boxes)
    targets = np.array(targets)
    mean = targets.mean(0)
    values, axes = np.linalg.eig((targets - mean).T @ (targets - mean) / len(targets))
    there, back = (axes @ np.diag((values + 0.001) ** power) @ axes.T for power in (-0.5, 0.5))
    model = Ridge(strength, fit_intercept=False).fit(np.array(rows), (targets - mean) @ there)
    weights = model.coef_.T @ back
    weights[-1] += mean
    return weights, pairs


@pytest.mark.parametrize('dimensions', [6, 400])  # fewer and more than windows
def test_a_regression_is_scikit_learns_ridge_of_whitened_targets(dimensions):
    features, truths, boxes = planted(dimensions=dimensions)
    found = regression.regressors(features, truths, boxes, 3, strength=100.0, overlap=0.5)
    for label in range(3):
        weights, pairs = plain(features, truths, boxes, label, found.scale, 100.0, 0.5)
        assert found.pairs[label] == pairs >= regression.FEWEST
        np.testing.assert_allclose(found.weights[label], weights, atol=1e-5)


def telling(truths, boxes, random):
    """Features that are a linear map of what moves each window onto the object it overlaps most, and 1."""
    mixed, features = random.normal(size=(5, 8)), []
    for scene, own in zip(truths, boxes, strict=True):
        nearest = areas.iou(own, scene.boxes).argmax(1)
        steps = regression.displacements(own, scene.boxes[nearest])
        features.append((np.concatenate([steps, np.ones((len(own), 1))], axis=1) @ mixed).astype(np.float32))
    return features


def test_windows_whose_features_tell_where_the_object_is_move_there():
    _, truths, boxes = planted()
    features = telling(truths, boxes, np.random.default_rng(1))
    found = regression.regressors(features, truths, boxes, 3, strength=1e-3)
    for rows, scene, own in zip(features, truths, boxes, strict=True):
        before = areas.iou(own, scene.boxes)
        refined = regression.refined(found, rows, own, 1e3, 1e3)
        assert refined.shape == (len(own), 3, 4) and refined.dtype == np.float64
        near = np.flatnonzero(before.max(1) > 0.6)
        nearest = before.argmax(1)[near]
        np.testing.assert_allclose(refined[near, scene.labels[nearest]], scene.boxes[nearest], atol=0.05)


def test_a_class_of_few_pairs_leaves_boxes_as_they_are_and_says_so():
    features, truths, boxes = planted()
    first = np.flatnonzero([scene.labels[0] == 0 for scene in truths])[0]
    # Label 3: the objects of one scene, whose proposals but two are gone.
    labels = [np.full_like(scene.labels, 3) if number == first else scene.labels for number, scene in enumerate(truths)]
    truths = [scene._replace(labels=own) for scene, own in zip(truths, labels, strict=True)]
    near = np.argsort(areas.iou(boxes[first], truths[first].boxes).max(1)[: -len(truths[first].boxes)])[-2:]
    kept = np.append(near, np.arange(len(boxes[first]) - len(truths[first].boxes), len(boxes[first])))
    boxes[first], features[first] = boxes[first][kept], features[first][kept]
    found = regression.regressors(features, truths, boxes, 4)
    assert found.pairs[3] == 2 and (found.pairs[:3] >= regression.FEWEST).all()
    refined = regression.refined(found, features[1], boxes[1], 100, 100)
    np.testing.assert_array_equal(refined[:, 3], boxes[1])
    assert (refined[:, :3] != boxes[1][:, None]).any()


def test_refined_boxes_lie_in_the_image():
    random = np.random.default_rng(4)
    boxes, rows = boxes_in(random, 50, 100.0), random.normal(size=(50, 8))
    for size in (1.0, 1e4):  # moderate, and beyond what an exponential holds
        wild = regression.Regression((size * random.normal(size=(2, 9, 4))).astype(np.float32), 1.0, np.array([99, 99]))
        refined = regression.refined(wild, rows, boxes, 90, 100)
        assert np.isfinite(refined).all() and (refined[..., 2:] > refined[..., :2]).all()
        stayed = (refined == boxes[:, None]).all(-1)
        inside = (refined == areas.clipped(refined, 90, 100)).all(-1)
        assert (inside | stayed).all() and inside.any() and stayed.any()
    assert regression.refined(wild, rows[:0], boxes[:0], 90, 100).shape == (0, 2, 4)


def test_rows_of_other_images_are_refused():
    features, truths, boxes = planted(images=3)
    with pytest.raises(SourceError, match='scene 0: 61 rows of features and 63 boxes'):
        regression.regressors(features, truths, boxes[::-1], 3)
