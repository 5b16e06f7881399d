"""Gathers what every report says of every claim of the papers into one page: what holds, at which scale, with how many seeds.

    python -m experiments.ledger
    python -m experiments.ledger --workdirs=runs/depth_ablation/depth_ablation-cifar10,runs/transfer/transfer-zf --out=runs/ledger
    python -m experiments.ledger --results=results --out=results/ledger

Reads the claims.csv of every folder in --results ('' for none) and of every workdir in --workdirs, separated by commas, and the numbers
of results that the catalogue of claims sets beside printed ones. Nothing is trained or judged anew. Leaves in --out: report.html and
ledger.md, a section for each paper and a line for each claim; ledger.csv, a row for each piece of evidence; catalogue.csv, a row for each
claim; accuracies.md and .csv, the test error of every network that was trained, set by set, beside what a paper printed of it. What is
found twice counts once; a claim that the catalogue does not know, and a folder without claims, are named.
"""

import pathlib
import shlex

from absl import flags

from cnn_research import files
from cnn_research.errors import ConfigError
from cnn_research.reporting import accuracies, ledger_page, ledger_text
from experiments.launch import command, evidence, trained

FLAGS = flags.FlagValues()  # of this command alone, so that commands can be imported together
_RESULTS = flags.DEFINE_string('results', 'results', "The folder of committed results; '' = none.", flag_values=FLAGS)
_WORKDIRS = flags.DEFINE_string('workdirs', '', 'Workdirs of experiments, separated by commas.', flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', 'runs/ledger', 'The folder that the ledger is written to.', flag_values=FLAGS)


def main() -> None:
    workdirs = [pathlib.Path(part.strip()) for part in _WORKDIRS.value.split(',') if part.strip()]
    results = pathlib.Path(_RESULTS.value) if _RESULTS.value else None
    if results is None and not workdirs:
        raise ConfigError("--results='' and no --workdirs name nothing to gather; name one of them.")
    out = pathlib.Path(_OUT.value)
    files.check_writable(out)
    found, networks = evidence.gather(results, workdirs), trained.gather(results, workdirs)
    line = 'python -m experiments.ledger' + (f' --results={shlex.quote(_RESULTS.value)}' if _RESULTS.value != 'results' else '')
    line += ' --workdirs=WORKDIR,...' * bool(workdirs)
    page, reference = ledger_page.write(found, out, line), accuracies.write(networks, out, line)
    print(ledger_text.counts(found))
    for one in found.strangers:
        print(f'not in the catalogue: {one.told.sentence} ({one.place.name})')
    if found.without:
        print(f'without claims.csv: {", ".join(found.without)}')
    if found.twice:
        print(f'found twice, counted once: {found.twice}')
    print(f'test errors of {len(networks)} rows of trained networks: {reference}')
    print(f'report: {page}')


if __name__ == '__main__':
    command.run_with_flags('ledger', main, __doc__, FLAGS)
