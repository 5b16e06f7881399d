"""Decoding against arrays made here and Pillow's own transposition; provoked damage."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from cnn_research.data import images
from cnn_research.errors import SourceError

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)


def encoded(picture, kind='PNG', **more):
    stream = io.BytesIO()
    picture.save(stream, kind, **more)
    return stream.getvalue()


def test_the_first_bytes_of_a_jpeg_keep_no_other_format_out():
    every = {kind: encoded(smooth(9, 8), kind) for kind in ('PNG', 'JPEG', 'BMP', 'GIF', 'TIFF', 'PPM', 'WEBP')}
    for kind, content in every.items():
        assert (images._likely(io.BytesIO(content)) == ('JPEG',)) == (kind == 'JPEG')
        assert images.header(io.BytesIO(content), kind).height == 9


def decoded(content, channels=3, upright=True):
    return images.decoded(content, channels, 'the file', upright)


def header(content):
    return images.header(io.BytesIO(content), 'the file')


def chunk(kind, content):
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def png(width, height, bits, colour, rows, *extra):
    """A PNG written by hand; Pillow writes neither of 16-bit colour nor of huge claims."""
    parts = [chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)), *extra, chunk(b'IDAT', zlib.compress(rows))]
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts) + chunk(b'IEND', b'')


@pytest.mark.parametrize('mode', ['RGBA', 'LA'])
def test_transparent_pixels_are_composed_on_white(mode):
    alpha = np.random.default_rng(1).integers(0, 256, (6, 5, 1), np.uint8)
    alpha[0, 0], alpha[0, 1] = 0, 255
    ink = COLOURS if mode == 'RGBA' else COLOURS[..., :1]
    share = alpha / 255
    content = encoded(Image.fromarray(np.concatenate([ink, alpha], -1), mode))
    found = decoded(content, ink.shape[-1])
    np.testing.assert_allclose(found, ink * share + 255 * (1 - share), atol=1)
    assert (found[0, 0] == 255).all() and (found[0, 1] == ink[0, 1]).all() and header(content).marks == ('transparent',)


@pytest.mark.parametrize('kind', ['PNG', 'GIF'])
def test_a_transparent_colour_of_a_palette_is_white(kind):
    picture = Image.new('P', (5, 6), 0)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.putpixel((1, 2), 1)
    content = encoded(picture, kind, transparency=0)
    expected = np.full((6, 5, 3), 255)
    expected[2, 1] = 10, 20, 30
    np.testing.assert_array_equal(decoded(content), expected)
    assert header(content).marks == ('transparent',)


@pytest.mark.parametrize(('colour', 'channels', 'key'), [(2, 3, (0, 10, 0, 20, 0, 30)), (0, 1, (0, 10))])
def test_a_colour_declared_transparent_is_white(colour, channels, key):
    row = bytes([10, 20, 30, 50, 60, 70] if colour == 2 else [10, 50])
    found = decoded(png(2, 1, 8, colour, b'\0' + row, chunk(b'tRNS', bytes(key))), channels)
    assert found[0, 0].tolist() == [255] * channels and found[0, 1].tolist() == [50, 60, 70][:channels]


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'WEBP'])
def test_images_are_set_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(COLOURS), kind, exif=exif, **({'lossless': True} if kind == 'WEBP' else {}))
    picture = Image.fromarray(COLOURS)
    picture.info['exif'] = exif.tobytes()
    expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(decoded(content), expected)
    found = header(content)
    assert (found.height, found.width) == expected.shape[:2] and ('turned' in found.marks) == (orientation > 1)
    if kind != 'TIFF':
        np.testing.assert_array_equal(decoded(content, upright=False), COLOURS)


@pytest.mark.parametrize(
    'exif', [b'Exif\0\0MM\0*\0\0\0', b'Exif\0\0nonsense', b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0']
)
def test_a_damaged_orientation_is_none(exif):
    content = encoded(Image.fromarray(COLOURS), 'PNG', exif=exif)
    np.testing.assert_array_equal(decoded(content), COLOURS)
    assert header(content).marks == ()


def test_of_several_frames_the_first_is_read():
    frames = [Image.fromarray(np.full((6, 5), value, np.uint8)) for value in (10, 90)]
    for kind in ('GIF', 'TIFF', 'WEBP', 'PNG'):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert 'frames' in header(content).marks, kind
        np.testing.assert_allclose(decoded(content), 10, atol=2)


DEEP = {
    'I;16': lambda: encoded(Image.fromarray(np.arange(30, dtype=np.uint16).reshape(6, 5) * 1000)),
    'I': lambda: encoded(Image.fromarray(np.arange(30, dtype=np.int32).reshape(6, 5)), 'TIFF'),
    'F': lambda: encoded(Image.fromarray(np.ones((6, 5), np.float32)), 'TIFF'),
    'LAB': lambda: encoded(Image.new('LAB', (5, 6)), 'TIFF'),
    'RGB;16': lambda: png(5, 6, 16, 2, (b'\0' + bytes(30)) * 6),
    'RGBA;16': lambda: png(5, 6, 16, 6, (b'\0' + bytes(40)) * 6),
}


@pytest.mark.parametrize('kind', DEEP)
def test_depths_that_nothing_says_how_to_scale_are_refused(kind):
    for ask in (header, decoded):
        with pytest.raises(SourceError, match=r'the file: images .* are not read; convert it to 8 bits per channel'):
            ask(DEEP[kind]())


@pytest.mark.parametrize(('width', 'height'), [(20_000, 20_000), (14_000, 13_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)])
def test_decompression_bombs_are_refused_unread(width, height):
    for ask in (header, decoded):
        with pytest.raises(SourceError, match=r'^the file.*(pixels|bomb|read)'):
            ask(png(width, height, 8, 2, b''))


@pytest.mark.parametrize(
    'kind',
    [
        'PNG',
        'JPEG',
        'BMP',
        'GIF',
        'TIFF',
        'PPM',
        pytest.param('WEBP', marks=pytest.mark.slow),
        'TGA',
        'ICO',
        'PCX',
        'JPEG2000',
        'DDS',
        'SGI',
    ],
)
def test_damage_anywhere_is_one_line_or_an_image(kind):
    whole = encoded(Image.fromarray(np.kron(COLOURS, np.ones((4, 4, 1), np.uint8))), kind)
    random = np.random.default_rng(2)
    damaged = [whole[: len(whole) * part // 8] for part in range(8)]
    for place in [*range(min(60, len(whole))), *random.integers(0, len(whole), 20)]:
        damaged.append(whole[:place] + bytes([random.integers(256)]) + whole[place + 1 :])
        damaged.append(whole[:place] + b'\xff\xff\xff\xff' + whole[place + 4 :])
    for content in damaged:
        try:
            found = decoded(content)
            assert found.dtype == np.uint8 and found.ndim == 3
        except SourceError as error:
            assert str(error).isprintable() and str(error).startswith('the file')
    assert not images.is_image(io.BytesIO(b''))


def test_formats_that_other_programs_decode_are_no_images():
    decoded_here, signed, endings = images.formats()
    assert not {'EPS', 'WMF', 'MPEG', 'HDF5', 'GRIB', 'BUFR'} & set(decoded_here) and set(signed) < set(decoded_here)
    assert {'.png', '.jpeg', '.gif', '.webp', '.jp2', '.tga'} <= endings and not {'.eps', '.pdf', '.h5', '.mpg', '.txt'} & endings
    assert images.named_as_image('A.JPG') and not images.named_as_image('png')


def test_long_and_odd_texts_are_one_line():
    assert images.plain('a\nb\udcff\u2028é') == 'a\\nb\\udcff\\u2028é'
    assert len(images.plain('x' * 5000 + 'end')) < 400 and images.plain('x' * 5000 + 'end').endswith('end')


def smooth(height, width, seed=3):
    """As smooth as photographs are."""
    grid = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)


JPEGS = {
    'plain': {},
    'whole colour': {'subsampling': '4:4:4'},
    'half colour': {'subsampling': '4:2:2'},
    'progressive': {'progressive': True},
    'coarse': {'quality': 10},
    'RGB': {'keep_rgb': True},
    'restarts': {'restart_marker_blocks': 2},
}


@pytest.mark.parametrize('kind', [*JPEGS, 'grey', 'CMYK', 'turned'])
def test_the_fast_decoder_gives_pillows_pixels(kind, monkeypatch):
    if images.fast() is None:
        pytest.skip('simplejpeg is not installed')
    used, turn = [], Image.Exif()
    turn[0x0112] = 6
    for height, width in ((37, 50), (64, 48), (129, 201), (8, 8)):
        picture = smooth(height, width).convert({'grey': 'L', 'CMYK': 'CMYK'}.get(kind, 'RGB'))
        content = encoded(picture, 'JPEG', **JPEGS.get(kind, {'exif': turn} if kind == 'turned' else {}))
        for channels, side in ((3, 0), (1, 0), (3, 8), (3, 16), (3, 17)):
            both = []
            for fast in fast_or_not():
                with monkeypatch.context() as patch:
                    patch.setattr(images, 'fast', lambda fast=fast: fast)
                    both.append(images.small(content, channels, 'it', True, side)[0] if side else decoded(content, channels))
            np.testing.assert_array_equal(*both)
        with Image.open(io.BytesIO(content)) as opened:
            used.append(images._fast_pixels(content, opened, 3, 1) is not None)
    assert all(used) if kind != 'CMYK' else not any(used)


def test_of_damaged_jpegs_the_fast_decoder_says_what_pillow_says(monkeypatch):
    if images.fast() is None:
        pytest.skip('simplejpeg is not installed')
    found, random = fast_or_not(), np.random.default_rng(5)
    whole = encoded(smooth(40, 56), 'JPEG', quality=80)
    damaged = [whole[: len(whole) * part // 16] for part in range(1, 16)] + [whole + b'junk', b'\0' + whole]
    for place in [*range(2, 30), *random.integers(30, len(whole), 60)]:
        damaged.append(whole[:place] + bytes([random.integers(256)]) + whole[place + 1 :])
    outcomes = set()
    for content in damaged:
        both = []
        for fast in found:
            with monkeypatch.context() as patch:
                patch.setattr(images, 'fast', lambda fast=fast: fast)
                try:
                    both.append(decoded(content).tobytes())
                except SourceError as error:
                    both.append(str(error))
        assert both[0] == both[1]
        outcomes.add(type(both[0]))
    assert outcomes == {bytes, str}


def fast_or_not():
    return images.fast(), None


@pytest.mark.parametrize(('height', 'width', 'scale'), [(301, 420, 4), (127, 300, 1), (128, 131, 2), (700, 519, 8), (513, 2000, 8)])
def test_a_jpeg_of_twice_the_side_is_scaled_as_it_is_decoded_and_stays_near(height, width, scale):
    content = encoded(smooth(height, width), 'JPEG', quality=95)
    found, by = images.small(content, 3, 'it', True, 64)
    whole = images.scaled(decoded(content), 64)
    difference = np.abs(found.astype(int) - whole)
    assert by == scale and found.shape == whole.shape and difference.mean() < 0.7 and difference.max() <= 6
    if scale == 1:
        assert not difference.any()


def test_pixels_are_scaled_as_pillow_does_or_left_alone():
    pixels = np.asarray(smooth(40, 61))
    expected = np.asarray(Image.fromarray(pixels).resize((round(61 * 16 / 40), 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(images.scaled(pixels, 16), expected)
    assert images.scaled(pixels, 40) is pixels


def test_photographs_scaled_as_they_are_decoded_stay_near(data_dir):
    from cnn_research.data import prepared

    found = prepared.located('indoor_objects', 'test', data_dir, ())
    records = prepared.Records(found.base, str(found.directory), 'test', 'image', found.stamp).records(range(0, 30, 4))
    for side, scale in ((240, 2), (120, 4)):
        for record in records:
            part, by = images.small(record['image'], 3, 'it', False, side)
            whole = images.scaled(decoded(record['image'], upright=False), side)
            assert by == scale and np.abs(part.astype(int) - whole).mean() < 2.6
