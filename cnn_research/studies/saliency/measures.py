"""How well a map of saliency points at a box, image by image.

A map is (H, W), not negative. Boxes (N, 4) are top, left, height, width in its pixels. A map without any saliency says of every pixel
the same, and counts as such: what it gives is the box's share of the area.
"""

import numpy as np


def largest(signals: np.ndarray) -> np.ndarray:
    """(N, H, W) of gradients (N, H, W, C): of each pixel the largest absolute value of its channels (Simonyan et al. 2014, section 3.1)."""
    return np.abs(signals).max(-1)


def summed(attributions: np.ndarray) -> np.ndarray:
    """(N, H, W) of attributions (N, H, W, C), which are shares of a score: the absolute value of each pixel's sum over its channels."""
    return np.abs(attributions.sum(-1))


def spread(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(N, H, W) of values (N, R, K) at pixels rows (R,) and columns (K,), rising: every pixel has that of the nearest place."""
    nearest = [np.abs(np.arange(side)[:, None] - places).argmin(1) for side, places in zip(shape, (rows, columns), strict=True)]
    return values[:, nearest[0]][:, :, nearest[1]]


def inside(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """bool (N, H, W)."""
    top, left, height, width = np.asarray(boxes).T[:, :, None]
    down, across = np.arange(shape[0]), np.arange(shape[1])
    return ((down >= top) & (down < top + height))[:, :, None] & ((across >= left) & (across < left + width))[:, None, :]


def shares(maps: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,): the part of each map's sum that lies in its box; NaN where a map is not finite."""
    maps, within = np.asarray(maps, np.float64), inside(boxes, maps.shape[1:])
    blank = (maps == 0).all((1, 2), keepdims=True)
    maps = np.where(blank, 1.0, maps)
    return (maps * within).sum((1, 2)) / maps.sum((1, 2))


def hits(maps: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,): 1 where the strongest pixel lies in the box (the pointing game, Zhang et al. 2018, without its tolerance), 0 where it does not,
    and of several equal ones the part that does; NaN where a map is not finite."""
    maps, within = np.asarray(maps), inside(boxes, maps.shape[1:])
    strongest = maps == maps.max((1, 2), keepdims=True)
    with np.errstate(invalid='ignore'):
        return (strongest & within).sum((1, 2)) / strongest.sum((1, 2))


def blank(maps: np.ndarray) -> int:
    """How many maps have no saliency at all."""
    return int((np.asarray(maps) == 0).all((1, 2)).sum())


def random(count: int, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """(N, H, W): uniform noise, what knows nothing of image or network."""
    return np.random.default_rng(seed).random((count, *shape))


def centre(count: int, shape: tuple[int, int]) -> np.ndarray:
    """(N, H, W): what knows nothing but that things stand in the middle: 1 there, falling to 0 in the corners (Zhang et al. 2018)."""
    down, across = (np.abs(np.arange(side) - (side - 1) / 2) / ((side - 1) / 2) for side in shape)
    one = 1 - np.sqrt((down[:, None] ** 2 + across**2) / 2)
    return np.broadcast_to(one, (count, *shape))
