"""Detection's tables and claims, from the outcomes of every row (R-CNN: Girshick et al. 2014); average precisions are in percent.

An outcome, of a row and a seed, is what `evaluation.told` gives, with what `diagnosis.told` gives as its 'diagnosis'.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_research.reporting import claims, comparisons
from cnn_research.reporting.published import rows as published_rows
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table
from cnn_research.studies.detection import figures

HANDMADE = {'hog': 'HOG', 'pyramid': 'SIFT pyramid'}
CLASSIFIERS = {'svm': 'SVM', 'softmax': 'softmax', 'network': 'own softmax'}
CROPS = ('', 'no context', 'isotropic')  # '': warped to the network's input, with context
WAYS = {'area': 'area', 'eleven': '11 points'}
PUBLISHED = ('pool5', 'fc6', 'fc7')


class Key(NamedTuple):
    """A row. features: a tap, or one of HANDMADE; classifier: one of CLASSIFIERS, of which 'network' is the fine-tuned network's own last
    layer; tuned: whether the network was fine-tuned; refined: whether boxes were regressed; crop: one of CROPS."""

    features: str
    classifier: str = 'svm'
    tuned: bool = False
    refined: bool = False
    crop: str = ''

    @property
    def label(self) -> str:
        words = ('fine-tuned' * self.tuned, CLASSIFIERS[self.classifier], 'boxes refined' * self.refined, self.crop)
        return f'{HANDMADE.get(self.features, self.features)} ({", ".join(filter(None, words))})'


class Row(NamedTuple):
    """outcomes: {seed: outcome}; dimension: of the features; problem: why the row decides nothing, '' for nothing."""

    key: Key
    dimension: int
    outcomes: Mapping[int, Mapping[str, Any]]
    problem: str = ''


class About(NamedTuple):
    """What a report says beside the rows. data: the set judged on; network: whose taps; stands: {tap: which of PUBLISHED it stands for};
    class_names; trained, tested: (images, objects that are not difficult) of either split; notes: of the set, as sentences; proposals: how
    and how many, in words; crop: how a window is cut, in words; way: 'area' or 'eleven', which claims and figures have; seeds: what differs
    between seeds, as a sentence; similar: groups of classes that are similar; demonstration: whether the data were made to be one;
    overlap: where seeds are random splits of one set, the images for the test for each one to learn from, else None."""

    data: str
    network: str
    stands: Mapping[str, str]
    class_names: Sequence[str]
    trained: tuple[int, int]
    tested: tuple[int, int]
    notes: Sequence[str]
    proposals: str
    crop: str
    way: str
    seeds: str
    similar: Sequence[Sequence[str]]
    demonstration: bool
    overlap: float | None = None


def precisions(row: Row, way: str) -> dict[int, float]:
    """{seed: mean average precision} over the classes that have objects, in percent; seeds without any such class are left out."""
    told = {seed: [one for one in outcome[way] if one is not None] for seed, outcome in sorted(row.outcomes.items())}
    return {seed: 100 * float(np.mean(of)) for seed, of in told.items() if of}


def published(key: Key, stands: Mapping[str, str]) -> float | None:
    """What R-CNN has on VOC 2007 for such a row, None where it has none."""
    name = ' '.join(filter(None, ('ft' * key.tuned, stands.get(key.features, '-'), 'bb' * key.refined)))
    if key.crop or key.classifier != 'svm':
        return None
    return next((one.value for one in published_rows('rcnn table 2') if one.key == f'rcnn table 2/{name}' and one.quantity == 'mAP'), None)


# ---- tables


def table(rows: Sequence[Row], about: About) -> Table:
    """Every row: mean average precision in either way, beside R-CNN's."""
    lines = [
        {
            'row': row.key.label,
            'dimension': row.dimension,
            **{way: list(precisions(row, way).values()) or None for way in WAYS},
            'published': published(row.key, about.stands),
            'note': row.problem or None,
        }
        for row in rows
    ]
    columns = [
        Column('row'),
        *(Column(way, f'mAP, {WAYS[way]}, %', '.1f') for way in (about.way, *(way for way in WAYS if way != about.way))),
        Column('published', 'R-CNN on VOC 2007, 11 points, %', '.1f'),
        Column('dimension', 'dimensions', ',d'),
        *([Column('note')] if any(row.problem for row in rows) else []),
    ]
    caption = (
        f'Mean average precision on {about.data}: mean ± standard deviation (seeds). Area: under the highest precision at a recall or a '
        'higher one (VOC from 2010 on). 11 points: its mean at recall 0, 0.1, ..., 1 (VOC 2007). The published numbers are of '
        + ('another network' if about.data == 'voc/2007' else 'other data, other classes and another network')
        + ': what can be compared is the order of rows.'
    )
    return Table(columns, lines, caption)


def _objects(rows: Sequence[Row]) -> tuple[list[int], list[int]]:
    """(objects that count, difficult ones) of each class in the test; empty before the first outcome."""
    told = next((outcome for row in rows for outcome in row.outcomes.values()), {'objects': [], 'difficult': []})
    return told['objects'], told['difficult']


def class_table(rows: Sequence[Row], about: About) -> Table:
    """Average precision of every class, a line for each row."""
    objects, difficult = _objects(rows)
    lines = []
    for row in rows:
        of = [[outcome[about.way][label] for outcome in row.outcomes.values()] for label in range(len(about.class_names))]
        cells = {f'class {label}': [100 * one for one in seeds] if seeds and None not in seeds else None for label, seeds in enumerate(of)}
        lines.append({'row': row.key.label, 'mAP': list(precisions(row, about.way).values()) or None, **cells})
    columns = [Column('row'), Column('mAP', format='.1f')]
    columns += [Column(f'class {label}', name, '.1f') for label, name in enumerate(about.class_names)]
    counts = ', '.join(
        f'{name} {count}{f" (and {hard} difficult)" * bool(hard)}'
        for name, count, hard in zip(about.class_names, objects, difficult, strict=False)
    )
    caption = f'Average precision ({WAYS[about.way]}) of every class in percent. Objects in the test of the first seed: {counts}.'
    if any(0 in outcome['objects'] for row in rows for outcome in row.outcomes.values()):
        caption += ' A class without an object that counts has no average precision and is not in the mean.'
    return Table(columns, lines, caption)


def recall_table(recalls: Mapping[str, tuple[Sequence[int], Mapping[float, Sequence[float]]]]) -> Table:
    """The numbers of the figure of recall, in percent."""
    lines = [
        {'proposals': name, 'count': count} | {f'{overlap:g}': 100 * values[place] for overlap, values in of.items()}
        for name, (counts, of) in recalls.items()
        for place, count in enumerate(counts)
    ]
    overlaps = sorted({overlap for _, of in recalls.values() for overlap in of})
    columns = [Column('proposals'), Column('count', 'an image, at most', ',d')]
    columns += [Column(f'{overlap:g}', f'recall at an overlap of {overlap:g}, %', '.1f') for overlap in overlaps]
    return Table(columns, lines, 'Recall of the objects that are not difficult, in all pictures.')


def kinds_table(rows: Sequence[Row], about: About) -> Table:
    """What the strongest detections are, as many of each class as it has objects; shares over classes and seeds."""
    lines = []
    for row in rows:
        counts, kinds, multiples = figures.kinds(row.outcomes)
        if counts is None:
            continue
        of = counts[multiples.index(1.0)]
        shares = {kind: 100 * count / max(of.sum(), 1) for kind, count in zip(kinds, of, strict=True)}
        lines.append({'row': row.key.label, 'detections': int(of.sum())} | shares)
    kinds = [kind for kind in figures.KINDS if about.similar or kind != 'similar']
    groups = '; '.join(', '.join(group) for group in about.similar)
    caption = (
        'The strongest detections of each class, as many as it has objects, all seeds together. Right; localisation: an overlap with an '
        'object of the class of at least 0.1 that is not enough, or a duplicate'
        + (f'; similar: of at least 0.1 with an object of a similar class ({groups})' if groups else '')
        + '; other: with one of another class; background: the rest (Hoiem et al. 2012).'
        + ('' if groups else ' No classes are called similar here.')
    )
    return Table([Column('row'), Column('detections', format=',d'), *(Column(kind, f'{kind}, %', '.1f') for kind in kinds)], lines, caption)


_PRINTED = {
    'rcnn table 1': 'Table 1: VOC 2010, test; average precision as area. UVA: a spatial pyramid of words on the same proposals',
    'rcnn table 2': 'Table 2: VOC 2007, test; average precision of 11 points. FT: fine-tuned; BB: boxes refined',
}


def printed(name: str) -> Table:
    """A published table as it is printed."""
    found = published_rows(name)
    lines: dict[str, dict[str, Any]] = {}
    for record in found:
        row = record.key.partition('/')[2]
        lines.setdefault(row, {'method': row})[record.quantity] = record.value
    quantities = sorted(dict.fromkeys(record.quantity for record in found), key=lambda quantity: quantity != 'mAP')
    columns = [Column('method'), *(Column(quantity, format='.1f') for quantity in quantities)]
    return Table(columns, list(lines.values()), f'Girshick et al. 2014, {_PRINTED[name]}.')


# ---- claims

_RCNN = 'Girshick et al. 2014, '


def stated(keys: Sequence[Key], about: About) -> list[claims.Claim]:
    """What the paper and the deck say of such rows, as far as they are there."""
    there, said = list(dict.fromkeys(keys)), []
    learned = [key for key in there if key.features not in HANDMADE and key.classifier != 'network']
    own = [key for key in there if key.classifier == 'network']
    taps = list(dict.fromkeys(key.features for key in learned))
    maps = [tap for tap in taps if about.stands.get(tap) == 'pool5']
    dense = [tap for tap in taps if about.stands.get(tap) in ('fc6', 'fc7')]
    instead = '' if about.way == 'eleven' else 'the source: of 11 points'

    def claim(key, sentence, source, contrasts, instead=instead, **more):
        if contrasts:
            quantity = f'mean average precision, {WAYS[about.way]}'
            said.append(claims.Claim(sentence, source, tuple(contrasts), quantity=quantity, instead=instead, key=key, **more))

    def pairs(among=None, **change):
        """The contrast of every row with the same row after the change, where both are there."""
        found = [(key, key._replace(**change)) for key in (learned if among is None else among)]
        return [claims.difference(key.label, other.label) for key, other in found if other != key and other in there]

    plain = [Key(tap) for tap in taps if Key(tap) in there]
    fc6 = [key for key in plain if about.stands.get(key.features) == 'fc6']
    source = _RCNN + 'Table 2 (fc6 46.2, pool5 44.2)'
    if fc6:
        sentence = 'Without fine-tuning, fc6 is worth more than pool5.'
        claim('rcnn.fc6', sentence, source, pairs(fc6, features=maps[0]) if maps else [])
    elif len(plain) > 1:
        sentence = f'Without fine-tuning, the highest features against the lowest; {about.network} has no dense layer among them.'
        claim('rcnn.highest', sentence, source, [claims.difference(plain[-1].label, plain[0].label)], directed=False)
    refined = [key for key in learned if key.refined]
    printed_at = _RCNN + 'Table 2 (58.5 against 54.2)'
    claim('rcnn.refined', 'Refining the boxes by regression gains.', printed_at, pairs(refined, refined=False))
    svm = [key for key in learned if key.classifier == 'svm']
    source = _RCNN + 'appendix B (54.2 against 50.9)'
    highest = [key for key in svm if key.tuned and not key.refined][-1:]
    over = [claims.difference(key.label, other.label) for key in highest for other in own]
    claim('rcnn.own', "SVMs are worth more than the fine-tuned network's own softmax.", source, over)
    words = 'a softmax learned anew on the features; the source: the last layer of the fine-tuned network'
    claim('rcnn.svm', 'SVMs are worth more than a softmax on the same features.', source, pairs(svm, classifier='softmax'), words)
    words = _RCNN + 'appendix A (3 to 5 points, with the warp)'
    normal = [key for key in learned if not key.crop]
    claim('rcnn.context', 'Context about the window gains.', words, pairs(normal, crop='no context'))
    words = _RCNN + 'appendix A (3 to 5 points, with the context)'
    claim('rcnn.warp', 'Warping the window is worth more than keeping its proportions.', words, pairs(normal, crop='isotropic'))
    gains = []
    for tap in dense:
        rows = [Key(one, tuned=tuned) for one in (tap, *maps[:1]) for tuned in (True, False)]
        if maps and all(row in there for row in rows):
            gains.append(dict(zip((row.label for row in rows), (1, -1, -1, 1), strict=True)))
    printed_at = _RCNN + 'Table 2 (6.9 and 9.5 against 3.1 points)'
    claim('rcnn.tuned dense', 'Fine-tuning gains more at dense layers than at pool5.', printed_at, gains)
    tuned = [key for key in learned if key.tuned]
    if not gains and tuned:
        words = f'Fine-tuning gains; {about.network} has no dense layers and pool5 among its rows, between which to tell.'
        claim('rcnn.tuned', words, _RCNN + 'Table 2', pairs(tuned, tuned=False))
    best = (fc6 or plain)[-1:]
    words = 'The network, not fine-tuned, is worth more than {} on the same proposals.'
    source = _RCNN + 'Table 2 (fc6 46.2, DPM 33.7); the deck'
    instead = 'the source: HOG within deformable part models'
    claim('rcnn.hog', words.format('HOG'), source, pairs(best, features='hog'), instead=instead)
    source = _RCNN + 'Table 1 (53.7 or 50.2 against 35.1, on VOC 2010); the deck'
    instead = 'the source: VOC 2010, fine-tuned'
    claim('rcnn.pyramid', words.format('the pyramid of visual words'), source, pairs(best, features='pyramid'), instead=instead)
    return said


def judged(rows: Sequence[Row], about: About) -> list[claims.Judged]:
    """The claims held against the seeds; those of a demonstration without verdicts."""
    values = {row.key.label: precisions(row, about.way) for row in rows}
    problems = {row.key.label: row.problem for row in rows if row.problem}
    return [
        claims.judge(claim, values, problems, about.demonstration, overlap=about.overlap)
        for claim in stated([row.key for row in rows], about)
    ]


# ---- the report

_RULES = (
    'A detection is right where its box overlaps an object of its class by more than {overlap:g} (intersection over union{pixel}) and no '
    'stronger detection has met that object; of equal scores the earlier image counts as the stronger. Difficult objects are neither '
    'found nor missed: what meets one is ignored.'
)
_NOT_VOC = ' This is not VOC, which has 20 classes and about 5,000 images in the test of 2007.'
_MEASURE = {
    'area': 'as the area under the precision, as in VOC from 2010 on (in brackets: of 11 points, as in VOC 2007)',
    'eleven': 'of 11 points, as in VOC 2007 (in brackets: as the area under the precision, as in VOC from 2010 on)',
}
_FEW = 'Average precisions of few images hang on which objects happen to be among them; intervals over seeds do not say how much.'
_DEMONSTRATION = 'The scenes are a demonstration, made so that the command can be tried. Their differences stand without verdicts.'


def chosen(rows: Sequence[Row], way: str) -> list[Row]:
    """The best row of the network as it is, fine-tuned, with refined boxes, and every row made by hand: what figures show."""
    done = [row for row in rows if precisions(row, way)]

    def best(holds):
        some = [row for row in done if row.key.features not in HANDMADE and not row.key.crop and holds(row.key)]
        return sorted(some, key=lambda row: -float(np.mean(list(precisions(row, way).values()))))[:1]

    found = best(lambda key: not key.tuned and not key.refined) + best(lambda key: key.tuned and not key.refined)
    return found + best(lambda key: key.refined) + [row for row in done if row.key.features in HANDMADE]


def lead(rows: Sequence[Row], about: About, judgements: Sequence[claims.Judged]) -> str:
    """What was judged on what, the best rows, and what became of the claims."""
    (images, objects), (train_images, train_objects) = about.tested, about.trained
    hard = sum(_objects(rows)[1])
    words = (
        f'{about.data}: {len(about.class_names)} classes; {train_images:,} images with {train_objects:,} objects to learn from, '
        f'{images:,} with {objects:,} to be found{f" (and {hard:,} difficult ones, which do not count)" * bool(hard)}.'
    )
    words += '' if about.data.startswith('voc/') else _NOT_VOC
    found = []
    for row in rows:
        means = {way: float(np.mean(list(of.values()))) for way in WAYS if (of := precisions(row, way))}
        if means:
            other = next(way for way in WAYS if way != about.way)
            found.append((means[about.way], f'{row.key.label} {means[about.way]:.1f} ({means[other]:.1f})'))
    if not found:
        return f'{words}\n\nNo row is finished yet.'
    best = '; '.join(text for _, text in sorted(found, key=lambda one: -one[0])[:4])
    return f'{words}\n\nMean average precision in percent, {_MEASURE[about.way]}, the best: {best}.{claims.count(judgements)}'


def report(
    rows: Sequence[Row],
    about: About,
    recalls: Mapping[str, tuple[Sequence[int], Mapping[float, Sequence[float]]]],
    pictures: Mapping[str, Sequence[figures.Picture]],
    show: Shelf,
) -> tuple[str, str, list[tuple[str, str]]]:
    """(title, lead, [(heading, markup)]); tables and figures go to the shelf.

    recalls: {what proposes: (numbers of proposals an image, {overlap: recall in [0, 1] at each number})}; pictures: {which row and seed:
    images with what it detects}.
    """
    title = f'Detection on {about.data}'
    if not rows:
        return title, 'No row is planned.', []
    judgements = judged(rows, about)
    told = next((outcome for row in rows for outcome in row.outcomes.values()), None)
    how = f'{about.proposals} {about.crop} {about.seeds}'
    if told:
        pixel = f', with {told["pixel"]:g} pixel added to every side' if told['pixel'] else ''
        how += ' ' + _RULES.format(overlap=told['overlap'], pixel=pixel)
    sections = [('Features, classifiers and boxes', show.table('detection', table(rows, about)) + show.text(how))]
    sections.append(('The data', show.text('\n\n'.join([*about.notes, _DEMONSTRATION if about.demonstration else _FEW]))))
    if judgements:
        sections.append(('Claims', show.claims(judgements)))
    if recalls:
        words = (
            'Share of the objects that are not difficult which at least one proposal overlaps by that much or more, over all classes and '
        )
        words += 'all pictures, those to learn from too.'
        sections.append(('Proposals', show.figure('recall', figures.recall(recalls), words) + show.table('recall', recall_table(recalls))))
    some = chosen(rows, about.way)
    if some:
        sections += _drawn(rows, some, about, show)
    if pictures:
        shown = [
            show.figure(f'examples_{number}', figures.pictures(some, about.class_names), f'{name}. {figures.EXAMPLES}')
            for number, (name, some) in enumerate(pictures.items(), 1)
        ]
        sections.append(('Examples', ''.join(shown)))
    sections.append(('As published', ''.join(show.table(f'printed_{name.replace(" ", "_")}', printed(name)) for name in _PRINTED)))
    return title, lead(rows, about, judgements), sections


def _drawn(rows, some, about, show):
    done = [row for row in rows if precisions(row, about.way)]
    values = [list(precisions(row, about.way).values()) for row in done]
    drawn = comparisons.bars([row.key.label for row in done], {'mAP': values}, f'mean average precision, {WAYS[about.way]} (%)')
    words = f'Mean average precision of every row on {about.data}, with 95 % intervals over seeds from three seeds on.'
    if about.overlap is not None:
        words += ' They take the random splits for independent, so they are too narrow; those of the claims do not.'
    each = show.figure('precision', drawn, words) + show.table('classes', class_table(done, about))
    found = [('Every row and class', each)]
    if any(some[0].outcomes[min(some[0].outcomes)]['objects']):
        found = [('Every row and class', each + _curves(some, about, show))]
    diagnosed = [(row.key.label, row.outcomes) for row in some if figures.kinds(row.outcomes)[0] is not None]
    if diagnosed:
        words = (
            'What false detections are, as shares of all false ones among the strongest detections of each class, so many times as it has '
            'objects; all classes and seeds together. Where there are fewer detections, these are all.'
        )
        shown = show.figure('false_detections', figures.false_detections(diagnosed), words)
        found.append(('False detections', show.table('kinds', kinds_table(rows, about)) + shown))
    return found


def _curves(some, about, show):
    panels, left = figures.precision_recall([(row.key.label, row.outcomes) for row in some], about.class_names)
    words = 'The highest precision at each recall or a higher one, whose area is the average precision; the first seed of each row; in '
    words += 'brackets, objects in the test.' + f' The {left} classes with the fewest objects are not drawn.' * bool(left)
    return show.figure('precision_recall', panels, words)
