"""Hand-made and learned features in one architecture (the deck: 'What about learning the features?'), from few images or many.

    python -m experiments.handmade --config=configs/handmade.py:digits
    python -m experiments.handmade --config=configs/handmade.py:cifar10 --config.trials.seeds=3 --config.data.dir=DATA
    python -m experiments.handmade --config=configs/handmade.py:caltech101 --config.trials.seeds=3 --config.data.dir=DATA

Every network, way and number of images takes the same steps. Adam stands here for gradient descent with momentum, as the one rule that
serves all ways: a pyramid of words is made of numbers of some thousandths, a classifier on it wants thousands of times the rate of one on
SIFT, and at such a rate its biases do not settle. digits and smoke are offline. caltech101 is a subset of 43 categories at 128 px, of
which the holdout leaves 20 images; kernels of 7 px have small weights, which want a lower rate beside the same one of the classifier.

On two busy CPU cores a training of digits took 1 to 9 s in its steps (72 of them ten minutes, four of a core's time); by a few
measured steps one of cifar10 takes 5 to 9 s with sift_32, and with spm_32 8 s where only the classifier learns, else 37; one of caltech101
24 to 30 s where only it learns, else 75 to 100.
"""

import ml_collections

SCALES = ('digits', 'smoke', 'cifar10', 'mnist', 'caltech101')

_SMALL = 'sift_32,spm_32'
# networks, set, holdout, batch, steps, images of each class, learning rates
_SCALES = {
    'digits': (_SMALL, 'digits', 0.1, 32, 100, '1,10,100', '0.001,0.003,0.01,0.03'),
    'smoke': ('sift_32,spm_32 resized(3=20)', 'digits', 0.02, 20, 4, '1,2', '0.001,0.003'),
    'cifar10': (_SMALL, 'cifar10', 0.05, 64, 400, '10,30,100,300', '0.0003,0.001,0.003'),
    'mnist': (_SMALL, 'mnist', 0.05, 64, 400, '1,10,100,1000', '0.0003,0.001,0.003'),
    'caltech101': ('sift,spm', 'caltech101_subset', 0.13, 32, 200, '5,20', '0.0001,0.0003,0.001'),
}
_CLASSIFIERS = {'caltech101': {'sift_rate': 10.0, 'pyramid_rate': 1000.0}}


def get_rows(scale: str) -> dict[str, dict]:
    return {'every row': {}}


def get_options(scale: str) -> dict:
    networks, *_, sizes, rates = _SCALES[scale]
    return {
        'handmade': {'networks': networks, 'sizes': sizes, **_CLASSIFIERS.get(scale, {})},
        'trials': {'grid': f'optimizer.learning_rate={rates}', 'select': 'holdout'},
    }


def get_config(scale: str) -> ml_collections.ConfigDict:
    _, name, holdout, batch, steps, _, _ = _SCALES[scale]
    return ml_collections.ConfigDict(
        {
            'initialization': {'kernel': 'he'},
            'data': {
                'name': name,
                'holdout': holdout,
                'normalization': 'unit',
                'batch_size': batch,
                'test_examples': 200 if scale == 'smoke' else 0,
            },
            'augment': {'flip': scale in ('cifar10', 'caltech101')},
            'optimizer': {'name': 'adam', 'learning_rate': 0.001, 'momentum': 0.9},
            'schedule': {'kind': 'trapezoid', 'steps': steps, 'warmup': {'steps': steps // 20}, 'cooldown': {'steps': steps // 2}},
            # Of few images an epoch is less than a step.
            'evaluate': {'every': {'steps': steps}, 'batch_size': 100 if scale == 'caltech101' else 500},
            'checkpoint': {'every': {'steps': max(steps // 4, 1)}, 'keep': 1},
            'log': {'every': {'steps': max(steps // 20, 1)}},
        }
    )
