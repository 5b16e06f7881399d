"""What units see: projections beside image patches (Zeiler and Fergus 2013, Fig. 2), and over a training (Fig. 4)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.reporting.drawing import Axes, Figure
from cnn_research.reporting.figures import QUIET, WIDTH

# Inches: between blocks, between the pictures of one, between its two halves, the lines above each, and the room below all.
_GAP, _THIN, _MIDDLE, _LINE, _FOOT = 0.16, 0.025, 0.07, 0.125, 0.28
_LARGE = 64  # px of a window, above which two units stand in a row instead of four
_LETTER = 0.052  # inches: of the mean letter of the lines above a block
_POWER = 0.7
SCALING = f'each divided by its own largest value, to the power of {_POWER}; mid-grey is zero'
CROPPED = 'A window that reaches beyond the image is cropped to it, and what is left is enlarged to the size of the others.'


class Unit(NamedTuple):
    """What stands above a unit's pictures: its name, and the classes of its images."""

    name: str
    classes: str


def grey_centred(projections: np.ndarray) -> np.ndarray:
    """uint8 pictures (..., H, W, C) of signals: zero is mid-grey, each picture's largest absolute value is black or white.

    Drawn is the power of 0.7 of absolute values: a few pixels are far above the rest, and what surrounds them would not be seen.
    """
    largest = np.abs(projections).max((-3, -2, -1), keepdims=True)
    shares = projections / np.where(largest > 0, largest, 1)
    return np.uint8(np.round(127.5 + 127.5 * np.sign(shares) * np.abs(shares) ** _POWER))


def cropped(picture: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The rows and columns of a picture (h, w, C) that are `inside` (h, w), a rectangle; 0 x 0 where none is."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return picture[:0, :0]
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def placed(shape: tuple[int, int], cell: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """(left, right, bottom, top) of a picture of `shape` (h, w) in the middle of a cell (left, top, width, height), as large as fits."""
    left, top, wide, high = cell
    scale = min(wide / shape[1], high / shape[0])
    across, down = scale * shape[1], scale * shape[0]
    left, top = left + (wide - across) / 2, top + (high - down) / 2
    return left, left + across, top + down, top


def layer_figure(units: Sequence[Unit], projections: np.ndarray, patches: np.ndarray, inside: np.ndarray) -> Figure:
    """For every unit its k strongest images: on the left their projections (units, k, h, w, C), on the right the same windows of the
    images, uint8 (units, k, h, w, C); inside (units, k, h, w) is False where a window leaves the image, which is not drawn."""
    count, height, width = projections.shape[1:4]
    columns = min(2 if height > _LARGE else 4, len(units))
    wide = (WIDTH - _GAP * (columns - 1)) / columns
    across = int(np.ceil(np.sqrt(count)))
    side = ((wide - _MIDDLE) / 2 - _THIN * (across - 1)) / across
    high = side * height / width
    tall = -(-count // across) * (high + _THIN) - _THIN
    head = 2 * _LINE + 0.14
    figure, whole = _figure(-(-len(units) // columns) * (tall + head) + _FOOT)
    for place, (unit, projected, cut, within) in enumerate(zip(units, projections, patches, inside, strict=True)):
        left, top = (place % columns) * (wide + _GAP), whole - (place // columns) * (tall + head) - head
        for line, (text, style) in enumerate(zip(unit, ({'weight': 'bold'}, {'color': QUIET}), strict=True)):
            at = left / WIDTH, (top + 0.04 + _LINE * (1 - line)) / whole
            figure.text(*at, _fitting(text, wide), fontsize=7, va='bottom', parse_math=False, **style)
        axes = _area(figure, left, top, wide, tall)
        for half, pictures in enumerate((grey_centred(projected), cut)):
            for number, (picture, seen) in enumerate(zip(pictures, within, strict=True)):
                column, row = number % across, number // across
                cell = half * (wide + _MIDDLE) / 2 + column * (side + _THIN), row * (high + _THIN), side, high
                _draw(axes, picture, seen, cell)
    _foot(figure, f'left: projections, {SCALING}; right: what the unit sees of the image')
    return figure


def evolution_figure(
    units: Sequence[Unit], epochs: Sequence[float], projections: np.ndarray, inside: np.ndarray, changed: np.ndarray
) -> Figure:
    """A row for each unit, a column for each epoch: the projection (units, epochs, h, w, C) of its strongest activation there.

    inside (units, epochs, h, w) as in `layer_figure`; changed (units, epochs) is True where the strongest image is another than one
    column before: a mark stands above it.
    """
    names, head, gap = 1.25, 0.22, 0.04
    wide = min((WIDTH - names) / len(epochs) - gap, 1.2)
    tall = wide * projections.shape[2] / projections.shape[3]
    figure, whole = _figure(head + len(units) * (tall + 0.1) + _FOOT)
    for column, epoch in enumerate(epochs):
        figure.text((names + column * (wide + gap) + wide / 2) / WIDTH, 1 - 0.11 / whole, f'epoch {epoch:g}', ha='center', fontsize=7)
    for row, unit in enumerate(units):
        top = whole - head - row * (tall + 0.1) - 0.07
        for line, (text, style) in enumerate(zip(unit, ({'weight': 'bold'}, {'color': QUIET}), strict=True)):
            at = (names - 0.06) / WIDTH, (top - tall / 2 + (0.5 - line) * _LINE) / whole
            figure.text(*at, _fitting(text, names), fontsize=7, ha='right', va='center', parse_math=False, **style)
        axes = _area(figure, names, top, WIDTH - names, tall)
        for column, (picture, seen) in enumerate(zip(grey_centred(projections[row]), inside[row], strict=True)):
            left = column * (wide + gap)
            _draw(axes, picture, seen, (left, 0, wide, tall))
            if changed[row, column]:
                at = (names + left + wide / 2) / WIDTH, (top + 0.005) / whole
                figure.text(*at, '▾', ha='center', va='bottom', fontsize=6)
    _foot(figure, f'projections: {SCALING}; ▾ another image is strongest than one column before')
    return figure


def _figure(height: float) -> tuple[Figure, float]:
    return Figure(figsize=(WIDTH, height)), height


def _area(figure: Figure, left: float, top: float, wide: float, tall: float) -> Axes:
    """Axes whose coordinates are inches, to the right and downwards from their upper left corner."""
    height = figure.get_figheight()
    axes = figure.add_axes((left / WIDTH, (top - tall) / height, wide / WIDTH, tall / height))
    axes.set(xlim=(0, wide), ylim=(tall, 0), autoscale_on=False)
    axes.set_axis_off()
    return axes


def _draw(axes: Axes, picture: np.ndarray, inside: np.ndarray, cell: tuple[float, float, float, float]) -> None:
    """What is inside of a picture, in its cell. Pixels of small windows have hard edges; large ones may have to be made smaller."""
    smooth, picture = 'hanning' if max(inside.shape) > _LARGE else 'none', cropped(picture, inside)
    if picture.size:
        shown = picture if picture.shape[-1] == 3 else picture[..., 0]
        axes.imshow(shown, cmap='gray', vmin=0, vmax=255, extent=placed(picture.shape[:2], cell), interpolation=smooth, aspect='auto')


def _foot(figure: Figure, words: str) -> None:
    figure.text(0.5, 0.1 / figure.get_figheight(), words, ha='center', va='center', fontsize=7, color=QUIET)


def _fitting(text: str, wide: float) -> str:
    most = int(wide / _LETTER)
    return text if len(text) <= most else text[: most - 1] + '…'
