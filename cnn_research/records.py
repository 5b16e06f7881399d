"""What is written down: files that are whole or not at all, and JSON records that tell when they are no longer what was written.

A record is one JSON object whose last entry, 'sha256', is the digest of the others. It guards against damage and against numbers that were
changed by hand, not against somebody who computes the digest anew.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from cnn_research.errors import CheckpointError, StorageError


@contextlib.contextmanager
def writing(path) -> Iterator[None]:
    """Has a failure to write, for a full disk or a place that cannot be written, say which path, as StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f'{path} cannot be written ({error.strerror or error}); what was kept before is whole. Make room or choose another place, '
            'and run the same command again.'
        ) from None


def partial(path: pathlib.Path) -> pathlib.Path:
    """The name beside `path` under which this thread of this process prepares it, so that two that write at once do not meet."""
    return path.with_name(f'.{path.name}.{os.getpid()}-{threading.get_ident()}.partial')


def synced(path: pathlib.Path) -> None:
    """Brings a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path, content: bytes) -> None:
    """The file, with its folder where there is none, whole or not at all; StorageError where it cannot be written."""
    path = pathlib.Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = partial(path)
        try:
            beside.write_bytes(content)
            synced(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def write_text(path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def digest(content) -> str:
    """SHA-256 (hex) of anything that JSON can say, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write(path, content: Mapping[str, Any]) -> None:
    """The record, with its digest, whole or not at all."""
    content = json.loads(json.dumps(dict(content)))
    write_text(path, json.dumps({**content, 'sha256': digest(content)}, indent=1))


def read(path) -> dict[str, Any]:
    """A record as it was written; CheckpointError where it is missing, damaged or changed."""
    try:
        content = json.loads(pathlib.Path(path).read_text('utf-8'))
    except FileNotFoundError:
        raise CheckpointError(f'{path} is not there.') from None
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read ({error.strerror or error}).') from None
    except (ValueError, RecursionError):
        raise CheckpointError(f'{path} is damaged: it cannot be read as JSON.') from None
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} is damaged: it holds no JSON object.')
    if content.pop('sha256', None) != digest(content):
        raise CheckpointError(f'{path} is damaged: it is not what was written.')
    return content
