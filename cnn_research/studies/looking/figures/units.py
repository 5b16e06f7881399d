"""What units see: projections beside image patches (Zeiler and Fergus 2013, Fig. 2), and over a training (Fig. 4)."""

from collections.abc import Sequence

import numpy as np

from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.figures import QUIET, WIDTH

_GAP, _TITLE, _FOOT = 0.12, 0.17, 0.28  # inches: between blocks, above each, below all
_SPACE = 255  # between the pictures of a block
_OUTSIDE = np.array([223, 230, 240], np.uint8)  # a colour, because images may be white at their borders
_LARGE = 64  # px of a window, above which two units stand in a row instead of four
_POWER = 0.7
SCALING = f'each divided by its own largest value, to the power of {_POWER}; mid-grey is zero'


def grey_centred(projections: np.ndarray) -> np.ndarray:
    """uint8 pictures (..., H, W, C) of signals: zero is mid-grey, each picture's largest absolute value is black or white.

    Drawn is the power of 0.7 of absolute values: a few pixels are far above the rest, and what surrounds them would not be seen.
    """
    largest = np.abs(projections).max((-3, -2, -1), keepdims=True)
    shares = projections / np.where(largest > 0, largest, 1)
    return np.uint8(np.round(127.5 + 127.5 * np.sign(shares) * np.abs(shares) ** _POWER))


def block(pictures: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """One picture (rows, columns, 3) of k uint8 ones (k, h, w, C), ceil(sqrt(k)) in a row, a pixel apart; pale blue where not inside."""
    count, height, width, channels = pictures.shape
    across = int(np.ceil(np.sqrt(count)))
    down = -(-count // across)
    sheet = np.full((down * (height + 1) - 1, across * (width + 1) - 1, 3), _SPACE, np.uint8)
    for place in range(count):
        top, left = (place // across) * (height + 1), (place % across) * (width + 1)
        picture = np.repeat(pictures[place], 3 // channels, axis=-1)
        sheet[top : top + height, left : left + width] = np.where(inside[place][..., None], picture, _OUTSIDE)
    return sheet


def layer_figure(units: Sequence[int], projections: np.ndarray, patches: np.ndarray, inside: np.ndarray) -> Figure:
    """For every unit its k strongest images: on the left their projections (units, k, h, w, C), on the right the same windows of the
    images, uint8 (units, k, h, w, C); inside (units, k, h, w) is False where a window leaves the image."""
    columns = min(2 if projections.shape[2] > _LARGE else 4, len(units))
    rows = -(-len(units) // columns)
    wide = (WIDTH - _GAP * (columns - 1)) / columns
    sheets = []
    for projected, cut, within in zip(projections, patches, inside, strict=True):
        left, right = block(grey_centred(projected), within), block(cut, within)
        border = np.full((left.shape[0], max(2, left.shape[1] // 20), 3), _SPACE, np.uint8)
        sheets.append(np.concatenate([left, border, right], axis=1))
    tall = wide * sheets[0].shape[0] / sheets[0].shape[1]
    height = rows * (tall + _TITLE) + _FOOT
    figure = Figure(figsize=(WIDTH, height))
    for place, (unit, sheet) in enumerate(zip(units, sheets, strict=True)):
        left, top = (place % columns) * (wide + _GAP), height - (place // columns) * (tall + _TITLE) - _TITLE
        figure.text(left / WIDTH, (top + 0.03) / height, f'unit {unit}', fontsize=7, va='bottom')
        axes = figure.add_axes((left / WIDTH, (top - tall) / height, wide / WIDTH, tall / height))
        axes.imshow(sheet, interpolation='none', aspect='auto')
        axes.set_axis_off()
    words = f'projections: {SCALING}; patches as they are; pale blue lies outside the image'
    figure.text(0.5, 0.1 / height, words, ha='center', va='center', fontsize=7, color=QUIET)
    return figure


def evolution_figure(
    units: Sequence[int], epochs: Sequence[float], projections: np.ndarray, inside: np.ndarray, changed: np.ndarray
) -> Figure:
    """A row for each unit, a column for each epoch: the projection (units, epochs, h, w, C) of its strongest activation there.

    inside (units, epochs, h, w) as in `layer_figure`; changed (units, epochs) is True where the strongest image is another than one
    column before: a mark stands above it.
    """
    names, head = 0.6, 0.22
    wide = (WIDTH - names) / len(epochs) - 0.04
    tall = wide * projections.shape[2] / projections.shape[3]
    height = head + len(units) * (tall + 0.1) + _FOOT
    figure = Figure(figsize=(WIDTH, height))
    for column, epoch in enumerate(epochs):
        figure.text((names + column * (wide + 0.04) + wide / 2) / WIDTH, 1 - 0.11 / height, f'epoch {epoch:g}', ha='center', fontsize=7)
    for row, unit in enumerate(units):
        top = height - head - row * (tall + 0.1) - 0.07
        figure.text((names - 0.06) / WIDTH, (top - tall / 2) / height, f'unit {unit}', ha='right', va='center', fontsize=7)
        for column in range(len(epochs)):
            left = names + column * (wide + 0.04)
            axes = figure.add_axes((left / WIDTH, (top - tall) / height, wide / WIDTH, tall / height))
            picture = block(grey_centred(projections[row, column][None]), inside[row, column][None])
            axes.imshow(picture, interpolation='none', aspect='auto')
            axes.set_axis_off()
            if changed[row, column]:
                figure.text((left + wide / 2) / WIDTH, (top + 0.005) / height, '▾', ha='center', va='bottom', fontsize=6)
    words = f'projections: {SCALING}; ▾ another image is strongest than one column before'
    figure.text(0.5, 0.1 / height, words, ha='center', va='center', fontsize=7, color=QUIET)
    return figure
