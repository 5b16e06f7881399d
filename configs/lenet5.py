"""LeNet-5 as published (LeCun et al. 1998) and in its modern form.

    python -m experiments.train --config=configs/lenet5.py:mnist
    python -m experiments.train --config=configs/lenet5.py:mnist_modern

Expect on MNIST, test error in %: 0.95 in the paper, 0.8 to 1.1 for the modern form. Architecture, inputs, initial weights and loss are
as published; the optimizer is SGD with momentum over batches instead of the stochastic diagonal Levenberg-Marquardt method over single
examples, with the paper's table of global rates, relative. Ours, with times and machine: results/mnist.md. Two CPU cores; minutes.
"""

import ml_collections

SCALES = ('mnist', 'mnist_modern', 'smoke')


def get_config(scale: str) -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict(
        {
            'architecture': 'lenet5',
            'initialization': {'kernel': 'uniform'},
            'data': {'name': 'mnist', 'holdout': 0.1, 'batch_size': 32, 'normalization': 'lenet'},
            'loss': {'name': 'radial_basis', 'j': 1.0},
            'optimizer': {'learning_rate': 0.002, 'momentum': 0.9},
            # 0.0005 for passes 1-2, 0.0002 for 3-5, 0.0001 for 6-8, 0.00005 for 9-12, then 0.00001
            'schedule': {'epochs': 20.0, 'kind': 'steps', 'drops': '2=0.4,5=0.2,8=0.1,12=0.02'},
        }
    )
    if scale == 'mnist_modern':
        config.architecture = 'lenet5_modern'
        config.initialization.kernel = 'he'
        config.loss.name = 'softmax'
        config.optimizer.learning_rate = 0.02
        config.optimizer.weight_decay = 0.0005
        config.schedule.kind, config.schedule.drops = 'cosine', ''
    if scale == 'smoke':
        config.data.name = 'digits'
        config.schedule.epochs, config.schedule.drops = 4.0, '2=0.4'
    return config
