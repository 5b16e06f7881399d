"""What a table refuses before any work, and what it says of the points that the holdout chose among."""

import csv
import dataclasses
import errno
import json

import pytest
from finished import PERCEPTRON, RUN, error, recorded
from page_reader import Reader

from cnn_research import config as configs
from cnn_research import files, records, rehearsal, tasks, trials
from cnn_research.errors import Busy, CheckpointError, ConfigError, TrialError, WriteError
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table
from experiments import (
    depth_ablation,
    dropconnect,
    finetune,
    handmade,
    ingredients,
    layer_probing,
    nonlinearity,
    occlusion,
    stride_diagnosis,
)
from experiments import train as training
from experiments.launch import command, pages, plans, recipes, sweep

DIGITS = (
    '--config.architecture=perceptron',
    '--config.data.name=digits',
    '--config.loss.name=squared_error',
    '--config.data.normalization=mean_std',
    '--config.data.examples=0',
    '--config.data.test_examples=0',
    '--config.schedule.kind=constant',
    '--config.schedule.warmup.epochs=0',
    '--config.schedule.cooldown.epochs=0',
)


def table_of(folder, holdout):
    """A table of one row, whose points have the given holdout errors of each seed; None for one that failed."""
    listed = []
    for point, errors in holdout.items():
        for seed, wrong in enumerate(errors):
            key = f'k{len(listed)}'
            home = folder / 'trials' / key
            if wrong is None:
                files.write(home / 'error.json', json.dumps({'error': 'it diverged'}))
            else:
                recorded(home, key, PERCEPTRON, holdout=error(wrong), test=error(1 - wrong))
            listed.append({'part': '', 'row': 'smoke', 'point': point, 'seed': seed, 'key': key, 'protocol': 'p', 'reduced': False})
    about = {'experiment': 'train', 'label': 'smoke', 'line': 'a line', 'options': {'trials.select': 'holdout'}}
    records.write(folder / 'plan.json', {**about, 'trials': listed})
    return folder


def test_a_selected_table_names_the_chosen_point_and_lists_the_losers(tmp_path):
    home = table_of(tmp_path, {'rate=0.1': [0.4, 0.5], 'rate=0.01': [0.2, 0.3], 'rate=1': [None, None]})
    text = pages.report([home])
    assert 'Chosen on the holdout: rate=0.01 for every row.' in Reader(text).text
    (row,) = csv.DictReader((home / 'trials.csv').read_text().splitlines())
    assert row['point'] == 'rate=0.01' and row['holdout'] == '20.0 30.0'
    every = {line['point']: line for line in csv.DictReader((home / 'selection.csv').read_text().splitlines())}
    assert {point: line['holdout'] for point, line in every.items()} == {'rate=0.1': '40.0 50.0', 'rate=0.01': '20.0 30.0', 'rate=1': ''}
    assert [point for point, line in every.items() if line['chosen'] == 'True'] == ['rate=0.01'] and 'seed 1 failed' in every['rate=1'][
        'note'
    ]
    assert 'smoke (rate=0.1), not chosen' in text and 'it diverged' in text  # the losers' commands and configs
    pages.results(home, tmp_path / 'kept')
    readme = (tmp_path / 'kept' / 'README.md').read_text()
    assert 'rate=0.01 for every row' in readme and '4 of 6 trainings' in readme and 'rate=1' in readme


@pytest.mark.parametrize(
    ('points', 'chosen', 'provisional'),
    [
        ({'rate=1': [0.1, None], 'rate=2': [0.3, 0.3]}, 'rate=2', False),  # seed 1 diverged
        ({'rate=1': [0.1, ...], 'rate=2': [0.3, 0.3]}, 'rate=2', True),
        ({'rate=1': [0.1, ...], 'rate=2': [..., 0.3]}, 'rate=1', True),
        ({'rate=1': [0.1, None], 'rate=2': [None, 0.3]}, 'rate=1', True),
    ],
)
def test_a_point_is_chosen_among_those_with_most_seeds(points, chosen, provisional, tmp_path):
    home = table_of(tmp_path, {point: [None if wrong is ... else wrong for wrong in of] for point, of in points.items()})
    for number, wrong in enumerate(wrong for of in points.values() for wrong in of):
        if wrong is ...:  # not begun
            (home / 'trials' / f'k{number}' / 'error.json').unlink()
    text = Reader(pages.report([home])).text
    assert f'Chosen on the holdout: {chosen} for every row.' in text and ('Provisional' in text) == provisional


def test_rows_that_chose_differently_are_named_one_by_one(tmp_path):
    book = pages.Book('train', tmp_path, 'train', 'a line', 'smoke', {'trials.select': 'holdout'}, [], Shelf(tmp_path, 'train', ()))

    def one(row, point, error):
        result = {'holdout': {'error': error}}
        return trials.Record('', row, point, 0, f'{row}{point}', 'p', tmp_path, 'finished', '', False, {}, result, {}, 1.0)

    found = [one('a', 'x=1', 0.1), one('a', 'x=2', 0.2), one('b', 'x=1', 0.3), one('b', 'x=2', 0.2)]
    shown = trials.selected(found)
    lead, _ = pages._selection(book._replace(records=shown, losers=[r for r in found if r not in shown]))
    assert lead == ' Chosen on the holdout: a: x=1; b: x=2.'
    shown += [one('source', '', 0.5)]  # what the others begin with has no points, and no choice
    assert pages._selection(book._replace(records=shown, losers=[r for r in found if r not in shown]))[0] == lead
    assert 'source' not in (tmp_path / 'selection.csv').read_text()
    many = [one(f'row {number}', f'x={number % 2}', 0.1) for number in range(9)]
    assert 'holdout: a point for each of 9 rows, named in the last table.' in pages._selection(book._replace(records=many))[0]


def test_every_table_of_rows_gets_the_chosen_point(tmp_path):
    shelf = Shelf(tmp_path, 'x', ('a', 'b'), {'a': 'rate=0.1', 'b': 'rate=1'})
    shelf.table('one', Table([Column('row'), Column('n')], [{'row': 'a', 'n': 1}, {'row': 'b', 'n': 2}, {'row': 'paper', 'n': 3}]))
    shelf.table('other', Table([Column('n')], [{'n': 1}]))
    assert (tmp_path / 'one.csv').read_text() == 'row,point,n\na,rate=0.1,1\nb,rate=1,2\npaper,,3\n'
    assert (tmp_path / 'other.csv').read_text() == 'n\n1\n' and 'chosen on holdout' in shelf.markdown[0]


def refused(module, name, folder, *arguments, default=''):
    given = command.parse(name, default, [*arguments, f'--workdir={folder}/run'], getattr(module, 'FIELDS', trials.FIELDS))
    with pytest.raises(ConfigError) as told:
        module.main(given)
    assert not (folder / 'run').exists() and '\n' not in str(told.value)
    return str(told.value)


def test_a_preprocessing_can_be_chosen_on_the_holdout_whose_examples_are_the_same():
    options = ('--config.trials.grid=data.preprocessing=none,width_10', '--config.trials.select=holdout')
    given = command.parse('train', 'configs/mlp.py:smoke', [*DIGITS, *options], trials.FIELDS)
    planned = trials.plan({'one': {}}, given.config, given.options, given.workdir)
    plans.check(given, planned)
    assert len({trial.key for trial in planned}) == 2


REFUSED = {
    ('--config.trials.select=holdout', '--config.trials.seeds=2'): 'there is none',
    ('--config.trials.select=holdout', '--config.trials.grid=data.batch_size=8,16', '--config.data.holdout=0'): 'data.holdout=0.0',
    ('--config.trials.select=holdout', '--config.trials.grid=data.batch_size=8,16', '--config.data.holdout=1e-9'): 'finds no example',
    ('--config.trials.select=holdout', '--config.trials.grid=data.holdout=0.1,0.2'): 'different images',
    ('--config.trials.select=holdout', '--config.trials.grid=data.examples=500,1000'): 'different images',
    ('--config.trials.select=holdout', '--config.trials.grid=evaluate.views=centre,ten'): 'one training',
    ('--config.trials.select=holdout', '--config.trials.grid=data.test_examples=50,60'): 'one training',
    ('--config.trials.grid=optimizer.learning_rate=0.01,1e-2',): 'optimizer.learning_rate=0.01 twice',
    ('--config.trials.grid=data.workers=0,2',): 'the same training twice',
    ('--config.trials.seeds=2', '--config.trials.shard=3/2'): 'trials.shard',
    ('--config.trials.seeds=2', '--config.trials.shard=0/2'): 'trials.shard',
    ('--config.trials.seeds=2', '--config.trials.budget=soon'): 'trials.budget',
    ('--config.trials.seeds=2', '--config.trials.budget=2h', '--config.schedule.steps=5'): 'schedule in epochs',
}


@pytest.mark.parametrize('dry', [(), ('--dry_run',)])
@pytest.mark.parametrize('arguments', REFUSED)
def test_a_table_that_means_nothing_is_refused_before_any_work(arguments, dry, tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, 'rehearsed', lambda *_: pytest.fail('a step was measured'))
    monkeypatch.setattr(trials, 'carry_out', lambda *_: pytest.fail('a trial was begun'))
    monkeypatch.setattr(command, 'stopper', lambda: lambda: False)
    assert REFUSED[arguments] in refused(training, 'train', tmp_path, '--config=configs/alexnet.py:smoke', *DIGITS, *arguments, *dry)


OTHERS = [
    (depth_ablation, 'configs/alexnet.py:smoke', 'alexnet.py has no rows'),
    (depth_ablation, 'configs/layer_probing.py:smoke', "layer_probing.py has the row 'network'"),
    (depth_ablation, 'configs/stride_diagnosis.py:smoke', 'stride_diagnosis.py has the row'),
    (stride_diagnosis, 'configs/depth_ablation.py:smoke', 'depth_ablation.py has the row'),
    (stride_diagnosis, 'configs/looking.py:smoke', 'looking.py has no rows'),
    (layer_probing, 'configs/depth_ablation.py:smoke', 'depth_ablation.py has the row'),
    (finetune, 'configs/layer_probing.py:smoke', "layer_probing.py has the row 'network'"),
    (handmade, 'configs/finetune.py:smoke', "finetune.py has the row 'source'"),
    (dropconnect, 'configs/handmade.py:smoke', 'handmade.py has the option handmade.networks'),
]


@pytest.mark.parametrize(('module', 'config', 'message'), OTHERS)
def test_the_config_of_another_experiment_is_refused(module, config, message, tmp_path):
    name = module.__name__.split('.')[1]
    told = refused(module, name, tmp_path, f'--config={config}')
    assert message in told and f'use --config=configs/{name}.py:smoke' in told


@pytest.mark.parametrize('module', [depth_ablation, dropconnect, finetune, handmade, ingredients, stride_diagnosis, layer_probing])
def test_every_recipe_of_an_experiment_can_be_read_by_it(module):
    name = module.__name__.split('.')[1]
    for scale in recipes.load(f'configs/{name}.py').label, 'smoke', 'cifar10':
        given = command.parse(name, f'configs/{name}.py:{scale.rpartition("-")[2]}', [], module.FIELDS)
        assert plans.rows(given, module.FIELDS, module.reads) == given.recipe.rows


def test_options_that_an_experiment_does_not_know_are_refused(tmp_path):
    (tmp_path / 'mine.py').write_text(
        'import ml_collections\nSCALES = ("a",)\ndef get_config(scale): return ml_collections.ConfigDict()\n'
        'def get_rows(scale): return {"network": {}}\ndef get_options(scale): return {"stride": {"shift": 3}}\n'
    )
    assert 'the option stride.shift' in refused(layer_probing, 'layer_probing', tmp_path, f'--config={tmp_path}/mine.py')


def test_a_trial_that_begins_with_another_waits_for_it_or_says_whose_it_is(tmp_path, monkeypatch):
    made = [trials.Trial('', row, '', {}, configs.default(), row, 'p', tmp_path / row) for row in ('base', 'other')]
    given = command.parse('train', 'configs/alexnet.py:smoke', [], trials.FIELDS)
    with pytest.raises(Busy, match='base, seed 0 is not finished'):
        sweep.begun_with(given, made[0], made)
    shard = command.parse('train', 'configs/alexnet.py:smoke', ['--config.trials.shard=2/2'], trials.FIELDS)
    with pytest.raises(TrialError, match='the share of another process and not finished'):
        sweep.begun_with(shard, made[0], made)
    files.write(tmp_path / 'base' / 'error.json', '{}')
    with pytest.raises(TrialError, match='whose training failed'):
        sweep.begun_with(given, made[0], made)
    monkeypatch.setattr(trials, 'state', lambda *_: 'finished')
    monkeypatch.setattr(sweep.checkpoints, 'load', lambda workdir: f'what is in {workdir.name}')
    assert sweep.begun_with(shard, made[0], made) == 'what is in base'


def test_a_trial_that_cannot_be_measured_stops_no_other_and_no_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, 'stopper', lambda: lambda: False)
    lines = ('--config=configs/alexnet.py:smoke', *DIGITS, '--config.schedule.steps=2', '--config.trials.seeds=3')
    given = command.parse('train', '', [*lines, f'--workdir={tmp_path}/run'], trials.FIELDS)
    planned = trials.plan({'smoke': {}}, given.config, given.options, given.workdir)
    carried, seen = trials.carry_out, []

    def damaged(mine, *more):
        carried(mine, *more)
        files.write(mine[1].workdir / 'metrics.jsonl', '{"step": 1}\n')

    def measure(trial, stop):
        seen.append(trial.config.seed)
        if trial is planned[0]:
            raise CheckpointError('its checkpoint is damaged.')

    monkeypatch.setattr(trials, 'carry_out', damaged)
    with pytest.raises(TrialError, match=r'2 of 3 trials .* smoke, seed 0 for one \(its checkpoint is damaged\)'):
        sweep.carry_out(given, planned, measure)
    assert seen == [0, 2] and 'seed 1 damaged' in (tmp_path / 'run' / 'report.html').read_text()
    assert '[smoke, seed 1] damaged' in capsys.readouterr().err

    def full(trial, stop):
        raise files.refused(trial.workdir, OSError(errno.ENOSPC, 'No space left on device'))

    monkeypatch.setattr(trials, 'carry_out', lambda *_: None)
    with pytest.raises(WriteError, match='No space'):
        sweep.carry_out(given, planned, full)
    more = command.parse('train', '', [*lines, f'--workdir={tmp_path}/run', '--config.trials.shard=5/9'], trials.FIELDS)
    sweep.carry_out(more, planned)
    assert "trials.shard='5/9' of 3 trials is an empty share" in capsys.readouterr().err
    for module, config in ((stride_diagnosis, 'stride_diagnosis'), (occlusion, 'looking'), (nonlinearity, 'nonlinearity')):
        name, before = module.__name__.rpartition('.')[2], (tmp_path / 'run' / 'plan.json').read_text()
        other = [f'--config=configs/{config}.py:smoke', f'--workdir={tmp_path}/run']
        with pytest.raises(ConfigError, match=f'holds a table of train; choose another workdir for {name}'):
            module.main(command.parse(name, '', other, getattr(module, 'FIELDS', ())))
        assert (tmp_path / 'run' / 'plan.json').read_text() == before


def test_the_race_plans_both_networks_and_refuses_what_cannot_be_raced(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, 'stopper', lambda: lambda: False)
    monkeypatch.setattr(rehearsal, 'rehearsed', lambda *_: rehearsal.Rehearsal(0.001, 1e6, 1e12))
    nonlinearity.main(command.parse('nonlinearity', 'configs/nonlinearity.py:smoke', ['--dry_run', f'--workdir={tmp_path}/run']))
    out = capsys.readouterr().out
    assert out.startswith('tuning') and out.count('architecture  cifar_18pct') == 2 and not (tmp_path / 'run').exists()
    smoke = '--config=configs/nonlinearity.py:smoke'
    assert 'data.holdout=0.0 holds out' in refused(nonlinearity, 'nonlinearity', tmp_path, smoke, '--config.data.holdout=0')
    assert 'holds out no example' in refused(nonlinearity, 'nonlinearity', tmp_path, smoke, '--config.data.holdout=1e-9')
    plain = ('--config.architecture=perceptron replaced(1,nonlinearity=none)', '--config.data.name=digits')
    assert 'has no nonlinearity' in refused(nonlinearity, 'nonlinearity', tmp_path, smoke, *plain, '--dry_run')


def test_data_dir_reaches_what_is_probed(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(layer_probing, 'open_splits', lambda name, splits, where: asked.append((name, where)) or 1 / 0)
    trial = trials.Trial('', 'network', '', {}, configs.default(), 'k', 'p', tmp_path)
    for more, where in (((), None), (('--config.data.dir=there',), 'there')):
        given = command.parse(
            'layer_probing', 'configs/layer_probing.py:smoke', ['--config.probe.data=caltech101', *more], layer_probing.FIELDS
        )
        with pytest.raises(ZeroDivisionError):
            layer_probing._source(given, trial, configs.flat(given.options))
        assert asked.pop() == ('caltech101', where)


@pytest.mark.slow
def test_what_a_source_assumed_is_said_in_the_plan_the_log_and_the_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, 'stopper', lambda: lambda: False)
    opened = tasks.sources
    words = ('3 files were skipped: a.txt, <b>', 'transparent pixels stand on white')

    def noted(config):
        return {role: dataclasses.replace(source, notes=words) for role, source in opened(config).items()}

    monkeypatch.setattr(tasks, 'sources', noted)
    given = ('--config=configs/alexnet.py:smoke', *DIGITS, '--config.schedule.steps=2', f'--workdir={tmp_path}/run')
    training.main(command.parse('train', '', [*given, '--dry_run'], trials.FIELDS))
    told = capsys.readouterr().out
    assert all(told.count(line) == 1 for line in words)
    grid = '--config.trials.grid=data.batch_size=20,30'
    training.main(command.parse('train', '', [*given, grid, '--dry_run'], trials.FIELDS))
    told = capsys.readouterr().out
    assert all(told.count(line) == 1 for line in words)
    training.main(command.parse('train', '', given, trials.FIELDS))
    home = tmp_path / 'run'
    assert files.read_json(home / 'run.json')['notes'] == list(words)
    assert all((home / 'log.txt').read_text().count(line) == 1 for line in words)
    page = Reader((home / 'report.html').read_text()).text
    assert 'Skipped, chosen or assumed' in page and all(line in page for line in words)
    for name in ('run.json', 'timing.jsonl'):  # on which no number rests
        (home / name).write_text('{"command": 1')
    training.main(command.parse('train', '', given, trials.FIELDS))
    page = Reader((home / 'report.html').read_text()).text
    assert 'unknown, run.json is missing or damaged' in page and 'timeinstepsunknown' in ''.join(page.split())


def test_what_the_runs_of_a_table_assumed_is_in_its_report(tmp_path):
    home = table_of(tmp_path, {'rate=1': [0.1]})
    files.write(home / 'trials' / 'k0' / 'run.json', json.dumps({**RUN, 'notes': ['3 files were skipped: <b>']}))
    assert '3 files were skipped: <b>' in Reader(pages.report([home])).text
    pages.results(home, tmp_path / 'kept')
    assert '3 files were skipped: &lt;b&gt;' in (tmp_path / 'kept' / 'README.md').read_text()
