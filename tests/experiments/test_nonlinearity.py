"""The race of ReLU and tanh at its smallest scale."""

import json
import shutil

import pytest

from cnn_research import config as configs
from cnn_research import train
from cnn_research.errors import CheckpointError, ConfigError
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


RACE = {
    'architecture': 'mlp_300',
    'data.name': 'digits',
    'data.holdout': 0.1,
    'data.batch_size': 100,
    'loss.name': 'softmax',
    'optimizer.learning_rate': 0.03,
    'schedule.epochs': 0.0,
    'schedule.steps': 30,
    'log.every.epochs': 0.0,
    'log.every.steps': 5,
}


@pytest.fixture(scope='module')
def raced(tmp_path_factory):
    """(config, workdir, records) of a race that was stopped at its target."""
    home = tmp_path_factory.mktemp('race') / 'relu'
    config = configs.update(configs.default(), RACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nonlinearity, 'TARGET', 0.95)
        found = nonlinearity.race(config, home, lambda event: None, lambda: False)
    assert not (home / 'result.json').exists() and found[-1]['step'] == 5
    return config, home, found


def again(raced, folder, monkeypatch, **changes):
    """The race once more in a copy that `folder` is; no step is trained."""
    monkeypatch.setattr(nonlinearity, 'TARGET', 0.95)
    monkeypatch.setattr(train, '_trained', lambda *_: pytest.fail('it trained'))
    return nonlinearity.race(configs.update(raced[0], changes), folder, lambda event: None, lambda: False)


def test_a_race_that_was_stopped_at_its_target_is_not_run_again(raced, monkeypatch):
    assert again(raced, raced[1], monkeypatch) == raced[2]


@pytest.mark.parametrize('kind', ['scaled', 'of another run', 'by hand', 'more lines'])
def test_a_race_does_not_rest_on_records_that_its_checkpoint_was_not_saved_with(kind, raced, tmp_path, monkeypatch):
    home = tmp_path / 'relu'
    shutil.copytree(raced[1], home)
    path = home / 'metrics.jsonl'
    text = path.read_text()
    (line, *_) = text.splitlines()
    other = {'scaled': {**json.loads(line), 'epoch': 99.0}, 'of another run': {**json.loads(line), 'loss': 1.0}}
    changed = json.dumps(other.get(kind, {'step': 1, 'role': 'train', 'epoch': 0.01, 'error': 0.0})) + '\n'
    path.write_text(text + changed if kind == 'more lines' else changed)
    if kind == 'more lines':
        assert again(raced, home, monkeypatch) == raced[2]
    else:
        with pytest.raises((CheckpointError, pytest.fail.Exception), match='metrics.jsonl|it trained'):
            again(raced, home, monkeypatch)


@pytest.mark.parametrize('kind', ['no checkpoints', 'other steps'])
def test_a_race_without_its_checkpoint_or_with_another_config_is_not_believed(kind, raced, tmp_path, monkeypatch):
    home = tmp_path / 'relu'
    shutil.copytree(raced[1], home)
    if kind == 'no checkpoints':
        shutil.rmtree(home / 'checkpoints')
        (home / 'config.json').unlink()
        with pytest.raises(pytest.fail.Exception, match='it trained'):
            again(raced, home, monkeypatch)
    else:
        with pytest.raises(ConfigError, match='schedule.steps=30, not 20'):
            again(raced, home, monkeypatch, **{'schedule.steps': 20})


def test_a_nonlinearity_after_the_outputs_is_not_replaced():
    base = configs.update(configs.default(), {'architecture': 'perceptron', 'loss.name': 'squared_error'})
    with pytest.raises(ConfigError, match='after its outputs'):
        nonlinearity.variant(base, 'tanh')
