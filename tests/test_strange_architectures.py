"""Architectures from strangers: whatever the text, the JSON or the parameters, an Architecture or one line that says why not, at once."""

import copy
import json
import random
import time

import numpy as np
import pytest

from cnn_research.architecture import MOST_STAGES, Architecture, Convolution, Dense, Layer, MaxPool, ReLU, from_json
from cnn_research.errors import ArchitectureError, shown
from cnn_research.models import zoo
from cnn_research.models.network import check_parameters


def refused(call, *given, match='.'):
    """The message of the ArchitectureError that a call must raise: one short line, within a second."""
    begun = time.perf_counter()
    with pytest.raises(ArchitectureError, match=match) as caught:
        call(*given)
    text = str(caught.value)
    assert text.isprintable() and len(text) < 2000 and time.perf_counter() - begun < 2
    return text


# Text


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        ('zfnet replaced(1,kernel=' + '1' + '0' * 30 + ')', 'cannot have kernel=1000'),
        ('zfnet replaced(1,kernel=' + '9' * 3000 + ')', 'cannot have kernel='),
        ('zfnet resized(6=' + '9' * 40 + ')', 'cannot have features=9999999999.*9; it is a whole number from 1 up'),
        ('zfnet resized(6=4000000000)', 'cannot have features=4000000000'),
        ('zfnet replaced(1,padding=1000000000)', 'cannot have padding=1000000000; it is a whole number from 0 up to 65535'),
        ('zfnet replaced(1,padding=65535,stride=1)', r'layer1: the maps of convolution would be \d+x\d+x96, more than 2\^40 numbers'),
        ('zfnet resized(6=2000000000,7=2000000000)', 'layer6: the kernel of dense would be 9216x2000000000'),
        ('zfnet replaced(1,stride=0)', 'cannot have stride=0'),
        ('zfnet replaced(1,stride=-2)', 'cannot have stride=-2'),
        ('zfnet replaced(1,kernel=1_1)', "cannot have kernel='1_1'"),
        ('zfnet replaced(1,kernel=\u0661\u0661)', 'cannot have kernel='),
        ('zfnet replaced(1,normalization_alpha=nan)', "cannot have alpha='nan'"),
        ('zfnet replaced(1,normalization_alpha=1e999)', 'cannot have alpha=inf'),
        ('zfnet without(\u0663)', r'cannot read .without\('),
        ('zfnet without(3,\n4,a)', 'cannot read'),
        ('zfnet without(' + '3' * 3000 + ')', 'cannot read'),
        ('zfnet resized(6=32,06=16)', 'cannot read'),
        ('zfnet without(' + '(' * 3000, 'cannot read'),
        ('zfnet ' + 'without(3) ' * 10000, 'cannot read'),
        ('zfnet' * 10**6, 'cannot read'),
        ('zfnet --without(3)', r'cannot read .--without\(3\). .*Did you mean without\?'),
        ('zfnet # without(3)', 'cannot read .*Did you mean without?'),
        ('zfnet resize(6=3)', 'Did you mean resized?'),
        ('--zfnet', 'cannot read'),
        ('#', 'cannot read'),
        ('\x00', 'cannot read'),
        ('ZFNet', 'Did you mean zfnet?'),
        ('z\u0444net', 'cannot read'),
    ],
)
def test_odd_text_is_refused_in_a_line(text, why):
    refused(zoo.architecture, text, match=why)


def test_random_text_is_read_or_refused():
    chosen, signs = (
        random.Random(0),
        [*'zfnet ()=,.0189-_e\n#\u0663\u00e9\x00', 'without(', 'resized(', 'replaced(1,', 'kernel=', '3)', 'zfnet '],
    )
    read = 0
    for _ in range(2000):
        text = 'zfnet ' * chosen.randrange(2) + ''.join(chosen.choices(signs, k=chosen.randrange(1, 12)))
        try:
            zoo.architecture(text)
            read += 1
        except ArchitectureError as error:
            assert str(error).isprintable()
    assert read < 1000


# JSON

_ODD = [None, True, False, 0, -1, 1.5, 1e308, float('nan'), float('-inf'), 10**30, 10**400, '', '3', 'ReLU', '\ud800\n', [], [[]], [3], {}]
_ODD += [{'stage': 'ReLU'}, {'stage': ['ReLU']}, [[0, 0]], [[-1]], ['a' * 10**5], list(range(3000)), {'a' * 10**5: 1}]


def places(tree, path=()):
    """Paths of everything inside a JSON value."""
    yield path
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield from places(tree[key], (*path, key))


def mutated(record, chosen):
    """A copy in which one to three things were replaced, taken out, doubled or exchanged."""
    record = copy.deepcopy(record)
    for _ in range(chosen.randrange(1, 4)):
        *path, last = chosen.choice(list(places(record))[1:] or [(0,)])
        place = record
        for key in path:
            place = place[key]
        kind = chosen.randrange(4)
        if not place:
            return record
        if kind == 0:
            del place[last]
        elif kind == 1 and isinstance(place, list):
            place.insert(last, copy.deepcopy(place[last]))
        elif kind == 2 and isinstance(place, list):
            chosen.shuffle(place)
        else:
            place[last] = copy.deepcopy(chosen.choice(_ODD))
    return record


@pytest.mark.parametrize('name', ['zfnet_32', 'lenet5', 'cifar_11pct', 'mlp_300', 'spm_32'])
def test_mutated_json_is_a_network_or_refused(name):
    chosen, whole, read = random.Random(name), json.loads(zoo.architecture(name).to_json()), 0
    for _ in range(400):
        text = json.dumps(mutated(whole, chosen))
        try:
            net = from_json(text)
        except ArchitectureError as error:
            assert str(error).isprintable() and len(str(error)) < 2000, text
            continue
        read += 1
        assert from_json(net.to_json()) == net and net.rows and hash(net)
    assert 0 < read < 200


def layers_of(count, number=lambda i: i + 1):
    relu = {'stage': 'ReLU'}
    dense = {'stage': 'Dense', 'features': 3}
    return {'name': 'x', 'input_shape': [2, 2, 1], 'layers': [{'number': number(i), 'stages': [dense, relu]} for i in range(count)]}


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        ('[' * 10**6, 'cannot be read as JSON'),
        ('{"a":' * 10**5, 'cannot be read as JSON'),
        ('[' * 900 + ']' * 900, 'a network in architecture JSON must be an object'),
        ('{"name": "x", "input_shape": ' + '[' * 900 + ']' * 900 + ', "layers": []}', 'input_shape must be'),
        ('9' * 10**5, 'cannot be read as JSON'),
        ('', 'cannot be read'),
        (b'\xff\xfe\x00', 'cannot be read'),
        (None, 'cannot be read'),
        (7, 'cannot be read'),
        ('{"name": "a", "name": "b"}', 'names a field twice'),
        (json.dumps(layers_of(MOST_STAGES)), f'more than {MOST_STAGES} stages'),
        (json.dumps(layers_of(3, lambda i: 1)), 'layer numbers must rise and not repeat'),
        (json.dumps(layers_of(3, lambda i: [i])), 'layer numbers must rise and not repeat'),
        (json.dumps(layers_of(3, lambda i: True)), 'layer numbers must rise and not repeat'),
        (json.dumps(layers_of(3, lambda i: 10**30 + i)), 'layer numbers must rise and not repeat'),
        (json.dumps({**layers_of(1), 'name': 'two\nlines'}), 'the name of a network must be one printable line'),
        (json.dumps({**layers_of(1), 'name': 3}), 'the name of a network must be one printable line'),
        (json.dumps({**layers_of(1), 'input_shape': [2, 2.0, 1]}), 'input_shape must be'),
        (json.dumps({**layers_of(1), 'input_shape': [2**31 - 1, 2**31 - 1, 3]}), 'layer1: the kernel of dense would be'),
    ],
)
def test_deep_huge_and_strange_json_is_refused_in_a_line(text, why):
    refused(from_json, text, match=why)


def test_a_million_layers_are_refused_before_they_are_made():
    text = json.dumps({'name': 'x', 'input_shape': [2, 2, 1], 'layers': []})
    layer = json.dumps(layers_of(1)['layers'][0])
    text = text.replace('[]', f'[{",".join([layer] * 10**5)}]')
    begun = time.perf_counter()
    with pytest.raises(ArchitectureError, match='more than 1000 stages'):
        from_json(text)
    made = time.perf_counter() - begun
    begun = time.perf_counter()
    json.loads(text)
    assert made < 0.5 + 10 * (time.perf_counter() - begun)


def test_a_value_of_any_size_is_shown_in_a_line():
    deep = []
    for _ in range(10**5):
        deep = [deep]
    for value in (
        10**5000,
        -(10**5000),
        'a\nb' * 10**6,
        deep,
        list(range(10**5)),
        dict.fromkeys(range(100), 'x' * 1000),
        b'\n' * 1000,
        None,
    ):
        assert shown(value).isprintable() and len(shown(value)) < 1200
    assert shown('kernel') == "'kernel'" and shown(-3) == '-3'
    while deep:  # Python would free it one inside the other
        deep = deep.pop()


# Parameters

NET = Architecture('net', (6, 6, 1), (Layer(1, (Convolution(2, 3), ReLU(), MaxPool(2, 2))), Layer(3, (Dense(3),))))


def parameters():
    return {
        'layer1': {'convolution': {'kernel': np.ones((3, 3, 1, 2), np.float32), 'bias': np.ones(2, np.float32)}},
        'layer3': {'dense': {'kernel': np.ones((8, 3), np.float32), 'bias': np.ones(3, np.float32)}},
    }


def set_(params, path, value):
    *way, last = path.split('/')
    for key in way:
        params = params.setdefault(key, {})
    params[last] = value
    return params


@pytest.mark.parametrize(
    ('change', 'why'),
    [
        (lambda p: p.pop('layer3'), 'net learns layer3/dense/kernel, which is not among these parameters'),
        (lambda p: p['layer1'].update(convolution=3), 'net learns layer1/convolution/kernel, which is not'),
        (lambda p: p['layer3']['dense'].pop('bias'), 'net learns layer3/dense/bias, which'),
        (lambda p: set_(p, 'layer2/dense/kernel', np.ones(3)), r"\['layer2', 'dense', 'kernel'\] is no parameter of net"),
        (lambda p: set_(p, 'layer1/relu', np.ones(3)), r"\['layer1', 'relu'\] is no parameter of net"),
        (lambda p: p.update({7: {}}, odd=1), r"\['odd'\] is no parameter"),
        (
            lambda p: set_(p, 'layer3/dense/kernel', np.ones((3, 8), np.float32)),
            r'kernel is float32 of \(3, 8\), but net learns .*\(8, 3\)',
        ),
        (lambda p: set_(p, 'layer3/dense/kernel', np.ones((8, 3))), 'layer3/dense/kernel is float64 of'),
        (lambda p: set_(p, 'layer3/dense/bias', np.array([None] * 3)), 'layer3/dense/bias is object of'),
        (lambda p: set_(p, 'layer3/dense/bias', [1.0, 2.0, 3.0]), r'layer3/dense/bias is \[1.0, 2.0, 3.0\], but'),
        (lambda p: set_(p, 'layer3/dense/bias', {'deeper': np.ones(3)}), 'layer3/dense/bias is {'),
        (
            lambda p: set_(p, 'layer1/convolution/kernel', np.full((3, 3, 1, 2), np.nan, np.float32)),
            'kernel holds numbers that are not finite',
        ),
    ],
)
def test_parameters_unlike_the_architecture_are_refused_with_the_first_difference(change, why):
    params = parameters()
    check_parameters(NET, params)
    change(params)
    refused(check_parameters, NET, params, match=why)


@pytest.mark.parametrize('params', [None, [], 3, np.ones(3), {}])
def test_what_is_no_tree_of_parameters_is_refused(params):
    refused(check_parameters, NET, params, match='net learns layer1/convolution/kernel, which is not among')
