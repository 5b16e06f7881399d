"""The plans that dry runs print: of one training, and of a table of them."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import ml_collections

from cnn_research import classes, lengths, memory, optimizers, parallel, rehearsal, tasks, trials
from cnn_research import config as configs
from cnn_research.data import prepared
from cnn_research.data.sources import Source
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from experiments.launch import cluster, command, progress


def say(notes: Sequence[str]) -> None:
    """Shows what was skipped, chosen or assumed."""
    for line in notes:
        print(f'note: {line}')


def training(config, assume: bool = False) -> str:
    """What a training would do: sizes, steps, memory, disk, and the time of a few steps on random images; opens every source, trains
    nothing.

    assume: where ImageNet is not there yet, its known counts stand in, which the plan says.
    """
    config = configs.check(config)
    net, found = configs.network(config), assume and expected(config) or tasks.sources(config)
    examples, batch = found['train'].num_examples, config.data.batch_size
    steps = configs.steps(config.schedule, batch, examples)
    memory.check(config, net, found)
    optimizers.schedule(config, steps, batch, examples)  # refuses what cannot be scheduled
    step, devices, shape = rehearsal.rehearsed(config, found), parallel.local_devices(), found['train'].image_shape
    each = f'each of {len(devices)} devices ({devices[0].device_kind})' if len(devices) > 1 else f'the device ({devices[0].device_kind})'
    size, count = memory.saved(config, net)
    images = evaluated(config, _counts(found), steps)
    lines = [
        f'architecture  {net.name}: {net.parameters:,} parameters, {net.multiply_adds:,} multiply-adds an image',
        *(f'{role:12}  {s.num_examples:,} examples of {s.name} ({s.split}), {s.num_classes} classes' for role, s in found.items()),
        f'images        {"x".join(map(str, shape)) if shape else "of several sizes"} -> input {"x".join(map(str, net.input_shape))}',
        f'training      {steps:,} steps of {batch} = {steps * batch / examples:g} epochs, seed {config.seed}, {config.optimizer.name}, '
        f'{config.schedule.kind} {config.optimizer.learning_rate:g}',
        f'memory        {memory.gigabytes(step.memory)} of {memory.gigabytes(step.has)} on {each} for a step, as compiled; beside it about '
        f'{memory.gigabytes(memory.host(config, net, found))} of the machine',
        f'disk          up to {memory.gigabytes(size * count)} for {count} checkpoints of {memory.gigabytes(size)}'
        + _stored(config, found),
        f'time          about {progress.duration(steps * step.seconds)} in steps, by a few measured ones of {1e3 * step.seconds:.0f} ms '
        f'each, if data come as fast; beside them {_beside(images, step.seconds / batch, step.compiling)}',
    ]
    notes = dict.fromkeys(line for source in found.values() for line in source.notes)
    return '\n'.join([*lines, *(f'{"note":12}  {line}' for line in notes)])


FORWARD = 1 / 3  # of an image's time in a training step: what evaluating it is taken to need


def _counts(found: Mapping[str, Source]) -> dict[str, int]:
    return {role: source.num_examples for role, source in found.items()}


def evaluated(config, counts: Mapping[str, int], steps: int) -> int:
    """How many images are evaluated in a training of so many steps: the holdout at every look, and at the end holdout and test, the latter
    in each of its views. counts: {role: examples}."""
    looks = math.ceil(steps / configs.steps(config.evaluate.every, config.data.batch_size, counts['train']))
    views = 10 if config.evaluate.views == 'ten' else 1
    return (looks + 1) * counts.get('holdout', 0) + views * counts.get('test', 0)


def _beside(images: int, seconds: float, compiling: float) -> str:
    """What there is to do beside the steps; seconds: of an image in a step."""
    return (
        f'about {progress.duration(images * FORWARD * seconds)} of evaluation ({images:,} images, taken to need a third of their time in a '
        f'step) and {progress.duration(compiling)} to compile the steps'
    )


def show(config) -> None:
    """Prints the plan of a training, and refuses what is not there as the training would."""
    print(training(config, assume=True), flush=True)
    config = configs.check(config)
    if expected(config):
        tasks.sources(config)


IMAGENET = {'train': 1_281_167, 'validation': 50_000}  # examples of ILSVRC 2012 by split
_JPEG, _RAW = 20_500, 262_000  # bytes of a photograph with a short side of 256 px: of 5,000 prepared as JPEGs of quality 92, and raw


def expected(config) -> dict[str, Source] | None:
    """The sources of a checked config as ImageNet's counts say them, where the whole of it is asked for and it is not there; else None."""
    data, place = config.data, prepared.root(config.data.dir or None)
    counts = IMAGENET.get(data.train), IMAGENET.get(data.test)
    if data.name != 'imagenet2012' or None in counts or (place / data.name).exists():
        return None
    names = tuple(classes.imagenet())
    note = 'imagenet2012 is not there: the counts of its images are assumed, none was opened'
    whole, test = (
        Source(data.name, split, count, len(names), names, None, f'assumed {split}', None, (note,))
        for split, count in zip((data.train, data.test), counts, strict=True)
    )
    held, test_count = round(data.holdout * whole.num_examples), data.test_examples or test.num_examples
    taken = data.examples or data.per_class * len(names) or whole.num_examples - held
    found = {'train': dataclasses.replace(whole, num_examples=taken), 'test': dataclasses.replace(test, num_examples=test_count)}
    return found | ({'holdout': dataclasses.replace(whole, num_examples=held)} if held else {})


def _stored(config, found) -> str:
    """What the set takes on the disk when it is prepared small, of photographs that would be streamed."""
    if config.data.name.startswith('folder:') or expected(config):
        count = sum(source.num_examples for source in found.values())
        words = f'{memory.gigabytes(count * _JPEG)} as JPEG or {memory.gigabytes(count * _RAW)} raw'
        return f'; its photographs prepared at 256 px (experiments.prepare) about {words}' if count * _RAW > 4e9 else ''
    return ''


def opened(given: command.Command) -> Callable[[ml_collections.ConfigDict], dict[str, Source]]:
    """What gives the sources of a trial: in a dry run, those of ImageNet as `expected` where it is not there."""
    return (lambda config: expected(config) or tasks.sources(config)) if given.dry_run else tasks.sources


def made(given: command.Command, rows: dict[str, dict], part: str = '', starts=None, options=None) -> list[trials.Trial]:
    """The trials of a command's rows; see `trials.plan`. options: where they are not the command's own."""
    return trials.plan(rows, given.config, options or given.options, given.workdir, part, starts, opened(given))


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
        lengths.seconds(options.budget)
        if not given.config.schedule.epochs:
            raise ConfigError('trials.budget needs a schedule in epochs; set schedule.epochs.')
    if options.select and not trials.crossed(options):
        raise ConfigError(f'trials.select={options.select!r} chooses among the points of trials.grid or trials.search, and there is none.')
    if options.select or options.search:
        _check_choice(planned, "trials.select='holdout'" if options.select else 'trials.search', trials.crossed(options))


_OR_SELECT = ', or leave trials.select out.'


def _check_choice(planned: Sequence[trials.Trial], who: str, crossed: str) -> None:
    """ConfigError unless the points of each row learn from the same images, are measured on one holdout, and are each a training; who: the
    field that compares them; crossed: that which says them."""
    learned: dict[tuple, tuple[trials.Trial, dict[str, str]]] = {}
    for trial in (trial for trial in planned if trial.point):
        # The same images under another preprocessing are the same images.
        found, share = tasks.sources(configs.update(trial.config, {'data.preprocessing': 'none'})), trial.config.data.holdout
        if not share or 'holdout' not in found:
            raise ConfigError(f'{who} looks at the holdout and finds no example there: data.holdout={share}; give it a share such as 0.1.')
        images = {role: fingerprint for role, fingerprint in tasks.fingerprints(found).items() if role != 'test'}
        first, its = learned.setdefault((trial.part, trial.row, trial.config.seed), (trial, images))
        if its != images:
            raise ConfigError(
                f'{who} compares points that learn from the same images and hold out the same, but those of '
                f'{first.point!r} and {trial.point!r} are different images; leave the field that changes the data out of {crossed}'
                f'{_OR_SELECT if who != crossed else "."}'
            )
        if first is not trial and first.key == trial.key:
            raise ConfigError(
                f'{who} has nothing to choose between {first.point!r} and {trial.point!r}, which are one training; leave the field that '
                f'changes only how it is tested out of {crossed}{_OR_SELECT if who != crossed else "."}'
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
    lines, measured, counted, notes, compiled = [], {}, {}, {}, set()
    disk = 0.0
    looked, looking, compiling = 0, 0.0, 0.0  # images, seconds of them, and seconds of each network's first step
    left, refits, per_epoch = 0.0, 0.0, 0.0  # seconds: of all, of those whose length no schedule.epochs changes, of an epoch of the others
    wide = max(len(f'{t.part} {t.row} {t.point}') for t in planned)
    for trial in planned:
        config, net = trial.config, configs.network(trial.config)
        data = config.data.to_json()
        if data not in counted:
            found = opened(given)(config)
            counted[data] = _counts(found)
            notes |= dict.fromkeys(line for source in found.values() for line in source.notes)
        # How many examples of a class there are changes no step.
        whole, own = (
            (net, configs.update(config, {'data.per_class': 0}).data.to_json(), config.dtype, learns)
            for learns in ('', config.optimizer.trainable)
        )
        shape = whole if whole in measured else own  # where only some layers learn, a step of the whole network is at least as long
        if shape not in measured:
            measured[shape] = rehearsal.rehearsed(config, opened(given)(config))
        step, examples = measured[shape].seconds, counted[data]['train']
        steps = configs.steps(config.schedule, config.data.batch_size, examples)
        time, gigabytes = steps * step, memory.training(config, net) / 1e9
        state = trials.state(trial.workdir, trial.key)
        disk += math.prod(memory.saved(config, net))
        if state != 'finished':
            left += time
            images = evaluated(config, counted[data], steps)
            looked, looking = looked + images, looking + images * step / config.data.batch_size
            compiling += 0.0 if own in compiled else measured[shape].compiling  # once, for others find it compiled
            compiled.add(own)
            refits += time if trial.part else 0.0
            per_epoch += 0.0 if trial.part else step * examples / config.data.batch_size
        named = f'{trial.part} {trial.row} {trial.point}'.strip()
        lines.append(
            f'{named:{wide}}  seed {config.seed}  {state:8}  {net.parameters:12,} parameters'
            + f'  {steps:9,} steps  {"at most " * (shape != own) + progress.duration(time):>13}'
            + f'  {gigabytes:5.2f} GB'
            + ('  reduced' if reduced(given, trial) else '')
        )
    devices = len(parallel.local_devices())
    lines.append(f'{len(planned)} trials, {progress.duration(left / devices)} in steps to go on {devices} device{"s" * (devices > 1)}')
    lines[-1] += f'; up to {memory.gigabytes(disk)} of checkpoints'
    if left:
        lines.append(f'beside the steps {_beside(looked, looking / max(looked, 1) / devices, compiling / devices)}')
    if given.options.trials.launch:
        lines.append(cluster.intended(given, sum(trials.state(one.workdir, one.key) != 'finished' for one in planned)))
    if given.options.trials.budget:
        budget = 0.9 * lengths.seconds(given.options.trials.budget) * devices - refits  # a tenth is kept for evaluation
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
