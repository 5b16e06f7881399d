"""Published weights in this library's terms: torchvision's AlexNet, and the AlexNet and CaffeNet of Berkeley's Caffe.

What differs between the libraries is settled here once: kernels (O, I, H, W) become (H, W, I, O), the first dense layer reads maps
flattened in the order H, W, C instead of C, H, W, and Caffe's networks, which were trained on B, G, R, get their first kernel's
channels turned round, so that they read R, G, B like every other. Groups keep their order.
"""

import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable
from math import prod

import numpy as np

from cnn_research.architecture import Architecture, resized
from cnn_research.errors import CheckpointError
from cnn_research.models import caffemodel, tensor_files, zoo
from cnn_research.stages import Convolution, Dense, MaxPool, ReLU, Response

READERS = {
    '.pth': tensor_files.torch,
    '.pt': tensor_files.torch,
    '.safetensors': tensor_files.safetensors,
    '.npz': tensor_files.npz,
    '.caffemodel': caffemodel.layers,
}
IMAGE_SIDE = 256  # px of the images whose centre these networks read, torchvision's by the short side, Caffe's squares
MEANS = {'.npy': tensor_files.npy, '.binaryproto': caffemodel.blob}

# The files' names of layers 1 to 8.
_TORCHVISION = (*(f'features.{i}' for i in (0, 3, 6, 8, 10)), *(f'classifier.{i}' for i in (1, 4, 6)))
_CAFFE = (*(f'conv{i}' for i in range(1, 6)), *(f'fc{i}' for i in range(6, 9)))
_CAFFE_TYPES = {Convolution: 'Convolution', Dense: 'InnerProduct', ReLU: 'ReLU', Response: 'LRN', MaxPool: 'Pooling'}

# torchvision's transforms for its ImageNet models, of pixels from 0 to 1.
_TORCHVISION_MEAN, _TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The mean pixel, R, G, B in grey levels, that CaffeNet's train_val.prototxt gives beside the mean image.
_CAFFE_MEAN = (123, 117, 104)

_DAMAGE = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, RuntimeError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)


def load(path, expected: str = '', mean=None) -> tuple[Architecture, dict]:
    """(architecture, {'params', 'preprocessing'}) of a file of published weights, for Network.apply and augment.prepare.

    .pth, .pt, .safetensors and .npz hold the state dict of torchvision's AlexNet (Krizhevsky 2014: alexnet_owt), .caffemodel
    BVLC AlexNet (bvlc_alexnet) or CaffeNet (caffenet), told apart by the order of their layers. `expected` names another network in the
    zoo's notation, such as a narrower one; without it the last layer has as many classes as the file.

    preprocessing: 'mean' (3,) and 'scale' (3,), R, G, B in grey levels: torchvision's mean and deviation, or Caffe's mean. `mean` is
    a file of Caffe's: .npy (3,) or (3, H, W), or .binaryproto, B, G, R; 'mean' is then (3,) or (H, W, 3), and images must be H x W.

    Raises CheckpointError where a file is missing, damaged, or of another network, with the first name or shape that differs.
    """
    path = pathlib.Path(path)
    caffe = path.suffix == '.caffemodel'
    if path.suffix in READERS and not path.is_file():
        net = zoo.architecture(expected or ('bvlc_alexnet' if caffe else 'alexnet_owt'))
        raise CheckpointError(f'{path}: there is no such file. Expected: {_told(_wanted(net, _CAFFE if caffe else _TORCHVISION))}.')
    if caffe:
        layers = _read(path, READERS)
        arrays = {f'{layer.name}.{kind}': blob for layer in layers for kind, blob in zip(('weight', 'bias'), layer.blobs, strict=False)}
        nets = [zoo.architecture(name) for name in ([expected] if expected else ('bvlc_alexnet', 'caffenet'))]
        net, names, turned = _of_these_types(path, layers, nets), _CAFFE, True
        preprocessing = {'mean': _CAFFE_MEAN if mean is None else _mean(pathlib.Path(mean)), 'scale': (1, 1, 1)}
    else:
        arrays = _read(path, READERS)
        net, names, turned = zoo.architecture(expected or 'alexnet_owt'), _TORCHVISION, False
        if mean is not None:
            raise CheckpointError(f"{path}: a mean file goes with a .caffemodel; torchvision's mean is always the same.")
        preprocessing = {'mean': 255 * np.array(_TORCHVISION_MEAN), 'scale': 1 / (255 * np.array(_TORCHVISION_STD))}
    if not expected:
        net = _with_classes(net, arrays.get(f'{names[-1]}.bias'))
    params = _params(path, net, arrays, names, turned)
    return net, {'params': params, 'preprocessing': {name: np.asarray(value, np.float32) for name, value in preprocessing.items()}}


def _read(path: pathlib.Path, readers: dict[str, Callable]):
    """What the reader of the file's suffix makes of its bytes."""
    reader = readers.get(path.suffix)
    if reader is None:
        raise CheckpointError(f'{path} is of no kind that is read here; its name must end in {", ".join(readers)}.')
    try:
        return reader(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read: {error.strerror or error}.') from None
    except CheckpointError as error:
        reason = f'is refused: {error}'
    except _DAMAGE as error:
        reason = f'is cut short, damaged, or not what its name says: {type(error).__name__}: {error}'
    raise CheckpointError(f'{path} {" ".join(reason.split())}.')  # what a file holds may have line breaks


def _mean(path: pathlib.Path) -> np.ndarray:
    """(3,) or (H, W, 3), R, G, B, of a mean file (3,), (3, H, W) or (1, 3, H, W), B, G, R."""
    mean = _read(path, MEANS)
    if mean.ndim == 4 and len(mean) == 1:
        mean = mean[0]
    if mean.ndim not in (1, 3) or len(mean) != 3:
        raise CheckpointError(f'{path} holds {mean.shape}; a mean in B, G, R is (3,), (3, H, W) or (1, 3, H, W).')
    return np.moveaxis(mean[::-1], 0, -1)


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
    raise CheckpointError(f'{path} is of another network: its layers are {found or "none"}, {offer}.')


def _with_classes(net: Architecture, bias: np.ndarray | None) -> Architecture:
    """The network with one class for each number in the last layer's bias, for networks that were tuned to other classes."""
    number, classes = net.layers[-1].number, 0 if bias is None else bias.size
    return resized(net, {number: classes}) if classes not in (0, net.num_classes) else net


def _params(path: pathlib.Path, net: Architecture, arrays: dict[str, np.ndarray], names: tuple[str, ...], turned: bool) -> dict:
    numbers = [layer.number for layer in net.layers]
    if numbers != list(range(1, len(names) + 1)) or not all(isinstance(layer.stages[0], Convolution | Dense) for layer in net.layers):
        raise CheckpointError(f'{path} cannot be read into {net.name}: the file has five convolutions and three dense layers, 1 to 8.')
    inputs, wanted = _inputs(net), _wanted(net, names)
    _check(path, net, arrays, wanted)
    params = {}
    for layer, name in zip(net.layers, names, strict=True):
        weight, bias = (arrays[f'{name}.{kind}'].reshape(wanted[f'{name}.{kind}']) for kind in ('weight', 'bias'))
        if turned and layer.number == 1:
            weight = weight[:, ::-1]
        kernel = _kernel(weight, inputs[layer.number])
        learned = {'kernel': np.ascontiguousarray(kernel, np.float32), 'bias': np.asarray(bias, np.float32)}
        params[layer.name] = {layer.stages[0].name: learned}
    return params


def _inputs(net: Architecture) -> dict[int, tuple[int, ...]]:
    """{layer: shape that its first stage reads}."""
    return {row.layer: row.input for row in reversed(net.rows)}


def _wanted(net: Architecture, names) -> dict[str, tuple[int, ...]]:
    """{name in the file: shape}."""
    inputs, wanted = _inputs(net), {}
    for layer, name in zip(net.layers, names, strict=True):
        shapes = layer.stages[0].parameters(inputs[layer.number])
        wanted |= {f'{name}.weight': _to_file(shapes['kernel']), f'{name}.bias': shapes['bias']}
    return wanted


def _told(shapes: dict[str, tuple[int, ...]]) -> str:
    return ', '.join(f'{name if name.isprintable() else ascii(name)} {shape}' for name, shape in shapes.items())


def _to_file(kernel: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in a file of a kernel (H, W, I, O) or (I, O) here."""
    return (kernel[-1], kernel[-2], *kernel[:-2])


def _kernel(weight: np.ndarray, input_shape: tuple[int, ...]) -> np.ndarray:
    """(H, W, I, O) of (O, I, H, W), or (I, O) of (O, I), whose I inputs are maps flattened as C, H, W if the input is maps."""
    if weight.ndim == 4:
        return weight.transpose(2, 3, 1, 0)
    if len(input_shape) == 3:
        height, width, channels = input_shape
        weight = weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(len(weight), prod(input_shape))
    return weight.T


def _check(path: pathlib.Path, net: Architecture, arrays: dict[str, np.ndarray], wanted: dict[str, tuple[int, ...]]) -> None:
    """CheckpointError unless the file has just these names and shapes, beside ones in front of a shape."""

    found = {name: array.shape for name, array in arrays.items()}
    extra = {name: shape for name, shape in found.items() if name not in wanted}
    wrong = f'it also has {_told(extra)}' if extra else ''
    for name, shape in reversed(wanted.items()):
        if name not in found:
            wrong = f'{name} {shape} is missing; in it are {_told(found) or "none"}'
        elif found[name][-len(shape) :] != shape or prod(found[name]) != prod(shape):
            wrong = f'{name} should be {shape}, but is {found[name]}'
    if wrong:
        raise CheckpointError(f'{path} is not {net.name}: {wrong}. Expected: {_told(wanted)}.')
