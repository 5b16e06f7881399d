"""Files of weights that are hostile, cut short or damaged: nothing in them is called, and one line says what is wrong."""

import collections
import io
import json
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import published_files
import pytest
from published_files import NARROW, caffe_layers, caffemodel, pickled, safetensors_bytes, torch_bytes, write, zipped

from cnn_research.errors import CheckpointError
from cnn_research.models import pretrained, state_pickle

FORMATS = ('state.pth', 'old.pth', 'state.safetensors', 'state.npz')
STATE = published_files.state()


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A folder with one narrow network in every format."""
    folder = tmp_path_factory.mktemp('published')
    for name in FORMATS:
        write(folder / name, STATE)
    return folder


def refused(path, match, expected=f'alexnet_owt {NARROW}', **kwargs):
    with pytest.raises(CheckpointError, match=match) as caught:
        pretrained.load(path, expected, **kwargs)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


class Calls:
    """Unpickled, it would make a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize('protocol', [2, 4])
def test_a_pickle_that_names_anything_else_is_refused_and_calls_nothing(tmp_path, protocol):
    folder = tmp_path / 'made'
    data = pickle.dumps(collections.OrderedDict(a=Calls(folder)), protocol)
    with zipfile.ZipFile(tmp_path / 'evil.pth', 'w') as archive:
        archive.writestr('archive/data.pkl', data)
    refused(tmp_path / 'evil.pth', r'names (posix|nt)\.mkdir, which is not loaded.*save model\.state_dict')
    (tmp_path / 'old.pth').write_bytes(data)
    refused(tmp_path / 'old.pth', r'names (posix|nt)\.mkdir')
    assert not folder.exists()
    pickle.loads(data)
    assert folder.exists()  # so that what was refused would have called something
    np.savez(tmp_path / 'evil.npz', a=np.array([Calls(tmp_path / 'other')], object))
    refused(tmp_path / 'evil.npz', 'holds object; objects and records are not read')
    assert not (tmp_path / 'other').exists()


def test_a_whole_model_instead_of_its_state_is_refused_by_name(tmp_path):
    torch = pytest.importorskip('torch')
    torch.save(torch.nn.Linear(2, 3), tmp_path / 'model.pth')
    refused(tmp_path / 'model.pth', r'names torch\.nn\.modules\.linear\.Linear, .*save model\.state_dict')


@pytest.mark.parametrize('name', [*FORMATS, 'net.caffemodel'])
def test_files_cut_short_are_refused(files, tmp_path, name):
    if name == 'net.caffemodel':
        data, expected = caffemodel(caffe_layers('caffenet', NARROW), old=True), f'caffenet {NARROW}'
    else:
        data, expected = (files / name).read_bytes(), f'alexnet_owt {NARROW}'
    path = tmp_path / name
    for kept in (0, 1, 7, 100, len(data) // 3, len(data) // 2, len(data) - 200, len(data) - 1):
        path.write_bytes(data[:kept])
        refused(path, 'cut short|refused|of another network|has no|is empty', expected=expected)


def test_damage_is_told_or_harmless_but_never_a_traceback(files, tmp_path):
    """Random bytes are changed where the structure is: in the pickle, the header, between a caffemodel's numbers."""
    with zipfile.ZipFile(files / 'state.pth') as archive:
        inner = {info.filename: archive.read(info) for info in archive.infolist()}
    pickled = next(name for name in inner if name.endswith('data.pkl'))

    def torch_file(data):
        file = io.BytesIO()
        with zipfile.ZipFile(file, 'w') as archive:
            for name, content in (inner | {pickled: data}).items():
                archive.writestr(name, content)
        return file.getvalue()

    tiny = [
        (name, kind, [array[:1, :1, :1, :1] if array.ndim == 4 else array[:1] for array in arrays])
        for name, kind, arrays in caffe_layers('caffenet', NARROW)
    ]
    cases = [
        ('x.pth', torch_file, inner[pickled], len(inner[pickled])),
        ('x.safetensors', bytes, (files / 'state.safetensors').read_bytes(), 1500),
        ('x.caffemodel', bytes, caffemodel(tiny, old=False), 900),
    ]
    rng = np.random.default_rng(0)

    def said(path, data):
        path.write_bytes(data)
        try:
            pretrained.load(path, f'{"caffenet" if path.suffix == ".caffemodel" else "alexnet_owt"} {NARROW}')
        except CheckpointError as error:
            return str(error)
        return ''

    for name, wrapped, data, reach in cases:
        whole, told = said(tmp_path / name, wrapped(data)), set()
        for _ in range(150):
            damaged = bytearray(data)
            damaged[rng.integers(reach)] = rng.integers(256)
            told.add(said(tmp_path / name, wrapped(bytes(damaged))))
        assert len(told - {whole}) > 10
        assert not any('\n' in line for line in told)


# Files that claim more than is there, or more than is read: refused before anything of that size is made.

HUGE = 10**5, 10**5  # 10^10 numbers


def npy(array, shape=None, dtype='<f4'):
    """The bytes of a .npy file, with another shape than the array's."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {'descr': dtype, 'fortran_order': False, 'shape': shape or array.shape})
    return file.getvalue() + array.tobytes()


def members(compression=zipfile.ZIP_STORED, **contents):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file.getvalue()


def claiming(data, name, size):
    """A zip whose directory gives a member another size."""
    place = data.rindex(b'PK\x01\x02', 0, data.rindex(name.encode()))
    return data[: place + 20] + size.to_bytes(4, 'little') * 2 + data[place + 28 :]


def pickle_of(opcodes):
    return zipped(b'\x80\x02' + opcodes + b'.', {})


def stretched(shape, strides):
    """A tensor of one stored number that says it has more."""
    data, storages = pickled({'a': np.zeros((7, 7), np.float32)})
    old = b'K\x07K\x07\x86'
    assert data.count(old) == 1
    dims = b''.join(b'J' + size.to_bytes(4, 'little') for size in shape) + b'\x86'
    place = data.index(old)
    rest = data[place:].replace(old, dims, 1)
    return zipped(data[:place] + rest.replace(b'K\x07K\x01\x86', b''.join(b'K' + bytes([s]) for s in strides) + b'\x86', 1), storages)


NINES = 10**9


def laughing(times):
    """2 ** times dicts to whoever walks through all of them."""
    value: dict = {}
    for _ in range(times):
        value = {'a': value, 'b': value}
    return value


CLAIMS = {
    'shape.safetensors': (safetensors_bytes(STATE, **{'features.0.weight': {'shape': HUGE}}), 'cut short'),
    'classes.safetensors': (safetensors_bytes(STATE, **{'classifier.6.bias': {'shape': [10**10]}}), 'cut short'),
    'offsets.safetensors': (safetensors_bytes(STATE, **{'features.0.bias': {'data_offsets': [0, 4 * 10**10]}}), 'reaches beyond'),
    'odd.safetensors': (safetensors_bytes(STATE, **{'features.0.bias': {'shape': [[8]]}}), 'cut short'),
    'sides.safetensors': (safetensors_bytes(STATE, **{'features.0.bias': {'shape': [1] * 99 + [8]}}), 'cut short'),
    'header.safetensors': ((10**10).to_bytes(8, 'little') + b'{}', 'header reaches beyond the end'),
    'long.safetensors': ((1 << 25).to_bytes(8, 'little') + b' ' * (1 << 25), 'header has 33,554,432 bytes'),
    'deep.safetensors': ((10**5).to_bytes(8, 'little') + b'[' * 10**5, 'cut short, damaged'),
    'list.safetensors': ((2).to_bytes(8, 'little') + b'[]', 'cut short, damaged'),
    'bytes.safetensors': ((2).to_bytes(8, 'little') + b'\xff\xfe', 'cut short, damaged'),
    'shape.npz': (members(**{'a.npy': npy(np.zeros(4, 'f4'), HUGE)}), r'an array of shape \(100000, 100000\)'),
    'negative.npz': (members(**{'a.npy': npy(np.zeros(4, 'f4'), (-1, 4))}), 'cut short'),
    'nested.npz': (members(**{'a.npy': npy(np.zeros(4, 'f4'), dtype='(' * 5000)}), 'cut short'),
    'text.npz': (members(**{'a.npy': b'text'}), 'cut short'),
    'member.npz': (claiming(members(**{'a.npy': npy(np.zeros(4, 'f4'), (NINES, 1))}), 'a.npy', 4 * 10**9), 'cut short'),
    'bomb.npz': (claiming(members(zipfile.ZIP_DEFLATED, **{'a.npy': npy(np.zeros(9, 'f4'))}), 'a.npy', 4 * 10**9), 'cut short'),
    'other.npz': (members(zipfile.ZIP_BZIP2, **{'a.npy': npy(np.zeros(9, 'f4'))}), 'compressed otherwise'),
    'view.pth': (stretched(HUGE, (0, 0)), 'reaches beyond its storage'),
    'strides.pth': (stretched((7, 7), (255, 255)), 'reaches beyond its storage'),
    'deflated.pth': (zipped(*pickled(STATE), zipfile.ZIP_DEFLATED), 'is compressed, as torch.save never does'),
    'string.pth': (pickle_of(b'\x8d' + (10**10).to_bytes(8, 'little') + b'a'), 'cut short'),
    'deep.pth': (pickle_of(b'K\x01' + b'\x85' * 10**4), 'holds no state dict'),
    'memo.pth': (pickle_of(b'}' + b'r\xff\xff\xff\xff' * 1000), 'holds no state dict'),
    'many.pth': (pickle_of(b']' * (1 << 15)), 'more than 16,384 operations'),
    'long.pth': (pickle_of(b']' * (1 << 23)), r'data.pkl has 8,388,611 bytes'),
    'marks.pth': (pickle_of(b'(' * 5000 + b't' * 5000), 'holds no state dict'),
    'hash.pth': (pickle_of(b'}' + b'K\x01' + b''.join(b'q\x00h\x00\x86' for _ in range(60)) + b'K\x01s'), 'key of a dict is a tuple'),
    'laughs.pth': (zipped(pickle.dumps(laughing(60), 2), {}), 'holds no state dict'),
    'itself.pth': (pickle_of(b'}q\x00U\x01ah\x00s'), 'holds no state dict'),
    'number.pth': (pickle_of(b'\x8b\x00\x00\x20\x00' + b'\x01' * (1 << 21)), 'holds no state dict'),
    'key.old.pth': (torch_bytes(STATE, old=True)[:-10], 'cut short|beyond'),
    'length.caffemodel': (b'\xa2\x06\xff\xff\xff\xff\x7f', 'reaches beyond the end'),
    'number.caffemodel': (b'\xa2' + b'\xff' * 20, 'more than 64 bits'),
    'fields.caffemodel': (b'\x08\x01' * 200_000, 'more than 100,000 fields'),
    'sides.caffemodel': (b'\xa2\x06\x0e\x3a\x0c\x3a\x0a\x0a\x08' + b'\xff' * 7 + b'\x7f', 'cut short'),
}


@pytest.mark.parametrize('name', CLAIMS)
def test_claims_are_refused_before_anything_is_allocated(tmp_path, monkeypatch, name):
    monkeypatch.setattr(state_pickle, 'MOST_WORK', 1 << 14)  # each costs time
    data, said = CLAIMS[name]
    path = tmp_path / name
    path.write_bytes(data)
    expected = f'{"caffenet" if path.suffix == ".caffemodel" else "alexnet_owt"} {NARROW}'
    tracemalloc.start()
    try:
        refused(path, said, expected=expected)
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()


def test_a_bomb_that_keeps_its_promise_is_refused_by_its_shape(tmp_path):
    """A deflated member of 100 MB in 100 kB: its shape is not that of the network, and it is never unpacked."""
    bomb = members(zipfile.ZIP_DEFLATED, **{'features.0.weight.npy': npy(np.zeros((5000, 5000), 'f4'))})
    (tmp_path / 'bomb.npz').write_bytes(bomb)
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    try:
        refused(tmp_path / 'bomb.npz', r'features.0.weight should be .*, but is \(5000, 5000\)')
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_a_network_of_too_many_classes_is_refused_before_it_is_read(tmp_path):
    """The claim is in a file as long as it says, most of which was never written."""
    arrays = {name: array for name, array in STATE.items() if not name.startswith('classifier.6')}
    outputs, start = 10**9, 8 + (1 << 16)
    header, place = {}, 0
    for name, shape in ((name, array.shape) for name, array in arrays.items()):
        header[name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [place, place := place + 4 * int(np.prod(shape))]}
    for name, shape in (('classifier.6.weight', (outputs, 20)), ('classifier.6.bias', (outputs,))):
        header[name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [place, place := place + 4 * int(np.prod(shape))]}
    with (tmp_path / 'x.safetensors').open('wb') as file:
        file.write((1 << 16).to_bytes(8, 'little') + json.dumps(header).encode().ljust(1 << 16))
        file.truncate(start + place)
    path = tmp_path / 'x.safetensors'
    refused(path, r'should be \(10, 20\), but is \(1000000000, 20\)')
    wide = NARROW.replace('8=10', f'8={outputs}')
    refused(path, r'claims 21,000,0\d\d,\d\d\d numbers; 536,870,912 are read at most', expected=f'alexnet_owt {wide}')
    with (tmp_path / 'x.caffemodel').open('wb') as file:
        file.truncate(1 << 32)
    refused(tmp_path / 'x.caffemodel', r'it has 4,294,967,296 bytes; 2,147,483,648 are read at most', expected=f'caffenet {NARROW}')
