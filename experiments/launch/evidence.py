"""What results and workdirs hold for the ledger: judged claims and measured numbers, each with its table, its command and its scale.

A scale is read from records alone: from the heading of a README.md, and from the commands that it or plan.json names, completed by the recipe
that such a command names, where that is one of the shipped ones.
"""

import pathlib
import re
import shlex
from collections.abc import Sequence
from typing import Any

from cnn_research import files
from cnn_research.errors import CheckpointError, ConfigError, ResearchError, nearest
from cnn_research.reporting import catalogue, claims_file, ledger, measured
from cnn_research.reporting.ledger import Place, Scale
from experiments.launch import recipes

_LINE = re.compile(r'- (?P<name>[^:`]+): `*(?P<text>.*)')
_CODE = re.compile(r'`([^`]+)`')
_ON = re.compile(r' (?:on|to|of) (\S+?)[.,]?(?=\s|$)')
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
    tables = [(_place(home), claims_file.read(home / claims_file.NAME)) for home in homes]
    numbers = []
    for entry in catalogue.entries().values() if results else ():
        for one in entry.measured:
            for path, told in measured.told(entry.sentence, one, results):
                numbers.append((entry.key, _measured_place(path, results, one.row), told))
    return ledger.assemble(tables, numbers, without)


def _homes(results, workdirs) -> tuple[list[pathlib.Path], list[str]]:
    """(folders with claims, names of those without), each once, as their real paths are; of a workdir that has none, those just below it."""
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


def _place(home: pathlib.Path) -> Place:
    name = home.name or str(home.resolve())
    if (home / 'plan.json').is_file():
        told = files.read_json(home / 'plan.json', {'line': str, 'options': dict})
        return Place(name, _shown(home), told['line'], _scale(told['line'], _named(told['options'].get('network', '')), ''))
    if not (home / 'README.md').is_file():
        return Place(name, home / claims_file.NAME, '', Scale())
    title, lead, lines = _readme(home / 'README.md')
    networks = [text for label, text in lines if label.startswith('network') or label == 'its networks']
    command = next((text for label, text in lines if label == 'command'), '')
    data = _ON.search(title) or _ON.search(lead)
    return Place(name, _shown(home), command, _scale(command, networks, data[1] if data else ''))


def _shown(home: pathlib.Path) -> pathlib.Path:
    """What a reader should open."""
    return next((home / name for name in ('README.md', 'report.html') if (home / name).is_file()), home / claims_file.NAME)


def _readme(path: pathlib.Path) -> tuple[str, str, list[tuple[str, str]]]:
    """(title, lead, [(label, text)] of its list), texts without what follows a command: '; test error 20 %'."""
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError):
        raise CheckpointError(f'{path} cannot be read as text in UTF-8.') from None
    title, _, rest = text.partition('\n')
    lead = next((line for line in rest.splitlines() if line.strip()), '')
    found = []
    for line in text.splitlines():
        if matched := _LINE.fullmatch(line):
            code = _CODE.search(line)
            found.append((matched['name'].strip(), code[1] if code else matched['text'].partition('; ')[0]))
    return title, lead, found


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
    if path.parent != results:
        return _place(path.parent)
    beside = path.with_suffix('.md')
    lines = _readme(beside)[2] if beside.is_file() else []
    command = next((text for label, text in lines if label in row.values() or label == 'command'), '')
    return Place(path.stem, beside if beside.is_file() else path, command, _scale(command, [], ''))


def settings(command: str) -> dict[str, Any]:
    """{dotted name: value} of a command line and of the shipped recipe that it names, as the recipe is today; {} where it names none."""
    try:
        words = shlex.split(command)
    except ValueError:
        return {}
    given = dict(word.removeprefix('--').partition('=')[::2] for word in words if word.startswith('--config'))
    recipe = given.pop('config', '')
    told: dict[str, Any] = {}
    if recipe.partition(':')[0] in recipes.shipped():
        try:
            loaded = recipes.load(recipe)
            told = {**loaded.config, **loaded.options}
        except ResearchError:
            told = {}
    return told | {name.removeprefix('config.'): value for name, value in given.items()}


def _scale(command: str, networks: Sequence[str], data: str) -> Scale:
    """networks: the commands that trained what was looked into, or the names of files."""
    own, trained = settings(command), [settings(one) for one in networks]
    learned = [_first(one, 'data.name') for one in trained]
    data = data or next((str(value) for name, value in own.items() if name.endswith('.data') and value), '')
    data = data or next(filter(None, learned), '') or _first(own, 'data.name')
    nets = [_network(one, text) for one, text in zip(trained, networks, strict=True)] or [_first(own, 'architecture')]
    per_class = next((str(value) for name, value in own.items() if name.endswith(('.per_class', '.sizes')) and value), '')
    examples = f'{per_class.replace(",", ", ")} of each class' if per_class else _examples(trained[0] if trained else own)
    lengths = [_length(one) for one in ([*trained] if trained else [own])]
    length = '; '.join(dict.fromkeys(filter(None, lengths)))
    if trained and _first(own, 'schedule.steps'):
        length = f'{own["schedule.steps"]} steps; its networks: {length}' if length else f'{own["schedule.steps"]} steps'
    return Scale(data, '; '.join(dict.fromkeys(filter(None, nets))), examples, length)


def _network(told: dict, text: str) -> str:
    if not told:
        return text if text.endswith('.npz') else ''
    return f'{_first(told, "architecture")} of {_first(told, "data.name")}'


def _examples(told: dict) -> str:
    if not told:
        return ''
    if int(_first(told, 'data.examples') or 0):
        return f'{int(told["data.examples"]):,}'
    return f'all of its training split but {100 * float(told.get("data.holdout", 0)):g} %' if float(told.get('data.holdout', 0)) else 'all'


def _length(told: dict) -> str:
    if _first(told, 'schedule.epochs'):
        return f'{float(told["schedule.epochs"]):g} epochs'
    return f'{told["schedule.steps"]} steps' if _first(told, 'schedule.steps') else ''


def _first(told: dict, name: str) -> str:
    return str(told.get(name) or '')
