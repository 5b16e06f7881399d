"""Which units and images a figure shows, by rules that its caption states: they look at the images of one split and at nothing else.

Of k strongest images of each of U units `values` (U, k) are the activations, missing ones not finite, and `labels` (U, k) the classes.
"""

import numpy as np

from cnn_research.studies.looking import explorer

# What a caption says of each, and a page once.
RULES = {
    'selective': (
        'the most selective',
        'of every class in turn the unit whose strongest images are most often of it, of equals the one with the larger mean activation',
    ),
    'strongest': ('the strongest', 'those whose strongest images excite them the most in the mean'),
    'spread': ('evenly spaced', 'evenly spaced by number, whatever excites them'),
}


def exciting(values: np.ndarray) -> np.ndarray:
    """bool (U, k): which of the images excite their unit: in a layer that has nothing below 0, as after rectification, 0 does not."""
    known = np.isfinite(values)
    rectified = not (values[known] < 0).any()
    return known & (values != 0) if rectified else known


def commonest(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(class, of how many images) (U,) each: the class that most of the images have that excite the unit, of equals the one of the
    strongest image; -1 and 0 where nothing excites it."""
    excited = exciting(values)
    counts = ((labels[:, :, None] == labels[:, None]) & excited[:, None]).sum(2) * excited
    first = counts.argmax(1)
    most = counts[np.arange(len(counts)), first]
    return np.where(most > 0, labels[np.arange(len(labels)), first], -1), most


def units(rule: str, count: int, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Numbers of `count` units, or of all where there are fewer, by one of RULES, the first of its order first; 'spread' rises.

    Units that nothing excites come last, but for 'spread', which looks at no activation.
    """
    if rule == 'spread':
        return np.unique(np.linspace(0, len(values) - 1, min(count, len(values))).astype(int))
    order = explorer.leading(np.where(exciting(values), values, -np.inf), len(values))
    if rule == 'selective':
        classes, most = (one[order] for one in commonest(values, labels))
        best = np.argsort(-most, kind='stable')
        order, classes = order[best], classes[best]
        before = (classes[:, None] == classes) & np.tri(len(classes), k=-1, dtype=bool)  # better ones of the same class
        order = order[np.argsort(np.where(classes < 0, len(classes), before.sum(1)), kind='stable')]
    return order[:count]


def dropping(clean: np.ndarray, lowest: np.ndarray, count: int) -> np.ndarray:
    """Places, rising, of the `count` images whose probability falls the furthest from `clean` to `lowest` (N,); of equals the first."""
    return np.sort(np.argsort(lowest - clean, kind='stable')[:count])
