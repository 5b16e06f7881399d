"""The commands. An interrupt while one of them is still being imported ends it without a traceback, since there is nothing to save."""

import os
import signal
import sys


def quiet(number, frame):
    """A handler of SIGINT."""
    os._exit(130)


# `python -m experiments.NAME` imports this package first; whoever imports it otherwise keeps its own handler.
if sys.argv[:1] == ['-m'] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, quiet)
