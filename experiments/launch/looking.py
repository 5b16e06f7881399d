"""What the commands that look into one trained network share: the network, the images, and the page that they leave."""

import pathlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cnn_research import checkpoints, classes, memory, runs, tasks, train
from cnn_research import config as configs
from cnn_research.architecture import Architecture
from cnn_research.data import preprocessing
from cnn_research.data.sources import Source, open_source
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from cnn_research.models.network import Network, check_taps
from cnn_research.reporting.shelf import Shelf
from experiments.launch import command, outcome, plans, progress

FIELDS = (
    Field(
        'network',
        '',
        "workdir of a training, or a file of published weights, some commands take several, 'DIR,DIR'; '' = train one",
    ),
    Field('look.step', 0, 'step of the checkpoint; 0 = that of the result, or else the newest', low=0),
    Field('look.mean', '', "a file of the mean image that goes with a .caffemodel (.binaryproto, .npy); '' = its mean pixel"),
    Field('look.data', '', "the source that is looked at; '' = the one that the network learned"),
    Field('look.split', '', "its split; '' = the one that the network is tested on, 'test' of another source"),
)


class Looked(NamedTuple):
    """A network, with its variables, and a source of its images.

    notes: what should be said beside its numbers. name: what a caption calls it; resize: as data.resize of a training; classes: names of
    what the network tells apart; outputs: the network's output for each class of the source, by their names, None where they do not match.
    """

    name: str
    trained: checkpoints.Trained
    network: Network
    source: Source
    resize: int
    classes: tuple[str, ...]
    outputs: tuple[int, ...] | None
    notes: tuple[str, ...] = ()

    @property
    def truth(self) -> str:
        """What one of `classes` is called."""
        return 'class named at first' if self.outputs is None else 'true class'

    @property
    def variables(self) -> dict:
        return self.trained.variables

    @property
    def batch(self) -> int:
        """How many images a pass takes at once."""
        return memory.batch(self.trained.architecture, 100)

    @property
    def images(self) -> str:
        """What a caption calls the images."""
        seen = self.trained.config.data.preprocessing
        return f'{self.source.name} ({self.source.split})' + (f', {seen}' if seen != 'none' else '')


Check = Callable[[command.Command, Architecture, Source], None]
Draw = Callable[[command.Command, Looked, Shelf], outcome.Page]


def listed(text: str, field: str) -> list[str]:
    """The names in a field that takes several, separated by commas; ConfigError for one that is there twice."""
    names = [name.strip() for name in text.split(',') if name.strip()]
    if len(set(names)) < len(names):
        raise ConfigError(f'{field}={text!r} names {next(name for name in names if names.count(name) > 1)} twice; leave one out.')
    return names


def taps(architecture: Architecture, text: str, field: str) -> list[str]:
    """The taps in a field that names one or more; ResearchError for none, and for one that is not there or there twice."""
    found = listed(text, field)
    if not found:
        raise ConfigError(f'{field}={text!r} names no tap; name some, separated by commas, such as layer5.')
    check_taps(architecture, found)
    return found


def workdirs(given: command.Command) -> list[str]:
    """The networks that are named, or the one that the command trains itself."""
    return listed(given.options.network, 'network') or [str(given.workdir / 'network')]


def check_seeds_alone(given: command.Command) -> None:
    """ConfigError unless the networks that are named are trainings that differ in their seeds alone, so that they can be averaged over."""
    homes = workdirs(given) if given.options.network else []
    told = [configs.read(home) for home in homes] if len(homes) > 1 else []
    for home, other in zip(homes[1:], told[1:], strict=True):
        differing = [name for name in configs.DECISIVE if name != 'seed' and other.get(name) != told[0].get(name)]
        if differing:
            raise ConfigError(f'{home} was trained with another {differing[0]} than {homes[0]}; {given.name} averages over seeds alone.')
    seeds = [values['seed'] for values in told]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f'two of the networks have the seed {next(s for s in seeds if seeds.count(s) > 1)}; they are one network twice.')


def network(given: command.Command, home: str) -> checkpoints.Trained:
    """One of the networks that are named, at look.step."""
    return checkpoints.trained(home, given.options.look.step or None, given.options.look.mean or None)


def named(trained: checkpoints.Trained, home: str) -> str:
    """What a caption calls a network: without its surgery, with the epoch of its checkpoint, or the step where no record says the epoch."""
    short = trained.architecture.name.split()[0]
    if not trained.step:
        return short
    epoch = runs.epoch(home, trained.step)
    return f'{short} ' + (f'at step {trained.step:,}' if epoch is None else f'after epoch {epoch:.3g}')


def grown(given: command.Command, home: str) -> checkpoints.Trained:
    """The network that the command trains itself, in `home`, at look.step."""
    train.fit(given.config, home, watch=progress.Progress(given, '[network] '), stop=command.stopper())
    command.interruptible()
    return checkpoints.load(home, given.options.look.step or None)


def opened(given: command.Command, check: Check) -> Looked | None:
    """The first of `workdirs`, trained where none is named, and its source; None in a dry run, which trains nothing.

    check(given, architecture, source) raises ResearchError for what cannot be looked at, before anything is trained; so does this function
    for what is not there.
    """
    options, homes = given.options.look, workdirs(given)
    home = homes[0]
    if len({pathlib.Path(one).resolve() for one in homes}) < len(homes):
        raise ConfigError(f'network={given.options.network!r} names one network twice; leave one out.')
    trains = [one for one in homes if not given.options.network or pathlib.Path(one).is_dir()]
    if options.mean and trains:
        raise ConfigError(f'look.mean={options.mean!r} goes with a file of published weights; {trains[0]} has the mean of its training.')
    trained = network(given, home) if given.options.network else None
    if trained and not options.data and not pathlib.Path(home).is_dir():
        raise ConfigError(f'{home} does not say on which images it was trained: name those to look at, --config.look.data=folder:DIR.')
    notes = list(trained.notes) if trained else []
    for other in homes[1:]:
        compared = network(given, other)
        notes += compared.notes
        shapes = [one.architecture.input_shape for one in (trained, compared)]
        if shapes[0] != shapes[1]:
            raise ConfigError(f'{home} reads images of {shapes[0]}, {other} of {shapes[1]}; networks that are compared read the same.')
        names = [one.config.data.preprocessing for one in (trained, compared)]
        if names[0] != names[1]:
            raise ConfigError(
                f'{home} learned with data.preprocessing={names[0]!r}, {other} with {names[1]!r}; networks that are compared see the same.'
            )
    config = trained.config if trained else configs.check(given.config)
    own = not options.data or home in trains and tasks.same_data(config, options.data, trained.data if trained else {})
    where = given.config.data.dir or config.data.dir or None
    name, split = options.data or config.data.name, options.split or (config.data.test if own else 'test')
    # An image folder's split counts by the classes that were learned, as far as it has no others.
    learned = (trained.class_names if trained else open_source(name, config.data.train, where).class_names) if own else None
    source = preprocessing.applied(open_source(name, split, where, learned or None), config.data.preprocessing)
    memory.batch(configs.network(config), 1)  # before anything is allocated
    check(given, configs.network(config), source)
    if not trained and given.dry_run:
        return None
    if not trained:
        trained = grown(given, home)
        notes += trained.notes
    outputs = classes.match(trained.class_names or None, source.class_names)
    if outputs is None:
        why = classes.why_unmatched(trained.class_names, source.name, source.class_names)
        notes.append(f'{why}: where a true class is asked for, the class that the network named at first stands in')
    told = map(classes.meaning, trained.class_names or [f'class {number}' for number in range(trained.architecture.num_classes)])
    resize = tasks.resize_of(config, source.image_shape, trained.image_shape)
    notes = tuple(dict.fromkeys((*notes, *source.notes)))
    return Looked(named(trained, home), trained, tasks.network(config), source, resize, tuple(told), outputs, notes)


def run(given: command.Command, draw: Draw, check: Check, several: bool = False, folders: Sequence[str] = ()) -> None:
    """Writes what is drawn of a network; --dry_run says what that would be. several: whether `network` may name more than one; folders:
    those that `draw` makes in the workdir beside figures."""
    if not several and len(workdirs(given)) > 1:
        raise ConfigError(f'network={given.options.network!r} names {len(workdirs(given))} networks; {given.name} looks into one.')
    if not given.dry_run:
        own = () if given.options.network else ('network', 'network/checkpoints', 'network/evaluations')
        outcome.check_place(given, 'figures', *folders, *own)
    looked = opened(given, check)
    if looked is None:
        print(plans.training(given.config))
        return
    if given.dry_run:
        print(f'{looked.name}; {looked.source.num_examples:,} images of {looked.images}')
        plans.say(looked.notes)
        return
    plans.say(looked.notes)
    begun, shelf = time.perf_counter(), Shelf(given.workdir, given.name, ())
    page = draw(given, looked, shelf)
    whole = looked.trained.architecture.name
    outcome.write(given, page, shelf, workdirs(given), looked.notes, time.perf_counter() - begun, whole)
