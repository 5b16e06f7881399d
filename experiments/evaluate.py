"""Evaluates a finished run, or a committee of several, on a split: every example once, one crop or ten.

    python -m experiments.evaluate --runs='runs/demo/trials/*'
    python -m experiments.evaluate --runs='runs/mnist/lenet5-*'
    python -m experiments.evaluate --runs=runs/11pct --views=ten --split=test --data_dir=DATA
    python -m experiments.evaluate --runs=runs/mine --data=folder:DIR

--runs=PATTERN names workdirs (several patterns: separated by commas); the softmax outputs of several runs are averaged, as Ciresan et
al. 2012 and Krizhevsky et al. 2012 do. --views is centre or ten (corners, centre and their mirrors), --split a whole split of the
source, by default the test images that the run reports on, --data_dir the folder of the TFDS sets. Prints a table, nothing is written.
"""

import glob
import pathlib
import sys

from absl import flags

from cnn_research import checkpoints, evaluate, memory, tasks
from cnn_research import config as configs
from cnn_research.data.sources import open_source
from cnn_research.errors import ConfigError, ResearchError
from cnn_research.reporting import tables
from experiments.launch import command, plans

FLAGS = flags.FlagValues()  # of this command alone, so that commands can be imported together
_RUNS = flags.DEFINE_string('runs', 'runs/demo/trials/*', 'Workdirs, as patterns separated by commas.', flag_values=FLAGS)
_VIEWS = flags.DEFINE_enum('views', 'centre', list(evaluate.VIEWS), 'How an image is looked at.', flag_values=FLAGS)
_DATA = flags.DEFINE_string('data', '', 'The source; by default the one of the run.', flag_values=FLAGS)
_SPLIT = flags.DEFINE_string('split', '', 'The split; by default the one that the run reports on.', flag_values=FLAGS)
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'Folder of the TFDS sets; by default the one of the run.', flag_values=FLAGS)


def _members(workdirs: list[str]) -> dict[str, checkpoints.Trained | ResearchError]:
    """{workdir: its network, or what is wrong with it}; the error of the first where all are wrong."""
    found: dict[str, checkpoints.Trained | ResearchError] = {}
    for workdir in workdirs:
        try:
            found[workdir] = checkpoints.load(workdir)
        except ResearchError as error:
            found[workdir] = error
    if all(isinstance(member, ResearchError) for member in found.values()):
        raise next(iter(found.values()))
    return found


def _source(config, first: checkpoints.Trained):
    """(the images to be tested on, with the classes as the networks count them; the short side that they are scaled to)."""
    if not _DATA.value and not _SPLIT.value:
        return tasks.sources(configs.update(config, {'data.preprocessing': 'none'}))['test'], config.data.resize
    name, split = _DATA.value or config.data.name, _SPLIT.value or config.data.test
    source = open_source(name, split, config.data.dir or None, first.class_names or None)
    return source, tasks.resize_of(config, source.image_shape, first.image_shape)


def main() -> None:
    workdirs = [path for pattern in _RUNS.value.split(',') if pattern for path in sorted(glob.glob(pattern)) or [pattern]]
    places = [pathlib.Path(workdir).resolve() for workdir in workdirs]
    if not workdirs or len(set(places)) < len(places):
        twice = next((path for path, place in zip(workdirs, places, strict=True) if places.count(place) > 1), 'no run')
        raise ConfigError(f'--runs={_RUNS.value!r} names {twice}{" twice" if workdirs else ""}; name every run once.')
    told = _members(workdirs)
    members = {workdir: member for workdir, member in told.items() if not isinstance(member, ResearchError)}
    shared = {(m.config.data.name, m.config.data.resize, m.config.loss.name) for m in members.values()}
    if len(shared) > 1:
        raise ConfigError(f'the runs of a committee must share data.name, data.resize and loss.name; these have {sorted(shared)}.')
    first = next(iter(members.values()))
    config = configs.update(first.config, {'data.dir': _DATA_DIR.value or first.config.data.dir})
    if any(member.class_names != first.class_names for member in members.values()):
        raise ConfigError('the runs of a committee must tell the same classes apart, in the same order; these do not.')
    source, resize = _source(config, first)
    for member in members.values():
        memory.check_evaluation(configs.update(config, {'evaluate.views': _VIEWS.value}), member.architecture)
    networks = {workdir: (tasks.network(member.config), member.variables) for workdir, member in members.items()}
    seen = {workdir: member.config.data.preprocessing for workdir, member in members.items()}

    def row(name, chosen):
        size, loss, j = config.evaluate.batch_size, config.loss.name, config.loss.j
        nets, names = [networks[one] for one in chosen], [seen[one] for one in chosen]
        result = evaluate.committee(nets, source, _VIEWS.value, loss, size, resize, j, names)
        percent = {'top1': result.top1_error, 'top5': result.top5_error, 'class': result.mean_class_accuracy}
        return {'run': name, 'examples': result.examples, 'loss': result.loss} | {
            key: None if value is None else 100 * value for key, value in percent.items()
        }

    rows = [row(name, [name]) if name in networks else {'run': name, 'note': str(told[name])} for name in told]
    if len(told) > len(members):
        rows.append({'run': f'committee of {len(told)}', 'note': 'not evaluated: not every run could be read'})
    elif len(networks) > 1:
        rows.append(row(f'committee of {len(networks)}', list(networks)))
    columns = [
        tables.Column('run'),
        tables.Column('examples', format=',d'),
        tables.Column('loss', format='.4f'),
        tables.Column('top1', 'top-1 error, %', '.2f'),
        tables.Column('top5', 'top-5 error, %', '.2f'),
        tables.Column('class', 'mean class accuracy, %', '.2f'),
        *([tables.Column('note')] if len(told) > len(members) else []),
    ]
    caption = f'{source.name} ({source.split}), {_VIEWS.value} view{"s" if _VIEWS.value == "ten" else ""}'
    sys.stdout.write(tables.to_markdown(tables.Table(columns, rows, caption)))
    plans.say([f'{name}: {line}' for name, member in members.items() for line in member.notes] + list(source.notes))


if __name__ == '__main__':
    command.run_with_flags('evaluate', main, __doc__, FLAGS)
