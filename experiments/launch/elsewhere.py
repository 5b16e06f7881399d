"""Networks whose features are taken to data that they did not learn, for the commands that ask what features are worth there."""

import functools
import pathlib
from typing import NamedTuple

import numpy as np

from cnn_research import checkpoints, features, tasks
from cnn_research import config as configs
from cnn_research.architecture import Architecture
from cnn_research.data import preprocessing
from cnn_research.data.source import Source
from cnn_research.data.views import views
from cnn_research.errors import ConfigError
from experiments.launch import command, looking

FIELDS = tuple(field for field in looking.FIELDS if field.name in ('network', 'look.step', 'look.mean'))
MOST_TAPS = 9  # of a network that is deep


class Named(NamedTuple):
    """name: what a row calls it, no two alike."""

    name: str
    home: str
    trained: checkpoints.Trained

    @property
    def published(self) -> bool:
        """Whether it is a file's, which does not say what it learned from."""
        return pathlib.Path(self.home).is_file()

    @property
    def notes(self) -> tuple[str, ...]:
        """What should be said beside its numbers."""
        unknown = f'{self.name}: which images it learned from is not known; some of those judged on may be among them'
        begun = f'{self.name}: how it began is not known; untrained stands for He et al. weights of seed {self.trained.config.seed}'
        return (*self.trained.notes, unknown, begun) if self.published else self.trained.notes

    def learned(self, source: str) -> bool:
        """Whether it learned from the source of this name."""
        return not self.published and tasks.same_data(self.trained.config, source, self.trained.data)


def networks(given: command.Command, planned: bool = False) -> list[Named]:
    """The networks that are named, or the one that the command trains itself; planned: what that will be, without variables."""
    homes = looking.workdirs(given)
    if len({pathlib.Path(home).resolve() for home in homes}) < len(homes):
        raise ConfigError(f'network={given.options.network!r} names one network twice; leave one out.')
    if given.options.network:
        loaded = [looking.network(given, home) for home in homes]
    elif planned:
        config = configs.check(given.config)
        loaded = [checkpoints.Trained(configs.network(config), {}, config, 0)]
    else:
        loaded = [looking.grown(given, homes[0])]
    called = [_called(trained, home) for trained, home in zip(loaded, homes, strict=True)]
    names = [f'{name} ({called[:place].count(name) + 1})' if called.count(name) > 1 else name for place, name in enumerate(called)]
    return [Named(*each) for each in zip(names, homes, loaded, strict=True)]


def _called(trained, home) -> str:
    short, learned = trained.architecture.name.split()[0], trained.config.data.name
    learned = pathlib.Path(learned).name if learned.startswith('folder:') else learned.partition('/')[0]
    return f'{short}, {"published" if pathlib.Path(home).is_file() else learned}'


def default_taps(net: Architecture) -> list[str]:
    """Every layer below the last and, of a hidden dense layer, what enters its nonlinearity; where there are more than MOST_TAPS such
    layers, every second or third from the lowest on (of SqueezeNet its first convolution and its fire modules)."""
    layers = net.layers[:-1]
    layers = layers[:: -(-len(layers) // MOST_TAPS)]
    return [tap for layer in layers for tap in ([f'{layer.name}.dense'] if layer.stages[0].name == 'dense' else []) + [layer.name]]


def variables(named: Named, seen: bool) -> dict:
    """Of the trained network or, where not `seen`, of the same one before its training, with the weights that its seed begins with."""
    if seen:
        return named.trained.variables
    fresh = features.untrained(tasks.network(named.trained.config), named.trained.config.seed)
    return {**named.trained.variables, 'params': fresh}


def gathered(workdir: pathlib.Path, named: Named, seen: bool, taps: list[str], source: Source, side: int, which: str):
    """{tap: float32 (V, N, D)} of all images of a source in V views (data.views.VIEWS), computed once and kept in WORKDIR/features.

    Maps are averaged to side x side px; images are preprocessed and scaled as in the network's training.
    """
    net, learned = tasks.network(named.trained.config), variables(named, seen)
    source = preprocessing.applied(source, named.trained.config.data.preprocessing)
    resize = tasks.resize_of(named.trained.config, source.image_shape, named.trained.image_shape)
    parts = []
    for view in views(source, which):
        folder = workdir / 'features' / features.fingerprint(net, learned, view, side, resize)
        collect = functools.partial(features.collect, net, learned, view, side=side, resize=resize)
        parts.append(features.kept(folder, taps, collect))
    return {tap: np.stack([part[tap] for part in parts]) if len(parts) > 1 else parts[0][tap] for tap in taps}
