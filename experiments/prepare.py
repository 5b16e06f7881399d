"""Makes photographs small once, so that trainings read them fast: an image folder or a TFDS set becomes a set of the wanted short side.

    python -m experiments.prepare --source=folder:ILSVRC2012 --out=DATA
    python -m experiments.prepare --source=imagenet2012 --data_dir=TFDS --out=DATA --side=256 --quality=92
    python -m experiments.prepare --source=folder:PHOTOS --out=DATA --name=photos --form=raw --splits=train,val

--source is folder:DIR (images in DIR/SPLIT/CLASS/, as train/WNID/*.JPEG) or a prepared TFDS set (in --data_dir). --out=DIR is the folder
of the sets, --name the new one's name (default: the source's, with the side). --form is jpeg, of --quality, or raw uint8, which takes ten
times the room; --square keeps the central squares alone, all that a training with data.resize=SIDE sees, in three quarters of the room.
--workers processes share the work (default: one a core). Stopped at any moment, the same command goes on. What cannot be
read is left out, counted on the last line and named in DIR/NAME/1.0.0/unreadable.csv.
"""

import os
import shlex
import sys
import time

from absl import flags

from cnn_research.data import images, prepare, prepare_shard
from cnn_research.errors import ConfigError
from experiments.launch import command

FLAGS = flags.FlagValues()  # of this command alone, so that commands can be imported together
_SOURCE = flags.DEFINE_string('source', '', 'folder:DIR or a prepared TFDS set.', flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', '', 'The folder of the sets in which the new one is made.', flag_values=FLAGS)
_NAME = flags.DEFINE_string('name', '', 'What the new set is called.', flag_values=FLAGS)
_SIDE = flags.DEFINE_integer('side', 256, 'The short side in px.', flag_values=FLAGS)
_FORM = flags.DEFINE_enum('form', 'jpeg', prepare_shard.FORMS, 'How pixels are stored.', flag_values=FLAGS)
_QUALITY = flags.DEFINE_integer('quality', 92, 'Of the JPEGs, 1 to 100.', flag_values=FLAGS)
_SQUARE = flags.DEFINE_bool('square', False, 'Keep the central squares alone.', flag_values=FLAGS)
_SPLITS = flags.DEFINE_list('splits', [], 'The splits; by default all that have labels.', flag_values=FLAGS)
_WORKERS = flags.DEFINE_integer('workers', os.cpu_count() or 1, 'Processes.', lower_bound=1, flag_values=FLAGS)
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'The folder of the TFDS set that is the source.', flag_values=FLAGS)


def _say(line: str) -> None:
    print(f'{time.strftime("%H:%M:%S")} {line}', file=sys.stderr, flush=True)


def main() -> None:
    if not _SOURCE.value or not _OUT.value:
        raise ConfigError('name the images and the place: --source=folder:DIR or a TFDS set, --out=DIR.')
    settings = prepare_shard.Settings(_SIDE.value, _FORM.value, _QUALITY.value, _SQUARE.value)
    given = prepare.plan(_SOURCE.value, _OUT.value, settings, _NAME.value, _SPLITS.value, _DATA_DIR.value)
    if images.fast() is None:
        _say("note: JPEGs are decoded by Pillow; simplejpeg gives the same pixels in half the time: pip install 'cnn-research[fast]'")
    begun = time.monotonic()
    done = prepare.carry_out(given, _WORKERS.value, _say)
    for line in done.said:
        print(line)
    place = shlex.quote(str(given.directory.parents[1]))
    print(f'use it by --config.data.name={given.name} --config.data.dir={place}')
    counts = ', '.join(f'{split} {written:,} of {listed:,}' for split, (listed, written) in done.counts.items())
    named = f', named in {done.table}' if done.unreadable else ''
    print(f'{given.name}: {counts} images in {time.monotonic() - begun:.0f} s; {done.unreadable} unreadable{named}')


if __name__ == '__main__':
    command.run_with_flags('prepare', main, __doc__, FLAGS)
