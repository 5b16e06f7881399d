"""What the commands that look into one trained network share: the network, the images, and the page that they leave."""

import json
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cnn_research import checkpoints, journal, tasks, train
from cnn_research import config as configs
from cnn_research.architecture import Architecture
from cnn_research.config import Field
from cnn_research.data import augment, stream, wordnet
from cnn_research.data.sources import Source, open_source
from cnn_research.errors import ConfigError
from cnn_research.models.network import Network
from cnn_research.reporting import page
from cnn_research.reporting.shelf import Shelf
from experiments import command, plans, progress

FIELDS = (
    Field('network', '', "workdir of a training, or a file of published weights; '' = train the network that the config describes"),
    Field('look.step', 0, 'step of the checkpoint; 0 = the newest', low=0),
    Field('look.data', '', "the source that is looked at; '' = the one that the network learned"),
    Field('look.split', '', "its split; '' = the one that the network is tested on, 'test' of another source"),
)
IMAGES = Field('look.images', '0,1,2,3,4,5', 'numbers of the images in that split')


class Page(NamedTuple):
    """What a command has drawn: sections are (heading, markup); arrays: what the figures show, by name."""

    title: str
    lead: str
    sections: list[tuple[str, str]]
    arrays: dict[str, np.ndarray]


class Looked(NamedTuple):
    """A network, with its variables, and a source of its images.

    name: what a caption calls it; resize: as data.resize of a training; classes: names of what the network tells apart; labelled: whether
    these are the source's own.
    """

    name: str
    trained: checkpoints.Trained
    network: Network
    source: Source
    resize: int
    classes: tuple[str, ...]
    labelled: bool

    @property
    def truth(self) -> str:
        """What the label of one of `pictures` is called."""
        return 'true class' if self.labelled else 'class named at first'

    @property
    def variables(self) -> dict:
        return self.trained.variables

    @property
    def images(self) -> str:
        """What a caption calls the images."""
        return f'{self.source.name} ({self.source.split})'


Check = Callable[[command.Command, Architecture, Source], None]
Draw = Callable[[command.Command, Looked, Shelf], Page]


class Pictures(NamedTuple):
    """Some images of a source.

    raw: uint8 (N, H, W, C), as they are read; seen: uint8 (N, h, w, c), the centre that the network sees; labels (N,), as the network
    counts its classes: the true ones or, where the source has others, those that it names itself; names: what a caption calls each.
    """

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
    names = [f'{index}: {_meant(looked.source.class_names[label])}' for index, label in zip(indices, labels, strict=True)]
    if not looked.labelled:
        prepared = augment.prepare(raw, looked.variables['preprocessing'], looked.network.architecture.input_shape)
        labels = np.argmax(looked.network.apply({'params': looked.variables['params']}, prepared)[0], axis=1)
    return Pictures(raw, seen, labels, names)


def _meant(name: str) -> str:
    return wordnet.MEANINGS.get(name, name)


def workdirs(given: command.Command) -> list[str]:
    """The networks that are named, or the one that the command trains itself."""
    return [name.strip() for name in given.options.network.split(',') if name.strip()] or [str(given.workdir / 'network')]


def named(trained: checkpoints.Trained, home: str) -> str:
    """What a caption calls a network: with the epoch of its checkpoint, or the step where no record says the epoch."""
    if not trained.step:
        return trained.architecture.name
    epoch = journal.epoch(home, trained.step)
    return f'{trained.architecture.name} ' + (f'at step {trained.step:,}' if epoch is None else f'after epoch {epoch:.3g}')


def opened(given: command.Command, check: Check) -> Looked:
    """The first of `workdirs`, trained where none is named, and its source.

    check(given, architecture, source) raises ResearchError for what cannot be looked at, before anything is trained; so does this function
    for what is not there.
    """
    options, home = given.options.look, workdirs(given)[0]
    trained = checkpoints.trained(home, options.step or None) if given.options.network else None
    config = trained.config if trained else configs.check(given.config)
    own = options.data in ('', config.data.name)
    where = given.config.data.dir or config.data.dir or None
    source = open_source(options.data or config.data.name, options.split or (config.data.test if own else 'test'), where)
    check(given, configs.network(config), source)
    if not trained:
        train.fit(config, home, watch=progress.Progress(given, '[network] '), stop=command.stopper())
        trained = checkpoints.load(home, options.step or None)
    outputs = trained.architecture.rows[-1].output[-1]
    # The source that was learned, or one as large for published weights: both count ImageNet's classes in the order of their identifiers.
    labelled = outputs == len(source.class_names) and (source.name == config.data.name or not pathlib.Path(home).is_dir())
    classes = tuple(map(_meant, source.class_names)) if labelled else tuple(f'class {number}' for number in range(outputs))
    return Looked(named(trained, home), trained, tasks.network(config), source, tasks.resize_of(config, source), classes, labelled)


def run(given: command.Command, draw: Draw, check: Check, several: bool = False) -> None:
    """Writes what is drawn of a network; --dry_run says what that would be. several: whether `network` may name more than one."""
    if not several and len(workdirs(given)) > 1:
        raise ConfigError(f'network={given.options.network!r} names {len(workdirs(given))} networks; {given.name} looks into one.')
    if given.dry_run and not given.options.network:
        print(plans.training(given.config))
        return
    looked = opened(given, check)
    if given.dry_run:
        print(f'{looked.name}; {looked.source.num_examples:,} images of {looked.images}')
        return
    begun, shelf = time.perf_counter(), Shelf(given.workdir, given.name, ())
    drawn = draw(given, looked, shelf)
    _written(given, drawn, shelf, time.perf_counter() - begun)


def _written(given: command.Command, drawn: Page, shelf: Shelf, seconds: float) -> None:
    """arrays.npz, report.html and README.md, which say how they were made."""
    np.savez_compressed(given.workdir / 'arrays.npz', **drawn.arrays)
    facts = progress.facts(given.line) | {'time': progress.duration(seconds)}
    homes = workdirs(given)
    facts |= {
        f'network {number}' if len(homes) > 1 else 'network': _origin(given, pathlib.Path(home)) for number, home in enumerate(homes, 1)
    }
    sections = [*drawn.sections, ('How it was made', page.facts_html([fact for fact in facts.items() if fact[0] != 'command']))]
    (given.workdir / 'report.html').write_text(page.page(drawn.title, drawn.lead, sections, progress.elsewhere(given.line)))
    named_so = ' --config.network=WORKDIR' + ',...' * (len(homes) > 1) if given.options.network else ''
    facts['command'] = f'`{progress.elsewhere(given.line, "config.network")}{named_so}`'
    parts = [f'# {drawn.title}\n', f'{drawn.lead}\n', *shelf.markdown, 'How it was made:\n', *(f'- {k}: {v}' for k, v in facts.items())]
    (given.workdir / 'README.md').write_text('\n'.join(parts) + '\n')
    print(f'report: {given.workdir / "report.html"}')


def _origin(given: command.Command, home: pathlib.Path) -> str:
    """Where a network is from: its training's command and test error, as far as they are known, or the name of its file."""
    if not home.is_dir():
        return home.name
    said = [json.loads((home / name).read_text()) if (home / name).is_file() else {} for name in ('run.json', 'result.json')]
    words = progress.elsewhere(said[0].get('command', 'unknown command')) if given.options.network else 'trained by this command'
    return f'{words}; test error {100 * said[1]["test"]["top1_error"]:.2f} %' if 'test' in said[1] else words
