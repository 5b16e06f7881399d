"""What every command shares: reading its command line, help, one-line refusals, stopping by a signal."""

import importlib.util
import os
import pathlib
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import ml_collections
from absl import flags

import experiments
from cnn_research import config as configs
from cnn_research.config import Field
from cnn_research.errors import ConfigError, ResearchError, nearest
from cnn_research.train import Stopped

_HELP = {'--help', '-h', '-help', '--helpfull'}
ROOT = pathlib.Path(__file__).resolve().parents[2]


class Recipe(NamedTuple):
    """What FILE.py:SCALE says: the training's fields, the experiment's own, and the rows of its table, {label: training fields}."""

    label: str
    config: dict
    options: dict
    rows: dict[str, dict]


@dataclass(frozen=True)
class Command:
    """A command line, read: the experiment's name, its training config and own options, where it works, and how it was asked for.

    recipe: the same before the command line changed it.
    """

    name: str
    config: ml_collections.ConfigDict
    options: ml_collections.ConfigDict
    recipe: Recipe
    workdir: pathlib.Path
    dry_run: bool
    line: str


def _load(text: str) -> Recipe:
    """The recipe of FILE.py:SCALE: its get_config(scale) and, where it has them, get_options(scale) and get_rows(scale)."""
    file, _, scale = text.partition(':')
    path = pathlib.Path(file) if pathlib.Path(file).is_file() else ROOT / file
    if not path.is_file() or path.suffix != '.py':
        have = sorted(str(p.relative_to(ROOT)) for p in (ROOT / 'configs').glob('*.py'))
        raise ConfigError(f'there is no config file {file}; choose from {", ".join(have)}.{nearest(file, have)}')
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, 'SCALES') or not hasattr(module, 'get_config'):
        raise ConfigError(f'{file} is no config file: it must define SCALES and get_config(scale).')
    scale = scale or module.SCALES[0]
    if scale not in module.SCALES:
        raise ConfigError(f'{file} has no scale {scale!r}; choose from {", ".join(module.SCALES)}.{nearest(scale, module.SCALES)}')
    options, rows = (getattr(module, part, lambda scale: {})(scale) for part in ('get_options', 'get_rows'))
    return Recipe(f'{path.stem}-{scale}', configs.flat(module.get_config(scale)), configs.flat(options), rows)


def parse(name: str, default_config: str, arguments: list[str], fields: Sequence[Field] = ()) -> Command:
    """Reads --config=FILE:SCALE, --config.FIELD=VALUE, --workdir=DIR and --dry_run; ResearchError for anything else."""
    chosen, overrides, rest = default_config, {}, []
    for argument in arguments:
        key, equals, value = argument.removeprefix('--').partition('=')
        if key == 'config' and equals:
            chosen = value
        elif key == 'config' or key.startswith('config.'):
            if not equals:
                raise ConfigError(f'{argument} has no value; write --{key}={"FILE:SCALE" if key == "config" else "VALUE"}.')
            overrides[key.removeprefix('config.')] = value
        else:
            rest.append(argument)
    known = flags.FlagValues()
    flags.DEFINE_string('workdir', '', 'where the run is kept', flag_values=known)
    flags.DEFINE_bool('dry_run', False, 'print the plan and do nothing', flag_values=known)
    try:
        left = known([name, *rest])[1:]
    except flags.Error as error:
        raise ConfigError(f'{error}; the flags are --config, --config.FIELD, --workdir, --dry_run and --help.') from None
    if left:
        raise ConfigError(f'{left[0]!r} is not a flag; write --config=FILE:SCALE, --config.FIELD=VALUE, --workdir=DIR or --dry_run.')
    recipe = _load(chosen)
    own = {field.name for field in fields}
    for override in overrides:
        if override not in own and override not in configs.BY_NAME:
            raise configs.unknown_field(override, [*own, *configs.BY_NAME])
    config, options = configs.default(), configs.default(fields)
    for values in (recipe.config, {k: v for k, v in overrides.items() if k not in own}):
        config = configs.update(config, values)
    # A recipe may serve several commands: each takes the options that it knows.
    for values in (recipe.options, overrides):
        options = configs.update(options, {k: v for k, v in values.items() if k in own}, fields)
    configs.check_values(options, fields)
    workdir = pathlib.Path(known.workdir or f'runs/{name}/{recipe.label}')
    line = shlex.join(['python', '-m', f'experiments.{name}', *arguments])
    return Command(name, config, options, recipe, workdir, known.dry_run, line)


def help_text(doc: str, fields: Sequence[Field] = ()) -> str:
    """A command's own paragraph and examples, then every field with default and meaning, its own first."""
    lines = [doc.strip(), '', 'Fields, for --config.FIELD=VALUE:']
    for field in (*fields, *configs.FIELDS):
        valid = f' ({", ".join(field.choices)})' if field.choices else ''
        lines.append(f'  {field.name}={field.default!r}\n      {field.meaning}{valid}')
    return '\n'.join(lines)


def stopper() -> Callable[[], bool]:
    """A function that says True once SIGINT or SIGTERM has come; a second signal ends the program at once."""
    asked = []

    def handle(number, frame):
        asked.append(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return lambda: bool(asked)


def interruptible() -> None:
    """Gives SIGINT and SIGTERM back their usual meaning, after the work that a `stopper` was for."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def guarded(name: str, main: Callable) -> Callable:
    """main with the exits of every command: 2 for what the user can mend, 75 after a stop that saved, 130 after one with nothing to
    save; bugs keep their traceback."""

    def run_main(*arguments):
        if signal.getsignal(signal.SIGINT) is experiments.quiet:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            main(*arguments)
        except KeyboardInterrupt:
            print(f'{name}: interrupted; the same command begins again, or goes on from what it had kept', file=sys.stderr)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(130)  # at once: devices may be at work, and the interpreter's own end would wait for them or crash
        except ResearchError as error:
            print(f'{name}: {error}', file=sys.stderr)
            sys.exit(2)
        except Stopped as stopped:
            print(f'{name}: {stopped}; the same command goes on from there', file=sys.stderr)
            sys.exit(75)

    return run_main


def keep_compiled() -> None:
    """Has JAX keep compiled programs in the user's cache, so that trials of equal shapes and later commands share them.

    JAX_COMPILATION_CACHE_DIR names another folder, and JAX_ENABLE_COMPILATION_CACHE=false turns it off.
    """
    if not os.environ.get('JAX_COMPILATION_CACHE_DIR'):
        root = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
        jax.config.update('jax_compilation_cache_dir', os.path.join(root, 'cnn_research', 'compiled'))
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)


def run_with_flags(name: str, main: Callable[[], None], doc: str, known: flags.FlagValues) -> None:
    """Runs a command of absl flags and no config: --help prints its paragraph, a wrong flag is one line and exit code 2."""
    if _HELP & set(sys.argv[1:]):
        print(doc.strip())
        return

    def parse_and_run():
        try:
            left = known(sys.argv)[1:]
        except flags.Error as error:
            raise ConfigError(f'{error}; --help lists the flags.') from None
        if left:
            raise ConfigError(f'{left[0]!r} is not a flag; write --NAME=VALUE and quote what holds spaces or brackets.')
        main()

    guarded(name, parse_and_run)()


def run(name: str, main: Callable[[Command], None], doc: str, default_config: str, fields: Sequence[Field] = ()) -> None:
    """Runs a command that takes a config; fields: those of its own, beside the training's."""
    arguments = sys.argv[1:]
    if _HELP & set(arguments):
        print(help_text(doc, fields))
        return
    keep_compiled()
    guarded(name, lambda: main(parse(name, default_config, arguments, fields)))()
