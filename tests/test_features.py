"""Features are what the network says of each example, whatever the batches, pooled as said, and computed once."""

import concurrent.futures
import dataclasses
import errno
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research import features
from cnn_research.data import augment
from cnn_research.data.sources import joined, open_source, subset
from cnn_research.errors import ArchitectureError, ResearchError, SourceError
from cnn_research.models import zoo
from cnn_research.models.network import Network
from cnn_research.studies.looking import evolution

NET = Network(zoo.architecture('alexnet_32 resized(1=4,2=6,3=4,4=4,5=4,6=8,7=8)'))
TAPS = ('layer1', 'layer2.convolution', 'layer5.relu', 'layer7', features.PIXELS)


@pytest.fixture(scope='module')
def variables():
    params = features.untrained(NET, 3)
    return {'params': params, 'preprocessing': {'mean': np.full(1, 100, np.float32), 'scale': np.full(1, 0.02, np.float32)}}


@pytest.fixture(scope='module')
def source():
    return subset(open_source('clutter', 'test'), np.arange(0, 500, 9))


@pytest.mark.parametrize('side', [0, 5])
def test_every_example_at_every_tap_is_the_networks_own(variables, source, side, monkeypatch):
    monkeypatch.setattr(features, '_BATCH', 23)  # does not divide 56
    found = features.collect(NET, variables, source, TAPS, side)
    images, _ = source.read(np.arange(source.num_examples))
    seen = augment.prepare(jnp.stack(images), variables['preprocessing'], (32, 32, 3))
    _, kept = NET.apply({'params': variables['params']}, seen, taps=TAPS[:-1])
    for tap, array in {**kept, features.PIXELS: seen}.items():
        if side and array.ndim == 4 and tap != features.PIXELS:
            array = features.averaged(array, side)
            assert max(array.shape[1:3]) == min(side, kept[tap].shape[1])
        np.testing.assert_allclose(found[tap], np.asarray(array).reshape(56, -1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('height, width, side', [(7, 5, 3), (8, 8, 4), (6, 9, 6), (3, 3, 6), (13, 13, 6)])
def test_averages_over_windows_of_nearly_equal_size(height, width, side):
    torch = pytest.importorskip('torch')
    maps = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    size = (min(side, height), min(side, width))
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(maps).permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)
    np.testing.assert_allclose(features.averaged(jnp.asarray(maps), side), expected.numpy(), atol=1e-6)


def test_averages_keep_the_mean_where_windows_are_equal():
    maps = np.random.default_rng(0).normal(size=(2, 12, 8, 3)).astype(np.float32)
    small = np.asarray(features.averaged(jnp.asarray(maps), 4))
    np.testing.assert_allclose(small, maps.reshape(2, 4, 3, 4, 2, 3).mean((2, 4)), atol=1e-6)


def test_an_unknown_tap_is_refused(variables, source):
    with pytest.raises(ArchitectureError, match='layer9'):
        features.collect(NET, variables, source, ('layer9',))


def test_the_untrained_network_is_the_one_that_training_begins_with(tmp_path):
    from cnn_research import checkpoints, train
    from cnn_research import config as configs

    settings = {'architecture': 'perceptron', 'data.name': 'digits', 'data.examples': 60, 'data.test_examples': 20, 'schedule.steps': 2}
    config = configs.check(
        configs.update(configs.default(), {**settings, 'seed': 4, 'optimizer.learning_rate': 0.0, 'data.batch_size': 20})
    )
    train.fit(config, tmp_path)
    expected = checkpoints.load(tmp_path).variables['params']
    begun = features.untrained(Network(configs.network(config)), 4)
    jax.tree.map(np.testing.assert_array_equal, dict(begun), expected)


def test_features_are_computed_once_and_again_where_a_file_was_hurt(tmp_path):
    arrays = {'a': np.arange(6, dtype=np.float32).reshape(3, 2), 'b': np.ones((3, 1), np.float32)}
    asked = []

    def compute(taps):
        asked.append(tuple(taps))
        return {tap: arrays[tap] for tap in taps}

    for _ in range(2):
        found = features.kept(tmp_path / 'of', ('a', 'b'), compute)
        assert all((found[tap] == arrays[tap]).all() for tap in arrays)
    content = bytearray((tmp_path / 'of' / 'a.npy').read_bytes())
    content[-1] ^= 1
    (tmp_path / 'of' / 'a.npy').write_bytes(content)
    assert (features.kept(tmp_path / 'of', ('a', 'b'), compute)['a'] == arrays['a']).all()
    assert asked == [('a', 'b'), ('a',)]


DAMAGE = {
    'note gone': lambda folder: (folder / 'a.sha256').unlink(),
    'note empty': lambda folder: (folder / 'a.sha256').write_bytes(b''),
    'note of other bytes': lambda folder: (folder / 'a.sha256').write_bytes(b'\xff\xfe\x00'),
    'note a folder': lambda folder: ((folder / 'a.sha256').unlink(), (folder / 'a.sha256').mkdir()),
    'array gone': lambda folder: (folder / 'a.npy').unlink(),
    'array cut off': lambda folder: (folder / 'a.npy').write_bytes((folder / 'a.npy').read_bytes()[:-3]),
    'array empty': lambda folder: (folder / 'a.npy').write_bytes(b''),
}


@pytest.mark.parametrize('damage', [name for name in DAMAGE if name != 'note a folder'])
def test_features_that_were_hurt_are_made_again(damage, tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    features.kept(tmp_path, ('a',), lambda taps: {'a': array})
    DAMAGE[damage](tmp_path)
    asked = []
    for _ in range(2):
        np.testing.assert_array_equal(features.kept(tmp_path, ('a',), lambda taps: asked.append(taps) or {'a': array})['a'], array)
    assert asked == [['a']] and sorted(path.name for path in tmp_path.iterdir()) == ['a.npy', 'a.sha256']


def test_features_that_cannot_be_written_say_where_and_leave_what_was(tmp_path, monkeypatch):
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    features.kept(tmp_path, ('a',), lambda taps: {'a': array})

    def full(*args, **how):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch, pytest.raises(ResearchError, match=r'b\.npy cannot be written \(No space left'):
        patch.setattr(features.np, 'save', full)
        features.kept(tmp_path, ('a', 'b'), lambda taps: dict.fromkeys(taps, array))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.npy', 'a.sha256']
    (tmp_path / 'file').write_text('')
    with pytest.raises(ResearchError, match='a.npy cannot be written'):
        features.kept(tmp_path / 'file', ('a',), lambda taps: {'a': array})
    DAMAGE['note a folder'](tmp_path)
    with pytest.raises(ResearchError, match='a.sha256 cannot be written'):
        features.kept(tmp_path, ('a',), lambda taps: {'a': array})


def test_two_that_write_the_same_features_do_not_meet(tmp_path):
    arrays = [np.full((50, 20), number, np.float32) for number in range(4)]
    start = threading.Barrier(len(arrays))

    def one(array):
        start.wait()
        for _ in range(5):
            (tmp_path / 'a.sha256').unlink(missing_ok=True)
            features.kept(tmp_path, ('a',), lambda taps: {'a': array})

    with concurrent.futures.ThreadPoolExecutor(len(arrays)) as pool:
        list(pool.map(one, arrays))
    found = features.kept(tmp_path, ('a',), lambda taps: {'a': arrays[0]})['a']
    assert any((found == array).all() for array in arrays)


def test_a_fingerprint_tells_all_that_matters(variables, source):
    def of(variables=variables, source=source, side=6, resize=0, net=NET):
        return features.fingerprint(net, variables, source, side, resize)

    changed = jax.tree.map(np.array, variables)
    changed['params']['layer5']['convolution']['bias'][0] += 1e-3
    other = [
        of(changed),
        of({**variables, 'preprocessing': {**variables['preprocessing'], 'mean': np.full(1, 99, np.float32)}}),
        of(source=subset(source, [0])),
        of(side=5),
        of(resize=32),
    ]
    assert of() == of() and len({of(), *other}) == len(other) + 1


def test_joined_sources_have_the_examples_of_both():
    train, test = open_source('digits', 'train'), open_source('digits', 'test')
    both = joined(train, test)
    assert both.num_examples == train.num_examples + test.num_examples and both.split == 'train+test'
    images, labels = both.read([both.num_examples - 1, 0, train.num_examples])
    expected = [test.read([test.num_examples - 1]), train.read([0]), test.read([0])]
    for image, label, (images_of, labels_of) in zip(images, labels, expected, strict=True):
        np.testing.assert_array_equal(image, images_of[0])
        assert label == labels_of[0]
    assert both.fingerprint not in (train.fingerprint, joined(test, train).fingerprint)
    np.testing.assert_array_equal(subset(both, range(4990, 5700)).labels(), both.read(np.arange(4990, 5700))[1])
    other = dataclasses.replace(test, class_names=('one', 'two'), num_classes=2)
    with pytest.raises(SourceError, match='other classes'):
        joined(train, other)


def test_drift_is_what_is_missing_to_a_full_correlation():
    random = np.random.default_rng(0)
    last = random.normal(size=(200, 6))
    mixed = 0.6 * last + 0.8 * random.normal(size=(200, 6))
    steps = {'other': random.normal(size=(200, 6)), 'mixed': mixed, 'larger': 7 * last + np.arange(6), 'same': last, 'turned': -last}
    found = {name: evolution.drift({'a': early}, {'a': last})['a'] for name, early in steps.items()}
    centred = [(one - one.mean(0)).ravel() for one in (mixed, last)]
    assert found['mixed'] == pytest.approx(1 - np.corrcoef(*centred)[0, 1]) and 0.3 < found['mixed'] < 0.5
    assert found['larger'] == pytest.approx(0, abs=1e-9) and found['same'] == 0 and found['turned'] == pytest.approx(2)
    assert abs(found['other'] - 1) < 0.1
    constant = np.ones((4, 2))
    assert evolution.drift({'a': constant}, {'a': constant}) == {'a': 0}
    assert evolution.drift({'a': constant}, {'a': np.eye(4, 2)}) == {'a': 1}
