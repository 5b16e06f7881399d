"""Differences over test images: the bootstrap against loops that draw images, and what cannot be paired is not."""

import numpy as np
import pytest

from cnn_research.reporting import claims, paired, tables
from cnn_research.reporting.paired import OnImages

RNG = np.random.default_rng(0)
ROWS = {
    row: {seed: OnImages('p', RNG.integers(0, 3 + number, size=300)) for seed in range(3)}
    for number, row in enumerate(('base', 'one', 'two'))
}


def wrong(row, seed, image, top):
    return 100 * (ROWS[row][seed].ranks[image] >= top)


@pytest.mark.parametrize(
    ('contrast', 'top'), [({'one': 1, 'base': -1}, 1), ({'one': 1, 'base': -1}, 3), ({'two': 1, 'one': -1, 'base': -0.5}, 1)]
)
def test_the_interval_is_that_of_loops_over_drawn_images(contrast, top):
    found = paired.over_images(contrast, ROWS, top)
    per_image = [sum(w * np.mean([wrong(row, seed, i, top) for seed in range(3)]) for row, w in contrast.items()) for i in range(300)]
    rng, means = np.random.default_rng(1), []
    for _ in range(4000):
        means.append(np.mean([per_image[i] for i in rng.integers(0, 300, 300)]))
    assert found.mean == pytest.approx(np.mean(per_image))
    np.testing.assert_allclose(found[1:], np.percentile(means, [2.5, 97.5]), atol=0.1 * np.std(means) + 0.1)
    assert paired.over_images(contrast, ROWS, top) == found  # the same draws each time


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Two networks that err on 30 and 36 % of all images, together or not; 200 test sets of 400 images."""
    rng, hits = np.random.default_rng(2), 0
    for _ in range(200):
        hard = rng.uniform(size=400)
        base, row = hard < 0.30, (hard < 0.26) | (rng.uniform(size=400) < 0.1 / 0.74) & (hard > 0.26)
        found = paired.bootstrap(100.0 * row - 100.0 * base)
        hits += found.low <= 6.0 <= found.high
    assert 0.90 <= hits / 200 <= 0.99


def test_images_that_all_say_the_same_leave_no_width():
    assert paired.bootstrap(np.full(50, 2.5)) == (2.5, 2.5, 2.5)


@pytest.mark.parametrize(
    ('seeds', 'words'),
    [
        ({0: OnImages('p', ROWS['one'][0].ranks), 1: None}, 'not kept'),
        ({0: OnImages('other', ROWS['one'][0].ranks)}, 'different images'),
        ({0: OnImages('p', ROWS['one'][0].ranks[:-1])}, 'different images'),
    ],
)
def test_what_cannot_be_paired_is_an_empty_cell_with_its_reason(seeds, words):
    cell = paired.over_images({'one': 1, 'base': -1}, ROWS | {'one': seeds}, 1)
    assert cell.value is None and words in cell.note
    assert paired.over_images({'one': 1, 'base': -1}, ROWS | {'one': {}}, 1) is None
    # A seed that only one row has takes no part.
    only = {seed: one for seed, one in ROWS['one'].items() if seed != 2}
    assert isinstance(paired.over_images({'one': 1, 'base': -1}, ROWS | {'one': only}, 1), tables.Interval)


def test_a_result_tells_of_its_images_if_it_kept_them():
    assert paired.tested({'test': {'top1_error': 0.1}, 'protocol': 'p'}) is None
    assert paired.tested({'test': {'ranks': [0, 2]}}) is None
    found = paired.tested({'test': {'ranks': [0, 2]}, 'protocol': 'p'})
    assert found.protocol == 'p' and found.ranks.tolist() == [0, 2]


def test_a_claim_about_errors_has_the_interval_over_images_beside_that_over_seeds():
    values = {row: {seed: 100 * float(np.mean(one.ranks >= 1)) for seed, one in of.items()} for row, of in ROWS.items()}
    claim = claims.on_errors(claims.Claim('less', 'a paper', claims.below('base', 'one', 'two')), 10)
    judged = claims.judge(claim, values, tested=ROWS)
    assert [one.images for one in judged.differences] == [paired.over_images(contrast, ROWS, 1) for contrast in claim.contrasts]
    assert judged.differences[0].images.mean == pytest.approx(judged.differences[0].mean)
    assert 'images' in [column.key for column in claims.table([judged]).columns]
    other = claims.judge(claim._replace(top=0), values, tested=ROWS)
    assert 'images' not in [column.key for column in claims.table([other]).columns]
