"""Tables rendered from the records of runs."""

import subprocess
import sys
from pathlib import Path

import finished
import pytest

from experiments import compare

ROOT = Path(__file__).resolve().parents[2]


def recorded(folder, seed, error, **changes):
    """A finished run as `fit` and the train command leave it, with a test error of `error`."""
    values = {'architecture': 'lenet5', 'loss.name': 'radial_basis', 'data.name': 'mnist', 'seed': seed, **changes}
    line = f"python -m experiments.train --config=configs/lenet5.py:mnist --config.seed={seed} --workdir={folder} '--config.data.dir=/x y'"
    finished.recorded(folder, 'k', values, {**finished.RUN, 'command': line}, test=finished.error(error))
    return compare.read(folder)


def test_runs_that_differ_in_seed_alone_are_one_row(tmp_path):
    runs = [
        recorded(tmp_path / 'b', 1, 0.0105),
        recorded(tmp_path / 'a', 0, 0.0095, **{'data.workers': 2}),
        recorded(tmp_path / 'c', 0, 0.5, **{'optimizer.learning_rate': 0.5}),
    ]
    (first, second), sources = compare.rows(runs)
    assert first['error'] == pytest.approx([0.95, 1.05])
    assert abs(first['difference'] - 0.05) < 1e-9
    assert (first['paper'], first['parameters'], first['minutes'], first['epochs']) == (0.95, 60_000, 1.5, 1.0)
    assert second['error'] == [50.0]
    assert sources[0].startswith('- lenet5: `python -m experiments.train --config=configs/lenet5.py:mnist`, seeds 0, 1; a machine; jax 0')


def test_surgery_is_not_held_against_the_paper(tmp_path):
    (row,), _ = compare.rows([recorded(tmp_path / 'a', 0, 0.01, architecture='lenet5 replaced(3,nonlinearity=tanh)')])
    assert 'paper' not in row


def test_the_command_writes_both_tables_and_refuses_nothing_to_compare(tmp_path):
    recorded(tmp_path / 'runs' / 'a', 0, 0.01)
    call = [sys.executable, '-m', 'experiments.compare', f'--runs={tmp_path}/runs/*', f'--out={tmp_path}/table', '--title=MNIST']
    subprocess.run(call, cwd=ROOT, check=True)
    text = (tmp_path / 'table.md').read_text()
    assert text.startswith('# MNIST\n')
    assert '| lenet5 | radial basis | 60,000 |' in text
    assert (tmp_path / 'table.csv').read_text().splitlines()[0].startswith('network,loss,parameters,epochs,error')
    refused = subprocess.run([*call[:3], f'--runs={tmp_path}/none/*'], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert 'matches no finished run' in refused.stderr
    assert refused.stderr.count('\n') == 1
