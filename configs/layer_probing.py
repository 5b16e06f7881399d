"""Layer probing: what a linear classifier reads off every layer (Zeiler & Fergus 2013, Table 7; Donahue et al. 2013).

    python -m experiments.layer_probing --config=configs/layer_probing.py:clutter
    python -m experiments.layer_probing --config=configs/layer_probing.py:cifar10 --config.trials.seeds=3 --config.data.dir=DATA
    python -m experiments.layer_probing --config=configs/layer_probing.py:caltech101 --config.network=DIR/trials/KEY,DIR/trials/KEY

clutter, smoke, mnist, cifar10 and imagenette train networks on a set and probe them on the same set: the classifiers learn from training
images, and are tested on images that the network never saw. caltech101 (Zeiler & Fergus's protocol, on a subset with 20 images of each
class) takes cifar10's networks there; --config.network gives it any others, and --config.probe.data any other set.

Expect at imagenet2012, probed on the whole Caltech-101 with --config.probe.data=caltech101: 44.8 % at layer 1, 86.2 at layer 5, 85.5 at
layer 7 for the SVM; never run here.
"""

import ml_collections

from configs import _family as family

SCALES = ('clutter', 'smoke', 'mnist', 'cifar10', 'caltech101', 'imagenette', 'imagenet2012')

_NARROW = f'alexnet_32 {family.NARROW}'
_LIGHT = f'alexnet_32 {family.LIGHT}'
# architecture, learning rate, epochs, of them warm-up and cool-down
_TRAINED = {
    'clutter': (_NARROW, 0.03, 3.0, 0.3, 2.7),
    'smoke': (_NARROW, 0.03, 3.0, 0.3, 2.0),
    'mnist': (_LIGHT, 0.02, 10.0, 0.5, 5.0),
    'cifar10': (_LIGHT, 0.05, 15.0, 0.5, 10.0),
    'imagenette': ('alexnet_128', 0.02, 60.0, 0.5, 20.0),
}


def get_rows(scale: str) -> dict[str, dict]:
    return {'network': {}}


def get_options(scale: str) -> dict:
    if scale == 'smoke':
        return {'probe': {'per_class': '5,10', 'test_per_class': 20, 'splits': 2, 'costs': '0.00001,0.001,0.1'}}
    if scale in ('caltech101', 'imagenet2012'):
        # Half of the subset's 40 images of each of 43 categories are left to learn from: more than 20 become 20.
        return {'probe': {'data': 'caltech101_subset' if scale == 'caltech101' else 'caltech101', 'per_class': '5,10,20,30'}}
    return {'probe': {'per_class': '10,30,100,300', 'test_per_class': 500}}


def get_config(scale: str) -> ml_collections.ConfigDict:
    if scale == 'imagenet2012':
        config = family.published('zfnet', epochs=70.0)
        config.optimizer.max_rms = 0.1
        del config.evaluate
        return config
    learned = 'cifar10' if scale == 'caltech101' else scale
    return family.trained(learned, *_TRAINED[learned])
