"""Proposals from a file: npz, or MATLAB's as R-CNN's users have them. Nothing in it is evaluated or unpickled."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from cnn_research.data import images, scene
from cnn_research.data.images import plain
from cnn_research.data.scenes import Scenes
from cnn_research.errors import SourceError, nearest

ENDINGS = ('.npz', '.mat')


def is_file(name: str | os.PathLike) -> bool:
    """Whether this is called as a file of proposals is."""
    return pathlib.Path(name).suffix.lower() in ENDINGS


def from_file(path: str | os.PathLike, scenes: Scenes) -> list[np.ndarray]:
    """The proposals (P, 4) that a file has for every scene, in its order, one array a scene; those of other pictures are passed over.

    NAME.npz: an array a picture by its name, (P, 4) of ymin, xmin, ymax, xmax, edges in px. NAME.mat: R-CNN's selective_search_data, a cell
    array `boxes` of (P, 4) y1, x1, y2, x2, first and last pixel counted from 1, beside a cell array `images` of names; for a single scene
    also `boxes` alone, (P, 4) of x1, y1, x2, y2 counted from 0, as Fast R-CNN's demonstration has them. A name may lack the ending that
    the picture's has, or have one that it lacks; of scenes of two splits that share names, it is SPLIT/NAME.

    Raises SourceError for what is no such file, for pictures that it does not have, and for boxes that are empty or lie outside their
    picture.
    """
    path = pathlib.Path(path)
    if not is_file(path):
        raise SourceError(f'{plain(path)} is no file of proposals; they end in {", ".join(ENDINGS)}.')
    try:
        content = path.open('rb')
    except OSError as error:
        raise SourceError(f'{plain(path)} cannot be read: {error.strerror}.') from error
    with content:
        read = _npz if path.suffix.lower() == '.npz' else _mat
        try:
            found, convert = read(content, scenes)
        except SourceError as error:
            raise SourceError(f'{plain(path)} {error}') from error
        except Exception as error:  # what is raised depends on where the file is damaged
            raise SourceError(f'{plain(path)} cannot be read: {plain(error) or type(error).__name__}.') from error
    return [
        _boxed(array, convert, size, f'{plain(path)}: {plain(one.name)}')
        for array, one, size in zip(found, scenes.objects, scenes.sizes, strict=True)
    ]


def _npz(content, scenes):
    archive = np.load(content, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise SourceError('is no npz archive.')
    with archive:
        return [archive[name] for name in _matched(archive.files, scenes)], _EDGES


def _mat(content, scenes):
    from scipy import io

    try:
        found = io.loadmat(content, variable_names=('boxes', 'images'))
    except NotImplementedError:  # what scipy raises for HDF5, the form of 7.3
        raise SourceError('is a MATLAB file of version 7.3, which is not read; save it with -v7.') from None
    arrays = found.get('boxes')
    if arrays is None:
        raise SourceError('has no variable boxes.')
    if arrays.dtype != object:
        if scenes.num_examples != 1:
            raise SourceError(f'has the boxes of one picture, but {scenes.name} ({scenes.split}) has {scenes.num_examples}.')
        return [arrays], _FROM_0
    cells = list(arrays.ravel())
    if 'images' not in found:
        if len(cells) != 1 or scenes.num_examples != 1:
            raise SourceError('has no variable images, the names of the pictures whose boxes these are.')
        return cells, _FROM_1
    names = [str(np.asarray(each).ravel()[0]) if np.asarray(each).size == 1 else '' for each in found['images'].ravel()]
    if len(names) != len(cells):
        raise SourceError(f'has {len(cells)} cells of boxes, but {len(names)} names of images.')
    twice = len(names) - len(set(names))
    if twice or not all(names):
        raise SourceError('has names of images that are empty or there twice.')
    by_name = dict(zip(names, cells, strict=True))
    return [by_name[name] for name in _matched(names, scenes)], _FROM_1


# How the columns of a file are turned into corners, ymin, xmin, ymax, xmax, and whether those are pixels counted from 1.
_EDGES = ((0, 1, 2, 3), 0, False)
_FROM_1 = ((0, 1, 2, 3), 0, True)
_FROM_0 = ((1, 0, 3, 2), 1, True)


def _boxed(array, convert, size, where):
    columns, added, inclusive = convert
    array = np.asarray(array)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4 or array.dtype.kind not in 'iuf':
        raise SourceError(f'{where}: proposals are numbers in 4 columns, not {array.dtype} of shape {array.shape}.')
    found, over = scene.boxed(array[:, columns].astype(np.float64) + added, inclusive, tuple(size), where)
    if over:  # a set may be one px out, but a file that is hardly belongs to these pictures
        raise SourceError(f'{where}: {over} boxes reach over the border of their picture, {size[1]} px wide and {size[0]} px high.')
    return found


def _matched(names: Sequence[str], scenes):
    """The file's name of every scene."""
    known = set(names)
    stems = {}
    for name in names:
        stems.setdefault(_stem(name), []).append(name)
    found, missing = [], []
    for one in scenes.objects:
        alike = [one.name] if one.name in known else stems.get(_stem(one.name), [])
        found += alike[:1]
        missing += [one.name] if len(alike) != 1 else []
    if missing:
        raise SourceError(
            f'has no boxes, or several, of {len(missing)} of the {scenes.num_examples} pictures of {scenes.name} ({scenes.split}):'
            f' {", ".join(map(plain, missing[:3]))}{", ..." if len(missing) > 3 else ""}; it has {len(known)}'
            f' pictures, {", ".join(map(plain, sorted(known)[:3]))}{", ..." if len(known) > 3 else ""}.{nearest(missing[0], known, 0.8)}'
        )
    return found


def _stem(name):
    return os.path.splitext(name)[0] if images.named_as_image(name) else name
