"""The papers' and the deck's numbers, as printed, each with its source and with how surely the source was read.

In:
- 'mnist': LeCun's table of test errors (LeCun et al. 1998, Fig. 9, and later additions to the MNIST page).
- 'cifar10': cuda-convnet's nets (its wiki; two of them in Krizhevsky et al. 2012, Sec. 3.3) and the results of that era.
- 'wan': without dropping, with dropout and with DropConnect (Wan et al. 2013), one net and the vote of five.
- 'gtsrb': accuracy on the German traffic sign benchmark (Ciresan et al. 2012, Neural Networks; Stallkamp et al. 2012).
- 'krizhevsky table 1', 'krizhevsky table 2': ILSVRC-2010 and ILSVRC-2012 errors (Krizhevsky et al. 2012).
- 'krizhevsky effects': what single choices gain there, and the factor of Fig. 1.
- 'zf table 1': feature sign changes when a part of an object is hidden (Zeiler and Fergus 2013).
- 'zf table 2', 'zf table 3', 'zf table 7': ILSVRC-2012 errors, depth and width, features of each layer (Zeiler and Fergus 2013).
- 'zf table 4', 'zf table 5': Caltech-101 and Caltech-256, with the network pretrained on ImageNet and from scratch (the same).
- 'decaf caltech-101': features of one network and classifiers on Caltech-101 (Donahue et al. 2013, Fig. 4).
- 'razavian': OverFeat's features on other data sets (Razavian et al. 2014).
- 'rcnn table 1', 'rcnn table 2': detection on VOC 2010 and VOC 2007, average precision of each class (Girshick et al. 2014).
- 'rcnn text': what else is printed there of VOC 2007: with softmax, and with VGG-16.
- 'deepface lfw', 'deepface sfc': pairs of LFW rightly told, and errors of naming people of SFC (Taigman et al. 2014, and earlier work).
- 'deck': the claims of the lecture deck 'A CNN for image classification', which disagree with the papers in places.

Confidence: 'verified' (the source's own text was read), 'verified-2nd' (a second-hand text was read), 'memory' (neither).
What the deck says and what a paper says are separate records: they are never merged.
"""

from cnn_research.errors import ResearchError, nearest
from cnn_research.reporting import systems
from cnn_research.reporting.publication import Published, records


def published(table: str, row: str, quantity: str | None = None) -> Published:
    """The number of a row, as in published('mnist', 'lenet5') or published('zf table 3', 'removed layer 7', 'val top-5').

    `quantity` may be left out where the row has only one. ResearchError, naming the choices, for what is not there.
    """
    in_row = [record for record in rows(table) if record.key == f'{table}/{row}']
    if not in_row:
        labels = list(dict.fromkeys(record.key.partition('/')[2] for record in rows(table)))
        raise ResearchError(f'{table!r} has no row {row!r}; it has {", ".join(map(repr, labels))}.{nearest(row, labels)}')
    if quantity is None and len(in_row) == 1:
        return in_row[0]
    for record in in_row:
        if record.quantity == quantity:
            return record
    quantities = [record.quantity for record in in_row]
    problem = f'has no quantity {quantity!r}' if quantity is not None else 'has several quantities'
    raise ResearchError(f'{table}/{row} {problem}; choose {", ".join(map(repr, quantities))}.{nearest(quantity or "", quantities)}')


def rows(table: str) -> tuple[Published, ...]:
    """All numbers of a table, in the order of print. ResearchError, naming the tables, for one that is not there."""
    if table not in TABLES:
        raise ResearchError(f'no published table {table!r}; there are {", ".join(map(repr, TABLES))}.{nearest(table, TABLES)}')
    return TABLES[table]


def _mnist(source, numbers, confidence='verified') -> tuple[Published, ...]:
    return records('mnist', ('test error',), source, {row: (entry,) for row, entry in numbers.items()}, confidence)


def _cifar10(source, numbers, confidence) -> tuple[Published, ...]:
    return records('cifar10', ('test error', 'test error, augmented'), source, numbers, confidence)


def _wan(numbers, confidence) -> tuple[Published, ...]:
    return records('wan', ('single', 'vote of 5'), 'Wan et al. 2013 (test error)', numbers, confidence)


_LECUN = 'LeCun et al. 1998, Fig. 9, and the MNIST page'
_KRIZHEVSKY = 'Krizhevsky et al. 2012'
_ZF = 'Zeiler and Fergus 2013'
_DECAF = 'Donahue et al. 2013 (DeCAF)'
_DECK = "lecture deck 'A CNN for image classification'"
_TOP = ('top-1', 'top-5')
_ILSVRC = ('val top-1', 'val top-5', 'test top-5')

TABLES: dict[str, tuple[Published, ...]] = {
    'mnist': (
        *_mnist(
            _LECUN,
            {
                'linear': 12.0,
                'linear, deskewed': 8.4,
                'pairwise linear, deskewed': 7.6,
                'k-nn': 5.0,
                'k-nn, deskewed': 2.4,
                'tangent distance, 16x16': 1.1,
                '40 pca + quadratic': 3.3,
                '1000 rbf + linear': 3.6,
                'svm poly 4, deskewed': 1.1,
                'reduced-set svm poly 5, deskewed': 1.0,
                'virtual svm poly 9, distortions': 0.8,
                '300': 4.7,
                '300, distortions': 3.6,
                '300, deskewed': 1.6,
                '1000': 4.5,
                '1000, distortions': 3.8,
                '300-100': 3.05,
                '300-100, distortions': 2.5,
                '500-150': 2.95,
                '500-150, distortions': 2.45,
                'lenet1, 16x16': 1.7,
                'lenet4': 1.1,
                'lenet4 with k-nn': 1.1,
                'lenet4 with local learning': 1.1,
                'boosted lenet4, distortions': 0.7,
                'lenet5': 0.95,
                'lenet5, distortions': 0.8,
                'lenet5, huge distortions': 0.85,
            },
        ),
        *_mnist('MNIST page', {'svm gaussian': 1.4}),
        *_mnist(
            'Simard et al. 2003, on the MNIST page',
            {
                '800, cross-entropy': 1.6,
                '800, cross-entropy, affine distortions': 1.1,
                '800, cross-entropy, elastic distortions': 0.7,
                'simard convnet, affine distortions': 0.6,
                'simard convnet, elastic distortions': 0.4,
            },
        ),
        *_mnist('Jarrett et al. 2009, on the MNIST page', {'convnet, unsupervised pre-training': 0.53}),
        *_mnist('Ciresan et al. 2011, on the MNIST page', {'ciresan convnet, distortions': 0.35}),
        *_mnist('Ciresan et al. 2011 (ICDAR), on the MNIST page', {'committee of 7, distortions': (0.27, 0.02)}),
        *_mnist('Ciresan et al. 2012, on the MNIST page', {'committee of 35, distortions': 0.23}),
        *_mnist('Wan et al. 2013', {'dropconnect vote': 0.21}, 'verified-2nd'),
    ),
    'cifar10': (
        *_cifar10(
            'cuda-convnet wiki',
            {'layers-80sec': (26.0, None), 'layers-18pct': (18.0, None), 'layers-13pct': (None, 13.0), 'layers-11pct': (None, 11.0)},
            'verified',
        ),
        *records(
            'cifar10', ('test error',), f'{_KRIZHEVSKY}, Sec. 3.3', {'four layers without lrn': (13.0,), 'four layers with lrn': (11.0,)}
        ),
        *_cifar10('Zeiler and Fergus 2013 (stochastic pooling)', {'stochastic pooling': (15.13, None)}, 'verified-2nd'),
        *_cifar10('Snoek et al. 2012', {'spearmint': (14.98, 9.50)}, 'verified-2nd'),
        *_cifar10('Goodfellow et al. 2013', {'maxout': (11.68, 9.38)}, 'verified-2nd'),
        *_cifar10('Wan et al. 2013', {'dropconnect, 12 nets': (None, 9.32)}, 'verified-2nd'),
        *_cifar10('Lin et al. 2013', {'network in network': (10.41, 8.81)}, 'verified-2nd'),
        *_cifar10('Ciresan et al. 2012', {'mcdnn': (None, 11.21)}, 'memory'),
    ),
    'wan': (
        *_wan(
            {
                'mnist 800-800, neither': (1.62, 1.40),
                'mnist 800-800, dropout': (1.28, 1.20),
                'cifar-10 small, neither': (23.5, None),
                'cifar-10 small, dropout': (19.7, None),
                'cifar-10 small, dropconnect': (18.7, None),
                'cifar-10 large, neither': ((11.18, 0.13), 10.22),
                'cifar-10 large, dropout': ((11.52, 0.18), 9.83),
                'cifar-10 large, dropconnect': ((11.10, 0.13), 9.41),
            },
            'memory',
        ),
        *_wan(
            {
                'mnist 800-800, dropconnect': ((1.20, 0.034), 1.12),
                'mnist conv, dropconnect': ((0.63, 0.035), 0.57),
                'mnist conv, distortions, dropconnect': ((0.28, 0.032), 0.21),
            },
            'verified-2nd',
        ),
    ),
    'gtsrb': (
        *records(
            'gtsrb', ('accuracy',), 'Ciresan et al. 2012 (Neural Networks), abstract', {'committee of cnns': (99.46,)}, 'verified-2nd'
        ),
        *records('gtsrb', ('accuracy',), 'Stallkamp et al. 2012, in a readme', {'human average': (98.84,)}, 'verified-2nd'),
        *records(
            'gtsrb',
            ('accuracy',),
            'Stallkamp et al. 2012',
            {'best human': (99.22,), 'multi-scale cnn': (98.31,), 'random forests': (96.14,), 'lda on hog': (95.68,)},
            'memory',
        ),
    ),
    'krizhevsky table 1': records(
        'krizhevsky table 1',
        _TOP,
        f'{_KRIZHEVSKY}, Table 1 (one centre crop: in the text)',
        {'sparse coding': (47.1, 28.2), 'sift + fvs': (45.7, 25.7), 'cnn': (37.5, 17.0), 'cnn, one centre crop': (39.0, 18.3)},
    ),
    'krizhevsky table 2': records(
        'krizhevsky table 2',
        _ILSVRC,
        f'{_KRIZHEVSKY}, Table 2',
        {
            'sift + fvs': (None, None, 26.2),
            '1 cnn': (40.7, 18.2, None),
            '5 cnns': (38.1, 16.4, 16.4),
            '1 cnn*': (39.0, 16.6, None),
            '7 cnns*': (36.7, 15.4, 15.3),
        },
    ),
    'krizhevsky effects': (
        *records(
            'krizhevsky effects',
            ('epochs to 25 % training error, tanh over relu',),
            f'{_KRIZHEVSKY}, Fig. 1',
            {'relu': (6.0,)},
            unit='times',
        ),
        *records(
            'krizhevsky effects',
            ('top-1 gain', 'top-5 gain'),
            f'{_KRIZHEVSKY}, Sec. 3',
            {'two towers': (1.7, 1.2), 'local response normalization': (1.4, 1.2), 'overlapping pooling': (0.4, 0.3)},
            unit='percentage points',
        ),
        # As the text has them: 'over 1 %', and 'about 2 %' for any of the middle layers.
        *records('krizhevsky effects', ('top-1 gain',), f'{_KRIZHEVSKY}, Sec. 4.1', {'colour noise': (1.0,)}, unit='percentage points'),
        *records('krizhevsky effects', ('top-1 gain',), f'{_KRIZHEVSKY}, Sec. 7', {'a middle layer': (2.0,)}, unit='percentage points'),
    ),
    'zf table 1': records(
        'zf table 1',
        ('layer 5', 'layer 7'),
        f'{_ZF}, Table 1',
        {
            'right eye': ((0.067, 0.007), (0.069, 0.015)),
            'left eye': ((0.069, 0.007), (0.068, 0.013)),
            'nose': ((0.079, 0.017), (0.069, 0.011)),
            'random': ((0.107, 0.017), (0.073, 0.014)),
        },
        unit='share',
    ),
    'zf table 2': records(
        'zf table 2',
        _ILSVRC,
        f'{_ZF}, Table 2',
        {
            'replication of krizhevsky, 1 convnet': (40.5, 18.1, None),
            '1 convnet as per fig. 3': (38.4, 16.5, None),
            '5 convnets as per fig. 3 (a)': (36.7, 15.3, 15.3),
            '1 convnet, layers 3,4,5: 512,1024,512 maps (b)': (37.5, 16.0, 16.1),
            '6 convnets, (a) and (b) combined': (36.0, 14.7, 14.8),
        },
    ),
    'zf table 3': records(
        'zf table 3',
        ('train top-1', 'val top-1', 'val top-5'),
        f'{_ZF}, Table 3',
        {
            'replication of krizhevsky, 1 convnet': (35.1, 40.5, 18.1),
            'removed layers 3,4': (41.8, 45.4, 22.1),
            'removed layer 7': (27.4, 40.0, 18.4),
            'removed layers 6,7': (27.4, 44.8, 22.4),
            'removed layers 3,4,6,7': (71.1, 71.3, 50.1),
            'layers 6,7: 2048 units': (40.3, 41.7, 18.8),
            'layers 6,7: 8192 units': (26.8, 40.0, 18.1),
            'our model': (33.1, 38.4, 16.5),
            'our model, layers 6,7: 2048 units': (38.2, 40.2, 17.6),
            'our model, layers 6,7: 8192 units': (22.0, 38.8, 17.0),
            'our model, layers 3,4,5: 512,1024,512 maps': (18.8, 37.5, 16.0),
            'our model, layers 6,7: 8192 units and layers 3,4,5: 512,1024,512 maps': (10.0, 38.3, 16.9),
        },
    ),
    'zf table 4': records(
        'zf table 4',
        ('15 per class', '30 per class'),
        f'{_ZF}, Table 4 (Caltech-101, mean accuracy per class)',
        {
            'bo et al. 2013': (None, (81.4, 0.33)),
            'jianchao et al. 2009': (73.2, 84.3),
            'non-pretrained convnet': ((22.8, 1.5), (46.5, 1.7)),
            'imagenet-pretrained convnet': ((83.8, 0.5), (86.5, 0.5)),
        },
    ),
    'zf table 5': records(
        'zf table 5',
        ('15 per class', '30 per class', '45 per class', '60 per class'),
        f'{_ZF}, Table 5 (Caltech-256, mean accuracy per class)',
        {
            'sohn et al. 2011': (35.1, 42.1, 45.7, 47.9),
            'bo et al. 2013': ((40.5, 0.4), (48.0, 0.2), (51.9, 0.2), (55.2, 0.3)),
            'non-pretrained convnet': ((9.0, 1.4), (22.5, 0.7), (31.2, 0.5), (38.8, 1.4)),
            'imagenet-pretrained convnet': ((65.7, 0.2), (70.6, 0.2), (72.7, 0.4), (74.2, 0.3)),
        },
    ),
    'zf table 7': records(
        'zf table 7',
        ('caltech-101, 30 per class', 'caltech-256, 60 per class'),
        f'{_ZF}, Table 7 (mean accuracy per class)',
        {
            'svm (1)': ((44.8, 0.7), (24.6, 0.4)),
            'svm (2)': ((66.2, 0.5), (39.6, 0.3)),
            'svm (3)': ((72.3, 0.4), (46.0, 0.3)),
            'svm (4)': ((76.6, 0.4), (51.3, 0.1)),
            'svm (5)': ((86.2, 0.8), (65.6, 0.3)),
            'svm (7)': ((85.5, 0.4), (71.7, 0.2)),
            'softmax (5)': ((82.9, 0.4), (65.7, 0.5)),
            'softmax (7)': ((85.4, 0.4), (72.6, 0.1)),
        },
    ),
    'decaf caltech-101': (
        *records(
            'decaf caltech-101',
            ('DeCAF5', 'DeCAF6', 'DeCAF7'),
            f'{_DECAF}, Fig. 4 (mean accuracy per class, 30 per class)',
            {
                'logistic regression': ((63.29, 6.6), (84.30, 1.6), (84.87, 0.6)),
                'logistic regression, dropout': (None, (86.08, 0.8), (85.68, 0.6)),
                'svm': ((77.12, 1.1), (84.77, 1.2), (83.24, 1.2)),
                'svm, dropout': (None, (86.91, 0.7), (85.51, 0.9)),
            },
            'verified-2nd',
        ),
        *records(
            'decaf caltech-101',
            ('accuracy',),
            f'{_DECAF}, Fig. 4, who cite them',
            {'yang et al. 2009': (84.3,), 'jarrett et al. 2009': (65.5,)},
            'verified-2nd',
        ),
    ),
    'razavian': records(
        'razavian',
        ('CNN-SVM', 'CNNaug-SVM', 'best other'),
        'Razavian et al. 2014 (OverFeat, first dense layer)',
        {
            'VOC 2007 classification, mAP': (73.9, 77.2, 77.7),
            'MIT-67, mean class accuracy': (58.4, 69.0, 68.9),
            'CUB-200-2011, boxes only, mean class accuracy': (53.3, 61.8, 65.0),
            'Flowers-102, mean class accuracy': (74.7, 86.8, 80.7),
        },
    ),
    **systems.TABLES,
    'deck': (
        *records('deck', ('top-5 error',), f'{_DECK}, depth', {'full model': (18.1,)}),
        *records(
            'deck',
            ('top-5 drop',),
            f'{_DECK}, depth',
            {
                'without layer 7': (1.1,),
                'without layers 6,7': (5.7,),
                'without layers 3,4': (3.0,),
                'without layers 3,4,6,7': (33.5,),
            },
            unit='percentage points',
        ),
        *records('deck', ('test error',), f'{_DECK}, results', {'mnist': (0.17,), 'cifar-10': (9.3,), 'traffic signs': (0.56,)}),
    ),
}
