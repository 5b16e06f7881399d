"""Multi-column nets (Ciresan et al. 2012): one recipe for columns whose images go through different preprocessings.

    python -m experiments.committee --config=configs/committee.py:digits
    python -m experiments.committee --config=configs/committee.py:mnist --config.data.dir=DATA
    python -m experiments.committee --config=configs/committee.py:gtsrb --config.data.dir=DATA

The layers, preprocessings and distortions are the paper's, as far as they are known; batches of 50 with momentum for 20 epochs stand for
single examples for some 800, and signs are of 32 px, not 48. Of mnist there are 35 columns as there. Claims of committees of two columns
take two seeds for each replicate, and so six seeds for a verdict: --config.trials.seeds=6.

digits took two and a half minutes of processor time, over 21 minutes on two cores that many other runs shared. By the processor time of a
few steps there, mnist takes about seven hours of a core, and gtsrb two; --config.trials.shard=1/2 and 2/2 share them between two processes.
"""

import ml_collections

SCALES = ('digits', 'smoke', 'mnist', 'gtsrb')

_WIDTHS = ('width_10', 'width_12', 'width_14', 'width_16', 'width_18', 'width_20')
_SMALL = 'mcdnn_mnist resized(1=8,2=16,3=50)'
# architecture, set, batch, epochs, learning rate, seeds, preprocessings
_SCALES = {
    'digits': (_SMALL, 'digits', 50, 5.0, 0.03, 6, ('none', 'width_10', 'width_20', 'deskewed')),
    'smoke': (_SMALL, 'digits', 50, 1.0, 0.02, 2, ('none', 'width_10', 'width_20')),
    'mnist': ('mcdnn_mnist', 'mnist', 50, 20.0, 0.02, 5, ('none', *_WIDTHS)),
    'gtsrb': (
        'mcdnn_gtsrb_32',
        'gtsrb_32',
        50,
        20.0,
        0.005,
        3,
        ('none', 'imadjust', 'histeq', 'adapthisteq', 'contrast_normalization'),
    ),
}
# As far as the papers' distortions are known.
_DISTORTED = {
    'mnist': {'shift': 0.05, 'scale': 0.15, 'rotation': 15.0, 'elastic': 36.0, 'elastic_sigma': 8.0},
    'gtsrb': {'shift': 0.1, 'scale': 0.1, 'rotation': 5.0},
}


def get_rows(scale: str) -> dict[str, dict]:
    return {name: {'data.preprocessing': name} for name in _SCALES[scale][-1]}


def get_options(scale: str) -> dict:
    return {'trials': {'seeds': _SCALES[scale][-2]}}


def get_config(scale: str) -> ml_collections.ConfigDict:
    architecture, name, batch, epochs, rate, _, _ = _SCALES[scale]
    config = ml_collections.ConfigDict(
        {
            'architecture': architecture,
            'initialization': {'kernel': 'glorot'},
            'data': {'name': name, 'holdout': 0.1, 'batch_size': batch, 'normalization': 'mean_std'},
            'augment': _DISTORTED.get(scale, {}),
            'optimizer': {'learning_rate': rate, 'momentum': 0.9, 'weight_decay': 0.0005},
            'schedule': {'epochs': epochs, 'kind': 'cosine'},
            'evaluate': {'every': {'epochs': epochs}},
            'checkpoint': {'every': {'epochs': max(1.0, epochs / 4)}, 'keep': 1},
            'log': {'every': {'epochs': 0.5}},
        }
    )
    if scale == 'smoke':
        config.data.update({'examples': 1000, 'test_examples': 300})
    return config
