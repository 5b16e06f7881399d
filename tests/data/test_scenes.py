"""Pictures with boxes: prepared sets written here and given ones, embedded scenes drawn again by a loop, classes left out."""

import hashlib
import io
import json
import pickle
import re

import numpy as np
import pytest
from PIL import Image

from cnn_research.data import clutter, digit_scenes, scene
from cnn_research.data.scenes import joined, narrowed, open_scenes, subset, with_classes
from cnn_research.errors import SourceError

SIZES = ((60, 80), (50, 40), (300, 2000))  # height, width of the pictures of a set that is written here
DIFFICULT = 'is_difficult'


def check_contract(scenes):
    """What any scenes promise, on a few of them."""
    truths = scenes.truths()
    assert len(truths) == scenes.num_examples == len(scenes.sizes) and scenes.num_classes == len(scenes.class_names)
    assert len(scenes.fingerprint) == len(scenes.pictures) == 64 and int(scenes.fingerprint, 16) != int(scenes.pictures, 16)
    for truth, size in zip(truths, scenes.sizes, strict=True):
        assert truth.image is None and truth.boxes.dtype == np.float64 and truth.boxes.shape == (len(truth.labels), 4)
        assert truth.labels.dtype == np.int32 and truth.difficult.dtype == bool and truth.difficult.shape == truth.labels.shape
        assert (truth.boxes[:, :2] >= 0).all() and (truth.boxes[:, 2:] <= size).all() and (truth.boxes[:, 2:] > truth.boxes[:, :2]).all()
        assert set(truth.labels) <= set(range(scenes.num_classes))
    chosen = [scenes.num_examples - 1, 0, scenes.num_examples - 1]
    copies = pickle.loads(pickle.dumps(scenes.pixels))(chosen)
    for index, found, copy in zip(chosen, scenes.read(chosen), copies, strict=True):
        assert found.image.dtype == np.uint8 and found.image.shape[:2] == tuple(scenes.sizes[index]) and found.name == truths[index].name
        np.testing.assert_array_equal(found.image, copy)
        np.testing.assert_array_equal(found.boxes, truths[index].boxes)
    assert all(note.isprintable() for note in scenes.notes)


# ---- prepared sets


def written(folder, objects, marks=(), grey=False, names=None, form=None):
    """A prepared set 'boxed' with one split: objects of each picture are (bbox as shares of the size, label, *marks)."""
    tfds = pytest.importorskip('tensorflow_datasets')
    from array_record.python.array_record_module import ArrayRecordWriter

    def features(**form):
        inside = {'bbox': tfds.features.BBoxFeature(**form), 'label': tfds.features.ClassLabel(names=['cup', 'dog'])}
        objects = tfds.features.Sequence(inside | dict.fromkeys(marks, np.bool_))
        image = tfds.features.Image(shape=(None, None, 1 if grey else 3))
        return tfds.features.FeaturesDict(
            {'image': image, 'objects': objects} | ({'image/filename': tfds.features.Text()} if names else {})
        )

    unchecked = features(bbox_format=None)  # TFDS writes no box that reaches over 1, but others do
    place = folder / 'boxed' / '1.0.0'
    place.mkdir(parents=True)
    writer = ArrayRecordWriter(str(place / 'boxed-train.array_record-00000-of-00001'), 'group_size:1')
    for number, found in enumerate(objects):
        shape = SIZES[number % len(SIZES)]
        file = io.BytesIO()
        Image.fromarray(np.full(shape if grey else (*shape, 3), number, np.uint8)).save(file, 'PNG')
        file.seek(0)
        record = {'image': file, 'objects': [], **({'image/filename': names[number]} if names else {})}
        for box, label, *rest in found:
            record['objects'].append({'bbox': np.asarray(box), 'label': label, **dict(zip(marks, rest, strict=True))})
        writer.write(unchecked.serialize_example(unchecked.encode_example(record)))
    writer.close()
    features(**form or {}).save_config(place)
    split = {'name': 'train', 'numBytes': '1', 'shardLengths': [str(len(objects))]}
    split['filepathTemplate'] = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'
    facts = {'name': 'boxed', 'version': '1.0.0', 'fileFormat': 'array_record', 'splits': [split]}
    (place / 'dataset_info.json').write_text(json.dumps(facts))
    return folder


def shares(corners, size):
    return np.asarray(corners, np.float64) / [*size, *size]


@pytest.mark.parametrize('number', range(3))
def test_voc_corners_of_a_prepared_set_become_edges(tmp_path, number):
    # Pixels are counted from 1, first and last named: rows 5 to 7 are the edges 4 to 7, and all of a picture is 1 to its size.
    size = SIZES[number]
    written_corners = np.array([[5, 9, 7, 30], [1, 1, *size], [size[0], size[1], *size]])
    objects = [[(shares(box, SIZES[one]), 1, False) for box in written_corners] if one == number else [] for one in range(3)]
    scenes = open_scenes('boxed', 'train', written(tmp_path, objects, [DIFFICULT]))
    expected = [[4, 8, 7, 30], [0, 0, *size], [size[0] - 1, size[1] - 1, *size]]
    np.testing.assert_array_equal(scenes.truths()[number].boxes, expected)
    check_contract(scenes)
    assert re.search(r"corners are VOC's", ' '.join(scenes.notes)) and '2 of 3 pictures have no box' in ' '.join(scenes.notes)


def test_corners_of_another_prepared_set_are_edges(tmp_path):
    folder = written(tmp_path, [[(shares([5, 9, 7.5, 30], SIZES[0]), 0), (shares([0, 0, 60, 80], SIZES[0]), 1)]])
    scenes = open_scenes('boxed', 'train', folder)
    np.testing.assert_allclose(scenes.truths()[0].boxes, [[5, 9, 7.5, 30], [0, 0, 60, 80]], atol=1e-5)
    assert any('corners are edges' in note for note in scenes.notes) and any(
        'no object counts as difficult' in note for note in scenes.notes
    )


def test_difficult_objects_and_crowds_are_kept_and_marked(tmp_path):
    box = shares([5, 9, 7, 30], SIZES[0])
    for key in (DIFFICULT, 'is_crowd'):
        scenes = open_scenes('boxed', 'train', written(tmp_path / key, [[(box, 0, True), (box, 1, False)]], [key]))
        assert scenes.truths()[0].difficult.tolist() == [True, False] and scenes.truths()[0].labels.tolist() == [0, 1]


def test_grey_pictures_and_names(tmp_path):
    box = shares([5, 9, 7, 30], SIZES[0])
    scenes = open_scenes('boxed', 'train', written(tmp_path, [[(box, 0)], [(box, 0)]], grey=True, names=['b.png', 'a.png']))
    assert [found.name for found in scenes.read([0, 1])] == ['b.png', 'a.png'] and scenes.read([1])[0].image.shape == (50, 40, 1)
    again = open_scenes('boxed', 'train', written(tmp_path / 'more', [[(box, 0)], [(box, 0)]], names=['a.png', 'a.png']))
    assert [truth.name for truth in again.truths()] == ['0', '1'] and 'called by number' in ' '.join(again.notes)


@pytest.mark.parametrize(
    ('corners', 'said'),
    [
        ([5, 9, 7, 82.5], r'a\.png, example 0 of boxed .*: box 2 \(xmin 9, ymin 5, xmax 82\.5, ymax 7\) lies outside .* 80 px wide and 60'),
        ([-2, 9, 7, 30], 'lies outside its picture'),
        ([5, 9, 5, 30], 'is empty'),
        ([9, 9, 7, 30], 'is empty'),
        ([60, 9, 61, 30], 'lies outside|is empty'),
        ([5, float('nan'), 7, 30], 'no finite number'),
        ([5, 9, 7, float('inf')], 'no finite number'),
    ],
)
def test_a_box_that_cannot_be_is_refused_with_its_picture(tmp_path, corners, said):
    objects = [[(shares([5, 9, 7, 30], SIZES[0]), 0), (shares(corners, SIZES[0]), 0)]]
    with pytest.raises(SourceError, match=said) as caught:
        open_scenes('boxed', 'train', written(tmp_path, objects, names=['a.png']))
    assert str(caught.value).isprintable()


def test_a_box_one_px_over_its_picture_is_cut_and_said():
    # VOC's corners counted from 0, and one too far.
    boxes, cut = scene.boxed([[0, 0, 10, 11], [1, 1, 10, 10], [2, 3, 11, 10]], True, (10, 10), 'x')
    assert boxes.tolist() == [[0, 0, 10, 10], [0, 0, 10, 10], [1, 2, 10, 10]] and cut == 2
    assert scene.boxed(np.zeros((0, 4)), True, (10, 10), 'x')[0].shape == (0, 4)
    with pytest.raises(SourceError, match='is empty'):  # what tools write for no box
        scene.boxed([[0, 0, 0, 0]], True, (10, 10), 'x')


def test_what_is_no_set_of_boxes_is_refused(tmp_path, data_dir):
    box = shares([5, 9, 7, 30], SIZES[0])
    for name, split, folder, said in (
        ('boxed', 'train', written(tmp_path / 'bare', [[], []]), r"none of the 2 pictures of 'train' has a box"),
        ('boxed', 'train', written(tmp_path / 'form', [[(box, 0)]], form={'bbox_format': 'XYXY'}), 'in the form XYXY'),
        ('boxed', 'train[1:]', written(tmp_path / 'some', [[(box, 0)]]), 'no examples'),
        ('boxed', 'tests', written(tmp_path / 'split', [[(box, 0)]]), "no split 'tests'"),
        ('mnist', 'train', data_dir, 'mnist is no set of uint8 images with boxes.*its features: image, label'),
        ('folder:/x', 'train', None, 'voc:DIR'),
        ('scenes', 'tests', None, 'its splits: train, test. Did you mean test?'),
    ):
        with pytest.raises(SourceError, match=said) as caught:
            open_scenes(name, split, folder)
        assert str(caught.value).isprintable()
    with pytest.raises(SourceError, match='classes of its own'):
        open_scenes('scenes', 'test', class_names=['0'])


@pytest.mark.parametrize(
    ('name', 'split', 'pictures', 'boxes', 'cut'),
    [('indoor_objects', 'train', 55, 445, 4), ('indoor_objects', 'test', 30, 241, 1), ('bccd_subset', 'test', 60, 779, 0)],
)
def test_given_sets(name, split, pictures, boxes, cut, data_dir):
    scenes = open_scenes(name, split, data_dir)
    check_contract(scenes)
    found = np.concatenate([truth.boxes for truth in scenes.truths()])
    assert (scenes.num_examples, len(found)) == (pictures, boxes)
    assert [note for note in scenes.notes if note.endswith(f'cut to it: {cut}.')] if cut else 'over the border' not in str(scenes.notes)
    np.testing.assert_array_equal(found, np.rint(found))  # whole px, although shares in float32 are stored
    assert found[:, :2].min() == 0 and found[:, 2].max() == 480 and found[:, 3].max() == 640


# ---- parts of the classes


def test_rare_classes_are_left_out():
    train, test = (open_scenes('scenes', split) for split in ('train', 'test'))
    counts = np.bincount(np.concatenate([truth.labels[~truth.difficult] for truth in train.truths()]), minlength=10)
    fewest = int(np.sort(counts)[5])
    part = with_classes(train, fewest)
    assert part.class_names == tuple(str(label) for label in range(10) if counts[label] >= fewest) and 0 < part.num_classes < 10
    check_contract(part)
    other = narrowed(test, part.class_names)
    for before, after in ((train, part), (test, other)):
        for old, new in zip(before.truths(), after.truths(), strict=True):
            stays = [str(label) in part.class_names for label in old.labels]
            assert [part.class_names[label] for label in new.labels] == [str(label) for label in old.labels[stays]]
            np.testing.assert_array_equal(new.boxes, old.boxes[stays])
        assert after.pictures == before.pictures and after.fingerprint != before.fingerprint
        assert 'classes are left out' in ' '.join(after.notes)
    assert with_classes(train, 1) is train and narrowed(train, train.class_names) is train
    turned = narrowed(train, train.class_names[::-1])
    assert turned.fingerprint != train.fingerprint and (9 - turned.truths()[0].labels == train.truths()[0].labels).all()
    with pytest.raises(SourceError, match=rf'no class has 9999 boxes in train; .* has the most, {counts.max()}'):
        with_classes(train, 9999)
    with pytest.raises(SourceError, match='no class x; its classes: 0, 1'):
        narrowed(train, ['x'])


# ---- embedded scenes


@pytest.mark.parametrize(
    ('split', 'digest'),
    [
        ('train', 'c4127186b9894dae5fc24923bb4f286c549c2e9ab7926b2dca4cdbacbc9086b2'),
        ('test', '0d69fe841fe295ce0d5f8eb81bb7a6f961056604a121f65f5dc1b01da1f28324'),
    ],
)
def test_the_embedded_scenes_never_change(split, digest):
    # Written down once, as in test_clutter.
    parts = [*digit_scenes.whole(split)[:8]]
    content = b''.join(
        array.astype(array.dtype.newbyteorder('<')).tobytes() for part in parts for array in (part.image, part.boxes, part.labels)
    )
    assert hashlib.sha256(content).hexdigest() == digest


@pytest.mark.parametrize('split', ['train', 'test'])
def test_embedded_scenes(split):
    scenes = open_scenes('scenes', split)
    check_contract(scenes)
    assert scenes.num_examples == {'train': 200, 'test': 100}[split] and not scenes.notes
    truths = scenes.truths()
    counts, difficult = [len(truth.labels) for truth in truths], np.concatenate([truth.difficult for truth in truths])
    assert set(counts) == {1, 2, 3, 4, 5} and 0.02 < difficult.mean() < 0.2
    assert np.bincount(np.concatenate([truth.labels for truth in truths]), minlength=10).min() > 15


def test_a_box_holds_its_digit_closely(monkeypatch):
    """Scenes with and without their digits: what changes lies in the boxes, and of a single digit reaches its box's sides."""
    images, labels = clutter.digits('train')
    monkeypatch.setattr(digit_scenes, '_paste_piece', lambda *_: None)
    monkeypatch.setattr(clutter, 'noisy', lambda canvas, raw: np.clip(canvas, 0, 255).astype(np.uint8))
    made = [digit_scenes.scene(images, labels, 11, index) for index in range(30)]
    monkeypatch.setattr(digit_scenes, 'blend', lambda under, over, alpha: under)
    bare = [digit_scenes.scene(images, labels, 11, index) for index in range(30)]
    for whole, blank in zip(made, bare, strict=True):
        changed = (whole.image != blank.image).any(-1)
        inside = np.zeros_like(changed)
        for top, left, bottom, right in whole.boxes.astype(int):
            inside[top:bottom, left:right] = True
            assert changed[top:bottom, left:right].any(0).mean() > 0.9 and changed[top:bottom, left:right].any(1).mean() > 0.9
        assert not (changed & ~inside).any()
        if len(whole.boxes) == 1:
            rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
            assert whole.boxes[0].tolist() == [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
    assert sum(len(whole.boxes) == 1 for whole in made) > 3


def test_digits_cover_little_of_each_other_and_what_is_hard_is_marked():
    for found in digit_scenes.whole('train'):
        height, width = found.boxes[:, 2] - found.boxes[:, 0], found.boxes[:, 3] - found.boxes[:, 1]
        for one in range(len(found.boxes)):
            for other in range(one):
                first, second = found.boxes[one], found.boxes[other]
                common = np.clip(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0, None).prod()
                assert common <= min(height[one] * width[one], height[other] * width[other]) / 3 + 1e-9
        assert found.difficult[np.maximum(height, width) < digit_scenes.SMALL].all()


def test_the_largest_digit_fits_the_canvas():
    images, _ = clutter.digits('train')
    rows, columns = np.indices((28, 28)) - 13.5
    images = images[np.argsort(((images > 0) * np.hypot(rows, columns)).max((1, 2)))[-40:]]  # whose ink reaches furthest out
    for turn, shear in ((0, 0), (0, 0.999), (0.999, 0), (0.999, 0.999)):
        alpha = clutter.turned(images, np.tile([[0.999], [turn], [shear]], len(images)), digit_scenes.SCALE, digit_scenes.CANVAS)
        edges = np.concatenate([alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]], axis=1)
        assert edges.max() < digit_scenes.FAINT


# ---- several splits together, and parts of them


def test_joined_scenes_and_parts_of_them_are_the_same_scenes():
    first, second = open_scenes('scenes', 'train'), open_scenes('scenes', 'test')
    whole = joined(first, second)
    chosen = [first.num_examples + 3, 5, first.num_examples - 1]
    part = subset(whole, chosen)
    check_contract(part)
    wanted = [*second.read([3]), *first.read([5, first.num_examples - 1])]
    names = ['test/0003', 'train/0005', f'train/{first.num_examples - 1:04d}']  # both splits have these numbers
    for found, other, called in zip(part.read([0, 1, 2]), wanted, names, strict=True):
        assert found.name == called
        np.testing.assert_array_equal(found.image, other.image)
        np.testing.assert_array_equal(found.boxes, other.boxes)
    assert len({scenes.fingerprint for scenes in (first, second, whole, part, subset(whole, chosen[::-1]))}) == 5
    np.testing.assert_array_equal(part.sizes, whole.sizes[chosen])


def test_scenes_of_other_classes_are_not_joined():
    first = open_scenes('scenes', 'train')
    with pytest.raises(SourceError, match='have other classes, so they cannot be joined'):
        joined(first, narrowed(open_scenes('scenes', 'test'), ('3', '5')))
