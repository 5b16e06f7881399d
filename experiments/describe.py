"""Prints what a network is made of: for every stage its settings, output, receptive field, stride, parameters and multiply-adds.

Without --architecture it lists all networks by name. An architecture is a name, or a name and operations on numbered layers:
without(3,4), resized(6=2048,7=2048), replaced(1,kernel=11,stride=4). Receptive fields and strides are in input pixels; a dense
layer sees the whole image. Multiply-adds are the products of the learned linear maps for one image; connections are given where
stages other than those learn or compare, and are counted as LeCun et al. 1998 do.

  python -m experiments.describe --architecture=zfnet
  python -m experiments.describe --architecture='alexnet without(3,4) resized(6=2048,7=2048)' --format=md
  python -m experiments.describe --all --format=csv
"""

import csv
import io
import sys

from absl import flags

from cnn_research.architecture import Architecture
from cnn_research.errors import ConfigError
from cnn_research.models import zoo
from experiments.launch import command

FLAGS = flags.FlagValues()  # of this command alone, so that commands can be imported together
_ARCHITECTURE = flags.DEFINE_string('architecture', None, 'A name, or a name and operations; see above.', flag_values=FLAGS)
_ALL = flags.DEFINE_bool('all', False, 'One row for each network of the zoo, which is also what no flag at all means.', flag_values=FLAGS)
_FORMAT = flags.DEFINE_enum(
    'format', 'text', ['text', 'csv', 'md'], 'Aligned columns, comma-separated values or Markdown.', flag_values=FLAGS
)

Table = list[list[str | int]]  # the first row is the header


def _by(shape) -> str:
    return 'x'.join(map(str, shape))


def catalogue() -> Table:
    """One row for each network of the zoo."""
    rows: Table = [['name', 'input', 'parameters', 'multiply_adds', 'layers']]
    for net in map(zoo.architecture, zoo.NAMES):
        rows.append([net.name, _by(net.input_shape), net.parameters, net.multiply_adds, len(net.layers)])
    return rows


def stages(net: Architecture) -> Table:
    """One row for each stage and one of totals; with connections where they are more than products and biases."""
    header = ['layer', 'stage', 'settings', 'output', 'receptive_field', 'effective_stride', 'parameters', 'multiply_adds', 'connections']
    rows: Table = [header]
    for row in net.rows:
        sees = [row.receptive_field, row.effective_stride] if row.receptive_field else ['all', '']
        rows.append([row.layer, row.stage, row.settings, _by(row.output), *sees, row.parameters, row.multiply_adds, row.connections])
    rows.append(['total', net.name, f'input {_by(net.input_shape)}', '', '', '', net.parameters, net.multiply_adds, net.connections])
    if not any(row.connections and not row.multiply_adds for row in net.rows):
        rows = [row[:-1] for row in rows]
    return rows


def _grouped(rows: Table) -> list[list[str]]:
    """The same for people: thousands set apart, nothing where nothing is learned or computed."""
    empty_when_zero = {i for i, name in enumerate(rows[0]) if name in ('parameters', 'multiply_adds', 'connections')}

    def cell(i, value):
        if isinstance(value, str):
            return value
        return '' if i in empty_when_zero and not value else f'{value:,}'

    return [[name.replace('_', ' ') for name in rows[0]], *([cell(i, v) for i, v in enumerate(row)] for row in rows[1:])]


def rendered(rows: Table, form: str) -> str:
    """The table as text, csv or md, ending in a newline."""
    if form == 'csv':
        text = io.StringIO()
        csv.writer(text, lineterminator='\n').writerows(rows)
        return text.getvalue()
    right = [all(isinstance(value, int) or value in ('', 'all') for value in column) for column in zip(*rows[1:], strict=True)]
    cells = _grouped(rows)
    if form == 'md':
        rule = ['---:' if number else '---' for number in right]
        return ''.join(f'| {" | ".join(row)} |\n' for row in (cells[0], rule, *cells[1:]))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        '  '.join(cell.rjust(width) if number else cell.ljust(width) for cell, width, number in zip(row, widths, right, strict=True))
        for row in cells
    ]
    return ''.join(f'{line.rstrip()}\n' for line in lines)


def describe() -> str:
    if _ALL.value and _ARCHITECTURE.value is not None:
        raise ConfigError('choose --all or --architecture, not both.')
    rows = catalogue() if _ARCHITECTURE.value is None else stages(zoo.architecture(_ARCHITECTURE.value))
    return rendered(rows, _FORMAT.value)


def main() -> None:
    sys.stdout.write(describe())


if __name__ == '__main__':
    command.run_with_flags('describe', main, __doc__, FLAGS)
