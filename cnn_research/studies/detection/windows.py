"""Windows of an image as a network reads them, and what it makes of them, computed once and kept on disk.

R-CNN warps a window to the network's input whatever its form, with some context around it, and puts the mean where the window leaves the
image (Girshick et al. 2014, section 2.1 and appendix A).
"""

import functools
import hashlib
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import config as configs
from cnn_research import features, files, memory, parallel, records, tasks
from cnn_research.data import augment, preprocessing
from cnn_research.data.scene import Scenes
from cnn_research.errors import ConfigError, SourceError, Stopped, nearest
from cnn_research.models.network import check_taps
from cnn_research.trained import Trained

WAYS = {
    'warp': 'height and width are each brought to the size that the network reads',
    'isotropic': 'the tightest square around the window is, so that nothing is deformed',
}
_BATCH = 128  # windows at once
_CANVAS = 256  # px; images are filled up to multiples of it, so that few sizes are compiled
_TOP = 15  # the largest feature of a file is below 2 to this power in float16, which ends just below 2^16


class How(NamedTuple):
    """How windows are cut and what is kept of them.

    context: px of image around a window, at the size that the network reads. way: one of WAYS. side: maps larger than side x side are
    averaged to it (0 = as they are).
    """

    context: int = 16
    way: str = 'warp'
    side: int = 0


RCNN = How()


def check(how: How, size: tuple[int, int]) -> None:
    """ConfigError for a way that does not exist, or a context that leaves nothing of windows of `size` (h, w) px."""
    if how.way not in WAYS:
        raise ConfigError(f'way={how.way!r} is no way to cut windows; choose from {", ".join(WAYS)}.{nearest(how.way, WAYS)}')
    most, least = (min(size) - 1) // 2, min(size)
    if not 0 <= how.context <= most:
        share = f"R-CNN's share, 16 of 227 px, is {round(16 * least / 227)}"
        raise ConfigError(f'context={how.context} does not fit windows of {least} px; it may be 0 to {most} ({share}).')
    if how.side < 0:
        raise ConfigError(f'side={how.side} is below 0; 0 takes maps as they are.')


def _line(low, high, count: int, extent):
    """What `count` pixels between the edges low and high (B,) read of a line of `extent` pixels: the first of two neighbours, the second,
    its weight, and whether their middle lies on the line; all (B, count)."""
    place = low[:, None] + (jnp.arange(count) + 0.5) * ((high - low) / count)[:, None] - 0.5
    inside = (place >= -0.5) & (place <= extent - 0.5)
    place = jnp.clip(place, 0, extent - 1)
    first = jnp.floor(place)
    return first.astype(jnp.int32), jnp.minimum(first + 1, extent - 1).astype(jnp.int32), place - first, inside


def warped(image, boxes, side: int | tuple[int, int], context: int = 16, way: str = 'warp', *, fill, extent=None) -> jax.Array:
    """Windows of an image (H, W, C) as a network reads them: float32 (B, side, side, C); may be compiled, side, context and way fixed.

    boxes: (B, 4), ymin, xmin, ymax, xmax in px, edges; each is enlarged by side / (side - 2 context) about its middle, so that it has
    `context` px of image on every side once it is warped. side: or (h, w). way: one of WAYS. fill: what stands outside of the image, (C,)
    or (side, side, C); it brings a grey image to its channels. extent: (height, width) of an image that was filled up below and to the
    right. A box without height or width becomes a window of NaN. SourceError for arrays of other shapes.

    Bilinear, without antialiasing, as R-CNN's imresize and Caffe's cv::resize; what lies between the outermost pixels' middles and the
    image's edge is the outermost pixel. Their windows are rounded to whole pixels, and are a pixel larger; these are not.
    """
    height, width = (side, side) if isinstance(side, int) else side
    check(How(context, way), (height, width))
    image, boxes, extent = jnp.asarray(image), jnp.asarray(boxes, jnp.float32), extent if extent is not None else image.shape[:2]
    if image.ndim != 3 or boxes.ndim != 2 or boxes.shape[1] != 4:
        raise SourceError(f'windows are cut out of an image (H, W, C) by boxes (B, 4), not out of {image.shape} by {boxes.shape}.')
    middles, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    good = (sizes > 0).all(axis=1)
    sizes = jnp.where(good[:, None], sizes, jnp.nan)  # which lies nowhere inside
    inner = np.array([height, width], np.float32) - 2 * context
    if way == 'isotropic':
        sizes = jnp.max(sizes / inner, axis=1, keepdims=True) * inner
    halves = sizes * (np.array([height, width], np.float32) / inner) / 2
    low, high = middles - halves, middles + halves
    rows, columns = (_line(low[:, axis], high[:, axis], count, extent[axis]) for axis, count in enumerate((height, width)))

    def one(rows, columns, good):
        (top, bottom, down, within), (left, right, across, between) = rows, columns
        down, across, around = down[:, None, None], across[None, :, None], jnp.where(good, jnp.asarray(fill, jnp.float32), jnp.nan)
        upper, lower = (
            (1 - across) * image[row[:, None], left].astype(jnp.float32) + across * image[row[:, None], right].astype(jnp.float32)
            for row in (top, bottom)
        )
        return jnp.where((within[:, None] & between)[..., None], (1 - down) * upper + down * lower, around)

    return jax.vmap(one)(rows, columns, good)


# ---- the windows of a trained network


def window_size(trained: Trained) -> tuple[int, int]:
    """(h, w) to which windows are warped: what the network reads, or the size of its images where it learned from smaller ones.

    ConfigError for a network that learned to see whole images under a data.preprocessing.
    """
    preprocessing.refuse(trained.config.data.preprocessing, 'detection')
    own, resize = trained.architecture.input_shape[:2], trained.config.data.resize
    learned = (resize, resize) if resize else (trained.image_shape or own)[:2]
    return tuple(map(min, own, learned))


def fill_of(trained: Trained) -> np.ndarray:
    """What the network's preprocessing makes 0 of: the mean (C,), or what `augment.prepare` takes of a mean image, (h, w, C)."""
    mean, size = np.asarray(trained.variables['preprocessing']['mean'], np.float32), window_size(trained)
    if mean.ndim < 3:
        return mean
    top, left = ((have - want) // 2 for have, want in zip(mean.shape, size, strict=False))
    if min(top, left) < 0:
        raise ConfigError(f'the mean image is {mean.shape[0]} x {mean.shape[1]} px, smaller than windows of {size[0]} x {size[1]} px.')
    return mean[top : top + size[0], left : left + size[1]]


def check_channels(trained: Trained, scenes: Scenes, image: np.ndarray) -> None:
    """SourceError for an image that has other channels than the network reads, and is not grey."""
    channels = trained.architecture.input_shape[2]
    if image.shape[-1] not in (1, channels):
        has = f'{scenes.name} ({scenes.split}) has images of {image.shape[-1]} channels'
        raise SourceError(f'{has}, but {trained.architecture.name} reads {channels}; choose another network.')


def canvas(image: np.ndarray) -> np.ndarray:
    """The image, filled up below and to the right to multiples of 256 px."""
    return np.pad(image, [(0, -side % _CANVAS) for side in image.shape[:2]] + [(0, 0)])


def cutter(trained: Trained, how: How) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """cut(image uint8 (H, W, c), boxes (n, 4)) -> float32 (n, h, w, C): windows before the network's preprocessing, one after the other."""
    size, fill, channels = window_size(trained), fill_of(trained), trained.architecture.input_shape[2]
    check(how, size)
    run = _cut(size, how)

    def cut(image, boxes):
        whole, extent = jnp.asarray(canvas(image)), np.array(image.shape[:2], np.float32)
        found = np.empty((len(boxes), *size, channels), np.float32)
        for place, box in enumerate(np.asarray(boxes, np.float32)):
            found[place] = run(whole, box[None], fill, extent)[0]
        return found

    return cut


@functools.lru_cache(maxsize=8)
def _cut(size, how):
    return jax.jit(lambda image, boxes, fill, extent: warped(image, boxes, size, how.context, how.way, fill=fill, extent=extent))


def looker(trained: Trained, taps: Sequence[str], how: How, batch: int = _BATCH, devices: Sequence | None = None) -> Callable:
    """look(image uint8 (H, W, C), boxes (n, 4)) -> {tap: float32 (n, D)} of all windows of an image, `batch` at once at most."""
    devices, size, net = devices or parallel.local_devices(), window_size(trained), trained.architecture
    check(how, size)
    check_taps(net, taps)
    run = _compiled(tasks.network(trained.config), tuple(taps), how, size, tuple(devices))
    variables, fill = parallel.replicated(dict(trained.variables), devices), fill_of(trained)
    batch = memory.batch(net, batch)

    def look(image, boxes):
        image_placed = {'image': canvas(image), 'extent': np.array(image.shape[:2], np.float32), 'fill': fill}
        placed, boxes = parallel.replicated(image_placed, devices), np.asarray(boxes, np.float32)
        found = {tap: np.empty((len(boxes), dimension(net, tap, how.side)), np.float32) for tap in taps}
        for start in range(0, len(boxes), batch):
            some = boxes[start : start + batch]
            some = np.concatenate([some, np.repeat(some[:1], batch - len(some), axis=0)])
            for tap, part in run(variables, placed, {'boxes': some}).items():
                found[tap][start : start + batch] = part[: len(boxes) - start]
        return found

    return look


@functools.lru_cache(maxsize=8)
def _compiled(network, taps, how, size, devices):
    def forward(variables, placed, batch):
        shape = network.architecture.input_shape
        views = warped(placed['image'], batch['boxes'], size, how.context, how.way, fill=placed['fill'], extent=placed['extent'])
        views = augment.prepare(views, variables['preprocessing'], shape)
        kept = network.apply({'params': variables['params']}, views, taps=taps, method='features')
        maps = {tap: features.averaged(a, how.side) if a.ndim == 4 and how.side else a for tap, a in kept.items()}
        return {tap: array.reshape(len(array), -1).astype(jnp.float32) for tap, array in maps.items()}

    return parallel.spread_map(forward, devices)


def dimension(net, tap: str, side: int) -> int:
    """D of a tap, whose maps are averaged to side x side where they are larger (0 = as they are)."""
    *maps, channels = net.row(tap).output
    return math.prod(min(length, side or length) for length in maps) * channels


# ---- kept on disk


@dataclass(frozen=True)
class Mapped:
    """Features (n, D) of one image, on the disk: what is asked for by rows[...], or by numpy.asarray(rows), is read, as float32."""

    path: pathlib.Path
    exponent: int

    def _half(self) -> np.ndarray:
        return np.load(self.path, mmap_mode='r')  # anew each time: a file that stays mapped stays open, and there are many

    @property
    def shape(self) -> tuple[int, int]:
        return self._half().shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> np.ndarray:
        return np.ldexp(self._half()[rows].astype(np.float32), self.exponent)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or np.float32, copy=False)


@dataclass(frozen=True)
class Rows(Sequence):
    """`Mapped` features of the windows of every image of a set; nothing of them stays in memory."""

    images: tuple[Mapped, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> Mapped:
        return self.images[place]

    def chosen(self, places: Sequence[int]) -> 'Rows':
        """Those of some images, in that order."""
        return Rows(tuple(self.images[place] for place in places))


def kept(folder: pathlib.Path, count: int, make: Callable[[int], np.ndarray]) -> Rows:
    """Features (n_i, D) of `count` images as `gathered` keeps those of networks: make(place) where none are whole."""
    images = []
    for place in range(count):
        path = folder / f'{place:06d}.npy'
        exponent = _exponent(path)
        images.append(Mapped(path, _write(path, make(place)) if exponent is None else exponent))
    return Rows(tuple(images))


def rows_of(scenes: Scenes, proposals: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Boxes (P_i + M_i, 4) of the windows of every image: its proposals, then its ground truth.

    SourceError unless there are proposals for every image, finite, of some height and width, and with a part in their image.
    """
    if not scenes.num_examples:
        raise SourceError(f'{scenes.name} ({scenes.split}) has no images.')
    if len(proposals) != scenes.num_examples:
        raise SourceError(f'there are proposals of {len(proposals)} images, but {scenes.name} ({scenes.split}) has {scenes.num_examples}.')
    found = []
    for scene, size, proposed in zip(scenes.truths(), scenes.sizes, proposals, strict=True):
        for what, boxes in (('proposals', proposed), ('boxes', scene.boxes)):
            boxes = np.asarray(boxes)
            if boxes.ndim != 2 or boxes.shape[1] != 4:
                raise SourceError(f'the {what} of {scene.name} are an array of {boxes.shape}, not (n, 4): ymin, xmin, ymax, xmax.')
            bad = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
            if bad.any():
                raise SourceError(f'the {what} of {scene.name} hold {_said(boxes[bad][0])}, which has no height or no width.')
            outside = ((boxes[:, :2] >= size) | (boxes[:, 2:] <= 0)).any(axis=1)
            if outside.any():
                where = f'which lies outside of its {size[0]} x {size[1]} px (height x width)'
                raise SourceError(f'the {what} of {scene.name} hold {_said(boxes[outside][0])}, {where}.')
        found.append(np.concatenate([np.asarray(proposed, np.float64), np.asarray(scene.boxes, np.float64)]))
    return found


def _said(box) -> str:
    return f'({", ".join(f"{edge:g}" for edge in box)})'


def gathered(
    folder,
    trained: Trained,
    taps: Sequence[str],
    scenes: Scenes,
    proposals: Sequence[np.ndarray],
    how: How = RCNN,
    stop: Callable[[], bool] = lambda: False,
    devices: Sequence | None = None,
    log: Callable[[str], None] | None = None,
) -> Mapping[str, Rows]:
    """{tap: features of the windows of every image, in the order of `rows_of`}, computed once and kept in the folder.

    One file an image and tap, whose name says what it is of; it is written whole or not at all, held against its SHA-256, and made again
    where it is not what was written. Numbers are kept as float16 times a power of two of the file's own: each is within a 2,048th part of
    itself, or within 2^-39 of the largest. stop: asked before every image; Stopped is raised where it says True, and the same call goes on
    from there. log: is given a line at each tenth, where something was made. Memory does not grow with the number of images.
    Raises ArchitectureError, ConfigError or SourceError before any work for what cannot be looked at, WriteError where a file cannot be
    written.
    """
    boxes, size = rows_of(scenes, proposals), window_size(trained)
    check(how, size)
    check_taps(trained.architecture, taps)
    check_channels(trained, scenes, scenes.read([0])[0].image)
    pictures = replace(scenes, fingerprint=scenes.pictures)  # the boxes are in the files' names
    network = features.fingerprint(tasks.network(trained.config), trained.variables, pictures, how.side, 0)
    home = pathlib.Path(folder) / records.digest([configs.NUMERICS, network, how.context, how.way, size])[:24]
    most = max(map(len, boxes))
    batch = -(-most // max(1, -(-most // _BATCH)))  # so that the last of an image is nearly full
    found: dict[str, list[Mapped]] = {tap: [] for tap in taps}
    made, lookers = False, functools.cache(lambda missing: looker(trained, missing, how, batch, devices))
    for place, some in enumerate(boxes):
        name = f'{place:06d}_{hashlib.sha256(some.tobytes()).hexdigest()[:12]}.npy'
        here = {tap: home / tap / name for tap in taps}
        there = {tap: _exponent(path) for tap, path in here.items()}
        missing = tuple(tap for tap, exponent in there.items() if exponent is None)
        if missing:
            made = True
            if stop():
                raise Stopped()
            scene = scenes.read([place])[0]
            check_channels(trained, scenes, scene.image)
            for tap, array in lookers(missing)(scene.image, some).items():
                if not np.isfinite(array).all():
                    raise SourceError(f'{tap} of {trained.architecture.name} is not finite for a window of {scene.name}.')
                there[tap] = _write(here[tap], array)
        for tap in taps:
            found[tap].append(Mapped(here[tap], there[tap]))
        if log and made and (place + 1) * 10 // len(boxes) > place * 10 // len(boxes):
            log(f'{scenes.name} ({scenes.split}): windows of {place + 1} of {len(boxes)} images')
    return {tap: Rows(tuple(images)) for tap, images in found.items()}


def _write(path: pathlib.Path, array: np.ndarray) -> int:
    """Keeps an array, and gives the exponent that its numbers were divided by two to the power of."""
    exponent = int(np.frexp(np.abs(array).max(initial=0.0))[1]) - _TOP
    files.write(path, functools.partial(np.save, arr=np.ldexp(array, -exponent).astype(np.float16)))
    files.write(path.with_suffix('.sha256'), f'{exponent} {_digest(path, exponent)}')
    return exponent


def _exponent(path: pathlib.Path) -> int | None:
    """The exponent of a file that is what was written; None for another."""
    try:
        exponent, digest = path.with_suffix('.sha256').read_bytes().decode('ascii').split(' ')
        return int(exponent) if digest == _digest(path, int(exponent)) else None
    except (OSError, ValueError):
        return None


def _digest(path: pathlib.Path, exponent: int) -> str:
    with open(path, 'rb') as file:
        digest = hashlib.file_digest(file, 'sha256')
    digest.update(str(exponent).encode())
    return digest.hexdigest()
