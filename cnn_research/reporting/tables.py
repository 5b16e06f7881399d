"""A table is plain data (columns and a list of dicts), written four ways: CSV with raw values; Markdown, HTML and LaTeX for reading."""

import csv
import html
import io
import math
import numbers
import re
import statistics
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_research import files
from cnn_research.reporting import templates

MISSING = '–'
# What LaTeX would interpret, or would not print as it stands; brackets and stars because they may follow the end of a row.
_TEX = {
    '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    **{character: '\\' + character for character in '{}$&#%_'},
    **{character: f'{{{character}}}' for character in '[]*`'},
    **{character: f'${character}$' for character in '<>|'},
    '±': r'$\pm$',
    '×': r'$\times$',
    '−': '$-$',
    '–': r'\textendash{}',
    '…': r'\dots{}',
}


class Interval(NamedTuple):
    """A mean with the ends of its confidence interval, read as '+1.20 (+0.80 to +1.60)'; NaN where there is none.

    The three are written with one precision: that of the column's format or, where it names none ('', '+'), the one at which the
    largest has three figures."""

    mean: float
    low: float
    high: float


class Cell(NamedTuple):
    """A value with what a reader may want to know beside it: `href`, where it comes from (a relative path, an address, or '#...'
    within the page), and `note`, its state: 'failed: out of memory' (with no value), 'reduced' (beside one)."""

    value: Any
    href: str | None = None
    note: str = ''


class Column(NamedTuple):
    """One column: `key` looks a cell up in a row and heads the CSV; `header` (default: the key) heads the readable forms;
    `format` is a format specification for numbers ('.2f', ',')."""

    key: str
    header: str | None = None
    format: str = ''


class Table(NamedTuple):
    """Ordered columns over rows.

    A cell is a number, a string, a bool, None or absent (not there: an empty CSV cell, a dash elsewhere), an Interval, a sequence of
    numbers, one per seed, which is read as mean ± standard deviation and kept whole in the CSV, or a Cell that holds one of these.
    """

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    caption: str = ''


def spread(values: Sequence[float], digits: int = 2) -> str:
    """'0.95 ± 0.03 (3)': mean, sample standard deviation (n - 1) and number of seeds; '0.95 (1 seed)' for one value."""
    return _spread(values, f'z.{digits}f')


def to_csv(table: Table) -> str:
    """Raw values under the columns' keys: floats read back to the same float; the values of several seeds are separated by spaces.
    A column that holds an Interval is followed by 'KEY low' and 'KEY high', one that holds a note by 'KEY note', so that numbers stay
    numbers."""
    parts = [(column, part) for column in table.columns for part in _parts(column, table)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow([f'{column.key} {part}'.rstrip() for column, part in parts])
    writer.writerows([_raw(_part(_cell(row, column), part)) for column, part in parts] for row in table.rows)
    return text.getvalue()


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown table, its caption above it; what Markdown or HTML would interpret is escaped. A cell links to its
    `href` unless that is a place within a page: there is none."""
    lines = [[escaped(_header(column)) for column in table.columns]]
    lines.append(['---:' if _numeric(table, column) else '---' for column in table.columns])
    lines += [
        [_markdown_cell(cell, column.format) for cell, column in zip(_cells(row, table), table.columns, strict=True)] for row in table.rows
    ]
    body = ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)
    return f'{escaped(table.caption)}\n\n{body}' if table.caption else body


def to_html(table: Table) -> str:
    """The table as a figure whose caption and first column stay in view while a wide one scrolls; every text is escaped."""
    kinds = [_html_class(table, column) for column in table.columns]
    heads = [(_header(column), kind) for column, kind in zip(table.columns, kinds, strict=True)]
    rows = [
        [_html_cell(cell, column.format, kind) for cell, column, kind in zip(_cells(row, table), table.columns, kinds, strict=True)]
        for row in table.rows
    ]
    return templates.part('table', table.caption, heads, rows)


def to_tex(table: Table) -> str:
    """A LaTeX table in the style of booktabs, which the document loads; the caption is above, every text is escaped, links are left out."""
    lines = [[_tex(_header(column)) for column in table.columns]]
    lines += [
        [_tex(_text(cell, column.format)) for cell, column in zip(_cells(row, table), table.columns, strict=True)] for row in table.rows
    ]
    head, *body = (' & '.join(cells) + r' \\' + '\n' for cells in lines)
    caption = f'\\caption{{{_tex(table.caption)}}}\n' if table.caption else ''
    kinds = ''.join('r' if _numeric(table, column) else 'l' for column in table.columns)
    return (
        f'\\begin{{table}}\n\\centering\n{caption}\\begin{{tabular}}{{{kinds}}}\n'
        f'\\toprule\n{head}\\midrule\n{"".join(body)}\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n'
    )


def write(table: Table, path: str | Path) -> tuple[Path, Path, Path]:
    """Writes `path`.csv, .md and .tex (the suffix is added to the name as given), by files.write; returns the three paths."""
    path = Path(path)
    texts = {'.csv': to_csv(table), '.md': to_markdown(table), '.tex': to_tex(table)}
    written = tuple(path.with_name(path.name + suffix) for suffix in texts)
    for file, text in zip(written, texts.values(), strict=True):
        files.write(file, text)
    return written


def has_intervals(table: Table) -> bool:
    """Whether any cell of the table shows an Interval that has ends."""
    found = [cell.value for row in table.rows for cell in _cells(row, table)]
    return any(isinstance(value, Interval) and not math.isnan(value.low) for value in found)


def _cell(row: Mapping[str, Any], column: Column) -> Cell:
    value = row.get(column.key)
    return value if isinstance(value, Cell) else Cell(value)


def _cells(row: Mapping[str, Any], table: Table) -> list[Cell]:
    return [_cell(row, column) for column in table.columns]


def _header(column: Column) -> str:
    return column.key if column.header is None else column.header


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_seeds(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) and not isinstance(value, Interval) and np.ndim(value) == 1


def _plain(value: Any) -> Any:
    """NumPy and JAX scalars as Python's own, whose repr is a number and nothing else."""
    return value.item() if hasattr(value, 'item') and np.ndim(value) == 0 else value


def _numeric(table: Table, column: Column) -> bool:
    cells = [_plain(_cell(row, column).value) for row in table.rows]
    present = [cell for cell in cells if cell is not None]
    return bool(present) and all(_is_number(cell) or _is_seeds(cell) or isinstance(cell, Interval) for cell in present)


def _html_class(table: Table, column: Column) -> str:
    """Numbers stand right; of the text only what is long may be broken into lines, so that a phone scrolls rather than stacks words."""
    if _numeric(table, column):
        return 'number'
    return 'long' if any(len(_text(_cell(row, column), column.format)) > 28 for row in table.rows) else ''


def _spread(values: Sequence[float], spec: str) -> str:
    values = [float(value) for value in values]
    if not values:
        return MISSING
    if len(values) == 1:
        return f'{values[0]:{spec}} (1 seed)'
    # statistics.stdev fails on infinities, which a diverged seed does produce.
    deviation = statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan
    # A sign that the format asks of the mean has no place on a deviation.
    return f'{sum(values) / len(values):{spec}} ± {deviation:{spec.replace("+", "")}} ({len(values)})'


def _parts(column: Column, table: Table) -> list[str]:
    cells = [_cell(row, column) for row in table.rows]
    ends = ['low', 'high'] if any(isinstance(cell.value, Interval) for cell in cells) else []
    return ['', *ends, *(['note'] if any(cell.note for cell in cells) else [])]


def _part(cell: Cell, part: str) -> Any:
    if part == 'note':
        return cell.note
    if not isinstance(cell.value, Interval):
        return None if part else cell.value
    number = getattr(cell.value, part or 'mean')
    return None if math.isnan(number) else number


def _raw(value: Any) -> str:
    value = _plain(value)
    if value is None:
        return ''
    if _is_seeds(value):
        return ' '.join(_raw(item) for item in value)
    return repr(value) if isinstance(value, float) else str(value)


def shown(value: Any, spec: str) -> str:
    """What a reader sees of a cell's value, by a format specification as columns have it."""
    value = _plain(value)
    if value is None:
        return MISSING
    if isinstance(value, Interval):
        largest = max((abs(number) for number in value if math.isfinite(number)), default=0)
        decimals = min(max(2 - math.floor(math.log10(largest)), 0), 9) if largest else 2
        mean, low, high = (
            MISSING if math.isnan(number) else f'{number:{spec if "." in spec else f"{spec}z.{decimals}f"}}' for number in value
        )
        return mean if MISSING in (low, high) else f'{mean} ({low} to {high})'
    if _is_seeds(value):
        return _spread(value, spec or '.4g')
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return format(value, spec) if _is_number(value) else str(value)


def _text(cell: Cell, spec: str) -> str:
    """'3.20 ± 0.10 (5), reduced'; of a cell without a value its note alone."""
    if not cell.note:
        return shown(cell.value, spec)
    return cell.note if cell.value is None else f'{shown(cell.value, spec)}, {cell.note}'


def _html_cell(cell: Cell, spec: str, kind: str) -> dict[str, Any]:
    """As in `_text`, the note apart: only it may be broken into lines among numbers. value: what a column of numbers is sorted by."""
    text = '' if cell.note and cell.value is None else shown(cell.value, spec)
    return {'text': text, 'note': cell.note, 'href': cell.href, 'kind': kind, 'value': _order(cell.value) if kind == 'number' else None}


def _order(value: Any) -> str:
    value = _plain(value)
    if _is_seeds(value):
        value = float(np.mean(value)) if len(value) else None
    value = value.mean if isinstance(value, Interval) else value
    return '' if value is None or not math.isfinite(value) else repr(float(value))


def _markdown_cell(cell: Cell, spec: str) -> str:
    text = escaped(_text(cell, spec))
    if cell.href is None or cell.href.startswith('#'):
        return text
    # A parenthesis would end the address, a pipe the cell.
    return f'[{text}]({urllib.parse.quote(cell.href, safe="/:#?&=%+,;@~")})'


def _tex(text: str) -> str:
    # A sign is no hyphen, and two hyphens or quotes are no dash or closing quote.
    text = re.sub(r'(?<![\w.])-(?=[\d.])', '−', ' '.join(text.split()))
    return re.sub("([-'])(?=\\1)", r'\1{}', ''.join(_TEX.get(character, character) for character in text))


def code(text: str) -> str:
    """Text as code within one Markdown line."""
    return f'`{" ".join(text.split()).replace("`", chr(39))}`'


def escaped(text: str) -> str:
    """Text for one Markdown line: no markup, no cell boundary, no line break."""
    text = html.escape(' '.join(text.split()), quote=False)
    return ''.join('\\' + character if character in '\\|*`[]' else character for character in text)
