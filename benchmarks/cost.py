"""What trainings cost: how a step grows with the batch, the image and the width, measured here, and from that the papers' tables on paper.

  python -m benchmarks.cost --out=benchmarks/COST.md
  python -m benchmarks.cost --rate=4.95e14 --utilisation=0.3 --card='H100 SXM, TF32'
  python -m benchmarks.cost --small --repeats=1

Step time is the median over turns that all sizes take one after another in one process; memory is what the compiled step holds. Hours come
from multiply-adds, once at the rate that is measured here and once at the one that is assumed of a GPU; where it stops scaling comes from
the bandwidth that is assumed between GPUs. Each assumption has its flag, and stands in the text as assumed.
"""

import dataclasses
import sys
import time

import jax
import numpy as np
from absl import flags

from benchmarks import costs, footing, together
from cnn_research import config as configs
from cnn_research import parallel, rehearsal
from cnn_research.architecture import Architecture
from cnn_research.models import zoo
from cnn_research.reporting import tables
from experiments.launch import command

NETWORK, BATCH, BLOCK = 'alexnet_32', 64, 0.3  # what grows; seconds of a turn
WIDTHS = {1: 24, 2: 48, 3: 72, 4: 72, 5: 48, 6: 256, 7: 256}  # maps and units of its layers
SERIES = {'batch': (16, 32, 64, 128, 256), 'side': (32, 48, 64, 96, 128), 'width': (0.5, 1, 2, 4)}
SMALL = {'batch': (2, 4), 'side': (32, 40), 'width': (0.125, 0.25)}
YARDSTICK = ('zfnet', 16)  # whose step gives the rate of this machine

FLAGS = flags.FlagValues()
_REPEATS = flags.DEFINE_integer('repeats', 7, 'Turns of each size.', lower_bound=1, flag_values=FLAGS)
_SMALL = flags.DEFINE_bool('small', False, 'Few tiny sizes, to see that everything runs; the numbers say nothing.', flag_values=FLAGS)
_DEVICE = flags.DEFINE_enum('device', 'cpu', ['cpu', 'gpu'], 'Where steps are measured.', flag_values=FLAGS)
_CARD = flags.DEFINE_string('card', 'H100 SXM, dense TF32, NVLink within 8, 400 Gb/s each beyond', 'What is assumed.', flag_values=FLAGS)
_RATE = flags.DEFINE_float('rate', 4.95e14, 'FLOP/s of a GPU at best.', lower_bound=1, flag_values=FLAGS)
_SHARE = flags.DEFINE_float('utilisation', 0.2, 'Share of it that is reached.', lower_bound=1e-6, upper_bound=1, flag_values=FLAGS)
_WITHIN = flags.DEFINE_float('within', 4.5e11, 'Bytes a second from GPU to GPU, of up to 8.', lower_bound=1, flag_values=FLAGS)
_BEYOND = flags.DEFINE_float('beyond', 5e10, 'The same of more than 8.', lower_bound=1, flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', None, 'A Markdown file for the text with its tables.', flag_values=FLAGS)


def grown(series: str, size: float, small: bool = False) -> tuple[Architecture, int]:
    """(network, batch size) at one size of a series."""
    narrow = 0.125 if small and series != 'width' else 1
    factor = size if series == 'width' else narrow
    net = zoo.architecture(f'{NETWORK} resized({",".join(f"{layer}={round(factor * count)}" for layer, count in WIDTHS.items())})')
    if series == 'side':
        net = dataclasses.replace(net, input_shape=(size, size, net.input_shape[2]))
    return net, size if series == 'batch' else 4 if small else BATCH


class Point:
    """A training step of one size: run(steps) takes so many and waits for them; memory: bytes that it holds."""

    def __init__(self, net: Architecture, batch_size: int):
        config = together.settings(net.name, batch_size, architecture_json=net.to_json())
        self._step, self._task, self._state, self._placed = rehearsal.stage(
            config, {'train': together.source(config)}, parallel.local_devices(1), zeros=False
        )
        self.memory = rehearsal.memory_of(self._step.lowered(self._state, self._placed, self._task.feed.batch(0)).compile())
        self.done = 0

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self._state, metrics = self._step(self._state, self._placed, self._task.feed.batch(self.done))
            self.done += 1
        jax.block_until_ready(metrics)

    def count(self, block: float) -> int:
        """Steps in so many seconds, after one that does not count."""
        self.run(1)
        begun = time.perf_counter()
        self.run(1)
        return max(1, round(block / (time.perf_counter() - begun)))


def measured(asked: dict, repeats: int, block: float = BLOCK) -> dict:
    """{name: (seconds of a step in every turn, bytes)} of {name: (network, batch size)}, all in turns."""
    points = {name: Point(*one) for name, one in asked.items()}
    counts = {name: point.count(block) for name, point in points.items()}
    spent = footing.turns({name: lambda name=name: points[name].run(counts[name]) for name in points}, repeats)
    return {name: ([turn / counts[name] for turn in spent[name]], points[name].memory) for name in points}


def growth_tables(found: dict) -> tuple[tables.Table, tables.Table]:
    """(exponents of each series, every size) of {(series, size): (seconds, bytes)}."""
    column, lines, rows = tables.Column, [], []
    for series in dict.fromkeys(series for series, _ in found):
        own = {size: (np.median(turns), held) for (name, size), (turns, held) in found.items() if name == series}
        seconds, held = zip(*own.values(), strict=True)
        (time_exponent, time_fit), (memory_exponent, memory_fit) = costs.growth(list(own), seconds), costs.growth(list(own), held)
        sizes = f'{min(own):g} to {max(own):g}'
        rows.append({'series': series, 'sizes': sizes, 'time': time_exponent, 'r': time_fit, 'memory': memory_exponent, 's': memory_fit})
    for (series, size), (turns, held) in found.items():
        span = f'{1e3 * min(turns):.1f} to {1e3 * max(turns):.1f}'
        lines.append({'series': series, 'size': f'{size:g}', 'ms': 1e3 * np.median(turns), 'span': span, 'mb': held / 1e6})
    exponents = tables.Table(
        (
            *(column('series'), column('sizes')),
            *(column('time', 'exponent of time', '.2f'), column('r', 'R^2', '.3f')),
            *(column('memory', 'exponent of memory', '.2f'), column('s', 'R^2', '.3f')),
        ),
        rows,
        'How a step grows: least squares on logarithms.',
    )
    columns = (column('series'), column('size'), column('ms', 'step, ms', '.1f'), column('span', 'of turns'), column('mb', 'MB', '.0f'))
    return exponents, tables.Table(columns, lines, 'Every size that was measured.')


def text_of(found: dict, yardstick: tuple[str, int, float], small: bool) -> str:
    """COST.md without its footing. yardstick: (network, batch size, seconds of its step here)."""
    name, batch_size, seconds = yardstick
    net = zoo.architecture(name)
    here = costs.TRAINING * net.multiply_adds * batch_size / seconds
    assumed = costs.Machine(_RATE.value * _SHARE.value, _WITHIN.value, _BEYOND.value)
    works = costs.papers()
    where = 'this machine' if _DEVICE.value == 'cpu' else 'this GPU'
    ours, image = zoo.architecture('zfnet'), costs.TRAINING * zoo.architecture('zfnet').multiply_adds
    scaling = costs.scaling_table(ours.parameters, image, 128, assumed)
    stop = next((row['gpus'] for row in scaling.rows if row['share'] > 100 * costs.TOO_MUCH), None)
    stops = f'At batch 128 it passes {100 * costs.TOO_MUCH:g} % of a step from {stop} GPUs on.' if stop else 'It never does at batch 128.'
    exponents, sizes = growth_tables(found)
    base = f'batch {BATCH}, {zoo.architecture(NETWORK).input_shape[0]} px and width 1'
    others = 'all tiny here' if small else f'what does not grow stays at {base}'
    parts = [
        '# What it costs',
        'Written by the command below.' + ' A trial at tiny sizes, whose numbers say nothing.' * small,
        '## How a step grows',
        f'{NETWORK} with other batches, sides of the image, and widths of all layers but the last; {others}. The first dense layer reads '
        'as many more numbers as the maps below it have, so its weights grow with the side as well. Memory is what the compiled step '
        'holds: parameters, what the optimizer keeps, maps, and the pixels of two batches. An exponent below 1 says that part of a step '
        'does not grow at these sizes.',
        tables.to_markdown(exponents),
        tables.to_markdown(sizes),
        "## The papers' tables on ImageNet",
        f'Arithmetic, not runs: ImageNet was never trained on here. A training takes {costs.TRAINING} operations for each multiply-add and '
        f'image (forward, and twice that backward), an evaluation {costs.FORWARD}; epochs, batches, holdout and views are those of '
        'configs/*.py:imagenet2012, for one seed, without the lesions of the depth table and the fitting of the SVMs.',
        f'Measured: {where} does {here / 1e9:,.0f} GFLOP/s in the step of {name} at batch {batch_size} ({1e3 * seconds:.0f} ms). '
        f'Assumed of a GPU ({_CARD.value}): {_RATE.value / 1e12:,.0f} TFLOP/s, of which a share of {_SHARE.value:g} is reached '
        f'whatever the batch, which is kind to many GPUs; {_WITHIN.value / 1e9:,.0f} GB/s between up to {costs.NEAR} GPUs, '
        f'{_BEYOND.value / 1e9:,.0f} GB/s beyond. Reading photographs is assumed to keep up.',
        tables.to_markdown(costs.hours_table(works, here, assumed, where)),
        '## Where it stops scaling',
        f'The gradients of zfnet, {ours.parameters / 1e6:.1f} million float32, are added up in each step. A ring of n moves 2 (n - 1) / n '
        f'times their bytes through every link, here without hiding any of it behind the backward pass. {stops} More trainings at once, '
        'one a GPU, add up nothing.',
        tables.to_markdown(scaling),
    ]
    return '\n\n'.join(part.strip() for part in parts) + '\n'


def main() -> None:
    footing.begin(_DEVICE.value)
    small, repeats = _SMALL.value, _REPEATS.value
    asked = {(series, size): grown(series, size, small) for series, sizes in (SMALL if small else SERIES).items() for size in sizes}
    block = 0.02 if small else BLOCK
    name, batch_size = ('lenet5_modern', 4) if small else YARDSTICK
    found = measured(asked | {'yardstick': (zoo.architecture(name), batch_size)}, repeats, block)
    turns, _ = found.pop('yardstick')
    text = text_of(found, (name, batch_size, float(np.median(turns))), small)
    notes = [f'{repeats} turns of each size, each about {block:g} s long; {configs.BY_NAME["dtype"].default}']
    footing.finish(text, 'cost', sys.argv[1:], '', notes, _OUT.value)


if __name__ == '__main__':
    command.run_with_flags('cost', main, __doc__, FLAGS)
