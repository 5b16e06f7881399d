"""MNIST and CIFAR-10 from the files that their authors published, prepared as TFDS prepares them, without TensorFlow.

The same examples in the same order as `tfds build` writes them, so that a slice such as 'train[:10%]' holds the same images. Sizes and
checksums of the published files are those that TFDS records (tensorflow_datasets/url_checksums).
"""

import contextlib
import gzip
import hashlib
import http
import http.client
import os
import pathlib
import ssl
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from cnn_research.data import layout
from cnn_research.data.images import plain
from cnn_research.errors import SourceError, WriteError

_BLOCK, _SECONDS = 1 << 20, 30  # bytes that are read at once, and how long a server may be silent


class File(NamedTuple):
    """One published file: its address, bytes, and SHA-256 in hex."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.url.rpartition('/')[2]


class Examples(NamedTuple):
    """Of one split, in the published order: uint8 (N, H, W, C) and uint8 (N,)."""

    images: np.ndarray
    labels: np.ndarray


class Published(NamedTuple):
    """A set. version: TFDS's; read(folder of its files) -> {split: examples}; keyed: whether an example has TFDS's 'id'."""

    version: str
    files: tuple[File, ...]
    read: Callable[[pathlib.Path], Mapping[str, Examples]]
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    keyed: bool
    description: str
    citation: str
    url: str


def fetch(name: str, folder: pathlib.Path, mirror: str = '', said: Callable[[str], None] = lambda line: None) -> pathlib.Path:
    """FOLDER/NAME/VERSION, prepared if it is not there; what was begun before goes on.

    Published files come to FOLDER/downloads and stay there; one that lies there already is not asked for again. mirror: the address of a
    folder with the same files, instead of their own. said: is told what happens. SourceError where a file cannot be had, or is not the
    published one.
    """
    known = SETS[name]
    home = folder / name / known.version
    if (home / 'dataset_info.json').is_file():
        said(f'{name} {known.version} is prepared in {home} already')
        return home
    for file in known.files:
        download(file, folder / 'downloads', mirror, said)
    said(f'preparing {home}')
    _prepare(name, known, known.read(folder / 'downloads'), home)
    return home


def _prepare(name: str, known: Published, splits: Mapping[str, Examples], home: pathlib.Path) -> None:
    import tensorflow_datasets as tfds

    features = {'image': tfds.features.Image(shape=known.shape), 'label': tfds.features.ClassLabel(names=list(known.classes))}
    features = tfds.features.FeaturesDict(features | ({'id': tfds.features.Text()} if known.keyed else {}))

    def examples(split) -> Iterator[dict]:
        images, labels = splits[split]
        for number in layout.order(split, range(len(images))):  # the builders' keys are the numbers in the published order
            example = {'image': layout.png(images[number]), 'label': int(labels[number])}
            yield example | ({'id': f'{split}_{number:05d}'} if known.keyed else {})

    shards = {split: [layout.write_shard(layout.place(home, name, split, 0, 1), features, examples(split))] for split in splits}
    layout.describe(home, features, shards, known.description, known.citation, known.url, ('image', 'label'))


def download(file: File, folder: pathlib.Path, mirror: str = '', said: Callable[[str], None] = lambda line: None) -> pathlib.Path:
    """FOLDER/NAME of a published file; a partial one is gone on with. SourceError where it cannot be had, or is another file."""
    path, partial = folder / file.name, folder / f'{file.name}.partial'
    if path.is_file():
        _check(path, file)
        return path
    url = f'{mirror.rstrip("/")}/{file.name}' if mirror else file.url
    try:
        folder.mkdir(parents=True, exist_ok=True)
        begun = partial.stat().st_size if partial.is_file() else 0
        if begun < file.size:
            _receive(url, partial, begun, file, said)
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError, ValueError) as error:
        if getattr(error, 'code', None) == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.unlink()  # the server's file is shorter: it is another one, or was
        raise _unreachable(file, url, path, error) from None
    except OSError as error:
        raise WriteError(f'{error.filename or partial} cannot be written ({error.strerror}).', error.errno) from None
    os.replace(partial, path)
    _check(path, file)
    return path


def _receive(url: str, partial: pathlib.Path, begun: int, file: File, said) -> None:
    if urllib.parse.urlsplit(url).scheme not in ('http', 'https'):
        raise ValueError('an address begins with http:// or https://')
    request = urllib.request.Request(url, headers={'Range': f'bytes={begun}-'} if begun else {})
    with contextlib.closing(urllib.request.urlopen(request, timeout=_SECONDS)) as answer:
        goes_on = begun and answer.status == http.HTTPStatus.PARTIAL_CONTENT  # a server that knows no ranges sends all of it, with 200
        done = begun if goes_on else 0
        said(f'{file.name}: {f"going on at {done / 1e6:.1f} of" if done else "fetching"} {file.size / 1e6:.1f} MB from {url}')
        with open(partial, 'ab' if goes_on else 'wb') as kept:
            while block := answer.read(_BLOCK):
                kept.write(block)
                before, done = done, done + len(block)
                if done > file.size:
                    break  # another file, which may have no end
                if 10 * done // file.size > 10 * before // file.size:
                    said(f'{file.name}: {100 * done / file.size:.0f} %')
    if done < file.size:
        raise ConnectionError(f'the connection ended after {done:,} of {file.size:,} bytes')


def _check(path: pathlib.Path, file: File) -> None:
    """SourceError where it is not the published file."""
    with open(path, 'rb') as stream:
        digest = hashlib.file_digest(stream, 'sha256').hexdigest()
    if digest != file.sha256:
        raise SourceError(
            f'{path} is not the published file: {path.stat().st_size:,} bytes with SHA-256 {digest[:12]}..., not {file.size:,} with '
            f'{file.sha256[:12]}...; delete it and give the same command again.'
        )


def _unreachable(file: File, url: str, path: pathlib.Path, error: Exception) -> SourceError:
    reason = plain(getattr(error, 'reason', None) or error) or type(error).__name__
    if isinstance(error, urllib.error.HTTPError):
        reason = f'HTTP {error.code}, {reason}'
    return SourceError(
        f'{plain(url)} cannot be fetched ({reason.rstrip(".")}). Give the same command again where there is a network, name another server '
        f'by --mirror=URL, or put {file.name} ({file.size:,} bytes) into {path.parent} by hand.'
    )


# ---- what the files hold


def idx(path: pathlib.Path) -> np.ndarray:
    """uint8 (N, ...) of a gzipped IDX file, MNIST's own form (yann.lecun.com/exdb/mnist); SourceError for any other."""
    try:
        with gzip.open(path, 'rb') as stream:
            data = stream.read()
        zero, kind, axes = int.from_bytes(data[:2], 'big'), data[2], data[3]
        shape = np.frombuffer(data, '>u4', axes, 4).astype(np.int64)
        if (zero, kind) != (0, 8):
            raise ValueError('its first bytes are not those of unsigned bytes')
        return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (ValueError, IndexError, EOFError, OSError) as error:
        raise SourceError(f'{path} is no gzipped IDX file: {plain(error)}.') from None


def _mnist(folder: pathlib.Path) -> dict[str, Examples]:
    parts = {'train': 'train', 'test': 't10k'}
    return {
        split: Examples(idx(folder / f'{part}-images-idx3-ubyte.gz')[..., None], idx(folder / f'{part}-labels-idx1-ubyte.gz'))
        for split, part in parts.items()
    }


def binary(data: bytes) -> Examples:
    """One batch of CIFAR-10's binary version: a byte of label, then 32 x 32 px of red, of green and of blue, row by row."""
    rows = np.frombuffer(data, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return Examples(rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, 0])


def _cifar10(folder: pathlib.Path) -> dict[str, Examples]:
    path, found = folder / 'cifar-10-binary.tar.gz', {}
    try:
        with tarfile.open(path, 'r:gz') as archive:
            for split, batches in {'train': [f'data_batch_{number}.bin' for number in range(1, 6)], 'test': ['test_batch.bin']}.items():
                parts = [binary(archive.extractfile(f'cifar-10-batches-bin/{batch}').read()) for batch in batches]
                found[split] = Examples(*map(np.concatenate, zip(*parts, strict=True)))
    except (tarfile.TarError, KeyError, AttributeError, ValueError, EOFError, OSError) as error:
        raise SourceError(f'{path} is not the binary version of CIFAR-10: {plain(error)}.') from None
    return found


_MNIST = 'https://storage.googleapis.com/cvdf-datasets/mnist/'  # the copy that TFDS takes
SETS = {
    'mnist': Published(
        '3.0.1',
        (
            File(f'{_MNIST}train-images-idx3-ubyte.gz', 9912422, '440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609'),
            File(f'{_MNIST}train-labels-idx1-ubyte.gz', 28881, '3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c'),
            File(f'{_MNIST}t10k-images-idx3-ubyte.gz', 1648877, '8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6'),
            File(f'{_MNIST}t10k-labels-idx1-ubyte.gz', 4542, 'f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6'),
        ),
        _mnist,
        (28, 28, 1),
        tuple('0123456789'),
        False,
        'The MNIST database of handwritten digits.',
        'Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document recognition, 1998',
        'http://yann.lecun.com/exdb/mnist/',
    ),
    'cifar10': Published(
        '3.0.2',
        (
            File(
                'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
                170052171,
                'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd',
            ),
        ),
        _cifar10,
        (32, 32, 3),
        ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'),
        True,
        '60,000 colour images of 32 x 32 px in 10 classes, 6,000 of each, 10,000 of them for testing.',
        'A. Krizhevsky: Learning multiple layers of features from tiny images, 2009',
        'https://www.cs.toronto.edu/~kriz/cifar.html',
    ),
}
