"""The table of reference accuracies: which rows of which tables it holds, and what it says of each."""

import csv
import io

import pytest

from cnn_research.errors import CheckpointError
from cnn_research.reporting import accuracies, tables
from cnn_research.reporting.ledger import Place
from cnn_research.reporting.tables import Cell, Column, Table
from experiments.launch import trained

NARROW = 'alexnet_32 resized(1=16,2=32,3=48,4=48,5=32) replaced(6,dropout=none) replaced(7,dropout=none)'
MNIST = """# MNIST

- lenet5: `python -m experiments.train --config=configs/lenet5.py:mnist --config.data.holdout=0`, seeds 0, 1; 2 cores
- mlp_300: `python -m experiments.train --config=configs/mlp.py:mnist --config.architecture=mlp_300`, seeds 0; 2 cores
"""
DEPTH = """# Depth ablation on cifar10

- command: `python -m experiments.depth_ablation --config=configs/depth_ablation.py:cifar10 --config.schedule.epochs=7`
"""


def written(path, columns, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tables.to_csv(Table([Column(name) for name in columns], [dict(zip(columns, row, strict=True)) for row in rows])))


@pytest.fixture
def results(tmp_path):
    home = tmp_path / 'results'
    columns = ('network', 'loss', 'parameters', 'epochs', 'error', 'note')
    lenet5 = ('lenet5', 'radial basis', 60000, 20.0, [0.8, 1.0], 'optimizer ours')
    written(home / 'mnist.csv', columns, lenet5, ('mlp_300', 'squared error', 238510, 20.0, [2.0], None))
    (home / 'mnist.md').write_text(MNIST)
    failed = Cell(None, note='seed 0 failed: it diverged')
    rows = [('removed layers 3,4', 214026, [22.0, 23.0, 24.0], [5.0, 6.0, 7.0]), ('removed layer 7', 187498, failed, None)]
    rows += [('a row that is no more', 5, Cell([30.0], note='not finished: seed 1'), [9.0])]
    written(home / 'depth' / 'depth.csv', ('row', 'parameters', 'test', 'top5'), *rows)
    (home / 'depth' / 'README.md').write_text(DEPTH)
    cells = [('(5/2, 1)', 'yes', 254058, [31.0, 33.0]), ('(5/2, 1)', 'no', 254058, [30.0, 31.0])]
    written(home / 'stride' / 'stride.csv', ('cell', 'renormalised', 'parameters', 'error'), *cells)  # and no word of where it comes from
    written(home / 'finetune' / 'rows.csv', ('row', 'images', 'accuracy'), ('scratch, 1 a class', 43, [11.0]))
    written(home / 'depth' / 'lesions.csv', ('row', 'refit_error'), ('removed layers 3,4', [29.0]))
    written(home / 'ledger' / 'accuracies.csv', ('data', 'network', 'row', 'error'), ('mnist', 'lenet5', None, [0.9]))
    return home


def test_every_trained_row_stands_with_its_set_seeds_length_and_printed_number(results):
    found = {(one.place.name, one.row): one for one in trained.gather(results, [])}
    assert {place for place, _ in found} == {'mnist', 'depth', 'stride'} and len(found) == 6
    told = {
        row: (one.data, one.network, one.errors, one.examples, one.length, one.printed)
        for (place, row), one in found.items()
        if place != 'stride'
    }
    held = 'all training images but a holdout of 10 %'
    assert told == {
        'lenet5': ('mnist', 'lenet5', (0.8, 1.0), 'all training images', '20 epochs', 0.95),
        'mlp_300': ('mnist', 'mlp_300', (2.0,), held, '20 epochs', 4.7),
        'removed layers 3,4': ('cifar10', f'{NARROW} without(3,4)', (22.0, 23.0, 24.0), held, '7 epochs', None),
        'a row that is no more': ('cifar10', 'a row that is no more', (30.0,), held, '7 epochs', None),
    }
    assert found['depth', 'removed layers 3,4'].top5 == (5.0, 6.0, 7.0) and 'not finished' in found['depth', 'a row that is no more'].note
    assert found['mnist', 'lenet5'].place.command.endswith('lenet5.py:mnist --config.data.holdout=0')
    unknown = found['stride', '(5/2, 1), renormalised']  # its records say neither set nor length, and nothing is assumed
    assert (unknown.data, unknown.network, unknown.examples, unknown.length) == ('', '(5/2, 1), renormalised', '', '')


def test_the_files_hold_the_numbers_and_lead_to_their_tables(results, tmp_path):
    found = trained.gather(results, [])
    path = accuracies.write(found, results / 'ledger', 'python -m experiments.ledger')
    text = path.read_text()
    headings = [line for line in text.splitlines() if line.startswith('## ')]
    assert headings == ['## CIFAR-10', '## MNIST', '## Not recorded', '## Commands']
    assert '0.90 ± 0.14 (2) | 0.95 | -0.05 |' in text and '| [depth](../depth/README.md) |' in text and '(../mnist.md)' in text
    assert text.index('23.00 ±') < text.index('a row that is no more') and '- [mnist](../mnist.md), lenet5: `python -m' in text
    rows = list(csv.DictReader(io.StringIO((results / 'ledger' / 'accuracies.csv').read_text())))
    assert [(row['data'], row['error'], row['seeds'], row['printed']) for row in rows if row['data'] == 'mnist'] == [
        ('mnist', '0.8 1.0', '2', '0.95'),
        ('mnist', '2.0', '1', '4.7'),
    ]
    assert {row['table'] for row in rows} == {'../mnist.md', '../depth/README.md', '../stride/stride.csv'}
    assert len(trained.gather(results, [])) == len(found)  # its own file is no table of trained networks


def test_the_same_row_in_a_second_place_counts_once(results, tmp_path):
    written(tmp_path / 'run' / 'stride.csv', ('cell', 'renormalised', 'parameters', 'error'), ('(5/2, 1)', 'yes', 254058, [31.0, 33.0]))
    assert len(trained.gather(results, [tmp_path / 'run'])) == len(trained.gather(results, []))
    assert [one.errors for one in trained.gather(None, [tmp_path / 'run'])] == [(31.0, 33.0)]


@pytest.mark.parametrize('cell', ['0.9 high', 'nan', '-1', '101', '0.9,1.0'])
def test_a_cell_that_is_no_error_in_percent_is_refused(results, cell):
    path = results / 'mnist.csv'
    path.write_text(path.read_text().replace('0.8 1.0', f'"{cell}"'))
    with pytest.raises(CheckpointError, match='mnist.csv is damaged: error of lenet5') as told:
        trained.gather(results, [])
    assert '\n' not in str(told.value)


def test_where_nothing_was_trained_it_says_so(tmp_path):
    path = accuracies.write([], tmp_path, 'a command')
    assert accuracies.NOTHING in path.read_text() and (tmp_path / 'accuracies.csv').read_text().startswith('data,network,row')


def test_a_mean_is_that_of_the_seeds_and_orders_a_set(tmp_path):
    place = Place('x', tmp_path / 'x.csv', '', None)
    rows = [
        accuracies.Trained('mnist', str(errors), '', None, '', '', errors, (), None, '', place) for errors in ((3.0, 5.0), (1.0,), (4.5,))
    ]
    (ordered,) = accuracies.sets(rows).values()
    assert [one.mean for one in ordered] == [1.0, 4.0, 4.5]
