"""JSON records that tell when they are no longer what was written.

A record is one JSON object whose last entry, 'sha256', is the digest of the others. It guards against damage and against numbers that were
changed by hand, not against somebody who computes the digest anew.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cnn_research import files
from cnn_research.errors import CheckpointError


def digest(content) -> str:
    """SHA-256 (hex) of anything that JSON can say, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write(path, content: Mapping[str, Any]) -> None:
    """The record, with its digest, whole or not at all."""
    content = json.loads(json.dumps(dict(content)))
    files.write(path, json.dumps({**content, 'sha256': digest(content)}, indent=1))


def read(path, needs: Any = None) -> dict[str, Any]:
    """A record as it was written; CheckpointError where it is missing, damaged, changed, or not as it `needs` be (as in files.check)."""
    content = files.read_json(path)
    if content.pop('sha256', None) != digest(content):
        raise CheckpointError(f'{path} is damaged: it is not what was written.')
    return files.check(path, content, {} if needs is None else needs)


def kept(path, needs: Any = None) -> dict[str, Any] | None:
    """The same; None where there is no such record, so that it is made, and made again where it was damaged."""
    try:
        return read(path, needs)
    except CheckpointError:
        return None


def chain(path, found: Any, place: str = 'continued') -> None:
    """CheckpointError unless this is what a record says of the runs that its own went on from: [[key, step, own rates], ...]."""
    for number, entry in enumerate(files.check(path, found, [list], place)):
        if len(entry) != 3:
            raise CheckpointError(f'{path} is damaged: {place}[{number}] is not a key, a step and whether the rates are its own.')
        for member, kind in zip(entry, (str, int, bool), strict=True):
            files.check(path, member, kind, f'{place}[{number}]')
