"""Occlusion against a loop that paints one raw image at a time and runs the plain network; confinement against counting by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research.architecture import Architecture, Convolution, Dense, Layer, MaxPool, ReLU
from cnn_research.data import augment
from cnn_research.errors import ArchitectureError, ConfigError
from cnn_research.models.network import Network
from cnn_research.studies.looking import occlusion, windows
from cnn_research.studies.looking.occlusion import Said, Square

NET = Architecture(
    'small',
    (11, 10, 3),
    (
        Layer(1, (Convolution(4, 3, padding=1), ReLU(), MaxPool(3, 2))),
        Layer(2, (Convolution(5, 3, padding=1), ReLU())),
        Layer(3, (Dense(6), ReLU())),
        Layer(4, (Dense(4),)),
    ),
)
NETWORK = Network(NET)
PARAMS = NETWORK.init(jax.random.key(0), jnp.zeros((1, *NET.input_shape)))['params']
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (3, 13, 10, 3), dtype=np.uint8)
LABELS = np.array([2, 0, 3])
# A mean image, so that the colour that the network sees differs from pixel to pixel.
PREPROCESSING = {'mean': RANDOM.uniform(90, 150, (13, 10, 3)).astype(np.float32), 'scale': np.full(3, 0.02, np.float32)}
VARIABLES = {'params': PARAMS, 'preprocessing': PREPROCESSING}


def painted(image, middle, size, colour):
    """The raw image, painted pixel by pixel; the network's view of 11 rows begins at row 1."""
    image = image.astype(np.float32)
    for row in range(13):
        for column in range(10):
            down, across = row - 1 - middle[0] + size // 2, column - middle[1] + size // 2
            if 0 <= down < size and 0 <= across < size:
                image[row, column] = colour
    return image


@jax.jit
def plain(images):
    logits, taps = NETWORK.apply({'params': PARAMS}, augment.prepare(images, PREPROCESSING, NET.input_shape), taps=('layer2', 'layer3'))
    return jax.nn.softmax(logits), taps


@pytest.mark.parametrize(
    ('tap', 'square', 'batch_size'),
    [
        ('layer2', Square(4, 3), 7),
        ('layer2', Square(3, 1, (250.0, 10.0, 0.0)), 500),
        ('layer3', Square(5, 4, 0.0), 2),
    ],
)
def test_every_place_is_what_a_loop_over_painted_images_says(tap, square, batch_size):
    found = occlusion.occlude(NETWORK, VARIABLES, IMAGES, LABELS, tap, square, batch_size)
    assert found.under.activation.shape == (3, -(-11 // square.stride), -(-10 // square.stride))
    assert found.under.activation[0].size == occlusion.places(square, NET.input_shape)
    for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        probabilities, taps = plain(image[None])
        sums = np.asarray(taps[tap][0]).reshape(-1, taps[tap].shape[-1]).sum(0)
        assert found.number[index] == sums.argmax()
        np.testing.assert_allclose(
            [found.clean.activation[index], found.clean.probability[index]], [sums.max(), probabilities[0, label]], rtol=1e-5
        )
        assert found.clean.predicted[index] == probabilities[0].argmax()
        for i, row in enumerate(found.rows):
            for j, column in enumerate(found.columns):
                probabilities, taps = plain(painted(image, (row, column), square.size, square.colour)[None])
                sums = np.asarray(taps[tap][0]).reshape(-1, taps[tap].shape[-1]).sum(0)
                np.testing.assert_allclose(found.under.activation[index, i, j], sums[found.number[index]], rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(found.under.probability[index, i, j], probabilities[0, label], rtol=1e-4)
                assert found.under.predicted[index, i, j] == probabilities[0].argmax()


def test_only_what_the_square_reaches_is_computed_anew(monkeypatch):
    layers = (
        Layer(1, (Convolution(4, 3, padding=1), ReLU(), MaxPool(3, 2))),
        Layer(2, (Convolution(5, 3, padding=1), ReLU(), MaxPool(3, 2))),
        *NET.layers[2:],
    )
    network = Network(Architecture('wide', (40, 36, 3), layers))
    variables = {'params': network.init(jax.random.key(1), jnp.zeros((1, 40, 36, 3)))['params']}
    images = RANDOM.normal(size=(3, 40, 36, 3)).astype(np.float32)
    found = {}
    for share in (0.0, 0.8):
        monkeypatch.setattr(windows, 'SHARE', share)
        occlusion._compiled.cache_clear()
        assert bool(windows.windows(network.architecture, 6, below=2)) == (share > 0)
        found[share] = occlusion.occlude(network, variables, images, LABELS, 'layer2', Square(6, 5, 0.5))
    occlusion._compiled.cache_clear()
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5), *found.values())
    assert np.ptp(found[0.8].under.activation) > 0.1


def test_what_is_painted_in_the_network_own_units_needs_no_preprocessing():
    seen = np.asarray(augment.prepare(IMAGES, PREPROCESSING, NET.input_shape))
    found = occlusion.occlude(NETWORK, {'params': PARAMS}, seen, LABELS, 'layer2', Square(11, 11, 0.0))
    blank = NETWORK.apply({'params': PARAMS}, jnp.zeros((1, *NET.input_shape)))[0]
    np.testing.assert_allclose(found.under.probability[:, 0, 0], jax.nn.softmax(blank)[0][LABELS], rtol=1e-5)


def test_a_square_in_the_image_own_colour_changes_nothing():
    grey = np.full((1, 13, 10, 1), 60, np.uint8)
    found = occlusion.occlude(NETWORK, VARIABLES, grey, [1], 'layer2', Square(5, 2, 60.0))
    for under, clean in zip(found.under, found.clean, strict=True):
        np.testing.assert_allclose(under, np.full(under.shape, clean), rtol=1e-5)


@pytest.mark.parametrize(('side', 'stride'), [(10, 1), (11, 3), (10, 3), (7, 20), (32, 8)])
def test_places_cover_the_image_evenly(side, stride):
    middles = occlusion._middles(side, stride)
    assert set(np.diff(middles)) <= {stride} and len(middles) == -(-side // stride)
    before, after = middles[0], side - 1 - middles[-1]
    assert 0 <= before <= after <= before + 1
    assert len(middles) == 1 or after < stride


def occluded(clean, under, rows, columns):
    under = np.asarray(under, np.float32)
    nothing = np.zeros(len(under))
    return occlusion.Occlusion(
        np.array(rows), np.array(columns), nothing, Said(nothing, np.float32(clean), nothing), Said(under, under, under)
    )


def test_confinement_counts_drops_whose_middle_lies_in_the_box():
    found = occlusion.confinement(
        occluded([0.8, 0.5], [[[0.8, 0.2], [0.9, 0.6], [0.7, 0.7]], [[0.5, 0.9], [0.5, 0.5], [0.6, 0.5]]], [1, 4, 7], [2, 6]),
        [[0, 5, 5, 2], [4, 0, 4, 7]],
    )
    # Drops of the first image: 0.6 and 0.2 in the box, 0.1 twice below it; of the second none at all.
    np.testing.assert_allclose(found.share, [0.8, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found.chance, [2 / 6, 4 / 6])
    np.testing.assert_allclose(found.means(), [0.8, 1 / 3], rtol=1e-6)
    assert np.isnan(occlusion.Confinement(np.array([np.nan]), np.array([0.5])).means()).all()


def test_drops_that_know_nothing_of_the_box_give_chance():
    under = np.random.default_rng(1).uniform(0, 0.5, (200, 8, 8))
    share, chance = occlusion.confinement(occluded(np.ones(200), under, range(8), range(8)), np.full((200, 4), [2, 1, 3, 4])).means()
    assert chance == 12 / 64 and share == pytest.approx(chance, abs=0.01)


@pytest.mark.parametrize(
    ('tap', 'square', 'error'),
    [
        ('layer9', Square(3), ArchitectureError),
        ('layer2', Square(0), ConfigError),
        ('layer2', Square(3, 0), ConfigError),
        ('layer2', Square(12), ConfigError),
        ('layer2', Square(3, 12), ConfigError),
        ('layer2', Square(3, 1, 255.5), ConfigError),
        ('layer2', Square(3, 1, -1.0), ConfigError),
        ('layer2', Square(3, 1, float('nan')), ConfigError),
        ('layer2', Square(3, 1, (1.0, 2.0)), ConfigError),
    ],
)
def test_what_cannot_be_slid_is_refused(tap, square, error):
    with pytest.raises(error):
        occlusion.occlude(NETWORK, VARIABLES, IMAGES, LABELS, tap, square)
