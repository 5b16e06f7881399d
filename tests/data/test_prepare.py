"""Prepared photographs against the same ones read from their folder; interruption at every shard, damage and refusals."""

import csv
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from PIL import Image

from cnn_research import files
from cnn_research.data import images, prepare, prepare_shard, stream
from cnn_research.data.sources import open_source
from cnn_research.errors import ConfigError, ResearchError, SourceError, WriteError
from experiments import prepare as prepare_command
from tests.called import called

RAW, JPEG = prepare_shard.Settings(16, 'raw', 92), prepare_shard.Settings(16, 'jpeg', 95)


def photograph(number, height=20, width=27):
    """Smooth, as photographs are, and of its number."""
    random = np.random.default_rng(number)
    small = Image.fromarray(random.integers(0, 256, (3, 4, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Sixteen photographs of two classes in two splits, written in shards of five."""
    monkeypatch.setattr(prepare, 'SHARD', 5)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    for number in range(16):
        place = tmp_path / 'photos' / ('val' if number % 4 == 3 else 'train') / ('n01' if number % 2 else 'n02')
        place.mkdir(parents=True, exist_ok=True)
        photograph(number, 20 + number, 40 - number).save(place / f'{number:02d}.JPEG', quality=95)
    return tmp_path / 'photos'


def made(folder, settings, out='out', workers=0, **more):
    given = prepare.plan(f'folder:{folder}', folder.parent / out, settings, **more)
    return given, prepare.carry_out(given, workers)


def opened(given, split):
    return open_source(given.name, split, given.directory.parents[1])


def content(place):
    return {str(file.relative_to(place)): file.read_bytes() for file in sorted(place.rglob('*')) if file.is_file()}


@pytest.mark.parametrize('square', [False, True])
def test_what_is_prepared_raw_is_what_the_folder_gives(folder, square):
    given, done = made(folder, RAW._replace(square=square))
    for split in ('train', 'val'):
        there, ours = open_source(f'folder:{folder}', split, class_names=('n01', 'n02')), opened(given, split)
        assert (ours.class_names, ours.num_examples) == (there.class_names, there.num_examples)
        places = np.argsort(ours.read.file_names(range(ours.num_examples)))
        expected, labels = there.read(np.argsort(there.read.file_names(range(there.num_examples))))
        found, own = ours.read(places)
        assert own.tolist() == labels.tolist()
        assert ours.image_shape == ((16, 16, 3) if square else None)
        for one, other in zip(found, expected, strict=True):
            assert min(one.shape[:2]) == 16 and (one.shape[:2] == (16, 16) or not square)
            np.testing.assert_array_equal(stream.resized(one, 16), stream.resized(other, 16))
        assert there.fingerprint in (given.directory / 'dataset_info.json').read_text()
    assert done.counts == {'train': (12, 12), 'val': (4, 4)} and not done.unreadable
    assert opened(given, 'train').fingerprint != opened(given, 'val').fingerprint


@pytest.mark.parametrize('square', [False, True])
def test_jpegs_of_it_are_near_and_tfds_reads_them_itself(folder, square):
    import tensorflow_datasets as tfds

    raw, jpeg = (made(folder, settings._replace(square=square), name=settings.form)[0] for settings in (RAW, JPEG))
    sources = [tfds.builder_from_directory(given.directory).as_data_source(split='train') for given in (raw, jpeg)]
    for one, other in zip(*sources, strict=True):
        assert one['file_name'] == other['file_name'] and one['label'] == other['label'] and one['image'].dtype == np.uint8
        assert one['image'].shape == other['image'].shape and min(one['image'].shape[:2]) == 16
        assert np.abs(one['image'].astype(int) - other['image']).mean() < 6
    for given, index in ((raw, 0), (jpeg, 1)):
        pixels = opened(given, 'train').read([3])[0][0]
        np.testing.assert_allclose(pixels.astype(int), sources[index][3]['image'], atol=2)


def spoil(folder):
    """What folders really hold, beside photographs; how many of it cannot be read, and how many are no images."""
    place = folder / 'train' / 'n01'
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(50).save(place / 'turned.jpg', exif=exif)
    photograph(51).convert('CMYK').save(place / 'cmyk.jpg')
    photograph(52).convert('L').save(place / 'grey.jpg')
    photograph(53, 70, 99).save(place / 'large.jpg')
    photograph(54).convert('RGBA').save(place / 'named_as_a.JPEG', 'PNG')
    whole = (place / 'large.jpg').read_bytes()
    (place / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    (place / 'empty.jpg').write_bytes(b'')
    (place / 'text.jpg').write_bytes(b'no image at all')
    (place / 'notes.txt').write_text('of the photographer')
    return 3, 1


@pytest.mark.parametrize('with_fast', [True, False])
def test_what_cannot_be_read_is_listed_and_counted(folder, monkeypatch, with_fast):
    if with_fast and images.fast() is None:
        pytest.skip('simplejpeg is not installed')
    if not with_fast:
        monkeypatch.setattr(images, 'fast', lambda: None)
    bad, others = spoil(folder)
    given, done = made(folder, RAW)
    assert done.counts['train'] == (12 + 5 + bad + others, 12 + 5) and done.unreadable == bad
    with open(done.table, newline='') as file:
        rows = list(csv.DictReader(file))
    assert {row['file'] for row in rows} == {'n01/cut.jpg', 'n01/empty.jpg', 'n01/text.jpg'}
    assert all(row['split'] == 'train' and row['why'].isprintable() and row['why'] for row in rows)
    said = ' '.join(opened(given, 'train').notes)
    for words in ('17 of 21 images', '3 unreadable', '1 no images', '1 in CMYK', '1 set upright', '1 grey', '1 decoded at', 'n01/cut.jpg'):
        assert words in said, words
    # The fingerprint is that of the folder without what was left out.
    for name in ('cut.jpg', 'empty.jpg', 'text.jpg', 'notes.txt'):
        (folder / 'train' / 'n01' / name).unlink()
    there = open_source(f'folder:{folder}', 'train')
    assert there.fingerprint in (given.directory / 'dataset_info.json').read_text()
    ours = opened(given, 'train')
    by_name = dict(zip(ours.read.file_names(range(17)), ours.read(range(17))[0], strict=True))
    for name in ('turned', 'cmyk', 'grey'):
        full = images.decoded((folder / 'train' / 'n01' / f'{name}.jpg').read_bytes(), 3, name, True)
        np.testing.assert_array_equal(by_name[f'n01/{name}.jpg'], images.scaled(full, 16))


def test_interrupted_after_any_shard_it_ends_in_the_same_bytes(folder, monkeypatch):
    whole = content(made(folder, JPEG, 'whole')[0].directory)
    write, given = prepare_shard.write, prepare.plan(f'folder:{folder}', folder.parent / 'cut', JPEG)
    total = sum(map(len, given.jobs().values()))
    assert total == 4
    for allowed in range(total):
        left = [1] if allowed else []  # one shard more each time

        def some(job, left=left):
            if not left:
                raise KeyboardInterrupt
            left.pop()
            return write(job)

        monkeypatch.setattr(prepare_shard, 'write', some)
        with pytest.raises(KeyboardInterrupt):
            prepare.carry_out(given, 0)
        with pytest.raises(SourceError, match='not whole: its preparation goes on'):
            opened(given, 'train')
    monkeypatch.setattr(prepare_shard, 'write', write)
    (given.directory / '.a-shard.0123.partial').write_bytes(b'of a process that was killed')
    prepare.carry_out(given, 0)
    found = content(given.directory)
    assert found.keys() == whole.keys()
    assert {name for name in whole if found[name] != whole[name]} == {'prepare.json'}  # which says where it lies
    monkeypatch.setattr(prepare_shard, 'write', None)  # nothing is left to be done
    assert prepare.carry_out(given, 0).counts == {'train': (12, 12), 'val': (4, 4)} and content(given.directory) == found


@pytest.mark.parametrize('harm', ['flipped', 'cut', 'gone', 'record'])
def test_a_damaged_shard_is_found_and_written_again(folder, harm):
    given, _ = made(folder, JPEG)
    whole, job = content(given.directory), given.jobs()['train'][1]
    found = bytearray(job.path.read_bytes())
    found[len(found) // 2] ^= 1
    if harm in ('flipped', 'cut'):
        job.path.write_bytes(bytes(found) if harm == 'flipped' else bytes(found[:-1]))
    else:
        (job.path if harm == 'gone' else job.told).unlink()
    if harm == 'flipped':
        with pytest.raises(SourceError, match='00001-of-00003 is not what was written; give the same command again'):
            prepare.carry_out(given, 0)
    prepare.carry_out(given, 0)
    assert content(given.directory) == whole


def test_nothing_is_mixed_or_overwritten(folder):
    given, _ = made(folder, JPEG)
    before = content(given.directory)
    with pytest.raises(
        ConfigError,
        match=r'otherwise: settings was side=16, form=jpeg, quality=95, square=False, now side=16, form=jpeg, quality=90, square',
    ):
        made(folder, JPEG._replace(quality=90))
    (folder / 'train' / 'n01' / '01.JPEG').rename(folder / 'train' / 'n01' / '99.JPEG')
    with pytest.raises(ConfigError, match='otherwise: images was'):
        made(folder, JPEG)
    assert content(given.directory) == before
    (folder.parent / 'other' / 'mine' / '1.0.0').mkdir(parents=True)
    (folder.parent / 'other' / 'mine' / '1.0.0' / 'thesis.txt').write_text('years')
    with pytest.raises(ConfigError, match='holds something else'):
        made(folder, JPEG, 'other', name='mine')


@pytest.mark.parametrize(
    ('more', 'settings', 'words'),
    [
        ({'name': 'a/b'}, JPEG, 'give --name'),
        ({'splits': ['trian']}, JPEG, 'Did you mean train'),
        ({}, JPEG._replace(side=0), 'side=0 is out of range'),
        ({}, JPEG._replace(quality=101), 'quality=101'),
        ({}, JPEG._replace(form='png'), 'jpeg, raw'),
    ],
)
def test_what_cannot_be_prepared_is_one_line(folder, more, settings, words):
    with pytest.raises(ResearchError, match=words) as raised:
        made(folder, settings, **more)
    assert str(raised.value).isprintable() and not (folder.parent / 'out').exists()


def test_a_full_disk_is_one_line(folder, monkeypatch):
    def full(*names):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(prepare_shard.os, 'fsync', full)
    with pytest.raises(WriteError, match='No space left'):
        prepare_shard.write(prepare.plan(f'folder:{folder}', folder.parent / 'out', JPEG).jobs()['train'][0])
    assert not [file for file in (folder.parent / 'out').rglob('*') if file.is_file()]


def test_a_process_that_is_killed_is_one_line():
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool, pytest.raises(SourceError, match='the same command goes on'):
        list(prepare._each(pool, os._exit, [3]))


def test_a_prepared_set_is_prepared_again_without_what_has_no_label(folder):
    first, _ = made(folder, RAW._replace(side=18), name='first')
    given = prepare.plan('first', folder.parent / 'out', RAW, data_dir=folder.parent / 'out')
    done = prepare.carry_out(given, 0)
    assert given.name == 'first_16' and done.counts == {'train': (12, 12), 'val': (4, 4)}
    whole, small = (opened(one, 'train') for one in (first, given))
    assert whole.fingerprint in (given.directory / 'dataset_info.json').read_text() and small.class_names == whole.class_names
    for big, little in zip(whole.read(range(12))[0], small.read(range(12))[0], strict=True):
        np.testing.assert_array_equal(images.scaled(big, 16), little)


def test_one_command_at_a_time_prepares_in_a_folder(folder, monkeypatch, capsys):
    out = folder.parent / 'out'
    given = prepare.plan(f'folder:{folder}', out, RAW)
    line = (f'--source=folder:{folder}', f'--out={out}', '--side=16', '--form=raw', '--workers=1')
    prepare._claim(given)
    with files.claimed(given.directory):
        code, _, error = called(prepare_command, monkeypatch, capsys, *line)
        assert code == 2 and f'another process works in {given.directory}' in error
    assert called(prepare_command, monkeypatch, capsys, *line)[0] == 0 and opened(given, 'train').num_examples == 12


_KILLED = """
import sys
from cnn_research.data import prepare, prepare_shard
prepare.SHARD = 5
if __name__ == '__main__':
    given = prepare.plan(sys.argv[1], sys.argv[2], prepare_shard.Settings(16, 'jpeg', 95))
    prepare.carry_out(given, 2, lambda line: print(line, flush=True))
    print('done', flush=True)
"""


@pytest.mark.slow
def test_killed_with_its_processes_at_work_it_goes_on(folder):
    whole = content(made(folder, JPEG, 'whole')[0].directory)
    script = folder.parent / 'script.py'
    script.write_text(_KILLED)
    line = [sys.executable, str(script), f'folder:{folder}', str(folder.parent / 'out')]
    root = pathlib.Path(__file__).resolve().parents[2]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=root, env={'PYTHONPATH': str(root), 'PATH': ''}) as first:
        assert '0 of 4' in first.stdout.readline()
        first.stdout.readline()  # one shard is there
        first.send_signal(signal.SIGKILL)
    time.sleep(3)  # its processes end by themselves
    left = subprocess.run(['ps', '-eo', 'pid,args'], capture_output=True, text=True).stdout
    assert str(script) not in left
    again = subprocess.run(line, capture_output=True, text=True, cwd=root, env={'PYTHONPATH': str(root), 'PATH': ''}, check=True)
    assert again.stdout.endswith('done\n') and '0 of 4 shards' not in again.stdout
    found = content(folder.parent / 'out' / 'photos_16' / '1.0.0')
    assert {name for name in whole if not name.endswith('.json') and found[name] != whole[name]} == set()
