"""The comparison's rows, verdicts and words, and the command that fills them."""

import numpy as np
import pytest

from cnn_research import config as configs
from cnn_research import train
from cnn_research.data import clutter
from cnn_research.errors import ArchitectureError, ConfigError
from cnn_research.features import untrained
from cnn_research.models import pretrained, zoo
from cnn_research.models.network import Network
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.saliency import measures, report
from experiments import saliency
from experiments.launch import command


def rows(networks=3, images=40, **levels):
    """Every method at 0.5, but for those that are named with another level or, None, left out."""
    random, found = np.random.default_rng(0), {}
    for name in report.METHODS:
        level = levels.get(name.split()[0].replace('-', '_'), 0.2 if name == report.CHANCE else 0.5)
        if level is not None:
            shares = level + 0.01 * random.normal(size=(networks, images))
            found[name] = report.Row(shares, (random.random((networks, images)) < level).astype(float), 0)
    return found


def verdicts(found):
    return {(one.claim.sentence.partition(':')[0], one.claim.quantity[:5]): one.verdict for one in report.judged(found)}


def test_claims_hold_where_maps_are_above_noise_and_fall_where_they_are_below():
    said = verdicts(rows(occlusion=0.1, gradient=0.9, deconvnet=0.5, guided=0.9, Grad_CAM=0.5))
    assert [said[name, 'share'] for name in report.KNOWING] == [*['reproduced'] * 6, 'contradicted']
    assert said["The gradient points better than the deconvnet's signal.", 'point'] == 'reproduced'
    assert said['Grad-CAM points better than what comes down to the pixels.', 'point'] == 'contradicted'
    assert sorted(said.values()).count('no direction claimed') == 2
    assert set(verdicts(rows(networks=2)).values()) == {'no verdict', 'no direction claimed'}


def test_a_network_without_a_method_has_no_claim_of_it(tmp_path):
    found = rows(deconvnet=None, guided=None, Grad_CAM=None)
    assert len(verdicts(found)) == 4 + 2
    lead, drawn = report.compared(Shelf(tmp_path, 'saliency', ()), found, 20.0, 'about')
    assert 'its area: 20 %' in lead and '4 reproduced' in lead and 'deconvnet' not in drawn
    lines = (tmp_path / 'methods.csv').read_text().splitlines()
    assert [line.partition(',')[0] for line in lines[1:]] == list(found) and (tmp_path / 'figures/methods.png').is_file()


def test_intervals_stand_over_networks_and_over_images_from_three_networks_on(tmp_path):
    found = rows()
    means = 100 * found['occlusion'].shares.mean(1)
    half = 4.302653 * means.std(ddof=1) / np.sqrt(3)  # Student's t, two degrees of freedom
    (row,) = (line for line in report.table(found, '').rows if line['method'] == 'occlusion')
    assert row['share networks'] == pytest.approx((means.mean(), means.mean() - half, means.mean() + half), rel=1e-6)
    assert row['share images'].low != pytest.approx(row['share networks'].low)
    found['occlusion'] = report.Row(found['occlusion'].shares + 0.1, found['occlusion'].hits, 0)
    lead, _ = report.compared(Shelf(tmp_path, 'saliency', ()), found, 20.0, 'about')
    assert f'95 % over 3 networks: {means.mean() + 10 - half:.0f} to {means.mean() + 10 + half:.0f} %; its area' in lead
    for few in (1, 2):
        columns = [column.key for column in report.table(rows(few), '').columns]
        assert 'share networks' not in columns and 'share images' in columns
    same = report.Row(np.full((3, 40), 0.5), found['gradient'].hits, 0)
    assert report.table({'centre': same}, '').rows[0]['share networks'] is None


def test_what_is_not_finite_decides_nothing():
    found = rows()
    found['gradient'].shares[1, 3] = np.nan
    said = {one.claim.sentence.partition(':')[0]: one for one in report.judged(found)}
    assert said['gradient'].verdict == 'no verdict' and 'not finite: gradient (seed 1)' in said['gradient'].reason
    assert said['occlusion'].verdict == 'reproduced'
    report.dots(found, 20.0)


SETTINGS = {
    'architecture': 'zfnet_32 resized(1=4,2=4,3=6,4=6,5=4,6=8,7=8)',
    'initialization.kernel': 'he',
    'data.name': 'clutter',
    'data.examples': 100,
    'data.test_examples': 40,
    'data.batch_size': 20,
    'data.normalization': 'mean_std',
    'schedule.steps': 5,
    'optimizer.learning_rate': 0.01,
}
SMALL = ('--config.look.images=2,5', '--config.saliency.many=6', '--config.saliency.stride=16', '--config.saliency.steps=2')


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('networks')
    for seed in (0, 1):
        train.fit(configs.update(configs.default(), {**SETTINGS, 'seed': seed}), folder / str(seed))
    return folder


def asked(homes, folder, *more):
    arguments = [f'--config.network={homes}', f'--workdir={folder}', *SMALL, *more]
    saliency.main(command.parse('saliency', 'configs/looking.py:smoke', arguments, saliency.FIELDS))
    return dict(np.load(folder / 'arrays.npz')) if (folder / 'arrays.npz').is_file() else {}


@pytest.mark.slow
def test_the_command_measures_every_network_on_the_same_images(networks, tmp_path):
    arrays = asked(f'{networks}/0,{networks}/1', tmp_path)
    assert all(arrays[f'{name} {kind}'].shape == (2, 6) for name in report.METHODS for kind in ('shares', 'hits'))
    boxes = clutter.examples('test', np.arange(6))[2]
    np.testing.assert_array_equal(arrays['boxes'], boxes)
    np.testing.assert_array_equal(arrays['centre hits'][0], measures.hits(measures.centre(6, (32, 32)), boxes))
    # What is drawn of the images 2 and 5 is what was measured there, of the first network.
    for name in report.KNOWING:
        np.testing.assert_allclose(measures.shares(arrays[f'{name} maps'], boxes[[2, 5]]), arrays[f'{name} shares'][0, [2, 5]], rtol=1e-3)
    readme = (tmp_path / 'README.md').read_text()
    assert 'Grad-CAM at layer5.relu' in readme and '2 networks' in readme and 'integrated gradients' in readme


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A file of an untrained network."""
    path = tmp_path_factory.mktemp('weights') / 'net.safetensors'
    net = zoo.architecture(SETTINGS['architecture'])
    preprocessing = {'mean': np.zeros(1, np.float32), 'scale': np.ones(1, np.float32)}
    pretrained.export(path, net, {'params': untrained(Network(net), 0), 'preprocessing': preprocessing}, '0123456789', 0)
    return path


@pytest.mark.parametrize(
    ('homes', 'more', 'said', 'error'),
    [
        ('HERE,HERE', (), 'names HERE twice', ConfigError),
        ('HERE', ('--config.saliency.tap=layer7',), 'layer7 has no maps', ArchitectureError),
        ('HERE', ('--config.saliency.size=40',), 'size of the square is 40 px', ConfigError),
        ('HERE', ('--config.look.images=5000',), 'images 0 to 4999', ConfigError),
    ],
)
def test_what_cannot_be_compared_is_refused(weights, tmp_path, homes, more, said, error):
    with pytest.raises(error, match=said.replace('HERE', str(weights))):
        asked(homes.replace('HERE', str(weights)), tmp_path / 'run', '--config.look.data=clutter', *more)
    assert not (tmp_path / 'run' / 'arrays.npz').exists()
