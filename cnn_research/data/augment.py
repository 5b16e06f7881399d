"""From uint8 images to a network's input, on the device, with randomness that belongs to each example.

`statistics` measures the training images once; `prepare` is the centre view of evaluation, `augmented` the random view of training and
`ten_crops` Krizhevsky's test views. Random numbers come from one key per example, so neither the batch nor the device an example is in
changes its view.
"""

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research.data import NORMALIZATIONS
from cnn_research.errors import ConfigError, SourceError, nearest

WIDE = 1000.0  # px; the standard deviation of a Gaussian from which on its sum is its integral, to the last bit
# The preprocessing of a network that has none: it sees its images as they are.
AS_IT_IS = {'mean': np.zeros(1, np.float32), 'scale': np.ones(1, np.float32)}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is random in training; all off by default.

    - crop: a random window of the network's input size, else the centre
    - flip: left-right mirror with probability 1/2
    - colour: standard deviation of Krizhevsky's a_i (2012, section 4.1: 0.1)
    - shift: largest displacement, as a fraction of the side, along each axis
    - scale: largest relative change of size, of each axis by itself
    - rotation: largest angle, degrees
    - shear: largest horizontal shear, pixels per pixel of height
    - elastic: factor on the smoothed displacement field, pixels (Simard 2003); elastic_sigma is the Gaussian's standard deviation, pixels
    """

    crop: bool = False
    flip: bool = False
    colour: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    rotation: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    elastic_sigma: float = 8.0


def _chunks(images):
    if not hasattr(images, 'shape'):
        return images
    # A few million values at a time keep the float64 copies small.
    size = max(1, 4_000_000 // int(np.prod(images.shape[1:])))
    return (images[start : start + size] for start in range(0, len(images), size))


def statistics(images: np.ndarray | Iterable[np.ndarray], normalization: str) -> dict[str, np.ndarray]:
    """The preprocessing measured on training images, uint8 (N, H, W, C) or an iterable of such batches; all float32.

    'mean': (H, W, C) for 'mean_image', else (C,); 'scale': (C,); a network sees (x - mean) * scale.

    'colour': (C, C), in grey levels. Column i is 255 p_i l_i, where p_i and l_i are eigenvector and eigenvalue of the covariance of all
    pixels scaled to [0, 1] (Krizhevsky 2012, section 4.1). The paper leaves the unit open, and eigenvalues, being variances, depend on it:
    with pixels in 0 to 255, the noise a_i l_i would be hundreds of grey levels. In [0, 1] it is the size in general use: the values that
    circulate for ImageNet (0.2175, 0.0188, 0.0045) are of this kind, and a ~ N(0, 0.1) then moves the first component by about 5.5 grey
    levels. Others take l_i to be the standard deviation, about twice as much.

    Sums of uint8 values are exact in float64, so the order and size of the batches change nothing.
    Raises ConfigError for an unknown normalization, SourceError when there are no images.
    """
    if normalization not in NORMALIZATIONS:
        raise ConfigError(
            f'Unknown normalization {normalization!r}; one of {", ".join(NORMALIZATIONS)}.{nearest(normalization, NORMALIZATIONS)}'
        )
    count, image_sum, products = 0, 0.0, 0.0
    for chunk in _chunks(images):
        values = np.asarray(chunk, np.float64)
        pixels = values.reshape(-1, values.shape[-1])
        count, image_sum, products = count + len(values), image_sum + values.sum(0), products + pixels.T @ pixels
    if not count:
        raise SourceError('There are no images to measure the preprocessing on.')
    channels = image_sum.shape[-1]
    mean = image_sum.mean((0, 1)) / count
    covariance = products / (count * image_sum[..., 0].size) - np.outer(mean, mean)
    shift, scale = np.zeros(channels), np.ones(channels)
    if normalization == 'unit':
        scale /= 255
    elif normalization == 'mean_image':
        shift = image_sum / count
    elif normalization == 'channel_mean':
        shift = mean
    elif normalization == 'mean_std':
        deviation = np.sqrt(np.diag(covariance))
        shift, scale = mean, 1 / np.where(deviation > 0, deviation, 1)
    elif normalization == 'lenet':
        scale *= 1.275 / 255
        shift = 0.1 / scale
    eigenvalues, eigenvectors = np.linalg.eigh(covariance / 255**2)
    # An eigenvector's sign is arbitrary; fixing it makes the numbers the same with every linear algebra library.
    eigenvectors *= np.where(eigenvectors[np.abs(eigenvectors).argmax(0), np.arange(channels)] < 0, -1, 1)
    result = {'mean': shift, 'scale': scale, 'colour': 255 * eigenvectors * eigenvalues}
    return {name: value.astype(np.float32) for name, value in result.items()}


def _size(shape):
    return 'x'.join(map(str, shape))


def _canvas(images, preprocessing, shape):
    """The images (B, H', W', c) and what to subtract ((c,) or (H', W', C)), zero-padded to at least the input's height and width."""
    height, width, channels = shape
    mean = jnp.asarray(preprocessing['mean'])
    if images.shape[-1] not in (1, channels):
        raise SourceError(f'The images have {images.shape[-1]} channels, the network takes {channels}.')
    if mean.shape[-1] not in (1, channels):
        raise SourceError(f'The preprocessing was measured on {mean.shape[-1]} channels, the network takes {channels}.')
    if mean.ndim == 3 and images.shape[1:3] == (height, width) and min(mean.shape[0] - height, mean.shape[1] - width) >= 0:
        mean = _window(mean, *_centre(mean, shape), shape)  # such images are the centre of what the mean was measured on
    if mean.ndim == 3 and mean.shape[:2] != images.shape[1:3]:
        raise SourceError(
            f'The mean image is {_size(mean.shape)}, the images are {_size(images.shape[1:])}; set data.resize to the size trained with.'
        )
    if images.shape[-1] != channels:
        images = jnp.repeat(images, channels, axis=-1)
    missing = [max(0, want - have) for want, have in zip((height, width), images.shape[1:3], strict=True)]
    margins = [(gap // 2, gap - gap // 2) for gap in missing] + [(0, 0)]
    return jnp.pad(images, [(0, 0), *margins]), (jnp.pad(mean, margins) if mean.ndim == 3 else mean)


def _window(array, top, left, shape):
    """The window of the input's size at (top, left) of (..., H, W, C); an array without height and width is its own window."""
    if array.ndim < 3:
        return array
    array = jax.lax.dynamic_slice_in_dim(array, top, shape[0], axis=-3)
    return jax.lax.dynamic_slice_in_dim(array, left, shape[1], axis=-2)


def _centre(array, shape):
    return (array.shape[-3] - shape[0]) // 2, (array.shape[-2] - shape[1]) // 2


def _view(images, mean, preprocessing, corner, shape, noise=0.0):
    # The mean is cut with the image: it belongs to the place a pixel had before the crop (Krizhevsky 2012, sections 2 and 4.1).
    view = _window(images, *corner, shape).astype(jnp.float32) - _window(mean, *corner, shape)
    return (view + noise) * preprocessing['scale']


def prepare(images: jax.Array, preprocessing: dict, shape: tuple[int, int, int]) -> jax.Array:
    """The centre view: uint8 (B, H, W, C) to float32 (B, h, w, c).

    Grey images are repeated to c channels; a side that is too short is padded with raw zeros on both ends, the mean image alike; a side
    that is too long is cut to its centre. A larger mean image is cut to its centre for images of the network's own size, as Caffe's mean of
    256 x 256 px is for crops of 227. Raises SourceError when channels or the mean image's size do not fit.
    """
    images, mean = _canvas(images, preprocessing, shape)
    return _view(images, mean, preprocessing, _centre(images, shape), shape)


def ten_crops(images: jax.Array, preprocessing: dict, shape: tuple[int, int, int]) -> jax.Array:
    """Krizhevsky's test views (2012, section 4.1), float32 (10, B, h, w, c).

    Top left, top right, bottom left, bottom right and centre, then their mirrors; sides that are too short are padded as in `prepare`.
    """
    images, mean = _canvas(images, preprocessing, shape)
    bottom, right = images.shape[1] - shape[0], images.shape[2] - shape[1]
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), _centre(images, shape)]
    views = jnp.stack([_view(images, mean, preprocessing, corner, shape) for corner in corners])
    return jnp.concatenate([views, views[..., ::-1, :]])


def example_keys(seed_key: jax.Array, positions: jax.Array) -> jax.Array:
    """One typed key per position, uint32 (B,) to keys (B,)."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(seed_key, positions)


def augmented(images: jax.Array, preprocessing: dict, shape: tuple[int, int, int], keys: jax.Array, settings: Augmentation) -> jax.Array:
    """The training view: uint8 (B, H, W, C) and typed keys (B,) to float32 (B, h, w, c).

    Distortions act on the raw image after padding, filled with 0; then the mean is subtracted, the window cut, colour noise added, and the
    view mirrored. With all settings off this is `prepare`.
    """
    images, mean = _canvas(images, preprocessing, shape)
    warps = any((settings.shift, settings.scale, settings.rotation, settings.shear, settings.elastic))

    def one(image, key):
        # Always the same five keys, so that turning one kind of randomness on leaves the others as they were.
        crop_key, flip_key, colour_key, affine_key, elastic_key = jax.random.split(key, 5)
        if warps:
            image = bilinear(image, *_coordinates(image.shape, affine_key, elastic_key, settings))
        corner = _centre(image, shape)
        if settings.crop:
            corner = jax.random.randint(crop_key, (2,), 0, jnp.array([image.shape[0] - shape[0] + 1, image.shape[1] - shape[1] + 1]))
        noise = 0.0
        if settings.colour:
            colour = jnp.asarray(preprocessing['colour'])
            noise = (colour * settings.colour * jax.random.normal(colour_key, colour.shape[-1:])).sum(-1)
        view = _view(image, mean, preprocessing, corner, shape, noise)
        return jnp.where(jax.random.bernoulli(flip_key), view[:, ::-1], view) if settings.flip else view

    return jax.vmap(one)(images, keys)


def bilinear(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """(H, W, C) read at fractional rows and columns (h, w), bilinearly, 0 outside: float32 (h, w, C)."""
    height, width, _ = image.shape
    top, left = jnp.floor(rows), jnp.floor(columns)
    total = 0.0
    for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = top + down, left + across
        weight = (1 - jnp.abs(rows - row)) * (1 - jnp.abs(columns - column))
        weight = jnp.where((row >= 0) & (row < height) & (column >= 0) & (column < width), weight, 0)
        place = jnp.clip(row, 0, height - 1).astype(jnp.int32), jnp.clip(column, 0, width - 1).astype(jnp.int32)
        total = total + weight[..., None] * image[place].astype(jnp.float32)
    return total


def affine_matrix(vertical: float, horizontal: float, angle: float, shear: float) -> jax.Array:
    """(2, 2), from (row, column) offsets in the distorted image to those in the original: rotation (radians) of a shear of a scaling."""
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    # Multiplied out, because a matrix product may run in reduced precision on an accelerator.
    return jnp.array([[(cosine - sine * shear) * vertical, -sine * horizontal], [(sine + cosine * shear) * vertical, cosine * horizontal]])


def smoothing(size: int, sigma: float) -> np.ndarray:
    """(size, size) matrix that convolves a line with a Gaussian of sum 1, zeros beyond the ends."""
    offsets = np.arange(size)[:, None] - np.arange(size)
    with np.errstate(over='ignore'):  # a narrow Gaussian is 0 a pixel away
        if sigma > WIDE:
            total = sigma * np.sqrt(2 * np.pi)  # of a wide one the sum is the integral, and summing would take memory
        else:
            reach = 8 * int(sigma + 1)
            total = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).sum()
        return (np.exp(-0.5 * (offsets / sigma) ** 2) / total).astype(np.float32)


def _coordinates(shape, affine_key, elastic_key, settings):
    """Rows and columns (H, W) of the original that a random affine map about the centre and a random elastic field read."""
    height, width, _ = shape
    draw = jax.random.uniform(affine_key, (6,), minval=-1, maxval=1)
    matrix = affine_matrix(
        1 + settings.scale * draw[0], 1 + settings.scale * draw[1], jnp.deg2rad(settings.rotation * draw[2]), settings.shear * draw[3]
    )
    middle = jnp.array([(height - 1) / 2, (width - 1) / 2])
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing='ij')) - middle[:, None, None]
    place = jnp.einsum('ij,jhw->ihw', matrix, grid, precision='highest')
    place = place + (middle + settings.shift * draw[4:] * jnp.array([height, width]))[:, None, None]
    if settings.elastic:
        place = place + elastic_field(elastic_key, height, width, settings.elastic, settings.elastic_sigma)
    return place[0], place[1]


def elastic_field(key: jax.Array, height: int, width: int, alpha: float, sigma: float) -> jax.Array:
    """Displacements in pixels (2, H, W): alpha times uniform noise in [-1, 1], smoothed by a Gaussian of sum 1 (Simard 2003, section 2)."""
    noise = jax.random.uniform(key, (2, height, width), minval=-1, maxval=1)
    # As matrix products, because a kernel that wide covers the whole of a small image anyway.
    return alpha * jnp.einsum('ij,bjk,lk->bil', smoothing(height, sigma), noise, smoothing(width, sigma), precision='highest')
