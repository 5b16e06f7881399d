"""What results and workdirs hold for the ledger: judged claims and measured numbers, each with its table, its command and its scale.

A scale is read from records alone: from the heading of a README.md, and from the commands that it or plan.json names, completed by the
recipe that such a command names, where that is one of the shipped ones.
"""

import contextlib
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cnn_research import config as configs
from cnn_research import files
from cnn_research.errors import CheckpointError, ConfigError, ResearchError, nearest
from cnn_research.reporting import catalogue, claims_file, ledger, measured
from cnn_research.reporting.ledger import Place, Scale
from experiments.launch import command, progress, recipes

_LINE = re.compile(r'- (?P<name>[^:`]+): `*(?P<text>.*)')
_CODE = re.compile(r'`([^`]+)`')
_ON = re.compile(r' (?:on|to) (\S+?)[.,]?(?=\s|$)')
_LENGTHS = {'schedule.epochs': 'epochs', 'schedule.steps': 'steps'}
_OWN_RESULTS = 'ledger.csv'  # the ledger's own folder is no result


def gather(results: pathlib.Path | None, workdirs: Sequence[pathlib.Path]) -> ledger.Ledger:
    """The ledger of the folders within `results` and of workdirs; ConfigError for a folder that is not there, CheckpointError for one whose
    claims.csv is damaged."""
    for folder, name in [(results, 'results')] * bool(results) + [(one, 'workdirs') for one in workdirs]:
        if not folder.is_dir():
            beside = [str(one) for one in folder.parent.iterdir() if one.is_dir()] if folder.parent.is_dir() else []
            raise ConfigError(f'--{name}: {folder} is no folder.{nearest(str(folder), beside)}')
    homes, without = _homes(results, workdirs)
    if not homes:
        raise ConfigError(f'there is no {claims_file.NAME} in {", ".join(map(str, [*([results] if results else []), *workdirs]))}.')
    tables = [(place(home), claims_file.read(home / claims_file.NAME)) for home in homes]
    numbers = []
    for entry in catalogue.entries().values() if results else ():
        for one in entry.measured:
            for path, told in measured.told(entry.sentence, one, results):
                numbers.append((entry.key, _measured_place(path, results, one.row), told))
    return ledger.assemble(tables, numbers, without)


def _homes(results, workdirs) -> tuple[list[pathlib.Path], list[str]]:
    """(folders with claims, names of those without), each once, by their real paths; of a workdir that has none, those just below it."""
    found, without = {}, []
    below = sorted(one for one in results.iterdir() if one.is_dir() and not (one / _OWN_RESULTS).is_file()) if results else []
    for folder in below:
        _add(folder, found) or without.append(str(folder))
    for folder in workdirs:
        if not _add(folder, found):
            inner = [_add(one, found) for one in sorted(folder.iterdir()) if one.is_dir()]
            any(inner) or without.append(str(folder))
    return list(found.values()), without


def _add(folder: pathlib.Path, found: dict) -> bool:
    there = (folder / claims_file.NAME).exists()
    if there:
        found.setdefault(folder.resolve(), folder)
    return there


def place(home: pathlib.Path) -> Place:
    """What a folder of results, or a workdir, says of where its tables come from."""
    name = home.name or str(home.resolve())
    if (home / 'plan.json').is_file():
        told = files.read_json(home / 'plan.json', {'line': str, 'options': dict})
        line = progress.elsewhere(told['line'], 'config.network', 'config.trials.shard')
        return Place(name, _shown(home), line, _scale(told['line'], _named(told['options'].get('network', '')), ''))
    if not (home / 'README.md').is_file():
        return Place(name, home / claims_file.NAME, '', Scale())
    title, lines = _readme(home / 'README.md')
    networks = [text for label, text in lines if label.startswith('network') or label == 'its networks']
    line = next((text for label, text in lines if label == 'command'), '')
    data = _ON.search(title)
    return Place(name, _shown(home), line, _scale(line, networks, data[1] if data else ''))


def _shown(home: pathlib.Path) -> pathlib.Path:
    """What a reader should open."""
    return next((home / name for name in ('README.md', 'report.html') if (home / name).is_file()), home / claims_file.NAME)


def _readme(path: pathlib.Path) -> tuple[str, list[tuple[str, str]]]:
    """(title, [(label, text)] of its list), texts without what follows a command: '; test error 20 %'."""
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError):
        raise CheckpointError(f'{path} cannot be read as text in UTF-8.') from None
    found = []
    for line in text.splitlines():
        if matched := _LINE.fullmatch(line):
            code = _CODE.search(line)
            found.append((matched['name'].strip(), code[1] if code else matched['text'].partition('; ')[0]))
    return text.partition('\n')[0], found


def _named(networks: Any) -> list[str]:
    """The networks that a table was given, in the words of their own records."""
    found = []
    for text in filter(None, str(networks).split(',')):
        home = pathlib.Path(text)
        try:
            found.append(files.read_json(home / 'run.json', {'command': str})['command'] if home.is_dir() else home.name)
        except CheckpointError:
            found.append(home.name)
    return found


def _measured_place(path: pathlib.Path, results: pathlib.Path, row) -> Place:
    """Of a csv in a folder as of that folder; of one that lies in `results` itself, as the .md beside it says."""
    return beside(path, [row])[0] if path.parent == results else place(path.parent)


def beside(path: pathlib.Path, rows: Sequence[Mapping[str, str]]) -> list[Place]:
    """Where each row of a csv comes from that lies in `results` itself: as the .md beside it says, line by line or by the row's cells."""
    page = path.with_suffix('.md')
    told = [(label, text) for label, text in (_readme(page)[1] if page.is_file() else []) if text.startswith('python -m ')]
    lines = [text for _, text in told]
    if len(told) != len(rows):
        lines = [next((text for label, text in told if label in (*row.values(), 'command')), '') for row in rows]
    return [Place(path.stem, page if page.is_file() else path, line, _scale(line, [], '')) for line in lines]


def settings(line: str, alone: bool = False, row: str = '') -> dict[str, Any]:
    """{dotted name: value} of a command line and of the shipped recipe that it names, as the recipe is today; {} where it names none.
    alone: where it names none, those of the command's default recipe. row: of its table; where the recipe has others, which network it is
    is not told."""
    try:
        words = shlex.split(line)
    except ValueError:
        return {}
    given = dict(word.removeprefix('--').partition('=')[::2] for word in words if word.startswith('--config'))
    recipe = given.pop('config', '') or (_default(words) if alone else '')
    told: dict[str, Any] = {}
    rows: dict[str, dict] = {}
    if recipe.partition(':')[0] in recipes.shipped():
        with contextlib.suppress(ResearchError):  # a scale that is no more
            loaded = recipes.load(recipe)
            told = {**loaded.config, **loaded.options}
            rows = loaded.rows
    told |= {name.removeprefix('config.'): value for name, value in given.items()}
    if row and rows and row not in rows:
        told.pop('architecture', None)
    return told | (rows.get(row, {}) if row else {})


def _default(words: Sequence[str]) -> str:
    """The recipe that a command takes where none is named, as it stands in its file, which is not run."""
    name = next((word.removeprefix('experiments.') for word in words if word.startswith('experiments.')), '')
    source = command.names()[name].read_text() if name in command.names() else ''
    found = re.search(rf"command\.run\('{re.escape(name)}', main, __doc__, '([^']+)'", source)
    return found[1] if found else ''


def _scale(line: str, networks: Sequence[str], data: str) -> Scale:
    """networks: the commands that trained what was looked into, or the names of files; data: of the heading, ''."""
    own, trained = settings(line, alone=not networks), [settings(one) for one in networks]
    data = data or next((str(value) for name, value in own.items() if name.endswith('.data') and value), '')
    data = data or next((one['data.name'] for one in trained if 'data.name' in one), '') or str(own.get('data.name', ''))
    told = [_network(one, text) for one, text in zip(trained, networks, strict=True)] or [str(own.get('architecture', ''))]
    per_class = next((str(value) for name, value in own.items() if name.endswith(('.per_class', '.sizes')) and value), '')
    images = f'{per_class.replace(",", ", ")} of each class' if per_class else '' if trained else examples(own)
    lengths = list(dict.fromkeys(map(length, trained or [own])))
    long = lengths[0] if len(lengths) == 1 else 'each network its own'
    if trained:
        long = '; '.join(filter(None, (own.get('schedule.steps') and length(own), long and f'of its networks: {long}')))
    return Scale(data, tuple(dict.fromkeys(filter(None, told))), images, long)


def _network(told: dict[str, Any], text: str) -> str:
    return f'{told.get("architecture")} of {told.get("data.name")}' if told else text if text.endswith('.npz') else ''


def examples(told: Mapping[str, Any]) -> str:
    """What a network with these settings learns from, in words; '' for none."""
    if not told:
        return ''
    if str(told.get('data.examples', '0')) != '0':
        return f'{told["data.examples"]}'
    held = str(told.get('data.holdout', configs.BY_NAME['data.holdout'].default))
    return 'all training images' + (f' but a holdout of {100 * float(held):g} %' if re.fullmatch(r'0\.\d+', held) else '')


def length(told: Mapping[str, Any]) -> str:
    """How long it learns, in words; '' where they do not say."""
    return next((f'{float(told[name]):g} {unit}' for name, unit in _LENGTHS.items() if told.get(name)), '')
