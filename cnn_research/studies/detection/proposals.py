"""Region proposals: selective search, a sliding grid or a file of the user's; kept per picture; how many objects they find.

Proposals are boxes, float64 (P, 4): ymin, xmin, ymax, xmax, edges in px. Those made here stand in an order that is fixed and says nothing
of what they show: that of a hash of their corners, so that the first n of them are a fair sample, for any n. (Selective search's own order
is drawn at random, from no seed. Of 12 indoor photographs the first 500 by hash found 81 % of the objects at IoU 0.5 and 58 % at 0.7, as
drawn by OpenCV 81 and 45, the largest first 55 and 42.)
"""

import collections
import hashlib
import io
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cnn_research import boxes, files
from cnn_research.data.scenes import Scene, Scenes
from cnn_research.errors import ConfigError, Stopped, nearest, shown
from cnn_research.optional import needed
from cnn_research.studies.detection.given import ENDINGS, from_file, is_file

__all__ = ['METHODS', 'check', 'from_file', 'kept', 'proposed', 'recall']

METHODS = ('selective_search', 'grid')
FAST = (50, 50, 0.8)  # of OpenCV's fast mode: k, its step, sigma; what agrees best with the boxes that R-CNN's author used
WIDTH, HIGHEST = 500, 1000  # px of a picture as it is searched, as R-CNN's code has it (im_width); a narrow one is no higher than this
LARGER = 2.0  # a small picture is made larger at most so often: more costs time and finds nothing
LEAST = 20  # px of a searched picture of full width: no proposal is narrower or lower (minBoxWidth of R-CNN's code)
RATIOS = (0.5, 1.0, 2.0)  # height to width of the grid's windows
_STEPS = np.geomspace(0.05, 2.0, 120)  # of a window's side from one window of the grid to the next: the closest that is not too many
_VERSION = 1  # raised when a picture is given other proposals than before


def proposed(image: np.ndarray, method: str, most: int) -> np.ndarray:
    """At most `most` proposals (P, 4) of a picture, uint8 (H, W, C), in the fixed order; at least one, the whole picture if nothing else.

    selective_search: Uijlings et al. 2013 in fast mode by OpenCV, at R-CNN's scale. grid: windows of RATIOS whose area is 1, 1/2, 1/4, ...
    of the picture's down to LEAST, as close as `most` allows. Raises ConfigError for another method, and where OpenCV is not there.
    """
    check(method, most, of_file=False)
    return (_searched(image) if method == 'selective_search' else _grid(*image.shape[:2], most))[:most]


def check(method: str | os.PathLike, most: int, of_file: bool = True) -> None:
    """ConfigError unless this is one of METHODS whose library is there, or the name `of_file`, and a number of proposals."""
    if method not in METHODS and not (of_file and is_file(method)):
        others = f' or a file that ends in {", ".join(ENDINGS)}' if of_file else ''
        raise ConfigError(
            f'proposals come from {", ".join(METHODS)}{others}, not from {shown(str(method))}.{nearest(str(method), METHODS)}'
        )
    if isinstance(most, bool) or not isinstance(most, int | np.integer) or most < 1:
        raise ConfigError(f'the number of proposals of a picture is a whole number from 1 on, not {shown(most)}.')
    if method == 'selective_search':
        _segmentation()


def kept(
    folder: pathlib.Path, scenes: Scenes, method: str | os.PathLike, most: int, stop: Callable[[], bool] | None = None
) -> list[np.ndarray]:
    """At most `most` proposals (P, 4) of every scene, one array a scene.

    method: one of METHODS, or a file as in `from_file`, whose order is left as it is. What selective search finds is kept whole in
    FOLDER, a file a picture, known by the pictures and all that it follows from, whatever `most`; a file is written whole or not at all,
    and one that is damaged is made again. Killed at any time it loses the pictures in hand, one a processor; stop: asked between pictures,
    whereupon Stopped is raised. Raises SourceError as `from_file`, WriteError, and ConfigError as in `check`.
    """
    check(method, most)
    if method not in METHODS:
        return [found[:most] for found in from_file(method, scenes)]
    if method == 'grid':
        return [_grid(int(height), int(width), most) for height, width in scenes.sizes]
    place = pathlib.Path(folder) / f'selective_search_{_fingerprint(scenes)}'
    found = [_read(place / f'{index:06d}.npy') for index in range(scenes.num_examples)]

    def search(index):
        made = _searched(scenes.read([index])[0].image)
        _write(place / f'{index:06d}.npy', made)
        return made

    pool = ThreadPoolExecutor(os.cpu_count() or 1)  # OpenCV lets others work while it searches
    under_way: collections.deque = collections.deque()
    try:
        for index in [index for index, there in enumerate(found) if there is None]:
            if stop and stop():
                raise Stopped
            if len(under_way) >= (os.cpu_count() or 1):
                number, searching = under_way.popleft()
                found[number] = searching.result()
            under_way.append((index, pool.submit(search, index)))
        for number, searching in under_way:
            found[number] = searching.result()
    finally:
        pool.shutdown(cancel_futures=True)
    return [each[:most] for each in found]


def recall(
    truths: Sequence[Scene],
    proposals: Sequence[np.ndarray],
    counts: Sequence[int],
    thresholds: Sequence[float] = (0.5, 0.7),
    pixel: float = 0.0,
) -> np.ndarray:
    """float64 (thresholds, counts): share of the objects that one of the first `count` proposals of their picture overlaps by at least the
    threshold (IoU; pixel as in `boxes.iou`). Difficult objects are left out; nan where none is left."""
    best = [np.zeros((len(counts), 0))]
    for scene, found in zip(truths, proposals, strict=True):
        overlap = boxes.iou(found, scene.boxes[~scene.difficult], pixel)
        so_far = np.maximum.accumulate(np.concatenate([np.zeros((1, overlap.shape[1])), overlap]))
        best.append(so_far[np.clip(np.asarray(counts, int), 0, len(found))])
    together = np.concatenate(best, axis=1)
    if not together.shape[1]:
        return np.full((len(thresholds), len(counts)), np.nan)
    return np.stack([(together >= threshold).mean(axis=1) for threshold in thresholds])


# ---- selective search


def _segmentation():
    return needed('cv2.ximgproc.segmentation', 'selective search')


def _searched(image):
    """All proposals (P, 4) of selective search, in the fixed order."""
    cv2, segmentation = needed('cv2', 'selective search'), _segmentation()
    height, width = image.shape[:2]
    scale = min(WIDTH / width, HIGHEST / height, LARGER)
    wide, high = max(round(width * scale), 1), max(round(height * scale), 1)
    coloured = np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., ::-1]  # BGR, as OpenCV counts
    smaller = (high, wide) != (height, width) and scale < 1
    seen = cv2.resize(np.ascontiguousarray(coloured), (wide, high), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    search = segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(seen)
    search.switchToSelectiveSearchFast(*FAST)
    left, top, across, down = np.asarray(search.process(), np.int64).reshape(-1, 4).T
    corners = np.unique(np.stack([top, left, top + down, left + across], axis=1), axis=0)
    corners = corners[np.min(corners[:, 2:] - corners[:, :2], axis=1) >= LEAST * wide / WIDTH]
    if not len(corners):
        corners = np.array([[0, 0, high, wide]])
    corners = corners[np.argsort(_hashed(corners))]
    return boxes.clipped(corners * np.tile([height / high, width / wide], 2), height, width)


def _hashed(corners):
    """uint64 (P,) of whole corners (P, 4) below 2**16, no two alike of different boxes: splitmix64's last steps (Steele et al. 2014)."""
    packed = (np.asarray(corners).astype(np.uint64) << np.arange(0, 64, 16, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    packed = (packed ^ (packed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    packed = (packed ^ (packed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return packed ^ (packed >> np.uint64(31))


def _fingerprint(scenes):
    version = needed('cv2', 'selective search').__version__
    identity = [_VERSION, version, FAST, WIDTH, HIGHEST, LARGER, LEAST, scenes.pictures]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]


def _write(path, found):
    file = io.BytesIO()
    np.save(file, found)
    files.write(path, hashlib.sha256(file.getvalue()).digest() + file.getvalue())


def _read(path):
    """What `_write` wrote, None where it is not there or not what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        return None
    return np.load(io.BytesIO(content[32:]), allow_pickle=False)


# ---- the grid


def _grid(height, width, most):
    least = LEAST * width / WIDTH
    shapes = []
    for halved in itertools.count():
        sides = [np.sqrt(height * width / 2**halved * np.array([ratio, 1 / ratio])) for ratio in RATIOS]
        sides = [np.minimum(np.rint(side), (height, width)).astype(int) for side in sides]
        shapes += [tuple(side) for side in sides if min(side) >= max(least, 1)]
        if all(min(side) < max(least, 1) for side in sides):
            break
    shapes = list(dict.fromkeys(shapes)) or [(height, width)]
    # Denser grids have more windows, so the densest that is not too large is found by halves.
    low, high = 0, len(_STEPS) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _count(shapes, height, width, _STEPS[middle]) <= most else (middle + 1, high)
    windows = np.concatenate([_windows(shape, height, width, _STEPS[low]) for shape in shapes])
    return windows[np.argsort(_hashed(windows))][:most].astype(np.float64)


def _places(side, length, step):
    """How many windows of this side stand along a length."""
    return 1 + int(np.ceil((length - side) / (step * side)))


def _count(shapes, height, width, step):
    return sum(_places(high, height, step) * _places(wide, width, step) for high, wide in shapes)


def _windows(shape, height, width, step):
    high, wide = shape
    tops = np.unique(np.rint(np.linspace(0, height - high, _places(high, height, step))).astype(int))
    lefts = np.unique(np.rint(np.linspace(0, width - wide, _places(wide, width, step))).astype(int))
    return np.array([(top, left, top + high, left + wide) for top in tops for left in lefts])
