"""The one way in which what is kept is written, and records are read."""

import contextlib
import errno
import io
import json
import os
import pathlib
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import filelock

from cnn_research.errors import Busy, CheckpointError, ConfigError, WriteError

LOCK = 'lock'  # a file of every folder that one process at a time works in


def write(path: str | os.PathLike, content: str | bytes | Callable[[BinaryIO], Any]) -> None:
    """The file, whole or not at all, its folder made: text, bytes, or what a function writes into an open file.

    The partial file has a name of its own, so that processes may write the same file at once. WriteError, naming the file, where the disk
    is full or the place cannot be written; what was there before is there still. Through a link the file that it leads to is written, and
    what is no file, such as a device, is written to as it is.
    """
    try:
        content = content if callable(content) else content.encode() if isinstance(content, str) else content
        if _is_special(path):
            with open(path, 'wb') as file:
                file.write(content if isinstance(content, bytes) else _bytes(content))
        else:
            _replace(pathlib.Path(os.path.realpath(path)), content)
    except OSError as error:
        raise refused(path, error) from None


def _is_special(path) -> bool:
    """Whether there is something that is neither a file nor a folder."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _bytes(content: Callable[[BinaryIO], Any]) -> bytes:
    buffer = io.BytesIO()  # what writes an archive goes back and forth
    content(buffer)
    return buffer.getvalue()


def _replace(path: pathlib.Path, content: bytes | Callable[[BinaryIO], Any]) -> None:
    partial = path.parent / f'.{path.name[:40]}.{secrets.token_hex(6)}.partial'
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, 'wb') as file:
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):  # of a place that is none
            partial.unlink(missing_ok=True)


def check_writable(folder: str | os.PathLike, *folders: str) -> None:
    """WriteError, naming the place, where something that will be written in a folder could not be: before the work whose end that is.

    folders: the names of those that are made in it. Nothing is left behind; a folder that is called like a file, figures.csv, is refused,
    since it may stand where one will be written.
    """
    folder = pathlib.Path(folder)
    for place in (folder, *(folder / name for name in folders)):
        there = next(one for one in (place, *place.absolute().parents) if os.path.lexists(one))
        mark = there / f'.{secrets.token_hex(6)}.partial'
        try:
            _replace(mark, b' ')
            mark.unlink(missing_ok=True)
            called = [one for one in there.iterdir() if one.suffix in _FILES and one.is_dir()] if there == place else []
        except OSError as error:
            raise refused(there, error) from None
        if called:
            raise refused(called[0], IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))


_FILES = ('.csv', '.html', '.json', '.jsonl', '.md', '.npz', '.pdf', '.png', '.tex', '.txt')


def append(path: str | os.PathLike, line: str) -> None:
    """One more line of a log; WriteError as in `write`."""
    try:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, 'a', encoding='utf-8') as file:
            file.write(f'{line}\n')
    except OSError as error:
        raise refused(path, error) from None


def refused(path: str | os.PathLike, error: OSError) -> WriteError:
    """What is said where a file cannot be written."""
    return WriteError(
        f'{path} cannot be written ({error.strerror or error}); nothing that was kept before is lost: make room or choose another place, '
        'and give the same command again.',
        error.errno,
    )


_HIGHEST = sys.float_info.max  # beyond it a whole number of JSON is no finite one
_KINDS = {float: 'a finite number', int: 'a whole number', str: 'a text', bool: 'true or false', list: 'a list', dict: 'an object'}


def read_json(path: str | os.PathLike, needs: Any = None) -> dict[str, Any]:
    """The object in a JSON file.

    needs: of what must be there, as in `check`. CheckpointError, naming the file and the field, where it is missing or damaged.
    """
    return check(path, _parsed(path, '', _text(path)), {} if needs is None else needs)


def read_lines(path: str | os.PathLike, needs: Any = None) -> list[dict[str, Any]]:
    """The objects in a file of one JSON object a line, as `read_json` has them; what follows the last line end was never finished."""
    lines = _text(path).split('\n')[:-1]
    found = [_parsed(path, f'line {number}', line) for number, line in enumerate(lines, 1)]
    return [check(path, one, {} if needs is None else needs, f'line {number}') for number, one in enumerate(found, 1)]


def check(path: str | os.PathLike, found: Any, needs: Any, place: str = '') -> Any:
    """What was found in a file at a place, unless it is not what is needed: CheckpointError, naming the file and the field.

    needs: a type, {field: the same of what must be in an object}, [the same of all members of a list] or the ends of a range; float is any
    finite number.
    """
    kind = type(needs) if isinstance(needs, dict | list) else float if isinstance(needs, tuple) else needs
    fits = isinstance(found, int | float) if kind is float else isinstance(found, kind)
    if not fits or (kind in (int, float) and (isinstance(found, bool) or not -_HIGHEST <= found <= _HIGHEST)):
        raise CheckpointError(f'{path} is damaged: {place or "it"} is {_shown(found)}, not {_KINDS[kind]}.')
    if isinstance(needs, tuple) and not needs[0] <= found <= needs[1]:
        raise CheckpointError(f'{path} is damaged: {place or "it"} is {_shown(found)}, which is not from {needs[0]:g} to {needs[1]:g}.')
    for name, inner in needs.items() if isinstance(needs, dict) else ():
        inside = f'{place}.{name}' if place else name
        if name not in found:
            raise CheckpointError(f'{path} is damaged: {inside} is missing.')
        check(path, found[name], inner, inside)
    for number, member in enumerate(found) if isinstance(needs, list) else ():
        check(path, member, needs[0], f'{place}[{number}]')
    return found


def _text(path) -> str:
    try:
        return pathlib.Path(path).read_bytes().decode()
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read ({error.strerror or error}).') from None
    except ValueError:
        raise CheckpointError(f'{path} is damaged: it is not text in UTF-8.') from None


def _parsed(path, place, text):
    try:
        found = json.loads(text)
        if '\\u' in text:
            json.dumps(found, ensure_ascii=False).encode()  # half of a surrogate pair is no character
        return found
    except (ValueError, RecursionError):
        raise CheckpointError(f'{path} is damaged: {place or "it"} cannot be read as JSON.') from None


def _shown(value) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f'{text[:40]}...'


@contextlib.contextmanager
def claimed(folder: pathlib.Path) -> Iterator[None]:
    """Holds a folder while it is worked in, by a file LOCK there; Busy where another process holds it."""
    # Without the kernel's locks none is held: a lock file that outlives its owner would stop the work, and trials.shard parts it.
    lock = filelock.FileLock(folder / LOCK, blocking=False, fallback_to_soft=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                raise
    except filelock.Timeout:
        raise Busy(f'another process works in {folder}; wait for it, or choose another folder.') from None
    except OSError as error:
        raise ConfigError(f'the folder {folder} cannot be used ({error.strerror}); choose a folder that can be written.') from None
    try:
        yield
    finally:
        lock.release()
