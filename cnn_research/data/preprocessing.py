"""What becomes of an image before anything else: the preprocessings of Ciresan et al. 2012 and LeCun et al. 1998, by name.

Each is a function of one image alone, uint8 (H, W, C) to uint8 (H, W, C) of the same shape, so that it is the same for every split, seed
and process. Those of digits take grey images of bright ink on a black ground, whose grey levels are read as shares of ink. Those of signs
change the lightness of a colour image, L of CIE-Lab, and keep its colours as far as sRGB has them; of a grey image its levels.

Ciresan et al. 2012 was not read for this: widths, saturation of 1 % at both ends, tiles and the filter's 5 x 5 px are from memory. The
widths of its two Gaussians, and that its response is centred on mid-grey and stretched to the whole range, are ours.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from cnn_research.data import PREPROCESSINGS, WIDTHS
from cnn_research.data.source import Changed, Source, sha256
from cnn_research.errors import ConfigError, nearest
from cnn_research.optional import needed

__all__ = ['PREPROCESSINGS', 'WIDTHS', 'applied', 'check', 'preprocessed', 'refuse']
_SATURATED = 1.0  # percent, at either end
_NARROW, _WIDE = 0.5, 1.0  # px, standard deviations
_PROBED = 8  # images of a source whose ground is looked at


def box(image: np.ndarray) -> tuple[slice, slice] | None:
    """(rows, columns) of the smallest box that holds all ink, which is all above 0, of an image (H, W, C); None of a blank one."""
    ink = image.any(axis=2)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if len(rows) else None


def width_normalized(image: np.ndarray, width: int) -> np.ndarray:
    """The box around the ink brought to `width` px (bilinear, antialiased) and put in the middle of its rows, which it keeps.

    Ciresan et al. 2012, section 3.1 (from memory). Of a stroke one pixel wide it makes a bar; a blank image stays blank.
    """
    where, result = box(image), np.zeros_like(image)
    if where is None:
        return result
    left = (image.shape[1] - width) // 2
    result[where[0], left : left + width, 0] = _stretched(image[where][..., 0], width)
    return result


def _stretched(grey: np.ndarray, width: int) -> np.ndarray:
    """uint8 (h, w) brought to (h, width). Ink stays ink, however faint, so that the box around it is as wide as it was asked to be."""

    def scaled(levels):
        return np.asarray(Image.fromarray(levels).resize((width, len(levels)), Image.Resampling.BILINEAR))

    return np.maximum(scaled(np.ascontiguousarray(grey)), scaled(np.where(grey > 0, np.uint8(255), np.uint8(0))) > 0)


def deskewed(image: np.ndarray) -> np.ndarray:
    """Each row moved sideways in proportion to its distance from the centre of the ink, until ink's x and y are not correlated.

    LeCun et al. 1998, section III.A (from memory), who count pixels of ink; here a grey one counts as its share. A digit that would leave
    the image is moved inside as a whole and, where it is wider than the image, made as wide as it: neither changes the correlation. Ink in
    one row, or none, stays as it is.
    """
    grey = image[..., 0].astype(np.float64)
    height, width = grey.shape
    mass = grey.sum()
    if not mass:
        return image
    down, right = np.arange(height), np.arange(width)
    y, x = down @ grey.sum(axis=1) / mass, grey.sum(axis=0) @ right / mass
    spread = np.square(down - y) @ grey.sum(axis=1)
    if not spread:
        return image
    shift = (down - y) * ((down - y) @ grey @ (right - x)) / spread  # px to the left, of each row
    margin = int(np.ceil(np.abs(shift[grey.any(axis=1)]).max())) + 1
    read = np.arange(-margin, width + margin) + np.where(grey.any(axis=1), shift, 0)[:, None]
    lower = np.floor(read).astype(np.int64)
    padded = np.pad(grey, ((0, 0), (2 * margin + 1, 2 * margin + 2)))
    values = [np.take_along_axis(padded, lower + 2 * margin + 1 + side, axis=1) for side in (0, 1)]
    moved = np.rint(values[0] + (read - lower) * (values[1] - values[0])).astype(np.uint8)
    _, columns = box(moved[..., None]) or (None, slice(margin, margin + width))
    if columns.stop - columns.start > width:
        return _stretched(moved[:, columns], width)[..., None]
    first = min(max(margin, columns.stop - width), columns.start)
    return moved[:, first : first + width, None]


def _equalized(lightness: np.ndarray) -> np.ndarray:
    return needed('skimage.exposure', "data.preprocessing='histeq'").equalize_hist(lightness)


def _equalized_by_tiles(lightness: np.ndarray) -> np.ndarray:
    if lightness.min() == lightness.max():
        return lightness
    return needed('skimage.exposure', "data.preprocessing='adapthisteq'").equalize_adapthist(lightness)


def _adjusted(lightness: np.ndarray) -> np.ndarray:
    low, high = np.percentile(lightness, (_SATURATED, 100 - _SATURATED))
    return np.clip((lightness - low) / (high - low), 0, 1) if high > low else lightness


def _contrasts(lightness: np.ndarray) -> np.ndarray:
    from scipy import ndimage  # half a second, which only these images wait for

    narrow, wide = (ndimage.gaussian_filter(lightness, sigma, mode='nearest', radius=2) for sigma in (_NARROW, _WIDE))
    response = narrow - wide
    largest = np.abs(response).max()
    return 0.5 + 0.5 * response / largest if largest > 1e-9 else np.full_like(lightness, 0.5)  # rounding is no contrast


def _of_lightness(image: np.ndarray, change: Callable[[np.ndarray], np.ndarray], name: str) -> np.ndarray:
    """The image with its lightness (H, W), of 0 to 1, changed."""
    if image.shape[2] == 1:
        return np.rint(255 * change(image[..., 0] / 255)).astype(np.uint8)[..., None]
    color = needed('skimage.color', f'data.preprocessing={name!r} of colour images')
    lab = color.rgb2lab(image)
    lab[..., 0] = 100 * np.clip(change(np.clip(lab[..., 0] / 100, 0, 1)), 0, 1)
    # More blue there is not, and skimage would warn of each such pixel.
    lab[..., 2] = np.minimum(lab[..., 2], 200 / 116 * (1 - 1e-9) * (lab[..., 0] + 16))
    return np.rint(255 * np.clip(color.lab2rgb(lab), 0, 1)).astype(np.uint8)


_OF_LIGHTNESS = {
    'histeq': _equalized,
    'adapthisteq': _equalized_by_tiles,
    'imadjust': _adjusted,
    'contrast_normalization': _contrasts,
}
_OF_DIGITS = {
    **{f'width_{width}': functools.partial(width_normalized, width=width) for width in WIDTHS},
    'deskewed': deskewed,
}


def check(name: str, channels: int, shape: tuple[int, ...] | None, what: str) -> None:
    """ConfigError for a preprocessing that is not there, lacks its library, or has no sense for images of `channels` and of `shape`,
    (H, W, C) or None where they differ; what: whose images they are."""
    if name not in PREPROCESSINGS:
        raise ConfigError(
            f'data.preprocessing={name!r} is not valid; choose from {", ".join(PREPROCESSINGS)}.{nearest(name, PREPROCESSINGS)}'
        )
    if name in _OF_DIGITS and channels != 1:
        others = ', '.join(['none', *_OF_LIGHTNESS])
        raise ConfigError(
            f'data.preprocessing={name!r} is of grey digits, but {what} has images of {channels} channels; choose from {others}.'
        )
    if name.startswith('width_') and shape and shape[1] < int(name.removeprefix('width_')):
        fits = [f'width_{width}' for width in WIDTHS if width <= shape[1]]
        raise ConfigError(
            f'data.preprocessing={name!r} is wider than the images of {what}, {shape[1]} px; choose from {", ".join(["none", *fits])}.'
        )
    if name in _OF_LIGHTNESS and channels not in (1, 3):
        raise ConfigError(f'data.preprocessing={name!r} is of grey or colour images, but {what} has images of {channels} channels.')
    if name in _OF_LIGHTNESS and (channels == 3 or 'hist' in name):
        needed('skimage.color', f'data.preprocessing={name!r}')


def preprocessed(image: np.ndarray, name: str) -> np.ndarray:
    """One image, uint8 (H, W, C), under a preprocessing; ConfigError as of `check`."""
    if name == 'none':
        return image
    check(name, image.shape[2], image.shape, 'what is given')
    return _changed(image, name)


def _changed(image, name):
    return _OF_DIGITS[name](image) if name in _OF_DIGITS else _of_lightness(image, _OF_LIGHTNESS[name], name)


def refuse(name: str, who: str) -> None:
    """ConfigError for a network that saw its images under a preprocessing; who: cannot show it others so, in a sentence's words."""
    if name != 'none':
        raise ConfigError(
            f"{who} shows images as they are, but the network learned with data.preprocessing={name!r}; choose one with 'none'."
        )


@dataclass(frozen=True)
class _Change:
    """As a source's reading calls it."""

    name: str
    what: str

    def __call__(self, image, index):
        check(self.name, image.shape[2], image.shape, f'image {index} of {self.what}')
        return _changed(image, self.name)


def applied(source: Source, name: str) -> Source:
    """The source with every image under a preprocessing of PREPROCESSINGS; itself under 'none', and where it has been through this one.

    Classes, order and labels stay. The fingerprint follows from the source's and the name: so a holdout is drawn from a source before this,
    and then is of the same examples under all of them. ConfigError, before more than a few images are read, for what `check` refuses, and
    for digits whose ground is not black: their box would be the whole image. ValueError for a source that has been through another.
    """
    if name == source.preprocessing or name == 'none':
        return source
    if source.preprocessing != 'none':
        raise ValueError(f'{source.name} has been through {source.preprocessing!r} and cannot be seen through {name!r}')
    what = f'{source.name} ({source.split})'
    check(name, source.channels, source.image_shape, what)
    if name in _OF_DIGITS and source.num_examples:
        few = source.read(np.unique(np.linspace(0, source.num_examples - 1, _PROBED).astype(int)))[0]
        for image in few:  # where sizes differ
            check(name, image.shape[2], image.shape, what)
        edges = np.concatenate([part for image in few for part in (image[0], image[-1], image[:, 0], image[:, -1])])
        if np.median(edges):
            raise ConfigError(
                f'data.preprocessing={name!r} is of bright ink on a black ground, but the edges of the images of {what} have a median of '
                f'{np.median(edges):g} of 255; choose another.'
            )
    fingerprint = sha256(source.fingerprint.encode(), b'preprocessing', name.encode())
    read = Changed(source.read, _Change(name, what), source.channels)
    return replace(source, fingerprint=fingerprint, read=read, preprocessing=name)
