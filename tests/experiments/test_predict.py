"""The command that says what a network sees: held against the network itself, with images of every kind, and refused on one line."""

import csv
import functools
import re

import numpy as np
import pytest
from called import called
from PIL import Image
from small_runs import fit

from cnn_research import checkpoints
from cnn_research.data.sources import open_source
from experiments import predict


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('whole')
    fit(workdir)
    return workdir


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return functools.partial(called, predict, monkeypatch, capsys)


def pictures(folder, count=5):
    """Digits as files: deep and flat, larger, in colour."""
    images, _ = open_source('digits', 'test').read(np.arange(count))
    (folder / 'deep').mkdir(parents=True)
    for number, image in enumerate(images):
        picture = Image.fromarray(image[..., 0])
        picture = picture.resize((56, 56)) if number == 1 else picture.convert('RGB') if number == 2 else picture
        picture.save(folder / ('deep' if number % 2 else '.') / f'{number}.png')
    return images


def test_a_folder_is_answered_as_the_network_answers_each_image(whole, run, tmp_path):
    images = pictures(tmp_path / 'images')
    (tmp_path / 'images' / 'notes.txt').write_text('no image')
    code, out, err = run(f'--network={whole}', f'--images={tmp_path}/images', f'--csv={tmp_path}/told.csv', '--top=3')
    assert (code, err) == (0, '')
    notes = [line for line in out if line.startswith('note: ')]
    assert any('1 skipped: 1 not images (notes.txt)' in line for line in notes) and any(
        '1 of 5 images are in colour' in line for line in notes
    )
    assert any('loss.name=squared_error' in line and 'no probability' in line for line in notes)
    rows = list(csv.DictReader((tmp_path / 'told.csv').read_text().splitlines()))
    names = ['0.png', '2.png', '4.png', 'deep/1.png', 'deep/3.png']
    assert [row['image'] for row in rows[::3]] == names and [row['rank'] for row in rows] == ['1', '2', '3'] * 5
    large = np.asarray(Image.open(tmp_path / 'images/deep/1.png'))[..., None]
    each = [images[0], images[2], images[4], large, images[3]]
    for place, image in enumerate(each):
        expected = checkpoints.load(whole).predict([image])[0]
        best = np.argsort(-expected)[:3]
        told = rows[3 * place : 3 * place + 3]
        assert [row['class'] for row in told] == [str(number) for number in best]
        np.testing.assert_allclose([float(row['probability']) for row in told], expected[best], rtol=1e-4)
    lines = [line for line in out if not line.startswith(('note: ', 'table: '))]
    assert [line.partition(':')[0] for line in lines] == names
    words = [f'{row["class"]} {100 * float(row["probability"]):.1f} %' for row in rows[:3]]
    assert lines[0] == f'0.png: {", ".join(words)}'


def test_one_image_is_an_answer_too(whole, run, tmp_path):
    pictures(tmp_path / 'images')
    code, out, _ = run(f'--network={whole}', f'--images={tmp_path}/images/0.png')
    assert code == 0 and out[-1].startswith('0.png: ') and out[-1].count(' %') == 5


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ((), 'name the network and the images'),
        (('--images=HERE/images/00.png',), 'there is no image or folder .*00.png. Did you mean 0.png?'),
        (('--images=HERE/empty',), 'there are no images in .*empty'),
        (('--images=HERE/damaged',), 'damaged/0.png cannot be read as an image'),
        (('--images=HERE/text.png',), 'text.png cannot be read as an image'),
        (('--images=HERE/images', '--top=11'), '--top=11, but perceptron tells 10 classes apart; ask for 1 to 10'),
        (('--images=HERE/images', '--top=0'), 'top'),
        (('--images=HERE/images', '--csv=HERE/images/0.png'), 'no name of a table'),
        (('--images=HERE/images', '--csv=HERE/text.png/a.csv'), 'text.png'),
        (('--images=HERE/images', '--network=HERE/none'), 'none'),
    ],
)
def test_what_cannot_be_answered_is_refused_on_one_line(whole, run, tmp_path, arguments, said):
    pictures(tmp_path / 'images', 1)
    pictures(tmp_path / 'damaged', 1)
    (tmp_path / 'damaged/0.png').write_bytes((tmp_path / 'damaged/0.png').read_bytes()[:20])
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.png').write_text('no image')
    before = (tmp_path / 'images/0.png').read_bytes()
    given = [f'--network={whole}', *(argument.replace('HERE', str(tmp_path)) for argument in arguments)]
    code, out, err = run(*given)
    assert (code, out, err.count('\n')) == (2, [], 1) and re.search(said, err)
    assert (tmp_path / 'images/0.png').read_bytes() == before
