"""Krizhevsky et al. 2012, and its small siblings.

    python -m experiments.train --config=configs/alexnet.py:clutter
    python -m experiments.train --config=configs/alexnet.py:imagenet2012 --config.data.dir=DIR

Expect at imagenet2012 (validation, %, single net, ten views): 40.7 top-1, 18.2 top-5; about 90 epochs, 5 to 6 days on two GTX 580 in
2012. That scale has never been run here: only its dry run and its data path on small stand-ins. clutter: about 2 minutes on two CPU
cores, under 10 % test error; what the others reached, with times and machine, stands in results/.
"""

import ml_collections

from configs import _family as family

SCALES = ('clutter', 'smoke', 'cifar10', 'imagenette', 'imagenet2012')

# architecture, learning rate, epochs, of them warm-up and cool-down
_TRAINED = {
    'clutter': (f'alexnet_32 {family.NARROW}', 0.03, 5.0, 0.5, 4.5),
    'smoke': (f'alexnet_32 {family.NARROW}', 0.03, 6.0, 0.5, 4.0),
    'cifar10': ('alexnet_32', 0.02, 40.0, 0.3, 12.0),
    'imagenette': ('alexnet_128', 0.02, 60.0, 0.3, 20.0),
}


def get_config(scale: str) -> ml_collections.ConfigDict:
    if scale == 'imagenet2012':
        config = family.published('alexnet', epochs=90.0)
        config.initialization.biases, config.augment.colour, config.optimizer.weight_decay = '2=1,4=1,5=1,6=1,7=1', 0.1, 0.0005
        return config
    return family.trained(scale, *_TRAINED[scale])
