"""Fine-tuning: the network that a training begins with, and the ways in which its layers go on learning.

The last layer always begins anew, for the classes to learn; the layers below it are those of the network, and so is the preprocessing
through which they learned to see (Zeiler & Fergus 2013, section 5.3; Girshick et al. 2014, section 2.3).
"""

import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from cnn_research import checkpoints, tasks, trials
from cnn_research import config as configs
from cnn_research.architecture import Architecture, resized
from cnn_research.errors import ArchitectureError, ConfigError
from cnn_research.models import pretrained, zoo

WAYS = {
    'frozen': 'the layers below the last stay as they were, and the last learns',
    'whole': 'all layers learn, those that were there before more slowly',
    'upper': 'layers from one on learn, those that were there before more slowly, and the layers below stay as they were',
    'scratch': 'the same network from its initialization, all layers at one rate',
}


class Origin(NamedTuple):
    """A network to begin with. name: of its content, for a key; config: of its training; image_shape: (H, W, C) of what it learned from,
    None where that is not known or differed; data: {role: fingerprint} of that; whole(): the network itself, which may have to be waited
    for; needs: the workdir of the training that must be finished first, None without one."""

    name: str
    config: ml_collections.ConfigDict
    image_shape: tuple[int, int, int] | None
    data: Mapping[str, str]
    whole: Callable[[], checkpoints.Trained]
    needs: pathlib.Path | None = None

    @property
    def architecture(self) -> Architecture:
        return configs.network(self.config)


def published(path: str) -> bool:
    """Whether a network's name is that of a file of weights, and not of a workdir."""
    return not pathlib.Path(path).is_dir() and pathlib.Path(path).suffix in pretrained.READERS


def of_weights(path: str) -> Origin:
    """The network of a file of published weights, known by the SHA-256 of its numbers; CheckpointError for one that cannot be read."""
    trained, digest = checkpoints.trained(path), hashlib.sha256()
    for place, leaf in jax.tree_util.tree_leaves_with_path(trained.variables):
        array = np.ascontiguousarray(leaf)
        digest.update(f'{jax.tree_util.keystr(place)} {array.dtype} {array.shape}'.encode() + array.tobytes())
    return Origin(f'weights {digest.hexdigest()}', trained.config, trained.image_shape, {}, lambda: trained)


def of_finished(trial: trials.Trial) -> Origin:
    """That of a finished training, known by its key and step; CheckpointError where its network is not what was written."""
    trained = checkpoints.load(trial.workdir)
    return Origin(f'{trial.key} at step {trained.step}', trained.config, trained.image_shape, trained.data, lambda: trained)


def of_planned(trial: trials.Trial, whole: Callable[[], checkpoints.Trained]) -> Origin:
    """That of a training of the same table, under the name that it has once it is finished."""
    config, found = trial.config, tasks.sources(trial.config)
    steps = configs.steps(config.schedule, config.data.batch_size, found['train'].num_examples)
    shape, data = found['train'].image_shape, tasks.fingerprints(found)
    return Origin(f'{trial.key} at step {steps}', config, shape, data, whole, trial.workdir)


def start(origin: Origin) -> tasks.Start:
    """Where a training begins: with all layers of the network but the last, and with its preprocessing."""

    def load():
        trained = origin.whole()
        return {layer.name: trained.variables['params'][layer.name] for layer in trained.architecture.layers[:-1]}

    name = f'the layers below the last of {origin.name}'
    return tasks.Start(name, load, origin.needs, lambda: origin.whole().variables['preprocessing'])


def for_classes(origin: Origin, classes: int) -> dict[str, str]:
    """The fields of the network with so many classes; ArchitectureError where its last layer cannot have them."""
    net, last = origin.architecture, origin.architecture.layers[-1]
    kind = last.stages[0]
    if len(net.layers) < 2:
        raise ArchitectureError(f'{net.name} has one layer, and none below it that a training could begin with; choose a deeper network.')
    if kind.name not in ('dense', 'convolution') or getattr(kind, 'table', None):
        what = 'a convolution with a table of connections' if kind.name == 'convolution' else f'{kind.name} units'
        raise ArchitectureError(
            f'{net.name} ends in {what}, which cannot be given {classes} classes; choose a network that ends in a dense layer or a '
            'convolution.'
        )
    text, wanted = f'{origin.config.architecture} resized({last.number}={classes})', resized(net, {last.number: classes})
    try:
        said = zoo.architecture(text)
    except ArchitectureError:
        said = None
    same = said is not None and alike(said, wanted)
    return {'architecture': text} if same else {'architecture': text, 'architecture_json': wanted.to_json()}


def alike(one: Architecture, other: Architecture) -> bool:
    """Whether two networks are the same whatever they are called."""
    return (one.input_shape, one.layers) == (other.input_shape, other.layers)


def learning(way: str, net: Architecture, lowest: int, old_rate: float) -> dict[str, str]:
    """The fields that say which layers of a network learn in one of WAYS, and at what relative rate.

    lowest: the first layer that learns in 'upper'; ConfigError where it leaves nothing to learn slowly, or nothing to stay.
    """
    numbers = [layer.number for layer in net.layers]
    if way == 'upper' and lowest not in numbers[1:-1]:
        offer = f'of {", ".join(map(str, numbers[1:-1]))}' if numbers[1:-1] else 'where there is a layer between the first and the last'
        raise ConfigError(
            f'finetune.from_layer={lowest} is no layer between the first of {net.name}, from which on the whole network learns, and the '
            f'last, which always does; choose one {offer}, or leave upper out of finetune.ways.'
        )
    learns = {'frozen': numbers[-1:], 'whole': numbers, 'upper': [n for n in numbers if n >= lowest], 'scratch': numbers}[way]
    slow = learns[:-1] if way in ('whole', 'upper') else []
    return {
        'optimizer.trainable': '' if learns == numbers else ','.join(map(str, learns)),
        'optimizer.rates': ','.join(f'{number}={old_rate:g}' for number in slow),
    }


def resize(origins: Sequence[Origin], shape: Sequence[int] | None) -> int:
    """As data.resize: what images of a shape (H, W, C), None where they differ, are scaled to for networks that are compared.

    ConfigError where the networks are of different layers or see such images in different sizes.
    """
    sizes = [tasks.resize_of(origin.config, shape, origin.image_shape) for origin in origins]
    for origin, size in zip(origins, sizes, strict=True):
        if not alike(origin.architecture, origins[0].architecture):
            names = f'{origins[0].architecture.name} and {origin.architecture.name}'
            raise ConfigError(f'network names {names}; the networks of different seeds must have the same layers.')
        if size != sizes[0]:
            raise ConfigError(f'network names networks that see images of {sizes[0]} and of {size} px; all seeds must see the same.')
    return sizes[0]


def preprocessing(origins: Sequence[Origin]) -> str:
    """The data.preprocessing through which the networks have learned to see; ConfigError where they have not the same."""
    names = list(dict.fromkeys(origin.config.data.preprocessing for origin in origins))
    if len(names) > 1:
        raise ConfigError(f'network names networks with data.preprocessing={names[0]!r} and {names[1]!r}; all seeds must see the same.')
    return names[0]
