"""Every field is read, every shipped recipe is valid, every mistake is refused on one line, and the key holds what decides numbers."""

import ast
import json
import pathlib

import pytest

from cnn_research import config as configs
from cnn_research import optimizers
from cnn_research.errors import ArchitectureError, ConfigError
from experiments.launch import command, recipes

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / 'configs').glob('[!_]*.py'))
DURATIONS = sorted(name.removesuffix('.epochs') for name in configs.BY_NAME if name.endswith('.epochs'))
FINGERPRINTS = {'train': 'a', 'test': 'b'}


def updated(**changes):
    return configs.update(configs.default(), {name.replace('__', '.'): value for name, value in changes.items()})


def refused(match, **changes):
    with pytest.raises((ConfigError, ArchitectureError), match=match) as error:
        configs.check(updated(**changes))
    assert '\n' not in str(error.value)


# Fields.


def words(path):
    """(attributes and string subscripts, names of sections spread as **config.section) in a file."""
    read, spread = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            read.add(node.attr)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            read.add(node.slice.value)
        elif isinstance(node, ast.keyword) and node.arg is None and isinstance(node.value, ast.Attribute):
            spread.add(node.value.attr)
        elif isinstance(node, ast.comprehension) and isinstance(node.iter, ast.Tuple):  # config[name].every for name in ('log', ...)
            read |= {item.value for item in node.iter.elts if isinstance(item, ast.Constant)}
    return read, spread


@pytest.fixture(scope='module')
def readers():
    return [words(path) for path in [*ROOT.glob('cnn_research/**/*.py'), *ROOT.glob('experiments/*.py')] if path.name != 'config.py']


def is_read(name, readers):
    section, _, leaf = name.rpartition('.')
    if section in DURATIONS:  # a duration is read as a whole
        section, _, leaf = section.rpartition('.')
    needed = {leaf, *filter(None, section.split('.'))}
    return any(needed <= read or section in spread for read, spread in readers)


@pytest.mark.parametrize('field', configs.BY_NAME)
def test_every_field_is_read_somewhere(field, readers):
    # The resolved network and the length of the training are read by config.py itself, in `network` and `steps`.
    assert is_read(field, readers) or field in ('architecture', 'architecture_json')


def test_a_field_that_nobody_reads_would_be_seen(readers):
    assert (
        not is_read('optimizer.nesterov', readers) and not is_read('cooling.kind', readers) and not is_read('evaluate.after.steps', readers)
    )


def test_the_help_has_every_field_with_default_and_meaning():
    text = command.help_text('A command.')
    for field in configs.FIELDS:
        assert f'  {field.name}={field.default!r}\n      {field.meaning}' in text
        assert all(choice in text for choice in field.choices)


def test_defaults_are_valid_and_of_their_own_type():
    checked = configs.check(configs.default())
    assert checked.architecture_json and configs.network(checked).name == 'alexnet_32'
    assert configs.check(checked).to_dict() == checked.to_dict()
    assert list(configs.flat(configs.default())) == sorted(configs.BY_NAME) or set(configs.flat(configs.default())) == set(configs.BY_NAME)


# Recipes.


SCALED = [(path.stem, scale) for path in RECIPES for scale in recipes.scales(path)]


@pytest.mark.parametrize(('name', 'scale'), SCALED)
def test_every_recipe_is_valid_at_every_scale(name, scale):
    given = configs.check(configs.update(configs.default(), recipes.load(f'configs/{name}.py:{scale}').config))
    assert configs.network(given).num_classes >= 2
    for examples in (1999, 2000, 35987, 36013, 44000):  # a rise and a fall that fill the epochs must fit whatever the holdout leaves
        total = configs.steps(given.schedule, given.data.batch_size, examples)
        assert float(optimizers.schedule(given, total, given.data.batch_size, examples)(total // 2)) > 0


# Changing.


def test_text_is_read_as_the_fields_type():
    config = updated(seed='7', augment__flip='True', optimizer__learning_rate='1e-3', data__name='digits', schedule__epochs=3)
    assert (config.seed, config.augment.flip, config.optimizer.learning_rate, config.data.name) == (7, True, 1e-3, 'digits')
    assert type(config.schedule.epochs) is float and config.augment.crop is False


def test_update_copies(tmp_path):
    first = configs.default()
    configs.update(first, {'seed': 3})
    assert first.seed == 0


@pytest.mark.parametrize('duration', DURATIONS)
def test_setting_one_unit_clears_its_siblings(duration):
    config = configs.flat(updated(**{f'{duration}.epochs': 2.5}))
    for unit, value in (('steps', 7), ('examples', 99), ('epochs', 1.5)):
        config = configs.flat(configs.update(configs.update(configs.default(), config), {f'{duration}.{unit}': str(value)}))
        assert [config[f'{duration}.{other}'] for other in ('steps', 'examples', 'epochs')] == [
            value if other == unit else 0 for other in ('steps', 'examples', 'epochs')
        ]
        assert type(config[f'{duration}.epochs']) is float


def test_durations_in_steps():
    given = [({'steps': 7, 'epochs': 0.0}, 7), ({'epochs': 2.0}, 20), ({'epochs': 0.26}, 3), ({'examples': 21}, 3), ({'epochs': 0.001}, 1)]
    assert [configs.steps(duration, 10, 100) for duration, _ in given] == [steps for _, steps in given]
    assert configs.steps({'epochs': 0.0, 'steps': 0, 'examples': 0}, 10, 100) == 0
    assert configs.steps({'epochs': 0.07}, 7, 100) == 1  # 0.07 * 100 is a little more than 7


def test_a_saved_config_comes_back():
    first = configs.check(updated(schedule__steps=12, architecture='zfnet_32 without(3,4)', optimizer__decays='1=0'))
    again = configs.update(configs.default(), configs.flat(json.loads(json.dumps(first.to_dict()))))
    assert again.to_dict() == first.to_dict()


def test_another_architecture_takes_the_place_of_a_resolved_one():
    resolved = configs.check(configs.default())
    changed = configs.check(configs.update(resolved, {'architecture': 'perceptron', 'data.name': 'digits'}))
    assert configs.network(changed).name == 'perceptron'


# Refusing.


@pytest.mark.parametrize(
    ('name', 'match'),
    [
        ('optimizer.learning_rat', r'no field optimizer\.learning_rat; .*Did you mean optimizer\.learning_rate\?'),
        ('optimiser.momentum', r'no field optimiser\.momentum; .*Did you mean optimizer\.momentum\?'),
        ('schedule.epoch', r'fields of schedule are .*Did you mean schedule\.epochs\?'),
        ('sead', r'Did you mean seed\?'),
        ('optimizer', 'no field optimizer'),
    ],
)
def test_misspelt_fields(name, match):
    with pytest.raises(ConfigError, match=match):
        configs.update(configs.default(), {name: '1'})


@pytest.mark.parametrize(
    ('wrong', 'meant'),
    [
        ('optimizer.lr', 'optimizer.learning_rate'),
        ('lr', 'optimizer.learning_rate'),
        ('optimizer.wd', 'optimizer.weight_decay'),
        ('bs', 'data.batch_size'),
        ('data.batchsize', 'data.batch_size'),
        ('batch-size', 'data.batch_size'),
        ('data.batch', 'data.batch_size'),
        ('optimizer.rate', 'optimizer.learning_rate'),
        ('epochs', 'schedule.epochs'),
        ('steps', 'schedule.steps'),
        ('schedule.warmup', 'schedule.warmup.epochs'),
        ('momentum', 'optimizer.momentum'),
        ('arch', 'architecture'),
        ('zzzz', None),
        ('', None),
    ],
)
def test_a_wrong_field_is_met_with_the_one_that_was_meant(wrong, meant):
    said = str(configs.unknown_field(wrong, configs.BY_NAME))
    assert said.endswith(f' Did you mean {meant}?') if meant else 'Did you mean' not in said


ABSURD = ('1e999', '-1e999', 'nan', '9' * 400, '1' * 5000, 'a\nb', '\x1b[31m', '\x00', '\udc80', '')


@pytest.mark.parametrize('name', [name for name in configs.BY_NAME if name != 'architecture_json'])
def test_absurd_values_are_refused_on_one_short_line_or_are_texts(name):
    field = configs.BY_NAME[name]
    for text in ABSURD:
        try:
            configs.check_values(configs.update(configs.default(), {name: text}))
        except ConfigError as refusal:
            assert name in str(refusal) and str(refusal).isprintable() and len(str(refusal)) < 500
        else:  # an optional text may be empty, and a text may look like a number
            assert isinstance(field.default, str) and not field.choices and text.isprintable() and (text or not field.default)


@pytest.mark.parametrize('value', [10**400, 10**5000, -(10**400), float('nan'), float('inf'), None, [1]], ids=range(7))
def test_absurd_numbers_of_a_config_file_too(value):
    for name in ('data.batch_size', 'optimizer.learning_rate', 'data.name'):
        with pytest.raises(ConfigError, match=name) as refusal:
            configs.check_values(configs.update(configs.default(), {name: value}))
        assert len(str(refusal.value)) < 500


@pytest.mark.parametrize('text', ['1=1e400', '1=nan', f'{"9" * 30}=1', '1=-1', '1\n=2,'])
def test_absurd_tables_by_layer(text):
    if text.startswith('1\n'):
        assert configs.by_layer(text) == {1: 2.0}
        return
    with pytest.raises(ConfigError, match='cannot be read'):
        configs.by_layer(text)


def test_texts_that_cannot_be_read():
    for name, text in (('seed', '1.5'), ('optimizer.learning_rate', 'fast'), ('augment.flip', 'yes'), ('data.batch_size', '')):
        with pytest.raises(ConfigError, match=f'{name}={text} is not '):
            configs.update(configs.default(), {name: text})


def test_misspelt_values():
    refused(r"dtype='bfloat61'.*choose from float32, bfloat16\. Did you mean bfloat16\?", dtype='bfloat61')
    refused(r"schedule\.kind='cosin'.*Did you mean cosine\?", schedule__kind='cosin')
    refused(r'Did you mean zfnet_32\?', architecture='zfnet_23')
    refused('no layer 9', architecture='alexnet_32 without(9)')


def test_values_out_of_range_or_of_another_type():
    refused(r'data\.batch_size=0 is out of range; it must be at least 1', data__batch_size=0)
    refused(r'data\.holdout=0\.95 .*from 0 to 0\.9', data__holdout=0.95)
    refused(r'learning_rate=nan is not a number', optimizer__learning_rate=float('nan'))
    refused(r'learning_rate=inf is not a number', optimizer__learning_rate=float('inf'))
    refused(r'seed=-1', seed=-1)
    config = configs.default()
    with config.unlocked():
        config.seed = True
    with pytest.raises(ConfigError, match='seed=True is not a whole number'):
        configs.check(config)
    with config.unlocked():
        del config['seed']
    with pytest.raises(ConfigError, match=r'seed is missing'):
        configs.check(config)


def test_combinations_that_cannot_run():
    refused('data.per_class=3 and data.examples=200 each say', data__per_class=3, data__examples=200)
    refused(r"drops belong to 'steps'", schedule__kind='steps')
    refused(r"drops belong to 'steps'", schedule__drops='3=0.1')
    refused(r'looks at the holdout, but data\.holdout=0', schedule__kind='plateau', data__holdout=0.0)
    refused(r"loss\.name='radial_basis' goes with", loss__name='radial_basis')
    refused(r"loss\.name='radial_basis' goes with", architecture='lenet5')
    refused(r'optimizer\.rates=.* names layer 9.* 1, 2, 3, 4, 5, 6, 7, 8', optimizer__rates='9=1')
    refused(r"initialization\.stds='1:2' cannot be read; write .*pairs", initialization__stds='1:2')
    refused(r'schedule has no length; set one of schedule\.epochs', schedule__epochs=0.0)
    both = configs.default()
    with both.unlocked():
        both.schedule.steps = 10
    with pytest.raises(ConfigError, match=r'schedule\.epochs=5\.0 and schedule\.steps=10 are both set'):
        configs.check(both)


@pytest.mark.parametrize('kind', ['constant', 'plateau'])
def test_a_rise_or_fall_that_the_schedule_would_ignore_is_refused(kind):
    refused(r'schedule\.warmup', schedule__kind=kind, schedule__warmup__steps=10)
    refused(r'schedule\.cooldown', schedule__kind=kind, schedule__cooldown__steps=10)


# The key.


def key(config=None, fingerprints=FINGERPRINTS, **changes):
    return configs.key(configs.check(config or updated(**changes)), fingerprints)


# A valid value other than the default for each field; numbers not named here are doubled or set to 0.5.
OTHER = {
    'architecture': 'zfnet_32',
    'architecture_json': configs.check(updated(architecture='zfnet_32')).architecture_json,
    'dtype': 'bfloat16',
    'initialization.kernel': 'normal',
    'initialization.stds': '1=0.1',
    'initialization.biases': '1=1',
    'data.name': 'digits',
    'data.dir': '/data',
    'data.train': 'training',
    'data.test': 'validation',
    'data.preprocessing': 'histeq',
    'data.normalization': 'unit',
    'loss.name': 'squared_error',
    'checkpoint.marks': '1,2',
    'optimizer.name': 'adam',
    'optimizer.rates': '1=2',
    'optimizer.decays': '1=2',
    'optimizer.trainable': '1',
    'schedule.kind': 'cosine',
    'evaluate.views': 'ten',
    'parallel.coordinator': 'node2:29500',
    'parallel.processes': 4,
}


def other(field):
    if field.name in OTHER:
        return OTHER[field.name]
    if type(field.default) is bool:
        return not field.default
    if type(field.default) is int:
        return 2 * field.default or 3
    return 0.5 * field.default or 0.25


# schedule.drops go with a kind of their own; two loggers may not be installed; a field that only works elsewhere counts too.
@pytest.mark.parametrize(
    'name', [name for name in configs.BY_NAME if name not in ('schedule.drops', 'log.tensorboard', 'log.wandb', 'architecture')]
)
def test_the_key_changes_with_what_decides_numbers_and_with_nothing_else(name):
    changes = {name: other(configs.BY_NAME[name])}
    if name.startswith(('schedule.warmup', 'schedule.cooldown')):
        first = {'schedule.kind': 'trapezoid'}
    elif name == 'initialization.stds':
        first = {'initialization.kernel': 'normal'}
    elif name.startswith('parallel.'):
        first = {'parallel.coordinator': 'node1:29500', 'parallel.processes': 9}
    else:
        first = {}
    base = configs.update(configs.default(), first)
    assert (key(configs.update(base, changes)) != key(base)) == (name in configs.DECISIVE)


def test_what_is_decisive():
    said = {
        'seed',
        'dtype',
        'data.holdout',
        'data.batch_size',
        'augment.flip',
        'optimizer.learning_rate',
        'schedule.epochs',
        'architecture_json',
    }
    assert said <= set(configs.DECISIVE)
    free = {
        'data.workers',
        'data.resident_gb',
        'data.dir',
        'log.every.steps',
        'log.profile_steps',
        'checkpoint.keep',
        'log.tensorboard',
        'log.wandb',
    }
    assert not free & set(configs.DECISIVE)


def test_the_key_is_twelve_digits_and_holds_the_fingerprints_and_drops():
    assert len(key()) == 12 and int(key(), 16) >= 0
    assert key(fingerprints={**FINGERPRINTS, 'train': 'c'}) != key()
    # What a network is tested on decides nothing of its training.
    assert key(fingerprints={**FINGERPRINTS, 'test': 'c'}) == key() == key(data__test='other', data__test_examples=7)
    drops = [key(schedule__kind='steps', schedule__drops=text) for text in ('2=0.1', '3=0.1')]
    assert drops[0] != drops[1]


def test_the_keys_of_trainings_that_are_there_stay_what_they_are():
    """Both were computed before there was data.per_class: a field that came later is no part of them until it says something."""
    roles = {'train': 'a', 'holdout': 'b', 'test': 't'}
    assert key(fingerprints=roles) == '019a64e8a4ae' and key(fingerprints=roles, data__per_class=3) != '019a64e8a4ae'
    assert key(fingerprints=roles, data__preprocessing='none') == '019a64e8a4ae' != key(fingerprints=roles, data__preprocessing='histeq')
    values = configs.flat(configs.check(updated()))
    later = ('data.per_class', 'data.preprocessing')
    before = {name: value for name, value in values.items() if name not in later}  # as an older config.json has it
    assert configs.decisive(values) == configs.decisive(before) == '50b99c10a9614221a3a294cbc19ece05ffbce190d4439e5591f2bf3d22a08e4e'


def test_the_same_layers_have_the_same_key_however_they_are_written(monkeypatch):
    ways = ('alexnet_32 without(3) without(4)', 'alexnet_32 without(3,4)', '  alexnet_32  without(4,3)')
    assert len({key(architecture=way) for way in ways}) == 1
    assert key(architecture='alexnet_32 without(3)') != key(architecture=ways[0])
    before = key()
    monkeypatch.setattr(configs, 'NUMERICS', configs.NUMERICS + 1)
    assert key() != before
