"""Which units and images are shown, against rules carried out by hand."""

import numpy as np
import pytest

from cnn_research.studies.looking import choosing

NOTHING = -np.inf
# A rectified layer of six units, three strongest images each, and the images' classes.
VALUES = np.array([[5, 4, 3], [9, 1, 0], [2, 2, 1], [0, 0, 0], [7, 7, 7], [4, 3, NOTHING]], np.float32)
LABELS = np.array([[1, 1, 2], [0, 0, 0], [1, 1, 1], [3, 3, 3], [2, 1, 0], [2, 2, -1]])


def test_what_is_zero_after_rectification_does_not_excite_a_unit_and_what_is_negative_may():
    assert choosing.exciting(VALUES).tolist() == [[True] * 3, [True, True, False], [True] * 3, [False] * 3, [True] * 3, [True, True, False]]
    assert choosing.exciting(np.array([[1, 0, -2], [np.nan, 0, NOTHING]])).tolist() == [[True] * 3, [False, True, False]]


def test_the_commonest_class_counts_images_that_excite_and_takes_the_strongest_of_equals():
    classes, most = choosing.commonest(VALUES, LABELS)
    assert classes.tolist() == [1, 0, 1, -1, 2, 2] and most.tolist() == [2, 2, 3, 0, 1, 2]


def by_loops(values, labels):
    """The rule in words: in each round every class gives the best unit that it still has, of a round the best unit first."""

    def counted(unit):
        there = [label for value, label in zip(values[unit], labels[unit], strict=True) if np.isfinite(value) and value > 0]
        best = max(there.count(label) for label in there) if there else 0
        return best, next((label for label in there if there.count(label) == best), None)

    def strength(unit):
        known = values[values > 0]
        return np.mean([value if value > 0 else known[np.isfinite(known)].min() for value in values[unit]])

    left = sorted(range(len(values)), key=lambda unit: (-counted(unit)[0], -strength(unit), unit))
    order, silent = [], [unit for unit in left if counted(unit)[0] == 0]
    left = [unit for unit in left if unit not in silent]
    while left:
        taken = set()
        for unit in list(left):
            if counted(unit)[1] not in taken:
                taken.add(counted(unit)[1])
                order.append(unit)
                left.remove(unit)
    return order + silent


def test_selective_units_come_from_every_class_in_turn():
    assert choosing.units('selective', 6, VALUES, LABELS).tolist() == [2, 1, 5, 0, 4, 3] == by_loops(VALUES, LABELS)
    random = np.random.default_rng(0)
    for _ in range(20):
        values = -np.sort(-random.integers(0, 6, (12, 5)), axis=1).astype(np.float32)
        labels = random.integers(0, 4, (12, 5))
        assert choosing.units('selective', 12, values, labels).tolist() == by_loops(values, labels)


@pytest.mark.parametrize(
    ('rule', 'count', 'numbers'),
    [('strongest', 6, [4, 0, 1, 5, 2, 3]), ('strongest', 2, [4, 0]), ('spread', 3, [0, 2, 5]), ('spread', 9, [0, 1, 2, 3, 4, 5])],
)
def test_strong_units_come_first_and_spread_ones_look_at_nothing(rule, count, numbers):
    assert choosing.units(rule, count, VALUES, LABELS).tolist() == numbers
    if rule == 'spread':
        assert choosing.units(rule, count, VALUES[::-1], LABELS).tolist() == numbers


def test_the_images_that_lose_most_are_shown_in_their_order():
    clean, lowest = np.array([0.9, 0.5, 0.9, 1.0, 0.2]), np.array([0.1, 0.4, 0.8, 0.2, 0.2])
    assert choosing.dropping(clean, lowest, 2).tolist() == [0, 3] and choosing.dropping(clean, lowest, 3).tolist() == [0, 1, 3]
    assert choosing.dropping(clean, lowest, 9).tolist() == [0, 1, 2, 3, 4]
