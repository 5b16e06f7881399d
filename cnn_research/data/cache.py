"""What is remembered about data between runs, in ~/.cache/cnn_research: never needed, never believed without a look.

A cache that is damaged, made by somebody else or cannot be written costs time and nothing else. Files are written beside their place and
renamed, so that runs side by side see whole ones.
"""

import contextlib
import json
import os
import pathlib
import tempfile


def place(*parts: str) -> pathlib.Path | None:
    """A path in the cache, below $XDG_CACHE_HOME or ~/.cache; None without a home."""
    root = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return pathlib.Path(root, 'cnn_research', *parts) if os.path.isabs(root) else None


def recall(path: pathlib.Path | None) -> dict:
    """The JSON object in a file of the cache; {} when there is none."""
    try:
        found = json.loads(path.read_text('utf-8')) if path else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(path: pathlib.Path | None, content: dict) -> None:
    """Writes a JSON object to the cache, where that is possible."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(prefix=path.name, dir=path.parent)
        try:
            with open(descriptor, 'w', encoding='utf-8') as stream:
                json.dump(content, stream)
            os.replace(partial, path)
        except OSError:
            os.unlink(partial)
