"""SqueezeNet as its authors compressed it: codes that count through a codebook of shared weights (Han et al. 2016; Iandola et al. 2016, 4).

Of each of its 26 convolutions a .npz file has NAME:codes, uint8 (O, I, H, W), NAME:codebook, at most 256 float32, and NAME:bias, (O,). The
kernel is codebook[codes]. The first one reads B, G, R. Names are those of the authors' Caffe model, with conv_final for conv10.
"""

from collections.abc import Mapping

import numpy as np

from cnn_research.architecture import Architecture
from cnn_research.errors import CheckpointError
from cnn_research.models import layouts
from cnn_research.models.tensor_files import Entry
from cnn_research.stages import Convolution, Expand

LAYERS = 'the convolutions of SqueezeNet, eight squeezing and eight expanding ones between two others, 1 to 18'
LAST = 'conv_final:codes'
_PARTS = ('codes', 'codebook', 'bias')
_MOST_VALUES = 256

# {layer: {parameter: the convolution that is its kernel}}
_CONVOLUTIONS = {
    1: {'kernel': 'conv1'},
    **{2 * fire - 2: {'kernel': f'fire{fire}/conv1x1_1'} for fire in range(2, 10)},
    **{2 * fire - 1: {'pointwise': f'fire{fire}/conv1x1_2', 'kernel': f'fire{fire}/conv3x3_2'} for fire in range(2, 10)},
    18: {'kernel': 'conv_final'},
}


def is_coded(found: object) -> bool:
    """Whether a file's arrays, or what else it holds, are such a network's."""
    return isinstance(found, Mapping) and any(isinstance(name, str) and name.endswith((':codes', ':codebook')) for name in found)


def fits(net: Architecture) -> bool:
    """Whether a network has the layers that the convolutions belong to."""
    kinds = (Convolution, *(Convolution, Expand) * 8, Convolution)
    return [layer.number for layer in net.layers] == sorted(_CONVOLUTIONS) and all(
        type(layer.stages[0]) is kind for layer, kind in zip(net.layers, kinds, strict=True)
    )


def shapes(net: Architecture) -> layouts.Shapes:
    """{NAME:codes and NAME:bias: shape} of a network that fits."""
    below, wanted = layouts.inputs(net), {}
    for layer in net.layers:
        arrays = layer.stages[0].parameters(below[layer.number])
        for parameter, name in _CONVOLUTIONS[layer.number].items():
            *window, inputs, outputs = arrays[parameter]
            wanted |= {f'{name}:codes': (outputs, inputs, *window), f'{name}:bias': (outputs,)}
    return wanted


def entries(found: Mapping[str, Entry]) -> dict[str, Entry]:
    """The kernels, NAME:codes, and NAME:bias of a file; CheckpointError where one has not all its parts, or a part is of another kind."""
    decoded = {}
    for stem in dict.fromkeys(name.rpartition(':')[0] for name in found):
        codes, codebook, bias = (_part(found, stem, part) for part in _PARTS)
        for part, entry, kind in (('codes', codes, 'uint8'), ('codebook', codebook, 'float32'), ('bias', bias, 'float32')):
            if entry.dtype.name != kind:
                raise CheckpointError(f'{layouts.printable(stem)}:{part} holds {entry.dtype.name}, not {kind}')
        if len(codebook.shape) != 1 or not 0 < codebook.shape[0] <= _MOST_VALUES:
            raise CheckpointError(f'{layouts.printable(stem)}:codebook is {codebook.shape}; it has at most {_MOST_VALUES} values in a row')
        kernel = Entry(codebook.dtype, codes.shape, lambda stem=stem, codes=codes, codebook=codebook: _kernel(stem, codes, codebook))
        decoded |= {f'{stem}:codes': kernel, f'{stem}:bias': bias}
    odd = [name for name in found if name.rpartition(':')[2] not in _PARTS]
    if odd:
        raise CheckpointError(f'it also has {layouts.listed(odd)}, which is none of {", ".join(_PARTS)}')
    return decoded


def _part(found, stem, part) -> Entry:
    if f'{stem}:{part}' not in found:
        raise CheckpointError(f'{layouts.printable(stem)}:{part} is missing')
    return found[f'{stem}:{part}']


def _kernel(stem: str, codes: Entry, codebook: Entry) -> np.ndarray:
    numbers, values = codes.read(), codebook.read()
    if not np.isfinite(values).all():
        raise CheckpointError(f'{layouts.printable(stem)}:codebook holds numbers that are not finite')
    if numbers.max(initial=0) >= len(values):
        raise CheckpointError(f'{layouts.printable(stem)}:codes count up to {numbers.max()}, but its codebook has {len(values)} values')
    return values[numbers]


def parameters(net: Architecture, arrays: Mapping[str, np.ndarray]) -> dict:
    """The tree of parameters of a network that fits, which reads R, G, B, from the arrays of `shapes`."""
    params = {}
    for layer in net.layers:
        convolutions = _CONVOLUTIONS[layer.number]
        learned = {parameter: arrays[f'{name}:codes'].transpose(2, 3, 1, 0) for parameter, name in convolutions.items()}
        if layer.number == 1:
            learned['kernel'] = learned['kernel'][:, :, ::-1]
        learned = {parameter: np.ascontiguousarray(kernel) for parameter, kernel in learned.items()}
        bias = np.concatenate([arrays[f'{name}:bias'] for name in convolutions.values()])
        params[layer.name] = {layer.stages[0].name: {**learned, 'bias': bias}}
    return params
