"""Pairs of pictures: files like LFW's, pairs that are drawn, folds without common people, and what a network may learn."""

import numpy as np
import pytest
from PIL import Image

from cnn_research.data import pairs
from cnn_research.data.source import joined, subset
from cnn_research.data.sources import open_source
from cnn_research.errors import ConfigError, SourceError

PEOPLE = {'Ann_A': 3, 'Bob_B': 2, 'Cy_C': 1, 'Di_D': 2, 'Ed_E': 3, 'Flo_F': 2, 'Gus_G': 1, 'Hal_H': 4}
# Two folds of two and two pairs; one picture of the third pair of two persons, Gus_G 7, is not there.
FILE = """2 2
Ann_A 1 3
Bob_B 1 2
Ann_A 2 Bob_B 1
Ann_A 1 Cy_C 1
Di_D 1 2
Ed_E 2 3
Di_D 1 Gus_G 7
Ed_E 1 Flo_F 2
"""


def faces(root, people=PEOPLE, split='train'):
    random = np.random.default_rng(0)
    for name, count in people.items():
        (root / split / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 256, (20, 16), np.uint8)
            Image.fromarray(pixels).save(root / split / name / f'{name}_{number + 1:04d}.png')
    return open_source(f'folder:{root}', split)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return faces(tmp_path_factory.mktemp('faces'))


def written(tmp_path, text=FILE):
    (tmp_path / 'pairs.txt').write_text(text)
    return tmp_path / 'pairs.txt'


def test_a_file_names_the_pictures_that_are_there_and_counts_the_others(source, tmp_path):
    found, names = pairs.listed(source, written(tmp_path)), pairs.file_names(source)
    told = [(names[one][:-4], names[other][:-4]) for one, other in zip(found.first, found.second, strict=True)]
    assert told[:3] == [('Ann_A_0001', 'Ann_A_0003'), ('Bob_B_0001', 'Bob_B_0002'), ('Ann_A_0002', 'Bob_B_0001')]
    assert found.same.tolist() == [True, True, False, False, True, True, False] and found.fold.tolist() == [0] * 4 + [1] * 3
    assert found.words == '7 of 8 pairs' and found.folds == 2
    # Whoever is named by a pair is of its fold, also where the picture is not there; others are of none.
    assert dict(zip(source.class_names, found.people.tolist(), strict=True)) == {
        **{'Ann_A': 0, 'Bob_B': 0, 'Cy_C': 0, 'Di_D': 1, 'Ed_E': 1, 'Flo_F': 1, 'Gus_G': 1},
        **{'Hal_H': -1},
    }


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (('Flo_F 2', 'Ann_A 2'), 'Ann_A is in fold 1 and, by line 9, in fold 2; folds must share no person'),
        (('2 2\n', '2 3\n'), 'says 2 x 2 x 3 pairs and has 8 lines'),
        (('2 2\n', 'pairs\n'), "its first line is '10 300'"),
        (('Ann_A 1 3', 'Ann_A 1 x'), "line 2: 'Ann_A 1 x' is not NAME i j, of one person"),
        (('Ann_A 1 3', 'Ann_A 1 1'), 'line 2: .* is one picture twice'),
        (('Ann_A 1 Cy_C 1', 'Ann_A 1 Ann_A 2'), 'line 5: .* is one person twice'),
        (('Ann_A 1 Cy_C 1', 'Ann_A 1'), 'line 5: .* is not NAME i NAME j, of two persons'),
        (('Di_D 1 2\nEd_E 2 3', 'Di_D 1 7\nEd_E 2 7'), 'no pair of the same person in fold 2'),
    ],
)
def test_a_file_that_cannot_be_judged_by_is_refused_in_one_line(source, tmp_path, change, said):
    with pytest.raises(SourceError, match=said) as caught:
        pairs.listed(source, written(tmp_path, FILE.replace(*change)))
    assert '\n' not in str(caught.value)


def test_files_of_other_pictures_of_one_fold_and_none_at_all_are_refused(source, tmp_path):
    with pytest.raises(SourceError, match='none of the 8 pairs'):
        pairs.listed(subset(source, [0]), written(tmp_path))
    with pytest.raises(SourceError, match='has one fold'):
        pairs.listed(source, written(tmp_path, '1\nAnn_A 1 3\nAnn_A 2 Bob_B 1\n'))
    with pytest.raises(SourceError, match='cannot be read: No such file'):
        pairs.listed(source, tmp_path / 'nowhere.txt')
    with pytest.raises(SourceError, match='have no file names'):
        pairs.listed(open_source('digits', 'test'), written(tmp_path))


def test_a_file_that_knows_people_otherwise_than_the_set_is_refused(tmp_path):
    source = faces(tmp_path / 'faces', {'Ann_A': 3, 'Bob_B': 2})
    (tmp_path / 'faces/train/Ann_A/Ann_A_0001.png').rename(tmp_path / 'faces/train/Bob_B/Ann_A_0001.png')
    source = open_source(source.name, 'train')
    with pytest.raises(SourceError, match='line 2: of one person there, of Bob_B and Ann_A in'):
        pairs.listed(source, written(tmp_path))


def test_file_names_follow_examples_through_parts_and_unions(source):
    names = pairs.file_names(source)
    part = subset(source, [4, 0])
    assert pairs.file_names(part) == [names[4], names[0]]
    assert pairs.file_names(joined(part, source))[:3] == [names[4], names[0], names[0]]


@pytest.fixture(scope='module')
def drawn(source):
    return source.labels(), pairs.drawn(source, source.labels(), np.arange(source.num_examples), 3, 5)


def test_drawn_pairs_are_all_of_one_person_and_as_many_of_two_within_folds(drawn):
    labels, found = drawn
    assert (labels[found.first] == labels[found.second]).tolist() == found.same.tolist()
    for side in (found.first, found.second):
        assert (found.people[labels[side]] == found.fold).all()
    for fold in range(3):
        mine = found.fold == fold
        counts = np.bincount(labels)[found.people == fold]
        assert (mine & found.same).sum() == (mine & ~found.same).sum() == (counts * (counts - 1) // 2).sum()
    each = {frozenset(pair) for pair in zip(found.first.tolist(), found.second.tolist(), strict=True)}
    assert len(each) == len(found.first) and all(len(pair) == 2 for pair in each)


def test_the_seed_alone_decides_what_is_drawn(source, drawn):
    labels, found = drawn
    again, other = (pairs.drawn(source, labels, np.arange(source.num_examples), 3, seed) for seed in (5, 6))
    assert again.fingerprint == found.fingerprint != other.fingerprint


@pytest.mark.parametrize(('same', 'different', 'count'), [(1, 0, (1, 1)), (1, 3, (1, 3))])
def test_as_many_are_drawn_as_are_asked_for(source, same, different, count):
    found = pairs.drawn(source, source.labels(), np.arange(source.num_examples), 3, 0, same, different)
    assert [((found.fold == f) & found.same).sum() for f in range(3)] == [count[0]] * 3
    assert [((found.fold == f) & ~found.same).sum() for f in range(3)] == [count[1]] * 3


def test_few_pairs_of_many_are_drawn_without_listing_all():
    source = open_source('digits', 'test')
    found = pairs.drawn(source, source.labels(), np.arange(1500), 5, 0, 20, 50)
    own = found.fold == 2
    assert len({*zip(found.first[own & ~found.same], found.second[own & ~found.same], strict=True)}) == 50


@pytest.mark.parametrize(
    ('people', 'folds', 'more', 'said'),
    [
        ({'a': 1, 'b': 1, 'c': 1, 'd': 1}, 2, (), 'has one image of each of 4 identities'),
        ({'a': 2, 'b': 2, 'c': 2}, 2, (), 'has 3 identities, 3 of them with two images or more, too few for 2 folds'),
        ({'a': 2, 'b': 1, 'c': 1, 'd': 1}, 2, (), 'the most that fits is 1 folds'),
        ({'a': 2, 'b': 2, 'c': 2, 'd': 2}, 2, (0, 5), 'makes 4 pairs of two identities, and 5 are asked for'),
    ],
)
def test_people_who_cannot_make_the_pairs_are_refused_in_one_line(tmp_path, people, folds, more, said):
    source = faces(tmp_path, people)
    with pytest.raises(SourceError, match=said) as caught:
        pairs.drawn(source, source.labels(), np.arange(source.num_examples), folds, 0, *more)
    assert '\n' not in str(caught.value)


def test_an_identity_in_both_parts_is_refused(source):
    labels = source.labels()
    pairs.check_apart(source, labels, labels < 3)
    with pytest.raises(SourceError, match='Ann_A would be learned from and judged'):
        pairs.check_apart(source, labels, np.arange(len(labels)) < 2)


def test_no_network_learns_a_person_of_its_folds(drawn):
    labels, found = drawn
    with pytest.raises(ConfigError, match='the most that fits is 1'):
        pairs.groups(3, 2)
    assert [group.tolist() for group in pairs.groups(5, 2)] == [[0, 1, 2], [3, 4]]
    chosen = pairs.learners(labels, found, np.array([0, 2]), 2)
    counts = np.bincount(labels)
    assert set(labels[chosen]) == {who for who in range(len(counts)) if found.people[who] == 1 and counts[who] > 1}
    own = found.of(np.array([0, 2]))
    assert not set(labels[chosen]) & set(labels[np.concatenate([own.first, own.second])])
    assert own.folds == 2 and (own.people[labels[own.first]] == own.fold).all() and (own.people == -1).sum() == (found.people == 1).sum()


def test_identities_alone_are_classes_anew(source):
    labels = source.labels()
    indices = np.flatnonzero(np.isin(labels, [1, 4]))[::-1]
    own = pairs.of_identities(source, labels, indices, np.array([1, 4]))
    assert (own.class_names, own.num_examples) == (('Bob_B', 'Ed_E'), 5)
    images, read = own.read([0, 4])
    assert read.tolist() == [1, 0] == own.labels()[[0, 4]].tolist()
    assert (images[0] == source.read([indices[0]])[0][0]).all()
    assert own.fingerprint != pairs.of_identities(source, labels, indices[:-1], np.array([1, 4])).fingerprint


def test_view_2_of_the_small_lfw_is_counted(data_dir):
    source = open_source('lfw_faces', 'train', data_dir)
    found = pairs.listed(source, data_dir / 'lfw_faces/1.0.0/pairs.txt')
    assert (found.words, found.folds) == ('5,605 of 6,000 pairs', 10)
    assert [((found.fold == 0) & found.same).sum(), ((found.fold == 0) & ~found.same).sum()] == [272, 281]
