"""Maps of every stage against the network's taps, and pooling and normalization against PyTorch and NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research.architecture import (
    Architecture,
    CellPool,
    Convolution,
    Dense,
    Dropout,
    GlobalAverage,
    Layer,
    MaxPool,
    PyramidPool,
    ReLU,
    Response,
)
from cnn_research.errors import ArchitectureError
from cnn_research.models.network import Network
from cnn_research.studies.looking import feature_maps

torch = pytest.importorskip('torch')  # the oracle of half of these tests

NET = Architecture(
    'small',
    (17, 16, 3),
    (
        Layer(1, (Convolution(6, 3, padding=1), ReLU(), MaxPool(3, 2, ceil=True), Response(3, 0.5, 0.75, 1.0))),
        Layer(2, (Convolution(4, 3, padding=1), ReLU(), Dropout(0.5))),
        Layer(3, (Dense(4),)),
    ),
)
NETWORK = Network(NET)
VARIABLES = {
    'params': NETWORK.init(jax.random.key(0), jnp.zeros((1, *NET.input_shape)))['params'],
    'preprocessing': {'mean': np.float32([100, 120, 140]), 'scale': np.full(3, 0.05, np.float32)},
}
IMAGE = np.random.default_rng(0).integers(0, 256, NET.input_shape, dtype=np.uint8)


def torch_maps(maps):
    return torch.tensor(np.moveaxis(maps, -1, 0)[None])


def test_stages_are_the_layer_taps_of_the_preprocessed_image():
    found = feature_maps.passage(NETWORK, VARIABLES, IMAGE, 1).stages
    seen = (IMAGE.astype(np.float32) - (100, 120, 140)) * np.float32(0.05)
    taps = [f'layer1.{name}' for name in found]
    assert list(found) == ['convolution', 'relu', 'max_pool', 'response']
    kept = NETWORK.apply({'params': VARIABLES['params']}, seen[None].astype(np.float32), taps, method='features')
    for tap, maps in zip(taps, found.values(), strict=True):
        np.testing.assert_allclose(maps, kept[tap][0], rtol=1e-4, atol=1e-5)
    assert list(feature_maps.passage(NETWORK, VARIABLES, IMAGE, 2).stages) == ['convolution', 'relu']


def test_max_and_sum_pool_the_same_windows():
    found = feature_maps.passage(NETWORK, VARIABLES, IMAGE, 1)
    rectified = torch_maps(found.stages['relu'])
    most = torch.nn.functional.max_pool2d(rectified, 3, 2, ceil_mode=True)[0].permute(1, 2, 0)
    # Zeros beyond the border add nothing to a sum.
    sums = 9 * torch.nn.functional.avg_pool2d(torch.nn.functional.pad(rectified, (0, 1, 0, 1)), 3, 2)[0].permute(1, 2, 0)
    np.testing.assert_allclose(found.pooled['max'], most, rtol=1e-6)
    np.testing.assert_allclose(found.pooled['sum'], sums[: most.shape[0], : most.shape[1]], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.pooled['max'], found.stages['max_pool'])
    assert feature_maps.passage(NETWORK, VARIABLES, IMAGE, 2).pooled == {}


def test_normalization_reads_what_the_layer_normalizes_with_the_layer_constants():
    found = feature_maps.passage(NETWORK, VARIABLES, IMAGE, 1)
    np.testing.assert_array_equal(found.normalized['before'], found.stages['max_pool'])
    np.testing.assert_allclose(found.normalized['across maps'], found.stages['response'], rtol=1e-6)
    # PyTorch divides alpha by the size of the window.
    expected = torch.nn.functional.local_response_norm(torch_maps(found.normalized['before']), 3, 1.5, 0.75, 1.0)
    np.testing.assert_allclose(found.normalized['across maps'], expected[0].permute(1, 2, 0), rtol=1e-4, atol=1e-6)


def test_a_layer_without_normalization_is_normalized_where_it_ends():
    found = feature_maps.passage(NETWORK, VARIABLES, IMAGE, 2)
    before = found.stages['relu']
    np.testing.assert_array_equal(found.normalized['before'], before)
    padded = np.pad(before.astype(np.float64) ** 2, [(0, 0), (0, 0), (2, 2)])
    sums = sum(padded[..., shift : shift + before.shape[-1]] for shift in range(5))
    np.testing.assert_allclose(found.normalized['across maps'], before / (2 + 1e-4 * sums) ** 0.75, rtol=1e-5)


def test_normalization_within_maps_knows_no_other_map():
    before = feature_maps.passage(NETWORK, VARIABLES, IMAGE, 2).stages['relu']
    within = feature_maps.passage(NETWORK, VARIABLES, IMAGE, 2).normalized['within maps']
    rows, columns = np.indices(before.shape[:2])
    size = min(9, *before.shape[:2])

    def local_mean(maps):
        means = np.empty_like(maps)
        for row, column in np.ndindex(*maps.shape[:2]):
            down, across = rows - row, columns - column
            near = (np.maximum(abs(down), abs(across)) <= size // 2) & (np.maximum(down, across) <= (size - 1) // 2)
            weights = near * np.exp(-0.5 * (down**2 + across**2) / (size / 4) ** 2)
            means[row, column] = np.tensordot(weights, maps, 2) / weights.sum()
        return means

    centred = before - local_mean(before.astype(np.float64))
    deviation = np.sqrt(local_mean(centred**2))
    np.testing.assert_allclose(within, centred / np.maximum(deviation, deviation.mean()), rtol=1e-3, atol=1e-4)


def test_cells_are_windows_and_what_leaves_no_maps_is_left_out():
    layers = (Layer(1, (Convolution(3, 3), CellPool(2, 6, 4))), Layer(2, (Convolution(4, 1), ReLU(), PyramidPool(2))), NET.layers[2])
    net = Architecture('cells', (17, 16, 3), layers)
    variables = {'params': Network(net).init(jax.random.key(0), jnp.zeros((1, 17, 16, 3)))['params']}
    first, second = (feature_maps.passage(Network(net), variables, IMAGE, number) for number in (1, 2))
    assert {name: maps.shape for name, maps in first.stages.items()} == {'convolution': (15, 14, 3), 'cell_pool': (3, 3, 12)}
    assert first.pooled['max'].shape == first.pooled['sum'].shape == (3, 3, 3)
    assert list(second.stages) == ['convolution', 'relu'] and second.pooled == {}
    np.testing.assert_array_equal(second.normalized['before'], second.stages['relu'])


def test_a_layer_without_maps_is_refused():
    with pytest.raises(ArchitectureError, match='choose from 1, 2'):
        feature_maps.passage(NETWORK, VARIABLES, IMAGE, 3)
    with pytest.raises(ArchitectureError, match='no layer 9'):
        feature_maps.passage(NETWORK, VARIABLES, IMAGE, 9)
    ends = Architecture('ends', NET.input_shape, (NET.layers[0], Layer(2, (Convolution(4, 3), GlobalAverage()))))
    with pytest.raises(ArchitectureError, match='layer 2 has no maps to look at; choose from 1'):
        feature_maps.passage(Network(ends), VARIABLES, IMAGE, 2)


def test_the_strongest_maps_are_those_of_the_largest_sums():
    maps = np.stack([np.full((2, 3), value) for value in (1.0, 5.0, -9.0, 5.0)], axis=-1)
    assert feature_maps.strongest(maps, 3) == [1, 3, 0]
