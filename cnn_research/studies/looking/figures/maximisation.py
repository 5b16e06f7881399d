"""Images that units answer to most: a row for each set of regularisers, a column for each unit."""

from collections.abc import Mapping, Sequence

import numpy as np

from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.figures import QUIET, WIDTH

# Inches: between pictures, above all, above each row, below each picture, below all.
_GAP, _HEAD, _TITLE, _SAID, _FOOT = 0.06, 0.22, 0.2, 0.12, 0.26


def picture(images: np.ndarray, deviations: float = 3.0) -> np.ndarray:
    """uint8 (U, H, W, C) of images in any units: mid-grey is 0, black and white are so many standard deviations of each image."""
    spread = images.std((1, 2, 3), keepdims=True)
    return np.uint8(np.round(np.clip(127.5 + 127.5 * images / np.where(spread > 0, deviations * spread, 1), 0, 255)))


def plate(found: Mapping[str, tuple[np.ndarray, np.ndarray]], names: Sequence[str]) -> Figure:
    """found: {regularisers in words: (images (U, H, W, C), the activation that each of them has (U,))}; names (U,): of the units."""
    columns = len(names)
    shape = next(iter(found.values()))[0].shape
    side = min((WIDTH - _GAP * (columns - 1)) / columns, 1.4)
    tall = side * shape[1] / shape[2]
    line = tall + _TITLE + _SAID
    height = _HEAD + len(found) * line + _FOOT
    figure = Figure(figsize=(WIDTH, height))
    for column, name in enumerate(names):
        middle = (column * (side + _GAP) + side / 2) / WIDTH
        figure.text(middle, 1 - (_HEAD - 0.04) / height, name, ha='center', va='bottom', fontsize=7, parse_math=False)
    for row, (words, (images, activations)) in enumerate(found.items()):
        top = height - _HEAD - row * line - _TITLE
        figure.text(0, (top + 0.04) / height, words, fontsize=7, va='bottom', weight='bold')
        for column, (image, activation) in enumerate(zip(picture(images), activations, strict=True)):
            axes = figure.add_axes((column * (side + _GAP) / WIDTH, (top - tall) / height, side / WIDTH, tall / height))
            axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap='gray', vmin=0, vmax=255, interpolation='none')
            axes.set_axis_off()
            middle = (column * (side + _GAP) + side / 2) / WIDTH
            figure.text(middle, (top - tall - 0.02) / height, f'{activation:.3g}', fontsize=6, ha='center', va='top', color=QUIET)
    words = 'below each picture: the activation it reaches; mid-grey is the mean image, black and white three standard deviations of each'
    figure.text(0.5, 0.06 / height, words, ha='center', va='bottom', fontsize=7, color=QUIET)
    return figure
