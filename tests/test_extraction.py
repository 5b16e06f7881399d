"""Features for other programs: held against the network itself, gone on with, and known again by their record."""

import dataclasses
import functools
import json
import re

import jax
import numpy as np
import pytest
from called import called
from small_runs import fit, flip, folder

from cnn_research import config as configs
from cnn_research import extraction, features, files, records
from cnn_research.data.sources import open_source, subset
from cnn_research.errors import CheckpointError, ConfigError, Stopped
from cnn_research.models.network import Network
from cnn_research.trained import Trained
from experiments import extract

TAPS = ('layer1', 'layer4.dense', 'pixels')


@pytest.fixture(scope='module')
def trained():
    config = configs.update(configs.default(), {'architecture': 'lenet5_modern resized(1=3,2=4,3=6,4=8)', 'data.name': 'digits'})
    net = configs.network(config)
    variables = {'params': features.untrained(Network(net), 0), 'preprocessing': {'mean': np.float32([30]), 'scale': np.float32([0.01])}}
    return Trained(net, variables, config, 0, tuple('0123456789'), ('said of the network',), (28, 28, 1))


@pytest.fixture(scope='module')
def source():
    return subset(open_source('digits', 'test'), np.arange(5, 28))


def read_npz(folder):
    """{name: all of it} of the shards in order."""
    parts = [np.load(path) for path in sorted(folder.glob('features-*.npz'))]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for part in parts:
        part.close()
    return found


def read_tfds(folder):
    tfds = pytest.importorskip('tensorflow_datasets')
    builder = tfds.builder_from_directory(folder / 'features' / '1.0.0')
    (split,) = builder.info.splits
    rows = list(builder.as_data_source(split))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize('side', [0, 3])
@pytest.mark.parametrize(('form', 'read'), [('npz', read_npz), ('array_record', read_tfds)])
def test_the_shards_hold_what_the_network_says(trained, source, form, read, side, tmp_path):
    plan = extraction.plan(trained, source, TAPS, form, shard=10, side=side)
    record = extraction.extract(plan, tmp_path)
    found, (images, labels) = read(tmp_path), source.read(np.arange(23))
    told = trained.features(images, TAPS[:2])
    pixels = np.zeros((23, 32, 32, 1), np.float32)  # 28 px stand in the middle of 32, and raw zeros around them
    pixels[:, 2:30, 2:30] = np.stack(images)
    told['pixels'] = (pixels - 30) * 0.01
    if side:
        told['layer1'] = np.asarray(features.averaged(told['layer1'], side))
    for tap in TAPS:
        assert found[tap].shape == told[tap].shape == (23, *plan.taps[tap])
        np.testing.assert_allclose(found[tap], told[tap], rtol=1e-4, atol=1e-5)
    assert found['index'].tolist() == list(range(23)) and found['label'].tolist() == labels.tolist()
    assert [shard['examples'] for shard in record['shards']] == [10, 10, 3]
    assert record == {**records.read(tmp_path / extraction.RECORD)}
    assert record['source']['fingerprint'] == source.fingerprint and record['preprocessing']['mean'] == [30.0]
    readme = (tmp_path / 'README.md').read_text()
    assert all(word in readme for word in (source.fingerprint, record['fingerprint'], 'said of the network', 'layer4.dense | 8'))


def test_it_goes_on_where_it_was_stopped_and_makes_again_what_was_damaged(trained, source, tmp_path):
    plan = extraction.plan(trained, source, TAPS, shard=5)
    extraction.extract(plan, tmp_path / 'whole')
    answers = iter([False, False, True])
    with pytest.raises(Stopped):
        extraction.extract(plan, tmp_path / 'parts', stop=lambda: next(answers))
    assert len(list((tmp_path / 'parts').glob('*.npz'))) == 2 and len(extraction.begun(plan, tmp_path / 'parts')['shards']) == 2
    first, second = sorted((tmp_path / 'parts').glob('*.npz'))
    flip(second)
    kept, made = first.stat().st_mtime_ns, []
    extraction.extract(plan, tmp_path / 'parts', said=made.append)
    assert first.stat().st_mtime_ns == kept and [line.partition('-of')[0][-1] for line in made] == ['1', '2', '3', '4']
    for path in (tmp_path / 'whole').iterdir():
        assert path.read_bytes() == (tmp_path / 'parts' / path.name).read_bytes()
    made.clear()
    moved = plan._replace(source=dataclasses.replace(source, name='folder:elsewhere'))  # content decides, not place
    for same in (plan, moved):
        extraction.extract(same, tmp_path / 'parts', said=made.append)
    assert not made


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'taps': ['layer1']}, r'holds features of other taps \(layer1, layer4.dense, pixels\), not of layer1; choose another folder'),
        ({'side': 3}, 'other taps|other side'),
        ({'form': 'array_record'}, 'other format npz, not of array_record'),
        ({'shard': 7}, 'other shard 10, not of 7'),
        ({'source': 'train'}, r'other source \(.*\) .*, not of'),
        ({'weights': 1}, 'other weights of lenet5_modern'),
        ({'mean': 31.0}, r'other preprocessing \(mean\) \[30.0\], not of \[31.0\]'),
    ],
)
def test_a_folder_of_other_features_is_refused_by_what_differs(trained, source, change, said, tmp_path):
    records.write(tmp_path / extraction.RECORD, {**extraction.described(extraction.plan(trained, source, TAPS, shard=10)), 'shards': []})
    given = {'taps': TAPS, 'shard': 10} | {name: value for name, value in change.items() if name in ('taps', 'side', 'form', 'shard')}
    variables = {**trained.variables}
    if 'weights' in change:
        variables['params'] = jax.tree.map(lambda leaf: leaf + 1, variables['params'])
    if 'mean' in change:
        variables['preprocessing'] = {**variables['preprocessing'], 'mean': np.float32([change['mean']])}
    if 'source' in change:
        source = subset(open_source('digits', 'train'), np.arange(23))
    with pytest.raises(ConfigError, match=said):
        extraction.extract(extraction.plan(trained._replace(variables=variables), source, **given), tmp_path)


def test_a_changed_record_is_refused(trained, source, tmp_path):
    plan = extraction.plan(trained, source, TAPS, shard=10)
    records.write(tmp_path / extraction.RECORD, {**extraction.described(plan), 'shards': []})
    path = tmp_path / extraction.RECORD
    path.write_text(path.read_text().replace(source.fingerprint, '0' * 64))
    with pytest.raises(CheckpointError, match='extraction.json is damaged'):
        extraction.extract(plan, tmp_path)


def test_a_shard_has_about_a_hundred_megabytes(trained, source):
    plan = extraction.plan(trained, source, ('pixels',))
    assert plan.taps == {'pixels': (32, 32, 1)} and plan.bytes == 23 * 4 * 1024 and plan.shard == 10_000
    large = ('layer1.convolution', 'layer1.relu', 'pixels')
    assert extraction.plan(trained, source, large).shard == 10**8 // (4 * (2 * 28 * 28 * 3 + 1024))


def test_the_command_knows_the_training_and_names_the_files_of_a_folder(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    run = functools.partial(called, extract, monkeypatch, capsys)
    fit(tmp_path / 'run')
    code, out, err = run(f'--network={tmp_path}/run', '--taps=layer1,pixels', f'--out={tmp_path}/own', '--shard=700')
    assert (code, err) == (0, '') and any('1,500 examples of digits (test): layer1 10, pixels 28x28x1' in line for line in out)
    with files.claimed(tmp_path / 'own'):
        code, _, err = run(f'--network={tmp_path}/run', '--taps=layer1,pixels', f'--out={tmp_path}/own', '--shard=700')
        assert code == 2 and 'another process works in' in err
    found = read_npz(tmp_path / 'own')
    assert len(found['label']) == 1500 and len(list((tmp_path / 'own').glob('*.npz'))) == 3
    name = folder(tmp_path / 'images')
    for form, read in (('npz', read_npz), ('array_record', read_tfds)):
        code, *_ = run(f'--network={tmp_path}/run', f'--data={name}', f'--out={tmp_path}/{form}', '--taps=layer1', f'--format={form}')
        names = [file.decode() if isinstance(file, bytes) else str(file) for file in read(tmp_path / form)['file_name']]
        assert code == 0 and names[:2] == ['a/0.png', 'a/1.png'] and len(names) == 8
    written = json.loads((tmp_path / 'npz' / extraction.RECORD).read_text())
    assert written['source']['name'] == name and written['preprocessing']['resize'] == 28 and written['network']['step'] == 12
    for arguments, said in (
        ((), 'name the network and the folder'),
        ((f'--network={tmp_path}/run', '--taps=layer9', f'--out={tmp_path}/new'), "has no tap 'layer9'"),
        ((f'--network={tmp_path}/run', '--taps=layer1,layer1', f'--out={tmp_path}/new'), 'layer1 twice'),
        ((f'--network={tmp_path}/run', '--split=validation', f'--out={tmp_path}/new'), "no split 'validation'"),
        ((f'--network={tmp_path}/run', '--taps=pixels', f'--out={tmp_path}/own'), 'other taps'),
        ((f'--network={tmp_path}/run', f'--out={tmp_path}/run/config.json/x'), 'config.json'),
    ):
        code, _, err = run(*arguments)
        assert code == 2 and err.count('\n') == 1 and re.search(said, err)
    assert not (tmp_path / 'new').exists()
