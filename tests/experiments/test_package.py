"""What is installed is all of it, requires what the checkout requires, and starts without what only drawing needs."""

import os
import pathlib
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

from cnn_research.errors import ConfigError
from experiments.launch import cli, command, recipes

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())


def required(name):
    return {line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith('#')}


def test_the_requirements_files_say_what_the_package_says():
    extras = PROJECT['project']['optional-dependencies']
    assert required('requirements.txt') == {*PROJECT['project']['dependencies'], *extras['dev'], *extras['fast'], *extras['traditional']}
    assert required('benchmarks/requirements.txt') == set(extras['bench'])
    (jax,) = [line for line in PROJECT['project']['dependencies'] if line.startswith('jax>')]
    assert extras['cuda'] == [jax.replace('jax', 'jax[cuda13]', 1)]


def test_the_demo_installs_quietly_and_ends_by_saying_what_to_open():
    lines = (ROOT / 'Makefile').read_text().split('\ndemo: ')[1].split('\n\n')[0].splitlines()
    workdir = re.search(r'--workdir=(\S+)', lines[-2])[1]
    assert lines[-1] == f'\t@echo "Now open $(CURDIR)/{workdir}/report.html in a browser."'
    (install,) = re.findall(r'^INSTALL := (.*)$', (ROOT / 'Makefile').read_text(), re.M)
    assert install.count('--quiet') == 2 and '--disable-pip-version-check' in install  # warnings are said at one --quiet


def test_every_room_is_packed():
    setuptools = PROJECT['tool']['setuptools']
    folders = {str(path.parent.relative_to(ROOT)) for room in ('cnn_research', 'experiments') for path in (ROOT / room).rglob('*.py')}
    places = {setuptools['package-dir'].get(package, package.replace('.', '/')) for package in setuptools['packages']}
    assert places == folders | {'configs'}
    data = {path for path in (ROOT / 'cnn_research' / 'data').iterdir() if path.is_file()}
    assert data and setuptools['package-data']['cnn_research.data'] == ['*']


def test_the_authors_are_those_who_are_cited():
    cited = (ROOT / 'CITATION.cff').read_text()
    assert all(f'name: {author["name"]}' in cited for author in PROJECT['project']['authors'])


@pytest.mark.slow
def test_the_wheel_runs_in_any_folder(tmp_path):
    wheel = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', str(tmp_path), str(ROOT)]
    subprocess.run(wheel, check=True, cwd=tmp_path)
    (built,) = tmp_path.glob('*.whl')
    with zipfile.ZipFile(built) as packed:
        packed.extractall(tmp_path / 'site')
    assert (tmp_path / 'site' / 'cnn_research' / 'data' / 'digits.npz').is_file() and not (tmp_path / 'site' / 'configs').exists()
    line = 'from experiments.launch.cli import main; main()'
    mine = {**os.environ, 'PYTHONPATH': str(tmp_path / 'site')}
    plan = [sys.executable, '-c', line, 'train', '--config=configs/zfnet.py:smoke', '--dry_run']
    done = subprocess.run(plan, cwd=tmp_path, env=mine, capture_output=True, text=True, check=True)
    assert 'zfnet_32' in done.stdout


# The script.


def script(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['cnn-research', *arguments])
    monkeypatch.delitem(sys.modules, 'experiments.describe', raising=False)  # runpy warns of a module that is imported already
    cli.main()


def test_list_names_every_command_and_every_scale(monkeypatch, capsys):
    script(monkeypatch, 'list')
    told = capsys.readouterr().out.splitlines()
    for name in command.names():
        (line,) = [line for line in told if line.split()[:1] == [name]]
        assert len(line.split()) > 4
    for file, path in recipes.shipped().items():
        (line,) = [line for line in told if line.split()[:1] == [file]]
        assert line.endswith(', '.join(recipes.scales(path)))


def test_the_script_runs_a_command_as_python_does(monkeypatch, capsys):
    script(monkeypatch, 'describe', '--architecture=mlp_300')
    assert 'mlp_300' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'), [(['trian'], 'Did you mean train?'), (['list', 'x'], "not 'x'"), (['describe', '--x=1'], 'x')]
)
def test_the_script_refuses_on_one_line(arguments, message, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        script(monkeypatch, *arguments)
    out, err = capsys.readouterr()
    assert (stopped.value.code, out, err.count('\n')) == (2, '', 1) and message in err


# Start-up.


def loaded(code):
    """Of the packages that only drawing or data sets need, and jax, those that are loaded after the code."""
    heavy = {'jax', 'matplotlib', 'scipy.stats', 'tensorflow', 'tensorflow_datasets', 'grain'}
    code = f'import sys\ntry:\n    {code}\nexcept SystemExit: pass\nprint("\\n", sorted({heavy} & set(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].strip()


def test_no_command_loads_what_only_drawing_needs_before_it_draws():
    assert loaded(f'import {", ".join(f"experiments.{name}" for name in command.names())}') == "['jax']"


def test_listing_and_reading_a_command_line_need_no_jax():
    code = (
        "from experiments.launch import cli, command; cli.listing(); command.parse('train', 'configs/zfnet.py:smoke', ['--config.seed=1'])"
    )
    assert loaded(code) == '[]'


# Somebody's own config files.

GOOD = """
from configs import _family as family
SCALES = ('mine',)
def get_config(scale):
    config = family.trained('smoke', 'zfnet_32', 0.01, 3.0, 0.5, 2.0)
    config.seed = 7
    return config
"""


def test_a_config_file_is_read_wherever_it_lies(tmp_path, monkeypatch):
    (tmp_path / 'mine.py').write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    before = dict(sys.modules)
    for name in ('mine.py', str(tmp_path / 'mine.py:mine')):
        recipe = recipes.load(name)
        assert (recipe.label, recipe.config['seed'], recipe.config['data.examples']) == ('mine-mine', 7, 2000)
    assert not {name for name in sys.modules if name.startswith('configs')} - set(before)
    assert recipes.load('configs/zfnet.py:smoke').config['architecture'].startswith('zfnet_32')


def test_the_file_beside_it_comes_before_the_shipped_one(tmp_path):
    (tmp_path / 'mine.py').write_text(GOOD)
    text = (recipes.FOLDER / '_family.py').read_text()
    (tmp_path / '_family.py').write_text(text.replace("'examples': 2000", "'examples': 1500"))
    assert recipes.load(str(tmp_path / 'mine.py')).config['data.examples'] == 1500
    assert recipes.load('configs/zfnet.py:smoke').config['data.examples'] == 2000


BROKEN = {
    'SCALES = (': 'line 1: SyntaxError',
    'import nowhere_to_be_found': 'line 1: ModuleNotFoundError',
    'from configs import nothing': 'line 1: ImportError',
    'x = 1\nx.y = 2': 'line 2: AttributeError',
    'raise SystemExit(3)': 'line 1: SystemExit',
    "SCALES = ('a',)\ndef get_config(scale):\n    return {}[scale]": 'line 3: KeyError',
    "SCALES = ('a',)\ndef get_config(scale):\n    return 7": 'mapping',
    "SCALES = 'a'\ndef get_config(scale):\n    return {}": 'SCALES',
    "SCALES = ('a',)": 'get_config',
    "SCALES = ('a',)\ndef get_config(scale):\n    return {}\ndef get_rows(scale):\n    return {'row': 'zfnet'}": 'get_rows',
    '\x00': 'SyntaxError',
}


@pytest.mark.parametrize('text', BROKEN)
def test_a_broken_config_file_is_one_line_with_its_place(text, tmp_path):
    (tmp_path / 'mine.py').write_text(text)
    with pytest.raises(ConfigError, match=BROKEN[text]) as refused:
        recipes.load(str(tmp_path / 'mine.py'))
    assert 'mine.py' in str(refused.value) and '\n' not in str(refused.value)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('README.md', "'README.md' is no config file"),
        ('configs', "'configs' is no config file"),
        ('zfnet:smoke', r'Did you mean configs/zfnet\.py\?'),
        ('alexnt.py', r'Did you mean configs/alexnet\.py\?'),
        ('x' * 5000 + '.py', 'there is no config file'),
        ('', 'there is no config file'),
        ('configs/_family.py', 'must define SCALES'),
    ],
)
def test_what_is_no_config_file_is_refused_with_those_that_are(name, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=message) as refused:
        recipes.load(name)
    assert len(str(refused.value)) < 700
