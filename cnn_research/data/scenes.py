"""Where pictures with boxes come from: embedded scenes ('scenes'), VOC's folders ('voc:DIR') and prepared TFDS sets (any other name)."""

from collections.abc import Sequence

from cnn_research.data import digit_scenes, objects, prepared, voc
from cnn_research.data.images import plain
from cnn_research.data.scene import Scene, Scenes, joined, narrowed, subset, with_classes
from cnn_research.errors import SourceError, nearest

__all__ = ['EMBEDDED', 'Scene', 'Scenes', 'joined', 'narrowed', 'open_scenes', 'open_splits', 'subset', 'with_classes']
EMBEDDED = ('scenes',)


def open_scenes(name: str, split: str, data_dir=None, class_names: Sequence[str] | None = None) -> Scenes:
    """The scenes of a name and split; every box has been read and looked at, no picture decoded.

    name: 'scenes' (300 composed of digits), 'voc:DIR' (a folder with Annotations, JPEGImages and ImageSets/Main) or a prepared TFDS set
    with an `objects` feature, its config and version as in `sources.open_source`. data_dir: as there. class_names: the classes, in order,
    that labels count by; None = the set's own. Give a folder's training classes for its other splits. Raises SourceError for what is not
    there, with what is, for a set or a split without boxes, and for boxes that are empty or outside their picture.
    """
    if name.startswith('folder:'):
        raise SourceError(f"{plain(name)} has classes, but no boxes; a folder with boxes in VOC's form is named voc:DIR.")
    if name.startswith('voc:'):
        return voc.opened(name, split, class_names)
    if name in EMBEDDED:
        splits = tuple(digit_scenes.SEEDS)
        if split not in splits:
            raise SourceError(f'{name} has no split {plain(split)!r}; its splits: {", ".join(splits)}.{nearest(split, splits)}')
        found = digit_scenes.opened(split)
    else:
        found = objects.opened(name, split, prepared.root(data_dir), EMBEDDED)
    if class_names is not None and tuple(class_names) != found.class_names:
        raise SourceError(f'{name} has {found.num_classes} classes of its own; `narrowed` leaves some of them out.')
    return found


def open_splits(name: str, splits: tuple[str, str], fewest: int = 1, data_dir=None) -> tuple[Scenes, Scenes]:
    """The scenes to learn from and those to be judged on, with the classes that have at least `fewest` boxes in the first.

    A class of a folder need not be in the second. SourceError as in `open_scenes`, `with_classes` and `narrowed`, and where pictures are in
    both, as far as names, sizes and boxes tell: of sets whose pictures have no names of their own, a single pair may be alike by chance.
    """
    first, second = (open_scenes(name, split, data_dir) for split in splits)
    if name.startswith('voc:'):  # whose classes are those of the split
        second = open_scenes(name, splits[1], data_dir, tuple(dict.fromkeys((*first.class_names, *second.class_names))))
    alike, named = len(_marks(first) & _marks(second)), {one.name for one in first.objects} & {one.name for one in second.objects}
    if alike > 1 or alike and named:
        raise SourceError(f'{splits[0]} and {splits[1]} of {name} share {alike} pictures; judge on others.')
    train = with_classes(first, fewest)
    return train, narrowed(second, train.class_names)


def _marks(scenes):
    """What tells a picture with boxes from another: its size, and its objects by the names of their classes."""
    named = [(one, tuple(scenes.class_names[label] for label in one.labels)) for one in scenes.objects]
    sizes = scenes.sizes.tolist()
    return {(*size, one.boxes.tobytes(), names) for (one, names), size in zip(named, sizes, strict=True) if names}
