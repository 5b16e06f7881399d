"""What units see (Zeiler & Fergus 2013, Fig. 2): for every unit the images of a split that excite it most, and what in them does.

    python -m experiments.features
    python -m experiments.features --config.network=WORKDIR --config.look.split=test --config.look.units='layer3: 4,17; layer5: 0'
    python -m experiments.features --config.network=alexnet.pth --config.look.data=folder:DIR --config.features.taps=layer5.relu

One pass over the split finds the strongest images of every unit of all chosen layers, an image counting once for each unit. Only the
winners are projected down by deconvnet, and shown beside the exact window of the image that the unit sees. Leaves report.html, a figure for
each layer, the filters of layer 1, and arrays.npz with the winners of every unit.
"""

import contextlib

import numpy as np

from cnn_research.data import stream
from cnn_research.errors import ConfigError
from cnn_research.features import fingerprint
from cnn_research.fields import Field
from cnn_research.models.network import check_taps
from cnn_research.reporting import panels
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.looking import activations, projection
from cnn_research.studies.looking.figures import units as drawing
from experiments.launch import command, gallery, looking, outcome, units

FIELDS = (
    *looking.FIELDS,
    Field('features.taps', '', "where units are; '' = after the nonlinearity of every layer with maps"),
    units.FIELD,
    Field('features.units', 16, 'how many of each a rule draws', low=1),
    Field('features.images', 9, 'strongest images of each', low=1, high=100),
)


def _taps(given, architecture) -> list[str]:
    return looking.listed(given.options.features.taps, 'features.taps') or activations.default_taps(architecture)


def check(given, architecture, source) -> None:
    """ResearchError for a tap or a way down that is not there."""
    taps = _taps(given, architecture)
    if not taps:
        raise ConfigError(f'{architecture.name} has no maps; name units of its dense layers: --config.features.taps=layer1.relu.')
    check_taps(architecture, taps)
    units.wanted(given, architecture, taps)
    projection.projecting(architecture, 'deconvnet')


def draw(given: command.Command, looked: looking.Looked, shelf: Shelf) -> outcome.Page:
    options, net = given.options.features, looked.trained.architecture
    named = units.wanted(given, net, _taps(given, net))
    config, source = looked.trained.config, looked.source
    told = fingerprint(looked.network, looked.variables, source, 0, looked.resize)
    feed = stream.evaluation_feed(source, looked.batch, looked.resize, config.data.resident_gb, config.data.workers)
    with contextlib.closing(feed):
        stop = command.stopper()
        found = activations.kept(
            given.workdir / 'strongest.npz', told, looked.network, looked.variables, feed, list(named), options.images, stop=stop
        )
    command.interruptible()
    sections, arrays = [], {}
    first = np.asarray(looked.variables['params']['layer1'].get('convolution', {}).get('kernel', np.zeros(0)))
    if first.ndim == 4:
        drawn = [
            shelf.figure(f'filters_{how}', panels.filter_grids([('layer 1', first)], 1, how), f'Filters of layer 1, {words}.')
            for how, words in (
                ('each', 'each scaled by its own largest weight'),
                ('shared', 'all scaled by the largest weight of the layer'),
            )
        ]
        sections.append(('Filters of layer 1', ''.join(drawn)))
    for tap, top in found.items():
        chosen = units.chosen(given, looked, tap, named[tap], top, options.units)
        projected, patch, inside = gallery.winners(looked, tap, chosen.numbers, top)
        figure = drawing.layer_figure(chosen.units, projected, patch, inside)
        sections.append((tap, shelf.figure(tap.replace('.', '_'), figure, f'{chosen.words}.')))
        arrays |= {f'{tap} {name}': array for name, array in top._asdict().items()} | {f'{tap} drawn': chosen.numbers}
        arrays |= {f'{tap} projections': projected, f'{tap} patches': patch, f'{tap} inside': inside}
    told = (
        f'{looked.name} on {looked.images}: for each unit the {options.images} of {source.num_examples:,} images that excite it most, the '
        f'strongest first, with their classes above. {units.method(given)} {drawing.CROPPED}'
    )
    sections.append(('How to read the plates', shelf.text(told)))
    shared, words = units.selectivity(looked, found)
    sections.append(('All units', shelf.table('units', shared)))
    count = sum(len(top.values) for top in found.values())
    lead = f'The strongest images of {count:,} units of {looked.name} among {source.num_examples:,}, found in one pass. {words}'
    return outcome.Page('What units see', lead, sections, arrays)


def main(given: command.Command) -> None:
    looking.run(given, draw, check)


if __name__ == '__main__':
    command.run('features', main, __doc__, 'configs/looking.py:clutter', FIELDS)
