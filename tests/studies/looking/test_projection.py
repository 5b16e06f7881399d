"""Projections: the adjoint where the network is linear, PyTorch's own way down with the same weights, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research import stages
from cnn_research.architecture import Architecture, Layer
from cnn_research.errors import ArchitectureError
from cnn_research.models.downward import RULES
from cnn_research.models.network import Network
from cnn_research.studies.looking import projection

LINEAR = Architecture(
    'linear',
    (13, 11, 2),
    (
        Layer(1, (stages.Convolution(6, 3, 2, padding=1), stages.AveragePool(3, 2, ceil=True))),
        Layer(2, (stages.Convolution(4, 3, padding=1, groups=2),)),
        Layer(3, (stages.Dense(5),)),
    ),
)
FIRE = Architecture(
    'fire',
    (13, 11, 2),
    (
        Layer(1, (stages.Convolution(6, 3, 2), stages.SumPool(2, 1))),
        Layer(2, (stages.Expand(5, pointwise=2),)),
        Layer(3, (stages.Convolution(4, 1, padding=1), stages.GlobalAverage())),
    ),
)
# Overlapping pools of both roundings, padding, stride, groups and dense layers; normalization has a test of its own.
NET = Architecture(
    'small',
    (17, 17, 3),
    (
        Layer(1, (stages.Convolution(8, 5, 2, padding=1), stages.ReLU(), stages.MaxPool(3, 2, ceil=True))),
        Layer(2, (stages.Convolution(6, 3, padding=1, groups=2), stages.ReLU(), stages.MaxPool(2, 1))),
        Layer(3, (stages.Dense(7), stages.ReLU())),
        Layer(4, (stages.Dense(4),)),
    ),
)


def made(net, count=3, seed=0):
    """(params, images): weights and biases of both signs."""
    random = np.random.default_rng(seed)
    params = jax.device_get(jax.jit(Network(net).init)(jax.random.key(seed), jnp.zeros((1, *net.input_shape))))['params']
    params = jax.tree.map(lambda a: (a if a.ndim > 1 else 0.1 * random.normal(size=a.shape)).astype(np.float32), params)
    return params, random.normal(size=(count, *net.input_shape)).astype(np.float32)


@pytest.mark.parametrize('rule', RULES)
def test_what_goes_up_is_the_same_to_the_bit(rule):
    params, images = made(NET)
    taps = tuple(NET.taps())
    nets = [Network(net) for net in (NET, projection.projecting(NET, rule))]
    plain, other = (jax.jit(lambda x, net=net: net.apply({'params': params}, x, taps=taps))(images) for net in nets)
    assert tuple(projection.projecting(NET, rule).taps()) == taps
    jax.tree.map(np.testing.assert_array_equal, plain, other)


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('linear', [LINEAR, FIRE], ids=lambda net: net.name)
def test_where_the_network_is_linear_the_projection_is_its_adjoint(linear, rule):
    params, images = made(linear)
    params = jax.tree.map(lambda a: a if a.ndim > 1 else 0 * a, params)
    net = Network(projection.projecting(linear, rule))
    for tap in ('layer1', 'layer2', 'layer3'):
        signal = np.random.default_rng(1).normal(size=(len(images), *linear.taps()[tap])).astype(np.float32)

        @jax.jit
        def both(x, signal, tap=tap):
            up, down = jax.vjp(lambda x: net.apply({'params': params}, x, taps=(tap,), method='features')[tap], x)
            return up, down(signal)[0]

        up, down = both(images, signal)
        assert np.vdot(up, signal) == pytest.approx(np.vdot(images, down), rel=1e-4)


@pytest.fixture(scope='module')
def torch():
    return pytest.importorskip('torch')


def peers_way_down(torch, params, images, tap, units, positions, rule):
    """The same projection by PyTorch: switches, transposed convolutions and rectification written out layer by layer."""
    f = torch.nn.functional
    x = torch.tensor(images).permute(0, 3, 1, 2)
    kernels = {name: torch.tensor(np.asarray(next(iter(layer.values()))['kernel'])) for name, layer in params.items()}
    biases = {name: torch.tensor(np.asarray(next(iter(layer.values()))['bias'])) for name, layer in params.items()}
    down = []  # ways down, the lowest first: each takes the signal from a stage's output to its input

    def convolve(x, name, **how):
        weight = kernels[name].permute(3, 2, 0, 1)
        shape = x.shape
        down.append(lambda g: torch.nn.grad.conv2d_input(shape, weight, g, **how))
        return f.conv2d(x, weight, biases[name], **how)

    def rectify(x):
        sign = x > 0
        ways = {'deconvnet': lambda g: g.clamp(min=0), 'gradient': lambda g: g * sign, 'guided': lambda g: g.clamp(min=0) * sign}
        down.append(ways[rule])
        return x.clamp(min=0)

    def pool(x, size, stride, ceil):
        y, switches = f.max_pool2d(x, size, stride, ceil_mode=ceil, return_indices=True)
        shape = x.shape

        def unpool(g):
            flat = torch.zeros(*shape[:2], shape[2] * shape[3])
            return flat.scatter_add(2, switches.flatten(2), g.flatten(2)).view(shape)

        down.append(unpool)
        return y

    def connect(x, name):
        weight, shape = kernels[name], x.shape
        flat = x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x  # ours flattens rows, columns, maps
        if len(shape) == 4:
            down.append(lambda g: (g @ weight.T).view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2))
        else:
            down.append(lambda g: g @ weight.T)
        return flat @ weight + biases[name]

    ways = {
        'layer1.convolution': lambda x: convolve(x, 'layer1', stride=2, padding=1),
        'layer1.relu': rectify,
        'layer1.max_pool': lambda x: pool(x, 3, 2, True),
        'layer2.convolution': lambda x: convolve(x, 'layer2', padding=1, groups=2),
        'layer2.relu': rectify,
        'layer2.max_pool': lambda x: pool(x, 2, 1, False),
        'layer3.dense': lambda x: connect(x, 'layer3'),
        'layer3.relu': rectify,
        'layer4.dense': lambda x: connect(x, 'layer4'),
    }
    for name, way in ways.items():
        x = way(x)
        if name == tap:
            break
    signal = torch.zeros_like(x)
    for number, unit in enumerate(units):
        place = (number, unit) if x.ndim == 2 else (number, unit, *positions[number])
        signal[place] = x[place]
    for way in reversed(down):
        signal = way(signal)
    return signal.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('tap', ['layer1.relu', 'layer1.max_pool', 'layer2.convolution', 'layer2.max_pool', 'layer3.relu', 'layer4.dense'])
def test_a_projection_is_pytorchs_way_down(torch, rule, tap):
    params, images = made(NET)
    net, units = Network(projection.projecting(NET, rule)), [1, 4, 2] if tap != 'layer4.dense' else [1, 3, 2]
    positions = None
    if len(NET.taps()[tap]) == 3:  # places that are active, or nothing would come down
        kept = np.asarray(Network(NET).apply({'params': params}, images, taps=(tap,))[1][tap])
        positions = [np.unravel_index(kept[n, ..., unit].argmax(), kept.shape[1:3]) for n, unit in enumerate(units)]
    ours = projection.project(net, {'params': params}, images, tap, units, positions)
    theirs = peers_way_down(torch, params, images, tap, units, positions, rule)
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_the_gradient_rule_is_the_networks_gradient():
    params, images = made(NET)
    ours = projection.project(Network(projection.projecting(NET, 'gradient')), {'params': params}, images, 'layer4.dense', [0, 1, 2])

    def chosen(x):
        logits, _ = Network(NET).apply({'params': params}, x)
        return jnp.sum(logits[jnp.arange(3), jnp.arange(3)] ** 2) / 2  # whose gradient is the value times the activation's gradient

    np.testing.assert_allclose(ours, jax.jit(jax.grad(chosen))(images), rtol=1e-4, atol=1e-6)


def test_by_default_a_map_is_projected_from_where_it_is_strongest():
    params, images = made(NET)
    net, units = Network(projection.projecting(NET, 'deconvnet')), np.array([0, 3, 5])
    kept = np.asarray(Network(NET).apply({'params': params}, images, taps=('layer2.relu',))[1]['layer2.relu'])
    places = [np.unravel_index(kept[n, ..., unit].argmax(), kept.shape[1:3]) for n, unit in enumerate(units)]
    by_default, told = (projection.project(net, {'params': params}, images, 'layer2.relu', units, p) for p in (None, places))
    np.testing.assert_array_equal(by_default, told)


def test_a_whole_map_comes_down_as_the_sum_of_its_places_where_nothing_rectifies():
    params, images = made(LINEAR, count=1)
    net = Network(projection.projecting(LINEAR, 'deconvnet'))
    height, width, _ = LINEAR.taps()['layer2']
    whole = projection.project_maps(net, {'params': params}, images, 'layer2', [2])
    single = [projection.project(net, {'params': params}, images, 'layer2', [2], [(r, c)]) for r in range(height) for c in range(width)]
    np.testing.assert_allclose(whole, sum(single), atol=1e-5)


def test_response_normalization_passes_the_deconvnets_signal_and_bends_the_others():
    net = Architecture('one', (5, 5, 4), (Layer(1, (stages.Convolution(4, 1), stages.Response(3, 0.5))), Layer(2, (stages.Dense(2),))))
    params, images = made(net, count=1)
    params['layer1']['convolution'] = {'kernel': np.eye(4, dtype=np.float32)[None, None], 'bias': np.zeros(4, np.float32)}
    found = {}
    for rule in RULES:
        down = Network(projection.projecting(net, rule))
        found[rule] = np.asarray(projection.project(down, {'params': params}, images, 'layer1', [1], [(2, 2)]))
    value = Network(net).apply({'params': params}, images, taps=('layer1',))[1]['layer1'][0, 2, 2, 1]
    expected = np.zeros((1, 5, 5, 4))
    expected[0, 2, 2, 1] = value
    np.testing.assert_allclose(found['deconvnet'], expected, rtol=1e-6)
    np.testing.assert_array_equal(found['gradient'], found['guided'])
    assert np.count_nonzero(found['gradient']) == 3  # its neighbours across maps bend it


@pytest.mark.parametrize('stage', [stages.Clipped(0.1), stages.WinnerTakeAll()])
def test_the_nonlinearities_of_hand_made_features_come_down_by_the_gradient_alone(stage):
    net = Architecture('bent', (6, 6, 1), (Layer(1, (stages.Convolution(2, 3), stages.UnitLength(), stage)), Layer(2, (stages.Dense(3),))))
    for rule in ('deconvnet', 'guided'):
        with pytest.raises(ArchitectureError, match=f"layer1 has a {stage.name} stage, which {rule}.*'gradient' goes through any"):
            projection.projecting(net, rule)
    params, images = made(net, count=1)
    down = Network(projection.projecting(net, 'gradient'))
    signals = [jax.jit(jax.grad(lambda x, one=one: one.apply({'params': params}, x)[0].sum()))(images) for one in (Network(net), down)]
    np.testing.assert_array_equal(*signals)
    assert np.abs(signals[0]).max() > 0


@pytest.mark.parametrize('rule', ['deconvnet', 'guided'])
def test_what_cannot_be_inverted_is_refused_by_name(rule):
    net = Architecture('bent', (6, 6, 1), (Layer(1, (stages.Convolution(2, 3), stages.ReLU())), Layer(2, (stages.Dense(3), stages.Tanh()))))
    with pytest.raises(ArchitectureError, match=f"layer2 has a tanh stage, which {rule}.*'gradient' goes through any"):
        projection.projecting(net, rule)
    assert projection.projecting(net, 'gradient').taps() == net.taps()
    with pytest.raises(ArchitectureError, match='deconvnet'):
        projection.projecting(net, 'deconvolution')


def test_a_network_without_a_rule_and_units_that_are_not_there_are_refused():
    params, images = made(NET)
    with pytest.raises(ArchitectureError, match='no projection rule'):
        projection.project(Network(NET), {'params': params}, images, 'layer2', [0, 0, 0])
    net = Network(projection.projecting(NET, 'guided'))
    for units, positions, message in (([0, 0, 6], None, 'no 6'), ([0, 0, 0], [(0, 0), (0, 0), (9, 0)], '9')):
        with pytest.raises(ArchitectureError, match=message):
            projection.project(net, {'params': params}, images, 'layer2', units, positions)
