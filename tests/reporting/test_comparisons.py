"""Figures of comparisons: what is drawn is the data, every name is there, and labels leave each other room."""

import itertools
import math

import numpy as np
import pytest

from cnn_research.reporting import figures
from cnn_research.reporting.claims import interval
from cnn_research.reporting.comparisons import Point, accuracy_curves, bars, dots, interval_curves, scatter

# As mathematics this is an error: a figure that draws it has not tried.
NOT_MATHS = '$\\nope$'
# The last draw of a figure for a page: whatever it warns of is an error.
DRAWN = figures.data_uri


def test_bars_end_at_the_mean_and_carry_the_interval():
    ours = [[1.0, 2.0, 4.0], [-3.0], []]
    references = {'paper': [1.5, None, 40.0], 'deck': [2.5, 0.5, None]}
    figure = bars(['a', NOT_MATHS, 'c'], {'ours': ours}, NOT_MATHS, references, ['', 'reduced', 'failed: $'])
    DRAWN(figure)
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [interval(ours[0])[0], -3.0, 0.0]
    (whisker,) = axes.collections
    np.testing.assert_allclose(whisker.get_segments()[0][:, 0], interval(ours[0])[1:])
    markers = {tuple(line.get_xdata()) for line in axes.lines if line.get_markerfacecolor() == 'white'}
    assert markers == {(1.5, 40.0), (2.5, 0.5)}
    assert [text.get_text() for text in axes.texts] == ['2.33', '−3.00']
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ['a', f'{NOT_MATHS}\nreduced', 'c\nfailed: $']
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['ours', 'paper', 'deck']
    # The first row is the uppermost, and a row's markers stay within it.
    assert axes.yaxis_inverted()
    heights = [line.get_ydata() for line in axes.lines if line.get_markerfacecolor() == 'white']
    assert all(np.abs(np.asarray(height) - np.round(height)).max() < 0.5 for height in heights)


def test_bars_of_several_series_do_not_overlap():
    figure = bars(['a', 'b'], {'one': [[1.0], [2.0]], 'two': [[3.0], [4.0]], 'three': [[5.0], []]}, 'x', {'paper': [1.0, 2.0]})
    DRAWN(figure)
    (axes,) = figure.axes
    spans = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches)
    spans += [(height, height) for height in axes.lines[0].get_ydata()]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(sorted(spans)))


def test_bars_refuse_columns_of_another_length():
    for arguments in (({'ours': [[1.0]]}, 'x'), ({}, 'x', {'paper': [1.0]}), ({}, 'x', {}, ['a'])):
        with pytest.raises(ValueError):
            bars(['a', 'b'], *arguments)
    DRAWN(bars([], {'ours': []}, 'x'))


def test_bars_of_long_labels_keep_their_room():
    figure = bars(['a row of many words ' * 9, 'x' * 400], {'ours': [[1.0], [2.0]]}, 'x')
    DRAWN(figure)
    (axes,) = figure.axes
    assert axes.get_position().width > 0.3
    assert all(tick.get_text().endswith('…') for tick in axes.get_yticklabels())


def label_boxes(figure):
    """Label: its box in pixels, as drawn at the figure's own resolution."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    return [(text.get_text(), text.get_window_extent(renderer)) for text in figure.axes[0].texts if text.get_text()]


@pytest.mark.parametrize('seed', range(4))
def test_labels_cover_neither_each_other_nor_a_point(seed):
    generator = np.random.default_rng(seed)
    # Two tight clusters, of which one is at the edge, and a scattering.
    x = np.concatenate([10 ** generator.normal(6, 0.04, 5), 10 ** generator.normal(8, 0.05, 5), 10 ** generator.uniform(5, 8, 4)])
    y = np.concatenate([generator.normal(40, 1, 5), generator.normal(20, 1, 5), generator.uniform(20, 60, 4)])
    points = [Point(f'without {number},7', *pair, group=str(number % 3)) for number, *pair in zip(range(14), x, y[:, None], strict=True)]
    figure = scatter(points, 'parameters', NOT_MATHS)
    DRAWN(figure)
    labels = label_boxes(figure)
    assert [text for text, _ in labels] == [point.label for point in points]
    covered = [(one, other) for (one, a), (other, b) in itertools.combinations(labels, 2) if a.overlaps(b)]
    assert not covered
    (axes,) = figure.axes
    spots = axes.transData.transform(np.column_stack([x, y]))
    assert not [text for text, box in labels for spot in spots if box.contains(*spot)]
    frame = axes.get_window_extent()
    assert all(frame.containsx(edge) for _, box in labels for edge in (box.x0, box.x1))


def test_scatter_draws_the_data_and_leaves_out_what_is_not_there():
    points = [Point(NOT_MATHS, 1e4, [1.0, 2.0, 4.0], '_a'), Point('b', 6e7, [5.0], 'b'), Point('none', 5, [], 'c')]
    figure = scatter(points, 'parameters', 'error')
    DRAWN(figure)
    (axes,) = figure.axes
    assert axes.get_xscale() == 'log'
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines] == [(1e4, interval([1.0, 2.0, 4.0])[0]), (6e7, 5.0)]
    np.testing.assert_allclose(axes.collections[0].get_segments()[0][:, 1], interval([1.0, 2.0, 4.0])[1:])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['_a', 'b']
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert '100 k' in ticks and '10 M' in ticks
    with pytest.raises(ValueError):
        scatter([Point('a', 0, [1.0])], 'x', 'y')
    DRAWN(scatter([], 'x', 'y'))


def test_scatter_is_the_same_at_every_resolution(tmp_path):
    made = [figures.save(scatter([Point('a', 10, [1.0, 2.0]), Point('b', 11, [1.1])], 'x', 'y'), tmp_path / name) for name in 'ab']
    assert [file.read_bytes() for file in made[0]] == [file.read_bytes() for file in made[1]]


def test_curves_are_means_within_one_standard_deviation():
    values = [[1.0, 2.0, 4.0], [3.0, 5.0, 4.0], [6.0, 6.5, 8.0]]
    names = [*(f'layer {number}' for number in range(1, 8)), NOT_MATHS, '_pixels']
    figure = accuracy_curves([(name, [1, 5, 30], values) for name in names], 'n', 'accuracy')
    DRAWN(figure)
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.mean(values, axis=1))
    corners = axes.collections[0].get_paths()[0].vertices
    for x, splits in zip([1, 5, 30], values, strict=True):
        at = corners[corners[:, 0] == x][:, 1]
        assert math.isclose(at.min(), np.mean(splits) - np.std(splits, ddof=1))
        assert math.isclose(at.max(), np.mean(splits) + np.std(splits, ddof=1))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.lines}) == len(names)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ['1', '5', '30']
    # One split has no spread, and none is a gap.
    DRAWN(accuracy_curves([('a', [1, 2, 3], [[1.0], [], [2.0]])], 'n', 'accuracy'))


def test_curves_over_a_logarithm_have_intervals_beside_each_other():
    values = {1: [1.0, 2.0, 4.0], 30: [5.0, 6.0, 7.0], 3: [2.0]}
    figure = interval_curves([('a', values), (NOT_MATHS, {1: [2.0, 3.0, 3.5]}), ('none', {3: []})], 'n', 'accuracy', (2.5, 'chance'))
    DRAWN(figure)
    (axes,) = figure.axes
    first, second = axes.lines[:2]
    np.testing.assert_allclose(first.get_ydata(), [np.mean(values[x]) for x in (1, 3, 30)])  # in the order of x
    np.testing.assert_allclose(first.get_xdata(), [1, 3, 30], rtol=0.05)
    assert first.get_xdata()[0] < second.get_xdata()[0] and axes.get_xscale() == 'log' and axes.get_ylim()[0] == 0
    ends = [part for part in axes.collections[0].get_segments() if len(part)]
    np.testing.assert_allclose([part[:, 1] for part in ends], [interval(values[x])[1:] for x in (1, 30)])  # one seed has none
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ['1', '3', '30']
    with pytest.raises(ValueError, match='above 0'):
        interval_curves([('a', {0: [1.0]})], 'n', 'accuracy')


def test_differences_stand_on_their_own_axis_and_a_far_published_one_at_its_edge():
    ours = [[0.4, 0.6, 0.5], [2.0, 2.4, 2.2], []]
    figure = dots(['a', 'b', 'c'], ours, 'points', {'paper': [3.0, 32.0, None], 'deck': [None, -40.0, 1.0]})
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert low < 0 < 3.0 < high < 10
    points = {line.get_marker(): line.get_xydata() for line in axes.lines if line.get_marker() in 'Ds' and len(line.get_xydata())}
    assert points['D'][:, 0].tolist() == [3.0, high] and points['s'][:, 0].tolist() == [low, 1.0]
    heights = np.concatenate([of[:, 1] for of in points.values()])
    assert len({round(float(height), 6) for height in heights}) == 4  # none covers another
    told = {text.get_text() for text in axes.texts}
    assert {'+32.0', '−40.0', '+0.50', '+2.20'} <= told
    drawn = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() == 'o' and len(line.get_xydata())]
    assert [x for x, _ in drawn] == [pytest.approx(0.5), pytest.approx(2.2)]
    with pytest.raises(ValueError, match='entries for 1 rows'):
        dots(['a'], [[1.0]], 'points', {'paper': []})
