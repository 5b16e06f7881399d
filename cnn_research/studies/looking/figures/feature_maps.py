"""Feature maps in rows: the same maps of one image after one stage and the next, or under one operation and another."""

from collections.abc import Mapping, Sequence

import numpy as np

from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.figures import QUIET, WIDTH

# Inches: the column of the image, that of the rows' names, what lies between maps, above them for their numbers, and below for the caption.
_IMAGE, _NAMES, _GAP, _HEAD, _FOOT = 1.05, 0.24, 0.06, 0.2, 0.3

_CAPTIONS = {'each': 'each map scaled by its own largest value in its row', 'shared': 'each row scaled by the largest value in it'}


def map_rows(image: np.ndarray, rows: Mapping[str, np.ndarray], numbers: Sequence[int], scaling: str = 'each') -> Figure:
    """The maps `numbers` of each of `rows` {name: (h, w, C)}, beside the uint8 image (H, W, c), c 1 or 3, that they come from.

    scaling: 'each' divides a map by its own largest value in its row; 'shared' divides a row by the largest of the maps shown, so that what
    changes the maps' sizes relative to each other shows. Zero is black; in a row that holds negative values it is mid-grey.
    ValueError for any other scaling.
    """
    if scaling not in _CAPTIONS:
        raise ValueError(f"scaling is 'each' or 'shared', not {scaling!r}")
    side = (WIDTH - _IMAGE - _NAMES - _GAP * len(numbers)) / len(numbers)
    tall = [side * maps.shape[0] / maps.shape[1] + _GAP for maps in rows.values()]
    picture = _IMAGE * image.shape[0] / image.shape[1]
    height = _HEAD + max(sum(tall), picture) + _FOOT
    figure = Figure(figsize=(WIDTH, height))

    def draw(array, left, top, wide, high, **scale):
        axes = figure.add_axes((left / WIDTH, (top - high) / height, wide / WIDTH, high / height))
        axes.imshow(array, cmap='gray', interpolation='none', aspect='auto', **scale)
        axes.set_axis_off()

    draw(image if image.shape[-1] == 3 else image[..., 0], 0, height - _HEAD, _IMAGE, picture, vmin=0, vmax=255)
    lefts = [_IMAGE + _NAMES + _GAP + index * (side + _GAP) for index in range(len(numbers))]
    for number, left in zip(numbers, lefts, strict=True):
        figure.text((left + side / 2) / WIDTH, 1 - 0.5 * _HEAD / height, f'map {number}', ha='center', va='center', fontsize=7)
    top = height - _HEAD
    for (name, maps), high in zip(rows.items(), tall, strict=True):
        middle = (top - (high - _GAP) / 2) / height
        figure.text(
            (_IMAGE + _NAMES) / WIDTH, middle, name.replace('_', ' '), rotation=90, ha='right', va='center', fontsize=7, parse_math=False
        )
        shown = np.moveaxis(maps, -1, 0)[list(numbers)]
        largest = np.maximum(np.abs(shown).max((1, 2)), 1e-12)
        if scaling == 'shared':
            largest[:] = largest.max()
        for one, scale, left in zip(shown, largest, lefts, strict=True):
            draw(one, left, top, side, high - _GAP, vmin=-scale if shown.min() < 0 else 0, vmax=scale)
        top -= high
    note = f'{_CAPTIONS[scaling]}; zero is black, or mid-grey in a row that holds negative values'
    figure.text(0.5, 0.5 * _FOOT / height, note, ha='center', va='center', fontsize=7, color=QUIET)
    return figure
