"""Several processes that train one network: the bits of one process with the same devices, one workdir, and one end for all."""

import os
import pathlib
import random
import signal
import socket
import sys
import threading
import time

import jax
import pytest
import several
from small_runs import outcome
from test_train import SETTINGS, config

from cnn_research import config as configs
from cnn_research import parallel, relay, runs, train
from cnn_research.errors import Busy, ConfigError, Stopped, TrialError
from experiments.launch import command

LONG = {**SETTINGS, 'data.batch_size': 16, 'schedule.steps': 50, 'evaluate.batch_size': 41}


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one_with_two_devices(tmp_path):
    together = several.ended(several.fitting(SETTINGS, [tmp_path / 'two'] * 2))
    assert [(code, err) for code, _, err in together] == [(0, [])] * 2
    run = train.fit(config(), tmp_path / 'one', devices=jax.local_devices()[:2])
    assert outcome(tmp_path / 'two') == outcome(tmp_path / 'one')
    assert configs.read(tmp_path / 'two') == configs.read(tmp_path / 'one')
    assert run.result['test']['examples'] == 70 and not (tmp_path / 'two' / '.together').exists()


@pytest.mark.slow
def test_one_two_and_four_processes_of_four_devices_give_the_same_bits(tmp_path):
    for count in (1, 2, 4):
        told = several.ended(several.fitting(LONG, [tmp_path / str(count)] * count, 4 // count))
        assert [code for code, *_ in told] == [0] * count, told
    first, *others = [outcome(tmp_path / str(count)) for count in (1, 2, 4)]
    assert others == [first] * 2 and len(first[0]) > 10


@pytest.mark.slow
def test_killed_ten_times_at_random_moments_ends_in_the_bits_of_an_undisturbed_training(tmp_path):
    settings = {**SETTINGS, 'schedule.steps': 600, 'checkpoint.every.steps': 50, 'log.every.steps': 50, 'evaluate.every.steps': 100}
    begun = time.monotonic()
    assert [code for code, *_ in several.ended(several.fitting(settings, [tmp_path / 'whole'] * 2))] == [0, 0]
    whole, chance, killed, steps = time.monotonic() - begun, random.Random(0), 0, set()
    for number in range(10):
        workdir = tmp_path / f'killed-{number}'
        pair = several.fitting(settings, [workdir] * 2)
        time.sleep(chance.uniform(0.3, 1.0) * whole)
        victim = number % 2
        pair[victim].send_signal(signal.SIGKILL)
        told = several.ended(pair)
        code, _, lines = told[1 - victim]
        if told[victim][0] == -signal.SIGKILL:
            killed += 1
            assert code in (0, 75) and len(lines) == (code == 75), told
            assert code == 0 or 'has ended' in lines[0] or 'has not met' in lines[0]
        steps |= {path.name for path in (workdir / 'checkpoints').glob('0*')}
        assert [code for code, *_ in several.ended(several.fitting(settings, [workdir] * 2))] == [0, 0]
        assert outcome(workdir) == outcome(tmp_path / 'whole')
    assert killed > 5 and len(steps) > 1  # most were, and some in the middle


@pytest.mark.slow
@pytest.mark.parametrize('asked', [0, 1])
def test_a_signal_to_one_stops_all_where_they_stand_and_the_same_command_goes_on(tmp_path, asked):
    words = [sys.executable, '-m', 'experiments.train', '--config=configs/mlp.py:smoke', f'--workdir={tmp_path / "run"}']
    values = {'architecture': 'perceptron', 'data.examples': 300, 'data.test_examples': 100, 'data.batch_size': 30, 'log.every.steps': 10}
    words += [f'--config.{name}={value}' for name, value in values.items()]

    def both(steps):
        here = (
            f'--config.parallel.coordinator=127.0.0.1:{several.port()}',
            '--config.parallel.processes=2',
            f'--config.schedule.steps={steps}',
        )
        return [several.begun([*words, *here, f'--config.parallel.process={number}']) for number in range(2)]

    pair = both(100000)
    while not (tmp_path / 'run' / 'metrics.jsonl').exists() or (tmp_path / 'run' / 'metrics.jsonl').stat().st_size < 200:
        time.sleep(0.1)
        assert all(one.poll() is None for one in pair)
    pair[asked].send_signal(signal.SIGTERM)
    told = several.ended(pair)
    assert [code for code, *_ in told] == [75, 75]
    said = [line for _, _, lines in told for line in lines if 'stopped and saved' in line]
    step = max(int(path.name) for path in (tmp_path / 'run' / 'checkpoints').iterdir())
    assert len(said) == 2 and all(f'at step {step};' in line for line in said)
    pair = both(100000)
    while not any('0' in path.name and int(path.name) > step for path in (tmp_path / 'run' / 'checkpoints').glob('0*')):
        time.sleep(0.2)
        assert all(one.poll() is None for one in pair)
    pair[1 - asked].send_signal(signal.SIGINT)
    assert [code for code, *_ in several.ended(pair)] == [75, 75]


@pytest.mark.slow
def test_a_table_is_trained_by_all_and_measured_and_told_by_the_first(tmp_path):
    values = {'architecture': 'perceptron', 'data.examples': 300, 'data.test_examples': 100, 'data.batch_size': 30, 'schedule.steps': 40}
    values |= {
        'loss.name': 'softmax',
        'trials.grid': 'optimizer.weight_decay=0,1e30',
        'parallel.coordinator': f'127.0.0.1:{several.port()}',
    }
    words = [sys.executable, '-m', 'experiments.train', '--config=configs/mlp.py:smoke', f'--workdir={tmp_path}']
    words += [f'--config.{name}={value}' for name, value in {**values, 'parallel.processes': 2}.items()]
    told = several.ended([several.begun([*words, f'--config.parallel.process={number}']) for number in range(2)])
    # The second of the grid cannot be trained, which stops nothing else and is said by all.
    assert [code for code, *_ in told] == [2, 2] and all('1 of 2 trials failed' in lines[-1] for *_, lines in told), told
    assert len(list(tmp_path.glob('trials/*/result.json'))) == len(list(tmp_path.glob('trials/*/error.json'))) == 1
    assert (tmp_path / 'report.html').is_file() and sum('report:' in out for _, out, _ in told) == 1


# What is refused, in all processes, before any work.


@pytest.mark.slow
@pytest.mark.parametrize(
    ('own', 'places', 'said'),
    [
        ([{}, {'optimizer.learning_rate': 0.06}], ['a', 'a'], 'process 1 was asked for optimizer.learning_rate=0.06, process 0 for 0.05'),
        (
            [{'data.batch_size': 15}] * 2,
            ['a', 'a'],
            'data.batch_size=15 is not shared evenly by the 2 devices of 2 processes; take 14 or 16',
        ),
        ([{}, {}], ['a', 'b'], 'b is not there as process 0 has it; name one workdir that all 2 processes share'),
        ([{}, {'data.name': 'folder:nowhere'}], ['a', 'a'], 'nowhere'),
    ],
)
def test_processes_that_do_not_fit_together_are_refused(tmp_path, own, places, said):
    told = several.ended(several.fitting(SETTINGS, [tmp_path / place for place in places], own=own))
    assert [code for code, *_ in told] == [2, 2], told
    assert all(said in out and out.count('\n') == 1 and not lines for _, out, lines in told), told
    assert not list(tmp_path.glob('*/checkpoints'))


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ({'processes': 2, 'process': 2, 'coordinator': 'a:1'}, 'parallel.process=2, but parallel.processes=2; they count from 0 to 1'),
        ({'process': 1}, 'parallel.processes must say how many'),
        ({'coordinator': 'a:1'}, 'parallel.processes must say how many'),
        ({'coordinator': 'a:1', 'processes': 1}, 'two or more'),
        ({'processes': 2}, 'parallel.coordinator must be its HOST:PORT'),
        ({'coordinator': 'node1', 'processes': 2}, 'HOST:PORT'),
        ({'coordinator': 'node1:99999', 'processes': 2}, 'HOST:PORT'),
        ({'coordinator': ':29500', 'processes': 2}, 'HOST:PORT'),
    ],
)
def test_fields_that_do_not_say_together_who_trains_are_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        configs.check(config(**{f'parallel__{name}': value for name, value in values.items()}))


def test_who_trains_is_no_part_of_what_is_trained():
    several_ = configs.check(config(parallel__coordinator='a:1', parallel__processes=2, parallel__process=1))
    alone = configs.check(config())
    assert configs.key(several_, {}) == configs.key(alone, {}) and configs.alone(several_) == alone != several_


_CLUSTERS = {
    'a step of SLURM': (
        {'SLURM_NTASKS': '4', 'SLURM_PROCID': '1', 'SLURM_STEP_NODELIST': 'node[1-2]', 'SLURM_LOCALID': '1', 'SLURM_JOB_ID': '5'},
        4,
    ),
    'one task of SLURM': (
        {'SLURM_NTASKS': '1', 'SLURM_PROCID': '0', 'SLURM_STEP_NODELIST': 'node1', 'SLURM_LOCALID': '0', 'SLURM_JOB_ID': '5'},
        1,
    ),
    'a batch script of SLURM': ({'SLURM_NTASKS': '4', 'SLURM_PROCID': '0', 'SLURM_JOB_ID': '5'}, 1),
    'a pod': ({'KUBERNETES_SERVICE_HOST': '10.0.0.1'}, 1),
    'nothing': ({}, 1),
}


@pytest.mark.parametrize('name', _CLUSTERS)
def test_a_cluster_is_found_out_where_nothing_is_given(monkeypatch, name):
    variables, count = _CLUSTERS[name]
    for variable in [one for one in os.environ if one.startswith(('SLURM_', 'KUBERNETES_', 'JOB_'))]:
        monkeypatch.delenv(variable)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    for cached in (parallel._on_a_cluster, parallel._found_out):
        cached.cache_clear()
    try:
        assert parallel.expected(0) == count and parallel.expected(1) == 1
        if count > 1:
            host, processes, process, local = parallel._found_out()
            assert host.startswith('node1:') and (processes, process, list(local)) == (4, 1, [1])
    finally:
        for cached in (parallel._on_a_cluster, parallel._found_out):
            cached.cache_clear()


def test_a_command_that_has_no_use_for_several_processes_refuses_them(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['occlusion', '--config.parallel.processes=2', '--config.parallel.coordinator=127.0.0.1:1'])
    with pytest.raises(SystemExit) as ended:
        command.run('occlusion', lambda given: pytest.fail('it began'), 'doc', 'configs/looking.py:clutter')
    assert ended.value.code == 2 and 'occlusion works in one process, not in 2 together' in capsys.readouterr().err


# How they agree, without any.


class _Store:
    """What jax.distributed keeps for all, as one process sees it: the others have said what they say."""

    def __init__(self, others):
        self.others = others

    def key_value_set(self, key, value):
        self.own = value

    def blocking_key_value_get(self, key, timeout):
        number = int(key.rpartition('/')[2])
        return self.own if number == 0 else self.others[number - 1]


def agreeing(monkeypatch, *others):
    monkeypatch.setattr(parallel, 'process', lambda devices=None: (0, 1 + len(others)))
    store = _Store(others)
    monkeypatch.setattr(parallel, '_client', lambda: store)


def test_an_error_of_one_process_is_that_of_all(monkeypatch):
    agreeing(monkeypatch, '{"kind": "Busy", "message": "taken"}')
    with pytest.raises(Busy, match='process 1: taken'):
        parallel.agreed(lambda: 1)
    agreeing(monkeypatch, '{"kind": "Stopped", "message": "", "step": 7}')
    with pytest.raises(Stopped) as stopped:
        parallel.each(lambda: 1)
    assert stopped.value.step == 7
    agreeing(monkeypatch, '{"found": null}')
    with pytest.raises(ConfigError, match='^mine$'):
        parallel.led(lambda: (_ for _ in ()).throw(ConfigError('mine')))
    assert parallel.led(lambda: [1]) == [1]


def test_processes_that_stand_elsewhere_save_nothing(monkeypatch):
    agreeing(monkeypatch, '{"found": [8, "00"]}')
    with pytest.raises(TrialError, match='process 1 stands at step 8, process 0 at step 9'):
        runs.alike_at(9, {'kernel': jax.numpy.ones(3)}, None)


def test_a_relay_passes_all_on_and_sees_the_far_end_go():
    gone, said = threading.Event(), pathlib.Path(__file__).read_bytes()
    with socket.create_server(('127.0.0.1', 0)) as far:
        host, _, port = relay.through(f'127.0.0.1:{far.getsockname()[1]}', gone.set).rpartition(':')
        near = socket.create_connection((host, int(port)))
        there, _ = far.accept()
        near.sendall(said)
        got = b''
        while len(got) < len(said):
            got += there.recv(1 << 20)
        there.sendall(b'heard')
        assert got == said and near.recv(10) == b'heard' and not gone.is_set()
        there.close()
    assert gone.wait(10) and near.recv(10) == b''
    near.close()
