"""The page over a folder of runs: every run once, with what is known of it, whatever state it is in."""

import re

import pytest
import small_runs
from page_reader import EVIL, Reader, scripts

from cnn_research import config as configs
from cnn_research import trials
from cnn_research.errors import ConfigError
from cnn_research.reporting import figures, page
from experiments.launch import overview


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('runs')
    small_runs.fit(root / 'one' / 'single', small_runs.config())
    curve = figures.learning_curves([('a', [0, 1], [1.0, 0.5])], 'x', 'y')
    looked = page.page('Looking', f'A lead. {EVIL}', [('S', page.figure_html(curve, 'c'))], 'python')
    (root / 'looked').mkdir()
    (root / 'looked' / 'report.html').write_text(looked)
    made = [trials.Trial('', 'row', '', {}, configs.default(), f'{n:012d}', 'p', root / 'table' / 'trials' / f'{n:012d}') for n in range(3)]
    trials.write_plan(root / 'table', made, [False] * 3, {'experiment': 'depth_ablation'})
    (root / 'begun' / 'networks' / 'abcdef012345').mkdir(parents=True)
    (root / 'begun' / 'networks' / 'abcdef012345' / 'config.json').write_text('{}')
    (root / 'networks' / 'a#1 50%').mkdir(parents=True)  # no run, but a folder of runs
    (root / 'networks' / 'a#1 50%' / 'report.html').write_text(page.page('Odd', '', [('S', '')], 'python'))
    (root / 'nothing').mkdir()
    return root


def test_every_run_stands_there_once_with_what_is_known_of_it(folder):
    text = overview.write(folder).read_text()
    read = Reader(text)
    places = sorted(re.findall(r'\d\d:\d\d · ([^<]*)</p>', text))
    assert places == ['begun', 'looked', 'networks/a#1 50%', 'one/single', 'table'] and scripts(text) == []
    assert '0 of 3 trainings finished (3 missing)' in read.text and 'depth ablation' in read.text
    assert (
        f'A lead. {EVIL}' in read.text
        and './looked/report.html' in read.addresses
        and './networks/a%231%2050%25/report.html' in read.addresses
    )
    assert 'not finished' in read.text and 'Training' in read.text
    assert sum(address.startswith('data:image/svg') for address in read.addresses) == 1


def test_a_picture_of_pixels_is_small(folder):
    import numpy as np

    place = folder / 'looked' / 'report.html'
    before = place.read_text()
    grid = figures.filter_grid(np.random.default_rng(0).normal(size=(5, 5, 3, 64)))
    place.write_text(page.page('Filters', '', [('S', page.figure_html(grid, 'c'))], 'python'))
    text = overview.write(folder).read_text()
    place.write_text(before)
    (address,) = re.findall(r'src="(data:image/png[^"]*)"', text)
    assert len(address) < 200_000 and 'Filters' in Reader(text).text


def test_a_damaged_run_is_named_and_a_folder_without_any_refused(folder, tmp_path):
    plan = folder / 'table' / 'plan.json'
    before = plan.read_text()
    plan.write_text(before.replace('row', 'wor'))
    assert 'damaged: plan.json' in Reader(overview.write(folder).read_text()).text
    plan.write_text(before)
    for place in (tmp_path, tmp_path / 'none'):
        with pytest.raises(ConfigError, match='--index='):
            overview.write(place)
