"""Image folders, DIR/SPLIT/CLASS/**: walked down, everything read that Pillow decodes, everything else counted and named."""

import hashlib
import json
import os
import pathlib
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cnn_research.data import cache, images
from cnn_research.data.images import plain
from cnn_research.data.source import Source, sha256
from cnn_research.errors import SourceError, nearest

# What operating systems leave in folders, beside names that begin with a dot; no class or image is called so.
LEFTOVERS = {'__macosx', '@eadir', '$recycle.bin', 'system volume information', 'lost+found', 'thumbs.db', 'ehthumbs.db', 'desktop.ini'}
READING = 2  # raised when a marked image gives other pixels than before; part of the fingerprint where there are marks
NAMED = 3  # names that a note or an error gives before it says "..."
MARKED = {  # marks of a header: what a note says of them
    'transparent': 'with transparency, composed on white',
    'turned': 'set upright as the EXIF orientation says',
    'frames': 'with several frames or pages, of which the first is read',
    'cmyk': 'in CMYK, made RGB without the colour profile',
}


class Facts(NamedTuple):
    """Of one file: bytes, time of change in ns, hex SHA-256 and header; '' and None when it is no image."""

    size: int
    changed: int
    digest: str
    header: images.Header | None


def directory(name: str, form: str = 'folder:DIR does, with images in DIR/SPLIT/CLASS/') -> pathlib.Path:
    """The folder that 'folder:DIR' or another prefix names, absolute; SourceError, with the form, for a name that no folder can have."""
    text = name.partition(':')[2]
    try:
        text.encode()
        place = os.path.abspath(pathlib.Path(text).expanduser())
    except (UnicodeError, RuntimeError) as error:
        reason = plain(error).rstrip('.')
        raise SourceError(f'{plain(name)} names no folder: {reason}.') from error
    if '\0' in text or not text:
        raise SourceError(f'{plain(name)} names no folder; {form}.')
    return pathlib.Path(place)


def _splits(name):
    """(folder, its name in words, the folders in it) of 'folder:DIR'."""
    folder, name = directory(name), plain(name)
    if not os.path.isdir(folder):
        beside = _folders(folder.parent) if os.path.isdir(folder.parent) else []
        what = f'{folder} is no folder' if os.path.exists(folder) else f'there is no folder {folder}'
        raise SourceError(f'{name}: {plain(what)}; {_there(folder.parent, beside)}{nearest(folder.name, beside)}')
    return folder, name, _folders(folder)


def opened(name: str, split: str, class_names: Sequence[str] | None = None) -> Source:
    """The source of DIR/SPLIT/CLASS/**.

    class_names: of the split that the classes are taken from (see `sources.open_splits`); None = this split's own folders, each of which
    must then hold an image. The fingerprint covers the classes and the relative name, size and content of every image. Raises SourceError
    for what is not there, with what is, and for every damaged image, by name.
    """
    folder, name, splits = _splits(name)
    if split not in splits:
        raise SourceError(f'{name} has no split {plain(split)!r}; {_there(folder, splits)}{nearest(split, splits)}')
    files, skipped = _walked(folder / split)
    facts = inspected(folder / split, [file for label in files for file in files[label]])
    for file in [file for file, fact in facts.items() if fact.header is None]:
        skipped.setdefault('not images', []).append(file)
        del facts[file]
    files = {label: [file for file in found if file in facts] for label, found in files.items()}
    notes = _skipped(split, skipped)
    if not facts:
        said = ' '.join([_there(folder / split, files), *notes])
        raise SourceError(f'{name}: no images in class folders, {plain(folder / split)}/CLASS/*.png or what else Pillow reads; {said}')
    classes, said = _classes(name, split, files, class_names, notes)
    others = set(_folders(folder / 'train')) - set(classes) if class_names is None and split != 'train' and 'train' in splits else ()
    if others:
        said += (f'{split}: labels count its own {len(classes)} classes; train beside it has {few(sorted(others))} as well.',)
    order = [file for label in classes for file in files.get(label, ())]
    headers = [facts[file].header for file in order]
    said += marked(split, dict(zip(order, headers, strict=True)))
    channels = max(header.channels for header in headers)
    sizes = {(header.height, header.width) for header in headers}
    shape = (*sizes.pop(), channels) if len(sizes) == 1 else None
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(files.get(label, ())) for label in classes])
    read = _FolderRead(str(folder / split), tuple(order), labels, channels)
    content = [(file, facts[file].size, facts[file].digest) for file in order]
    fingerprint = identity(classes, content, any(header.marks for header in headers))
    # The fingerprint covers the content, so it is a stamp as well.
    return Source(name, split, len(order), len(classes), classes, shape, fingerprint, read, notes + said, fingerprint)


def identity(classes: Sequence[str], content: Sequence[tuple[str, int, str]], marks: bool) -> str:
    """The fingerprint of a split: its classes and the relative name, bytes and SHA-256 of each of its images, those of a class together.

    marks: whether any of its headers has some. The time of change is left out: it only says whether a cached hash still holds.
    """
    found = [classes, content] + ([READING] if marks else [])
    return sha256(json.dumps(found).encode())


class Listing(NamedTuple):
    """The files in the class folders of a split, none opened yet: {class: relative names}, and notes on what was not taken."""

    folder: pathlib.Path
    files: dict[str, list[str]]
    notes: tuple[str, ...]


def listed(name: str, splits: Sequence[str] = ()) -> dict[str, Listing]:
    """{split: its files} of 'folder:DIR' with the classes of the first; by default of all its splits, 'train' before the others."""
    folder, name, there = _splits(name)
    chosen = list(splits) or sorted(there, key=lambda split: (split != 'train', split))
    found: dict[str, Listing] = {}
    for split in chosen:
        if split not in there:
            raise SourceError(f'{name} has no split {plain(split)!r}; {_there(folder, there)}{nearest(split, there)}')
        files, skipped = _walked(folder / split)
        if not any(files.values()):
            raise SourceError(f'{name}: no files in class folders, {plain(folder / split)}/CLASS/; {_there(folder / split, files)}')
        first = next(iter(found.values()), None)
        notes = _skipped(split, skipped)
        classes, said = _classes(name, split, files, list(first.files) if first else None, notes)
        found[split] = Listing(folder / split, {label: files.get(label, []) for label in classes}, notes + said)
    if not found:
        raise SourceError(f'{name} has no splits; {_there(folder, there)}')
    return found


def _classes(name, split, files, given, notes):
    """The classes of a split whose images are {class folder: files}, in order, and notes on what has none."""
    there, bare = [label for label in files if files[label]], [label for label in files if not files[label]]
    if given is None:
        if bare:
            raise SourceError(
                f'{name}: no images in {split} of {few(bare)}, a class folder beside {few(there)}; add some, or take it away.'
                + ''.join(f' {note}' for note in notes)
            )
        numbers = all(label.isascii() and label.isdigit() for label in there)
        return tuple(sorted(there, key=lambda label: (int(label), label) if numbers else label)), ()
    unknown = [label for label in there if label not in given]
    if unknown:
        raise SourceError(
            f'{name}: {split} has images of {few(unknown)}, which is none of the classes taken from the training split,'
            f' {few(given)}.{nearest(unknown[0], given)}'
        )
    missing, spare = [label for label in given if label not in there], [label for label in bare if label not in given]
    said = (f'{split}: no images of {len(missing)} of the {len(given)} classes ({few(missing)}).',) if missing else ()
    return tuple(given), said + ((f'{split}: {len(spare)} folders without images are no classes ({few(spare)}).',) if spare else ())


def marked(split: str, headers: Mapping[str, images.Header]) -> tuple[str, ...]:
    """Notes on what the marks in the headers of {file: header} mean for its pixels."""
    found = {mark: [file for file, header in headers.items() if mark in header.marks] for mark in MARKED}
    return tuple(f'{split}: {len(files)} of {len(headers)} images {MARKED[mark]} ({few(files)}).' for mark, files in found.items() if files)


def few(names: Iterable[str]) -> str:
    names = list(names)
    return ', '.join(map(plain, names[:NAMED])) + (', ...' if len(names) > NAMED else '')


def _skipped(split, skipped):
    """A note, or none, on {reason: names} of what is not read."""
    total = sum(map(len, skipped.values()))
    reasons = ', '.join(f'{len(names)} {reason} ({few(sorted(names))})' for reason, names in sorted(skipped.items()))
    return (f'{split}: {total} skipped: {reasons}.',) if total else ()


def _scanned(folder):
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f'{plain(folder)} cannot be read: {error.strerror}.') from error


def _is_leftover(name):
    return name.startswith('.') or name.lower() in LEFTOVERS


def _folders(folder):
    return [entry.name for entry in _scanned(folder) if not _is_leftover(entry.name) and os.path.isdir(entry.path)]


def _there(folder, names):
    listed = ', '.join(map(plain, list(names)[:10])) + (', ...' if len(names) > 10 else '')
    return f'folders in {plain(folder)}: {listed or "none"}.'


def unsorted(path: str | os.PathLike) -> tuple[pathlib.Path, dict[str, images.Header], tuple[str, ...]]:
    """(folder, {relative name: header}, notes) of one image file, or of all images in a folder, however deep, which need no classes.

    Skipped and marked is as in `opened`. SourceError for what is not there, a folder without images, and every damaged image, by name.
    """
    place = directory(f'images:{os.fspath(path)}', 'name an image file or a folder')
    if place.is_file():
        with open(place, 'rb') as stream:
            found = {place.name: images.header(stream, str(place))}
        return place.parent, found, marked(plain(place.name), found)
    if not place.is_dir():
        beside = [entry.name for entry in _scanned(place.parent)] if place.parent.is_dir() else []
        raise SourceError(f'there is no image or folder {plain(place)}.{nearest(place.name, beside)}')
    files, skipped = _walked(place, by_class=False)
    facts = inspected(place, files[''], 'unsorted')
    skipped |= {'not images': others} if (others := [file for file, fact in facts.items() if fact.header is None]) else {}
    found = {file: fact.header for file, fact in facts.items() if fact.header is not None}
    notes = _skipped(plain(place.name), skipped)
    if not found:
        raise SourceError(f'there are no images in {plain(place)} that Pillow reads. {" ".join(notes)}'.rstrip())
    return place, found, notes + marked(plain(place.name), found)


def _walked(top, by_class=True):
    """({class: relative names of its files, in order}, {reason: relative names of what is skipped}) below a split's folder.

    by_class: into folders of classes; otherwise all files are those of the class ''.
    """
    files: dict[str, list[str]] = {} if by_class else {'': []}
    skipped: dict[str, list[str]] = {}
    # Every folder with the folders above it, links followed, so that a link back up ends there. No recursion: folders may be deep.
    waiting = [('', frozenset())]
    while waiting:
        relative, above = waiting.pop()
        place = top / relative
        above |= {_identity(place)}
        for entry in _scanned(place):
            name = f'{relative}{entry.name}'
            reason, mode = None, 0
            try:
                mode = os.stat(entry.path).st_mode
            except OSError as error:
                if not entry.is_symlink():
                    raise SourceError(f'{plain(entry.path)} cannot be read: {error.strerror}.') from error
                reason = 'broken links'
            if _is_leftover(entry.name):
                reason = 'hidden or left by a system'
            elif stat.S_ISDIR(mode):
                if _identity(entry.path) in above:
                    reason = 'links to a folder above them'
                else:
                    waiting.append((f'{name}/', above))
                    if by_class and not relative:
                        files[_class_name(place, entry.name)] = []
            elif mode and not stat.S_ISREG(mode):
                reason = 'neither files nor folders'
            elif mode and by_class and not relative:
                reason = 'beside the class folders'
            elif mode:
                files[name.split('/')[0] if by_class else ''].append(name)
            if reason:
                skipped.setdefault(reason, []).append(name)
    return {label: sorted(files[label], key=lambda name: name.split('/')) for label in sorted(files)}, skipped


def _identity(place):
    try:
        status = os.stat(place)
    except OSError as error:
        raise SourceError(f'{plain(place)} cannot be read: {error.strerror}.') from error
    return status.st_dev, status.st_ino


def _class_name(folder, name):
    if plain(name) != name:  # reports, tables and saved configs could not hold it
        raise SourceError(f'{plain(folder)}: the class folder {plain(name)} is not called by printable UTF-8 text; rename it.')
    return name


@dataclass(frozen=True, eq=False)
class _FolderRead:
    folder: str
    files: tuple[str, ...]
    known: np.ndarray
    channels: int

    def __call__(self, indices):
        paths = [f'{self.folder}/{self.files[index]}' for index in np.asarray(indices, np.int64)]
        return [images.decoded(path, self.channels, path, upright=True) for path in paths], self.labels(indices)

    def labels(self, indices):
        return self.known[np.asarray(indices, np.int64)]

    def file_names(self, indices) -> list[str]:
        """Relative to the split's folder."""
        return [self.files[index] for index in np.asarray(indices, np.int64)]


def inspected(folder: pathlib.Path, files: Sequence[str], part: str = '') -> dict[str, Facts]:
    """{file: facts}, from the cache where size and time of change agree; SourceError names the images that cannot be read.

    part: a name of these files, where others of the folder are asked for at other times.
    """
    place = cache.place(sha256(os.fsencode(folder), *([part.encode()] if part else []))[:16] + '.json')
    known = cache.recall(place)

    def inspect(file):
        path = folder / file
        try:
            status = os.stat(path)
            facts = _recalled(known.get(file), status)
            if facts is None:
                with open(path, 'rb') as stream:
                    facts = Facts(status.st_size, status.st_mtime_ns, *_looked_at(stream, path, status.st_size))
            return facts
        except OSError as error:
            return SourceError(f'{plain(path)} cannot be read: {error.strerror or plain(error)}.')
        except SourceError as error:
            return error

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = dict(zip(files, pool.map(inspect, files), strict=True))
    damaged = [str(facts) for facts in found.values() if isinstance(facts, SourceError)]
    if damaged:
        more = len(damaged) - NAMED
        raise SourceError(' '.join(damaged[:NAMED]) + (f' {more} more files in {plain(folder)} cannot be read.' if more > 0 else ''))
    current = {file: [*facts[:3], *(facts.header or ())] for file, facts in found.items()}
    if current != known:
        cache.remember(place, current)
    return found


def _looked_at(stream, path, size):
    """(SHA-256, header) of an open file, ('', None) of one that is no image."""
    if not images.named_as_image(path.name) and not images.is_image(stream):
        return '', None
    if not size:
        raise SourceError(f'{plain(path)} cannot be read as an image: the file is empty.')
    stream.seek(0)
    digest = hashlib.file_digest(stream, 'sha256').hexdigest()
    stream.seek(0)
    return digest, images.header(stream, str(path))


def _recalled(entry, status):
    """The facts of a cache's entry, None when it is another file's, of another time, or damaged."""
    if not isinstance(entry, list) or entry[:2] != [status.st_size, status.st_mtime_ns]:
        return None
    match entry[2:]:
        case ['']:
            return Facts(*entry[:2], '', None)
        case [str(digest), int(height), int(width), 1 | 3 as channels, list(marks)] if len(digest) == 64 and height * width > 0:
            if all(mark in list(MARKED) for mark in marks):
                return Facts(*entry[:2], digest, images.Header(height, width, channels, marks))
    return None
