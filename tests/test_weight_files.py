"""Files of weights that are hostile, cut short or damaged: nothing in them is called, and one line says what is wrong."""

import collections
import io
import os
import pickle
import zipfile

import numpy as np
import published_files
import pytest
from published_files import FORMATS, NARROW, caffe_layers, caffemodel, torch

from cnn_research.errors import CheckpointError
from cnn_research.models import pretrained


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """(folder, network): one narrow network in every format."""
    folder = tmp_path_factory.mktemp('published')
    return folder, published_files.write_all(folder)


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
def test_a_pickle_that_names_anything_else_is_refused_and_calls_nothing(files, tmp_path, protocol):
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
    refused(tmp_path / 'evil.npz', 'Object arrays cannot be loaded')
    assert not (tmp_path / 'other').exists()


def test_a_whole_model_instead_of_its_state_is_refused_by_name(files, tmp_path):
    torch.save(files[1], tmp_path / 'model.pth')
    refused(tmp_path / 'model.pth', r'names .*published_files\.Twin, .*save model\.state_dict')
    torch.save({'epoch': 3, 'state_dict': files[1].state_dict()}, tmp_path / 'run.pth')
    refused(tmp_path / 'run.pth', 'holds no state dict')


@pytest.mark.parametrize('name', [*FORMATS, 'net.caffemodel'])
def test_files_cut_short_are_refused(files, tmp_path, name):
    if name == 'net.caffemodel':
        data, expected = caffemodel(caffe_layers('caffenet', NARROW), old=True), f'caffenet {NARROW}'
    else:
        data, expected = (files[0] / name).read_bytes(), f'alexnet_owt {NARROW}'
    path = tmp_path / name
    for kept in (0, 1, 7, 100, len(data) // 3, len(data) // 2, len(data) - 200, len(data) - 1):
        path.write_bytes(data[:kept])
        refused(path, 'cut short|refused|of another network', expected=expected)


def test_damage_is_told_or_harmless_but_never_a_traceback(files, tmp_path):
    """Random bytes are changed where the structure is: in the pickle, the header, between a caffemodel's numbers."""
    with zipfile.ZipFile(files[0] / 'state.pth') as archive:
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
        ('x.safetensors', bytes, (files[0] / 'state.safetensors').read_bytes(), 1500),
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
