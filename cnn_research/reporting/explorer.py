"""The explorer's folder: index.html, which opens without a server, sprites of small pictures beside it, and its numbers as csv.

A page that was opened as a file may show pictures that lie beside it but read no other file, so what its script must know stands within it.
"""

import csv
import io
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cnn_research import files
from cnn_research.errors import ConfigError
from cnn_research.reporting import templates

PICTURES = 'pictures'
_BLOCK = 8  # px, of JPEG: pictures that begin at its blocks do not run into each other
_LOSSLESS = 16  # px of a side below which PNG is as small, and every pixel counts
_QUALITY = 85


class Sprite(NamedTuple):
    """Small pictures in one file: its content and kind ('png', 'jpg'); height and width of each, how far the next one is below and beside
    it, how many stand in a row, and the row of pixels where they begin."""

    content: bytes
    kind: str
    height: int
    width: int
    down: int
    across: int
    columns: int
    top: int = 0

    def told(self, name: str) -> dict[str, Any]:
        """What the page's script needs to show one of them; name: of the file, without its ending."""
        return {'file': f'{PICTURES}/{name}.{self.kind}'} | {k: v for k, v in self._asdict().items() if k not in ('content', 'kind')}


def framed(windows: np.ndarray, inside: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(tiles uint8 (N, h, w, C), boxes (N, 4)) of windows uint8 (N, H, W, C), of which `inside` (N, H, W) lies in an image.

    Windows longer than `side` px are made smaller. A box is top, left, bottom, right of what lies in the image, in pixels of its tile,
    all 0 where nothing does; beyond it the tile goes on with the image's border, which nobody is shown.
    """
    height, width = windows.shape[1:3]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    tiles, boxes = np.zeros((len(windows), *size, windows.shape[3]), np.uint8), np.zeros((len(windows), 4), int)
    for number, (window, within) in enumerate(zip(windows, inside, strict=True)):
        rows, columns = np.flatnonzero(within.any(1)), np.flatnonzero(within.any(0))
        if not len(rows):
            continue
        top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        whole = np.pad(window[top:bottom, left:right], ((top, height - bottom), (left, width - right), (0, 0)), 'edge')
        tiles[number] = smaller(whole, size)
        shares = np.array([top / height, left / width, bottom / height, right / width])
        boxes[number] = np.round(shares * np.array([*size, *size]))
    return tiles, boxes


def smaller(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A uint8 picture (H, W, C), C 1 or 3, at the size (h, w)."""
    if picture.shape[:2] == size:
        return picture
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(*size, picture.shape[2])


def sprite(tiles: np.ndarray, columns: int, lossless: bool = False) -> Sprite:
    """uint8 tiles (N, h, w, C), C 1 or 3, `columns` in a row; JPEG where they are larger than a few pixels, unless `lossless`."""
    height, width = tiles.shape[1:3]
    kind = 'png' if lossless or min(height, width) < _LOSSLESS else 'jpg'
    step = _BLOCK if kind == 'jpg' else 1
    down, across = (math.ceil(side / step) * step for side in (height, width))
    tiles = np.pad(tiles, ((0, -len(tiles) % columns), (0, down - height), (0, across - width), (0, 0)), 'edge')
    rows = tiles.reshape(-1, columns, *tiles.shape[1:]).swapaxes(1, 2)
    return Sprite(encoded(rows.reshape(-1, columns * across, tiles.shape[3]), kind), kind, height, width, down, across, columns)


def encoded(picture: np.ndarray, kind: str) -> bytes:
    """A uint8 picture (H, W, C), C 1 or 3, as 'png' or 'jpg'."""
    image, out = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture), io.BytesIO()
    if kind == 'png':
        image.save(out, 'PNG', optimize=True)
    else:
        image.save(out, 'JPEG', quality=_QUALITY, subsampling=0, optimize=True)
    return out.getvalue()


def stacked(parts: Sequence[np.ndarray]) -> tuple[bytes, list[Sprite]]:
    """One PNG of several rows of tiles (N, h, w, C), each of its own size, and where each of the rows is in it."""
    wide = max(len(tiles) * tiles.shape[2] for tiles in parts)
    rows, sprites, top = [], [], 0
    for tiles in parts:
        count, height, width, channels = tiles.shape
        row = tiles.swapaxes(0, 1).reshape(height, count * width, channels)
        rows.append(np.pad(row, ((0, 0), (0, wide - row.shape[1]), (0, 0))))
        sprites.append(Sprite(b'', 'png', height, width, height, width, count, top))
        top += height
    return encoded(np.concatenate(rows), 'png'), sprites


def fitting(sizes: Sequence[Sequence[int]], room: int) -> int:
    """Of how many units of each layer the pictures take at most `room` bytes together; sizes: {layer: {unit: bytes}}, in their order."""
    longest = max((len(layer) for layer in sizes), default=0)
    totals = [sum(sum(layer[:count]) for layer in sizes) for count in range(longest + 1)]
    return max((count for count, total in enumerate(totals) if total <= room), default=0)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A csv file."""
    out = io.StringIO()
    csv.writer(out, lineterminator='\n').writerows([columns, *rows])
    return out.getvalue()


def document(title: str, lead: str, told: Mapping[str, Any], notes: Sequence[str], command: str) -> str:
    """index.html; told: what the script shows, of what JSON holds. All texts are escaped."""
    data = json.dumps(told, separators=(',', ':'), allow_nan=False).replace('<', '\\u003c')  # no text ends the block
    values = {'title': title, 'lead': lead, 'told': templates.Markup(data), 'notes': notes, 'command': command}
    return templates.whole('explorer.html', 'explorer.js', ['style.css', 'explorer.css'], **values)


def write(folder: pathlib.Path, content: Mapping[str, str | bytes], megabytes: float) -> int:
    """FOLDER with these files, {name: content}, and no picture that an earlier call left; their bytes.

    ConfigError where they take more than so many megabytes; nothing is written then.
    """
    whole = {name: text.encode() if isinstance(text, str) else text for name, text in content.items()}
    size = sum(map(len, whole.values()))
    if size > 1e6 * megabytes:
        raise ConfigError(
            f'explore.megabytes={megabytes:g}, but with one unit of each layer the folder takes {size / 1e6:.1f}: allow more, '
            'or ask for smaller pictures (explore.side) or fewer images (look.images).'
        )
    (folder / 'index.html').unlink(missing_ok=True)  # which names these pictures: none is shown beside another's numbers
    for name, data in whole.items():
        files.write(folder / name, data)
    for old in (folder / PICTURES).iterdir():
        if old.suffix in ('.png', '.jpg') and f'{PICTURES}/{old.name}' not in whole:
            old.unlink()
    return size
