"""Verification as a user runs it, small; its table, claims and figures from hand-made rows."""

import json

import numpy as np
import pytest
import small_runs
from PIL import Image

from cnn_research import trials
from cnn_research.data import pairs
from cnn_research.data.sources import open_source
from cnn_research.errors import ResearchError
from cnn_research.reporting import claims
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.verification import report
from configs import verification as recipe
from experiments import verification
from experiments.launch import command, matching, verifying

RECIPE = """
def get_config(scale):
    return {
        'architecture': 'mlp_300_100 resized(1=8,2=6) replaced(1,nonlinearity=relu) replaced(2,nonlinearity=relu)',
        'data': {'name': 'FACES', 'train': 'train', 'test': 'train', 'holdout': 0.1, 'resize': 28, 'batch_size': 8,
                 'normalization': 'mean_std'},
        'schedule': {'steps': 6},
        **{name: {'every': {'steps': 6}} for name in ('checkpoint', 'evaluate', 'log')},
    }
def get_rows(scale):
    return {'small': {}}
def get_options(scale):
    return {'verification': {'folds': 4, 'networks': 2, 'siamese': 4, 'costs': '1', 'images': 2, 'hardest': 2}}
SCALES = ('tiny',)
"""


def portraits(root, split, people):
    """Four pictures of each person: a face of their own under noise."""
    for person in people:
        random = np.random.default_rng(person)
        face = random.integers(0, 200, (8, 8)).repeat(4, 0).repeat(4, 1)
        (root / split / f'p{person:02d}').mkdir(parents=True)
        for number in range(4):
            noisy = (face + random.integers(0, 55, face.shape)).astype(np.uint8)
            Image.fromarray(noisy).save(root / split / f'p{person:02d}' / f'p{person:02d}_{number + 1:04d}.png')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with pictures, a recipe, and a workdir where verification has run."""
    root = tmp_path_factory.mktemp('verification')
    portraits(root / 'faces', 'train', range(12))
    portraits(root / 'faces', 'test', range(20, 28))
    portraits(root / 'faces', 'both', range(8, 16))
    (root / 'tiny.py').write_text(RECIPE.replace('FACES', f'folder:{root / "faces"}'))
    verification.main(given(root))
    return root


def given(root, *more, workdir='run'):
    words = [f'--config={root / "tiny.py"}:tiny', f'--workdir={root / workdir}', *(f'--config.{one}' for one in more)]
    return command.parse('verification', '', [word.replace('--config.dry_run', '--dry_run') for word in words], verification.FIELDS)


def test_every_row_is_told_and_its_protocol_named(place):
    text = (place / 'run' / 'verification.csv').read_text()
    for features, measures in {**report.BASELINES, 'small': (*report.LEARNED, 'siamese')}.items():
        assert text.count(f'{features},') + text.count(f'"{features}",') >= len(measures)
    assert text.count('unrestricted') == 4 and text.count('restricted') == 4 + 4 and '144 pairs' in text
    page = (place / 'run' / 'README.md').read_text()
    assert 'frontalisation' in page and 'Nadeau' in page and 'no published protocol' in page and '97.35' in page
    assert {path.stem for path in (place / 'run' / 'figures').glob('*.png')} == {'accuracy', 'roc', 'hardest'}


def test_the_same_command_again_trains_and_judges_nothing_and_goes_on_where_something_is_missing(place, capsys):
    before = (place / 'run' / 'verification.csv').read_text()
    outcomes = sorted((place / 'run' / 'outcomes').glob('*.json'))
    assert len(outcomes) == 4 + 2  # the baselines, and both networks
    verification.main(given(place))
    assert '[verification]' not in ''.join(capsys.readouterr())
    small_runs.flip(next(path for path in outcomes if json.loads(path.read_text())['row'] == 'LBP'))
    verification.main(given(place))
    said = ''.join(capsys.readouterr())
    assert said.count('[verification]') == 1 and '[small' not in said and (place / 'run' / 'verification.csv').read_text() == before


def test_a_stop_between_two_rows_keeps_the_first(place):
    one = given(place, 'verification.seed=7', workdir='stopped')
    asked = iter([False, True])
    with pytest.raises(command.Stopped):
        matching.outcomes(matching.Table(one, verifying.opened(one), [], [], (1.0,)), lambda: next(asked))
    assert [json.loads(path.read_text())['row'] for path in (place / 'stopped' / 'outcomes').glob('*.json')] == ['pixels']


def test_networks_learn_nobody_whom_they_are_judged_on(place):
    one = given(place)
    judged = verifying.opened(one)
    for training in verifying.planned(one, judged, {'small': {}}):
        learned = set(judged.labels[training.learned])
        own = judged.pairs.of(judged.groups[training.group])
        assert learned and not learned & set(judged.labels[np.concatenate([own.first, own.second])])
        found = training.trial.task.args[1]
        assert len(found['train'].class_names) == training.classes == len(learned) and 'holdout' in found
        told = json.loads((training.trial.workdir / 'result.json').read_text())
        assert told['class_names'] == list(found['train'].class_names)
        assert not set(told['class_names']) & {judged.pool.class_names[label] for label in set(judged.labels[own.first])}


def test_a_split_may_be_learned_from_alone_and_the_other_judged(place):
    judged = verifying.opened(given(place, 'data.test=test', 'verification.networks=1'))
    only = np.array([name < 'p20' for name in judged.pool.class_names])
    assert (judged.pairs.people[only] == -1).all() and (judged.pairs.people[~only] >= 0).all()
    (training,) = verifying.planned(given(place, 'data.test=test', 'verification.networks=1'), judged, {'small': {}})
    assert training.classes == 12


def test_a_trained_network_is_judged_on_others_and_refused_on_those_it_learned(place, tmp_path):
    one = given(place)
    home = verifying.planned(one, verifying.opened(one), {'small': {}})[0].trial.workdir
    with pytest.raises(ResearchError, match=r'has learned p\d\d and \d others, on whom it would be judged'):
        verification.main(given(place, f'network={home}', workdir='refused'))
    assert not (place / 'refused').exists()
    verification.main(given(place, f'network={home}', 'data.train=test', 'data.test=test', workdir='named'))
    table = (place / 'named' / 'verification.csv').read_text()
    assert table.count(',unrestricted,') == table.count('other identities of the set') == 3
    assert not (place / 'named' / 'networks').exists()


def test_pairs_may_be_named_by_a_file(place, tmp_path):
    rows = ['2 1', 'p00 1 2', 'p00 1 p01 1', 'p02 1 2', 'p02 1 p03 9']
    (tmp_path / 'pairs.txt').write_text('\n'.join(rows))
    with pytest.raises(ResearchError, match='no pair of two persons in fold 2'):
        verifying.opened(given(place, f'verification.pairs={tmp_path / "pairs.txt"}', 'verification.folds=10'))
    (tmp_path / 'pairs.txt').write_text('\n'.join([*rows[:-1], 'p02 1 p03 1']))
    file = f'verification.pairs={tmp_path / "pairs.txt"}'
    with pytest.raises(ResearchError, match='verification.folds=3 does not go with .*pairs.txt, which has 2'):
        verifying.opened(given(place, file, 'verification.folds=3'))
    judged = verifying.opened(given(place, file, 'verification.networks=1', 'verification.folds=2'))
    assert judged.pairs.words == '4 pairs' and judged.notes == ()


def test_a_dry_run_says_the_plan_and_leaves_nothing(place, capsys):
    verification.main(given(place, 'dry_run', workdir='planned'))
    said = capsys.readouterr().out
    assert said.startswith('144 pairs of folder:') and 'folds 1 to 2; 3 to 4' in said and said.count('parameters') == 2
    assert not (place / 'planned').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('verification.folds=20',), 'too few for 20 folds, each of two identities or more; the most that fits is 6 folds'),
        (('verification.networks=3',), '3 networks for 4 folds .* the most that fits is 2'),
        (('verification.images=5',), '0 identities outside network 1 have 5 images or more'),
        (('data.test=both',), 'p08 and 3 others would be learned from and judged'),
        (('verification.pairs=nowhere.txt',), 'the pairs in nowhere.txt cannot be read'),
        (('verification.pairs=x', 'verification.same=4'), 'verification.same=4 is of pairs that are drawn'),
        (('verification.eyes=nowhere.csv',), 'the eyes in nowhere.csv cannot be read'),
        (('verification.different=10000',), 'pairs of two identities, and 10000 are asked for'),
        (('architecture=perceptron',), 'whose rows say it'),
        (('data.per_class=3',), 'data.per_class=3 does not go with verification'),
        (('verification.costs=',), 'verification.costs'),
        (('data.name=digits', 'data.train=train', 'data.test=test'), 'would be learned from and judged'),
        (('network=nowhere',), 'nowhere'),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line_before_any_work(place, arguments, message):
    with pytest.raises(ResearchError, match=message) as caught:
        verification.main(given(place, *arguments, workdir='refused'))
    assert '\n' not in str(caught.value) and not (place / 'refused').exists()


@pytest.mark.slow
def test_a_training_that_fails_stands_in_the_report_and_stops_no_other(place, monkeypatch):
    attempt = trials._attempt
    monkeypatch.setattr(trials, '_attempt', lambda trial, *more: 'failed' if trial.point == 'network 2' else attempt(trial, *more))
    with pytest.raises(ResearchError, match='2 trainings failed, small, network 2, seed 1'):
        verification.main(given(place, 'seed=1'))
    table = (place / 'run' / 'verification.csv').read_text()
    assert table.count('not finished: seed 1') == 4 and 'LBP,chi-squared' in table
    verification.main(given(place))


@pytest.mark.parametrize('scale', recipe.SCALES)
def test_recipes_are_read_and_their_networks_exist(scale):
    parsed = command.parse('verification', f'configs/verification.py:{scale}', [], verification.FIELDS)
    verifying.check(parsed)
    assert next(iter(recipe.get_rows(scale).values()))['architecture'] == parsed.config.architecture


def test_att_faces_parts_are_thirty_and_ten(data_dir):
    words = ['--config=configs/verification.py:att_faces', f'--config.data.dir={data_dir}', '--config.data.train=train']
    words += ['--config.data.test=test', '--config.verification.folds=5', '--config.verification.networks=1']
    judged = verifying.opened(command.parse('verification', '', words, verification.FIELDS))
    assert judged.pairs.same.sum() == 450 and np.bincount(judged.pairs.people + 1).tolist() == [30, 2, 2, 2, 2, 2]


# ---- the report, from hand-made rows

ABOUT = report.About(
    'some faces',
    '5 of 6 pairs',
    50.0,
    [[0, 1], [2, 3], [4, 5]],
    '9 identities in 99 images',
    3,
    'net',
    'shared',
    ['less'],
    False,
    False,
    False,
    0,
)


def row(features, measure, level, learned='', seeds=1, problem=''):
    random = np.random.default_rng(len(features) + len(measure))
    folds = {seed: (level + random.normal(size=6)).tolist() for seed in range(seeds)}
    return report.Row(
        features, measure, learned, folds, {s: [100 - x for x in each] for s, each in folds.items()}, np.linspace(0, 1, 201), problem
    )


def some(net=80, shared=80, weighted=86, problem=''):
    base = [row(name, measure, 60) for name, measures in report.BASELINES.items() for measure in measures]
    own = [
        row('net', 'inner', net, 'own', 3, problem),
        row('net', 'weighted', weighted, 'own', 3),
        row('shared', 'inner', shared, 'own', 3),
    ]
    return base + own


NETS = [
    report.Net('net', 100, {seed: [10.0, 11, 12 + seed] for seed in range(3)}),
    report.Net('less', 200, {seed: [20.0 + seed, 22, 21] for seed in range(3)}),
    report.Net('shared', 50, {seed: [10.0, 10, 10] for seed in range(3)}),
]


def verdicts(rows, about=ABOUT, nets=NETS):
    return {one.claim.sentence.split(',')[0]: one.verdict for one in report.judged(rows, nets, about)}


def test_claims_hold_the_rows_against_the_paper():
    found = verdicts(some())
    assert [found[one] for one in found if 'Learned' in one] == ['reproduced'] * 2
    assert found['The weighted chi-squared is above the inner product.'] == 'reproduced'
    assert [found[one] for one in found if 'names people worse' in one] == ['reproduced']
    assert found['Local connections are above convolutions of the same anatomy on aligned faces.'] == 'no direction claimed'
    aligned = verdicts(some(shared=60), ABOUT._replace(aligned=True))
    assert aligned['Local connections are above convolutions of the same anatomy on aligned faces.'] == 'reproduced'
    assert verdicts(some(net=40))['Learned features are above local binary patterns.'] == 'contradicted'


def test_claims_are_over_networks_whose_folds_share_them_and_wider_for_what_they_share():
    rows = some()
    one = next(j for j in report.judged(rows, NETS, ABOUT) if 'patterns' in j.claim.sentence)
    ours, other = (next(r for r in rows if r.label == name) for name in ('net: inner product', 'LBP: chi-squared'))
    gap = np.mean(list(ours.accuracy.values()), axis=0) - np.mean(list(other.accuracy.values()), axis=0)
    units = gap.reshape(3, 2).mean(axis=1)
    told = claims.interval(units, overlap=0.5)
    (difference,) = one.differences
    assert (difference.n, one.unit) == (3, 'split') and (difference.low, difference.high) == pytest.approx(told[1:])


def test_fewer_seeds_a_demonstration_and_what_is_not_finished_decide_nothing():
    said = {'no verdict', 'no direction claimed'}
    assert set(verdicts(some(), ABOUT._replace(seeds=2)).values()) <= said
    assert set(verdicts(some(), ABOUT._replace(demonstration=True)).values()) <= said
    assert verdicts(some(problem='not finished: seed 2'))['Learned features are above local binary patterns.'] == 'no verdict'


def test_the_report_shows_every_row_its_pairs_and_what_it_cannot_show(tmp_path):
    face = np.zeros((8, 8, 3), np.uint8)
    plate = report.Plate('net', [(face, face, 'one', 'another')], [])
    show = Shelf(tmp_path, 'verification', ())
    title, lead, sections = report.report(some(), NETS, ABOUT, plate, show)
    text = ' '.join(show.markdown)
    assert title == 'Face verification on some faces' and lead.startswith('5 of 6 pairs') and 'Claims: ' in lead
    assert text.count('| 5 of 6 pairs |') == len(some()) and 'no eyes were given' in text and 'from memory' in text
    assert {'verification', 'networks', 'claims', 'printed_deepface_lfw', 'printed_deepface_sfc'} == set(show.tables)
    mean, error = report.over_folds({0: [1.0, 3, 5], 1: [3, 5, 7]})
    assert (mean, error) == (4, pytest.approx(2 / np.sqrt(3)))


def test_the_shares_of_a_row_without_networks_say_what_they_used():
    used = {(one.protocol, one.used) for one in some()}
    assert ('unsupervised', 'nothing') in used and ('restricted', 'pair labels') in used
    assert {('unrestricted', 'identities'), ('unrestricted', 'identities, pair labels')} <= used
    assert report.Row('file', 'weighted', 'outside', {}, {}, None).protocol == 'restricted, outside data'


def test_outcomes_of_another_set_of_pairs_have_another_name(place):
    def names(*more):
        one = given(place, *more)
        judged = verifying.opened(one)
        return {part.name for part in matching.parts(matching.Table(one, judged, [], [], (1.0,)))}

    source = open_source(f'folder:{place / "faces"}', 'train')
    assert isinstance(pairs.drawn(source, source.labels(), np.arange(48), 4, 0), pairs.Pairs)
    assert len(names()) == 4 and names() == names() and not names() & names('verification.seed=1')
