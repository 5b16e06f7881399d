"""Preprocessing and random views against NumPy, SciPy and what must not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from cnn_research.data import augment
from cnn_research.data.augment import Augmentation
from cnn_research.errors import ConfigError, SourceError

EVERYTHING = Augmentation(
    crop=True, flip=True, colour=0.1, shift=0.05, scale=0.15, rotation=15.0, shear=0.1, elastic=20.0, elastic_sigma=4.0
)


def pictures(count=6, height=12, width=10, channels=3):
    return np.random.default_rng(count + height).integers(0, 256, (count, height, width, channels), np.uint8)


def keys_of(count):
    return augment.example_keys(jax.random.key(1), jnp.arange(count, dtype=jnp.uint32))


view = jax.jit(augment.augmented, static_argnums=(2, 4))


@pytest.mark.parametrize('normalization', augment.NORMALIZATIONS)
def test_normalizations_by_hand(normalization):
    images = pictures()
    floats = images.astype(np.float64)
    expected = {
        'none': floats,
        'unit': floats / 255,
        'mean_image': floats - floats.mean(0),
        'channel_mean': floats - floats.mean((0, 1, 2)),
        'mean_std': (floats - floats.mean((0, 1, 2))) / floats.std((0, 1, 2)),
        'lenet': -0.1 + floats / 255 * 1.275,
    }[normalization]
    preprocessing = augment.statistics(images, normalization)
    assert {value.dtype for value in preprocessing.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(augment.prepare(images, preprocessing, (12, 10, 3)), expected, rtol=1e-5, atol=1e-4)


def test_statistics_do_not_depend_on_batches():
    images = pictures(50)
    whole = augment.statistics(images, 'mean_image')
    parts = augment.statistics((images[start : start + 7] for start in range(0, 50, 7)), 'mean_image')
    for name, value in whole.items():
        np.testing.assert_array_equal(parts[name], value)


def test_colour_holds_the_eigenvectors_of_the_covariance():
    images = np.cumsum(pictures(40) // 4, axis=-1).astype(np.uint8)  # correlated channels
    colour = augment.statistics(images, 'none')['colour']
    covariance = np.cov(images.reshape(-1, 3).T / 255.0, bias=True)
    eigenvalues, _ = np.linalg.eigh(covariance)
    np.testing.assert_allclose(np.linalg.norm(colour, axis=0), 255 * eigenvalues, rtol=1e-4)
    np.testing.assert_allclose(covariance @ colour, colour * eigenvalues, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(colour @ colour.T, 255**2 * covariance @ covariance, rtol=1e-4)


def test_statistics_refuse():
    with pytest.raises(ConfigError, match='mean_image.*Did you mean mean_image'):
        augment.statistics(pictures(), 'mean_images')
    with pytest.raises(SourceError, match='no images'):
        augment.statistics([], 'none')


def test_prepare_pads_small_images_with_background():
    images = pictures(channels=1)
    preprocessing = augment.statistics(images, 'lenet')
    padded = np.pad(images, [(0, 0), (2, 2), (2, 3), (0, 0)])
    found = augment.prepare(images, preprocessing, (16, 15, 3))
    np.testing.assert_allclose(found, np.repeat(padded, 3, -1) * 0.005 - 0.1, atol=1e-5)


def test_prepare_pads_and_cuts_the_mean_image_with_the_image():
    images = pictures()
    preprocessing = augment.statistics(images, 'mean_image')
    centred = images.astype(np.float64) - images.mean(0, dtype=np.float64)
    found = augment.prepare(images, preprocessing, (8, 13, 3))
    np.testing.assert_allclose(found, np.pad(centred, [(0, 0), (0, 0), (1, 2), (0, 0)])[:, 2:10], atol=1e-4)


def test_prepare_refuses_what_does_not_fit():
    with pytest.raises(SourceError, match='3 channels, the network takes 1'):
        augment.prepare(pictures(), augment.statistics(pictures(), 'none'), (12, 10, 1))
    with pytest.raises(SourceError, match='measured on 3 channels, the network takes 1'):
        augment.prepare(pictures(channels=1), augment.statistics(pictures(), 'unit'), (12, 10, 1))
    with pytest.raises(SourceError, match='mean image is 12x10x3, the images are 9x10x3'):
        augment.prepare(pictures(height=9), augment.statistics(pictures(), 'mean_image'), (8, 10, 3))


@pytest.mark.parametrize('normalization', ['mean_image', 'mean_std', 'lenet'])
@pytest.mark.parametrize('shape', [(12, 10, 3), (8, 7, 3), (15, 13, 3)])
def test_everything_off_is_prepare(normalization, shape):
    images = pictures()
    preprocessing = augment.statistics(images, normalization)
    expected = jax.jit(augment.prepare, static_argnums=2)(images, preprocessing, shape)
    np.testing.assert_array_equal(view(images, preprocessing, shape, keys_of(6), Augmentation()), expected)


def test_crops_and_flips_are_windows_of_the_centred_image():
    images = pictures(200)
    preprocessing = augment.statistics(images, 'mean_image')
    centred = images.astype(np.float32) - preprocessing['mean']
    found = view(images, preprocessing, (10, 9, 3), keys_of(200), Augmentation(crop=True, flip=True))
    counts = {}
    for image, crop in zip(centred, np.asarray(found), strict=True):
        windows = {(top, left, 1): image[top : top + 10, left : left + 9] for top in range(3) for left in range(2)}
        windows |= {(top, left, -1): window[:, ::-1] for (top, left, _), window in windows.items()}
        (match,) = [place for place, window in windows.items() if np.array_equal(window, crop)]
        counts[match] = counts.get(match, 0) + 1
    assert len(counts) == 12 and min(counts.values()) >= 5


def test_colour_noise_is_one_draw_per_image_along_the_components():
    images = pictures(500, 4, 4)
    preprocessing = augment.statistics(images, 'mean_std')
    noisy = view(images, preprocessing, (4, 4, 3), keys_of(500), Augmentation(colour=0.1))
    noise = np.asarray(noisy - augment.prepare(images, preprocessing, (4, 4, 3))) / preprocessing['scale']
    np.testing.assert_allclose(noise, np.broadcast_to(noise[:, :1, :1], noise.shape), atol=1e-3)
    draws = np.linalg.solve(preprocessing['colour'].astype(np.float64), noise[:, 0, 0].T)
    np.testing.assert_allclose(draws.std(1), 0.1, rtol=0.15)
    np.testing.assert_allclose(np.corrcoef(draws), np.eye(3), atol=0.15)


def test_ten_crops_are_krizhevskys():
    images = pictures()
    preprocessing = augment.statistics(images, 'mean_image')
    centred = images.astype(np.float32) - preprocessing['mean']
    views = [centred[:, :8, :6], centred[:, :8, 4:], centred[:, 4:, :6], centred[:, 4:, 4:], centred[:, 2:10, 2:8]]
    found = augment.ten_crops(images, preprocessing, (8, 6, 3))
    np.testing.assert_array_equal(found, views + [crop[:, :, ::-1] for crop in views])


def test_bilinear_matches_scipy():
    image = pictures(1)[0].astype(np.float32)
    places = np.random.default_rng(0).uniform(-2.5, 13, (2, 9, 11)).astype(np.float32)
    expected = [scipy.ndimage.map_coordinates(image[..., channel], places, order=1, mode='grid-constant') for channel in range(3)]
    np.testing.assert_allclose(augment.bilinear(image, *places), np.stack(expected, -1), rtol=1e-4, atol=1e-2)
    rows, columns = np.mgrid[:12, :10].astype(np.float32)
    np.testing.assert_array_equal(augment.bilinear(image, rows, columns), image)


def test_affine_matrix_is_rotation_of_shear_of_scaling():
    angle = 0.3
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = rotation @ np.array([[1, 0], [0.2, 1]]) @ np.diag([1.1, 0.8])
    np.testing.assert_allclose(augment.affine_matrix(1.1, 0.8, angle, 0.2), expected, rtol=1e-5)


AFFINE = Augmentation(shift=0.1, scale=0.2, rotation=20.0, shear=0.1)


def test_affine_view_matches_scipy():
    # The map is read off two linear ramps, then applied to other images by scipy.
    rows, columns = np.mgrid[:40, :40].astype(np.uint8)
    ramps = np.stack([rows, columns, np.full_like(rows, 1)], -1)
    images = pictures(4, 40, 40)
    identity = augment.statistics(images, 'none')
    read, found = (np.asarray(view(batch, identity, (40, 40, 3), keys_of(4), AFFINE)) for batch in (np.stack([ramps] * 4), images))
    output = np.stack([*np.mgrid[:40, :40], np.ones((40, 40))], -1)
    matrices = []
    for example in range(4):
        inside = read[example, ..., 2] > 0.9999
        assert inside.sum() > 400
        solution, *_ = np.linalg.lstsq(output[inside], read[example][inside][:, :2], rcond=None)
        matrix, offset = solution[:2].T, solution[2]
        expected = np.stack(
            [
                scipy.ndimage.affine_transform(images[example, ..., channel].astype(float), matrix, offset, order=1, mode='grid-constant')
                for channel in range(3)
            ],
            -1,
        )
        np.testing.assert_allclose(found[example], expected, atol=0.3)
        centre_moves = matrix @ [19.5, 19.5] + offset - 19.5
        assert np.abs(centre_moves).max() < 0.1 * 40
        assert np.all(np.abs(np.linalg.norm(matrix, axis=0) - 1) < 0.25)
        matrices.append(matrix)
    assert np.ptp(matrices, axis=0).min() > 0.01


@pytest.mark.parametrize('sigma', [1.5, 4.0, 8.0])
def test_elastic_field_matches_scipys_gaussian(sigma):
    key = jax.random.key(3)
    noise = jax.random.uniform(key, (2, 29, 25), minval=-1, maxval=1)
    expected = 36 * np.stack([scipy.ndimage.gaussian_filter(part, sigma, mode='constant', truncate=8) for part in np.asarray(noise)])
    np.testing.assert_allclose(augment.elastic_field(key, 29, 25, 36.0, sigma), expected, atol=1e-4)


def test_elastic_view_moves_ink_by_the_field():
    images = scipy.ndimage.gaussian_filter(pictures(3, 29, 29, 1), (0, 2, 2, 0))
    identity = augment.statistics(images, 'none')
    keys = keys_of(3)
    found = view(images, identity, (29, 29, 1), keys, Augmentation(elastic=36.0, elastic_sigma=6.0))
    for image, key, warped in zip(images, keys, np.asarray(found), strict=True):
        field = augment.elastic_field(jax.random.split(key, 5)[4], 29, 29, 36.0, 6.0)
        places = np.mgrid[:29, :29] + np.asarray(field)
        expected = scipy.ndimage.map_coordinates(image[..., 0].astype(float), places, order=1, mode='grid-constant')
        np.testing.assert_allclose(warped[..., 0], expected, atol=0.05)
        assert 0.2 < np.abs(field).max() < 5


def test_an_examples_view_depends_on_its_own_key_only():
    images, keys = pictures(8), keys_of(8)
    preprocessing = augment.statistics(images, 'mean_std')
    whole = np.asarray(view(images, preprocessing, (10, 8, 3), keys, EVERYTHING))
    shuffle = np.random.default_rng(0).permutation(8)
    np.testing.assert_array_equal(view(images[shuffle], preprocessing, (10, 8, 3), keys[shuffle], EVERYTHING), whole[shuffle])
    again = view(np.repeat(images[:1], 8, 0), preprocessing, (10, 8, 3), keys, EVERYTHING)
    assert len({row.tobytes() for row in np.asarray(again)}) == 8


def test_switches_do_not_disturb_each_other():
    images = pictures(64, 4, 4)
    identity = augment.statistics(images, 'none')
    alone = view(images, identity, (4, 4, 3), keys_of(64), Augmentation(flip=True))
    noisy = view(images, identity, (4, 4, 3), keys_of(64), Augmentation(flip=True, colour=0.1))
    noise = np.asarray(noisy - alone)
    np.testing.assert_allclose(noise, np.broadcast_to(noise[:, :1, :1], noise.shape), atol=1e-3)  # the same mirrors


def test_example_keys_are_folded_in():
    seed, positions = jax.random.key(7), jnp.array([0, 5, 4_000_000_000], jnp.uint32)
    keys = augment.example_keys(seed, positions)
    for key, position in zip(keys, np.asarray(positions), strict=True):
        np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(jax.random.fold_in(seed, position)))
