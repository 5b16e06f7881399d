"""The deck's rows of the depth table at the width of AlexNet itself (96, 256, 384, 384, 256 maps; 1024 units), for a GPU.

    python -m experiments.depth_ablation --config=benchmarks/wide.py:cifar10 --config.depth.rows=deck --config.lesion.epochs=0

The siblings' recipe as in configs/depth_ablation.py, for 8 epochs. It has never been run.
"""

import ml_collections

from configs import _family as family

SCALES = ('cifar10',)

_WIDE = 'alexnet_32 resized(1=96,2=256,3=384,4=384,5=256,6=1024,7=1024) replaced(6,dropout=none) replaced(7,dropout=none)'


def get_rows(scale: str) -> dict[str, dict]:
    removed = {'layers 3,4': '3,4', 'layer 7': '7', 'layers 6,7': '6,7', 'layers 3,4,6,7': '3,4,6,7'}
    rows = {'replication of krizhevsky, 1 convnet': _WIDE}
    rows |= {f'removed {words}': f'{_WIDE} without({numbers})' for words, numbers in removed.items()}
    return {label: {'architecture': text} for label, text in rows.items()}


def get_config(scale: str) -> ml_collections.ConfigDict:
    return family.trained(scale, _WIDE, 0.03, 8.0, 0.5, 5.0)
