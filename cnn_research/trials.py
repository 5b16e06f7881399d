"""Many trainings as one table: each is done once, by whichever process is free, and gone on with after any end.

A table's workdir holds plan.json and trials/KEY/, one workdir of `fit` each. A trial is trained under its workdir's lock, is finished when
its result.json has its key, and has error.json when it failed; what else is measured of it stands in evaluations/PROTOCOL.json.
"""

import collections
import contextlib
import itertools
import json
import math
import pathlib
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import ml_collections

from cnn_research import checkpoints, files, parallel, tasks, train
from cnn_research import config as configs
from cnn_research.config import Field
from cnn_research.errors import CheckpointError, ConfigError, ResearchError

FIELDS = (
    Field('trials.seeds', 1, 'networks of each row; their seeds count up from the field seed', low=1),
    Field('trials.grid', '', "values to cross with every row: 'optimizer.learning_rate=0.01,0.03; data.batch_size=32,128'"),
    Field('trials.select', '', "'holdout' shows of a row's grid only the point with the lowest mean holdout error", ('', 'holdout')),
    Field('trials.shard', '', "the share of the trials that this process takes: '2/8' is the second of eight"),
    Field('trials.budget', '', "for --dry_run, the time there is: '2h' or '90min'; the plan then says the schedule.epochs that fit"),
)
POLL = 5.0  # seconds between looks at a trial that another process trains


class Trial(NamedTuple):
    """One network to train.

    part: of the experiment, '' for its main table; row: of that part's table; point: in the grid, '' without one; overrides: all that
    makes it differ from the command's config; start: where it begins, if not at its initialization.
    """

    part: str
    row: str
    point: str
    overrides: dict[str, Any]
    config: ml_collections.ConfigDict
    key: str
    workdir: pathlib.Path
    start: tasks.Start | None = None


class Record(NamedTuple):
    """What is known of a trial without training it. result: its result.json, None before the end; config: {dotted name: value}; run: its
    run.json (command, date, machine, versions) or {}; seconds: spent in steps; reduced: its schedule is shorter than the scale's."""

    part: str
    row: str
    point: str
    seed: int
    key: str
    workdir: pathlib.Path
    state: str
    error: str
    reduced: bool
    config: dict[str, Any]
    result: dict | None
    run: dict
    seconds: float


def grid(text: str) -> list[dict[str, str]]:
    """The points of 'FIELD=a,b; FIELD=c,d', each {field: value}; one empty point for ''. ConfigError where it cannot be read."""
    axes = []
    for part in filter(None, map(str.strip, text.split(';'))):
        name, equals, values = (word.strip() for word in part.partition('='))
        values = [value.strip() for value in values.split(',')]
        if not equals or not all(values) or name in [axis[0] for axis in axes]:
            raise ConfigError(f"trials.grid={text!r} cannot be read; write 'optimizer.learning_rate=0.01,0.03; data.batch_size=32,128'.")
        if name == 'seed':
            raise ConfigError('trials.grid names seed; trials.seeds=5 trains five of each row.')
        if name not in configs.BY_NAME:
            raise configs.unknown_field(name, configs.BY_NAME)
        known: dict[Any, str] = {}
        for value in values:
            read = configs.flat(configs.update(configs.default(), {name: value}))[name]
            if read in known:
                raise ConfigError(f'trials.grid names {name}={known[read]} twice, the second time as {value}; leave one out.')
            known[read] = value
        axes.append((name, values))
    return [dict(zip([name for name, _ in axes], point, strict=True)) for point in itertools.product(*(values for _, values in axes))]


def seconds(text: str) -> float:
    """'2h', '90min' or '30s' in seconds; ConfigError where it cannot be read."""
    found = re.fullmatch(r'([0-9.]+)\s*(h|min|s)', text.strip())
    try:
        return float(found[1]) * {'h': 3600, 'min': 60, 's': 1}[found[2]]
    except (TypeError, ValueError):
        raise ConfigError(f"trials.budget={text!r} cannot be read; write '2h', '90min' or '30s'.") from None


def share(trials: Sequence[Trial], text: str) -> list[Trial]:
    """Every n-th trial from the k-th on, of 'k/n'; all for ''. ConfigError where it cannot be read."""
    found = re.fullmatch(r'(\d+)/(\d+)', text)
    if text and not (found and 1 <= int(found[1]) <= int(found[2])):
        raise ConfigError(f"trials.shard={text!r} cannot be read; write '2/8' for the second of eight, counted from 1.")
    return list(trials[int(found[1]) - 1 :: int(found[2])]) if found else list(trials)


def plan(
    rows: Mapping[str, Mapping[str, Any]],
    config: ml_collections.ConfigDict,
    options: ml_collections.ConfigDict,
    folder: pathlib.Path,
    part: str = '',
    starts: Callable[[str, int], tasks.Start] | None = None,
) -> list[Trial]:
    """The trials of a table: every row {field: value} over the config, times the grid, times the seeds.

    folder: the table's workdir; starts(row, seed) says where a trial begins. Raises ResearchError for whatever cannot be trained, before
    anything is.
    """
    made, opened = [], {}
    for row, changes in rows.items():
        for point in grid(options.trials.grid):
            overrides = {**changes, **point}
            for seed in range(config.seed, config.seed + options.trials.seeds):
                checked = configs.check(configs.update(config, {**overrides, 'seed': seed}))
                net = configs.network(checked)
                name = json.dumps([checked.data.to_dict(), net.input_shape, net.num_classes])
                if name not in opened:
                    opened[name] = tasks.fingerprints(tasks.sources(checked))
                start = starts(row, seed) if starts else None
                key = configs.key(checked, opened[name], tasks.task_name(start))
                label = ', '.join(f'{field}={value}' for field, value in point.items())
                made.append(Trial(part, row, label, {**overrides, 'seed': seed}, checked, key, folder / 'trials' / key, start))
    return made


def adopted(workdirs: Iterable[str]) -> list[Trial]:
    """Finished runs of other commands as trials, of the part 'adopted'; ConfigError where one is not finished, or two share a seed."""
    made = []
    for workdir in map(pathlib.Path, workdirs):
        key = (workdir / 'key').read_text() if (workdir / 'key').is_file() else ''
        if not key or state(workdir, key) != 'finished':
            raise ConfigError(f'network={workdir} is not the workdir of a finished training; those of a table are DIR/trials/KEY.')
        config = configs.update(configs.default(), checkpoints.read_config(workdir))
        if config.seed in [other.config.seed for other in made]:
            raise ConfigError(f'network names two trainings with seed {config.seed}; networks are told apart by their seeds.')
        made.append(Trial('adopted', 'network', '', {}, config, key, workdir.resolve()))
    return made


def state(workdir: pathlib.Path, key: str) -> str:
    """'finished', 'failed', 'stale' (a result of another key), 'begun' or 'missing'."""
    if train.finished(workdir, key):
        return 'finished'
    if (workdir / 'result.json').is_file() or ((workdir / 'key').is_file() and (workdir / 'key').read_bytes() != key.encode()):
        return 'stale'
    if (workdir / 'error.json').is_file():
        return 'failed'
    return 'begun' if checkpoints.steps(workdir) else 'missing'


def _put_aside(workdir: pathlib.Path) -> None:
    """A stale trial is renamed, never deleted."""
    number = next(n for n in itertools.count(1) if not workdir.with_name(f'{workdir.name}.stale-{n}').exists())
    with contextlib.suppress(FileNotFoundError):  # another process has just done so
        workdir.rename(workdir.with_name(f'{workdir.name}.stale-{number}'))


def _attempt(trial: Trial, devices, watch, stop) -> str:
    """Trains a trial: 'finished', 'failed' or 'busy'. Stopped passes through."""
    if state(trial.workdir, trial.key) == 'stale':
        _put_aside(trial.workdir)
    try:
        task = None
        if trial.start:
            task = tasks.classification(trial.config, devices=devices, log=lambda line: watch({'reading': line}), start=trial.start)
        train.fit(trial.config, trial.workdir, task, devices, watch, stop)
    except train.Busy:
        return 'busy'
    except Exception as problem:
        if isinstance(problem, train.Stopped):
            raise
        text = str(problem) if isinstance(problem, ResearchError) else f'{type(problem).__name__}: {problem}'
        trial.workdir.mkdir(parents=True, exist_ok=True)
        content = {'error': ' '.join(text.split()), 'traceback': traceback.format_exc()}
        checkpoints.write_text(trial.workdir / 'error.json', json.dumps(content))
        watch({'note': text if isinstance(problem, ResearchError) else content['traceback']})
        return 'failed'
    (trial.workdir / 'error.json').unlink(missing_ok=True)
    return 'finished'


def carry_out(
    trials: Iterable[Trial],
    watch: Callable[[Trial, dict], None] = lambda trial, event: None,
    stop: Callable[[], bool] = lambda: False,
    devices: Sequence[jax.Device] | None = None,
) -> None:
    """Trains what is missing, begun, failed before or stale. A trial that fails leaves error.json, and the rest goes on.

    Each device takes one trial at a time, unless a trial needs more memory than one device has; then all of them work on one. Trials that
    another process trains are waited for at the end, and taken over if that process dies. watch is told (trial, event of `fit`), and
    {'outcome': 'finished' or 'failed'} at its end. Raises Stopped once `stop` says so.
    """
    devices = devices or parallel.local_devices()
    waiting = collections.deque(trial for trial in trials if state(trial.workdir, trial.key) != 'finished')
    limit = (devices[0].memory_stats() or {}).get('bytes_limit', float('inf'))
    alone = all(memory(trial.config) < limit for trial in waiting)
    groups = [[device] for device in devices] if alone else [list(devices)]
    taking = threading.Lock()

    def work(own):
        busy = 0  # trials in a row that others hold
        while True:
            with taking:
                if not waiting:
                    return
                trial = waiting.popleft()
            outcome = _attempt(trial, own, lambda event, trial=trial: watch(trial, event), stop)
            if outcome != 'busy':
                busy = 0
                watch(trial, {'outcome': outcome})
                continue
            if stop():
                raise train.Stopped
            with taking:
                waiting.append(trial)
            busy += 1
            if busy >= len(waiting):
                time.sleep(POLL)
                busy = 0

    with ThreadPoolExecutor(len(groups)) as pool:
        for done in [pool.submit(work, group) for group in groups]:
            done.result()


def memory(config) -> float:
    """Bytes that a training needs on its device, roughly: parameters, momentum, gradients and their updates, and activations twice."""
    net = configs.network(config)
    activations = sum(math.prod(row.output) for row in net.rows) * config.data.batch_size
    return 16 * net.parameters + 8 * activations


def stored(workdir: pathlib.Path, protocol: str, compute: Callable[[], Any], source: str = '') -> Any:
    """What `compute` found of a finished trial, as JSON: computed once, kept in evaluations/PROTOCOL.json under the trial's key.

    source: the fingerprint of what was looked at, where it is not the trial's own data; computed anew when it is another.
    """
    key = (workdir / 'key').read_text()
    found = read(workdir, protocol, source)
    if found is not None:
        return found
    path = workdir / 'evaluations' / f'{protocol}.json'
    path.parent.mkdir(exist_ok=True)
    checkpoints.write_text(path, json.dumps({'key': key, 'source': source, 'result': compute()}))
    return read(workdir, protocol)


def read(workdir: pathlib.Path, protocol: str, source: str | None = None) -> Any:
    """What `stored` keeps, or None where nothing is kept for the trial's key or, where it is told, for the source."""
    try:
        content = files.read_json(workdir / 'evaluations' / f'{protocol}.json')
        known = source is None or content.get('source', '') == source
        return content['result'] if known and content['key'] == (workdir / 'key').read_text() else None
    except (CheckpointError, OSError, ValueError, KeyError):
        return None


def write_plan(folder: pathlib.Path, trials: Sequence[Trial], reduced: Sequence[bool], about: Mapping[str, Any]) -> None:
    """Writes FOLDER/plan.json, from which `records` reads the table back; about: what else a report is made from."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = [
        {'part': t.part, 'row': t.row, 'point': t.point, 'seed': t.config.seed, 'key': t.key, 'reduced': short}
        | ({} if t.workdir == folder / 'trials' / t.key else {'workdir': str(t.workdir)})
        for t, short in zip(trials, reduced, strict=True)
    ]
    checkpoints.write_text(folder / 'plan.json', json.dumps({**about, 'trials': listed}, indent=1))


def records(folder: pathlib.Path) -> tuple[dict[str, Any], list[Record]]:
    """(what `write_plan` was told, the trials in their order); ConfigError where there is no plan."""
    if not (folder / 'plan.json').exists():
        raise ConfigError(f'{folder} holds no table: there is no plan.json in it. Name the workdir of an experiment that trains several.')
    about = files.read_json(folder / 'plan.json', {'trials': [_LISTED]})
    return about, [_record(folder, listed) for listed in about.pop('trials')]


_LISTED = {'part': str, 'row': str, 'point': str, 'seed': int, 'key': str, 'reduced': bool}


def _record(folder: pathlib.Path, listed: dict[str, Any]) -> Record:
    """What is known of a trial that plan.json lists; 'damaged', with the reason, where its files cannot be read."""
    listed, workdir = {name: listed[name] for name in _LISTED}, listed.get('workdir')
    if not re.fullmatch(r'[\w-]+', listed['key']) or not isinstance(workdir, str | None):
        raise CheckpointError(f'{folder / "plan.json"} is damaged: {listed["key"]!r} is no key of a trial, or has no workdir.')
    home = folder / 'trials' / listed['key'] if workdir is None else pathlib.Path(workdir)

    def kept(name):
        return files.read_json(home / f'{name}.json') if (home / f'{name}.json').exists() else {}

    now = state(home, listed['key'])
    try:
        if (home / 'result.json').exists():
            files.read_json(home / 'result.json')
        known = {'config': configs.flat(kept('config')), 'run': kept('run'), 'result': train.finished(home, listed['key'])}
        timing = files.read_lines(home / 'timing.jsonl', {'seconds': float}) if (home / 'timing.jsonl').exists() else []
        if known['result'] and not timing:
            raise CheckpointError(f'{home / "timing.jsonl"} holds no line.')
        known |= {'seconds': sum(line['seconds'] for line in timing)}
        known |= {'error': files.read_json(home / 'error.json', {'error': str})['error'] if now == 'failed' else ''}
    except CheckpointError as error:
        now, known = 'damaged', {**dict.fromkeys(('config', 'run'), {}), 'result': None, 'seconds': 0.0, 'error': inside(error, home)}
    return Record(**listed, workdir=home, state=now, **known)


def inside(error: Exception, home: pathlib.Path) -> str:
    """What is wrong with a file of a workdir, without the workdir's own place."""
    return str(error).replace(f'{home}/', '').rstrip('.')


def selected(found: Sequence[Record]) -> list[Record]:
    """Of each row's grid the point with the lowest mean holdout error over its finished trials (Krizhevsky et al. 2012, Fig. 1, tune so).

    A row of which no point is finished keeps all.
    """
    errors = collections.defaultdict(lambda: collections.defaultdict(list))
    for record in found:
        if record.result and 'holdout' in record.result:
            errors[record.part, record.row][record.point].append(record.result['holdout']['error'])
    best = {row: min(points, key=lambda point: sum(points[point]) / len(points[point])) for row, points in errors.items()}
    return [record for record in found if best.get((record.part, record.row), record.point) == record.point]
