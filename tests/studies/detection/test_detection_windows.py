"""A window is what loops over its pixels read; features of windows are the network's own, kept once, and made again where they are hurt."""

import dataclasses
import itertools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_scenes import HOW, ONE, boxes_in, in_memory, network, pictured

from cnn_research import features, tasks
from cnn_research.data import augment
from cnn_research.data.scene import Scene
from cnn_research.errors import ArchitectureError, ConfigError, SourceError, Stopped
from cnn_research.studies.detection import windows

RANDOM = np.random.default_rng(0)
warped = jax.jit(windows.warped, static_argnames=('side', 'context', 'way'))
IMAGE = RANDOM.integers(0, 256, (40, 56, 3)).astype(np.uint8)
# Inside, at a corner, over two borders, all of it and more, a pixel wide, far narrower than high, outside.
BOXES = np.array(
    [
        (4.2, 7.9, 30.6, 41.3),
        (0, 0, 12, 20),
        (29.3, 33.1, 52.7, 70.2),
        (-9.3, -14.1, 47.2, 66.8),
        (10, 20, 11, 21),
        (3, 30, 38.5, 31.5),
        (60, 70, 80, 90),
    ]
)


def read_by_loops(image, box, size, context, way, fill):
    """The definition, pixel by pixel in float64: (h, w, C)."""
    ymin, xmin, ymax, xmax = map(float, box)
    (height, width), (rows, columns, channels) = size, image.shape
    tall, wide = ymax - ymin, xmax - xmin
    if way == 'isotropic':
        share = max(tall / (height - 2 * context), wide / (width - 2 * context))
        tall, wide = share * (height - 2 * context), share * (width - 2 * context)
    # A pixel of the warped window is so large in the image; the window begins `context` of them before the box.
    down, right = tall / (height - 2 * context), wide / (width - 2 * context)
    top, left = (ymin + ymax - tall) / 2 - context * down, (xmin + xmax - wide) / 2 - context * right
    found = np.broadcast_to(np.asarray(fill, np.float64), (height, width, channels)).copy()
    for i, j in itertools.product(range(height), range(width)):
        y, x = top + (i + 0.5) * down, left + (j + 0.5) * right  # from the image's corner
        if 0 <= y <= rows and 0 <= x <= columns:
            y, x = min(max(y - 0.5, 0), rows - 1), min(max(x - 0.5, 0), columns - 1)  # from the first pixel's middle
            a, b = int(y), int(x)
            c, d = min(a + 1, rows - 1), min(b + 1, columns - 1)
            v, u = y - a, x - b
            image_ = image.astype(np.float64)
            found[i, j] = (1 - v) * ((1 - u) * image_[a, b] + u * image_[a, d]) + v * ((1 - u) * image_[c, b] + u * image_[c, d])
    return found


MEAN_IMAGE = RANDOM.uniform(0, 255, (19, 19, 3))


@pytest.mark.parametrize('way', windows.WAYS)
@pytest.mark.parametrize('size, context, fill', [((19, 19), 3, (10.0, 20.0, 30.0)), ((19, 19), 0, MEAN_IMAGE), ((17, 24), 2, (0.0,))])
def test_a_window_is_what_loops_over_its_pixels_read(way, size, context, fill):
    found = warped(IMAGE, BOXES, size, context, way, fill=np.array(fill, np.float32))
    assert found.shape == (len(BOXES), *size, 3) and found.dtype == jnp.float32
    for window, box in zip(found, BOXES, strict=True):
        np.testing.assert_allclose(window, read_by_loops(IMAGE, box, size, context, way, fill), atol=0.02)


def test_the_whole_image_at_its_own_size_is_itself():
    found = warped(IMAGE, np.array([[0, 0, 40, 56]]), (40, 56), 0, fill=np.zeros(3))
    np.testing.assert_array_equal(found[0], IMAGE)
    inner = warped(IMAGE, np.array([[5, 5, 35, 51]]), (40, 56), 5, fill=np.zeros(3))
    np.testing.assert_allclose(inner[0], IMAGE, atol=0.01)


def test_a_box_without_height_or_width_is_a_window_of_no_number_and_other_shapes_are_refused():
    boxes = np.array([(5, 5, 5, 20), (9, 5, 4, 20), (1, 2, np.nan, 9), (1, 2, 3, 4)])
    found = warped(IMAGE, boxes, (19, 19), 3, fill=np.zeros(3))
    assert np.isnan(found[:3]).all() and np.isfinite(found[3]).all()
    assert warped(IMAGE, np.zeros((0, 4)), 19, 3, fill=np.zeros(3)).shape == (0, 19, 19, 3)
    for image, given in ((IMAGE[..., 0], boxes), (IMAGE, boxes[0]), (IMAGE, boxes[:, :3]), (IMAGE[None], boxes)):
        with pytest.raises(SourceError, match='by boxes .B, 4., not out of'):
            windows.warped(image, given, 19, 3, fill=np.zeros(3))


def rcnn_crop(image, corners, side, padding, square):
    """rcnn_im_crop.m, line by line, zero outside; corners: x1, y1, x2, y2 in whole pixels, inclusive, counted from 1."""
    x1, y1, x2, y2 = corners
    scale = side / (side - padding * 2)
    half_height, half_width = (y2 - y1 + 1) / 2, (x2 - x1 + 1) / 2
    centre = x1 + half_width, y1 + half_height
    if square:
        half_width = half_height = max(half_height, half_width)
    x1, y1 = round(centre[0] - half_width * scale), round(centre[1] - half_height * scale)
    x2, y2 = round(centre[0] + half_width * scale), round(centre[1] + half_height * scale)
    unclipped = y2 - y1 + 1, x2 - x1 + 1
    pads = max(0, 1 - y1), max(0, 1 - x1)
    x1, y1, x2, y2 = max(1, x1), max(1, y1), min(image.shape[1], x2), min(image.shape[0], y2)
    window = image[y1 - 1 : y2, x1 - 1 : x2].astype(float)
    scales = [side / length for length in unclipped]
    pads = [round(pad * by) for pad, by in zip(pads, scales, strict=True)]
    sizes = [min(round(length * by), side - pad) for length, by, pad in zip(window.shape, scales, pads, strict=False)]
    for axis, size in enumerate(sizes):  # imresize, bilinear, without antialiasing
        place = (np.arange(size) + 0.5) * window.shape[axis] / size - 0.5
        first = np.clip(np.floor(place).astype(int), 0, window.shape[axis] - 1)
        after = np.clip(np.floor(place).astype(int) + 1, 0, window.shape[axis] - 1)
        share = (place - np.floor(place)).reshape([-1] + [1] * (2 - axis))
        window = (1 - share) * window.take(first, axis) + share * window.take(after, axis)
    found = np.zeros((side, side, 3))
    found[pads[0] : pads[0] + sizes[0], pads[1] : pads[1] + sizes[1]] = window
    return found


@pytest.mark.parametrize('way', windows.WAYS)
@pytest.mark.parametrize('corners', [(101, 61, 260, 180), (1, 1, 90, 140), (221, 131, 300, 200)])
def test_a_window_is_the_papers_authors_up_to_their_rounding(way, corners):
    y, x = np.mgrid[:200, :300]
    ramp = np.stack([x, y, (x + y) / 2], axis=-1) / 2 + 50  # at most half a level a pixel
    x1, y1, x2, y2 = corners
    found = np.asarray(warped(ramp, np.array([(y1 - 1, x1 - 1, y2, x2)]), 227, 16, way, fill=np.zeros(3)))[0]
    expected = rcnn_crop(ramp, corners, 227, 16, way == 'isotropic')
    both = (found > 0) & (expected > 0)
    # They round windows to whole pixels, the far end a pixel further: at most 1.5 px, and as much of the border.
    assert np.abs(found - expected)[both].max() < 0.8
    assert ((found > 0) != (expected > 0)).mean() < 0.03 and both.mean() > 0.5


@pytest.mark.parametrize(
    'how, message',
    [
        (windows.How(context=114), 'context=114 does not fit windows of 227 px; it may be 0 to 113'),
        (windows.How(context=-1), 'context=-1'),
        (windows.How(way='warped'), "way='warped' is no way .* warp, isotropic. Did you mean warp"),
        (windows.How(side=-1), 'side=-1'),
    ],
)
def test_windows_that_cannot_be_cut_are_refused(how, message):
    with pytest.raises(ConfigError, match=message):
        windows.check(how, (227, 227))
    assert windows.check(windows.RCNN, (227, 227)) is None
    with pytest.raises(ConfigError, match=r"32 px; it may be 0 to 15 \(R-CNN's share, 16 of 227 px, is 2\)"):
        windows.warped(IMAGE, BOXES, 32, fill=np.zeros(3))


# ---- features of windows


def scenes(channels=3, sizes=((48, 60), (40, 40), (70, 50), (48, 60))):
    random = np.random.default_rng(1)
    made = []
    for number, (height, width) in enumerate(sizes):
        image = random.integers(0, 256, (height, width, channels)).astype(np.uint8)
        count = number % 3  # the first and the fourth have no object
        boxes = boxes_in(random, count, height, width)
        made.append(Scene(f'image {number}', image, boxes, np.arange(count, dtype=np.int32) % 2, np.zeros(count, bool)))
    return in_memory(made)


def proposals(some, counts=(5, 3, 9, 0)):
    random = np.random.default_rng(2)
    return [boxes_in(random, count, *scene.image.shape[:2]) for scene, count in zip(pictured(some), counts, strict=True)]


TAPS = ('layer2.relu', 'layer6')
TRAINED = network()


@pytest.fixture(scope='module')
def gathered(tmp_path_factory):
    """What was gathered of four images, into a folder that the tests copy."""
    folder = tmp_path_factory.mktemp('gathered')
    some = scenes()
    return folder, windows.gathered(folder, TRAINED, TAPS, some, proposals(some), HOW, devices=ONE)


def test_features_are_the_networks_own_of_every_window_proposals_before_truths(gathered):
    some, found = scenes(), gathered[1]
    assert set(found) == set(TAPS) and [len(rows) for rows in found['layer6']] == [5, 4, 11, 0]
    every = windows.rows_of(some, proposals(some))
    cut = windows.cutter(TRAINED, HOW)
    views = [cut(scene.image, boxes) for scene, boxes in zip(pictured(some), every, strict=True)]
    seen = augment.prepare(np.concatenate(views), TRAINED.variables['preprocessing'], (32, 32, 3))
    net = tasks.network(TRAINED.config)
    kept = jax.jit(lambda seen: net.apply({'params': TRAINED.variables['params']}, seen, taps=TAPS, method='features'))(seen)
    for tap in TAPS:
        array = features.averaged(kept[tap], 3) if kept[tap].ndim == 4 else kept[tap]
        expected = np.asarray(array).reshape(20, windows.dimension(net.architecture, tap, 3))
        assert all(np.asarray(rows).dtype == np.float32 for rows in found[tap])
        # float16: a 2,048th of itself; the rest is the order of summation.
        np.testing.assert_allclose(np.concatenate(found[tap]), expected, rtol=6e-4, atol=1e-5 * np.abs(expected).max())


def copied(gathered, tmp_path):
    shutil.copytree(gathered[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)


DAMAGE = {
    'a bit of the array': lambda path: flipped(path),
    'array cut off': lambda path: path.write_bytes(path.read_bytes()[:-1]),
    'array gone': lambda path: path.unlink(),
    'a digit of the exponent': lambda path: note_changed(path),
    'note gone': lambda path: path.with_suffix('.sha256').unlink(),
    'note empty': lambda path: path.with_suffix('.sha256').write_bytes(b''),
    'note of other bytes': lambda path: path.with_suffix('.sha256').write_bytes(b'\xff x'),
}


def note_changed(path):
    exponent, digest = path.with_suffix('.sha256').read_text().split()
    path.with_suffix('.sha256').write_text(f'{int(exponent) + 1} {digest}')


@pytest.mark.parametrize('damage', DAMAGE)
def test_only_what_was_hurt_is_made_again(gathered, damage, tmp_path):
    folder, some = copied(gathered, tmp_path), scenes()
    DAMAGE[damage](sorted(folder.glob('*/layer6/*.npy'))[2])
    found = windows.gathered(folder, TRAINED, TAPS, some, proposals(some), HOW, devices=ONE)
    assert set(some.pixels.asked[1:]) == {2}  # the first is looked at for its channels
    for tap in TAPS:
        for rows, expected in zip(found[tap], gathered[1][tap], strict=True):
            np.testing.assert_array_equal(rows, expected)


def test_other_boxes_are_other_features_of_that_image_alone_and_another_network_has_a_folder_of_its_own(gathered, tmp_path):
    folder, some = copied(gathered, tmp_path), scenes()
    other = proposals(some)
    other[1] = other[1][:2]
    found = windows.gathered(folder, TRAINED, TAPS, some, other, HOW, devices=ONE)
    assert set(some.pixels.asked[1:]) == {1} and found['layer6'][1].shape == (3, 8)
    before = {path.name for path in folder.iterdir()}
    changes = (
        (network(mean=(101.0,)), HOW, scenes()),
        (TRAINED, HOW._replace(context=1), scenes()),
        (TRAINED, HOW._replace(way='isotropic'), scenes()),
        (TRAINED, HOW, dataclasses.replace(scenes(), pictures='of other images')),
    )
    for trained, how, these in changes:
        with pytest.raises(Stopped):
            windows.gathered(folder, trained, TAPS, these, other, how, stop=lambda: True)
    assert {path.name for path in folder.iterdir()} == before


def test_what_is_stopped_goes_on_with_the_next_image_and_ends_the_same(gathered, tmp_path):
    some, left = scenes(), iter([False, False, True])
    with pytest.raises(Stopped):
        windows.gathered(tmp_path, TRAINED, TAPS, some, proposals(some), HOW, stop=lambda: next(left), devices=ONE)
    some.pixels.asked.clear()
    said = []
    found = windows.gathered(tmp_path, TRAINED, TAPS, some, proposals(some), HOW, devices=ONE, log=said.append)
    assert set(some.pixels.asked[1:]) == {2, 3} and said[-1] == 'fake (train): windows of 4 of 4 images'
    for tap in TAPS:
        for rows, expected in zip(found[tap], gathered[1][tap], strict=True):
            np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize('scale', [1e-30, 1e-6, 1.0, 3e5, 1e30])
def test_numbers_of_any_size_are_kept_to_a_2048th_part(scale, tmp_path):
    array = (RANDOM.normal(size=(50, 8)) * scale * 10.0 ** RANDOM.uniform(-5, 0, (50, 8))).astype(np.float32)
    array[0] = 0
    exponent = windows._write(tmp_path / 'a.npy', array)
    found = windows.Mapped(tmp_path / 'a.npy', exponent)
    np.testing.assert_allclose(found, array, rtol=1 / 2048)
    np.testing.assert_array_equal(found[[3, 1]], np.asarray(found)[[3, 1]])
    assert found[4:9].shape == (5, 8) and found[2, 3] == np.asarray(found, np.float64)[2, 3] and len(found) == found.shape[0] == 50
    assert windows._exponent(tmp_path / 'a.npy') == exponent and np.load(tmp_path / 'a.npy').dtype == np.float16


def test_outside_of_the_image_the_network_sees_zero_whatever_its_mean():
    random = np.random.default_rng(3)
    means = {
        'channels': random.uniform(0, 255, 3),
        'image': random.uniform(0, 255, (32, 32, 3)),
        'larger': random.uniform(0, 9, (40, 36, 3)),
    }
    for mean in means.values():
        trained = network(mean=mean)
        cut = windows.cutter(trained, HOW)
        for channels in (1, 3):
            views = cut(IMAGE[..., :channels], np.array([(-40.0, -56.0, 40.0, 56.0)]))
            seen = np.asarray(augment.prepare(views, trained.variables['preprocessing'], (32, 32, 3)))[0]
            assert not seen[:16].any() and not seen[:, :16].any() and seen[16:, 16:].all(axis=-1).mean() > 0.7


def test_images_that_are_filled_up_to_few_sizes_end_where_they_ended():
    views = windows.cutter(TRAINED, HOW)(IMAGE, BOXES)
    for window, box in zip(views, BOXES, strict=True):
        np.testing.assert_allclose(window, read_by_loops(IMAGE, box, (32, 32), 2, 'warp', (100.0,)), atol=0.02)
    assert windows.canvas(IMAGE).shape == (256, 256, 3) and windows.canvas(np.ones((256, 257, 1))).shape == (256, 512, 1)


def test_several_devices_and_batches_of_any_size_see_the_same(gathered):
    some = pictured(scenes())[2]
    boxes = np.concatenate([proposals(scenes())[2], some.boxes])
    found = windows.looker(TRAINED, TAPS, HOW, 3, jax.local_devices()[:2])(some.image, boxes)
    for tap, rows in found.items():
        np.testing.assert_allclose(rows, gathered[1][tap][2], rtol=1e-3, atol=1e-5 * np.abs(rows).max())


def test_a_network_that_fills_up_smaller_images_sees_windows_of_their_size():
    small = network(**{'data.resize': 28})
    assert windows.window_size(small) == (28, 28) and windows.window_size(TRAINED) == (32, 32)
    assert windows.window_size(network(**{'data.resize': 64})) == (32, 32)
    assert windows.window_size(TRAINED._replace(image_shape=(30, 50, 3))) == (30, 32)
    assert windows.looker(small, ('layer6',), HOW, devices=ONE)(IMAGE, BOXES[:3])['layer6'].shape == (3, 8)


def test_grey_images_are_seen_in_three_channels_and_colour_is_not_seen_in_one(tmp_path):
    cut = windows.cutter(TRAINED, HOW)
    views = cut(IMAGE[..., :1], BOXES)
    np.testing.assert_allclose(views, cut(np.repeat(IMAGE[..., :1], 3, axis=2), BOXES), atol=2e-3)
    assert views.shape == (len(BOXES), 32, 32, 3)
    grey = scenes(channels=1)
    rows = windows.gathered(tmp_path, TRAINED, ('layer1',), grey, proposals(grey), HOW, devices=ONE)['layer1'][2]
    assert rows.shape == (11, windows.dimension(TRAINED.architecture, 'layer1', 3)) and rows[:].any()
    with pytest.raises(SourceError, match=r'fake \(train\) has images of 3 channels, but lenet5_modern reads 1'):
        windows.gathered(tmp_path, network('lenet5_modern'), ('layer1',), scenes(), proposals(scenes()), HOW)


def test_what_cannot_be_looked_at_is_refused_before_any_work(tmp_path):
    def refused(error, message, some=None, given=None, taps=TAPS, how=HOW):
        some = some or scenes()
        with pytest.raises(error, match=message):
            windows.gathered(tmp_path, TRAINED, taps, some, proposals(scenes()) if given is None else given, how, devices=ONE)
        assert not list(tmp_path.iterdir())

    own = proposals(scenes())
    flat, strange, beyond = ([np.array(boxes) for boxes in own] for _ in range(3))
    flat[2][4, 2:] = flat[2][4, :2]
    strange[0][0, 0] = np.nan
    beyond[0][1] += 300
    refused(SourceError, 'proposals of 3 images, but fake .train. has 4', given=own[:3])
    refused(SourceError, r'proposals of image 2 hold \(.*\), which has no height', given=flat)
    refused(SourceError, r'proposals of image 0 hold \(nan', given=strange)
    refused(SourceError, r'not \(n, 4\)', given=[boxes[:, :3] for boxes in own])
    refused(SourceError, 'of image 0 hold .* lies outside of its 48 x 60 px', given=beyond)
    refused(SourceError, 'has no images', some=in_memory([]), given=[])
    refused(ArchitectureError, 'layer12', taps=('layer12',))
    refused(ConfigError, 'context=16 does not fit windows of 32 px', how=windows.RCNN)
