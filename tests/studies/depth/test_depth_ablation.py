"""The depth ablation as a user runs it, small: plan, kill, going on, report again, joined reports; and its table from hand-made errors."""

import csv
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from cnn_research import checkpoints, parallel, rehearsal, trials
from cnn_research import config as configs
from cnn_research.errors import ConfigError
from cnn_research.models import zoo
from cnn_research.reporting import claims
from cnn_research.reporting.paired import OnImages
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.depth import report as depth
from experiments import depth_ablation
from experiments.launch import command, pages, recipes

ROOT = pathlib.Path(__file__).resolve().parents[3]
CONFIG = 'configs/depth_ablation.py'
# A minute's recipe made a few seconds' one.
SMALL = (
    f'--config={CONFIG}:smoke',
    '--config.data.examples=160',
    '--config.data.test_examples=60',
    '--config.data.holdout=0.005',
    '--config.schedule.steps=6',
    '--config.schedule.warmup.steps=2',
    '--config.schedule.cooldown.steps=2',
    '--config.lesion.steps=3',
    '--config.checkpoint.every.steps=2',
)


def launched(name, *arguments):
    line = [sys.executable, '-m', f'experiments.{name}', *arguments]
    environment = {**os.environ, 'XLA_FLAGS': ''}
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ran(name, *arguments):
    process = launched(name, *arguments)
    out, err = process.communicate()
    return process.returncode, out, err


def small(folder, *more, rows=(depth.BASE, depth.WITHOUT_34, depth.WITHOUT_7)):
    """The command, read, with some of its rows."""
    given = command.parse('depth_ablation', '', [*SMALL, f'--workdir={folder}', *more], depth_ablation.FIELDS)
    return dataclasses.replace(given, recipe=given.recipe._replace(rows={row: given.recipe.rows[row] for row in rows}))


def as_book(folder, records, select=''):
    shelf = Shelf(folder, 'depth_ablation', ())
    return pages.Book('depth_ablation', folder, 'depth_ablation', 'a line', 'smoke', {'trials.select': select}, records, shelf)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    """A finished table of three rows, trained in this process on one device."""
    folder = tmp_path_factory.mktemp('depth') / 'run'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, 'stopper', lambda: lambda: False)  # pytest keeps its own signals
        patch.setattr(parallel, 'local_devices', lambda count=None: jax.local_devices()[:1])
        depth_ablation.main(small(folder))
    return folder


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again_it_ends_with_what_it_had(tmp_path):
    folder = tmp_path / 'run'
    process = launched('depth_ablation', *SMALL, f'--workdir={folder}')
    try:
        deadline = time.monotonic() + 180
        while len(list(folder.glob('trials/*/result.json'))) < 2:
            assert process.poll() is None and time.monotonic() < deadline, 'no trial was finished'
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    before = {p: p.stat().st_mtime_ns for p in folder.glob('trials/*/result.json')}
    code, out, err = ran('depth_ablation', *SMALL, f'--workdir={folder}')
    assert code == 0 and out == f'report: {folder}/report.html\n', err
    assert {p: p.stat().st_mtime_ns for p in before} == before
    _, records = trials.records_of(folder)
    assert [(r.part, r.row, r.state) for r in records] == [(part, row, 'finished') for part in ('', 'refit') for row in _rows('smoke')]
    assert [r.config['optimizer.trainable'] for r in records[5:]] == ['8', '5,8', '8', '8', '5,8']


@pytest.mark.slow
def test_every_row_is_trained_refitted_and_measured(workdir):
    about, records = trials.records_of(workdir)
    assert about['experiment'] == 'depth_ablation' and [r.state for r in records] == ['finished'] * 6
    assert [(r.part, r.row) for r in records[2:4]] == [('', depth.WITHOUT_7), ('refit', depth.BASE)]
    base = records[0]
    bypassed = trials.read(base.workdir, 'bypassed')
    assert bypassed[depth.BASE] == base.result['test']['top1_error'] and bypassed[depth.WITHOUT_34] is None
    assert bypassed[depth.WITHOUT_7] is not None and trials.read(base.workdir, 'train') is not None
    whole, refit = (checkpoints.load(r.workdir).variables['params'] for r in (base, records[4]))
    for name in ('layer1', 'layer2', 'layer6', 'layer7'):  # frozen; layers 5 and 8 learn anew
        assert jax.tree.all(jax.tree.map(np.array_equal, whole[name], refit[name]))
    assert records[4].config['optimizer.trainable'] == '5,8' and whole['layer5']['convolution']['kernel'].shape[2] != 16
    assert all(r.run['command'].startswith('python -m experiments.train --config=configs/depth_ablation.py:smoke') for r in records[:3])
    assert all(r.reduced for r in records[:3])


@pytest.mark.slow
def test_the_command_of_a_trial_trains_that_trial(workdir):
    _, records = trials.records_of(workdir)
    arguments = command.shlex.split(records[2].run['command'])[3:]
    again = configs.check(command.parse('train', 'configs/alexnet.py:clutter', arguments, trials.FIELDS).config)
    assert {k: v for k, v in configs.flat(again).items() if k in configs.DECISIVE} == {
        k: v for k, v in records[2].config.items() if k in configs.DECISIVE
    }


@pytest.mark.slow
def test_the_report_says_rows_papers_claims_and_no_verdict(workdir):
    page = (workdir / 'report.html').read_text()
    for text in ('removed layers 3,4', '+3.0', '+4.0', '>no verdict<', 'Clutter is a demonstration', 'reduced'):
        assert text in page
    assert page.count('id="depth_ablation-removed_layer_7"') == 1 and 'href="#depth_ablation-removed_layer_7"' in page
    assert 'optimizer.learning_rate=0.03' in page  # each trial's config
    files = {p.name for p in workdir.iterdir()} | {p.name for p in (workdir / 'figures').iterdir()}
    assert {'depth.csv', 'depth.md', 'depth.tex', 'lesions.csv', 'claims.csv', 'effects.png', 'parameters.pdf'} <= files
    with open(workdir / 'depth.csv') as file:
        lines = {line['row']: line for line in csv.DictReader(file)}
    for label in (depth.WITHOUT_34, depth.WITHOUT_7):  # the difference of one seed, and what drawing the test images anew makes of it
        mean, low, high = (float(lines[label][f'images{end}']) for end in ('', ' low', ' high'))
        assert mean == pytest.approx(float(lines[label]['difference'])) and low <= mean <= high and low < high


@pytest.mark.slow
def test_reports_are_made_again_without_training_and_joined(workdir, tmp_path):
    code, _, err = ran('report', f'--workdir={workdir},{workdir}', f'--out={tmp_path}/joined.html')
    assert code == 0, err
    joined = (tmp_path / 'joined.html').read_text()
    assert joined.count('>Claims</h3>') == 2
    code, out, err = ran('report', f'--workdir={tmp_path}')
    assert (code, out) == (2, '') and 'plan.json' in err and err.count('\n') == 1


@pytest.mark.slow
def test_results_are_files_with_all_that_they_came_from(workdir, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob('*')}
    code, out, err = ran('report', f'--workdir={workdir}', f'--results={tmp_path}/kept')
    assert (code, out) == (0, f'results: {tmp_path}/kept/README.md\n'), err
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob('*')} == before
    text = (tmp_path / 'kept' / 'README.md').read_text()
    records = trials.records_of(workdir)[1]
    told = ('6 of 6 trainings finished, seeds 0', records[0].run['machine'], records[0].run['versions'], 'Clutter is a demonstration')
    assert all(part in text for part in told) and str(workdir) not in text
    assert (workdir / 'depth.md').read_text() in text and (tmp_path / 'kept' / 'depth.csv').read_text() == (
        workdir / 'depth.csv'
    ).read_text()
    assert (
        all((tmp_path / 'kept' / name).is_file() for name in re.findall(r'\]\((figures/\w+\.png)\)', text))
        and text.count('](figures/') == 2
    )
    code, _, err = ran('report', f'--workdir={workdir},{workdir}', f'--results={tmp_path}/kept')
    assert code == 2 and err.count('\n') == 1


@pytest.mark.slow
def test_a_partial_table_is_rendered_with_its_gaps(workdir, tmp_path):
    records = trials.records_of(workdir)[1]
    gone = [records[0]._replace(state='failed', error='the loss is not finite', result=None), *records[1:]]
    book = as_book(tmp_path, gone)
    rendered = depth_ablation.render(book)
    table = (tmp_path / 'depth.md').read_text()
    assert 'seed 0 failed: the loss is not finite' in table and all(row in table for row in (depth.WITHOUT_34, depth.WITHOUT_7))
    assert [heading for heading, _ in rendered.sections][:1] == ['Trained from scratch']


@pytest.mark.slow
@pytest.mark.parametrize('select', ['', 'holdout'])
def test_a_grid_has_a_row_for_each_point_or_the_chosen_one(workdir, tmp_path, select):
    records = [record for record in trials.records_of(workdir)[1] if not record.part]
    points = [record._replace(point=f'data.batch_size={size}') for size in (32, 64) for record in records]
    worse = {**records[1].result, 'holdout': {**records[1].result['holdout'], 'error': 2.0}}
    points[1] = points[1]._replace(result=worse)  # the first point of one row; elsewhere the first of equals is chosen
    shown = trials.selected(points) if select else points
    book = as_book(tmp_path, shown, select)
    headings = [heading for heading, _ in depth_ablation.render(book).sections]
    table = (tmp_path / 'depth.csv').read_text().splitlines()
    assert len(table) == 1 + (3 if select else 6) and all('3.0' in line for line in table if depth.WITHOUT_34 in line)
    if select:
        chosen = {line.split('"')[1] if '"' in line else line.split(',')[0]: 'data.batch_size=64' in line for line in table[1:]}
        assert chosen == {depth.BASE: False, depth.WITHOUT_34: True, depth.WITHOUT_7: False} and 'Claims' in headings
    else:
        assert 'Claims' not in headings and sum('(data.batch_size=64)' in line for line in table) == 3


def test_with_a_grid_there_are_no_lesions(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rehearsal, 'rehearsed', lambda config, found: rehearsal.Rehearsal(1.0, 0, 1))
    depth_ablation.main(small(tmp_path / 'x', '--dry_run', '--config.trials.grid=data.batch_size=16,32'))
    assert not any(line.startswith('refit') for line in capsys.readouterr().out.splitlines())


def test_the_plan_lists_every_trial_and_does_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rehearsal, 'rehearsed', lambda config, found: rehearsal.Rehearsal(3600.0, 0, 1, 60.0))
    depth_ablation.main(small(tmp_path / 'x', '--dry_run', '--config.trials.seeds=2'))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 14 and all('missing' in line and 'GB' in line for line in lines[:-2])
    assert lines[0].count('6 steps') == 1 and '6 h 00 min' in lines[0] and 'reduced' in lines[0]
    devices = len(jax.local_devices())
    time, disk = lines[-2].split('; ')
    assert lines[-1].startswith('beside the steps about ') and lines[-1].endswith(' to compile the steps')
    assert time == f'12 trials, {54 // devices} h {54 * 60 // devices % 60:02d} min in steps to go on {devices} devices'
    assert disk.startswith('up to ') and disk.endswith(' GB of checkpoints')
    assert not (tmp_path / 'x').exists()


def test_the_plan_says_the_epochs_that_fit_a_budget(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rehearsal, 'rehearsed', lambda config, found: rehearsal.Rehearsal(1.0, 0, 1))
    monkeypatch.setattr(parallel, 'local_devices', lambda count=None: jax.local_devices()[:1])
    arguments = [f'--config={CONFIG}:smoke', '--config.data.examples=320', '--config.trials.budget=1h', '--dry_run']
    given = command.parse('depth_ablation', '', [*arguments, f'--workdir={tmp_path}/x'], depth_ablation.FIELDS)
    depth_ablation.main(given)
    flags = capsys.readouterr().out.splitlines()[-1].partition(': ')[2].split()
    again = command.parse('depth_ablation', '', [*arguments, *flags, f'--workdir={tmp_path}/x'], depth_ablation.FIELDS)
    # An epoch of each of five rows is ten steps of a second, and so is a refit: with a tenth to spare, 63 epochs fit into an hour.
    assert again.config.schedule.epochs == 63 and again.config.schedule.warmup.epochs == pytest.approx(6.3)
    with pytest.raises(ConfigError, match='fixed length'):
        depth_ablation.main(command.parse('depth_ablation', '', [*arguments, '--config.trials.budget=50s'], depth_ablation.FIELDS))


def _rows(scale):
    return recipes.load(f'{CONFIG}:{scale}').rows


@pytest.mark.parametrize('scale', ['mnist', 'cifar10', 'imagenette', 'imagenet2012'])
def test_the_twelve_rows_are_the_published_ones(scale):
    rows = _rows(scale)
    assert list(rows) == [record.key.partition('/')[2] for record in depth.published_rows('zf table 3')][::3]
    if scale == 'imagenet2012':
        assert [zoo.architecture(how['architecture']) for how in rows.values()] == [zoo.architecture(text) for _, text in zoo.TABLE3]


def _row(label, parameters, errors, problem=''):
    test = dict(enumerate(errors))
    return depth.Row(label, '', parameters, test, test, {}, {}, {}, '', problem, dict.fromkeys(test), 10)


def test_top_5_sources_are_judged_on_top_5_where_it_exists():
    papers = {record.key.partition('/')[2]: record.value for record in depth.published_rows('zf table 3') if record.quantity == 'val top-5'}
    errors = {label: {seed: papers[label] + 0.01 * seed * (1 + i) for seed in range(3)} for i, label in enumerate(depth.DECK)}
    turned = {label: {seed: 60 - value for seed, value in of.items()} for label, of in errors.items()}
    ranks = {seed: OnImages('p', np.random.default_rng(seed).integers(0, 9, 80)) for seed in range(3)}
    for classes, verdict in ((100, 'reproduced'), (10, 'contradicted')):
        rows = [
            depth.Row(label, '', 9, {}, turned[label], errors[label] if classes == 100 else {}, {}, {}, '', '', ranks, classes)
            for label in depth.DECK
        ]
        found = depth.judged(rows, False)
        assert [found[place].verdict for place in (0, 1, 3)] == [verdict] * 3
        assert {one.claim.quantity for one in found} == {'top-1 error' if classes == 10 else 'top-5 error'}
        words = claims.table(found).rows[0]['quantity']
        assert ('top-1 here' in words and 'only 10 classes' in words) == (classes == 10)
        (line,) = [line for line in depth.table(rows, '').rows if line['row'] == depth.WITHOUT_7]
        assert line['images'].note == 'the same on every image' and ('difference5' in line) == (classes == 100)
        assert line['difference'].mean == pytest.approx(-0.3, abs=0.2)
    unkept = [row._replace(images=dict.fromkeys(ranks)) for row in rows]
    assert [line['images'].note for line in depth.table(unkept, '').rows if 'images' in line] == ['not kept by image'] * 4


def test_verdicts_follow_from_the_errors():
    papers = {record.key.partition('/')[2]: record.value for record in depth.published_rows('zf table 3') if record.quantity == 'val top-5'}
    rows = [_row(label, 10, [papers[label] + 0.01 * seed * (1 + i) for seed in range(3)]) for i, label in enumerate(depth.DECK)]
    assert [one.verdict for one in depth.judged(rows, False)] == ['reproduced'] * 5  # the paper reproduces itself
    assert {one.verdict for one in depth.judged(rows, True)} == {'no verdict'}
    table = depth.table(rows, '')
    four = next(row for row in table.rows if row['row'] == depth.WITHOUT_3467)
    assert four['deck'] == 33.5 and four['paper_difference'] == 32.0 and four['difference'].mean == pytest.approx(32.0, abs=0.1)
    assert [one.verdict for one in depth.judged([*rows[:-1], _row(depth.WITHOUT_3467, 1, [1, 2, 3], 'reduced')], False)][0] == 'no verdict'
