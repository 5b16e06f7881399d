"""The images that every unit likes best: the k strongest activations of whole layers over a whole source, in one pass, and what they saw.

As in Zeiler and Fergus 2013 (Fig. 2) an image counts once for each unit, where its map is strongest. Memory is O(k) for each unit, on
the device.
"""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_research import evaluate, files, parallel, train
from cnn_research.architecture import Architecture
from cnn_research.data import augment, stream
from cnn_research.models import pooling
from cnn_research.models.network import Network, check_taps


class Top(NamedTuple):
    """(units, k) each, the strongest first: value float32, example int32, and int32 row and column in the unit's map (0 for dense units).

    Of equal values the lower example comes first; in a map the first position in row order. Where there are fewer than k examples the
    rest have value -inf and -1 elsewhere. A value that is not a number never counts.
    """

    values: np.ndarray
    examples: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def merge(*tops: Top) -> Top:
    """The Top over all examples of several, which must be of different examples; as wide as the first, in any order the same."""
    found = Top(*(jnp.concatenate(parts, axis=-1) for parts in zip(*tops, strict=True)))
    # Each candidate's rank is counted: for so few of them that is 2.5 to 12 times as fast on CPU as a sort with two keys.
    value, example = found.values, found.examples
    higher, equal = value[:, None] > value[..., None], value[:, None] == value[..., None]
    rank = jnp.sum(higher | (equal & (example[:, None] < example[..., None])), axis=-1)
    chosen = rank[:, None] == jnp.arange(tops[0].values.shape[1])[:, None]
    nothing = Top(-jnp.inf, -1, -1, -1)  # all of these have the same rank, and leave those after it empty
    return Top(*(jnp.max(jnp.where(chosen, each[:, None], none), axis=-1) for each, none in zip(found, nothing, strict=True)))


def strongest(
    network: Network,
    variables: dict,
    feed: stream.Feed,
    taps: Sequence[str],
    k: int = 9,
    devices: Sequence[jax.Device] | None = None,
    steps: Sequence[int] | None = None,
) -> dict[str, Top]:
    """{tap: Top} of the centre view of a feed's examples: one pass that runs no layer above the highest tap.

    variables: {'params': ..., 'preprocessing': {'mean', 'scale'}}; feed: of stream.evaluation_feed; steps: those of the feed that are
    looked at (default: all). Several processes take some steps each and merge what they give. Raises ArchitectureError for an unknown tap.
    """
    return list(_passed(network, variables, feed, taps, k, devices, range(feed.steps) if steps is None else steps))[-1]


def kept(
    path: pathlib.Path,
    source: str,
    network: Network,
    variables: dict,
    feed: stream.Feed,
    taps: Sequence[str],
    k: int = 9,
    every: int = 20,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Top]:
    """`strongest` of all steps, kept in the file `path` (.npz) every so many steps, from where a later call goes on.

    source: what the result follows from beside taps and k, as features.fingerprint tells it; a file of another, or a damaged one, is begun
    anew. Raises Stopped after the next time of keeping once `stop` says so, and WriteError where the file cannot be written.
    """
    source = f'{source} {",".join(taps)} {k} {feed.steps}'
    done, state = _read(path, source, taps)
    stretches = _passed(network, variables, feed, taps, k, None, range(done, feed.steps), state, every) if done < feed.steps else ()
    for state in stretches:
        done = min(done + every, feed.steps)
        arrays = {f'{tap} {name}': array for tap, top in state.items() for name, array in top._asdict().items()}
        files.write(path, lambda file, arrays=arrays, done=done: np.savez(file, source=source, done=done, **arrays))
        if done < feed.steps and stop():
            raise train.Stopped
    return state


def _read(path, source, taps):
    """(steps done, {tap: Top}) of a file, (0, None) where there is none of this source."""
    try:
        # Opened here, because numpy leaves a damaged file open.
        with open(path, 'rb') as file, np.load(file, allow_pickle=False) as arrays:
            if arrays['source'] == source:
                return int(arrays['done']), {tap: Top(*(arrays[f'{tap} {name}'] for name in Top._fields)) for tap in taps}
    except Exception:  # there is none, or one that is damaged: a byte can lead numpy and zipfile to any error
        pass
    return 0, None


def _passed(network, variables, feed, taps, k, devices, steps, begun=None, every=None):
    """{tap: Top} of the steps so far, beside those of `begun`: every so many steps, and at the end."""
    check_taps(network.architecture, taps)
    devices = devices or parallel.local_devices()
    run = _compiled(network, tuple(taps), tuple(devices))
    placed = parallel.replicated((variables, feed.store), devices)
    begun = begun or {tap: _nothing(network.architecture.row(tap).output[-1], k) for tap in taps}
    states = evaluate.folded(lambda state, batch: run(state, placed, batch)[0], parallel.replicated(begun, devices), feed, steps)
    for count, state in enumerate(states, 1):
        if count == len(steps) or every and count % every == 0:
            yield jax.tree.map(np.array, state)


def _nothing(units, k):
    return Top(np.full((units, k), -np.inf, np.float32), *(np.full((units, k), -1, np.int32) for _ in range(3)))


@functools.lru_cache(maxsize=8)
def _compiled(network, taps, devices):
    return parallel.spread_step(_step(network, taps), devices)


def _step(network, taps):
    shape = network.architecture.input_shape

    def step(state, placed, batch):
        variables, store = placed
        images, _, examples = stream.fetch(store, batch)
        seen = augment.prepare(images, variables['preprocessing'], shape)
        found = network.apply({'params': variables['params']}, seen, taps, method='features')
        here = {tap: _of_batch(found[tap], examples, batch['mask'], state[tap].values.shape[1]) for tap in taps}
        state = {tap: merge(state[tap], *parallel.all_gathered(here[tap])) for tap in taps}
        return state, parallel.all_sum(jnp.sum(batch['mask']))

    return step


def _of_batch(activations, examples, counted, k):
    """The Top of activations (B, h, w, units) or (B, units)."""
    count, *sides, units = activations.shape
    maps = activations.reshape(count, -1, units)
    fours = _fours(maps)
    peaks = fours.max(axis=1).astype(jnp.float32)
    peaks = jnp.where(counted[:, None] & ~jnp.isnan(peaks), peaks, -jnp.inf)
    peaks = jnp.where(peaks == 0, 0, peaks)  # top_k takes -0 for less than 0
    values, winners = lax.top_k(peaks.T, min(k, count))
    # Only the winners' maps are searched for the position, by comparisons, which are four times as fast on CPU as argmax: first the four
    # positions, then the one of them.
    last, number = maps.shape[1] - 1, jnp.arange(units)[:, None, None]
    places = jnp.arange(fours.shape[1], dtype=jnp.int32)
    found = jnp.min(jnp.where(fours[winners[..., None], places, number] == values[..., None], places, len(places) - 1), axis=-1)
    places = jnp.minimum(4 * found[..., None] + jnp.arange(4, dtype=jnp.int32), last)
    position = jnp.min(jnp.where(maps[winners[..., None], places, number] == values[..., None], places, last), axis=-1)
    width = sides[1] if sides else 1
    found = examples[winners].astype(jnp.int32), position // width, position % width
    return Top(values, *(jnp.where(values > -jnp.inf, place, -1) for place in found))


def _fours(maps):
    """The larger of every four positions that follow each other: maps (B, positions, units) -> (B, ceil(positions / 4), units).

    XLA's CPU compiler does not vectorise a maximum over positions that it fuses with the bias and nonlinearity below (8 ms for 100 images
    of zfnet_32, whose forward pass takes 15), so these are compared first, element by element, and computed once.
    """
    size = maps.shape[1]
    if size == 1:
        return maps
    count = -(-size // 4)
    parts = (maps[:, start::4] for start in range(min(4, size)))
    filled = (jnp.pad(part, ((0, 0), (0, count - part.shape[1]), (0, 0)), constant_values=-jnp.inf) for part in parts)
    return pooling.materialised(functools.reduce(jnp.maximum, filled))


def default_taps(architecture: Architecture) -> list[str]:
    """The tap after the nonlinearity of every layer that has maps."""
    rows = [row for row in architecture.rows if len(row.output) == 3]
    roles = {f'layer{layer.number}.{name}': stage.role for layer in architecture.layers for name, stage in layer.named_stages()}
    return [tap for row in rows if roles[tap := f'layer{row.layer}.{row.stage}'] == 'nonlinearity']


class Patches(NamedTuple):
    """windows (N, side, side, C), of the images' dtype; inside (N, side, side) bool, False where a unit's window leaves the image.

    side is that of the receptive field, or of the image where that is smaller. Outside, the windows are 0.
    """

    windows: np.ndarray
    inside: np.ndarray


def patches(images: np.ndarray, architecture: Architecture, tap: str, rows, columns) -> Patches:
    """What units of a tap see of images (N, H, W, C) of the network's input size, each at its own row and column (N,).

    The exact windows, clipped at the borders of the image; projections are cut alike, so that patch and projection show the same pixels.
    A unit at row -1 (there was no example) gives a window that is outside everywhere. Raises ArchitectureError for an unknown tap.
    """
    images = np.asarray(images)
    row = architecture.row(tap)
    sizes = architecture.input_shape[:2]
    height, width = (min(row.receptive_field or size, size) for size in sizes)
    windows = np.zeros((len(images), height, width, images.shape[3]), images.dtype)
    inside = np.zeros(windows.shape[:3], bool)
    for number, place in enumerate(zip(rows, columns, strict=True)):
        if min(place) < 0:
            continue
        top, left, bottom, right = architecture.window(tap, *map(int, place))
        down, across = (_origin(row, at, side, size) for at, side, size in zip(place, (height, width), sizes, strict=True))
        cut = number, slice(top - down, bottom - down), slice(left - across, right - across)
        windows[cut], inside[cut] = images[number, top:bottom, left:right], True
    return Patches(windows, inside)


def _origin(row, place, side, size):
    """The pixel, maybe outside, at which the drawn window begins: the receptive field, or as much of it as meets the image."""
    if not row.receptive_field:
        return 0
    start = row.start + int(place) * row.effective_stride
    return sorted((0, start, start + row.receptive_field - side))[1]
