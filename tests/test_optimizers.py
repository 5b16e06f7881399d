"""Update rules against plain NumPy loops and optax's own; schedules at chosen steps."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_research import config as configs
from cnn_research import optimizers
from cnn_research.errors import ConfigError

RATE = 0.05


def given(**changes):
    return configs.update(configs.default(), {name.replace('__', '.'): value for name, value in changes.items()})


@pytest.fixture
def params():
    random = np.random.default_rng(0)

    def stage(*kernel):
        return {'kernel': random.normal(size=kernel).astype(np.float32), 'bias': random.normal(size=kernel[-1:]).astype(np.float32)}

    return {'layer1': {'convolution': stage(3, 3, 2, 4)}, 'layer2': {'dense': stage(6, 5)}, 'layer12': {'dense': stage(5, 3)}}


def gradients(params, step):
    random = np.random.default_rng(100 + step)
    return jax.tree.map(lambda p: random.normal(size=p.shape).astype(np.float32), params)


def trained(config, params, steps=5, rates=None):
    """Parameters after each step of the config's update rule."""
    rule = optimizers.optimizer(config, params)
    state, after = rule.init(params), []
    for step in range(steps):
        rate = rates[step] if rates else RATE
        updates, state = rule.update(gradients(params, step), state, params, learning_rate=rate, sound=True)
        params = jax.tree.map(lambda p, u: np.asarray(p + u), params, updates)
        after.append(params)
    return after


def close(one, other, tolerance=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), one, other)


def test_momentum_is_krizhevskys_update(params):
    """v <- 0.9 v - 0.0005 e w - e g; w <- w + v, with Caffe's factors by layer and for biases, and a rate that falls on the way."""
    config = given(
        optimizer__weight_decay=0.0005,
        optimizer__rates='2=10,12=0.5',
        optimizer__decays='1=0,12=250',
        optimizer__bias_rate=2.0,
        optimizer__bias_decay=0.0,
    )
    rates = [0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    expected = {}
    for layer, stages in params.items():
        for stage, own in stages.items():
            for name, first in own.items():
                w, v = first.astype(np.float64), np.zeros(first.shape)
                factor = {'layer1': 1, 'layer2': 10, 'layer12': 0.5}[layer] * (2 if name == 'bias' else 1)
                decay = 0.0005 * {'layer1': 0, 'layer2': 1, 'layer12': 250}[layer] * (0 if name == 'bias' else 1)
                for step, rate in enumerate(rates):
                    g = gradients(params, step)[layer][stage][name]
                    v = 0.9 * v - decay * rate * factor * w - rate * factor * g
                    w = w + v
                expected.setdefault(layer, {}).setdefault(stage, {})[name] = w
    close(trained(config, params, 6, rates)[-1], expected, 1e-5)


def test_a_relative_rate_of_0_freezes_a_layer(params):
    after = trained(given(optimizer__rates='2=0', optimizer__weight_decay=0.1), params)[-1]
    assert (after['layer2']['dense']['kernel'] == params['layer2']['dense']['kernel']).all()
    assert (after['layer1']['convolution']['kernel'] != params['layer1']['convolution']['kernel']).all()


@pytest.mark.parametrize('name', ['adam', 'adamw'])
def test_adam_is_optaxs(params, name):
    config = given(optimizer__name=name, optimizer__momentum=0.8, optimizer__weight_decay=0.01)
    if name == 'adam':  # decay added to the gradient
        oracle = optax.chain(optax.add_decayed_weights(0.01), optax.adam(RATE, b1=0.8))
    else:
        oracle = optax.adamw(RATE, b1=0.8, weight_decay=0.01)
    state, expected = oracle.init(params), params
    for step in range(5):
        updates, state = oracle.update(gradients(params, step), state, expected)
        expected = optax.apply_updates(expected, updates)
    close(trained(config, params)[-1], expected)


def test_max_rms_holds_after_each_step_and_leaves_small_filters_alone(params):
    params['layer1']['convolution']['kernel'][..., 0] *= 1e-3  # stays below the bound, the other three filters start far above
    bounded = trained(given(optimizer__max_rms=0.5), params)
    free = trained(given(), params)
    for one, other in zip(bounded, free, strict=True):
        kernel = one['layer1']['convolution']['kernel']
        rms = [math.sqrt(np.mean(np.square(kernel[..., i], dtype=np.float64))) for i in range(4)]
        assert max(rms) <= 0.5 * (1 + 1e-5) and rms[1:] == pytest.approx([0.5] * 3, rel=0.3)
        assert rms[0] < 0.499 and (kernel[..., 0] == other['layer1']['convolution']['kernel'][..., 0]).all()
        # Only convolution kernels are filters.
        assert (one['layer2']['dense']['kernel'] == other['layer2']['dense']['kernel']).all()
        assert (one['layer1']['convolution']['bias'] == other['layer1']['convolution']['bias']).all()
    # The first step's filter points where the free one does.
    shortened, whole = (run[0]['layer1']['convolution']['kernel'][..., 1] for run in (bounded, free))
    np.testing.assert_allclose(shortened / np.linalg.norm(shortened), whole / np.linalg.norm(whole), atol=1e-5)


def rates(config, steps, total=100, batch_size=10, examples=100):
    schedule = optimizers.schedule(config, total, batch_size, examples)
    return [float(schedule(jnp.int32(step))) for step in steps]


def test_constant():
    assert rates(given(optimizer__learning_rate=0.3), (0, 50, 99)) == pytest.approx([0.3] * 3)


def test_steps_drop_from_their_epochs_on():
    config = given(optimizer__learning_rate=0.3, schedule__kind='steps', schedule__drops='3=0.1,5.5=0.02')
    assert rates(config, (0, 29, 30, 54, 55, 99)) == pytest.approx([0.3, 0.3, 0.03, 0.03, 0.006, 0.006])


@pytest.mark.parametrize('drops', ['5.5=0.02,3=0.1', '3=0.1,3=0.2', '3=-0.1', '3=0.1,10=0.02'])
def test_drops_that_fall_back_repeat_or_are_never_reached_are_refused(drops):
    with pytest.raises(ConfigError, match=r'rising|never reached'):
        rates(given(schedule__kind='steps', schedule__drops=drops), (0,))


def test_cosine():
    config = given(optimizer__learning_rate=0.3, schedule__kind='cosine', schedule__warmup__steps=20)
    fallen = [0.15 * (1 + math.cos(math.pi * (step - 20) / 80)) for step in (40, 60, 90, 100)]
    assert rates(config, (0, 10, 20, 40, 60, 90, 100)) == pytest.approx([0, 0.15, 0.3, *fallen], abs=1e-7)
    cold = given(optimizer__learning_rate=0.3, schedule__kind='cosine')
    assert rates(cold, (0, 50, 100)) == pytest.approx([0.3, 0.15, 0], abs=1e-7)


def test_trapezoid():
    config = given(optimizer__learning_rate=0.3, schedule__kind='trapezoid', schedule__warmup__examples=200, schedule__cooldown__epochs=4.0)
    assert rates(config, (0, 5, 10, 20, 40, 60, 80, 99, 100)) == pytest.approx([0, 0.075, 0.15, 0.3, 0.3, 0.3, 0.15, 0.0075, 0], abs=1e-7)
    flat = given(optimizer__learning_rate=0.3, schedule__kind='trapezoid')
    assert rates(flat, (0, 50, 99)) == pytest.approx([0.3] * 3)


@pytest.mark.parametrize(('kind', 'warmup', 'cooldown'), [('trapezoid', 60, 42), ('cosine', 100, 0), ('cosine', 130, 0)])
def test_a_rise_and_fall_longer_than_the_training_are_refused(kind, warmup, cooldown):
    config = given(schedule__kind=kind, schedule__warmup__steps=warmup, schedule__cooldown__steps=cooldown)
    with pytest.raises(ConfigError, match=r'schedule\.warmup.*100'):
        optimizers.schedule(config, 100, 10, 100)


def test_plateau_drops_after_patience_evaluations_without_improvement():
    config = given(schedule__kind='plateau', schedule__factor=0.5, schedule__patience=3)
    part = optimizers.plateau(config)
    state, scales = part.init({}), []
    for error in (0.9, 0.5, 0.5, 0.6, 0.5, 0.5, 0.4, 0.41, 0.42, 0.3, 0.3, 0.3, 0.3, 0.3):
        _, state = part.update({}, state, value=error)
        scales.append(float(state.scale))
    # Equal is no improvement; the count starts anew after each drop and each improvement.
    assert scales == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert optimizers.plateau(given()) is None


def test_max_rms_holds_for_both_kernels_of_a_fire_module():
    random = np.random.default_rng(0)
    sizes = {'pointwise': (1, 1, 4, 3), 'kernel': (3, 3, 4, 5), 'bias': (8,)}
    params = {'layer3': {'expand': {name: random.normal(size=size).astype(np.float32) for name, size in sizes.items()}}}
    bounded, free = trained(given(optimizer__max_rms=0.5), params)[-1], trained(given(), params)[-1]
    for name in ('pointwise', 'kernel'):
        filters = bounded['layer3']['expand'][name]
        assert np.sqrt(np.square(filters).mean((0, 1, 2))).max() <= 0.5 * (1 + 1e-5)
    assert (bounded['layer3']['expand']['bias'] == free['layer3']['expand']['bias']).all()
