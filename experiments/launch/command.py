"""What every command shares: reading its command line, help, one-line refusals, stopping by a signal."""

import errno
import importlib
import os
import pathlib
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import ml_collections
from absl import flags

import experiments
from cnn_research import config as configs
from cnn_research import lengths
from cnn_research.errors import AGAIN, FULL, ConfigError, Fallback, ResearchError, Stopped, nearest
from cnn_research.fields import Field
from experiments.launch import recipes
from experiments.launch.recipes import Recipe

_LENGTHS = (
    'Another length of the schedule scales the warm-up, the cool-down and the drops of its recipe with it, except those that are named too.'
)
HELP = {'--help', '-h', '-help', '--helpfull'}


def names() -> dict[str, pathlib.Path]:
    """{name: file} of every command."""
    folder = pathlib.Path(__file__).resolve().parents[1]
    return {path.stem: path for path in sorted(folder.glob('*.py')) if not path.stem.startswith('_')}


@dataclass(frozen=True)
class Command:
    """A command line, read: the experiment's name, its training config and own options, where it works, and how it was asked for.

    recipe: the same before the command line changed it. notes: what was done that nobody named, to be said aloud.
    """

    name: str
    config: ml_collections.ConfigDict
    options: ml_collections.ConfigDict
    recipe: Recipe
    workdir: pathlib.Path
    dry_run: bool
    line: str
    notes: tuple[str, ...] = ()


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
    own = [field.name for field in fields]
    every = [*configs.BY_NAME, *own]
    _refuse_unknown([argument for argument in rest if argument.startswith('-')], every)
    known = flags.FlagValues()
    flags.DEFINE_string('workdir', '', 'where the run is kept', flag_values=known)
    flags.DEFINE_bool('dry_run', False, 'print the plan and do nothing', flag_values=known)
    try:
        left = known([name, *rest])[1:]
    except flags.Error as error:
        raise ConfigError(f'{error}; the flags are --config, --config.FIELD, --workdir, --dry_run and --help.') from None
    if left:
        hint = _meant(left[0].removeprefix('config.'), every)
        offer = 'write --config=FILE:SCALE, --config.FIELD=VALUE, --workdir=DIR or --dry_run'
        raise ConfigError(f'{left[0][:200]!r} is not a flag; {offer}.{hint}')
    for override in overrides:
        if override not in every:
            raise _unknown_field(name, override, every)
    recipe = recipes.load(chosen)
    config, options = configs.update(configs.default(), recipe.config), configs.default(fields)
    said = {k: v for k, v in overrides.items() if k not in own}
    values = lengths.in_proportion(config, said)
    note = (*_kept_shares(config, said, values), *_ignored(name, recipe, own))
    config = configs.update(config, values)
    # A recipe may serve several commands: each takes the options that it knows.
    for values in (recipe.options, overrides):
        options = configs.update(options, {k: v for k, v in values.items() if k in own}, fields)
    configs.check_values(options, fields)
    workdir = pathlib.Path(known.workdir or f'runs/{name}/{recipe.label}')
    line = shlex.join(['python', '-m', f'experiments.{name}', *arguments])
    return Command(name, config, options, recipe, workdir, known.dry_run, line, note)


def _meant(word: str, every: Iterable[str]) -> str:
    """' Did you mean --FLAG?' for a word that is no flag."""
    word = word.partition('=')[0]
    flag = nearest(word, ('workdir', 'dry_run', 'config'), 0.7) if '.' not in word else ''
    field = configs.nearest_field(word, every)
    return flag.replace('mean ', 'mean --') or (f' Did you mean --config.{field}?' if field else '')


def _refuse_unknown(arguments: Sequence[str], every: Iterable[str]) -> None:
    """ConfigError for the first flag that is neither --workdir nor --dry_run."""
    for argument in arguments:
        word = argument.lstrip('-').partition('=')[0]
        if word and word not in ('workdir', 'dry_run', 'nodry_run'):
            offer = 'the flags are --config, --config.FIELD, --workdir, --dry_run and --help'
            raise ConfigError(f'there is no flag --{word[:200]}; {offer}.{_meant(word, every)}')


def _unknown_field(name: str, field: str, every: Iterable[str]) -> ConfigError:
    """The refusal of a field: with the commands that have it, where there are any."""
    section = field.rpartition('.')[0]
    here = any(one.startswith(f'{section}.') for one in every) if section else configs.nearest_field(field, every) is not None
    others = [other for other in names() if other != name and not here]
    fields = {other: getattr(importlib.import_module(f'experiments.{other}'), 'FIELDS', ()) for other in others}
    takers = [other for other, own in fields.items() if field in [one.name for one in own]]
    if takers:
        return ConfigError(f'{name} has no field {field}; it belongs to {", ".join(takers)}.')
    return configs.unknown_field(field, every)


def _kept_shares(config, said: dict, values: dict) -> tuple[str, ...]:
    """What is said of the parts of a schedule that were scaled with it."""
    scaled = [f'{name}={value}' for name, value in values.items() if name not in said and configs.is_set(value)]
    if not scaled:
        return ()
    had = lengths.length(config)
    length = next(f'{name}={said[name]}' for name in lengths.LENGTH if configs.is_set(said.get(name)))
    recipe = f'{configs.flat(config)[had]:g} {had.rpartition(".")[2]}'
    return (f'{length} (the recipe: {recipe}): the parts of its schedule keep their shares, {", ".join(scaled)}; name them for others',)


# The commands that read rows or refuse them.
_ROWS = ('committee', 'depth_ablation', 'dropconnect', 'finetune', 'handmade', 'ingredients', 'layer_probing', 'nonlinearity')
_ROWS += ('stride_diagnosis', 'verification')


def _ignored(name: str, recipe: Recipe, own: Sequence[str]) -> tuple[str, ...]:
    """What is said of a recipe's rows and options that a command does not read."""
    if name in _ROWS:
        return ()
    options = [option for option in recipe.options if option not in own]
    parts = [f'the rows {_few(recipe.rows)}'] if recipe.rows else []
    parts += [f'the options {_few(options)}'] if options else []
    return (f'{recipe.label} has {" and ".join(parts)}, which {name} does not read',) if parts else ()


def _few(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    return ', '.join(shown[:3]) + (', ...' if shown[3:] else '')


def help_text(doc: str, fields: Sequence[Field] = ()) -> str:
    """A command's own paragraph and examples, then every field with default and meaning, its own first."""
    lines = [doc.strip(), '', _LENGTHS, '', 'Fields, for --config.FIELD=VALUE:']
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


# What is wrong with a place that a user named: no permission, no such way to it, too long a name, no room.
_PLACES = (
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
    *FULL,
)


def guarded(name: str, main: Callable) -> Callable:
    """main with the exits of every command: 2 for what the user can mend, 75 after a stop that saved or where another process that trains
    with this one has ended, 130 after one with nothing to
    save; bugs keep their traceback."""

    def run_main(*arguments):
        warnings.simplefilter('ignore', Fallback)  # which commands say among their notes
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
            _leave(2)
        except OSError as error:
            if error.errno not in _PLACES:
                raise
            place = f'{error.filename} ' if error.filename else 'a file '
            print(f'{name}: {place}cannot be used ({error.strerror}); name a place that can.', file=sys.stderr)
            _leave(2)
        except Stopped as stopped:
            print(f'{name}: {stopped}; the same command goes on from there', file=sys.stderr)
            _leave(AGAIN)
        except Exception:
            if _several():
                traceback.print_exc()
                _leave(1)
            raise
        else:
            if _several():
                _several().finish()

    return run_main


def _several():
    """The library's parallel.py, where this process is one of several; None otherwise, and where nothing has asked for a device."""
    parallel = sys.modules.get('cnn_research.parallel')
    return parallel if parallel and parallel.together() else None


def _leave(code: int) -> None:
    """Ends a command with an exit code; of several processes, each waits a little for the others, which end for the same reason."""
    if _several():
        _several().finish(10, code)
    sys.exit(code)


# The commands whose work several processes share: tables of trainings, by launch/sweep.py, and one training.
_TOGETHER = ('committee', 'depth_ablation', 'dropconnect', 'finetune', 'handmade', 'ingredients', 'layer_probing', 'stride_diagnosis')
_TOGETHER += ('train',)


def _meet(given: Command) -> None:
    """Brings together the processes that were asked for, or that a cluster has started; ConfigError for another command."""
    from cnn_research import parallel

    configs.check_processes(given.config)
    count = parallel.expected(given.config.parallel.processes)
    if count > 1 and given.name not in _TOGETHER:
        what = f'{given.name} works in one process, not in {count} together; those that do are {", ".join(_TOGETHER)}'
        raise ConfigError(f'{what}. Start it once, with --config.parallel.processes=1.')
    if given.name not in _TOGETHER and any(given.options.get('trials', {}).get(name) for name in ('launch', 'slurm')):
        raise ConfigError(
            f'{given.name} hands no trials over, so that trials.launch says nothing there; it goes with {", ".join(_TOGETHER)}.'
        )
    if not given.dry_run:
        parallel.start(**given.config.parallel, say=lambda text: print(f'{given.name}: {text}', file=sys.stderr))


def keep_compiled() -> None:
    """Has JAX keep compiled programs in the user's cache, so that trials of equal shapes and later commands share them.

    JAX_COMPILATION_CACHE_DIR names another folder, and JAX_ENABLE_COMPILATION_CACHE=false turns it off.
    """
    import jax  # reading a command line does without

    if not os.environ.get('JAX_COMPILATION_CACHE_DIR'):
        root = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
        jax.config.update('jax_compilation_cache_dir', os.path.join(root, 'cnn_research', 'compiled'))
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)


def run_with_flags(name: str, main: Callable[[], None], doc: str, known: flags.FlagValues) -> None:
    """Runs a command of absl flags and no config: --help prints its paragraph, a wrong flag is one line and exit code 2."""
    if HELP & set(sys.argv[1:]):
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
    if HELP & set(arguments):
        print(help_text(doc, fields))
        return

    def parse_and_run():
        given = parse(name, default_config, arguments, fields)
        for note in given.notes:
            print(f'{name}: {note}', file=sys.stderr)
        keep_compiled()
        _meet(given)
        main(given)

    guarded(name, parse_and_run)()
