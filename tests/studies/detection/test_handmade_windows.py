"""Hand-made features of windows against loops, and against those of whole images."""

import numpy as np
import pytest

from cnn_research import traditional
from cnn_research.errors import ConfigError, SourceError
from cnn_research.studies.detection import handmade
from tests.studies.detection.planted_scenes import boxes_in


def picture(seed, height, width, channels=3):
    """Blotches on noise, from 0 to 230."""
    random = np.random.default_rng(seed)
    coarse = np.kron(random.uniform(0, 200, (height // 8 + 1, width // 8 + 1, channels)), np.ones((8, 8, 1)))
    return (coarse[:height, :width] + random.uniform(0, 30, (height, width, channels))).astype(np.uint8)


@pytest.mark.parametrize('channels', [1, 3])
def test_hog_of_a_box_is_that_of_what_lies_in_it(channels):
    image = picture(0, 60, 80, channels)
    boxes = np.array([[0, 0, 60, 80], [10, 5, 42, 70], [30, 40, 60, 80]])
    crops = [image[top:bottom, left:right] for top, left, bottom, right in boxes]
    np.testing.assert_array_equal(handmade.hog(image, boxes, 32), traditional.hog(crops, 32))
    assert handmade.hog(image, boxes[:0]).shape == (0, 49 * 36)


def test_hog_takes_edges_between_pixels():
    y, x = np.mgrid[:60, :80]
    image = (127 + 60 * np.sin(x / 3) + 50 * np.sin(y / 4 + x / 9)).astype(np.uint8)[..., None]
    twice = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)  # where the edge lies between pixels
    here, between, there = handmade.hog(image, [[10, 20, 42, 52], [10.5, 20, 42.5, 52], [11, 20, 43, 52]], 16)
    exact = handmade.hog(twice, [[21, 40, 85, 104]], 16)[0]
    away = [np.linalg.norm(each - exact) for each in (here, between, there)]
    assert away[1] < 0.5 * min(away[0], away[2])


@pytest.mark.parametrize('box', [[0, 0, 61, 80], [-1, 0, 60, 80], [0, 0, 60, 80.1]])
def test_a_box_outside_its_image_is_refused(box):
    words = np.eye(2, 128, dtype=np.float32)
    for described in (handmade.hog, lambda image, boxes: handmade.pyramids(image, boxes, words)):
        with pytest.raises(SourceError, match='not in its image of 60 x 80 px'):
            described(picture(0, 60, 80), [box])
        with pytest.raises(SourceError, match='no area'):
            described(picture(0, 60, 80), [[5, 5, 5, 9]])


def by_loops(named, rows, columns, box, words, levels):
    top, left, bottom, right = box
    found = []
    for level in range(levels):
        side = 2**level
        cells = np.zeros((side, side, words))
        for row, y in enumerate(rows):
            for column, x in enumerate(columns):
                if top <= y < bottom and left <= x < right:
                    place = int((y - top) / (bottom - top) * side), int((x - left) / (right - left) * side)
                    cells[*place, named[row, column]] += 1
        found.append(cells.ravel() * (1 / 2 ** (levels - 1) if level == 0 else 1 / 2 ** (levels - level)))
    found = np.concatenate(found)
    return found / max(1, found.sum())


@pytest.mark.parametrize('levels', [1, 2, 3])
def test_words_are_counted_as_by_loops(levels, monkeypatch):
    random = np.random.default_rng(1)
    rows, columns = np.arange(8, 53, 4.0), np.arange(10, 71, 4.0)
    named = random.integers(0, 5, (len(rows), len(columns)))
    # Also edges on places, a box between places, one with a single place, and one beyond all.
    odd = [[8, 10, 24, 26], [0, 0, 60, 80], [9, 11, 11, 13], [11, 13, 13, 15], [53.5, 0, 60, 80]]
    boxes = np.concatenate([boxes_in(random, 30, 60.0), odd])
    monkeypatch.setattr(handmade, '_WINDOWS', 16)
    found = handmade.counted(named, rows, columns, boxes, 5, levels)
    expected = [by_loops(named, rows, columns, box, 5, levels) for box in boxes]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    sums = found.sum(1)
    assert found.dtype == np.float32 and ((np.abs(sums - 1) < 1e-6) | (sums == 0)).all() and list(sums[-3:]) == pytest.approx([0, 1, 0])
    assert handmade.counted(named, rows, columns, boxes[:0], 5, levels).shape == (0, found.shape[1])


def test_the_pyramid_of_a_window_of_the_whole_image_is_that_of_the_image():
    images = [picture(seed, 60, 80) for seed in range(3)]
    words = handmade.vocabulary(images, 3, words=12)
    assert words.shape == (12, 128)
    found = handmade.pyramids(images[0], [[0, 0, 60, 80], [10, 10, 40, 50], [0, 0, 7, 7]], words)
    described, places = traditional.dense_sift(images[0], handmade.WINDOW, handmade.STRIDE)
    whole = traditional.pyramid(traditional.nearest_words(described, words), places, (60, 80), 12)
    np.testing.assert_allclose(found[0] ** 2, whole, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0], atol=1e-5)  # the last holds the centre of no descriptor


def test_words_come_from_all_images_alike(monkeypatch):
    images = [picture(seed, 60, 80) for seed in range(3)]
    seen = []
    monkeypatch.setattr(traditional, 'DRAWN', 30)
    monkeypatch.setattr(traditional, 'vocabulary', lambda descriptors, words, seed: seen.append((descriptors, words, seed)))
    handmade.vocabulary(iter(images), 3, words=5, seed=7)
    descriptors, words, seed = seen[0]
    assert (words, seed, descriptors.shape) == (5, 7, (30, 128))
    for number, image in enumerate(images):
        own = traditional.dense_sift(image, handmade.WINDOW, handmade.STRIDE)[0].astype(np.float16)
        part = descriptors[10 * number : 10 * number + 10]
        assert (part[:, None] == own).all(-1).any(1).all()


def test_words_of_no_or_too_few_images_are_refused():
    with pytest.raises(SourceError, match='no image'):
        handmade.vocabulary([], 0)
    with pytest.raises(ConfigError, match='words=200'):
        handmade.vocabulary([picture(0, 24, 24)], 1)
    with pytest.raises(SourceError, match='16 x 16'):
        handmade.pyramids(picture(0, 12, 40), [[0, 0, 12, 12]], np.eye(2, 128, dtype=np.float32))
