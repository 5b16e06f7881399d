"""The claims of R-CNN (Girshick et al. 2014) and of DeepFace (Taigman et al. 2014)."""

from cnn_research.reporting.catalogue import Entry, number
from cnn_research.reporting.published import published

_DETECTION = 'experiments.detection, configs/detection.py:indoor (scenes, a demonstration; voc:DIR)'
_FACES = 'experiments.verification, configs/verification.py:lfw'
_NO_NETWORK = 'no network of this anatomy that has learned ImageNet is here'


def _rcnn(row: str):
    return published('rcnn table 2', row, 'mAP')


_RCNN = (
    Entry(
        'rcnn.voc',
        'Proposals with features of a network reach a mean average precision of 53.7 on VOC 2010, the best before 35.1 and 33.4.',
        'Table 1; the deck',
        closed=f'VOC is not here (experiments.detection reads voc:DIR), and {_NO_NETWORK}',
        printed=tuple(
            published(*where)
            for where in (('rcnn table 1', 'rcnn bb', 'mAP'), ('rcnn table 1', 'uva', 'mAP'), ('rcnn table 1', 'dpm v5', 'mAP'))
        ),
        also=('deck',),
    ),
    Entry(
        'rcnn.fc6',
        'Without fine-tuning, fc6 is worth more than pool5.',
        'section 3.2, Table 2',
        _DETECTION,
        printed=(_rcnn('fc6'), _rcnn('pool5')),
        patterns=('Without fine-tuning, fc6 is worth more than pool5\\.',),
    ),
    Entry(
        'rcnn.highest',
        'Without fine-tuning, the highest features against the lowest, of networks without dense layers: no direction is claimed.',
        'section 3.2',
        _DETECTION,
        patterns=('Without fine-tuning, the highest features against the lowest; (?P<subject>.*) has no dense layer among them\\.',),
    ),
    Entry(
        'rcnn.tuned dense',
        'Fine-tuning gains more at the dense layers than at pool5.',
        'section 3.2, Table 2',
        f'{_DETECTION} with the fine-tuned rows',
        printed=tuple(map(_rcnn, ('fc7', 'ft fc7', 'pool5', 'ft pool5'))),
        patterns=('Fine-tuning gains more at dense layers than at pool5\\.',),
    ),
    Entry(
        'rcnn.tuned',
        'Fine-tuning on the task gains.',
        'section 3.2, Table 2',
        f'{_DETECTION} with the fine-tuned rows',
        printed=(_rcnn('fc7'), _rcnn('ft fc7')),
        patterns=('Fine-tuning gains; (?P<subject>.*) has no dense layers and .*',),
    ),
    Entry(
        'rcnn.tuned whole',
        'A network that is fine-tuned whole is worth more than its frozen features.',
        'Table 2; the deck calls it optional',
        'experiments.finetune, configs/finetune.py:caltech101 (cifar10, gtsrb, tiny_imagenet), in classification',
        printed=(_rcnn('ft fc7'), _rcnn('fc7')),
        patterns=('With the most images the network fine-tuned whole is above its frozen features\\.',),
        also=('deck',),
    ),
    Entry(
        'rcnn.refined',
        'Refining the boxes by regression gains.',
        'Table 2 and appendix C',
        _DETECTION,
        printed=(_rcnn('ft fc7 bb'), _rcnn('ft fc7')),
        patterns=('Refining the boxes by regression gains\\.',),
    ),
    Entry(
        'rcnn.own',
        "SVMs are worth more than the fine-tuned network's own softmax.",
        'appendix B',
        _DETECTION,
        printed=(_rcnn('ft fc7'), published('rcnn text', 'ft fc7, softmax')),
        patterns=("SVMs are worth more than the fine-tuned network's own softmax\\.",),
    ),
    Entry(
        'rcnn.svm',
        'SVMs are worth more than a softmax on the same features.',
        'appendix B, of the last layer of the fine-tuned network',
        _DETECTION,
        patterns=('SVMs are worth more than the softmax\\.', 'SVMs are worth more than a softmax on the same features\\.'),
    ),
    Entry(
        'rcnn.context',
        'Context about the window gains.',
        'appendix A',
        _DETECTION,
        printed=(number('gain with the warp, at least', 3.0, 'verified', 'points of mAP'),),
        patterns=('Context about the window gains\\.',),
    ),
    Entry(
        'rcnn.warp',
        'Warping the window is worth more than keeping its proportions.',
        'appendix A',
        _DETECTION,
        printed=(number('gain with the context, at least', 3.0, 'verified', 'points of mAP'),),
        patterns=('Warping the window is worth more than keeping its proportions\\.',),
    ),
    Entry(
        'rcnn.hog',
        'Features of a network, not fine-tuned, are worth more than HOG.',
        'section 3.2, Table 2; the deck',
        _DETECTION,
        printed=(_rcnn('fc6'), _rcnn('dpm v5')),
        patterns=('The network, not fine-tuned, is worth more than HOG on the same proposals\\.',),
        also=('deck',),
    ),
    Entry(
        'rcnn.pyramid',
        'Features of a network are worth more than a pyramid of visual words on the same kind of proposals.',
        'section 3.1, Table 1; the deck',
        _DETECTION,
        printed=(published('rcnn table 1', 'rcnn', 'mAP'), published('rcnn table 1', 'uva', 'mAP')),
        patterns=('The network, not fine-tuned, is worth more than the pyramid of visual words on the same proposals\\.',),
        also=('deck',),
    ),
    Entry(
        'rcnn.negatives',
        'Which windows count as negatives matters: an overlap below 0.3; 0.5 costs 5 points, 0 costs 4.',
        'section 2.3',
        'experiments.detection has the threshold of the paper alone; no claim of others is written down yet',
        printed=(number('loss with 0.5', 5.0, 'verified', 'points of mAP'), number('loss with 0', 4.0, 'verified', 'points of mAP')),
    ),
    Entry(
        'rcnn.deeper',
        'A deeper network (VGG-16) raises the mean average precision from 58.5 to 66.0.',
        'section 3.3, Table 3',
        closed=f'VOC is not here, and {_NO_NETWORK}',
        printed=(published('rcnn text', 'vgg-16 ft fc7 bb'), _rcnn('ft fc7 bb')),
    ),
    Entry(
        'rcnn.ilsvrc',
        'On the 200 classes of ILSVRC 2013 it reaches 31.4, where OverFeat has 24.3.',
        'section 4',
        closed='the detection set of ILSVRC 2013 is not here',
        printed=(number('R-CNN, mAP', 31.4, 'verified'), number('OverFeat, mAP', 24.3, 'verified')),
    ),
)

_DF = (
    Entry(
        'df.lfw',
        'DeepFace tells 97.35 % of the pairs of LFW rightly, near people (97.53 %).',
        'sections 5.3 and 6, Table 3',
        closed='4.4 million faces of 4,030 people, a model of faces in 3-D and colour pictures are not here',
        printed=tuple(
            published('deepface lfw', row) for row in ('ensemble with four more networks, unrestricted', 'people, cropped faces')
        ),
        also=('deck',),
    ),
    Entry(
        'df.eigenfaces',
        'Learned features are above eigenfaces.',
        'section 5, Table 3',
        _FACES,
        printed=(
            published('deepface lfw', 'single network, unsupervised, inner product'),
            published('deepface lfw', 'eigenfaces, restricted'),
        ),
        patterns=('Learned features are above eigenfaces, whitened or not\\.',),
    ),
    Entry(
        'df.lbp',
        'Learned features are above local binary patterns.',
        'section 5.3',
        _FACES,
        printed=tuple(
            published('deepface lfw', row)
            for row in ('single network, restricted, weighted chi-squared and SVM', 'LBP and SVM on frontalised faces')
        ),
        patterns=('Learned features are above local binary patterns\\.',),
    ),
    Entry(
        'df.chi-squared',
        'The weighted chi-squared is above the inner product.',
        'section 5.3',
        _FACES,
        printed=tuple(
            published('deepface lfw', row)
            for row in ('single network, restricted, weighted chi-squared and SVM', 'single network, unsupervised, inner product')
        ),
        patterns=('The weighted chi-squared is above the inner product\\.',),
    ),
    Entry(
        'df.siamese',
        'A Siamese end against the inner product: it stands in an ensemble only, so no direction is claimed.',
        'section 4.2',
        _FACES,
        patterns=('The Siamese end against the inner product\\.',),
    ),
    Entry(
        'df.local',
        'Where faces are aligned, local connections are above convolutions.',
        'section 3.2',
        f'{_FACES} with eyes to align by',
        patterns=('Local connections are above convolutions of the same anatomy on aligned faces\\.',),
    ),
    Entry(
        'df.layers',
        'Without C3, without L4 and L5, and without all three, the network names people worse.',
        'Table 1',
        _FACES,
        printed=tuple(published('deepface sfc', row) for row in ('4 K people', 'without C3', 'without L4 and L5', 'without C3, L4 and L5')),
        patterns=('The network names people worse .*\\.',),
    ),
    Entry(
        'df.alignment',
        'Alignment in 3-D matters: 97.0 with it, 94.3 with 2-D, 87.9 with none.',
        'section 5.3',
        closed='a model of faces in 3-D is not here; with and without 2-D alignment needs the eyes of LFW, which are not here',
        printed=tuple(published('deepface lfw', row) for row in ('single network, 2-D alignment', 'single network, no alignment')),
    ),
    Entry(
        'df.images',
        'More images of each person help: a tenth of them has an error of 20.7 % instead of 8.7.',
        'section 5.2, Table 1',
        'experiments.verification on fewer images of each person; no claim of it is written down yet',
        printed=(published('deepface sfc', '10 % of the images'), published('deepface sfc', '4 K people')),
    ),
    Entry(
        'df.sparse',
        'Features are sparse: 75 % of those of the highest layers are exactly 0.',
        'section 3.2',
        'experiments.verification keeps features; no claim of it is written down yet',
        printed=(number('zeros', 75.0, 'verified'),),
    ),
    Entry(
        'df.videos',
        'On the videos of YouTube Faces it tells 91.4 % rightly, above all before.',
        'section 5.4, Table 4',
        closed='YouTube Faces is not here',
        printed=(number('accuracy', 91.4, 'verified'),),
    ),
)

ENTRIES = (*_RCNN, *_DF)
