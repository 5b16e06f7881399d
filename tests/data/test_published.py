"""Published files, served by a server on this machine, become the sets that TFDS prepares: the same examples in the same order."""

import functools
import gzip
import hashlib
import http.server
import io
import re
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from called import called

from cnn_research.data import clutter, layout, prepared, published
from cnn_research.data.sources import open_source
from cnn_research.errors import SourceError
from experiments import fetch


class Server(http.server.BaseHTTPRequestHandler):
    """Serves .files {name: bytes}; .ranges: whether it goes on where it was left; .cut: after how many bytes it hangs up, once."""

    files: dict = {}
    ranges, cut, asked = True, None, []

    def do_GET(self):
        data, name = self.files.get(self.path[1:]), self.path[1:]
        begin = int((self.headers['Range'] or 'bytes=0-').removeprefix('bytes=').removesuffix('-')) if self.ranges else 0
        self.asked.append((name, begin))
        if data is None or begin >= len(data):
            self.send_error(404 if data is None else 416)
            return
        self.send_response(206 if begin else 200)
        self.send_header('Content-Length', str(len(data) - begin))
        self.end_headers()
        self.wfile.write(data[begin:][: self.cut])
        type(self).cut = None

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """A function of {name: bytes} and settings -> (address, the handler)."""
    running = []

    def start(files, **settings):
        handler = type('Handler', (Server,), {'files': files, 'asked': [], **settings})
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
        threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True).start()
        running.append(server)
        return f'http://127.0.0.1:{server.server_address[1]}', handler

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + b''.join(int(side).to_bytes(4, 'big') for side in array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0, compresslevel=1)


def mnist_files(splits):
    """{name: bytes} of {split: (images, labels)} in the published order."""
    parts = {'train': 'train', 'test': 't10k'}
    files = {f'{parts[split]}-images-idx3-ubyte.gz': idx(images[..., 0]) for split, (images, _) in splits.items()}
    return files | {f'{parts[split]}-labels-idx1-ubyte.gz': idx(np.uint8(labels)) for split, (_, labels) in splits.items()}


def cifar_files(splits):
    def rows(images, labels):
        planes = [images[..., channel].reshape(len(images), -1) for channel in range(3)]
        return np.concatenate([np.uint8(labels)[:, None], *planes], axis=1).tobytes()

    file, size = io.BytesIO(), len(splits['train'][1]) // 5
    with tarfile.open(fileobj=file, mode='w:gz', compresslevel=1) as archive:
        batches = {f'data_batch_{part + 1}.bin': [a[size * part : size * (part + 1)] for a in splits['train']] for part in range(5)}
        for name, batch in {**batches, 'test_batch.bin': splits['test']}.items():
            entry = tarfile.TarInfo(f'cifar-10-batches-bin/{name}')
            entry.size = len(data := rows(*batch))
            archive.addfile(entry, io.BytesIO(data))
    return {'cifar-10-binary.tar.gz': file.getvalue()}


def taken_for(monkeypatch, name, files):
    """Has these files count as the published ones."""
    known = published.SETS[name]
    pinned = tuple(published.File(f.url, len(files[f.name]), hashlib.sha256(files[f.name]).hexdigest()) for f in known.files)
    monkeypatch.setitem(published.SETS, name, known._replace(files=pinned))


def small(count=40):
    images, labels = clutter.digits('train')
    return {'train': (images[:count, ..., None], labels[:count]), 'test': (images[count : 2 * count, ..., None], labels[count : 2 * count])}


def colour(count=40):
    random = np.random.default_rng(0)
    return {split: (random.integers(0, 256, (count, 32, 32, 3), np.uint8), random.integers(0, 10, count)) for split in ('train', 'test')}


def check_same(root, name, splits):
    """The prepared set holds the examples of {split: (images, labels)}, in TFDS's order."""
    for split, (images, labels) in splits.items():
        source = open_source(name, split, root)
        numbers = layout.order(split, range(len(images)))
        found, told = source.read(np.arange(len(images)))
        assert source.num_examples == len(images) and not source.notes
        np.testing.assert_array_equal(np.stack(found), images[numbers])
        np.testing.assert_array_equal(told, labels[numbers])


@pytest.mark.parametrize(('name', 'splits', 'packed'), [('mnist', small(), mnist_files), ('cifar10', colour(), cifar_files)])
def test_published_files_become_a_prepared_set(name, splits, packed, serve, monkeypatch, capsys, tmp_path):
    files = packed(splits)
    taken_for(monkeypatch, name, files)
    address, handler = serve(files)
    code, out, err = called(fetch, monkeypatch, capsys, f'--name={name}', f'--out={tmp_path}', f'--mirror={address}')
    assert (code, err) == (0, '') and f'{name}:{published.SETS[name].version} (train): 40 examples of 10 classes' in out
    check_same(tmp_path, name, splits)
    assert open_source(name, 'train', tmp_path).class_names == published.SETS[name].classes
    asked, stamp = len(handler.asked), {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
    code, out, _ = called(fetch, monkeypatch, capsys, f'--name={name}', f'--out={tmp_path}', f'--mirror={address}')
    assert code == 0 and len(handler.asked) == asked and any('already' in line for line in out)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')} == stamp


@pytest.mark.parametrize('ranges', [True, False])
def test_an_interrupted_download_goes_on(ranges, serve, monkeypatch, tmp_path):
    files = mnist_files(small())
    taken_for(monkeypatch, 'mnist', files)
    address, handler = serve(files, ranges=ranges, cut=100)
    with pytest.raises(SourceError, match=r'cannot be fetched \(.*\)\. Give the same command again .*--mirror=URL, or put train-images'):
        published.fetch('mnist', tmp_path, address)
    home = published.fetch('mnist', tmp_path, address)
    assert handler.asked[:2] == [('train-images-idx3-ubyte.gz', 0), ('train-images-idx3-ubyte.gz', 100 if ranges else 0)]
    assert len(handler.asked) == 5 and not list(tmp_path.rglob('*.partial'))
    check_same(home.parents[1], 'mnist', small())


def test_other_files_than_the_published_ones_are_refused(serve, monkeypatch, tmp_path):
    files = mnist_files(small())
    taken_for(monkeypatch, 'mnist', files)
    name = 'train-images-idx3-ubyte.gz'
    for wrong in (files[name][:-1] + b'x', files[name] + b'x', files[name][:-9]):
        address, _ = serve({**files, name: wrong})
        with pytest.raises(SourceError, match='is not the published file|cannot be fetched'):
            published.fetch('mnist', tmp_path, address)
        for path in (tmp_path / 'downloads').glob(f'{name}*'):
            path.unlink()
    assert not (tmp_path / 'mnist').exists()
    # What a user put there by hand is not deleted.
    (tmp_path / 'downloads' / name).write_bytes(b'mine')
    with pytest.raises(SourceError, match=f'{name} is not the published file: 4 bytes .*; delete it'):
        published.fetch('mnist', tmp_path, address)
    assert (tmp_path / 'downloads' / name).read_bytes() == b'mine'


def test_without_a_network_files_come_by_hand(monkeypatch, tmp_path):
    files = mnist_files(small())
    taken_for(monkeypatch, 'mnist', files)
    (tmp_path / 'downloads').mkdir()
    for name, data in files.items():
        (tmp_path / 'downloads' / name).write_bytes(data)
    monkeypatch.setattr(published.urllib.request, 'urlopen', None)
    check_same(published.fetch('mnist', tmp_path).parents[1], 'mnist', small())


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ((), r"by the name ''; give --name=mnist or --name=cifar10\."),
        (('--name=cifar',), r'Did you mean cifar10\?'),
        (('--name=mnist', '--mirror=http://127.0.0.1:9'), r'127.0.0.1:9/train-images.* cannot be fetched \(.*refused.*9,912,422 bytes'),
        (('--name=mnist', '--mirror=file:///etc'), 'an address begins with http'),
        (('--name=cifar10', '--mirror=http://no host'), 'cannot be fetched'),
    ],
)
def test_what_cannot_be_fetched_is_said_on_one_line(arguments, said, monkeypatch, capsys, tmp_path):
    code, _, err = called(fetch, monkeypatch, capsys, *arguments, f'--out={tmp_path}')
    assert code == 2 and err.count('\n') == 1 and re.search(said, err)
    assert not [path for path in tmp_path.rglob('*') if path.is_file()]


@pytest.mark.parametrize('name', list(published.SETS))
def test_what_is_pinned_is_what_tfds_records(name):
    tfds = pytest.importorskip('tensorflow_datasets')
    lines = (Path(tfds.__file__).parent / 'url_checksums' / f'{name}.txt').read_text().splitlines()
    known = {published.File(url, int(size), digest) for url, size, digest, _ in (line.split('\t') for line in lines)}
    assert set(published.SETS[name].files) == known
    builder = tfds.builder_cls(name)
    assert str(builder.VERSION) == published.SETS[name].version
    assert tuple(published.SETS) == prepared.FETCHED


@pytest.mark.parametrize(('split', 'count'), [('train', 60000), ('test', 10000)])
def test_mnist_has_the_order_of_the_prepared_set(split, count, data_dir):
    if not (data_dir / 'mnist').is_dir():
        pytest.skip('no mnist')
    source, (images, labels) = open_source('mnist', split, data_dir), clutter.digits(split)  # the embedded ones are in the original order
    numbers = layout.order(split, range(count))
    chosen = np.flatnonzero(numbers < len(images))[:: len(images) // 150]
    found, told = source.read(chosen)
    np.testing.assert_array_equal(np.stack(found)[..., 0], images[numbers[chosen]])
    np.testing.assert_array_equal(told, labels[numbers[chosen]])


@pytest.mark.parametrize(('split', 'count'), [('train', 50000), ('test', 10000)])
def test_cifar10_has_the_order_of_the_prepared_set(split, count, data_dir):
    if not (data_dir / 'cifar10').is_dir():
        pytest.skip('no cifar10')
    chosen = np.arange(0, count, count // 150)
    records = open_source('cifar10', split, data_dir).read.records(chosen)  # which keep the number in the original order
    numbers = layout.order(split, range(count))[chosen]
    assert [record['id'].decode() for record in records] == [f'{split}_{number:05d}' for number in numbers]


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'packed', 'sizes'), [('mnist', mnist_files, (60000, 10000)), ('cifar10', cifar_files, (50000, 10000))])
def test_every_example_is_that_of_the_prepared_set(name, packed, sizes, data_dir, serve, monkeypatch, tmp_path):
    if not (data_dir / name).is_dir():
        pytest.skip(f'no {name}')
    splits, sources = {}, {split: open_source(name, split, data_dir) for split in ('train', 'test')}
    for (split, source), count in zip(sources.items(), sizes, strict=True):
        images, labels = source.read(np.arange(count))
        back = np.argsort(layout.order(split, range(count)))
        splits[split] = np.stack(images)[back], labels[back]
    files = packed(splits)
    taken_for(monkeypatch, name, files)
    address, _ = serve(files)
    published.fetch(name, tmp_path, address)
    for split, source in sources.items():
        ours = open_source(name, split, tmp_path)
        for start in range(0, source.num_examples, 5000):
            part = np.arange(start, start + 5000)
            for mine, theirs in zip(ours.read(part), source.read(part), strict=True):
                np.testing.assert_array_equal(np.stack(mine), np.stack(theirs))


def test_a_set_is_whole_when_it_is_described_and_not_before(monkeypatch, serve, tmp_path):
    files = mnist_files(small())
    taken_for(monkeypatch, 'mnist', files)
    address, _ = serve(files)
    whole = layout.write_shard
    monkeypatch.setattr(layout, 'write_shard', functools.partial(_fails_at_test, whole))
    with pytest.raises(KeyError):
        published.fetch('mnist', tmp_path, address)
    with pytest.raises(SourceError, match='incomplete.*python -m experiments.fetch --name=mnist --out='):
        open_source('mnist', 'train', tmp_path)
    monkeypatch.setattr(layout, 'write_shard', whole)
    check_same(published.fetch('mnist', tmp_path, address).parents[1], 'mnist', small())
    assert not [path for path in tmp_path.rglob('*') if '.partial' in path.name]


def _fails_at_test(whole, path, features, examples):
    def failing():
        for number, example in enumerate(examples):
            if '-test.' in path.name and number == 3:
                raise KeyError('killed')
            yield example

    return whole(path, features, failing())
