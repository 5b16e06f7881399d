"""The fields of a training: each one's type, default, unit and meaning."""

from dataclasses import dataclass
from typing import Any

from cnn_research.data import NORMALIZATIONS, PREPROCESSINGS

KERNELS = {
    'he': 'N(0, sqrt(2 / fan-in)) (He et al. 2015)',
    'normal': 'N(0, std), std from initialization.std or, by layer, initialization.stds (Krizhevsky et al. 2012; cuda-convnet)',
    'uniform': 'uniform within 2.4 / fan-in (LeCun et al. 1998, appendix A)',
    'glorot': 'uniform within sqrt(3 / fan-in) (the fan-in form of Glorot & Bengio 2010 that Caffe calls xavier)',
}
LOSSES = {
    'softmax': 'multinomial logistic loss on the logits',
    'squared_error': 'sum over classes of (output - one-hot target)^2',
    'radial_basis': "LeNet-5's eq. 9 on minus the squared distances",
}
SCHEDULES = {
    'constant': 'learning_rate throughout',
    'steps': 'times the factors in schedule.drops, from the epochs that they name',
    'plateau': 'times schedule.factor when the holdout error has not fallen for schedule.patience evaluations',
    'cosine': 'linear over schedule.warmup, then half a cosine to 0',
    'trapezoid': 'linear over schedule.warmup, flat, linear to 0 over schedule.cooldown',
}
OPTIMIZERS = {
    'momentum': 'v <- momentum v - rate (gradient + decay w); w <- w + v (Krizhevsky et al. 2012)',
    'sdlm': 'momentum, each gradient over 0.02 + its second derivative, estimated before each pass (LeCun et al. 1998, appendix C)',
    'adam': 'Adam (Kingma & Ba 2015), decay added to the gradient',
    'adamw': 'Adam with decoupled decay (Loshchilov & Hutter 2019)',
}


@dataclass(frozen=True)
class Field:
    """One field: its dotted name, default (whose type is the field's type), meaning with unit, and what is valid."""

    name: str
    default: Any
    meaning: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


def duration(name: str, meaning: str, **default) -> tuple[Field, ...]:
    """The three fields of a duration, one for each unit."""
    return (
        Field(
            f'{name}.epochs',
            float(default.get('epochs', 0)),
            f'{meaning}, in passes over the training examples; 0 = not set',
            low=0,
            high=1e9,
        ),
        Field(f'{name}.steps', default.get('steps', 0), f'{meaning}, in steps; 0 = not set', low=0, high=2**31 - 1),
        Field(f'{name}.examples', default.get('examples', 0), f'{meaning}, in examples; 0 = not set', low=0),
    )


FIELDS = (
    Field('architecture', 'alexnet_32', "a name of the zoo, then surgery: 'zfnet without(3,4) resized(6=2048,7=2048)'"),
    Field('architecture_json', '', 'the same, resolved; filled in by check, and what a saved config is restored from'),
    Field('seed', 0, 'of the initial weights, the order of examples and all randomness', low=0, high=2**32 - 1),
    Field('dtype', 'float32', 'of the computation; weights are float32 (bfloat16 was not measured on a GPU)', ('float32', 'bfloat16')),
    Field('initialization.kernel', 'he', 'how kernels begin', tuple(KERNELS)),
    Field('initialization.std', 0.01, "standard deviation of 'normal' kernels", low=0),
    Field('initialization.stds', '', "other standard deviations by layer: '1=0.0001,4=0.1'"),
    Field('initialization.biases', '', "biases that do not begin at 0, by layer: '2=1,4=1'"),
    Field(
        'data.name',
        'clutter',
        "a source: 'clutter', 'digits', 'folder:DIR' (DIR/SPLIT/CLASS/**, transparent pixels composed on white, turned as EXIF says, "
        "the first frame) or a TFDS set such as 'mnist', 'mnist:3.0.1', 'imagenet2012'",
    ),
    Field('data.dir', '', "folder of the TFDS sets; '' = $CNN_RESEARCH_DATA, $TFDS_DATA_DIR or ~/tensorflow_datasets"),
    Field('data.train', 'train', 'split whose examples gradients see, less the holdout'),
    Field('data.test', 'test', 'split that is read only to report'),
    Field('data.examples', 0, 'train on this many examples only; 0 = all', low=0),
    Field('data.per_class', 0, 'train on this many examples of each class only, drawn by the seed; 0 = all', low=0),
    Field('data.test_examples', 0, 'report on the first this many of the test split only; 0 = all', low=0),
    Field('data.holdout', 0.1, 'share of the training split that choices look at instead of the test split', low=0, high=0.9),
    Field('data.batch_size', 128, 'examples in a step, over all devices', low=1),
    Field(
        'data.preprocessing',
        'none',
        'of every image as its source gives it, before data.resize, when learning and when told',
        tuple(PREPROCESSINGS),
    ),
    Field('data.resize', 0, 'short side in px that images are scaled to before a centre crop; 0 = as they are', low=0),
    Field('data.normalization', 'mean_image', 'what becomes of uint8 pixels', tuple(NORMALIZATIONS)),
    Field('data.statistics_examples', 50000, 'training examples, evenly spaced, that means and covariances come from', low=1),
    Field('data.resident_gb', 4.0, 'a split up to this many GB of pixels lives on the device; a larger one is streamed', low=0),
    Field('data.workers', 4, 'processes that decode a streamed split', low=0),
    Field('augment.crop', False, 'random instead of centre crops of images larger than the network reads'),
    Field('augment.flip', False, 'mirror half of the training images'),
    Field('augment.colour', 0.0, 'standard deviation of the PCA colour noise (0.1 in Krizhevsky et al. 2012)', low=0),
    Field('augment.shift', 0.0, 'largest shift, as a share of the side', low=0, high=1),
    Field('augment.scale', 0.0, 'largest relative change of size', low=0, high=0.9),
    Field('augment.rotation', 0.0, 'largest rotation, in degrees', low=0, high=180),
    Field('augment.shear', 0.0, 'largest horizontal shear, as a ratio', low=0, high=1),
    Field('augment.elastic', 0.0, 'elastic distortion (Simard et al. 2003): its alpha, in px', low=0),
    Field('augment.elastic_sigma', 8.0, 'smoothness of the elastic distortion, in px', low=0),
    Field('loss.name', 'softmax', 'what is minimised', tuple(LOSSES)),
    Field('loss.j', 1.0, "the constant j of the 'radial_basis' loss; the paper calls it positive and gives no value", low=0),
    Field('optimizer.name', 'momentum', 'the update rule', tuple(OPTIMIZERS)),
    Field('optimizer.learning_rate', 0.01, 'per step, for the mean gradient over the batch', low=0),
    Field('optimizer.momentum', 0.9, "of 'momentum' and 'sdlm' (0 in LeCun et al. 1998), and the first decay of Adam", low=0, high=1),
    Field('optimizer.weight_decay', 0.0, 'multiplied by the learning rate', low=0),
    Field('optimizer.bias_rate', 1.0, 'learning rate of biases, relative (2 in Caffe and cuda-convnet)', low=0),
    Field('optimizer.bias_decay', 1.0, 'weight decay of biases, relative (0 in Caffe and cuda-convnet)', low=0),
    Field('optimizer.rates', '', "relative learning rates by layer: '5=10'"),
    Field('optimizer.decays', '', "relative weight decays by layer: '1=0,5=250'"),
    Field('optimizer.trainable', '', "layers that learn, the others stay as they begin: '5,8'; '' = all"),
    Field(
        'optimizer.max_rms', 0.0, 'convolution filters of larger RMS are scaled back to it (0.1 in Zeiler & Fergus 2013); 0 = off', low=0
    ),
    *duration('schedule', 'length of the training', epochs=5),
    Field('schedule.kind', 'constant', 'how the learning rate moves', tuple(SCHEDULES)),
    Field('schedule.drops', '', "for 'steps': factor from an epoch on, '120=0.1,130=0.01'"),
    Field('schedule.factor', 0.1, "for 'plateau': what the rate is multiplied by", low=0, high=1),
    Field('schedule.patience', 5, "for 'plateau': evaluations without a lower holdout error", low=1),
    *duration('schedule.warmup', 'length of the rise'),
    *duration('schedule.cooldown', 'length of the fall'),
    *duration('evaluate.every', 'between looks at the holdout', epochs=1),
    Field('evaluate.batch_size', 500, 'examples at once, over all devices', low=1),
    Field('evaluate.views', 'centre', 'of a test image', ('centre', 'ten')),
    *duration('checkpoint.every', 'between saved states', epochs=1),
    Field('checkpoint.keep', 2, 'saved states that stay', low=1),
    Field('checkpoint.marks', '', "epochs whose states stay as well: '1,2,5,10,20,30,40,64', as Zeiler & Fergus 2013, Fig. 4, show"),
    *duration('log.every', 'between lines of metrics.jsonl', epochs=0.1),
    Field('log.stuck_after', 1000, 'steps after which a loss still at ln(classes) is said aloud; 0 = never', low=0),
    Field('log.tensorboard', False, 'also write the metrics for TensorBoard (pip install tensorboardX)'),
    Field(
        'log.wandb', '', "project of Weights & Biases that also gets them (pip install 'cnn-research[wandb]'); WANDB_MODE=offline: files"
    ),
    Field('log.profile_steps', 0, 'steps that are traced into WORKDIR/profile, from the eleventh on', low=0),
    Field(
        'parallel.coordinator',
        '',
        'HOST:PORT of process 0, where several processes train one network on all their devices, each with its slice of every batch and '
        'all with one workdir; give each the same command and its own parallel.process and, on one machine, its own CUDA_VISIBLE_DEVICES',
    ),
    Field(
        'parallel.processes',
        0,
        'how many processes train together; 0 = one or, in a SLURM step, a Kubernetes indexed job or a TPU pod, as many as jax.distributed '
        'finds there; 1 = this one alone wherever it is',
        low=0,
        high=2**16,
    ),
    Field('parallel.process', 0, 'which of parallel.processes this one is, counted from 0; process 0 alone writes', low=0, high=2**16),
)
