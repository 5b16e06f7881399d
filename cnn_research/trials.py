"""Many trainings as one table: each is done once, by whichever process is free, and gone on with after any end.

A table's workdir holds plan.json and trials/KEY/, one workdir of `fit` each. A trial is trained under its workdir's lock, is finished when
its result.json has its key, and has error.json when it failed; what else is measured of it stands in evaluations/PROTOCOL.json.
"""

import collections
import contextlib
import functools
import itertools
import json
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

from cnn_research import checkpoints, files, journal, lengths, memory, parallel, records, runs, search, tasks, train
from cnn_research import config as configs
from cnn_research.errors import FULL, Busy, CheckpointError, ConfigError, ResearchError, WriteError
from cnn_research.fields import Field

FIELDS = (
    Field('trials.seeds', 1, 'networks of each row; their seeds count up from the field seed', low=1, high=1000),
    Field('trials.grid', '', "values to cross with every row: 'optimizer.learning_rate=0.01,0.03; data.batch_size=32,128'"),
    *search.FIELDS,
    Field('trials.select', '', "'holdout' shows of a row's points only the one with the lowest mean holdout error", ('', 'holdout')),
    Field('trials.shard', '', "the share of the trials that this process takes: '2/8' is the second of eight"),
    Field(
        'trials.launch',
        '',
        "where the missing trials are trained: '' here, 'slurm' by a job array of SLURM, 'local' by processes of this machine that outlive "
        "the command (both by pip install 'cnn-research[cluster]'); the report shows how far they are",
        ('', 'slurm', 'local'),
    ),
    Field('trials.jobs', 8, 'jobs of a launch at most, each of which takes one trial after the other', low=1, high=10000),
    Field(
        'trials.slurm',
        '',
        "what each job of a launch asks for, in sbatch's words, time in minutes: 'partition=gpu,gpus_per_node=1,time=240'; a job that is "
        "preempted or out of time saves, and is requeued; 'local' knows time and gpus_per_node",
    ),
    Field('trials.budget', '', "for --dry_run, the time there is: '2h' or '90min'; the plan then says the schedule.epochs that fit"),
)
ROWS_ALONE = {'trials.grid': '', **{field.name: field.default for field in search.FIELDS}}  # the options of a table without points
POLL = 5.0  # seconds between looks at a trial that another process trains


class Trial(NamedTuple):
    """One network to train.

    part: of the experiment, '' for its main table; row: of that part's table; point: in the grid, '' without one; overrides: all that
    makes it differ from the command's config; protocol: what it is tested by, of tasks.protocol; start: where it begins, if not at its
    initialization; task(devices, log): what it learns, if not the classification that its config describes; needs: the workdir of the
    training that must be finished first, where `task` has one.
    """

    part: str
    row: str
    point: str
    overrides: dict[str, Any]
    config: ml_collections.ConfigDict
    key: str
    protocol: str
    workdir: pathlib.Path
    start: tasks.Start | None = None
    task: Callable[..., tasks.Task] | None = None
    needs: pathlib.Path | None = None


class Record(NamedTuple):
    """What is known of a trial without training it. protocol: what it is tested by; result: its result.json, None before the end; config:
    {dotted name: value}; run: its run.json (command, date, machine, versions) or {}; seconds: spent in steps; reduced: its schedule is
    shorter than the scale's."""

    part: str
    row: str
    point: str
    seed: int
    key: str
    protocol: str
    workdir: pathlib.Path
    state: str
    error: str
    reduced: bool
    config: dict[str, Any]
    result: dict | None
    run: dict
    seconds: float


def crossed(options) -> str:
    """The field that crosses the rows with points, 'trials.grid' or 'trials.search', or ''; options: those of the section trials."""
    return next((f'trials.{name}' for name in ('grid', 'search') if options[name]), '')


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
    opens: Callable[[ml_collections.ConfigDict], dict] | None = None,
) -> list[Trial]:
    """The trials of a table: every row {field: value} over the config, times the points of its grid or search, times the seeds.

    folder: the table's workdir; starts(row, seed) says where a trial begins; opens(config) gives its sources, by default those that are
    there. Raises ResearchError for whatever cannot be trained, before anything is.
    """
    made, opened, points = [], {}, search.points(options.trials, config.seed)
    for row, changes in rows.items():
        for point in points:
            overrides = lengths.in_proportion(config, {**changes, **point})
            for seed in range(config.seed, config.seed + options.trials.seeds):
                checked = configs.check(configs.update(config, {**overrides, 'seed': seed}))
                net = configs.network(checked)
                drawn = checked.seed if checked.data.per_class else None  # which images of each class are drawn depends on it
                name = json.dumps([checked.data.to_dict(), net.input_shape, net.num_classes, drawn])
                if name not in opened:
                    opened[name] = tasks.fingerprints((opens or tasks.sources)(checked))
                start = starts(row, seed) if starts else None
                key = configs.key(checked, opened[name], tasks.task_name(start))
                label = ', '.join(f'{field}={value}' for field, value in point.items())
                protocol = tasks.protocol(checked.evaluate.views, opened[name])
                made.append(Trial(part, row, label, {**overrides, 'seed': seed}, checked, key, protocol, folder / 'trials' / key, start))
                if state(made[-1].workdir, key) != 'finished':
                    memory.check(checked, net)
    return made


def adopted(workdirs: Iterable[str]) -> list[Trial]:
    """Finished runs of other commands as trials, of the part 'adopted'; ConfigError where one is not finished, or two share a seed."""
    made = []
    for workdir in map(pathlib.Path, workdirs):
        if workdir.is_file():
            raise ConfigError(f'network={workdir} is a file, not the workdir of a training; experiments.transfer takes files of weights.')
        result = journal.result(workdir)
        if result is None:
            raise ConfigError(f'network={workdir} is not the workdir of a finished training; those of a table are DIR/trials/KEY.')
        config = configs.update(configs.default(), configs.read(workdir))
        if config.seed in [other.config.seed for other in made]:
            raise ConfigError(f'network names two trainings with seed {config.seed}; networks are told apart by their seeds.')
        made.append(Trial('adopted', 'network', '', {}, config, result['key'], result['protocol'], workdir.resolve()))
    return made


def learned(trial: Trial) -> dict[str, str]:
    """{role: fingerprint} of what a finished trial learned from; {} before its end."""
    result = journal.result(trial.workdir)
    return result.get('data', {}) if result else {}


def state(workdir: pathlib.Path, key: str, protocol: str | None = None, whole: bool = False) -> str:
    """'finished', 'untested' (trained, but not tested by the protocol), 'damaged' (records that are not what was written), 'stale' (of
    another key), 'failed', 'begun' or 'missing'.

    whole: the network of the result is verified too, which takes long for many large ones.
    """
    there = runs.begun(workdir)
    if there.result and there.result['key'] == key:
        try:
            if whole:
                checkpoints.verify(workdir, there.result['step'])
        except CheckpointError:
            return 'damaged'
        return 'finished' if runs.finished(workdir, key, protocol) else 'untested'
    if there.told and there.told.get('key') != key:
        return 'stale'
    if there.problems:
        return 'damaged'
    if (workdir / 'error.json').is_file():
        return 'failed'
    return 'begun' if checkpoints.steps(workdir) else 'missing'


def lost(workdir: pathlib.Path, key: str) -> bool:
    """Whether a trial ended without a network, so that what begins with it waits in vain: it failed, or is damaged and was tried again."""
    return state(workdir, key) in ('failed', 'damaged') and (workdir / 'error.json').is_file()


def _cleared(workdir: pathlib.Path, key: str) -> None:
    """A stale trial is renamed, never deleted; the word of an earlier failure goes, by which others would call this attempt lost.

    Busy where another process does so, or trains there already."""
    word = workdir / 'error.json'
    if state(workdir, key) != 'stale' and not word.is_file():
        return
    with files.claimed(workdir):
        if state(workdir, key) == 'stale':
            number = next(n for n in itertools.count(1) if not workdir.with_name(f'{workdir.name}.stale-{n}').exists())
            workdir.rename(workdir.with_name(f'{workdir.name}.stale-{number}'))
        else:
            word.unlink(missing_ok=True)


def _attempt(trial: Trial, devices, watch, stop) -> str:
    """Trains a trial: 'finished', 'failed' or 'busy'. Stopped passes through."""
    try:
        parallel.led(lambda: _cleared(trial.workdir, trial.key), devices)
        task, make = None, trial.task
        if trial.start:
            make = functools.partial(tasks.classification, trial.config, start=trial.start)
        if make:
            task = parallel.each(lambda: make(devices=devices, log=lambda line: watch({'reading': line})), devices)
        train.fit(trial.config, trial.workdir, task, devices, watch, stop)
    except Busy:
        return 'busy'
    except train.Stopped:
        raise
    except Exception as problem:
        if isinstance(problem, WriteError) and problem.errno in FULL:
            raise
        together = parallel.process(devices)[1] > 1
        if together and (isinstance(problem, WriteError) or not isinstance(problem, ResearchError)):
            raise  # the other processes may know nothing of it, and would wait for this one
        text = str(problem) if isinstance(problem, ResearchError) else f'{type(problem).__name__}: {problem}'
        content = {'error': ' '.join(text.split()), 'traceback': traceback.format_exc()}
        watch({'note': text if isinstance(problem, ResearchError) else content['traceback']})
        try:
            parallel.led(lambda: files.write(trial.workdir / 'error.json', json.dumps(content)), devices)
        except WriteError as refused:
            if refused.errno in FULL:
                raise
        return 'failed'
    with contextlib.suppress(OSError):
        parallel.led(lambda: (trial.workdir / 'error.json').unlink(missing_ok=True), devices)
    return 'finished'


def carry_out(
    trials: Iterable[Trial],
    watch: Callable[[Trial, dict], None] = lambda trial, event: None,
    stop: Callable[[], bool] = lambda: False,
    devices: Sequence[jax.Device] | None = None,
) -> None:
    """Trains what is missing, begun, failed before or stale. A trial that fails leaves error.json, and the rest goes on.

    Each device takes one trial at a time, unless a trial may need more than half of its memory; then all of them work on one, as do all
    devices of processes that train together. Trials that another process trains are waited for at the end, and taken over if that process
    dies. watch is told (trial, event of `fit`), and {'outcome': 'finished' or 'failed'} at its end. Raises Stopped once `stop` says so.
    """
    devices, trials = devices or parallel.devices(), list(trials)
    done = parallel.led(lambda: [state(one.workdir, one.key, one.protocol, whole=True) == 'finished' for one in trials], devices)
    waiting = collections.deque(trial for trial, there in zip(trials, done, strict=True) if not there)
    together = parallel.process(devices)[1] > 1
    limit = ((parallel.local_devices() if together else devices)[0].memory_stats() or {}).get('bytes_limit', float('inf'))
    alone = all(2 * memory.training(trial.config, configs.network(trial.config)) < limit for trial in waiting)
    failed: set[pathlib.Path] = set()  # of this call, whether or not their error.json could be written
    groups = [[device] for device in devices] if alone and not together else [list(devices)]
    taking = threading.Lock()

    def work(own):
        busy = 0  # trials in a row that others hold
        while True:
            with taking:
                if not waiting:
                    return
                trial = waiting.popleft()
            hopeless = (trial.start.needs if trial.start else trial.needs) in failed
            outcome = 'failed' if hopeless else _attempt(trial, own, lambda event, trial=trial: watch(trial, event), stop)
            if outcome != 'busy':
                busy = 0
                if outcome == 'failed':
                    failed.add(trial.workdir)
                watch(trial, {'outcome': outcome})
                continue
            if any(parallel.agreed(stop, devices)):
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


def stored(workdir: pathlib.Path, protocol: str, compute: Callable[[], Any], source: str = '') -> Any:
    """What `compute` found of a finished trial, as JSON: computed once, kept in evaluations/PROTOCOL.json under the trial's key.

    source: what was looked at beside the trial itself, a source's fingerprint or the trial's protocol of testing; computed anew when it is
    another.
    """
    found = read(workdir, protocol, source)
    if found is not None:
        return found
    result = journal.result(workdir)
    if result is None:
        raise CheckpointError(f'{workdir} holds no finished training, of which something could be measured.')
    content = {'key': result['key'], 'protocol': protocol, 'source': source, 'result': compute()}
    records.write(workdir / 'evaluations' / f'{protocol}.json', content)
    return read(workdir, protocol)


def read(workdir: pathlib.Path, protocol: str, source: str | None = None) -> Any:
    """What `stored` keeps, or None where nothing whole is kept for the trial's key or, where it is told, for the source."""
    try:
        content, result = records.read(workdir / 'evaluations' / f'{protocol}.json'), journal.result(workdir)
    except CheckpointError:
        return None
    known = source is None or content.get('source', '') == source
    named = content.get('protocol') == protocol  # by its own word, so that no file stands for another
    return content.get('result') if known and named and result and content.get('key') == result['key'] else None


def write_plan(folder: pathlib.Path, trials: Sequence[Trial], reduced: Sequence[bool], about: Mapping[str, Any]) -> None:
    """Writes FOLDER/plan.json, from which `records_of` reads the table back; about: what else a report is made from."""
    listed = [
        {'part': t.part, 'row': t.row, 'point': t.point, 'seed': t.config.seed, 'key': t.key, 'protocol': t.protocol, 'reduced': short}
        | ({} if t.workdir == folder / 'trials' / t.key else {'workdir': str(t.workdir)})
        for t, short in zip(trials, reduced, strict=True)
    ]
    records.write(folder / 'plan.json', {**about, 'trials': listed})


def records_of(folder: pathlib.Path) -> tuple[dict[str, Any], list[Record]]:
    """(what `write_plan` was told, the trials in their order); ConfigError where there is no plan, CheckpointError for a damaged one.

    A trial whose records are not what was written is 'damaged', with the reason as its error; the others stand.
    """
    if not (folder / 'plan.json').is_file():
        raise ConfigError(f'{folder} holds no table: there is no plan.json in it. Name the workdir of an experiment that trains several.')
    about = records.read(folder / 'plan.json', {'trials': [_LISTED]})
    return about, [_record(folder, listed) for listed in about.pop('trials')]


_LISTED = {'part': str, 'row': str, 'point': str, 'seed': int, 'key': str, 'protocol': str, 'reduced': bool}


def _record(folder: pathlib.Path, listed: dict[str, Any]) -> Record:
    named, protocol = {name: value for name, value in listed.items() if name in (*_LISTED, 'workdir')}, listed['protocol']
    if not re.fullmatch(r'[\w-]+', listed['key']) or not isinstance(listed.get('workdir', ''), str):
        raise CheckpointError(f'{folder / "plan.json"} is damaged: {listed["key"]!r} is no key of a trial, or its workdir no place.')
    workdir, key = pathlib.Path(named.pop('workdir', folder / 'trials' / listed['key'])), named['key']
    now, result, config, error = state(workdir, key, protocol), None, {}, ''
    if now == 'finished':
        result = runs.finished(workdir, key, protocol)
    if now == 'damaged':
        error = ' '.join(runs.begun(workdir).problems)
    with contextlib.suppress(CheckpointError):
        config = configs.read(workdir)
    if now == 'failed':
        error = str(_known(workdir / 'error.json').get('error', 'why is not known: error.json is damaged'))
    run, seconds = _known(workdir / 'run.json'), journal.seconds(workdir)
    return Record(**named, workdir=workdir, state=now, error=error, config=config, result=result, run=run, seconds=seconds)


def inside(error: Exception | str, home: pathlib.Path) -> str:
    """What is wrong with a file of a workdir, without the workdir's own place."""
    return str(error).replace(f'{home}/', '').rstrip('.')


def _known(path: pathlib.Path) -> dict[str, Any]:
    """What a file says that no number rests on, {} where it cannot be read."""
    try:
        return files.read_json(path)
    except CheckpointError:
        return {}


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
