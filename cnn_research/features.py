"""What a trained network makes of every example of a source, at several taps in one pass, computed once and kept on disk."""

import contextlib
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import evaluate, files, memory, parallel, tasks
from cnn_research.data import augment, stream
from cnn_research.data.sources import Source
from cnn_research.models.network import Network, check_taps

PIXELS = 'pixels'  # a tap beside the network's: the image as the network reads it
PIXEL_SIDE = 32  # px; larger images are averaged to it before they count as features
_BATCH = 200


def averaged(maps: jax.Array, side: int) -> jax.Array:
    """(B, H, W, C) averaged over at most side x side windows of nearly equal size: (B, min(side, H), min(side, W), C)."""
    for axis in (1, 2):
        length = maps.shape[axis]
        count = min(side, length)
        # Window i reaches from floor(i length / count) to ceil((i + 1) length / count), so that none is empty.
        starts, ends = np.arange(count) * length // count, -(-np.arange(1, count + 1) * length // count)
        inside = (np.arange(length) >= starts[:, None]) & (np.arange(length) < ends[:, None])
        weights = jnp.asarray(inside / (ends - starts)[:, None], maps.dtype)
        maps = jnp.moveaxis(jnp.tensordot(weights, maps, (1, axis)), 0, axis)
    return maps


def shape(network: Network, tap: str, side: int = 0) -> tuple[int, ...]:
    """Of a tap of one example, (h, w, maps) or (units,), of which `collect` gives the numbers in one row; side as there."""
    whole, side = (network.architecture.input_shape, PIXEL_SIDE) if tap == PIXELS else (network.architecture.row(tap).output, side)
    return (*(min(side or length, length) for length in whole[:2]), whole[2]) if len(whole) == 3 else whole


def collect(
    network: Network,
    variables: Mapping,
    source: Source,
    taps: Sequence[str],
    side: int = 0,
    resize: int = 0,
    devices: Sequence | None = None,
) -> dict[str, np.ndarray]:
    """{tap: float32 (N, D)} of every example, in order.

    taps: the network's, and 'pixels'; variables as `checkpoints.load` gives them. side: maps larger than side x side px are averaged to it
    (0 = as they are), pixels to 32 x 32 in any case. resize: as data.resize of a training.
    """
    check_taps(network.architecture, _inner(taps))
    devices = devices or parallel.local_devices()
    feed = stream.evaluation_feed(source, memory.batch(network.architecture, _BATCH), resize, resident_gb=1.0, workers=0)

    run = _compiled(network, tuple(taps), side, tuple(devices))
    variables, placed = parallel.replicated(dict(variables), devices), parallel.replicated(feed.store, devices)
    found: dict[str, np.ndarray] = {}
    done = 0
    with contextlib.closing(feed):
        for parts in evaluate.passed(run, variables, placed, feed):
            for tap, part in parts.items():
                whole = found.setdefault(tap, np.empty((source.num_examples, part.shape[1]), np.float32))
                whole[done : done + len(part)] = part
            done += len(part)
    return found


def _inner(taps):
    return tuple(tap for tap in taps if tap != PIXELS)


@functools.lru_cache(maxsize=8)
def _compiled(network, taps, side, devices):
    inner = _inner(taps)

    def forward(variables, placed, batch):
        images, _, _ = stream.fetch(placed, batch)
        seen = augment.prepare(images, variables['preprocessing'], network.architecture.input_shape)
        kept = network.apply({'params': variables['params']}, seen, taps=inner, method='features') if inner else {}
        sides = {PIXELS: PIXEL_SIDE, **dict.fromkeys(inner, side)}
        maps = {tap: seen if tap == PIXELS else kept[tap] for tap in taps}
        maps = {tap: averaged(array, sides[tap]) if array.ndim == 4 and sides[tap] else array for tap, array in maps.items()}
        return {tap: array.reshape(len(array), -1).astype(jnp.float32) for tap, array in maps.items()}

    return parallel.spread_map(forward, devices)


def untrained(network: Network, seed: int) -> dict:
    """The weights that a training with this seed begins with."""
    return tasks.fresh(network, jax.random.fold_in(jax.random.key(seed), 0))


def fingerprint(network: Network, variables: Mapping, source: Source, side: int, resize: int) -> str:
    """24 hex digits of SHA-256 over all that the features follow from: architecture, weights, preprocessing, examples, their sizes."""
    digest = hashlib.sha256(json.dumps([network.architecture.to_json(), network.dtype, source.fingerprint, side, resize]).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(dict(variables)):
        digest.update(jax.tree_util.keystr(path).encode() + np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:24]


def kept(folder: pathlib.Path, taps: Sequence[str], compute: Callable[[Sequence[str]], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """{tap: (N, D), mapped from FOLDER/TAP.npy}; compute(missing taps) makes what is not there or not what was written.

    The folder is named for the `fingerprint`; a file is written whole or not at all, and held against its SHA-256: one that was damaged, or
    cannot be read, is made again. Raises WriteError where a file cannot be written.
    """

    def there(tap):
        try:
            return (folder / f'{tap}.sha256').read_bytes().decode('ascii') == _digest(folder / f'{tap}.npy')
        except (OSError, ValueError):
            return False

    missing = [tap for tap in taps if not there(tap)]
    for tap, array in compute(missing).items() if missing else ():
        files.write(folder / f'{tap}.npy', functools.partial(np.save, arr=array))
        files.write(folder / f'{tap}.sha256', _digest(folder / f'{tap}.npy'))
    return {tap: np.load(folder / f'{tap}.npy', mmap_mode='r') for tap in taps}


def _digest(path: pathlib.Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
