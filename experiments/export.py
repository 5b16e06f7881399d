"""Writes a trained network as a .safetensors file, from which every command that takes published weights reads the same to the bit.

    python -m experiments.export --network=runs/demo/trials/KEY --out=net.safetensors
    python -m experiments.export --network=alexnet.pth --out=alexnet.safetensors
    python -m experiments.export --network=WORKDIR --step=4000 --out=early.safetensors

--network=PATH names the workdir of a training or a file of weights, --step=N an earlier state of a training. Where torchvision's AlexNet
computes the same (alexnet_owt, of any widths, number of classes and dropout), the arrays are in its layout and load into it with
load_state_dict; of any other network they are in ours, layer1.convolution.kernel (H, W, I, O). Architecture, preprocessing and names of
classes go with them. A file that is there already is never overwritten.
"""

from absl import flags

from cnn_research import checkpoints
from cnn_research.data import preprocessing
from cnn_research.errors import ConfigError
from cnn_research.models import pretrained
from experiments.launch import command, plans

FLAGS = flags.FlagValues()  # of this command alone, so that commands can be imported together
_NETWORK = flags.DEFINE_string('network', '', 'A workdir, or a file of weights.', flag_values=FLAGS)
_STEP = flags.DEFINE_integer(
    'step', 0, 'The step of a checkpoint; 0 = that of the result, or the newest.', lower_bound=0, flag_values=FLAGS
)
_OUT = flags.DEFINE_string('out', '', 'The file to write, NAME.safetensors.', flag_values=FLAGS)


def main() -> None:
    if not _NETWORK.value or not _OUT.value:
        raise ConfigError('name the network and the file: --network=WORKDIR --out=NAME.safetensors.')
    trained = checkpoints.trained(_NETWORK.value, _STEP.value or None)
    preprocessing.refuse(trained.config.data.preprocessing, 'a program that reads a file of weights')
    resize, names = trained.config.data.resize, trained.class_names
    said = pretrained.export(_OUT.value, trained.architecture, trained.variables, names, resize, trained.image_shape)
    dtype = trained.config.dtype
    rounded = [] if dtype == 'float32' else [f'it was trained in {dtype}; from the file it is computed in float32']
    plans.say([*trained.notes, *said, *rounded])
    print(f'weights: {_OUT.value}')


if __name__ == '__main__':
    command.run_with_flags('export', main, __doc__, FLAGS)
