"""Times one training step of a network here against the same network in PyTorch: same weights, shapes, inputs and threads.

A step is forward, softmax loss, backward and SGD with momentum 0.9 and weight decay 5e-4. Both sides run in turns, each in a process of its
own and idle while the other runs, so that what disturbs one disturbs the other; what counts is the ratio, PyTorch's time over ours (above
1: ours is faster). Either side's speed differs from one start of its process to the next, by where its memory comes to lie, say: so both
are started anew several times, and the ratio is the median over these starts.

  python -m benchmarks.train_step
  python -m benchmarks.train_step --networks='lenet5_modern@128; zfnet@16' --starts=7 --out=results/train_step_cpu.md
  python -m benchmarks.train_step --device=gpu --out=results/train_step_gpu.md
"""

import collections
import concurrent.futures
import dataclasses
import math
import multiprocessing
import os
import pathlib
import platform
import shlex
import sys
import time
import types
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from benchmarks import footing, peer
from cnn_research import config as configs
from cnn_research import optimizers, parallel, train
from cnn_research.architecture import Architecture
from cnn_research.data import augment, stream
from cnn_research.errors import ResearchError
from cnn_research.losses import LOSSES
from cnn_research.models import zoo
from cnn_research.models.network import Network
from cnn_research.reporting import tables

NETWORKS = 'cifar_18pct replaced(1,normalization=none) replaced(2,normalization=none)@128; lenet5_modern@128; alexnet_owt@32; zfnet@16'
RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4
BATCHES = 4  # so many different ones take turns
BLOCK = 0.6  # seconds that one side runs before the other has its turn

_NETWORKS = flags.DEFINE_string('networks', NETWORKS, 'Architectures, each with @BATCH, separated by semicolons.')
_STARTS = flags.DEFINE_integer('starts', 5, 'Times that both processes are started anew; the ratio is the median over them.', lower_bound=1)
_REPEATS = flags.DEFINE_integer('repeats', 11, 'Turns of each side after a start, whose ratio is the median over them.', lower_bound=1)
_OUT = flags.DEFINE_string('out', None, 'A Markdown file for the table and how it was made.')
_DEVICE = flags.DEFINE_enum('device', 'cpu', ['cpu', 'gpu'], 'gpu: bfloat16 here, torch.compile and autocast to bfloat16 there.')


class Side(NamedTuple):
    """One contestant: run(steps) takes so many training steps and waits for them; parameters() are PyTorch's arrays, in its order; work()
    is the CPU seconds that its process has used."""

    run: Callable[[int], None]
    parameters: Callable[[], list[np.ndarray]]
    work: Callable[[], float]


def without_dropout(net: Architecture) -> Architecture:
    """The network whose training has no randomness, which the two sides would draw differently."""
    layers = (dataclasses.replace(layer, stages=tuple(s for s in layer.stages if s.role != 'dropout')) for layer in net.layers)
    return Architecture(net.name, net.input_shape, tuple(layers))


def examples(net: Architecture, batch_size: int):
    """The project's own resident feed of random images and labels, and the preprocessing that brings them near unit scale."""
    count, random = BATCHES * batch_size, np.random.default_rng(0)
    images = random.integers(0, 256, (count, *net.input_shape), np.uint8)
    labels = random.integers(0, net.num_classes, count)
    source = types.SimpleNamespace(
        name='random',
        split='train',
        num_examples=count,
        fingerprint=f'random {images.shape} {net.num_classes}',
        read=lambda index: (list(images[index]), labels[index]),
    )
    feed = stream.open_feed(source, seed=0, batch_size=batch_size, resize=0, resident_gb=4.0, workers=0)
    channels = net.input_shape[-1]
    return feed, {'mean': np.full(channels, 127.5, np.float32), 'scale': np.full(channels, 1 / 74, np.float32)}


def prepared(net: Architecture, feed, preprocessing) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same batches as float32 (B, H, W, C) and labels (B,)."""
    picked = [feed.batch(step)['index'] for step in range(BATCHES)]
    images, labels = feed.store['images'], feed.store['labels']
    return [(np.asarray(augment.prepare(images[index], preprocessing, net.input_shape)), labels[index]) for index in picked]


def ours(net: Architecture, params, feed, preprocessing, dtype: str, rate: float = RATE) -> Side:
    """The training loop's own step on one device, from uint8 images that live there."""
    network, devices = Network(net, dtype=dtype), parallel.local_devices(1)

    def loss(params, placed, batch, key):
        images, labels, positions = stream.fetch(placed['store'], batch)
        keys = augment.example_keys(jax.random.fold_in(key, 0), positions)
        images = augment.augmented(images, placed['preprocessing'], net.input_shape, keys, augment.Augmentation())
        rngs = {'dropout': jax.random.fold_in(key, 1)}
        logits, _ = network.apply({'params': params}, images, train=True, examples=positions, rngs=rngs)
        return LOSSES['softmax'](logits, labels, 1.0), {'error': (jnp.argmax(logits, -1) != labels).astype(jnp.float32)}

    settings = {'optimizer.learning_rate': rate, 'optimizer.momentum': MOMENTUM, 'optimizer.weight_decay': DECAY}
    rule = optimizers.optimizer(configs.update(configs.default(), settings), params)
    step = train.train_step(types.SimpleNamespace(loss=loss), rule, optax.constant_schedule(rate))
    advance = parallel.spread_step(step, devices)
    window = {name: jnp.float32(0) for name in ('loss', 'error', 'examples')} | {'bad_step': jnp.int32(-1)}
    params = jax.tree.map(jnp.array, params)  # a copy, because the step takes its state's memory
    state = train.TrainState(jnp.int32(0), params, rule.init(params), None, jax.random.key_data(jax.random.key(0)), window)
    state = parallel.replicated(state, devices)
    placed = parallel.replicated({'store': feed.store, 'preprocessing': preprocessing}, devices)
    done = 0

    def run(steps):
        nonlocal state, done
        for _ in range(steps):
            state, metrics = advance(state, placed, feed.batch(done % BATCHES))
            done += 1
        if not math.isfinite(metrics['loss']):
            raise FloatingPointError(f'the loss of {net.name} is not finite: its steps are not those of a training')

    return Side(run, lambda: peer.arrays(net, jax.device_get(state.params)), lambda: sum(os.times()[:2]))


def theirs(net: Architecture, params, batches, options: peer.Options, rate: float = RATE) -> Side:
    """PyTorch's step, from float batches that are ready in its layout, in a process of its own."""
    ask = peer.apart(net, params, batches, options, rate, MOMENTUM, DECAY)
    return Side(ask, lambda: ask('parameters'), lambda: ask('work'))


def seconds(side: Side, steps: int) -> float:
    """Seconds for one step, over `steps` of them, after a fifth as many that wake the process and fill its caches."""
    side.run(max(1, steps // 5))
    start = time.perf_counter()
    side.run(steps)
    return (time.perf_counter() - start) / steps


def others(sides: Sequence[Side]) -> float:
    """CPU seconds that all but the two sides have used so far, stolen time included; NaN where it cannot be read."""
    try:
        busy = pathlib.Path('/proc/stat').read_text().split()[1:9]
    except OSError:
        return math.nan
    idle = 3, 4
    return sum(int(ticks) for i, ticks in enumerate(busy) if i not in idle) / os.sysconf('SC_CLK_TCK') - sum(s.work() for s in sides)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, as a share of the largest element of b."""
    return float(np.abs(a - b).max() / np.abs(b).max())


def agreement(net: Architecture, params, feed, preprocessing, device: str) -> tuple[float, float]:
    """(logits, step): largest relative differences between both sides without dropout, in float32.

    step compares by how much one training step changes each parameter array: its gradient plus weight decay, because the learning rate
    is 1 here, so that the change is not lost in the rounding of the parameters.
    """
    net = without_dropout(net)
    batches = prepared(net, feed, preprocessing)
    forward = jax.jit(Network(net).apply, compiler_options=parallel.compiler_options())
    logits = difference(np.asarray(forward({'params': params}, batches[0][0])[0]), peer.logits(net, params, batches[0][0], device))
    before = peer.arrays(net, params)
    changes = []
    for side in (
        ours(net, params, feed, preprocessing, 'float32', rate=1.0),
        theirs(net, params, batches, peer.Options(device), rate=1.0),
    ):
        side.run(1)
        changes.append([after - start for after, start in zip(side.parameters(), before, strict=True)])
    return logits, max(map(difference, *changes))


class Started(NamedTuple):
    """What one start of both sides gave: seconds (turns, 2) of a step, ours and PyTorch's; the form of PyTorch that was the fastest; by how
    much logits and a step differ; the cores that others used, and the load after it."""

    seconds: np.ndarray
    form: str
    logits: float
    step: float
    others: float
    load: float


def started(text: str, batch_size: int, device: str, repeats: int) -> Started:
    """One network, timed once. Raises ResearchError for a network that is unknown or that the translator cannot write."""
    peer.begin(device)
    net = zoo.architecture(text)
    feed, preprocessing = examples(net, batch_size)
    params = jax.jit(Network(net).init)(jax.random.key(0), jnp.zeros((1, *net.input_shape)))['params']
    params = jax.device_get(params)
    logits, step = agreement(net, params, feed, preprocessing, device)
    batches = prepared(net, feed, preprocessing)

    def warm(options):
        side = theirs(net, params, batches, options)
        side.run(2)
        return min(seconds(side, 1) for _ in range(4)), side, options

    _, other, options = min(map(warm, peer.choices(device)), key=lambda timed: timed[0])
    own = ours(net, params, feed, preprocessing, 'float32' if device == 'cpu' else 'bfloat16')
    sides = (own, other)
    for side in sides:
        side.run(3)
    counts = [max(1, round(BLOCK / seconds(side, 2))) for side in sides]
    start, before = time.perf_counter(), others(sides)
    times = np.array([[seconds(side, count) for side, count in zip(sides, counts, strict=True)] for _ in range(repeats)])
    elsewhere = (others(sides) - before) / (time.perf_counter() - start)
    return Started(times, options.name, logits, step, elsewhere, os.getloadavg()[0])


def in_process(text: str, batch_size: int, device: str, repeats: int) -> Started:
    """`started`, in a process of its own, which no earlier start has left its mark on."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        return pool.submit(started, text, batch_size, device, repeats).result()


def row(text: str, batch_size: int, told: Sequence[Started]) -> dict:
    """One network's line of the table, from several starts."""
    ratios = [float(np.median(one.seconds[:, 1] / one.seconds[:, 0])) for one in told]
    ours, theirs = (float(1e3 * np.median([np.median(one.seconds[:, side]) for one in told])) for side in (0, 1))
    turns = np.concatenate([one.seconds[:, 1] / one.seconds[:, 0] for one in told])
    forms = collections.Counter(one.form for one in told)
    return {
        'network': text,
        'batch': batch_size,
        'ratio': float(np.median(ratios)),
        'starts': f'{min(ratios):.2f} to {max(ratios):.2f} ({len(ratios)})',
        'range': f'{turns.min():.2f} to {turns.max():.2f}',
        'ours_ms': ours,
        'torch_ms': theirs,
        'torch_form': '; '.join(f'{form} ({count})' if len(forms) > 1 else form for form, count in forms.most_common()),
        'logits': max(one.logits for one in told),
        'step': max(one.step for one in told),
        'others': max(one.others for one in told),
        'load': max(one.load for one in told),
    }


COLUMNS = (
    tables.Column('network'),
    tables.Column('batch'),
    tables.Column('ratio', 'PyTorch / ours', '.2f'),
    tables.Column('starts', 'lowest to highest start'),
    tables.Column('range', 'of all turns'),
    tables.Column('ours_ms', 'ours, ms', '.1f'),
    tables.Column('torch_ms', 'PyTorch, ms', '.1f'),
    tables.Column('torch_form', "PyTorch's fastest"),
    tables.Column('logits', 'logits differ by', '.0e'),
    tables.Column('step', 'step differs by', '.0e'),
    tables.Column('others', 'cores others used', '.1f'),
    tables.Column('load', 'load', '.1f'),
)


def _processor() -> str:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines() if pathlib.Path('/proc/cpuinfo').exists() else []
    return next((line.partition(': ')[2] for line in lines if line.startswith('model name')), platform.processor() or platform.machine())


def circumstances(device: str, starts: int, repeats: int) -> str:
    """Where, when, with what and by which command, as Markdown."""
    where = f'{_processor()}, {os.cpu_count()} logical cores' if device == 'cpu' else footing.card()
    threads = f'{peer.threads()} threads in PyTorch, {os.cpu_count()} in XLA' if device == 'cpu' else 'bfloat16 on both sides'
    memory = [f'{name}={value}' for name, value in sorted(os.environ.items()) if name.startswith('MALLOC_')]
    lines = (
        f'- machine: {where}; {threads}',
        f'- versions: Python {platform.python_version()}, jax {jax.__version__}, PyTorch {peer.version()}',
        f'- {time.strftime("%Y-%m-%d %H:%M %Z")}, {starts} starts, after each {repeats} turns of each side, each about {BLOCK} s long',
        f'- command: `{shlex.join([*memory, "python", "-m", "benchmarks.train_step", *sys.argv[1:]])}`',
        '- load: the one-minute load average after the network. Where others used cores, the ratio flatters us: PyTorch suffers more.',
    )
    return '\n'.join(lines) + '\n'


def main(argv):
    device, starts, repeats = _DEVICE.value, _STARTS.value, _REPEATS.value
    caption = "A training step: PyTorch's time over ours (median over starts of the median over turns; above 1: ours is faster)."
    rows: list[dict] = []
    try:
        for name, batch_size in footing.requested(_NETWORKS.value):
            rows.append(row(name, batch_size, [in_process(name, batch_size, device, repeats) for _ in range(starts)]))
            print(f'{name}: {rows[-1]["ratio"]:.2f} ({rows[-1]["starts"]})', file=sys.stderr, flush=True)
            text = tables.to_markdown(tables.Table(COLUMNS, rows, caption)) + '\n' + circumstances(device, starts, repeats)
            footing.keep(text, _OUT.value)
    except ResearchError as error:
        print(f'train_step: {error}', file=sys.stderr)
        return 2
    print(text)


if __name__ == '__main__':
    app.run(main)
