"""Averages over masks: small networks of which every mask can be written down, and the same by the plain definitions in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from cnn_research import config as configs
from cnn_research.architecture import Architecture, Convolution, Dense, DropConnect, Dropout, Layer, ReLU
from cnn_research.data import augment
from cnn_research.data.sources import open_source, subset
from cnn_research.errors import ArchitectureError
from cnn_research.models import layers, zoo
from cnn_research.models.network import Network
from cnn_research.studies.dropping import inference
from cnn_research.trained import Trained

random = np.random.default_rng(0)
X = random.normal(size=(3, 1, 1, 2)).astype(np.float32)
ONE, TOP = random.normal(size=(2, 2)).astype(np.float32), random.normal(size=(2, 3)).astype(np.float32)
SHIFT, LAST = np.array([0.4, -0.3], np.float32), np.array([0.1, 0.0, -0.2], np.float32)


def small(*hidden):
    net = Architecture('small', (1, 1, 2), (Layer(1, hidden), Layer(2, (Dense(3),))))
    params = {'layer1': {hidden[0].name: {'kernel': ONE, 'bias': SHIFT}}, 'layer2': {'dense': {'kernel': TOP, 'bias': LAST}}}
    return inference.Head(net, jax.tree.map(jnp.asarray, params), X, np.array([0, 1, 2]))


def softmax(logits):
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def every_weight_mask(rate):
    """(probability, mask (2, 2), mask of the bias (2,)) of all 64."""
    for bits in itertools.product((0, 1), repeat=6):
        yield np.prod([1 - rate if bit else rate for bit in bits]), np.reshape(bits[:4], (2, 2)), np.array(bits[4:])


@pytest.mark.parametrize('rate', [0.5, 0.3])
def test_the_reference_is_the_exact_average_over_every_mask_of_weights(rate):
    x, count = X.reshape(3, 2), 4000
    told = [(p, softmax(np.maximum(x @ (mask * ONE) + own * SHIFT, 0) @ TOP + LAST)) for p, mask, own in every_weight_mask(rate)]
    exact = sum(p * shares for p, shares in told)
    deviation = np.sqrt(sum(p * np.square(shares - exact) for p, shares in told) / count)
    found = inference.averaged(small(DropConnect(2, rate=rate)), jax.random.key(1), [(0, count), (count, 2 * count)])
    assert all((np.abs(one - exact) < 5 * deviation + 1e-5).all() for one in found)
    assert (found[0] != found[1]).any() and np.abs(deviation).max() > 1e-3


@pytest.mark.parametrize('rate', [0.5, 0.3])
def test_the_reference_is_the_exact_average_over_every_mask_of_units(rate):
    hidden, count = np.maximum(X.reshape(3, 2) @ ONE + SHIFT, 0), 4000
    masks = [(np.prod([1 - rate if bit else rate for bit in bits]), bits) for bits in itertools.product((0, 1), repeat=2)]
    told = [(p, softmax(hidden * bits / (1 - rate) @ TOP + LAST)) for p, bits in masks]
    exact = sum(p * shares for p, shares in told)
    deviation = np.sqrt(sum(p * np.square(shares - exact) for p, shares in told) / count)
    found = small(Dense(2), ReLU(), Dropout(rate))
    assert (np.abs(inference.averaged(found, jax.random.key(1), [(0, count)])[0] - exact) < 5 * deviation + 1e-5).all()
    plain = inference.probabilities(found, inference.mean_network)
    np.testing.assert_allclose(plain, softmax(hidden @ TOP + LAST), atol=1e-6)


@pytest.mark.parametrize('rate', [0.5, 0.2])
def test_moments_their_limit_and_their_samples(rate):
    """Mean and variance over every mask; the rectified mean by quadrature; samples within what their number allows."""
    x, found = X.reshape(3, 2), small(DropConnect(2, rate=rate))
    sums = [(p, x @ (mask * ONE) + own * SHIFT) for p, mask, own in every_weight_mask(rate)]
    mean = sum(p * one for p, one in sums)
    variance = sum(p * np.square(one - mean) for p, one in sums)
    for ours, wanted in zip(layers.moments(x, ONE, SHIFT, rate), (mean, variance), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)
    deviation = np.sqrt(variance)

    def rectified(at, power):
        def value(u):
            return u**power * stats.norm.pdf(u, mean[at], deviation[at])

        return integrate.quad(value, 0, max(0, mean[at]) + 12 * deviation[at])[0]

    first, square = (np.reshape([rectified(at, power) for at in np.ndindex(3, 2)], (3, 2)) for power in (1, 2))
    np.testing.assert_allclose(inference.limit(found.net, found.params, X), first @ TOP + LAST, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(inference.probabilities(found, inference.limit), softmax(first @ TOP + LAST), atol=1e-6)
    thinner = softmax(np.maximum(mean, 0) @ TOP + LAST)
    np.testing.assert_allclose(inference.probabilities(found, inference.mean_network), thinner, atol=1e-6)
    error = np.sqrt(square - first**2) @ np.abs(TOP)
    for count in (1, 10_000):
        drawn = inference.sampled(found.net, found.params, X, jax.random.key(3), count)
        assert (np.abs(drawn - (first @ TOP + LAST)) < 6 * error / np.sqrt(count) + 1e-5).all()


def test_every_block_of_images_has_masks_of_its_own_that_the_seed_alone_decides(monkeypatch):
    monkeypatch.setattr(inference, 'BLOCK', 2)
    found = small(DropConnect(2))._replace(features=np.repeat(X[:1], 5, 0), labels=np.zeros(5, int))
    (once,), (again,) = (inference.averaged(found, jax.random.key(0), [(0, 3)]) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(once[0], once[1])  # within a block one mask
    assert (once[1] != once[2]).any() and (once[2] != once[4]).any()
    drawn = inference.by_samples(found, jax.random.key(0), (1, 2))
    assert (drawn[0][0] != drawn[0][1]).any() and (drawn[0] != drawn[1]).any()


def test_distances_by_hand():
    reference, shares = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.25, 0.75], [1.0, 0.0]])
    found = inference.distance(shares, reference)
    assert found['absolute'] == pytest.approx(0.125)
    assert found['divergence'] == pytest.approx((0.5 * np.log(2) + 0.5 * np.log(2 / 3)) / 2)
    assert inference.distance(reference, reference) == {'absolute': 0, 'divergence': 0}
    lost = inference.distance(np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]]))
    assert lost['divergence'] == pytest.approx(-np.log(inference.SMALLEST)) and lost['absolute'] == 1
    assert inference.error(shares, np.array([0, 0])) == 0.5


def test_what_is_compared_and_how_far_the_reference_itself_is_known():
    told = inference.compared(small(DropConnect(2)), 3, 2000, (1, 100, 1000, 5000))
    assert told == inference.compared(small(DropConnect(2)), 3, 2000, (1, 100, 1000, 5000)) and told['images'] == 3
    assert told != inference.compared(small(DropConnect(2)), 4, 2000, (1, 100, 1000, 5000))
    forms = {(one['form'], one['samples']): one['absolute'] for one in told['forms']}
    # What is held against the reference is none of it, so more masks than half of its number are not drawn.
    assert [samples for form, samples in forms if form == 'masks'] == [1, 100, 1000]
    assert forms['masks', 1] > 3 * forms['masks', 100] > forms['masks', 1000] and told['halves']['absolute'] < forms['masks', 100]
    assert abs(forms['moments', 5000] - forms['moments', None]) < 0.01 < forms['moments', 1]
    dropped = inference.compared(small(Dense(2), ReLU(), Dropout(0.5)), 3, 20, (1,))
    assert [(one['form'], one['samples']) for one in dropped['forms']] == [('mean network', None), ('masks', 1)]
    with pytest.raises(ArchitectureError, match='drops nothing'):
        inference.compared(small(Dense(2), ReLU()), 3, 20, (1,))
    with pytest.raises(ArchitectureError, match='drops both'):
        inference.dropping(Architecture('both', (1, 1, 2), (Layer(1, (DropConnect(2), Dropout(0.5))), Layer(2, (Dense(3),)))))


MAPS = Layer(1, (Convolution(2, 7, stride=3), ReLU()))


@pytest.mark.parametrize(
    ('net', 'first'),
    [
        (zoo.architecture('wan_800_dropconnect resized(1=5,2=4)'), 1),
        (zoo.architecture('wan_800_dropout resized(1=5,2=4)'), 1),
        (Architecture('above maps', (28, 28, 1), (MAPS, Layer(3, (DropConnect(4),)), Layer(4, (Dense(10),)))), 3),
        (Architecture('above units', (28, 28, 1), (MAPS, Layer(2, (Dense(5),)), Layer(3, (DropConnect(4),)), Layer(4, (Dense(10),)))), 3),
    ],
)
def test_the_upper_part_of_a_network_says_what_the_network_says(net, first):
    source = subset(open_source('digits', 'test'), range(7))
    params = jax.jit(Network(net).init)(jax.random.key(0), jnp.zeros((1, *net.input_shape)))['params']
    variables = {'params': params, 'preprocessing': augment.AS_IT_IS}
    config = configs.check(configs.update(configs.default(), {'architecture_json': net.to_json(), 'data.name': 'digits'}))
    found = inference.head(Trained(net, variables, config, 0), source)
    images, labels = source.read(np.arange(7))
    assert found.net.layers[0].number == first and found.labels.tolist() == list(labels)
    whole = Trained(net, variables, config, 0).predict(np.stack(images))
    np.testing.assert_allclose(inference.probabilities(found, inference.limit), whole, atol=1e-5)
