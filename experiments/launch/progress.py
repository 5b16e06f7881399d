"""What a command shows while a training runs, and what it notes about the machine."""

import contextlib
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import time

from cnn_research import files, parallel
from cnn_research.errors import CheckpointError
from experiments.launch.command import Command


class Progress:
    """Shows a training's events: one moving line on a terminal, and a line a minute (and every note) in WORKDIR/log.txt.

    When steps begin it leaves WORKDIR/run.json: the command, date, machine and versions that the numbers are quoted with, and as 'notes'
    what was skipped, chosen or assumed in the data. prefix: what
    stands before each line shown, where several trainings share a screen.
    """

    def __init__(self, given: Command, prefix: str = ''):
        self._given, self._path, self._prefix = given, given.workdir / 'log.txt', prefix
        self._assumed: list[str] = []
        self._last = time.monotonic() - 50  # the first moving line after ten seconds
        self._stage = ''

    def __call__(self, event: dict) -> None:
        if 'start' in event:
            _record(self._given, self._assumed)
            return
        if event.get('assumed'):
            self._assumed.append(event['note'])
        moving = 'note' not in event and 'role' not in event
        text = event.get('note') or event.get('reading') or self._line(event)
        if sys.stderr.isatty():
            print(f'\r\033[K{self._prefix}{text}', end='' if moving else '\n', file=sys.stderr, flush=True)
        stage = event.get('reading', self._stage).partition(' ')[0]  # 'reading' or 'compiling': said when it begins
        begins, self._stage = stage != self._stage, stage
        if not moving or begins or time.monotonic() - self._last >= 60:
            if moving and not begins:
                self._last = time.monotonic()
            if not sys.stderr.isatty():
                print(f'{self._prefix}{text}', file=sys.stderr, flush=True)
            files.append(self._path, f'{time.strftime("%Y-%m-%d %H:%M:%S")} {text}')

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


def elsewhere(line: str, *more: str) -> str:
    """A command line without what belongs to one machine or run: --workdir, --config.data.dir and the flags in `more`.

    One that no shell could read, as a damaged record may hold, is left as it is.
    """
    own = (*(f'--{name}=' for name in ('workdir', 'config.data.dir', *more)), '--config.parallel.')
    try:
        return shlex.join(word for word in shlex.split(line) if not word.startswith(own))
    except ValueError:
        return line


def machine() -> str:
    """This machine in words: processor, cores, devices."""
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    if cpuinfo.is_file():
        model = next((line.split(':')[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith('model name')), model)
    devices, processes = parallel.devices(), parallel.process()[1]
    together = f' of {processes} processes' if processes > 1 else ''
    return f'{os.cpu_count()} cores of {model}, {len(devices)} {devices[0].device_kind} device{"s" if len(devices) > 1 else ""}{together}'


@functools.cache
def code() -> str:
    """The commit of this checkout, 'and changes' where its files differ from it; '' where the code is no checkout, or git is not there."""
    root = pathlib.Path(__file__).resolve().parents[2]
    if not (root / '.git').exists():  # an installed package may lie within somebody else's checkout
        return ''

    def git(*words):
        return subprocess.run(['git', '-C', str(root), *words], capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return git('rev-parse', '--short=12', 'HEAD') + ' and changes' * bool(git('status', '--porcelain', '--untracked-files=no'))
    return ''


def facts(line: str) -> dict[str, str]:
    """What numbers are quoted with: command, date, machine, versions and, from a checkout, its commit."""
    packages = ('jax', 'flax', 'optax', 'numpy')
    versions = ', '.join(f'{name} {importlib.metadata.version(name)}' for name in packages)
    return {
        'command': line,
        'date': time.strftime('%Y-%m-%d'),
        'machine': machine(),
        'versions': f'Python {platform.python_version()}, {versions}',
        **({'code': code()} if code() else {}),
    }


def _record(given: Command, assumed: list[str]) -> None:
    path = given.workdir / 'run.json'
    content: dict = facts(given.line) | ({'notes': assumed} if assumed else {})
    try:
        before = files.read_json(path) if path.exists() else None
    except CheckpointError as error:
        before = {'unknown': str(error)}
    if before and {**before, 'date': content['date']} != content:  # a run that went on elsewhere, or otherwise, says so
        content['before'] = before
    files.write(path, json.dumps(content, indent=1))
