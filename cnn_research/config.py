"""Configs: made, changed and checked field by field and in combination, written down and read, and the key of a trial."""

import hashlib
import importlib.util
import itertools
import json
import math
import pathlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

from cnn_research import architecture as arch
from cnn_research import records
from cnn_research.errors import CheckpointError, ConfigError, nearest, nearest_field, shown
from cnn_research.fields import FIELDS, Field
from cnn_research.models import zoo

FILE = 'config.json'  # of a workdir
NUMERICS = 1  # raised by hand when the same config comes to mean other numbers; part of every trial's key

BY_NAME = {field.name: field for field in FIELDS}

# What does not change the trained numbers of a run: where its data are, how they are held, what is measured of it and shown, on how many
# processes.
_NOT_IN_KEY = ('architecture', 'data.dir', 'data.name', 'data.resident_gb', 'data.workers', 'data.test', 'data.test_examples')
_NOT_IN_KEY += ('evaluate.views', 'evaluate.batch_size')
_NOT_IN_KEY_SECTIONS = ('log.', 'checkpoint.', 'parallel.')
# Fields that came after trainings whose keys stand: at their default they change nothing, and so say nothing.
_LATER = ('data.per_class', 'data.preprocessing')
DECISIVE = tuple(field.name for field in FIELDS if field.name not in _NOT_IN_KEY and not field.name.startswith(_NOT_IN_KEY_SECTIONS))


def default(fields: Sequence[Field] = FIELDS) -> ml_collections.ConfigDict:
    """Every field at its default, locked. fields: those of a training or, as in all that follows, an experiment's own."""
    nested: dict = {}
    for field in fields:
        *sections, leaf = field.name.split('.')
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[leaf] = field.default
    return ml_collections.ConfigDict(nested, convert_dict=True).lock()


def flat(config) -> dict[str, Any]:
    """{dotted name: value} of a nested config or mapping."""
    values = {}
    for name, value in config.items():
        if isinstance(value, Mapping | ml_collections.ConfigDict):
            values |= {f'{name}.{rest}': inner for rest, inner in flat(value).items()}
        else:
            values[name] = value
    return values


_UNITS = ('epochs', 'steps', 'examples')
_HIGH = {int: 2**53, float: 3e38}  # what is counted exactly, and what float32 holds, where a field has no end of its own
_KINDS = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text'}


def _read(field: Field, text: str):
    kind = type(field.default)
    if kind is bool:
        return {'true': True, 'false': False}[text.lower()]
    return kind(text)


def update(config: ml_collections.ConfigDict, values: Mapping[str, Any], fields: Sequence[Field] = FIELDS) -> ml_collections.ConfigDict:
    """A copy with {dotted name: value}; text is read as the field's type. Setting one unit of a duration clears its other units.

    Setting architecture clears architecture_json. Raises ConfigError for a field that does not exist, a value of the wrong type, and two
    units of one duration.
    """
    by_name = {field.name: field for field in fields}
    for name in (name.removesuffix('.epochs') for name in by_name if name.endswith('.epochs')):
        _one_unit(name, {unit: values.get(f'{name}.{unit}') for unit in _UNITS})
    if 'architecture' in values:
        values = {'architecture_json': '', **values}
    config = config.copy_and_resolve_references()
    with config.unlocked():
        for name, value in values.items():
            field = by_name.get(name)
            if field is None:
                raise unknown_field(name, by_name)
            if isinstance(value, str) and not isinstance(field.default, str):
                try:
                    value = _read(field, value)
                except (ValueError, KeyError):
                    said = value if value.isprintable() and len(value) <= 100 else shown(value)
                    raise ConfigError(f'{name}={said} is not {_KINDS[type(field.default)]}: {field.meaning}.') from None
            _check_type(field, value)
            section, _, leaf = name.rpartition('.')
            for unit in _UNITS if f'{section}.epochs' in by_name and is_set(value) else ():
                if leaf in _UNITS:
                    config[section][unit] = type(by_name[f'{section}.{unit}'].default)(0)
            place = config[section] if section else config
            place[leaf] = float(value) if isinstance(field.default, float) and type(value) is int else value
    return config.lock()


def unknown_field(name: str, known: Iterable[str]) -> ConfigError:
    """The refusal of a field that is not among the `known` names, with the nearest."""
    section, known = name.rpartition('.')[0], list(known)
    inside = [f.removeprefix(name + '.') for f in known if f.startswith(name + '.')]
    siblings = [f.removeprefix(section + '.') for f in known if section and f.startswith(section + '.')]
    offer = f'the fields of {section} are {", ".join(siblings)}' if siblings else '--help lists the fields'
    offer = f'it is a section with the fields {", ".join(inside)}' if inside else offer
    meant = nearest_field(name, known)
    return ConfigError(f'there is no field {name[:200]}; {offer}.' + (f' Did you mean {meant}?' if meant else ''))


def by_layer(text: str, name: str = 'a table by layer') -> dict[float, float]:
    """{layer or epoch: value} of '1=0.0001,4=0.1'; ConfigError where it cannot be read. `name` is the field, for the message."""
    try:
        pairs = [part.split('=') for part in text.split(',') if part.strip()]
        table = {float(key) if '.' in key else int(key): float(value) for key, value in pairs}
        if len(table) < len(pairs) or list(table) != sorted(table) or not all(0 <= v < 2**63 for v in (*table, *table.values())):
            raise ValueError
        return table
    except ValueError:
        raise ConfigError(f"{name}={shown(text)} cannot be read; write rising pairs such as '1=0.0001,4=0.1', none below 0.") from None


def numbers(text: str, name: str, kind: type = int, low: float | None = None) -> tuple:
    """(5, 8) of '5,8', rising, none below 0; ConfigError where it cannot be read. `name` is the field, for the message.

    low: there must be at least one number, and none below it.
    """
    words = [word.strip() for word in text.split(',') if word.strip()]
    try:
        found = tuple(map(kind, words))
    except ValueError:
        found = (-1,)
    if list(found) != sorted(set(found)) or not all(0 <= number < 2**63 for number in found):
        raise ConfigError(f'{name}={shown(text)} cannot be read; write rising numbers such as {"5,8" if kind is int else "0.01,1"!r}.')
    if low is not None and (not found or found[0] < low):
        raise ConfigError(f'{name}={text!r} names {found[0] if found else "nothing"}; it takes one number or more, each at least {low:g}.')
    return found


def steps(duration, batch_size: int, num_examples: int) -> int:
    """Steps of a duration {'epochs': n}, {'steps': n} or {'examples': n}; 0 when nothing is set."""
    if duration.get('steps'):
        return int(duration['steps'])
    examples = duration.get('examples') or (duration.get('epochs') or 0) * num_examples
    if examples >= batch_size * _HIGH[int]:  # of a length that no float holds
        return _HIGH[int]
    return max(1, math.ceil(round(examples / batch_size, 6))) if examples else 0


def marked_steps(marks: str, batch_size: int, num_examples: int) -> frozenset[int]:
    """The steps at which the epochs named by '1,2,5' (checkpoint.marks) end."""
    epochs = numbers(marks, 'checkpoint.marks')
    return frozenset(steps({'epochs': epoch}, batch_size, num_examples) for epoch in epochs if epoch)


def network(config) -> arch.Architecture:
    """The architecture of a config: from its resolved JSON where there is one, else from the zoo."""
    return network_of({'architecture': config.architecture, 'architecture_json': config.architecture_json})


def network_of(values: Mapping[str, Any]) -> arch.Architecture:
    """The same, of {dotted name: value}."""
    return arch.from_json(values['architecture_json']) if values['architecture_json'] else zoo.architecture(values['architecture'])


def check_values(config, fields: Sequence[Field] = FIELDS) -> None:
    """ConfigError unless every field is there and its value by itself valid."""
    given, known = flat(config), [field.name for field in fields]
    for name in given:
        if name not in known:
            raise unknown_field(name, known)
    for field in fields:
        if field.name not in given:
            raise ConfigError(f'the field {field.name} is missing; start from cnn_research.config.default().')
        _check_value(field, given[field.name])


def check(config) -> ml_collections.ConfigDict:
    """The config with its architecture resolved, checked field by field and in combination; ConfigError or ArchitectureError."""
    check_values(config)
    checked = ml_collections.ConfigDict(json.loads(json.dumps(config.to_dict())), convert_dict=True)
    net = network(checked)
    checked.architecture_json = net.to_json()
    _check_combination(checked, net)
    return checked.lock()


def check_processes(config) -> None:
    """ConfigError where the fields parallel.* do not say together who trains."""
    coordinator, processes, process = (config.parallel[name] for name in ('coordinator', 'processes', 'process'))
    if process and process >= processes:
        others = f'they count from 0 to {processes - 1}' if processes else 'parallel.processes must say how many there are'
        raise ConfigError(f'parallel.process={process}, but parallel.processes={processes}; {others}.')
    host, _, port = coordinator.rpartition(':')
    if coordinator and not (host and port.isdecimal() and 0 < int(port) < 2**16):
        raise ConfigError(f'parallel.coordinator={coordinator!r} cannot be read; write HOST:PORT of process 0, such as node1:29500.')
    if bool(coordinator) != (processes > 1):
        missing = (
            'parallel.processes must say how many there are, two or more' if coordinator else 'parallel.coordinator must be its HOST:PORT'
        )
        raise ConfigError(f'parallel.coordinator={coordinator!r} and parallel.processes={processes}: {missing}.')


def is_set(value) -> bool:
    """Whether a duration's unit or a text says anything; text is as a command line has it."""
    return value not in (None, 0, '0', '0.0', '')


def _one_unit(name: str, units: Mapping[str, Any]) -> None:
    both = [f'{name}.{unit}={value}' for unit, value in units.items() if is_set(value)]
    if len(both) > 1:
        raise ConfigError(f'{" and ".join(both)} are both set; keep one.')


def _check_type(field: Field, value) -> None:
    kind = type(field.default)
    fits = isinstance(value, int | float) and not isinstance(value, bool) if kind is float else type(value) is kind
    if not fits or value != value or (kind is float and not abs(value) <= _HIGH[float]):
        raise ConfigError(f'{field.name}={shown(value)} is not {_KINDS[kind]}: {field.meaning}.')
    if kind is str and any(unicodedata.category(letter) in ('Cc', 'Cs') for letter in value):
        raise ConfigError(f'{field.name}={ascii(value)[:100]} has a character that is none of a text: {field.meaning}.')


def _check_value(field: Field, value) -> None:
    _check_type(field, value)
    if field.default and value == '':
        raise ConfigError(f'{field.name} is empty: {field.meaning}.')
    if field.choices and value not in field.choices:
        offer = ', '.join(choice or "''" for choice in field.choices)
        raise ConfigError(f'{field.name}={shown(value)} is not valid; choose from {offer}.{nearest(value, field.choices)}')
    high = _HIGH.get(type(field.default)) if field.high is None else field.high
    if (field.low is not None and value < field.low) or (high is not None and value > high):
        span = f'at least {field.low:g}' if value <= high else f'at most {high:g}'
        span = span if field.high is None else f'from {field.low:g} to {field.high:g}'
        raise ConfigError(f'{field.name}={shown(value)} is out of range; it must be {span}: {field.meaning}.')


_ONLY_WITH = (
    ('initialization.stds', 'initialization.kernel', ('normal',)),
    *((f'schedule.warmup.{unit}', 'schedule.kind', ('cosine', 'trapezoid')) for unit in _UNITS),
    *((f'schedule.cooldown.{unit}', 'schedule.kind', ('trapezoid',)) for unit in _UNITS),
)


def _check_combination(config, net) -> None:
    durations = [name.removesuffix('.epochs') for name in BY_NAME if name.endswith('.epochs')]
    values = flat(config)
    for name in durations:
        units = {unit: values[f'{name}.{unit}'] for unit in _UNITS}
        _one_unit(name, units)
        if not any(units.values()) and name not in ('schedule.warmup', 'schedule.cooldown'):
            raise ConfigError(f'{name} has no length; set one of {name}.epochs, {name}.steps, {name}.examples.')
    check_processes(config)
    there = [layer.number for layer in net.layers]
    named = {
        name: by_layer(values[name], name)
        for name in ('initialization.stds', 'initialization.biases', 'optimizer.rates', 'optimizer.decays')
    }
    named['optimizer.trainable'] = numbers(values['optimizer.trainable'], 'optimizer.trainable')
    numbers(values['checkpoint.marks'], 'checkpoint.marks')
    for name, table in named.items():
        for number in table:
            if number not in there:
                offer = f'{net.name} has the layers {", ".join(map(str, there))}; leave {number} out'
                raise ConfigError(f'{name}={values[name]!r} names layer {number}, but {offer}.')
    drops = by_layer(config.schedule.drops, 'schedule.drops')
    if bool(drops) != (config.schedule.kind == 'steps'):
        raise ConfigError(f"schedule.drops={config.schedule.drops!r} and schedule.kind={config.schedule.kind!r}: drops belong to 'steps'.")
    for name, owner, needed in _ONLY_WITH:
        if is_set(values[name]) and values[owner] not in needed:
            raise ConfigError(f'{name}={values[name]!r} does nothing with {owner}={values[owner]!r}; it belongs to {" or ".join(needed)}.')
    if config.augment.elastic and not config.augment.elastic_sigma:
        raise ConfigError('augment.elastic needs augment.elastic_sigma above 0.')
    if config.data.per_class and config.data.examples:
        both = f'data.per_class={config.data.per_class} and data.examples={config.data.examples}'
        raise ConfigError(f'{both} each say how many examples there are to learn from; keep one.')
    if config.schedule.kind == 'plateau' and not config.data.holdout:
        raise ConfigError("schedule.kind='plateau' looks at the holdout, but data.holdout=0; give it a share such as 0.1.")
    if (net.layers[-1].stages[0].name == 'radial_basis') != (config.loss.name == 'radial_basis'):
        raise ConfigError(
            f"loss.name='radial_basis' goes with a network that ends in radial basis units, such as lenet5; {net.name} and "
            f'{config.loss.name!r} do not fit.'
        )
    if config.log.tensorboard and importlib.util.find_spec('tensorboardX') is None:
        raise ConfigError('log.tensorboard=True needs tensorboardX: pip install tensorboardX.')
    if config.log.wandb and importlib.util.find_spec('wandb') is None:
        raise ConfigError(f"log.wandb={config.log.wandb!r} needs Weights & Biases: pip install 'cnn-research[wandb]'.")


def _content(values: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a training, of {dotted name: value}: an architecture whatever it is called."""
    content = {name: values.get(name) for name in DECISIVE if name not in _LATER or values.get(name) not in (None, BY_NAME[name].default)}
    net = json.loads(content['architecture_json'] or '{}')
    return {**content, 'architecture_json': {name: value for name, value in net.items() if name != 'name'}}


def decisive(values: Mapping[str, Any]) -> str:
    """SHA-256 of what decides a training, of {dotted name: value}, beside its data: what a saved config is held against."""
    return records.digest(_content(values))


def key(config, fingerprints: Mapping[str, str], task: str = 'classification') -> str:
    """First 12 hex digits of the SHA-256 of what decides a run's trained numbers.

    fingerprints: {role: source fingerprint}; what a network is tested on decides nothing of its training.
    """
    data = {role: fingerprint for role, fingerprint in fingerprints.items() if role != 'test'}
    text = json.dumps({'numerics': NUMERICS, 'task': task, 'data': data, **_content(flat(config))}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def alone(config) -> ml_collections.ConfigDict:
    """The config without the fields of the processes that train together, which are those of a start and not of a run."""
    return update(config, {name: field.default for name, field in BY_NAME.items() if name.startswith('parallel.')})


class Saved(NamedTuple):
    """What WORKDIR/config.json says. key, continued: whose run it is, as in runs.Identity."""

    values: dict[str, Any]
    key: str
    continued: list[list]


def write(workdir, config, key: str, continued: Sequence = ()) -> None:
    """WORKDIR/config.json, of the run with this key, which went on from others; see `Saved`."""
    records.write(pathlib.Path(workdir) / FILE, {**config.to_dict(), 'run': {'key': key, 'continued': list(continued)}})


def saved(workdir) -> Saved:
    """What WORKDIR/config.json says; CheckpointError where it is missing or not what was written."""
    path = pathlib.Path(workdir) / FILE
    values = records.read(path, {'run': {'key': str, 'continued': list}})
    run = values.pop('run')
    records.chain(path, run['continued'], 'run.continued')
    try:
        if not isinstance(json.loads(values.get('architecture_json') or '{}'), dict):
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise CheckpointError(f'{path} is damaged: architecture_json is no architecture.') from None
    return Saved(flat(values), run['key'], run['continued'])


def read(workdir) -> dict[str, Any]:
    """{dotted name: value} of WORKDIR/config.json; CheckpointError where it is missing or not what was written."""
    return saved(workdir).values


def grid(text: str) -> list[dict[str, str]]:
    """The points of 'FIELD=a,b; FIELD=c,d', each {field: value}; one empty point for ''. ConfigError where it cannot be read."""
    axes = []
    for part in filter(None, map(str.strip, text.split(';'))):
        name, equals, values = (word.strip() for word in part.partition('='))
        values = [value.strip() for value in values.split(',')]
        if not equals or not all(values) or name in [axis[0] for axis in axes]:
            raise ConfigError(f"trials.grid={text!r} cannot be read; write 'optimizer.learning_rate=0.01,0.03; data.batch_size=32,128'.")
        if name == 'seed':
            raise ConfigError('trials.grid names seed; trials.seeds=5 trains five of each row.')
        if name not in BY_NAME:
            raise unknown_field(name, BY_NAME)
        known: dict[Any, str] = {}
        for value in values:
            read = flat(update(default(), {name: value}))[name]
            if read in known:
                raise ConfigError(f'trials.grid names {name}={known[read]} twice, the second time as {value}; leave one out.')
            known[read] = value
        axes.append((name, values))
    return [dict(zip([name for name, _ in axes], point, strict=True)) for point in itertools.product(*(values for _, values in axes))]
