"""Sources against published facts about the sets, files written here, and provoked faults."""

import json
import logging
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cnn_research.data import clutter, sources
from cnn_research.data.sources import open_source, subset
from cnn_research.errors import SourceError

SOURCES = [('mnist', 'train'), ('cifar10', 'test'), ('imagenette_subset/160px-v2', 'validation'), ('caltech101_subset', 'test')]
SOURCES += [('gtsrb_subset', 'train'), ('att_faces', 'test')]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def check_contract(source):
    """What any source promises, on a few examples."""
    indices = np.array([source.num_examples - 1, 2, 0, 2])
    images, labels = source.read(indices)
    assert labels.dtype == np.int32 and labels.shape == (4,) and len(images) == 4
    assert all(0 <= label < source.num_classes for label in labels) and len(source.class_names) == source.num_classes
    for image in images:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.std() > 0
        assert source.image_shape is None or image.shape == source.image_shape
    np.testing.assert_array_equal(images[1], images[3])
    assert not np.array_equal(images[1], images[2])
    again, labels_again = pickle.loads(pickle.dumps(source.read))([int(index) for index in indices])
    np.testing.assert_array_equal(labels, labels_again)
    assert all(np.array_equal(image, copy) for image, copy in zip(images, again, strict=True))
    assert len(source.fingerprint) == 64 and int(source.fingerprint, 16)


@pytest.mark.parametrize('name', ['digits', 'clutter'])
@pytest.mark.parametrize('split', ['train', 'test'])
def test_embedded_sets(name, split):
    source = open_source(name, split)
    assert source.num_examples == {('digits', 'train'): 5000, ('digits', 'test'): 1500, ('clutter', 'train'): 40000}.get(
        (name, split), 5000
    )
    assert source.image_shape == ((28, 28, 1) if name == 'digits' else (32, 32, 3))
    check_contract(source)
    prints = {open_source(other, part).fingerprint for other in ('digits', 'clutter') for part in ('train', 'test')}
    assert len(prints) == 4 and source.fingerprint in prints


def test_digits_are_the_first_of_mnist():
    # The first labels and the histogram of the first 5,000, as any copy in the original order has them.
    labels = [open_source('digits', split).read(np.arange(5000 if split == 'train' else 1500))[1] for split in ('train', 'test')]
    assert labels[0][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4] and labels[1][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(labels[0]).tolist() == [479, 563, 488, 493, 535, 434, 501, 550, 462, 495]
    assert pathlib.Path(clutter.__file__).with_name('digits.npz').stat().st_size < 2e6


def test_digits_are_in_mnist(data_dir):
    whole = open_source('mnist', 'test', data_dir)
    images, labels = whole.read(range(whole.num_examples))
    known = {(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}
    some, some_labels = open_source('digits', 'test').read(range(1500))
    assert {(image.tobytes(), int(label)) for image, label in zip(some, some_labels, strict=True)} <= known
    assert abs(np.mean(images) - 33.7912) < 1e-3 and np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_a_changed_generator_has_another_fingerprint(monkeypatch):
    before = [open_source('clutter', split).fingerprint for split in ('train', 'test')]
    monkeypatch.setattr(clutter, 'SHEAR', 0.2)
    assert not {open_source('clutter', split).fingerprint for split in ('train', 'test')} & set(before)


def test_subset_is_a_view():
    whole = open_source('digits', 'train')
    chosen = np.array([7, 4000, 7, 0])
    part = subset(whole, chosen)
    assert (part.num_examples, part.name, part.num_classes) == (4, 'digits', 10)
    for found, expected in zip(part.read([3, 1, 0]), whole.read([0, 4000, 7]), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(subset(part, [1, 1]).read([0, 1])[0], whole.read([4000, 4000])[0])
    check_contract(subset(whole, [1, 2, 3, 4]))
    chosen[0] = 8  # the view keeps the indices that it was given
    assert part.read([0])[1] == whole.read([7])[1]
    prints = [whole.fingerprint] + [subset(whole, indices).fingerprint for indices in ([0, 1], [1, 0], [0], [], [0, 1])]
    assert len(set(prints)) == 5 and prints[1] == prints[5]
    for wrong in ([5000], [-1]):
        with pytest.raises(IndexError, match='5000 examples'):
            subset(whole, wrong)


# ---- prepared TFDS sets


@pytest.mark.parametrize(('name', 'split'), SOURCES)
def test_prepared_sets(name, split, data_dir):
    check_contract(open_source(name, split, data_dir))


def test_cifar10_has_its_known_means(data_dir):
    source = open_source('cifar10', 'test', data_dir)
    images, labels = source.read(range(source.num_examples))
    np.testing.assert_allclose(np.mean(images, axis=(0, 1, 2)) / 255, [0.49421428, 0.48513139, 0.45040909], atol=1e-5)
    assert np.bincount(labels).tolist() == [1000] * 10
    assert source.class_names[3] == 'cat' and source.num_examples == 10_000


def test_slices_are_parts(data_dir):
    whole, tenth, rest = (open_source('att_faces', split, data_dir) for split in ('train', 'train[:10%]', 'train[10%:]'))
    assert (tenth.num_examples, rest.num_examples) == (30, 270)
    np.testing.assert_array_equal(np.stack(tenth.read(range(30))[0]), np.stack(whole.read(range(30))[0]))
    np.testing.assert_array_equal(rest.read([0])[0], whole.read([30])[0])
    assert len({source.fingerprint for source in (whole, tenth, rest)}) == 3


def test_reading_imports_no_tensorflow(data_dir, tmp_path):
    # In a process of its own, since other tests may load what they like; the worker process reports as well.
    script = tmp_path / 'script.py'
    script.write_text(
        'import dataclasses, sys\n'
        'import numpy as np\n'
        'from cnn_research.data import sources, stream\n'
        '@dataclasses.dataclass(frozen=True)\n'
        'class Watched:\n'
        '    read: object\n'
        '    def __call__(self, indices):\n'
        '        found = self.read(indices)\n'
        "        assert 'tensorflow' not in sys.modules\n"
        '        return found\n'
        "if __name__ == '__main__':\n"
        "    for name in ('mnist', 'cifar10'):\n"
        f"        source = sources.open_source(name, 'test', {str(data_dir)!r})\n"
        '        source = dataclasses.replace(source, read=Watched(source.read))\n'
        '        expected = np.stack(source.read(stream.order(0, np.arange(8, 16), source.num_examples))[0])\n'
        '    feed = stream.open_feed(source, 0, 8, 0, resident_gb=0, workers=1)\n'
        "    np.testing.assert_array_equal(feed.batch(1)['images'], expected)\n"
        '    feed.close()\n'
        "    print('tensorflow' in sys.modules)\n"
    )
    root = pathlib.Path(__file__).resolve().parents[1]
    result = subprocess.run(
        [sys.executable, script], env=os.environ | {'PYTHONPATH': str(root)}, capture_output=True, text=True, timeout=100
    )
    assert result.stdout.strip() == 'False', result.stderr
    assert 'group size' not in result.stderr


def test_only_the_group_size_line_is_hidden(data_dir, caplog):
    logger = logging.getLogger('absl')
    logger.removeFilter(sources._is_not_about_group_size)
    logger.addHandler(caplog.handler)
    try:
        import tensorflow_datasets as tfds

        tfds.builder_from_directory(data_dir / 'mnist' / '3.0.1').as_data_source(split='test[:9]')[0]
        assert 'group size' in caplog.text  # otherwise this test would watch for the wrong words
        caplog.clear()
        open_source('mnist', 'test[:9]', data_dir).read([0])
        assert not caplog.records
        logger.error('another line')
        # A set, since the line may reach the handler by the root logger as well.
        assert {record.getMessage() for record in caplog.records} == {'another line'}
    finally:
        logger.removeHandler(caplog.handler)


def test_data_dir_comes_from_the_environment(data_dir, monkeypatch, tmp_path):
    for name in ('CNN_RESEARCH_DATA', 'TFDS_DATA_DIR'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    with pytest.raises(SourceError, match=str(tmp_path / 'tensorflow_datasets')):
        open_source('mnist', 'test')
    monkeypatch.setenv('TFDS_DATA_DIR', str(data_dir))
    assert open_source('mnist', 'test').num_examples == 10_000
    monkeypatch.setenv('CNN_RESEARCH_DATA', str(tmp_path))
    with pytest.raises(SourceError, match='not prepared'):
        open_source('mnist', 'test')


@pytest.fixture
def copies(data_dir, tmp_path):
    """A data folder with three versions of the faces."""
    for version in ('1.9.0', '1.10.0', '1.2.0'):
        shutil.copytree(data_dir / 'att_faces' / '1.0.0', tmp_path / 'data' / 'faces' / version)
    return tmp_path / 'data'


def test_the_newest_version_is_read(copies):
    newest = copies / 'faces' / '1.10.0'
    assert pathlib.Path(open_source('faces', 'train', copies).read.directory) == newest
    (newest / 'features.json').unlink()  # not finished
    assert pathlib.Path(open_source('faces', 'train', copies).read.directory) == copies / 'faces' / '1.9.0'


def test_a_changed_or_missing_file_is_seen(copies):
    before = {split: open_source('faces', split, copies).fingerprint for split in ('train', 'test')}
    newest = copies / 'faces' / '1.10.0'
    shard = next(newest.glob('*-train.array_record*'))
    with open(shard, 'ab') as file:
        file.write(b'0')
    assert open_source('faces', 'train', copies).fingerprint != before['train']
    assert open_source('faces', 'test', copies).fingerprint == before['test']
    shard.unlink()
    with pytest.raises(SourceError, match=rf'incomplete: {shard.name} is missing'):
        open_source('faces', 'train', copies)
    facts = json.loads((newest / 'dataset_info.json').read_text())
    (newest / 'dataset_info.json').write_text(json.dumps(facts | {'fileFormat': 'tfrecord'}))
    with pytest.raises(SourceError, match=r'format tfrecord.* needs TensorFlow.*tfds build faces --file_format=array_record.*--overwrite'):
        open_source('faces', 'test', copies)


@pytest.mark.parametrize(
    ('name', 'split', 'said'),
    [
        ('cifar01', 'train', r'knows no set cifar01\. Did you mean cifar10\?.*att_faces.*imagenette_subset/160px-v2.*clutter'),
        ('cluter', 'train', r'Did you mean clutter\?'),
        ('cifar100', 'train', r'not prepared.*pip install tensorflow && tfds build cifar100 --file_format=array_record --data_dir='),
        ('imagenet2012', 'train', r'downloads/manual.*ILSVRC2012_img_train\.tar.*ILSVRC2012_img_val\.tar.*tfds build imagenet2012'),
        ('imagenette/160px-v2', 'train', r'Did you mean imagenette_subset/160px-v2\?.*tfds build imagenette/160px-v2'),
        ('imagenette/160', 'train', r"no config '160'; its configs: .*160px-v2.*Did you mean 160px\?"),
        ('/data/pets', 'train', r'named folder:/data/pets'),
        ('bccd_subset', 'train', r'no set of labelled uint8 images; its features: image, image/filename, objects'),
        ('mnist', 'tran', r"no split 'tran'; its splits: train, test, .*Did you mean train\?"),
        ('mnist', 'train[:1', r"no split 'train\[:1'.*such as 'train\[:10%\]'"),
        ('mnist', 'train[:0]', r'no examples.*train \(60000\), test \(10000\)'),
        ('mnist', 'train[70000:]', r'its splits: train, test'),
        ('digits', 'tests', r'its splits: train, test\. Did you mean test\?'),
    ],
)
def test_what_is_not_there_is_said_on_one_line(name, split, said, data_dir):
    with pytest.raises(SourceError, match=said) as caught:
        open_source(name, split, data_dir)
    assert '\n' not in str(caught.value)


# ---- image folders

CLASSES = {'train': ('cat', 'dog'), 'val': ('cat', 'emu')}


@pytest.fixture
def folder(tmp_path):
    """train/{cat,dog} and val/{cat,emu}, three random 6 x 5 images each, lossless, in three formats."""
    for split, classes in CLASSES.items():
        for label in classes:
            place = tmp_path / 'pets' / split / label
            place.mkdir(parents=True)
            for number, extension in enumerate(('png', 'BMP', 'ppm')):
                Image.fromarray(pixels(split, label, number)).save(place / f'{number}.{extension}')
            (place / 'notes.txt').write_text('no image')
            (place / '.hidden.png').write_text('no image')
    return tmp_path / 'pets'


def pixels(split, label, number):
    return np.random.default_rng([*split.encode(), *label.encode(), number]).integers(0, 256, (6, 5, 3), np.uint8)


def test_folders(folder):
    for split, classes in CLASSES.items():
        source = open_source(f'folder:{folder}', split)
        # One numbering for all splits, though each lacks a class.
        assert source.class_names == ('cat', 'dog', 'emu') and source.num_examples == 6 and source.image_shape == (6, 5, 3)
        images, labels = source.read(range(6))
        assert [source.class_names[label] for label in labels] == [label for label in classes for _ in range(3)]
        np.testing.assert_array_equal(images, [pixels(split, label, number) for label in classes for number in range(3)])
        check_contract(source)


def test_grey_and_mixed_folders(folder):
    for path in (folder / 'val').rglob('[0-9].*'):
        Image.open(path).convert('L').save(path)
    grey = open_source(f'folder:{folder}', 'val')
    assert grey.image_shape == (6, 5, 1)
    check_contract(grey)
    Image.fromarray(pixels('val', 'cat', 0)[:4]).save(folder / 'val' / 'cat' / '0.png')
    mixed = open_source(f'folder:{folder}', 'val')
    assert mixed.image_shape is None
    assert [image.shape for image in mixed.read([0, 1])[0]] == [(4, 5, 3), (6, 5, 3)]


def test_a_folders_fingerprint_is_its_content(folder, tmp_path):
    def fingerprint(place=folder):
        return open_source(f'folder:{place}', 'train').fingerprint

    before = fingerprint()
    assert fingerprint(shutil.copytree(folder, tmp_path / 'copy')) == before
    os.utime(folder / 'train' / 'cat' / '0.png', (1, 1))
    assert fingerprint() == before
    path = folder / 'train' / 'dog' / '1.BMP'
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    changed = fingerprint()
    assert changed != before
    path.write_bytes(content)
    assert fingerprint() == before
    path.rename(path.with_name('4.BMP'))
    assert fingerprint() not in (before, changed)


def test_hashes_are_cached_where_that_is_possible(folder, cache, tmp_path, monkeypatch):
    before = open_source(f'folder:{folder}', 'train').fingerprint
    (file,) = (cache / 'cnn_research').iterdir()
    path = folder / 'train' / 'dog' / '1.BMP'
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    # Size and time agree, so the stale hash shows that the file was not read again.
    assert open_source(f'folder:{folder}', 'train').fingerprint == before
    file.write_text('{"train')
    assert open_source(f'folder:{folder}', 'train').fingerprint != before
    (tmp_path / 'occupied').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'occupied'))
    path.write_bytes(content)
    assert open_source(f'folder:{folder}', 'train').fingerprint == before


def test_folder_errors_say_what_is_there(folder):
    for name, split, said in [
        (f'{folder}x', 'train', r'no folder .*petsx; folders in .*pets\. Did you mean pets\?'),
        (folder, 'vall', r"no split 'vall'; folders in .*: train, val\. Did you mean val\?"),
        (folder / 'train', 'cat', r'no images in class folders, .*cat/CLASS/\*\.png'),
    ]:
        with pytest.raises(SourceError, match=said) as caught:
            open_source(f'folder:{name}', split)
        assert '\n' not in str(caught.value)


def test_damaged_and_deep_images_are_refused_by_name(folder):
    path = folder / 'train' / 'cat' / '0.png'
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r'cat/0\.png cannot be read as an image'):
        open_source(f'folder:{folder}', 'train').read([0])
    path.write_text('hello')
    with pytest.raises(SourceError, match=r'cat/0\.png cannot be read as an image'):
        open_source(f'folder:{folder}', 'train')
    Image.fromarray(np.arange(30, dtype=np.uint16).reshape(6, 5) * 1000).save(path)
    with pytest.raises(SourceError, match=r'cat/0\.png: images of mode I;16 are not read'):
        open_source(f'folder:{folder}', 'train').read([0])
