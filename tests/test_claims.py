"""Claims against hand-made tables whose verdicts are known, and intervals against SciPy's paired test."""

import math

import numpy as np
import pytest
from scipy import stats

from cnn_research.reporting import claims

RANDOM = np.random.default_rng(0)


def values(**rows):
    return {row: dict(enumerate(found)) for row, found in rows.items()}


def verdict(claim, **rows):
    return claims.judge(claim, values(**rows)).verdict


def direction(*contrasts, **how):
    return claims.Claim('a sentence', 'a paper', contrasts, **how)


WORSE = direction({'b': 1, 'a': -1})
SMALL = direction({'b': 1, 'a': -1}, margin=1.0)


@pytest.mark.parametrize('count', [2, 3, 5, 30])
def test_the_interval_is_students(count):
    a, b = RANDOM.normal(size=(2, count))
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert claims.interval(a - b) == pytest.approx(((a - b).mean(), low, high))


def test_one_value_has_no_interval():
    mean, low, high = claims.interval([3.0])
    assert mean == 3 and math.isnan(low) and math.isnan(high)


def test_a_direction():
    assert verdict(WORSE, a=[1, 2, 3], b=[2.0, 3.1, 4.2]) == 'reproduced'  # paired: the seeds' own spread does not count
    assert verdict(WORSE, a=[2.0, 3.1, 4.2], b=[1, 2, 3]) == 'contradicted'
    assert verdict(WORSE, a=[1, 2, 3], b=[3, 1, 4]) == 'undecided'
    assert verdict(WORSE, a=[1, 1, 1], b=[1, 1, 1]) == 'undecided' and verdict(WORSE, a=[1, 1, 1], b=[2, 2, 2]) == 'reproduced'


def test_a_margin():
    assert verdict(SMALL, a=[1, 2, 3], b=[1.2, 1.9, 3.1]) == 'reproduced'
    assert verdict(SMALL, a=[1, 2, 3], b=[5, 6.1, 7]) == 'contradicted' and verdict(SMALL, a=[5, 6.1, 7], b=[1, 2, 3]) == 'contradicted'
    assert verdict(SMALL, a=[1, 2, 3], b=[1.9, 3.1, 3.9]) == 'undecided'


def test_of_a_partial_order_the_worst_pair_decides():
    order = direction({'b': 1, 'a': -1}, {'c': 1, 'b': -1})
    assert verdict(order, a=[1, 2, 3], b=[2, 3, 4.1], c=[3, 4.2, 5]) == 'reproduced'
    assert verdict(order, a=[1, 2, 3], b=[2, 3, 4.1], c=[1, 4, 5]) == 'undecided'
    assert verdict(order, a=[1, 2, 3], b=[2, 3, 4.1], c=[0, 1, 2]) == 'contradicted'
    assert len(claims.judge(order, values(a=[1, 2, 3], b=[2, 3, 4], c=[3, 4, 5])).differences) == 2


def test_coefficients_weigh_the_rows_of_a_seed():
    judged = claims.judge(direction({'c': 1, 'b': -1, 'a': -1.5}), values(a=[2, 4], b=[1, 1], c=[10, 10]))
    (difference,) = judged.differences
    assert difference.mean == pytest.approx((6 + 3) / 2) and difference.contrast == 'c - b - 1.5 x a'


def test_only_seeds_that_all_rows_have_count():
    judged = claims.judge(WORSE, {'a': {0: 1.0, 1: 2.0, 2: 3.0, 9: 50.0}, 'b': {0: 2.0, 1: 3.0, 2: 4.1, 7: 0.0}})
    assert judged.differences[0].seeds == 3 and judged.verdict == 'reproduced'
    assert math.isnan(claims.judge(WORSE, {'a': {0: 1.0}, 'b': {1: 1.0}}).differences[0].mean)


def test_when_there_is_no_verdict():
    clear = values(a=[1, 2, 3], b=[2, 3, 4.1])
    two = claims.judge(WORSE, values(a=[1, 2], b=[2, 3]))
    assert (two.verdict, two.reason) == ('no verdict', '2 seeds') and two.differences[0].mean == 1
    failed = claims.judge(WORSE, clear, {'b': 'seed 1 failed', 'z': 'of no concern'})
    assert failed.verdict == 'no verdict' and 'b: seed 1 failed' in failed.reason
    assert claims.judge(WORSE, clear, {'z': 'of no concern'}).verdict == 'reproduced'
    assert claims.judge(WORSE, clear, demonstration=True).reason == 'a demonstration'
    assert claims.judge(direction({'b': 1, 'a': -1}, directed=False), clear).verdict == 'no verdict'
    with pytest.raises(ValueError, match="'q'"):
        claims.judge(direction({'q': 1, 'a': -1}), clear)


def test_the_table_shows_every_contrast_and_its_verdict_once():
    order = direction({'b': 1, 'a': -1}, {'c': 1, 'b': -1}, note='sources disagree')
    table = claims.table([claims.judge(order, values(a=[1, 2, 3], b=[2, 3, 4.1], c=[3, 4.2, 5]))])
    assert [row['verdict'] for row in table.rows] == ['reproduced', ''] and 'sources disagree' in table.rows[0]['claim']
    assert table.rows[0]['difference'].startswith('+1.03 [+')
