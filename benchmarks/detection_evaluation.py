"""Times what follows the scores of detection, on one core: non-maximum suppression and average precision.

The problem has the size of VOC 2007's test: 20 classes, 5,000 images, 100 boxes of each class in each image, made up: a quarter of them
anywhere, the others about the image's objects. Boxes are those of the image's proposals, the same for all classes, or each class's own, as
after regression.

  python -m benchmarks.detection_evaluation
  python -m benchmarks.detection_evaluation --images=500 --out=results/detection_evaluation_cpu.md
"""

import sys
import time
from typing import NamedTuple

import numpy as np
from absl import flags

from benchmarks import footing
from cnn_research.reporting import tables
from cnn_research.studies.detection import evaluation

CLASSES, BOXES = 20, 100
KINDS = {'of all classes': False, 'of each class': True}

FLAGS = flags.FlagValues()
_IMAGES = flags.DEFINE_integer('images', 5000, 'How many images.', lower_bound=1, flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', None, 'A Markdown file for the table and how it was made.', flag_values=FLAGS)


class Truth(NamedTuple):
    """The objects of an image."""

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray


def scene(random: np.random.Generator, own: bool) -> tuple[Truth, np.ndarray, np.ndarray]:
    """(objects, boxes (100, 4) or (100, 20, 4), scores (100, 20)); a box about an object has a higher score for its class."""
    near = random.uniform(0, 300, (3, 2))
    objects = np.concatenate([near, near + random.uniform(40, 200, (3, 2))], axis=1)
    labels = random.integers(0, CLASSES, 3)
    shape = (BOXES, CLASSES) if own else (BOXES,)
    of = random.integers(0, 4, shape)  # 3: anywhere
    near = random.uniform(0, 300, (*shape, 2))
    anywhere = np.concatenate([near, near + random.uniform(40, 200, (*shape, 2))], axis=-1)
    about = objects[of % 3] + random.normal(0, 12, (*shape, 4))
    about[..., 2:] = np.maximum(about[..., 2:], about[..., :2] + 4)
    boxes = np.where((of == 3)[..., None], anywhere, about)
    of = of if own else of[:, None]
    scores = random.normal(size=(BOXES, CLASSES)) + 2 * ((of < 3) & (labels[of % 3] == np.arange(CLASSES)))
    return Truth(objects, labels, random.random(3) < 0.1), boxes, scores


def row(kind: str, images: int) -> dict:
    """Seconds of the process for all images."""
    random, truths, found, spent = np.random.default_rng(0), [], [], 0.0
    for _ in range(images):
        truth, boxes, scores = scene(random, KINDS[kind])
        begun = time.process_time()
        found.append(evaluation.detected(boxes, scores, -np.inf))
        spent += time.process_time() - begun
        truths.append(truth)
    begun = time.process_time()
    told = evaluation.evaluated(truths, found, CLASSES)
    return {
        'boxes': kind,
        'images': images,
        'before': images * CLASSES * BOXES,
        'after': sum(len(one.labels) for one in found),
        'suppression': spent,
        'precision': time.process_time() - begun,
        'total': time.process_time() - begun + spent,
        'mean': 100 * told.mean,
    }


def main(arguments: list[str]) -> None:
    FLAGS(arguments)
    columns = [
        tables.Column('boxes'),
        tables.Column('images', format=',d'),
        tables.Column('before', 'detections', ',d'),
        tables.Column('after', 'left', ',d'),
        tables.Column('suppression', 'suppression, s', '.2f'),
        tables.Column('precision', 'average precision, s', '.2f'),
        tables.Column('total', 'together, s', '.2f'),
        tables.Column('mean', 'mAP, %', '.1f'),
    ]
    caption = 'Non-maximum suppression at 0.3 and average precision: processor time, so of one core.'
    lines = [row(kind, _IMAGES.value) for kind in KINDS]
    text = tables.to_markdown(tables.Table(columns, lines, caption))
    footing.finish(text, 'detection_evaluation', arguments[1:], f'numpy {np.__version__}', [], _OUT.value)


if __name__ == '__main__':
    main(sys.argv)
