"""The ledger as report.html, ledger.md, ledger.csv and catalogue.csv: a section for each source, a line for each claim."""

import html
import pathlib
from collections.abc import Sequence

from cnn_research import files
from cnn_research.reporting import ledger_text as text
from cnn_research.reporting import page, tables
from cnn_research.reporting.catalogue import SOURCES
from cnn_research.reporting.ledger import Evidence, Ledger, Line

TITLE = 'The ledger: what the sources claim, and what holds here'
_STRANGERS = 'Claims of reports that no entry of the catalogue is; they count nowhere.'
_WITHOUT = 'Folders that hold no claims.csv: '


def write(found: Ledger, folder: pathlib.Path, command: str) -> pathlib.Path:
    """Writes the four files into the folder; returns the page."""
    files.write(folder / 'ledger.csv', tables.to_csv(text.tidy(found, folder)))
    files.write(folder / 'catalogue.csv', tables.to_csv(text.catalogued(found)))
    files.write(folder / 'ledger.md', markdown(found, folder, command))
    files.write(folder / 'report.html', report(found, folder, command))
    return folder / 'report.html'


def report(found: Ledger, folder: pathlib.Path, command: str) -> str:
    """The page. Each source's section begins with the claims that it makes, folded to one line each."""
    sections = [('Counts', tables.to_html(text.counts_table(found)))]
    surprises = ''.join(f'<li><p>{html.escape(sentence)}<br>{html.escape(said)}.</p></li>\n' for sentence, said in text.surprises(found))
    sections.append(('The most surprising', f'{page.text_html(text.SURPRISING)}<ol>\n{surprises}</ol>\n'))
    for key, source in SOURCES.items():
        lines = found.of(key)
        if lines:
            heading = f'{source.cited}: {len(lines)} claims' if key != 'own' else source.cited
            sections.append((heading, _source(found, key, lines, folder)))
    needed = text.power_table(found, folder)
    if needed.rows:
        sections.append(('What would decide the undecided', tables.to_html(needed)))
    sections.append(('How to read it', page.text_html(text.RULES)))
    if left := _left(found, folder):
        sections.append(('Left out', left))
    return page.page(TITLE, text.counts(found), sections, command)


def _source(found: Ledger, key: str, lines: Sequence[Line], folder: pathlib.Path) -> str:
    source = SOURCES[key]
    elsewhere = [line for line in found.lines if key in line.entry.also]
    also = ''.join(
        f'<li><a href="#{html.escape(line.entry.key)}">{html.escape(line.entry.sentence)}</a> {html.escape(line.word)}</li>\n'
        for line in elsewhere
    )
    return (
        f'<div id="{key}"></div>\n<p><i>{html.escape(source.title)}</i>; {html.escape(source.read)}.</p>\n'
        + ''.join(_claim(line, folder) for line in lines)
        + (f'<p>It says these, too, which stand with other sources:</p>\n<ul>\n{also}</ul>\n' if also else '')
    )


def _claim(line: Line, folder: pathlib.Path) -> str:
    """The address is inside the fold, so that following a link opens it."""
    entry, said = line.entry, text.short(line)
    facts = [('Source', f'{SOURCES[entry.source].cited}, {entry.where}')]
    facts += [('Also said by', text.also(line))] if entry.also else []
    facts += [('As printed', '; '.join(map(text.printed, entry.printed)))] if entry.printed else []
    shown = tables.to_html(text.evidence_table(line, folder)) if line.evidence else ''
    commands = ''.join(f'<pre>{html.escape(one)}</pre>\n' for one in text.commands(line.evidence))
    return (
        f'<details>\n<summary><b>{html.escape(line.word)}</b>: {html.escape(entry.sentence)}'
        f'{f" <span>{html.escape(said)}</span>" if said else ""}</summary>\n<div id="{html.escape(entry.key)}">\n'
        f'{page.facts_html(facts)}{page.text_html(text.why(line))}{shown}{commands}</div>\n</details>\n'
    )


def _left(found: Ledger, folder: pathlib.Path) -> str:
    parts = []
    if found.strangers:
        listed = ''.join(f'<li>{html.escape(_stranger(one))}</li>\n' for one in found.strangers)
        parts.append(f'{page.text_html(_STRANGERS)}<ul>\n{listed}</ul>\n')
    if found.without:
        parts.append(page.text_html(_WITHOUT + ', '.join(found.without) + '.'))
    if found.twice:
        parts.append(page.text_html(_twice(found)))
    return ''.join(parts)


def _stranger(one: Evidence) -> str:
    return f'{one.told.sentence} {text.verdict(one)}, {text.effect(one)}, {text.number(one)} ({one.place.name}; {one.told.source})'


def _twice(found: Ledger) -> str:
    return f'Evidence that was found in a second place, and counts once: {found.twice}.'


# ---- Markdown


def markdown(found: Ledger, folder: pathlib.Path, command: str) -> str:
    """ledger.md: the same, a table for each source."""
    parts = [f'# {TITLE}\n', f'{text.counts(found)}\n', tables.to_markdown(text.counts_table(found))]
    parts += ['## The most surprising\n', f'{text.SURPRISING}\n']
    parts.append(
        '\n'.join(f'{n}. {tables.escaped(sentence)} {tables.escaped(said)}.' for n, (sentence, said) in enumerate(text.surprises(found), 1))
        + '\n'
    )
    for key, source in SOURCES.items():
        lines = found.of(key)
        if lines:
            parts += [f'## {source.cited}\n', f'*{tables.escaped(source.title)}*; {source.read}.\n', _table(lines, folder)]
            elsewhere = [f'{tables.escaped(line.entry.sentence)} ({line.word})' for line in found.lines if key in line.entry.also]
            if elsewhere:
                listed = '\n'.join(f'- {one}' for one in elsewhere)
                parts.append(f'It says these, too, which stand with other sources:\n\n{listed}\n')
    needed = text.power_table(found, folder)
    if needed.rows:
        parts += ['## What would decide the undecided\n', tables.to_markdown(needed)]
    parts += ['## How to read it\n', f'{text.RULES}\n']
    parts += [f'{_STRANGERS}\n', *(f'- {tables.escaped(_stranger(one))}\n' for one in found.strangers)] if found.strangers else []
    parts += [f'{_WITHOUT}{tables.escaped(", ".join(found.without))}.\n'] if found.without else []
    parts += [f'{_twice(found)}\n'] if found.twice else []
    parts += ['Made again by:\n', f'{tables.code(command)}\n']
    return '\n'.join(parts)


def _table(lines: Sequence[Line], folder: pathlib.Path) -> str:
    """A line for each claim, in it a line for each piece of evidence."""
    rows = ['| claim | here | evidence | as printed | why |', '| --- | --- | --- | --- | --- |']
    for line in lines:
        evidence = '<br>'.join(_evidence(one, folder) for one in text.ordered(line)) or tables.MISSING
        printed = '<br>'.join(tables.escaped(text.printed(one)) for one in line.entry.printed) or tables.MISSING
        also = f'; also {tables.escaped(text.also(line))}' if line.entry.also else ''
        claim = f'{tables.escaped(line.entry.sentence)} ({tables.escaped(line.entry.where)}{also})'
        rows.append(f'| {claim} | **{line.word}** | {evidence} | {printed} | {tables.escaped(text.why(line))} |')
    return '\n'.join(rows) + '\n'


def _evidence(one: Evidence, folder: pathlib.Path) -> str:
    scale = one.place.scale
    trained = ', '.join(filter(None, (scale.examples, scale.epochs)))
    words = [text.data(scale.data), one.network or f'network {text.NOT_RECORDED}', trained or f'length {text.NOT_RECORDED}']
    said = f'{tables.escaped("; ".join(words))}; {text.number(one)}: {tables.escaped(text.effect(one))}'
    needs = f' (would decide: {text.needs(one)})' if text.needs(one) else ''
    note = f' ({tables.escaped(one.told.reason)})' if one.told.verdict == 'measured, not judged' else ''
    return f'{text.verdict(one)}, [{tables.escaped(one.place.name)}]({text.link(one.place.table, folder)}): {said}{needs}{note}'
