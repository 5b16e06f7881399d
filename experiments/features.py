"""What units see (Zeiler & Fergus 2013, Fig. 2): for every unit the images of a split that excite it most, and what in them does.

    python -m experiments.features
    python -m experiments.features --config.network=WORKDIR --config.look.split=test --config.features.units=32
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
from cnn_research.studies.looking.figures import units
from experiments.launch import command, gallery, looking, outcome

FIELDS = (
    *looking.FIELDS,
    Field('features.taps', '', "where units are; '' = after the nonlinearity of every layer with maps"),
    Field('features.units', 16, 'units of each that are drawn, evenly spaced', low=1),
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
    projection.projecting(architecture, 'deconvnet')


def draw(given: command.Command, looked: looking.Looked, shelf: Shelf) -> outcome.Page:
    options, taps = given.options.features, _taps(given, looked.trained.architecture)
    config, source = looked.trained.config, looked.source
    told = fingerprint(looked.network, looked.variables, source, 0, looked.resize)
    feed = stream.evaluation_feed(source, looked.batch, looked.resize, config.data.resident_gb, config.data.workers)
    with contextlib.closing(feed):
        stop = command.stopper()
        found = activations.kept(
            given.workdir / 'strongest.npz', told, looked.network, looked.variables, feed, taps, options.images, stop=stop
        )
    command.interruptible()
    sections, arrays = [], {}
    first = np.asarray(looked.variables['params']['layer1'].get('convolution', {}).get('kernel', np.zeros(0)))
    if first.ndim == 4:
        drawn = [
            shelf.figure(
                f'filters_{how}', panels.filter_grids([('layer 1', first)], 1, how), f'Filters of layer 1 of {looked.name}, {words}.'
            )
            for how, words in (
                ('each', 'each scaled by its own largest weight'),
                ('shared', 'all scaled by the largest weight of the layer'),
            )
        ]
        sections.append(('Filters of layer 1', ''.join(drawn)))
    for tap in taps:
        top = found[tap]
        size = len(top.values)
        chosen = np.unique(np.linspace(0, size - 1, min(options.units, size)).astype(int))
        projected, patch, inside = gallery.winners(looked, tap, chosen, top)
        caption = (
            f'{tap} of {looked.name}: {len(chosen)} of {size} units, evenly spaced; the {options.images} images of {looked.images}, '
            f'{source.num_examples:,} in all, that excite each most, the strongest first. Left: the activation projected down by deconvnet '
            '(switches of max pooling kept, of equal values the first; overlapping signals added; response normalization passed through), '
            f'{units.SCALING}. Right: the window that the unit sees, as it is.'
        )
        sections.append((tap, shelf.figure(tap.replace('.', '_'), units.layer_figure(chosen, projected, patch, inside), caption)))
        arrays |= {f'{tap} {name}': array for name, array in top._asdict().items()} | {f'{tap} drawn': chosen}
        arrays |= {f'{tap} projections': projected, f'{tap} patches': patch, f'{tap} inside': inside}
    count = sum(len(top.values) for top in found.values())
    lead = f'The strongest images of {count:,} units among {source.num_examples:,}, found in one pass.'
    return outcome.Page('What units see', lead, sections, arrays)


def main(given: command.Command) -> None:
    looking.run(given, draw, check)


if __name__ == '__main__':
    command.run('features', main, __doc__, 'configs/looking.py:clutter', FIELDS)
