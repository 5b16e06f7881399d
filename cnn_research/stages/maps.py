"""The learned linear maps, one of which opens each layer."""

import math
from dataclasses import dataclass
from typing import ClassVar

from cnn_research.errors import ArchitectureError
from cnn_research.stages.base import Shape, Stage, Windowed


def fan_in(stage: Stage, shape: Shape, name: str = 'kernel') -> tuple[int, ...]:
    """Inputs of a unit, one number for each index of the last axis of a kernel, the parameter `name` (LeNet-5's partial maps differ among
    themselves)."""
    if isinstance(stage, Convolution) and stage.table:
        return tuple(stage.kernel**2 * len(row) for row in stage.table for _ in row)
    kernel = stage.parameters(shape)[name]
    inputs = kernel[-2] if isinstance(stage, LocallyConnected) else math.prod(kernel[:-1])
    return (inputs,) * kernel[-1]


@dataclass(frozen=True)
class Convolution(Windowed):
    """A convolution: `features` maps, square kernel, explicit zero padding; `ceil` covers the whole width as cuda-convnet does.

    `groups` splits maps into towers (Krizhevsky et al. 2012, Fig. 2). `table` lists for every output map the input maps that it sees
    (LeCun et al. 1998, Table I); only kernels in the table exist, as parameters and as products.
    """

    features: int
    kernel: int
    stride: int = 1
    padding: int = 0
    ceil: bool = False
    groups: int = 1
    table: tuple[tuple[int, ...], ...] | None = None
    role: ClassVar[str] = 'map'
    name: ClassVar[str] = 'convolution'

    def output(self, shape):
        sides, channels = self.spatial(shape), shape[2]
        if channels % self.groups or self.features % self.groups:
            raise ArchitectureError(f'{self.groups} groups do not divide {channels} input maps and {self.features} output maps.')
        if self.table is not None:
            if len(self.table) != self.features or self.groups != 1:
                raise ArchitectureError(f'a connection table of {len(self.table)} rows does not fit {self.features} maps in 1 group.')
            if max(map(max, self.table)) >= channels:
                raise ArchitectureError(f'the connection table names map {max(map(max, self.table))}, but only {channels} come in.')
        return (*sides, self.features)

    def _kernels(self, shape) -> int:
        return sum(map(len, self.table)) if self.table else shape[2] // self.groups * self.features

    def parameters(self, shape):
        kernel = (self._kernels(shape),) if self.table else (shape[2] // self.groups, self.features)
        return {'kernel': (self.kernel, self.kernel, *kernel), 'bias': (self.features,)}

    def multiply_adds(self, shape):
        return math.prod(self.output(shape)[:2]) * self.kernel**2 * self._kernels(shape)

    def connections(self, shape):
        return self.multiply_adds(shape) + math.prod(self.output(shape))


@dataclass(frozen=True)
class Expand(Windowed):
    """The expand half of a fire module (Iandola et al. 2016, 3.1): a 3x3 convolution with padding 1 of whose `features` maps the first
    `pointwise` see only the pixel below them; for those no other weights exist, as parameters or as products."""

    features: int
    pointwise: int
    kernel: ClassVar[int] = 3
    stride: ClassVar[int] = 1
    padding: ClassVar[int] = 1
    role: ClassVar[str] = 'map'
    name: ClassVar[str] = 'expand'

    def output(self, shape):
        if self.pointwise >= self.features:
            raise ArchitectureError(f'of the {self.features} maps of expand fewer must be pointwise, not {self.pointwise}.')
        return (*self.spatial(shape), self.features)

    def parameters(self, shape):
        kernels = {'pointwise': (1, 1, shape[2], self.pointwise), 'kernel': (3, 3, shape[2], self.features - self.pointwise)}
        return {**kernels, 'bias': (self.features,)}

    def multiply_adds(self, shape):
        parameters = self.parameters(shape)
        return math.prod(self.output(shape)[:2]) * sum(math.prod(parameters[name]) for name in ('pointwise', 'kernel'))

    def connections(self, shape):
        return self.multiply_adds(shape) + math.prod(self.output(shape))


@dataclass(frozen=True)
class LocallyConnected(Windowed):
    """A convolution whose kernel and bias differ at every position (cuda-convnet's 11 % net; Taigman et al. 2014)."""

    features: int
    kernel: int
    stride: int = 1
    padding: int = 0
    role: ClassVar[str] = 'map'
    name: ClassVar[str] = 'locally_connected'

    def output(self, shape):
        return (*self.spatial(shape), self.features)

    def parameters(self, shape):
        height, width, _ = self.output(shape)
        return {'kernel': (height, width, self.kernel**2 * shape[2], self.features), 'bias': (height, width, self.features)}

    def multiply_adds(self, shape):
        return math.prod(self.parameters(shape)['kernel'])

    def connections(self, shape):
        return self.multiply_adds(shape) + math.prod(self.output(shape))


@dataclass(frozen=True)
class Dense(Stage):
    """Every feature sees every input; maps are flattened in the order H, W, C."""

    features: int
    role: ClassVar[str] = 'map'
    name: ClassVar[str] = 'dense'

    def output(self, shape):
        return (self.features,)

    def parameters(self, shape):
        return {'kernel': (math.prod(shape), self.features), 'bias': (self.features,)}

    def multiply_adds(self, shape):
        return math.prod(shape) * self.features

    def connections(self, shape):
        return self.multiply_adds(shape) + self.features


@dataclass(frozen=True)
class DropConnect(Dense):
    """A rectified dense stage whose weights are dropped example by example (Wan et al. 2013); inference averages over the masks."""

    rate: float = 0.5
    name: ClassVar[str] = 'dropconnect'


@dataclass(frozen=True)
class RadialBasis(Stage):
    """LeNet-5's output: minus the squared distance to the fixed +-1 drawing of each digit (LeCun et al. 1998, II.B); learns nothing."""

    features: int = 10
    role: ClassVar[str] = 'map'
    name: ClassVar[str] = 'radial_basis'

    def output(self, shape):
        if shape != (84,) or self.features != 10:
            raise ArchitectureError(f'radial_basis compares 84 features with ten 7x12 drawings; got {shape} and {self.features} classes.')
        return (self.features,)

    def connections(self, shape):
        return shape[0] * self.features
