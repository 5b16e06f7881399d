"""A few images of each class, and a training that begins where another ended."""

import jax
import numpy as np
import pytest
from small_runs import ONE, config, fit, folder

from cnn_research import checkpoints, evaluate, tasks, train
from cnn_research.data import stream
from cnn_research.data.sources import open_source
from cnn_research.errors import ConfigError

# All digits, of which a tenth are held out.
DIGITS = {'data__examples': 0, 'data__holdout': 0.1}


def drawn(count, seed=0, **changes):
    """(places in the whole split, labels) of the images that a training sees."""
    train = tasks.sources(config(**DIGITS, data__per_class=count, seed=seed, **changes))['train']
    return train.read.indices, train.labels()


@pytest.mark.parametrize('count', [1, 5, 40])
def test_every_class_has_as_many_and_none_is_held_out(count):
    places, labels = drawn(count)
    whole = open_source('digits', 'train')
    assert np.bincount(labels).tolist() == [count] * 10 and len(set(places)) == 10 * count
    assert not stream.holdout_mask(whole.fingerprint, whole.num_examples, 0.1)[places].any()
    np.testing.assert_array_equal(whole.labels()[places], labels)


def test_a_smaller_draw_is_the_beginning_of_a_larger_one_and_another_seeds_is_another():
    few, many, other = (drawn(count, seed)[0] for count, seed in ((3, 0), (40, 0), (40, 1)))
    np.testing.assert_array_equal(many[: len(few)], few)
    assert 0 < len(set(many) & set(other)) < 0.4 * len(many)


def test_more_than_there_are_is_refused_with_the_most_that_fits(tmp_path):
    with pytest.raises(ConfigError, match=r'data.per_class=1000, but digits \(train\) has (\d+) of the class \d .* fits is \1') as told:
        tasks.sources(config(**DIGITS, data__per_class=1000))
    most = int(str(told.value).rstrip('.').rpartition(' ')[2])
    assert tasks.sources(config(**DIGITS, data__per_class=most))['train'].num_examples == 10 * most
    with pytest.raises(ConfigError, match=f'fits is {most}'):
        tasks.sources(config(**DIGITS, data__per_class=most + 1))
    images = {'data__name': folder(tmp_path), 'data__examples': 0, 'data__test_examples': 0, 'data__holdout': 0.0, 'data__resize': 28}
    assert tasks.sources(config(architecture='perceptron resized(1=2)', data__per_class=8, **images))['train'].num_examples == 16
    with pytest.raises(ConfigError, match='has 8 of the class a beside the holdout; the most that fits is 8'):
        tasks.sources(config(architecture='perceptron resized(1=2)', data__per_class=9, **images))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A finished training of a network with layers below its last one, of images that are not those that come later."""
    home = tmp_path_factory.mktemp('whole')
    fit(home, config(architecture='mlp_300_100', data__normalization='mean_image', schedule__steps=3))
    return checkpoints.load(home)


def test_a_training_that_begins_with_a_network_sees_as_the_network_did(whole, tmp_path):
    layers = {name: whole.variables['params'][name] for name in ('layer1', 'layer2')}
    frozen = config(architecture='mlp_300_100', data__examples=40, seed=1, schedule__steps=3, optimizer__trainable='3')
    own, bare = whole.variables['preprocessing'], {name: whole.variables['preprocessing'][name] for name in ('mean', 'scale')}
    for name, given in (('whole', own), ('as published', bare)):
        start = tasks.Start(name, lambda: layers, preprocessing=lambda given=given: given)
        task = tasks.classification(frozen, devices=ONE, start=start)
        train.fit(frozen, tmp_path / name, task, ONE)
        found = checkpoints.load(tmp_path / name)
        assert set(found.variables['preprocessing']) == {'mean', 'scale', 'colour'}
        images, _ = open_source('digits', 'test').read(np.arange(20))
        for tap in ('layer1', 'layer2'):
            np.testing.assert_array_equal(found.features(images, (tap,))[tap], whole.features(images, (tap,))[tap])
        # What `fit` has measured is what the loaded network does.
        told = evaluate.evaluate(tasks.network(found.config), found.variables, tasks.sources(frozen)['test'], loss='squared_error')
        assert told.loss == pytest.approx(train.fit(frozen, tmp_path / name, task, ONE).result['test']['loss'], rel=1e-6)
    plain = tasks.classification(frozen, devices=ONE, start=tasks.Start('plain', lambda: layers))
    assert not jax.tree.all(jax.tree.map(np.array_equal, plain.constants['preprocessing']['mean'], own['mean']))
