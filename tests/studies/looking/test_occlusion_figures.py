"""Figures of occlusion, invariance and feature maps: what is drawn is what the arrays say, where they say it."""

import matplotlib
import numpy as np
import pytest

from cnn_research.reporting import figures
from cnn_research.studies.looking.figures.feature_maps import map_rows
from cnn_research.studies.looking.figures.invariance import Curves, invariance_curves
from cnn_research.studies.looking.figures.occlusion import Example, ends, occlusion_panels

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
    """The five panels of a row; the bars of its two scales follow."""
    return figure.axes[7 * row : 7 * row + 5]


def test_each_map_lies_on_the_pixels_that_the_square_visits():
    one = example([11, 11, 2, 11, 3, 2])
    figure = occlusion_panels([one, example([0] * 6)], CLASSES, 4, 'layer 5')
    image, activation, projection, probability, _ = panels_of(figure)
    np.testing.assert_array_equal(image.images[0].get_array(), one.image)
    # Over the image in grey, each on a scale from its own lowest to its own highest value, which are printed.
    for axes, values in ((activation, one.activation), (probability, one.probability)):
        beneath, over = axes.images
        np.testing.assert_allclose(beneath.get_array(), 0.3 * 255 + 0.7 * one.image.mean(-1))
        np.testing.assert_array_equal(over.get_array(), values)
        assert over.get_clim() == (values.min(), values.max()) and 0 < over.get_alpha() < 1
        assert {f'{values.min():.3g}', f'{values.max():.3g}'} <= {text.get_text() for text in figure.texts}
    # Cells of 4 px about columns 2 and 6 and rows 1, 5 and 9; the first reach beyond the image, which cuts them.
    assert tuple(probability.images[1].get_extent()) == (0 - 0.5, 8, 11.5, -1)
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
    legend, drawn = axes.get_legend(), axes.images[1]
    assert [text.get_text() for text in legend.get_texts()] == ['$_x', 'class 3', 'class 5']
    colours = {text.get_text(): patch.get_facecolor() for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)}
    shown = drawn.cmap(drawn.norm(drawn.get_array()), alpha=drawn.get_alpha())
    for number, name in ((11, '$_x'), (3, 'class 3'), (5, 'class 5')):
        assert (shown[np.array([3, 11, 3, 11, 5, 3]).reshape(3, 2) == number] == colours[name]).all()


def test_many_classes_share_a_grey_and_a_true_class_that_never_wins_is_not_named():
    places = tuple(range(0, 12, 3)), tuple(range(0, 8, 2))
    predicted = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7]
    axes = panels_of(occlusion_panels([example(predicted, *places)], CLASSES, 3, 'layer 5'))[4]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == [*(f'class {number}' for number in range(5)), '3 others']
    drawn = axes.images[1]
    grey = matplotlib.colors.to_rgba('#cccccc')
    np.testing.assert_array_equal((drawn.cmap(drawn.norm(drawn.get_array())) == grey).all(-1).ravel(), np.array(predicted) > 4)


def test_one_place_fills_the_image():
    one = example([2], rows=(5,), columns=(3,), image=(12, 8, 1))
    probability = panels_of(occlusion_panels([one], CLASSES, 3, 'layer 5'))[3]
    left, right, bottom, top = probability.images[1].get_extent()
    assert left <= -0.5 and right >= 7.5 and top <= -0.5 and bottom >= 11.5


@pytest.mark.parametrize(
    ('low', 'high', 'said'),
    [(0.0, 1.0, ['0', '1']), (0.99991, 0.99994, ['0.99991', '0.99994']), (0.5, 0.5, ['0.5 everywhere']), (-3.14159, 20, ['-3.14', '20'])],
)
def test_the_ends_of_a_scale_are_told_apart(low, high, said):
    assert ends(low, high) == said


def test_an_even_map_can_be_drawn():
    one = example([2] * 6)._replace(probability=np.full((3, 2), 0.25), activation=np.zeros((3, 2)))
    figure = occlusion_panels([one], CLASSES, 3, 'layer 5')
    assert {'0.25 everywhere', '0 everywhere'} <= {text.get_text() for text in figure.texts}
    figures.data_uri(figure)


def curves(label, values, images=9):
    pictures = RANDOM.integers(0, 256, (images, 3, 6, 4, 3), dtype=np.uint8)
    return Curves(label, values, {'layer1': RANDOM.uniform(0, 3, (images, 5))}, RANDOM.uniform(0, 1, (images, 5)), values[::2], pictures)


def test_invariance_has_a_line_for_each_image_on_shared_scales_beside_its_pictures():
    rows = [curves('scale', np.linspace(1, 1.8, 5)), curves('rotation', np.arange(0, 361, 90))]
    figure = invariance_curves(rows, CLASSES[-9:])
    grid = np.array(figure.axes).reshape(2, 3)
    for (pictured, *panels), row in zip(grid, rows, strict=True):
        for axes, measured in zip(panels, (row.distance['layer1'], row.probability), strict=True):
            np.testing.assert_array_equal([line.get_ydata() for line in axes.lines], measured)
            np.testing.assert_array_equal(axes.lines[0].get_xdata(), row.values)
            assert axes.get_xlim() == (row.values[0], row.values[-1])
            assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 9
        assert row.x_label in [axes.get_xlabel() for axes in panels]
        np.testing.assert_array_equal([drawn.get_array() for drawn in pictured.images], row.pictures.reshape(27, 6, 4, 3))
        # Each image's pictures stand beside the colour of its line, in columns above their values.
        for number, patch in enumerate(pictured.patches):
            assert matplotlib.colors.to_hex(patch.get_facecolor()) == panels[0].lines[number].get_color()
            for column, tick in enumerate(pictured.get_xticks()):
                left, right, bottom, top = pictured.images[3 * number + column].get_extent()
                assert (left + right) / 2 == pytest.approx(tick) and (top, bottom - top) == pytest.approx((patch.get_y(), 1.5))
        assert [text.get_text() for text in pictured.get_xticklabels()] == [f'{value:.3g}' for value in row.values[::2]]
    highest = max(row.distance['layer1'].max() for row in rows)
    assert grid[0, 1].get_ylim() == grid[1, 1].get_ylim() and grid[0, 1].get_ylim() == pytest.approx((0, 1.04 * highest))
    assert grid[0, 2].get_ylim() == grid[1, 2].get_ylim() == (0, 1.04)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == CLASSES[-9:]
    figures.data_uri(figure)


def test_every_layer_has_the_scale_of_the_layer_that_moves_most():
    values = np.linspace(-2, 2, 5)
    row = curves('translation', values)._replace(distance={'layer1': np.full((9, 5), 0.5), 'layer7': np.full((9, 5), 4.0)})
    _, low, high, _ = invariance_curves([row], CLASSES[-9:]).axes
    assert low.get_ylim() == high.get_ylim() == pytest.approx((0, 4.16)) and low.get_shared_y_axes().joined(low, high)
    still = row._replace(distance={'layer1': np.zeros((9, 5))})
    assert invariance_curves([still], CLASSES[-9:]).axes[1].get_ylim()[1] == 1


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
