"""Saliency methods held against each other: which of them points at the digit, on clutter, where the digit's box is known.

    python -m experiments.saliency
    python -m experiments.saliency --config.network=DIR/trials/KEY,DIR/trials/KEY,DIR/trials/KEY --config.saliency.many=500
    python -m experiments.saliency --config.network=alexnet.pth --config.look.data=folder:DIR --config.look.images=3,14

Gradient, gradient x input, integrated gradients, deconvnet, guided backpropagation, Grad-CAM and occlusion (Zeiler & Fergus 2013, Fig. 7)
of the true class, beside noise, the middle and the image itself, as rows of one table: how much of a map lies in the box, and how often
its strongest pixel does, with intervals over images and, from three networks on that differ in their seeds alone, over networks. Of any
other source only the maps are drawn. Leaves report.html, figures and arrays.npz.
"""

import numpy as np

from cnn_research.data import augment, clutter
from cnn_research.errors import ArchitectureError, ConfigError
from cnn_research.fields import Field
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.looking import occlusion, projection
from cnn_research.studies.saliency import figures, maps, measures, report
from experiments.launch import command, gallery, looking, outcome

FIELDS = (
    *looking.FIELDS,
    gallery.IMAGES,
    Field('saliency.many', 200, 'images of clutter that are measured', low=1),
    Field('saliency.steps', 64, 'steps of integrated gradients', low=1),
    Field('saliency.tap', '', "maps that Grad-CAM weighs; '' = what leaves the nonlinearity of the highest layer with maps"),
    Field('saliency.size', 0, 'side of the square of occlusion in px; 0 = a quarter of the image', low=0),
    Field('saliency.stride', 2, 'px between its places', low=1),
)
_BOUNDED = 'clutter'  # the source whose boxes are known


def _square(options, architecture) -> occlusion.Square:
    return occlusion.Square(options.size or max(2, min(architecture.input_shape[:2]) // 4), options.stride)


def check(given: command.Command, architecture, source) -> None:
    """ResearchError for an image or a tap that is not there, a square that is larger than the image, and networks of other trainings."""
    gallery.numbers(given, source)
    occlusion.check_square(_square(given.options.saliency, architecture), architecture.input_shape)
    tap = given.options.saliency.tap or maps.default_maps(architecture)
    if tap:
        maps.check_maps(architecture, tap)
    looking.check_seeds_alone(given)
    if source.name == _BOUNDED and architecture.input_shape[:2] != source.image_shape[:2]:
        side = 'x'.join(map(str, architecture.input_shape[:2]))
        raise ConfigError(f'{architecture.name} reads images of {side} px, and the boxes of clutter are known in its 32x32.')


def _lacking(architecture) -> list[str]:
    """What is said of the methods that a network has not."""
    said = [] if maps.default_maps(architecture) else [f'Grad-CAM is left out: {architecture.name} has no maps.']
    for rule, name in (('deconvnet', 'deconvnet'), ('guided', 'guided backpropagation')):
        try:
            projection.projecting(architecture, rule)
        except ArchitectureError as error:
            said.append(f'{name} is left out: {error}')
    return said


def _seen(looked: looking.Looked, raw: np.ndarray) -> np.ndarray:
    return np.asarray(augment.prepare(raw, looked.variables['preprocessing'], looked.network.architecture.input_shape))


def _found(looked: looking.Looked, raw: np.ndarray, labels: np.ndarray, options) -> tuple[dict[str, np.ndarray], float]:
    """({method: maps (N, H, W)}, the median of what integrated gradients miss to completeness)."""
    net, network, variables = looked.trained.architecture, looked.network, looked.variables
    seen = _seen(looked, raw)
    gradient = maps.gradient(network, variables, seen, labels)
    integrated = maps.integrated(network, variables, seen, labels, options.steps)
    missed = maps.incompleteness(network, variables, seen, labels, integrated)
    found = {'gradient': measures.largest(gradient), 'gradient x input': measures.summed(gradient * seen)}
    found['integrated gradients'] = measures.summed(integrated)
    for rule, name in (('deconvnet', 'deconvnet'), ('guided', 'guided backpropagation')):
        if not any(line.startswith(name) for line in _lacking(net)):
            down = network.clone(architecture=projection.projecting(net, rule))
            found[name] = measures.largest(maps.gradient(down, variables, seen, labels))
    tap = options.tap or maps.default_maps(net)
    if tap:
        found['Grad-CAM'] = maps.grad_cam(network, variables, seen, labels, tap)
    watched = net.layers[-1].name  # of all maps that occlusion may watch the smallest
    hidden = occlusion.occlude(network, variables, raw, labels, watched, _square(options, net))
    drop = np.maximum(0, hidden.clean.probability[:, None, None] - hidden.under.probability)
    size = _square(options, net).size
    middle = (size - 1) / 2 - size // 2  # from the pixel under the middle to the middle itself: of an even square half a pixel
    found['occlusion'] = measures.spread(drop, hidden.rows + middle, hidden.columns + middle, net.input_shape[:2])
    return found, float(np.nanmedian(missed)) if np.isfinite(missed).any() else np.nan


def _compared(given: command.Command, looked: looking.Looked, shelf: Shelf) -> tuple[str, str, dict[str, np.ndarray]]:
    """(lead, markup, arrays) of the comparison on clutter's boxes."""
    options, homes = given.options.saliency, looking.workdirs(given)
    count = min(options.many, looked.source.num_examples)
    images, labels = looked.source.read(np.arange(count))  # through the network's preprocessing, which moves nothing
    raw, boxes = np.stack(images), clutter.boxes(looked.source.split, np.arange(count))
    parts, missed = [], []
    for number, home in enumerate(homes):
        now = looked if number == 0 else looked._replace(trained=looking.network(given, home))
        found, incomplete = _found(now, raw, np.array(looked.outputs)[labels], options)
        shape = raw.shape[1:3]
        floors = {report.CENTRE: measures.centre(count, shape), report.CHANCE: measures.random(count, shape, number)}
        parts.append(found | {report.IMAGE: measures.summed(_seen(now, raw))} | floors)
        missed.append(incomplete)
        print(f'[saliency] {number + 1} of {len(homes)} networks', flush=True)
    rows = {
        name: report.Row(
            np.stack([measures.shares(part[name], boxes) for part in parts]),
            np.stack([measures.hits(part[name], boxes) for part in parts]),
            sum(measures.blank(part[name]) for part in parts),
        )
        for name in report.METHODS
        if name in parts[0]
    }
    area, net = 100 * float(measures.inside(boxes, raw.shape[1:3]).mean()), looked.trained.architecture
    about = (
        f'Of the true class, on the first {count} images of {looked.images}, {len(homes)} network{"s" * (len(homes) > 1)}; a map without '
        f'saliency counts as one that says the same of every pixel. Integrated gradients from the mean image in {options.steps} steps miss '
        f'{100 * np.median(missed):.2g} % of what they sum to (median); Grad-CAM at {options.tap or maps.default_maps(net) or "no tap"}; '
        f'occlusion by a square of {_square(options, net).size} px every {options.stride} px, drops of p alone. '
        'The paper allows 15 px beside the box, of 224.'
    )
    lead, drawn = report.compared(shelf, rows, area, about)
    arrays = {'boxes': boxes} | {f'{name} {kind}': getattr(row, kind) for name, row in rows.items() for kind in ('shares', 'hits')}
    return lead, drawn, arrays


def draw(given: command.Command, looked: looking.Looked, shelf: Shelf) -> outcome.Page:
    chosen = gallery.numbers(given, looked.source)
    pictures = gallery.pictures(looked, chosen)
    found, _ = _found(looked, pictures.raw, gallery.classes(looked, pictures), given.options.saliency)
    bounded = looked.source.name == _BOUNDED and looked.outputs is not None
    boxes = clutter.boxes(looked.source.split, chosen) if bounded else None
    lead, drawn, arrays = _compared(given, looked, shelf) if bounded else ('', '', {})
    caption = f'{looked.name} on {looked.images}: what the score of the {looked.truth} rests on, by {len(found)} methods.'
    plate = shelf.figure('maps', figures.plate(pictures.seen, pictures.names, found, boxes), caption)
    lacking = [shelf.text('\n\n'.join(_lacking(looked.trained.architecture)))] if _lacking(looked.trained.architecture) else []
    sections = [('Which methods point at the digit', drawn)] if drawn else []
    sections += [('Maps', ''.join([plate, *lacking]))]
    arrays |= {'images': chosen, 'seen': pictures.seen, **{f'{name} maps': one for name, one in found.items()}}
    return outcome.Page('Saliency', lead or f'{len(found)} methods on {len(chosen)} images of {looked.source.name}.', sections, arrays)


def main(given: command.Command) -> None:
    looking.run(given, draw, check, several=True)


if __name__ == '__main__':
    command.run('saliency', main, __doc__, 'configs/looking.py:clutter', FIELDS)
