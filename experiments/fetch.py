"""Fetches MNIST or CIFAR-10 as their authors published them, and prepares them as TFDS does, without TensorFlow.

    python -m experiments.fetch --name=mnist
    python -m experiments.fetch --name=cifar10 --out=DATA
    python -m experiments.fetch --name=cifar10 --out=DATA --mirror=http://server/folder

--out=DIR is the folder of the prepared sets, by default where every command looks for them: $CNN_RESEARCH_DATA, else $TFDS_DATA_DIR, else
~/tensorflow_datasets. What was fetched is held against the published checksum, and an interrupted download goes on. Without a network,
put the published files into DIR/downloads by hand and give the same command; --mirror=URL names another server that has them.
The examples and their order are those that `tfds build` gives.
"""

from absl import flags

from cnn_research.data import prepared, published
from cnn_research.data.sources import open_source
from cnn_research.errors import ConfigError, nearest
from experiments.launch import command, plans

FLAGS = flags.FlagValues()  # of this command alone, so that commands can be imported together
_NAME = flags.DEFINE_string('name', '', f'{" or ".join(published.SETS)}.', flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', '', 'The folder of the prepared sets.', flag_values=FLAGS)
_MIRROR = flags.DEFINE_string('mirror', '', 'The address of a folder with the same files.', flag_values=FLAGS)


def main() -> None:
    if _NAME.value not in published.SETS:
        choices = ' or '.join(f'--name={name}' for name in published.SETS)
        raise ConfigError(f'there is nothing to fetch by the name {_NAME.value!r}; give {choices}.{nearest(_NAME.value, published.SETS)}')
    root = prepared.root(_OUT.value or None)
    home = published.fetch(_NAME.value, root, _MIRROR.value, lambda line: print(f'[fetch] {line}', flush=True))
    for split in ('train', 'test'):
        source = open_source(f'{_NAME.value}:{home.name}', split, root)
        plans.say(source.notes)
        print(f'{source.name} ({split}): {source.num_examples:,} examples of {source.num_classes} classes')
    print(f'prepared: {home}; use it by --config.data.name={_NAME.value} --config.data.dir={root}')


if __name__ == '__main__':
    command.run_with_flags('fetch', main, __doc__, FLAGS)
