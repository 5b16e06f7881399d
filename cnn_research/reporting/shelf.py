"""Where a report puts what it shows: every table and figure stands in the page and, as files, beside it."""

import pathlib
from collections.abc import Collection, Sequence

from cnn_research.reporting import claims, figures, page, tables
from cnn_research.reporting.drawing import Figure


class Shelf:
    """Writes FOLDER/NAME.csv, .md and .tex, and FOLDER/figures/NAME.png and .pdf; each method returns the page's markup.

    report: its name within the page; labels: the rows whose trials stand in it, to which a table's column 'row' leads. `markdown`: the same
    content in its order, for a text beside the files; `tables`: the names of the tables.
    """

    def __init__(self, folder: pathlib.Path, report: str, labels: Collection[str]):
        self._folder, self._report, self._labels = folder, report, labels
        self.markdown: list[str] = []
        self.tables: list[str] = []

    def text(self, text: str) -> str:
        """Paragraphs, separated by empty lines."""
        self.markdown.append(f'{text}\n')
        return page.text_html(text)

    def table(self, name: str, table: tables.Table) -> str:
        linked = [{key: self._linked(key, cell) for key, cell in row.items()} for row in table.rows]
        tables.write(table, self._folder / name)
        self.markdown.append(tables.to_markdown(table))
        self.tables.append(name)
        return tables.to_html(table._replace(rows=linked))

    def _linked(self, key, cell):
        return tables.Cell(cell, page.place(self._report, cell)) if key == 'row' and cell in self._labels else cell

    def figure(self, name: str, figure: Figure, caption: str) -> str:
        figures.save(figure, self._folder / 'figures' / name)
        self.markdown.append(f'![{caption}](figures/{name}.png)\n\n{caption}\n')
        return page.figure_html(figure, caption)

    def claims(self, judged: Sequence[claims.Judged], caption: str = 'Each claim was written down before the run.') -> str:
        return self.table('claims', claims.table(judged, caption))
