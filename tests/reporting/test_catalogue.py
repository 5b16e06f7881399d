"""The catalogue: every claim that a report makes, or has ever left in the results, is one entry of it."""

import ast
import collections
import importlib
import pathlib
import re

import pytest

from cnn_research.reporting import catalogue, claims_file, measured

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENTRIES = catalogue.entries()
_FILES = sorted((ROOT / 'cnn_research' / 'studies').rglob('*.py'))
COMMITTED = sorted((ROOT / 'results').glob('*/claims.csv'))


def _texts(node, before, looped):
    """What a node of the code may say, an X for what is put in. before: {name: the value assigned last before the call}; looped: {name: the
    values that it takes in a loop over what is written down}."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return [''.join('X' if isinstance(part, ast.FormattedValue) else part.value for part in node.values)]
    if isinstance(node, ast.IfExp):
        return _texts(node.body, before, looped) + _texts(node.orelse, before, looped)
    if isinstance(node, ast.Name) and node.id in looped:
        return [text for value in looped[node.id] for text in _texts(value, before, {})]
    if isinstance(node, ast.Name) and node.id in before:
        return _texts(before[node.id], {}, {})
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == 'format':
        filled = iter([_texts(argument, before, looped)[0] for argument in node.args])
        return [re.sub(r'\{\}', lambda _: next(filled), _texts(node.func.value, before, looped)[0])]
    raise AssertionError(f'line {node.lineno}: what a claim says cannot be read from the code: {ast.unparse(node)}')


def _assigned(function, line):
    """{name: node} of the assignments in a function before a line."""
    found = {}
    for node in sorted((one for one in ast.walk(function) if isinstance(one, ast.Assign)), key=lambda one: one.lineno):
        for target in node.targets if node.lineno < line else ():
            both = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            pairs = zip(target.elts, node.value.elts, strict=True) if both else ()
            found |= {name.id: value for name, value in pairs if isinstance(name, ast.Name)}
            found |= {target.id: node.value} if isinstance(target, ast.Name) else {}
    return found


def _looped(chain, before):
    """{name: nodes} of the loops around a call that run over a tuple of tuples; of what follows a star in one, nothing is known."""
    found = {}
    for loop in (one for node in chain for one in (getattr(node, 'generators', None) or [node]) if hasattr(one, 'iter')):
        over = before.get(loop.iter.id) if isinstance(loop.iter, ast.Name) else loop.iter
        if isinstance(loop.target, ast.Tuple) and isinstance(over, ast.Tuple):
            for place, name in enumerate(loop.target.elts):
                found[name.id] = [one.elts[place] for one in over.elts if isinstance(one, ast.Tuple) and place < len(one.elts)]
    return found


def written(path):
    """[(key, sentence)] of every claim that a file makes: of CLAIMS, if it has them, and as the code has it of calls of
    Claim(sentence, ..., key=) and of a claim(key, sentence, ...) of its own, within which Claim's are names that were handed on."""
    tree, found = ast.parse(path.read_text()), []
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, 'attr', '')
        chain = list(_chain(call, parents))
        functions = [one for one in chain if isinstance(one, ast.FunctionDef)]
        handed = name == 'Claim' and any(one.name == 'claim' for one in functions)
        if name not in ('Claim', 'claim') or handed or not functions:
            continue
        before = _assigned(functions[-1], call.lineno)
        looped, arguments = _looped(chain, before), call.args
        keys = [text for one in call.keywords if one.arg == 'key' for text in _texts(one.value, before, looped)]
        if name == 'claim' and isinstance(arguments[0], ast.Constant) and arguments[0].value in ENTRIES:
            keys, arguments = [arguments[0].value], arguments[1:]
        found += [(key, text) for text in _texts(arguments[0], before, looped) for key in keys or ['']]
    if any(isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == 'CLAIMS' for node in tree.body):
        module = importlib.import_module('.'.join(path.relative_to(path.parents[3]).with_suffix('').parts))
        found += [(claim.key, claim.sentence) for claim in module.CLAIMS]
    return found


def _chain(node, parents):
    while node in parents:
        node = parents[node]
        yield node


WRITTEN = [(path, *one) for path in _FILES for one in written(path)]


def test_the_walk_finds_the_claims_of_every_report_that_makes_any():
    makes = {path for path in _FILES if re.search(r'\bClaim\(', path.read_text())}
    assert makes == {path for path, *_ in WRITTEN} and len(WRITTEN) >= 40


@pytest.mark.parametrize(('path', 'key', 'sentence'), WRITTEN, ids=[f'{path.parent.name}-{key}' for path, key, _ in WRITTEN])
def test_every_claim_of_a_report_is_one_entry(path, key, sentence):
    """By its sentence; where what is put into it decides which entry that is, by its key."""
    fitting = [entry.key for entry, _ in catalogue.matching(ENTRIES, sentence)]
    if not fitting and 'X' in sentence and key in ENTRIES:
        return
    assert len(fitting) == 1, f'{path}: {sentence!r} is {fitting or "in no entry of the catalogue, and carries no key of one"}'
    assert key in ('', fitting[0])


@pytest.mark.parametrize('path', COMMITTED, ids=lambda path: path.parent.name)
def test_every_committed_claim_is_one_entry(path):
    for told in claims_file.read(path):
        fitting = [entry.key for entry, _ in catalogue.matching(ENTRIES, told.sentence)]
        assert len(fitting) == 1, f'{told.sentence!r} is {fitting}'
        assert told.key in ('', fitting[0])


def test_an_entry_says_what_decides_it_or_why_nothing_can_and_never_both():
    for entry in ENTRIES.values():
        assert bool(entry.decides) != bool(entry.closed), entry.key
        assert not (entry.closed and (entry.patterns or entry.measured)), entry.key
        assert re.fullmatch(r'[a-z]+(\.[a-z0-9 -]+)+', entry.key) and entry.source in catalogue.SOURCES
        assert set(entry.also) <= set(catalogue.SOURCES) - {entry.source, 'own'}
        assert entry.sentence[0].isupper() and entry.sentence.endswith('.') and entry.where
        assert all(one.confidence in ('verified', 'verified-2nd', 'memory') for one in entry.printed)
    assert len({entry.sentence for entry in ENTRIES.values()}) == len(ENTRIES)


def test_every_paper_of_the_deck_has_its_claims():
    of = collections.Counter(entry.source for entry in ENTRIES.values())
    assert set(of) == set(catalogue.SOURCES) and sum(of.values()) - of['own'] >= 60
    assert min(of[key] for key in ('lecun', 'ciresan', 'ksh', 'wan', 'zf', 'decaf', 'razavian', 'rcnn', 'df')) >= 6


def test_every_number_that_is_set_beside_a_printed_one_is_in_the_results():
    every = [(entry, one) for entry in ENTRIES.values() for one in entry.measured]
    assert every
    for entry, one in every:
        found = measured.told(entry.sentence, one, ROOT / 'results')
        assert found and all(told.verdict == measured.VERDICT and told.demonstration == one.demonstration for _, told in found), entry.key


def test_a_key_goes_before_the_sentence_and_one_that_is_unknown_is_no_entry():
    sentence = 'Layer 5 is worth more than layer 1.'
    assert [entry.key for entry, _ in catalogue.matching(ENTRIES, sentence, 'own.networks')] == ['own.networks']
    assert catalogue.matching(ENTRIES, sentence, 'zf.layers.fiv') == []
