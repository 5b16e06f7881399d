"""Fine-tuning as a user runs it, small: every way trained, nothing trained twice, networks of elsewhere, and what is refused."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from small_runs import folder

from cnn_research import checkpoints, parallel, trials
from cnn_research import config as configs
from cnn_research.data.sources import open_source
from cnn_research.errors import ArchitectureError, ConfigError, ResearchError
from cnn_research.models import pretrained, zoo
from cnn_research.studies.finetuning import report, ways
from experiments import finetune
from experiments.launch import command, recipes

SMALL = (
    '--config=configs/finetune.py:smoke',
    '--config.architecture=mlp_300_100 resized(1=20,2=10,3=2)',
    '--config.finetune.from_layer=2',
    '--config.trials.grid=',
    '--config.trials.select=',
)
SOURCE = {'data.resize': 28, 'data.holdout': 0.0, 'schedule.steps': 2, 'schedule.warmup.steps': 0, 'schedule.cooldown.steps': 0}
SOURCE |= {'data.examples': 0, 'data.normalization': 'mean_image'}


def small(images, place, *more):
    """The command, read: from a folder of images to digits."""
    given = command.parse('finetune', '', [*SMALL, f'--workdir={place}', *more], finetune.FIELDS)
    row = {**given.recipe.rows['source'], **SOURCE, 'data.name': images}
    del row['schedule.epochs'], row['schedule.warmup.epochs'], row['schedule.cooldown.epochs']
    return dataclasses.replace(given, recipe=given.recipe._replace(rows={'source': row}))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return folder(tmp_path_factory.mktemp('images'))


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(command, 'stopper', lambda: lambda: False)  # pytest keeps its own signals
    monkeypatch.setattr(parallel, 'local_devices', lambda count=None: jax.local_devices()[:1])


@pytest.fixture(scope='module')
def workdir(images, tmp_path_factory):
    """A finished table of four ways at two sizes."""
    place = tmp_path_factory.mktemp('finetune') / 'run'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, 'stopper', lambda: lambda: False)
        patch.setattr(parallel, 'local_devices', lambda count=None: jax.local_devices()[:1])
        finetune.main(small(images, place))
    return place


def network(record):
    return checkpoints.load(record.workdir)


@pytest.mark.slow
def test_layers_begin_stay_and_learn_as_their_way_says(workdir):
    records = trials.records_of(workdir)[1]
    assert [(record.part, record.state) for record in records] == [('pretrained', 'finished')] + [('', 'finished')] * 8
    source, rows = network(records[0]), {record.row: network(record) for record in records[1:]}
    assert list(rows)[:4] == ['frozen, 1 a class', 'whole, 1 a class', 'from layer 2, 1 a class', 'scratch, 1 a class']
    for row, found in rows.items():
        way, size = report.parsed(row)
        same = [
            name for name, own in source.variables['params'].items()
            if own['dense']['kernel'].shape == found.variables['params'][name]['dense']['kernel'].shape
            and np.array_equal(own['dense']['kernel'], found.variables['params'][name]['dense']['kernel'])
        ]  # fmt: skip
        assert same == {'frozen': ['layer1', 'layer2'], 'from layer 2': ['layer1']}.get(way, [])
        assert found.config.data.per_class == size and found.architecture.num_classes == 10
        brought = jax.tree.map(np.array_equal, dict(found.variables['preprocessing']), dict(source.variables['preprocessing']))
        assert all(brought.values()) if way != 'scratch' else found.variables['preprocessing']['mean'].shape == (1,)
    for record in records[1:]:  # what begins with another's weights is trained by the table's command alone
        words = command.shlex.split(record.run['command'])
        assert words[2] == 'experiments.train' if record.row.startswith('scratch') else words[2].endswith('finetune')
    again = configs.check(command.parse('train', '', words[3:], trials.FIELDS).config)
    assert configs.decisive(configs.flat(again)) == configs.decisive(records[-1].config)
    digits, _ = open_source('digits', 'test').read(np.arange(20))
    frozen = rows['frozen, 2 a class']
    np.testing.assert_array_equal(*(one.features(digits, ('layer2',))['layer2'] for one in (frozen, source)))


@pytest.mark.slow
def test_asked_again_nothing_is_trained_and_its_own_network_named_is_the_same_table(workdir, images, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (workdir / 'trials').rglob('*') if path.is_file()}
    finetune.main(small(images, workdir))
    source, *rows = trials.records_of(workdir)[1]
    copied = shutil.copytree(source.workdir, tmp_path / 'elsewhere')
    finetune.main(small(images, workdir, f'--config.network={copied}'))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    again = trials.records_of(workdir)[1]
    assert [record.part for record in again] == ['adopted'] + [''] * 8
    assert [record.key for record in again] == [record.key for record in (source, *rows)]
    page = (workdir / 'report.html').read_text()
    assert '>Four ways<' in page and 'href="#finetune-frozen,_1_a_class"' in page and 'non-pretrained convnet' in page
    names = {path.name for place in (workdir, workdir / 'figures') for path in place.iterdir()}
    assert {'curve.csv', 'rows.md', 'claims.tex', 'paper.csv', 'curves.png', 'curves.pdf'} <= names


@pytest.mark.slow
def test_published_weights_are_known_by_their_numbers(workdir, images, tmp_path):
    source = network(trials.records_of(workdir)[1][0])
    made = []
    for name in ('one', 'two'):
        path = tmp_path / f'{name}.safetensors'
        pretrained.export(path, source.architecture, source.variables, source.class_names, 28, source.image_shape)
        made.append(ways.of_weights(str(path)))
    assert made[0].name == made[1].name != ways.of_weights(str(changed(source, tmp_path / 'three.safetensors'))).name
    start = ways.start(made[0])
    assert set(start.load()) == {'layer1', 'layer2'} and made[0].name in start.name and str(tmp_path) not in start.name
    assert jax.tree.all(jax.tree.map(np.array_equal, dict(start.preprocessing()), dict(source.variables['preprocessing'])))
    more = (f'--config.network={tmp_path}/one.safetensors', '--config.finetune.sizes=1', '--config.finetune.ways=frozen', '--config.seed=3')
    finetune.main(small(images, tmp_path / 'run', *more))
    (record,) = trials.records_of(tmp_path / 'run')[1]
    kernels = [one.variables['params']['layer2']['dense']['kernel'] for one in (network(record), source)]
    np.testing.assert_array_equal(*kernels)
    assert 'networks of one.safetensors' in (tmp_path / 'run' / 'report.html').read_text()


def changed(trained, path):
    params = jax.tree.map(np.array, trained.variables['params'])
    params['layer1']['dense']['bias'][0] += 1
    pretrained.export(path, trained.architecture, {**trained.variables, 'params': params}, trained.class_names, 28, trained.image_shape)
    return path


REFUSED = {
    ('--config.finetune.sizes=1,1000',): 'the most that fits is',
    ('--config.finetune.sizes=',): 'finetune.sizes',
    ('--config.finetune.sizes=3,1',): 'finetune.sizes',
    ('--config.finetune.ways=frozen,thawed',): "'thawed'; choose from frozen, whole, upper, scratch",
    ('--config.finetune.from_layer=1',): 'choose one of 2, or leave upper out',
    ('--config.finetune.from_layer=3',): 'finetune.from_layer=3',
    ('--config.network=nowhere',): 'network=nowhere is not the workdir of a finished training',
    ('--config.network=nowhere.pth',): 'nowhere.pth',
    ('--config.network=one,two', '--config.trials.seeds=3'): 'names 2 networks for trials.seeds=3',
    ('--config.network=one,one', '--config.trials.seeds=2'): 'names one twice',
    ('--config.data.per_class=3',): 'data.per_class=3 does not go with finetune',
    ('--config.data.resize=20',): 'data.resize=20',
    ('--config.optimizer.rates=1=0.5',): 'optimizer.rates',
    ('--config.trials.grid=optimizer.learning_rate=0.1,0.2',): "trials.select='holdout'",
}


@pytest.mark.parametrize('arguments', REFUSED)
def test_what_cannot_be_compared_is_refused_before_any_work(arguments, images, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, 'carry_out', lambda *_: pytest.fail('a trial was begun'))
    with pytest.raises(ResearchError) as told:
        finetune.main(small(images, tmp_path / 'run', *arguments))
    assert REFUSED[arguments] in str(told.value) and '\n' not in str(told.value) and not (tmp_path / 'run').exists()


def test_a_set_that_the_network_has_learned_is_refused(images, tmp_path):
    with pytest.raises(ConfigError, match='has learned digits already'):
        finetune.main(small('digits', tmp_path / 'run', '--config.architecture=mlp_300_100'))


def origin(architecture, shape=(28, 28, 1), **values):
    config = configs.check(configs.update(configs.default(), {'architecture': architecture, **values}))
    return ways.Origin(architecture, config, shape, {}, lambda: None)


def test_the_last_layer_alone_has_the_new_classes():
    fields = ways.for_classes(origin('alexnet_32 without(3)'), 43)
    assert fields == {'architecture': 'alexnet_32 without(3) resized(8=43)'}
    older = dataclasses.replace(zoo.architecture('alexnet_32'), name='one that is gone')
    given = configs.update(configs.default(), {'architecture': older.name, 'architecture_json': older.to_json()})
    fields = ways.for_classes(origin('alexnet_32')._replace(config=given), 43)
    net = configs.network(configs.update(configs.default(), fields))
    assert ways.alike(net, zoo.architecture('alexnet_32 resized(8=43)')) and 'architecture_json' in fields
    with pytest.raises(ArchitectureError, match='lenet5 ends in radial_basis units, which cannot be given 43 classes'):
        ways.for_classes(origin('lenet5', **{'loss.name': 'radial_basis'}), 43)
    with pytest.raises(ArchitectureError, match='perceptron has one layer'):
        ways.for_classes(origin('perceptron'), 43)


def test_what_learns_and_how_fast():
    net = zoo.architecture('alexnet_32 without(3,4)')
    told = {way: tuple(ways.learning(way, net, 6, 0.1).values()) for way in ways.WAYS}
    assert told == {
        'frozen': ('8', ''),
        'whole': ('', '1=0.1,2=0.1,5=0.1,6=0.1,7=0.1'),
        'upper': ('6,7,8', '6=0.1,7=0.1'),
        'scratch': ('', ''),
    }
    with pytest.raises(ConfigError, match='choose one of 2, 5, 6, 7'):
        ways.learning('upper', net, 4, 0.1)


def test_networks_of_several_seeds_must_be_of_one_kind():
    one, wide, large = origin('mlp_300_100'), origin('mlp_300_100 resized(2=50)'), origin('mlp_300_100', **{'data.resize': 40})
    assert ways.resize([one, one], (28, 28, 1)) == 0 and ways.resize([one], (32, 32, 3)) == ways.resize([one], None) == 28
    with pytest.raises(ConfigError, match='the same layers'):
        ways.resize([one, wide], (28, 28, 1))
    with pytest.raises(ConfigError, match='images of 0 and of 40 px'):
        ways.resize([one, large], (28, 28, 1))


@pytest.mark.parametrize('scale', recipes.scales(recipes.shipped()['configs/finetune.py']))
def test_every_scale_says_all_that_tells_its_network_from_its_fine_tuning(scale):
    recipe = recipes.load(f'configs/finetune.py:{scale}')
    tuned = configs.update(configs.default(), recipe.config)
    source = configs.flat(configs.check(configs.update(tuned, recipe.rows['source'])))
    # What the row does not name it has from the fine-tuning: only what both share may be so.
    plain, row = configs.flat(configs.default()), recipe.rows['source']
    inherited = {name for name, value in recipe.config.items() if name not in row and value != plain[name]}
    assert {name for name in inherited if not name.endswith('.steps')} <= {'architecture', 'checkpoint.keep'}
    assert source['data.name'] != recipe.config['data.name'] and source['schedule.epochs'] and not source['schedule.steps']
    assert not source['evaluate.every.steps'] and source['data.per_class'] == 0
