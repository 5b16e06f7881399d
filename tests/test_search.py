"""Points drawn at random: what can be drawn, what is drawn, and what Optuna is told of it."""

import csv
import importlib
import math

import numpy as np
import pytest

from cnn_research import config as configs
from cnn_research import search, trials
from cnn_research.errors import ConfigError
from experiments import train as training
from experiments.launch import command, pages

RATE = 'optimizer.learning_rate=log:1e-4:1e-1'


def asked(**changes):
    given = {f'trials.{name}': value for name, value in changes.items()}
    return configs.update(configs.default(trials.FIELDS), given, trials.FIELDS).trials


def test_a_range_says_its_field_ends_and_scale():
    found = search.ranges(f' {RATE}; data.batch_size=16:128 ;optimizer.weight_decay=0:0.01;')
    assert found == [
        search.Range('optimizer.learning_rate', 1e-4, 1e-1, True, False),
        search.Range('data.batch_size', 16, 128, False, True),
        search.Range('optimizer.weight_decay', 0.0, 0.01, False, False),
    ]
    assert search.ranges('') == [] and search.names(asked(search=RATE)) == ['optimizer.learning_rate']
    assert search.names(asked(grid='data.batch_size=1,2')) == ['data.batch_size'] and search.names(asked()) == []


REFUSED = {
    'optimizer.learning_rate': 'cannot be read',
    'optimizer.learning_rate=0.1': 'cannot be read',
    'optimizer.learning_rate=0.1:': 'cannot be read',
    'optimizer.learning_rate=ln:0.1:1': 'cannot be read',
    'optimizer.learning_rate=log:0.1:1:2': 'cannot be read',
    f'{RATE}; {RATE}': 'cannot be read',
    'optimizer.learning_rat=0.1:1': 'Did you mean optimizer.learning_rate',
    'optimizer=0.1:1': 'there is no field optimizer',
    'seed=1:5': 'trials.seeds',
    'optimizer.name=1:2': 'optimizer.name is none',
    'augment.flip=0:1': 'augment.flip is none',
    'architecture=a:b': 'architecture is none',
    'data.workers=1:4': 'data.workers, which changes nothing',
    'evaluate.batch_size=1:4': 'evaluate.batch_size, which changes nothing',
    'log.stuck_after=1:4': 'log.stuck_after, which changes nothing',
    'optimizer.learning_rate=low:high': 'optimizer.learning_rate=low is not a number',
    'optimizer.learning_rate=nan:1': 'not a number',
    'optimizer.learning_rate=0.1:inf': 'not a number',
    'data.batch_size=8:16.5': 'data.batch_size=16.5 is not a whole number',
    'data.batch_size=0:16': 'data.batch_size=0 is out of range',
    'optimizer.momentum=0.5:1.5': 'optimizer.momentum=1.5 is out of range',
    'optimizer.learning_rate=1:0.1': 'no range',
    'optimizer.learning_rate=1:1.0': 'no range',
    'optimizer.weight_decay=log:0:0.1': 'begin above 0',
}


@pytest.mark.parametrize('text', REFUSED)
def test_what_cannot_be_drawn_is_refused_on_one_line(text):
    with pytest.raises(ConfigError) as told:
        search.points(asked(search=text), 0)
    assert REFUSED[text] in str(told.value) and '\n' not in str(told.value)


def test_points_come_from_one_place_and_only_where_they_are_asked_for(monkeypatch):
    assert search.points(asked(), 0) == [{}]
    assert search.points(asked(grid='data.batch_size=8,16'), 0) == [{'data.batch_size': '8'}, {'data.batch_size': '16'}]
    with pytest.raises(ConfigError, match='both say the points'):
        search.points(asked(grid='data.batch_size=8,16', search=RATE), 0)
    with pytest.raises(ConfigError, match='trials.draws=5 does nothing without trials.search'):
        search.points(asked(draws=5), 0)

    def missing(name):
        raise ImportError(f'No module named {name!r}')

    monkeypatch.setattr(importlib, 'import_module', missing)
    with pytest.raises(ConfigError, match=r"trials.search needs optuna: pip install 'cnn-research\[search\]'"):
        search.points(asked(search=RATE), 0)


OF_TABLES = {
    'committee': 'digits',
    'dropconnect': 'smoke',
    'finetune': 'smoke',
    'handmade': 'smoke',
    'ingredients': 'smoke',
    'layer_probing': 'smoke',
}


@pytest.mark.parametrize('name', OF_TABLES)
def test_a_table_that_has_no_use_for_a_grid_has_none_for_a_search(name, tmp_path):
    module = importlib.import_module(f'experiments.{name}')
    arguments = ['--config.trials.grid=', '--config.trials.select=', f'--config.trials.search={RATE}', f'--workdir={tmp_path}/run']
    given = command.parse(name, f'configs/{name}.py:{OF_TABLES[name]}', arguments, module.FIELDS)
    with pytest.raises(ConfigError, match='^trials.search (without|does not go with)'):
        module.main(given)
    assert not (tmp_path / 'run').exists()


@pytest.fixture
def optuna():
    return pytest.importorskip('optuna', reason="optuna is not installed: pip install 'cnn-research[search]'")


def test_draws_are_even_in_the_logarithm_whole_where_they_must_be_and_all_different(optuna):
    text = f'{RATE}; data.batch_size=16:128; optimizer.weight_decay=0:0.01'
    drawn = search.points(asked(search=text, draws=400), 3)
    assert len({tuple(point.values()) for point in drawn}) == 400
    rates, sizes, decays = ([float(point[one.name]) for point in drawn] for one in search.ranges(text))
    assert all(1e-4 <= rate <= 1e-1 for rate in rates) and all(0 <= decay <= 0.01 for decay in decays)
    assert {type(configs.flat(configs.update(configs.default(), point))['data.batch_size']) for point in drawn} == {int}
    assert min(sizes) >= 16 and max(sizes) <= 128 and all(float(f'{rate:.3g}') == rate for rate in rates)
    for values, quarters in ((rates, (10**-3.25, 10**-2.5, 10**-1.75)), (decays, (0.0025, 0.005, 0.0075)), (sizes, (44, 72, 100))):
        for share, quarter in zip((0.25, 0.5, 0.75), quarters, strict=True):  # of 400, four standard deviations are 0.1
            assert abs(sum(value < quarter for value in values) / 400 - share) < 0.1


def test_draws_follow_from_the_seed_and_more_of_them_begin_with_the_same(optuna):
    few, many = (search.points(asked(search=RATE, draws=count), 0) for count in (5, 20))
    assert many[:5] == few and len(many) == 20
    assert search.points(asked(search=RATE, draws=5), 1) != few
    # An Optuna that drew other points of a seed would begin a half-done table anew: NumPy keeps these numbers for ever.
    exact = 10 ** (-4 + 3 * np.random.RandomState(0).rand(5))
    assert [point['optimizer.learning_rate'] for point in few] == [f'{rate:.3g}' for rate in exact]


def test_a_range_that_holds_too_few_points_is_refused(optuna):
    whole = search.points(asked(search='data.batch_size=3:5', draws=3), 0)
    assert sorted(point['data.batch_size'] for point in whole) == ['3', '4', '5']
    with pytest.raises(ConfigError, match='no 4 points'):
        search.points(asked(search='data.batch_size=3:5', draws=4), 0)
    narrow = search.points(asked(search='optimizer.learning_rate=0.12341:0.12349', draws=1), 0)
    assert 0.12341 <= float(narrow[0]['optimizer.learning_rate']) <= 0.12349  # three figures would lie outside


def record(row, rate, seed, error, state='finished'):
    result = {'holdout': {'error': error}, 'test': {'top1_error': 1 - error}} if error is not None else None
    point = f'optimizer.learning_rate={rate}, data.batch_size={seed + 8 - seed}'
    return trials.Record('', row, point, seed, f'{row}{rate}{seed}', 'p', None, state, '', False, {}, result, {}, 1.0)


def test_optuna_is_told_the_mean_holdout_error_of_each_point(optuna, tmp_path):
    text = 'optimizer.learning_rate=log:1e-4:1e-1; data.batch_size=8:16'
    found = [record('a', '0.01', 0, 0.25), record('a', '0.01', 1, 0.5), record('a', '0.02', 0, 0.75), record('a', '0.02', 1, 0.5)]
    found += [record('a', '0.1', 0, 0.1), record('a', '0.1', 1, None, 'failed'), record('a', '0.03', 0, 0.1)]
    found += [record('a', '0.03', 1, None, 'begun'), record('b', '0.02', 0, 0.125), record('c', '', 0, 0.1)._replace(point='')]
    for _ in range(2):  # written anew, not added to
        path = search.told(tmp_path, text, found)
    assert path == tmp_path / 'optuna.db'
    storage = optuna.storages.RDBStorage(f'sqlite:///{path}')
    a, b = (optuna.load_study(study_name=name, storage=storage) for name in 'ab')
    assert [one.study_name for one in storage.get_all_studies()] == ['a', 'b']
    told = {one.params['optimizer.learning_rate']: (one.state.name, one.value) for one in a.trials}
    assert told == {0.01: ('COMPLETE', 0.375), 0.02: ('COMPLETE', 0.625), 0.1: ('FAIL', None)}  # 0.03 has not ended
    assert a.best_params == {'optimizer.learning_rate': 0.01, 'data.batch_size': 8} and b.best_value == 0.125
    assert a.best_trial.user_attrs == {'seeds': [0, 1], 'keys': ['a0.010', 'a0.011']}
    storage.remove_session()
    storage.engine.dispose()


def test_a_table_of_drawn_points_is_trained_once_chosen_among_and_told(optuna, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, 'stopper', lambda: lambda: False)
    line = [f'--config.{one}' for one in ('architecture=perceptron', 'data.examples=200', 'data.test_examples=100', 'schedule.steps=4')]
    line += ['--config.trials.search=optimizer.learning_rate=log:1e-5:1e-2', '--config.trials.draws=3', '--config.trials.select=holdout']

    def run(*more):
        training.main(command.parse('train', 'configs/mlp.py:smoke', [*line, *more, f'--workdir={tmp_path}/run'], trials.FIELDS))
        return capsys.readouterr().out

    assert run('--dry_run').count('seed 0') == 3 and not (tmp_path / 'run').exists()
    with pytest.raises(ConfigError, match='trials.search|holdout'):
        run('--config.data.holdout=0')
    with pytest.raises(ConfigError, match='trials.search compares points .* different images'):
        run('--config.trials.select=', '--config.trials.search=data.holdout=0.1:0.3')
    assert 'optuna-dashboard sqlite:///' in run()
    _, found = trials.records_of(tmp_path / 'run')
    began = {one.key: (one.workdir / 'result.json').stat().st_mtime_ns for one in found}
    run('--config.trials.draws=4')  # goes on with one more
    _, found = trials.records_of(tmp_path / 'run')
    assert len(found) == 4 and began.items() <= {one.key: (one.workdir / 'result.json').stat().st_mtime_ns for one in found}.items()
    held = {float(one.config['optimizer.learning_rate']): one.result['holdout']['error'] for one in found}
    (row,) = csv.DictReader((tmp_path / 'run' / 'trials.csv').read_text().splitlines())
    best = min(held, key=held.get)
    assert math.isclose(held[float(row['point'].partition('=')[2])], held[best])
    storage = optuna.storages.RDBStorage(f'sqlite:///{tmp_path}/run/optuna.db')
    study = optuna.load_study(study_name=found[0].row, storage=storage)
    assert {one.params['optimizer.learning_rate']: one.value for one in study.trials} == held
    storage.remove_session()
    storage.engine.dispose()
    monkeypatch.setattr(search, '_optuna', lambda: pytest.fail('a report asks for no Optuna'))
    assert 'Chosen on the holdout: optimizer.learning_rate=' in pages.report([tmp_path / 'run'])
