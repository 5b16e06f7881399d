"""What an explorer shows, computed: units over the checkpoints, images under a square, images on their way through the stages."""

import contextlib
import itertools
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cnn_research import checkpoints, runs
from cnn_research.architecture import Architecture
from cnn_research.classes import meaning
from cnn_research.data import stream
from cnn_research.data.sources import subset
from cnn_research.features import fingerprint
from cnn_research.reporting import explorer as page
from cnn_research.reporting import figures
from cnn_research.studies.looking import activations, evolution, explorer, occlusion
from cnn_research.studies.looking.figures.units import grey_centred
from experiments.launch import command, gallery, looking

_ACROSS = 32  # units in a row of an overview
_AT_ONCE = 16  # units
_TOP = 5  # classes that are named of an image


class Seen(NamedTuple):
    """A network at its checkpoints, the oldest first: what it is, its epoch (None where that is not known), the winners of every tap."""

    looked: looking.Looked
    epoch: float | None
    top: dict[str, activations.Top]


class Units(NamedTuple):
    """Units of one layer that are shown, in the order of `explorer.leading`.

    tiles, boxes: {'patch', 'projection'} of the strongest image alone, (units, checkpoints, ...); sprites: all nine of each unit.
    """

    number: int
    tap: str
    chosen: np.ndarray
    tiles: dict[str, np.ndarray]
    boxes: np.ndarray
    sprites: list[page.Sprite]
    filters: np.ndarray | None


def steps(home: str, end: int) -> list[int]:
    """The marked checkpoints of a training before the step `end`; none of a file of weights."""
    return [step for step in evolution.compared(home) if step < end] if pathlib.Path(home).is_dir() else []


def over_checkpoints(given: command.Command, looked: looking.Looked, taps: list[str]) -> list[Seen]:
    """The marked checkpoints up to the one that is looked at, each with a pass over all images that is kept, and that one."""
    home = looking.workdirs(given)[0]
    here = looked.trained.step
    seen, config = [], looked.trained.config
    feed = stream.evaluation_feed(looked.source, looked.batch, looked.resize, config.data.resident_gb, config.data.workers)
    with contextlib.closing(feed):
        stop = command.stopper()
        for step in [*steps(home, here), here]:
            now = looked if step == here else looked._replace(trained=checkpoints.load(home, step))
            print(f'[explore] {looked.source.num_examples:,} images through the network at step {step:,}', flush=True)
            told = fingerprint(now.network, now.variables, now.source, 0, now.resize)
            kept = given.workdir / f'strongest_{step}.npz'
            top = activations.kept(kept, told, now.network, now.variables, feed, taps, explorer.NINE, stop=stop)
            seen.append(Seen(now, runs.epoch(home, step) if step else None, top))
    command.interruptible()
    return seen


def units(seen: list[Seen], number: int, tap: str, count: int, side: int) -> Units:
    """The leading units of a layer at the last checkpoint, projected at every checkpoint."""
    last = seen[-1]
    chosen = explorer.leading(last.top[tap].values, count)
    patches, signals, boxes = [], [], []
    # Few units at once: the projections of many would be large.
    for now, some in itertools.product(seen, np.split(chosen, range(_AT_ONCE, len(chosen), _AT_ONCE))):
        projected, cut, inside = (array.reshape(-1, *array.shape[2:]) for array in gallery.winners(now.looked, tap, some, now.top[tap]))
        tiles, box = page.framed(cut, inside, side)
        signals.append(page.framed(grey_centred(projected), inside, side)[0])
        patches.append(tiles)
        boxes.append(box)
    of_unit = (len(seen), len(chosen), explorer.NINE)
    shown, below, boxes = (np.concatenate(each).reshape(*of_unit, *each[0].shape[1:]).swapaxes(0, 1) for each in (patches, signals, boxes))
    pairs = np.stack([shown, below], axis=3)  # (units, checkpoints, nine, 2, h, w, C)
    sprites = [page.sprite(one.reshape(-1, *one.shape[3:]), 2 * explorer.NINE) for one in pairs]
    first = {'patch': shown[:, :, 0], 'projection': below[:, :, 0]}
    return Units(number, tap, chosen, first, boxes, sprites, _filters(seen, number, chosen))


def _filters(seen: list[Seen], number: int, chosen: np.ndarray) -> np.ndarray | None:
    """uint8 (units, checkpoints, h, w, 3) of a layer that reads the image by a convolution."""
    if number != 1:
        return None
    kernels = [np.asarray(now.looked.variables['params']['layer1'].get('convolution', {}).get('kernel', np.zeros(0))) for now in seen]
    if kernels[0].ndim != 4 or kernels[0].shape[-1] <= chosen.max():
        return None
    return np.stack([np.round(255 * figures.filter_tiles(one)[0][chosen]).astype(np.uint8) for one in kernels], axis=1)


def layer(found: Units, seen: list[Seen], count: int, labels: Mapping[int, int]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(what the page is told of a layer, its files) with the first `count` of its units, in the order of their numbers."""
    places = np.argsort(found.chosen[:count])
    last, classes = seen[-1].looked.trained.architecture, seen[-1].looked.classes
    row, geometry = last.row(found.tap), found.sprites[0]
    kinds = found.tiles | ({'filter': found.filters} if found.filters is not None else {})
    overviews, contents = {}, {}
    for kind, tiles in kinds.items():
        by_checkpoint = tiles[places].swapaxes(0, 1)
        drawn = page.sprite(by_checkpoint.reshape(-1, *by_checkpoint.shape[2:]), min(_ACROSS, len(places)))
        name = f'layer{found.number}_{kind}'
        overviews[kind] = drawn.told(name)
        contents[overviews[kind]['file']] = drawn.content
    told = []
    for place in places:
        name, unit = f'layer{found.number}_unit{found.chosen[place]}', int(found.chosen[place])
        sheet = found.sprites[place].told(name)
        contents[sheet['file']] = found.sprites[place].content
        winners = [
            [
                {'value': _number(value), 'image': int(example), 'class': labels.get(int(example)), 'box': box.tolist()}
                for value, example, box in zip(now.top[found.tap].values[unit], now.top[found.tap].examples[unit], boxes, strict=True)
            ]
            for now, boxes in zip(seen, found.boxes[place], strict=True)
        ]
        told.append({'number': unit, 'file': sheet['file'], 'winners': winners})
    output = row.output
    words = f'{output[-1]} maps of {output[0]} × {output[1]}' if len(output) == 3 else f'{output[-1]} units'
    window = f'{row.receptive_field} × {row.receptive_field} px' if row.receptive_field else 'the whole image'
    return {
        'number': found.number,
        'tap': found.tap,
        'words': f'{found.tap}: {words}, each sees {window}',
        'size': output[-1],
        'names': list(classes) if found.number == last.layers[-1].number and output[-1] == len(classes) else None,
        'tile': {k: v for k, v in geometry.told('').items() if k != 'file'},
        'overviews': overviews,
        'units': told,
    }, contents


def labels_of(looked: looking.Looked, seen: list[Seen]) -> dict[int, int]:
    """{image: its class} of all winners."""
    images = np.unique(np.concatenate([top.examples.ravel() for now in seen for top in now.top.values()]))
    images = images[images >= 0]
    return dict(zip(images.tolist(), subset(looked.source, images).labels().tolist(), strict=True)) if len(images) else {}


def table(looked: looking.Looked, seen: list[Seen], layers: list[Units], count: int, labels: Mapping[int, int]) -> str:
    """units.csv: the winners of the first `count` units of each layer at every checkpoint, whose images have the classes `labels`."""
    rows = []
    for now, layer in itertools.product(seen, layers):
        top = now.top[layer.tap]
        for unit, rank in itertools.product(sorted(layer.chosen[:count]), range(explorer.NINE)):
            image = int(top.examples[unit, rank])
            if image >= 0:
                name, where = looked.source.class_names[labels[image]], (top.rows[unit, rank], top.columns[unit, rank])
                value = f'{top.values[unit, rank]:.6g}'
                rows.append((layer.tap, unit, now.looked.trained.step, now.epoch, rank + 1, value, image, name, *where))
    return page.table(('tap', 'unit', 'step', 'epoch', 'rank', 'activation', 'image', 'class', 'row', 'column'), rows)


def occluded(looked: looking.Looked, pictures: gallery.Pictures, square: occlusion.Square) -> tuple[dict[str, Any], occlusion.Occlusion]:
    """What the page is told of the images under the square, and the whole of it."""
    tap = watched(looked.trained.architecture)
    labels = gallery.classes(looked, pictures)
    found = occlusion.occlude(looked.network, looked.variables, pictures.raw, labels, tap, square)
    images = [
        {
            'true': int(labels[place]),
            'map': int(found.number[place]),
            'clean': [_number(array[place]) for array in found.clean],
            'activation': [[_number(value) for value in line] for line in found.under.activation[place]],
            'probability': [[round(float(value), 4) for value in line] for line in found.under.probability[place]],
            'predicted': found.under.predicted[place].tolist(),
        }
        for place in range(len(labels))
    ]
    told = {'tap': tap, 'size': square.size, 'rows': found.rows.tolist(), 'columns': found.columns.tolist(), 'images': images}
    return told, found


def watched(architecture: Architecture) -> str:
    """The highest tap with maps that stands for a layer or, where no layer has any, the lowest."""
    taps, shapes = list(explorer.taps(architecture).values()), architecture.taps()
    return next((tap for tap in reversed(taps) if len(shapes[tap]) == 3), taps[0])


def ways(looked: looking.Looked, pictures: gallery.Pictures, side: int) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """(what the page is told of each image's way up, its files)."""
    by_layer, told, contents = explorer.stages(looked.trained.architecture), [], {}
    found = looked.trained.features(pictures.raw, [tap for names in by_layer.values() for tap in names])
    probabilities = looked.trained.predict(pictures.raw)
    for place, said in enumerate(probabilities):
        parts, layers = [], []
        for number, names in by_layer.items():
            here = {name: found[name][place] for name in names}
            if here[names[0]].ndim == 1:
                values = here[names[0]]
                strongest = np.argsort(-values, kind='stable')[: explorer.MAPS]
                layers.append({'number': number, 'units': [[int(unit), _number(values[unit])] for unit in strongest]})
                continue
            maps, shown = explorer.passed(here, names)
            parts += [page.framed(one, np.ones(one.shape[:3], bool), side)[0] for one in shown.values()]
            layers.append({'number': number, 'maps': maps, 'stages': list(shown)})
        if parts:
            content, sprites = page.stacked(parts)
            rows = iter(one.told(f'way{place}') for one in sprites)
            for one in (one for one in layers if 'stages' in one):
                one['stages'] = [{'name': name.replace('_', ' '), **next(rows)} for name in one['stages']]
            contents[f'{page.PICTURES}/way{place}.png'] = content
        best = np.argsort(-said, kind='stable')[:_TOP]
        told.append({'layers': layers, 'says': [[int(number), round(float(said[number]), 4)] for number in best]})
    return told, contents


def images(looked: looking.Looked, pictures: gallery.Pictures) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(what the page is told of the chosen images, their file)."""
    drawn = page.sprite(pictures.seen, len(pictures.seen), lossless=True)
    told = drawn.told('images')
    return {'names': pictures.names, 'sprite': told}, {told['file']: drawn.content}


def names(looked: looking.Looked) -> list[str]:
    return [meaning(name) for name in looked.source.class_names]


def _number(value) -> float | None:
    """Four digits; None for what no JSON holds."""
    return float(f'{float(value):.4g}') if np.isfinite(value) else None
