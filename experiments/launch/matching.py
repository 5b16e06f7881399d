"""Rows of a verification table: how alike the faces of every pair are by each kind of features, under each measure, each told once."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cnn_research import checkpoints, features, records, tasks, trials
from cnn_research import config as configs
from cnn_research.data import stream
from cnn_research.data.source import subset
from cnn_research.errors import Stopped
from cnn_research.optional import needed
from cnn_research.studies.verification import baselines, measures, report, siamese
from experiments.launch import command, elsewhere, verifying
from experiments.launch.verifying import Faces, Training

_OUTCOME = {'seconds': (0, float('inf')), 'measures': dict}
_VERSION = 2  # raised when the same table is judged in another way


class Table(NamedTuple):
    """What is judged, and how. networks: named ones; trainings: its own; costs: values of C to choose from."""

    given: command.Command
    faces: Faces
    networks: Sequence[elsewhere.Named]
    trainings: Sequence[Training]
    costs: Sequence[float]


class Part(NamedTuple):
    """What is judged at once: a kind of features, of one network and seed, on some folds. name: of its outcome, by all that it follows
    from; compute() -> {measure: measures.Scored}, of the pairs of these folds."""

    features: str
    seed: int
    folds: np.ndarray
    name: str
    compute: Callable[[], dict[str, measures.Scored]]


def check_libraries() -> None:
    """ConfigError where a library is missing that every table needs."""
    for module in ('sklearn.svm', 'sklearn.decomposition', 'skimage.feature'):
        needed(module, 'verification')


def parts(table: Table) -> list[Part]:
    """All that the table is made of, in its order."""
    every, judged = np.arange(table.faces.pairs.folds), table.faces
    about = [_VERSION, judged.pool.fingerprint, judged.pairs.fingerprint, [group.tolist() for group in judged.groups], list(table.costs)]
    found, principal = [], functools.cache(functools.partial(_eigenfaces, table))
    for name in report.BASELINES:
        told = [*about, name, baselines.PIXELS, baselines.LBP_SIDE, baselines.COMPONENTS]
        found.append(Part(name, 0, every, records.digest(told)[:24], functools.partial(_baseline, table, name, principal)))
    for one in table.networks:
        told = [*about, features.fingerprint(tasks.network(one.trained.config), one.trained.variables, judged.pool, 0, 0)]
        found.append(Part(one.name, 0, every, records.digest(told)[:24], functools.partial(_of_named, table, one)))
    for one in table.trainings:
        if trials.state(one.trial.workdir, one.trial.key) != 'finished':
            continue
        with_siamese = one.siamese and trials.state(one.siamese.workdir, one.siamese.key) == 'finished'
        told = [*about, one.trial.key, one.siamese.key if with_siamese else '', one.group]
        own = judged.groups[one.group]
        found.append(Part(one.row, one.seed, own, records.digest(told)[:24], functools.partial(_of_training, table, one, with_siamese)))
    return found


def outcomes(table: Table, stop: Callable[[], bool]) -> list[tuple[Part, dict]]:
    """[(part, {'seconds', 'measures': {measure: Scored as JSON}})], from WORKDIR/outcomes where it is whole there. Stopped between two."""
    found = []
    for part in parts(table):
        path = table.given.workdir / 'outcomes' / f'{part.name}.json'
        if records.kept(path, _OUTCOME) is None:
            if stop():
                raise Stopped
            where = '' if len(part.folds) == table.faces.pairs.folds else f', folds {part.folds[0] + 1} to {part.folds[-1] + 1}'
            print(f'[{table.given.name}] {part.features}{where}', flush=True)
            begun = time.perf_counter()
            told = {name: _as_json(scored) for name, scored in part.compute().items()}
            content = {'row': part.features, 'seed': part.seed, 'folds': part.folds.tolist(), 'measures': told}
            records.write(path, {'seconds': time.perf_counter() - begun, **content})
        found.append((part, records.kept(path, _OUTCOME)))
    return found


def _as_json(scored: measures.Scored) -> dict:
    costs = [None if np.isnan(cost) else float(cost) for cost in scored.costs]
    return {'scores': scored.scores.tolist(), 'thresholds': scored.thresholds.tolist(), 'costs': costs, 'unsettled': int(scored.unsettled)}


def _others(folds: int) -> list[np.ndarray]:
    return [np.delete(np.arange(folds), fold) for fold in range(folds)]


def _handmade(table: Table, features_of: Callable) -> np.ndarray:
    """(N, D) of all examples, kept in WORKDIR/features."""
    judged = table.faces
    folder = table.given.workdir / 'features' / records.digest([judged.pool.fingerprint, baselines.PIXELS, baselines.LBP_SIDE])[:24]
    kind = features_of.__name__
    return features.kept(folder, [kind], lambda _: {kind: baselines.gathered(judged.pool, features_of)})[kind]


def _eigenfaces(table: Table, fold: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along the eigenfaces of all images of people who are not in a fold, and their deviations."""
    judged = table.faces
    outside = np.flatnonzero(judged.pairs.people[judged.labels] != fold)
    return baselines.eigenfaces(_handmade(table, baselines.pixels), outside, judged.used)


def _baseline(table: Table, name: str, principal: Callable) -> dict[str, measures.Scored]:
    """Each fold judged by what all others chose."""
    found = table.faces.pairs
    if 'eigenfaces' in name:

        def made(fold):
            coordinates, deviations = principal(fold)
            return coordinates if name == 'eigenfaces' else coordinates / deviations

    else:
        array = _handmade(table, {'LBP': baselines.lbp, 'pixels': baselines.pixels}[name])

        def made(fold):
            return array

    others = _others(found.folds)
    return {measure: measures.scored(measure, made, found, others, table.costs) for measure in report.BASELINES[name]}


def _of_named(table: Table, one: elsewhere.Named) -> dict[str, measures.Scored]:
    """A network of other people: the largest values of its features are those of the images outside a fold."""
    judged, found, tap = table.faces, table.faces.pairs, one.trained.architecture.layers[-2].name
    array = verifying.collected(one.trained, judged.shown(one.trained.architecture), [tap])[tap]
    outside = [np.flatnonzero(found.people[judged.labels] != fold) for fold in range(found.folds)]
    made = functools.lru_cache(1)(lambda fold: measures.scaled(array, array[outside[fold]]))
    return {measure: measures.scored(measure, made, found, _others(found.folds), table.costs) for measure in report.LEARNED}


def _of_training(table: Table, one: Training, with_siamese: bool) -> dict[str, measures.Scored]:
    """A network on the folds of its group, each with what the others of the group chose: people whom the network has never seen."""
    judged, own = table.faces, table.faces.pairs.of(table.faces.groups[one.group])
    trained, others = checkpoints.load(one.trial.workdir), _others(own.folds)
    below, top = (trained.architecture.layers[place].name for place in (-3, -2))
    wanted = np.unique(np.concatenate([own.first, own.second, one.learned]))
    found = verifying.collected(trained, subset(judged.shown(trained.architecture), wanted), [top, below] if with_siamese else [top])
    own = own._replace(first=np.searchsorted(wanted, own.first), second=np.searchsorted(wanted, own.second))
    scaled = measures.scaled(found[top], found[top][np.searchsorted(wanted, one.learned)])
    told = {measure: measures.scored(measure, lambda fold: scaled, own, others, table.costs) for measure in report.LEARNED}
    if with_siamese:
        trial = one.siamese
        arrays = checkpoints.read(trial.workdir, checkpoints.steps(trial.workdir)[-1])
        params = {
            layer: {'dense': {name: arrays[f'state/params/{layer}/dense/{name}'] for name in ('kernel', 'bias')}}
            for layer in verifying.layers(trial.config)
        }
        said = siamese.logits(params, verifying.layers(trial.config), found[below][own.first], found[below][own.second])
        told['siamese'] = measures.chosen(np.asarray(said, np.float64), own, others)
    return told


def _gathered(table: Table, told: Sequence[tuple[Part, dict]]) -> dict[tuple[str, str], dict[int, tuple[np.ndarray, np.ndarray]]]:
    """{(features, measure): {seed: (scores (P,), thresholds (F,))}}, of the seeds that have all folds."""
    whole, found = table.faces.pairs, {}
    for part, one in told:
        mask = np.isin(whole.fold, part.folds)
        for measure, content in one['measures'].items():
            blank = np.full(len(whole.first), np.nan), np.full(whole.folds, np.nan)
            scores, thresholds = found.setdefault((part.features, measure), {}).setdefault(part.seed, blank)
            scores[mask], thresholds[part.folds] = content['scores'], content['thresholds']
    return {name: {seed: one for seed, one in seeds.items() if np.isfinite(one[0]).all()} for name, seeds in found.items()}


def rows(table: Table, told: Sequence[tuple[Part, dict]]) -> list[report.Row]:
    """What the outcomes say of every kind of features under every measure; networks that are not finished stand there without numbers."""
    found = _gathered(table, told)
    for one in table.trainings:
        for measure in (*report.LEARNED, *(['siamese'] if one.siamese else [])):
            found.setdefault((one.row, measure), {})
    return [_row(table, *name, seeds) for name, seeds in found.items()]


def _row(table: Table, name: str, measure: str, seeds: dict[int, tuple]) -> report.Row:
    whole = table.faces.pairs
    rates = {
        seed: [100 * measures.equal_error_rate(scores[whole.fold == fold], whole.same[whole.fold == fold]) for fold in range(whole.folds)]
        for seed, (scores, _) in seeds.items()
    }
    curves = [measures.mean_curve(scores, whole) for scores, _ in seeds.values()]
    wanted = dict.fromkeys(one.seed for one in table.trainings if one.row == name)
    same = {one.name for one in table.networks if one.learned(table.faces.pool.name)}
    lacking = ', '.join(str(seed) for seed in wanted if seed not in seeds)
    return report.Row(
        name,
        measure,
        'own' if wanted else '' if name in report.BASELINES else 'inside' if name in same else 'outside',
        {seed: (100 * measures.accuracies(*one, whole)).tolist() for seed, one in seeds.items()},
        rates,
        np.mean(curves, axis=0) if curves else None,
        f'not finished: seed {lacking}' if lacking else '',
    )


def nets(table: Table) -> list[report.Net]:
    """The anatomy of each row's networks, and how they name held-out images of the people that they learned."""
    found: dict[str, report.Net] = {}
    for one in table.trainings:
        net = found.setdefault(one.row, report.Net(one.row, configs.network(one.trial.config).parameters, {}))
        error = verifying.naming_error(one)
        if error is not None:
            net.errors.setdefault(one.seed, []).append(100 * error)
    return list(found.values())


def plate(table: Table, told: Sequence[tuple[Part, dict]], name: str) -> tuple[report.Plate | None, dict[str, np.ndarray]]:
    """The pairs that the inner product of some features tells worst, by their first seed, and all scores and thresholds of that seed."""
    seeds = _gathered(table, told).get((name, 'inner'), {})
    if not seeds:
        return None, {}
    seed, (scores, thresholds) = next(iter(seeds.items()))
    judged, count = table.faces, table.given.options.verification.hardest
    drawn = {'scores': scores, 'thresholds': thresholds, 'first': judged.pairs.first, 'second': judged.pairs.second}
    if not count:
        return None, drawn

    def shown(places):
        found = []
        for place in places:
            ends = judged.pairs.first[place], judged.pairs.second[place]
            images = [stream.resized(judged.pool.read([end])[0][0], baselines.LBP_SIDE) for end in ends]
            images = [np.repeat(image, 3 // image.shape[-1], axis=-1) for image in images]
            found.append((*images, *(judged.pool.class_names[judged.labels[end]] for end in ends)))
        return found

    label = f'the inner product of {name}{f" (seed {seed})" if table.trainings else ""}'
    return report.Plate(label, *map(shown, measures.hardest(scores, thresholds, judged.pairs, count))), drawn
