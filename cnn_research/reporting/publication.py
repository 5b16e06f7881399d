"""One published number, and many of a table."""

from typing import NamedTuple


class Published(NamedTuple):
    """One printed number. `key` is 'table/row'; `spread` is the printed +- or None; `unit` is '%', 'percentage points',
    'times' or 'share'."""

    key: str
    quantity: str
    value: float
    spread: float | None
    unit: str
    source: str
    confidence: str


def records(table, quantities, source, numbers, confidence='verified', unit='%') -> tuple[Published, ...]:
    """`numbers`: {row: one entry per quantity}; an entry is a value, (value, spread), or None for an empty cell."""
    found = []
    for row, entries in numbers.items():
        for quantity, entry in zip(quantities, entries, strict=True):
            if entry is not None:
                value, spread = entry if isinstance(entry, tuple) else (entry, None)
                found.append(Published(f'{table}/{row}', quantity, value, spread, unit, source, confidence))
    return tuple(found)
