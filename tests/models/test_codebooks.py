"""SqueezeNet from its authors' file: its outputs against NumPy alone, on photographs and on noise, and files that are not whole."""

import tracemalloc

import jax
import numpy as np
import published_files
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from published_files import NARROW_FIRES

from cnn_research import checkpoints, classes
from cnn_research import config as configs
from cnn_research.data.sources import open_source
from cnn_research.errors import CheckpointError
from cnn_research.models import pretrained, zoo

NARROW = f'squeezenet {NARROW_FIRES}'
CODED = published_files.coded()


@pytest.fixture(scope='module')
def authors(data_dir):
    """The authors' own file."""
    path = data_dir / 'weights' / 'squeezenet_deep_compression.npz'
    if not path.is_file():
        pytest.skip(f'there is no {path}')
    return path


@pytest.fixture(scope='module')
def pictures(data_dir):
    """Ten classes of ImageNet, 160 px."""
    if not (data_dir / 'imagenette_subset').is_dir():
        pytest.skip(f'there is no imagenette_subset in {data_dir}')
    return open_source('imagenette_subset/160px-v2', 'validation', data_dir)


# The network by itself, in NumPy, on B, G, R maps (C, H, W).


def convolved(arrays, name, x, stride=1, padding=0):
    kernel = arrays[f'{name}:codebook'].astype(np.float64)[arrays[f'{name}:codes']]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, kernel.shape[2:], (1, 2))[:, ::stride, ::stride]
    return np.tensordot(kernel, windows, ((1, 2, 3), (0, 3, 4))) + arrays[f'{name}:bias'][:, None, None]


def pooled(x):
    """3x3, stride 2, rounded up."""
    missing = [(0, 0), *((0, (3 - side) % 2) for side in x.shape[1:])]
    return sliding_window_view(np.pad(x, missing, constant_values=-np.inf), (3, 3), (1, 2))[:, ::2, ::2].max((3, 4))


def layers_by_numpy(arrays, image):
    """What leaves the layers 1 to 18 for an image (256, 256, 3) of R, G, B grey levels: the outputs are the last."""
    x = image[14:241, 14:241, ::-1].astype(np.float64) - (104, 117, 123)
    yield (x := pooled(np.maximum(convolved(arrays, 'conv1', x.transpose(2, 0, 1), stride=2), 0)))
    for number in range(2, 10):
        yield (x := np.maximum(convolved(arrays, f'fire{number}/conv1x1_1', x), 0))
        one, three = (convolved(arrays, f'fire{number}/conv{side}x{side}_2', x, padding=side // 2) for side in (1, 3))
        x = np.maximum(np.concatenate([one, three]), 0)
        yield (x := pooled(x) if number in (4, 8) else x)
    yield np.maximum(convolved(arrays, 'conv_final', x, padding=1), 0).mean((1, 2))


def assert_the_same_at_every_layer(trained, arrays, images):
    found = trained.features(images, [f'layer{number}' for number in range(1, 19)])
    for place, image in enumerate(images):
        for (tap, ours), theirs in zip(found.items(), layers_by_numpy(arrays, image), strict=True):
            theirs = np.moveaxis(theirs, 0, -1)
            scale = np.abs(theirs).max()
            assert ours[place].shape == theirs.shape and theirs.std() > 0.01 * scale, tap
            assert np.abs(ours[place] - theirs).max() < 1e-4 * (1 if tap == 'layer18' else scale), tap


def noise(count=1, side=256):
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), np.uint8)


def written(path, arrays=CODED, **changes):
    np.savez_compressed(path, **{name: array for name, array in {**arrays, **changes}.items() if array is not None})
    return path


def test_a_file_gives_numpys_activations_at_every_layer(tmp_path):
    found = pretrained.load(written(tmp_path / 'x.npz'), NARROW)
    assert found.architecture == zoo.architecture(NARROW) and found.resize == 256 and found.class_names is None
    assert found.notes == (
        "assumed, for the file does not say: the mean pixel of Caffe's networks; names for its 10 classes are not read from such a file",
    )
    exported = tmp_path / 'x.safetensors'
    pretrained.export(exported, found.architecture, found.variables, resize=found.resize)
    trained = checkpoints.trained(exported)
    assert configs.network(configs.check(trained.config)) == zoo.architecture(NARROW)
    assert_the_same_at_every_layer(trained, CODED, noise())


def test_the_authors_file_gives_numpys_outputs_on_photographs(authors, pictures):
    trained, arrays = checkpoints.trained(authors), dict(np.load(authors))
    assert trained.architecture == zoo.architecture('squeezenet') and trained.class_names == tuple(classes.imagenet())
    assert sum(array.size for name, array in arrays.items() if not name.endswith('codebook')) == trained.architecture.parameters
    raw, _ = pictures.read(np.array([3]))
    scaled = [np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR)) for image in raw]
    assert_the_same_at_every_layer(trained, arrays, scaled)
    np.testing.assert_allclose(trained.predict(raw), trained.predict(scaled), atol=1e-6)


@pytest.mark.slow
def test_the_authors_file_knows_photographs(authors, pictures):
    trained = checkpoints.trained(authors)
    images, labels = pictures.read(np.arange(pictures.num_examples))
    said = trained.predict(images)
    outputs = np.array(classes.match(trained.class_names, pictures.class_names))
    own = outputs[labels]
    before = (said > said[np.arange(len(said)), own][:, None]).sum(1)
    ten = outputs[said[:, outputs].argmax(1)] == own
    # Every second picture, then all 500: top-1 and top-5 of 1000 classes, and the best of the ten, in percent.
    for every, expected in ((2, (52.4, 75.2, 92.0)), (1, (49.0, 72.4, 91.0))):
        measured = [100 * right[::every].mean() for right in (before < 1, before < 5, ten)]
        np.testing.assert_allclose(measured, expected, atol=1)
    result = trained.evaluate(pictures)
    assert result.top1_error == pytest.approx(np.mean(before > 0)) and result.top5_error == pytest.approx(np.mean(before > 4))


def test_classes_follow_the_file(tmp_path):
    tuned = {name: array for name, array in published_files.coded(classes=7).items() if name.startswith('conv_final')}
    refused(written(tmp_path / 'x.npz', tuned), r'is not squeezenet resized\(18=7\): conv1:codes \(96, 3, 7, 7\) is missing', expected='')
    named = pretrained.load(written(tmp_path / 'y.npz', published_files.coded(classes=1000)), NARROW.replace('18=10', '18=1000'))
    assert named.class_names == tuple(classes.imagenet()) and 'taken to be ImageNet' in named.notes[0]


# Files that are not what they say.


def refused(path, match, expected=NARROW, **kwargs):
    with pytest.raises(CheckpointError, match=match) as caught:
        pretrained.load(path, expected, **kwargs)
    said = str(caught.value)
    assert str(path) in said and '\n' not in said and said.isprintable() and len(said) < 900


def with_numbers(name, value):
    array = CODED[name].copy()
    array.flat[5] = value
    return {name: array}


REFUSED = {
    'a part': ({'fire3/conv1x1_2:codebook': None}, 'fire3/conv1x1_2:codebook is missing'),
    'a convolution': (
        {f'fire3/conv1x1_2:{part}': None for part in ('codes', 'codebook', 'bias')},
        r'fire3/conv1x1_2:codes \(3, 5, 1, 1\) is missing',
    ),
    'one too many': (
        {f'fire1/conv1x1_1:{part}': CODED[f'fire2/conv1x1_1:{part}'] for part in ('codes', 'codebook', 'bias')},
        'it also has fire1',
    ),
    'a stranger': ({'epoch': np.zeros(3, 'f4')}, ':codes is missing'),
    'another part': ({'conv1:momentum': np.zeros(8, 'f4')}, 'it also has conv1:momentum, which is none of codes, codebook, bias'),
    'wide codes': ({'conv1:codes': CODED['conv1:codes'].astype('i8')}, 'conv1:codes holds int64, not uint8'),
    'double bias': ({'conv1:bias': CODED['conv1:bias'].astype('f8')}, 'conv1:bias holds float64, not float32'),
    'half a book': ({'conv1:codebook': CODED['conv1:codebook'].astype('f2')}, 'conv1:codebook holds float16, not float32'),
    'a short book': ({'conv1:codebook': CODED['conv1:codebook'][:200]}, r'conv1:codes count up to 2\d\d, but its codebook has 200 values'),
    'a long book': ({'conv1:codebook': np.zeros(257, 'f4')}, r'conv1:codebook is \(257,\); it has at most 256 values'),
    'no book': ({'conv1:codebook': np.zeros(0, 'f4')}, r'conv1:codebook is \(0,\)'),
    'a square book': ({'conv1:codebook': np.zeros((16, 16), 'f4')}, r'conv1:codebook is \(16, 16\)'),
    'infinite': (with_numbers('fire9/conv3x3_2:codebook', np.inf), 'fire9/conv3x3_2:codebook holds numbers that are not finite'),
    'no number': (with_numbers('conv_final:bias', np.nan), 'conv_final:bias holds numbers that are not finite'),
    'a kernel turned round': ({'conv1:codes': CODED['conv1:codes'].T}, r'conv1:codes should be \(8, 3, 7, 7\), but is \(7, 7, 3, 8\)'),
    'shuffled': (
        {'fire2/conv1x1_2:codes': CODED['fire2/conv3x3_2:codes'], 'fire2/conv3x3_2:codes': CODED['fire2/conv1x1_2:codes']},
        r'fire2/conv1x1_2:codes should be \(3, 5, 1, 1\), but is \(4, 5, 3, 3\)',
    ),
    'a bias of another': ({'conv1:bias': CODED['fire2/conv1x1_1:bias']}, r'conv1:bias should be \(8,\), but is \(5,\)'),
    'objects': ({'conv1:codes': np.array([{}], object)}, 'objects and records are not read'),
    'a long name': ({'\x1b' + 300 * 'a' + ':codes': np.zeros(3, np.uint8)}, ':codebook is missing'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_what_is_not_whole_or_of_another_network_is_refused(tmp_path, name):
    changes, said = REFUSED[name]
    refused(written(tmp_path / 'x.npz', **changes), said)


def test_a_file_of_other_widths_or_of_another_kind_of_network_is_refused(tmp_path):
    path = written(tmp_path / 'x.npz')
    refused(path, r'conv1:codes should be \(96, 3, 7, 7\), but is \(8, 3, 7, 7\).* differences more', expected='')
    refused(path, 'cannot be read into alexnet_owt: the file has the convolutions of SqueezeNet', expected='alexnet_owt')
    refused(path, r'cannot be read into squeezenet without\(3\)', expected='squeezenet without(3)')
    refused(path, 'a mean file goes with a .caffemodel; the mean of others', mean=tmp_path / 'mean.npy')
    others = {f'branch/{name}': array for name, array in CODED.items()}
    said = r'is not squeezenet: conv1:codes \(96, 3, 7, 7\) is missing, .*, and \d+ differences more\. Readable are .*SqueezeNet in codes'
    refused(written(tmp_path / 'other.npz', others), said, expected='')
    published_files.write(tmp_path / 'alexnet.npz', published_files.state())
    refused(tmp_path / 'alexnet.npz', 'the file has five convolutions and three dense layers')


def test_files_cut_short_or_damaged_are_told_or_harmless(tmp_path):
    data, path = written(tmp_path / 'whole.npz').read_bytes(), tmp_path / 'x.npz'
    for kept in (1, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:kept])
        refused(path, 'cut short|refused')
    whole, rng, told = pretrained.load(tmp_path / 'whole.npz', NARROW), np.random.default_rng(0), 0
    for _ in range(100):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            found = pretrained.load(path, NARROW)
        except CheckpointError as error:
            told += '\n' not in str(error)
        else:  # a bit that says nothing of the numbers
            jax.tree.map(np.testing.assert_array_equal, found.variables, whole.variables)
    assert told > 60


def test_codes_of_another_shape_are_never_unpacked(tmp_path):
    path = written(tmp_path / 'bomb.npz', **{'fire9/conv3x3_2:codes': np.zeros((10_000, 10_000), np.uint8)})
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        refused(path, r'fire9/conv3x3_2:codes should be \(4, 5, 3, 3\), but is \(10000, 10000\)')
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
