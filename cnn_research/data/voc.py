"""Folders in VOC's form: DIR/Annotations/ID.xml, DIR/JPEGImages/ID.jpg, and DIR/ImageSets/Main/SPLIT.txt with an ID a line.

XML is read by the standard library with every document type refused, since what expands without end or reaches for files needs one.
"""

import json
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from cnn_research.data import folders, images
from cnn_research.data.images import plain
from cnn_research.data.scene import Scene, Scenes, boxed, made, slack_note
from cnn_research.data.source import sha256
from cnn_research.errors import SourceError, nearest

ALL = 'all'  # the split of a folder without lists: every annotation
_FORM = 'voc:DIR does, with DIR/Annotations/ID.xml, DIR/JPEGImages/ID.jpg and DIR/ImageSets/Main/SPLIT.txt'
_LARGEST = 16e6  # bytes of an annotation
_DIFFICULT = {'1': True, 'true': True, '0': False, 'false': False, '': False, 'unspecified': False}
_NAMED = 3


class _Object(NamedTuple):
    label: str
    corners: tuple[float, ...]
    difficult: bool


def opened(name: str, split: str, class_names: Sequence[str] | None = None) -> Scenes:
    """The scenes of a split's list, in its order; every annotation is read, and every picture's header.

    split: the name of a list in ImageSets/Main; without that folder 'all', every annotation in the order of names. class_names: of the
    split that the classes are taken from; None = those that this split's objects have, in the order of text. Corners are VOC's: first
    and last pixel, counted from 1. Pictures may be of any kind that Pillow decodes; those turned by EXIF are set upright. Raises
    SourceError for what is not there, with what is, for annotations and pictures that do not fit, and for objects of other classes.
    """
    folder, name = folders.directory(name, _FORM), plain(name)
    _check(name, folder)
    ids = _ids(name, folder, split)
    files = _files(name, folder, split, ids)
    facts = folders.inspected(folder / 'JPEGImages', list(files.values()), f'{split}.txt')
    others = [file for file, fact in facts.items() if fact.header is None]
    if others:
        raise SourceError(f'{name}: {_some(others)} in {plain(folder / "JPEGImages")} is no image in a format that is known.')
    headers = {file: facts[file].header for file in files.values()}
    channels = max(header.channels for header in headers.values())
    sizes = [(header.height, header.width) for header in headers.values()]
    found = [_annotation(folder / 'Annotations' / f'{one}.xml', size) for one, size in zip(ids, sizes, strict=True)]
    classes = _classes(name, split, ids, found, class_names)
    scenes, cut = [], 0
    for one, objects, size in zip(ids, found, sizes, strict=True):
        corners = np.array([each.corners for each in objects], np.float64)
        boxes, over = boxed(corners, True, size, f'{name}: {plain(one)}')
        cut += over
        labels = np.array([classes.index(each.label) for each in objects], np.int32)
        scenes.append(Scene(one, None, boxes, labels, np.array([each.difficult for each in objects], bool)))
    identity = [[(file, facts[file].size, facts[file].digest) for file in headers], channels]
    identity += [folders.READING] if any(header.marks for header in headers.values()) else []
    read = _VocRead(str(folder / 'JPEGImages'), tuple(headers), channels)
    notes = folders.marked(split, headers) + slack_note(split, cut)
    return made(name, split, classes, sha256(json.dumps(identity).encode()), sizes, scenes, read, notes)


def _some(names):
    names = list(names)
    return ', '.join(map(plain, names[:_NAMED])) + (f' and {len(names) - _NAMED} more' if len(names) > _NAMED else '')


def _listing(folder):
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise SourceError(f'{plain(folder)} cannot be read: {error.strerror}.') from error


def _check(name, folder):
    lacking = [part for part in ('Annotations', 'JPEGImages') if not (folder / part).is_dir()]
    if not lacking:
        return
    if not folder.is_dir():
        raise SourceError(f'{name}: there is no folder {plain(folder)}.')
    deeper = [place.parent for depth in ('*', '*/*') for place in sorted(folder.glob(f'{depth}/Annotations'))]
    near = f' Did you mean voc:{plain(deeper[0])}?' if deeper else ''
    raise SourceError(f'{name}: {plain(folder)} has no folder {" and no ".join(lacking)}; {_FORM}.{near}')


def _ids(name, folder, split):
    """The names in a split's list."""
    lists = folder / 'ImageSets' / 'Main'
    if not lists.is_dir():
        if split != ALL:
            raise SourceError(
                f'{name} has no split {plain(split)!r}: there is no folder {plain(lists)} with lists, so {ALL!r}, every annotation, is the'
                ' only one.'
            )
        ids = [file.removesuffix('.xml') for file in _listing(folder / 'Annotations') if file.endswith('.xml')]
        if not ids:
            raise SourceError(f'{name}: no annotations in {plain(folder / "Annotations")}.')
        return ids
    there = [file.removesuffix('.txt') for file in _listing(lists) if file.endswith('.txt')]
    if split not in there:
        # VOC has a list of every class for every split, cat_train, which are not for this.
        whole = [one for one in there if one.rpartition('_')[2] not in there or '_' not in one]
        raise SourceError(f'{name} has no split {plain(split)!r}; its splits: {_many(whole)}.{nearest(split, whole)}')
    path = lists / f'{split}.txt'
    try:
        lines = path.read_text('utf-8').splitlines()
    except (OSError, ValueError) as error:
        raise SourceError(f'{plain(path)} cannot be read: {getattr(error, "strerror", None) or "it is not text in UTF-8"}.') from error
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise SourceError(f'{name}: {plain(path)} names no picture.')
    if all(len(one.split()) == 2 and one.split()[1] in ('-1', '0', '1') for one in ids):
        base = split.rpartition('_')[2]
        near = f' Did you mean {base}?' if base in there and base != split else ''
        raise SourceError(f'{name}: {plain(path)} says of every picture whether a class is in it; a split has names alone.{near}')
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise SourceError(f'{name}: {plain(path)} names {plain(twice)} more than once.')
    return ids


def _many(names):
    names = list(names)
    return (', '.join(map(plain, names[:20])) + (', ...' if len(names) > 20 else '')) or 'none'


def _files(name, folder, split, ids):
    """{ID: file in JPEGImages}; SourceError names those without a picture or an annotation."""
    beside: dict[str, list[str]] = {}
    for file in _listing(folder / 'JPEGImages'):
        if images.named_as_image(file):
            beside.setdefault(os.path.splitext(file)[0], []).append(file)
    described = {file.removesuffix('.xml') for file in _listing(folder / 'Annotations') if file.endswith('.xml')}
    for kind, place, there in (('annotation', 'Annotations/ID.xml', described), ('picture', 'JPEGImages/ID.jpg', beside)):
        bare = [one for one in ids if one not in there]
        if bare:
            known = nearest(bare[0], there, 0.8)
            raise SourceError(f'{name}: {len(bare)} of {len(ids)} in {split!r} have no {kind}, {place}: {_some(bare)}.{known}')
    found = {one: [file for file in beside[one] if file == f'{one}.jpg'] or beside[one] for one in ids}
    several = [one for one, choices in found.items() if len(choices) > 1]
    if several:
        raise SourceError(f'{name}: {plain(several[0])} is several pictures, {_some(found[several[0]])}; leave one.')
    return {one: choices[0] for one, choices in found.items()}


def _classes(name, split, ids, found, given):
    labels = sorted({each.label for objects in found for each in objects})
    if given is None:
        return tuple(labels)
    for one, objects in zip(ids, found, strict=True):
        unknown = [each.label for each in objects if each.label not in given]
        if unknown:
            raise SourceError(
                f'{name}: {plain(one)} in {split} has a box of {plain(unknown[0])}, which is none of the {len(given)} classes taken'
                f' from the training split, {_many(given)}.{nearest(unknown[0], given)}'
            )
    return tuple(given)


class _Plain(ElementTree.TreeBuilder):
    def doctype(self, name, pubid, system):
        raise SourceError('it has a document type (DOCTYPE), which is not read')


def _annotation(path, size):
    """The objects of an annotation; size: (height, width) of its picture, which must be the one that it is about."""
    where = plain(path)
    try:
        content = path.read_bytes() if path.stat().st_size <= _LARGEST else None
    except OSError as error:
        raise SourceError(f'{where} cannot be read: {error.strerror}.') from error
    if content is None:
        raise SourceError(f'{where} is larger than {_LARGEST / 1e6:g} MB, which no annotation is.')
    parser = ElementTree.XMLParser(target=_Plain())
    try:
        parser.feed(content)
        root = parser.close()
    except (ElementTree.ParseError, SourceError, ValueError, LookupError) as error:  # unknown encodings are the last two
        raise SourceError(f'{where} cannot be read as XML: {plain(error)}.') from error
    if root.tag != 'annotation':
        raise SourceError(f'{where} is no annotation of VOC: its outermost element is {plain(root.tag)}.')
    told = [_text(root, 'size', 'height'), _text(root, 'size', 'width')]
    # Some tools write nothing or 0.
    if all(told) and any(_number(text) != 0 for text in told) and [_number(text) for text in told] != [*size]:
        raise SourceError(
            f'{where} is about a picture of {plain(told[1])} x {plain(told[0])} px, but the one beside it is {size[1]} px wide and'
            f' {size[0]} px high.'
        )
    return [_object(each, f'{where}: object {number}') for number, each in enumerate(root.findall('object'), 1)]


def _text(element, *path):
    """The text of the first element down a path, '' where there is none."""
    for tag in path:
        element = element.find(tag) if element is not None else None
    return (element.text or '').strip() if element is not None else ''


def _number(text):
    try:
        return float(text)
    except ValueError:
        return float('nan')


def _object(element, where):
    label = _text(element, 'name')
    if not label or plain(label) != label:
        raise SourceError(f'{where} has no name that is printable text.')
    corners = []
    for corner in ('ymin', 'xmin', 'ymax', 'xmax'):
        text = _text(element, 'bndbox', corner)
        corners.append(_number(text))
        if not np.isfinite(corners[-1]):
            raise SourceError(f'{where} ({label}) has no number for {corner} of its bndbox{f": {plain(text)}" if text else ""}.')
    difficult = _text(element, 'difficult').lower()
    if difficult not in _DIFFICULT:
        raise SourceError(f'{where} ({label}) has {plain(difficult)} for difficult, which is 0 or 1.')
    return _Object(label, tuple(corners), _DIFFICULT[difficult])


@dataclass(frozen=True)
class _VocRead:
    folder: str
    files: tuple[str, ...]
    channels: int

    def __call__(self, indices):
        paths = [str(pathlib.Path(self.folder, self.files[index])) for index in indices]
        return [images.decoded(path, self.channels, path, upright=True) for path in paths]
