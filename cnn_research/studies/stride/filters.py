"""What Zeiler and Fergus 2013 (section 4.1, Fig. 6) saw in pictures of the first layers' filters, as numbers.

Beside what the weights say (weights.py): filters that are dead, what their stride folds, and how far a small shift of the image changes
what they say, all measured on images. Layer 2 reads rectified and pooled responses, whose pixels are several of the
image apart; its frequencies over that distance (`Architecture.rows`, effective_stride) are those of the pattern of responses, in cycles
per pixel of the image, and say nothing of the image's own frequencies.
"""

import contextlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import evaluate, parallel
from cnn_research.architecture import Architecture, Convolution, Layer, replaced
from cnn_research.checkpoints import Trained
from cnn_research.data import augment, stream
from cnn_research.data.sources import Source, subset
from cnn_research.errors import ArchitectureError
from cnn_research.models.network import Network, check_taps
from cnn_research.studies.stride import weights

LAYERS = (1, 2)
RARE = 1e-3
BATCH = 16  # images at once where maps of stride 1, or several shifts, are held


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

    return weights.share(*_summed(energies, trained, source, BATCH))


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
    return {tap: np.sqrt(weights.share(moved[tap], between[tap])) for tap in taps}


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
    data = trained.config.data
    compiled = jax.jit(function, compiler_options=parallel.compiler_options())
    feed = stream.evaluation_feed(source, batch_size, data.resize, data.resident_gb, data.workers)

    def added(total, batch):
        part = jax.tree.map(_wide, compiled(trained.variables, stream.fetch(feed.store, batch)[0][batch['mask']]))
        return part if total is None else jax.tree.map(np.add, total, part)

    with contextlib.closing(feed):
        *_, total = evaluate.folded(added, None, feed)
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
            'rms': weights.rms(kernels),
            **weights.norm_spread(kernels)._asdict(),
            **weights.bands(kernels)._asdict(),
            'histogram': weights.radial_histogram(kernels).T,
            **weights.orientation(kernels)._asdict(),
            **({'colour': weights.colour_share(kernels)} if kernels.shape[2] == 3 else {}),
            'active': alive.active / alive.positions,
            **{name: getattr(alive, name) for name in ('never', 'always', 'rarely')},
            'aliasing': aliasing(trained, some, number),
        }
    last = [layer.name for layer in net.layers if len(net.taps()[layer.name]) == 3][-1]
    roomy = _window(net, (resize, resize) if resize else source.image_shape[:2], largest_shift) == net.input_shape[:2]
    taps = dict.fromkeys(('layer1', 'layer2', last, *([net.layers[-1].name] if roomy else [])))
    found['shift'] = shift_sensitivity(trained, some, tuple(taps), largest_shift)
    return jax.tree.map(lambda value: np.asarray(value).tolist(), found)
