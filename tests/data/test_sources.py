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

from cnn_research.data import clutter, prepared
from cnn_research.data.sources import joined, open_source, open_splits, subset, verified
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
    np.testing.assert_array_equal(subset(source, indices).labels(), labels)
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


@pytest.mark.parametrize(
    ('name', 'split', 'fingerprint'),
    [
        ('digits', 'train', 'da8f6a76488944e8d556319634fcbfa5580e65902340897239d9f47a0529afda'),
        ('digits', 'test', '26acc176a740e62190e505a1aac5ba4406df71c3bd23ed7083f96de96c69871e'),
        ('clutter', 'train', '32ccc71eace0a31619fa6b78b073afd6e2eaf713657aed6c0f9ca4c600604315'),
        ('clutter', 'test', 'b8c3e91432554e6a21fd3d32bdb887b01ffc356922a2adb40e6c4b3b398dfa9e'),
    ],
)
def test_the_embedded_sets_are_known_by_these_fingerprints(name, split, fingerprint):
    # Keys of finished trainings rest on them.
    assert open_source(name, split).fingerprint == fingerprint


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


def test_grey_and_coloured_sources_joined_are_coloured():
    grey, coloured = open_source('digits', 'test'), open_source('clutter', 'test')
    both = joined(grey, coloured)
    images, labels = both.read([1500, 3, 4])
    assert both.channels == 3 and both.image_shape is None and [image.shape[-1] for image in images] == [3, 3, 3]
    np.testing.assert_array_equal(images[0], coloured.read([0])[0][0])
    np.testing.assert_array_equal(images[1], grey.read([3])[0][0].repeat(3, -1))
    np.testing.assert_array_equal(both.labels(), np.concatenate([grey.read(range(1500))[1], coloured.read(range(5000))[1]]))
    np.testing.assert_array_equal(subset(both, [1500, 3, 4]).labels(), labels)


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
    root = pathlib.Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, script], env=os.environ | {'PYTHONPATH': str(root)}, capture_output=True, text=True, timeout=100
    )
    assert result.stdout.strip() == 'False', result.stderr
    assert 'group size' not in result.stderr


def test_only_the_group_size_line_is_hidden(data_dir, caplog):
    logger = logging.getLogger('absl')
    logger.removeFilter(prepared._is_not_about_group_size)
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


def test_a_version_can_be_named(copies):
    for version in ('1.2.0', '1.10.0'):
        source = open_source(f'faces:{version}', 'train', copies)
        assert pathlib.Path(source.read.directory).name == version and not source.notes
    newest = open_source('faces', 'train', copies)
    assert newest.fingerprint == source.fingerprint  # however it was named
    assert newest.notes == (f'faces: version 1.10.0 is read, the newest that is whole; also in {copies / "faces"}: 1.2.0, 1.9.0.',)
    with pytest.raises(SourceError, match=r'no version 1\.9\.9 in .*; its versions: 1\.2\.0, 1\.9\.0, 1\.10\.0'):
        open_source('faces:1.9.9', 'train', copies)
    with pytest.raises(SourceError, match='a version is three numbers'):
        open_source('faces:1', 'train', copies)
    (copies / 'faces/1.10.0/features.json').unlink()
    assert '1.10.0 (incomplete)' in open_source('faces', 'train', copies).notes[0]
    with pytest.raises(SourceError, match=r'1\.10\.0 is incomplete: features\.json missing.*tfds build faces'):
        open_source('faces:1.10.0', 'train', copies)
    shutil.rmtree(copies / 'faces/1.9.0')
    shutil.rmtree(copies / 'faces/1.2.0')
    with pytest.raises(SourceError, match=r'1\.10\.0 is incomplete'):
        open_source('faces', 'train', copies)


def test_a_config_that_was_forgotten_is_named(copies):
    shutil.move(copies / 'faces', copies / 'imagenette_subset' / '160px-v2')
    for name, said in {
        'imagenette_subset': r'is prepared in configs; name one of those in .*: imagenette_subset/160px-v2\. Did you mean',
        'imagenette_subset/160px': r"no config '160px' there; .* Did you mean imagenette_subset/160px-v2\?",
        'imagenet2012_subset': r'Did you mean imagenette_subset/160px-v2\?',
        'Imagenette-Subset': r'Did you mean imagenette_subset/160px-v2\?',
    }.items():
        with pytest.raises(SourceError, match=said):
            open_source(name, 'train', copies)
    assert open_source('imagenette_subset/160px-v2:1.2.0', 'train', copies).num_examples == 300


@pytest.mark.parametrize('file', ['dataset_info.json', 'features.json'])
@pytest.mark.parametrize('content', ['', '{"x', '[]', '{}', '7', 'null', '\xff\xfe', '[' * 100_000])
def test_a_damaged_description_is_one_line(copies, file, content):
    (copies / 'faces/1.10.0' / file).write_bytes(content.encode('latin-1'))
    with pytest.raises(SourceError, match=r'faces in .*1\.10\.0 cannot be opened, .* is damaged') as caught:
        open_source('faces', 'train', copies)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize('key', ['pythonClassName', 'python_class_name', 'type'])
def test_no_code_is_imported_that_a_set_names(copies, key, monkeypatch):
    (copies / 'stranger.py').write_text('raise SystemExit("run")')
    monkeypatch.syspath_prepend(copies)
    path = copies / 'faces/1.10.0/features.json'
    described = json.loads(path.read_text())
    described['featuresDict']['features']['more'] = {key: 'stranger.Feature'}
    path.write_text(json.dumps(described))
    with pytest.raises(SourceError, match=r'a feature of stranger\.Feature, which is code outside of TFDS and is not run'):
        open_source('faces', 'train', copies)


@pytest.mark.parametrize(
    ('place', 'said'),
    [('a\0b', 'zero byte'), ('~nobody-of-this-name/x', 'home directory'), ('/nowhere', r'Prepared in /nowhere \(which is no folder\)')],
)
def test_impossible_data_folders_are_refused(place, said):
    with pytest.raises(SourceError, match=said) as caught:
        open_source('mnist', 'train', place)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize('damage', ['half', 'short', 'empty', 'noise'])
def test_a_damaged_shard_is_found_and_named(copies, damage):
    source = open_source('faces', 'train', copies)
    assert verified(source)
    shard = next((copies / 'faces/1.10.0').glob('*-train.array_record*'))
    content = bytearray(shard.read_bytes())
    if damage == 'noise':  # of the same size: the fingerprint cannot tell
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        shard.write_bytes(content)
    else:
        os.truncate(shard, {'half': len(content) // 2, 'short': 10, 'empty': 0}[damage])
    with pytest.raises(SourceError, match=r'example \d+ of faces \(train\) in .*1\.10\.0 cannot be read') as caught:
        verified(open_source('faces', 'train', copies))
    assert str(caught.value).isprintable()
    assert verified(open_source('faces', 'test', copies))


def test_more_labels_than_names_are_refused(copies):
    names = copies / 'faces/1.10.0/label.labels.txt'
    names.write_text('a\nb\n')
    with pytest.raises(SourceError, match=r'example \d+ of faces \(train\) .* has the label \d+, but there are 2 classes'):
        open_source('faces', 'train', copies).labels()
    names.unlink()
    source = open_source('faces', 'train', copies)
    assert source.num_classes == 40 and 'called by number' in source.notes[-1]


@pytest.mark.parametrize(
    'split', ['train[5:2]', 'train[abc%]', 'train[:', '', '\n', 'train[::2]', 'train++test', '[', 'train[9999999999999999999:]']
)
def test_splits_that_hold_nothing_are_refused(split, data_dir):
    with pytest.raises(SourceError, match='its splits: train') as caught:
        open_source('att_faces', split, data_dir)
    assert str(caught.value).isprintable()


def test_own_classes_cannot_be_changed():
    with pytest.raises(SourceError, match='classes of its own'):
        open_source('digits', 'test', class_names=('a', 'b'))
    train, test = open_splits('digits', ('train', 'test'))
    assert train.class_names == test.class_names and (train.split, test.split) == ('train', 'test')


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
