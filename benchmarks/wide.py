"""The deck's rows of the depth table at the width of AlexNet itself (96, 256, 384, 384, 256 maps; 1024 units), for a GPU.

    python -m experiments.depth_ablation --config=benchmarks/wide.py:cifar10 --config.depth.rows=deck --config.lesion.epochs=0

The siblings' recipe as in configs/depth_ablation.py, for 8 epochs. It has never been run.
"""

import ml_collections

from configs import _family as family
from configs import depth_ablation

SCALES = ('cifar10',)

_WIDE = 'alexnet_32 resized(1=96,2=256,3=384,4=384,5=256,6=1024,7=1024) replaced(6,dropout=none) replaced(7,dropout=none)'


def get_rows(scale: str) -> dict[str, dict]:
    deck = depth_ablation.get_rows('smoke')
    narrow = next(iter(deck.values()))['architecture']
    return {label: {'architecture': row['architecture'].replace(narrow, _WIDE)} for label, row in deck.items()}


def get_config(scale: str) -> ml_collections.ConfigDict:
    return family.trained(scale, _WIDE, 0.03, 8.0, 0.5, 5.0)
