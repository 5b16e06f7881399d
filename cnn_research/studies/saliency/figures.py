"""Maps of saliency beside their images: a row for each image, a column for each method."""

from collections.abc import Mapping, Sequence

import numpy as np

from cnn_research.reporting.drawing import Figure, Rectangle
from cnn_research.reporting.figures import QUIET, WIDTH

_GAP, _HEAD, _TITLE, _FOOT = 0.06, 0.36, 0.16, 0.22  # inches: between pictures, above all, above each row, below all
_OVER = ('Grad-CAM', 'occlusion')  # whose maps are coarse, and lie over the image in grey as in Selvaraju et al. 2017
_WHITE = 99  # percent of a map's pixels that are below white: a few are far above the rest, and nothing else would be seen
_LABEL = {'gradient x input': 'gradient\nx input', 'integrated gradients': 'integrated\ngradients'}
_LABEL['guided backpropagation'] = 'guided\nbackprop.'


def plate(images: np.ndarray, names: Sequence[str], maps: Mapping[str, np.ndarray], boxes: np.ndarray | None) -> Figure:
    """images: uint8 (N, H, W, C), C 1 or 3; names (N,); maps {method: (N, H, W)}, each drawn from 0 (black) on, fine ones
    to what 99 % of their pixels are below, coarse ones to their own largest and over the image; boxes (N, 4): top, left, height, width,
    outlined where given."""
    columns = len(maps) + 1
    side = (WIDTH - _GAP * (columns - 1)) / columns
    tall = side * images.shape[1] / images.shape[2]
    height = _HEAD + len(images) * (tall + _TITLE) + _FOOT
    figure = Figure(figsize=(WIDTH, height))
    for column, title in enumerate(('image', *(_LABEL.get(name, name) for name in maps))):
        centre = (column * (side + _GAP) + side / 2) / WIDTH
        figure.text(centre, 1 - (_HEAD - 0.04) / height, title, ha='center', va='bottom', fontsize=7)
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        top = height - _HEAD - row * (tall + _TITLE) - _TITLE
        figure.text(0, (top + 0.03) / height, name, fontsize=7, va='bottom', parse_math=False)
        for column, (method, shown) in enumerate({'': image, **{name: found[row] for name, found in maps.items()}}.items()):
            axes = figure.add_axes((column * (side + _GAP) / WIDTH, (top - tall) / height, side / WIDTH, tall / height))
            axes.set_axis_off()
            if column == 0:
                axes.imshow(shown[..., 0] if shown.shape[-1] == 1 else shown, cmap='gray', vmin=0, vmax=255, interpolation='none')
            else:
                coarse, alpha = method in _OVER, None
                most = white(shown, coarse)
                if coarse:
                    axes.imshow(image.mean(-1), cmap='gray', vmin=0, vmax=255, interpolation='none')
                    alpha = 0.85 * np.sqrt(np.clip(shown / most, 0, 1))  # where there is nothing, the image alone
                axes.imshow(shown, cmap='inferno', vmin=0, vmax=most, alpha=alpha, interpolation='none')
            if boxes is not None:
                down, across, high, wide = boxes[row]
                # Dark on light: visible on any image.
                for width, colour in ((1.6, 'black'), (0.8, 'white')):
                    rectangle = Rectangle((across - 0.5, down - 0.5), wide, high, fill=False, linewidth=width, edgecolor=colour)
                    axes.add_patch(rectangle)
    words = 'fine maps: black is 0, white what 99 % of their pixels are below; coarse ones lie over the image and end at their largest'
    words += '; outlined: the box of the digit' if boxes is not None else ''
    figure.text(0.5, 0.06 / height, words, ha='center', va='bottom', fontsize=7, color=QUIET)
    return figure


def white(shown: np.ndarray, coarse: bool) -> float:
    """The value of a map (H, W), not negative, at which it is drawn white; above 0."""
    most = float(shown.max()) if coarse else float(np.percentile(shown, _WHITE))
    return most or float(shown.max()) or 1.0  # a map with less than one pixel in a hundred
