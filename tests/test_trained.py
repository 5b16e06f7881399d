"""A trained network in hands that know nothing of its preprocessing: raw images in, the numbers of the evaluation out."""

import sys

import numpy as np
import pytest
from small_runs import fit

from cnn_research import checkpoints, evaluate, records, tasks
from cnn_research.data import augment, stream
from cnn_research.data.sources import open_source
from cnn_research.errors import ArchitectureError, ConfigError, SourceError
from experiments import export
from experiments.launch import command


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A finished run."""
    workdir = tmp_path_factory.mktemp('whole')
    fit(workdir)
    return workdir


def test_predictions_from_raw_images_are_those_of_the_evaluation(whole):
    trained, source = checkpoints.load(whole), open_source('digits', 'test')
    images, labels = source.read(np.arange(100))
    told = trained.predict(images)
    result = records.read(whole / 'result.json')['test']
    assert float(np.mean(told.argmax(1) != labels)) == result['top1_error'] and np.allclose(told.sum(1), 1)
    assert trained.class_names == tuple('0123456789')
    network = tasks.network(trained.config)
    prepared = augment.prepare(np.stack(images), trained.variables['preprocessing'], network.architecture.input_shape)
    _, taps = network.apply({'params': trained.variables['params']}, prepared, taps=('layer1.dense',))
    np.testing.assert_allclose(trained.features(np.stack(images), ['layer1.dense'])['layer1.dense'], taps['layer1.dense'], rtol=1e-5)
    # Images of other sizes are brought to the size of those that were learned from.
    larger = [stream.resized(image, 56) for image in images]
    smaller = [stream.resized(image, 28) for image in larger]
    np.testing.assert_allclose(trained.predict(larger), trained.predict(smaller), atol=1e-6)
    assert trained.predict([images[0], larger[1]]).shape == (2, 10)


@pytest.mark.parametrize(
    'wrong',
    [
        np.zeros((2, 28, 28, 1), np.float32),
        np.zeros((28, 28, 1), np.uint8),
        np.zeros((2, 28, 28), np.uint8),
        np.zeros((2, 28, 28, 3), np.uint8),
        [],
    ],
)
def test_images_that_are_not_raw_are_refused(whole, wrong):
    with pytest.raises(SourceError, match='uint8'):
        checkpoints.load(whole).predict(wrong)


def test_a_network_refuses_images_that_nobody_prepared(whole):
    trained = checkpoints.load(whole)
    with pytest.raises(ArchitectureError, match='raw images'):
        tasks.network(trained.config).apply({'params': trained.variables['params']}, np.zeros((1, 28, 28, 1), np.uint8))


def test_an_exported_run_says_the_same_of_raw_images(whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'net.safetensors'

    def run(*arguments):
        monkeypatch.setattr('sys.argv', ['export', *arguments])
        command.guarded('export', lambda: (export.FLAGS(sys.argv), export.main()))()

    run(f'--network={whole}', f'--out={out}')
    images, _ = open_source('digits', 'test').read(np.arange(20))
    ours, theirs = checkpoints.load(whole), checkpoints.trained(out)
    for given in (images, [stream.resized(image, 40) for image in images]):
        np.testing.assert_array_equal(theirs.predict(given), ours.predict(given))
    assert theirs.class_names == ours.class_names and 'weights: ' in capsys.readouterr().out
    for arguments in ((f'--network={whole}', f'--out={out}'), ('--network=nowhere', f'--out={tmp_path / "other.safetensors"}')):
        with pytest.raises(SystemExit) as ended:
            run(*arguments)
        assert ended.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


def test_evaluation_refuses_images_of_another_size(whole):
    trained = checkpoints.load(whole)
    with pytest.raises(ConfigError, match='give resize'):
        evaluate.evaluate(tasks.network(trained.config), trained.variables, open_source('clutter', 'test'))
