"""cuda-convnet's CIFAR-10 nets.

    python -m experiments.train --config=configs/cifar.py:cifar10

Expect, test error in %: 80sec 26, 18pct 18, 13pct 13, 11pct 11 (the last two with crops, flips and ten views). Recipes as in the
published .cfg files; their hand-made restarts on all batches are one schedule on all but the holdout here. Ours, on two
CPU cores, with epochs, times and machine: results/cifar10.md.
"""

import ml_collections

SCALES = ('cifar10', 'cifar10_80sec', 'cifar10_13pct', 'cifar10_11pct', 'smoke')

# net: kernels' standard deviations, relative decays, epochs, drops
_RECIPES = {
    '80sec': ('1=0.0001,2=0.01,3=0.01,4=0.1,5=0.1', '1=1,2=1,3=1,4=7.5,5=7.5', 12.0, '8=0.1'),
    '18pct': ('1=0.0001,2=0.01,3=0.01,4=0.01', '4=250', 140.0, '120=0.1,130=0.01'),
    '13pct': ('1=0.0001,2=0.01,3=0.04,4=0.04,5=0.01', '1=0,2=0', 160.0, '140=0.1,150=0.01'),
    '11pct': ('1=0.0001,2=0.01,3=0.04,4=0.04,5=0.01', '1=0,2=0', 520.0, '500=0.1,510=0.01'),
}


def get_config(scale: str) -> ml_collections.ConfigDict:
    net = scale.removeprefix('cifar10_') if '_' in scale else '18pct'
    stds, decays, epochs, drops = _RECIPES[net]
    config = ml_collections.ConfigDict(
        {
            'architecture': f'cifar_{net}',
            'initialization': {'kernel': 'normal', 'stds': stds},
            'data': {'name': 'cifar10', 'holdout': 0.1, 'batch_size': 128, 'normalization': 'mean_image'},
            'augment': {'crop': net in ('13pct', '11pct'), 'flip': net in ('13pct', '11pct')},
            'optimizer': {
                'learning_rate': 0.001,
                'momentum': 0.9,
                'weight_decay': 0.004,
                'decays': decays,
                'bias_rate': 2.0,
                'bias_decay': 0.0,
            },
            'schedule': {'epochs': epochs, 'kind': 'steps', 'drops': drops},
            'evaluate': {'views': 'ten' if net in ('13pct', '11pct') else 'centre'},
        }
    )
    if scale == 'smoke':
        config.data.name, config.data.examples, config.data.test_examples = 'clutter', 2000, 500
        config.schedule.epochs, config.schedule.drops = 2.0, '1=0.1'
    return config
