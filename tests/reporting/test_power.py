"""The planning figure: a sample of the same mean and spread is decided at that number of seeds, and at one fewer it is not."""

import math

import numpy as np
import pytest

from cnn_research.reporting import claims, power
from cnn_research.reporting.claims import Claim, Difference, difference


def sample(mean, deviation, n):
    """n numbers of exactly that mean and sample standard deviation."""
    values = np.linspace(-1, 1, n)
    return mean + deviation * values / values.std(ddof=1)


def half(deviation, n, overlap=0.0):
    _, low, high = claims.interval(sample(0.0, deviation, n), overlap)
    return (high - low) / 2


def judged(values, margin, overlap=None):
    claim = Claim('b is above a', 'a paper', (difference('b', 'a'),), margin=margin)
    numbers = {'a': dict.fromkeys(range(len(values)), 0.0), 'b': dict(enumerate(values))}
    return claims.judge(claim, numbers, overlap=overlap).verdict


@pytest.mark.parametrize('n', [3, 5])
@pytest.mark.parametrize(
    ('mean', 'deviation', 'margin'),
    [(1.0, 1.0, None), (-0.3, 1.0, None), (0.26, 0.5, None), (5.0, 0.1, None), (0.2, 1.0, 1.1), (1.5, 1.0, 1.1), (-0.9, 0.7, 1.1)],
)
def test_so_many_seeds_decide_and_one_fewer_does_not(n, mean, deviation, margin):
    needed = power.units(mean, half(deviation, n), n, margin)
    said = power.verdict(mean, half(deviation, needed), margin)
    assert said and judged(sample(mean, deviation, needed), margin) == said
    assert needed == 3 or judged(sample(mean, deviation, needed - 1), margin) == 'undecided'


@pytest.mark.parametrize(('mean', 'overlap'), [(1.0, 0.1), (2.0, 0.5), (-1.0, 0.2)])
def test_of_splits_the_share_that_never_goes_away_is_counted(mean, overlap):
    needed = power.units(mean, half(1.0, 5, overlap), 5, overlap=overlap)
    assert judged(sample(mean, 1.0, needed), None, overlap) in ('reproduced', 'contradicted')
    assert needed == 3 or judged(sample(mean, 1.0, needed - 1), None, overlap) == 'undecided'
    assert needed >= power.units(mean, half(1.0, 5), 5)


@pytest.mark.parametrize(
    ('mean', 'margin', 'overlap'),
    [(0.0, None, 0.0), (1e-6, None, 0.0), (0.5, None, 0.1), (1.1, 1.1, 0.0), (-1.1, 1.1, 0.0), (0.9, 1.1, 0.1)],
)
def test_what_no_number_decides_has_none(mean, margin, overlap):
    # With an overlap the half width stays above 1.96 deviations times its root: 0.62 of a deviation at 0.1.
    assert power.units(mean, half(1.0, 3, overlap), 3, margin, overlap) is None


@pytest.mark.parametrize('overlap', [0.0, 0.05, 0.3, 1.0, 10.0])
def test_where_it_is_not_known_how_much_splits_share_the_figure_is_an_upper_bound(overlap):
    unknown = Difference('b - a', 1.0, 1.0 - 1.2, 1.0 + 1.2, 5)
    bound, found = power.plan([unknown], None, None), power.plan([unknown], None, overlap)
    assert bound.bound and not found.bound and found.units <= bound.units
    assert power.words(bound, 'split').startswith('at most ')


def measured(mean, deviation=1.0, n=5):
    width = half(deviation, n)
    return Difference('b - a', mean, mean - width, mean + width, n)


def test_a_claim_of_several_differences_needs_the_most_or_falls_by_the_first():
    near, far = measured(0.2), measured(2.0)
    each = [power.plan([one], None, 0.0).units for one in (near, far)]
    assert power.plan([near, far], None, 0.0) == (max(each), 'reproduced', False)
    against = measured(-0.5)
    assert power.plan([near, against, measured(-0.1)], None, 0.0) == (power.plan([against], None, 0.0).units, 'contradicted', False)
    assert power.plan([measured(0.0), far], None, 0.0).units is None


def test_without_a_mean_or_a_spread_nothing_is_planned():
    for one in (
        Difference('b - a', math.nan, -1, 2, 5),
        Difference('b - a', 0.0, 0.0, 0.0, 3),
        Difference('b - a', 1.0, math.nan, math.nan, 2),
    ):
        assert power.plan([measured(1.0), one], None, 0.0) is None
    for mean, width, n in ((1.0, 1.0, 2), (1.0, 0.0, 3), (math.nan, 1.0, 3)):
        with pytest.raises(ValueError, match='spread'):
            power.units(mean, width, n)
