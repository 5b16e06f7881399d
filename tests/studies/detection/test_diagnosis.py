"""Kinds of false detections by hand, and against plain loops."""

import json
import math

import numpy as np
import pytest
from small_scenes import HERE, THERE, found, made, overlap_of, truth

from cnn_research.errors import ConfigError
from cnn_research.studies.detection import diagnosis
from cnn_research.studies.detection.evaluation import IGNORED, RIGHT, evaluated

CHAIR, SOFA, DOG = 0, 1, 2


@pytest.mark.parametrize(
    ('detections', 'kinds'),
    [
        ([(HERE, CHAIR, 1.0)], ['right']),
        ([(HERE, CHAIR, 2.0), (HERE, CHAIR, 1.0)], ['right', 'localisation']),
        ([((0, 0, 10, 5), CHAIR, 1.0)], ['localisation']),  # half of it, so not right
        ([((0, 0, 10, 1), CHAIR, 1.0)], ['localisation']),  # a tenth
        ([((0, 0, 10, 0.99), CHAIR, 1.0)], ['background']),
        ([(THERE, CHAIR, 1.0)], ['similar']),
        ([(HERE, DOG, 1.0)], ['other']),
        ([((80, 80, 90, 90), DOG, 1.0)], ['background']),
        # The first kind that fits: near a chair and much nearer to a sofa.
        ([((0, 8, 10, 20), CHAIR, 1.0)], ['localisation']),
        ([((80, 0, 90, 12), DOG, 1.0)], [None]),  # meets a difficult dog
        ([((80, 0, 90, 4), DOG, 1.0)], ['localisation']),  # a difficult object is an object
        ([((80, 0, 90, 12), SOFA, 1.0)], ['other']),
    ],
)
def test_every_kind_by_hand(detections, kinds):
    objects = truth((HERE, CHAIR), (THERE, SOFA), ((0, 9.5, 10, 20), SOFA), ((80, 0, 90, 12), DOG, True), ((200, 0, 210, 9), DOG))
    some = [objects], [found(*detections)]
    one = diagnosis.diagnosed(evaluated(*some, 3), *some, groups=[(CHAIR, SOFA)])
    assert [diagnosis.KINDS[kind] if kind >= 0 else None for kind in one.kinds[0]] == kinds
    alone = diagnosis.diagnosed(evaluated(*some, 3), *some)
    assert [diagnosis.KINDS[kind] for kind in alone.kinds[0] if kind >= 0] == [
        'other' if kind == 'similar' else kind for kind in kinds if kind
    ]


@pytest.mark.parametrize('pixel', [0.0, 1.0])
def test_kinds_are_those_of_plain_loops(pixel):
    truths, detections = made(5)
    groups, of = [(0, 2)], {0: 'a', 2: 'a'}
    told = evaluated(truths, detections, 5, pixel=pixel)
    one = diagnosis.diagnosed(told, truths, detections, groups)
    every = {}
    for i, (real, some) in enumerate(zip(truths, detections, strict=True)):
        for n, label in enumerate(some.labels):
            near = {int(its) for box, its in zip(real.boxes, real.labels, strict=True) if overlap_of(some.boxes[n], box, pixel) >= 0.1}
            similar = any(of.get(label, label) == of.get(its, its) for its in near)
            kind = 'localisation' if label in near else 'similar' if similar else 'other' if near else 'background'
            every[i, n] = {RIGHT: 'right', IGNORED: None}.get(told.states[i][n], kind)
    found_kinds = {
        (i, n): diagnosis.KINDS[kind] if kind >= 0 else None for i, of in enumerate(one.kinds) for n, kind in enumerate(of.tolist())
    }
    assert found_kinds == every and set(every.values()) == {*diagnosis.KINDS, None}
    for label, objects in enumerate(told.objects):
        some = [(-detections[i].scores[n], i, n) for i, n in every if detections[i].labels[n] == label and every[i, n]]
        order = [every[i, n] for _, i, n in sorted(some)]
        for place, multiple in enumerate(diagnosis.MULTIPLES):
            first = order[: math.ceil(multiple * objects)]
            assert one.counts[place, label].tolist() == [first.count(kind) for kind in diagnosis.KINDS]
    kept = json.loads(json.dumps(diagnosis.told(one)))
    assert kept['counts'] == one.counts.tolist() and kept['similar'] and np.shape(kept['counts']) == (7, 5, 5)


def test_groups_are_of_classes_that_are_there():
    names = ('chair', 'sofa', 'dog')
    assert diagnosis.checked_groups([('sofa', 'chair'), ('dog',)], names) == [[1, 0], [2]]
    with pytest.raises(ConfigError, match='Did you mean sofa'):
        diagnosis.checked_groups([('sofas', 'chair')], names)
    with pytest.raises(ConfigError, match='chair'):
        diagnosis.checked_groups([('sofa', 'chair'), ('chair', 'dog')], names)
