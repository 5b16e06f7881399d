"""What the recipes of Krizhevsky's and of Zeiler & Fergus's nets, and of their siblings, share: each scale's data and how they are met.

    from configs import _family as family

No recipe itself, so `--config` does not take it. The command that reads a config file lets it import this one wherever the file lies.
"""

import ml_collections

_CLUTTER = {'data': {'name': 'clutter', 'batch_size': 64}}
_SMOKE = {'data': {'name': 'clutter', 'examples': 2000, 'test_examples': 500, 'batch_size': 32}}
_DIGITS = {'data': {'name': 'digits', 'batch_size': 32}}
_MNIST = {'data': {'name': 'mnist', 'batch_size': 128}}
_CIFAR10 = {'data': {'name': 'cifar10', 'batch_size': 128}, 'augment': {'flip': True, 'shift': 0.1}}
_TINY = {'data': {'name': 'tiny_imagenet_32', 'test': 'validation', 'batch_size': 128}, 'augment': {'flip': True, 'shift': 0.1}}
_IMAGENETTE = {
    'data': {'name': 'imagenette/160px-v2', 'test': 'validation', 'resize': 144, 'batch_size': 64},
    'augment': {'crop': True, 'flip': True},
}
_SCALES = {
    'clutter': _CLUTTER,
    'smoke': _SMOKE,
    'digits': _DIGITS,
    'mnist': _MNIST,
    'cifar10': _CIFAR10,
    'tiny_imagenet': _TINY,
    'imagenette': _IMAGENETTE,
}

# No dropout: it hurts in a training this short, and would hide what a layer is worth.
_PLAIN = 'replaced(6,dropout=none) replaced(7,dropout=none)'
# Narrow lower layers, so that depth has something to do.
NARROW = f'resized(1=8,2=16,3=32,4=32,5=16,6=128,7=128) {_PLAIN}'
# Two thirds of the siblings' maps.
LIGHT = f'resized(1=16,2=32,3=48,4=48,5=32) {_PLAIN}'


def trained(
    scale: str, architecture: str, learning_rate: float, epochs: float, warmup: float, cooldown: float
) -> ml_collections.ConfigDict:
    """A sibling's training at one of the small scales; warmup and cooldown: epochs at the two ends of the learning rate's trapezoid."""
    config = ml_collections.ConfigDict(
        {
            'architecture': architecture,
            'initialization': {'kernel': 'he'},
            'data': {'holdout': 0.1, 'normalization': 'mean_std'},
            'optimizer': {'learning_rate': learning_rate, 'momentum': 0.9, 'weight_decay': 0.0005},
            'schedule': {'epochs': epochs, 'kind': 'trapezoid', 'warmup': {'epochs': warmup}, 'cooldown': {'epochs': cooldown}},
        }
    )
    config.update(_SCALES[scale])
    return config


def published(architecture: str, epochs: float) -> ml_collections.ConfigDict:
    """The papers' training on ImageNet 2012, with the holdout in the place of their hand at the learning rate."""
    return ml_collections.ConfigDict(
        {
            'architecture': architecture,
            'initialization': {'kernel': 'normal', 'std': 0.01},
            'data': {
                'name': 'imagenet2012',
                'test': 'validation',
                'holdout': 0.01,
                'resize': 256,
                'normalization': 'mean_image',
                'batch_size': 128,
            },
            'augment': {'crop': True, 'flip': True},
            'optimizer': {'learning_rate': 0.01, 'momentum': 0.9},
            'schedule': {'epochs': epochs, 'kind': 'plateau', 'factor': 0.1, 'patience': 5},
            'evaluate': {'views': 'ten', 'batch_size': 50},
        }
    )
