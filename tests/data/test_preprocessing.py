"""What becomes of digits and signs before anything else: against loops, against scikit-image, and by what must hold of every image."""

import pickle

import numpy as np
import pytest
from PIL import Image
from small_runs import config, fit

from cnn_research import checkpoints, evaluate, optional, tasks
from cnn_research import config as configs
from cnn_research.data import preprocessing
from cnn_research.data.preprocessing import PREPROCESSINGS, WIDTHS, applied, preprocessed
from cnn_research.data.source import subset
from cnn_research.data.sources import open_source
from cnn_research.errors import ConfigError
from cnn_research.studies.detection import windows
from experiments import export

OF_DIGITS = [*(f'width_{width}' for width in WIDTHS), 'deskewed']
OF_LIGHTNESS = ['histeq', 'adapthisteq', 'imadjust', 'contrast_normalization']


def moments(image):
    """(mass, mean of x, mean of y, covariance of x and y) of the grey levels."""
    grey = image[..., 0].astype(float)
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]]
    mass = grey.sum()
    x, y = (columns * grey).sum() / mass, (rows * grey).sum() / mass
    return mass, x, y, ((columns - x) * (rows - y) * grey).sum() / mass


def strange(height=28, width=28):
    """Digits that are no digits, by name."""
    blank = np.zeros((height, width, 1), np.uint8)
    found = {name: blank.copy() for name in ('pixel', 'column', 'row', 'faint', 'corners', 'diagonal', 'long', 'outlier')}
    found['pixel'][3, 0] = 200
    found['column'][:, -1] = 255
    found['row'][5, :] = 130
    found['faint'][4:9, 3:25] = 1
    found['corners'][[0, -1], [0, -1]] = 255
    found['diagonal'][np.arange(28) * height // 28, np.arange(28) * width // 28] = 255
    found['long'][10, :15], found['long'][11, 15:] = 255, 255
    found['outlier'][14, :], found['outlier'][0, 0] = 255, 1
    found['full'] = np.full_like(blank, 255)
    found['noise'] = np.random.default_rng(0).integers(0, 256, blank.shape, np.uint8)
    return found


DIGITS = {**strange(), **{f'digit {i}': image for i, image in enumerate(open_source('digits', 'train').read(np.arange(12))[0])}}
SIGNS = np.random.default_rng(1).integers(0, 256, (3, 24, 32, 3), np.uint8)
SMOOTH = np.stack([np.asarray(Image.fromarray(sign[:6, :8]).resize((32, 24), Image.Resampling.BICUBIC)) for sign in SIGNS])


@pytest.mark.parametrize('width', WIDTHS)
@pytest.mark.parametrize('name', DIGITS)
def test_the_box_around_the_ink_is_as_wide_as_the_name_says_and_keeps_its_rows(name, width):
    before, after = DIGITS[name], preprocessed(DIGITS[name], f'width_{width}')
    rows, columns = preprocessing.box(after)
    assert columns.stop - columns.start == width and columns.start == (28 - width) // 2
    assert rows == preprocessing.box(before)[0] and after.shape == before.shape and after.dtype == np.uint8


@pytest.mark.parametrize('width', [10, 20])
def test_widths_are_reached_by_triangles_over_the_columns(width):
    """A loop over pixels: each column is the average of those around its place, weighted by a triangle as wide as what it shrinks."""
    image = DIGITS['digit 0']
    rows, columns = preprocessing.box(image)
    inside = image[rows, columns, 0].astype(float)
    share = inside.shape[1] / width
    reach, wanted = max(share, 1.0), np.zeros((len(inside), width))
    for column in range(width):
        centre, total = (column + 0.5) * share, 0.0
        for other in range(inside.shape[1]):
            weight = max(0.0, 1 - abs(other + 0.5 - centre) / reach)
            wanted[:, column] += weight * inside[:, other]
            total += weight
        wanted[:, column] /= total
    left = (28 - width) // 2
    np.testing.assert_allclose(preprocessed(image, f'width_{width}')[rows, left : left + width, 0], wanted, atol=1.01)


@pytest.mark.parametrize('name', DIGITS)
def test_a_deskewed_digit_stands_upright(name):
    before, after = DIGITS[name], preprocessed(DIGITS[name], 'deskewed')
    mass, _, y, skew = moments(after)
    assert after.shape == before.shape and after.dtype == np.uint8
    # Rounding to grey levels leaves a little; a digit that has to be squeezed into the image also loses some of its mass.
    assert abs(skew) < 0.05 + 0.02 * abs(moments(before)[3])
    assert y == pytest.approx(moments(before)[2], abs=0.1)
    if name.startswith('digit'):
        assert mass == pytest.approx(moments(before)[0], rel=0.01)
        assert after.any(axis=(1, 2)).tolist() == before.any(axis=(1, 2)).tolist()


def test_deskewing_is_a_shear_of_rows():
    """A loop over pixels of a digit that stays inside of its image."""
    image = DIGITS['digit 0']
    _, x, y, skew = moments(image)
    grey, rows = image[..., 0].astype(float), np.arange(28)
    slope = skew / (((rows - y) ** 2) @ grey.sum(1) / grey.sum())
    wanted = np.zeros((28, 28))
    for row in rows:
        for column in range(28):
            if grey[row, column]:
                place = column - slope * (row - y)
                low = int(np.floor(place))
                wanted[row, low] += grey[row, column] * (low + 1 - place)
                wanted[row, low + 1] += grey[row, column] * (place - low)
    np.testing.assert_allclose(preprocessed(image, 'deskewed')[..., 0], wanted, atol=0.51)
    sheared = np.zeros_like(image)
    for row in rows:
        sheared[row] = np.roll(image[row], round(0.3 * (14 - row)), axis=0)
    assert abs(moments(sheared)[3]) > 3 and abs(moments(preprocessed(sheared, 'deskewed'))[3]) < 0.05


@pytest.mark.parametrize('name', [*OF_DIGITS, *OF_LIGHTNESS])
def test_a_blank_image_is_no_trouble(name):
    for level in (0, 255):
        blank = np.full((28, 28, 1), level, np.uint8)
        after = preprocessed(blank, name)
        assert after.shape == blank.shape and after.dtype == np.uint8 and (level or name in OF_LIGHTNESS or not after.any())
        if name in OF_LIGHTNESS:
            assert len(np.unique(after)) == 1
    assert np.array_equal(preprocessed(np.zeros((28, 28, 1), np.uint8), 'deskewed'), np.zeros((28, 28, 1)))


def changed(level, name):
    """Of lightness (H, W) from 0 to 1 what scikit-image makes or, of contrasts, a loop over 5 x 5 px, borders repeated."""
    if name != 'contrast_normalization':
        exposure = pytest.importorskip('skimage.exposure')
        return {
            'histeq': lambda: exposure.equalize_hist(level),
            'adapthisteq': lambda: exposure.equalize_adapthist(level, kernel_size=(3, 4)),
            'imadjust': lambda: exposure.rescale_intensity(level, tuple(np.percentile(level, (1, 99))), (0.0, 1.0)),
        }[name]()
    around = np.arange(-2, 3)
    padded, response = np.pad(level, 2, mode='edge'), np.zeros(level.shape)
    kernels = [np.exp(-(around**2) / (2 * sigma**2)) for sigma in (0.5, 1.0)]
    kernel = np.subtract(*(np.outer(one, one) / one.sum() ** 2 for one in kernels))
    for row in range(level.shape[0]):
        for column in range(level.shape[1]):
            response[row, column] = (padded[row : row + 5, column : column + 5] * kernel).sum()
    return 0.5 + 0.5 * response / np.abs(response).max()


@pytest.mark.parametrize('name', OF_LIGHTNESS)
def test_levels_of_grey_images(name):
    after = preprocessed(SMOOTH[0, ..., :1], name)[..., 0]
    np.testing.assert_allclose(after / 255, changed(SMOOTH[0, ..., 0] / 255, name), atol=0.5001 / 255)
    assert after.min() == 0 or after.max() == 255


@pytest.mark.parametrize('name', OF_LIGHTNESS)
def test_colour_images_change_their_lightness_and_keep_their_colours(name):
    color = pytest.importorskip('skimage.color')
    before, after = SMOOTH[1], preprocessed(SMOOTH[1], name)
    lab = [color.rgb2lab(image) for image in (before, after)]
    inside = ((after > 2) & (after < 253)).all(axis=2)  # what sRGB cannot show has another colour
    assert inside.any() and after.shape == before.shape and after.dtype == np.uint8
    np.testing.assert_allclose(lab[1][inside][:, 1:], lab[0][inside][:, 1:], atol=3)
    np.testing.assert_allclose(lab[1][inside][:, 0] / 100, changed(lab[0][..., 0] / 100, name)[inside], atol=0.015)
    assert not np.array_equal(before, after) and preprocessed(SIGNS[0], name).shape == SIGNS[0].shape  # without a warning


def test_a_source_keeps_all_but_its_pixels():
    source = open_source('digits', 'train')
    few = subset(source, np.arange(5, 40))
    seen = applied(few, 'width_14')
    kept = ('name', 'split', 'num_examples', 'class_names', 'image_shape', 'channels', 'stamp')
    assert [getattr(seen, name) for name in kept] == [getattr(few, name) for name in kept]
    np.testing.assert_array_equal(seen.labels(), few.labels())
    images, labels = pickle.loads(pickle.dumps(seen)).read([3, 1])
    raw, told = few.read([3, 1])
    assert labels.tolist() == told.tolist()
    np.testing.assert_array_equal(images[0], preprocessed(raw[0], 'width_14'))
    others = {applied(few, name).fingerprint for name in OF_DIGITS}
    assert len(others | {few.fingerprint}) == 1 + len(OF_DIGITS)  # so that nothing kept by content is taken for another
    assert applied(few, 'none') is few


def test_file_names_stay(tmp_path):
    for number, image in enumerate(DIGITS[f'digit {i}'] for i in range(2)):
        (tmp_path / 'test' / 'a').mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(tmp_path / 'test' / 'a' / f'{number}.png')
    source = open_source(f'folder:{tmp_path}', 'test')
    assert applied(source, 'deskewed').read.file_names([1, 0]) == source.read.file_names([1, 0])


@pytest.mark.parametrize('name', ['width_10', 'deskewed'])
def test_a_holdout_is_of_the_same_examples_under_every_preprocessing(name):
    found = {way: tasks.sources(config(data__examples=0, data__holdout=0.1, data__preprocessing=way)) for way in ('none', name, 'imadjust')}
    for role in ('train', 'holdout', 'test'):
        raw, seen = found['none'][role].read([0, 7]), found[name][role].read([0, 7])
        np.testing.assert_array_equal(preprocessed(raw[0][1], name), seen[0][1])
        assert raw[1].tolist() == seen[1].tolist() and found['none'][role].num_examples == found[name][role].num_examples
        assert len({sources[role].fingerprint for sources in found.values()}) == 3


def test_what_makes_no_sense_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    clutter, digits = open_source('clutter', 'test'), open_source('digits', 'test')
    for name in OF_DIGITS:
        with pytest.raises(ConfigError, match=rf"'{name}' is of grey digits, but clutter \(test\) has images of 3 channels.* histeq"):
            applied(clutter, name)
    narrow = tmp_path / 'narrow'
    for number in range(2):
        (narrow / 'test' / 'a').mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.pad(np.full((8, 3), 255, np.uint8), ((2, 2), (5, 5)))).save(narrow / 'test' / 'a' / f'{number}.png')
    source = open_source(f'folder:{narrow}', 'test')
    assert applied(source, 'width_12').read([0])[0][0].shape == (12, 13, 1)
    with pytest.raises(ConfigError, match="'width_20' is wider than the images of .*, 13 px; choose from none, width_10, width_12"):
        applied(source, 'width_20')
    Image.fromarray(np.full((12, 13), 240, np.uint8)).save(narrow / 'test' / 'a' / '0.png')
    Image.fromarray(np.full((12, 13), 240, np.uint8)).save(narrow / 'test' / 'a' / '1.png')
    with pytest.raises(ConfigError, match='black ground, but the edges of the images of .* have a median of 240'):
        applied(open_source(f'folder:{narrow}', 'test'), 'deskewed')
    with pytest.raises(ConfigError, match="'deskew' is not valid; choose from none, width_10.*Did you mean deskewed"):
        preprocessed(DIGITS['digit 0'], 'deskew')
    with pytest.raises(ConfigError, match="data.preprocessing='width_11' is not valid"):
        tasks.sources(configs.check(config(data__preprocessing='width_11')))
    monkeypatch.setitem(optional.importlib.sys.modules, 'skimage.color', None)
    for name in ('histeq', 'adapthisteq'):
        with pytest.raises(
            ConfigError, match=rf"data.preprocessing='{name}' needs scikit-image: pip install 'cnn-research\[traditional\]'"
        ):
            applied(digits, name)
    with pytest.raises(ConfigError, match='needs scikit-image'):
        applied(clutter, 'imadjust')
    assert applied(digits, 'imadjust').read([0])[0][0].shape == (28, 28, 1)  # of grey images NumPy's percentiles do


@pytest.fixture(scope='module')
def narrow(tmp_path_factory):
    """A finished training on digits 10 px wide."""
    home = tmp_path_factory.mktemp('narrow')
    run, _ = fit(home, config(data__preprocessing='width_10'))
    return home, run, checkpoints.load(home)


def test_a_network_sees_every_image_as_it_learned_to(narrow):
    home, run, trained = narrow
    source = subset(open_source('digits', 'test'), np.arange(100))
    images, labels = source.read(np.arange(100))
    error = run.result['test']['top1_error']
    assert trained.config.data.preprocessing == 'width_10'
    assert trained.evaluate(source).top1_error == error == np.mean(trained.predict(images).argmax(1) != labels)
    shown = np.stack([preprocessed(image, 'width_10') for image in images])
    plain = trained._replace(config=configs.update(trained.config, {'data.preprocessing': 'none'}))
    np.testing.assert_allclose(trained.features(images, ['layer1'])['layer1'], plain.features(shown, ['layer1'])['layer1'], rtol=1e-5)
    assert not np.allclose(trained.predict(images), plain.predict(images), atol=1e-3)
    # In a committee each member sees the source in its own way.
    member = (tasks.network(trained.config), trained.variables)
    both = evaluate.committee([member] * 2, source, 'centre', 'squared_error', preprocessings=('width_10', 'none'))
    mean = (trained.predict(images) + plain.predict(images)) / 2
    assert both.top1_error == np.mean(mean.argmax(1) != labels)
    assert tasks.same_data(trained.config, 'digits', trained.data)


def test_what_would_show_a_network_images_as_they_are_is_refused(narrow, tmp_path):
    home, _, trained = narrow
    export.FLAGS(['export', f'--network={home}', f'--out={tmp_path / "x.safetensors"}'])
    for show in (export.main, lambda: windows.window_size(trained)):
        with pytest.raises(ConfigError, match=r"shows images as they are, .* learned with data.preprocessing='width_10'"):
            show()
    assert not any(tmp_path.iterdir())


def test_the_table_of_names_and_the_functions_are_the_same():
    assert list(PREPROCESSINGS) == ['none', *OF_DIGITS, *OF_LIGHTNESS]


def test_a_source_is_seen_through_one_preprocessing_once():
    from cnn_research.data.source import subset

    seen = preprocessing.applied(open_source('digits', 'test'), 'width_12')
    assert (
        preprocessing.applied(seen, 'width_12') is seen
        and preprocessing.applied(subset(seen, [1, 2]), 'width_12').preprocessing == 'width_12'
    )
    with pytest.raises(ValueError, match='has been through'):
        preprocessing.applied(seen, 'deskewed')
