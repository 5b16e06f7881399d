"""The pickles of torch.save, read opcode by opcode into dicts, lists, tuples, plain values and descriptions of tensors; nothing is called.

A class or function that a pickle names is compared with those that a checkpoint of a training needs; any other is refused with
CheckpointError. Damage raises what Python raises for it (ValueError, IndexError, ...).
"""

import io
import pickletools
from typing import Any, BinaryIO, NamedTuple

from cnn_research.errors import CheckpointError

# A state dict of a thousand tensors with its optimizer's state is a tenth of either.
LARGEST_PICKLE = 4 << 20  # bytes
MOST_WORK = 1 << 20  # opcodes, and pairs that ordered dicts are made of

# What a checkpoint names, with a space between module and name as in the pickle.
_DICTS = ('collections OrderedDict', 'collections defaultdict')
_TENSORS = ('torch._utils _rebuild_tensor', 'torch._utils _rebuild_tensor_v2')
_PARAMETERS = ('torch._utils _rebuild_parameter', 'torch.nn.parameter Parameter')
_STORAGES = {
    **{'torch FloatStorage': '<f4', 'torch HalfStorage': '<f2', 'torch BFloat16Storage': 'bfloat16', 'torch DoubleStorage': '<f8'},
    **{'torch LongStorage': '<i8', 'torch IntStorage': '<i4', 'torch ShortStorage': '<i2', 'torch CharStorage': '|i1'},
    **{'torch ByteStorage': '|u1', 'torch BoolStorage': '|b1'},
}
# What a training saves beside its weights: a best accuracy of NumPy's, the command's arguments, a device. They stay names without a value.
_ASIDE = (
    *(
        'argparse Namespace',
        'collections Counter',
        '_codecs encode',
        'numpy dtype',
        'numpy ndarray',
        'torch Size',
        'torch device',
        'pathlib PosixPath',
    ),
    *(f'numpy.{core}.multiarray {name}' for core in ('core', '_core') for name in ('scalar', '_reconstruct')),
    *(f'{module} {name}' for module in ('builtins', '__builtin__') for name in ('set', 'dict', 'list', 'int', 'float')),
    *(f'torch {kind}' for kind in ('float32', 'float16', 'bfloat16', 'float64')),
)
_NAMES = (*_DICTS, *_TENSORS, *_PARAMETERS, *_STORAGES, *_ASIDE)

# Opcodes whose argument is the value itself.
_LITERALS = (
    *('BININT', 'BININT1', 'BININT2', 'LONG1', 'LONG4', 'BINFLOAT'),
    *('BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'BINSTRING', 'SHORT_BINSTRING', 'BINBYTES', 'SHORT_BINBYTES'),
)
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': ()}
_EMPTY = {'EMPTY_DICT': dict, 'EMPTY_LIST': list}


class Name(NamedTuple):
    """A class or function that a pickle names, or what it would have made."""

    name: str


class Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def unpickled(file: BinaryIO, size: int) -> tuple[Any, dict[str, Storage]]:
    """(the value of the pickle that begins at the file's position, {key: storage} of all that it names).

    size: bytes that the pickle may have, at most LARGEST_PICKLE of which are read. The position is left behind the pickle's end.
    """
    start = file.tell()
    window = io.BytesIO(file.read(min(size, LARGEST_PICKLE)))  # what an opcode claims as its length finds its end here
    stack, below, memo, storages, work = [], [], {}, {}, 0

    def above_mark():
        nonlocal stack
        values, stack = stack, below.pop()
        return values

    for opcode, argument, _ in pickletools.genops(window):
        work += 1
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
                below.append(stack)
                stack = []
            case 'TUPLE':
                values = tuple(above_mark())
                stack.append(values)
            case 'TUPLE1' | 'TUPLE2' | 'TUPLE3':
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case 'APPEND':
                value = stack.pop()
                stack[-1].append(value)
            case 'APPENDS':
                values = above_mark()
                stack[-1].extend(values)
            case 'SETITEM':
                pair = stack[-2:]
                del stack[-2:]
                _set(stack[-1], [pair])
            case 'SETITEMS':
                values = above_mark()
                _set(stack[-1], zip(values[::2], values[1::2], strict=True))
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
                maker, arguments = stack[-2:]
                made = _made(maker, arguments)
                work += len(made) if maker.name in _DICTS else 0
                stack[-2:] = [made]
            case 'BINPERSID':
                storage = _storage(stack.pop())
                if storages.setdefault(storage.key, storage) != storage:
                    raise ValueError(f'two storages have the key {storage.key!r}')
                stack.append(storage)
            case 'BUILD':
                stack.pop()  # attributes of a dict or parameter: the modules' versions, whether it learns
            case _:
                raise CheckpointError(f'its pickle has the opcode {opcode.name}, which no state dict needs')
        if work > MOST_WORK:
            raise CheckpointError(f'its pickle has more than {MOST_WORK:,} operations, which no state dict needs')
    file.seek(start + window.tell())
    return stack.pop(), storages


def _set(target: dict, pairs) -> None:
    for key, value in pairs:
        if not isinstance(key, str | int | float | bytes | None):  # the hash of tuples within tuples may take for ever
            raise ValueError(f'a key of a dict is a {type(key).__name__}')
        target[key] = value


def _named(name: str) -> Name:
    if name not in _NAMES:
        raise CheckpointError(
            f'its pickle names {name.replace(" ", ".")[:100]}, which is not loaded: only dicts, tensors and plain values are; '
            'save model.state_dict()'
        )
    return Name(name)


def _made(maker: Name, arguments: tuple) -> Any:
    """What a named class or function makes of its arguments."""
    if maker.name in _ASIDE:
        return maker
    if maker.name in _DICTS:
        made: dict = {}
        if arguments and not isinstance(arguments[0], Name):  # a defaultdict's is the class of its values
            _set(made, arguments[0])
        return made
    if maker.name in _PARAMETERS:
        return arguments[0]
    if maker.name not in _TENSORS or not isinstance(arguments[0], Storage):
        raise ValueError(f'{maker.name} is called')
    _, offset, shape, strides = arguments[:4]
    if len(shape) != len(strides) or not all(type(number) is int and 0 <= number < 1 << 62 for number in (offset, *shape, *strides)):
        raise ValueError('the shape of a tensor cannot be')
    return Tensor(*arguments[:4])


def _storage(identity: tuple) -> Storage:
    """The storage of a persistent id: ('storage', its type, key, device, number of elements), before torch 1.6 also a view, always None."""
    kind, dtype, key, _device, length, *view = identity
    if kind != 'storage' or any(view) or type(key) is not str or type(length) is not int:
        raise ValueError('a storage is not described as torch.save does it')
    return Storage(key, _STORAGES[dtype.name], length)
