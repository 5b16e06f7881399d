"""Prepared TFDS sets, read from array_record files without TensorFlow.

They are opened by directory, so that sets which TFDS does not know by name can be read as well.
"""

import contextlib
import difflib
import functools
import json
import logging
import os
import pathlib
import re
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cnn_research.data import cache, images
from cnn_research.data.images import plain
from cnn_research.data.source import Source, sha256
from cnn_research.errors import SourceError, nearest

FETCHED = ('mnist', 'cifar10')  # what published.SETS prepares
_FILES = ('dataset_info.json', 'features.json')
PLAN = 'prepare.json'  # what `prepare` wrote of how a set was made
FILE_NAMES = ('image/file_name', 'image/filename', 'file_name', 'filename')  # features, as the builders of TFDS call them


def root(data_dir) -> pathlib.Path:
    """The folder of the prepared sets: data_dir, else $CNN_RESEARCH_DATA, else $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    given = data_dir or os.environ.get('CNN_RESEARCH_DATA') or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
    try:
        if '\0' not in str(given):
            return pathlib.Path(given).expanduser().absolute()
        reason = 'its name holds a zero byte'
    except RuntimeError as error:  # '~somebody' who is not there
        reason = plain(error).rstrip('.')
    raise SourceError(f'The folder of the data sets, {plain(given)}, cannot be found: {reason}.')


def opened(name: str, split: str, place: pathlib.Path, embedded: Sequence[str]) -> Source:
    """A prepared TFDS set: NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION, as TFDS writes them; the newest version by default.

    Its fingerprint covers name, version, split and, because TFDS records no checksums of its shards, each shard's file name, size and
    number of examples, the part of it that the split takes, and the bytes of dataset_info.json. embedded: other names, for errors.
    """
    found = located(name, split, place, embedded)
    image, label = _feature_names(found.base, found.info)
    try:
        height, width, channels = found.info.features[image].shape
        classes = tuple(map(str, found.info.features[label].names))
    except Exception as error:  # features.json says what TFDS would never write
        raise damaged(found.base, found.directory, error) from error
    channels = 1 if channels == 1 else 3
    read = _PreparedRead(found.base, str(found.directory), split, image, found.stamp, label, channels, len(classes))
    shape = (height, width, channels) if height and width else None
    notes = found.notes + unnamed(found, label)
    return Source(name, split, found.count, len(classes), classes, shape, found.fingerprint, read, notes, found.stamp)


class Located(NamedTuple):
    """A prepared set's split before its features are looked at: `info` is TFDS's, the rest as in `Source`."""

    base: str
    directory: pathlib.Path
    info: Any
    count: int
    fingerprint: str
    stamp: str
    notes: tuple[str, ...]


def located(name: str, split: str, place: pathlib.Path, embedded: Sequence[str], folders: str = 'folder') -> Located:
    """The split of a set that is whole, named as in `opened`. folders: what stands before ':DIR', for errors."""
    base, directory, info, notes = _named(name, place, embedded, folders)
    choices = list(info.splits)
    try:
        found = info.splits[split]
        shards, count = found.file_instructions, found.num_examples
    except Exception as error:  # TFDS raises what its parser happens to meet
        message = f"{name} has no split {plain(split)!r}; its splits: {', '.join(choices)}, or a slice such as '{choices[0]}[:10%]'."
        raise SourceError(message + nearest(split, choices)) from error
    if count <= 0:
        counts = ', '.join(f'{split} ({part.num_examples})' for split, part in info.splits.items())
        raise SourceError(f'{name} has no examples in {split!r}; its splits: {counts}.')
    facts, changed = [], []
    for shard in shards:
        try:
            status = os.stat(shard.filename)
        except OSError as error:
            said = 'is missing' if isinstance(error, FileNotFoundError) else f'cannot be read: {error.strerror}'
            raise SourceError(f'{base} in {directory} is incomplete: {os.path.basename(shard.filename)} {said}.') from error
        facts.append((os.path.basename(shard.filename), status.st_size, shard.examples_in_shard, shard.skip, shard.take))
        changed.append(status.st_mtime_ns)
    identity = json.dumps([base, str(info.version), split, facts]).encode()
    fingerprint = sha256(identity, (directory / 'dataset_info.json').read_bytes())
    return Located(base, directory, info, count, fingerprint, sha256(json.dumps(changed).encode()), notes)


def splits(name: str, place: pathlib.Path, embedded: Sequence[str]) -> list[str]:
    """The names of a set's splits; errors as in `opened`."""
    return list(_named(name, place, embedded, 'folder')[2].splits)


def _named(name, place, embedded, folders):
    """(name without version, directory, TFDS's info, notes) of a set that is whole and in a format that is read here."""
    parts = re.fullmatch(r'(\w+(?:/[\w.+-]+)?)(?::(\d+\.\d+\.\d+))?', name)
    if not parts:
        raise SourceError(_no_name(name, place, embedded, folders))
    base, version = parts.groups()
    directory, notes = _version(base, version, place, embedded)
    info = _info(base, directory)
    if info.file_format.value != 'array_record':
        raise SourceError(
            f'{base} in {directory} is in the format {info.file_format.value}, which needs TensorFlow to read;'
            f' prepare it again: {_built(base, place)} --overwrite'
        )
    return base, directory, info, (*notes, *_said(directory))


def _said(directory):
    """What `prepare` left to be said of a set."""
    said = cache.recall(directory / PLAN).get('said', [])
    return tuple(map(plain, said)) if isinstance(said, list) else ()


def unnamed(found: Located, label: str) -> tuple[str, ...]:
    """A note where a set lacks the names of its classes. label: the feature's name, with those around it."""
    if (found.directory / f'{label}.labels.txt').is_file():
        return ()
    return (f'{found.base} in {found.directory} has no names of its classes ({label}.labels.txt): they are called by number.',)


def _version(base, version, place, embedded):
    """(directory, notes) of a set's version that is whole, the newest unless one is asked for."""
    folder = place / base
    there = sorted((one for one in _folders(folder) if re.fullmatch(r'\d+\.\d+\.\d+', one)), key=lambda one: [*map(int, one.split('.'))])
    whole = [one for one in there if _is_whole(folder / one)]
    if not there:
        raise _not_prepared(base, place, embedded)
    chosen = version or (whole or there)[-1]
    if chosen not in there:
        raise SourceError(f'{base} has no version {chosen} in {folder}; its versions: {", ".join(there)}.{nearest(chosen, there)}')
    if chosen not in whole:
        if (folder / chosen / PLAN).is_file():
            raise SourceError(f'{base} in {folder / chosen} is not whole: its preparation goes on with the same experiments.prepare again.')
        missing = ' and '.join(file for file in _FILES if not (folder / chosen / file).is_file())
        raise SourceError(f'{base} in {folder / chosen} is incomplete: {missing} missing. Prepare it again: {_again(base, place)}')
    if version or len(there) == 1:
        return folder / chosen, ()
    others = ', '.join(one if one in whole else f'{one} (incomplete)' for one in there if one != chosen)
    return folder / chosen, (f'{base}: version {chosen} is read, the newest that is whole; also in {folder}: {others}.',)


def _is_whole(directory):
    return all((directory / file).is_file() for file in _FILES)


def _folders(folder):
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith('.'))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SourceError(f'{plain(folder)} cannot be read: {error.strerror or plain(error)}.') from error


def _info(base, directory):
    try:
        described = json.loads((directory / 'features.json').read_text('utf-8'))
        foreign = [name for name in _feature_classes(described) if not name.startswith('tensorflow_datasets.')]
        info = None if foreign else _builder(directory).info
    except Exception as error:  # what is raised depends on where the files are damaged
        raise damaged(base, directory, error) from error
    if foreign:  # TFDS would import its module, whatever that is
        raise SourceError(f'{base} in {directory} has a feature of {plain(foreign[0])}, which is code outside of TFDS and is not run.')
    if not (info.features and info.splits and info.file_format):
        raise damaged(base, directory, 'it names no features, splits or format')
    return info


def _feature_classes(node):
    """The names of the Python classes in a features.json, as its present and its older form write them."""
    if isinstance(node, list):
        return [name for part in node for name in _feature_classes(part)]
    if not isinstance(node, dict):
        return []
    own = [node[key] for key in ('pythonClassName', 'python_class_name', 'type') if isinstance(node.get(key), str)]
    return own + [name for part in node.values() for name in _feature_classes(part)]


def damaged(base, directory, error):
    reason = plain(error) or type(error).__name__
    return SourceError(f'{base} in {directory} cannot be opened, its {" or ".join(_FILES)} is damaged: {reason}')


def _builder(directory):
    import tensorflow_datasets as tfds

    # array_record logs an error for each file with more than one record in a group, which matters to speed alone.
    logging.getLogger('absl').addFilter(_is_not_about_group_size)
    return tfds.builder_from_directory(directory)


def _is_not_about_group_size(record):
    return 'was created with group size' not in str(record.msg)


def _feature_names(base, info):
    """The names of the image and the label: supervised ones first, since a set may have several of a kind (CIFAR-100 has two labels)."""
    from tensorflow_datasets.core import features

    # Sorted, because features.json is read in an order that changes from process to process.
    names = [key for key in info.supervised_keys or () if isinstance(key, str) and key in info.features] + sorted(info.features)
    image = next((key for key in names if isinstance(info.features[key], features.Image) or _is_raw(info.features[key])), None)
    label = next((key for key in names if isinstance(info.features[key], features.ClassLabel)), None)
    if image is None or label is None or info.features[image].np_dtype != np.uint8:
        raise SourceError(f'{base} is no set of labelled uint8 images; its features: {", ".join(sorted(info.features))}.')
    return image, label


def _is_raw(feature):
    """Whether a feature is pixels as they are, (H, W, 1 or 3)."""
    from tensorflow_datasets.core import features

    return isinstance(feature, features.Tensor) and len(feature.shape) == 3 and feature.shape[-1] in (1, 3)


@dataclass(frozen=True)
class Records:
    """Records of a split by number, as TFDS parses them, their image left encoded where it is; can be pickled.

    SourceError names the record.
    """

    name: str
    directory: str
    split: str
    image: str
    stamp: str

    def where(self, index: int) -> str:
        return f'example {int(index)} of {self.name} ({self.split}) in {self.directory}'

    def records(self, indices: Sequence[int]) -> list[dict]:
        indices = [int(index) for index in indices]
        try:
            # A forked process must not share its parent's open files.
            return _opened(os.getpid(), self.directory, self.split, self.image, self.stamp).__getitems__(indices)
        except Exception as error:  # array_record raises RuntimeError, and the parser of a record anything
            if len(indices) > 1:  # to name the record
                return [record for index in indices for record in self.records([index])]
            where = self.where(indices[0]) if indices else f'{self.name} ({self.split}) in {self.directory}'
            raise SourceError(f'{where} cannot be read: {plain(error) or type(error).__name__}.') from error

    def picture(self, index: int, record: dict, channels: int) -> np.ndarray:
        found = record[self.image]
        if isinstance(found, np.ndarray):
            return found if found.shape[-1] == channels else found.repeat(channels, axis=-1)
        return images.decoded(found, channels, self.where(index), upright=False)


@dataclass(frozen=True)
class _PreparedRead(Records):
    label: str
    channels: int
    num_classes: int

    def __call__(self, indices):
        records, labels = self._read(indices)
        return [self.picture(index, record, self.channels) for index, record in zip(indices, records, strict=True)], labels

    def plain(self) -> Records:
        """The records alone."""
        return Records(self.name, self.directory, self.split, self.image, self.stamp)

    def file_names(self, indices) -> list[str]:
        """What the set calls its images' files; SourceError for one without the feature that TFDS keeps them in."""
        parts = [self.records(indices[start : start + 4096]) for start in range(0, len(indices), 4096)]
        found = [next((record[name] for name in FILE_NAMES if name in record), None) for part in parts for record in part]
        if None in found:
            raise SourceError(f'the examples of {self.name} ({self.split}) have no file names: none of {", ".join(FILE_NAMES)} is there.')
        return [name.decode('utf-8', 'replace') if isinstance(name, bytes) else str(name) for name in found]

    def labels(self, indices):
        parts = [self._read(indices[start : start + 4096])[1] for start in range(0, len(indices), 4096)]
        return np.concatenate([np.zeros(0, np.int32), *parts])

    def _read(self, indices):
        indices = [int(index) for index in indices]
        records = self.records(indices)
        labels = np.array([record[self.label] for record in records], np.int32)
        for index, label in zip(indices, labels, strict=True):
            if label < 0:
                raise SourceError(f'{self.name} ({self.split}) has examples without a label, {index} for one.')
            if label >= self.num_classes:
                raise SourceError(f'{self.where(index)} has the label {label}, but there are {self.num_classes} classes.')
        return records, labels


@functools.lru_cache(maxsize=8)
def _opened(process, directory, split, image, stamp):
    from tensorflow_datasets.core.decode import SkipDecoding

    builder = _builder(directory)
    # Decoded here and not by TFDS, which takes OpenCV where it is installed: a JPEG's pixels would depend on that.
    decoders = None if _is_raw(builder.info.features[image]) else {image: SkipDecoding()}
    return builder.as_data_source(split=split, decoders=decoders)


# ---- what to say when a name is not there


def _there(place):
    """The sets, with their configs, that are prepared in a folder."""
    folders = [folder for top in _folders(place) for folder in (top, *(f'{top}/{config}' for config in _folders(place / top)))]
    return [folder for folder in folders if any(_is_whole(place / folder / version) for version in _folders(place / folder))]


def _like(name, choices):
    """' Did you mean X?' by the letters and digits of the names before their configs, or ''."""

    def core(text):
        return re.sub(r'[^a-z0-9]', '', text.lower().partition('/')[0].partition(':')[0])

    cores: dict[str, list[str]] = {}
    for choice in choices:
        cores.setdefault(core(choice), []).append(choice)
    close = difflib.get_close_matches(core(name), cores, n=1, cutoff=0.6)
    # Of several configs, the one that is written most like the name.
    return f' Did you mean {(difflib.get_close_matches(name, cores[close[0]], n=1, cutoff=0) or cores[close[0]])[0]}?' if close else ''


def _no_name(name, place, embedded, folders):
    if re.fullmatch(r'\w+(/[\w.+-]+)?:.*', name):
        return f'{plain(name)}: a version is three numbers, NAME:1.0.0 or NAME/CONFIG:1.0.0, or nothing for the newest.'
    near = (
        f' A folder is named {folders}:{plain(name)}.' if '/' in name or os.path.isdir(name) else _like(name, [*_there(place), *embedded])
    )
    return f'{plain(name)!r} names no data set; one is {", ".join(embedded)}, {folders}:DIR, NAME, NAME/CONFIG or NAME:VERSION.{near}'


def _not_prepared(name, place, embedded):
    there = _there(place)
    base, _, config = name.partition('/')
    configs = [folder for folder in there if folder.startswith(f'{base}/')]
    if configs:
        what = f'has no config {config!r} there' if config else 'is prepared in configs'
        return SourceError(f'{base} {what}; name one of those in {place}: {", ".join(configs)}.{nearest(name, configs)}')
    if config and base in there:
        return SourceError(f'{base} in {place} has no configs; name it {base}. Did you mean {base}?')
    import tensorflow_datasets as tfds

    lacking = '' if place.is_dir() else ' (which is no folder)'
    listed = f'Prepared in {plain(place)}{lacking}, or embedded: {", ".join([*there, *embedded])}.'
    known = tfds.list_builders(with_community_datasets=False)
    near = _like(name, [*there, *embedded])
    if base not in known:
        return SourceError(f'{name} is not prepared, and TFDS knows no set {base}.{near or _like(name, known)} {listed}')
    known_configs, manual = (), None
    with contextlib.suppress(Exception):  # some builders need TensorFlow or other packages to be looked at
        builder = tfds.builder_cls(base)
        known_configs, manual = [part.name for part in builder.BUILDER_CONFIGS], builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if config and known_configs and config not in known_configs:
        return SourceError(f'{base} has no config {config!r}; its configs: {", ".join(known_configs)}.{nearest(config, known_configs)}')
    first = f' (TFDS wants files of yours in {place}/downloads/manual: {textwrap.shorten(manual, 240)})' if manual else ''
    return SourceError(f'{name} is not prepared.{near} {listed} To prepare it{first}: {_command(name, place)}')


def _command(name, place):
    if name in FETCHED:
        return f'python -m experiments.fetch --name={name} --out={shlex.quote(str(place))}'
    return _built(name, place)


def _again(name, place):
    return f'{_command(name, place)}{"" if name in FETCHED else " --overwrite"}'


def _built(name, place):
    return f'pip install tensorflow && tfds build {name} --file_format=array_record --data_dir={shlex.quote(str(place))}'
