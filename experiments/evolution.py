"""Features over a training (Zeiler & Fergus 2013, section 4.1 and Fig. 4): what excites a unit at epochs 1, 2, 5, 10, ...

    python -m experiments.evolution
    python -m experiments.evolution --config.network=WORKDIR --config.evolution.units=6
    python -m experiments.evolution --config.network=DIR/trials/KEY,DIR/trials/KEY,DIR/trials/KEY

From checkpoints alone, for chosen units of every layer: the strongest activation over the images at every checkpoint, projected down, and
where another image takes over. Beside it how far each layer's features still are from the last checkpoint's; with three networks or more,
whether lower layers settle first is a claim with a verdict. Checkpoints stay by --config.checkpoint.marks of a training. Leaves
report.html, figures and arrays.npz.
"""

import numpy as np

from cnn_research import checkpoints, tasks
from cnn_research.analysis import activations, features, projection
from cnn_research.config import Field
from cnn_research.data import stream
from cnn_research.data.sources import subset
from cnn_research.errors import ConfigError
from cnn_research.reporting import claims, figures, units
from cnn_research.reporting.tables import Column, Table
from experiments import command, looking
from experiments.features import default_taps, winners

FIELDS = (
    *looking.FIELDS,
    Field('evolution.units', 4, 'units of each layer that are drawn, evenly spaced', low=1),
    Field('evolution.examples', 1000, 'images, evenly spaced, that the strongest is looked for in and drift is measured on', low=2),
)
_SAID = 'Zeiler & Fergus 2013, section 4.1 and Fig. 4'


def _drifts(looked: looking.Looked, workdir: str, steps: list[int], taps: list[str]) -> dict[str, np.ndarray]:
    """{tap: (checkpoints,)}: the drift of each checkpoint to the last."""
    found = []
    for step in steps:
        trained = checkpoints.load(workdir, step)
        found.append(features.collect(tasks.network(trained.config), trained.variables, looked.source, taps, 6, looked.resize))
    drifts = [features.drift(early, found[-1]) for early in found]
    return {tap: np.array([drift[tap] for drift in drifts]) for tap in taps}


def _settling(epochs: np.ndarray, drift: np.ndarray) -> float:
    """The share of its drift at the first checkpoint that a layer has left halfway through the checkpoints."""
    return float(100 * drift[len(epochs) // 2] / drift[0]) if drift[0] else 0.0


def check(given, architecture, source) -> None:
    """ArchitectureError for a network without a way down, ConfigError for networks whose checkpoints differ."""
    projection.projecting(architecture, 'deconvnet')
    homes = looking.workdirs(given)
    steps = [checkpoints.steps(home) for home in homes]
    if given.options.network and (len(steps[0]) < 2 or any(other != steps[0] for other in steps)):
        raise ConfigError('evolution needs networks with the same checkpoints, two or more; train with --config.checkpoint.marks=1,2,5,10.')


def draw(given: command.Command, looked: looking.Looked) -> None:
    options, homes = given.options.evolution, looking.workdirs(given)
    steps = checkpoints.steps(homes[0])
    count = min(options.examples, looked.source.num_examples)
    looked = looked._replace(source=subset(looked.source, np.linspace(0, looked.source.num_examples - 1, count).astype(int)))
    per_epoch = tasks.sources(looked.trained.config)['train'].num_examples / looked.trained.config.data.batch_size
    epochs = np.array(steps) / per_epoch
    taps, shelf, sections, arrays = default_taps(looked.trained.architecture), looking.shelf(given), [], {'epochs': epochs}
    drawn: dict[str, list] = {tap: [] for tap in taps}
    for step in steps:
        now = looked._replace(trained=checkpoints.load(homes[0], step))
        feed = stream.evaluation_feed(looked.source, 100, looked.resize, 1.0, 0)
        top = activations.strongest(now.network, now.variables, feed, taps, 1)
        for tap in taps:
            chosen = np.unique(np.linspace(0, len(top[tap].values) - 1, options.units).astype(int))
            drawn[tap].append((chosen, top[tap].examples[chosen, 0], *winners(now, tap, chosen, top[tap])))
    drifts = [_drifts(looked, home, steps, taps) for home in homes]
    lines = [(tap.split('.')[0], epochs, np.mean([drift[tap] for drift in drifts], axis=0)) for tap in taps]
    caption = f'Distance from the features of the last checkpoint, over their length: {count} images, {len(homes)} networks.'
    figure = shelf.figure('drift', figures.learning_curves(lines, 'epoch', 'distance from the last checkpoint'), caption)
    settled = {tap: {seed: _settling(epochs, drift[tap]) for seed, drift in enumerate(drifts)} for tap in taps}
    claim = claims.Claim(
        'Lower layers settle first: halfway through the checkpoints layer 1 has less of its drift left than the last layer with maps.',
        _SAID,
        claims.below(taps[0], taps[-1]),
        quantity='share of the first drift left, %',
    )
    figure += shelf.table(
        'drift',
        Table(
            [Column('layer'), Column('left', 'drift left halfway, %', '.1f')],
            [{'layer': t, 'left': list(v.values())} for t, v in settled.items()],
        ),
    )
    figure += shelf.claims([claims.judge(claim, settled, demonstration=looked.source.name == 'clutter')])
    sections.append(('Which layers settle first', figure))
    for tap in taps:
        chosen = drawn[tap][0][0]
        examples = np.stack([found[1] for found in drawn[tap]], axis=1)
        projected, _, inside = (np.concatenate([found[place] for found in drawn[tap]], axis=1) for place in (2, 3, 4))
        changed = np.concatenate([np.zeros((len(chosen), 1), bool), examples[:, 1:] != examples[:, :-1]], axis=1)
        caption = (
            f'{tap} of {looked.trained.architecture.name}: the strongest activation among {count} images at each checkpoint, by deconvnet.'
        )
        sections.append(
            (tap, shelf.figure(tap.replace('.', '_'), units.evolution_figure(chosen, epochs.round(1), projected, inside, changed), caption))
        )
        arrays |= {f'{tap} units': chosen, f'{tap} examples': examples, f'{tap} drift': np.stack([drift[tap] for drift in drifts])}
    lead = f'{len(steps)} checkpoints of {looked.trained.architecture.name} on {looked.source.name}.'
    looking.written(given, 'Features over the training', lead, sections, arrays)


def main(given: command.Command) -> None:
    looking.run(given, draw, check, several=True)


if __name__ == '__main__':
    command.run('evolution', main, __doc__, 'configs/looking.py:clutter', FIELDS)
