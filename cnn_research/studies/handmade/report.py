"""Hand-made against learned features: tables, claims and figures, from the accuracies of every way and from the first layers' kernels.

Accuracies are means over classes, in percent. A row is a network and a way with a number of training images of each class:
'spm_32 fixed, 10 a class'. Kernels are (kh, kw, 3, 8).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.reporting import claims, panels, per_class
from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.figures import COLOURS, QUIET, WIDTH
from cnn_research.reporting.per_class import Row
from cnn_research.reporting.shelf import Shelf

FIXED, CONTINUED, LEARNED = 'fixed', 'continued', 'learned'
EVERY = 'every row'  # the row of a recipe that says what all rows share


class Filters(NamedTuple):
    """Layer 1 of a network in one way: as the training began, and at its end."""

    network: str
    way: str
    before: np.ndarray
    after: np.ndarray


class About(NamedTuple):
    """What a report says beside the rows: the set; steps and batch; whether rates were chosen on the holdout; the relative rate of the
    classifier on SIFT and on a pyramid of words; the number of images of each class, and the seed, of the filters."""

    data: str
    steps: int
    batch: int
    chosen: bool
    sift_rate: float
    pyramid_rate: float
    size: int
    seed: int


def label(network: str, way: str, size: int) -> str:
    """What a row is called."""
    return per_class.label(f'{network} {way}', size)


def split(way: str) -> tuple[str, str]:
    """(network, way) of a row's way."""
    network, _, of = way.rpartition(' ')
    return network, of


def reads(row: str) -> bool:
    """Whether a trial's row is one of this experiment's."""
    found = per_class.parsed(row)
    return row == EVERY or bool(found and split(found[0])[0] and split(found[0])[1] in (FIXED, CONTINUED, LEARNED))


# ---- claims

_DECK = "the deck: 'What about learning the features?'"
_QUANTITY = 'mean accuracy per class'


def stated(rows: Sequence[Row]) -> list[claims.Claim]:
    """What there is to say of each network's ways, as far as their rows are there."""
    labels = {(*split(row.way), row.size): row.label for row in rows}
    return [claim for network in dict.fromkeys(network for network, _, _ in labels) for claim in _stated(network, labels)]


def _stated(network, labels):
    def both(above, below):
        """The contrast at every number of images that both ways have, rising."""
        there = sorted(size for one, way, size in labels if (one, way) == (network, above) and (network, below, size) in labels)
        return [claims.difference(labels[network, above, size], labels[network, below, size]) for size in there]

    if found := both(CONTINUED, FIXED):
        sentence = f'{network}: with the most images, features that learn on from hand-made ones are above hand-made ones that stay.'
        yield claims.Claim(sentence, _DECK, (found[-1],), quantity=_QUANTITY, note='the deck asks and gives no number', key='deck.learn on')
    if found := both(FIXED, LEARNED):
        sentence = f'{network}: hand-made features against learned ones, with the fewest images.'
        yield claims.Claim(sentence, 'none of the sources', (found[0],), quantity=_QUANTITY, directed=False, key='own.handmade fewest')
    if found := both(CONTINUED, LEARNED):
        sentence = f'{network}: hand-made weights against random ones as what learning begins with.'
        yield claims.Claim(sentence, 'none of the sources', tuple(found), quantity=_QUANTITY, directed=False, key='own.handmade beginning')
    if found := both(LEARNED, FIXED):
        sentence = f'{network}: with the most images, features learned from random weights are above hand-made ones.'
        source = 'the deck; Krizhevsky et al. 2012, Tables 1 and 2 (top-5 error 16.4 learned, 26.2 with SIFT and Fisher vectors)'
        instead = 'the source: top-5 error, of networks made for learning; here the architecture is that of the hand-made features'
        yield claims.Claim(sentence, source, (found[-1],), quantity=_QUANTITY, instead=instead, key='ksh.learned')


def judged(rows: Sequence[Row], data: str) -> list[claims.Judged]:
    """The claims held against the accuracies; those of clutter, a demonstration, without verdicts."""
    values, problems = {row.label: row.accuracy for row in rows}, {row.label: row.problem for row in rows if row.problem}
    return [claims.judge(claim, values, problems, data == 'clutter') for claim in stated(rows)]


# ---- figures

_ARROWS = (*COLOURS, '#b0b0b0')


def _panels(filters: Sequence[Filters]) -> list[tuple[str, np.ndarray]]:
    """(what they are, kernels): of each network hand-made ones, those learned on from them, random ones and those learned from them."""
    found, networks = [], dict.fromkeys(one.network for one in filters)
    short = {network: network.partition(' ')[0] for network in networks}  # a panel has no room for operations
    names = short if len(set(short.values())) == len(networks) else {network: network for network in networks}
    for network in networks:
        of = {one.way: one for one in filters if one.network == network}
        made = of.get(CONTINUED) or of.get(FIXED)
        shown = [('hand-made', made.before)] if made else []
        shown += [('learned on', of[CONTINUED].after)] if CONTINUED in of else []
        shown += [('random', of[LEARNED].before), ('learned', of[LEARNED].after)] if LEARNED in of else []
        found += [(f'{names[network]}: {words}', kernels) for words, kernels in shown]
    return found


def slopes(kernels: np.ndarray) -> np.ndarray:
    """(8, 2): how far each filter of (kh, kw, 3, 8) is a slope of grey to the right, and up; both 0 for a filter of zeros.

    Its projection on the ramps of grey that rise by the same amount a pixel, over its length: (cos t, sin t) for such a ramp at t itself,
    (0, 0) for a filter that no ramp changes, such as one of colours alone. A derivative that is smoothed is shorter than 1.
    """
    kernels = np.asarray(kernels, np.float64)
    down, right = (np.arange(side) - (side - 1) / 2 for side in kernels.shape[:2])
    ramps = np.stack([np.broadcast_to(right, kernels.shape[:2]), np.broadcast_to(-down[:, None], kernels.shape[:2])])
    ramps = ramps / np.sqrt(kernels.shape[2] * np.square(ramps).sum((1, 2), keepdims=True))
    length = np.sqrt(np.square(kernels).sum((0, 1, 2)))
    return np.divide(np.einsum('dij,ijcn->nd', ramps, kernels), length[:, None], out=np.zeros((len(length), 2)), where=length[:, None] > 0)


def compasses(drawn: Sequence[tuple[str, np.ndarray]], columns: int) -> Figure:
    """For each (name, kernels) a circle with an arrow for every filter: in which direction it answers to rising grey, and how purely."""
    count = -(-len(drawn) // columns)
    figure = Figure(figsize=(WIDTH, count * (WIDTH / columns + 0.22)), layout='constrained')
    grid = figure.subplots(count, columns, squeeze=False)
    turn = np.linspace(0, 2 * np.pi, 181)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (name, kernels) in zip(grid.flat, drawn, strict=False):
        axes.plot(np.cos(turn), np.sin(turn), color=QUIET, linewidth=0.7)
        axes.plot(0, 0, '.', color=QUIET, markersize=2)
        for number, (right, up) in enumerate(slopes(kernels)):
            arrow = {'arrowstyle': '-|>', 'color': _ARROWS[number % len(_ARROWS)], 'linewidth': 1.5, 'shrinkA': 0, 'shrinkB': 0}
            axes.annotate('', (right, up), (0, 0), arrowprops=arrow)
        axes.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), aspect='equal')
        axes.set_title(name, fontsize=8, loc='left', parse_math=False)
    return figure


# ---- the report

_WAYS = (
    'Fixed: hand-made weights below the last layer stay as they are, and a linear classifier learns on them: dense SIFT (Lowe 2004) or a '
    'spatial pyramid of visual words (Lazebnik et al. 2006). Continued: the same weights are the beginning, and all layers learn on by '
    'back-propagation. Learned: the same architecture from its random initialization, all layers learn. Words are centres of the '
    "descriptors of a row's own training images, found anew for each seed and number of images. All ways see the same images through the "
    "same preprocessing, and the classifier's learning rate is {sift:g} times that of the layers below on SIFT, and {pyramid:g} times on a "
    'pyramid, whose numbers are smaller.{schedule} Images are drawn anew with each seed, those of a smaller number among those of a larger '
    'one; intervals cover the images drawn, the words and what is random in learning.'
)
_LIMITS = (
    'The architecture was made for hand-made weights: eight directions, lengths of 1, clipping and counts stay in all ways. So learned is '
    'what learning makes of this architecture, not what a network made for learning reaches. A word wins or does not, which has no slope: '
    'below it the gradient is that of a softmax in its place, an estimate.'
)
_CLUTTER = 'Clutter is a demonstration: its data were made so that depth can matter. Its differences stand without verdicts.'
_FILTERS = (
    'Layer 1 with {size} images of each class, seed {seed}: hand-made, after learning on from there, as drawn at random, after learning '
    'from there. Hand-made ones read grey, which is green for the most part (0.299, 0.587, 0.114), and so they look.'
)
_COMPASS = (
    'The same filters as slopes of grey: an arrow for each points to where it answers most to rising grey, and reaches the circle for a '
    'filter that is such a slope and nothing else. Hand-made ones point in eight directions, 45 degrees apart.'
)


def report(rows: Sequence[Row], filters: Sequence[Filters], about: About, show: Shelf) -> tuple[str, str, list[tuple[str, str]]]:
    """(title, lead, [(heading, markup)]) of the experiment; tables and figures go to the shelf."""
    title = f'Hand-made and learned features on {about.data}'
    if not rows:
        return title, 'No row is planned.', []
    judgements = judged(rows, about.data)
    caption = f'Mean accuracy per class on the test split of {about.data}: mean ± standard deviation (seeds).'
    words = _WAYS.format(sift=about.sift_rate, pyramid=about.pyramid_rate, schedule=per_class.schedule(rows, about.steps, about.batch))
    words += per_class.choice(rows) if about.chosen else ''
    sections = [('Three ways', show.table('curve', per_class.curve_table(rows, caption)) + show.text(f'{words}\n\n{_LIMITS}'))]
    if any(row.accuracy for row in rows):
        said = f'Mean accuracy per class on {about.data}, with 95 % intervals over seeds from three seeds on.'
        sections.append(('Learning curves', show.figure('curves', per_class.curves(rows), said)))
    if filters:
        drawn, several = _panels(filters), 4 if any(one.way == LEARNED for one in filters) else 2
        shown = show.figure('filters', panels.filter_grids(drawn, several), _FILTERS.format(size=about.size, seed=about.seed))
        sections.append(('Filters before and after', shown + show.figure('directions', compasses(drawn, several), _COMPASS)))
    if about.data == 'clutter':
        sections.append(('About clutter', show.text(_CLUTTER)))
    if judgements:
        sections.append(('Claims', show.claims(judgements)))
    every = per_class.table(rows, FIXED, lambda way: f'{split(way)[0]} {FIXED}', f'{caption} Differences are taken within seeds.')
    return title, per_class.lead(rows, judgements), [*sections, ('Every row', show.table('rows', every))]
