"""Hand-made features against plain loops; their classifier against scikit-learn's own ways."""

import sys

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from cnn_research import protocol, traditional
from cnn_research.errors import ConfigError, ResearchError, SourceError


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def picture(seed, height, width, channels=1):
    """Smooth blotches, so that gradients agree over some pixels; from 30 to 220."""
    coarse = np.random.default_rng(seed).uniform(30, 220, (height // 4 + 1, width // 4 + 1, channels))
    return np.kron(coarse, np.ones((4, 4, 1)))[:height, :width].astype(np.uint8)


def test_grey_is_luma():
    image = noise(0, 5, 7, 3)
    red, green, blue = np.moveaxis(image.astype(float), -1, 0)
    np.testing.assert_array_equal(traditional.grey(image), np.rint(0.299 * red + 0.587 * green + 0.114 * blue))
    np.testing.assert_array_equal(traditional.grey(image[..., :1]), image[..., 0])
    np.testing.assert_array_equal(traditional.grey(np.repeat(image[..., :1], 3, axis=-1)), image[..., 0])


def test_a_squashed_image_is_all_there():
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 30:] = 200  # the right half stays the right half, whatever the proportions
    small = traditional.squashed(image, 16)
    assert small.shape == (16, 16, 3) and small.dtype == np.uint8
    assert (small[:, :6] == 0).all() and (small[:, -6:] == 200).all()
    assert traditional.squashed(image[..., :1], 16).shape == (16, 16, 1)
    square = noise(1, 16, 16, 3)
    np.testing.assert_array_equal(traditional.squashed(square, 16), square)


def plain_hog(image):
    """Dalal & Triggs 2005 with whole votes: (blocks, blocks, 2, 2, 9) of (S, S, C)."""
    side, cells = len(image), len(image) // 8
    values = image.astype(float)
    histograms = np.zeros((cells, cells, 9))
    for row in range(side):
        for column in range(side):
            down = values[row + 1, column] - values[row - 1, column] if 0 < row < side - 1 else np.zeros(values.shape[-1])
            right = values[row, column + 1] - values[row, column - 1] if 0 < column < side - 1 else np.zeros(values.shape[-1])
            strongest = np.argmax(np.hypot(down, right))
            angle = np.degrees(np.arctan2(down[strongest], right[strongest])) % 180
            histograms[row // 8, column // 8, int(angle // 20) % 9] += np.hypot(down, right)[strongest] / 64
    blocks = np.empty((cells - 1, cells - 1, 2, 2, 9))
    for row in range(cells - 1):
        for column in range(cells - 1):
            block = histograms[row : row + 2, column : column + 2]
            block = np.minimum(block / np.sqrt((block**2).sum() + 1e-10), 0.2)
            blocks[row, column] = block / np.sqrt((block**2).sum() + 1e-10)
    return blocks


@pytest.mark.parametrize('channels', [1, 3])
def test_hog_is_that_of_dalal_and_triggs(channels):
    image = noise(2, 32, 32, channels)
    found = traditional.hog([image, picture(3, 40, 50, channels)], size=32)
    assert found.shape == (2, 9 * 36) and found.dtype == np.float32
    np.testing.assert_allclose(found[0], plain_hog(image).ravel(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.reshape(2, 9, 36), axis=-1), 1, atol=1e-4)


def test_hog_of_a_grey_image_is_that_of_its_copy_in_colour():
    grey = picture(4, 70, 50)
    one, other = traditional.hog([grey, np.repeat(grey, 3, axis=-1)])
    assert len(one) == 7 * 7 * 36 and traditional.hog([]).shape == (0, 7 * 7 * 36)
    np.testing.assert_array_equal(one, other)
    with pytest.raises(ConfigError, match='size=15'):
        traditional.hog([grey], size=15)


def plain_sift(smooth, row, column, cell):
    """Lowe 2004, section 6.1, upright, of a smoothed image (H, W): (4, 4, 8) before it is normalised."""
    found = np.zeros((4, 4, 8))
    for r in range(1, len(smooth) - 1):
        for c in range(1, smooth.shape[1] - 1):
            at = np.array([(r - row) / cell, (c - column) / cell])
            up, right = smooth[r - 1, c] - smooth[r + 1, c], smooth[r, c + 1] - smooth[r, c - 1]
            vote = np.hypot(up, right) * np.exp(-(at**2).sum() / (2 * 2**2))
            turn = np.arctan2(up, right) % (2 * np.pi) / (2 * np.pi) * 8
            for i in range(4):
                for j in range(4):
                    near = max(0, 1 - abs(at[0] + 1.5 - i)) * max(0, 1 - abs(at[1] + 1.5 - j))
                    for k in (int(turn), int(turn) + 1):
                        found[i, j, k % 8] += vote * near * (1 - abs(turn - k))
    return found


@pytest.mark.parametrize('window', [16, 24])
def test_dense_sift_is_that_of_lowe(window):
    import cv2

    image = picture(5, 40, 48)
    found, places = traditional.dense_sift(image, window, 8)
    smooth = cv2.GaussianBlur(image[..., 0].astype(np.float32), (0, 0), np.sqrt((window / 12) ** 2 - 0.25))
    for number in (0, 3, len(places) - 1):
        plain = plain_sift(smooth.astype(float), *places[number], window / 4).ravel()
        plain = np.minimum(plain / np.linalg.norm(plain), 0.2)
        np.testing.assert_allclose(found[number], plain / np.linalg.norm(plain), atol=0.0015)  # OpenCV rounds to 0.001


@pytest.mark.parametrize(
    ('height', 'width', 'window', 'stride', 'rows', 'columns'),
    [
        (32, 48, 16, 8, [8, 16, 24], [8, 16, 24, 32, 40]),
        (37, 16, 16, 8, [10, 18, 26], [8]),  # what is over is on both sides
        (30, 24, 24, 6, [12, 18], [12]),
    ],
)
def test_windows_lie_on_a_grid(height, width, window, stride, rows, columns):
    image = picture(6, height, width, 3)
    found, places = traditional.dense_sift(image, window, stride)
    assert places.tolist() == [[row, column] for row in rows for column in columns]
    assert found.shape == (len(places), 128) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(traditional.dense_sift(image, window, stride)[0], found)


def test_a_shifted_image_has_shifted_descriptors():
    image = picture(7, 96, 104)
    whole, places = traditional.dense_sift(image)
    shifted, there = traditional.dense_sift(image[16:, 8:])
    assert there.max(0).tolist() == [72, 88]
    again = {tuple(place): descriptor for place, descriptor in zip(places - [16, 8], whole, strict=True)}
    inner = [number for number, place in enumerate(there) if (place >= 24).all()]  # neither window nor smoothing meets a border
    assert len(inner) > 50
    np.testing.assert_allclose(shifted[inner], [again[tuple(there[number])] for number in inner], atol=0.005)


def test_descriptors_do_not_hear_of_brightness_and_contrast():
    image = picture(8, 48, 48)
    found, _ = traditional.dense_sift(image)
    np.testing.assert_allclose(traditional.dense_sift(image + np.uint8(30))[0], found, atol=0.005)
    np.testing.assert_allclose(traditional.dense_sift(image // 2)[0], found, atol=0.02)
    np.testing.assert_array_equal(traditional.dense_sift(np.repeat(image, 3, axis=-1))[0], found)


def test_descriptors_are_upright():
    slope = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (48, 1))[..., None]
    for image, bin_ in ((slope, 0), (slope[::-1].swapaxes(0, 1)[::-1], 2), (slope[:, ::-1], 4), (slope.swapaxes(0, 1), 6)):
        # Orientations turn from right to up: a slope that rises to the right is in the first bin.
        by_bin = traditional.dense_sift(np.ascontiguousarray(image))[0][12].reshape(16, 8).sum(0)
        assert by_bin.argmax() == bin_ and by_bin[bin_] > 0.95 * by_bin.sum()


def test_a_window_of_low_contrast_is_short():
    image = np.full((48, 48, 1), 100, np.uint8)
    found, _ = traditional.dense_sift(image)
    assert not found.any()
    slopes = {slope: (np.arange(48) * slope + 50).astype(np.uint8)[None, :, None].repeat(48, 0) for slope in (1, 2, 3)}
    lengths = {slope: np.linalg.norm(traditional.dense_sift(image)[0][12]) for slope, image in slopes.items()}
    assert lengths == pytest.approx({1: 1 / traditional.LOW_CONTRAST, 2: 1, 3: 1}, abs=1e-3)


def test_descriptors_of_many_images():
    images = [picture(seed, 32, 40, 3) for seed in range(3)]
    found, places = traditional.descriptors(images)
    assert found.shape == (3, 12, 128) and found.dtype == np.float16
    for image, each in zip(images, found, strict=True):
        one, there = traditional.dense_sift(image)
        np.testing.assert_array_equal(each, one.astype(np.float16))
        np.testing.assert_array_equal(places, there)
    with pytest.raises(SourceError, match='one size, not 32 x 32, 40 x 32 px'):
        traditional.descriptors([*images, images[0][:, :32]])
    with pytest.raises(SourceError, match='no image'):
        traditional.descriptors([])
    with pytest.raises(SourceError, match='an image of 40 x 12 px holds no window of 16 x 16 px'):
        traditional.dense_sift(images[0][:12])


def unit(seed, *shape):
    found = np.random.default_rng(seed).random(shape).astype(np.float32) ** 3
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def test_a_vocabulary_follows_from_its_descriptors_and_seed(monkeypatch):
    found = unit(0, 40, 25, 128).astype(np.float16)
    one, again, other = (traditional.vocabulary(found, 12, seed) for seed in (0, 0, 1))
    assert one.shape == (12, 128) and one.dtype == np.float32
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    monkeypatch.setattr(traditional, 'DRAWN', 300)
    one, again = (traditional.vocabulary(found, 12) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    with pytest.raises(ResearchError, match='words=12: .* there are 11.$'):
        traditional.vocabulary(found[0, :11], 12)


def test_a_vocabulary_finds_groups():
    centres = unit(1, 6, 128)
    labels = np.arange(600) % 6
    found = traditional.vocabulary(centres[labels] + 0.002 * np.random.default_rng(0).normal(size=(600, 128)), 6)
    near = np.linalg.norm(found[:, None] - centres, axis=-1)
    assert sorted(near.argmin(1)) == list(range(6)) and near.min(1).max() < 0.005


def test_nearest_words_are_the_nearest(monkeypatch):
    monkeypatch.setattr(traditional, '_BLOCK', 7)  # does not divide 60
    found, words = unit(2, 3, 20, 128), unit(3, 9, 128)
    named = traditional.nearest_words(found, words)
    assert named.shape == (3, 20)
    for image, names in zip(found, named, strict=True):
        for descriptor, name in zip(image, names, strict=True):
            assert name == min(range(9), key=lambda word: ((descriptor.astype(float) - words[word]) ** 2).sum())
    np.testing.assert_array_equal(traditional.nearest_words(words, words), np.arange(9))
    np.testing.assert_array_equal(traditional.nearest_words(words[:2], words[[4, 0, 1, 0, 1]]), [1, 2])


@pytest.mark.parametrize('levels', [1, 2, 3])
def test_a_pyramid_counts_words_in_cells(levels, monkeypatch):
    monkeypatch.setattr(traditional, '_IMAGES', 2)
    shape, words = (40, 64), 5
    _, places = traditional.dense_sift(picture(9, *shape), stride=4)
    named = np.random.default_rng(4).integers(0, words, (3, len(places)))
    found = traditional.pyramid(named, places, shape, words, levels)
    assert found.shape == (3, words * (1, 5, 21)[levels - 1]) and found.dtype == np.float32
    weights = {1: [1], 2: [1 / 2, 1 / 2], 3: [1 / 4, 1 / 4, 1 / 2]}[levels]
    for image, histogram in zip(named, found, strict=True):
        expected = []
        for level in range(levels):
            cells = np.zeros((2**level, 2**level, words))
            for word, (row, column) in zip(image, places, strict=True):
                cells[int(row * 2**level // shape[0]), int(column * 2**level // shape[1]), word] += weights[level] / len(places)
            expected.extend(cells.ravel())
        np.testing.assert_allclose(histogram, expected, atol=1e-7)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(found[:, :words].sum(1), weights[0], atol=1e-6)
    np.testing.assert_array_equal(traditional.pyramid(named[1], places, shape, words, levels), found[1])


def test_a_place_on_the_far_border_is_in_the_last_cell():
    found = traditional.pyramid(np.zeros(1, int), np.array([[40.0, 64.0]]), (40, 64), 1, 2)
    assert found.tolist() == [0.5, 0, 0, 0, 0.5]


def test_words_of_a_split_are_learned_from_its_training_images_alone():
    found, places = traditional.descriptors([picture(seed, 32, 32) for seed in range(20)])
    split = protocol.Split(np.array([[3, 1, 8], [9, 12, 4]]), np.array([0, 2]))
    features = traditional.words_of_split(found, places, (32, 32), split, words=10, seed=5)
    known = traditional.vocabulary(found[[1, 3, 4, 8, 9, 12]], 10, 5)
    named = traditional.nearest_words(found, known)
    np.testing.assert_array_equal(features['pyramid'], traditional.pyramid(named, places, (32, 32), 10))
    np.testing.assert_allclose(features['bag_of_words'], [np.bincount(each, minlength=10) / len(places) for each in named], atol=1e-6)
    changed = found.copy()
    changed[[0, 2, 5]] = 0  # the words of the others stay
    again = traditional.words_of_split(changed, places, (32, 32), split, words=10, seed=5)
    np.testing.assert_array_equal(np.delete(again['pyramid'], [0, 2, 5], 0), np.delete(features['pyramid'], [0, 2, 5], 0))


@pytest.mark.parametrize('dtype', [np.float32, np.float64, int])
def test_intersection_is_the_sum_of_minima(dtype, monkeypatch):
    monkeypatch.setattr(traditional, '_ROWS', 4)
    a, b = (np.random.default_rng(seed).integers(0, 9, (rows, 13)).astype(dtype) for seed, rows in ((0, 9), (1, 6)))
    found = traditional.intersection(a, b)
    assert found.shape == (9, 6) and found.dtype == np.float64
    np.testing.assert_allclose(found, [[sum(map(min, one, other)) for other in b] for one in a], rtol=1e-12)
    np.testing.assert_array_equal(traditional.intersection(a, a), traditional.intersection(a, a).T)


def histograms(classes, per_class, seed=0):
    """Histograms (N, 30) of sum 1 whose classes overlap, and labels in a mixed order."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(classes), per_class))
    centres = 0.6 / 30 + 0.4 * random.dirichlet(np.ones(30), classes)
    return np.stack([random.multinomial(40, centres[label]) for label in labels]) / 40, labels


def scikit_learns(features, labels, split, costs, folds):
    """(accuracy, C, validation) by a grid search over an explicit kernel."""

    def kernel(a, b):
        return np.array([[np.minimum(one, other).sum() for other in b] for one in a])

    train = np.sort(split.train, axis=None)
    turns = np.empty(len(train), int)
    for label in np.unique(labels):
        turns[labels[train] == label] = np.arange(split.train.shape[1]) % folds
    machine = OneVsRestClassifier(SVC(kernel=kernel))
    search = GridSearchCV(machine, {'estimator__C': list(costs)}, scoring='balanced_accuracy', cv=PredefinedSplit(turns))
    search.fit(features[train], labels[train])
    accuracy = search.score(features[split.test], labels[split.test])
    return accuracy, search.best_params_['estimator__C'], search.cv_results_['mean_test_score']


@pytest.mark.parametrize(('classes', 'folds'), [(2, 3), (4, 5)])
def test_the_intersection_svm_is_scikit_learns(classes, folds):
    features, labels = histograms(classes, 16, seed=7)
    split = protocol.draw(labels, classes, 7, 8, 1, 0)[0]
    costs = (0.03, 0.3, 3.0, 30.0)
    found = traditional.fit_intersection(features, labels, split, costs, folds)
    accuracy, cost, validation = scikit_learns(features, labels, split, costs, folds)
    assert found.accuracy == pytest.approx(accuracy) and found.cost == cost and 1 / classes < found.accuracy < 1
    assert found.validation == pytest.approx(list(validation)) and len(set(found.validation)) > 1
    assert found.unsettled == 0 and found.settled


def test_nothing_of_the_test_part_is_used_to_choose():
    features, labels = histograms(3, 14)
    split = protocol.draw(labels, 3, 6, 7, 1, 0)[0]
    found = traditional.fit_intersection(features, labels, split)
    changed, others = features.copy(), labels.copy()
    others[split.test] = np.roll(labels[split.test], 7)
    changed[split.test] = features[split.test[::-1]]
    again = traditional.fit_intersection(changed, others, split)
    assert (again.cost, again.validation) == (found.cost, found.validation) and again.accuracy != found.accuracy


def test_a_fit_that_did_not_end_is_told(monkeypatch):
    features, labels = histograms(3, 10)
    split = protocol.draw(labels, 3, 5, 5, 1, 0)[0]
    monkeypatch.setattr(traditional, 'ITERATIONS', 1)
    found = traditional.fit_intersection(features, labels, split)
    assert found.unsettled == 1 and not found.settled


def test_folds_take_turns_within_each_class():
    assert protocol.folds(np.array([0, 1, 0, 0, 1, 1]), 3, 2).tolist() == [0, 0, 1, 0, 1, 0]
    assert protocol.folds(np.array([0, 0, 4, 4]), 2, 5).tolist() == [0, 1, 0, 1]


def fitted(_):
    features, labels = histograms(2, 4)
    return traditional.fit_intersection(features, labels, protocol.draw(labels, 2, 2, 2, 1, 0)[0])


@pytest.mark.parametrize(
    ('module', 'call'),
    [
        ('skimage.feature', lambda image: traditional.hog([image])),
        ('cv2', traditional.dense_sift),
        ('sklearn.cluster', lambda image: traditional.vocabulary(unit(0, 9, 128), 4)),
        ('sklearn.svm', fitted),
    ],
)
def test_a_missing_library_is_named(module, call, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"pip install 'cnn-research\[traditional\]' \(.*" + module.split('.')[0]) as caught:
        call(picture(0, 32, 32))
    assert '\n' not in str(caught.value)
