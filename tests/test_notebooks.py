"""The notebooks: committed without what a run leaves, every name in them there, and run from top to bottom."""

import ast
import importlib
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from experiments.launch import command

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = {path.name: json.loads(path.read_text()) for path in sorted((ROOT / 'notebooks').glob('*.ipynb'))}
KERNEL = all(importlib.util.find_spec(name) for name in ('nbformat', 'nbclient', 'ipykernel'))
# What the tour says, below: from the network's row in the zoo to its test error and what its layers know.
SAID = {
    'tour.ipynb': (
        r'zfnet: 62,357,608 parameters',
        r'([\d.]+)% of 5,000 test images named wrong',
        r'^trained .*layer7 (\d+) %',
        r'before its training .*layer7 (\d+) %',
        r'([\d]+)% of the squared signal of 200 images lies in the box, which is (\d+)%',
    )
}
PICTURES = {'tour.ipynb': 8}


def cells(name, kind):
    return [cell for cell in NOTEBOOKS[name]['cells'] if cell['cell_type'] == kind]


def code(name):
    return [''.join(cell['source']) for cell in cells(name, 'code')]


def test_there_is_a_tour():
    assert 'tour.ipynb' in NOTEBOOKS and set(SAID) == set(PICTURES) == set(NOTEBOOKS)


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_a_notebook_is_committed_as_it_was_written(name):
    assert all(cell['outputs'] == [] and cell['execution_count'] is None for cell in cells(name, 'code'))
    assert all(cell['metadata'] == {} for cell in NOTEBOOKS[name]['cells'])  # neither times nor what is folded
    names = [cell['id'] for cell in NOTEBOOKS[name]['cells']]
    assert len(set(names)) == len(names) and NOTEBOOKS[name]['nbformat'] == 4
    assert set(NOTEBOOKS[name]['metadata']) == {'kernelspec', 'language_info'}
    assert NOTEBOOKS[name]['metadata']['language_info'] == {'name': 'python'}  # of no version and no machine


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_what_a_notebook_imports_and_names_is_there(name):
    tree = ast.parse('\n'.join(code(name)))
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith('cnn_research'):
            home = importlib.import_module(node.module)
            for one in node.names:
                found = getattr(home, one.name, None) or importlib.import_module(f'{node.module}.{one.name}')
                modules[one.asname or one.name] = found
    assert modules
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    missing = [ast.unparse(node) for node in used if node.value.id in modules and not hasattr(modules[node.value.id], node.attr)]
    assert missing == []
    text = ''.join(''.join(cell['source']) for cell in cells(name, 'markdown'))
    assert set(re.findall(r'python -m experiments\.(\w+)', text)) <= set(command.names())


@pytest.mark.slow
@pytest.mark.parametrize('name', NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path):
    """In a kernel where there is one, with its pictures; else as plain Python. On one core, compiled as a training is."""
    script = tmp_path / 'run.py'
    script.write_text(_IN_A_KERNEL if KERNEL else '\n'.join(code(name)))
    given = {key: text for key, text in os.environ.items() if not key.startswith(('XLA_', 'JAX_', 'MPLBACKEND'))}
    given |= {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'TMPDIR': str(tmp_path)} | ({} if KERNEL else {'MPLBACKEND': 'agg'})
    line = [sys.executable, str(script), str(ROOT / 'notebooks' / name), str(tmp_path)]
    done = subprocess.run(line, cwd=tmp_path, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [re.search(one, done.stdout, re.MULTILINE) for one in SAID[name]]
    assert all(found), done.stdout
    error, learned, born, inside, chance = (float(number) for one in found for number in one.groups())
    assert error < 30 and learned > 60 > 40 > born  # far from 90 % by chance, and a training that its layers show
    assert inside > 1.5 * chance
    assert len(list(tmp_path.glob('picture*.png'))) == (PICTURES[name] if KERNEL else 0)


_IN_A_KERNEL = """
import base64, pathlib, sys
import nbclient, nbformat

notebook = nbformat.read(sys.argv[1], 4)
nbformat.validate(notebook)
nbclient.NotebookClient(notebook, timeout=3600, startup_timeout=600, resources={'metadata': {'path': sys.argv[2]}}).execute()
count = 0
for output in (output for cell in notebook.cells for output in cell.get('outputs', [])):
    if output.output_type == 'stream':
        print(output.text)
    elif 'image/png' in output.get('data', {}):
        count += 1
        pathlib.Path(sys.argv[2], f'picture{count}.png').write_bytes(base64.b64decode(output.data['image/png']))
"""
