"""Boxes: overlaps and suppression against plain loops, against OpenCV, and in cases made by hand."""

import math

import numpy as np
import pytest

from cnn_research import boxes
from cnn_research.errors import SourceError


def overlap(one, other, pixel=0.0):
    """Written from the definition, one pair at a time."""
    down = min(one[2], other[2]) - max(one[0], other[0]) + pixel
    right = min(one[3], other[3]) - max(one[1], other[1]) + pixel
    common = down * right if down > 0 and right > 0 else 0.0
    areas = [(box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (one, other)]
    return common / (sum(areas) - common)


def greedy(of, scores, threshold, pixel=0.0):
    """Non-maximum suppression as it is told: take the strongest, the earlier of equals, strike what overlaps it."""
    left, kept = list(range(len(of))), []
    while left:
        best = max(left, key=lambda place: (scores[place], -place))
        kept.append(best)
        left = [place for place in left if place != best and overlap(of[place], of[best], pixel) <= threshold]
    return kept


def drawn(count, seed, side=60):
    """Boxes (count, 4) on a coarse lattice, so that equal ones, touching ones and round overlaps are among them."""
    random = np.random.default_rng(seed)
    near = random.integers(0, side, (count, 2))
    return np.concatenate([near, near + random.integers(5, 25, (count, 2))], axis=1) / 2


@pytest.mark.parametrize('pixel', [0.0, 1.0])
def test_overlaps_are_those_of_the_definition(pixel):
    first, second = drawn(30, 0), drawn(20, 1)
    expected = [[overlap(one, other, pixel) for other in second] for one in first]
    np.testing.assert_allclose(boxes.iou(first, second, pixel), expected, rtol=1e-12)
    np.testing.assert_allclose(boxes.pairwise(first[:20], second, pixel), np.diag(expected), rtol=1e-12)
    np.testing.assert_array_equal(boxes.iou(first, second, pixel), boxes.iou(second, first, pixel).T)
    assert boxes.iou((), second).shape == (0, 20) and boxes.iou(first, np.zeros((0, 4))).shape == (30, 0)


@pytest.mark.parametrize(
    ('one', 'other', 'pixel', 'expected'),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 0, 1),
        ((0, 0, 2, 2), (0, 1, 2, 3), 0, 1 / 3),
        ((0, 0, 2, 2), (0, 2, 2, 4), 0, 0),  # an edge in common is no area
        ((0, 0, 2, 2), (0, 2, 2, 4), 1, 3 / 15),  # a column of pixels in common is
        ((0, 0, 4, 4), (1, 1, 2, 2), 0, 1 / 16),
        ((0, 0, 2, 2), (5, 5, 6, 6), 0, 0),  # apart both ways: no product of two negative sides
        ((3, 3, 3, 3), (3, 3, 3, 4), 1, 1 / 2),  # one pixel, counted inclusively, is a box
    ],
)
def test_an_overlap_by_hand(one, other, pixel, expected):
    assert boxes.iou([one], [other], pixel).item() == pytest.approx(expected)


def test_inclusive_corners_overlap_as_the_edges_that_they_are_put_on():
    corners = drawn(40, 2) * 2  # whole numbers
    edges = corners - (1, 1, 0, 0)
    np.testing.assert_array_equal(boxes.iou(edges, edges), boxes.iou(corners, corners, pixel=1.0))


def test_clipping_keeps_what_is_inside():
    found = boxes.clipped([(-3, 2, 5, 9), (0, 0, 4, 6), (7, 1, 9, 2), (1, -math.inf, 2, math.inf)], 4, 6)
    np.testing.assert_array_equal(found, [(0, 2, 4, 6), (0, 0, 4, 6), (4, 1, 4, 2), (1, 0, 2, 6)])
    assert boxes.clipped(np.zeros((3, 2, 4)), 4, 6).shape == (3, 2, 4)


@pytest.mark.parametrize('pixel', [0.0, 1.0])
@pytest.mark.parametrize(('count', 'threshold'), [(0, 0.3), (1, 0.3), (31, 0.0), (32, 0.3), (33, 1.0), (64, 1 / 3), (150, 0.3), (150, 0.7)])
def test_suppression_is_the_greedy_one(count, threshold, pixel):
    of, scores = drawn(count, count), np.random.default_rng(3).integers(0, 12, count) / 4  # many scores are equal
    assert boxes.suppressed(of, scores, threshold, pixel).tolist() == greedy(of.tolist(), scores.tolist(), threshold, pixel)


@pytest.mark.parametrize('limits', [(200, 512), (0, 0)])  # classes in step, and together; each alone
@pytest.mark.parametrize('own', [True, False])
def test_classes_at_once_are_classes_one_by_one(own, limits, monkeypatch):
    monkeypatch.setattr(boxes, '_IN_STEP', limits[0])
    monkeypatch.setattr(boxes, '_TOGETHER', limits[1])
    random = np.random.default_rng(4)
    of = np.stack([drawn(40, seed) for seed in range(3)], axis=1) if own else drawn(40, 5)
    of[7] = of[8] = (3, 5, 3, 9)  # without area
    scores = random.integers(-8, 8, (40, 4 - own))
    scores[:, 0] = np.minimum(scores[:, 0], -3)  # a class of which nothing is left
    found = boxes.suppressed_each(of, scores, -3, 0.4)
    assert len(found) == scores.shape[1] and not found[0].size
    for k, kept in enumerate(found):
        chosen = [place for place in range(40) if scores[place, k] > -3 and place not in (7, 8)]
        own_boxes = (of[chosen, k] if own else of[chosen]).tolist()
        assert kept.tolist() == [chosen[place] for place in greedy(own_boxes, scores[chosen, k].tolist(), 0.4)]
    assert [kept.size for kept in boxes.suppressed_each(of[:0], scores[:0], 0)] == [0] * scores.shape[1]


def test_an_overlap_exactly_at_the_threshold_suppresses_nothing():
    of = [(0, 0, 10, 10), (0, 0, 10, 3)]  # 3 in 10
    assert boxes.suppressed(of, [2, 1], 0.3).tolist() == [0, 1]
    assert boxes.suppressed(of, [2, 1], math.nextafter(0.3, 0)).tolist() == [0]


def test_of_equal_scores_the_earlier_box_is_kept():
    of = np.array([(0, 0, 10, 10), (0, 1, 10, 11), (30, 30, 40, 40)])
    assert boxes.suppressed(of, [1, 1, 1]).tolist() == [0, 2]
    assert boxes.suppressed(of, [1, 2, 1]).tolist() == [1, 2]
    assert boxes.suppressed(of[::-1], [1, 1, 1]).tolist() == [0, 1]


def test_a_box_that_was_struck_strikes_nothing():
    of = [(0, 0, 10, 10), (0, 4, 10, 14), (0, 8, 10, 18)]  # each near to the next alone
    assert boxes.suppressed(of, [3, 2, 1]).tolist() == [0, 2]


def test_suppression_is_that_of_opencv():
    cv2 = pytest.importorskip('cv2', reason='OpenCV is not installed')
    of = drawn(120, 6) * 2
    scores = np.random.default_rng(7).permutation(np.arange(1, 121)) / 128
    across = [(int(xmin), int(ymin), int(xmax - xmin), int(ymax - ymin)) for ymin, xmin, ymax, xmax in of]
    expected = cv2.dnn.NMSBoxes(across, scores.tolist(), 0.0, 0.43)
    assert boxes.suppressed(of, scores, 0.43).tolist() == list(map(int, expected))


@pytest.mark.parametrize(
    ('wrong', 'words'),
    [
        ((4, 0, 4, 5), 'box 1 has no area: (4, 0, 4, 5)'),
        ((5, 0, 4, 5), 'box 1 has no area'),
        ((0, 0, math.nan, 5), 'box 1 has a number that is not finite'),
        ((0, -math.inf, 2, 5), 'box 1 has a number that is not finite'),
    ],
)
def test_boxes_that_are_none_are_refused(wrong, words):
    of = [(0, 0, 1, 1), wrong]
    for call in (boxes.checked, lambda of: boxes.iou(of, of), lambda of: boxes.suppressed(of, [1, 2])):
        with pytest.raises(SourceError) as refusal:
            call(of)
        assert words in str(refusal.value) and '\n' not in str(refusal.value)


def test_the_box_that_is_refused_is_named_as_it_was_given():
    of = np.tile((0.0, 0, 1, 1), (5, 2, 1))
    of[3, 1] = (2, 0, 1, 1)
    with pytest.raises(SourceError, match='box 3 of class 1 has no area'):
        boxes.suppressed_each(of, np.ones((5, 2)), 0)
    with pytest.raises(SourceError, match='box 3 has no area'):
        boxes.suppressed_each(of[:, 1], np.arange(10).reshape(5, 2), 2)


def test_what_does_not_fit_together_is_refused():
    of = drawn(3, 0)
    for bad in ([math.nan, 1, 2], [math.inf, 1, 2]):
        with pytest.raises(SourceError, match='score 0 is not finite'):
            boxes.suppressed(of, bad)
    for call in (
        lambda: boxes.suppressed(of, [1, 2]),
        lambda: boxes.suppressed(of, [1, 2, 3], 30),
        lambda: boxes.suppressed(of, [1, 2, 3], math.nan),
        lambda: boxes.iou(of[0], of),
        lambda: boxes.iou(of, of, -1.0),
        lambda: boxes.iou(of[:, :3], of),
        lambda: boxes.suppressed_each(of, [1, 2, 3], 0),
        lambda: boxes.suppressed_each(of, np.ones((3, 2)), math.nan),
        lambda: boxes.suppressed_each(np.stack([of] * 2, axis=1), np.ones((3, 3)), 0),
    ):
        with pytest.raises(ValueError):
            call()
