"""What every command shares: reading its command line, help, one-line refusals, progress, stopping by a signal."""

import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import shlex
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import ml_collections
from absl import flags

from cnn_research import checkpoints
from cnn_research import config as configs
from cnn_research.errors import ConfigError, ResearchError, nearest
from cnn_research.train import Stopped

_HELP = {'--help', '-h', '-help', '--helpfull'}
ROOT = pathlib.Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Command:
    """A command line, read: the experiment's name, its config, where it works, and how it was asked for."""

    name: str
    config: ml_collections.ConfigDict
    workdir: pathlib.Path
    dry_run: bool
    line: str


def _load(text: str) -> tuple[str, dict]:
    """(name-scale, overrides) of FILE.py:SCALE."""
    file, _, scale = text.partition(':')
    path = pathlib.Path(file) if pathlib.Path(file).is_file() else ROOT / file
    if not path.is_file():
        have = sorted(str(p.relative_to(ROOT)) for p in (ROOT / 'configs').glob('*.py'))
        raise ConfigError(f'there is no config file {file}; choose from {", ".join(have)}.{nearest(file, have)}')
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scale = scale or module.SCALES[0]
    if scale not in module.SCALES:
        raise ConfigError(f'{file} has no scale {scale!r}; choose from {", ".join(module.SCALES)}.{nearest(scale, module.SCALES)}')
    return f'{path.stem}-{scale}', configs.flat(module.get_config(scale))


def parse(name: str, default_config: str, arguments: list[str]) -> Command:
    """Reads --config=FILE:SCALE, --config.FIELD=VALUE, --workdir=DIR and --dry_run; ResearchError for anything else."""
    chosen, overrides, rest = default_config, {}, []
    for argument in arguments:
        key, equals, value = argument.removeprefix('--').partition('=')
        if key == 'config' and equals:
            chosen = value
        elif key.startswith('config.'):
            if not equals:
                raise ConfigError(f'{argument} has no value; write --{key}=VALUE.')
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
    label, values = _load(chosen)
    config = configs.update(configs.update(configs.default(), values), overrides)
    workdir = pathlib.Path(known.workdir or f'runs/{name}/{label}')
    return Command(name, config, workdir, known.dry_run, shlex.join(['python', '-m', f'experiments.{name}', *arguments]))


def help_text(doc: str) -> str:
    """A command's own paragraph and examples, then every field with default and meaning."""
    lines = [doc.strip(), '', 'Fields, for --config.FIELD=VALUE:']
    for field in configs.FIELDS:
        valid = f' ({", ".join(field.choices)})' if field.choices else ''
        lines.append(f'  {field.name}={field.default!r}\n      {field.meaning}{valid}')
    return '\n'.join(lines)


class Progress:
    """Shows a training's events: one moving line on a terminal, and a line a minute (and every note) in WORKDIR/log.txt."""

    def __init__(self, workdir: pathlib.Path):
        self._path, self._last = workdir / 'log.txt', time.monotonic() - 50  # the first moving line after ten seconds

    def __call__(self, event: dict) -> None:
        moving = 'note' not in event and 'role' not in event
        text = event.get('note') or event.get('reading') or self._line(event)
        if sys.stderr.isatty():
            print(f'\r\033[K{text}', end='' if moving else '\n', file=sys.stderr, flush=True)
        if not moving or time.monotonic() - self._last >= 60:
            if moving:
                self._last = time.monotonic()
            if not sys.stderr.isatty():
                print(text, file=sys.stderr, flush=True)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open('a') as file:
                file.write(f'{time.strftime("%Y-%m-%d %H:%M:%S")} {text}\n')

    @staticmethod
    def _line(event: dict) -> str:
        text = f'step {event["step"]}/{event["total"]}  {event.get("role", "train")} loss {event["loss"]:.4f}'
        text += f'  error {100 * event["error"]:.2f} %' if 'error' in event else ''
        if 'eta' in event:
            text += f'  {event["rate"]:.0f} examples/s  {duration(event["eta"])} left'
        return text


def duration(seconds: float) -> str:
    """'1 h 05 min', '4 min 10 s' or '12 s'."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f'{seconds // 3600} h {seconds % 3600 // 60:02d} min'
    return f'{seconds // 60} min {seconds % 60:02d} s' if seconds >= 60 else f'{seconds} s'


def stopper() -> Callable[[], bool]:
    """A function that says True once SIGINT or SIGTERM has come; a second signal ends the program at once."""
    asked = []

    def handle(number, frame):
        asked.append(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return lambda: bool(asked)


def machine() -> str:
    """This machine in words: processor, cores, devices."""
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    if cpuinfo.is_file():
        model = next((line.split(':')[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith('model name')), model)
    devices = jax.local_devices()
    return f'{os.cpu_count()} cores of {model}, {len(devices)} {devices[0].device_kind} device{"s" if len(devices) > 1 else ""}'


def record(given: Command) -> None:
    """Leaves WORKDIR/run.json: the command, date, machine and versions that numbers are quoted with."""
    given.workdir.mkdir(parents=True, exist_ok=True)
    packages = ('jax', 'flax', 'optax', 'numpy')
    versions = ', '.join(f'{name} {importlib.metadata.version(name)}' for name in packages)
    content = {
        'command': given.line,
        'date': time.strftime('%Y-%m-%d'),
        'machine': machine(),
        'versions': f'Python {platform.python_version()}, {versions}',
    }
    checkpoints.write_text(given.workdir / 'run.json', json.dumps(content, indent=1))


def guarded(name: str, main: Callable) -> Callable:
    """main with the exits of every command: 2 for what the user can mend, 75 after a stop that saved; bugs keep their traceback."""

    def run_main(*arguments):
        try:
            main(*arguments)
        except ResearchError as error:
            print(f'{name}: {error}', file=sys.stderr)
            sys.exit(2)
        except Stopped as stopped:
            print(f'{name}: {stopped}; the same command goes on from there', file=sys.stderr)
            sys.exit(75)

    return run_main


def run_with_flags(name: str, main: Callable[[], None], doc: str) -> None:
    """Runs a command of absl flags and no config: --help prints its paragraph, a wrong flag is one line and exit code 2."""
    if _HELP & set(sys.argv[1:]):
        print(doc.strip())
        return

    def parse_and_run():
        try:
            left = flags.FLAGS(sys.argv)[1:]
        except flags.Error as error:
            raise ConfigError(f'{error}; --help lists the flags.') from None
        if left:
            raise ConfigError(f'{left[0]!r} is not a flag; write --NAME=VALUE and quote what holds spaces or brackets.')
        main()

    guarded(name, parse_and_run)()


def run(name: str, main: Callable[[Command], None], doc: str, default_config: str) -> None:
    """Runs a command that takes a config."""
    arguments = sys.argv[1:]
    if _HELP & set(arguments):
        print(help_text(doc))
        return
    guarded(name, lambda: main(parse(name, default_config, arguments)))()
