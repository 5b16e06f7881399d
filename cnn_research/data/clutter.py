"""The embedded sets: MNIST digits, and composites generated from them, the same bytes on every machine.

A composite is a smooth coloured background, pieces of other digits in random colours, and one whole digit on top, turned, sheared and
scaled, in a colour lighter or darker than the background: the colour cousin of cluttered MNIST (Mnih et al. 2014, section 4.1).

Each digit is the whole digit of several composites (eight of the 40,000 training ones), so a holdout carved out of the training split is
a little easier than the test split, whose digits are new.

Everything random is read from raw Philox words of the key (seed, index), because NumPy promises to keep the words of a bit generator but
not the algorithms of its distributions. Everything else is integer arithmetic, or float64 sums, products and quotients rounded one by one
as IEEE 754 demands; no function whose last bit is left to a mathematics library.
"""

import functools
import pathlib

import numpy as np

SIDE = 32  # of a composite, px
DIGIT = 28  # side of an MNIST image, px
NUM_EXAMPLES = {'train': 40_000, 'test': 5_000}
SEEDS = {'train': 1, 'test': 2}
PIECES, PIECE_SIZE = 5, 7

SCALE = (0.7, 0.95)
HALF_TURN = 0.12566  # tan(0.25 rad / 2)
SHEAR = 0.15
CHUNK = 512  # composites made at a time, to keep the arrays in cache
PARAMETER_WORDS = 32
PIECE_WORDS = 8


@functools.cache
def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 28, 28) and int32 (N,): the first 5,000 training or 1,500 test digits of MNIST, in its original order; read-only."""
    with np.load(pathlib.Path(__file__).with_name('digits.npz'), allow_pickle=False) as arrays:
        images, labels = arrays[f'{split}_images'], arrays[f'{split}_labels'].astype(np.int32)
    images.setflags(write=False)
    labels.setflags(write=False)
    return images, labels


def examples(split: str, indices) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Composites of a split of the embedded set, made on demand; see `composites` for what is returned."""
    images, labels = digits(split)
    return composites(images, labels, SEEDS[split], indices, PIECES, PIECE_SIZE)


def boxes(split: str, indices) -> np.ndarray:
    """int32 (n, 4): top, left, height, width (px) of the whole digit in composites of the embedded set."""
    return examples(split, indices)[2]


def composites(images, labels, seed: int, indices, pieces: int, piece_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Composites by number, each a function of (seed, number) and of the digits alone; number i shows digit i mod N whole.

    images: uint8 (N, 28, 28) digits, N at least 2; labels: (N,). Each of the `pieces` is piece_size px square.
    Returns uint8 (n, 32, 32, 3), int32 (n,) labels of the whole digits, and int32 (n, 4) boxes: top, left, height, width (px) of all the
    pixels that the whole digit touches.
    """
    indices = np.asarray(indices, np.int64).reshape(-1)
    made = [
        _composites(images, seed, indices[start : start + CHUNK], pieces, piece_size) for start in range(0, max(len(indices), 1), CHUNK)
    ]
    pictures, found = (np.concatenate(parts) for parts in zip(*made, strict=True))
    return pictures, np.asarray(labels, np.int32)[indices % len(images)], found


def _composites(images, seed, indices, pieces, piece_size):
    raw = words(seed, indices, PARAMETER_WORDS + PIECE_WORDS * pieces + SIDE * SIDE * 3 // 8)
    parameters = uniform(raw[:, :PARAMETER_WORDS]).T
    piece_parameters = uniform(raw[:, PARAMETER_WORDS : PARAMETER_WORDS + PIECE_WORDS * pieces])
    noise = raw[:, PARAMETER_WORDS + PIECE_WORDS * pieces :]

    level = between(parameters[0:3], 80, 176).T
    canvas = background(level, parameters[3:15], SIDE, SIDE)
    for piece in range(pieces):
        _paste_piece(canvas, images, indices, piece_parameters[:, PIECE_WORDS * piece : PIECE_WORDS * (piece + 1)].T, piece_size)
    alpha, found = _whole_digit(images[indices % len(images)], parameters[15:20])
    contrast = between(parameters[20:23], 96, 144).T * np.where(parameters[23] < 0.5, -1, 1)[:, None]
    colour = np.clip(level + contrast, 0, 255)[:, None, None, :]
    canvas = blend(canvas, colour, alpha[..., None])
    return noisy(canvas, noise), found


def words(seed: int, indices, count: int) -> np.ndarray:
    """uint64 (n, count): the raw Philox words of the keys (seed, index)."""
    rows = np.empty((len(indices), count), np.uint64)
    for row, index in zip(rows, indices, strict=True):
        row[:] = np.random.Philox(key=np.array([seed, index], np.uint64)).random_raw(count)
    return rows


def uniform(raw: np.ndarray) -> np.ndarray:
    """float64 in [0, 1) of raw words."""
    return (raw >> np.uint64(11)) * 2.0**-53


def noisy(canvas: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """uint8 of int32 (n, H, W, 3) with noise from raw words (n, H W 3 / 8) added: triangular, standard deviation 6.5."""
    # Little-endian by declaration, so that a byte of noise is the same byte on every machine.
    noise = raw.astype('<u8').view(np.uint8).reshape(canvas.shape)
    return np.clip(canvas + ((noise >> 4).astype(np.int32) + (noise & 15) - 15), 0, 255).astype(np.uint8)


def between(uniform, low, high):
    """Integers low to high - 1, equally likely."""
    return low + (uniform * (np.asarray(high) - low)).astype(np.int32)


def blend(under, over, alpha):
    """`over` on `under` where alpha is 255, `under` alone where it is 0."""
    return (under * (255 - alpha) + over * alpha + 127) // 255


def background(level: np.ndarray, uniform: np.ndarray, height: int, width: int) -> np.ndarray:
    """int32 (n, height, width, 3): bilinear between corner colours that differ from `level` (n, 3) by at most 28; uniform: (12, n)."""
    corners = level[:, None, None, :] + between(uniform, -28, 29).T.reshape(-1, 2, 2, 3)
    down, right = np.arange(height, dtype=np.int32), np.arange(width, dtype=np.int32)
    down, right = np.stack([height - 1 - down, down]), np.stack([width - 1 - right, right])
    rows = corners[:, 0, None] * down[0][:, None, None] + corners[:, 1, None] * down[1][:, None, None]
    both = rows[:, :, None, 0] * right[0][:, None] + rows[:, :, None, 1] * right[1][:, None]
    return (both // ((height - 1) * (width - 1))).astype(np.int32)


def _paste_piece(canvas, images, indices, uniform, size):
    """Blends a size x size cut from the inner 20 x 20 px of another digit into each canvas, in place."""
    count = len(images)
    other = (indices + between(uniform[0], 1, count)) % count
    source_top, source_left = between(uniform[1:3], 4, 24 - size + 1)
    top, left = between(uniform[3:5], 0, SIDE - size + 1)
    colour = between(uniform[5:8], 0, 256).T
    rows, columns = np.arange(size)[:, None], np.arange(size)[None, :]
    cut = images[other[:, None, None], source_top[:, None, None] + rows, source_left[:, None, None] + columns].astype(np.int32)
    place = (np.arange(len(canvas))[:, None, None], top[:, None, None] + rows, left[:, None, None] + columns)
    canvas[place] = blend(canvas[place], colour[:, None, None, :], cut[..., None])


def _whole_digit(whole, uniform):
    """Coverage (n, 32, 32), 0 to 255, of digits (n, 28, 28) turned, sheared, scaled and moved; boxes (n, 4) of what is not 0."""
    alpha = turned(whole, uniform[0:3], SCALE, SIDE)
    touched = alpha > 0
    top, height = extent(touched.any(axis=2))
    left, width = extent(touched.any(axis=1))
    new_top, new_left = between(uniform[3], 0, SIDE - height + 1), between(uniform[4], 0, SIDE - width + 1)
    ramp = np.arange(SIDE)
    # The digit fits where it is moved, so what wraps around is empty.
    from_row = (ramp - (new_top - top)[:, None]) % SIDE
    from_column = (ramp - (new_left - left)[:, None]) % SIDE
    moved = alpha[np.arange(len(whole))[:, None, None], from_row[:, :, None], from_column[:, None, :]]
    return moved, np.stack([new_top, new_left, height, width], axis=1).astype(np.int32)


def turned(whole: np.ndarray, uniform: np.ndarray, scale: tuple[float, float], side: int) -> np.ndarray:
    """Coverage (n, side, side), 0 to 255, of digits (n, 28, 28) scaled, turned and sheared about the centre of a square canvas.

    uniform: (3, n) for the scale, from its least to its largest, the turn and the shear.
    """
    matrix = _inverse_map(uniform, scale)
    offsets = 2 * np.arange(side, dtype=np.int32) - (side - 1)  # in half px from the centre
    rows, columns = offsets[:, None], offsets[None, :]
    # Source coordinates in units of 1/64 px, from the digit's centre; a border of 2 px spares the test at the edges.
    padded = np.pad(whole, ((0, 0), (2, 2), (2, 2))).astype(np.int32)
    source = DIGIT + 4
    limit = 64 * (source - 1) - 1
    centre = 32 * (source - 1)
    y = np.clip((matrix[0] * rows + matrix[1] * columns + 2**15 >> 16) + centre, 0, limit)
    x = np.clip((matrix[2] * rows + matrix[3] * columns + 2**15 >> 16) + centre, 0, limit)
    y_part, x_part = y & 63, x & 63
    corner = (np.arange(len(whole), dtype=np.int32) * source * source)[:, None, None] + (y >> 6) * source + (x >> 6)
    flat = padded.reshape(-1)
    upper = flat[corner] * (64 - x_part) + flat[corner + 1] * x_part
    lower = flat[corner + source] * (64 - x_part) + flat[corner + source + 1] * x_part
    return (upper * (64 - y_part) + lower * y_part) >> 12


def _inverse_map(uniform, bounds):
    """From half px of the canvas to 1/64 px of the digit: the matrix (4, n, 1, 1) in units of 2**-16, int32."""
    scale = bounds[0] + (bounds[1] - bounds[0]) * uniform[0]
    # The half-angle form of sine and cosine needs no trigonometric function.
    tangent = HALF_TURN * (2 * uniform[1] - 1)
    cosine = (1 - tangent * tangent) / (1 + tangent * tangent)
    sine = 2 * tangent / (1 + tangent * tangent)
    shear = SHEAR * (2 * uniform[2] - 1)
    rows = np.stack([cosine, -sine, sine - shear * cosine, cosine + shear * sine]) / scale
    return np.rint(rows * (32 * 2**16)).astype(np.int64)[:, :, None, None]


def extent(touched):
    """First touched position and extent (n,), (n,) of bool (n, length)."""
    first = touched.argmax(axis=1)
    return first, touched.shape[1] - touched[:, ::-1].argmax(axis=1) - first
