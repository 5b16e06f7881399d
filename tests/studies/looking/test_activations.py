"""The strongest activations are those of all activations sorted, whatever the batches; windows are what moves a unit."""

import itertools

import jax
import numpy as np
import pytest

from cnn_research import train
from cnn_research.data import stream
from cnn_research.data.sources import open_source, subset
from cnn_research.errors import ArchitectureError, ResearchError
from cnn_research.models import zoo
from cnn_research.models.network import Network
from cnn_research.studies.looking import activations

NET = Network(zoo.architecture('zfnet_32 resized(1=4,2=4,3=6,4=6,5=4,6=8,7=8)'))
TAPS = ('layer1.relu', 'layer2', 'layer7.relu')


@pytest.fixture(scope='module')
def variables():
    params = jax.device_get(NET.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32)))['params']
    return {'params': params, 'preprocessing': {'mean': np.full(3, 120, np.float32), 'scale': np.full(3, 0.02, np.float32)}}


@pytest.fixture(scope='module')
def source():
    return subset(open_source('clutter', 'test'), np.r_[0:40, 3, 3, 7])  # some images several times: ties


@pytest.fixture(scope='module')
def every(variables, source):
    """All activations of all images."""
    images, _ = source.read(np.arange(source.num_examples))
    seen = (np.stack(images) - variables['preprocessing']['mean']) * variables['preprocessing']['scale']
    return {tap: np.asarray(a) for tap, a in NET.apply({'params': variables['params']}, seen, taps=TAPS)[1].items()}


def feed(source, batch):
    return stream.evaluation_feed(source, batch, 0, 1.0, 0)


@pytest.mark.parametrize('batch, devices, k', [pytest.param(43, 1, 5, marks=pytest.mark.slow), (10, 1, 5), (9, 2, 3), (50, 1, 60)])
def test_the_strongest_are_those_of_all_sorted(variables, source, every, batch, devices, k):
    found = activations.strongest(NET, variables, feed(source, batch), TAPS, k, jax.local_devices()[:devices])
    for tap, array in every.items():
        maps = array.reshape(len(array), -1, array.shape[-1])
        peaks, width = maps.max(1), array.shape[2] if array.ndim == 4 else 1
        for unit in range(array.shape[-1]):
            order = np.lexsort((np.arange(len(peaks)), -peaks[:, unit]))[:k]
            count = len(order)
            np.testing.assert_allclose(found[tap].values[unit, :count], peaks[order, unit], rtol=1e-4, atol=1e-5)
            clear = np.r_[True, np.diff(peaks[order, unit]) < -1e-4] & np.r_[np.diff(peaks[order, unit]) < -1e-4, True]
            np.testing.assert_array_equal(found[tap].examples[unit, :count][clear], order[clear])
            told = found[tap].rows[unit, :count] * width + found[tap].columns[unit, :count]
            np.testing.assert_allclose(maps[found[tap].examples[unit, :count], told, unit], peaks[order, unit], rtol=1e-4, atol=1e-5)
            assert (found[tap].examples[unit, count:] == -1).all() and np.isneginf(found[tap].values[unit, count:]).all()


def test_of_equal_images_the_first_counts_more(variables, source):
    for top in activations.strongest(NET, variables, feed(source, 8), TAPS, 43).values():
        for examples in top.examples:
            order = {example: place for place, example in enumerate(examples)}
            assert order[3] < order[40] < order[41] and order[7] < order[42]


def test_parts_are_merged_to_the_whole(variables, source):
    whole = activations.strongest(NET, variables, feed(source, 10), TAPS, 4)
    parts = [activations.strongest(NET, variables, feed(source, 10), TAPS, 4, steps=steps) for steps in ((0, 1), (2,), (3, 4))]
    for tap, order in itertools.product(TAPS, itertools.permutations(range(3))):
        merged = activations.merge(*(parts[place][tap] for place in order))
        jax.tree.map(np.testing.assert_array_equal, activations.Top(*map(np.asarray, merged)), whole[tap])


def test_a_pass_that_was_cut_off_goes_on_where_it_was(variables, source, tmp_path, monkeypatch):
    whole = activations.strongest(NET, variables, feed(source, 5), TAPS, 4)
    file = tmp_path / 'new' / 'strongest.npz'

    def kept(told='a', stop=lambda: False):
        seen, own = [], feed(source, 5)
        monkeypatch.setattr(own, 'batch', lambda step, batch=own.batch: seen.append(step) or batch(step))
        return activations.kept(file, told, NET, variables, own, TAPS, 4, every=2, stop=stop), seen

    with pytest.raises(train.Stopped):
        kept(stop=lambda: True)
    found, seen = kept()
    assert seen == [2, 3, 4, 5, 6, 7, 8]  # the first two had been kept, and 43 examples are nine batches
    jax.tree.map(np.testing.assert_array_equal, found, whole)
    found, seen = kept()
    assert not seen
    jax.tree.map(np.testing.assert_array_equal, found, whole)
    assert len(kept('another network')[1]) == 9
    content = file.read_bytes()
    for damaged in (b'', content[:500], content[:800] + bytes([content[800] ^ 1]) + content[801:], b'\x93NUMPY\xff\xff' + content[8:]):
        file.write_bytes(damaged)
        found, seen = kept('another network')
        assert len(seen) == 9
        jax.tree.map(np.testing.assert_array_equal, found, whole)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    file = file / 'below'  # a file is no folder
    with pytest.raises(ResearchError, match='below cannot be written'):
        kept()


@pytest.mark.parametrize(
    'tap, place', [('layer1.relu', (0, 31)), ('layer2', (3, 3)), ('layer3.relu', (0, 4)), ('layer5.convolution', (7, 7))]
)
def test_a_window_is_what_moves_a_unit(variables, tap, place):
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    shape = NET.architecture.taps()[tap]
    place = tuple(min(at, side - 1) for at, side in zip(place, shape, strict=False))
    linear = jax.tree.map(np.abs, variables['params'])  # nothing rectifies, so that every path counts

    def unit(x):
        kept = NET.apply({'params': linear}, x, taps=(tap,), method='features')[tap]
        return kept[0, place[0], place[1]].sum()

    # Pools choose one place each: many images together reach all places that a unit can see.
    gradient = jax.jit(jax.grad(unit))
    moved = sum(np.abs(gradient(np.abs(np.roll(image, n, axis=(1, 2))) * (1 + n % 3))).sum((0, 3)) for n in range(24)) > 0
    top, left, bottom, right = NET.architecture.window(tap, *place)
    inside = np.zeros((32, 32), bool)
    inside[top:bottom, left:right] = True
    assert not (moved & ~inside).any()
    assert moved[top:bottom].any(1).mean() > 0.7 and moved[:, left:right].any(0).mean() > 0.7


def test_patches_are_cut_at_the_border_and_lie_where_the_unit_looks():
    images = np.arange(2 * 32 * 32 * 3, dtype=np.int64).reshape(2, 32, 32, 3)
    row = NET.architecture.row('layer2.relu')
    found = activations.patches(images, NET.architecture, 'layer2.relu', [0, 3], [0, 4])
    assert found.windows.shape[1:3] == (row.receptive_field,) * 2
    for number, place in enumerate(((0, 0), (3, 4))):
        top, left, bottom, right = NET.architecture.window('layer2.relu', *place)
        cut = found.windows[number][found.inside[number]].reshape(bottom - top, right - left, 3)
        np.testing.assert_array_equal(cut, images[number, top:bottom, left:right])
    assert not found.windows[0][~found.inside[0]].any() and not found.inside[0].all()
    assert not activations.patches(images[:1], NET.architecture, 'layer2', [-1], [-1]).inside.any()
    with pytest.raises(ArchitectureError, match='layer9'):
        activations.patches(images, NET.architecture, 'layer9', [0, 0], [0, 0])
