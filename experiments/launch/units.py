"""Which units of a network are drawn, and what is said of them: for the commands that show what units see.

`looked` is what looking.opened gives; `top` is of its source.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research import config as configs
from cnn_research.architecture import Architecture
from cnn_research.classes import meaning
from cnn_research.data.sources import subset
from cnn_research.errors import ConfigError, nearest
from cnn_research.fields import Field
from cnn_research.reporting.tables import Column, Table
from cnn_research.studies.looking import activations, choosing
from cnn_research.studies.looking.figures.units import Unit
from experiments.launch import command

FIELD = Field(
    'look.units',
    'selective',
    "which units are drawn: a rule, 'selective' (of every class in turn the one whose strongest images are most often of it), 'strongest' "
    "(the largest means of their strongest activations) or 'spread' (evenly spaced by number), or a list: 'layer3: 4,17; layer5: 0'",
)
_NAMED = 'as named', 'those that look.units names'
_METHOD = (
    'Every image counts once for each unit, where its map is strongest. Projections are by deconvnet (Zeiler & Fergus 2013, section 2.1): '
    'the activation alone comes down, max pooling by its switches (of equal values the first; overlapping signals are added), signals '
    'rectified, kernels transposed, response normalization passed through.'
)


class Chosen(NamedTuple):
    """numbers (n,) of the units that are drawn; units: what stands above their pictures; words: what a caption says of them."""

    numbers: np.ndarray
    units: list[Unit]
    words: str


def wanted(given: command.Command, architecture: Architecture, taps: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """{tap: units} of a list, {tap: ()} of a rule; ConfigError for what is neither, and for layers or units that are not there.

    A layer in the list is one of `taps`, or the only one of them in that layer; taps that it does not name are left out.
    """
    text = given.options.look.units
    if text in choosing.RULES:
        return dict.fromkeys(taps, ())
    if ':' not in text:
        offer = f"choose from {', '.join(choosing.RULES)}, or write a list such as 'layer3: 4,17; layer5: 0'"
        raise ConfigError(f'look.units={text!r} is no rule; {offer}.{nearest(text, choosing.RULES)}')
    found: dict[str, tuple[int, ...]] = {}
    for part in filter(None, (one.strip() for one in text.split(';'))):
        name, _, numbers = (word.strip() for word in part.partition(':'))
        inside = [name] if name in taps else [tap for tap in taps if tap.partition('.')[0] == name]
        if len(inside) != 1:
            raise ConfigError(f'look.units={text!r} names {name!r}; the taps are {", ".join(taps)}.{nearest(name, taps)}')
        (tap,) = inside
        if tap in found:
            raise ConfigError(f'look.units={text!r} names {tap} twice; write its units in one list.')
        found[tap], size = configs.numbers(numbers, f'look.units={text!r}: {name}', low=0), architecture.row(tap).output[-1]
        if found[tap][-1] >= size:
            raise ConfigError(f'look.units={text!r}, but {tap} of {architecture.name} has the units 0 to {size - 1}.')
    return {tap: found[tap] for tap in taps if tap in found}


def labels(looked, top: activations.Top) -> np.ndarray:
    """The classes (units, k) of the strongest images, as their source counts them, -1 where there is none."""
    images, places = np.unique(top.examples, return_inverse=True)
    known = images >= 0
    classes = np.full(len(images), -1)
    classes[known] = subset(looked.source, images[known]).labels()
    return classes[places].reshape(top.examples.shape)


def chosen(given: command.Command, looked, tap: str, named: Sequence[int], top: activations.Top, count: int) -> Chosen:
    """The units of a tap that are `named` or, of none, `count` by the rule of look.units."""
    rule, classes = given.options.look.units, labels(looked, top)
    numbers = np.array(named) if named else choosing.units(rule, count, top.values, classes)
    shown = [Unit(f'unit {unit}', said(looked.source.class_names, top.values, classes, unit)) for unit in numbers]
    short, _ = _NAMED if named else choosing.RULES[rule]
    return Chosen(numbers, shown, f'{tap}: {len(numbers)} of {len(classes)} units, {short}')


def method(given: command.Command) -> str:
    """What a page says once of all its plates."""
    _, rule = choosing.RULES.get(given.options.look.units, _NAMED)
    return f'Units: {rule}. {_METHOD}'


def said(names: Sequence[str], values: np.ndarray, labels: np.ndarray, unit: int) -> str:
    """'7 of 9: golf ball; church, tench': the classes of a unit's strongest images, of values and labels (units, k), commonest first."""
    classes = labels[unit][choosing.exciting(values)[unit]]
    if not len(classes):
        return 'nothing excites it'
    (first, most), *rest = collections.Counter(map(int, classes)).most_common()  # of equals the one of the strongest image
    others = ', '.join(f'{meaning(names[label])}{f" {many}" if many > 1 else ""}' for label, many in rest)
    return f'{most} of {len(classes)}: {meaning(names[first])}' + (f'; {others}' if others else '')


def selectivity(looked, found: Mapping[str, activations.Top]) -> tuple[Table, str]:
    """(table, in words): of all units of each tap how many are silent, and how many of their strongest images are of one class."""
    own, rows = looked.source.labels(), []
    for tap, top in found.items():
        most = choosing.commonest(top.values, labels(looked, top))[1]
        drawn = np.random.default_rng(0).choice(own, (1000, top.values.shape[1]))
        chance = choosing.commonest(np.ones(drawn.shape), drawn)[1]
        mean = float(most[most > 0].mean()) if most.any() else None
        rows.append({'tap': tap, 'units': len(most), 'silent': int((most == 0).sum()), 'same': mean, 'chance': float(chance.mean())})
    count = next(iter(found.values())).values.shape[1]
    columns = [Column('tap'), Column('units', format='d'), Column('silent', 'that nothing excites', 'd')]
    columns += [Column('same', f'of their {count} images, of the commonest class', '.1f')]
    columns += [Column('chance', f'of {count} images at random', '.1f')]
    told = ', '.join(f'{row["same"]:.1f} at {row["tap"]}' for row in rows if row['same'] is not None)
    words = f'Of the {count} images that excite a unit most so many are of one class: {told or "none"} (at random {rows[0]["chance"]:.1f}).'
    return Table(columns, rows, 'Means over all units that anything excites, drawn or not.'), words
