"""Times R-CNN's features of one image: all proposals cut out, warped with context and seen by a network up to fc7, beside PyTorch.

Both sides read the same decoded image, the same boxes and weights, cut the same windows (bilinear, 16 px of context at 227, the mean
outside of the image) in the same batches, and end with the same features in host memory. Weights are random, as no time depends on them.
PyTorch has a process of its own and the fastest of four forms: windows by grid_sample, or by index along rows and then columns; channels
last or contiguous. The sides take turns; what counts is the ratio (above 1: ours is faster).

  python -m benchmarks.detection
  python -m benchmarks.detection --network=alexnet_owt --repeats=9 --out=results/detection_cpu.md
"""

import dataclasses
import itertools
import sys
import time
from collections.abc import Callable

import jax
import numpy as np
from absl import flags

from benchmarks import footing, peer
from cnn_research import config as configs
from cnn_research import features, parallel, tasks
from cnn_research.architecture import Architecture
from cnn_research.errors import ResearchError
from cnn_research.reporting import tables
from cnn_research.studies.detection import windows
from cnn_research.trained import Trained

HEIGHT, WIDTH = 480, 640  # px of the image
PREPROCESSING = {'mean': np.array([122.7, 116.7, 104.0], np.float32), 'scale': np.full(1, 0.02, np.float32)}
FORMS = ('grid_sample', 'rows and columns')

FLAGS = flags.FlagValues()
_NETWORK = flags.DEFINE_string('network', 'caffenet', 'Of the zoo; R-CNN used caffenet.', flag_values=FLAGS)
_TAP = flags.DEFINE_string('tap', 'layer7', 'The layer whose outputs are the features.', flag_values=FLAGS)
_WINDOWS = flags.DEFINE_integer('windows', 2000, 'Proposals of the image.', lower_bound=1, flag_values=FLAGS)
_BATCH = flags.DEFINE_integer('batch', 128, 'Windows at once.', lower_bound=1, flag_values=FLAGS)
_REPEATS = flags.DEFINE_integer('repeats', 5, 'Turns of each side; the ratio is the median over them.', lower_bound=1, flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', None, 'A Markdown file for the table and how it was made.', flag_values=FLAGS)


def network(name: str) -> Trained:
    """A network of the zoo with random weights."""
    config = configs.update(configs.default(), {'architecture': name})
    net = tasks.network(config)
    params = jax.device_get(features.untrained(net, 0))
    return Trained(net.architecture, {'params': params, 'preprocessing': PREPROCESSING}, config, 0)


def scene(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth uint8 image (480, 640, 3), and boxes (n, 4) of all sizes in it."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    edges = np.sort(random.uniform(0, 1, (count, 2, 2)), axis=1)
    edges[:, 1] = np.minimum(edges[:, 1] + 0.04, 1)
    return image, (edges * (HEIGHT, WIDTH)).reshape(count, 4)


def below(net: Architecture, tap: str) -> Architecture:
    """The layers of a network up to one of them; ResearchError where there is no such layer."""
    number = net.row(tap).layer
    return dataclasses.replace(net, layers=tuple(layer for layer in net.layers if layer.number <= number))


def cutter(form: str, image, side: int, context: int) -> Callable:
    """cut(boxes (n, 4)) -> (n, C, side, side) of a prepared image (1, C, H, W), 0 outside of it, in PyTorch."""
    torch = peer.torch
    sizes = torch.tensor(image.shape[2:], dtype=torch.float32)

    def places(boxes):
        """Rows and columns (n, side) that the windows read, in px from the first pixel's middle."""
        middles, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * (side / (side - 2 * context))
        steps = (torch.arange(side) + 0.5) / side
        place = (middles - halves)[..., None] + steps * (2 * halves)[..., None] - 0.5
        return place, (place >= -0.5) & (place <= sizes[:, None] - 0.5)

    def sampled(boxes):
        place, inside = places(boxes)
        rows, columns = ((2 * place + 1) / sizes[:, None] - 1).unbind(1)
        shape = (len(boxes), side, side)
        grid = torch.stack([columns[:, None].expand(shape), rows[:, :, None].expand(shape)], dim=-1)
        whole = image.expand(len(boxes), -1, -1, -1)
        found = torch.nn.functional.grid_sample(whole, grid, mode='bilinear', padding_mode='border', align_corners=False)
        return found * (inside[:, 0, :, None] & inside[:, 1, None])[:, None]

    def indexed(boxes):
        place, inside = places(boxes)
        most = (sizes - 1)[:, None]
        place = torch.minimum(place.clamp(min=0), most)
        first = place.floor()
        share, after = place - first, torch.minimum(first + 1, most).long()
        first, found = first.long(), image.new_empty((len(boxes), image.shape[1], side, side))
        for number, window in enumerate(found):
            (top, left), (bottom, right), (down, across) = first[number], after[number], share[number]
            lines = torch.lerp(image[0][:, top], image[0][:, bottom], down[:, None])
            torch.lerp(lines[:, :, left], lines[:, :, right], across, out=window)
        return found * (inside[:, 0, :, None] & inside[:, 1, None])[:, None]

    return {'grid_sample': sampled, 'rows and columns': indexed}[form]


def theirs(net: Architecture, params, image, boxes, context: int, batch: int) -> Callable:
    """answer((form, channels_last, windows, shown)): the features (n, D) of the first windows, None unless they are to be `shown`."""
    peer.threads()
    torch, side = peer.torch, net.input_shape[0]

    def answer(asked):
        form, last, count, shown = asked
        options = peer.Options('cpu', last)
        with torch.inference_mode():
            if (form, last) not in made:
                prepared = (image.astype(np.float32) - PREPROCESSING['mean']) * PREPROCESSING['scale']
                cut = cutter(form, peer.tensor(prepared[None], options), side, context)
                made[form, last] = cut, peer.loaded(net, params, options).eval()
            cut, model = made[form, last]
            parts = torch.from_numpy(boxes[:count].astype(np.float32)).split(batch)
            found = torch.cat([model(cut(part).contiguous(memory_format=options.layout)).flatten(1) for part in parts])
        return found.numpy() if shown else None

    made: dict = {}
    return answer


def row(name: str, tap: str, count: int, batch: int, repeats: int) -> dict:
    """The table's line. ResearchError for a network or layer that is unknown or has no translation."""
    trained, (image, boxes) = network(name), scene(count)
    net, how = below(trained.architecture, tap), windows.RCNN
    peer.module(net)  # refused here, and not in the other process
    look = windows.looker(trained, (tap,), how, batch, parallel.local_devices(1))
    other = peer.served(theirs, net, trained.variables['params'], image, boxes, how.context, batch)

    def spent(form):
        other((*form, min(batch, count), False))
        begun = time.perf_counter()
        other((*form, min(batch, count), False))
        return time.perf_counter() - begun

    form = min(itertools.product(FORMS, (True, False)), key=spent)
    few = min(batch, count)
    ours, peers = look(image, boxes[:few])[tap], other((*form, few, True))
    times = footing.turns({'ours': lambda: look(image, boxes), 'theirs': lambda: other((*form, count, False))}, repeats)
    middle, span = footing.ratio(times['theirs'], times['ours'])
    return {
        'network': f'{name} up to {tap}',
        'windows': count,
        'batch': batch,
        'ours': float(np.median(times['ours'])),
        'theirs': float(np.median(times['theirs'])),
        'form': f'{form[0]}, {"channels_last" if form[1] else "contiguous"}',
        'ratio': middle,
        'span': span,
        'apart': float(np.abs(ours - peers).max() / np.abs(peers).max()),
    }


COLUMNS = (
    tables.Column('network'),
    tables.Column('windows', format=',d'),
    tables.Column('batch'),
    tables.Column('ours', 'ours, s', '.1f'),
    tables.Column('theirs', 'PyTorch, s', '.1f'),
    tables.Column('form', "PyTorch's fastest"),
    tables.Column('ratio', 'PyTorch / ours', '.2f'),
    tables.Column('span', 'lowest to highest'),
    tables.Column('apart', 'features differ by', '.0e'),
)


def main(argv):
    jax.config.update('jax_platforms', 'cpu')
    try:
        line = row(_NETWORK.value, _TAP.value, _WINDOWS.value, _BATCH.value, _REPEATS.value)
    except ResearchError as error:
        print(f'detection: {error}', file=sys.stderr)
        return 2
    caption = (
        f"The features of one image's proposals, {HEIGHT} x {WIDTH} px, 16 px of context; differences relative to the largest feature."
    )
    notes = [f'{_REPEATS.value} turns of each side, PyTorch in a process of its own, {peer.threads()} threads each']
    footing.finish(
        tables.to_markdown(tables.Table(COLUMNS, [line], caption)), 'detection', argv[1:], f'torch {peer.version()}', notes, _OUT.value
    )


if __name__ == '__main__':
    FLAGS(sys.argv)
    sys.exit(main(sys.argv))
