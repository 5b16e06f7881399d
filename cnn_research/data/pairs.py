"""Pairs of pictures, of one person or of two, in folds that share no person: Labeled Faces in the Wild's View 2, and drawn from any set.

An identity is a class of a source. A fold's people are those of its pairs, also of pairs whose pictures are not there; whoever is in no
fold is never judged, and may always be learned from (Huang et al. 2007, section 4; Taigman et al. 2014, section 5.1).
"""

import collections
import os
import pathlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cnn_research.data.images import plain
from cnn_research.data.source import Source, sha256
from cnn_research.errors import ConfigError, SourceError

_HELD = np.uint64(2**64 - 1)  # a stream of random numbers that is no fold's


class Pairs(NamedTuple):
    """P pairs of a source's examples. first, second: int (P,); same: bool (P,), of one person; fold: int (P,); people: int (K,), the fold
    of each identity, -1 = in none; listed: how many pairs the file has, with those whose pictures are not there, or P."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    fold: np.ndarray
    people: np.ndarray
    listed: int

    @property
    def folds(self) -> int:
        return int(self.fold.max()) + 1

    @property
    def words(self) -> str:
        """'5,605 of 6,000 pairs', which belongs beside every number."""
        count = len(self.first)
        return f'{count:,} pairs' if count == self.listed else f'{count:,} of {self.listed:,} pairs'

    def of(self, folds: np.ndarray) -> 'Pairs':
        """Those of some folds, rising, which are counted from 0 anew; `people` by these as well."""
        kept, new = np.isin(self.fold, folds), np.full(self.folds + 1, -1)
        new[folds] = np.arange(len(folds))
        return Pairs(self.first[kept], self.second[kept], self.same[kept], new[self.fold[kept]], new[self.people], self.listed)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all that they are."""
        return sha256(*(np.asarray(part).astype('<i8').tobytes() for part in self[:5]))


def file_names(source: Source) -> list[str]:
    """The file name of each example, without folders; SourceError for a source whose examples have none."""
    return [os.path.basename(name) for name in whole_names(source)]


def whole_names(source: Source) -> list[str]:
    """The file name of each example as the source has it, with folders where it has any."""
    known = getattr(source.read, 'file_names', None)
    if known is None:
        raise SourceError(f'the examples of {source.name} have no file names, by which pairs or eyes could be told; leave their file out.')
    return list(known(np.arange(source.num_examples)))


class _Listed(NamedTuple):
    """One line of a file of pairs: (name, number) twice, whether of one person, its fold, and its line."""

    first: tuple[str, int]
    second: tuple[str, int]
    same: bool
    fold: int
    line: int


def read(path) -> list[_Listed]:
    """The pairs of a file in the form of LFW's pairs.txt: 'FOLDS n', then in each fold n lines 'NAME i j' and n lines 'NAME i NAME j'.

    SourceError, with the line, for a file that is not of this form.
    """
    path = pathlib.Path(path).expanduser()
    try:
        lines = [line.split() for line in path.read_bytes().decode().splitlines()]
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or 'it is no text in UTF-8'
        raise SourceError(f'the pairs in {plain(path)} cannot be read: {reason}.') from None
    while lines and not lines[-1]:
        lines.pop()
    head = lines[0] if lines else []
    if len(head) not in (1, 2) or not all(word.isascii() and word.isdigit() and 0 < int(word[:9]) < 10**8 for word in head):
        raise SourceError(f"{plain(path)} is no file of pairs: its first line is '10 300' for ten folds of 300 and 300 pairs.")
    folds, count = (int(head[0]), int(head[1])) if len(head) == 2 else (1, int(head[0]))
    if len(lines) - 1 != 2 * folds * count:
        raise SourceError(f'{plain(path)} says {folds} x 2 x {count} pairs and has {len(lines) - 1} lines of them.')
    found = []
    for number, words in enumerate(lines[1:]):
        fold, place = divmod(number, 2 * count)
        same = place < count
        numbers = words[1:] if same else words[1::2]
        if len(words) != (3 if same else 4) or not all(word.isascii() and word.isdigit() and len(word) < 9 for word in numbers):
            form = 'NAME i j, of one person' if same else 'NAME i NAME j, of two persons'
            raise SourceError(f'{plain(path)}, line {number + 2}: {plain(" ".join(words))!r} is not {form}.')
        one, other = int(numbers[0]), int(numbers[1])
        pair = ((words[0], one), (words[0] if same else words[2], other))
        if pair[0] == pair[1] or not same and words[0] == words[2]:
            what = 'one picture twice' if same else 'one person twice'
            raise SourceError(f'{plain(path)}, line {number + 2}: {plain(" ".join(words))!r} is {what}.')
        found.append(_Listed(*pair, same, fold, number + 2))
    return found


def listed(source: Source, path) -> Pairs:
    """The pairs of such a file whose two pictures, NAME_0001 and so on, are in the source, by its file names; see `Pairs.words`.

    SourceError where two folds share a person, where the file is of other images, where it and the source disagree on who is who, and
    where a fold is left without pairs of one person or of two.
    """
    found, path = read(path), plain(pathlib.Path(path))
    folds = found[-1].fold + 1
    if folds < 2:
        raise SourceError(f'{path} has one fold, and nothing to choose a threshold on; View 2 of LFW has ten.')
    home: dict[str, int] = {}
    for one in found:
        for name in (one.first[0], one.second[0]):
            if home.setdefault(name, one.fold) != one.fold:
                there = f'{plain(name)} is in fold {home[name] + 1} and, by line {one.line}, in fold {one.fold + 1}'
                raise SourceError(f'{path}: {there}; folds must share no person, or what is learned on one tells of the other.')
    stems = [os.path.splitext(name)[0] for name in file_names(source)]
    places = {stem: place for place, stem in enumerate(stems)}
    wanted = {f'{name}_{number:04d}' for one in found for name, number in (one.first, one.second)}
    if twice := [stem for stem, count in collections.Counter(stems).items() if count > 1 and stem in wanted]:
        raise SourceError(f'{source.name} ({source.split}) has several images called {plain(twice[0])}, and {path} does not say which.')
    labels = source.labels()
    rows = []
    for one in found:
        pair = [places.get(f'{name}_{number:04d}') for name, number in (one.first, one.second)]
        if None in pair:
            continue
        if (labels[pair[0]] == labels[pair[1]]) != one.same:
            names = ' and '.join(source.class_names[labels[place]] for place in pair)
            raise SourceError(
                f'{path}, line {one.line}: of {"one person" if one.same else "two persons"} there, of {names} in {source.name}.'
            )
        rows.append((*pair, one.same, one.fold))
    if not rows:
        raise SourceError(f'none of the {len(found):,} pairs in {path} has both pictures in {source.name} ({source.split}).')
    first, second, same, fold = np.array(rows).T
    same = same.astype(bool)
    for number in range(folds):
        for kind in (True, False):
            if not (same[fold == number] == kind).any():
                what = 'the same person' if kind else 'two persons'
                raise SourceError(f'{path}: no pair of {what} in fold {number + 1} has both pictures in {source.name} ({source.split}).')
    people = np.array([home.get(name, -1) for name in source.class_names])
    owners, folds_of = np.concatenate([labels[first], labels[second]]), np.concatenate([fold, fold])
    people[owners] = folds_of  # a person's class may be called otherwise than its files
    if (people[owners] != folds_of).any():
        name = source.class_names[owners[people[owners] != folds_of][0]]
        raise SourceError(f'{path}: {plain(name)} of {source.name} has pictures in two folds, under two names; folds must share no person.')
    return Pairs(first, second, same, fold, people, len(found))


def drawn(source: Source, labels: np.ndarray, judged: np.ndarray, folds: int, seed: int, same: int = 0, different: int = 0) -> Pairs:
    """Pairs of the examples `judged` (n,) of a source with labels (N,), its people dealt out to folds by the seed.

    same: pairs of one person in each fold at most, 0 = all that there are; different: pairs of two persons in each fold, 0 = as many as
    there are of one. SourceError where the people are too few, have too few pictures, or cannot make so many pairs.
    """
    what, judged = f'{source.name} ({source.split})', np.asarray(judged)
    counts = np.bincount(labels[judged], minlength=source.num_classes)
    several, there = np.flatnonzero(counts > 1), np.flatnonzero(counts)
    if not len(several):
        raise SourceError(f'{what} has one image of each of {len(there)} identities, so no pair of the same; it takes two of some.')
    if len(several) < folds or len(there) < 2 * folds:
        most = min(len(several), len(there) // 2)
        has = f'{what} has {len(there)} identities, {len(several)} of them with two images or more'
        raise SourceError(f'{has}, too few for {folds} folds, each of two identities or more; the most that fits is {most} folds.')
    random = _random(seed, _HELD)
    order = np.concatenate([random.permutation(several), random.permutation(there[counts[there] == 1])])
    people = np.full(source.num_classes, -1)
    people[order] = np.arange(len(order)) % folds
    parts = []
    for fold in range(folds):
        own, random = judged[people[labels[judged]] == fold], _random(seed, fold)
        alike = np.concatenate([_within(np.sort(own[labels[own] == person])) for person in np.unique(labels[own])])
        if same and len(alike) > same:
            alike = alike[np.sort(random.permutation(len(alike))[:same])]
        other = _across(np.sort(own), labels, different or len(alike), random, f'fold {fold + 1} of {what}')
        parts += [(alike, True, fold), (other, False, fold)]
    pairs = np.concatenate([part for part, _, _ in parts])
    kinds, numbers = (np.concatenate([np.full(len(part[0]), part[at]) for part in parts]) for at in (1, 2))
    return Pairs(pairs[:, 0], pairs[:, 1], kinds.astype(bool), numbers, people, len(pairs))


def _random(seed, stream):
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], np.uint64)))


def _within(images: np.ndarray) -> np.ndarray:
    """(n, 2): every pair of some images."""
    first, second = np.triu_indices(len(images), 1)
    return np.stack([images[first], images[second]], axis=1)


def _across(images: np.ndarray, labels: np.ndarray, count: int, random, where: str) -> np.ndarray:
    """(count, 2): different pairs of images of two identities, each as likely as any other."""
    own = labels[images]
    total = (len(images) ** 2 - sum(n**2 for n in Counter(own.tolist()).values())) // 2
    if count > total:
        raise SourceError(f'{where} makes {total} pairs of two identities, and {count} are asked for; ask for fewer, or for fewer folds.')
    if 4 * count > total:
        every = np.concatenate(
            [np.stack(np.meshgrid(images[own == a], images[own > a], indexing='ij'), -1).reshape(-1, 2) for a in np.unique(own)]
        )
        return every[np.sort(random.permutation(total)[:count])]
    found: dict[tuple[int, int], None] = {}
    while len(found) < count:
        for one, other in random.integers(0, len(images), (count, 2)).tolist():
            if own[one] != own[other] and len(found) < count:
                found[min(one, other), max(one, other)] = None
    return images[np.array(list(found))]


def check_apart(source: Source, labels: np.ndarray, learned: np.ndarray) -> None:
    """SourceError where an identity has examples among `learned`, bool (N,), and among the others."""
    both = np.intersect1d(labels[learned], labels[~learned])
    if len(both):
        name = plain(source.class_names[both[0]])
        more = f' and {len(both) - 1} others' if len(both) > 1 else ''
        raise SourceError(f'{source.name}: {name}{more} would be learned from and judged; no identity may be in both parts.')


def groups(folds: int, networks: int) -> list[np.ndarray]:
    """Which folds each network is judged on, and so learns no identity of: as many folds each, or nearly. ConfigError for too many."""
    if networks > folds // 2:
        raise ConfigError(
            f'{networks} networks for {folds} folds leave one with a single fold, and no identity that it has not learned to choose its '
            f'threshold on; the most that fits is {folds // 2}.'
        )
    return np.array_split(np.arange(folds), networks)


def learners(labels: np.ndarray, pairs: Pairs, group: np.ndarray, fewest: int) -> np.ndarray:
    """The examples, rising, of all identities that are in no fold of the group and have at least `fewest` examples."""
    counts = np.bincount(labels, minlength=len(pairs.people))
    return np.flatnonzero((~np.isin(pairs.people, group) & (counts >= fewest))[labels])


def of_identities(source: Source, labels: np.ndarray, indices: np.ndarray, identities: np.ndarray) -> Source:
    """The examples `indices` of a source with labels (N,), whose classes are `identities`, rising, alone: those that a network is to learn.

    The fingerprint follows from the source's, the examples and the classes.
    """
    names = tuple(source.class_names[identity] for identity in identities)
    new = np.full(source.num_classes, -1, np.int32)
    new[identities] = np.arange(len(identities), dtype=np.int32)
    mine = new[labels[indices]]
    if (mine < 0).any():
        raise ValueError('an example is of none of the identities')
    fingerprint = sha256(source.fingerprint.encode(), np.asarray(indices).astype('<i8').tobytes(), '\0'.join(names).encode())
    read = _OfIdentities(source.read, np.asarray(indices), mine)
    return replace(source, num_examples=len(indices), num_classes=len(names), class_names=names, fingerprint=fingerprint, read=read)


@dataclass(frozen=True, eq=False)
class _OfIdentities:
    source: object
    indices: np.ndarray
    known: np.ndarray

    @property
    def channels(self):
        return getattr(self.source, 'channels', None) or self([0])[0][0].shape[-1]

    def __call__(self, indices):
        return self.source(self.indices[np.asarray(indices, np.int64)])[0], self.labels(indices)

    def labels(self, indices):
        return self.known[np.asarray(indices, np.int64)]
