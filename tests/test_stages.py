"""Fire modules' stages by themselves: shapes and products against XLA, values and JSON, and what cannot be."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from cnn_research.architecture import (
    Architecture,
    Convolution,
    Dense,
    Expand,
    GlobalAverage,
    Layer,
    MaxPool,
    ReLU,
    from_json,
    replaced,
    resized,
)
from cnn_research.errors import ArchitectureError
from cnn_research.models import zoo
from cnn_research.stages import fan_in

NET = Architecture(
    'fire',
    (9, 7, 3),
    (
        Layer(1, (Convolution(4, 1), ReLU())),
        Layer(2, (Expand(8, pointwise=3), ReLU(), MaxPool(3, 2))),
        Layer(3, (Convolution(5, 1), GlobalAverage())),
        Layer(4, (Dense(2),)),
    ),
)


def test_expand_has_the_shapes_and_products_of_two_convolutions():
    stage, shape = Expand(8, pointwise=3), (6, 5, 4)
    learned = stage.parameters(shape)
    assert learned == {'pointwise': (1, 1, 4, 3), 'kernel': (3, 3, 4, 5), 'bias': (8,)}
    assert (stage.output(shape), stage.reach) == ((6, 5, 8), (3, 1, 1))
    numbers, products = ('NHWC', 'HWIO', 'NHWC'), 0
    for name in ('pointwise', 'kernel'):
        weights = jnp.ones(learned[name])
        maps = jax.eval_shape(
            lambda x, w: lax.conv_general_dilated(x, w, (1, 1), 'SAME', dimension_numbers=numbers), jnp.ones((1, *shape)), weights
        )
        products += maps.size * weights[..., 0].size
    assert stage.multiply_adds(shape) == products
    assert stage.connections(shape) == products + 6 * 5 * 8
    assert (fan_in(stage, shape, 'pointwise'), fan_in(stage, shape)) == ((4,) * 3, (36,) * 5)


def test_a_network_with_fire_modules_is_data():
    assert from_json(NET.to_json()) == NET
    assert NET.taps()['layer3'] == (5,) and NET.num_classes == 2
    assert [row.parameters for row in NET.rows if row.parameters] == [16, 3 * 5 + 5 * 37, 45, 12]
    assert {tap: NET.row(tap).receptive_field for tap in ('layer2.expand', 'layer3.convolution', 'layer3', 'layer4')} == {
        'layer2.expand': 3,
        'layer3.convolution': 5,
        'layer3': 0,
        'layer4': 0,
    }
    assert resized(NET, {2: 4}).layer(2).stages[0] == Expand(4, pointwise=3)
    assert replaced(NET, 2, pointwise=5).parameters == NET.parameters - 2 * 8 * 4


IMPOSSIBLE = {
    'squeezenet resized(3=64)': 'layer3: of the 64 maps of expand fewer must be pointwise, not 64',
    'squeezenet replaced(3,pointwise=128)': 'layer3: of the 128 maps of expand fewer must be pointwise, not 128',
    'squeezenet replaced(3,pointwise=0)': 'expand cannot have pointwise=0; it is a whole number from 1',
    'squeezenet replaced(3,kernel=5)': "layer 3 has no 'kernel'; choose from features, pointwise, nonlinearity",
    'squeezenet replaced(18,pooling=max_pool)': 'max_pool needs kernel and stride, which global_average does not have',
    'squeezenet replaced(18,pooling=none)': r'ends in maps \(15, 15, 1000\), not in a classifier',
    'squeezenet replaced(1,pooling=global_average)': r'layer2: convolution needs maps \(H, W, C\), but a stage below has made 96 features',
}


@pytest.mark.parametrize('text', IMPOSSIBLE)
def test_impossible_fire_modules_say_why(text):
    with pytest.raises(ArchitectureError, match=IMPOSSIBLE[text]) as caught:
        _ = zoo.architecture(text).num_classes
    assert '\n' not in str(caught.value)


def test_an_average_of_features_is_refused():
    with pytest.raises(ArchitectureError, match='layer1: global_average needs maps'):
        Architecture('odd', (8, 8, 3), (Layer(1, (Dense(3), GlobalAverage())),))
