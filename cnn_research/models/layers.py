"""The learned and the random stages of the classic networks, and their nonlinearities, as pure functions of arrays.

Maps are (B, H, W, C), features (B, n); pooling and normalization have files of their own.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_research.models import winograd
from cnn_research.stages import window_count

relu = jax.nn.relu
tanh = jnp.tanh
sigmoid = jax.nn.sigmoid
absolute = jnp.abs


def scaled_tanh(x: jax.Array) -> jax.Array:
    """1.7159 tanh(2x/3), which is close to 1 at 1 (LeCun et al. 1998, appendix A)."""
    return 1.7159 * jnp.tanh(x * (2 / 3))


@jax.custom_vjp
def _add_bias(x, bias):
    return x + bias


def _bias_gradient(_, g):
    # XLA's CPU compiler sums over all but the last axis far slower than it multiplies by ones: 9 ms against 1 to 2 for a CIFAR-size layer.
    ones = jnp.ones((1, math.prod(g.shape[:-1])), g.dtype)
    return g, jnp.matmul(ones, g.reshape(-1, g.shape[-1]), precision=lax.Precision.HIGHEST)[0]


_add_bias.defvjp(lambda x, bias: (x + bias, None), _bias_gradient)


def _columns_at_once(columns, channels, padding):
    """How many neighbouring output columns of a stride-1 convolution are computed together.

    XLA's CPU convolutions gather the pixels under each window one by one where there are few input maps; neighbouring windows share
    most of them. Four columns for an image: 3 channels (32x32, 5x5), forward and weight gradient 10.5 -> 7.1 ms. Two for few maps
    without padding: LeNet-5's second layer with its input gradient 7.7 -> 5.1 ms; with padding or more maps they lose.
    """
    if jax.default_backend() != 'cpu':
        return 1
    count = 4 if channels <= 4 else 2 if channels <= 20 and not padding else 1
    return 1 if columns % count else count


def _side_by_side(kernel, count):
    """`count` copies (kh, kw + count - 1, Cin, count Cout) of a kernel, each one column to the right of the last."""
    shifted = [jnp.pad(kernel, ((0, 0), (column, count - 1 - column), (0, 0), (0, 0))) for column in range(count)]
    return jnp.concatenate(shifted, -1) if count > 1 else kernel


def convolution(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, stride: int = 1, padding: int = 0, ceil: bool = False, groups: int = 1
) -> jax.Array:
    """(B, H, W, Cin), (kh, kw, Cin / groups, Cout), (Cout,) -> (B, rows, columns, Cout): cross-correlation, as everywhere in the field.

    `padding` zeros surround the image; rows = floor((H + 2 padding - kh) / stride) + 1. With `ceil` it is rounded up, and the
    zeros that the last window misses are added at the bottom and right (cuda-convnet). `groups` are towers: each sees its own share
    of the input maps and makes its own share of the output maps (Krizhevsky et al. 2012, Fig. 2).
    """

    def pads(size, side):
        covered = (window_count(size, side, stride, padding, ceil) - 1) * stride + side
        return padding, max(padding, covered - size - padding)

    around = tuple(map(pads, x.shape[1:3], kernel.shape[:2]))
    columns = x.shape[2] + sum(around[1]) - kernel.shape[1] + 1
    at_once = _columns_at_once(columns, x.shape[-1], padding) if stride == groups == 1 else 1
    kernel = _side_by_side(kernel, at_once)

    def convolve(x, kernel):
        if at_once == 1 and winograd.suits(x, kernel, stride, padding):
            return winograd.convolution(x, kernel, padding)
        dimensions = ('NHWC', 'HWIO', 'NHWC')
        return lax.conv_general_dilated(x, kernel, (stride, stride * at_once), around, dimension_numbers=dimensions)

    # One convolution for each tower: XLA's CPU gradient of a grouped convolution took 343 ms where this takes 90 (AlexNet's second layer).
    towers = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
    y = jnp.concatenate([convolve(*tower) for tower in towers], -1) if groups > 1 else convolve(x, kernel)
    y = y.reshape(*y.shape[:2], -1, y.shape[-1] // at_once)
    return y if bias is None else _add_bias(y, bias)


def partial_kernel(kernels: jax.Array, table: Sequence[Sequence[int]], channels: int) -> jax.Array:
    """(kh, kw, n) -> (kh, kw, channels, len(table)): the kernels that exist, spread over a dense kernel of zeros.

    table[o] lists the input maps that output map o sees; the n = sum of its rows' lengths kernels come in the order of its rows. Absent
    connections are constants, so they get no gradient (LeCun et al. 1998, II.B and Table I: C3).
    """
    seen = np.array([(i, o) for o, row in enumerate(table) for i in row])
    return jnp.zeros((*kernels.shape[:2], channels, len(table)), kernels.dtype).at[:, :, seen[:, 0], seen[:, 1]].set(kernels)


def expand(x: jax.Array, pointwise: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """(B, H, W, Cin), (1, 1, Cin, n), (3, 3, Cin, m), (n + m,) -> (B, H, W, n + m): n maps that see the pixel below them, then m that see
    the 3x3 pixels around it, zeros outside (Iandola et al. 2016, 3.1).

    Two convolutions: one 3x3 convolution, with `pointwise` as the middle of zeros, takes 45 ms with its gradients where these take 29
    (the last fire module, 16 images), and 100 instead of 93 in the first.
    """
    return _add_bias(jnp.concatenate([convolution(x, pointwise, None), convolution(x, kernel, None, padding=1)], -1), bias)


def locally_connected(x: jax.Array, kernel: jax.Array, bias: jax.Array, kernel_size: int, stride: int = 1, padding: int = 0) -> jax.Array:
    """A convolution without shared weights: (B, H, W, Cin), (rows, columns, n, Cout), (rows, columns, Cout) -> (B, rows, columns, Cout).

    Every position has a kernel of its own; its n = kernel_size^2 Cin inputs are in the order (kh, kw, Cin).
    """
    rows, columns, inputs, _ = kernel.shape
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    down, right, sides = stride * (rows - 1) + 1, stride * (columns - 1) + 1, range(kernel_size)
    patches = jnp.stack([x[:, i : i + down : stride, j : j + right : stride] for i in sides for j in sides], 3)
    return jnp.einsum('bhwk,hwko->bhwo', patches.reshape(x.shape[0], rows, columns, inputs), kernel) + bias


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """(B, ...), (n, m), (m,) -> (B, m); maps are flattened in the order H, W, C."""
    return _add_bias(x.reshape(x.shape[0], -1) @ kernel, bias)


def _kept(key, shape, rate):
    """Booleans that are False with probability `rate`."""
    if rate != 0.5:
        return jax.random.bernoulli(key, 1 - rate, shape)
    # One random bit an element instead of a random number: 14 times faster on CPU.
    words = jax.random.bits(key, (-(-math.prod(shape) // 32), 1), 'uint32')
    bits = (words >> jnp.arange(32, dtype='uint32')) & 1
    return bits.reshape(-1)[: math.prod(shape)].reshape(shape).astype(bool)


def _keeping(rate):
    """The digits after the binary point of 1 - rate, the last of them 1: (1,) for a half. 24 at most, more than float32 holds below 1."""
    share, digits = round((1 - rate) * 2**24), 24
    while digits and share % 2 == 0:
        share, digits = share // 2, digits - 1
    return tuple((share >> place) & 1 for place in reversed(range(digits)))


def _kept_words(key, shape, rate):
    """(ceil(n / 32), m) uint32 for a shape (n, m): bit i of word (w, j) says whether weight (32 w + i, j) is kept, each for itself.

    Coins decide, the same for 32 weights at once: with the digits of the share that is kept from the last to the first, a coin or what
    there is where the digit is 1, a coin and what there is where it is 0, is kept with the share exactly. A random number for each
    weight takes 32 times the coins of a rate of 1/2, and 4 / 3 times those of any other.
    """
    digits, size = _keeping(rate), (-(-shape[0] // 32), shape[1])
    if not digits:
        return jnp.full(size, 0xFFFFFFFF if rate < 0.5 else 0, 'uint32')

    def toss(kept, coin):
        digit, key = coin
        bits = jax.random.bits(key, size, 'uint32')
        return jnp.where(digit, bits | kept, bits & kept), None

    coins = np.array(digits[::-1], bool), jax.random.split(key, len(digits))
    return lax.scan(toss, jnp.zeros(size, 'uint32'), coins)[0]


def _masked(kernel, words):
    """The kernel (n, m) with zeros for what the words do not keep."""
    kept = (words[:, None] >> jnp.arange(32, dtype='uint32')[:, None]) & 1
    return jnp.where(kept.reshape(-1, words.shape[1])[: len(kernel)] != 0, kernel, 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _with_dropped_weights(x, kernel, keys, rate):
    return lax.map(lambda one: one[0] @ _masked(kernel, _kept_words(one[1], kernel.shape, rate)), (x, keys))


def _with_dropped_weights_forward(x, kernel, keys, rate):
    def example(one):
        words = _kept_words(one[1], kernel.shape, rate)
        return one[0] @ _masked(kernel, words), words

    y, words = lax.map(example, (x, keys))
    return y, (x, kernel, words)


def _with_dropped_weights_backward(rate, saved, g):
    x, kernel, words = saved

    def example(total, one):
        v, kept, g = one
        return total + _masked(v[:, None] * g, kept), _masked(kernel, kept) @ g

    zeros = jnp.zeros(kernel.shape, jnp.promote_types(kernel.dtype, jnp.float32))
    dkernel, dx = lax.scan(example, zeros, (x, words, g))
    return dx, dkernel.astype(kernel.dtype), None


# Example by example, since a masked kernel then stays in the cache, and its masks as bits from the way up to the way down: of 128 examples
# and 800 x 800 weights on one CPU core XLA's own gradient of eight masked kernels at a time, drawn twice, took 1.7 s (a rate of 1/2) and
# 4.8 s (0.3); this takes 0.14 s and 0.4 s.
_with_dropped_weights.defvjp(_with_dropped_weights_forward, _with_dropped_weights_backward)


def thinned(kernel: jax.Array, bias: jax.Array, key: jax.Array, rate: float) -> tuple[jax.Array, jax.Array]:
    """(kernel (n, m), bias (m,)) under one mask, that of an example with this key: a network with it is one of those that DropConnect
    averages over."""
    whole = jnp.concatenate([kernel, bias[None]])
    kept = _masked(whole, _kept_words(key, whole.shape, rate))
    return kept[:-1], kept[-1]


def moments(x: jax.Array, kernel: jax.Array, bias: jax.Array, rate: float) -> tuple[jax.Array, jax.Array]:
    """(mean, variance), (B, m) each, of the inputs that units have over all masks: (B, ...), (n, m), (m,) (Wan et al. 2013, inference)."""
    x = x.reshape(x.shape[0], -1)
    return (1 - rate) * (x @ kernel + bias), rate * (1 - rate) * ((x * x) @ (kernel * kernel) + bias * bias)


def dropconnect(x: jax.Array, kernel: jax.Array, bias: jax.Array, keys: jax.Array | None, rate: float) -> jax.Array:
    """A rectified dense stage that drops weights: (B, ...), (n, m), (m,) -> (B, m), never negative (Wan et al. 2013, 3).

    Training: `keys` (B,) holds a PRNG key for each example; each example drops each weight and each bias with probability `rate`,
    without rescaling the rest. Inference (keys None): a unit's input is taken as a Gaussian with the mean and variance that the masks
    give it, and the mean of the rectified Gaussian is returned. The paper draws samples from that Gaussian and averages the rectified
    samples; this is the limit for many samples. Where the variance is 0 the rectified mean is returned.
    """
    x = x.reshape(x.shape[0], -1)
    if keys is not None:
        ones = jnp.ones((x.shape[0], 1), x.dtype)
        return relu(_with_dropped_weights(jnp.concatenate([x, ones], 1), jnp.concatenate([kernel, bias[None]]), keys, rate))
    mean, variance = moments(x, kernel, bias, rate)
    spreads = variance > 0
    deviation = jnp.sqrt(jnp.where(spreads, variance, 1))  # a gradient through the root of 0 would be NaN, even if never chosen
    ratio = (mean / deviation).astype(jnp.promote_types(x.dtype, jnp.float32))  # bfloat16 has no normal distribution
    density, below = jax.scipy.stats.norm.pdf(ratio).astype(x.dtype), jax.scipy.stats.norm.cdf(ratio).astype(x.dtype)
    expected = deviation * density + mean * below
    # Far below 0 the two terms cancel and rounding may leave less than nothing.
    return jnp.where(spreads, relu(expected), relu(mean))


def dropout(x: jax.Array, keys: jax.Array | None, rate: float) -> jax.Array:
    """Zeroes each element with probability `rate`; keys (B,) hold a PRNG key for each example, None (inference) changes nothing.

    What is kept is divided by 1 - rate. Krizhevsky et al. 2012, 4.2, instead leave it as it is and multiply by 1 - rate = 1/2 at test time:
    the same network once the next stage's kernel is multiplied by 1 - rate, so its initialization, learning rate and weight decay
    mean as much less here.
    """
    if keys is None:
        return x
    kept = jax.vmap(lambda key: _kept(key, x.shape[1:], rate))(keys)
    return jnp.where(kept, x / (1 - rate), 0)


def rbf(x: jax.Array, prototypes: jax.Array) -> jax.Array:
    """Minus the squared Euclidean distance to each prototype: (B, n), (classes, n) -> (B, classes) (LeCun et al. 1998, II.B).

    The paper's output is the distance, of which the smallest wins; the sign makes the largest win, as in other classifiers.
    """
    return -jnp.square(x[:, None] - prototypes).sum(-1)


_DRAWINGS = """
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
..###.. ...##.. .#####. ####### #....#. ######. ....##. ####### .#####. ..###..
.#...#. ..###.. #.....# .....#. #....#. #...... ..##... ......# #.....# .#...#.
#.....# .##.#.. ......# ....#.. #....#. #...... .#..... .....#. #.....# #.....#
#.....# ....#.. ......# ...#... #....#. #...... #...... .....#. .#...#. #.....#
#.....# ....#.. .....#. ..####. ####### #####.. #.###.. ..##### ..###.. .#...##
#.....# ....#.. ....#.. ......# .....#. .....#. ##...#. ...#... .#...#. ..###.#
#.....# ....#.. ..##... ......# .....#. ......# #.....# ...#... #.....# ......#
#.....# ....#.. .#..... ......# .....#. ......# #.....# ..#.... #.....# .....#.
.#...#. ....#.. #...... #....#. .....#. #....#. .#...#. ..#.... #.....# ...##..
..###.. ..##### ####### .####.. .....#. .####.. ..###.. ..#.... .#####. .##....
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""


def _digit_codes() -> np.ndarray:
    """(10, 84) float32: ten drawings, 7 wide and 12 high, row by row; ink is +1, paper -1.

    LeNet-5's output compares F6 with such drawings. The paper's own are a figure (LeCun et al. 1998, Fig. 3); these are drawn after
    the same idea, so that similar digits have similar codes.
    """
    lines = [line.split() for line in _DRAWINGS.split('\n') if line]
    return np.array([[1 if c == '#' else -1 for line in lines for c in line[digit]] for digit in range(10)], np.float32)


DIGIT_CODES = _digit_codes()
