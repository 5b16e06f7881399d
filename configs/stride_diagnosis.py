"""Stride diagnosis: the first layer's filter size and stride crossed, with and without Zeiler & Fergus's renormalisation of filters.

    python -m experiments.stride_diagnosis --config=configs/stride_diagnosis.py:clutter
    python -m experiments.stride_diagnosis --config=configs/stride_diagnosis.py:cifar10 --config.trials.seeds=5 --config.data.dir=DATA
    python -m experiments.stride_diagnosis --config=configs/stride_diagnosis.py:imagenet2012 --config.data.dir=DIR --dry_run

A cell is (kernel/stride of layer 1, stride of layer 2). The two strides' product and the maps that layer 3 reads are the same in all; only
padding makes up for what a kernel loses at the border. At imagenet2012 and imagenette the cells are the paper's, 11/4 and 7/2 crossed, on
zfnet and its sibling for 128 px. Images of 32 px have no stride of 4 to spend: there the pair of the siblings for 64 px, 5/2 and 3/1, is
crossed with a product of 2, and layer 2 does not pool, so that layer 3 reads 8x8 maps as in every sibling. There is no mnist scale: strokes
on an empty ground have neither colours nor frequencies to lose.

Expect at imagenet2012 (validation, top-5 error, %): 18.1 for Krizhevsky's net with (11/4, 1), 16.5 for (7/2, 2); never run here.

The paper's recipe is what makes renormalisation matter: layer 1 begins with a standard deviation of 0.01 and reads grey levels less their
mean, in [-128, 128], so that its filters are learned rather than kept from a large initialization, and some outgrow others. All scales have
it, and with it the paper's bound of 0.1. The upper layers of the siblings begin larger than the paper's 0.01, since they are smaller.
"""

import ml_collections

from configs import _family as family

SCALES = ('clutter', 'smoke', 'cifar10', 'imagenette', 'imagenet2012')
BOUND = 0.1

_NARROW = 'zfnet_32 resized(1=16,2=16,3=32,4=32,5=16,6=128,7=128) replaced(6,dropout=none) replaced(7,dropout=none)'
# Two thirds of the sibling's maps, and no dropout, for a training this short.
_LIGHT = 'resized(1=16,2=32,3=48,4=48,5=32,6=256,7=256) replaced(6,dropout=none) replaced(7,dropout=none)'
_NETS = {
    'clutter': _NARROW,
    'smoke': _NARROW,
    'cifar10': f'zfnet_32 {_LIGHT}',
    'imagenette': f'zfnet_128 {_LIGHT}',
    'imagenet2012': 'zfnet',
}
# Learning rate, epochs, of them warm-up and cool-down.
_TRAINED = {
    'clutter': (0.01, 3.0, 0.3, 2.0),
    'smoke': (0.01, 3.0, 0.3, 2.0),
    'cifar10': (0.01, 10.0, 0.5, 7.0),
    'imagenette': (0.01, 20.0, 1.0, 14.0),
}
# (kernel, stride, padding of layer 1; stride, padding of layer 2)
_PHOTOGRAPHS = ((11, 4, 2, 1, 2), (11, 2, 3, 2, 0), (7, 4, 1, 1, 2), (7, 2, 1, 2, 0))
_AT_128 = ((11, 4, 4, 1, 1), (11, 2, 5, 2, 1), (7, 4, 2, 1, 1), (7, 2, 3, 2, 1))
_AT_32 = ((5, 2, 2, 1, 1), (5, 1, 2, 2, 1), (3, 2, 1, 1, 1), (3, 1, 1, 2, 1))
_CELLS = {'imagenette': _AT_128, 'imagenet2012': _PHOTOGRAPHS}


def get_rows(scale: str) -> dict[str, dict]:
    rows = {}
    for kernel, stride, padding, second, second_padding in _CELLS.get(scale, _AT_32):
        net = f'{_NETS[scale]} replaced(1,kernel={kernel},stride={stride},padding={padding})'
        net += f' replaced(2,stride={second},padding={second_padding}{"" if scale in _CELLS else ",pooling=none"})'
        for words, bound in (('', 0.0), (', renormalised', BOUND)):
            rows[f'({kernel}/{stride}, {second}){words}'] = {'architecture': net, 'optimizer.max_rms': bound}
    return rows


def get_config(scale: str) -> ml_collections.ConfigDict:
    if scale == 'imagenet2012':
        return family.published(_NETS[scale], epochs=70.0)
    config = family.trained(scale, _NETS[scale], *_TRAINED[scale])
    config.data.normalization = 'mean_image'
    config.initialization = {'kernel': 'normal', 'std': 0.05, 'stds': '1=0.01'}
    if scale == 'imagenette':
        config.data.batch_size, config.initialization.std = 32, 0.03
    return config
