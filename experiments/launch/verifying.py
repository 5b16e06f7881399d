"""What faces a verification table judges, and the networks that it trains for them."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_research import checkpoints, features, journal, memory, rehearsal, tasks, trials
from cnn_research import config as configs
from cnn_research.architecture import Architecture
from cnn_research.data import faces, pairs, preprocessing, stream
from cnn_research.data.source import Source, joined
from cnn_research.data.sources import open_source
from cnn_research.errors import Busy, ConfigError, TrialError
from cnn_research.studies.verification import siamese
from experiments.launch import command, elsewhere, progress

FOLDS = 10  # that pairs are drawn in, where nobody says another number
LESSER = ('without C3', 'without L4, L5', 'without C3, L4, L5')  # what recipes call rows of the paper's ablation
SHARED = ('shared kernels',)  # what recipes call the row whose L4 to L6 are convolutions


class Faces(NamedTuple):
    """Whose faces are judged. pool: all examples, also those only learned from; labels: (N,) their identities; groups: the folds that each
    network is judged on; aligned: whether by the eyes."""

    pool: Source
    labels: np.ndarray
    pairs: pairs.Pairs
    groups: Sequence[np.ndarray]
    aligned: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """What should be said of the pairs."""
        lacking = self.pairs.listed - len(self.pairs.first)
        return (f'{self.pairs.words} have both pictures in {self.pool.name}; the other {lacking:,} are left out',) if lacking else ()

    @property
    def used(self) -> np.ndarray:
        """The examples of all pairs, rising."""
        return np.unique(np.concatenate([self.pairs.first, self.pairs.second]))

    def shown(self, net: Architecture) -> Source:
        """The examples as a network reads them: in grey where it has one channel. ConfigError where it cannot read them."""
        pool, channels = faces.grey(self.pool) if net.input_shape[2] == 1 else self.pool, net.input_shape[2]
        if pool.channels not in (1, channels):
            raise ConfigError(f'{pool.name} has {pool.channels} channels, but {net.name} reads {channels}; choose another architecture.')
        return pool


class Training(NamedTuple):
    """A network to train. row: of the table; group: its place in Faces.groups; trial: of `fit`; learned: the examples that it learns from;
    classes: how many identities; siamese: the training of its two top layers that follows, None where there is none."""

    row: str
    group: int
    seed: int
    trial: trials.Trial
    learned: np.ndarray
    classes: int
    siamese: trials.Trial | None = None


# ---- the faces


def check(given: command.Command) -> None:
    """ConfigError for fields that its rows say themselves, or that no network of a verification reads."""
    fields, recipe = configs.flat(given.config), configs.flat(configs.update(configs.default(), given.recipe.config))
    if fields['architecture'] != recipe['architecture']:
        raise ConfigError(
            f'architecture={fields["architecture"]!r} does not go with verification, whose rows say it; name a config file with rows of '
            'your own, or a trained network by --config.network.'
        )
    for name in ('data.examples', 'data.per_class', 'data.test_examples'):
        if fields[name]:
            raise ConfigError(f'{name}={fields[name]!r} does not go with verification, whose folds say who is learned from; leave it out.')
    if given.config.data.preprocessing != 'none':
        raise ConfigError(f'data.preprocessing={given.config.data.preprocessing!r} does not go with verification; leave it out.')


def opened(given: command.Command) -> Faces:
    """The faces and pairs that a command line names; ResearchError where no honest table could be made of them."""
    options, data, where = given.options.verification, given.config.data, given.config.data.dir or None
    own = {name: options[name] for name in ('same', 'different') if options[name]} if options.pairs else {}
    if own:
        name, value = next(iter(own.items()))
        raise ConfigError(f'verification.{name}={value} is of pairs that are drawn, but verification.pairs names a file of them; keep one.')
    parts = [open_source(data.name, split, where) for split in dict.fromkeys((data.train, data.test))]
    names = tuple(dict.fromkeys(name for part in parts for name in part.class_names))
    if any(part.class_names != names for part in parts):  # folders, each with its own people
        parts = [dataclasses.replace(open_source(data.name, part.split, where, names), notes=part.notes) for part in parts]
    place = _beside(parts[-1], options.pairs)
    pool = joined(*parts) if len(parts) > 1 else parts[0]
    labels = pool.labels()
    only = np.arange(pool.num_examples) < (parts[0].num_examples if len(parts) > 1 else 0)
    pairs.check_apart(pool, labels, only)
    if options.eyes:
        pool = faces.aligned(pool, faces.eyes(options.eyes))
    if options.pairs:
        found = pairs.listed(pool, place)
        if options.folds not in (found.folds, FOLDS):
            raise ConfigError(f'verification.folds={options.folds} does not go with {place}, which has {found.folds}; leave it out.')
        judged = np.flatnonzero(found.people[labels] >= 0)
        if only[judged].any():
            name = pool.class_names[labels[judged[only[judged]][0]]]
            raise ConfigError(f'{name} is in the pairs of {options.pairs} and in {data.train}, which is only learned from; name one split.')
    else:
        found = pairs.drawn(pool, labels, np.flatnonzero(~only), options.folds, options.seed, options.same, options.different)
    groups = [np.arange(found.folds)] if given.options.network else pairs.groups(found.folds, options.networks)
    return Faces(pool, labels, found, groups, bool(options.eyes))


def _beside(source: Source, name: str) -> pathlib.Path:
    """A file of pairs as it is named, else the one of that name beside a prepared set."""
    path, folder = pathlib.Path(name), getattr(source.read, 'directory', None)
    return pathlib.Path(folder) / name if name and not path.is_file() and folder and (pathlib.Path(folder) / name).is_file() else path


def named(given: command.Command, judged: Faces) -> list[elsewhere.Named]:
    """The networks that a command line names; ConfigError for one that has learned an identity on which it would be judged."""
    found = elsewhere.networks(given) if given.options.network else []
    people = {judged.pool.class_names[identity] for identity in np.unique(judged.labels[judged.used])}
    for one in found:
        both = sorted(people & set(one.trained.class_names))
        if both or not one.trained.class_names and one.learned(judged.pool.name):
            what = f'{both[0]}{f" and {len(both) - 1} others" if len(both) > 1 else ""}' if both else judged.pool.name
            raise ConfigError(f'{one.home} has learned {what}, on whom it would be judged; name a network of other people, or none.')
        if len(one.trained.architecture.layers) < 2 or one.trained.architecture.layers[-2].stages[0].name != 'dense':
            raise ConfigError(f'{one.home} has no dense layer below its classes, whose features could be compared; name another network.')
        _check_rectified(one.home, one.trained.architecture)
        judged.shown(one.trained.architecture)
    return found


# ---- the networks


def _check_rectified(who: str, net) -> None:
    """ConfigError where the features below the classes may be negative, of which there is no chi-squared."""
    layer = net.layers[-2]
    if not {'relu', 'sigmoid'} & {stage.name for stage in layer.stages}:
        raise ConfigError(
            f'{who}: the features of {net.name} may be below 0, of which there is no chi-squared; give layer {layer.number} a relu.'
        )


def planned(given: command.Command, judged: Faces, rows: Mapping[str, Mapping[str, Any]]) -> list[Training]:
    """Every row's network of each group of folds and seed; ResearchError for what cannot be trained, before anything is."""
    made = []
    for place, (row, changes) in enumerate(rows.items()):
        for seed in range(given.config.seed, given.config.seed + given.options.trials.seeds):
            for group in range(len(judged.groups)):
                made.append(_training(given, judged, row, changes, seed, group))
                if place == 0 and given.options.verification.siamese:
                    made[-1] = made[-1]._replace(siamese=_siamese(given, made[-1]))
    return made


def _training(given, judged, row, changes, seed, group) -> Training:
    fewest = given.options.verification.images
    config = configs.update(given.config, {**changes, 'seed': seed})
    net = configs.network(config)
    if len(net.layers) < 3 or net.layers[-1].stages[0].name != 'dense' or net.layers[-2].stages[0].name != 'dense':
        raise ConfigError(
            f'{row}: {net.name} does not end in two dense layers, the features and the identities; choose another architecture.'
        )
    if given.options.verification.siamese and [stage.name for stage in net.layers[-2].stages][1:2] != ['relu']:
        raise ConfigError(f'{row}: {net.name} has no rectifier on its features, which a Siamese end needs; set verification.siamese=0.')
    _check_rectified(row, net)
    chosen = pairs.learners(judged.labels, judged.pairs, judged.groups[group], fewest)
    identities, source = np.unique(judged.labels[chosen]), judged.shown(net)
    if len(identities) < 2:
        raise ConfigError(
            f'{len(identities)} identities outside network {group + 1} have {fewest} images or more, too few to learn from; '
            'give verification.images a lower number, or the set more people.'
        )
    if not config.data.resize and source.image_shape is None:
        raise ConfigError(f'the images of {source.name} differ in size; set data.resize to the short side that they are scaled to.')
    text = f'{config.architecture} resized({net.layers[-1].number}={len(identities)})'
    config = configs.check(configs.update(config, {'architecture': text}))
    memory.check(config, configs.network(config))
    held = stream.holdout_mask(source.fingerprint, source.num_examples, config.data.holdout)[chosen]
    for identity in np.setdiff1d(identities, judged.labels[chosen[~held]]):
        held[judged.labels[chosen] == identity] = False
    found = {'train': pairs.of_identities(source, judged.labels, chosen[~held], identities)}
    if held.any():
        found['holdout'] = pairs.of_identities(source, judged.labels, chosen[held], identities)
    trial = _trial(given, row, f'network {group + 1}', config, tasks.fingerprints(found), tasks.task_name())
    return Training(
        row, group, seed, trial._replace(task=functools.partial(tasks.classification, config, found)), chosen[~held], len(identities)
    )


def _trial(given, row, point, config, fingerprints, task) -> trials.Trial:
    key, protocol = configs.key(config, fingerprints, task), tasks.protocol(config.evaluate.views, fingerprints)
    return trials.Trial('', row, point, {}, config, key, protocol, given.workdir / 'networks' / key)


def _siamese(given, training: Training) -> trials.Trial:
    """The training that follows: F7 and the unit that weighs its differences, for so many steps, on pairs of the same images."""
    base, options = training.trial, given.options.verification
    ends = {f'schedule.{part}.{unit}': 0 for part in ('warmup', 'cooldown') for unit in ('epochs', 'steps', 'examples')}
    # _training has seen to it that the last layer is a dense one, by which the two layers have their numbers.
    changes = {
        'architecture': f'{base.config.architecture} resized({configs.network(base.config).layers[-1].number}=1)',
        'schedule.kind': 'cosine',
        'optimizer.learning_rate': options.siamese_rate,
        **ends,
    }
    config = configs.check(configs.update(configs.update(base.config, changes), {'schedule.steps': options.siamese}))
    name = f'{base.key}, layer below {layers(config)[0]}'
    told = {'train': siamese.fingerprint(name, training.learned)}

    def make(devices=None, log=None):
        if trials.lost(base.workdir, base.key):
            raise TrialError(f'it begins with {base.row}, {base.point}, seed {training.seed}, whose training failed.')
        if trials.state(base.workdir, base.key) != 'finished':
            raise Busy(f'{base.row}, {base.point}, is not finished yet.')
        trained = checkpoints.load(base.workdir)
        inputs = base.task.args[1]['train']
        below = trained.architecture.layers[-3].name
        seen = collected(trained, inputs, [below])[below]
        start = trained.variables['params'][layers(config)[0]]['dense']
        return siamese.task(config, seen, inputs.labels(), start, layers(config), name, told)

    trial = _trial(given, f'{base.row}, Siamese', base.point, config, told, siamese.task_name(name))
    return trial._replace(task=make, needs=base.workdir)


def layers(config) -> list[str]:
    """The names of F7 and of what stands on it."""
    return [layer.name for layer in configs.network(config).layers[-2:]]


def collected(trained: checkpoints.Trained, source: Source, taps: list[str]) -> dict[str, np.ndarray]:
    """{tap: float32 (N, D)} of every example, preprocessed and scaled as in the network's training."""
    resize = tasks.resize_of(trained.config, source.image_shape, trained.image_shape)
    source = preprocessing.applied(source, trained.config.data.preprocessing)
    return features.collect(tasks.network(trained.config), trained.variables, source, taps, resize=resize)


def naming_error(training: Training) -> float | None:
    """The share of held-out images of the people it learned that a finished network names wrongly; None where none is held out."""
    result = journal.result(training.trial.workdir) or {}
    return result['holdout']['error'] if 'holdout' in result else None


def plan(given: command.Command, trainings: Sequence[Training], judged: Faces) -> str:
    """What a run would do: the pairs, and each training with its state, people, parameters, steps and time by a few measured ones."""
    groups = '; '.join(f'{group[0] + 1} to {group[-1] + 1}' for group in judged.groups)
    lines = [f'{judged.pairs.words} of {judged.pool.name} in {judged.pairs.folds} folds; networks are judged on the folds {groups}']
    wide, timed, left = max((len(one.row) for one in trainings), default=0), {}, 0.0
    for one in trainings:
        config, found = one.trial.config, one.trial.task.args[1]
        net, steps = configs.network(config), configs.steps(config.schedule, config.data.batch_size, found['train'].num_examples)
        if one.row not in timed:  # the networks of a row differ in their classes alone
            timed[one.row] = rehearsal.seconds_per_step(config, found)
        state = trials.state(one.trial.workdir, one.trial.key)
        left += steps * timed[one.row] * (state != 'finished')
        people = f'{one.classes:6,} identities in {len(one.learned):7,} images'
        length = f'{steps:7,} steps  {progress.duration(steps * timed[one.row]):>13}'
        lines.append(
            f'{one.row:{wide}}  {one.trial.point:10}  seed {one.seed}  {state:8}  {people}  {net.parameters:11,} parameters  {length}'
        )
    if trainings:
        lines.append(f'{len(trainings)} trainings, {progress.duration(left)} in their steps to go')
    return '\n'.join(lines)


def train(given: command.Command, trainings: Sequence[Training], stop: Callable[[], bool]) -> list[str]:
    """Trains what is not finished, each network before its Siamese end; gives back the names of those that failed. Stopped once `stop`
    says so."""
    every = [trial for one in trainings for trial in (one.trial, one.siamese) if trial]
    watches, wrong = {}, []

    def watch(trial, event):
        name = f'{trial.row}, {trial.point}, seed {trial.config.seed}'
        show = watches.setdefault(trial.key, progress.Progress(dataclasses.replace(given, workdir=trial.workdir), f'[{name}] '))
        if 'outcome' not in event:
            show(event)
            return
        if event['outcome'] == 'failed':
            wrong.append(name)
        left = sum(trials.state(one.workdir, one.key) != 'finished' for one in every)
        show({'note': f'{event["outcome"]}; {left} of {len(every)} trainings to go'})

    trials.carry_out(every, watch, stop)
    return wrong


def seconds(trainings: Sequence[Training]) -> float:
    """Spent in the steps of all trainings."""
    return sum(journal.seconds(trial.workdir) or 0.0 for one in trainings for trial in (one.trial, one.siamese) if trial)
