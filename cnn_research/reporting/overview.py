"""index.html of a folder of runs: what each is, how far it has come, what came out, and its first picture; it loads nothing."""

from collections.abc import Sequence
from typing import NamedTuple

from cnn_research.reporting import templates


class Entry(NamedTuple):
    """A run. title, lead: of its report, or what is known without one; place: its folder, as the reader calls it; state: how far it has
    come, in words; when: of its last change; href: its report, from the page, None without one; picture: a data address, '' for none."""

    title: str
    lead: str
    place: str
    state: str
    when: str
    href: str | None
    picture: str


def to_html(folder: str, entries: Sequence[Entry]) -> str:
    """The page; the texts of the entries are escaped."""
    words = f'{len(entries)} run{"s" * (len(entries) != 1)} in {folder}, the last one changed first.'
    body = templates.part('overview', [entry._asdict() for entry in entries])
    return templates.document('Runs', templates.part('paragraphs', [words]), '', body)
