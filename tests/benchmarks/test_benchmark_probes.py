"""The benchmark of the probes sets the same objectives beside each other."""

import numpy as np
import pytest

from benchmarks import probes


@pytest.mark.slow
def test_both_sides_solve_the_same_problem(monkeypatch):
    monkeypatch.setattr(probes, 'CLASSES', 4)
    monkeypatch.setattr(probes, 'PER_CLASS', 12)
    monkeypatch.setattr(probes, 'COSTS', (1e-4, 1e-2))
    monkeypatch.setitem(probes.DIMENSIONS, 'layer1', 60)
    features, labels = probes.examples(60)
    assert features.shape == (48, 60) and np.bincount(labels).tolist() == [12] * 4
    alone, both = probes.row('layer1', 2, False), probes.row('layer1', 2, True)
    assert set(alone) < set(both) and both['ours'] > 0 and both['ratio'] == both['theirs'] / both['ours']
    assert abs(both['worst']) < 1e-3 and both['converged'] == '4 of 4'
