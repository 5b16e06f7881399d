"""The training loop on a real, tiny classification: repeatable, resumable and killable to the bit, the same on any number of devices."""

import copy
import functools
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from cnn_research import checkpoints, journal, optimizers, parallel, records, tasks, train
from cnn_research import config as configs
from cnn_research.architecture import Architecture, Convolution, Dense, Dropout, Layer, MaxPool, ReLU
from cnn_research.data import stream
from cnn_research.errors import ConfigError, TrialError

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = Architecture(
    'tiny',
    (20, 20, 1),
    (Layer(1, (Convolution(4, 5, stride=2), ReLU(), MaxPool(2, 2))), Layer(2, (Dense(16), ReLU(), Dropout(0.4))), Layer(3, (Dense(10),))),
)
# Dropout, augmentation, a plateau and uneven periods together, so that all of the state takes part in what is compared.
SETTINGS = {
    'architecture_json': TINY.to_json(),
    'data.name': 'digits',
    'data.examples': 150,
    'data.test_examples': 70,
    'data.holdout': 0.02,
    'data.batch_size': 14,
    'data.normalization': 'mean_std',
    'augment.crop': True,
    'augment.shift': 0.05,
    'optimizer.learning_rate': 0.05,
    'optimizer.weight_decay': 0.001,
    'schedule.steps': 30,
    'schedule.kind': 'plateau',
    'schedule.patience': 1,
    'evaluate.every.steps': 7,
    'evaluate.batch_size': 40,
    'checkpoint.every.steps': 10,
    'log.every.steps': 4,
}
ONE = jax.local_devices()[:1]


def config(**changes):
    named = {name.replace('__', '.'): value for name, value in changes.items()}
    return configs.update(configs.default(), {**SETTINGS, **named})


def outcome(workdir):
    """What must not differ: the last checkpoint's arrays, the numbers logged and the result."""
    arrays = checkpoints.read(workdir, checkpoints.steps(workdir)[-1])
    logs = [(workdir / name).read_text() for name in ('metrics.jsonl', 'result.json')]
    return {name: array.tobytes() for name, array in arrays.items()}, *logs


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """The workdir of a run of 30 steps on one device, and its Run."""
    workdir = tmp_path_factory.mktemp('uninterrupted')
    return workdir, train.fit(config(), workdir, devices=ONE)


def test_the_same_run_twice_is_the_same_to_the_bit(uninterrupted, tmp_path):
    workdir, run = uninterrupted
    train.fit(config(), tmp_path, devices=ONE)
    assert outcome(tmp_path) == outcome(workdir)
    assert run.step == 30 and run.history == [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def test_what_a_run_writes_down(uninterrupted):
    workdir, run = uninterrupted
    held = [r['step'] for r in run.history if r['role'] == 'holdout']
    logged = [r['step'] for r in run.history if r['role'] == 'train']
    # Evaluations and checkpoints between two lines do not cut the stretch that a line's means are over.
    assert held == [7, 14, 21, 28, 30] and logged == [*range(4, 30, 4), 30]
    assert run.result['test']['examples'] == 70 and 'train' not in run.result
    assert checkpoints.steps(workdir) == [20, 30]
    errors = [r['error'] for r in run.history if r['role'] == 'holdout']
    drops, best, rate = {}, 1.0, 0.05  # a plateau of patience 1: a drop after every evaluation without improvement
    for step, error in zip(held, errors, strict=True):
        rate, best = (rate, error) if error < best * (1 - 1e-6) else (rate * 0.1, best)
        drops[step] = rate
    for record in (r for r in run.history if r['role'] == 'train'):
        before = [step for step in held if step < record['step']]
        assert record['learning_rate'] == pytest.approx(drops[before[-1]] if before else 0.05, rel=1e-5)
    seconds = [json.loads(line)['step'] for line in (workdir / 'timing.jsonl').read_text().splitlines()]
    assert seconds == logged


def timed(workdir):
    return [json.loads(line) for line in (workdir / 'timing.jsonl').read_text().splitlines()]


def test_waiting_for_data_is_written_down(uninterrupted, tmp_path, monkeypatch):
    quick = stream.Feed.batch

    def slow(feed, step):
        time.sleep(0.05)
        return quick(feed, step)

    monkeypatch.setattr(stream.Feed, 'batch', slow)
    train.fit(config(), tmp_path, devices=ONE)
    # The first stretch compiles. Two steps are in flight, so the first batches of a stretch may be fetched while the devices work.
    late, usual = timed(tmp_path)[1:], timed(uninterrupted[0])[1:]
    assert all(0 <= line['waited'] <= line['seconds'] + 0.002 for line in late + usual)
    assert sum(line['waited'] for line in late) > 0.5 * sum(line['seconds'] for line in late)
    assert journal.waited(tmp_path) > 1 and journal.waited(uninterrupted[0]) < 0.5 * journal.waited(tmp_path)


def stopped_after(count, workdir, **changes):
    """Lets a run go `count` steps further and stops it; returns the step at which it saved."""
    stops = iter([False] * count + [True])
    with pytest.raises(train.Stopped) as stopped:
        train.fit(config(**changes), workdir, devices=ONE, stop=lambda: next(stops))
    assert checkpoints.steps(workdir)[-1] == stopped.value.step
    return stopped.value.step


@pytest.mark.parametrize('stretches', [(0, 9), (14, 1, 14)])
def test_stopped_and_resumed_ends_in_the_same_bits(uninterrupted, tmp_path, stretches):
    assert [stopped_after(count, tmp_path) for count in stretches] == np.cumsum(stretches).tolist()
    train.fit(config(), tmp_path, devices=ONE)
    assert outcome(tmp_path) == outcome(uninterrupted[0])


_KILLED = """
import json, os, pathlib, signal, sys
import jax
from cnn_research import checkpoints, config as configs, train
digest = checkpoints._digest
def killed(path):
    if path.parent.name.startswith('.000000020'):  # inside the saving of step 20: its arrays are written, its manifest is not
        os.kill(os.getpid(), signal.SIGKILL)
    return digest(path)
checkpoints._digest = killed
config = configs.update(configs.default(), json.loads(sys.argv[1]))
train.fit(config, pathlib.Path(sys.argv[2]), devices=jax.local_devices()[:1])
"""


def test_killed_while_saving_and_started_again_ends_in_the_same_bits(uninterrupted, tmp_path):
    done = subprocess.run([sys.executable, '-c', _KILLED, json.dumps(SETTINGS), str(tmp_path)], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert checkpoints.steps(tmp_path) == [10] and [p.name[:10] for p in (tmp_path / 'checkpoints').glob('.*')] == ['.000000020']
    ahead = (tmp_path / 'metrics.jsonl').read_text().splitlines()
    assert json.loads(ahead[-1])['step'] == 20
    with (tmp_path / 'metrics.jsonl').open('a') as file:
        file.write('{"step": 24, "epo')  # a line that was never finished
    notes = []
    train.fit(config(), tmp_path, devices=ONE, watch=lambda event: notes.append(event.get('note')))
    assert any(note and 'step 10' in note for note in notes)
    assert outcome(tmp_path) == outcome(uninterrupted[0])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(path):
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize('damage', [flipped, truncated])
def test_a_damaged_newest_checkpoint_is_said_and_the_older_one_used(uninterrupted, tmp_path, damage):
    stopped_after(25, tmp_path)
    assert checkpoints.steps(tmp_path) == [20, 25]
    damage(tmp_path / 'checkpoints' / '000000025' / 'arrays.npz')
    notes = []
    train.fit(config(), tmp_path, devices=ONE, watch=lambda event: notes.append(event.get('note') or ''))
    assert any('000000025' in note and 'damaged' in note for note in notes) and any('from step 20' in note for note in notes)
    assert outcome(tmp_path) == outcome(uninterrupted[0])


def test_progress_survives_a_damaged_checkpoint_when_only_one_is_kept(tmp_path):
    stopped_after(12, tmp_path, checkpoint__keep=1)
    flipped(tmp_path / 'checkpoints' / '000000012' / 'arrays.npz')
    # What was just saved must not give way to a damaged file of a later step.
    assert stopped_after(5, tmp_path, checkpoint__keep=1) == 5
    assert checkpoints.load(tmp_path).step == 5


def test_a_finished_run_is_only_read(uninterrupted):
    workdir, run = uninterrupted
    files = {p: p.stat().st_mtime_ns for p in workdir.rglob('*') if p.is_file() and p.name not in ('config.json', 'key')}

    def stop():
        raise AssertionError('a step was taken')

    again = train.fit(config(log__every__steps=2, data__workers=0), workdir, devices=ONE, stop=stop)
    assert (again.step, again.result, again.history) == (run.step, run.result, run.history)
    assert {p: p.stat().st_mtime_ns for p in files} == files


def test_a_workdir_of_another_run_is_refused(uninterrupted):
    workdir, _ = uninterrupted
    before = (workdir / 'config.json').read_text()
    with pytest.raises(ConfigError, match=r'optimizer\.learning_rate=0\.05.* not 0\.1'):
        train.fit(config(optimizer__learning_rate=0.1), workdir, devices=ONE)
    with pytest.raises(ConfigError, match='architecture') as refused:
        train.fit(config(architecture='perceptron', architecture_json=''), workdir, devices=ONE)
    assert len(str(refused.value)) < 400  # one readable line, not two networks in JSON
    assert (workdir / 'config.json').read_text() == before


# One, two and four devices.


@pytest.fixture(scope='module')
def task():
    return tasks.classification(configs.check(config()), devices=ONE)


def trained(task, devices, batch_size, steps=6, total=parallel.all_sum):
    """Parameters after some steps of the task's own stream on the devices, and the losses on the way."""
    given = config(data__batch_size=batch_size, schedule__kind='constant')
    state = train.initial(configs.check(given), task, None)
    step = train.train_step(task, optimizers.optimizer(given, state.params), lambda step: 0.05, total)
    run = parallel.spread_step(step, devices)
    placed = parallel.replicated({'store': task.feed.store, 'constants': task.constants}, devices)
    state, losses = parallel.replicated(state, devices), []
    for number in range(steps):
        batch = {name: array[:batch_size] for name, array in task.feed.batch(number).items()}
        state, metrics = run(state, placed, batch)
        losses.append(float(metrics['loss']))
    held = [[np.asarray(shard.data) for shard in leaf.addressable_shards] for leaf in jax.tree.leaves(state.params)]
    assert all(len(copies) == len(devices) and all((one == copies[0]).all() for one in copies) for copies in held)
    return [copies[0] for copies in held], losses


def furthest(one, other):
    return max(np.abs(a - b).max() for a, b in zip(one, other, strict=True))


# 14 is divided by 2 devices and not by 4; of 5 examples the fourth device gets none.
@pytest.mark.parametrize(('batch_size', 'count'), [(14, 4), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((14, 2), (5, 4)))])
def test_any_number_of_devices_gives_the_same_parameters(task, batch_size, count):
    alone, losses = trained(task, ONE, batch_size)
    together, others = trained(task, jax.local_devices()[:count], batch_size)
    assert furthest(alone, together) < 1e-6
    np.testing.assert_allclose(losses, others, atol=1e-5)


def test_a_forgotten_sum_over_devices_would_be_seen(task):
    alone, _ = trained(task, ONE, 14)
    forgetful = functools.partial(trained, task, jax.local_devices()[:2], 14, total=lambda tree: tree)
    # JAX itself may notice that the copies differ; where it does not, the parameters do.
    try:
        wrong, _ = forgetful()
    except (AssertionError, ValueError):
        return
    assert furthest(alone, wrong) > 1e-4


def test_a_whole_run_on_four_devices_is_that_on_one(uninterrupted, tmp_path):
    _, run = uninterrupted
    together = train.fit(config(), tmp_path, devices=jax.local_devices())
    for record, other in zip(copy.deepcopy(run.history), together.history, strict=True):
        assert record.pop('role') == other.pop('role') and record == pytest.approx(other, rel=1e-3, abs=1e-4)
    assert together.result['test']['top1_error'] == run.result['test']['top1_error']


def test_masks_and_views_belong_to_examples_not_to_places(task):
    params = task.initialize(jax.random.key(0))
    placed = {'store': task.feed.store, 'constants': task.constants}
    batch, turned = task.feed.batch(3), np.random.default_rng(0).permutation(14)
    loss = jax.jit(task.loss)
    losses, _ = loss(params, placed, batch, jax.random.key(1))
    others, _ = loss(params, placed, {name: array[turned] for name, array in batch.items()}, jax.random.key(1))
    np.testing.assert_allclose(np.asarray(losses)[turned], others, rtol=1e-5)
    again, _ = loss(params, placed, {**batch, 'position': batch['position'] + 1}, jax.random.key(1))
    assert np.abs(np.asarray(again) - losses).min() > 0


# What goes wrong, on the same network.


def test_a_loss_that_is_not_finite_stops_the_run_with_step_and_place(tmp_path):
    with pytest.raises(TrialError, match=r'not finite at step [12];.* in the (output|parameters) of layer[123]'):
        train.fit(config(optimizer__learning_rate=1e30), tmp_path, devices=ONE)
    assert not (tmp_path / 'result.json').exists()


def test_an_infinite_parameter_is_named(tmp_path):
    stopped_after(3, tmp_path)
    arrays = checkpoints.read(tmp_path, 3)
    arrays['state/params/layer2/dense/kernel'][5, 3] = np.inf
    folder = tmp_path / 'checkpoints' / '000000003'
    np.savez(folder / 'arrays.npz', **arrays)
    records.write(folder / 'manifest.json', {**checkpoints.manifest(tmp_path, 3), 'arrays': checkpoints._digest(folder / 'arrays.npz')})
    with pytest.raises(TrialError, match=r'not finite at step 3;.* in the parameters of layer2'):
        train.fit(config(), tmp_path, devices=ONE)


def test_parameters_that_overflow_in_the_last_step_are_no_result(tmp_path):
    # The last loss is finite, what the last update leaves is not: nothing but the evaluation can see it.
    with pytest.raises(TrialError, match='not finite'):
        train.fit(config(optimizer__learning_rate=1e38, optimizer__rates='3=1000', schedule__steps=1), tmp_path, devices=ONE)
    assert not (tmp_path / 'result.json').exists()


_MEMORY = """
import resource
import jax, jax.numpy as jnp, numpy as np
from cnn_research import parallel
def step(state, placed, batch):
    waves = jnp.sin(batch['x'] * jnp.arange(4000.0))
    return state + jnp.sum(waves @ waves.T), {}
one = parallel.local_devices(1)
advance, state = parallel.spread_step(step, one), parallel.replicated(jnp.float32(0), one)
for _ in range(30):
    state, _ = advance(state, {}, {'x': np.ones((2000, 1), np.float32)})
    jax.block_until_ready(state)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='mallopt is of glibc')
def test_a_step_finds_its_memory_again():
    """Page faults of a step whose temporary memory, 32 MB and more, is 8000 pages; in a process of its own, whose threads begin with it.

    The median, since on a busy machine a step now and then needs more at once than any before it.
    """
    environment = {**os.environ, 'XLA_FLAGS': ''}
    done = subprocess.run([sys.executable, '-c', _MEMORY], cwd=ROOT, capture_output=True, text=True, check=True, env=environment)
    assert np.median(np.diff([int(line) for line in done.stdout.split()])) < 1000
