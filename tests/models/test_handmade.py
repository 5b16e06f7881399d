"""Hand-made weights: the networks' SIFT against a plain one and OpenCV's, their pyramid against the classical pipeline's histograms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from cnn_research.data.sources import open_source
from cnn_research.errors import ArchitectureError
from cnn_research.models import handmade, zoo
from cnn_research.models.network import Network, check_parameters

LUMA = (0.299, 0.587, 0.114)


def described(net, params, images, *taps):
    """{tap: array} of images (B, H, W, 3) in [0, 1]."""
    run = jax.jit(lambda params, images: Network(net).apply({'params': params}, images, taps, method='features'))
    return {tap: np.asarray(maps) for tap, maps in run(params, np.asarray(images, np.float32)).items()}


def textures(count, side, seed=0):
    """(count, side, side, 3) float32 in [0, 1]: coloured noise of many scales, and flat regions as well."""
    random = np.random.default_rng(seed)
    images = sum(
        np.repeat(np.repeat(random.uniform(-1, 1, (count, side // s, side // s, 3)), s, 1), s, 2) * s**0.5 for s in (1, 2, 4, 8, 16)
    )
    images[:, : side // 2, : side // 3] = 0.3
    return np.clip(0.5 + images / 12, 0, 1).astype(np.float32)


@pytest.fixture(scope='module')
def photographs(data_dir):
    """(30, 128, 128, 3) uint8: the middles of photographs."""
    images, _ = open_source('imagenette_subset/160px-v2', 'validation', data_dir).read(np.arange(30))
    corners = [((image.shape[0] - 128) // 2, (image.shape[1] - 128) // 2) for image in images]
    return np.stack([image[top : top + 128, left : left + 128] for image, (top, left) in zip(images, corners, strict=True)])


def contrasted(taps):
    """(B, rows, columns) bool: where there was enough contrast to be brought to length 1 before clipping."""
    return np.linalg.norm(taps['layer2.unit_length'], axis=-1) > 0.999


# A plain SIFT


def gradients(image, kernel):
    """(m, t), each (h, w): length and direction, in degrees counter-clockwise from right, of the gradient of an image (H, W, 3)."""
    grey = image.astype(np.float64) @ LUMA
    place = np.arange(kernel) - (kernel - 1) / 2
    smooth = np.exp(-(place**2) / (2 * (kernel / 5) ** 2))
    height, width = (side - kernel + 1 for side in grey.shape)
    right, down = np.zeros((height, width)), np.zeros((height, width))
    for i, j in np.ndindex(kernel, kernel):
        seen = grey[i : i + height, j : j + width] * smooth[i] * smooth[j]
        right, down = right + place[j] * seen, down + place[i] * seen
    unit = smooth.sum() * (place**2 * smooth).sum()  # what a slope of 1 a pixel gives
    return np.hypot(right, down) / unit, np.degrees(np.arctan2(-down, right)) % 360


def sharpened(t):
    """The network's share of a direction that is t degrees away."""
    return np.sqrt(2) * np.sin(np.radians(max(0, 45 - t)))


def linear(t):
    """SIFT's."""
    return max(0, 1 - t / 45)


def plain_sift(image, kernel, window, stride, share):
    """(rows, columns, 128): every pixel of every window on the grid votes in turn."""
    lengths, angles = gradients(image, kernel)
    rows, columns = ((side - window) // stride + 1 for side in lengths.shape)
    found = np.zeros((rows, columns, 4, 4, 8))
    for i, j, p, q in np.ndindex(rows, columns, window, window):
        place = i * stride + p, j * stride + q
        down, across = p + 0.5 - window / 2, q + 0.5 - window / 2  # from the middle
        weight = lengths[place] * np.exp(-(down**2 + across**2) / (2 * (window / 2) ** 2))
        row, column, turn = down / (window / 4) + 1.5, across / (window / 4) + 1.5, angles[place] / 45
        for a in {int(np.floor(row)), int(np.floor(row)) + 1} & {0, 1, 2, 3}:
            for b in {int(np.floor(column)), int(np.floor(column)) + 1} & {0, 1, 2, 3}:
                part = weight * (1 - abs(row - a)) * (1 - abs(column - b))
                for k in (int(turn), int(turn) + 1):
                    found[i, j, a, b, k % 8] += part * share(45 * abs(turn - k))
    found = found.reshape(rows, columns, 128)
    found /= np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 0.1)
    found = np.minimum(found, 0.2)
    return found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 0.2)


def correlations(a, b):
    """(N,) of the rows of (N, 128) and (N, 128)."""
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize(('name', 'geometry'), [('sift', (7, 16, 8)), ('spm_32', (3, 8, 2))])
def test_the_network_is_a_plain_sift(name, geometry):
    net = zoo.architecture(name)
    (image,) = textures(1, net.input_shape[0])
    taps = described(net, handmade.sift(net), image[None], 'layer2', 'layer2.unit_length')
    found, contrast = taps['layer2'][0], contrasted(taps).ravel()
    np.testing.assert_allclose(found, plain_sift(image, *geometry, sharpened), rtol=0, atol=1e-4)
    classical, found = plain_sift(image, *geometry, linear).reshape(-1, 128), found.reshape(-1, 128)
    assert 0.5 < contrast.mean() < 1 and np.linalg.norm(found, axis=1).min() < 1e-4  # flat windows are met as well
    # What the sharpened cosine in place of the linear share between two directions makes of it.
    assert correlations(classical[contrast], found[contrast]).min() > 0.995


def test_directions_are_those_of_sift():
    """A ramp that rises at an angle answers as the share of that angle says, in layer 2 and almost as SIFT's would."""
    net = zoo.architecture('sift_32')
    angles = np.arange(0, 360, 5)
    down, right = np.indices((32, 32)) / 64
    ramps = [0.5 + np.cos(t) * right - np.sin(t) * down for t in np.radians(angles)]  # up is where rows fall
    maps = described(net, handmade.sift(net), np.stack(ramps)[..., None].repeat(3, -1), 'layer2.relu')['layer2.relu'][:, 15, 15] * 64
    away = np.abs((angles[:, None] - 45 * np.arange(8) + 180) % 360 - 180)
    np.testing.assert_allclose(maps, np.vectorize(sharpened)(away), atol=1e-4)
    assert 0.04 < np.abs(maps - np.vectorize(linear)(away)).max() < 0.043


def test_descriptors_do_not_depend_on_brightness_and_contrast_nor_on_the_unit_of_grey():
    net = zoo.architecture('sift_32')
    images = textures(4, 32)
    taps = described(net, handmade.sift(net), images, 'layer2', 'layer2.unit_length')
    base, whole = taps['layer2'], contrasted(taps)
    grey = described(net, handmade.sift(net, white=255), 255 * images - 117, 'layer2')['layer2']
    np.testing.assert_allclose(grey, base, atol=1e-4)
    brighter = described(net, handmade.sift(net), 1.7 * images + 0.2, 'layer2')['layer2']
    np.testing.assert_allclose(brighter[whole], base[whole], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(base[whole], axis=-1), 1, atol=1e-6)


def test_the_network_correlates_with_opencvs_sift_at_every_grid_point(photographs):
    cv2 = pytest.importorskip('cv2')
    net = zoo.architecture('sift')
    found = described(net, handmade.sift(net), photographs / np.float32(255), 'layer2', 'layer2.unit_length')
    middles = 3 + 7.5 + 8 * np.arange(14)  # the derivative takes 3 px at the border; a window's middle lies between two pixels
    # Cells are 3 half sizes of a keypoint wide in OpenCV: 4 px. A detector files a keypoint of that size, smoothed by 1.3 px, under octave
    # -1 (the image doubled, so that those middles are pixels; precisely, else it is shifted by a quarter) and layer 2 (1.6 px 2^(2/3)
    # there). Angle 0 points right, directions turn counter-clockwise and rows of cells go down: the network's own order of the numbers.
    points = [cv2.KeyPoint(x, y, 2 * 4 / 3, 0, 1, 255 | 2 << 8) for y in middles for x in middles]
    sift, theirs = cv2.SIFT_create(enable_precise_upscale=True), []
    for image in photographs:
        kept, numbers = sift.compute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), points)
        assert [point.pt for point in kept] == [point.pt for point in points]
        theirs.append(numbers)
    ours, theirs, contrast = found['layer2'].reshape(-1, 128), np.concatenate(theirs), contrasted(found).ravel()
    alike = correlations(ours[contrast], theirs[contrast])
    figures = {'points': contrast.mean(), 'mean': alike.mean(), 'median': np.median(alike), 'least': alike.min()}
    # Measured: 97.2 % of the grid points have contrast; mean 0.9901, median 0.9928, least 0.849.
    assert figures['points'] > 0.96 and figures['mean'] > 0.987 and figures['median'] > 0.99 and figures['least'] > 0.8, figures
    turned = np.roll(theirs.reshape(-1, 16, 8), 1, -1).reshape(-1, 128)
    assert correlations(ours[contrast], turned[contrast]).mean() < 0.6  # it would be seen if the directions were others


# The pyramid of words


@pytest.fixture(scope='module', params=['photographs', 'textures'])
def counted(request):
    """(network, words (M, 128), taps of some images): the words come from descriptors of other images."""
    small = request.param == 'textures'
    net = zoo.architecture('spm_32' if small else 'spm')
    images = textures(20, 32) if small else request.getfixturevalue('photographs') / np.float32(255)
    descriptors = described(net, handmade.sift(net), images, 'layer2')['layer2']
    others = np.random.default_rng(1).permutation(descriptors[10:].reshape(-1, 128))
    # Means, as the classical words are; of one length, all would be as near to a window without contrast.
    words = others[: 3 * net.layer(3).stages[0].features].reshape(3, -1, 128).mean(0)
    return net, words, described(net, handmade.spm(net, words), images[:10], 'layer2', 'layer3.winner_take_all', 'layer3')


def test_the_pyramid_is_the_classical_pipelines_exactly(counted):
    net, words, taps = counted
    descriptors = taps['layer2'].astype(np.float64)
    levels = []
    # Nearest word by Euclidean distance; histograms cell by cell, weighted as Lazebnik et al. 2006 have it.
    distances = cdist(descriptors.reshape(-1, 128), words).reshape(*descriptors.shape[:3], -1)
    nearest = distances.argmin(-1)
    first, second = np.partition(distances, 1, -1)[..., :2].transpose(3, 0, 1, 2)
    assert (second - first).min() > 1e-7  # no two words are as near but for rounding
    np.testing.assert_array_equal(taps['layer3.winner_take_all'], np.eye(len(words))[nearest])
    images, side = len(nearest), nearest.shape[1]
    for cells, weight in ((1, 1 / 4), (2, 1 / 4), (4, 1 / 2)):
        edges = [side * i // cells for i in range(cells + 1)]
        for top, bottom in zip(edges, edges[1:], strict=False):
            for left, right in zip(edges, edges[1:], strict=False):
                places = nearest[:, top:bottom, left:right].reshape(images, -1)
                levels.append((weight, np.stack([np.bincount(one, minlength=len(words)) for one in places])))
    counts = np.concatenate([count for _, count in levels], 1)
    weights = np.repeat([weight for weight, _ in levels], len(words)) / side**2
    assert np.array_equal(np.rint(taps['layer3'] / weights), counts)
    assert np.array_equal(taps['layer3'], counts.astype(np.float32) * weights.astype(np.float32))
    assert np.count_nonzero(counts[:, : len(words)].sum(0)) > len(words) / 2


def whole(net, params):
    """The hand-made parameters and a classifier as it begins."""
    shapes = jax.eval_shape(Network(net).init, jax.random.key(0), jax.ShapeDtypeStruct((1, *net.input_shape), jnp.float32))['params']
    random = np.random.default_rng(0)
    top = jax.tree.map(lambda a: (0.1 * random.standard_normal(a.shape)).astype(np.float32), shapes[net.layers[-1].name])
    return {**params, net.layers[-1].name: top}


@pytest.mark.parametrize('name', ['sift', 'sift_32', 'spm', 'spm_32'])
def test_the_parameters_are_the_networks(name):
    net = zoo.architecture(name)
    words = np.random.default_rng(0).random((net.layer(3).stages[0].features, 128))
    check_parameters(net, whole(net, handmade.spm(net, words) if 'spm' in name else handmade.sift(net)))


def test_every_layer_learns_and_a_blank_image_harms_none():
    net = zoo.architecture('spm_32')
    images = textures(24, 32)
    descriptors = described(net, handmade.sift(net), images[4:], 'layer2')['layer2'].reshape(-1, 128)
    params = whole(net, handmade.spm(net, descriptors[-100:]))

    @jax.jit
    def gradient(images):
        def loss(params):
            return -jax.nn.log_softmax(Network(net).apply({'params': params}, images)[0])[:, 3].mean()

        return jax.grad(loss)(params)

    for leaf in jax.tree.leaves(gradient(images[:4])):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0
    for leaf in jax.tree.leaves(gradient(np.full((4, 32, 32, 3), 0.4, np.float32))):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        ('zfnet_32', r'zfnet_32: layer 1 takes no hand-made weights; it would have to be Convolution\(8, kernel > 1\), ReLU\(\)'),
        ('perceptron', 'has no layer 2'),
        ('sift resized(1=16)', 'layer 1 takes no hand-made weights'),
        ('sift replaced(1,padding=3)', 'layer 1 takes no hand-made weights'),
        ('sift replaced(1,kernel=1)', 'layer 1 takes no hand-made weights'),
        (
            'sift replaced(2,normalization=response)',
            r'layer 2 takes no hand-made weights; it would have to be .*, CellPool\(\), UnitLength',
        ),
        ('sift without(2)', 'has no layer 2'),
        (
            'sift',
            r'sift: layer 3 takes no hand-made weights; it would have to be Convolution\(words, 1\), WinnerTakeAll\(\), PyramidPool\(\)',
        ),
        ('spm replaced(3,nonlinearity=relu)', 'layer 3 takes no hand-made weights'),
        ('spm resized(3=100)', r'layer 3 holds 100 words of 128 numbers, not \(200, 128\)'),
        ('spm replaced(2,pooling_cells=2)', r'layer 3 holds 200 words of 32 numbers, not \(200, 128\)'),
    ],
)
def test_other_networks_are_refused(text, why):
    with pytest.raises(ArchitectureError, match=why) as caught:
        handmade.spm(zoo.architecture(text), np.zeros((200, 128), np.float32))
    assert '\n' not in str(caught.value)
