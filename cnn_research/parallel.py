"""The only file that knows that there is more than one device or process.

A step is a pure function of (replicated tree, ..., batch) that adds up what devices must share with `all_sum`. State and data are held
once, replicated, never stacked; batches are split over the devices. Which devices a function is spread over decides who works together:
over those of this process alone, or over those of all processes, each of which then brings its own slice of every batch.

Several processes meet by jax.distributed and agree by its key-value store: run on CPU devices of one machine alone, never on GPUs."""

import atexit
import contextlib
import functools
import importlib.util
import itertools
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_research import malloc, relay
from cnn_research.errors import AGAIN, ConfigError, ResearchError, Stopped, WriteError

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


def local_devices(count: int | None = None) -> list[jax.Device]:
    """This process's devices, or the first `count` of them."""
    return jax.local_devices()[:count]


def devices() -> list[jax.Device]:
    """All devices of all processes, process by process."""
    return local_devices() if jax.process_count() == 1 else sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def process(devices: Sequence[jax.Device] | None = None) -> tuple[int, int]:
    """(index, count) of the processes whose devices these are, by default all that train together."""
    if devices is not None and all(device.process_index == jax.process_index() for device in devices):
        return 0, 1
    return jax.process_index(), jax.process_count()


def leads(devices: Sequence[jax.Device] | None = None) -> bool:
    """Whether this process is the one, of those whose devices these are, that writes."""
    return process(devices)[0] == 0


def all_sum(tree):
    """The sum over all devices of all processes; inside `spread` functions only."""
    count = lax.axis_size(_AXIS)
    if count == 1:  # of one device, XLA CPU makes the sum a copy of the tree: of all gradients
        return tree
    if jax.process_count() > 1 and jax.default_backend() == 'cpu':
        # Gloo adds up in an order of its own; this is that of the devices of one process, so that the same devices give the same bits.
        return jax.tree.map(lambda array: functools.reduce(lambda one, other: one + other, list(lax.all_gather(array, _AXIS))), tree)
    return lax.psum(tree, _AXIS)


def all_gathered(tree) -> list:
    """What every device of all processes has, as a list of trees in their order; inside `spread` functions only."""
    stacked = lax.all_gather(tree, _AXIS)
    return [jax.tree.map(lambda array, device=device: array[device], stacked) for device in range(lax.axis_size(_AXIS))]


def replicated(tree, devices: Sequence[jax.Device]):
    """The tree on every device, held as one array each."""
    sharding = NamedSharding(Mesh(np.array(devices), (_AXIS,)), PartitionSpec())
    if process(devices)[1] == 1:
        return jax.device_put(local(tree), sharding)

    def placed(leaf):
        if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
            return leaf
        array = np.asarray(leaf)  # device_put would have all processes compare what they hold
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(placed, tree)


def local(tree):
    """A replicated tree for work of this process alone: arrays that other processes hold too come to host memory."""
    return jax.tree.map(lambda leaf: np.asarray(leaf) if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable else leaf, tree)


def share_evenly(size: int, devices: Sequence[jax.Device]) -> int:
    """The least batch size, not below `size`, that several processes share evenly; of one process, `size` itself."""
    return size if process(devices)[1] == 1 else -(-size // len(devices)) * len(devices)


def _split(batch: dict[str, np.ndarray], devices: Sequence[jax.Device]) -> dict[str, Any]:
    """This process's (B, ...) on its own among the devices, padded with masked copies of the first example where B does not divide."""
    size, count = len(next(iter(batch.values()))), sum(device.process_index == jax.process_index() for device in devices)
    batch = {'mask': np.ones(size, bool), **batch}
    missing = -size % count
    if missing:
        batch = {name: np.concatenate([a, np.repeat(a[:1], missing, axis=0)]) for name, a in batch.items()}
        batch['mask'][size:] = False
    if process(devices)[1] == 1:
        return batch
    sharding = NamedSharding(Mesh(np.array(devices), (_AXIS,)), PartitionSpec(_AXIS))
    return {name: jax.make_array_from_process_local_data(sharding, array) for name, array in batch.items()}


def _spread(function, devices: Sequence[jax.Device], out, **how):
    """function(tree, placed, batch), compiled: the trees replicated, the batch split, the result as `out` says."""
    whole, parts = PartitionSpec(), PartitionSpec(_AXIS)
    mapped = jax.shard_map(function, mesh=Mesh(np.array(devices), (_AXIS,)), in_specs=(whole, whole, parts), out_specs=out, check_vma=False)
    return jax.jit(mapped, compiler_options=compiler_options(), **how)


def spread_step(step, devices: Sequence[jax.Device], stop: Callable[[], bool] = lambda: False):
    """step(state, placed, batch) -> (state, metrics) over the devices: state is donated, both results come back as one copy.

    batch: dict of arrays (B, ...) in host memory, of several processes each its own slice; the step sees its own share, with a 'mask'
    (False on padding). stop: of several processes, metrics['stop'] counts those in which it said so before the step.
    """
    count = process(devices)[1]

    def shared(state, placed, batch):
        asked = batch.pop('stop')
        state, metrics = step(state, placed, batch)
        return state, {**metrics, 'stop': all_sum(asked[0])}

    compiled = _spread(step if count == 1 else shared, devices, PartitionSpec(), donate_argnums=0)
    if devices[0].platform == 'cpu':
        malloc.keep_freed_memory()
    # Two steps in flight can starve each other of threads in XLA CPU's all-reduce, and then wait for ever.
    one_at_a_time = len(devices) > 1 and devices[0].platform == 'cpu'

    def parts(batch):
        return _split(batch if count == 1 else {**batch, 'stop': np.full(len(next(iter(batch.values()))), stop(), np.float32)}, devices)

    def run(state, placed, batch):
        with _others_there(count):
            state, metrics = compiled(state, placed, parts(batch))
            if one_at_a_time:
                jax.block_until_ready(metrics)
        return state, metrics

    run.lowered = lambda state, placed, batch: compiled.lower(state, placed, parts(batch))
    return run


def spread_map(function, devices: Sequence[jax.Device]):
    """function(variables, placed, batch) -> tree of arrays (B, ...), over the devices; the result, in host memory, without padding.

    Of several processes each brings its own slice of the batch, and has the result of all. A batch may have a 'mask', False on padding.
    """
    count = process(devices)[1]

    def gathered(variables, placed, batch):
        return lax.all_gather((function(variables, placed, dict(batch)), batch['mask']), _AXIS, tiled=True)

    compiled = _spread(gathered, devices, PartitionSpec()) if count > 1 else _spread(function, devices, PartitionSpec(_AXIS))

    def run(variables, placed, batch):
        batch = _split(batch, devices)
        with _others_there(count):
            parts, mask = compiled(variables, placed, batch) if count > 1 else (compiled(variables, placed, batch), batch['mask'])
            counted = np.asarray(mask)
            return jax.tree.map(lambda array: np.asarray(array)[counted], parts)

    return run


PATIENCE = 30.0  # seconds without a sign of life after which a process counts as ended
REACH = 300.0  # seconds in which processes that train together must have met
_BEAT = 0.5  # seconds between signs of life
_FOR_EVER = 7 * 24 * 3600  # seconds
_turns = itertools.count()


class _Started:
    """What `start` has done in this process: asked for what, whether others may still end it, and how that is said."""

    asked: tuple | None = None
    together = False
    lock = threading.Lock()

    @staticmethod
    def say(text: str) -> None:
        sys.stderr.write(f'{text}\n')


def start(coordinator: str = '', processes: int = 0, process: int = 0, say: Callable[[str], None] | None = None) -> None:
    """Makes this process one of several that train together; called before anything asks for a device, and then as often as one likes.

    The values of the fields parallel.*: where nothing is given, a SLURM step, a Kubernetes indexed job or a TPU pod of several processes
    is found out by jax.distributed, and a process elsewhere works alone. say: is given the line before this process is ended with exit
    code 75, because another one has or never came. ConfigError where they cannot be looked for, or this process has begun otherwise.
    """
    asked = (coordinator, processes, process)
    if _Started.asked == asked or _Started.together and asked == ('', 0, 0):
        return
    if _Started.together or jax.distributed.is_initialized():
        raise ConfigError(f'parallel.processes={processes} comes too late: this process is already one of {jax.process_count()}.')
    _Started.say, local = say or _Started.say, None
    try:
        if not processes and expected(processes) > 1:
            coordinator, processes, process, local = _found_out()
        if (processes or 1) > 1:
            _connect(coordinator, processes, process, local)
    except (RuntimeError, ValueError) as error:
        text = ' '.join(str(error).split())[:300]
        raise ConfigError(f'process {process} of {processes} cannot meet the others at {coordinator or "their cluster"}: {text}') from None
    _Started.asked = asked
    if (processes or 1) == 1:
        return
    _Started.together = True
    atexit.register(finish, PATIENCE)  # before that of JAX, which would wait for ever for processes that have failed
    threading.Thread(target=_watch, args=(process, processes), daemon=True).start()
    counts = [sum(device.process_index == number for device in jax.devices()) for number in range(processes)]
    if len(set(counts)) > 1:
        raise ConfigError(f'the processes have {", ".join(map(str, counts))} devices; give each as many as the others.')


def expected(processes: int) -> int:
    """How many processes `start` brings together, by the value of the field parallel.processes and what it finds."""
    return processes or (_on_a_cluster() and _found_out()[1]) or 1


@functools.cache
def _on_a_cluster() -> bool:
    """Whether something in the environment of this process speaks of others; what it says is for jax.distributed to find out."""
    there = os.environ
    slurm = there.get('SLURM_NTASKS', '1') != '1' and 'SLURM_PROCID' in there and 'SLURM_STEP_NODELIST' in there
    pods = 'KUBERNETES_SERVICE_HOST' in there and 'JOB_COMPLETION_INDEX' in there
    if pods and importlib.util.find_spec('kubernetes') is None:
        _Started.say("a Kubernetes indexed job, whose other processes are not looked for: that needs pip install 'jax[k8s]'")
        pods = False
    return slurm or pods or importlib.util.find_spec('libtpu') is not None


@functools.cache
def _found_out():
    """(coordinator, processes, process, ids of the local devices) as jax.distributed finds them; None where it finds nothing."""
    from jax._src.clusters import ClusterEnv  # what jax.distributed.initialize asks; it would start also where there is one process

    return ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, 300)


def _connect(coordinator, processes, process, local) -> None:
    if jax.config.jax_cpu_collectives_implementation in (None, 'none'):
        jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    unmet = f'process {process} of {processes} has not met the others at {coordinator} within {REACH:g} s; give each its command again'
    late = threading.Timer(REACH, _leave, [unmet])
    late.daemon = True
    late.start()
    if process:
        relay.reach(coordinator)
        coordinator = relay.through(coordinator, lambda: _end(0))
    # Where a process ends or is late, `late`, `_watch` or the relay ends the others; jax.distributed would abort them with a trace.
    patient = dict.fromkeys(('initialization_timeout', 'heartbeat_timeout_seconds', 'shutdown_timeout_seconds'), _FOR_EVER)
    jax.distributed.initialize(coordinator, processes, process, local, 'deactivate', **patient)
    late.cancel()


def _client():
    from jax._src import distributed  # the store of keys and values has no other way in

    return distributed.global_state.client


def _watch(own: int, count: int) -> None:
    """Gives signs of life, and ends this process where another one gives none."""
    seen = {number: ('', time.monotonic()) for number in range(count)}
    for beat in itertools.count():
        try:
            _client().key_value_set(f'alive/{own}', str(beat), allow_overwrite=True)
            told = {int(name.rpartition('/')[2]): value for name, value in _client().key_value_dir_get('alive/')}
        except (RuntimeError, AttributeError):  # no answer, or this process is ending
            told = {}
        now = time.monotonic()
        if not _Started.together:
            return
        for number, (value, since) in seen.items():
            if told.get(number, value) != value:
                seen[number] = (told[number], now)
            elif number != own and now - since > PATIENCE:
                _end(number)
        time.sleep(_BEAT)


def _end(number: int) -> None:
    with _Started.lock:
        if _Started.together:
            count = jax.process_count()
            _leave(f'process {number} of {count} has ended, and so does this one; the same command goes on from what was saved')


def _leave(text: str) -> None:
    """Ends this process at once; a thread that waits for another process in a collective can be ended in no other way."""
    _Started.say(text)
    _exit(AGAIN)


def _exit(code: int) -> None:
    for child in multiprocessing.active_children():
        child.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def _others_there(count: int):
    """Where a collective of several processes fails, another one may have ended: that is waited for and said; else it is a bug."""
    try:
        yield
    except jax.errors.JaxRuntimeError:
        if count > 1:
            time.sleep(PATIENCE + 4 * _BEAT)
        raise


def _kinds(kind: type = ResearchError) -> dict[str, type]:
    """Every error that a user can cause, by name."""
    return {kind.__name__: kind} | {name: one for below in kind.__subclasses__() for name, one in _kinds(below).items()}


def agreed(function: Callable[[], Any], devices: Sequence[jax.Device] | None = None) -> list:
    """What `function` gave in each process, as JSON has it; where it raised a ResearchError or Stopped in one of them, they all do.

    Of one process, [function()]. All must call it, in the same order.
    """
    index, count = process(devices)
    if count == 1:
        return [function()]
    turn, own, error = f'agreed/{next(_turns)}', {}, None
    try:
        own['found'] = function()
    except (ResearchError, Stopped) as problem:
        error = problem
        own = {'kind': type(problem).__name__, 'message': str(problem), **vars(problem)}
    with _others_there(count):
        _client().key_value_set(f'{turn}/{index}', json.dumps(own))
        told = [json.loads(_client().blocking_key_value_get(f'{turn}/{number}', 1000 * _FOR_EVER)) for number in range(count)]
    if error:
        raise error
    for number, one in enumerate(told):
        if one.get('kind') == 'Stopped':
            raise Stopped(one['step'])
        if 'kind' in one:
            kind, message = _kinds().get(one['kind'], ResearchError), f'process {number}: {one["message"]}'
            raise kind(message, one['errno']) if kind is WriteError else kind(message)
    return [one['found'] for one in told]


def each(function: Callable[[], Any], devices: Sequence[jax.Device] | None = None) -> Any:
    """What `function` gave in this process, whatever it is; its errors are those of all, as in `agreed`."""
    found: list = []
    agreed(lambda: found.append(function()), devices)
    return found[0]


def led(function: Callable[[], Any], devices: Sequence[jax.Device] | None = None) -> Any:
    """What `function` gave in the process that leads, which alone calls it, as JSON has it; the others wait for it, as in `agreed`."""
    return agreed(lambda: function() if leads(devices) else None, devices)[0]


def together() -> bool:
    """Whether `start` has made this process one of several, which must `finish` together."""
    return _Started.together


def finish(seconds: float = _FOR_EVER, code: int = 1) -> None:
    """The end of the work of several processes, for which each waits; where they do not come, the process ends at once with the code."""
    if not _Started.together:
        return
    try:
        _client().wait_at_barrier('finish', int(1000 * seconds))
    except RuntimeError:  # they are elsewhere
        _exit(code)
    with _Started.lock:
        _Started.together = False
    jax.distributed.shutdown()
