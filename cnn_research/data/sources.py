"""Where examples come from: named, counted, fingerprinted sources, read by index.

Embedded sets ('digits', 'clutter'), image folders ('folder:DIR') and prepared TFDS sets (any other name). TensorFlow is never imported:
TFDS sets are read from array_record files, opened by directory, so that sets which TFDS does not know by name can be read as well.
"""

import contextlib
import functools
import hashlib
import io
import json
import logging
import os
import pathlib
import re
import shlex
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from cnn_research.data import clutter
from cnn_research.errors import SourceError, nearest

EMBEDDED = ('digits', 'clutter')
EXTENSIONS = ('.png', '.jpg', '.jpeg', '.bmp', '.ppm', '.pgm', '.webp', '.tif', '.tiff')
IMAGE_MODES = {'1': 1, 'L': 1, 'LA': 1, 'P': 3, 'PA': 3, 'RGB': 3, 'RGBA': 3, 'CMYK': 3, 'YCbCr': 3}  # Pillow's names: channels read


@dataclass(frozen=True)
class Source:
    """Examples of one split.

    image_shape is (H, W, C), or None when sizes vary. fingerprint is a hex SHA-256 of what identifies the content. `read(indices)` gives a
    list of uint8 (H, W, C) arrays, C = 1 for grey, and int32 (n,) labels; it can be pickled and called in other processes and threads.
    """

    name: str
    split: str
    num_examples: int
    num_classes: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    fingerprint: str
    read: Callable[[Sequence[int]], tuple[list[np.ndarray], np.ndarray]]


def open_source(name: str, split: str, data_dir=None) -> Source:
    """The source of a name and split; nothing but what identifies it is read yet.

    name: 'digits', 'clutter', 'folder:DIR' (images in DIR/SPLIT/CLASS/) or a prepared TFDS set, with its config where it has one
    ('imagenette/160px-v2'). Splits of a TFDS set may be slices such as 'train[:10%]'.
    data_dir: where prepared TFDS sets are; default: the environment variable CNN_RESEARCH_DATA, else TFDS_DATA_DIR, else
    ~/tensorflow_datasets. Raises SourceError for what is not there, with what is.
    """
    if name in EMBEDDED:
        return _embedded(name, split)
    if name.startswith('folder:'):
        return _folder(name, split)
    data_dir = data_dir or os.environ.get('CNN_RESEARCH_DATA') or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
    return _prepared(name, split, pathlib.Path(data_dir).expanduser().absolute())


def subset(source: Source, indices) -> Source:
    """The given examples (n,) of a source, in that order; the fingerprint follows from the source's and the indices."""
    indices = np.array(indices, np.int64).reshape(-1)
    if len(indices) and not 0 <= indices.min() <= indices.max() < source.num_examples:
        raise IndexError(f'{source.name} ({source.split}) has {source.num_examples} examples, asked for {indices.min()} to {indices.max()}')
    fingerprint = _sha256(source.fingerprint.encode(), indices.astype('<i8').tobytes())
    return replace(source, num_examples=len(indices), fingerprint=fingerprint, read=_SubsetRead(source.read, indices))


def joined(first: Source, second: Source) -> Source:
    """The examples of two splits, `first`'s before `second`'s; SourceError where their classes differ."""
    if first.class_names != second.class_names:
        raise SourceError(f'{first.name} ({first.split}) and {second.name} ({second.split}) have other classes, so they cannot be joined.')
    return replace(
        first,
        split=f'{first.split}+{second.split}',
        num_examples=first.num_examples + second.num_examples,
        image_shape=first.image_shape if first.image_shape == second.image_shape else None,
        fingerprint=_sha256(first.fingerprint.encode(), second.fingerprint.encode()),
        read=_JoinedRead(first, second),
    )


@dataclass(frozen=True, eq=False)
class _JoinedRead:
    first: Source
    second: Source

    def __call__(self, indices):
        indices, border = np.asarray(indices, np.int64), self.first.num_examples
        late = indices >= border
        images, labels = zip(self.first.read(indices[~late]), self.second.read(indices[late] - border), strict=True)
        back = np.argsort(np.argsort(late, kind='stable'))
        both = [*images[0], *images[1]]
        return [both[place] for place in back], np.concatenate(labels)[back]


@dataclass(frozen=True, eq=False)
class _SubsetRead:
    read: Callable
    indices: np.ndarray

    def __call__(self, indices):
        return self.read(self.indices[np.asarray(indices, np.int64)])


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


# ---- embedded sets


def _embedded(name, split):
    if split not in clutter.SEEDS:
        raise SourceError(f'{name} has no split {split!r}; its splits: {", ".join(clutter.SEEDS)}.{nearest(split, clutter.SEEDS)}')
    images, labels = clutter.digits(split)
    read, count, shape = _DigitsRead(split), len(images), (clutter.DIGIT, clutter.DIGIT, 1)
    parts = [f'{name} {split}'.encode(), images.tobytes(), labels.astype('<i4').tobytes()]
    if name == 'clutter':
        read, count, shape = _ClutterRead(split), clutter.NUM_EXAMPLES[split], (clutter.SIDE, clutter.SIDE, 3)
        # The first composites stand for the generator and its constants: making all of them to hash them would take seconds.
        parts += [str(count).encode(), *(array.tobytes() for array in clutter.examples(split, np.arange(64)))]
    return Source(name, split, count, 10, tuple('0123456789'), shape, _sha256(*parts), read)


@dataclass(frozen=True)
class _DigitsRead:
    split: str

    def __call__(self, indices):
        images, labels = clutter.digits(self.split)
        indices = np.asarray(indices, np.int64)
        return list(images[indices, :, :, None]), labels[indices]


@dataclass(frozen=True)
class _ClutterRead:
    split: str

    def __call__(self, indices):
        images, labels, _ = clutter.examples(self.split, indices)
        return list(images), labels


# ---- image folders


def _folder(name, split):
    folder = pathlib.Path(name.removeprefix('folder:')).expanduser().absolute()
    if not folder.is_dir():
        beside = _folders(folder.parent)
        raise SourceError(f'{name}: there is no folder {folder}; {_there(folder.parent, beside)}{nearest(folder.name, beside)}')
    splits = _folders(folder)
    if split not in splits:
        raise SourceError(f'{name} has no split {split!r}; {_there(folder, splits)}{nearest(split, splits)}')
    # The classes of all splits together, so that a split without images of a class gives the others the same labels.
    classes = tuple(sorted({label for other in splits for label in _folders(folder / other)}))
    files = [
        f'{label}/{entry.name}'
        for label in _folders(folder / split)
        for entry in sorted(os.scandir(folder / split / label), key=lambda entry: entry.name)
        if entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith('.') and entry.is_file()
    ]
    if not files:
        raise SourceError(
            f'{name}: no images in class folders, {folder / split}/CLASS/*.png or {", ".join(EXTENSIONS[1:])}; {_there(folder, splits)}'
        )
    found = _inspected(folder / split, files)
    sizes, channels = {facts[3:5] for facts in found}, max(facts[5] for facts in found)
    shape = (*sizes.pop(), channels) if len(sizes) == 1 else None
    # The size and the content hash of each file by its name; the time of change only says whether a cached hash still holds.
    identity = json.dumps([classes, [(file, facts[0], facts[2]) for file, facts in zip(files, found, strict=True)]])
    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[file.split('/')[0]] for file in files], np.int32)
    read = _FolderRead(str(folder / split), tuple(files), labels, channels)
    return Source(name, split, len(files), len(classes), classes, shape, _sha256(identity.encode()), read)


def _folders(folder):
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith('.'))


def _there(folder, names):
    listed = ', '.join(names[:10]) + (', ...' if len(names) > 10 else '')
    return f'folders in {folder}: {listed or "none"}.'


@dataclass(frozen=True, eq=False)
class _FolderRead:
    folder: str
    files: tuple[str, ...]
    labels: np.ndarray
    channels: int

    def __call__(self, indices):
        indices = np.asarray(indices, np.int64)
        paths = [f'{self.folder}/{self.files[index]}' for index in indices]
        return [_decoded(path, self.channels, path) for path in paths], self.labels[indices]


def _decoded(file, channels, where):
    """uint8 (H, W, C) of an encoded image; `where` names it in an error. Alpha is dropped."""
    try:
        with Image.open(file) as picture:
            if picture.mode not in IMAGE_MODES:
                raise SourceError(f'{where}: images of mode {picture.mode} are not read; convert it to 8 bits per channel.')
            pixels = np.asarray(picture.convert('L' if channels == 1 else 'RGB'))
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for a damaged file
        raise SourceError(f'{where} cannot be read as an image: {error}.') from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _inspected(folder, files):
    """[size, time of change, SHA-256, height, width, channels] of each file, from the cache where size and time agree."""
    cache = _cache_file(folder)
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        known = {}

    def inspect(file):
        path = folder / file
        status = path.stat()
        facts = known.get(file)
        if facts and facts[:2] == [status.st_size, status.st_mtime_ns]:
            return tuple(facts)
        try:
            with open(path, 'rb') as stream:
                digest = hashlib.file_digest(stream, 'sha256').hexdigest()
                with Image.open(stream) as picture:
                    width, height, mode = *picture.size, picture.mode
        except (OSError, SyntaxError, ValueError) as error:
            raise SourceError(f'{path} cannot be read as an image: {error}.') from error
        return status.st_size, status.st_mtime_ns, digest, height, width, IMAGE_MODES.get(mode, 3)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(inspect, files))
    current = {file: list(facts) for file, facts in zip(files, found, strict=True)}
    if current != known:
        with contextlib.suppress(OSError):  # without the cache, the next opening hashes again
            cache.parent.mkdir(parents=True, exist_ok=True)
            partial = cache.with_suffix(f'.{os.getpid()}')
            partial.write_text(json.dumps(current))
            partial.replace(cache)
    return found


def _cache_file(folder):
    root = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return pathlib.Path(root, 'cnn_research', _sha256(os.fsencode(folder))[:16] + '.json')


# ---- prepared TFDS sets


def _prepared(name, split, root):
    """A prepared TFDS set.

    Its fingerprint covers name, version, split and, because TFDS records no checksums of its shards, each shard's file name, size and
    number of examples, the part of it that the split takes, and the bytes of dataset_info.json.
    """
    if not re.fullmatch(r'\w+(/[\w.+-]+)?', name):
        near = f' An image folder is named folder:{name}.' if '/' in name else ''
        raise SourceError(f'{name!r} names no data set; one is {", ".join(EMBEDDED)}, folder:DIR, NAME or NAME/CONFIG.{near}')
    directory = _newest(root / name)
    if directory is None:
        raise _not_prepared(name, root)
    info = _builder(directory).info
    if info.file_format.value != 'array_record':
        raise SourceError(
            f'{name} in {directory} is in the format {info.file_format.value}, which needs TensorFlow to read;'
            f' prepare it again: {_command(name, root)} --overwrite'
        )
    image, label = _feature_names(name, info)
    try:
        found = info.splits[split]
        shards = found.file_instructions
    except (ValueError, KeyError) as error:
        choices = list(info.splits)
        message = f"{name} has no split {split!r}; its splits: {', '.join(choices)}, or a slice such as '{choices[0]}[:10%]'."
        raise SourceError(message + nearest(split, choices)) from error
    if not found.num_examples:
        raise SourceError(f'{name} has no examples in {split!r}; its splits: {_counts(info)}.')
    try:
        facts = [
            (os.path.basename(shard.filename), os.path.getsize(shard.filename), shard.examples_in_shard, shard.skip, shard.take)
            for shard in shards
        ]
    except OSError as error:
        raise SourceError(f'{name} in {directory} is incomplete: {os.path.basename(error.filename)} is missing.') from error
    identity = json.dumps([name, str(info.version), split, facts]).encode()
    fingerprint = _sha256(identity, (directory / 'dataset_info.json').read_bytes())
    height, width, channels = info.features[image].shape
    channels = 1 if channels == 1 else 3
    shape = (height, width, channels) if height and width else None
    classes = tuple(info.features[label].names)
    read = _PreparedRead(name, str(directory), split, image, label, channels)
    return Source(name, split, found.num_examples, len(classes), classes, shape, fingerprint, read)


def _newest(folder):
    """The directory of the newest version in the folder of a set or of one of its configs, or None."""
    versions = [version for version in _folders(folder) if re.fullmatch(r'\d+\.\d+\.\d+', version)]
    versions = [
        version for version in versions if all((folder / version / file).is_file() for file in ('dataset_info.json', 'features.json'))
    ]
    return folder / max(versions, key=lambda version: [int(part) for part in version.split('.')]) if versions else None


def _builder(directory):
    import tensorflow_datasets as tfds

    # array_record logs an error for each file with more than one record in a group, which matters to speed alone.
    logging.getLogger('absl').addFilter(_is_not_about_group_size)
    return tfds.builder_from_directory(directory)


def _is_not_about_group_size(record):
    return 'was created with group size' not in str(record.msg)


def _feature_names(name, info):
    """The names of the image and the label: supervised ones first, since a set may have several of a kind (CIFAR-100 has two labels)."""
    from tensorflow_datasets.core import features

    # Sorted, because features.json is read in an order that changes from process to process.
    names = [key for key in info.supervised_keys or () if isinstance(key, str)] + sorted(info.features)
    image = next((key for key in names if isinstance(info.features[key], features.Image)), None)
    label = next((key for key in names if isinstance(info.features[key], features.ClassLabel)), None)
    if image is None or label is None or info.features[image].np_dtype != np.uint8:
        raise SourceError(f'{name} is no set of labelled uint8 images; its features: {", ".join(sorted(info.features))}.')
    return image, label


def _counts(info):
    return ', '.join(f'{split} ({part.num_examples})' for split, part in info.splits.items())


@dataclass(frozen=True)
class _PreparedRead:
    name: str
    directory: str
    split: str
    image: str
    label: str
    channels: int

    def __call__(self, indices):
        # A forked process must not share its parent's open files.
        records = _records(os.getpid(), self.directory, self.split, self.image).__getitems__([int(index) for index in indices])
        labels = np.array([record[self.label] for record in records], np.int32)
        if (labels < 0).any():
            raise SourceError(f'{self.name} ({self.split}) has examples without a label.')
        where = f'an example of {self.name} ({self.split})'
        return [_decoded(io.BytesIO(record[self.image]), self.channels, where) for record in records], labels


@functools.lru_cache(maxsize=8)
def _records(process, directory, split, image):
    from tensorflow_datasets.core.decode import SkipDecoding

    # Decoded here and not by TFDS, which takes OpenCV where it is installed: a JPEG's pixels would depend on that.
    return _builder(directory).as_data_source(split=split, decoders={image: SkipDecoding()})


def _not_prepared(name, root):
    import tensorflow_datasets as tfds

    folders = [folder for top in _folders(root) for folder in (top, *(f'{top}/{config}' for config in _folders(root / top)))]
    there = [*(folder for folder in folders if _newest(root / folder)), *EMBEDDED]
    listed = f'Prepared in {root}, or embedded: {", ".join(there)}.'
    known = tfds.list_builders(with_community_datasets=False)
    base, _, config = name.partition('/')
    if base not in known:
        return SourceError(f'{name} is not prepared, and TFDS knows no set {base}.{nearest(name, [*there, *known])} {listed}')
    configs, manual = (), None
    with contextlib.suppress(ImportError):  # some builders need TensorFlow or other packages to be looked at
        builder = tfds.builder_cls(base)
        configs, manual = [part.name for part in builder.BUILDER_CONFIGS], builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if config and configs and config not in configs:
        return SourceError(f'{base} has no config {config!r}; its configs: {", ".join(configs)}.{nearest(config, configs)}')
    first = f' (TFDS wants files of yours in {root}/downloads/manual: {textwrap.shorten(manual, 240)})' if manual else ''
    return SourceError(f'{name} is not prepared.{nearest(name, there)} {listed} To prepare it{first}: {_command(name, root)}')


def _command(name, root):
    return f'pip install tensorflow && tfds build {name} --file_format=array_record --data_dir={shlex.quote(str(root))}'
