"""Occlusion (Zeiler and Fergus 2013, section 4.2, Fig. 7): what a network says while a square hides one part of an image after the other.

The paper gives neither the size nor the stride of its square, but its maps are as large as its images. So here the square's middle visits
a regular grid over all of the image, and what overhangs the border is cut off: a value of a map belongs to the pixel under the middle, and
no part of the image has more places of the square near it than another.

Boxes are top, left, height, width in pixels of the network's input.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import parallel
from cnn_research.data import augment
from cnn_research.errors import ConfigError
from cnn_research.models.network import Network, check_taps
from cnn_research.studies.looking import windows

GREY = 127.5  # half of the largest grey level
# Occluded images at once. More of them make up for what a call costs, until their maps leave the caches: of zfnet_32, 256 take 0.113 ms
# each, 64 take 0.127 and 512 take 0.140 (two CPU cores); zfnet_128 is fastest at 64.
BATCH, SMALL_BATCH, SMALL = 64, 256, 64 * 64  # the second for images of at most so many px


class Square(NamedTuple):
    """What is slid over an image: side and stride in pixels, colour in grey levels (one, or one for each channel)."""

    size: int
    stride: int = 1
    colour: float | tuple[float, ...] = GREY


class Said(NamedTuple):
    """What a network says. activation: of one map (or unit of a dense layer), summed over its positions; probability: of the true class;
    predicted: the most probable class. All of one shape."""

    activation: np.ndarray
    probability: np.ndarray
    predicted: np.ndarray


class Occlusion(NamedTuple):
    """N images under R x K places of a square. number (N,): the map that is strongest, by its sum, on the clean image.

    rows (R,), columns (K,): pixels that lie under the square's middle; clean: (N,) each, without the square; under: (N, R, K) each.
    """

    rows: np.ndarray
    columns: np.ndarray
    number: np.ndarray
    clean: Said
    under: Said


def occlude(network: Network, variables: dict, images, labels, tap: str, square: Square, batch_size: int = 0) -> Occlusion:
    """Slides the square over images (N, H, W, C) with labels (N,), and keeps what all maps of the figure need from each forward pass.

    variables: {'params', 'preprocessing'} as `checkpoints.load` returns them. The square hides raw pixels, before the mean is taken away,
    of the centre view that the network sees; without 'preprocessing', images and colour are in the network's own units. Occluded images
    exist on the device only, batch_size at a time (0 = by their size). Raises ArchitectureError where the tap is none, ConfigError for a
    square that is none or larger than the image, and for a colour that is none.
    """
    net = network.architecture
    check_taps(net, (tap,))
    check_square(square, net.input_shape)
    check_colour(square.colour, variables, net.input_shape)
    rows, columns = (_middles(side, square.stride) for side in net.input_shape[:2])
    tops, lefts = (grid.ravel() - square.size // 2 for grid in np.meshgrid(rows, columns, indexing='ij'))
    boxes = jnp.asarray(np.stack([tops, lefts, *np.full((2, len(tops)), square.size)], axis=1))

    images, labels = np.asarray(images), np.asarray(labels)
    most = batch_size or (SMALL_BATCH if net.input_shape[0] * net.input_shape[1] <= SMALL else BATCH)
    batch_size = min(most, len(images) * len(boxes))
    clean, under = _compiled(network, tap, square.size)
    parts = []
    # Images in groups and pairs of image and place in batches of one size, the last ones filled up: one program, never a shape of its own.
    group = min(len(images), batch_size)
    for start in range(0, len(images), group):
        count = min(group, len(images) - start)
        members = np.minimum(np.arange(start, start + group), len(images) - 1)
        seen, painted = prepared(images[members], variables, net.input_shape, square.colour)
        number, without, below = clean(variables['params'], seen, jnp.asarray(labels[members]))
        pairs = np.minimum(np.arange(-(-count * len(boxes) // batch_size) * batch_size), count * len(boxes) - 1)
        # Calls, not a scan over batches: inside a loop XLA CPU runs convolutions on fewer threads (64 occluded clutter images: 2.6 instead
        # of 4.8 ms). They are queued without waiting, so that a device always has work.
        batches = [
            under(variables['params'], seen, painted, below, jnp.asarray(labels[members]), number, boxes, pair)
            for pair in pairs.reshape(-1, batch_size)
        ]
        maps = [np.concatenate(part)[: count * len(boxes)] for part in zip(*batches, strict=True)]
        parts.append((np.asarray(number)[:count], *(np.asarray(a)[:count] for a in without), *maps))
    number, *rest = (np.concatenate(part) for part in zip(*parts, strict=True))
    maps = (part.reshape(-1, len(rows), len(columns)) for part in rest[3:])
    return Occlusion(rows, columns, number, Said(*rest[:3]), Said(*maps))


def places(square: Square, shape: tuple[int, ...]) -> int:
    """How many places a square has in an image of `shape` (H, W, C): forward passes for each image."""
    return math.prod(len(_middles(side, square.stride)) for side in shape[:2])


def check_square(square: Square, shape: tuple[int, ...]) -> None:
    """ConfigError for a square that cannot be slid over images of `shape` (H, W, C): none, or one larger than they are."""
    side = max(shape[:2])
    for name, value in (('size', square.size), ('stride', square.stride)):
        if not 1 <= value <= side:
            raise ConfigError(f'the {name} of the square is {value} px, not from 1 to {side}: the network sees {shape[0]}x{shape[1]}.')


def check_colour(colour: float | Sequence[float], variables: dict, shape: tuple[int, ...]) -> None:
    """ConfigError for what is no grey level, or not one for each channel of `shape` (H, W, C).

    Where the variables have no preprocessing, images are in the network's own units, and any finite number is a colour.
    """
    levels = np.ravel(colour)
    low, high = (0, 255) if 'preprocessing' in variables else (-np.finfo(np.float32).max, np.finfo(np.float32).max)
    if len(levels) not in (1, shape[2]) or not ((levels >= low) & (levels <= high)).all():
        raise ConfigError(f'a colour is one grey level from 0 to 255, or one for each of {shape[2]} channels, not {colour}.')


def _middles(side: int, stride: int) -> np.ndarray:
    """Pixels `stride` apart, centred on a line of `side` pixels: (ceil(side / stride),)."""
    count = -(-side // stride)
    return (side - 1 - (count - 1) * stride) // 2 + stride * np.arange(count)


def covered(boxes, shape: tuple[int, ...]) -> jax.Array:
    """bool (..., H, W, 1), true under the boxes (..., 4), which may overhang an image of `shape` (H, W, C)."""
    top, left, height, width = jnp.moveaxis(jnp.asarray(boxes), -1, 0)[..., None]
    down, across = jnp.arange(shape[0]), jnp.arange(shape[1])
    rows, columns = (down >= top) & (down < top + height), (across >= left) & (across < left + width)
    return (rows[..., :, None] & columns[..., None, :])[..., None]


def prepared(images, variables: dict, shape: tuple[int, int, int], colour: float | Sequence[float]) -> tuple[jax.Array, jax.Array]:
    """What the network sees of images (N, H, W, C), and of an image that is all in one colour: (N, h, w, c) and (1, h, w, c).

    Taking pixels of the second for those of the first is the same as painting the raw image before the mean is taken away, and costs no
    preparation of its own.
    """
    images, preprocessing = jnp.asarray(images), variables.get('preprocessing', augment.AS_IT_IS)
    painted = jnp.broadcast_to(jnp.asarray(colour, jnp.float32), (1, *images.shape[1:3], np.size(colour)))
    return augment.prepare(images, preprocessing, shape), augment.prepare(painted, preprocessing, shape)


@functools.lru_cache(maxsize=8)
def _compiled(network, tap, size):
    """The network on clean images, choosing their maps and keeping what a square leaves of them, and under boxes of size x size px.

    Only what a square can reach of the lowest layers is computed anew: where its side is a quarter of the image's, a place takes zfnet_32
    0.12 instead of 0.16 ms, zfnet_128 0.67 instead of 1.77 and alexnet_owt 7.0 instead of 9.4 (two CPU cores).
    """
    compiled = functools.partial(jax.jit, compiler_options=parallel.compiler_options())
    lowest = windows.windows(network.architecture, size, below=int(tap.split('.')[0].removeprefix('layer')))
    top, kept = windows.upper(network, lowest), tuple(window.tap for window in lowest)

    def said(found, labels, choose):
        logits, taps = found
        sums = taps[tap].astype(jnp.float32).reshape(len(labels), -1, taps[tap].shape[-1]).sum(1)
        number = choose(sums)
        at = functools.partial(jnp.take_along_axis, axis=1)
        own = at(jax.nn.softmax(logits), labels[:, None])[:, 0]
        return number, Said(at(sums, number[:, None])[:, 0], own, jnp.argmax(logits, axis=1))

    @compiled
    def clean(params, seen, labels):
        found = network.apply({'params': params}, seen, taps=(tap, *kept))
        return *said(found, labels, lambda sums: jnp.argmax(sums, axis=1)), [found[1][name] for name in kept]

    @compiled
    def under(params, seen, painted, below, labels, number, boxes, pairs):
        image, place = jnp.divmod(pairs, len(boxes))
        hidden = jnp.where(covered(boxes[place], seen.shape[1:]), painted, seen[image])
        maps = windows.recomputed(network, lowest, params, hidden, boxes[place, :2], below, image)
        return said(top.apply({'params': params}, maps, taps=(tap,)), labels[image], lambda _: number[image])[1]

    return clean, under


class Confinement(NamedTuple):
    """How far the drop of the true class's probability is confined to a box.

    share (N,): of the drops of all places, the part where the square's middle lies in the box; NaN where no place lets the probability
    drop. chance (N,): the share of places in the box, what a drop that knows nothing of the box would give. A square that hides the
    box's rim from outside counts as outside.
    """

    share: np.ndarray
    chance: np.ndarray

    def means(self) -> tuple[float, float]:
        """Mean share and chance over the images with a drop; NaN where there is none."""
        known = np.isfinite(self.share)
        return (float(self.share[known].mean()), float(self.chance[known].mean())) if known.any() else (np.nan, np.nan)


def confinement(occlusion: Occlusion, boxes: np.ndarray) -> Confinement:
    """The Confinement of each image's drops to its box, boxes (N, 4). Places where the probability rises count as no drop."""
    top, left, height, width = np.asarray(boxes).T[:, :, None]
    rows, columns = occlusion.rows, occlusion.columns
    inside = ((rows >= top) & (rows < top + height))[:, :, None] & ((columns >= left) & (columns < left + width))[:, None, :]
    drop = np.maximum(0, occlusion.clean.probability[:, None, None].astype(np.float64) - occlusion.under.probability)
    whole = drop.sum((1, 2))
    share = np.divide((drop * inside).sum((1, 2)), whole, out=np.full(len(drop), np.nan), where=whole > 0)
    return Confinement(share, inside.mean((1, 2)))
