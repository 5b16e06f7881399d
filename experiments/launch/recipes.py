"""Config files: which there are, and what FILE.py:SCALE says."""

import contextlib
import importlib.util
import pathlib
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import ml_collections

from cnn_research import config as configs
from cnn_research.errors import ConfigError, ResearchError, nearest

_HERE = pathlib.Path(__file__).resolve()
# Installed, the config files lie in the commands' folder, since a package called `configs` may be anybody's; a checkout has them beside it.
FOLDER = next((folder for folder in (_HERE.parents[1] / 'configs', _HERE.parents[2] / 'configs') if folder.is_dir()), _HERE.parent)


class Recipe(NamedTuple):
    """What FILE.py:SCALE says: the training's fields, the experiment's own, and the rows of its table, {label: training fields}."""

    label: str
    config: dict
    options: dict
    rows: dict[str, dict]


def shipped() -> dict[str, pathlib.Path]:
    """{what --config calls it: path} of every config file that comes with the commands; a leading _ marks what several of them share."""
    return {f'configs/{path.name}': path for path in sorted(FOLDER.glob('[!_]*.py'))}


def _is(test: Callable[[], bool]) -> bool:
    try:
        return test()
    except OSError:  # a name too long, or a folder that may not be entered
        return False


def _found(file: str) -> pathlib.Path:
    """The file as it is named from here, else the shipped one of that name."""
    have = shipped()
    path = pathlib.Path(file)
    if file in have and not _is(path.is_file):
        return have[file]
    if path.suffix == '.py' and _is(path.is_file):
        return path
    offer = f'choose from {", ".join(have)}, or name a .py file of your own'
    stem = path.name.partition('.')[0]
    meant = {name.rpartition('/')[2].removesuffix('.py'): name for name in have}
    hint = f' Did you mean {meant[stem]}?' if stem in meant else nearest(file, have)
    there = f'{file[:200]!r} is no config file' if file and _is(path.exists) else f'there is no config file {file[:200]!r}'
    raise ConfigError(f'{there}; {offer}.{hint}')


@contextlib.contextmanager
def _importable(folder: pathlib.Path) -> Iterator[None]:
    """While a config file runs, `from configs import NAME` finds the files beside it, and then the shipped ones, wherever it lies."""

    def ours():
        return [name for name in sys.modules if name.partition('.')[0] == 'configs']

    before = {name: sys.modules.pop(name) for name in ours()}
    package = types.ModuleType('configs')
    package.__path__ = [str(folder), str(FOLDER)]
    sys.modules['configs'] = package
    try:
        yield
    finally:
        for name in ours():
            del sys.modules[name]
        sys.modules.update(before)


def _place(problem: BaseException, folders: tuple[str, ...]) -> str:
    """', line 7' of the deepest line of a config file that an exception came through."""
    if isinstance(problem, SyntaxError) and problem.lineno:
        return f'{problem.filename}, line {problem.lineno}'
    frames = [frame for frame in traceback.extract_tb(problem.__traceback__) if str(pathlib.Path(frame.filename).parent) in folders]
    return f'{frames[-1].filename}, line {frames[-1].lineno}' if frames else ''


@contextlib.contextmanager
def _readable(file: str, path: pathlib.Path) -> Iterator[None]:
    """Whatever goes wrong in somebody's config file is one line that names file and line."""
    try:
        yield
    except ResearchError:
        raise
    except (Exception, SystemExit) as problem:
        place = _place(problem, (str(path.resolve().parent), str(path.parent), str(FOLDER))) or file
        text = problem.msg if isinstance(problem, SyntaxError) else ' '.join(str(problem).split())
        raise ConfigError(f'{place}: {type(problem).__name__}: {text[:300]}') from None


def _module(path: pathlib.Path):
    spec = importlib.util.spec_from_file_location(f'configs.{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _mapping(value: Any, file: str, function: str) -> dict:
    if not isinstance(value, Mapping | ml_collections.ConfigDict) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f'{file}: {function}(scale) must return a mapping by names, not {type(value).__name__}.')
    return dict(value.items())


def _scales(module, file: str) -> tuple[str, ...]:
    scales = getattr(module, 'SCALES', None)
    sound = isinstance(scales, tuple | list) and scales and all(isinstance(scale, str) for scale in scales)
    if not sound or not callable(getattr(module, 'get_config', None)):
        raise ConfigError(f"{file} is no config file: it must define SCALES, such as ('small', 'large'), and get_config(scale).")
    return tuple(scales)


def scales(path: pathlib.Path) -> tuple[str, ...]:
    """The scales of a config file, the default first; ConfigError for a file that is none."""
    with _importable(path.resolve().parent), _readable(str(path), path):
        return _scales(_module(path), str(path))


def load(text: str) -> Recipe:
    """The recipe of FILE.py:SCALE: its get_config(scale) and, where it has them, get_options(scale) and get_rows(scale)."""
    file, _, scale = text.partition(':')
    path = _found(file)
    with _importable(path.resolve().parent), _readable(file, path):
        module = _module(path)
        have = _scales(module, file)
        scale = scale or have[0]
        if scale not in have:
            raise ConfigError(f'{file} has no scale {scale[:200]!r}; choose from {", ".join(have)}.{nearest(scale, have)}')
        config = _mapping(module.get_config(scale), file, 'get_config')
        options, rows = (
            _mapping(getattr(module, function, lambda scale: {})(scale), file, function) for function in ('get_options', 'get_rows')
        )
        rows = {row: _mapping(changes, file, 'get_rows') for row, changes in rows.items()}
        return Recipe(f'{path.stem}-{scale}', configs.flat(config), configs.flat(options), rows)
