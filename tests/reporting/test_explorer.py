"""The explorer's folder: every small picture is where the page looks for it, what is too much is left out, and no text becomes markup."""

import io
import itertools
import json
import re

import numpy as np
import pytest
from page_reader import EVIL, Reader
from PIL import Image

from cnn_research.errors import ConfigError
from cnn_research.reporting import explorer
from cnn_research.reporting.templates import _text


def cut(content, sprite, index):
    """Picture `index` of a sprite, as the page's script cuts it."""
    sheet = np.asarray(Image.open(io.BytesIO(content))).astype(int)
    row, column = divmod(index, sprite.columns)
    top, left = sprite.top + row * sprite.down, column * sprite.across
    return sheet[top : top + sprite.height, left : left + sprite.width].reshape(sprite.height, sprite.width, -1)


@pytest.mark.parametrize(('side', 'channels', 'kind'), [(5, 3, 'png'), (5, 1, 'png'), (19, 3, 'jpg'), (24, 1, 'jpg')])
def test_every_picture_is_cut_from_its_own_place_and_no_other_runs_into_it(side, channels, kind):
    shades = np.arange(7) * 40  # flat ones, which JPEG keeps to a level or two where nothing else is in their blocks
    tiles = np.broadcast_to(shades[:, None, None, None], (7, side, side + 2, channels)).astype(np.uint8)
    drawn = explorer.sprite(tiles, 3)
    assert drawn.kind == kind
    for index, tile in enumerate(tiles):
        found = cut(drawn.content, drawn, index)
        assert found.shape == tile.shape and np.abs(found - tile).max() <= (3 if kind == 'jpg' else 0)


def test_lossless_pictures_and_rows_of_any_size_come_back_to_the_last_bit():
    random = np.random.default_rng(0)
    tiles = random.integers(0, 256, (3, 20, 17, 3), np.uint8)
    drawn = explorer.sprite(tiles, 3, lossless=True)
    assert all((cut(drawn.content, drawn, index) == tile).all() for index, tile in enumerate(tiles))
    rows = [random.integers(0, 256, (count, side, side, 1), np.uint8) for count, side in ((4, 9), (2, 3), (5, 6))]
    content, sprites = explorer.stacked(rows)
    for row, sprite in zip(rows, sprites, strict=True):
        assert all((cut(content, sprite, index) == tile).all() for index, tile in enumerate(row))


def test_what_lies_outside_the_image_is_told_by_its_box():
    random = np.random.default_rng(0)
    windows, inside = random.integers(1, 256, (3, 8, 12, 3), np.uint8), np.zeros((3, 8, 12), bool)
    inside[0], inside[1, 2:, :9] = True, True  # the third is of a unit that nothing excites
    tiles, boxes = explorer.framed(windows, inside, 64)
    assert boxes.tolist() == [[0, 0, 8, 12], [2, 0, 8, 9], [0, 0, 0, 0]]
    np.testing.assert_array_equal(tiles[0], windows[0])
    np.testing.assert_array_equal(tiles[1, 2:, :9], windows[1, 2:, :9])
    assert (tiles[1, :2, :9] == windows[1, 2, :9]).all() and not tiles[2].any()
    small, halves = explorer.framed(np.full((1, 8, 12, 1), 77, np.uint8), inside[1:2], 6)
    assert small.shape == (1, 4, 6, 1) and (small == 77).all() and halves.tolist() == [[1, 0, 4, 4]]


@pytest.mark.parametrize('room', [0, 9, 10, 35, 59, 60, 61, 1000])
def test_as_many_units_of_each_layer_are_shown_as_fit(room):
    sizes = [[4, 5, 30, 1], [6, 5], [0, 0, 5, 0]]
    counts = range(5)
    fit = [count for count in counts if sum(itertools.chain(*(layer[:count] for layer in sizes))) <= room]
    assert explorer.fitting(sizes, room) == max(fit)


def test_a_folder_that_is_too_large_is_refused_and_one_that_is_written_again_holds_no_older_picture(tmp_path):
    content = {'index.html': 'x' * 500_000, 'pictures/a.png': b'y' * 600_000}
    with pytest.raises(ConfigError, match=r'explore.megabytes=1, but with one unit of each layer the folder takes 1.1') as refused:
        explorer.write(tmp_path / 'large', content, 1)
    assert '\n' not in str(refused.value) and not (tmp_path / 'large').exists()
    assert explorer.write(tmp_path / 'kept', content, 1.1) == 1_100_000
    (tmp_path / 'kept' / 'pictures' / 'mine.txt').write_text('of somebody else')
    explorer.write(tmp_path / 'kept', {'index.html': '', 'pictures/b.png': b'z'}, 1)
    assert {path.name for path in (tmp_path / 'kept' / 'pictures').iterdir()} == {'b.png', 'mine.txt'}


def test_texts_are_no_markup_and_the_policy_lets_run_the_pages_own_script_alone():
    told = {'classes': [EVIL, '</script><script>alert(2)</script>', '<!--', 'ü'], 'value': None}
    text = explorer.document(EVIL, EVIL, told, [EVIL], f'python -m experiments.explore {EVIL}')
    read = Reader(text)
    assert read.tags.count('script') == text.count('<script') == text.count('</script') == 2
    assert read.text.count(EVIL) == 5  # title, heading, lead, note, command
    (data,) = re.findall(r'<script type="application/json" id="told">(.*?)</script>', text)
    assert json.loads(data) == told
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    (script,) = re.findall(r'<script>(.*?)</script>', text, re.DOTALL)
    assert policy.startswith("default-src 'none'; img-src 'self' file: data:;") and script == _text('explorer.js')
    assert explorer.templates.digest(script) in policy and not re.search(r'innerHTML|insertAdjacent|eval|fetch|https?:', script)
    assert set(read.addresses) == {'data:,', 'units.csv'}
    with pytest.raises(ValueError):
        explorer.document('', '', {'value': float('nan')}, [], '')
