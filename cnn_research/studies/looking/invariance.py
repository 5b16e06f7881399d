"""Invariance (Zeiler and Fergus 2013, section 4.1, Fig. 5): how far features move when an image is moved, enlarged or turned.

Images are transformed about their centre before the network's view is cut out of them, so that where they are larger than that view, what
comes into it is image; only beyond the image is there a colour. The paper says neither what it had there nor how its distances are scaled:
here they are Euclidean, and stand beside the length of the original's features.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import parallel
from cnn_research.data import augment
from cnn_research.errors import ConfigError, nearest
from cnn_research.models.network import Network, check_taps
from cnn_research.studies.looking.occlusion import GREY, check_colour

# From a value to (the matrix from offsets in the new image to offsets in the original, how far down the new image lies, px).
TRANSFORMATIONS: dict[str, Callable] = {
    'translation': lambda pixels: (jnp.eye(2), pixels),
    'scale': lambda factor: (augment.affine_matrix(1 / factor, 1 / factor, 0.0, 0.0), 0.0),
    'rotation': lambda degrees: (augment.affine_matrix(1.0, 1.0, -jnp.deg2rad(degrees), 0.0), 0.0),
}


class Invariance(NamedTuple):
    """N images under T values of a transformation.

    distance: {tap: (N, T)}, Euclidean distance between the features of the original and of the transformed image; length: {tap: (N,)},
    of the original's features; probability (N, T): of the true class.
    """

    values: np.ndarray
    distance: dict[str, np.ndarray]
    length: dict[str, np.ndarray]
    probability: np.ndarray


@functools.partial(jax.jit, static_argnames='kind')
def transformed(images, kind: str, value, colour=GREY) -> jax.Array:
    """Images (N, H, W, C) under one of TRANSFORMATIONS about the centre, bilinear: float32 (N, H, W, C).

    translation: pixels downwards; scale: above 1 enlarges; rotation: degrees counter-clockwise. colour: grey levels (one, or one for each
    channel) of what the image does not reach.
    """
    matrix, down = TRANSFORMATIONS[kind](jnp.float32(value))
    height, width = images.shape[1:3]
    rows = jnp.arange(height, dtype=jnp.float32)[:, None] - (height - 1) / 2 - down
    columns = jnp.arange(width, dtype=jnp.float32)[None, :] - (width - 1) / 2
    # Multiplied out, because a matrix product may run in reduced precision on an accelerator.
    source_rows = matrix[0, 0] * rows + matrix[0, 1] * columns + (height - 1) / 2
    source_columns = matrix[1, 0] * rows + matrix[1, 1] * columns + (width - 1) / 2
    colour = jnp.asarray(colour, jnp.float32)
    moved = jax.vmap(augment.bilinear, (0, None, None))(jnp.asarray(images, jnp.float32) - colour, source_rows, source_columns)
    return moved + colour


def invariance(
    network: Network, variables: dict, images, labels, kind: str, values: Sequence[float], taps: Sequence[str], colour=GREY
) -> Invariance:
    """The Invariance of raw images (N, H, W, C) with labels (N,) under `values` of a transformation, at the taps.

    variables: {'params', 'preprocessing'} as `checkpoints.load` returns them; without 'preprocessing', images and colour are in the
    network's own units. kind and colour: see `transformed`. Raises ArchitectureError for an unknown tap, ConfigError for an unknown kind,
    and for values or a colour that are none.
    """
    check_taps(network.architecture, taps)
    if kind not in TRANSFORMATIONS:
        raise ConfigError(f'no transformation {kind!r}; choose from {", ".join(TRANSFORMATIONS)}.{nearest(kind, TRANSFORMATIONS)}')
    if not len(values) or not np.isfinite(values).all() or (kind == 'scale' and min(values) <= 0):
        raise ConfigError(f'a {kind} needs finite values, one or more{", above 0" * (kind == "scale")}, not {list(values)}.')
    check_colour(colour, variables, network.architecture.input_shape)
    seen = _compiled(network, tuple(taps))
    images, labels = jnp.asarray(images), np.asarray(labels)
    preprocessing = variables.get('preprocessing', augment.AS_IT_IS)
    # The originals go through the very same program, so that rounding moves nothing that the transformation leaves alone.
    originals, _ = seen(variables['params'], preprocessing, jnp.asarray(images, jnp.float32))
    distances, probabilities = [], []
    for value in values:
        features, own = seen(variables['params'], preprocessing, transformed(images, kind, value, colour))
        distances.append({tap: _length(features[tap] - originals[tap]) for tap in taps})
        probabilities.append(np.asarray(own)[np.arange(len(labels)), labels])
    return Invariance(
        np.asarray(values),
        {tap: np.stack([one[tap] for one in distances], axis=1) for tap in taps},
        {tap: _length(originals[tap]) for tap in taps},
        np.stack(probabilities, axis=1),
    )


@functools.lru_cache(maxsize=8)
def _compiled(network, taps):
    """(params, preprocessing, float images) -> ({tap: (N, features)}, probabilities (N, classes))."""

    def run(params, preprocessing, images):
        view = augment.prepare(images, preprocessing, network.architecture.input_shape)
        logits, features = network.apply({'params': params}, view, taps=taps)
        return {tap: array.astype(jnp.float32).reshape(len(images), -1) for tap, array in features.items()}, jax.nn.softmax(logits)

    return jax.jit(run, compiler_options=parallel.compiler_options())


def _length(features):
    return np.linalg.norm(np.asarray(features), axis=1)
