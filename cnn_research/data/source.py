"""What a source is: the examples of one split, named, counted, fingerprinted and read by index; parts of sources and two together."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cnn_research.errors import SourceError


@dataclass(frozen=True)
class Source:
    """Examples of one split.

    image_shape is (H, W, C), or None when sizes vary. fingerprint is a hex SHA-256 of what identifies the content, wherever it lies.
    `read(indices)` gives a list of uint8 (H, W, C) arrays, C = 1 for grey, and int32 (n,) labels; it can be pickled and called in other
    processes and threads. notes: what was skipped, chosen or assumed in opening it, one readable line each. stamp: changes when a file
    that is read was written again, even where the fingerprint cannot tell; '' where there are no files. Only `verified` asks for it.
    preprocessing: what every image has been through, of data.preprocessing.
    """

    name: str
    split: str
    num_examples: int
    num_classes: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    fingerprint: str
    read: Callable[[Sequence[int]], tuple[list[np.ndarray], np.ndarray]]
    notes: tuple[str, ...] = ()
    stamp: str = ''
    preprocessing: str = 'none'

    @property
    def channels(self) -> int:
        """Of every image that `read` gives: 1 for grey, 3 for colour."""
        return _channels(self.image_shape, self.read)

    def labels(self) -> np.ndarray:
        """int32 (N,), without decoding images where the source knows a way."""
        return _labels(self.read, np.arange(self.num_examples))


def _channels(shape, read):
    return shape[-1] if shape else getattr(read, 'channels', None) or read([0])[0][0].shape[-1]


def _labels(read, indices):
    known = getattr(read, 'labels', None)
    if known:
        return known(indices)
    parts = [read(indices[start : start + 512])[1] for start in range(0, len(indices), 512)]
    return np.concatenate([np.zeros(0, np.int32), *parts]).astype(np.int32)


def _file_names(read, indices) -> list[str]:
    known = getattr(read, 'file_names', None)
    if known is None:
        raise SourceError('these examples have no file names; leave out what is told by them.')
    return known(indices)


def subset(source: Source, indices) -> Source:
    """The given examples (n,) of a source, in that order; the fingerprint follows from the source's and the indices."""
    indices = np.array(indices, np.int64).reshape(-1)
    if len(indices) and not 0 <= indices.min() <= indices.max() < source.num_examples:
        raise IndexError(f'{source.name} ({source.split}) has {source.num_examples} examples, asked for {indices.min()} to {indices.max()}')
    fingerprint = sha256(source.fingerprint.encode(), indices.astype('<i8').tobytes())
    return replace(source, num_examples=len(indices), fingerprint=fingerprint, read=_SubsetRead(source.read, indices))


def joined(first: Source, second: Source) -> Source:
    """The examples of two splits, `first`'s before `second`'s; SourceError where their classes differ."""
    if first.class_names != second.class_names:
        raise SourceError(f'{first.name} ({first.split}) and {second.name} ({second.split}) have other classes, so they cannot be joined.')
    shape = None
    if first.image_shape and second.image_shape and first.image_shape[:2] == second.image_shape[:2]:
        shape = (*first.image_shape[:2], max(first.channels, second.channels))
    return replace(
        first,
        split=f'{first.split}+{second.split}',
        num_examples=first.num_examples + second.num_examples,
        image_shape=shape,
        fingerprint=sha256(first.fingerprint.encode(), second.fingerprint.encode()),
        read=_JoinedRead(first, second),
        notes=tuple(dict.fromkeys(first.notes + second.notes)),
        stamp=first.stamp + second.stamp,
    )


@dataclass(frozen=True, eq=False)
class _JoinedRead:
    first: Source
    second: Source

    @property
    def channels(self):
        return max(self.first.channels, self.second.channels)

    def _both(self, indices, ask):
        indices, border = np.asarray(indices, np.int64), self.first.num_examples
        late = indices >= border
        return (
            ask(self.first.read, indices[~late]),
            ask(self.second.read, indices[late] - border),
            np.argsort(np.argsort(late, kind='stable')),
        )

    def __call__(self, indices):
        first, second, back = self._both(indices, lambda read, chosen: read(chosen))
        both = [image if image.shape[-1] == self.channels else image.repeat(self.channels, axis=-1) for image in (*first[0], *second[0])]
        return [both[place] for place in back], np.concatenate([first[1], second[1]])[back]

    def file_names(self, indices):
        first, second, back = self._both(indices, _file_names)
        return [(first + second)[place] for place in back]

    def labels(self, indices):
        first, second, back = self._both(indices, _labels)
        return np.concatenate([first, second])[back]


@dataclass(frozen=True, eq=False)
class _SubsetRead:
    read: Callable
    indices: np.ndarray

    @property
    def channels(self):
        return _channels(None, self.read)

    def __call__(self, indices):
        return self.read(self.indices[np.asarray(indices, np.int64)])

    def file_names(self, indices):
        return _file_names(self.read, self.indices[np.asarray(indices, np.int64)])

    def labels(self, indices):
        return _labels(self.read, self.indices[np.asarray(indices, np.int64)])


@dataclass(frozen=True, eq=False)
class Changed:
    """Reads as another does, each image changed: change(image (H, W, C), index)."""

    read: Callable
    change: Callable
    channels: int

    def __call__(self, indices):
        images, labels = self.read(indices)
        return [self.change(image, index) for image, index in zip(images, np.asarray(indices, np.int64), strict=True)], labels

    def labels(self, indices):
        return _labels(self.read, np.asarray(indices, np.int64))

    def file_names(self, indices):
        return _file_names(self.read, indices)


def sha256(*parts: bytes) -> str:
    """Hex SHA-256 over the hashes of the parts, so that no two lists of parts are the same text."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
