"""The pages that `make docs` makes of the docstrings: they can be made of every room, and read as they were written."""

import ast
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / 'cnn_research').rglob('*.py'))
RECIPE = re.search(r'\n\t(.*-m pdoc .*)\n', (ROOT / 'Makefile').read_text())[1]


def docstrings(path):
    """{name: docstring} of what a page shows of a file."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    told = {getattr(node, 'name', 'module'): ast.get_docstring(node) for node in nodes}
    return {name: text for name, text in told.items() if text and not name.startswith('_')}


def test_docstrings_read_in_markdown_as_in_the_file():
    wrong = []
    for path in LIBRARY:
        for name, text in docstrings(path).items():
            for line in re.sub(r'`[^`]*`', '', text).splitlines():
                column = re.search(r'\S {3,}\S', line) and not line.startswith('    ')  # would run into one paragraph
                tag = re.search(r'<[a-zA-Z/!]', line)  # would be markup
                starred = re.search(r'(^|\s)[*_]\w[^*_]*[*_](\s|$)', line)  # would be emphasis, without its signs
                wrong += [f'{path.name}, {name}: {line}'] if column or tag or starred else []
    assert wrong == []


def test_the_first_page_names_what_is_there():
    for name in re.findall(r'`(cnn_research[\w.]*)`', docstrings(ROOT / 'cnn_research' / '__init__.py')['module']):
        *home, last = name.split('.')
        place = ROOT.joinpath(*home, last)
        defined = ROOT.joinpath(*home).with_suffix('.py')
        assert place.is_dir() or place.with_suffix('.py').is_file() or re.search(rf'^(class|def) {last}\b', defined.read_text(), re.M), name


def test_the_makefile_installs_what_the_extra_names():
    (needed,) = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['optional-dependencies']['docs']
    assert f"'{needed}'" in (ROOT / 'Makefile').read_text() and 'build/docs' in RECIPE
    assert 'build/' in (ROOT / '.gitignore').read_text().split()


@pytest.mark.slow
def test_every_room_has_a_page_and_none_warns(tmp_path):
    pytest.importorskip('pdoc', reason="pdoc is not installed: make docs, or pip install 'cnn-research[docs]'")
    words = RECIPE.replace('build/docs', str(tmp_path)).split()[1:]
    proxy = dict.fromkeys(('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'), 'http://127.0.0.1:9')  # no network
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env={**os.environ, **proxy}, capture_output=True, text=True)
    assert done.returncode == 0 and 'Warn' not in done.stderr, done.stderr[-3000:]
    # A package that says what it shows (__all__) shows it on its own page.
    told = [path for path in LIBRARY if path.name == '__init__.py' or '__all__ =' not in (path.parent / '__init__.py').read_text()]
    names = {path.relative_to(ROOT).with_suffix('') for path in told}
    pages = {path.relative_to(tmp_path).with_suffix('') for path in tmp_path.rglob('*.html')} - {pathlib.Path('index')}
    assert pages == {name.parent if name.name == '__init__' else name for name in names}
    text = (tmp_path / 'cnn_research' / 'architecture.html').read_text()
    assert 'Zeiler &amp; Fergus 2013, Table 3' in text and not re.search(r'(src|href)="https?://(?!pdoc\.dev)', text)
