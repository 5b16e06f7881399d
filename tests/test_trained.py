"""A trained network in hands that know nothing of its preprocessing: raw images in, the numbers of the evaluation out."""

import sys

import numpy as np
import pytest
from PIL import Image
from small_runs import config, fit, folder

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


def test_evaluation_finds_the_classes_by_their_names(whole, tmp_path):
    """Of a folder that has some of the classes, in another order, as of one that has others."""
    trained, source = checkpoints.load(whole), open_source('digits', 'test')
    images, labels = source.read(np.arange(100))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        if label in (1, 7):
            home = tmp_path / 'some' / 'test' / str(label)
            home.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(home / f'{number:03d}.png')
    some, wanted = open_source(f'folder:{tmp_path / "some"}', 'test'), np.isin(labels, (1, 7))
    result = trained.evaluate(some)
    assert some.labels().tolist() == [0] * int((labels == 1).sum()) + [1] * int((labels == 7).sum()) and result.examples == wanted.sum()
    assert result.top1_error == pytest.approx(float(np.mean(trained.predict(images).argmax(1)[wanted] != labels[wanted])))
    (tmp_path / 'some' / 'test' / '7').rename(tmp_path / 'some' / 'test' / 'seven')
    with pytest.raises(ConfigError, match='1 of 2 classes .*, seven, are not found by name'):
        trained.evaluate(open_source(f'folder:{tmp_path / "some"}', 'test'))


@pytest.mark.parametrize('resize', [0, 40])
def test_one_network_says_one_thing_of_an_image(tmp_path, resize):
    """Whatever images come with it, and as the evaluation of the training does; also where the data have moved."""
    given = {'architecture': 'perceptron resized(1=2)', 'data__resize': resize, 'data__examples': 0, 'data__test_examples': 0}
    one = folder(tmp_path / 'one')
    if not resize:
        given['data__batch_size'] = 8
    run, _ = fit(tmp_path / 'run', config(**given, data__holdout=0.0, data__name=one))
    trained, source = checkpoints.load(tmp_path / 'run'), open_source(one, 'test')
    assert trained.evaluate(source).loss == pytest.approx(run.result['test']['loss'], abs=1e-6)
    images, _ = source.read(np.arange(3))
    alone = np.concatenate([trained.predict([image]) for image in images])
    np.testing.assert_allclose(trained.predict([*images, stream.resized(images[0], 90)])[:3], alone, atol=1e-6)


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
