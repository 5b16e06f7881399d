"""The explorer of a small network: its folder is whole, and a browser that opens it as a file shows what the library found."""

import csv
import io
import json
import re
import shutil

import browser
import numpy as np
import pytest
from page_reader import Reader
from PIL import Image
from small_runs import flip

from cnn_research import checkpoints, train
from cnn_research import config as configs
from cnn_research.data.sources import open_source
from cnn_research.errors import ArchitectureError, CheckpointError, ConfigError
from cnn_research.studies.looking import feature_maps, occlusion
from experiments import explore
from experiments.launch import command, exploring

NAMES = ('<b>one<b>', 'two & "2"', "it's three")
SETTINGS = {
    'architecture': 'zfnet_32 without(3,4,6,7) resized(1=4,2=6,5=5,8=3)',
    'initialization.kernel': 'he',
    'data.batch_size': 9,
    'data.holdout': 0.0,
    'data.normalization': 'mean_std',
    'schedule.epochs': 3,
    'optimizer.learning_rate': 0.02,
    'checkpoint.marks': '1,2',
    'checkpoint.keep': 1,
}


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    images, labels = open_source('clutter', 'test').read(np.arange(48))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        home = root / ('train' if number < 27 else 'test') / NAMES[label % 3]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(home / f'{number:02d}.png')
    workdir = tmp_path_factory.mktemp('network')
    train.fit(configs.update(configs.default(), {**SETTINGS, 'data.name': f'folder:{root}'}), workdir)
    return workdir


def explored(network, folder, *more):
    arguments = [f'--config.network={network}', f'--workdir={folder}', *more]
    given = command.parse('explore', 'configs/looking.py:smoke', arguments, explore.FIELDS)
    explore.main(given)
    return folder / explore.FOLDER


@pytest.fixture(scope='module')
def folder(network, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, 'stopper', lambda: lambda: False)
        more = ('--config.look.images=2,5', '--config.explore.units=4', '--config.explore.stride=8', '--config.explore.square=8')
        return explored(network, tmp_path_factory.mktemp('explored'), *more)


def told_by(folder):
    (data,) = re.findall(r'id="told">(.*?)</script>', (folder / 'index.html').read_text())
    return json.loads(data)


def files_in(told):
    """Every file that a page is told of."""
    if isinstance(told, dict):
        return {told['file']} if isinstance(told.get('file'), str) else set().union(*map(files_in, told.values()))
    return set().union(*map(files_in, told)) if isinstance(told, list) else set()


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.slow
def test_the_folder_is_whole_and_holds_nothing_else(folder):
    told, read = told_by(folder), Reader((folder / 'index.html').read_text())
    units = {unit['file'] for layer in told['layers'] for unit in layer['units']}
    overviews = {sprite['file'] for layer in told['layers'] for sprite in layer['overviews'].values()}
    named = units | overviews | files_in(told['ways']) | files_in(told['images'])
    there = {path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file()}
    assert named | {'index.html', 'units.csv'} == there and len(units) == 4 + 4 + 4 + 3
    assert set(read.addresses) == {'data:,', 'units.csv'} and 'b' not in read.tags
    for layer in told['layers']:
        tile = layer['tile']
        for unit in layer['units']:
            assert pixels(folder / unit['file']).shape[:2] == (3 * tile['down'], 18 * tile['across'])
    assert sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) < 1e6


@pytest.mark.slow
def test_the_winners_are_those_of_the_library(folder, network):
    told, arrays = told_by(folder), np.load(folder.parent / 'arrays.npz')
    steps = checkpoints.steps(network)
    assert [one['step'] for one in told['checkpoints']] == steps == [3, 6, 9]
    assert [one['epoch'] for one in told['checkpoints']] == [1, 2, 3] and told['classes'] == sorted(NAMES)
    trained = checkpoints.load(network, 3)
    source = open_source(trained.config['data.name'], 'test', None, trained.class_names)
    images, labels = source.read(np.arange(source.num_examples))
    peaks = trained.features(np.stack(images), ['layer5.relu'])['layer5.relu'].max((1, 2))
    (layer,) = [one for one in told['layers'] if one['number'] == 5]
    values = arrays['step 9 layer5.relu values'].mean(1)
    assert {unit['number'] for unit in layer['units']} == set(np.argsort(-values, kind='stable')[:4].tolist())
    with open(folder / 'units.csv', newline='') as file:
        rows = [row for row in csv.DictReader(file) if row['tap'] == 'layer5.relu' and row['step'] == '3']
    for unit in layer['units']:
        number = unit['number']
        best = np.argsort(-peaks[:, number], kind='stable')[:9]
        assert [one['image'] for one in unit['winners'][0]] == best.tolist()
        assert [one['class'] for one in unit['winners'][0]] == labels[best].tolist()
        np.testing.assert_allclose([one['value'] for one in unit['winners'][0]], peaks[best, number], rtol=1e-3)
        own = [row for row in rows if int(row['unit']) == number]
        assert [int(row['image']) for row in own] == best.tolist() and {row['class'] for row in own} <= set(NAMES)


@pytest.mark.slow
def test_a_patch_is_the_window_of_its_image(folder, network):
    told, arrays, trained = told_by(folder), np.load(folder.parent / 'arrays.npz'), checkpoints.load(network)
    source, (layer, *_) = open_source(trained.config['data.name'], 'test', None, trained.class_names), told['layers']
    unit, tile = layer['units'][0], layer['tile']
    sheet = pixels(folder / unit['file'])
    for rank in range(9):
        image, row, column = (arrays[f'step 9 {layer["tap"]} {name}'][unit['number'], rank] for name in ('examples', 'rows', 'columns'))
        top, left, bottom, right = trained.architecture.window(layer['tap'], int(row), int(column))
        first, begin, last, end = unit['winners'][2][rank]['box']
        down, across = 2 * tile['down'], 2 * rank * tile['across']
        drawn = sheet[down + first : down + last, across + begin : across + end]
        np.testing.assert_array_equal(drawn, source.read([int(image)])[0][0][top:bottom, left:right])


@pytest.mark.slow
def test_images_under_the_square_and_on_their_way_are_those_of_the_library(folder, network):
    told, trained = told_by(folder), checkpoints.load(network)
    source = open_source(trained.config['data.name'], 'test', None, trained.class_names)
    images, labels = source.read([2, 5])
    under = told['occlusion']
    found = occlusion.occlude(trained_network(trained), trained.variables, np.stack(images), labels, under['tap'], occlusion.Square(8, 8))
    assert under['rows'] == found.rows.tolist() and under['tap'] == 'layer5.relu'
    for place, image in enumerate(under['images']):
        np.testing.assert_allclose(image['probability'], found.under.probability[place], atol=1e-4)
        np.testing.assert_allclose(image['activation'], found.under.activation[place], rtol=1e-3)
        assert image['predicted'] == found.under.predicted[place].tolist() and image['map'] == found.number[place]
    way = told['ways'][1]
    passage = feature_maps.passage(trained_network(trained), trained.variables, images[1], 2)
    (layer,) = [one for one in way['layers'] if one['number'] == 2]
    assert [stage['name'] for stage in layer['stages']] == [name.replace('_', ' ') for name in passage.stages]
    assert layer['maps'] == feature_maps.strongest(passage.stages['convolution'], 12)
    sheet = pixels(folder / layer['stages'][1]['file'])
    stage, map_ = layer['stages'][1], passage.stages['relu'][..., layer['maps'][0]]
    drawn = sheet[stage['top'] : stage['top'] + stage['height'], : stage['width']]
    np.testing.assert_allclose(drawn, 255 * map_ / map_.max(), atol=1)
    np.testing.assert_allclose([share for _, share in way['says']], np.sort(trained.predict(images[1][None])[0])[::-1], atol=1e-4)


def trained_network(trained):
    return explore.looking.tasks.network(trained.config)


@pytest.mark.parametrize(
    ('argument', 'message', 'error'),
    [
        ('--config.look.images=99', 'look.images', ConfigError),
        ('--config.explore.square=33', 'size of the square is 33 px, not from 1 to 32', ConfigError),
        ('--config.explore.stride=40', 'stride of the square is 40 px', ConfigError),
        ('--config.explore.units=0', 'explore.units', ConfigError),
        ('--config.explore.side=1000', 'explore.side', ConfigError),
        ('--config.explore.unit=3', 'Did you mean explore.units', ConfigError),
        ('--config.network={0},{0}x', 'explore looks into one', ConfigError),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line_before_any_work(network, tmp_path, argument, message, error):
    with pytest.raises(error, match=message) as refused:
        explored(network, tmp_path / 'none', argument.format(network))
    assert '\n' not in str(refused.value) and not (tmp_path / 'none').exists()


@pytest.mark.slow
def test_what_would_make_the_folder_too_large_is_left_out_by_the_rule_that_is_said(network, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(command, 'stopper', lambda: lambda: False)
    whole = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())
    limit = 0.75 * whole / 1e6
    more = ('--config.look.images=2,5', '--config.explore.units=4', '--config.explore.stride=8', '--config.explore.square=8')
    small = explored(network, tmp_path / 'small', *more, f'--config.explore.megabytes={limit}')
    told, arrays = told_by(small), np.load(tmp_path / 'small' / 'arrays.npz')
    counts = {len(layer['units']) for layer in told['layers']}
    assert len(counts) == 1 and 0 < min(counts) < 4
    for layer in told['layers']:
        values = arrays[f'step 9 {layer["tap"]} values'].mean(1)
        assert [one['number'] for one in layer['units']] == sorted(np.argsort(-values, kind='stable')[: min(counts)].tolist())
    assert sum(path.stat().st_size for path in small.rglob('*') if path.is_file()) <= 1e6 * limit
    assert f'Of these, {min(counts)} of each layer are shown' in (small / 'index.html').read_text()
    assert {f'layer5_unit{one["number"]}' for one in told['layers'][2]['units']} == {p.stem for p in small.rglob('layer5_unit*')}
    with pytest.raises(ConfigError, match='explore.megabytes=0.1, but with one unit of each layer'):
        explored(network, tmp_path / 'none', *more, '--config.explore.megabytes=0.1', '--config.explore.side=256')
    assert not (tmp_path / 'none' / 'explorer').exists()


def test_the_slider_ends_at_the_step_that_is_looked_at(network, tmp_path):
    assert exploring.steps(str(network), 9) == [3, 6] and exploring.steps(str(network), 6) == [3]
    assert exploring.steps(str(tmp_path / 'weights.npz'), 0) == []


def test_a_damaged_checkpoint_is_found_before_anything_is_drawn(network, tmp_path, monkeypatch):
    other = shutil.copytree(network, tmp_path / 'other')
    flip(next((other / 'checkpoints').glob('*3/arrays.npz')))
    monkeypatch.setattr(explore, 'draw', lambda *_: pytest.fail('it drew'))
    with pytest.raises(CheckpointError, match='cannot be read'):
        explored(other, tmp_path / 'none')


def test_a_network_without_a_way_down_is_refused_before_it_is_trained(tmp_path):
    line = [f'--workdir={tmp_path / "none"}', '--config.architecture=perceptron', '--config.data.name=digits']
    with pytest.raises(ArchitectureError, match='sigmoid'):
        explore.main(command.parse('explore', 'configs/looking.py:smoke', line, explore.FIELDS))
    assert not (tmp_path / 'none').exists()


PIXELS = "(() => { const c = document.querySelector('%s'); return c.dataset.shown ?? ''; })()"


@pytest.mark.slow
@pytest.mark.skipif(browser.PROGRAM is None, reason='no Chromium is installed')
def test_a_browser_shows_it_from_the_folder_alone(folder, tmp_path):
    told = told_by(folder)
    layer = told['layers'][2]
    first, second, last = (layer['units'][place] for place in (0, 1, -1))
    with browser.opened(tmp_path) as page:
        page.size(1280, 900)
        page.open((folder / 'index.html').as_uri())
        shown = "[...document.querySelectorAll('canvas[data-wanted]')].every((one) => one.dataset.shown === one.dataset.wanted)"
        page.wait(shown)
        assert page.ask("document.querySelector('h2').textContent").startswith('Layer 1, unit')
        # A unit is clicked.
        page.click("nav a[href='#layer5']")
        page.wait(f'document.querySelector(\'.grid a[data-unit="{second["number"]}"]\')')
        page.click(f'.grid a[data-unit="{second["number"]}"]')
        title = f"document.querySelector('.unit h2').textContent === 'Layer 5, unit {second['number']}'"
        page.wait(f"location.hash === '#layer5/unit{second['number']}' && {title} && {shown}")  # the address is there before the page
        names = "[...document.querySelectorAll('.pair b')].map((one) => one.textContent)"
        assert page.ask(names) == [told['classes'][one['class']] for one in second['winners'][2]]
        assert page.ask("document.querySelectorAll('.pair canvas').length") == 18
        # The slider is moved.
        before = page.picture()
        page.ask("document.querySelector('#slider').focus()")
        page.press('ArrowLeft')
        page.press('ArrowLeft')
        page.wait(f"location.hash === '#layer5/unit{second['number']}/step3' && {shown}")
        assert page.ask("document.querySelector('#when').textContent") == 'epoch 1'
        assert page.ask("document.activeElement.id + document.activeElement.getAttribute('aria-valuetext')") == 'sliderepoch 1'
        assert page.ask(names) == [told['classes'][one['class']] for one in second['winners'][0]]
        assert page.ask(PIXELS % '.pair canvas') == f'{second["file"]} 0' and page.picture() != before
        assert page.ask("document.querySelectorAll('#views a[href*=step3]').length") == len(told['layers'])
        # Keys: back to the layer, through the grid, into a unit.
        page.press('Escape')
        page.wait("location.hash === '#layer5/step3'")
        page.wait(f"document.activeElement.dataset.unit === '{second['number']}'")
        page.press('ArrowLeft')
        assert page.ask('document.activeElement.dataset.unit') == str(first['number'])
        page.press('Enter')
        page.wait(f"document.querySelector('.unit h2').textContent === 'Layer 5, unit {first['number']}'")
        # An address from a colleague, of a unit that is there and one that is not.
        page.ask(f"location.hash = '#layer5/unit{last['number']}'")
        page.wait(f"document.querySelector('.unit h2')?.textContent === 'Layer 5, unit {last['number']}'")
        page.ask("location.hash = '#layer5/unit999'")
        page.wait("document.querySelector('.unit').textContent.includes('not among the 4 that are shown')")
        # The square follows the pointer, and the arrows.
        page.ask("location.hash = '#occlusion/1'")
        page.wait(f"document.querySelector('.board') && {shown}")
        image = told['occlusion']['images'][1]
        values = "[...document.querySelectorAll('#values dd')].map((one) => one.firstChild.textContent)"

        def of_place(row, column):
            return [f'{100 * image["probability"][row][column]:.1f} %', told['outputs'][image['predicted'][row][column]]]

        x, y, side = page.ask("(({x, y, width}) => [x, y, width])(document.querySelectorAll('.field canvas')[1].getBoundingClientRect())")
        page.point(x + 0.6 * side, y + 0.3 * side)  # the grid is 4 x 4
        assert page.ask(values)[::2] == of_place(1, 2)
        before = page.picture()
        page.ask("document.querySelector('.maps').focus()")
        page.press('ArrowDown')
        page.press('ArrowRight')
        page.wait(shown)
        assert page.ask(values)[::2] == of_place(2, 3) and page.picture() != before
        page.press('Escape')
        assert page.ask(values)[0] == f'{100 * image["clean"][1]:.1f} %'
        # An image on its way, and from a map to its unit.
        page.ask("location.hash = '#way/0'")
        page.wait(f"document.querySelector('.way') && {shown}")
        assert page.ask("document.querySelectorAll('.way .stage canvas').length") == sum(
            len(one['maps']) * len(one['stages']) for one in told['ways'][0]['layers'] if 'stages' in one
        )
        page.click('.way .stage a')
        page.wait("/^#layer1\\/unit/.test(location.hash) && document.querySelector('.unit h2')")
        # On a phone a unit takes the grid's place, nothing is wider than the screen, and the way back is a link.
        page.size(390, 844)
        page.open((folder / 'index.html').as_uri() + f'#layer5/unit{second["number"]}')
        page.wait(f"document.querySelector('.unit h2') && {shown}")
        assert page.ask("getComputedStyle(document.querySelector('.grid')).display") == 'none'
        for view in ('#layer1', '#layer5', f'#layer5/unit{second["number"]}', '#occlusion/0', '#way/1'):
            page.ask(f"location.hash = '{view}'")
            page.wait(shown)
            assert page.ask('document.documentElement.scrollWidth') <= 390
            page.ask(f"location.hash = '#layer5/unit{second['number']}'")
        page.wait("document.querySelector('.unit .all')")
        page.click('.unit .all')
        page.wait("getComputedStyle(document.querySelector('.grid')).display !== 'none' && location.hash === '#layer5'")
        page.wait(f"document.activeElement.dataset.unit === '{second['number']}'")
        page.size(390, 330)  # a unit far down is opened at its head
        page.click(f'.grid a[data-unit="{last["number"]}"]')
        page.wait(f"document.querySelector('.unit h2')?.textContent === 'Layer 5, unit {last['number']}'")
        top, bar = (
            page.ask(f"document.querySelector('{one}').getBoundingClientRect().{side}") for one, side in (('h2', 'top'), ('#bar', 'bottom'))
        )
        assert bar <= top + 1 < 330
        assert page.said == [] and Image.open(io.BytesIO(before)).size == (1280, 900)
        # What is missing is said.
        part = shutil.copytree(folder, tmp_path / 'part')
        (part / told['layers'][0]['overviews']['filter']['file']).unlink()
        page.open((part / 'index.html').as_uri())
        page.wait("document.querySelector('[role=alert]')?.textContent.includes('layer1_filter.png is missing')")
        assert page.said
