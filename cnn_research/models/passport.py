"""What an exported file says of itself, in the metadata of a .safetensors file, {str: str}."""

import base64
import json
from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

from cnn_research.architecture import Architecture, from_json
from cnn_research.errors import CheckpointError

TORCHVISION = 'torchvision alexnet'
_WRITER = 'cnn_research'
_LONGEST_ARCHITECTURE = 1 << 20  # characters; the zoo's longest has two thousand


class Described(NamedTuple):
    """preprocessing: {'mean', 'scale', ...}, float32; class_names, resize and image_shape: as in pretrained.Published; layout: TORCHVISION
    or 'own'."""

    architecture: Architecture
    preprocessing: Mapping[str, np.ndarray]
    class_names: tuple[str, ...] | None
    resize: int
    layout: str
    image_shape: tuple[int, int, int] | None


def is_ours(metadata: Any) -> bool:
    return isinstance(metadata, dict) and metadata.get('writer') == _WRITER


def written(described: Described) -> tuple[dict[str, str], tuple[str, ...]]:
    """(the metadata, what is said of the file, a line each); CheckpointError where it could not be read back."""
    net, preprocessing, class_names, resize, layout, image_shape = described
    arrays = {name: np.asarray(array, np.float32) for name, array in preprocessing.items()}
    _check(described._replace(preprocessing=arrays))
    said = f"{net.name}, in torchvision's layout" if layout == TORCHVISION else f"{net.name}, in this library's own layout, H W I O"
    normalization = _normalization(arrays)
    exact = {
        name: {'shape': array.shape, 'float32': base64.b64encode(array.astype('<f4').tobytes()).decode()} for name, array in arrays.items()
    }
    metadata = {
        **{'format': 'pt', 'writer': _WRITER, 'layout': layout, 'architecture': net.to_json(), 'resize': str(resize)},
        'image_shape': json.dumps(image_shape),
        **{'class_names': json.dumps(class_names), 'normalization': normalization, 'preprocessing': json.dumps(exact)},
    }
    return metadata, (said, f'its preprocessing, for others: {normalization}', *([] if class_names else ["without classes' names"]))


def _normalization(arrays: Mapping[str, np.ndarray]) -> str:
    """The preprocessing in the terms of torchvision's transforms, of pixels from 0 to 1."""
    mean, scale = (np.asarray(arrays[name], np.float64) for name in ('mean', 'scale'))
    if mean.ndim > 1:
        return (
            f'a mean image of {mean.shape[0]} x {mean.shape[1]} px is subtracted, which Normalize(mean, std) cannot do; '
            'this library reads it from the metadata'
        )
    return f'Normalize(mean={np.round(mean / 255, 7).tolist()}, std={np.round(1 / (255 * scale), 7).tolist()})'


def read(metadata: Mapping[str, str]) -> Described:
    """What `written` said; CheckpointError, or what Python raises for damage, for anything else."""
    if len(metadata['architecture']) > _LONGEST_ARCHITECTURE:
        raise CheckpointError(f'its architecture has {len(metadata["architecture"]):,} characters')
    net = from_json(metadata['architecture'])
    arrays = {}
    for name, entry in json.loads(metadata['preprocessing']).items():
        data, shape = base64.b64decode(entry['float32'], validate=True), tuple(entry['shape'])
        if len(shape) > 3 or not all(type(side) is int and side >= 0 for side in shape) or 4 * prod(shape) != len(data):
            raise ValueError(f'{name} does not have the shape {shape}')
        arrays[name] = np.frombuffer(data, '<f4').reshape(shape)
    names = json.loads(metadata['class_names'])
    shape = json.loads(metadata['image_shape'])
    names, shape = (tuple(value) if isinstance(value, list) else value for value in (names, shape))
    described = Described(net, arrays, names, int(metadata['resize']), metadata['layout'], shape)
    _check(described)
    return described


def _check(described: Described) -> None:
    net, arrays, class_names, resize, layout, image_shape = described
    channels = net.input_shape[2]
    shapes = {name: array.shape for name, array in arrays.items()}
    per_channel = ((1,), (channels,))
    mean = shapes.get('mean')
    whole = mean is not None and len(mean) == 3 and mean[2] in (1, channels) and min(mean) > 0
    if (
        set(shapes) - {'mean', 'scale', 'colour'}
        or not (mean in per_channel or whole)
        or shapes.get('scale') not in per_channel
        or not all(np.isfinite(array).all() for array in arrays.values())
        or not (arrays['scale'] > 0).all()
    ):
        raise CheckpointError(f'its preprocessing is not one of a network of {channels} channels: {shapes}')
    if class_names is not None:
        outputs = net.num_classes
        if not isinstance(class_names, tuple) or not all(isinstance(name, str) for name in class_names) or len(class_names) != outputs:
            raise CheckpointError(f'its names of classes are not {outputs} names')
    if image_shape is not None and not (len(image_shape) == 3 and all(type(side) is int and side > 0 for side in image_shape)):
        raise CheckpointError(f'it says that it learned from images of {image_shape}')
    if resize < 0 or layout not in (TORCHVISION, 'own'):
        raise CheckpointError(f'it says resize {resize} and layout {layout[:40]!r}')
