"""Whether a source can be read to its end, asked before work rests on it."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cnn_research.data import cache
from cnn_research.data.source import Source, sha256

SMALL = 250e6  # pixels that are all decoded: a few seconds, and remembered (CIFAR-10 has 51e6, 10,000 photographs of 160 px 256e6)
PROBED = 16  # examples that a source of varying sizes is judged by
CHUNK = 256  # examples that one thread reads at a time


def verified(source: Source, log: Callable[[str], None] | None = None) -> bool:
    """Decodes every example of a source once; SourceError names the first that is damaged.

    What is made in this program, without files (no stamp), cannot be damaged. False when nothing was decoded because the source has more
    than SMALL pixels: of those, an image folder has had its headers looked at when it was opened. A source found whole is remembered by its
    fingerprint and stamp, so that asking again costs nothing. `log` is given a line before the reading, where there is some.
    """
    if not source.stamp:
        return True
    known = cache.place('verified', sha256(source.fingerprint.encode(), source.stamp.encode()) + '.json')
    if cache.recall(known).get('examples') == source.num_examples:
        return True
    if _pixels(source) > SMALL:
        return False
    if log:
        log(f'{source.name} ({source.split}): looking at all {source.num_examples} examples')

    def look(start):
        source.read(np.arange(start, min(start + CHUNK, source.num_examples)))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(look, range(0, source.num_examples, CHUNK)):
            pass
    cache.remember(known, {'examples': source.num_examples})
    return True


def _pixels(source):
    """Of all images together, as far as the shape, or else a few of them, say."""
    if source.image_shape:
        return source.num_examples * source.image_shape[0] * source.image_shape[1]
    probed = np.unique(np.linspace(0, source.num_examples - 1, PROBED).astype(int))
    return source.num_examples * np.mean([image.shape[0] * image.shape[1] for image in source.read(probed)[0]])
