"""The stride diagnosis: cells that differ in what they say and in nothing else, and a report whose numbers follow from the measures."""

import itertools

import numpy as np
import pytest

from cnn_research import config as configs
from cnn_research.reporting import page
from cnn_research.reporting.paired import OnImages
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.stride import report as stride
from cnn_research.studies.stride import weights
from configs import stride_diagnosis as recipe
from experiments import stride_diagnosis as experiment
from experiments.launch import command

AXES = stride.Axes((0, 0.125, 0.25, 0.5), (0.125, 0.25), {7: (0.0, 0.15, 0.79), 11: (0.0, 0.15, 0.96)})


@pytest.mark.parametrize('scale', recipe.SCALES)
def test_cells_have_their_geometry_and_share_all_else(scale):
    config = configs.update(configs.default(), configs.flat(recipe.get_config(scale)))
    rows, read, above = recipe.get_rows(scale), set(), set()
    assert len(rows) == 8
    for label, changes in rows.items():
        cell, checked = stride.cell(label), configs.check(configs.update(config, changes))
        net = configs.network(checked)
        first, second = (net.layer(number).stages[0] for number in (1, 2))
        assert (cell.kernel, cell.stride, cell.second) == (first.kernel, first.stride, second.stride)
        assert cell.renormalised == (checked.optimizer.max_rms > 0)
        read.add((net.input_shape, net.taps()['layer2'], first.features, first.stride * second.stride))
        above.add((second.kernel, *net.layers[2:]))
    assert len(read) == len(above) == 1
    kernels, strides = ({getattr(stride.cell(label), name) for label in rows} for name in ('kernel', 'stride'))
    assert {stride.cell(label)[:2] for label in rows} == set(itertools.product(kernels, strides)) and len(kernels) == len(strides) == 2


def test_a_label_is_read_back():
    assert stride.cell('(11/4, 1)') == (11, 4, 1, False, '')
    found = stride.cell('(7/2, 2), renormalised (optimizer.learning_rate=0.01)')
    assert found == (7, 2, 2, True, 'optimizer.learning_rate=0.01') and found.name == '(7/2, 2) optimizer.learning_rate=0.01'
    with pytest.raises(ValueError, match='no cell'):
        stride.cell('7/2')


def measures(mid=0.2, shift=0.5, dead=0, dominance=2.0, coverage=0.1):
    """Of the filters in each layer."""

    def layer():
        shares = {name: [0.1, 0.2, 0.3] for name in ('constant', 'low', 'high', 'colour', 'aliasing', 'selectivity')}
        never, rings = [i < dead for i in range(4)], [[0.1, mid, 0.3]] * 4
        activity = {'never': never, 'always': [False] * 3 + [dead > 0], 'rarely': never}
        return {
            **shares,
            **activity,
            'mid': [mid] * 4,
            'dominance': dominance,
            'variation': 0.5,
            'histogram': rings,
            'coverage': coverage,
        }

    return {'layer1': layer(), 'layer2': layer(), 'shift': {f'layer{n}': [shift - 0.1, shift + 0.1] for n in (1, 2, 5)}}


def row(label, test=(50.0, 51.0, 52.0), **changed):
    kernels = np.random.default_rng(0).normal(size=(stride.cell(label).kernel, stride.cell(label).kernel, 3, 4))
    many = {name: values if np.ndim(values) else [values] * len(test) for name, values in changed.items()}
    found = {seed: measures(**{name: values[seed] for name, values in many.items()}) for seed in range(len(test))}
    return stride.Row(label, 1234, dict(enumerate(test)), found, kernels, '', {}, dict.fromkeys(found), 10)


LABELS = tuple(f'({k}/{s}, {4 // s}){words}' for k in (11, 7) for s in (4, 2) for words in ('', ', renormalised'))


def test_values_are_percent_and_what_is_not_finite_stays():
    one = row('(7/2, 2)', mid=[0.1, 0.2, 0.3], shift=0.4, dead=1)
    assert stride.values(one, 'mid') == pytest.approx({0: 10, 1: 20, 2: 30})
    assert stride.values(one, 'low') == pytest.approx(dict.fromkeys(range(3), 20))
    assert stride.values(one, 'dead') == dict.fromkeys(range(3), 50)  # one never active, another always
    assert stride.values(one, 'shift') == pytest.approx(dict.fromkeys(range(3), 40))
    assert stride.values(one, 'error') == {0: 50, 1: 51, 2: 52}
    endless = row('(7/2, 2)', dominance=[np.inf, 2, 3], mid=[0.1, np.nan, 0.2])
    assert stride.values(endless, 'dominance') == {0: np.inf, 1: 2, 2: 3} and np.isnan(stride.values(endless, 'mid')[1])
    (line,) = stride.table([endless], '').rows
    assert (
        line['dominance'].note == 'not finite: seed 0'
        and line['mid'].note == 'not finite: seed 1'
        and line['low'] == pytest.approx([20] * 3)
    )
    rows = [row(label)._replace(label=label) for label in LABELS if label != '(7/2, 2)']
    lines = {line['quantity']: line for line in stride.effects([*rows, endless], '').rows}
    assert lines['mid, %']['filter'].note == 'not finite' and np.isfinite(lines['low, %']['filter']).all()


def test_claims_are_about_the_papers_two_cells_each_by_its_own_quantity():
    good = {'coverage': [0.3, 0.31, 0.32], 'shift': [0.3, 0.31, 0.29], 'dead': [0, 0, 0], 'dominance': [1.0, 1.0, 1.1]}
    bad = {'coverage': [0.2, 0.2, 0.2], 'shift': [0.5, 0.52, 0.5], 'dead': [2, 3, 2], 'dominance': [2.0, 2.1, 2.0]}
    rows = [row(label) for label in LABELS if label not in ('(11/4, 1), renormalised', '(7/2, 2), renormalised', '(11/4, 1)')]
    rows += [row('(11/4, 1)', dominance=[3.0, 3.3, 3.1])]
    fine, coarse = '(7/2, 2), renormalised', '(11/4, 1), renormalised'
    as_said = [*rows, row(fine, (40.0, 41.0, 40.5), **good), row(coarse, **bad)]
    found = stride.judged(as_said, demonstration=False)
    assert [one.claim.quantity for one in found] == ['dead', 'coverage', 'shift', 'top-1 error', 'dominance']
    assert all(one.claim.instead for one in found) and 'only 10 classes' in found[3].claim.instead
    assert {one.verdict for one in found} == {'reproduced'}
    assert found[1].differences[0].mean == pytest.approx(11) and found[3].differences[0].mean == pytest.approx(10.5)
    swapped = [*rows, row(coarse, (40.0, 41.0, 40.5), **good | {'dominance': [4.0, 4.1, 4.4]}), row(fine, **bad)]
    assert {one.verdict for one in stride.judged(swapped, demonstration=False)} == {'contradicted'}
    assert {one.verdict for one in stride.judged(as_said, demonstration=True)} == {'no verdict'}
    equal = [row(label) for label in LABELS]
    assert {one.verdict for one in stride.judged(equal, demonstration=False)} == {'no verdict'}  # equal in all seeds
    endless = [one if one.label != '(11/4, 1)' else row('(11/4, 1)', dominance=[np.inf, np.inf, 3.1]) for one in as_said]
    last = stride.judged(endless, demonstration=False)[-1]
    assert last.verdict == 'no verdict' and last.reason == 'not finite: (11/4, 1) (seed 0, 1)'
    many = [one._replace(top5={seed: 100 - error for seed, error in one.test.items()}, classes=100) for one in as_said]
    (errors,) = [one for one in stride.judged(many, demonstration=False) if one.claim.top]
    assert (errors.claim.quantity, errors.claim.instead, errors.verdict) == ('top-5 error', '', 'contradicted')
    failed = [one._replace(problem='seed 1 failed') if one.label == fine else one for one in as_said]
    assert [one.verdict for one in stride.judged(failed, demonstration=False)] == ['no verdict'] * 4 + ['reproduced']


def test_what_is_judged_of_the_mid_band_is_set_against_the_kernels_size():
    """The best filters of 3x3 and of 5x5 cover as much, though the shares differ by a factor of two; so do random ones."""
    rng = np.random.default_rng(0)
    for draw in (lambda size: rng.normal(size=(size, size, 3, 2000)), lambda size: rng.normal(size=(size, size, 3, 2000)) + 0.5):
        found, shares = [], []
        for size in (3, 5):
            bands = weights.bands(draw(size))
            stored = {'layer1': {name: part.tolist() for name, part in bands._asdict().items()}}
            covered = experiment._covered(stored, size)
            found.append(covered['layer1'].pop('coverage'))
            shares.append(bands.mid.mean())
            assert covered == stored
        assert found == pytest.approx([0, 0], abs=0.02) and shares[1] > 1.3 * shares[0]


def test_no_claim_is_made_of_cells_crossed_with_a_grid():
    rows = [row(f'{label} (seed={n})') for label in LABELS for n in (1, 2)]
    assert stride.stated(rows) == [] and stride.stated([]) == []
    assert len(stride.stated([row(f'{label} (seed=1)') for label in LABELS])) == 5


def test_an_effect_is_that_of_its_factor_alone():
    seeds = np.array([0.0, 1.0, -1.0])

    def error(label):
        cell = stride.cell(label)
        # Effects that add up, one that depends on the seed, and an interaction, which averages out.
        filter, finer, bound = cell.kernel == 7, cell.stride == 2, cell.renormalised
        return 50 + 1 * seeds + (-3 + seeds) * filter - 2 * finer + 0.5 * bound + (filter - 0.5) * (finer - 0.5) * 4

    rows = [row(label, tuple(error(label)), mid=0.1 if '7/' in label else 0.3) for label in LABELS]
    lines = {line['quantity']: line for line in stride.effects(rows, '').rows}
    assert lines['test error, %']['filter'] == pytest.approx((-3, -5.48, -0.52), abs=0.005)
    assert lines['test error, %']['stride'] == pytest.approx((-2, -2, -2))
    assert lines['test error, %']['renormalisation'].mean == pytest.approx(0.5)
    assert lines['mid, %']['filter'].mean == pytest.approx(-20) and lines['mid, %']['stride'].mean == pytest.approx(0, abs=1e-9)
    # Ranks that make every error what it is, shifted by a constant: the mean over images is that of the seeds.
    ranks = {label: np.arange(200) < 2 * np.round(error(label)[0]) for label in LABELS}
    shown = [one._replace(images={0: OnImages('p', ranks[one.label])}) for one in rows]
    over = stride.effects(shown, '').rows[-1]
    expected = np.mean([ranks[label].mean() * (1 if '7/' in label else -1) for label in LABELS]) * 200
    assert (
        over['quantity'].endswith('over test images')
        and over['filter'].mean == pytest.approx(expected)
        and over['filter'].low < over['filter'].high
    )
    two = [one._replace(test={0: one.test[0]}) for one in rows]
    alone = {line['quantity']: line for line in stride.effects(two, '').rows}['test error, %']['filter']
    assert alone.mean == -3 and np.isnan([alone.low, alone.high]).all()


def test_a_report_shows_every_row_finished_or_not(tmp_path):
    rows = [row(label) for label in LABELS]
    rows[0] = stride.Row(LABELS[0], None, {}, {}, None, 'not finished: seed 0, 1, 2', {}, {}, None)
    title, lead, sections = stride.report(rows, 'imagenet2012', AXES, 2, 0.1, Shelf(tmp_path, 'stride_diagnosis', ()))
    text = page.page(title, lead, sections, 'command')
    assert text.count('not finished: seed 0, 1, 2') >= 2 and 'Claims' not in lead
    csv = (tmp_path / 'stride.csv').read_text().splitlines()
    assert len(csv) == 9 and sum('40.5' in line for line in csv) == 1 and sum('38.4' in line for line in csv) == 1
    assert {path.name for path in (tmp_path / 'figures').iterdir()} >= {
        'filters.png',
        'filters_shared.png',
        'frequencies.pdf',
        'shifts.pdf',
    }
    nothing = [stride.Row(label, None, {}, {}, None, 'not finished', {}, {}, None) for label in LABELS]
    title, lead, sections = stride.report(nothing, 'clutter', AXES, 2, 0.1, Shelf(tmp_path / 'nothing', 'stride_diagnosis', ()))
    assert lead == 'No row is finished yet.' and 'Figures' not in dict(sections) and 'no verdict' in dict(sections)['Claims']


@pytest.mark.slow
def test_a_share_of_the_table_is_trained_measured_and_rendered_without_the_rest(tmp_path):
    arguments = ['--config=configs/stride_diagnosis.py:smoke', f'--workdir={tmp_path}', '--config.trials.shard=8/8']
    arguments += ['--config.schedule.epochs=1', '--config.schedule.cooldown.epochs=0.5', '--config.stride.examples=20']
    given = command.parse('stride_diagnosis', 'configs/stride_diagnosis.py:smoke', arguments, experiment.FIELDS)
    experiment.main(given)
    (evaluation,) = tmp_path.glob('trials/*/evaluations/filters-20-4.json')
    before = evaluation.stat().st_mtime_ns
    experiment.main(given)
    assert evaluation.stat().st_mtime_ns == before
    lines = (tmp_path / 'stride.csv').read_text().splitlines()
    assert sum('not finished' in line for line in lines) == 7 and 'reduced' in lines[8]
    assert (tmp_path / 'figures' / 'filters.png').is_file() and 'Stride diagnosis on clutter' in (tmp_path / 'report.html').read_text()
