"""Every side of the input benchmark gives the same pictures in the same order."""

import importlib.util
import itertools
import pathlib

import numpy as np
import pytest

if not importlib.util.find_spec('torch'):
    pytest.skip('PyTorch is a requirement of the benchmarks only', allow_module_level=True)

from benchmarks import input as benchmark
from cnn_research.data import stream
from cnn_research.data.sources import open_source


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp('photographs')
    benchmark.photographs(place, 6)
    return place


def test_both_sides_do_the_same_work(folder):
    source = open_source(f'folder:{folder}', 'train')
    files = [f'{folder}/train/{name}' for name in source.read.file_names(range(6))]
    theirs = benchmark.Photographs(files, 'Pillow')
    expected = stream.store(source, benchmark.SIDE)['images']
    assert all(80_000 < pathlib.Path(file).stat().st_size < 160_000 for file in files)
    for index in range(6):
        np.testing.assert_array_equal(theirs[index].permute(1, 2, 0).numpy(), expected[index])
    order = list(itertools.islice(benchmark.Endless(6, 4), 6))
    assert sorted(sum(order[:3], [])) == sorted([*range(6), *range(6)])
    plan = stream.open_feed(source, 0, 4, benchmark.SIDE, resident_gb=1, workers=0)
    assert [plan.batch(step)['index'].tolist() for step in range(6)] == order


def test_turns_and_memory_are_counted():
    sides = {name: itertools.count() for name in ('one', 'other')}
    rates = benchmark.timed(sides, 4, 1, 3, 2)
    assert {name: len(found) for name, found in rates.items()} == {'one': 2, 'other': 2} and min(map(min, rates.values())) > 0
    assert next(sides['one']) == 2 * (3 + 2 + 3)  # what was read ahead, and what was timed
    held = benchmark.flatness(itertools.count(), 20)
    assert len(held) == 10 and 20 < min(held) <= max(held) < 1e5


@pytest.mark.slow
def test_the_table_is_made_from_all_sides(folder, tmp_path):
    begin = benchmark.sides_of(folder, tmp_path, 2, 0)
    assert [name for name in begin if name.startswith('ours')] == ['ours, folder', 'ours, prepared JPEG', 'ours, prepared raw']
    ours = [next(begin[name]()) for name in begin if name.startswith('ours')]
    assert all(batch.shape == (2, benchmark.SIDE, benchmark.SIDE, 3) for batch in ours)
