"""The zoo against the papers: every name is pinned to its input, parameters and multiply-adds, whatever the code computes."""

import subprocess
import sys

import pytest

from cnn_research.errors import ArchitectureError
from cnn_research.models import zoo

# (input, parameters, multiply-adds), written down from the papers and from published counts of their models.
PINS = {
    'lenet5_modern': ((32, 32, 1), 61_706, 416_520),
    'cifar_80sec': ((32, 32, 3), 145_578, 12_354_176),
    'cifar_18pct': ((32, 32, 3), 89_578, 12_298_240),
    'cifar_13pct': ((24, 24, 3), 1_116_490, 18_517_248),
    'cifar_11pct': ((24, 24, 3), 1_116_490, 18_517_248),
    'alexnet': ((227, 227, 3), 60_965_224, 724_406_816),
    'alexnet_dense': ((227, 227, 3), 62_378_344, 1_135_256_096),
    'alexnet_one_gpu': ((227, 227, 3), 59_798_312, 391_514_384),
    'bvlc_alexnet': ((227, 227, 3), 60_965_224, 724_406_816),
    'caffenet': ((227, 227, 3), 60_965_224, 724_406_816),
    'alexnet_owt': ((224, 224, 3), 61_100_840, 714_188_480),
    'zfnet': ((224, 224, 3), 62_357_608, 1_168_032_896),
    'overfeat_fast': ((231, 231, 3), 145_920_872, 2_801_403_904),
    'overfeat_accurate': ((221, 221, 3), 144_656_488, 5_355_446_784),
    'mcdnn_mnist': ((29, 29, 1), 76_040, 1_891_820),
    'mcdnn_gtsrb': ((48, 48, 3), 1_543_443, 125_978_700),
    'deepface': ((152, 152, 3), 118_923_774, 517_624_448),
}


def counted(input_shape, *maps):
    """A pin from (positions, inputs of a unit, units) of each linear map, worked out by hand."""
    return input_shape, sum((inputs + 1) * units for _, inputs, units in maps), sum(at * inputs * units for at, inputs, units in maps)


def classifier(*sizes):
    return [(1, below, above) for below, above in zip(sizes, sizes[1:], strict=False)]


LENET5 = [(28 * 28, 25, 6), (100, 75, 6), (100, 100, 9), (100, 150, 1), (1, 400, 120), (1, 120, 84)]
UPPER_32 = [(16 * 16, 9 * 24, 48), (64, 9 * 48, 72), (64, 9 * 72, 72), (64, 9 * 72, 48), *classifier(16 * 48, 256, 256, 10)]
UPPER_64 = [(16 * 16, 9 * 32, 80), (64, 9 * 80, 128), (64, 9 * 128, 128), (64, 9 * 128, 80), *classifier(16 * 80, 384, 384, 10)]
UPPER_128 = [(16 * 16, 9 * 48, 128), (64, 9 * 128, 192), (64, 9 * 192, 192), (64, 9 * 192, 128), *classifier(16 * 128, 512, 512, 10)]


def fire(side, inputs, squeeze, expand):
    return [(side**2, inputs, squeeze), (side**2, squeeze, expand), (side**2, 9 * squeeze, expand)]


# Iandola et al. 2016, Table 1: modules 2 to 9, and a last convolution of 1x1 on 13x13 maps with a border of 1.
FIRES = [
    *(*fire(55, 96, 16, 64), *fire(55, 128, 16, 64), *fire(55, 128, 32, 128), *fire(27, 256, 32, 128)),
    *(*fire(27, 256, 48, 192), *fire(27, 384, 48, 192), *fire(27, 384, 64, 256), *fire(13, 512, 64, 256)),
]

# C1, C3 and L4 to L6, of which a local unit has a kernel and a bias of its own.
DEEPFACE_56 = [(52**2, 25, 32), (24**2, 9 * 32, 16), (22**2, 144, 16), (100, 144, 16), (64, 144, 16), *classifier(1024, 512, 10)]

PINS |= {
    'deepface_56_shared': counted((56, 56, 1), *DEEPFACE_56),
    'deepface_56': (
        *((56, 56, 1), sum(145 * 16 * (at if at in (484, 100, 64) else 0) for at, _, _ in DEEPFACE_56) + 26 * 32 + 289 * 16 + 529_930),
        counted((56, 56, 1), *DEEPFACE_56)[2],
    ),
    'squeezenet': ((227, 227, 3), 1_248_424, counted((227, 227, 3), (111**2, 147, 96), *FIRES, (15**2, 512, 1000))[2]),
    'perceptron': counted((28, 28, 1), *classifier(784, 10)),
    'linear': counted((28, 28, 1), *classifier(784, 10)),
    'mlp_800': counted((28, 28, 1), *classifier(784, 800, 10)),
    'mlp_300': counted((28, 28, 1), *classifier(784, 300, 10)),
    'mlp_1000': counted((28, 28, 1), *classifier(784, 1000, 10)),
    'mlp_300_100': counted((28, 28, 1), *classifier(784, 300, 100, 10)),
    'mlp_500_150': counted((28, 28, 1), *classifier(784, 500, 150, 10)),
    'lenet5': ((32, 32, 1), 60_000, counted((32, 32, 1), *LENET5)[2]),
    'alexnet_32': counted((32, 32, 3), (32 * 32, 27, 24), *UPPER_32),
    'zfnet_32': counted((32, 32, 3), (32 * 32, 27, 24), *UPPER_32),
    'alexnet_64': counted((64, 64, 3), (32 * 32, 75, 32), *UPPER_64),
    'zfnet_64': counted((64, 64, 3), (64 * 64, 27, 32), *UPPER_64),
    'alexnet_128': counted((128, 128, 3), (32 * 32, 363, 48), *UPPER_128),
    'zfnet_128': counted((128, 128, 3), (64 * 64, 147, 48), *UPPER_128),
    'mcdnn_gtsrb_32': counted((32, 32, 3), (26**2, 147, 100), (10**2, 1600, 150), (2**2, 2400, 250), *classifier(250, 300, 43)),
    'jarrett': counted((143, 143, 1), (135 * 135, 81, 64), (18 * 18, 81 * 16, 256), *classifier(4 * 4 * 256, 102)),
    'jarrett_32': counted((32, 32, 3), (28 * 28, 75, 64), (9 * 9, 25 * 16, 256), *classifier(4 * 4 * 256, 10)),
}

# Wan et al. 2013: one count for each net, however it drops; the extractors are those of cuda-convnet, less their classifiers.
LOCAL = sum(36 * (inputs + 1) * 32 for inputs in (576, 288))
CIFAR_18 = [(1024, 75, 32), (256, 800, 32), (64, 800, 64)]
for kind in ('', '_dropout', '_dropconnect'):
    PINS |= {
        f'wan_800{kind}': counted((28, 28, 1), *classifier(784, 800, 800, 10)),
        f'wan_cifar{kind}': counted((32, 32, 3), *CIFAR_18, *classifier(1024, 64, 10)),
        f'wan_cifar_large{kind}': ((24, 24, 3), 4864 + 102_464 + LOCAL + 147_584 + 1290, 18_505_728 + 148_736),
    }

SIFT, SIFT_32 = [(122 * 122, 3 * 49, 8), (122 * 122, 8, 8)], [(30 * 30, 3 * 9, 8), (30 * 30, 8, 8)]

PINS |= {
    'sift': counted((128, 128, 3), *SIFT, (1, 14 * 14 * 128, 10)),
    'spm': counted((128, 128, 3), *SIFT, (14 * 14, 128, 200), (1, 21 * 200, 10)),
    'sift_32': counted((32, 32, 3), *SIFT_32, (1, 8 * 8 * 128, 10)),
    'spm_32': counted((32, 32, 3), *SIFT_32, (12 * 12, 128, 100), (1, 21 * 100, 10)),
}

# Zeiler & Fergus 2013, Table 3: (parameters, multiply-adds) of its rows, dense and (rows 1 to 7) with two towers.
TABLE3_DENSE = [
    (62_378_344, 1_135_256_096),
    (59_870_824, 711_615_008),
    (45_597_032, 1_118_478_880),
    (12_964_200, 1_085_850_144),
    (10_456_680, 662_209_056),
    (28_868_968, 1_101_750_816),
    (154_562_920, 1_227_432_480),
    (62_357_608, 1_168_032_896),
    (28_848_232, 1_134_527_616),
    (154_542_184, 1_260_209_280),
    (107_627_624, 2_476_704_896),
    (237_560_936, 2_606_630_016),
]
TABLE3_TOWERS = [
    (60_965_224, 724_406_816),
    (59_268_712, 437_826_080),
    (44_183_912, 707_629_600),
    (11_551_080, 675_000_864),
    (9_854_568, 388_420_128),
    (27_455_848, 690_901_536),
    (153_149_800, 816_583_200),
]

# (layer, stage): (output side, receptive field, effective stride)
GEOMETRY = {
    'alexnet': {
        (1, 'convolution'): (55, 11, 4),
        (1, 'max_pool'): (27, 19, 8),
        (2, 'convolution'): (27, 51, 8),
        (2, 'max_pool'): (13, 67, 16),
        (3, 'convolution'): (13, 99, 16),
        (4, 'convolution'): (13, 131, 16),
        (5, 'convolution'): (13, 163, 16),
        (5, 'max_pool'): (6, 195, 32),
    },
    'zfnet': {
        (1, 'convolution'): (110, 7, 2),
        (1, 'max_pool'): (55, 11, 4),
        (2, 'convolution'): (26, 27, 8),
        (2, 'max_pool'): (13, 43, 16),
        (3, 'convolution'): (13, 75, 16),
        (4, 'convolution'): (13, 107, 16),
        (5, 'convolution'): (13, 139, 16),
        (5, 'max_pool'): (6, 171, 32),
    },
    'lenet5': {
        (1, 'convolution'): (28, 5, 1),
        (1, 'subsampling'): (14, 6, 2),
        (2, 'convolution'): (10, 14, 2),
        (2, 'subsampling'): (5, 16, 4),
        (3, 'convolution'): (1, 32, 4),
    },
    'overfeat_fast': {
        (1, 'convolution'): (56, 11, 4),
        (1, 'max_pool'): (28, 15, 8),
        (2, 'convolution'): (24, 47, 8),
        (2, 'max_pool'): (12, 55, 16),
        (3, 'convolution'): (12, 87, 16),
        (4, 'convolution'): (12, 119, 16),
        (5, 'convolution'): (12, 151, 16),
        (5, 'max_pool'): (6, 167, 32),
    },
    'overfeat_accurate': {
        (1, 'convolution'): (108, 7, 2),
        (1, 'max_pool'): (36, 11, 6),
        (2, 'convolution'): (30, 47, 6),
        (2, 'max_pool'): (15, 53, 12),
        (3, 'convolution'): (15, 77, 12),
        (4, 'convolution'): (15, 101, 12),
        (5, 'convolution'): (15, 125, 12),
        (6, 'convolution'): (15, 149, 12),
        (6, 'max_pool'): (5, 173, 36),
    },
    'squeezenet': {
        (1, 'convolution'): (111, 7, 2),
        (1, 'max_pool'): (55, 11, 4),
        (2, 'convolution'): (55, 11, 4),
        (3, 'expand'): (55, 19, 4),
        (7, 'max_pool'): (27, 43, 8),
        (15, 'max_pool'): (13, 123, 16),
        (17, 'expand'): (13, 155, 16),
        (18, 'convolution'): (15, 155, 16),
    },
    'deepface': {
        (1, 'convolution'): (142, 11, 1),
        (1, 'max_pool'): (71, 13, 2),
        (2, 'convolution'): (63, 29, 2),
        (3, 'locally_connected'): (55, 45, 2),
        (4, 'locally_connected'): (25, 57, 4),
        (5, 'locally_connected'): (21, 73, 4),
    },
    # Both normalizations look 4 px around them.
    'jarrett': {
        (1, 'convolution'): (135, 9, 1),
        (1, 'average_pool'): (26, 9 + 16 + 9, 5),
        (2, 'convolution'): (18, 34 + 40, 5),
        (2, 'average_pool'): (4, 74 + 80 + 25, 20),
    },
    'deepface_56': {
        (1, 'convolution'): (52, 5, 1),
        (1, 'max_pool'): (26, 7, 2),
        (2, 'convolution'): (24, 11, 2),
        (3, 'locally_connected'): (22, 15, 2),
        (4, 'locally_connected'): (10, 19, 4),
        (5, 'locally_connected'): (8, 27, 4),
    },
    'spm': {
        (1, 'convolution'): (122, 7, 1),
        (2, 'cell_pool'): (14, 22, 8),
        (2, 'unit_length_2'): (14, 22, 8),
        (3, 'winner_take_all'): (14, 22, 8),
        (3, 'pyramid_pool'): (4200, 0, 0),
    },
    'sift_32': {
        (1, 'convolution'): (30, 3, 1),
        (2, 'cell_pool'): (8, 18, 2),
    },
    'spm_32': {
        (1, 'convolution'): (30, 3, 1),
        (2, 'cell_pool'): (12, 10, 2),
        (3, 'pyramid_pool'): (2100, 0, 0),
    },
}


def test_every_name_is_pinned_and_every_pin_has_a_name():
    assert set(zoo.NAMES) == set(PINS)
    assert len(set(zoo.NAMES)) == len(zoo.NAMES)


@pytest.mark.parametrize('name', zoo.NAMES)
def test_counts(name):
    net = zoo.architecture(name)
    assert (net.input_shape, net.parameters, net.multiply_adds) == PINS[name]
    assert net.name == name


def test_mlp_parameters_as_published():
    names = ['perceptron', 'mlp_300', 'mlp_1000', 'mlp_300_100', 'mlp_500_150']
    assert [zoo.architecture(name).parameters for name in names] == [7_850, 238_510, 795_010, 266_610, 469_160]


@pytest.mark.parametrize('row', range(12))
def test_table3(row):
    net = zoo.architecture(zoo.TABLE3[row][1])
    assert (net.parameters, net.multiply_adds) == TABLE3_DENSE[row]
    assert len(zoo.TABLE3) == 12


@pytest.mark.parametrize('row', range(7))
def test_table3_with_two_towers(row):
    net = zoo.architecture(zoo.TABLE3[row][1].replace('alexnet_dense', 'alexnet'))
    assert (net.parameters, net.multiply_adds) == TABLE3_TOWERS[row]


def test_zfnet_with_the_same_removals():
    removed = ['3,4', '7', '6,7', '3,4,6,7']
    counts = [zoo.architecture(f'zfnet without({numbers})').parameters for numbers in removed]
    assert counts == [59_850_088, 45_576_296, 12_943_464, 10_435_944]


@pytest.mark.parametrize('name', GEOMETRY)
def test_map_sizes_receptive_fields_and_strides(name):
    rows = {(row.layer, row.stage): row for row in zoo.architecture(name).rows}
    found = {key: (rows[key].output[0], rows[key].receptive_field, rows[key].effective_stride) for key in GEOMETRY[name]}
    assert found == GEOMETRY[name]


def test_lenet5_connections_layer_by_layer():
    net = zoo.architecture('lenet5')
    found = [(row.parameters, row.connections) for row in net.rows if row.connections]
    assert found == [(156, 122_304), (12, 5_880), (1_516, 151_600), (32, 2_000), (48_120, 48_120), (10_164, 10_164), (0, 840)]
    assert net.connections == 340_908


def test_lenet5_partial_maps():
    table = zoo.architecture('lenet5').layer(2).stages[0].table
    assert [len(row) for row in table] == [3] * 6 + [4] * 9 + [6]
    assert len(set(table)) == 16
    readers = [sum(map_ in row for row in table) for map_ in range(6)]
    assert readers == [10] * 6  # the table is balanced: each map of S2 is read ten times


@pytest.mark.parametrize('name', ['jarrett', 'jarrett_32'])
def test_jarretts_partial_maps(name):
    table = zoo.architecture(name).layer(2).stages[0].table
    assert [len(set(row)) for row in table] == [16] * 256 and len(set(table)) == 256
    assert [sum(map_ in row for row in table) for map_ in range(64)] == [64] * 64


@pytest.mark.parametrize('size', [32, 64, 128])
def test_siblings_have_the_parents_anatomy(size):
    ours, parents = ([zoo.architecture(f'{name}{suffix}') for name in ('alexnet', 'zfnet')] for suffix in (f'_{size}', ''))
    for net, parent in zip(ours, parents, strict=True):
        assert [[stage.name for stage in layer.stages] for layer in net.layers] == [
            [stage.name for stage in layer.stages] for layer in parent.layers
        ]
        assert net.num_classes == 10
        fields = {row.layer: row.receptive_field for row in net.rows if row.stage == 'convolution'}
        assert fields[4] < size  # so that a unit of layer 4 does not yet see the whole image
    alexnet, zfnet = ours
    assert alexnet.taps()['layer2'] == zfnet.taps()['layer2']
    if size > 32:
        first = [net.layer(1).stages[0] for net in ours]
        assert first[0].kernel > first[1].kernel
        assert first[0].stride == 2 * first[1].stride


def test_the_sibling_of_deepface_has_its_anatomy_and_sees_as_large_a_part():
    ours, shared, parent = map(zoo.architecture, ('deepface_56', 'deepface_56_shared', 'deepface'))
    assert [[stage.name for stage in layer.stages] for layer in ours.layers] == [
        [stage.name for stage in layer.stages] for layer in parent.layers
    ]
    seen = [next(row.receptive_field for row in net.rows if row.layer == 5) / net.input_shape[0] for net in (ours, parent)]
    assert abs(seen[0] - seen[1]) < 0.01
    assert ours.multiply_adds == shared.multiply_adds and ours.parameters > 3 * shared.parameters
    assert ours.taps()['layer5'] == shared.taps()['layer5']


def test_normalization_settings():
    def norms(name):
        return {stage for layer in zoo.architecture(name).layers for stage in layer.stages if stage.role == 'normalization'}

    (printed,), (caffe,), (across,), (within,) = map(norms, ('alexnet', 'caffenet', 'cifar_11pct', 'cifar_18pct'))
    assert (printed.size, printed.alpha, printed.beta, printed.k, printed.divided, printed.across) == (5, 1e-4, 0.75, 2, False, True)
    assert (caffe.size, caffe.alpha, caffe.beta, caffe.k, caffe.divided, caffe.across) == (5, 1e-4, 0.75, 1, True, True)
    assert (across.size, across.alpha, across.beta, across.k, across.divided, across.across) == (5, 1e-3, 0.75, 1, True, True)
    assert (within.size, within.alpha, within.beta, within.k, within.divided, within.across) == (3, 5e-5, 0.75, 1, True, False)
    assert norms('bvlc_alexnet') == {caffe}
    assert not norms('alexnet_owt') | norms('cifar_13pct') | norms('overfeat_fast')


def test_caffes_two_networks_differ_in_the_order_of_normalization_and_pooling_alone():
    first, second = zoo.architecture('bvlc_alexnet'), zoo.architecture('caffenet')
    orders = [[stage.role for stage in net.layer(number).stages[2:]] for net in (first, second) for number in (1, 2)]
    assert orders == [['normalization', 'pooling']] * 2 + [['pooling', 'normalization']] * 2
    assert [set(layer.stages) for layer in first.layers] == [set(layer.stages) for layer in second.layers]
    assert first.layers[2:] == second.layers[2:] == zoo.architecture('alexnet').layers[2:]


def test_squeezenets_fire_modules_are_two_layers_each():
    net = zoo.architecture('squeezenet')
    learned = {row.layer: row.parameters for row in net.rows if row.parameters}
    modules = [learned[2 * number - 2] + learned[2 * number - 1] for number in range(2, 10)]
    assert [learned[1], *modules, learned[18]] == [14_208, 11_920, 12_432, 45_344, 49_440, 104_880, 111_024, 188_992, 197_184, 513_000]
    assert net.taps()['layer18'] == (1000,) and net.taps()['layer18.relu'] == (15, 15, 1000) and net.row('layer18').receptive_field == 0
    other = zoo.architecture('squeezenet without(4,5,16) resized(18=10) replaced(17,features=320,pointwise=64)')
    assert (other.num_classes, other.taps()['layer17'], other.layers[-1].number) == (10, (13, 13, 320), 18)


def test_names_with_operations():
    net = zoo.architecture('alexnet_32 resized(1=8,2=16,3=32,4=32,5=16,6=128,7=128) without(3,4)')
    assert [layer.number for layer in net.layers] == [1, 2, 5, 6, 7, 8]
    assert net.taps()['layer5.convolution'] == (8, 8, 16)


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ArchitectureError, match=r"unknown architecture 'zfnett'.*caffenet.*Did you mean zfnet\?$") as caught:
        zoo.architecture('zfnett without(3)')
    assert all(name in str(caught.value) for name in zoo.NAMES)


def test_the_zoo_needs_no_jax():
    code = "import sys; from cnn_research.models import zoo; [zoo.architecture(n) for n in zoo.NAMES]; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
