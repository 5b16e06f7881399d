"""Activation maximisation against what it must find in a linear network, and what each regulariser must do."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research.architecture import Architecture, Convolution, Dense, Layer, Tanh
from cnn_research.errors import ArchitectureError
from cnn_research.features import untrained
from cnn_research.models.network import Network
from cnn_research.studies.looking import maximisation
from cnn_research.studies.looking.figures import maximisation as drawing
from cnn_research.studies.looking.maximisation import Regularisers

LINEAR = Network(Architecture('linear', (5, 4, 2), (Layer(1, (Dense(3),)),)))
CURVED = Network(Architecture('curved', (6, 6, 1), (Layer(1, (Convolution(3, 3), Tanh())), Layer(2, (Dense(4),)))))


def params(network):
    return {'params': untrained(network, 0)}


@pytest.mark.parametrize('l2', [0.0, 0.1])
def test_of_a_linear_network_it_is_the_units_weights(l2):
    variables = params(LINEAR)
    found = maximisation.maximise(LINEAR, variables, 'layer1', [2, 0], Regularisers(l2), 6, 0.5)
    weights = np.asarray(variables['params']['layer1']['dense']['kernel']).reshape(5, 4, 2, 3)[..., [2, 0]]
    weights = np.moveaxis(weights, -1, 0)
    slope = weights / np.sqrt(np.mean(weights**2, (1, 2, 3), keepdims=True))
    np.testing.assert_allclose(found.images, 0.5 * slope * sum((1 - l2) ** step for step in range(6)), rtol=1e-4, atol=1e-6)
    assert found.activations.shape == (7, 2) and (np.diff(found.activations, axis=0) > 0).all()
    answers = LINEAR.apply(variables, jnp.asarray(found.images))[0]
    np.testing.assert_allclose(found.activations[-1], [answers[0, 2], answers[1, 0]], rtol=1e-4)


def test_each_regulariser_does_what_it_is_for():
    variables = params(CURVED)

    def images(**held):
        return maximisation.maximise(CURVED, variables, 'layer2', [0, 3], Regularisers(**held), 12, 0.1).images

    def rough(found):  # what differs between neighbours, as a share of all
        return np.mean(np.diff(found, axis=1) ** 2) / np.mean(found**2)

    plain = images()
    np.testing.assert_array_equal(plain, images())
    assert np.abs(images(l2=0.3)).mean() < np.abs(plain).mean()
    assert rough(images(blur=1.0, every=3)) < rough(plain) and rough(images(blur=1.0, every=13)) == rough(plain)
    assert not np.allclose(images(jitter=2), plain)


def test_a_blur_keeps_what_is_even_and_moves_nothing():
    matrix = maximisation.blurring(7, 1.2)
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], rtol=1e-6)
    assert (matrix.argmax(1) == np.arange(7)).all()


def test_maps_are_driven_in_their_middle_and_units_must_be_there():
    variables = params(CURVED)
    found = maximisation.maximise(CURVED, variables, 'layer1.convolution', [1], Regularisers(), 3, 0.1)
    touched = np.argwhere(found.images[0, ..., 0])
    assert touched.min(0).tolist() == [2, 2] and touched.max(0).tolist() == [4, 4]  # of 4 x 4 positions (2, 2), which sees 3 x 3 px
    with pytest.raises(ArchitectureError, match='the units of layer2 are 0 to 3; there is no 4'):
        maximisation.maximise(CURVED, variables, 'layer2', [4], Regularisers(), 1, 0.1)


def test_pictures_are_grey_where_nothing_is_and_regularisers_have_names():
    random = np.random.default_rng(0).normal(size=(2, 8, 8, 3))
    np.testing.assert_array_equal(drawing.picture(random), drawing.picture(random * 7))
    assert (drawing.picture(np.zeros((1, 2, 2, 1))) == 128).all()
    assert Regularisers().words == 'no regulariser'
    assert Regularisers(0.01, 0.5, 4, 2).words == 'L2 decay 0.01, blur of 0.5 px every 4 steps, jitter of 2 px'
    figure = drawing.plate({'all': (random, [12.34, -5.0]), 'jitter of 2 px': (-random, [0.5, 1000.0])}, ['a', '$b'])
    texts = [text.get_text() for text in figure.texts]
    assert {'a', '$b', 'all', 'jitter of 2 px', '12.3', '-5', '0.5', '1e+03'} <= set(texts)
    for number, axes in enumerate(figure.axes):
        np.testing.assert_array_equal(axes.images[0].get_array(), drawing.picture((random, -random)[number // 2])[number % 2])
