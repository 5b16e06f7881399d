"""The papers' networks as table entries: an input shape, then one tuple of stages for each numbered layer. No JAX.

Numbers that the papers leave open (padding, rounding of pooling) are chosen so that the printed map sizes come out; where sources
differ, each has an entry of its own or the comment says which one stands here. Initial values belong to the training recipe.
"""

from cnn_research.architecture import Architecture, Layer, operated, parse
from cnn_research.errors import ArchitectureError, nearest, shown
from cnn_research.stages import *

_PRINTED = Response(size=5, alpha=1e-4, beta=0.75, k=2)  # Krizhevsky et al. 2012, section 3.3, alpha as the formula has it
_CAFFE = Response(size=5, alpha=1e-4, beta=0.75, k=1, divided=True)
_CIFAR_18 = Response(size=3, alpha=5e-5, beta=0.75, k=1, divided=True, across=False)
_CIFAR_11 = Response(size=5, alpha=1e-3, beta=0.75, k=1, divided=True)


def _dense(*units):
    """Dense layers, the hidden ones with ReLU and dropout; the last is the classifier."""
    return *((Dense(n), ReLU(), Dropout(0.5)) for n in units[:-1]), (Dense(units[-1]),)


def _sigmoid(*units):
    return tuple((Dense(n), Sigmoid()) for n in units)


def _krizhevsky(maps, groups, norm=_PRINTED):
    """Krizhevsky et al. 2012, section 3.5 and Fig. 2; groups=2 keeps layers 2, 4 and 5 within their tower."""
    one, two, three, four, five = maps
    return (
        (227, 227, 3),
        (Convolution(one, 11, stride=4), ReLU(), norm, MaxPool(3, 2)),
        (Convolution(two, 5, padding=2, groups=groups), ReLU(), norm, MaxPool(3, 2)),
        (Convolution(three, 3, padding=1), ReLU()),
        (Convolution(four, 3, padding=1, groups=groups), ReLU()),
        (Convolution(five, 3, padding=1, groups=groups), ReLU(), MaxPool(3, 2)),
        *_dense(4096, 4096, 1000),
    )


def _cifar_11(*norm):
    """cuda-convnet's nets with locally connected layers: layers-conv-local-11pct, and 13pct, which lacks its normalization."""
    return (
        (24, 24, 3),
        (Convolution(64, 5, padding=2), ReLU(), *norm, MaxPool(3, 2, ceil=True)),
        (Convolution(64, 5, padding=2), ReLU(), *norm, MaxPool(3, 2, ceil=True)),
        (LocallyConnected(32, 3, padding=1), ReLU()),
        (LocallyConnected(32, 3, padding=1), ReLU()),
        (Dense(10),),
    )


# A rectified dense layer of so many units as Wan et al. 2013 compare them, the rate a half.
_DROPPING = {
    '': lambda units: (Dense(units), ReLU()),
    '_dropout': lambda units: (Dense(units), ReLU(), Dropout(0.5)),
    '_dropconnect': lambda units: (DropConnect(units, rate=0.5),),
}


def _upper(three, four, five, units):
    """Layers 3 to 8 of the small siblings: three convolutions on 8x8 maps, two dense layers, ten classes."""
    return (
        (Convolution(three, 3, padding=1), ReLU()),
        (Convolution(four, 3, padding=1), ReLU()),
        (Convolution(five, 3, padding=1), ReLU(), MaxPool(3, 2, ceil=True)),
        *_dense(units, units, 10),
    )


def _sift(kernel, window, stride):
    """Layers 1 and 2: derivatives in eight directions; their maps in 4x4 cells of each window, of unit length (Lowe 2004, 6.1).

    Where white is 1 more than black, cells' sums are shorter than 0.1 in some 3 % of the windows of photographs: these, the flat ones, are
    clipped less and fade from a fifth of that on. 0.2 is what clipping leaves at least of a vector of length 1.
    """
    cells = CellPool(4, window, stride), UnitLength(0.1), Clipped(0.2), UnitLength(0.2)
    return (Convolution(8, kernel), ReLU()), (Convolution(8, 1), ReLU(), *cells)


_POOL = MaxPool(3, 2, ceil=True)


def _deepface_56(kind):
    """DeepFace's anatomy for grey faces of 56 px, L4 to L6 of one kind: kernels of 5 and 3 px, with which L6 sees half of the image, as
    there."""
    return (
        (56, 56, 1),
        (Convolution(32, 5), ReLU(), _POOL),
        (Convolution(16, 3), ReLU()),
        (kind(16, 3), ReLU()),
        (kind(16, 3, stride=2), ReLU()),
        (kind(16, 3), ReLU()),
        *_dense(512, 10),
    )


def _fire(squeeze, expand, *above):
    """A fire module (Iandola et al. 2016, 3.1) as two layers: `squeeze` 1x1 maps, then `expand` maps of 1x1 and as many of 3x3."""
    return (Convolution(squeeze, 1), ReLU()), (Expand(2 * expand, pointwise=expand), ReLU(), *above)


# LeNet-5's Table I: the first six maps see three neighbours of S2, the next six four, then three see two pairs
# (these could not be checked against the paper), the last sees all.
_C3 = (
    *(tuple(sorted((first + step) % 6 for step in range(3))) for first in range(6)),
    *(tuple(sorted((first + step) % 6 for step in range(4))) for first in range(6)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# Each of Jarrett's 256 maps sees 16 of 64, drawn by chance; here by a rule: map o begins at map o and steps on by 1, 3, 5 or 7 (64 maps
# each), around the end. Odd steps meet no map twice, every map is read 64 times, and no two rows are alike.
_RANDOM = tuple(tuple(sorted((o + (2 * (o // 64) + 1) * step) % 64 for step in range(16))) for o in range(256))

_TABLE = {
    # One sigmoid unit for each class: sigma(w.x + b).
    'perceptron': ((28, 28, 1), *_sigmoid(10)),
    # LeCun et al. 1998, III.C: a weighted sum of the pixels for each class, the largest of which names it.
    'linear': ((28, 28, 1), (Dense(10),)),
    # LeCun et al. 1998, III.C: fully connected nets, trained with squared error against sigmoid outputs.
    'mlp_300': ((28, 28, 1), *_sigmoid(300, 10)),
    'mlp_1000': ((28, 28, 1), *_sigmoid(1000, 10)),
    'mlp_300_100': ((28, 28, 1), *_sigmoid(300, 100, 10)),
    'mlp_500_150': ((28, 28, 1), *_sigmoid(500, 150, 10)),
    # Simard et al. 2003, trained with cross-entropy; what its hidden units are could not be checked.
    'mlp_800': ((28, 28, 1), (Dense(800), Tanh()), (Dense(10),)),
    # LeCun et al. 1998, II.B: C1 S2, C3 S4, C5, F6 and the radial basis units; 60,000 learned numbers, 340,908 connections.
    'lenet5': (
        (32, 32, 1),
        (Convolution(6, 5), ScaledTanh(), Subsampling(2, 2), ScaledTanh()),
        (Convolution(16, 5, table=_C3), ScaledTanh(), Subsampling(2, 2), ScaledTanh()),
        (Convolution(120, 5), ScaledTanh()),
        (Dense(84), ScaledTanh()),
        (RadialBasis(10),),
    ),
    # What is usually called LeNet-5 today: every map of C3 sees all of S2, pooling learns nothing, the classifier is linear.
    # Max pooling and ReLU stand here; average pooling and tanh, equally common, give the same counts.
    'lenet5_modern': (
        (32, 32, 1),
        (Convolution(6, 5), ReLU(), MaxPool(2, 2)),
        (Convolution(16, 5), ReLU(), MaxPool(2, 2)),
        (Convolution(120, 5), ReLU()),
        (Dense(84), ReLU()),
        (Dense(10),),
    ),
    # cuda-convnet, example-layers/layers-80sec.cfg: 26 % on CIFAR-10. Layer 1 pools before it rectifies. Pooling covers the whole
    # map (outputsX=0), which is ceil.
    'cifar_80sec': (
        (32, 32, 3),
        (Convolution(32, 5, padding=2), _POOL, ReLU()),
        (Convolution(32, 5, padding=2), ReLU(), AveragePool(3, 2, ceil=True)),
        (Convolution(64, 5, padding=2), ReLU(), AveragePool(3, 2, ceil=True)),
        (Dense(64), ReLU()),
        (Dense(10),),
    ),
    # layers-18pct.cfg: normalization within each map after the first two poolings, no hidden dense layer.
    'cifar_18pct': (
        (32, 32, 3),
        (Convolution(32, 5, padding=2), _POOL, ReLU(), _CIFAR_18),
        (Convolution(32, 5, padding=2), ReLU(), AveragePool(3, 2, ceil=True), _CIFAR_18),
        (Convolution(64, 5, padding=2), ReLU(), AveragePool(3, 2, ceil=True)),
        (Dense(10),),
    ),
    # layers-conv-local-13pct.cfg and -11pct.cfg on 24x24 crops; they differ in normalization alone.
    'cifar_13pct': _cifar_11(),
    'cifar_11pct': _cifar_11(_CIFAR_11),
    # Krizhevsky et al. 2012. The paper says 224 and no padding, which does not give its 55x55 maps: 227 does, with the same parameters.
    # Normalization runs over all maps as in Caffe; whether its windows crossed the towers is not stated.
    'alexnet': _krizhevsky((96, 256, 384, 384, 256), groups=2),
    # The same without towers, as Zeiler & Fergus describe theirs ("sparse connections ... replaced with dense").
    'alexnet_dense': _krizhevsky((96, 256, 384, 384, 256), groups=1),
    # Section 3.2's comparison on one GPU: half the kernels in layers 1 to 4, the last convolution and the dense layers not halved.
    'alexnet_one_gpu': _krizhevsky((48, 128, 192, 192, 256), groups=1),
    # BVLC AlexNet, Caffe's own training of the first: Caffe divides alpha by the window's size and adds 1.
    'bvlc_alexnet': _krizhevsky((96, 256, 384, 384, 256), groups=2, norm=_CAFFE),
    # BVLC reference CaffeNet: the same with pooling before normalization.
    'caffenet': (
        (227, 227, 3),
        (Convolution(96, 11, stride=4), ReLU(), MaxPool(3, 2), _CAFFE),
        (Convolution(256, 5, padding=2, groups=2), ReLU(), MaxPool(3, 2), _CAFFE),
        (Convolution(384, 3, padding=1), ReLU()),
        (Convolution(384, 3, padding=1, groups=2), ReLU()),
        (Convolution(256, 3, padding=1, groups=2), ReLU(), MaxPool(3, 2)),
        *_dense(4096, 4096, 1000),
    ),
    # Krizhevsky 2014, "One weird trick", as torchvision has it: no normalization, dropout before layers 6 and 7 instead of after.
    'alexnet_owt': (
        (224, 224, 3),
        (Convolution(64, 11, stride=4, padding=2), ReLU(), MaxPool(3, 2)),
        (Convolution(192, 5, padding=2), ReLU(), MaxPool(3, 2)),
        (Convolution(384, 3, padding=1), ReLU()),
        (Convolution(256, 3, padding=1), ReLU()),
        (Convolution(256, 3, padding=1), ReLU(), MaxPool(3, 2), Dropout(0.5)),
        (Dense(4096), ReLU(), Dropout(0.5)),
        (Dense(4096), ReLU()),
        (Dense(1000),),
    ),
    # Zeiler & Fergus 2013, Fig. 3. Its paddings are not stated; these, with ceil pooling, give the printed 110-55-26-13-13-13-6.
    # The "contrast normalization across feature maps" has no printed constants: Krizhevsky's stand here. The model of the same name
    # in SPP-net and Faster R-CNN pads otherwise and normalizes within a map, before pooling.
    'zfnet': (
        (224, 224, 3),
        (Convolution(96, 7, stride=2, padding=1), ReLU(), _POOL, _PRINTED),
        (Convolution(256, 5, stride=2), ReLU(), _POOL, _PRINTED),
        (Convolution(384, 3, padding=1), ReLU()),
        (Convolution(384, 3, padding=1), ReLU()),
        (Convolution(256, 3, padding=1), ReLU(), MaxPool(3, 2)),
        *_dense(4096, 4096, 1000),
    ),
    # Sermanet et al. 2013, Tables 1 (fast) and 3 (accurate): no normalization, pooling that does not overlap. The rows of Table 3
    # could be checked through its 144 million parameters only, and dropout on the hidden dense layers not at all.
    'overfeat_fast': (
        (231, 231, 3),
        (Convolution(96, 11, stride=4), ReLU(), MaxPool(2, 2)),
        (Convolution(256, 5), ReLU(), MaxPool(2, 2)),
        (Convolution(512, 3, padding=1), ReLU()),
        (Convolution(1024, 3, padding=1), ReLU()),
        (Convolution(1024, 3, padding=1), ReLU(), MaxPool(2, 2)),
        *_dense(3072, 4096, 1000),
    ),
    'overfeat_accurate': (
        (221, 221, 3),
        (Convolution(96, 7, stride=2), ReLU(), MaxPool(3, 3)),
        (Convolution(256, 7), ReLU(), MaxPool(2, 2)),
        (Convolution(512, 3, padding=1), ReLU()),
        (Convolution(512, 3, padding=1), ReLU()),
        (Convolution(1024, 3, padding=1), ReLU()),
        (Convolution(1024, 3, padding=1), ReLU(), MaxPool(3, 3)),
        *_dense(4096, 4096, 1000),
    ),
    # Ciresan et al. 2012, one column of the digit committee: 1x29x29-20C4-MP2-40C5-MP3-150N-10N.
    'mcdnn_mnist': (
        (29, 29, 1),
        (Convolution(20, 4), ScaledTanh(), MaxPool(2, 2)),
        (Convolution(40, 5), ScaledTanh(), MaxPool(3, 3)),
        (Dense(150), ScaledTanh()),
        (Dense(10),),
    ),
    # One column of the traffic sign committee: 3x48x48-100C7-MP2-150C4-MP2-250C4-MP2-300N-43N. A variant with 3x3 and 2x2 kernels and
    # 100 to 500 maps is in circulation too, and neither could be checked against the paper; nor could the scaled tanh of both columns.
    'mcdnn_gtsrb': (
        (48, 48, 3),
        (Convolution(100, 7), ScaledTanh(), MaxPool(2, 2)),
        (Convolution(150, 4), ScaledTanh(), MaxPool(2, 2)),
        (Convolution(250, 4), ScaledTanh(), MaxPool(2, 2)),
        (Dense(300), ScaledTanh()),
        (Dense(43),),
    ),
    # Its sibling for signs of 32 px: the same layers, whose maps are 26-13-10-5-2-1 px.
    'mcdnn_gtsrb_32': (
        (32, 32, 3),
        (Convolution(100, 7), ScaledTanh(), MaxPool(2, 2)),
        (Convolution(150, 4), ScaledTanh(), MaxPool(2, 2)),
        (Convolution(250, 4), ScaledTanh(), MaxPool(2, 2)),
        (Dense(300), ScaledTanh()),
        (Dense(43),),
    ),
    # Taigman et al. 2014: C1 with M2, C3, L4, L5, L6, F7, F8 are layers 1 to 7 here. The kernels of L4 to L6 (9, 7 with stride 2, 5) are
    # in its figure only and could not be checked.
    'deepface': (
        (152, 152, 3),
        (Convolution(32, 11), ReLU(), _POOL),
        (Convolution(16, 9), ReLU()),
        (LocallyConnected(16, 9), ReLU()),
        (LocallyConnected(16, 7, stride=2), ReLU()),
        (LocallyConnected(16, 5), ReLU()),
        *_dense(4096, 4030),
    ),
    # Its sibling for small faces: C1 with M2, C3, L4, L5, L6, F7, F8 on 52-26-24-22-10-8 px; and the same with shared kernels.
    'deepface_56': _deepface_56(LocallyConnected),
    'deepface_56_shared': _deepface_56(Convolution),
    # No network of the deck, but one whose trained weights are at hand (models/codebooks.py): SqueezeNet 1.0, Iandola et al. 2016, Table 1.
    # Fire module k, of 2 to 9, is layers 2k - 2 (squeeze) and 2k - 1 (expand); layer 18 is conv10, padded by 1 as in the authors' Caffe
    # model, and its mean maps are the output.
    'squeezenet': (
        (227, 227, 3),
        (Convolution(96, 7, stride=2), ReLU(), _POOL),
        *_fire(16, 64),
        *_fire(16, 64),
        *_fire(32, 128, _POOL),
        *_fire(32, 128),
        *_fire(48, 192),
        *_fire(48, 192),
        *_fire(64, 256, _POOL),
        *_fire(64, 256, Dropout(0.5)),
        (Convolution(1000, 1, padding=1), ReLU(), GlobalAverage()),
    ),
    # Small siblings: the anatomy of the parent (five convolutions, pooling after 1, 2 and 5, normalization after 1 and 2, two dense
    # layers with dropout) for ten classes. Layer 3 always sees 8x8 maps; layers 2 to 5 have 3x3 kernels, so that the receptive field
    # covers the image only at layer 5 and depth can matter. As in the papers, a zfnet pools before it normalizes, and has a smaller
    # kernel and half the stride in layer 1, the other half in layer 2. At 32 pixels there is no stride to share out: the two orders
    # are the only difference.
    'alexnet_32': (
        (32, 32, 3),
        (Convolution(24, 3, padding=1), ReLU(), _PRINTED, _POOL),
        (Convolution(48, 3, padding=1), ReLU(), _PRINTED, _POOL),
        *_upper(72, 72, 48, units=256),
    ),
    'zfnet_32': (
        (32, 32, 3),
        (Convolution(24, 3, padding=1), ReLU(), _POOL, _PRINTED),
        (Convolution(48, 3, padding=1), ReLU(), _POOL, _PRINTED),
        *_upper(72, 72, 48, units=256),
    ),
    'alexnet_64': (
        (64, 64, 3),
        (Convolution(32, 5, stride=2, padding=2), ReLU(), _PRINTED, _POOL),
        (Convolution(80, 3, padding=1), ReLU(), _PRINTED, _POOL),
        *_upper(128, 128, 80, units=384),
    ),
    'zfnet_64': (
        (64, 64, 3),
        (Convolution(32, 3, padding=1), ReLU(), _POOL, _PRINTED),
        (Convolution(80, 3, stride=2, padding=1), ReLU(), _POOL, _PRINTED),
        *_upper(128, 128, 80, units=384),
    ),
    # Layer 1 has the papers' own geometry here: 11x11 stride 4 against 7x7 stride 2.
    'alexnet_128': (
        (128, 128, 3),
        (Convolution(48, 11, stride=4, padding=4), ReLU(), _PRINTED, _POOL),
        (Convolution(128, 3, padding=1), ReLU(), _PRINTED, _POOL),
        *_upper(192, 192, 128, units=512),
    ),
    'zfnet_128': (
        (128, 128, 3),
        (Convolution(48, 7, stride=2, padding=3), ReLU(), _POOL, _PRINTED),
        (Convolution(128, 3, stride=2, padding=1), ReLU(), _POOL, _PRINTED),
        *_upper(192, 192, 128, units=512),
    ),
    # Jarrett et al. 2009: two stages of filters, absolute values, local contrast normalization and averages, and a linear classifier: with
    # filters as they were drawn (features.untrained) what no learning of features reaches. The gains that it learns after each tanh are
    # left out. Grey images of 143x143 px, their contrast normalized before; kernels, maps, pools and tanh could not be checked.
    'jarrett': (
        (143, 143, 1),
        (Convolution(64, 9), Tanh(), Absolute(), Subtractive(9), Divisive(9), AveragePool(10, 5)),
        (Convolution(256, 9, table=_RANDOM), Tanh(), Absolute(), Subtractive(9), Divisive(9), AveragePool(6, 4)),
        (Dense(102),),
    ),
    # The same anatomy and as many features for the classifier, from small colour images.
    'jarrett_32': (
        (32, 32, 3),
        (Convolution(64, 5), Tanh(), Absolute(), Subtractive(5), Divisive(5), AveragePool(4, 2)),
        (Convolution(256, 5, table=_RANDOM), Tanh(), Absolute(), Subtractive(5), Divisive(5), AveragePool(3, 2)),
        (Dense(10),),
    ),
    # Hand-made features as networks, whose weights are in models/handmade.py. Lazebnik et al. 2006: 16x16 patches on a grid of 8 px, 200
    # words, a pyramid of three levels. The derivative's 7 px hold the smoothing that goes with keypoints whose cells are 4 px.
    'sift': ((128, 128, 3), *_sift(7, window=16, stride=8), (Dense(10),)),
    'spm': ((128, 128, 3), *_sift(7, window=16, stride=8), (Convolution(200, 1), WinnerTakeAll(), PyramidPool(3)), (Dense(10),)),
    # At 32 px, windows of 8 or 16 px every 2 or 4 px were each fitted by ridge regression to 3,000 training images of CIFAR-10 and judged
    # on 1,500 others of the same split, three times: 16 every 2 was the best for SIFT (48.1 % right; 8 every 2: 45.3) and 8 every 2, which
    # makes 12x12 places, 3x3 in each of the pyramid's finest cells, for words (47.7 %; 16 every 2: 42.3). Cells of 2 px are the narrowest
    # whose bilinear shares still overlap.
    'sift_32': ((32, 32, 3), *_sift(3, window=16, stride=2), (Dense(10),)),
    'spm_32': ((32, 32, 3), *_sift(3, window=8, stride=2), (Convolution(100, 1), WinnerTakeAll(), PyramidPool(3)), (Dense(10),)),
}

# Wan et al. 2013, each without dropping, with dropout and with DropConnect: two hidden layers of 800 for digits, both dropped; the
# extractor of layers-18pct.cfg, and of layers-conv-local-11pct.cfg, below a hidden layer of 64 or 128, which alone is dropped. The paper's
# text could not be checked: that digits have both layers dropped is what its figures of such nets suggest.
_WAN = {
    'wan_800': (((28, 28, 1),), (800, 800)),
    'wan_cifar': (_TABLE['cifar_18pct'][:-1], (64,)),
    'wan_cifar_large': (_TABLE['cifar_11pct'][:-1], (128,)),
}
_TABLE |= {
    name + way: (*net, *map(hidden, units), (Dense(10),)) for name, (net, units) in _WAN.items() for way, hidden in _DROPPING.items()
}

NAMES = tuple(_TABLE)

# Zeiler & Fergus 2013, Table 3: (row as printed, architecture). Their replication of Krizhevsky's net is taken to be dense, as the text
# says of their own; 'alexnet' in place of 'alexnet_dense' gives the same rows with two towers.
TABLE3 = (
    ('Our replication of Krizhevsky et al. 2012, 1 convnet', 'alexnet_dense'),
    ('Removed layers 3,4', 'alexnet_dense without(3,4)'),
    ('Removed layer 7', 'alexnet_dense without(7)'),
    ('Removed layers 6,7', 'alexnet_dense without(6,7)'),
    ('Removed layers 3,4,6,7', 'alexnet_dense without(3,4,6,7)'),
    ('Adjust layers 6,7: 2048 units', 'alexnet_dense resized(6=2048,7=2048)'),
    ('Adjust layers 6,7: 8192 units', 'alexnet_dense resized(6=8192,7=8192)'),
    ('Our model (as per Fig. 3)', 'zfnet'),
    ('Adjust layers 6,7: 2048 units', 'zfnet resized(6=2048,7=2048)'),
    ('Adjust layers 6,7: 8192 units', 'zfnet resized(6=8192,7=8192)'),
    ('Adjust layers 3,4,5: 512,1024,512 maps', 'zfnet resized(3=512,4=1024,5=512)'),
    ('Adjust layers 6,7: 8192 units and layers 3,4,5: 512,1024,512 maps', 'zfnet resized(3=512,4=1024,5=512,6=8192,7=8192)'),
)


def architecture(text: str) -> Architecture:
    """The network that a name, or a name and operations, stands for: 'zfnet without(3,4) resized(6=2048,7=2048)'.

    Raises ArchitectureError for an unknown name, for notation that cannot be read and for surgery that cannot be done.
    """
    name, operations = parse(text)
    if name not in _TABLE:
        raise ArchitectureError(f'unknown architecture {shown(name)}; choose from {", ".join(NAMES)}.{nearest(name.lower(), NAMES)}')
    input_shape, *layers = _TABLE[name]
    net = Architecture(name, input_shape, tuple(Layer(number, stages) for number, stages in enumerate(layers, start=1)))
    return operated(net, operations)
