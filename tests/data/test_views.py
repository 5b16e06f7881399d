"""Views of images as sources: what each shows, and that each is another source."""

from dataclasses import replace

import numpy as np
import pytest

from cnn_research.data.source import subset
from cnn_research.data.sources import open_source
from cnn_research.data.views import views


@pytest.fixture(scope='module', params=['digits', 'clutter'])
def source(request):
    return subset(open_source(request.param, 'test'), np.arange(6))


def test_sixteen_views_keep_size_labels_and_are_sources_of_their_own(source):
    found = views(source, 'sixteen')
    assert len(found) == 16 and found[0] is source and len({view.fingerprint for view in found}) == 16
    plain, labels = source.read(range(6))
    for view in found:
        images, same = view.read(range(6))
        assert (same == labels).all() and (view.labels() == labels).all() and view.channels == source.channels
        assert all(image.shape == one.shape and image.dtype == np.uint8 for image, one in zip(images, plain, strict=True))
    assert views(source, 'centre') == [source]


def test_the_second_half_mirrors_the_first(source):
    found = views(source, 'sixteen')
    for first, second in zip(found[:8], found[8:], strict=True):
        for image, mirrored in zip(first.read(range(6))[0], second.read(range(6))[0], strict=True):
            assert np.array_equal(image[:, ::-1], mirrored)


def test_a_cut_is_its_corner_enlarged():
    rows, columns = np.mgrid[:32, :32]
    ramp = np.stack([5 * rows, 5 * columns, rows + columns], axis=-1).astype(np.uint8)
    source = replace(open_source('clutter', 'test'), num_examples=1, read=lambda indices: ([ramp], np.zeros(1, np.int32)))
    side, left_over = 21, 11
    for number, (top, left) in enumerate([(0, 0), (0, left_over), (left_over, 0), (left_over, left_over), (5.5, 5.5)], start=1):
        enlarged = views(source, 'sixteen')[number].read([0])[0][0].astype(float)
        # Pixel i of 32 lies at (i + 1/2) side / 32 - 1/2 of the cut; the middle's corner is rounded to a whole pixel.
        along = ((np.arange(32) + 0.5) * side / 32 - 0.5).clip(0, side - 1)
        assert abs(enlarged[..., 0] - 5 * (top + along[:, None])).max() < 4 and abs(enlarged[..., 1] - 5 * (left + along)).max() < 4


def test_turned_images_turn_to_both_sides_about_their_middle():
    source = subset(open_source('digits', 'test'), np.arange(3))
    found = views(source, 'sixteen')
    for image, left, right in zip(*(found[number].read(range(3))[0] for number in (0, 6, 7)), strict=True):
        assert abs(left[14, 14].astype(int) - image[14, 14]).max() < 120 and not np.array_equal(left, right)
        assert abs(left.astype(float).sum() / image.sum() - 1) < 0.5
