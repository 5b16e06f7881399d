"""Learned and random stages against plain loops, PyTorch, hand-computed values and sampling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from cnn_research.models import layers


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(f, arrays, g):
    y, back = jax.vjp(f, *arrays)
    return y, back(g)


def convolution_by_loops(x, kernel, bias, stride, before, after, groups=1):
    x = np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    (kh, kw, share, features), per = kernel.shape, kernel.shape[3] // groups
    rows, columns = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    y = np.empty((x.shape[0], rows, columns, features))
    for b, i, j, o in np.ndindex(y.shape):
        first = o // per * share
        patch = x[b, i * stride : i * stride + kh, j * stride : j * stride + kw, first : first + share]
        y[b, i, j, o] = (patch * kernel[..., o]).sum() + bias[o]
    return y


# (stride, padding, groups, kernel, width, channels); of the last three, four and two columns are computed at once
CONVOLUTIONS = (
    *((1, 0, 1, 3, 7, 4), (2, 1, 1, 3, 7, 4), (1, 2, 2, 5, 7, 4), (3, 1, 4, 2, 7, 4), (1, 0, 1, 3, 7, 6)),
    *((1, 2, 1, 5, 8, 3), (1, 0, 1, 4, 7, 1), (1, 0, 1, 3, 8, 6)),
)


@pytest.mark.parametrize(('stride', 'padding', 'groups', 'side', 'width', 'channels'), CONVOLUTIONS)
def test_convolution_against_loops_and_torch(float64, stride, padding, groups, side, width, channels):
    x, kernel, bias = normal(2, 8, width, channels), normal(side, side, channels // groups, 8, seed=1), normal(8, seed=2)
    expected = convolution_by_loops(x, kernel, bias, stride, padding, padding, groups)
    g = normal(*expected.shape, seed=3)
    y, gradients = value_and_gradients(lambda *a: layers.convolution(*a, stride, padding, groups=groups), (x, kernel, bias), g)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)

    torch = pytest.importorskip('torch')
    tensors = [torch.tensor(a.copy(), requires_grad=True) for a in (x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1), bias)]
    expected = torch.nn.functional.conv2d(*tensors, stride=stride, padding=padding, groups=groups)
    np.testing.assert_allclose(y, expected.detach().numpy().transpose(0, 2, 3, 1), rtol=0, atol=1e-12)
    expected.backward(torch.tensor(g.transpose(0, 3, 1, 2).copy()))
    theirs = [t.grad.numpy() for t in tensors]
    for ours, their in zip(gradients, (theirs[0].transpose(0, 2, 3, 1), theirs[1].transpose(2, 3, 1, 0), theirs[2]), strict=True):
        np.testing.assert_allclose(ours, their, rtol=0, atol=1e-12)


def test_convolution_that_covers_the_whole_width(float64):
    """cuda-convnet on 8 px with 3x3/4: the second window starts at 4 and the third, at 8, would see 0 px: ceil(5 / 4) + 1 = 3."""
    x, kernel, bias = normal(2, 8, 8, 3), normal(3, 3, 3, 4, seed=1), normal(4, seed=2)
    y = layers.convolution(jnp.asarray(x), kernel, bias, 4, ceil=True)
    np.testing.assert_allclose(y, convolution_by_loops(x, kernel, bias, 4, 0, 3), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(y[:, 2, 2], np.broadcast_to(bias, (2, 4)))

    def side(size, kernel, stride, ceil):
        arrays = (jax.ShapeDtypeStruct(shape, 'float32') for shape in ((1, size, size, 3), (kernel, kernel, 3, 1)))
        return jax.eval_shape(lambda x, k: layers.convolution(x, k, None, stride, 0, ceil), *arrays).shape[1]

    assert side(224, 11, 4, True) == 55  # Krizhevsky et al. 2012: 224 px give 55 maps only so
    assert side(224, 11, 4, False) == 54
    assert side(227, 11, 4, True) == side(227, 11, 4, False) == 55


def test_bias_gradient_equals_the_plain_one(float64):
    x, kernel, bias = jnp.asarray(normal(3, 6, 5, 2)), jnp.asarray(normal(3, 3, 2, 7)), jnp.asarray(normal(7))

    def fast(bias):
        return jnp.tanh(layers.convolution(x, kernel, bias)).sum()

    def plain(bias):
        return jnp.tanh(layers.convolution(x, kernel, None) + bias).sum()

    expected = jax.jit(jax.grad(plain))(bias)
    np.testing.assert_allclose(jax.jit(jax.grad(fast))(bias), expected, rtol=1e-13)
    per_example = jax.vmap(jax.grad(lambda b, x: jnp.tanh(layers.convolution(x[None], kernel, b)).sum()), (None, 0))
    np.testing.assert_allclose(jax.jit(per_example)(bias, x).sum(0), expected, rtol=1e-13)


def test_partial_kernel(float64):
    """Three output maps that see maps {0, 2}, {1} and {0, 1, 2}: six kernels, in that order."""
    table = ((0, 2), (1,), (0, 1, 2))
    kernels, x = normal(3, 3, 6), normal(2, 6, 6, 4, seed=1)
    full = layers.partial_kernel(jnp.asarray(kernels), table, 4)
    assert full.shape == (3, 3, 4, 3)
    expected = np.zeros((3, 3, 4, 3))
    for n, (i, o) in enumerate([(0, 0), (2, 0), (1, 1), (0, 2), (1, 2), (2, 2)]):
        expected[:, :, i, o] = kernels[:, :, n]
    np.testing.assert_array_equal(full, expected)
    gradient = jax.jit(jax.grad(lambda k: layers.convolution(x, layers.partial_kernel(k, table, 4), None)[..., 0].sum()))(kernels)
    sums = np.array([[x[:, i : i + 4, j : j + 4].sum((0, 1, 2)) for j in range(3)] for i in range(3)])  # what each tap met
    np.testing.assert_allclose(gradient[..., :2], sums[..., [0, 2]], rtol=1e-12)
    np.testing.assert_array_equal(gradient[..., 2:], 0)  # the other rows' kernels do not reach map 0


def test_expand_is_a_1x1_and_a_3x3_convolution_side_by_side(float64):
    x, pointwise, kernel, bias = normal(2, 5, 6, 4), normal(1, 1, 4, 3, seed=1), normal(3, 3, 4, 5, seed=2), normal(8, seed=3)
    arrays, g = (x, pointwise, kernel, bias), normal(2, 5, 6, 8, seed=4)

    def side_by_side(x, pointwise, kernel, bias):
        numbers = ('NHWC', 'HWIO', 'NHWC')
        parts = [lax.conv_general_dilated(x, one, (1, 1), 'SAME', dimension_numbers=numbers) for one in (pointwise, kernel)]
        return jnp.concatenate(parts, -1) + bias

    def scattered(x, pointwise, kernel, bias):
        whole = jnp.zeros((3, 3, 4, 8)).at[..., 3:].set(kernel).at[1, 1, :, :3].set(pointwise[0, 0])
        return layers.convolution(x, whole, bias, padding=1)

    y, gradients = value_and_gradients(layers.expand, arrays, g)
    for other in (side_by_side, scattered):
        expected, theirs = value_and_gradients(other, arrays, g)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)
        jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=0, atol=1e-11), gradients, theirs)
    check_grads(layers.expand, arrays, 2, modes=['rev'])


@pytest.mark.parametrize(('side', 'stride', 'padding'), [(3, 1, 1), (2, 2, 0), (3, 2, 1)])
def test_locally_connected(float64, side, stride, padding):
    x = normal(2, 6, 5, 3)
    rows, columns = ((size + 2 * padding - side) // stride + 1 for size in (6, 5))
    kernel, bias = normal(rows, columns, side * side * 3, 4, seed=1), normal(rows, columns, 4, seed=2)

    @jax.jit
    def f(*arrays):
        return layers.locally_connected(*arrays, side, stride, padding)

    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    expected = np.empty((2, rows, columns, 4))
    for i, j in np.ndindex(rows, columns):
        patch = padded[:, i * stride : i * stride + side, j * stride : j * stride + side].reshape(2, -1)
        expected[:, i, j] = patch @ kernel[i, j] + bias[i, j]
    np.testing.assert_allclose(f(x, kernel, bias), expected, rtol=0, atol=1e-12)
    check_grads(f, (x, kernel, bias), order=1, modes=['rev'], rtol=1e-6, atol=1e-6)
    shared = normal(side, side, 3, 4, seed=3)
    same = f(x, np.broadcast_to(shared.reshape(-1, 4), kernel.shape), np.zeros_like(bias))
    np.testing.assert_allclose(same, layers.convolution(jnp.asarray(x), shared, None, stride, padding), rtol=0, atol=1e-12)


def test_dense_against_torch(float64):
    torch = pytest.importorskip('torch')
    x, kernel, bias = normal(3, 2, 2, 4), normal(16, 5, seed=1), normal(5, seed=2)
    g = normal(3, 5, seed=3)
    y, gradients = value_and_gradients(layers.dense, (x, kernel, bias), g)
    tensors = [torch.tensor(a.copy(), requires_grad=True) for a in (x, kernel, bias)]
    expected = torch.nn.functional.linear(tensors[0].flatten(1), tensors[1].T, tensors[2])
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-13)
    expected.backward(torch.tensor(g))
    for ours, theirs in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=0, atol=1e-13)


def test_nonlinearities(float64):
    x = np.array([-2.0, -0.5, 0.0, 0.5, 3.0])
    for ours, value, slope in (
        (layers.relu, np.maximum(x, 0), x > 0),
        (layers.tanh, np.tanh(x), 1 - np.tanh(x) ** 2),
        (layers.scaled_tanh, 1.7159 * np.tanh(2 * x / 3), 1.7159 * 2 / 3 * (1 - np.tanh(2 * x / 3) ** 2)),
        (layers.sigmoid, 1 / (1 + np.exp(-x)), np.exp(-x) / (1 + np.exp(-x)) ** 2),
        (layers.absolute, np.abs(x), np.where(x < 0, -1, 1)),
    ):
        y, back = jax.vjp(ours, jnp.asarray(x))
        np.testing.assert_allclose(y, value, rtol=1e-14)
        np.testing.assert_allclose(back(jnp.ones(5))[0], slope, rtol=1e-13, atol=1e-16)


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


@pytest.mark.parametrize('rate', [0.5, 0.3, 0.75])
def test_dropconnect_draws_every_weight_and_bias_for_itself(rate):
    """Every input of ones, powers of two as weights: the output tells which weights of a unit, and whether its bias, were kept."""
    kernel, bias = jnp.tile(2.0 ** jnp.arange(8)[:, None], (1, 50)), jnp.full(50, 256.0)
    stage = jax.jit(layers.dropconnect, static_argnums=4)
    y = np.asarray(stage(jnp.ones((203, 2, 2, 2)), kernel, bias, keys(203), rate)).astype(int)
    kept = (y[..., None] >> np.arange(9)) & 1  # (203, 50, 9)
    error = np.sqrt(rate * (1 - rate) / (203 * 50))
    np.testing.assert_allclose(kept.mean((0, 1)), np.full(9, 1 - rate), atol=5 * error)
    between = np.corrcoef(kept.reshape(-1, 9).T) - np.eye(9)
    assert np.abs(between).max() < 5 / np.sqrt(203 * 50)
    assert len({example.tobytes() for example in y}) == 203  # no two examples share a mask
    again = stage(jnp.ones((2, 8)), kernel, bias, keys(203)[jnp.array([100, 7])], rate)
    np.testing.assert_array_equal(again, y[[100, 7]])  # the mask depends on the key alone, not on the place in the batch


@pytest.mark.parametrize('rate', [0.5, 0.3])
def test_dropconnect_training_gradient_follows_the_masks(float64, rate):
    """The stage is linear where it is positive: its gradients follow from its values at unit weights."""
    x, g = np.abs(normal(11, 6)) + 0.1, normal(11, 5, seed=1)
    kernel, bias = np.abs(normal(6, 5, seed=2)) + 0.1, np.abs(normal(5, seed=3)) + 0.1
    examples = keys(11)

    @jax.jit
    def f(x, kernel, bias):
        return layers.dropconnect(x, kernel, bias, examples, rate)

    units = np.eye(30).reshape(30, 6, 5)
    masks = sum(np.asarray(f(np.ones((11, 6)), unit, np.zeros(5)))[:, None] * unit for unit in units)  # (11, 6, 5)
    masks_of_bias = np.asarray(f(np.zeros((11, 6)), kernel, np.ones(5)))
    y, (dx, dkernel, dbias) = value_and_gradients(f, (x, kernel, bias), g)
    np.testing.assert_allclose(y, np.einsum('bn,bnm->bm', x, masks * kernel) + masks_of_bias * bias, rtol=1e-13)
    g = g * (np.asarray(y) > 0)
    np.testing.assert_allclose(dx, np.einsum('bm,bnm->bn', g, masks * kernel), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dkernel, np.einsum('bn,bm,bnm->nm', x, g, masks), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dbias, (g * masks_of_bias).sum(0), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(f(-x, kernel, bias * 0), 0)


@pytest.mark.parametrize('rate', [0.5, 0.3])
def test_packed_masks_do_what_masks_drawn_apart_do(rate):
    """More inputs than a word has bits: the plain form with the masks that `thinned` draws for the same keys."""
    x, kernel, bias = (np.asarray(a, np.float32) for a in (normal(3, 70), normal(70, 4, seed=1), normal(4, seed=2)))
    examples = keys(3, seed=5)
    masks, mask_of_bias = jax.vmap(lambda key: layers.thinned(jnp.ones((70, 4)), jnp.ones(4), key, rate))(examples)
    assert set(np.unique(masks)) == {0, 1} and abs(masks.mean() - 1 + rate) < 5 * np.sqrt(rate * (1 - rate) / masks.size)

    def plain(x, kernel, bias):
        return jax.nn.relu(jnp.einsum('bn,bnm->bm', x, masks * kernel, precision='highest') + mask_of_bias * bias)

    ours = jax.jit(lambda *arrays: value_and_gradients(lambda *a: layers.dropconnect(*a, examples, rate), arrays, jnp.ones((3, 4))))
    wanted = value_and_gradients(plain, (x, kernel, bias), np.ones((3, 4), np.float32))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5), ours(x, kernel, bias), wanted)


def test_a_share_is_kept_as_its_binary_digits_say():
    for rate in (0.2, 0.25, 0.3, 0.5, 0.65, 0.8, 1 - 2**-24):
        digits = layers._keeping(rate)
        assert digits[-1] == 1 and abs(sum(digit / 2**place for place, digit in enumerate(digits, 1)) - (1 - rate)) <= 2**-25
    assert layers._keeping(0.5) == (1,) and layers._keeping(0.75) == (0, 1)
    ones = jnp.ones((2, 3))
    np.testing.assert_array_equal(layers.dropconnect(ones, jnp.ones((3, 4)), jnp.ones(4), keys(2), 0.0), 4)


@pytest.mark.parametrize('rate', [0.5, 0.2])
def test_dropconnect_inference_is_the_mean_of_the_paper_s_samples(float64, rate):
    """Moments from masks drawn here, then the rectified mean of samples of that Gaussian (Wan et al. 2013, inference)."""
    random = np.random.default_rng(0)
    x, kernel, bias = normal(2, 6), normal(6, 4, seed=1), normal(4, seed=2)
    mask, mask_of_bias = random.random((100_000, 6, 4)) >= rate, random.random((100_000, 4)) >= rate
    inference = jax.jit(lambda *arrays: layers.dropconnect(*arrays, None, rate))
    for example, y in zip(x, inference(x, kernel, bias), strict=True):
        drawn = np.einsum('n,snm->sm', example, mask * kernel) + mask_of_bias * bias
        samples = np.maximum(drawn.mean(0) + drawn.std(0) * random.standard_normal((100_000, 4)), 0)
        np.testing.assert_allclose(y, samples.mean(0), rtol=0, atol=0.03)
    check_grads(inference, (x, kernel, bias), order=1, modes=['rev'], rtol=1e-6, atol=1e-6)


def test_dropconnect_inference_at_the_ends(float64):
    """mu = sigma = 1/2 for one input of 1, weight 1, bias 0: E = sigma phi(1) + mu Phi(1); no variance: the rectified mean."""
    one, inference = jnp.ones((1, 1)), jax.jit(lambda x, kernel, bias, rate: layers.dropconnect(x, kernel, bias, None, rate))
    y = inference(one, one, jnp.zeros(1), 0.5)
    np.testing.assert_allclose(y, 0.5 * 0.24197072451914337 + 0.5 * 0.8413447460685429, rtol=1e-12)
    np.testing.assert_allclose(inference(one, jnp.array([[3.0, -3.0]]), jnp.ones(2), 0.0), [[4, 0]])
    y, back = jax.vjp(lambda *a: inference(*a, 0.5), jnp.zeros((1, 3)), jnp.ones((3, 2)), jnp.zeros(2))
    np.testing.assert_array_equal(y, 0)
    assert all(np.isfinite(gradient).all() for gradient in back(jnp.ones((1, 2))))
    assert inference(one, -one, -40 * jnp.ones(1), 0.1)[0, 0] >= 0  # never negative, however far below 0


@pytest.mark.parametrize('rate', [0.5, 0.3])
def test_dropout(rate):
    x = jnp.asarray(np.abs(normal(40, 5, 5, 7)) + 0.1, jnp.float32)
    stage = jax.jit(layers.dropout, static_argnums=2)
    y, back = jax.vjp(lambda x: stage(x, keys(40), rate), x)
    kept = np.asarray(y != 0)
    np.testing.assert_allclose(y, np.where(kept, x / (1 - rate), 0), rtol=1e-6)
    np.testing.assert_allclose(back(jnp.ones_like(x))[0], kept / (1 - rate), rtol=1e-6)
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
    assert np.abs(np.corrcoef(kept.reshape(40, -1)) - np.eye(40)).max() < 5 / np.sqrt(175)  # examples differ
    np.testing.assert_allclose(stage(x[::-1], keys(40)[::-1], rate), y[::-1], rtol=1e-6)
    np.testing.assert_array_equal(layers.dropout(x, None, rate), x)


def test_rbf(float64):
    by_hand = layers.rbf(jnp.array([[1.0, 2.0], [0.0, -1.0]]), jnp.array([[1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_array_equal(by_hand, [[-9, -5, -1], [-1, -1, -5]])
    check_grads(layers.rbf, (normal(3, 7), normal(4, 7, seed=1)), order=1, modes=['rev'], rtol=1e-6, atol=1e-6)


def test_digit_codes():
    codes = layers.DIGIT_CODES
    assert codes.shape == (10, 84) and codes.dtype == np.float32
    assert set(np.unique(codes)) == {-1.0, 1.0}
    pictures = codes.reshape(10, 12, 7)
    assert (pictures[:, [0, -1]] == -1).all()  # an empty row above and below
    np.testing.assert_array_equal(pictures[7, 1], np.ones(7))  # the bar of the seven
    np.testing.assert_array_equal(pictures[0], pictures[0, :, ::-1])  # the zero is its own mirror image
    distances = -layers.rbf(jnp.asarray(codes), jnp.asarray(codes))
    np.testing.assert_array_equal(distances.argmin(1), np.arange(10))
    differing = (codes[:, None] != codes).sum(-1)
    np.testing.assert_array_equal(distances, 4.0 * differing)
    assert differing[~np.eye(10, dtype=bool)].min() >= 10
