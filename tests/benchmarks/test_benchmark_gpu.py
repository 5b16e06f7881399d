"""The script for a GPU keeps its time, keeps what there is of every table, and says what became of each part."""

import importlib.util
import pathlib
import re
import subprocess
import sys
import time

import pytest

from benchmarks import footing, gpu
from cnn_research import config as configs
from cnn_research.errors import ConfigError
from experiments.launch import command

WRITES = 'import sys, time, pathlib; pathlib.Path(sys.argv[1]).write_text("| a |"); time.sleep(float(sys.argv[2]))'


@pytest.fixture
def part(tmp_path, monkeypatch):
    """part(seconds that each of its commands takes, ...): a part of commands that write the table at once."""
    (tmp_path / 'stand_in.py').write_text(WRITES)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(gpu, 'GRACE', 0.3)

    def made(*takes, share=1.0, last=()):
        table = tmp_path / f'{len(list(tmp_path.iterdir()))}.md'
        return gpu.Part('title', share, [['stand_in', str(table), str(time)] for time in takes], last, table)

    return made


@pytest.mark.slow
def test_a_part_that_takes_too_long_is_cut_and_its_table_stays(part, tmp_path):
    begun = time.monotonic()
    long = part(60)
    told = gpu.carried_out('long', long, 8, tmp_path)
    assert (
        told.startswith('cut short; the table has what was done (') and long.table.read_text() == '| a |' and time.monotonic() - begun < 20
    )


@pytest.mark.parametrize(
    ('takes', 'seconds', 'begun', 'words'),
    [
        ([3, 3, 3], 20, 3, 'whole (9 s)'),
        ([3, 3, 3], 8.9, 2, 'no time for more than 2 of up to 3; the table has what was done (6 s)'),
        ([3, 9, 3], 10.3, 2, 'cut short; the table has what was done (10 s)'),
        ([9, 3], 5.3, 1, 'cut short; the table has what was done (5 s)'),
    ],
)
def test_of_several_commands_those_are_begun_that_there_is_time_for(part, tmp_path, monkeypatch, takes, seconds, begun, words):
    now, ran = [0.0], []

    def ended(words, left, log):
        ran.append(words)
        log.touch()
        made.table.write_text('| a |')
        now[0] += min(float(words[-1]), left)
        return 0 if float(words[-1]) <= left else None

    made = part(*takes)
    monkeypatch.setattr(gpu, 'ended', ended)
    monkeypatch.setattr(gpu.time, 'monotonic', lambda: now[0])
    assert gpu.carried_out('many', made, seconds, tmp_path) == words and len(ran) == begun


def test_what_fails_is_said_with_its_last_line_and_an_older_table_is_not_taken_for_its_own(part, tmp_path):
    wrong = part('wrong')._replace(commands=[['no_such_module']])
    wrong.table.write_text('of yesterday')
    told = gpu.carried_out('wrong', wrong, 20, tmp_path)
    assert re.match(r'failed \(1\): .*No module named no_such_module; no table', told)
    page = gpu.page({'wrong': wrong, 'later': part(0)}, {'wrong': told}, 'cpu')
    assert 'of yesterday' not in page and 'later: not begun' in page and 'jax 0' in page and 'whose numbers say nothing' in page


def test_what_a_folder_shows_is_found_from_the_page(part, tmp_path):
    folder = part(0)._replace(table=tmp_path / 'depth' / 'README.md')
    folder.table.parent.mkdir()
    folder.table.write_text('# Depth\n\n![errors](figures/a.png) [zf](https://a.b/c) [down](#d)')
    page = gpu.page({'depth': folder}, {'depth': 'whole'}, 'gpu')
    assert '\nDepth\n\n![errors](depth/figures/a.png) [zf](https://a.b/c) [down](#d)\n' in page


def test_without_a_gpu_it_is_one_line_and_nothing_is_written(tmp_path):
    if footing.card():
        pytest.skip('a GPU is here')
    done = subprocess.run(
        [sys.executable, '-m', 'benchmarks.gpu', f'--out={tmp_path / "out"}'], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and done.stdout == '' and not (tmp_path / 'out').exists()
    assert re.fullmatch(r'gpu: no NVIDIA GPU is here .*--device=cpu.*\n', done.stderr)


def test_what_is_missing_is_said_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(gpu.importlib.util, 'find_spec', lambda module: None)
    with pytest.raises(ConfigError, match=r"torch and captum must be installed .*pip install -e '.\[bench\]'"):
        gpu.check('cpu', ['depth', 'looking'])
    gpu.check('cpu', ['depth', 'together'])


def test_the_card_is_named_with_its_driver(monkeypatch):
    told = subprocess.CompletedProcess([], 0, 'NVIDIA H100 80GB HBM3, 550.54.15\nNVIDIA H100 80GB HBM3, 550.54.15\n')
    monkeypatch.setattr(footing.shutil, 'which', lambda name: name)
    monkeypatch.setattr(footing.subprocess, 'run', lambda *words, **how: told)
    assert footing.card() == 'NVIDIA H100 80GB HBM3, driver 550.54.15'
    told.returncode = 9  # a driver without a card
    assert footing.card() == ''


def test_told_to_stop_it_ends_what_it_began(part, tmp_path):
    code = (
        'import signal, sys, pathlib; from benchmarks import gpu; signal.signal(signal.SIGTERM, gpu.stopped); '
        'gpu.ended(sys.argv[2:], 60, pathlib.Path(sys.argv[1]))'
    )
    long = part(60)
    process = subprocess.Popen([sys.executable, '-c', code, str(tmp_path / 'log'), *long.commands[0]])
    while not long.table.exists() and process.poll() is None:
        time.sleep(0.05)
    (child,) = pathlib.Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    process.terminate()
    assert process.wait(60) == 75 and not pathlib.Path(f'/proc/{child}').exists()


@pytest.mark.parametrize('device', ['gpu', 'cpu'])
def test_every_word_that_it_says_to_another_command_is_understood(device, tmp_path):
    known = gpu.parts(device, tmp_path)
    assert sum(one.share for one in known.values()) == pytest.approx(1)
    words = [words for one in known.values() for words in (*one.commands, one.last) if words]
    for module, *arguments in words:
        source = (pathlib.Path(gpu.__file__).parents[1] / f'{module.replace(".", "/")}.py').read_text()
        for name in (re.match(r'--(\w+)', argument)[1] for argument in arguments if not argument.startswith('--config')):
            assert name == 'workdir' or re.search(rf"DEFINE_\w+\(\s*'{name}'", source), f'{module} has no --{name}'


def test_the_wide_rows_are_the_decks():
    from cnn_research.studies.depth import report as depth
    from experiments import depth_ablation

    given = command.parse('depth_ablation', 'benchmarks/wide.py:cifar10', ['--config.depth.rows=deck'], depth_ablation.FIELDS)
    assert set(given.recipe.rows) == set(depth.DECK)
    maps = [row.output[-1] for row in configs.network(configs.check(given.config)).rows if row.stage == 'convolution']
    assert maps == [96, 256, 384, 384, 256]


def test_a_part_that_is_none_is_refused(monkeypatch):
    gpu.FLAGS(['gpu', '--parts=train_step,depht'])
    with pytest.raises(ConfigError, match="names 'depht'; choose from train_step, depth, looking, together"):
        gpu.main()


def test_a_part_that_fails_stops_no_other_and_is_heard_of(monkeypatch, tmp_path, capsys):
    given = []

    def carried_out(name, part, seconds, out):
        given.append(seconds)
        return 'failed (2): why' if name == 'depth' else 'whole'

    monkeypatch.setattr(gpu, 'carried_out', carried_out)
    monkeypatch.setattr(gpu.signal, 'signal', lambda number, handler: None)
    gpu.FLAGS(['gpu', '--device=cpu', '--parts=depth,together', '--seconds=100', f'--out={tmp_path}'])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 1 and (tmp_path / 'README.md').read_text().count('failed (2): why') == 1
    assert 'gpu: together: whole' in capsys.readouterr().err
    assert given[0] <= 100 * 0.25 / 0.37 + 0.1 and given[0] < given[1] <= 100  # the last has all that is left


@pytest.mark.slow
def test_the_whole_is_rehearsed_on_cpu(tmp_path):
    if not all(map(importlib.util.find_spec, ('torch', 'captum'))):
        pytest.skip('PyTorch and Captum are requirements of the benchmarks only')
    words = [sys.executable, '-m', 'benchmarks.gpu', '--device=cpu', f'--out={tmp_path}']
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    page = (tmp_path / 'README.md').read_text()
    assert done.returncode == 0 and page.count(': whole (') == 4, done.stderr
    for words in ('PyTorch / ours', 'removed layers 3,4,6,7', 'Captum, ms a place', 'one after another, steps/s'):
        assert words in page
