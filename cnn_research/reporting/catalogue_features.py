"""The claims of the papers that took features to other data, of hand-made systems, of the deck, and questions of this project."""

from cnn_research.reporting.catalogue import Entry, number
from cnn_research.reporting.published import published

_TRANSFER = 'experiments.transfer, configs/transfer.py:decaf (zf)'
_NO_NETWORK = 'no network of this anatomy that has learned ImageNet is here'


def _decaf(row: str, quantity: str):
    return published('decaf caltech-101', row, quantity)


_HANDMADE = (
    Entry(
        'spm.pyramid',
        'A spatial pyramid of visual words is worth more than the same words without places.',
        'sections 5.1 and 5.2',
        _TRANSFER,
        printed=(number('scenes, pyramid', 81.1, 'memory', spread=0.3), number('Caltech-101, pyramid', 64.6, 'memory', spread=0.8)),
        patterns=('The pyramid is worth more than the bag of words\\.',),
        also=('deck',),
    ),
    Entry(
        'spm.levels',
        'Beyond two levels a finer pyramid gains nothing.',
        'section 5',
        'experiments.transfer has the pyramid of two levels alone; no claim of others is written down yet',
        printed=tuple(number(f'Caltech-101, level {level}', value, 'verified-2nd') for level, value in ((1, 65.2), (2, 66.8), (3, 66.3))),
    ),
    Entry(
        'jarrett.random',
        'Features of random filters, rectified, normalised and pooled, are worth more than pixels.',
        'section 4',
        _TRANSFER,
        printed=(number('two stages, random filters', 63.0, 'verified-2nd'),),
        patterns=('Random filters are worth more than pixels\\.',),
    ),
    Entry(
        'jarrett.learned',
        'Learning the filters gains little over random ones.',
        'section 4',
        'experiments.transfer, random filters beside a network of the same stages that learned; no claim of it is written down yet',
        printed=(number('two stages, random filters', 63.0, 'verified-2nd'), _decaf('jarrett et al. 2009', 'accuracy')),
    ),
    Entry(
        'jarrett.rectification',
        'Rectification and local contrast normalization matter more than whether filters are learned.',
        'section 4',
        'experiments.transfer --config.transfer.handmade=jarrett has the full stage alone; no claim of its parts is written down yet',
    ),
    Entry(
        'jarrett.mnist',
        'A net whose layers are first trained without labels errs on 0.53 % of undistorted MNIST, the least then.',
        'section 4.3',
        closed='training without labels (predictive sparse decomposition) is in no experiment here',
        printed=(published('mnist', 'convnet, unsupervised pre-training'),),
    ),
)

_DECAF = (
    Entry(
        'decaf.trained',
        'Features of a trained network are worth more than those of the same network before its training.',
        'section 4; Zeiler & Fergus 2013, Fig. 9',
        _TRANSFER,
        patterns=('(?P<subject>.*): its training is worth something at \\S+\\.',),
        also=('zf',),
    ),
    Entry(
        'decaf.pyramid',
        'Features that a network has learned on other data are worth more than hand-made ones.',
        'Fig. 4, against Yang et al. 2009; the deck',
        _TRANSFER,
        printed=(_decaf('svm, dropout', 'DeCAF6'), _decaf('yang et al. 2009', 'accuracy')),
        patterns=('(?P<subject>.*): \\S+ is worth more than the spatial pyramid of SIFT words\\.',),
        also=('deck', 'razavian'),
    ),
    Entry(
        'decaf.dropout',
        'Dropping half of the features while the classifier learns helps it.',
        'Fig. 4',
        'experiments.transfer, configs/transfer.py:decaf, with its four classifiers',
        printed=tuple(_decaf(row, 'DeCAF6') for row in ('svm', 'svm, dropout', 'logistic regression', 'logistic regression, dropout')),
        patterns=('(?P<subject>.*): dropping half of \\S+ helps the .*\\.',),
    ),
    Entry(
        'decaf.sixth',
        'With dropout and an SVM, the sixth layer is worth more than the seventh on Caltech-101.',
        'Fig. 4',
        'experiments.transfer with taps layer6 and layer7; no claim of it is written down yet',
        printed=tuple(_decaf('svm, dropout', layer) for layer in ('DeCAF6', 'DeCAF7')),
    ),
    Entry(
        'decaf.one-shot',
        'With one image of each category the features still reach 33 % on Caltech-101.',
        'section 4.1',
        closed=f'{_NO_NETWORK}, and of Caltech-101 a subset, 43 categories',
        printed=(number('accuracy', 33.0, 'verified-2nd'),),
    ),
    Entry(
        'decaf.office',
        'Features learned on ImageNet bridge the gap between product pictures and webcams far better than SURF.',
        'section 4.2, Table 1',
        closed='the Office pictures are not here',
        printed=(number('SVM, Amazon to Webcam, DeCAF6', 52.22, 'verified-2nd'), number('SURF', 11.05, 'verified-2nd')),
    ),
    Entry(
        'decaf.birds',
        'On 200 kinds of birds, parts described by the features reach 64.96 %, the best before 56.78.',
        'section 4.3, Table 2',
        closed='the Caltech-UCSD birds are not here',
        printed=(number('DPD + DeCAF6', 64.96, 'verified-2nd'), number('POOF', 56.78, 'verified-2nd')),
        also=('deck',),
    ),
    Entry(
        'decaf.scenes',
        'On 397 kinds of scenes they reach 40.94 %, above 38.0 of many hand-made features together.',
        'section 4.4, Table 3',
        closed='SUN-397 is not here',
        printed=(
            number('logistic regression, DeCAF6', 40.94, 'verified-2nd', spread=0.3),
            number('Xiao et al. 2010', 38.0, 'verified-2nd'),
        ),
        also=('deck',),
    ),
)

_RAZAVIAN = (
    Entry(
        'razavian.voc',
        'OverFeat features and a linear SVM come within 0.5 points of the best on VOC 2007 classification.',
        'Table 1',
        closed='VOC 2007 is not here, nor OverFeat',
        printed=tuple(published('razavian', 'VOC 2007 classification, mAP', quantity) for quantity in ('CNNaug-SVM', 'best other')),
    ),
    Entry(
        'razavian.indoor',
        'They reach 69.0 % on 67 kinds of indoor scenes, the best then.',
        'Table 2',
        closed='MIT-67 is not here, nor OverFeat',
        printed=tuple(published('razavian', 'MIT-67, mean class accuracy', quantity) for quantity in ('CNNaug-SVM', 'best other')),
        also=('deck',),
    ),
    Entry(
        'razavian.flowers',
        'They reach 86.8 % on 102 kinds of flowers, above all that need segmentation.',
        'Table 4',
        closed='Flowers-102 is not here, nor OverFeat',
        printed=tuple(published('razavian', 'Flowers-102, mean class accuracy', quantity) for quantity in ('CNNaug-SVM', 'best other')),
    ),
    Entry(
        'razavian.birds',
        'They reach 61.8 % on birds, below features of parts (65.0).',
        'Table 3',
        closed='the Caltech-UCSD birds are not here, nor OverFeat',
        printed=tuple(
            published('razavian', 'CUB-200-2011, boxes only, mean class accuracy', quantity) for quantity in ('CNNaug-SVM', 'best other')
        ),
    ),
    Entry(
        'razavian.retrieval',
        'They retrieve pictures better than hand-made descriptors of equal size on four of five sets.',
        'section 4, Table 7',
        closed='none of the five sets of retrieval is here',
        printed=(number('Holidays, mAP', 84.3, 'verified'), number('Oxford buildings, mAP', 68.0, 'verified')),
    ),
    Entry(
        'razavian.views',
        'Sixteen views of each image, in training and in the test, gain 3 to 12 points.',
        'Tables 1 to 4',
        'experiments.transfer --config.transfer.views, beside one view; no claim of it is written down yet',
        printed=tuple(published('razavian', 'MIT-67, mean class accuracy', quantity) for quantity in ('CNN-SVM', 'CNNaug-SVM')),
    ),
)

_DECK = (
    Entry(
        'deck.learn on',
        'What hand-made features begin, learning improves.',
        "slide 'What about learning the features?', which asks",
        'experiments.handmade, configs/handmade.py',
        patterns=(
            '(?P<subject>.*): with the most images, features that learn on from hand-made ones are above hand-made ones that stay\\.',
        ),
    ),
    Entry(
        'deck.nonlinearity',
        'Features before and after the nonlinearity: the deck names both, so no direction is claimed.',
        "slide 'Using CNN features on other datasets'",
        'experiments.transfer with a tap and its .dense',
        patterns=('(?P<subject>.*): \\S+ after its nonlinearity against before\\.',),
    ),
    Entry(
        'deck.examples',
        'Networks did less well where training images are few, as in Caltech-101.',
        "slide 'Convnet successes'",
        'experiments.finetune: from scratch beside hand-made features on the same images; no claim of it is written down yet',
        printed=tuple(published('zf table 4', row, '30 per class') for row in ('non-pretrained convnet', 'jianchao et al. 2009')),
        also=('zf',),
    ),
    Entry(
        'deck.gpu',
        'A GPU trains fifty times as fast as a CPU.',
        'slide on the network of Krizhevsky et al., whose paper does not say it',
        closed='hardware of 2012; benchmarks here compare libraries on one machine',
        printed=(number('GPU over CPU', 50.0, 'verified', 'times'),),
    ),
)

_OWN = (
    Entry(
        'own.networks',
        'Two networks, each at its highest layer.',
        '-',
        'experiments.transfer with several networks',
        patterns=('(?P<subject>.* against .*), each at its highest layer\\.',),
    ),
    Entry(
        'own.dropout',
        'What dropout gains beside crops and mirroring, of which the paper gives no number.',
        'Krizhevsky et al. 2012, sections 4.1 and 4.2',
        'experiments.ingredients, configs/ingredients.py',
        patterns=('What dropout gains beside crops and mirroring; the paper gives no number for these\\.',),
    ),
    Entry(
        'own.frozen fewest',
        'Frozen features against the network fine-tuned whole, with the fewest images.',
        '-',
        'experiments.finetune',
        patterns=('Frozen features against the network fine-tuned whole, with the fewest images\\.',),
    ),
    Entry(
        'own.handmade fewest',
        'Hand-made features against learned ones, with the fewest images.',
        '-',
        'experiments.handmade',
        patterns=('(?P<subject>.*): hand-made features against learned ones, with the fewest images\\.',),
    ),
    Entry(
        'own.handmade beginning',
        'Hand-made weights against random ones as what learning begins with.',
        '-',
        'experiments.handmade',
        patterns=('(?P<subject>.*): hand-made weights against random ones as what learning begins with\\.',),
    ),
)

ENTRIES = (*_HANDMADE, *_DECAF, *_RAZAVIAN, *_DECK, *_OWN)
