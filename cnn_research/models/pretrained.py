"""Other people's weights in this library's terms, and ours in theirs.

Read are torchvision's AlexNet, the AlexNet and CaffeNet of Berkeley's Caffe, the compressed SqueezeNet of its authors, and what `export`
writes. Caffe's networks, of which SqueezeNet is one, were trained on B, G, R and get their first kernel's channels turned round, so that
they read R, G, B like every other. What a file does otherwise than the published ones, and what has to be assumed because the file does
not say it, is told in notes, a line each.
"""

import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple

import numpy as np

from cnn_research import classes
from cnn_research.architecture import Architecture, resized
from cnn_research.errors import CheckpointError, ResearchError
from cnn_research.models import caffemodel, codebooks, layouts, passport, tensor_files, zoo
from cnn_research.models.layouts import printable
from cnn_research.models.tensor_files import MOST_NUMBERS, Entry
from cnn_research.stages import Convolution, Dense, MaxPool, ReLU, Response

READERS = {
    **dict.fromkeys(('.pth', '.pt', '.tar', '.ckpt'), tensor_files.torch),
    '.safetensors': tensor_files.safetensors,
    '.npz': tensor_files.npz,
    '.caffemodel': caffemodel.layers,
}
MEANS = {'.npy': tensor_files.npy, '.binaryproto': caffemodel.blob}
_LARGEST = {'.caffemodel': 1 << 31, '.npy': 1 << 28, '.binaryproto': 1 << 28}  # bytes of files that are read whole; protobuf's own limit
IMAGE_SIDE = 256  # px of the images whose centre these networks read, torchvision's by the short side, Caffe's squares
_SUPPORTED = (
    "torchvision's AlexNet (.pth, .safetensors, .npz), Caffe's AlexNet and CaffeNet (.caffemodel), SqueezeNet in codes (.npz), "
    'and what was exported here'
)

_CAFFE_TYPES = {Convolution: 'Convolution', Dense: 'InnerProduct', ReLU: 'ReLU', Response: 'LRN', MaxPool: 'Pooling'}

# torchvision's transforms for its ImageNet models, of pixels from 0 to 1.
_TORCHVISION_MEAN, _TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The mean pixel, R, G, B in grey levels, that CaffeNet's train_val.prototxt gives beside the mean image.
_CAFFE_MEAN = (123, 117, 104)

DAMAGE = (  # what Python and NumPy raise for files that are not what they say
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, RuntimeError, MemoryError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)


class Published(NamedTuple):
    """A network from a file. variables: {'params', 'preprocessing'}, for Network.apply and augment.prepare.

    class_names: in the order of the outputs, None where they are not known; notes: what was read otherwise than it stands there, or
    assumed, a line each; resize: as data.resize, the short side of the images that it was made for, 0 = as they are; image_shape: (H, W, C)
    of those images before that, None where it is not known.
    """

    architecture: Architecture
    variables: dict
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...]
    resize: int
    image_shape: tuple[int, int, int] | None = None


def load(path, expected: str = '', mean=None) -> Published:
    """The network of a file of weights.

    .pth, .pt, .pth.tar, .ckpt, .safetensors and .npz hold the state dict of torchvision's AlexNet (Krizhevsky 2014: alexnet_owt), also one
    within a training's checkpoint, under a wrapper's names or with a renamed last layer; a .safetensors may be one that `export` wrote, of
    any network; .caffemodel holds BVLC AlexNet (bvlc_alexnet) or CaffeNet (caffenet), told apart by the order of their layers; .npz may
    also hold SqueezeNet (squeezenet) in codes, as models/codebooks.py says. `expected` names another network in the zoo's notation, such as
    a narrower one; without it the last layer has as many classes as the file.

    preprocessing of published weights: 'mean' (3,) and 'scale' (3,), R, G, B in grey levels: torchvision's mean and deviation, or Caffe's
    mean. `mean` is a file of Caffe's: .npy (3,) or (3, H, W), or .binaryproto, B, G, R; 'mean' is then (3,) or (H, W, 3) with H = W, the
    side of the images that it is subtracted from before their centre is cut out.

    Raises CheckpointError where a file is missing, damaged, or of another network, with the first names and shapes that differ.
    """
    path = pathlib.Path(path)
    with _opened(path, READERS) as (found, read):
        if _kind(path) == '.caffemodel':
            return _caffe(path, found, expected, mean)
        if mean is not None:
            raise CheckpointError(f'{_name(path)}: a mean file goes with a .caffemodel; the mean of others is always the same.')
        if codebooks.is_coded(found):
            return _coded(path, found, expected, read)
        metadata = found.get(tensor_files.METADATA) if _kind(path) == '.safetensors' else None
        if passport.is_ours(metadata):
            return _exported(path, found, read(lambda: passport.read(metadata)), expected, read)
        return _torchvision(path, found, expected, read)


@contextmanager
def _opened(path: pathlib.Path, readers: Mapping[str, Callable]) -> Iterator[tuple]:
    """(what the reader of the file's suffix makes of it, a function that calls another and tells damage alike), while the file is open."""
    reader = readers.get(_kind(path))
    if reader is None:
        raise CheckpointError(f'{_name(path)} is of no kind that is read here; its name must end in {", ".join(readers)}.')

    def read(call: Callable):
        try:
            return call()
        except OSError as error:
            raise CheckpointError(f'{_name(path)} cannot be read: {error.strerror or error}.') from None
        except ResearchError as error:
            reason = f'is refused: {error}'
        except DAMAGE as error:
            reason = f'is cut short, damaged, or not what its name says: {type(error).__name__}: {error}'
        reason = ' '.join(reason.split()).rstrip('.')  # what a file holds may have line breaks, and no end
        raise CheckpointError(f'{_name(path)} {_shown(reason)}.')

    file = read(lambda: _file(path))
    with file:
        yield read(lambda: reader(file)), read


def _file(path: pathlib.Path) -> BinaryIO:
    if not path.exists():
        raise CheckpointError(f'there is no such file. Readable are {_SUPPORTED}')
    if not path.is_file():
        raise CheckpointError('it is a folder or a device, no file')
    size, most = path.stat().st_size, _LARGEST.get(_kind(path))
    if not size:
        raise CheckpointError('it is empty')
    if most and size > most:
        raise CheckpointError(f'it has {size:,} bytes; {most:,} are read at most')
    return path.open('rb')


def _kind(path: pathlib.Path) -> str:
    return path.suffix.lower()


def _name(path: pathlib.Path) -> str:
    """The path in characters that any terminal prints on one line."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def _shown(reason: str) -> str:
    reason = reason if len(reason) <= 500 else f'{reason[:497]}...'
    return reason if reason.isprintable() else ascii(reason)


def _refuse(path: pathlib.Path, net: Architecture, differing: list[str], has: str = '') -> None:
    more = f', and {len(differing) - 3} differences more' if len(differing) > 3 else ''
    raise CheckpointError(
        f'{_name(path)} is not {net.name}: {", ".join(differing[:3])}{more}{has and f"; it has {has}"}. Readable are {_SUPPORTED}.'
    )


def _numbers(path: pathlib.Path, net: Architecture, entries: Mapping[str, Entry], read: Callable) -> dict[str, np.ndarray]:
    """Float32 arrays of entries whose shapes were compared with the network's."""
    if net.parameters > MOST_NUMBERS:
        raise CheckpointError(f'{_name(path)} claims {net.parameters:,} numbers; {MOST_NUMBERS:,} are read at most.')
    arrays = {}
    for name, entry in entries.items():
        with np.errstate(over='ignore', invalid='ignore'):  # found below
            arrays[name] = np.asarray(read(entry.read), np.float32)
        if not np.isfinite(arrays[name]).all():
            raise CheckpointError(f'{_name(path)} is refused: {printable(name)} holds numbers that are not finite as float32.')
    return arrays


def _precision(entries: Mapping[str, Entry]) -> list[str]:
    kinds = sorted({entry.dtype.name for entry in entries.values()} - {'float32'})
    return [f'its numbers are {" and ".join(kinds)} in the file and float32 here'] if kinds else []


def _expected(path: pathlib.Path, name: str, room=layouts) -> Architecture:
    """The network of that name, which must have the layers of the room's files."""
    net = zoo.architecture(name)
    if not room.fits(net):
        raise CheckpointError(f'{_name(path)} cannot be read into {net.name}: the file has {room.LAYERS}.')
    return net


def _with_classes(net: Architecture, weight: Entry | None) -> Architecture:
    """The network with one class for each row of the last layer's weights, for networks that were tuned to other classes."""
    number, outputs = net.layers[-1].number, weight.shape[0] if weight and weight.shape else 0
    return resized(net, {number: outputs}) if outputs not in (0, net.num_classes) else net


def _names(net: Architecture) -> tuple[tuple[str, ...] | None, str]:
    """(names of a published network's classes, the note that says how they are known)."""
    names = tuple(classes.imagenet())
    if net.num_classes == len(names):
        return names, "its 1000 classes are taken to be ImageNet's, in their published order"
    return None, f'names for its {net.num_classes} classes are not read from such a file'


def _renamed(found: dict[str, Entry], wanted: layouts.Shapes) -> tuple[dict[str, Entry], str]:
    """(the entries with the last layer under the name that is wanted, its name in the file where that is another)."""
    *_, weight, bias = wanted
    left = [name for name in found if name not in wanted]
    missing = [name for name in wanted if name not in found]
    if missing != [weight, bias] or len(left) != 2:
        return found, ''
    stem = left[0].rpartition('.')[0]
    new = {f'{stem}.weight': weight, f'{stem}.bias': bias}
    fits = set(new) == set(left) and len(shape := found[f'{stem}.weight'].shape) == 2 and shape[1] == wanted[weight][1]
    return ({new.get(name, name): entry for name, entry in found.items()}, stem) if fits else (found, '')


def _matched(path, net, found, names, expected):
    """(the network with the file's classes, the entries under the names of the layout, notes)."""
    found, stem = _renamed(found, layouts.foreign(net, names))
    if not expected:
        net = _with_classes(net, found.get(f'{names[-1]}.weight'))
    wanted = layouts.foreign(net, names)
    differing = layouts.differences(found, wanted)
    if differing:
        none = not set(found) & set(wanted)
        _refuse(path, net, differing, (layouts.told({name: entry.shape for name, entry in found.items()}) or 'no arrays') if none else '')
    note = f'its last layer is called {printable(stem)}; it is read as {names[-1]}, the classifier' if stem else ''
    return net, {name: found[name] for name in wanted}, [note] if note else []


def _torchvision(path, found, expected, read) -> Published:
    net = _expected(path, expected or 'alexnet_owt')
    names, wanted = layouts.TORCHVISION, layouts.foreign(net, layouts.TORCHVISION)
    roots = {name.split('.')[0] for name in names}
    places = layouts.state_dicts(found)
    if not places:
        raise CheckpointError(f'{_name(path)} is refused: it holds no state dict, {{name: tensor}}; save model.state_dict().')

    def known(state):
        return len(set(wanted) & {layouts.unwrapped(name, roots)[0] for name in layouts.entries(state)})

    scores = {place: known(state) for place, state in places.items()}
    place = max(scores, key=scores.get)  # the first, which is the likeliest, of equals
    here, entries, taken = layouts.entries(places[place]), {}, {}
    for name, entry in here.items():
        short, away = layouts.unwrapped(name, roots)
        if short in entries:
            raise CheckpointError(
                f'{_name(path)} is refused: {printable(name)} and another array in it are both {short}; save one network.'
            )
        entries[short] = entry
        taken |= {away: None} if away else {}
    notes = [f'its state dict is read from its entry {place}'] if place else []
    others = [other for other in scores if other != place and scores[other] == scores[place]]
    notes += [f'its {" and ".join(others[:3])} {"are" if len(others) > 1 else "is"} a network too, and not read'] if others else []
    aside = {name for name in (*(found if place else ()), *places[place]) if isinstance(name, str)}
    aside -= {*here, place.partition('/')[0], tensor_files.METADATA}
    if aside:
        notes.append(f'left aside: {layouts.listed(aside)}')
    if taken:
        notes.append(f'its names are read without {layouts.listed(taken)}')
    net, entries, more = _matched(path, net, entries, names, expected)
    class_names, said = _names(net)
    notes += [*more, *_precision(entries), f"assumed, for the file does not say: torchvision's mean and deviation of pixels; {said}"]
    params = layouts.from_foreign(net, _numbers(path, net, entries, read), names)
    preprocessing = {'mean': 255 * np.array(_TORCHVISION_MEAN), 'scale': 1 / (255 * np.array(_TORCHVISION_STD))}
    return Published(net, _variables(params, preprocessing), class_names, tuple(notes), IMAGE_SIDE)


def _variables(params: dict, preprocessing: Mapping) -> dict:
    return {'params': params, 'preprocessing': {name: np.asarray(value, np.float32) for name, value in preprocessing.items()}}


def _caffe(path, layers, expected, mean) -> Published:
    net = _of_these_types(path, layers, [_expected(path, name) for name in ([expected] if expected else ('bvlc_alexnet', 'caffenet'))])
    found = {}
    for layer in layers:
        for kind, blob in zip(('weight', 'bias'), layer.blobs, strict=False):
            sides = {'bias': 1}.get(kind, 4 if layer.type == 'Convolution' else 2)
            if blob.shape[:-sides] == (1,) * (blob.ndim - sides):  # old blobs have ones in front
                blob = blob.reshape(blob.shape[-sides:])
            found[f'{layer.name}.{kind}'] = Entry(blob.dtype, blob.shape, lambda blob=blob: blob)
    net, entries, notes = _matched(path, net, found, layouts.CAFFE, expected)
    arrays = _numbers(path, net, entries, lambda call: call())
    arrays[f'{layouts.CAFFE[0]}.weight'] = arrays[f'{layouts.CAFFE[0]}.weight'][:, ::-1]
    middle = np.array(_CAFFE_MEAN) if mean is None else _mean(pathlib.Path(mean), net)
    class_names, said = _names(net)
    notes += ['no mean file was given; its mean pixel is subtracted'] if mean is None else []
    variables = _variables(layouts.from_foreign(net, arrays, layouts.CAFFE), {'mean': middle, 'scale': (1, 1, 1)})
    side = len(middle) if middle.ndim == 3 else IMAGE_SIDE
    return Published(net, variables, class_names, (*notes, f'assumed: {said}'), side)


def _coded(path, found, expected, read) -> Published:
    net = _expected(path, expected or 'squeezenet', codebooks)
    entries = read(lambda: codebooks.entries(found))
    if not expected:
        net = _with_classes(net, entries.get(codebooks.LAST))
    wanted = codebooks.shapes(net)
    differing = layouts.differences(entries, wanted)
    if differing:
        _refuse(path, net, differing)
    class_names, said = _names(net)
    notes = (f"assumed, for the file does not say: the mean pixel of Caffe's networks; {said}",)
    params = codebooks.parameters(net, _numbers(path, net, {name: entries[name] for name in wanted}, read))
    return Published(net, _variables(params, {'mean': _CAFFE_MEAN, 'scale': (1, 1, 1)}), class_names, notes, IMAGE_SIDE)


def _of_these_types(path: pathlib.Path, layers: list[caffemodel.CaffeLayer], nets: list[Architecture]) -> Architecture:
    """The first of the networks whose stages are the file's layers; what learns nothing tells AlexNet from CaffeNet."""

    def words(types):
        return ' '.join(types)

    found = words(layer.type for layer in layers if layer.type in _CAFFE_TYPES.values())
    expected = {net: words(_CAFFE_TYPES[type(s)] for layer in net.layers for s in layer.stages if type(s) in _CAFFE_TYPES) for net in nets}
    for net, types in expected.items():
        if types == found:
            return net
    offer = '; '.join(f'those of {net.name} {types}' for net, types in expected.items())
    raise CheckpointError(f'{_name(path)} is of another network: its layers are {found[:200] or "none"}, {offer}.')


def _mean(path: pathlib.Path, net: Architecture) -> np.ndarray:
    """(3,) or (side, side, 3), R, G, B, of a mean file (3,), (3, side, side) or (1, 3, side, side), B, G, R."""
    with _opened(path, MEANS) as (mean, _):
        pass
    if mean.ndim == 4 and len(mean) == 1:
        mean = mean[0]
    if mean.ndim not in (1, 3) or len(mean) != 3:
        raise CheckpointError(f'{_name(path)} holds {mean.shape}; a mean in B, G, R is (3,), (3, H, W) or (1, 3, H, W).')
    if mean.ndim == 3 and (mean.shape[1] != mean.shape[2] or mean.shape[1] < net.input_shape[0]):
        raise CheckpointError(
            f'{_name(path)} holds a mean of {mean.shape[1:]} px; it must be a square of at least {net.input_shape[0]} px.'
        )
    if mean.dtype.kind not in 'fiu' or not np.isfinite(mean).all():
        raise CheckpointError(f'{_name(path)} holds values that are not finite numbers.')
    return np.moveaxis(mean[::-1], 0, -1)


# Our own files.


def _exported(path, found, described, expected, read) -> Published:
    net = described.architecture
    if expected and zoo.architecture(expected) != net:
        raise CheckpointError(f'{_name(path)} holds {net.name}, not {expected}.')
    foreign = described.layout == passport.TORCHVISION
    if foreign and not layouts.is_torchvisions(net):
        raise CheckpointError(f"{_name(path)} is refused: it says that it has torchvision's layout, which {net.name} does not have.")
    wanted = layouts.foreign(net, layouts.TORCHVISION) if foreign else layouts.own(net)
    found = {name: entry for name, entry in found.items() if isinstance(entry, Entry)}
    differing = layouts.differences(found, wanted)
    if differing:
        _refuse(path, net, differing)
    arrays = _numbers(path, net, {name: found[name] for name in wanted}, read)
    params = layouts.from_foreign(net, arrays, layouts.TORCHVISION) if foreign else layouts.from_own(arrays)
    variables = _variables(params, described.preprocessing)
    return Published(net, variables, described.class_names, tuple(_precision(found)), described.resize, described.image_shape)


def export(
    path, architecture: Architecture, variables: Mapping, class_names: Sequence[str] = (), resize: int = 0, image_shape=None
) -> tuple[str, ...]:
    """Writes a trained network as a new .safetensors file, from which `load` reads the same to the bit; what the file is, a line each.

    Where torchvision's AlexNet computes the same (alexnet_owt, of any widths, number of classes and dropout), the arrays are in its layout,
    for load_state_dict; else in ours: layer1.convolution.kernel (H, W, I, O), ... Architecture, preprocessing, classes' names, resize
    (as data.resize) and image_shape (H, W, C) of what it learned from are in the metadata. Raises CheckpointError for arrays that are not
    the architecture's, not float32 or not finite, and for a file that is there already or cannot be made.
    """
    path = pathlib.Path(path)
    if _kind(path) != '.safetensors':
        raise CheckpointError(f'{_name(path)}: a network is exported to a file whose name ends in .safetensors.')
    own, wanted = layouts.to_own(variables['params']), layouts.own(architecture)
    differing = layouts.differences({name: Entry(array.dtype, array.shape, lambda: None) for name, array in own.items()}, wanted)
    differing += [f'{name} is {array.dtype}, not float32' for name, array in own.items() if array.dtype != np.float32]
    differing += [f'{name} holds numbers that are not finite' for name, array in own.items() if not np.isfinite(array).all()]
    if differing:
        raise CheckpointError(
            f'{_name(path)} was not written: the arrays are not those of {architecture.name}: {", ".join(differing[:3])}.'
        )
    foreign = layouts.is_torchvisions(architecture)
    arrays = layouts.to_foreign(architecture, variables['params'], layouts.TORCHVISION) if foreign else {name: own[name] for name in wanted}
    names = tuple(class_names) or None  # none where they are not known
    layout = passport.TORCHVISION if foreign else 'own'
    described = passport.Described(architecture, variables['preprocessing'], names, resize, layout, image_shape)
    metadata, notes = passport.written(described)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        if path.exists():
            raise CheckpointError(f'{_name(path)} is there already; name another file, or delete it.')
        with partial.open('xb') as file:
            tensor_files.write_safetensors(file, arrays, metadata)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise CheckpointError(f'{_name(path)} cannot be written: {error.strerror or error}.') from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return notes
