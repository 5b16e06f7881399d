"""Transfer: what features of networks and features made by hand are worth on data that no network has learned.

    python -m experiments.transfer
    python -m experiments.transfer --config=configs/transfer.py:decaf --config.network=DIR,weights.npz --config.data.dir=DATA
    python -m experiments.transfer --config=configs/transfer.py:zf --config.network=DIR --config.transfer.data=caltech101

clutter and smoke train a small network on clutter and take it to digits, offline. zf, decaf and razavian are the papers' protocols, on the
subset of Caltech-101 unless --config.transfer.data names another set: Zeiler & Fergus 2013, section 5.3 (15 and 30 images of each class, up
to 50 for the test), Donahue et al. 2013, section 4.1 (30 of each, the rest for the test, C on 25 of the 30 for 5 others, half of the
features dropped), Razavian et al. 2014 (features of unit length, sixteen views, signed power 2, hinge, one C). The network that they train
where none is named learns CIFAR-10.

What the papers leave open: all but Razavian et al. say nothing of the features' scale; here each is standardised. DeCAF's and ZF's values
of C are not printed.
"""

import ml_collections

from configs import _family as family

SCALES = ('clutter', 'smoke', 'zf', 'decaf', 'razavian')

_NARROW = 'zfnet_32 resized(1=16,2=16,3=32,4=32,5=16,6=128,7=128) replaced(6,dropout=none) replaced(7,dropout=none)'
# architecture, learning rate, epochs, of them warm-up and cool-down
_TRAINED = {
    'clutter': (_NARROW, 0.03, 4.0, 0.3, 3.0),
    'smoke': (_NARROW, 0.03, 2.0, 0.3, 1.0),
    'cifar10': (f'zfnet_32 {family.LIGHT}', 0.03, 20.0, 0.5, 12.0),
}
_OPTIONS = {
    'clutter': {'data': 'digits', 'per_class': '10,30,100', 'test_per_class': 100},
    'smoke': {
        'data': 'digits',
        'per_class': '5,10',
        'test_per_class': 20,
        'splits': 3,
        'costs': '0.00001,0.001',
        'words': 20,
        'classifiers': 'svm,softmax,svm+dropout',
    },
    'zf': {'data': 'caltech101_subset', 'per_class': '15,30', 'test_per_class': 50, 'classifiers': 'softmax,svm'},
    'decaf': {
        'data': 'caltech101_subset',
        'per_class': '30',
        'test_per_class': 0,
        'folds': 6,
        'classifiers': 'svm,softmax,svm+dropout,softmax+dropout',
    },
    'razavian': {
        'data': 'caltech101_subset',
        'per_class': '30',
        'test_per_class': 0,
        'normalization': 'l2',
        'power': 2.0,
        'views': 'sixteen',
        'classifiers': 'hinge',
        'costs': '2',
        'side': 1,
        'handmade': 'none',
    },
}


def get_options(scale: str) -> dict:
    return {'transfer': _OPTIONS[scale]}


def get_config(scale: str) -> ml_collections.ConfigDict:
    learned = scale if scale in _TRAINED else 'cifar10'
    return family.trained(learned, *_TRAINED[learned])
