"""Everything a user can cause: one readable line with the valid choices, exit code 2. All else is a bug and keeps its traceback."""

import difflib
import reprlib
from collections.abc import Iterable


class ResearchError(Exception):
    """Base of all errors that a user can cause; its message is one readable line with the valid choices."""


class ConfigError(ResearchError):
    """A config field, value or combination that cannot be run."""


class ArchitectureError(ResearchError):
    """An architecture that cannot exist, or surgery that cannot be done."""


class SourceError(ResearchError):
    """Examples that are not there, or not as asked."""


class CheckpointError(ResearchError):
    """A saved state that is missing or damaged."""


class WriteError(ResearchError):
    """A file that cannot be written: a full disk, a place that is read-only."""


class TrialError(ResearchError):
    """A training that could not go on: a loss that is not finite, say."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """' Did you mean X?' for the closest of `choices`, or '' when none is close; for the end of an error message."""
    close = difflib.get_close_matches(str(name), [str(choice) for choice in choices], n=1, cutoff=0.5)
    return f' Did you mean {close[0]}?' if close else ''


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxdict = 3, 100, 100, 8


def shown(value) -> str:
    """A value of any kind and size in one short line, for an error message."""
    if type(value) is int and abs(value) >= 10**40:
        return f'a whole number of {value.bit_length()} bits'
    return ' '.join(_SHORT.repr(value).split())
