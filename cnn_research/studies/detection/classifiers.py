"""What names the windows: a linear SVM for each class with hard negatives, and the softmax that it is compared with.

Girshick et al. 2014 (R-CNN), section 2.3 and appendix B; where the paper is silent, as its published code does it (rcnn_train.m).

Of every image there are rows: its proposals, then its ground truth boxes. `features` is a sequence with one array (n_i, D), float32, an
image, from which an image's rows are read when they are needed: it may lie on disk. `boxes`, (n_i, 4), are in the same order. `truths` are
the scenes, of which name, boxes (M_i, 4) and labels (M_i,) are read: difficult objects are objects here, as in the published code; only
the evaluation leaves them out.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import boxes as areas
from cnn_research import probes
from cnn_research.errors import ConfigError, SourceError, Stopped
from cnn_research.studies.detection import svm

NORM = 20.0  # what features are scaled to have as their mean norm, so that one C fits those of every layer
_SAMPLED = 200  # images, and rows of each, at most, that the mean norm is taken over
_ROWS = 2048  # that are scored at a time


class Mining(NamedTuple):
    """How an SVM is learned.

    cost: C; positive_weight: of positives, in C; bias: the feature whose weight is the bias, regularised like the others; negative: windows
    that overlap each object of the class less than this are its negatives. hard: a negative is taken in where the current classifier gives
    it more than this; every: more new ones than this, and the class is learned again; evict: negatives below leave after that. passes: over
    the images; the published one is enough for thousands of them, of a few dozen it leaves out windows that came before the classifier was
    any good (Mined.left).
    """

    cost: float = 1e-3
    positive_weight: float = 2.0
    bias: float = 10.0
    negative: float = 0.3
    hard: float = -1.0001
    evict: float = -1.2
    every: int = 2000
    passes: int = 1


class Sampling(NamedTuple):
    """How the softmax is learned.

    examples: windows at most, a quarter of them positive; positive: the overlap with an object from which on a window shows it, the rest is
    background; costs: the values of C to choose from, rising, of which a single one is taken as it is; folds: of the cross-validation.
    """

    examples: int = 3000
    positive: float = 0.5
    costs: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    folds: int = 3
    seed: int = 0


PUBLISHED, SAMPLED = Mining(), Sampling()


class Mined(NamedTuple):
    """Of one class: how many positives and negatives there are, how many negatives were taken in and how many the last round learned from;
    the rounds; and of the classifier, which is the last one's, the objective over all negatives. As shares of it, gap: the last round's
    duality gap, and left: the losses of negatives that it did not learn from; their sum bounds what learning from all would gain. missing:
    why the class has no classifier ('': it has one)."""

    positives: int
    negatives: int
    taken: int
    learned: int
    rounds: int
    objective: float
    gap: float
    left: float
    missing: str = ''

    @property
    def settled(self) -> bool:
        """False where the solver gave up before its minimum, or there is no classifier."""
        return self.gap <= svm.TOLERANCE


class Sampled(NamedTuple):
    """Of a softmax: the windows it learned from, of each class and last of the background; the C that was chosen and the mean loss of the
    held-out windows for each (None where there was one C alone); what share of the objective the worst fit of that C still promised."""

    windows: list[int]
    cost: float
    validation: list[float | None]
    unsettled: float

    @property
    def settled(self) -> bool:
        """False where a fit did not reach its minimum."""
        return self.unsettled <= probes.TOLERANCE

    @property
    def at_an_end(self) -> bool:
        """True where the smallest or the largest of several C was chosen, so that one beyond may be better."""
        return len(self.validation) > 1 and int(np.argmin(self.validation)) in (0, len(self.validation) - 1)


class Linear(NamedTuple):
    """Classifiers of features (n, D), scaled: scale * features @ weights + bias.

    kind 'svm': weights (D, K), one column a class, NaN for one without a classifier; told: a Mined for each class. kind 'softmax': weights
    (D, K + 1), the background's column last; told: a Sampled, None where nothing was learned.
    """

    kind: str
    weights: np.ndarray
    bias: np.ndarray
    scale: float
    told: list[Mined] | Sampled | None


def check(truths: Sequence, class_names: Sequence[str]) -> None:
    """SourceError where there is no scene, or where a class has no box in them, of which no classifier could be learned."""
    if not len(truths):
        raise SourceError('there is no scene to learn from; name a split that has some.')
    counts = np.bincount(np.concatenate([np.asarray(scene.labels, int) for scene in truths]), minlength=len(class_names))
    if missing := [name for name, count in zip(class_names, counts, strict=True) if not count]:
        more = f' and {len(missing) - 6} more' if len(missing) > 6 else ''
        raise SourceError(
            f'no box of {", ".join(missing[:6])}{more} in the {len(truths)} scenes to learn from; '
            'leave out classes with few boxes, or name a larger split.'
        )


def overlaps(boxes: np.ndarray, truth, num_classes: int) -> np.ndarray:
    """float64 (n, K): the largest overlap of each of boxes (n, 4) with an object of each class in a scene, 0 where there is none."""
    found = np.zeros((len(boxes), num_classes))
    if len(boxes) and len(truth.boxes):
        across = areas.iou(boxes, truth.boxes)
        for label in np.unique(truth.labels):
            found[:, label] = across[:, truth.labels == label].max(1)
    return found


def nearest(boxes: np.ndarray, truth) -> tuple[np.ndarray, np.ndarray]:
    """(int (n,), float64 (n,)): which object of a scene each of its rows overlaps most, the first of equals, and how much; the scene's own
    boxes, which are the last rows, are nearest to themselves. Without an object: -1 and 0."""
    count = len(truth.boxes)
    if not count or not len(boxes):
        return np.full(len(boxes), -1), np.zeros(len(boxes))
    across = areas.iou(boxes, truth.boxes)
    across[len(boxes) - count :][np.diag_indices(count)] = 2  # another object may have the same box
    found = across.argmax(1)
    return found, np.minimum(across[np.arange(len(boxes)), found], 1)


def scale(features: Sequence[np.ndarray]) -> float:
    """What features are multiplied by to have the mean norm NORM, over up to 200 rows of each of up to 200 images, drawn by a fixed seed.

    SourceError where there is no row, where all are 0, or where a number is not finite.
    """
    random = np.random.Generator(np.random.Philox(key=len(features)))
    lengths = []
    for place in np.sort(random.permutation(len(features))[:_SAMPLED]):
        rows = features[place]
        chosen = np.sort(random.permutation(len(rows))[:_SAMPLED])
        lengths.append(np.linalg.norm(np.asarray(rows[chosen], np.float64), axis=1))
    mean = float(np.mean(np.concatenate(lengths))) if sum(map(len, lengths)) else 0.0
    if not (mean > 0 and np.isfinite(mean)):
        raise SourceError(f'features of mean norm {mean:g} cannot be scaled; they are all 0, none, or not finite.')
    return NORM / mean


def svms(
    features: Sequence[np.ndarray],
    truths: Sequence,
    boxes: Sequence[np.ndarray],
    num_classes: int,
    how: Mining = PUBLISHED,
    stop: Callable[[], bool] = lambda: False,
) -> Linear:
    """A linear SVM for each class. Positives are its ground truth boxes alone; windows that are neither are ignored.

    The negatives of the first image, then of each those that the classifiers of the moment give more than how.hard; a class is learned
    again, from where it stood, when more than how.every were taken in and after the last image of a pass. `stop` is asked between images;
    Stopped where it says so. ConfigError for a `how` that learns nothing, SourceError for rows that are not these scenes' or not finite.
    """
    if how.cost <= 0 or how.passes < 1:
        raise ConfigError(f'cost={how.cost:g}, passes={how.passes}: an SVM needs a cost above 0 and a pass over the images.')
    check_rows(features, truths, boxes, num_classes)
    factor = scale(features)
    weights, bias = np.zeros((_width(features), num_classes), np.float32), np.zeros(num_classes, np.float32)
    labels = [np.asarray(scene.labels, int) for scene in truths]
    starts = [len(rows) - len(own) for rows, own in zip(boxes, labels, strict=True)]
    own = [
        np.array([(i, starts[i] + j) for i, those in enumerate(labels) for j in np.flatnonzero(those == label)], int).reshape(-1, 2)
        for label in range(num_classes)
    ]
    caches = [_Cache(positives, how, factor) for positives in own]
    negatives = [overlaps(rows, scene, num_classes) < how.negative for rows, scene in zip(boxes, truths, strict=True)]
    lost = np.zeros(num_classes)
    for visit, image in enumerate(list(range(len(boxes))) * (how.passes + 1)):
        if stop():
            raise Stopped
        says = scored(Linear('svm', weights, bias, factor, []), features[image])  # 0 before there is a classifier
        if not np.isfinite(says).all():
            raise SourceError(f'{truths[image].name}: a feature is not finite; are its features damaged?')
        if visit >= how.passes * len(boxes):
            lost += np.sum(np.where(negatives[image], np.maximum(0, 1 + says.astype(np.float64)), 0), axis=0)
            continue
        for label, cache in enumerate(caches):
            cache.take(image, negatives[image][:, label] & (says[:, label] > how.hard))
            if cache.due(last=image == len(boxes) - 1):
                weights[:, label], bias[label] = cache.learn(features)
    counts = np.sum([each.sum(0) for each in negatives], axis=0)
    told = [cache.told(int(count), float(loss)) for cache, count, loss in zip(caches, counts, lost, strict=True)]
    for label, each in enumerate(told):
        if each.missing:
            weights[:, label], bias[label] = np.nan, np.nan
    return Linear('svm', weights, bias, factor, told)


class _Cache:
    """What one class learns from: (image, row) of its positives and of the negatives that were taken in, and their alphas so far."""

    def __init__(self, positives: np.ndarray, how: Mining, factor: float):
        self.positives, self.how, self.factor = positives, how, factor
        self.negatives, self.alphas = np.zeros((0, 2), int), np.zeros(len(positives), np.float32)
        self.taken = self.new = self.rounds = self.learned = 0
        self.fit = None

    def take(self, image: int, hard: np.ndarray) -> None:
        if not len(self.positives):
            return
        rows = np.setdiff1d(np.flatnonzero(hard), self.negatives[self.negatives[:, 0] == image, 1])
        self.negatives = np.concatenate([self.negatives, np.stack([np.full(len(rows), image), rows], axis=1)])
        self.alphas = np.concatenate([self.alphas, np.zeros(len(rows), np.float32)])
        self.taken, self.new = self.taken + len(rows), self.new + len(rows)

    def due(self, last: bool) -> bool:
        if not len(self.negatives):
            return False
        return not self.rounds or self.new > self.how.every or last and self.new > 0

    def learn(self, features: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
        how, count = self.how, len(self.positives)
        rows = gathered(features, np.concatenate([self.positives, self.negatives]), self.factor)
        signs = np.where(np.arange(len(rows)) < count, 1, -1)
        costs = how.cost * np.where(signs > 0, how.positive_weight, 1)
        self.fit = fit = svm.fit(rows, signs, costs, how.bias, self.alphas)
        says = rows[count:] @ fit.weights + fit.bias
        kept = np.concatenate([np.ones(count, bool), says >= how.evict])
        self.lost = float(np.sum(np.maximum(0, 1 + says.astype(np.float64))))
        self.learned, self.new, self.rounds = len(self.negatives), 0, self.rounds + 1
        self.negatives, self.alphas = self.negatives[kept[count:]], fit.alphas[kept]
        return fit.weights, fit.bias

    def told(self, negatives: int, lost: float) -> Mined:
        """lost: the sum of the losses of all negatives, of which there are so many."""
        counts = len(self.positives), negatives, self.taken, self.learned, self.rounds
        if self.fit is None:
            return Mined(*counts, np.nan, np.nan, np.nan, 'no negative window' if len(self.positives) else 'no ground truth box')
        left = max(0.0, self.how.cost * (lost - self.lost))
        objective = self.fit.objective + left
        return Mined(*counts, objective, self.fit.gap * self.fit.objective / objective, left / objective)


def softmax(
    features: Sequence[np.ndarray], truths: Sequence, boxes: Sequence[np.ndarray], num_classes: int, how: Sampling = SAMPLED
) -> Linear:
    """A softmax over the classes and the background, on the features as they are.

    R-CNN's softmax is the last layer of the fine-tuned network; this one stands in its place where nothing is fine-tuned. It learns from a
    sample of windows as fine-tuning sees them: those that overlap an object by how.positive or more show the object that they overlap most,
    and three times as many that do not are background; both drawn at random, every class that has a box at least once. C is chosen by the
    loss of held-out images, of equally good ones the smallest. ConfigError where there are fewer images than folds, SourceError for rows
    that are not these scenes' or not finite, and where no window is positive, or none is background.
    """
    check_rows(features, truths, boxes, num_classes)
    folds = 0 if len(how.costs) == 1 else how.folds
    if len(boxes) < folds:
        raise ConfigError(f'folds={folds}: as many images are needed to choose C, and there are {len(boxes)}; give a single C.')
    random = np.random.Generator(np.random.Philox(key=how.seed))
    keys, labels = _sample(truths, boxes, num_classes, how, random)
    fold = random.permutation(len(boxes))[keys[:, 0]] % max(folds, 1)
    subsets = np.stack([*(fold != number for number in range(folds)), np.ones(len(keys), bool)], axis=1)
    factor = scale(features)
    rows = gathered(features, keys, factor)
    if not np.isfinite(rows).all():
        raise SourceError(
            f'{truths[keys[np.argmin(np.isfinite(rows).all(1)), 0]].name}: a feature is not finite; are its features damaged?'
        )
    turned = probes.turn(rows)
    fits, losses = [], []
    for fit in probes.fits('softmax', turned, labels, num_classes + 1, how.costs, subsets):
        fits.append(fit)
        if folds:
            said = jax.nn.log_softmax(jnp.asarray(probes.scores(fit, turned.coordinates)), axis=1)
            losses.append(-float(np.mean(np.asarray(said)[np.arange(len(keys)), labels, fold])))
    chosen = int(np.argmin(losses)) if folds else 0
    found = np.asarray(fits[chosen].weights, np.float64)[..., -1]
    weights = np.asarray(turned.axes, np.float64) @ found[:-1]
    bias = found[-1] - np.asarray(turned.mean, np.float64) @ weights
    windows = np.bincount(labels, minlength=num_classes + 1).tolist()
    told = Sampled(windows, how.costs[chosen], losses or [None], float(fits[chosen].unsettled.max()))
    return Linear('softmax', weights.astype(np.float32), bias.astype(np.float32), factor, told)


def as_they_are(num_classes: int) -> Linear:
    """The softmax of features that are a network's outputs, (n, K + 1) with the background last."""
    outputs = num_classes + 1
    return Linear('softmax', np.eye(outputs, dtype=np.float32), np.zeros(outputs, np.float32), 1.0, None)


def _sample(truths, boxes, num_classes, how, random):
    """((image, row) (N, 2), labels (N,), num_classes for background) that the softmax learns from, positives first."""
    keys, labels = [], []
    for image, (rows, scene) in enumerate(zip(boxes, truths, strict=True)):
        object_, overlap = nearest(rows, scene)
        names = np.append(np.asarray(scene.labels, int), num_classes)[object_]
        keys.append(np.stack([np.full(len(rows), image), np.arange(len(rows))], axis=1))
        labels.append(np.where(overlap >= how.positive, names, num_classes))
    keys, labels = np.concatenate(keys), np.concatenate(labels)
    positives, background = (random.permutation(np.flatnonzero(part)) for part in (labels < num_classes, labels == num_classes))
    if not len(positives) or not len(background):
        raise SourceError(f'a softmax needs objects and background; {len(positives)} windows show an object, {len(background)} do not.')
    first = np.sort(np.unique(labels[positives], return_index=True)[1])
    positives = np.concatenate([positives[first], np.delete(positives, first)])[: max(how.examples // 4, len(first))]
    chosen = np.concatenate([np.sort(positives), np.sort(background[: 3 * len(positives)])])
    return keys[chosen], labels[chosen]


def scored(linear: Linear, features: np.ndarray) -> np.ndarray:
    """float32 (n, K) of features (n, D), not scaled: what the SVMs say, or the probabilities of the softmax's classes.

    The softmax's K columns leave the background out, and NaN stands for a class without a classifier.
    """
    found = np.empty((len(features), len(linear.bias) - (linear.kind == 'softmax')), np.float32)
    weights = jnp.asarray(linear.weights * np.float32(linear.scale))
    for start in range(0, len(features), _ROWS):
        part = np.asarray(features[start : start + _ROWS], np.float32)
        # Few sizes are compiled.
        size = min(_ROWS, max(64, 1 << (len(part) - 1).bit_length()))
        filled = np.concatenate([part, np.zeros((size - len(part), part.shape[1]), np.float32)])
        found[start : start + len(part)] = np.asarray(_said(filled, weights, linear.bias, linear.kind))[: len(part), : found.shape[1]]
    return found


@functools.partial(jax.jit, static_argnames='kind')
def _said(features, weights, bias, kind):
    outputs = jnp.matmul(features, weights, precision='highest') + bias
    return jax.nn.softmax(outputs) if kind == 'softmax' else outputs


def gathered(features: Sequence[np.ndarray], keys: np.ndarray, factor: float, ones: int = 0) -> np.ndarray:
    """float32 (N, D + ones): factor times the rows (N, 2), each (image, row), those of an image read together; then columns that are 1."""
    found = np.ones((len(keys), _width(features) + ones), np.float32)
    for image in np.unique(keys[:, 0]):
        places = np.flatnonzero(keys[:, 0] == image)
        found[places, : _width(features)] = features[image][keys[places, 1]] * np.float32(factor)
    return found


def _width(features) -> int:
    return features[0].shape[1]


def check_rows(features: Sequence[np.ndarray], truths: Sequence, boxes: Sequence[np.ndarray], num_classes: int) -> None:
    """SourceError unless every image's features and boxes belong to its scene, whose own boxes are their last rows."""
    if not len(truths) == len(boxes) == len(features) > 0:
        raise SourceError(
            f'features of {len(features)} images, boxes of {len(boxes)} and {len(truths)} scenes; all are of the same images.'
        )
    for rows, own, scene in zip(features, boxes, truths, strict=True):
        count = len(scene.boxes)
        if len(rows) != len(own):
            raise SourceError(f'{scene.name}: {len(rows)} rows of features and {len(own)} boxes; a box has one row.')
        if len(own) < count or not np.allclose(own[len(own) - count :], scene.boxes, rtol=0, atol=1e-2):
            raise SourceError(f'{scene.name}: the last {count} of {len(own)} boxes are not its ground truth; are they of another image?')
        if count and not 0 <= np.min(scene.labels) <= np.max(scene.labels) < num_classes:
            raise SourceError(
                f'{scene.name}: labels {sorted(set(map(int, scene.labels)))}; {num_classes} classes have 0 to {num_classes - 1}.'
            )
