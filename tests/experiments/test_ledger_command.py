"""The ledger's command: what it gathers from results and workdirs, what it refuses, and what README.md says of it."""

import json
import pathlib
import re
import shutil
import sys

import pytest

from cnn_research.reporting import claims, ledger, ledger_text, tables
from cnn_research.reporting.claims import Claim, difference
from experiments import ledger as command
from experiments.launch import command as launch
from experiments.launch import evidence

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARKS = re.compile(r'<!-- ledger -->\n(.*?)<!-- /ledger -->', re.DOTALL)
README = """# Depth ablation on cifar10

A lead.

- command: `python -m experiments.depth_ablation --config=configs/depth_ablation.py:cifar10 --config.schedule.epochs=7`
- 15 of 15 trainings finished, seeds 0, 1, 2, 1 h 00 min in their steps
"""


def content(shift=0.0, key='zf.depth.dense'):
    claim = Claim('Removing the dense layers 6,7 costs more than removing the convolutions 3,4.', 'x', (difference('b', 'a'),), key=key)
    values = {'a': dict(enumerate((20.0, 20.1, 20.3))), 'b': dict(enumerate((21.0 + shift, 21.2 + shift, 21.1 + shift)))}
    return tables.to_csv(claims.table([claims.judge(claim, values)]))


@pytest.fixture
def results(tmp_path):
    (tmp_path / 'results' / 'depth').mkdir(parents=True)
    (tmp_path / 'results' / 'depth' / 'claims.csv').write_text(content())
    (tmp_path / 'results' / 'depth' / 'README.md').write_text(README)
    (tmp_path / 'results' / 'pictures').mkdir()
    return tmp_path / 'results'


def run(monkeypatch, capsys, *arguments):
    """(exit code, what was printed, what was complained of)."""
    monkeypatch.setattr(sys, 'argv', ['ledger', *arguments])
    for name in command.FLAGS:
        command.FLAGS[name].unparse()
    try:
        launch.run_with_flags('ledger', command.main, command.__doc__, command.FLAGS)
        code = 0
    except SystemExit as stopped:
        code = stopped.code
    return code, *capsys.readouterr()


def of(found, key='zf.depth.dense'):
    return next(line for line in found.lines if line.entry.key == key).evidence


def test_a_scale_is_what_the_records_say_and_the_recipe_that_they_name(results):
    (one,) = of(evidence.gather(results, []))
    scale = one.place.scale
    assert (scale.data, scale.epochs) == ('cifar10', '7 epochs') and scale.networks[0].startswith('alexnet_32')
    assert one.place.command.startswith('python -m experiments.depth_ablation') and one.place.table == results / 'depth' / 'README.md'
    (results / 'depth' / 'README.md').unlink()
    (one,) = of(evidence.gather(results, []))
    assert one.place.scale == ledger.Scale() and one.place.command == ''


@pytest.mark.parametrize(
    ('line', 'epochs'),
    [
        ('python -m experiments.train --config=configs/lenet5.py:mnist', '20'),
        ('python -m experiments.train --config=configs/lenet5.py:no_such_scale', None),
        ('python -m experiments.train --config=/etc/evil.py:mnist', None),
        ('python -m experiments.train "unclosed', None),
        ('', None),
    ],
)
def test_only_shipped_recipes_are_looked_up(line, epochs):
    told = evidence.settings(line)
    assert told.get('schedule.epochs', None) == (float(epochs) if epochs else None)


def test_workdirs_stand_beside_results_and_the_same_evidence_counts_once(results, tmp_path):
    same, other, several = tmp_path / 'same', tmp_path / 'other', tmp_path / 'several'
    for home, shift in ((same, 0.0), (other, 5.0), (several / '1', 6.0), (several / '2', 7.0)):
        home.mkdir(parents=True)
        (home / 'claims.csv').write_text(content(shift, key=''))
    line = 'python -m experiments.depth_ablation --config=configs/depth_ablation.py:mnist --workdir=/somewhere --config.data.dir=/data'
    (other / 'plan.json').write_text(json.dumps({'line': line, 'options': {'network': ''}}))
    (tmp_path / 'empty').mkdir()
    found = evidence.gather(results, [same, other, other, several, tmp_path / 'empty'])
    assert found.twice == 1 and len(of(found)) == 4 and not found.strangers
    assert found.without == sorted([str(results / 'pictures'), str(tmp_path / 'empty')])
    (one,) = [one for one in of(found) if one.place.name == 'other']
    assert one.place.scale.data == 'mnist' and '/somewhere' not in one.place.command and '/data' not in one.place.command


def test_the_command_says_the_counts_and_names_what_it_left_out(results, tmp_path, monkeypatch, capsys):
    (results / 'strange').mkdir()
    (results / 'strange' / 'claims.csv').write_text(content(9.0, key='zf.no.such'))
    out = tmp_path / 'out'
    code, said, complained = run(monkeypatch, capsys, f'--results={results}', f'--out={out}')
    assert (code, complained) == (0, '')
    assert '1 reproduced wherever decided' in said and f'report: {out / "report.html"}' in said
    assert 'not in the catalogue: Removing the dense layers' in said and 'pictures' in said
    names = {'report.html', 'ledger.md', 'ledger.csv', 'catalogue.csv', 'accuracies.md', 'accuracies.csv'}
    assert {path.name for path in out.iterdir()} == names
    # The ledger's own folder, within the results, is no result.
    shutil.copytree(out, results / 'ledger')
    assert 'ledger' not in {pathlib.Path(one).name for one in evidence.gather(results, []).without}


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        (['--results={results}/depht'], 'depht is no folder. Did you mean'),
        (['--results={results}', '--workdirs={results}/no/such'], '--workdirs: '),
        (['--results={results}/pictures'], 'there is no claims.csv in'),
        (['--results='], 'nothing to gather'),
        (['--result={results}', '--oot=x'], 'lists the flags'),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(results, monkeypatch, capsys, arguments, reason):
    code, said, complained = run(monkeypatch, capsys, *(one.format(results=results) for one in arguments))
    assert (code, said) == (2, '') and reason in complained and complained.count('\n') == 1


def test_a_damaged_file_ends_the_command_and_leaves_nothing(results, tmp_path, monkeypatch, capsys):
    path = results / 'depth' / 'claims.csv'
    path.write_text(path.read_text().replace('reproduced', 'contradicted'))
    code, _, complained = run(monkeypatch, capsys, f'--results={results}', f'--out={tmp_path / "out"}')
    assert code == 2 and str(path) in complained and complained.count('\n') == 1 and not list((tmp_path / 'out').glob('*'))


def test_the_committed_results_are_all_in_the_catalogue_and_readme_says_what_they_give():
    found = evidence.gather(ROOT / 'results', [])
    assert not found.strangers
    assert sum(len(line.evidence) for line in found.lines) > 150
    said = MARKS.findall((ROOT / 'README.md').read_text())
    assert said in ([], [ledger_text.first_screen(found)])
