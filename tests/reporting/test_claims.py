"""Claims: the interval is Student's, the verdicts are the design's, and nothing that cannot decide does."""

import csv
import io
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from cnn_research.reporting import claims, tables
from cnn_research.reporting.claims import Claim, below, difference, judge, rising, superadditive


def seeds(*values):
    return dict(enumerate(values))


def direction(*contrasts, **fields):
    return Claim('b is above a', 'a paper', contrasts or (difference('b', 'a'),), **fields)


@pytest.mark.parametrize('n', [3, 5, 20])
def test_the_interval_is_the_one_of_a_paired_t_test(n):
    a, b = np.random.default_rng(n).normal(size=(2, n)) + [[20], [23]]
    test = stats.ttest_rel(b, a).confidence_interval(0.95)
    np.testing.assert_allclose(claims.interval(b - a), [np.mean(b - a), test.low, test.high], rtol=1e-12)
    (measured,) = judge(direction(), {'a': seeds(*a), 'b': seeds(*b)}).differences
    np.testing.assert_allclose(measured[1:4], claims.interval(b - a), rtol=1e-12)
    assert (measured.text, measured.n) == ('b - a', n)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(1.5, 2.0, size=(1000, 4))
    hits = np.mean([low <= 1.5 <= high for _, low, high in map(claims.interval, draws)])
    # Four standard errors of a share of 0.95 over 1000 draws.
    assert abs(hits - 0.95) < 0.028


@pytest.mark.parametrize(
    ('differences', 'verdict'),
    [
        ((2.0, 2.1, 1.9), 'reproduced'),
        ((-2.0, -2.1, -1.9), 'contradicted'),
        ((2.0, -2.1, 1.9), 'undecided'),
    ],
)
def test_a_direction_is_decided_by_the_side_of_the_interval(differences, verdict):
    values = {'a': seeds(10.0, 14.0, 18.0), 'b': seeds(*np.add([10.0, 14.0, 18.0], differences))}
    assert judge(direction(), values).verdict == verdict
    # The same claim the other way round.
    turned = {'reproduced': 'contradicted', 'contradicted': 'reproduced', 'undecided': 'undecided'}[verdict]
    assert judge(direction(difference('a', 'b')), values).verdict == turned


@pytest.mark.parametrize(
    ('differences', 'verdict'),
    [
        ((0.1, 0.2, 0.15), 'reproduced'),
        ((-0.1, -0.2, -0.15), 'reproduced'),
        ((3.0, 3.1, 2.9), 'contradicted'),
        ((-3.0, -3.1, -2.9), 'contradicted'),
        ((0.9, 1.0, 1.1), 'undecided'),
        ((-5.0, 5.0, 0.0), 'undecided'),
    ],
)
def test_a_margin_is_decided_by_the_whole_interval(differences, verdict):
    values = {'a': seeds(10.0, 14.0, 18.0), 'b': seeds(*np.add([10.0, 14.0, 18.0], differences))}
    assert judge(direction(margin=1.0), values).verdict == verdict


def test_rows_are_compared_within_seeds_that_both_have():
    # Seeds differ far more than the rows do; only pairing, by seed and not by position, can tell the rows apart.
    values = {'a': {4: 90.0, 0: 10.0, 2: 50.0, 7: 1.0}, 'b': {0: 11.0, 2: 51.1, 9: 0.0, 4: 90.9}}
    judged = judge(direction(), values)
    assert (judged.verdict, judged.differences[0].n, judged.reason) == ('reproduced', 3, '3 seeds')
    assert math.isclose(judged.differences[0].mean, 1.0)


def test_the_worst_pair_of_an_order_is_its_verdict():
    order = direction(*below('a', 'b', 'c'), *below('b', 'd'))
    values = {'a': seeds(1.0, 1.1, 1.2), 'b': seeds(2.0, 2.2, 2.1), 'c': seeds(3.0, 3.3, 3.1), 'd': seeds(4.0, 4.1, 4.3)}
    assert judge(order, values).verdict == 'reproduced'
    undecided = judge(order, values | {'c': seeds(0.0, 3.3, 1.2)})
    assert undecided.verdict == 'undecided' and undecided.reason == '3 seeds; undecided: c - a'
    worst = judge(order, values | {'c': seeds(0.0, 3.3, 1.2), 'd': seeds(0.1, 0.2, 0.3)})
    assert worst.verdict == 'contradicted' and worst.reason == '3 seeds; contradicted: d - b'
    assert [measured.text for measured in worst.differences] == ['b - a', 'c - a', 'd - b']


def test_more_than_the_sum_of_its_parts():
    base, one, two = seeds(10.0, 12.0, 11.0), seeds(13.0, 15.1, 14.0), seeds(14.0, 16.0, 15.2)
    for surplus, verdict in [(2.0, 'reproduced'), (-2.0, 'contradicted')]:
        whole = {s: base[s] + (one[s] - base[s]) + (two[s] - base[s]) + surplus + 0.1 * (s - 1) for s in base}
        judged = judge(direction(*superadditive('all', ('one', 'two'), 'base')), {'all': whole, 'one': one, 'two': two, 'base': base})
        assert judged.verdict == verdict and math.isclose(judged.differences[0].mean, surplus)
        assert judged.differences[0].text == 'all + base - one - two'


def test_rounding_does_not_decide():
    # 0.3 - 0.1 - 0.2 is -2.8e-17 in every seed: an interval of no width beside 0.
    values = {'a': seeds(0.3, 0.3, 0.3), 'b': seeds(0.1, 0.1, 0.1), 'c': seeds(0.2, 0.2, 0.2)}
    judged = judge(direction({'a': 1, 'b': -1, 'c': -1}), values)
    assert judged.verdict == 'no verdict' and judged.differences[0].mean == 0
    # The mean of equal numbers is that number, so that they lie in no interval beside it.
    assert claims.interval([0.1] * 7) == (0.1, 0.1, 0.1)


@pytest.mark.parametrize('shift', [1.0, -1.0, 0.0, 0.1, 1e-3, -1 / 3])
@pytest.mark.parametrize('margin', [None, 2.0])
def test_a_difference_that_is_equal_in_all_seeds_decides_nothing(shift, margin):
    """Nothing is known of its spread; that a - b misses the shift by another rounding in each seed is no spread either."""
    base = [50.3, 17.9, 42.1]
    values = {'a': seeds(*base), 'b': seeds(*(one + shift for one in base)), 'c': seeds(10.0, 30.0, 21.0)}
    judged = judge(direction(margin=margin), values)
    assert judged.verdict == 'no verdict' and 'equal in all seeds' in judged.reason and judged.reason.endswith('b - a')
    (found,) = judged.differences
    assert found.low == found.high == found.mean == pytest.approx(shift) and np.isnan([found.p, found.holm]).all()
    # One such difference leaves the whole order open, even where another is contradicted.
    assert judge(direction(difference('b', 'a'), difference('c', 'a')), values).verdict == 'no verdict'
    assert judge(direction(margin=margin), values | {'b': seeds(*np.add(base, [1.0, 1.001, 1.0]))}).verdict == 'reproduced'


def test_values_within_bounds_decide_only_what_all_of_them_would():
    first = claims.Within(0, 1)
    late = judge(direction(), {'a': seeds(first, first, first), 'b': seeds(3.0, 3.5, 4.0)})
    # No choice of values within the bounds has an interval that reaches further.
    tried = [claims.interval([3.0 - x, 3.5 - y, 4.0 - z]) for x, y, z in itertools.product(np.linspace(0, 1, 5), repeat=3)]
    reach = min(one.low for one in tried), max(one.high for one in tried)
    assert late.verdict == 'reproduced' and 'within bounds' in late.reason
    assert late.differences[0][2:4] == pytest.approx(reach) and math.isnan(late.differences[0].mean)
    assert judge(direction(difference('a', 'b')), {'a': seeds(first, first, first), 'b': seeds(3.0, 3.5, 4.0)}).verdict == 'contradicted'
    # The midpoints of the bounds would say reproduced.
    near = judge(direction(), {'a': seeds(first, first, first), 'b': seeds(0.9, 0.95, 0.98)})
    assert near.verdict == 'undecided'
    both = judge(direction(), {'a': seeds(first, first, first), 'b': seeds(first, first, first)})
    assert both.verdict == 'undecided' and both.differences[0][2:4] == pytest.approx((-3.2020, 3.2020), abs=1e-3)
    assert '– (-3.20 to +3.20)' in tables.to_markdown(claims.table([both]))
    near = judge(direction(), {'a': seeds(first, first, first), 'b': seeds(1.3, 1.4, 1.5)})  # as far apart as the bounds allow: undecided
    assert near.verdict == 'undecided' and near.differences[0].low == pytest.approx(-0.92, abs=0.01)
    endless = judge(direction(), {'a': seeds(first, first, claims.Within(0, math.inf)), 'b': seeds(3.0, 3.5, 4.0)})
    assert endless.verdict == 'no verdict' and endless.reason == 'not finite: a (seed 2)'


@pytest.mark.parametrize('n', [3, 6])
def test_p_is_that_of_the_paired_t_test_and_agrees_with_the_verdict(n):
    rng = np.random.default_rng(n)
    for shift in (0.0, 0.7, 2.0, -2.0):
        a = rng.normal(size=n)
        b = a + shift + 0.8 * rng.normal(size=n)
        judged = judge(direction(), {'a': seeds(*a), 'b': seeds(*b)})
        (found,) = judged.differences
        assert found.p == pytest.approx(stats.ttest_rel(b, a).pvalue) and found.holm == found.p
        assert (found.p < 0.05) == (judged.verdict != 'undecided')
        within = judge(direction(margin=3.0), {'a': seeds(*a), 'b': seeds(*b)})
        ends = [stats.ttest_1samp(b - a, 3.0, alternative='less').pvalue, stats.ttest_1samp(b - a, -3.0, alternative='greater').pvalue]
        assert within.differences[0].p == pytest.approx(min(1, 2 * max(ends)))
        assert (within.differences[0].p < 0.05) == (within.verdict == 'reproduced')


def test_holm_multiplies_each_p_by_the_tests_that_are_left():
    rng = np.random.default_rng(0)
    for count in (1, 2, 5):
        p = list(rng.uniform(size=count) ** 4)
        order = sorted(range(count), key=p.__getitem__)
        expected = [0.0] * count
        for index in range(count):
            place = order.index(index)
            expected[index] = min(1.0, max((count - k) * p[order[k]] for k in range(place + 1)))
        assert claims.holm(p) == pytest.approx(expected)
    found = claims.holm([0.01, math.nan, 0.02, 0.9])
    assert found[0] == 0.04 and found[2] == pytest.approx(0.06) and found[3] == 1 and math.isnan(found[1])


def test_what_does_not_stand_after_holms_correction_is_said():
    values = {'a': seeds(1.0, 1.1, 1.0), 'b': seeds(2.0, 2.3, 2.0), 'c': seeds(2.0, 3.0, 2.5)}
    judged = judge(direction(*below('a', 'b', 'c')), values)
    sure, weak = judged.differences
    assert judged.verdict == 'reproduced' and sure.holm == pytest.approx(2 * sure.p)
    assert 0.025 < weak.p < 0.05 and weak.holm == weak.p
    both = judge(direction(*below('a', 'c'), *below('a', 'c')), values)
    assert both.verdict == 'reproduced' and both.reason == "3 seeds; not after Holm's correction: c - a, c - a"
    line = list(csv.DictReader(io.StringIO(tables.to_csv(claims.table([judged])))))[0]
    assert (float(line['p']), float(line['holm'])) == (sure.p, sure.holm)


@pytest.mark.parametrize(('classes', 'quantity'), [(10, 'top-1 error'), (19, 'top-1 error'), (20, 'top-5 error'), (None, 'top-5 error')])
def test_a_claim_of_top_5_is_judged_on_it_or_says_what_stands_in(classes, quantity):
    claim = claims.on_errors(direction(), classes)
    assert (claim.quantity, claim.top) == (quantity, int(quantity[4]))
    shown = claims.table([judge(claim, {'a': seeds(1.0), 'b': seeds(2.0)})]).rows[0]['quantity']
    assert shown.startswith(quantity) and ('top-1 here' in shown and f'only {classes} classes' in shown) == (quantity == 'top-1 error')


@pytest.mark.parametrize(
    ('values', 'problems', 'demonstration', 'words'),
    [
        ({'a': seeds(1.0, 1.1), 'b': seeds(9.0, 9.2)}, {}, False, '2 seeds; a verdict needs 3'),
        ({'a': seeds(1.0), 'b': seeds(9.0)}, {}, False, '1 seed; a verdict needs 3'),
        ({'a': seeds(1.0, 1.1, 1.0), 'b': {}}, {}, False, '0 seeds; a verdict needs 3'),
        ({'a': seeds(1.0, 1.1, 1.0), 'b': seeds(9.0, 9.2, 9.1)}, {'b': 'reduced to 2 epochs'}, False, 'b: reduced to 2 epochs'),
        ({'a': seeds(1.0, 1.1, 1.0)}, {'b': 'failed: out of memory'}, False, 'b: failed: out of memory'),
        ({'a': seeds(1.0, 1.1, 1.0), 'b': seeds(9.0, math.nan, 9.1)}, {}, False, 'not finite: b (seed 1)'),
        ({'a': seeds(1.0, 1.1, 1.0), 'b': seeds(9.0, math.inf, 9.1)}, {}, False, 'not finite: b (seed 1)'),
        ({'a': seeds(1.0, 1.1, 1.0), 'b': seeds(9.0, 9.2, 9.1)}, {}, True, 'demonstration'),
    ],
)
def test_what_cannot_decide_gives_no_verdict_and_says_why(values, problems, demonstration, words):
    judged = judge(direction(), values, problems, demonstration)
    assert judged.verdict == 'no verdict' and words in judged.reason and '\n' not in judged.reason
    assert len(judged.differences) == 1
    assert judge(direction(directed=False), values, problems, demonstration).verdict == 'no direction claimed'


def test_problems_of_other_rows_do_not_matter():
    values = {'a': seeds(1.0, 1.1, 1.0), 'b': seeds(9.0, 9.2, 9.1), 'c': seeds(math.nan)}
    assert judge(direction(), values, {'c': 'failed'}).verdict == 'reproduced'


@pytest.mark.parametrize(
    'claim',
    [
        direction(difference('b', 'z')),
        direction({}),
        direction({'a': 0}),
        Claim('nothing', 'nowhere', ()),
        direction(margin=0.0),
        direction(margin=math.nan),
        direction(margin=1.0, directed=False),
    ],
)
def test_a_claim_that_says_nothing_is_a_mistake(claim):
    with pytest.raises(ValueError):
        judge(claim, {'a': seeds(1.0), 'b': seeds(2.0)})


def test_constructors_say_what_they_compare():
    assert below('a', 'b', 'c') == ({'b': 1, 'a': -1}, {'c': 1, 'a': -1})
    assert rising('1', '2', '3') == ({'2': 1, '1': -1}, {'3': 1, '2': -1})
    for wrong in (lambda: difference('a', 'a'), lambda: rising('a', 'a'), lambda: superadditive('a', ('b', 'b'), 'c')):
        with pytest.raises(ValueError):
            wrong()


def test_the_table_holds_every_difference_and_each_claim_once():
    values = {'a': seeds(1.0, 1.1, 1.0), 'b': seeds(9.0, 9.2, 9.1), 'c': seeds(4.0, 4.2)}
    judged = [
        judge(direction(*below('a', 'b', 'c'), note='sources disagree'), values),
        judge(direction(margin=0.5), values),
        judge(direction(difference('c', 'a'), directed=False), {'a': seeds(1.0), 'c': {}}),
    ]
    made = claims.table(judged, 'Claims.')
    read = list(csv.DictReader(io.StringIO(tables.to_csv(made))))
    assert [row['claim'] for row in read] == ['1', '1', '2', '3']
    assert [row['verdict'] for row in read] == ['no verdict', '', 'contradicted', 'no direction claimed']
    assert [row['n'] for row in read] == ['3', '2', '3', '0']
    ends = [read[0][f'difference{end}'] for end in ('', ' low', ' high')]
    assert [float(end) for end in ends] == list(claims.interval([8.0, 8.1, 8.1]))
    # Two seeds: the difference, and no interval that nobody should read.
    assert float(read[1]['difference']) == judged[0].differences[1].mean
    assert read[1]['difference low'] == read[1]['difference high'] == read[3]['difference'] == ''
    assert 'sources disagree' in read[0]['reason'] and '±0.5' in read[2]['sentence']
    shown = tables.to_markdown(made)
    assert 'nan' not in shown and '+8.07 (+7.92 to +8.21)' in shown


def test_splits_that_share_examples_have_the_wider_interval_of_nadeau_and_bengio():
    differences = np.array([1.0, 1.5, 0.7, 1.2, 0.9])
    values = {'a': dict(enumerate(differences)), 'b': dict.fromkeys(range(5), 0.0)}
    claim = claims.Claim('a is better.', 'here', (claims.difference('a', 'b'),))
    plain, shared = claims.judge(claim, values), claims.judge(claim, values, overlap=1 / 3)
    half = stats.t.ppf(0.975, 4) * differences.std(ddof=1) * np.sqrt(1 / 5 + 1 / 3)
    found = shared.differences[0]
    assert np.allclose([found.low, found.high], [differences.mean() - half, differences.mean() + half])
    assert np.isclose(found.p, 2 * stats.t.sf(differences.mean() / (half / stats.t.ppf(0.975, 4)), 4))
    assert found.low < plain.differences[0].low and shared.unit == 'split' and '5 splits' in shared.reason
    table = claims.table([shared])
    assert 'Nadeau & Bengio' in table.caption and 'Splits' in [column.header for column in table.columns]
    assert 'Nadeau' not in claims.table([plain]).caption


def test_a_claim_says_what_there_is_one_number_of():
    claim = claims.Claim('A sentence.', 'A source', ({'a': 1, 'b': -1},), unit='seed pair')
    found = claims.judge(claim, {'a': {0: 2.0, 1: 2.2, 2: 2.1}, 'b': {0: 1.0, 1: 1.1, 2: 0.9}})
    assert found.unit == 'seed pair' and found.reason == '3 seed pairs' and 'over seed pairs.' in claims.rule([found])
    assert [column.header for column in claims.table([found]).columns if column.key == 'n'] == ['Seed pairs']
