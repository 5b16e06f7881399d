"""What is written is whole or not there, whoever else writes it; what is damaged says so."""

import errno
import json
import os
import pathlib
import threading

import numpy as np
import pytest

from cnn_research import features, files, journal
from cnn_research.errors import CheckpointError, WriteError
from cnn_research.reporting import figures
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table

DAMAGED = {
    'missing': None,
    'empty': b'',
    'truncated': b'{"a": 1',
    'not UTF-8': b'\xff\xfe{\x00}\x00',
    'a list': b'[1]',
    'a text': b'"x"',
    'null': b'null',
    'nan': b'NaN',
    'deep': b'[' * 100_000,
    'long number': b'{"a": ' + b'9' * 5000 + b'}',
    'half a character': b'{"a": "\\ud800"}',
}


@pytest.mark.parametrize('kind', DAMAGED)
def test_a_damaged_record_is_one_readable_line(kind, tmp_path):
    path = tmp_path / 'run.json'
    if DAMAGED[kind] is not None:
        path.write_bytes(DAMAGED[kind])
    with pytest.raises(CheckpointError, match=r'run\.json (is damaged|cannot be read)') as told:
        files.read_json(path)
    assert '\n' not in str(told.value) and len(str(told.value)) < len(str(path)) + 100


@pytest.mark.parametrize('value', [None, '1', [1], {}, True, float('nan'), float('inf'), 10**400])
def test_a_field_of_another_kind_is_named(value, tmp_path):
    path = tmp_path / 'result.json'
    path.write_text(json.dumps({'test': {'error': value}}))
    with pytest.raises(CheckpointError, match=r'test\.error is .*, not a finite number'):
        files.read_json(path, {'test': {'error': float}})
    with pytest.raises(CheckpointError, match=r'test\.error is 1\.5, which is not from 0 to 1'):
        files.check(path, {'test': {'error': 1.5}}, {'test': {'error': (0, 1)}})
    with pytest.raises(CheckpointError, match=r'test\.loss is missing'):
        files.read_json(path, {'test': {'loss': float}})
    path.write_text(json.dumps({'test': {'error': 1, 'more': value}}))
    assert files.read_json(path, {'test': {'error': float}})['test']['error'] == 1


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize('where', ['a folder', 'below a file', 'full'])
def test_what_cannot_be_written_leaves_what_was_there(where, tmp_path, monkeypatch):
    path = {'a folder': tmp_path / 'folder', 'below a file': tmp_path / 'kept' / 'new', 'full': tmp_path / 'kept'}[where]
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'kept').write_text('before')
    if where == 'full':
        monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(WriteError, match='cannot be written .* nothing that was kept before is lost') as told:
        files.write(path, 'after')
    assert str(path) in str(told.value) and '\n' not in str(told.value)
    assert (tmp_path / 'kept').read_text() == 'before' and sorted(p.name for p in tmp_path.iterdir()) == ['folder', 'kept']


def place(path):
    return Shelf(path, 'x', ())


TABLE = Table([Column('a')], [{'a': 1}])
WRITERS = {
    'a table': lambda path: place(path).table('t', TABLE),
    'a figure': lambda path: place(path).figure('f', figures.learning_curves([('a', [0, 1], [1, 2])], 'x', 'y'), 'caption'),
    'a text': lambda path: files.write(path / 'report.html', 'x'),
    'arrays': lambda path: files.write(path / 'arrays.npz', lambda file: np.savez(file, a=np.zeros(3))),
    'features': lambda path: features.kept(path, ['layer1'], lambda taps: {tap: np.zeros((2, 2)) for tap in taps}),
    'a log': lambda path: files.append(path / 'log.txt', 'x'),
    'anything': files.check_writable,
}


@pytest.mark.parametrize('kind', WRITERS)
def test_every_writer_names_the_place_that_takes_nothing(kind, tmp_path, monkeypatch):
    WRITERS[kind](tmp_path / 'good')
    (tmp_path / 'file').write_text('kept')
    with pytest.raises(WriteError, match='file.* cannot be written'):
        WRITERS[kind](tmp_path / 'file')
    if kind != 'a log':
        monkeypatch.setattr(os, 'fsync', full)
        with pytest.raises(WriteError, match='No space left on device'):
            WRITERS[kind](tmp_path / 'new')
        assert not [p for p in (tmp_path / 'new').rglob('*') if p.is_file()]
    assert (tmp_path / 'file').read_text() == 'kept'


@pytest.mark.parametrize('content', ['text', b'text', lambda file: np.savez(file, a=np.zeros(3))])
def test_through_a_link_its_file_is_written_and_a_device_stays_one(content, tmp_path):
    (tmp_path / 'kept').mkdir()
    for name in ('there', 'new'):
        (tmp_path / name).symlink_to(tmp_path / 'kept' / name)
    (tmp_path / 'kept' / 'there').write_text('before')
    for name in ('there', 'new'):
        files.write(tmp_path / name, content)
        assert (tmp_path / name).is_symlink() and (tmp_path / 'kept' / name).stat().st_size > 3
    (tmp_path / 'full').symlink_to('/dev/full')
    (tmp_path / 'null').symlink_to('/dev/null')
    files.write(tmp_path / 'null', content)
    with pytest.raises(WriteError, match='full cannot be written') as told:
        files.write(tmp_path / 'full', content)
    assert told.value.errno == errno.ENOSPC and (tmp_path / 'full').is_symlink() and pathlib.Path('/dev/full').is_char_device()
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    with pytest.raises(WriteError, match='loop'):
        files.write(tmp_path / 'loop', content)
    os.mkfifo(tmp_path / 'pipe')
    reader = os.open(tmp_path / 'pipe', os.O_RDONLY | os.O_NONBLOCK)
    files.write(tmp_path / 'pipe', content)
    assert os.read(reader, 10**5)[:1] in (b't', b'P') and (tmp_path / 'pipe').is_fifo()
    os.close(reader)


@pytest.mark.parametrize('kind', ['a file in the way', 'a folder called like a file', 'below a file'])
def test_a_place_that_is_taken_is_found_before_the_work(kind, tmp_path):
    home = tmp_path / 'run'
    files.check_writable(home, 'figures')
    assert not home.exists()  # nothing is claimed
    wrong = {'a file in the way': home / 'figures', 'a folder called like a file': home / 'report.html', 'below a file': home}[kind]
    if kind == 'a folder called like a file':
        wrong.mkdir(parents=True)
    else:
        wrong.parent.mkdir(exist_ok=True)
        wrong.write_text('kept')
    with pytest.raises(WriteError, match=f'{wrong} cannot be written'):
        files.check_writable(home, 'figures')
    assert [path for path in tmp_path.rglob('*') if path.is_file()] == ([wrong] if wrong.is_file() else [])


def test_many_write_one_file_at_once_and_every_reader_finds_it_whole(tmp_path):
    path, wrong = tmp_path / 'plan.json', []
    texts = [json.dumps([number] * 2000) for number in range(4)]
    files.write(path, texts[0])

    def work(text):
        try:
            for _ in range(15):
                files.write(path, text)
                assert path.read_text() in texts
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(text,)) for text in texts]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong and [p.name for p in tmp_path.iterdir()] == ['plan.json']


def test_content_may_be_text_bytes_or_a_function(tmp_path):
    for number, content in enumerate(('é', 'é'.encode(), lambda file: file.write('é'.encode()))):
        path = pathlib.Path(tmp_path / 'new' / str(number))
        files.write(path, content)
        assert path.read_text() == 'é'


def test_records_by_lines_and_lists_are_read_alike(tmp_path):
    path = tmp_path / 'timing.jsonl'
    path.write_text('{"seconds": 1}\n{"seconds": 2.5}\n{"seco')
    assert [line['seconds'] for line in files.read_lines(path, {'seconds': float})] == [1, 2.5]
    path.write_text('{"seconds": 1}\n{"seconds": "2"}\n')
    with pytest.raises(CheckpointError, match=r"line 2\.seconds is '2', not a finite number"):
        files.read_lines(path, {'seconds': float})
    path.write_text('{"seconds": 1}\n\n')
    with pytest.raises(CheckpointError, match='line 2 cannot be read as JSON'):
        files.read_lines(path)
    with pytest.raises(CheckpointError, match=r'trials\[1\] is None, not an object'):
        files.check('plan.json', {'trials': [{'row': 'a'}, None]}, {'trials': [{'row': str}]})


def test_times_that_cannot_be_read_count_nothing(tmp_path):
    path = tmp_path / 'timing.jsonl'
    path.write_text('{"seconds": 1}\n{"seconds": 1%s}\n{"seconds": [1]}\n[[\n{"seconds": 2}\n' % ('0' * 400))
    assert journal.seconds(tmp_path) == 3 and journal.waited(tmp_path) is None  # as nobody wrote it down then
    path.write_text('{"seconds": 1, "waited": 0}\n{"seconds": 1, "waited": 0.25}\n{"seconds": 1}\n')
    assert journal.seconds(tmp_path) == 3 and journal.waited(tmp_path) == 0.25
    path.unlink()
    path.symlink_to(path)
    assert journal.seconds(tmp_path) == 0
    path.unlink()
    path.mkdir()
    assert journal.seconds(tmp_path) == 0
