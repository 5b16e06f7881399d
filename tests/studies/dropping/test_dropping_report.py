"""What the table of dropping says: rows, claims against numbers made by hand, and the figures."""

import io

import numpy as np
import pytest

from cnn_research.errors import ArchitectureError, ConfigError
from cnn_research.models import zoo
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.dropping import figures, report, ways

SEEDS = range(3)


def curve(*holdout):
    epochs = np.arange(1.0, len(holdout) + 1)
    return figures.Curve(epochs, np.array(holdout), epochs, np.array(holdout, float))


def averages(mean, limit, sampled):
    def form(name, samples, absolute):
        return {'form': name, 'samples': samples, 'error': 0.1, 'absolute': absolute, 'divergence': 0.01}

    forms = [form('mean network', None, mean), *([form('moments', None, limit)] if limit else [])]
    forms += [form('moments', count, value) for count, value in sampled.items()] + [form('masks', 1, 0.05)]
    return {'images': 10, 'masks': 4, 'reference': {'error': 0.2}, 'halves': {'absolute': 0.002, 'divergence': 0.0}, 'forms': forms}


def row(label, error, fitted, curves, forms=None, problem=''):
    jitter = {seed: 0.01 * seed for seed in SEEDS}
    return report.Row(
        label,
        {seed: error + jitter[seed] * error for seed in SEEDS},
        dict.fromkeys(SEEDS, error),
        {seed: 0.1 + jitter[seed] for seed in SEEDS},
        {seed: {'error': 0.0, 'loss': fitted + jitter[seed] * fitted} for seed in SEEDS},
        {seed: curve(*curves[:-1], curves[-1] * (1 + jitter[seed])) for seed in SEEDS},
        {} if forms is None else {seed: averages(forms[0] * (1 + jitter[seed]), *forms[1:]) for seed in SEEDS},
        0.1,
        '',
        problem,
    )


def table(**changes):
    rows = {
        'neither': row('neither', 1.6, 0.001, [1.0, 0.4, 0.5]),
        'dropout 0.5': row('dropout 0.5', 1.3, 0.01, [1.0, 0.5, 0.3], (0.02, None, {})),
        'DropConnect 0.5': row('DropConnect 0.5', 1.2, 0.02, [1.2, 0.9, 0.2], (0.02, 0.003, {1: 0.1, 100: 0.004})),
        'DropConnect 0.8': row('DropConnect 0.8', 1.5, 0.03, [1.2, 0.9, 0.4], (0.05, 0.004, {1: 0.1, 100: 0.004})),
    }
    return list({**rows, **changes}.values())


def verdicts(rows, large=False):
    return [one.verdict for one in report.judged(rows, large)]


def test_claims_come_out_either_way():
    assert verdicts(table()) == ['reproduced'] * 5  # slower, though it ends lower
    order, *_, slower, nearer = report.judged(table())
    assert [one.text for one in order.differences] == ['dropout 0.5 - DropConnect 0.5', 'neither - dropout 0.5']
    assert [one.mean for one in nearer.differences] == pytest.approx([0.0202 - 0.003, 0.0202 - 0.004])
    worse = table(**{'DropConnect 0.5': row('DropConnect 0.5', 2.0, 0.0001, [1.0, 0.1], (0.002, 0.003, {100: 0.004}))})
    assert len(found := verdicts(worse)) == 6 and set(found) == {'contradicted'}
    assert verdicts(table(), large=True)[0] == 'contradicted'  # there the paper's dropout alone is above neither
    better = report.judged(table(**{'DropConnect 0.8': row('DropConnect 0.8', 1.1, 0.03, [1.2, 0.9, 0.4])}))[1]
    assert [one.text for one in better.differences] == ['dropout 0.5 - DropConnect 0.8', 'neither - dropout 0.5']
    assert better.verdict == 'reproduced' and 'a rate of 0.5' in better.claim.instead
    failed = table(**{'DropConnect 0.5': row('DropConnect 0.5', 1.2, 0.02, [1.0], (0.02, 0.003, {100: 0.004}), problem='seed 1 failed')})
    assert set(verdicts(failed)) == {'no verdict'}
    assert len(report.stated([row for row in table() if row.label != 'DropConnect 0.5'])) == 0


def test_who_converges_first_is_told_at_a_level_that_both_pass():
    rows = [row('dropout 0.5', 1, 1, [1.0, 0.5, 0.3]), row('DropConnect 0.5', 1, 1, [1.2, 0.9, 0.2])]
    found, level = figures.reached({one.label: one.curves for one in rows}), np.sqrt(1.0 * 0.3)
    assert found['dropout 0.5'][0] == pytest.approx(1 + (1 - level) / 0.5)
    assert found['DropConnect 0.5'][0] == pytest.approx(2 + (0.9 - level) / 0.7)
    assert curve(1.0, 0.5, 0.7, 0.1).first_epoch(0.75) == 1.5 and curve(0.5, 0.2).first_epoch(0.6) == 1
    assert np.isnan(curve(1.0, 0.5).first_epoch(0.4)) and figures.reached({}) == {}
    history = [{'role': 'train', 'epoch': 0.5, 'loss': 2.0}, {'role': 'holdout', 'epoch': 1.0, 'loss': 1.0, 'error': 0.3}]
    told = figures.curve(history)
    assert [list(column) for column in told] == [[0.5], [2.0], [1.0], [1.0]]


def about(data, network):
    return report.About(data, network, '60 epochs', 128, True, 100)


def test_the_papers_numbers_stand_beside_its_own_networks_only():
    assert report.printed(about('mnist', 'wan_800'), 'DropConnect 0.5') == 1.2
    assert report.printed(about('mnist', 'wan_800'), 'neither') == 1.62
    assert report.printed(about('cifar10', 'wan_cifar_large'), 'dropout 0.5') == 11.52
    for data, network, label in (
        ('mnist', 'wan_800', 'dropout 0.4'),
        ('mnist', 'wan_800 resized(1=100)', 'neither'),
        ('digits', 'wan_800', 'neither'),
    ):
        assert report.printed(about(data, network), label) is None


def test_the_report_shows_every_row_and_what_was_not_measured(tmp_path):
    rows = table(**{'dropout 0.5': row('dropout 0.5', 1.3, 0.01, [1.0, 0.5, 0.3])})
    title, lead, sections = report.report(rows, about('mnist', 'wan_800'), Shelf(tmp_path, 'dropconnect', {}))
    assert title.endswith('on mnist') and 'reproduced' in lead
    assert [heading for heading, _ in sections] == ['Three ways', 'Claims', 'Rates', 'Convergence', 'Averages over masks']
    text = (tmp_path / 'dropping.md').read_text()
    assert 'not measured: seed 0, 1, 2; give the command again' in text and '1.62' in text
    lines = (tmp_path / 'averages.md').read_text()
    assert 'moments, limit' in lines and 'moments, 100 samples' in lines and '1 mask' in lines and 'reference, 4 masks' in lines
    assert {path.stem for path in (tmp_path / 'figures').glob('*.png')} == {'rates', 'convergence', 'distances'}
    empty = [one._replace(test={}, fitted={}, curves={}, averages={}, loss={}, holdout={}, problem='not finished: seed 0') for one in rows]
    assert report.report(empty, about('mnist', 'wan_800'), Shelf(tmp_path / 'none', 'dropconnect', {}))[1] == 'No row is finished yet.'


def test_figures_hold_the_numbers():
    drawn = figures.rates([('dropout', {0.2: [1.0, 2.0, 3.0], 0.5: [1.5]}), ('DropConnect', {0.5: [1.0]})], [2.0], {'dropout': (0.5, 1.28)})
    (axes,) = drawn.axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[2.0, 1.5], [1.0], [2.0, 2.0], [1.28]]
    told = figures.Distances('one', {'moments': {10: [0.2, 0.4], 1: [1.0, 1.0]}}, {'mean network': [0.1, 0.3]}, [0.01])
    (axes,) = figures.distances([told], 1).axes
    assert list(axes.lines[0].get_ydata()) == pytest.approx([1.0, 0.3]) and list(axes.lines[0].get_xdata()) == [1, 10]
    dead = figures.Distances('two', {'masks': {1: [0.0], 10: [0.0]}}, {'mean network': [0.0]}, [0.0])
    for drawn in ([dead, told], [told, dead], [dead]):
        figures.distances(drawn, 2).savefig(io.BytesIO())
    panels = figures.convergence([('neither', [curve(1.0, 0.5), curve(3.0, 0.7)])]).axes
    assert [list(axes.lines[0].get_ydata()) for axes in panels] == [[2.0, 0.6]] * 2


def test_rows_drop_what_they_are_called_for_in_every_layer_that_drops():
    found = ways.architectures('wan_800 resized(1=30,2=20)', (0.2, 0.5))
    assert list(found) == ['neither', 'dropout 0.2', 'dropout 0.5', 'DropConnect 0.2', 'DropConnect 0.5']
    assert all(map(report.reads, found)) and not report.reads('DropConnect') and not report.reads('DropConnect 0.5 twice')
    sizes = set()
    for label, text in found.items():
        net, (way, rate) = zoo.architecture(text), report.split(label)
        rates = {stage.name: stage.rate for layer in net.layers for stage in layer.stages if hasattr(stage, 'rate')}
        assert rates == ({} if way == 'neither' else {way.lower(): rate})
        sizes.add(net.parameters)
    assert len(sizes) == 1  # what is compared differs in nothing else
    large = zoo.architecture(ways.architectures('wan_cifar_large', (0.3,))['DropConnect 0.3'])
    assert [getattr(layer.stages[0], 'rate', None) for layer in large.layers] == [None] * 4 + [0.3, None]


@pytest.mark.parametrize(
    ('text', 'rates', 'message'),
    [
        ('zfnet', (0.5,), 'choose from wan_800'),
        ('', (0.5,), 'choose from wan_800'),
        ('wan_800_dropout', (0.5,), 'choose from wan_800'),
        ('wan_800', (0.0, 0.5), 'names 0; a share'),
        ('wan_800', (0.5, 1.0), 'names 1; a share'),
        ('wan_800', (0.00001,), 'names 1e-05; a rate'),
        ('wan_800', (0.1234567, 0.12345674), 'names 0.1234567; a rate'),
        ('wan_800 without(3)', (0.5,), 'cannot be removed'),
        ('wan_800 replaced(1,nonlinearity=tanh)', (0.5,), 'no nonlinearity'),
    ],
)
def test_what_cannot_be_compared_is_refused(text, rates, message):
    with pytest.raises((ConfigError, ArchitectureError), match=message):
        ways.architectures(text, rates)
