"""What is saved comes back as it was, or not at all."""

import os
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research import checkpoints, journal, records, runs
from cnn_research import config as configs
from cnn_research.architecture import Architecture, Dense, Layer
from cnn_research.errors import CheckpointError, Fallback, WriteError
from cnn_research.reporting import paired

NET = Architecture('tiny', (1, 2, 1), (Layer(1, (Dense(3),)),))


class State(NamedTuple):
    step: object
    params: dict
    optimizer_state: tuple
    schedule_state: object


def tree(step):
    params = {'layer1': {'dense': {'kernel': jnp.arange(6.0).reshape(2, 3) + step, 'bias': jnp.array([-0.0, 1e-45, 1 / 3])}}}
    state = State(jnp.int32(step), params, ({'trace': {'layer1': jnp.array([1, jnp.nan], jnp.float32)}}, ()), None)
    return {'state': state, 'preprocessing': {'mean': np.array([0.1], np.float32), 'scale': np.array([2.0], np.float32)}}


def about(workdir):
    return {'key': 'k', 'config': configs.decisive(configs.read(workdir)), 'class_names': ['a', 'b', 'c'], 'image_shape': [1, 2, 1]}


@pytest.fixture
def workdir(tmp_path):
    """A run with checkpoints at 3, 5 and 8."""
    config = configs.check(configs.update(configs.default(), {'architecture_json': NET.to_json(), 'schedule.steps': 20}))
    configs.write(tmp_path, config, 'k')
    for step in (3, 5, 8):
        checkpoints.save(tmp_path, step, tree(step), keep=9, about=about(tmp_path))
    return tmp_path


def test_round_trip_keeps_structure_types_and_bits(workdir):
    restored, _, problems = checkpoints.restore(workdir, tree(0))
    assert problems == [] and isinstance(restored['state'], State) and restored['state'].schedule_state is None
    state, saved = restored['state'], tree(8)['state']
    assert state.step == 8 and state.step.dtype == np.int32
    for name in ('kernel', 'bias'):
        one, other = state.params['layer1']['dense'][name], np.asarray(saved.params['layer1']['dense'][name])
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes()
    assert state.optimizer_state[0]['trace']['layer1'].tobytes() == np.array([1, np.nan], np.float32).tobytes() and restored[
        'preprocessing'
    ]['scale'] == [2]


def test_nothing_to_restore(tmp_path):
    assert checkpoints.restore(tmp_path, tree(0)) == (None, None, []) and checkpoints.steps(tmp_path) == []


def test_what_lies_beside_the_checkpoints_is_none(workdir):
    for name in ('000abc', '1e9', '½', '٣', '13', '000000021.old', '0000000001', '.000000021.partial'):
        (workdir / 'checkpoints' / name).mkdir()
    assert checkpoints.steps(workdir) == [3, 5, 8]
    checkpoints.save(workdir, 13, tree(13), keep=1, about=about(workdir))
    assert checkpoints.load(workdir).step == 13 and (workdir / 'checkpoints' / '1e9').is_dir()


def test_the_newest_stay(workdir):
    assert checkpoints.steps(workdir) == [3, 5, 8]
    checkpoints.save(workdir, 13, tree(13), keep=2, about=about(workdir))
    assert checkpoints.steps(workdir) == [8, 13]
    assert sorted(os.listdir(workdir / 'checkpoints')) == ['000000008', '000000013']


def test_saving_a_step_again_replaces_it(workdir):
    checkpoints.save(workdir, 8, tree(9), keep=9)
    assert checkpoints.read(workdir, 8)['state/step'] == 9


def test_a_checkpoint_that_was_never_finished_is_not_seen(workdir, monkeypatch):
    def full(path):
        raise OSError('no space left on device')

    monkeypatch.setattr(checkpoints, '_digest', full)
    with pytest.raises(WriteError, match='no space'):
        checkpoints.save(workdir, 9, tree(9), keep=1)
    with pytest.raises(WriteError, match='no space'):
        checkpoints.save(workdir, 8, tree(9), keep=1)
    monkeypatch.undo()
    # Not even the step that was to be written again is lost.
    assert checkpoints.steps(workdir) == [3, 5, 8] and checkpoints.read(workdir, 8)['state/step'] == 8
    checkpoints.save(workdir, 9, tree(9), keep=9)
    assert checkpoints.read(workdir, 9)['state/step'] == 9


@pytest.mark.parametrize('place', [0, 0.3, 0.6, 0.999])
@pytest.mark.parametrize('file', ['arrays.npz', 'manifest.json'])
def test_every_flipped_bit_is_found(workdir, file, place):
    path = workdir / 'checkpoints' / '000000008' / file
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 4
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match='000000008'):
        checkpoints.read(workdir, 8)
    restored, _, problems = checkpoints.restore(workdir, tree(0))
    assert restored['state'].step == 5 and len(problems) == 1
    with pytest.warns(Fallback, match='step 5 is used instead'):
        older = checkpoints.load(workdir)
    assert older.step == 5 and '000000008' in older.notes[0] and 'step 5 is used' in older.notes[-1]
    with pytest.raises(CheckpointError):
        checkpoints.load(workdir, 8)


@pytest.mark.parametrize('file', ['arrays.npz', 'manifest.json'])
@pytest.mark.parametrize('kept', [None, 0, 40])
def test_missing_empty_and_truncated_files_are_found(workdir, file, kept):
    path = workdir / 'checkpoints' / '000000008' / file
    if kept is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:kept])
    restored, _, problems = checkpoints.restore(workdir, tree(0))
    assert restored['state'].step == 5 and len(problems) == 1 and '\n' not in problems[0]


def test_a_checkpoint_moved_to_another_step_is_found(workdir):
    (workdir / 'checkpoints' / '000000008').rename(workdir / 'checkpoints' / '000000021')
    with pytest.raises(CheckpointError, match='damaged'):
        checkpoints.read(workdir, 21)


def test_all_damaged_restores_nothing_and_says_all(workdir):
    for path in workdir.glob('checkpoints/*/manifest.json'):
        path.write_text('[]')
    restored, _, problems = checkpoints.restore(workdir, tree(0))
    assert restored is None and len(problems) == 3
    with pytest.raises(CheckpointError, match='000000008'):
        checkpoints.load(workdir)


def test_pickled_content_is_never_read(workdir):
    folder = workdir / 'checkpoints' / '000000008'
    np.savez(folder / 'arrays.npz', **{'state/step': np.array([{'a': 1}], object)})
    records.write(folder / 'manifest.json', {'step': 8, 'arrays': checkpoints._digest(folder / 'arrays.npz')})
    with pytest.raises(CheckpointError, match='cannot be read'):
        checkpoints.read(workdir, 8)


def test_another_networks_checkpoint_is_refused(workdir):
    other = tree(0)
    other['state'].params['layer1']['dense']['kernel'] = jnp.zeros((2, 4))
    with pytest.raises(CheckpointError, match='step 8 .*another network.*layer1/dense/kernel'):
        checkpoints.restore(workdir, other)
    other = tree(0)
    other['state'].params['layer2'] = {'dense': {'kernel': jnp.zeros(2)}}
    with pytest.raises(CheckpointError, match='layer2/dense/kernel'):
        checkpoints.restore(workdir, other)
    other = tree(0)
    del other['state'].params['layer1']['dense']['bias']
    with pytest.raises(CheckpointError, match='layer1/dense/bias'):
        checkpoints.restore(workdir, other)


def test_load_gives_network_variables_and_config_of_a_step(workdir):
    trained = checkpoints.load(workdir, 5)
    assert trained.step == 5 and trained.architecture == NET and trained.config.schedule.steps == 20
    assert set(trained.variables) == {'params', 'preprocessing'} and set(trained.variables['params']) == {'layer1'}
    assert trained.variables['params']['layer1']['dense']['kernel'].tolist() == [[5, 6, 7], [8, 9, 10]]
    assert checkpoints.load(workdir).step == 8


def test_load_says_what_is_missing(workdir, tmp_path_factory):
    with pytest.raises(CheckpointError, match=r'000000004 cannot be read.*there: 3, 5, 8\.'):
        checkpoints.load(workdir, 4)
    empty = tmp_path_factory.mktemp('empty')
    with pytest.raises(CheckpointError, match=r'holds no run: there is no config\.json'):
        checkpoints.load(empty)
    with pytest.raises(CheckpointError, match=r'holds no run'):
        checkpoints.load(empty / 'nowhere')
    (empty / 'config.json').write_text((workdir / 'config.json').read_text())
    with pytest.raises(CheckpointError, match='has no checkpoint yet'):
        checkpoints.load(empty)
    (empty / 'config.json').write_text('{"architecture": ')
    with pytest.raises(CheckpointError, match=r'config\.json'):
        checkpoints.load(empty)


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        *(('class_names', value) for value in (5, 'abc', [1, 2, 3], ['a'], ['a'] * 99)),
        *(('image_shape', value) for value in (5, [], [1, 2], [1, 2, '1'], [0, 2, 1], {'0': 1})),
        *(('continued', value) for value in (5, [5], [[1, 2]], [['k', 1, 1]], [['k', '1', True]], {'k': 1})),
        *(('metrics', value) for value in (5, [], {}, {'bytes': '1', 'sha256': ''}, {'bytes': 1, 'sha256': None})),
        *(('key', value) for value in (5, None, ['k'])),
    ],
)
def test_a_manifest_of_other_shapes_is_damaged_whoever_wrote_it(workdir, field, value):
    told = checkpoints.manifest(workdir, 8)
    records.write(workdir / 'checkpoints' / '000000008' / 'manifest.json', {**told, field: value})
    with pytest.raises(CheckpointError, match=field if field != 'class_names' else 'class') as said:
        checkpoints.load(workdir, 8)
    assert '\n' not in str(said.value)
    if field != 'class_names':
        assert runs.begun(workdir).told['step'] == 5
        result = {'key': 'k', 'protocol': 'p', 'step': 8, 'views': 'centre', 'metrics': journal.mark(workdir), 'config': told['config']}
        records.write(workdir / 'result.json', result)
        assert journal.result(workdir)['step'] == 8
        records.write(workdir / 'result.json', {**result, field: value})
        with pytest.raises(CheckpointError, match=field):
            journal.result(workdir)


@pytest.mark.parametrize('ranks', ['abc', 5, [[0]], ['0'], [-1, 0], [0.5, 1], [0]])
def test_ranks_that_are_none_are_no_result(workdir, ranks):
    test = {'examples': 2, 'ranks': ranks}
    result = {'key': 'k', 'protocol': 'p', 'step': 8, 'views': 'centre', 'metrics': journal.mark(workdir), 'test': test}
    records.write(workdir / 'result.json', {**result, 'config': configs.decisive(configs.read(workdir))})
    with pytest.raises(CheckpointError, match=r'result\.json is damaged: .*ranks'):
        journal.result(workdir)
    assert ranks == [0] or paired.tested(result) is None


@pytest.mark.parametrize('text', ['[]', '{', '5', 5, ['x'], {'x': 1}, '[' * 100_000])
@pytest.mark.parametrize('run', [None, 5, {'key': 5, 'continued': []}, {'key': 'k'}, {'key': 'k', 'continued': [['k']]}])
def test_a_config_of_other_shapes_is_damaged_whoever_wrote_it(workdir, text, run):
    whole = configs.update(configs.default(), configs.read(workdir)).to_dict()
    for worse in ({'architecture_json': text}, {'run': run} if run else {'architecture_json': text}):
        records.write(workdir / 'config.json', {**whole, **worse})
        with pytest.raises(CheckpointError, match=r'config\.json'):
            checkpoints.load(workdir)
        assert runs.begun(workdir).config is None


def test_other_steps_and_the_remedy_are_named(workdir):
    told = checkpoints.manifest(workdir, 8)
    result = {'key': 'k', 'protocol': 'p', 'step': 8, 'views': 'centre', 'metrics': journal.mark(workdir), 'config': told['config']}
    for step in (3, 5, 8):
        path = workdir / 'checkpoints' / f'{step:09d}' / 'manifest.json'
        records.write(path, {**checkpoints.manifest(workdir, step), 'key': 'k', 'continued': [['j', 3, True]]})
    records.write(workdir / 'result.json', result)
    assert checkpoints.load(workdir).notes == ()  # of a continuation under its own rates there is nothing to say
    (workdir / 'checkpoints' / '000000008' / 'arrays.npz').unlink()
    with pytest.raises(CheckpointError, match=r'command of the training, given again, .*Other steps are there: 3, 5\.'):
        checkpoints.load(workdir)
