"""Units on the command line: a rule or a list, and what is said of the images that excite them."""

import numpy as np
import pytest

from cnn_research.data.sources import open_source
from cnn_research.errors import ConfigError
from cnn_research.models import zoo
from cnn_research.studies.looking.activations import Top
from experiments import features
from experiments.launch import command, looking, units

NET = zoo.architecture('zfnet_32 resized(1=4,2=6,3=8,4=8,5=4)')
TAPS = ['layer1.relu', 'layer3.relu', 'layer5.relu']


def asked(text):
    return command.parse('features', 'configs/looking.py:smoke', [f'--config.look.units={text}'], features.FIELDS)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('selective', dict.fromkeys(TAPS, ())),
        ('spread', dict.fromkeys(TAPS, ())),
        ('layer3: 4, 7', {'layer3.relu': (4, 7)}),
        ('layer5:0;layer1.relu: 1,3;', {'layer1.relu': (1, 3), 'layer5.relu': (0,)}),
    ],
)
def test_a_rule_is_for_every_tap_and_a_list_for_those_that_it_names(text, expected):
    assert units.wanted(asked(text), NET, TAPS) == expected
    assert list(units.wanted(asked(text), NET, TAPS)) == list(expected)  # in the order of the taps


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('selectiv', "look.units='selectiv' is no rule; choose from selective, strongest, spread"),
        ('', 'look.units is empty'),
        ('layer2: 1', "names 'layer2'; the taps are layer1.relu, layer3.relu, layer5.relu"),
        ('layer3: 8', 'layer3.relu of .* has the units 0 to 7'),
        ('layer3: ', 'layer3'),
        ('layer3: 1,1', 'cannot be read'),
        ('layer3: 2,1', 'rising numbers'),
        ('layer3: one', 'cannot be read'),
        ('layer3: 1; layer3.relu: 2', 'names layer3.relu twice'),
    ],
)
def test_what_is_neither_a_rule_nor_a_list_is_refused_in_one_line(text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        units.wanted(asked(text), NET, TAPS)
    assert '\n' not in str(caught.value) and 'look.units' in str(caught.value)


def test_two_taps_of_one_layer_are_named_in_full():
    taps = ['layer1.relu', 'layer1.max_pool']
    assert units.wanted(asked('layer1.max_pool: 2'), NET, taps) == {'layer1.max_pool': (2,)}
    with pytest.raises(ConfigError, match="names 'layer1'"):
        units.wanted(asked('layer1: 2'), NET, taps)


def top(values, examples):
    places = np.zeros((len(values), len(values[0])), int)
    return Top(np.array(values, np.float32), np.array(examples), places, places)


def test_the_classes_beside_a_unit_are_those_of_its_images():
    source = open_source('clutter', 'test')
    own = source.labels()
    sevens, ones, others = np.flatnonzero(own == 7)[:4], np.flatnonzero(own == 1)[:2], np.flatnonzero(own == 4)[:1]
    examples = [[*ones[:1], *sevens[:3], *ones[1:]], [*others, *sevens[:4]], [0, 1, 2, 3, 4], [*sevens[:2], -1, -1, -1]]
    values = [[5, 4, 3, 2, 1], [9, 8, 0, 0, 0], [0] * 5, [3, 2, *[-np.inf] * 3]]
    looked = looking.Looked('net', None, None, source, 0, (), None)
    found = top(values, examples)
    classes = units.labels(looked, found)
    assert classes[3].tolist() == [7, 7, -1, -1, -1] and classes[2].tolist() == own[:5].tolist()
    said = [units.said(source.class_names, found.values, classes, unit) for unit in range(4)]
    assert said == ['3 of 5: 7; 1 2', '1 of 2: 4; 7', 'nothing excites it', '2 of 2: 7']
    table, words = units.selectivity(looked, {'layer1.relu': found})
    (row,) = table.rows
    assert words.startswith('Of the 5 images that excite a unit most so many are of one class: 2.0 at layer1.relu (at random ')
    assert (row['units'], row['silent'], row['same']) == (4, 1, pytest.approx((3 + 1 + 2) / 3)) and 1 < row['chance'] < 3
