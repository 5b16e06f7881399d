"""Columns of a committee: runs that join it, what each says of every test image, and the images that all together get wrong.

Beside a trained column stands evaluations/probabilities-PROTOCOL.npz, of its probabilities and the labels, and the record of the same name,
with its SHA-256.
"""

import base64
import glob
import hashlib
import io
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_research import checkpoints, evaluate, files, journal, records, tasks, trials
from cnn_research import config as configs
from cnn_research.data import preprocessing, stream
from cnn_research.data.sources import Source
from cnn_research.errors import CheckpointError, ConfigError
from cnn_research.studies.committees import measures, report
from experiments.launch import command

_PLATE = 'plate'


class Said(NamedTuple):
    """Of a column: probabilities (N, K), float32, and labels (N,); images: the fingerprint of the test images before any preprocessing;
    classes: their names; digest: of the file."""

    probabilities: np.ndarray
    labels: np.ndarray
    images: str
    classes: tuple[str, ...]
    digest: str


def raw(config) -> Source:
    """The test images of a config as their source gives them."""
    return tasks.sources(configs.update(config, {'data.preprocessing': 'none'}))['test']


# ---- runs that join


def adopted(given: command.Command, patterns: Sequence[str], test: Source) -> list[trials.Trial]:
    """Finished runs, named by patterns, as trials of the part 'adopted'; test: the raw images that the table is tested on.

    ConfigError for a pattern that nothing matches, a run that is named twice or is the copy of another, is not finished, tells other
    classes, or was tested on other images or in other views.
    """
    made: dict[pathlib.Path, trials.Trial] = {}
    for place in (pathlib.Path(path) for pattern in patterns for path in sorted(glob.glob(pattern)) or [pattern]):
        home = place.resolve()
        if home in made:
            raise ConfigError(f'committee.runs names {place} twice; leave one out.')
        one = _adopted(given, place, test)
        if same := [other for other, run in made.items() if (run.key, run.protocol) == (one.key, one.protocol)]:
            raise ConfigError(f'committee.runs names {place} and {same[0]}, which are one training; leave one out.')
        made[home] = one
    return list(made.values())


def _adopted(given, place, test) -> trials.Trial:
    result = journal.result(place) if place.is_dir() else None
    if result is None:
        raise ConfigError(
            f'committee.runs names {place}, which is not the workdir of a finished training; those of a table are DIR/trials/KEY.'
        )
    config = configs.update(configs.default(), configs.read(place))
    config = configs.update(config, {'data.dir': given.config.data.dir or config.data.dir})
    names = tuple(checkpoints.manifest(place, result['step']).get('class_names', ()))
    if names != test.class_names:
        told = f'{len(names)} classes, {", ".join(names[:3])}{", ..." if names[3:] else ""}' if names else 'classes without names'
        raise ConfigError(f'committee.runs names {place}, which tells {told}; the table tells the {test.num_classes} of {test.name}.')
    seen, views = preprocessing.applied(test, config.data.preprocessing), given.config.evaluate.views
    wanted = tasks.protocol(views, {'test': seen.fingerprint})
    if result['protocol'] != wanted:
        of = f'{config.data.name} ({config.data.test}), {config.evaluate.views} view{"s" * (config.evaluate.views != "centre")}'
        offer = f'the table is of {test.num_examples:,} images of {test.name} ({test.split}) in evaluate.views={views!r}'
        raise ConfigError(f'committee.runs names {place}, which was tested on other images or views ({of}); {offer}.')
    if raw(config).fingerprint != test.fingerprint:
        raise ConfigError(
            f'committee.runs names {place}, whose test images, {config.data.name}, are no longer those that it was tested on.'
        )
    checkpoints.verify(place, result['step']), files.check_writable(place, 'evaluations')
    return trials.Trial('adopted', config.data.preprocessing, '', {}, config, result['key'], result['protocol'], place.resolve())


def joined(planned: Sequence[trials.Trial], runs: Sequence[trials.Trial]) -> list[trials.Trial]:
    """The columns of a table, those that are there already in the place of their trainings, and then the other runs."""
    there = {(run.key, run.protocol): run for run in runs}
    own = [
        trial._replace(workdir=there[trial.key, trial.protocol].workdir) if (trial.key, trial.protocol) in there else trial
        for trial in planned
    ]
    known = {(trial.key, trial.protocol) for trial in planned}
    return own + [run for run in runs if (run.key, run.protocol) not in known]


# ---- what columns say


def _place(workdir: pathlib.Path, protocol: str) -> pathlib.Path:
    return workdir / 'evaluations' / f'probabilities-{protocol}.npz'


def said(workdir: pathlib.Path, protocol: str) -> Said | None:
    """What is kept of a column; None where nothing whole is, or of another training."""
    path, told = _place(workdir, protocol), trials.read(workdir, f'probabilities-{protocol}')
    if not told:
        return None
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest() != told['digest']:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return Said(arrays['probabilities'], arrays['labels'], told['images'], tuple(told['classes']), told['digest'])


def measure(trial: trials.Trial) -> None:
    """Keeps what a finished column says of every test image; once, and anew where it is damaged."""
    name, path = f'probabilities-{trial.protocol}', _place(trial.workdir, trial.protocol)
    if said(trial.workdir, trial.protocol) is not None:
        return

    def told() -> dict[str, Any]:
        trained, config = checkpoints.load(trial.workdir), trial.config
        test = tasks.sources(config)['test']
        feed = stream.evaluation_feed(test, config.evaluate.batch_size, config.data.resize, config.data.resident_gb, config.data.workers)
        predict = evaluate.predictor(tasks.network(config), config.evaluate.views, config.loss.name, config.loss.j)
        found = predict(trained.variables, feed)
        feed.close()
        evaluate.summarize(found, test.num_examples)  # counts them
        arrays = {'probabilities': found.probabilities.astype(np.float32), 'labels': found.labels}
        files.write(path, lambda file: np.savez_compressed(file, **arrays))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {'digest': digest, 'images': raw(config).fingerprint, 'classes': list(test.class_names)}

    path.with_suffix('.json').unlink(missing_ok=True)  # of what is no longer there, or of another training
    trials.stored(trial.workdir, name, told)


# ---- the plate


def _members(digests: Sequence[str]) -> str:
    """What a plate is drawn of."""
    return records.digest(sorted(digests))


def draw(columns: Sequence[trials.Trial]) -> None:
    """Keeps, beside the first column, the images that all together name wrongly, at most report.DRAWN; nothing while one is missing."""
    told = [trials.read(column.workdir, f'probabilities-{column.protocol}') for column in columns]
    if len(told) < 2 or not all(told) or trials.read(columns[0].workdir, _PLATE, _members([one['digest'] for one in told])):
        return
    every = [said(column.workdir, column.protocol) for column in columns]
    if any(one is None for one in every):
        return
    missed = _missed(every)

    def made() -> list[dict]:
        images = raw(columns[0].config).read(missed)[0] if len(missed) else []
        return [{'shape': list(image.shape), 'pixels': base64.b64encode(image.tobytes()).decode()} for image in images]

    trials.stored(columns[0].workdir, _PLATE, made, _members([one.digest for one in every]))


def _missed(columns: Sequence[Said]) -> np.ndarray:
    """Places of the images that are drawn, rising."""
    together = np.mean([column.probabilities for column in columns], axis=0, dtype=np.float64)
    missed = np.flatnonzero(measures.wrong(together, columns[0].labels))
    return missed[np.unique(np.linspace(0, len(missed) - 1, report.DRAWN).astype(int))] if len(missed) > report.DRAWN else missed


def drawn(workdirs: Sequence[pathlib.Path], columns: Sequence[Said]) -> list[report.Miss]:
    """What `draw` kept of exactly these columns; [] where there is nothing."""
    members = _members([column.digest for column in columns])
    kept = next((found for home in workdirs if (found := trials.read(home, _PLATE, members)) is not None), None)
    missed = _missed(columns)
    if kept is None or len(kept) != len(missed):
        return []
    first, second = measures.guesses(np.mean([column.probabilities for column in columns], axis=0, dtype=np.float64)[missed])
    names, truth = columns[0].classes, columns[0].labels[missed]
    try:
        images = [np.frombuffer(base64.b64decode(one['pixels']), np.uint8).reshape(one['shape']) for one in kept]
    except (KeyError, TypeError, ValueError):
        raise CheckpointError('the images that a committee gets wrong are damaged; delete evaluations/plate.json.') from None
    named = (tuple(names[label] for label in labels) for labels in zip(truth, first, second, strict=True))
    return [report.Miss(image, *words) for image, words in zip(images, named, strict=True)]
