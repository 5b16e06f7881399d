"""What each choice gains: the rows of every recipe, and the report from errors made by hand."""

import csv
import json
import math
import shlex

import numpy as np
import pytest
from finished import error, recorded

from cnn_research import checkpoints, journal, records, tasks, trials
from cnn_research import config as configs
from cnn_research.errors import ConfigError
from cnn_research.models import zoo
from cnn_research.reporting.paired import OnImages
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.ingredients import report
from configs import ingredients as recipe
from experiments import ingredients
from experiments.launch import command, pages, sweep

ROLES = {
    'tanh in place of relu': 'nonlinearity',
    'without normalization': 'normalization',
    'pooling without overlap': 'pooling',
    'without dropout': 'dropout',
}
FIELDS_OF = {'without colour noise': 'augment.colour', 'without flips': 'augment.flip', 'without crops': 'augment.crop'}
NETS = [(scale, row) for scale in recipe.SCALES for row in recipe.get_rows(scale) if row != report.BASE]


def config(scale, row):
    base = configs.update(configs.default(), configs.flat(recipe.get_config(scale)))
    return configs.check(configs.update(base, recipe.get_rows(scale)[row]))


def stages(net, role=None):
    """{layer: its stages, without those of a role}."""
    return {layer.number: [stage for stage in layer.stages if stage.role != role] for layer in net.layers}


@pytest.mark.parametrize(('scale', 'row'), NETS)
def test_a_row_differs_from_the_base_in_its_choice_alone(scale, row):
    one, base = config(scale, row), config(scale, report.BASE)
    differing = {name for name, value in configs.flat(one).items() if configs.flat(base)[name] != value}
    net, whole = configs.network(one), configs.network(base)
    if row in FIELDS_OF:
        assert differing == {FIELDS_OF[row]} and not configs.flat(one)[FIELDS_OF[row]] and net == whole
        return
    said = {name for name in differing if name.startswith('initialization.')}
    assert differing - said == {'architecture', 'architecture_json'}
    if row in ROLES:
        role = ROLES[row]
        assert not said and stages(net, role) == stages(whole, role) and net.parameters == whole.parameters
        before, after = ([stage for layer in n.layers for stage in layer.stages if stage.role == role] for n in (whole, net))
        if role in ('normalization', 'dropout'):
            assert before and not after
        elif role == 'nonlinearity':
            assert (
                {stage.name for stage in before} == {'relu'} and {stage.name for stage in after} == {'tanh'} and len(before) == len(after)
            )
        else:
            assert {(s.kernel, s.stride) for s in before} == {(3, 2)} and {(s.kernel, s.stride) for s in after} == {(2, 2)}
        if role != 'dropout':  # no map changes its size
            taps = [f'layer{layer.number}' for layer in whole.layers]
            assert [net.taps()[tap] for tap in taps] == [whole.taps()[tap] for tap in taps]
    elif row == 'without a middle layer':
        (gone,) = set(stages(whole)) - set(stages(net))
        assert gone in (3, 4) and {**stages(whole), gone: None} == {**stages(net), gone: None}
        for name in said:
            before, after = (configs.by_layer(configs.flat(c)[name]) for c in (base, one))
            assert {layer: value for layer, value in before.items() if layer != gone} == after
    else:
        assert row == 'one tower of half the maps'
        firsts = [[layer.stages[0] for layer in n.layers[:5]] for n in (net, whole)]
        assert [2 * a.features for a in firsts[0][:4]] == [b.features for b in firsts[1][:4]] and firsts[0][4].features == firsts[1][
            4
        ].features
        assert [b.groups for b in firsts[1]] == [1, 2, 1, 2, 2] and {a.groups for a in firsts[0]} == {1}
        assert [layer.stages[1:] for layer in net.layers] == [layer.stages[1:] for layer in whole.layers]
        assert [layer.stages for layer in net.layers[5:]] == [layer.stages for layer in whole.layers[5:]]


def test_the_rows_are_the_published_nets_where_there_are_such():
    for row, name in (('without normalization', 'cifar_13pct'), (report.BASE, 'cifar_11pct')):
        assert configs.network(config('cuda_convnet', row)) == zoo.architecture(name)
    for row, name in (('one tower of half the maps', 'alexnet_one_gpu'), (report.BASE, 'alexnet')):
        assert configs.network(config('imagenet2012', row)) == zoo.architecture(name)


@pytest.mark.parametrize('scale', recipe.SCALES)
def test_the_base_has_every_choice(scale):
    base, rows = config(scale, report.BASE), set(recipe.get_rows(scale))
    missing = set(report.LABELS) - rows - {report.ONE_VIEW}
    assert base.augment.crop and base.augment.flip and base.evaluate.views == 'ten'
    assert missing == ({'one tower of half the maps', 'without dropout', 'without colour noise'} if scale == 'cuda_convnet' else set())
    side = base.data.resize or 32
    assert side > configs.network(base).input_shape[0]  # so that there are crops to draw
    tuned = recipe.get_options(scale)
    rates = [float(rate) for rate in tuned['trials']['grid'].partition('=')[2].split(',')]
    assert base.optimizer.learning_rate in rates and tuned['ingredients']['tuned'] in rows


def row(label, *errors, **changes):
    told = dict(enumerate(errors))
    made = report.Row(label, 1000, told, {}, told, 0.01, '', dict.fromkeys(told), '')
    return made._replace(**changes)


ROWS = [
    row(report.BASE, 20.0, 20.4, 20.2),
    row('one tower of half the maps', 23.1, 23.3, 23.2),
    row('without normalization', 22.0, 22.5, 22.3),
    row('pooling without overlap', 20.4, 20.1, 20.5),
    row('without flips', 19.0, 19.5, 19.1),
    row('without crops', 24.0, 24.5, 24.1),
    row('without dropout', 21.0, 21.2, 21.4),
    row('tanh in place of relu', 25.0, 25.2, 25.9, rate=0.1, edge='the highest tried'),
    row(report.ONE_VIEW, 20.9, 21.4, 21.2),
]


def test_the_claims_follow_from_the_errors():
    found = {one.claim.sentence.partition('lower')[0].strip(): one for one in report.judged(ROWS, False)}
    verdicts = {name: one.verdict for name, one in found.items()}
    assert verdicts['Two towers'] == verdicts['Response normalization'] == verdicts['Averaging ten views at test'] == 'reproduced'
    assert verdicts['Overlapping pooling'] == 'undecided' and verdicts['Mirroring training images'] == 'contradicted'
    assert verdicts['Rectified units'] == 'reproduced' and 'speed' in found['Rectified units'].claim.note
    assert 'Colour noise' not in verdicts and 'A middle layer' not in verdicts  # of what is not there nothing is said
    (order,) = [one for name, one in found.items() if name.startswith('Two towers gain more')]
    assert order.verdict == 'reproduced' and [round(one.mean, 2) for one in order.differences] == [1.93, 0.93]
    (open_,) = [one for name, one in found.items() if name.startswith('What dropout')]
    assert open_.verdict == 'no direction claimed'
    assert {one.verdict for one in report.judged(ROWS, True)} == {'no verdict', 'no direction claimed'}
    failed = [one._replace(problem='seed 1 failed') if one.label == report.BASE else one for one in ROWS]
    assert not {'reproduced', 'contradicted'} & {one.verdict for one in report.judged(failed, False) if one is not order} - {
        one.verdict for one in report.judged(failed, False) if report.BASE not in str(one.claim.contrasts)
    }


def test_what_the_paper_prints():
    assert {one.name: report.printed(one) for one in report.CHOICES if report.printed(one)} == {
        'Two towers': 1.7,
        'Response normalization': 1.4,
        'Overlapping pooling': 0.4,
        'Colour noise': 1.0,
        'Averaging ten views at test': 1.5,
        'A middle layer': 2.0,
    }
    assert report.printed(report.VIEWS, 'top-5 gain') == 1.3 and report.printed(report.COLOUR, 'top-5 gain') is None
    assert report.printed_on_cifar(report.NORMALIZATION) == 2 and report.printed_on_cifar(report.OVERLAP) is None


def test_the_report_has_every_row_its_rate_and_the_papers_number(tmp_path):
    ranks = np.arange(40) % 2
    seen = [one._replace(images={seed: OnImages('p', ranks[:: 1 if n else -1]) for seed in one.test}) for n, one in enumerate(ROWS)]
    show = Shelf(tmp_path, 'ingredients', {one.label for one in ROWS})
    title, lead, sections = report.report(seen, 'cifar10', show)
    assert title == 'What each choice gains on cifar10' and 'rectified units +5.2; ' in lead and 'mirroring training images -1.0' in lead
    assert [heading for heading, _ in sections] == ['What each choice gains', 'Gains', 'Claims']
    lines = {line['row']: line for line in csv.DictReader((tmp_path / 'ingredients.csv').read_text().splitlines())}
    assert set(lines) == {one.label for one in ROWS}
    assert lines['tanh in place of relu']['rate note'] == 'the highest tried' and lines['without normalization']['cifar'] == '2.0'
    assert float(lines['without crops']['gain']) == pytest.approx(4) and lines['without crops']['images'] == '0.0'
    assert (tmp_path / 'figures' / 'gains.png').is_file()


def test_what_is_not_there_yet_is_said(tmp_path):
    planned = [row(one.label, parameters=None, rate=None, problem='not finished: seed 0') for one in ROWS]
    for rows in (planned, planned[1:], []):
        _, lead, sections = report.report(rows, 'digits', Shelf(tmp_path, 'ingredients', ()))
        assert lead == 'No row can be set against the base yet.' and sections[1][0] == 'About the digits'
    figure = report.gains([row(report.BASE, 20.0), row('without crops', math.nan), row('without flips')], 'cifar10')
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ['Mirroring training images', 'Random crops']


def given(*arguments, scale='smoke'):
    return command.parse('ingredients', '', [f'--config=configs/ingredients.py:{scale}', *arguments], ingredients.FIELDS)


def test_the_grid_is_crossed_with_the_tuned_rows_alone(tmp_path):
    planned = ingredients._planned(given(f'--workdir={tmp_path}', '--config.trials.seeds=2'))
    rows = list(recipe.get_rows('smoke'))
    assert list(dict.fromkeys(trial.row for trial in planned)) == rows
    points = {label: [trial.point for trial in planned if trial.row == label] for label in rows}
    assert [len(of) for of in points.values()] == [2, 4] + [2] * 8 and set(points[report.BASE]) == {''}
    assert len({trial.key for trial in planned}) == len(planned) and len({trial.protocol for trial in planned}) == 1
    some = ingredients._planned(given('--config.ingredients.rows=without crops', '--config.ingredients.tuned='))
    assert [trial.row for trial in some] == [report.BASE] * 2 + ['without crops'] * 2


def test_the_command_of_a_trial_trains_that_one_network(tmp_path):
    """Whatever grid the recipe crosses it with."""
    asked = given(f'--workdir={tmp_path}', '--config.trials.seeds=2', '--config.schedule.steps=3')
    for trial in ingredients._planned(asked):
        words = shlex.split(sweep.line(asked, trial))
        again = command.parse('train', '', words[3:], trials.FIELDS)
        assert words[:3] == ['python', '-m', 'experiments.train'] and configs.check(again.config) == trial.config
        assert not again.options.trials.grid and not again.options.trials.select and again.options.trials.seeds == 1


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        (
            '--config.ingredients.rows=without crop',
            "names 'without crop'; ingredients-smoke has 'every choice'.*Did you mean without crops",
        ),
        ('--config.ingredients.tuned=tanh', "ingredients.tuned='tanh' names 'tanh'"),
        ('--config.trials.select=', 'every row is one network'),
        ('--config.evaluate.views=centre', 'takes one choice from every row'),
    ],
)
def test_what_cannot_be_compared_is_refused(argument, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        ingredients._planned(given(argument))


def test_the_page_is_made_of_records_alone(tmp_path):
    """Two rows of two seeds, of which tanh has two points, and the base's second test."""
    base = {**configs.flat(recipe.get_config('smoke'))}
    listed, wrong = [], {'every choice': 0.2, 'tanh in place of relu': 0.3}
    for label, points in (
        ('every choice', ['']),
        ('tanh in place of relu', ['optimizer.learning_rate=0.02', 'optimizer.learning_rate=0.04']),
    ):
        for point, seed in ((point, seed) for point in points for seed in (0, 1)):
            key = f'k{len(listed)}'
            told = error(wrong[label] + 0.01 * seed + 0.1 * ('0.04' in point))
            rate = {'optimizer.learning_rate': float(point.partition('=')[2] or 0.02)}
            recorded(tmp_path / 'trials' / key, key, {**base, **recipe.get_rows('smoke')[label], **rate}, holdout=told, test=told)
            listed.append({'part': '', 'row': label, 'point': point, 'seed': seed, 'key': key, 'protocol': 'p', 'reduced': False})
            if label == report.BASE:
                found = {'key': key, 'protocol': 'one_view', 'source': 'p', 'result': {**told, 'top1_error': 0.25, 'ranks': [0, 1, 1, 2]}}
                records.write(tmp_path / 'trials' / key / 'evaluations' / 'one_view.json', found)
    options = {'trials.select': 'holdout', 'trials.grid': 'optimizer.learning_rate=0.02,0.04', 'ingredients.tuned': 'tanh in place of relu'}
    about = {'experiment': 'ingredients', 'label': 'ingredients-smoke', 'line': 'a line', 'options': options}
    records.write(tmp_path / 'plan.json', {**about, 'trials': listed})
    assert 'Rectified units' in pages.report([tmp_path])
    lines = {line['row']: line for line in csv.DictReader((tmp_path / 'ingredients.csv').read_text().splitlines())}
    assert float(lines['tanh in place of relu']['gain']) == pytest.approx(10) and lines['tanh in place of relu']['rate'] == '0.02'
    assert float(lines['one view at test']['gain']) == pytest.approx(4.5) and json.loads(lines['every choice']['rate']) == 0.02


@pytest.mark.slow
def test_one_view_is_a_second_test_of_the_same_networks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, 'stopper', lambda: lambda: False)  # a signal's handler is not a test's to set
    narrow = '--config.architecture=alexnet_32 resized(1=2,2=2,3=2,4=2,5=2,6=4,7=4)'
    lines = (narrow, '--config.ingredients.rows=every choice', '--config.schedule.steps=2', '--config.data.examples=40')
    asked = given(*lines, '--config.data.test_examples=60', f'--workdir={tmp_path}')
    ingredients.main(asked)
    rows = {line['row']: line for line in csv.DictReader((tmp_path / 'ingredients.csv').read_text().splitlines())}
    assert list(rows) == [report.BASE, report.ONE_VIEW] and 'ten' in rows[report.ONE_VIEW]['choice']
    (base,) = ingredients._planned(asked)
    told = {report.BASE: journal.result(base.workdir)['test']['top1_error']}
    told[report.ONE_VIEW] = checkpoints.load(base.workdir).evaluate(tasks.sources(base.config)['test'], 'centre').top1_error
    assert base.config.evaluate.views == 'ten' and {row: float(line['test']) / 100 for row, line in rows.items()} == pytest.approx(told)
    before = (tmp_path / 'ingredients.csv').read_bytes()
    monkeypatch.setattr(checkpoints, 'load', lambda *_: pytest.fail('measured twice'))
    ingredients.main(asked)
    assert (tmp_path / 'ingredients.csv').read_bytes() == before and capsys.readouterr().out.count('report: ') == 2
