"""Some images of a source, as commands that look into a network show them.

`looked` is what looking.opened gives.
"""

from typing import NamedTuple

import numpy as np

from cnn_research import config as configs
from cnn_research.classes import meaning as meant
from cnn_research.data import augment, stream
from cnn_research.data.sources import Source
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from cnn_research.models.network import Network
from cnn_research.studies.looking import activations, choosing, projection
from experiments.launch import command

IMAGES = Field('look.images', '0,1,2,3,4,5', 'numbers of the images in that split')


class Pictures(NamedTuple):
    """Some images of a source.

    raw: uint8 (N, H, W, C), as they are read; seen: uint8 (N, h, w, c), the centre that the network sees; labels (N,), the source's; names:
    what a caption calls each.
    """

    raw: np.ndarray
    seen: np.ndarray
    labels: np.ndarray
    names: list[str]


def numbers(given: command.Command, source: Source) -> np.ndarray:
    """look.images as indices of the source; ConfigError for one that it does not have."""
    chosen = configs.numbers(given.options.look.images, 'look.images')
    if not chosen or chosen[-1] >= source.num_examples:
        raise ConfigError(
            f'look.images={given.options.look.images!r}, but {source.name} ({source.split}) has images 0 to {source.num_examples - 1}.'
        )
    return np.array(chosen)


def pictures(looked, indices) -> Pictures:
    """The given images of the source."""
    images, labels = looked.source.read(indices)
    raw = np.stack([stream.resized(image, looked.resize) for image in images] if looked.resize else images)
    seen = np.asarray(augment.prepare(raw, augment.AS_IT_IS, looked.network.architecture.input_shape)).astype(np.uint8)
    names = [f'{index}: {meant(looked.source.class_names[label])}' for index, label in zip(indices, labels, strict=True)]
    return Pictures(raw, seen, labels, names)


def classes(looked, pictures: Pictures) -> np.ndarray:
    """(N,), as the network counts its classes: the true ones or, where the source has others, those that it names itself."""
    if looked.outputs is not None:
        return np.array(looked.outputs)[pictures.labels]
    prepared = augment.prepare(pictures.raw, looked.variables['preprocessing'], looked.network.architecture.input_shape)
    return np.argmax(looked.network.apply({'params': looked.variables['params']}, prepared)[0], axis=1)


def winners(looked, tap: str, chosen: np.ndarray, top: activations.Top) -> tuple[np.ndarray, ...]:
    """(projections, patches uint8, inside), each (units, k, h, w, ...), of the chosen units of a tap; nothing of an image that does not
    excite its unit is inside."""
    count, k = top.values[chosen].shape
    excited = choosing.exciting(top.values)
    places = (top.examples, *(np.where(excited, array, -1) for array in (top.rows, top.columns)))
    examples, rows, columns = (np.ravel(array[chosen]) for array in places)
    net, numbers = looked.trained.architecture, np.repeat(chosen, k)
    down, dense = Network(projection.projecting(net, 'deconvnet')), len(net.taps()[tap]) == 1
    parts: list[tuple[activations.Patches, activations.Patches]] = []
    for part in np.split(np.arange(count * k), range(k * 16, count * k, k * 16)):
        images = pictures(looked, np.maximum(examples[part], 0))
        prepared = augment.prepare(images.raw, looked.variables['preprocessing'], net.input_shape)
        positions = None if dense else np.stack([rows[part], columns[part]], axis=1).clip(0)
        found = np.asarray(projection.project(down, looked.variables, prepared, tap, numbers[part], positions))
        parts.append(tuple(activations.patches(array, net, tap, rows[part], columns[part]) for array in (found, images.seen)))
    arrays = (
        np.concatenate([found.windows for found, _ in parts]),
        np.concatenate([cut.windows for _, cut in parts]),
        np.concatenate([found.inside for found, _ in parts]),
    )
    return tuple(array.reshape(count, k, *array.shape[1:]) for array in arrays)
