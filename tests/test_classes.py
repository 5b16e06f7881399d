"""Names of classes: ImageNet's list, and a source's classes found among a network's by name, never by count."""

import pytest

from cnn_research import classes

IDENTIFIERS = tuple(classes.imagenet())
TEN = tuple(IDENTIFIERS[number] for number in (0, 217, 482, 491, 497, 566, 569, 571, 574, 701))  # Imagenette's


def test_the_thousand_are_those_of_the_published_list(data_dir):
    lines = (data_dir / 'imagenet' / 'synset_words.txt').read_text().splitlines()
    assert [f'{identifier} {", ".join(words)}' for identifier, words in classes.imagenet().items()] == lines


def test_the_order_is_that_of_the_identifiers():
    assert len(IDENTIFIERS) == 1000 and list(IDENTIFIERS) == sorted(IDENTIFIERS)
    assert IDENTIFIERS[0] == 'n01440764' and classes.meaning('n01440764') == 'tench' and classes.meaning('n03445777') == 'golf ball'
    assert classes.meaning('airplane') == 'airplane'


def test_numbers_are_ordered_as_numbers_and_other_names_as_text():
    assert classes.ordered(['10', '2', '1', '0', '100']) == ('0', '1', '2', '10', '100')
    assert classes.ordered(['10', '2', 'a']) == ('10', '2', 'a') and classes.ordered([]) == ()


@pytest.mark.parametrize(
    ('network', 'source', 'expected'),
    [
        (('cat', 'dog', 'owl'), ('owl', 'cat'), (2, 0)),
        (('great grey owl', 'cat'), ('Great_Grey-Owl',), (0,)),
        (('cat', 'Cat'), ('Cat', 'cat'), (1, 0)),  # spellings tell them apart where both are classes
        (tuple('0123456789'), ('09', '3'), (9, 3)),
        (IDENTIFIERS, IDENTIFIERS, tuple(range(1000))),
        (IDENTIFIERS, TEN, (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)),
        (IDENTIFIERS, ('gas_pump', 'Tench', 'n03394916', 'n02102040-English_springer'), (571, 0, 566, 217)),
        (IDENTIFIERS, ('tench, Tinca tinca', 'petrol pump'), (0, 571)),
        (('golf ball', 'Tinca tinca'), ('n01440764', 'n03445777'), (1, 0)),
        (IDENTIFIERS, tuple(map(str, range(1000))), tuple(range(1000))),
        (IDENTIFIERS, classes.ordered(map(str, range(1000)))[::-1], tuple(range(1000))[::-1]),
    ],
)
def test_a_source_is_matched_by_name(network, source, expected):
    assert classes.match(network, source) == expected


@pytest.mark.parametrize(
    ('network', 'source', 'lost'),
    [
        (None, ('cat', 'dog'), ('cat', 'dog')),
        (('cat', 'dog'), ('owl', 'hen'), ('owl', 'hen')),  # as many, and others
        (('airplane', 'bird'), ('0', '1'), ('0', '1')),
        (('1', '2'), ('0', '1'), ('0',)),
        (('cat', 'dog'), ('cat', 'owl'), ('owl',)),
        (('cat', 'Cat', 'dog'), ('CAT', 'dog'), ('CAT',)),
        (('cat', 'dog'), ('cat', 'Cat'), ('cat', 'Cat')),
        (IDENTIFIERS, ('crane', 'tench'), ('crane',)),  # the bird or the machine
        (('crane', 'tench'), ('n02012849', 'n01440764'), ('n02012849',)),
        (IDENTIFIERS, ('tench', 'n01440764'), ('tench', 'n01440764')),
        (IDENTIFIERS, tuple(map(str, range(999))), tuple(map(str, range(999)))),
    ],
)
def test_what_is_not_certain_is_not_matched_and_is_named(network, source, lost):
    assert classes.match(network, source) is None and classes.unmatched(network, source) == lost
