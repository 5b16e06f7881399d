"""Hand-made features of windows, which the same linear SVM judges as it judges those of networks.

`hog`: Dalal & Triggs 2005, each window warped to a square. `pyramids`: the spatial pyramid of visual words (Lazebnik et al. 2006) of each
window, from dense SIFT of the whole image, described once.

What the R-CNN paper compares itself with (35.1 % on VOC 2010) is Uijlings et al. 2013: selective search, SIFT and two colour SIFTs at every
pixel, 4,000 words each, a pyramid of four levels, and an SVM with the histogram intersection kernel. Here there is one grey SIFT, fewer
words and three levels, and the kernel is Hellinger's, sum of sqrt(x y): of the additive kernels for histograms the one whose map is exact
and as long as the histogram, the square root (Vedaldi & Zisserman 2012, section 2; Perronnin et al. 2010). The intersection kernel's map
is an approximation of three times the length. The square roots have unit length, as the pyramid's weights add up to 1.
"""

import math
from collections.abc import Iterable

import numpy as np
from PIL import Image

from cnn_research import boxes as areas
from cnn_research import traditional
from cnn_research.errors import SourceError

WINDOW, STRIDE = 16, 4  # px, of SIFT; half of Lazebnik's stride, since a window may be 20 px wide
_WINDOWS = 256  # whose words are counted at a time


def hog(image: np.ndarray, boxes: np.ndarray, size: int = 64) -> np.ndarray:
    """float32 (n, 36 b^2), b = size // 8 - 1: `traditional.hog` of what lies in each of boxes (n, 4) of an image (H, W, C), uint8.

    Without context, width and height each by its own factor, bilinear and antialiased, edges between pixels as they are. SourceError for a
    box that is not in the image.
    """
    flat = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    squares = []
    for top, left, bottom, right in _inside(image, boxes):
        # Cut out first: the filter would reach beyond the box.
        cut = flat.crop((int(left), int(top), math.ceil(right), math.ceil(bottom)))
        edges = left - int(left), top - int(top), right - int(left), bottom - int(top)
        square = cut.resize((size, size), Image.Resampling.BILINEAR, box=edges)
        squares.append(np.asarray(square).reshape(size, size, -1))
    return traditional.hog(squares, size)


def vocabulary(images: Iterable[np.ndarray], count: int, words: int = 200, seed: int = 0) -> np.ndarray:
    """float32 (words, 128): visual words of `count` training images (H, W, C), uint8, each of which gives as many descriptors at most."""
    each = -(-traditional.DRAWN // count) if count else 0
    drawn = []
    for number, image in enumerate(images):
        found = traditional.dense_sift(image, WINDOW, STRIDE)[0]
        random = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
        drawn.append(found[np.sort(random.permutation(len(found))[:each])].astype(np.float16))
    if not drawn:
        raise SourceError('there is no image to learn visual words from; name a split that has some.')
    return traditional.vocabulary(np.concatenate(drawn), words, seed)


def pyramids(image: np.ndarray, boxes: np.ndarray, words: np.ndarray, levels: int = 3) -> np.ndarray:
    """float32 (n, (1 + 4 + ...) M): square roots of the pyramid of words (M, 128) in each of boxes (n, 4) of an image (H, W, C), uint8.

    A window in which no descriptor has its centre, one narrower than STRIDE px or at the image's edge, is 0 everywhere. SourceError for a
    box that is not in the image, and an image smaller than WINDOW px.
    """
    found, places = traditional.dense_sift(image, WINDOW, STRIDE)
    rows, columns = (np.unique(places[:, axis]) for axis in (0, 1))
    named = traditional.nearest_words(found, words).reshape(len(rows), len(columns))
    return np.sqrt(counted(named, rows, columns, _inside(image, boxes), len(words), levels))


def counted(named: np.ndarray, rows: np.ndarray, columns: np.ndarray, boxes: np.ndarray, words: int, levels: int = 3) -> np.ndarray:
    """float32 (n, (1 + 4 + 16 + ...) words): `traditional.pyramid` of each of boxes (n, 4), over the places that lie in it.

    named: (R, C), the word at each place of a grid whose places are rows (R,) and columns (C,), rising, in px. A place on an edge lies
    below and to the right of it. A box with places has the sum 1, one without has 0.
    """
    sums = np.zeros((len(rows) + 1, len(columns) + 1, words), np.int32)
    sums[1:, 1:][np.arange(len(rows))[:, None], np.arange(len(columns)), named] = 1
    np.cumsum(sums, axis=0, out=sums)
    np.cumsum(sums, axis=1, out=sums)
    side = 2 ** (levels - 1)
    shares = np.arange(side + 1) / side
    found = []
    for start in range(0, len(boxes), _WINDOWS):
        top, left, bottom, right = np.asarray(boxes[start : start + _WINDOWS], np.float64).T[..., None]
        down = np.searchsorted(rows, top + shares * (bottom - top))
        across = np.searchsorted(columns, left + shares * (right - left))
        corners = sums[down[:, :, None], across[:, None, :]]
        cells = np.diff(np.diff(corners, axis=1), axis=2)  # (n, side, side, words)
        parts = []
        for level in reversed(range(levels)):
            parts.append(cells.reshape(len(cells), -1) * 0.5 ** (levels - max(level, 1)))
            if level:
                cells = cells[:, ::2] + cells[:, 1::2]
                cells = cells[:, :, ::2] + cells[:, :, 1::2]
        total = np.maximum(cells.sum((1, 2, 3)), 1)  # of one cell
        found.append((np.concatenate(parts[::-1], axis=1) / total[:, None]).astype(np.float32))
    return np.concatenate(found) if found else np.zeros((0, words * sum(4**level for level in range(levels))), np.float32)


def _inside(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Boxes (n, 4), those less than a hundredth of a pixel outside the image cut there; SourceError for others."""
    boxes = areas.checked(boxes)
    height, width = image.shape[:2]
    cut = areas.clipped(boxes, height, width)
    if (outside := np.abs(cut - boxes).max(1, initial=0) > 0.01).any():
        box = ', '.join(f'{edge:g}' for edge in boxes[np.argmax(outside)])
        raise SourceError(f'box ({box}) is not in its image of {height} x {width} px; a box is ymin, xmin, ymax, xmax.')
    return cut
