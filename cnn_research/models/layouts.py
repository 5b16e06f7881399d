"""Where a network's arrays stand in a file: the layouts of torchvision and Caffe, and our own.

Kernels (O, I, H, W) there are (H, W, I, O) here, and the first dense layer, which there reads maps flattened in the order C, H, W, reads
them here in the order H, W, C. Groups keep their order. Our own layout is the tree of parameters with dots: layer1.convolution.kernel.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from math import prod

import numpy as np

from cnn_research.architecture import Architecture
from cnn_research.models import zoo
from cnn_research.models.tensor_files import Entry
from cnn_research.stages import Convolution, Dense, Dropout

Shapes = dict[str, tuple[int, ...]]

LAYERS = 'five convolutions and three dense layers, 1 to 8'
# The files' names of layers 1 to 8.
TORCHVISION = (*(f'features.{i}' for i in (0, 3, 6, 8, 10)), *(f'classifier.{i}' for i in (1, 4, 6)))
CAFFE = (*(f'conv{i}' for i in range(1, 6)), *(f'fc{i}' for i in range(6, 9)))

# Parts of names that wrappers put in: DataParallel and DistributedDataParallel, torch.compile.
_WRAPPERS = ('module', '_orig_mod')
# Where training scripts keep the weights, the likeliest first; what else is there is called by its own name.
_LIKELY = ('state_dict', 'model_state_dict', 'model_state', 'model', 'net', 'network', 'weights', 'params')
_DEEPEST = 4  # dicts within dicts


def own(net: Architecture) -> Shapes:
    """{name: shape} of our own layout."""
    shapes = {}
    for layer in net.layers:
        for name, stage in layer.named_stages():
            parameters = stage.parameters(net.row(f'{layer.name}.{name}').input)
            shapes |= {f'{layer.name}.{name}.{parameter}': shape for parameter, shape in parameters.items()}
    return shapes


def fits(net: Architecture) -> bool:
    """Whether a network has the layers that the other libraries' names stand for: five convolutions and three dense ones, 1 to 8."""
    kinds = (Convolution,) * 5 + (Dense,) * 3
    return [layer.number for layer in net.layers] == list(range(1, 9)) and all(
        type(layer.stages[0]) is kind for layer, kind in zip(net.layers, kinds, strict=True)
    )


def is_torchvisions(net: Architecture) -> bool:
    """Whether torchvision's AlexNet computes the same from the same arrays: alexnet_owt, of any widths, number of classes and dropout.

    Its convolutions read pictures of three channels, and its adaptive pooling does nothing where layer 6 reads maps of 6 x 6.
    """

    def bare(one):
        stages = ([stage for stage in layer.stages if not isinstance(stage, Dropout)] for layer in one.layers)
        return [[dataclasses.replace(stage, features=1) if hasattr(stage, 'features') else stage for stage in layer] for layer in stages]

    return fits(net) and bare(net) == bare(zoo.architecture('alexnet_owt')) and inputs(net)[6][:2] == (6, 6) and net.input_shape[2] == 3


def inputs(net: Architecture) -> dict[int, tuple[int, ...]]:
    """{layer: shape that its first stage reads}."""
    return {row.layer: row.input for row in reversed(net.rows)}


def foreign(net: Architecture, names: Iterable[str]) -> Shapes:
    """{name: shape} of the layout with these names of layers."""
    shapes, wanted = inputs(net), {}
    for layer, name in zip(net.layers, names, strict=True):
        *window, below, above = layer.stages[0].parameters(shapes[layer.number])['kernel']
        wanted |= {f'{name}.weight': (above, below, *window), f'{name}.bias': (above,)}
    return wanted


def from_foreign(net: Architecture, arrays: Mapping[str, np.ndarray], names: Iterable[str]) -> dict:
    """The tree of parameters of arrays in the layout with these names of layers."""
    shapes, params = inputs(net), {}
    for layer, name in zip(net.layers, names, strict=True):
        weight, shape = arrays[f'{name}.weight'], shapes[layer.number]
        if weight.ndim == 4:
            kernel = weight.transpose(2, 3, 1, 0)
        else:
            if len(shape) == 3:
                height, width, channels = shape
                weight = weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(len(weight), prod(shape))
            kernel = weight.T
        params[layer.name] = {layer.stages[0].name: {'kernel': np.ascontiguousarray(kernel), 'bias': arrays[f'{name}.bias']}}
    return params


def to_foreign(net: Architecture, params: Mapping, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays that `from_foreign` makes these parameters of."""
    shapes, arrays = inputs(net), {}
    for layer, name in zip(net.layers, names, strict=True):
        learned, shape = params[layer.name][layer.stages[0].name], shapes[layer.number]
        kernel = np.asarray(learned['kernel'])
        if kernel.ndim == 4:
            weight = kernel.transpose(3, 2, 0, 1)
        else:
            weight = kernel.reshape(*shape, -1).transpose(3, 2, 0, 1).reshape(-1, prod(shape)) if len(shape) == 3 else kernel.T
        arrays |= {f'{name}.weight': weight, f'{name}.bias': np.asarray(learned['bias'])}
    return arrays


def from_own(arrays: Mapping[str, np.ndarray]) -> dict:
    """The tree of parameters of arrays in our own layout."""
    params: dict = {}
    for name, array in arrays.items():
        layer, stage, parameter = name.split('.')
        params.setdefault(layer, {}).setdefault(stage, {})[parameter] = array
    return params


def to_own(params: Mapping) -> dict[str, np.ndarray]:
    """The arrays that `from_own` makes these parameters of."""
    return {
        f'{layer}.{stage}.{parameter}': np.asarray(array)
        for layer, stages in params.items()
        for stage, parameters in stages.items()
        for parameter, array in parameters.items()
    }


# Whose file is it? State dicts are looked for, and their names brought to those of a layout.


def state_dicts(value) -> dict[str, dict]:
    """{place, as names joined by /: dict} of each dict, at most _DEEPEST deep, that has an Entry under a name; the likeliest first."""
    found, seen, waiting = {}, set(), [('', value, 0)]
    for place, inner, depth in waiting:
        if not isinstance(inner, dict) or id(inner) in seen:
            continue
        seen.add(id(inner))
        if any(isinstance(name, str) and isinstance(entry, Entry) for name, entry in inner.items()):
            found[place] = inner
        if depth < _DEEPEST:
            waiting += [
                (f'{place}/{printable(name)}'.strip('/'), deeper, depth + 1) for name, deeper in inner.items() if isinstance(name, str)
            ]

    def likely(place):
        last = place.rpartition('/')[2]
        return _LIKELY.index(last) if last in _LIKELY else len(_LIKELY)

    return {place: found[place] for place in sorted(found, key=likely)}


def entries(state: Mapping) -> dict[str, Entry]:
    """Its arrays; numbers without a dimension, which no network learns, are none."""
    return {name: entry for name, entry in state.items() if isinstance(name, str) and isinstance(entry, Entry) and entry.shape}


def unwrapped(name: str, roots: Iterable[str]) -> tuple[str, str]:
    """(a name from one of the roots on, without what wrappers put in; what was taken away), or (the name, '')."""
    parts = name.split('.')
    begin = next((place for place, part in enumerate(parts) if part in roots), None)
    if begin is None:
        return name, ''
    kept = [part for part in parts[begin:] if part not in _WRAPPERS]
    taken = parts[:begin] + [part for part in parts[begin:] if part in _WRAPPERS]
    return '.'.join(kept), '.'.join(taken)


def told(shapes: Mapping[str, tuple], most: int = 3) -> str:
    """The first names and shapes, and how many more there are."""
    said = [f'{printable(name)} {shape}' for name, shape in list(shapes.items())[:most]]
    return ', '.join(said) + (f' and {len(shapes) - most} more' if len(shapes) > most else '')


def listed(names: Iterable[str], most: int = 6) -> str:
    """The first names, and how many more there are."""
    names = sorted(names)
    return ', '.join(map(printable, names[:most])) + (f' and {len(names) - most} more' if len(names) > most else '')


def printable(name: str) -> str:
    """A name of a file's that any terminal prints on one line."""
    name = name if len(name) <= 80 else f'{name[:77]}...'
    return name if name.isprintable() else ascii(name)


def differences(found: Mapping[str, Entry], wanted: Shapes) -> list[str]:
    """What is not as wanted, a phrase for each array: missing, of another shape, no float, too many."""
    said = []
    for name, shape in wanted.items():
        if name not in found:
            said.append(f'{name} {shape} is missing')
        elif found[name].shape != shape:
            said.append(f'{name} should be {shape}, but is {found[name].shape}')
        elif found[name].dtype.name not in ('float16', 'bfloat16', 'float32', 'float64'):
            said.append(f'{name} holds {found[name].dtype.name}, no floating-point numbers')
    return said + [f'it also has {printable(name)} {entry.shape}' for name, entry in found.items() if name not in wanted]
