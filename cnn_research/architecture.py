"""An architecture is data: numbered layers of stages. Shapes, receptive fields, counts and surgery are plain Python on that data.

A layer is numbered as in the papers: it opens with its learned linear map and owns the stages up to the next one. Layers keep their
numbers after surgery, so `without(net, 3, 4)` still has a layer 5 and its taps, filters and table rows keep their names.

A tap names an intermediate array: 'layer5' is what leaves layer 5, 'layer5.convolution' or 'layer6.relu' what leaves that stage
(a second stage of one kind in a layer is 'layer1.scaled_tanh_2').
"""

import dataclasses
import functools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cnn_research.errors import ArchitectureError, nearest, shown
from cnn_research.stages import *  # the stages are part of this module's vocabulary
from cnn_research.stages import LARGEST, STAGES, Shape, Stage


@dataclass(frozen=True)
class Layer:
    """A numbered layer: stages in the order in which an image passes them."""

    number: int
    stages: tuple[Stage, ...]

    @property
    def name(self) -> str:
        return f'layer{self.number}'

    def named_stages(self) -> tuple[tuple[str, Stage], ...]:
        """(name, stage) pairs; repeated kinds are numbered from the second on."""
        seen, named = {}, []
        for stage in self.stages:
            seen[stage.name] = seen.get(stage.name, 0) + 1
            named.append((stage.name if seen[stage.name] == 1 else f'{stage.name}_{seen[stage.name]}', stage))
        return tuple(named)


@dataclass(frozen=True)
class Row:
    """One stage on an image's way up: what `describe` prints. Receptive field and stride in input pixels; field 0 = the whole image.

    start: the input pixel, negative in padding, at which the receptive field of the first unit of a map begins; one row or column
    further on it begins effective_stride pixels later.
    """

    layer: int
    stage: str
    settings: str
    input: Shape
    output: Shape
    receptive_field: int
    effective_stride: int
    start: int
    parameters: int
    multiply_adds: int
    connections: int


MOST_SIGNS = 4000  # of an architecture's notation
MOST_STAGES = 1000  # of a network: each is compiled
MOST_NUMBERS = 2**40  # in one array, the maps of an image or a kernel: 4 TB

# Settings that go without saying in a description.
_UNSAID = (('stride', 1), ('padding', 0), ('ceil', False), ('groups', 1), ('divided', False))


def _seen(first: int, last: int, size: int, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """First and last pixel of a side of `size` pixels that the windows from `first` to `last` see."""
    return max(0, first * stride - padding), min(size - 1, last * stride - padding + kernel - 1)


@dataclass(frozen=True)
class Architecture:
    """A network as data. Hashable, equal by value; one that cannot exist raises ArchitectureError naming the layer.

    input_shape: (H, W, C) of the images it reads.
    """

    name: str = dataclasses.field(compare=False)  # the same layers are the same network, however it was written
    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]

    def __post_init__(self):
        if type(self.name) is not str or not self.name.isprintable() or not 0 < len(self.name) <= 2 * MOST_SIGNS:
            raise ArchitectureError(f'the name of a network must be one printable line, not {shown(self.name)}.')
        if not isinstance(self.input_shape, tuple) or not isinstance(self.layers, tuple):
            raise ArchitectureError(f'{self.name}: input_shape and layers must be tuples.')
        if len(self.input_shape) != 3 or not all(type(side) is int and 1 <= side <= LARGEST for side in self.input_shape):
            raise ArchitectureError(f'{self.name}: input_shape must be (H, W, C), whole numbers from 1 up, not {shown(self.input_shape)}.')
        numbers, count = [layer.number for layer in self.layers], sum(len(layer.stages) for layer in self.layers)
        if max(len(numbers), count) > MOST_STAGES:
            raise ArchitectureError(f'{self.name}: {len(numbers)} layers of {count} stages; a network has at most {MOST_STAGES} stages.')
        if not all(type(n) is int and 0 <= n <= LARGEST for n in numbers) or not numbers or numbers != sorted(set(numbers)):
            raise ArchitectureError(f'{self.name}: layer numbers must rise and not repeat; got {shown(numbers)}.')
        for layer in self.layers:
            if [stage.role for stage in layer.stages].count('map') != 1 or layer.stages[0].role != 'map':
                raise ArchitectureError(f'{self.name}: {layer.name} must open with its one learned linear map.')
        _ = self.rows  # an architecture whose shapes do not work is refused where it is made

    @functools.cached_property
    def rows(self) -> tuple[Row, ...]:
        """One Row for each stage, from the image up."""
        rows, shape, field, jump, start = [], self.input_shape, 1, 1, 0
        for layer in self.layers:
            for name, stage in layer.named_stages():
                try:
                    output = stage.output(shape)
                    arrays = {'maps': output, **stage.parameters(shape)}
                    for array, size in arrays.items():
                        if math.prod(size) > MOST_NUMBERS:
                            raise ArchitectureError(f'the {array} of {name} would be {"x".join(map(str, size))}, more than 2^40 numbers.')
                except ArchitectureError as error:
                    raise ArchitectureError(f'{self.name}: {layer.name}: {error}') from None
                kernel, stride, padding = stage.reach
                if len(output) == 3 and field:
                    field, jump, start = field + (kernel - 1) * jump, jump * stride, start - padding * jump
                elif len(shape) == 3:
                    field, jump, start = 0, 0, 0
                settings = ', '.join(
                    f'{f.name}={getattr(stage, f.name)}'
                    for f in dataclasses.fields(stage)
                    if f.name != 'table' and (f.name, getattr(stage, f.name)) not in _UNSAID
                )
                counts = (
                    sum(math.prod(size) for size in list(arrays.values())[1:]),
                    stage.multiply_adds(shape),
                    stage.connections(shape),
                )
                rows.append(Row(layer.number, name, settings, shape, output, field, jump, start, *counts))
                shape = output
        return tuple(rows)

    @property
    def parameters(self) -> int:
        """Learned numbers, biases included."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Products of the learned linear maps for one image."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def connections(self) -> int:
        """As LeCun et al. 1998 count: products, biases, trainable subsampling and radial basis units."""
        return sum(row.connections for row in self.rows)

    @property
    def num_classes(self) -> int:
        if len(self.rows[-1].output) != 1:
            raise ArchitectureError(f'{self.name} ends in maps {self.rows[-1].output}, not in a classifier.')
        return self.rows[-1].output[0]

    def taps(self) -> dict[str, Shape]:
        """{tap: shape without B}, from the image up; a layer's own name stands after its last stage."""
        return {tap: self.rows[index].output for tap, index in self._places().items()}

    def _places(self) -> dict[str, int]:
        """{tap: index of its row}."""
        places, by_layer = {}, {}
        for index, row in enumerate(self.rows):
            by_layer.setdefault(row.layer, []).append((row.stage, index))
        for number, stages in by_layer.items():
            places |= {f'layer{number}.{stage}': index for stage, index in stages}
            places[f'layer{number}'] = stages[-1][1]
        return places

    def row(self, tap: str) -> Row:
        """The Row of the stage whose output a tap is; ArchitectureError where there is no such tap."""
        return self.rows[self._place(tap)]

    def _place(self, tap):
        places = self._places()
        if tap not in places:
            raise ArchitectureError(f'{self.name} has no tap {tap!r}; choose from {", ".join(places)}.{nearest(tap, places)}')
        return places[tap]

    def window(self, tap: str, row: int, column: int) -> tuple[int, int, int, int]:
        """(top, left, bottom, right), the latter two exclusive: the pixels that a unit of a tap sees; all of them for a dense unit."""
        stages, place = [stage for layer in self.layers for stage in layer.stages], self._place(tap)
        height, width, _ = self.input_shape
        if not self.rows[place].receptive_field:
            return 0, 0, height, width
        (top, bottom), (left, right) = (row, row), (column, column)
        # Clipped at every stage: what lies in the padding of a map says nothing of pixels that an image may have there.
        for stage, below in zip(reversed(stages[: place + 1]), reversed(self.rows[: place + 1]), strict=True):
            top, bottom = _seen(top, bottom, below.input[0], *stage.reach)
            left, right = _seen(left, right, below.input[1], *stage.reach)
        return top, left, bottom + 1, right + 1

    def layer(self, number: int) -> Layer:
        for layer in self.layers:
            if layer.number == number:
                return layer
        have = ', '.join(str(layer.number) for layer in self.layers)
        raise ArchitectureError(f'{self.name} has no layer {number}; its layers are {have}.')

    def to_json(self) -> str:
        """Canonical JSON, from which `from_json` makes an equal value."""
        layers = [
            {'number': layer.number, 'stages': [{'stage': type(s).__name__, **dataclasses.asdict(s)} for s in layer.stages]}
            for layer in self.layers
        ]
        return json.dumps({'name': self.name, 'input_shape': self.input_shape, 'layers': layers}, sort_keys=True)


def from_json(text: str) -> Architecture:
    """The Architecture that `to_json` wrote; anything else, unknown stages and fields too, is refused with ArchitectureError."""

    def take(record, fields, what):
        if not isinstance(record, dict):
            raise ArchitectureError(f'{what} in architecture JSON must be an object, not {shown(record)}.')
        if set(record) != set(fields):
            odd = sorted(set(record) ^ set(fields))
            raise ArchitectureError(
                f'{what} in the architecture JSON must have the fields {", ".join(fields)}; differs in {", ".join(map(shown, odd[:3]))}.'
            )
        return [record[name] for name in fields]

    def stage(record):
        name = record.get('stage') if isinstance(record, dict) else None
        kind = STAGES.get(name) if isinstance(name, str) else None
        if kind is None:
            offer = f'the stages are {", ".join(STAGES)}.{nearest(shown(name), STAGES)}'
            raise ArchitectureError(f'unknown stage {shown(record)} in architecture JSON; {offer}')
        names = [f.name for f in dataclasses.fields(kind)]
        values = dict(zip(['stage', *names], take(record, ['stage', *names], kind.__name__), strict=True))
        del values['stage']
        if isinstance(values.get('table'), list):
            values['table'] = tuple(tuple(row) if isinstance(row, list) else row for row in values['table'])
        return kind(**values)

    def once(pairs):
        record = dict(pairs)
        if len(record) < len(pairs):
            raise ArchitectureError(f'an object in architecture JSON names a field twice: {shown([name for name, _ in pairs])}.')
        return record

    try:
        whole = json.loads(text, object_pairs_hook=once)
    except (ValueError, TypeError, RecursionError):
        raise ArchitectureError('this is not architecture JSON: it cannot be read as JSON.') from None
    name, input_shape, layers = take(whole, ['name', 'input_shape', 'layers'], 'a network')
    if not isinstance(input_shape, list) or not isinstance(layers, list):
        raise ArchitectureError('input_shape and layers in architecture JSON must be lists.')
    built, left = [], MOST_STAGES
    for record in layers:
        number, stages = take(record, ['number', 'stages'], 'a layer')
        if not isinstance(stages, list):
            raise ArchitectureError('the stages of a layer in architecture JSON must be a list.')
        left -= max(1, len(stages))
        if left < 0:  # before they are made
            raise ArchitectureError(f'the network in architecture JSON has more than {MOST_STAGES} stages.')
        built.append(Layer(number, tuple(map(stage, stages))))
    return Architecture(name, tuple(input_shape), tuple(built))


# Surgery: each returns a new Architecture, or raises ArchitectureError saying why it cannot.


def _rebuilt(net: Architecture, layers, note: str) -> Architecture:
    return Architecture(f'{net.name} {note}', net.input_shape, tuple(layers))


def without(net: Architecture, *numbers: int) -> Architecture:
    """The network with whole layers taken out; what remains keeps its numbers (Zeiler & Fergus 2013, Table 3)."""
    numbers = sorted(set(numbers))
    for number in numbers:
        net.layer(number)
    if net.layers[-1].number in numbers:
        raise ArchitectureError(f'{net.name}: layer {net.layers[-1].number} is the classifier and cannot be removed.')
    kept = [layer for layer in net.layers if layer.number not in numbers]
    return _rebuilt(net, kept, f'without({",".join(map(str, numbers))})')


def resized(net: Architecture, features: Mapping[int, int]) -> Architecture:
    """The network with other numbers of maps or units: {layer number: features}."""
    for number in features:
        if net.layer(number).stages[0].name == 'radial_basis' or getattr(net.layer(number).stages[0], 'table', None):
            raise ArchitectureError(f'{net.name}: layer {number} has a fixed number of features and cannot be resized.')
    layers = [
        dataclasses.replace(layer, stages=(dataclasses.replace(layer.stages[0], features=features[layer.number]), *layer.stages[1:]))
        if layer.number in features
        else layer
        for layer in net.layers
    ]
    return _rebuilt(net, layers, f'resized({",".join(f"{k}={v}" for k, v in features.items())})')


_ROLES = ('nonlinearity', 'pooling', 'normalization', 'dropout')


def _stage_named(word: str, old: Stage) -> Stage | None:
    """The stage of that name in the old one's role, with the settings that both have; None for 'none'."""
    if word in ('none', None):
        return None
    kinds = {kind.name: kind for kind in STAGES.values() if kind.role == old.role}
    if word not in kinds:
        raise ArchitectureError(f'no {old.role} is called {shown(word)}; choose from {", ".join([*kinds, "none"])}.{nearest(word, kinds)}')
    known = dataclasses.fields(kinds[word])
    if missing := [f.name for f in known if f.default is dataclasses.MISSING and not hasattr(old, f.name)]:
        raise ArchitectureError(f'{word} needs {" and ".join(missing)}, which {old.name} does not have.')
    return kinds[word](**{f.name: getattr(old, f.name) for f in known if hasattr(old, f.name)})


def replaced(net: Architecture, number: int, **changes) -> Architecture:
    """The network with one layer changed. Each change is one of

    - `FIELD=value`: a field of the learned map: kernel, stride, padding, groups, ...
    - `ROLE=stage`: other stages in that role: nonlinearity='tanh', normalization='none' (a name, None, or a Stage)
    - `ROLE_FIELD=value`: a field of the stages in that role: pooling_kernel=2, dropout_rate=0.3
    - `stages=(...)`: all stages of the layer
    """
    layer = net.layer(number)
    text = ','.join(
        f'{key}={getattr(value, "name", "none" if value is None else value)}' for key, value in changes.items() if key != 'stages'
    )
    stages = list(changes.pop('stages', layer.stages))
    for key, value in changes.items():
        role = next((role for role in _ROLES if key == role or key.startswith(role + '_')), 'map')
        members = [stage for stage in stages if stage.role == role]
        field = key if role == 'map' else key[len(role) + 1 :]
        if not members and (field or value not in ('none', None)):
            raise ArchitectureError(f'{net.name}: layer {number} has no {role} to change.')
        if not field:
            new = {stage: value if isinstance(value, Stage) else _stage_named(value, stage) for stage in members}
            stages = [new.get(stage, stage) for stage in stages if new.get(stage, stage) is not None]
            continue
        for stage in members:
            known = [f.name for f in dataclasses.fields(stage) if f.name != 'table']
            if field not in known:
                choices = known if role == 'map' else [f'{role}_{name}' for name in known]
                offer = ', '.join([*choices, *(r for r in _ROLES if any(s.role == r for s in stages))])
                raise ArchitectureError(f'{net.name}: layer {number} has no {key!r}; choose from {offer}.{nearest(key, choices)}')
        stages = [dataclasses.replace(stage, **{field: value}) if stage.role == role else stage for stage in stages]
    changed = [dataclasses.replace(one, stages=tuple(stages)) if one.number == number else one for one in net.layers]
    return _rebuilt(net, changed, f'replaced({number},{text or "stages"})')


# The notation of command lines: a name, then operations. 'zfnet without(3,4) resized(6=2048,7=2048) replaced(1,kernel=11,stride=4)'

_OPERATION = re.compile(r'\s+([a-z_]+)\(([^()]*)\)')
_OPERATIONS = ('without', 'resized', 'replaced')


def _value(word: str):
    # Python would read '1_000', 'nan' and the digits of other scripts too, and refuse more than 4300 digits.
    if re.fullmatch('[+-]?[0-9]{1,40}', word):
        return int(word)
    if re.fullmatch(r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?', word):
        return float(word)
    return {'true': True, 'false': False}.get(word.lower(), word)


def parse(text: str) -> tuple[str, tuple[tuple[str, tuple[int, ...], dict], ...]]:
    """(name, ((operation, numbers, {key: value}), ...)) of an architecture's notation; ArchitectureError where it cannot be read."""
    form = 'NAME without(3,4) resized(6=2048) replaced(1,kernel=7,stride=2)'
    head = re.match(r'\s*([A-Za-z0-9_]+)', text)
    if head is None or len(text) > MOST_SIGNS:
        raise ArchitectureError(f'cannot read the architecture {shown(text)}; write {form}, at most {MOST_SIGNS} signs.')
    operations, place = [], head.end()
    while rest := text[place:].strip():
        found = _OPERATION.match(text, place)
        if found is None:
            word = ''.join(re.findall('[a-z]', rest.partition('(')[0].lower()))
            raise ArchitectureError(f'cannot read {shown(rest)} in the architecture; write {form}.{nearest(word, _OPERATIONS)}')
        operation, place = found.group(1), found.end()
        if operation not in _OPERATIONS:
            raise ArchitectureError(
                f'unknown operation {shown(operation)}; choose from {", ".join(_OPERATIONS)}.{nearest(operation, _OPERATIONS)}'
            )
        words = [word.strip() for word in found.group(2).split(',') if word.strip()]
        numbers = [word for word in words if '=' not in word]
        pairs = [tuple(part.strip() for part in word.split('=', 1)) for word in words if '=' in word]
        keys = [key for key, _ in pairs]
        whole = [*numbers, *(keys if operation == 'resized' else [])]
        readable = all(re.fullmatch('0|[1-9][0-9]{0,9}', word) for word in whole) and all(re.fullmatch('[a-z0-9_]+', key) for key in keys)
        fits = {'without': numbers and not pairs, 'resized': pairs and not numbers, 'replaced': pairs and len(numbers) == 1}[operation]
        if not readable or not fits or len(set(keys)) < len(keys) or {'stages', 'table', 'net', 'number'} & set(keys):
            raise ArchitectureError(f'cannot read {shown(found.group().strip())}; write {form}.')
        operations.append((operation, tuple(map(int, numbers)), {key: _value(value) for key, value in pairs}))
    return head.group(1), tuple(operations)


def operated(net: Architecture, operations) -> Architecture:
    """The network after the operations that `parse` returned, in their order."""
    for operation, numbers, pairs in operations:
        if operation == 'without':
            net = without(net, *numbers)
        elif operation == 'resized':
            net = resized(net, {int(key): value for key, value in pairs.items()})
        else:
            net = replaced(net, *numbers, **pairs)
    return net
