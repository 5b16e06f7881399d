"""fit(config, workdir, task) -> Run: the only training loop."""

import collections
import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax import lax

from cnn_research import checkpoints, files, journal, memory, optimizers, parallel, runs, tasks
from cnn_research import config as configs
from cnn_research.errors import CheckpointError, ConfigError, Stopped, TrialError


class TrainState(NamedTuple):
    """All that a step changes; arrays only, and all that a checkpoint needs. window: sums since the last line of metrics.jsonl."""

    step: jax.Array
    params: Any
    optimizer_state: Any
    schedule_state: Any
    rng: jax.Array
    window: dict[str, jax.Array]


class Run(NamedTuple):
    """A finished training: result[role] holds what `evaluate` found at the end; history is metrics.jsonl."""

    workdir: pathlib.Path
    config: ml_collections.ConfigDict
    step: int
    result: dict
    history: list[dict]


def _unheard(event: dict) -> None:
    """What watches in a process that leaves this to another one."""


def train_step(task: tasks.Task, optimizer, schedule, total=parallel.all_sum, trainable: Collection[str] | None = None):
    """The pure step(state, placed, batch) -> (state, {'loss', 'step'}); total(tree) adds over devices what each has summed.

    trainable: names of the layers that get gradients; None: all.
    """

    def step(state: TrainState, placed, batch):
        key = jax.random.wrap_key_data(state.rng)
        mask = batch.pop('mask').astype(jnp.float32)
        examples = total(jnp.sum(mask))

        def objective(params):
            if trainable is not None:  # no gradient is computed below the lowest layer that learns
                params = {layer: own if layer in trainable else lax.stop_gradient(own) for layer, own in params.items()}
            losses, metrics = task.loss(params, placed, batch, key)
            sums = {name: jnp.sum(values * mask) for name, values in {'loss': losses, **metrics, 'examples': mask}.items()}
            return sums['loss'] / examples, sums  # dividing the loss, not the gradients, saves a pass over all of them

        (_, sums), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
        sums, gradients = total((sums, gradients))
        rate = schedule(state.step)
        if state.schedule_state is not None:
            rate = rate * state.schedule_state.scale

        # From the first loss or gradient that is not finite on the parameters stay as they were, so that the loop can look for its cause.
        # A gradient is looked at in the vectors, a layer's biases, which see all of what comes down to it. Selecting is
        # part of the update's own pass, also in the optimizer; a conditional copies the parameters, and the norm of all gradients is
        # one more pass over them.
        vectors = [gradient for gradient in jax.tree.leaves(gradients) if gradient.ndim == 1]
        finite = jnp.isfinite(sums['loss']) & jnp.isfinite(optax.tree.norm(vectors))
        sound = finite & (state.window['bad_step'] < 0)
        given = {'learning_rate': rate, 'sound': sound}

        def curvature(before):
            return task.curvature(state.params, placed, key, state.step, before)

        updates, optimizer_state = optimizer.update(gradients, state.optimizer_state, state.params, **given, curvature=curvature)
        params = jax.tree.map(lambda value, change: jnp.where(sound, value + change, value), state.params, updates)
        window = {name: state.window[name] + jnp.where(sound, value, 0) for name, value in sums.items()}
        window['bad_step'] = jnp.where(sound | (state.window['bad_step'] >= 0), state.window['bad_step'], state.step)
        new = TrainState(state.step + 1, params, optimizer_state, state.schedule_state, state.rng, window)
        return new, {'loss': sums['loss'] / sums['examples'], 'step': new.step}

    return step


def initial(config, task, plateau) -> TrainState:
    key = jax.random.key(config.seed)
    params = task.initialize(jax.random.fold_in(key, 0))
    return TrainState(
        step=jnp.int32(0),
        params=params,
        optimizer_state=optimizers.optimizer(config, params).init(params),
        schedule_state=plateau.init(params) if plateau else None,
        rng=jax.random.key_data(jax.random.fold_in(key, 1)),
        window=_empty_window(task),
    )


def _empty_window(task) -> dict:
    return {name: jnp.float32(0) for name in ('loss', 'examples', *task.metrics)} | {'bad_step': jnp.int32(-1)}


def _explain(task, state, placed, step, devices):
    """Raises TrialError for the step whose loss was not finite; the parameters are those before it."""
    batch = jax.tree.map(jnp.asarray, task.feed.batch(step))
    state, placed = parallel.local((state, placed))
    found = parallel.agreed(lambda: task.first_bad(state.params, placed, batch, jax.random.wrap_key_data(state.rng)), devices)
    where = next((place for place in found if place != tasks.LOSS), tasks.LOSS)  # of several processes, not all saw it
    cure = 'Try a lower optimizer.learning_rate in another workdir.'
    raise TrialError(f'the loss or its gradient is not finite at step {step}; the first bad numbers are in {where}. {cure}')


def fit(
    config,
    workdir,
    task: tasks.Task | None = None,
    devices: Sequence[jax.Device] | None = None,
    watch: Callable[[dict], None] = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Trains what the config says in `workdir`, going on from its newest checkpoint; a finished run is only read.

    task: what to learn, by default the classification that the config describes. devices: those that train, by default all of this process
    and of those that train with it; of several processes all call this, and the first alone writes and watches.
    watch: is told {'start': step, 'total': steps} when steps begin, {'step', 'total', 'loss', ...} at each log line, {'reading': text}
    while data are read and before the first step is compiled, and {'note': text} of what should be said aloud, with 'assumed' where it is
    so of the data. stop: asked at every step; when it says True, in any of the processes, the state is saved and Stopped raised. Raises
    ResearchError before any work for what cannot be run, and TrialError with step and place when the loss is no longer finite.
    """
    config, workdir = configs.check(config), pathlib.Path(workdir)
    parallel.start(**config.parallel)
    devices, config = devices or parallel.devices(), configs.alone(config)
    leads = parallel.leads(devices)
    if not leads:
        watch = _unheard
    found = None if task else parallel.each(lambda: tasks.sources(config), devices)
    fingerprints = task.fingerprints if task else tasks.fingerprints(found)
    key = configs.key(config, fingerprints, task.name if task else tasks.task_name())
    protocol = tasks.protocol(config.evaluate.views, fingerprints)
    num_examples = task.num_examples if task else found['train'].num_examples
    runs.alike(workdir, config, key, protocol, devices)
    total, schedule = parallel.each(lambda: _scheduled(config, num_examples), devices)

    def note(text):
        watch({'note': text})

    run = parallel.each(lambda: _finished_whole(workdir, config, key, protocol, note), devices)
    if parallel.led(lambda: run is not None, devices):
        return parallel.each(lambda: run or _unseen(workdir), devices)
    parallel.each(lambda: memory.check(config, configs.network(config), found), devices)
    with contextlib.ExitStack() as held:

        def claim():
            runs.going_on(runs.begun(workdir), config, key, total)  # what cannot be gone on with is refused before the images are read
            held.enter_context(files.claimed(workdir))

        def continued():
            there = runs.begun(workdir)
            for problem in there.problems:
                note(problem)
            done = runs.going_on(there, config, key, total)
            if done is None:
                return there.continued
            _, before = _scheduled(configs.update(configs.default(), there.config), num_examples)
            own = np.array_equal(*(np.asarray(jax.vmap(one)(np.arange(done))) for one in (schedule, before)))
            return [*there.continued, [there.key, done, own]]

        parallel.led(claim, devices)
        task = task or parallel.each(lambda: tasks.classification(config, found, devices, lambda line: watch({'reading': line})), devices)
        if config.optimizer.name == 'sdlm' and task.curvature is None:
            raise ConfigError(f"optimizer.name='sdlm' knows no second derivatives of {task.name}; choose another optimizer.")
        for text in dict.fromkeys(line for source in (found or {}).values() for line in source.notes):
            watch({'note': text, 'assumed': True})
        identity = runs.Identity(key, protocol, parallel.led(continued, devices))
        return _trained(config, workdir, task, identity, total, schedule, devices, watch, stop)


def _unseen(workdir):
    raise CheckpointError(f'{workdir} holds a finished run for process 0, but not for another one; give the same command again.')


def _scheduled(config, num_examples: int) -> tuple[int, Callable]:
    """(steps, learning rate at a step) of a training."""
    total = configs.steps(config.schedule, config.data.batch_size, num_examples)
    return total, optimizers.schedule(config, total, config.data.batch_size, num_examples)


def _finished_whole(workdir, config, key: str, protocol: str, note) -> Run | None:
    """The finished run of a workdir whose last state is whole; None where there is something to do, with what is wrong noted."""
    try:
        result = runs.finished(workdir, key, protocol)
        if result:
            runs.Identity(key, protocol, []).own(checkpoints.verify(workdir, result['step']))
    except CheckpointError as error:
        note(f'{error} What is missing is done again.')
        return None
    return Run(workdir, config, result['step'], result, journal.history(workdir, result['metrics'])) if result else None


def _trained(config, workdir, task, identity, total, schedule, devices, watch, stop) -> Run:
    """The loop itself, in a workdir that is held."""
    batch_size, num_examples, plateau = config.data.batch_size, task.num_examples, optimizers.plateau(config)
    every = {name: configs.steps(config[name].every, batch_size, num_examples) for name in ('log', 'evaluate', 'checkpoint')}
    marked = configs.marked_steps(config.checkpoint.marks, batch_size, num_examples)
    state, leads, together = initial(config, task, plateau), parallel.leads(devices), parallel.process(devices)[1] > 1
    kept: list = [None, None, []]

    def restore(fits):
        kept[:] = checkpoints.restore(workdir, {'state': state, **task.constants}, fits)
        return kept[1] and kept[1]['step']

    def fits(told):
        identity.own(told)
        journal.hold(workdir, told.get('metrics'))

    def same(told):
        if told['step'] != newest:
            raise CheckpointError(f'the checkpoint of step {newest}, from which process 0 goes on, is not there.')

    def follow():
        if not leads and newest is not None and restore(same) != newest:
            raise CheckpointError(f'the checkpoint of step {newest}, from which process 0 goes on, cannot be read by another one.')

    newest = parallel.led(lambda: restore(fits), devices)
    parallel.each(follow, devices)
    saved, told, problems = kept
    for problem in problems:
        watch({'note': problem})
    first = size = 0
    if saved:
        state, size = saved['state'], told['metrics']['bytes']
        first = int(state.step)
        if told['key'] == identity.key:
            watch({'note': f'going on from step {first}'})
        else:
            watch({'note': f'more steps of a finished run: going on from step {first} to {total}'})
    elif identity.continued:
        watch({'note': 'no checkpoint of the finished run can be gone on from: it is trained from the start'})
    before, identity = identity, identity.going_on_from(told)
    if saved and told['key'] != identity.key and journal.other_rates(identity.continued):
        watch({'note': journal.other_rates(identity.continued)})
    learned = {role: fingerprint for role, fingerprint in task.fingerprints.items() if role != 'test'}
    about = {'key': identity.key, 'data': learned, 'continued': identity.continued, **task.about}
    about['config'] = configs.decisive(configs.flat(config))
    parallel.led(lambda: runs.take(workdir, config, before, identity), devices)
    if first < total:
        watch({'start': first, 'total': total})
        watch({'reading': 'compiling the first step'})
    opened = journal.Journal if leads else journal.Unwritten
    pages = parallel.each(lambda: opened(workdir, size, first, config.log.tensorboard, config.log.wandb), devices)

    state = parallel.replicated(state, devices)
    placed = parallel.replicated({'store': task.feed.store, 'constants': task.constants}, devices)
    learns = optimizers.trainable(config, state.params) if config.optimizer.trainable else None
    run = parallel.spread_step(train_step(task, optimizers.optimizer(config, state.params), schedule, trainable=learns), devices, stop)
    in_flight: collections.deque = collections.deque()
    profiled = config.log.profile_steps if total > first + 10 and leads else 0
    clock = journal.Clock(first, total, batch_size)
    saved_at, tracing, stopped = first if saved else -1, False, False

    def line(step, role, values):
        pages.write('metrics', {'step': step, 'epoch': step * batch_size / num_examples, 'role': role, **values})

    def log(state):
        """Writes the window's means and empties it; raises TrialError when the loss was not finite in it."""
        step, window = int(state.step), jax.device_get(state.window)
        if window['bad_step'] >= 0:
            _explain(task, state, placed, int(window['bad_step']), devices)
        count = float(window['examples'])
        if not count:
            return state
        means = {name: float(window[name]) / count for name in ('loss', *task.metrics)}
        scale = float(state.schedule_state.scale) if plateau else 1.0
        line(step, 'train', {**means, 'learning_rate': float(schedule(step - 1)) * scale})
        pages.write('timing', {'step': step, **clock.lap(step)})
        watch({'step': step, 'total': total, **means, 'rate': clock.rate, 'eta': clock.eta})
        stuck = config.log.stuck_after
        known = task.chance_loss
        if known and stuck and step >= stuck > step - round(count / batch_size) and abs(means['loss'] - known) < 0.01 * known:
            watch({'note': f'after {step} steps the loss is still ln(classes) = {known:.3f}: the network has not begun to learn'})
        return state._replace(window=parallel.replicated(_empty_window(task), devices))

    def measured(state, role):
        """What the task finds on a role; TrialError when it is no number, as after an update that overflowed."""
        result = task.evaluate(state.params, role)
        if not np.isfinite(result['loss']):
            raise TrialError(f'the loss on {role} is not finite at step {int(state.step)}; try a lower optimizer.learning_rate.')
        return result

    def save(state):
        arrays = {'state': state, **task.constants}
        runs.alike_at(int(state.step), state.params, devices)
        parallel.led(
            lambda: checkpoints.save(workdir, int(state.step), arrays, config.checkpoint.keep, marked, {**about, 'metrics': pages.sync()}),
            devices,
        )

    try:
        for step in range(first, total):
            if stopped or not together and stop():
                if step != saved_at:
                    save(state)
                raise Stopped(step)
            if profiled and step == first + 10:
                jax.profiler.start_trace(str(workdir / 'profile'))
                tracing = True
            asked = time.perf_counter()
            batch = task.feed.batch(step)
            if not in_flight or in_flight[-1]['loss'].is_ready():  # else the devices were at work all the while
                clock.wait(time.perf_counter() - asked)
            state, metrics = run(state, placed, batch)
            in_flight.append(metrics)
            if len(in_flight) > 2:  # the host stays near the devices, so that rates are true and a stop is prompt
                earlier = jax.block_until_ready(in_flight.popleft())
                # Several processes learn in the same step that one of them was asked to.
                stopped = together and bool(jax.device_get(earlier['stop']))
            done = step + 1
            if profiled and done == min(first + 10 + profiled, total):
                jax.block_until_ready(metrics)
                jax.profiler.stop_trace()
                tracing = False
            due = {name: done % count == 0 or done == total for name, count in every.items()}
            if due['log']:
                state = log(state)
            clock.stop()
            if due['evaluate'] and 'holdout' in task.roles:
                held = measured(state, 'holdout')
                line(done, 'holdout', {name: held[name] for name in ('loss', 'error')})
                watch({'step': done, 'total': total, 'role': 'holdout', 'loss': held['loss'], 'error': held['error']})
                if plateau:
                    _, schedule_state = plateau.update({}, jax.device_get(state.schedule_state), value=held['error'])
                    state = state._replace(schedule_state=parallel.replicated(schedule_state, devices))
            if due['checkpoint'] or done in marked:
                save(state)
                saved_at = done
            clock.start()
        roles = {role: measured(state, role) for role in task.roles if role != 'train'}
        tested = {'protocol': identity.protocol, 'views': config.evaluate.views} | ({'test': roles['test']} if 'test' in roles else {})
        result = {**about, 'step': total, 'architecture': json.loads(config.architecture_json)['name'], **roles}

        def write():
            pages.sync()
            return runs.write_result(workdir, identity, result, tested)

        written = parallel.led(write, devices)
        return Run(workdir, config, total, written, pages.history if leads else journal.history(workdir, written['metrics']))
    finally:
        if tracing:
            jax.profiler.stop_trace()
        pages.close()
        task.feed.close()
