"""Stages that change every number by itself: nonlinearities and dropout."""

from dataclasses import dataclass
from typing import ClassVar

from cnn_research.stages.base import Stage


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
class Clipped(_Nonlinearity):
    """min(x, most): in a vector of length 1, no single number counts for more (Lowe 2004, 6.1: 0.2, against uneven light)."""

    most: float = 0.2
    name: ClassVar[str] = 'clipped'


@dataclass(frozen=True)
class Dropout(Stage):
    """Each feature of each example is zero with probability `rate` while training (Krizhevsky et al. 2012, 4.2)."""

    rate: float = 0.5
    role: ClassVar[str] = 'dropout'
    name: ClassVar[str] = 'dropout'
