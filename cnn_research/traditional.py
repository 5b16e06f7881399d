"""What recognition was before learned features: oriented gradients, dense SIFT, words of a visual vocabulary, their spatial pyramid.

Dalal & Triggs 2005 (HOG); Lowe 2004 (SIFT); Csurka et al. 2004 (bag of visual words); Lazebnik et al. 2006 (dense SIFT, spatial pyramid).
Features stand beside those of networks, (N, D) in the order of the examples, for the same random splits (`protocol.Split`). The work is
done by scikit-image, OpenCV and scikit-learn, which only this file needs (`pip install 'cnn-research[traditional]'`).

Images are lists of uint8 (H, W, C), C = 1 or 3, brought to a common short side by whoever reads them.
"""

import functools
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.spatial.distance import cdist

from cnn_research import protocol
from cnn_research.errors import ConfigError, SourceError
from cnn_research.optional import needed

_WHAT = 'traditional recognition'
CELL, ORIENTATIONS = 8, 9  # of HOG: px, unsigned
CELLS, BINS = 4, 8  # of SIFT: in each direction of a window, orientations of each
LOW_CONTRAST = 2.0  # grey levels per px; see `dense_sift`
DRAWN = 100_000  # descriptors at most that a vocabulary is learned from
COSTS = (0.1, 1.0, 10.0, 100.0)  # values of C for a kernel that is 1 for an image with itself
ITERATIONS = 1_000_000  # of libsvm, for one class against the rest; it has no limit of its own
_BLOCK = 4096  # descriptors that are held against the words at a time
_IMAGES = 256  # images whose words are counted at a time
_ROWS = 512  # histograms whose intersections are taken at a time


def grey(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) of uint8 (H, W, C): the luma of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B, rounded."""
    if image.shape[-1] == 1:
        return image[..., 0]
    return np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


def squashed(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W, C) as (size, size, C), bilinear and antialiased, width and height each by its own factor.

    A fixed grid of cells gives vectors of one length only for images of one shape. The central square would keep the proportions and cut
    off what lies at the ends of a long image; here the whole object stays, as where R-CNN warps its windows.
    """
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)).reshape(size, size, -1)


def hog(images: Sequence[np.ndarray], size: int = 64) -> np.ndarray:
    """Histograms of oriented gradients, float32 (N, 36 b^2), b = size // 8 - 1 blocks each way, of images squashed to size x size px.

    Dalal & Triggs 2005: [-1, 0, 1] gradients without smoothing, of the colour whose gradient is largest; cells of 8 x 8 px with 9 unsigned
    orientations; overlapping blocks of 2 x 2 cells, each normalised by L2-Hys (unit length, at most 0.2, unit length again). scikit-image
    differs from the paper: a pixel votes for one orientation of one cell, where the paper shares its vote among neighbouring orientations
    and cells and weights a block by a Gaussian; and the outermost pixels have no gradient across the border.
    """
    histograms = needed('skimage.feature', _WHAT).hog
    if size < 2 * CELL:
        raise ConfigError(f'size={size}: a block of HOG is {2 * CELL} x {2 * CELL} px, so that is the least.')
    blocks = size // CELL - 1
    found = np.empty((len(images), 4 * ORIENTATIONS * blocks**2), np.float32)
    for row, image in zip(found, images, strict=True):
        row[:] = histograms(squashed(image, size), ORIENTATIONS, (CELL, CELL), (2, 2), block_norm='L2-Hys', channel_axis=-1)
    return found


def _centres(shape, window, stride):
    """(P, 2): row and column of the centre of every window that lies in the image, from the top left corner; what is over on both sides."""
    if min(shape[:2]) < window:
        raise SourceError(f'an image of {shape[1]} x {shape[0]} px holds no window of {window} x {window} px; take larger images.')
    rows, columns = (np.arange((side - window) % stride // 2, side - window + 1, stride) + window // 2 for side in shape[:2])
    return np.stack(np.meshgrid(rows, columns, indexing='ij'), axis=-1).reshape(-1, 2).astype(float)


def dense_sift(image: np.ndarray, window: int = 16, stride: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """(descriptors float32 (P, 128), places float64 (P, 2)) of windows on a grid; places are (row, column) of their centres, in px.

    Lowe 2004, section 6.1, upright and of one scale: 4 x 4 cells of window / 4 px with 8 orientations each, gradients of the image smoothed
    to the scale that has such cells (a third of a cell, where the camera is taken to have smoothed by 0.5 px), weighted by a Gaussian whose
    deviation is half the window, shared trilinearly, brought to unit length, cut at 0.2 and brought to unit length again, which OpenCV
    rounds to whole numbers of 1 / 512. Lazebnik et al. 2006, section 4, take windows of 16 px every 8 px.

    Of a window of low contrast the normalization would make a pattern of noise. Its descriptor keeps a length below 1: the mean gradient,
    weighted as above, over LOW_CONTRAST. That is where the published code for the pyramid stops to normalise, as far as a slope tells, and
    its threshold is on the length of the descriptor; neither could be checked against the paper. SourceError for too small an image.
    """
    cv2 = needed('cv2', _WHAT)
    places = _centres(image.shape, window, stride)
    flat = np.ascontiguousarray(grey(image))
    smoothing = window / CELLS / 3
    # A point of scale s has the size 2 s and cells 3 s wide. Angle 0, octave 0: upright, in the image as it is.
    points = [cv2.KeyPoint(column, row, 2 * smoothing, 0, 0, 0) for row, column in places]
    _, found = cv2.SIFT_create(sigma=smoothing).compute(flat, points)
    assert len(found) == len(places)

    smooth = cv2.GaussianBlur(flat.astype(np.float32), (0, 0), np.sqrt(max(smoothing**2 - 0.25, 0.01)))
    slopes = np.zeros((2, *smooth.shape), np.float32)
    slopes[0, 1:-1] = smooth[2:] - smooth[:-2]
    slopes[1, :, 1:-1] = smooth[:, 2:] - smooth[:, :-2]
    weighted = cv2.GaussianBlur(np.hypot(*slopes) / 2, (window // 2 * 2 + 1,) * 2, window / 2)
    contrast = weighted[tuple(places.astype(int).T)]
    lengths = np.minimum(1, contrast / LOW_CONTRAST) / np.maximum(np.linalg.norm(found, axis=1), 1e-30)
    return (found * lengths[:, None]).astype(np.float32), places


def descriptors(images: Sequence[np.ndarray], window: int = 16, stride: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """(float16 (N, P, 128), places (P, 2)): `dense_sift` of images of one size, to be kept; SourceError where their sizes differ.

    Half precision is off by at most a two-thousandth of a value, as far as OpenCV's own rounding.
    """
    shapes = {image.shape[:2] for image in images}
    if len(shapes) != 1:
        sizes = ', '.join(f'{width} x {height}' for height, width in sorted(shapes)[:4]) or 'no image'
        raise SourceError(f'descriptors are kept for images of one size, not {sizes} px; bring them to one with `squashed`.')
    places = _centres(*shapes, window, stride)
    found = np.empty((len(images), len(places), CELLS**2 * BINS), np.float16)
    for row, image in zip(found, images, strict=True):
        row[:] = dense_sift(image, window, stride)[0]
    return found, places


def vocabulary(descriptors: np.ndarray, words: int = 200, seed: int = 0) -> np.ndarray:
    """float32 (words, 128): centres of k-means on descriptors (..., 128), at most DRAWN of them, drawn by the seed (Csurka et al. 2004).

    The descriptors are those of training images only. ConfigError where there are fewer than words.
    """
    MiniBatchKMeans = needed('sklearn.cluster', _WHAT).MiniBatchKMeans
    threadpool_limits = needed('threadpoolctl', _WHAT).threadpool_limits  # scikit-learn's own requirement
    flat = descriptors.reshape(-1, descriptors.shape[-1])
    if len(flat) < words:
        raise ConfigError(f'words={words}: a vocabulary needs as many descriptors as words or more, and there are {len(flat)}.')
    if len(flat) > DRAWN:
        random = np.random.Generator(np.random.Philox(key=np.array([seed, words], np.uint64)))
        flat = flat[np.sort(random.choice(len(flat), DRAWN, replace=False))]
    means = MiniBatchKMeans(words, batch_size=2048, max_iter=10, max_no_improvement=None, n_init=1, random_state=seed)
    # One thread adds in one order. It is also the faster way where other work has the cores: 2 s, against 20 for two threads that wait
    # for each other (100,000 descriptors, 200 words).
    with threadpool_limits(1):
        return means.fit(flat.astype(np.float32)).cluster_centers_


def nearest_words(descriptors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """int (...): the row of words (M, 128) that is nearest to each of descriptors (..., 128) by Euclidean distance; the first of equals."""
    flat = descriptors.reshape(-1, descriptors.shape[-1])
    found = np.empty(len(flat), np.intp)
    across = words.T.astype(np.float64)
    half = (across**2).sum(0) / 2
    for start in range(0, len(flat), _BLOCK):
        # |d - w|^2 = |d|^2 - 2 (d w - |w|^2 / 2)
        found[start : start + _BLOCK] = (flat[start : start + _BLOCK].astype(np.float64) @ across - half).argmax(1)
    return found.reshape(descriptors.shape[:-1])


def pyramid(words_at_places: np.ndarray, places: np.ndarray, shape: Sequence[int], words: int, levels: int = 3) -> np.ndarray:
    """float32 (..., (1 + 4 + 16 + ...) words): how often each word occurs in each cell of an image (H, W) = shape[:2], over all its places.

    words_at_places: int (..., P), below `words`; places: (P, 2), as in `dense_sift`; one that lies between two cells is counted below or
    to the right. Level l has 2^l x 2^l cells, row by row. Lazebnik et al. 2006, section 3: level 0 counts 1 / 2^L and level l
    1 / 2^(L - l + 1) with L = levels - 1, here 1/4, 1/4, 1/2, so that every image has the sum 1; levels=1 is the bag of words.
    """
    flat = words_at_places.reshape(-1, words_at_places.shape[-1])
    sides = [2**level for level in range(levels)]
    found = np.empty((len(flat), words * sum(side**2 for side in sides)), np.float32)
    begin = 0
    for level, side in enumerate(sides):
        rows, columns = np.minimum(np.floor(places.T * side / np.reshape(shape[:2], (2, 1))).astype(int), side - 1)
        weight = 0.5 ** (levels - max(level, 1))
        size = side**2 * words
        for start in range(0, len(flat), _IMAGES):
            part = flat[start : start + _IMAGES]
            bins = np.arange(len(part))[:, None] * size + (rows * side + columns) * words + part
            counts = np.bincount(bins.ravel(), minlength=len(part) * size).reshape(len(part), size)
            found[start : start + _IMAGES, begin : begin + size] = counts * (weight / len(places))
        begin += size
    return found.reshape(*words_at_places.shape[:-1], -1)


def words_of_split(
    descriptors: np.ndarray,
    places: np.ndarray,
    shape: Sequence[int],
    split: protocol.Split,
    words: int = 200,
    seed: int = 0,
    levels: int = 3,
) -> dict[str, np.ndarray]:
    """{'bag_of_words': float32 (N, words), 'pyramid': (N, 21 words)} of all examples, by the words of the split's training images alone.

    descriptors (N, P, 128), places (P, 2): as `descriptors` gives them, of images (H, W) = shape[:2].
    """
    known = vocabulary(descriptors[np.sort(split.train, axis=None)], words, seed)
    found = pyramid(nearest_words(descriptors, known), places, shape, words, levels)
    return {'bag_of_words': found[:, :words] * 2 ** (levels - 1), 'pyramid': found}


def intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 (Na, Nb): the sums of the smaller of two entries, of histograms (Na, D) and (Nb, D) (Lazebnik et al. 2006, section 3).

    Taken as half of (sum of a + sum of b - sum of |a - b|), since SciPy has the last without a temporary array; in blocks, of which alone
    there are copies in double precision.
    """
    found = np.empty((len(a), len(b)))
    for row in range(0, len(a), _ROWS):
        above = a[row : row + _ROWS].astype(np.float64)
        for column in range(0, len(b), _ROWS):
            beside = b[column : column + _ROWS].astype(np.float64)
            sums = above.sum(1)[:, None] + beside.sum(1)
            found[row : row + _ROWS, column : column + _ROWS] = (sums - cdist(above, beside, 'cityblock')) / 2
    return found


def _named(kernel, labels, across, cost):
    """(what an SVM of each class against the rest calls examples of which `across` (M, N) is the kernel with those of `kernel` (N, N)
    and `labels` (N,), whether libsvm came to its end for all classes)."""
    names = ('exceptions', 'ConvergenceWarning'), ('multiclass', 'OneVsRestClassifier'), ('svm', 'SVC')
    ConvergenceWarning, OneVsRestClassifier, SVC = (getattr(needed(f'sklearn.{module}', _WHAT), name) for module, name in names)
    machine = OneVsRestClassifier(SVC(C=cost, kernel='precomputed', max_iter=ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)  # the outcome tells of it
        machine.fit(kernel, labels)
    return machine.predict(across), not any(each.fit_status_ for each in machine.estimators_)


def fit_intersection(
    features: np.ndarray, labels: np.ndarray, split: protocol.Split, costs: Sequence[float] = COSTS, folds: int = 5
) -> protocol.Outcome:
    """The Outcome of histograms (N, D) of all examples, with their labels (N,), under one split of two or more for each class.

    A support vector machine of every class against the rest with the kernel `intersection` (Lazebnik et al. 2006, section 3). As in
    `protocol.probe`, C of `costs` is chosen by cross-validation on the training part, of equally good ones the smallest, and the test part
    is read once. `unsettled` is 0 where libsvm came to its end in every fit, and 1 otherwise: what it still expected to gain is not known.
    """
    train, test = (np.sort(part, axis=None) for part in split)
    num_classes, per_class = split.train.shape
    labels, test_labels = (np.asarray(labels)[part] for part in (train, test))
    kernel = intersection(features[train], features[train])
    fold = protocol.folds(labels, per_class, folds)
    held = [np.flatnonzero(fold == number) for number in range(fold.max() + 1)]
    accuracy = functools.partial(protocol.mean_class_accuracy, num_classes=num_classes)
    validation, settled = [], True
    for cost in costs:
        right = []
        for out in held:
            kept = np.setdiff1d(np.arange(len(train)), out)
            said, ended = _named(kernel[np.ix_(kept, kept)], labels[kept], kernel[np.ix_(out, kept)], cost)
            right.append(accuracy(labels[out], said))
            settled &= ended
        validation.append(float(np.mean(right)))
    cost = costs[int(np.argmax(validation))]
    said, ended = _named(kernel, labels, intersection(features[test], features[train]), cost)
    return protocol.Outcome(accuracy(test_labels, said), cost, validation, 0.0 if settled and ended else 1.0)
