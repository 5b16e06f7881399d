"""Times the linear SVM probes of one random split against scikit-learn's LinearSVC with two jobs, on the same features, in one run.

The problem is Zeiler & Fergus's Table 7 in its size: 30 images of each of 101 classes, seven layers with the dimensions of their network,
11 values of C, five splits. Features are made up: rectified mixtures of hidden directions, whose classes overlap. Ours fits every class
with every C, the rotation included, for all layers; LinearSVC fits some of the one-against-rest problems of some layers, as many at once as
there are jobs, and its time is scaled to all classes.

  python -m benchmarks.probes
  python -m benchmarks.probes --layers=layer1,layer6 --classes=4 --out=results/probes_cpu.md
"""

import sys
import time
import warnings

import jax
import joblib
import numpy as np
import sklearn
from absl import flags
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from benchmarks import footing
from cnn_research import probes
from cnn_research.reporting import tables

# What layers 1 to 7 of the paper's network have, maps averaged to 6 x 6.
DIMENSIONS = dict(zip((f'layer{number}' for number in range(1, 8)), (3456, 9216, 13824, 13824, 9216, 4096, 4096), strict=True))
CLASSES, PER_CLASS, SPLITS = 101, 30, 5
COSTS = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
JOBS = 2

FLAGS = flags.FlagValues()
_LAYERS = flags.DEFINE_list('layers', ['layer1', 'layer6'], 'Layers that LinearSVC fits, too.', flag_values=FLAGS)
_CLASSES = flags.DEFINE_integer('classes', 4, 'Classes of each that LinearSVC fits.', lower_bound=1, upper_bound=CLASSES, flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', None, 'A Markdown file for the table and how it was made.', flag_values=FLAGS)


def examples(dimensions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Standardised float32 features (3030, D) and labels (3030,)."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    hidden = random.normal(size=(CLASSES, 64))[labels] + 1.2 * random.normal(size=(len(labels), 64))
    mixing, noise = random.normal(size=(64, dimensions)).astype(np.float32), random.standard_normal((len(labels), dimensions), np.float32)
    features = np.maximum(0, hidden.astype(np.float32) @ mixing / 8 + 0.5 * noise)
    return (features - features.mean(0)) / features.std(0), labels


def ours(features: np.ndarray, labels: np.ndarray) -> tuple[float, list[probes.Fit], probes.Turned]:
    """Seconds for every class and C, rotation included, compiled before; the fits, and the features as they were turned."""
    list(probes.fits('svm', probes.turn(features), labels, CLASSES, COSTS[:1]))
    begun = time.perf_counter()
    turned = jax.block_until_ready(probes.turn(features))
    fitted = list(probes.fits('svm', turned, labels, CLASSES, COSTS))
    return time.perf_counter() - begun, fitted, turned


def _theirs(features, signs, cost) -> tuple[float, bool]:
    """(objective of one problem, whether LinearSVC says that it converged), with its defaults."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)
        model = LinearSVC(C=cost, random_state=0).fit(features, signs)
    slack = np.maximum(0, 1 - signs * model.decision_function(features))
    objective = (np.sum(model.coef_**2) + model.intercept_.item() ** 2) / 2 + cost * np.sum(slack**2)
    return float(objective), bool(np.max(model.n_iter_) < model.max_iter)


def row(layer: str, classes: int, compared: bool) -> dict:
    """One layer, one split."""
    features, labels = examples(DIMENSIONS[layer])
    seconds, fitted, turned = ours(features, labels)
    line = {'layer': layer, 'dimension': DIMENSIONS[layer], 'ours': seconds, 'unsettled': max(fit.unsettled[0] for fit in fitted)}
    if not compared:
        return line
    chosen = np.linspace(0, CLASSES - 1, classes).astype(int)
    theirs, converged, worst = 0.0, 0, -np.inf
    with joblib.Parallel(n_jobs=JOBS) as pool:
        pool(joblib.delayed(_theirs)(features[::10], np.where(labels[::10] == 0, 1, -1), 1e-6) for _ in range(JOBS))  # starts the workers
        for fit in fitted:
            begun = time.perf_counter()
            found = pool(joblib.delayed(_theirs)(features, np.where(labels == label, 1, -1), fit.cost) for label in chosen)
            theirs += time.perf_counter() - begun
            weights = np.asarray(fit.weights[:, chosen, 0], np.float64)
            outputs = np.asarray(turned.coordinates, np.float64) @ weights[:-1] + weights[-1]
            biases = weights[-1] - np.asarray(turned.offset, np.float64) @ weights[:-1]
            slack = np.maximum(0, 1 - np.where(labels[:, None] == chosen, 1, -1) * outputs)
            objectives = (np.sum(weights[:-1] ** 2, 0) + biases**2) / 2 + fit.cost * np.sum(slack**2, 0)
            for mine, (other, settled) in zip(objectives, found, strict=True):
                converged += settled
                worst = max(worst, mine / other - 1)
    scaled = theirs * CLASSES / classes
    return line | {'theirs': scaled, 'ratio': scaled / seconds, 'worst': worst, 'converged': f'{converged} of {classes * len(COSTS)}'}


COLUMNS = (
    tables.Column('layer'),
    tables.Column('dimension', 'dimensions', ',d'),
    tables.Column('ours', 'ours, s', '.1f'),
    tables.Column('theirs', 'LinearSVC, two jobs, s', ',.0f'),
    tables.Column('ratio', 'LinearSVC / ours', '.0f'),
    tables.Column('worst', 'our objective above theirs, at worst', '+.0e'),
    tables.Column('converged', 'LinearSVC converged'),
    tables.Column('unsettled', 'share still to gain', '.0e'),
)


def main(argv):
    jax.config.update('jax_platforms', 'cpu')
    unknown = sorted(set(_LAYERS.value) - set(DIMENSIONS))
    if unknown:
        print(f'probes: --layers names {unknown[0]!r}; choose from {", ".join(DIMENSIONS)}.', file=sys.stderr)
        return 2
    rows = [row(layer, _CLASSES.value, layer in _LAYERS.value) for layer in DIMENSIONS]
    total = SPLITS * sum(line['ours'] for line in rows)
    caption = f'All {CLASSES} classes with {len(COSTS)} values of C, {CLASSES * PER_CLASS:,} examples, one split; the SVM.'
    text = tables.to_markdown(tables.Table(COLUMNS, rows, caption))
    text += (
        f'\nSeven layers, {len(COSTS)} values of C and {SPLITS} splits: {total / 60:.1f} minutes, scaled from one split of each layer.\n'
    )
    text += f'LinearSVC fitted {_CLASSES.value} of the {CLASSES} classes, with its defaults; its time is scaled to all.\n'
    footing.finish(text, 'probes', argv[1:], f'scikit-learn {sklearn.__version__}', (), _OUT.value)


if __name__ == '__main__':
    FLAGS(sys.argv)
    sys.exit(main(sys.argv))
