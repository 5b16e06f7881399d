"""What trainings cost: the arithmetic by hand, and the page that is written from it."""

import re

import numpy as np
import pytest

from benchmarks import cost, costs
from cnn_research.models import zoo

BY_HAND = costs.Machine(rate=2.0, within=2.0, beyond=1.0)


@pytest.mark.parametrize(
    ('values', 'exponent', 'fit'),
    [
        ((3, 12, 48), 2, 1),
        ((5, 5, 5), 0, 1),
        ((8, 4, 2), -1, 1),
        ((1, 2, 2), 0.5, 0.75),  # with logarithms to base 2: x 0 1 2, y 0 1 1; cov 1/3, var x 2/3, var y 2/9
    ],
)
def test_the_exponent_of_a_growth(values, exponent, fit):
    assert costs.growth((1, 2, 4), values) == (pytest.approx(exponent), pytest.approx(fit))


@pytest.mark.parametrize(('devices', 'seconds'), [(1, 0), (2, 20), (4, 30), (8, 35), (16, 75)])
def test_a_ring_moves_twice_all_but_a_share_of_the_bytes(devices, seconds):
    assert costs.all_reduce(10, devices, BY_HAND) == pytest.approx(seconds)  # 40 bytes, at 2 a second up to 8 devices and 1 beyond


def made(*lengths, after=0.0):
    return costs.Work('made', [costs.Training(length - 1, 1, 3, 10) for length in lengths], after)


@pytest.mark.parametrize(
    ('work', 'devices', 'seconds'),
    [
        (made(6, 4, 4), 1, 7),
        (made(6, 4, 4), 2, 4),  # 6 beside 4 and 4
        (made(6, 4, 4), 64, 3),  # no training is split
        (made(6, 4, 4, after=8), 2, 4 + 2),
    ],
)
def test_a_network_for_each_device(work, devices, seconds):
    assert costs.one_each(work, devices, BY_HAND.rate) == pytest.approx(seconds)


@pytest.mark.parametrize(('devices', 'adding'), [(1, 0), (2, 20), (16, 75)])
def test_every_network_on_all_devices(devices, adding):
    found = costs.spread(made(6, 4, 4, after=2), devices, BY_HAND)
    assert found == pytest.approx(16 / 2 / devices + 3 * 3 * adding)  # three trainings of three steps


def test_where_it_stops_scaling():
    table = costs.scaling_table(10, 2.0, 32, BY_HAND, most=16)
    two, four, eight, sixteen = table.rows
    assert (two['adding'], two['computing']) == (pytest.approx(20e3), pytest.approx(16e3))  # 32 images of 1 s on two
    assert two['share'] == pytest.approx(100 * 20 / 36) and sixteen['share'] == pytest.approx(100 * 75 / 77)
    assert [row['each'] for row in table.rows] == [80, 120, 140, 300]  # four times the adding, at a second an image
    assert [row['batch'] for row in table.rows] == [160, 480, 1120, 4800]


def test_the_papers_tables_are_those_of_the_configs():
    depth, probing, stride = costs.papers()
    assert (len(depth.trainings), len(probing.trainings), len(stride.trainings)) == (12, 1, 8)
    first, net = depth.trainings[0], zoo.architecture('alexnet_dense')
    learned = 1_281_167 - 12_812
    assert first.steps == -(-learned * 70 // 128) and first.parameters == net.parameters
    assert first.stepping == 6 * net.multiply_adds * first.steps * 128
    assert first.evaluating == 2 * net.multiply_adds * 10 * (70 * 12_812 + 12_812 + 50_000)
    assert probing.trainings[0].evaluating * 10 == pytest.approx(2 * zoo.architecture('zfnet').multiply_adds * 10 * (71 * 12_812 + 50_000))
    assert all(one.stepping > 5e17 for one in stride.trainings)


@pytest.mark.parametrize(('series', 'size'), [('batch', 32), ('side', 48), ('width', 2)])
def test_one_thing_grows_at_a_time(series, size):
    base, batch = cost.grown('width', 1)
    assert base.parameters == zoo.architecture(cost.NETWORK).parameters
    net, count = cost.grown(series, size)
    assert (count == batch) == (series != 'batch') and (net.input_shape == base.input_shape) == (series != 'side')
    maps, twice = ([row.output[-1] for row in one.rows if row.parameters] for one in (base, net))
    assert twice[:-1] == [number * (2 if series == 'width' else 1) for number in maps[:-1]] and twice[-1] == maps[-1]


def text(**flags):
    cost.FLAGS(['cost', *(f'--{name}={value}' for name, value in flags.items())])
    found = {(series, size): ([1e-3 * size, 3e-3 * size], 1e6 * size**2) for series in ('batch', 'side') for size in (16, 32, 64)}
    return cost.text_of(found, ('zfnet', 16, 2.0), False)


def test_the_page_has_the_numbers_and_says_what_is_assumed():
    page = text(rate=1e14, utilisation=0.5)
    assert '| batch | 16 to 64 | 1.00 | 1.000 | 2.00 | 1.000 |' in page
    done = 6 * zoo.architecture('zfnet').multiply_adds * 16 / 2.0 / 1e9
    assert f'does {done:,.0f} GFLOP/s in the step of zfnet at batch 16 (2000 ms)' in page
    total = sum(one.stepping + one.evaluating for one in costs.papers()[0].trainings)
    assert f'| {total / 5e13 / 3600:,.1f} |' in page and page.count('ssumed') >= 4
    # Of 4 x 62.36 MB at 450 GB/s: 0.83 ms of 5.3 ms on four, 0.97 ms of 3.2 ms on eight.
    assert 'At batch 128 it passes 20 % of a step from 8 GPUs on.' in page
    assert 'It never does at batch 128.' in text(within=1e18, beyond=1e18)


def test_a_step_is_measured_and_its_memory_grows_with_the_batch():
    net = zoo.architecture('mlp_300 resized(1=5)')
    found = cost.measured({size: (net, size) for size in (64, 1024)}, 2, 0.001)
    assert all(len(turns) == 2 and min(turns) > 0 for turns, _ in found.values())
    assert found[1024][1] > found[64][1] > 0


@pytest.mark.slow
def test_the_whole_runs_at_tiny_sizes(tmp_path, capsys):
    cost.FLAGS(['cost', '--small', '--repeats=1', f'--out={tmp_path / "COST.md"}'])
    cost.main()
    page = (tmp_path / 'COST.md').read_text()
    assert page == capsys.readouterr().out.removesuffix('\n') and 'whose numbers say nothing' in page
    assert len(re.findall(r'^\| (batch|side|width) \|', page, re.M)) == 3 + 6 and 'nan' not in page and np.char.count(page, '\n## ') == 3
