"""LeNet-5's own method: its second derivatives against loops over single connections, exact ones and finite differences; in `fit`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_runs

from cnn_research import config as configs
from cnn_research import levenberg_marquardt as method
from cnn_research import optimizers, tasks
from cnn_research.architecture import Architecture, Layer
from cnn_research.errors import ConfigError
from cnn_research.losses import LOSSES
from cnn_research.models import zoo
from cnn_research.models.layers import DIGIT_CODES
from cnn_research.models.network import Network
from cnn_research.stages import Convolution, Dense, MaxPool, RadialBasis, ReLU, Response, ScaledTanh, Sigmoid, Subsampling, Tanh


def made(*layers, shape=(6, 6, 1), seed=0):
    """A network and its parameters, biases too at random."""
    network = Network(Architecture('tiny', shape, tuple(Layer(n, stages) for n, stages in enumerate(layers, 1))))
    params = network.init(jax.random.key(seed), jnp.zeros((1, *shape)))['params']
    random = np.random.default_rng(seed)
    return network, jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape) * 0.5, jnp.float32), params)


def batch(count, shape=(6, 6, 1), classes=3):
    random = np.random.default_rng(1)
    return jnp.asarray(random.normal(size=(count, *shape)), jnp.float32), jnp.asarray(random.integers(0, classes, count), jnp.int32)


def by_connections(params, image, label):
    """h of the net below, of one image, softmax: a list of weighted connections and unit by unit, as the paper has it."""
    f, slope = (lambda a: 1.7159 * np.tanh(2 / 3 * a)), (lambda a: 1.7159 * 2 / 3 * (1 - np.tanh(2 / 3 * a) ** 2))
    one, sub = (jax.tree.map(np.float64, params['layer1'][stage]) for stage in ('convolution', 'subsampling'))
    two = jax.tree.map(np.float64, params['layer2']['dense'])
    connections = []  # (unit above, unit below, parameter): units are named, '1' is what a bias is met by
    for r, c, m in np.ndindex(4, 4, 2):
        connections.append((('a', r, c, m), '1', ('conv bias', m)))
        connections += [(('a', r, c, m), ('x', r + i, c + j), ('conv', i, j, m)) for i in range(3) for j in range(3)]
    for r, c, m in np.ndindex(2, 2, 2):
        connections.append((('s', r, c, m), '1', ('sub bias', m)))
        connections += [(('s', r, c, m), ('a', 2 * r + i, 2 * c + j, m), ('sub', m)) for i in range(2) for j in range(2)]
    for k in range(3):
        connections.append((('y', k), '1', ('dense bias', k)))
        connections += [(('y', k), ('s', r, c, m), ('dense', 4 * r + 2 * c + m, k)) for r, c, m in np.ndindex(2, 2, 2)]
    weights = {('conv', i, j, m): one['kernel'][i, j, 0, m] for i, j, m in np.ndindex(3, 3, 2)}
    weights |= {('conv bias', m): one['bias'][m] for m in range(2)} | {('sub bias', m): sub['bias'][m] for m in range(2)}
    weights |= {('sub', m): sub['coefficient'][m] for m in range(2)} | {('dense bias', k): two['bias'][k] for k in range(3)}
    weights |= {('dense', i, k): two['kernel'][i, k] for i, k in np.ndindex(8, 3)}
    output, sums = {'1': 1.0} | {('x', r, c): float(image[r, c, 0]) for r, c in np.ndindex(6, 6)}, {}
    for kind in 'asy':
        for above, below, parameter in connections:
            if above[0] == kind:
                sums[above] = sums.get(above, 0) + weights[parameter] * output[below]
        output |= {unit: f(a) if kind != 'y' else a for unit, a in sums.items() if unit[0] == kind}
    chances = np.exp([output['y', k] for k in range(3)])
    chances /= chances.sum()
    by_sum, by_output, found = {('y', k): p * (1 - p) for k, p in enumerate(chances)}, {}, dict.fromkeys(weights, 0.0)
    for kind in 'ysa':
        for above, below, parameter in connections:
            if above[0] == kind:
                found[parameter] += by_sum[above] * output[below] ** 2
                by_output[below] = by_output.get(below, 0) + weights[parameter] ** 2 * by_sum[above]
        by_sum |= {unit: slope(sums[unit]) ** 2 * h for unit, h in by_output.items() if unit in sums}
    return found


def test_it_is_the_papers_sum_over_connections():
    network, params = made((Convolution(2, 3), ScaledTanh(), Subsampling(2, 2), ScaledTanh()), (Dense(3),))
    images, labels = batch(4)
    h = method.curvature(network, 'softmax', 1.0, params, images, labels)
    told = [by_connections(params, image, label) for image, label in zip(np.asarray(images), np.asarray(labels), strict=True)]
    mean = {name: np.mean([one[name] for one in told]) for name in told[0]}
    close = {'rtol': 2e-4, 'atol': 1e-7}
    kernel = [mean['conv', i, j, m] for i, j, m in np.ndindex(3, 3, 2)]
    np.testing.assert_allclose(h['layer1']['convolution']['kernel'].reshape(-1), kernel, **close)
    np.testing.assert_allclose(h['layer1']['convolution']['bias'], [mean['conv bias', m] for m in range(2)], **close)
    np.testing.assert_allclose(h['layer1']['subsampling']['coefficient'], [mean['sub', m] for m in range(2)], **close)
    np.testing.assert_allclose(h['layer1']['subsampling']['bias'], [mean['sub bias', m] for m in range(2)], **close)
    np.testing.assert_allclose(h['layer2']['dense']['kernel'].reshape(-1), [mean['dense', i, k] for i, k in np.ndindex(8, 3)], **close)
    np.testing.assert_allclose(h['layer2']['dense']['bias'], [mean['dense bias', k] for k in range(3)], **close)


@pytest.mark.parametrize('loss', ['softmax', 'squared_error'])
def test_of_one_layer_it_is_the_second_derivative(loss):
    """By finite differences of the gradient, in float64: in one linear layer nothing is left out."""
    with jax.enable_x64(True):
        network, params = made((Dense(3),), shape=(2, 2, 1))
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        images, labels = batch(5, (2, 2, 1))
        kernel, bias = params['layer1']['dense']['kernel'], params['layer1']['dense']['bias']
        x, step, found = np.asarray(images, np.float64).reshape(5, 4), 1e-4, np.zeros((4, 3))

        def mean(kernel):
            return float(LOSSES[loss](jnp.asarray(x @ kernel + np.asarray(bias)), labels, 1.0).mean())

        for i, k in np.ndindex(4, 3):
            one = np.zeros((4, 3))
            one[i, k] = step
            found[i, k] = (mean(kernel + one) - 2 * mean(np.asarray(kernel)) + mean(kernel - one)) / step**2
    h = method.curvature(network, loss, 1.0, jax.tree.map(jnp.float32, params), images, labels)['layer1']['dense']['kernel']
    np.testing.assert_allclose(h, found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('squash', [Tanh(), Sigmoid(), ReLU()])
def test_where_each_unit_is_met_by_one_it_is_the_gauss_newton_diagonal(squash):
    """A chain of single units: J^2 d2E/dy2 by Jacobians."""
    network, params = made((Dense(1), squash), (Dense(1), squash), (Dense(1),), shape=(1, 1, 1))
    params = jax.tree.map(jnp.abs, params)
    images, labels = jnp.abs(batch(3, (1, 1, 1))[0]), jnp.zeros(3, jnp.int32)
    h = method.curvature(network, 'squared_error', 1.0, params, images, labels)
    slopes = jax.jacobian(lambda params: network.apply({'params': params}, images)[0][:, 0])(params)
    expected = jax.tree.map(lambda slope: 2 * jnp.square(slope).mean(axis=0), slopes)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-8), h, expected)


def test_radial_basis_units_count_with_the_loss():
    """What enters them: the diagonal of the loss's own second derivatives, by finite differences."""
    network, params = made((Dense(84),), (RadialBasis(10),), shape=(1, 1, 1))
    outputs = DIGIT_CODES[3] + 0.05 * np.asarray(params['layer1']['dense']['bias'], np.float64)  # so near that several terms count

    def energy(x):
        y = ((x - DIGIT_CODES) ** 2).sum(axis=1)
        return y[3] + np.log(np.exp(-1.0) + np.exp(-y).sum())

    steps = 1e-3 * np.eye(84)
    found = [(energy(outputs + one) - 2 * energy(outputs) + energy(outputs - one)) / 1e-6 for one in steps]
    params = {'layer1': {'dense': {'kernel': jnp.zeros((1, 84)), 'bias': jnp.float32(outputs)}}}
    h = method.curvature(network, 'radial_basis', 1.0, params, jnp.ones((1, 1, 1, 1)), jnp.array([3]))
    np.testing.assert_allclose(h['layer1']['dense']['bias'], found, rtol=1e-3, atol=1e-3)
    assert np.ptp(found) > 0.002 and max(found) < 1.9


@pytest.mark.slow
def test_of_lenet5_it_is_never_negative():
    network = Network(zoo.architecture('lenet5'))
    params = tasks.fresh(network, jax.random.key(0))
    images, labels = batch(3, (32, 32, 1), 10)
    whole = method.curvature(network, 'radial_basis', 1.0, params, images, labels)
    assert jax.tree.structure(whole) == jax.tree.structure(params)
    assert all(bool((leaf >= 0).all()) and bool((leaf > 0).any()) for leaf in jax.tree.leaves(whole))


@pytest.mark.slow
def test_blocks_are_summed():
    network, params = made((Dense(3),), shape=(2, 2, 1))
    for count in (106, 53):  # two blocks, 53 of one
        images, labels = batch(count, (2, 2, 1))
        whole = method.curvature(network, 'softmax', 1.0, params, images, labels)
        once = method.summed(network, 'softmax', 1.0, params, images, labels)
        jax.tree.map(lambda one, other, count=count: np.testing.assert_allclose(one, other / count, rtol=1e-5), whole, once)


def test_a_pooled_maximum_gives_to_its_own_pixel():
    network, params = made((Convolution(1, 1), MaxPool(2, 2)), (Dense(3),), shape=(2, 2, 1))
    images, labels = batch(1, (2, 2, 1))
    h = method.curvature(network, 'squared_error', 1.0, params, images, labels)
    kernel = float(params['layer1']['convolution']['kernel'].reshape(()))
    largest = float(images.max() if kernel > 0 else images.min())
    above = 2 * float(jnp.square(params['layer2']['dense']['kernel']).sum())
    np.testing.assert_allclose(h['layer1']['convolution']['kernel'].reshape(()), above * largest**2, rtol=1e-5)


def test_the_update_is_the_gradient_over_mu_and_h():
    config = configs.update(configs.default(), {'optimizer.name': 'sdlm', 'optimizer.momentum': 0.0})
    params = {'layer1': {'dense': {'kernel': np.ones((2, 1), np.float32)}}}
    rule = optimizers.optimizer(config, params)
    h = {'layer1': {'dense': {'kernel': np.array([[0.0], [0.18]], np.float32)}}}
    asked = []

    def curvature(before):
        asked.append(before)
        return h

    updates, state = rule.update(params, rule.init(params), params, learning_rate=0.5, sound=True, curvature=curvature)
    np.testing.assert_allclose(updates['layer1']['dense']['kernel'], [[-0.5 / 0.02], [-0.5 / 0.2]], rtol=1e-6)
    rule.update(params, state, params, learning_rate=0.5, sound=True, curvature=curvature)
    assert (
        not asked[0]['layer1']['dense']['kernel'].any() and (asked[1]['layer1']['dense']['kernel'] == h['layer1']['dense']['kernel']).all()
    )


SDLM = {'optimizer__name': 'sdlm', 'optimizer__momentum': 0.0, 'optimizer__learning_rate': 0.001, 'data__batch_size': 20}


def test_new_estimates_begin_a_pass_alone():
    config = configs.check(small_runs.config(**SDLM))
    task = tasks.classification(config)
    params = task.initialize(jax.random.key(0))
    placed = jax.device_put({'store': task.feed.store, 'constants': task.constants})
    key, before = jax.random.key(1), jax.tree.map(lambda leaf: -jnp.ones_like(leaf), params)
    ask = jax.jit(lambda step: task.curvature(params, placed, key, step, before))
    firsts = {step: jax.tree.leaves(ask(step))[0] for step in (0, 1, 9, 10)}  # 200 examples, 20 a step
    assert (firsts[1] == -1).all() and (firsts[9] == -1).all() and (firsts[0] >= 0).all()
    np.testing.assert_allclose(firsts[0], firsts[10], rtol=1e-3)  # of fewer than 500 examples all are drawn, in another order
    task.feed.close()


@pytest.mark.slow
def test_a_run_goes_on_to_the_bit(tmp_path):
    """Stopped within the second pass, whose estimates were made in the first half of the run."""
    config = small_runs.config(**SDLM, schedule__steps=14)
    whole, _ = small_runs.fit(tmp_path / 'whole', config)
    assert small_runs.fit(tmp_path / 'parts', config, after=11)[0] is None
    parts, _ = small_runs.fit(tmp_path / 'parts', config)
    assert small_runs.outcome(tmp_path / 'whole') == small_runs.outcome(tmp_path / 'parts')
    assert whole.history[-1]['loss'] < whole.history[0]['loss'] and parts.step == 14
    arrays = small_runs.outcome(tmp_path / 'whole')[0]
    assert any('optimizer_state' in name for name in arrays)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'architecture': 'cifar_18pct', 'data__name': 'clutter', 'loss__name': 'softmax'}, "'sdlm' does not go with response in layer1"),
        ({'data__resident_gb': 0.0}, 'must be in memory, and data.resident_gb=0 does not hold digits'),
    ],
)
def test_what_it_cannot_do_is_refused_before_any_work(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        small_runs.fit(tmp_path, small_runs.config(**SDLM, **changes))
    assert not (tmp_path / 'checkpoints').exists()


def test_every_stage_of_the_papers_net_is_known():
    method.check(zoo.architecture('lenet5'))
    for stage in (Response(5), ReLU()):
        net = Architecture('n', (4, 4, 1), (Layer(1, (Convolution(2, 3), stage)), Layer(2, (Dense(2),))))
        if stage.role == 'normalization':
            with pytest.raises(ConfigError, match='it knows convolution'):
                method.check(net)
        else:
            method.check(net)
