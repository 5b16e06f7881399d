"""What a training and its evaluations need, from sizes alone, and whether this machine has it; asked before anything is allocated.

The estimates are of what XLA sets aside on CPU: between half and about all of it for the networks of the zoo, so that nothing that fits
is refused. What Python, the libraries and the scratch memory of convolutions take comes on top.
"""

import functools
import math
from collections.abc import Mapping

from cnn_research import parallel, stages
from cnn_research.architecture import Architecture
from cnn_research.data.memory import gigabytes, total
from cnn_research.data.sources import Source
from cnn_research.errors import ConfigError

_WORKER = 100e6  # bytes of a process that decodes
_PROGRAM = 700e6  # bytes of Python, JAX and what they load
_VIEWS = {'centre': 1, 'ten': 10}


@functools.cache
def machine() -> float:
    """Bytes that this process can have: of its accelerators together or, without one, of the machine or the container."""
    limits = [(device.memory_stats() or {}).get('bytes_limit') for device in parallel.local_devices()]
    if all(limits):
        return sum(limits)
    return total()


def _learned(config, net: Architecture) -> int:
    """Bytes of parameters, gradients and what the optimizer keeps, and of the masks of DropConnect: bits for each
    example, one masked kernel and its gradient."""
    masked = sum(row.parameters for row in net.rows if row.stage == 'dropconnect')
    return 4 * net.parameters * (3 if config.optimizer.name == 'momentum' else 4) + (8 + config.data.batch_size / 8) * masked


def _patches(net: Architecture) -> dict[int, int]:
    """{index of a row: numbers under all windows of an image}, which locally connected stages copy."""
    every = [stage for layer in net.layers for stage in layer.stages]
    local = [index for index, stage in enumerate(every) if isinstance(stage, stages.LocallyConnected)]
    return {index: math.prod(net.rows[index].output[:2]) * every[index].kernel ** 2 * net.rows[index].input[2] for index in local}


def _canvas(config, net: Architecture) -> int:
    """Pixels of an image before its crop."""
    return math.prod(max(side, config.data.resize) for side in net.input_shape[:2])


def _trained_image(config, net: Architecture) -> int:
    """Bytes of an image in a training step: its pixels, as they are and distorted, and every map that its gradient needs again."""
    augment, channels = config.augment, net.input_shape[2]
    warped = any(augment[name] for name in ('shift', 'scale', 'rotation', 'shear', 'elastic'))
    numbers = sum(math.prod(row.output) for row in net.rows) + 2 * sum(_patches(net).values())
    width = 2 if config.dtype == 'bfloat16' else 4
    return width * numbers + _canvas(config, net) * (channels + 4 * (channels + 2) * warped)


def _evaluated_image(config, net: Architecture) -> int:
    """Bytes of a test image: its pixels and, in every view, the largest map together with what it is computed from."""
    every, patches = [stage for layer in net.layers for stage in layer.stages], _patches(net)
    largest = max(
        math.prod(row.input) + math.prod(row.output) + patches.get(index, 0)
        for index, (row, stage) in enumerate(zip(net.rows, every, strict=True))
        if stage.role not in ('nonlinearity', 'dropout')  # computed in place
    )
    width = 2 if config.dtype == 'bfloat16' else 4
    return width * largest * _VIEWS[config.evaluate.views] + _canvas(config, net) * net.input_shape[2]


def training(config, net: Architecture) -> float:
    """Bytes that a training step needs, roughly: parameters, gradients, what the optimizer keeps, and the maps of a batch."""
    return _learned(config, net) + config.data.batch_size * _trained_image(config, net)


def evaluation(config, net: Architecture) -> float:
    """Bytes that an evaluation needs, roughly: the parameters, and the largest maps of a batch in all views."""
    return 4 * net.parameters + config.evaluate.batch_size * _evaluated_image(config, net)


def _check_batch(name: str, count: int, image: float, learned: float, net: Architecture, have: float) -> None:
    has, left = f'this machine has {gigabytes(have)}', have - learned
    if left < 0:
        most = max(net.rows, key=lambda row: row.parameters)
        raise ConfigError(
            f'{net.name} learns {net.parameters:,} numbers, {most.parameters:,} of them in layer {most.layer}; '
            f'they need about {gigabytes(learned)}; {has}.'
        )
    if image > left:
        largest = max(net.rows, key=lambda row: math.prod(row.output))
        maps = f'the largest are the {"x".join(map(str, largest.output))} of layer {largest.layer}'
        raise ConfigError(f'one image needs about {gigabytes(image)} for the maps of {net.name}; {maps}; {has}.')
    if count * image > left:
        needs = f'needs about {gigabytes(count * image)} for the maps of {net.name}'
        raise ConfigError(f'{name}={count} {needs}; {has}; the largest that fits is about {int(left // image)}.')


def check_evaluation(config, net: Architecture, available: float | None = None) -> None:
    """ConfigError where a network's weights, its maps of one image or those of evaluate.batch_size images need more memory than this
    machine has, or than the `available` bytes; for a network that is only looked at."""
    have = machine() if available is None else available
    _check_batch('evaluate.batch_size', config.evaluate.batch_size, _evaluated_image(config, net), 4 * net.parameters, net, have)


def batch(net: Architecture, most: int, available: float | None = None) -> int:
    """How many images a pass through a network takes at once, at most `most`, so that their largest maps fit in half of the memory that the
    weights leave; ConfigError where not even one does."""
    left = ((machine() if available is None else available) - 4 * net.parameters) / 2
    numbers = max(math.prod(row.input) + math.prod(row.output) for row in net.rows)
    if 4 * numbers > left:
        needs = f'one image needs about {gigabytes(4 * numbers)} for the maps of {net.name}'
        raise ConfigError(f'{needs}; this machine has {gigabytes(machine())}.')
    return max(1, min(most, int(left // (4 * numbers))))


def check(config, net: Architecture, found: Mapping[str, Source] | None = None, available: float | None = None) -> None:
    """ConfigError naming the field by which a training and its evaluations need more memory than this machine has, or than `available`.

    available: bytes. found: the sources by role, where they are open.
    """
    have = machine() if available is None else available
    has, data = f'this machine has {gigabytes(have)}', config.data
    canvas = _canvas(config, net) * net.input_shape[2] if data.resize else 0
    for name, value, size, what in (
        # augment.smoothing adds up a line of 16 sigma float64 numbers.
        ('augment.elastic_sigma', config.augment.elastic_sigma, 384 * config.augment.elastic_sigma * bool(config.augment.elastic), ''),
        ('data.workers', data.workers, data.workers * _WORKER, ' for as many processes'),
        # augment.statistics adds up float64 images.
        ('data.resize', data.resize, 24 * canvas, ' for one image'),
        ('data.resident_gb', data.resident_gb, resident(config, found or {}), ' for pixels, which a lower one would read while training'),
    ):
        if size > have:
            raise ConfigError(f'{name}={value:.16g} needs about {gigabytes(size)}{what}; {has}.')
    processes = parallel.process()[1]  # each takes its share of a batch
    _check_batch('data.batch_size', data.batch_size, _trained_image(config, net) / processes, _learned(config, net), net, have)
    check_evaluation(config, net, have)


def host(config, net: Architecture, found: Mapping[str, Source]) -> float:
    """Bytes of the machine's memory that a training takes beside its devices', roughly: the program, the pixels that stay, and the
    processes that decode with the batches on their way from them."""
    batch = config.data.batch_size * _canvas(config, net) * net.input_shape[2]
    streamed = any(resident(config, {role: source}) == 0 for role, source in found.items())
    return _PROGRAM + resident(config, found) + streamed * config.data.workers * (_WORKER + 3 * batch) + 2 * batch


def saved(config, net: Architecture) -> tuple[float, int]:
    """(bytes of a checkpoint, how many there are at most: those that stay, those of checkpoint.marks and the one being written)."""
    marks = [mark for mark in config.checkpoint.marks.split(',') if mark.strip()]
    return 4 * net.parameters * (2 if config.optimizer.name == 'momentum' else 3), config.checkpoint.keep + len(marks) + 1


def resident(config, found: Mapping[str, Source]) -> float:
    """Bytes of the pixels that stay in memory, of those sources whose image size is known."""
    side, total = config.data.resize, 0
    for source in found.values():
        shape = (side, side, source.image_shape[2] if source.image_shape else 3) if side else source.image_shape or (0,)
        size = source.num_examples * math.prod(shape)
        total += size if size <= config.data.resident_gb * 1e9 else 0
    return total
