"""What a stage is: its fields, the shape it makes, the parameters it owns and the work it does, in plain Python.

A shape is (H, W, C) while there is a picture and (features,) after the first dense stage. Every stage offers

    output(shape)         the shape that leaves it; ArchitectureError where there is none
    parameters(shape)     {name: array shape} of what it learns
    multiply_adds(shape)  products of its learned linear map, for one image
    connections(shape)    the same as LeCun et al. 1998 count them: biases and trainable subsampling included
    reach                 (kernel, stride, padding) of the window through which one output sees the map below

and a `role`: 'map' (the learned linear map that opens a layer), 'nonlinearity', 'pooling', 'normalization' or 'dropout'.
"""

import math
from dataclasses import dataclass, fields
from typing import ClassVar

from cnn_research.errors import ArchitectureError, shown

__all__ = [
    *('Convolution', 'LocallyConnected', 'Dense', 'DropConnect', 'RadialBasis'),
    *('ReLU', 'Tanh', 'ScaledTanh', 'Sigmoid', 'Absolute'),
    *('MaxPool', 'AveragePool', 'SumPool', 'Subsampling'),
    *('Response', 'Subtractive', 'Divisive', 'Dropout'),
]

Shape = tuple[int, ...]


def window_count(size: int, kernel: int, stride: int, padding: int, ceil: bool) -> int:
    """Windows along one direction: floor((size + 2 padding - kernel) / stride) + 1, or with ceil as cuda-convnet counts them."""
    span = size + 2 * padding - kernel
    return (-(-span // stride) if ceil else span // stride) + 1


def _picture(shape: Shape, stage: str) -> Shape:
    if len(shape) != 3:
        raise ArchitectureError(f'{stage} needs maps (H, W, C), but a dense stage below has flattened them to {shape[0]} features.')
    return shape


def _is_number(value) -> bool:
    return type(value) in (int, float) and 0 <= value <= 3e38  # what float32 holds


def _is_row(row) -> bool:
    return isinstance(row, tuple) and row and all(type(i) is int and 0 <= i <= LARGEST for i in row) and len(set(row)) == len(row)


def _whole(low: int, high: int):
    return lambda value: type(value) is int and low <= value <= high, f'a whole number from {low} up to {high}'


LARGEST = 2**31 - 1  # of features and of anything that is counted
_WIDEST = 2**16 - 1  # px, of a window and its steps
# What a field of a stage may be, and how that is said.
_VALID = {
    'features': _whole(1, LARGEST),
    **dict.fromkeys(('kernel', 'stride', 'groups', 'size'), _whole(1, _WIDEST)),
    **dict.fromkeys(('ceil', 'divided', 'across'), (lambda value: type(value) is bool, 'true or false')),
    **dict.fromkeys(('alpha', 'beta', 'k'), (_is_number, 'a number from 0 up')),
    'padding': _whole(0, _WIDEST),
    'rate': (lambda value: _is_number(value) and value < 1, 'a share from 0 to below 1'),
    'table': (lambda value: value is None or (type(value) is tuple and all(map(_is_row, value))), 'rows of map numbers, none twice'),
}


@dataclass(frozen=True)
class Stage:
    """A stage that keeps the shape and learns nothing, unless it says otherwise."""

    role: ClassVar[str]
    name: ClassVar[str]

    def __post_init__(self):
        for field in fields(self):
            value, (valid, meaning) = getattr(self, field.name), _VALID[field.name]
            if not valid(value):
                raise ArchitectureError(f'{self.name} cannot have {field.name}={shown(value)}; it is {meaning}.')

    def output(self, shape: Shape) -> Shape:
        return shape

    def parameters(self, shape: Shape) -> dict[str, Shape]:
        return {}

    def multiply_adds(self, shape: Shape) -> int:
        return 0

    def connections(self, shape: Shape) -> int:
        return 0

    @property
    def reach(self) -> tuple[int, int, int]:
        return 1, 1, 0


def fan_in(stage: Stage, shape: Shape) -> tuple[int, ...]:
    """Inputs of a unit, one number for each index of the kernel's last axis (LeNet-5's partial maps differ among themselves)."""
    if isinstance(stage, Convolution) and stage.table:
        return tuple(stage.kernel**2 * len(row) for row in stage.table for _ in row)
    kernel = stage.parameters(shape)['kernel']
    inputs = kernel[-2] if isinstance(stage, LocallyConnected) else math.prod(kernel[:-1])
    return (inputs,) * kernel[-1]


@dataclass(frozen=True)
class _Windowed(Stage):
    """What convolutions, local connections and pooling share: a square window that steps over a map."""

    def _window(self) -> tuple[int, int, int, bool]:
        return self.kernel, self.stride, getattr(self, 'padding', 0), getattr(self, 'ceil', False)

    def _spatial(self, shape: Shape) -> Shape:
        height, width, _ = _picture(shape, self.name)
        sides = tuple(window_count(side, *self._window()) for side in (height, width))
        if min(sides) < 1:
            kernel, stride, padding, _ = self._window()
            raise ArchitectureError(
                f'{self.name} {kernel}x{kernel}/{stride} with padding {padding} would shrink its {height}x{width} input below 1 px.'
            )
        return sides

    @property
    def reach(self):
        return self._window()[:3]


@dataclass(frozen=True)
class Convolution(_Windowed):
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
        sides, channels = self._spatial(shape), shape[2]
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
class LocallyConnected(_Windowed):
    """A convolution whose kernel and bias differ at every position (cuda-convnet's 11 % net; Taigman et al. 2014)."""

    features: int
    kernel: int
    stride: int = 1
    padding: int = 0
    role: ClassVar[str] = 'map'
    name: ClassVar[str] = 'locally_connected'

    def output(self, shape):
        return (*self._spatial(shape), self.features)

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


class _Nonlinearity(Stage):
    role = 'nonlinearity'


@dataclass(frozen=True)
class ReLU(_Nonlinearity):
    """max(x, 0)."""

    name: ClassVar[str] = 'relu'


@dataclass(frozen=True)
class Tanh(_Nonlinearity):
    """tanh(x)."""

    name: ClassVar[str] = 'tanh'


@dataclass(frozen=True)
class ScaledTanh(_Nonlinearity):
    """1.7159 tanh(2x/3) (LeCun et al. 1998, appendix A)."""

    name: ClassVar[str] = 'scaled_tanh'


@dataclass(frozen=True)
class Sigmoid(_Nonlinearity):
    """1 / (1 + exp(-x))."""

    name: ClassVar[str] = 'sigmoid'


@dataclass(frozen=True)
class Absolute(_Nonlinearity):
    """abs(x), the rectification of Jarrett et al. 2009."""

    name: ClassVar[str] = 'absolute'


@dataclass(frozen=True)
class _Pool(_Windowed):
    kernel: int
    stride: int
    padding: int = 0
    ceil: bool = False
    role: ClassVar[str] = 'pooling'

    def output(self, shape):
        kernel, stride, padding, ceil = self._window()
        if padding >= kernel:
            raise ArchitectureError(f'{self.name} {kernel}x{kernel} with padding {padding} would have windows that see no image.')
        height, width = self._spatial(shape)
        if ceil:  # the last window must start inside the image or its leading padding, as Caffe and PyTorch have it
            height, width = (n - ((n - 1) * stride >= side + padding) for n, side in ((height, shape[0]), (width, shape[1])))
        return height, width, shape[2]


@dataclass(frozen=True)
class MaxPool(_Pool):
    """The largest value under each window; overlapping when the stride is smaller than the kernel."""

    name: ClassVar[str] = 'max_pool'


@dataclass(frozen=True)
class AveragePool(_Pool):
    """The mean under each window, over the pixels that lie inside the image."""

    name: ClassVar[str] = 'average_pool'


@dataclass(frozen=True)
class SumPool(_Pool):
    """The sum under each window."""

    name: ClassVar[str] = 'sum_pool'


@dataclass(frozen=True)
class Subsampling(_Windowed):
    """LeNet-5's S layers: the sum under each window, times a learned coefficient, plus a learned bias, one pair for each map."""

    kernel: int = 2
    stride: int = 2
    role: ClassVar[str] = 'pooling'
    name: ClassVar[str] = 'subsampling'

    def output(self, shape):
        return (*self._spatial(shape), shape[2])

    def parameters(self, shape):
        return {'coefficient': (shape[2],), 'bias': (shape[2],)}

    def connections(self, shape):
        return math.prod(self.output(shape)) * (self.kernel**2 + 1)


@dataclass(frozen=True)
class Response(Stage):
    """Local response normalization, x / (k + A sum of squares)^beta, over `size` maps or a size x size window of the same map.

    `divided` says what A is: alpha as Krizhevsky et al. 2012 print it (False), or alpha over the elements of the window as
    cuda-convnet and Caffe compute it (True).
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    divided: bool = False
    across: bool = True
    role: ClassVar[str] = 'normalization'
    name: ClassVar[str] = 'response'

    @property
    def reach(self):
        return (1, 1, 0) if self.across else (self.size, 1, (self.size - 1) // 2)


@dataclass(frozen=True)
class _LocalContrast(Stage):
    size: int = 9
    across: bool = True
    role: ClassVar[str] = 'normalization'

    def output(self, shape):
        return _picture(shape, self.name)

    @property
    def reach(self):
        return self.size, 1, (self.size - 1) // 2


@dataclass(frozen=True)
class Subtractive(_LocalContrast):
    """Minus the Gaussian-weighted mean of a size x size window, over all maps or within each (Jarrett et al. 2009, 2.1)."""

    name: ClassVar[str] = 'subtractive'


@dataclass(frozen=True)
class Divisive(_LocalContrast):
    """Over the Gaussian-weighted deviation of a size x size window, at least its mean over the image (Jarrett et al. 2009, 2.1)."""

    name: ClassVar[str] = 'divisive'


@dataclass(frozen=True)
class Dropout(Stage):
    """Each feature of each example is zero with probability `rate` while training (Krizhevsky et al. 2012, 4.2)."""

    rate: float = 0.5
    role: ClassVar[str] = 'dropout'
    name: ClassVar[str] = 'dropout'


STAGES = {name: globals()[name] for name in __all__}
