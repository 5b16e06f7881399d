"""The transfer table, its claims and its figures, from the outcomes of every row; accuracies are means over classes, in percent."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_research.reporting import claims, comparisons
from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.figures import QUIET, RIGHT, WIDTH, WRONG
from cnn_research.reporting.published import rows as published_rows
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Cell, Column, Table

# Features that come from no training, and what a table calls them.
HANDMADE = {
    'pixels': 'pixels',
    'hog': 'HOG',
    'bag_of_words': 'SIFT words',
    'pyramid': 'SIFT pyramid',
    'jarrett': 'random filters (Jarrett)',
}
WORDS = ('bag_of_words', 'pyramid')  # judged with the intersection kernel
MARK = '†'  # of what rests on a fit that did not settle
_NAMES = {
    'svm': 'SVM',
    'softmax': 'softmax',
    'svm+dropout': 'SVM, dropout',
    'softmax+dropout': 'softmax, dropout',
    'hinge': 'SVM, hinge',
}


class Key(NamedTuple):
    """A row. network: its name, '' for features made by hand; tap: of the network, or one of HANDMADE; trained: the network, or the same
    one before its training."""

    network: str
    tap: str
    trained: bool

    @property
    def label(self) -> str:
        if not self.network:
            return HANDMADE[self.tap]
        return f'{self.network}{"" if self.trained else ", untrained"}: {self.tap}'


class Row(NamedTuple):
    """outcomes[classifier][n per class] lists one dict for each split."""

    key: Key
    dimension: int
    outcomes: Mapping[str, Mapping[Any, Sequence[Mapping]]]


class About(NamedTuple):
    """What a report says beside the rows. data: the source judged on; classes; sizes: training images of each class, rising; test: images
    in a split's test; protocol: its fields in words; splits; overlap: test images for each training image of the largest size; tolerance:
    the share of its objective that a fit which settled may still expect to gain; clutter: whether anything is a demonstration."""

    data: str
    classes: int
    sizes: Sequence[int]
    test: int
    protocol: str
    splits: int
    overlap: float
    tolerance: float
    demonstration: bool


class Plate(NamedTuple):
    """The nearest neighbours of some queries (Q): images uint8 (Q, h, w, 3), each query's class, and per kind of features (Q, k, h, w, 3)
    and whether each neighbour is of the query's class (Q, k); network: the name of the one whose taps are among them."""

    queries: np.ndarray
    names: Sequence[str]
    found: Mapping[str, tuple[np.ndarray, np.ndarray]]
    network: str


def accuracies(row: Row | None, classifier: str, size: int) -> list[float]:
    """Of each split, in percent."""
    return [100 * outcome['accuracy'] for outcome in _splits(row, classifier, size)]


def _splits(row, classifier, size) -> Sequence[Mapping]:
    curve = row.outcomes.get(classifier, {}) if row else {}
    return curve.get(str(size), curve.get(size, []))


def unsettled(row: Row | None, classifier: str, size: int, tolerance: float) -> float:
    """The largest share of a fit's objective that a further step still promised, 0 where all fits settled."""
    shares = [outcome['unsettled'] for outcome in _splits(row, classifier, size)]
    worst = max((math.inf if share is None or math.isnan(share) else share for share in shares), default=0.0)
    return 0.0 if worst <= tolerance else worst


def _cell(row, classifier, size, tolerance):
    values = accuracies(row, classifier, size) or None
    return Cell(values, note=MARK) if values and unsettled(row, classifier, size, tolerance) else values


def _classifiers(rows: Sequence[Row]) -> list[str]:
    return [name for name in _NAMES if any(name in row.outcomes for row in rows)]


def _before(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    return {row.key[:2]: row for row in rows if row.key.network and not row.key.trained}


def _lines(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.key.trained or not row.key.network]


def _marked(rows, about, classifiers) -> str:
    if not any(unsettled(row, one, size, about.tolerance) for row in rows for one in classifiers for size in about.sizes):
        return ''
    return f' {MARK}: a fit did not settle, so the accuracy may be another.'


def table(rows: Sequence[Row], about: About) -> Table:
    """Every row with the most training images, beside the same tap before the training."""
    size, before, names = about.sizes[-1], _before(rows), _classifiers(rows)
    lines = []
    for row in _lines(rows):
        untrained = before.get(row.key[:2])
        costs = sorted({outcome['cost'] for outcome in _splits(row, names[0], size)})
        lines.append(
            {
                'features': row.key.label,
                **{name: _cell(row, name, size, about.tolerance) for name in names},
                **{f'untrained {name}': _cell(untrained, name, size, about.tolerance) for name in names},
                'dimension': row.dimension,
                'cost': ' to '.join(f'{cost:g}' for cost in dict.fromkeys((costs[0], costs[-1]))) if costs else None,
            }
        )
    columns = [Column('features'), *(Column(name, f'{_NAMES[name]}, %', '.1f') for name in names)]
    columns += [Column(f'untrained {name}', f'untrained: {_NAMES[name]}, %', '.1f') for name in names if before]
    columns += [Column('dimension', 'dimensions', ',d'), Column('cost', f'C of {_NAMES[names[0]]}')]
    caption = f'Mean accuracy per class on {about.data}, {size} training images of each of {about.classes} classes: mean ± standard '
    caption += f'deviation over {about.splits} random splits.' + _marked(rows, about, names)
    return Table(columns, lines, caption)


def curve_table(rows: Sequence[Row], classifier: str, about: About) -> Table:
    """Every row with every number of training images."""
    lines = [
        {'features': row.key.label} | {str(size): _cell(row, classifier, size, about.tolerance) for size in about.sizes}
        for row in rows
        if classifier in row.outcomes
    ]
    caption = f'{_NAMES[classifier]}: mean ± standard deviation over the splits.' + _marked(rows, about, [classifier])
    return Table([Column('features'), *(Column(str(size), f'{size} per class, %', '.1f') for size in about.sizes)], lines, caption)


_PRINTED = {
    'decaf caltech-101': 'DeCAF on the whole Caltech-101, 30 per class (Donahue et al. 2013, Fig. 4)',
    'zf table 4': 'Zeiler & Fergus 2013, Table 4: the whole Caltech-101, 15 and 30 per class',
    'zf table 7': 'Zeiler & Fergus 2013, Table 7: their ImageNet network',
    'razavian': 'Razavian et al. 2014: OverFeat on other data sets',
}


def printed(name: str) -> Table:
    """A published table as it is printed, in our form."""
    found = published_rows(name)
    quantities = list(dict.fromkeys(record.quantity for record in found))
    lines: dict[str, dict[str, Any]] = {}
    for record in found:
        words = f'{record.value:g}' + (f' ± {record.spread:g}' if record.spread is not None else '')
        lines.setdefault(record.key.partition('/')[2], {})[record.quantity] = words
    rows = [{'row': row, **cells} for row, cells in lines.items()]
    columns = [Column('row', 'as printed'), *(Column(quantity, f'{quantity}, %') for quantity in quantities)]
    return Table(columns, rows, f'{_PRINTED[name]}; {"read at second hand" if found[0].confidence != "verified" else "read in full"}.')


# ---- claims

_ZF7, _DECAF = 'Zeiler & Fergus 2013, section 5.4 and Table 7', 'Donahue et al. 2013 (DeCAF), Fig. 4'
_QUANTITY = 'mean accuracy per class ({})'


def _named(label: str, classifier: str) -> str:
    return f'{label} [{_NAMES[classifier]}]'


def stated(keys: Sequence[Key], classifiers: Sequence[str]) -> list[claims.Claim]:
    """What the papers say of such rows, each with the first of the classifiers unless it compares them."""
    first, labels, said = classifiers[0], {key.label for key in keys}, []

    def claim(key, sentence, source, row, base, classifier=first, other=None, directed=True, note=''):
        if row in labels and base in labels:
            contrast = claims.difference(_named(row, classifier), _named(base, other or classifier))
            quantity = _QUANTITY.format(_NAMES[classifier])
            said.append(claims.Claim(sentence, source, (contrast,), quantity=quantity, directed=directed, note=note, key=key))

    networks = dict.fromkeys(key.network for key in keys if key.network)
    tops = {name: [key.tap for key in keys if key.network == name and key.trained][-1] for name in networks}
    for name, top in tops.items():
        low = [key.tap for key in keys if key.network == name and key.trained][0]
        best, untrained = Key(name, top, True).label, Key(name, top, False).label
        if low != top:
            words = f'{name}: the highest features are worth more than the lowest.'
            claim('zf.transfer.highest', words, _ZF7, best, Key(name, low, True).label)
        words = f'{name}: its training is worth something at {top}.'
        claim('decaf.trained', words, 'Donahue et al. 2013; Zeiler & Fergus 2013, Fig. 9', best, untrained)
        words = f'{name}: {top} is worth more than the spatial pyramid of SIFT words.'
        claim('decaf.pyramid', words, f'{_DECAF}, against Yang et al. 2009; deck', best, HANDMADE['pyramid'])
        for tap in [key.tap for key in keys if key.network == name and key.trained and key.tap.endswith('.dense')]:
            after = Key(name, tap.removesuffix('.dense'), True).label
            words = f'{name}: {tap.removesuffix(".dense")} after its nonlinearity against before.'
            source, before = 'deck, "Using CNN features on other datasets"', Key(name, tap, True).label
            claim('deck.nonlinearity', words, source, after, before, directed=False)
        for kind in ('svm', 'softmax'):
            if {kind, f'{kind}+dropout'} <= set(classifiers):
                words = f'{name}: dropping half of {top} helps the {_NAMES[kind]}.'
                claim('decaf.dropout', words, _DECAF, best, best, classifier=f'{kind}+dropout', other=kind)
        if {'svm', 'softmax'} <= set(classifiers):
            words = f'{name}: SVM against softmax on {top}.'
            claim('zf.layers.svm', words, _ZF7, best, best, 'svm', 'softmax', False, 'the papers go both ways')
    for name, other in [(name, other) for name in tops for other in tops if name < other]:
        words = f'{name} against {other}, each at its highest layer.'
        claim('own.networks', words, '-', Key(name, tops[name], True).label, Key(other, tops[other], True).label, directed=False)
    if first in ('svm', 'hinge'):
        words = 'The pyramid is worth more than the bag of words.'
        claim('spm.pyramid', words, 'Lazebnik et al. 2006', HANDMADE['pyramid'], HANDMADE['bag_of_words'])
    words = 'Random filters are worth more than pixels.'
    claim('jarrett.random', words, 'Jarrett et al. 2009', HANDMADE['jarrett'], HANDMADE['pixels'])
    return said


def judged(rows: Sequence[Row], about: About) -> list[claims.Judged]:
    """The claims held against the splits; none rests on a fit that did not settle."""
    size, names = about.sizes[-1], _classifiers(rows)
    values, problems = {}, {}
    for row in rows:
        for name in names:
            label = _named(row.key.label, name)
            values[label] = dict(enumerate(accuracies(row, name, size)))
            share = unsettled(row, name, size, about.tolerance)
            problems |= {label: f'a fit did not settle (a further step promised {share:.0e} of its objective)'} if share else {}
    every = stated([row.key for row in rows], names)
    return [claims.judge(claim, values, problems, about.demonstration, overlap=about.overlap) for claim in every]


# ---- figures


def _highest(rows: Sequence[Row]) -> list[Row]:
    """The highest features of each network, trained and untrained, and those made by hand."""
    return list({(row.key.network, row.key.trained, '' if row.key.network else row.key.tap): row for row in rows}.values())


def bars(rows: Sequence[Row], about: About) -> Figure:
    """The highest features of each network, before their training too, and those made by hand, with the first classifiers."""
    lines, before, names, size = _lines(_highest(rows)), _before(rows), _classifiers(rows)[:2], about.sizes[-1]
    series = {_NAMES[name]: [accuracies(row, name, size) for row in lines] for name in names}
    if before:
        series[f'untrained, {_NAMES[names[0]]}'] = [accuracies(before.get(row.key[:2]), names[0], size) for row in lines]
    return comparisons.bars([row.key.label for row in lines], series, 'mean accuracy per class (%)')


def layers(rows: Sequence[Row], about: About) -> Figure:
    """Accuracy of the first classifier from each network's lowest tap to its highest."""
    name, series = _classifiers(rows)[0], {}
    for row in rows:
        if row.key.network:
            words = row.key.network + (', untrained' if not row.key.trained else '')
            series.setdefault(words, []).append(accuracies(row, name, about.sizes[-1]))
    drawn = [(words, range(1, len(values) + 1), values) for words, values in series.items()]
    return comparisons.accuracy_curves(drawn, 'tap, counted from the lowest of the table', 'mean accuracy per class (%)')


def curves(rows: Sequence[Row], about: About) -> Figure:
    """The same rows as the bars, untrained ones too, against the number of training images."""
    name = _classifiers(rows)[0]
    chosen = [row for row in _highest(rows) if name in row.outcomes]
    drawn = [(row.key.label, about.sizes, [accuracies(row, name, size) for size in about.sizes]) for row in chosen]
    return comparisons.accuracy_curves(drawn, 'training images of each class', 'mean accuracy per class (%)')


def neighbours(plate: Plate) -> Figure:
    """Two queries in a row, each above its neighbours, a line for each kind of features; those of the query's class are framed."""
    kinds, count = list(plate.found), next(iter(plate.found.values()))[0].shape[1]
    words, gap, title, line = 0.85, 0.3, 0.62, 0.06
    side = ((WIDTH - gap) / 2 - words) / count - line
    tall = title + len(kinds) * (side + line) + 0.2
    down = -(-len(plate.queries) // 2)
    height = down * tall
    figure = Figure(figsize=(WIDTH, height))

    def picture(image, left, top, size, colour=None):
        axes = figure.add_axes((left / WIDTH, (height - top - size) / height, size / WIDTH, size / height))
        axes.imshow(image, interpolation='none', aspect='auto')
        axes.set_xticks([]), axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(visible=colour is not None, color=colour, linewidth=1.8)

    for place, (query, name) in enumerate(zip(plate.queries, plate.names, strict=True)):
        left, top = (place % 2) * (WIDTH + gap) / 2, (place // 2) * tall
        picture(query, left, top + 0.05, title - 0.12)
        figure.text((left + title) / WIDTH, 1 - (top + title / 2) / height, name, fontsize=8.5, va='center', parse_math=False)
        for number, kind in enumerate(kinds):
            images, same = (array[place] for array in plate.found[kind])
            above = top + title + number * (side + line)
            figure.text(
                left / WIDTH, 1 - (above + side / 2) / height, kind, fontsize=6.5, va='center', color=QUIET, parse_math=False, wrap=True
            )
            for rank, (image, right) in enumerate(zip(images, same, strict=True)):
                picture(image, left + words + rank * (side + line), above, side, RIGHT if right else WRONG)
    return figure


# ---- the report

_HOW = (
    'For every row the classifiers were fitted to the features alone; {protocol}. C is chosen by cross-validation inside the training '
    'part, where there are several; the test part is read once. Words of SIFT are learned from the training images of each split, and '
    'judged by an SVM with the histogram-intersection kernel alone, with values of C of its own.'
)


def report(rows: Sequence[Row], about: About, plate: Plate | None, told: Mapping[str, Mapping], show: Shelf):
    """(title, lead, [(heading, markup)]); tables and figures go to the shelf. told: of each kind of the plate, measures.told."""
    size, names, judgements = about.sizes[-1], _classifiers(rows), judged(rows, about)
    best = sorted(((np.mean(accuracies(row, names[0], size)), row.key.label) for row in rows if names[0] in row.outcomes), reverse=True)
    said = ', '.join(f'{label} {mean:.1f}' for mean, label in best[:4])
    lead = f'{_NAMES[names[0]]}, {size} of each class, accuracy in percent, the best: {said}.{claims.count(judgements)}'
    sections = [('Features and classifiers', show.table('transfer', table(rows, about)) + show.text(_HOW.format(protocol=about.protocol)))]
    if about.demonstration:
        words = 'Clutter is a demonstration, made so that depth matters. Its effects stand without verdicts.'
        sections.append(('About clutter', show.text(words)))
    if judgements:
        sections.append(('Claims', show.claims(judgements)))
    words = f'What the highest features of each network and those made by hand are worth on {about.data}. Whiskers are 95 % intervals of '
    words += 'the mean as if the splits were independent, so too narrow; those of the claims are not.'
    drawn = show.figure('transfer', bars(rows, about), words)
    if any(row.key.network for row in rows):
        words = f'{_NAMES[names[0]]} from the lowest features of each network to its highest; bands are the deviation over splits.'
        drawn += show.figure('layers', layers(rows, about), words)
    if len(about.sizes) > 1:
        more = ''.join(show.table(f'curve_{name}'.replace('+', '_'), curve_table(rows, name, about)) for name in names)
        sections.append(('By number of training images', more))
        words = f'{_NAMES[names[0]]} with more and more training images; bands are the deviation over splits.'
        drawn += show.figure('curves', curves(rows, about), words)
    sections.append(('Figures', drawn))
    if plate:
        shares = '; '.join(f'{kind} {100 * share["all"]:.0f} %' for kind, share in told.items())
        words = (
            'The nearest images by the angle between features (of words: of their histograms), of a test image each of classes evenly '
            'spaced over all; framed green where the class is the same. Of the five nearest of every test image of the first split, the '
            f'share of its class: {shares}.' + (f' Layers are those of {plate.network}.' if plate.network else '')
        )
        sections.append(('Nearest neighbours', show.figure('neighbours', neighbours(plate), words)))
    sections.append(('As published', ''.join(show.table(f'printed_{name.replace(" ", "_")}', printed(name)) for name in _PRINTED)))
    return f'Transfer to {about.data}', lead, sections
