"""The verification table, its claims and its figures, from what every row says of the pairs; accuracies and rates in percent."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.reporting import claims, comparisons
from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.published import rows as published_rows
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table
from cnn_research.studies.verification import figures

# Features that no network makes, and the measures that judge them.
BASELINES = {
    'pixels': ('inner',),
    'eigenfaces': ('euclidean',),
    'eigenfaces, whitened': ('inner', 'svm'),
    'LBP': ('chi2', 'weighted'),
}
LEARNED = ('inner', 'weighted', 'svm')  # of a network's features
_NAMES = {
    'inner': 'inner product',
    'euclidean': 'Euclidean distance',
    'chi2': 'chi-squared',
    'weighted': 'weighted chi-squared',
    'svm': 'linear SVM',
    'siamese': 'Siamese',
}
_TOLD = ('weighted', 'svm')  # by pairs said to be the same or not


class Row(NamedTuple):
    """features: a network's name or one of BASELINES; measure; learned: '' for no network, 'own' for one of the people of other folds,
    'outside' for one of other data, 'inside' for one of others of the set; accuracy, error: {seed: of each fold}, the latter the equal
    error rate; curve: (201,) the mean share of one person's pairs accepted at 0, 0.5, ... 100 % of two persons', None without a seed;
    problem: why it decides nothing."""

    features: str
    measure: str
    learned: str
    accuracy: Mapping[int, Sequence[float]]
    error: Mapping[int, Sequence[float]]
    curve: np.ndarray | None
    problem: str = ''

    @property
    def label(self) -> str:
        return f'{self.features}: {_NAMES[self.measure]}'

    @property
    def protocol(self) -> str:
        """LFW's name for what was used beside the pairs' own threshold (Huang and Learned-Miller 2014)."""
        # LFW lists eigenfaces, which are learned from the other folds' images, among the restricted ones.
        used = 'restricted' if self.measure in _TOLD or self.features.startswith('eigenfaces') else 'unsupervised'
        return {'': used, 'own': 'unrestricted', 'inside': 'unrestricted', 'outside': f'{used}, outside data'}[self.learned]

    @property
    def used(self) -> str:
        """The same in words."""
        told = ['images'] if self.features.startswith('eigenfaces') or self.learned in ('inside', 'outside') else []
        told += ['pair labels'] if self.measure in _TOLD else []
        who = {'own': ['identities'], 'inside': ['other identities of the set'], 'outside': ['another set'], '': []}[self.learned]
        return ', '.join([*who, *told]) or 'nothing'


class Net(NamedTuple):
    """A network's row. parameters: of its first network, with as many classes as that has; errors: {seed: of each network of the seed, the
    share of held-out images of the people it learned that it names wrongly, in percent}; those not finished are not there."""

    features: str
    parameters: int
    errors: Mapping[int, Sequence[float]]


class About(NamedTuple):
    """What a report says beside the rows. data; pairs: '5,605 of 6,000 pairs'; same: the share of one person's, in percent; groups: the
    folds that each network is judged on; people: '477 identities in 5,124 images', what the first network learned, '' without one; seeds;
    base: the row that others are compared with, '' without networks; local: the row with shared kernels, ''; lesser: rows without layers;
    aligned; drawn: whether the pairs were drawn; demonstration; unsettled: SVMs that did not settle."""

    data: str
    pairs: str
    same: float
    groups: Sequence[Sequence[int]]
    people: str
    seeds: int
    base: str
    shared: str
    lesser: Sequence[str]
    aligned: bool
    drawn: bool
    demonstration: bool
    unsettled: int

    @property
    def folds(self) -> int:
        return sum(map(len, self.groups))

    @property
    def units(self) -> list[list[int]]:
        """What claims are judged over: the folds of each network, which share it; the folds themselves where all share one."""
        return [list(group) for group in self.groups] if len(self.groups) > 1 else [[fold] for fold in range(self.folds)]


class Plate(NamedTuple):
    """The hardest pairs of a row. accepted, rejected: [(image uint8 (h, w, 3), image, name, name)]: two persons called one, one called
    two."""

    label: str
    accepted: Sequence[tuple]
    rejected: Sequence[tuple]


def over_folds(values: Mapping[int, Sequence[float]]) -> tuple[float, float]:
    """(mean, standard error) over folds of the means over seeds."""
    each = np.mean(list(values.values()), axis=0)
    return float(each.mean()), float(each.std(ddof=1) / math.sqrt(len(each)))


def _plus_minus(values) -> str | None:
    return '{:.1f} ± {:.1f}'.format(*over_folds(values)) if values else None


def table(rows: Sequence[Row], about: About) -> Table:
    """Every row, with what it used."""
    lines = []
    for row in rows:
        seeds = [float(np.mean(each)) for each in row.accuracy.values()]
        lines.append(
            {
                'features': row.features,
                'measure': _NAMES[row.measure],
                'protocol': row.protocol,
                'used': row.used,
                'accuracy': over_folds(row.accuracy)[0] if seeds else None,
                'accuracy error': over_folds(row.accuracy)[1] if seeds else None,
                'equal error rate': _plus_minus(row.error),
                'pairs': about.pairs,
                'seeds': seeds if row.learned == 'own' and seeds else None,
                'note': row.problem or None,
            }
        )
    columns = [
        *(Column('features'), Column('measure'), Column('accuracy', 'accuracy, %', '.1f'), Column('accuracy error', '± std. error', '.1f')),
        *(Column('pairs'), Column('protocol'), Column('equal error rate', 'equal error rate, %')),
        Column('used', 'used of other folds beside the threshold'),
    ]
    columns += [Column('seeds', 'accuracy over seeds, %', '.1f')] if any(line['seeds'] for line in lines) else []
    columns += [Column('note')] if any(line['note'] for line in lines) else []
    caption = (
        f'{about.pairs} of {about.data}, {about.same:.1f} % of one person, in {about.folds} folds without common people: mean and standard '
        'error over the folds, of rows with several seeds of the mean over seeds; one answer for all pairs '
        f'tells {max(about.same, 100 - about.same):.1f} % rightly. The equal error rate is the mean of that of each fold, '
        'which is another number than one over all pairs.'
    )
    return Table(columns, lines, caption)


def networks_table(nets: Sequence[Net], rows: Sequence[Row], about: About) -> Table:
    """Each network's parameters and errors, and its features under the inner product."""
    inner = {row.features: row.accuracy for row in rows if row.measure == 'inner'}
    lines = []
    for net in nets:
        errors = [float(np.mean(each)) for each in net.errors.values() if len(each) == len(about.groups)]
        accuracy = inner.get(net.features)
        lines.append({'network': net.features, 'parameters': net.parameters, 'naming': errors or None, 'accuracy': _plus_minus(accuracy)})
    columns = [
        *(Column('network'), Column('parameters', 'parameters', ',d')),
        *(Column('naming', 'error naming held-out images, %', '.1f'), Column('accuracy', 'inner product, accuracy, %')),
    ]
    caption = (
        'The anatomy of the network, as in the ablation of Taigman et al. 2014 (Table 1, errors on SFC): held-out images of the people '
        'that each network learned, mean ± standard deviation over seeds of the mean over networks; and pairs of people that it did not.'
    )
    return Table(columns, lines, caption)


def printed(name: str) -> Table:
    """A published table, as printed."""
    lines = [
        {
            'row': record.key.partition('/')[2],
            record.quantity: f'{record.value:g}' + (f' ± {record.spread:g}' if record.spread is not None else ''),
            'read': {'verified': 'in full', 'verified-2nd': 'at second hand', 'memory': 'not read, from memory'}[record.confidence],
        }
        for record in published_rows(name)
    ]
    quantities = dict.fromkeys(record.quantity for record in published_rows(name))
    columns = [Column('row', 'as printed'), *(Column(one, f'{one}, %') for one in quantities), Column('read', 'the source was')]
    return Table(columns, lines, _PRINTED[name])


_PRINTED = {
    'deepface lfw': 'Labeled Faces in the Wild, View 2, whole, in colour (Taigman et al. 2014, and earlier results).',
    'deepface sfc': "Errors of naming held-out images of SFC, Facebook's own 4.4 million (Taigman et al. 2014).",
}

# ---- claims

_DF = 'Taigman et al. 2014 (DeepFace)'
_NAMING = ' [naming]'


def stated(labels: Sequence[str], nets: Sequence[str], about: About) -> list[claims.Claim]:
    """What the paper says of such rows. labels: of the rows, nets: of the networks' rows with errors, as far as they are there."""
    said, base = [], f'{about.base}: {_NAMES["inner"]}'

    def claim(key, sentence, source, *contrasts, quantity='accuracy', directed=True, note=''):
        there = {*labels, *(f'{name}{_NAMING}' for name in nets)}
        kept = tuple(one for one in contrasts if set(one) <= there)
        if kept:
            said.append(claims.Claim(sentence, source, kept, quantity=quantity, directed=directed, note=note, key=key))

    if not about.base:
        return []
    eigen = [f'{name}: {_NAMES[measure]}' for name, measure in (('eigenfaces', 'euclidean'), ('eigenfaces, whitened', 'inner'))]
    claim(
        'df.eigenfaces',
        'Learned features are above eigenfaces, whitened or not.',
        f'{_DF}, section 5, 97.35 % against 60.0 for eigenfaces (Huang et al. 2007)',
        *(claims.difference(base, other) for other in eigen),
    )
    claim(
        'df.lbp',
        'Learned features are above local binary patterns.',
        f'{_DF}, section 5.3: 97.0 against 91.4 % for LBP with an SVM, both on frontalised faces',
        claims.difference(base, f'LBP: {_NAMES["chi2"]}'),
    )
    claim(
        'df.chi-squared',
        'The weighted chi-squared is above the inner product.',
        f'{_DF}, section 5.3: 97.00 (restricted) against 95.92 % (unsupervised)',
        claims.difference(f'{about.base}: {_NAMES["weighted"]}', base),
    )
    claim(
        'df.siamese',
        'The Siamese end against the inner product.',
        f'{_DF}, section 4.2, where it stands in an ensemble only',
        claims.difference(f'{about.base}: {_NAMES["siamese"]}', base),
        directed=False,
    )
    if about.shared:
        why = '' if about.aligned else 'the faces are not aligned by the eyes, where the paper claims nothing'
        local = f'{about.shared}: {_NAMES["inner"]}'
        source, words = f'{_DF}, section 3.2', 'Local connections are above convolutions of the same anatomy on aligned faces.'
        claim('df.local', words, source, claims.difference(base, local), directed=about.aligned, note=why)
    lesser = [f'{name}{_NAMING}' for name in about.lesser if name in nets]
    claim(
        'df.layers',
        f'The network names people worse {", ".join(about.lesser)}.',
        f'{_DF}, Table 1: 8.7 % with all, 11.2, 12.6 and 13.5 without',
        *(claims.difference(other, f'{about.base}{_NAMING}') for other in lesser),
        quantity='error of naming held-out images',
        note='those of the paper are from memory',
    )
    return said


def judged(rows: Sequence[Row], nets: Sequence[Net], about: About) -> list[claims.Judged]:
    """The claims held against the mean over seeds of each network's folds; nothing trained decides with fewer than three seeds."""
    values = {
        row.label: {
            unit: float(np.mean([np.asarray(each)[folds].mean() for each in row.accuracy.values()]))
            for unit, folds in enumerate(about.units)
            if row.accuracy
        }
        for row in rows
    }
    whole = [net for net in nets if net.errors and all(len(each) == len(about.groups) for each in net.errors.values())]
    values |= {f'{net.features}{_NAMING}': dict(enumerate(np.mean(list(net.errors.values()), axis=0).tolist())) for net in whole}
    problems = {row.label: row.problem for row in rows if row.problem}
    named = 'a network that was named, one training of its own, not the training that the claim is of'
    problems |= {row.label: named for row in rows if row.learned not in ('', 'own')}
    few = f'{about.seeds} seed{"s" * (about.seeds > 1)} of each network, fewer than {claims.FEWEST_SEEDS}'
    if about.seeds < claims.FEWEST_SEEDS:
        problems |= {row.label: few for row in rows if row.learned == 'own'} | {f'{net.features}{_NAMING}': few for net in nets}
    overlap = 1 / max(len(about.units) - 1, 1)
    problems |= {f'{net.features}{_NAMING}': 'not finished' for net in nets if net.errors and net not in whole}
    every = stated([row.label for row in rows], [net.features for net in nets if net.errors], about)
    return [claims.judge(claim, values, problems, about.demonstration, overlap=overlap) for claim in every]


# ---- the report


def bars(rows: Sequence[Row]) -> Figure:
    """Accuracy of each row: the mean over folds, with its interval as if they were independent."""
    there = [row for row in rows if row.accuracy]
    values = [np.mean(list(row.accuracy.values()), axis=0).tolist() for row in there]
    return comparisons.bars([row.label for row in there], {'accuracy': values}, 'pairs rightly told (%)')


def _panels(rows: Sequence[Row]) -> dict[str, list[tuple[str, np.ndarray]]]:
    """The curves of rows without a network, and of every measure of the first network and the inner product of the others."""
    first = next((row.features for row in rows if row.learned), '')
    there = [row for row in rows if row.curve is not None]
    learned = [row for row in there if row.learned and (row.features == first or row.measure == 'inner')]
    panels = {'without a network': [row for row in there if not row.learned], 'features of networks': learned}
    return {title: [(row.label, row.curve) for row in found] for title, found in panels.items() if found}


_HOW = (
    'A threshold, and the weights of a measure that has any, is chosen on pairs of other folds, never on those that it is judged by; the '
    'C of an SVM by cross-validation inside these. "Unsupervised" rows use no label beside those that this takes. Eigenfaces are those of '
    "all images of people outside a fold. A network's features are what leaves the layer below its classes, after its rectifier, each "
    'divided by the largest value that it has in training, then of length 1 as a vector; the Siamese end alone takes them as they are.'
)
_OWN = (
    ' Each network learns to name people who are in none of the folds that it is judged on ({groups}; {people} for the first), so that a '
    "fold's threshold and weights come from the other folds of the same network: they are of people whom the network has not seen either. "
    'From folds that it has learned they would be too lenient, since faces that were learned lie closer together.'
)
_ALIGNED = {
    True: 'Faces are aligned in 2-D, by a similarity that brings the eyes to one place.',
    False: 'Faces are compared as the crop gives them: no eyes were given, by which they could be aligned.',
}
_FRONTAL = (
    'The 3-D frontalisation of the paper needs a model of faces that is not here. What the published rows have and this table has not: '
    'colour, alignment in 3-D, and 4.4 million images of 4,030 people to learn from. A table of some thousand small grey faces can show '
    'which features, measures and connections are worth more than others on the same faces; it cannot show how near such a network comes '
    'to 97.35 %, or to people, and its numbers are not to be set beside those as if they were of one contest.'
)
_DRAWN = ' Pairs were drawn by the seed, so that the numbers are those of no published protocol.'
_DIGITS = 'Digits are a demonstration: a class stands for a person. Its effects stand without verdicts.'
_UNITS = {
    True: 'A "split" of the claims is the folds of one network, whose mean over seeds stands for it; they share training images.',
    False: 'A "split" of the claims is a fold; all share one network.',
}


def report(rows: Sequence[Row], nets: Sequence[Net], about: About, plate: Plate | None, show: Shelf):
    """(title, lead, [(heading, markup)]); tables and figures go to the shelf."""
    judgements = judged(rows, nets, about)
    best = sorted(((over_folds(row.accuracy), row.label) for row in rows if row.accuracy), reverse=True)
    said = '; '.join(f'{label} {mean:.1f} ± {error:.1f}' for (mean, error), label in best[:4])
    lead = f'{about.pairs}, accuracy in percent with its standard error over {about.folds} folds, the best: {said}.'
    words = _HOW
    if about.people:
        groups = '; '.join(f'{group[0] + 1} to {group[-1] + 1}' for group in about.groups)
        words += _OWN.format(groups=f'folds {groups}', people=about.people)
    if about.unsettled:
        words += f' {about.unsettled} SVMs had not settled when they were stopped, cross-validation counted in.'
    sections = [('Faces told apart', show.table('verification', table(rows, about)) + show.text(words))]
    limits = f'{_ALIGNED[about.aligned]}{_DRAWN * about.drawn}\n\n{_FRONTAL}'
    sections.append(('What this can show', show.text(limits)))
    if about.demonstration:
        sections.append(('About digits', show.text(_DIGITS)))
    if nets:
        sections.append(('Layers and connections', show.table('networks', networks_table(nets, rows, about))))
    if judgements:
        sections.append(('Claims', show.claims(judgements) + show.text(_UNITS[len(about.groups) > 1])))
    words = 'The share of pairs that are rightly told. Whiskers are 95 % intervals over folds as if these were independent, so too narrow.'
    drawn = show.figure('accuracy', bars(rows), words)
    words = 'Every threshold there could be: means over folds, and over seeds where there are several. The dotted line is chance.'
    drawn += show.figure('roc', figures.curves(_panels(rows)), words)
    sections.append(('Figures', drawn))
    if plate:
        words = f'The pairs that {plate.label} tells worst, the worst first: furthest on the wrong side of the threshold of their fold.'
        sections.append(('The hardest pairs', show.figure('hardest', figures.hardest(plate.accepted, plate.rejected), words)))
    sections.append(('As published', ''.join(show.table(f'printed_{name.replace(" ", "_")}', printed(name)) for name in _PRINTED)))
    return f'Face verification on {about.data}', lead + claims.count(judgements), sections
