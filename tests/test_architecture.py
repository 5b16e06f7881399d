"""Shapes and counts against real operations, surgery and its refusals, the notation, JSON, taps."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnn_research.architecture import (
    Architecture,
    AveragePool,
    Convolution,
    Dense,
    Divisive,
    Dropout,
    Layer,
    LocallyConnected,
    MaxPool,
    RadialBasis,
    ReLU,
    Response,
    Subsampling,
    SumPool,
    Tanh,
    from_json,
    operated,
    parse,
    replaced,
    resized,
    without,
)
from cnn_research.errors import ArchitectureError
from cnn_research.models import zoo
from cnn_research.stages import STAGES, fan_in

SMALL = Architecture(
    'small',
    (12, 10, 3),
    (
        Layer(1, (Convolution(8, 3, padding=1), ReLU(), Response(), MaxPool(3, 2))),
        Layer(2, (Convolution(6, 3, groups=2), Tanh())),
        Layer(3, (LocallyConnected(4, 2), ReLU(), Dropout(0.25))),
        Layer(4, (Dense(7), ReLU(), Dropout(0.5))),
        Layer(5, (Dense(5),)),
    ),
)

WINDOWS = [
    window
    for window in itertools.product((7, 8, 13, 14), (2, 3, 5), (1, 2, 3), (0, 1))
    if window[3] <= window[1] // 2  # padding of at most half the kernel, as pooling in PyTorch demands
]


def eval_shape(function, *shapes):
    return jax.eval_shape(function, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).shape


def convolve(images, kernel, stage, local=False):
    numbers = ('NHWC', 'HWIO', 'NHWC')
    padding = [(stage.padding, stage.padding)] * 2
    strides = (stage.stride, stage.stride)
    if local:
        return lax.conv_general_dilated_local(images, kernel, strides, padding, (stage.kernel, stage.kernel), dimension_numbers=numbers)
    return lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=numbers, feature_group_count=stage.groups)


# Shapes and counts


@pytest.mark.parametrize('groups', [1, 2])
def test_convolution_shapes_and_products_are_those_of_xla(groups):
    for size, kernel, stride, padding in WINDOWS:
        stage = Convolution(6, kernel, stride, padding, groups=groups)
        shape = (size, size + 1, 4)
        weights = stage.parameters(shape)['kernel']
        images = (2, *shape)
        assert stage.output(shape) == eval_shape(lambda x, w, stage=stage: convolve(x, w, stage), images, weights)[1:]
    # the sum of all outputs over images and kernels of ones counts the products, where nothing is padded
    stage, shape = Convolution(6, 3, 2, groups=groups), (8, 9, 4)
    ones = convolve(jnp.ones((1, *shape)), jnp.ones(stage.parameters(shape)['kernel']), stage)
    assert stage.multiply_adds(shape) == int(ones.sum())


def test_locally_connected_shapes_and_products_are_those_of_xla():
    for size, kernel, stride, padding in WINDOWS:
        stage, shape = LocallyConnected(5, kernel, stride, padding), (size, size + 1, 3)
        weights = stage.parameters(shape)['kernel']
        images = (2, *shape)
        assert stage.output(shape) == eval_shape(lambda x, w, stage=stage: convolve(x, w, stage, local=True), images, weights)[1:]
    stage, shape = LocallyConnected(5, 3, 2), (8, 9, 3)
    ones = convolve(jnp.ones((1, *shape)), jnp.ones(stage.parameters(shape)['kernel']), stage, local=True)
    assert stage.multiply_adds(shape) == int(ones.sum())
    assert stage.parameters(shape)['bias'] == stage.output(shape)


@pytest.mark.parametrize('kind', [MaxPool, AveragePool, SumPool])
def test_pooling_shapes_are_those_of_xla(kind):
    for size, kernel, stride, padding in WINDOWS:
        pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))

        def pooled(x, window=(1, kernel, kernel, 1), strides=(1, stride, stride, 1), pads=pads):
            return lax.reduce_window(x, 0.0, lax.add, window, strides, pads)

        shape = (size, size + 1, 4)
        assert kind(kernel, stride, padding).output(shape) == eval_shape(pooled, (2, *shape))[1:]


def test_ceil_pooling_shapes_are_those_of_torch():
    torch = pytest.importorskip('torch')
    for size, kernel, stride, padding in WINDOWS:
        pooled = torch.nn.MaxPool2d(kernel, stride, padding, ceil_mode=True)(torch.zeros(1, 4, size, size + 1))
        assert MaxPool(kernel, stride, padding, ceil=True).output((size, size + 1, 4)) == (*pooled.shape[2:], 4)


def test_ceil_convolution_covers_every_pixel_and_no_window_is_superfluous():
    for size, kernel, stride, padding in WINDOWS:
        windows = Convolution(4, kernel, stride, padding, ceil=True).output((size, size, 3))[0]
        last = (windows - 1) * stride - padding  # the pixel at which the last window starts
        assert last + kernel >= size + padding
        assert last - stride + kernel < size + padding


def test_krizhevskys_224_needs_ceil_to_give_55():
    assert Convolution(96, 11, 4).output((224, 224, 3)) == (54, 54, 96)
    assert Convolution(96, 11, 4, ceil=True).output((224, 224, 3)) == (55, 55, 96)


def reach_of(net, tap_layer):
    """(receptive field, effective stride) of a layer's units, found by changing input pixels one by one; maps are one pixel high."""
    width = net.input_shape[1]

    def run(x):
        for layer in net.layers:
            for stage in layer.stages:
                pads = [(stage.padding, stage.padding)]
                ones = jnp.ones((stage.kernel, 1, 1))
                x = lax.conv_general_dilated(x, ones, (stage.stride,), pads, dimension_numbers=('NWC', 'WIO', 'NWC'))
            if layer.number == tap_layer:
                return x

    seen = np.asarray(run(jnp.eye(width)[:, :, None]))[:, :, 0] > 0  # (pixel, unit)
    middle = seen.shape[1] // 2
    first = seen.argmax(axis=0)
    return int(seen[:, middle].sum()), int(first[middle + 1] - first[middle])


def test_receptive_fields_and_strides_are_those_of_perturbed_pixels():
    net = Architecture(
        'line',
        (99, 99, 1),
        (
            Layer(1, (Convolution(1, 5, 2, 1), MaxPool(3, 2, 1))),
            Layer(2, (Convolution(1, 3, 1, 1),)),
            Layer(4, (Convolution(1, 4, 2), AveragePool(2, 1))),
        ),
    )
    for number in (1, 2, 4):
        last = [row for row in net.rows if row.layer == number][-1]
        assert (last.receptive_field, last.effective_stride) == reach_of(net, number)


def test_dense_layers_see_the_whole_image_and_normalization_over_a_window_widens_the_field():
    fields = {(row.layer, row.stage): row.receptive_field for row in SMALL.rows}
    assert fields[1, 'response'] == fields[1, 'convolution'] == 3
    assert fields[4, 'dense'] == fields[5, 'dense'] == 0
    within = replaced(SMALL, 1, normalization=Response(size=3, across=False))
    contrast = replaced(SMALL, 1, normalization=Divisive(size=5))
    assert next(row for row in within.rows if row.stage == 'response').receptive_field == 5
    assert next(row for row in contrast.rows if row.stage == 'divisive').receptive_field == 7


def test_counts_of_a_small_net_worked_out_by_hand():
    # 12x10 -> 12x10x8 -> pool 5x4x8 -> 3x2x6 (two groups of 4 maps) -> 2x1x4 -> 7 -> 5
    parameters = [8 * 28, 6 * (9 * 4 + 1), 2 * 1 * 4 * (4 * 6 + 1), 7 * 9, 5 * 8]
    products = [120 * 27 * 8, 6 * 36 * 6, 2 * 24 * 4, 8 * 7, 7 * 5]
    assert [row.parameters for row in SMALL.rows if row.parameters] == parameters
    assert [row.multiply_adds for row in SMALL.rows if row.multiply_adds] == products
    assert (SMALL.parameters, SMALL.multiply_adds, SMALL.num_classes) == (sum(parameters), sum(products), 5)


# Taps


def test_taps_are_named_by_layer_and_stage_from_the_image_up():
    taps = SMALL.taps()
    assert list(taps)[:6] == ['layer1.convolution', 'layer1.relu', 'layer1.response', 'layer1.max_pool', 'layer1', 'layer2.convolution']
    assert taps['layer1'] == taps['layer1.max_pool'] == (5, 4, 8)
    assert taps['layer3.dropout'] == (2, 1, 4)
    assert taps['layer5'] == taps['layer5.dense'] == (5,)


def test_a_second_stage_of_one_kind_is_numbered():
    taps = zoo.architecture('lenet5').taps()
    assert taps['layer1.scaled_tanh'] == (28, 28, 6)
    assert taps['layer1.scaled_tanh_2'] == taps['layer1'] == (14, 14, 6)


# Surgery


def test_layers_keep_their_numbers_and_features_when_others_go():
    net = without(SMALL, 2, 3)
    assert [layer.number for layer in net.layers] == [1, 4, 5]
    assert net.layer(4) == SMALL.layer(4)
    assert net.taps()['layer1'] == SMALL.taps()['layer1']
    assert net.rows[4].parameters == 7 * (5 * 4 * 8 + 1)  # layer 4 now reads what leaves layer 1
    assert [layer.number for layer in SMALL.layers] == [1, 2, 3, 4, 5]


def test_resizing_changes_the_named_layers_only():
    net = resized(SMALL, {1: 4, 4: 9})
    assert [layer.stages[0].features for layer in net.layers] == [4, 6, 4, 9, 5]
    assert [layer.stages[1:] for layer in net.layers] == [layer.stages[1:] for layer in SMALL.layers]


def test_replacing_by_field_role_and_stage():
    net = replaced(SMALL, 1, kernel=5, padding=2, nonlinearity='tanh', normalization='none', pooling_kernel=2)
    assert net.layer(1).stages == (Convolution(8, 5, padding=2), Tanh(), MaxPool(2, 2))
    assert net.layers[1:] == SMALL.layers[1:]
    assert replaced(SMALL, 1, pooling=AveragePool(3, 2)).layer(1).stages[-1] == AveragePool(3, 2)
    assert replaced(SMALL, 4, dropout_rate=0.1).layer(4).stages[-1] == Dropout(0.1)
    assert replaced(SMALL, 5, stages=(Dense(3), ReLU())).layer(5).stages == (Dense(3), ReLU())


def test_replacing_a_nonlinearity_replaces_both_of_lenets():
    stages = replaced(zoo.architecture('lenet5'), 1, nonlinearity='tanh').layer(1).stages
    assert stages == (Convolution(6, 5), Tanh(), Subsampling(2, 2), Tanh())


IMPOSSIBLE = {
    'small without(9)': r'small has no layer 9; its layers are 1, 2, 3, 4, 5\.',
    'small without(3) without(3)': r'small without\(3\) has no layer 3; its layers are 1, 2, 4, 5\.',
    'small without(5)': r'layer 5 is the classifier and cannot be removed',
    'small resized(9=3)': r'has no layer 9',
    'small replaced(1,kernel=abc)': r"convolution cannot have kernel='abc'; it is a whole number",
    'small replaced(1,stride=0)': r'convolution cannot have stride=0; it is a whole number',
    'small replaced(1,padding=-1)': r'convolution cannot have padding=-1',
    'small resized(1=0)': r'convolution cannot have features=0; it is a whole number from 1 up',
    'small resized(1=2.5)': r'convolution cannot have features=2\.5; it is a whole number from 1 up',
    'small resized(2=5)': r'layer2: 2 groups do not divide 8 input maps and 5 output maps',
    'small replaced(9,kernel=3)': r'has no layer 9',
    'small replaced(1,kernal=3)': r"layer 1 has no 'kernal'; choose from .*kernel.*pooling.* Did you mean kernel\?",
    'small replaced(4,kernel=3)': r"layer 4 has no 'kernel'; choose from features, nonlinearity, dropout\.",
    'small replaced(1,pooling_kernl=3)': r'Did you mean pooling_kernel\?',
    'small replaced(1,nonlinearity=rely)': r'no nonlinearity is called .rely.; choose from relu, .*none\. Did you mean relu\?',
    'small replaced(5,nonlinearity=relu)': r'layer 5 has no nonlinearity to change',
    'small replaced(5,dropout_rate=0.5)': r'layer 5 has no dropout to change',
    'small replaced(1,pooling_kernel=50)': r'layer1: max_pool 50x50/2 with padding 0 would shrink its 12x10 input below 1 px',
    'small replaced(1,stride=9)': r'layer1: max_pool .* 2x2 input below 1 px',
    'small without(1)': r'layer2: 2 groups do not divide 3 input maps',
    'small replaced(3,kernel=3)': r'layer3: locally_connected 3x3/1 with padding 0 would shrink its 3x2 input below 1 px',
    'lenet5 resized(1=3)': r'layer2: the connection table names map 5, but only 3 come in',
    'lenet5 resized(2=8)': r'layer 2 has a fixed number of features',
    'lenet5 resized(5=8)': r'layer 5 has a fixed number of features',
    'lenet5 without(4)': r'layer5: radial_basis compares 84 features with ten 7x12 drawings',
}


@pytest.mark.parametrize('text', IMPOSSIBLE)
def test_impossible_surgery_says_why(text):
    name, operations = parse(text)
    net = SMALL if name == 'small' else zoo.architecture(name)
    with pytest.raises(ArchitectureError, match=IMPOSSIBLE[text]) as caught:
        operated(net, operations)
    assert '\n' not in str(caught.value)


def test_what_cannot_be_a_network_is_refused_where_it_is_made():
    dense = Layer(1, (Dense(3),))
    for layers, why in [
        ((), 'must rise'),
        ((dense, dense), 'must rise'),
        ((Layer(2, (Dense(3),)), dense), 'must rise'),
        ((Layer(1, ()),), 'layer1 must open with its one learned linear map'),
        ((Layer(1, (ReLU(), Dense(3))),), 'must open with'),
        ((Layer(1, (Dense(3), Dense(3))),), 'must open with'),
        ((Layer(1, (Dense(3), MaxPool(2, 2))),), 'layer1: max_pool needs maps'),
        ((dense, Layer(2, (Convolution(3, 3),))), 'layer2: convolution needs maps'),
        ((Layer(1, (RadialBasis(),)),), 'layer1: radial_basis compares'),
        ((Layer(1, (Convolution(2, 3, table=((0,),)),)),), 'table of 1 rows does not fit 2 maps'),
    ]:
        with pytest.raises(ArchitectureError, match=why):
            Architecture('odd', (8, 8, 3), layers)


# Notation


def test_parse_reads_names_numbers_and_values():
    assert parse('zfnet') == ('zfnet', ())
    name, operations = parse(
        '  zfnet without( 3,4 )  resized(6=2048, 7=1024) replaced(1,kernel=11,ceil=true,dropout_rate=0.5,pooling=none) '
    )
    assert name == 'zfnet'
    assert operations[0] == ('without', (3, 4), {})
    assert operations[1] == ('resized', (), {'6': 2048, '7': 1024})
    assert operations[2] == ('replaced', (1,), {'kernel': 11, 'ceil': True, 'dropout_rate': 0.5, 'pooling': 'none'})
    assert [type(value) for value in operations[2][2].values()] == [int, bool, float, str]


@pytest.mark.parametrize(
    'text',
    [
        *('', '   ', '(3)', 'zfnet(3)', 'zfnet 3', 'zfnet without', 'zfnet without()', 'zfnet without(3', 'zfnet without(a)'),
        *('zfnet without(-3)', 'zfnet without(3=4)', 'zfnet resized(3)', 'zfnet resized(a=3)', 'zfnet replaced(kernel=3)'),
        *('zfnet replaced(1,2,kernel=3)', 'zfnet without(3);print(1)', 'zfnet without((3))', 'zfnet __import__(os)'),
    ],
)
def test_parse_refuses_what_it_cannot_read(text):
    with pytest.raises(ArchitectureError, match='cannot read|unknown operation'):
        parse(text)


def test_parse_offers_the_nearest_operation():
    with pytest.raises(
        ArchitectureError, match=r"unknown operation 'witout'; choose from without, resized, replaced\. Did you mean without\?"
    ):
        parse('zfnet witout(3)')


def test_the_name_of_an_operated_network_makes_it_again():
    text = 'alexnet_32 without(3,4) resized(6=32,7=16) replaced(1,kernel=5,padding=2,nonlinearity=tanh,normalization=none)'
    net = zoo.architecture(text)
    assert net.name == text
    assert zoo.architecture(net.name) == net


# Values and JSON


@pytest.mark.parametrize('name', [*zoo.NAMES, *(text for _, text in zoo.TABLE3[1:])])
def test_json_round_trip(name):
    net = zoo.architecture(name)
    again = from_json(net.to_json())
    assert again == net
    assert hash(again) == hash(net)
    assert again.to_json() == net.to_json()
    assert again.rows == net.rows


def test_networks_are_equal_by_value_and_immutable():
    again = Architecture(SMALL.name, SMALL.input_shape, tuple(SMALL.layers))
    assert again == SMALL
    assert hash(again) == hash(SMALL)
    assert len({SMALL, again, replaced(SMALL, 1, kernel=5, padding=2), resized(SMALL, {4: 8})}) == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.layers[0].stages[0].kernel = 5


def altered(change):
    record = json.loads(SMALL.to_json())
    change(record)
    return json.dumps(record)


@pytest.mark.parametrize(
    ('change', 'why'),
    [
        (lambda net: net.update(colour='red'), 'a network .* differs in .colour'),
        (lambda net: net.pop('input_shape'), 'a network .* differs in .input_shape'),
        (lambda net: net['layers'][0].update(depth=1), 'a layer .* differs in .depth'),
        (lambda net: net['layers'][0]['stages'][0].update(dilation=2), 'Convolution .* differs in .dilation'),
        (lambda net: net['layers'][0]['stages'][0].pop('groups'), 'Convolution .* differs in .groups'),
        (lambda net: net['layers'][0]['stages'][1].update(stage='Swish'), "unknown stage .*'Swish'.*the stages are .*ReLU"),
        (lambda net: net['layers'][0]['stages'][1].update(stage='Architecture'), "unknown stage .*'Architecture'"),
        (lambda net: net['layers'][0]['stages'][0].update(kernel=50), 'layer1: convolution 50x50/1 .* below 1 px'),
        (lambda net: net['layers'].pop(0), 'layer2: 2 groups do not divide 3 input maps'),
    ],
)
def test_altered_json_is_refused(change, why):
    with pytest.raises(ArchitectureError, match=why):
        from_json(altered(change))


def test_fan_in_of_every_kind_of_map():
    assert fan_in(Convolution(6, 3, groups=2), (5, 5, 8)) == (9 * 4,) * 6
    assert fan_in(LocallyConnected(4, 2), (3, 3, 6)) == (4 * 6,) * 4
    assert fan_in(Dense(7), (2, 2, 4)) == (16,) * 7
    partial = zoo.architecture('lenet5').layer(2).stages[0]
    kernels = fan_in(partial, (14, 14, 6))
    assert len(kernels) == partial.parameters((14, 14, 6))['kernel'][-1] == 60
    assert [kernels.count(inputs) for inputs in (75, 100, 150)] == [18, 36, 6]


def test_nonlinearities_normalization_and_dropout_learn_nothing_and_keep_the_shape():
    for kind in STAGES.values():
        if kind.role in ('nonlinearity', 'normalization', 'dropout'):
            stage = kind()
            assert stage.output((7, 5, 3)) == (7, 5, 3)
            assert (stage.parameters((7, 5, 3)), stage.multiply_adds((7, 5, 3)), stage.connections((7, 5, 3))) == ({}, 0, 0)
