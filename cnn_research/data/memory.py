"""What this machine could hold at all, so that absurd sizes are refused with a sentence before anything is allocated."""

import contextlib
import functools
import os
import pathlib

from cnn_research.errors import ConfigError


@functools.cache
def total() -> float:
    """Bytes of memory that this process may use at most: the machine's, or its control group's where that is less; inf where unknown."""
    found = [float('inf')]
    with contextlib.suppress(AttributeError, OSError, ValueError):
        found.append(float(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')))
    for file in ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'):
        with contextlib.suppress(OSError, ValueError):  # 'max' is no number
            found.append(float(pathlib.Path(file).read_text()))
    return min(value for value in found if value > 0)


def afford(needed: float, what: str) -> None:
    """ConfigError when `what`, a sentence's subject that names its fields, takes more bytes than the machine has.

    `needed` is the least that it takes: what passes may still be too much.
    """
    if needed > total():
        raise ConfigError(f'{what} takes at least {gigabytes(needed)}, but this machine has {gigabytes(total())} of memory.')


def gigabytes(size: float) -> str:
    """A number of bytes in words."""
    number = float(min(size, 10**300)) / 1e9  # whole numbers may be too large for a float
    return f'{number:.2g} GB' if number < 10 else f'{number:,.0f} GB' if number < 1e6 else f'{number:.1e} GB'
