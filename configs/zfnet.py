"""Zeiler & Fergus 2013, and its small siblings.

    python -m experiments.train --config=configs/zfnet.py:clutter
    python -m experiments.train --config=configs/zfnet.py:imagenet2012 --config.data.dir=DIR

Expect at imagenet2012 (validation, %, single net, ten views): 38.4 top-1, 16.5 top-5; 70 epochs, 12 days on one GTX 580 in 2013. That
scale has never been run here: only its dry run and its data path on small stand-ins. The paper's ten fixed sub-crops are random crops
here. clutter: as long as configs/alexnet.py:clutter; what the others reached, with times and machine, stands in results/.
"""

import ml_collections

SCALES = ('clutter', 'smoke', 'cifar10', 'imagenette', 'imagenet2012')


def get_config(scale: str) -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict(
        {
            'architecture': 'zfnet_32',
            'initialization': {'kernel': 'he'},
            'data': {'name': 'clutter', 'holdout': 0.1, 'batch_size': 128, 'normalization': 'mean_std'},
            'optimizer': {'learning_rate': 0.02, 'momentum': 0.9, 'weight_decay': 0.0005},
            'schedule': {'epochs': 5.0, 'kind': 'trapezoid', 'warmup': {'epochs': 0.3}, 'cooldown': {'epochs': 2.0}},
        }
    )
    if scale in ('clutter', 'smoke'):
        config.data.batch_size = 64
        config.optimizer.learning_rate = 0.03
        config.schedule.warmup.epochs, config.schedule.cooldown.epochs = 0.5, 4.5
        # Narrow lower layers, so that depth has something to do, and no dropout, which hurts at this length.
        config.architecture = 'zfnet_32 resized(1=8,2=16,3=32,4=32,5=16,6=128,7=128) replaced(6,dropout=none) replaced(7,dropout=none)'
    if scale == 'smoke':
        config.data.examples, config.data.test_examples, config.data.batch_size = 2000, 500, 32
        config.schedule.epochs, config.schedule.cooldown.epochs = 6.0, 4.0
    if scale == 'cifar10':
        config.data.name, config.augment = 'cifar10', {'flip': True, 'shift': 0.1}
        config.schedule.epochs, config.schedule.cooldown.epochs = 40.0, 12.0
    if scale == 'imagenette':
        config.architecture, config.augment = 'zfnet_128', {'crop': True, 'flip': True}
        config.data.name, config.data.test, config.data.resize = 'imagenette/160px-v2', 'validation', 144
        config.data.batch_size = 64
        config.schedule.epochs, config.schedule.cooldown.epochs = 60.0, 20.0
    if scale == 'imagenet2012':
        config.architecture, config.augment = 'zfnet', {'crop': True, 'flip': True}
        config.data = {'name': 'imagenet2012', 'test': 'validation', 'holdout': 0.01, 'resize': 256, 'normalization': 'mean_image'}
        config.initialization = {'kernel': 'normal', 'std': 0.01}
        config.optimizer = {'learning_rate': 0.01, 'momentum': 0.9, 'max_rms': 0.1}
        config.schedule = {'epochs': 70.0, 'kind': 'plateau', 'factor': 0.1, 'patience': 5}
        config.evaluate = {'views': 'ten', 'batch_size': 50}
    return config
