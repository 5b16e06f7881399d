"""Occlusion, computed: the images in which the square hides most, their maps' projections, and how much of the drop a box holds.

`looked` is what looking.opened gives.
"""

import contextlib
import dataclasses

import numpy as np

from cnn_research.data import augment, clutter, stream
from cnn_research.data.sources import Source, subset
from cnn_research.models.network import Network
from cnn_research.studies.looking import activations, choosing, occlusion, projection
from experiments.launch import command, gallery

SHOWN, CANDIDATES = 6, 100  # images that the rule chooses, among so many evenly spaced ones of the split
OTHERS, AMONG = 3, 1000  # images beside each, as in the paper's panel (c), and evenly spaced ones of the split that they are looked for in
IMAGES = dataclasses.replace(
    gallery.IMAGES,
    default='',
    meaning=f"numbers of the images in that split; '' = the {SHOWN} of {CANDIDATES} evenly spaced ones that lose most under the square",
)


def check(given: command.Command, source: Source) -> None:
    """ConfigError for a named image that is not there."""
    if given.options.look.images:
        gallery.numbers(given, source)


def _spaced(source: Source, most: int) -> np.ndarray:
    return np.linspace(0, source.num_examples - 1, min(most, source.num_examples)).astype(int)


def chosen(given: command.Command, looked, square: occlusion.Square) -> tuple[np.ndarray, str]:
    """(numbers of the images, how they were chosen in words): those that look.images names, or those whose class loses most probability.

    The search looks at nothing but the network's own words on images of the split that is shown.
    """
    if given.options.look.images:
        return gallery.numbers(given, looked.source), 'The images are those that look.images names.'
    among = _spaced(looked.source, CANDIDATES)
    coarse = square._replace(stride=max(square.stride, square.size // 2))
    pictures = gallery.pictures(looked, among)
    top = looked.trained.architecture.layers[-1].name  # of all maps that occlusion may watch the smallest
    print(f'[occlusion] looking for the images that lose most among {len(among)}', flush=True)
    found = occlusion.occlude(looked.network, looked.variables, pictures.raw, gallery.classes(looked, pictures), top, coarse)
    clean, lowest = found.clean.probability, found.under.probability.min((1, 2))
    words = (
        f'The images were chosen for their drop: of {len(among)} evenly spaced ones of {looked.images} those whose p({looked.truth}) falls '
        f'the furthest under the square at places {coarse.stride} px apart. They are no sample: there it falls by '
        f'{100 * np.sort(clean - lowest)[-SHOWN:].min():.0f} points or more, in the median of the {len(among)} by '
        f'{100 * np.median(clean - lowest):.0f}.'
    )
    return among[choosing.dropping(clean, lowest, SHOWN)], words


def projections(looked, tap: str, numbers: np.ndarray, pictures: gallery.Pictures, shown: np.ndarray) -> np.ndarray:
    """(N, 1 + OTHERS, h, w, C): each image's map projected down from itself, then from the images in which it is strongest somewhere.

    numbers (N,): of the maps; shown (N,): numbers of the pictures in the source.
    """
    net, among = looked.trained.architecture, _spaced(looked.source, AMONG)
    feed = stream.evaluation_feed(subset(looked.source, among), looked.batch, looked.resize, 1.0, 0)
    with contextlib.closing(feed):
        top = activations.strongest(looked.network, looked.variables, feed, [tap], OTHERS + 1)[tap]
    down, found = Network(projection.projecting(net, 'deconvnet')), []
    for place, number in enumerate(numbers):
        others = [among[example] for example in top.examples[number] if example >= 0 and among[example] != shown[place]][:OTHERS]
        raw = pictures.raw[[place]]
        if others:
            raw = np.concatenate([raw, gallery.pictures(looked, others).raw])
        seen = augment.prepare(raw, looked.variables['preprocessing'], net.input_shape)
        drawn = np.asarray(projection.project_maps(down, looked.variables, seen, tap, np.full(len(seen), number)))
        found.append(np.concatenate([drawn, np.zeros((1 + OTHERS - len(drawn), *drawn.shape[1:]), drawn.dtype)]))
    return np.stack(found)


def confined(looked, square: occlusion.Square, tap: str, images: np.ndarray) -> occlusion.Confinement:
    """Of images of clutter's split, whose boxes are known."""
    (raw, labels), boxes = looked.source.read(images), clutter.boxes(looked.source.split, images)
    return occlusion.confinement(occlusion.occlude(looked.network, looked.variables, np.stack(raw), labels, tap, square), boxes)
