"""Claims: sentences of a paper, written down before the run, held against a table's numbers by seed.

Rows are compared within seeds, and Student's 95 % interval of the mean over seeds decides.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from cnn_research.reporting.tables import Column, Table

REPRODUCED, CONTRADICTED, UNDECIDED, NO_VERDICT = 'reproduced', 'contradicted', 'undecided', 'no verdict'
LEAST_SEEDS = 3  # fewer give a difference and no verdict


class Claim(NamedTuple):
    """A sentence that a table can support or contradict.

    contrasts: each {row: coefficient}; the weighted sum of the rows' values within a seed is a difference. margin None: every difference is
    claimed to be above 0; a number: every one to lie within +-margin. quantity: what the values are, for the reader. directed False: the
    difference is reported and nothing claimed of its sign. note: what a reader must know of the claim itself ('sources disagree').
    """

    sentence: str
    source: str
    contrasts: tuple[Mapping[str, float], ...]
    margin: float | None = None
    quantity: str = 'error'
    directed: bool = True
    note: str = ''


class Difference(NamedTuple):
    """One contrast over its seeds: mean and Student's 95 % interval, NaN where there is none."""

    contrast: str
    mean: float
    low: float
    high: float
    seeds: int


class Judged(NamedTuple):
    """A claim with its verdict, the reason where there is none, and the difference of each contrast."""

    claim: Claim
    verdict: str
    reason: str
    differences: tuple[Difference, ...]


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high): Student's 95 % interval of the mean; low and high are NaN for fewer than two values."""
    values = np.asarray(differences, float)
    if not len(values):
        return math.nan, math.nan, math.nan
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def _difference(contrast: Mapping[str, float], values: Mapping[str, Mapping[int, float]]) -> Difference:
    seeds = sorted(set.intersection(*(set(values[row]) for row in contrast)))
    found = [sum(weight * values[row][seed] for row, weight in contrast.items()) for seed in seeds]
    return Difference(_text(contrast), *interval(found), len(seeds))


def _text(contrast: Mapping[str, float]) -> str:
    """'A - B', 'A - 1.5 x B + C'."""
    text = ''
    for row, weight in contrast.items():
        sign = ' - ' if weight < 0 else ' + '
        text += (sign if text else sign.strip().replace('+', '')) + (f'{abs(weight):g} x ' if abs(weight) != 1 else '') + row
    return text


def _verdict(claim: Claim, difference: Difference) -> str:
    _, mean, low, high, _ = difference
    if math.isnan(low):
        return NO_VERDICT
    if claim.margin is None:
        return REPRODUCED if low > 0 else CONTRADICTED if high < 0 else UNDECIDED
    if -claim.margin <= low and high <= claim.margin:
        return REPRODUCED
    return CONTRADICTED if high < -claim.margin or low > claim.margin else UNDECIDED


def judge(
    claim: Claim,
    values: Mapping[str, Mapping[int, float]],
    problems: Mapping[str, str] | None = None,
    demonstration: bool = False,
) -> Judged:
    """The claim held against values[row][seed].

    A direction is reproduced when the interval lies above 0, contradicted when below, else undecided; a margin is reproduced when the
    interval lies inside +-margin, contradicted when wholly outside, else undecided; of several contrasts the worst is the verdict. There is
    none for fewer than three seeds, for rows with a problem ({row: what failed or was cut short}) and for a demonstration. ValueError for
    a claim about rows that the values do not have.
    """
    rows = list(dict.fromkeys(row for contrast in claim.contrasts for row in contrast))
    unknown = [row for row in rows if row not in values]
    if unknown:
        raise ValueError(f'the claim {claim.sentence!r} names the row {unknown[0]!r}; the table has {", ".join(values)}')
    differences = tuple(_difference(contrast, values) for contrast in claim.contrasts)
    few = min(difference.seeds for difference in differences)
    troubled = next((f'{row}: {problems[row]}' for row in rows if problems and problems.get(row)), '')
    if demonstration:
        return Judged(claim, NO_VERDICT, 'a demonstration', differences)
    if troubled:
        return Judged(claim, NO_VERDICT, troubled, differences)
    if few < LEAST_SEEDS:
        return Judged(claim, NO_VERDICT, f'{few} seed{"s" * (few != 1)}', differences)
    if not claim.directed:
        return Judged(claim, NO_VERDICT, 'reported without direction', differences)
    verdicts = [_verdict(claim, difference) for difference in differences]
    worst = next(word for word in (CONTRADICTED, UNDECIDED, REPRODUCED) if word in verdicts)
    return Judged(claim, worst, '', differences)


def table(judged: Sequence[Judged], digits: int = 2) -> Table:
    """One row for each claim and contrast: sentence, source, difference with its interval, verdict."""
    rows = []
    for one in judged:
        verdict = f'{one.verdict} ({one.reason})' if one.reason else one.verdict
        for number, difference in enumerate(one.differences):
            between = f' [{difference.low:+.{digits}f}, {difference.high:+.{digits}f}]' if difference.seeds >= LEAST_SEEDS else ''
            first = number == 0
            rows.append(
                {
                    'claim': one.claim.sentence + (f' ({one.claim.note})' if one.claim.note else '') if first else '',
                    'verdict': verdict if first else '',
                    'contrast': difference.contrast,
                    'difference': None if math.isnan(difference.mean) else f'{difference.mean:+.{digits}f}{between}',
                    'claimed': '' if not one.claim.directed else '> 0' if one.claim.margin is None else f'within ±{one.claim.margin:g}',
                    'seeds': difference.seeds,
                    'source': one.claim.source if first else '',
                }
            )
    columns = ('claim', 'verdict', 'contrast', 'difference', 'claimed', 'seeds', 'source')
    named = {'difference': "difference [Student's 95 %]"}
    return Table([Column(key, named.get(key)) for key in columns], rows, 'Each claim was written down before the run.')
