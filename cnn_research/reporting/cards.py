"""Claims as a reader meets them: a card each, with its verdict, its sentence, and every difference drawn on one axis."""

import math
from collections.abc import Sequence
from typing import Any

from cnn_research.reporting import claims, tables, templates

MARKS = {'reproduced': '✓', 'contradicted': '✗', 'undecided': '?', 'no verdict': '–', 'no direction claimed': '–'}
_AIR = 0.06  # of an axis, beyond what is drawn on it


def to_html(judged: Sequence[claims.Judged], caption: str = '') -> str:
    """A card for each claim, as markup; under them the caption, what intervals cover, and by what rule verdicts come."""
    return templates.part('claims', [_card(one) for one in judged], f'{caption} {claims.rule(judged)}'.strip())


def _card(one: claims.Judged) -> dict[str, Any]:
    claim = one.claim
    margin = claim.margin or 0.0
    ends = [end for measured in one.differences for end in measured[1:4] if math.isfinite(end)]
    low, high = min([0.0, -margin, *ends]), max([0.0, margin, *ends])
    low, high = low - _AIR * (high - low), high + _AIR * (high - low)

    def place(value):
        return round(100 * (value - low) / (high - low), 2) if high > low else 50.0

    def reach(first, last):
        return (place(first), round(place(last) - place(first), 2))

    largest = max(map(abs, ends), default=0.0)
    digits = min(max(2 - math.floor(math.log10(largest)), 0), 9) if largest else 2  # the same in all of a card
    differences = []
    for measured in one.differences:
        whole = math.isfinite(measured.low) and math.isfinite(measured.high)
        differences.append(
            {
                'text': signed(measured.text),
                'zero': place(0.0),
                'margin': reach(-margin, margin) if margin else None,
                'interval': reach(measured.low, measured.high) if whole else None,
                'mean': place(measured.mean) if math.isfinite(measured.mean) else None,
                'number': signed(tables.shown(tables.Interval(measured.mean, measured.low, measured.high), f'+z.{digits}f')),
            }
        )
    details = tables.to_html(_details(one)) if any(math.isfinite(measured.p) or measured.images for measured in one.differences) else ''
    return {
        'kind': one.verdict.replace(' ', '-'),
        'mark': MARKS[one.verdict],
        'verdict': one.verdict,
        'sentence': claim.sentence + (f' (within ±{margin:g})' if margin else ''),
        'quantity': f'{claim.quantity} ({claim.instead})' if claim.instead else claim.quantity,
        'why': signed('; '.join(filter(None, (claim.note, one.reason)))),
        'source': claim.source,
        'differences': differences,
        'images': any(measured.images for measured in one.differences),
        'details': templates.Markup(details),
    }


def _details(one: claims.Judged) -> tables.Table:
    columns = [tables.Column('compared', 'Compared'), tables.Column('p', format='.2g'), tables.Column('holm', 'p (Holm)', '.2g')]
    if any(measured.images for measured in one.differences):
        columns.append(tables.Column('images', 'over test images (95 %)', '+'))
    rows = [
        {'compared': signed(measured.text), 'images': measured.images}
        | {name: None if math.isnan(value) else value for name, value in (('p', measured.p), ('holm', measured.holm))}
        for measured in one.differences
    ]
    return tables.Table(columns, rows)


def signed(text: str) -> str:
    """Text with a minus sign for a hyphen that stands alone, or before a digit and after no word."""
    parts = text.split(' ')
    return ' '.join('−' + part[1:] if part[:1] == '-' and (len(part) == 1 or part[1].isdigit()) else _bracketed(part) for part in parts)


def _bracketed(part: str) -> str:
    return '(−' + part[2:] if part.startswith('(-') and part[2:3].isdigit() else part
