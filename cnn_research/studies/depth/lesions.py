"""Lesions: the surgery of an ablation done on a network that is already trained.

An ablation trained from scratch says what a layer is needed for while learning; a lesion, what the grown network needs it for. `base` is
the architecture that was trained, `net` the same after surgery.
"""

from collections.abc import Mapping

from cnn_research.architecture import Architecture
from cnn_research.errors import ArchitectureError


def changed(base: Architecture, net: Architecture) -> tuple[int, ...]:
    """Numbers of the layers of `net` that cannot keep base's parameters: what they read has another shape, or their map is another.

    ArchitectureError for a layer that base does not have.
    """

    def maps(one):
        shapes = {}
        for row in one.rows:
            shapes.setdefault(row.layer, row.input)
        return {layer.number: (shapes[layer.number], layer.stages[0]) for layer in one.layers}

    old, new = maps(base), maps(net)
    for number in set(new) - set(old):
        raise ArchitectureError(f'{net.name} has a layer {number} that {base.name} has not: it is no lesion of it.')
    return tuple(number for number in new if new[number] != old[number])


def retrained(base: Architecture, net: Architecture) -> tuple[int, ...]:
    """Numbers of the layers that a refit learns anew: the changed ones and the classifier."""
    return tuple(sorted({*changed(base, net), net.layers[-1].number}))


def kept(base: Architecture, net: Architecture, params: Mapping[str, dict]) -> dict[str, dict]:
    """{layer: parameters} of `params` that stay, frozen, in a refit of `net`."""
    learned = {f'layer{number}' for number in retrained(base, net)}
    return {layer.name: params[layer.name] for layer in net.layers if layer.name not in learned}


def bypassed(base: Architecture, net: Architecture, params: Mapping[str, dict]) -> dict[str, dict] | None:
    """Base's parameters for `net` as it is, nothing retrained; None where the shapes do not allow it."""
    return None if changed(base, net) else {layer.name: params[layer.name] for layer in net.layers}
