"""How many seeds would decide a claim: a planning figure, which assumes that mean and spread stay what they were.

Student's two-sided 95 % interval of n seeds is as wide as t(n - 1) sqrt(1 / n + overlap) times the deviation between seeds, so its width at
another n follows from its width at one. A direction is decided where the interval leaves 0 out, a margin where it lies inside or outside it
(which is the two one-sided tests of Schuirmann 1987). Splits of one set share examples (overlap, as of claims.judge), so their interval
never falls to nothing, however many there are.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from cnn_research.reporting.claims import FEWEST_SEEDS, Difference

MOST = 1_000_000  # units beyond which nobody plans


class Plan(NamedTuple):
    """units: how many of them decide, None where none do or more than MOST would; verdict: which one that would be, '' without units;
    bound: whether fewer may do, since it is not known how much splits share."""

    units: int | None
    verdict: str = ''
    bound: bool = False


def factor(units: int, overlap: float) -> float:
    """Half the width of the interval over the deviation between units; of an infinite overlap, up to a constant."""
    from scipy import stats  # half a second, which only a table with seeds waits for

    return float(stats.t.ppf(0.975, units - 1)) * (1.0 if math.isinf(overlap) else math.sqrt(1 / units + overlap))


def verdict(mean: float, half: float, margin: float | None) -> str:
    """What an interval of that mean and half width says, '' where it decides nothing."""
    if margin is None:
        return 'reproduced' if mean > half else 'contradicted' if mean < -half else ''
    return 'reproduced' if abs(mean) + half <= margin else 'contradicted' if abs(mean) - half > margin else ''


def units(mean: float, half: float, n: int, margin: float | None = None, overlap: float = 0.0) -> int | None:
    """The fewest units, three at least, at which a difference of this mean is decided, where n units gave this half width.

    None where none is enough, or more than MOST; ValueError for fewer than three, or a half width that is none.
    """
    if n < FEWEST_SEEDS or not 0 < half < math.inf or not math.isfinite(mean):
        raise ValueError(f'nothing is known of the spread: mean {mean}, half width {half}, {n} units')
    scale = half / factor(n, overlap)

    def decided(number: int) -> bool:
        return bool(verdict(mean, scale * factor(number, overlap), margin))

    if not decided(MOST):
        return None
    # More units make the interval narrower, never wider, so that what decides once decides ever after.
    low, high = FEWEST_SEEDS - 1, FEWEST_SEEDS
    while not decided(high):
        low, high = high, min(2 * high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high


def plan(differences: Sequence[Difference], margin: float | None, overlap: float | None) -> Plan | None:
    """Of a claim of several differences: all of them where all point its way, else the first that would contradict it. None where the
    spread of one is not known. overlap: None where it is not known how much splits share; the figure is then an upper bound."""
    if not all(known(one) for one in differences) or not differences:
        return None
    shared = math.inf if overlap is None else overlap
    found = [(one.mean, units(one.mean, (one.high - one.low) / 2, one.n, margin, shared)) for one in differences]
    against = [needed for mean, needed in found if (mean < 0 if margin is None else abs(mean) > margin)]
    if against:
        fewest = min((needed for needed in against if needed), default=None)
        return Plan(fewest, 'contradicted' if fewest else '', overlap is None)
    if any(needed is None for _, needed in found):
        return Plan(None, '', overlap is None)
    return Plan(max(needed for _, needed in found), 'reproduced', overlap is None)


def known(one: Difference) -> bool:
    """Whether a difference has a mean and an interval of a width."""
    return one.n >= FEWEST_SEEDS and all(map(math.isfinite, (one.mean, one.low, one.high))) and one.low < one.high


def words(found: Plan | None, unit: str, overlap: float | None = 0.0) -> str:
    """'12 seeds (reproduced)' for a table."""
    if found is None:
        return 'not known: no mean, or no spread'
    shared = unit == 'split'
    if found.units is None:
        if found.bound:
            return 'perhaps no number of splits: they share examples, and the record does not say how many'
        return 'no number of splits of these images: they share examples' if shared else f'more than {MOST:,} {unit}s'
    return f'{"at most " if found.bound else ""}{found.units:,} {unit}s ({found.verdict})'
