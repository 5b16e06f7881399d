"""Lesions keep what can be kept: layers by the shapes that they read, and a bypassed network that computes what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research.architecture import Architecture, Convolution, Dense, Layer, MaxPool, ReLU, resized, without
from cnn_research.errors import ArchitectureError
from cnn_research.models import zoo
from cnn_research.models.network import Network
from cnn_research.studies.depth import lesions

BASE = Architecture(
    'base',
    (8, 8, 3),
    (
        Layer(1, (Convolution(4, 3, padding=1), ReLU())),
        Layer(2, (Convolution(4, 3, padding=1), ReLU())),
        Layer(3, (Convolution(6, 3, padding=1), ReLU(), MaxPool(2, 2))),
        Layer(4, (Dense(5), ReLU())),
        Layer(5, (Dense(5), ReLU())),
        Layer(6, (Dense(3),)),
    ),
)
PARAMS = Network(BASE).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))['params']


@pytest.mark.parametrize(
    ('numbers', 'changed', 'retrained'),
    [((), (), (6,)), ((2,), (), (6,)), ((3,), (4,), (4, 6)), ((5,), (), (6,)), ((4, 5), (6,), (6,)), ((3, 4), (5,), (5, 6))],
)
def test_a_layer_changes_when_what_it_reads_has_another_shape(numbers, changed, retrained):
    net = without(BASE, *numbers) if numbers else BASE
    assert lesions.changed(BASE, net) == changed and lesions.retrained(BASE, net) == retrained
    kept = lesions.kept(BASE, net, PARAMS)
    assert set(kept) == {layer.name for layer in net.layers} - {f'layer{n}' for n in retrained}
    assert all(kept[name] is PARAMS[name] for name in kept)


def test_a_layer_of_another_size_changes_and_so_does_the_one_above():
    assert lesions.changed(BASE, resized(BASE, {3: 7})) == (3, 4)


def test_the_published_surgery_retrains_what_the_paper_would():
    base = zoo.architecture('alexnet_dense')
    found = {text: lesions.retrained(base, zoo.architecture(f'alexnet_dense without({text})')) for text in ('7', '6,7', '3,4', '3,4,6,7')}
    assert found == {'7': (8,), '6,7': (8,), '3,4': (5, 8), '3,4,6,7': (5, 8)}


def test_bypassing_runs_the_remaining_layers_as_they_are():
    net, images = without(BASE, 2, 5), jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    params = lesions.bypassed(BASE, net, PARAMS)
    logits, _ = Network(net).apply({'params': params}, images)
    first = Network(BASE).apply({'params': PARAMS}, images, taps=('layer1',))[1]['layer1']
    # The layers above the gap, run by hand on what layer 1 says.
    kernel, bias = PARAMS['layer3']['convolution']['kernel'], PARAMS['layer3']['convolution']['bias']
    third = jax.lax.conv_general_dilated(first, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')) + bias
    pooled = np.maximum(third, 0).reshape(2, 4, 2, 4, 2, 6).max((2, 4)).reshape(2, -1)
    fourth = np.maximum(pooled @ PARAMS['layer4']['dense']['kernel'] + PARAMS['layer4']['dense']['bias'], 0)
    np.testing.assert_allclose(logits, fourth @ PARAMS['layer6']['dense']['kernel'] + PARAMS['layer6']['dense']['bias'], atol=1e-5)
    assert lesions.bypassed(BASE, without(BASE, 3), PARAMS) is None


def test_what_is_no_lesion_is_refused():
    with pytest.raises(ArchitectureError, match='layer 2'):
        lesions.changed(without(BASE, 2), BASE)
