"""What benchmarks share that run in one process: sides that take turns, and what stands below every table."""

import pathlib
import platform
import shlex
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from experiments.launch import progress


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
