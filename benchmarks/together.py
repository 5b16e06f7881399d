"""Whether seeds that train together on one device pay: one step of N of them under vmap, against the same N steps one after another.

Each seed has its own weights, randomness and order of examples; images lie on the device once. The step is the training's own, in float32.
Before anything is timed, the vmapped step is held against the lone ones. Both sides take turns in one process; above 1, together is faster.

  python -m benchmarks.together
  python -m benchmarks.together --networks='mlp_300@128; lenet5@128; alexnet_32@128' --seeds=8 --out=results/together_cpu.md
  python -m benchmarks.together --device=gpu --out=results/together_gpu.md
"""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import footing
from cnn_research import config as configs
from cnn_research import optimizers, parallel, rehearsal, train
from cnn_research.data.sources import Source
from cnn_research.models import zoo
from cnn_research.reporting import tables
from experiments.launch import command

NETWORKS = 'mlp_300@128; lenet5@128; alexnet_32@128'
CLOSE = 1e-6  # how far a number may lie from that of the step alone
RATE = 0.01

FLAGS = flags.FlagValues()
_NETWORKS = flags.DEFINE_string('networks', NETWORKS, 'Architectures, each with @BATCH, separated by semicolons.', flag_values=FLAGS)
_SEEDS = flags.DEFINE_integer('seeds', 8, 'How many train together.', lower_bound=2, flag_values=FLAGS)
_REPEATS = flags.DEFINE_integer('repeats', 11, 'Turns of each side; the ratio is the median over them.', lower_bound=1, flag_values=FLAGS)
_BLOCK = flags.DEFINE_float('block', 0.6, 'Seconds that a side runs before the other has its turn.', lower_bound=0, flag_values=FLAGS)
_DEVICE = flags.DEFINE_enum('device', 'cpu', ['cpu', 'gpu'], 'Where both sides run.', flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', None, 'A Markdown file for the table and how it was made.', flag_values=FLAGS)


class Sides(NamedTuple):
    """Both ways to train some seeds: alone(steps) and together(steps) take so many steps of every seed and wait for them; states() are
    those of the two ways, each a list by seed; memory: bytes that the step holds, of one seed alone and of all together."""

    alone: Callable[[int], None]
    together: Callable[[int], None]
    states: Callable[[], tuple[list, list]]
    memory: tuple[int, int]


def settings(name: str, batch_size: int, **more):
    """The config of a network's plain training, checked; more: fields with a dot written as two underscores."""
    loss = 'radial_basis' if zoo.architecture(name).rows[-1].stage == 'radial_basis' else 'softmax'
    values = {'architecture': name, 'data.batch_size': batch_size, 'loss.name': loss, 'optimizer.learning_rate': RATE, 'data.holdout': 0}
    return configs.check(configs.update(configs.default(), values | {key.replace('__', '.'): value for key, value in more.items()}))


def source(config) -> Source:
    """What says how large the network's images are and how many classes there are; a rehearsal reads none of it."""
    net = configs.network(config)
    names = tuple(map(str, range(net.num_classes)))
    return Source('random', 'train', 1, len(names), names, net.input_shape, 'random', None)


def sides(name: str, batch_size: int, seeds: int) -> Sides:
    """Both ways for one network, from the same weights; nothing is run yet but what makes them."""
    devices, every = parallel.local_devices(1), [settings(name, batch_size, seed=seed) for seed in range(seeds)]
    staged = [rehearsal.stage(config, {'train': source(config)}, devices, zeros=False) for config in every]
    run, task, first, placed = staged[0]
    feeds, lone = [task.feed for _, task, _, _ in staged], [state for _, _, state, _ in staged]
    joined = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lone)
    step = train.train_step(task, optimizers.optimizer(every[0], first.params), lambda step: RATE, total=lambda tree: tree)
    vmapped = jax.jit(jax.vmap(step, (0, None, 0)), donate_argnums=0, compiler_options=parallel.compiler_options())
    done = {'alone': 0, 'together': 0}

    def batch(number):
        found = [{**feed.batch(number), 'mask': np.ones(batch_size, bool)} for feed in feeds]
        return {name: np.stack([one[name] for one in found]) for name in found[0]}

    def alone(steps):
        for seed, feed in enumerate(feeds):
            for number in range(done['alone'], done['alone'] + steps):
                lone[seed], metrics = run(lone[seed], placed, feed.batch(number))
            jax.block_until_ready(metrics)
        done['alone'] += steps

    def together(steps):
        nonlocal joined
        for number in range(done['together'], done['together'] + steps):
            joined, metrics = vmapped(joined, placed, batch(number))
        jax.block_until_ready(metrics)
        done['together'] += steps

    def states():
        return lone, [jax.tree.map(lambda leaf, seed=seed: leaf[seed], joined) for seed in range(seeds)]

    compiled = run.lowered(first, placed, feeds[0].batch(0)).compile(), vmapped.lower(joined, placed, batch(0)).compile()
    return Sides(alone, together, states, tuple(map(rehearsal.memory_of, compiled)))


def apart(both: Sides) -> float:
    """The largest difference between a parameter after a step together and after the step alone, in float32 throughout."""
    # A GPU multiplies in fewer bits, unless it is asked not to.
    with contextlib.nullcontext() if jax.default_backend() == 'cpu' else jax.default_matmul_precision('highest'):
        both.alone(1)
        both.together(1)
    lone, joined = ([jax.device_get(state.params) for state in states] for states in both.states())
    pairs = zip(jax.tree.leaves(lone), jax.tree.leaves(joined), strict=True)
    return max(float(np.abs(one - other).max()) for one, other in pairs)


def row(name: str, batch_size: int, seeds: int, repeats: int, block: float) -> dict:
    """One network's line. ArithmeticError where a step together is not the step alone."""
    both = sides(name, batch_size, seeds)
    differ = apart(both)
    if not differ <= CLOSE:
        raise ArithmeticError(f'{name}: a parameter after a step together lies {differ:.1e} from the same after the step alone')
    counts = {}
    for side, run in (('alone', both.alone), ('together', both.together)):
        run(1)
        begun = time.perf_counter()
        run(1)
        counts[side] = max(1, round(block / (time.perf_counter() - begun)))
    spent = footing.turns({side: lambda side=side: getattr(both, side)(counts[side]) for side in counts}, repeats)
    each = {side: [turn / counts[side] for turn in spent[side]] for side in counts}
    middle, span = footing.ratio(each['alone'], each['together'])
    return {
        'network': name,
        'batch': batch_size,
        'seeds': seeds,
        'alone': seeds / np.median(each['alone']),
        'together': seeds / np.median(each['together']),
        'ratio': middle,
        'span': span,
        'alone_mb': both.memory[0] / 1e6,
        'together_mb': both.memory[1] / 1e6,
        'apart': differ,
    }


COLUMNS = (
    tables.Column('network'),
    tables.Column('batch'),
    tables.Column('seeds'),
    tables.Column('alone', 'one after another, steps/s', '.1f'),
    tables.Column('together', 'together, steps/s', '.1f'),
    tables.Column('ratio', 'together / one after another', '.2f'),
    tables.Column('span', 'lowest to highest turn'),
    tables.Column('alone_mb', 'a step alone holds, MB', '.0f'),
    tables.Column('together_mb', 'together, MB', '.0f'),
    tables.Column('apart', 'parameters differ by', '.0e'),
)


def main() -> None:
    seeds, repeats, rows = _SEEDS.value, _REPEATS.value, []
    asked = footing.requested(_NETWORKS.value)
    footing.begin(_DEVICE.value)
    caption = f'Steps of {seeds} seeds on one device: under vmap against one after another (above 1: together is faster).'
    notes = [f'{repeats} turns of each side, each about {_BLOCK.value:g} s long; float32']
    for name, batch_size in asked:
        rows.append(row(name, batch_size, seeds, repeats, _BLOCK.value))
        print(f'{name}: {rows[-1]["ratio"]:.2f} ({rows[-1]["span"]})', file=sys.stderr, flush=True)
        text = tables.to_markdown(tables.Table(COLUMNS, rows, caption))
        footing.keep(footing.footed(text, 'together', sys.argv[1:], '', notes), _OUT.value)
    footing.finish(text, 'together', sys.argv[1:], '', notes, _OUT.value)


if __name__ == '__main__':
    command.run_with_flags('together', main, __doc__, FLAGS)
