"""The describe command as a user runs it: its tables read back as numbers, and its refusals."""

import csv
import io
import pathlib
import subprocess
import sys

import pytest

from cnn_research.models import zoo
from experiments.describe import rendered, stages

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*arguments):
    command = [sys.executable, '-m', 'experiments.describe', *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_all_as_csv_has_one_row_for_each_name():
    done = run('--all', '--format=csv')
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.splitlines()[0] == 'name,input,parameters,multiply_adds,layers'
    rows = {row['name']: row for row in read(done.stdout)}
    assert tuple(rows) == zoo.NAMES
    assert rows['alexnet'] == {
        'name': 'alexnet',
        'input': '227x227x3',
        'parameters': '60965224',
        'multiply_adds': '724406816',
        'layers': '8',
    }


def test_no_flag_lists_all_for_people():
    done = run()
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(zoo.NAMES)
    assert next(line for line in lines if line.startswith('zfnet ')).split() == ['zfnet', '224x224x3', '62,357,608', '1,168,032,896', '8']


def test_one_architecture_with_operations():
    done = run('--architecture=alexnet without(3,4) resized(6=2048)', '--format=csv')
    assert (done.returncode, done.stderr) == (0, '')
    *rows, total = read(done.stdout)
    assert 'connections' not in rows[0]
    assert [row['layer'] for row in rows if row['stage'] in ('convolution', 'dense')] == ['1', '2', '5', '6', '7', '8']
    assert sum(int(row['parameters']) for row in rows) == int(total['parameters'])
    assert sum(int(row['multiply_adds']) for row in rows) == int(total['multiply_adds'])
    last = [row for row in rows if row['layer'] == '5'][-1]
    assert (last['stage'], last['output'], last['receptive_field'], last['effective_stride']) == ('max_pool', '6x6x256', '131', '32')
    assert next(row for row in rows if row['layer'] == '2')['settings'] == 'features=256, kernel=5, padding=2, groups=2'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--architecture=zfnte'], "unknown architecture 'zfnte'"),
        (['--architecture=zfnet without(8)'], 'layer 8 is the classifier'),
        (['--architecture=zfnet', '--all'], 'not both'),
        (['--architecture=zfnet', 'without(3,4)'], "'without(3,4)' is not a flag"),
    ],
)
def test_refusals_are_one_line_and_exit_code_2(arguments, message):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, '')
    assert message in done.stderr
    assert done.stderr.count('\n') == 1


def test_help_explains_and_gives_examples():
    text = run('--help').stdout
    assert text.count('  python -m experiments.describe --') == 3
    assert all(flag in text for flag in ('--architecture', '--all', '--format'))


def test_lenet5_has_its_connections():
    *rows, total = read(rendered(stages(zoo.architecture('lenet5')), 'csv'))
    assert (total['parameters'], total['connections']) == ('60000', '340908')
    assert sum(int(row['connections']) for row in rows) == 340_908


def test_text_columns_line_up_and_markdown_has_as_many_cells_in_every_row():
    table = stages(zoo.architecture('lenet5'))
    lines = rendered(table, 'text').splitlines()
    ends = {len(line) for line in lines if line.endswith(('connections', '840', '340,908'))}
    assert len(ends) == 1
    assert len(lines) == len(table)
    assert {line.count('|') for line in rendered(table, 'md').splitlines()} == {len(table[0]) + 1}
