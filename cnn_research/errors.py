"""Everything a user can cause: one readable line with the valid choices, exit code 2. All else is a bug and keeps its traceback."""

import difflib
import errno
import reprlib
from collections.abc import Iterable

AGAIN = 75  # the exit code of what the same command goes on with


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


class Fallback(UserWarning):
    """An older state was loaded than the one that was asked for; notebooks hear of it, commands say it themselves."""


class WriteError(ResearchError):
    """A file that cannot be written: a full disk, a place that is read-only. errno: the system's reason, None where it gives none."""

    def __init__(self, message: str, errno: int | None = None):
        super().__init__(message)
        self.errno = errno


class TrialError(ResearchError):
    """A training that could not go on: a loss that is not finite, say."""


class Busy(TrialError):
    """Another process works in the folder; its lock is the kernel's, which frees it when that process ends, however it ends."""


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # reasons of a WriteError that hold for whatever else is written there


class Stopped(Exception):
    """The training was asked to stop and has saved its state at `step` (None: between trainings); the same call goes on from there."""

    def __init__(self, step: int | None = None):
        super().__init__('stopped' if step is None else f'stopped and saved at step {step}')
        self.step = step


def nearest(name: str, choices: Iterable[str], cutoff: float = 0.5) -> str:
    """' Did you mean X?' for the closest of `choices`, or '' when none is close; for the end of an error message."""
    close = difflib.get_close_matches(str(name)[:200], [str(choice) for choice in choices], n=1, cutoff=cutoff)
    return f' Did you mean {close[0]}?' if close else ''


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxdict = 3, 100, 100, 8


def shown(value) -> str:
    """A value of any kind and size in one short line, for an error message."""
    if type(value) is int and abs(value) >= 10**40:
        return f'a whole number of {value.bit_length()} bits'
    return ' '.join(_SHORT.repr(value).split())


def nearest_field(name: str, known: Iterable[str]) -> str | None:
    """The dotted field that a wrong name most likely means, or None.

    Its last word counts most: the same one, its initials ('lr', 'bs'), one of its words ('decay'), its beginning ('arch') or a near
    spelling. Then the same section, then few sections, then the order of `known`.
    """
    section, _, leaf = name[:200].lower().replace('-', '_').rpartition('.')
    known = list(known)
    there = section and any(field.startswith(f'{section}.') for field in known)

    def alike(one: str, other: str) -> float:
        return difflib.SequenceMatcher(None, one, other).ratio()

    def score(field: str) -> float:
        own, _, last = field.rpartition('.')
        words = last.split('_')
        if leaf.replace('_', '') == last.replace('_', ''):
            likeness = 1.0
        elif len(words) > 1 and leaf == ''.join(word[0] for word in words):
            likeness = 0.96
        elif leaf in words:
            likeness = 0.94
        elif len(leaf) > 2 and last.startswith(leaf):
            likeness = 0.9
        else:
            likeness = alike(leaf, last)
        if likeness < (0.6 if own == section else 0.94 if there else 0.72):  # a section that exists was hardly mistaken
            return 0.0
        return likeness + (0.3 * alike(section, own) if section else 0.0) - 0.02 * field.count('.')

    scores = {field: score(field) for field in known} if leaf else {}
    inside = [field for field in scores if field.startswith(name + '.')]
    best = max(scores, key=scores.get, default=None)
    return inside[0] if inside else best if best and scores[best] else None
