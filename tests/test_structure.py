"""The house: which room may import which, and habits that keep it small."""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = ('cnn_research', 'experiments', 'configs', 'tests', 'benchmarks')
FILES = {str(p.relative_to(ROOT)): p for folder in FOLDERS for p in sorted((ROOT / folder).rglob('*.py'))}
LIBRARY = [name for name in FILES if name.startswith('cnn_research/')]
STUDIES = [name for name in FILES if name.startswith('cnn_research/studies/') and name.count('/') > 2]
COMMANDS = [
    name
    for name, path in FILES.items()
    if name.startswith('configs/')
    and not name.startswith('configs/_')
    or name.startswith('experiments/')
    and '__main__' in path.read_text()
]
# What stands below a room; a room imports from no other room than these and itself.
_GROUND = {'classes', 'errors'}
_DATA = {'architecture', 'stages'} | _GROUND
BELOW = {
    'classes': set(),
    'errors': set(),
    'stages': _GROUND,
    'architecture': {'stages'} | _GROUND,
    'models': _DATA,
    'data': {'optional', 'files'} | _GROUND,
    'losses': set(),
    'parallel': {'relay', 'malloc'} | _GROUND,
    'malloc': set(),
    'relay': set(),
    'files': _GROUND,
    'records': {'files'} | _GROUND,
    'fields': {'data'},
    'reporting': {'files'} | _GROUND,
    'probes': set(),
    'boxes': {'errors'},
    'optional': _GROUND,
    'hinge': {'optional'} | _GROUND,
    'protocol': {'probes', 'hinge'} | _GROUND,
    'traditional': {'protocol', 'optional'} | _GROUND,
}


@functools.cache
def tree_of(name):
    return ast.parse(FILES[name].read_text())


@functools.cache
def imported(name):
    """Dotted modules that a file imports, `from package import module` as package.module too; imports inside functions count."""
    found = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{name} imports relatively'
            found |= {node.module, *(f'{node.module}.{alias.name}' for alias in node.names)}
    return found


def rooms(name):
    """Rooms of the library that a file imports."""
    parts = [module.split('.') for module in imported(name)]
    return {module[1] for module in parts if module[0] == 'cnn_research' and len(module) > 1}


def room(name):
    return name.split('/')[1].removesuffix('.py')


def packages(name):
    return {module.split('.')[0] for module in imported(name)}


@pytest.mark.parametrize('name', [name for name in LIBRARY if room(name) in BELOW])
def test_arrows_point_down(name):
    assert rooms(name) <= BELOW[room(name)] | {room(name)}


def test_nothing_in_the_library_imports_the_commands_or_configs():
    assert not [name for name in LIBRARY if packages(name) & {'experiments', 'configs', 'tests', 'benchmarks'}]


@pytest.mark.parametrize(
    'name',
    [
        *('cnn_research/architecture.py', 'cnn_research/errors.py', 'cnn_research/models/zoo.py'),
        *(name for name in LIBRARY if room(name) == 'stages'),
    ],
)
def test_an_architecture_is_plain_python(name):
    assert packages(name) <= {'cnn_research', *sys.stdlib_module_names}


def test_configs_import_nothing_but_ml_collections_and_what_they_share():
    parents = {f'configs.{pathlib.Path(name).stem}' for name in FILES if name.startswith('configs/_')}
    for name in (name for name in FILES if name.startswith('configs/')):
        shared = set() if name.startswith('configs/_') else parents | {'configs'}
        assert {module for module in imported(name) if module != 'ml_collections'} <= shared, name


def test_what_trains_knows_nothing_of_tables_pages_and_studies():
    below = ('tasks', 'train', 'evaluate', 'features', 'journal', 'checkpoints', 'optimizers', 'config')
    assert not [name for name in LIBRARY if room(name) in below and rooms(name) & {'trials', 'studies', 'reporting'}]
    assert not rooms('cnn_research/trials.py') & {'studies', 'reporting'}


@pytest.mark.parametrize('name', STUDIES)
def test_a_study_knows_of_no_other(name):
    studies = {module.split('.')[2] for module in imported(name) if module.startswith('cnn_research.studies.')}
    assert studies <= {name.split('/')[2]}


@pytest.mark.parametrize('name', [name for name in STUDIES if name.endswith('/report.py') or '/figures/' in name])
def test_what_tells_of_a_study_knows_nothing_of_networks(name):
    assert rooms(name) <= {'reporting', 'studies', 'errors'} and not packages(name) & {'jax', 'flax', 'optax'}
    own = [module for module in imported(name) if module.startswith('cnn_research.studies.')]
    assert all(f'{module.replace(".", "/")}.py' not in FILES or 'figures' in module or 'report' in module for module in own)


def test_the_commands_stand_alone_and_share_what_is_in_launch():
    commands = [name for name in FILES if name.startswith('experiments/') and name.count('/') == 1 and '__init__' not in name]
    assert all('__main__' in FILES[name].read_text() for name in commands)
    siblings = {f'experiments.{pathlib.Path(name).stem}' for name in commands}
    assert not [name for name in FILES if name.startswith('experiments/') and imported(name) & siblings]


@pytest.mark.parametrize('name', LIBRARY)
def test_the_library_has_no_flags_and_never_prints(name):
    tree = tree_of(name)
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {'print', 'input', 'eval', 'exec', 'breakpoint', '__import__'}
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not {word for word in used if word.startswith('DEFINE_')}
    assert not imported(name) & {
        'absl.app',
        'argparse',
        'pickle',
        'tensorflow',
    }


# The way itself; folders that are written whole; what is read anew where it is not whole.
WRITERS = ('cnn_research/files.py', 'cnn_research/checkpoints.py', 'cnn_research/data/')


@pytest.mark.parametrize(
    'name', [name for name in FILES if name.startswith(('cnn_research/', 'experiments/')) and not name.startswith(WRITERS)]
)
def test_what_is_kept_is_written_in_one_way(name):
    calls = [node for node in ast.walk(tree_of(name)) if isinstance(node, ast.Call)]
    called = [ast.unparse(node.func) for node in calls]
    assert not [text for text in called if text.endswith(('.write_text', '.write_bytes'))]
    first = [ast.unparse(node.args[0]) for node in calls if ast.unparse(node.func) in ('np.save', 'np.savez', 'np.savez_compressed')]
    assert set(first) <= {'file'}  # an open file that files.write gives


def names(tree):
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }


@pytest.mark.parametrize('name', [name for name in LIBRARY if name != 'cnn_research/parallel.py'])
def test_only_one_file_knows_of_several_devices(name):
    known = {
        'pmap',
        'psum',
        'pmean',
        'shard_map',
        'make_array_from_process_local_data',
        'multihost_utils',
        'distributed',
        'all_gather',
        'axis_index',
        'NamedSharding',
        'process_index',
        'process_count',
        'local_devices',
    }
    # The functions of parallel.py may be called; JAX's own may not.
    tree = tree_of(name)
    from_jax = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == 'parallel')
    }
    assert not (from_jax | {module.split('.')[-1] for module in imported(name)}) & known


def test_that_file_exists_and_uses_them():
    assert {'shard_map', 'psum'} <= names(tree_of('cnn_research/parallel.py'))


@pytest.mark.parametrize('name', FILES)
def test_files_stay_short_and_are_not_drawers(name):
    lines = FILES[name].read_text().splitlines()
    assert len(lines) <= (150 if name in COMMANDS else 400)
    assert 'utils' not in FILES[name].stem and 'helpers' not in FILES[name].stem


@pytest.mark.parametrize('name', COMMANDS)
def test_commands_and_configs_open_with_how_to_run_them(name):
    doc = ast.get_docstring(tree_of(name))
    assert doc and 'python -m experiments.' in doc


def test_importing_a_network_loads_neither_tensorflow_nor_the_commands():
    code = (
        'import sys, cnn_research.train, cnn_research.evaluate, cnn_research.reporting.page; '
        'print(sorted({m.split(".")[0] for m in sys.modules} & {"tensorflow", "experiments", "torch"}))'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == '[]\n'


def test_the_tests_mirror_the_house():
    there = {path.relative_to(ROOT / 'tests') for path in (ROOT / 'tests').rglob('test_*.py')}
    rooms_of_tests = {path.parent for path in there} - {pathlib.Path('.')}
    house = (ROOT / 'cnn_research', ROOT)  # experiments and benchmarks stand beside the library
    assert rooms_of_tests and not [room for room in rooms_of_tests if not any((root / room).is_dir() for root in house)]
    assert len({path.name for path in there}) == len(there)  # pytest tells files apart by their names
