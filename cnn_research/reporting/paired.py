"""What rows make of the same test images, image by image: how far a difference of errors hangs on which images happened to be tested.

Intervals over seeds (claims.py) say nothing of it: all seeds are tested on the same images. Here images are drawn anew, with all that
every row and seed says of them (Efron's bootstrap over pairs), and the seeds stay.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cnn_research.reporting.tables import Cell, Interval

DRAWS = 10_000
_SEED = 0


class OnImages(NamedTuple):
    """A network on its test images. protocol: names the images and views; ranks (N,): how many classes stand before each image's own."""

    protocol: str
    ranks: np.ndarray


def tested(result: Mapping[str, Any]) -> OnImages | None:
    """What a run's result keeps of every test image; None where it keeps nothing, as results of earlier versions do, or no ranks."""
    ranks, protocol = result['test'].get('ranks'), result.get('protocol')
    sound = isinstance(ranks, list) and ranks and all(type(rank) is int and rank >= 0 for rank in ranks)
    return OnImages(protocol, np.asarray(ranks)) if sound and protocol else None


def bootstrap(differences: np.ndarray) -> Interval:
    """The mean of one number per image (N,), and the middle 95 % of the means of N images drawn with replacement, DRAWS times.

    The draws are the same each time. How often each value is drawn is multinomial, so that the values need not be drawn one by one.
    """
    values, counts = np.unique(differences, return_counts=True)
    drawn = np.random.default_rng(_SEED).multinomial(len(differences), counts / counts.sum(), DRAWS) @ values / len(differences)
    return Interval(float(np.mean(differences)), *map(float, np.percentile(drawn, (2.5, 97.5))))


def over_images(contrast: Mapping[str, float], rows: Mapping[str, Mapping[int, OnImages | None]], top: int) -> Interval | Cell | None:
    """The contrast's error in percent with its interval over test images, the mean over the seeds that all its rows have.

    contrast: {row: coefficient}; rows: {row: {seed: OnImages, None where nothing was kept}}; an image is wrong where its class is not among
    the first `top`. Where images cannot be paired an empty cell says why; None where no seed is shared.
    """
    seeds = set.intersection(*(set(rows.get(row, {})) for row in contrast))
    if not seeds:
        return None
    told = {row: [rows[row][seed] for seed in sorted(seeds)] for row in contrast}
    if any(one is None for found in told.values() for one in found):
        return Cell(None, note='not kept by image')
    if len({(one.protocol, len(one.ranks)) for found in told.values() for one in found}) > 1:
        return Cell(None, note='tested on different images')
    found = sum(100 * weight * np.mean([one.ranks >= top for one in told[row]], axis=0) for row, weight in contrast.items())
    return bootstrap(found) if np.any(found != found[0]) else Cell(None, note='the same on every image')
