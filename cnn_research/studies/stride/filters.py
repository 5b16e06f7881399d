"""What Zeiler and Fergus 2013 (section 4.1, Fig. 6) saw in pictures of the first layers' filters, as numbers.

Filters that are dead or dominate, frequencies that they leave out, what their stride folds, and how far a small shift of the image
changes what they say. Kernels are (kh, kw, Cin, Cout); a filter is all that one output map sees. Frequencies are in cycles per pixel of the
map that the kernel reads: for layer 1 pixels of the image. Layer 2 reads rectified and pooled responses, whose pixels are several of the
image apart; its frequencies over that distance (`Architecture.rows`, effective_stride) are those of the pattern of responses, in cycles
per pixel of the image, and say nothing of the image's own frequencies.
"""

import contextlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import parallel
from cnn_research.architecture import Architecture, Convolution, Layer, replaced
from cnn_research.checkpoints import Trained
from cnn_research.data import augment, stream
from cnn_research.data.sources import Source, subset
from cnn_research.errors import ArchitectureError
from cnn_research.models.network import Network, check_taps

LAYERS = (1, 2)
# Low: below 1/8, what a stride of 4 keeps. Mid: up to 1/4, what a stride of 2 keeps as well. High: the rest, up to the corner at 0.71.
# A kernel of k pixels cannot tell frequencies closer than about 1/k, so small kernels spread over the limits.
LIMITS = (1 / 8, 1 / 4)
EDGES = np.arange(24) / 32  # of the radial histogram's bins; the limits of the bands are among them
GRID = 65  # odd, so that with a frequency its mirror images are on the grid too, and no grid frequency is a limit
RARE = 1e-3
BATCH = 16  # images at once where maps of stride 1, or several shifts, are held


# ---- the kernels by themselves


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
    return Bands(*(_share(part, np.square(kernels).sum((0, 1, 2))) for part in parts))


def radial_histogram(kernels: np.ndarray) -> np.ndarray:
    """(bins, Cout): the share of a filter's energy in each ring of frequencies between EDGES; the filter's mean is in none of them."""
    power, ring = spectrum(kernels), np.digitize(_radius(), EDGES)
    energy = np.square(_checked(kernels)).sum((0, 1, 2))
    return np.stack([_share(power[ring == number].sum(0), energy) for number in range(1, len(EDGES))])


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
    return Orientation(angle, _share(np.abs(mean), power.sum((0, 1))))


def colour_share(kernels: np.ndarray) -> np.ndarray:
    """(Cout,): the share of a filter's energy at right angles to grey, (1, 1, 1) / sqrt(3), in the colours that the network sees.

    0 for a filter that answers to brightness alone, 1 for one that a grey image leaves silent; NaN for a filter of zeros. kernels must have
    three input maps.
    """
    kernels = _checked(kernels)
    if kernels.shape[2] != 3:
        raise ValueError(f'colour needs kernels with three input maps, not {kernels.shape[2]}')
    energy = np.square(kernels).sum((0, 1, 2))
    return _share(energy - np.square(kernels.sum(2)).sum((0, 1)) / 3, energy)


def _checked(kernels):
    kernels = np.asarray(kernels, np.float64)
    if kernels.ndim != 4 or 0 in kernels.shape or max(kernels.shape[:2]) > GRID:
        raise ValueError(f'kernels have shape (kh, kw, Cin, Cout), none of them 0, and at most {GRID} px; got {kernels.shape}')
    return kernels


def _radius():
    frequency = np.fft.fftfreq(GRID)
    return np.hypot(frequency[:, None], frequency[None, :])


def _share(part, whole):
    """part / whole; NaN where there is nothing to share. Rounding must not leave less than nothing."""
    return np.maximum(0, np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0))


# ---- what they do on images


class Activity(NamedTuple):
    """active (C,) int64: positions of all images at which a map's nonlinearity gives more than 0; positions: how many there were."""

    active: np.ndarray
    positions: int

    @property
    def never(self) -> np.ndarray:
        """Maps (C,) that were active nowhere: dead."""
        return self.active == 0

    @property
    def always(self) -> np.ndarray:
        """Maps (C,) that were active everywhere: dead as a nonlinearity."""
        return self.active == self.positions

    @property
    def rarely(self) -> np.ndarray:
        """Maps (C,) active in less than RARE of the positions, never included."""
        return self.active < RARE * self.positions


def activity(trained: Trained, source: Source) -> dict[int, Activity]:
    """{layer: Activity} of LAYERS over the centre view of every example of a source, in one pass."""
    network, taps = Network(trained.architecture), [_nonlinearity(trained.architecture, number) for number in LAYERS]

    def counts(variables, images):
        seen = augment.prepare(images, variables['preprocessing'], trained.architecture.input_shape)
        maps = network.apply({'params': variables['params']}, seen, taps, method='features')
        return {tap: (maps[tap] > 0).sum((0, 1, 2)) for tap in taps}

    sizes, found = trained.architecture.taps(), _summed(counts, trained, source, trained.config.evaluate.batch_size)
    return {
        number: Activity(found[tap], sizes[tap][0] * sizes[tap][1] * source.num_examples) for number, tap in zip(LAYERS, taps, strict=True)
    }


def folded_energy(maps: jax.Array, stride: int) -> tuple[jax.Array, jax.Array]:
    """(what a stride folds, all) of the energy of maps (B, H, W, C): (C,) each, summed over the examples.

    A frequency folds when either of its directions is above 1 / (2 stride) cycles per pixel: sampling cannot tell it from a lower one. The
    mean of a map is no part of its energy. A Hann window keeps the jump from the map's one side to the other, which no image holds, out of
    the spectrum; both energies are those of the windowed map, so that by Parseval's theorem they are exact sums over it.
    """
    height, width = maps.shape[1:3]
    rows, columns = ((0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(side) + 0.5) / side)).astype(np.float32) for side in (height, width))
    window = (rows[:, None] * columns)[None, :, :, None]
    mean = jnp.sum(maps * window, axis=(1, 2), keepdims=True) / window.sum()
    power = jnp.square(jnp.abs(jnp.fft.fft2((maps - mean) * window, axes=(1, 2)))).sum(0) / (height * width)
    down, across = (2 * stride * np.abs(np.fft.fftfreq(side, 1 / side).round()) > side for side in (height, width))
    folds = down[:, None] | across
    return jnp.sum(power * folds[..., None], axis=(0, 1)), jnp.sum(power, axis=(0, 1))


def aliasing(trained: Trained, source: Source, number: int) -> np.ndarray:
    """(Cout,): the share of each filter's response, before its nonlinearity, that the layer's stride folds, over a source's images.

    The layer's convolution is run at stride 1 and without padding, so that no border is invented, and its response's energy counted by
    `folded_energy`. 0 for a layer of stride 1; NaN for a filter without a response that varies.
    """
    net, stage = trained.architecture, _convolution(trained.architecture, number)
    dense = replaced(net, number, stride=1, padding=0)
    below = [layer for layer in dense.layers if layer.number < number]
    dense = Architecture(dense.name, net.input_shape, (*below, Layer(number, dense.layer(number).stages[:1])))
    network = Network(dense)

    def energies(variables, images):
        seen = augment.prepare(images, variables['preprocessing'], net.input_shape)
        tap = f'layer{number}'
        return folded_energy(network.apply({'params': variables['params']}, seen, (tap,), method='features')[tap], stage.stride)

    return _share(*_summed(energies, trained, source, BATCH))


def shift_sensitivity(trained: Trained, source: Source, taps: tuple[str, ...], largest: int) -> dict[str, np.ndarray]:
    """{tap: (largest,)}: how far shifts of the image by 1 to `largest` pixels change the features, against what other images do.

    The root mean squared distance between the features of an image and of the same image shifted (down, and across), over that between
    two different images of the source: 0 where a shift changes nothing, 1 where a shifted image is as far away as another image. The
    shifted view is another window of the same image, so no border is invented. Where images leave no such margin around the network's
    input, the window is smaller than that input by what is missing; a dense tap is then refused with ArchitectureError.
    """
    check_taps(trained.architecture, taps)
    channels = trained.architecture.input_shape[2]
    corners = [(0, 0), *((shift, 0) for shift in range(1, largest + 1)), *((0, shift) for shift in range(1, largest + 1))]

    def sums(variables, images):
        whole = augment.prepare(images, variables['preprocessing'], (*images.shape[1:3], channels))
        net = _windowed(trained.architecture, whole.shape[1:3], taps, largest)
        height, width, _ = net.input_shape
        top, left = ((have - want - largest) // 2 for have, want in zip(whole.shape[1:3], (height, width), strict=True))
        views = [whole[:, top + down : top + down + height, left + across : left + across + width] for down, across in corners]
        features = Network(net).apply({'params': variables['params']}, jnp.concatenate(views), taps, method='features')
        found = {}
        for tap in taps:
            still, *moved = features[tap].reshape(len(corners), len(images), -1)
            found[tap] = [jnp.square(view - still).sum() for view in moved], still.sum(0), jnp.square(still).sum()
        return found

    count, found = source.num_examples, _summed(sums, trained, source, BATCH)
    # The mean squared distance over all pairs of different examples is twice their variance.
    between = {tap: 2 * (square - np.square(total).sum() / count) / (count - 1) for tap, (_, total, square) in found.items()}
    moved = {tap: np.reshape(changes, (2, largest)).mean(0) / count for tap, (changes, _, _) in found.items()}
    return {tap: np.sqrt(_share(moved[tap], between[tap])) for tap in taps}


def _window(net, size, largest):
    """Height and width of the windows, at most the network's input, that can be shifted by `largest` px within images of a size."""
    return tuple(min(want, have - largest) for want, have in zip(net.input_shape[:2], size, strict=True))


def _windowed(net, size, taps, largest):
    """The network on such windows: where they are smaller than its input, without the dense layers, which would not fit."""
    window = _window(net, size, largest)
    if window == net.input_shape[:2]:
        return net
    maps = [tap for tap, output in net.taps().items() if len(output) == 3]
    for tap in taps:
        if tap not in maps:
            raise ArchitectureError(
                f'{tap} reads the whole {net.input_shape[0]}x{net.input_shape[1]} input, and images of {size[0]}x{size[1]} leave no margin'
                f' of {largest} px to shift it in; choose taps of maps ({", ".join(maps)}) or a larger data.resize.'
            )
    return Architecture(net.name, (*window, net.input_shape[2]), tuple(layer for layer in net.layers if layer.name in maps))


def _nonlinearity(net, number):
    name = next((name for name, stage in net.layer(number).named_stages() if stage.role == 'nonlinearity'), None)
    if name is None:
        raise ArchitectureError(f'{net.name}: layer {number} has no nonlinearity whose maps could be dead.')
    return f'layer{number}.{name}'


def _convolution(net, number):
    stage = net.layer(number).stages[0]
    if not isinstance(stage, Convolution) or stage.table is not None:
        raise ArchitectureError(f'{net.name}: layer {number} is no full convolution, so it has no filters (kh, kw, Cin, Cout) to look at.')
    return stage


def _summed(function, trained, source, batch_size):
    """The sum, as float64 or int64, of function(variables, uint8 images (b, H, W, C)) over the batches of a source: a tree of arrays."""
    data, total = trained.config.data, None
    compiled = jax.jit(function, compiler_options=parallel.compiler_options())
    feed = stream.evaluation_feed(source, batch_size, data.resize, data.resident_gb, data.workers)
    with contextlib.closing(feed):
        for step in range(feed.steps):
            batch = feed.batch(step)
            images = stream.fetch(feed.store, batch)[0][batch['mask']]
            part = jax.tree.map(_wide, compiled(trained.variables, images))
            total = part if total is None else jax.tree.map(np.add, total, part)
    return total


def _wide(array):
    array = np.asarray(array)
    return array.astype(np.int64 if array.dtype.kind == 'i' else np.float64)


# ---- all of it


def diagnosis(trained: Trained, source: Source, examples: int, largest_shift: int) -> dict:
    """Every measure of a trained network, as lists and numbers.

    {'layer1', 'layer2': {measure: a value for each filter, or one for the layer}, 'shift': {tap: its sensitivity to 1 ... largest_shift
    px}}. Dead filters are looked for on the whole source; aliasing and shifts are measured on `examples` of it, evenly spaced. Shifts
    are felt by what leaves layers 1 and 2, by the last maps and, where the images leave a margin, by the logits. 'spacing' is the
    distance of the positions that a layer reads, in px of the image. Raises ArchitectureError where layer 1 or 2 is no convolution with a
    nonlinearity.
    """
    net, resize = trained.architecture, trained.config.data.resize
    convolutions = {number: _convolution(net, number) for number in LAYERS}
    some = subset(source, np.linspace(0, source.num_examples - 1, min(examples, source.num_examples)).astype(int))
    found = {}
    for number, alive in activity(trained, source).items():
        kernels = trained.variables['params'][f'layer{number}']['convolution']['kernel']
        found[f'layer{number}'] = {
            'stride': convolutions[number].stride,
            'spacing': next((row.effective_stride for row in reversed(net.rows) if row.layer < number), 1),
            'rms': rms(kernels),
            **norm_spread(kernels)._asdict(),
            **bands(kernels)._asdict(),
            'histogram': radial_histogram(kernels).T,
            **orientation(kernels)._asdict(),
            **({'colour': colour_share(kernels)} if kernels.shape[2] == 3 else {}),
            'active': alive.active / alive.positions,
            **{name: getattr(alive, name) for name in ('never', 'always', 'rarely')},
            'aliasing': aliasing(trained, some, number),
        }
    last = [layer.name for layer in net.layers if len(net.taps()[layer.name]) == 3][-1]
    roomy = _window(net, (resize, resize) if resize else source.image_shape[:2], largest_shift) == net.input_shape[:2]
    taps = dict.fromkeys(('layer1', 'layer2', last, *([net.layers[-1].name] if roomy else [])))
    found['shift'] = shift_sensitivity(trained, some, tuple(taps), largest_shift)
    return jax.tree.map(lambda value: np.asarray(value).tolist(), found)
