"""A claim is a sentence of a paper, written down before the run as differences between rows, which several seeds decide.

Rows are compared within seeds, so that what a seed does to all rows alike cancels. A difference is judged by Student's 95 % interval
of its mean over seeds; a claim of several differences (a partial order) holds where all of them do, and the worst of them is its
verdict. Verdicts are not corrected for the number of differences: each further one makes 'reproduced' harder and 'contradicted' easier.
Beside them stands p of every difference, and what Holm's correction over the differences of its claim leaves of it.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.reporting.paired import OnImages, over_images
from cnn_research.reporting.tables import Cell, Column, Interval, Table

FEWEST_SEEDS = 3
_CORNERS = 12  # values that are known within bounds, of which all choices of ends are tried
# Where classes are fewer, a top-5 error says little.
FEWEST_CLASSES = 20
_LEVEL = 0.05
_P = (
    'Verdicts come from the intervals over {unit}s{overlap}. p is two-sided, of a t test over the same {unit}s (of a margin: twice the '
    "larger p of both one-sided tests against its ends); Holm's correction is over the differences of one claim."
)
_OVERLAP = ', which share examples, so that the intervals are those of Nadeau & Bengio 2003'

# From the worst to the best, as far as a verdict was reached.
_ORDER = ('contradicted', 'undecided', 'reproduced')
VERDICTS = (*_ORDER, 'no verdict', 'no direction claimed')


class Claim(NamedTuple):
    """A sentence and the differences that decide it.

    `sentence` as a reader of the paper would say it; `source`: paper, section or table. `contrasts`: each {row label: coefficient};
    the weighted sum of the rows' values of one seed is that seed's difference. `margin` None claims a direction: every difference
    is above 0; a number claims that every difference lies within ± margin. `quantity` names the column that is compared; `instead`:
    which quantity the source speaks of, and why another stands in, '' where none does. `top`: of an error, among how many of the first
    classes the true one has to be; 0 for what is not judged image by image.
    Where `directed` is False the differences are reported and nothing is claimed of them. `note`: 'sources disagree', say.
    `unit`: of what there is one number each, 'seed' or, say, 'seed pair'.
    `key`: of the catalogue's entry that the sentence is, by which a ledger finds it ('' : by the sentence itself).
    """

    sentence: str
    source: str
    contrasts: tuple[Mapping[str, float], ...]
    margin: float | None = None
    quantity: str = 'error'
    directed: bool = True
    note: str = ''
    instead: str = ''
    top: int = 0
    key: str = ''
    unit: str = 'seed'


class Within(NamedTuple):
    """A value of which no more is known than that it lies between two."""

    low: float
    high: float


class Difference(NamedTuple):
    """One contrast over its seeds: 'without 6,7 - base', the mean, the 95 % interval (NaN where seeds are too few), their number.

    Where values are known within bounds only, the interval reaches over all that they can be, and there is no mean. `p`: see `_p`;
    `holm`: p corrected for the claim's differences; NaN without an interval. `images`: the interval over test images, as `over_images`
    has it. `flat`: whether all seeds have the same difference, so that nothing is known of its spread.
    """

    text: str
    mean: float
    low: float
    high: float
    n: int
    p: float = math.nan
    holm: float = math.nan
    images: Interval | Cell | None = None
    flat: bool = False


class Judged(NamedTuple):
    """`verdict` is one of VERDICTS, `reason` a readable line that says what it rests on; one Difference for each contrast; overlap: as of
    `judge`, 0 for seeds."""

    claim: Claim
    verdict: str
    reason: str
    differences: list[Difference]
    unit: str = 'seed'
    overlap: float = 0.0


def difference(row: str, base: str) -> dict[str, float]:
    """The contrast row - base: positive where `row` has the larger value."""
    if row == base:
        raise ValueError(f'a row is not compared with itself: {row!r}')
    return {row: 1, base: -1}


def below(lower: str, *higher: str) -> tuple[dict[str, float], ...]:
    """The contrasts that are positive where `lower` has a smaller value than each of `higher`."""
    return tuple(difference(row, lower) for row in higher)


def rising(*rows: str) -> tuple[dict[str, float], ...]:
    """The contrasts that are positive where each row has a larger value than the one before it."""
    return tuple(difference(after, before) for before, after in zip(rows, rows[1:], strict=False))


def superadditive(whole: str, parts: Sequence[str], base: str) -> tuple[dict[str, float], ...]:
    """The contrast that is positive where `whole` differs from `base` by more than all `parts` together do."""
    if len({whole, *parts, base}) < len(parts) + 2:
        raise ValueError(f'rows of a sum are different rows: {whole!r}, {parts!r}, {base!r}')
    return ({whole: 1, **dict.fromkeys(parts, -1), base: len(parts) - 1},)


def on_errors(claim: Claim, classes: int | None) -> Claim:
    """A claim whose source speaks of top-5 errors, on the error that there is with so many classes (None: not known yet)."""
    if classes is None or classes >= FEWEST_CLASSES:
        return claim._replace(quantity='top-5 error', top=5)
    return claim._replace(quantity='top-1 error', top=1, instead=f'the source: top-5; top-1 here, for there are only {classes} classes')


def interval(differences: Iterable[float], overlap: float = 0.0) -> Interval:
    """(mean, low, high): the mean over seeds and Student's 95 % interval of it, ready to stand in a table.

    Fewer than three seeds have a mean and no interval (NaN), none has neither, nor have seeds of which one is not finite; equal
    differences give an interval of no width. overlap: as of `judge`.
    """
    values = np.asarray(list(differences), np.float64)
    if not values.size or not np.isfinite(values).all():
        return Interval(math.nan, math.nan, math.nan)
    # NumPy's mean of equal numbers may miss them by a rounding.
    mean = float(values[0] if (values == values[0]).all() else values.mean())
    if values.size < FEWEST_SEEDS:
        return Interval(mean, math.nan, math.nan)
    from scipy import stats  # half a second, which only a table with seeds waits for

    half = float(stats.t.ppf(0.975, values.size - 1) * (values - mean).std(ddof=1) * math.sqrt(1 / values.size + overlap))
    return Interval(mean, mean - half, mean + half)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: sorted p values times how many are left, never falling, at most 1. NaN counts as a test and stays."""
    corrected, largest = [math.nan] * len(p), 0.0
    for place, index in enumerate(sorted((i for i, one in enumerate(p) if not math.isnan(one)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        corrected[index] = largest
    return corrected


def judge(
    claim: Claim,
    values: Mapping[str, Mapping[int, float | Within]],
    problems: Mapping[str, str] | None = None,
    demonstration: bool = False,
    tested: Mapping[str, Mapping[int, OnImages | None]] | None = None,
    overlap: float | None = None,
) -> Judged:
    """What the seeds say of a claim.

    `values[row][seed]` holds the claim's quantity; a contrast uses the seeds that all its rows have. `problems[row]` says why a row
    cannot decide anything ('failed: ...', 'reduced'); a claim that needs such a row, fewer than three seeds, a value that is not
    finite, a difference that is equal in all seeds, or a `demonstration` (data chosen so that the effect shows) gets no verdict, only its
    differences. `tested`: what the rows say of every test image, for a claim about errors.
    `overlap`: where the `seeds` are random splits of one set, the test examples for each training example. Such splits share examples, so
    the variance of their mean is taken as 1 / n + overlap of the differences' variance, not 1 / n (Nadeau & Bengio 2003, section 3).
    ValueError for a claim of an unknown row or of nothing: both are mistakes of the program.
    """
    problems = problems or {}
    _check(claim, {*values, *problems})
    unit, overlap = (claim.unit, 0.0) if overlap is None else ('split', overlap)
    differences = [_difference(contrast, values, claim, overlap) for contrast in claim.contrasts]
    corrected = holm([measured.p for measured in differences])
    differences = [measured._replace(holm=p) for measured, p in zip(differences, corrected, strict=True)]
    if tested and claim.top:
        shown = [over_images(contrast, tested, claim.top) for contrast in claim.contrasts]
        differences = [measured._replace(images=one) for measured, one in zip(differences, shown, strict=True)]
    obstacle = _obstacle(claim, values, problems, differences, demonstration, unit)
    if not claim.directed:
        return Judged(claim, 'no direction claimed', obstacle or _seeds(differences, unit), differences, unit, overlap)
    if obstacle:
        return Judged(claim, 'no verdict', obstacle, differences, unit, overlap)
    verdicts = [_verdict(measured, claim.margin) for measured in differences]
    verdict = min(verdicts, key=_ORDER.index)
    reason = _seeds(differences, unit)
    if len(verdicts) > 1 and verdict != 'reproduced':
        reason += f'; {verdict}: ' + ', '.join(measured.text for measured, one in zip(differences, verdicts, strict=True) if one == verdict)
    weak = [one.text for one, said in zip(differences, verdicts, strict=True) if said != 'undecided' and one.p < _LEVEL <= one.holm]
    if any(math.isnan(measured.mean) for measured in differences):
        reason += '; some values are known within bounds only'
    if weak:
        reason += f"; not after Holm's correction: {', '.join(weak)}"
    return Judged(claim, verdict, reason, differences, unit, overlap)


def table(judged: Sequence[Judged], caption: str = '') -> Table:
    """One row for each difference; a claim's own words stand in the first of its rows."""
    columns = (
        Column('claim', ''),
        Column('sentence', 'Claim'),
        Column('verdict', 'Verdict'),
        Column('compared', 'Compared'),
        Column('difference', 'Difference (95 % interval)', '+'),
        Column('n', ' or '.join(dict.fromkeys(f'{one.unit.capitalize()}s' for one in judged)) or 'Seeds'),
        *([Column('images', 'Over test images (95 %)', '+')] if any(found.images for one in judged for found in one.differences) else []),
        Column('p', 'p', '.2g'),
        Column('holm', 'p (Holm)', '.2g'),
        Column('quantity', 'Of'),
        Column('reason', 'Why'),
        Column('source', 'Source'),
        *([Column('overlap', 'Test examples a training example', '.3g')] if any(one.overlap for one in judged) else []),
        *([Column('key', 'Key')] if any(one.claim.key for one in judged) else []),
    )
    rows = []
    for number, one in enumerate(judged, 1):
        margin = '' if one.claim.margin is None else f' (within ±{one.claim.margin:g})'
        quantity = f'{one.claim.quantity} ({one.claim.instead})' if one.claim.instead else one.claim.quantity
        words = {
            'sentence': one.claim.sentence + margin,
            'verdict': one.verdict,
            'reason': '; '.join(filter(None, (one.claim.note, one.reason))),
            'source': one.claim.source,
        }
        for place, measured in enumerate(one.differences):
            rows.append(
                {'claim': number, 'compared': measured.text, 'n': measured.n, 'quantity': quantity, 'images': measured.images}
                | {'overlap': one.overlap or None, 'key': one.claim.key}
                | {'difference': Interval(measured.mean, measured.low, measured.high)}
                | {name: None if math.isnan(p) else p for name, p in (('p', measured.p), ('holm', measured.holm))}
                | (words if place == 0 else dict.fromkeys(words, ''))
            )
    return Table(columns, rows, f'{caption} {rule(judged)}'.strip())


def rule(judged: Sequence[Judged]) -> str:
    """How verdicts and p of these come about, as a sentence."""
    units = list(dict.fromkeys(one.unit for one in judged)) or ['seed']
    return _P.format(unit='s or '.join(units), overlap=_OVERLAP * ('split' in units))


def count(judged: Sequence[Judged]) -> str:
    """' Claims: 2 reproduced, 1 undecided.' for the end of a lead; '' where no verdict was reached."""
    counts = {word: sum(one.verdict == word for one in judged) for word in reversed(_ORDER)}
    said = ', '.join(f'{number} {word}' for word, number in counts.items() if number)
    return f' Claims: {said}.' if said else ''


def _check(claim: Claim, known: set[str]) -> None:
    if not claim.contrasts or any(not any(contrast.values()) for contrast in claim.contrasts):
        raise ValueError(f'nothing is compared in the claim {claim.sentence!r}')
    if claim.margin is not None and not (0 < claim.margin < math.inf and claim.directed):
        raise ValueError(f'a margin is a positive number of a claim that says something; got {claim.margin!r} in {claim.sentence!r}')
    unknown = sorted({row for contrast in claim.contrasts for row in contrast} - known)
    if unknown:
        raise ValueError(f'the claim {claim.sentence!r} names rows that are not there: {unknown}; there are {sorted(known)}')


def _difference(
    contrast: Mapping[str, float], values: Mapping[str, Mapping[int, float | Within]], claim: Claim, overlap: float
) -> Difference:
    seeds = sorted(set.intersection(*(set(values.get(row, {})) for row in contrast)))
    ends = []
    for side in (0, 1):
        terms = [
            [weight * _ends(values[row][seed])[side if weight > 0 else 1 - side] for row, weight in contrast.items()] for seed in seeds
        ]
        ends.append(_level([_weighted(one) for one in terms], max((abs(term) for one in terms for term in one), default=0)))
    low, high = _reach(*ends, overlap)
    flat = any(one.low == one.high for one in (low, high))
    if not all(map(math.isfinite, ends[0] + ends[1])) or ends[0] == ends[1]:
        return Difference(_text(contrast), *low, len(seeds), math.nan if flat else _p(ends[0], claim.margin, overlap), flat=flat)
    # Bounds on either side of 0 leave the order open, however equal they are in all seeds.
    return Difference(_text(contrast), math.nan, low.low, high.high, len(seeds), flat=flat and not low.low < 0 < high.high)


def _reach(low: Sequence[float], high: Sequence[float], overlap: float) -> tuple[Interval, Interval]:
    """The intervals that reach lowest and highest, of numbers each between its `low` and its `high`.

    The lower end of an interval is concave in the numbers, and the upper convex, so that both are extreme where every number is at one of
    its ends: not where all are at the same, since numbers further apart have a wider interval.
    """
    free = [place for place, (one, other) in enumerate(zip(low, high, strict=True)) if one != other]
    if len(free) > _CORNERS:
        return Interval(math.nan, -math.inf, math.inf), Interval(math.nan, -math.inf, math.inf)
    found = []
    for chosen in itertools.product((False, True), repeat=len(free)):
        numbers = list(low)
        for place, upper in zip(free, chosen, strict=True):
            numbers[place] = high[place] if upper else low[place]
        found.append(interval(numbers, overlap))
    return min(found, key=lambda one: one.low), max(found, key=lambda one: one.high)


def _ends(value: float | Within) -> tuple[float, float]:
    return (float(value[0]), float(value[1])) if isinstance(value, Within) else (float(value), float(value))


def _level(sums: Sequence[float], largest: float) -> list[float]:
    """Sums that differ by the rounding of their terms alone are equal: else noise would be a spread."""
    alike = all(map(math.isfinite, sums)) and sums and max(sums) - min(sums) <= 1e-12 * largest
    return [sums[0]] * len(sums) if alike else list(sums)


def _p(sums: Sequence[float], margin: float | None, overlap: float) -> float:
    """Of a direction: Student's p, two-sided, that the mean is 0. Of a margin: twice the larger p of the one-sided tests that the mean
    is not above -margin, and not below margin (Schuirmann 1987): below 0.05 where the 95 % interval lies inside. NaN without interval."""
    if len(sums) < FEWEST_SEEDS or not all(map(math.isfinite, sums)):
        return math.nan
    from scipy import stats

    error, free = np.std(sums, ddof=1) * math.sqrt(1 / len(sums) + overlap), len(sums) - 1
    if margin is None:
        return float(2 * stats.t.sf(abs(np.mean(sums)) / error, free))
    return float(min(1.0, 2 * stats.t.sf((margin - abs(np.mean(sums))) / error, free)))


def _weighted(terms: Sequence[float]) -> float:
    """The sum, but 0 where the terms cancel up to their rounding: else noise of one sign would make an interval beside 0."""
    if not all(map(math.isfinite, terms)):
        return math.nan
    total = math.fsum(terms)
    return 0.0 if abs(total) <= 1e-12 * max(map(abs, terms)) else total


def _text(contrast: Mapping[str, float]) -> str:
    """'without 6,7 - base': what is added first, then what is taken away."""
    parts = ''
    for row, weight in sorted(contrast.items(), key=lambda pair: pair[1] <= 0):
        sign = '-' if weight < 0 else '+'
        parts += f' {sign} ' + (row if abs(weight) == 1 else f'{abs(weight):g} x {row}') if weight else ''
    return parts[1:].removeprefix('+ ')


def _obstacle(claim, values, problems, differences, demonstration, unit) -> str:
    """Why there can be no verdict, or ''."""
    rows = dict.fromkeys(row for contrast in claim.contrasts for row in contrast)
    hindered = [f'{row}: {problems[row]}' for row in rows if row in problems]
    if hindered:
        return '; '.join(hindered)
    broken = {row: [seed for seed, value in values[row].items() if not all(map(math.isfinite, _ends(value)))] for row in rows}
    said = [f'{row} ({unit} {", ".join(map(str, sorted(seeds)))})' for row, seeds in broken.items() if seeds]
    if said:
        return f'not finite: {", ".join(said)}'
    if demonstration:
        return 'a demonstration: data and recipe were chosen so that the effect shows'
    if min(measured.n for measured in differences) < FEWEST_SEEDS:
        return f'{_seeds(differences, unit)}; a verdict needs {FEWEST_SEEDS}'
    flat = [measured.text for measured in differences if measured.flat]
    if flat:
        return f'{_seeds(differences, unit)}; equal in all {unit}s, so that nothing is known of the spread: {", ".join(flat)}'
    return ''


def _seeds(differences: Sequence[Difference], unit: str) -> str:
    fewest, most = (choose(measured.n for measured in differences) for choose in (min, max))
    return f'{fewest} {unit}{"s" * (fewest != 1)}' if fewest == most else f'{fewest} to {most} {unit}s'


def _verdict(measured: Difference, margin: float | None) -> str:
    low, high = measured.low, measured.high
    if margin is None:
        holds, fails = low > 0, high < 0
    else:
        holds, fails = -margin <= low and high <= margin, low > margin or high < -margin
    return 'reproduced' if holds else 'contradicted' if fails else 'undecided'
