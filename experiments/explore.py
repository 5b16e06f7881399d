"""An explorer of a network: one folder that opens without a server, to click through layers, units, checkpoints and images.

    python -m experiments.explore
    python -m experiments.explore --config.network=WORKDIR --config.explore.units=32
    python -m experiments.explore --config.network=alexnet.pth --config.look.data=folder:DIR --config.look.images=0,7,21

Of every layer the units, by their filters, first patches or projections; of a unit the nine images of the split that excite it most beside
their projections by deconvnet, with their classes, at every marked checkpoint; some images under a grey square that follows the pointer,
and on their way through the stages. Leaves WORKDIR/explorer, which can be sent as it is (open its index.html), and report.html.
"""

import numpy as np

from cnn_research import checkpoints
from cnn_research.fields import Field
from cnn_research.reporting import explorer as page
from cnn_research.reporting import panels, templates
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table
from cnn_research.studies.looking import explorer, occlusion, projection
from cnn_research.studies.looking.figures import units
from experiments.launch import command, exploring, gallery, looking, outcome, progress

FIELDS = (
    *looking.FIELDS,
    gallery.IMAGES,
    Field(
        'explore.units', 64, 'units of each layer at most: those with the largest mean of their nine strongest activations', low=1, high=512
    ),
    Field('explore.side', 64, 'px of the longer side of a picture, above which it is made smaller', low=16, high=256),
    Field('explore.square', 0, 'side of the square that hides, in px; 0 = a quarter of the image', low=0),
    Field('explore.stride', 0, 'px between its places; 0 = a 32nd of the image', low=0),
    Field('explore.megabytes', 30.0, 'the most that the folder takes (10^6 bytes): more units are left out of every layer', low=0.1),
)
FOLDER = 'explorer'


def _square(options, architecture) -> occlusion.Square:
    side = max(architecture.input_shape[:2])
    size = options.square or max(2, min(architecture.input_shape[:2]) // 4)
    return occlusion.Square(size, options.stride or max(1, side // 32))


def check(given, architecture, source) -> None:
    """ResearchError for an image, a way down or a checkpoint that is not there, or a square that is larger than the image."""
    gallery.numbers(given, source)
    occlusion.check_square(_square(given.options.explore, architecture), architecture.input_shape)
    projection.projecting(architecture, 'deconvnet')
    home = looking.workdirs(given)[0]
    for step in exploring.steps(home, looking.network(given, home).step) if given.options.network else ():
        checkpoints.load(home, step)  # what is damaged is refused before anything is drawn


def _rules(looked: looking.Looked, options, shown: int, asked: int, square: occlusion.Square) -> list[str]:
    """What was chosen, scaled and left out, in words."""
    left = f'Of these, {shown} of each layer are shown: more would take more than {options.megabytes:g} MB. ' if shown < asked else ''
    return [
        f'The network: {looked.trained.architecture.name}; shown is {looked.name}.',
        f'Units: of each layer the {asked} (or all, where it has fewer) whose nine strongest activations are the largest in the mean '
        f'at the last checkpoint. {left}Images: all {looked.source.num_examples:,} of {looked.images}; an image counts once for each '
        f'unit, where its map is strongest. Pictures longer than {options.side} px are made smaller.',
        'Projections: by deconvnet (switches of max pooling kept; response normalization passed through), '
        f'{units.SCALING}. Filters: each divided by its own largest weight.',
        f'Under the square: {square.size} px of grey {occlusion.GREY:g}, {square.stride} px from place to place; the map is the one '
        f'with the largest sum on the clean image, and p is that of the {looked.truth}.',
    ]


def draw(given: command.Command, looked: looking.Looked, shelf: Shelf) -> outcome.Page:
    options, net = given.options.explore, looked.trained.architecture
    taps, square = explorer.taps(net), _square(options, net)
    seen = exploring.over_checkpoints(given, looked, list(taps.values()))
    pictures = gallery.pictures(looked, gallery.numbers(given, looked.source))
    print('[explore] images under the square and on their way', flush=True)
    under, found = exploring.occluded(looked, pictures, square)
    ways, contents = exploring.ways(looked, pictures, options.side)
    chosen, drawn = exploring.images(looked, pictures)
    contents |= drawn
    labels = exploring.labels_of(looked, seen)
    layers = []
    for number, tap in taps.items():
        print(f'[explore] projections of layer {number}', flush=True)
        layers.append(exploring.units(seen, number, tap, options.units, options.side))
    asked, short = max(len(one.chosen) for one in layers), looked.name
    lead = f'{short} on {looked.images}: {len(layers)} layers, {len(seen)} checkpoint{"s" * (len(seen) > 1)}, {len(pictures.names)} images.'

    def whole(count):
        parts = [exploring.layer(one, seen, count, labels) for one in layers]
        told = {
            'classes': exploring.names(looked),
            'outputs': looked.classes,
            'truth': looked.truth,
            'images': chosen,
            'layers': [one for one, _ in parts],
            'checkpoints': [{'step': now.looked.trained.step, 'epoch': now.epoch and round(now.epoch, 1)} for now in seen],
            'occlusion': under,
            'ways': ways,
        }
        notes = [*_rules(looked, options, count, asked, square), *looked.notes]
        text = page.document(f'Inside {net.name.split()[0]}', lead, told, notes, progress.elsewhere(given.line))
        own = {'index.html': text.encode(), 'units.csv': exploring.table(looked, seen, layers, count, labels).encode()}
        return told, {**contents, **{name: content for _, more in parts for name, content in more.items()}, **own}

    told, files = whole(asked)
    sheets = [[len(sprite.content) for sprite in one.sprites] for one in layers]
    rest = sum(map(len, files.values())) - sum(map(sum, sheets))
    count = max(1, page.fitting(sheets, int(1e6 * options.megabytes) - rest))
    if count < asked:
        told, files = whole(count)
    size = page.write(given.workdir / FOLDER, files, options.megabytes)
    print(f'explorer: {given.workdir / FOLDER / "index.html"} ({size / 1e6:.1f} MB in {len(files)} files)')

    rows = [{'layer': one['number'], 'tap': one['tap'], 'units': one['size'], 'shown': len(one['units'])} for one in told['layers']]
    heads = [Column('layer', format='d'), Column('tap'), Column('units', format='d'), Column('shown', format='d')]
    section = templates.part('opens', f'{FOLDER}/index.html', f'Open the explorer ({size / 1e6:.1f} MB)')
    section += shelf.table('layers', Table(heads, rows, f'Units that {FOLDER}/index.html shows of each layer.'))
    kernel = np.asarray(looked.variables['params']['layer1'].get('convolution', {}).get('kernel', np.zeros(0)))
    if kernel.ndim == 4:
        words = f'Filters of layer 1 of {looked.name}, each scaled by its own largest weight.'
        section += shelf.figure('filters', panels.filter_grids([('layer 1', kernel)], 1), words)
    arrays = {'images': gallery.numbers(given, looked.source), 'seen': pictures.seen, 'rows': found.rows, 'columns': found.columns}
    arrays |= {'map': found.number, **found.under._asdict()}
    arrays |= {f'clean {name}': array for name, array in found.clean._asdict().items()}
    arrays |= {
        f'step {now.looked.trained.step} {tap} {name}': array
        for now in seen
        for tap, top in now.top.items()
        for name, array in top._asdict().items()
    }
    return outcome.Page('Explorer', lead, [('What it shows', section)], arrays)


def main(given: command.Command) -> None:
    looking.run(given, draw, check, folders=(FOLDER, f'{FOLDER}/{page.PICTURES}'))


if __name__ == '__main__':
    command.run('explore', main, __doc__, 'configs/looking.py:clutter', FIELDS)
