"""Maps of saliency against what they must be: finite differences, the axiom of completeness, and CAM in NumPy."""

import jax
import numpy as np
import pytest

from cnn_research.architecture import Architecture, AveragePool, Convolution, Dense, GlobalAverage, Layer, MaxPool, ReLU, Tanh
from cnn_research.errors import ArchitectureError
from cnn_research.features import untrained
from cnn_research.models import zoo
from cnn_research.models.network import Network
from cnn_research.studies.looking import projection
from cnn_research.studies.saliency import maps, measures

SMOOTH = Architecture(
    'smooth',
    (6, 5, 2),
    (Layer(1, (Convolution(3, 3, padding=1), Tanh(), AveragePool(2, 1))), Layer(2, (Dense(4), Tanh())), Layer(3, (Dense(3),))),
)
CAM = Architecture(
    'cam', (5, 4, 2), (Layer(1, (Convolution(3, 3, padding=1), ReLU())), Layer(2, (Convolution(4, 3, padding=1), ReLU(), GlobalAverage())))
)
CAM = Architecture('cam', CAM.input_shape, (*CAM.layers, Layer(3, (Dense(3),))))
CLASSES = np.array([2, 0, 1, 1, 2])


def made(net, seed=0):
    network = Network(net)
    params = jax.tree.map(lambda leaf: leaf + 0.1, untrained(network, seed))
    images = np.random.default_rng(seed).normal(size=(5, *net.input_shape)).astype(np.float32)
    return network, {'params': params}, images


def test_the_gradient_is_that_of_finite_differences():
    network, variables, images = made(SMOOTH)
    found, step = maps.gradient(network, variables, images, CLASSES), 1e-2
    for place in np.random.default_rng(1).integers(0, (5, 6, 5, 2), (12, 4)):
        up, down = images.copy(), images.copy()
        up[tuple(place)] += step
        down[tuple(place)] -= step
        rise = maps.scores(network, variables, up, CLASSES) - maps.scores(network, variables, down, CLASSES)
        assert found[tuple(place)] == pytest.approx(rise[place[0]] / (2 * step), abs=2e-3)
    logits = network.apply(variables, images)[0]
    np.testing.assert_allclose(maps.scores(network, variables, images, CLASSES), logits[np.arange(5), CLASSES], rtol=1e-5)


def test_integrated_gradients_are_complete_as_far_as_their_steps_reach():
    network, variables, images = made(SMOOTH)
    missed = []
    for steps in (1, 4, 64):
        found = maps.integrated(network, variables, images, CLASSES, steps)
        missed.append(maps.incompleteness(network, variables, images, CLASSES, found).max())
    assert missed[2] < 1e-3 < missed[0] and missed[2] < missed[1] < missed[0]
    assert maps.incompleteness(network, variables, images, CLASSES, 2 * found) == pytest.approx(np.ones(5), abs=2e-3)
    zeros = np.zeros_like(images)
    assert np.isnan(maps.incompleteness(network, variables, zeros, CLASSES, zeros)).all()


def test_of_a_linear_network_they_are_gradient_times_input():
    linear = Architecture('linear', (4, 4, 1), (Layer(1, (Convolution(2, 3),)), Layer(2, (Dense(3),))))
    network, variables, images = made(linear)
    product = maps.gradient(network, variables, images, CLASSES) * images
    np.testing.assert_allclose(maps.integrated(network, variables, images, CLASSES, 3), product, rtol=1e-4, atol=1e-6)


def test_grad_cam_of_averaged_maps_is_cam_by_hand():
    # Selvaraju et al. 2017, section 3.1: there the weights are those of the classifier, as in CAM, here by the number of pixels.
    network, variables, images = made(CAM)
    assert maps.default_maps(CAM) == 'layer2.relu'
    found = maps.grad_cam(network, variables, images, CLASSES, 'layer2.relu')
    kernel, bias = (np.asarray(variables['params']['layer2']['convolution'][name]) for name in ('kernel', 'bias'))
    below = np.asarray(network.apply(variables, images, taps=('layer1',))[1]['layer1'])
    padded = np.pad(below, ((0, 0), (1, 1), (1, 1), (0, 0)))
    raised = sum(padded[:, row : row + 5, column : column + 4] @ kernel[row, column] for row in range(3) for column in range(3))
    weights = np.asarray(variables['params']['layer3']['dense']['kernel']).T[CLASSES] / 20
    expected = np.maximum((np.maximum(raised + bias, 0) * weights[:, None, None]).sum(-1), 0)
    assert expected.any() and not expected.all()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('tap', [*(pytest.param(tap, marks=pytest.mark.slow) for tap in ('layer1.convolution', 'layer1.relu')), 'layer2'])
def test_grad_cam_goes_on_from_any_tap_as_the_network_does(tap):
    network, variables, images = made(zoo.architecture('zfnet_32 resized(1=3,2=4,3=4,4=4,5=4,6=6,7=6)'))
    small = images[:2]
    found = network.apply(variables, small, taps=(tap,))
    logits, maps_ = found[0], found[1][tap]
    for layer in maps._above(network.architecture, tap):
        maps_ = maps.run_stages(layer, variables['params'][layer.name], maps_)
    np.testing.assert_allclose(maps_, logits, rtol=1e-4, atol=1e-5)
    assert maps.grad_cam(network, variables, small, CLASSES[:2], tap).shape == (2, 32, 32)


def test_what_grad_cam_cannot_weigh_is_refused():
    net = zoo.architecture('zfnet_32')
    with pytest.raises(ArchitectureError, match='layer6.relu has no maps, which Grad-CAM weighs; name one that has, such as layer5.relu'):
        maps.check_maps(net, 'layer6.relu')
    with pytest.raises(ArchitectureError, match="no tap 'layer9'"):
        maps.check_maps(net, 'layer9')
    twice = Architecture('twice', (8, 8, 1), (Layer(1, (Convolution(2, 3), ReLU(), MaxPool(2, 2), ReLU())), Layer(2, (Dense(3),))))
    with pytest.raises(ArchitectureError, match='layer1 cannot be taken apart after relu, whose kind it has twice; name layer1'):
        maps.check_maps(twice, 'layer1.relu')
    maps.check_maps(twice, 'layer1')
    assert maps.default_maps(zoo.architecture('perceptron')) == ''
    assert maps.default_maps(zoo.architecture('lenet5_modern')) == 'layer2.relu'  # its third layer has maps of one pixel


def test_maps_do_not_depend_on_batches(monkeypatch):
    network, variables, images = made(SMOOTH)
    whole = maps.gradient(network, variables, images, CLASSES)
    monkeypatch.setattr(maps, '_BATCH', 2)
    np.testing.assert_allclose(maps.gradient(network, variables, images, CLASSES), whole, rtol=1e-5, atol=1e-7)


def test_another_rule_comes_down_through_the_same_function():
    # Of ReLU networks the guided signal is never negative below the first nonlinearity, where the gradient is.
    net = Architecture('relus', (5, 4, 2), CAM.layers)
    network, variables, images = made(net)
    down = network.clone(architecture=projection.projecting(net, 'guided'))
    plain, guided = (maps.gradient(one, variables, images, CLASSES) for one in (network, down))
    assert not np.allclose(plain, guided)
    gradient = network.clone(architecture=projection.projecting(net, 'gradient'))
    np.testing.assert_allclose(maps.gradient(gradient, variables, images, CLASSES), plain, rtol=1e-5, atol=1e-6)
    assert measures.largest(guided).shape == (5, 5, 4)
