"""A network to look into, for the commands that draw: features, evolution, occlusion, invariance, correspondence, stages.

    python -m experiments.features
    python -m experiments.occlusion --config=configs/looking.py:cifar10 --config.data.dir=DATA
    python -m experiments.evolution --config.network=WORKDIR

Without --config.network the network that the scale describes is trained first: at clutter a narrow sibling of Zeiler & Fergus's net, about
20 seconds on two CPU cores; at cifar10 a lighter sibling, about ten minutes; at imagenette the sibling for photographs of 128 px, for 64
epochs, since photographs are where the upper layers' pictures can be read. The states of some epochs stay, for their Fig. 4.
"""

import ml_collections

SCALES = ('clutter', 'smoke', 'cifar10', 'imagenette')

_NARROW = 'zfnet_32 resized(1=16,2=16,3=32,4=32,5=16,6=128,7=128) replaced(6,dropout=none) replaced(7,dropout=none)'
_LIGHT = 'zfnet_32 resized(1=16,2=32,3=48,4=48,5=32) replaced(6,dropout=none) replaced(7,dropout=none)'
_PHOTOGRAPHS = 'zfnet_128 resized(1=32,2=64,3=96,4=96,5=64)'
_NETS = {'cifar10': _LIGHT, 'imagenette': _PHOTOGRAPHS}


def get_config(scale: str) -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict(
        {
            'architecture': _NETS.get(scale, _NARROW),
            'initialization': {'kernel': 'he'},
            'data': {'name': 'clutter', 'holdout': 0.1, 'batch_size': 64, 'normalization': 'mean_std'},
            'optimizer': {'learning_rate': 0.03, 'momentum': 0.9, 'weight_decay': 0.0005},
            'schedule': {'epochs': 4.0, 'kind': 'trapezoid', 'warmup': {'epochs': 0.3}, 'cooldown': {'epochs': 3.0}},
            'checkpoint': {'marks': '1,2,5,10,20,30,40,64'},
        }
    )
    if scale == 'smoke':
        config.data.examples, config.data.test_examples, config.data.batch_size = 2000, 500, 32
        config.schedule.epochs, config.schedule.cooldown.epochs = 2.0, 1.0
    if scale == 'cifar10':
        config.data.name, config.augment = 'cifar10', {'flip': True, 'shift': 0.1}
        config.data.batch_size = 128
        config.schedule = {'epochs': 20.0, 'kind': 'trapezoid', 'warmup': {'epochs': 0.5}, 'cooldown': {'epochs': 12.0}}
    if scale == 'imagenette':
        config.data.name, config.data.test, config.data.resize = 'imagenette/160px-v2', 'validation', 144
        config.augment, config.data.batch_size = {'crop': True, 'flip': True}, 32
        config.schedule = {'epochs': 64.0, 'kind': 'trapezoid', 'warmup': {'epochs': 1.0}, 'cooldown': {'epochs': 44.0}}
    return config
