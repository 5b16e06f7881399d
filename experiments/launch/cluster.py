"""A table of trainings handed to a cluster: jobs of submitit that each give the same command, on the same workdir.

Which job trains which trial is decided as between any processes that share a table: by the locks of the trials' workdirs.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

from cnn_research import optional
from cnn_research.errors import AGAIN, ConfigError, nearest, shown
from experiments.launch.command import Command

FLAGS = ('config.trials.launch', 'config.trials.jobs', 'config.trials.slurm')
TIME = 240  # minutes, where trials.slurm says nothing: a job that needs more is requeued
_REQUEUES = 1000  # a job that goes on from what was saved may run out of its time as often as it likes
# What trials.slurm may say, in sbatch's words as submitit has them.
_NUMBERS = ('time', 'nodes', 'ntasks_per_node', 'cpus_per_task', 'cpus_per_gpu', 'gpus_per_node', 'gpus_per_task', 'signal_delay_s')
_TEXTS = ('partition', 'qos', 'account', 'constraint', 'exclude', 'nodelist', 'gres', 'mem', 'mem_per_gpu', 'mem_per_cpu', 'comment')
_TEXTS += ('exclusive', 'dependency', 'mail_type', 'mail_user', 'wckey')
_LOCAL = ('time', 'gpus_per_node')


def without(options: dict) -> dict:
    """A table's options, {dotted name: value}, without those of a launch, on which no number depends."""
    return {name: value for name, value in options.items() if f'config.{name}' not in FLAGS}


def parameters(text: str, launch: str = 'slurm') -> dict[str, int | str]:
    """{name: value} of trials.slurm, 'partition=gpu,gpus_per_node=1,time=240'; ConfigError where it cannot be read, or for another name."""
    found: dict[str, int | str] = {}
    known = _LOCAL if launch == 'local' else (*_NUMBERS, *_TEXTS)
    for part in filter(None, map(str.strip, text.split(','))):
        name, equals, value = (word.strip() for word in part.partition('='))
        if not equals or not value or name in found:
            raise ConfigError(f"trials.slurm={shown(text)} cannot be read; write 'partition=gpu,gpus_per_node=1,time=240'.")
        if name not in known:
            offer = f'trials.launch={launch!r} takes {", ".join(known)}'
            raise ConfigError(f'trials.slurm={shown(text)} names {name!r}; {offer}.{nearest(name, known)}')
        low = 0 if name.startswith('gpus') else 1
        if name in _NUMBERS and not (value.isdecimal() and low <= int(value) < 10**6):
            unit = ', in minutes' if name == 'time' else ''
            raise ConfigError(f'trials.slurm: {name}={shown(value)} is not a whole number of at least {low}{unit}.')
        found[name] = int(value) if name in _NUMBERS else value
    return {'time': TIME, **found}


def check(given: Command) -> None:
    """ConfigError for options that do not go together, or where submitit or SLURM is missing."""
    asked = given.options.trials
    if not asked.launch:
        if asked.slurm:
            raise ConfigError(f"trials.slurm={asked.slurm!r} does nothing without trials.launch='slurm'.")
        return
    parameters(asked.slurm, asked.launch)
    if asked.shard:
        raise ConfigError(f'trials.launch={asked.launch!r} and trials.shard={asked.shard!r} both part the trials; keep one.')
    if given.config.parallel.processes > 1:
        raise ConfigError(
            f'trials.launch={asked.launch!r} with parallel.processes={given.config.parallel.processes}: one process hands a table over; '
            'trials.slurm with ntasks_per_node gives each job several.'
        )
    submitit = optional.needed('submitit', f'trials.launch={asked.launch!r}')
    if asked.launch == 'slurm' and submitit.SlurmExecutor.affinity() <= 0:
        raise ConfigError("trials.launch='slurm', but this machine has no srun; give the command where jobs are submitted.")


class Job:
    """What a job runs: the command, again where it stopped after saving. Pickled by submitit, so that it holds nothing but words."""

    def __init__(self, words: Sequence[str], folder: str):
        self.words, self.folder, self._running = list(words), folder, None

    def __getstate__(self):
        return {**vars(self), '_running': None}

    def __call__(self) -> int:
        preempted = optional.needed('submitit', 'a job').JobEnvironment._usr_sig()
        # SLURM signals every process of a job, and the signal that tells submitit to requeue would end one that does not know it.
        deaf = ['sh', '-c', f'trap "" {int(preempted)}; exec "$@"', 'sh']
        self._running = subprocess.Popen([*deaf, *self.words], cwd=self.folder)
        code = self._running.wait()
        if code == AGAIN:
            signal.raise_signal(preempted)  # submitit asks for `checkpoint`, requeues the job and ends this process
        if code:
            raise RuntimeError(f'the command ended with exit code {code}')
        return code

    def checkpoint(self):
        """Has the command save its state and end; then what submitit puts into the queue again."""
        running = self._running
        if running and running.returncode is None:
            running.send_signal(signal.SIGINT)  # not SIGTERM, which SLURM may have sent: a second one would end it before it has saved
            os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)  # the wait that this interrupts holds the lock of Popen
        return optional.needed('submitit', 'a job').helpers.DelayedSubmission(Job(self.words, self.folder))


def words(given: Command) -> list[str]:
    """The command that each job gives."""
    kept = [word for word in shlex.split(given.line)[3:] if not word.startswith(tuple(f'--{flag}=' for flag in FLAGS))]
    # Named last, since a recipe may ask for a launch as well, and the folder may be the command's own.
    kept += ['--config.trials.launch=', '--config.trials.slurm=', f'--workdir={given.workdir.absolute()}']
    return [sys.executable, '-m', f'experiments.{given.name}', *kept]


def intended(given: Command, missing: int) -> str:
    """What a launch would submit, in a line of the plan."""
    asked = given.options.trials
    each = ', '.join(f'{name}={value}' for name, value in parameters(asked.slurm, asked.launch).items())
    return f'trials.launch={asked.launch!r} hands {missing} of them to {min(asked.jobs, missing)} jobs, each with {each}'


def hand_over(given: Command, missing: int) -> str:
    """Submits at most trials.jobs jobs for so many missing trials; a line that says which, and where they tell of themselves."""
    submitit, asked = optional.needed('submitit', 'trials.launch'), given.options.trials
    how, folder, count = parameters(asked.slurm, asked.launch), given.workdir.absolute() / 'jobs', min(asked.jobs, missing)
    job = Job(words(given), os.getcwd())
    try:
        if asked.launch == 'slurm':
            executor = submitit.SlurmExecutor(folder, max_num_timeout=_REQUEUES)
            executor.update_parameters(**how, job_name=given.name, array_parallelism=count)
            with executor.batch():
                jobs = [executor.submit(job) for _ in range(count)]
        else:
            executor, jobs, gpus = submitit.LocalExecutor(folder, max_num_timeout=_REQUEUES), [], how.get('gpus_per_node', 0)
            for number in range(count):
                own = tuple(range(number * gpus, (number + 1) * gpus))
                executor.update_parameters(timeout_min=how['time'], gpus_per_node=gpus, visible_gpus=own)
                jobs.append(executor.submit(job))
        named = ', '.join(one.job_id for one in jobs)
    except (submitit.core.utils.FailedSubmissionError, subprocess.CalledProcessError, ValueError) as error:
        raise ConfigError(f'trials.slurm={asked.slurm!r}: the jobs cannot be submitted ({" ".join(str(error).split())[:300]}).') from None
    report = shlex.join(['python', '-m', 'experiments.report', f'--workdir={given.workdir}'])
    return f'{missing} trials to {count} jobs: {named}; what they say is in {folder}, how far they are says {report}'
