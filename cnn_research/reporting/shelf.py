"""Where a report puts what it shows: every table and figure stands in the page and, as files, beside it."""

import pathlib
from collections.abc import Sequence

from matplotlib.figure import Figure

from cnn_research.reporting import claims, figures, page, tables


class Shelf:
    """Writes FOLDER/NAME.csv, .md and .tex, and FOLDER/figures/NAME.png and .svg; each method returns the page's markup."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def table(self, name: str, table: tables.Table) -> str:
        tables.write(table, self._folder / name)
        return tables.to_html(table)

    def figure(self, name: str, figure: Figure, caption: str) -> str:
        figures.save(figure, self._folder / 'figures' / name)
        return page.figure_html(figure, caption)

    def claims(self, judged: Sequence[claims.Judged]) -> str:
        return self.table('claims', claims.table(judged))
