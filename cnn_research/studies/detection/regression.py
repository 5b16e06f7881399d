"""Class-specific regression of boxes: from a window's features to where the object lies (Girshick et al. 2014, appendix C).

As in the published code (rcnn_train_bbox_regressor.m): the four targets are centred and decorrelated before the ridge regression, which
also shrinks the bias, and the pairs include the ground truth boxes, whose targets are 0. `features`, `boxes` and `truths` are those of
`classifiers`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import linalg

from cnn_research import boxes as areas
from cnn_research.studies.detection import classifiers

FEWEST = 10  # pairs of proposals and objects: below, the mean displacement of a class is that of a few windows, and boxes stay as they are
_RIDGE = 0.001  # added to the variances of the targets


class Regression(NamedTuple):
    """Of K classes on features (D,), scaled: weights (K, D + 1, 4), the last row the bias; they give the targets of `displacements`.

    pairs: (K,), how many proposals each class learned from; below FEWEST its weights are 0 and its boxes stay.
    """

    weights: np.ndarray
    scale: float
    pairs: np.ndarray


def displacements(boxes: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """(N, 4): what moves each of boxes (N, 4) onto the one in its place of truths (N, 4): the centre by parts of the box's sides, down and
    across, and the logarithms of the factors of its height and width."""
    sides, wanted = (np.asarray(edges)[:, 2:] - np.asarray(edges)[:, :2] for edges in (boxes, truths))
    centres = (np.asarray(truths)[:, :2] - np.asarray(boxes)[:, :2] + (wanted - sides) / 2) / sides
    return np.concatenate([centres, np.log(wanted / sides)], axis=1)


def moved(boxes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Boxes (..., 4) displaced by steps (..., 4), as `displacements` has them."""
    boxes = np.asarray(boxes, np.float64)
    sides = boxes[..., 2:] - boxes[..., :2]
    centres = boxes[..., :2] + sides / 2 + steps[..., :2] * sides
    # No object is a million times its window; beyond, the exponential would overflow.
    half = np.exp(np.minimum(steps[..., 2:], np.log(1e6))) * sides / 2
    return np.concatenate([centres - half, centres + half], axis=-1)


def regressors(
    features: Sequence[np.ndarray],
    truths: Sequence,
    boxes: Sequence[np.ndarray],
    num_classes: int,
    strength: float = 1000.0,
    overlap: float = 0.6,
) -> Regression:
    """A ridge regression for each class, |X w - y|^2 + strength |w|^2, of rows that overlap the object nearest to them, which is of that
    class, by more than `overlap`. SourceError for rows that are not these scenes'."""
    classifiers.check_rows(features, truths, boxes, num_classes)
    factor = classifiers.scale(features)
    keys, names, targets, proposed = [], [], [], []
    for image, (rows, scene) in enumerate(zip(boxes, truths, strict=True)):
        nearest, found = classifiers.nearest(rows, scene)
        near = np.flatnonzero(found > overlap)
        keys.append(np.stack([np.full(len(near), image), near], axis=1))
        names.append(np.asarray(scene.labels, int)[nearest[near]])
        targets.append(displacements(np.asarray(rows)[near], np.asarray(scene.boxes)[nearest[near]]))
        proposed.append(near < len(rows) - len(scene.boxes))
    keys, names, targets, proposed = map(np.concatenate, (keys, names, targets, proposed))
    weights = np.zeros((num_classes, features[0].shape[1] + 1, 4), np.float32)
    pairs = np.bincount(names[proposed], minlength=num_classes)
    for label in np.flatnonzero(pairs >= FEWEST):
        own = names == label
        weights[label] = _whitened_ridge(classifiers.gathered(features, keys[own], factor, ones=1), targets[own], strength)
    return Regression(weights, factor, pairs)


def refined(regression: Regression, features: np.ndarray, boxes: np.ndarray, height: float, width: float) -> np.ndarray:
    """float64 (n, K, 4): where each class takes boxes (n, 4) with features (n, D), not scaled, to lie in an image of height x width px.

    Clipped at the image, once; of a box of which nothing would be left there, the proposal stays.
    """
    rows = np.asarray(features, np.float32) * np.float32(regression.scale)
    steps = np.einsum('nd,kdf->nkf', rows, regression.weights[:, :-1], optimize=True) + regression.weights[:, -1]
    before = np.broadcast_to(np.asarray(boxes, np.float64)[:, None], steps.shape)
    found = areas.clipped(moved(before, steps.astype(np.float64)), height, width)
    left = (found[..., 2:] > found[..., :2]).all(-1) & (regression.pairs >= FEWEST)
    return np.where(left[..., None], found, before)


def _whitened_ridge(rows: np.ndarray, targets: np.ndarray, strength: float) -> np.ndarray:
    """(D + 1, 4) of rows (N, D + 1), whose last column is 1, and targets (N, 4)."""
    mean = targets.mean(0)
    centred = targets - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    deviations = np.sqrt(np.maximum(variances, 0) + _RIDGE)
    found = _ridge(rows, centred @ (axes / deviations) @ axes.T, strength)
    found = found @ (axes * deviations) @ axes.T
    found[-1] += mean
    return found


def _ridge(rows: np.ndarray, targets: np.ndarray, strength: float) -> np.ndarray:
    """The minimum from the smaller of two systems: one unknown for each feature, or for each row."""
    few = len(rows) < rows.shape[1]
    inner = np.asarray(rows @ rows.T if few else rows.T @ rows, np.float64)
    inner[np.diag_indices(len(inner))] += strength
    if few:
        return rows.T @ linalg.solve(inner, targets, assume_a='pos', overwrite_a=True)
    return linalg.solve(inner, rows.T @ targets, assume_a='pos', overwrite_a=True)
