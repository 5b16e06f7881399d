"""The commands that look into a network, small: what they draw is what the library finds, and what is not there is refused."""

import numpy as np
import pytest

from cnn_research import checkpoints, tasks, train
from cnn_research import config as configs
from cnn_research.errors import ArchitectureError, CheckpointError, ConfigError
from experiments import command, evolution, features, invariance, occlusion, stages

SETTINGS = {
    'architecture': 'zfnet_32 resized(1=4,2=4,3=6,4=6,5=4,6=8,7=8)',
    'initialization.kernel': 'he',
    'data.name': 'clutter',
    'data.examples': 200,
    'data.test_examples': 40,
    'data.batch_size': 20,
    'data.normalization': 'mean_std',
    'schedule.epochs': 3,
    'optimizer.learning_rate': 0.01,
    'checkpoint.marks': '1,2',
    'checkpoint.keep': 1,
}


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp('network')
    train.fit(configs.update(configs.default(), SETTINGS), folder)
    return folder


def looked_into(module, network, folder, *more):
    name, arguments = module.__name__.split('.')[1], [f'--config.network={network}', f'--workdir={folder}', *more]
    given = command.parse(name, 'configs/looking.py:smoke', arguments, module.FIELDS)
    module.main(given)
    assert (folder / 'report.html').is_file()
    return dict(np.load(folder / 'arrays.npz'))


def test_occlusion_draws_what_the_network_says_under_the_square(network, tmp_path):
    more = ('--config.look.images=2,5', '--config.occlusion.size=8', '--config.occlusion.stride=8', '--config.occlusion.many=4')
    arrays = looked_into(occlusion, network, tmp_path, *more)
    trained = checkpoints.load(network)
    source = tasks.sources(trained.config)['test']
    images, labels = source.read([5])
    covered, row, column = images[0].astype(np.float32), int(arrays['rows'][1]), int(arrays['columns'][2])
    covered[max(0, row - 4) : row + 4, max(0, column - 4) : column + 4] = 127.5
    seen = (covered - trained.variables['preprocessing']['mean']) * trained.variables['preprocessing']['scale']
    logits, _ = tasks.network(trained.config).apply({'params': trained.variables['params']}, seen[None])
    expected = np.exp(logits[0] - logits.max()) / np.exp(logits[0] - logits.max()).sum()
    assert arrays['probability'].shape == (2, 4, 4)
    assert arrays['probability'][1, 1, 2] == pytest.approx(expected[labels[0]], rel=1e-4)
    assert {path.name for path in (tmp_path / 'figures').iterdir()} >= {'occlusion.png', 'occlusion.pdf'}
    assert 'inside the box' in (tmp_path / 'report.html').read_text()


def test_invariance_is_none_at_the_original(network, tmp_path):
    arrays = looked_into(invariance, network, tmp_path, '--config.look.images=0,1', '--config.invariance.steps=5')
    assert arrays['translation layer1 distance'].shape == (2, 5) and arrays['translation values'][2] == 0
    np.testing.assert_allclose(arrays['translation layer7 distance'][:, 2], 0, atol=1e-5)
    assert (arrays['translation layer1 distance'][:, [0, 4]] > 0).all()
    np.testing.assert_allclose(arrays['rotation probability'][:, 0], arrays['translation probability'][:, 2], rtol=1e-5)


def test_stages_show_a_layer_in_its_order(network, tmp_path):
    arrays = looked_into(stages, network, tmp_path, '--config.stages.layers=2', '--config.stages.maps=3')
    assert [name for name in arrays if name.startswith('layer2 stages')] == [
        f'layer2 stages {name}' for name in ('convolution', 'relu', 'max_pool', 'response')
    ]
    np.testing.assert_array_equal(arrays['layer2 stages relu'], np.maximum(arrays['layer2 stages convolution'], 0))


def test_features_are_the_strongest_of_the_whole_split(network, tmp_path):
    more = ('--config.features.taps=layer2.relu', '--config.features.units=2', '--config.features.images=4', '--config.look.split=test')
    arrays = looked_into(features, network, tmp_path, *more)
    trained = checkpoints.load(network)
    source = tasks.sources(configs.update(trained.config, {'data.test_examples': 0}))['test']
    chosen = np.unique(arrays['layer2.relu examples'])
    images, _ = source.read(chosen)
    seen = (np.stack(images) - trained.variables['preprocessing']['mean']) * trained.variables['preprocessing']['scale']
    _, kept = tasks.network(trained.config).apply({'params': trained.variables['params']}, seen.astype(np.float32), taps=('layer2.relu',))
    peaks = np.asarray(kept['layer2.relu']).max((1, 2))
    for unit, (values, examples) in enumerate(zip(arrays['layer2.relu values'], arrays['layer2.relu examples'], strict=True)):
        np.testing.assert_allclose(values, peaks[np.searchsorted(chosen, examples), unit], rtol=1e-4)
        assert (np.diff(values) <= 0).all() and len(set(examples)) == 4
    assert (tmp_path / 'figures' / 'layer2_relu.png').is_file() and (tmp_path / 'figures' / 'filters_each.png').is_file()


def test_evolution_is_drawn_from_checkpoints_and_ends_at_itself(network, tmp_path):
    arrays = looked_into(evolution, network, tmp_path, '--config.evolution.units=2', '--config.evolution.examples=30')
    assert checkpoints.steps(network) == [10, 20, 30]
    np.testing.assert_allclose(arrays['epochs'], [1, 2, 3], atol=0.15)  # the holdout is no part of an epoch
    drift = arrays['layer1.relu drift']
    assert drift.shape == (1, 3) and drift[0, 2] == 0 and (drift[0, :2] > 0).all()
    assert 'no verdict' in (tmp_path / 'report.html').read_text()


def test_a_checkpoint_of_an_earlier_step_is_another_network(network, tmp_path):
    early, late = (looked_into(invariance, network, tmp_path / str(step), f'--config.look.step={step}') for step in (10, 30))
    assert not np.allclose(early['scale probability'], late['scale probability'])


@pytest.mark.parametrize(
    'module, argument, message, error',
    [
        (occlusion, '--config.look.images=99999', 'look.images', ConfigError),
        (occlusion, '--config.occlusion.tap=layer9', 'layer9', ArchitectureError),
        (invariance, '--config.invariance.taps=layer0', 'layer0', ArchitectureError),
        (stages, '--config.stages.layers=11', 'stages.layers', ConfigError),
        (features, '--config.look.step=7', 'cannot be read', CheckpointError),
    ],
)
def test_what_is_not_there_is_refused(network, tmp_path, module, argument, message, error):
    with pytest.raises(error, match=message):
        looked_into(module, network, tmp_path / 'none', argument)
    assert not (tmp_path / 'none').exists()


def test_several_networks_are_for_commands_that_compare_them(network, tmp_path):
    with pytest.raises(ConfigError, match='names 2 networks; stages looks into one'):
        looked_into(stages, f'{network},{network}', tmp_path)
    arrays = looked_into(evolution, f'{network},{network}', tmp_path, '--config.evolution.units=1', '--config.evolution.examples=10')
    np.testing.assert_array_equal(*arrays['layer1.relu drift'])


def test_what_cannot_be_looked_at_is_refused_before_a_network_is_trained(tmp_path):
    arguments = [
        f'--workdir={tmp_path / "none"}',
        '--config.architecture=lenet5',
        '--config.data.name=digits',
        '--config.loss.name=radial_basis',
    ]
    given = command.parse('features', 'configs/looking.py:smoke', arguments, features.FIELDS)
    with pytest.raises(ArchitectureError, match='deconvnet'):
        features.main(given)
    assert not (tmp_path / 'none').exists()


def test_without_a_network_one_is_trained_first_and_only_once(tmp_path):
    small = [f'--config.{name}={value}' for name, value in SETTINGS.items()]
    arguments = [*small, f'--workdir={tmp_path}', '--config.stages.layers=1']
    written = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, 'stopper', lambda: lambda: False)
        for _ in range(2):
            stages.main(command.parse('stages', 'configs/looking.py:smoke', arguments, stages.FIELDS))
            written.append((tmp_path / 'network' / 'result.json').stat().st_mtime_ns)
    assert written[0] == written[1]
