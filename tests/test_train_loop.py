"""The training loop alone, on a task without images: y = x . w by least squares."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research import checkpoints, tasks, train
from cnn_research import config as configs
from cnn_research.errors import TrialError
from experiments.launch import command, progress


class Lines:
    """A feed of 4 examples a step; `bad` is a step whose numbers are infinite."""

    store: dict = {}

    def __init__(self, bad=None):
        self.bad = bad

    def batch(self, step):
        x = np.random.default_rng(step).normal(size=(4, 3)).astype(np.float32)
        y = x @ np.array([1, -2, 0.5], np.float32)
        return {'x': np.full_like(x, np.inf) if step == self.bad else x, 'y': y}

    def close(self):
        pass


def linear(seen=None, chance_loss=None, bad=None):
    def loss(params, placed, batch, key):
        off = batch['x'] @ params['layer1']['dense']['kernel'] - batch['y']
        return jnp.square(off), {'error': jnp.abs(off)}

    def first_bad(params, placed, batch, key):
        seen.append(np.asarray(params['layer1']['dense']['kernel']))
        return 'the line'

    return tasks.Task(
        name='lines',
        feed=Lines(bad),
        num_examples=40,
        constants={},
        roles=('train',),
        metrics=('error',),
        initialize=lambda key: {'layer1': {'dense': {'kernel': jnp.zeros(3)}}},
        loss=loss,
        evaluate=lambda params, role: {},
        first_bad=first_bad,
        chance_loss=chance_loss,
        fingerprints={'train': f'lines {bad}'},
    )


def plain(**changes):
    named = {name.replace('__', '.'): value for name, value in changes.items()}
    settings = {'data.batch_size': 4, 'optimizer.learning_rate': 0.02, 'log.every.steps': 4, 'schedule.steps': 12}
    return configs.update(configs.default(), {**settings, **named})


def test_the_place_is_looked_for_with_the_parameters_before_the_bad_step(tmp_path):
    seen, stops = [], iter([False] * 5 + [True])
    with pytest.raises(train.Stopped):
        train.fit(plain(), tmp_path / 'good', linear(), stop=lambda: next(stops))
    with pytest.raises(TrialError, match='not finite at step 5;.* in the line'):
        train.fit(plain(), tmp_path / 'bad', linear(seen, bad=5))
    np.testing.assert_array_equal(seen[0], checkpoints.read(tmp_path / 'good', 5)['state/params/layer1/dense/kernel'])


def notes(given, workdir, task):
    said = []
    train.fit(given, workdir, task, watch=lambda event: said.append(event.get('note')))
    return [note for note in said if note]


def test_a_loss_that_stays_at_chance_is_said_once(tmp_path):
    still = float(np.mean([np.square(Lines().batch(step)['y']).mean() for step in range(8, 12)]))
    slow = {'optimizer__learning_rate': 1e-9, 'log__stuck_after': 10, 'schedule__steps': 24, 'evaluate__every__steps': 24}
    slow['checkpoint__every__steps'] = 24
    said = notes(plain(**slow), tmp_path / 'stuck', linear(chance_loss=still))
    assert len(said) == 1 and 'after 12 steps' in said[0] and 'ln(classes)' in said[0]
    assert notes(plain(**slow), tmp_path / 'off', linear(chance_loss=2 * still)) == []
    assert notes(plain(**{**slow, 'log__stuck_after': 0}), tmp_path / 'never', linear(chance_loss=still)) == []
    assert notes(plain(log__stuck_after=10), tmp_path / 'learns', linear(chance_loss=still)) == []


def test_what_comes_before_the_first_line_is_said(tmp_path, capsys):
    line = command.parse('train', 'configs/mlp.py:smoke', [f'--workdir={tmp_path}'])
    events, show = [], progress.Progress(line)
    train.fit(plain(), tmp_path, linear(), watch=lambda event: (events.append(event), show(event)))
    first = next(number for number, event in enumerate(events) if 'loss' in event)
    assert events[first - 1] == {'reading': 'compiling the first step'}
    for number in range(3):
        show({'reading': f'clutter (train): {number} of 3 examples read'})
    told = capsys.readouterr().err.splitlines()
    assert told[0] == 'compiling the first step' and sum('examples read' in text for text in told) == 1
    train.fit(plain(), tmp_path, linear(), watch=show)  # a finished run compiles nothing
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize(
    ('length', 'steps'),
    [('steps=7', 7), ('epochs=0.5', 5), ('epochs=1.31', 14), ('examples=41', 11), ('examples=1', 1)],
)
def test_durations_in_steps_epochs_and_examples(tmp_path, length, steps):
    unit, value = length.split('=')
    given = configs.update(plain(), {f'schedule.{unit}': value, f'checkpoint.every.{unit}': value})
    run = train.fit(given, tmp_path, linear())
    assert run.step == steps and run.history[-1]['step'] == steps and checkpoints.steps(tmp_path)[-1] == steps
    assert run.history[-1]['epoch'] == pytest.approx(steps * 4 / 40)


def test_profile_steps_leave_a_trace_even_when_stopped_within(tmp_path):
    stops = iter([False] * 12 + [True])
    with pytest.raises(train.Stopped):
        train.fit(plain(log__profile_steps=4, schedule__steps=16), tmp_path / 'stopped', linear(), stop=lambda: next(stops))
    train.fit(plain(log__profile_steps=2, schedule__steps=16), tmp_path / 'whole', linear())
    for name in ('stopped', 'whole'):
        assert [p for p in (tmp_path / name / 'profile').rglob('*') if p.is_file() and p.stat().st_size]
    train.fit(plain(), tmp_path / 'none', linear())
    assert not (tmp_path / 'none' / 'profile').exists()


def test_the_states_of_marked_epochs_stay_beside_the_newest(tmp_path):
    often = {'checkpoint__every__steps': 7, 'checkpoint__keep': 1, 'schedule__steps': 60}
    train.fit(plain(**often, checkpoint__marks='1,2,5'), tmp_path / 'marked', linear())
    assert checkpoints.steps(tmp_path / 'marked') == [10, 20, 50, 60]  # an epoch has ten steps
    train.fit(plain(**often), tmp_path / 'not', linear())
    assert checkpoints.steps(tmp_path / 'not') == [60]
    stops = iter([False] * 30 + [True])
    with pytest.raises(train.Stopped):
        train.fit(plain(**often, checkpoint__marks='1,2,5'), tmp_path / 'again', linear(), stop=lambda: next(stops))
    train.fit(plain(**often, checkpoint__marks='1,2,5'), tmp_path / 'again', linear())
    assert checkpoints.steps(tmp_path / 'again') == [10, 20, 50, 60]
