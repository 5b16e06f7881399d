"""Every claim of the sources that a laboratory would test: who says it, where, with which numbers, and what decides it here or why nothing
can.

An entry's key begins with its source's ('zf.depth.order'). The sentences of reports are found by the key that a claim carries, or, where it
carries none, by the patterns of its entry, of which exactly one must fit. A group named `subject` in a pattern is the network, or the
cells, that a report's sentence is about.

Entries are written from the sources alone. An entry with `measured` sets a number of a result that no report judges beside a printed one;
since all of these had been seen when the catalogue was written, none has a rule: they are measured, not judged.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from cnn_research.reporting.publication import Published


class Source(NamedTuple):
    """How it is cited, its title, and how surely it was read when its claims were written down here."""

    cited: str
    title: str
    read: str


_WHOLE, _SECOND, _MEMORY = (
    'its text was read',
    'its text was not read, second-hand texts were',
    'its text was not read; sections are from memory',
)
# By the beginning of keys, in the order of the years.
SOURCES = {
    'lecun': Source(
        'LeCun et al. 1998',
        'Gradient-based learning applied to document recognition',
        'its table of errors was read; sections are from memory',
    ),
    'simard': Source(
        'Simard et al. 2003', 'Best practices for convolutional neural networks applied to visual document analysis', 'its errors were read'
    ),
    'spm': Source('Lazebnik et al. 2006', 'Beyond bags of features: spatial pyramid matching', _MEMORY),
    'jarrett': Source('Jarrett et al. 2009', 'What is the best multi-stage architecture for object recognition?', _SECOND),
    'ciresan': Source(
        'Ciresan et al. 2011, 2012', 'Committees of nets; multi-column deep neural networks for image classification', _SECOND
    ),
    'ksh': Source('Krizhevsky et al. 2012', 'ImageNet classification with deep convolutional neural networks', _WHOLE),
    'ccn': Source('cuda-convnet', "Krizhevsky's library and its CIFAR-10 networks", 'its files and its wiki were read'),
    'wan': Source('Wan et al. 2013', 'Regularization of neural networks using DropConnect', f'{_SECOND}; sections are from memory'),
    'zf': Source('Zeiler & Fergus 2013', 'Visualizing and understanding convolutional networks', _WHOLE),
    'decaf': Source('Donahue et al. 2013', 'DeCAF: a deep convolutional activation feature for generic visual recognition', _SECOND),
    'razavian': Source(
        'Razavian et al. 2014', 'CNN features off-the-shelf: an astounding baseline for recognition', 'a translation was read'
    ),
    'rcnn': Source('Girshick et al. 2014', 'Rich feature hierarchies for accurate object detection (R-CNN)', _WHOLE),
    'df': Source(
        'Taigman et al. 2014', 'DeepFace: closing the gap to human-level performance in face verification', f'{_WHOLE}, without its tables'
    ),
    'fong': Source(
        'Fong et al. 2019', 'Understanding deep networks via extremal perturbations and smooth masks', 'its numbers were read in its code'
    ),
    'deck': Source('The lecture deck', 'A CNN for image classification', _WHOLE),
    'own': Source('Questions of this project', 'no source claims anything of them', 'nothing is claimed'),
}


class Measured(NamedTuple):
    """A number of a result without claims. path: of the csv, stars allowed; row: {column: value} of one of its rows; column: of the number,
    or of one number a seed; beside: what it is set beside, a printed number or (row, column) of the same file; what: the quantity in words;
    note: what keeps it from being the source's own; demonstration: of data that were chosen so that the effect shows."""

    path: str
    row: Mapping[str, str]
    column: str
    beside: Published | tuple[Mapping[str, str], str]
    what: str
    note: str = ''
    demonstration: bool = False


class Entry(NamedTuple):
    """sentence: in our words; where: section or table; decides: what decides it here, '' where nothing can; closed: why nothing can, ''
    otherwise; printed: numbers of the source; patterns: of the sentences of reports; also: keys of further sources that say it."""

    key: str
    sentence: str
    where: str
    decides: str = ''
    closed: str = ''
    printed: tuple[Published, ...] = ()
    patterns: tuple[str, ...] = ()
    measured: tuple[Measured, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return self.key.partition('.')[0]


def number(quantity: str, value: float, confidence: str, unit: str = '%', spread: float | None = None) -> Published:
    """A printed number that stands in no table of `published`; confidence as there."""
    return Published('', quantity, value, spread, unit, '', confidence)


def matching(entries: Mapping[str, Entry], sentence: str, key: str = '') -> list[tuple[Entry, str]]:
    """[(entry, subject)] that a report's sentence is: by its key, else all those of which a pattern fits the whole of it."""
    if key:
        if key not in entries:
            return []
        found = [re.fullmatch(pattern, sentence) for pattern in entries[key].patterns]
        return [(entries[key], next((_subject(one) for one in found if one), ''))]
    tried = ((entry, re.fullmatch(pattern, sentence)) for entry in entries.values() for pattern in entry.patterns)
    return [(entry, _subject(one)) for entry, one in tried if one]


def _subject(found: re.Match) -> str:
    return found.groupdict().get('subject') or ''


def entries() -> dict[str, Entry]:
    """{key: entry}, by sources in the order of SOURCES."""
    from cnn_research.reporting import (
        catalogue_digits,
        catalogue_features,
        catalogue_networks,
        catalogue_saliency,
        catalogue_tasks,
        catalogue_zf,
    )

    rooms = (catalogue_digits, catalogue_networks, catalogue_zf, catalogue_features, catalogue_tasks, catalogue_saliency)
    every = [entry for room in rooms for entry in room.ENTRIES]
    order = list(SOURCES)
    return {entry.key: entry for entry in sorted(every, key=lambda entry: order.index(entry.source))}
