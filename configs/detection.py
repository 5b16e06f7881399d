"""Detection with the features of a network (R-CNN, Girshick et al. 2014).

    python -m experiments.detection
    python -m experiments.detection --config=configs/detection.py:indoor --config.network=weights.npz --config.data.dir=DATA

scenes and smoke train a small network on clutter and take it to scenes of several digits, offline: a demonstration. indoor (85 photographs
of rooms, the classes with 20 boxes or more) and cells (blood cells under a microscope) are subsets small enough for two CPU cores, with
fewer proposals than the paper's 2,000, every seed with its own random split. rcnn is the paper's protocol, for VOC's sets.

Expect at rcnn, on VOC 2007 with the network that learned ImageNet, 11 points: 44.2, 46.2 and 44.7 % at pool5, fc6 and fc7; fine-tuned 47.3,
53.1 and 54.2, with refined boxes 58.5; never run here.
"""

import ml_collections

from configs import _family as family

SCALES = ('scenes', 'smoke', 'indoor', 'cells', 'rcnn')

_NARROW = 'zfnet_32 resized(1=16,2=16,3=32,4=32,5=16,6=128,7=128) replaced(6,dropout=none) replaced(7,dropout=none)'
_SMALL = {'side': 3, 'passes': 2, 'redrawn': True, 'seeds': 3, 'fewest': 20, 'steps': 300}
_OPTIONS = {
    'scenes': {'most': 75, 'steps': 200, 'passes': 2, 'batch_size': 64},
    'smoke': {'most': 20, 'steps': 3, 'batch_size': 16, 'proposals': 'grid', 'words': 20},
    'indoor': {**_SMALL, 'data': 'indoor_objects', 'most': 500},
    'cells': {**_SMALL, 'data': 'bccd_subset', 'most': 300},
    'rcnn': {'data': 'voc/2007', 'train': 'train+validation', 'way': 'eleven', 'steps': 70_000, 'rate': 0.01},
}
_TRAINED = {
    'scenes': ('clutter', _NARROW, 0.03, 2.0, 0.3, 1.5),
    'smoke': ('smoke', _NARROW, 0.03, 1.0, 0.3, 0.5),
}
_CIFAR10 = ('cifar10', f'zfnet_32 {family.LIGHT}', 0.03, 20.0, 0.5, 12.0)


def get_options(scale: str) -> dict:
    return {'detection': _OPTIONS[scale]}


def get_config(scale: str) -> ml_collections.ConfigDict:
    return family.trained(*_TRAINED.get(scale, _CIFAR10))
