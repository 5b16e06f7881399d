"""Transformations against NumPy's shifts and turns and SciPy's interpolation; distances against single plain forward passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from cnn_research.architecture import Architecture, Convolution, Dense, Layer, MaxPool, ReLU
from cnn_research.data import augment
from cnn_research.errors import ArchitectureError, ConfigError
from cnn_research.models.network import Network
from cnn_research.studies.looking import invariance

NET = Architecture(
    'small',
    (10, 10, 3),
    (
        Layer(1, (Convolution(4, 3, padding=1), ReLU(), MaxPool(2, 2))),
        Layer(2, (Dense(6), ReLU())),
        Layer(3, (Dense(4),)),
    ),
)
NETWORK = Network(NET)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (3, 14, 12, 3), dtype=np.uint8)
LABELS = np.array([2, 0, 3])
VARIABLES = {
    'params': NETWORK.init(jax.random.key(0), jnp.zeros((1, *NET.input_shape)))['params'],
    'preprocessing': {'mean': np.float32([100, 120, 140]), 'scale': np.full(3, 0.02, np.float32)},
}
TAPS = ('layer1', 'layer2')
NOTHING = {'translation': 0, 'scale': 1, 'rotation': 0}


@pytest.mark.parametrize('pixels', [3, -5, 0, 14, -20])
def test_whole_pixels_roll_the_image_and_leave_the_colour_behind(pixels):
    expected = np.roll(IMAGES.astype(np.float32), pixels, axis=1)
    gone = slice(0, pixels) if pixels > 0 else slice(max(0, 14 + pixels), None)
    if pixels:
        expected[:, gone] = (10, 20, 30)
    np.testing.assert_array_equal(invariance.transformed(IMAGES, 'translation', pixels, (10.0, 20.0, 30.0)), expected)


@pytest.mark.parametrize('quarters', [1, 2, 3, 4])
@pytest.mark.parametrize('side', [11, 12])
def test_quarter_turns_are_those_of_numpy(quarters, side):
    images = RANDOM.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    turned = invariance.transformed(images, 'rotation', 90 * quarters)
    np.testing.assert_allclose(turned, np.rot90(images, quarters, axes=(1, 2)), atol=2e-3)


@pytest.mark.parametrize(
    ('kind', 'value', 'matrix'),
    [
        ('scale', 1.6, np.eye(2) / 1.6),
        ('scale', 0.7, np.eye(2) / 0.7),
        ('rotation', 25, [[np.cos(np.radians(25)), np.sin(np.radians(25))], [-np.sin(np.radians(25)), np.cos(np.radians(25))]]),
        ('translation', 2.25, np.eye(2)),
    ],
)
def test_interpolation_is_that_of_scipy(kind, value, matrix):
    matrix, middle = np.asarray(matrix), np.array([6.5, 5.5])
    offset = middle - matrix @ (middle + np.array([value, 0]) * (kind == 'translation'))
    found = invariance.transformed(IMAGES, kind, value, 50.0)
    for image, one in zip(IMAGES, found, strict=True):
        for channel in range(3):
            # A border of the colour, so that both interpolate towards it beyond the image.
            padded = np.pad(image[..., channel].astype(float), 20, constant_values=50)
            expected = scipy.ndimage.affine_transform(padded, matrix, offset + 20 - matrix @ (20, 20), order=1, mode='nearest')
            np.testing.assert_allclose(one[..., channel], expected[20:-20, 20:-20], atol=2e-3)


@pytest.mark.parametrize('kind', invariance.TRANSFORMATIONS)
def test_distances_and_probabilities_are_those_of_single_passes(kind):
    values = [NOTHING[kind], 1.3, 4.0]
    found = invariance.invariance(NETWORK, VARIABLES, IMAGES, LABELS, kind, values, TAPS, 30.0)

    def features(image):
        logits, taps = NETWORK.apply(
            {'params': VARIABLES['params']}, augment.prepare(image[None], VARIABLES['preprocessing'], NET.input_shape), taps=TAPS
        )
        return jax.nn.softmax(logits)[0], {tap: np.asarray(array).ravel() for tap, array in taps.items()}

    for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        _, original = features(image)
        for number, value in enumerate(values):
            probabilities, moved = features(invariance.transformed(image[None], kind, value, 30.0)[0])
            np.testing.assert_allclose(found.probability[index, number], probabilities[label], rtol=1e-5)
            for tap in TAPS:
                expected = np.sqrt(np.square(moved[tap] - original[tap]).sum())
                np.testing.assert_allclose(found.distance[tap][index, number], expected, rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(found.length[tap][index], np.sqrt(np.square(original[tap]).sum()), rtol=1e-5)
    for tap in TAPS:
        assert not found.distance[tap][:, 0].any() and found.distance[tap][:, 1:].all()


def test_a_margin_of_the_image_comes_into_view_before_the_colour_does():
    # The network sees rows 2 to 11 of 14: two rows of image stand above and below.
    for pixels, colours in ((2, False), (3, True)):
        one, other = (
            invariance.invariance(NETWORK, VARIABLES, IMAGES, LABELS, 'translation', [pixels], TAPS, colour).probability
            for colour in (0.0, 255.0)
        )
        assert np.array_equal(one, other) is not colours


@pytest.mark.parametrize(
    ('kind', 'taps', 'error', 'says'), [('turn', TAPS, ConfigError, 'rotation'), ('scale', ('layer8',), ArchitectureError, 'layer8')]
)
def test_what_cannot_be_measured_is_refused(kind, taps, error, says):
    with pytest.raises(error, match=says):
        invariance.invariance(NETWORK, VARIABLES, IMAGES, LABELS, kind, [1], taps)
