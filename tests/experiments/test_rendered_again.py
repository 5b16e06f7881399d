"""Every kind of workdir becomes a page again from what it holds, without a network, or is refused on one line that says what would."""

import json
import re

import browser
import numpy as np
import pytest
import small_runs
from finished import PERCEPTRON, error, recorded
from page_reader import EVIL, Reader, scripts

from cnn_research import files, records
from cnn_research.errors import CheckpointError, ConfigError, ResearchError
from cnn_research.reporting import figures, page
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table
from experiments.launch import outcome, pages


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A finished training, and one that was stopped."""
    home = tmp_path_factory.mktemp('trained')
    small_runs.fit(home / 'whole', small_runs.config(schedule__steps=6, log__every__steps=1))
    small_runs.fit(home / 'stopped', small_runs.config(schedule__steps=6, log__every__steps=1), after=3)
    return home


def test_a_training_is_a_page_from_its_records(trained, tmp_path):
    text = pages.report([trained / 'whole'], tmp_path)
    result = json.loads((trained / 'whole' / 'result.json').read_text())
    read = Reader(text)
    assert f'{100 * result["test"]["top1_error"]:.2f} % test error.' in read.text and result['key'] in read.text and len(scripts(text)) == 1
    assert re.findall('<h2>([^<]*)', text)[:3] == ['Result', 'Learning curves', 'Confusion'] and 'peak memory of its process' in read.text
    assert {path.name for path in tmp_path.rglob('*.*')} >= {'result.csv', 'error.png', 'loss.png', 'confusion.png'}
    assert not (trained / 'whole' / 'figures').exists()  # a page elsewhere leaves the workdir as it is


def test_a_training_that_is_not_finished_says_how_far_it_is(trained, tmp_path):
    read = Reader(pages.report([trained / 'stopped'], tmp_path))
    assert 'not finished, 3 steps so far.' in read.text and 'Learning curves' in read.text and 'test error' not in read.text


def test_the_network_that_a_command_trained_for_itself_has_its_commands_record(tmp_path):
    recorded(tmp_path / 'network', 'key', PERCEPTRON, test=error(0.5))
    (tmp_path / 'network' / 'run.json').rename(tmp_path / 'run.json')
    assert '<dd>a machine</dd>' in pages.report([tmp_path / 'network'])


@pytest.mark.parametrize('file', ['config.json', 'result.json', 'layer1.npz'])
def test_a_damaged_training_is_refused(file, tmp_path):
    recorded(tmp_path, 'key', PERCEPTRON, test=error(0.5))
    files.write(tmp_path / 'layer1.npz', lambda written: np.savez(written, kernel=np.ones((3, 3, 1, 4))))
    pages.report([tmp_path])
    small_runs.flip(tmp_path / file) if file != 'layer1.npz' else files.write(tmp_path / file, b'PK')
    with pytest.raises(CheckpointError, match=file) as told:
        pages.report([tmp_path])
    assert '\n' not in str(told.value)


@pytest.fixture
def looked(tmp_path):
    """What a command leaves that looks into a network: a figure of pixels, one of lines, a table and words of a stranger."""
    home = tmp_path / 'looked'
    shelf = Shelf(home, 'occlusion', ())
    markup = shelf.figure('filters', figures.filter_grid(np.random.default_rng(0).normal(size=(3, 3, 3, 4))), EVIL)
    markup += shelf.figure('drift', figures.learning_curves([('a', [0, 1], [1.0, 0.5])], 'x', 'y'), 'lines')
    markup += shelf.table('numbers', Table([Column('row'), Column('n')], [{'row': EVIL, 'n': 1}]))
    outcome.leave(home, page.Report('occlusion', f'Looking {EVIL}', 'A lead.', [('One', markup), ('Two', '<p>x</p>')], 'python -m x'))
    return home


def test_what_a_command_drew_becomes_the_same_page(looked):
    before = (looked / 'report.html').read_text()
    (looked / 'report.html').unlink()
    assert pages.report([looked]) == before and 'data:image/png;base64,' in before
    assert 'base64' not in (looked / 'page.json').read_text().replace('image/svg+xml;base64', '')  # pixels lie in their file alone


@pytest.mark.parametrize('damage', ['picture', 'record', 'missing', 'link'])
def test_a_page_is_not_made_of_what_was_not_written(looked, damage):
    if damage == 'picture':
        small_runs.flip(looked / 'figures' / 'filters.png')
    elif damage == 'missing':
        (looked / 'figures' / 'filters.png').unlink()
    elif damage == 'record':
        files.write(looked / 'page.json', (looked / 'page.json').read_text().replace('A lead', 'Another'))
    else:
        kept = records.read(looked / 'page.json')
        records.write(looked / 'page.json', {**kept, 'pictures': {'../secret.png': 'x'}})
    with pytest.raises(CheckpointError, match=r'page\.json|filters\.png') as told:
        pages.report([looked])
    assert '\n' not in str(told.value) and (damage == 'record' or 'python -m x' in str(told.value))


def test_workdirs_of_every_kind_stand_in_one_page(looked, trained, tmp_path):
    recorded(tmp_path / 'table' / 'trials' / 'key0', 'key0', PERCEPTRON, test=error(0.5))
    listed = {'part': '', 'row': 'smoke', 'point': '', 'seed': 0, 'key': 'key0', 'protocol': 'p', 'reduced': False}
    about = {'experiment': 'train', 'label': 'smoke', 'line': 'python -m experiments.train', 'options': {}}
    records.write(tmp_path / 'table' / 'plan.json', {**about, 'trials': [listed]})
    homes = [looked, trained / 'whole', tmp_path / 'table', looked]
    text = pages.report(homes, tmp_path / 'aside')
    assert re.findall(r'<section class="report" id="([^"]*)"', text) == ['occlusion-1', 'train-2', 'train-3', 'occlusion-4']


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ({}, 'plan.json'),
        (
            {'README.md': '# Occlusion\n\n- command: `python -m experiments.occlusion --config.network=W`\n'},
            'experiments.occlusion --config',
        ),
        ({'networks/abc/config.json': '{}'}, 'experiments.verification'),
        ({'proposals/x.npz': ''}, 'experiments.detection'),
        ({'network/config.json': '{}'}, 'name {}/network'),
    ],
)
def test_a_folder_without_a_page_says_what_would_leave_one(content, said, tmp_path):
    for name, text in content.items():
        files.write(tmp_path / name, text)
    with pytest.raises(ConfigError) as told:
        pages.report([tmp_path])
    assert said.format(tmp_path) in str(told.value) and '\n' not in str(told.value)


def table_of(home, rows, options=None):
    """A table: {row: [(point, config, holdout error or why it failed) of each seed]}, with curves."""
    listed = []
    for row, trials in rows.items():
        for point, config, found in trials:
            key = f'k{len(listed)}'
            there, seed = home / 'trials' / key, config.get('seed', 0)
            if isinstance(found, str):
                files.write(there / 'error.json', json.dumps({'error': found}))
            else:
                recorded(there, key, {**PERCEPTRON, **config}, holdout=error(found), test=error(found))
            listed.append({'part': '', 'row': row, 'point': point, 'seed': seed, 'key': key, 'protocol': 'p', 'reduced': False})
            lines = [
                {'step': s, 'epoch': s / 2, 'role': role, 'loss': 1.0, 'error': 0.5 / s} for s in (1, 2) for role in ('train', 'holdout')
            ]
            if isinstance(found, str):
                files.write(there / 'metrics.jsonl', ''.join(json.dumps(line) + '\n' for line in lines))
    about = {'experiment': 'train', 'label': 'smoke', 'line': 'a line', 'options': options or {}}
    records.write(home / 'plan.json', {**about, 'trials': listed})
    return home


def trial_of(text, key):
    (found,) = re.findall(rf'<section class="trial" id="[^"]*-{key}">(.*?)</section>', text, re.S)
    return Reader(found)


def test_a_trial_shows_what_its_config_has_unlike_the_first_row_of_the_same_seed(tmp_path):
    rows = {
        'base': [('', {'seed': seed}, 0.5) for seed in (0, 1)],
        'wide': [('', {'seed': seed, 'data.batch_size': 50}, 0.25) for seed in (0, 1)],
    }
    text = pages.report([table_of(tmp_path, rows)])
    assert trial_of(text, 'k3').cells == ['field', 'this one', 'base, seed 1', 'data.batch_size', '50', '128']
    assert 'Config beside' not in trial_of(text, 'k1').text and '25.00 %' in trial_of(text, 'k3').text
    assert {'a machine', '1 min 30 s'} <= set(re.findall(r'<dd>([^<]*)', text))


def test_a_trial_that_failed_is_said_in_its_panel_with_the_curve_until_then(tmp_path):
    rows = {'sound': [('', {}, 0.5)], 'lost': [('', {}, f'the loss is not finite at step 3 {EVIL}; the first bad numbers are in layer1')]}
    text = pages.report([table_of(tmp_path, rows)])
    section = text[text.index('>Learning curves</h2>') :]
    (panel,) = [one for one in section.split('<div class="panel">') if '>lost</a>' in one]
    assert (
        panel.count('<polyline') == 2 and 'seed 0 failed: the loss is not finite at step 3' in Reader(panel[: panel.index('</div>')]).text
    )
    assert 'the first bad numbers are in layer1' in trial_of(text, 'k1').text


@pytest.mark.parametrize('select', ['', 'holdout'])
def test_a_grid_is_drawn_whether_or_not_a_point_was_chosen(select, tmp_path):
    rates = [(f'optimizer.learning_rate={rate}', {'optimizer.learning_rate': rate}, rate) for rate in (0.1, 0.2)]
    lost = ('optimizer.learning_rate=4.0', {}, 'it diverged')
    options = {'trials.select': select, 'trials.grid': 'optimizer.learning_rate=0.1,0.2,4.0'}
    text = pages.report([table_of(tmp_path, {'row': [*rates, lost]}, options)])
    assert ('The grid' if not select else 'Chosen on the holdout') in re.findall('<h2>([^<]*)', text)
    drawn = text[text.index('<figure class="panels one searched">') :].partition('</figure>')[0]
    assert drawn.count('<circle') == 2 and drawn.count('class="chosen"') == bool(select) and '4.0: seed 0 failed: it diverged' in drawn
    assert ('chosen 0.1: 10.00' in drawn) == bool(select)


def test_a_report_of_nothing_begun_has_no_curves(tmp_path):
    listed = {'part': '', 'row': 'a', 'point': '', 'seed': 0, 'key': 'k0', 'protocol': 'p', 'reduced': False}
    about = {'experiment': 'train', 'label': 'smoke', 'line': 'a line', 'options': {}}
    records.write(tmp_path / 'plan.json', {**about, 'trials': [listed]})
    assert 'Learning curves' not in pages.report([tmp_path])
    with pytest.raises(ResearchError, match='page.json'):
        pages.report([tmp_path / 'trials'])


@pytest.mark.slow
@pytest.mark.skipif(browser.PROGRAM is None, reason='no Chromium is installed')
@pytest.mark.parametrize('width', [1280, 390])
def test_a_browser_opens_a_trial_as_a_page_and_leads_back(width, tmp_path):
    rows = {'base': [('', {}, 0.5)], 'wide': [('', {'data.batch_size': 50}, 0.25)]}
    files.write(tmp_path / 'report.html', pages.report([table_of(tmp_path / 'table', rows)]))
    seen = "getComputedStyle(document.querySelectorAll('.trial')[1]).display"
    with browser.opened(tmp_path / 'profile') as shown:
        shown.size(width, 844)
        shown.open((tmp_path / 'report.html').as_uri())
        assert shown.ask(seen) == 'none' and shown.ask('document.documentElement.scrollWidth') <= width
        shown.click('.panel:nth-child(2) .title a')
        shown.wait("document.querySelectorAll('details')[1].open")  # the row's fold, which lists its trials
        shown.click('details[open] td a')
        shown.wait(f"{seen} === 'block'")
        place = "(({x, y, width, height}) => [x, y, width, height])(document.querySelectorAll('.trial')[1].getBoundingClientRect())"
        assert shown.ask(place) == [0, 0, width, 844]
        shown.click('.trial:target > p a')
        shown.wait(f"{seen} === 'none'")
        assert not shown.said
