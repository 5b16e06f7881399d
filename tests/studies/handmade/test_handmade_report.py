"""The report of hand-made and learned features from accuracies and kernels made by hand."""

import csv

import numpy as np
import pytest

from cnn_research.models import handmade, zoo
from cnn_research.reporting.per_class import Row
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.handmade import report

ABOUT = report.About('cifar10', 400, 64, True, 1.0, 100.0, 300, 0)


def row(network, way, size, *accuracies, problem=''):
    told = dict(enumerate(accuracies))
    return Row(report.label(network, way, size), f'{network} {way}', size, told, {}, 0.001, '', 10, 2500, problem)


def ways(network, fixed, continued, learned):
    """Rows of three ways at 10 and 300 images: mean accuracies, spread a little over three seeds."""
    told = {'fixed': fixed, 'continued': continued, 'learned': learned}
    return [
        row(network, way, size, mean - 0.2, mean + 0.1, mean + 0.1 + n / 50)
        for n, (way, means) in enumerate(told.items())
        for size, mean in zip((10, 300), means, strict=True)
    ]


ROWS = ways('sift_32', (30, 45), (31, 50), (20, 52)) + ways('spm_32', (33, 48), (34, 55), (25, 44))


def test_labels_are_read_back():
    label = report.label('spm_32 resized(3=50)', 'fixed', 300)
    assert label == 'spm_32 resized(3=50) fixed, 300 a class' and report.reads(label) and report.reads('every row')
    assert report.split('spm_32 resized(3=50) fixed') == ('spm_32 resized(3=50)', 'fixed')
    assert not any(map(report.reads, ('network', 'fixed, 3 a class', 'sift_32 frozen, 3 a class', 'sift_32 fixed')))


def test_the_claims_follow_from_the_accuracies():
    found = report.judged(ROWS, 'cifar10')
    open_ = 'no direction claimed'
    assert [one.verdict for one in found] == ['reproduced', open_, open_, 'reproduced'] + ['reproduced', open_, open_, 'contradicted']
    texts = [[one.text for one in judged.differences] for judged in found[:4]]
    assert [len(one) for one in texts] == [1, 1, 2, 1] and '300 a class' in texts[0][0] and '10 a class' in texts[1][0]
    assert found[1].differences[0].mean == pytest.approx(10, abs=0.1) and found[3].differences[0].mean == pytest.approx(7, abs=0.1)
    assert all(one.claim.instead for one in (found[3], found[7]))
    two = [one._replace(accuracy={seed: one.accuracy[seed] for seed in (0, 1)}) for one in ROWS]
    for rows, data in ((two, 'cifar10'), (ROWS, 'clutter')):
        assert {one.verdict for one in report.judged(rows, data)} == {'no verdict', open_}
    alone = [one for one in ROWS if one.way != 'sift_32 fixed' and one.way.startswith('sift_32')]
    assert [len(one.differences) for one in report.judged(alone, 'cifar10')] == [2]  # of what is not there nothing is said


def test_slopes_are_directions_and_how_purely_a_filter_is_one():
    found = report.slopes(handmade.sift(zoo.architecture('sift'))['layer1']['convolution']['kernel'])
    angles, lengths = np.radians(45 * np.arange(8)), np.hypot(*found.T)
    np.testing.assert_allclose(found / lengths[:, None], np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-6)
    assert np.ptp(lengths) < 1e-6 and 0.5 < lengths[0] < 1
    ramp = np.broadcast_to(np.arange(3.0)[None, :, None, None], (3, 3, 3, 1)) - 1
    red = np.concatenate([ramp[:, :, :1], -ramp[:, :, :1], 0 * ramp[:, :, :1]], axis=2)
    np.testing.assert_allclose(report.slopes(np.concatenate([ramp, red, 0 * ramp], axis=3)), [(1, 0), (0, 0), (0, 0)], atol=1e-12)


def test_the_tables_and_figures_have_every_row(tmp_path):
    own = handmade.sift(zoo.architecture('sift_32'))['layer1']['convolution']['kernel']
    drawn = np.random.default_rng(0).normal(size=own.shape)
    filters = [
        report.Filters(network, way, drawn if way == 'learned' else own, drawn + (way == 'continued') * own)
        for network in ('sift_32', 'spm_32 resized(3=50)')
        for way in ('fixed', 'continued', 'learned')
    ]
    show = Shelf(tmp_path, 'handmade', {line.label for line in ROWS})
    title, lead, sections = report.report(ROWS, filters, ABOUT, show)
    assert title == 'Hand-made and learned features on cifar10' and lead.endswith('Claims: 3 reproduced, 1 contradicted.')
    assert 'sift_32 fixed 30.0 / 45.0, sift_32 continued' in lead
    headings = ['Three ways', 'Learning curves', 'Filters before and after', 'Claims', 'Every row']
    assert [heading for heading, _ in sections] == headings
    lines = list(csv.DictReader((tmp_path / 'rows.csv').read_text().splitlines()))
    assert [line['row'] for line in lines][:3] == [
        'sift_32 fixed, 10 a class',
        'sift_32 fixed, 300 a class',
        'sift_32 continued, 10 a class',
    ]
    assert lines[0]['above'] == '' and float(lines[11]['above']) == pytest.approx(-4, abs=0.1)  # above its own network's fixed
    words = '\n'.join(show.markdown)
    for part in ('100 times on a pyramid', 'same 400 steps of 64 images', 'the same 2,500 images', 'with 300 images of each class, seed 0'):
        assert part in words
    names = [name for name, _ in report._panels(filters)]
    assert (
        names[:4] == [f'sift_32: {what}' for what in ('hand-made', 'learned on', 'random', 'learned')] and names[4] == 'spm_32: hand-made'
    )
    assert {f'{name}.png' for name in ('curves', 'filters', 'directions')} <= {path.name for path in (tmp_path / 'figures').iterdir()}


def test_what_is_not_there_yet_is_said(tmp_path):
    planned = [line._replace(accuracy={}, rate=None, classes=0, held=None, problem='not finished: seed 0') for line in ROWS]
    _, lead, sections = report.report(planned, [], ABOUT._replace(steps=0), Shelf(tmp_path, 'handmade', ()))
    assert lead == 'No row is finished yet.' and [heading for heading, _ in sections] == ['Three ways', 'Claims', 'Every row']
    assert report.report([], [], ABOUT, Shelf(tmp_path, 'handmade', ()))[1] == 'No row is planned.'
    show = Shelf(tmp_path, 'handmade', ())
    report.report(ROWS[:2], [], ABOUT._replace(data='clutter'), show)
    assert 'Clutter is a demonstration' in '\n'.join(show.markdown)
