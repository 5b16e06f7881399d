"""Objects and detections in images, made by hand or at random, for the tests of detection."""

from typing import NamedTuple

import numpy as np

from cnn_research.studies.detection.evaluation import Detections

HERE, THERE, BETWEEN = (0, 0, 10, 10), (40, 40, 60, 60), (0, 2, 10, 12)  # HERE and BETWEEN overlap by 2 / 3


class Truth(NamedTuple):
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    name: str = ''


def truth(*objects, name=''):
    """Of (box, label) or (box, label, difficult)."""
    told = [(*one, False)[:3] for one in objects]
    of = np.array([box for box, _, _ in told], float).reshape(-1, 4)
    return Truth(of, np.array([label for _, label, _ in told], np.int32), np.array([hard for *_, hard in told], bool), name)


def found(*detections):
    """Of (box, label, score)."""
    of = np.array([box for box, _, _ in detections], float).reshape(-1, 4)
    return Detections(of, np.array([one[1] for one in detections], int), np.array([one[2] for one in detections], float))


def overlap_of(one, other, pixel):
    down, right = (min(one[2 + k], other[2 + k]) - max(one[k], other[k]) + pixel for k in (0, 1))
    areas = [(box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (one, other)]
    common = max(down, 0) * max(right, 0)
    return common / (sum(areas) - common)


def made(seed, images=25, classes=4, lattice=4):
    """Images with several objects and detections about them and elsewhere; boxes, scores and classes coincide often."""
    random = np.random.default_rng(seed)
    truths, detections = [], []
    for number in range(images):
        count, more = random.integers(0, 6), random.integers(0, 14)
        near = random.integers(0, 6, (count, 2))
        of = np.concatenate([near, near + random.integers(2, 6, (count, 2))], axis=1)
        truths.append(Truth(of.astype(float), random.integers(0, classes - 1, count), random.random(count) < 0.25, f'picture {number}'))
        near = random.integers(0, 8, (more, 2))
        boxes = np.concatenate([near, near + random.integers(2, 6, (more, 2))], axis=1).astype(float)
        labels = random.integers(0, classes, more)
        if count:
            of_object = random.integers(0, count, more)
            about = random.random(more) < 0.7
            boxes[about] = (of + np.zeros(4))[of_object[about]]
            boxes[about, 2:] += random.integers(0, 3, (int(about.sum()), 2))
            labels[about] = truths[-1].labels[of_object[about]]
        detections.append(Detections(boxes, labels, random.integers(0, 9, more) / lattice))
    return truths, detections
