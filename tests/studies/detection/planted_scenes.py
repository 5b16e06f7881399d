"""Scenes whose windows have features that tell how much of which class they show."""

from typing import NamedTuple

import numpy as np

from cnn_research import boxes as areas


class Truth(NamedTuple):
    name: str
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray


def boxes_in(random, count, side):
    """Boxes (count, 4) in a square image."""
    corners = random.uniform(0, 0.6 * side, (count, 2))
    return np.concatenate([corners, corners + random.uniform(0.2, 0.4, (count, 2)) * side], axis=1)


def planted(images=12, classes=3, dimensions=24, proposals=60, seed=0, side=100.0):
    """(features, truths, boxes): one to three objects in each image; a third of its proposals near them."""
    random = np.random.default_rng(seed)
    prototypes = random.normal(size=(classes, dimensions))
    features, truths, boxes = [], [], []
    for number in range(images):
        count = 1 + number % 3
        own, labels = boxes_in(random, count, side), (np.arange(count) + number) % classes
        near = np.tile(own, (proposals // 3 // count + 1, 1))[: proposals // 3] + random.normal(size=(proposals // 3, 4)) * side / 25
        rows = areas.clipped(np.concatenate([near, boxes_in(random, proposals - len(near), side), own]), side, side)
        shown = np.zeros((len(rows), classes))
        for box, label in zip(own, labels, strict=True):
            shown[:, label] = np.maximum(shown[:, label], areas.iou(rows, box[None])[:, 0])
        features.append(np.maximum(0, 2 * shown @ prototypes + random.normal(size=(len(rows), dimensions)) + 0.3).astype(np.float32))
        truths.append(Truth(f'scene {number}', own, labels.astype(np.int32), np.arange(count) == 1))
        boxes.append(rows)
    return features, truths, boxes
