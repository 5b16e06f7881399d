"""Features over a training (Zeiler & Fergus 2013, section 4.1 and Fig. 4): how far they are from the last ones, and when layers settle."""

from collections.abc import Mapping

import numpy as np

from cnn_research import checkpoints, runs
from cnn_research import config as configs


def compared(workdir: str) -> list[int]:
    """The checkpoints of checkpoint.marks and the last one; all that are there, where the training had no marks."""
    there = checkpoints.steps(workdir)
    config, a_step = (configs.read(workdir), runs.epoch(workdir, 1)) if there else ({}, None)
    if not a_step or not config['checkpoint.marks']:
        return there
    batch_size = config['data.batch_size']
    marks = configs.marked_steps(config['checkpoint.marks'], batch_size, round(batch_size / a_step))
    return [step for step in there if step in marks or step == there[-1]]


def drift(early: Mapping[str, np.ndarray], last: Mapping[str, np.ndarray]) -> dict[str, float]:
    """{tap: 1 - the correlation of features (N, D) early and last}: 0 where they vary over the images alike, 1 where nothing is in common.

    Each feature counts from its mean over the images, and all of them together have one correlation, so that neither the size of
    features, which weight decay changes long after their kind is settled, nor units that never vary decide. A layer that does not vary
    at all has a drift of 1, unless it is the same.
    """
    found = {}
    for tap, array in last.items():
        centred = [one - one.mean(0, dtype=np.float64) for one in (early[tap], array)]
        spread = np.linalg.norm(centred[0]) * np.linalg.norm(centred[1])
        alike = float(np.sum(centred[0] * centred[1]) / spread) if spread else float(np.array_equal(early[tap], array))
        found[tap] = 1 - min(alike, 1.0)
    return found


def settled(epochs: np.ndarray, drift: np.ndarray) -> float | None:
    """The epoch from which on less than half of the first drift is left, between two checkpoints along a straight line.

    epochs, drift: of the untrained network, at epoch 0, and of each checkpoint. None where the first checkpoint has half or less: that
    was somewhere before it, and the untrained network is no checkpoint of a training to draw a line from. NaN where a number is not
    finite. The paper's words are that lower layers converge within a few epochs, upper ones after 40 to 50; it gives no measure.
    """
    if not (np.isfinite(epochs).all() and np.isfinite(drift).all()):
        return np.nan
    half = drift[0] / 2
    above = np.flatnonzero(drift > half)[-1] if half else 0
    if not above:
        return None
    if above + 1 == len(drift):
        return float(epochs[above])
    share = (drift[above] - half) / (drift[above] - drift[above + 1])
    return float(epochs[above] + share * (epochs[above + 1] - epochs[above]))
