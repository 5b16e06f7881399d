"""Renders the report of an experiment's workdir again, also of one that is not finished; nothing is trained.

    python -m experiments.report --workdir=runs/depth_ablation/depth_ablation-clutter
    python -m experiments.report --workdir=runs/depth_ablation/depth_ablation-cifar10,runs/layer_probing/layer_probing-cifar10
    python -m experiments.report --workdir=DIR --out=page.html

Several workdirs, separated by commas, are joined into one page. --out=FILE says where it goes; default: report.html in the first workdir.
Tables and figures beside the report are written anew as well.
"""

import pathlib

from absl import flags

from experiments import command, sweep

FLAGS = flags.FlagValues()  # of this command alone, so that commands can be imported together
_WORKDIR = flags.DEFINE_string('workdir', 'runs/depth_ablation/depth_ablation-clutter', 'Workdirs, separated by commas.', flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', '', 'The page to write.', flag_values=FLAGS)


def main() -> None:
    workdirs = [pathlib.Path(part) for part in _WORKDIR.value.split(',') if part]
    out = pathlib.Path(_OUT.value or workdirs[0] / 'report.html')
    out.write_text(sweep.report(workdirs))
    print(f'report: {out}')


if __name__ == '__main__':
    command.run_with_flags('report', main, __doc__, FLAGS)
