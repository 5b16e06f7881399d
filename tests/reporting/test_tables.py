"""Tables: what is written can be read back, and no text is taken for markup, in four forms."""

import csv
import html
import io
import math
import re
import statistics

import numpy as np
import pytest
from page_reader import EVIL, Reader

from cnn_research.reporting import tables
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Cell, Column, Interval, Table


def test_spread_agrees_with_statistics():
    values = [0.9, 0.97, 1.04, 1.3]
    assert tables.spread(values, 3) == f'{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f} (4)'
    assert tables.spread([0.951]) == '0.95 (1 seed)'
    assert tables.spread([-0.001, 0.001], 1) == '0.0 ± 0.0 (2)'
    assert tables.spread([]) == tables.MISSING
    assert tables.spread([1.0, math.inf]) == 'inf ± nan (2)'


def test_csv_reads_back_exactly():
    values = [0.1 + 0.2, np.float32(1 / 3), 1e-300]
    rows_in = [{'name': 'a, "b"\nc', 'x': value, 'seeds': np.array([0.1 + 0.2, 2.0]), 'n': np.int64(60965224)} for value in values]
    table = Table([Column('name'), Column('x', 'X, %', '.1f'), Column('seeds'), Column('n', format=','), Column('absent')], rows_in)
    read = list(csv.DictReader(io.StringIO(tables.to_csv(table))))
    assert [row['name'] for row in read] == ['a, "b"\nc'] * 3
    assert [float(row['x']) for row in read] == [float(value) for value in values]
    assert [float(seed) for seed in read[0]['seeds'].split()] == [0.1 + 0.2, 2.0]
    assert {int(row['n']) for row in read} == {60965224}
    assert {row['absent'] for row in read} == {''}


def test_markdown_has_one_cell_per_column_whatever_the_text():
    table = Table([Column('a', 'A|B'), Column('b', format='.2f'), Column('c')], [{'a': 'x|y\\|\nz', 'b': 1 / 3, 'c': EVIL}, {}], '*note*')
    caption, _, *lines = tables.to_markdown(table).splitlines()
    assert caption == r'\*note\*'
    assert lines[1] == '| --- | ---: | --- |'
    # Cut at pipes that an even number of backslashes precedes: the others belong to the text.
    cells = [re.findall(r'((?:\\.|[^|\\])*)\|', line)[1:] for line in lines]
    assert [len(row) for row in cells] == [3, 3, 3, 3]
    unescaped = [html.unescape(re.sub(r'\\(.)', r'\1', cell)).strip() for cell in cells[2]]
    assert unescaped == ['x|y\\| z', '0.33', EVIL]
    assert '<' not in tables.to_markdown(table)


def test_html_table_shows_every_cell():
    columns = [Column('name', EVIL), Column('error', 'Error', '.2f'), Column('done')]
    table = Table(columns, [{'name': EVIL, 'error': [1.0, 2.0, 3.0], 'done': True}, {'name': 'b', 'error': None}], EVIL)
    read = Reader(tables.to_html(table))
    assert read.cells == [EVIL, 'Error', 'done', EVIL, '2.00 ± 1.00 (3)', 'yes', 'b', '–', '–']
    assert 'script' not in read.tags and read.text.count(EVIL) == 3


def test_cells_say_where_they_come_from_and_in_which_state():
    columns = [Column('a'), Column('error', 'Error', '.2f'), Column('plain')]
    rows_in = [
        {'a': 'x', 'error': Cell([1.0, 2.0, 3.0], 'runs/a (1)|b'), 'plain': 1},
        {'a': Cell(EVIL, f'#"{EVIL}'), 'error': Cell(2.5, '#trial-1', 'reduced'), 'plain': 2},
        {'a': None, 'error': Cell(None, None, EVIL)},
    ]
    table = Table(columns, rows_in)
    read = Reader(tables.to_html(table))
    assert read.cells[3:] == ['x', '2.00 ± 1.00 (3)', '1', EVIL, '2.50, reduced', '2', '–', EVIL, '–']
    assert read.addresses == ['runs/a (1)|b', f'#"{EVIL}', '#trial-1'] and 'script' not in read.tags
    lines = tables.to_markdown(table).splitlines()
    assert lines[1] == '| --- | ---: | ---: |'
    assert lines[2] == '| x | [2.00 ± 1.00 (3)](runs/a%20%281%29%7Cb) | 1 |'
    assert '](' not in ''.join(lines[3:]) and '2.50, reduced' in lines[3]
    # The CSV keeps numbers and states apart, and has no column for states where there are none.
    read = list(csv.reader(io.StringIO(tables.to_csv(table))))
    assert read == [
        ['a', 'error', 'error note', 'plain'],
        ['x', '1.0 2.0 3.0', '', '1'],
        [EVIL, '2.5', 'reduced', '2'],
        ['', '', EVIL, ''],
    ]
    assert tables.to_tex(table).count('2.50, reduced') == 1


def test_intervals_are_one_cell_to_read_and_three_numbers_to_compute_with():
    values = [Interval(1 / 3, -0.5, 1e3), Cell(Interval(2.0, math.nan, math.nan), '#a', 'reduced'), Interval(*[math.nan] * 3), None]
    table = Table([Column('d', 'Difference', '+.1f'), Column('n')], [{'d': value, 'n': 1} for value in values])
    read = list(csv.reader(io.StringIO(tables.to_csv(table))))
    assert read[0] == ['d', 'd low', 'd high', 'd note', 'n']
    assert [float(number) for number in read[1][:3]] == list(values[0])
    assert read[2:] == [['2.0', '', '', 'reduced', '1'], ['', '', '', '', '1'], ['', '', '', '', '1']]
    cells = Reader(tables.to_html(table)).cells
    assert cells[2::2] == ['+0.3 (-0.5 to +1000.0)', '+2.0, reduced', '–', '–']
    assert from_tex(tables.to_tex(table))[1][0] == '+0.3 (−0.5 to +1000.0)'
    assert tables.to_markdown(table).splitlines()[1] == '| ---: | ---: |'


@pytest.mark.parametrize(
    ('values', 'shown'),
    [
        ((5.2345, 4.351, 6.121), '+5.23 (+4.35 to +6.12)'),
        ((0.0021, -0.0242, 0.0421), '+0.0021 (-0.0242 to +0.0421)'),
        ((123456.0, -1.0, 2e5), '+123456 (-1 to +200000)'),
        ((0.0, 0.0, 0.0), '+0.00 (+0.00 to +0.00)'),
        ((-1e-9, -1.0, 1.0), '+0.00 (-1.00 to +1.00)'),
        ((math.inf, 1.0, math.inf), '+inf (+1.00 to +inf)'),
    ],
)
def test_the_numbers_of_an_interval_have_one_precision(values, shown):
    assert Reader(tables.to_html(Table([Column('d', 'd', '+')], [{'d': Interval(*values)}]))).cells == ['d', shown]


def test_a_mean_with_a_sign_has_a_deviation_without():
    (row,) = tables.to_markdown(Table([Column('d', format='+.1f')], [{'d': [1.0, 3.0]}])).splitlines()[2:]
    assert row == '| +2.0 ± 1.4 (2) |'


def from_tex(text):
    """What LaTeX prints for a table's rows, read by a grammar of its own: escapes, commands, mathematics, braces, ligatures."""
    body = re.search(r'\\toprule\n(.*)\\bottomrule', text, re.S).group(1).replace('\\midrule\n', '')
    commands = {
        'textbackslash': '\\',
        'textasciitilde': '~',
        'textasciicircum': '^',
        'textendash': '–',
        'dots': '…',
        'pm': '±',
        'times': '×',
    }
    token = re.compile(r'\\([a-z]+)(?:\{\})?|\\(.)|---?|\'\'|[{}$]|.|\n', re.S)
    rows_read, cells, mathematics, at_start = [], [''], False, False
    for match in token.finditer(body):
        word, symbol, text = match[1], match[2], match[0]
        assert not (at_start and text in '[*'), 'read as an argument of the row before'
        assert text not in ('--', '---', "''"), 'printed as one character'
        at_start = at_start and text.isspace()
        if word:
            cells[-1] += commands[word]
        elif symbol == '\\':
            rows_read.append([cell.strip() for cell in cells])
            cells, at_start = [''], True
        elif symbol:
            cells[-1] += symbol
        elif text == '&':
            cells.append('')
        elif text == '$':
            mathematics = not mathematics
        elif text not in '{}':
            assert text not in '#%_^~', text
            assert text not in '<>|' or mathematics, text
            cells[-1] += '−' if mathematics and text == '-' else text
    return rows_read


def test_tex_prints_every_text_as_it_is():
    texts = [r'\input{x} \\ $1$ & 5 % #1 a_b ~ ^2', '[t] *', '*', '--config.x=1 ---', "''a'' `b`", EVIL, 'LeNet-5', '3 × 3 – 4 … 5 − 6']
    columns = [Column('a', 'Rate, %'), Column('b', 'x_1', '.2f')]
    values = [[1.0, 2.0, 3.0], -1.5, None, Cell(2.0, 'a', 'reduced'), Cell(None, None, 'failed: 5 % & more'), 1e9, True, 'b']
    table = Table(columns, [{'a': text, 'b': value} for text, value in zip(texts, values, strict=True)], 'All 5 %.')
    tex = tables.to_tex(table)
    shown = ['2.00 ± 1.00 (3)', '−1.50', '–', '2.00, reduced', 'failed: 5 % & more', '1000000000.00', 'yes', 'b']
    assert from_tex(tex) == [['Rate, %', 'x_1'], *map(list, zip(texts, shown, strict=True))]
    assert r'\caption{All 5 \%.}' in tex and r'2.00 $\pm$ 1.00' in tex and r'\begin{tabular}{ll}' in tex
    assert r'\begin{tabular}{lr}' in tables.to_tex(Table(columns, [{'a': 'x', 'b': 1.0}]))


def test_table_files_keep_dots_in_the_name(tmp_path):
    written = tables.write(Table([Column('a')], [{'a': 'ä'}]), tmp_path / 'new' / 'rate 0.1')
    assert [file.name for file in written] == ['rate 0.1.csv', 'rate 0.1.md', 'rate 0.1.tex']
    assert sorted(written[0].parent.iterdir()) == sorted(written)
    assert written[0].read_bytes() == 'a\nä\n'.encode()


def test_a_table_with_intervals_says_what_they_cover(tmp_path):
    shelf = Shelf(tmp_path, 'report', ())
    plain, narrow = Interval(1.0, math.nan, math.nan), Interval(1.0, 0.5, 1.5)
    for name, cell, told in (('none', plain, False), ('some', narrow, True), ('noted', Cell(narrow, note='reduced'), True)):
        shown = shelf.table(name, Table([Column('a'), Column('b')], [{'a': 1.0}, {'b': cell}], 'A caption.'))
        for text in (shown, *((tmp_path / f'{name}.{kind}').read_text() for kind in ('md', 'tex'))):
            assert ('A caption. Intervals cover the seeds only' in text) == told
