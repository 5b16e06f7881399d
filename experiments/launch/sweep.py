"""A table of trainings as a command runs it: trained, measured, and its page written."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Sequence

from cnn_research import checkpoints, files, parallel, search, train, trials
from cnn_research import config as configs
from cnn_research.errors import FULL, Busy, ResearchError, TrialError, WriteError
from experiments.launch import cluster, command, outcome, pages, plans, progress


def line(given: command.Command, trial: trials.Trial) -> str:
    """The command that trains this one network again; that of the whole table where it begins with another's weights."""
    if trial.start:
        return given.line
    words = [word for word in shlex.split(given.line)[3:] if word.startswith(('--config=', '--config.'))]
    kept = [w for w in words if w.startswith('--config=') or w[len('--config.') :].partition('=')[0] in configs.BY_NAME]
    kept = [w for w in kept if not w.startswith('--config.parallel.')]
    kept = [w for w in kept if w[len('--config.') :].partition('=')[0] not in trial.overrides]
    more = [f'--config.{name}={value}' for name, value in trial.overrides.items()]
    # A recipe may cross its rows with a grid, of which this is one point.
    more += [f'--config.{f.name}={f.default}' for f in trials.FIELDS if given.recipe.options.get(f.name, f.default) != f.default]
    if not any(word.startswith('--config=') for word in kept):
        kept.insert(0, f'--config=configs/{given.recipe.label.rpartition("-")[0]}.py:{given.recipe.label.rpartition("-")[2]}')
    return shlex.join(['python', '-m', 'experiments.train', *kept, *more])


def begun_with(given: command.Command, base: trials.Trial, planned: Sequence[trials.Trial]) -> checkpoints.Trained:
    """The trained network that another trial of the table begins with, once it is finished.

    Busy while this process has yet to finish it; TrialError where it failed, or where it belongs to another's share and is not finished.
    """
    name = f'{base.row}, seed {base.config.seed}'
    if trials.lost(base.workdir, base.key):
        raise TrialError(f'it begins with {name}, whose training failed.')
    now = trials.state(base.workdir, base.key)
    if now != 'finished' and base in trials.share(planned, given.options.trials.shard):
        raise Busy(f'{name} is not finished yet.')
    if now != 'finished':
        raise TrialError(
            f'it begins with {name}, which is in the share of another process and not finished; once it is, give this command again.'
        )
    return checkpoints.load(base.workdir)


def carry_out(
    given: command.Command,
    planned: Sequence[trials.Trial],
    measure: Callable[[trials.Trial, Callable[[], bool]], None] = lambda trial, stop: None,
) -> None:
    """Trains this process's share, measures each finished trial, and leaves plan.json and the report; or, where trials.launch says so and
    something is missing, hands the work to jobs that do.

    A trial that failed, is damaged or cannot be measured stops no other: TrialError at the end. ConfigError, before anything is written,
    where the workdir holds another experiment's table.

    measure(trial, stop): raises Stopped between two things that it keeps, where it takes minutes and `stop` says so.
    """
    plans.check(given, planned)
    parallel.led(lambda: outcome.check_place(given, 'figures', 'trials'))
    mine, stop = trials.share(planned, given.options.trials.shard), command.stopper()
    about = {'experiment': given.name, 'label': given.recipe.label, 'options': cluster.without(configs.flat(given.options))}
    about['line'] = progress.elsewhere(given.line, 'config.trials.shard', *cluster.FLAGS)
    reduced = [plans.reduced(given, trial) for trial in planned]
    parallel.led(lambda: trials.write_plan(given.workdir, planned, reduced, about))
    missing = sum(trials.state(one.workdir, one.key, one.protocol) != 'finished' for one in mine) if given.options.trials.launch else 0
    if missing:
        print(f'{given.name}: {cluster.hand_over(given, missing)}')
        return
    ended, begun, watches = [], time.monotonic(), {}

    def watch(trial, event):
        name = f'{trial.part} {trial.row} {trial.point}'.strip() + f', seed {trial.config.seed}'
        own = dataclasses.replace(given, workdir=trial.workdir, line=line(given, trial))
        show = watches.setdefault(trial.key, progress.Progress(own, f'[{name}] '))
        if 'outcome' not in event:
            show(event)
            return
        ended.append(trial)
        left = sum(trials.state(t.workdir, t.key) != 'finished' for t in mine)
        eta = progress.duration((time.monotonic() - begun) / len(ended) * left)
        show({'note': f'{event["outcome"]}; {left} of {len(mine)} trials to go' + (f', about {eta}' if left else '')})

    if not mine:
        print(f'{given.name}: trials.shard={given.options.trials.shard!r} of {len(planned)} trials is an empty share', file=sys.stderr)
    trials.carry_out(mine, watch if parallel.leads() else lambda trial, event: None, stop)
    parallel.led(lambda: _measured(given, mine, measure, stop))  # by process 0 on its own devices; the others wait


def _measured(given, mine, measure, stop) -> None:
    """Measures what is finished and writes the report; TrialError where something is missing."""
    wrong: dict[str, str] = {}
    for trial in mine:
        if stop():
            raise train.Stopped
        try:
            now = trials.state(trial.workdir, trial.key, trial.protocol)
            problem = '' if now == 'finished' else now
            measure(trial, stop) if not problem else None
        except WriteError as error:
            if error.errno in FULL:  # so it would be for every other
                raise
            problem = str(error)
        except ResearchError as error:
            problem = str(error)
        if problem:
            name = f'{trial.part} {trial.row} {trial.point}'.strip() + f', seed {trial.config.seed}'
            wrong[name] = problem
            print(f'[{name}] {problem}', file=sys.stderr)
    if text := given.options.trials.search:
        stored = search.told(given.workdir, text, trials.records_of(given.workdir)[1])
        print(f'what came of the points: {stored} (optuna-dashboard sqlite:///{stored})')
    files.write(given.workdir / 'report.html', pages.report([given.workdir]))
    print(f'report: {given.workdir / "report.html"}', file=sys.stdout)
    if wrong:
        name, problem = next(iter(wrong.items()))
        raise TrialError(
            f'{len(wrong)} of {len(mine)} trials failed or could not be measured, {name} for one ({problem.rstrip(".")}); the report shows '
            'the others.'
        )
