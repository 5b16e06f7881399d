"""The stages of hand-made descriptors against plain loops, their gradients, and what walks over stages and meets them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cnn_research.architecture import (
    Architecture,
    AveragePool,
    CellPool,
    Clipped,
    Convolution,
    Dense,
    Layer,
    PyramidPool,
    UnitLength,
    WinnerTakeAll,
    from_json,
    replaced,
    resized,
    without,
)
from cnn_research.errors import ArchitectureError
from cnn_research.models import descriptors, zoo
from cnn_research.models.network import Network


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def maps(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# Cells


def cells_by_loops(x, cells, kernel, stride):
    """One pixel, one cell at a time."""
    width, middle = kernel / cells, (kernel - 1) / 2
    rows, columns = ((side - kernel) // stride + 1 for side in x.shape[1:3])
    y = np.zeros((len(x), rows, columns, cells, cells, x.shape[3]))
    for i, j, p, q, a, b in np.ndindex(rows, columns, kernel, kernel, cells, cells):
        gaussian = np.exp(-((p - middle) ** 2 + (q - middle) ** 2) / (2 * (kernel / 2) ** 2))
        down = 1 - abs((p + 0.5) / width - (a + 0.5))
        across = 1 - abs((q + 0.5) / width - (b + 0.5))
        y[:, i, j, a, b] += gaussian * max(0, down) * max(0, across) * x[:, i * stride + p, j * stride + q]
    return y.reshape(len(x), rows, columns, -1)


@pytest.mark.parametrize(
    ('height', 'width', 'cells', 'kernel', 'stride'), [(17, 21, 4, 16, 4), (9, 8, 2, 6, 1), (11, 7, 3, 7, 3), (5, 6, 1, 2, 4)]
)
def test_cells_and_their_gradient(height, width, cells, kernel, stride):
    x = maps(2, height, width, 3)
    y = jax.jit(lambda x: descriptors.cell_pool(x, cells, kernel, stride))(x)
    np.testing.assert_allclose(y, cells_by_loops(x, cells, kernel, stride), rtol=0, atol=1e-12)
    assert y.shape[1:] == CellPool(cells, kernel, stride).output(x.shape[1:])
    check_grads(jax.jit(lambda x: descriptors.cell_pool(x, cells, kernel, stride)), (x,), order=1, modes=['rev'])


def test_a_pixels_shares_of_all_cells_are_one_where_it_lies_between_four_middles():
    x = np.zeros((1, 16, 16, 1))
    x[0, 7, 6] = 1
    y = np.asarray(descriptors.cell_pool(jnp.asarray(x), 4, 16, 8)).reshape(4, 4)
    assert y.sum() == pytest.approx(np.exp(-(0.5**2 + 1.5**2) / 128))
    np.testing.assert_allclose(y[1:3, 1:3] / y.sum(), np.outer([0.625, 0.375], [0.875, 0.125]), rtol=1e-12)
    assert np.count_nonzero(y) == 4


def test_cells_see_their_window_and_nothing_else():
    net = Architecture('cells', (23, 19, 1), (Layer(1, (Convolution(2, 3), CellPool(2, 6, 3))), Layer(2, (Dense(2),))))
    ones = {'layer1': {'convolution': {'kernel': jnp.ones((3, 3, 1, 2)), 'bias': jnp.zeros(2)}}}

    def unit(x):
        return Network(net).apply({'params': ones}, x, ('layer1',), method='features')['layer1'][0, 2, 3].sum()

    seen = np.argwhere(np.asarray(jax.jit(jax.grad(unit))(jnp.ones((1, 23, 19, 1))))[0, :, :, 0])
    top, left, bottom, right = net.window('layer1', 2, 3)
    assert (*seen.min(0), *seen.max(0) + 1) == (top, left, bottom, right) == (6, 9, 14, 17)
    assert (net.row('layer1').receptive_field, net.row('layer1').effective_stride) == (8, 3)


# Lengths


def test_unit_length_and_its_gradient():
    x = maps(2, 3, 4, 9) * np.linspace(0.01, 2, 4)[:, None]  # so that both sides of the floor are met
    length, floor = np.sqrt((x**2).sum(-1, keepdims=True)), 1.0
    assert 0.2 < (length < floor).mean() < 0.8
    y = descriptors.unit_length(jnp.asarray(x), floor)
    np.testing.assert_allclose(y, np.where(length < floor, x / floor, x / length), rtol=1e-12)
    check_grads(jax.jit(lambda x: descriptors.unit_length(x, floor)), (x,), order=1, modes=['rev'], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(('dtype', 'floor'), [('float32', 1e-12), ('bfloat16', 0.5), ('float64', 1e-4)])
def test_a_zero_vector_stays_zero_with_a_finite_gradient(dtype, floor):
    x = jnp.zeros((2, 5), dtype)
    y, down = jax.vjp(lambda x: descriptors.unit_length(x, floor), x)
    assert y.dtype == x.dtype and not y.any()
    np.testing.assert_allclose(down(jnp.ones_like(x))[0].astype('float64'), np.full((2, 5), 1 / floor), rtol=1e-2)


def test_clipping_stops_the_signal_where_it_clips():
    x = jnp.array([-3.0, 0.1, 0.19, 0.21, 5.0])
    y, down = jax.vjp(lambda x: descriptors.clipped(x, 0.2), x)
    np.testing.assert_array_equal(y, [-3.0, 0.1, 0.19, 0.2, 0.2])
    np.testing.assert_array_equal(down(jnp.ones(5))[0], [1, 1, 1, 0, 0])


# Winners


def test_the_first_of_the_strongest_takes_all():
    x = np.random.default_rng(0).integers(0, 3, (3, 4, 5, 6)).astype(float)  # most places have their maximum more than once
    y = np.zeros_like(x)
    for place in np.ndindex(x.shape[:3]):
        y[(*place, list(x[place]).index(max(x[place])))] = 1
    np.testing.assert_array_equal(descriptors.winner_take_all(jnp.asarray(x), 10.0), y)
    assert descriptors.winner_take_all(jnp.zeros((2, 3), 'bfloat16'), 1.0).dtype == jnp.bfloat16


@pytest.mark.parametrize('sharpness', [1.0, 7.0])
def test_the_winners_signal_comes_down_through_the_softmax(sharpness):
    x, g = maps(2, 3, 5), maps(2, 3, 5, seed=1)
    found = jax.vjp(lambda x: descriptors.winner_take_all(x, sharpness), jnp.asarray(x))[1](jnp.asarray(g))[0]
    # The Jacobian written out: d p_i / d x_j = sharpness p_i (delta_ij - p_j).
    for place in np.ndindex(x.shape[:2]):
        p = np.exp(sharpness * x[place])
        p /= p.sum()
        np.testing.assert_allclose(found[place], sharpness * (np.diag(p) - np.outer(p, p)) @ g[place], rtol=1e-10)


# Pyramids


def pyramid_by_loops(x, levels):
    height, width, numbers = *x.shape[1:3], []
    for level in range(levels):
        weight = 1 / 2 ** (levels - 1) if level == 0 else 1 / 2 ** (levels - level)
        for a, b in np.ndindex(2**level, 2**level):
            down, across = (slice(side * i // 2**level, side * (i + 1) // 2**level) for side, i in ((height, a), (width, b)))
            numbers.append(weight * x[:, down, across].sum((1, 2)) / (height * width))
    return np.concatenate(numbers, 1)


@pytest.mark.parametrize(('height', 'width', 'levels'), [(14, 14, 3), (7, 5, 3), (4, 9, 2), (8, 11, 4), (1, 1, 1)])
def test_the_pyramid_and_its_gradient(height, width, levels):
    x = maps(2, height, width, 3)
    y = jax.jit(lambda x: descriptors.pyramid_pool(x, levels))(x)
    np.testing.assert_allclose(y, pyramid_by_loops(x, levels), rtol=0, atol=1e-13)
    assert y.shape[1:] == PyramidPool(levels).output(x.shape[1:])
    check_grads(jax.jit(lambda x: descriptors.pyramid_pool(x, levels)), (x,), order=1, modes=['rev'])


def test_every_place_counts_once_on_every_level_with_the_papers_weights():
    x = jax.nn.one_hot(np.random.default_rng(0).integers(0, 5, (1, 13, 10)), 5)
    y = np.asarray(descriptors.pyramid_pool(x, 3)).reshape(21, 5)
    np.testing.assert_allclose([y[:1].sum(), y[1:5].sum(), y[5:].sum()], [1 / 4, 1 / 4, 1 / 2])
    assert (y > 0).any(1).all()  # 13 and 10 places in 4: no cell is empty


# What walks over stages


@pytest.mark.parametrize('stage', [CellPool(2, 8, 3), PyramidPool(4), UnitLength(0.5), Clipped(0.3), WinnerTakeAll(7.0)])
def test_shapes_counts_and_json_of_every_new_stage(stage):
    net = Architecture('one', (20, 17, 2), (Layer(1, (Convolution(6, 3), stage)), Layer(2, (Dense(4),))))
    row = net.rows[1]
    assert (row.parameters, row.multiply_adds, row.connections) == (0, 0, 0)
    assert from_json(net.to_json()) == net
    taps = jax.eval_shape(lambda x: Network(net).init_with_output(jax.random.key(0), x, taps=('layer1',))[0][1], jnp.zeros((2, 20, 17, 2)))
    assert taps['layer1'].shape == (2, *row.output)


@pytest.mark.parametrize(
    ('make', 'why'),
    [
        (lambda: CellPool(0), r'cell_pool cannot have cells=0; it is a whole number from 1'),
        (lambda: UnitLength(0), r'unit_length cannot have floor=0; it is a number from 1e-12 up to 1e12'),
        (lambda: Clipped(-1), r'clipped cannot have most=-1; it is a number from 0 up'),
        (lambda: WinnerTakeAll(float('nan')), r'winner_take_all cannot have sharpness=nan; it is a number from 0 up'),
        (lambda: PyramidPool(17), r'pyramid_pool cannot have levels=17; it is a whole number from 1 up to 16'),
        (lambda: zoo.architecture('sift replaced(2,pooling_cells=17)'), r'layer2: cell_pool cannot divide a 16x16 window into 17x17 cells'),
        (lambda: zoo.architecture('sift replaced(2,pooling_kernel=123)'), r'layer2: cell_pool 123x123/8 .* below 1 px'),
        (lambda: zoo.architecture('spm replaced(3,pooling_levels=5)'), r'layer3: pyramid_pool would cut 14x14 maps into 16x16 cells'),
        (lambda: PyramidPool().output((4200,)), r'pyramid_pool needs maps'),
        (
            lambda: zoo.architecture('spm replaced(3,pooling=max_pool)'),
            r'max_pool needs kernel and stride, which pyramid_pool does not have',
        ),
        (lambda: zoo.architecture('sift replaced(2,pooling=cel_pool)'), r'Did you mean cell_pool\?'),
    ],
)
def test_impossible_stages_and_surgery_say_why(make, why):
    with pytest.raises(ArchitectureError, match=why) as caught:
        make()
    assert '\n' not in str(caught.value)


def test_surgery_knows_the_new_stages():
    net = zoo.architecture('spm_32')
    changed = replaced(net, 2, pooling='average_pool', normalization='none', nonlinearity='tanh').layer(2).stages
    assert [stage.name for stage in changed] == ['convolution', 'tanh', 'average_pool', 'tanh']
    assert changed[2] == AveragePool(8, 2)
    assert replaced(zoo.architecture('spm'), 1, nonlinearity='clipped').layer(1).stages[1] == Clipped()
    assert replaced(net, 3, nonlinearity_sharpness=3).layer(3).stages[1] == WinnerTakeAll(3)
    assert resized(net, {1: 12, 3: 50}).taps()['layer3'] == (21 * 50,)
    assert without(net, 3).layers[-1].stages[0].parameters(net.taps()['layer2'])['kernel'] == (144 * 128, 10)
    assert replaced(net, 3, pooling_levels=2).taps()['layer3'] == (5 * 100,)
