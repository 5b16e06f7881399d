"""Hand-made features and learned ones in one architecture: what a training begins with, and which of its layers learn.

Hand-made weights are those of models/handmade.py, and words of the training's own images where the architecture has words.
"""

import functools

import numpy as np

from cnn_research import checkpoints, features, parallel, tasks, traditional
from cnn_research import config as configs
from cnn_research.architecture import Architecture
from cnn_research.errors import ConfigError
from cnn_research.models import handmade, zoo

WAYS = {
    'fixed': 'hand-made weights below the last layer stay, and the last learns',
    'continued': 'hand-made weights are what all layers begin with and learn on from',
    'learned': 'the same architecture from its random initialization, all layers learn',
}
# By data.normalization: how much larger white is than black. Both subtract nothing and depend on no image, so that all ways see the same,
# and a network begun with hand-made weights is the same function of an image whichever it is.
WHITE = {'unit': 1.0, 'none': 255.0}


def words(net: Architecture) -> int:
    """How many visual words a network for hand-made weights holds, 0 for one without; ArchitectureError for any other network."""
    count = getattr(net.layer(3).stages[0], 'features', 0) if [layer.number for layer in net.layers][2:-1] == [3] else 0
    handmade.spm(net, np.zeros((count, net.taps()['layer2'][-1]))) if count else handmade.sift(net)
    return count


def for_classes(name: str, classes: int) -> str:
    """The notation of a network of so many classes; ArchitectureError where it takes no hand-made weights."""
    net = zoo.architecture(name)
    words(net)
    return name if net.num_classes == classes else f'{name} resized({net.layers[-1].number}={classes})'


def learning(way: str, net: Architecture, rate: float) -> dict[str, str]:
    """The fields that say which layers learn in one of WAYS; rate: the classifier's, relative to that of the layers below."""
    last = net.layers[-1].number
    return {'optimizer.trainable': str(last) if way == 'fixed' else '', 'optimizer.rates': '' if rate == 1 else f'{last}={rate:g}'}


def check(net: Architecture, size: int, classes: int) -> None:
    """ConfigError where so many images of each class hold fewer descriptors than the network words."""
    rows, columns, _ = net.taps()['layer2']
    if words(net) > size * classes * rows * columns:
        raise ConfigError(
            f'handmade.sizes names {size}, but {net.name} holds {words(net)} words, and {size} images of each of {classes} classes have '
            f'{size * classes * rows * columns:,} descriptors; take more images, or fewer words, resized(3=50).'
        )


def weights(config) -> handmade.Parameters:
    """Hand-made weights for the training of a checked config; words are centres of the descriptors that layers 1 and 2 make of its own
    training images, found with its seed."""
    net, white = configs.network(config), WHITE[config.data.normalization]
    if not words(net):
        return handmade.sift(net, white)
    preprocessing = {'mean': np.zeros(1, np.float32), 'scale': np.full(1, white / 255, np.float32)}
    variables = {'params': handmade.sift(net, white), 'preprocessing': preprocessing}
    train = tasks.sources(config)['train']
    one = parallel.local_devices()[:1]  # the same words on however many devices
    found = features.collect(tasks.network(config), variables, train, ('layer2',), resize=config.data.resize, devices=one)['layer2']
    return handmade.spm(net, traditional.vocabulary(found.reshape(-1, net.taps()['layer2'][-1]), words(net), config.seed), white)


def start(config) -> tasks.Start:
    """Where the training of a checked config begins with hand-made weights; computed when first asked for, then kept.

    Its name says all that the weights follow from beside the config and the data, which are in the key.
    """
    count = words(configs.network(config))
    name = 'hand-made weights' + (f', {count} words of its own training images' if count else '')
    return tasks.Start(name, functools.cache(functools.partial(weights, config)))


def kernels(trained: checkpoints.Trained, drawn: bool) -> dict[str, list]:
    """{'before', 'after'} its training, as lists: the kernels (kh, kw, 3, 8) of a network's layer 1. drawn: it began at random."""
    config, net = trained.config, trained.architecture
    began = features.untrained(tasks.network(config), config.seed) if drawn else handmade.sift(net, WHITE[config.data.normalization])
    both = {'before': began, 'after': trained.variables['params']}
    return {when: np.asarray(params['layer1']['convolution']['kernel']).tolist() for when, params in both.items()}
