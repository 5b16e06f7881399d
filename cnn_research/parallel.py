"""The only file that knows that there is more than one device or process.

A step is a pure function of (replicated tree, ..., batch) that adds up what devices must share with `all_sum`. State and data are held
once, replicated, never stacked; batches are split over the local devices. Several processes and several GPUs go the same way, but only
several CPU devices of one process have been run.
"""

import ctypes
import functools
from collections.abc import Sequence

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_AXIS = 'devices'
# XLA CPU sends convolutions of at most 64 output channels to a library that runs them on one thread; asking for dot fusions only gives
# threaded Eigen convolutions instead: a 3-channel first layer fell from 29 to 10 ms on two cores (jax 0.10.2).
_CPU_OPTIONS = {'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT'}


@functools.cache
def compiler_options() -> dict | None:
    """Options for jax.jit on this platform; None where there are none, or this jaxlib does not know them."""
    if jax.default_backend() != 'cpu':
        return None
    try:  # the option is experimental: a jaxlib without it refuses at the first compilation
        jax.jit(lambda x: x + 1, compiler_options=_CPU_OPTIONS)(0.0)
    except Exception:  # whatever jaxlib raises for an option it does not know
        return None
    return _CPU_OPTIONS


@functools.cache
def _keep_freed_memory():
    """Has glibc keep what a step frees for the next one, until the process ends.

    By default a step's temporary memory goes back to the system after each step and is fetched again page by page: 39 instead of 53 ms
    for a step of the 18 % CIFAR net on two cores. Other C libraries have no mallopt.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    trim_threshold, mmap_max, arena_max = -1, -4, -8  # of malloc.h
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)
    mallopt(arena_max, 1)  # the arenas of XLA's threads would still give back what is smaller than 64 MB


def local_devices(count: int | None = None) -> list[jax.Device]:
    """This process's devices, or the first `count` of them."""
    return jax.local_devices()[:count]


def process() -> tuple[int, int]:
    """(index, count) of the processes that train together."""
    return jax.process_index(), jax.process_count()


def all_sum(tree):
    """The sum over all devices of all processes; inside `spread` functions only."""
    # Of one device, XLA CPU makes the sum a copy of the tree: of all gradients.
    return tree if lax.axis_size(_AXIS) == 1 else lax.psum(tree, _AXIS)


def all_gathered(tree) -> list:
    """What every device of all processes has, as a list of trees in their order; inside `spread` functions only."""
    stacked = lax.all_gather(tree, _AXIS)
    return [jax.tree.map(lambda array, device=device: array[device], stacked) for device in range(lax.axis_size(_AXIS))]


def replicated(tree, devices: Sequence[jax.Device]):
    """The tree on every device, held as one array each."""
    return jax.device_put(tree, NamedSharding(Mesh(np.array(devices), (_AXIS,)), PartitionSpec()))


def _split(batch: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """(B, ...) to (devices, B / devices, ...), padded with masked copies of the first example where B does not divide."""
    size = len(next(iter(batch.values())))
    batch = {'mask': np.ones(size, bool), **batch}
    missing = -size % count
    if missing:
        batch = {name: np.concatenate([a, np.repeat(a[:1], missing, axis=0)]) for name, a in batch.items()}
        batch['mask'][size:] = False
    return {name: a.reshape(count, -1, *a.shape[1:]) for name, a in batch.items()}


def spread_step(step, devices: Sequence[jax.Device]):
    """step(state, placed, batch) -> (state, metrics) over the devices: state is donated, both results come back as one copy.

    batch: dict of arrays (B, ...) in host memory; the step sees its own share, with a 'mask' (False on padding).
    """
    mapped = jax.pmap(step, axis_name=_AXIS, in_axes=(None, None, 0), out_axes=(None, None), devices=devices)
    compiled = jax.jit(mapped, donate_argnums=0, compiler_options=compiler_options())
    if devices[0].platform == 'cpu':
        _keep_freed_memory()
    # Two steps in flight can starve each other of threads in XLA CPU's all-reduce, and then wait for ever.
    one_at_a_time = len(devices) > 1 and devices[0].platform == 'cpu'

    def run(state, placed, batch):
        state, metrics = compiled(state, placed, _split(batch, len(devices)))
        if one_at_a_time:
            jax.block_until_ready(metrics)
        return state, metrics

    run.lowered = lambda state, placed, batch: compiled.lower(state, placed, _split(batch, len(devices)))
    return run


def memory_of(run, state, placed, batch) -> int:
    """Bytes that each device holds in a step of `spread_step`, as its compiler counts them; nothing is run."""
    told = run.lowered(state, placed, batch).compile().memory_analysis()
    return told.argument_size_in_bytes + told.output_size_in_bytes + told.temp_size_in_bytes - told.alias_size_in_bytes


def spread_map(function, devices: Sequence[jax.Device]):
    """function(variables, placed, batch) -> tree of arrays (B, ...), over the devices; the result, in host memory, without padding."""
    mapped = jax.pmap(function, axis_name=_AXIS, in_axes=(None, None, 0), out_axes=0, devices=devices)
    compiled = jax.jit(mapped, compiler_options=compiler_options())

    def run(variables, placed, batch):
        size = len(next(iter(batch.values())))
        parts = compiled(variables, placed, _split(batch, len(devices)))
        return jax.tree.map(lambda a: np.asarray(a).reshape(-1, *a.shape[2:])[:size], parts)

    return run
