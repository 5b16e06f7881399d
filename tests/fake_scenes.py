"""Sets with boxes that live in memory, and a small network to look at them."""

import jax
import numpy as np

from cnn_research import config as configs
from cnn_research import features, tasks
from cnn_research.checkpoints import Trained
from cnn_research.data.scene import Scenes
from cnn_research.studies.detection import windows

TEXT = 'alexnet_32 without(3,4,5,7) resized(1=4,2=6,6=8)'
HOW = windows.How(context=2, side=3)
ONE = jax.local_devices()[:1]


class Pixels:
    """The images of a set; `asked` is what was read."""

    def __init__(self, images):
        self.images, self.asked = images, []

    def __call__(self, indices):
        self.asked += [int(index) for index in indices]
        return [self.images[index] for index in indices]


def in_memory(scenes, class_names=('a', 'b'), fingerprint='of fake'):
    """Scenes of some with images."""
    sizes, bare = (
        np.array([scene.image.shape[:2] for scene in scenes]).reshape(-1, 2),
        tuple(scene._replace(image=None) for scene in scenes),
    )
    return Scenes('fake', 'train', class_names, fingerprint, fingerprint, sizes, bare, Pixels([scene.image for scene in scenes]))


def pictured(some):
    """The scenes of a set, with their images, as if nobody had asked."""
    return [scene._replace(image=image) for scene, image in zip(some.objects, some.pixels.images, strict=True)]


def boxes_in(random, count, height, width):
    corners = random.uniform(0, [height - 8, width - 8], (count, 2))
    return np.concatenate([corners, corners + random.uniform(4, 12, (count, 2))], axis=1)


def network(text=TEXT, mean=(100.0,), **settings):
    config = configs.update(configs.default(), {'architecture': text, **settings})
    net = tasks.network(config)
    preprocessing = {'mean': np.asarray(mean, np.float32), 'scale': np.full(1, 0.02, np.float32)}
    variables = {'params': jax.tree.map(np.asarray, features.untrained(net, 3)), 'preprocessing': preprocessing}
    return Trained(net.architecture, variables, config, 0)
