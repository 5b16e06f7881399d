"""What features are worth on other data: classifiers on them, and what is near to what."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_research import features as features_of
from cnn_research import protocol, traditional
from cnn_research.data import stream
from cnn_research.data.source import Source
from cnn_research.models import zoo
from cnn_research.models.network import Network
from cnn_research.models.normalization import divisive_normalization, subtractive_normalization
from cnn_research.optional import needed

# name: (kind of protocol.KINDS, whether features are dropped while it learns)
CLASSIFIERS = {
    'svm': ('svm', False),
    'softmax': ('softmax', False),
    'svm+dropout': ('svm', True),
    'softmax+dropout': ('softmax', True),
    'hinge': ('hinge', False),
}
RANDOM_SIDES = (32, 143)  # px, of the images that random filters see
PIXEL_SIDE = 32  # px, of the images that raw pixels are taken from
_READ = 500  # images at a time
_BLOCK = 256  # queries at a time
_FEW = 50  # images at a time in a network


_LIBRARIES = {
    'hinge': ('sklearn.svm',),
    'hog': ('skimage.feature',),
    **dict.fromkeys(('bag_of_words', 'pyramid'), ('cv2', 'sklearn.svm')),
}


def check_libraries(names: Sequence[str]) -> None:
    """ConfigError where a library is missing that one of these classifiers or kinds of hand-made features needs."""
    for name in names:
        for module in _LIBRARIES.get(name, ()):
            needed(module, name)


class Neighbours(NamedTuple):
    """Of each query (Q,), an index, the k nearest other examples, the nearest first."""

    queries: np.ndarray
    nearest: np.ndarray


def outcomes(
    features: np.ndarray,
    labels: np.ndarray,
    drawn: Mapping[int, Sequence[protocol.Split]],
    classifiers: Sequence[str],
    how: protocol.Protocol,
    dropout: float,
) -> dict[str, dict]:
    """{classifier: {n per class: [the protocol.Outcome of each split, as a dict]}}.

    features: (N, D) or, of several views, (V, N, D); classifiers: of CLASSIFIERS; how: its kinds and dropout are not read; dropout: the
    share that those drop which do.
    """
    found = {}
    for drops in (False, True):
        names = {CLASSIFIERS[name][0]: name for name in classifiers if CLASSIFIERS[name][1] == drops}
        if names:
            own = how._replace(kinds=tuple(names), dropout=dropout if drops else 0.0)
            told = protocol.learning_curve(features, labels, drawn, own)
            found |= {name: told[kind] for kind, name in names.items()}
    return {name: found[name] for name in classifiers}


def words_outcomes(
    name: str, kept: np.ndarray, places: np.ndarray, size: int, labels: np.ndarray, drawn: Mapping, words: int, seed: int, folds: int
) -> dict[str, dict]:
    """{'svm': {n per class: [Outcome of each split]}} of SVMs with the intersection kernel on histograms of visual words.

    name: 'bag_of_words' or 'pyramid'; kept, places: descriptors as traditional.descriptors gives them, of images of size x size px. The
    words are learned from each split's training images alone.
    """
    told: dict[int, list] = {n: [] for n in drawn}
    for n, splits in drawn.items():
        for split in splits:
            found = traditional.words_of_split(kept, places, (size, size), split, words, seed)[name]
            told[n].append(traditional.fit_intersection(found, labels, split, folds=folds)._asdict())
    return {'svm': told}


def images(source: Source, size: int) -> list[np.ndarray]:
    """All images of a source, squashed to size x size px."""
    found = []
    for start in range(0, source.num_examples, _READ):
        indices = np.arange(start, min(start + _READ, source.num_examples))
        found += [traditional.squashed(image, size) for image in source.read(indices)[0]]
    return found


def pixels(squashed: Sequence[np.ndarray]) -> np.ndarray:
    """float32 (N, PIXEL_SIDE^2 C): the pixels of images of one size, the smallest of raw features."""
    return np.stack([stream.resized(image, PIXEL_SIDE) for image in squashed]).reshape(len(squashed), -1).astype(np.float32)


def random_filters(squashed: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """float32 (N, D): the second layer of Jarrett et al.'s network before any training, of images (H, H, C) squashed for it.

    Those of 32 px are seen by its small sibling in colour, larger ones, of 143 px, in grey. As in the paper (section 3.1) the network is
    given images whose contrast is normalised.
    """
    side = len(squashed[0])
    network = Network(zoo.architecture('jarrett' if side == RANDOM_SIDES[1] else 'jarrett_32'))
    window, channels = network.architecture.layers[0].stages[0].kernel, network.architecture.input_shape[2]
    params = features_of.untrained(network, seed)

    @jax.jit
    def layer2(images):
        seen = divisive_normalization(subtractive_normalization(images / 255, window), window)
        return network.apply({'params': params}, seen, taps=('layer2',), method='features')['layer2']

    found = []
    for start in range(0, len(squashed), _FEW):
        part = [traditional.grey(image)[..., None] if channels == 1 else image for image in squashed[start : start + _FEW]]
        batch = np.stack([np.repeat(image, channels // image.shape[2], axis=2) for image in part]).astype(np.float32)
        found.append(np.asarray(layer2(batch)).reshape(len(batch), -1))
    return np.concatenate(found)


def nearest(features: np.ndarray, queries: np.ndarray, count: int) -> Neighbours:
    """The `count` examples whose features (N, D) have the smallest angle to those of each query, the query itself left out."""
    flat = features.reshape(len(features), -1)
    lengths = np.maximum(np.linalg.norm(flat, axis=1), 1e-30)
    found = []
    for start in range(0, len(queries), _BLOCK):
        part = queries[start : start + _BLOCK]
        alike = (flat[part] / lengths[part, None]) @ flat.T / lengths
        alike[np.arange(len(part)), part] = -np.inf
        found.append(np.argsort(-alike, axis=1, kind='stable')[:, :count])
    return Neighbours(np.asarray(queries), np.concatenate(found))


def asked(labels: np.ndarray, split: protocol.Split, num_classes: int, count: int) -> np.ndarray:
    """(count,): one test image each of classes evenly spaced over all, the first that the split drew."""
    chosen = np.unique(np.linspace(0, num_classes - 1, min(count, num_classes)).round().astype(int))
    return np.array([split.test[labels[split.test] == label][0] for label in chosen])


def told(neighbours: Neighbours, labels: np.ndarray) -> dict[str, Any]:
    """How often the nearest examples are of the query's class: 'first', of the nearest alone, and 'all', a share of 1."""
    same = labels[neighbours.nearest] == labels[neighbours.queries][:, None]
    return {'first': float(same[:, 0].mean()), 'all': float(same.mean())}
