"""Hand-made against learned features as a user runs them, small: what each way begins with, what moves, whose words they are, refusals."""

import jax
import numpy as np
import pytest
from small_runs import folder

from cnn_research import checkpoints, features, parallel, tasks, trials
from cnn_research import config as configs
from cnn_research.errors import ResearchError
from cnn_research.models import handmade as made
from cnn_research.models import zoo
from cnn_research.studies.handmade import ways
from experiments import handmade
from experiments.launch import command

SMALL = ('--config=configs/handmade.py:smoke', '--config.trials.grid=', '--config.trials.select=', '--config.handmade.sizes=2')
WORDS = 'spm_32 resized(3=20)'


def small(place, *more):
    return command.parse('handmade', '', [*SMALL, f'--workdir={place}', *more], handmade.FIELDS)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(command, 'stopper', lambda: lambda: False)  # pytest keeps its own signals
    monkeypatch.setattr(parallel, 'local_devices', lambda count=None: jax.local_devices()[:1])


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    """A finished table of two networks in three ways."""
    place = tmp_path_factory.mktemp('handmade') / 'run'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, 'stopper', lambda: lambda: False)
        patch.setattr(parallel, 'local_devices', lambda count=None: jax.local_devices()[:1])
        handmade.main(small(place))
    return place


def same(one, other):
    return {name: bool(jax.tree.all(jax.tree.map(np.array_equal, dict(one[name]), dict(other[name])))) for name in one}


@pytest.mark.slow
@pytest.mark.parametrize('network', ['sift_32', WORDS])
def test_fixed_layers_stay_and_all_others_move(workdir, network):
    records = trials.records_of(workdir)[1]
    found = {record.row: checkpoints.load(record.workdir) for record in records if record.row.startswith(f'{network} ')}
    fixed, continued, learned = (found[f'{network} {way}, 2 a class'] for way in ways.WAYS)
    begun = ways.weights(fixed.config)
    assert set(begun) == {layer.name for layer in fixed.architecture.layers[:-1]}
    assert all(same(begun, fixed.variables['params']).values()) and not any(same(begun, continued.variables['params']).values())
    # Also a filter's bias and every word: each array of a layer has learned.
    drawn = features.untrained(tasks.network(learned.config), 0)
    for before, after in ((begun, continued.variables['params']), (drawn, learned.variables['params'])):
        moved = {name: jax.tree.map(lambda a, b: not np.array_equal(a, b), dict(before[name]), dict(after[name])) for name in before}
        assert jax.tree.all(moved), moved
    for other in (continued, learned):  # all ways see the same
        preprocessing = [dict(one.variables['preprocessing']) for one in (fixed, other)]
        assert all(jax.tree.leaves(jax.tree.map(np.array_equal, *preprocessing)))
    lines = {record.row: command.shlex.split(record.run['command'])[2] for record in records}
    assert lines[f'{network} learned, 2 a class'] == 'experiments.train' and lines[f'{network} fixed, 2 a class'].endswith('handmade')


@pytest.mark.slow
def test_asked_again_nothing_is_trained_and_the_filters_come_from_the_records(workdir, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in (workdir / 'trials').rglob('*') if path.is_file()}
    monkeypatch.setattr(ways, 'kernels', lambda *_: pytest.fail('kernels were read again'))
    handmade.main(small(workdir))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    kept = {record.row: trials.read(record.workdir, 'kernels') for record in trials.records_of(workdir)[1]}
    own = made.sift(zoo.architecture('sift_32'))['layer1']['convolution']['kernel']
    for row, found in kept.items():
        assert np.array_equal(np.float32(found['before']), own) != ('learned' in row)
        assert (found['before'] == found['after']) == ('fixed' in row)
    names = {path.name for place in (workdir, workdir / 'figures') for path in place.iterdir()}
    assert {'curve.csv', 'rows.md', 'claims.tex', 'curves.png', 'filters.pdf', 'directions.png'} <= names
    page = (workdir / 'report.html').read_text()
    assert '>Three ways<' in page and '>Filters before and after<' in page


# Whose words


def config(name, seed=0, **values):
    known = {'data.name': name, 'data.per_class': 2, 'data.resize': 32, 'data.holdout': 0.2, 'data.normalization': 'unit', 'seed': seed}
    text = f'{WORDS} resized(4=2)'
    return configs.check(configs.update(configs.default(), {**known, 'architecture': text, **values}))


def test_words_are_those_of_the_training_images_alone(tmp_path, monkeypatch):
    images, seen, collect = folder(tmp_path), [], features.collect
    monkeypatch.setattr(features, 'collect', lambda network, variables, source, *rest, **more: (
        seen.append(source), collect(network, variables, source, *rest, **more))[1])  # fmt: skip
    first = ways.weights(config(images))
    assert seen[0].fingerprint == tasks.sources(config(images))['train'].fingerprint and seen[0].num_examples == 4
    (image,) = seen[0].read([0])[0]
    next((tmp_path / 'test').rglob('*.png')).write_bytes(next((tmp_path / 'train').rglob('*.png')).read_bytes())
    assert all(same(first, ways.weights(config(images))).values())
    other = ways.weights(config(images, seed=1))
    assert same(first, other) == {'layer1': True, 'layer2': True, 'layer3': False}
    assert seen[2].fingerprint != seen[0].fingerprint
    in_grey_levels = ways.weights(config(images, **{'data.normalization': 'none'}))
    for name in ('kernel', 'bias'):  # the same words, whatever white is
        np.testing.assert_allclose(in_grey_levels['layer3']['convolution'][name], first['layer3']['convolution'][name], atol=1e-4)


def test_a_training_begins_there_and_its_key_says_so():
    plain = config('digits', architecture=WORDS, **{'data.test_examples': 20})
    start = ways.start(plain)
    assert start.name == 'hand-made weights, 20 words of its own training images' and start.load() is start.load()
    params = tasks.classification(plain, start=start, devices=jax.local_devices()[:1]).initialize(jax.random.key(0))
    drawn = tasks.fresh(tasks.network(plain), jax.random.key(0))
    assert same(start.load(), params) == {'layer1': True, 'layer2': True, 'layer3': True}
    assert same(drawn, params) == {'layer1': False, 'layer2': False, 'layer3': False, 'layer4': True}
    assert ways.start(config('digits', architecture='sift_32')).name == 'hand-made weights'


def test_what_learns_and_how_fast():
    net = zoo.architecture('spm_32')
    assert [tuple(ways.learning(way, net, 100).values()) for way in ways.WAYS] == [('4', '4=100'), ('', '4=100'), ('', '4=100')]
    assert ways.learning('fixed', zoo.architecture('sift_32'), 1.0) == {'optimizer.trainable': '3', 'optimizer.rates': ''}
    assert ways.for_classes('spm', 43) == 'spm resized(4=43)' and ways.for_classes(WORDS, 10) == WORDS
    assert ways.words(net) == 100 and ways.words(zoo.architecture('spm without(3)')) == 0


# What is refused

REFUSED = {
    ('--config.handmade.networks=sift_32,zfnet_32',): 'zfnet_32: layer 1 takes no hand-made weights',
    ('--config.handmade.networks=spm resized(2=16)',): 'layer 2 takes no hand-made weights',
    ('--config.handmade.networks=spm_33',): 'Did you mean spm_32?',
    ('--config.handmade.networks=sift_32,sift_32',): 'names sift_32 twice',
    ('--config.handmade.networks=',): 'handmade.networks is empty',
    ('--config.handmade.networks=,',): 'handmade has nothing to train',
    ('--config.handmade.sizes=1,1000',): 'the most that fits is',
    ('--config.handmade.sizes=',): 'handmade.sizes',
    (
        '--config.handmade.networks=spm_32 resized(3=2000)',
        '--config.handmade.sizes=1,10',
    ): 'holds 2000 words, and 1 images of each of 10 classes have 1,440 descriptors',
    ('--config.handmade.ways=fixed,frozen',): "'frozen'; choose from fixed, continued, learned",
    ('--config.data.normalization=mean_std',): 'hand-made weights are for unit or none',
    ('--config.architecture=spm_32',): 'name it in handmade.networks',
    ('--config.data.per_class=3',): 'data.per_class=3 does not go with handmade, whose rows say it',
    ('--config.optimizer.rates=1=0.5',): 'optimizer.rates',
    ('--config.trials.grid=data.normalization=unit,none', '--config.trials.select=holdout'): 'trials.grid names data.normalization',
    ('--config.trials.grid=optimizer.learning_rate=0.1,0.2',): "trials.select='holdout'",
}


@pytest.mark.parametrize('arguments', REFUSED)
def test_what_cannot_be_compared_is_refused_before_any_work(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, 'carry_out', lambda *_: pytest.fail('a trial was begun'))
    monkeypatch.setattr(ways, 'weights', lambda *_: pytest.fail('weights were computed'))
    with pytest.raises(ResearchError) as told:
        handmade.main(small(tmp_path / 'run', *arguments))
    assert REFUSED[arguments] in str(told.value) and '\n' not in str(told.value) and not (tmp_path / 'run').exists()


def test_both_ways_and_all_rates_begin_with_the_same_weights(tmp_path):
    grid = ('--config.trials.grid=optimizer.learning_rate=0.1,0.2', '--config.trials.select=holdout', '--config.trials.seeds=2')
    planned = handmade._planned(small(tmp_path, *grid))
    begins = {}
    for trial in planned:
        if trial.start:
            begins.setdefault((trial.config.architecture, trial.config.seed), set()).add(id(trial.start.load))
    assert [len(of) for of in begins.values()] == [1] * 4 and len(set.union(*begins.values())) == 4
    assert len({trial.key for trial in planned}) == len(planned) == 24 and all(
        (trial.start is None) == ('learned' in trial.row) for trial in planned
    )
