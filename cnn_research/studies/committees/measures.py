"""What columns of a committee say of the same test images, alone and together (Ciresan et al. 2012).

Probabilities are (C, N, K): of C columns, for N images, over K classes; labels (N,). A committee's output is the plain average of its
columns' softmax outputs. An image is named wrongly where the most likely class, the first of equal ones, is not its own.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research.studies.committees import report


class Said(NamedTuple):
    """Of one column: probabilities (N, K) of every test image, and its error on the holdout, None without one."""

    probabilities: np.ndarray
    holdout: float | None


def wrong(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """bool (..., N): which images are named wrongly, of probabilities (..., N, K). What is not a number is never right."""
    return (np.argmax(probabilities, axis=-1) != labels) | ~np.isfinite(probabilities).all(axis=-1)


def guesses(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first, second) most likely classes (N,) of probabilities (N, K); of equal ones the first."""
    order = np.argsort(-probabilities, axis=-1, kind='stable')
    return order[:, 0], order[:, 1]


def oracle(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The share of images that all columns name wrongly: what no choice among their answers could mend."""
    return float(wrong(probabilities, labels).all(axis=0).mean())


def disagreement(probabilities: np.ndarray) -> np.ndarray:
    """(C, C): the share of images that two columns name differently, whether or not one of them is right."""
    named = np.argmax(probabilities, axis=-1)
    return np.stack([(named != one).mean(axis=1) for one in named])


def between(shares: np.ndarray, rows: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """(rows, (R, R)): the mean disagreement (C, C) of two different columns, one of each row; NaN where there are no two.

    rows: of each column.
    """
    names, of = list(dict.fromkeys(rows)), np.array(rows)
    found = np.full((len(names), len(names)), np.nan)
    for place, one in enumerate(names):
        for other_place, other in enumerate(names):
            chosen = np.outer(of == one, of == other) & ~np.eye(len(of), dtype=bool)
            if chosen.any():
                found[place, other_place] = shares[chosen].mean()
    return names, found


def curve(probabilities: np.ndarray, labels: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """(draws, C): the error of committees of 1, 2, ... C of the columns, taken one after the other in random orders, of which each column
    begins as many, or one more.

    All orders are of the same columns: two committees of k of C columns share k^2 / C of them on average, and those of C are one committee.
    """
    random, found = np.random.default_rng(seed), np.empty((draws, len(probabilities)))
    for draw in range(draws):
        total = np.zeros(probabilities.shape[1:])
        order = random.permutation(len(probabilities))
        begins = draw % len(order)
        for count, column in enumerate([begins, *order[order != begins]]):
            total += probabilities[column]
            found[draw, count] = wrong(total, labels).mean()
    return found


def replicates(
    columns: Mapping[tuple[str, int], Said], labels: np.ndarray, widths: Sequence[str], plain: str
) -> dict[str, dict[int, np.ndarray]]:
    """{row of report.ROWS: {replicate: (N,), how often each image is named wrongly}} of columns of one recipe by (preprocessing, seed).

    A replicate is a set of columns that no other has. Of the rows over seeds it is a seed, with one column of each preprocessing; of the
    rows of two columns it is two seeds, with two columns of each: over them the two committees of each kind that use every column once, or
    more such committees, are averaged. Seeds that lack a preprocessing are left out, and so is the last of an odd number.
    """
    rows = list(dict.fromkeys(row for row, _ in columns))
    seeds = [seed for seed in sorted({seed for _, seed in columns}) if all((row, seed) in columns for row in rows)]
    found: dict[str, dict[int, np.ndarray]] = {row: {} for row in report.ROWS}

    def two(kinds):
        """The mean over committees of two columns, ((preprocessing, seed), (preprocessing, seed)) each."""
        both = [wrong(columns[one].probabilities + columns[other].probabilities, labels) for one, other in kinds]
        return np.mean(both, axis=0)

    def turned(names):
        """Each name with the one that follows it, the last with the first."""
        return list(zip(names, [*names[1:], *names[:1]], strict=True))

    for seed in seeds if len(rows) > 1 else ():
        said = [columns[row, seed] for row in rows]
        missed = wrong(np.stack([one.probabilities for one in said]), labels)
        found[report.MEAN][seed] = missed.mean(axis=0)
        found[report.ACROSS][seed] = wrong(np.mean([one.probabilities for one in said], axis=0), labels).astype(float)
        if all(one.holdout is not None for one in said):
            found[report.BEST][seed] = missed[int(np.argmin([one.holdout for one in said]))].astype(float)
    own = [row for row in rows if row in widths]
    for number, (one, other) in enumerate(zip(seeds[::2], seeds[1::2], strict=False)):
        if len(rows) > 1:
            found[report.SAME][number] = two([((row, one), (row, other)) for row in rows])
            found[report.MIXED][number] = two([((row, one), (after, other)) for row, after in turned(rows)])
        if len(own) > 1 and plain in rows:
            found[report.WIDTHS][number] = two([((row, one), (after, other)) for row, after in turned(own)])
            found[report.PLAIN][number] = two([((plain, one), (plain, other))])
    return {row: of for row, of in found.items() if of}
