"""Which units and maps an explorer shows."""

import numpy as np
import pytest

from cnn_research.models import zoo
from cnn_research.studies.looking import explorer


@pytest.mark.parametrize(
    ('name', 'taps'),
    [
        ('zfnet_32 without(3,4,6)', {1: 'layer1.relu', 2: 'layer2.relu', 5: 'layer5.relu', 7: 'layer7.relu', 8: 'layer8'}),
        ('perceptron', {1: 'layer1.sigmoid'}),
    ],
)
def test_every_layer_has_one_tap_after_its_nonlinearity(name, taps):
    assert explorer.taps(zoo.architecture(name)) == taps


def test_the_leading_units_are_those_with_the_largest_mean_and_those_that_nothing_excites_come_last():
    values = np.array([[3, 1], [9, -np.inf], [2, 2], [-np.inf, -np.inf], [5, 4], [np.nan, np.nan]], np.float32)
    assert explorer.leading(values, 6).tolist() == [1, 4, 0, 2, 3, 5]
    assert explorer.leading(values, 2).tolist() == [1, 4]
    assert explorer.leading(np.full((3, 9), -np.inf), 2).tolist() == [0, 1]


def test_stages_are_those_with_maps_or_the_last_of_a_dense_layer():
    net = zoo.architecture('zfnet_32')
    found = explorer.stages(net)
    assert found[1] == ['layer1.convolution', 'layer1.relu', 'layer1.max_pool', 'layer1.response']
    assert found[6] == ['layer6.relu'] and found[8] == ['layer8.dense']


def test_maps_on_their_way_are_scaled_each_by_itself_and_signed_where_a_stage_is():
    maps = np.zeros((4, 4, 3), np.float32)
    maps[..., 1], maps[0, 0, 2], maps[1, 1, 1] = 2, 1, -4
    found = {'layer1.convolution': maps, 'layer1.relu': np.maximum(maps, 0), 'layer1.expand': np.zeros((4, 4, 6))}
    chosen, pictures = explorer.passed(found, list(found))
    assert chosen == [1, 2, 0] and list(pictures) == ['convolution', 'relu']  # by their sums 26, 1, 0
    signed, rectified = pictures['convolution'][..., 0], pictures['relu'][..., 0]
    assert signed[0, 1, 1] == 0 and signed[0, 0, 0] == 191 and signed[1, 0, 0] == 255 and (signed[2] == 128).all()
    assert rectified[0, 1, 1] == 0 and rectified[0, 0, 0] == 255 and not rectified[2].any()
