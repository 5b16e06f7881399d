"""A network to look into, for the commands that draw: features, evolution, occlusion, saliency,
maximisation, invariance, correspondence, stages.

    python -m experiments.features
    python -m experiments.occlusion --config=configs/looking.py:cifar10 --config.data.dir=DATA
    python -m experiments.evolution --config.network=WORKDIR

Without --config.network the network that the scale describes is trained first: at clutter a narrow sibling of Zeiler & Fergus's net, about
20 seconds on two CPU cores; at smoke the same in some seconds, which names a third of the digits wrong; at cifar10 a lighter sibling,
about ten minutes; at imagenette the sibling for photographs of 128 px, for 64 epochs, since photographs are where the upper layers'
pictures can be read. The states of some epochs stay, for their Fig. 4.
"""

import ml_collections

from configs import _family as family

SCALES = ('clutter', 'smoke', 'cifar10', 'imagenette')

_NARROW = 'zfnet_32 resized(1=16,2=16,3=32,4=32,5=16,6=128,7=128) replaced(6,dropout=none) replaced(7,dropout=none)'
# architecture, learning rate, epochs, of them warm-up and cool-down
_TRAINED = {
    'clutter': (_NARROW, 0.03, 4.0, 0.3, 3.0),
    'smoke': (_NARROW, 0.03, 2.0, 0.3, 1.0),
    'cifar10': (f'zfnet_32 {family.LIGHT}', 0.03, 20.0, 0.5, 12.0),
    'imagenette': ('zfnet_128 resized(1=32,2=64,3=96,4=96,5=64)', 0.03, 64.0, 1.0, 44.0),
}


def get_config(scale: str) -> ml_collections.ConfigDict:
    config = family.trained(scale, *_TRAINED[scale])
    config.checkpoint = {'marks': '1,2,5,10,20,30,40,64'}
    if scale == 'smoke':  # fewer composites teach it nothing, and there would be nothing to look at
        config.data.examples = 10000
    if scale == 'imagenette':
        config.data.batch_size = 32
    return config
