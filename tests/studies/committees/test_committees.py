"""Committees: measures against loops and planted answers, claims from planted columns, and a table of small columns from end to end."""

import itertools
import json
import shutil

import numpy as np
import pytest
from page_reader import Reader

from cnn_research import checkpoints, journal, records, trials
from cnn_research.data.sources import open_source, subset
from cnn_research.errors import ConfigError
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.committees import measures, report
from experiments import committee
from experiments.launch import columns, command, pages

RANDOM = np.random.default_rng(0)
SAID = RANDOM.dirichlet(np.ones(4), (5, 60))
LABELS = RANDOM.integers(0, 4, 60)


# ---- measures


def test_measures_against_loops():
    named = [[max(range(4), key=lambda k: SAID[c, n, k]) for n in range(60)] for c in range(5)]
    errors = [[named[c][n] != LABELS[n] for n in range(60)] for c in range(5)]
    np.testing.assert_array_equal(measures.wrong(SAID, LABELS), errors)
    assert measures.oracle(SAID, LABELS) == np.mean([all(errors[c][n] for c in range(5)) for n in range(60)])
    shares = measures.disagreement(SAID)
    for one, other in itertools.product(range(5), repeat=2):
        assert shares[one, other] == np.mean([named[one][n] != named[other][n] for n in range(60)])
    names, between = measures.between(shares, ['a', 'a', 'b', 'c', 'a'])
    assert names == ['a', 'b', 'c'] and np.isnan(between[1, 1]) and np.isnan(between[2, 2])
    assert between[0, 0] == pytest.approx(np.mean([shares[0, 1], shares[0, 4], shares[1, 4]]))
    assert between[0, 1] == between[1, 0] == pytest.approx(np.mean([shares[0, 2], shares[1, 2], shares[4, 2]]))
    first, second = measures.guesses(SAID[0])
    assert first.tolist() == named[0] and all(sorted(SAID[0, n])[-2] == SAID[0, n, second[n]] for n in range(60))


def test_what_is_equal_or_no_number():
    assert measures.wrong(np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([0, 1])).tolist() == [False, True]
    assert measures.wrong(np.array([[0.9, np.nan]]), np.array([0])).tolist() == [True]
    assert [guess.tolist() for guess in measures.guesses(np.array([[0.25] * 4]))] == [[0], [1]]


def test_the_curve_is_of_committees_of_every_size():
    found = measures.curve(SAID, LABELS, 10, 3)
    alone = measures.wrong(SAID, LABELS).mean(axis=1)
    assert found.shape == (10, 5) and found[:, 0].tolist() == [*alone, *alone]  # every column begins as often
    assert set(found[:, -1]) == {measures.wrong(SAID.mean(axis=0), LABELS).mean()}
    pairs = [measures.wrong(SAID[list(pair)].mean(axis=0), LABELS).mean() for pair in itertools.combinations(range(5), 2)]
    assert all(min(abs(value - pair) for pair in pairs) < 1e-12 for value in found[:, 1]) and len(set(found[:, 1])) > 1
    np.testing.assert_array_equal(found, measures.curve(SAID, LABELS, 10, 3))
    assert not np.array_equal(found[:, 1:4], measures.curve(SAID, LABELS, 10, 4)[:, 1:4])


def planted(rows, seeds, holdout=lambda row, seed: 0.1):
    """{(row, seed): what it says of as many images as there are columns}: each names all rightly but one image of its own."""
    keys, found = [(row, seed) for row in rows for seed in seeds], {}
    for place, key in enumerate(keys):
        said = np.tile([0.9, 0.1], (len(keys), 1))
        said[place] = 0.0, 1.0
        found[key] = measures.Said(said, holdout(*key))
    return found, np.zeros(len(keys), int)


def test_a_replicate_uses_every_column_of_its_seeds_once_and_none_of_another():
    rows, seeds = ('none', 'width_10', 'width_20', 'deskewed'), range(5)
    columns_, labels = planted(rows, seeds, lambda row, seed: 0.05 if row == rows[seed % 4] else 0.1)
    found = measures.replicates(columns_, labels, ('width_10', 'width_20'), 'none')
    place = {key: number for number, key in enumerate(columns_)}
    for seed in seeds:
        own = [place[row, seed] for row in rows]
        assert np.flatnonzero(found[report.MEAN][seed]).tolist() == sorted(own) and found[report.MEAN][seed].sum() == pytest.approx(1)
        assert not found[report.ACROSS][seed].any()  # three others outvote it
        assert np.flatnonzero(found[report.BEST][seed]).tolist() == [place[rows[seed % 4], seed]]
    assert list(found[report.SAME]) == list(found[report.MIXED]) == [0, 1]  # of five seeds two pairs
    for number, pair in enumerate(((0, 1), (2, 3))):
        # Of two columns 0.0 + 0.9 against 1.0 + 0.1: the wrong one wins.
        for row in (report.SAME, report.MIXED):
            assert np.flatnonzero(found[row][number]).tolist() == sorted(place[one, seed] for one in rows for seed in pair)
            assert np.unique(found[row][number][found[row][number] > 0]).tolist() == [0.25]
        assert np.flatnonzero(found[report.PLAIN][number]).tolist() == [place['none', seed] for seed in pair]
        widths = sorted(place[one, seed] for one in rows[1:3] for seed in pair)
        assert np.flatnonzero(found[report.WIDTHS][number]).tolist() == widths
    assert report.WIDTHS not in measures.replicates(planted(('none', 'histeq'), seeds)[0], labels[:10], ('width_10',), 'none')
    less = {key: said for key, said in columns_.items() if key != ('none', 3)}
    assert list(measures.replicates(less, labels, (), 'none')[report.ACROSS]) == [0, 1, 2, 4]  # a seed that lacks a row is none
    blind = {key: said._replace(holdout=None) for key, said in columns_.items()}
    assert report.BEST not in measures.replicates(blind, labels, (), 'none')
    assert not measures.replicates(planted(('none',), seeds)[0], np.zeros(5, int), (), 'none')


# ---- claims and pages


def shares(*errors, images=40):
    """{replicate: (N,)}, with so many wrong of the images."""
    return {number: (np.arange(images) < count).astype(float) for number, count in enumerate(errors)}


REPLICATES = {
    report.MEAN: shares(10, 11, 12),
    report.BEST: shares(8, 8, 9),
    report.ACROSS: shares(5, 5, 7),
    report.SAME: shares(9, 9),
    report.MIXED: shares(6, 6),
    report.WIDTHS: shares(9, 9, 9),
    report.PLAIN: shares(6, 7, 6),
}


def test_claims_come_out_either_way_and_only_where_there_are_replicates():
    found = report.judged(REPLICATES)
    assert [one.verdict for one in found] == ['reproduced', 'reproduced', 'no verdict', 'contradicted']
    assert [one.differences[0].mean for one in found] == pytest.approx([100 * 16 / 120, 100 * 8 / 120, 7.5, -100 * 8 / 120])
    assert all(one.differences[0].images.low <= one.differences[0].mean <= one.differences[0].images.high for one in found)
    assert '2 seed pairs; a verdict needs 3' in found[2].reason and 'two seeds that no other pair shares' in found[2].claim.note
    assert {one.verdict for one in report.judged(REPLICATES, 'seed 3 failed')} == {'no verdict'}
    assert {one.verdict for one in report.judged(REPLICATES, demonstration=True)} == {'no verdict'}
    some = {row: of for row, of in REPLICATES.items() if row != report.BEST}
    assert len(report.judged(some)) == 3 and not report.judged({})


def test_published_numbers_are_errors_of_the_whole_set():
    assert [line.get('committee', line.get('error')) for line in report.printed('mnist:3.0.1')] == [0.35, 0.27, 0.23, 0.17]
    assert [line.get('committee', line.get('error')) for line in report.printed('gtsrb_32')] == [0.54, 0.56, 1.16]
    assert report.printed('digits') == report.printed('mnist') and not report.printed('folder:mnist') and not report.printed('cifar10')
    about = report.About('digits', 300, 'centre', 50)
    caption = report.table([report.Column('none', 0, 3.0, 2.0)], None, about).caption
    assert 'Published numbers are of all of mnist, and digits is a part of it.' in caption
    assert 'is a part' not in report.table([], None, about._replace(data='mnist')).caption


@pytest.mark.parametrize('names', ['0123456789', ('speed limit 20 km/h, end', 'no vehicles', 'x' * 40)])
def test_a_plate_names_every_image(names):
    misses = [report.Miss(np.full((8, 8, 1 + 2 * (n % 2)), 9 * n, np.uint8), names[n % 3], names[1], names[2]) for n in range(14)]
    figure = report.plate(misses)
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == 14 and all(len(axes.get_title()) <= 20 and axes.get_xlabel() for axes in drawn)
    assert drawn[0].get_title()[:5] == names[0][:5]


def test_a_table_without_columns_says_so(tmp_path):
    lines = [report.Column('none', seed, None, None, problem='not finished: seed 0') for seed in range(2)]
    title, lead, sections = report.report(lines, None, report.About('mnist', 0, 'centre', 50), Shelf(tmp_path, 'x', ()))
    assert lead == '2 columns are planned, and fewer than two are finished.' and [name for name, _ in sections] == [
        'Committees',
        'Every column',
    ]


# ---- the command

SMALL = (
    '--config.architecture=perceptron',
    '--config.loss.name=squared_error',
    '--config.data.examples=300',
    '--config.data.test_examples=100',
    '--config.schedule.epochs=0.5',
    '--config.trials.seeds=1',
)


def parsed(workdir, *arguments, small=SMALL):
    line = [*small, *arguments, f'--workdir={workdir}']
    return command.parse('committee', 'configs/committee.py:smoke', line, committee.FIELDS)


@pytest.fixture(scope='module')
def table(tmp_path_factory):
    """A finished table of three preprocessings."""
    home = tmp_path_factory.mktemp('committee')
    committee.main(parsed(home))
    return home


def test_a_table_from_end_to_end(table):
    _, found = trials.records_of(table)
    said = [columns.said(record.workdir, record.protocol) for record in found]
    assert len(found) == 3 and all(said) and len({one.images for one in said}) == 1 and len({record.protocol for record in found}) == 3
    test = subset(open_source('digits', 'test'), np.arange(100))
    images, labels = test.read(np.arange(100))
    for record, one in zip(found, said, strict=True):
        trained = checkpoints.load(record.workdir)
        assert trained.config.data.preprocessing == record.row
        np.testing.assert_allclose(one.probabilities, trained.predict(images), atol=1e-6)
        assert measures.wrong(one.probabilities, labels).mean() == record.result['test']['top1_error']
    mean = np.mean([one.probabilities for one in said], axis=0)
    missed = np.flatnonzero(measures.wrong(mean, labels))
    page = Reader((table / 'report.html').read_text()).text
    assert f'their committee on {len(missed):.2f} %' in page and 'Ciresan et al. 2012: 35 columns' in page
    drawn = columns.drawn([record.workdir for record in found], said)
    assert len(drawn) == min(len(missed), report.DRAWN) and drawn[0].truth == str(labels[missed[0]])
    np.testing.assert_array_equal(drawn[0].image, images[missed[0]])
    assert all(one.first != one.truth and one.second != one.first for one in drawn)
    assert {path.name for path in (table / 'figures').glob('*.png')} == {'columns.png', 'disagreement.png', 'wrong.png'}


def test_what_is_kept_is_made_again_where_it_is_damaged(table, tmp_path):
    _, found = trials.records_of(table)
    record, trial = found[0], next(one for one in committee._planned(parsed(table)) if one.key == found[0].key)
    path = columns._place(record.workdir, record.protocol)
    before = columns.said(record.workdir, record.protocol)
    assert before and trial.workdir == record.workdir
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert columns.said(record.workdir, record.protocol) is None
    assert 'is not kept: give the command again' in Reader(pages.report([table], tmp_path)).text
    columns.measure(trial)
    np.testing.assert_array_equal(columns.said(record.workdir, record.protocol).probabilities, before.probabilities)
    stamp = path.stat().st_mtime_ns
    columns.measure(trial)
    assert path.stat().st_mtime_ns == stamp  # once


@pytest.mark.slow
def test_finished_runs_join_and_are_not_trained_again(table, tmp_path, monkeypatch):
    monkeypatch.setattr('cnn_research.train._trained', lambda *given: pytest.fail('it trains'))
    pattern = f'{table}/trials/*'
    planned = committee._planned(parsed(tmp_path, f'--config.committee.runs={pattern}'))
    assert [trial.part for trial in planned] == [''] * 3 and {trial.workdir.parent for trial in planned} == {table / 'trials'}
    home = tmp_path / 'joined'
    committee.main(parsed(home, f'--config.committee.runs={pattern}', '--config.committee.train=false'))
    _, found = trials.records_of(home)
    assert [record.part for record in found] == ['adopted'] * 3 and {record.row for record in found} == {'none', 'width_10', 'width_20'}
    assert 'trained here' in Reader((table / 'report.html').read_text()).text
    assert 'trained here' not in Reader((home / 'report.html').read_text()).text
    committee.main(parsed(tmp_path / 'planned', f'--config.committee.runs={pattern}'))  # in the place of the planned ones
    assert 'trained here' not in Reader((tmp_path / 'planned' / 'report.html').read_text()).text
    assert (table / 'equal.csv').read_text() == (home / 'equal.csv').read_text()  # whatever the order in which they were found
    # Runs of another recipe stand in the committees and not in the claims.
    one = [trial for trial in planned if trial.row == 'none'][0].workdir
    other = parsed(tmp_path, f'--config.committee.runs={one}', '--config.optimizer.learning_rate=0.5')
    assert [trial.part for trial in committee._planned(other)] == [''] * 3 + ['adopted']


def refused(tmp_path, *arguments, small=SMALL):
    home = tmp_path / 'never'
    with pytest.raises(ConfigError) as told:
        committee.main(parsed(home, *arguments, small=small))
    assert not home.exists() and '\n' not in str(told.value)
    return str(told.value)


def test_what_cannot_join_is_refused(table, tmp_path):
    _, found = trials.records_of(table)
    runs = [f'--config.committee.runs={record.workdir}' for record in found]
    other = [line for line in SMALL if 'test_examples' not in line]
    assert 'tested on other images or views (digits (test), centre view); the table is of 90 images' in refused(
        tmp_path, runs[0], '--config.data.test_examples=90', small=other
    )
    assert "in evaluate.views='ten'" in refused(tmp_path, runs[0], '--config.evaluate.views=ten')
    assert 'is not the workdir of a finished training' in refused(tmp_path, '--config.committee.runs=nowhere/*')
    assert 'twice' in refused(tmp_path, f'{runs[0]},{found[0].workdir.parent}/*')
    shutil.copytree(found[0].workdir, tmp_path / 'again')
    assert 'which are one training' in refused(tmp_path, f'{runs[0]},{tmp_path}/again')
    clutter = ('--config.data.name=clutter', '--config.architecture=zfnet_32', '--config.loss.name=softmax')
    assert "'width_10' is of grey digits, but clutter (train) has images of 3 channels" in refused(tmp_path, *clutter)
    assert 'names none' in refused(tmp_path, '--config.committee.train=false')
    assert 'whose rows say it' in refused(tmp_path, '--config.data.preprocessing=width_12')
    assert 'trials.grid does not go' in refused(tmp_path, '--config.trials.grid=optimizer.learning_rate=1,2')
    copy = tmp_path / 'copy'
    shutil.copytree(found[0].workdir, copy)
    told = journal.result(copy)
    place = copy / 'checkpoints' / f'{told["step"]:09d}' / 'manifest.json'
    content = json.loads(place.read_text())
    content['class_names'] = [*'abcdefghij']
    content.pop('sha256')
    records.write(place, content)
    assert 'tells 10 classes, a, b, c, ...; the table tells the 10 of digits' in refused(tmp_path, f'--config.committee.runs={copy}')
