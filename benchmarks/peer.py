"""An architecture in PyTorch, written from the same data and given the same weights."""

import functools
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import footing
from cnn_research import stages
from cnn_research.architecture import Architecture
from cnn_research.errors import ArchitectureError, ConfigError

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit('The benchmarks need PyTorch: pip install -r requirements.txt, then -r benchmarks/requirements.txt')


@dataclass(frozen=True)
class Options:
    """How PyTorch runs: device 'cpu' (float32) or 'gpu' (compiled, bfloat16 by autocast); `optimizer` is a keyword of torch.optim.SGD."""

    device: str = 'cpu'
    channels_last: bool = True
    optimizer: str = 'foreach'
    mixed: bool = False

    @property
    def name(self) -> str:
        parts = ('channels_last' if self.channels_last else 'contiguous', self.optimizer, 'compiled, bfloat16' * self.mixed)
        return ', '.join(filter(None, parts))

    @property
    def where(self) -> str:
        return 'cuda' if self.device == 'gpu' else 'cpu'

    @property
    def layout(self):
        return torch.channels_last if self.channels_last else torch.contiguous_format


def choices(device: str) -> list[Options]:
    """What is tried to find PyTorch's fastest form."""
    if device == 'gpu':
        return [Options(device, True, 'fused', mixed=True)]
    return [Options(device, last, optimizer) for last in (True, False) for optimizer in ('foreach', 'fused')]


class _WithinMaps(nn.Module):
    """x / (k + share sum of squares over size x size pixels of the same map)^beta."""

    def __init__(self, size, share, beta, k):
        super().__init__()
        self.size, self.share, self.beta, self.k = size, share, beta, k

    def forward(self, x):
        means = nn.functional.avg_pool2d(x * x, self.size, 1, self.size // 2)
        return x / (self.k + self.share * self.size**2 * means) ** self.beta


def _convolution(s, shape):
    if s.ceil or s.table is not None:
        raise ArchitectureError('PyTorch has no convolution with ceil or a connection table; choose a network without.')
    return [nn.Conv2d(shape[-1], s.features, s.kernel, s.stride, s.padding, groups=s.groups)]


def _response(s, shape):
    if s.across:  # PyTorch divides alpha by the window's size
        return [nn.LocalResponseNorm(s.size, s.alpha if s.divided else s.alpha * s.size, s.beta, s.k)]
    if s.size % 2 == 0:
        raise ArchitectureError(f'the translation of a response within maps needs an odd size, not {s.size}.')
    return [_WithinMaps(s.size, s.alpha / s.size**2 if s.divided else s.alpha, s.beta, s.k)]


# Modules for a stage and the shape (H, W, C) or (n,) that comes in.
_MODULES = {
    stages.Convolution: _convolution,
    stages.Dense: lambda s, shape: [nn.Flatten()] * (len(shape) == 3) + [nn.Linear(int(np.prod(shape)), s.features)],
    stages.ReLU: lambda s, shape: [nn.ReLU(inplace=True)],
    stages.MaxPool: lambda s, shape: [nn.MaxPool2d(s.kernel, s.stride, s.padding, ceil_mode=s.ceil)],
    stages.AveragePool: lambda s, shape: [nn.AvgPool2d(s.kernel, s.stride, s.padding, s.ceil, count_include_pad=False)],
    stages.Response: _response,
    stages.Dropout: lambda s, shape: [nn.Dropout(s.rate)],
}


def _placed(net: Architecture):
    """(layer's name, stage's name, stage, shape that comes in), from the image up."""
    rows = iter(net.rows)
    return [(layer.name, name, stage, next(rows).input) for layer in net.layers for name, stage in layer.named_stages()]


def module(net: Architecture) -> nn.Sequential:
    """The network as a plain nn.Module of (B, C, H, W); ArchitectureError for a stage without a counterpart here."""
    modules = []
    for layer, name, stage, shape in _placed(net):
        if type(stage) not in _MODULES:
            known = ', '.join(kind.name for kind in _MODULES)
            raise ArchitectureError(f'{net.name}: {layer}.{name} is not translated to PyTorch; the stages that are: {known}.')
        modules += _MODULES[type(stage)](stage, shape)
    return nn.Sequential(*modules)


def arrays(net: Architecture, params) -> list[np.ndarray]:
    """Our parameters as module(net).parameters() orders and lays them out: maps are flattened as H, W, C here, as C, H, W there."""
    found = []
    for layer, name, stage, shape in _placed(net):
        if not stage.parameters(shape):
            continue
        kernel = np.asarray(params[layer][name]['kernel'])
        if kernel.ndim == 4:
            kernel = kernel.transpose(3, 2, 0, 1)
        else:
            kernel = kernel.reshape(*shape, -1).transpose(-1, *((2, 0, 1) if len(shape) == 3 else (0,))).reshape(kernel.shape[1], -1)
        found += [np.ascontiguousarray(kernel), np.asarray(params[layer][name]['bias'])]
    return found


def loaded(net: Architecture, params, options: Options) -> nn.Module:
    """The network with these weights, in the layout of the options."""
    built = module(net)
    with torch.no_grad():
        for parameter, array in zip(built.parameters(), arrays(net, params), strict=True):
            parameter.copy_(torch.from_numpy(array.copy()))
    return built.to(options.where, memory_format=options.layout)


def tensor(images: np.ndarray, options: Options):
    """Images (B, H, W, C) as PyTorch takes them: (B, C, H, W)."""
    tensor = torch.from_numpy(np.array(images.transpose(0, 3, 1, 2)))
    return tensor.to(options.where).contiguous(memory_format=options.layout)


def threads() -> int:
    """Gives PyTorch as many threads as XLA takes, and says how many."""
    if torch.get_num_threads() != os.cpu_count():
        torch.set_num_threads(os.cpu_count())
    return torch.get_num_threads()


def version() -> str:
    return torch.__version__


def begin(device: str) -> None:
    """Makes both sides compute on the 'cpu' or the 'gpu'; ConfigError where one of them sees none."""
    footing.begin(device)
    if device == 'gpu' and not torch.cuda.is_available():
        raise ConfigError('--device=gpu needs a build of torch that sees the GPU; choose --device=cpu.')


def logits(net: Architecture, params, images: np.ndarray, device: str = 'cpu') -> np.ndarray:
    """(B, classes) of prepared images (B, H, W, C), without dropout."""
    options = Options(device)
    with torch.no_grad():
        return loaded(net, params, options).eval()(tensor(images, options)).cpu().numpy()


def trainer(
    net: Architecture, params, batches: Sequence, options: Options, rate: float, momentum: float, decay: float
) -> tuple[nn.Module, Callable[[int], None]]:
    """(module, advance): advance(steps) takes so many training steps through the batches in turn, and waits for them."""
    threads()
    built = loaded(net, params, options).train()
    ready = [(tensor(images, options), torch.from_numpy(np.asarray(labels, np.int64)).to(options.where)) for images, labels in batches]
    rule = torch.optim.SGD(built.parameters(), rate, momentum, weight_decay=decay, **{options.optimizer: True})
    run = torch.compile(built) if options.mixed else built
    mixed = functools.partial(torch.autocast, options.where, torch.bfloat16, enabled=options.mixed)
    done = 0

    def advance(steps):
        nonlocal done
        for _ in range(steps):
            images, labels = ready[done % len(ready)]
            done += 1
            rule.zero_grad(set_to_none=True)
            with mixed():
                loss = nn.functional.cross_entropy(run(images), labels)
            loss.backward()
            rule.step()
        loss.item()  # waits for a GPU

    return built, advance


def _answers(*arguments) -> Callable:
    """A `trainer` as one function: a number asks for so many steps, 'parameters' and 'work' for these."""
    built, advance = trainer(*arguments)
    answers = {
        'parameters': lambda: [p.detach().cpu().numpy().copy() for p in built.parameters()],
        'work': lambda: sum(os.times()[:2]),
    }
    return lambda asked: answers[asked]() if asked in answers else advance(asked)


def _serve(connection, make: Callable, *arguments) -> None:
    """What the process of `served` does: it answers what it is asked, until the other side has no more use for it."""
    answer = make(*arguments)
    connection.send(None)
    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        connection.send(answer(asked))


def served(make: Callable, *arguments) -> Callable:
    """The function make(*arguments) of one argument, in a process of its own, which ends with it.

    So each side runs as its users run it: ours sets this process's allocator to keep what a step frees, which serves PyTorch too.
    """
    spawning = multiprocessing.get_context('spawn')
    here, there = spawning.Pipe()
    spawning.Process(target=_serve, args=(there, make, *arguments), daemon=True).start()
    there.close()
    here.recv()

    def ask(what):
        here.send(what)
        return here.recv()

    return ask


def apart(*arguments) -> Callable:
    """A `trainer` in a process of its own, as a function of what `_answers` takes."""
    return served(_answers, *arguments)
