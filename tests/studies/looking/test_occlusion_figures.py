"""Figures of occlusion, invariance and feature maps: what is drawn is what the arrays say, where they say it."""

import matplotlib
import numpy as np
import pytest

from cnn_research.reporting import figures
from cnn_research.studies.looking.figures.feature_maps import map_rows
from cnn_research.studies.looking.figures.invariance import Curves, invariance_curves
from cnn_research.studies.looking.figures.occlusion import Example, occlusion_panels

RANDOM = np.random.default_rng(0)
CLASSES = [f'class {number}' for number in range(11)] + ['$_x']


def example(predicted, rows=(1, 5, 9), columns=(2, 6), image=(12, 8, 3)):
    shape = len(rows), len(columns)
    return Example(
        RANDOM.integers(0, 256, image, dtype=np.uint8),
        11,
        4,
        0.9,
        np.array(rows),
        np.array(columns),
        RANDOM.uniform(0, 5, shape),
        RANDOM.permutation(np.linspace(0.1, 0.9, shape[0] * shape[1])).reshape(shape),
        np.array(predicted).reshape(shape),
        RANDOM.normal(size=(3, 12, 8, 3)),
    )


def panels_of(figure, row=0):
    """The five panels of a row; its two scales follow."""
    return figure.axes[7 * row : 7 * row + 5]


def test_each_map_lies_on_the_pixels_that_the_square_visits():
    one = example([11, 11, 2, 11, 3, 2])
    figure = occlusion_panels([one, example([0] * 6)], CLASSES, 4, 'layer 5')
    image, activation, projection, probability, _ = panels_of(figure)
    np.testing.assert_array_equal(image.images[0].get_array(), one.image)
    np.testing.assert_array_equal(activation.images[0].get_array(), one.activation)
    np.testing.assert_array_equal(probability.images[0].get_array(), one.probability)
    assert probability.images[0].get_clim() == (0, 1) and activation.images[0].get_clim()[1] == one.activation.max()
    # Cells of 4 px about columns 2 and 6 and rows 1, 5 and 9; the first reach beyond the image, which cuts them.
    assert tuple(probability.images[0].get_extent()) == (0 - 0.5, 8, 11.5, -1)
    assert all(axes.get_xlim() == (-0.5, 7.5) and axes.get_ylim() == (11.5, -0.5) for axes in (image, activation, probability))
    lowest = np.argwhere(one.probability == one.probability.min())[0]
    for frame in image.patches:
        assert frame.get_xy() == (one.columns[lowest[1]] - 2.5, one.rows[lowest[0]] - 2.5) and frame.get_width() == frame.get_height() == 4
    assert 'p = 0.90' in ' '.join(text.get_text() for text in figure.texts)
    figures.data_uri(figure)


def test_projections_are_scaled_each_and_the_first_is_framed():
    one = example([0] * 6)
    axes = panels_of(occlusion_panels([one], CLASSES, 3, 'layer 5'))[2]
    drawn = np.asarray(axes.images[0].get_array())
    for place, projection in (((0, 0), one.projections[0]), ((13, 0), one.projections[2])):
        shares = projection / np.abs(projection).max()
        expected = [127.5 + 127.5 * abs(share) ** 0.7 * (1 if share > 0 else -1) for share in shares.ravel()]
        np.testing.assert_allclose(drawn[place[0] : place[0] + 12, :8].ravel(), expected, atol=0.51)
    assert (drawn[13:, 9:] == 255).all()
    (frame,) = axes.patches
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((-0.5, -0.5), 8, 12)


def test_the_legend_names_the_classes_that_occur_the_true_one_first():
    axes = panels_of(occlusion_panels([example([3, 11, 3, 11, 5, 3])], CLASSES, 3, 'layer 5'))[4]
    legend, drawn = axes.get_legend(), axes.images[0]
    assert [text.get_text() for text in legend.get_texts()] == ['$_x', 'class 3', 'class 5']
    colours = {text.get_text(): patch.get_facecolor() for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)}
    shown = drawn.cmap(drawn.norm(drawn.get_array()))
    for number, name in ((11, '$_x'), (3, 'class 3'), (5, 'class 5')):
        assert (shown[np.array([3, 11, 3, 11, 5, 3]).reshape(3, 2) == number] == colours[name]).all()


def test_many_classes_share_a_grey_and_a_true_class_that_never_wins_is_not_named():
    places = tuple(range(0, 12, 3)), tuple(range(0, 8, 2))
    predicted = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7]
    axes = panels_of(occlusion_panels([example(predicted, *places)], CLASSES, 3, 'layer 5'))[4]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == [*(f'class {number}' for number in range(5)), '3 others']
    drawn = axes.images[0]
    grey = matplotlib.colors.to_rgba('#cccccc')
    np.testing.assert_array_equal((drawn.cmap(drawn.norm(drawn.get_array())) == grey).all(-1).ravel(), np.array(predicted) > 4)


def test_one_place_fills_the_image():
    one = example([2], rows=(5,), columns=(3,), image=(12, 8, 1))
    probability = panels_of(occlusion_panels([one], CLASSES, 3, 'layer 5'))[3]
    left, right, bottom, top = probability.images[0].get_extent()
    assert left <= -0.5 and right >= 7.5 and top <= -0.5 and bottom >= 11.5


def test_invariance_has_a_line_for_each_image_on_scales_that_columns_share():
    values = {'scale': np.linspace(1, 1.8, 5), 'rotation': np.arange(0, 361, 90)}
    rows = [Curves(label, v, {'layer 1': RANDOM.uniform(0, 3, (9, 5)), 'p': RANDOM.uniform(0, 1, (9, 5))}) for label, v in values.items()]
    figure = invariance_curves(rows, CLASSES[-9:])
    grid = np.array(figure.axes).reshape(2, 2)
    for across, row in zip(grid, rows, strict=True):
        for axes, measured in zip(across, row.measured.values(), strict=True):
            np.testing.assert_array_equal([line.get_ydata() for line in axes.lines], measured)
            np.testing.assert_array_equal(axes.lines[0].get_xdata(), row.values)
            assert axes.get_xlabel() == row.x_label and axes.get_xlim() == (row.values[0], row.values[-1])
            assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 9
    for column in grid.T:
        assert column[0].get_ylim() == column[1].get_ylim() and column[0].get_ylim()[0] == 0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == CLASSES[-9:]
    figures.data_uri(figure)


@pytest.mark.parametrize('scaling', ['each', 'shared'])
def test_rows_of_maps_show_the_chosen_maps_with_zero_where_the_caption_says(scaling):
    rows = {'convolution': RANDOM.normal(size=(6, 5, 4)), 'max_pool': RANDOM.uniform(0, 2, (3, 2, 4))}
    image = RANDOM.integers(0, 256, (6, 5, 1), dtype=np.uint8)
    figure = map_rows(image, rows, [3, 0], scaling)
    first, *drawn = [axes.images[0] for axes in figure.axes]
    np.testing.assert_array_equal(first.get_array(), image[..., 0])
    for index, (name, number) in enumerate((name, number) for name in rows for number in (3, 0)):
        one, largest = rows[name][..., number], np.abs(rows[name][..., [number] if scaling == 'each' else [3, 0]]).max()
        np.testing.assert_array_equal(drawn[index].get_array(), one)
        np.testing.assert_allclose(drawn[index].get_clim(), (-largest if name == 'convolution' else 0, largest))
    assert {'map 3', 'map 0', 'convolution', 'max pool'} <= {text.get_text() for text in figure.texts}
    figures.data_uri(figure)


def test_dead_maps_can_be_drawn_and_other_scalings_are_refused():
    figures.data_uri(map_rows(np.zeros((4, 4, 3), np.uint8), {'relu': np.zeros((4, 4, 2))}, [1]))
    with pytest.raises(ValueError, match='shared'):
        map_rows(np.zeros((4, 4, 3), np.uint8), {}, [0], 'none')
