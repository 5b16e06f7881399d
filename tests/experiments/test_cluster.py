"""A table handed to jobs: what they are asked for, how they end and come back, and for real by submitit's local jobs."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from cnn_research import config as configs
from cnn_research import trials
from cnn_research.errors import ConfigError
from experiments.launch import cluster, command

submitit = pytest.importorskip('submitit', reason="hands trials over: pip install 'cnn-research[cluster]'")
ROOT = pathlib.Path(__file__).resolve().parents[2]
PLAIN = ['--config=configs/mlp.py:smoke', '--config.trials.seeds=5']


def given(*words):
    return command.parse('train', 'configs/mlp.py:smoke', [*PLAIN, *words], trials.FIELDS)


def test_what_jobs_ask_for_is_read():
    found = cluster.parameters('partition=gpu, gpus_per_node=1,time=90,constraint=a100|h100')
    assert found == {'partition': 'gpu', 'gpus_per_node': 1, 'time': 90, 'constraint': 'a100|h100'}
    assert cluster.parameters('') == {'time': cluster.TIME} and cluster.parameters('gpus_per_node=0', 'local')['gpus_per_node'] == 0


@pytest.mark.parametrize(
    ('text', 'launch', 'said'),
    [
        ('gpu', 'slurm', 'cannot be read'),
        ('time=', 'slurm', 'cannot be read'),
        ('time=1,time=2', 'slurm', 'cannot be read'),
        ('patition=gpu', 'slurm', "names 'patition'.*Did you mean partition"),
        ('partition=gpu', 'local', "'local' takes time, gpus_per_node"),
        ('time=4h', 'slurm', "time='4h' is not a whole number of at least 1, in minutes"),
        ('nodes=0', 'slurm', 'nodes'),
        ('gpus_per_node=-1', 'slurm', 'at least 0'),
    ],
)
def test_what_jobs_cannot_ask_for_is_refused(text, launch, said):
    with pytest.raises(ConfigError, match=said):
        cluster.parameters(text, launch)


def test_what_submitit_would_not_know_is_never_asked_for():
    known = submitit.SlurmExecutor._valid_parameters()
    assert {*cluster._NUMBERS, *cluster._TEXTS, 'array_parallelism', 'job_name'} <= known


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--config.trials.slurm=time=9'], "does nothing without trials.launch='slurm'"),
        (['--config.trials.launch=local', '--config.trials.shard=1/2'], 'both part the trials'),
        (['--config.trials.launch=slurm'], 'no srun'),
        (['--config.trials.launch=local', '--config.parallel.processes=2', '--config.parallel.coordinator=a:1'], 'ntasks_per_node'),
    ],
)
def test_a_launch_that_does_not_fit_is_refused(words, said, monkeypatch):
    monkeypatch.setenv('PATH', '')
    with pytest.raises(ConfigError, match=said):
        cluster.check(given(*words))


def test_submitit_that_is_not_there_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, 'submitit', None)
    with pytest.raises(ConfigError, match=r"trials.launch='local' needs submitit: pip install 'cnn-research\[cluster\]'"):
        cluster.check(given('--config.trials.launch=local'))


def test_a_job_gives_the_same_command_and_hands_nothing_over_again(tmp_path):
    launched = given('--config.trials.launch=local', '--config.trials.jobs=3', '--config.trials.slurm=time=9', f'--workdir={tmp_path}')
    words = cluster.words(launched)
    assert words[:3] == [sys.executable, '-m', 'experiments.train']
    again = command.parse('train', 'configs/mlp.py:smoke', words[3:], trials.FIELDS)
    assert again.workdir == tmp_path and again.config == launched.config and again.options.trials.seeds == 5
    assert (again.options.trials.launch, again.options.trials.slurm) == ('', '')
    assert cluster.without(configs.flat(again.options)) == cluster.without(configs.flat(launched.options))


class Requeued(BaseException):
    """What stands for submitit's end of a process that it has put into the queue again."""


@pytest.fixture
def preempted():
    """What submitit does when its signal comes: it keeps what `checkpoint` gives, and ends the process."""
    kept, number = [], submitit.JobEnvironment._usr_sig()
    jobs = []

    def handle(*_):
        kept.append(jobs[0].checkpoint())
        raise Requeued

    before = signal.signal(number, handle)
    yield jobs, kept
    signal.signal(number, before)


def test_a_job_that_is_preempted_lets_its_command_save_and_comes_back(preempted, tmp_path):
    (jobs, kept), saved = preempted, tmp_path / 'saved'
    # The signal reaches the command too, as under SLURM; only the one that asks it to save may end it.
    script = f'trap "sleep 0.3; echo yes > {saved}; exit 75" INT; kill -USR2 $$; touch {tmp_path}/on; while :; do sleep 0.05; done'
    jobs.append(cluster.Job(['bash', '-c', script], str(tmp_path)))

    def later():
        while not (tmp_path / 'on').exists():
            time.sleep(0.05)
        os.kill(os.getpid(), submitit.JobEnvironment._usr_sig())

    threading.Thread(target=later).start()
    with pytest.raises(Requeued):
        jobs[0]()
    assert saved.read_text() == 'yes\n'
    assert kept[0].function.words == jobs[0].words and jobs[0]._running.wait() == 75


def test_a_job_whose_command_stopped_by_itself_comes_back_and_one_that_failed_does_not(preempted, tmp_path):
    jobs, kept = preempted
    jobs.append(cluster.Job(['bash', '-c', 'exit 75'], str(tmp_path)))
    with pytest.raises(Requeued):
        jobs[0]()
    assert len(kept) == 1
    with pytest.raises(RuntimeError, match='exit code 2'):
        cluster.Job(['bash', '-c', 'exit 2'], str(tmp_path))()
    assert cluster.Job(['true'], str(tmp_path))() == 0


# For real.

_SMALL = {
    'architecture': 'perceptron',
    'data.examples': 300,
    'data.test_examples': 100,
    'data.batch_size': 30,
    'schedule.steps': 1500,
    'schedule.epochs': 0,
    'log.every.steps': 100,
    'evaluate.every.steps': 300,
    'checkpoint.every.steps': 50,
    'trials.seeds': 5,
}


def asked(workdir, **more):
    words = [f'--config.{name}={value}' for name, value in {**_SMALL, **more}.items() if value != 0]
    words = [sys.executable, '-m', 'experiments.train', '--config=configs/mlp.py:smoke', f'--workdir={workdir}', *words]
    environment = {**os.environ, 'XLA_FLAGS': '--xla_force_host_platform_device_count=1', 'JAX_PLATFORMS': 'cpu'}
    said = workdir.with_name(f'{workdir.name}.txt')  # no pipe, which jobs that outlive the command would hold open
    with said.open('w') as file:
        subprocess.run(words, cwd=ROOT, env=environment, stdout=file, stderr=file, check=True)
    return said.read_text()


def children(number):
    found = subprocess.run(['ps', '-o', 'pid=', '--ppid', str(number)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def finished(workdir):
    return {path.parent.name: path.read_text() for path in workdir.glob('trials/*/result.json')}


def alive(number):
    state = subprocess.run(['ps', '-o', 'stat=', '-p', str(number)], capture_output=True, text=True, check=False).stdout.strip()
    return state != '' and not state.startswith('Z')


@pytest.mark.slow
def test_five_trials_in_three_jobs_one_killed_one_preempted_are_the_table_of_one_process(tmp_path):
    said = asked(tmp_path / 'jobs', **{'trials.launch': 'local', 'trials.jobs': 3})

    def logs():
        return {path.name: path.read_text() for path in (tmp_path / 'jobs' / 'jobs').glob('*_log.*')}

    jobs = [int(number) for number in re.search(r'5 trials to 3 jobs: (\d+), (\d+), (\d+);', said).groups()]
    try:
        at_work: list = []
        while len(at_work) < 2:  # each is met as soon as it trains, however late the others are
            time.sleep(0.1)
            assert all(map(alive, set(jobs) - set(at_work))), logs()
            ready = [job for job in jobs if job not in at_work and 'examples read' in logs().get(f'{job}_0_log.err', '')]
            if ready:
                (task,) = children(ready[0])
                # As the kernel does where memory is short; and as SLURM does before it takes a machine away.
                os.kill(children(task)[0], signal.SIGKILL) if not at_work else os.kill(task, signal.SIGUSR2)
                at_work.append(ready[0])
        page = subprocess.run(
            [sys.executable, '-m', 'experiments.report', f'--workdir={tmp_path / "jobs"}', f'--out={tmp_path / "page.html"}'],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert page.returncode == 0 and 'of 5 trials are finished' in (tmp_path / 'page.html').read_text()
        while any(map(alive, jobs)):
            time.sleep(0.5)
    finally:
        for job in filter(alive, jobs):
            os.kill(job, signal.SIGTERM)
    assert 'exit code -9' in logs()[f'{at_work[0]}_0_log.err'], logs()
    assert f'Requeued job {at_work[1]}' in logs()[f'{at_work[1]}_0_log.out'], logs()
    asked(tmp_path / 'serial')
    assert len(finished(tmp_path / 'serial')) == 5 and finished(tmp_path / 'jobs') == finished(tmp_path / 'serial')
    for key in finished(tmp_path / 'serial'):
        both = [(tmp_path / name / 'trials' / key / 'metrics.jsonl').read_bytes() for name in ('jobs', 'serial')]
        assert both[0] == both[1]
    plans = [json.loads((tmp_path / name / 'plan.json').read_text()) for name in ('jobs', 'serial')]
    assert plans[0] == plans[1]
