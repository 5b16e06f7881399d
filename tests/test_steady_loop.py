"""Between two lines of metrics.jsonl the loop only hands out work: it reads nothing back, waits for no step before the next is on its way,
and holds one state.

Reading an array back is refused by JAX's transfer guard on an accelerator. On CPU, where it is no transfer, the ways in which Python and
NumPy ask for it are guarded instead.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_runs

from cnn_research import config as configs
from cnn_research import optimizers, parallel, tasks, train
from cnn_research.data import stream

STEPS = 9
BEGIN, END = 2, STEPS - 1  # guarded once all is compiled, and until what is done at the end


class ReadBack(Exception):
    """An array came back from a device."""


class Guard:
    """While on, no array comes back from a device, and none goes there but by name; see the fixture."""

    def __init__(self):
        self.on = False

    def switch(self, on):
        self.on = on
        jax.config.update('jax_transfer_guard', 'disallow' if on else 'allow')


@pytest.fixture
def guard(monkeypatch):
    kind, guard = type(jnp.zeros(1)), Guard()
    read = kind._value.fget

    def value(array):
        if guard.on:
            raise ReadBack
        return read(array)

    def array_of(function):
        def array(given, *how, **more):
            if guard.on and isinstance(given, kind):
                raise ReadBack
            return function(given, *how, **more)

        return array

    monkeypatch.setattr(kind, '_value', property(value))
    for name in ('array', 'asarray'):  # which take memory that NumPy can reach without asking for it
        monkeypatch.setattr(np, name, array_of(getattr(np, name)))
    yield guard
    guard.switch(False)


@pytest.fixture
def fitted(monkeypatch, tmp_path, guard):
    """fitted(streamed, disturb): what a training whose steady part is guarded did in turn, as [(what, step)]: a batch 'placed', its step
    'given' to the device, and 'awaited'. disturb(metrics) is called after each step is given."""

    def fitted(streamed=False, disturb=lambda metrics: None):
        done, given = [], []
        batch, split, spread, wait = stream.Feed.batch, parallel._split, parallel.spread_step, jax.block_until_ready

        def asked(feed, step):
            if feed.steps is None and step in (BEGIN, END):
                guard.switch(step == BEGIN)
            return batch(feed, step)

        def placed(batch, devices):
            if len(given) < STEPS:
                done.append(('placed', len(given)))
            return jax.device_put(split(batch, devices), devices[0])  # by name: nothing else may be sent

        def spread_step(*how):
            run = spread(*how)

            def step(*arguments):
                state, metrics = run(*arguments)
                done.append(('given', len(given)))
                given.append(metrics)
                disturb(metrics)
                return state, metrics

            return step

        def awaited(tree):
            done.extend(('awaited', step) for step, metrics in enumerate(given) if tree is metrics)
            return wait(tree)

        for place, name, function in (
            (stream.Feed, 'batch', asked),
            (parallel, '_split', placed),
            (parallel, 'spread_step', spread_step),
            (jax, 'block_until_ready', awaited),
        ):
            monkeypatch.setattr(place, name, function)
        often = {f'{name}__every__steps': 1000 for name in ('log', 'evaluate', 'checkpoint')}  # each once, at the end
        small_runs.fit(tmp_path, small_runs.config(schedule__steps=STEPS, data__resident_gb=0 if streamed else 4, data__workers=0, **often))
        return done

    return fitted


def ahead(done):
    """Whether each batch was placed before the step before it was waited for."""
    return all(done.index(('placed', step + 1)) < done.index(('awaited', step)) for step in range(STEPS - 1) if ('awaited', step) in done)


@pytest.mark.parametrize('streamed', [False, True])
def test_nothing_is_read_back_and_the_next_batch_is_placed_while_a_step_runs(fitted, streamed):
    done = fitted(streamed)
    assert [step for what, step in done if what == 'given'] == [*range(STEPS)]
    assert ahead(done) and ('awaited', STEPS - 3) in done  # it does wait, so that the host stays near the devices


@pytest.mark.parametrize(
    'read',
    [lambda a: float(a), lambda a: bool(a), lambda a: a.item(), lambda a: np.asarray(a), lambda a: f'{a:.3f}', lambda a: a + np.ones(3)],
)
def test_the_guard_sees_a_number_that_is_looked_at_or_sent_in_the_loop(fitted, read):
    with pytest.raises((ReadBack, jax.errors.JaxRuntimeError)) as seen:
        fitted(disturb=lambda metrics: read(metrics['loss']))
    assert seen.type is ReadBack or 'Disallowed' in str(seen.value)


def test_a_step_that_is_waited_for_at_once_is_seen(fitted):
    assert not ahead(fitted(disturb=lambda metrics: jax.block_until_ready(metrics)))


@pytest.mark.parametrize('optimizer', ['momentum', 'adam'])
def test_the_state_is_donated_whole(optimizer):
    config = configs.check(small_runs.config(optimizer__name=optimizer))
    task = tasks.classification(config, tasks.sources(config), small_runs.ONE)
    state = train.initial(config, task, None)
    run = parallel.spread_step(train.train_step(task, optimizers.optimizer(config, state.params), lambda step: 0.01), small_runs.ONE)
    state, placed = parallel.replicated((state, {'store': task.feed.store, 'constants': task.constants}), small_runs.ONE)
    told = run.lowered(state, placed, task.feed.batch(0)).compile().memory_analysis()
    assert told.alias_size_in_bytes >= sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    new, _ = run(state, placed, task.feed.batch(0))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state)) and not any(
        leaf.is_deleted() for leaf in jax.tree.leaves((new, placed))
    )
