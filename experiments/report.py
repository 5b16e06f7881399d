"""Renders the report of a workdir again, also of one that is not finished; nothing is trained.

    python -m experiments.report --workdir=runs/depth_ablation/depth_ablation-clutter
    python -m experiments.report --workdir=runs/train/alexnet-clutter
    python -m experiments.report --workdir=runs/depth_ablation/depth_ablation-cifar10,runs/layer_probing/layer_probing-cifar10
    python -m experiments.report --workdir=DIR --results=results/depth_cifar10
    python -m experiments.report --index=runs

A table of trainings is rendered from their records, and so is a single training or one trial of a table (WORKDIR/trials/KEY); what a
command that looks into networks drew is put into a page again, not drawn anew. Several workdirs, separated by commas, are joined into one
page. --out=FILE says where it goes; default: report.html in the first workdir. Tables and figures are written anew in their workdirs or,
with --out, beside the page, those of several workdirs in folders by their number. --results=FOLDER writes them there instead, with a
README.md that shows them and says command, seeds, time, machine and versions; of what a command that looks into a network has left, it
keeps the same. --index=FOLDER writes index.html there, which shows every run below it with its state, its first picture and what came out.
"""

import pathlib
import tempfile

from absl import flags

from cnn_research import files
from cnn_research.errors import ConfigError
from experiments.launch import command, overview, pages

FLAGS = flags.FlagValues()  # of this command alone, so that commands can be imported together
_WORKDIR = flags.DEFINE_string('workdir', 'runs/depth_ablation/depth_ablation-clutter', 'Workdirs, separated by commas.', flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', '', 'The page to write.', flag_values=FLAGS)
_INDEX = flags.DEFINE_string('index', '', 'A folder of runs, of which to write index.html.', flag_values=FLAGS)
_RESULTS = flags.DEFINE_string('results', '', 'A folder for the tables and figures of one workdir.', flag_values=FLAGS)


def main() -> None:
    if _INDEX.value:
        if _OUT.value or _RESULTS.value:
            raise ConfigError('--index takes no --out and no --results.')
        print(f'index: {overview.write(pathlib.Path(_INDEX.value))}')
        return
    workdirs = [pathlib.Path(part.strip()) for part in _WORKDIR.value.split(',') if part.strip()]
    if not workdirs:
        raise ConfigError(f'--workdir={_WORKDIR.value!r} names no workdir; name one or several, separated by commas.')
    if _RESULTS.value:
        if len(workdirs) > 1 or _OUT.value:
            raise ConfigError('--results takes one --workdir and no --out; call it once for each workdir.')
        pages.results(workdirs[0], pathlib.Path(_RESULTS.value))
        print(f'results: {_RESULTS.value}/README.md')
        return
    out = pathlib.Path(_OUT.value or workdirs[0] / 'report.html')
    with tempfile.TemporaryDirectory() as aside:  # of a page that goes to no file, such as /dev/stdout
        beside = pathlib.Path(aside) if out.exists() and not out.is_file() else out.parent
        text = pages.report(workdirs, beside if _OUT.value else None)
    files.write(out, text)
    print(f'report: {out}')


if __name__ == '__main__':
    command.run_with_flags('report', main, __doc__, FLAGS)
