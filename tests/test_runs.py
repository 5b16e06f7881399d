"""A workdir holds one run: what its records say is verified, and what does not belong together never becomes one number."""

import json
import shutil
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_research import checkpoints, evaluate, files, journal, records, runs, tasks, train, trials
from cnn_research import config as configs
from cnn_research.data import augment, stream
from cnn_research.data.sources import open_source
from cnn_research.errors import ArchitectureError, CheckpointError, ConfigError, SourceError, WriteError
from experiments import export
from experiments.launch import command

SETTINGS = {
    'architecture': 'perceptron',
    'data.name': 'digits',
    'data.examples': 200,
    'data.test_examples': 100,
    'data.holdout': 0.02,
    'data.batch_size': 20,
    'data.normalization': 'mean_std',
    'loss.name': 'squared_error',
    'optimizer.learning_rate': 0.02,
    'schedule.steps': 12,
    'checkpoint.every.steps': 4,
    'log.every.steps': 2,
}
ONE = jax.local_devices()[:1]


def config(**changes):
    return configs.update(configs.default(), {**SETTINGS, **{name.replace('__', '.'): value for name, value in changes.items()}})


def fit(workdir, given=None, after=None, starts=None):
    """(the run, what was said); after: steps after which it is stopped."""
    said, left = [], iter([False] * after + [True]) if after is not None else None

    def watch(event):
        said.append(event.get('note') or '')
        if starts is not None and 'start' in event:
            starts.append(event['start'])

    try:
        run = train.fit(given or config(), workdir, devices=ONE, watch=watch, stop=(lambda: next(left)) if left else lambda: False)
    except train.Stopped:
        run = None
    return run, [note for note in said if note]


def outcome(workdir):
    arrays = checkpoints.read(workdir, checkpoints.steps(workdir)[-1])
    return {name: array.tobytes() for name, array in arrays.items()}, *(
        (workdir / name).read_text() for name in ('metrics.jsonl', 'result.json')
    )


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
    configs.write(partway, configs.check(config(optimizer__learning_rate=0.01)))
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


# ---- finished runs


@pytest.mark.parametrize(('old', 'new'), [('"top1_error": 0.', '"top1_error": 1.'), ('"step": 12', '"step": 8'), ('{', '')])
def test_a_result_that_was_changed_is_measured_again_aloud(finished, whole, old, new):
    text = (finished / 'result.json').read_text()
    (finished / 'result.json').write_text(text.replace(old, new, 1))
    starts = []
    run, said = fit(finished, starts=starts)
    assert any('result.json' in note for note in said) and starts == []
    assert outcome(finished) == outcome(whole) and run.result == train.fit(config(), whole, devices=ONE).result


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


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


def test_other_fields_and_unfinished_runs_are_no_continuation(finished, partway):
    with pytest.raises(ConfigError, match=r'optimizer\.learning_rate=0\.02, not 0\.5'):
        fit(finished, config(schedule__steps=16, optimizer__learning_rate=0.5))
    with pytest.raises(ConfigError, match=r'schedule\.steps=12, not 16'):
        fit(partway, config(schedule__steps=16))


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


def folder(root, shades=(40, 200)):
    for split, count in (('train', 8), ('test', 4)):
        for label, shade in zip(('a', 'b'), shades, strict=True):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = np.random.default_rng(number).integers(0, 40, (12, 12)) + shade
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / split / label / f'{number}.png')
    return f'folder:{root}'


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


# ---- notebooks


def test_predictions_from_raw_images_are_those_of_the_evaluation(whole):
    trained, source = checkpoints.load(whole), open_source('digits', 'test')
    images, labels = source.read(np.arange(100))
    told = trained.predict(images)
    result = records.read(whole / 'result.json')['test']
    assert float(np.mean(told.argmax(1) != labels)) == result['top1_error'] and np.allclose(told.sum(1), 1)
    assert trained.class_names == tuple('0123456789')
    network = tasks.network(trained.config)
    prepared = augment.prepare(np.stack(images), trained.variables['preprocessing'], network.architecture.input_shape)
    _, taps = network.apply({'params': trained.variables['params']}, prepared, taps=('layer1.dense',))
    np.testing.assert_allclose(trained.features(np.stack(images), ['layer1.dense'])['layer1.dense'], taps['layer1.dense'], rtol=1e-5)
    # Images of other sizes are brought to the size of those that were learned from.
    larger = [stream.resized(image, 56) for image in images]
    smaller = [stream.resized(image, 28) for image in larger]
    np.testing.assert_allclose(trained.predict(larger), trained.predict(smaller), atol=1e-6)
    assert trained.predict([images[0], larger[1]]).shape == (2, 10)


def test_evaluation_finds_the_classes_by_their_names(whole, tmp_path):
    """Of a folder that has some of the classes, in another order, as of one that has others."""
    trained, source = checkpoints.load(whole), open_source('digits', 'test')
    images, labels = source.read(np.arange(100))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        if label in (1, 7):
            home = tmp_path / 'some' / 'test' / str(label)
            home.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(home / f'{number:03d}.png')
    some, wanted = open_source(f'folder:{tmp_path / "some"}', 'test'), np.isin(labels, (1, 7))
    result = trained.evaluate(some)
    assert some.labels().tolist() == [0] * int((labels == 1).sum()) + [1] * int((labels == 7).sum()) and result.examples == wanted.sum()
    assert result.top1_error == pytest.approx(float(np.mean(trained.predict(images).argmax(1)[wanted] != labels[wanted])))
    (tmp_path / 'some' / 'test' / '7').rename(tmp_path / 'some' / 'test' / 'seven')
    with pytest.raises(ConfigError, match='1 of 2 classes .*, seven, are not found by name'):
        trained.evaluate(open_source(f'folder:{tmp_path / "some"}', 'test'))


@pytest.mark.parametrize('resize', [0, 40])
def test_one_network_says_one_thing_of_an_image(tmp_path, resize):
    """Whatever images come with it, and as the evaluation of the training does; also where the data have moved."""
    given = {'architecture': 'perceptron resized(1=2)', 'data__resize': resize, 'data__examples': 0, 'data__test_examples': 0}
    one = folder(tmp_path / 'one')
    if not resize:
        given['data__batch_size'] = 8
    run, _ = fit(tmp_path / 'run', config(**given, data__holdout=0.0, data__name=one))
    trained, source = checkpoints.load(tmp_path / 'run'), open_source(one, 'test')
    assert trained.evaluate(source).loss == pytest.approx(run.result['test']['loss'], abs=1e-6)
    images, _ = source.read(np.arange(3))
    alone = np.concatenate([trained.predict([image]) for image in images])
    np.testing.assert_allclose(trained.predict([*images, stream.resized(images[0], 90)])[:3], alone, atol=1e-6)


@pytest.mark.parametrize(
    'wrong',
    [
        np.zeros((2, 28, 28, 1), np.float32),
        np.zeros((28, 28, 1), np.uint8),
        np.zeros((2, 28, 28), np.uint8),
        np.zeros((2, 28, 28, 3), np.uint8),
        [],
    ],
)
def test_images_that_are_not_raw_are_refused(whole, wrong):
    with pytest.raises(SourceError, match='uint8'):
        checkpoints.load(whole).predict(wrong)


def test_a_network_refuses_images_that_nobody_prepared(whole):
    trained = checkpoints.load(whole)
    with pytest.raises(ArchitectureError, match='raw images'):
        tasks.network(trained.config).apply({'params': trained.variables['params']}, np.zeros((1, 28, 28, 1), np.uint8))


def test_an_exported_run_says_the_same_of_raw_images(whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'net.safetensors'

    def run(*arguments):
        monkeypatch.setattr('sys.argv', ['export', *arguments])
        command.guarded('export', lambda: (export.FLAGS(sys.argv), export.main()))()

    run(f'--network={whole}', f'--out={out}')
    images, _ = open_source('digits', 'test').read(np.arange(20))
    ours, theirs = checkpoints.load(whole), checkpoints.trained(out)
    for given in (images, [stream.resized(image, 40) for image in images]):
        np.testing.assert_array_equal(theirs.predict(given), ours.predict(given))
    assert theirs.class_names == ours.class_names and 'weights: ' in capsys.readouterr().out
    for arguments in ((f'--network={whole}', f'--out={out}'), ('--network=nowhere', f'--out={tmp_path / "other.safetensors"}')):
        with pytest.raises(SystemExit) as ended:
            run(*arguments)
        assert ended.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


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


def test_evaluation_refuses_images_of_another_size(whole):
    trained = checkpoints.load(whole)
    with pytest.raises(ConfigError, match='give resize'):
        evaluate.evaluate(tasks.network(trained.config), trained.variables, open_source('clutter', 'test'))
