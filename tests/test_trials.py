"""Tables of trainings: each trial once, shared, gone on with, and failures that stop nothing else."""

import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from small_runs import ONE, SETTINGS, config, flip, swap

from cnn_research import checkpoints, files, lengths, records, tasks, train, trials
from cnn_research import config as configs
from cnn_research.data.source import subset
from cnn_research.errors import Busy, ConfigError, WriteError

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROWS = {'slow': {'optimizer.learning_rate': 0.001}, 'fast': {'optimizer.learning_rate': 0.02}}


def planned(folder, rows=ROWS, given=None, **changes):
    options = configs.default(trials.FIELDS)
    options = configs.update(options, {f'trials.{name}': value for name, value in changes.items()}, trials.FIELDS)
    return trials.plan(rows, given or config(), options, folder)


def outcomes(made, **how):
    """What carry_out said of each trial at its end."""
    said = []
    trials.carry_out(made, lambda trial, event: said.append((trial, event['outcome'])) if 'outcome' in event else None, **how)
    return said


@pytest.fixture(scope='module')
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp('table')
    made = planned(folder, seeds=2)
    assert [outcome for _, outcome in outcomes(made, devices=ONE)] == ['finished'] * 4
    return folder, made


def test_rows_times_seeds_are_distinct_trials(table):
    _, made = table
    assert [(t.row, t.config.seed) for t in made] == [('slow', 0), ('slow', 1), ('fast', 0), ('fast', 1)]
    assert len({t.key for t in made}) == 4 and all(t.workdir.name == t.key for t in made)


def test_asked_again_nothing_is_trained(table):
    folder, made = table
    files = {p: p.stat().st_mtime_ns for p in folder.rglob('*') if p.is_file()}
    assert outcomes(planned(folder, seeds=2)) == []
    assert {p: p.stat().st_mtime_ns for p in files} == files
    more = planned(folder, seeds=3)
    assert [t.config.seed for t in more if trials.state(t.workdir, t.key) != 'finished'] == [2, 2]


def test_each_device_takes_trials_of_its_own_with_the_same_numbers(table, tmp_path):
    _, made = table
    again = planned(tmp_path, seeds=2)
    said = outcomes(again, devices=jax.local_devices()[:3])
    assert sorted(outcome for _, outcome in said) == ['finished'] * 4
    for one, other in zip(made, again, strict=True):
        a, b = (checkpoints.load(trial.workdir).variables['params']['layer1'] for trial in (one, other))
        assert jax.tree.all(jax.tree.map(np.array_equal, a, b))


def test_a_failing_trial_stops_no_other_and_is_tried_again(tmp_path):
    rows = {'diverges': {'optimizer.learning_rate': 1e38}, 'fast': ROWS['fast']}
    made = planned(tmp_path, rows, config(optimizer__weight_decay=0.1))
    assert [(t.row, outcome) for t, outcome in outcomes(made, devices=ONE)] == [('diverges', 'failed'), ('fast', 'finished')]
    trials.write_plan(tmp_path, made, [False, False], {'experiment': 'x'})
    about, found = trials.records_of(tmp_path)
    assert about == {'experiment': 'x'} and [r.state for r in found] == ['failed', 'finished']
    assert 'not finite' in found[0].error and '\n' not in found[0].error and found[0].result is None
    assert 'Traceback' in json.loads((made[0].workdir / 'error.json').read_text())['traceback']
    assert [t.row for t, _ in outcomes(made, devices=ONE)] == ['diverges']


def test_a_stale_trial_is_put_aside_and_trained_anew(tmp_path):
    (trial,) = planned(tmp_path, {'fast': ROWS['fast']})
    other = train.fit(config(seed=5), trial.workdir, devices=ONE).result  # what another version of the code called by this key, say
    assert trials.state(trial.workdir, trial.key) == 'stale'
    assert [outcome for _, outcome in outcomes([trial], devices=ONE)] == ['finished']
    assert records.read(trial.workdir / 'result.json')['key'] == trial.key
    assert records.read(tmp_path / 'trials' / f'{trial.key}.stale-1' / 'result.json') == other


def changed(path):
    """A record with one digit changed by hand."""
    text = path.read_text()
    place = next(place for place, letter in enumerate(text) if letter in '12345678')
    path.write_text(f'{text[:place]}9{text[place + 1 :]}')


@pytest.mark.parametrize('file', ['result.json', 'config.json', 'metrics.jsonl'])
def test_a_damaged_trial_is_shown_so_and_made_whole(tmp_path, file):
    made = planned(tmp_path, given=config(checkpoint__every__steps=4))
    outcomes(made, devices=ONE)
    trials.write_plan(tmp_path, made, [False, False], {'x': 1})
    before = (made[0].workdir / 'result.json').read_text()
    changed(made[0].workdir / file)
    _, found = trials.records_of(tmp_path)
    assert [r.state for r in found] == ['damaged', 'finished'] and file in found[0].error and found[0].result is None
    if file == 'metrics.jsonl':  # its first line: no checkpoint stands on what was written, and nothing is thrown away
        assert [(t.row, outcome) for t, outcome in outcomes(made, devices=ONE)] == [('slow', 'failed')]
        assert checkpoints.steps(made[0].workdir) == [8, 12]
        return
    said = []
    trials.carry_out(made, lambda trial, event: said.append(event.get('note') or ''), devices=ONE)
    assert any(file in note for note in said)
    assert (made[0].workdir / 'result.json').read_text() == before


@pytest.mark.parametrize('missing', [True, False])
def test_a_finished_trial_without_its_network_is_trained_again(tmp_path, missing):
    made = planned(tmp_path, given=config(checkpoint__every__steps=4))
    outcomes(made, devices=ONE)
    folder, before = made[0].workdir / 'checkpoints', (made[0].workdir / 'result.json').read_text()
    shutil.rmtree(folder) if missing else flip(folder / '000000012' / 'arrays.npz')
    assert [(t.row, outcome) for t, outcome in outcomes(made, devices=ONE)] == [('slow', 'finished')]
    assert (made[0].workdir / 'result.json').read_text() == before and checkpoints.load(made[0].workdir).step == 12
    assert outcomes(made, devices=ONE) == []


BLOCKED = {'config.json': True, 'result.json': True, 'metrics.jsonl': True, 'evaluations': False, 'checkpoints': False, '.': False}


@pytest.mark.parametrize('place', BLOCKED)
def test_a_place_that_is_taken_stops_its_own_trial_alone(tmp_path, place):
    made = planned(tmp_path)
    made[0].workdir.parent.mkdir(parents=True)
    if place != '.':
        made[0].workdir.mkdir()
    (made[0].workdir / 'error.json').mkdir(parents=True) if BLOCKED[place] else None  # why it failed cannot be written either
    (made[0].workdir / place).mkdir() if BLOCKED[place] else (made[0].workdir / place).write_text('mine')
    assert [(t.row, outcome) for t, outcome in outcomes(made, devices=ONE)] == [('slow', 'failed'), ('fast', 'finished')]
    trials.write_plan(tmp_path, made, [False, False], {})
    assert [r.result is None for r in trials.records_of(tmp_path)[1]] == [True, False]


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EISDIR])
def test_what_can_be_written_nowhere_stops_all(tmp_path, monkeypatch, number):
    def refused(*arguments):
        raise files.refused(tmp_path, OSError(number, os.strerror(number)))

    monkeypatch.setattr(train, 'fit', refused)
    made = planned(tmp_path)
    if number == errno.EISDIR:
        assert [outcome for _, outcome in outcomes(made, devices=ONE)] == ['failed', 'failed']
        return
    with pytest.raises(WriteError, match='cannot be written'):
        outcomes(made, devices=ONE)
    assert not list(tmp_path.rglob('error.json'))


_WORKER = """
import json, pathlib, sys, time
import jax
from cnn_research import config as configs, trials
trials.POLL = 0.1
settings, rows, folder = json.loads(sys.argv[1]), json.loads(sys.argv[2]), pathlib.Path(sys.argv[3])
given = configs.update(configs.default(trials.FIELDS), {'trials.seeds': 2}, trials.FIELDS)
made = trials.plan(rows, configs.update(configs.default(), settings), given, folder)
def watch(trial, event):
    if 'start' in event or 'outcome' in event:
        print(trial.key, 'start' if 'start' in event else event['outcome'], flush=True)
    if 'start' in event and len(sys.argv) > 4:
        time.sleep(600)
trials.carry_out(made, watch, devices=jax.local_devices()[:1])
"""


def worker(folder, *more):
    line = [sys.executable, '-c', _WORKER, json.dumps(SETTINGS), json.dumps(ROWS), str(folder), *more]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_share_a_table_and_a_killed_ones_trial_is_taken_over(tmp_path):
    sleeper = worker(tmp_path, 'sleep')
    try:
        held = sleeper.stdout.readline().split()[0]  # it holds its first trial's lock, and would for ten minutes
        (trial,) = [t for t in planned(tmp_path, seeds=2) if t.key == held]
        with pytest.raises(Busy, match='another process works'):
            train.fit(trial.config, trial.workdir, devices=ONE)
        others = [worker(tmp_path), worker(tmp_path)]
        deadline = time.monotonic() + 120
        while sum((p / 'result.json').is_file() for p in (tmp_path / 'trials').iterdir()) < 3:
            assert time.monotonic() < deadline, [p.poll() for p in others]
            time.sleep(0.1)
        assert not (trial.workdir / 'result.json').exists()
        sleeper.send_signal(signal.SIGKILL)
        said = [other.communicate(timeout=120) for other in others]
    finally:
        sleeper.kill()
        sleeper.communicate()
    assert [other.returncode for other in others] == [0, 0], said
    started = [line.split()[0] for out, _ in said for line in out.splitlines() if line.endswith('start')]
    assert sorted(started) == sorted(t.key for t in planned(tmp_path, seeds=2))  # none twice


def test_a_stop_is_heard_while_another_process_holds_what_is_left(tmp_path, monkeypatch):
    (trial,) = planned(tmp_path, {'fast': ROWS['fast']})

    def busy(*arguments):
        raise Busy('held elsewhere')

    monkeypatch.setattr(train, 'fit', busy)
    with pytest.raises(train.Stopped):
        trials.carry_out([trial], stop=lambda: True, devices=ONE)


def test_a_shard_takes_every_nth_trial(tmp_path):
    made = planned(tmp_path, seeds=4)
    parts = [trials.share(made, f'{k}/3') for k in (1, 2, 3)]
    assert parts[1] == made[1::3] and sorted(t.key for part in parts for t in part) == sorted(t.key for t in made)
    assert trials.share(made, '') == made
    for text in ('0/3', '4/3', '2', 'a/b'):
        with pytest.raises(ConfigError, match='2/8'):
            trials.share(made, text)


def test_a_grid_is_crossed_with_the_rows_and_selected_by_the_holdout(tmp_path):
    points = configs.grid('optimizer.learning_rate=0.01,0.03; data.batch_size=32,128')
    assert len(points) == 4 and points[1] == {'optimizer.learning_rate': '0.01', 'data.batch_size': '128'}
    for text, match in {
        'optimizer.learning_rat=1': 'Did you mean',
        'seed=1,2': 'trials.seeds',
        'dtype': 'cannot be read',
        'dtype=a,a': 'dtype=a twice',
        'optimizer.learning_rate=0.01,0.1, 1e-2': 'optimizer.learning_rate=0.01 twice, the second time as 1e-2',
        'data.batch_size=8,08': 'twice',
        'data.batch_size=8,many': 'not a whole number',
    }.items():
        with pytest.raises(ConfigError, match=match):
            configs.grid(text)
    made = planned(tmp_path, {'row': {}}, grid='optimizer.learning_rate=0.00001,0.02', seeds=2)
    assert len(made) == 4
    outcomes(made, devices=ONE)
    trials.write_plan(tmp_path, made, [False] * 4, {'x': 1})
    _, found = trials.records_of(tmp_path)
    # A test error of zero must not be what is chosen by.
    spoiled = [r._replace(result={**r.result, 'test': {'top1_error': 0.0}}) if '0.00001' in r.point else r for r in found]
    chosen = trials.selected(spoiled)
    assert {r.point for r in chosen} == {'optimizer.learning_rate=0.02'} and len(chosen) == 2


def test_images_drawn_by_the_seed_are_part_of_the_trials_key(tmp_path):
    given = config(data__examples=0, data__per_class=3)
    made = planned(tmp_path, given=given, seeds=2)
    found = [tasks.fingerprints(tasks.sources(trial.config)) for trial in made]
    assert found[0]['train'] != found[1]['train'] and found[0]['train'] == found[2]['train'] and found[0]['holdout'] == found[1]['holdout']
    assert [trial.key for trial in made] == [configs.key(trial.config, one) for trial, one in zip(made, found, strict=True)]


def test_an_evaluation_is_computed_once_for_a_key(table):
    _, made = table
    workdir, calls = made[0].workdir, []
    for _ in range(2):
        assert trials.stored(workdir, 'own', lambda: calls.append(1) or {'error': 0.5}) == {'error': 0.5}
    assert len(calls) == 1
    path = workdir / 'evaluations' / 'own.json'
    path.write_text(json.dumps({'key': 'of another', 'result': {'error': 0.0}}))
    assert trials.read(workdir, 'own') is None
    assert trials.stored(workdir, 'own', lambda: {'error': 0.25}) == {'error': 0.25}


def test_an_evaluation_never_stands_for_another(table):
    _, made = table
    workdir = made[0].workdir
    for name, error in (('layer1', 0.5), ('pixels', 0.25)):
        trials.stored(workdir, name, lambda error=error: {'error': error})
    swap(*(workdir / 'evaluations' / f'{name}.json' for name in ('layer1', 'pixels')))
    assert trials.read(workdir, 'layer1') is None and trials.read(workdir, 'pixels') is None
    assert trials.stored(workdir, 'layer1', lambda: {'error': 0.5}) == trials.read(workdir, 'layer1') == {'error': 0.5}


def test_times_are_read_or_refused():
    assert [lengths.seconds(text) for text in ('2h', '90min', '1.5 h', '30s')] == [7200, 5400, 5400, 30]
    for text in ('2', 'h', '2d', '1.2.3h'):
        with pytest.raises(ConfigError, match='2h'):
            lengths.seconds(text)


def test_a_trial_begins_where_it_is_told_and_only_what_is_trainable_moves(table, tmp_path):
    _, made = table
    wide = config(architecture='mlp_300_100', optimizer__learning_rate=0.05)
    given = configs.update(wide, {'optimizer.trainable': '3', 'optimizer.weight_decay': 0.01})
    plain = train.fit(wide, tmp_path / 'plain', devices=ONE)
    whole = checkpoints.load(plain.workdir).variables['params']
    start = tasks.Start('elsewhere', lambda: {name: whole[name] for name in ('layer1', 'layer2')})
    (trial,) = trials.plan({'refit': {}}, given, configs.default(trials.FIELDS), tmp_path, 'refit', lambda row, seed: start)
    (fresh,) = trials.plan({'refit': {}}, given, configs.default(trials.FIELDS), tmp_path)
    assert trial.key != fresh.key and trial.part == 'refit'
    outcomes([trial], devices=ONE)
    refit = checkpoints.load(trial.workdir).variables['params']
    for name in ('layer1', 'layer2'):
        assert jax.tree.all(jax.tree.map(np.array_equal, refit[name], whole[name]))
    initial = tasks.classification(trial.config, devices=ONE).initialize(jax.random.fold_in(jax.random.key(0), 0))
    assert not np.array_equal(refit['layer3']['dense']['kernel'], initial['layer3']['dense']['kernel'])
    with pytest.raises(ConfigError, match='names layer 7'):
        configs.check(configs.update(wide, {'optimizer.trainable': '7'}))


def test_a_trial_learns_its_own_task_once_that_can_be_had(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, 'POLL', 0.01)
    found, asked = tasks.sources(config()), []
    found = {'train': subset(found['train'], np.arange(40)), 'holdout': found['holdout']}
    key = configs.key(configs.check(config()), tasks.fingerprints(found))
    made = trials.Trial(
        '', 'own', '', {}, configs.check(config()), key, tasks.protocol('centre', tasks.fingerprints(found)), tmp_path / key
    )

    def task(devices, log):
        asked.append(devices)
        if len(asked) == 1:
            raise Busy('what it begins with is not finished')
        return tasks.classification(made.config, found, devices, log)

    assert outcomes([made._replace(task=task)], devices=ONE) == [(made._replace(task=task), 'finished')] and len(asked) == 2
    result = json.loads((tmp_path / key / 'result.json').read_text())
    assert (result['key'], 'test' in result, result['data']) == (key, False, tasks.fingerprints(found))
    assert outcomes([made._replace(task=task)], devices=ONE) == [] and len(asked) == 2


def test_what_begins_with_a_lost_trial_fails_with_it_and_an_earlier_failure_is_forgotten_while_it_is_tried_again(tmp_path, monkeypatch):
    (base,) = planned(tmp_path, {'fast': ROWS['fast']})
    base.workdir.mkdir(parents=True)
    (base.workdir / 'metrics.jsonl').mkdir()
    (base.workdir / 'error.json').mkdir()  # so that nobody can be told of the failure

    def task(devices, log):
        raise Busy('what it begins with is not finished')

    end = base._replace(row='end', key='0' * 12, workdir=tmp_path / 'end', task=task, needs=base.workdir)
    assert [outcome for _, outcome in outcomes([base, end], devices=ONE)] == ['failed', 'failed']
    shutil.rmtree(base.workdir)
    files.write(base.workdir / 'error.json', '{}')
    assert trials.lost(base.workdir, base.key)
    seen, fit = [], train.fit

    def watched(*arguments, **named):
        seen.append(trials.lost(base.workdir, base.key))
        return fit(*arguments, **named)

    monkeypatch.setattr(train, 'fit', watched)
    assert [outcome for _, outcome in outcomes([base], devices=ONE)] == ['finished'] and seen == [False]
    changed(base.workdir / 'result.json')
    assert trials.state(base.workdir, base.key) == 'damaged' and not trials.lost(base.workdir, base.key)
    files.write(base.workdir / 'error.json', '{}')
    assert trials.lost(base.workdir, base.key)
