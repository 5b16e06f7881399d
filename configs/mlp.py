"""The perceptron and the multi-layer nets of LeCun et al. 1998, squared error against sigmoid outputs.

    python -m experiments.train --config=configs/mlp.py:mnist --config.architecture=mlp_300

Expect on MNIST, test error in % (LeCun et al. 1998, without distortions): 300 units 4.7, 1000 units 4.5, 300-100 3.05, 500-150 2.95;
the perceptron 12.0 with linear outputs. Ours, with times and machine: results/mnist.md. There a run took 0.4 to
3 minutes on two CPU cores that other runs shared.
"""

import ml_collections

SCALES = ('mnist', 'smoke')


def get_config(scale: str) -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict(
        {
            'architecture': 'mlp_300',
            'initialization': {'kernel': 'glorot'},
            'data': {'name': 'mnist', 'holdout': 0.1, 'batch_size': 32, 'normalization': 'mean_std'},
            'loss': {'name': 'squared_error'},
            'optimizer': {'learning_rate': 0.03, 'momentum': 0.9},
            # Sigmoid outputs that rush to 0 at the start saturate there; the slow beginning keeps every class alive.
            'schedule': {'epochs': 20.0, 'kind': 'cosine', 'warmup': {'epochs': 1.0}},
        }
    )
    if scale == 'smoke':
        config.data.name = 'digits'
        config.schedule.epochs = 3.0
    return config
