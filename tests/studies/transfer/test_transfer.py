"""Transfer as a user runs it, small; its measures against loops; its table, claims and figures from hand-made outcomes."""

import json
import math
import sys

import numpy as np
import pytest
import small_runs

from cnn_research import protocol
from cnn_research.errors import ResearchError
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.transfer import measures, report
from configs import transfer as recipe
from experiments import transfer
from experiments.launch import command, elsewhere, judging

SMALL = (
    '--config=configs/transfer.py:smoke',
    '--config.transfer.per_class=4',
    '--config.transfer.taps=layer1.dense',
    '--config.transfer.costs=0.001',
    '--config.transfer.splits=2',
    '--config.transfer.words=4',
    '--config.transfer.handmade=pixels,pyramid',
    '--config.transfer.classifiers=svm,svm+dropout',
    '--config.transfer.neighbours=2',
)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """(a finished network of digits, a folder of images, a workdir where transfer has run)."""
    root = tmp_path_factory.mktemp('transfer')
    small_runs.fit(root / 'net', small_runs.config(architecture='mlp_300 resized(1=12)'))
    name = small_runs.folder(root / 'pictures')
    transfer.main(given(root, name))
    return root, name


def given(root, name, *more, workdir='run'):
    words = [*SMALL, f'--config.network={root / "net"}', f'--config.transfer.data={name}', f'--workdir={root / workdir}', *more]
    return command.parse('transfer', '', words, transfer.FIELDS)


def test_every_row_is_judged_and_told(place):
    root, _ = place
    text = (root / 'run' / 'transfer.csv').read_text()
    for row in ('mlp_300, digits: layer1.dense', 'pixels', 'SIFT pyramid'):
        assert f'"{row}"' in text or f'\n{row},' in text
    page = (root / 'run' / 'README.md').read_text()
    assert '## ' not in page and 'neighbours.png' in page and 'Nadeau' in page and 'DeCAF' in page
    assert len(list((root / 'run' / 'outcomes').glob('*.json'))) == 4  # a tap, before and after; pixels, pyramid


def test_nothing_is_judged_twice(place, capsys):
    root, name = place
    transfer.main(given(root, name))
    assert '[transfer]' not in capsys.readouterr().out


@pytest.mark.slow
def test_another_protocol_reads_no_image_again(place, monkeypatch, capsys):
    root, name = place
    monkeypatch.setattr(elsewhere.features, 'collect', lambda *_, **how: pytest.fail('images were read again'))
    monkeypatch.setattr(judging.measures, 'images', lambda *_: pytest.fail('images were read again'))
    transfer.main(given(root, name, '--config.transfer.per_class=3', '--config.transfer.normalization=l2'))
    assert capsys.readouterr().out.count('[transfer]') == 4


@pytest.mark.slow
def test_sixteen_views_are_learned_from_and_summed(place, capsys):
    root, name = place
    options = ('views=sixteen', 'classifiers=hinge', 'power=2', 'normalization=l2', 'costs=2', 'handmade=none', 'neighbours=0')
    transfer.main(given(root, name, *(f'--config.transfer.{option}' for option in options)))
    assert capsys.readouterr().out.count('[transfer]') == 2
    page = (root / 'run' / 'README.md').read_text()
    assert 'raised to the signed power 2' in page and 'SVM, hinge' in page and 'four corners' in page
    transfer.main(given(root, name))


def test_a_library_that_is_missing_is_named_before_any_work(place, monkeypatch):
    root, name = place
    monkeypatch.setitem(sys.modules, 'skimage.feature', None)
    with pytest.raises(ResearchError, match="hog needs scikit-image: pip install 'cnn-research"):
        transfer.main(given(root, name, '--config.transfer.handmade=hog', workdir='lacking'))
    assert not (root / 'lacking').exists()


def test_what_is_damaged_is_found_and_made_again(place, capsys):
    root, name = place
    before = (root / 'run' / 'transfer.csv').read_text()
    transfer.main(given(root, name))
    path = next(path for path in (root / 'run' / 'outcomes').glob('*.json') if json.loads(path.read_text())['row'] == 'pixels')
    small_runs.flip(path)
    small_runs.flip(next((root / 'run' / 'features').rglob('pixels.npy')))
    capsys.readouterr()
    transfer.main(given(root, name))
    assert capsys.readouterr().out.count('[transfer]') == 1
    assert (root / 'run' / 'transfer.csv').read_text() == before or 'pixels' in before


def test_a_stop_between_two_rows_keeps_the_first(place):
    root, name = place
    one = given(root, name, '--config.transfer.seed=3', workdir='stopped')
    asked = iter([False, False, True])
    networks = elsewhere.networks(one)
    pool, learned = transfer._pool(one, networks)
    table = judging.Table(
        *(one, networks, pool, pool.labels(), transfer._drawn(one, pool, learned), ['svm'], transfer._how(one.options.transfer))
    )
    keys = transfer._rows(one, networks)
    with pytest.raises(command.Stopped):
        judging.outcomes(table, keys, lambda: next(asked))
    assert len(list((root / 'stopped' / 'outcomes').glob('*.json'))) == 1


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ('--config.transfer.per_class=30', 'the largest number that fits every class is 11'),
        ('--config.transfer.classifiers=svn', 'choose from svm, softmax'),
        ('--config.transfer.handmade=hog,surf', 'choose from pixels, hog'),
        ('--config.transfer.taps=layer9', 'has no tap'),
        ('--config.transfer.costs=0.1,1 --config.transfer.per_class=1', 'at least 2'),
        ('--config.transfer.costs=', 'transfer.costs'),
        ('--config.transfer.data=folder:nowhere', 'nowhere'),
    ],
)
def test_what_cannot_be_judged_is_refused_on_one_line_before_any_work(argument, message, place, tmp_path):
    root, name = place
    with pytest.raises(ResearchError, match=message) as caught:
        transfer.main(given(root, name, *argument.split(' '), workdir='refused'))
    assert '\n' not in str(caught.value) and not (root / 'refused').exists()


def test_what_a_network_learned_is_never_in_the_test(place):
    root, _ = place
    own = given(root, 'digits', '--config.transfer.per_class=5')
    networks = elsewhere.networks(own)
    pool, learned = transfer._pool(own, networks)
    assert learned.sum() == 5000 and pool.num_examples == 6500
    for split in transfer._drawn(own, pool, learned)[5]:
        assert learned[split.train].all() and not learned[split.test].any()
    with pytest.raises(ResearchError, match='name that as transfer.train'):
        transfer._pool(given(root, 'digits', '--config.transfer.train=test', '--config.transfer.test=train'), networks)


def test_a_dry_run_trains_and_writes_nothing(tmp_path, capsys):
    words = ['--config=configs/transfer.py:smoke', f'--workdir={tmp_path / "run"}', '--dry_run']
    transfer.main(command.parse('transfer', '', words, transfer.FIELDS))
    said = capsys.readouterr().out
    assert (
        '23 rows of svm, softmax, svm+dropout; 5, 10 of each of 10 classes of digits; 3 splits' in said and not (tmp_path / 'run').exists()
    )


@pytest.mark.parametrize('scale', recipe.SCALES)
def test_a_scale_is_whole(scale):
    parsed = command.parse('transfer', f'configs/transfer.py:{scale}', [], transfer.FIELDS)
    options = parsed.options.transfer
    assert set(options.classifiers.split(',')) <= set(measures.CLASSIFIERS) and transfer._how(options).costs


# ---- measures


def test_the_nearest_are_those_of_the_smallest_angle():
    random = np.random.default_rng(0)
    features, queries = random.normal(size=(30, 5)).astype(np.float32), np.array([3, 17])
    found = measures.nearest(features, queries, 4)
    for query, near in zip(queries, found.nearest, strict=True):
        angles = [
            math.inf
            if other == query
            else math.acos(np.clip(features[query] @ one / np.linalg.norm(features[query]) / np.linalg.norm(one), -1, 1))
            for other, one in enumerate(features)
        ]
        assert list(near) == list(np.argsort(angles)[:4])
    labels = np.arange(30) % 3
    told = measures.told(found, labels)
    assert told['all'] == np.mean(labels[found.nearest] == labels[queries][:, None])
    assert told['first'] == np.mean(labels[found.nearest[:, 0]] == labels[queries])


def test_a_query_is_a_test_image_of_each_of_some_classes():
    labels = np.repeat(np.arange(9), 6)
    split = protocol.exact(labels, tuple('abcdefghi'), (3,), 0, 1, 0)[3][0]
    asked = measures.asked(labels, split, 9, 3)
    assert list(labels[asked]) == [0, 4, 8] and np.isin(asked, split.test).all()
    assert len(measures.asked(labels, split, 9, 50)) == 9


@pytest.mark.slow
def test_random_filters_depend_on_the_seed_alone_and_not_on_contrast():
    random = np.random.default_rng(0)
    images = list(random.integers(40, 120, (3, 32, 32, 3), np.uint8))
    one = measures.random_filters(images, 0)
    assert one.shape == (3, 4096) and np.isfinite(one).all()
    assert np.array_equal(one, measures.random_filters(images, 0)) and not np.allclose(one, measures.random_filters(images, 1))
    assert np.allclose(one, measures.random_filters([2 * image for image in images], 0), rtol=0.05, atol=0.02 * one.std())


# ---- the report


def curve(values, unsettled=0.0):
    return [{'accuracy': value, 'cost': 0.1, 'validation': [0.5], 'unsettled': unsettled} for value in values]


def rows(unsettled=0.0):
    made = []
    for place, key in enumerate(
        [
            *(report.Key('net, data', tap, seen) for seen in (True, False) for tap in ('layer1', 'layer6.dense', 'layer6')),
            *(report.Key('', name, False) for name in report.HANDMADE),
        ]
    ):
        random = np.random.default_rng(place)
        both = {
            name: {n: curve(0.9 - 0.06 * place + 0.01 * random.normal(size=5), unsettled * (key.tap == 'pixels')) for n in (5, 30)}
            for name in ('svm', 'svm+dropout')
        }
        made.append(report.Row(key, 100, both if key.tap not in report.WORDS else {'svm': both['svm']}))
    return made


ABOUT = report.About('caltech', 43, [5, 30], 430, 'as they are', 5, 1 / 3, 1e-5, False)


def told(made, about, folder):
    show = Shelf(folder, 'transfer', ())
    title, lead, sections = report.report(made, about, None, {}, show)
    return lead, ''.join(f'{heading}{markup}' for heading, markup in sections), show


def test_claims_compare_what_the_papers_compare():
    judged = {one.claim.sentence: one for one in report.judged(rows(), ABOUT)}
    assert judged['net, data: its training is worth something at layer6.'].verdict == 'reproduced'
    assert judged['net, data: the highest features are worth more than the lowest.'].verdict == 'contradicted'
    assert judged['net, data: layer6 is worth more than the spatial pyramid of SIFT words.'].verdict == 'reproduced'
    assert judged['net, data: layer6 after its nonlinearity against before.'].verdict == 'no direction claimed'
    assert judged['Random filters are worth more than pixels.'].verdict == 'contradicted'
    assert 'net, data: dropping half of layer6 helps the SVM.' in judged
    assert all(one.unit == 'split' for one in judged.values())


def test_a_demonstration_decides_nothing():
    assert not {one.verdict for one in report.judged(rows(), ABOUT._replace(demonstration=True))} - {'no verdict', 'no direction claimed'}


@pytest.mark.parametrize('share', [3e-4, None])
def test_what_did_not_settle_is_marked_and_decides_nothing(share, tmp_path):
    made = rows()
    for outcome in made[6].outcomes['svm'][30]:
        outcome['unsettled'] = share
    assert made[6].key.tap == 'pixels'
    judged = {one.claim.sentence: one for one in report.judged(made, ABOUT)}
    assert judged['Random filters are worth more than pixels.'].verdict == 'no verdict'
    _, text, _ = told(made, ABOUT, tmp_path)
    assert 'a fit did not settle, so the accuracy may be another' in text
    assert [line for line in (tmp_path / 'transfer.md').read_text().splitlines() if '†' in line and line.startswith('| pixels')]


def test_a_report_stands_beside_the_published_tables(tmp_path):
    lead, text, show = told(rows(), ABOUT, tmp_path)
    assert lead.startswith('SVM, 30 of each class') and 'Claims:' in lead
    for printed in ('86.91 ± 0.7', '65.7 ± 0.5', '86.8'):
        assert printed in text
    assert {'transfer', 'curve_svm', 'curve_svm_dropout', 'claims'} <= set(show.tables)
    assert (tmp_path / 'figures' / 'layers.png').is_file() and (tmp_path / 'figures' / 'curves.png').is_file()


def test_neighbours_of_the_class_are_framed_in_one_colour_and_others_in_another():
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (2, 4, 8, 8, 3), np.uint8)
    same = np.array([[True, False, True, True], [False] * 4])
    plate = report.Plate(images[:, 0], ['a', 'b'], {'pixels': (images, same), 'layer6': (images, ~same)}, 'net')
    figure = report.neighbours(plate)
    frames = [axes.spines['left'].get_edgecolor() for axes in figure.axes if axes.spines['left'].get_visible()]
    assert len(figure.axes) == 2 + 2 * 2 * 4 and len(set(frames)) == 2 and frames.count(frames[0]) == 8
