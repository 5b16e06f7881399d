"""Somebody's weights: what a file does otherwise is read and said in a line each, another network's is refused in one short line."""

import argparse
import os
import re

import ml_dtypes
import numpy as np
import published_files
import pytest
from published_files import CLASSIFIER, NARROW, caffe_layers, caffemodel, safetensors_bytes, torch_bytes, write

from cnn_research import checkpoints, classes
from cnn_research import config as configs
from cnn_research.data import augment
from cnn_research.errors import ArchitectureError, CheckpointError
from cnn_research.models import layouts, pretrained, zoo

OWT = f'alexnet_owt {NARROW}'
STATE = published_files.state()
KINDS = ('.pth', '.pt', '.pth.tar', '.ckpt', '.safetensors', '.npz')


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """The network of the file that needs no note but what it does not say."""
    path = tmp_path_factory.mktemp('plain') / 'state.npz'
    write(path, STATE)
    return pretrained.load(path, OWT)


def same(found, plain, rounded=None):
    """Whether the parameters are the same arrays, or the same after rounding to a type."""
    for layer, stages in plain.variables['params'].items():
        for stage, learned in stages.items():
            for name, array in learned.items():
                there = found.variables['params'][layer][stage][name]
                expected = array if rounded is None else array.astype(rounded)
                assert there.dtype == np.float32
                np.testing.assert_array_equal(there, expected.astype(np.float32))


def refused(path, match, expected=OWT, **kwargs):
    with pytest.raises(CheckpointError, match=match) as caught:
        pretrained.load(path, expected, **kwargs)
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 900 and str(caught.value).isprintable()
    assert str(path) in str(caught.value) or ascii(str(path)) in str(caught.value)


@pytest.mark.parametrize('name', ['state.pth', 'old.pth', 'state.PT', 'state.safetensors'])
def test_the_formats_hold_the_same(plain, tmp_path, name):
    write(tmp_path / name, STATE)
    found = pretrained.load(tmp_path / name, OWT)
    same(found, plain)
    assert found.notes == plain.notes and found.architecture == zoo.architecture(OWT) and found.resize == 256
    assert len(found.notes) == 1 and found.notes[0].startswith("assumed, for the file does not say: torchvision's mean and deviation")


def named(change):
    return {change(name): array for name, array in STATE.items()}


def without_classifier(**others):
    return {name: array for name, array in STATE.items() if name not in CLASSIFIER} | others


LAST = {name.rpartition('.')[2]: STATE[name] for name in CLASSIFIER}
HYPER = {'lr': 0.1, 'betas': (0.9, 0.999), 'params': [0, 1], 'nesterov': False, 'foreach': None}
OPTIMIZER = {'state': {0: {'step': 3, 'exp_avg': np.ones((8, 3), np.float32)}}, 'param_groups': [HYPER]}
DEVIATIONS = {
    'in a training': (
        {'epoch': 90, 'arch': 'alexnet', 'state_dict': STATE, 'best': 56.5, 'optimizer': OPTIMIZER},
        'from its entry state_dict',
    ),
    'what is beside it': ({'state_dict': STATE, 'epoch': 9, 'optimizer': OPTIMIZER}, 'left aside: epoch, optimizer$'),
    'objects beside it': (
        {'state_dict': STATE, 'args': argparse.Namespace(lr=1), 'best': np.float64(5), 'out': {1, 2}},
        'aside: args, best, out',
    ),
    'deeper': ({'checkpoint': {'model_state_dict': STATE}}, 'from its entry checkpoint/model_state_dict'),
    'by its own name': ({'alexnet_v3': STATE, 'step': 1}, 'from its entry alexnet_v3'),
    'two': ({'ema': STATE, 'model': named(lambda name: f'module.{name}')}, 'its ema is a network too, and not read'),
    'a number among arrays': (STATE | {'step': np.array(5), 'note': 'mine'}, 'left aside: note, step'),
    'data parallel': (named(lambda name: f'module.{name}'), 'names are read without module$'),
    'features parallel': (named(lambda name: name.replace('features.', 'features.module.')), 'names are read without module$'),
    'compiled': (named(lambda name: f'_orig_mod.{name}'), 'names are read without _orig_mod$'),
    'lightning': ({'state_dict': named(lambda name: f'model.net.{name}')}, 'names are read without model.net$'),
    'classifier in a sequence': (
        without_classifier(**{f'classifier.6.1.{k}': v for k, v in LAST.items()}),
        r'called classifier\.6\.1; it is',
    ),
    'fc': (without_classifier(**{f'fc.{k}': v for k, v in LAST.items()}), r'called fc; it is read as classifier\.6'),
    'head': (without_classifier(**{f'module.head.{k}': v for k, v in LAST.items()}), r'called module\.head; it is'),
    'bfloat16': (published_files.as_bfloat16(STATE), 'numbers are bfloat16 in the file and float32 here'),
    'half': ({name: array.astype(np.float16) for name, array in STATE.items()}, 'numbers are float16 in the file'),
    'double': ({name: array.astype(np.float64) for name, array in STATE.items()}, 'numbers are float64 in the file'),
}


@pytest.mark.parametrize('case', DEVIATIONS)
def test_a_deviation_is_read_and_said(plain, tmp_path, case):
    value, said = DEVIATIONS[case]
    (tmp_path / 'x.pth.tar').write_bytes(torch_bytes(value))
    found = pretrained.load(tmp_path / 'x.pth.tar', OWT)
    same(found, plain, {'bfloat16': ml_dtypes.bfloat16, 'half': np.float16}.get(case))
    assert any(re.search(said, note) for note in found.notes), found.notes
    assert found.notes[-1] == plain.notes[0] and all(note.isprintable() for note in found.notes)


def test_bfloat16_and_prefixes_in_safetensors_too(plain, tmp_path):
    arrays = {f'module.{name}': array for name, array in published_files.as_bfloat16(STATE).items()}
    (tmp_path / 'x.safetensors').write_bytes(safetensors_bytes(arrays))
    found = pretrained.load(tmp_path / 'x.safetensors', OWT)
    same(found, plain, ml_dtypes.bfloat16)
    assert len(found.notes) == 3


def test_classes_of_published_weights(plain, tmp_path):
    assert plain.class_names is None and 'names for its 10 classes are not read' in plain.notes[-1]
    narrow = OWT.replace('8=10', '8=1000')
    write(tmp_path / 'x.npz', published_files.state(narrow.partition(' ')[2]))
    found = pretrained.load(tmp_path / 'x.npz', narrow)
    assert found.class_names == tuple(classes.imagenet()) and "taken to be ImageNet's" in found.notes[-1]
    layers = caffe_layers('caffenet', NARROW)
    (tmp_path / 'x.caffemodel').write_bytes(caffemodel(layers, old=True))
    found = pretrained.load(tmp_path / 'x.caffemodel', f'caffenet {NARROW}')
    assert found.class_names is None and any('mean pixel' in note for note in found.notes)


@pytest.mark.parametrize('old', [True, False])
def test_a_caffemodel_whose_classifier_was_renamed(tmp_path, old):
    layers = caffe_layers('caffenet', NARROW)
    (tmp_path / 'x.caffemodel').write_bytes(caffemodel(layers, old))
    tuned = [('fc8_flickr' if name == 'fc8' else name, kind, arrays) for name, kind, arrays in layers]
    (tmp_path / 'y.caffemodel').write_bytes(caffemodel(tuned, old))
    plain, found = (pretrained.load(tmp_path / name, f'caffenet {NARROW}') for name in ('x.caffemodel', 'y.caffemodel'))
    same(found, plain)
    assert 'its last layer is called fc8_flickr; it is read as fc8, the classifier' in found.notes


def resnet():
    rng = np.random.default_rng(0)
    names = ('conv1', *(f'layer{i}.{j}.conv{k}' for i in range(1, 5) for j in range(2) for k in (1, 2)), 'fc')
    return {f'{name}.weight': rng.normal(size=(4, 3, 3, 3)).astype('f4') for name in names}


@pytest.mark.parametrize('kind', KINDS)
def test_another_network_is_refused_with_three_differences_and_what_is_supported(tmp_path, kind):
    path = tmp_path / f'resnet{kind}'
    write(path, resnet())
    said = (
        r'is not alexnet_owt: features\.0\.weight \(64, 3, 11, 11\) is missing, features\.0\.bias \(64,\) is missing, features\.3\.weight '
        r"\(192, 64, 5, 5\) is missing, and \d+ differences more; it has conv1\.weight .* and 15 more\. Readable are torchvision's AlexNet"
    )
    refused(path, said, expected='')


def test_where_a_network_differs_is_said_first(tmp_path):
    def saved(name, arrays):
        write(tmp_path / name, arrays)
        return tmp_path / name

    shape = r'features.0.weight should be \(64, 3, 11, 11\), but is \(8, 3, 11, 11\), features.0.bias .* 12 differences more\. Readable'
    refused(saved('x.npz', STATE), rf'is not alexnet_owt resized.8=10.: {shape}', expected='')
    refused(tmp_path / 'x.npz', r'features.3.weight should be \(13, 8, 5, 5\)', expected=OWT.replace('12', '13', 1))
    refused(
        saved('x.npz', {k: v for k, v in STATE.items() if k != 'classifier.1.bias'}), r'classifier.1.bias \(24,\) is missing\. Readable'
    )
    refused(saved('x.npz', STATE | {'running_mean': np.zeros(3)}), r'it also has running_mean \(3,\)')
    refused(saved('x.safetensors', STATE | {'two\nlines' * 99: np.zeros(3)}), r"it also has 'two\\nlines")
    refused(saved('x.npz', STATE | {'classifier.4.weight': STATE['classifier.4.weight'].T}), r'should be \(20, 24\), but is \(24, 20\)')
    refused(saved('x.npz', STATE | {'features.3.bias': np.zeros(12, int)}), r'features.3.bias holds int64, no floating-point numbers')
    refused(saved('x.npz', STATE | {'features.3.bias': np.full(12, 1e300)}), r'features.3.bias holds numbers that are not finite')
    refused(saved('x.npz', STATE | {'features.3.bias': np.full(12, np.nan, 'f4')}), r'features.3.bias holds numbers that are not finite')
    refused(saved('x.npz', named(lambda name: f'a.{name}') | named(lambda name: f'b.{name}')), r'are both features\.0\.weight; save one')
    refused(saved('x.npz', STATE | {f'fc.{k}': v for k, v in LAST.items()}), r'it also has fc\.weight')
    other = {'head.weight': np.zeros((10, 21), 'f4'), 'head.bias': np.zeros(10, 'f4')}
    refused(saved('x.npz', without_classifier(**other)), r'classifier\.6\.weight \(10, 20\) is missing.*it also has head.weight \(10, 21\)')
    (tmp_path / 'x.pth').write_bytes(torch_bytes({'epoch': 3, 'lr': [0.1]}))
    refused(tmp_path / 'x.pth', 'holds no state dict')


def test_files_that_are_not_there_or_of_no_known_kind(tmp_path):
    write(tmp_path / 'state.pth', STATE)
    for name in ('none.pth', 'none.pth.tar', 'none.caffemodel', 'no\nne.pth'):
        refused(tmp_path / name, 'there is no such file. Readable are torchvision')
    refused(tmp_path / 'net.h5', r'net.h5 is of no kind .* must end in \.pth, \.pt, .*, \.caffemodel\.$')
    (tmp_path / 'net.pth').mkdir()
    refused(tmp_path / 'net.pth', 'a folder or a device')
    (tmp_path / 'empty.npz').touch()
    refused(tmp_path / 'empty.npz', 'it is empty')
    refused(tmp_path / f'{"long" * 99}.pth', 'cannot be read: File name too long')
    odd = tmp_path / os.fsdecode(b'caf\xe9.pth')
    refused(odd, 'no such file')
    odd.write_bytes(b'odd')
    refused(odd, 'cut short|refused')
    refused(tmp_path / 'state.pth', 'a mean file goes with a .caffemodel', mean=tmp_path / 'mean.npy')
    refused(tmp_path / 'state.pth', 'five convolutions and three dense layers', expected='lenet5')
    with pytest.raises(ArchitectureError, match='Did you mean alexnet_owt'):
        pretrained.load(tmp_path / 'state.pth', 'alexnet_out')
    with pytest.raises(CheckpointError, match='has no steps to choose from; leave step 3 out'):
        checkpoints.trained(tmp_path / 'state.pth', 3)
    with pytest.raises(CheckpointError, match='nowhere holds no run'):
        checkpoints.trained(tmp_path / 'nowhere')
    for name in ('nowhere.pth', 'nowhere.pth.tar'):
        with pytest.raises(CheckpointError, match='there is no such file'):
            checkpoints.trained(tmp_path / name)


def test_caffes_layers_in_another_order_are_another_network(tmp_path):
    path = tmp_path / 'x.caffemodel'
    without_norms = [layer for layer in caffe_layers('caffenet', NARROW) if layer[1] != 'LRN']
    path.write_bytes(caffemodel(without_norms, old=False))
    refused(path, 'layers are Convolution ReLU Pooling Convolution .*those of caffenet Convolution ReLU Pooling LRN', expected='')
    path.write_bytes(caffemodel(caffe_layers('caffenet', NARROW), old=False))
    refused(path, 'of another network', expected=f'bvlc_alexnet {NARROW}')
    refused(path, r'conv2.weight should be \(12, 8, 5, 5\), but is \(12, 4, 5, 5\)', expected=f'caffenet {NARROW} replaced(2,groups=1)')


# Mean files.


@pytest.fixture(scope='module')
def caffenet(tmp_path_factory):
    path = tmp_path_factory.mktemp('caffe') / 'x.caffemodel'
    path.write_bytes(caffemodel(caffe_layers('caffenet', NARROW), old=False))
    return path


def test_the_published_mean_image_is_subtracted_where_the_pixels_were(caffenet, data_dir):
    mean = data_dir / 'imagenet' / 'imagenet_mean.binaryproto'
    found = pretrained.load(caffenet, f'caffenet {NARROW}', mean)
    image = found.variables['preprocessing']['mean']
    assert image.shape == (256, 256, 3) and found.resize == 256
    np.testing.assert_allclose(image.mean((0, 1)), [122.7, 116.7, 104.0], atol=0.05)  # R, G, B
    images = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    seen = augment.prepare(images, found.variables['preprocessing'], (227, 227, 3))
    np.testing.assert_allclose(seen, (images - image)[:, 14:241, 14:241], atol=1e-4)
    # Images of the network's own size are such centres already.
    np.testing.assert_array_equal(augment.prepare(images[:, 14:241, 14:241], found.variables['preprocessing'], (227, 227, 3)), seen)


def test_images_follow_the_side_of_the_mean(caffenet, tmp_path):
    np.save(tmp_path / 'mean.npy', np.full((3, 240, 240), 99.0))
    assert pretrained.load(caffenet, f'caffenet {NARROW}', tmp_path / 'mean.npy').resize == 240


@pytest.mark.parametrize(
    ('mean', 'said'),
    [
        (np.zeros((240, 240)), r'holds \(240, 240\); a mean in B, G, R is \(3,\)'),
        (np.zeros((3, 240, 250)), r'holds a mean of \(240, 250\) px; it must be a square of at least 227 px'),
        (np.zeros((3, 32, 32)), r'holds a mean of \(32, 32\) px; it must be a square of at least 227 px'),
        (np.full(3, np.nan), 'holds values that are not finite numbers'),
        (np.array(['a', 'b', 'c']), 'holds values that are not finite numbers'),
        (b'text', 'cut short, damaged, or not what its name says'),
        (None, 'there is no such file'),
    ],
)
def test_other_means_are_refused(caffenet, tmp_path, mean, said):
    path = tmp_path / 'mean.npy'
    if isinstance(mean, bytes):
        path.write_bytes(mean)
    elif mean is not None:
        np.save(path, mean)
    with pytest.raises(CheckpointError, match=f'{path} .*{said}'):
        pretrained.load(caffenet, f'caffenet {NARROW}', path)


@pytest.mark.slow
def test_the_config_of_published_weights(tmp_path):
    wanted = layouts.foreign(zoo.architecture('alexnet_owt resized(8=7)'), layouts.TORCHVISION)
    np.savez_compressed(tmp_path / 'x.npz', **{name: np.zeros(shape, 'f4') for name, shape in wanted.items()})
    trained = checkpoints.trained(tmp_path / 'x.npz')
    assert trained.architecture.name == 'alexnet_owt resized(8=7)' and trained.step == 0 and trained.config.data.resize == 256
    assert configs.network(configs.check(trained.config)) == trained.architecture
