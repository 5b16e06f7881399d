"""Weights that nobody learned: SIFT and the spatial pyramid of visual words as parameters of the zoo's `sift` and `spm` networks.

Layer 1 takes derivatives of grey in eight directions, rectified. Direction k points 45 k degrees counter-clockwise from right, as Lowe's
and OpenCV's histograms count. A gradient of length m at t degrees from direction k answers there r_k = m max(0, cos t), which is much
wider than the share that SIFT gives to an orientation: 1 - |t| / 45 within 45 degrees of it. Layer 2 sharpens:

    f_k = max(0, r_k - r_(k+2) - r_(k-2))    = m (cos t - |sin t|) = m sqrt(2) sin(45 degrees - |t|)    for |t| <= 45, else 0,

for of the two neighbours at right angles one answers m |sin t| and the other nothing, and beyond 90 degrees r_k itself is 0. It is m in
its own direction, 0 in the next and never more than 0.043 m away from SIFT's share. It is then pooled in cells, brought to length 1,
clipped and brought to length 1 again (Lowe 2004, 6.1).

Layer 3 of `spm` finds the nearest visual word (Lazebnik, Schmid, Ponce 2006): |x - w|^2 = |x|^2 - 2 (w.x - |w|^2 / 2), so that is the word
with the largest w.x - |w|^2 / 2, a 1x1 convolution with the words as kernels.
"""

import numpy as np

from cnn_research.architecture import Architecture
from cnn_research.errors import ArchitectureError
from cnn_research.stages import CellPool, Clipped, Convolution, PyramidPool, ReLU, UnitLength, WinnerTakeAll

ORIENTATIONS = 8
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the grey of OpenCV and Pillow
_DEVIATIONS = 5  # of its Gaussian in the width of a derivative's kernel

Parameters = dict[str, dict[str, dict[str, np.ndarray]]]


def derivatives(kernel: int) -> np.ndarray:
    """(kernel, kernel, 8): derivatives of a Gaussian in eight directions; each answers 1 where grey grows by 1 a pixel in its own.

    The standard deviation is a fifth of the kernel's width. All are sums of the one to the right and the one up, by cosine and sine.
    """
    place = np.arange(kernel) - (kernel - 1) / 2
    gaussian = np.exp(-0.5 * (place * _DEVIATIONS / kernel) ** 2)
    gaussian, slope = gaussian / gaussian.sum(), place * gaussian / (place**2 * gaussian).sum()
    right, up = np.outer(gaussian, slope), np.outer(-slope, gaussian)
    angles = np.arange(ORIENTATIONS) * 2 * np.pi / ORIENTATIONS
    return right[..., None] * np.cos(angles) + up[..., None] * np.sin(angles)


def sharpening() -> np.ndarray:
    """(8, 8), from orientation to orientation: 1 for itself, -1 for those at right angles."""
    itself = np.eye(ORIENTATIONS)
    return itself - np.roll(itself, 2, 1) - np.roll(itself, -2, 1)


def sift(architecture: Architecture, white: float = 1.0) -> Parameters:
    """{layer: {stage: {parameter: float32 array}}} of layers 1 and 2, whose maps are then SIFT descriptors on a grid.

    white: how much larger white is than black in the images that the network reads: 1 where grey levels were divided by 255, 255 where they
    are as they were, whatever constant was subtracted. Only the contrast below which descriptors fade depends on it.
    ArchitectureError for a network whose layers 1 and 2 do not compute SIFT.
    """
    net, (first, second) = architecture, [architecture.layer(number).stages for number in (1, 2)]
    kernel = getattr(first[0], 'kernel', 1)
    _check(net, 1, first == (Convolution(ORIENTATIONS, kernel), ReLU()) and kernel > 1, f'Convolution({ORIENTATIONS}, kernel > 1), ReLU()')
    _check(
        net,
        2,
        second[:2] == (Convolution(ORIENTATIONS, 1), ReLU()) and _kinds(second[2:]) == (CellPool, UnitLength, Clipped, UnitLength),
        f'Convolution({ORIENTATIONS}, 1), ReLU(), CellPool(), UnitLength(), Clipped(), UnitLength()',
    )
    if net.input_shape[2] != len(LUMA) or [layer.number for layer in net.layers][:2] != [1, 2]:
        raise ArchitectureError(f'{net.name}: hand-made weights are for colour images that layer 1 reads and layer 2 reads from it.')
    colour = np.array(LUMA)[:, None] / white
    return {
        'layer1': _convolution(derivatives(kernel)[:, :, None] * colour),
        'layer2': _convolution(sharpening()[None, None]),
    }


def spm(architecture: Architecture, words: np.ndarray, white: float = 1.0) -> Parameters:
    """The same of layers 1 to 3: words (M, 128) make layer 3 count, in each cell of the pyramid, the descriptors that are nearest to each.

    ArchitectureError for a network whose layer 3 does not, and for words of another number or length.
    """
    parameters, layer, words = sift(architecture, white), architecture.layer(3), np.asarray(words, np.float64)
    _check(
        architecture,
        3,
        layer.stages[0] == Convolution(getattr(layer.stages[0], 'features', 1), 1)
        and _kinds(layer.stages[1:]) == (WinnerTakeAll, PyramidPool),
        'Convolution(words, 1), WinnerTakeAll(), PyramidPool()',
    )
    wanted = layer.stages[0].features, architecture.taps()['layer2'][-1]
    if words.shape != wanted:
        raise ArchitectureError(f'{architecture.name}: layer 3 holds {wanted[0]} words of {wanted[1]} numbers, not {words.shape}.')
    parameters['layer3'] = _convolution(words.T[None, None], -np.square(words).sum(1) / 2)
    return parameters


def _kinds(stages):
    return tuple(map(type, stages))


def _check(architecture, number, right, wanted):
    if not right:
        raise ArchitectureError(f'{architecture.name}: layer {number} takes no hand-made weights; it would have to be {wanted}.')


def _convolution(kernel, bias=None):
    bias = np.zeros(kernel.shape[-1]) if bias is None else bias
    return {'convolution': {'kernel': kernel.astype(np.float32), 'bias': bias.astype(np.float32)}}
