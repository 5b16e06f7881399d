"""Records that are damaged, through every command that reads them: the others stand, and the reason is said on one line."""

import json
import shutil

import jax
import pytest
from finished import PERCEPTRON, RUN, error, recorded
from page_reader import EVIL, scripts
from test_files import DAMAGED

from cnn_research import checkpoints, files, records, tasks
from cnn_research import config as configs
from cnn_research.data import augment
from cnn_research.errors import CheckpointError, ResearchError
from experiments import compare, evaluate, report
from experiments.launch import outcome, pages, progress

WRONG = {
    'run.json': [{'command': ['a', 'list']}, {'machine': None}, {'date': 3}],
    'result.json': [{'test': [0.1]}, *({'test': {'top1_error': wrong}} for wrong in ('0.1', None, 37, True)), {'key': 3}, {'metrics': {}}],
    'config.json': [{'architecture': 3}, {'no_such_field': 1}, {'seed': [1]}, {'architecture_json': '{}'}, {'data': 'digits'}],
    'evaluations/train.json': [{'result': [1]}, {'result': 37}, {'key': None}],
}
KINDS = ('missing', 'empty', 'not UTF-8', 'a list', 'deep')  # every kind is tried on the one reader in test_files
CASES = [(file, kind) for file in WRONG for kind in KINDS] + [(file, number) for file in WRONG for number in range(len(WRONG[file]))]
# Without them a trial is as good, unfinished, or not yet measured.
YOUNGER = {('evaluations/train.json', 'missing'), ('result.json', 'missing')}


@pytest.fixture
def table(tmp_path):
    """A table of one row, of which seed 0 has 12.5 % test error; the trial of seed 1 is there to be damaged."""
    listed = []
    for seed, wrong in enumerate((0.125, 0.25)):
        key = f'key{seed}'
        recorded(tmp_path / 'trials' / key, key, {**PERCEPTRON, 'seed': seed}, test=error(wrong))
        records.write(tmp_path / 'trials' / key / 'evaluations' / 'train.json', {'key': key, 'source': '', 'result': 0.5})
        listed.append({'part': '', 'row': 'smoke', 'point': '', 'seed': seed, 'key': key, 'protocol': 'p', 'reduced': False})
    about = {'experiment': 'train', 'label': 'smoke', 'line': 'python -m experiments.train', 'options': {'trials.select': ''}}
    records.write(tmp_path / 'plan.json', {**about, 'trials': listed})
    return tmp_path


def damage(home, file, kind):
    """Whether it is damage that a table has to name; a number: something else than what belongs there, with a digest of its own."""
    path = home / file
    if kind == 'missing':
        path.unlink()
    elif isinstance(kind, str):
        path.write_bytes(DAMAGED[kind])
    else:
        content = files.read_json(path)
        content.pop('sha256', None)
        records.write(path, {**content, **WRONG[file][kind]})
    return file != 'run.json' and (file, kind) not in YOUNGER  # no number rests on it


@pytest.mark.parametrize(('file', 'kind'), CASES)
def test_one_damaged_trial_stops_no_report(table, file, kind):
    damaged = damage(table / 'trials' / 'key1', file, kind)
    text = pages.report([table])
    alone = damaged or (file, kind) == ('result.json', 'missing')
    assert ('12.50' if alone else '18.75') in text and ('seed 1 damaged: ' in text) == damaged
    if damaged:
        assert file in text and '18.75' not in text  # the mean of both, which the damaged one has no part in
    assert ('damaged' in (table / 'trials.csv').read_text()) == damaged


@pytest.mark.parametrize('kind', KINDS)
def test_a_damaged_error_is_said_where_the_trial_stands(table, kind):
    home = table / 'trials' / 'key1'
    for file in ('result.json', 'config.json'):
        (home / file).unlink()
    files.write(home / 'error.json', '{"error": "it diverged"}')
    assert 'seed 1 failed: it diverged' in pages.report([table])
    damage(home, 'error.json', kind)
    assert '12.50' in pages.report([table])
    assert kind == 'missing' or 'why is not known: error.json is damaged' in pages.report([table])


@pytest.mark.parametrize('kind', KINDS)
def test_a_damaged_plan_is_refused_on_one_line(table, kind):
    damage(table, 'plan.json', kind)
    with pytest.raises(ResearchError, match='plan.json') as told:
        pages.report([table])
    assert '\n' not in str(told.value)


STRANGE = [
    {'experiment': 'launch.command'},
    {'experiment': '../x'},
    {'experiment': 'compare'},
    {'experiment': None},
    {'options': []},
    {'options': {'trials.select': 3}},
    {'line': 1},
    {'label': None},
    {'trials': {}},
    {'trials': [1]},
    {'trials': [{'row': 'a'}]},
    {'trials': [{'part': '', 'row': 'a', 'point': '', 'seed': 0, 'protocol': 'p', 'key': '../../etc', 'reduced': False}]},
    {'trials': [{'part': '', 'row': 'a', 'point': '', 'seed': 'x', 'protocol': 'p', 'key': 'k', 'reduced': False}]},
    {'experiment': 'stride_diagnosis'},
    {'experiment': 'depth_ablation'},
]


@pytest.mark.parametrize('changes', STRANGE)
def test_a_strangers_plan_is_refused(table, changes):
    plan = records.read(table / 'plan.json')
    records.write(table / 'plan.json', {**plan, **changes})
    with pytest.raises(CheckpointError, match='plan.json'):
        pages.results(table, table / 'kept')
    assert not (table / 'kept').exists()


def test_words_of_a_stranger_are_shown_and_never_interpreted(table):
    plan, evil = records.read(table / 'plan.json'), f'../{EVIL}'
    more = [{**plan['trials'][0], 'row': row, 'key': f'none{number}'} for number, row in enumerate((evil, 'a b', 'a_b', '<b>'))]
    records.write(table / 'plan.json', {**plan, 'label': evil, 'trials': [*plan['trials'], *more]})
    files.write(table / 'trials' / 'key0' / 'run.json', json.dumps({**RUN, 'command': "an ' unclosed `quote` <script>", 'machine': EVIL}))
    text = pages.report([table])
    assert len(scripts(text)) == 1 and EVIL not in text and '<b>' not in text
    pages.results(table, table / 'kept')
    readme = (table / 'kept' / 'README.md').read_text()
    assert '<script' not in readme and '<b>' not in readme and '](' not in readme.replace('\\](', '')
    assert {p.name for p in (table / 'kept').iterdir()} == {'README.md', 'trials.csv', 'trials.md', 'trials.tex'}


LINKS = ['../outside.csv', '/etc/x.csv', 'figures/../../outside.csv', 'a/b.csv', '%2e%2e/x.csv', 'figures/link.png', 'none.csv', 'figures']


@pytest.mark.parametrize('link', LINKS)
def test_results_of_a_strangers_workdir_stay_in_their_folder(tmp_path, link):
    home, kept = tmp_path / 'run', tmp_path / 'deep' / 'kept'
    for name in ('good.csv', 'good.md', 'good.tex', 'figures/good.png'):
        files.write(home / name, 'x')
    files.write(tmp_path / 'outside.csv', 'secret')
    (home / 'figures' / 'link.png').symlink_to(tmp_path / 'outside.csv')
    said = '[good](good.csv) ![figure](figures/good.png) [elsewhere](https://example.org) '
    files.write(home / 'README.md', said)
    pages.results(home, kept)
    assert sorted(str(p.relative_to(kept)) for p in kept.rglob('*.*')) == [
        'README.md',
        'figures/good.png',
        'good.csv',
        'good.md',
        'good.tex',
    ]
    shutil.rmtree(kept)
    files.write(home / 'README.md', f'{said}[bad]({link}{".png" if link == "figures" else ""})')
    with pytest.raises(CheckpointError, match='README.md'):
        pages.results(home, kept)
    assert not kept.exists()


def test_a_results_folder_that_leads_elsewhere_is_not_followed(tmp_path):
    files.write(tmp_path / 'run' / 'figures' / 'good.png', 'x')
    files.write(tmp_path / 'run' / 'README.md', '![figure](figures/good.png)')
    (tmp_path / 'kept').mkdir()
    (tmp_path / 'kept' / 'figures').symlink_to(tmp_path)
    with pytest.raises(CheckpointError, match='figures/good.png'):
        pages.results(tmp_path / 'run', tmp_path / 'kept')
    assert not (tmp_path / 'good.png').exists()


@pytest.mark.parametrize(('file', 'kind'), [case for case in CASES if not case[0].startswith('evaluations')])
def test_compare_leaves_a_damaged_run_out_and_names_it(table, file, kind, capsys, monkeypatch):
    damage(table / 'trials' / 'key1', file, kind)
    damaged = file != 'run.json' and (file, kind) != ('result.json', 'missing')
    compare.FLAGS(['compare', f'--runs={table}/trials/*'])
    compare.main()
    text = capsys.readouterr().out
    assert ('18.75' if file == 'run.json' else '12.5') in text and ('left out' in text) == damaged and (not damaged or file in text)


@pytest.mark.parametrize('kind', KINDS)
def test_compare_shows_a_run_of_which_machine_and_time_are_not_known(table, kind, capsys):
    for seed in (0, 1):
        for file in ('run.json', 'timing.jsonl'):
            damage(table / 'trials' / f'key{seed}', file, kind)
    compare.FLAGS(['compare', f'--runs={table}/trials/*'])
    compare.main()
    text = capsys.readouterr().out
    assert '18.75' in text and 'unknown, run.json is missing or damaged' in text and 'minutes' not in text and 'left out' not in text


def test_evaluate_shows_which_runs_cannot_be_read(table, capsys, monkeypatch):
    for place in ('checkpoints', 'checkpoints/000abc', 'checkpoints/1e9', 'checkpoints/½'):
        (table / 'trials' / 'key0' / place).mkdir()
    files.write(table / 'trials' / 'key1' / 'checkpoints', 'a file')
    evaluate.FLAGS(['evaluate', f'--runs={table}/trials/*'])
    with pytest.raises(CheckpointError, match='cannot be read'):
        evaluate.main()
    evaluate.FLAGS(['evaluate', f'--runs={table}/trials/key0,{table}/trials/../trials/key0'])
    with pytest.raises(ResearchError, match='twice'):
        evaluate.main()


def test_evaluate_shows_the_sound_runs_beside_a_damaged_one(table, capsys, monkeypatch):
    config = configs.check(configs.update(configs.default(), {**PERCEPTRON, 'data.test_examples': 20}))
    variables = {'params': tasks.fresh(tasks.network(config), jax.random.key(0)), 'preprocessing': augment.AS_IT_IS}
    sound = checkpoints.Trained(configs.network(config), variables, config, 1, notes=('another step was used',))

    def load(workdir):
        if workdir.endswith('key1'):
            raise CheckpointError(f'{workdir} is damaged: why.')
        return sound

    monkeypatch.setattr(checkpoints, 'load', load)
    evaluate.FLAGS(['evaluate', f'--runs={table}/trials/*'])
    evaluate.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if 'key0 | 20 |' in line] and [line for line in lines if 'key1 | –' in line and 'damaged: why' in line]
    assert 'not every run could be read' in lines[-2] and lines[-1].endswith('key0: another step was used')


@pytest.mark.parametrize('kind', KINDS)
def test_the_origin_of_a_network_says_what_is_not_known(table, kind, tmp_path):
    home, given = (
        table / 'trials' / 'key1',
        type('Given', (), {'options': configs.ml_collections.ConfigDict({'network': 'x', 'look': {'step': 0}})}),
    )
    assert outcome._origin(given, home) == 'python -m experiments.train; test error 25.00 %'
    damage(home, 'result.json', kind)
    assert 'test error is not known (result.json' in outcome._origin(given, home)
    damage(home, 'run.json', kind)
    assert 'unknown command (run.json' in outcome._origin(given, home)


@pytest.mark.parametrize('kind', KINDS)
def test_a_run_goes_on_beside_a_damaged_note_of_the_machine(table, kind):
    home = table / 'trials' / 'key1'
    damage(home, 'run.json', kind)
    progress._record(type('Given', (), {'workdir': home, 'line': 'a line'}), ['2 files were skipped'])
    content = files.read_json(home / 'run.json', outcome.RUN)
    assert content['notes'] == ['2 files were skipped']
    assert content['command'] == 'a line' and ('before' in content) == (kind != 'missing')


def test_a_page_elsewhere_has_its_tables_beside_it_and_leaves_the_workdirs_as_they_are(table, tmp_path_factory, capsys):
    def seen():
        return {path: path.stat().st_mtime_ns for path in table.rglob('*')}

    before, aside = seen(), tmp_path_factory.mktemp('aside')
    for workdirs, out in ((table, aside / 'one.html'), (f'{table},{table}/.', aside / 'both' / 'two.html'), (table, '/dev/null')):
        report.FLAGS(['report', f'--workdir={workdirs}', f'--out={out}'])
        report.main()
    report.FLAGS(['report', '--out='])
    assert seen() == before and (aside / 'trials.csv').is_file() and (aside / 'one.html').is_file()
    assert all((aside / 'both' / str(number) / 'trials.csv').is_file() for number in (1, 2))


def test_a_report_without_a_workdir_is_refused():
    report.FLAGS(['report', '--workdir= ,'])
    with pytest.raises(ResearchError, match='names no workdir'):
        report.main()


def test_every_experiment_whose_workdir_is_a_table_is_known():
    modules = {name: __import__(f'experiments.{name}', fromlist=['render']) for name in pages.EXPERIMENTS}
    assert all(callable(module.render) and callable(module.reads) for module in modules.values())
