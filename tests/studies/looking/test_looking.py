"""The commands that look into a network, small: what they draw is what the library finds, and what is not there is refused."""

import csv
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_research import checkpoints, files, rehearsal, tasks, train
from cnn_research import config as configs
from cnn_research.data import clutter
from cnn_research.data.sources import open_source
from cnn_research.errors import ArchitectureError, CheckpointError, ConfigError, ResearchError
from cnn_research.features import untrained
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.looking import evolution as growth
from cnn_research.studies.looking.figures import settling
from experiments import correspondence, evolution, features, invariance, occlusion, stages
from experiments.launch import command, pages

SETTINGS = {
    'architecture': 'zfnet_32 resized(1=4,2=4,3=6,4=6,5=4,6=8,7=8)',
    'initialization.kernel': 'he',
    'data.name': 'clutter',
    'data.examples': 200,
    'data.test_examples': 40,
    'data.batch_size': 20,
    'data.normalization': 'mean_std',
    'schedule.epochs': 3,
    'optimizer.learning_rate': 0.01,
    'checkpoint.marks': '1,2',
    'checkpoint.keep': 1,
}


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp('network')
    train.fit(configs.update(configs.default(), SETTINGS), folder)
    return folder


@pytest.fixture(scope='module')
def twin(network, tmp_path_factory):
    """The same network in another place."""
    return shutil.copytree(network, tmp_path_factory.mktemp('twin') / 'network')


def looked_into(module, network, folder, *more):
    name, arguments = module.__name__.split('.')[1], [f'--config.network={network}', f'--workdir={folder}', *more]
    given = command.parse(name, 'configs/looking.py:smoke', arguments, module.FIELDS)
    module.main(given)
    assert pages.report([folder]) == (folder / 'report.html').read_text()  # rendered again without the network
    return dict(np.load(folder / 'arrays.npz'))


@pytest.mark.slow
def test_occlusion_draws_what_the_network_says_under_the_square(network, tmp_path):
    more = ('--config.look.images=2,5', '--config.occlusion.size=8', '--config.occlusion.stride=8', '--config.occlusion.many=4')
    arrays = looked_into(occlusion, network, tmp_path, *more)
    trained = checkpoints.load(network)
    source = tasks.sources(trained.config)['test']
    images, labels = source.read([5])
    covered, row, column = images[0].astype(np.float32), int(arrays['rows'][1]), int(arrays['columns'][2])
    covered[max(0, row - 4) : row + 4, max(0, column - 4) : column + 4] = 127.5
    seen = (covered - trained.variables['preprocessing']['mean']) * trained.variables['preprocessing']['scale']
    logits, _ = tasks.network(trained.config).apply({'params': trained.variables['params']}, seen[None])
    expected = np.exp(logits[0] - logits.max()) / np.exp(logits[0] - logits.max()).sum()
    assert arrays['probability'].shape == (2, 4, 4)
    assert arrays['probability'][1, 1, 2] == pytest.approx(expected[labels[0]], rel=1e-4)
    assert arrays['projections'].shape == (2, 4, 32, 32, 3) and np.abs(arrays['projections']).max((2, 3, 4)).all()
    assert arrays['box share'].shape == (4,) and arrays['images'].tolist() == [2, 5]
    assert {path.name for path in (tmp_path / 'figures').iterdir()} >= {'occlusion.png', 'occlusion.pdf'}
    assert 'inside the box' in (tmp_path / 'report.html').read_text()


def test_invariance_is_none_at_the_original(network, tmp_path):
    arrays = looked_into(invariance, network, tmp_path, '--config.look.images=0,1', '--config.invariance.steps=5')
    assert arrays['translation layer1 distance'].shape == (2, 5) and arrays['translation values'][2] == 0
    np.testing.assert_allclose(arrays['translation layer7 distance'][:, 2], 0, atol=1e-5)
    assert (arrays['translation layer1 distance'][:, [0, 4]] > 0).all()
    np.testing.assert_allclose(arrays['scale layer1 distance'][:, arrays['scale values'] == 1], 0, atol=1e-5)
    assert arrays['scale values'].shape == (6,) and arrays['rotation values'].shape == (5,)
    np.testing.assert_allclose(arrays['rotation probability'][:, 0], arrays['translation probability'][:, 2], rtol=1e-5)


def folder(root, names):
    """A folder of the first composites of clutter's test, each in the class folder of its name in `names`, {label: name}."""
    images, labels = open_source('clutter', 'test').read(np.arange(12))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        home = root / 'test' / names[label]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(home / f'{number:02d}.png')
    source = open_source(f'folder:{root}', 'test')
    return source, np.stack(source.read(np.arange(3))[0])


@pytest.mark.parametrize('names', [{n: str(n) for n in range(10)}, {n: f'class {n}' for n in range(10)}], ids=['known', 'unknown'])
def test_the_true_class_is_found_by_name_or_the_networks_own_word_is_followed(network, tmp_path, names):
    source, images = folder(tmp_path / 'pictures', names)
    more = (f'--config.look.data={source.name}', '--config.look.images=0,1,2', '--config.invariance.steps=3')
    arrays = looked_into(invariance, network, tmp_path / 'run', *more, '--config.invariance.taps=layer1')
    told, report = checkpoints.load(network).predict(images), (tmp_path / 'run' / 'report.html').read_text()
    true = [int(source.class_names[label][-1]) for label in source.labels()[:3]]
    known = names[0] == '0'
    expected = told[np.arange(3), true] if known else told.max(axis=1)
    np.testing.assert_allclose(arrays['rotation probability'][:, 0], expected, rtol=1e-4)
    assert ('class that the network named at first' in report) != known


def test_stages_show_a_layer_in_its_order(network, tmp_path):
    arrays = looked_into(stages, network, tmp_path, '--config.stages.layers=2', '--config.stages.maps=3')
    assert [name for name in arrays if name.startswith('layer2 stages')] == [
        f'layer2 stages {name}' for name in ('convolution', 'relu', 'max_pool', 'response')
    ]
    np.testing.assert_array_equal(arrays['layer2 stages relu'], np.maximum(arrays['layer2 stages convolution'], 0))


def test_features_are_the_strongest_of_the_whole_split(network, tmp_path):
    more = ('--config.features.taps=layer2.relu', '--config.features.units=2', '--config.features.images=4', '--config.look.split=test')
    arrays = looked_into(features, network, tmp_path, *more)
    trained = checkpoints.load(network)
    source = tasks.sources(configs.update(trained.config, {'data.test_examples': 0}))['test']
    chosen = np.unique(arrays['layer2.relu examples'])
    images, _ = source.read(chosen)
    seen = (np.stack(images) - trained.variables['preprocessing']['mean']) * trained.variables['preprocessing']['scale']
    _, kept = tasks.network(trained.config).apply({'params': trained.variables['params']}, seen.astype(np.float32), taps=('layer2.relu',))
    peaks = np.asarray(kept['layer2.relu']).max((1, 2))
    for unit, (values, examples) in enumerate(zip(arrays['layer2.relu values'], arrays['layer2.relu examples'], strict=True)):
        np.testing.assert_allclose(values, peaks[np.searchsorted(chosen, examples), unit], rtol=1e-4)
        assert (np.diff(values) <= 0).all() and len(set(examples)) == 4
    assert (tmp_path / 'figures' / 'layer2_relu.png').is_file() and (tmp_path / 'figures' / 'filters_each.png').is_file()


@pytest.mark.slow
def test_evolution_is_drawn_from_checkpoints_and_ends_at_itself(network, tmp_path):
    arrays = looked_into(evolution, network, tmp_path, '--config.evolution.units=2', '--config.evolution.examples=30')
    assert checkpoints.steps(network) == [10, 20, 30]
    np.testing.assert_allclose(arrays['epochs'], [1, 2, 3], atol=0.15)  # the holdout is no part of an epoch
    drift = arrays['layer1.relu drift']
    assert drift.shape == (1, 4) and drift[0, 3] == 0 and (drift[0, :3] > 0).all()
    drawn = arrays['layer2.relu examples']
    assert drawn.shape == (2, 3) and set(drawn.ravel()) <= set(np.linspace(0, 4999, 30).astype(int))  # numbers of the split
    assert 'no verdict' in (tmp_path / 'report.html').read_text()


@pytest.mark.slow
def test_epoch_0_is_the_network_before_its_training_as_fit_begins_it(tmp_path):
    started = configs.update(configs.default(), {**SETTINGS, 'schedule.epochs': 0.1, 'optimizer.learning_rate': 1e-30})
    train.fit(started, tmp_path / 'before')
    params = checkpoints.load(tmp_path / 'before').variables['params']
    again = untrained(tasks.network(started), started.seed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params, jax.device_get(again))


def test_evolution_takes_the_marked_checkpoints_and_the_last(network, monkeypatch):
    monkeypatch.setattr(checkpoints, 'steps', lambda workdir: [10, 15, 20, 28, 30])
    assert growth.compared(str(network)) == [10, 20, 30]  # 28 is one that checkpoint.keep has left


@pytest.mark.parametrize(
    'drift, epoch',
    [
        ([4, 1, 0], None),
        ([4, 3, 1, 0], 1.5),
        ([4, 1, 3, 0], 2 + 1 / 3),
        ([0, 0, 0], None),
        ([4, 2, 0], None),
        ([4, np.nan, 0], np.nan),
        ([4, 4, 4, 0], 2.5),
    ],
)
def test_a_layer_has_settled_where_it_stays_below_half_of_its_way(drift, epoch):
    assert growth.settled(np.arange(len(drift), dtype=float), np.array(drift, float)) == pytest.approx(epoch, nan_ok=True)


def test_what_settled_before_the_first_checkpoint_has_no_epoch_and_an_order_only_where_it_is_known(tmp_path):
    """The straight line from the untrained network said 0.3 and 0.8 of an epoch, and the claim believed it."""

    def verdict(name, settled):
        shelf = Shelf(tmp_path / name, 'evolution', ())
        settling.tables_of(shelf, settled, 1.0, False)
        with open(tmp_path / name / 'claims.csv') as file:
            (line,) = csv.DictReader(file)
        return line['verdict'], (tmp_path / name / 'drift.md').read_text()

    found, table = verdict('open', {'layer1.relu': [None, None, None], 'layer5.relu': [None, None, 4.0]})
    assert found == 'undecided' and '| before epoch 1 |' in table and 'before epoch 1 (2 of 3), 4.0' in table
    found, table = verdict('known', {'layer1.relu': [None, None, None], 'layer5.relu': [3.0, 4.0, 3.5]})
    assert found == 'reproduced' and '3.5 ± 0.5 (3)' in table
    assert verdict('turned', {'layer1.relu': [3.0, 4.0, 3.5], 'layer5.relu': [None, None, None]})[0] == 'contradicted'
    settling.tables_of(Shelf(tmp_path / 'one', 'evolution', ()), {'layer1.relu': [None]}, 1.0, False)
    assert not (tmp_path / 'one' / 'claims.csv').exists()
    assert verdict('unknown', {'layer1.relu': [3.0, np.nan, 3.5], 'layer5.relu': [None, None, None]})[0] == 'no verdict'


def test_correspondence_reads_clutters_boxes(network, twin, tmp_path):
    arrays = looked_into(correspondence, f'{network},{twin}', tmp_path, '--config.correspondence.many=2')
    assert {'upper left layer5', 'lower right layer7', 'random layer5'} <= set(arrays)
    assert arrays['random layer5'].shape == (2, 20) and ((arrays['random layer7'] >= 0) & (arrays['random layer7'] <= 1)).all()
    np.testing.assert_array_equal(*arrays['upper left layer5'])  # the same network twice
    trained = checkpoints.load(network)
    images = np.flatnonzero(clutter.digits('test')[1] == 3)[:2]
    raw, _, whole = clutter.examples('test', images)
    seen = (raw - trained.variables['preprocessing']['mean']) * trained.variables['preprocessing']['scale']
    covered = seen.copy()
    for image, (top, left, height, width) in zip(covered, whole, strict=True):
        grey = (127.5 - trained.variables['preprocessing']['mean']) * trained.variables['preprocessing']['scale']
        image[top + height // 2 : top + 2 * (height // 2), left : left + width // 2] = grey
    net = tasks.network(trained.config)
    clean, hidden = (net.apply({'params': trained.variables['params']}, a, taps=('layer5',))[1]['layer5'] for a in (seen, covered))
    moved = np.asarray(clean - hidden).reshape(2, -1)
    signs = np.sign(np.where(np.abs(moved) < 1e-6, 0, moved))
    assert arrays['lower left layer5'][0, 6:8] == pytest.approx(np.mean(signs[0] != signs[1]), abs=0.01)


BOXES = 'image,part,top,left,height,width\n0,eye,4,4,5,5\n2,eye,6,4,5,5\n0,object,2,2,20,20\n'


def test_correspondence_reads_boxes_of_the_user(network, tmp_path):
    (tmp_path / 'boxes.csv').write_text(BOXES)
    more = (f'--config.correspondence.boxes={tmp_path / "boxes.csv"}', '--config.correspondence.taps=layer2')
    arrays = looked_into(correspondence, network, tmp_path / 'run', *more)
    assert arrays['eye layer2'].shape == arrays['random layer2'].shape == (1, 2)
    assert 'Compared' in (tmp_path / 'run' / 'README.md').read_text()


def test_what_was_drawn_is_kept_for_results(network, tmp_path):
    looked_into(stages, network, tmp_path / 'run', '--config.stages.layers=1', '--config.stages.maps=2')
    pages.results(tmp_path / 'run', tmp_path / 'results')
    text = (tmp_path / 'results' / 'README.md').read_text()
    assert '--config.network=WORKDIR`' in text and str(tmp_path) not in text
    assert 'after epoch 3' in text and 'numpy' in text and 'test error' in text
    named = set(re.findall(r'\((figures/[^)]*)\)', text))
    assert named == {f'figures/{path.name}' for path in (tmp_path / 'results' / 'figures').iterdir()} and named
    with pytest.raises(ResearchError, match='no table'):
        pages.results(tmp_path, tmp_path / 'more')


@pytest.mark.slow
def test_published_weights_of_their_size_go_through_every_command(tmp_path):
    files = pytest.importorskip('published_files')
    files.write(tmp_path / 'alexnet.npz', files.twin('alexnet_owt'))
    random = np.random.default_rng(0)
    for number in range(12):
        folder = tmp_path / 'pictures' / 'test' / f'kind {number % 2}'
        folder.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        small.resize((300 + number, 260), Image.BILINEAR).save(folder / f'{number}.png')
    (tmp_path / 'boxes.csv').write_text(BOXES)
    data = f'--config.look.data=folder:{tmp_path / "pictures"}'
    network = tmp_path / 'alexnet.npz'
    arrays = looked_into(
        features, network, tmp_path / 'f', data, '--config.features.taps=layer1.relu,layer5.relu,layer7.relu', '--config.features.units=3'
    )
    assert arrays['layer5.relu projections'].shape[:2] == (3, 9) and arrays['layer7.relu examples'].shape == (4096, 9)
    square = ('--config.occlusion.size=60', '--config.occlusion.stride=60', '--config.look.images=0,1')
    assert looked_into(occlusion, network, tmp_path / 'o', data, *square)['probability'].shape == (2, 4, 4)
    assert 'p(class named at first)' in (tmp_path / 'o' / 'README.md').read_text()
    looked_into(invariance, network, tmp_path / 'i', data, '--config.invariance.steps=3', '--config.look.images=0,1')
    looked_into(stages, network, tmp_path / 's', data, '--config.stages.layers=1')
    looked_into(correspondence, network, tmp_path / 'c', data, f'--config.correspondence.boxes={tmp_path / "boxes.csv"}')
    with pytest.raises(ConfigError, match='checkpoints'):
        looked_into(evolution, network, tmp_path / 'e', data)
    with pytest.raises(ConfigError, match='look.data'):
        looked_into(stages, network, tmp_path / 'n')


@pytest.mark.slow
def test_weights_at_hand_are_looked_into_on_photographs(data_dir, tmp_path):
    weights, name = data_dir / 'weights' / 'squeezenet_deep_compression.npz', 'imagenette_subset/160px-v2'
    if not weights.is_file() or not (data_dir / name).is_dir():
        pytest.skip(f'{data_dir} has no SqueezeNet or no {name}')
    data = (f'--config.look.data={name}', '--config.look.split=validation', f'--config.data.dir={data_dir}', '--config.look.images=3')
    arrays = looked_into(occlusion, weights, tmp_path, *data, '--config.occlusion.size=60', '--config.occlusion.stride=60')
    assert arrays['probability'].shape == (1, 4, 4) and 'p(true class)' in (tmp_path / 'README.md').read_text()


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_step_is_another_network(network, tmp_path):
    early, late = (looked_into(invariance, network, tmp_path / str(step), f'--config.look.step={step}') for step in (10, 30))
    assert not np.allclose(early['scale probability'], late['scale probability'])


@pytest.mark.parametrize(
    'module, argument, message, error',
    [
        (occlusion, '--config.look.images=99999', 'look.images', ConfigError),
        (occlusion, '--config.occlusion.tap=layer9', 'layer9', ArchitectureError),
        (invariance, '--config.invariance.taps=layer0', 'layer0', ArchitectureError),
        (stages, '--config.stages.layers=11', 'stages.layers', ConfigError),
        (stages, '--config.look.images=0,1', 'follows one image', ConfigError),
        (stages, '--config.stages.layers=6', 'has maps in the layers 1, 2, 3, 4, 5', ConfigError),
        (evolution, '--config.look.step=10', 'leave look.step out', ConfigError),
        (features, '--config.look.step=7', 'cannot be read', CheckpointError),
        (occlusion, '--config.look.images=3,3', 'look.images', ConfigError),
        (occlusion, '--config.occlusion.size=33', 'size of the square is 33 px, not from 1 to 32', ConfigError),
        (occlusion, '--config.occlusion.stride=33', 'stride of the square', ConfigError),
        (occlusion, '--config.look.mean=nowhere.npy', "look.mean='nowhere.npy' goes with a file of published weights", ConfigError),
        (invariance, '--config.invariance.taps=layer1,layer1', 'layer1 twice', ConfigError),
        (invariance, '--config.invariance.taps=,', 'names no tap', ConfigError),
        (features, '--config.features.taps=layer1.relu, layer1.relu', 'layer1.relu twice', ConfigError),
        (correspondence, '--config.correspondence.taps=layer5,layer5', 'layer5 twice', ConfigError),
    ],
)
def test_what_is_not_there_is_refused(network, tmp_path, module, argument, message, error):
    with pytest.raises(error, match=message):
        looked_into(module, network, tmp_path / 'none', argument)
    assert not (tmp_path / 'none').exists()


UNTRAINED = [
    (occlusion, '--config.occlusion.size=999'),
    (occlusion, '--config.look.images=99999'),
    (occlusion, '--config.occlusion.tap=layer77'),
    (correspondence, '--config.correspondence.boxes=/nonexistent'),
    (features, '--config.look.split=nix'),
    (invariance, '--config.invariance.taps=,'),
    (evolution, '--config.look.step=10'),
    (stages, '--config=configs/mlp.py:smoke'),
]


@pytest.mark.parametrize(('module', 'argument'), UNTRAINED)
def test_a_dry_run_without_a_network_refuses_what_the_run_would(tmp_path, module, argument):
    name, chosen = module.__name__.split('.')[1], () if argument.startswith('--config=') else ('--config=configs/looking.py:smoke',)
    given = command.parse(name, '', [*chosen, argument, '--dry_run', f'--workdir={tmp_path}/none'], module.FIELDS)
    with pytest.raises(ResearchError):
        module.main(given)
    assert not (tmp_path / 'none').exists()


def test_a_dry_run_without_a_network_says_how_it_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rehearsal, 'rehearsed', lambda *_: rehearsal.Rehearsal(0.001, 1e6, 1e12))
    line = ['--dry_run', f'--workdir={tmp_path}/none', '--config=configs/looking.py:smoke']
    stages.main(command.parse('stages', '', line, stages.FIELDS))
    assert capsys.readouterr().out.startswith('architecture') and not (tmp_path / 'none').exists()


@pytest.mark.parametrize('name', ['figures', 'report.html', 'arrays.npz', 'README.md', 'stages.csv'])
def test_a_place_that_is_taken_is_found_before_anything_is_drawn(network, tmp_path, monkeypatch, name):
    place = tmp_path / 'run' / name
    place.mkdir(parents=True) if '.' in name else files.write(place, 'a file')
    monkeypatch.setattr(stages, 'draw', lambda *_: pytest.fail('it drew'))
    with pytest.raises(ResearchError, match=f'{place} cannot be written'):
        looked_into(stages, network, tmp_path / 'run')


@pytest.mark.parametrize('place', [0, 1])
def test_a_damaged_checkpoint_of_any_network_is_found_before_anything_is_drawn(network, tmp_path, monkeypatch, place):
    other = shutil.copytree(network, tmp_path / 'other')
    arrays = sorted(other.glob('checkpoints/*/arrays.npz'))[place]
    content = bytearray(arrays.read_bytes())
    content[len(content) // 2] ^= 1
    arrays.write_bytes(content)
    monkeypatch.setattr(evolution, 'draw', lambda *_: pytest.fail('it drew'))
    for dry in ((), ('--dry_run',)):
        with pytest.raises(CheckpointError, match=f'{arrays.parent} cannot be read'):
            looked_into(evolution, f'{network},{other}', tmp_path / 'run', *dry)


@pytest.mark.slow
def test_several_networks_are_for_commands_that_compare_them(network, twin, tmp_path):
    with pytest.raises(ConfigError, match='names 2 networks; stages looks into one'):
        looked_into(stages, f'{network},{twin}', tmp_path)
    with pytest.raises(ConfigError, match='seed 0; they are one network twice'):
        looked_into(evolution, f'{network},{twin}', tmp_path)
    other = tmp_path / 'other'
    train.fit(configs.update(configs.default(), {**SETTINGS, 'seed': 1}), other)
    arrays = looked_into(evolution, f'{network},{other}', tmp_path / 'two', '--config.evolution.units=1', '--config.evolution.examples=10')
    assert arrays['layer1.relu drift'].shape == (2, 4)


def test_what_cannot_be_looked_at_is_refused_before_a_network_is_trained(tmp_path):
    arguments = [
        f'--workdir={tmp_path / "none"}',
        '--config.architecture=lenet5',
        '--config.data.name=digits',
        '--config.loss.name=radial_basis',
    ]
    given = command.parse('features', 'configs/looking.py:smoke', arguments, features.FIELDS)
    with pytest.raises(ArchitectureError, match='deconvnet'):
        features.main(given)
    assert not (tmp_path / 'none').exists()


@pytest.mark.slow
def test_without_a_network_one_is_trained_first_and_only_once(tmp_path):
    small = [f'--config.{name}={value}' for name, value in SETTINGS.items()]
    arguments = [*small, f'--workdir={tmp_path}', '--config.stages.layers=1']
    written = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, 'stopper', lambda: lambda: False)
        for _ in range(2):
            stages.main(command.parse('stages', 'configs/looking.py:smoke', arguments, stages.FIELDS))
            written.append((tmp_path / 'network' / 'result.json').stat().st_mtime_ns)
    assert written[0] == written[1]
