"""What a stage is: its fields, the shape it makes, the parameters it owns and the work it does, in plain Python.

A shape is (H, W, C) while there is a picture and (features,) after the first dense stage or global average. Every stage offers

    output(shape)         the shape that leaves it; ArchitectureError where there is none
    parameters(shape)     {name: array shape} of what it learns
    multiply_adds(shape)  products of its learned linear map, for one image
    connections(shape)    the same as LeCun et al. 1998 count them: biases and trainable subsampling included
    reach                 (kernel, stride, padding) of the window through which one output sees the map below

and a `role`: 'map' (the learned linear map that opens a layer), 'nonlinearity', 'pooling', 'normalization' or 'dropout'.
"""

from cnn_research.stages.base import LARGEST, Shape, Stage, window_count
from cnn_research.stages.maps import Convolution, Dense, DropConnect, Expand, LocallyConnected, RadialBasis, fan_in
from cnn_research.stages.normalization import Divisive, Response, Subtractive, UnitLength, WinnerTakeAll
from cnn_research.stages.pointwise import Absolute, Clipped, Dropout, ReLU, ScaledTanh, Sigmoid, Tanh
from cnn_research.stages.pooling import AveragePool, CellPool, GlobalAverage, MaxPool, PyramidPool, Subsampling, SumPool

__all__ = [
    *('Convolution', 'Expand', 'LocallyConnected', 'Dense', 'DropConnect', 'RadialBasis'),
    *('ReLU', 'Tanh', 'ScaledTanh', 'Sigmoid', 'Absolute', 'Clipped', 'WinnerTakeAll'),
    *('MaxPool', 'AveragePool', 'SumPool', 'Subsampling', 'GlobalAverage', 'CellPool', 'PyramidPool'),
    *('Response', 'Subtractive', 'Divisive', 'UnitLength', 'Dropout'),
]

STAGES = {name: globals()[name] for name in __all__}
