"""What an explorer shows of a network: which tap stands for a layer, which of its units, and an image's maps on their way up."""

from collections.abc import Mapping

import numpy as np

from cnn_research.architecture import Architecture
from cnn_research.studies.looking import feature_maps

NINE = 9
MAPS = 12  # maps, or dense units, of each layer that are strongest on an image


def taps(architecture: Architecture) -> dict[int, str]:
    """{number of the layer: tap}: after the layer's nonlinearity or, where it has none, what leaves it."""
    found = {}
    for layer in architecture.layers:
        after = [name for name, stage in layer.named_stages() if stage.role == 'nonlinearity']
        found[layer.number] = f'{layer.name}.{after[-1]}' if after else layer.name
    return found


def leading(values: np.ndarray, count: int) -> np.ndarray:
    """Numbers of `count` units, in their order: those whose strongest activations values (units, k) are the largest in the mean.

    Of equals the first. An activation that is missing counts as the lowest there is, so that units which nothing excites come last.
    """
    known = np.isfinite(values)
    lowest = values[known].min() if known.any() else 0.0
    return np.argsort(-np.where(known, values, lowest).mean(1), kind='stable')[:count]


def stages(architecture: Architecture) -> dict[int, list[str]]:
    """{number of the layer: taps after its stages}, in order, dropout left out: maps, or dense units where the layer ends in those."""
    shapes, found = architecture.taps(), {}
    for layer in architecture.layers:
        named = [f'{layer.name}.{name}' for name, stage in layer.named_stages() if stage.role != 'dropout']
        found[layer.number] = [tap for tap in named if len(shapes[tap]) == 3] or named[-1:]
    return found


def passed(found: Mapping[str, np.ndarray], names: list[str]) -> tuple[list[int], dict[str, np.ndarray]]:
    """(numbers of maps, {stage: uint8 pictures (n, h, w, 1)}) of one image's maps {tap: (h, w, C)} at the stages of one layer.

    The maps are those with the largest sums after the first stage, the strongest first. Each is divided by its own largest absolute value
    after its stage; zero is black or, where a stage leaves negative values, mid-grey. A layer whose stages differ in how many maps they
    have is shown by those up to the first that differs.
    """
    count = found[names[0]].shape[-1]
    chosen = feature_maps.strongest(found[names[0]], MAPS)
    pictures = {}
    for name in names:
        if found[name].shape[-1] != count:
            break
        maps = np.moveaxis(found[name].astype(np.float32), -1, 0)[chosen]
        largest = np.abs(maps).max((1, 2), keepdims=True)
        shares = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
        signed = maps.min() < 0
        pictures[name.partition('.')[2]] = np.round(127.5 + 127.5 * shares if signed else 255 * shares).astype(np.uint8)[..., None]
    return chosen, pictures
