"""Activation maximisation (Simonyan et al. 2014, section 2; Yosinski et al. 2015): the image that a class or unit answers to most.

    python -m experiments.maximisation
    python -m experiments.maximisation --config.network=WORKDIR --config.maximisation.tap=layer5 --config.maximisation.units=0,7,12
    python -m experiments.maximisation --config.network=alexnet.pth --config.look.data=folder:DIR --config.maximisation.steps=400

Gradient ascent from the mean image on, with all regularisers, decay (L2), blur and jitter, then with each of them alone and without any.
What was on is named above the pictures, and how far the unit was driven below each. Leaves report.html, a figure and arrays.npz.
"""

from cnn_research import config as configs
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from cnn_research.models.network import check_taps
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table
from cnn_research.studies.looking import maximisation
from cnn_research.studies.looking.figures import maximisation as drawing
from experiments.launch import command, looking, outcome

FIELDS = (
    *looking.FIELDS,
    Field('maximisation.tap', '', "whose units are driven; '' = the last layer, the classes"),
    Field('maximisation.units', '0,1,2,3,4,5,6,7', 'their numbers; of maps the middle position is driven'),
    Field('maximisation.steps', 200, 'steps of gradient ascent', low=1),
    Field('maximisation.rate', 0.1, 'length of a step, as a root mean square in the units of the prepared image', low=1e-6),
    Field('maximisation.l2', 0.01, 'decay of the image at each step, a share of it', low=0, high=1),
    Field('maximisation.blur', 0.5, 'standard deviation of the blur in px', low=0),
    Field('maximisation.every', 4, 'steps between blurs', low=1),
    Field('maximisation.jitter', 2, 'px that the image is moved around by before a step', low=0),
)


def _tap(given: command.Command, architecture) -> str:
    return given.options.maximisation.tap or architecture.layers[-1].name


def _units(given: command.Command, architecture) -> list[int]:
    """ConfigError for a number that the tap does not have; of the default those that it has."""
    tap, text = _tap(given, architecture), given.options.maximisation.units
    count, numbers = architecture.row(tap).output[-1], configs.numbers(text, 'maximisation.units')
    if text == next(field.default for field in FIELDS if field.name == 'maximisation.units'):
        return [number for number in numbers if number < count]
    if not numbers or numbers[-1] >= count:
        raise ConfigError(f'maximisation.units={text!r}, but {tap} of {architecture.name} has the units 0 to {count - 1}.')
    return list(numbers)


def check(given: command.Command, architecture, source) -> None:
    check_taps(architecture, [_tap(given, architecture)])
    _units(given, architecture)


def _sets(options) -> list[maximisation.Regularisers]:
    """All that are on, each of them alone, and none, each once."""
    whole = maximisation.Regularisers(options.l2, options.blur, options.every, options.jitter)
    off = maximisation.Regularisers(every=options.every)
    alone = [off._replace(**{name: getattr(whole, name)}) for name in ('l2', 'blur', 'jitter') if getattr(whole, name)]
    return list(dict.fromkeys([whole, *alone, off]))


def draw(given: command.Command, looked: looking.Looked, shelf: Shelf) -> outcome.Page:
    options, net = given.options.maximisation, looked.trained.architecture
    tap, units = _tap(given, net), _units(given, net)
    names = [looked.classes[unit] if tap == net.layers[-1].name else f'unit {unit}' for unit in units]
    found = {}
    for held in _sets(options):
        found[held.words] = maximisation.maximise(looked.network, looked.variables, tap, units, held, options.steps, options.rate)
        print(f'[maximisation] {held.words}', flush=True)
    caption = f'{tap} of {looked.name}: {options.steps} steps of gradient ascent of {options.rate:g} each, from the mean image on.'
    pictures = {words: (one.images, one.activations[-1]) for words, one in found.items()}
    drawn = shelf.figure('maximisation', drawing.plate(pictures, names), caption)
    rows = [
        {
            'held': words,
            'first': float(one.activations[0].mean()),
            'last': float(one.activations[-1].mean()),
            'size': float(one.images.std()),
        }
        for words, one in found.items()
    ]
    columns = [Column('held', 'regularisers'), Column('first', 'activation of the mean image', '.2f')]
    columns += [Column('last', 'activation in the end', '.2f'), Column('size', 'standard deviation of the image', '.2f')]
    drawn += shelf.table('maximisation', Table(columns, rows, f'Means over {len(units)} units.'))
    arrays = {f'{words} {name}': array for words, one in found.items() for name, array in one._asdict().items()}
    lead = f'What drives {len(units)} units of {tap} of {net.name.split()[0]} most, under {len(found)} sets of regularisers.'
    return outcome.Page('Activation maximisation', lead, [('Images', drawn)], {'units': units, **arrays})


def main(given: command.Command) -> None:
    looking.run(given, draw, check)


if __name__ == '__main__':
    command.run('maximisation', main, __doc__, 'configs/looking.py:clutter', FIELDS)
