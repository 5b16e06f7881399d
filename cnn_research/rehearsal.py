"""What a step of a training costs, in time and in memory, before the training: a few are run on random images."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from cnn_research import config as configs
from cnn_research import memory, optimizers, parallel, tasks, train
from cnn_research.errors import ConfigError


class Rehearsal(NamedTuple):
    """Of a training step: its seconds, the median of a few, the bytes that each device holds in it, of the `has` that it has, and the
    seconds that compiling it took."""

    seconds: float
    memory: float
    has: float
    compiling: float = 0.0


def seconds_per_step(config, found, devices: Sequence[jax.Device] | None = None) -> float:
    """The seconds of `rehearsed`."""
    return rehearsed(config, found, devices).seconds


def rehearsed(config, found, devices: Sequence[jax.Device] | None = None) -> Rehearsal:
    """A few steps of a checked config on random images of the shape of its `sources`, compilation left out.

    ConfigError, with the batch size that fits, before any step where the compiled one needs more memory than a device has.
    """
    devices = devices or parallel.local_devices()
    run, task, state, placed = stage(config, found, devices)
    has, kept = memory.machine() / len(devices), memory.resident(config, {'train': found['train']})
    begun = time.perf_counter()
    needed = memory_of(run.lowered(state, placed, task.feed.batch(0)).compile()) + kept
    compiling = time.perf_counter() - begun
    if needed > has:
        task.feed.close()
        raise ConfigError(_too_large(config, found, devices, needed, has, kept))
    times = []
    while len(times) < 3 or (sum(times[1:]) < 0.5 and len(times) < 50):  # the first one may compile
        start = time.perf_counter()
        state, metrics = run(state, placed, task.feed.batch(len(times)))
        jax.block_until_ready(metrics)
        times.append(time.perf_counter() - start)
    task.feed.close()
    return Rehearsal(float(np.median(times[1:])), needed, has, compiling)


def memory_of(compiled) -> int:
    """Bytes that each device holds in a compiled step, as its compiler counts them."""
    told = compiled.memory_analysis()
    return told.argument_size_in_bytes + told.output_size_in_bytes + told.temp_size_in_bytes - told.alias_size_in_bytes


def stage(config, found, devices, zeros: bool = True):
    """(step over the devices, task, state, placed) on two batches of random images; found: its train source says how large they are.

    zeros: all of the state is 0, and not what a training begins with, which takes longer to draw than a step to compile. A step then takes
    as long, or less: of drawn weights 0.99 times as long in alexnet_32, 1.01 in lenet5_modern, 1.08 in zfnet (two cores, turn by turn).
    """
    config = configs.update(config, {'data.statistics_examples': 1})
    # Of single examples some more, so that most steps begin no pass.
    source, count, side = found['train'], max(2 * config.data.batch_size, 100), config.data.resize
    height, width, channels = source.image_shape or (side, side, configs.network(config).input_shape[-1])
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, height, width, channels), np.uint8)
    labels = random.integers(0, source.num_classes, count, np.int32)
    source = dataclasses.replace(
        source, num_examples=count, fingerprint=f'random {images.shape}', read=lambda index: (list(images[index]), labels[index])
    )
    task = tasks.classification(config, {'train': source}, devices)
    begin = functools.partial(train.initial, config, task, optimizers.plateau(config))
    begun = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(begin)) if zeros else begin()
    state = parallel.replicated(begun, devices)
    placed = parallel.replicated({'store': task.feed.store, 'constants': task.constants}, devices)
    rule, learns = optimizers.optimizer(config, state.params), optimizers.trainable(config, state.params)
    run = parallel.spread_step(train.train_step(task, rule, lambda step: config.optimizer.learning_rate, trainable=learns), devices)
    return run, task, state, placed


def _too_large(config, found, devices, needed, has, kept) -> str:
    """The refusal of a batch, with the largest that fits: a line through its memory and that of half of it."""
    size = config.data.batch_size
    has_words = f'each of the {len(devices)} devices has {memory.gigabytes(has)}'
    said = f'data.batch_size={size} needs {memory.gigabytes(needed)} in a step, as compiled; {has_words}'
    half = max(1, size // 2)
    if half == size:
        return f'{said}; choose a smaller network.'
    run, task, state, placed = stage(configs.update(config, {'data.batch_size': half}), found, devices)
    of_half = memory_of(run.lowered(state, placed, task.feed.batch(0)).compile()) + kept
    task.feed.close()
    fits = int(half + (has - of_half) * (size - half) / max(needed - of_half, 1))
    return f'{said}; {f"the largest that fits is about {fits}" if fits >= 1 else "not one image fits"}.'
