"""The benchmark of detection sets the features of the same windows beside each other."""

import importlib.util

import numpy as np
import pytest

if not importlib.util.find_spec('torch'):
    pytest.skip('PyTorch is a requirement of the benchmarks only', allow_module_level=True)

from benchmarks import detection, peer
from cnn_research.data import augment
from cnn_research.errors import ArchitectureError
from cnn_research.studies.detection import windows

SMALL = 'caffenet resized(1=8,2=8,3=4,4=4,5=4,6=16,7=16)'


@pytest.mark.parametrize('form', detection.FORMS)
def test_both_sides_cut_the_same_windows(form):
    trained, (image, boxes) = detection.network(SMALL), detection.scene(6)
    boxes[0], boxes[1] = (-30, -50, 200, 300), (400, 600, 520, 700)  # over the borders
    views = windows.cutter(trained, windows.RCNN)(image, boxes)
    ours = np.asarray(augment.prepare(views, detection.PREPROCESSING, (227, 227, 3)))
    prepared = (image - detection.PREPROCESSING['mean']) * detection.PREPROCESSING['scale']
    cut = detection.cutter(form, peer.tensor(prepared[None], peer.Options()), 227, 16)
    theirs = cut(peer.torch.from_numpy(boxes.astype(np.float32))).numpy().transpose(0, 2, 3, 1)
    # Pixels whose middle lies on the border up to rounding may be in or out.
    assert (np.abs(ours - theirs) > 2e-3).any(axis=-1).mean() < 1e-3 and (ours == 0).all(axis=-1).mean() > 0.05


@pytest.mark.slow
def test_the_row_holds_what_its_table_shows():
    line = detection.row(SMALL, 'layer7', 20, 8, 1)
    assert {column.key for column in detection.COLUMNS} == set(line) and line['apart'] < 1e-3
    assert line['ratio'] == pytest.approx(line['theirs'] / line['ours'])


def test_what_has_no_translation_or_no_such_layer_is_refused():
    with pytest.raises(ArchitectureError, match='layer9'):
        detection.row('caffenet', 'layer9', 4, 2, 1)
    with pytest.raises(ArchitectureError, match='not translated'):
        detection.row('squeezenet', 'layer9', 4, 2, 1)
