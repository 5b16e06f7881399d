"""What benchmarks share: where they run, sides that take turns, and what stands below every table."""

import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from cnn_research.errors import ConfigError
from cnn_research.models import zoo
from experiments.launch import progress

ABSENT = '--device=gpu needs an NVIDIA GPU and a build of jax that sees it; choose --device=cpu.'


def begin(device: str) -> None:
    """Makes this process compute on the 'cpu' or the 'gpu'; ConfigError where there is none. Called before anything asks for a device."""
    if device == 'cpu':
        jax.config.update('jax_platforms', 'cpu')
        return
    os.environ.setdefault('XLA_PYTHON_CLIENT_MEM_FRACTION', '0.45')  # by itself, JAX takes most of a GPU and leaves PyTorch too little
    if jax.default_backend() != 'gpu':
        raise ConfigError(ABSENT)


def requested(text: str) -> list[tuple[str, int]]:
    """[(architecture, batch size)] of 'NAME operations@BATCH; ...'; ConfigError where it cannot be read."""
    pairs = [part.strip().rpartition('@') for part in text.split(';') if part.strip()]
    if not pairs or not all(name and size.isdigit() and int(size) for name, _, size in pairs):
        raise ConfigError(f"--networks={text!r} cannot be read; write for example 'lenet5_modern@128; zfnet@16'.")
    return [(zoo.architecture(name).name, int(size)) for name, _, size in pairs]


def card() -> str:
    """'NVIDIA H100, driver 570.1': the first GPU as its driver names it, '' where there is none; no process of JAX is begun for it."""
    if not shutil.which('nvidia-smi'):
        return ''
    asked = ['nvidia-smi', '--query-gpu=name,driver_version', '--format=csv,noheader']
    told = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    lines = told.stdout.splitlines()
    return ', driver'.join(lines[0].split(',', 1)) if told.returncode == 0 and lines else ''


def turns(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """{side: seconds of each turn}, after one turn of each that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, run in sides.items():
            begun = time.perf_counter()
            run()
            if repeat:
                spent[name].append(time.perf_counter() - begun)
    return spent


def ratio(above: list[float], below: list[float]) -> tuple[float, str]:
    """(median, 'lowest to highest') of the turns' ratios."""
    found = np.array(above) / np.array(below)
    return float(np.median(found)), f'{found.min():.2f} to {found.max():.2f}'


def footed(text: str, name: str, arguments: Sequence[str], versions: str, notes: Sequence[str]) -> str:
    """The text with its footing. versions: of the peers, 'torch 2.13, ...'."""
    lines = [
        f'machine: {progress.machine()}' + (f'; {card()}' if jax.default_backend() == 'gpu' else ''),
        ', '.join(filter(None, [f'versions: Python {platform.python_version()}', f'jax {jax.__version__}', versions])),
        *notes,
        time.strftime('%Y-%m-%d %H:%M %Z'),
        f'command: `{shlex.join(["python", "-m", f"benchmarks.{name}", *arguments])}`',
    ]
    return text + '\n' + ''.join(f'- {line}\n' for line in lines)


def keep(text: str, out: str | None) -> None:
    """Writes the text to the file `out` if one is named: also what there is of a table, so that it is there if no more comes."""
    if out:
        path = pathlib.Path(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def finish(text: str, name: str, arguments: Sequence[str], versions: str, notes: Sequence[str], out: str | None) -> None:
    """Prints the text with its footing, and keeps it in the file `out` if one is named."""
    text = footed(text, name, arguments, versions, notes)
    print(text)
    keep(text, out)
