"""Stages that gather what lies under a window of each map."""

import math
from dataclasses import dataclass
from typing import ClassVar

from cnn_research.errors import ArchitectureError
from cnn_research.stages.base import Stage, Windowed, picture


@dataclass(frozen=True)
class _Pool(Windowed):
    kernel: int
    stride: int
    padding: int = 0
    ceil: bool = False
    role: ClassVar[str] = 'pooling'

    def output(self, shape):
        kernel, stride, padding, ceil = self.window()
        if padding >= kernel:
            raise ArchitectureError(f'{self.name} {kernel}x{kernel} with padding {padding} would have windows that see no image.')
        height, width = self.spatial(shape)
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
class Subsampling(Windowed):
    """LeNet-5's S layers: the sum under each window, times a learned coefficient, plus a learned bias, one pair for each map."""

    kernel: int = 2
    stride: int = 2
    role: ClassVar[str] = 'pooling'
    name: ClassVar[str] = 'subsampling'

    def output(self, shape):
        return (*self.spatial(shape), shape[2])

    def parameters(self, shape):
        return {'coefficient': (shape[2],), 'bias': (shape[2],)}

    def connections(self, shape):
        return math.prod(self.output(shape)) * (self.kernel**2 + 1)


@dataclass(frozen=True)
class GlobalAverage(Stage):
    """The mean of each map, one feature a map (Lin et al. 2014, 3.2)."""

    role: ClassVar[str] = 'pooling'
    name: ClassVar[str] = 'global_average'

    def output(self, shape):
        return (picture(shape, self.name)[2],)
