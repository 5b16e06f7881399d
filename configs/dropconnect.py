"""DropConnect against dropout against neither (Wan et al. 2013): one network, one schedule, each at its own best learning rate.

    python -m experiments.dropconnect --config=configs/dropconnect.py:digits
    python -m experiments.dropconnect --config=configs/dropconnect.py:mnist --config.trials.seeds=3 --config.data.dir=DATA
    python -m experiments.dropconnect --config=configs/dropconnect.py:cifar10_large --config.data.dir=DATA --dry_run

mnist is the paper's network of two hidden layers of 800, cifar10 its small one, with cuda-convnet's layers-18pct.cfg below 64 units, and
cifar10_large its large one, with layers-conv-local-11pct.cfg below 128 units, on crops and flips. Digits are brought to [0, 1];
photographs are less their mean image. The paper's schedules could not be checked: mnist and cifar10, there 150 epochs at one rate, take
fewer at a rate that falls to 0 in the end; cifar10_large has its 700-300-50 and has never been run here. digits and smoke are offline,
with narrow layers.

Masks are what takes time at mnist: of one CPU core about 0.3 s a step of 128 at a rate of 0.5, 0.8 s at most others (two layers of 800),
0.03 s without DropConnect. So a training's 16,899 steps take some 1.3, 3.8 and 0.2 hours, and --config.dropconnect.rates=0.5 makes
of the table nine trainings of five hours together. Rates of few binary digits, 0.25 or 0.375, cost little more than 0.5. At cifar10 the
masks of 64 units cost next to nothing.

Expect, test error in %, with DropConnect, with dropout, with neither: mnist 1.20, 1.28, 1.62; cifar10 18.7, 19.7, 23.5; cifar10_large
11.10, 11.52, 11.18.
"""

import ml_collections

SCALES = ('digits', 'smoke', 'mnist', 'cifar10', 'cifar10_large')

_EVERY_RATE = '0.2,0.3,0.4,0.5,0.6,0.7,0.8'
# network, rates of dropping, learning rates, epochs; test images, masks, samples, training images
_SCALES = {
    'digits': ('wan_800 resized(1=100,2=100)', '0.25,0.5,0.75', '0.01,0.03,0.1', 12.0, 500, 500, '1,10,100,1000', 2000),
    'smoke': ('wan_800 resized(1=20,2=20)', '0.5', '0.1,0.3', 0.2, 100, 20, '1,10', 100),
    'mnist': ('wan_800', _EVERY_RATE, '0.01,0.03,0.1', 40.0, 1000, 1000, '1,10,100,1000', 10000),
    'cifar10': ('wan_cifar', _EVERY_RATE, '0.0003,0.001,0.003', 60.0, 1000, 1000, '1,10,100,1000', 10000),
    'cifar10_large': ('wan_cifar_large', '0.5', '0.0003,0.001', 1500.0, 1000, 1000, '1,10,100,1000', 10000),
}
_DIGITS = {
    'initialization': {'kernel': 'he'},
    'data': {'normalization': 'unit'},
    'optimizer': {'learning_rate': 0.1, 'momentum': 0.9},
}
# As in the published .cfg files; the hidden layer, which is the paper's, begins as its neighbours do, and its classifier decays with it.
_PHOTOGRAPHS = {
    'data': {'normalization': 'mean_image'},
    'optimizer': {'learning_rate': 0.001, 'momentum': 0.9, 'weight_decay': 0.004, 'bias_rate': 2.0, 'bias_decay': 0.0},
}
_OWN = {
    'digits': {'data': {'name': 'digits', 'batch_size': 64}},
    'smoke': {'data': {'name': 'digits', 'batch_size': 64, 'test_examples': 200}},
    'mnist': {'data': {'name': 'mnist', 'batch_size': 128}},
    'cifar10': {
        'data': {'name': 'cifar10', 'batch_size': 128},
        'initialization': {'kernel': 'normal', 'stds': '1=0.0001,2=0.01,3=0.01,4=0.1,5=0.1'},
    },
    'cifar10_large': {
        'data': {'name': 'cifar10', 'batch_size': 128},
        'initialization': {'kernel': 'normal', 'stds': '1=0.0001,2=0.01,3=0.04,4=0.04,5=0.1,6=0.1'},
        'augment': {'crop': True, 'flip': True},
        'optimizer': {'decays': '1=0,2=0'},
        'evaluate': {'views': 'ten'},
    },
}


def get_rows(scale: str) -> dict[str, dict]:
    return {'every row': {}}


def get_options(scale: str) -> dict:
    network, rates, learning_rates, _, images, masks, samples, training_images = _SCALES[scale]
    return {
        'dropconnect': {
            'network': network,
            'rates': rates,
            'images': images,
            'masks': masks,
            'samples': samples,
            'training_images': training_images,
        },
        'trials': {'grid': f'optimizer.learning_rate={learning_rates}', 'select': 'holdout'},
    }


def get_config(scale: str) -> ml_collections.ConfigDict:
    epochs = _SCALES[scale][3]
    config = ml_collections.ConfigDict({'data': {'holdout': 0.1}, 'log': {'every': {'epochs': 0.5}}, 'checkpoint': {'keep': 1}})
    config.update(ml_collections.ConfigDict(_PHOTOGRAPHS if scale.startswith('cifar10') else _DIGITS))
    config.update(ml_collections.ConfigDict(_OWN[scale]))
    if scale == 'cifar10_large':
        # 700-300-50: x 1, 0.5, 0.1, then 0.05, 0.01, 0.005 and 0.001, of 300 epochs twice and 50 four times.
        drops = '700=0.5,1000=0.1,1300=0.05,1350=0.01,1400=0.005,1450=0.001'
        config.schedule = {'epochs': epochs, 'kind': 'steps', 'drops': drops}
    else:
        config.schedule = {'epochs': epochs, 'kind': 'trapezoid', 'warmup': {'epochs': epochs / 20}, 'cooldown': {'epochs': epochs / 2}}
    return config
