"""Prepared TFDS sets with boxes: a sequence feature `objects` that holds `bbox` and `label`, read as `prepared` reads records."""

import io
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnn_research.data import images, prepared
from cnn_research.data.images import plain
from cnn_research.data.scene import Scene, Scenes, boxed, made, slack_note
from cnn_research.errors import SourceError

# Made from VOC's XML files without a word of difficult objects; other sets are known by having one.
_INCLUSIVE = ('bccd', 'bccd_subset', 'stanford_dogs')
_DIFFICULT = {'is_difficult': 'difficult', 'is_crowd': 'a crowd, which counts as difficult'}  # features of an object
_CHUNK = 64  # records read at a time: their pictures lie encoded in memory


def opened(name: str, split: str, place: pathlib.Path, embedded: Sequence[str]) -> Scenes:
    """The scenes of a split, named as in `prepared.opened`; every record's boxes are read, no picture is decoded.

    The corners of a set with `is_difficult`, or in a table of names, are VOC's; others are edges divided by the picture's size, as TFDS
    defines them. The notes say which. Pictures are called by `image/filename` or `image/id`, else by number.
    """
    found = prepared.located(name, split, place, embedded, 'voc')
    image, inside, names, channels = _features(found)
    marks = [key for key in _DIFFICULT if key in inside]
    inclusive = 'is_difficult' in inside or found.base in _INCLUSIVE
    read = _ObjectsRead(found.base, str(found.directory), split, image, found.stamp, channels)
    called = next((key for key in ('image/filename', 'image/id') if key in found.info.features), None)
    scenes, sizes, cut = [], [], 0
    for start in range(0, found.count, _CHUNK):
        numbers = range(start, min(start + _CHUNK, found.count))
        for index, record in zip(numbers, read.records(numbers), strict=True):
            title = record[called] if called else index
            title = title.decode('utf-8', 'replace') if isinstance(title, bytes) else str(title)
            where = f'{plain(title)}, {read.where(index)}' if called else read.where(index)
            header = images.header(io.BytesIO(record[image]), where, upright=False)
            corners, labels, difficult = _objects(record['objects'], marks, len(names), where)
            size = (header.height, header.width)
            boxes, over = boxed(corners * np.tile(np.array(size, np.float64), 2), inclusive, size, where)
            cut += over
            scenes.append(Scene(title, None, boxes, labels, difficult))
            sizes.append(size)
    notes = found.notes + prepared.unnamed(found, 'objects-label')
    notes += (f'{name}: {_corners(inclusive)}.', *slack_note(split, cut))
    if not marks:
        notes += (f'{name} has no is_difficult: no object counts as difficult.',)
    notes += tuple(f'{name}: {key} of an object: {_DIFFICULT[key]}.' for key in marks if key != 'is_difficult')
    if len({scene.name for scene in scenes}) < len(scenes):
        notes += (f'{split}: {called} names several pictures alike, so they are called by number.',)
        scenes = [scene._replace(name=str(index)) for index, scene in enumerate(scenes)]
    return made(name, split, names, found.fingerprint, sizes, scenes, read, notes)


def _corners(inclusive):
    if inclusive:
        return "corners are VOC's, the first and the last pixel of a box counted from 1"
    return "corners are edges, as TFDS defines them (VOC's, which count pixels from 1, are known by is_difficult)"


def _features(found):
    """(name of the image, features of an object, names of the classes, channels); SourceError for a set without boxes."""
    from tensorflow_datasets.core import features

    known, inside = found.info.features, {}
    if 'objects' in known and isinstance(known['objects'], features.Sequence):
        inside = getattr(known['objects'], 'feature', {})
    image = next((key for key in sorted(known) if isinstance(known[key], features.Image)), None)
    try:
        boxes, label = inside['bbox'], inside['label']
        fits = isinstance(boxes, features.BBoxFeature) and isinstance(label, features.ClassLabel) and known[image].np_dtype == np.uint8
    except (KeyError, TypeError):
        fits = False
    if not fits:
        raise SourceError(
            f'{found.base} is no set of uint8 images with boxes, a sequence `objects` of bbox and label; its features:'
            f' {", ".join(sorted(known))}.'
        )
    form = getattr(boxes.bbox_format, 'value', boxes.bbox_format)
    if form not in ('REL_YXYX', None):  # sets of before there was a choice name none
        raise SourceError(f'{found.base} has boxes in the form {form}; REL_YXYX, ymin, xmin, ymax, xmax as shares of the size, is read.')
    try:
        channels, names = known[image].shape[-1], tuple(map(str, label.names))
    except Exception as error:  # features.json says what TFDS would never write
        raise prepared.damaged(found.base, found.directory, error) from error
    return image, inside, names, 1 if channels == 1 else 3


def _objects(objects, marks, num_classes, where):
    """Corners (M, 4) as shares of the size, labels (M,) and difficult (M,) of a record."""
    corners = np.asarray(objects['bbox'], np.float64).reshape(-1, 4)
    labels = np.asarray(objects['label'], np.int64).reshape(-1)
    difficult = np.zeros(len(labels), bool)
    for key in marks:
        difficult |= np.asarray(objects[key], bool).reshape(-1)
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise SourceError(f'{where}: box {wrong[0] + 1} has the label {labels[wrong[0]]}, but there are {num_classes} classes.')
    return corners, labels.astype(np.int32), difficult


@dataclass(frozen=True)
class _ObjectsRead(prepared.Records):
    channels: int

    def __call__(self, indices):
        return [self.picture(index, record, self.channels) for index, record in zip(indices, self.records(indices), strict=True)]
