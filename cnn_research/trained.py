"""A trained network that takes images as a source gives them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from cnn_research import classes, evaluate, memory, tasks
from cnn_research.architecture import Architecture
from cnn_research.data import augment, preprocessing, stream
from cnn_research.data.sources import Source
from cnn_research.errors import ConfigError, SourceError
from cnn_research.models.network import Network, check_taps

_BATCH = 200  # images at once


class Trained(NamedTuple):
    """A trained network: variables {'params', 'preprocessing'} go to Network.apply and evaluate.

    class_names: what its outputs mean, () where nobody wrote it down. image_shape: (H, W, C) of the images that it learned from, before
    data.resize; None where they differed in size or it is not known. data: {role: fingerprint} of what it learned from, {} where that is
    not known. notes: what should be said beside its numbers, such as that it is not the newest state.
    """

    architecture: Architecture
    variables: dict
    config: ml_collections.ConfigDict
    step: int
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    image_shape: tuple[int, int, int] | None = None
    data: Mapping[str, str] = {}

    def predict(self, images) -> np.ndarray:
        """Probabilities (B, classes), float32, of raw images: the softmax of the network's outputs, in the order of `class_names`.

        images: uint8 (B, H, W, C), or a list of (H, W, C) of any sizes, C = 1 for grey. They are preprocessed and scaled as in the
        training (other images to the size of those that it learned from), and the centre is seen. SourceError for any other images.
        """
        top = self.architecture.layers[-1].name
        return np.asarray(jax.nn.softmax(self.features(images, (top,))[top].astype(np.float32)))

    def features(self, images, taps: Sequence[str]) -> dict[str, np.ndarray]:
        """{tap: (B, h, w, maps) or (B, units)} of raw images as `predict` takes them; ArchitectureError for an unknown tap."""
        check_taps(self.architecture, taps)
        images = self._checked(images)
        network, parts = tasks.network(self.config), []
        size = memory.batch(self.architecture, _BATCH)
        for start in range(0, len(images), size):
            parts.append(_seen(network, tuple(taps))(self.variables, np.stack(images[start : start + size])))
        return {tap: np.concatenate([np.asarray(part[tap]) for part in parts]) for tap in taps}

    def evaluate(self, source: Source, views: str = 'centre') -> evaluate.Result:
        """What the network does on every example of a source, preprocessed and scaled as in its training.

        The source's classes are found among the network's by their names (classes.match); ConfigError where one is not. views: as of
        evaluate.evaluate.
        """
        config, outputs = self.config, classes.match(self.class_names or None, source.class_names)
        if outputs is None:
            raise ConfigError(f'{classes.why_unmatched(self.class_names, source.name, source.class_names)}.')
        memory.check_evaluation(config, self.architecture)
        source = preprocessing.applied(source, config.data.preprocessing)
        read, names = _Counted(source.read, outputs), self.class_names
        counted = dataclasses.replace(source, read=read, class_names=names, num_classes=len(names))
        resize = tasks.resize_of(config, source.image_shape, self.image_shape)
        network, size = tasks.network(config), config.evaluate.batch_size
        return evaluate.evaluate(network, self.variables, counted, views, config.loss.name, size, resize, config.loss.j)

    def _checked(self, images) -> list[np.ndarray]:
        """The images, scaled; they must be as a source gives them."""
        images = [np.asarray(image) for image in images]
        channels = self.architecture.input_shape[2]
        if not images:
            raise SourceError('there are no images; give uint8 (B, H, W, C).')
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in {1, channels} or 0 in image.shape:
                raise SourceError(
                    f'an image is {image.dtype} {image.shape}; give a batch of raw images, uint8 (B, H, W, C) with C = '
                    f'{"1" if channels == 1 else f"1 or {channels}"}: preprocessing is done inside.'
                )
        images = [preprocessing.preprocessed(image, self.config.data.preprocessing) for image in images]
        sides = [tasks.resize_of(self.config, image.shape, self.image_shape) for image in images]  # whatever images come with it
        images = [stream.resized(image, side) if side else image for image, side in zip(images, sides, strict=True)]
        sizes = {image.shape[:2] for image in images}
        if len(sizes) > 1:
            raise SourceError(f'images of {" and ".join(f"{h} x {w}" for h, w in sorted(sizes)[:2])} px are seen as they are, each alone.')
        return [np.repeat(image, channels, axis=2) if image.shape[2] < channels else image for image in images]


@dataclasses.dataclass(frozen=True)
class _Counted:
    """What a source reads, with labels as the network counts its classes."""

    read: Callable
    outputs: tuple[int, ...]

    def __call__(self, indices):
        images, labels = self.read(indices)
        return images, np.array(self.outputs, np.int32)[labels]


@functools.lru_cache(maxsize=8)
def _seen(network: Network, taps: tuple[str, ...]):
    def run(variables, images):
        seen = augment.prepare(images, variables['preprocessing'], network.architecture.input_shape)
        return network.apply({'params': variables['params']}, seen, taps=taps, method='features')

    return jax.jit(run)
