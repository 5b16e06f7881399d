"""Which example is at which step, and how it gets to the device.

The stream is arithmetic. Epoch e of seed s is a permutation that depends on (s, e) alone; the epochs laid end to end are one endless
sequence of positions; step t with global batch B covers positions [tB, (t + 1)B). Nothing is dropped at the end of an epoch, resuming needs
only the step, and the number of processes and workers changes nothing.

Sets that fit in memory live on the device as uint8 and are gathered there; larger ones are read by Grain's worker processes. Both give the
same arrays at the same step. This module imports neither JAX nor the sources, so that a worker process stays light.
"""

import functools
import hashlib
import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import util as multiprocessing_util

import numpy as np

from cnn_research.data import memory
from cnn_research.data.images import PIXELS, fast, scaled
from cnn_research.errors import ConfigError, SourceError

KEPT_BYTES = 2e9  # of pixels stay in memory after their feed, so that trials of one table decode them once
CHUNK = 512  # examples that one thread reads at a time
TOGETHER = 32  # examples that are decoded before they are scaled: what they take stays in a processor's cache
ENDLESS = 1 << 40  # Grain asks for a length; no training is this many steps long


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    # Sorting raw Philox words, because NumPy promises to keep the words of a bit generator but not the algorithm of
    # `Generator.permutation`.
    key = np.array([seed % 2**64, epoch], dtype=np.uint64)
    permutation = np.argsort(np.random.Philox(key=key).random_raw(num_examples), kind='stable')
    permutation.setflags(write=False)
    return permutation


def order(seed: int, positions: np.ndarray, num_examples: int) -> np.ndarray:
    """The example (int64) at each position (int64, any shape) of the endless sequence of `seed` over `num_examples` examples."""
    epochs, offsets = np.divmod(np.asarray(positions, np.int64), num_examples)
    indices = np.empty_like(offsets)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        indices[chosen] = _permutation(seed, int(epoch), num_examples)[offsets[chosen]]
    return indices


def step_positions(step: int, batch_size: int, process_index: int = 0, process_count: int = 1) -> np.ndarray:
    """Positions (int64) of one process in a step of the global batch size B: a contiguous slice of [step B, (step + 1) B)."""
    first, last = (batch_size * process // process_count for process in (process_index, process_index + 1))
    return np.arange(step * batch_size + first, step * batch_size + last, dtype=np.int64)


def holdout_mask(fingerprint: str, num_examples: int, fraction: float) -> np.ndarray:
    """Which examples (bool, (N,)) are held out: about `fraction` of them, by a hash of (fingerprint, index).

    The same for every seed and architecture; a larger fraction holds out all that a smaller one does, and more.
    """
    key = np.uint64(int.from_bytes(hashlib.sha256(fingerprint.encode()).digest()[:8], 'little'))
    # The finalizer of splitmix64 (Steele, Lea and Flood 2014) makes the indices' words independent.
    word = key + np.arange(1, num_examples + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word = word ^ (word >> np.uint64(31))
    return (word >> np.uint64(11)) * 2.0**-53 < fraction


def of_each_class(seed: int, labels: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """The examples of every class, as places among labels (N,), each class in an order that depends on the seed alone."""
    key = np.array([seed % 2**64, 2**64 - 1], dtype=np.uint64)  # a second number that is no epoch: another order than that of the steps
    words = np.random.Philox(key=key).random_raw(len(labels))
    places = np.argsort(words, kind='stable')
    return [places[labels[places] == label] for label in range(num_classes)]


def resized(image: np.ndarray, side: int) -> np.ndarray:
    """The short side of uint8 (H, W, C) brought to `side` (bilinear, antialiased), then the central square (Krizhevsky 2012, section 2).

    Raises SourceError for a long, narrow image whose scaled form would have more than PIXELS pixels.
    """
    found = scaled(image, side)
    top, left = (found.shape[0] - side) // 2, (found.shape[1] - side) // 2
    return found[top : top + side, left : left + side]


def _read(source, indices, resize, shape=None):
    """uint8 (n, H, W, C) and int32 (n,) of the given examples, which must have one shape (and `shape` where given)."""
    indices, shapes = np.asarray(indices), {tuple(shape)} if shape else set()
    batch = np.empty((len(indices), *shape), np.uint8) if shape else None
    labels = np.empty(len(indices), np.int32)
    for start in range(0, len(indices), TOGETHER):
        images, labels[start : start + TOGETHER] = source.read(indices[start : start + TOGETHER])
        for place, image in enumerate(images, start):
            image = resized(image, resize) if resize else image
            shapes.add(image.shape)
            if len(shapes) == 1:
                batch = np.empty((len(indices), *image.shape), np.uint8) if batch is None else batch
                batch[place] = image
    if len(shapes) > 1:
        sizes = ', '.join('x'.join(map(str, shape)) for shape in sorted(shapes)[:4])
        raise SourceError(
            f'{source.name} ({source.split}) has images of different sizes ({sizes}); set data.resize to the side of a square.'
        )
    return batch, labels


def example_shape(source, resize: int) -> tuple[int, int, int]:
    """(H, W, C) of a source's images as a feed gives them, by the first where their sizes may vary.

    Raises SourceError for an empty source, ConfigError for a resize to more than PIXELS pixels, before anything is made.
    """
    if source.num_examples < 1:
        raise SourceError(f'{source.name} ({source.split}) has no examples.')
    if resize * resize > PIXELS:
        raise ConfigError(f'data.resize={resize} asks for images of {resize} x {resize} px; the largest side is {math.isqrt(PIXELS)}.')
    shape = source.read(np.array([0]))[0][0].shape
    return (resize, resize, shape[-1]) if resize else shape


def affordable(shape: tuple[int, int, int], batch_size: int, examples: int, resident_gb: float, field: str = 'batch_size') -> bool:
    """Whether a source of images (H, W, C) is resident, at most `resident_gb` (1e9 bytes). field: what holds the batch size, for messages.

    Raises ConfigError where the batch, or the resident source, is more than the machine's memory.
    """
    size, image = math.prod(shape), 'x'.join(map(str, shape))
    memory.afford(batch_size * size, f'A batch of {batch_size} images of {image} ({field}={batch_size}, data.resize)')
    if examples * size > resident_gb * 1e9:
        return False
    memory.afford(examples * size, f'Keeping {examples} images of {image} in memory (data.resident_gb={resident_gb:g}, data.resize)')
    return True


def store(source, resize: int, log: Callable[[str], None] | None = None) -> dict[str, np.ndarray]:
    """The whole source in memory: {'images': uint8 (N, H, W, C), 'labels': int32 (N,)}.

    `resize` 0 takes images as they are, which must then all have one shape; otherwise see `resized`. `log` is given a line at each tenth.
    Raises SourceError for an empty source or images of different shapes.
    """
    total = source.num_examples
    shape = example_shape(source, resize)
    memory.afford(total * math.prod(shape), f'{source.name} ({source.split}), {total} images of {"x".join(map(str, shape))},')
    images, labels = np.empty((total, *shape), np.uint8), np.empty(total, np.int32)
    chunks = [slice(start, min(start + CHUNK, total)) for start in range(0, total, CHUNK)]

    def fill(chunk):
        images[chunk], labels[chunk] = _read(source, np.arange(chunk.start, chunk.stop), resize, shape)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for number, _ in enumerate(pool.map(fill, chunks), start=1):
            if log and number * 10 // len(chunks) > (number - 1) * 10 // len(chunks):
                log(f'{source.name} ({source.split}): {chunks[number - 1].stop} of {total} examples read')
    return {'images': images, 'labels': labels}


_kept: dict[tuple[str, int], dict[str, np.ndarray]] = {}
_keeping = threading.Lock()  # trials on several devices share what is kept


def _kept_store(source, resize, log):
    """`store`, remembered by what the source holds; the oldest make room."""
    name = (source.fingerprint, resize)
    with _keeping:
        if name not in _kept:
            found = store(source, resize, log)
            for array in found.values():
                array.setflags(write=False)
            while _kept and sum(each['images'].nbytes for each in _kept.values()) + found['images'].nbytes > KEPT_BYTES:
                del _kept[next(iter(_kept))]
            _kept[name] = found
        return _kept[name]


def fetch(batch_store: dict, batch: dict) -> tuple:
    """Images uint8 (B, H, W, C), labels int32 (B,), positions uint32 (B,) of a feed's batch; under jit it gathers where the store lives."""
    if batch_store:
        return batch_store['images'][batch['index']], batch_store['labels'][batch['index']], batch['position']
    return batch['images'], batch['labels'], batch['position']


def _training_plan(seed, batch_size, num_examples, process_index, process_count, step):
    positions = step_positions(step, batch_size, process_index, process_count)
    return {'index': order(seed, positions, num_examples).astype(np.int32), 'position': positions.astype(np.uint32)}


def _evaluation_plan(batch_size, num_examples, process_index, process_count, step):
    index = step_positions(step, batch_size, process_index, process_count)
    mask = index < num_examples
    index = np.where(mask, index, 0).astype(np.int32)
    return {'index': index, 'position': index.astype(np.uint32), 'mask': mask}


class _Batches:
    """What Grain reads: element i is the whole batch of step `first` + i, so that one worker builds it alone; picklable."""

    def __init__(self, source, resize, shape, plan, first, steps):
        self.source, self.resize, self.shape, self.plan, self.first, self.steps = source, resize, shape, plan, first, steps

    def __len__(self):
        return ENDLESS

    def __getitem__(self, number):
        step = self.first + number
        batch = self.plan(step % self.steps if self.steps else step)
        index = batch.pop('index')
        images, labels = _read(self.source, index, self.resize, self.shape)
        return {'images': images, 'labels': labels, **batch}


class Feed:
    """Batches by step, of a resident or a streamed source.

    `store` is placed on the device once ({} when streamed). `batch(step)` is a dict of NumPy arrays: `position` uint32 (B,) always, `mask`
    bool (B,) in evaluation, and `index` int32 (B,) when resident or `images` uint8 (B, H, W, C) and `labels` int32 (B,) when streamed.
    `steps` is the number of batches of one pass in evaluation, None in training. `close()` ends the worker processes.
    """

    def __init__(self, source, batch_size, plan, steps, resize, resident_gb, workers, log):
        self.steps = steps
        self._source, self._plan, self._resize, self._workers = source, plan, resize, workers
        self._reading, self._next = [], None  # a list of at most one iterator, which outlives the feed until it is stopped
        # Also when never closed, after an error say; at exit before Grain's own clean-up (priorities 1 and 15), which is noisy.
        multiprocessing_util.Finalize(self, _stop, args=(self._reading,), exitpriority=100)
        self._shape = example_shape(source, resize)
        self.resident = affordable(self._shape, batch_size, source.num_examples, resident_gb)
        if log and not self.resident and fast() is None:
            log("JPEGs are decoded by Pillow; simplejpeg (pip install 'cnn-research[fast]') takes half the time")
        self.store = _kept_store(source, resize, log) if self.resident else {}

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The arrays of one step. Steps asked for in sequence are read ahead; any other step starts the reading anew there."""
        if self.resident:
            return self._plan(step)
        if step != self._next:
            self.close()
            batches = _Batches(self._source, self._resize, self._shape, self._plan, step, self.steps)
            self._reading.append(iter(_prefetched(batches, self._workers)))
        self._next = None  # an iterator that raises has ended: start anew after it
        # Copied, because Grain hands over shared memory that is unmapped with its array, and a device may still be reading then.
        batch = {name: np.array(array) for name, array in next(self._reading[0]).items()}
        # An evaluation's last step is followed by its first, so that the workers outlive the pass.
        self._next = (step + 1) % self.steps if self.steps else step + 1
        return batch

    def close(self) -> None:
        """Ends the worker processes and threads; a later `batch` starts them again."""
        _stop(self._reading)
        self._next = None


def _stop(reading):
    while reading:
        reading.pop().close()


def _prefetched(batches, workers):
    import grain
    from absl import flags

    # Grain 0.2.18 reads this flag of its own even where no command line was parsed (notebooks, tests), which absl refuses; marking it as
    # present keeps its default and touches no other flag.
    flag = 'grain_enable_multiprocess_worker_profiling'
    if flag in flags.FLAGS and not flags.FLAGS.is_parsed():
        flags.FLAGS[flag].present = True
    threads = 1 if workers else min(4, os.cpu_count() or 1)
    dataset = grain.MapDataset.source(batches).to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads))
    return dataset.mp_prefetch(grain.multiprocessing.MultiprocessingOptions(num_workers=workers)) if workers else dataset


def open_feed(
    source,
    seed: int,
    batch_size: int,
    resize: int,
    resident_gb: float,
    workers: int,
    process_index: int = 0,
    process_count: int = 1,
    log=None,
) -> Feed:
    """The training stream of a source; `batch_size` is the global one, each process gets its own slice.

    A source of at most `resident_gb` (1e9 bytes) is resident; a larger one is streamed by `workers` processes (0: by threads of this
    process). Raises SourceError for an empty source or images of different shapes with `resize` 0, ConfigError for sizes beyond the memory.
    """
    plan = functools.partial(_training_plan, seed, batch_size, source.num_examples, process_index, process_count)
    return Feed(source, batch_size, plan, None, resize, resident_gb, workers, log)


def evaluation_feed(
    source, batch_size: int, resize: int, resident_gb: float, workers: int, process_index: int = 0, process_count: int = 1, log=None
) -> Feed:
    """Every example once, in order, in `steps` batches; position is the example's index.

    The last batch is padded with example 0, where `mask` is False.
    """
    plan = functools.partial(_evaluation_plan, batch_size, source.num_examples, process_index, process_count)
    return Feed(source, batch_size, plan, -(-source.num_examples // batch_size), resize, resident_gb, workers, log)
