"""Whose run a workdir holds, told by its records, and whether a training may go on there."""

import contextlib
import hashlib
import pathlib
import secrets
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_research import checkpoints, files, journal, parallel, records
from cnn_research import config as configs
from cnn_research.errors import ArchitectureError, CheckpointError, ConfigError, TrialError


class Identity(NamedTuple):
    """A run's key, the protocol that it is tested by, and [key, step, whether the learning rates until then are this run's own] of each
    finished training that it went on from."""

    key: str
    protocol: str
    continued: list[list]

    def own(self, told: dict) -> None:
        """CheckpointError where what a checkpoint says of its run, `told`, is of another."""
        if told.get('key') not in (self.key, *_keys(self.continued)):
            raise CheckpointError(f'the checkpoint of step {told["step"]} is of another run, {told.get("key")!r} by its key.')

    def going_on_from(self, told: dict | None) -> 'Identity':
        """The same run, gone on with from the checkpoint that says `told`, one of its `own`; None: from the start."""
        if not told or told['key'] == self.key:
            return self._replace(continued=told.get('continued', []) if told else [])
        place = _keys(self.continued).index(told['key'])
        entry = [told['key'], told['step'], all(own for *_, own in self.continued[place:])]
        return self._replace(continued=[*self.continued[:place], entry])


def _keys(continued) -> list[str]:
    return [key for key, *_ in continued]


class Begun(NamedTuple):
    """What stands in a workdir. told: what the newest checkpoint that can be read, or else the result, says of its run, None without any;
    key, continued: whose run it is, as in Identity, which may have gone on from that of `told`; config: {dotted name: value} as saved, None
    where it is missing or not that of the run; problems: why."""

    workdir: pathlib.Path
    told: dict | None
    key: str | None
    continued: list[list]
    config: dict[str, Any] | None
    result: dict | None
    problems: tuple[str, ...]


def begun(workdir) -> Begun:
    """What stands in a workdir, as far as its records are what was written."""
    workdir, problems, told, result, config = pathlib.Path(workdir), [], None, None, None
    for step in reversed(checkpoints.steps(workdir)):
        with contextlib.suppress(CheckpointError):
            told = checkpoints.manifest(workdir, step)
            break
    try:
        result = journal.result(workdir)
    except CheckpointError as error:
        problems.append(f'{error} The result is measured again.')
    if told and result and told.get('key') not in (result['key'], *_keys(result.get('continued', []))):
        result = None
        problems.append(f'{workdir / journal.RESULT} is of another run than the checkpoint of step {told["step"]}.')
    told = told or result
    key, continued = (told.get('key'), told.get('continued', [])) if told else (None, [])
    if told or checkpoints.steps(workdir) or (workdir / journal.RESULT).is_file():
        try:
            saved = configs.saved(workdir)
            if told and not checkpoints.of_the_run(told, saved):
                problems.append(f'{workdir / configs.FILE} is not the config that its run was trained with.')
            else:
                config = saved.values
                key, continued = (saved.key, saved.continued) if saved.key else (key, continued)
        except CheckpointError as error:
            problems.append(str(error))
    return Begun(workdir, told, key, continued, config, result, tuple(problems))


def epoch(workdir, step: int) -> float | None:
    """Passes over the training split at a step; None where no record that is what was written says it."""
    there = begun(workdir)
    try:
        return journal.epoch(workdir, step, there.result or there.told or {})
    except CheckpointError:
        return None


def history(workdir, key: str) -> list[dict]:
    """The records of metrics.jsonl that the result or the newest checkpoint of the run with this key was made with; [] where there is
    neither. CheckpointError where they are not what was written."""
    there = begun(workdir)
    told = there.result or there.told
    if there.config is None or not told or told.get('key') != key or not told.get('metrics'):
        return []
    return journal.history(workdir, told['metrics'])


def going_on(there: Begun, config, key: str, total: int) -> int | None:
    """None where the workdir is free or holds this run; the step from which a finished, shorter run is gone on with.

    A run is shorter where nothing but lengths within its schedule differ. ConfigError for a workdir that holds another run.
    """
    if there.told is None and not there.problems and there.config is None or there.told and there.key == key:
        return None
    elsewhere = f'{there.workdir} holds a run {{}}; choose another workdir.'
    if there.config is None:
        what = 'with other settings or data than this one' if there.told else 'of which no record can be read'
        raise ConfigError(f'{there.problems[-1]} {elsewhere.format(what)}')
    new, differing = configs.flat(config), []
    for name in configs.DECISIVE:
        if name == 'architecture_json' and _architectures_differ(there.config, new):
            differing.append('architecture')
        elif name != 'architecture_json' and there.config.get(name, configs.BY_NAME[name].default) != new[name]:
            differing.append(name)
    lengths = differing and all(map(_is_length, differing))
    if lengths and there.result and there.result['step'] < total:
        return there.result['step']
    if differing:
        name = next((name for name in differing if not _is_length(name)), differing[0])
        old, wanted = (values.get(name) for values in (there.config, new))
        longer = ' (a finished run can be gone on with, by more steps alone)' if lengths else ''
        raise ConfigError(elsewhere.format(f'with {name}={old!r}, not {wanted!r}{longer}'))
    if there.told:
        raise ConfigError(elsewhere.format('on other data, or of another version of this code'))
    return None


def _is_length(name: str) -> bool:
    return name.startswith('schedule.') and name not in ('schedule.kind', 'schedule.factor', 'schedule.patience')


def _architectures_differ(old, new) -> bool:
    try:
        return configs.network_of(old) != configs.network_of(new)
    except ArchitectureError:
        return True


_OF_A_MACHINE = ('data.dir', 'data.workers')
_SEEN = 10.0  # seconds until what one process wrote must be seen by the others


def alike(workdir, config, key: str, protocol: str, devices) -> None:
    """ConfigError where processes that train together were asked for different runs, cannot share its batches, or see different folders."""
    count = parallel.process(devices)[1]
    if count == 1:
        return
    own = {name: value for name, value in configs.flat(config).items() if name not in _OF_A_MACHINE}
    own |= {'the key of its images and task': key, 'the key of its test images': protocol}
    first, *others = parallel.agreed(lambda: own, devices)
    for number, other in enumerate(others, 1):
        for name in own:
            if other[name] != first[name]:
                asked = f'process {number} was asked for {name}={other[name]!r}, process 0 for {first[name]!r}'
                raise ConfigError(f'{asked}; give all of them the same command and the same data.')
    size, places = config.data.batch_size, len(devices)
    if size % places:
        near = ' or '.join(str(one) for one in (size // places * places, -(-size // places) * places) if one)
        raise ConfigError(f'data.batch_size={size} is not shared evenly by the {places} devices of {count} processes; take {near}.')
    token, mark = secrets.token_hex(8), pathlib.Path(workdir) / '.together'
    token = parallel.led(lambda: files.write(mark, token) or token, devices)

    def seen():
        until = time.monotonic() + _SEEN
        while True:
            with contextlib.suppress(OSError):
                if mark.read_text() == token:
                    return
            if time.monotonic() > until:
                raise ConfigError(f'{workdir} is not there as process 0 has it; name one workdir that all {count} processes share.')
            time.sleep(0.1)

    try:
        parallel.each(seen, devices)
    finally:
        if parallel.leads(devices):
            mark.unlink(missing_ok=True)


def alike_at(step: int, params, devices) -> None:
    """TrialError where processes that train together do not stand at one step with the same parameters."""
    if parallel.process(devices)[1] == 1:
        return

    def stand():
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(params):
            digest.update(np.ascontiguousarray(leaf).tobytes())
        return [step, digest.hexdigest()]

    first, *others = parallel.agreed(stand, devices)
    for number, other in enumerate(others, 1):
        if other != first:
            where = f'at step {other[0]}, process 0 at step {first[0]}'
            raise TrialError(
                f'process {number} stands {where}, with other parameters than it; nothing of it is saved: give the command again.'
            )


def finished(workdir, key: str, protocol: str | None = None) -> dict | None:
    """The result of a finished run with this key, tested by a protocol of `tasks.protocol`, by default the last one; None without one.

    CheckpointError where its records are not what was written. Its 'views' say how the test images were seen.
    """
    result = journal.result(workdir)
    if result is None or result['key'] != key:
        return None
    if protocol in (None, result['protocol']):
        return result
    try:
        tested = records.read(_evaluation(pathlib.Path(workdir), protocol), {'key': str, 'result': {'protocol': str, 'views': str}})
        journal.check_tested(_evaluation(pathlib.Path(workdir), protocol), tested['result'])
    except CheckpointError:
        return None
    return {**result, **tested['result']} if (tested['key'], tested['result']['protocol']) == (key, protocol) else None


def take(workdir: pathlib.Path, config, before: Identity, now: Identity) -> None:
    """Makes the workdir that of the run `now`: its config.json first, in one stroke; then the result of a run that it went on from,
    as those of `before`, is put aside as result.STEP.json."""
    there = None
    with contextlib.suppress(CheckpointError):
        there = records.read(workdir / journal.RESULT, {'key': str, 'step': int})
    configs.write(workdir, config, now.key, now.continued)
    if there and there['key'] in _keys(before.continued):
        (workdir / journal.RESULT).rename(workdir / f'result.{there["step"]}.json')


def write_result(workdir: pathlib.Path, identity: Identity, result: dict, tested: dict) -> dict:
    """Writes and gives back the result; tested: its part that depends on the protocol, which is also kept by itself."""
    records.write(_evaluation(workdir, identity.protocol), {'key': identity.key, 'result': tested})
    records.write(workdir / journal.RESULT, {**result, **tested, 'metrics': journal.mark(workdir)})
    return journal.result(workdir)


def _evaluation(workdir: pathlib.Path, protocol: str) -> pathlib.Path:
    return workdir / 'evaluations' / f'test-{protocol}.json'
