"""report.html: one file that loads nothing, read on a screen in light or dark, on a phone, and on paper.

One report is a `page`, several are `joined` in one. A number in a table links to the trials it comes from, which `trials_html` lists
with config and command, by the address that `place` gives to both.
"""

import collections
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cnn_research.reporting import tables, templates
from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.figures import data_uri


class Report(NamedTuple):
    """One experiment's part of a joined page. `name` heads its addresses ('depth_ablation'); the rest is as in `page`."""

    name: str
    title: str
    lead: str
    sections: Sequence[tuple[str, str]]
    command: str


class Trial(NamedTuple):
    """One trained network as the reader may ask for it: the `label` of its row, `seed`, `key`, `state` ('finished', 'failed: ...'),
    the `command` that trains it again, its `config` as text, what else is known of it (machine, versions, minutes), its learning curves
    as markup, and the `differences` of its config, (field, its own, that of the `base`); None where it has no other to be set beside."""

    label: str
    seed: int
    key: str
    state: str
    command: str
    config: str
    facts: Mapping[str, object]
    curves: str = ''
    base: str = ''
    differences: Sequence[tuple[str, str, str]] | None = None


def page(title: str, lead: str, sections: Sequence[tuple[str, str]], command: str) -> str:
    """A complete HTML document.

    `title`, `lead`, the headings and `command` are plain text and are escaped; the second of each (heading, html) is markup and is
    put in as it is, so it comes from `to_html`, `figure_html`, `facts_html`, `text_html` or `trials_html`. `command` makes the report
    again. ValueError for two places of one address and for a link to a place that is not there.
    """
    contents = templates.part('listed', _headings(sections), '') if len(sections) > 2 else ''
    return _document(title, lead, contents, templates.part('alone', _marked(sections), command))


def joined(title: str, lead: str, reports: Sequence[Report]) -> str:
    """Several reports as one HTML document, each under its own title and with its own command; as in `page` otherwise."""
    told = [
        one._asdict() | {'lead': _paragraphs(one.lead), 'headings': _headings(one.sections), 'sections': _marked(one.sections)}
        for one in reports
    ]
    return _document(title, lead, templates.part('joined_contents', told), templates.part('joined', told))


def place(report: str, label: str) -> str:
    """The address of a row's trials within the page, for the `href` of a Cell: '#depth_ablation-without_3,4'."""
    quoted = urllib.parse.quote(label, safe=' ,:;+=()').replace('_', '%5F').replace(' ', '_')  # no two labels have one address
    return f'#{urllib.parse.quote(report)}-{quoted}'


def trials_html(report: str, trials: Sequence[Trial]) -> str:
    """The trials of each row, folded, at the address that `place` gives for the report and the row's label; each leads to a page of its
    own, which is shown while the address names it."""
    rows: dict[str, list[Trial]] = {}
    for trial in trials:
        rows.setdefault(trial.label, []).append(trial)
    folds = [_row_html(place(report, label), label, of_row) for label, of_row in rows.items()]
    return ''.join(folds + [_trial_html(place(report, trial.label), trial) for trial in trials])


def text_html(text: str) -> str:
    """Plain text as paragraphs, parted where it has empty lines."""
    return templates.part('paragraphs', _paragraphs(text))


def figure_html(figure: Figure, caption: str) -> str:
    """The figure within the page itself, its caption (plain text) below it; a click shows it at its full size."""
    # A figure keeps the size at which its lettering was set: 96 pixels to the inch, plus the frame.
    return templates.part('figure', data_uri(figure), caption, round(96 * figure.get_figwidth()) + 18)


def facts_html(facts: Sequence[tuple[str, object]]) -> str:
    """(label, value) pairs as a list; both are escaped."""
    return templates.part('facts', [(label, str(value)) for label, value in facts])


def _document(title: str, lead: str, contents: str, body: str) -> str:
    ids = collections.Counter(re.findall(r'\sid="([^"]*)"', body))
    twice = [name for name, count in ids.items() if count > 1]
    dangling = sorted(set(re.findall(r'\shref="#([^"]*)"', contents + body)) - set(ids))
    if twice or dangling:
        raise ValueError(f'addresses within the page: {twice} are there twice, {dangling} are linked to and not there')
    return templates.document(title, text_html(lead), contents, body)


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.split('\n\n') if part.strip()]


def _headings(sections: Sequence[tuple[str, str]]) -> list[str]:
    return [heading for heading, _ in sections]


def _marked(sections: Sequence[tuple[str, str]]) -> list[tuple[str, templates.Markup]]:
    return [(heading, templates.Markup(markup)) for heading, markup in sections]


def _row_html(address: str, label: str, trials: Sequence[Trial]) -> str:
    """The address is inside the fold, so that following a link opens it. What all seeds share is said once."""
    shared = [fact for fact in trials[0].facts.items() if all(fact in trial.facts.items() for trial in trials)]
    own = list(dict.fromkeys(name for trial in trials for name in trial.facts if name not in dict(shared)))
    columns = [tables.Column('seed', 'Seed'), tables.Column('key', 'Key'), tables.Column('state', 'State')]
    columns += [tables.Column(f'fact {name}', name) for name in own]
    rows = [
        {'seed': trial.seed, 'key': tables.Cell(trial.key, _own(address, trial)), 'state': trial.state}
        | {f'fact {name}': value for name, value in trial.facts.items()}
        for trial in trials
    ]
    states = collections.Counter(trial.state.partition(':')[0] for trial in trials)
    summary = ', '.join(f'{count} {state}' for state, count in states.items())
    table = templates.Markup(tables.to_html(tables.Table(columns, rows)))
    return templates.part('row', address[1:], label, summary, table, [(name, str(value)) for name, value in shared])


def _own(address: str, trial: Trial) -> str:
    """The address of a trial's own page; what `place` gives holds no '!'."""
    return f'{address}!{trial.seed}-{urllib.parse.quote(trial.key)}'


def _trial_html(address: str, trial: Trial) -> str:
    differences = trial.differences
    if differences:
        columns = [tables.Column('field'), tables.Column('own', 'this one'), tables.Column('base', trial.base)]
        rows = [{'field': name, 'own': own, 'base': base} for name, own, base in differences]
        differences = templates.Markup(tables.to_html(tables.Table(columns, rows)))
    return templates.part('trial', _own(address, trial)[1:], address[1:], trial, templates.Markup(trial.curves), differences)
