"""Small drawings: every panel on the axes that it says, lines where their numbers put them, and states in words."""

import math
import re

import pytest
from page_reader import EVIL, Reader

from cnn_research.reporting.curves import Curve, Panel, Point, Searched, learning, searched


def panels(text):
    return re.findall(r'<div class="panel">(.*?)</div>', text, re.S)


def lines(panel):
    """[(kind, [(x, y), ...])] of the lines of a panel."""
    found = re.findall(r'<polyline class="([^"]*)" points="([^"]*)"', panel)
    return [(kind, [tuple(map(int, point.split(','))) for point in points.split()]) for kind, points in found]


def ticks(panel, kind):
    """{what a tick says: its place}."""
    found = re.findall(rf'<text class="{kind}" x="(\d+)" y="(\d+)">([^<]*)', panel)
    return {float(text.replace('−', '-')): int(x if kind == 'across' else y) for x, y, text in found}


def test_a_line_is_where_the_ticks_say_and_panels_share_their_axes():
    one = Panel('a', '#a', [Curve('train', [0, 5, 10], [80, 50, 25]), Curve('holdout', [5, 10], [60, 75])])
    two = Panel('b', None, [Curve('train', [0, 10], [80, 0])])
    text = learning([one, two], 'epochs', 'Error in %')
    first, second = panels(text)
    across, up = ticks(first, 'across'), ticks(first, 'up')
    assert across == ticks(second, 'across') and up == ticks(second, 'up') and {0, 25, 50, 75} <= set(up) and {0, 5, 10} <= set(across)
    top = up[0] + 80 / 75 * (up[75] - up[0])
    assert lines(first)[0] == ('train', [(across[0], pytest.approx(top, abs=1)), (across[5], up[50]), (across[10], up[25])])
    assert lines(first)[1][1][-1] == (across[10], up[75]) and lines(second)[0][1][-1] == (across[10], up[0])
    assert Reader(text).addresses == ['#a'] and 'All panels have the same axes' in text


def test_names_stand_at_the_ends_of_their_lines_and_never_on_each_other():
    near = Panel('a', None, [Curve('train', [0, 4], [9, 5]), Curve('holdout', [0, 4], [9, 5.1])])
    (panel,) = panels(learning([near, near._replace(curves=[Curve('train', [0, 10], [9, 0])])][:1], 'epochs', 'Error in %'))
    names = {kind: (int(x), int(y)) for kind, x, y in re.findall(r'class="name (\w+)" x="(\d+)" y="(\d+)"', panel)}
    assert abs(names['train'][1] - names['holdout'][1]) >= 20 and names['holdout'][1] < names['train'][1]
    assert names['train'][0] > lines(panel)[0][1][-1][0]


def test_what_is_not_finite_leaves_its_place_and_a_long_journal_keeps_its_ends():
    odd = Panel('a', None, [Curve('train', [0, 1, 2, 3], [5, math.inf, math.nan, 1])])
    assert len(lines(learning([odd], 'epochs', 'Loss', log=True))[0][1]) == 2
    count = 1000
    text = learning([Panel('a', None, [Curve('train', range(count), [1 + 9 * (x == count - 1) for x in range(count)])])], 'steps', 'Loss')
    ((_, points),) = lines(text)
    assert len(points) == 120 and points[0][1] > points[-1][1] and '120 points are drawn' in text and len(text) < 4000


def test_a_row_without_a_number_says_so():
    failed, empty = Panel(EVIL, None, (), f'seed 0 failed: {EVIL}'), Panel('b', None, ())
    read = Reader(learning([failed, empty], 'epochs', 'Error in %'))
    assert read.text.count(EVIL) == 2 and 'script' not in read.tags and 'nothing is written down yet' in read.text


def test_a_searched_rate_is_a_curve_whose_chosen_point_is_marked():
    points = [Point({'optimizer.learning_rate': rate}, values, rate == '0.01') for rate, values in
              {'0.1': [30, 32], '0.001': [40, 44], '0.01': [20, 22]}.items()]  # fmt: skip
    lost = Point({'optimizer.learning_rate': '1'}, [], False, 'seeds 0, 1 failed: it diverged')
    text = searched([Searched('row', '#row', [*points, lost])], 'Holdout error in %')
    (panel,) = panels(text)
    across, up = ticks(panel, 'across'), ticks(panel, 'up')
    assert (
        list(across) == [0.001, 0.01, 0.1, 1]
        and len({b - a for a, b in zip(list(across.values()), list(across.values())[1:], strict=False)}) <= 2
    )
    ((_, mean),) = lines(panel)
    (low, foot), (high, head) = list(up.items())[0], list(up.items())[-1]
    assert [x for x, _ in mean] == [across[0.001], across[0.01], across[0.1]]
    assert [y for _, y in mean] == pytest.approx([foot + (head - foot) * (at - low) / (high - low) for at in (42, 21, 31)], abs=1.5)
    dots = re.findall(r'<circle class="(\w+)" cx="(\d+)"', panel)
    assert [int(x) for kind, x in dots if kind == 'chosen'] == 2 * [across[0.01]] and len(dots) == 6
    assert re.search(rf'class="name lost" x="{across[1]}"', panel)
    said = Reader(text).text
    assert 'chosen 0.01: 21.00 ± 1.41 (2) %' in said and '1: seeds 0, 1 failed: it diverged' in said and 'logarithmic' in said


@pytest.mark.parametrize(
    'points',
    [
        [{'optimizer.name': 'sgd'}, {'optimizer.name': 'adam'}],
        [{'data.batch_size': a, 'optimizer.learning_rate': b} for a in ('32', '64') for b in ('0.1', '1')],
    ],
)
def test_a_grid_of_names_or_of_two_fields_is_dots_by_name(points):
    row = Searched('row', None, [Point(at, [10.0 * (place + 1)], place == 0) for place, at in enumerate(points)])
    (panel,) = panels(searched([row], 'Holdout error in %'))
    names = re.findall(r'<text class="up"[^>]*y="(\d+)">([^<]*)', panel)
    dots = re.findall(r'<circle class="\w+" cx="(\d+)" cy="(\d+)"', panel)
    assert [name for _, name in names] == [', '.join(at.values()) for at in points] and [y for y, _ in names] == [y for _, y in dots]
    places = [int(x) for x, _ in dots]
    assert places == sorted(places) and len(set(places)) == len(points)


def test_a_grid_that_does_not_multiply_has_a_plain_axis():
    row = Searched('row', None, [Point({'data.holdout': value}, [10.0]) for value in ('0', '0.1', '0.2')])
    text = searched([row], 'Holdout error in %')
    across = ticks(panels(text)[0], 'across')
    assert across[0.1] - across[0] == pytest.approx(across[0.2] - across[0.1], abs=1) and 'logarithmic' not in text
