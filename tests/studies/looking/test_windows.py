"""Maps of which only a window is computed anew, against the whole layer on the whole changed image, wherever the change lies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research.architecture import (
    Architecture,
    AveragePool,
    CellPool,
    Clipped,
    Convolution,
    Dense,
    Divisive,
    Expand,
    GlobalAverage,
    Layer,
    MaxPool,
    PyramidPool,
    ReLU,
    Response,
    Subsampling,
    Tanh,
    UnitLength,
)
from cnn_research.models.network import Network
from cnn_research.studies.looking import windows

TOP = Layer(3, (Dense(3),))
NETS = {
    'padded, overlapping pools': (
        (24, 21, 2),
        (
            Layer(1, (Convolution(3, 3, padding=1), ReLU(), Response(), MaxPool(3, 2))),
            Layer(2, (Convolution(4, 5, padding=2), ReLU(), MaxPool(3, 2))),
        ),
    ),
    'strides, unfinished windows': (
        (31, 34, 2),
        (
            Layer(1, (Convolution(3, 5, stride=2, padding=1), ReLU(), MaxPool(3, 2, ceil=True), Response())),
            Layer(2, (Convolution(4, 3, stride=2, ceil=True), ReLU())),
        ),
    ),
    'fire module': (
        (24, 23, 2),
        (
            Layer(1, (Convolution(3, 3, stride=2), ReLU(), MaxPool(2, 1))),
            Layer(2, (Expand(5, pointwise=2), ReLU(), MaxPool(3, 2, ceil=True))),
        ),
    ),
    'no padding, averages': (
        (26, 26, 2),
        (
            Layer(1, (Convolution(3, 4), Tanh(), Subsampling(2, 2), Tanh())),
            Layer(2, (Convolution(4, 2, padding=1), ReLU(), AveragePool(3, 2, padding=1, ceil=True))),
        ),
    ),
    'cells': (
        (25, 24, 2),
        (
            Layer(1, (Convolution(3, 3), ReLU(), CellPool(2, 5, 2), UnitLength(0.3))),
            Layer(2, (Convolution(4, 2), Clipped(0.1))),
        ),
    ),
}
SLOW = ('strides, unfinished windows', 'no padding, averages')  # each compiles for seconds


def architecture(name):
    shape, layers = NETS[name]
    return Architecture(name, shape, (*layers, TOP))


@pytest.mark.parametrize(
    ('name', 'size'),
    [pytest.param(name, size, marks=pytest.mark.slow if name in SLOW else ()) for name, size in zip(NETS, (6, 1, 3, 3, 2), strict=True)],
)
def test_windows_give_the_maps_of_the_whole_layer_wherever_the_change_is(name, size, monkeypatch):
    monkeypatch.setattr(windows, 'SHARE', 1.0)
    net = architecture(name)
    network, (height, width, _) = Network(net), net.input_shape
    lowest = windows.windows(net, size, below=3)
    assert lowest[-1].piece.number == 2 and len(lowest) > 2 and any(axis.window < axis.side for axis in lowest[0].axes)
    # One image, changed at all places along the border, those that overhang included, and at some within.
    corners = np.stack(np.meshgrid(np.arange(1 - size, height), np.arange(1 - size, width), indexing='ij'), -1).reshape(-1, 2)
    random = np.random.default_rng(0)
    within = ((corners > 1) & (corners < (height - size - 1, width - size - 1))).all(1)
    corners = corners[~within | (random.uniform(size=len(corners)) < 0.1)]
    image = random.normal(size=net.input_shape).astype(np.float32)
    down, across = np.arange(height)[:, None] - corners[:, 0, None, None], np.arange(width) - corners[:, 1, None, None]
    inside = ((down >= 0) & (down < size) & (across >= 0) & (across < size))[..., None]
    changed = np.where(inside, random.normal(size=(len(corners), *net.input_shape)), image).astype(np.float32)
    params = jax.jit(network.init)(jax.random.key(0), changed[:1])['params']

    @jax.jit
    def run(params, changed, corners):
        taps = tuple(window.tap for window in lowest)
        both = jnp.stack([image, image + 1])  # of two clean images the second is the one that was changed
        clean = [kept[::-1] for kept in network.apply({'params': params}, both, taps, method='features').values()]
        found = windows.recomputed(network, lowest, params, changed, corners, clean, jnp.ones(len(corners), int))
        logits = windows.upper(network, lowest).apply({'params': params}, found)[0]
        whole = network.apply({'params': params}, image[None], taps=('layer2',))[1]['layer2']
        return found, logits, whole, network.apply({'params': params}, changed, taps=('layer2',))

    found, logits, clean, (expected, taps) = run(params, changed, corners)
    np.testing.assert_allclose(found, taps['layer2'], atol=1e-5)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert np.abs(found - clean).max() > 0.1


def test_windows_stop_where_they_are_not_worth_it_or_not_right():
    net = architecture('padded, overlapping pools')
    assert [window.tap for window in windows.windows(net, 2, below=3)] == ['layer1.response', 'layer1.max_pool']
    assert not windows.windows(net, 20, below=3)
    strided = Architecture('net', (32, 32, 2), (Layer(1, (Convolution(3, 1, stride=2), ReLU())), TOP))
    assert not windows.windows(strided, 1, below=3)
    assert not windows.windows(net, 1, below=1)
    divided = Architecture('net', (32, 32, 2), (Layer(1, (Convolution(3, 3), ReLU(), Divisive(5))), TOP))
    assert not windows.windows(divided, 1, below=3)
    counted = Architecture('net', (32, 32, 2), (Layer(1, (Convolution(3, 3), ReLU(), PyramidPool(2))), TOP))
    assert not windows.windows(counted, 1, below=3)
    assert windows.upper(Network(net), ()) == Network(net)


def test_windows_stop_below_a_layer_that_ends_without_maps():
    last = Layer(2, (Convolution(3, 3), ReLU(), MaxPool(2, 2), GlobalAverage()))
    net = Architecture('net', (32, 32, 2), (Layer(1, (Convolution(3, 3), ReLU())), last, TOP))
    lowest = windows.windows(net, 2, below=3)
    assert [window.tap for window in lowest] == ['layer1.relu']
    assert windows.upper(Network(net), lowest).architecture.layers == (last, TOP)
