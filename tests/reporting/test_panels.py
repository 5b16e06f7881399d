"""Panels: what is drawn is what was given, under its name, on common axes."""

import matplotlib.colors
import numpy as np
import pytest

from cnn_research.reporting import figures, panels
from cnn_research.reporting.panels import Line

NOT_MATHS = '$\\nope$'


def test_filter_grids_draw_each_network_under_its_name():
    generator = np.random.default_rng(0)
    networks = [
        (NOT_MATHS, generator.normal(size=(5, 5, 3, 6))),
        ('b', 100 * generator.normal(size=(3, 3, 3, 8))),
        ('c', np.ones((2, 2, 1, 4))),
    ]
    figure = panels.filter_grids(networks, 2, 'shared')
    assert len(figure.axes) == 3
    assert [text.get_text() for text in figure.texts[:3]] == [NOT_MATHS, 'b', 'c'] and 'largest weight' in figure.texts[3].get_text()
    for axes, (_, kernels) in zip(figure.axes, networks, strict=True):
        picture = axes.images[0].get_array()
        np.testing.assert_array_equal(picture, figures.filter_mosaic(kernels, 'shared')[0])
        # Weights are drawn as squares.
        box, inches = axes.get_position(), figure.get_size_inches()
        assert box.width * inches[0] / picture.shape[1] == pytest.approx(box.height * inches[1] / picture.shape[0])
    below = [axes.get_position() for axes in figure.axes]
    assert below[0].x1 < below[1].x0 and below[2].y1 < below[0].y0 and all(box.y0 >= 0 and box.y1 <= 1 for box in below)
    figures.data_uri(figure)


def test_a_line_is_the_mean_of_its_seeds_in_one_colour_everywhere():
    seeds = np.array([[0, 2.0, 4], [0, 4, 8]])
    figure = panels.line_panels(
        [('one', [Line('a', range(3), seeds), Line(NOT_MATHS, range(3), seeds[0])]), ('two', [Line(NOT_MATHS, range(3), seeds[1])])],
        2,
        'px',
        '%',
        {1: 'mid'},
    )
    one, two = figure.axes
    (a, b, mark), (again, _) = one.lines, two.lines
    np.testing.assert_array_equal(a.get_ydata(), [0, 3, 6])
    np.testing.assert_array_equal(again.get_ydata(), [0, 4, 8])
    assert b.get_color() == again.get_color() != a.get_color() and b.get_linestyle() == again.get_linestyle() != a.get_linestyle()
    assert [mark.get_xdata()[0], one.texts[0].get_text()] == [1, 'mid']
    (band,) = one.collections
    assert not two.collections and matplotlib.colors.to_hex(band.get_facecolor()[0]) == a.get_color()
    low, high = band.get_paths()[0].get_extents().get_points()[:, 1]
    assert (low, high) == (0, 8)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['a', NOT_MATHS]
    assert one.get_ylim() == two.get_ylim() and one.get_ylim()[0] == 0 < 8 < one.get_ylim()[1]
    figures.data_uri(figure)


def test_panels_with_nothing_to_show_can_be_drawn():
    figure = panels.line_panels([('one', [Line('a', [0, 1], [np.nan, np.nan])]), ('two', []), ('three', [])], 2, 'x', 'y')
    assert len(figure.axes) == 4 and not figure.axes[3].axison
    figures.data_uri(figure)
