"""Committees of columns that differ in preprocessing and seed (Ciresan et al. 2012): tables, figures, claims, and what all get wrong.

Errors are in percent of the test images. A row is a preprocessing, a column one trained network.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.reporting import claims, comparisons, paired
from cnn_research.reporting.drawing import Figure, colormap
from cnn_research.reporting.figures import WIDTH, WRONG
from cnn_research.reporting.published import published
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column as Heading
from cnn_research.reporting.tables import Table

# Rows that claims compare; see measures.replicates.
MEAN, BEST, ACROSS = 'mean of the columns', 'best column by holdout', 'committee of all preprocessings'
SAME, MIXED = 'two seeds of one preprocessing', 'two preprocessings'
WIDTHS, PLAIN = 'two widths', 'two without normalisation'
ROWS = (MEAN, BEST, ACROSS, SAME, MIXED, WIDTHS, PLAIN)
_OF_PAIRS = (SAME, MIXED, WIDTHS, PLAIN)
DRAWN = 60  # images of a plate


class Column(NamedTuple):
    """One network: errors on the test and on the holdout (None without one). adopted: trained by another command. problem: why it has no
    number, or does not count."""

    row: str
    seed: int
    error: float | None
    holdout: float | None
    adopted: bool = False
    problem: str = ''


class Together(NamedTuple):
    """What columns are as a committee: how many, its error, the share of images that all of them get wrong, and the mean share of images
    that two of them name differently, None for one column."""

    columns: int
    error: float
    oracle: float
    disagreement: float | None


class Miss(NamedTuple):
    """An image (H, W, C), uint8, that the whole committee names wrongly: its class, and the committee's first and second guess."""

    image: np.ndarray
    truth: str
    first: str
    second: str


class Told(NamedTuple):
    """What columns say together. rows: {preprocessing: its committee}; whole: of all; curves: {what is drawn from: (draws, n)}, errors of
    committees of 1 to n columns; names, shares: as of measures.between; replicates: {row of ROWS: {replicate: (N,)}}, shares of 1; wrong:
    how many images the whole committee names wrongly, misses: as many of them as are drawn."""

    rows: Mapping[str, Together]
    whole: Together
    curves: Mapping[str, np.ndarray]
    names: Sequence[str]
    shares: np.ndarray
    replicates: Mapping[str, Mapping[int, np.ndarray]]
    wrong: int
    misses: Sequence[Miss]


class About(NamedTuple):
    """data: the set; test: images of its test; views of each; draws: random orders of the columns; others: columns of other recipes than
    those that the claims compare."""

    data: str
    test: int
    views: str
    draws: int
    others: int = 0


# ---- claims

_SOURCE = 'Ciresan et al. 2012 (multi-column deep neural networks)'
_SEEDS = 'a committee has one column of each preprocessing, of one seed'
_PAIRS = 'a pair has two seeds that no other pair shares, and its committees have two columns'

_UNITS = {_SEEDS: 'seed', _PAIRS: 'seed pair'}  # of what there is one number each


def stated(there: Mapping[str, object]) -> list[claims.Claim]:
    """What there is to say of the rows of ROWS that are there. Written down before any run."""
    told = (
        ('A committee of all preprocessings errs less than its columns do on average.', ACROSS, MEAN, _SEEDS, _SOURCE),
        (
            'A committee of all preprocessings errs less than the one of its columns that is best on the holdout.',
            *(ACROSS, BEST, _SEEDS, _SOURCE),
        ),
        (
            'Of as many columns, a committee of other preprocessings errs less than one of other seeds of one preprocessing.',
            *(MIXED, SAME, _PAIRS, _SOURCE),
        ),
        (
            'Of as many columns, a committee of width-normalised digits errs less than one of digits as they are.',
            *(WIDTHS, PLAIN, _PAIRS, _SOURCE),
        ),
    )
    return [
        claims.Claim(sentence, source, claims.below(lower, higher), quantity='test error', note=note, unit=_UNITS[note])
        for sentence, lower, higher, note, source in told
        if lower in there and higher in there
    ]


def judged(replicates: Mapping[str, Mapping[int, np.ndarray]], problem: str = '', demonstration: bool = False) -> list[claims.Judged]:
    """The claims held against replicates, which share no column, with intervals over the test images beside them.

    problem: why the table decides nothing.
    """
    values = {row: {number: float(100 * shares.mean()) for number, shares in of.items()} for row, of in replicates.items()}
    found = []
    for claim in stated(replicates):
        (contrast,) = claim.contrasts
        one = claims.judge(claim, values, {next(iter(contrast)): problem} if problem else None, demonstration)
        images = _over_images(contrast, replicates)
        found.append(one._replace(differences=[measured._replace(images=images) for measured in one.differences]))
    return found


def _over_images(contrast, replicates):
    numbers = set.intersection(*(set(replicates[row]) for row in contrast))
    if not numbers:
        return None
    found = np.mean([sum(100 * weight * replicates[row][number] for row, weight in contrast.items()) for number in numbers], axis=0)
    return paired.bootstrap(found)


# ---- tables

_PRINTED = {
    'mnist': (
        ('Ciresan et al. 2011: one column', 'error', 'mnist', 'ciresan convnet, distortions'),
        ('Ciresan et al. 2011: 7 columns', 'committee', 'mnist', 'committee of 7, distortions'),
        ('Ciresan et al. 2012: 35 columns', 'committee', 'mnist', 'committee of 35, distortions'),
        ('the deck: a committee', 'committee', 'deck', 'mnist'),
    ),
    'gtsrb': (
        ('Ciresan et al. 2012: 25 columns', 'committee', 'gtsrb', 'committee of cnns'),
        ('the deck: a committee', 'committee', 'deck', 'traffic signs'),
        ('Stallkamp et al. 2012: people, on average', 'error', 'gtsrb', 'human average'),
    ),
}
_OF = {'digits': 'mnist', 'gtsrb_32': 'gtsrb', 'gtsrb_subset': 'gtsrb'}  # what is a part of which set


def printed(data: str) -> list[dict[str, str | float]]:
    """Lines of the table, of what is published on a set, or on the one that it is a part of."""
    name = data.partition(':')[0].partition('/')[0]
    found = []
    for who, kind, table, row in _PRINTED.get(_OF.get(name, name), ()):
        one = published(table, row)
        spread = f' ± {one.spread:g}' if one.spread else ''
        note = f'as printed{spread} ({one.confidence})' if one.quantity == 'test error' else f'of {one.value:g} % right ({one.confidence})'
        found.append({'row': who, kind: one.value if one.quantity == 'test error' else round(100 - one.value, 6), 'note': note})
    return found


def table(columns: Sequence[Column], told: Told | None, about: About) -> Table:
    """A line for each preprocessing, one for all columns, and the published ones."""
    lines = []
    for row in dict.fromkeys(column.row for column in columns):
        own = [column for column in columns if column.row == row]
        lines.append(_line(row, own, told.rows.get(row) if told else None))
    if told and len(told.rows) > 1:
        lines.append(_line('all columns', [column._replace(problem='') for column in columns], told.whole))
    shown = printed(about.data)
    lines += shown
    headings = [
        Heading('row', 'preprocessing'),
        Heading('columns', format='d'),
        Heading('error', 'error of a column, %', '.2f'),
        Heading('lowest', format='.2f'),
        Heading('highest', format='.2f'),
        Heading('committee', 'committee of them, %', '.2f'),
        Heading('oracle', 'all wrong, %', '.2f'),
        Heading('disagreement', 'two name differently, %', '.2f'),
        *([Heading('note', '')] if any(line.get('note') for line in lines) else []),
    ]
    part = _OF.get(about.data.partition(':')[0].partition('/')[0])
    words = f'{about.test:,} test images of {about.data}, {about.views} view{"s" * (about.views != "centre")}: errors of columns, mean ± '
    words += 'standard deviation (columns), and what the average of their outputs gets wrong.'
    words += f' Published numbers are of all of {part}, and {about.data} is a part of it.' if shown and part else ''
    return Table(headings, lines, words)


def _line(row, columns, together):
    errors = [column.error for column in columns if column.error is not None]
    problems = [f'seed {column.seed}: {column.problem}' for column in columns if column.problem]
    line = {'row': row, 'columns': len(errors), 'error': errors or None, 'note': '; '.join(problems) or None}
    if errors:
        line |= {'lowest': min(errors), 'highest': max(errors)}
    if together:
        line |= {'committee': together.error, 'oracle': together.oracle, 'disagreement': together.disagreement}
    return line


def every(columns: Sequence[Column]) -> Table:
    """A line for each column."""
    lines = [
        {'row': one.row, 'seed': one.seed, 'error': one.error, 'holdout': one.holdout, 'from': 'adopted' if one.adopted else 'trained here'}
        | {'note': one.problem or None}
        for one in columns
    ]
    headings = [Heading('row', 'preprocessing'), Heading('seed'), Heading('error', 'test error, %', '.2f')]
    headings += [Heading('holdout', 'holdout error, %', '.2f'), Heading('from', '')]
    headings += [Heading('note', '')] if any(line['note'] for line in lines) else []
    return Table(headings, lines, 'Every column.')


def equal_sizes(replicates: Mapping[str, Mapping[int, np.ndarray]], preprocessings: int) -> Table:
    """What the claims compare: errors of each replicate."""
    lines = [
        {
            'compared': row,
            'columns': 1 if row in (MEAN, BEST) else 2 if row in _OF_PAIRS else preprocessings,
            'unit': 'seed pair' if row in _OF_PAIRS else 'seed',
            'error': [100 * float(shares.mean()) for shares in of.values()],
        }
        for row, of in replicates.items()
    ]
    headings = [Heading('compared', ''), Heading('columns', 'columns each', 'd'), Heading('unit', 'one for each')]
    return Table([*headings, Heading('error', 'test error, %', '.2f')], lines, _EQUAL)


# ---- figures


def sizes(curves: Mapping[str, np.ndarray]) -> Figure:
    """Error against the number of columns."""
    series = [(name, list(range(1, draws.shape[1] + 1)), [100 * values for values in draws.T]) for name, draws in curves.items()]
    return comparisons.accuracy_curves(series, 'columns in a committee', 'test error, %')


def disagreements(names: Sequence[str], shares: np.ndarray) -> Figure:
    """How often two columns name an image differently, one of each preprocessing, in percent."""
    side = min(WIDTH, 2.6 + 0.62 * len(names))
    figure = Figure(figsize=(side, 0.86 * side), layout='constrained')
    axes = figure.add_subplot()
    percent = 100 * np.asarray(shares)
    low, high = (float(reach(percent)) if np.isfinite(percent).any() else 0.0 for reach in (np.nanmin, np.nanmax))
    colours = colormap('Blues').with_extremes(bad='#eeeeee')
    axes.imshow(np.ma.masked_invalid(percent), cmap=colours, vmin=low - 0.15 * (high - low), vmax=high or 1, interpolation='none')
    for (row, column), value in np.ndenumerate(percent):
        if math.isfinite(value):
            dark = value > low + 0.6 * (high - low)
            axes.text(column, row, f'{value:.2f}', ha='center', va='center', fontsize=8, color='white' if dark else '#222222')
    upright = 90 if max(map(len, names)) > 4 else 0
    axes.set_xticks(range(len(names)), names, rotation=upright, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def plate(misses: Sequence[Miss]) -> Figure:
    """The images, each with its class above it, and the first and the second guess below."""
    wide = max((len(word) for one in misses for word in (one.truth, one.first, one.second)), default=1) > 3
    columns = min(len(misses), 6 if wide else 12)
    rows, cell = -(-len(misses) // columns), WIDTH / (6 if wide else 12)
    text = 0.56 if wide else 0.36  # inches, for the words around an image
    figure = Figure(figsize=(WIDTH * columns / (6 if wide else 12), rows * (cell + text)), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, one in zip(grid.flat, misses, strict=False):
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color('#bbbbbb')
        image = one.image if one.image.shape[-1] == 3 else one.image[..., 0]
        axes.imshow(image, cmap='gray_r' if one.image.shape[-1] == 1 else None, vmin=0, vmax=255, interpolation='nearest')
        axes.set_title(_short(one.truth), fontsize=7 if wide else 9, pad=2, parse_math=False)
        said = (_short(one.first), _short(one.second))
        below = '\n'.join(said) if wide else '  '.join(said)
        axes.set_xlabel(below, fontsize=6.5 if wide else 9, color=WRONG, labelpad=2, parse_math=False)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 20 else name[:19] + '…'


# ---- the report

_WAYS = (
    'A column is one network, whose images go through one preprocessing (data.preprocessing) before anything else, in learning and in '
    'the test; columns of a preprocessing differ in their seed. A committee names the class whose probability is highest in the plain '
    "average of its columns' softmax outputs. All are tested on the same images, and those of one recipe learn from the same and hold out "
    'the same. Nothing was chosen on the test images. "All wrong" is the share of images that no column names rightly: no choice among '
    'their answers could mend it.'
)
_CURVE = (
    'Error of committees of so many columns: the mean over {draws} random orders in which columns join, and a band of one standard '
    'deviation to each side. The orders are of one set of columns, so that committees overlap, all the more the larger they are, and '
    'where all columns are in, there is one committee left: the band shows what the choice of columns does within this set, and is no '
    'interval for other columns.'
)
_ONE = ' Columns of one preprocessing: orders within each, those of all together.'
_SHARES = (
    'Share of the test images, in %, that two columns name differently, one of the preprocessing at the left and one of that below; on '
    'the diagonal two seeds of one preprocessing.'
)
_EQUAL = (
    'What the claims compare, mean ± standard deviation (replicates). A replicate shares no column with another. Of one seed: its '
    'columns on average, the one of them that is best on the holdout, and the committee of all, one of each preprocessing. Of a pair '
    'of seeds, committees of two columns, averaged over those that use every column of the pair once: two seeds of one preprocessing; '
    'two preprocessings, one of each seed; two widths; two seeds of digits as they are.'
)
_UNIT = (
    'Seeds or pairs of seeds are the unit of replication: their committees share no column, though all are tested on the same images '
    'and learn from the same examples. The committee of all columns is one committee and has no replicate, so that no claim is judged '
    'by it. The interval over test images stands beside each claim also where seeds are too few for a verdict.'
)
_OTHERS = ' {count} columns of other recipes stand in the committees and not in the claims.'


def _plate_words(told: Told, about: About) -> str:
    shown = f', {len(told.misses)} of them drawn, evenly spaced' if len(told.misses) < told.wrong else ''
    words = f'The {told.wrong} of {about.test:,} test images that the committee of all {told.whole.columns} columns gets wrong{shown}, as '
    return words + 'their source gives them: above each its class, below the first guess and the second.'


def report(columns: Sequence[Column], told: Told | None, about: About, show: Shelf) -> tuple[str, str, list[tuple[str, str]]]:
    """(title, lead, [(heading, markup)]) of the experiment; tables and figures go to the shelf. told: None before two columns are there."""
    title = f'A committee on {about.data}'
    problems = [f'{column.row}, seed {column.seed}: {column.problem}' for column in columns if column.problem]
    head = show.table('committees', table(columns, told, about)) + show.text(_WAYS)
    sections = [('Committees', head)]
    if not told:
        return title, f'{len(columns)} columns are planned, and fewer than two are finished.', [*sections, _every(columns, show)]
    problem = f'{len(problems)} of {len(columns)} columns have no number or were cut short: {problems[0]}' if problems else ''
    judgements = judged(told.replicates, problem, about.data == 'clutter')
    errors = [column.error for column in columns if column.error is not None]
    lead = f'{told.whole.columns} columns of {len(told.rows)} preprocessing{"s" * (len(told.rows) != 1)} err on {np.mean(errors):.2f} % of '
    lead += f'{about.test:,} test images on average, their committee on {told.whole.error:.2f} %; all of them are wrong on '
    lead += f'{told.whole.oracle:.2f} %.' + (f' Partial: {problem}.' if problem else '') + claims.count(judgements)
    words = _CURVE.format(draws=about.draws) + _ONE * (len(told.curves) > 1)
    sections.append(('Number of columns', show.figure('columns', sizes(told.curves), words)))
    if np.isfinite(told.shares).any():
        sections.append(('Disagreement', show.figure('disagreement', disagreements(told.names, told.shares), _SHARES)))
    if told.wrong and not told.misses:
        sections.append(('What the committee gets wrong', show.text('Not drawn: not every column that is planned is there.')))
    if told.misses:
        sections.append(('What the committee gets wrong', show.figure('wrong', plate(told.misses), _plate_words(told, about))))
    if judgements:
        words = _UNIT + _OTHERS.format(count=about.others) * bool(about.others)
        shown = show.table('equal', equal_sizes(told.replicates, len(told.rows)))
        sections.append(('Claims', show.claims(judgements) + shown + show.text(words)))
    return title, lead, [*sections, _every(columns, show)]


def _every(columns, show):
    return 'Every column', show.table('every', every(columns))
