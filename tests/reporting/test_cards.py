"""Cards of claims: every sentence once, every difference on one axis with the zero that it is judged against."""

import math
import re

import pytest
from page_reader import EVIL, Reader

from cnn_research.reporting import cards, claims

VALUES = {'a': {0: 3.0, 1: 3.4, 2: 3.1}, 'b': {0: 1.0, 1: 1.3, 2: 0.9}, EVIL: {0: 5.0, 1: 5.5, 2: 90.0}}


def judged(*contrasts, **more):
    return claims.judge(claims.Claim('A sentence.', 'A source', contrasts, **more), VALUES)


def places(text, kind):
    """(left, width) in percent, of all of a kind."""
    found = re.findall(rf'class="{kind}" style="left: ([-\d.]+)%(?:; width: ([-\d.]+)%)?"', text)
    return [(float(left), float(width or 0)) for left, width in found]


def test_a_claim_of_several_differences_is_one_card_that_says_everything_once():
    one = judged({'a': 1, 'b': -1}, {EVIL: 1, 'a': -1})
    text = cards.to_html([one, judged({'b': 1, 'a': -1})], 'Beforehand.')
    read = Reader(text)
    assert read.tags.count('article') == 2 and read.text.count('A sentence.') == 2 and 'script' not in read.tags
    assert re.findall('class="claim ([a-z-]+)"', text) == [one.verdict, 'contradicted']
    assert read.text.count('Beforehand.') == 1 and 'two-sided' in read.text
    assert len(places(text, 'zero')) == len(places(text, 'mean')) == 3


def test_what_is_drawn_is_in_proportion_and_on_the_axis():
    one = judged({'a': 1, 'b': -1}, {'b': 1, 'a': -1}, margin=0.5)
    text = cards.to_html([one])
    zeros, means, spans, margins = (places(text, kind) for kind in ('zero', 'mean', 'interval', 'margin'))
    for (zero, _), (mean, _), (low, width), (left, wide), told in zip(zeros, means, spans, margins, one.differences, strict=True):
        scale = wide / 1.0  # percent for a unit, of ± 0.5
        assert left == pytest.approx(zero - 0.5 * scale, abs=0.02)
        assert mean == pytest.approx(zero + told.mean * scale, abs=0.1)
        assert (low, low + width) == (pytest.approx(zero + told.low * scale, abs=0.1), pytest.approx(zero + told.high * scale, abs=0.1))
        assert low >= 0 and low + width <= 100


def test_numbers_of_a_card_have_the_same_digits_and_a_minus():
    (text,) = [Reader(cards.to_html([judged({'a': 1, 'b': -1}, {'b': 1, 'a': -1})])).text]
    numbers = re.findall(r'[+−]\d+(?:\.\d+)?', text)
    assert len(numbers) == 6 and len({len(number.partition('.')[2]) for number in numbers}) == 1
    assert 'b − a' in text and '- a' not in text


def test_what_has_no_interval_is_told_without_one():
    few = claims.judge(claims.Claim('S.', 'T', ({'a': 1, 'b': -1},)), {row: {0: told[0]} for row, told in VALUES.items()})
    text = cards.to_html([few])
    assert places(text, 'interval') == [] and len(places(text, 'mean')) == 1 and 'nan' not in text
    none = claims.judge(claims.Claim('S.', 'T', ({'a': 1, 'b': -1},)), {'a': {}, 'b': {}})
    text = cards.to_html([none])
    assert places(text, 'mean') == [] and 'nan' not in text and math.isnan(none.differences[0].mean)


@pytest.mark.parametrize(
    ('text', 'shown'),
    [('a - b', 'a − b'), ('-1.0 (-2.0 to +3.0)', '−1.0 (−2.0 to +3.0)'), ('LeNet-5 - x-y', 'LeNet-5 − x-y'), ('- 2 x a', '− 2 x a')],
)
def test_a_hyphen_within_a_name_stays(text, shown):
    assert cards.signed(text) == shown
