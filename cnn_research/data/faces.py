"""Faces as they are compared: in grey, and brought to one place by the eyes where somebody says where these are.

A similarity (turn, scale, shift) is all that two points decide. The 3-D frontalisation of Taigman et al. 2014 (section 2), which turns a
face to the front by 67 points and a model of faces, is not here: it needs such a model and a finder of points. What it was worth there
stands in reporting/published.py, 'deepface lfw': 97.0 % of pairs rightly told with it, 94.3 with an alignment in 2-D, 87.9 without any.
"""

import collections
import csv
import math
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from cnn_research.data.images import plain
from cnn_research.data.pairs import whole_names
from cnn_research.data.source import Changed, Source, sha256
from cnn_research.errors import SourceError

SIDE = 96  # px, of an aligned face
# Where the eyes come to lie, as shares of the side from the left and the top; ours, since no paper of the deck prints such places.
EYES = ((0.3, 0.36), (0.7, 0.36))


def eyes(path) -> dict[str, tuple[float, float, float, float]]:
    """{image name: (x, y of the eye on the left of the picture, x, y of that on its right)} of a csv file with these five columns.

    In px from the picture's upper left corner; a first line of words is a heading. SourceError, with the line, for what cannot be read.
    """
    path = pathlib.Path(path).expanduser()
    try:
        rows = list(csv.reader(path.read_bytes().decode('utf-8-sig').splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, 'strerror', None) or 'it is no csv file in UTF-8'
        raise SourceError(f'the eyes in {plain(path)} cannot be read: {reason}.') from None
    found: dict[str, tuple] = {}
    for number, row in enumerate(rows, 1):
        words = [word.strip() for word in row]
        if not any(words):
            continue
        try:
            name, *numbers = words[0], *map(float, words[1:])
        except ValueError:
            name, numbers = words[0], []
            if number == 1 and len(words) == 5:
                continue
        if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
            raise SourceError(f"{plain(path)}, line {number}: {plain(','.join(row))!r} is not 'NAME,x,y,x,y', the left eye and the right.")
        if not numbers[0] < numbers[2]:
            raise SourceError(f'{plain(path)}, line {number}: the first eye of {plain(name)} is not left of the second, in the picture.')
        if found.setdefault(name, tuple(numbers)) != tuple(numbers):
            raise SourceError(f'{plain(path)}, line {number}: {plain(name)} is there twice, with other eyes.')
    if not found:
        raise SourceError(f'{plain(path)} names no eyes.')
    return found


def similarity(first: tuple[float, float], second: tuple[float, float]) -> tuple[complex, complex]:
    """(m, c): the point of the picture that comes to lie at z = x + iy of the aligned face, SIDE px wide, is m z + c, eyes upon EYES."""
    here = [SIDE * complex(*eye) for eye in EYES]
    there = [complex(*eye) for eye in (first, second)]
    turn = (there[1] - there[0]) / (here[1] - here[0])
    return turn, there[0] - turn * here[0]


def straightened(image: np.ndarray, where: tuple[float, float, float, float]) -> np.ndarray:
    """uint8 (SIDE, SIDE, C) of a picture (H, W, C) with eyes at `where`; bilinear, 0 outside of the picture."""
    height, width = image.shape[:2]
    if not all(0 <= x <= width and 0 <= y <= height for x, y in (where[:2], where[2:])):
        raise SourceError(f'eyes at {where} are outside of their picture of {width} x {height} px, measured in one of another size.')
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    turn, shift = similarity(where[:2], where[2:])
    shrunk = max(1, int(abs(turn)))  # a picture much larger than the face is averaged first, for bilinear reading sees two pixels a side
    if shrunk > 1:
        picture, turn, shift = picture.reduce(shrunk), turn / shrunk, shift / shrunk
    matrix = (turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag)
    moved = picture.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(moved).reshape(SIDE, SIDE, -1)


def aligned(source: Source, known: Mapping[str, tuple[float, float, float, float]]) -> Source:
    """The source with every face brought to one place; SourceError where the eyes of an image are not known, or lie outside of it.

    known: by file name, without folders where the source has no two such; else with the folder, as the source has it.
    """
    whole = whole_names(source)
    alone = collections.Counter(map(os.path.basename, whole))
    if len(set(whole)) < len(whole):
        twice = next(name for name, count in collections.Counter(whole).items() if count > 1)
        raise SourceError(f'{source.name} ({source.split}) has two images called {plain(twice)}, whose eyes cannot be told apart.')
    short = collections.Counter(map(os.path.basename, known))
    others = {os.path.basename(name): where for name, where in known.items() if short[os.path.basename(name)] == 1}

    def found(name):
        base = os.path.basename(name)
        return known[name] if name in known else others.get(base) if alone[base] == 1 else None

    eyes_of = {name: found(name) for name in whole}
    lacking = [name for name in whole if eyes_of[name] is None]
    if lacking:
        more = f' and of {len(lacking) - 1} others' if len(lacking) > 1 else ''
        raise SourceError(
            f'the eyes of {plain(lacking[0])}{more} of {source.name} ({source.split}) are not known; all or none are aligned.'
        )
    places = np.array([eyes_of[name] for name in whole], np.float64)
    if source.image_shape:
        outside = ((places < 0) | (places > np.tile(source.image_shape[1::-1], 2))).any(axis=1)
        if outside.any():
            height, width = source.image_shape[:2]
            where = f'{plain(whole[int(outside.argmax())])}, which is {width} x {height} px'
            raise SourceError(f'the eyes are outside of {where}: they were measured in a picture of another size.')
    fingerprint = sha256(source.fingerprint.encode(), b'eyes', repr((SIDE, EYES)).encode(), places.astype('<f8').tobytes())
    shape = (SIDE, SIDE, source.channels)
    return replace(source, image_shape=shape, fingerprint=fingerprint, read=Changed(source.read, _Straightened(places), shape[-1]))


def grey(source: Source) -> Source:
    """The source in grey: itself where it is, else with the luma of every image."""
    if source.channels == 1:
        return source
    shape = source.image_shape and (*source.image_shape[:2], 1)
    note = f'{source.name} ({source.split}): colour images are compared in grey'
    fingerprint = sha256(source.fingerprint.encode(), b'grey')
    read = Changed(source.read, _luma, 1)
    return replace(source, image_shape=shape, fingerprint=fingerprint, read=read, notes=(*source.notes, note))


def _luma(image, index):
    """ITU-R BT.601, rounded."""
    return np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]


@dataclass(frozen=True, eq=False)
class _Straightened:
    places: np.ndarray

    def __call__(self, image, index):
        return straightened(image, tuple(self.places[index]))
