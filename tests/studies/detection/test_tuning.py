"""Batches of windows are a quarter positive and follow from seed and step alone; a training on them resumes and spreads over devices."""

import dataclasses

import jax
import numpy as np
import pytest
from fake_scenes import HOW, ONE, TEXT, boxes_in, in_memory, network, pictured
from small_runs import outcome

from cnn_research import checkpoints, train
from cnn_research import config as configs
from cnn_research.data.scene import Scene
from cnn_research.errors import ConfigError, SourceError, Stopped
from cnn_research.studies.detection import tuning, windows


def scenes(count=8, classes=('a', 'b')):
    """Bright and dark squares on noise, of two classes; every fourth image has none."""
    random = np.random.default_rng(5)
    made = []
    for number in range(count):
        image = random.integers(80, 170, (44, 52, 3)).astype(np.uint8)
        boxes, labels = np.zeros((0, 4)), np.zeros(0, np.int32)
        if number % 4:
            boxes, labels = boxes_in(random, 2, 44, 52), np.array([0, 1], np.int32)
            for label, box in enumerate(boxes.astype(int)):
                image[box[0] : box[2], box[1] : box[3]] = 255 * label
        made.append(Scene(f'image {number}', image, boxes, labels, np.zeros(len(labels), bool)))
    return in_memory(made, classes)


def proposals(some):
    """Some near the objects, some anywhere."""
    random = np.random.default_rng(6)
    near = [scene.boxes + random.uniform(-1, 1, scene.boxes.shape) for scene in pictured(some)]
    return [np.concatenate([boxes, boxes_in(random, 12, 44, 52)]) for boxes in near]


TRAINED = network()
FIELDS = {
    **tuning.recipe(TRAINED.architecture),
    'architecture': f'{TEXT} resized(8=3)',
    'data.batch_size': 16,
    'initialization.std': 0.3,  # so that a few steps move the layers below, too
    'optimizer.learning_rate': 0.2,
    'data.holdout': 0.3,
    'schedule.steps': 6,
    'checkpoint.every.steps': 3,
    'evaluate.every.steps': 3,
    'evaluate.batch_size': 20,
    'log.every.steps': 2,
}


def config(**changes):
    return configs.update(configs.default(), {**FIELDS, **{name.replace('__', '.'): value for name, value in changes.items()}})


def task(given=None, some=None, devices=ONE, **rest):
    some = some or scenes()
    return tuning.task(given or config(), TRAINED, some, proposals(some), HOW, devices, **rest)


def overlap(one, other):
    """IoU of two boxes, from areas of pixels of a hundredth."""
    grid = np.arange(-3, 60, 0.1) + 0.05
    inside = [np.outer((grid > box[0]) & (grid < box[2]), (grid > box[1]) & (grid < box[3])) for box in (one, other)]
    return (inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()


def test_windows_belong_to_the_box_that_they_overlap_most_by_half_and_all_others_are_background():
    some = scenes()
    rows = windows.rows_of(some, proposals(some))
    positive, background = tuning.pools(rows, some.truths(), [1, 2, 4], 2)
    assert {tuple(one[:2]) for one in np.concatenate([positive, background])} == {(i, r) for i in (1, 2, 4) for r in range(len(rows[i]))}
    assert len(np.concatenate([positive, background])) == sum(len(rows[image]) for image in (1, 2, 4))
    for image, row, label in np.concatenate([positive, background]):
        shares = [overlap(rows[image][row], box) for box in pictured(some)[image].boxes]
        best = int(np.argmax(shares)) if shares else 0
        if shares and abs(shares[best] - 0.5) < 0.02:
            continue  # too near for a count of pixels
        assert label == (pictured(some)[image].labels[best] if shares and shares[best] > 0.5 else 2)
    # True boxes are windows themselves, and an image without any has background only.
    truths = {(image, len(rows[image]) - 2 + number, number) for image in (1, 2) for number in (0, 1)}
    assert truths <= set(map(tuple, positive)) and not (positive[:, 0] == 4).any() and (background[:, 0] == 4).sum() == 12


@pytest.mark.parametrize('batch, count', [(128, 32), (16, 4), (10, 2), (4, 1)])
def test_a_batch_is_a_quarter_positive_and_follows_from_seed_and_step(batch, count):
    positive = np.stack([np.arange(7), np.arange(7), np.zeros(7)], axis=1).astype(np.int32)
    background = np.stack([np.arange(50), np.arange(50), np.full(50, 2)], axis=1).astype(np.int32)

    def drawn(seed, step):
        return tuning.drawn(seed, step, batch, positive, background)

    found = drawn(0, 5)
    assert found.shape == (batch, 3) and (found[:count, 2] != 2).all() and (found[count:, 2] == 2).all()
    np.testing.assert_array_equal(found, drawn(0, 5))
    others = [drawn(0, 6), drawn(1, 5)]
    assert batch < 10 or not any(np.array_equal(found, other) for other in others)


def test_every_window_is_drawn_as_often_as_any_other():
    positive = np.stack([np.arange(8)] * 3, axis=1).astype(np.int32)
    background = np.stack([np.arange(24)] * 3, axis=1).astype(np.int32)
    every = np.concatenate([tuning.drawn(3, step, 128, positive, background) for step in range(200)]).reshape(200, 128, 3)
    for part, pool, mean in ((every[:, :32], positive, 800), (every[:, 32:], background, 800)):
        counts = np.bincount(part[..., 0].ravel(), minlength=len(pool))
        assert abs(counts - mean).max() < 5 * mean**0.5


def test_the_feed_shows_the_windows_that_were_drawn_whatever_stays_in_memory():
    some = scenes()
    feeds = [task(config(data__resident_gb=gb), some) for gb in (4.0, 0.0, 1.5e-5)]  # all images, none, two of them
    rows, cut = windows.rows_of(some, proposals(some)), windows.cutter(TRAINED, HOW)
    held = tuning.stream.holdout_mask(some.fingerprint, 8, 0.3)
    chosen = tuning.drawn(0, 3, 16, *tuning.pools(rows, some.truths(), np.flatnonzero(~held), 2))
    assert held.any() and not held[chosen[:, 0]].any()
    expected = np.concatenate([cut(pictured(some)[image].image, rows[image][row][None]) for image, row, _ in chosen])
    for one in feeds:
        for _ in range(2):
            batch = one.feed.batch(3)
            np.testing.assert_array_equal(batch['views'], expected)
            np.testing.assert_array_equal(batch['labels'], chosen[:, 2])
            np.testing.assert_array_equal(batch['position'], np.arange(48, 64))


def run(workdir, devices=ONE, after=None, given=None):
    given = given or config()
    left = iter([False] * after + [True]) if after is not None else None
    stop = (lambda: next(left)) if left else (lambda: False)
    return train.fit(given, workdir, task(given, devices=devices), devices, stop=stop)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    home = tmp_path_factory.mktemp('whole')
    return home, run(home)


@pytest.mark.slow
def test_a_training_that_was_stopped_ends_bit_for_bit_the_same(whole, tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, after=4)
    run(tmp_path)
    assert outcome(tmp_path) == outcome(whole[0])
    result = whole[1].result
    assert result['step'] == 6 and set(result['holdout']) == {'error', 'positive_error', 'background_error', 'loss', 'windows'}
    positive, background = (round(result['holdout'][f'{name}_error'] * count) for name, count in zip(*quarters(result), strict=True))
    assert result['holdout']['error'] == pytest.approx((positive + background) / result['holdout']['windows'])


def quarters(result):
    some = scenes()
    held = tuning.stream.holdout_mask(some.fingerprint, 8, 0.3)
    chosen = tuning.measured(*tuning.pools(windows.rows_of(some, proposals(some)), some.truths(), np.flatnonzero(held), 2))
    assert len(chosen) == result['holdout']['windows'] and held[chosen[:, 0]].all()
    count = int((chosen[:, 2] != 2).sum())
    return ('positive', 'background'), (count, len(chosen) - count)


def test_two_devices_learn_what_one_does(whole, tmp_path):
    run(tmp_path, jax.local_devices()[:2])
    one, two = (checkpoints.read(home, 6) for home in (whole[0], tmp_path))
    moved = TRAINED.variables['params']['layer6']['dense']['kernel'] - one['state/params/layer6/dense/kernel']
    assert np.abs(moved).max() > 2e-3
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, atol=2e-5, err_msg=name)


def test_it_begins_with_the_trained_layers_and_is_a_network_with_background_as_its_last_class(whole):
    own = task(config(initialization__std=0.01)).initialize(jax.random.key(0))
    for layer in TRAINED.architecture.layers[:-1]:
        jax.tree.map(np.testing.assert_array_equal, own[layer.name], TRAINED.variables['params'][layer.name])
    assert own['layer8']['dense']['kernel'].shape == (8, 3) and 0.002 < own['layer8']['dense']['kernel'].std() < 0.03
    learned = checkpoints.load(whole[0])
    assert learned.class_names == ('a', 'b', 'background') and windows.window_size(learned) == (32, 32)
    np.testing.assert_array_equal(learned.variables['preprocessing']['mean'], TRAINED.variables['preprocessing']['mean'])
    assert whole[1].result['windows']['classes_without'] == []


def test_where_numbers_cease_to_be_finite_is_found():
    one = task()
    placed, batch, params = {'constants': one.constants}, one.feed.batch(0), jax.tree.map(np.asarray, one.initialize(jax.random.key(0)))
    kernel = params['layer2']['convolution']['kernel']
    params['layer2']['convolution']['kernel'] = np.full_like(kernel, 3e38)
    assert one.first_bad(params, placed, batch, jax.random.key(0)) == 'the output of layer2.convolution'
    params['layer2']['convolution']['kernel'] = kernel * np.nan
    assert one.first_bad(params, placed, batch, jax.random.key(0)) == 'the parameters of layer2'


def test_half_of_the_windows_are_mirrored():
    one = task()
    batch = one.feed.batch(0)
    key, placed = jax.random.key(1), {'constants': one.constants}
    shown = []

    def looked(flip):
        given = task(config(augment__flip=flip, optimizer__weight_decay=0.0))
        return given.loss(given.initialize(jax.random.key(0)), placed, batch, key)[0]

    plain, mirrored = (np.asarray(jax.jit(looked, static_argnums=0)(flip)) for flip in (False, True))
    shown = np.abs(plain - mirrored) > 1e-7
    assert 3 <= shown.sum() <= 13


def test_what_names_a_training_tells_all_that_its_windows_follow_from():
    def key(given=None, some=None, how=HOW, own=None, trained=TRAINED):
        some = some or scenes()
        one = tuning.task(given or config(), trained, some, own or proposals(some), how, ONE)
        return one.name, tuple(one.fingerprints.items())

    other = proposals(scenes())
    other[2][3] += 0.25
    found = [
        key(),
        key(own=other),
        key(how=HOW._replace(context=1)),
        key(trained=network(mean=(99.0,))),
        key(some=dataclasses.replace(scenes(), fingerprint='of others')),
        key(config(data__holdout=0.4)),
    ]
    assert key() == found[0] and len(set(found)) == len(found)


def test_classes_without_a_window_and_a_holdout_of_none_are_said():
    some, said = scenes(classes=('a', 'b', 'c')), []
    one = task(config(architecture=f'{TEXT} resized(8=4)', data__holdout=0.0), some, log=said.append)
    assert said == ['fake (train): no window to learn c from, beside data.holdout=0'] and one.about['windows']['classes_without'] == ['c']
    assert one.roles == ('train',)
    said.clear()
    one = task(config(data__holdout=1e-6), log=said.append)
    assert one.roles == ('train',) and said == ['fake (train): data.holdout=1e-06 holds out none of 8 images, so no error is measured']


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'architecture': TEXT}, r'fake has 2 classes and background, but .* ends in 10; append resized\(8=3\)'),
        ({'architecture': f'{TEXT} resized(6=9,8=3)'}, 'is not that of the trained network'),
        ({'data__batch_size': 3}, 'data.batch_size=3 leaves no positive window'),
        ({'augment__crop': True}, 'augment.crop=True does nothing'),
        ({'augment__colour': 0.1}, 'augment.colour=0.1 needs directions of colour'),
        ({'schedule__kind': 'plateau', 'data__holdout': 1e-6}, 'holds out no image of fake'),
    ],
)
def test_a_config_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        task(config(**changes))


def test_scenes_without_windows_to_learn_from_are_refused():
    empty = in_memory([scene._replace(boxes=np.zeros((0, 4)), labels=np.zeros(0, np.int32)) for scene in pictured(scenes())])
    with pytest.raises(SourceError, match='no window of the images to learn from overlaps a true box by half'):
        task(some=empty)
    some = scenes()
    with pytest.raises(SourceError, match='no window of the images to learn from is of background'):
        tuning.task(config(), TRAINED, some, [np.zeros((0, 4))] * 8, HOW, ONE)
    with pytest.raises(SourceError, match='proposals of 7 images'):
        tuning.task(config(), TRAINED, some, proposals(some)[1:], HOW, ONE)
