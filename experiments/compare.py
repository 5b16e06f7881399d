"""Renders finished runs as one table beside the papers' numbers: mean and spread over seeds, the difference, the command.

    python -m experiments.compare --runs='runs/mnist/*'
    python -m experiments.compare --runs='runs/mnist/*' --out=results/mnist --title='MNIST, test error'
    python -m experiments.compare --runs='runs/cifar10/18pct-*' --out=results/cifar10

--runs=PATTERN names workdirs (several patterns: separated by commas), --out=NAME writes NAME.csv and NAME.md, else the table is printed,
--title=TEXT stands above it. Runs that differ in their seed alone are one row; what is damaged is left out and named. Nothing is
trained, and nothing typed by hand.
"""

import glob
import itertools
import json
import pathlib
import sys

from absl import flags

from cnn_research import config as configs
from cnn_research import files, journal
from cnn_research.errors import CheckpointError, ConfigError, ResearchError
from cnn_research.reporting import tables
from experiments.launch import command, outcome, papers, progress

FLAGS = flags.FlagValues()  # of this command alone, so that commands can be imported together
_RUNS = flags.DEFINE_string('runs', 'runs/train/*', 'Workdirs, as patterns separated by commas.', flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', '', 'Writes OUT.csv and OUT.md instead of printing.', flag_values=FLAGS)
_TITLE = flags.DEFINE_string('title', 'Finished runs', 'The heading.', flag_values=FLAGS)

_COLUMNS = (
    tables.Column('network'),
    tables.Column('images', 'training images'),
    tables.Column('loss'),
    tables.Column('parameters', format=',d'),
    tables.Column('epochs', format='g'),
    tables.Column('error', 'test error, % (seeds)', '.2f'),
    tables.Column('holdout', 'holdout error, %', '.2f'),
    tables.Column('paper', 'paper, %', '.2f'),
    tables.Column('difference', format='+.2f'),
    tables.Column('minutes', 'minutes in steps, a run', '.1f'),
    tables.Column('note'),
)


def read(workdir: pathlib.Path) -> dict:
    """The records of one finished run; its config as {dotted name: value}. ResearchError for what is missing or damaged."""
    missing = [name for name in ('config.json', 'metrics.jsonl') if not (workdir / name).is_file()]
    if missing:
        raise ConfigError(f'{workdir} lacks {", ".join(missing)}; only runs of experiments.train can be compared.')
    result = files.check(workdir / 'result.json', journal.result(workdir), outcome.TEST)
    files.check(workdir / 'result.json', result.get('holdout', {}), outcome.TEST['test'] if 'holdout' in result else {}, 'holdout')
    config = outcome.config(workdir, configs.read(workdir))
    history = files.read_lines(workdir / 'metrics.jsonl', {'epoch': float})
    if not history:
        raise CheckpointError(f'{workdir / "metrics.jsonl"} is damaged: it holds no line.')
    return {
        'workdir': workdir,
        'result': result,
        'config': configs.flat(config),
        'parameters': configs.network(config).parameters,
        'record': outcome.made(workdir),
        'seconds': outcome.seconds(workdir),
        'epochs': history[-1]['epoch'],
    }


def rows(runs: list[dict]) -> tuple[list[dict], list[str]]:
    """(table rows, one line of commands and machine for each); runs that differ in their seed alone are one row."""
    groups: dict[str, list[dict]] = {}
    for run in runs:
        decisive = {
            k: v for k, v in run['config'].items() if (k in configs.DECISIVE or k in ('data.name', 'evaluate.views')) and k != 'seed'
        }
        told = [decisive, run['result'].get('data'), run['result']['protocol']]  # what it learned from, and what it was tested on
        groups.setdefault(json.dumps(told, sort_keys=True), []).append(run)
    made, sources = [], []
    for group in groups.values():
        group.sort(key=lambda run: run['config']['seed'])
        config, first = group[0]['config'], group[0]
        spent = [run['seconds'] for run in group if run['seconds']]
        for one, other in itertools.pairwise(group):
            if one['config']['seed'] == other['config']['seed']:
                raise ConfigError(f'{one["workdir"]} and {other["workdir"]} are the same run twice; name one of them.')
        test = [100 * run['result']['test']['top1_error'] for run in group]
        architecture = config['architecture']
        row = {
            'network': architecture,
            'images': papers.treatment(config) or None,
            'loss': config['loss.name'].replace('_', ' '),
            'parameters': first['parameters'],
            'epochs': round(first['epochs'], 1),
            'error': test,
            'holdout': [100 * run['result']['holdout']['top1_error'] for run in group if 'holdout' in run['result']],
            'minutes': sum(spent) / len(spent) / 60 if spent else None,
        }
        row |= papers.cells(config, row['error'])
        said = [row.get('note', ''), *(journal.other_rates(run['result'].get('continued', [])) for run in group)]
        row['note'] = '; '.join(dict.fromkeys(filter(None, said)))
        made.append(row)
        seeds, record = ', '.join(str(run['config']['seed']) for run in group), first['record']
        line = tables.code(progress.elsewhere(record['command'], 'config.seed'))
        about = tables.escaped(f'{record["machine"]}; {record["versions"]}; {record["date"]}')
        sources.append(f'- {tables.escaped(architecture)}: {line}, seeds {seeds}; {about}')
    return made, sources


def main() -> None:
    found = [pathlib.Path(p) for pattern in _RUNS.value.split(',') for p in sorted(glob.glob(pattern))]
    runs, damaged = [], []
    for path in [path for path in found if (path / 'result.json').is_file()]:
        try:
            runs.append(read(path))
        except ResearchError as error:
            damaged.append(error)
    if damaged and not runs:
        raise damaged[0]
    if not runs:
        raise ConfigError(f'--runs={_RUNS.value!r} matches no finished run; a finished run holds result.json.')
    made, sources = rows(runs)
    sources += [f'- left out: {tables.escaped(str(error))}' for error in damaged]
    table = tables.Table([column for column in _COLUMNS if any(row.get(column.key) for row in made)], made)
    said = f'Rendered from the records of the finished runs ({len(runs)}):\n\n' + '\n'.join(sources)
    text = f'# {tables.escaped(_TITLE.value)}\n\n{tables.to_markdown(table)}\n{said}\n'
    if not _OUT.value:
        sys.stdout.write(text)
        return
    out = pathlib.Path(_OUT.value)
    files.write(out.parent / f'{out.name}.csv', tables.to_csv(table))
    files.write(out.parent / f'{out.name}.md', text)


if __name__ == '__main__':
    command.run_with_flags('compare', main, __doc__, FLAGS)
