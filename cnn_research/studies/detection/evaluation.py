"""Average precision of detections, by the rules of PASCAL VOC (Everingham et al. 2010; the development kit).

- Detections of a class go by falling score over all images; of equal scores the earlier image comes first, in it the earlier detection.
- Each is held against the objects of its class in its image, difficult ones too, and meets the one that it overlaps most, of equals the
  first, if that overlap is above `overlap`; exactly at it is not above.
- It is right if that object is not difficult and no stronger detection met it; ignored, neither right nor false, if it is difficult;
  false if the object is taken (a duplicate) or there is none.
- Difficult objects do not count as objects. A class without an object that counts has no average precision: nan, not in the mean.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_research import boxes as geometry
from cnn_research.errors import ConfigError, SourceError, nearest, shown

WAYS = ('area', 'eleven')
FALSE, RIGHT, IGNORED = 0, 1, 2


class Detections(NamedTuple):
    """Of one image: boxes float64 (n, 4) as in `boxes`, labels int (n,) from 0, scores float64 (n,)."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


class Curve(NamedTuple):
    """A class. After each of its detections that are not ignored (n,), strongest first: precision, recall (nan without objects), score;
    image and place: which detection it is; right: whether it is."""

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray
    image: np.ndarray
    place: np.ndarray
    right: np.ndarray


class Evaluation(NamedTuple):
    """average_precision float64 (K,), nan for a class without objects that count; mean: over the others, nan if there are none; curves: one
    a class; objects (K,), those that count; difficult (K,), those that do not; states: per image int8 (n,), FALSE, RIGHT or IGNORED for
    each detection; meets: per image int (n,), which of its objects each detection met, -1 for none; overlap, way, pixel: as asked for."""

    average_precision: np.ndarray
    mean: float
    curves: list[Curve]
    objects: np.ndarray
    difficult: np.ndarray
    states: list[np.ndarray]
    meets: list[np.ndarray]
    overlap: float
    way: str
    pixel: float


def detected(boxes, scores, lowest: float, threshold: float = 0.3, most: int | None = None, pixel: float = 0.0) -> Detections:
    """What is detected in one image, strongest first: of each class the scores above `lowest`, after non-maximum suppression.

    boxes: (n, 4), the same for all classes, or (n, K, 4), each class's own; scores: (n, K); most: detections of each class that are
    kept in an image, None for all. A box that clipping left without area detects nothing and is left out. Errors as in `boxes`.
    """
    boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
    kept = geometry.suppressed_each(boxes, scores, lowest, threshold, pixel)
    kept = [of[:most] for of in kept]
    labels = np.repeat(np.arange(len(kept)), [len(of) for of in kept])
    places = np.concatenate([*kept, np.zeros(0, int)])
    order = np.argsort(-scores[places, labels], kind='stable')
    places, labels = places[order], labels[order]
    return Detections(boxes[places, labels] if boxes.ndim == 3 else boxes[places], labels, scores[places, labels])


def evaluated(
    truths: Sequence, detections: Sequence[Detections], num_classes: int, overlap: float = 0.5, way: str = 'area', pixel: float = 0.0
) -> Evaluation:
    """Average precision of every class over images, whose truths have `boxes` (M, 4), `labels` (M,) and `difficult` (M,); the rules stand
    above. way: 'area' under the precision that is highest at a recall or a higher one, at every change of recall (VOC from 2010 on), or
    'eleven', its mean at recall 0, 0.1, ..., 1 (VOC 2007). pixel: as in `boxes`.

    SourceError for no images, a box without area, a label that is no class, a number that is not finite.
    """
    checked_way(way)
    if not 0 <= overlap < 1:
        raise ConfigError(f'the overlap that a detection has to exceed lies in [0, 1), not {shown(overlap)}.')
    if len(truths) != len(detections):
        raise ValueError(f'{len(truths)} images have truths, {len(detections)} have detections')
    if not len(truths):
        raise SourceError('There are no images to evaluate detections on.')
    real, found = joined(truths, num_classes, pixel), joined(detections, num_classes, pixel)
    best, most = np.full(len(found.labels), -1), np.full(len(found.labels), -math.inf)
    for one, other, shared in pairs(found, real, num_classes, pixel):
        more = shared > most[one]
        best[one[more]], most[one[more]] = other[more], shared[more]
    best[most <= overlap] = -1
    met = np.flatnonzero(best >= 0)
    states = np.full(len(best), FALSE, np.int8)
    states[met[real.extra[best[met]]]] = IGNORED
    order = np.argsort(-found.extra, kind='stable')
    hits = order[((best >= 0) & (states == FALSE))[order]]
    states[hits[np.unique(best[hits], return_index=True)[1]]] = RIGHT  # the strongest of those that met an object
    objects = _counts(real.labels[~real.extra], num_classes)
    order = order[states[order] != IGNORED]
    by_class = np.split(order[np.argsort(found.labels[order], kind='stable')], np.cumsum(_counts(found.labels[order], num_classes))[:-1])
    curves = [_curve(found, of, states[of] == RIGHT, int(count)) for of, count in zip(by_class, objects, strict=True)]
    precisions = np.array([average_precision(curve, int(count), way) for curve, count in zip(curves, objects, strict=True)])
    own = np.where(best >= 0, best - real.starts[found.images], -1)
    return Evaluation(
        precisions,
        mean(precisions),
        curves,
        objects,
        _counts(real.labels[real.extra], num_classes),
        np.split(states, found.starts[1:-1]),
        np.split(own, found.starts[1:-1]),
        overlap,
        way,
        pixel,
    )


def average_precision(curve: Curve, objects: int, way: str) -> float:
    """Of a class with so many objects that count; nan without any, 0.0 without a right detection."""
    checked_way(way)
    if not objects:
        return math.nan
    hits = np.cumsum(curve.right)
    if not len(hits):
        return 0.0
    envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
    if way == 'area':
        return float(envelope[curve.right].sum() / objects)
    # Whole numbers: as a quotient, a recall of 3 in 10 is not 3 x 0.1.
    first = np.searchsorted(10 * hits, objects * np.arange(11))
    return float(np.append(envelope, 0.0)[first].sum() / 11)


def mean(precisions: Sequence[float]) -> float:
    """Over the classes that have an average precision; nan if none has."""
    there = [one for one in precisions if not math.isnan(one)]
    return math.fsum(there) / len(there) if there else math.nan


def checked_way(way: str) -> None:
    if way not in WAYS:
        raise ConfigError(f'No average precision is called {shown(way)}; there are {", ".join(WAYS)}.{nearest(way, WAYS)}')


# ---- what is kept of it, as JSON


def told(evaluation: Evaluation) -> dict[str, Any]:
    """What a report needs, as JSON has it. Lists with an entry for each class: area and eleven, the average precision in either way, None
    without objects; objects, difficult, detections (those that are not ignored) and right, their numbers; curves, [recall, precision,
    score] after every right detection and after the last of all. And overlap, pixel and images."""
    curves = evaluation.curves
    ways = {
        way: [_or_none(average_precision(curve, int(count), way)) for curve, count in zip(curves, evaluation.objects, strict=True)]
        for way in WAYS
    }
    return ways | {
        'objects': evaluation.objects.tolist(),
        'difficult': evaluation.difficult.tolist(),
        'detections': [len(curve.right) for curve in curves],
        'right': [int(curve.right.sum()) for curve in curves],
        'curves': [_corners(curve) if count else [] for curve, count in zip(curves, evaluation.objects, strict=True)],
        'overlap': evaluation.overlap,
        'pixel': evaluation.pixel,
        'images': len(evaluation.states),
    }


def confident(evaluation: Evaluation, precision: float = 0.5) -> np.ndarray:
    """For each class (K,) the lowest score at which its precision is still above that, inf where it never is: the detections that R-CNN's
    figures of examples show (Girshick et al. 2014, Fig. 8)."""
    return np.array([np.min(curve.scores, where=curve.precision > precision, initial=np.inf) for curve in evaluation.curves])


def scene(
    evaluation: Evaluation, truths: Sequence, detections: Sequence[Detections], index: int, lowest: Sequence[float]
) -> dict[str, Any]:
    """What a figure draws on one image, as JSON has it: index; name; objects, and detections whose score is at least the `lowest` of their
    class, each a list of dicts: box, label, and difficult and found (whether a detection that is drawn met it), or score and state."""
    truth, one = truths[index], detections[index]
    drawn = np.flatnonzero(np.asarray(one.scores) >= np.asarray(lowest)[one.labels])
    found = set(evaluation.meets[index][drawn].tolist())
    objects = [
        {'box': list(map(float, box)), 'label': int(label), 'difficult': bool(difficult), 'found': number in found}
        for number, (box, label, difficult) in enumerate(zip(truth.boxes, truth.labels, truth.difficult, strict=True))
    ]
    states = ('false', 'right', 'ignored')
    shown = [
        {
            'box': list(map(float, one.boxes[place])),
            'label': int(one.labels[place]),
            'score': float(one.scores[place]),
            'state': states[evaluation.states[index][place]],
        }
        for place in drawn
    ]
    return {'index': int(index), 'name': str(getattr(truth, 'name', '')), 'objects': objects, 'detections': shown}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _corners(curve: Curve) -> list[list[float]]:
    kept = np.unique(np.append(np.flatnonzero(curve.right), len(curve.right) - 1)) if len(curve.right) else np.zeros(0, int)
    return np.stack([curve.recall[kept], curve.precision[kept], curve.scores[kept]], axis=1).tolist()


# ---- all images at once


class Joined(NamedTuple):
    """Boxes (n, 4) of all images one after the other, their labels and images (n,); starts: where each image begins, and the end; extra:
    scores of detections, whether objects are difficult."""

    boxes: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    starts: np.ndarray
    extra: np.ndarray


def joined(each: Sequence, num_classes: int, pixel: float = 0.0) -> Joined:
    """Of the truths or the Detections of every image. Errors as in `evaluated`."""
    real = not any(isinstance(one, Detections) for one in each)
    what, extra = ('object', 'difficult') if real else ('detection', 'scores')
    for number, one in enumerate(each):
        shapes = np.shape(one.labels), np.shape(getattr(one, extra))
        if np.shape(one.boxes) not in ((*shapes[0], 4), *([(0,)] if shapes[0] == (0,) else [])) or shapes[0] != shapes[1]:
            raise ValueError(f'image {number}: boxes (n, 4), labels and {extra} (n,) are not {(np.shape(one.boxes), *shapes)}')
        if len(one.labels) and np.asarray(one.labels).dtype.kind not in 'iu':
            raise ValueError(f'image {number}: labels are whole numbers, not {np.asarray(one.labels).dtype}')
    counts = [len(one.boxes) for one in each]
    starts, images = np.append(0, np.cumsum(counts, dtype=int)), np.repeat(np.arange(len(each)), counts)

    def name(place):
        called = getattr(each[images[place]], 'name', None)
        return f'image {images[place]}{f" ({called})" if called else ""}: {what} {place - starts[images[place]]}'

    boxes = geometry.checked(np.concatenate([np.reshape(one.boxes, (-1, 4)) for one in each]), name, pixel)
    labels = np.concatenate([np.asarray(one.labels, np.int64) for one in each])
    more = np.concatenate([np.asarray(getattr(one, extra), bool if real else np.float64) for one in each])
    for wrong, words in (
        ((labels < 0) | (labels >= num_classes), f'has a label that is none of the {num_classes} classes, which count from 0: {{label}}.'),
        (~np.isfinite(more), 'has a score that is not finite: {extra}.'),
    ):
        if wrong.any():
            place = int(np.argmax(wrong))
            raise SourceError(f'{name(place)} {words.format(label=labels[place], extra=more[place])}')
    return Joined(boxes, labels, images, starts, more)


def pairs(
    found: Joined, real: Joined, num_classes: int, pixel: float, of_class: bool = True
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(detections, objects, their overlaps), each (m,), until every detection has been held against every object of its image, of its own
    class only where `of_class`; a detection once at a time, its objects in their order."""
    keys, wanted = (one.images * num_classes + one.labels if of_class else one.images for one in (real, found))
    order = np.argsort(keys, kind='stable')
    first, end = (np.searchsorted(keys[order], wanted, side) for side in ('left', 'right'))
    for number in range(int(np.max(end - first, initial=0))):
        one = np.flatnonzero(end - first > number)
        other = order[first[one] + number]
        yield one, other, geometry.pairwise(found.boxes[one], real.boxes[other], pixel)


def _counts(labels, num_classes):
    return np.bincount(labels, minlength=num_classes)


def _curve(found: Joined, chosen: np.ndarray, right: np.ndarray, objects: int) -> Curve:
    hits = np.cumsum(right)
    recall = hits / objects if objects else np.full(len(hits), np.nan)
    images = found.images[chosen]
    return Curve(hits / np.arange(1, len(hits) + 1), recall, found.extra[chosen], images, chosen - found.starts[images], right)
