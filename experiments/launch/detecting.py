"""Rows of a detection table: the features of every window, from networks or made by hand, what is learned from them, and what it finds."""

import functools
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_research import checkpoints, features, records, tasks, train
from cnn_research import config as configs
from cnn_research.architecture import Architecture
from cnn_research.data.scenes import Scenes, subset
from cnn_research.data.source import sha256
from cnn_research.errors import ConfigError, SourceError, Stopped
from cnn_research.studies.detection import (
    classifiers,
    diagnosis,
    evaluation,
    figures,
    handmade,
    proposals,
    regression,
    report,
    tuning,
    windows,
)
from cnn_research.studies.finetuning import ways
from experiments.launch import command, elsewhere, progress

KINDS = {
    'softmax': 'a softmax in the place of the SVMs; of the fine-tuned network its own as well',
    'refined': 'boxes refined by regression',
    'tuned': 'the network fine-tuned',
    'no context': 'windows without context',
    'isotropic': 'windows in their proportions',
    'hog': 'HOG',
    'pyramid': 'a pyramid of visual words',
}
MOST = 100  # detections of each class in an image
_LEFT = 'mining left out at most '  # what a note begins with
_DRAWN = 6  # images that are drawn with what is found on them
_RECORD = {'dimension': int, 'seconds': (0, float('inf')), 'outcome': dict, 'notes': [str], 'problem': str, 'scenes': [dict]}


class Drawn(NamedTuple):
    """Numbers of the scenes of one seed, in the pool of both splits: those to learn from and those to be judged on."""

    train: np.ndarray
    test: np.ndarray


class Table(NamedTuple):
    """What is judged, and on what. proposals: (P, 4) for each scene of the pool; drawn: {seed: its scenes}; groups: similar classes, by
    number."""

    given: command.Command
    named: elsewhere.Named
    pool: Scenes
    proposals: Sequence[np.ndarray]
    drawn: Mapping[int, Drawn]
    groups: Sequence[Sequence[int]]

    @property
    def options(self):
        return self.given.options.detection

    @property
    def how(self) -> windows.How:
        share = round(16 * min(windows.window_size(self.named.trained)) / 227)
        return windows.How(share if self.options.context < 0 else self.options.context, 'warp', self.options.side)


class _Same(NamedTuple):
    """The contents that rows of a table share, as digests of arrays that take long to go through: the network's, and the proposals'."""

    network: str
    proposed: str


def network(given: command.Command, planned: bool = False) -> elsewhere.Named:
    """The one network; ConfigError where several are named."""
    found = elsewhere.networks(given, planned)
    if len(found) > 1:
        raise ConfigError(f'network={given.options.network!r} names {len(found)} networks; a table of detection has one.')
    return found[0]


def proposer(method: str) -> str:
    """What a figure calls whatever proposes."""
    return method.replace('_', ' ') if method in proposals.METHODS else pathlib.Path(method).name


def drawn(count: int, of_train: int, seeds: int, redrawn: bool) -> dict[int, Drawn]:
    """{seed: scenes}: of `count` scenes, the first `of_train` to learn from and the others for the test, or so many drawn at random."""
    found = {}
    for seed in range(seeds):
        order = np.arange(count)
        if redrawn:
            order = np.random.Generator(np.random.Philox(key=np.array([seed, count], np.uint64))).permutation(count)
        found[seed] = Drawn(np.sort(order[:of_train]), np.sort(order[of_train:]))
    return found


def stands(net: Architecture) -> dict[str, str]:
    """{tap: what it is in R-CNN's Table 2} of a network that ends as Krizhevsky's does, in pooled maps and two hidden dense layers."""
    dense = [layer for layer in net.layers[:-1] if layer.stages[0].name == 'dense']
    below = [layer for layer in net.layers[:-1] if layer.stages[0].name != 'dense']
    if len(dense) != 2 or not below:
        return {}
    return dict(zip((below[-1].name, *(layer.name for layer in dense)), report.PUBLISHED, strict=True))


def default_taps(net: Architecture) -> list[str]:
    """pool5, fc6 and fc7 where there are such layers; elsewhere the two highest layers below the last."""
    return list(stands(net)) or [layer.name for layer in net.layers[:-1][-2:]]


def keys(taps: Sequence[str], net: Architecture, kinds: Sequence[str]) -> list[report.Key]:
    """The rows of a table, those that share classifiers beside each other.

    Every tap under SVMs, as the network is and fine-tuned; and as R-CNN has it, the rest at fc6 where the network is as it is, at the
    highest tap where it is fine-tuned, fc6 being the highest where there is none.
    """
    names = {name: tap for tap, name in stands(net).items() if tap in taps}
    found = []
    for tuned in (False, True)[: 1 + ('tuned' in kinds)]:
        base = taps[-1] if tuned else names.get('fc6', taps[-1])
        for tap in taps:
            found.append(report.Key(tap, tuned=tuned))
            if tap == base:
                found += [report.Key(tap, tuned=tuned, refined=True)] if 'refined' in kinds else []
                found += [report.Key(tap, 'softmax', tuned)] if 'softmax' in kinds else []
                found += [report.Key(net.layers[-1].name, 'network', True)] if 'softmax' in kinds and tuned else []
                found += [report.Key(tap, crop=crop) for crop in report.CROPS if crop in kinds and not tuned]
    return found + [report.Key(name) for name in report.HANDMADE if name in kinds]


def outcomes(table: Table, rows: Sequence[report.Key], stop: Callable[[], bool]) -> dict[tuple[report.Key, int], dict]:
    """{(row, seed): its record} of every row and seed, from WORKDIR/outcomes where it is whole there.

    Stopped between two images or two rows; windows and outcomes that were made are kept.
    """
    home, same = table.given.workdir / 'outcomes', _same(table)
    paths = {(key, seed): home / f'{_name(table, key, seed, same)}.json' for seed in table.drawn for key in rows}
    missing = [at for at, path in paths.items() if records.kept(path, _RECORD) is None]

    @functools.cache  # to find again what is kept means to hold all of it against its digests
    def made(name, is_tuned, crop, seed):
        return window_features(table, report.Key(name, tuned=is_tuned, crop=crop), seed, stop)

    def seen(key, seed):
        return made(key.features, key.tuned, key.crop, seed if key.tuned or key.features == 'pyramid' else 0)

    learned = functools.lru_cache(1)(
        functools.partial(_classifiers, table, seen, stop)
    )  # a row with refined boxes has the SVMs of the last
    for key, seed in missing:
        if stop():
            raise Stopped
        print(f'[{table.given.name}] {key.label}, seed {seed}', flush=True)
        begun = time.perf_counter()
        told = _judged(table, key, seed, seen, learned, stop)
        records.write(paths[key, seed], {'row': key.label, 'seed': seed, 'seconds': time.perf_counter() - begun, **told})
    return {at: records.read(path, _RECORD) for at, path in paths.items()}


def window_features(table: Table, key: report.Key, seed: int, stop: Callable[[], bool]) -> windows.Rows:
    """Of every scene of the pool, its proposals before its own boxes."""
    if key.features in report.HANDMADE:
        return _handmade(table, key.features, seed, stop)
    trained = tuned(table, seed, stop) if key.tuned else table.named.trained
    taps = [key.features, *([trained.architecture.layers[-1].name] if key.tuned else [])]  # its own softmax is that of the outputs
    return _seen(table, trained, _how(table, key), taps, stop)[key.features]


def tuned(table: Table, seed: int, stop: Callable[[], bool]) -> checkpoints.Trained:
    """The network fine-tuned on the windows that are learned from, by R-CNN's recipe; mirrored where its own training mirrored images."""
    config, part = _tuning(table, seed), table.drawn[seed].train
    home = table.given.workdir / 'tuned' / _tuned_name(table, seed, _same(table))
    say = functools.partial(print, f'[fine-tuning, seed {seed}]', flush=True)
    task = tuning.task(config, table.named.trained, subset(table.pool, part), [table.proposals[i] for i in part], table.how, log=say)
    train.fit(config, home, task, watch=progress.Progress(table.given, f'[fine-tuning, seed {seed}] '), stop=stop)
    return checkpoints.load(home)


def check(table: Table, rows: Sequence[report.Key]) -> None:
    """ResearchError, before any work, for what cannot be learned from the scenes of a seed."""
    trained = table.named.trained
    for key in rows:
        if key.features not in report.HANDMADE:
            windows.check(_how(table, key), windows.window_size(trained))
    for seed, part in table.drawn.items():
        try:
            classifiers.check([table.pool.objects[i] for i in part.train], table.pool.class_names)
        except Exception as error:
            raise type(error)(f'seed {seed}: {error}') from None
    if any(key.tuned for key in rows):
        configs.check(_tuning(table, 0))


def row(key: report.Key, told: Mapping[int, Mapping[str, Any]]) -> report.Row:
    """A row of its records, one for each seed."""
    problem = next((one['problem'] for one in told.values() if one['problem']), '')
    return report.Row(key, next(iter(told.values()))['dimension'], {seed: one['outcome'] for seed, one in told.items()}, problem)


def notes(told: Mapping[tuple[report.Key, int], Mapping[str, Any]]) -> list[str]:
    """What the records say beside their numbers: how much mining left out at most, and of all else once in which rows and seeds."""
    left, found = [], {}
    for (key, seed), one in told.items():
        for note in one['notes']:
            if note.startswith(_LEFT):
                left.append(float(note.removeprefix(_LEFT).split()[0]))
            else:
                found.setdefault(note, {}).setdefault(key.label, []).append(str(seed))
    words = [f'{_LEFT}{max(left):.2g} % of the objective of a class, in all rows and seeds'] if left else []
    rows = {note: '; '.join(f'{label}, seed {", ".join(seeds)}' for label, seeds in of.items()) for note, of in found.items()}
    return words + [f'{note}: {where}' for note, where in rows.items()]


def cut(table: Table) -> str:
    """How windows are cut and what is learned from them, as sentences: what every number rests on."""
    options, (height, width) = table.options, windows.window_size(table.named.trained)
    maps = f'; maps are averaged to {options.side} x {options.side} px' if options.side else ''
    pool5 = next((tap for tap, name in stands(table.named.trained.architecture).items() if name == 'pool5'), "the row's own features")
    return (
        f'Windows are warped to {height} x {width} px, of which {table.how.context} px on every side are context{maps}. SVMs: C = '
        f'{options.cost:g}, passes of hard negative mining: {options.passes}. Fine-tuned rows: {options.steps:,} steps of '
        f'{options.batch_size} windows, a rate of {options.rate:g} in the new layer and a tenth of it below. Boxes are refined by {pool5}. '
        f'Of two detections of a class that overlap by more than {options.suppression:g} the weaker goes; the {MOST} strongest of '
        'each class in an image are kept.'
    )


def pictures(told: Mapping[str, Any], pool: Scenes) -> list[figures.Picture]:
    """What a record says was found, on its images."""
    return [figures.Picture(pool.read([one['index']])[0].image, one) for one in told['scenes']]


# ---- one row


def _how(table: Table, key: report.Key) -> windows.How:
    return table.how._replace(**{'no context': {'context': 0}, 'isotropic': {'way': 'isotropic'}}.get(key.crop, {}))


def _classifiers(table: Table, seen, stop, features_of: str, classifier: str, is_tuned: bool, crop: str, seed: int):
    """(features of the pool's windows, the classifiers learned from those of the training scenes)."""
    key, part = report.Key(features_of, classifier, is_tuned, False, crop), table.drawn[seed].train
    found = seen(key, seed)
    truths, boxes = [table.pool.objects[i] for i in part], _boxes(table, part)
    some = found.chosen(part)
    if classifier == 'network':  # whose outputs are the features
        return found, classifiers.as_they_are(table.pool.num_classes)
    if classifier == 'softmax':
        how = classifiers.Sampling(seed=seed)
        how = how if len(part) >= how.folds else how._replace(costs=(table.options.cost,))  # too few scenes to choose by
        return found, classifiers.softmax(some, truths, boxes, table.pool.num_classes, how)
    how = classifiers.Mining(cost=table.options.cost, passes=table.options.passes)
    return found, classifiers.svms(some, truths, boxes, table.pool.num_classes, how, stop)


def _boxes(table: Table, part: np.ndarray) -> list[np.ndarray]:
    return [np.concatenate([table.proposals[i], table.pool.objects[i].boxes]) for i in part]


def _judged(table: Table, key: report.Key, seed: int, seen, learned, stop) -> dict[str, Any]:
    """The record of a row and seed."""
    pool, part, options = table.pool, table.drawn[seed], table.options
    found, linear = learned(key.features, key.classifier, key.tuned, key.crop, seed)
    if linear.kind == 'svm' and (
        bare := [f'{name} ({one.missing})' for name, one in zip(pool.class_names, linear.told, strict=True) if one.missing]
    ):
        raise SourceError(f'seed {seed}: there is no SVM of {", ".join(bare)}; give other proposals.')
    moves, moving = None, found
    if key.refined:
        # R-CNN regresses boxes from pool5, whatever its SVMs see.
        lower = next((tap for tap, name in stands(table.named.trained.architecture).items() if name == 'pool5'), key.features)
        moving = seen(key._replace(features=lower), seed)
        truths = [pool.objects[i] for i in part.train]
        moves = regression.regressors(moving.chosen(part.train), truths, _boxes(table, part.train), pool.num_classes)
    detections = []
    for image in part.test:
        if stop():
            raise Stopped
        proposed = table.proposals[image]
        scores, boxes = classifiers.scored(linear, found[image][: len(proposed)]), proposed
        if moves:
            boxes = regression.refined(moves, moving[image][: len(proposed)], proposed, *pool.sizes[image])
        detections.append(evaluation.detected(boxes, scores, -np.inf, options.suppression, MOST, options.pixel))
    truths = [pool.objects[i] for i in part.test]
    judged = evaluation.evaluated(truths, detections, pool.num_classes, way=options.way, pixel=options.pixel)
    told = evaluation.told(judged) | {'diagnosis': diagnosis.told(diagnosis.diagnosed(judged, truths, detections, table.groups))}
    lowest = evaluation.confident(judged)
    places = np.unique(np.linspace(0, len(truths) - 1, min(_DRAWN, len(truths))).astype(int))
    scenes = [evaluation.scene(judged, truths, detections, place, lowest) | {'index': int(part.test[place])} for place in places]
    problem, notes = _said(linear, moves, pool.class_names)
    return {'dimension': int(found[0].shape[1]), 'outcome': told, 'scenes': scenes, 'problem': problem, 'notes': notes}


def _said(linear, moves, names) -> tuple[str, list[str]]:
    """(why the row decides nothing, '' for nothing; what should be said beside it)."""
    notes, problem = [], ''
    if linear.kind == 'svm':
        bad = [name for name, one in zip(names, linear.told, strict=True) if not one.settled]
        problem = f'the SVMs of {", ".join(bad)} did not reach their minimum' if bad else ''
        left = max(one.left for one in linear.told)
        notes.append(f'{_LEFT}{100 * left:.2g} % of the objective of a class')
    elif linear.told:
        problem = '' if linear.told.settled else 'the softmax did not reach its minimum'
        notes.append(f'C = {linear.told.cost:g}' + (', at an end of those tried' if linear.told.at_an_end else ''))
    if moves is not None and (few := [name for name, count in zip(names, moves.pairs, strict=True) if count < regression.FEWEST]):
        notes.append(f'boxes of {", ".join(few)} stay as they are, for want of proposals near an object')
    return problem, notes


def _seen(table: Table, trained: checkpoints.Trained, how: windows.How, taps: Sequence[str], stop) -> Mapping[str, windows.Rows]:
    """All taps of a network come from one pass over the windows."""
    every = list(dict.fromkeys([*taps, *(tap for tap in table_taps(table) if how == table.how)]))
    say = functools.partial(print, f'[{table.given.name}]', flush=True)
    return windows.gathered(table.given.workdir / 'windows', trained, every, table.pool, table.proposals, how, stop, log=say)


def table_taps(table: Table) -> list[str]:
    """The taps that rows are made of, from the lowest to the highest."""
    text, net = table.options.taps, table.named.trained.architecture
    named, known = dict.fromkeys(tap.strip() for tap in text.split(',') if tap.strip()), list(net.taps())
    return sorted(named, key=lambda tap: known.index(tap) if tap in known else len(known)) or default_taps(net)


def _handmade(table: Table, name: str, seed: int, stop) -> windows.Rows:
    """HOG or the pyramid of every window, kept as windows are; words are learned from the training scenes of the seed."""
    part, pool, boxes = table.drawn[seed].train, table.pool, _boxes(table, np.arange(table.pool.num_examples))
    told: list = [name, pool.pictures, sha256(*(some.tobytes() for some in boxes))]
    words = None
    if name == 'pyramid':
        told += [table.options.words, seed, part.tolist()]
        words = functools.cache(lambda: handmade.vocabulary((pool.read([i])[0].image for i in part), len(part), table.options.words, seed))
    home = table.given.workdir / 'windows' / records.digest(told)[:24]

    def make(place):
        if stop():
            raise Stopped
        image = pool.read([place])[0].image
        return handmade.pyramids(image, boxes[place], words()) if words else handmade.hog(image, boxes[place])

    return windows.kept(home / name, pool.num_examples, make)


# ---- names, of all that an outcome follows from


def _tuning(table: Table, seed: int) -> Any:
    """The config of a fine-tuning."""
    options, trained = table.options, table.named.trained
    origin = ways.Origin('', trained.config, trained.image_shape, trained.data, lambda: trained)
    values = tuning.recipe(trained.architecture) | ways.for_classes(origin, table.pool.num_classes + 1)
    values |= {
        'dtype': trained.config.dtype,
        'augment.flip': table.named.published or trained.config.augment.flip,
        'optimizer.learning_rate': options.rate,
    }
    values |= {'schedule.kind': 'trapezoid', 'schedule.steps': options.steps, 'schedule.cooldown.steps': options.steps // 3}
    values |= {'evaluate.every.steps': options.steps, 'checkpoint.every.steps': max(options.steps // 5, 1), 'checkpoint.keep': 1}
    values |= {'log.every.steps': max(options.steps // 10, 1), 'data.batch_size': options.batch_size, 'data.holdout': 0.0, 'seed': seed}
    return configs.update(configs.default(), values)


def _tuned_name(table: Table, seed: int, same: _Same) -> str:
    # By what decides numbers: a field that comes later must not orphan what is there.
    key = configs.key(configs.check(_tuning(table, seed)), {})
    return records.digest([key, same.network, table.drawn[seed].train.tolist(), same.proposed, list(table.how)])[:12]


def _same(table: Table) -> _Same:
    trained = table.named.trained
    network = features.fingerprint(tasks.network(trained.config), trained.variables, table.pool, table.options.side, 0)
    return _Same(network, sha256(*(some.tobytes() for some in table.proposals)))


def _name(table: Table, key: report.Key, seed: int, same: _Same) -> str:
    """What an outcome is kept under: 24 hex digits."""
    options, part = table.options, table.drawn[seed]
    told: list = [configs.NUMERICS, *key, seed, part.train.tolist(), part.test.tolist(), same.proposed, table.pool.fingerprint]
    told += [
        options.cost,
        options.passes,
        options.suppression,
        options.way,
        options.pixel,
        [list(group) for group in table.groups],
        f'{MOST} of a class',
    ]
    told += [table.options.words] if key.features == 'pyramid' else []
    told += [list(_how(table, key)), same.network] if key.features not in report.HANDMADE else []
    told += [_tuned_name(table, seed, same)] if key.tuned else []
    return records.digest(told)[:24]
