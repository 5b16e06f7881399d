"""A table is plain data (columns and a list of dicts), written four ways: CSV with raw values, Markdown, HTML and LaTeX for reading."""

import csv
import html
import io
import math
import numbers
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MISSING = '–'


class Column(NamedTuple):
    """One column: `key` looks a cell up in a row and heads the CSV; `header` (default: the key) heads the readable forms;
    `format` is a format specification for numbers ('.2f', ',')."""

    key: str
    header: str | None = None
    format: str = ''


class Table(NamedTuple):
    """Ordered columns over rows.

    A cell is a number, a string, a bool, None or absent (not there: an empty CSV cell, a dash elsewhere), or a sequence of
    numbers, one per seed, which is read as mean ± standard deviation and kept whole in the CSV.
    """

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    caption: str = ''


def spread(values: Sequence[float], digits: int = 2) -> str:
    """'0.95 ± 0.03 (3)': mean, sample standard deviation (n - 1) and number of seeds; '0.95 (1 seed)' for one value."""
    return _spread(values, f'z.{digits}f')


def to_csv(table: Table) -> str:
    """Raw values under the columns' keys: floats read back to the same float; the values of several seeds are separated by spaces."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow([column.key for column in table.columns])
    writer.writerows([_raw(row.get(column.key)) for column in table.columns] for row in table.rows)
    return text.getvalue()


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown table, its caption above it; what Markdown or HTML would interpret is escaped."""
    lines = [[_escaped(_header(column)) for column in table.columns]]
    lines.append(['---:' if _numeric(table, column) else '---' for column in table.columns])
    lines += [[_escaped(_shown(row.get(column.key), column.format)) for column in table.columns] for row in table.rows]
    body = ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)
    return f'{_escaped(table.caption)}\n\n{body}' if table.caption else body


def to_tex(table: Table) -> str:
    """A LaTeX tabular for booktabs, its caption as a comment above it; every text is escaped, a spread is set as $\\pm$."""
    shape = ''.join('r' if _numeric(table, column) else 'l' for column in table.columns)
    lines = [[_tex(_header(column)) for column in table.columns]]
    lines += [[_tex(_shown(row.get(column.key), column.format)) for column in table.columns] for row in table.rows]
    head, *body = (' & '.join(cells) + r' \\' for cells in lines)
    caption = f'% {" ".join(table.caption.split())}\n' if table.caption else ''
    text = '\n'.join([f'\\begin{{tabular}}{{{shape}}}', r'\toprule', head, r'\midrule', *body, r'\bottomrule', r'\end{tabular}'])
    return f'{caption}{text}\n'


def to_html(table: Table) -> str:
    """The table as a figure whose caption stays in view while a wide table scrolls beneath it; every text is escaped."""
    classes = [_html_class(table, column) for column in table.columns]
    head = ''.join(
        f'<th scope="col"{kind}>{html.escape(_header(column))}</th>' for column, kind in zip(table.columns, classes, strict=True)
    )
    body = ''.join(
        '<tr>'
        + ''.join(
            f'<td{kind}>{html.escape(_shown(row.get(column.key), column.format))}</td>'
            for column, kind in zip(table.columns, classes, strict=True)
        )
        + '</tr>\n'
        for row in table.rows
    )
    caption = f'<figcaption>{html.escape(table.caption)}</figcaption>\n' if table.caption else ''
    return (
        f'<figure class="table">\n{caption}<div class="scroll" tabindex="0">\n<table>\n'
        f'<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n</figure>\n'
    )


def write(table: Table, path: str | Path) -> tuple[Path, Path, Path]:
    """Writes `path`.csv, .md and .tex (the suffix is added to the name as given), making the directory; returns the paths."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = tuple(path.with_name(path.name + suffix) for suffix in ('.csv', '.md', '.tex'))
    for file, text in zip(written, (to_csv(table), to_markdown(table), to_tex(table)), strict=True):
        file.write_text(text, encoding='utf-8', newline='')
    return written


def _header(column: Column) -> str:
    return column.key if column.header is None else column.header


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_seeds(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1


def _plain(value: Any) -> Any:
    """NumPy and JAX scalars as Python's own, whose repr is a number and nothing else."""
    return value.item() if hasattr(value, 'item') and np.ndim(value) == 0 else value


def _numeric(table: Table, column: Column) -> bool:
    cells = [_plain(row.get(column.key)) for row in table.rows]
    present = [cell for cell in cells if cell is not None]
    return bool(present) and all(_is_number(cell) or _is_seeds(cell) for cell in present)


def _html_class(table: Table, column: Column) -> str:
    """Numbers stand right; of the text only what is long may be broken into lines, so that a phone scrolls rather than stacks words."""
    if _numeric(table, column):
        return ' class="number"'
    return ' class="long"' if any(len(_shown(row.get(column.key), column.format)) > 28 for row in table.rows) else ''


def _spread(values: Sequence[float], spec: str) -> str:
    values = [float(value) for value in values]
    if not values:
        return MISSING
    if len(values) == 1:
        return f'{values[0]:{spec}} (1 seed)'
    # statistics.stdev fails on infinities, which a diverged seed does produce.
    deviation = statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan
    return f'{sum(values) / len(values):{spec}} ± {deviation:{spec}} ({len(values)})'


def _raw(value: Any) -> str:
    value = _plain(value)
    if value is None:
        return ''
    if _is_seeds(value):
        return ' '.join(_raw(item) for item in value)
    return repr(value) if isinstance(value, float) else str(value)


def _shown(value: Any, spec: str) -> str:
    value = _plain(value)
    if value is None:
        return MISSING
    if _is_seeds(value):
        return _spread(value, spec or '.4g')
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return format(value, spec) if _is_number(value) else str(value)


_TEX = {
    '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '±': r'$\pm$',
    '–': '--',
    '<': '$<$',
    '>': '$>$',
    **{character: f'\\{character}' for character in '&%$#_{}'},
}


def _tex(text: str) -> str:
    return ''.join(_TEX.get(character, character) for character in ' '.join(text.split()))


def _escaped(text: str) -> str:
    """Text for one Markdown line: no markup, no cell boundary, no line break."""
    text = html.escape(' '.join(text.split()), quote=False)
    return ''.join('\\' + character if character in '\\|*`[' else character for character in text)
