"""Times what looks into a network: the pass that finds the strongest images, occlusion beside Captum's, and projections of many units.

Weights are random, as no time depends on them; images are noise. Both sides of a comparison have the same weights, the same images and
the same machine, and take turns, Captum in a process of its own; what counts is the ratio (above 1: ours is faster).

  python -m benchmarks.looking
  python -m benchmarks.looking --repeats=9 --out=results/looking_cpu.md
  python -m benchmarks.looking --device=gpu --out=results/looking_gpu.md
"""

import sys
import time
from collections.abc import Callable, Iterator

import captum
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from captum.attr import Occlusion

from benchmarks import footing, peer
from benchmarks.footing import ratio, turns
from cnn_research import parallel
from cnn_research.data import augment, stream
from cnn_research.data.sources import Source
from cnn_research.errors import ConfigError
from cnn_research.models import zoo
from cnn_research.models.network import Network
from cnn_research.reporting import tables
from cnn_research.studies.looking import activations, occlusion, projection

BATCH = 100  # images at once in a pass
# (network, images, highest layer whose units are watched: the highest with maps, as the command does by default, and the last but one)
PASSES = (
    ('zfnet_32', 5000, 5),
    ('zfnet_32', 5000, 7),
    ('zfnet_128', 500, 5),
    ('zfnet_128', 500, 7),
    ('alexnet_owt', 200, 5),
    ('alexnet_owt', 200, 7),
)
# (network, side and stride of the square, images)
SQUARES = (('zfnet_32', 8, 1, 4), ('zfnet_128', 32, 4, 4), ('alexnet_owt', 56, 14, 2))
BATCHINGS = (1, 8, 16, 32, 64, 128)  # Captum's perturbations_per_eval that are tried; 1 is its default
PROJECTED = (('zfnet_32 resized(5=256)', 'layer5.relu'), ('zfnet_128 resized(5=256)', 'layer5.relu'), ('zfnet', 'layer5.relu'))
UNITS, STRONGEST, TOGETHER = 256, 9, 144
# The same of one narrow network, to see that everything runs.
_NARROW = 'zfnet_32 resized(1=4,2=4,3=6,4=6,5=256,6=8,7=8)'
SMALL_PASSES, SMALL_SQUARES, SMALL_PROJECTED = ((_NARROW, 120, 5),), ((_NARROW, 16, 16, 2),), ((_NARROW, 'layer5.relu'),)
AS_IT_IS = {'mean': np.full(3, 120, np.float32), 'scale': np.full(3, 0.015, np.float32)}

FLAGS = flags.FlagValues()
_REPEATS = flags.DEFINE_integer('repeats', 5, 'Turns of each side; the ratio is the median over them.', lower_bound=1, flag_values=FLAGS)
_DEVICE = flags.DEFINE_enum('device', 'cpu', ['cpu', 'gpu'], 'Where both sides run, in float32.', flag_values=FLAGS)
_SMALL = flags.DEFINE_bool('small', False, 'One narrow network, to see that everything runs.', flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', None, 'A Markdown file for the tables and how they were made.', flag_values=FLAGS)


def network(name: str) -> tuple[Network, dict]:
    """A network of the zoo, and its variables: He's initialization, so that nothing fades away towards the top."""
    net = Network(zoo.architecture(name))
    params = jax.device_get(jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, *net.architecture.input_shape))))['params']
    random = np.random.default_rng(0)

    def drawn(leaf):
        spread = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if leaf.ndim > 1 else 0.0
        return (spread * random.standard_normal(leaf.shape)).astype(np.float32)

    return net, {'params': jax.tree.map(drawn, params), 'preprocessing': AS_IT_IS}


def noise(net: Network, count: int) -> np.ndarray:
    """Smooth uint8 images (N, H, W, C) of the network's size."""
    height, width, channels = net.architecture.input_shape
    coarse = np.random.default_rng(1).integers(0, 256, (count, -(-height // 8), -(-width // 8), channels), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


def source(net: Network, count: int) -> Source:
    """`noise` as a source."""
    images, names = noise(net, count), tuple(map(str, range(10)))
    return Source(
        'noise', 'test', count, 10, names, images.shape[1:], f'noise {count}', lambda chosen: (images[chosen], np.zeros(len(chosen), int))
    )


def forward(net: Network, variables: dict, feed: stream.Feed) -> Callable[[], np.ndarray]:
    """The plain pass: the most probable class of every example of a resident feed, steps queued without waiting."""

    def step(variables, store, batch):
        seen = augment.prepare(stream.fetch(store, batch)[0], variables['preprocessing'], net.architecture.input_shape)
        return jnp.argmax(net.apply({'params': variables['params']}, seen)[0], axis=1)

    run = jax.jit(step, compiler_options=parallel.compiler_options())

    def passed():
        placed, store = jax.device_put(variables), jax.device_put(feed.store)
        return np.concatenate([run(placed, store, feed.batch(number)) for number in range(feed.steps)])

    return passed


def strongest_row(name: str, count: int, highest: int, repeats: int) -> dict:
    """The nine strongest images of every unit of layers 1 to `highest`, against the forward pass."""
    net, variables = network(name)
    feed = stream.evaluation_feed(source(net, count), BATCH, 0, 4.0, 0)
    layers = [layer for layer in net.architecture.layers if layer.number <= highest]
    taps = [f'{layer.name}.{stage}' for layer in layers for stage, kind in layer.named_stages() if kind.role == 'nonlinearity']
    units = sum(net.architecture.row(tap).output[-1] for tap in taps)
    sides = {'plain': forward(net, variables, feed), 'top': lambda: activations.strongest(net, variables, feed, taps, STRONGEST)}
    spent = turns(sides, repeats)
    middle, span = ratio(spent['plain'], spent['top'])
    speeds = {side: count / np.median(seconds) for side, seconds in spent.items()}
    return {'network': name, 'images': count, 'layers': f'1 to {highest}', 'units': units, **speeds, 'ratio': middle, 'span': span}


def occluded_row(name: str, size: int, stride: int, count: int, repeats: int, device: str = 'cpu') -> dict:
    """p(true class) under all places of a square: ours, which also gives the map's activation and the class, against Captum's."""
    net, variables = network(name)
    images = noise(net, count)
    square = occlusion.Square(size, stride)
    seen, painted = map(np.asarray, occlusion.prepared(images, variables, net.architecture.input_shape, square.colour))
    labels = np.argmax(np.asarray(net.apply({'params': variables['params']}, seen)[0]), axis=1)
    places = len(occlusion.occlude(net, variables, images[:1], labels[:1], 'layer5', square).under.probability.ravel())
    best = (np.inf, None, None)
    default = np.inf
    asked = {last: peer.Options(device, last) for last in (True, False)}
    sides = {
        last: peer.served(theirs, net, variables['params'], seen, painted, labels, size, stride, options) for last, options in asked.items()
    }
    for last, explain in sides.items():
        for batching in BATCHINGS:
            if batching == 1 and not last:
                continue
            explain(batching)
            begun = time.perf_counter()
            explain(batching)
            spent = time.perf_counter() - begun
            default = spent if batching == 1 else default
            best = min(best, (spent, batching, last), key=lambda one: one[0])
    windows = count * (-(-(images.shape[1] - size) // stride) + 1) ** 2
    spent = turns(
        {
            'theirs': lambda: sides[best[2]](best[1]),
            'ours': lambda: occlusion.occlude(net, variables, images, labels, 'layer5', square),
        },
        repeats,
    )
    per_image = {side: [s / of for s in spent[side]] for side, of in (('ours', count * places), ('theirs', windows))}
    middle, span = ratio(per_image['theirs'], per_image['ours'])
    return {
        'network': name,
        'square': f'{size} px, {stride} apart',
        'ours': 1e3 * np.median(per_image['ours']),
        'theirs': 1e3 * np.median(per_image['theirs']),
        'batching': f'{best[1]} ({"channels_last" if best[2] else "contiguous"})',
        'ratio': middle,
        'span': span,
        'default': default / windows / np.median(per_image['ours']),
        'apart': disagreement(net, variables, images[:1], labels[:1], square, device),
    }


def theirs(net, params, seen, painted, labels, size, stride, options) -> Callable[[int], np.ndarray]:
    """explain(perturbations_per_eval): Captum's Occlusion of p(true class) over the images (N, H, W, C), as (N, C, H, W)."""
    peer.threads()
    model = peer.loaded(net.architecture, params, options).eval()
    inputs, baseline = (peer.tensor(array, options) for array in (seen, painted))
    targets = peer.torch.from_numpy(labels.astype(np.int64)).to(options.where)
    tool = Occlusion(lambda x: peer.torch.softmax(model(x.contiguous(memory_format=options.layout)), 1))
    baseline = baseline.expand_as(inputs)

    def explain(batching):
        with peer.torch.no_grad():
            found = tool.attribute(inputs, (3, size, size), (3, stride, stride), baseline, targets, perturbations_per_eval=batching)
        return found.cpu().numpy()

    return explain


def disagreement(net, variables, images, labels, square, device='cpu') -> float:
    """The largest difference between our p(true class) of one image and PyTorch's, painted image by painted image."""
    found = occlusion.occlude(net, variables, images, labels, 'layer5', square)
    seen, painted = map(np.asarray, occlusion.prepared(images, variables, net.architecture.input_shape, square.colour))
    corners = np.stack(np.meshgrid(found.rows, found.columns, indexing='ij'), axis=-1).reshape(-1, 2) - square.size // 2
    boxes = np.concatenate([corners, np.full_like(corners, square.size)], axis=1)
    hidden = np.where(np.asarray(occlusion.covered(boxes, seen.shape[1:])), painted, seen)
    logits = np.concatenate(
        [peer.logits(net.architecture, variables['params'], part, device) for part in np.array_split(hidden, -(-len(hidden) // 128))]
    )
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return float(np.abs((odds / odds.sum(1, keepdims=True))[:, labels[0]] - found.under.probability.ravel()).max())


def projected_row(name: str, tap: str) -> dict:
    """Nine projections of each of 256 units, compiled before."""
    net, variables = network(name)
    down = Network(projection.projecting(net.architecture, 'deconvnet'))
    seen = np.asarray(augment.prepare(noise(net, TOGETHER), AS_IT_IS, net.architecture.input_shape))
    units = np.repeat(np.arange(UNITS), STRONGEST)
    jax.block_until_ready(projection.project(down, variables, seen, tap, units[:TOGETHER]))
    begun = time.perf_counter()
    for part in np.split(units, len(units) // TOGETHER):
        np.asarray(projection.project(down, variables, seen, tap, part))
    return {'network': name, 'tap': tap, 'size': net.architecture.input_shape[0], 'seconds': time.perf_counter() - begun}


def growing(repeats: int, device: str = 'cpu', small: bool = False) -> Iterator[list[tables.Table]]:
    """All three tables after each row of them, measured one after the other."""
    column = tables.Column
    ends = (column('ratio', 'ratio', '.2f'), column('span', 'lowest to highest'))
    passes = tables.Table(
        (
            column('network'),
            column('images', format=',d'),
            column('layers'),
            column('units', format=',d'),
            column('plain', 'forward pass, images/s', ',.0f'),
            column('top', 'strongest nine, images/s', ',.0f'),
            *ends,
        ),
        [],
        'The nine strongest images of every unit of some layers, in one pass, against the plain forward pass to the classes.',
    )
    squares = tables.Table(
        (
            column('network'),
            column('square'),
            column('ours', 'ours, ms a place', '.2f'),
            column('theirs', 'Captum, ms a place', '.2f'),
            column('batching', 'perturbations_per_eval'),
            *ends,
            column('default', 'ratio to its default, 1', '.1f'),
            column('apart', 'p apart, at most', '.0e'),
        ),
        [],
        f'Occlusion. Captum at the fastest of {", ".join(map(str, BATCHINGS))} places at once and of two memory layouts.',
    )
    projections = tables.Table(
        (column('network'), column('size', 'input, px'), column('tap'), column('seconds', 'seconds', '.1f')),
        [],
        f'{STRONGEST} projections of each of {UNITS} units by deconvnet, {TOGETHER} at once.',
    )
    for table, rows in (
        (squares, (occluded_row(*one, repeats, device) for one in (SMALL_SQUARES if small else SQUARES))),
        (passes, (strongest_row(*one, repeats) for one in (SMALL_PASSES if small else PASSES))),
        (projections, (projected_row(*one) for one in (SMALL_PROJECTED if small else PROJECTED))),
    ):
        for row in rows:
            table.rows.append(row)
            yield [passes, squares, projections]


def tables_of(repeats: int) -> list[tables.Table]:
    """All three, when they are whole."""
    *_, whole = growing(repeats)
    return whole


def main(argv):
    device = _DEVICE.value
    try:
        peer.begin(device)
    except ConfigError as error:
        print(f'looking: {error}', file=sys.stderr)
        return 2
    notes = [f'{_REPEATS.value} turns of each side, Captum in a process of its own']
    if device == 'gpu':
        notes.append('float32, which both sides multiply in fewer bits on such a card, each as it does by default')
    how = 'looking', argv[1:], f'torch {peer.version()}, captum {captum.__version__}', notes
    for found in growing(_REPEATS.value, device, _SMALL.value):
        text = '\n'.join(tables.to_markdown(table) for table in found if table.rows)
        footing.keep(footing.footed(text, *how), _OUT.value)
    footing.finish(text, *how, _OUT.value)


if __name__ == '__main__':
    FLAGS(sys.argv)
    sys.exit(main(sys.argv))
