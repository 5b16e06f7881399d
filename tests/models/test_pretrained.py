"""Published weights compute here what they compute in the library that they come from, at every tap; another network's are refused."""

import argparse

import jax
import numpy as np
import published_files
import pytest
from published_files import FORMATS, NARROW, ORDERS, caffe_layers, caffemodel

from cnn_research import checkpoints
from cnn_research import config as configs
from cnn_research.data import augment
from cnn_research.errors import CheckpointError
from cnn_research.models import pretrained, zoo
from cnn_research.models.network import Network

torch = pytest.importorskip('torch')
nn = torch.nn

SIDE = 240


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """(folder, network): one narrow network in every format."""
    folder = tmp_path_factory.mktemp('published')
    return folder, published_files.write_all(folder)


def photograph(seed=0):
    """(1, SIDE, SIDE, 3) uint8, smooth and with a different mean in each channel."""
    grid = np.random.default_rng(seed).uniform(0, 1, (1, 3, 12, 12))
    smooth = nn.functional.interpolate(torch.tensor(grid), SIDE, mode='bilinear', align_corners=False).numpy()
    return (smooth * np.array([250, 180, 110])[:, None, None]).astype(np.uint8).transpose(0, 2, 3, 1)


def chw(images):
    return torch.tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)), dtype=torch.float32)


def assert_the_same_at_every_tap(net, variables, images, expected):
    """expected: PyTorch's arrays, B C H W or B F, one for each stage of the network."""
    seen = augment.prepare(images, variables['preprocessing'], net.input_shape)
    taps = [tap for tap in net.taps() if '.' in tap]
    found = Network(net).apply({'params': variables['params']}, seen, taps=taps)[1]
    expected = [array.detach().numpy() for array in expected]
    assert len(taps) == len(expected)
    for tap, theirs in zip(taps, expected, strict=True):
        ours = np.asarray(found[tap])
        if ours.ndim == 4:  # torchvision's dropout comes after flattening
            theirs = theirs.reshape(1, ours.shape[3], *ours.shape[1:3]).transpose(0, 2, 3, 1)
        scale = np.abs(theirs).max()
        assert theirs.std() > 0.01 * scale, tap
        assert np.abs(ours - theirs).max() < 1e-4 * scale, tap


def torchvision_input(images):
    """Centre crop, [0, 1], torchvision's mean and deviation."""
    edge = (SIDE - 224) // 2
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (chw(images)[:, :, edge : edge + 224, edge : edge + 224] / 255 - mean[:, None, None]) / deviation[:, None, None]


def test_a_torch_file_gives_torchs_activations(files):
    folder, net = files
    found, variables, *_ = pretrained.load(folder / 'state.pth', f'alexnet_owt {NARROW}')
    assert found == zoo.architecture(f'alexnet_owt {NARROW}') and set(variables) == {'params', 'preprocessing'}
    assert_the_same_at_every_tap(found, variables, photograph(), net.stages(torchvision_input(photograph())))


@pytest.mark.parametrize('name', FORMATS)
def test_every_format_holds_the_same(files, name):
    folder, net = files
    variables = pretrained.load(folder / name, f'alexnet_owt {NARROW}').variables
    expected = pretrained.load(folder / 'state.npz', f'alexnet_owt {NARROW}').variables
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    kernel = net.features[3].weight.detach().numpy()
    assert variables['params']['layer2']['convolution']['kernel'][1, 2, 3, 4] == kernel[4, 3, 1, 2]


@pytest.mark.parametrize('today', [True, False])
def test_what_a_training_in_torch_saves(tmp_path, today):
    """A checkpoint with all that scripts put into one, of a network within DataParallel, in bfloat16, by torch itself."""
    net = published_files.twin(f'alexnet_owt {NARROW}')
    optimizer = torch.optim.Adam(net.parameters())
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    saved = {
        **{'epoch': 90, 'arch': 'alexnet', 'best_acc1': torch.tensor(56.5), 'best': np.float64(3), 'args': argparse.Namespace(lr=0.1)},
        **{'optimizer': optimizer.state_dict(), 'scheduler': torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5]).state_dict()},
        'state_dict': torch.nn.DataParallel(net.bfloat16()).state_dict(),
    }
    torch.save(saved, tmp_path / 'x.pth.tar', _use_new_zipfile_serialization=today)
    found = pretrained.load(tmp_path / 'x.pth.tar', f'alexnet_owt {NARROW}')
    kernel = net.features[3].weight.detach().float().numpy()
    np.testing.assert_array_equal(found.variables['params']['layer2']['convolution']['kernel'], kernel.transpose(2, 3, 1, 0))
    assert found.notes[:4] == (
        'its state dict is read from its entry state_dict',
        'left aside: arch, args, best, best_acc1, epoch, optimizer and 1 more',
        'its names are read without module',
        'its numbers are bfloat16 in the file and float32 here',
    )


@pytest.mark.slow
def test_the_published_size_gives_torchs_activations(tmp_path):
    net = published_files.twin('alexnet_owt')
    published_files.write_by_torch(tmp_path / 'alexnet.pth', net)
    found, variables, *_ = pretrained.load(tmp_path / 'alexnet.pth')
    assert found == zoo.architecture('alexnet_owt')
    assert_the_same_at_every_tap(found, variables, photograph(), net.stages(torchvision_input(photograph())))


def test_classes_follow_the_file(tmp_path):
    net = published_files.twin('alexnet_owt resized(8=7)')
    published_files.write_by_torch(tmp_path / 'tuned.pth', net)
    trained = checkpoints.trained(tmp_path / 'tuned.pth')
    assert trained.architecture.num_classes == 7 and trained.architecture.name == 'alexnet_owt resized(8=7)' and trained.step == 0
    assert configs.network(configs.check(trained.config)) == trained.architecture and trained.config.data.resize == 256


def caffe_stages(layers, x):
    """What leaves each layer, computed on B, G, R maps as the prototxts of the two networks say."""
    functional = nn.functional
    for name, kind, arrays in layers:
        arrays = list(map(torch.tensor, arrays))
        if kind == 'Convolution':
            geometry = {'conv1': {'stride': 4}, 'conv2': {'padding': 2, 'groups': 2}, 'conv3': {'padding': 1}}
            x = functional.conv2d(x, *arrays, **geometry.get(name, {'padding': 1, 'groups': 2}))
        elif kind == 'InnerProduct':
            x = functional.linear(x.flatten(1), *arrays)
        elif kind == 'ReLU':
            x = x.relu()
        elif kind == 'LRN':
            x = functional.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1)
        elif kind == 'Pooling':
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        if kind not in ('Data', 'SoftmaxWithLoss'):
            yield x


def caffe_input(images, mean=None):
    """Planar B, G, R, less the mean, (3,) or (3, SIDE, SIDE) in the same order, then the centre crop."""
    mean = torch.tensor([104.0, 117.0, 123.0]) if mean is None else torch.tensor(mean)
    edge = (SIDE - 227) // 2
    return (chw(images).flip(1) - (mean if mean.dim() == 3 else mean[:, None, None]))[:, :, edge : edge + 227, edge : edge + 227]


@pytest.mark.parametrize(('name', 'old'), [('bvlc_alexnet', False), ('caffenet', True), ('caffenet', False)])
def test_a_caffemodel_gives_the_activations_of_the_same_weights_on_bgr_maps(tmp_path, name, old):
    layers = caffe_layers(name, NARROW)
    (tmp_path / 'x.caffemodel').write_bytes(caffemodel(layers, old))
    net, variables, *_ = pretrained.load(tmp_path / 'x.caffemodel', f'{name} {NARROW}')
    assert_the_same_at_every_tap(net, variables, photograph(), caffe_stages(layers, caffe_input(photograph())))


@pytest.mark.slow
@pytest.mark.parametrize('name', ORDERS)
def test_the_published_caffemodels_by_their_layers(tmp_path, name):
    layers = caffe_layers(name, '')
    (tmp_path / 'x.caffemodel').write_bytes(caffemodel(layers, old=name == 'caffenet'))
    net, variables, *_ = pretrained.load(tmp_path / 'x.caffemodel')
    assert net == zoo.architecture(name)
    assert_the_same_at_every_tap(net, variables, photograph(), caffe_stages(layers, caffe_input(photograph())))
    assert checkpoints.trained(tmp_path / 'x.caffemodel').architecture == net


def test_a_mean_file_is_subtracted_where_the_pixels_were(tmp_path):
    layers, path = caffe_layers('caffenet', NARROW), tmp_path / 'x.caffemodel'
    path.write_bytes(caffemodel(layers, old=False))
    image = np.random.default_rng(1).uniform(60, 180, (3, SIDE, SIDE)).astype('f4')
    blob = published_files.proto()['BlobProto'](num=1, channels=3, height=SIDE, width=SIDE, data=image.ravel())
    (tmp_path / 'mean.binaryproto').write_bytes(blob.SerializeToString())
    np.save(tmp_path / 'mean.npy', image)
    np.save(tmp_path / 'pixel.npy', image.mean((1, 2)))
    for file, mean in (('mean.binaryproto', image), ('mean.npy', image), ('pixel.npy', image.mean((1, 2)))):
        net, variables, *_ = pretrained.load(path, f'caffenet {NARROW}', tmp_path / file)
        seen = augment.prepare(photograph(), variables['preprocessing'], net.input_shape)
        np.testing.assert_allclose(np.asarray(seen)[..., ::-1], caffe_input(photograph(), mean).permute(0, 2, 3, 1), rtol=1e-5, atol=1e-4)
    np.save(tmp_path / 'grey.npy', image[0])
    for file, said in (('grey.npy', r'holds \(240, 240\); a mean in B, G, R is \(3,\)'), ('mean.png', r'end in \.npy, \.binaryproto')):
        with pytest.raises(CheckpointError, match=said):
            pretrained.load(path, f'caffenet {NARROW}', tmp_path / file)
