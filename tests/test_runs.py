"""A workdir holds one run: what its records say is verified, and what does not belong together never becomes one number."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from small_runs import ONE, config, fit, flip, folder, outcome, swap

from cnn_research import checkpoints, files, journal, records, runs, tasks, train, trials
from cnn_research import config as configs
from cnn_research.errors import CheckpointError, ConfigError, ResearchError, WriteError


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A finished run of 12 steps."""
    workdir = tmp_path_factory.mktemp('whole')
    fit(workdir)
    return workdir


@pytest.fixture
def finished(whole, tmp_path):
    return pathlib_copy(whole, tmp_path / 'finished')


def pathlib_copy(source, target):
    shutil.copytree(source, target)
    return target


@pytest.fixture
def partway(tmp_path):
    """A run stopped at step 9, with checkpoints at 8 and 11."""
    fit(tmp_path / 'partway', after=11)
    return tmp_path / 'partway'


def test_a_run_from_before_a_field_came_is_gone_on_with(finished):
    values = records.read(finished / 'config.json')
    del values['data']['per_class']
    records.write(finished / 'config.json', {name: value for name, value in values.items() if name != 'sha256'})
    run, said = fit(finished, config(schedule__steps=16))
    assert run.step == 16 and any('going on from step 12 to 16' in note for note in said)


# ---- part-way runs


def test_without_its_config_another_run_never_goes_on_and_the_same_one_does(partway, whole):
    (partway / 'config.json').unlink()
    with pytest.raises(ConfigError, match='other settings or data.*another workdir'):
        fit(partway, config(optimizer__learning_rate=0.01))
    assert not (partway / 'config.json').exists()
    _, said = fit(partway)
    assert any('config.json' in note for note in said) and outcome(partway) == outcome(whole)


@pytest.mark.parametrize('content', ['', '[]', '{"sha256": 1}', b'\xff', '[' * 100_000])
def test_a_damaged_config_is_the_same_as_none(partway, content):
    (partway / 'config.json').write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=r'config\.json'):
        fit(partway, config(seed=3))
    with pytest.raises(CheckpointError, match=r'config\.json'):
        checkpoints.load(partway)


def test_a_config_that_was_changed_by_hand_is_not_believed(partway, finished):
    for workdir in (partway, finished):
        values = json.loads((workdir / 'config.json').read_text())
        values['optimizer']['learning_rate'] = 0.01
        (workdir / 'config.json').write_text(json.dumps(values))
        with pytest.raises(CheckpointError, match='not what was written'):
            checkpoints.load(workdir)
    # Nor one whole record of another run.
    configs.write(partway, configs.check(config(optimizer__learning_rate=0.01)), checkpoints.manifest(partway, 11)['key'])
    with pytest.raises(CheckpointError, match='not the config that the checkpoint of step 11 was trained with'):
        checkpoints.load(partway)
    with pytest.raises(ConfigError, match='another workdir'):
        fit(partway, config(optimizer__learning_rate=0.01))


def lines(workdir):
    return (workdir / 'metrics.jsonl').read_text().splitlines(keepends=True)


@pytest.mark.parametrize('damage', ['changed', 'cut', 'swapped'])
def test_metrics_damaged_since_an_older_checkpoint_are_written_anew_from_there(partway, whole, damage):
    there = lines(partway)
    assert json.loads(there[-1])['step'] == 10
    kept = checkpoints.manifest(partway, 8)['metrics']['bytes']
    before, after = ''.join(there).encode()[:kept], ''.join(there).encode()[kept:]
    worse = {'changed': after.replace(b'"loss": ', b'"loss": 9'), 'cut': b'', 'swapped': after[::-1]}[damage]
    (partway / 'metrics.jsonl').write_bytes(before + worse)
    _, said = fit(partway)
    assert any('metrics.jsonl' in note for note in said) and any('from step 8' in note for note in said)
    assert outcome(partway) == outcome(whole)


@pytest.mark.parametrize('damage', ['gone', 'emptied', 'first line changed', 'step changed'])
def test_metrics_that_no_checkpoint_stands_on_are_refused_and_nothing_is_thrown_away(partway, damage):
    path = partway / 'metrics.jsonl'
    text = path.read_text()
    if damage == 'gone':
        path.unlink()
    else:
        path.write_text(
            {
                'emptied': '',
                'first line changed': text.replace('"loss": ', '"loss": 1', 1),
                'step changed': text.replace('"step": 2', '"step": 3', 1),
            }[damage]
        )
    there = checkpoints.steps(partway)
    with pytest.raises(CheckpointError, match=r'metrics\.jsonl is damaged.*another workdir'):
        fit(partway)
    assert checkpoints.steps(partway) == there
    path.write_text(text)
    assert fit(partway)[0].step == 12


def test_an_epoch_is_told_by_records_that_were_written_or_not_at_all(partway, finished):
    for workdir in (partway, finished):
        step, path = checkpoints.steps(workdir)[-1], workdir / 'metrics.jsonl'
        text = path.read_bytes()
        assert runs.epoch(workdir, step) == step * 20 / 200
        *before, last = text.splitlines(keepends=True)
        record = json.loads(last)
        wrong = [('epoch', 'x'), ('epoch', None), ('epoch', -1), ('step', 0), ('step', '9'), ('epoch', 100 * record['epoch'])]
        for worse in (*({**record, name: value} for name, value in wrong), {'step': 3}, [], None):
            path.write_bytes(b''.join(before) + (json.dumps(worse).encode() + b'\n' if worse is not None else b''))
            assert runs.epoch(workdir, step) is None
            if isinstance(worse, dict) and worse.get('epoch') != wrong[-1][1]:
                with pytest.raises(CheckpointError):  # nor where a checkpoint was made with such records
                    journal.epoch(workdir, step, {'metrics': journal.mark(workdir)})
        path.unlink()
        assert runs.epoch(workdir, step) is None


# ---- finished runs


@pytest.mark.parametrize(('old', 'new'), [('"top1_error": 0.', '"top1_error": 1.'), ('"step": 12', '"step": 8'), ('{', '')])
def test_a_result_that_was_changed_is_measured_again_aloud(finished, whole, old, new):
    text = (finished / 'result.json').read_text()
    (finished / 'result.json').write_text(text.replace(old, new, 1))
    starts = []
    run, said = fit(finished, starts=starts)
    assert any('result.json' in note for note in said) and starts == []
    assert outcome(finished) == outcome(whole) and run.result == train.fit(config(), whole, devices=ONE).result


def test_the_number_of_a_finished_run_comes_from_its_own_state(finished, whole):
    flip(finished / 'checkpoints' / '000000012' / 'arrays.npz')
    with pytest.raises(CheckpointError, match=r'000000012 cannot be read: it is damaged.*result\.json was measured on'):
        checkpoints.load(finished)
    assert checkpoints.load(finished, 8).step == 8
    starts = []
    _, said = fit(finished, starts=starts)
    assert starts == [8] and any('000000012' in note for note in said)
    assert outcome(finished) == outcome(whole)


def test_another_test_is_evaluated_and_never_trained_for(finished):
    starts, first = [], records.read(finished / 'result.json')
    other, _ = fit(finished, config(data__test_examples=60), starts=starts)
    assert starts == [] and other.result['test']['examples'] == 60 and other.result['holdout'] == first['holdout']
    # Either test's result is kept, and neither stands for the other.
    again, _ = fit(finished, starts=starts)
    assert starts == [] and again.result['test'] == first['test']
    protocols = [tasks.protocol('centre', tasks.fingerprints(tasks.sources(config(data__test_examples=n)))) for n in (100, 60)]
    key = first['key']
    assert [runs.finished(finished, key, protocol)['test']['examples'] for protocol in protocols] == [100, 60]
    # Nor where one's file is called as the other's.
    swap(*(finished / 'evaluations' / f'test-{protocol}.json' for protocol in protocols))
    assert runs.finished(finished, key, protocols[0]) is None and runs.finished(finished, key) == other.result
    assert fit(finished, starts=starts)[0].result['test'] == first['test'] and starts == []


def test_rows_that_differ_in_their_test_alone_are_one_training_and_two_results(tmp_path):
    options = configs.default(trials.FIELDS)
    made = trials.plan({'many': {}, 'few': {'data.test_examples': 40}}, config(), options, tmp_path)
    assert made[0].workdir == made[1].workdir and made[0].protocol != made[1].protocol
    starts = []
    trials.carry_out(made, lambda trial, event: starts.append(event) if 'start' in event else None, devices=ONE)
    trials.write_plan(tmp_path, made, [False, False], {})
    assert [record.result['test']['examples'] for record in trials.records_of(tmp_path)[1]] == [100, 40] and len(starts) == 1


# ---- more steps


def test_more_steps_of_a_finished_run_are_a_continuation_to_the_same_bits(finished, tmp_path):
    starts = []
    longer, said = fit(finished, config(schedule__steps=16), starts=starts)
    assert starts == [12] and any('from step 12 to 16' in note for note in said) and journal.other_rates(longer.result['continued']) == ''
    assert [checkpoints.load(finished, step).step for step in checkpoints.steps(finished)] == [12, 16]
    fit(tmp_path / 'once', config(schedule__steps=16))
    assert outcome(finished)[0] == outcome(tmp_path / 'once')[0]
    assert runs.finished(finished, longer.result['key']) == longer.result and (finished / 'result.12.json').is_file()
    with pytest.raises(ConfigError, match=r'schedule\.steps=16, not 12.*more steps alone'):
        fit(finished)


def test_a_continuation_under_other_learning_rates_says_so_for_good(tmp_path):
    given = {'schedule__kind': 'cosine', 'checkpoint__every__steps': 8}
    first, _ = fit(tmp_path, config(**given))
    longer, said = fit(tmp_path, config(**given, schedule__steps=16))
    assert any('learning rates' in note for note in said)
    assert longer.result['continued'] == [[first.result['key'], 12, False]] and 'up to step 12' in journal.other_rates(
        longer.result['continued']
    )
    assert 'up to step 12' in checkpoints.load(tmp_path).notes[-1]
    again, said = fit(tmp_path, config(**given, schedule__steps=16))
    assert again.result == longer.result and said == []


@pytest.mark.parametrize('place', ['before the result is put aside', 'before the metrics go on', 'before the first checkpoint'])
def test_a_continuation_that_was_killed_goes_on(finished, tmp_path, monkeypatch, place):
    def killed(*arguments, **named):
        raise KeyboardInterrupt

    of = {
        'before the result is put aside': (type(finished), 'rename'),
        'before the metrics go on': (journal, 'Journal'),
        'before the first checkpoint': (checkpoints, 'save'),
    }
    first = runs.begun(finished).key
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*of[place], killed)
        fit(finished, config(schedule__steps=16))
    assert checkpoints.load(finished).step == 12
    starts = []
    longer, _ = fit(finished, config(schedule__steps=16), starts=starts)
    assert starts == [12] and longer.result['continued'] == [[first, 12, True]] and (finished / 'result.12.json').is_file()
    fit(tmp_path / 'once', config(schedule__steps=16))
    assert outcome(finished)[0] == outcome(tmp_path / 'once')[0]


@pytest.mark.parametrize(('damaged', 'step', 'continued'), [((12,), 8, 1), ((8, 12), 0, 0)])
def test_a_continuation_says_the_step_from_which_it_really_goes_on(finished, damaged, step, continued):
    for each in damaged:
        flip(finished / 'checkpoints' / f'{each:09d}' / 'arrays.npz')
    first, starts = runs.begun(finished).key, []
    longer, said = fit(finished, config(schedule__steps=16), starts=starts)
    assert starts == [step] and longer.result['continued'] == [[first, step, True]] * continued
    assert any(('from step 8 to 16' if step else 'from the start') in note for note in said) and not any('step 12 to' in n for n in said)


def test_other_fields_and_unfinished_runs_are_no_continuation(finished, partway):
    with pytest.raises(ConfigError, match=r'optimizer\.learning_rate=0\.02, not 0\.5'):
        fit(finished, config(schedule__steps=16, optimizer__learning_rate=0.5))
    with pytest.raises(ConfigError, match=r'schedule\.steps=12, not 16'):
        fit(partway, config(schedule__steps=16))
    with pytest.raises(ConfigError, match=r"schedule\.kind='constant', not 'cosine'"):
        fit(finished, config(schedule__steps=16, schedule__kind='cosine'))


def test_where_no_record_can_be_read_nothing_is_begun_anew(partway):
    """As of a workdir that another version of the code has written."""
    for path in (partway / 'config.json', *partway.glob('checkpoints/*/manifest.json')):
        path.write_text('{"step": 1}')
    there = {path: path.read_bytes() for path in partway.rglob('*') if path.is_file()}
    with pytest.raises(ConfigError, match='of which no record can be read; choose another workdir'):
        fit(partway)
    assert all(path.read_bytes() == content for path, content in there.items())


def test_a_checkpoint_of_another_run_is_not_gone_on_from(partway, tmp_path, whole):
    fit(tmp_path / 'other', config(seed=7), after=11)
    flip(partway / 'checkpoints' / '000000011' / 'arrays.npz')
    shutil.rmtree(partway / 'checkpoints' / '000000008')
    shutil.copytree(tmp_path / 'other' / 'checkpoints' / '000000008', partway / 'checkpoints' / '000000008')
    with pytest.raises(CheckpointError, match=r'step 8 is of another run.*another workdir'):
        fit(partway)


# ---- data


def test_a_folder_that_moved_is_the_same_data_and_one_that_changed_is_not(tmp_path):
    one = folder(tmp_path / 'one')
    given = {
        'architecture': 'perceptron resized(1=2)',
        'data__resize': 28,
        'data__examples': 0,
        'data__test_examples': 0,
        'data__holdout': 0.2,
    }
    workdir = tmp_path / 'run'
    fit(workdir, config(**given, data__name=one), after=5)
    (tmp_path / 'one').rename(tmp_path / 'two')
    run, said = fit(workdir, config(**given, data__name=f'folder:{tmp_path / "two"}/'))
    assert run.step == 12 and any('from step 5' in note for note in said)
    other = folder(tmp_path / 'other', (60, 200))
    with pytest.raises(ConfigError, match='other data'):
        fit(workdir, config(**given, data__name=other))
    # Another test image asks for a new evaluation alone.
    Image.new('L', (12, 12), 3).save(tmp_path / 'two' / 'test' / 'a' / 'more.png')
    starts = []
    again, _ = fit(workdir, config(**given, data__name=f'folder:{tmp_path / "two"}'), starts=starts)
    assert starts == [] and (again.result['test']['examples'], run.result['test']['examples']) == (9, 8)
    assert checkpoints.load(workdir).class_names == ('a', 'b') and checkpoints.load(workdir).image_shape == (12, 12, 1)


@pytest.fixture(scope='module')
def twins(tmp_path_factory):
    """{'one', 'other'}: (config, workdir) of finished runs of equal settings on different images."""
    root, made = tmp_path_factory.mktemp('twins'), {}
    for name, shades in {'one': (40, 200), 'other': (60, 200)}.items():
        made[name] = config(
            architecture='perceptron resized(1=2)',
            data__resize=28,
            data__examples=0,
            data__test_examples=0,
            data__holdout=0.2,
            data__name=folder(root / 'data' / name, shades),
        )
        fit(root / name, made[name])
    return {name: (given, root / name) for name, given in made.items()}


RECORDS = ('checkpoints', 'config.json', 'metrics.jsonl', 'result.json', 'evaluations')


def mixed(one, other, moved, workdir):
    """A copy of one run with some records of the other."""
    shutil.copytree(one, workdir)
    for name in moved:
        if (other / name).is_dir():
            shutil.rmtree(workdir / name)
            shutil.copytree(other / name, workdir / name)
        else:
            shutil.copy(other / name, workdir / name)
    return workdir


@pytest.mark.parametrize('moved', [RECORDS[:1], RECORDS[1:2], RECORDS[2:], (RECORDS[0], *RECORDS[2:]), RECORDS[:2], RECORDS[1:]])
def test_records_of_a_run_on_other_data_are_never_those_of_this_one(twins, tmp_path, moved):
    (given, one), (_, other) = twins['one'], twins['other']
    workdir, expected = mixed(one, other, moved, tmp_path / 'run'), records.read(one / 'result.json')
    if trials.state(workdir, expected['key']) == 'finished':
        assert (journal.result(workdir), checkpoints.manifest(workdir, 12)['key']) == (expected, expected['key'])
    try:
        run, _ = fit(workdir, given)
    except ResearchError as error:
        assert 'another' in str(error) and '\n' not in str(error)
        return
    assert run.result == expected and outcome(workdir)[0] == outcome(one)[0]


@pytest.mark.parametrize('moved', [RECORDS[:1], RECORDS[1:2], (RECORDS[0], *RECORDS[2:])])
def test_a_network_is_never_read_as_that_of_another_run(twins, tmp_path, moved):
    (_, one), (_, other) = twins['one'], twins['other']
    workdir = mixed(one, other, moved, tmp_path / 'run')
    with pytest.raises(CheckpointError, match='not the config that the checkpoint of step 12'):
        checkpoints.load(workdir)


# ---- places


def test_a_full_disk_names_the_path_and_nothing_kept_is_lost(tmp_path, monkeypatch, whole):
    fit(tmp_path, after=5)
    there = checkpoints.steps(tmp_path)

    def full(*arguments, **named):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'savez', full)
    with pytest.raises(WriteError, match=r'checkpoints/000000008 cannot be written \(No space left on device\)'):
        fit(tmp_path)
    monkeypatch.undo()
    assert checkpoints.steps(tmp_path) == there and list((tmp_path / 'checkpoints').glob('.*')) == []
    fit(tmp_path)
    assert outcome(tmp_path) == outcome(whole)


def test_a_file_where_the_checkpoints_should_be_is_said(tmp_path):
    files.write(tmp_path / 'checkpoints', 'mine')
    with pytest.raises(WriteError, match='checkpoints'):
        fit(tmp_path)
    assert (tmp_path / 'checkpoints').read_text() == 'mine'
