"""A trained network written for others and read back: the same to the bit, with its preprocessing and its classes' names."""

import json

import jax
import numpy as np
import published_files
import pytest
from published_files import NARROW, safetensors_bytes

from cnn_research import checkpoints
from cnn_research import config as configs
from cnn_research.data import augment
from cnn_research.errors import CheckpointError
from cnn_research.models import layouts, pretrained, zoo
from cnn_research.models.network import Network

OWT = f'alexnet_owt {NARROW}'


def variables(net, mean=None, seed=0):
    """Random parameters and a preprocessing, odd numbers among them."""
    rng = np.random.default_rng(seed)
    params = layouts.from_own({name: rng.normal(size=shape).astype('f4') for name, shape in layouts.own(net).items()})
    first = params[net.layers[0].name][net.layers[0].stages[0].name]['bias']
    first[:3] = -0.0, 1e-45, np.float32(1) / 3
    channels = net.input_shape[2]
    mean = rng.uniform(0, 255, channels) if mean is None else mean
    preprocessing = {'mean': mean, 'scale': rng.uniform(0, 1, channels), 'colour': rng.normal(size=(channels, channels))}
    return {'params': params, 'preprocessing': {name: np.asarray(array, np.float32) for name, array in preprocessing.items()}}


def same_bits(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    )


NETWORKS = [
    (OWT, 'torchvision'),
    (f'{OWT} replaced(5,dropout_rate=0.2)', 'torchvision'),
    (OWT.replace('8=10', '8=3'), 'torchvision'),
    (f'alexnet {NARROW}', 'own'),
    (f'caffenet {NARROW}', 'own'),
    (f'{OWT} without(3)', 'own'),
    (f'{OWT} replaced(1,nonlinearity=tanh)', 'own'),
    (f'{OWT} replaced(2,groups=2)', 'own'),
    ('alexnet_32', 'own'),
    ('lenet5', 'own'),  # partial maps, subsampling, an output that learns nothing
    ('cifar_11pct', 'own'),  # local connections
    ('squeezenet', 'own'),  # fire modules
]


@pytest.mark.parametrize(('name', 'layout'), NETWORKS)
@pytest.mark.parametrize('whole', [False, True], ids=['mean', 'mean image'])
def test_a_network_comes_back_to_the_bit(tmp_path, name, layout, whole):
    net, path = zoo.architecture(name), tmp_path / 'net.safetensors'
    mean = np.random.default_rng(1).uniform(0, 255, (9, 7, net.input_shape[2])) if whole else None
    given, names = variables(net, mean), [f'class {i}' for i in range(net.num_classes)]
    notes = pretrained.export(path, net, given, names, resize=40)
    found = pretrained.load(path)
    assert found.architecture == net and found.architecture.name == net.name and found.class_names == tuple(names) and found.resize == 40
    same_bits(found.variables, given)
    assert found.notes == ()
    assert notes[0].endswith("in torchvision's layout" if layout == 'torchvision' else 'own layout, H W I O')
    assert ('a mean image of 9 x 7 px is subtracted, which Normalize(mean, std) cannot do' in notes[1]) == whole
    assert layouts.is_torchvisions(net) == (layout == 'torchvision')
    assert [file.name for file in tmp_path.iterdir()] == ['net.safetensors']
    assert pretrained.load(path, name).architecture == net
    with pytest.raises(CheckpointError, match='holds .*, not alexnet_64'):
        pretrained.load(path, 'alexnet_64')


def test_the_zoo_has_one_network_of_torchvisions_layout():
    assert [name for name in zoo.NAMES if layouts.is_torchvisions(zoo.architecture(name))] == ['alexnet_owt']


@pytest.mark.parametrize(('name', 'resize'), [('alexnet_32', 0), (OWT, 256)])
def test_an_exported_file_is_a_trained_network(tmp_path, name, resize):
    net = zoo.architecture(name)
    pretrained.export(tmp_path / 'net.safetensors', net, variables(net), 'abcdefghij', resize)
    trained = checkpoints.trained(tmp_path / 'net.safetensors')
    assert trained.architecture == net and trained.config.data.resize == resize and trained.step == 0
    assert trained.class_names == tuple('abcdefghij')
    assert configs.network(configs.check(trained.config)) == net
    pretrained.export(tmp_path / 'nameless.safetensors', net, variables(net))
    assert pretrained.load(tmp_path / 'nameless.safetensors').class_names is None


def test_what_torch_and_safetensors_read(tmp_path):
    torch, library = pytest.importorskip('torch'), pytest.importorskip('safetensors.torch')
    net, path = zoo.architecture(OWT), tmp_path / 'net.safetensors'
    given = variables(net)
    notes = pretrained.export(path, net, given)
    twin = published_files.twin(OWT)
    twin.load_state_dict(library.load_file(path))
    with library.safe_open(path, 'pt') as file:
        assert file.metadata()['normalization'] in notes[1]
        normalization = file.metadata()['normalization'].removeprefix('Normalize(mean=').removesuffix(')')
    mean, std = (torch.tensor(json.loads(part))[:, None, None] for part in normalization.split(', std='))
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    theirs = (torch.tensor(images.transpose(0, 3, 1, 2)) / 255 - mean) / std
    seen = np.asarray(augment.prepare(images, given['preprocessing'], net.input_shape))
    np.testing.assert_allclose(theirs.permute(0, 2, 3, 1), seen, rtol=1e-4, atol=1e-3)
    ours = Network(net).apply({'params': given['params']}, seen)[0]
    expected = list(twin.stages(theirs))[-1].detach().numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())


def test_the_library_writes_what_is_read(tmp_path):
    library = pytest.importorskip('safetensors.numpy')
    arrays = published_files.state()
    library.save_file(arrays, tmp_path / 'x.safetensors', {'by': 'somebody'})
    published_files.write(tmp_path / 'x.npz', arrays)
    same_bits(*(pretrained.load(tmp_path / f'x.{kind}', OWT).variables for kind in ('safetensors', 'npz')))


def test_what_cannot_be_exported(tmp_path):
    net, path = zoo.architecture('lenet5'), tmp_path / 'net.safetensors'
    good = variables(net)

    def refused(said, path=path, net=net, given=good, names=(), resize=0):
        with pytest.raises(CheckpointError, match=said):
            pretrained.export(path, net, given, names, resize)
        assert not [file for file in tmp_path.rglob('*') if 'net' in file.name]

    def changed(name, array):
        return good | {'params': layouts.from_own(layouts.to_own(good['params']) | {name: array})}

    refused(r'ends in \.safetensors', tmp_path / 'net.pth')
    refused('cannot be written: No such file', tmp_path / 'none' / 'net.safetensors')
    (tmp_path / 'file').touch()
    refused('cannot be written: Not a directory', tmp_path / 'file' / 'net.safetensors')
    refused(
        r'not those of lenet5: layer4\.dense\.bias should be \(84,\), but is \(3,\)', given=changed('layer4.dense.bias', np.zeros(3, 'f4'))
    )
    refused('holds numbers that are not finite', given=changed('layer4.dense.bias', np.full(84, np.inf, 'f4')))
    refused('layer4.dense.bias is float64, not float32', given=changed('layer4.dense.bias', np.zeros(84)))
    refused('names of classes are not 10 names', names=['one'])
    refused('preprocessing is not one', given=good | {'preprocessing': {}})
    path.write_text('mine')
    with pytest.raises(CheckpointError, match='is there already; name another file'):
        pretrained.export(path, net, good)
    assert path.read_text() == 'mine'


# Files that say they are ours.


def test_what_a_file_says_of_itself_is_checked(tmp_path):
    net, path = zoo.architecture('lenet5'), tmp_path / 'net.safetensors'
    pretrained.export(path, net, variables(net))
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], 'little')
    metadata = json.loads(data[8:start])['__metadata__']
    arrays = layouts.to_own(variables(net)['params'])

    def refused(said, arrays=arrays, **changes):
        text = {name: value for name, value in (metadata | changes).items() if value is not None}
        path.write_bytes(safetensors_bytes(arrays, text))
        with pytest.raises(CheckpointError, match=said) as caught:
            pretrained.load(path)
        assert str(path) in str(caught.value) and '\n' not in str(caught.value) and len(str(caught.value)) < 900

    path.write_bytes(safetensors_bytes(arrays, metadata))
    same_bits(pretrained.load(path).variables, variables(net))
    layers = json.loads(metadata['architecture'])
    refused('cannot be read as JSON', architecture='{')
    refused('cannot be read as JSON', architecture='[' * 10**5)
    refused('damaged', architecture=None)
    refused('its architecture has 2,000,000 characters', architecture=' ' * 2_000_000)
    refused('unknown stage', architecture=metadata['architecture'].replace('ScaledTanh', 'Evil' * 999))
    refused('the name of a network', architecture=json.dumps(layers | {'name': ['x']}))
    refused('the name of a network', architecture=json.dumps(layers | {'name': 'two\nlines'}))
    refused('is not alexnet_32: layer1.convolution.kernel should be', architecture=zoo.architecture('alexnet_32').to_json())
    huge = json.dumps(layers).replace('"features": 120', f'"features": {10**9}')
    refused(r'layer3\.convolution\.kernel should be \(5, 5, 16, 1000000000\), but is', architecture=huge)
    refused('layout', layout='mine')
    refused('which lenet5 does not have', layout='torchvision alexnet')
    refused('resize -1', resize='-1')
    refused('damaged', resize='many')
    refused('names of classes are not 10 names', class_names='["a"]')
    refused('names of classes are not 10 names', class_names='[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]')
    refused('damaged', class_names='[' * 10**5)
    refused('preprocessing is not one of a network of 1 channels', preprocessing='{}')
    refused('damaged', preprocessing=json.dumps({'mean': {'shape': [10**10], 'float32': 'AAAA'}}))
    refused('damaged', preprocessing='[]')
    lost = {name: array for name, array in arrays.items() if name != 'layer3.convolution.bias'}
    refused(r'is not lenet5: layer3\.convolution\.bias \(120,\) is missing', arrays=lost)
    refused('it also has more', arrays=arrays | {'more': np.zeros(2, 'f4')})
    refused('not finite', arrays=arrays | {'layer3.convolution.bias': np.full(120, np.nan, 'f4')})
