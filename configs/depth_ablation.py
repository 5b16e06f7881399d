"""Depth ablation: the rows of Zeiler & Fergus 2013, Table 3, trained from scratch, and the same surgery on the trained base.

    python -m experiments.depth_ablation --config=configs/depth_ablation.py:clutter
    python -m experiments.depth_ablation --config=configs/depth_ablation.py:cifar10 --config.trials.seeds=5 --config.depth.rows=deck

Expect at imagenet2012 (validation, top-5 error, %): 18.1 for the whole net, 18.4 without layer 7, 22.4 without 6 and 7, 22.1 without 3 and
4, 50.1 without all four; that scale has never been run here. The smaller scales train the siblings of the same anatomy, whose rows have
the same proportions. clutter and smoke have the deck's five rows on one narrow net: data and recipe were chosen so that depth can matter
there. On two CPU cores clutter takes about three minutes, and cifar10 with the deck's rows and five seeds about an hour. tiny_imagenet, 200
classes of ImageNet at 32 px, has top-5 errors as the paper prints them; it and imagenette have not been run yet.
"""

import ml_collections

from configs import _family as family

SCALES = ('clutter', 'smoke', 'mnist', 'cifar10', 'tiny_imagenet', 'imagenette', 'imagenet2012')

_NARROW = f'alexnet_32 {family.NARROW}'
# The Krizhevsky net, ours, and their layers 3 to 7: (architecture, architecture, maps of 3, 4, 5 in the wide rows, units of 6 and 7).
_NETS = {
    'mnist': ('alexnet_32', 'zfnet_32', (96, 192, 96), 256),
    'cifar10': (f'alexnet_32 {family.LIGHT}', f'zfnet_32 {family.LIGHT}', (64, 128, 64), 256),
    'tiny_imagenet': (f'alexnet_32 {family.LIGHT} resized(8=200)', f'zfnet_32 {family.LIGHT} resized(8=200)', (64, 128, 64), 256),
    'imagenette': ('alexnet_128', 'zfnet_128', (256, 512, 256), 512),
    'imagenet2012': ('alexnet_dense', 'zfnet', (512, 1024, 512), 4096),
}
# Learning rate, epochs, of them warm-up and cool-down.
_TRAINED = {
    'clutter': (0.03, 3.0, 0.3, 2.7),
    'smoke': (0.03, 3.0, 0.3, 2.0),
    'mnist': (0.02, 10.0, 0.5, 5.0),
    'cifar10': (0.05, 15.0, 0.5, 10.0),
    'tiny_imagenet': (0.05, 20.0, 0.5, 14.0),
    'imagenette': (0.02, 60.0, 0.5, 20.0),
}


def get_rows(scale: str) -> dict[str, dict]:
    krizhevsky, ours, (three, four, five), units = _NETS.get(scale, (_NARROW, None, (0, 0, 0), 0))
    rows = {
        'replication of krizhevsky, 1 convnet': krizhevsky,
        'removed layers 3,4': f'{krizhevsky} without(3,4)',
        'removed layer 7': f'{krizhevsky} without(7)',
        'removed layers 6,7': f'{krizhevsky} without(6,7)',
        'removed layers 3,4,6,7': f'{krizhevsky} without(3,4,6,7)',
    }
    if ours:
        half, double = f'6={units // 2},7={units // 2}', f'6={2 * units},7={2 * units}'
        wide = f'3={three},4={four},5={five}'
        rows |= {
            'layers 6,7: 2048 units': f'{krizhevsky} resized({half})',
            'layers 6,7: 8192 units': f'{krizhevsky} resized({double})',
            'our model': ours,
            'our model, layers 6,7: 2048 units': f'{ours} resized({half})',
            'our model, layers 6,7: 8192 units': f'{ours} resized({double})',
            'our model, layers 3,4,5: 512,1024,512 maps': f'{ours} resized({wide})',
            'our model, layers 6,7: 8192 units and layers 3,4,5: 512,1024,512 maps': f'{ours} resized({wide},{double})',
        }
    return {label: {'architecture': text} for label, text in rows.items()}


def get_options(scale: str) -> dict:
    return {'lesion': {'epochs': {'smoke': 1.0, 'clutter': 0.5, 'imagenet2012': 5.0}.get(scale, 2.0)}}


def get_config(scale: str) -> ml_collections.ConfigDict:
    architecture = _NETS.get(scale, (_NARROW,))[0]
    if scale == 'imagenet2012':
        config = family.published(architecture, epochs=70.0)
        config.optimizer.max_rms = 0.1
        return config
    return family.trained(scale, architecture, *_TRAINED[scale])
