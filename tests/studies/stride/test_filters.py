"""What filters do on images, against plain Fourier sums and loops over positions and pairs of images."""

import hashlib
import json

import jax
import numpy as np
import pytest

from cnn_research import config as configs
from cnn_research.architecture import Architecture, Convolution, Dense, Layer, MaxPool, ReLU
from cnn_research.checkpoints import Trained
from cnn_research.data.sources import Source
from cnn_research.errors import ArchitectureError
from cnn_research.models.network import Network
from cnn_research.studies.stride import filters, weights

COUNT = 21


def trained(net, side=14, **parameters):
    """Random weights, or those given as layer1_kernel=array; the preprocessing is that of grey levels to about [-1, 1]."""
    params = Network(net).init(jax.random.key(0), np.zeros((1, *net.input_shape), np.float32))['params']
    for name, value in parameters.items():
        layer, leaf = name.split('_')
        params[layer]['convolution'][leaf] = np.asarray(value, np.float32)
    preprocessing = {'mean': np.full(3, 128, np.float32), 'scale': np.full(3, 1 / 64, np.float32)}
    config = configs.update(configs.default(), {'evaluate.batch_size': 8})
    return Trained(net, {'params': params, 'preprocessing': preprocessing}, config, 0)


def source(images):
    def read(indices):
        return [images[i] for i in indices], np.zeros(len(indices), np.int32)

    return Source(
        'made', 'test', len(images), 10, tuple('0123456789'), images.shape[1:], hashlib.sha256(images.tobytes()).hexdigest(), read
    )


def noise(side=14, count=COUNT):
    return np.random.default_rng(1).integers(256, size=(count, side, side, 3), dtype=np.uint8)


def net(side=12, stride=2, first=4, kernel=3):
    layers = (
        (Convolution(first, kernel, stride=stride, padding=1), ReLU(), MaxPool(2, 1)),
        (Convolution(5, 3, stride=2), ReLU()),
        (Dense(10),),
    )
    return Architecture('small', (side, side, 3), tuple(Layer(number, stages) for number, stages in enumerate(layers, 1)))


def seen(images):
    return (images.astype(np.float32) - 128) / 64


def test_activity_counts_every_position_of_every_image():
    small = net()
    one = trained(small, layer1_bias=[-1e3, 1e3, 0, -3.0])
    found = filters.activity(one, source(noise()))
    taps = ('layer1.relu', 'layer2.relu')
    maps = Network(small).apply({'params': one.variables['params']}, seen(noise())[:, 1:13, 1:13], taps, method='features')
    for number, tap in enumerate(taps, 1):
        array = np.asarray(maps[tap])
        assert found[number].active.tolist() == [sum(bool(v > 0) for v in array[..., m].flat) for m in range(array.shape[-1])]
        assert found[number].positions == array[..., 0].size
    assert found[1].never.tolist() == [True, False, False, False] and found[1].always.tolist() == [False, True, False, False]
    assert 0 < found[1].active[3] < found[1].active[2]


def test_rarely_active_maps_are_dead_only_if_they_never_are():
    found = filters.Activity(np.array([0, 1, 9, 10, 10_000]), 10_000)
    assert found.never.tolist() == [True, False, False, False, False] and found.always.tolist() == [False] * 4 + [True]
    assert found.rarely.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize('sides', [(16, 16), (13, 18)])
@pytest.mark.parametrize('stride', [1, 2, 3, 4])
def test_folded_energy_is_parsevals_sum_in_both_directions(sides, stride):
    maps = np.random.default_rng(2).normal(size=(2, *sides, 3)) + 5
    height, width = sides
    window = np.outer(*(np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 for side in sides))
    folded, total = np.zeros(3), np.zeros(3)
    for image in maps:
        for m in range(3):
            values = (image[..., m] - (image[..., m] * window).sum() / window.sum()) * window
            total[m] += (values**2).sum()
            for v in range(height):
                for u in range(width):
                    wave = np.exp(-2j * np.pi * (np.arange(height)[:, None] * v / height + np.arange(width) * u / width))
                    fastest = max(min(v, height - v) / height, min(u, width - u) / width)
                    if fastest > 1 / (2 * stride) + 1e-9:
                        folded[m] += abs((values * wave).sum()) ** 2 / (height * width)
    for found, expected in zip(filters.folded_energy(maps.astype(np.float32), stride), (folded, total), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_of_two_waves_with_the_same_samples_the_faster_is_folded():
    down, across = np.mgrid[:24, :24]
    slow = np.cos(2 * np.pi * (down * 2 / 24 - across * 1 / 24))
    fast = np.cos(2 * np.pi * (down * 2 / 24 + across * (1 / 4 - 1 / 24)))
    np.testing.assert_allclose(slow[:, ::4], np.cos(2 * np.pi * (down * 2 / 24 + across * (1 / 4 - 1 / 24)))[:, ::4], atol=1e-9)
    folded, total = filters.folded_energy(np.stack([slow, fast], -1)[None].astype(np.float32), 4)
    np.testing.assert_allclose(folded / total, [0, 1], atol=1e-5)


def test_a_diagonal_wave_that_either_direction_samples_well_is_not_folded():
    down, across = np.mgrid[:32, :32]
    wave = np.cos(2 * np.pi * (down + across) * 3 / 32)[None, ..., None].astype(np.float32)  # 0.133 cycles per pixel along the diagonal
    folded, total = filters.folded_energy(wave, 4)
    assert folded[0] / total[0] < 1e-2


def test_aliasing_of_a_filter_that_copies_the_image_is_the_images_own():
    images = noise(18)
    copies = np.zeros((3, 3, 3, 4))
    copies[1, 1, 0, 0] = copies[1, 1, 1, 1] = 1
    copies[:, :, 2, 2] = 1 / 9  # a blur
    copies[1, 1, 2, 3] = 1
    found = filters.aliasing(trained(net(18, stride=4), layer1_kernel=copies, layer1_bias=[7.0, 0, 0, 0]), source(images), 1)
    folded, total = (np.asarray(part) for part in filters.folded_energy(seen(images)[:, 1:-1, 1:-1], 4))
    np.testing.assert_allclose(found[[0, 1, 3]], folded / total, rtol=1e-4)
    assert found[2] < 0.5 < found[3]


def test_aliasing_of_each_layer_comes_from_its_own_stride():
    one = trained(net(14, stride=1), layer1_kernel=np.zeros((3, 3, 3, 4)))
    assert np.isnan(filters.aliasing(one, source(noise()), 1)).all()  # no response, nothing to fold
    one = trained(net(14, stride=1))
    assert (filters.aliasing(one, source(noise()), 1) == 0).all()
    second = filters.aliasing(one, source(noise()), 2)
    maps = Network(one.architecture).apply({'params': one.variables['params']}, seen(noise()), ('layer1',), method='features')['layer1']
    kernel = one.variables['params']['layer2']['convolution']['kernel']
    responses = np.zeros((COUNT, 11, 11, 5), np.float32)
    for y in range(3):
        for x in range(3):
            responses += np.asarray(maps)[:, y : y + 11, x : x + 11] @ np.asarray(kernel[y, x])
    folded, total = (np.asarray(part) for part in filters.folded_energy(responses, 2))
    np.testing.assert_allclose(second, folded / total, rtol=1e-3)
    assert (second > 0.05).all()


def brute_force(one, images, tap, side, largest):
    """Root mean squared distances by loops, of shifts over all pairs of images."""
    small = one.architecture
    small = Architecture('window', (side, side, 3), small.layers if side == small.input_shape[0] else small.layers[:2])
    corner = (images.shape[1] - side - largest) // 2

    def features(down, across):
        views = seen(images)[:, corner + down :, corner + across :][:, :side, :side]
        taps = Network(small).apply({'params': one.variables['params']}, views, (tap,), method='features')
        return np.asarray(taps[tap], np.float64).reshape(len(images), -1)

    still, between = features(0, 0), []
    for i in range(len(images)):
        between += [((still[i] - still[j]) ** 2).sum() for j in range(len(images)) if j != i]
    moved = [[((features(*shift) - still) ** 2).sum(1).mean() for shift in ((d, 0), (0, d))] for d in range(1, largest + 1)]
    return np.sqrt(np.mean(moved, axis=1) / np.mean(between))


@pytest.mark.parametrize(('side', 'tap', 'window'), [(14, 'layer1', 11), (14, 'layer2.relu', 11), (16, 'layer3', 12), (19, 'layer1', 12)])
def test_shift_sensitivity_is_the_loop_over_shifts_and_pairs(side, tap, window):
    one, images = trained(net()), noise(side)
    found = filters.shift_sensitivity(one, source(images), (tap, 'layer2'), 3)
    np.testing.assert_allclose(found[tap], brute_force(one, images, tap, window, 3), rtol=1e-4)
    assert (found[tap] > 0.1).all() and list(found) == [tap, 'layer2']


def test_an_image_that_repeats_itself_feels_no_shift_by_its_period():
    images = np.tile(noise(2, 9), (1, 8, 8, 1))
    found = filters.shift_sensitivity(trained(net()), source(images), ('layer1', 'layer3'), 4)
    for curve in found.values():
        np.testing.assert_allclose(curve[[1, 3]], 0, atol=1e-6)
        assert (curve[[0, 2]] > 0.1).all()


def test_a_dense_tap_without_a_margin_is_refused():
    with pytest.raises(ArchitectureError, match=r'layer3 reads the whole 12x12 input.*14x14 leave no margin of 3 px.*layer2'):
        filters.shift_sensitivity(trained(net()), source(noise(14)), ('layer1', 'layer3'), 3)
    with pytest.raises(ArchitectureError, match='no tap'):
        filters.shift_sensitivity(trained(net()), source(noise(14)), ('layer9',), 3)


@pytest.mark.parametrize(('side', 'taps'), [(14, ['layer1', 'layer2']), (15, ['layer1', 'layer2', 'layer3'])])
def test_a_diagnosis_is_plain_and_agrees_with_its_parts(side, taps):
    one, images = trained(net()), source(noise(side))
    found = filters.diagnosis(one, images, 8, 3)
    assert json.loads(json.dumps(found)) == found
    assert list(found['shift']) == taps and all(len(curve) == 3 for curve in found['shift'].values())
    assert (found['layer1']['stride'], found['layer1']['spacing'], found['layer2']['stride'], found['layer2']['spacing']) == (2, 1, 2, 2)
    assert 'colour' in found['layer1'] and 'colour' not in found['layer2']
    assert found['layer2']['mid'] == weights.bands(one.variables['params']['layer2']['convolution']['kernel']).mid.tolist()
    assert found['layer1']['active'] == (filters.activity(one, images)[1].active / (36 * COUNT)).tolist()


def test_layers_without_filters_are_refused():
    dense = Architecture('flat', (12, 12, 3), (Layer(1, (Convolution(4, 3), ReLU())), Layer(2, (Dense(10),))))
    with pytest.raises(ArchitectureError, match='layer 2 is no full convolution'):
        filters.diagnosis(trained(dense), source(noise()), 8, 2)
    linear = Architecture('linear', (12, 12, 3), (Layer(1, (Convolution(4, 3),)), Layer(2, (Convolution(4, 3), ReLU()))))
    with pytest.raises(ArchitectureError, match='layer 1 has no nonlinearity'):
        filters.activity(trained(linear), source(noise()))
