"""Other programs that metrics go to, by the journal: they are told what it writes, and nothing rests on them."""

import importlib.machinery
import importlib.util
import json
import sys
import types

import pytest
from small_runs import config, fit

from cnn_research import config as configs
from cnn_research import files
from cnn_research.errors import ConfigError


class Heard:
    """Stands for both libraries: what they were told, in order."""

    def __init__(self):
        self.begun, self.told, self.ended = [], [], 0

    def SummaryWriter(self, folder, purge_step):
        self.begun.append((folder, purge_step))
        return types.SimpleNamespace(add_scalar=lambda *scalar: self.told.append(scalar), close=self._end)

    def init(self, **named):
        self.begun.append(named)
        return types.SimpleNamespace(log=self.told.append, define_metric=lambda *_, **__: None, finish=self._end)

    def Settings(self, **named):
        return named

    def _end(self):
        self.ended += 1


@pytest.fixture
def heard(monkeypatch):
    """A function of a library's name: it is there, and what it is told."""

    def stand_in(name):
        module, found = types.ModuleType(name), Heard()
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        for part in ('SummaryWriter', 'init', 'Settings'):
            setattr(module, part, getattr(found, part))
        monkeypatch.setitem(sys.modules, name, module)
        return found

    return stand_in


def scalars(workdir):
    """{step: {role/name: value}} of metrics.jsonl."""
    found = {}
    for record in files.read_lines(workdir / 'metrics.jsonl'):
        values = {f'{record["role"]}/{name}': value for name, value in record.items() if isinstance(value, float)}
        found.setdefault(record['step'], {}).update(values)
    return found


def by_step(told):
    found = {}
    for values in told:
        found.setdefault(values['step'], {}).update({name: value for name, value in values.items() if name != 'step'})
    return found


def test_weights_and_biases_is_told_what_the_journal_writes_and_goes_on_in_the_same_run(heard, tmp_path):
    found = heard('wandb')
    given = config(log__wandb='a project')
    fit(tmp_path / 'run', given, after=6)
    first = found.begun[0]
    assert (first['project'], first['name'], first['resume'], first['dir']) == ('a project', 'run', 'allow', str(tmp_path / 'run'))
    assert first['config']['optimizer.learning_rate'] == 0.02 and found.ended == 1
    fit(tmp_path / 'run', given)
    assert [one['id'] for one in found.begun] == [first['id']] * 2 and found.ended == 2
    assert by_step(found.told) == scalars(tmp_path / 'run')
    fit(tmp_path / 'plain')
    assert len(found.begun) == 2
    for name in ('metrics.jsonl', 'result.json'):
        mine, plain = ((tmp_path / run / name).read_text() for run in ('run', 'plain'))
        assert name == 'result.json' or mine == plain
    assert json.loads(mine)['test'] == json.loads(plain)['test'] and json.loads(mine)['key'] == json.loads(plain)['key']


def test_tensorboard_is_told_what_the_journal_writes(heard, tmp_path):
    found = heard('tensorboardX')
    fit(tmp_path / 'run', config(log__tensorboard=True))
    assert found.begun == [(str(tmp_path / 'run' / 'tensorboard'), 1)] and found.ended == 1
    assert by_step([{'step': step, name: value} for name, value, step in found.told]) == scalars(tmp_path / 'run')


@pytest.mark.parametrize(
    ('field', 'value', 'module', 'said'),
    [
        ('log.wandb', 'mine', 'wandb', r"log.wandb='mine' needs Weights & Biases: pip install 'cnn-research\[wandb\]'"),
        ('log.tensorboard', True, 'tensorboardX', 'log.tensorboard=True needs tensorboardX'),
    ],
)
def test_a_logger_that_is_not_installed_is_refused(field, value, module, said, monkeypatch):
    whole = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *rest: None if name == module else whole(name, *rest))
    with pytest.raises(ConfigError, match=said):
        configs.check(configs.update(config(), {field: value}))


def test_weights_and_biases_writes_its_own_files_without_a_network(monkeypatch, tmp_path):
    pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    fit(tmp_path / 'run', config(log__wandb='mine'))
    (kept,) = (tmp_path / 'run' / 'wandb').glob('offline-run-*/*.wandb')
    content = kept.read_bytes()
    assert all(name.encode() in content for name in ('train/loss', 'train/learning_rate', 'mine'))
