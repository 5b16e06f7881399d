"""One image on its way through the stages of a layer: its maps after convolution, nonlinearity, pooling and normalization.

    python -m experiments.stages
    python -m experiments.stages --config.network=WORKDIR --config.look.images=7 --config.stages.layers=1,2

Beside the way through each layer stand the same maps under max and under sum pooling, and before and after normalization: of responses
across maps, with the layer's own constants or else Krizhevsky's, and of local contrast within maps. Leaves report.html, figures and
arrays.npz.
"""

from cnn_research import config as configs
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.looking import feature_maps
from cnn_research.studies.looking.figures.feature_maps import map_rows
from experiments.launch import command, gallery, looking, outcome

FIELDS = (
    *looking.FIELDS,
    Field('look.images', '0', 'number of the image in that split'),
    Field('stages.layers', '1,2', 'numbers of the layers'),
    Field('stages.maps', 8, 'maps of each layer that are shown, those with the largest sums', low=1),
)


def check(given, architecture, source) -> None:
    """ConfigError for an image or a layer that is not there."""
    if len(gallery.numbers(given, source)) > 1:
        raise ConfigError(f'look.images={given.options.look.images!r}; stages follows one image.')
    layers, there = (
        configs.numbers(given.options.stages.layers, 'stages.layers', low=1),
        [layer.number for layer in architecture.layers if len(architecture.taps()[layer.name]) == 3],
    )
    if set(layers) - set(there):
        raise ConfigError(
            f'stages.layers={given.options.stages.layers!r}; {architecture.name} has maps in the layers {", ".join(map(str, there))}.'
        )


def draw(given: command.Command, looked: looking.Looked, shelf: Shelf) -> outcome.Page:
    options = given.options.stages
    pictures = gallery.pictures(looked, gallery.numbers(given, looked.source)[:1])
    sections, arrays = [], {'image': pictures.seen[0]}
    for number in configs.numbers(options.layers, 'stages.layers'):
        passage = feature_maps.passage(looked.network, looked.variables, pictures.raw[0], number)
        chosen = feature_maps.strongest(next(iter(passage.stages.values())), options.maps)
        told = f'layer {number} of {looked.name}, image {pictures.names[0]} of {looked.images}'
        drawn = ''
        for name, rows, scaling, words in (
            ('stages', passage.stages, 'each', 'After every stage'),
            ('pooling', passage.pooled, 'each', 'Max and sum pooling of the same maps'),
            (
                'normalization',
                passage.normalized,
                'shared',
                'Before and after normalization, of responses across maps and of local contrast within them',
            ),
        ):
            if rows:
                figure = map_rows(pictures.seen[0], rows, chosen, scaling)
                drawn += shelf.figure(f'layer{number}_{name}', figure, f'{words}: {told}.')
                arrays |= {f'layer{number} {name} {row}': maps for row, maps in rows.items()}
        sections.append((f'Layer {number}', drawn))
    return outcome.Page('Through the stages', f'Image {pictures.names[0]} of {looked.source.name}.', sections, arrays)


def main(given: command.Command) -> None:
    looking.run(given, draw, check)


if __name__ == '__main__':
    command.run('stages', main, __doc__, 'configs/looking.py:clutter', FIELDS)
