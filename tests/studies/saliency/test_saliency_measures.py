"""How well maps point: by hand on small maps, and what knows nothing scores the area."""

import numpy as np
import pytest

from cnn_research.studies.saliency import measures

BOX = np.array([[1, 2, 2, 3]])  # rows 1 and 2, columns 2 to 4, of 4 x 6 px


def one(*pixels, ground=0.0):
    found = np.full((1, 4, 6), ground)
    for row, column, value in pixels:
        found[0, row, column] = value
    return found


@pytest.mark.parametrize(
    ('found', 'share', 'hit'),
    [
        (one((1, 2, 1.0)), 1, 1),
        (one((0, 2, 1.0)), 0, 0),
        (one((2, 4, 1.0), (3, 4, 3.0)), 0.25, 0),  # the box ends before row 3
        (one((1, 4, 2.0), (1, 5, 2.0)), 0.5, 0.5),  # of two strongest ones
        (one((1, 1, 1.0), (2, 3, 1.5)), 0.6, 1),
        (one(ground=1.0), 0.25, 0.25),
        (one(), 0.25, 0.25),  # no saliency says of every pixel the same
        (one((0, 0, np.nan)), np.nan, np.nan),
    ],
)
def test_shares_and_hits_by_hand(found, share, hit):
    np.testing.assert_allclose(measures.shares(found, BOX), [share])
    np.testing.assert_allclose(measures.hits(found, BOX), [hit])


def test_scale_says_nothing_and_images_do_not_meet():
    random = np.random.default_rng(0)
    found, boxes = (
        random.random((9, 8, 8)),
        np.stack([random.integers(0, 4, 9), random.integers(0, 4, 9), *random.integers(1, 5, (2, 9))], 1),
    )
    scales = random.uniform(0.1, 9, (9, 1, 1))
    for measure in (measures.shares, measures.hits):
        np.testing.assert_allclose(measure(found * scales, boxes), measure(found, boxes))
        np.testing.assert_allclose(measure(found, boxes), np.concatenate([measure(found[[n]], boxes[[n]]) for n in range(9)]))
    assert measures.inside(boxes, (8, 8)).sum((1, 2)).tolist() == (boxes[:, 2] * boxes[:, 3]).tolist()
    assert measures.blank(found) == 0 and measures.blank(found * 0) == 9


def test_noise_scores_the_area_and_the_middle_does_not():
    boxes = np.tile([[8, 8, 16, 16]], (400, 1))
    noise, middle = measures.random(400, (32, 32)), measures.centre(400, (32, 32))
    assert measures.shares(noise, boxes).mean() == pytest.approx(0.25, abs=0.01)
    assert measures.hits(noise, boxes).mean() == pytest.approx(0.25, abs=0.07)
    assert measures.hits(middle, boxes).min() == 1 and measures.shares(middle, boxes).min() > 0.3
    assert not np.array_equal(noise, measures.random(400, (32, 32), 1))
    assert middle[0].max() <= 1 and middle[0, 0, 0] == pytest.approx(0)


def test_channels_are_joined_as_their_papers_say():
    signals = np.array([[[[3.0, -4.0, 1.0]]]])
    assert measures.largest(signals).item() == 4 and measures.summed(signals).item() == 0


def test_a_pixel_has_the_value_of_the_nearest_place():
    values = np.arange(6.0).reshape(1, 2, 3)
    whole = measures.spread(values, np.array([1, 4]), np.array([0, 3, 6]), (6, 8))[0]
    assert whole.shape == (6, 8) and whole[:, 0].tolist() == [0, 0, 0, 3, 3, 3] and whole[0].tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    every = np.random.default_rng(0).random((2, 5, 4))
    np.testing.assert_array_equal(measures.spread(every, np.arange(5), np.arange(4), (5, 4)), every)
