"""What faces were told apart by before networks were: pixels, eigenfaces, and histograms of local binary patterns.

All see the crop as it is given, in grey, its central square brought to one size.
"""

from collections.abc import Sequence

import numpy as np

from cnn_research import traditional
from cnn_research.data import stream
from cnn_research.data.source import Source
from cnn_research.errors import SourceError
from cnn_research.optional import needed

PIXELS = 48  # px, the side of raw pixels
LBP_SIDE = 96  # px, the side of images whose patterns are counted
_ROUNDING = 1e-5  # of the largest deviation; what lies below is what float32 makes of 0
COMPONENTS = 150  # eigenfaces
_CELLS, _POINTS, _RADIUS = 7, 8, 2  # Ahonen et al. 2006: LBP with 8 points at 2 px, uniform ones apart, in 7 x 7 cells
_READ = 500  # images at a time


def square(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, C): its central square in grey, (S, S)."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return traditional.grey(image)[top : top + side, left : left + side]


def pixels(image: np.ndarray) -> np.ndarray:
    """float32 (2304,) of uint8 (H, W, C): raw pixels of its central square, 48 of its rows and columns, evenly spaced, no mixture."""
    grey = square(image)
    chosen = np.arange(PIXELS) * len(grey) // PIXELS
    return grey[np.ix_(chosen, chosen)].reshape(-1).astype(np.float32)


def lbp(image: np.ndarray) -> np.ndarray:
    """float32 (7 * 7 * 59,) of uint8 (H, W, C): histograms of uniform local binary patterns in 7 x 7 cells, each of sum 1 (Ahonen et al.
    2006). A pattern whose ring leaves the image is not counted. ConfigError where scikit-image is missing."""
    feature = needed('skimage.feature', 'LBP')
    grey = stream.resized(square(image).astype(np.uint8)[..., None], LBP_SIDE)[..., 0]
    patterns = feature.local_binary_pattern(grey, _POINTS, _RADIUS, method='nri_uniform').astype(int)[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    kinds = _POINTS * (_POINTS - 1) + 3
    cells = np.arange(len(patterns)) * _CELLS // len(patterns)
    place = (cells[:, None] * _CELLS + cells) * kinds + patterns
    counts = np.bincount(place.reshape(-1), minlength=_CELLS**2 * kinds).reshape(_CELLS**2, kinds)
    return (counts / counts.sum(axis=1, keepdims=True)).reshape(-1).astype(np.float32)


def gathered(source: Source, make) -> np.ndarray:
    """(N, D): `make` of every example."""
    parts = []
    for start in range(0, source.num_examples, _READ):
        parts += [make(image) for image in source.read(np.arange(start, min(start + _READ, source.num_examples)))[0]]
    return np.stack(parts)


def eigenfaces(raw: np.ndarray, learned: np.ndarray, wanted: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(float32 (N, K): coordinates of pixels (N, D) along the eigenfaces of the images `learned`, of the images `wanted` alone, the others
    0; (K,) their standard deviations there), Turk and Pentland 1991. K = 150, or as many as the images
    have beyond rounding.

    ConfigError where scikit-learn is missing, SourceError for images that are all the same.
    """
    decomposition = needed('sklearn.decomposition', 'eigenfaces')
    count = min(COMPONENTS, len(learned) - 1, raw.shape[1])
    model = decomposition.PCA(count, random_state=0).fit(raw[learned])
    deviations = np.sqrt(model.explained_variance_)
    kept = deviations > _ROUNDING * max(deviations[0], _ROUNDING)
    if not kept.any():
        raise SourceError('the images that eigenfaces would be learned from are all the same.')
    found = np.zeros((len(raw), int(kept.sum())), np.float32)
    found[wanted] = model.transform(raw[wanted])[:, kept]
    return found, deviations[kept].astype(np.float32)
