"""Named arrays in the files of other libraries: PyTorch's .pth, .safetensors, NumPy's .npz and .npy, from their bytes.

Nothing in a file is ever called. A pickle is read opcode by opcode into dicts, lists, tuples and tensors; a class or function that it
names is compared with the few that a state dict needs, and any other is refused with CheckpointError. Damage raises what Python raises
for it (ValueError, IndexError, ...), which pretrained.py turns into one line.
"""

import io
import json
import pickletools
import zipfile
from typing import Any, NamedTuple

import numpy as np

from cnn_research.errors import CheckpointError

_ZIP = b'PK\x03\x04'
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file from before torch 1.6

# What a state dict names, with a space between module and name as in the pickle.
_DICT = 'collections OrderedDict'
_TENSORS = ('torch._utils _rebuild_tensor', 'torch._utils _rebuild_tensor_v2')
_PARAMETERS = ('torch._utils _rebuild_parameter', 'torch.nn.parameter Parameter')
_STORAGES = {'torch FloatStorage': '<f4', 'torch HalfStorage': '<f2', 'torch DoubleStorage': '<f8', 'torch LongStorage': '<i8'}
_NAMES = (_DICT, *_TENSORS, *_PARAMETERS, *_STORAGES)

# Opcodes whose argument is the value itself.
_LITERALS = (
    *('BININT', 'BININT1', 'BININT2', 'LONG1', 'LONG4', 'BINFLOAT'),
    *('BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'BINSTRING', 'SHORT_BINSTRING'),
)
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': ()}
_EMPTY = {'EMPTY_DICT': dict, 'EMPTY_LIST': list}
_MARK = object()

_SAFETENSORS = {'F16': '<f2', 'F32': '<f4', 'F64': '<f8', 'I64': '<i8'}


class _Name(NamedTuple):
    """A class or function that a pickle names."""

    name: str


class _Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def torch(data: bytes) -> dict[str, np.ndarray]:
    """The state dict that torch.save wrote, in today's format or that from before torch 1.6.

    Raises CheckpointError for a pickle that names anything but ordered dicts and tensors, and for one that holds no such dict.
    """
    return _zipped(data) if data.startswith(_ZIP) else _legacy(data)


def _zipped(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickles = [name for name in archive.namelist() if name.split('/')[1:] == ['data.pkl']]
        if not pickles:
            raise CheckpointError('there is no data.pkl in it, as torch.save writes one')
        folder = pickles[0].removesuffix('data.pkl')
        state = _state_dict(_unpickled(io.BytesIO(archive.read(pickles[0]))))
        return {name: _array(tensor, archive.read(f'{folder}data/{tensor.storage.key}')) for name, tensor in state.items()}


def _legacy(data):
    file = io.BytesIO(data)
    if _unpickled(file) != _LEGACY_MAGIC:
        raise CheckpointError('it does not begin as torch.save begins')
    _protocol, _system = _unpickled(file), _unpickled(file)
    state, keys = _state_dict(_unpickled(file)), _unpickled(file)
    sizes = {storage.key: storage.length * np.dtype(storage.dtype).itemsize for storage, *_ in state.values()}
    storages = {}
    for key in keys:
        file.seek(8, io.SEEK_CUR)  # its length, which the tensors know
        storages[key] = file.read(sizes[key])
    return {name: _array(tensor, storages[tensor.storage.key]) for name, tensor in state.items()}


def _state_dict(value: Any) -> dict[str, _Tensor]:
    if not isinstance(value, dict) or not all(isinstance(name, str) and isinstance(tensor, _Tensor) for name, tensor in value.items()):
        raise CheckpointError('it holds no state dict, {name: tensor}; save model.state_dict()')
    return value


def _array(tensor: _Tensor, data: bytes) -> np.ndarray:
    storage, offset, shape, strides = tensor
    numbers = np.frombuffer(data, storage.dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if len(numbers) != storage.length or min((offset, *shape, *strides)) < 0 or last >= len(numbers):
        raise ValueError('a tensor reaches beyond its storage')
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, [stride * numbers.itemsize for stride in strides], writeable=False)


def _unpickled(file: io.BytesIO) -> Any:
    """The value of the pickle that begins at the file's position, which is left behind its end."""
    stack, memo = [], {}

    def above_mark():
        place = max(i for i, value in enumerate(stack) if value is _MARK)
        values = stack[place + 1 :]
        del stack[place:]
        return values

    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case 'PROTO' | 'FRAME' | 'STOP':
                pass
            case name if name in _LITERALS:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case name if name in _EMPTY:
                stack.append(_EMPTY[name]())
            case 'MARK':
                stack.append(_MARK)
            case 'TUPLE':
                stack.append(tuple(above_mark()))
            case 'TUPLE1' | 'TUPLE2' | 'TUPLE3':
                size = int(opcode.name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case 'APPEND':
                value = stack.pop()
                stack[-1].append(value)
            case 'APPENDS':
                values = above_mark()
                stack[-1].extend(values)
            case 'SETITEM':
                key, value = stack[-2:]
                del stack[-2:]
                stack[-1][key] = value
            case 'SETITEMS':
                values = above_mark()
                stack[-1].update(zip(values[::2], values[1::2], strict=True))
            case 'BINPUT' | 'LONG_BINPUT':
                memo[argument] = stack[-1]
            case 'MEMOIZE':
                memo[len(memo)] = stack[-1]
            case 'BINGET' | 'LONG_BINGET':
                stack.append(memo[argument])
            case 'GLOBAL':
                stack.append(_named(argument))
            case 'STACK_GLOBAL':
                stack[-2:] = [_named(' '.join(stack[-2:]))]
            case 'REDUCE' | 'NEWOBJ':
                stack[-2:] = [_made(*stack[-2:])]
            case 'BINPERSID':
                stack.append(_storage(stack.pop()))
            case 'BUILD':
                stack.pop()  # attributes of a dict or parameter: the modules' versions, whether it learns
            case _:
                raise CheckpointError(f'its pickle has the opcode {opcode.name}, which no state dict needs')
    return stack.pop()


def _named(name: str) -> _Name:
    if name not in _NAMES:
        raise CheckpointError(
            f'its pickle names {name.replace(" ", ".")}, which is not loaded: only ordered dicts and float tensors are; '
            'save model.state_dict()'
        )
    return _Name(name)


def _made(maker: _Name, arguments: tuple) -> Any:
    """What a named class or function makes of its arguments."""
    if maker.name == _DICT:
        return dict(*arguments)
    if maker.name in _PARAMETERS:
        return arguments[0]
    if maker.name not in _TENSORS or not isinstance(arguments[0], _Storage):
        raise ValueError(f'{maker.name} is called')
    return _Tensor(*arguments[:4])


def _storage(identity: tuple) -> _Storage:
    """The storage of a persistent id: ('storage', its type, key, device, number of elements), before torch 1.6 also a view, always None."""
    kind, dtype, key, _device, length, *view = identity
    if kind != 'storage' or any(view):
        raise ValueError(f'persistent id {kind}')
    return _Storage(key, _STORAGES[dtype.name], length)


def safetensors(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a .safetensors file: the header's length in 8 bytes, a JSON header, the numbers."""
    start = 8 + int.from_bytes(data[:8], 'little')
    if start > len(data):
        raise ValueError('the header reaches beyond the end')
    arrays = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == '__metadata__':
            continue
        if entry['dtype'] not in _SAFETENSORS:
            raise CheckpointError(f'{name} is {entry["dtype"]}; readable are {", ".join(_SAFETENSORS)}')
        begin, end = entry['data_offsets']
        if not 0 <= begin <= end <= len(data) - start:
            raise ValueError(f'{name} reaches beyond the end')
        numbers = np.frombuffer(data[start + begin : start + end], _SAFETENSORS[entry['dtype']])
        arrays[name] = numbers.reshape(entry['shape'])
    return arrays


def npz(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a .npz file; pickled ones are refused with ValueError."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def npy(data: bytes) -> np.ndarray:
    """The array of a .npy file; a pickled one is refused with ValueError."""
    return np.load(io.BytesIO(data), allow_pickle=False)
