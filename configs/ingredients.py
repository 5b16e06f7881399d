"""What each choice gains (Krizhevsky et al. 2012, sections 3 and 4): one network with every choice, and one row without each.

    python -m experiments.ingredients --config=configs/ingredients.py:digits
    python -m experiments.ingredients --config=configs/ingredients.py:cifar10 --config.trials.seeds=5 --config.data.dir=DATA
    python -m experiments.ingredients --config=configs/ingredients.py:cuda_convnet --config.data.dir=DATA --dry_run

A row differs from the base in its choice alone: the same data, steps, schedule, initialization and learning rate. A rate that suits
rectified units may not suit tanh: of that row alone three are trained, and the holdout chooses (ingredients.tuned; '' crosses every row).
Images are scaled to 9/8 of what the network reads (256 to 227 in the paper), so that there are crops to draw and ten views to average.
As in section 3.2, one tower has half of the maps in all convolutions but the last. The middle layer that goes is the fourth (of
cuda_convnet the third), with what the recipe says of its first weights.

digits and smoke are offline demonstrations: a mirrored digit is none, so that flips and mirrored views should cost there, and the colour
noise of grey images is one of brightness.
cuda_convnet is the 11pct net with its whole schedule of 520 epochs; without normalization it is the 13pct net, whose own published schedule
has 160. It has no towers, dropout or colour noise. imagenet2012 is the paper's own net and has never been run here.

By a few steps on a busy machine, a training of cifar10 is 7,035 steps of 0.15 s of one CPU core, one of cuda_convnet 182,890 of 0.42 s.
"""

import ml_collections

from configs import _family as family

SCALES = ('digits', 'smoke', 'cifar10', 'cuda_convnet', 'imagenet2012')

_NARROW = {1: 8, 2: 16, 3: 32, 4: 32, 5: 16, 6: 128, 7: 128}
_LIGHT = {1: 16, 2: 32, 3: 48, 4: 48, 5: 32}
_MAPS = {'digits': _NARROW, 'smoke': _NARROW, 'cifar10': _LIGHT}
_TOWERS = ''.join(f' replaced({number},groups=2)' for number in (2, 4, 5))  # layer 3 sees both (Krizhevsky et al. 2012, Fig. 2)
# Learning rate, epochs, of them warm-up and cool-down.
_TRAINED = {'digits': (0.01, 4.0, 0.2, 3.0), 'smoke': (0.02, 1.0, 0.1, 0.8), 'cifar10': (0.03, 20.0, 0.5, 12.0)}
_RATES = {'digits': '0.003,0.01,0.03', 'smoke': '0.02,0.04', 'cifar10': '0.01,0.03,0.1', 'cuda_convnet': '0.0003,0.001,0.003'}
_BIASES, _STDS = '2=1,4=1,5=1,6=1,7=1', '1=0.0001,2=0.01,3=0.04,4=0.04,5=0.01'


def _sibling(maps: dict[int, int]) -> str:
    return f'alexnet_32 resized({",".join(f"{number}={features}" for number, features in maps.items())})'


def _base(scale: str) -> str:
    if scale in _MAPS:
        return _sibling(_MAPS[scale]) + _TOWERS
    return {'cuda_convnet': 'cifar_11pct', 'imagenet2012': 'alexnet'}[scale]


def _one_tower(scale: str) -> str:
    if scale == 'imagenet2012':
        return 'alexnet_one_gpu'
    return _sibling({number: features // 2 if number < 5 else features for number, features in _MAPS[scale].items()})


def get_rows(scale: str) -> dict[str, dict]:
    base, own = _base(scale), scale == 'cuda_convnet'

    def changed(layers, change):
        return {'architecture': base + ''.join(f' replaced({number},{change})' for number in layers)}

    pooled = (1, 2) if own else (1, 2, 5)
    rows = {
        'every choice': {},
        'tanh in place of relu': changed(range(1, 5 if own else 8), 'nonlinearity=tanh'),
        'one tower of half the maps': None if own else {'architecture': _one_tower(scale)},
        'without normalization': changed((1, 2), 'normalization=none'),
        'pooling without overlap': changed(pooled, 'pooling_kernel=2'),
        'without dropout': None if own else changed((6, 7), 'dropout=none'),
        'without colour noise': None if own else {'augment.colour': 0.0},
        'without flips': {'augment.flip': False},
        'without crops': {'augment.crop': False},
        'without a middle layer': {'architecture': f'{base} without({3 if own else 4})'},
    }
    # What is said of the layer by itself goes with it.
    if scale == 'imagenet2012':
        rows['without a middle layer']['initialization.biases'] = _BIASES.replace('4=1,', '')
    if own:
        rows['without a middle layer']['initialization.stds'] = _STDS.replace('3=0.04,', '')
    return {row: changes for row, changes in rows.items() if changes is not None}


def get_options(scale: str) -> dict:
    rates = _RATES.get(scale, '0.003,0.01,0.03')
    return {
        'ingredients': {'tuned': 'tanh in place of relu'},
        'trials': {'grid': f'optimizer.learning_rate={rates}', 'select': 'holdout'},
    }


def get_config(scale: str) -> ml_collections.ConfigDict:
    if scale == 'imagenet2012':
        config = family.published(_base(scale), epochs=90.0)
        config.initialization.biases, config.augment.colour, config.optimizer.weight_decay = _BIASES, 0.1, 0.0005
        return config
    if scale == 'cuda_convnet':
        return ml_collections.ConfigDict(
            {
                'architecture': _base(scale),
                'initialization': {'kernel': 'normal', 'stds': _STDS},
                'data': {'name': 'cifar10', 'holdout': 0.1, 'batch_size': 128, 'normalization': 'mean_image'},
                'augment': {'crop': True, 'flip': True},
                'optimizer': {
                    **{'learning_rate': 0.001, 'momentum': 0.9, 'weight_decay': 0.004},
                    **{'decays': '1=0,2=0', 'bias_rate': 2.0, 'bias_decay': 0.0},
                },
                'schedule': {'epochs': 520.0, 'kind': 'steps', 'drops': '500=0.1,510=0.01'},
                'evaluate': {'views': 'ten'},
            }
        )
    config = family.trained('digits' if scale == 'smoke' else scale, _base(scale), *_TRAINED[scale])
    config.data.resize = 36
    config.augment = {'crop': True, 'flip': True, 'colour': 0.1}
    config.evaluate = {'views': 'ten'}
    if scale == 'smoke':
        config.data.examples, config.data.test_examples = 300, 100
    return config
