"""What false detections are, after Hoiem et al. 2012 ("Diagnosing error in object detectors"), as in R-CNN's Fig. 5.

Each false detection has one kind, the first that fits; difficult objects are objects here:
- localisation: it overlaps an object of its class by at least 0.1: too little to be right, or a duplicate;
- similar: an object of a similar class by at least 0.1;
- other: an object of any other class by at least 0.1;
- background: the rest.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_research.errors import ConfigError, nearest, shown
from cnn_research.studies.detection.evaluation import FALSE, RIGHT, Detections, Evaluation, joined, pairs

KINDS = ('right', 'localisation', 'similar', 'other', 'background')
NEAR = 0.1
MULTIPLES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # of a class's objects: as many of its detections are looked at


class Diagnosis(NamedTuple):
    """kinds: per image int8 (n,), the place in KINDS of each detection, -1 for one that is ignored; counts int (len(MULTIPLES), K, 5): how
    many of each kind there are among the strongest detections of a class, as many as it has objects, times the multiple; all of them where
    there are fewer, none for a class without objects; similar: whether any classes are."""

    kinds: list[np.ndarray]
    counts: np.ndarray
    similar: bool


def checked_groups(groups: Sequence[Collection[str]], class_names: Sequence[str]) -> list[list[int]]:
    """Groups of similar classes by their numbers. ConfigError for a class that is not there, or is in two groups."""
    seen: set[str] = set()
    for name in (name for group in groups for name in group):
        if name not in class_names:
            raise ConfigError(f'No class is called {shown(name)}; there are {", ".join(class_names)}.{nearest(name, class_names)}')
        if name in seen:
            raise ConfigError(f'The class {name} is similar to those of one group, and stands in two.')
        seen.add(name)
    return [[class_names.index(name) for name in group] for group in groups]


def diagnosed(
    evaluation: Evaluation, truths: Sequence, detections: Sequence[Detections], groups: Sequence[Collection[int]] = ()
) -> Diagnosis:
    """Of what was evaluated. groups: classes by their numbers, those of a group similar to each other, none in two."""
    num_classes = len(evaluation.objects)
    real, found = (joined(each, num_classes, evaluation.pixel) for each in (truths, detections))
    group = np.arange(num_classes) + len(groups)
    for number, of in enumerate(groups):
        group[list(of)] = number
    kinds = np.full(len(found.labels), len(KINDS) - 1, np.int8)
    for one, other, overlap in pairs(found, real, num_classes, evaluation.pixel, of_class=False):
        mine, its = found.labels[one], real.labels[other]
        kind = np.where(mine == its, 1, np.where(group[mine] == group[its], 2, 3))
        near = overlap >= NEAR
        kinds[one[near]] = np.minimum(kinds[one[near]], kind[near])
    states = np.concatenate(evaluation.states)
    kinds[states == RIGHT], kinds[~np.isin(states, (FALSE, RIGHT))] = 0, -1
    counts = np.zeros((len(MULTIPLES), num_classes, len(KINDS)), int)
    for label, (curve, objects) in enumerate(zip(evaluation.curves, evaluation.objects, strict=True)):
        strongest = kinds[found.starts[curve.image] + curve.place]
        for place, multiple in enumerate(MULTIPLES):
            counts[place, label] = np.bincount(strongest[: int(np.ceil(multiple * objects))], minlength=len(KINDS))
    return Diagnosis(np.split(kinds, found.starts[1:-1]), counts, bool(groups))


def told(diagnosis: Diagnosis) -> dict[str, Any]:
    """What a report needs, as JSON has it."""
    return {
        'kinds': list(KINDS),
        'multiples': list(MULTIPLES),
        'counts': diagnosis.counts.tolist(),
        'similar': diagnosis.similar,
    }


def groups(text: str, class_names: Sequence[str]) -> list[list[int]]:
    """Numbers of similar classes, of names such as 'cat+dog,chair+sofa'; ConfigError for a name that is none, or is in two groups."""
    named = [[name.strip() for name in group.split('+') if name.strip()] for group in text.split(',') if group.strip()]
    if lone := [group[0] for group in named if len(group) < 2]:
        raise ConfigError(f'detection.similar={text!r} has {lone[0]!r} alone; name groups, such as cat+dog,chair+sofa.')
    return checked_groups(named, class_names)
