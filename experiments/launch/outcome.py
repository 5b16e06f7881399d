"""What a command that looks into a network leaves: report.html, README.md and arrays.npz, and these as a folder of results."""

import json
import pathlib
import re
import shutil
from typing import NamedTuple

import numpy as np

from cnn_research.reporting import page
from cnn_research.reporting.shelf import Shelf
from experiments.launch import command, progress


class Page(NamedTuple):
    """What a command has drawn: sections are (heading, markup); arrays: what the figures show, by name."""

    title: str
    lead: str
    sections: list[tuple[str, str]]
    arrays: dict[str, np.ndarray]


def write(given: command.Command, drawn: Page, shelf: Shelf, homes: list[str], seconds: float) -> None:
    """arrays.npz, report.html and README.md of the networks in `homes`, which say how they were made."""
    np.savez_compressed(given.workdir / 'arrays.npz', **drawn.arrays)
    facts = progress.facts(given.line) | {'time': progress.duration(seconds)}
    facts |= {
        f'network {number}' if len(homes) > 1 else 'network': _origin(given, pathlib.Path(home)) for number, home in enumerate(homes, 1)
    }
    sections = [*drawn.sections, ('How it was made', page.facts_html([fact for fact in facts.items() if fact[0] != 'command']))]
    (given.workdir / 'report.html').write_text(page.page(drawn.title, drawn.lead, sections, progress.elsewhere(given.line)))
    named_so = ' --config.network=WORKDIR' + ',...' * (len(homes) > 1) if given.options.network else ''
    facts['command'] = f'`{progress.elsewhere(given.line, "config.network")}{named_so}`'
    tables = ', '.join(f'[{name}]({name}.csv)' for name in shelf.tables)
    facts |= {'tables': tables} if tables else {}
    parts = [f'# {drawn.title}\n', f'{drawn.lead}\n', *shelf.markdown, 'How it was made:\n', *(f'- {k}: {v}' for k, v in facts.items())]
    (given.workdir / 'README.md').write_text('\n'.join(parts) + '\n')
    print(f'report: {given.workdir / "report.html"}')


def _origin(given: command.Command, home: pathlib.Path) -> str:
    """Where a network is from: its training's command and test error, as far as they are known, or the name of its file."""
    if not home.is_dir():
        return home.name
    said = [json.loads((home / name).read_text()) if (home / name).is_file() else {} for name in ('run.json', 'result.json')]
    words = progress.elsewhere(said[0].get('command', 'unknown command')) if given.options.network else 'trained by this command'
    finished = 'test' in said[1] and not given.options.look.step  # an earlier state has not the error of the last
    return f'{words}; test error {100 * said[1]["test"]["top1_error"]:.2f} %' if finished else words


def results(workdir: pathlib.Path, folder: pathlib.Path) -> None:
    """README.md of such a workdir, and the figures and tables that it names, as FOLDER."""
    text = (workdir / 'README.md').read_text()
    named = [pathlib.Path(link) for link in re.findall(r'\]\(([^)]+\.(?:png|csv))\)', text)]
    tables = [link.with_suffix(suffix) for link in named if link.suffix == '.csv' for suffix in ('.md', '.tex')]
    for link in ('README.md', *named, *tables):
        (folder / link).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(workdir / link, folder / link)
