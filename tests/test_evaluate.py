"""Every example exactly once, and the numbers as plain loops count them."""

import dataclasses
import math
from collections import Counter

import jax
import numpy as np
import pytest

from cnn_research import evaluate
from cnn_research.architecture import Architecture, Dense, Layer
from cnn_research.data import augment, stream
from cnn_research.data.sources import Source
from cnn_research.errors import ConfigError
from cnn_research.models.network import Network

NET = Architecture('linear', (6, 6, 1), (Layer(1, (Dense(7),)),))
NETWORK = Network(NET)
COUNT = 23


def read(indices):
    """Images (8, 8, 1) and labels from 0 to 5: class 6 has no example."""
    random = np.random.default_rng(0)
    images = random.integers(256, size=(COUNT, 8, 8, 1), dtype=np.uint8)
    labels = random.integers(6, size=COUNT).astype(np.int32)
    return [images[i] for i in indices], labels[np.asarray(indices)]


SOURCE = Source('noise', 'test', COUNT, 7, tuple('abcdefg'), (8, 8, 1), 'noise', read)
IMAGES, LABELS = np.stack(read(range(COUNT))[0]).astype(np.float64), read(range(COUNT))[1]


def variables(seed):
    kernel, bias = (np.random.default_rng(seed).normal(size=size).astype(np.float32) for size in ((36, 7), (7,)))
    preprocessing = {'mean': np.array([100.0], np.float32), 'scale': np.array([0.01], np.float32)}
    return {'params': {'layer1': {'dense': {'kernel': kernel, 'bias': bias}}}, 'preprocessing': preprocessing}


def softmax_at(seed, top, left, mirrored=False):
    """Softmax (N, 7) of the linear net on one window, in float64."""
    own = variables(seed)['params']['layer1']['dense']
    view = ((IMAGES - 100) * 0.01)[:, top : top + 6, left : left + 6]
    logits = view[:, :, :: -1 if mirrored else 1].reshape(COUNT, 36) @ own['kernel'].astype(np.float64) + own['bias']
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def check(result, probabilities, losses):
    """The Result against loops over examples."""
    wrong, missed, calls = 0, 0, Counter()
    for row, label in zip(probabilities, LABELS, strict=True):
        ranking = sorted(range(7), key=lambda c, row=row: -row[c])  # sorting is stable: of equals the first comes first
        wrong += ranking[0] != label
        missed += label not in ranking[:5]
        calls[label, ranking[0]] += 1
    assert result.examples == COUNT
    assert result.top1_error == pytest.approx(wrong / COUNT) and result.top5_error == pytest.approx(missed / COUNT)
    assert result.confusion == tuple(tuple(calls[i, j] for j in range(7)) for i in range(7))
    shares = [None if not (i == LABELS).any() else calls[i, i] / (i == LABELS).sum() for i in range(7)]
    assert result.class_accuracy == pytest.approx(tuple(shares)) and shares[6] is None
    assert result.mean_class_accuracy == pytest.approx(np.mean([share for share in shares if share is not None]))
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert 0 < missed < wrong  # otherwise the above would prove little


def log_loss(probabilities):
    return [-math.log(row[label]) for row, label in zip(probabilities, LABELS, strict=True)]


@pytest.mark.parametrize('batch_size', [23, 7, 1, 50])
def test_centre_view_for_any_batch_size(batch_size):
    expected = softmax_at(0, 1, 1)
    check(evaluate.evaluate(NETWORK, variables(0), SOURCE, resize=0, batch_size=batch_size), expected, log_loss(expected))


@pytest.mark.parametrize('count', [1, 2, 3])
def test_every_example_once_and_in_order_on_any_number_of_devices(count):
    feed = stream.evaluation_feed(SOURCE, 10, 0, resident_gb=1.0, workers=0)
    told = evaluate.predictor(NETWORK, devices=jax.local_devices()[:count])(variables(0), feed)
    assert told.labels.tolist() == LABELS.tolist()
    np.testing.assert_allclose(told.probabilities, softmax_at(0, 1, 1), atol=1e-6)


def test_a_streamed_source_gives_the_same():
    feed = stream.evaluation_feed(SOURCE, 10, 0, resident_gb=0.0, workers=0)
    told = evaluate.predictor(NETWORK)(variables(0), feed)
    feed.close()
    assert feed.store == {} and told.labels.tolist() == LABELS.tolist()
    np.testing.assert_allclose(told.probabilities, softmax_at(0, 1, 1), atol=1e-6)


def test_ten_views_are_the_mean_over_corners_centre_and_mirrors():
    views = [softmax_at(0, top, left, mirrored) for top, left in ((0, 0), (0, 2), (2, 0), (2, 2), (1, 1)) for mirrored in (False, True)]
    result = evaluate.evaluate(NETWORK, variables(0), SOURCE, resize=0, views='ten', batch_size=10)
    check(result, np.mean(views, axis=0), np.mean([log_loss(view) for view in views], axis=0))


def test_a_committee_is_the_mean_of_its_members():
    members = [softmax_at(seed, 1, 1) for seed in (0, 1, 2)]
    result = evaluate.committee([(NETWORK, variables(seed)) for seed in (0, 1, 2)], SOURCE, resize=0, batch_size=10)
    check(result, np.mean(members, axis=0), np.mean([log_loss(member) for member in members], axis=0))


def test_what_would_give_another_number_is_refused():
    bare = {'params': variables(0)['params']}
    neutral = {**bare, 'preprocessing': augment.AS_IT_IS}
    assert evaluate.evaluate(NETWORK, neutral, SOURCE, resize=0) != evaluate.evaluate(NETWORK, variables(0), SOURCE, resize=0)
    with pytest.raises(ConfigError, match='no preprocessing'):
        evaluate.evaluate(NETWORK, bare, SOURCE, resize=0)
    with pytest.raises(ConfigError, match='8x8, linear reads 6x6: give resize'):
        evaluate.evaluate(NETWORK, variables(0), SOURCE)
    with pytest.raises(ConfigError, match='tells .* classes apart, but noise has 9'):
        evaluate.evaluate(NETWORK, variables(0), dataclasses.replace(SOURCE, num_classes=9), resize=0)


def test_ranks_count_what_is_put_before_the_true_class():
    told = predictions([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]], [0, 2, 1])
    assert evaluate.summarize(told, 3).ranks == (0, 2, 1)


def test_other_views_are_refused():
    with pytest.raises(ConfigError, match=r"no views 'center'; choose from centre, ten\. Did you mean centre\?"):
        evaluate.predictor(NETWORK, 'center')


def predictions(probabilities, labels):
    return evaluate.Predictions(np.asarray(probabilities, np.float32), np.ones(len(labels), np.float32), np.asarray(labels))


def test_of_equal_outputs_the_first_wins_as_in_the_confusion():
    told = predictions([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [1 / 3] * 3], [0, 1, 0])
    result = evaluate.summarize(told, 3)
    assert result.top1_error == pytest.approx(1 / 3) and result.confusion == ((2, 0, 0), (1, 0, 0), (0, 0, 0))
    assert result.class_accuracy == (1.0, 0.0, None) and result.mean_class_accuracy == 0.5


def test_a_constant_answer_over_many_classes_earns_chance_and_no_more():
    told = predictions(np.full((20, 10), 0.1), np.arange(20) % 10)
    result = evaluate.summarize(told, 20)
    assert result.top1_error == pytest.approx(0.9) and result.top5_error == pytest.approx(0.5)


def test_numbers_that_are_not_finite_are_never_right():
    result = evaluate.summarize(predictions(np.full((8, 7), np.nan), np.arange(8) % 7), 8)
    assert result.top1_error == 1 and result.top5_error == 1


def test_top5_is_not_told_for_few_classes():
    assert evaluate.summarize(predictions(np.eye(5), range(5)), 5).top5_error is None
    assert evaluate.summarize(predictions(np.eye(6), range(6)), 6).top5_error == 0


def test_examples_that_were_not_counted_are_noticed():
    with pytest.raises(AssertionError, match='4 examples were counted, but the split has 5'):
        evaluate.summarize(predictions(np.eye(4), range(4)), 5)


def test_a_fold_sees_every_example_once_in_order_and_the_padding_is_masked():
    feed = stream.evaluation_feed(SOURCE, 10, 0, 1.0, 0)

    def seen(state, batch):
        return [*state, *np.asarray(stream.fetch(feed.store, batch)[2])[batch['mask']].tolist()]

    states = list(evaluate.folded(seen, [], feed))
    assert [len(state) for state in states] == [10, 20, COUNT] and states[-1] == list(range(COUNT))
    assert list(evaluate.folded(seen, states[0], feed, range(1, 3)))[-1] == states[-1] and not list(evaluate.folded(seen, [], feed, ()))
