"""Image folders: every file is read, or counted and named, or refused by name. Oracles: the arrays that the files were written from."""

import concurrent.futures
import json
import os
import pickle
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from cnn_research.data import cache, folders
from cnn_research.data.sources import joined, open_source, open_splits, same_place, subset
from cnn_research.errors import SourceError

CLASSES = {'train': ('cat', 'dog'), 'val': ('cat', 'emu')}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


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


def opened(folder, split='train', **more):
    return open_source(f'folder:{folder}', split, **more)


def test_folders(folder):
    for split, classes in CLASSES.items():
        source = opened(folder, split)
        assert source.class_names == classes and source.num_examples == 6 and source.image_shape == (6, 5, 3)
        images, labels = source.read(range(6))
        assert [source.class_names[label] for label in labels] == [label for label in classes for _ in range(3)]
        np.testing.assert_array_equal(images, [pixels(split, label, number) for label in classes for number in range(3)])
        np.testing.assert_array_equal(source.labels(), labels)
        again = pickle.loads(pickle.dumps(source.read))([5, 0])
        np.testing.assert_array_equal(again[0], [images[5], images[0]])


def test_grey_and_mixed_folders(folder):
    for path in (folder / 'val').rglob('[0-9].*'):
        Image.open(path).convert('L').save(path)
    grey = open_source(f'folder:{folder}', 'val')
    assert grey.image_shape == (6, 5, 1)
    assert grey.channels == 1 and all(image.shape == (6, 5, 1) for image in grey.read(range(6))[0])
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


def test_hashes_are_cached_where_that_is_possible(folder, home, tmp_path, monkeypatch):
    before = open_source(f'folder:{folder}', 'train').fingerprint
    (file,) = (home / 'cnn_research').iterdir()
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


# ---- what is walked, skipped and said


def put(path, value=7, mode='RGB', **more):
    """A 6 x 5 image of one value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (5, 6), value if mode == 'L' else (value,) * len(mode)).save(path, **more)


@pytest.fixture
def small(tmp_path):
    """train and test of two classes, one image each."""
    for number, name in enumerate(('train/a/1.png', 'train/b/1.png', 'test/a/1.png', 'test/b/1.png')):
        put(tmp_path / 'small' / name, number)
    return tmp_path / 'small'


def test_a_class_is_walked_down_and_read_by_content(small):
    put(small / 'train/a/deep/er/2.gif', 9)
    put(small / 'train/a/3.jp2', 11)
    put(small / 'train/a/4.png', 13)
    (small / 'train/a/4.png').rename(small / 'train/a/no extension')
    (small / 'linked').mkdir()
    put(small / 'linked/5.tga', 15)
    (small / 'train/a/link').symlink_to(small / 'linked')
    source = opened(small)
    assert [file for file in source.read.files if file.startswith('a/')] == [
        'a/1.png',
        'a/3.jp2',
        'a/deep/er/2.gif',
        'a/link/5.tga',
        'a/no extension',
    ]
    assert [int(image[0, 0, 0]) for image in source.read(range(5))[0]] == [0, 11, 9, 15, 13]
    assert source.labels().tolist() == [0] * 5 + [1] and not source.notes


def test_what_is_skipped_is_counted_and_named(small):
    place = small / 'train' / 'a'
    for name in ('notes.txt', 'sheet.csv', 'boxes.xml', 'clip.mpg.part', 'empty'):
        (place / name).write_text('' if name == 'empty' else 'x,y\n1,2\n')
    for name in ('.hidden.png', 'Thumbs.db', '.DS_Store', '._1.png'):
        (place / name).write_text('x')
    (place / 'drawing.eps').write_text('%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n')
    (place / 'gone.png').symlink_to(small / 'nowhere.png')
    (place / 'self.png').symlink_to('self.png')
    (place / 'up').symlink_to('..')
    os.mkfifo(place / 'pipe.png')
    put(small / 'train' / 'loose.png')
    put(small / 'train' / '__MACOSX' / 'a' / '1.png')
    (note,) = opened(small).notes
    assert note.startswith('train: 16 skipped: ')
    for said in (
        '6 not images (a/boxes.xml, a/clip.mpg.part, a/drawing.eps, ...)',
        '5 hidden or left by a system (__MACOSX, a/.DS_Store, a/._1.png, ...)',
        '2 broken links (a/gone.png, a/self.png)',
        '1 links to a folder above them (a/up)',
        '1 neither files nor folders (a/pipe.png)',
        '1 beside the class folders (loose.png)',
    ):
        assert said in note
    assert opened(small).notes == (note,)  # from the cache as well
    assert subset(opened(small), [0]).notes == (note,)


def test_folders_beside_the_splits_are_no_classes(small):
    before = [opened(small, split).fingerprint for split in ('train', 'test')]
    put(small / 'annotations/trimaps/1.png')
    put(small / '__MACOSX/train/._a/1.png')
    train, test = open_splits(f'folder:{small}', ('train', 'test'))
    assert train.class_names == test.class_names == ('a', 'b')
    assert [train.fingerprint, test.fingerprint] == before == [opened(small, split).fingerprint for split in ('train', 'test')]


def test_plain_numbers_are_ordered_as_numbers(tmp_path):
    for name in ('0', '1', '10', '2', '100'):
        put(tmp_path / 'train' / name / '1.png', int(name))
    source = opened(tmp_path)
    assert source.class_names == ('0', '1', '2', '10', '100')
    images, labels = source.read(range(5))
    assert [str(image[0, 0, 0]) for image in images] == [source.class_names[label] for label in labels]
    put(tmp_path / 'train' / 'x' / '1.png')
    assert opened(tmp_path).class_names == ('0', '1', '10', '100', '2', 'x')


def test_classes_are_those_of_the_first_split(small):
    put(small / 'train/c/1.png')
    train, test = open_splits(f'folder:{small}', ('train', 'test'))
    assert test.class_names == ('a', 'b', 'c') and test.labels().tolist() == [0, 1]
    assert test.notes == ('test: no images of 1 of the 3 classes (c).',)
    assert joined(train, test).labels().tolist() == [0, 1, 2, 0, 1]
    (small / 'test/empty').mkdir()
    assert any(
        '1 folders without images are no classes (empty)' in note for note in open_splits(f'folder:{small}', ('train', 'test'))[1].notes
    )
    with pytest.raises(SourceError, match=r'test has images of a, which is none of .*, aa, b\. Did you mean aa\?'):
        opened(small, 'test', class_names=('aa', 'b'))
    # The order of the given names is the order of the labels.
    assert opened(small, 'test', class_names=('b', 'a')).labels().tolist() == [0, 1]
    assert opened(small, 'test', class_names=('b', 'a')).read([0])[0][0][0, 0, 0] == 3


@pytest.mark.parametrize('content', [None, 'notes.txt', '.hidden.png'])
def test_a_class_without_training_images_is_refused(small, content):
    (small / 'train/zebra').mkdir()
    if content:
        (small / 'train/zebra' / content).write_text('x')
    with pytest.raises(SourceError, match=r'no images in train of zebra, a class folder beside a, b; add some, or take it away'):
        opened(small)
    assert opened(small, 'test').class_names == ('a', 'b')


MARKED = {
    'transparent': ('1.png', 'RGBA', {}, r'with transparency, composed on white \(a/1\.png\)'),
    'frames': (
        '1.gif',
        'L',
        {'save_all': True, 'append_images': [Image.new('L', (5, 6), 99)]},
        r'several frames or pages, of which the first',
    ),
    'cmyk': ('1.jpg', 'CMYK', {}, 'in CMYK, made RGB'),
}


@pytest.mark.parametrize('mark', MARKED)
def test_what_is_assumed_of_images_is_said(small, mark):
    name, mode, more, said = MARKED[mark]
    (small / 'train/a/1.png').unlink()
    plain = opened(small, class_names=('a', 'b')).fingerprint
    put(small / 'train/a' / name, 7, mode, **more)
    source = opened(small)
    (note,) = source.notes
    assert note.startswith('train: 1 of 2 images ') and source.fingerprint != plain
    assert re.search(said, note)


# ---- what is refused, in one line


def refused(folder, split='train', said=''):
    with pytest.raises(SourceError, match=said) as caught:
        opened(folder, split)
    assert '\n' not in str(caught.value) and str(caught.value).isprintable()


def test_every_damaged_image_is_found_at_opening_whatever_its_split(small):
    whole = (small / 'test/a/1.png').read_bytes()
    for name, content in {
        'empty.png': b'',
        'page.jpg': b'<html>not found</html>',
        'bomb.png': whole[:16] + (200_000).to_bytes(4, 'big') * 2 + whole[24:],
        'header.bmp': b'BM' + b'\xff' * 60,
        'header.tif': b'II*\0' + b'\xff' * 60,
    }.items():
        path = small / 'test/b' / name
        path.write_bytes(content)
        refused(small, 'test', rf'test/b/{name}.*(cannot be read as an image|at most)')
        path.unlink()
    for number in range(5):
        (small / f'test/b/{number}.png').write_text('x')
    refused(small, 'test', r'0\.png cannot.*1\.png cannot.*2\.png cannot.* 2 more files in .*test cannot be read')


def test_names_that_are_no_text_are_shown_and_read_or_refused(small):
    place = os.fsencode(small / 'train/a')
    shutil.copy(small / 'train/a/1.png', place + b'/\xff\n.png')
    source = opened(small)
    assert source.num_examples == 3 and len(source.read(range(3))[0]) == 3
    with open(place + b'/\xff\n.png', 'wb') as file:
        file.write(b'x')
    refused(small, said=r'\\udcff\\n\.png cannot be read')
    os.unlink(place + b'/\xff\n.png')
    os.mkdir(os.fsencode(small / 'train') + b'/\xfe')
    refused(small, said=r'class folder \\udcfe is not called by printable')


@pytest.mark.parametrize('name', ['folder:', 'folder:a\0b', 'folder:~nobody-of-this-name/x', 'folder:\udcff', 'folder:x\ny'])
def test_impossible_folders_are_refused(name):
    with pytest.raises(SourceError) as caught:
        open_source(name, 'train')
    assert str(caught.value).isprintable()


def test_files_in_the_place_of_folders_are_refused(small):
    (small / 'val').write_text('x')
    refused(small, 'val', r"no split 'val'; folders in .*: test, train")
    refused(small / 'val', 'train', r'val is no folder')
    put(small / 'loose' / '1.png')
    refused(small, 'loose', r'no images in class folders.*1 beside the class folders \(1\.png\)')


@pytest.mark.parametrize('closed', ['', 'train', 'train/a', 'train/a/deep', 'train/a/1.png'])
def test_unreadable_places_are_refused_by_name(small, monkeypatch, closed):
    (small / 'train/a/deep').mkdir()
    forbidden, scandir = str(small / closed).rstrip('/'), os.scandir

    def guarded(path='.'):
        if str(path).rstrip('/') == forbidden:
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    def opening(path, *rest, **more):
        if str(path) == forbidden:
            raise PermissionError(13, 'Permission denied', path)
        return open(path, *rest, **more)

    monkeypatch.setattr(os, 'scandir', guarded)
    monkeypatch.setattr(folders, 'open', opening, raising=False)
    refused(small, said=rf'{forbidden} cannot be read: Permission denied')


# ---- content, not place


def test_the_same_folder_by_other_names(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'link').symlink_to(small)
    names = [f'folder:{small}', f'folder:{small}/', 'folder:small', 'folder:./small/', 'folder:link', 'folder:small/../small']
    assert len({open_source(name, 'train').fingerprint for name in names}) == 1
    assert all(same_place(names[0], name) for name in names)
    assert not same_place(names[0], f'folder:{small}/train') and not same_place(names[0], 'mnist') and same_place('mnist', 'mnist')
    before = opened(small).fingerprint
    os.rename(small, tmp_path / 'moved')
    assert opened(tmp_path / 'moved').fingerprint == before
    (tmp_path / 'moved/train/a/1.png').rename(tmp_path / 'elsewhere')
    (tmp_path / 'moved/train/a/1.png').symlink_to(tmp_path / 'elsewhere')
    assert opened(tmp_path / 'moved').fingerprint == before


@pytest.mark.parametrize('content', ['', '[]', '7', '"x"', '[' * 100_000, '\xff', '{"a/1.png": 3, "b/1.png": [1, 2]}', None])
def test_a_damaged_cache_is_not_believed(small, home, content):
    before = opened(small)
    (file,) = (home / 'cnn_research').iterdir()
    if content is None:  # the right size and time, and nonsense
        found = json.loads(file.read_text())
        file.write_text(json.dumps({name: [*facts[:2], 5, 'x', None, [], {}] for name, facts in found.items()}))
    else:
        file.write_bytes(content.encode('latin-1'))
    after = opened(small)
    assert (after.fingerprint, after.image_shape, after.notes) == (before.fingerprint, before.image_shape, before.notes)
    assert json.loads(file.read_text()).keys() == {'a/1.png', 'b/1.png'}


def test_the_cache_is_written_by_many_at_once_and_by_none_without_a_home(small, home, monkeypatch):
    path = cache.place('x.json')
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: cache.remember(path, {'number': [number] * 500}), range(40)))
    assert len(set(cache.recall(path)['number'])) == 1 and [entry.name for entry in path.parent.iterdir()] == ['x.json']
    monkeypatch.setenv('XDG_CACHE_HOME', '')
    monkeypatch.setattr(os.path, 'expanduser', lambda path: path)  # nobody's home
    assert cache.place('x.json') is None
    assert opened(small).num_examples == 2
