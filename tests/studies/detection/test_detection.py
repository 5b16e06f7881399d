"""Detection as a user runs it, on a small folder in VOC's form."""

import csv
import itertools
import re
import shutil

import numpy as np
import pytest
import small_runs
from PIL import Image

from cnn_research.data.scenes import open_scenes
from cnn_research.errors import ResearchError, Stopped
from configs import detection as recipe
from experiments import detection
from experiments.launch import command, detecting

COUNTS = {'train': 12, 'test': 6}
SMALL = (
    '--config=configs/detection.py:smoke',
    '--config.detection.most=12',
    '--config.detection.side=2',
    '--config.detection.taps=layer6',
    '--config.detection.rows=refined,tuned,pyramid',
    '--config.detection.words=4',
)
ROWS = {
    'layer6 (SVM)',
    'layer6 (SVM, boxes refined)',
    'layer6 (fine-tuned, SVM)',
    'layer6 (fine-tuned, SVM, boxes refined)',
    'SIFT pyramid (SVM)',
}


def voc(place):
    """Some embedded scenes as a folder, their digits in two classes."""
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (place / folder).mkdir(parents=True)
    for split, count in COUNTS.items():
        names = []
        for number, scene in enumerate(open_scenes('scenes', split).read(range(count))):
            names.append(f'{split}{number}')
            Image.fromarray(scene.image).save(place / 'JPEGImages' / f'{names[-1]}.png')
            things = ''.join(
                f'<object><name>{"low" if label < 5 else "high"}</name><bndbox><xmin>{xmin + 1:g}</xmin><ymin>{ymin + 1:g}</ymin>'
                f'<xmax>{xmax:g}</xmax><ymax>{ymax:g}</ymax></bndbox></object>'
                for (ymin, xmin, ymax, xmax), label in zip(scene.boxes, scene.labels, strict=True)
            )
            size = '<size><width>128</width><height>96</height><depth>3</depth></size>'
            (place / 'Annotations' / f'{names[-1]}.xml').write_text(f'<annotation>{size}{things}</annotation>')
        (place / 'ImageSets/Main' / f'{split}.txt').write_text('\n'.join(names))
        with open(place / 'ImageSets/Main' / 'both.txt', 'a') as file:
            file.write('\n'.join([*names, '']))
    return f'voc:{place}'


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """(a finished network of clutter, a folder of scenes, a workdir where detection has run)."""
    root = tmp_path_factory.mktemp('detection')
    net = {'data__name': 'clutter', 'architecture': 'alexnet_32 without(3,4,5,7) resized(1=4,2=6,6=8)', 'loss__name': 'softmax'}
    small_runs.fit(root / 'net', small_runs.config(**net))
    name = voc(root / 'scenes')
    detection.main(given(root, name))
    return root, name


def given(root, name, *more, workdir='run'):
    words = [*SMALL, f'--config.network={root / "net"}', f'--config.detection.data={name}', f'--workdir={root / workdir}', *more]
    return command.parse('detection', '', words, detection.FIELDS)


def table(workdir):
    with open(workdir / 'detection.csv') as file:
        return {row['row']: row for row in csv.DictReader(file)}


def test_every_row_is_judged_and_told(place):
    root, _ = place
    assert set(table(root / 'run')) == ROWS
    page = (root / 'run' / 'README.md').read_text()
    assert 'This is not VOC' in page and '12 images with' in page and 'grid, at most 12 of a picture' in page
    assert 'Refining the boxes by regression gains.' in page and '1 seed' in page
    for figure in ('recall', 'precision', 'precision_recall', 'false_detections', 'examples_1'):
        assert (root / 'run' / 'figures' / f'{figure}.png').stat().st_size > 1000
    assert len(list((root / 'run' / 'outcomes').glob('*.json'))) == len(ROWS)


@pytest.mark.slow
def test_all_kinds_of_rows_and_redrawn_scenes(place):
    root, name = place
    more = ('taps=layer2,layer6', 'rows=', 'redrawn=true', 'seeds=3', 'similar=low+high', 'way=eleven')
    detection.main(given(root, name, *(f'--config.detection.{one}' for one in more), workdir='every'))
    net = detecting.network(given(root, name)).trained.architecture
    assert set(table(root / 'every')) == {key.label for key in detecting.keys(['layer2', 'layer6'], net, list(detecting.KINDS))}
    page = (root / 'every' / 'README.md').read_text()
    assert 'Nadeau' in page and 'similar' in page and 'Each seed draws the scenes' in page


def test_nothing_is_made_twice(place, monkeypatch, capsys):
    root, name = place
    for module, maker in ((detecting.windows, 'looker'), (detecting.classifiers, 'svms'), (detecting.handmade, 'pyramids')):
        monkeypatch.setattr(module, maker, lambda *_, **__: pytest.fail('made again'))
    before = table(root / 'run')
    detection.main(given(root, name))
    assert '[detection]' not in capsys.readouterr().out and table(root / 'run') == before


def test_what_is_damaged_is_found_and_made_again(place, capsys):
    root, name = place
    before, lost = table(root / 'run'), sorted((root / 'run' / 'outcomes').glob('*.json'))[3]
    small_runs.flip(lost)
    small_runs.flip(sorted((root / 'run' / 'windows').rglob('*.npy'))[0])
    for path in (root / 'run' / 'proposals').rglob('*'):
        if path.is_file():
            small_runs.flip(path)
    detection.main(given(root, name))
    assert table(root / 'run') == before
    assert len(re.findall(r'seed 0$', capsys.readouterr().out, re.MULTILINE)) == 1


@pytest.mark.parametrize('after', [2, 20])
def test_a_stop_anywhere_loses_nothing_that_was_kept(place, monkeypatch, after):
    root, name = place
    one = given(root, name, '--config.detection.rows=none', workdir=f'stopped{after}')
    asked = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(command, 'stopper', lambda: lambda: next(asked) >= after)
        with pytest.raises(Stopped):
            detection.main(one)
    assert not (one.workdir / 'detection.csv').exists()
    kept = {path: path.read_bytes() for path in (one.workdir / 'windows').rglob('*.npy')}
    detection.main(one)
    assert all(path.read_bytes() == content for path, content in kept.items())
    whole = table(root / 'run')
    assert table(one.workdir) == {'layer6 (SVM)': whole['layer6 (SVM)']}


def test_redrawn_scenes_differ_between_seeds_and_are_judged_as_splits():
    found = detecting.drawn(30, 20, 4, True)
    assert len({tuple(part.test) for part in found.values()}) == 4
    for part in found.values():
        assert len(part.train) == 20 and sorted([*part.train, *part.test]) == list(range(30))
    own = detecting.drawn(30, 20, 2, False)
    assert all(np.array_equal(part.train, np.arange(20)) for part in own.values())


def test_the_rest_stands_at_fc6_and_tuned_at_the_highest():
    net = detecting.configs.network(detecting.configs.update(detecting.configs.default(), {'architecture': 'alexnet'}))
    assert detecting.stands(net) == {'layer5': 'pool5', 'layer6': 'fc6', 'layer7': 'fc7'} and detecting.default_taps(net)[0] == 'layer5'
    rows = [key.label for key in detecting.keys(list(detecting.stands(net)), net, list(detecting.KINDS))]
    assert 'layer6 (SVM, no context)' in rows and 'layer6 (softmax)' in rows and 'layer7 (fine-tuned, softmax)' in rows
    assert 'layer8 (fine-tuned, own softmax)' in rows
    assert 'layer7 (SVM, no context)' not in rows and len(set(rows)) == len(rows) == 15
    deep = detecting.configs.network(detecting.configs.update(detecting.configs.default(), {'architecture': 'squeezenet'}))
    assert detecting.stands(deep) == {} and detecting.default_taps(deep) == ['layer16', 'layer17']


WRONG = {
    'rows=boxes': r"rows names 'boxes'; choose from softmax",
    'proposals=edges': r'proposals come from selective_search, grid or a file .*, not from',
    'proposals=nowhere.npz': r'nowhere\.npz',
    'taps=layer9': r'layer9',
    'train=test': r"both 'test'",
    'fewest=1000': r'no class has 1000 boxes in train; \w+ has the most',
    'similar=low+cat': r'cat',
    'similar=low': r"has 'low' alone",
    'context=16': r'context=16 does not fit windows of 32 px',
    'data=digits': r'digits',
    'data=folder:nowhere': r'has classes, but no boxes',
    'data=voc:nowhere': r'nowhere',
    'test=val': r'val',
    'test=both': r'train and both of .* share 12 pictures',
}


@pytest.mark.parametrize('wrong', WRONG)
def test_what_cannot_be_is_one_line_before_any_work(place, wrong):
    root, name = place
    with pytest.raises(ResearchError, match=WRONG[wrong]) as raised:
        detection.main(given(root, name, f'--config.detection.{wrong}', workdir='refused'))
    assert str(raised.value).isprintable() and not (root / 'refused' / 'windows').exists()


def test_proposals_of_other_images_and_several_networks_are_refused(place):
    root, name = place
    np.savez(root / 'other.npz', train0=np.array([[0.0, 0, 10, 10]]), train1=np.array([[0.0, 0, 10, 400]]))
    with pytest.raises(ResearchError, match=r'other\.npz'):
        detection.main(given(root, name, f'--config.detection.proposals={root / "other.npz"}', workdir='refused'))
    shutil.copytree(root / 'net', root / 'net2')
    with pytest.raises(ResearchError, match='names 2 networks'):
        detection.main(given(root, name, f'--config.network={root / "net"},{root / "net2"}', workdir='refused'))
    assert not (root / 'refused' / 'windows').exists()


@pytest.mark.parametrize('scale', recipe.SCALES)
def test_every_scale_is_a_table(scale):
    one = command.parse('detection', '', [f'--config=configs/detection.py:{scale}'], detection.FIELDS)
    assert one.options.detection.most >= 1 and detecting.configs.check(one.config)


def test_notes_of_many_rows_are_few():
    key, other = detecting.report.Key('layer6'), detecting.report.Key('layer6', 'softmax')
    left = 'mining left out at most {} % of the objective of a class'
    told = {
        (key, 0): {'notes': [left.format('1e-06')]},
        (key, 1): {'notes': [left.format('0.02'), 'boxes of a stay']},
        (other, 0): {'notes': ['C = 1']},
        (other, 1): {'notes': ['C = 1']},
    }
    assert detecting.notes(told) == [
        f'{left.format("0.02")}, in all rows and seeds',
        'boxes of a stay: layer6 (SVM), seed 1',
        'C = 1: layer6 (softmax), seed 0, 1',
    ]
