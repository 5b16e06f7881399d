"""Correspondence (Zeiler and Fergus 2013, section 4.3, Table 1): does hiding the same part of different objects change features alike?

With x the features of an image and x~ those of the image whose part is hidden, eps = x - x~. The measure is the Hamming distance between
sign(eps_i) and sign(eps_j) of two images, and the lower it is, the more consistent the change. The paper prints a sum over all pairs, but
heads its table's column 'mean feature sign change': here the distance is the share of features whose signs differ (-1, 0 and 1 are three
signs), and each image has the mean over its pairs with all others, so that the mean over images is that over pairs.

Boxes are top, left, height, width in pixels of the network's input.
"""

import csv
import functools
import io
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import parallel
from cnn_research.errors import ConfigError
from cnn_research.models.network import Network, check_taps
from cnn_research.studies.looking.occlusion import GREY, check_colour, covered, prepared

DRAWS = 10  # random places for each part
HEADING = ['image', 'part', 'top', 'left', 'height', 'width']
# What a file of boxes calls the whole object, and what boxes of no part are called.
OBJECT, RANDOM = 'object', 'random'


class Correspondence(NamedTuple):
    """Sign changes of N images when a part is hidden, (N,), and when a box of its size anywhere in the object is, (DRAWS, N)."""

    part: np.ndarray
    elsewhere: np.ndarray


def correspondence(
    network: Network,
    variables: dict,
    images,
    parts: Mapping[str, np.ndarray],
    objects: np.ndarray,
    taps: Sequence[str],
    seed: int = 0,
    colour=GREY,
) -> dict[str, dict[str, Correspondence]]:
    """{part: {tap: Correspondence}} of raw images (N, H, W, C), whose parts {name: (N, 4)} lie in objects (N, 4).

    variables: {'params', 'preprocessing'} as `checkpoints.load` returns them; colour (grey levels) hides. Raises ArchitectureError for an
    unknown tap; ConfigError for fewer than two images, or where boxes do not fit.
    """
    check_taps(network.architecture, taps)
    check_colour(colour, variables, network.architecture.input_shape)
    objects = np.asarray(objects)
    if len(images) < 2:
        raise ConfigError('correspondence compares images: it needs at least two.')
    for name, boxes in parts.items():
        if np.shape(boxes) != (len(images), 4) or not _inside(np.asarray(boxes), objects).all():
            raise ConfigError(f'part {name!r} needs a box (top, left, height, width) in the object for each of {len(images)} images.')
    features, random = _compiled(network, tuple(taps)), np.random.default_rng(seed)
    seen, painted = prepared(images, variables, network.architecture.input_shape, colour)

    def under(boxes):
        return features(variables['params'], seen, painted, jnp.asarray(boxes))

    # The clean image has an empty box: what no part touches then comes from the very same program, and its change is 0, not rounding.
    clean = under(np.zeros((len(images), 4), int))

    def changes(boxes):
        hidden = under(boxes)
        return {tap: sign_change(np.sign(np.asarray(clean[tap] - hidden[tap]))) for tap in taps}

    found = {}
    for name, boxes in parts.items():
        boxes = np.asarray(boxes)
        own, elsewhere = changes(boxes), [changes(_moved(random, boxes, objects)) for _ in range(DRAWS)]
        found[name] = {tap: Correspondence(own[tap], np.stack([one[tap] for one in elsewhere])) for tap in taps}
    return found


def read_boxes(path: str, side: tuple[int, ...], examples: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(numbers of the images, {part: boxes (N, 4)}, among them 'object') of a file; ConfigError, naming the line, for what is wrong."""
    found: dict[str, dict[int, list[int]]] = {}
    places: dict[tuple[str, int], int] = {}  # lines of the file
    for number, words in enumerate(_lines(path), 1):
        if number == 1 and words != HEADING:
            raise ConfigError(f'{path}: the first line is {",".join(HEADING)!r}, not {",".join(words)[:80]!r}.')
        if number == 1 or not any(words):
            continue
        if len(words) != 6 or not words[1] or not all(re.fullmatch('[0-9]{1,9}', word) for word in (words[0], *words[2:])):
            raise ConfigError(f'{path}, line {number}: {",".join(words)[:80]!r} is not {",".join(HEADING)} with whole numbers of px.')
        image, (top, left, height, width) = int(words[0]), map(int, words[2:])
        if image >= examples or not height or not width or top + height > side[0] or left + width > side[1]:
            raise ConfigError(
                f'{path}, line {number}: no such image or box; there are images 0 to {examples - 1}, seen as {side[0]}x{side[1]} px.'
            )
        if not words[1].isprintable() or set(words[1]) & set('/\\'):
            raise ConfigError(f'{path}, line {number}: {ascii(words[1])[:80]} is no name of a part; write words without / and \\.')
        if words[1] == RANDOM:
            raise ConfigError(f'{path}, line {number}: {RANDOM!r} is what boxes of no part are called; name the part otherwise.')
        if image in found.setdefault(words[1], {}):
            raise ConfigError(f'{path}, line {number}: part {words[1]!r} of image {image} is there twice; leave one box out.')
        found[words[1]][image] = [top, left, height, width]
        places[words[1], image] = number
    whole = found.pop(OBJECT, {})
    images = sorted(set().union(*found.values()))
    for part, boxes in found.items():
        if set(boxes) != set(images):
            raise ConfigError(f'{path}: part {part!r} is missing for image {sorted(set(images) - set(boxes))[0]}.')
        for image, box in boxes.items():
            if image in whole and not _inside(np.array(box), np.array(whole[image])):
                line = places[part, image]
                raise ConfigError(f'{path}, line {line}: part {part!r} of image {image} is not inside its object, {whole[image]}.')
    if set(whole) - set(images):
        raise ConfigError(f'{path}: image {min(set(whole) - set(images))} has an object and no part.')
    if len(images) < 2:
        raise ConfigError(f'{path} has boxes for {len(images)} images; correspondence compares two or more.')
    boxes = {part: np.array([one[image] for image in images]) for part, one in found.items()}
    return np.array(images), boxes | {OBJECT: np.array([whole.get(image, [0, 0, *side[:2]]) for image in images])}


def _lines(path: str) -> list[list[str]]:
    """The words of each line of a comma-separated file; ConfigError where it cannot be read."""
    if not pathlib.Path(path).is_file():
        raise ConfigError(f'correspondence.boxes={path!r}: there is no such file.')
    try:
        text = pathlib.Path(path).read_bytes().decode('utf-8-sig')
        return [[word.strip() for word in line] for line in csv.reader(io.StringIO(text, newline=''))]
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f'{path} cannot be read as comma-separated text in UTF-8 ({type(error).__name__}).') from None


def sign_change(signs: np.ndarray) -> np.ndarray:
    """(N,): the mean Hamming distance, as a share of the features, from each row of signs (N, F) to all others."""
    count, features = signs.shape
    agreeing = np.zeros((count, count))
    for sign in (-1, 0, 1):
        # One matrix product instead of N^2 comparisons; counts are whole numbers and exact.
        rows = (signs == sign).astype(np.float32)
        agreeing += rows @ rows.T
    return (features - agreeing).sum(1) / (features * (count - 1))


def _inside(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Whether each box (..., 4) lies in its object."""
    corners, ends = boxes[..., :2] - objects[..., :2], (objects[..., :2] + objects[..., 2:]) - (boxes[..., :2] + boxes[..., 2:])
    return (corners >= 0).all(-1) & (ends >= 0).all(-1)


def _moved(random, boxes, objects):
    """The boxes (N, 4), each somewhere in its object, all places equally likely."""
    corners = objects[:, :2] + random.integers(0, objects[:, 2:] - boxes[:, 2:] + 1)
    return np.concatenate([corners, boxes[:, 2:]], axis=1)


@functools.lru_cache(maxsize=8)
def _compiled(network, taps):
    """(params, what the network sees (N, h, w, c), the colour as seen, boxes (N, 4)) -> {tap: (N, features)}."""

    def run(params, seen, painted, boxes):
        hidden = jnp.where(covered(boxes, seen.shape[1:]), painted, seen)
        found = network.apply({'params': params}, hidden, taps=taps, method='features')
        return {tap: array.astype(jnp.float32).reshape(len(seen), -1) for tap, array in found.items()}

    return jax.jit(run, compiler_options=parallel.compiler_options())
