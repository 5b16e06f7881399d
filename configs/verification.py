"""Face verification: is it one person in both pictures? By features of a network of DeepFace's anatomy, and by older ones.

    python -m experiments.verification
    python -m experiments.verification --config=configs/verification.py:lfw --config.trials.seeds=3 --config.data.dir=DATA
    python -m experiments.verification --config=configs/verification.py:att_faces --config.trials.seeds=3 --config.data.dir=DATA

digits, the default, and smoke are a demonstration on digits, whose classes stand for people, offline. lfw is View 2 of Labeled Faces in the
Wild by its pairs.txt, which lies beside the prepared set: five networks for each row and seed, each of the people (with five images or
more) of eight folds or of none, tested on the other two. att_faces pools both splits, so that each of its forty people is judged once;
with --config.data.train=train --config.data.test=test --config.verification.folds=5 --config.verification.networks=1 the last ten are
judged by networks of the first thirty.

Rows are DeepFace's sibling for 56 px; the same without C3 (layer 2 here), without L4 and L5 (layers 3 and 4), and without all three, as
in the paper's ablation; and with L4 to L6 sharing their kernels. The paper starts at N(0, 0.01) with biases 0.5 and learns 4.4 million
faces for three days. Here: He et al.'s start, no dropout, images shifted and mirrored at random, and a rate that falls to 0: on two busy
cores 2 to 4 minutes for a network of lfw, one minute for one of att_faces.
"""

import ml_collections

SCALES = ('digits', 'smoke', 'att_faces', 'lfw')

_NET = 'deepface_56{} resized(1=16,6=256) replaced(6,dropout=none){}'
_ROWS = {
    'DeepFace sibling': _NET.format('', ''),
    'without C3': _NET.format('', ' without(2)'),
    'without L4, L5': _NET.format('', ' without(3,4)'),
    'without C3, L4, L5': _NET.format('', ' without(2,3,4)'),
    'shared kernels': _NET.format('_shared', ''),
}
_SMALL = 'deepface_56{} resized(1=8,2=8,3=8,4=8,5=8,6=64) replaced(6,dropout=none){}'
# What a demonstration has time for.
_FEW = {'DeepFace sibling': ('', ''), 'without C3, L4, L5': ('', ' without(2,3,4)'), 'shared kernels': ('_shared', '')}
# data, both splits, batch, learning rate, epochs, of them warm-up and cool-down
_TRAINED = {
    'digits': ('digits', 'train', 'train', 50, 0.02, 2.0, 0.2, 1.4),
    'smoke': ('digits', 'test', 'test', 20, 0.02, 0.2, 0.05, 0.1),
    'att_faces': ('att_faces', 'train+test', 'train+test', 32, 0.02, 40.0, 2.0, 25.0),
    'lfw': ('lfw_faces', 'train', 'train', 64, 0.03, 15.0, 0.5, 9.0),
}
_OPTIONS = {
    'digits': {'folds': 5, 'networks': 2, 'same': 300, 'images': 4},
    'smoke': {'folds': 4, 'networks': 2, 'same': 30, 'siamese': 5, 'costs': '1', 'hardest': 3},
    'att_faces': {'folds': 10, 'networks': 5, 'images': 4},
    'lfw': {'pairs': 'pairs.txt', 'networks': 5, 'images': 5},
}


def get_rows(scale: str) -> dict[str, dict]:
    if scale in ('digits', 'smoke'):
        return {row: {'architecture': _SMALL.format(*kind)} for row, kind in _FEW.items()}
    return {row: {'architecture': text} for row, text in _ROWS.items()}


def get_options(scale: str) -> dict:
    return {'verification': _OPTIONS[scale]}


def get_config(scale: str) -> ml_collections.ConfigDict:
    name, train, test, batch, rate, epochs, warmup, cooldown = _TRAINED[scale]
    digits = name == 'digits'  # a mirrored digit is another one
    return ml_collections.ConfigDict(
        {
            'architecture': _SMALL.format('', '') if digits else _NET.format('', ''),
            'initialization': {'kernel': 'he'},
            'data': {
                **{'name': name, 'train': train, 'test': test, 'holdout': 0.1 if name == 'att_faces' else 0.05, 'resize': 56},
                **{'normalization': 'mean_std', 'batch_size': batch},
            },
            'augment': {'shift': 0.06, 'flip': not digits},
            'optimizer': {'learning_rate': rate, 'momentum': 0.9, 'weight_decay': 0.0005},
            'schedule': {'epochs': epochs, 'kind': 'trapezoid', 'warmup': {'epochs': warmup}, 'cooldown': {'epochs': cooldown}},
            'evaluate': {'every': {'epochs': epochs}},
            'checkpoint': {'every': {'epochs': max(epochs / 4, 0.2)}, 'keep': 1},
            'log': {'every': {'epochs': max(epochs / 15, 0.1)}},
        }
    )
