"""What stands below every table of a benchmark that runs in one process: machine, versions, date, command."""

import pathlib
import platform
import shlex
import time
from collections.abc import Sequence

import jax

from experiments.launch import progress


def finish(text: str, name: str, arguments: Sequence[str], versions: str, notes: Sequence[str], out: str | None) -> None:
    """Prints the text with its footing, and writes it to the file `out` if one is named. versions: of the peers, 'torch 2.13, ...'."""
    lines = [
        f'machine: {progress.machine()}',
        f'versions: Python {platform.python_version()}, jax {jax.__version__}, {versions}',
        *notes,
        time.strftime('%Y-%m-%d %H:%M %Z'),
        f'command: `{shlex.join(["python", "-m", f"benchmarks.{name}", *arguments])}`',
    ]
    text += '\n' + ''.join(f'- {line}\n' for line in lines)
    print(text)
    if out:
        pathlib.Path(out).write_text(text)
