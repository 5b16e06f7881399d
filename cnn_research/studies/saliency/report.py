"""The comparison of saliency methods: its table, its claims, and its dot plot; shares are in percent."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from cnn_research.reporting import claims, paired
from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.figures import COLOURS, QUIET, WIDTH
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Interval, Table

CHANCE, CENTRE, IMAGE = 'random', 'centre', 'image'
# Where each method is from, in the order of rows; the last three know nothing of the network.
METHODS = {
    'gradient': 'Simonyan et al. 2014, section 3',
    'gradient x input': 'Shrikumar et al. 2016',
    'integrated gradients': 'Sundararajan et al. 2017',
    'deconvnet': 'Zeiler & Fergus 2013, section 2.1',
    'guided backpropagation': 'Springenberg et al. 2014, section 3.4',
    'Grad-CAM': 'Selvaraju et al. 2017',
    'occlusion': 'Zeiler & Fergus 2013, section 4.2',
    IMAGE: 'Adebayo et al. 2018',
    CENTRE: 'Zhang et al. 2018',
    CHANCE: '',
}
KNOWING = tuple(METHODS)[:-3]
# The pointing game on VOC 2007's test images, VGG-16, in percent, with a tolerance of 15 px: Fong et al. 2019, Table 1.
PUBLISHED = {
    'gradient': 76.3,
    'deconvnet': 67.5,
    'guided backpropagation': 75.9,
    'Grad-CAM': 86.6,
    CENTRE: 69.6,
}
_FONG = 'Fong et al. 2019, Table 1 (VOC 2007 and COCO, VGG-16 and ResNet-50)'
_SHARE, _HITS = "share of the map in the digit's box", 'pointing game'
MEASURED = (
    'Each claim was written down before any map was measured. That a method beats chance is what its paper shows on examples and what '
    'every use of it takes for granted; the measure is ours. Orders between methods are those that the paper found for both of its '
    'networks and data sets; of the others none is claimed. Seeds are networks.'
)


class Row(NamedTuple):
    """shares, hits (networks, N): of each network and image; blank: maps of all networks without any saliency."""

    shares: np.ndarray
    hits: np.ndarray
    blank: int


def _claims(rows: Mapping[str, Row]) -> list[claims.Claim]:
    """The claims of which both sides are there."""
    found = [
        claims.Claim(
            f"{name}: more of its map lies in the digit's box than of a map of noise.",
            METHODS[name],
            (claims.difference(name, CHANCE),),
            quantity=_SHARE,
            instead='the source shows pictures; the measure is ours',
        )
        for name in KNOWING
        if name in rows
    ]
    others = [name for name in ('gradient', 'deconvnet', 'guided backpropagation') if name in rows]
    if 'Grad-CAM' in rows and others:
        contrasts = tuple(claims.difference('Grad-CAM', name) for name in others)
        found.append(claims.Claim('Grad-CAM points better than what comes down to the pixels.', _FONG, contrasts, quantity=_HITS))
    if 'gradient' in rows and 'deconvnet' in rows:
        contrasts = (claims.difference('gradient', 'deconvnet'),)
        found.append(claims.Claim("The gradient points better than the deconvnet's signal.", _FONG, contrasts, quantity=_HITS))
    words = 'Against a map that only knows that things stand in the middle.'
    contrasts = tuple(claims.difference(name, CENTRE) for name in KNOWING if name in rows)
    found.append(claims.Claim(words, METHODS[CENTRE], contrasts, quantity=_HITS, directed=False))
    words = 'What a product with the image adds to the image alone, the absolute value of what the network reads.'
    contrasts = tuple(claims.difference(name, IMAGE) for name in ('gradient x input', 'integrated gradients'))
    return [*found, claims.Claim(words, METHODS[IMAGE], contrasts, quantity=_SHARE, directed=False)]


def judged(rows: Mapping[str, Row]) -> list[claims.Judged]:
    """Every claim on the means of each network."""

    def values(claim):
        return {name: dict(enumerate(map(float, 100 * _of(row, claim.quantity).mean(1)))) for name, row in rows.items()}

    return [claims.judge(claim, values(claim)) for claim in _claims(rows)]


def _of(row: Row, quantity: str) -> np.ndarray:
    return row.shares if quantity == _SHARE else row.hits


def _over_images(values: np.ndarray) -> Interval | None:
    """Of the mean of all networks, over images; None where all are alike."""
    found = 100 * values.mean(0)
    return paired.bootstrap(found) if len(found) > 1 and np.isfinite(found).all() and np.any(found != found[0]) else None


def _over_networks(values: np.ndarray) -> Interval | None:
    """Of the mean of all images, over networks; None of fewer than three, and where all are alike."""
    found = claims.interval(100 * values.mean(1))
    return found if found.high > found.low else None


def table(rows: Mapping[str, Row], about: str) -> Table:
    several = any(len(row.shares) > 2 for row in rows.values())
    lines = [
        {
            'method': name,
            'share': [float(value) for value in 100 * row.shares.mean(1)],
            'share networks': _over_networks(row.shares),
            'share images': _over_images(row.shares),
            'hits': [float(value) for value in 100 * row.hits.mean(1)],
            'hits networks': _over_networks(row.hits),
            'hits images': _over_images(row.hits),
            'blank': row.blank or None,
            'published': PUBLISHED.get(name),
        }
        for name, row in rows.items()
    ]
    columns = [
        Column('method'),
        Column('share', 'map inside the box, %', '.1f'),
        *([Column('share networks', 'over networks (95 %)', '.1f')] if several else []),
        Column('share images', 'over images (95 %)', '.1f'),
        Column('hits', 'pointing game, %', '.1f'),
        *([Column('hits networks', 'pointing game over networks (95 %)', '.1f')] if several else []),
        Column('hits images', 'pointing game over images (95 %)', '.1f'),
        *([Column('blank', 'maps without saliency')] if any(row.blank for row in rows.values()) else []),
        Column('published', 'paper: pointing game, VOC 2007', '.1f'),
    ]
    return Table(columns, lines, about)


def dots(rows: Mapping[str, Row], chance: float) -> Figure:
    """Of every method the share and the pointing game: each network a ring, their mean with its interval over networks (thick, from three
    on) and over images (thin); chance: the box's share of the area, in percent."""
    names = list(rows)
    figure = Figure(figsize=(WIDTH, 0.9 + 0.3 * len(names)), layout='constrained')
    panels = figure.subplots(1, 2, sharey=True)
    for axes, quantity, title in zip(panels, (_SHARE, _HITS), ('map inside the box, %', 'pointing game, %'), strict=True):
        for place, name in enumerate(names):
            values, colour = _of(rows[name], quantity), COLOURS[0] if name in KNOWING else QUIET
            means = 100 * values.mean(1)
            images, networks = _over_images(values), claims.interval(means)
            if images:
                axes.plot([images.low, images.high], [place] * 2, color=colour, linewidth=0.9, solid_capstyle='butt')
            if np.isfinite(networks.low):
                axes.plot([networks.low, networks.high], [place] * 2, color=colour, linewidth=3.0, alpha=0.5, solid_capstyle='butt')
            if len(means) > 1:
                axes.plot(means, [place] * len(means), 'o', markersize=3.5, markerfacecolor='none', markeredgecolor=colour)
            axes.plot(networks.mean, place, 'o', color=colour, markersize=5)
        axes.axvline(chance, color=QUIET, linewidth=0.9, linestyle=':')
        axes.annotate(
            'area of the box', (chance, 1), (3, -2), ('data', 'axes fraction'), 'offset points', va='top', fontsize=7, color=QUIET
        )
        axes.set(xlim=(0, 103), ylim=(len(names) - 0.5, -0.9))
        axes.set_xlabel(title, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(axis='x', color='#e4e4e4', linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[['top', 'right', 'left']].set_visible(False)
        axes.tick_params(axis='y', length=0)
    panels[0].set_yticks(range(len(names)), names)
    return figure


def _spanning(values: np.ndarray) -> str:
    """The interval over networks in words, where there is one."""
    found = _over_networks(values)
    return f'95 % over {len(values)} networks: {found.low:.0f} to {found.high:.0f} %; ' if found else ''


def compared(shelf: Shelf, rows: Mapping[str, Row], chance: float, about: str) -> tuple[str, str]:
    """(what the lead says, markup) of the comparison; about: images, networks and settings in words."""
    share = {name: 100 * float(rows[name].shares.mean()) for name in rows if name in KNOWING}
    hits = {name: 100 * float(rows[name].hits.mean()) for name in share}
    found = judged(rows)
    best, pointing = max(share, key=share.get), max(hits, key=hits.get)
    lead = f"Most of its map in the digit's box has {best}, {share[best]:.0f} % ({_spanning(rows[best].shares)}its area: {chance:.0f} %); "
    lead += f'most often its strongest pixel: {pointing}, {hits[pointing]:.0f} % ({_spanning(rows[pointing].hits)}the middle of the image: '
    lead += f'{100 * float(rows[CENTRE].hits.mean()):.0f} %).' + claims.count(found)
    caption = 'Each network a ring, the mean a dot; thick: 95 % over networks (from three on), thin: over images.'
    drawn = shelf.figure('methods', dots(rows, chance), caption) + shelf.table('methods', table(rows, about))
    return lead, drawn + shelf.claims(found, MEASURED)
