"""Which row of which paper a finished run is held against: the same network, and the same treatment of its training images."""

from collections.abc import Sequence

from cnn_research.reporting.published import published

_DRAWN = 'distortions drawn anew in each pass; 540,000 kept ones there'
_LENET5_RATE = 0.0005  # of the first passes (LeCun et al. 1998, section III)
_LENET5_PASSES = {'schedule.kind': 'steps', 'schedule.drops': '2=0.4,5=0.2,8=0.1,12=0.02', 'schedule.epochs': 20.0}
_SIGMOID = 'linear outputs there, sigmoid here'
# (source, network) -> {what becomes of its training images: the papers' row}; 'notes': what differs between theirs and ours.
PAPERS = {
    ('mnist', 'linear'): {'': 'linear', 'deskewed': 'linear, deskewed'},
    ('mnist', 'perceptron'): {'': 'linear', 'deskewed': 'linear, deskewed', 'notes': _SIGMOID},
    ('mnist', 'mlp_300'): {'': '300', 'distortions': '300, distortions', 'deskewed': '300, deskewed'},
    ('mnist', 'mlp_1000'): {'': '1000', 'distortions': '1000, distortions'},
    ('mnist', 'mlp_300_100'): {'': '300-100', 'distortions': '300-100, distortions'},
    ('mnist', 'mlp_500_150'): {'': '500-150', 'distortions': '500-150, distortions'},
    ('mnist', 'mlp_800'): {
        '': '800, cross-entropy',
        'distortions': '800, cross-entropy, affine distortions',
        'elastic distortions': '800, cross-entropy, elastic distortions',
    },
    ('mnist', 'lenet5'): {'': 'lenet5', 'distortions': 'lenet5, distortions'},
    ('mnist', 'lenet5_modern'): {'': 'lenet5', 'distortions': 'lenet5, distortions', 'notes': 'the published net beside its modern form'},
    ('cifar10', 'cifar_80sec'): {'': 'layers-80sec'},
    ('cifar10', 'cifar_18pct'): {'': 'layers-18pct'},
    ('cifar10', 'cifar_13pct'): {'crops': 'layers-13pct'},
    ('cifar10', 'cifar_11pct'): {'crops': 'layers-11pct'},
}
# The fields of augment that are on; with others, or not all of them, it is no paper's treatment.
_TREATMENTS = {
    '': (),
    'distortions': ('shift', 'scale', 'shear'),
    'elastic distortions': ('elastic',),
    'crops': ('crop', 'flip'),
}


def treatment(config: dict) -> str:
    """What becomes of training images beside their normalization: '' for nothing, a word of PAPERS, or others for what no paper has.

    config: {dotted name: value}.
    """
    prepared = config.get('data.preprocessing', 'none')  # a field that configs of earlier versions lack
    random = {name.partition('.')[2] for name, value in config.items() if name.startswith('augment.') and value} - {'elastic_sigma'}
    kinds = [kind for kind, names in _TREATMENTS.items() if random == set(names)]
    words = [prepared] if prepared != 'none' else []
    return ', '.join(words + ([kinds[0]] if kinds else sorted(random))).strip(', ')


def cells(config: dict, errors: Sequence[float]) -> dict:
    """The cells that hold the test errors of runs with this config, in percent, against a paper; {} where none has such a row."""
    found = PAPERS.get((config['data.name'], config['architecture']), {})
    theirs = found.get(treatment(config))
    if theirs is None or config['data.examples'] or config.get('data.per_class'):
        return {}
    table = config['data.name']
    quantity = None if table == 'mnist' else 'test error, augmented' if 'crops' in found else 'test error'
    number, notes = published(table, theirs, quantity), [found.get('notes', '')]
    if config['architecture'] == 'lenet5':
        own = config['optimizer.name'] == 'sdlm' and config['data.batch_size'] == 1
        printed = {'optimizer.learning_rate': _LENET5_RATE, 'optimizer.momentum': 0.0, 'optimizer.weight_decay': 0.0, **_LENET5_PASSES}
        whole = own and all(config[name] == value for name, value in printed.items())
        method = 'optimizer with other rates or terms than printed' if own else 'optimizer ours'
        notes.append('architecture, loss and optimizer as published' if whole else f'architecture and loss as published, {method}')
        notes.append('' if config['initialization.kernel'] == 'uniform' else 'initial weights not within 2.4 / fan-in as printed')
    if 'crops' in found and config['evaluate.views'] != 'ten':
        notes.append('ten views there, one here')
    if 'distortions' in treatment(config):
        notes.append('' if config['architecture'] == 'mlp_800' else _DRAWN)
    return {'paper': number.value, 'difference': sum(errors) / len(errors) - number.value, 'note': '; '.join(filter(None, notes))}
