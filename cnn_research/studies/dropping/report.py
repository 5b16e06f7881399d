"""DropConnect against dropout against neither: tables, claims and figures, from errors, learning curves and distances to the reference.

A row is 'neither', or a way with the rate at which it drops: 'DropConnect 0.5'. Errors are in percent, losses in nats. What inference.py
makes of a network stands as it is stored: {'images', 'masks', 'reference', 'halves', 'forms'}.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_research.reporting import claims
from cnn_research.reporting.paired import OnImages
from cnn_research.reporting.published import published
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Cell, Column, Table
from cnn_research.studies.dropping import figures

NEITHER, DROPOUT, DROPCONNECT = 'neither', 'dropout', 'DropConnect'
EVERY = 'every row'  # the row of a recipe that says what all rows share
RATE = 0.5  # at which the paper compares

_LABEL = re.compile(rf'({DROPOUT}|{DROPCONNECT}) (0\.\d+)')
_MASKS, _MOMENTS, _MEAN = 'masks', 'moments', 'mean network'


class Row(NamedTuple):
    """test, holdout: {seed: error in %}; loss: {seed: test loss}; fitted: {seed: {'error', 'loss'}} on training images, nothing dropped;
    curves: {seed: its curve}; averages: {seed: what inference.compared found}; rate: the learning rate, None before the first result;
    edge: which end of the tried ones it is; problem: what is wrong, '' for nothing; images: {seed: the network on its test images}."""

    label: str
    test: Mapping[int, float]
    holdout: Mapping[int, float]
    loss: Mapping[int, float]
    fitted: Mapping[int, Mapping[str, float]]
    curves: Mapping[int, figures.Curve]
    averages: Mapping[int, Mapping[str, Any]]
    rate: float | None = None
    edge: str = ''
    problem: str = ''
    images: Mapping[int, OnImages | None] = {}


class About(NamedTuple):
    """What a report says beside the rows: the set, the network, '60 epochs' and the batch, whether rates were chosen on the holdout, and
    how many training images `fitted` is measured on."""

    data: str
    network: str
    length: str
    batch: int
    chosen: bool
    fitted: int


def label(way: str, rate: float) -> str:
    """What a row is called."""
    return f'{way} {rate:g}'


def split(row: str) -> tuple[str, float]:
    """(way, rate at which it drops) of a row's label."""
    found = _LABEL.fullmatch(row)
    return (found[1], float(found[2])) if found else (row, 0.0)


def reads(row: str) -> bool:
    """Whether a trial's row is one of this experiment's."""
    return row in (NEITHER, EVERY) or bool(_LABEL.fullmatch(row))


def form_name(form: str, samples: int | None) -> str:
    """'moments, 10 samples', 'moments, limit', '100 masks' or 'mean network'."""
    if form == _MASKS:
        return f'{samples:,} mask{"s" * (samples != 1)}'
    words = 'limit' if samples is None else f'{samples:,} sample{"s" * (samples != 1)}'
    return f'{form}, {words}' if form == _MOMENTS else form


# ---- claims, written down before the first run

_WAN = 'Wan et al. 2013'
_UNREAD = "the paper's text could not be checked"
ORDER, TRAINED, GAP, SLOWER, NEARER = (
    'error',
    'training cross-entropy',
    'cross-entropy, test less training',
    'epochs to the holdout cross-entropy that both pass',
    'mean absolute difference of the probabilities to the reference',
)


def stated(rows: Sequence[Row], large: bool = False) -> list[claims.Claim]:
    """What the paper says, as far as its rows, at a rate of RATE, are there. large: of its large net, where dropout alone is no gain."""
    there, found = {row.label: row for row in rows}, []
    connect, dropout = label(DROPCONNECT, RATE), label(DROPOUT, RATE)
    if {connect, dropout, NEITHER} <= set(there):
        order = (connect, NEITHER, dropout) if large else (connect, dropout, NEITHER)
        printed = 'CIFAR-10, large net: 11.10, 11.52 and 11.18' if large else 'MNIST: 1.20, 1.28 and 1.62; CIFAR-10: 18.7, 19.7 and 23.5'
        found.append(
            claims.Claim(
                f'The test error rises from {order[0]} to {order[1]} to {order[2]}.',
                f'{_WAN} (test error in % with DropConnect, with dropout, with neither: {printed})',
                claims.rising(*order),
                top=1,
                key='wan.large' if large else 'wan.order',
            )
        )
        chosen = [_best(rows, way) for way in (DROPCONNECT, DROPOUT)]
        if all(chosen) and chosen != [connect, dropout]:
            found.append(
                claims.Claim(
                    f'The same where each way drops at the rate that is best on the holdout: {chosen[0]}, {chosen[1]}, {NEITHER}.',
                    f'{_WAN} (as above, at {RATE:g})',
                    claims.rising(*((chosen[0], NEITHER, chosen[1]) if large else (*chosen, NEITHER))),
                    top=1,
                    key='wan.best',
                    instead=f'the source: a rate of {RATE:g}',
                )
            )
        found.append(
            claims.Claim(
                'Without dropping, the training images are fitted more closely than with either.',
                f'{_WAN}, the figure of convergence ("No-Drop overfits")',
                claims.below(NEITHER, dropout, connect),
                quantity=TRAINED,
                note=_UNREAD,
            )
        )
        found.append(
            claims.Claim(
                'Without dropping, more is lost from the training to the test images than with either.',
                f'{_WAN}, the figure of convergence ("No-Drop overfits")',
                (claims.difference(NEITHER, dropout), claims.difference(NEITHER, connect)),
                quantity=GAP,
                note=_UNREAD,
            )
        )
    if {connect, dropout} <= set(there):
        found.append(
            claims.Claim(
                'DropConnect converges more slowly than dropout.',
                f'{_WAN}, the figure of convergence',
                (claims.difference(connect, dropout),),
                quantity=SLOWER,
                note=_UNREAD,
                instead='the source: pictures of training and test curves; of the holdout here, since the test is read once',
            )
        )
    if connect in there:
        sampled = {one['samples'] for seen in there[connect].averages.values() for one in seen['forms'] if one['form'] == _MOMENTS}
        most = max((count for count in sampled if count), default=None)
        mean = _of(connect, _MEAN, None)
        forms = [_of(connect, _MOMENTS, None), *([_of(connect, _MOMENTS, most)] if most else [])]
        found.append(
            claims.Claim(
                'Moment matching, with the most samples and in its limit, is nearer to the average over masks than the mean network is.',
                f'{_WAN}, inference',
                tuple(claims.difference(mean, form) for form in forms),
                quantity=NEARER,
                note=_UNREAD,
                instead='the source argues for it, and gives no distance',
            )
        )
    return found


def _best(rows: Sequence[Row], way: str) -> str:
    """The row of a way with the lowest mean holdout error, of rows of the same seeds; '' as long as one is not whole."""
    of = [row for row in rows if split(row.label)[0] == way]
    if any(row.problem or not row.holdout or set(row.holdout) != set(of[0].holdout) for row in of):
        return ''
    return min(of, key=lambda row: sum(row.holdout.values()) / len(row.holdout)).label


def _of(row: str, form: str, samples: int | None) -> str:
    return f'{row}: {form_name(form, samples)}'


def values(rows: Sequence[Row], quantity: str) -> dict[str, dict[int, float]]:
    """{row, or row and form: {seed: the quantity of a claim}}."""
    if quantity == ORDER:
        return {row.label: dict(row.test) for row in rows}
    if quantity == TRAINED:
        return {row.label: {seed: found['loss'] for seed, found in row.fitted.items()} for row in rows}
    if quantity == GAP:
        return {row.label: {seed: row.loss[seed] - found['loss'] for seed, found in row.fitted.items()} for row in rows}
    if quantity == SLOWER:
        both = (label(DROPCONNECT, RATE), label(DROPOUT, RATE))
        return figures.reached({row.label: row.curves for row in rows if row.label in both})
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        for name in (_of(row.label, _MEAN, None), _of(row.label, _MOMENTS, None)):
            found[name] = {}
        for seed, seen in row.averages.items():
            for one in seen['forms']:
                found.setdefault(_of(row.label, one['form'], one['samples']), {})[seed] = one['absolute']
    return found


def judged(rows: Sequence[Row], large: bool = False, demonstration: bool = False) -> list[claims.Judged]:
    """The claims held against the rows, each by its own quantity; those of a demonstration without verdicts."""
    problems, images = {row.label: row.problem for row in rows if row.problem}, {row.label: row.images for row in rows}
    told = []
    for claim in stated(rows, large):
        measured = values(rows, claim.quantity)
        wrong = {name: why for name in measured for row, why in problems.items() if name == row or name.startswith(f'{row}: ')}
        told.append(claims.judge(claim, measured, wrong, demonstration, images))
    return told


# ---- tables

_PRINTED = {
    ('mnist', 'wan_800'): 'mnist 800-800',
    ('cifar10', 'wan_cifar'): 'cifar-10 small',
    ('cifar10', 'wan_cifar_large'): 'cifar-10 large',
}


def printed(about: About, row: str) -> float | None:
    """The paper's test error, in %, of a row of a table on its data and its network, nothing of it changed; else None."""
    way, rate = split(row)
    kind = _PRINTED.get((about.data, about.network))
    return published('wan', f'{kind}, {way.lower()}', 'single').value if kind and (way == NEITHER or rate == RATE) else None


def _seeds(found: Mapping[int, float]) -> list[float] | None:
    return [found[seed] for seed in sorted(found)] or None


def _unmeasured(row: Row) -> str:
    """Which trained networks nothing has been measured of yet, as where another process trained the point that came out best."""
    left = [str(seed) for seed in sorted(row.test) if seed not in row.fitted or row.label != NEITHER and seed not in row.averages]
    return f'not measured: seed {", ".join(left)}; give the command again' if left else ''


def table(rows: Sequence[Row], about: About) -> Table:
    """Every row: errors and losses of test, holdout and training images, none of them dropping anything."""
    lines = []
    for row in rows:
        fitted = {name: {seed: one[name] for seed, one in row.fitted.items()} for name in ('error', 'loss')}
        lines.append(
            {
                'row': row.label,
                'point': Cell(row.rate, note=row.edge),
                'test': _seeds(row.test),
                'paper': printed(about, row.label),
                'holdout': _seeds(row.holdout),
                'fitted': _seeds({seed: 100 * share for seed, share in fitted['error'].items()}),
                'loss': _seeds(row.loss),
                'fitted_loss': _seeds(fitted['loss']),
                'note': '; '.join(filter(None, (row.problem, _unmeasured(row)))) or None,
            }
        )
    columns = [
        Column('row'),
        Column('point', 'learning rate', 'g'),
        Column('test', 'test error, %', '.2f'),
        *([Column('paper', 'paper: test error, %', '.2f')] if any(line['paper'] is not None for line in lines) else []),
        Column('holdout', 'holdout error, %', '.2f'),
        Column('fitted', 'training error, %', '.2f'),
        Column('loss', 'test cross-entropy', '.4f'),
        Column('fitted_loss', 'training cross-entropy', '.4f'),
        *([Column('note')] if any(line['note'] for line in lines) else []),
    ]
    return Table(columns, lines, f'{about.network} on {about.data}: mean ± standard deviation (seeds).')


def averages(rows: Sequence[Row], caption: str) -> Table:
    """Each way to average of each network that drops: its error, and how far it is from the reference, in thousandths."""
    lines = []
    for row in (row for row in rows if row.averages):
        seeds = sorted(row.averages)
        first = row.averages[seeds[0]]
        told = {form_name(one['form'], one['samples']): {} for one in first['forms']}
        for seed in seeds:
            for one in row.averages[seed]['forms']:
                told.setdefault(form_name(one['form'], one['samples']), {})[seed] = one
        lines.append(
            {
                'network': row.label,
                'form': f'reference, {first["masks"]:,} masks',
                'error': [100 * row.averages[seed]['reference']['error'] for seed in seeds],
                'halves': [1000 * row.averages[seed]['halves']['absolute'] for seed in seeds],
            }
        )
        for form, found in told.items():
            scaled = {name: [scale * one[name] for one in found.values()] for name, scale in _SCALES.items()}
            lines.append({'network': row.label, 'form': form, **scaled})
    columns = [
        Column('network'),
        Column('form', 'average'),
        Column('error', 'error, %', '.2f'),
        Column('absolute', 'mean absolute difference, thousandths', '.3f'),
        Column('divergence', 'KL divergence, thousandths of a nat', '.3f'),
        Column('halves', "the reference's halves: mean absolute difference, thousandths", '.3f'),
    ]
    return Table(columns, lines, caption)


_SCALES = {'error': 100, 'absolute': 1000, 'divergence': 1000}


# ---- the report

_ABOUT = (
    'One network, trained without dropping, with dropout and with DropConnect, on the same schedule: {length} in batches of '
    '{batch}. DropConnect drops every weight and bias of its layers for every example anew and rescales nothing, so that what it passes on '
    'is smaller by the share that it keeps; dropout divides by that share. {chosen}Test and holdout errors are those of the networks as '
    'they are used: nothing dropped; after dropout the one network of all units, after DropConnect the limit of moment matching. Training '
    'errors and losses are measured in the same way, on {fitted:,} of the training images.'
)
_CHOSEN = 'Every row has the learning rate with the lowest error on the holdout, the mean over seeds; an end of those tried is named. '
_AVERAGES = (
    'The reference is the mean softmax output of {masks:,} networks with masks of their own (images in blocks of 100, a mask of the '
    'weights for each block; masks of units for each image), on the centre view of {images:,} test images. The means of its two halves '
    'differ by what the last column says, so the reference itself is off by about half of that, and nothing can be seen to be nearer. '
    'Only stages with DropConnect sample. Moments: the input of each such unit is a Gaussian of the mean and variance that its masks give; '
    'what is rectified of the samples is averaged before the next layer, so before the softmax, as in Algorithm 2 of the paper; with two '
    'such layers the second sees the averages of the first. Limit: the same with samples without end, which is how the errors above were '
    'found. Mean network: one network of weights times 1 - rate, or after dropout of all units. Masks: the mean softmax output of so many '
    "masks that are not among the reference's. KL: the divergence from the reference."
)
_CURVES = (
    'Cross-entropy of the steps, with what they drop, and of the holdout, nothing dropped: rows at a rate of {rate:g}, each at its own '
    'best learning rate. Bands reach over the seeds. The test images are looked at once, at the end.'
)
_SLOWER = 'Epochs to a holdout cross-entropy between the lower of their first values and the higher of their lowest (geometric mean).'


def _drawn(rows: Sequence[Row]) -> list[figures.Distances]:
    found = []
    for row in (row for row in rows if row.averages):
        lines: dict[str, dict[int, list[float]]] = {}
        levels: dict[str, list[float]] = {}
        for seen in row.averages.values():
            for one in seen['forms']:
                if one['samples'] is None:
                    levels.setdefault(form_name(one['form'], None), []).append(one['absolute'])
                else:
                    lines.setdefault(one['form'], {}).setdefault(one['samples'], []).append(one['absolute'])
        found.append(figures.Distances(row.label, lines, levels, [seen['halves']['absolute'] / 2 for seen in row.averages.values()]))
    return found


def _rates(rows: Sequence[Row], about: About) -> figures.Figure:
    ways: dict[str, dict[float, list[float]]] = {}
    for row in (row for row in rows if row.label != NEITHER):
        way, rate = split(row.label)
        ways.setdefault(way, {})[rate] = _seeds(row.test) or []
    neither = next((_seeds(row.test) or [] for row in rows if row.label == NEITHER), [])
    paper = {split(row.label)[0]: (split(row.label)[1], printed(about, row.label)) for row in rows if printed(about, row.label)}
    return figures.rates(list(ways.items()), neither, paper)


def _lead(rows: Sequence[Row], judgements: Sequence[claims.Judged]) -> str:
    shown = [row for row in rows if row.test and (row.label == NEITHER or split(row.label)[1] == RATE)] or [row for row in rows if row.test]
    if not shown:
        return 'No row is finished yet.'
    said = ', '.join(f'{np.mean(list(row.test.values())):.2f} {row.label}' for row in shown)
    return f'Test error in percent: {said}.{claims.count(judgements)}'


def report(rows: Sequence[Row], about: About, show: Shelf) -> tuple[str, str, list[tuple[str, str]]]:
    """(title, lead, [(heading, markup)]) of the experiment; tables and figures go to the shelf."""
    title = f'DropConnect, dropout and neither on {about.data}'
    if not rows:
        return title, 'No row is planned.', []
    judgements = judged(rows, about.network.startswith('wan_cifar_large'), about.data == 'clutter')
    words = _ABOUT.format(length=about.length, batch=about.batch, chosen=_CHOSEN * about.chosen, fitted=about.fitted)
    sections = [('Three ways', show.table('dropping', table(rows, about)) + show.text(words))]
    if judgements:
        sections.append(('Claims', show.claims(judgements) + show.text(_SLOWER)))
    if any(row.test for row in rows):
        said = 'Test error against the rate of dropping, with 95 % intervals over seeds from three seeds on; open marks: the paper.'
        sections.append(('Rates', show.figure('rates', _rates(rows, about), said)))
    compared = [row for row in rows if row.curves and (row.label == NEITHER or split(row.label)[1] == RATE)]
    if compared:
        drawn = figures.convergence([(row.label, [row.curves[seed] for seed in sorted(row.curves)]) for row in compared])
        sections.append(('Convergence', show.figure('convergence', drawn, _CURVES.format(rate=RATE))))
    seen = next((found for row in rows for found in row.averages.values()), None)
    if seen:
        words = _AVERAGES.format(masks=seen['masks'], images=seen['images'])
        shown = show.table('averages', averages(rows, 'Averages over masks, and how far each is from the reference: mean ± sd (seeds).'))
        drawn, per = _drawn(rows), max(1, min(4, len({split(row.label)[1] for row in rows if row.averages})))
        said = 'Distance to the reference against samples; grey: what cannot be told from it, half of the distance between its halves.'
        sections.append(('Averages over masks', shown + show.text(words) + show.figure('distances', figures.distances(drawn, per), said)))
    return title, _lead(rows, judgements), sections
