"""Sign changes against a loop over pairs of images and features, each image painted by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_research.architecture import Architecture, Convolution, Dense, Layer, MaxPool, ReLU
from cnn_research.data import augment
from cnn_research.errors import ArchitectureError, ConfigError
from cnn_research.models.network import Network
from cnn_research.studies.looking import correspondence

NET = Architecture(
    'small',
    (10, 10, 3),
    (
        Layer(1, (Convolution(3, 3, padding=1), ReLU(), MaxPool(2, 2))),
        Layer(2, (Dense(6), ReLU())),
        Layer(3, (Dense(4),)),
    ),
)
NETWORK = Network(NET)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (4, 10, 10, 3), dtype=np.uint8)
VARIABLES = {
    'params': NETWORK.init(jax.random.key(0), jnp.zeros((1, *NET.input_shape)))['params'],
    'preprocessing': {'mean': np.float32([100, 120, 140]), 'scale': np.full(3, 0.02, np.float32)},
}
TAPS = ('layer1', 'layer2')
PARTS = {'eye': np.array([[1, 2, 3, 3], [0, 0, 3, 3], [6, 5, 3, 3], [4, 7, 3, 2]])}
OBJECTS = np.array([[1, 2, 6, 6], [0, 0, 3, 5], [5, 4, 5, 5], [4, 6, 6, 4]])


def test_sign_change_counts_features_of_unequal_sign_over_pairs():
    signs = np.random.default_rng(2).integers(-1, 2, (7, 40))
    expected = [np.mean([sum(a != b for a, b in zip(signs[i], signs[j], strict=True)) / 40 for j in range(7) if j != i]) for i in range(7)]
    np.testing.assert_allclose(correspondence.sign_change(signs), expected)
    assert not correspondence.sign_change(np.repeat(signs[:1], 5, axis=0)).any()
    np.testing.assert_array_equal(correspondence.sign_change(np.array([[1, 1], [-1, -1]])), [1, 1])


def eps_signs(boxes, tap):
    """Signs of x - x~, one raw image painted and run at a time; what is rounding counts as no change."""

    def features(image):
        view = augment.prepare(image[None], VARIABLES['preprocessing'], NET.input_shape)
        return np.asarray(NETWORK.apply({'params': VARIABLES['params']}, view, (tap,), method='features')[tap]).ravel()

    rows = []
    for image, (top, left, height, width) in zip(IMAGES, boxes, strict=True):
        painted = image.astype(np.float32)
        painted[top : top + height, left : left + width] = 127.5
        eps = features(image) - features(painted)
        rows.append(np.sign(np.where(np.abs(eps) < 1e-5, 0, eps)))
    return np.array(rows)


@pytest.fixture(scope='module')
def found():
    return correspondence.correspondence(NETWORK, VARIABLES, IMAGES, PARTS, OBJECTS, TAPS, seed=3)


@pytest.mark.parametrize('tap', TAPS)
def test_correspondence_is_the_mean_over_pairs_of_painted_images(found, tap):
    signs = eps_signs(PARTS['eye'], tap)
    pairs = [np.mean(signs[i] != signs[j]) for i in range(4) for j in range(4) if i != j]
    assert 0 < found['eye'][tap].part.mean() == pytest.approx(np.mean(pairs))
    np.testing.assert_allclose(found['eye'][tap].part, np.reshape(pairs, (4, 3)).mean(1))


def test_random_boxes_have_the_part_size_and_fill_the_object(found):
    random = np.random.default_rng(3)
    drawn = [correspondence._moved(random, PARTS['eye'], OBJECTS) for _ in range(correspondence.DRAWS)]
    for boxes, change in zip(drawn, found['eye']['layer1'].elsewhere, strict=True):
        signs = eps_signs(boxes, 'layer1')
        np.testing.assert_allclose(change, [np.mean([np.mean(a != b) for k, b in enumerate(signs) if k != i]) for i, a in enumerate(signs)])
    many = np.stack([correspondence._moved(random, PARTS['eye'], OBJECTS) for _ in range(400)])
    np.testing.assert_array_equal(many[..., 2:], np.broadcast_to(PARTS['eye'][:, 2:], (400, 4, 2)))
    np.testing.assert_array_equal(many.min(0)[:, :2], OBJECTS[:, :2])
    np.testing.assert_array_equal((many[..., :2] + many[..., 2:]).max(0), OBJECTS[:, :2] + OBJECTS[:, 2:])


def test_one_object_hidden_alike_changes_alike():
    same = np.repeat(IMAGES[:1], 3, axis=0)
    found = correspondence.correspondence(NETWORK, VARIABLES, same, {'eye': np.full((3, 4), 2)}, np.full((3, 4), [0, 0, 10, 10]), TAPS)
    assert all(not found['eye'][tap].part.any() and found['eye'][tap].elsewhere.any() for tap in TAPS)


@pytest.mark.parametrize(
    ('images', 'boxes', 'taps', 'error', 'says'),
    [
        (IMAGES[:1], PARTS['eye'][:1], TAPS, ConfigError, 'two'),
        (IMAGES, PARTS['eye'][:3], TAPS, ConfigError, "'eye'"),
        (IMAGES, PARTS['eye'] + [0, 0, 0, 3], TAPS, ConfigError, "'eye'"),
        (IMAGES, PARTS['eye'] - [1, 0, 0, 0], TAPS, ConfigError, "'eye'"),
        (IMAGES, PARTS['eye'], ('layer8',), ArchitectureError, 'layer8'),
    ],
)
def test_what_cannot_be_compared_is_refused(images, boxes, taps, error, says):
    with pytest.raises(error, match=says):
        correspondence.correspondence(NETWORK, VARIABLES, images, {'eye': boxes}, OBJECTS[: len(images)], taps)


BOXES = 'image,part,top,left,height,width\n0,eye,4,4,5,5\n2,eye,6,4,5,5\n0,object,2,2,20,20\n'


@pytest.mark.parametrize(
    'text, message',
    [
        ('image,part,top\n', 'the first line is'),
        (BOXES + '1,eye,4,4,5\n', 'line 5'),
        (BOXES + '1,eye,4,4,5,-5\n', 'line 5'),
        (BOXES + '2,nose,30,4,5,5\n', 'seen as 32x32'),
        (BOXES + '99999,eye,3,4,5,5\n', 'images 0 to 4999'),
        (BOXES + '2,random,3,4,5,5\n', 'name the part otherwise'),
        (BOXES + '1,nose,3,4,5,5\n', "'eye' is missing for image 1"),
        (BOXES.replace('2,eye,6,4,5,5\n', ''), 'boxes for 1 images'),
        (BOXES + '2,eye,7,4,5,5\n', "line 5: part 'eye' of image 2 is there twice"),
        (BOXES + '0,object,2,2,20,20\n', "line 5: part 'object' of image 0 is there twice"),
        (BOXES + '1,object,2,2,20,20\n', 'image 1 has an object and no part'),
        (BOXES + '0,nose,2,2,21,20\n2,nose,2,2,21,20\n', "line 5: part 'nose' of image 0 is not inside its object"),
        (BOXES + '0,nose,0,2,5,5\n2,nose,2,2,5,5\n', "line 5: part 'nose' of image 0 is not inside its object"),
        (BOXES + '1,../eye,4,4,5,5\n', 'line 5: .* is no name of a part'),
        (BOXES + '1,e\\eye,4,4,5,5\n', 'line 5: .* is no name of a part'),
        (BOXES + '1,e\x07ye,4,4,5,5\n', 'line 5: .* is no name of a part'),
        (BOXES + '1,e\u202eye,4,4,5,5\n', 'line 5: .* is no name of a part'),
        (BOXES + '1,eye,4,4,½,5\n', 'line 5'),
        (BOXES + '1,eye,4,4,٣,5\n', 'line 5'),
        (BOXES + f'1,eye,4,4,{"9" * 5000},5\n', 'line 5'),
        (BOXES + '1,,4,4,5,5\n', 'line 5'),
        ('', 'boxes for 0 images'),
        (BOXES.encode('utf-16'), 'cannot be read as comma-separated text'),
        (BOXES + f'"{"x" * 200_000}"', 'cannot be read as comma-separated text'),
        (None, 'no such file'),
    ],
)
def test_boxes_that_are_none_are_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / 'boxes.csv').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message):
        correspondence.read_boxes(str(tmp_path / 'boxes.csv'), (32, 32, 3), 5000)
