"""Sets with boxes that live in memory, and a small network to look at them."""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from cnn_research import config as configs
from cnn_research import features, tasks
from cnn_research.checkpoints import Trained
from cnn_research.studies.detection import windows

TEXT = 'alexnet_32 without(3,4,5,7) resized(1=4,2=6,6=8)'
HOW = windows.How(context=2, side=3)
ONE = jax.local_devices()[:1]


class Scene(NamedTuple):
    name: str
    image: np.ndarray | None
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray


@dataclasses.dataclass
class Scenes:
    """A set with boxes, in memory; `asked` is what was read."""

    scenes: list
    class_names: tuple = ('a', 'b')
    name: str = 'fake'
    split: str = 'train'
    fingerprint: str = 'of fake'
    asked: list = dataclasses.field(default_factory=list)

    num_examples = property(lambda self: len(self.scenes))
    num_classes = property(lambda self: len(self.class_names))

    def read(self, indices):
        self.asked += [int(index) for index in indices]
        return [self.scenes[index] for index in indices]

    def truths(self):
        return [scene._replace(image=None) for scene in self.scenes]


def boxes_in(random, count, height, width):
    corners = random.uniform(0, [height - 8, width - 8], (count, 2))
    return np.concatenate([corners, corners + random.uniform(4, 12, (count, 2))], axis=1)


def network(text=TEXT, mean=(100.0,), **settings):
    config = configs.update(configs.default(), {'architecture': text, **settings})
    net = tasks.network(config)
    preprocessing = {'mean': np.asarray(mean, np.float32), 'scale': np.full(1, 0.02, np.float32)}
    variables = {'params': jax.tree.map(np.asarray, features.untrained(net, 3)), 'preprocessing': preprocessing}
    return Trained(net.architecture, variables, config, 0)
