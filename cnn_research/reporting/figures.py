"""Figures as matplotlib Figure objects, on white, so that they read on a light page, a dark one and paper. No pyplot, no global state.

Text that comes from data (names of classes and runs) is never read as mathematics: a class may be called '$'.
"""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_research import files
from cnn_research.reporting.drawing import Figure, colormap, rc_context

# Okabe and Ito's palette without its yellow, which is too pale for a line on white: told apart by colour-blind readers.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00', '#333333')
STYLES = ('-', '--', ':', '-.')
RIGHT, WRONG, QUIET = '#00704f', '#b3261e', '#666666'
WIDTH = 7.0  # inches
RESOLUTION = 200  # dots per inch


def learning_curves(series: Sequence[tuple[str, Sequence, Sequence]], x_label: str, y_label: str, log_y: bool = False) -> Figure:
    """One line for each (name, x, y); values that are not finite leave a gap."""
    figure = Figure(figsize=(WIDTH, 4.2), layout='constrained')
    axes = figure.add_subplot()
    lines = []
    for index, (_, x, y) in enumerate(series):
        style = {
            'color': COLOURS[index % len(COLOURS)],
            'linestyle': STYLES[index // len(COLOURS) % len(STYLES)],
            'marker': 'o' if len(x) <= 12 else None,
        }
        lines += axes.plot(x, y, linewidth=1.6, markersize=4, **style)
    if log_y:
        axes.set_yscale('log')
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)
    axes.grid(color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    legend_below(figure, lines, [name for name, _, _ in series])
    return figure


def filter_mosaic(kernels: np.ndarray, scaling: str = 'each') -> tuple[np.ndarray, float]:
    """(picture (h, w, 3), grey as three equal channels; the largest weight drawn) of kernels (kh, kw, Cin, Cout): Cout tiles.

    Three input maps are drawn in colour, one in grey; of any other number the first map is drawn, in grey. Mid-grey is a weight of
    zero. `scaling`: 'each' divides a filter by its own largest weight, so that weak filters are as visible as strong ones; 'shared'
    divides all by the largest weight of the layer, so that a filter that dominates, or is dead, shows (Zeiler and Fergus 2013, Fig. 6).
    ValueError for any other scaling or shape, and for weights that are not finite.
    """
    tiles, largest = filter_tiles(kernels, scaling)
    return _mosaic(tiles), largest


def filter_tiles(kernels: np.ndarray, scaling: str = 'each') -> tuple[np.ndarray, float]:
    """(pictures (Cout, kh, kw, 3) with values in [0, 1]; the largest weight drawn), as `filter_mosaic` has them."""
    kernels = np.asarray(kernels, np.float32)
    if kernels.ndim != 4 or 0 in kernels.shape:
        raise ValueError(f'kernels have shape (kh, kw, Cin, Cout), none of them 0; got {kernels.shape}')
    if scaling not in ('each', 'shared'):
        raise ValueError(f"scaling is 'each' or 'shared', not {scaling!r}")
    if not np.isfinite(kernels).all():
        raise ValueError('kernels hold values that are not finite')
    drawn = kernels if kernels.shape[2] == 3 else kernels[:, :, :1].repeat(3, axis=2)
    largest = np.abs(drawn).max(axis=(0, 1, 2) if scaling == 'each' else None, keepdims=True)
    tiles = 0.5 + 0.5 * np.divide(drawn, largest, out=np.zeros_like(drawn), where=largest > 0)
    return np.moveaxis(tiles, 3, 0), float(largest.max())


def filter_grid(kernels: np.ndarray, scaling: str = 'each') -> Figure:
    """Kernels (kh, kw, Cin, Cout) as a grid of Cout images, after Krizhevsky et al. 2012, Fig. 3; drawn by `filter_mosaic`."""
    picture, largest = filter_mosaic(kernels, scaling)
    height, width = picture.shape[:2]
    maps, count = np.shape(kernels)[2:]
    caption = {'each': 'each filter scaled by its own largest weight', 'shared': f'all filters scaled by {largest:.3g}'}[scaling]
    caption += '\nmid-grey is zero' + ('' if maps in (1, 3) else f'; first of {maps} input maps')
    span = WIDTH * min(1.0, 0.45 + count / 60)
    figure = Figure(figsize=(span, span * height / width + 0.45))
    share = 0.45 / figure.get_figheight()
    axes = figure.add_axes((0, share, 1, 1 - share))
    # The mosaic is enlarged already; 'none' keeps its pixels hard-edged and puts them into a PDF as they are.
    axes.imshow(picture, interpolation='none')
    axes.set_axis_off()
    figure.text(0.5, share / 2, caption, ha='center', va='center', fontsize=8, color=QUIET)
    return figure


def sample_predictions(images: np.ndarray, truth: Sequence[str], predicted: Sequence[str], probabilities: Sequence[float]) -> Figure:
    """uint8 images (N, H, W, C), C 1 or 3, each with the predicted class, its probability (0 to 1) and, where wrong, the true class."""
    samples = list(zip(np.asarray(images), truth, predicted, probabilities, strict=True))
    count = len(samples)
    columns = max(1, min(count, 6))
    rows = max(1, math.ceil(count / columns))
    cell = WIDTH / 6
    figure = Figure(figsize=(cell * columns, (cell + 0.35) * rows), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (image, true, guess, probability) in zip(grid.flat, samples, strict=False):
        right = true == guess
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        axes.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap='gray', vmin=0, vmax=255, interpolation='nearest')
        axes.spines[:].set(color=RIGHT if right else WRONG, linewidth=2)
        verdict = f'{"✓" if right else "✗"} {_shortened(guess, 13)} {probability:.0%}'
        axes.set_xlabel(
            verdict if right else f'{verdict}\nis {_shortened(true, 13)}', fontsize=7, color=RIGHT if right else WRONG, parse_math=False
        )
    return figure


def confusion(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """Counts (classes, classes), rows the truth, columns the prediction.

    Only errors are coloured, by their share of the true class: on one scale with the diagonal they could not be seen.
    Counts are written out for up to 20 classes, names for up to 50.
    """
    matrix = np.asarray(matrix)
    size = len(classes)
    if matrix.shape != (size, size):
        raise ValueError(f'a matrix of shape {matrix.shape} does not fit {size} classes')
    share = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(size, dtype=bool)
    side = WIDTH if size > 12 else 5.6
    figure = Figure(figsize=(side, side * 0.88), layout='constrained')
    axes = figure.add_subplot()
    largest = max(float(np.where(diagonal, 0, share).max(initial=0)), 1e-9)
    colours = colormap('Reds').with_extremes(bad='white')
    drawn = axes.imshow(np.ma.array(share, mask=diagonal | (matrix == 0)), cmap=colours, vmin=0, vmax=largest, interpolation='none')
    if largest > 1e-9:
        bar = figure.colorbar(drawn, ax=axes, shrink=0.7, label='errors, % of the true class')
        bar.outline.set_visible(False)
    axes.set_xlabel('predicted')
    axes.set_ylabel('true')
    axes.spines[:].set_color('#bbbbbb')
    if size <= 50:
        names = [_shortened(name) for name in classes]
        upright = max(map(len, names), default=0) > 3
        fontsize = 8 if size <= 20 else 5
        axes.set_xticks(range(size), names, rotation=90 if upright else 0, fontsize=fontsize, parse_math=False)
        axes.set_yticks(range(size), names, fontsize=fontsize, parse_math=False)
        axes.tick_params(length=0)
    if size <= 20:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            dark = row != column and share[row, column] > 0.6 * largest
            count = f'{matrix[row, column]:.0f}'
            axes.text(column, row, count, ha='center', va='center', fontsize=7, color='white' if dark else '#222222')
    return figure


def legend_below(figure: Figure, handles: Sequence, names: Sequence[str]) -> None:
    """A legend of as many columns as the names leave room for, beneath the axes of a figure with constrained layout."""
    if not names:
        return
    columns = min(len(names), max(1, 84 // (max(map(len, names)) + 8)))
    # A legend drops labels that start with '_', so the names are put in afterwards.
    legend = figure.legend(handles, map(str, range(len(names))), loc='outside lower center', ncols=columns, frameon=False, fontsize=9)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=name, parse_math=False)


def save(figure: Figure, path: str | Path) -> tuple[Path, Path]:
    """Writes `path`.png and `path`.pdf (the suffix is added to the name as given), by files.write; returns both paths."""
    path = Path(path)
    written = path.with_name(path.name + '.png'), path.with_name(path.name + '.pdf')
    for file in written:
        files.write(file, _rendered(figure, file.suffix[1:]))
    return written


def data_uri(figure: Figure) -> str:
    """The figure as a 'data:image/...' address for a page that loads nothing: PNG where it holds images, SVG where it is lines."""
    if any(axes.images for axes in figure.axes):
        return 'data:image/png;base64,' + base64.b64encode(_rendered(figure, 'png')).decode()
    return 'data:image/svg+xml;base64,' + base64.b64encode(_rendered(figure, 'svg')).decode()


def _rendered(figure: Figure, kind: str) -> bytes:
    """The same figure gives the same bytes: no date, no random identifiers, so that committed figures change only when the data do."""
    buffer, dated = io.BytesIO(), {'svg': 'Date', 'pdf': 'CreationDate'}
    with rc_context({'svg.hashsalt': 'cnn_research'}):
        figure.savefig(buffer, format=kind, dpi=RESOLUTION, facecolor='white', metadata={dated[kind]: None} if kind in dated else {})
    return buffer.getvalue()


def _mosaic(tiles: np.ndarray) -> np.ndarray:
    """Tiles (N, h, w, C) with values in [0, 1] on a white ground, enlarged by a whole factor to about 1000 pixels wide."""
    count, height, width, channels = tiles.shape
    columns = _columns(count)
    rows = math.ceil(count / columns)
    factor = max(1, 1000 // (columns * (width + 1)))
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    gap = max(1, tiles.shape[2] // 12)
    height, width = tiles.shape[1] + gap, tiles.shape[2] + gap
    canvas = np.ones((rows * height + gap, columns * width + gap, channels), np.float32)
    for index, tile in enumerate(tiles):
        top, left = index // columns * height + gap, index % columns * width + gap
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return canvas


def _columns(count: int) -> int:
    """Columns of a grid at least as wide as high, without an unfinished row where the count allows it: 96 -> 12."""
    root = math.isqrt(count - 1) + 1
    return next((columns for columns in range(root, 3 * root) if count % columns == 0), root)


def _shortened(name: str, longest: int = 16) -> str:
    return name if len(name) <= longest else name[: longest - 1] + '…'
