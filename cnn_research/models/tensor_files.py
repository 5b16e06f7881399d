"""Named arrays in the files of other libraries: PyTorch's .pth, .safetensors, NumPy's .npz and .npy.

What a file says of an array is checked against the bytes that are there, and no number is read before somebody asks for it: a reader gives
entries, {name: Entry}, within dicts and lists where a .pth nests them. Nothing in a file is ever called (state_pickle.py). What cannot be
raises CheckpointError, damage what Python raises for it (ValueError, IndexError, ...); pretrained.py turns both into one line.
"""

import functools
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from cnn_research.errors import CheckpointError
from cnn_research.models.state_pickle import LARGEST_PICKLE, Tensor, unpickled

_ZIP = b'PK\x03\x04'
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file from before torch 1.6
_LARGEST_HEADER = 16 << 20  # bytes of a .safetensors header; a mean image of 1000 x 1000 px fits
_SAFETENSORS = {
    **{'BF16': 'bfloat16', 'F16': '<f2', 'F32': '<f4', 'F64': '<f8'},
    **{'I64': '<i8', 'I32': '<i4', 'I16': '<i2', 'I8': '|i1', 'U8': '|u1', 'BOOL': '|b1'},
}
MOST_NUMBERS = 1 << 29  # of a storage or a network: three times OverFeat's accurate network
_MOST_SIDES = 8
METADATA = '__metadata__'  # the name in a .safetensors header of what is not an array: {str: str}


class Entry(NamedTuple):
    """An array in an open file. read: its numbers."""

    dtype: np.dtype
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def _dtype(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if name == 'bfloat16' else name)


def _size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)


def _bytes(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    return file.read(count)


def torch(file: BinaryIO) -> Any:
    """What torch.save wrote, in today's format or that from before torch 1.6, with an Entry for each tensor.

    Raises CheckpointError for a pickle that names anything but dicts, tensors and what a training saves beside them.
    """
    zipped = _bytes(file, 0, len(_ZIP)) == _ZIP
    return _zipped(file) if zipped else _legacy(file)


def _zipped(file):
    archive = zipfile.ZipFile(file)
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name.split('/')[1:] == ['data.pkl']]
    if not pickles:
        raise CheckpointError('there is no data.pkl in it, as torch.save writes one')
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        raise CheckpointError('it is compressed, as torch.save never does')
    if members[pickles[0]].file_size > LARGEST_PICKLE:
        raise CheckpointError(f'its data.pkl has {members[pickles[0]].file_size:,} bytes; {LARGEST_PICKLE:,} are read at most')
    folder = pickles[0].removesuffix('data.pkl')
    with archive.open(pickles[0]) as member:
        value, storages = unpickled(member, members[pickles[0]].file_size)
    order = members.get(f'{folder}byteorder')
    if order is not None and archive.read(order) != b'little':
        raise CheckpointError('it was written on a machine of another byte order')

    def numbers(key):
        return archive.read(members[f'{folder}data/{key}'])

    there = {key: info.file_size for key in storages if (info := members.get(f'{folder}data/{key}'))}
    return _with_entries(value, there, numbers)


def _legacy(file):
    size = _size(file)
    file.seek(0)

    def value():
        return unpickled(file, size - file.tell())

    if value()[0] != _LEGACY_MAGIC:
        raise CheckpointError('it does not begin as torch.save begins')
    _protocol, _system, (whole, storages), (keys, _) = value(), value(), value(), value()
    places, place = {}, file.tell()
    for key in keys:
        count = storages[key].length * _dtype(storages[key].dtype).itemsize
        places[key] = place + 8, min(count, max(0, size - place - 8))  # behind its length, which the tensors know
        place += 8 + count
    return _with_entries(whole, {key: count for key, (_, count) in places.items()}, lambda key: _bytes(file, *places[key]))


def _with_entries(value: Any, there: Mapping[str, int], numbers: Callable[[str], bytes]) -> Any:
    """The value with an Entry in place of each tensor. there: bytes of each storage; numbers: those bytes."""
    done: dict[int, Any] = {}  # a list may hold itself

    def entered(value):
        if isinstance(value, Tensor):
            return _tensor(value, there, numbers)
        if not isinstance(value, dict | list):
            return value
        if id(value) not in done:
            copy: dict | list = {} if isinstance(value, dict) else [None] * len(value)
            done[id(value)] = copy
            waiting.append((value, copy))
        return done[id(value)]

    waiting: list = []
    result = entered(value)
    while waiting:
        value, copy = waiting.pop()
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            copy[key] = entered(inner)
    return result


def _tensor(tensor: Tensor, there, numbers) -> Entry:
    storage, offset, shape, strides = tensor
    dtype = _dtype(storage.dtype)
    if len(shape) > _MOST_SIDES:
        raise ValueError(f'a tensor has {len(shape)} dimensions')
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if there.get(storage.key) != storage.length * dtype.itemsize or prod(shape) > storage.length or prod(shape) and last >= storage.length:
        raise ValueError('a tensor reaches beyond its storage')

    def read():
        if storage.length > MOST_NUMBERS:
            raise CheckpointError(f'a storage in it has {storage.length:,} numbers; {MOST_NUMBERS:,} are read at most')
        whole = np.frombuffer(numbers(storage.key), dtype)
        return np.lib.stride_tricks.as_strided(whole[offset:], shape, [stride * dtype.itemsize for stride in strides], writeable=False)

    return Entry(dtype, shape, read)


def safetensors(file: BinaryIO) -> dict[str, Any]:
    """The entries of a .safetensors file and its METADATA: the header's length in 8 bytes, a JSON header, the numbers."""
    size = _size(file)
    length = int.from_bytes(_bytes(file, 0, 8), 'little')
    if length > size - 8:
        raise ValueError('the header reaches beyond the end')
    if length > _LARGEST_HEADER:
        raise CheckpointError(f'its header has {length:,} bytes; {_LARGEST_HEADER:,} are read at most')
    header, start = json.loads(_bytes(file, 8, length)), 8 + length
    return {name: entry if name == METADATA else _claimed(file, name, entry, start, size) for name, entry in header.items()}


def _claimed(file, name, entry, start, size) -> Entry:
    kind, shape, (begin, end) = entry['dtype'], entry['shape'], entry['data_offsets']
    if kind not in _SAFETENSORS:
        raise CheckpointError(f'{name} is {kind}; readable are {", ".join(_SAFETENSORS)}')
    dtype = _dtype(_SAFETENSORS[kind])
    if (
        not all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        or begin > end
        or end > size - start
        or len(shape) > _MOST_SIDES
    ):
        raise ValueError(f'{name} reaches beyond the end')
    if prod(shape) * dtype.itemsize != end - begin:
        raise ValueError(f'{name} has {end - begin} bytes for the shape {shape}')
    return Entry(dtype, tuple(shape), lambda: np.frombuffer(_bytes(file, start + begin, end - begin), dtype).reshape(shape))


def write_safetensors(file: BinaryIO, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes float32 arrays in their order, and the metadata."""
    header, place = {METADATA: dict(metadata)}, 0
    for name, array in arrays.items():
        header[name] = {'dtype': 'F32', 'shape': array.shape, 'data_offsets': [place, place + array.nbytes]}
        place += array.nbytes
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)  # numbers begin at a multiple of 8 bytes
    if len(text) > _LARGEST_HEADER:
        raise CheckpointError(f'the header would have {len(text):,} bytes; {_LARGEST_HEADER:,} are read at most')
    file.write(len(text).to_bytes(8, 'little') + text)
    for array in arrays.values():
        file.write(np.ascontiguousarray(array, '<f4').tobytes())


def npz(file: BinaryIO) -> dict[str, Entry]:
    """The entries of a .npz file; pickled ones are refused."""
    archive, entries = zipfile.ZipFile(file), {}
    for info in archive.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise CheckpointError(f'{info.filename} is compressed otherwise than NumPy does it')
        with archive.open(info) as member:
            dtype, shape, _ = _npy_header(member, info.file_size)
        entries[info.filename.removesuffix('.npy')] = Entry(dtype, shape, functools.partial(_member, archive, info))
    return entries


def _member(archive, info):
    with archive.open(info) as member:
        return _npy(member, info.file_size)


def npy(file: BinaryIO) -> np.ndarray:
    """The array of a .npy file; a pickled one is refused."""
    size = _size(file)
    file.seek(0)
    return _npy(file, size)


def _npy_header(file: BinaryIO, size: int) -> tuple[np.dtype, tuple[int, ...], bool]:
    """(dtype, shape, whether columns lie together); ValueError unless the numbers it promises are the rest of `size` bytes."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise CheckpointError(f'an array in it is of format {version}; readable are 1.0 and 2.0')
    shape, by_columns, dtype = read(file)
    if dtype.hasobject or dtype.names or dtype.subdtype:
        raise CheckpointError(f'an array in it holds {dtype}; objects and records are not read')
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f'an array of shape {shape} does not have the {size - file.tell()} bytes that are there')
    return dtype, shape, by_columns


def _npy(file, size):
    dtype, shape, by_columns = _npy_header(file, size)
    data = file.read(prod(shape) * dtype.itemsize)
    if file.read(1):  # also the end of a zip's member, where its checksum is compared
        raise ValueError('an array has more numbers than it says')
    return np.frombuffer(data, dtype).reshape(shape, order='F' if by_columns else 'C')
