"""Boxes in images: overlap, clipping, and the strongest of those that overlap.

A box is (ymin, xmin, ymax, xmax): continuous edges in pixels, all of an H x W image is (0, 0, H, W); boxes are float64 (N, 4).
`pixel` is added to every height and width, an intersection's too. On edges it is 0. It is 1 for numbers that are the first and the last
pixel inside, as VOC's files have them; put on edges (ymin - 1, xmin - 1, ymax, xmax), such boxes overlap with 0 as they did with 1.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from cnn_research.errors import SourceError

_BLOCK = 32  # boxes that settle among themselves at once
_IN_STEP = 200  # classes with so many boxes each, or fewer, go in step
_TOGETHER = 512  # so many boxes are held against each other once for all classes


def checked(boxes, name: Callable[[int], str] = 'box {}'.format, pixel: float = 0.0) -> np.ndarray:
    """The boxes as float64 (N, 4). SourceError, in which `name` says which box, for one without area or with a number that is not finite;
    ValueError for a wrong shape."""
    if not 0 <= pixel < math.inf:
        raise ValueError(f'what is added to a side is 0 or above, not {pixel!r}')
    boxes = np.asarray(boxes, np.float64)
    if boxes.size == 0 and boxes.shape in ((0,), (0, 4)):
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f'boxes have shape (N, 4): ymin, xmin, ymax, xmax; got {boxes.shape}')
    sides = boxes[:, 2:] - boxes[:, :2] + pixel
    if not (sides > 0).all() or not np.isfinite(sides).all():
        number = int(np.argmin(((sides > 0) & np.isfinite(sides)).all(1)))
        shown = ', '.join(f'{edge:g}' for edge in boxes[number])
        problem = 'has no area' if np.isfinite(boxes[number]).all() else 'has a number that is not finite'
        raise SourceError(f'{name(number)} {problem}: ({shown}); a box is ymin, xmin, ymax, xmax.')
    return boxes


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of edges (4, ...) that broadcast to each other and whose far ends have the pixel added."""
    common = np.minimum(first[2], second[2])
    common -= np.maximum(first[0], second[0])
    np.maximum(common, 0, out=common)
    across = np.minimum(first[3], second[3])
    across -= np.maximum(first[1], second[1])
    common *= np.maximum(across, 0, out=across)
    union = np.add(*((one[2] - one[0]) * (one[3] - one[1]) for one in (first, second)), out=across)
    union -= common
    return np.divide(common, union, out=common)


def _edges(boxes, pixel: float, name: Callable[[int], str] = 'box {}'.format) -> np.ndarray:
    """(4, N) of boxes that are checked, for `_overlaps`."""
    return np.ascontiguousarray((checked(boxes, name, pixel) + (0, 0, pixel, pixel)).T)


def iou(first, second, pixel: float = 0.0) -> np.ndarray:
    """Intersection over union of every box of (N, 4) with every one of (M, 4): float64 (N, M). Errors as in `checked`."""
    return _overlaps(_edges(first, pixel)[:, :, None], _edges(second, pixel)[:, None, :])


def pairwise(first, second, pixel: float = 0.0) -> np.ndarray:
    """Intersection over union of each box of (N, 4) with the one in its place of the other (N, 4): float64 (N,). Errors as in `checked`."""
    return _overlaps(_edges(first, pixel), _edges(second, pixel))


def clipped(boxes, height: float, width: float) -> np.ndarray:
    """What lies inside the image of boxes (..., 4). Of a box outside it nothing is left: it has no area, and `iou` refuses it."""
    return np.clip(np.asarray(boxes, np.float64), 0, (height, width, height, width))


def suppressed(boxes, scores, threshold: float = 0.3, pixel: float = 0.0) -> np.ndarray:
    """Indices of the boxes (N, 4) that are kept, strongest first: greedy non-maximum suppression (Felzenszwalb et al. 2010; R-CNN).

    From the strongest on, a box is kept unless its overlap with one that was kept is above `threshold`. Of equal scores (N,) the earlier
    index counts as stronger. Errors as in `checked`; SourceError for a score that is not finite.
    """
    edges, scores = _edges(boxes, pixel), checked_scores(scores)
    if edges.shape[1:] != scores.shape:
        raise ValueError(f'{edges.shape[1]} boxes have scores of shape {scores.shape}')
    order = _strongest(scores, threshold)
    return order[_kept(edges[:, order], threshold)]


def suppressed_each(boxes, scores, lowest: float, threshold: float = 0.3, pixel: float = 0.0) -> list[np.ndarray]:
    """For each of K classes what `suppressed` keeps of its boxes with a score above `lowest`. boxes: (N, 4), the same for all classes, or
    (N, K, 4); scores: (N, K). Boxes without area, as `clipped` leaves them, are not among them; other errors as in `suppressed`."""
    boxes, scores = np.asarray(boxes, np.float64), checked_scores(scores)
    if scores.ndim != 2 or boxes.shape not in ((len(scores), 4), (*scores.shape, 4)):
        raise ValueError(f'boxes (N, 4) or (N, K, 4) have scores (N, K); got {boxes.shape} and {scores.shape}')
    if math.isnan(lowest):
        raise ValueError('no score is above nan')
    solid = ~(boxes[..., 2:] - boxes[..., :2] + pixel == 0).any(-1)
    wanted = (scores > lowest) & (solid if boxes.ndim == 3 else solid[:, None])
    if boxes.ndim == 3:
        chosen = [np.flatnonzero(of)[_strongest(scores[of, k], threshold)] for k, of in enumerate(wanted.T)]
        counts = [len(of) for of in chosen]
        classes, places = np.repeat(np.arange(len(counts)), counts), np.concatenate([np.zeros(0, int), *chosen])
        own = _edges(boxes[places, classes], pixel, lambda number: f'box {places[number]} of class {classes[number]}')
        if max(counts, default=0) <= _IN_STEP:
            return [of[kept] for of, kept in zip(chosen, _in_step(own, counts, threshold), strict=True)]
        split = np.split(own, np.cumsum(counts)[:-1], axis=1)
        return [of[_kept(edges, threshold)] for of, edges in zip(chosen, split, strict=True)]
    some = np.flatnonzero(wanted.any(1))
    edges, scores, wanted = _edges(boxes[some], pixel, lambda number: f'box {some[number]}'), scores[some], wanted[some]
    chosen = [np.flatnonzero(of)[_strongest(scores[of, k], threshold)] for k, of in enumerate(wanted.T)]
    if len(some) > _TOGETHER:
        return [some[of[_kept(edges[:, of], threshold)]] for of in chosen]
    rows = _bits(_overlaps(edges[:, :, None], edges[:, None, :]) > threshold)
    return [some[list(_greedy(rows, of.tolist()))] for of in chosen]


def checked_scores(scores) -> np.ndarray:
    """Scores as float64; SourceError for one that is not finite."""
    scores = np.asarray(scores, np.float64)
    if not np.isfinite(scores).all():
        place = np.unravel_index(np.argmin(np.isfinite(scores)), scores.shape)
        raise SourceError(f'score {", ".join(map(str, place))} is not finite: {scores[place]}.')
    return scores


def _strongest(scores: np.ndarray, threshold: float) -> np.ndarray:
    if not 0 <= threshold <= 1:
        raise ValueError(f'an overlap lies in [0, 1], not {threshold!r}')
    return np.argsort(-scores, kind='stable')


def _kept(edges: np.ndarray, threshold: float) -> np.ndarray:
    """Places of the edges (4, N), strongest first, that are kept: a block settles among itself, then it is held against all that follow."""
    places, kept = np.arange(edges.shape[1]), []
    while places.size:
        block, rest = edges[:, :_BLOCK], edges[:, _BLOCK:]
        near = _overlaps(block[:, :, None], block[:, None, :]) > threshold
        chosen = list(_greedy(_bits(near), range(len(near))))
        kept.append(places[chosen])
        left = ~(_overlaps(block[:, chosen, None], rest[:, None, :]) > threshold).any(0)
        places, edges = places[_BLOCK:][left], rest[:, left]
    return np.concatenate(kept) if kept else places


def _in_step(edges: np.ndarray, counts: Sequence[int], threshold: float) -> list[np.ndarray]:
    """`_kept` of several short problems, one after the other in (4, N): each step keeps the strongest box that is left of every one."""
    there = np.arange(max(counts, default=0)) < np.reshape(counts, (-1, 1))
    grid, kept = np.zeros((4, *there.shape)), np.zeros_like(there)
    grid[2:], grid[:, there] = 1, edges  # what fills up a problem has an area, too
    left, rows = there.copy(), np.arange(len(counts))
    while left.any():
        first = left.argmax(1)
        kept[rows, first] |= left[rows, first]
        left &= ~(_overlaps(grid[:, rows, first, None], grid) > threshold)
        left[rows, first] = False
    return [np.flatnonzero(of) for of in kept]


def _bits(near: np.ndarray) -> list[int]:
    """Each row of booleans (N, N) as a whole number whose bit n is column n, so that a row is joined to another in one step."""
    packed = np.packbits(near, axis=1, bitorder='little')
    return [int.from_bytes(row.tobytes(), 'little') for row in packed]


def _greedy(rows: Sequence[int], order: Iterable[int]) -> Iterator[int]:
    """Those of `order`, strongest first, that no kept one before them is near to."""
    gone = 0
    for place in order:
        if not gone >> place & 1:
            gone |= rows[place]
            yield place
