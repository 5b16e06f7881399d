"""Published numbers of systems that took a network's features out of classification: R-CNN and DeepFace; `published` gives them out."""

from cnn_research.reporting.publication import Published, records

_RCNN = 'Girshick et al. 2014 (R-CNN)'
_DF = 'Taigman et al. 2014 (DeepFace)'
VOC = (
    *('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog', 'horse', 'motorbike'),
    *('person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor'),
)


def _voc(table, source, numbers) -> tuple[Published, ...]:
    """`numbers`: {row: average precisions of VOC's classes and their mean, as they stand in a line of print}."""
    return records(table, (*VOC, 'mAP'), source, {row: [float(word) for word in line.split()] for row, line in numbers.items()})


TABLES: dict[str, tuple[Published, ...]] = {
    'rcnn table 1': _voc(
        'rcnn table 1',
        f'{_RCNN}, Table 1 (VOC 2010 test)',
        {
            'dpm v5': '49.2 53.8 13.1 15.3 35.5 53.4 49.7 27.0 17.2 28.8 14.7 17.8 46.4 51.2 47.7 10.8 34.2 20.7 43.8 38.3 33.4',
            'uva': '56.2 42.4 15.3 12.6 21.8 49.3 36.8 46.1 12.9 32.1 30.0 36.5 43.5 52.9 32.9 15.3 41.1 31.8 47.0 44.8 35.1',
            'rcnn': '67.1 64.1 46.7 32.0 30.5 56.4 57.2 65.9 27.0 47.3 40.9 66.6 57.8 65.9 53.6 26.7 56.5 38.1 52.8 50.2 50.2',
            'rcnn bb': '71.8 65.8 53.0 36.8 35.9 59.7 60.0 69.9 27.9 50.6 41.4 70.0 62.0 69.0 58.1 29.5 59.4 39.3 61.2 52.4 53.7',
        },
    ),
    'rcnn table 2': _voc(
        'rcnn table 2',
        f'{_RCNN}, Table 2 (VOC 2007 test)',
        {
            'pool5': '51.8 60.2 36.4 27.8 23.2 52.8 60.6 49.2 18.3 47.8 44.3 40.8 56.6 58.7 42.4 23.4 46.1 36.7 51.3 55.7 44.2',
            'fc6': '59.3 61.8 43.1 34.0 25.1 53.1 60.6 52.8 21.7 47.8 42.7 47.8 52.5 58.5 44.6 25.6 48.3 34.0 53.1 58.0 46.2',
            'fc7': '57.6 57.9 38.5 31.8 23.7 51.2 58.9 51.4 20.0 50.5 40.9 46.0 51.6 55.9 43.3 23.3 48.1 35.3 51.0 57.4 44.7',
            'ft pool5': '58.2 63.3 37.9 27.6 26.1 54.1 66.9 51.4 26.7 55.5 43.4 43.1 57.7 59.0 45.8 28.1 50.8 40.6 53.1 56.4 47.3',
            'ft fc6': '63.5 66.0 47.9 37.7 29.9 62.5 70.2 60.2 32.0 57.9 47.0 53.5 60.1 64.2 52.2 31.3 55.0 50.0 57.7 63.0 53.1',
            'ft fc7': '64.2 69.7 50.0 41.9 32.0 62.6 71.0 60.7 32.7 58.5 46.5 56.1 60.6 66.8 54.2 31.5 52.8 48.9 57.9 64.7 54.2',
            'ft fc7 bb': '68.1 72.8 56.8 43.0 36.8 66.3 74.2 67.6 34.4 63.5 54.5 61.2 69.1 68.6 58.7 33.4 62.9 51.1 62.5 64.8 58.5',
            'dpm v5': '33.2 60.3 10.2 16.1 27.3 54.3 58.2 23.0 20.0 24.1 26.7 12.7 58.1 48.2 43.2 12.0 21.1 36.1 46.0 43.5 33.7',
        },
    ),
    'rcnn text': records(
        'rcnn text',
        ('mAP',),
        f'{_RCNN}, appendix B and section 3.3 (VOC 2007 test)',
        {'ft fc7, softmax': (50.9,), 'vgg-16 ft fc7': (62.2,), 'vgg-16 ft fc7 bb': (66.0,)},
    ),
    'deepface lfw': (
        *records(
            'deepface lfw',
            ('accuracy',),
            f'{_DF} (LFW, View 2)',
            {
                'single network, unsupervised, inner product': (95.92,),
                'single network, restricted, weighted chi-squared and SVM': (97.00,),
                'single network, 2-D alignment': (94.3,),
                'single network, no alignment': (87.9,),
                'LBP and SVM on frontalised faces': (91.4,),
                'ensemble, restricted': (97.15,),
                'ensemble with a Siamese network, unrestricted': (97.25,),
                'ensemble with four more networks, unrestricted': (97.35,),
            },
        ),
        *records('deepface lfw', ('accuracy',), f'{_DF}, Table 3', {'high-dimensional LBP': (95.17,)}, 'verified-2nd'),
        *records(
            'deepface lfw',
            ('accuracy',),
            f'{_DF}, Table 3',
            {'Joint Bayesian': (92.42,), 'Tom-vs-Pete': (93.30,), 'TL Joint Bayesian': (96.33,)},
            'memory',
        ),
        *records('deepface lfw', ('accuracy',), 'Kumar et al. 2009, as quoted there', {'people, cropped faces': (97.53,)}, 'verified-2nd'),
        *records('deepface lfw', ('accuracy',), 'Huang et al. 2007, results of LFW', {'eigenfaces, restricted': (60.0,)}, 'memory'),
    ),
    'deepface sfc': (
        *records(
            'deepface sfc',
            ('error',),
            f'{_DF}, Table 1 (naming held-out images of SFC)',
            {'1.5 K people': (7.0,), '3 K people': (7.2,), '4 K people': (8.7,), '10 % of the images': (20.7,)},
        ),
        *records(
            'deepface sfc',
            ('error',),
            f'{_DF}, Table 1 (naming held-out images of SFC)',
            {'without C3': (11.2,), 'without L4 and L5': (12.6,), 'without C3, L4 and L5': (13.5,)},
            'memory',
        ),
    ),
}
