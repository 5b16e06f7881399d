"""The benchmark of what looks into a network sets the same numbers beside each other."""

import importlib.util

import numpy as np
import pytest

if not all(map(importlib.util.find_spec, ('torch', 'captum'))):
    pytest.skip('PyTorch and Captum are requirements of the benchmarks only', allow_module_level=True)

from benchmarks import looking, peer
from cnn_research.studies.looking import occlusion

SMALL = 'zfnet_32 resized(1=4,2=4,3=6,4=6,5=4,6=8,7=8)'


def test_captum_explains_the_network_that_we_explain(monkeypatch):
    net, variables = looking.network(SMALL)
    images = looking.noise(net, 2)
    # Squares side by side, so that Captum's attribution of a pixel is the drop under the one square that hides it; ours begin overhanging.
    square = occlusion.Square(8, 1)
    seen, painted = map(np.asarray, occlusion.prepared(images, variables, net.architecture.input_shape, square.colour))
    explain = looking.theirs(net, variables['params'], seen, painted, np.array([3, 3]), 8, 8, peer.Options())
    drops = explain(5)[:, 0, ::8, ::8]
    found = occlusion.occlude(net, variables, images, np.array([3, 3]), 'layer5', square)
    ours = (found.clean.probability[:, None, None] - found.under.probability)[:, 4::8, 4::8]  # the middle of each square
    np.testing.assert_allclose(ours, drops, atol=1e-5)
    assert np.abs(drops).max() > 1e-3


@pytest.mark.slow
def test_rows_hold_what_their_tables_show(monkeypatch):
    monkeypatch.setattr(looking, 'BATCHINGS', (1, 4))
    monkeypatch.setattr(looking, 'UNITS', 4)
    monkeypatch.setattr(looking, 'TOGETHER', 12)
    monkeypatch.setattr(looking, 'PASSES', ((SMALL, 120, 7),))
    monkeypatch.setattr(looking, 'SQUARES', ((SMALL, 16, 16, 2),))
    monkeypatch.setattr(looking, 'PROJECTED', ((SMALL, 'layer5.relu'),))
    passes, squares, projections = looking.tables_of(1)
    for table in (passes, squares, projections):
        assert all(row[column.key] is not None for row in table.rows for column in table.columns)
    assert squares.rows[0]['apart'] < 1e-5 and passes.rows[0]['units'] == 4 + 4 + 6 + 6 + 4 + 8 + 8
    assert passes.rows[0]['ratio'] == pytest.approx(passes.rows[0]['top'] / passes.rows[0]['plain'])
    assert squares.rows[0]['ratio'] == pytest.approx(squares.rows[0]['theirs'] / squares.rows[0]['ours'])
