"""What each choice gains: the table, claims and figure, from errors by row and seed (Krizhevsky et al. 2012, sections 3, 4 and 7).

Errors are in percent, and a gain is the error without a choice less that with every choice, in points, within a seed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cnn_research.reporting import claims
from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.figures import COLOURS, QUIET, WIDTH, legend_below
from cnn_research.reporting.paired import OnImages, over_images
from cnn_research.reporting.published import published
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Cell, Column, Interval, Table

BASE, ONE_VIEW = 'every choice', 'one view at test'
_EFFECTS, _SECTION = 'krizhevsky effects', 'Krizhevsky et al. 2012, section'


class Choice(NamedTuple):
    """row: that without it; name: what it is; section: of the paper; effect: its row in 'krizhevsky effects', '' for none; about: how a
    printed number is meant that is not exact; note: what a reader of its claim should know."""

    row: str
    name: str
    section: str
    effect: str = ''
    about: str = ''
    note: str = ''


RELU, TOWERS, NORMALIZATION, OVERLAP, COLOUR, FLIPS, CROPS, VIEWS, DROPOUT, MIDDLE = CHOICES = (
    Choice(
        'tanh in place of relu', 'Rectified units', '3.1', note='the section is about speed (experiments.nonlinearity), not the last error'
    ),
    Choice('one tower of half the maps', 'Two towers', '3.2', 'two towers'),
    Choice('without normalization', 'Response normalization', '3.3', 'local response normalization'),
    Choice('pooling without overlap', 'Overlapping pooling', '3.4', 'overlapping pooling'),
    Choice('without colour noise', 'Colour noise', '4.1', 'colour noise', 'at least'),
    Choice('without flips', 'Mirroring training images', '4.1', note='there together with crops, without a number'),
    Choice('without crops', 'Random crops', '4.1', note='there together with mirroring, without a number'),
    Choice(ONE_VIEW, 'Averaging ten views at test', '4.1 and Table 1', 'ten views'),
    Choice('without dropout', 'Dropout', '4.2', note='there without a number'),
    Choice('without a middle layer', 'A middle layer', '7', 'a middle layer', 'about'),
)
LABELS = (BASE, *(choice.row for choice in CHOICES))
CLAIMS = (
    *(
        claims.Claim(
            f'{one.name} lower{"" if one in (RELU, TOWERS, CROPS) else "s"} the test error.',
            f'{_SECTION} {one.section}',
            claims.below(BASE, one.row),
            quantity='top-1 error',
            note=one.note,
            instead='the source: top-1 and top-5' if one.row == ONE_VIEW else '',
            top=1,
        )
        for one in CHOICES
    ),
    claims.Claim(
        'Two towers gain more than response normalization, and that gains more than overlapping pooling.',
        f'{_SECTION}s 3.2 to 3.4: 1.7, 1.4 and 0.4 points',
        claims.rising(OVERLAP.row, NORMALIZATION.row, TOWERS.row),
        quantity='top-1 error',
        top=1,
    ),
    claims.Claim(
        'What dropout gains beside crops and mirroring; the paper gives no number for these.',
        f'{_SECTION}s 4.1 and 4.2',
        (claims.difference(DROPOUT.row, CROPS.row), claims.difference(DROPOUT.row, FLIPS.row)),
        quantity='top-1 error',
        directed=False,
        top=1,
    ),
)


class Row(NamedTuple):
    """One row. test, top5, holdout: {seed: error in %}, top5 {} where it has no meaning; rate: the learning rate, edge: which end of the
    tried ones it is, '' for none; images: {seed: what the test says of every image}; problem: what is wrong, '' for nothing."""

    label: str
    parameters: int | None
    test: Mapping[int, float]
    top5: Mapping[int, float]
    holdout: Mapping[int, float]
    rate: float | None
    edge: str
    images: Mapping[int, OnImages | None]
    problem: str


def printed(choice: Choice, quantity: str = 'top-1 gain') -> float | None:
    """What the paper says that a choice gains on ImageNet, in points; None where it says nothing."""
    if choice is VIEWS:
        kind = quantity.partition(' ')[0]
        one, ten = (published('krizhevsky table 1', row, kind).value for row in ('cnn, one centre crop', 'cnn'))
        return round(one - ten, 1)
    if not choice.effect or quantity == 'top-5 gain' and choice.about:
        return None
    return published(_EFFECTS, choice.effect, quantity).value


def printed_on_cifar(choice: Choice) -> float | None:
    """The same on CIFAR-10, in a net of four layers: of normalization alone."""
    if choice is not NORMALIZATION:
        return None
    one, other = (published('cifar10', f'four layers {which} lrn').value for which in ('without', 'with'))
    return one - other


def _paired(row: Row, base: Row, quantity: str = 'test') -> list[float]:
    mine, theirs = getattr(row, quantity), getattr(base, quantity)
    return [mine[seed] - theirs[seed] for seed in sorted(set(mine) & set(theirs))]


def _gain(row: Row | None, base: Row | None, quantity: str = 'test') -> Interval | None:
    values = _paired(row, base, quantity) if row and base else []
    return claims.interval(values) if values else None


def _cell(values: Mapping[int, float]) -> list[float] | None:
    return [values[seed] for seed in sorted(values)] or None


def _there(rows: Sequence[Row]) -> tuple[Row | None, list[tuple[Choice, Row]]]:
    """(the base, the choices that have a row, in the order of the rows)."""
    found = {row.label: row for row in rows}
    return found.get(BASE), [(choice, found[choice.row]) for choice in CHOICES if choice.row in found]


def table(rows: Sequence[Row], data: str, caption: str) -> Table:
    """Each row's gain and error, beside what the paper prints."""
    base, choices = _there(rows)
    lines = []
    for choice, row in [(None, base)] * (base is not None) + choices:
        gain5 = _gain(row, base, 'top5') if choice else None
        lines.append(
            {
                'row': row.label,
                'choice': choice.name if choice else None,
                'gain': _gain(row, base) if choice else None,
                'images': over_images({'row': 1, 'base': -1}, {'row': row.images, 'base': base.images}, 1) if choice and base else None,
                'paper': Cell(printed(choice), note=choice.about) if choice and printed(choice) else None,
                'cifar': printed_on_cifar(choice) if choice else None,
                'gain5': gain5,
                'paper5': printed(choice, 'top-5 gain') if choice else None,
                'test': _cell(row.test),
                'holdout': _cell(row.holdout),
                'parameters': row.parameters,
                'rate': Cell(row.rate, note=row.edge),
                'note': row.problem or None,
            }
        )
    columns = [
        Column('row'),
        Column('choice'),
        Column('gain', 'gain of the choice, top-1 points [95 %]', '+.2f'),
        *([Column('images', 'the same, over test images [95 %]', '+.2f')] if any(line['images'] for line in lines) else []),
        Column('paper', 'paper: ImageNet, top-1', '+.1f'),
        *([Column('cifar', 'paper: CIFAR-10', '+.1f')] if data == 'cifar10' else []),
        *([Column('gain5', 'top-5 gain [95 %]', '+.2f')] if any(line['gain5'] for line in lines) else []),
        Column('paper5', 'paper: ImageNet, top-5', '+.1f'),
        Column('test', 'test error, % (top-1)', '.2f'),
        Column('holdout', 'holdout error, %', '.2f'),
        Column('parameters', format=',d'),
        Column('rate', 'learning rate', 'g'),
        *([Column('note')] if any(row.problem for row in rows) else []),
    ]
    return Table(columns, lines, caption)


def judged(rows: Sequence[Row], demonstration: bool) -> list[claims.Judged]:
    """CLAIMS held against the test errors, without those about rows that are not there."""
    labels = {row.label for row in rows}
    problems = {row.label: row.problem for row in rows if row.problem}
    values, images = {row.label: row.test for row in rows}, {row.label: row.images for row in rows}
    there = [claim for claim in CLAIMS if all(set(contrast) <= labels for contrast in claim.contrasts)]
    return [claims.judge(claim, values, problems, demonstration, images) for claim in there]


def gains(rows: Sequence[Row], data: str) -> Figure:
    """A dot for each choice: what it gains, with its 95 % interval over seeds, and hollow what the paper prints."""
    base, choices = _there(rows)
    figure = Figure(figsize=(WIDTH, 1.1 + 0.42 * max(len(choices), 1)), layout='constrained')
    axes, handles = figure.add_subplot(), {}
    axes.axvline(0, color=QUIET, linewidth=0.8)
    for place, (choice, row) in enumerate(choices):
        gain = _gain(row, base)
        if gain and math.isfinite(gain.mean):
            ends = [] if math.isnan(gain.low) else [[gain.mean - gain.low], [gain.high - gain.mean]]
            style = {'color': COLOURS[0], 'markersize': 6, 'linewidth': 1.4, 'capsize': 3, 'zorder': 4}
            handles['ours'] = axes.errorbar(gain.mean, place, xerr=ends or None, fmt='o', **style)
        papers = {
            'paper, ImageNet': (printed(choice), 'D'),
            'paper, CIFAR-10': (printed_on_cifar(choice) if data == 'cifar10' else None, 's'),
        }
        for name, (value, marker) in papers.items():
            if value is not None:
                hollow = {'markersize': 6, 'markerfacecolor': 'white', 'markeredgecolor': COLOURS[1], 'markeredgewidth': 1.3, 'zorder': 5}
                (handles[name],) = axes.plot(value, place, marker, **hollow)
    axes.set_yticks(range(len(choices)), [choice.name for choice, _ in choices], fontsize=9)
    axes.set_ylim(max(len(choices), 1) - 0.5, -0.5)
    axes.tick_params(axis='y', length=0)
    axes.grid(axis='x', color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.set_xlabel('test error without the choice, less that with every choice (top-1, points)')
    legend_below(figure, list(handles.values()), list(handles))
    return figure


_ABOUT = (
    'Every row lacks one choice of the base and is like it in all else: data, steps, schedule, initialization, and the learning rate '
    'except where the holdout chose one for the row. All rows are tested as the base is; one view at test is a second test of the '
    "base's own networks. Choices work together: what one gains here it gains beside all the others, and the gains do not add up. A rate "
    "at an end of those that were tried is named: a better one may lie beyond. The paper's gains are of ImageNet and 60 million "
    'parameters; for mirroring, crops and dropout it prints none, and ReLU it praises for its speed.'
)
_DEMONSTRATIONS = ('digits', 'clutter')
_SHORT = (
    'Digits are a demonstration: a mirrored digit is no digit, so that mirroring, and averaging over mirrored views, should cost, and such '
    'short trainings leave dropout and augmentation nothing to mend. Effects stand without verdicts.'
)


def _lead(rows: Sequence[Row], judgements: Sequence[claims.Judged]) -> str:
    base, choices = _there(rows)
    found = [(choice.name.lower(), gain.mean) for choice, row in choices if (gain := _gain(row, base))]
    if not found:
        return 'No row can be set against the base yet.'
    said = '; '.join(f'{name} {mean:+.1f}' for name, mean in sorted(found, key=lambda one: -one[1]))
    return f'What each choice takes off the test error (top-1), in points: {said}.{claims.count(judgements)}'


def report(rows: Sequence[Row], data: str, show: Shelf) -> tuple[str, str, list[tuple[str, str]]]:
    """(title, lead, [(heading, markup)]) of the experiment on a data set; tables and figures go to the shelf."""
    demonstration = data in _DEMONSTRATIONS
    judgements = judged(rows, demonstration)
    caption = f'Choices of Krizhevsky et al. 2012, taken away one by one, on {data}: mean ± standard deviation (seeds).'
    sections = [('What each choice gains', show.table('ingredients', table(rows, data, caption)) + show.text(_ABOUT))]
    if demonstration:
        sections.append(('About the digits', show.text(_SHORT)))
    base, choices = _there(rows)
    if any(_gain(row, base) for _, row in choices):
        said = f"What each choice gains on {data} (95 % over seeds, from three on), and the paper's numbers."
        sections.append(('Gains', show.figure('gains', gains(rows, data), said)))
    if judgements:
        sections.append(('Claims', show.claims(judgements)))
    return f'What each choice gains on {data}', _lead(rows, judgements), sections
