"""Faces in one place and in grey."""

import numpy as np
import pytest
from PIL import Image

from cnn_research.data import faces
from cnn_research.data.sources import open_source
from cnn_research.errors import SourceError


@pytest.mark.parametrize('where', [((40.0, 60.0), (90.0, 60.0)), ((50.0, 90.0), (70.0, 40.0)), ((60.0, 80.0), (230.0, 120.0))])
def test_eyes_come_to_lie_upon_one_place(where):
    rows, columns = np.mgrid[:300, :300] + 0.5
    # Two round spots, so broad that their middles are found from what is left of them.
    wide = abs(complex(*where[1]) - complex(*where[0])) / 12
    image = sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * wide**2)) for x, y in where)
    image = (200 * image).clip(0, 255).astype(np.uint8)[..., None]
    found = faces.straightened(image, (*where[0], *where[1]))[..., 0].astype(float)
    assert found.shape == (faces.SIDE, faces.SIDE)
    rows, columns = np.mgrid[: faces.SIDE, : faces.SIDE] + 0.5
    for half, eye in zip((columns < faces.SIDE / 2, columns >= faces.SIDE / 2), faces.EYES, strict=True):
        weight = np.where(half & (found > 20), found, 0)
        centre = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
        assert centre == pytest.approx([faces.SIDE * share for share in eye], abs=0.6)


def test_a_face_that_is_in_place_stays_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (faces.SIDE, faces.SIDE, 3), np.uint8)
    there = [faces.SIDE * share for eye in faces.EYES for share in eye]
    assert (faces.straightened(image, tuple(there)) == image).all()


@pytest.fixture
def source(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (40, 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'train' / name / f'{name}.png')
    return open_source(f'folder:{tmp_path}', 'train')


def test_a_csv_of_eyes_aligns_a_source(source, tmp_path):
    (tmp_path / 'eyes.csv').write_text('name,x,y,x,y\na.png,8,10,20,12\n\nsome/folder/b.png, 9, 9, 21.5, 9\n')
    known = faces.eyes(tmp_path / 'eyes.csv')
    assert known == {'a.png': (8, 10, 20, 12), 'some/folder/b.png': (9, 9, 21.5, 9)}
    found = faces.aligned(source, known)
    assert found.image_shape == (faces.SIDE, faces.SIDE, 3) and found.fingerprint != source.fingerprint
    image, labels = found.read([1])
    assert (image[0] == faces.straightened(source.read([1])[0][0], known['some/folder/b.png'])).all() and labels.tolist() == [1]
    with pytest.raises(SourceError, match='the eyes of b/b.png of .* are not known'):
        faces.aligned(source, {'a.png': known['a.png']})


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('', 'names no eyes'),
        ('a.png,1,2,3\n', "line 1: .* is not 'NAME,x,y,x,y'"),
        ('a.png,1,2,3,4\nb.png,1,2,x,4\n', 'line 2'),
        ('a.png,1,2,nan,4\n', 'line 1'),
        ('a.png,9,2,3,4\n', 'the first eye of a.png is not left of the second'),
        ('a.png,1,2,3,4\na.png,1,2,3,5\n', 'a.png is there twice, with other eyes'),
        ('name,x,y,x,y\nname,x,y,x,y\n', 'line 2'),
    ],
)
def test_eyes_that_cannot_be_read_are_refused_in_one_line(tmp_path, text, said):
    (tmp_path / 'eyes.csv').write_text(text)
    with pytest.raises(SourceError, match=said) as caught:
        faces.eyes(tmp_path / 'eyes.csv')
    assert '\n' not in str(caught.value)


def test_grey_is_the_luma_and_leaves_grey_alone(source):
    found = faces.grey(source)
    image, colour = found.read([0])[0][0], source.read([0])[0][0]
    assert image.shape == (40, 30, 1) and found.channels == 1 and 'in grey' in found.notes[-1]
    assert np.abs(image[..., 0] - colour @ np.array([0.299, 0.587, 0.114])).max() <= 0.5 + 1e-9
    digits = open_source('digits', 'test')
    assert faces.grey(digits) is digits


def test_eyes_are_told_apart_by_folder_and_lie_in_their_picture(tmp_path):
    for person in ('anna', 'bob'):
        (tmp_path / 'test' / person).mkdir(parents=True)
        for number in (1, 2):
            Image.fromarray(np.full((30, 30, 3), 40 * number, np.uint8)).save(tmp_path / 'test' / person / f'{number}.png')
    source = open_source(f'folder:{tmp_path}', 'test')
    anna = {f'anna/{number}.png': (8.0, 10.0, 20.0, 10.0) for number in (1, 2)}
    with pytest.raises(SourceError, match='the eyes of bob/1.png and of 1 others .* are not known'):
        faces.aligned(source, anna | {'1.png': (8.0, 10.0, 20.0, 10.0)})
    bob = {f'bob/{number}.png': (8.0, 10.0, 60.0, 10.0) for number in (1, 2)}
    with pytest.raises(SourceError, match='outside of'):
        faces.aligned(source, anna | bob).read([2])
