"""Every example exactly once: loss, errors, confusion; single networks and committees."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import parallel
from cnn_research.data import augment, preprocessing, stream
from cnn_research.data.sources import Source
from cnn_research.errors import ConfigError, nearest
from cnn_research.losses import LOSSES
from cnn_research.models.network import Network

VIEWS = {'centre': lambda *args: augment.prepare(*args)[None], 'ten': augment.ten_crops}


class Predictions(NamedTuple):
    """probabilities (N, classes): softmax of the logits, averaged over the views; losses (N,), averaged alike; labels (N,)."""

    probabilities: np.ndarray
    losses: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Result:
    """What a network does on a split. Errors and accuracies are shares of 1; top5_error is None where there are at most 5 classes.

    confusion[i][j] counts examples of class i called j. A class without examples has accuracy None and does not count in the mean.
    ranks: of each example, in the source's order, how many classes were put before its own: 0 is right, below 5 right among five.
    """

    examples: int
    loss: float
    top1_error: float
    top5_error: float | None
    mean_class_accuracy: float
    class_accuracy: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    ranks: tuple[int, ...]

    def to_dict(self) -> dict:
        return asdict(self)


def folded(run: Callable, state, feed, steps: Sequence[int] | None = None) -> Iterator:
    """What `run(state, batch)` makes of the state, after each batch of an evaluation feed, in order.

    steps: those of the feed that are run (default: all). A batch has a 'mask', False on its padding. A run may donate the state: what was
    given is then gone when the next is asked for.
    """
    for step in range(feed.steps) if steps is None else steps:
        state = run(state, feed.batch(step))
        yield state


def passed(run: Callable, variables, placed, feed) -> Iterator:
    """What `run` (of parallel.spread_map) makes of each batch of an evaluation feed, in order, without its padding: trees of (b, ...)."""
    return folded(lambda _, batch: run(variables, placed, batch), None, feed)


def predictor(network: Network, views: str = 'centre', loss: str = 'softmax', j: float = 1.0, devices: Sequence | None = None):
    """A compiled function (variables, feed) -> Predictions; variables as in `evaluate`. Reuse it: it compiles once for each batch shape."""
    if views not in VIEWS:
        raise ConfigError(f'evaluation has no views {views!r}; choose from {", ".join(VIEWS)}.{nearest(views, VIEWS)}')
    devices = devices or parallel.local_devices()

    def forward(variables, placed, batch):
        images, labels, _ = stream.fetch(placed, batch)
        seen = VIEWS[views](images, variables['preprocessing'], network.architecture.input_shape)
        logits, _ = network.apply({'params': variables['params']}, seen.reshape(-1, *seen.shape[2:]))
        logits = logits.reshape(*seen.shape[:2], -1)
        losses = jnp.mean(jax.vmap(lambda one: LOSSES[loss](one, labels, j))(logits), axis=0)
        return jnp.mean(jax.nn.softmax(logits), axis=0), losses, labels

    run = parallel.spread_map(forward, devices)
    placed: dict[int, tuple] = {}  # a feed's images stay on the device between evaluations

    def predict(variables, feed) -> Predictions:
        if id(feed) not in placed:
            placed[id(feed)] = (feed, parallel.replicated(feed.store, devices))
        parts = passed(run, parallel.replicated(variables, devices), placed[id(feed)][1], feed)
        return Predictions(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    return predict


def summarize(predictions: Predictions, num_examples: int) -> Result:
    """The Result of predictions that must hold every one of num_examples examples."""
    probabilities, losses, labels = predictions
    if len(labels) != num_examples:
        raise AssertionError(f'{len(labels)} examples were counted, but the split has {num_examples}')
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(classes) < labels[:, None]  # of equal outputs the first counts as higher, as argmax has it
    rank = np.sum((probabilities > own) | ((probabilities == own) & earlier), axis=1)
    rank = np.where(np.isfinite(own[:, 0]), rank, classes)  # what is not a number is never right
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    counts = confusion.sum(axis=1)
    accuracy = np.diag(confusion)[counts > 0] / counts[counts > 0]
    by_class = iter(accuracy.tolist())
    return Result(
        examples=len(labels),
        loss=float(np.mean(losses, dtype=np.float64)),
        top1_error=float(np.mean(rank > 0)),
        top5_error=float(np.mean(rank > 4)) if classes > 5 else None,
        mean_class_accuracy=float(accuracy.mean()),
        class_accuracy=tuple(next(by_class) if count else None for count in counts),
        confusion=tuple(map(tuple, confusion.tolist())),
        ranks=tuple(rank.tolist()),
    )


def evaluate(
    network: Network,
    variables: dict,
    source: Source,
    views: str = 'centre',
    loss: str = 'softmax',
    batch_size: int = 500,
    resize: int | None = None,
    j: float = 1.0,
) -> Result:
    """A network on every example of a source.

    variables: {'params': ..., 'preprocessing': {'mean', 'scale'}} as `checkpoints.load` returns them; a network that was trained on grey
    levels as they are has augment.AS_IT_IS. views: 'centre', or 'ten': the average over corners, centre and their mirrors (Krizhevsky et
    al. 2012, 4.1). resize: short side in px that images are scaled to first, data.resize of the training, 0 = as they are; it must be
    given where the images have not the network's size. loss, j: config.loss. Labels are taken to count the network's outputs in their
    order: where a source may count otherwise, Trained.evaluate finds its classes by their names. Raises ConfigError for what is missing,
    and where the source has more or fewer classes than the network has outputs.
    """
    return committee([(network, variables)], source, views, loss, batch_size, resize, j)


def committee(
    members: Sequence[tuple[Network, dict]],
    source: Source,
    views: str = 'centre',
    loss: str = 'softmax',
    batch_size: int = 500,
    resize: int | None = None,
    j: float = 1.0,
    preprocessings: Sequence[str] = (),
) -> Result:
    """The average of the members' softmax outputs (Krizhevsky's 5 CNNs; Ciresan et al. 2012); the loss is the mean of theirs.

    preprocessings: data.preprocessing of each member's training, through which it sees the source; (): all see it as it is. The others are
    arguments as of `evaluate`.
    """
    seen = list(preprocessings) or ['none'] * len(members)
    for network, variables in members:
        net = network.architecture
        if 'preprocessing' not in variables:
            raise ConfigError(f'{net.name}: variables have no preprocessing; take those of checkpoints.load, or say augment.AS_IT_IS.')
        if net.num_classes != source.num_classes:
            raise ConfigError(f'{net.name} tells {net.num_classes} classes apart, but {source.name} has {source.num_classes}.')
        if resize is None and (source.image_shape or (0, 0))[:2] != net.input_shape[:2]:
            side = 'x'.join(map(str, source.image_shape[:2])) if source.image_shape else 'several sizes'
            raise ConfigError(
                f'the images of {source.name} have {side}, {net.name} reads {net.input_shape[0]}x{net.input_shape[1]}: give resize, the '
                'data.resize of the training (0 = as they are).'
            )
    feeds = {name: preprocessing.applied(source, name) for name in seen}
    feeds = {name: stream.evaluation_feed(one, batch_size, resize or 0, resident_gb=4.0, workers=0) for name, one in feeds.items()}
    told = [predictor(network, views, loss, j)(variables, feeds[name]) for (network, variables), name in zip(members, seen, strict=True)]
    for feed in feeds.values():
        feed.close()
    mean = Predictions(np.mean([p.probabilities for p in told], axis=0), np.mean([p.losses for p in told], axis=0), told[0].labels)
    return summarize(mean, source.num_examples)
