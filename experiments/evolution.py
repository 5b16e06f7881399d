"""Features over a training (Zeiler & Fergus 2013, section 4.1 and Fig. 4): what excites a unit at epochs 1, 2, 5, 10, ...

    python -m experiments.evolution
    python -m experiments.evolution --config.network=WORKDIR --config.evolution.units=6
    python -m experiments.evolution --config.network=DIR/trials/KEY,DIR/trials/KEY,DIR/trials/KEY

From checkpoints alone, for chosen units of every layer: the strongest activation over the images at every checkpoint, projected down, and
where another image takes over. Beside it how little each layer's features correlate with the last checkpoint's, from the untrained network
on; with three networks or more, whether lower layers settle first is a claim with a verdict. Checkpoints stay by
--config.checkpoint.marks of a training. Leaves report.html, figures and arrays.npz.
"""

import contextlib

import numpy as np

from cnn_research import checkpoints, features, runs, tasks
from cnn_research.data import stream
from cnn_research.data.sources import subset
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from cnn_research.reporting import figures
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.looking import activations, evolution, projection
from cnn_research.studies.looking.figures import settling
from cnn_research.studies.looking.figures import units as drawing
from experiments.launch import command, gallery, looking, outcome, units

FIELDS = (
    *looking.FIELDS,
    units.FIELD,
    Field('evolution.units', 4, 'how many of each layer a rule draws, by the last checkpoint', low=1),
    Field('evolution.examples', 1000, 'images, evenly spaced, that the strongest is looked for in and drift is measured on', low=2),
)


def _drifts(looked: looking.Looked, workdir: str, steps: list[int], taps: list[str]) -> dict[str, np.ndarray]:
    """{tap: (1 + checkpoints,)}: the drift of the untrained network and of each checkpoint to the last."""

    def collected(trained, params):
        variables = {**trained.variables, 'params': params}
        return features.collect(tasks.network(trained.config), variables, looked.source, taps, 6, looked.resize)

    last = checkpoints.load(workdir, steps[-1])
    end = collected(last, last.variables['params'])
    states = [features.untrained(tasks.network(last.config), last.config.seed)]
    states += [checkpoints.load(workdir, step).variables['params'] for step in steps[:-1]]
    drifts = [*(evolution.drift(collected(last, params), end) for params in states), evolution.drift(end, end)]
    return {tap: np.array([drift[tap] for drift in drifts]) for tap in taps}


def check(given, architecture, source) -> None:
    """ArchitectureError for a network without a way down, ConfigError for networks whose checkpoints differ."""
    projection.projecting(architecture, 'deconvnet')
    if given.options.look.step:
        raise ConfigError('evolution looks at all marked checkpoints: leave look.step out.')
    if not activations.default_taps(architecture):
        raise ConfigError(f'{architecture.name} has no maps, whose growth could be drawn.')
    units.wanted(given, architecture, activations.default_taps(architecture))
    homes = looking.workdirs(given)
    steps = [evolution.compared(home) for home in homes]
    if given.options.network and (len(steps[0]) < 2 or any(other != steps[0] for other in steps)):
        raise ConfigError('evolution needs networks with the same checkpoints, two or more; train with --config.checkpoint.marks=1,2,5,10.')
    for home, there in zip(homes, steps, strict=True) if given.options.network else ():
        for step in there:
            checkpoints.load(home, step)  # what is damaged is refused before anything is drawn
    looking.check_seeds_alone(given)


def _settling(shelf: Shelf, looked: looking.Looked, epochs: np.ndarray, drifts: list[dict[str, np.ndarray]]) -> str:
    """Curves of drift, when layers settle, and the claim."""
    taps, epochs, count = list(drifts[0]), np.array([0.0, *epochs]), looked.source.num_examples
    lines = [(tap.split('.')[0], epochs, np.mean([drift[tap] for drift in drifts], axis=0)) for tap in taps]
    caption = (
        f"What a layer's features lack to a full correlation with those of the last checkpoint, over {count:,} images of {looked.images}: "
        f'mean of {len(drifts)} network{"s" * (len(drifts) > 1)}; epoch 0 is the untrained network.'
    )
    drawn = shelf.figure('drift', figures.learning_curves(lines, 'epoch', '1 - correlation with the last'), caption)
    when = {tap: [evolution.settled(epochs, drift[tap]) for drift in drifts] for tap in taps}
    return drawn + settling.tables_of(shelf, when, epochs[1], looked.source.name == 'clutter')


def draw(given: command.Command, looked: looking.Looked, shelf: Shelf) -> outcome.Page:
    options, homes = given.options.evolution, looking.workdirs(given)
    steps = evolution.compared(homes[0])
    count = min(options.examples, looked.source.num_examples)
    images = np.linspace(0, looked.source.num_examples - 1, count).astype(int)
    looked = looked._replace(source=subset(looked.source, images))
    epochs = np.array([runs.epoch(homes[0], step) or np.nan for step in steps])
    net, arrays = looked.trained.architecture, {'epochs': epochs}
    taps = activations.default_taps(net)
    named = units.wanted(given, net, taps)
    states = [looked._replace(trained=checkpoints.load(homes[0], step)) for step in steps]
    with contextlib.closing(stream.evaluation_feed(looked.source, looked.batch, looked.resize, 1.0, 0)) as feed:
        tops = [activations.strongest(now.network, now.variables, feed, list(named)) for now in states]
    drifts = [_drifts(looked, home, steps, taps) for home in homes]
    sections = [('Which layers settle first', _settling(shelf, looked, epochs, drifts))]
    for tap in named:
        chosen = units.chosen(given, looked, tap, named[tap], tops[-1][tap], options.units)
        firsts = [activations.Top(*(array[:, :1] for array in top[tap])) for top in tops]
        examples = np.stack([images[first.examples[chosen.numbers, 0]] for first in firsts], axis=1)
        drawn = [gallery.winners(now, tap, chosen.numbers, first) for now, first in zip(states, firsts, strict=True)]
        projected, _, inside = (np.concatenate(each, axis=1) for each in zip(*drawn, strict=True))
        changed = np.concatenate([np.zeros((len(examples), 1), bool), examples[:, 1:] != examples[:, :-1]], axis=1)
        figure = drawing.evolution_figure(chosen.units, epochs.round(1), projected, inside, changed)
        sections.append((tap, shelf.figure(tap.replace('.', '_'), figure, f'{chosen.words} at the last checkpoint.')))
        arrays |= {f'{tap} units': chosen.numbers, f'{tap} examples': examples}
        arrays |= {f'{tap} projections': projected, f'{tap} inside': inside}
    arrays |= {f'{tap} drift': np.stack([drift[tap] for drift in drifts]) for tap in taps}
    told = (
        f'{net.name.split()[0]} on {count:,} images of {looked.images}: of each unit the strongest activation at each checkpoint, beside '
        f'its name the classes of its nine strongest images at the last. {units.method(given)} {drawing.CROPPED}'
    )
    sections.append(('How to read the plates', shelf.text(told)))
    lead = f'{len(steps)} checkpoints of {net.name.split()[0]} on {looked.source.name}.'
    return outcome.Page('Features over the training', lead, sections, arrays)


def main(given: command.Command) -> None:
    looking.run(given, draw, check, several=True)


if __name__ == '__main__':
    command.run('evolution', main, __doc__, 'configs/looking.py:clutter', FIELDS)
