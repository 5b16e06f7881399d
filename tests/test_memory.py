"""Sizes that overflow are refused in one line before anything is allocated; what fits never is."""

import dataclasses
import importlib
import math
import pathlib
import re
import time

import jax
import jax.numpy as jnp
import pytest

from cnn_research import config as configs
from cnn_research import memory, optimizers, parallel, train, trials
from cnn_research.data.sources import open_source
from cnn_research.errors import ConfigError, ResearchError
from cnn_research.models import zoo
from cnn_research.models.network import Network

ROOT = pathlib.Path(__file__).resolve().parents[1]
GB = 10**9


def config(**changes):
    named = {name.replace('__', '.'): value for name, value in changes.items()}
    return configs.update(configs.default(), named)


def asked(available=24 * GB, **changes):
    """The message that a config is refused with on a machine with `available` bytes, '' where it may go on."""
    given = config(**changes)
    begun = time.perf_counter()
    try:
        given = configs.check(given)
        memory.check(given, configs.network(given), available=available)
    except ResearchError as error:
        assert str(error).isprintable() and len(str(error)) < 1000
        return str(error)
    finally:
        assert time.perf_counter() - begun < 1
    return ''


@pytest.mark.parametrize('architecture', zoo.NAMES)
def test_no_network_of_the_zoo_is_refused_at_the_papers_batch_sizes(architecture):
    given = config(architecture=architecture, data__batch_size=128, evaluate__batch_size=100)
    memory.check(given, zoo.architecture(architecture), available=8 * GB)
    small = max(zoo.architecture(architecture).input_shape[:2]) <= 48
    if small:
        memory.check(configs.update(given, {'evaluate.batch_size': 500}), zoo.architecture(architecture), available=GB)


@pytest.mark.parametrize('name', sorted(path.stem for path in (ROOT / 'configs').glob('*.py') if not path.stem.startswith('_')))
def test_no_scale_of_a_recipe_is_refused(name):
    recipe = importlib.import_module(f'configs.{name}')
    for scale in recipe.SCALES:
        given = recipe.get_config(scale)
        whole = {field: value for field, value in configs.flat(given).items() if field in configs.BY_NAME}
        memory.check(config(**whole), zoo.architecture(whole.get('architecture', 'alexnet_32')), available=8 * GB)


@pytest.mark.parametrize(
    ('changes', 'why'),
    [
        (
            {'data__batch_size': 10**6},
            r'data.batch_size=1000000 needs about \d+ GB for the maps of alexnet_32; this machine has 24 GB; the',
        ),
        ({'data__batch_size': 10**15}, 'data.batch_size=1000000000000000 needs about .* the largest that fits is about'),
        ({'evaluate__batch_size': 10**7}, r'evaluate.batch_size=10000000 needs about [\d,]+ GB for the maps of alexnet_32'),
        ({'evaluate__batch_size': 60000, 'evaluate__views': 'ten'}, 'evaluate.batch_size=60000 needs about'),
        ({'data__resize': 10**6}, r'data.resize=1000000 needs about [\d,]+ GB for one image'),
        ({'data__resize': 2**53}, 'data.resize=9007199254740992 needs about'),
        ({'data__resize': 3000, 'data__batch_size': 2000, 'augment__rotation': 5.0}, 'data.batch_size=2000 needs about'),
        ({'data__workers': 10**6}, r'data.workers=1000000 needs about 100,000 GB for as many processes'),
        ({'augment__elastic': 1.0, 'augment__elastic_sigma': 1e9}, r'augment.elastic_sigma=1000000000 needs about'),
        ({'augment__elastic': 1.0, 'augment__elastic_sigma': 3e38}, r'augment.elastic_sigma=3e\+38 needs about'),
        (
            {'architecture': 'alexnet_32 resized(6=1000000000)'},
            'alexnet_32 resized.* learns [0-9,]+ numbers, [0-9,]+ of them in layer 6; they need',
        ),
        ({'architecture': 'alexnet_32 replaced(1,padding=30000)'}, r'learns [0-9,]+ numbers, [0-9,]+ of them in layer 6'),
        ({'architecture': 'lenet5_modern replaced(1,padding=60000,kernel=60001)'}, 'more than 2.40 numbers'),
        (
            {'architecture': 'lenet5_modern without(2,3) replaced(1,padding=40000,pooling_kernel=40000,pooling_stride=40000)'},
            r'^one image needs about \d+ GB for the maps of lenet5_modern .* the largest are the 80028x80028x6 of layer 1; this machine',
        ),
        ({'data__batch_size': 10**30}, 'data.batch_size=10*0 is out of range; it must be at most 9.00'),
        ({'data__batch_size': 10**5000}, 'data.batch_size=a whole number of 16610 bits is out of range'),
        ({'data__batch_size': -(10**30)}, 'it must be at least 1'),
        ({'optimizer__learning_rate': 10**400}, 'optimizer.learning_rate=a whole number of .* is not a number'),
    ],
)
def test_sizes_that_overflow_name_their_field(changes, why):
    try:
        text = asked(**changes)
    except ConfigError as error:  # refused where it was set
        text = str(error)
    assert re.search(why, text), text


def test_the_size_that_is_offered_fits_and_twice_as_much_does_not():
    for field in ('data.batch_size', 'evaluate.batch_size'):
        text = asked(**{field: 10**9})
        most = int(text.rpartition('about ')[2].rstrip('.'))
        assert asked(**{field: most}) == '' and asked(**{field: 2 * most}).startswith(field)
        assert f'the largest that fits is about {most}.' in asked(**{field: 2 * most})


def test_more_machine_allows_more():
    assert asked(data__batch_size=10**5).startswith('data.batch_size') and not asked(240 * GB, data__batch_size=10**5)


@pytest.mark.skipif(
    jax.default_backend() != 'cpu' or not pathlib.Path('/proc/meminfo').is_file(), reason='the memory counted is that of a Linux machine'
)
def test_the_machine_has_what_its_kernel_says():
    lines = dict(line.split(':') for line in pathlib.Path('/proc/meminfo').read_text().splitlines())
    assert 0 < memory.machine() <= 1.001 * 1024 * int(lines['MemTotal'].split()[0])


# The estimates against what XLA sets aside, which is told without running anything.


def set_aside(function, *arguments, donated=()):
    compiled = jax.jit(function, donate_argnums=donated, compiler_options=parallel.compiler_options()).lower(*arguments).compile()
    told = compiled.memory_analysis()
    return told.temp_size_in_bytes + told.argument_size_in_bytes + told.output_size_in_bytes - told.alias_size_in_bytes


@pytest.mark.parametrize(('name', 'batch'), [('mlp_1000', 128), ('lenet5_modern', 512)])
def test_estimates_are_of_the_size_of_what_is_set_aside(name, batch):
    net = zoo.architecture(name)
    network, given = Network(net), config(architecture=name, data__batch_size=batch, evaluate__batch_size=batch)
    images = jax.ShapeDtypeStruct((batch, *net.input_shape), jnp.uint8)
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *net.input_shape)))['params']

    def seen(params, images):
        return network.apply({'params': params}, images.astype(jnp.float32))[0]

    def step(params, momentum, images):
        gradients = jax.grad(lambda params: jnp.square(seen(params, images)).mean())(params)
        momentum = jax.tree.map(lambda m, g: 0.9 * m - g, momentum, gradients)
        return jax.tree.map(jnp.add, params, momentum), momentum

    assert 0.4 < memory.training(given, net) / set_aside(step, params, params, images, donated=(0, 1)) < 1.3
    assert 0.4 < memory.evaluation(given, net) / set_aside(seen, params, images) < 1.3


# Where it is asked


def test_a_training_is_refused_before_anything_is_made(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, 'machine', lambda: 1 * GB)
    given = config(architecture='lenet5_modern', data__name='digits', evaluate__batch_size=10**6)
    with pytest.raises(ConfigError, match='evaluate.batch_size=1000000 needs about'):
        train.fit(given, tmp_path / 'run')
    with pytest.raises(ConfigError, match='evaluate.batch_size=1000000 needs about'):
        trials.plan({'row': {}}, given, configs.default(trials.FIELDS), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_network_that_is_only_looked_at_needs_no_room_for_its_training():
    given, net = config(data__batch_size=10**6, evaluate__batch_size=10), zoo.architecture('alexnet_32')
    memory.check_evaluation(given, net, GB)
    with pytest.raises(ConfigError, match='data.batch_size=1000000'):
        memory.check(given, net, available=GB)
    with pytest.raises(ConfigError, match='alexnet_32 learns 3[0-9,]+ numbers, .* of them in layer [678]; they need about'):
        memory.check_evaluation(given, net, 4 * net.parameters - 1)


def test_pixels_that_stay_in_memory_are_counted():
    source, net = open_source('digits', 'test'), zoo.architecture('perceptron')
    needed, kept = 3e8, source.num_examples * math.prod(source.image_shape)
    found = {'test': dataclasses.replace(source, num_examples=source.num_examples * 1000)}
    memory.check(config(data__batch_size=1), net, found, 1000 * kept + needed)
    memory.check(config(data__batch_size=1, data__resident_gb=0.0, data__workers=0), net, found, needed)
    with pytest.raises(ConfigError, match=r'data.resident_gb=4 needs about 1.2 GB for pixels, which a lower one would read'):
        memory.check(config(data__batch_size=1), net, found, 1000 * kept - 1)


@pytest.mark.parametrize('changes', [{'schedule.epochs': 1e9}, {'schedule.examples': 2**53}])
def test_a_training_of_more_steps_than_are_counted_is_refused(changes):
    given = configs.check(configs.update(configs.default(), changes))
    total = configs.steps(given.schedule, 1, 10**6)
    with pytest.raises(ConfigError, match='the training has .* steps; schedule.epochs, .steps or .examples must leave fewer than'):
        optimizers.schedule(given, total, 1, 10**6)


def test_epochs_that_no_float_holds_are_refused_and_large_ones_never_reached():
    for text in ('9' * 400, '1.5e308'):
        with pytest.raises(ConfigError, match='cannot be read'):
            configs.numbers(text, 'checkpoint.marks', float)
    given = configs.check(config(schedule__kind='steps', schedule__drops=f'2=0.1,{2**60}=0.01'))
    with pytest.raises(ConfigError, match='never reached'):
        optimizers.schedule(given, 100, 32, 1000)
