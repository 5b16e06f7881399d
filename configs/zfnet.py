"""Zeiler & Fergus 2013, and its small siblings.

    python -m experiments.train --config=configs/zfnet.py:clutter
    python -m experiments.train --config=configs/zfnet.py:imagenet2012 --config.data.dir=DIR

Expect at imagenet2012 (validation, %, single net, ten views): 38.4 top-1, 16.5 top-5; 70 epochs, 12 days on one GTX 580 in 2013. That
scale has never been run here: only its dry run and its data path on small stand-ins. The paper's ten fixed sub-crops are random crops
here. clutter: as long as configs/alexnet.py:clutter; what the others reached, with times and machine, stands in results/.
"""

import ml_collections

from configs import _family as family

SCALES = ('clutter', 'smoke', 'cifar10', 'imagenette', 'imagenet2012')

# architecture, learning rate, epochs, of them warm-up and cool-down
_TRAINED = {
    'clutter': (f'zfnet_32 {family.NARROW}', 0.03, 5.0, 0.5, 4.5),
    'smoke': (f'zfnet_32 {family.NARROW}', 0.03, 6.0, 0.5, 4.0),
    'cifar10': ('zfnet_32', 0.02, 40.0, 0.3, 12.0),
    'imagenette': ('zfnet_128', 0.02, 60.0, 0.3, 20.0),
}


def get_config(scale: str) -> ml_collections.ConfigDict:
    if scale == 'imagenet2012':
        config = family.published('zfnet', epochs=70.0)
        config.optimizer.max_rms = 0.1
        return config
    return family.trained(scale, *_TRAINED[scale])
