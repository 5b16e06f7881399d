"""report.html: one file that loads nothing, read on a screen in light or dark, on a phone, and on paper.

One report is a `page`, several are `joined` in one. A number in a table links to the trials it comes from, which `trials_html` lists
with config and command, by the address that `place` gives to both.
"""

import collections
import html
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cnn_research.reporting import tables
from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.figures import data_uri

_STYLE = """
:root { color-scheme: light dark; --text: #1c1c1a; --quiet: #5d5d58; --ground: #fdfdfb; --line: #d4d4cc; --strong: #55554f;
  --panel: #f3f3ee; --link: #1a4f8b; }
@media (prefers-color-scheme: dark) { :root { --text: #e2e1dc; --quiet: #a3a29b; --ground: #191a1b; --line: #3b3c3d; --strong: #8f8e88;
  --panel: #242526; --link: #9cc3f0; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; padding: 3rem 1.25rem 4rem; max-width: 46rem; background: var(--ground); color: var(--text);
  font: 1.0625rem/1.6 Charter, 'Bitstream Charter', 'Source Serif 4', Cambria, Georgia, 'DejaVu Serif', serif; overflow-wrap: break-word; }
h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 600; margin: 0 0 1rem; text-wrap: balance; }
h2 { font-size: 1.25rem; line-height: 1.3; font-weight: 600; margin: 2.75rem 0 .75rem; }
h3 { font-size: 1.0625rem; margin: 1.75rem 0 .5rem; }
p { margin: 0 0 1rem; }
a { color: var(--link); }
.lead { font-size: 1.125rem; }
nav { border-block: 1px solid var(--line); padding: .75rem 0; margin: 1.75rem 0; font-size: .9375rem; }
nav ol { margin: 0; padding-left: 1.5rem; }
.report { border-top: 3px solid var(--strong); margin-top: 3.5rem; }
.report h2 { font-size: 1.5rem; margin-top: 1.25rem; }
figure { margin: 1.75rem 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff; padding: .5rem; border: 1px solid var(--line);
  border-radius: 3px; }
figcaption { color: var(--quiet); font-size: .9rem; line-height: 1.45; margin: .6rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; border-block: 1.5px solid var(--strong); font-size: .9rem; line-height: 1.4;
  font-variant-numeric: tabular-nums lining-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem 1rem .35rem 0; }
th { font-weight: 600; border-bottom: 1px solid var(--strong); vertical-align: bottom; }
td { white-space: nowrap; }
td.long { white-space: normal; min-width: 12rem; }
th:last-child, td:last-child { padding-right: 0; }
tbody tr + tr td { border-top: 1px solid var(--line); }
.number { text-align: right; }
.note { display: inline-block; max-width: 13rem; white-space: normal; vertical-align: top; font-style: italic; }
td a { color: inherit; text-decoration: underline dotted var(--quiet); text-underline-offset: .2em; }
td a:hover { color: var(--link); }
details { border-top: 1px solid var(--line); padding: .4rem 0; }
details:last-of-type { border-bottom: 1px solid var(--line); }
summary { cursor: pointer; padding: .15rem 0; }
summary span { color: var(--quiet); font-size: .9rem; }
:target { scroll-margin-top: 4rem; }
details pre { white-space: pre-wrap; }
details :target { border-left: 3px solid var(--link); padding-left: 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; margin: 1rem 0; font-size: .9375rem; }
dt { color: var(--quiet); }
dd { margin: 0; min-width: 0; font-variant-numeric: tabular-nums lining-nums; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 3px; padding: .8rem 1rem; overflow-x: auto;
  font: .875rem/1.5 ui-monospace, 'SFMono-Regular', Menlo, Consolas, 'DejaVu Sans Mono', monospace;
  user-select: all; -webkit-user-select: all; }
@media (max-width: 34rem) {
  body { padding-top: 1.5rem; font-size: 1rem; }
  h1 { font-size: 1.55rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
  figure img { padding: .2rem; }
}
@media print {
  :root { color-scheme: light; --text: #000; --quiet: #444; --ground: #fff; --line: #bbb; --strong: #444; --panel: #fff; --link: #000; }
  @page { margin: 18mm; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  figure:not(.table), tr, pre { break-inside: avoid; }
  td a { text-decoration: none; }
  figure.table figcaption { break-after: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
  td, td.long { white-space: normal; min-width: 0; }
  td.number { white-space: nowrap; }
  pre { white-space: pre-wrap; }
}
"""


class Report(NamedTuple):
    """One experiment's part of a joined page. `name` heads its addresses ('depth_ablation'); the rest is as in `page`."""

    name: str
    title: str
    lead: str
    sections: Sequence[tuple[str, str]]
    command: str


class Trial(NamedTuple):
    """One trained network as the reader may ask for it: the `label` of its row, `seed`, `key`, `state` ('finished', 'failed: ...'),
    the `command` that trains it again, its `config` as text, and what else is known of it (machine, versions, minutes)."""

    label: str
    seed: int
    key: str
    state: str
    command: str
    config: str
    facts: Mapping[str, object]


def page(title: str, lead: str, sections: Sequence[tuple[str, str]], command: str) -> str:
    """A complete HTML document.

    `title`, `lead`, the headings and `command` are plain text and are escaped; the second of each (heading, html) is markup and is
    put in as it is, so it comes from `to_html`, `figure_html`, `facts_html`, `text_html` or `trials_html`. `command` makes the report
    again. ValueError for two places of one address and for a link to a place that is not there.
    """
    contents = f'<ol>\n{_contents(sections, "")}</ol>' if len(sections) > 2 else ''
    return _document(
        title, lead, contents, f'{_sections(sections, "", 2)}<section>\n<h2>Made again by</h2>\n{_command(command)}</section>\n'
    )


def joined(title: str, lead: str, reports: Sequence[Report]) -> str:
    """Several reports as one HTML document, each under its own title and with its own command; as in `page` otherwise."""
    contents = ''.join(
        f'<li><a href="#{html.escape(report.name)}">{html.escape(report.title)}</a>\n'
        f'<ol>\n{_contents(report.sections, report.name + "-")}</ol></li>\n'
        for report in reports
    )
    body = ''.join(
        f'<section class="report" id="{html.escape(report.name)}">\n<h2>{html.escape(report.title)}</h2>\n{text_html(report.lead)}'
        f'{_sections(report.sections, report.name + "-", 3)}<h3>Made again by</h3>\n{_command(report.command)}</section>\n'
        for report in reports
    )
    return _document(title, lead, f'<ol>\n{contents}</ol>', body)


def place(report: str, label: str) -> str:
    """The address of a row's trials within the page, for the `href` of a Cell: '#depth_ablation-without_3,4'."""
    quoted = urllib.parse.quote(label, safe=' ,:;+=()').replace('_', '%5F').replace(' ', '_')  # no two labels have one address
    return f'#{urllib.parse.quote(report)}-{quoted}'


def trials_html(report: str, trials: Sequence[Trial]) -> str:
    """The trials of each row, folded, at the address that `place` gives for the report and the row's label."""
    rows: dict[str, list[Trial]] = {}
    for trial in trials:
        rows.setdefault(trial.label, []).append(trial)
    return ''.join(_row_html(place(report, label)[1:], label, of_row) for label, of_row in rows.items())


def text_html(text: str) -> str:
    """Plain text as paragraphs, parted where it has empty lines."""
    return ''.join(f'<p>{html.escape(part.strip())}</p>\n' for part in text.split('\n\n') if part.strip())


def figure_html(figure: Figure, caption: str) -> str:
    """The figure within the page itself, its caption (plain text) below it."""
    text = html.escape(caption)
    # A figure keeps the size at which its lettering was set: 96 pixels to the inch, plus the frame.
    width = round(96 * figure.get_figwidth()) + 18
    return f'<figure>\n<img src="{data_uri(figure)}" alt="{text}" style="width: {width}px">\n<figcaption>{text}</figcaption>\n</figure>\n'


def facts_html(facts: Sequence[tuple[str, object]]) -> str:
    """(label, value) pairs as a list; both are escaped."""
    pairs = ''.join(f'<dt>{html.escape(label)}</dt><dd>{html.escape(str(value))}</dd>\n' for label, value in facts)
    return f'<dl>\n{pairs}</dl>\n'


def _document(title: str, lead: str, contents: str, body: str) -> str:
    ids = collections.Counter(re.findall(r'\sid="([^"]*)"', body))
    twice = [name for name, count in ids.items() if count > 1]
    dangling = sorted(set(re.findall(r'\shref="#([^"]*)"', contents + body)) - set(ids))
    if twice or dangling:
        raise ValueError(f'addresses within the page: {twice} are there twice, {dangling} are linked to and not there')
    navigation = f'<nav aria-label="Contents">{contents}</nav>\n' if contents else ''
    # The policy makes the browser refuse what this page must not do: load or run anything.
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{html.escape(title)}</h1>
<div class="lead">{text_html(lead)}</div>
{navigation}{body}</main>
</body>
</html>
"""


def _contents(sections: Sequence[tuple[str, str]], prefix: str) -> str:
    return ''.join(
        f'<li><a href="#{html.escape(prefix)}section-{number}">{html.escape(heading)}</a></li>\n'
        for number, (heading, _) in enumerate(sections, 1)
    )


def _sections(sections: Sequence[tuple[str, str]], prefix: str, level: int) -> str:
    return ''.join(
        f'<section id="{html.escape(prefix)}section-{number}">\n<h{level}>{html.escape(heading)}</h{level}>\n{markup}</section>\n'
        for number, (heading, markup) in enumerate(sections, 1)
    )


def _command(command: str) -> str:
    return f'<pre>{html.escape(command)}</pre>\n'


def _row_html(address: str, label: str, trials: Sequence[Trial]) -> str:
    """The address is inside the fold, so that following a link opens it. What all seeds share is said once."""
    shared = [fact for fact in trials[0].facts.items() if all(fact in trial.facts.items() for trial in trials)]
    own = list(dict.fromkeys(name for trial in trials for name in trial.facts if name not in dict(shared)))
    columns = [tables.Column('seed', 'Seed'), tables.Column('key', 'Key'), tables.Column('state', 'State')]
    columns += [tables.Column(f'fact {name}', name) for name in own]
    rows = [
        {'seed': trial.seed, 'key': trial.key, 'state': trial.state} | {f'fact {name}': value for name, value in trial.facts.items()}
        for trial in trials
    ]
    configs = ''.join(map(_command, dict.fromkeys(trial.config for trial in trials)))
    commands = ''.join(map(_command, dict.fromkeys(trial.command for trial in trials)))
    states = collections.Counter(trial.state.partition(':')[0] for trial in trials)
    summary = ', '.join(f'{count} {state}' for state, count in states.items())
    return (
        f'<details>\n<summary>{html.escape(label)} <span>{html.escape(summary)}</span></summary>\n<div id="{html.escape(address)}">\n'
        f'{tables.to_html(tables.Table(columns, rows))}{facts_html(shared)}<p>Command</p>\n{commands}<p>Config</p>\n{configs}'
        f'</div>\n</details>\n'
    )
