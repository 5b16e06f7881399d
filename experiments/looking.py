"""What the commands that look into one trained network share: the network, the images, and the page that they leave."""

import pathlib
from typing import NamedTuple

import numpy as np

from cnn_research import checkpoints, tasks, train
from cnn_research import config as configs
from cnn_research.config import Field
from cnn_research.data import augment, stream
from cnn_research.data.sources import Source, open_source
from cnn_research.errors import ConfigError
from cnn_research.models.network import Network
from cnn_research.reporting import page
from cnn_research.reporting.shelf import Shelf
from experiments import command, progress

FIELDS = (
    Field('network', '', "workdir of a training, or a file of published weights; '' = train the network that the config describes"),
    Field('look.step', 0, 'step of the checkpoint; 0 = the newest', low=0),
    Field('look.data', '', "the source that is looked at; '' = the one that the network learned"),
    Field('look.split', '', "its split; '' = the one that the network is tested on, 'test' of another source"),
)
IMAGES = Field('look.images', '0,1,2,3,4,5', 'numbers of the images in that split')


class Looked(NamedTuple):
    """A network, with its variables, and a source of its images. name: what a caption calls it; resize: as data.resize of a training."""

    name: str
    trained: checkpoints.Trained
    network: Network
    source: Source
    resize: int

    @property
    def variables(self) -> dict:
        return self.trained.variables


class Pictures(NamedTuple):
    """Some images of a source: raw, as they are read, (N, H, W, C); seen, the centre that the network sees, uint8; labels (N,); boxes."""

    raw: np.ndarray
    seen: np.ndarray
    labels: np.ndarray
    names: list[str]


def numbers(given: command.Command, source: Source) -> np.ndarray:
    """look.images as indices of the source; ConfigError for one that it does not have."""
    chosen = configs.numbers(given.options.look.images, 'look.images')
    if not chosen or chosen[-1] >= source.num_examples:
        raise ConfigError(
            f'look.images={given.options.look.images!r}, but {source.name} ({source.split}) has images 0 to {source.num_examples - 1}.'
        )
    return np.array(chosen)


def pictures(looked: Looked, indices) -> Pictures:
    """The given images of the source."""
    images, labels = looked.source.read(indices)
    raw = np.stack([stream.resized(image, looked.resize) for image in images] if looked.resize else images)
    seen = np.asarray(augment.prepare(raw, augment.AS_IT_IS, looked.network.architecture.input_shape)).astype(np.uint8)
    names = [f'{index}: {looked.source.class_names[label]}' for index, label in zip(indices, labels, strict=True)]
    return Pictures(raw, seen, labels, names)


def opened(given: command.Command, named: str | None = None) -> Looked:
    """The network, trained first where none is named, and its source; ResearchError for what is not there."""
    named = given.options.network if named is None else named
    if not named:
        home = given.workdir / 'network'
        show = progress.Progress(given, '[network] ')
        train.fit(configs.check(given.config), home, watch=show, stop=command.stopper())
        named = str(home)
    trained = checkpoints.trained(named, given.options.look.step or None)
    config, data = trained.config, given.options.look.data
    split = given.options.look.split or (config.data.test if data in ('', config.data.name) else 'test')
    where = given.config.data.dir or config.data.dir or None
    source = open_source(data or config.data.name, split, where)
    shape, own = trained.architecture.input_shape, data in ('', config.data.name)
    resize = config.data.resize if own or config.data.resize else (shape[0] if source.image_shape != shape else 0)
    name = f'{trained.architecture.name} at step {trained.step:,}' if trained.step else trained.architecture.name
    return Looked(name, trained, tasks.network(config), source, resize)


def planned(given: command.Command) -> None:
    """What a dry run prints."""
    from experiments import plans

    if given.options.network:
        looked = opened(given)
        print(f'{looked.name}; {looked.source.num_examples:,} images of {looked.source.name} ({looked.source.split})')
    else:
        print(plans.training(given.config))


def shelf(given: command.Command) -> Shelf:
    """Where tables and figures go."""
    return Shelf(given.workdir, given.name, ())


def written(given: command.Command, title: str, lead: str, sections, arrays: dict[str, np.ndarray]) -> None:
    """Writes report.html, and the arrays that the figures show as arrays.npz."""
    given.workdir.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(given.workdir / 'arrays.npz', **arrays)
    line = progress.elsewhere(given.line)
    pathlib.Path(given.workdir, 'report.html').write_text(page.page(title, lead, sections, line))
    print(f'report: {given.workdir / "report.html"}')
