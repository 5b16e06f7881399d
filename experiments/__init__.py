"""The commands. An interrupt while one of them is still being imported ends it without a traceback, since there is nothing to save."""

import os
import signal
import sys


def quiet(number, frame):
    """A handler of SIGINT."""
    os._exit(130)


# `python -m experiments.NAME` and the script import this package first; whoever imports it otherwise keeps its own handler.
_BY = os.path.splitext(os.path.basename(sys.argv[0] if sys.argv else ''))[0]
if _BY in ('-m', 'cnn-research') and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, quiet)
