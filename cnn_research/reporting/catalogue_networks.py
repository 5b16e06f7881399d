"""The claims of Krizhevsky et al. 2012, of Krizhevsky's cuda-convnet and of Wan et al. 2013."""

from cnn_research.reporting.catalogue import Entry, Measured, number
from cnn_research.reporting.published import published

_COMMITTEE, _INGREDIENTS, _DROPCONNECT = 'a table of committees', 'a table of ingredients', 'a table of DropConnect, dropout and neither'
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
        f'{_INGREDIENTS}, or experiments.nonlinearity with several seeds; the paper does not say which net it is',
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
        f'{_INGREDIENTS}; configs/cifar.py with and without it',
        printed=(
            *_gain('local response normalization'),
            *(published('cifar10', f'four layers {how} lrn', 'test error') for how in ('without', 'with')),
        ),
        also=('deck', 'ccn'),
    ),
    Entry(
        'ksh.pooling',
        'Overlapping pooling gains 0.4 % of top-1 error, and such nets overfit a little less.',
        'section 3.4',
        _INGREDIENTS,
        printed=_gain('overlapping pooling'),
        also=('deck',),
    ),
    Entry(
        'ksh.towers',
        'Two towers on two GPUs gain 1.7 % of top-1 error over one GPU with half the kernels.',
        'section 3.2',
        closed=f'{_IMAGENET}; the net of half width is in no table of small scale',
        printed=_gain('two towers'),
    ),
    Entry('ksh.crops', 'Without crops and mirror images the net overfits badly.', 'section 4.1', _INGREDIENTS, also=('deck',)),
    Entry(
        'ksh.colour',
        'Noise along the principal components of colour gains more than 1 % of top-1 error.',
        'section 4.1',
        _INGREDIENTS,
        printed=(number('top-1 gain, at least', 1.0, 'verified', 'percentage points'),),
    ),
    Entry('ksh.dropout', 'Without dropout the net overfits badly.', 'section 4.2', _INGREDIENTS, also=('deck',)),
    Entry('ksh.dropout.slow', 'Dropout about doubles the passes that training takes.', 'section 4.2', _INGREDIENTS),
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
        'experiments.evaluate with one view and with ten; no claim of it is written down yet',
        printed=(published('krizhevsky table 1', 'cnn, one centre crop', 'top-5'), published('krizhevsky table 1', 'cnn', 'top-5')),
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
        'experiments.depth_ablation with rows of one layer each; the table removes layers 3 and 4 together',
        printed=(number('top-1 loss', 2.0, 'verified', 'percentage points'),),
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
        f'{_INGREDIENTS}; the net is not in configs/cifar.py yet',
        printed=(published('cifar10', 'layers-80sec', 'test error'),),
    ),
    Entry(
        'ccn.18pct',
        'The net without augmentation errs on 18 %.',
        'its wiki',
        f'{_INGREDIENTS}: configs/cifar.py:cifar10 with the whole schedule',
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
        f'{_INGREDIENTS}: the 13 % net with crops and ten views',
        printed=(published('cifar10', 'layers-13pct', 'test error, augmented'),),
    ),
    Entry(
        'ccn.11pct',
        'The same with response normalization errs on 11 %.',
        'its wiki',
        f'{_INGREDIENTS}: the 11 % net with crops and ten views',
        printed=(published('cifar10', 'layers-11pct', 'test error, augmented'),),
    ),
)

_WAN = (
    Entry(
        'wan.mnist.order',
        'On MNIST (800-800 units) DropConnect errs least, then dropout, then neither.',
        'section 6.1, Table 2',
        _DROPCONNECT,
        printed=tuple(number(name, error, 'memory') for name, error in (('DropConnect', 1.2), ('dropout', 1.28), ('neither', 1.62))),
    ),
    Entry(
        'wan.mnist.vote',
        'A vote of five nets with DropConnect and distortions errs on 0.21 % of MNIST, the least then.',
        'section 6.1, Table 3',
        f'{_DROPCONNECT}, with distortions and a vote',
        printed=(published('mnist', 'dropconnect vote'), number('dropout', 0.27, 'verified-2nd')),
    ),
    Entry(
        'wan.cifar10.order',
        "On CIFAR-10 (cuda-convnet's three layers) DropConnect errs least, then dropout, then neither.",
        'section 6.2, Table 4',
        _DROPCONNECT,
        printed=tuple(number(name, error, 'memory') for name, error in (('DropConnect', 18.7), ('dropout', 19.7), ('neither', 23.5))),
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
    Entry('wan.slow', 'DropConnect converges slower than dropout, and that slower than neither.', 'section 6.1, Fig. 4', _DROPCONNECT),
    Entry(
        'wan.inference',
        'Samples of a Gaussian of the same moments come nearer to the average over masks than the mean network does.',
        'section 3.2',
        _DROPCONNECT,
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
