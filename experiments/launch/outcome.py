"""What a command that looks into a network leaves: report.html, README.md and arrays.npz, and these as a folder of results.

page.json keeps the page as it was drawn, so that it is rendered again without the network.
"""

import base64
import contextlib
import hashlib
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from cnn_research import config as configs
from cnn_research import files, journal, records, trials
from cnn_research.errors import ArchitectureError, CheckpointError, ConfigError
from cnn_research.reporting import page, tables
from cnn_research.reporting.shelf import Shelf
from experiments.launch import command, progress

RUN = {'command': str, 'date': str, 'machine': str, 'versions': str}  # what run.json must say
TEST = {'test': {'top1_error': (0, 1)}}  # what result.json must say
NOTES = 'Skipped, chosen or assumed'  # the heading of what a number rests on and nobody asked for
_INLINE, _LINKED = re.compile(r'src="data:image/png;base64,([^"]*)"'), re.compile(r'src="(figures/[^"]*)"')
_BEGUN = {'verification': 'networks', 'detection': 'proposals', 'transfer': 'features'}  # {command: a folder that it makes first}
_FILE = re.compile(r'(figures/)?\w[\w.-]*\.(png|csv)', re.ASCII)  # what `Shelf` calls its files


def config(home: pathlib.Path, values: dict) -> ml_collections.ConfigDict:
    """{dotted name: value} of config.json with all fields; CheckpointError for fields, values or an architecture that are none."""
    try:
        whole = configs.update(configs.default(), values)
        configs.network(whole)
        return whole
    except (ConfigError, ArchitectureError) as error:
        raise CheckpointError(f'{home / configs.FILE} is damaged: {error}') from None


class Page(NamedTuple):
    """What a command has drawn: sections are (heading, markup); arrays: what the figures show, by name."""

    title: str
    lead: str
    sections: list[tuple[str, str]]
    arrays: dict[str, np.ndarray]


def made(home: pathlib.Path) -> dict:
    """run.json of a run, which no number rests on: every entry says so where it is missing or damaged."""
    try:
        found = files.read_json(home / 'run.json', RUN)
        files.check(home / 'run.json', found.get('notes', []), [str], 'notes')
        files.check(home / 'run.json', found.get('code', ''), str, 'code')
        return found
    except CheckpointError:
        return dict.fromkeys(RUN, 'unknown, run.json is missing or damaged')


def seconds(home: pathlib.Path) -> float | None:
    """Spent in steps; None where timing.jsonl, which no number rests on, does not say it."""
    with contextlib.suppress(CheckpointError):
        return journal.seconds(home) or None


def spent(home: pathlib.Path) -> str:
    """The time in steps in words, with the share of it that waited for data, as far as timing.jsonl says it."""
    total, waited = seconds(home), journal.waited(home)
    if not total:
        return 'unknown'
    return progress.duration(total) + ('' if waited is None else f', {100 * waited / total:.1f} % of it waiting for data')


def check_place(given: command.Command, *folders: str) -> None:
    """ConfigError where the workdir holds the table of another experiment, whose plan and report would be overwritten; WriteError where
    the command's files, or those in the `folders` that it makes, could not be written."""
    with contextlib.suppress(CheckpointError):  # one that cannot be read is no table any more
        there = files.read_json(given.workdir / 'plan.json', {'experiment': str})['experiment']
        if there != given.name:
            raise ConfigError(f'{given.workdir} holds a table of {there}; choose another workdir for {given.name}.')
    files.check_writable(given.workdir, *folders)


def write(
    given: command.Command, drawn: Page, shelf: Shelf, homes: list[str], notes: Sequence[str], seconds: float, architecture: str = ''
) -> None:
    """arrays.npz, report.html and README.md of the networks in `homes`, which say how they were made, and what should be said of it;
    architecture: its whole name, where captions have a short one."""
    files.write(given.workdir / 'arrays.npz', lambda file: np.savez_compressed(file, **drawn.arrays))
    facts = progress.facts(given.line) | {'time': progress.duration(seconds)}
    facts |= {'architecture': architecture} if architecture else {}
    facts |= {
        f'network {number}' if len(homes) > 1 else 'network': _origin(given, pathlib.Path(home)) for number, home in enumerate(homes, 1)
    }
    assumed = [(NOTES, shelf.text('\n\n'.join(notes)))] if notes else []
    sections = [*drawn.sections, *assumed, ('How it was made', page.facts_html([fact for fact in facts.items() if fact[0] != 'command']))]
    leave(given.workdir, page.Report(given.name, drawn.title, drawn.lead, sections, progress.elsewhere(given.line)))
    named_so = ' --config.network=WORKDIR' + ',...' * (len(homes) > 1) if given.options.network else ''
    facts = {name: tables.escaped(str(value)) for name, value in facts.items()}
    facts['command'] = tables.code(f'{progress.elsewhere(given.line, "config.network")}{named_so}')
    named = ', '.join(f'[{name}]({name}.csv)' for name in shelf.tables)
    facts |= {'tables': named} if named else {}
    lead = tables.escaped(drawn.lead)
    parts = [f'# {drawn.title}\n', f'{lead}\n', *shelf.markdown, 'How it was made:\n', *(f'- {k}: {v}' for k, v in facts.items())]
    files.write(given.workdir / 'README.md', '\n'.join(parts) + '\n')
    print(f'report: {given.workdir / "report.html"}')


def leave(workdir: pathlib.Path, made: page.Report) -> None:
    """WORKDIR/report.html, and page.json, from which `told` makes the same page; pictures of pixels stay in their own files."""
    there = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted((workdir / 'figures').glob('*.png'))}
    pictures: dict[str, str] = {}

    def outside(found):
        digest = hashlib.sha256(base64.b64decode(found[1])).hexdigest()
        if digest not in there:
            return found[0]
        link = there[digest].relative_to(workdir).as_posix()
        pictures[link] = digest
        return f'src="{link}"'

    sections = [[heading, _INLINE.sub(outside, markup)] for heading, markup in made.sections]
    records.write(workdir / 'page.json', {**made._asdict(), 'sections': sections, 'pictures': pictures})
    files.write(workdir / 'report.html', page.page(*made[1:]))


def told(workdir: pathlib.Path, number: int = 0) -> page.Report:
    """What `leave` was given; number: its place among several pages in one. ConfigError where the workdir holds nothing of the kind,
    CheckpointError for what is not what was written."""
    path = workdir / 'page.json'
    if not path.is_file():
        raise ConfigError(_nothing(workdir))
    kept = records.read(path, dict.fromkeys(('name', 'title', 'lead', 'command'), str) | {'sections': [[str]], 'pictures': dict})
    again = f'its command draws it again: {kept["command"]}'
    if any(len(section) != 2 for section in kept['sections']):
        raise CheckpointError(f'{path} is damaged: a section is no heading and markup.')
    for link, digest in kept['pictures'].items():
        if not _FILE.fullmatch(link) or not _own(workdir, link):
            raise CheckpointError(f'{path} names {link!r}, which is no figure of this workdir; {again}')
        if hashlib.sha256((workdir / link).read_bytes()).hexdigest() != digest:
            raise CheckpointError(f'{workdir / link} is not the picture that page.json was written with; {again}')

    def inside(found):
        content = (workdir / found[1]).read_bytes() if found[1] in kept['pictures'] else None
        return f'src="data:image/png;base64,{base64.b64encode(content).decode()}"' if content else found[0]

    sections = [(heading, _LINKED.sub(inside, markup)) for heading, markup in kept['sections']]
    name = f'{kept["name"]}-{number}' if number else kept['name']
    return page.Report(name, kept['title'], kept['lead'], sections, kept['command'])


def _nothing(workdir: pathlib.Path) -> str:
    """Why no page can be made of a workdir, and which command would leave one, where a README.md says it."""
    with contextlib.suppress(OSError, ValueError):
        line = re.search(r'^- command: `+(python [^`\n]+?)`+$', (workdir / 'README.md').read_bytes().decode(), re.M)
        if line:
            return f'{workdir} was left by an earlier version, without page.json; its command renders it: {line[1]}'
    if (workdir / 'network' / configs.FILE).is_file():
        there = f'{workdir} holds no page yet, only a training; name {workdir / "network"}'
        return f'{there}, or give its command again, which goes on from there.'
    begun = next((name for name, folder in _BEGUN.items() if (workdir / folder).is_dir()), None)
    if begun:
        return f'{workdir} holds no page yet; the command of experiments.{begun} that began it goes on when given again, and leaves one.'
    what = 'plan.json (of a table), config.json (of a training) or page.json (of a command that looks into networks)'
    return f'{workdir} holds no run that a page is made of: there is no {what} in it.'


def _origin(given: command.Command, home: pathlib.Path) -> str:
    """Where a network is from: its training's command and test error, as far as they are known, or the name of its file."""
    if not home.is_dir():
        return home.name
    try:
        line = progress.elsewhere(files.read_json(home / 'run.json', RUN)['command'])
    except CheckpointError as error:
        line = f'unknown command ({trials.inside(error, home)})'
    words = line if given.options.network else 'trained by this command'
    if given.options.look.step:
        return words  # an earlier state has not the error of the last
    try:
        test = files.check(home / 'result.json', journal.result(home) or {}, TEST)['test']
        return f'{words}; test error {100 * test["top1_error"]:.2f} %'
    except CheckpointError as error:
        return f'{words}; its test error is not known ({trials.inside(error, home)})'


def results(workdir: pathlib.Path, folder: pathlib.Path) -> None:
    """README.md of such a workdir, and the figures and tables that it names, as FOLDER.

    CheckpointError where it names anything but files that a `Shelf` leaves in that workdir; nothing is written then.
    """
    try:
        text = (workdir / 'README.md').read_bytes().decode()
    except (OSError, ValueError):
        raise CheckpointError(f'{workdir / "README.md"} cannot be read as text in UTF-8.') from None
    named = re.findall(r'(?<!\\)\]\(([^)]+\.(?:png|csv))\)', text)
    wrong = [link for link in named if not _FILE.fullmatch(link)]
    tables_ = [link.removesuffix('.csv') + suffix for link in named if link.endswith('.csv') for suffix in ('.md', '.tex')]
    links = ['README.md', *dict.fromkeys([*named, *tables_])]
    wrong += [link for link in links if not _own(workdir, link)] or [link for link in links if not _within(folder, folder / link)]
    if wrong:
        raise CheckpointError(
            f'{workdir / "README.md"} names {wrong[0]!r}, which is no table or figure of this workdir; only those are copied.'
        )
    for link in links:
        files.write(folder / link, (workdir / link).read_bytes())


def _own(workdir: pathlib.Path, link: str) -> bool:
    return (workdir / link).is_file() and _within(workdir, workdir / link)


def _within(folder: pathlib.Path, path: pathlib.Path) -> bool:
    """Whether a path stays in a folder when links are followed."""
    return path.resolve().is_relative_to(folder.resolve())
