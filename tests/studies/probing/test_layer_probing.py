"""Layer probing as a user runs it, small; and its table, claims and figures from hand-made outcomes."""

import json
import shutil

import numpy as np
import pytest

from cnn_research import config as configs
from cnn_research import probes, protocol, train, trials
from cnn_research.errors import ArchitectureError, ConfigError, ResearchError
from cnn_research.reporting import page
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.probing import report
from configs import layer_probing as recipe
from experiments import layer_probing
from experiments.launch import command, pages

SMALL = (
    '--config=configs/layer_probing.py:smoke',
    '--config.data.examples=200',
    '--config.data.test_examples=60',
    '--config.data.holdout=0.005',
    '--config.schedule.steps=6',
    '--config.schedule.warmup.steps=2',
    '--config.schedule.cooldown.steps=2',
    '--config.probe.per_class=2,3',
    '--config.probe.test_per_class=4',
    '--config.probe.costs=0.0001,0.1',
    '--config.probe.folds=2',
)


def given(folder, *more):
    return command.parse('layer_probing', '', [*SMALL, f'--workdir={folder}', *more], layer_probing.FIELDS)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp('probing') / 'run'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_probing.command, 'stopper', lambda: lambda: False)
        layer_probing.main(given(folder, '--config.probe.taps=layer1,layer5,layer7.relu'))
    return folder


@pytest.mark.slow
def test_every_tap_is_probed_before_and_after_training_and_told_once(workdir, capsys):
    (trial,) = (workdir / 'trials').iterdir()
    files = {path: path.stat().st_mtime_ns for path in workdir.rglob('*') if path.suffix in ('.npy', '.json')}
    assert len(list((trial / 'evaluations').glob('probe-*.json'))) == 7  # three taps twice, and the pixels
    layer_probing.main(given(workdir, '--config.probe.taps=layer1,layer5,layer7.relu'))
    assert {path: path.stat().st_mtime_ns for path in files if path.name != 'plan.json'} == {
        path: time for path, time in files.items() if path.name != 'plan.json'
    }
    lines = (workdir / 'probing.csv').read_text().splitlines()
    assert [line.split(',')[0] for line in lines[1:]] == ['pixels', 'layer1', 'layer5', 'layer7.relu']
    assert 'Splits only' in (workdir / 'report.html').read_text()


@pytest.mark.slow
def test_one_more_tap_reads_the_data_again_for_that_tap_alone(workdir, monkeypatch):
    asked = []
    collect = layer_probing.features.collect
    monkeypatch.setattr(layer_probing.features, 'collect', lambda *args, **how: asked.append(args[3]) or collect(*args, **how))
    layer_probing.main(given(workdir, '--config.probe.taps=layer1,layer5,layer7.relu,layer6'))
    assert asked == [['layer6'], ['layer6']]


@pytest.mark.slow
def test_an_outcome_is_that_of_its_features(workdir):
    (trial,) = (workdir / 'trials').iterdir()
    told = next(
        json.loads(p.read_text())['result']
        for p in (trial / 'evaluations').glob('probe-*[0-9a-f]-layer5.json')
        if 'untrained' not in p.name
    )
    options = configs.flat(given(workdir).options)
    (network,) = trials.adopted([str(trial)])
    source, learned, _ = layer_probing._source(given(workdir), network, options)
    labels = source.labels()
    used, drawn = protocol.gathered(protocol.draws(labels, 10, (2, 3), 4, 2, 0, learned))
    arrays = [np.load(path) for path in workdir.glob('features/*/layer5.npy')]
    how = protocol.Protocol(probes.KINDS, (1e-4, 0.1), 2, 'standardised')
    again = [protocol.learning_curve(array, labels[used], drawn, how) for array in arrays]
    keyed = [{kind: {str(size): splits for size, splits in curve.items()} for kind, curve in one.items()} for one in again]
    assert told['outcomes'] in [json.loads(json.dumps(one)) for one in keyed] and told['dimension'] == arrays[0].shape[1]


@pytest.mark.slow
def test_a_finished_network_is_taken_from_elsewhere_and_probed_on_other_data(workdir, tmp_path):
    (trial,) = (workdir / 'trials').iterdir()
    more = (f'--config.network={trial}', '--config.probe.data=digits', '--config.probe.taps=layer2')
    layer_probing.main(given(tmp_path / 'other', *more))
    text = (tmp_path / 'other' / 'report.html').read_text()
    assert 'Layer probing on digits, networks of clutter' in text and not (tmp_path / 'other' / 'trials').exists()
    about, (record,) = trials.records_of(tmp_path / 'other')
    assert record.workdir == trial.resolve() and record.state == 'finished' and not record.reduced
    assert pages.report([tmp_path / 'other']) == text


@pytest.mark.parametrize(
    'argument, message, error',
    [
        ('--config.network=/nowhere', 'not the workdir of a finished training', ConfigError),
        ('--config.probe.taps=layer9', 'layer9', ArchitectureError),
        ('--config.probe.per_class=1,5', 'at least 2', ConfigError),
        ('--config.probe.per_class=5,3', 'rising', ConfigError),
        ('--config.probe.costs=0,1', 'at least', ConfigError),
        ('--config.probe.costs=much', 'rising', ConfigError),
        ('--config.trials.grid=data.batch_size=8,16', 'trials.grid', ConfigError),
    ],
)
def test_what_cannot_be_probed_is_refused_before_any_work(argument, message, error, tmp_path):
    with pytest.raises(error, match=message):
        layer_probing.main(given(tmp_path / 'none', argument))
    assert not (tmp_path / 'none').exists()


@pytest.mark.slow
def test_other_splits_and_other_images_of_the_same_name_are_probed_anew(workdir, tmp_path):
    (trial,) = (workdir / 'trials').iterdir()
    more = (f'--config.network={trial}', '--config.probe.taps=layer2', '--config.probe.splits=1', '--config.probe.test_per_class=9')

    def probed(*further):
        begun = given(tmp_path / 'other', *more, *further)
        layer_probing.main(begun)
        return json.loads(
            (trial / 'evaluations' / f'{layer_probing._protocol(configs.flat(begun.options), "layer2", True)}.json').read_text()
        )

    first, second = probed(), probed('--config.probe.seed=1')
    assert first['result'] != second['result'] and probed() == first
    path = next(path for path in (trial / 'evaluations').iterdir() if path.read_text() == json.dumps(first))
    path.write_text(json.dumps({**first, 'source': 'of other images', 'result': None}))
    assert probed() == first


@pytest.mark.slow
@pytest.mark.parametrize('dry', [(), ('--dry_run',)])
@pytest.mark.parametrize('wrong', ['evaluations', 'checkpoints'])
def test_an_adopted_network_that_cannot_be_read_or_written_to_is_refused_before_any_work(wrong, dry, workdir, tmp_path, monkeypatch):
    (trial,) = (workdir / 'trials').iterdir()
    home = tmp_path / 'network'
    shutil.copytree(trial, home)
    if wrong == 'evaluations':
        shutil.rmtree(home / 'evaluations')
        (home / 'evaluations').write_text('a file')
    else:
        arrays = max(home.glob('checkpoints/*/arrays.npz'))
        content = bytearray(arrays.read_bytes())
        content[len(content) // 2] ^= 1
        arrays.write_bytes(content)
    monkeypatch.setattr(layer_probing.features, 'collect', lambda *_, **how: pytest.fail('it collected'))
    with pytest.raises(ResearchError, match=f'{home}/{wrong}.* cannot be (written|read)'):
        layer_probing.main(given(tmp_path / 'other', f'--config.network={home}', '--config.probe.taps=layer3', *dry))
    assert not (tmp_path / 'other').exists()


@pytest.mark.slow
def test_two_networks_of_one_seed_are_refused(workdir):
    (trial,) = (workdir / 'trials').iterdir()
    with pytest.raises(ConfigError, match='seed 0'):
        trials.adopted([str(trial), str(trial)])


@pytest.mark.parametrize('scale', recipe.SCALES)
def test_a_scale_is_whole(scale):
    parsed = command.parse('layer_probing', f'configs/layer_probing.py:{scale}', [], layer_probing.FIELDS)
    config = configs.check(parsed.config)
    assert layer_probing._taps(config, configs.flat(parsed.options)) == [f'layer{number}' for number in range(1, 8)]


# ---- the report


def row(tap, trained=True, mean=50.0, seeds=3, slope=10.0):
    """Accuracies that rise with the number of training images, differ by seed and by split, and are higher for the softmax."""

    def splits(seed, kind, size):
        return [
            {
                'accuracy': (mean + slope * (size == 30) + seed + 0.1 * split + (kind == 'softmax')) / 100,
                'cost': 0.1 * (1 + split),
                'validation': [],
                'unsettled': 0.0,
            }
            for split in range(4)
        ]

    outcomes = {seed: {kind: {str(size): splits(seed, kind, size) for size in (5, 30)} for kind in probes.KINDS} for seed in range(seeds)}
    return report.Row(tap, trained, 123, 43, 430, outcomes, probes.TOLERANCE)


LAYERS = [f'layer{number}' for number in range(1, 8)]
ABOUT = report.About('cifar10', 'caltech101_subset', 6, 'standardised', 4, '')


def rows(means=(40, 45, 50, 55, 60, 58, 57), seeds=3):
    trained = [row(tap, True, mean, seeds) for tap, mean in zip(LAYERS, means, strict=True)]
    return [*trained, *(row(tap, False, 20.0, seeds) for tap in LAYERS), row('pixels', True, 15.0, 1)]


def test_a_cell_is_of_networks_where_there_are_three_and_of_splits_else():
    cells = {line['features']: line for line in report.table(rows(), '').rows}
    assert cells['layer2']['svm'] == pytest.approx([55.15, 56.15, 57.15]) and cells['layer2']['softmax'] == pytest.approx(
        [56.15, 57.15, 58.15]
    )
    assert cells['layer2']['untrained svm'] == pytest.approx([30.15, 31.15, 32.15])
    assert cells['pixels']['svm'] == pytest.approx([25.0, 25.1, 25.2, 25.3]) and cells['pixels']['untrained svm'] is None
    assert cells['layer5']['paper svm'] == 86.2 and cells['layer5']['paper softmax'] == 82.9 and cells['layer6']['paper svm'] is None
    assert cells['layer1']['cost'] == '0.1 to 0.4'
    two = {line['features']: line for line in report.table(rows(seeds=2), '').rows}
    assert two['layer2']['svm'] == pytest.approx([55.5, 55.6, 55.7, 55.8])


def uneven(*means, **how):
    """Rows whose differences are not the same in all seeds, which would decide nothing."""
    found = rows(*means, **how)
    for number, one in enumerate(found):
        for seed, told in one.outcomes.items():
            for outcome in told['svm']['30']:
                outcome['accuracy'] += 1e-4 * seed * number**2
    return found


def test_claims_are_about_networks():
    verdicts = [one.verdict for one in report.judged(uneven(), ABOUT)]
    assert verdicts == ['reproduced', 'reproduced', 'no direction claimed']
    assert report.judged(uneven(), ABOUT)[2].differences[0].mean == pytest.approx(-3, abs=0.3)
    falling = report.judged(uneven((60, 55, 50, 45, 40, 41, 42)), ABOUT)
    assert [one.verdict for one in falling] == ['contradicted', 'contradicted', 'no direction claimed']
    assert [one.verdict for one in report.judged(uneven(seeds=2), ABOUT)] == ['no verdict', 'no verdict', 'no direction claimed']
    assert report.judged(uneven(), ABOUT._replace(data='clutter'))[0].verdict == 'no verdict'
    assert report.judged(uneven(), ABOUT._replace(problem='reduced'))[0].verdict == 'no verdict'
    assert report.judged([row('layer2.relu')], ABOUT) == []


def with_shares(row, share, seed=0, size=30, kind='svm'):
    row.outcomes[seed][kind][str(size)][1]['unsettled'] = share
    return row


@pytest.mark.parametrize(
    'share', [3e-4, None, *(pytest.param(share, marks=pytest.mark.slow) for share in (float('nan'), 2 * probes.TOLERANCE))]
)
def test_what_did_not_settle_is_marked_wherever_it_stands_and_decides_nothing(share, tmp_path):
    given = rows()
    assert not any('†' in text for text in written(given, tmp_path / 'settled').values())
    with_shares(given[4], share)  # layer 5, trained
    shown = 'inf' if share is None or share != share else f'{share:.0e}'
    texts = written(given, tmp_path / 'unsettled')
    for name in ('probing.md', 'curve_svm.md'):
        marked = [line for line in texts[name].splitlines() if f'† {shown}' in line]
        assert [line.split(' | ')[0] for line in marked] == ['| layer5'] and marked[0].count('†') == 1
        assert f'more than {probes.TOLERANCE:.0e}' in texts[name]
    assert '†' not in texts['curve_softmax.md']
    assert f'† {shown}' in texts['probing.csv'] and f'† {shown}' in texts['probing.tex']
    assert 'layer5 71.2†' in texts['lead'] and 'fits that did not settle: layer5.' in texts['page']
    first, rising, last = report.judged(given, ABOUT)
    assert [first.verdict, rising.verdict, last.verdict] == ['no verdict', 'no verdict', 'no direction claimed']
    assert all('layer5: a fit did not settle' in one.reason for one in (first, rising, last))


def test_a_fit_that_did_not_settle_marks_its_own_cell_alone(tmp_path):
    given = [with_shares(row(tap, tap != 'layer2', 50.0), 1e-3, kind='softmax') if tap == 'layer2' else row(tap) for tap in LAYERS]
    given += [row('layer2')]
    lines = {line['features']: line for line in report.table(given, '').rows}
    assert lines['layer2']['untrained softmax'].note == '† 1e-03' and lines['layer2']['untrained softmax'].value
    assert not any(
        hasattr(value, 'note') for name in lines for key, value in lines[name].items() if (name, key) != ('layer2', 'untrained softmax')
    )
    assert '†' not in report.curve_table(given, 'softmax', '').caption
    assert 'settle' not in report.judged(given, ABOUT)[0].reason
    some = with_shares(row('layer1'), probes.TOLERANCE)
    assert report.unsettled(some, 'svm', 30) == 0  # as much as is allowed


@pytest.mark.parametrize('how', protocol.NORMALIZATIONS)
def test_a_report_says_what_became_of_the_features(how, tmp_path):
    text = written(rows(), tmp_path, ABOUT._replace(normalization=how))['page']
    assert ('holds out of it included and the test part not' in text) == (how == 'standardised')


def written(given, folder, about=ABOUT):
    """{file: text} of a report, its page and its lead."""
    title, lead, sections = report.report(given, about, Shelf(folder, 'layer_probing', ()))
    files = {path.name: path.read_text() for path in folder.iterdir() if path.suffix in ('.md', '.csv', '.tex')}
    return files | {'page': page.page(title, lead, sections, 'command'), 'lead': lead}


def test_a_report_has_the_curve_and_says_where_its_spread_comes_from(tmp_path):
    title, lead, sections = report.report(rows(), ABOUT, Shelf(tmp_path, 'layer_probing', ()))
    text = page.page(title, lead, sections, 'command')
    assert 'over 3 networks' in text and 'layer5 71.2' in lead and 'Splits only' not in text
    curve = (tmp_path / 'curve_svm.csv').read_text().splitlines()
    assert curve[0] == 'features,5,30' and len(curve) == 9
    assert (tmp_path / 'figures' / 'curves.png').is_file() and (tmp_path / 'figures' / 'layers.pdf').is_file()
    assert report.report([], ABOUT, Shelf(tmp_path, 'layer_probing', ()))[1:] == ('No network is probed yet.', [])


@pytest.mark.slow
def test_a_stop_between_two_taps_keeps_the_first(workdir, tmp_path):
    (trial,) = (workdir / 'trials').iterdir()
    more = (f'--config.network={trial}', '--config.probe.taps=layer3,layer4', '--config.probe.splits=1')
    asked = iter([False, False, True])  # before measuring, before the first tap, before the second
    with pytest.MonkeyPatch.context() as patch, pytest.raises(train.Stopped):
        patch.setattr(layer_probing.command, 'stopper', lambda: lambda: next(asked))
        layer_probing.main(given(tmp_path / 'stopped', *more))
    options = configs.flat(given(tmp_path / 'stopped', *more).options)
    names = [layer_probing._protocol(options, tap, True) for tap in ('layer3', 'layer4')]
    assert [(trial / 'evaluations' / f'{name}.json').is_file() for name in names] == [True, False]
