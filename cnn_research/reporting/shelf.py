"""Where a report puts what it shows: every table and figure stands in the page and, as files, beside it."""

import pathlib
from collections.abc import Collection, Mapping, Sequence

from cnn_research.reporting import cards, claims, figures, page, tables
from cnn_research.reporting.drawing import Figure

_COVERED = {
    'seed': 'Intervals cover the seeds only, not which images happened to be tested, unless a column says so.',
    'split': 'Intervals cover which images were drawn for training and for the test, not which networks happened to be trained.',
}


class Shelf:
    """Writes FOLDER/NAME.csv, .md and .tex, and FOLDER/figures/NAME.png and .pdf; each method returns the page's markup.

    report: its name within the page; labels: the rows whose trials stand in it, to which a table's column 'row' leads; points: {row: the
    point of a grid that was chosen for it}, which such a table gets as a column. `markdown`: the same content in its order, for a text
    beside the files; `tables`: the names of the tables.
    """

    def __init__(self, folder: pathlib.Path, report: str, labels: Collection[str], points: Mapping[str, str] | None = None):
        self._folder, self._report, self._labels, self._points = folder, report, labels, points or {}
        self.markdown: list[str] = []
        self.tables: list[str] = []

    def text(self, text: str) -> str:
        """Paragraphs, separated by empty lines."""
        self.markdown.append('\n\n'.join(tables.escaped(part) for part in text.split('\n\n')) + '\n')
        return page.text_html(text)

    def table(self, name: str, table: tables.Table, unit: str = 'seed') -> str:
        """The caption of a table with intervals is given what they cover; unit: what they are over, 'seed', 'seed pair' or 'split'."""
        if tables.has_intervals(table):
            table = table._replace(caption=f'{table.caption} {_COVERED.get(unit, _COVERED["seed"])}'.strip())
        table = self._with_points(table)
        linked = [{key: self._linked(key, cell) for key, cell in row.items()} for row in table.rows]
        tables.write(table, self._folder / name)
        self.markdown.append(tables.to_markdown(table))
        self.tables.append(name)
        return tables.to_html(table._replace(rows=linked))

    def _with_points(self, table: tables.Table) -> tables.Table:
        keys = [column.key for column in table.columns]
        if not self._points or 'row' not in keys or 'point' in keys:
            return table
        at = keys.index('row') + 1
        columns = [*table.columns[:at], tables.Column('point', 'chosen on holdout'), *table.columns[at:]]
        return table._replace(columns=columns, rows=[{**row, 'point': self._points.get(row.get('row'))} for row in table.rows])

    def _linked(self, key, cell):
        return tables.Cell(cell, page.place(self._report, cell)) if key == 'row' and cell in self._labels else cell

    def figure(self, name: str, figure: Figure, caption: str) -> str:
        figures.save(figure, self._folder / 'figures' / name)
        said = tables.escaped(caption)
        self.markdown.append(f'![{said}](figures/{name}.png)\n\n{said}\n')
        return page.figure_html(figure, caption)

    def claims(self, judged: Sequence[claims.Judged], caption: str = 'Each claim was written down before the run.') -> str:
        """Cards in the page, a table in the files."""
        unit = judged[0].unit if judged else 'seed'
        self.table('claims', claims.table(judged, caption), unit)
        return cards.to_html(judged, f'{caption} {_COVERED.get(unit, _COVERED["seed"])}')
