"""What a training writes down while it runs: numbers that a second run must repeat, and times that it need not."""

import json
import math
import os
import pathlib
import time

from cnn_research import checkpoints


def _lines(path: pathlib.Path, last_step: float = math.inf) -> list[str]:
    whole = path.read_text().split('\n')[:-1] if path.is_file() else []  # what follows the last line end was never finished
    return [line for line in whole if json.loads(line)['step'] <= last_step]


def read_history(workdir) -> list[dict]:
    """The records of WORKDIR/metrics.jsonl."""
    return [json.loads(line) for line in _lines(pathlib.Path(workdir) / 'metrics.jsonl')]


def epoch(workdir, step: int) -> float | None:
    """Passes over the training split at a step, from the records of WORKDIR/metrics.jsonl; None without one."""
    last = next(reversed(read_history(workdir)), None)
    return step * last['epoch'] / last['step'] if last else None


class Journal:
    """WORKDIR/metrics.jsonl and timing.jsonl, cut back to `step` on opening; `history` is what metrics.jsonl holds."""

    def __init__(self, workdir: pathlib.Path, step: int, tensorboard: bool):
        self._files = {}
        for name in ('metrics', 'timing'):
            path = workdir / f'{name}.jsonl'
            kept = _lines(path, step)
            checkpoints.write_text(path, ''.join(f'{line}\n' for line in kept))
            self._files[name] = path.open('a')
        self.history = read_history(workdir)
        self._board = None
        if tensorboard:
            import tensorboardX  # wanted by nobody who does not ask for it

            self._board = tensorboardX.SummaryWriter(str(workdir / 'tensorboard'), purge_step=step + 1)

    def write(self, name: str, record: dict) -> None:
        """Appends a record, with its 'step', to 'metrics' or 'timing'."""
        self._files[name].write(json.dumps(record) + '\n')
        self._files[name].flush()
        if name == 'metrics':
            self.history.append(record)
            if self._board:
                for key, value in record.items():
                    if isinstance(value, float):
                        self._board.add_scalar(f'{record["role"]}/{key}', value, record['step'])

    def sync(self) -> None:
        """Brings what was written to the disk, so that no checkpoint is newer than its records."""
        for file in self._files.values():
            os.fsync(file.fileno())

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        if self._board:
            self._board.close()


class Clock:
    """Seconds spent in steps, and not in evaluation or saving. rate: examples per second since the lap before; eta: seconds to `total`."""

    def __init__(self, first: int, total: int, batch_size: int):
        self.rate = self.eta = self._spent = 0.0
        self._step, self._total, self._batch_size = first, total, batch_size
        self.start()

    def start(self) -> None:
        self._mark = time.perf_counter()

    def stop(self) -> None:
        self._spent += time.perf_counter() - self._mark

    def lap(self, step: int) -> dict:
        """Closes a stretch of steps while the clock runs: {'seconds', 'examples_per_second'}."""
        self.stop()
        seconds, self._spent = self._spent, 0.0
        self.rate = (step - self._step) * self._batch_size / max(seconds, 1e-9)
        self.eta = (self._total - step) * self._batch_size / max(self.rate, 1e-9)
        self._step = step
        self.start()
        return {'seconds': round(seconds, 3), 'examples_per_second': round(self.rate, 1)}
