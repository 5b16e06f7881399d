"""The benchmark compares like with like: its PyTorch translation computes what our networks compute, and trains as they train."""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research import stages
from cnn_research.architecture import Architecture, Layer
from cnn_research.errors import ArchitectureError, ConfigError
from cnn_research.models import zoo
from cnn_research.models.network import Network

if importlib.util.find_spec('torch') is None:
    pytest.skip('PyTorch is a requirement of the benchmarks only', allow_module_level=True)

from benchmarks import footing, peer, train_step

# Every stage that is translated: towers, both roundings of pooling, padding in a mean, all forms of response, a dense stage on 3x2 maps.
SMALL = Architecture(
    'small',
    (17, 13, 3),
    (
        Layer(1, (stages.Convolution(8, 5, 2, padding=1), stages.ReLU(), stages.MaxPool(3, 2, ceil=True), stages.Response(5, 0.1))),
        Layer(2, (stages.Convolution(12, 3, padding=1, groups=2), stages.ReLU(), stages.Response(3, 0.1, 0.5, 1.0, True))),
        Layer(3, (stages.Convolution(8, 1), stages.Response(3, 0.1, divided=True, across=False), stages.AveragePool(3, 2, 1, ceil=True))),
        Layer(4, (stages.Dense(9), stages.ReLU(), stages.Dropout(0.5))),
        Layer(5, (stages.Dense(4),)),
    ),
)


@functools.cache
def weights(net):
    return jax.device_get(jax.jit(Network(net).init)(jax.random.key(1), jnp.zeros((1, *net.input_shape)))['params'])


@pytest.mark.parametrize('net', (SMALL, zoo.architecture('cifar_18pct resized(1=8,2=8,3=8)')), ids=lambda net: net.name)
def test_both_sides_compute_and_train_alike(net):
    feed, preprocessing = train_step.examples(net, 8)
    logits, step = train_step.agreement(net, weights(net), feed, preprocessing, 'cpu')
    assert logits < 1e-5
    assert step < 1e-4


@functools.cache
def ours():
    """Images of the small network and its logits."""
    images = np.random.default_rng(0).standard_normal((4, *SMALL.input_shape)).astype(np.float32)
    return images, np.asarray(jax.jit(Network(SMALL).apply)({'params': weights(SMALL)}, images)[0])


# What is easily mistaken: alpha's divisor, the form of response, the window of a mean.
@pytest.mark.parametrize(
    'number, mistake',
    (
        (1, {'response': {'divided': True}}),
        (2, {'response': {'divided': False}}),
        (3, {'response': {'across': True}}),
        (3, {'response': {'divided': False}}),
        (3, {'average_pool': {'kernel': 2}}),
    ),
)
def test_agreement_sees_a_mistake_in_the_translation(number, mistake):
    params, (images, right) = weights(SMALL), ours()
    assert train_step.difference(right, peer.logits(SMALL, params, images)) < 1e-5
    ((name, changes),) = mistake.items()
    layers = [
        layer
        if layer.number != number
        else Layer(number, tuple(type(s)(**{**vars(s), **changes}) if s.name == name else s for s in layer.stages))
        for layer in SMALL.layers
    ]
    wrong = Architecture('wrong', SMALL.input_shape, tuple(layers))
    assert train_step.difference(peer.logits(wrong, params, images), right) > 1e-4


def test_maps_are_flattened_in_each_sides_own_order():
    net = Architecture('flat', (2, 3, 2), (Layer(1, (stages.Dense(1),)),))
    kernel = np.arange(12, dtype=np.float32).reshape(12, 1)
    there, _ = peer.arrays(net, {'layer1': {'dense': {'kernel': kernel, 'bias': np.zeros(1)}}})
    assert there.tolist() == [[0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]]


def test_what_cannot_be_translated_is_refused_by_name():
    with pytest.raises(ArchitectureError, match=r'layer1\.scaled_tanh is not translated.*max_pool'):
        peer.module(zoo.architecture('mcdnn_mnist'))
    with pytest.raises(ArchitectureError, match='connection table'):
        peer.module(Architecture('sparse', (5, 5, 2), (Layer(1, (stages.Convolution(2, 5, table=((0,), (0, 1))),)),)))


def test_requested_networks():
    assert footing.requested('lenet5_modern@8; zfnet without(3,4)@16;') == [('lenet5_modern', 8), ('zfnet without(3,4)', 16)]
    with pytest.raises(ConfigError, match='cannot be read'):
        footing.requested('lenet5_modern')
    with pytest.raises(ArchitectureError, match='Did you mean lenet5_modern'):
        footing.requested('lenet5_moderne@8')


def test_dropout_alone_is_left_out():
    net = zoo.architecture('alexnet_owt')
    bare = train_step.without_dropout(net)
    assert [row.stage for row in bare.rows] == [row.stage for row in net.rows if row.stage != 'dropout']
    assert bare.parameters == net.parameters


def test_a_line_is_the_median_over_starts_and_says_how_far_they_lie_apart():
    told = [
        train_step.Started(np.array([[1e-3, one * 1e-3], [2e-3, one * 2e-3]]), form, 1e-6, 1e-5, 0.0, 0.5)
        for one, form in ((0.9, 'fused'), (1.2, 'foreach'), (1.0, 'fused'))
    ]
    row = train_step.row('lenet5_modern', 8, told)
    assert (row['ratio'], row['starts'], row['range']) == (pytest.approx(1.0), '0.90 to 1.20 (3)', '0.90 to 1.20')
    assert row['ours_ms'] == pytest.approx(1.5) and row['torch_form'] == 'fused (2); foreach (1)'
    assert {column.key for column in train_step.COLUMNS} == set(row)
