"""Points drawn at random for every row of a table (Bergstra & Bengio 2012, 'Random search for hyper-parameter optimization'), by Optuna.

Optuna draws, and what came of the points is written down for its tools: a storage in SQLite, FILE in the table's workdir, with one study
for each row, which `optuna.load_study` and optuna-dashboard read. The points are trials of the table like those of a grid, trained, kept,
chosen among and reported by it; the storage follows from their records and is written anew each time. Optuna is imported when asked for.
"""

import contextlib
import math
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from cnn_research import config as configs
from cnn_research import files, optional
from cnn_research.errors import ConfigError, shown
from cnn_research.fields import Field

_DRAWS = 20
FIELDS = (
    Field(
        'trials.search',
        '',
        "ranges from which points are drawn at random for every row, by Optuna (pip install 'cnn-research[search]'), with log: evenly in "
        "the logarithm: 'optimizer.learning_rate=log:1e-4:1e-1; data.batch_size=16:128'; WORKDIR/optuna.db tells Optuna the holdout errors",
    ),
    Field('trials.draws', _DRAWS, 'points of trials.search; more of them begin with the same', low=1, high=10000),
)
FILE = 'optuna.db'
_TRIES = 100  # draws for each point that is asked for: many fail only where there are too few different ones
_FORM = "'optimizer.learning_rate=log:1e-4:1e-1; data.batch_size=16:128'"


class Range(NamedTuple):
    """A field and the ends, both included, between which it is drawn: evenly, or its logarithm evenly. whole: of whole numbers."""

    name: str
    low: float
    high: float
    log: bool
    whole: bool


def ranges(text: str) -> list[Range]:
    """Of 'FIELD=LOW:HIGH; FIELD=log:LOW:HIGH'; ConfigError where it cannot be read, for a field that is no number or decides nothing of a
    training, and for ends that are out of order or out of the field's range."""
    found: list[Range] = []
    for part in filter(None, map(str.strip, text.split(';'))):
        name, equals, words = (word.strip() for word in part.partition('='))
        *kind, low, high = [word.strip() for word in words.split(':')] if words.count(':') in (1, 2) else ['', '', '']
        if not equals or not low or not high or kind not in ([], ['log']) or name in [other.name for other in found]:
            raise ConfigError(f'trials.search={shown(text)} cannot be read; write {_FORM}.')
        if name == 'seed':
            raise ConfigError('trials.search names seed; trials.seeds=5 trains five of each row.')
        if name not in configs.BY_NAME:
            raise configs.unknown_field(name, configs.BY_NAME)
        number = type(configs.BY_NAME[name].default)
        if number not in (int, float):
            raise ConfigError(f'trials.search draws numbers, and {name} is none; cross the rows with its values: trials.grid.')
        if name not in configs.DECISIVE:
            raise ConfigError(f'trials.search names {name}, which changes nothing of what a network learns; leave it out.')
        ends = [_value(name, end) for end in (low, high)]
        if not ends[0] < ends[1]:
            raise ConfigError(f'trials.search: {name} from {low} to {high} is no range; the first number must be the lower one.')
        if kind and ends[0] <= 0:
            raise ConfigError(f'trials.search: the logarithm of {name} cannot be drawn from {low} on; begin above 0.')
        found.append(Range(name, *ends, bool(kind), number is int))
    return found


def _value(name: str, text: str) -> float:
    """The number that a field can be; ConfigError for what it cannot."""
    config = configs.update(configs.default(), {name: text})
    configs.check_values(config)
    return configs.flat(config)[name]


def names(options) -> list[str]:
    """The fields that the points of a table differ in; options: those of the section trials."""
    return [*configs.grid(options.grid)[0], *(one.name for one in ranges(options.search))]


def points(options, seed: int) -> list[dict[str, str]]:
    """What every row is crossed with, each {field: value}: the grid's points, or those that are drawn; one empty point without either.

    options: those of the section trials. Drawn are trials.draws different points, numbers to three figures, which follow from the seed and
    the ranges alone; of more draws these are the first. ConfigError for what cannot be drawn, and where Optuna is missing.
    """
    drawn = options.draws
    if not options.search:
        if drawn != _DRAWS:
            raise ConfigError(f'trials.draws={drawn} does nothing without trials.search, such as {_FORM}.')
        return configs.grid(options.grid)
    if options.grid:
        raise ConfigError(f'trials.grid={options.grid!r} and trials.search={options.search!r} both say the points; give one of them empty.')
    space, found = ranges(options.search), {}
    with _optuna() as optuna:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        asked = {one.name: _distribution(optuna, one) for one in space}
        for _ in range(_TRIES * drawn):
            params = study.ask(asked).params
            point = {one.name: _written(one, params[one.name]) for one in space}
            found.setdefault(tuple(point.values()), point)
            if len(found) == drawn:
                return list(found.values())
    raise ConfigError(f'trials.search={options.search!r} holds no {drawn} points that differ in three figures; lower trials.draws.')


def _written(one: Range, value: float) -> str:
    """To three figures, where these lie in the range."""
    if one.whole:
        return str(value)
    return f'{min(max(float(f"{value:.3g}"), one.low), one.high):.12g}'


def _distribution(optuna: ModuleType, one: Range) -> Any:
    kind = optuna.distributions.IntDistribution if one.whole else optuna.distributions.FloatDistribution
    return kind(one.low, one.high, log=one.log)


@contextlib.contextmanager
def _optuna() -> Iterator[ModuleType]:
    """Optuna, which says only what is wrong meanwhile."""
    optuna = optional.needed('optuna', 'trials.search')
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield optuna
    finally:
        optuna.logging.set_verbosity(before)


def told(folder: pathlib.Path, text: str, records: Sequence[Any]) -> pathlib.Path:
    """Writes FOLDER/FILE: of every row a study, of every point whose trials have all ended a trial of it, with the mean holdout error (a
    share of 1) over the seeds, or as failed where one failed. No error on the test split is in it.

    text: trials.search; records: of the whole table, as trials.records_of reads them.
    """
    space, studies = ranges(text), {}
    for record in (record for record in records if record.point):
        row = f'{record.part}: {record.row}' if record.part else record.row
        studies.setdefault(row, {}).setdefault(record.point, []).append(record)
    with _optuna() as optuna, tempfile.TemporaryDirectory() as place:
        storage = optuna.storages.RDBStorage(f'sqlite:///{place}/{FILE}')
        for row, by_point in studies.items():
            study = optuna.create_study(storage=storage, study_name=row, direction='minimize')
            study.add_trials([one for one in (_frozen(optuna, space, *of) for of in by_point.items()) if one])
        storage.remove_session()
        storage.engine.dispose()
        files.write(folder / FILE, (pathlib.Path(place) / FILE).read_bytes())
    return folder / FILE


def _frozen(optuna: ModuleType, space: Sequence[Range], point: str, records: Sequence[Any]) -> Any:
    """A point as a trial of Optuna's; None where some of its trials have not ended."""
    errors = [record.result['holdout']['error'] for record in records if record.result and 'holdout' in record.result]
    if len(errors) + sum(record.state == 'failed' for record in records) < len(records):
        return None
    values = dict(part.split('=') for part in point.split(', '))
    whole, state = len(errors) == len(records), optuna.trial.TrialState
    return optuna.trial.create_trial(
        state=state.COMPLETE if whole else state.FAIL,
        value=math.fsum(errors) / len(errors) if whole else None,
        params={one.name: (int if one.whole else float)(values[one.name]) for one in space},
        distributions={one.name: _distribution(optuna, one) for one in space},
        user_attrs={'seeds': [record.seed for record in records], 'keys': [record.key for record in records]},
    )
