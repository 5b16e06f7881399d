"""Average precision: every rule by hand, and all of them against plain loops and against COCO's own tool."""

import fractions
import json
import math

import numpy as np
import pytest
from small_scenes import BETWEEN, HERE, THERE, Truth, found, made, overlap_of, truth

from cnn_research.errors import ConfigError, SourceError
from cnn_research.studies.detection import evaluation
from cnn_research.studies.detection.evaluation import FALSE, IGNORED, RIGHT, Detections, evaluated


@pytest.mark.parametrize(
    ('objects', 'detections', 'states', 'area', 'eleven'),
    [
        ([(HERE, 0)], [(HERE, 0, 1.0)], [RIGHT], 1, 1),
        ([(HERE, 0)], [], [], 0, 0),
        # Each object once: of two that meet it the stronger is right, in whatever order they are told.
        ([(HERE, 0)], [(HERE, 0, 1.0), (BETWEEN, 0, 2.0)], [FALSE, RIGHT], 1, 1),
        ([(HERE, 0)], [(HERE, 0, 2.0), (BETWEEN, 0, 1.0)], [RIGHT, FALSE], 1, 1),
        # Of equal scores the earlier is the stronger.
        ([(HERE, 0)], [(BETWEEN, 0, 1.0), (HERE, 0, 1.0)], [RIGHT, FALSE], 1, 1),
        # A duplicate does not pass to the object next to it, which it overlaps enough, too.
        ([(HERE, 0), (BETWEEN, 0)], [(HERE, 0, 2.0), ((0, 0.5, 10, 10.5), 0, 1.0)], [RIGHT, FALSE], 1 / 2, 6 / 11),
        # What meets a difficult object is ignored, however often; the object is not missed.
        ([(HERE, 0, True), (THERE, 0)], [(HERE, 0, 3.0), (HERE, 0, 2.0), (THERE, 0, 1.0)], [IGNORED, IGNORED, RIGHT], 1, 1),
        # The object that it overlaps most is found first, and then asked whether it is difficult.
        ([(HERE, 0), (BETWEEN, 0, True)], [((0, 1.5, 10, 11.5), 0, 1.0)], [IGNORED], 0, 0),
        ([(HERE, 0), (BETWEEN, 0, True)], [((0, 0.5, 10, 10.5), 0, 1.0)], [RIGHT], 1, 1),
        # Of two that it overlaps alike it meets the first.
        ([(HERE, 0), (BETWEEN, 0, True)], [((0, 1, 10, 11), 0, 1.0)], [RIGHT], 1, 1),
        ([(BETWEEN, 0, True), (HERE, 0)], [((0, 1, 10, 11), 0, 1.0)], [IGNORED], 0, 0),
        # A difficult object of another class makes nothing ignored.
        ([(HERE, 1, True), (THERE, 0)], [(HERE, 0, 2.0), (THERE, 0, 1.0)], [FALSE, RIGHT], 1 / 2, 1 / 2),
        # Exactly at the threshold is not above it.
        ([(HERE, 0)], [((0, 0, 10, 5), 0, 1.0)], [FALSE], 0, 0),
        ([(HERE, 0)], [((0, 0, 10, 5.001), 0, 1.0)], [RIGHT], 1, 1),
        # A box at the border of its image is a box like others.
        ([((0, 0, 7, 7), 0)], [((0, 0, 7, 5), 0, 1.0)], [RIGHT], 1, 1),
        # Precision is the highest at this recall or a higher one: 1/2 and 2/3 are 2/3 and 2/3.
        ([(HERE, 0), (THERE, 0)], [((80, 0, 90, 9), 0, 3.0), (HERE, 0, 2.0), (THERE, 0, 1.0)], [FALSE, RIGHT, RIGHT], 2 / 3, 2 / 3),
        # After the last object nothing counts.
        ([(HERE, 0)], [(HERE, 0, 3.0), (THERE, 0, 2.0), (THERE, 0, 1.0)], [RIGHT, FALSE, FALSE], 1, 1),
    ],
)
def test_every_rule_by_hand(objects, detections, states, area, eleven):
    for way, expected in (('area', area), ('eleven', eleven)):
        told = evaluated([truth(*objects)], [found(*detections)], 2, way=way)
        assert told.states[0].tolist() == states
        assert told.average_precision[0] == pytest.approx(expected, abs=1e-12)
        assert math.isnan(told.average_precision[1]) and told.mean == told.average_precision[0]


def test_of_equal_scores_the_earlier_image_comes_first():
    truths, one, other = [truth(), truth((HERE, 0))], found((HERE, 0, 1.0)), found((HERE, 0, 1.0))
    assert evaluated(truths, [one, other], 1).mean == 1 / 2
    assert evaluated(truths[::-1], [one, other], 1).mean == 1
    assert evaluated(truths, [found((HERE, 0, 0.9)), other], 1).mean == 1


def test_a_class_without_objects_that_count_is_left_out_of_the_mean():
    truths = [truth((HERE, 0), (THERE, 1, True)), truth((HERE, 3))]
    told = evaluated(truths, [found((HERE, 0, 1.0), (HERE, 2, 1.0), (THERE, 1, 1.0)), found()], 4)
    assert told.average_precision[[0, 3]].tolist() == [1, 0] and np.isnan(told.average_precision[[1, 2]]).all() and told.mean == 1 / 2
    assert told.objects.tolist() == [1, 0, 0, 1] and told.difficult.tolist() == [0, 1, 0, 0]
    assert np.isnan(told.curves[2].recall).all() and len(told.curves[2].right) == 1 and not len(told.curves[1].right)
    assert math.isnan(evaluated([truth((HERE, 0, True))], [found((HERE, 0, 1.0))], 2).mean)
    assert math.isnan(evaluated([truth()], [found()], 2).mean)


def test_inclusive_corners_meet_what_their_edges_do():
    corners, half = (1, 1, 10, 10), (1, 1, 10, 6)  # 60 of 100 pixels; 45 of 81 between the centres of the outermost
    exactly = (1, 1, 10, 5)  # 50 of 100 pixels
    for box, state in ((half, RIGHT), (exactly, FALSE)):
        assert evaluated([truth((corners, 0))], [found((box, 0, 1.0))], 1, pixel=1.0).states[0].tolist() == [state]
        on_edges = [(box[0] - 1, box[1] - 1, *box[2:]) for box in (corners, box)]
        assert evaluated([truth((on_edges[0], 0))], [found((on_edges[1], 0, 1.0))], 1).states[0].tolist() == [state]
    pixel = (3, 3, 3, 3)
    assert evaluated([truth((pixel, 0))], [found((pixel, 0, 1.0))], 1, pixel=1.0).mean == 1


# ---- against an implementation of its own, slow and with fractions


def slowly(truths, detections, label, overlap, pixel):
    """(AP as area, AP of eleven points, {(image, place): right, false or ignored}) of a class, after the devkit's VOCevaldet."""
    every = [(-one.scores[n], i, n) for i, one in enumerate(detections) for n in range(len(one.labels)) if one.labels[n] == label]
    count = sum(int(of == label and not hard) for one in truths for of, hard in zip(one.labels, one.difficult, strict=True))
    taken, told, hits, seen = set(), {}, 0, 0
    points = [(fractions.Fraction(0), fractions.Fraction(0))]
    for _, i, n in sorted(every):
        best, which = -math.inf, None
        for k, box in enumerate(truths[i].boxes):
            if truths[i].labels[k] == label and (share := overlap_of(box, detections[i].boxes[n], pixel)) > best:
                best, which = share, k
        if best > overlap and truths[i].difficult[which]:
            told[i, n] = IGNORED
            continue
        right = best > overlap and (i, which) not in taken
        taken.add((i, which) if right else None)
        told[i, n], hits, seen = (RIGHT if right else FALSE), hits + right, seen + 1
        if count:
            points.append((fractions.Fraction(hits, count), fractions.Fraction(hits, seen)))
    if not count:
        return None, None, told

    def highest(recall):
        return max((precision for at, precision in points if at >= recall), default=fractions.Fraction(0))

    area = sum(highest(fractions.Fraction(n, count)) for n in range(1, count + 1)) / count
    return area, sum(highest(fractions.Fraction(n, 10)) for n in range(11)) / 11, told


@pytest.mark.parametrize(('overlap', 'pixel'), [(0.5, 0.0), (0.5, 1.0), (0.7, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize('seed', range(3))
def test_it_is_what_plain_loops_give(seed, overlap, pixel):
    truths, detections = made(seed)
    told = [evaluated(truths, detections, 5, overlap, way, pixel) for way in evaluation.WAYS]
    every = [slowly(truths, detections, label, overlap, pixel) for label in range(5)]
    assert [one is None for one, _, _ in every] == [False, False, False, True, True]
    for place, one in enumerate(told):
        expected = [float(found[place]) for found in every[:3]]
        np.testing.assert_allclose(one.average_precision, [*expected, np.nan, np.nan], atol=1e-12)
        assert one.mean == pytest.approx(sum(expected) / 3)
    states = {(i, n): state for i, of in enumerate(told[0].states) for n, state in enumerate(of.tolist())}
    assert states == {key: state for *_, found in every for key, state in found.items()}
    counts = [sum(state == kind for state in states.values()) for kind in (FALSE, RIGHT, IGNORED)]
    assert min(counts) > 3  # every kind is there


def test_eleven_points_count_recall_in_whole_numbers():
    """3 of 10 objects are a recall of 0.3, which 3 x 0.1 as a float is not."""
    near = [(20 * n, 0, 20 * n + 10, 10) for n in range(10)]
    for hits in range(11):
        told = evaluated([truth(*((box, 0) for box in near))], [found(*((box, 0, 1.0) for box in near[:hits]))], 1, way='eleven')
        assert told.mean == pytest.approx((hits + 1) / 11 if hits else 0)


@pytest.mark.parametrize('seed', range(2))
def test_it_is_what_coco_gives_where_their_rules_agree(seed, capsys):
    """COCO lets a detection take another object where the best is taken, and a difficult one be met once: neither happens here."""
    pytest.importorskip('pycocotools', reason='pycocotools is not installed: pip install pycocotools')
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    random = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(12):
        cells = random.permutation(9)[: random.integers(1, 9)]
        of = np.stack([cells // 3 * 100, cells % 3 * 100], axis=1)
        of = np.concatenate([of, of + random.integers(40, 60, of.shape)], axis=1).astype(float)
        truths.append(Truth(of, random.integers(0, 3, len(of)), random.random(len(of)) < 0.2))
        hits = np.repeat(np.arange(len(of)), np.where(truths[-1].difficult, 1, random.integers(0, 3, len(of))))
        boxes = of[hits] + random.normal(0, 6, (len(hits), 4))
        detections.append(Detections(boxes, truths[-1].labels[hits], random.permutation(len(hits)) + random.random(len(hits))))

    def across(box):
        return [box[1], box[0], box[3] - box[1], box[2] - box[0]]

    data = COCO()
    objects = [(i, box, label, hard) for i, one in enumerate(truths) for box, label, hard in zip(*one[:3], strict=True)]
    data.dataset = {
        'info': {},
        'images': [{'id': i} for i in range(len(truths))],
        'categories': [{'id': label} for label in range(3)],
        # An object whose area is not within the limits is ignored.
        'annotations': [
            {'id': n, 'image_id': i, 'category_id': int(label), 'bbox': across(box), 'area': 1e9 if hard else 1.0, 'iscrowd': 0}
            for n, (i, box, label, hard) in enumerate(objects, 1)
        ],
    }
    data.createIndex()
    results = data.loadRes(
        [
            {'image_id': i, 'category_id': int(label), 'bbox': across(box), 'score': float(score)}
            for i, one in enumerate(detections)
            for box, label, score in zip(*one, strict=True)
        ]
    )
    tool = COCOeval(data, results, 'bbox')
    tool.params.iouThrs, tool.params.areaRng, tool.params.areaRngLbl, tool.params.maxDets = [0.5], [[0, 1e8]], ['all'], [1000]
    told = {way: evaluated(truths, detections, 3, way=way) for way in evaluation.WAYS}
    for label, count in enumerate(told['area'].objects.tolist()):
        # The area is the mean precision at 1 / n, 2 / n, ..., 1.
        for way, recalls in (('area', np.arange(1, count + 1) / count), ('eleven', np.arange(11) / 10)):
            tool.params.recThrs, tool.params.catIds = recalls, [label]
            tool.evaluate(), tool.accumulate()
            assert told[way].average_precision[label] == pytest.approx(tool.eval['precision'].mean(), abs=1e-9)
    assert 0.3 < told['area'].mean < 0.99
    capsys.readouterr()


# ---- what is detected, and what is kept


def test_what_is_detected_is_what_suppression_leaves_strongest_first():
    boxes = np.array([HERE, BETWEEN, THERE, (5, 5, 5, 9)], float)
    scores = np.array([(1.0, 3.0), (2.0, 0.5), (1.5, 0.0), (9.0, 9.0)])
    one = evaluation.detected(boxes, scores, 0.0)
    assert one.labels.tolist() == [1, 0, 0] and one.scores.tolist() == [3, 2, 1.5]
    np.testing.assert_array_equal(one.boxes, [HERE, BETWEEN, THERE])
    assert evaluation.detected(boxes, scores, 0.0, threshold=0.7).scores.tolist() == [3, 2, 1.5, 1, 0.5]
    assert evaluation.detected(boxes, scores, 0.0, most=1).scores.tolist() == [3, 2]
    own = np.stack([boxes, boxes + 1], axis=1)
    np.testing.assert_array_equal(evaluation.detected(own, scores, 0.0).boxes, [np.add(HERE, 1), BETWEEN, THERE])
    for some in (evaluation.detected(boxes, scores, 9.0), evaluation.detected(boxes[:0], scores[:0], 0.0)):
        assert [part.shape for part in some] == [(0, 4), (0,), (0,)]
        assert math.isnan(evaluated([truth()], [some], 2).mean)


def test_what_is_told_is_json_from_which_the_numbers_come_again():
    truths, detections = made(0)
    one = evaluated(truths, detections, 5)
    told = json.loads(json.dumps(evaluation.told(one), allow_nan=False))
    assert told['area'][:3] == one.average_precision[:3].tolist() and told['area'][3:] == [None, None] and told['images'] == 25
    assert told['eleven'][0] == evaluated(truths, detections, 5, way='eleven').average_precision[0]
    for label in range(3):
        points = told['curves'][label]
        area = sum(max(p for r, p, _ in points if r >= n / told['objects'][label]) for n in range(1, told['right'][label] + 1))
        assert area / told['objects'][label] == pytest.approx(told['area'][label])
        assert points[-1][0] == one.curves[label].recall[-1] and points[-1][1] == one.curves[label].precision[-1]
    assert not told['curves'][3] and told['detections'][3] > 0


def test_what_a_figure_draws_is_what_is_more_often_right_than_not():
    truths = [truth((HERE, 0), (BETWEEN, 0, True), (THERE, 1), name='one'), truth((HERE, 1))]
    detections = [
        found((HERE, 0, 5.0), ((0, 3, 10, 13), 0, 4.0), (THERE, 0, 3.0), (THERE, 1, 1.0)),
        found((HERE, 0, 2.0), (THERE, 1, 2.0), (HERE, 1, 0.5)),
    ]
    one = evaluated(truths, detections, 3)
    lowest = evaluation.confident(one)
    # Precision falls to a half at 3.0 and to a third at 2.0; of the second class it begins at 0 and reaches two thirds with the last.
    assert lowest.tolist() == [5.0, 0.5, math.inf]
    drawn = json.loads(json.dumps(evaluation.scene(one, truths, detections, 0, lowest)))
    assert drawn['name'] == 'one' and [one['found'] for one in drawn['objects']] == [True, False, True]
    assert [(one['score'], one['state']) for one in drawn['detections']] == [(5, 'right'), (1, 'right')]
    every = evaluation.scene(one, truths, detections, 0, [-math.inf] * 3)
    assert [one['state'] for one in every['detections']] == ['right', 'ignored', 'false', 'right']
    assert [one['found'] for one in every['objects']] == [True, True, True]


# ---- refusals


@pytest.mark.parametrize(
    ('truths', 'detections', 'words'),
    [
        ([], [], 'no images'),
        ([truth(((0, 0, 0, 5), 0), name='kitchen')], [found()], 'image 0 (kitchen): object 0 has no area'),
        ([truth(), truth((HERE, 0), (HERE, 2))], [found()] * 2, 'image 1: object 1 has a label that is none of the 2 classes'),
        ([truth((HERE, -1))], [found()], 'none of the 2 classes'),
        ([truth()], [found((HERE, 2, 1.0))], 'image 0: detection 0 has a label that is none of the 2 classes, which count from 0: 2.'),
        ([truth()], [found((HERE, 0, 1.0), (HERE, 0, math.nan))], 'image 0: detection 1 has a score that is not finite: nan.'),
        ([truth()], [found(((0, 0, math.nan, 5), 0, 1.0))], 'image 0: detection 0 has a number that is not finite'),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(truths, detections, words):
    with pytest.raises(SourceError) as refusal:
        evaluated(truths, detections, 2)
    assert words in str(refusal.value) and '\n' not in str(refusal.value)


def test_mistakes_of_a_program_are_refused():
    some = [truth((HERE, 0))], [found((HERE, 0, 1.0))]
    with pytest.raises(ConfigError, match='eleven'):
        evaluated(*some, 1, way='elven')
    for overlap in (1.0, 50, -0.1, math.nan):
        with pytest.raises(ConfigError, match='overlap'):
            evaluated(*some, 1, overlap)
    for bad in (
        found((HERE, 0, 1.0))._replace(labels=np.zeros(2, int)),
        found((HERE, 0, 1.0))._replace(scores=np.zeros((1, 1))),
        found((HERE, 0, 1.0))._replace(labels=np.zeros(1)),
        found((HERE, 0, 1.0))._replace(boxes=np.array(HERE, float)),
    ):
        with pytest.raises(ValueError):
            evaluated(some[0], [bad], 1)
    with pytest.raises(ValueError, match='2 images have truths, 1 have detections'):
        evaluated(some[0] * 2, some[1], 1)
