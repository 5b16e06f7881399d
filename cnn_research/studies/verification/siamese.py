"""The Siamese end of DeepFace: one network sees both faces, the absolute difference of its features enters one logistic unit, and the two
top layers go on learning (Taigman et al. 2014, section 4.2).

The two top layers are F7, which both faces share, and the unit: logit = b + sum_i a_i |f1_i - f2_i|, so that -a is the paper's alpha.
What is below them stays as it was, and so is computed once.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import tasks
from cnn_research.data.source import sha256


class PairFeed:
    """Batches by step of B pairs, the first half of one person. `store`: {'features': (N, D)}; batch(step): 'index' int32 (B, 2), 'same'
    bool (B,), 'position' uint32 (B,).

    A step's pairs follow from the seed and the step alone: a person, then two images of theirs, or two persons, then an image of each.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, seed: int, batch_size: int):
        self.store = {'features': np.asarray(features, np.float32)}
        self._seed, self._size = seed, batch_size
        self._people = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self._several = [own for own in self._people if len(own) > 1]
        if len(self._people) < 2 or not self._several:
            raise ValueError('pairs take two people, one of them with two images')

    def batch(self, step: int) -> dict[str, np.ndarray]:
        random = np.random.Generator(np.random.Philox(key=np.array([self._seed, step], np.uint64)))
        same = np.arange(self._size) < self._size // 2
        index = np.empty((self._size, 2), np.int32)
        for row, alike in enumerate(same):
            if alike:
                index[row] = random.choice(self._several[random.integers(len(self._several))], 2, replace=False)
            else:
                index[row] = [random.choice(self._people[who]) for who in random.choice(len(self._people), 2, replace=False)]
        position = np.arange(step * self._size, (step + 1) * self._size)
        return {'index': index, 'same': same, 'position': position.astype(np.uint32)}

    def close(self) -> None:
        pass


def _top(inputs, dense: Mapping):
    return jax.nn.relu(inputs @ dense['kernel'] + dense['bias'])


def logits(params: Mapping[str, dict], layers: Sequence[str], first, second):
    """(P,): how surely two faces are one person's, by what enters F7 of each, (P, D); layers: the names of F7 and of the unit."""
    top, unit = (params[layer]['dense'] for layer in layers)
    apart = jnp.abs(_top(first, top) - _top(second, top))
    return (apart @ unit['kernel'] + unit['bias'])[:, 0]


def task_name(name: str) -> str:
    """The name of `task`, for a key."""
    return f'siamese on {name}'


def fingerprint(name: str, images: np.ndarray) -> str:
    """Hex SHA-256 of what `task` learns from: the network below, by name, and the images (n,) that it has learned."""
    return sha256(name.encode(), np.asarray(images).astype('<i8').tobytes())


def task(
    config, features: np.ndarray, labels: np.ndarray, start: Mapping, layers: Sequence[str], name: str, fingerprints: Mapping[str, str]
) -> tasks.Task:
    """The Siamese task of a checked config, whose network ends in one unit: are two images of one person?

    features: (N, D), what enters F7, of the images to make pairs of; labels: (N,) their people; start: {'kernel', 'bias'} of F7 as it was
    learned; layers: as of `logits`; name, fingerprints: what they all are, for the key, {'train': `fingerprint`}.
    """
    feed = PairFeed(features, labels, config.seed, config.data.batch_size)

    def initialize(key):
        pairs = feed.batch(0)['index']
        first, second = (np.asarray(_top(feed.store['features'][pairs[:, side]], start)) for side in (0, 1))
        # Every feature counts alike, and the logits are of the size of 1: a difference half as large as usual is in doubt.
        usual = max(float(np.abs(first - second).sum(axis=1).mean()), 1e-6)
        unit = {'kernel': jnp.full((first.shape[1], 1), -2 / usual, jnp.float32), 'bias': jnp.ones(1, jnp.float32)}
        return {layers[0]: {'dense': jax.tree.map(jnp.asarray, dict(start))}, layers[1]: {'dense': unit}}

    def loss(params, placed, batch, key):
        first, second = (placed['store']['features'][batch['index'][:, side]] for side in (0, 1))
        said = logits(params, layers, first, second)
        losses = jax.nn.softplus(jnp.where(batch['same'], -said, said))
        return losses, {'error': ((said > 0) != batch['same']).astype(jnp.float32)}

    return tasks.Task(
        name=task_name(name),
        feed=feed,
        num_examples=len(labels),
        constants={},
        roles=(),
        metrics=('error',),
        initialize=initialize,
        loss=loss,
        evaluate=lambda params, role: {},
        first_bad=lambda params, placed, batch, key: 'the features or the two top layers',
        chance_loss=None,
        fingerprints=fingerprints,
    )
