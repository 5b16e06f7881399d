"""The Siamese end: which pairs it learns from, what it says of them, and that `fit` trains it and nothing else."""

import numpy as np
import pytest
import small_runs

from cnn_research import checkpoints, train
from cnn_research.studies.verification import siamese

LAYERS = ('layer2', 'layer3')
LABELS = np.repeat(np.arange(6), 4)


def test_a_step_alone_decides_its_pairs_half_of_them_of_one_person():
    feed, again = (siamese.PairFeed(np.zeros((24, 3)), LABELS, 3, 9) for _ in range(2))
    again.batch(0)
    one, other = feed.batch(7), again.batch(7)
    assert all((one[name] == other[name]).all() for name in one) and (one['index'] != feed.batch(8)['index']).any()
    first, second = one['index'].T
    assert (LABELS[first] == LABELS[second]).tolist() == one['same'].tolist() and (first != second).all() and one['same'].sum() == 4
    with pytest.raises(ValueError, match='two people'):
        siamese.PairFeed(np.zeros((4, 3)), np.arange(4), 0, 2)


def test_what_is_said_of_a_pair_is_weighed_differences_and_symmetric():
    random = np.random.default_rng(0)
    params = {
        'layer2': {'dense': {'kernel': random.normal(size=(3, 5)), 'bias': random.normal(size=5)}},
        'layer3': {'dense': {'kernel': random.normal(size=(5, 1)), 'bias': np.array([0.3])}},
    }
    first, second = random.normal(size=(2, 4, 3))
    found = siamese.logits(params, LAYERS, first, second)
    for row in range(4):
        top = [np.maximum(one[row] @ params['layer2']['dense']['kernel'] + params['layer2']['dense']['bias'], 0) for one in (first, second)]
        wanted = sum(params['layer3']['dense']['kernel'][:, 0] * np.abs(top[0] - top[1])) + 0.3
        assert float(found[row]) == pytest.approx(wanted, abs=1e-5)
    assert np.asarray(siamese.logits(params, LAYERS, second, first)) == pytest.approx(np.asarray(found))


def test_fit_trains_the_two_top_layers_to_tell_people_apart(tmp_path):
    random = np.random.default_rng(0)
    people = random.normal(size=(6, 3))
    noise = 3 * random.normal(size=(24, 3))
    features = np.concatenate([people[LABELS], noise], axis=1).astype(np.float32)  # three features tell, three are noise
    start = {'kernel': 0.3 * random.normal(size=(6, 16)).astype(np.float32), 'bias': np.full(16, 0.5, np.float32)}
    config = small_runs.config(
        architecture='mlp_300_100 resized(1=4,2=16,3=1)',
        **{'loss__name': 'softmax', 'optimizer__learning_rate': 0.02, 'optimizer__momentum': 0.9, 'schedule__steps': 150},
        **{'checkpoint__every__steps': 150, 'log__every__steps': 50},
    )
    told = {'train': siamese.fingerprint('a network', np.arange(24))}
    task = siamese.task(config, features, LABELS, start, LAYERS, 'a network', told)
    run = train.fit(config, tmp_path, task, small_runs.ONE)
    losses = [line['loss'] for line in run.history if line['role'] == 'train']
    assert losses[-1] < 0.6 * losses[0]
    arrays = checkpoints.read(tmp_path, 150)
    assert {name.split('/')[2] for name in arrays if name.startswith('state/params/')} == set(LAYERS)
    params = {one: {'dense': {kind: arrays[f'state/params/{one}/dense/{kind}'] for kind in ('kernel', 'bias')}} for one in LAYERS}
    first, second = np.triu_indices(24, 1)
    said = np.asarray(siamese.logits(params, LAYERS, features[first], features[second]))
    same = LABELS[first] == LABELS[second]
    assert said[same].mean() > said[~same].mean() + 1
    assert (params['layer2']['dense']['kernel'] != start['kernel']).any()
