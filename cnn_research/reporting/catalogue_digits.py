"""The claims of the papers on handwritten digits, and of committees."""

from cnn_research.reporting.catalogue import Entry, Measured, number
from cnn_research.reporting.published import published

_COMPARE = 'experiments.compare on trainings of {}; no claim of it was written down before they were run'
_MLP, _LENET = _COMPARE.format('configs/mlp.py:mnist'), _COMPARE.format('configs/lenet5.py:mnist')
_COMMITTEE = 'experiments.committee, configs/committee.py'
_INGREDIENTS = (
    'experiments.train, configs/mlp.py:mnist and configs/lenet5.py:mnist, with and without it; no claim of it is written down yet'
)
_SMALL_OPTIMIZER = 'batches, momentum and a falling rate differ from those of 1998'


def _mnist(row: str):
    return published('mnist', row)


def _error(network: str, row: str, note: str = _SMALL_OPTIMIZER) -> Measured:
    return Measured('mnist.csv', {'network': network}, 'error', _mnist(row), 'test error, %', note)


def _below(network: str, other: str) -> Measured:
    return Measured('mnist.csv', {'network': network}, 'error', ({'network': other}, 'error'), f'test error, %: {network} beside {other}')


_LECUN = (
    Entry(
        'lecun.linear',
        "A linear classifier errs on 12.0 % of MNIST's test digits.",
        'Fig. 9',
        _MLP,
        printed=(_mnist('linear'),),
        measured=(_error('perceptron', 'linear', f'linear outputs there, sigmoid here; {_SMALL_OPTIMIZER}'),),
        also=('deck',),
    ),
    Entry(
        'lecun.hidden.300',
        'A net of 300 hidden units errs on 4.7 %.',
        'Fig. 9',
        _MLP,
        printed=(_mnist('300'),),
        measured=(_error('mlp_300', '300'),),
    ),
    Entry(
        'lecun.hidden.1000',
        'A net of 1000 hidden units errs on 4.5 %, hardly less than one of 300.',
        'section III.C.4 and Fig. 9',
        _MLP,
        printed=(_mnist('1000'), _mnist('300')),
        measured=(_error('mlp_1000', '1000'), _below('mlp_1000', 'mlp_300')),
    ),
    Entry(
        'lecun.hidden.two',
        'Two hidden layers, 300 and 100 units, err on 3.05 %, less than one of 1000.',
        'section III.C.5 and Fig. 9',
        _MLP,
        printed=(_mnist('300-100'), _mnist('1000')),
        measured=(_error('mlp_300_100', '300-100'), _below('mlp_300_100', 'mlp_1000')),
    ),
    Entry(
        'lecun.lenet5',
        'LeNet-5 errs on 0.95 %.',
        'section III.B and Fig. 9',
        _LENET,
        printed=(_mnist('lenet5'),),
        measured=(
            _error('lenet5', 'lenet5', 'architecture and loss as published, optimizer ours'),
            _error('lenet5_modern', 'lenet5', 'the modern form, not the published one'),
        ),
        also=('deck',),
    ),
    Entry(
        'lecun.convolution',
        'Convolutional nets err less than fully connected ones, with fewer parameters.',
        'sections III.C and IV, Fig. 9',
        f'{_MLP}, and configs/lenet5.py:mnist',
        printed=(_mnist('lenet5'), _mnist('500-150')),
        measured=(_below('lenet5', 'mlp_1000'),),
        also=('deck',),
    ),
    Entry(
        'lecun.distortions',
        'Distorted digits among the training images lower the error of LeNet-5 from 0.95 to 0.8 %.',
        'section III.B and Fig. 9',
        _INGREDIENTS,
        printed=(_mnist('lenet5'), _mnist('lenet5, distortions')),
    ),
    Entry(
        'lecun.deskewing',
        'Deskewing the digits lowers the error of a linear classifier from 12.0 to 8.4 %, and of 300 hidden units from 4.7 to 1.6 %.',
        'Fig. 9',
        f'{_INGREDIENTS} (data.preprocessing=deskewed)',
        printed=(_mnist('linear'), _mnist('linear, deskewed'), _mnist('300'), _mnist('300, deskewed')),
    ),
    Entry(
        'lecun.order',
        'LeNet-5 errs less than LeNet-4, and that less than LeNet-1.',
        'section III.C and Fig. 9',
        'LeNet-1 and LeNet-4 are not in the zoo; architectures are data, so a training of each is a config line away',
        printed=(_mnist('lenet5'), _mnist('lenet4'), _mnist('lenet1, 16x16')),
    ),
    Entry(
        'lecun.boosted',
        'Three boosted LeNet-4 err on 0.7 %, the least of all.',
        'section III.C.7 and Fig. 9',
        closed='boosting filters the training images by earlier nets, which no experiment here does',
        printed=(_mnist('boosted lenet4, distortions'),),
    ),
    Entry(
        'lecun.memory',
        'Nearest neighbours (5.0 %) and support vectors (1.1 %, deskewed) come near, at a higher cost of memory and time.',
        'sections III.C and III.D, Figs. 9 to 11',
        closed='no experiment here fits classifiers to the pixels of all 60,000 digits, and costs of 1998 are not those of today',
        printed=(_mnist('k-nn'), _mnist('svm poly 4, deskewed')),
    ),
    Entry(
        'lecun.passes',
        'The test error of LeNet-5 settles after 10 to 12 passes; longer training does not overfit.',
        'section III.B and Fig. 5',
        f'{_LENET}: the curve in the journal of each training',
    ),
)

_SIMARD = (
    Entry(
        'simard.distortions',
        'Elastic distortions of the digits gain more than affine ones, and those more than none (800 hidden units).',
        'Table 1',
        _INGREDIENTS,
        printed=tuple(
            map(_mnist, ('800, cross-entropy', '800, cross-entropy, affine distortions', '800, cross-entropy, elastic distortions'))
        ),
    ),
    Entry(
        'simard.convnet',
        'A convolutional net with elastic distortions errs on 0.4 %.',
        'Table 1',
        _INGREDIENTS,
        printed=(_mnist('simard convnet, elastic distortions'),),
    ),
)

_CIRESAN = (
    Entry(
        'ciresan.mnist.single',
        'One deep net, trained long on distorted digits, errs on 0.35 %.',
        'IJCAI 2011',
        _COMMITTEE,
        printed=(_mnist('ciresan convnet, distortions'),),
    ),
    Entry(
        'ciresan.mnist.seven',
        'A committee of seven nets, one for each width of digits, errs on 0.27 %.',
        'ICDAR 2011',
        _COMMITTEE,
        printed=(_mnist('committee of 7, distortions'),),
    ),
    Entry(
        'ciresan.mnist.thirty-five',
        'A committee of 35 nets errs on 0.23 %, near what people do; the deck prints 0.17 %, which no paper has.',
        'CVPR 2012, section 3.1; the deck',
        _COMMITTEE,
        printed=(_mnist('committee of 35, distortions'), published('deck', 'mnist')),
        also=('deck',),
    ),
    Entry(
        'ciresan.committee',
        'A committee errs less than its columns do on average.',
        'CVPR 2012, section 3',
        _COMMITTEE,
        printed=(number('fewer errors than the columns, at least', 30.0, 'verified-2nd'),),
        patterns=('A committee of all preprocessings errs less than its columns do on average\\.',),
    ),
    Entry(
        'ciresan.best',
        'A committee errs less than the best of its columns.',
        'CVPR 2012, section 3',
        _COMMITTEE,
        patterns=('A committee of all preprocessings errs less than the one of its columns that is best on the holdout\\.',),
    ),
    Entry(
        'ciresan.preprocessing',
        'Columns that see differently preprocessed images make a better committee than columns that differ in their seed alone.',
        'CVPR 2012, section 2; ICDAR 2011',
        _COMMITTEE,
        patterns=('Of as many columns, a committee of other preprocessings errs less than one of other seeds of one preprocessing\\.',),
    ),
    Entry(
        'ciresan.widths',
        'Digits brought to several widths make a better committee than digits as they are.',
        'ICDAR 2011; CVPR 2012, section 3.1',
        f'{_COMMITTEE}, on digits',
        patterns=('Of as many columns, a committee of width-normalised digits errs less than one of digits as they are\\.',),
    ),
    Entry(
        'ciresan.signs',
        'A committee errs on 0.54 % of traffic signs (0.56 % in the deck), fewer than people do (1.16 %).',
        'Neural Networks 2012; the deck',
        f'{_COMMITTEE}; not to be met: of GTSRB a sixth is here, in 32 px, and nobody here looked at the signs',
        printed=(published('deck', 'traffic signs'), number('people', 1.16, 'verified-2nd')),
        also=('deck',),
    ),
    Entry(
        'ciresan.cifar10',
        'A committee errs on 11.21 % of CIFAR-10.',
        'CVPR 2012, section 3.5',
        _COMMITTEE,
        printed=(published('cifar10', 'mcdnn', 'test error, augmented'),),
    ),
    Entry(
        'ciresan.chinese',
        'A committee reads Chinese characters with an error of 6.5 %.',
        'CVPR 2012, section 3.3; the deck, without a number',
        closed='the CASIA characters are not here',
        printed=(number('test error', 6.5, 'verified-2nd'),),
        also=('deck',),
    ),
)

ENTRIES = (*_LECUN, *_SIMARD, *_CIRESAN)
