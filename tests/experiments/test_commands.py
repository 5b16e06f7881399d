"""The train command as a user runs it: help, plan, refusals, stopping and going on, and what it leaves."""

import json
import os
import pathlib
import re
import runpy
import signal
import subprocess
import sys
import time

import pytest

from cnn_research import config as configs
from cnn_research import trials
from experiments import occlusion, stages
from experiments import train as training
from experiments.launch import command, pages, progress

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A minute's recipe made a few seconds' one.
SMALL = (
    '--config=configs/alexnet.py:smoke',
    '--config.data.examples=300',
    '--config.data.test_examples=60',
    '--config.data.holdout=0.005',
    '--config.data.batch_size=20',
    '--config.schedule.warmup.steps=5',
    '--config.schedule.cooldown.steps=5',
    '--config.checkpoint.every.steps=10',
    '--config.log.every.steps=5',
)


@pytest.fixture(scope='module')
def environment():
    """One device."""
    return {**os.environ, 'XLA_FLAGS': ''}


def train(environment, *arguments):
    line = [sys.executable, '-m', 'experiments.train', *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)


def test_help_has_the_paragraph_the_examples_and_every_field(environment):
    done = train(environment, '--help')
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith('Trains one network') and done.stdout.count('python -m experiments.train') >= 3
    assert all(f'  {name}=' in done.stdout for name in configs.BY_NAME)


@pytest.mark.slow
def test_a_dry_run_says_the_plan_and_leaves_nothing(environment, tmp_path):
    done = train(environment, '--config=configs/alexnet.py:smoke', '--dry_run', f'--workdir={tmp_path}/run')
    assert (done.returncode, done.stderr) == (0, '')
    assert not (tmp_path / 'run').exists()
    plan = dict(re.split(r'\s{2,}', line, maxsplit=1) for line in done.stdout.splitlines())
    assert plan['train'].startswith('2,000 examples of clutter (train), 10 classes') and plan['test'].startswith('500 examples')
    steps, batch = map(int, re.match(r'(\d+) steps of (\d+) = 6(?:\.\d+)? epochs', plan['training']).groups())
    assert (steps - 1) * batch < 6 * 2000 <= steps * batch
    assert {'architecture', 'holdout', 'memory', 'time'} <= set(plan) and re.search(r'about \d+ (s|min|h)', plan['time'])


REFUSED = {
    '--config.optimizer.learning_rat=0.1': 'Did you mean optimizer.learning_rate?',
    '--config.schedule.kind=cosin': 'Did you mean cosine?',
    '--config.architecture=alexnet_23': 'Did you mean alexnet_32?',
    '--config.architecture=alexnet_32 without(12)': 'no layer 12',
    '--config.data.batch_size=many': 'data.batch_size=many is not a whole number',
    '--config.augment.flip': 'write --config.augment.flip=VALUE',
    '--config.data.name=cluter': 'Did you mean clutter?',
    '--config.data.examples=1000000': 'data.examples=1000000',
    '--config.architecture=lenet5_modern': 'channels',
    '--config.architecture=alexnet_32 resized(8=7)': 'append resized(8=10)',
    '--config.schedule.cooldown.epochs=7': 'at most',
    '--workdri=x': 'workdir',
    'oops': "'oops' is not a flag",
    'seed=1': 'Did you mean --config.seed?',
    '--seed=1': 'Did you mean --config.seed?',
    '--epochs=1': 'Did you mean --config.schedule.epochs?',
    '--lr': 'Did you mean --config.optimizer.learning_rate?',
    '--config.optimizer.lr=1': 'Did you mean optimizer.learning_rate?',
    '--config.occlusion.size=3': 'train has no field occlusion.size; it belongs to occlusion.',
    '--config.data.epochs=3': 'Did you mean schedule.epochs?',
    '--config=configs/alexnt.py': 'Did you mean configs/alexnet.py?',
    '--config=configs/alexnet.py:smok': 'Did you mean smoke?',
}


def test_a_field_of_another_section_is_no_guess_for_one_of_a_section_that_exists():
    every = [*configs.BY_NAME, *(field.name for field in occlusion.FIELDS)]
    assert configs.nearest_field('data.dataset', every) is None
    assert configs.nearest_field('data.bacth_size', every) == 'data.batch_size' and configs.nearest_field('dat.epochs', every)


@pytest.mark.parametrize(
    ('module', 'config', 'said'),
    [
        (training, 'stride_diagnosis', "the rows '"),
        (stages, 'layer_probing', "the rows 'network' and the options 'probe."),
        (training, 'alexnet', ''),
        (occlusion, 'looking', ''),
    ],
)
def test_what_a_command_does_not_read_of_a_recipe_is_said_in_one_line(module, config, said):
    name = module.__name__.rpartition('.')[2]
    notes = command.parse(name, f'configs/{config}.py:smoke', [], module.FIELDS).notes
    assert (len(notes), all(said in note and f'which {name} does not read' in note for note in notes)) == (bool(said), True)


def one_line(capsys, name):
    out, err = capsys.readouterr()
    assert out == '' and err.startswith(f'{name}: ') and err.count('\n') == 1 and 'Traceback' not in err
    return err


@pytest.mark.parametrize('argument', REFUSED)
def test_refusals_name_what_would_be_valid(argument, capsys, monkeypatch, tmp_path):
    from experiments import train as module  # in this process, since each start of Python costs seconds

    scale = () if argument.startswith('--config=') else ('--config=configs/alexnet.py:smoke',)
    monkeypatch.setattr(sys, 'argv', ['train', *scale, argument, f'--workdir={tmp_path}/run', '--dry_run'])
    with pytest.raises(SystemExit) as stopped:
        command.run('train', module.main, module.__doc__, 'configs/alexnet.py:clutter', trials.FIELDS)
    assert stopped.value.code == 2
    assert REFUSED[argument] in one_line(capsys, 'train')
    assert not (tmp_path / 'run').exists()


def test_a_refusal_as_the_shell_sees_it(environment, tmp_path):
    done = train(environment, '--config.data.bach_size=3', f'--workdir={tmp_path}/run')
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.splitlines() == [done.stderr.strip()] and done.stderr.endswith('Did you mean data.batch_size?\n')


def test_a_run_that_could_not_begin_does_not_claim_its_workdir(capsys, monkeypatch, tmp_path):
    from experiments import train as module

    monkeypatch.setattr(command, 'stopper', lambda: lambda: False)  # pytest keeps its own signals
    monkeypatch.setattr(sys, 'argv', ['train', *SMALL, '--config.schedule.steps=4', f'--workdir={tmp_path}/run'])
    with pytest.raises(SystemExit) as stopped:
        command.run('train', module.main, module.__doc__, 'configs/alexnet.py:clutter', trials.FIELDS)
    assert stopped.value.code == 2 and 'schedule.warmup' in capsys.readouterr().err
    assert not (tmp_path / 'run' / 'config.json').exists()  # else the mended command would be refused


def test_a_bug_keeps_its_traceback():
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command.guarded('train', broken)()


def test_a_place_that_cannot_be_used_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        command.guarded('train', lambda: pathlib.Path('a' * 300).is_file() or pathlib.Path('a' * 300).read_text())()
    assert ended.value.code == 2 and 'File name too long' in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):  # of a program's own mistake the traceback stays
        command.guarded('train', lambda: pathlib.Path('nowhere/at/all').read_text())()


def test_an_interrupt_with_nothing_to_save_is_no_traceback(capsys, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    ended = []
    monkeypatch.setattr(os, '_exit', ended.append)
    command.guarded('train', interrupted)()
    assert ended == [130] and 'interrupted' in one_line(capsys, 'train')


@pytest.mark.parametrize('how', ['-m', 'cnn-research'])
def test_an_interrupt_while_a_command_is_imported_is_no_traceback(environment, tmp_path, how):
    script = tmp_path / 'cnn-research'  # as pip writes it
    script.write_text('import sys\nfrom experiments.launch.cli import main\nsys.exit(main())\n')
    # A command that is imported for long after its first module of the library.
    started = ['-m', 'experiments.train', '--help'] if how == '-m' else [str(script), 'train', '--help']
    line = [sys.executable, '-X', 'importtime', *started]
    environment = {**environment, 'PYTHONPATH': str(ROOT)}
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    # A process that was itself started in the background ignores interrupts, and so would this one.
    heard = 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])'
    running = subprocess.Popen([sys.executable, '-c', heard, *line], cwd=ROOT, env=environment, **pipes)
    while 'cnn_research' not in (read := running.stderr.readline()):
        assert read, 'it ended by itself'
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, '') and 'Traceback' not in err


@pytest.mark.slow
def test_stopped_by_a_signal_it_goes_on_and_leaves_a_report(environment, tmp_path):
    workdir = tmp_path / 'run'
    arguments = [*SMALL, '--config.schedule.steps=200', f'--workdir={workdir}']
    line = [sys.executable, '-m', 'experiments.train', *arguments]
    running = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        metrics, deadline = workdir / 'metrics.jsonl', time.monotonic() + 60
        while not (metrics.is_file() and metrics.read_text()):
            assert running.poll() is None and time.monotonic() < deadline, 'no step was logged'
            time.sleep(0.02)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 75 and out == ''
    step = int(re.search(r'train: stopped and saved at step (\d+); the same command goes on', err).group(1))
    assert 0 < step < 200 and not (workdir / 'result.json').exists()
    done = train(environment, *arguments)
    assert done.returncode == 0, done.stderr
    assert f'going on from step {step}' in (workdir / 'log.txt').read_text()
    history = [json.loads(record) for record in metrics.read_text().splitlines()]
    assert [r['step'] for r in history] == sorted(r['step'] for r in history) and history[-1]['step'] == 200
    result = json.loads((workdir / 'result.json').read_text())
    assert result['test']['examples'] == 60 and f'{100 * result["test"]["top1_error"]:.2f} %' in done.stdout
    page = (workdir / 'report.html').read_text()
    assert all(heading in page for heading in ('Result', 'Learning curves', 'Layer-1 filters', 'Sample predictions', 'Confusion'))
    assert 'experiments.train --config=configs/alexnet.py:smoke' in page and pages.report([workdir]) == page
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # one file, whole by itself
    files = {str(p.relative_to(workdir)) for p in workdir.rglob('*') if p.is_file()}
    assert {'config.json', 'timing.jsonl', 'run.json', 'layer1.npz'} <= files


@pytest.mark.parametrize('name', sorted(p.stem for p in (ROOT / 'experiments').glob('*.py') if '__main__' in p.read_text()))
def test_every_command_refuses_unknown_flags_on_one_line(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [name, '--no_such_flag=1'])
    monkeypatch.delitem(sys.modules, f'experiments.{name}', raising=False)  # runpy warns of a module that is imported already
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f'experiments.{name}', run_name='__main__')
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, '') and err.count('\n') == 1 and err.startswith(f'{name}: ') and 'no_such_flag' in err


@pytest.mark.slow
def test_a_second_run_finds_the_programs_that_the_first_compiled(environment, tmp_path):
    mine = {**environment, 'XDG_CACHE_HOME': str(tmp_path / 'cache')}
    del mine['JAX_COMPILATION_CACHE_DIR']
    line = [sys.executable, '-m', 'experiments.train', *SMALL, '--config.schedule.steps=12']
    kept = []
    for number in range(2):
        subprocess.run([*line, f'--workdir={tmp_path / str(number)}'], cwd=ROOT, env=mine, check=True, capture_output=True)
        kept.append({path.name for path in (tmp_path / 'cache' / 'cnn_research' / 'compiled').iterdir() if path.name.endswith('-cache')})
    assert kept[0] and kept[1] == kept[0]
    last = [(tmp_path / str(number) / 'metrics.jsonl').read_text() for number in range(2)]
    assert last[0] == last[1]


def test_the_commit_is_recorded_and_whether_files_differ_from_it(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(['git', '-C', str(tmp_path), '-c', 'user.name=a', '-c', 'user.email=a@b', *words], check=True, capture_output=True)

    place = tmp_path / 'experiments' / 'launch' / 'progress.py'
    place.parent.mkdir(parents=True)
    place.write_text('one')
    monkeypatch.setattr(progress, '__file__', str(place))
    told = progress.code.__wrapped__
    assert told() == ''  # no checkout
    git('init', '-q')
    git('add', '.')
    git('commit', '-qm', 'first')
    assert re.fullmatch('[0-9a-f]{12}', told())
    (tmp_path / 'runs').write_text('not followed by git')
    assert re.fullmatch('[0-9a-f]{12}', told())
    place.write_text('two')
    assert re.fullmatch('[0-9a-f]{12} and changes', told())
    monkeypatch.setenv('PATH', '')
    assert told() == ''
