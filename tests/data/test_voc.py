"""Folders in VOC's form, written here: what they hold, and everything that can be wrong with one."""

import numpy as np
import pytest
from PIL import Image

from cnn_research.data.scenes import open_scenes, open_splits
from cnn_research.errors import SourceError

PART = '<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def thing(label, xmin, ymin, xmax, ymax, more=''):
    corners = f'<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>'
    return f'<object><name>{label}</name>{more}<bndbox>{corners}</bndbox></object>'


def annotation(*things, size='<size><width>40</width><height>30</height><depth>3</depth></size>'):
    return f'<annotation><filename>other.jpg</filename>{size}{"".join(things)}</annotation>'


ORDINARY = {
    'b': annotation(thing('dog', 3, 5, 10, 20, PART), thing('cat', 1, 1, 40, 30, '<difficult>1</difficult>')),
    'a': annotation(thing('cat', '45.70000076293945e-1', 5, 10, 20, '<difficult>0</difficult>')),
    'c': annotation(),
}


def written(folder, annotations, lists=None, ending='.png', pictures=None):
    for part in ('Annotations', 'JPEGImages'):
        (folder / part).mkdir(parents=True)
    for number, (one, text) in enumerate(annotations.items()):
        (folder / 'Annotations' / f'{one}.xml').write_text(text)
        if pictures is None or one in pictures:
            Image.fromarray(np.full((30, 40, 3), number, np.uint8)).save(folder / 'JPEGImages' / f'{one}{ending}')
    if lists is not None:
        (folder / 'ImageSets' / 'Main').mkdir(parents=True)
        for split, text in lists.items():
            (folder / 'ImageSets' / 'Main' / f'{split}.txt').write_text(text)
    return f'voc:{folder}'


def test_a_folder_is_read_as_its_list_says(tmp_path):
    name = written(tmp_path / 'x', ORDINARY, {'train': 'b\na \n\nc\n', 'test': 'a\n', 'cat_train': 'b  1\na -1\n'})
    train = open_scenes(name, 'train')
    assert [truth.name for truth in train.truths()] == ['b', 'a', 'c'] and train.class_names == ('cat', 'dog')
    first, second, third = train.read([0, 1, 2])
    # First and last pixel, counted from 1, on edges; boxes of parts are not boxes of objects.
    assert first.boxes.tolist() == [[4, 2, 20, 10], [0, 0, 30, 40]] and first.labels.tolist() == [1, 0]
    assert first.difficult.tolist() == [False, True] and second.difficult.tolist() == [False]
    np.testing.assert_allclose(second.boxes, [[4, 3.5700000762939453, 20, 10]], rtol=1e-12)
    assert third.boxes.shape == (0, 4) and third.labels.dtype == np.int32
    assert [int(found.image[0, 0, 0]) for found in (first, second, third)] == [0, 1, 2] and first.image.shape == (30, 40, 3)
    assert train.sizes.tolist() == [[30, 40]] * 3 and 'train: 1 of 3 pictures have no box (c).' in train.notes
    test = open_scenes(name, 'test', class_names=train.class_names)
    assert test.class_names == ('cat', 'dog') and any('no box of 1 of the 2 classes (dog)' in note for note in test.notes)


def test_without_lists_every_annotation_is_all(tmp_path):
    name = written(tmp_path / 'x', ORDINARY)
    assert [truth.name for truth in open_scenes(name, 'all').truths()] == ['a', 'b', 'c']
    with pytest.raises(SourceError, match=r"no split 'train': there is no folder .*Main.* 'all', every annotation, is the only one"):
        open_scenes(name, 'train')


def test_the_fingerprint_covers_pictures_boxes_and_order(tmp_path):
    def prints(place, annotations, lists, ending='.png'):
        scenes = open_scenes(written(tmp_path / place, annotations, lists, ending), 'train')
        return scenes.fingerprint, scenes.pictures

    first = prints('one', ORDINARY, {'train': 'a\nb\n'})
    assert prints('elsewhere', ORDINARY, {'train': 'a\nb\n'}) == first
    turned = prints('order', ORDINARY, {'train': 'b\na\n'})
    assert turned[0] != first[0] and turned[1] != first[1]
    moved = prints('moved', ORDINARY | {'a': ORDINARY['a'].replace('>20<', '>21<')}, {'train': 'a\nb\n'})
    assert moved[0] != first[0] and moved[1] == first[1]
    assert prints('hard', ORDINARY | {'a': ORDINARY['a'].replace('>0<', '>1<')}, {'train': 'a\nb\n'})[0] not in (first[0], moved[0])
    Image.fromarray(np.full((30, 40, 3), 77, np.uint8)).save(tmp_path / 'one' / 'JPEGImages' / 'a.png')
    assert open_scenes(f'voc:{tmp_path / "one"}', 'train').pictures != first[1]


def test_grey_pictures_stay_grey_unless_others_are_coloured(tmp_path):
    name = written(tmp_path / 'x', ORDINARY, {'train': 'a\nb\n', 'test': 'a\n'})
    Image.fromarray(np.full((30, 40), 9, np.uint8)).save(tmp_path / 'x' / 'JPEGImages' / 'a.png')
    assert open_scenes(name, 'test').read([0])[0].image.shape == (30, 40, 1)
    assert [found.image.shape for found in open_scenes(name, 'train').read([0, 1])] == [(30, 40, 3)] * 2


def test_pictures_turned_by_exif_are_upright_and_their_boxes_must_be(tmp_path):
    text = annotation(thing('cat', 1, 1, 30, 40), size='<size><width>30</width><height>40</height></size>')
    name = written(tmp_path / 'x', {'a': text})
    exif = Image.Exif()
    exif[0x0112] = 6
    place = tmp_path / 'x' / 'JPEGImages' / 'a.png'
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(place, exif=exif)
    scenes = open_scenes(name, 'all')
    assert scenes.read([0])[0].image.shape == (40, 30, 3) and scenes.truths()[0].boxes.tolist() == [[0, 0, 40, 30]]
    assert any('upright' in note for note in scenes.notes)
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(place)
    with pytest.raises(SourceError, match=r'a\.xml is about a picture of 30 x 40 px, but the one beside it is 40 px wide and 30 px high'):
        open_scenes(name, 'all')


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>'
BAD = {
    'entities': (LAUGHS, r'a\.xml cannot be read as XML: it has a document type'),
    'file': ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>', 'document type'),
    'unknown entity': ('<annotation>&a;</annotation>', 'cannot be read as XML: undefined entity'),
    'empty': ('', 'cannot be read as XML'),
    'half': (ORDINARY['a'][:60], 'cannot be read as XML'),
    'encoding': ('<?xml version="1.0" encoding="klingon"?><annotation/>', 'cannot be read as XML'),
    'other': ('<html/>', 'no annotation of VOC: its outermost element is html'),
    'no name': (annotation(thing('', 1, 1, 2, 2)), r'a\.xml: object 1 has no name'),
    'no box': (annotation('<object><name>cat</name></object>'), r'object 1 \(cat\) has no number for ymin of its bndbox\.'),
    'words': (annotation(thing('cat', 1, 1, 'many', 2)), r'no number for xmax of its bndbox: many'),
    'nan': (annotation(thing('cat', 'nan', 1, 2, 2)), 'no number for xmin of its bndbox: nan'),
    'infinite': (annotation(thing('cat', 1, 1, '1e999', 2)), 'no number for xmax'),
    'outside': (
        annotation(thing('cat', 1, 1, 5, 5), thing('cat', 1, 1, 42, 9)),
        r'a: box 2 \(xmin 1, ymin 1, xmax 42, ymax 9\) lies outside',
    ),
    'before': (annotation(thing('cat', -1, 1, 5, 5)), 'lies outside its picture, which is 40 px wide and 30 px high'),
    'reversed': (annotation(thing('cat', 9, 1, 5, 5)), r'box 1 \(xmin 9, ymin 1, xmax 5, ymax 5\) is empty'),
    'nothing': (annotation(thing('cat', 0, 0, 0, 0)), 'is empty'),
    'hard': (annotation(thing('cat', 1, 1, 5, 5, '<difficult>perhaps</difficult>')), 'has perhaps for difficult, which is 0 or 1'),
    'none': (annotation(), "none of the 1 pictures of 'all' has a box"),
}


@pytest.mark.parametrize('kind', BAD)
def test_a_bad_annotation_is_one_line(tmp_path, kind):
    text, said = BAD[kind]
    with pytest.raises(SourceError, match=said) as caught:
        open_scenes(written(tmp_path / 'x', {'a': text}), 'all')
    assert str(caught.value).isprintable()


def test_deep_and_huge_annotations_end(tmp_path):
    name = written(tmp_path / 'x', {'a': '<a>' * 100_000 + '</a>' * 100_000})
    with pytest.raises(SourceError, match='no annotation of VOC'):
        open_scenes(name, 'all')
    with open(tmp_path / 'x' / 'Annotations' / 'a.xml', 'ab') as file:
        file.truncate(20_000_000)
    with pytest.raises(SourceError, match='larger than 16 MB'):
        open_scenes(name, 'all')


@pytest.mark.parametrize('corner', [0, 41])
def test_one_px_over_is_cut_and_said(tmp_path, corner):
    box = thing('cat', corner, 3, 9, 9) if corner == 0 else thing('cat', 9, 3, corner, 9)
    scenes = open_scenes(written(tmp_path / 'x', {'a': annotation(box)}), 'all')
    assert scenes.truths()[0].boxes.tolist() == ([[2, 0, 9, 9]] if corner == 0 else [[2, 8, 9, 40]])
    assert any(note.endswith('cut to it: 1.') for note in scenes.notes)


@pytest.mark.parametrize('size', ['', '<size/>', '<size><width>0</width><height>0</height></size>'])
def test_the_picture_says_its_size_where_the_annotation_does_not(tmp_path, size):
    assert open_scenes(written(tmp_path / 'x', {'a': annotation(thing('cat', 1, 1, 40, 30), size=size)}), 'all').sizes.tolist() == [
        [30, 40]
    ]


LISTS = {
    'missing': ('b\nd\n', r"1 of 2 in 'train' have no annotation, Annotations/ID\.xml: d"),
    'ending': ('b.jpg\n', r"1 of 1 in 'train' have no annotation.*: b\.jpg"),
    'empty': ('\n \n', r'train\.txt names no picture'),
    'twice': ('a\nb\na\n', r'train\.txt names a more than once'),
    'class': ('a  1\nb -1\n', r'says of every picture whether a class is in it'),
    'picture': ('c\na\n', r"1 of 2 in 'train' have no picture, JPEGImages/ID\.jpg: c"),
}


@pytest.mark.parametrize('kind', LISTS)
def test_a_list_of_what_is_not_there_is_one_line(tmp_path, kind):
    text, said = LISTS[kind]
    with pytest.raises(SourceError, match=said) as caught:
        open_scenes(written(tmp_path / 'x', ORDINARY, {'train': text}, pictures='ab'), 'train')
    assert str(caught.value).isprintable()


def test_what_is_not_there_is_said_with_what_is(tmp_path):
    lists = {'train': 'a\n', 'trainval': 'a\n', 'cat_train': 'a 1\n', 'my_own': 'a\n'}
    name = written(tmp_path / 'VOCdevkit' / 'VOC2007', ORDINARY, lists)
    for asked, split, said in (
        (name, 'trian', r"no split 'trian'; its splits: my_own, train, trainval\. Did you mean train\?"),
        (name, 'cat_train', r'says of every picture .* Did you mean train\?'),
        (name, '../Main/train', 'no split'),
        (f'voc:{tmp_path}', 'train', r'no folder Annotations and no JPEGImages.*Did you mean voc:.*VOCdevkit/VOC2007\?'),
        (f'voc:{tmp_path / "nowhere"}', 'train', 'there is no folder .*nowhere'),
        ('voc:', 'train', r'names no folder; voc:DIR does'),
        ('voc:a\0b', 'train', 'names no folder'),
    ):
        with pytest.raises(SourceError, match=said) as caught:
            open_scenes(asked, split)
        assert str(caught.value).isprintable()
    Image.new('RGB', (40, 30)).save(tmp_path / 'VOCdevkit' / 'VOC2007' / 'JPEGImages' / 'a.gif')
    with pytest.raises(SourceError, match=r'a is several pictures, a\.gif, a\.png; leave one'):
        open_scenes(name, 'train')
    (tmp_path / 'VOCdevkit' / 'VOC2007' / 'JPEGImages' / 'a.gif').unlink()
    (tmp_path / 'VOCdevkit' / 'VOC2007' / 'JPEGImages' / 'a.png').write_bytes(b'none')
    with pytest.raises(SourceError, match=r'a\.png.* cannot be read as an image'):
        open_scenes(name, 'train')


def test_a_class_that_the_training_split_has_not_is_refused(tmp_path):
    name = written(tmp_path / 'x', ORDINARY, {'train': 'a\n', 'test': 'a\nb\n'})
    train = open_scenes(name, 'train')
    assert train.class_names == ('cat',)
    with pytest.raises(SourceError, match=r'b in test has a box of dog, which is none of the 1 classes taken from the training split, cat'):
        open_scenes(name, 'test', class_names=train.class_names)


def test_splits_to_learn_from_and_to_be_judged_on_share_no_picture_and_need_not_share_all_classes(tmp_path):
    lists = {'train': 'a\nb\n', 'test': 'd\n', 'both': 'b\nd\n'}
    others = {'d': annotation(thing('cat', 2, 2, 9, 9), thing('cow', 3, 3, 9, 9))}
    name = written(tmp_path / 'x', ORDINARY | others, lists)
    train, test = open_splits(name, ('train', 'test'))
    assert train.class_names == test.class_names == ('cat', 'dog')
    assert test.objects[0].labels.tolist() == [0] and any('cow' in note for note in test.notes)
    with pytest.raises(SourceError, match='train and both of .* share 1 pictures'):
        open_splits(name, ('train', 'both'))
