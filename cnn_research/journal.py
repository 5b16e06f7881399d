"""What a training writes down while it runs: numbers that a second run must repeat, and times that it need not."""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cnn_research import config as configs
from cnn_research import files, records
from cnn_research.errors import CheckpointError

METRICS, TIMING, RESULT = 'metrics.jsonl', 'timing.jsonl', 'result.json'


def _whole_lines(path: pathlib.Path) -> bytes:
    """The lines of a file that were finished: what follows the last line end was not."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b''
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read ({error.strerror or error}).') from None
    return content[: content.rfind(b'\n') + 1]


def _record(path: pathlib.Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
        if type(content['step']) is not int:
            raise ValueError
        return content
    except (ValueError, TypeError, LookupError, RecursionError):
        raise CheckpointError(f'{path} is damaged: line {number} is no record of a step.') from None


def history(workdir, told: Mapping[str, Any]) -> list[dict]:
    """The records of WORKDIR/metrics.jsonl that were there when `mark` told this; CheckpointError where they are not what was written."""
    path = pathlib.Path(workdir) / METRICS
    hold(workdir, told)
    lines = _whole_lines(path)[: told['bytes']].splitlines()
    return [_record(path, number, line) for number, line in enumerate(lines, 1)]


def seconds(workdir) -> float:
    """Spent in steps, by WORKDIR/timing.jsonl; what cannot be read of it, on which no result rests, does not count."""
    return sum(_timed(workdir, 'seconds'))


def waited(workdir) -> float | None:
    """Of these seconds, those in which devices had nothing to do because their next batch was not there; None where nothing says it."""
    found = _timed(workdir, 'waited')
    return sum(found) if found else None


def rates(workdir) -> list[float]:
    """Examples per second of every stretch of steps that timing.jsonl says."""
    return _timed(workdir, 'examples_per_second')


def peak(workdir) -> float | None:
    """The most memory in bytes that the process of a training ever had until its last line, whatever else it did; None where nothing says
    it."""
    return max(_timed(workdir, 'peak_bytes'), default=None)


def _timed(workdir, name):
    """What the lines of timing.jsonl that can be read say of a name."""
    found, lines = [], b''
    with contextlib.suppress(CheckpointError):
        lines = _whole_lines(pathlib.Path(workdir) / TIMING)
    for line in lines.splitlines():
        with contextlib.suppress(ValueError, TypeError, LookupError, RecursionError, OverflowError):
            spent = float(json.loads(line)[name])
            found += [spent] if 0 <= spent < math.inf else []
    return found


def epoch(workdir, step: int, told: Mapping[str, Any]) -> float:
    """Passes over the training split at a step, from the last of the records that a manifest or result, `told`, was made with.

    CheckpointError where they are not what was written, or none says it.
    """
    path = pathlib.Path(workdir) / METRICS
    hold(workdir, told.get('metrics'))
    lines = _whole_lines(path)[: told['metrics']['bytes']].splitlines()
    if not lines:
        raise CheckpointError(f'{path} says nothing of epochs yet.')
    place = f'line {len(lines)}'
    last = files.check(path, _record(path, len(lines), lines[-1]), {'epoch': float, 'step': (1, 2**53)}, place)
    if last['epoch'] <= 0:
        raise CheckpointError(f'{path} is damaged: {place}.epoch is {last["epoch"]}.')
    return step * last['epoch'] / last['step']


def mark(workdir, size: int | None = None) -> dict[str, Any]:
    """{'bytes', 'sha256'} of the first `size` bytes of WORKDIR/metrics.jsonl, by default of all whole lines."""
    content = _whole_lines(pathlib.Path(workdir) / METRICS)[:size]
    return {'bytes': len(content), 'sha256': hashlib.sha256(content).hexdigest()}


def hold(workdir, told: Mapping[str, Any] | None) -> None:
    """CheckpointError unless metrics.jsonl begins as it was when `mark` told this."""
    if told is None:
        raise CheckpointError(f'nothing says what {pathlib.Path(workdir) / METRICS} was when the checkpoint was made.')
    if mark(workdir, told['bytes']) != dict(told):
        raise CheckpointError(f'{pathlib.Path(workdir) / METRICS} is damaged: its first {told["bytes"]} bytes are not what was written.')


def result(workdir) -> dict | None:
    """result.json of a finished run, None where there is none, or that of a run from which the workdir's own has gone on.

    CheckpointError unless it is what was written, and the metrics and config beside it are those that it was made with.
    """
    workdir = pathlib.Path(workdir)
    if not (workdir / RESULT).is_file():
        return None
    found = records.read(workdir / RESULT, {'key': str, 'protocol': str, 'step': int, 'views': str, 'metrics': dict, 'config': str})
    check_told(workdir / RESULT, found)
    check_tested(workdir / RESULT, found)
    saved = configs.saved(workdir)
    if found['key'] in [key for key, *_ in saved.continued]:
        return None
    if mark(workdir) != found['metrics']:
        raise CheckpointError(f'{workdir / METRICS} is damaged: it is not what {RESULT} was made with.')
    if configs.decisive(saved.values) != found['config'] or saved.key != found['key']:
        raise CheckpointError(f'{workdir / configs.FILE} is not the config that {RESULT} was made with.')
    return found


def check_told(path, found: Mapping[str, Any]) -> None:
    """CheckpointError where what a manifest or result says of its run has not the shape that a training gives it; all may be missing."""
    shapes = {'key': str, 'config': str, 'data': dict, 'class_names': [str], 'metrics': {'bytes': int, 'sha256': str}}
    files.check(path, found, {name: shape for name, shape in shapes.items() if name in found})
    records.chain(path, found.get('continued', []))
    shape = found.get('image_shape')
    if shape is not None and (len(files.check(path, shape, [int], 'image_shape')) != 3 or min(shape) < 1):
        raise CheckpointError(f'{path} is damaged: image_shape is no height, width and number of channels.')


def check_tested(path, found: Mapping[str, Any]) -> None:
    """CheckpointError where what was found on a split, as far as it is there, is no result of an evaluation."""
    for role in ('holdout', 'test'):
        kept = files.check(path, found.get(role, {}), dict, role)
        shapes = {'examples': int, 'ranks': [int]}
        files.check(path, kept, {name: shape for name, shape in shapes.items() if name in kept}, role)
        if 'ranks' in kept and (min(kept['ranks'], default=0) < 0 or len(kept['ranks']) != kept.get('examples', len(kept['ranks']))):
            raise CheckpointError(f'{path} is damaged: {role}.ranks are not those of its examples.')


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise files.refused(path, error) from None


def other_rates(continued: Sequence) -> str:
    """What must be said of a run that went on from trainings with other learning rates, as its result lists them; '' for any other."""
    others = [step for _, step, own in continued if not own]
    if not others:
        return ''
    return (
        f'up to step {others[-1]} the learning rates were those of a shorter schedule; a training of this length from the start has others'
    )


class Journal:
    """WORKDIR/metrics.jsonl, cut back to its first `size` bytes, and timing.jsonl, cut back to `step`, on opening; `history` is what
    metrics.jsonl holds.

    tensorboard: whether the metrics also go to WORKDIR/tensorboard; wandb: the project of Weights & Biases that they also go to, by way of
    WORKDIR/wandb, '' = none. Neither is read again, and no number rests on them.
    """

    def __init__(self, workdir: pathlib.Path, size: int, step: int, tensorboard: bool, wandb: str = ''):
        self._workdir, self._files = workdir, {}
        files.write(workdir / METRICS, _whole_lines(workdir / METRICS)[:size])
        files.write(workdir / TIMING, b''.join(_until(workdir / TIMING, step)))
        with _writing(workdir):
            self._files = {name: (workdir / f'{name}.jsonl').open('a') for name in ('metrics', 'timing')}
        self.history = history(workdir, mark(workdir))
        self._board = None
        if tensorboard:
            import tensorboardX  # wanted by nobody who does not ask for it

            self._board = tensorboardX.SummaryWriter(str(workdir / 'tensorboard'), purge_step=step + 1)
        self._run = _wandb(workdir, wandb) if wandb else None

    def write(self, name: str, record: dict) -> None:
        """Appends a record, with its 'step', to 'metrics' or 'timing'."""
        with _writing(self._workdir / f'{name}.jsonl'):
            self._files[name].write(json.dumps(record) + '\n')
            self._files[name].flush()
        if name == 'metrics':
            self.history.append(record)
            scalars = {f'{record["role"]}/{key}': value for key, value in record.items() if isinstance(value, float)}
            for key, value in scalars.items() if self._board else ():
                self._board.add_scalar(key, value, record['step'])
            if self._run:
                self._run.log({**scalars, 'step': record['step']})

    def sync(self) -> dict[str, Any]:
        """Brings what was written to the disk, so that no checkpoint is newer than its records; the `mark` of the metrics."""
        with _writing(self._workdir):
            for file in self._files.values():
                os.fsync(file.fileno())
        return mark(self._workdir)

    def close(self) -> None:
        for file in self._files.values():
            with contextlib.suppress(OSError):  # what could not be written has been said
                file.close()
        if self._board:
            self._board.close()
        if self._run:
            self._run.finish()


def _wandb(workdir: pathlib.Path, project: str):
    """A run of Weights & Biases that is called as the workdir is; a training that goes on goes on in the same run."""
    import wandb  # as above

    told = configs.read(workdir)
    # Runs are told apart by an id, which may hold letters and digits; the same workdir has the same.
    name = hashlib.sha256(str(workdir.resolve()).encode()).hexdigest()[:12]
    settings = wandb.Settings(console='off', quiet=True)
    run = wandb.init(project=project, dir=str(workdir), name=workdir.name, id=name, resume='allow', config=told, settings=settings)
    run.define_metric('*', step_metric='step')  # ours: after a stop a training goes back to its last checkpoint
    return run


class Unwritten:
    """What a process has in the place of a Journal where another one writes it."""

    def __init__(self, *asked):
        self.history: list[dict] = []

    def write(self, name: str, record: dict) -> None:
        pass

    def close(self) -> None:
        pass


def _until(path: pathlib.Path, step: int) -> list[bytes]:
    """The lines of a file up to a step, without those that cannot be read."""
    kept = []
    for line in _whole_lines(path).splitlines(keepends=True):
        with contextlib.suppress(CheckpointError):
            if _record(path, 0, line)['step'] <= step:
                kept.append(line)
    return kept


class Clock:
    """Seconds spent in steps, and not in evaluation or saving. rate: examples per second since the lap before; eta: seconds to `total`."""

    def __init__(self, first: int, total: int, batch_size: int):
        self.rate = self.eta = self._spent = self._waited = 0.0
        self._step, self._total, self._batch_size = first, total, batch_size
        self.start()

    def start(self) -> None:
        self._mark = time.perf_counter()

    def stop(self) -> None:
        self._spent += time.perf_counter() - self._mark

    def wait(self, seconds: float) -> None:
        """Counts seconds of the steps in which the devices had nothing to do because the next batch was not there."""
        self._waited += seconds

    def lap(self, step: int) -> dict:
        """Closes a stretch of steps while the clock runs: {'seconds', 'waited', 'examples_per_second', 'peak_bytes'}."""
        self.stop()
        seconds, self._spent, waited, self._waited = self._spent, 0.0, self._waited, 0.0
        self.rate = (step - self._step) * self._batch_size / max(seconds, 1e-9)
        self.eta = (self._total - step) * self._batch_size / max(self.rate, 1e-9)
        self._step = step
        self.start()
        told = {'seconds': round(seconds, 3), 'waited': round(waited, 3), 'examples_per_second': round(self.rate, 1)}
        unit = 1 if sys.platform == 'darwin' else 1024  # of ru_maxrss, in bytes
        return told | {'peak_bytes': unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
