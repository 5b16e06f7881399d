"""Trainings of a perceptron on a few digits, of which tests need many."""

import jax
import numpy as np
from PIL import Image

from cnn_research import checkpoints, train
from cnn_research import config as configs

SETTINGS = {
    'architecture': 'perceptron',
    'data.name': 'digits',
    'data.examples': 200,
    'data.test_examples': 100,
    'data.holdout': 0.02,
    'data.batch_size': 20,
    'data.normalization': 'mean_std',
    'loss.name': 'squared_error',
    'optimizer.learning_rate': 0.02,
    'schedule.steps': 12,
    'checkpoint.every.steps': 4,
    'log.every.steps': 2,
}
ONE = jax.local_devices()[:1]


def config(**changes):
    return configs.update(configs.default(), {**SETTINGS, **{name.replace('__', '.'): value for name, value in changes.items()}})


def fit(workdir, given=None, after=None, starts=None):
    """(the run, what was said); after: steps after which it is stopped."""
    said, left = [], iter([False] * after + [True]) if after is not None else None

    def watch(event):
        said.append(event.get('note') or '')
        if starts is not None and 'start' in event:
            starts.append(event['start'])

    try:
        run = train.fit(given or config(), workdir, devices=ONE, watch=watch, stop=(lambda: next(left)) if left else lambda: False)
    except train.Stopped:
        run = None
    return run, [note for note in said if note]


def outcome(workdir):
    arrays = checkpoints.read(workdir, checkpoints.steps(workdir)[-1])
    return {name: array.tobytes() for name, array in arrays.items()}, *(
        (workdir / name).read_text() for name in ('metrics.jsonl', 'result.json')
    )


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swap(one, other):
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def folder(root, shades=(40, 200)):
    for split, count in (('train', 8), ('test', 4)):
        for label, shade in zip(('a', 'b'), shades, strict=True):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = np.random.default_rng(number).integers(0, 40, (12, 12)) + shade
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / split / label / f'{number}.png')
    return f'folder:{root}'
