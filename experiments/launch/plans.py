"""The plans that dry runs print: of one training, and of a table of them."""

from collections.abc import Callable, Sequence

import numpy as np

from cnn_research import config as configs
from cnn_research import lengths, memory, optimizers, parallel, tasks, train, trials
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from experiments.launch import cluster, command, progress


def say(notes: Sequence[str]) -> None:
    """Shows what was skipped, chosen or assumed."""
    for line in notes:
        print(f'note: {line}')


def training(config) -> str:
    """What a training would do: sizes, steps, memory, and the time of a few steps on random images; opens every source, trains nothing."""
    config = configs.check(config)
    net, found = configs.network(config), tasks.sources(config)
    examples, batch = found['train'].num_examples, config.data.batch_size
    steps = configs.steps(config.schedule, batch, examples)
    memory.check(config, net, found)
    optimizers.schedule(config, steps, batch, examples)  # refuses what cannot be scheduled
    step, needed = train.seconds_per_step(config, found), memory.training(config, net)
    shape = found['train'].image_shape
    pixels = sum(s.num_examples for s in found.values()) * int(np.prod(shape)) if shape else 0
    lines = [
        f'architecture  {net.name}: {net.parameters:,} parameters, {net.multiply_adds:,} multiply-adds an image',
        *(f'{role:12}  {s.num_examples:,} examples of {s.name} ({s.split}), {s.num_classes} classes' for role, s in found.items()),
        f'images        {"x".join(map(str, shape)) if shape else "of several sizes"} -> input {"x".join(map(str, net.input_shape))}',
        f'training      {steps:,} steps of {batch} = {steps * batch / examples:g} epochs, seed {config.seed}, {config.optimizer.name}, '
        f'{config.schedule.kind} {config.optimizer.learning_rate:g}',
        f'memory        about {needed / 1e9:.2f} GB for parameters, momentum, gradients and maps; {pixels / 1e9:.2f} GB '
        'of pixels' + ('' if shape else ' (sizes differ: streamed or resized)'),
        f'time          about {progress.duration(steps * step)} in steps, by a few measured ones of {1e3 * step:.0f} ms each',
    ]
    notes = dict.fromkeys(line for source in found.values() for line in source.notes)
    return '\n'.join([*lines, *(f'{"note":12}  {line}' for line in notes)])


def rows(given: command.Command, fields: Sequence[Field], reads: Callable[[str], bool]) -> dict[str, dict]:
    """The recipe's rows; ConfigError for one of another experiment: without rows, or with rows or options that this one cannot read."""
    label, _, scale = given.recipe.label.rpartition('-')
    own, known = f'use --config=configs/{given.name}.py:{scale}, or rows like its own', {field.name for field in fields}
    if not given.recipe.rows:
        raise ConfigError(f'{label}.py has no rows for {given.name} to train; {own}.')
    unread = [f'the row {row!r}' for row in given.recipe.rows if not reads(row)]
    unread += [f'the option {name}' for name in given.recipe.options if name not in known]
    if unread:
        raise ConfigError(f'{label}.py has {unread[0]}, which {given.name} does not read; {own}.')
    return given.recipe.rows


def check(given: command.Command, planned: Sequence[trials.Trial]) -> None:
    """ConfigError for a table that has no trial, or one twice, and for options that cannot be read or that nothing comes of."""
    options = given.options.trials
    if not planned:
        raise ConfigError(f'{given.name} has nothing to train with these options; {given.recipe.label} has {len(given.recipe.rows)} rows.')
    seen: dict[tuple[str, str], trials.Trial] = {}
    for trial in planned:
        same = seen.setdefault((trial.key, trial.protocol), trial)
        if same is not trial:
            names = [', '.join(filter(None, (t.part, t.row, t.point, f'seed {t.config.seed}'))) for t in (same, trial)]
            raise ConfigError(f'{names[0]!r} and {names[1]!r} are the same training twice; leave one out.')
    trials.share(planned, options.shard)
    cluster.check(given)
    if options.budget:
        trials.seconds(options.budget)
        if not given.config.schedule.epochs:
            raise ConfigError('trials.budget needs a schedule in epochs; set schedule.epochs.')
    if options.select and not options.grid:
        raise ConfigError(f'trials.select={options.select!r} chooses among the points of trials.grid, and there is none.')
    if options.select:
        _check_choice(planned)


def _check_choice(planned: Sequence[trials.Trial]) -> None:
    """ConfigError unless the points of each row learn from the same images, are measured on one holdout, and are each a training."""
    learned: dict[tuple, tuple[trials.Trial, dict[str, str]]] = {}
    for trial in (trial for trial in planned if trial.point):
        found, share = tasks.sources(trial.config), trial.config.data.holdout
        if not share or 'holdout' not in found:
            raise ConfigError(f"trials.select='holdout' finds no example there: data.holdout={share}; give it a share such as 0.1.")
        images = {role: fingerprint for role, fingerprint in tasks.fingerprints(found).items() if role != 'test'}
        first, its = learned.setdefault((trial.part, trial.row, trial.config.seed), (trial, images))
        if its != images:
            raise ConfigError(
                f"trials.select='holdout' compares points that learn from the same images and hold out the same, but those of "
                f'{first.point!r} and {trial.point!r} are different images; leave the field that changes the data out of trials.grid, or '
                'trials.select.'
            )
        if first is not trial and first.key == trial.key:
            raise ConfigError(
                f"trials.select='holdout' has nothing to choose between {first.point!r} and {trial.point!r}, which are one training; leave "
                'the field that changes only how it is tested out of trials.grid, or trials.select.'
            )


def reduced(given: command.Command, trial: trials.Trial) -> bool:
    """Whether the trial sees fewer examples, or sees them less often, than its row does at the scale as it stands."""
    if trial.part:
        return False
    whole = configs.update(configs.update(configs.default(), given.recipe.config), given.recipe.rows.get(trial.row, {}))
    seen = [configs.steps(c.schedule, c.data.batch_size, 10**6) * c.data.batch_size / 10**6 for c in (trial.config, whole)]
    shares = [c.data.examples or float('inf') for c in (trial.config, whole)]
    return seen[0] < 0.999 * seen[1] or shares[0] < shares[1]


def table(given: command.Command, planned: Sequence[trials.Trial]) -> str:
    """What a run would do: each trial with its state, parameters, steps, hours and GB, from a few measured steps of each network."""
    check(given, planned)
    lines, measured, counted, notes = [], {}, {}, {}
    left, refits, per_epoch = 0.0, 0.0, 0.0  # seconds: of all, of those whose length no schedule.epochs changes, of an epoch of the others
    wide = max(len(f'{t.part} {t.row} {t.point}') for t in planned)
    for trial in planned:
        config, net = trial.config, configs.network(trial.config)
        data = config.data.to_json()
        if data not in counted:
            found = tasks.sources(config)
            counted[data] = found['train'].num_examples
            notes |= dict.fromkeys(line for source in found.values() for line in source.notes)
        # How many examples of a class there are changes no step.
        shape = (net, configs.update(config, {'data.per_class': 0}).data.to_json(), config.dtype, config.optimizer.trainable)
        if shape not in measured:
            measured[shape] = train.seconds_per_step(config, tasks.sources(config))
        step, examples = measured[shape], counted[data]
        steps = configs.steps(config.schedule, config.data.batch_size, examples)
        time, gigabytes = steps * step, memory.training(config, net) / 1e9
        state = trials.state(trial.workdir, trial.key)
        if state != 'finished':
            left += time
            refits += time if trial.part else 0.0
            per_epoch += 0.0 if trial.part else step * examples / config.data.batch_size
        named = f'{trial.part} {trial.row} {trial.point}'.strip()
        lines.append(
            f'{named:{wide}}  seed {config.seed}  {state:8}  {net.parameters:12,} parameters'
            + f'  {steps:9,} steps  {progress.duration(time):>13}'
            + f'  {gigabytes:5.2f} GB'
            + ('  reduced' if reduced(given, trial) else '')
        )
    devices = len(parallel.local_devices())
    lines.append(f'{len(planned)} trials, {progress.duration(left / devices)} in steps to go on {devices} device{"s" * (devices > 1)}')
    if given.options.trials.launch:
        lines.append(cluster.intended(given, sum(trials.state(one.workdir, one.key) != 'finished' for one in planned)))
    if given.options.trials.budget:
        budget = 0.9 * trials.seconds(given.options.trials.budget) * devices - refits  # a tenth is kept for evaluation
        if budget <= 0:
            raise ConfigError(f'trials.budget={given.options.trials.budget!r} does not even hold the trials of fixed length; give it more.')
        lines.append(f'in {given.options.trials.budget}: {_fitting(given.config, budget / max(per_epoch, 1e-9))}')
    return '\n'.join([*lines, *(f'note: {line}' for line in notes)])


def _fitting(config, epochs: float) -> str:
    """The flags that shorten or lengthen the schedule to so many epochs, its parts in proportion."""
    epochs = float(f'{epochs:.2g}') if epochs < 10 else int(epochs)
    values = lengths.in_proportion(config, {'schedule.epochs': epochs})
    return ' '.join(
        f'--config.{name}={value:g}' if isinstance(value, float) else f'--config.{name}={value}' for name, value in values.items()
    )
