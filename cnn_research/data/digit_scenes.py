"""The embedded scenes: MNIST digits of many sizes among pieces of others on colour, with their boxes, the same bytes on every machine.

A scene is made of the parts of `clutter`: a smooth coloured background, pieces of other digits in random colours, and one to five whole
digits, each of its own size and colour, painted one after the other where they cover little of each other; see there for why everything
is a function of raw Philox words and whole numbers. Digits that are very small, or that later ones have covered, are marked difficult.
"""

import functools

import numpy as np

from cnn_research.data import clutter
from cnn_research.data.clutter import between, blend, extent
from cnn_research.data.scene import Scene, Scenes, made
from cnn_research.data.source import sha256

HEIGHT, WIDTH = 96, 128  # px
NUM_EXAMPLES = {'train': 200, 'test': 100}
SEEDS = {'train': 3, 'test': 4}
DIGITS, TRIES = 5, 12  # whole digits at most; places that are tried for each
PIECES, PIECE_SIZE = 10, (7, 15)
SCALE = (0.7, 2.4)  # of the 28 px of a digit's own picture
CANVAS = 88  # px, which hold the largest digit whole, turned and sheared
FAINT = 48  # coverage, of 255, below which a digit's border is left out, so that its box is close
OVERLAP = 1 / 3  # of the smaller of two boxes, at most
SMALL = 18  # px; a digit whose longer side is shorter is difficult
VISIBLE = 0.7  # of a digit's ink; one of which later ones have left less is difficult
_DIGIT_WORDS = 9 + 2 * TRIES
_PIECE_WORDS = 12
_WORDS = 16 + DIGITS * _DIGIT_WORDS + PIECES * _PIECE_WORDS


def opened(split: str) -> Scenes:
    """The scenes of 'train' or 'test'."""
    scenes = whole(split)
    pictures = sha256(*(scene.image.tobytes() for scene in scenes))
    objects = [scene._replace(image=None) for scene in scenes]
    sizes = [(HEIGHT, WIDTH)] * len(scenes)
    return made('scenes', split, tuple('0123456789'), pictures, sizes, objects, functools.partial(_pixels, split))


@functools.cache
def whole(split: str) -> tuple[Scene, ...]:
    """All scenes of a split."""
    images, labels = clutter.digits(split)
    return tuple(scene(images, labels, SEEDS[split], index) for index in range(NUM_EXAMPLES[split]))


def _pixels(split, indices):
    return [whole(split)[index].image.copy() for index in indices]


def scene(images: np.ndarray, labels: np.ndarray, seed: int, index: int) -> Scene:
    """One scene, a function of (seed, index) and of the digits, uint8 (N, 28, 28), alone; its boxes are whole numbers."""
    raw = clutter.words(seed, [index], _WORDS + HEIGHT * WIDTH * 3 // 8)
    numbers = clutter.uniform(raw[:, :_WORDS]).T
    level = between(numbers[0:3], 80, 176).T
    canvas = clutter.background(level, numbers[3:15], HEIGHT, WIDTH)[0]
    count = 1 + int(between(numbers[15], 0, DIGITS)[0])
    digit_numbers = numbers[16 : 16 + DIGITS * _DIGIT_WORDS].reshape(DIGITS, _DIGIT_WORDS)
    for words in numbers[16 + DIGITS * _DIGIT_WORDS :].reshape(PIECES, _PIECE_WORDS):
        _paste_piece(canvas, images, words)

    placed: list[tuple[int, np.ndarray, tuple[int, int, int, int]]] = []
    for words in digit_numbers[:count]:
        number = int(between(words[0], 0, len(images)))
        ink = _ink(images[number], words[1:4])
        box = _place(ink.shape, [each[2] for each in placed], words[9:].reshape(TRIES, 2))
        if box is None:
            continue
        contrast = between(words[4:7], 96, 144) * (-1 if words[7] < 0.5 else 1)
        top, left, bottom, right = box
        canvas[top:bottom, left:right] = blend(canvas[top:bottom, left:right], np.clip(level[0] + contrast, 0, 255), ink[..., None])
        placed.append((number, ink, box))
    picture = clutter.noisy(canvas[None], raw[:, _WORDS:])[0]
    boxes = np.array([box for _, _, box in placed], np.float64)
    found = np.array([labels[number] for number, _, _ in placed], np.int32)
    return Scene(f'{index:04d}', picture, boxes, found, _difficult(placed))


def _ink(digit, words):
    """Coverage (h, w) of a digit, cut to what is not faint; words: (3,) as `clutter.turned` has them."""
    alpha = clutter.turned(digit[None], words[:, None], SCALE, CANVAS)[0]
    alpha[alpha < FAINT] = 0
    (top, left), (height, width) = zip(*(extent((alpha > 0).any(axis=axis)[None]) for axis in (1, 0)), strict=True)
    return alpha[int(top[0]) : int(top[0] + height[0]), int(left[0]) : int(left[0] + width[0])]


def _place(shape, others, words):
    """The first of the places tried where a digit covers, or is covered by, little of the others: top, left, bottom, right, or None."""
    height, width = shape
    for down, along in words:
        top, left = int(between(down, 0, HEIGHT - height + 1)), int(between(along, 0, WIDTH - width + 1))
        box = (top, left, top + height, left + width)
        if all(_common(box, other) <= OVERLAP * min(height * width, _common(other, other)) for other in others):
            return box
    return None


def _common(first, second):
    high = min(first[2], second[2]) - max(first[0], second[0])
    wide = min(first[3], second[3]) - max(first[1], second[1])
    return max(high, 0) * max(wide, 0)


def _difficult(placed):
    """bool (M,): too small, or too little of the ink left by the digits painted later."""
    seen = []
    for number, (_, ink, box) in enumerate(placed):
        left = np.zeros((HEIGHT, WIDTH), np.int64)
        left[box[0] : box[2], box[1] : box[3]] = ink
        for _, over, other in placed[number + 1 :]:
            part = left[other[0] : other[2], other[1] : other[3]]
            part[...] = part * (255 - over) // 255
        seen.append(max(ink.shape) < SMALL or left.sum() < VISIBLE * ink.sum())
    return np.array(seen, bool)


def _paste_piece(canvas, images, words):
    """Blends a part of a digit, of any of the sizes that whole ones have, into the canvas, in place."""
    ink = _ink(images[int(between(words[0], 0, len(images)))], words[1:4])
    size = int(between(words[4], *PIECE_SIZE))
    # At most half of its height and of its width: what shows all of a digit would be one without a box.
    height, width = min(size, (ink.shape[0] + 1) // 2), min(size, (ink.shape[1] + 1) // 2)
    down, along = int(between(words[5], 0, ink.shape[0] - height + 1)), int(between(words[6], 0, ink.shape[1] - width + 1))
    top, left = int(between(words[7], 0, HEIGHT - height + 1)), int(between(words[8], 0, WIDTH - width + 1))
    under = canvas[top : top + height, left : left + width]
    under[...] = blend(under, between(words[9:12], 0, 256), ink[down : down + height, along : along + width, None])
