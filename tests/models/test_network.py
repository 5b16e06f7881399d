"""The Flax network against the architecture it runs: names, shapes, counts, taps, randomness, first values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research.architecture import Architecture, AveragePool, Convolution, Dense, DropConnect, Dropout, Expand, Layer, ReLU
from cnn_research.errors import ArchitectureError
from cnn_research.models import layers, zoo
from cnn_research.models.initialization import Initialization, initial
from cnn_research.models.network import Network, check_parameters

KEY = jax.random.key(0)
TINY = Architecture(
    'tiny',
    (8, 8, 2),
    (
        Layer(1, (Convolution(4, 3), ReLU(), AveragePool(2, 2))),
        Layer(2, (Dense(40), ReLU(), Dropout(0.3))),
        Layer(5, (DropConnect(30, rate=0.5), ReLU())),
        Layer(6, (Dense(3),)),
    ),
)


@pytest.fixture(scope='module')
def tiny():
    """Variables of TINY and six images (6, 8, 8, 2)."""
    images = jax.random.normal(jax.random.key(9), (6, *TINY.input_shape))
    return jax.jit(Network(TINY).init)(KEY, images), images


def named(tree):
    return {'/'.join(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


@pytest.mark.parametrize('name', zoo.NAMES)
def test_parameters_and_taps_are_those_of_the_architecture(name):
    net = zoo.architecture(name)
    network, images = Network(net), jax.ShapeDtypeStruct((2, *net.input_shape), jnp.float32)
    variables = jax.eval_shape(network.init, KEY, images)
    assert set(variables) == {'params'}
    expected, shape = {}, net.input_shape
    for layer in net.layers:
        for stage_name, stage in layer.named_stages():
            own = stage.parameters(shape)
            expected |= {f'layer{layer.number}/{stage_name}/{array}': size for array, size in own.items()}
            shape = stage.output(shape)
    found = named(variables['params'])
    assert {path: leaf.shape for path, leaf in found.items()} == expected
    assert {leaf.dtype for leaf in found.values()} == {jnp.dtype('float32')}
    assert sum(leaf.size for leaf in found.values()) == net.parameters

    def everything(variables, images):
        return network.apply(variables, images, taps=tuple(net.taps()))

    logits, taps = jax.eval_shape(everything, variables, images)
    assert {tap: array.shape for tap, array in taps.items()} == {tap: (2, *size) for tap, size in net.taps().items()}
    assert logits.shape == (2, net.num_classes) and logits.dtype == jnp.float32

    def halved(variables, images):
        return Network(net, dtype='bfloat16').apply(variables, images, train=True, taps=tuple(net.taps()), rngs={'dropout': KEY})

    logits, taps = jax.eval_shape(halved, variables, images)
    assert {array.dtype for array in taps.values()} == {jnp.dtype('bfloat16')} and logits.dtype == jnp.float32


def test_parameters_are_named_as_in_the_papers(tiny):
    variables, _ = tiny
    assert variables['params']['layer1']['convolution']['kernel'].shape == (3, 3, 2, 4)
    assert list(variables['params']) == ['layer1', 'layer2', 'layer5', 'layer6']
    check_parameters(TINY, variables['params'])


def test_a_network_is_its_stages_one_after_the_other(tiny):
    variables, images = tiny
    logits, taps = Network(TINY).apply(variables, images, taps=('layer1.relu', 'layer2'))
    p = jax.tree.map(np.asarray, variables['params'])
    x = np.asarray(images)
    kernel = p['layer1']['convolution']['kernel']
    maps = np.array([[np.einsum('bijc,ijco->bo', x[:, r : r + 3, c : c + 3], kernel) for c in range(6)] for r in range(6)])
    relu = np.maximum(maps.transpose(2, 0, 1, 3) + p['layer1']['convolution']['bias'], 0)
    np.testing.assert_allclose(taps['layer1.relu'], relu, atol=1e-5)
    pooled = relu.reshape(6, 3, 2, 3, 2, 4).mean((2, 4)).reshape(6, -1)
    dense = np.maximum(pooled @ p['layer2']['dense']['kernel'] + p['layer2']['dense']['bias'], 0)
    np.testing.assert_allclose(taps['layer2'], dense, atol=1e-5)
    top = Network(TINY).apply(variables, images, taps=('layer5',))[1]['layer5']
    np.testing.assert_allclose(logits, np.asarray(top) @ p['layer6']['dense']['kernel'] + p['layer6']['dense']['bias'], atol=1e-5)


def test_low_taps_run_only_the_low_layers(tiny):
    variables, images = tiny
    low = {'params': {'layer1': variables['params']['layer1']}}  # upper layers would miss their parameters

    def features(variables, images):
        return Network(TINY).apply(variables, images, taps=('layer1', 'layer1.relu'), method='features')

    taps = features(low, images)
    whole = Network(TINY).apply(variables, images, taps=('layer1', 'layer1.relu'))[1]
    assert list(taps) == ['layer1', 'layer1.relu']
    assert all((taps[name] == whole[name]).all() for name in taps)
    assert 'dot_general' not in str(jax.make_jaxpr(features)(low, images))


def test_asking_for_no_tap_costs_nothing(tiny):
    variables, images = tiny

    def compiled(taps):
        return jax.jit(lambda v, x: Network(TINY).apply(v, x, taps=taps)[0]).lower(variables, images).compile().cost_analysis()['flops']

    assert compiled(()) == compiled(('layer1', 'layer5'))


def test_an_unknown_tap_and_wrong_images_are_refused(tiny):
    variables, images = tiny
    with pytest.raises(ArchitectureError, match=r"no tap 'layer2\.rleu'; choose from .*Did you mean layer2\.relu\?"):
        Network(TINY).apply(variables, images, taps=('layer2.rleu',))
    with pytest.raises(ArchitectureError, match="no tap 'layer3'"):
        Network(TINY).apply(variables, images, taps=('layer3',), method='features')
    with pytest.raises(ArchitectureError, match=r'reads \(8, 8, 2\) images, not \(8, 9, 2\)'):
        Network(TINY).apply(variables, jnp.zeros((1, 8, 9, 2)))


def test_computing_in_bfloat16_keeps_parameters_and_logits_in_float32(tiny):
    variables, images = tiny
    network = Network(TINY, dtype='bfloat16')
    assert {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(network.init, KEY, images))} == {jnp.dtype('float32')}
    logits, taps = jax.jit(network.apply, static_argnames='taps')(variables, images, taps=('layer1.convolution', 'layer6'))
    assert logits.dtype == jnp.float32 and {tap.dtype for tap in taps.values()} == {jnp.dtype('bfloat16')}
    exact, _ = Network(TINY).apply(variables, images)
    error = np.abs(np.asarray(logits) - exact).max() / np.abs(exact).max()
    assert 0 < error < 0.05
    gradient = jax.eval_shape(jax.grad(lambda v: network.apply(v, images)[0].sum()), variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype('float32')}


def test_inference_is_deterministic_and_needs_no_key(tiny):
    variables, images = tiny
    first, _ = Network(TINY).apply(variables, images)
    second, _ = Network(TINY).apply(variables, images, rngs={'dropout': jax.random.key(3)})
    assert (first == second).all()


def test_masks_belong_to_the_example_not_to_its_place(tiny):
    variables, images = tiny

    @jax.jit
    def forward(images, examples, key):
        taps = ('layer2.dropout', 'layer5.dropconnect')
        return Network(TINY).apply(variables, images, train=True, taps=taps, examples=examples, rngs={'dropout': key})[1]

    def run(images, examples, key=KEY):
        return forward(images, jnp.asarray(examples, jnp.uint32), key)

    names = [11, 12, 13, 14, 15, 2**32 - 1]
    whole = run(images, names)
    turned = run(images[::-1], names[::-1])
    alone = run(images[4:], names[4:])
    for tap, array in whole.items():
        np.testing.assert_allclose(array, turned[tap][::-1], atol=1e-6)
        np.testing.assert_allclose(array[4:], alone[tap], atol=1e-6)
    same = jnp.stack([images[0]] * 2)
    for tap in whole:
        twins = run(same, [7, 7])[tap]
        assert (twins[0] == twins[1]).all()
        others = run(same, [7, 8])[tap]
        assert (others[0] != others[1]).any() and (run(same, [7, 8], jax.random.key(1))[tap] != others).any()


def test_two_dropouts_of_a_network_draw_different_masks():
    net = Architecture('two', (1, 1, 64), tuple(Layer(n, (Dense(64), Dropout(0.5))) for n in (1, 2)))
    eye = {f'layer{n}': {'dense': {'kernel': jnp.eye(64), 'bias': jnp.ones(64)}} for n in (1, 2)}
    _, taps = Network(net).apply({'params': eye}, jnp.ones((2, 1, 1, 64)), train=True, taps=('layer1', 'layer2'), rngs={'dropout': KEY})
    first, second = taps['layer1'] > 0, taps['layer2'] > 0
    assert 20 < int((first != second).sum()) < 108


def test_lenet5_answers_with_minus_the_squared_distance():
    network = Network(zoo.architecture('lenet5'))
    images = jax.random.normal(KEY, (3, 32, 32, 1))
    variables = jax.jit(network.init)(KEY, images)
    top = network.architecture.layers[-1].number
    logits, taps = jax.jit(network.apply, static_argnames='taps')(variables, images, taps=(f'layer{top - 1}',))
    units = np.asarray(taps[f'layer{top - 1}'], np.float64)
    distances = [[sum((u - p) ** 2 for u, p in zip(unit, code, strict=True)) for code in layers.DIGIT_CODES] for unit in units]
    np.testing.assert_allclose(logits, -np.array(distances), rtol=1e-5)


# First values.


def first(how, stage, shape, layer=1, name='kernel'):
    return np.asarray(initial(how, KEY, layer, stage, name, shape), np.float64)


def test_normal_kernels_have_the_standard_deviation_of_their_layer():
    how = Initialization('normal', std=0.01, stds=((4, 0.1),))
    stage, shape = Dense(500), (400,)
    assert first(how, stage, shape).std() == pytest.approx(0.01, rel=0.01)
    assert first(how, stage, shape, layer=4).std() == pytest.approx(0.1, rel=0.01)
    assert abs(first(how, stage, shape).mean()) < 1e-4


@pytest.mark.parametrize(
    ('stage', 'shape', 'inputs'), [(Dense(300), (7, 7, 8), 392), (Convolution(64, 5, groups=2), (9, 9, 32), 400)], ids=['dense', 'towers']
)
def test_kernels_scale_with_their_fan_in(stage, shape, inputs):
    assert first(Initialization('he'), stage, shape).std() == pytest.approx((2 / inputs) ** 0.5, rel=0.02)
    for kind, bound in (('uniform', 2.4 / inputs), ('glorot', (3 / inputs) ** 0.5)):
        values = first(Initialization(kind), stage, shape)
        assert 0.999 * bound < values.max() <= bound and -bound <= values.min() < -0.999 * bound
        assert values.std() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_both_kernels_of_a_fire_module_scale_with_their_own_fan_in():
    stage, shape = Expand(128, pointwise=64), (7, 7, 32)
    for name, inputs in (('pointwise', 32), ('kernel', 9 * 32)):
        assert first(Initialization('he'), stage, shape, name=name).std() == pytest.approx((2 / inputs) ** 0.5, rel=0.05)
        values = np.abs(first(Initialization('uniform'), stage, shape, name=name))
        assert 0.99 * 2.4 / inputs < values.max() <= 2.4 / inputs


def test_lenet5s_partial_maps_have_fan_ins_of_their_own():
    stage = zoo.architecture('lenet5').layer(2).stages[0]
    assert sorted({25 * len(row) for row in stage.table}) == [75, 100, 150]
    values = first(Initialization('uniform'), stage, (14, 14, 6))
    place = 0
    for row in stage.table:
        own, bound = values[..., place : place + len(row)], 2.4 / (25 * len(row))
        assert 0.8 * bound < np.abs(own).max() <= bound
        place += len(row)
    assert place == values.shape[-1] == 60


def test_biases_begin_at_0_or_at_their_layers_value():
    how = Initialization('normal', biases=((2, 1.0), (5, 0.5)))
    net = zoo.architecture('alexnet_32 resized(6=8,7=8)')
    params = jax.eval_shape(Network(net, how).init, KEY, jnp.zeros((1, 32, 32, 3)))['params']
    values = {layer: first(how, net.layer(layer).stages[0], (8, 8, 24), layer, 'bias') for layer in (1, 2, 5)}
    assert 'layer5' in params and {layer: set(value.tolist()) for layer, value in values.items()} == {1: {0.0}, 2: {1.0}, 5: {0.5}}


def test_layers_begin_with_different_values_and_seeds_too(tiny):
    variables, images = tiny
    net = Architecture('twins', (1, 1, 9), tuple(Layer(n, (Dense(9),)) for n in (1, 2)))
    params = Network(net).init(KEY, jnp.zeros((1, 1, 1, 9)))['params']
    assert (params['layer1']['dense']['kernel'] != params['layer2']['dense']['kernel']).all()
    other = jax.jit(Network(TINY).init)(jax.random.key(1), images)['params']['layer1']['convolution']['kernel']
    assert (other != variables['params']['layer1']['convolution']['kernel']).all()
