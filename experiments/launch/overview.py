"""What lies in a folder of runs: every table, looking command and single training, from the files that each leaves."""

import base64
import collections
import contextlib
import io
import os
import pathlib
import re
import time
import urllib.parse
from collections.abc import Iterator
from html.parser import HTMLParser

from PIL import Image

from cnn_research import config as configs
from cnn_research import files, journal, trials
from cnn_research.errors import ConfigError, ResearchError
from cnn_research.reporting import overview

_SIDE = 352  # px of a picture, twice what it takes on the page
_LARGEST = 200_000  # bytes of a drawing of lines that is put in as it is
_LONGEST = 400  # characters of a lead
_REPORT = 'report.html'
_SIGNS = ('plan.json', _REPORT, configs.FILE, 'page.json')  # files, one of which every run has
_WITHIN = {'networks', 'outcomes', 'trials', 'windows'}  # folders that a run has which has no such file yet


class _Head(HTMLParser):
    """The title, the lead and the first picture of a report."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.title, self.lead, self.picture, self._open = '', '', '', []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        if tag == 'img' and not self.picture:
            self.picture = told.get('src') or ''
        if tag in ('h1', 'div'):
            self._open.append('lead' if told.get('class') == 'lead' else tag)

    def handle_endtag(self, tag):
        if tag in ('h1', 'div') and self._open:
            self._open.pop()

    def handle_data(self, data):
        if 'h1' in self._open:
            self.title += data
        elif 'lead' in self._open:
            self.lead += data


def found(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Every run below a folder, and the folder itself where it is one; what lies within a run is its own."""
    for place, names, here in os.walk(folder):
        names.sort()
        if any(sign in here for sign in _SIGNS) or _is_run(pathlib.Path(place), names):
            names.clear()
            yield pathlib.Path(place)


def _is_run(place: pathlib.Path, names: list[str]) -> bool:
    """Whether a folder holds what a run is made of, each in a folder of its own with a digest for a name; one may be called networks."""
    made = [inner.name for name in _WITHIN & set(names) for inner in (place / name).iterdir()]
    return bool(made) and all(re.fullmatch(r'[0-9a-f]{8,}(\..*)?', name) for name in made)


def _state(run: pathlib.Path) -> str:
    """How far a run has come; ResearchError where that cannot be told."""
    if (run / 'plan.json').is_file():
        _, records = trials.records_of(run)
        counts = collections.Counter(record.state for record in records)
        rest = ', '.join(f'{count} {state}' for state, count in counts.items() if state != 'finished')
        return f'{counts["finished"]} of {len(records)} trainings finished{f" ({rest})" * bool(rest)}'
    if (run / configs.FILE).is_file():
        return 'finished' if journal.result(run) else 'not finished'
    return 'finished' if (run / _REPORT).is_file() else 'not finished'


def _name(run: pathlib.Path) -> str:
    """What a run is called that has no report yet."""
    with contextlib.suppress(ResearchError):
        if (run / 'plan.json').is_file():
            return trials.records_of(run)[0].get('experiment', run.name).replace('_', ' ')
        if (run / configs.FILE).is_file():
            config = configs.read(run)
            return f'Training {config["architecture"].split()[0]} on {config["data.name"]}'
    return run.name


def _picture(address: str) -> str:
    """A picture of a report, small: pixels are scaled down, lines stay as they are where they are few."""
    kind, _, content = address.partition(';base64,')
    with contextlib.suppress(Exception):  # a picture that cannot be read is left out
        data = base64.b64decode(content)
        if kind == 'data:image/svg+xml':
            return address if len(data) <= _LARGEST else ''
        if kind == 'data:image/png':
            image = Image.open(io.BytesIO(data)).convert('RGB')
            image.thumbnail((_SIDE, _SIDE))
            out = io.BytesIO()
            image.save(out, 'PNG', optimize=True)
            return 'data:image/png;base64,' + base64.b64encode(out.getvalue()).decode()
    return ''


def _entry(run: pathlib.Path, folder: pathlib.Path) -> overview.Entry:
    there, head = run / _REPORT, None
    with contextlib.suppress(OSError, UnicodeDecodeError):
        head = _Head(there.read_text(encoding='utf-8')) if there.is_file() else None
    try:
        state = _state(run)
    except ResearchError as error:
        state = f'damaged: {trials.inside(error, run)}'
    lead = re.sub(r'\s+', ' ', head.lead).strip() if head else ''
    lead = lead if len(lead) <= _LONGEST else f'{lead[:_LONGEST].rsplit(" ", 1)[0]} …'
    place = run.relative_to(folder)
    when = time.strftime('%Y-%m-%d %H:%M', time.localtime(_changed(run)))
    title = head.title.strip() if head and head.title.strip() else _name(run)
    href = urllib.parse.quote(f'./{(place / _REPORT).as_posix()}') if head else None
    return overview.Entry(title, lead, place.as_posix(), state, when, href, _picture(head.picture) if head else '')


def _changed(run: pathlib.Path) -> float:
    return max(path.stat().st_mtime for path in (run, *(run / sign for sign in _SIGNS)) if path.exists())


def write(folder: pathlib.Path) -> pathlib.Path:
    """FOLDER/index.html; ConfigError where the folder is none or holds no run."""
    if not folder.is_dir():
        raise ConfigError(f'--index={folder} is no folder; name one that holds runs, such as runs.')
    runs = sorted(found(folder), key=_changed, reverse=True)
    if not runs:
        raise ConfigError(f'--index={folder} holds no run: none of {", ".join(_SIGNS)} lies below it.')
    files.write(folder / 'index.html', overview.to_html(folder.name or str(folder), [_entry(run, folder) for run in runs]))
    return folder / 'index.html'
