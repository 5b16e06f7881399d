"""The benchmark of seeds that train together: the step together is the step alone, and a line says how much faster it is."""

import numpy as np
import pytest

from benchmarks import footing, together
from cnn_research.errors import ConfigError

SMALL = 'mlp_300 resized(1=6)'


@pytest.fixture(scope='module')
def both():
    return together.sides(SMALL, 4, 2)


def test_seeds_together_are_the_seeds_alone_and_differ_from_each_other(both):
    both.alone(2)
    assert together.apart(both) > 1e-3  # two steps ahead
    both.together(2)
    assert together.apart(both) < 1e-6
    (one, other), _ = both.states()
    assert int(one.step) == 4 and np.abs(np.subtract(*(s.params['layer1']['dense']['kernel'] for s in (one, other)))).max() > 1e-3
    assert both.memory[1] > both.memory[0] > 0


@pytest.mark.slow
def test_so_are_convolutions_and_pooling():
    assert together.apart(together.sides('lenet5_modern resized(1=3,2=4,3=8)', 4, 2)) < 1e-6


def test_a_step_that_is_another_is_no_line(monkeypatch):
    monkeypatch.setattr(together, 'apart', lambda both: 2e-6)
    monkeypatch.setattr(together, 'sides', lambda *asked: None)
    with pytest.raises(ArithmeticError, match='lies 2.0e-06 from the same'):
        together.row(SMALL, 4, 2, 1, 0.0)


def test_a_line_holds_what_its_table_shows(both, monkeypatch):
    monkeypatch.setattr(together, 'sides', lambda *asked: both)
    monkeypatch.setattr(together, 'apart', lambda both: 0.0)
    line = together.row(SMALL, 4, 2, 1, 0.0)
    assert {column.key for column in together.COLUMNS} == set(line)
    assert line['ratio'] == pytest.approx(line['together'] / line['alone'])


@pytest.mark.parametrize('text', ['lenet5', 'lenet5@', '@4', 'lenet5@x', ''])
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(ConfigError, match='cannot be read'):
        footing.requested(text)
