"""What trainings cost on paper: arithmetic on operations, rates and bandwidths, without a device."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn_research import config as configs
from cnn_research.reporting import tables
from configs import depth_ablation, layer_probing, stride_diagnosis
from experiments.launch import plans

# Operations for each multiply-add of a forward pass, and of that with the backward pass, which takes twice as much.
FORWARD, TRAINING = 2, 6
NEAR = 8  # GPUs that share the fast links
TOO_MUCH = 0.2  # share of a step
GPUS = (1, 8, 64)
_VIEWS = {'centre': 1, 'ten': 10}
_CALTECH101 = 9_144  # images of both splits, with the background, as TFDS has it


class Machine(NamedTuple):
    """One of several equal devices: operations a second that it reaches, and bytes a second to the next one, of up to NEAR and of more."""

    rate: float
    within: float
    beyond: float


class Training(NamedTuple):
    """Operations of its steps and of its evaluations, how many steps, and the parameters whose gradients each adds up."""

    stepping: float
    evaluating: float
    steps: int
    parameters: int


class Work(NamedTuple):
    """A table of a paper: independent trainings, and operations that come after them, split over any number of devices."""

    title: str
    trainings: list[Training]
    after: float = 0.0


def growth(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """(exponent, R^2) of values ~ sizes^exponent, by least squares on logarithms."""
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(values, float))
    exponent = float(np.cov(x, y, bias=True)[0, 1] / np.var(x))
    if not np.var(y):
        return exponent, 1.0
    return exponent, float(np.corrcoef(x, y)[0, 1] ** 2)


def all_reduce(parameters: int, devices: int, machine: Machine) -> float:
    """Seconds in which a ring adds up float32 gradients: each link carries 2 (n - 1) / n of their bytes (Patarasuk & Yuan 2009)."""
    return 2 * (devices - 1) / devices * 4 * parameters / (machine.within if devices <= NEAR else machine.beyond)


def training(config) -> Training:
    """What a training of ImageNet as its config says it takes."""
    config = configs.check(config)
    net, counts = configs.network(config), plans.IMAGENET
    whole, test = counts['train'], counts['validation']
    held = round(config.data.holdout * whole)
    steps = configs.steps(config.schedule, config.data.batch_size, whole - held)
    looks = -(-steps // configs.steps(config.evaluate.every, config.data.batch_size, whole - held))  # the last step is one, too
    seen = _VIEWS[config.evaluate.views] * (held * looks + held + test)
    return Training(
        TRAINING * net.multiply_adds * steps * config.data.batch_size, FORWARD * net.multiply_adds * seen, steps, net.parameters
    )


def _of(file, row: dict | None = None):
    given = configs.update(configs.default(), configs.flat(file.get_config('imagenet2012')))
    return configs.update(given, row or {})


def papers() -> list[Work]:
    """The tables of Zeiler & Fergus 2013, as configs/*.py:imagenet2012 would train them."""
    probed = configs.network(_of(layer_probing)).multiply_adds
    return [
        Work(
            f'depth and width (Table 3), {len(depth_ablation.get_rows("imagenet2012"))} rows',
            [training(_of(depth_ablation, row)) for row in depth_ablation.get_rows('imagenet2012').values()],
        ),
        Work('probing (Table 7): one network, and features of Caltech-101', [training(_of(layer_probing))], FORWARD * probed * _CALTECH101),
        Work(
            f'stride diagnosis (section 4.1), {len(stride_diagnosis.get_rows("imagenet2012"))} cells',
            [training(_of(stride_diagnosis, row)) for row in stride_diagnosis.get_rows('imagenet2012').values()],
        ),
    ]


def one_each(work: Work, devices: int, rate: float) -> float:
    """Seconds where every device trains networks of its own, the longest first."""
    ends = [0.0] * devices
    for one in sorted(work.trainings, key=lambda one: one.stepping + one.evaluating, reverse=True):
        ends[ends.index(min(ends))] += (one.stepping + one.evaluating) / rate
    return max(ends) + work.after / rate / devices


def spread(work: Work, devices: int, machine: Machine) -> float:
    """Seconds where all devices train one network after the other, each with its share of every batch."""
    computing = sum(one.stepping + one.evaluating for one in work.trainings) + work.after
    adding = sum(one.steps * all_reduce(one.parameters, devices, machine) for one in work.trainings)
    return computing / machine.rate / devices + adding


def hours_table(works: Sequence[Work], here: float, assumed: Machine, where: str) -> tables.Table:
    """Hours of each work: at the rate `here` that was measured, and on assumed GPUs, both ways of sharing them."""
    rows = []
    for work in works:
        total = sum(one.stepping + one.evaluating for one in work.trainings) + work.after
        row = {'work': work.title, 'total': total / 1e18, 'here': total / here / 3600}
        for count in GPUS:
            row |= {f'each {count}': one_each(work, count, assumed.rate) / 3600, f'spread {count}': spread(work, count, assumed) / 3600}
        rows.append(row)
    columns = [
        tables.Column('work', 'table'),
        tables.Column('total', 'EFLOP', ',.2f'),
        tables.Column('here', f'{where} (measured), h', ',.0f'),
        tables.Column(f'each {GPUS[0]}', '1 GPU (assumed), h', ',.1f'),
    ]
    for count in GPUS[1:]:
        columns += [
            tables.Column(f'each {count}', f'{count} GPUs, a network each, h', ',.1f'),
            tables.Column(f'spread {count}', f'{count} GPUs, each network on all, h', ',.1f'),
        ]
    return tables.Table(columns, rows, 'Hours for one seed.')


def scaling_table(parameters: int, image: float, batch_size: int, machine: Machine, most: int = 64) -> tables.Table:
    """A step on 2, 4, ... GPUs: adding up beside computing, and the images a GPU needs so that adding up is TOO_MUCH of a step at most.

    image: operations of one image in training.
    """
    rows = []
    for devices in (2**power for power in range(1, int(math.log2(most)) + 1)):
        adding, computing = all_reduce(parameters, devices, machine), batch_size * image / machine.rate / devices
        needed = math.ceil(adding * (1 - TOO_MUCH) / TOO_MUCH * machine.rate / image)
        rows.append(
            {
                'gpus': devices,
                'adding': 1e3 * adding,
                'computing': 1e3 * computing,
                'share': 100 * adding / (adding + computing),
                'each': needed,
                'batch': needed * devices,
            }
        )
    columns = (
        tables.Column('gpus', 'GPUs'),
        tables.Column('adding', 'all-reduce, ms', '.2f'),
        tables.Column('computing', f'compute at batch {batch_size}, ms', '.2f'),
        tables.Column('share', 'all-reduce, % of the step', '.0f'),
        tables.Column('each', f'images a GPU for {100 * TOO_MUCH:g} %', ',d'),
        tables.Column('batch', 'that batch', ',d'),
    )
    return tables.Table(columns, rows, 'One network on several GPUs (assumed).')
