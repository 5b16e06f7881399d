"""Names of classes: ImageNet's thousand, and which output of a network stands for which class of a source.

imagenet_classes.txt has the 1000 classes of ILSVRC 2012 in the order of every published network, which is that of their WordNet identifiers
(WordNet 3.0, Princeton University): a line for each, the identifier, a tab, and the words that WordNet has for it, separated by |.
"""

import functools
import pathlib
import re
from collections.abc import Sequence


@functools.cache
def imagenet() -> dict[str, tuple[str, ...]]:
    """{identifier: words} of ImageNet's 1000 classes, in the order of a published network's outputs: {'n01440764': ('tench', ...), ...}."""
    lines = pathlib.Path(__file__).with_name('imagenet_classes.txt').read_text('utf-8').splitlines()
    return {identifier: tuple(words.split('|')) for identifier, words in (line.split('\t') for line in lines)}


def meaning(name: str) -> str:
    """What a caption calls a class: the first word of an identifier of ImageNet's, any other name as it is."""
    return imagenet().get(name, (name,))[0]


def ordered(names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes in order: by number where all are plain numbers ('2' before '10'), else as text."""
    names = sorted(names)
    return tuple(sorted(names, key=int) if all(map(_is_number, names)) else names)


def match(network: Sequence[str] | None, source: Sequence[str]) -> tuple[int, ...] | None:
    """The network's output for each class of a source, from their names; None where one class of the source is not found for certain.

    The source may have fewer classes than the network, in any order. A name is the same name whatever its case, spaces, underscores and
    hyphens, unless two names of one side differ in nothing else. An identifier of ImageNet's is the same as any of its words that no other
    of ImageNet's classes shares ('n01440764', 'tench', 'Tinca_tinca', 'n01440764-tench'); the numbers 0 to 999, all of them, are ImageNet's
    classes in their order. Nothing is found by count alone: network None, a network that does not know its classes' names, gives None.
    """
    return None if unmatched(network, source) else _outputs(network, source)


def unmatched(network: Sequence[str] | None, source: Sequence[str]) -> tuple[str, ...]:
    """The classes of a source for which `match` finds no output of their own; all of them where the network's names are unknown."""
    outputs = _outputs(network, source) if network is not None else (None,) * len(source)
    return tuple(name for name, output in zip(source, outputs, strict=True) if output is None or outputs.count(output) > 1)


def why_unmatched(network: Sequence[str] | None, name: str, source: Sequence[str]) -> str:
    """Why `match` gives None for a source of this name, for the end or the beginning of a sentence."""
    if not network:
        return "the network does not know its classes' names"
    without = unmatched(network, source)
    few = f'{", ".join(without[:3])}{", ..." if len(without) > 3 else ""}'
    return f'{len(without)} of {len(source)} classes of {name}, {few}, are not found by name among those of the network'


def _outputs(network, source) -> tuple[int | None, ...]:
    for same in (str, _plain):
        ours, theirs = list(map(same, network)), list(map(same, source))
        if set(theirs) <= set(ours) and len(set(ours)) == len(ours):
            return tuple(map(ours.index, theirs))
    if tuple(network) == tuple(imagenet()) and ordered(source) == tuple(map(str, range(len(network)))):
        return tuple(map(int, source))
    plain, known = _places(map(_plain, network)), _places(map(_class, network))
    places = [plain.get(_plain(name)) or known.get(_class(name), []) for name in source]
    return tuple(place[0] if len(place) == 1 else None for place in places)


def _places(names) -> dict[str, list[int]]:
    """{name: where it stands}, without None."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        if name is not None:
            places.setdefault(name, []).append(place)
    return places


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 20


def _plain(name: str) -> str:
    """The name without what spellings differ in."""
    return str(int(name)) if _is_number(name) else ' '.join(re.split(r'[\s_-]+', name.casefold())).strip()


@functools.cache
def _identifiers() -> dict[str, list[str]]:
    """{word of ImageNet's: identifiers of the classes that have it}."""
    found: dict[str, list[str]] = {}
    for identifier, words in imagenet().items():
        for word in dict.fromkeys(map(_plain, (*words, ', '.join(words)))):
            found.setdefault(word, []).append(identifier)
    return found


def _class(name: str) -> str | None:
    """The identifier of ImageNet's that a name begins with or that it is the word of; None where there is none or more than one."""
    begins = re.match(r'(n\d{8})(?![0-9a-z])', _plain(name))
    if begins:
        return begins[1]
    found = _identifiers().get(_plain(name), ())
    return found[0] if len(found) == 1 else None
