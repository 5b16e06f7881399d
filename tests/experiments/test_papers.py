"""Which printed number a run is held against."""

import pytest

from cnn_research import config as configs
from configs import lenet5, mlp
from experiments.launch import papers

AFFINE = {'augment.shift': 0.1, 'augment.scale': 0.1, 'augment.shear': 0.1}
CROPS = {'augment.crop': True, 'augment.flip': True}
HELD = [
    ('linear', {}, 12.0),
    ('linear', {'data.preprocessing': 'deskewed'}, 8.4),
    ('perceptron', {}, 12.0),
    ('mlp_300', {}, 4.7),
    ('mlp_300', AFFINE, 3.6),
    ('mlp_300', {'data.preprocessing': 'deskewed'}, 1.6),
    ('mlp_1000', AFFINE, 3.8),
    ('mlp_1000', {'data.preprocessing': 'deskewed'}, None),  # which the paper does not have
    ('mlp_300_100', AFFINE, 2.5),
    ('mlp_800', AFFINE, 1.1),
    ('mlp_800', {'augment.elastic': 34.0}, 0.7),
    ('mlp_300', {'augment.elastic': 34.0}, None),
    ('mlp_300', {**AFFINE, 'augment.rotation': 10.0}, None),
    ('mlp_300', {'augment.shift': 0.1}, None),
    ('mlp_300', {**AFFINE, 'data.preprocessing': 'deskewed'}, None),
    ('mlp_300', {'data.preprocessing': 'width_10'}, None),
    ('lenet5', AFFINE, 0.8),
    ('lenet5', {'data.per_class': 100}, None),
    ('lenet5', {'data.examples': 100}, None),
    ('lenet5 resized(4=80)', {}, None),
    ('cifar_18pct', {}, 18.0),
    ('cifar_18pct', {'augment.flip': True}, None),
    ('cifar_11pct', CROPS, 11.0),
    ('cifar_11pct', {}, None),
    ('alexnet_32', {}, None),
]


@pytest.mark.parametrize(('architecture', 'changes', 'expected'), HELD)
def test_a_run_is_held_against_the_same_treatment_alone(architecture, changes, expected):
    data = 'cifar10' if architecture.startswith('cifar') else 'mnist'
    config = {**configs.flat(configs.default()), 'architecture': architecture, 'data.name': data, **changes}
    found = papers.cells(config, [2.0, 3.0])
    assert found.get('paper') == expected and (expected is None or found['difference'] == pytest.approx(2.5 - expected))


def test_what_differs_is_said():
    def note(architecture, **changes):
        config = {**configs.flat(configs.default()), 'architecture': architecture, 'data.name': 'mnist', **changes}
        return papers.cells(config, [1.0])['note']

    assert note('perceptron') == 'linear outputs there, sigmoid here' and not note('linear') and not note('mlp_300')
    assert note('mlp_300', **AFFINE).startswith('distortions drawn anew') and not note('mlp_800', **AFFINE)
    printed = {'initialization.kernel': 'uniform'}
    assert note('lenet5', **printed) == 'architecture and loss as published, optimizer ours'
    assert note('lenet5', **printed, **{'optimizer.name': 'sdlm'}).endswith('optimizer ours')  # over batches, not single examples
    single = {'optimizer.name': 'sdlm', 'data.batch_size': 1}
    recipe = configs.flat(configs.update(configs.default(), configs.flat(lenet5.get_config('mnist_1998'))))
    printed |= {name: value for name, value in recipe.items() if name.startswith(('optimizer.', 'schedule.'))} | single
    assert note('lenet5', **printed) == 'architecture, loss and optimizer as published'
    for other in ({'optimizer.learning_rate': 0.00005}, {'optimizer.momentum': 0.9}, {'schedule.kind': 'cosine'}, {'schedule.epochs': 2.0}):
        assert note('lenet5', **{**printed, **other}).endswith('with other rates or terms than printed')
    begun = {**printed, 'initialization.kernel': recipe['initialization.kernel']}
    assert note('lenet5', **begun).endswith('optimizer as published; initial weights not within 2.4 / fan-in as printed')
    views = {'data.name': 'cifar10', 'augment.crop': True, 'augment.flip': True}
    assert note('cifar_13pct', **views) == 'ten views there, one here' and not note('cifar_13pct', **views, **{'evaluate.views': 'ten'})


@pytest.mark.parametrize('scale', mlp.SCALES)
def test_every_recipe_of_mnist_is_some_papers(scale):
    config = configs.flat(configs.update(configs.default(), configs.flat(mlp.get_config(scale))))
    assert bool(papers.cells(config, [1.0])) == (scale != 'smoke')
