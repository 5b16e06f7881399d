"""Stages that hold a response against those around it."""

from dataclasses import dataclass
from typing import ClassVar

from cnn_research.stages.base import Stage, picture


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
        return picture(shape, self.name)

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
class UnitLength(Stage):
    """The maps at each place as a vector of Euclidean length 1 (Lowe 2004, 6.1: against changes of contrast).

    Lengths count as at least `floor`: a shorter vector is divided by that and stays short, and 0 stays 0. So a patch without contrast does
    not become a descriptor of its noise; implementations on dense grids leave such patches as they are (Lazebnik et al. 2006).
    """

    floor: float = 1e-4
    role: ClassVar[str] = 'normalization'
    name: ClassVar[str] = 'unit_length'


@dataclass(frozen=True)
class WinnerTakeAll(Stage):
    """1 for the strongest map at each place, of equals the first, and 0 for the others: over the largest, and the smaller ones suppressed.

    That answer has no slope, so its gradient is that of softmax(sharpness * x): the sharper, the nearer to the answer, and the fewer maps
    learn. At 40 about half of the softmax is the winner's, where maps are 100 visual words (models/handmade.py).
    """

    sharpness: float = 40.0
    role: ClassVar[str] = 'nonlinearity'
    name: ClassVar[str] = 'winner_take_all'
