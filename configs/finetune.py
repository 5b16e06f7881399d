"""Fine-tuning (Zeiler & Fergus 2013, Fig. 9, Tables 4 and 5): a network learns a set, then another one four ways, from few images or many.

    python -m experiments.finetune --config=configs/finetune.py:clutter
    python -m experiments.finetune --config=configs/finetune.py:caltech101 --config.trials.seeds=3 --config.data.dir=DATA

The config is the fine-tuning's, with the architecture of the network; the row 'source' is what the network learns first. Every way and
number of images takes the same steps, in which the images at the end of a curve are seen about ten times or more often, and one image a
class hundreds of times. clutter and smoke go from composites of digits to plain digits, a demonstration. caltech101 (a subset of 43
categories, of which the holdout leaves 20 images) and gtsrb (traffic signs at 32 px, a subset) begin with networks of CIFAR-10,
tiny_imagenet too, and cifar10 with those of 200 classes of ImageNet at 32 px. On two busy CPU cores a training of caltech101 took 8 s in
its steps with frozen layers and 19 s without, beside compiling; clutter's 33 take four and a half minutes of one core's time.

Expect at imagenet2012, on Caltech-101 with 15 and 30 images of each class, mean accuracy per class in %: 83.8 and 86.5 frozen, 22.8 and
46.5 from scratch; never run here.
"""

import ml_collections

from configs import _family as family

SCALES = ('clutter', 'smoke', 'caltech101', 'gtsrb', 'tiny_imagenet', 'cifar10', 'imagenet2012')

_NARROW = 'zfnet_32 resized(1=16,2=16,3=32,4=32,5=16,6=128,7=128) replaced(6,dropout=none) replaced(7,dropout=none)'
_LIGHT = f'zfnet_32 {family.LIGHT}'
_RATES = '0.002,0.01,0.05,0.25'  # a new layer alone wants far higher ones than a whole network on few images
# architecture, holdout, batch, steps, images of each class, learning rates
_TUNED = {
    'clutter': (_NARROW, 0.1, 32, 200, '1,3,10,30', '0.01,0.05'),
    'smoke': (_NARROW, 0.02, 20, 6, '1,2', '0.01,0.05'),
    'caltech101': (_LIGHT, 0.13, 64, 400, '1,3,6,12,20', _RATES),
    'gtsrb': (_LIGHT, 0.15, 64, 600, '1,3,6,15,30,60,100', _RATES),
    'tiny_imagenet': (_LIGHT, 0.15, 128, 1500, '10,30,100', _RATES),
    'cifar10': (f'{_LIGHT} resized(8=200)', 0.1, 64, 600, '10,30,100,300', _RATES),
    'imagenet2012': ('zfnet', 0.1, 128, 3000, '15,30', '0.001,0.003,0.01,0.03'),
}
_TARGET = {
    'clutter': {'data': {'name': 'digits'}},
    'smoke': {'data': {'name': 'digits', 'test_examples': 200}},
    'caltech101': {'data': {'name': 'caltech101_subset'}, 'augment': {'flip': True, 'shift': 0.1}},
    'gtsrb': {'data': {'name': 'gtsrb_32'}, 'augment': {'shift': 0.1}},  # a mirrored sign is another one
    'tiny_imagenet': {'data': {'name': 'tiny_imagenet_32', 'test': 'validation'}, 'augment': {'flip': True, 'shift': 0.1}},
    'cifar10': {'data': {'name': 'cifar10'}, 'augment': {'flip': True, 'shift': 0.1}},
    'imagenet2012': {'data': {'name': 'caltech101'}, 'augment': {'crop': True, 'flip': True}, 'optimizer': {'max_rms': 0.1}},
}
# The recipe of family.trained, learning rate, epochs, of them warm-up and cool-down.
_SOURCE = {
    'clutter': ('clutter', 0.03, 4.0, 0.3, 3.0),
    'smoke': ('smoke', 0.03, 1.0, 0.3, 0.5),
    'cifar10': ('cifar10', 0.03, 40.0, 0.5, 24.0),
}
_FROM_CIFAR10 = ('cifar10', 0.03, 20.0, 0.5, 12.0)
# Of what a training's rows must say themselves, since the fine-tuning says something else.
_OWN = {
    'data.test': 'test',
    'data.resize': 0,
    'data.test_examples': 0,
    **{f'augment.{kind}': value for kind, value in (('crop', False), ('flip', False), ('shift', 0.0))},
    **{f'{name}.every.epochs': epochs for name, epochs in (('evaluate', 1.0), ('checkpoint', 1.0), ('log', 0.1))},
}


def _flat(config, inside: str = '') -> dict:
    named = {f'{inside}{name}': value for name, value in config.items()}
    parts = [_flat(value, f'{name}.') if hasattr(value, 'items') else {name: value} for name, value in named.items()]
    return {name: value for part in parts for name, value in part.items()}


def get_rows(scale: str) -> dict[str, dict]:
    if scale == 'imagenet2012':
        plain = {'schedule.warmup.steps': 0, 'schedule.cooldown.steps': 0, 'optimizer.weight_decay': 0.0, 'optimizer.max_rms': 0.1}
        source = {**_OWN, **plain, **_flat(family.published('zfnet', epochs=70.0))}
    else:
        source = {**_OWN, **_flat(family.trained(*_of(scale)))}
    if scale == 'cifar10':
        source |= {'data.name': 'tiny_imagenet_32', 'data.test': 'validation'}
    return {'source': {name: value for name, value in source.items() if name != 'architecture'}}


def _of(scale: str) -> tuple:
    recipe, *trained = _SOURCE.get(scale, _FROM_CIFAR10)
    return recipe, _TUNED[scale][0], *trained


def get_options(scale: str) -> dict:
    sizes, rates = _TUNED[scale][-2:]
    return {
        'finetune': {'sizes': sizes},
        'trials': {'grid': f'optimizer.learning_rate={rates}', 'select': 'holdout'},
    }


def get_config(scale: str) -> ml_collections.ConfigDict:
    architecture, holdout, batch, steps, _, _ = _TUNED[scale]
    config = ml_collections.ConfigDict(
        {
            'architecture': architecture,
            'initialization': {'kernel': 'he'},
            'data': {'holdout': holdout, 'normalization': 'mean_std', 'batch_size': batch},
            'optimizer': {'learning_rate': 0.01, 'momentum': 0.9, 'weight_decay': 0.0005},
            'schedule': {'kind': 'trapezoid', 'steps': steps, 'warmup': {'steps': steps // 20}, 'cooldown': {'steps': steps // 2}},
            # Of few images an epoch is less than a step.
            'evaluate': {'every': {'steps': steps}},
            'checkpoint': {'every': {'steps': max(steps // 4, 1)}, 'keep': 1},
            'log': {'every': {'steps': max(steps // 20, 1)}},
        }
    )
    config.update(ml_collections.ConfigDict(_TARGET[scale]))
    if scale == 'imagenet2012':
        config.initialization = {'kernel': 'normal', 'std': 0.01}
        config.evaluate.batch_size = 50
    return config
