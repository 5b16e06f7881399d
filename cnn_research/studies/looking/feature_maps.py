"""An image on its way through a layer: its maps after each stage, and what another pooling or normalization would make of them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from cnn_research.architecture import Response
from cnn_research.data import augment
from cnn_research.errors import ArchitectureError
from cnn_research.models import normalization, pooling
from cnn_research.models.network import Network

_WINDOW = 9  # px, of Jarrett et al. 2009


class Passage(NamedTuple):
    """Maps (h, w, C) of one image in one layer.

    stages: {stage: what leaves it}, in the layer's order, dropout left out. pooled: {'max', 'sum'} under the layer's pooling windows;
    empty where it does not pool. normalized: {'before', 'across maps', 'within maps'}: what the layer's normalization reads, or, where it
    has none, what leaves the layer; response normalization across maps (Krizhevsky et al. 2012, 3.3; the layer's own constants, or the
    paper's); local contrast normalization within each map (Jarrett et al. 2009, 2.1), subtractive and then divisive.
    """

    stages: dict[str, np.ndarray]
    pooled: dict[str, np.ndarray]
    normalized: dict[str, np.ndarray]


def passage(network: Network, variables: dict, image, number: int) -> Passage:
    """The Passage of a raw image (H, W, C) through layer `number`; ArchitectureError where that layer has no maps.

    variables: {'params', 'preprocessing'} as `checkpoints.load` returns them; without 'preprocessing' the network sees the image as it is.
    """
    net = network.architecture
    layer, shapes = net.layer(number), net.taps()
    if len(shapes[layer.name]) != 3:
        choices = ', '.join(str(one.number) for one in net.layers if len(shapes[one.name]) == 3)
        raise ArchitectureError(f'{net.name}: layer {number} has no maps to look at; choose from {choices}.')
    there = [(name, stage) for name, stage in layer.named_stages() if stage.role != 'dropout']
    named = [(name, stage) for name, stage in there if len(shapes[f'layer{number}.{name}']) == 3]  # a pyramid's counts are no map

    seen = augment.prepare(jnp.asarray(image)[None], variables.get('preprocessing', augment.AS_IT_IS), net.input_shape)
    found = network.apply({'params': variables['params']}, seen, [f'layer{number}.{name}' for name, _ in named], method='features')
    leaving = list(found.values())
    reading = [(maps, stage) for maps, (_, stage) in zip(leaving, named[1:], strict=False)]
    pools = next((pair for pair in reading if pair[1].role == 'pooling'), None)
    # Without a normalization of its own, a layer is normalized where it ends.
    normalizes = next((pair for pair in reading if pair[1].role == 'normalization'), (leaving[-1], None))
    arrays = (
        dict(zip([name for name, _ in named], leaving, strict=True)),
        _pooled(*pools) if pools else {},
        _normalized(*normalizes),
    )
    return Passage(*({name: np.asarray(maps[0]) for name, maps in kind.items()} for kind in arrays))


def strongest(maps: np.ndarray, count: int) -> list[int]:
    """Numbers of the `count` maps of (h, w, C) with the largest sums, strongest first; of equals the first."""
    return np.argsort(-np.sum(maps, axis=(0, 1)), kind='stable')[:count].tolist()


def _pooled(maps, stage):
    # Subsampling has neither padding nor an unfinished last window.
    windows = (stage.kernel, stage.stride, getattr(stage, 'padding', 0), getattr(stage, 'ceil', False))
    return {'max': pooling.max_pool(maps, *windows), 'sum': pooling.sum_pool(maps, *windows)}


def _normalized(maps, stage):
    constants = stage if isinstance(stage, Response) and stage.across else Response()
    across = normalization.response(maps, constants.size, constants.alpha, constants.beta, constants.k, constants.divided)
    window = min(_WINDOW, *maps.shape[1:3])
    centred = normalization.subtractive_normalization(maps, window, across=False)
    within = normalization.divisive_normalization(centred, window, across=False)
    return {'before': maps, 'across maps': across, 'within maps': within}
