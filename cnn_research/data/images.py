"""One encoded image: whether a file is one, what its header says, and its pixels as uint8 (H, W, C).

What is decided here, for every source: transparent pixels are composed on white; a picture turned by its EXIF orientation is set upright
in image folders (prepared TFDS sets are read as TFDS reads them, which ignores it); of several frames or pages the first is taken; CMYK
and palettes become RGB without colour profiles; more than 8 bits per channel are refused, since nothing says how they are to be scaled.

Pillow is the reference. Where simplejpeg is installed it decodes the plain JPEGs among them in half the time, to the same pixels; what it
does not read, or complains of, is Pillow's.
"""

import contextlib
import functools
import importlib
import io
import os
import pathlib
import unicodedata
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from cnn_research.errors import SourceError

MODES = {'1': 1, 'L': 1, 'LA': 1, 'P': 3, 'PA': 3, 'RGB': 3, 'RGBA': 3, 'CMYK': 3, 'YCbCr': 3}  # Pillow's names: channels read
PIXELS = 178_956_970  # of an image at most: from here on Pillow takes it for a decompression bomb
GROUND = (255, 255, 255, 255)  # what transparent pixels stand on: paper
_ORIENTATION = 0x0112  # the EXIF tag, and what sets a picture upright by its value
_UPRIGHT = dict(
    enumerate(('FLIP_LEFT_RIGHT', 'ROTATE_180', 'FLIP_TOP_BOTTOM', 'TRANSPOSE', 'ROTATE_270', 'TRANSVERSE', 'ROTATE_90'), start=2)
)
_UPRIGHT = {value: Image.Transpose[name] for value, name in _UPRIGHT.items()}
# Pillow warns from half of PIXELS on, and of EXIF blocks that are damaged, without naming the file.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)
warnings.filterwarnings('ignore', 'Corrupt EXIF data', UserWarning)


class Header(NamedTuple):
    """What is known before decoding. height and width in px; channels: 1 for grey, 3 for colour, as read.

    marks: of 'transparent', 'turned', 'frames' and 'cmyk', those that apply.
    """

    height: int
    width: int
    channels: int
    marks: tuple[str, ...]


def plain(text) -> str:
    """A path or a foreign message as one line: undecodable bytes and control characters are escaped, the middle of a long text is cut."""
    unfit = ('Cc', 'Cs', 'Zl', 'Zp')  # controls, surrogates, separators of lines and paragraphs
    text = ''.join(letter.encode('unicode_escape').decode() if unicodedata.category(letter) in unfit else letter for letter in str(text))
    return text if len(text) <= 400 else f'{text[:150]}...{text[-240:]}'


@functools.cache
def formats() -> tuple[tuple[str, ...], tuple[str, ...], frozenset[str]]:
    """(formats that Pillow decodes itself, those of them known by their first bytes, file name endings of the former)."""
    Image.init()
    # Others are recognized but left to other programs: PostScript is run by Ghostscript, the stubs and MPEG have no decoder.
    stubs = {name for name, (plugin, _) in Image.OPEN.items() if isinstance(plugin, type) and issubclass(plugin, ImageFile.StubImageFile)}
    decoded = tuple(name for name in Image.OPEN if name not in stubs | {'EPS', 'MPEG'})
    signed = tuple(name for name in decoded if Image.OPEN[name][1] is not None)
    return decoded, signed, frozenset(ending for ending, name in Image.registered_extensions().items() if name in decoded)


def named_as_image(name: str) -> bool:
    """Whether a file's name ends as an image's does."""
    return os.path.splitext(name)[1].lower() in formats()[2]


def header(file, where: str, upright: bool = True) -> Header:
    """The header of an encoded image (a path or an open binary file). upright: height and width as the EXIF orientation says.

    Raises SourceError, with `where`, for what is refused or no image.
    """
    try:
        with _opened(file, where) as picture:
            marks = []
            if picture.has_transparency_data:
                marks.append('transparent')
            if _orientation(picture) != 1:
                marks.append('turned')
            if getattr(picture, 'is_animated', False):
                marks.append('frames')
            if picture.mode == 'CMYK':
                marks.append('cmyk')
            width, height = picture.size
            # Pillow gives a TIFF's size upright already.
            if upright and _orientation(picture) > 4 and picture.format != 'TIFF':
                width, height = height, width
            return Header(height, width, MODES[picture.mode], tuple(marks))
    except SourceError:
        raise
    except Exception as error:  # anything can be raised by the parser of a damaged file
        raise _unreadable(where, error) from error


def is_image(file) -> bool:
    """Whether an open binary file whose name says nothing begins as an image that Pillow decodes."""
    try:
        with Image.open(file, formats=formats()[1]) as picture:
            return min(picture.size) > 0
    except Exception:  # as above; whatever cannot be told to be an image is none
        return False


@functools.cache
def fast():
    """simplejpeg, or None where it is not installed."""
    try:
        return importlib.import_module('simplejpeg')
    except ImportError:
        return None


def reduction(height: int, width: int, side: int) -> int:
    """8, 4, 2 or 1: by how much a JPEG may be scaled as it is decoded, its short side staying at least `side` px; 0 = as it is."""
    return next(factor for factor in (8, 4, 2, 1) if factor == 1 or side and min(height, width) >= factor * side)


def decoded(file, channels: int, where: str, upright: bool) -> np.ndarray:
    """uint8 (H, W, C) of an encoded image (a path or its bytes), C = `channels` (1 or 3). upright: turned as its EXIF orientation says.

    Raises SourceError, with `where` naming the file, for what is refused or damaged.
    """
    return _decoded(file, channels, where, upright, 0)[0]


def small(file, channels: int, where: str, upright: bool, side: int) -> tuple[np.ndarray, int]:
    """(`decoded` with its short side brought to `side` px, by how much it was scaled as it was decoded).

    Of a JPEG whose short side is at least twice as many px, a half, quarter or eighth is decoded (`reduction`): the means of DCT blocks,
    in the place of all pixels, go into the scaling. On 85 photographs of 640 x 480 px and sides of 120 to 240 px the result differs from
    that of all pixels by 0.9 to 1.2 of 255 in the mean, by 2.6 on the worst. SourceError as in `decoded` and `scaled`.
    """
    pixels, scale, whole = _decoded(file, channels, where, upright, side)
    return scaled(pixels, side, whole if scale > 1 else None), scale


def _decoded(file, channels, where, upright, side):
    """(pixels, by how much they are fewer, (height, width) of all)."""
    try:
        content = file if isinstance(file, bytes) else pathlib.Path(file).read_bytes()
        with _opened(io.BytesIO(content), where) as picture:
            turned, mode = upright and _orientation(picture) != 1, 'L' if channels == 1 else 'RGB'
            whole = picture.height, picture.width
            scale = reduction(*whole, side) if picture.format == 'JPEG' and not turned else 1
            pixels = _fast_pixels(content, picture, channels, scale)
            if pixels is not None and not turned:
                return pixels, scale, whole
            if scale > 1:
                picture.draft(picture.mode, (picture.width // scale, picture.height // scale))
            if pixels is not None:
                flat = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
            elif picture.has_transparency_data:
                layer = picture.convert('RGBA')
                flat = Image.alpha_composite(Image.new('RGBA', layer.size, GROUND), layer).convert(mode)
            else:
                flat = picture.convert(mode)
            if turned and picture.format != 'TIFF':  # Pillow turns a TIFF as it loads it
                flat = flat.transpose(_UPRIGHT[_orientation(picture)])
            pixels = np.asarray(flat)
    except SourceError:
        raise
    except Exception as error:  # as in `header`
        raise _unreadable(where, error) from error
    return pixels.reshape(*pixels.shape[:2], channels), scale, whole


def scaled(image: np.ndarray, side: int, whole: tuple[int, int] | None = None) -> np.ndarray:
    """uint8 (H, W, C) with its short side brought to `side` px (bilinear, antialiased), the image itself where it is so already.

    whole: (height, width) of which the image is a half, quarter or eighth, its last row and column perhaps beyond the edge.
    Raises SourceError for a long, narrow image whose scaled form would have more than PIXELS pixels.
    """
    channels, (height, width) = image.shape[-1], whole or image.shape[:2]
    short = min(height, width)
    size = (max(side, round(width * side / short)), max(side, round(height * side / short)))
    if image.shape[:2] == size[::-1] and not whole:
        return image
    if size[0] * size[1] > PIXELS:
        raise SourceError(
            f'An image of {width} x {height} px would become {size[0]} x {size[1]} px, over {PIXELS} pixels, with a short side of {side}.'
        )
    factor = round(height / image.shape[0])
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    found = np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=(0, 0, width / factor, height / factor)))
    return found.reshape(size[1], size[0], channels)


def _fast_pixels(content, picture, channels, scale):
    """uint8 (H, W, C) of a JPEG by simplejpeg, None for what is left to Pillow: other formats, CMYK, grey made of colour, damage."""
    if fast() is None or picture.format != 'JPEG' or picture.mode not in ('L', 'RGB') or (channels == 1 and picture.mode != 'L'):
        return None
    height, width = (-(-size // scale) for size in (picture.height, picture.width))
    with contextlib.suppress(ValueError):  # which Pillow may read after all, or says why not
        found = fast().decode_jpeg(content, 'GRAY' if channels == 1 else 'RGB', min_height=height, min_width=width, min_factor=scale)
        return found if found.shape == (height, width, channels) else None
    return None


def _unreadable(where, error):
    # A message of Pillow's own may name the file again, or an object of this process.
    reason = 'it is no image in a format that is known' if isinstance(error, Image.UnidentifiedImageError) else plain(error)
    return SourceError(f'{plain(where)} cannot be read as an image: {reason or type(error).__name__}.')


def _opened(file, where):
    picture = Image.open(file, formats=_likely(file) or formats()[0])
    width, height = picture.size
    refusal = None
    if not 0 < width * height <= PIXELS:
        refusal = f'it claims {width} x {height} px, and at most {PIXELS} pixels are read'
    elif picture.mode not in MODES:
        refusal = f'images of mode {picture.mode} are not read; convert it to 8 bits per channel'
    elif any(';16' in str(tile[3]) or tile[0] == 'SGI16' or tile[0] in ('ppm', 'ppm_plain') and tile[3][-1] > 255 for tile in picture.tile):
        refusal = 'images with 16 bits per channel are not read; convert it to 8 bits per channel'
    if refusal:
        picture.close()
        raise SourceError(f'{plain(where)}: {refusal}.')
    return picture


def _likely(file):
    """The formats that an open file's first bytes leave, () for all: to ask each of them takes longer than a JPEG's header."""
    if not isinstance(file, io.BytesIO):
        return ()
    return ('JPEG',) if file.getbuffer()[:3] == b'\xff\xd8\xff' else ()


def _orientation(picture) -> int:
    """1 (upright) to 8, as EXIF numbers them; 1 where there is none that can be read.

    Of a PNG only what stands before the pixels counts, because looking further would decode it.
    """
    if picture.format == 'PNG' and not {'exif', 'Raw profile type exif'} & set(picture.info):
        return 1
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block does not make an image unreadable
        return 1
    return value if value in range(1, 9) else 1
