"""What is looked at before work rests on it: examples that cannot be decoded, and sizes beyond the memory. Provoked faults."""

import dataclasses
import os

import numpy as np
import pytest
from PIL import Image

from cnn_research import config as configs
from cnn_research import tasks
from cnn_research.data import augment, memory, stream, verify
from cnn_research.data.sources import open_source, open_splits, subset, verified
from cnn_research.errors import ConfigError, SourceError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for split in ('train', 'test'):
        for label in 'ab':
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(3):
                Image.fromarray(random.integers(0, 256, (40, 30, 3), np.uint8)).save(tmp_path / split / label / f'{number}.png')
    return tmp_path


def counted(source):
    """The source, and a list that grows with every example read."""
    seen = []

    def read(indices):
        seen.extend(indices)
        return source.read(indices)

    return dataclasses.replace(source, read=read), seen


def test_a_truncated_image_of_any_split_is_found_before_the_first_step(folder):
    path = folder / 'test/b/1.png'
    os.truncate(path, path.stat().st_size * 2 // 3)
    train, test = open_splits(f'folder:{folder}', ('train', 'test'))  # the header is whole
    lines = []
    assert verified(train, lines.append) and len(lines) == 1
    with pytest.raises(SourceError, match=r'test/b/1\.png cannot be read as an image: .*truncated'):
        verified(test)
    assert verified(subset(test, [0, 1, 2]))


def test_what_was_found_whole_is_not_read_again(folder):
    source, seen = counted(open_source(f'folder:{folder}', 'train'))
    lines = []
    assert verified(source, lines.append) and sorted(seen) == list(range(6))
    assert verified(source, lines.append) and len(seen) == 6 and len(lines) == 1
    (folder / 'train/a/0.png').write_bytes((folder / 'train/a/1.png').read_bytes())
    changed, seen = counted(open_source(f'folder:{folder}', 'train'))
    assert verified(changed) and len(seen) == 6


@pytest.mark.parametrize('shape', [True, False])
def test_large_sources_are_not_decoded(folder, monkeypatch, shape):
    source, seen = counted(open_source(f'folder:{folder}', 'train'))
    source = source if shape else dataclasses.replace(source, image_shape=None)
    monkeypatch.setattr(verify, 'SMALL', 6 * 40 * 30 - 1)
    monkeypatch.setattr(verify, 'PROBED', 2)
    assert not verified(source) and len(seen) == (0 if shape else 2)
    monkeypatch.setattr(verify, 'SMALL', 6 * 40 * 30)
    assert verified(source)


# ---- sizes against the memory


def test_the_memory_is_known_and_refuses_by_name():
    assert 1e8 < memory.total() < 1e15
    memory.afford(1e6, 'A little')
    with pytest.raises(ConfigError, match=r'^Too much \(some\.field\) takes at least .* GB, but this machine has .* GB of memory\.$'):
        memory.afford(1e18, 'Too much (some.field)')


@pytest.mark.parametrize(
    ('batch_size', 'resize', 'said'),
    [
        (10**15, 0, r'batch of 10+ images of 40x30x3 \(batch_size=10+, data\.resize\)'),
        (10**400, 0, 'batch of'),
        (10**10, 9000, r'images of 9000x9000x3'),
        (2, 100_000, r'data\.resize=100000 asks for .* the largest side is 13377'),
        (2, 10**20, r'data\.resize=10+ asks for'),
    ],
)
@pytest.mark.parametrize('feed', ['open_feed', 'evaluation_feed'])
def test_absurd_feeds_are_refused_before_anything_is_made(folder, feed, batch_size, resize, said):
    source, seen = counted(open_source(f'folder:{folder}', 'train'))
    seed = [0] if feed == 'open_feed' else []
    with pytest.raises(ConfigError, match=said):
        getattr(stream, feed)(source, *seed, batch_size, resize, 1.0, 0)
    assert len(seen) <= 1


def test_a_resident_source_larger_than_the_memory_is_refused(folder, monkeypatch):
    monkeypatch.setattr(memory, 'total', lambda: 5 * 40 * 30 * 3)
    source = open_source(f'folder:{folder}', 'train')
    with pytest.raises(ConfigError, match=r'Keeping 6 images of 40x30x3 in memory \(data\.resident_gb=1, data\.resize\)'):
        stream.open_feed(source, 0, 2, 0, 1.0, 0)
    with pytest.raises(ConfigError, match=r'6 images of 40x30x3, takes'):
        stream.store(source, 0)
    assert not stream.open_feed(source, 0, 2, 0, 0.0, 0).resident


def test_a_strip_is_refused_where_its_scaled_form_is_absurd():
    with pytest.raises(SourceError, match=r'100000 x 2 px would become 11200000 x 224 px'):
        stream.resized(np.zeros((2, 100_000, 1), np.uint8), 224)


@pytest.mark.parametrize('sigma', [1e-200, 0.01, 3.0, 1e12, 1e300])
def test_any_smoothness_takes_the_memory_of_the_image_alone(sigma):
    found = augment.smoothing(9, sigma)
    assert np.isfinite(found).all() and found.shape == (9, 9)
    middle = 1 / (sigma * np.sqrt(2 * np.pi)) if sigma >= 3 else 1
    np.testing.assert_allclose(found[4, 4], middle, rtol=1e-6, atol=1e-38)


def test_a_wide_gaussian_is_summed_as_a_narrow_one(monkeypatch):
    summed = augment.smoothing(5, 900.0)
    monkeypatch.setattr(augment, 'WIDE', 800.0)
    np.testing.assert_array_equal(augment.smoothing(5, 900.0), summed)


def test_what_is_made_here_is_not_looked_at():
    source, seen = counted(open_source('clutter', 'train'))
    assert verified(source) and not seen


# ---- all roles of a training, before its first step


def training(folder, **changes):
    settings = {
        'data.name': f'folder:{folder}',
        'architecture': 'mlp_300 resized(2=2)',
        'data.resize': 28,
        'data.batch_size': 2,
        'data.holdout': 0.3,
    }
    return configs.check(configs.update(configs.default(), settings | {name.replace('__', '.'): value for name, value in changes.items()}))


@pytest.fixture
def grey(folder):
    for path in folder.rglob('*.png'):
        Image.open(path).convert('L').save(path)
    return folder


def test_one_colour_image_of_the_test_split_is_refused_for_a_grey_network(grey):
    assert set(tasks.sources(training(grey))) == {'train', 'holdout', 'test'}
    Image.new('RGB', (30, 40)).save(grey / 'test/b/1.png')
    with pytest.raises(ConfigError, match=r'\(test\) has 3 channels, but mlp_300.* reads 1'):
        tasks.sources(training(grey))


def test_other_sizes_in_the_test_split_ask_for_a_size(grey):
    tasks.sources(training(grey, data__resize=0))
    for path in (grey / 'test').rglob('*.png'):
        Image.open(path).resize((31, 41)).save(path)
    with pytest.raises(ConfigError, match=r'differ in size; set data\.resize'):
        tasks.sources(training(grey, data__resize=0))


@pytest.mark.parametrize('resident_gb', [0.0, 4.0])
@pytest.mark.parametrize('split', ['train', 'test'])
def test_a_training_begins_with_a_look_at_all_roles(grey, split, resident_gb):
    config = training(grey, data__resident_gb=resident_gb)
    assert tasks.classification(config).num_examples
    for path in (grey / split / 'b').glob('*.png'):
        os.truncate(path, path.stat().st_size - 300)
    # Headers stay whole, so that opening finds nothing.
    with pytest.raises(SourceError, match=rf'{split}/b/\d\.png cannot be read as an image: .*truncated'):
        tasks.classification(config)


@pytest.mark.parametrize(
    ('field', 'value', 'said'),
    [
        ('data.batch_size', 10**15, 'A batch of 10+ images'),
        ('evaluate.batch_size', 10**15, 'A batch of 10+'),
        ('data.resize', 10**5, 'largest side'),
    ],
)
def test_absurd_fields_are_refused_with_the_sources(grey, field, value, said):
    with pytest.raises(ConfigError, match=said):
        tasks.sources(training(grey, **{field: value}))


@pytest.mark.parametrize(
    ('name', 'train', 'test', 'shared'),
    [
        ('mnist', 'train', 'test', []),
        ('mnist', 'train[:50%]', 'train[50%:]', ['train']),
        ('mnist', 'train+validation', 'test + validation[:9]', ['validation']),
        ('mnist', 'all', 'test', ['all']),
        ('mnist', 'fold1', 'fold2', []),
        ('folder:x', 'fold-1', 'fold-2', []),
        ('folder:x', 'all', 'test', []),
        ('folder:x', 'all', 'all', ['all']),
    ],
)
def test_splits_that_share_examples_are_known(name, train, test, shared):
    assert tasks._shared(name, train, test) == shared
