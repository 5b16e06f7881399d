"""What a run will cost, said before it runs, also of ImageNet where it is not there."""

import re

import jax
import pytest

from cnn_research import config as configs
from cnn_research import memory, rehearsal
from cnn_research.errors import ConfigError, SourceError
from configs import alexnet
from experiments import depth_ablation, stride_diagnosis
from experiments.launch import command, plans, progress


def imagenet(tmp_path, **changes):
    values = {name: value for name, value in configs.flat(alexnet.get_config('imagenet2012')).items() if name in configs.BY_NAME}
    return configs.update(configs.default(), values | {'data.dir': str(tmp_path), **changes})


def test_of_imagenet_the_plan_is_said_and_then_it_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rehearsal, 'rehearsed', lambda config, found: rehearsal.Rehearsal(0.25, 4e9, 80e9))
    monkeypatch.setattr(memory, 'machine', lambda: 80e9)
    with pytest.raises(SourceError, match='imagenet2012 is not prepared'):
        plans.show(imagenet(tmp_path))
    plan = dict(re.split(r'\s{2,}', line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    counts = [int(plan[role].split()[0].replace(',', '')) for role in ('train', 'holdout', 'test')]
    assert counts[0] + counts[1] == 1_281_167 and counts[2] == 50_000 and abs(counts[1] - 12_812) < 2
    steps = int(plan['training'].split()[0].replace(',', ''))
    assert (steps - 1) * 128 < 90 * counts[0] <= steps * 128 and f'{steps * 0.25 // 3600:.0f} h' in plan['time']
    assert '4 GB of 80 GB' in plan['memory'] and 'assumed' in plan['note'] and '27 GB as JPEG' in plan['disk']
    with pytest.raises(SourceError):  # where nothing refuses afterwards, nothing is assumed
        plans.training(configs.check(imagenet(tmp_path)))


@pytest.mark.parametrize(
    ('experiment', 'trained', 'more'),
    [(stride_diagnosis, 8, 0), (depth_ablation, 12, 6), (depth_ablation, 5, 5)],
)
def test_so_are_the_tables_and_nothing_of_them_begins(tmp_path, capsys, monkeypatch, experiment, trained, more):
    monkeypatch.setattr(rehearsal, 'rehearsed', lambda config, found: rehearsal.Rehearsal(0.25, 1e9, 80e9))
    monkeypatch.setattr(memory, 'machine', lambda: 80e9)
    name = experiment.__name__.rpartition('.')[2]
    words = [f'--config.data.dir={tmp_path}', f'--workdir={tmp_path / "runs"}', *['--config.depth.rows=deck'] * (trained == 5)]
    parsed = [command.parse(name, f'configs/{name}.py:imagenet2012', [*words, *dry], experiment.FIELDS) for dry in (['--dry_run'], [])]
    experiment.main(parsed[0])
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if 'parameters' in line]
    assert len([row for row in rows if '693,632 steps' in row and '48 h 10 min' in row]) == trained and len(rows) == trained + more
    assert lines[-1] == 'note: imagenet2012 is not there: the counts of its images are assumed, none was opened'
    with pytest.raises(SourceError, match='imagenet2012 is not prepared'):
        experiment.main(parsed[1])
    assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize('changes', [{'data.name': 'imagenette'}, {'data.train': 'train[:10%]'}, {'data.test': 'test'}])
def test_nothing_else_is_assumed(tmp_path, changes):
    assert plans.expected(imagenet(tmp_path, **changes)) is None
    (tmp_path / 'imagenet2012').mkdir()  # damaged, perhaps, but there
    assert plans.expected(imagenet(tmp_path)) is None


def test_a_checkpoint_takes_what_is_said(tmp_path):
    import small_runs

    from cnn_research import checkpoints

    run, _ = small_runs.fit(tmp_path)
    size, count = memory.saved(run.config, configs.network(run.config))
    folders = [path for path in (tmp_path / 'checkpoints').iterdir() if path.is_dir()]
    written = max(sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) for folder in folders)
    assert size <= written < 1.3 * size + 20_000 and count == run.config.checkpoint.keep + 1
    assert len(checkpoints.steps(tmp_path)) < count


def test_a_batch_that_no_device_holds_is_refused_with_one_that_it_does(monkeypatch):
    import small_runs

    from cnn_research import tasks

    def rehearsed(size):
        config = configs.check(small_runs.config(data__batch_size=size))
        found = tasks.sources(config)
        found['train'] = type(found['train'])(**{**vars(found['train']), 'num_examples': 1})  # the pixels that stay are counted apart
        return rehearsal.rehearsed(config, found, small_runs.ONE)

    needed = rehearsed(4096).memory
    monkeypatch.setattr(memory, 'machine', lambda: 0.6 * needed)
    with pytest.raises(
        ConfigError, match=r'data.batch_size=4096 needs .* in a step, as compiled; .* the largest that fits is about'
    ) as said:
        rehearsed(4096)
    fits = int(re.search(r'about (\d+)', str(said.value))[1])
    assert 1000 < fits < 3000 and rehearsed(int(0.95 * fits)).memory <= 0.6 * needed
    with pytest.raises(ConfigError):
        rehearsed(int(1.1 * fits))


def test_a_rehearsal_compiles_its_step_once(caplog):
    import small_runs

    from cnn_research import tasks

    config = configs.check(small_runs.config(data__batch_size=7))
    with jax.log_compiles():
        rehearsal.rehearsed(config, tasks.sources(config), small_runs.ONE)
    steps = [record.getMessage() for record in caplog.records if 'Finished XLA compilation of jit(step)' in record.getMessage()]
    assert len(steps) == 1


@pytest.mark.parametrize(
    ('changes', 'images'),
    [
        ({}, 3 * 10 + 10 + 20),  # passes of ten steps, the last of which is looked at where it ends
        ({'evaluate.views': 'ten'}, 3 * 10 + 10 + 10 * 20),
        ({'evaluate.every.steps': 5}, 5 * 10 + 10 + 20),
        ({'data.holdout': 0.0}, 20),
    ],
)
def test_what_is_evaluated_is_counted(changes, images):
    config = configs.update(configs.default(), {'data.batch_size': 10, **changes})
    counts = {'train': 95, 'test': 20} | ({'holdout': 10} if config.data.holdout else {})
    assert plans.evaluated(config, counts, 25) == images


def test_a_plan_says_what_evaluation_and_compilation_take(monkeypatch):
    import small_runs

    monkeypatch.setattr(rehearsal, 'rehearsed', lambda config, found: rehearsal.Rehearsal(6.0, 4e9, 80e9, 90.0))
    config = configs.check(small_runs.config())
    found = re.search(r'them about ([^(]+) of evaluation \(([\d,]+) images, .*\) and (.+) to compile', plans.training(config))
    images = int(found[2].replace(',', ''))  # a step of 20 of them takes six seconds, so that a third of one takes a tenth
    assert images >= 100 and found[1] == progress.duration(images / 10) and found[3] == progress.duration(90)
