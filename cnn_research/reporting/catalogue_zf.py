"""The claims of Zeiler & Fergus 2013."""

from cnn_research.reporting.catalogue import Entry, Measured, number
from cnn_research.reporting.published import published

_DEPTH = 'experiments.depth_ablation, configs/depth_ablation.py:cifar10 (mnist, imagenette)'
_STRIDE = 'experiments.stride_diagnosis, configs/stride_diagnosis.py:cifar10 (imagenette)'
_PROBING = 'experiments.layer_probing, configs/layer_probing.py:caltech101 (cifar10)'
_IMAGENET = 'ImageNet (ILSVRC 2012, 1.2 million images) is not here, nor the weeks of GPU time'
_SECTION_4_1 = 'section 4.1, Fig. 6'


def _3(row: str):
    return published('zf table 3', row, 'val top-5')


def _grid(kind: str, what: str) -> Measured:
    """Layer 7 beside layer 1 under the smallest transformation of a kind, at every network that was looked at."""
    note = 'one network, six images, the smallest step of each kind'
    return Measured('invariance_*/small.csv', {'kind': kind}, 'layer7', ({'kind': kind}, 'layer1'), what, note)


_MOVED = 'distance of the features from those of the image as it is, as a share: layer 7 beside layer 1'
_WHOLE = _3('replication of krizhevsky, 1 convnet')

ENTRIES = (
    Entry(
        'zf.depth.order',
        'Less depth is worse: losing layer 7 costs less than losing 3,4 or 6,7, and losing all four costs the most.',
        'Table 3',
        _DEPTH,
        printed=(_WHOLE, *map(_3, ('removed layer 7', 'removed layers 3,4', 'removed layers 6,7', 'removed layers 3,4,6,7'))),
        patterns=('Less depth is worse: .*',),
        also=('deck',),
    ),
    Entry(
        'zf.depth.together',
        'Depth itself matters: removing layers 3,4,6,7 costs more than removing 3,4 and removing 6,7 cost together.',
        'Table 3 and section 5.1',
        _DEPTH,
        printed=(_WHOLE, _3('removed layers 3,4'), _3('removed layers 6,7'), _3('removed layers 3,4,6,7')),
        patterns=('Depth itself matters: .*',),
        also=('deck',),
    ),
    Entry(
        'zf.depth.seven',
        'Removing layer 7, a quarter of all parameters, costs little.',
        'Table 3; the deck, which prints another number',
        _DEPTH,
        printed=(_WHOLE, _3('removed layer 7'), published('deck', 'without layer 7', 'top-5 drop')),
        patterns=('Removing layer 7 costs little, .*',),
        also=('deck',),
    ),
    Entry(
        'zf.depth.catastrophic',
        'Removing both pairs of layers is catastrophic: far more error than the whole net has.',
        'Table 3 and section 5.1; the deck',
        _DEPTH,
        printed=(_WHOLE, _3('removed layers 3,4,6,7'), published('deck', 'without layers 3,4,6,7', 'top-5 drop')),
        patterns=('Removing all four layers is catastrophic: .*',),
        also=('deck',),
    ),
    Entry(
        'zf.depth.dense',
        'Removing the dense layers 6,7 costs more than removing the convolutions 3,4; the sources disagree.',
        "Table 3, its top-5 errors, and the deck's drops; its top-1 errors say the opposite",
        _DEPTH,
        printed=(
            *(_3('removed layers 6,7'), _3('removed layers 3,4')),
            *(published('deck', 'without layers 6,7', 'top-5 drop'), published('deck', 'without layers 3,4', 'top-5 drop')),
        ),
        patterns=('Removing the dense layers 6,7 costs more than .*',),
        also=('deck',),
    ),
    Entry(
        'zf.depth.units',
        'Halving or doubling the units of layers 6,7 makes little difference.',
        'Table 3 and section 5.1',
        f'{_DEPTH} --config.depth.rows=all, once a claim of these rows is written down before they are run',
        printed=(_WHOLE, _3('layers 6,7: 2048 units'), _3('layers 6,7: 8192 units')),
    ),
    Entry(
        'zf.depth.wide',
        'More maps in layers 3,4,5 gain.',
        'Table 3 and section 5.1',
        f'{_DEPTH} --config.depth.rows=all, once a claim of these rows is written down before they are run',
        printed=(_3('our model'), _3('our model, layers 3,4,5: 512,1024,512 maps')),
    ),
    Entry(
        'zf.depth.overfitting',
        'Both together, wider convolutions and wider dense layers, overfit: the training error falls and the validation error does not.',
        'Table 3 and section 5.1',
        f'{_DEPTH} --config.depth.rows=all, once a claim of these rows is written down before they are run',
        printed=tuple(
            published('zf table 3', row, quantity)
            for row in ('our model', 'our model, layers 6,7: 8192 units and layers 3,4,5: 512,1024,512 maps')
            for quantity in ('train top-1', 'val top-1')
        ),
    ),
    Entry(
        'zf.stride.dead',
        'Smaller filters and a smaller stride leave fewer dead filters in layer 1.',
        _SECTION_4_1,
        _STRIDE,
        patterns=('Smaller filters and stride leave fewer dead filters in layer 1: (?P<subject>.*)\\.',),
    ),
    Entry(
        'zf.stride.mid',
        'Large filters cover little of the mid frequencies; smaller ones with a smaller stride cover more.',
        _SECTION_4_1,
        _STRIDE,
        patterns=('They cover more of the mid frequencies, [^:]*: (?P<subject>.*)\\.',),
    ),
    Entry(
        'zf.stride.aliasing',
        'A stride of 4 in layer 1 aliases, which shows in layer 2; a stride of 2 does so less.',
        _SECTION_4_1,
        _STRIDE,
        patterns=('What layer 2 says changes less when the image is shifted: (?P<subject>.*)\\.',),
        also=('deck',),
    ),
    Entry(
        'zf.stride.error',
        "A 7x7 layer 1 with stride 2 errs less than Krizhevsky's 11x11 with stride 4.",
        'section 4.1, Tables 2 and 3',
        _STRIDE,
        printed=(_3('our model'), _WHOLE),
        patterns=('The error is lower: (?P<subject>.*)\\.',),
        also=('deck',),
    ),
    Entry(
        'zf.stride.dominance',
        'Without renormalising filters to an RMS of 0.1, a few filters of layer 1 dominate.',
        'section 3 and Fig. 6a',
        _STRIDE,
        patterns=('Without renormalisation a few filters of layer 1 dominate: (?P<subject>.*)\\.',),
    ),
    Entry(
        'zf.evolution',
        'Lower layers settle before upper ones.',
        'section 4.1 and Fig. 4',
        'experiments.evolution, networks of configs/looking.py',
        patterns=('Lower layers settle first: .*',),
    ),
    Entry(
        'zf.invariance.small',
        'Small translations and scalings change layer 1 drastically and layer 7 much less.',
        'section 4.1 and Fig. 5',
        'experiments.invariance; a claim needs several networks, and a rule before they are looked at',
        measured=(_grid('vertical translation, px', f'vertical translation; {_MOVED}'), _grid('scale', f'scaling; {_MOVED}')),
    ),
    Entry(
        'zf.invariance.rotation',
        'What the network says is not invariant to rotation, but for objects that are symmetric.',
        'section 4.1 and Fig. 5',
        'experiments.invariance draws it; a claim needs several networks, and a rule before they are looked at',
    ),
    Entry(
        'zf.pictures.hierarchy',
        'Projections show corners and colours in layer 2, textures in 3, parts in 4, whole objects in 5.',
        'section 4 and Fig. 2',
        closed='pictures that a person reads: experiments.features draws them, and no number says what they show',
        also=('deck',),
    ),
    Entry(
        'zf.pictures.discriminative',
        'Projections are sharper in what tells classes apart than the image patches that cause them.',
        'section 4 and Fig. 2',
        closed='pictures that a person reads: experiments.features draws them, and no number says what they show',
    ),
    Entry(
        'zf.occlusion.class',
        'Hiding the object lowers the probability of its class: the network looks at the object, not at its surroundings.',
        'section 4.2 and Fig. 7',
        'experiments.occlusion; where the object stands is known on clutter alone, a demonstration',
        measured=(
            Measured(
                'occlusion_clutter/box.csv',
                {},
                'share',
                ({}, 'chance'),
                "share of the drop that falls inside the object's box, %: beside the box's share of the image",
                'one network',
                demonstration=True,
            ),
        ),
        also=('deck',),
    ),
    Entry(
        'zf.occlusion.map',
        'Hiding what a strong map of layer 5 shows in its projection lowers that map.',
        'section 4.2 and Fig. 7',
        'experiments.occlusion draws it; no measure of it is written down yet',
        also=('deck',),
    ),
    Entry(
        'zf.correspondence.parts',
        'Hiding the same part of different objects changes layer 5 more alike than hiding random parts.',
        'section 4.3 and Table 1',
        'experiments.correspondence; needs images whose parts are known, here clutter alone, a demonstration',
        printed=tuple(published('zf table 1', row, 'layer 5') for row in ('right eye', 'left eye', 'nose', 'random')),
        patterns=('Hiding the same part changes \\S+ more alike than hiding random parts of the object\\.',),
    ),
    Entry(
        'zf.correspondence.higher',
        'At layer 7 that advantage is smaller than at layer 5.',
        'section 4.3 and Table 1',
        'experiments.correspondence; needs images whose parts are known, here clutter alone, a demonstration',
        printed=tuple(published('zf table 1', row, 'layer 7') for row in ('right eye', 'left eye', 'nose', 'random')),
        patterns=('That advantage over random parts is smaller at .*',),
    ),
    Entry(
        'zf.imagenet.replication',
        'Their replication of the Krizhevsky net comes within 0.1 % of its error.',
        'section 3, Table 2',
        closed=_IMAGENET,
        printed=(_WHOLE, published('krizhevsky table 2', '1 cnn', 'val top-5')),
    ),
    Entry(
        'zf.imagenet.single',
        'Their net beats the Krizhevsky net on ImageNet by 1.7 % (test, top-5).',
        'section 5.1, Table 2',
        closed=f'{_IMAGENET}; its first layer is compared at small scale: zf.stride.error',
        printed=(published('zf table 2', '1 convnet as per fig. 3', 'val top-5'), _WHOLE),
    ),
    Entry(
        'zf.imagenet.several',
        'Averaging six nets gives 14.8 % top-5 error, the best published then.',
        'section 5.1, Table 2',
        closed=_IMAGENET,
        printed=(published('zf table 2', '6 convnets, (a) and (b) combined', 'test top-5'),),
    ),
    Entry(
        'zf.layers.five',
        'Features of layer 5 are worth more than those of layer 1 on other data.',
        'section 5.4 and Table 7',
        _PROBING,
        printed=tuple(published('zf table 7', row, 'caltech-101, 30 per class') for row in ('svm (1)', 'svm (5)')),
        patterns=('Layer 5 is worth more than layer 1\\.',),
        also=('deck',),
    ),
    Entry(
        'zf.layers.every',
        'From layer 1 to layer 5 every layer is worth more than the one below it.',
        'section 5.4 and Table 7',
        _PROBING,
        printed=tuple(published('zf table 7', f'svm ({layer})', 'caltech-101, 30 per class') for layer in range(1, 6)),
        patterns=('From layer 1 to layer 5 every layer is worth more\\.',),
        also=('deck',),
    ),
    Entry(
        'zf.layers.seven',
        'Layer 7 against layer 5: below it on Caltech-101 and above it on Caltech-256, so no direction is claimed.',
        'section 5.4 and Table 7',
        _PROBING,
        printed=tuple(
            published('zf table 7', row, quantity)
            for quantity in ('caltech-101, 30 per class', 'caltech-256, 60 per class')
            for row in ('svm (5)', 'svm (7)')
        ),
        patterns=('Layer 7 against layer 5\\.',),
    ),
    Entry(
        'zf.layers.svm',
        'SVM against softmax on the highest features: the sources go both ways, so no direction is claimed.',
        'section 5.4 and Table 7',
        'experiments.transfer, configs/transfer.py:zf',
        printed=tuple(
            published('zf table 7', row, quantity)
            for quantity in ('caltech-101, 30 per class', 'caltech-256, 60 per class')
            for row in ('svm (7)', 'softmax (7)')
        ),
        patterns=('(?P<subject>.*): SVM against softmax on \\S+\\.',),
        also=('decaf', 'deck'),
    ),
    Entry(
        'zf.transfer.highest',
        'On other data, the highest features are worth more than the lowest.',
        'section 5.4 and Table 7',
        'experiments.transfer, configs/transfer.py:zf',
        printed=tuple(published('zf table 7', row, 'caltech-101, 30 per class') for row in ('svm (1)', 'svm (7)')),
        patterns=('(?P<subject>.*): the highest features are worth more than the lowest\\.',),
        also=('decaf', 'deck'),
    ),
    Entry(
        'zf.transfer.scratch',
        'A new classifier on pretrained features is above the same network from scratch, with few images and with many.',
        'section 5.3, Tables 4 and 5, Fig. 9',
        'experiments.finetune, configs/finetune.py:caltech101 (cifar10, gtsrb, tiny_imagenet)',
        printed=tuple(
            published('zf table 4', row, quantity)
            for quantity in ('15 per class', '30 per class')
            for row in ('imagenet-pretrained convnet', 'non-pretrained convnet')
        ),
        patterns=('A new classifier on pretrained features is above the same network from scratch, .*',),
    ),
    Entry(
        'zf.transfer.fewest',
        'What pretraining is worth is most where images are fewest.',
        'section 5.3, Table 5 and Fig. 9',
        'experiments.finetune, configs/finetune.py:caltech101 (cifar10, gtsrb, tiny_imagenet)',
        printed=tuple(
            published('zf table 5', row, quantity)
            for quantity in ('15 per class', '60 per class')
            for row in ('imagenet-pretrained convnet', 'non-pretrained convnet')
        ),
        patterns=('What pretraining is worth is more with the fewest images than with the most\\.',),
    ),
    Entry(
        'zf.transfer.caltech101',
        'Features learned on ImageNet reach 86.5 % on Caltech-101, above all before.',
        'section 5.3, Table 4',
        closed='of Caltech-101 a subset is here, 43 of 102 categories, and no network of this anatomy that has learned ImageNet',
        printed=tuple(published('zf table 4', row, '30 per class') for row in ('imagenet-pretrained convnet', 'bo et al. 2013')),
    ),
    Entry(
        'zf.transfer.caltech256',
        'On Caltech-256 they reach 74.2 %, and with 6 images of each class beat the best before with 60.',
        'section 5.3, Table 5 and Fig. 9',
        closed='Caltech-256 is not here, nor a network of this anatomy that has learned ImageNet',
        printed=tuple(published('zf table 5', row, '60 per class') for row in ('imagenet-pretrained convnet', 'bo et al. 2013')),
    ),
    Entry(
        'zf.transfer.voc',
        'On PASCAL VOC 2012 they come within 3.2 % of the best and win 5 of 20 classes.',
        'section 5.3, Table 6',
        closed='the test labels of VOC 2012 are on a server, and the images are not here',
        printed=(number('mean average precision', 79.0, 'verified'), number('the best, Yan et al.', 82.2, 'verified')),
    ),
)
