"""The four-layer net in which ReLU meets tanh: cuda-convnet's 18pct net without normalization (Krizhevsky et al. 2012, Fig. 1).

    python -m experiments.nonlinearity --config=configs/nonlinearity.py:cifar10

Expect: ReLU reaches 25 % training error six times sooner, in the paper; its net is not specified. No decay, no dropout, no augmentation.
Ours, with times and machine: results/relu_tanh.md.
"""

import ml_collections

SCALES = ('smoke', 'cifar10')


def get_config(scale: str) -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict(
        {
            'architecture': 'cifar_18pct replaced(1,normalization=none) replaced(2,normalization=none)',
            'initialization': {'kernel': 'glorot'},
            'data': {'name': 'cifar10', 'holdout': 0.1, 'batch_size': 128, 'normalization': 'mean_std'},
            'optimizer': {'momentum': 0.9},
            'schedule': {'epochs': 40.0},
            'log': {'every': {'epochs': 0.25}},
        }
    )
    if scale == 'smoke':
        config.data.name, config.data.examples, config.data.test_examples = 'clutter', 1000, 200
        config.schedule.epochs = 3.0
    return config
