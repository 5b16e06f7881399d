"""A layer's kernels by themselves, as numbers (Zeiler and Fergus 2013, section 4.1, Fig. 6): sizes, frequencies, directions, colours.

Kernels are (kh, kw, Cin, Cout); a filter is all that one output map sees. Frequencies are in cycles per pixel of the map that the kernel
reads: for layer 1 pixels of the image.
"""

import functools
from typing import NamedTuple

import numpy as np
from scipy import linalg

# Low: below 1/8, what a stride of 4 keeps. Mid: up to 1/4, what a stride of 2 keeps as well. High: the rest, up to the corner at 0.71.
# A kernel of k pixels cannot tell frequencies closer than about 1/k, so small kernels spread over the limits.
LIMITS = (1 / 8, 1 / 4)
EDGES = np.arange(24) / 32  # of the radial histogram's bins; the limits of the bands are among them
GRID = 65  # odd, so that with a frequency its mirror images are on the grid too, and no grid frequency is a limit
_EVEN = 1e-12  # of a filter's energy: less is rounding, and the filter does not vary


def rms(kernels: np.ndarray) -> np.ndarray:
    """(Cout,): root of the mean squared weight of each filter, the quantity that Zeiler and Fergus (section 3) bound by 0.1."""
    return np.sqrt(np.mean(np.square(_checked(kernels)), axis=(0, 1, 2)))


class NormSpread(NamedTuple):
    """How unequal a layer's filters are. dominance: the largest RMS over the median one; variation: standard deviation over mean.

    dominance is infinite where more than half of the filters are zero; both are NaN where all are.
    """

    dominance: float
    variation: float


def norm_spread(kernels: np.ndarray) -> NormSpread:
    """The NormSpread of a layer: large where a few filters dominate, as in Zeiler and Fergus's Fig. 6a."""
    sizes = rms(kernels)
    if not sizes.any():
        return NormSpread(np.nan, np.nan)
    median = np.median(sizes)
    return NormSpread(float(sizes.max() / median) if median else np.inf, float(sizes.std() / sizes.mean()))


class Bands(NamedTuple):
    """(Cout,) each: shares of a filter's energy that add up to 1; NaN for a filter of zeros.

    constant: in the filter's mean over positions, its answer to an even image. low, mid, high: frequencies below, between and from LIMITS
    on, in whatever direction, of what remains without the mean.
    """

    constant: np.ndarray
    low: np.ndarray
    mid: np.ndarray
    high: np.ndarray


def bands(kernels: np.ndarray) -> Bands:
    """How a filter's energy is shared out over frequency bands, on the same grid of frequencies for kernels of every size."""
    kernels, power, band = _checked(kernels), spectrum(kernels), np.digitize(_radius(), LIMITS)
    constant = np.square(kernels.sum((0, 1))).sum(0) / np.prod(kernels.shape[:2])
    parts = [constant, *(power[band == number].sum(0) for number in range(3))]
    return Bands(*(share(part, np.square(kernels).sum((0, 1, 2))) for part in parts))


class MidRange(NamedTuple):
    """What the mid band's share of a varying filter's energy can be for kernels of one size; all NaN for one pixel, which cannot vary.

    least, most: over all filters; random: what weights drawn independently from one normal distribution have on average.
    """

    least: float
    random: float
    most: float


@functools.lru_cache
def mid_range(height: int, width: int) -> MidRange:
    """The MidRange of kernels (height, width), of however many input maps.

    The energy in a band is a quadratic form of the weights, x'Ax with A a function of the offset between two pixels. On kernels without
    their mean, of which there are height * width - 1 dimensions, its eigenvalues are what a filter can have, and their mean what filters
    of no preferred direction have; several input maps add up and change neither.
    """
    if not (0 < height <= GRID and 0 < width <= GRID):
        raise ValueError(f'kernels have sides of 1 to {GRID} px; got {height} x {width}')
    pixels = height * width
    if pixels == 1:
        return MidRange(np.nan, np.nan, np.nan)
    by_offset = np.fft.ifft2(np.digitize(_radius(), LIMITS) == 1).real
    down, across = np.divmod(np.arange(pixels), width)
    form = by_offset[(down[:, None] - down) % GRID, (across[:, None] - across) % GRID]
    without_mean = linalg.null_space(np.ones((1, pixels)))
    energies = linalg.eigvalsh(without_mean.T @ form @ without_mean)
    return MidRange(float(energies[0]), float(energies.mean()), float(energies[-1]))


def mid_coverage(shares: Bands, height: int, width: int) -> float:
    """How much of the mid frequencies filters (height, width) cover, against what filters of their size can: from -1 to 1.

    The mean over the filters of the mid band's share of what varies is set between the ends of `mid_range`: 0 where it is that of random
    weights, 1 where every filter has as much as any of its size could, -1 where every one has as little; linear from 0 to each end, so
    that ends and middle are the same at every size. The shares themselves are not: at 3 x 3 no filter has more than 0.33. What a filter
    answers to an even image (constant) is left out: the wider band of a smaller kernel's mean is the size's, too. NaN where a filter does
    not vary, or none can.
    """
    varying = shares.low + shares.mid + shares.high
    share = float(np.mean(np.divide(shares.mid, varying, out=np.full(np.shape(varying), np.nan), where=varying > _EVEN)))
    least, random, most = mid_range(height, width)
    return (share - random) / (most - random if share > random else random - least)


def radial_histogram(kernels: np.ndarray) -> np.ndarray:
    """(bins, Cout): the share of a filter's energy in each ring of frequencies between EDGES; the filter's mean is in none of them."""
    power, ring = spectrum(kernels), np.digitize(_radius(), EDGES)
    energy = np.square(_checked(kernels)).sum((0, 1, 2))
    return np.stack([share(power[ring == number].sum(0), energy) for number in range(1, len(EDGES))])


def spectrum(kernels: np.ndarray) -> np.ndarray:
    """(GRID, GRID, Cout): power at the frequencies numpy.fft.fftfreq(GRID) down and across, added up over the input maps.

    Each kernel's mean is taken off and the rest padded with zeros, so that a filter's power sums to the energy that varies.
    """
    kernels = _checked(kernels)
    varying = kernels - kernels.mean(axis=(0, 1), keepdims=True)
    # One filter after the other: all transforms of a layer 2 at once would be gigabytes.
    filters = np.moveaxis(varying, 3, 0)
    powers = [np.square(np.abs(np.fft.fft2(one, (GRID, GRID), axes=(0, 1)))).sum(-1) / GRID**2 for one in filters]
    return np.stack(powers, axis=-1)


class Orientation(NamedTuple):
    """(Cout,) each.

    angle: the direction in which the filter varies, degrees from 0 to below 180, counter-clockwise from a row of the picture; a vertical
    edge has 0. selectivity: 1 for a filter that varies in that direction only, 0 for one that favours none.
    """

    angle: np.ndarray
    selectivity: np.ndarray


def orientation(kernels: np.ndarray) -> Orientation:
    """The mean of the power spectrum's directions, doubled so that opposite ones agree; 1 - selectivity is their circular variance.

    NaN for a filter that does not vary.
    """
    frequency = np.fft.fftfreq(GRID)
    # Rows run downwards, angles upwards.
    direction = np.exp(2j * np.arctan2(-frequency[:, None], frequency[None, :]))
    power = spectrum(kernels)
    mean = np.tensordot(direction, power, 2)
    angle = np.where(power.sum((0, 1)) > 0, np.degrees(np.angle(mean)) / 2 % 180, np.nan)
    return Orientation(angle, share(np.abs(mean), power.sum((0, 1))))


def colour_share(kernels: np.ndarray) -> np.ndarray:
    """(Cout,): the share of a filter's energy at right angles to grey, (1, 1, 1) / sqrt(3), in the colours that the network sees.

    0 for a filter that answers to brightness alone, 1 for one that a grey image leaves silent; NaN for a filter of zeros. kernels must have
    three input maps.
    """
    kernels = _checked(kernels)
    if kernels.shape[2] != 3:
        raise ValueError(f'colour needs kernels with three input maps, not {kernels.shape[2]}')
    energy = np.square(kernels).sum((0, 1, 2))
    return share(energy - np.square(kernels.sum(2)).sum((0, 1)) / 3, energy)


def _checked(kernels):
    kernels = np.asarray(kernels, np.float64)
    if kernels.ndim != 4 or 0 in kernels.shape or max(kernels.shape[:2]) > GRID:
        raise ValueError(f'kernels have shape (kh, kw, Cin, Cout), none of them 0, and at most {GRID} px; got {kernels.shape}')
    return kernels


def _radius():
    frequency = np.fft.fftfreq(GRID)
    return np.hypot(frequency[:, None], frequency[None, :])


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; NaN where there is nothing to share. Rounding must not leave less than nothing."""
    return np.maximum(0, np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0))
