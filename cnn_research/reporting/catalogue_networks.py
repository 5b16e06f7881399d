"""The claims of Krizhevsky et al. 2012, of Krizhevsky's cuda-convnet and of Wan et al. 2013."""

from cnn_research.reporting.catalogue import Entry, Measured, number
from cnn_research.reporting.published import published

_COMMITTEE, _INGREDIENTS, _DROPCONNECT = (f'experiments.{name}, configs/{name}.py' for name in ('committee', 'ingredients', 'dropconnect'))
_TRAIN = 'experiments.train, configs/cifar.py; no claim of it is written down yet'
_IMAGENET = 'ImageNet (ILSVRC 2010 and 2012, 1.2 million images) is not here, nor the weeks of GPU time'


def _gain(row: str):
    return published('krizhevsky effects', row, 'top-1 gain'), published('krizhevsky effects', row, 'top-5 gain')


_KSH = (
    Entry(
        'ksh.imagenet.2012',
        'Their nets win ILSVRC 2012 with 16.4 % top-5 error (15.3 with more data), where SIFT and Fisher vectors have 26.2.',
        'Table 2',
        closed=_IMAGENET,
        printed=tuple(published('krizhevsky table 2', row, 'test top-5') for row in ('5 cnns', '7 cnns*', 'sift + fvs')),
        also=('deck',),
    ),
    Entry(
        'ksh.imagenet.2010',
        'One net has 17.0 % top-5 error on ILSVRC 2010, the best before 25.7.',
        'Table 1',
        closed=_IMAGENET,
        printed=(published('krizhevsky table 1', 'cnn', 'top-5'), published('krizhevsky table 1', 'sift + fvs', 'top-5')),
    ),
    Entry(
        'ksh.relu',
        'With rectifiers a net reaches 25 % training error on CIFAR-10 six times as fast as with tanh.',
        'section 3.1 and Fig. 1',
        'experiments.nonlinearity with several seeds; the paper does not say which net it is',
        printed=(published('krizhevsky effects', 'relu'),),
        measured=(
            Measured(
                'relu_tanh.csv',
                {'nonlinearity': 'tanh'},
                'epochs',
                ({'nonlinearity': 'relu'}, 'epochs'),
                'epochs to 25 % training error: tanh beside ReLU',
                'one seed, 20,000 training images, each stopped at that error',
            ),
        ),
        also=('deck',),
    ),
    Entry(
        'ksh.normalization',
        'Response normalization gains: 1.4 % of top-1 error on ImageNet, and from 13 to 11 % on CIFAR-10.',
        'section 3.3',
        _INGREDIENTS,
        printed=(
            *_gain('local response normalization'),
            *(published('cifar10', f'four layers {how} lrn', 'test error') for how in ('without', 'with')),
        ),
        patterns=('Response normalization lowers the test error\\.',),
        also=('deck', 'ccn'),
    ),
    Entry(
        'ksh.pooling',
        'Overlapping pooling gains 0.4 % of top-1 error.',
        'section 3.4',
        _INGREDIENTS,
        printed=_gain('overlapping pooling'),
        patterns=('Overlapping pooling lowers the test error\\.',),
        also=('deck',),
    ),
    Entry(
        'ksh.towers',
        'Two towers on two GPUs gain 1.7 % of top-1 error over one GPU with half the kernels.',
        'section 3.2',
        f'{_INGREDIENTS}, at small scale',
        printed=_gain('two towers'),
        patterns=('Two towers lower the test error\\.',),
    ),
    Entry(
        'ksh.order',
        'Two towers gain more than response normalization, and that gains more than overlapping pooling.',
        'sections 3.2 to 3.4',
        _INGREDIENTS,
        printed=(_gain('two towers')[0], _gain('local response normalization')[0], _gain('overlapping pooling')[0]),
        patterns=('Two towers gain more than response normalization, and that gains more than overlapping pooling\\.',),
    ),
    Entry(
        'ksh.relu.error',
        'Rectifiers lower the error, too; the section speaks of speed.',
        'section 3.1',
        _INGREDIENTS,
        patterns=('Rectified units lower the test error\\.',),
    ),
    Entry(
        'ksh.crops',
        'Random crops of the training images lower the error: without crops and mirroring the net overfits.',
        'section 4.1',
        _INGREDIENTS,
        patterns=('Random crops lower the test error\\.',),
        also=('deck',),
    ),
    Entry(
        'ksh.mirroring',
        'Mirroring the training images lowers the error.',
        'section 4.1',
        _INGREDIENTS,
        patterns=('Mirroring training images lowers the test error\\.',),
    ),
    Entry(
        'ksh.colour',
        'Noise along the principal components of colour gains more than 1 % of top-1 error.',
        'section 4.1',
        _INGREDIENTS,
        printed=(number('top-1 gain, at least', 1.0, 'verified', 'percentage points'),),
        patterns=('Colour noise lowers the test error\\.',),
    ),
    Entry(
        'ksh.dropout',
        'Dropout in the dense layers lowers the error: without it the net overfits.',
        'section 4.2',
        _INGREDIENTS,
        patterns=('Dropout lowers the test error\\.',),
        also=('deck',),
    ),
    Entry('ksh.dropout.slow', 'Dropout about doubles the passes that training takes.', 'section 4.2', _TRAIN),
    Entry(
        'ksh.decay',
        'Weight decay of 0.0005 lowers the training error too: it is no mere regularizer.',
        'section 5',
        'experiments.train with --config.trials.grid over the weight decay; no claim of it is written down yet',
    ),
    Entry(
        'ksh.views',
        'Averaging over ten views of a test image lowers the top-5 error from 18.3 to 17.0 %.',
        'sections 4.1 and 6, Table 1',
        _INGREDIENTS,
        printed=(published('krizhevsky table 1', 'cnn, one centre crop', 'top-5'), published('krizhevsky table 1', 'cnn', 'top-5')),
        patterns=('Averaging ten views at test lowers the test error\\.',),
    ),
    Entry(
        'ksh.several',
        'Averaging five nets lowers the top-5 error from 18.2 to 16.4 %.',
        'section 6, Table 2',
        f'{_COMMITTEE}, at small scale',
        printed=(published('krizhevsky table 2', '1 cnn', 'val top-5'), published('krizhevsky table 2', '5 cnns', 'val top-5')),
    ),
    Entry(
        'ksh.middle',
        'Removing any middle layer costs about 2 % of top-1 error.',
        'section 7',
        _INGREDIENTS,
        printed=(number('top-1 loss', 2.0, 'verified', 'percentage points'),),
        patterns=('A middle layer lowers the test error\\.',),
    ),
    Entry(
        'ksh.learned',
        'Learned features are worth more than hand-made ones.',
        'Tables 1 and 2; the deck',
        'experiments.handmade, configs/handmade.py: in the architecture of the hand-made features',
        printed=(published('krizhevsky table 2', '5 cnns', 'test top-5'), published('krizhevsky table 2', 'sift + fvs', 'test top-5')),
        patterns=('(?P<subject>.*): with the most images, features learned from random weights are above hand-made ones\\.',),
        also=('deck',),
    ),
    Entry(
        'ksh.specialised',
        'One tower learns colours, the other forms, whatever the initial weights.',
        'section 6.1 and Fig. 3',
        closed='pictures that a person reads, of a net of ImageNet; no measure of it is printed',
    ),
    Entry(
        'ksh.size',
        'The net has 60 million parameters and 650,000 neurons.',
        'abstract',
        closed='arithmetic, not an experiment: experiments.describe counts 60,965,224 parameters',
        printed=(number('parameters', 60.0, 'verified', 'million'),),
        also=('deck',),
    ),
)

_CCN = (
    Entry(
        'ccn.80sec',
        'The net of 80 seconds errs on 26 % of CIFAR-10.',
        'its wiki',
        _TRAIN,
        printed=(published('cifar10', 'layers-80sec', 'test error'),),
    ),
    Entry(
        'ccn.18pct',
        'The net without augmentation errs on 18 %.',
        'its wiki',
        f'{_TRAIN}, and the whole schedule is to be run',
        printed=(published('cifar10', 'layers-18pct', 'test error'),),
        measured=(
            Measured(
                *('cifar10.csv', {'network': 'cifar_18pct'}, 'error', published('cifar10', 'layers-18pct', 'test error')),
                *('test error, %', 'one seed, 30 epochs instead of 140'),
            ),
        ),
    ),
    Entry(
        'ccn.13pct',
        'The net on crops, without response normalization, errs on 13 %.',
        'its wiki',
        f'{_TRAIN}, with crops and ten views',
        printed=(published('cifar10', 'layers-13pct', 'test error, augmented'),),
    ),
    Entry(
        'ccn.11pct',
        'The same with response normalization errs on 11 %.',
        'its wiki',
        f'{_TRAIN}, with crops and ten views',
        printed=(published('cifar10', 'layers-11pct', 'test error, augmented'),),
    ),
)

_WAN = (
    Entry(
        'wan.order',
        'DropConnect errs less than dropout, and that less than neither.',
        'sections 6.1 and 6.2, Tables 2 and 4',
        f'{_DROPCONNECT}:mnist (cifar10)',
        printed=tuple(
            number(f'{data}, {way}', error, 'memory')
            for data, errors in (('MNIST', (1.2, 1.28, 1.62)), ('CIFAR-10', (18.7, 19.7, 23.5)))
            for way, error in zip(('DropConnect', 'dropout', 'neither'), errors, strict=True)
        ),
        patterns=('The test error rises from DropConnect (?P<subject>\\S+) to dropout \\S+ to neither\\.',),
    ),
    Entry(
        'wan.best',
        'The order of errors holds where each way drops at its own best rate.',
        'sections 6.1 and 6.2, where all drop at 0.5',
        f'{_DROPCONNECT}:mnist (cifar10, cifar10_large)',
        patterns=('The same where each way drops at the rate that is best on the holdout: (?P<subject>.*)\\.',),
    ),
    Entry(
        'wan.large',
        'In the large net of CIFAR-10 DropConnect errs less than neither, and dropout the most.',
        'section 6.2, Table 5',
        f'{_DROPCONNECT}, its large net',
        printed=tuple(
            number(way, error, 'memory', spread=spread)
            for way, error, spread in (('DropConnect', 11.10, 0.13), ('neither', 11.18, 0.13), ('dropout', 11.52, 0.18))
        ),
        patterns=('The test error rises from DropConnect (?P<subject>\\S+) to neither to dropout \\S+\\.',),
    ),
    Entry(
        'wan.fit',
        'Without dropping, the training images are fitted more closely than with either.',
        'section 6.1, Fig. 4',
        _DROPCONNECT,
        patterns=('Without dropping, the training images are fitted more closely than with either\\.',),
    ),
    Entry(
        'wan.overfit',
        'Without dropping, the net overfits more than with either.',
        'section 6.1, Fig. 4',
        _DROPCONNECT,
        patterns=('Without dropping, more is lost from the training to the test images than with either\\.',),
    ),
    Entry(
        'wan.mnist.vote',
        'A vote of five nets with DropConnect and distortions errs on 0.21 % of MNIST, the least then.',
        'section 6.1, Table 3',
        f'{_DROPCONNECT}, with distortions and a vote',
        printed=(published('mnist', 'dropconnect vote'), number('dropout', 0.27, 'verified-2nd')),
    ),
    Entry(
        'wan.cifar10.vote',
        'A vote of twelve nets with DropConnect errs on 9.32 % of CIFAR-10.',
        'section 6.2, Table 5; the deck',
        f'{_DROPCONNECT}; twelve trainings of 1,500 epochs each, weeks on two cores',
        printed=(published('cifar10', 'dropconnect, 12 nets'), published('deck', 'cifar-10')),
        also=('deck',),
    ),
    Entry('wan.rate', 'A rate of 0.5 is about the best, of DropConnect and of dropout.', 'section 6.1, Fig. 3', _DROPCONNECT),
    Entry(
        'wan.units', 'DropConnect keeps gaining as units are added, where the net without it overfits.', 'section 6.1, Fig. 3', _DROPCONNECT
    ),
    Entry(
        'wan.slow',
        'DropConnect converges more slowly than dropout.',
        'section 6.1, Fig. 4',
        _DROPCONNECT,
        patterns=('DropConnect converges more slowly than dropout\\.',),
    ),
    Entry(
        'wan.inference',
        'Samples of a Gaussian of the same moments come nearer to the average over masks than the mean network does.',
        'section 3.2',
        _DROPCONNECT,
        patterns=(
            'Moment matching, with the most samples and in its limit, is nearer to the average over masks than the mean network is\\.',
        ),
    ),
    Entry(
        'wan.svhn',
        'On house numbers DropConnect (1.94 %) and dropout (1.96 %) are about equal, both below the best before (2.80 %).',
        'section 6.3, Table 6',
        closed='SVHN is not here',
        printed=(number('DropConnect', 1.94, 'verified-2nd'), number('dropout', 1.96, 'verified-2nd')),
    ),
    Entry(
        'wan.norb',
        'On NORB dropout (3.03 %) is below DropConnect (3.23 %).',
        'section 6.4, Table 7',
        closed='NORB is not here',
        printed=(number('DropConnect', 3.23, 'verified-2nd'), number('dropout', 3.03, 'verified-2nd')),
    ),
)

ENTRIES = (*_KSH, *_CCN, *_WAN)
