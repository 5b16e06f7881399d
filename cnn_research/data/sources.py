"""Where examples come from: named, counted, fingerprinted sources, read by index.

Embedded sets ('digits', 'clutter'), image folders ('folder:DIR') and prepared TFDS sets (any other name). TensorFlow is never imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnn_research.data import clutter, folders, prepared
from cnn_research.data.images import plain
from cnn_research.data.source import Source, joined, sha256, subset
from cnn_research.data.verify import verified
from cnn_research.errors import SourceError, nearest

__all__ = ['EMBEDDED', 'Source', 'joined', 'open_source', 'open_splits', 'same_place', 'subset', 'verified']
EMBEDDED = ('digits', 'clutter')


def open_source(name: str, split: str, data_dir=None, class_names: Sequence[str] | None = None) -> Source:
    """The source of a name and split; nothing but what identifies it is read yet.

    name: 'digits', 'clutter', 'folder:DIR' (images in DIR/SPLIT/CLASS/, however deep) or a prepared TFDS set, with its config and version
    where it has them ('imagenette/160px-v2', 'mnist:3.0.1'). Splits of a TFDS set may be slices such as 'train[:10%]'.
    data_dir: where prepared TFDS sets are; default: the environment variable CNN_RESEARCH_DATA, else TFDS_DATA_DIR, else
    ~/tensorflow_datasets.
    class_names: the classes, in order, that labels count by; None = the set's own. The own classes of an image folder are those of this
    split alone, plain numbers in the order of numbers and other names in that of text: give those of the training split for another
    split, or use `open_splits`. Raises SourceError for what is not there, with what is, and for images of other classes.
    """
    if name.startswith('folder:'):
        return folders.opened(name, split, class_names)
    source = _embedded(name, split) if name in EMBEDDED else prepared.opened(name, split, prepared.root(data_dir), EMBEDDED)
    if class_names is not None and tuple(class_names) != source.class_names:
        raise SourceError(f'{name} has {source.num_classes} classes of its own, which cannot be changed to {len(class_names)} others.')
    return source


def open_splits(name: str, splits: Sequence[str], data_dir=None) -> tuple[Source, ...]:
    """Splits of one set with the same classes, those of the first, which is the one to learn from.

    Every class folder of the first must hold an image. A later split may lack classes, which its notes say, but have no others:
    SourceError. See `open_source`.
    """
    first = open_source(name, splits[0], data_dir)
    return first, *(open_source(name, split, data_dir, first.class_names) for split in splits[1:])


def same_place(first: str, second: str) -> bool:
    """Whether two names of sources are the same name, or name the same folder ('folder:DIR/', relative, through links)."""
    if first == second or not first.startswith('folder:') or not second.startswith('folder:'):
        return first == second
    return folders.directory(first).resolve() == folders.directory(second).resolve()


def _embedded(name, split):
    if split not in clutter.SEEDS:
        raise SourceError(f'{name} has no split {plain(split)!r}; its splits: {", ".join(clutter.SEEDS)}.{nearest(split, clutter.SEEDS)}')
    images, labels = clutter.digits(split)
    read, count, shape = _DigitsRead(split), len(images), (clutter.DIGIT, clutter.DIGIT, 1)
    parts = [f'{name} {split}'.encode(), images.tobytes(), labels.astype('<i4').tobytes()]
    if name == 'clutter':
        read, count, shape = _ClutterRead(split), clutter.NUM_EXAMPLES[split], (clutter.SIDE, clutter.SIDE, 3)
        # The first composites stand for the generator and its constants: making all of them to hash them would take seconds.
        parts += [str(count).encode(), *(array.tobytes() for array in clutter.examples(split, np.arange(64)))]
    return Source(name, split, count, 10, tuple('0123456789'), shape, sha256(*parts), read)


@dataclass(frozen=True)
class _DigitsRead:
    split: str

    def __call__(self, indices):
        return list(clutter.digits(self.split)[0][np.asarray(indices, np.int64), :, :, None]), self.labels(indices)

    def labels(self, indices):
        return clutter.digits(self.split)[1][np.asarray(indices, np.int64)]


@dataclass(frozen=True)
class _ClutterRead:
    split: str

    def __call__(self, indices):
        images, labels, _ = clutter.examples(self.split, indices)
        return list(images), labels

    def labels(self, indices):
        labels = clutter.digits(self.split)[1]
        return labels[np.asarray(indices, np.int64) % len(labels)]
