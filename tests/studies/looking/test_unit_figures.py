"""Plates of units: what is drawn is what a unit sees and nothing else, as large as its place allows."""

import numpy as np
import pytest

from cnn_research.models import zoo
from cnn_research.reporting import figures
from cnn_research.studies.looking import activations
from cnn_research.studies.looking.figures import units
from cnn_research.studies.looking.figures.units import Unit

NET = zoo.architecture('zfnet_32')
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize('tap', ['layer1.relu', 'layer3.relu', 'layer5.relu', 'layer7.relu'])
def test_what_is_cropped_is_every_pixel_of_the_image_that_the_unit_sees_and_no_other(tap):
    image = RANDOM.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    shape, field = NET.taps()[tap], NET.row(tap).receptive_field
    last = shape[0] - 1 if len(shape) == 3 else 0
    for place in {(0, 0), (0, last), (last, 0), (last // 2, last)}:
        found = activations.patches(image, NET, tap, [place[0]], [place[1]])
        drawn = units.cropped(found.windows[0], found.inside[0])
        # By loops over the image's pixels: those within the receptive field.
        start = [NET.row(tap).start + at * NET.row(tap).effective_stride for at in place]
        seen = [[row for row in range(32) if not field or begin <= row < begin + field] for begin in start]
        expected = np.array([[image[0, row, column] for column in seen[1]] for row in seen[0]])
        np.testing.assert_array_equal(drawn, expected)


def test_a_picture_fills_its_cell_in_one_direction_and_keeps_its_shape_and_middle():
    for shape in [(4, 4), (2, 7), (9, 3), (1, 1)]:
        left, right, bottom, top = units.placed(shape, (2.0, 1.0, 3.0, 1.5))
        assert (bottom - top) / (right - left) == pytest.approx(shape[0] / shape[1])
        assert right - left == pytest.approx(3.0) or bottom - top == pytest.approx(1.5)
        assert left > 2 - 1e-9 and right < 5 + 1e-9 and top > 1 - 1e-9 and bottom < 2.5 + 1e-9
        assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((3.5, 1.75))


def plates(inside, channels=3):
    projections = RANDOM.normal(size=(*inside.shape, channels))
    patches = RANDOM.integers(0, 256, projections.shape, dtype=np.uint8)
    named = [Unit(f'unit {number}', f'{number} of 4: $a_b$ {"long " * 30}') for number in range(len(inside))]
    return units.layer_figure(named, projections, patches, inside), projections, patches


def test_a_plate_has_the_projections_on_the_left_and_the_same_pixels_on_the_right():
    inside = np.zeros((3, 4, 6, 6), bool)
    inside[0], inside[1, :, 2:, :3], inside[2, 0, :1, 4:] = True, True, True  # the third unit has one image alone
    figure, projections, patches = plates(inside)
    assert [len(axes.images) for axes in figure.axes] == [8, 8, 2]
    for unit, axes in enumerate(figure.axes):
        there = [place for place in range(4) if inside[unit, place].any()]
        halves = axes.images[: len(there)], axes.images[len(there) :]
        for place, left, right in zip(there, *halves, strict=True):
            rows, columns = np.nonzero(inside[unit, place])
            cut = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
            np.testing.assert_array_equal(right.get_array(), patches[unit, place][cut])
            # Cropping comes after scaling: what is not seen has no share in it, for a projection is 0 there.
            np.testing.assert_array_equal(left.get_array(), units.grey_centred(projections[unit, place])[cut])
            moved = np.array(right.get_extent()) - np.array(left.get_extent())
            np.testing.assert_allclose(moved, [moved[0], moved[0], 0, 0])
            assert moved[0] > 0
    assert [axes.get_xlim()[0] for axes in figure.axes] == [0, 0, 0]
    texts = [text.get_text() for text in figure.texts]
    assert 'unit 1' in texts and any(text.startswith('1 of 4: $a_b$ long') and text.endswith('…') for text in texts)
    figures.data_uri(figure)


@pytest.mark.parametrize('channels', [1, 3])
def test_growth_is_drawn_in_a_row_with_a_mark_where_the_image_changes(channels):
    inside = np.ones((2, 3, 5, 5), bool)
    inside[1, 2, :, :2] = False
    projections = RANDOM.normal(size=(2, 3, 5, 5, channels))
    changed = np.array([[False, True, False], [False, False, True]])
    named = [Unit('unit 4', '9 of 9: cat'), Unit('unit 8', 'nothing excites it')]
    figure = units.evolution_figure(named, [1, 2, 5.5], projections, inside, changed)
    assert [len(axes.images) for axes in figure.axes] == [3, 3]
    assert figure.axes[1].images[2].get_array().shape[:2] == (5, 3)
    texts = [text.get_text() for text in figure.texts]
    assert texts.count('▾') == 2 and {'epoch 5.5', 'unit 8', '9 of 9: cat'} <= set(texts)
    figures.data_uri(figure)
