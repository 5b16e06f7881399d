"""What a scene is: a picture with boxes of the objects in it; scenes of one split together, parts of their classes, and what a box must be.

Boxes are float64 (M, 4) arrays of ymin, xmin, ymax, xmax everywhere: continuous edges in px, all of an H x W picture being 0, 0, H, W.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cnn_research.data.images import plain
from cnn_research.data.source import sha256
from cnn_research.errors import SourceError, nearest

SLACK = 1.0  # px that a box may reach over the border of its picture: sets in VOC's form often count a corner from 0, or one too far
_EXACT = 0.01  # px; nearer than that to a whole number or a border is what float32 makes of it
_NAMED = 5  # classes that a note names before it says "..."


class Scene(NamedTuple):
    """One picture: its name in the set, uint8 (H, W, C) or None where it was not asked for, boxes (M, 4), int32 (M,) and bool (M,).

    difficult: objects that are in the picture but are neither missed nor found wrongly, as VOC has it.
    """

    name: str
    image: np.ndarray | None
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray


@dataclass(frozen=True, eq=False)
class Scenes:
    """Scenes of one split.

    fingerprint is a hex SHA-256 of what identifies pictures, boxes and classes, wherever they lie; `pictures` of the pictures and their
    order alone, whatever classes are asked for. sizes: int64 (N, 2), height and width of every picture. objects: the scenes without images.
    pixels(indices) gives a list of uint8 (H, W, C) arrays, C = 1 where all are grey; it can be pickled. notes: what was skipped, chosen or
    assumed in opening them, one readable line each.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    fingerprint: str
    pictures: str
    sizes: np.ndarray
    objects: tuple[Scene, ...]
    pixels: Callable[[Sequence[int]], list[np.ndarray]]
    notes: tuple[str, ...] = ()

    @property
    def num_examples(self) -> int:
        return len(self.objects)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def truths(self) -> list[Scene]:
        """All scenes with None for the image; no picture is decoded."""
        return list(self.objects)

    def read(self, indices: Sequence[int]) -> list[Scene]:
        """Scenes by number, with their pictures. Raises SourceError for a damaged one, by name."""
        indices = np.asarray(indices, np.int64).reshape(-1)
        return [self.objects[index]._replace(image=image) for index, image in zip(indices, self.pixels(indices), strict=True)]


def made(name, split, class_names, pictures, sizes, objects, pixels, notes=()) -> Scenes:
    """Scenes of what was opened, their fingerprint computed; SourceError where no picture has a box. pictures: as in `Scenes`."""
    if not any(len(scene.labels) for scene in objects):
        raise SourceError(f'{name}: none of the {len(objects)} pictures of {split!r} has a box.')
    bare = [scene.name for scene in objects if not len(scene.labels)]
    notes += (f'{split}: {len(bare)} of {len(objects)} pictures have no box ({_listed(bare)}).',) if bare else ()
    there = set(np.concatenate([scene.labels for scene in objects]).tolist())
    missing = [label for number, label in enumerate(class_names) if number not in there]
    notes += (f'{split}: no box of {len(missing)} of the {len(class_names)} classes ({_listed(missing)}).',) if missing else ()
    digest = sha256(
        json.dumps([*map(str, class_names)]).encode(),
        pictures.encode(),
        *(
            sha256(
                scene.name.encode('utf-8', 'surrogateescape'),
                scene.boxes.astype('<f8').tobytes(),
                scene.labels.astype('<i4').tobytes(),
                scene.difficult.tobytes(),
            ).encode()
            for scene in objects
        ),
    )
    sizes = np.asarray(sizes, np.int64).reshape(-1, 2)
    return Scenes(name, split, tuple(class_names), digest, pictures, sizes, tuple(objects), pixels, notes)


def boxed(corners: np.ndarray, inclusive: bool, size: tuple[int, int], where: str) -> tuple[np.ndarray, int]:
    """Boxes (M, 4) of corners (M, 4) that a set has written down, and how many of them were cut to their picture's size (height, width).

    corners: ymin, xmin, ymax, xmax in px. inclusive: VOC's, which name the first and the last pixel, the first of a picture being 1.
    What reaches at most SLACK over the border is cut. Raises SourceError, with `where` naming the picture, for a box that reaches further,
    holds nothing or has a corner that is no number.
    """
    corners = np.asarray(corners, np.float64).reshape(-1, 4)

    def refused(wrong, why):
        number = int(np.flatnonzero(wrong)[0])
        ymin, xmin, ymax, xmax = corners[number]
        box = f'box {number + 1} (xmin {xmin:g}, ymin {ymin:g}, xmax {xmax:g}, ymax {ymax:g})'
        return SourceError(f'{where}: {box} {why}')

    finite = np.isfinite(corners).all(axis=1)
    if not finite.all():
        raise refused(~finite, 'has a corner that is no finite number.')
    whole = np.rint(corners)
    corners = np.where(np.abs(corners - whole) < _EXACT, whole, corners)
    # The one place where inclusive corners become edges: pixel n, counted from 1, reaches from n - 1 to n, so first and last pixel a and b
    # enclose a - 1 to b. TFDS's `voc` has divided the same corners by the picture's size and changed nothing else.
    boxes = corners - (1, 1, 0, 0) if inclusive else corners
    inside = np.clip(boxes, 0, np.array([*size, *size], np.float64))
    beyond = np.abs(boxes - inside).max(axis=1, initial=0)
    empty = (inside[:, 2:] <= inside[:, :2]).any(axis=1) & (beyond <= SLACK) | (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    if empty.any():
        raise refused(empty, 'is empty: a box has xmax above xmin and ymax above ymin, inside its picture.')
    if (beyond > SLACK).any():
        raise refused(beyond > SLACK, f'lies outside its picture, which is {size[1]} px wide and {size[0]} px high.')
    return inside, int((beyond > _EXACT).sum())


def slack_note(split: str, count: int) -> tuple[str, ...]:
    """What is said where boxes were cut."""
    return (f'{split}: boxes that reach over the border of their picture by at most {SLACK:g} px, cut to it: {count}.',) if count else ()


def with_classes(scenes: Scenes, fewest: int) -> Scenes:
    """The scenes with only the classes that have at least `fewest` boxes that are not difficult in them; pictures without any stay.

    A note says what was dropped; SourceError where no class has so many. Use `narrowed` for the other splits.
    """
    found = [scene.labels[~scene.difficult] for scene in scenes.objects]
    counts = np.bincount(np.concatenate(found), minlength=scenes.num_classes)
    kept = [name for name, count in zip(scenes.class_names, counts, strict=True) if count >= fewest]
    if not kept:
        most = int(counts.argmax())
        raise SourceError(
            f'{scenes.name}: no class has {fewest} boxes in {scenes.split}; {scenes.class_names[most]} has the most, {counts[most]}.'
        )
    return _restricted(scenes, kept, f', those with fewer than {fewest} boxes')


def narrowed(scenes: Scenes, class_names: Sequence[str]) -> Scenes:
    """The scenes with only these classes, in this order, their boxes labelled by it; pictures without any stay.

    A note says what was dropped. Raises SourceError for a class that the set does not have, and where no box is left.
    """
    for name in class_names:
        if name not in scenes.class_names:
            known = _listed(scenes.class_names)
            raise SourceError(f'{scenes.name} has no class {plain(name)}; its classes: {known}.{nearest(name, scenes.class_names)}')
    return _restricted(scenes, list(class_names), '')


def joined(first: Scenes, second: Scenes) -> Scenes:
    """The scenes of two splits, `first`'s before `second`'s; where both have a name, the scenes' are SPLIT/NAME. SourceError where their
    classes differ."""
    if first.class_names != second.class_names:
        raise SourceError(f'{first.name} ({first.split}) and {second.name} ({second.split}) have other classes, so they cannot be joined.')
    return Scenes(
        first.name,
        f'{first.split}+{second.split}',
        first.class_names,
        sha256(first.fingerprint.encode(), second.fingerprint.encode()),
        sha256(first.pictures.encode(), second.pictures.encode()),
        np.concatenate([first.sizes, second.sizes]),
        _told_apart(first, second) + _told_apart(second, first),
        _Joined(first.pixels, second.pixels, first.num_examples),
        tuple(dict.fromkeys(first.notes + second.notes)),
    )


def subset(scenes: Scenes, indices) -> Scenes:
    """The given scenes (n,), in that order; their notes are those of the whole."""
    indices = np.asarray(indices, np.int64).reshape(-1)
    told = indices.astype('<i8').tobytes()
    return replace(
        scenes,
        fingerprint=sha256(scenes.fingerprint.encode(), told),
        pictures=sha256(scenes.pictures.encode(), told),
        sizes=scenes.sizes[indices],
        objects=tuple(scenes.objects[index] for index in indices),
        pixels=_Chosen(scenes.pixels, indices),
    )


def _told_apart(one, other):
    taken = {scene.name for scene in other.objects}
    if not any(scene.name in taken for scene in one.objects):
        return one.objects
    return tuple(scene._replace(name=f'{one.split}/{scene.name}') for scene in one.objects)


@dataclass(frozen=True, eq=False)
class _Joined:
    first: Callable[[Sequence[int]], list[np.ndarray]]
    second: Callable[[Sequence[int]], list[np.ndarray]]
    border: int

    def __call__(self, indices):
        return [self.first([index])[0] if index < self.border else self.second([index - self.border])[0] for index in indices]


@dataclass(frozen=True, eq=False)
class _Chosen:
    pixels: Callable[[Sequence[int]], list[np.ndarray]]
    indices: np.ndarray

    def __call__(self, indices):
        return self.pixels(self.indices[np.asarray(indices, np.int64)])


def _restricted(scenes, kept, why):
    if tuple(kept) == scenes.class_names:
        return scenes
    number = np.full(scenes.num_classes, -1, np.int32)
    number[[scenes.class_names.index(name) for name in kept]] = np.arange(len(kept))
    objects = []
    for scene in scenes.objects:
        stays = number[scene.labels] >= 0
        objects.append(scene._replace(boxes=scene.boxes[stays], labels=number[scene.labels[stays]], difficult=scene.difficult[stays]))
    gone = [name for name in scenes.class_names if name not in kept]
    notes = scenes.notes
    if gone:
        lost = sum(len(scene.labels) for scene in scenes.objects) - sum(len(scene.labels) for scene in objects)
        notes += (f'{scenes.split}: {len(gone)} classes are left out{why} ({_listed(gone)}), with {lost} boxes.',)
    left = made(scenes.name, scenes.split, kept, scenes.pictures, scenes.sizes, objects, scenes.pixels)
    return replace(left, notes=tuple(dict.fromkeys(notes + left.notes)))


def _listed(names):
    names = list(names)
    return ', '.join(map(plain, names[:_NAMED])) + (', ...' if len(names) > _NAMED else '')
