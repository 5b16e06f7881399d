"""Layer probing: what a linear classifier reads off every layer (Zeiler & Fergus 2013, Table 7; Donahue et al. 2013).

    python -m experiments.layer_probing --config=configs/layer_probing.py:clutter
    python -m experiments.layer_probing --config=configs/layer_probing.py:cifar10 --config.trials.seeds=3 --config.data.dir=DATA
    python -m experiments.layer_probing --config=configs/layer_probing.py:caltech101 --config.network=DIR/trials/KEY,DIR/trials/KEY

clutter, smoke, mnist, cifar10 and imagenette train networks on a set and probe them on the same set: the classifiers learn from training
images, and are tested on images that the network never saw. caltech101 (Zeiler & Fergus's protocol, on a subset with 20 images of each
class) takes cifar10's networks there; --config.network gives it any others, and --config.probe.data any other set.

Expect at imagenet2012, probed on the whole Caltech-101 with --config.probe.data=caltech101: 44.8 % at layer 1, 86.2 at layer 5, 85.5 at
layer 7 for the SVM; never run here.
"""

import ml_collections

SCALES = ('clutter', 'smoke', 'mnist', 'cifar10', 'caltech101', 'imagenette', 'imagenet2012')

_NARROW = 'alexnet_32 resized(1=8,2=16,3=32,4=32,5=16,6=128,7=128) replaced(6,dropout=none) replaced(7,dropout=none)'
_LIGHT = 'alexnet_32 resized(1=16,2=32,3=48,4=48,5=32) replaced(6,dropout=none) replaced(7,dropout=none)'
_NETS = {
    'mnist': _LIGHT,
    'cifar10': _LIGHT,
    'caltech101': _LIGHT,
    'imagenette': 'alexnet_128',
    'imagenet2012': 'zfnet',
}


def get_rows(scale: str) -> dict[str, dict]:
    return {'network': {}}


def get_options(scale: str) -> dict:
    if scale == 'smoke':
        return {'probe': {'per_class': '5,10', 'test_per_class': 20, 'splits': 2, 'costs': '0.00001,0.001,0.1'}}
    if scale in ('caltech101', 'imagenet2012'):
        # Half of the subset's 40 images of each of 43 categories are left to learn from: more than 20 become 20.
        return {'probe': {'data': 'caltech101_subset' if scale == 'caltech101' else 'caltech101', 'per_class': '5,10,20,30'}}
    return {'probe': {'per_class': '10,30,100,300', 'test_per_class': 500}}


def get_config(scale: str) -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict(
        {
            'architecture': _NETS.get(scale, _NARROW),
            'initialization': {'kernel': 'he'},
            'data': {'name': 'clutter', 'holdout': 0.1, 'batch_size': 64, 'normalization': 'mean_std'},
            'optimizer': {'learning_rate': 0.03, 'momentum': 0.9, 'weight_decay': 0.0005},
            'schedule': {'epochs': 3.0, 'kind': 'trapezoid', 'warmup': {'epochs': 0.3}, 'cooldown': {'epochs': 2.7}},
        }
    )
    if scale == 'smoke':
        config.data.examples, config.data.test_examples, config.data.batch_size = 2000, 500, 32
        config.schedule.epochs, config.schedule.cooldown.epochs = 3.0, 2.0
    if scale == 'mnist':
        config.data.name, config.data.batch_size, config.optimizer.learning_rate = 'mnist', 128, 0.02
        config.schedule = {'epochs': 10.0, 'kind': 'trapezoid', 'warmup': {'epochs': 0.5}, 'cooldown': {'epochs': 5.0}}
    if scale in ('cifar10', 'caltech101'):
        config.data.name, config.augment = 'cifar10', {'flip': True, 'shift': 0.1}
        config.data.batch_size, config.optimizer.learning_rate = 128, 0.05
        config.schedule = {'epochs': 15.0, 'kind': 'trapezoid', 'warmup': {'epochs': 0.5}, 'cooldown': {'epochs': 10.0}}
    if scale == 'imagenette':
        config.augment = {'crop': True, 'flip': True}
        config.data.name, config.data.test, config.data.resize = 'imagenette/160px-v2', 'validation', 144
        config.optimizer.learning_rate = 0.02
        config.schedule = {'epochs': 60.0, 'kind': 'trapezoid', 'warmup': {'epochs': 0.5}, 'cooldown': {'epochs': 20.0}}
    if scale == 'imagenet2012':
        config.augment = {'crop': True, 'flip': True}
        config.data = {'name': 'imagenet2012', 'test': 'validation', 'holdout': 0.01, 'resize': 256, 'normalization': 'mean_image'}
        config.data.batch_size = 128
        config.initialization = {'kernel': 'normal', 'std': 0.01}
        config.optimizer = {'learning_rate': 0.01, 'momentum': 0.9, 'max_rms': 0.1}
        config.schedule = {'epochs': 70.0, 'kind': 'plateau', 'factor': 0.1, 'patience': 5}
    return config
