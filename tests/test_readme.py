"""What README says can be done: its commands are understood, its code runs, its tables are the rendered ones, its links lead somewhere."""

import ast
import importlib
import pathlib
import re
import runpy
import shlex
import sys
import types

import jax
import numpy as np
import pytest

from cnn_research import checkpoints, stages, train
from cnn_research import config as configs
from cnn_research.architecture import Architecture, Layer
from cnn_research.data.sources import open_source
from cnn_research.models import zoo
from experiments.launch import command, pages

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text()
PAGES = [ROOT / 'README.md', ROOT / 'results' / 'README.md', *sorted(ROOT.glob('results/*/README.md'))]
BLOCKS = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
COMMANDS = sorted(
    {
        line.partition('  #')[0].strip()
        for line in re.sub(r'\\\n\s*', '', README).splitlines()
        if line.startswith('    python -m experiments.') and '_TABLE' not in line
    }
)


@pytest.mark.parametrize('name', ['depth_cifar10/depth', 'depth_cifar10/lesions'])
def test_tables_are_the_rendered_ones(name):
    rendered = (ROOT / 'results' / f'{name}.md').read_text()
    assert rendered[rendered.index('|') :] in README


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = [link for link in re.findall(r'\]\(([^)#]+)\)', page.read_text()) if not link.startswith('http')]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize('line', COMMANDS)
def test_every_command_is_understood(line, monkeypatch):
    _, _, module, *arguments = shlex.split(line)
    read = []

    def run(name, main, doc, default_config, fields=()):
        read.append(command.parse(name, default_config, arguments, fields))

    def run_with_flags(name, main, doc, known):
        read.append(known([name, *arguments])[1:])

    monkeypatch.setattr(command, 'run', run)
    monkeypatch.setattr(command, 'run_with_flags', run_with_flags)
    monkeypatch.setattr(zoo, '_TABLE', zoo._TABLE | {'tiny': zoo._TABLE['cifar_18pct']})  # the network that README adds
    monkeypatch.delitem(sys.modules, module, raising=False)  # runpy warns of a module that is imported already
    runpy.run_module(module, run_name='__main__')
    (given,) = read
    if isinstance(given, command.Command):
        configs.network(given.config)  # an architecture is read too
    else:
        assert given == []


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    """A training on clutter of a few steps, of a network with the layers that README taps."""
    narrow = 'alexnet_32 resized(1=4,2=6,3=4,4=4,5=4,6=8,7=8)'
    values = {'architecture': narrow, 'data.examples': 64, 'data.test_examples': 100, 'data.batch_size': 32, 'schedule.steps': 2}
    home = tmp_path_factory.mktemp('clutter')
    train.fit(configs.update(configs.default(), values), home, devices=jax.local_devices()[:1])
    return home


def test_the_notebook_says_what_the_run_says(workdir):
    (block,) = [block for block in BLOCKS if 'predict' in block]
    told: dict = {}
    exec(compile(block.replace('runs/demo/trials/KEY', str(workdir)), 'README.md', 'exec'), told)
    result = train.runs.journal.result(workdir)['test']  # of the first 100 of the split
    assert told['error'] == checkpoints.load(workdir).evaluate(open_source('clutter', 'test')).top1_error
    assert (told['probabilities'].argmax(axis=1) != told['labels']).mean() == result['top1_error']
    assert told['features']['layer6.relu'].shape == (100, 8) and np.allclose(told['probabilities'].sum(axis=1), 1)


def test_the_network_that_is_added_is_one():
    text = re.search(r"    'tiny': \(\n.*?\n    \),\n", README, re.DOTALL)[0]
    tree = ast.parse('{' + text + '}', mode='eval')
    shape, *layers = eval(compile(tree, 'README.md', 'eval'), vars(stages).copy())['tiny']
    assert Architecture('tiny', shape, tuple(Layer(number, made) for number, made in enumerate(layers, 1))).num_classes == 10


def test_the_experiment_that_is_added_trains_and_renders(tmp_path, monkeypatch, capsys):
    (block,) = [block for block in BLOCKS if 'command.run' in block]
    (recipe,) = [block for block in BLOCKS if 'def get_rows' in block]
    (tmp_path / 'mine.py').write_text(recipe)
    module = types.ModuleType('experiments.mine')
    exec(compile(block, 'README.md', 'exec'), vars(module))
    monkeypatch.setitem(sys.modules, 'experiments.mine', module)
    monkeypatch.setattr(pages, 'EXPERIMENTS', (*pages.EXPERIMENTS, 'mine'))
    monkeypatch.setattr(command, 'stopper', lambda: lambda: False)  # a signal's handler is not a test's to set
    arguments = [f'--config={tmp_path / "mine.py"}:smoke', f'--workdir={tmp_path / "run"}']
    module.main(command.parse('mine', '', arguments, importlib.import_module('cnn_research.trials').FIELDS))
    assert 'report: ' in capsys.readouterr().out
    table = (tmp_path / 'run' / 'mine.csv').read_text().splitlines()
    assert [line.split(',')[0] for line in table] == ['row', 'narrow', 'wide']
