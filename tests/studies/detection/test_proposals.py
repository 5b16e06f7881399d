"""Proposals against R-CNN's author's boxes, plain loops and provoked damage."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from cnn_research import boxes
from cnn_research.data import scene
from cnn_research.errors import ConfigError, ResearchError, SourceError, Stopped
from cnn_research.studies.detection import proposals


def picture(height, width, seed=0):
    """A few coloured rectangles."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90, np.uint8)
    for _ in range(6):
        top, left = random.integers(0, height - 8), random.integers(0, width - 8)
        image[top : top + random.integers(8, height), left : left + random.integers(8, width)] = random.integers(0, 256, 3)
    return image


def scenes_of(images, names=None):
    """Scenes of these pictures, each with one box."""
    box = np.array([[1.0, 2, 9, 8]]), np.zeros(1, np.int32), np.zeros(1, bool)
    made = [scene.Scene(name, None, *box) for name in names or map(str, range(len(images)))]
    sizes = [image.shape[:2] for image in images]
    prints = str([image.tobytes() for image in images])
    return scene.made('set', 'train', ['thing'], prints, sizes, made, lambda indices: [images[index] for index in indices])


def test_the_boxes_of_rcnns_author_are_met(data_dir):
    """97 % of the boxes that were used for two pictures of VOC 2007 are overlapped by more than half."""
    pytest.importorskip('cv2.ximgproc')
    folder = data_dir / 'selective_search'
    if not folder.is_dir():
        pytest.skip('no pictures with their boxes')
    met = []
    for name in ('000004', '001551'):
        image = np.asarray(Image.open(folder / f'{name}.jpg').convert('RGB'))
        # x1, y1, x2, y2, pixels counted from 0, so that the last one reaches one further as an edge.
        given = loadmat(folder / f'{name}_boxes.mat')['boxes'][:, [1, 0, 3, 2]].astype(float) + [0, 0, 1, 1]
        given = given[(given[:, 2:] - given[:, :2]).min(1) >= proposals.LEAST]
        found = proposals.proposed(image, 'selective_search', 10_000)
        assert (found[:, 2:] - found[:, :2]).min() >= proposals.LEAST and 2000 < len(found) < 4000
        met.append(boxes.iou(given, found).max(1) > 0.5)
    assert round(np.concatenate(met).mean(), 2) >= 0.97


@pytest.mark.parametrize('method', proposals.METHODS)
def test_proposals_are_fixed_and_a_longer_list_begins_as_a_shorter_one(method):
    pytest.importorskip('cv2.ximgproc')
    image = picture(60, 90)
    first = proposals.proposed(image, method, 60)
    np.testing.assert_array_equal(first, proposals.proposed(image.copy(), method, 60))
    assert len(np.unique(first, axis=0)) == len(first) > 5
    assert (first[:, :2] >= 0).all() and (first[:, 2:] <= (60, 90)).all() and (first[:, 2:] > first[:, :2]).all()
    if method == 'selective_search':
        np.testing.assert_array_equal(proposals.proposed(image, method, 5), first[:5])


def test_objects_are_found_wherever_they_lie_and_however_large_the_picture_is():
    pytest.importorskip('cv2.ximgproc')
    box = np.array([[10, 20, 40, 70]])
    for factor in (1, 4, 12):
        image = np.full((60 * factor, 100 * factor, 3), 60, np.uint8)
        top, left, bottom, right = box[0] * factor
        image[top:bottom, left:right] = 200, 30, 90
        found = proposals.proposed(image, 'selective_search', 2000)
        assert boxes.iou(box * factor, found).max() > 0.9, factor
        grey = proposals.proposed(image[..., :1], 'selective_search', 2000)
        assert boxes.iou(box * factor, grey).max() > 0.9, factor


def test_a_picture_of_full_width_is_searched_as_it_is():
    cv2 = pytest.importorskip('cv2')
    pytest.importorskip('cv2.ximgproc')
    image = picture(90, 500)
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    search.switchToSelectiveSearchFast(50, 50, 0.8)
    expected = {(y, x, y + down, x + across) for x, y, across, down in search.process().tolist() if min(across, down) >= 20}
    found = proposals.proposed(image, 'selective_search', 10_000)
    assert set(map(tuple, found.astype(int).tolist())) == expected and len(found) == len(expected) > 10


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (1, 9), (9, 1), (5, 500), (1200, 3), (20, 20)])
@pytest.mark.parametrize('method', proposals.METHODS)
def test_pictures_of_any_shape_have_proposals(method, height, width):
    pytest.importorskip('cv2.ximgproc')
    found = proposals.proposed(np.full((height, width, 1), 7, np.uint8), method, 9)
    assert 1 <= len(found) <= 9 and found.dtype == np.float64
    assert (found[:, :2] >= 0).all() and (found[:, 2:] <= (height, width)).all() and (found[:, 2:] > found[:, :2]).all()


@pytest.mark.parametrize('most', [1, 7, 100, 1000, 3000])
def test_a_grid_is_as_close_as_it_may_be(most):
    random = np.random.default_rng(5)
    found = proposals.proposed(np.zeros((300, 400, 3), np.uint8), 'grid', most)
    assert 0.85 * most <= len(found) <= most
    if most >= 1000:  # objects of every place and many sizes and shapes
        sides = random.uniform((60, 60), (250, 250), (200, 2))
        corners = random.uniform(0, 1, (200, 2)) * ((300, 400) - sides)
        ratio = sides[:, 0] / sides[:, 1]
        objects = np.concatenate([corners, corners + sides], 1)[(ratio > 0.5) & (ratio < 2)]
        assert (boxes.iou(objects, found).max(1) > 0.5).mean() > (0.8 if most == 1000 else 0.95)


def test_the_order_says_nothing_of_size_or_place():
    found = proposals.proposed(np.zeros((300, 400, 3), np.uint8), 'grid', 3000)
    area = (found[:, 2:] - found[:, :2]).prod(1)
    for each in (area, found[:, 0], found[:, 1]):
        assert abs(np.corrcoef(each, np.arange(len(found)))[0, 1]) < 0.06


def test_the_hash_tells_all_boxes_apart():
    corners = np.array(list(itertools.product([0, 1, 255, 65_535], repeat=4)))
    assert len(set(proposals._hashed(corners).tolist())) == len(corners)

    def plain(corner):  # splitmix64's last steps on Python's whole numbers
        value, mask = sum(int(part) << 16 * place for place, part in enumerate(corner)), 2**64 - 1
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & mask
        value = (value ^ value >> 27) * 0x94D049BB133111EB & mask
        return value ^ value >> 31

    assert proposals._hashed(corners).tolist() == [plain(corner) for corner in corners]


@pytest.mark.parametrize(
    ('method', 'most', 'said'),
    [
        (
            'selectivesearch',
            9,
            r"selective_search, grid or a file that ends in \.npz, \.mat, not from 'selectivesearch'\. Did you mean sel",
        ),
        ('grid', 0, 'from 1 on, not 0'),
        ('grid', 2.5, 'from 1 on, not 2.5'),
        ('grid', True, 'from 1 on, not True'),
        ('boxes.txt', 9, 'not from'),
    ],
)
def test_what_makes_no_proposals_is_refused(method, most, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        proposals.kept(tmp_path, scenes_of([picture(20, 20)]), method, most)
    with pytest.raises(ConfigError):
        proposals.proposed(picture(20, 20), 'x.npz', 9)


# ---- recall


@pytest.mark.parametrize('pixel', [0.0, 1.0])
def test_recall_is_that_of_a_plain_loop(pixel):
    def overlap(one, other):
        sides = [min(one[2 + axis], other[2 + axis]) - max(one[axis], other[axis]) + pixel for axis in (0, 1)]
        common = max(sides[0], 0) * max(sides[1], 0)
        areas = [(box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (one, other)]
        return common / (sum(areas) - common)

    random, truths, found = np.random.default_rng(5), [], []
    for number in [*range(6), 9]:
        corners = random.uniform(0, 20, (number, 2))
        truth = np.concatenate([corners, corners + random.uniform(4, 15, (number, 2))], 1)
        truths.append(scene.Scene('', None, truth, np.zeros(number, np.int32), random.random(number) < 0.3))
        corners = random.uniform(0, 20, (4 * number % 9 + number, 2))
        found.append(np.concatenate([corners, corners + random.uniform(4, 15, corners.shape)], 1))
    counts, thresholds = (0, 1, 3, 8, 100), (0.2, 0.5)
    got = proposals.recall(truths, found, counts, thresholds, pixel)
    for row, threshold in enumerate(thresholds):
        for column, count in enumerate(counts):
            hits = [
                any(overlap(box, candidate) >= threshold for candidate in some[:count])
                for truth, some in zip(truths, found, strict=True)
                for box, hard in zip(truth.boxes, truth.difficult, strict=True)
                if not hard
            ]
            assert got[row, column] == pytest.approx(np.mean(hits), abs=1e-12)
    assert got[0, -1] > got[1, -1] > 0


def test_recall_without_objects_is_nan_and_an_exact_half_counts():
    empty = scene.Scene('', None, np.zeros((0, 4)), np.zeros(0, np.int32), np.zeros(0, bool))
    assert np.isnan(proposals.recall([empty], [np.ones((1, 4)) * [0, 0, 2, 2]], (1, 5))).all()
    half = empty._replace(boxes=np.array([[0, 0, 4.0, 4]]), labels=np.zeros(1, np.int32), difficult=np.zeros(1, bool))
    assert proposals.recall([half], [np.array([[0, 0, 4.0, 2]])], (1,), (0.5, 0.51)).tolist() == [[1.0], [0.0]]
    with pytest.raises(ValueError, match='shorter|longer'):
        proposals.recall([half], [], (1,))


# ---- kept


def test_proposals_are_made_once_and_again_where_they_are_damaged(tmp_path, monkeypatch):
    pytest.importorskip('cv2.ximgproc')
    images = [picture(40, 50, seed) for seed in range(5)]
    scenes = scenes_of(images)
    searched = []
    search = proposals._searched
    monkeypatch.setattr(proposals, '_searched', lambda image: searched.append(image) or search(image))
    first = proposals.kept(tmp_path, scenes, 'selective_search', 30)
    assert len(searched) == 5 and len(first) == 5
    for found, image in zip(first, images, strict=True):
        np.testing.assert_array_equal(found, search(image)[:30])
    fewer = proposals.kept(tmp_path, scene.narrowed(scenes, ['thing']), 'selective_search', 4)
    assert len(searched) == 5 and all(np.array_equal(some, whole[:4]) for some, whole in zip(fewer, first, strict=True))
    places = sorted(tmp_path.rglob('*.npy'))
    assert len(places) == 5
    for place, damage in zip(places, (lambda c: c[:-1], lambda c: b'', lambda c: c[:60] + b'x' + c[61:], lambda c: c[32:]), strict=False):
        place.write_bytes(damage(place.read_bytes()))
    again = proposals.kept(tmp_path, scenes, 'selective_search', 30)
    assert len(searched) == 9 and all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    proposals.kept(tmp_path, scenes_of([*images[:4], picture(40, 50, 9)]), 'selective_search', 30)
    assert len(searched) == 14  # other pictures


def test_a_stop_keeps_what_is_done(tmp_path, monkeypatch):
    pytest.importorskip('cv2.ximgproc')
    scenes = scenes_of([picture(40, 50, seed) for seed in range(6)])
    searched = []
    search = proposals._searched
    monkeypatch.setattr(proposals, '_searched', lambda image: searched.append(0) or search(image))
    asked = iter([False] * 3 + [True])
    with pytest.raises(Stopped):
        proposals.kept(tmp_path, scenes, 'selective_search', 30, lambda: next(asked))
    assert len(searched) == len(list(tmp_path.rglob('*.npy'))) <= 3
    before = len(searched)
    assert len(proposals.kept(tmp_path, scenes, 'selective_search', 30, lambda: False)) == 6 and len(searched) <= 6 and before > 0


def test_a_grid_is_not_kept(tmp_path):
    images = [picture(40, 50), picture(30, 20)]
    found = proposals.kept(tmp_path / 'none', scenes_of(images), 'grid', 40)
    assert not (tmp_path / 'none').exists()
    for image, each in zip(images, found, strict=True):
        np.testing.assert_array_equal(each, proposals.proposed(image, 'grid', 40))


# ---- files


def cells(*arrays):
    made = np.empty((1, len(arrays)), object)
    made[0, :] = list(arrays)
    return made


@pytest.fixture
def three():
    return scenes_of([picture(40, 50), picture(30, 20), picture(35, 60)], ['a.jpg', 'b.jpg', 'c.jpg'])


def test_an_npz_holds_edges_by_the_names_of_pictures(three, tmp_path):
    given = {'b': [[0, 1, 30, 20.0]], 'a.jpg': [[5, 6, 7, 8], [1, 2, 3, 4]], 'c': np.zeros((0, 4)), 'other': [[0, 0, 999, 999]]}
    np.savez(tmp_path / 'x.npz', **{name: np.array(value, float) for name, value in given.items()})
    found = proposals.from_file(tmp_path / 'x.npz', three)
    assert [each.tolist() for each in found] == [[[5, 6, 7, 8], [1, 2, 3, 4]], [[0, 1, 30, 20]], []]
    assert [len(each) for each in proposals.kept(tmp_path, three, str(tmp_path / 'x.npz'), 1)] == [1, 1, 0]


@pytest.mark.parametrize('compressed', [False, True])
def test_a_mat_of_rcnn_holds_pixels_counted_from_1(three, tmp_path, compressed):
    # y1, x1, y2, x2: all of the second picture, and its last pixel.
    content = {'boxes': cells([[1, 1, 2, 2]], [[1.0, 1, 30, 20], [30, 20, 30, 20]], np.zeros((0, 4))), 'images': cells('c', 'b', 'a').T}
    savemat(tmp_path / 'x.mat', content, do_compression=compressed)
    found = proposals.from_file(tmp_path / 'x.mat', three)
    assert [each.tolist() for each in found] == [[], [[0, 0, 30, 20], [29, 19, 30, 20]], [[0, 0, 2, 2]]]


def test_a_mat_of_one_picture_holds_pixels_counted_from_0(three, tmp_path):
    savemat(tmp_path / 'x.mat', {'boxes': np.array([[0, 0, 49, 39], [49, 38, 49, 39]], np.uint16)})  # x1, y1, x2, y2
    one = scenes_of([picture(40, 50)])
    assert proposals.from_file(tmp_path / 'x.mat', one)[0].tolist() == [[0, 0, 40, 50], [38, 49, 40, 50]]
    with pytest.raises(SourceError, match='has the boxes of one picture, but set .* has 3'):
        proposals.from_file(tmp_path / 'x.mat', three)
    savemat(tmp_path / 'x.mat', {'boxes': np.array([[1, 1, 50, 40]], np.uint16)})  # counted from 1
    with pytest.raises(SourceError, match='1 boxes reach over the border of their picture, 50 px wide and 40 px high'):
        proposals.from_file(tmp_path / 'x.mat', one)


def test_the_given_mat_files_fit_their_pictures_and_no_others(data_dir):
    folder = data_dir / 'selective_search'
    if not folder.is_dir():
        pytest.skip('no pictures with their boxes')
    images = [np.asarray(Image.open(folder / f'{name}.jpg').convert('RGB')) for name in ('000004', '001551')]
    assert [len(proposals.from_file(folder / '000004_boxes.mat', scenes_of(images[:1]))[0])] == [2888]
    assert [len(proposals.from_file(folder / '001551_boxes.mat', scenes_of(images[1:]))[0])] == [2057]
    with pytest.raises(SourceError, match='lies outside its picture, which is 500 px wide and 375 px high'):
        proposals.from_file(folder / '000004_boxes.mat', scenes_of(images[1:]))


GOOD = np.array([[1.0, 1, 5, 5]])
FILES = {
    'missing': (None, r'x\.npz cannot be read: No such file'),
    'ending': (None, r'x\.txt is no file of proposals'),
    'no archive': (b'nothing', r'x\.npz cannot be read'),
    'pickle': ({'a': np.array([{}], object), 'b': GOOD, 'c': GOOD}, 'cannot be read'),
    'array': ('npy', 'is no npz archive'),
    'other pictures': (
        {'d': GOOD, 'e': GOOD},
        r'has no boxes, or several, of 3 of the 3 pictures of set \(train\): a\.jpg, b\.jpg, c\.jpg',
    ),
    'one less': ({'a': GOOD, 'b': GOOD}, r'of 1 of the 3 pictures of set \(train\): c\.jpg; it has 2 pictures, a, b'),
    'twice': ({'a.png': GOOD, 'a': GOOD, 'b': GOOD, 'c': GOOD}, r'or several, of 1 of the 3 pictures .*: a\.jpg'),
    'shape': (
        {'a': GOOD[:, :3], 'b': GOOD, 'c': GOOD},
        r'x\.npz: a\.jpg: proposals are numbers in 4 columns, not float64 of shape \(1, 3\)',
    ),
    'words': ({'a': np.array([['x'] * 4]), 'b': GOOD, 'c': GOOD}, 'numbers in 4 columns'),
    'outside': ({'a': GOOD, 'b': [[0, 0, 31, 50]], 'c': GOOD}, r'x\.npz: b\.jpg: box 1 .* lies outside its picture, which is 20 px wide'),
    'just outside': ({'a': GOOD, 'b': [[0, 0, 30.5, 20]], 'c': GOOD}, r'b\.jpg: 1 boxes reach over the border'),
    'empty': ({'a': GOOD, 'b': [[3, 3, 3, 5]], 'c': GOOD}, r'b\.jpg: box 1 .* is empty'),
    'nan': ({'a': GOOD, 'b': [[3, 3, np.nan, 5]], 'c': GOOD}, 'no finite number'),
    'mat damaged': ('MATLAB 5.0 MAT-file', r'x\.mat cannot be read'),
    'mat 7.3': ('hdf', 'version 7.3, which is not read'),
    'mat without': ({'windows': GOOD}, r'x\.mat has no variable boxes'),
    'mat nameless': ({'boxes': cells(GOOD, GOOD, GOOD)}, 'has no variable images'),
    'mat uneven': ({'boxes': cells(GOOD, GOOD, GOOD), 'images': cells('a', 'b')}, 'has 3 cells of boxes, but 2 names'),
    'mat twice': ({'boxes': cells(GOOD, GOOD, GOOD), 'images': cells('a', 'b', 'b')}, 'empty or there twice'),
    'mat others': ({'boxes': cells(GOOD, GOOD), 'images': cells('000004', '000005')}, 'it has 2 pictures, 000004, 000005'),
    'mat outside': (
        {'boxes': cells(GOOD, GOOD, [[1.0, 1, 99, 9]]), 'images': cells('a', 'b', 'c')},
        r'x\.mat: c\.jpg: box 1 .* lies outside',
    ),
}


@pytest.mark.parametrize('kind', FILES)
def test_a_file_that_does_not_fit_is_one_line(three, tmp_path, kind):
    content, said = FILES[kind]
    path = tmp_path / ('x.mat' if kind.startswith('mat') else 'x.txt' if kind == 'ending' else 'x.npz')
    if content == 'npy':
        buffer = io.BytesIO()
        np.save(buffer, GOOD)
        path.write_bytes(buffer.getvalue())
    elif content == 'hdf':  # the header that MATLAB writes before HDF5
        path.write_bytes(b'MATLAB 7.3 MAT-file'.ljust(116) + bytes(8) + b'\x00\x02IM' + bytes(400))
    elif isinstance(content, str):
        path.write_bytes(content.encode().ljust(200, b'\1'))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        (savemat if kind.startswith('mat') else lambda place, arrays: np.savez(place, **arrays))(path, content)
    with pytest.raises(ResearchError, match=said) as caught:
        proposals.from_file(path, three)
    assert str(caught.value).isprintable()
