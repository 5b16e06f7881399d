"""Detection's tables, claims and figures, from outcomes made by hand and from made-up detections."""

import csv
import json
import math

import numpy as np
import pytest
from page_reader import Reader, scripts
from small_scenes import made

from cnn_research.reporting import page
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.detection import diagnosis, evaluation, figures, report
from cnn_research.studies.detection.report import Key, Row

NAMES = ('chair', 'a $ table', 'plant', '<b>', 'sofa')
ABOUT = report.About(
    data='indoor_objects',
    network='zfnet_64',
    stands={'layer5.pool': 'pool5', 'layer6': 'fc6', 'layer7': 'fc7'},
    class_names=NAMES,
    trained=(60, 1234),
    tested=(25, 40),
    notes=('Two classes with fewer than 20 boxes are left out.',),
    proposals='Selective search, 800 boxes an image.',
    crop='Windows are warped to 64 x 64 px.',
    way='area',
    seeds='Seeds draw windows.',
    similar=(('chair', 'sofa'),),
    demonstration=False,
)


def row(key, *means, problem=''):
    """Of two classes with average precisions about the mean, and one without objects; 11 points give 0.05 more."""
    outcomes = {
        seed: {'area': [mean / 100 - 0.1, mean / 100 + 0.1, None], 'eleven': [mean / 100 + 0.05] * 2 + [None]}
        for seed, mean in enumerate(means)
    }
    return Row(key, 4096, outcomes, problem)


def rows(**means):
    """Rows of three seeds about a mean."""
    keys = {
        'pool5': Key('layer5.pool'),
        'fc6': Key('layer6'),
        'fc7': Key('layer7'),
        'ft_pool5': Key('layer5.pool', tuned=True),
        'ft_fc6': Key('layer6', tuned=True),
        'ft_fc7': Key('layer7', tuned=True),
        'ft_fc7_bb': Key('layer7', tuned=True, refined=True),
        'ft_fc7_softmax': Key('layer7', 'softmax', tuned=True),
        'ft_own': Key('layer8', 'network', tuned=True),
        'no_context': Key('layer6', crop='no context'),
        'isotropic': Key('layer6', crop='isotropic'),
        'hog': Key('hog'),
        'pyramid': Key('pyramid'),
    }
    return [row(keys[name], mean - 0.2, mean + 0.1 + n * n / 100, mean + 0.1) for n, (name, mean) in enumerate(means.items())]


TABLE_2 = {'pool5': 44.2, 'fc6': 46.2, 'fc7': 44.7, 'ft_pool5': 47.3, 'ft_fc6': 53.1, 'ft_fc7': 54.2, 'ft_fc7_bb': 58.5}
REST = {'ft_fc7_softmax': 50.9, 'ft_own': 50.9, 'no_context': 42, 'isotropic': 43, 'hog': 33.7, 'pyramid': 35.1}


def test_the_paper_reproduces_itself():
    found = report.judged(rows(**TABLE_2, **REST), ABOUT)
    assert len(found) == 9 and {one.verdict for one in found} == {'reproduced'}
    for part, mean in (
        ('fc6 is worth more than pool5', 2.0),
        ('regression', 4.3),
        ('own softmax', 3.3),
        ('a softmax on the same features', 3.3),
        ('Context', 4.2),
        ('proportions', 3.2),
        ('HOG', 12.5),
        ('pyramid', 11.1),
    ):
        (one,) = [one for one in found if part in one.claim.sentence]
        assert [measured.mean for measured in one.differences] == [pytest.approx(mean, abs=0.5)]
    (gains,) = [one for one in found if 'at dense layers' in one.claim.sentence]
    assert [measured.mean for measured in gains.differences] == [pytest.approx(mean, abs=0.5) for mean in (6.9 - 3.1, 9.5 - 3.1)]


def test_what_is_the_other_way_round_is_contradicted():
    turned = report.judged(rows(**{name: 100 - mean for name, mean in (TABLE_2 | REST).items()}), ABOUT)
    assert {one.verdict for one in turned} == {'contradicted'}


def test_claims_need_seeds_and_data_that_are_no_demonstration():
    every = rows(**TABLE_2, **REST)
    alone = [one._replace(outcomes={0: one.outcomes[0]}) for one in every]
    broken = [one._replace(problem='mining did not settle') for one in every]
    for some, about, words in (
        (alone, ABOUT, 'a verdict needs 3'),
        (every, ABOUT._replace(demonstration=True), 'demonstration'),
        (broken, ABOUT, 'mining did not settle'),
    ):
        judged = report.judged(some, about)
        assert len(judged) == 9 and {one.verdict for one in judged} == {'no verdict'} and all(words in one.reason for one in judged)
        assert all(math.isfinite(measured.mean) for one in judged for measured in one.differences)


def test_claims_are_of_the_rows_that_are_there():
    assert report.judged(rows(fc6=40), ABOUT) == []
    found = report.judged(rows(pool5=40, fc6=42, fc7=41, hog=30), ABOUT)
    assert [len(one.differences) for one in found] == [1, 1] and all('layer6 (SVM)' in one.differences[0].text for one in found)
    # A network without dense layers: no direction between its taps, and fine-tuning gains anywhere.
    some = ABOUT._replace(stands={})
    found = report.judged(rows(pool5=40, fc6=42, ft_fc6=45), some)
    assert [one.verdict for one in found] == ['no direction claimed', 'reproduced'] and 'no dense layer' in found[0].claim.sentence
    crops = rows(no_context=42, fc6=41, isotropic=40)
    assert [one.verdict for one in report.judged(crops, ABOUT)] == ['contradicted', 'reproduced']


def test_the_claims_say_which_average_precision_they_have():
    for way, words in (('area', 'the source: of 11 points'), ('eleven', '')):
        (one,) = report.judged(rows(pool5=40, fc6=42), ABOUT._replace(way=way))
        assert one.claim.instead == words
    assert 'area' in report.judged(rows(pool5=40, fc6=42), ABOUT)[0].claim.quantity


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        (Key('layer5.pool'), 44.2),
        (Key('layer7', tuned=True), 54.2),
        (Key('layer7', tuned=True, refined=True), 58.5),
        (Key('layer7', 'softmax', tuned=True), None),
        (Key('layer8', 'network', tuned=True), None),
        (Key('layer7', 'softmax'), None),
        (Key('layer6', refined=True), None),
        (Key('layer6', crop='isotropic'), None),
        (Key('layer4.relu'), None),
        (Key('hog'), None),
    ],
)
def test_each_row_stands_beside_the_published_one(key, value):
    assert report.published(key, ABOUT.stands) == value


def test_labels_are_different_and_readable():
    keys = [one.key for one in rows(**TABLE_2, **REST)]
    assert len({key.label for key in keys}) == len(keys)
    assert Key('layer7', tuned=True, refined=True).label == 'layer7 (fine-tuned, SVM, boxes refined)'
    assert Key('hog', crop='no context').label == 'HOG (SVM, no context)'


def test_the_printed_tables_are_those_of_the_paper():
    table = report.printed('rcnn table 2')
    assert [line['method'] for line in table.rows][:2] == ['pool5', 'fc6'] and table.rows[0]['mAP'] == 44.2
    assert [column.key for column in table.columns][:3] == ['method', 'mAP', 'aeroplane'] and len(table.columns) == 22


def outcome(seed):
    truths, detections = made(seed)
    one = evaluation.evaluated(truths, detections, 5)
    told = evaluation.told(one) | {'diagnosis': diagnosis.told(diagnosis.diagnosed(one, truths, detections, [(0, 4)]))}
    return json.loads(json.dumps(told)), evaluation.scene(one, truths, detections, 3, [-math.inf] * 5)


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """(folder, title, lead, headings, page) of a whole report with evil class names."""
    folder = tmp_path_factory.mktemp('report')
    keys = (Key('layer6'), Key('layer6', tuned=True), Key('layer6', tuned=True, refined=True), Key('hog'))
    made_up = [Row(key, 4096, {seed: outcome(3 * n + seed)[0] for seed in range(3)}) for n, key in enumerate(keys)]
    scene = outcome(0)[1]
    images = [np.full((12 + 4 * n, 16, 3), 90, np.uint8) for n in range(3)]
    pictures = {'layer6 (SVM), seed 0': [figures.Picture(image, scene | {'name': '$x'}) for image in images]}
    recalls = {'selective search': ((1, 10, 2000), {0.5: [0.1, 0.5, 0.9], 0.7: [0.0, 0.3, 0.6]})}
    show = Shelf(folder, 'detection', ())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr('cnn_research.reporting.figures.RESOLUTION', 30)  # quick
        title, lead, sections = report.report(made_up, ABOUT, recalls, pictures, show)
    return folder, title, lead, [heading for heading, _ in sections], page.page(title, lead, sections, 'python'), made_up, show


def test_the_report_has_every_part(written):
    folder, title, lead, headings, text, _, show = written
    assert title == 'Detection on indoor_objects'
    assert headings == [
        *('Features, classifiers and boxes', 'The data', 'Claims', 'Proposals', 'Every row and class', 'False detections'),
        *('Examples', 'As published'),
    ]
    for words in ('5 classes', '60 images with 1,234 objects', '25 with 40 to be found', 'difficult ones', 'not VOC', '11 points', 'area'):
        assert words in lead
    names = {'recall', 'precision', 'precision_recall', 'false_detections', 'examples_1'}
    assert {path.stem for path in (folder / 'figures').iterdir()} == names
    seen = Reader(text)
    assert '<b>' in seen.cells and len(scripts(text)) == 1
    words = '\n'.join(show.markdown)
    assert 'more than 0.5 (intersection over union)' in words and 'chair, sofa' in words and 'left out' in words


def test_every_number_of_the_tables_is_that_of_the_outcomes(written):
    folder, *_, made_up, _ = written
    lines = list(csv.DictReader((folder / 'classes.csv').read_text().splitlines()))
    for line, row in zip(lines, made_up, strict=True):
        for label in range(3):
            expected = [100 * row.outcomes[seed]['area'][label] for seed in range(3)]
            assert list(map(float, line[f'class {label}'].split())) == pytest.approx(expected)
        assert line['class 3'] == line['class 4'] == ''  # without objects: nothing, not 0
        means = [np.mean([100 * one for one in row.outcomes[seed]['area'] if one is not None]) for seed in range(3)]
        assert list(map(float, line['mAP'].split())) == pytest.approx(means)
    kinds = list(csv.DictReader((folder / 'kinds.csv').read_text().splitlines()))
    counts = np.sum([made_up[3].outcomes[seed]['diagnosis']['counts'] for seed in range(3)], axis=(0, 2))[3]
    assert [float(kinds[3][kind]) for kind in diagnosis.KINDS] == pytest.approx((100 * counts / counts.sum()).tolist())
    recall = list(csv.DictReader((folder / 'recall.csv').read_text().splitlines()))
    assert [line['0.7'] for line in recall] == ['0.0', '30.0', '60.0']


def test_what_is_not_there_yet_is_said(tmp_path):
    show = Shelf(tmp_path, 'detection', ())
    planned = [Row(Key('layer6'), 4096, {}), Row(Key('hog'), 800, {})]
    _, lead, sections = report.report(planned, ABOUT, {}, {}, show)
    assert 'No row is finished yet.' in lead and 'Every row and class' not in [heading for heading, _ in sections]
    assert report.report([], ABOUT, {}, {}, show)[1] == 'No row is planned.'
    _, lead, _ = report.report(planned, ABOUT._replace(data='voc/2007'), {}, {}, show)
    assert 'not VOC' not in lead


def test_the_area_of_a_drawn_curve_is_the_average_precision():
    told, _ = outcome(1)
    for label in range(3):
        recalls, precisions = figures._envelope(told['curves'][label])
        widths = np.diff(recalls)
        assert (widths >= 0).all() and recalls[0] == 0 and precisions[-1] == 0
        # Steps: within each the precision is the same at both ends.
        assert float(np.sum(widths * precisions[:-1])) == pytest.approx(told['area'][label])
    assert [part.tolist() for part in figures._envelope([])] == [[0], [0]]


def test_shares_of_false_detections_add_up_as_they_are_drawn():
    told = {seed: outcome(seed)[0] for seed in range(2)}
    counts, kinds, multiples = figures.kinds(told)
    assert counts.shape == (len(multiples), len(kinds)) and kinds == list(diagnosis.KINDS) == list(figures.KINDS)
    axes = figures.false_detections([('a $ row', told)]).axes[0]
    tops = [max(vertex[1] for path in drawn.get_paths() for vertex in path.vertices) for drawn in axes.collections]
    assert tops == sorted(tops) and tops[-1] == pytest.approx(100)
    assert figures.kinds({0: {'area': []}})[0] is None


def test_labels_on_a_picture_stay_inside_and_cover_each_other_as_little_as_they_can():
    taken = []
    for _ in range(5):
        x, y = figures._place((10, 10, 60, 60), (30, 8), (100, 70), taken)
        assert 0 <= x <= 70 and 0 <= y <= 62
        taken.append((x, y, x + 30, y + 8))
    pairs = [(one, other) for n, one in enumerate(taken) for other in taken[:n]]
    assert not [1 for a, b in pairs if min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])]
    assert figures._place((0, 0, 5, 5), (300, 8), (100, 70), []) == (0, 0)  # wider than the image


def test_large_images_are_drawn_from_means_of_blocks():
    image = np.arange(2000 * 4 * 3, dtype=np.uint32).reshape(2000, 4, 3).astype(np.uint8)
    small = figures._smaller(image)
    assert small.shape == (1000, 2, 3) and small[0, 0, 0] == image[:2, :2, 0].mean().astype(np.uint8)
    np.testing.assert_array_equal(figures._smaller(image[:50]), image[:50])
    assert figures._smaller(image[:50, :, :1]).shape == (50, 4)
