"""The race of ReLU and tanh at its smallest scale."""

from cnn_research import config as configs
from experiments import nonlinearity


def history(*errors):
    return [{'role': 'train', 'epoch': 0.5 * (i + 1), 'error': error} for i, error in enumerate(errors)]


def test_crossing_is_the_first_epoch_at_the_target():
    assert nonlinearity.crossing(history(0.9, 0.26, 0.25, 0.3, 0.1)) == 1.5
    assert nonlinearity.crossing(history(0.9, 0.26)) is None
    assert nonlinearity.crossing([{'role': 'holdout', 'epoch': 1.0, 'error': 0.1}]) is None


def test_a_variant_replaces_every_nonlinearity_and_nothing_else():
    base = configs.update(configs.default(), {'architecture': 'cifar_18pct', 'optimizer.learning_rate': 0.01})
    net = configs.network(base)
    changed = configs.network(nonlinearity.variant(base, 'tanh'))
    kinds = [[stage.name for stage in layer.stages] for layer in net.layers]
    assert [[stage.name for stage in layer.stages] for layer in changed.layers] == [
        ['tanh' if name == 'relu' else name for name in names] for names in kinds
    ]
    assert nonlinearity.rates(base) == (0.003, 0.01, 0.03, 0.1)
