"""The plate of maps: fine maps are seen beside their few strongest pixels, coarse ones over the image."""

import numpy as np
import pytest

from cnn_research.reporting import figures as common
from cnn_research.studies.saliency import figures

RANDOM = np.random.default_rng(0)


def test_fine_maps_end_below_their_strongest_pixels_and_coarse_ones_lie_over_the_image():
    images, maps = RANDOM.integers(0, 256, (2, 20, 10, 3), dtype=np.uint8), RANDOM.exponential(size=(2, 20, 10))
    maps[:, 3, 4] = 1000
    figure = figures.plate(images, ['0: a', '1: $b'], {'gradient': maps, 'Grad-CAM': maps}, np.array([[2, 1, 5, 6]] * 2))
    for row, (image, fine, coarse) in enumerate(np.array(figure.axes).reshape(2, 3)):
        np.testing.assert_array_equal(image.images[0].get_array(), images[row])
        (drawn,) = fine.images
        low, high = drawn.get_clim()
        assert low == 0 and (maps[row] > high).sum() == pytest.approx(0.01 * maps[row].size, abs=1)
        beneath, over = coarse.images
        np.testing.assert_allclose(beneath.get_array(), images[row].mean(-1))
        assert over.get_clim() == (0, 1000)
        np.testing.assert_allclose(over.get_alpha(), 0.85 * np.sqrt(maps[row] / 1000))
        for axes in (image, fine, coarse):
            assert {(patch.get_xy(), patch.get_width(), patch.get_height()) for patch in axes.patches} == {((0.5, 1.5), 6, 5)}
    common.data_uri(figure)


@pytest.mark.parametrize(('level', 'white'), [(0.0, 1.0), (3.0, 3.0)])
def test_a_map_of_hardly_any_pixels_or_of_none_can_be_drawn(level, white):
    one = np.zeros((20, 20))
    one[0, 0] = level
    assert figures.white(one, False) == figures.white(one, True) == white
