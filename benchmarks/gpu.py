"""All that is measured on a GPU, in at most nine minutes: `make gpu`. Each part has its share of the time and writes its table as it grows.

  python -m benchmarks.gpu --data=DIR
  python -m benchmarks.gpu --parts=train_step,together --seconds=300 --out=results/gpu
  python -m benchmarks.gpu --device=cpu --seconds=120 --out=rehearsed

The parts are a training step beside PyTorch's (train_step), the depth table at AlexNet's own width on cifar10, with as many seeds as
there is time for (depth), occlusion and the strongest images beside Captum (looking), and seeds under vmap (together). OUT/README.md joins
what there is and says of each part whether it is whole; it is written anew after each. Time that a part leaves goes to the next; exit code
1 where a part failed. --data is the folder of cifar10. --device=cpu rehearses the script at tiny sizes: its numbers say nothing. It has
never been run on a GPU.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from absl import flags

from benchmarks import footing
from cnn_research.errors import AGAIN, ConfigError
from experiments.launch import command, progress

LONGEST = 540  # seconds
GRACE = 10.0  # seconds in which a part that is told to stop saves what it has
LAST = 30.0  # seconds in which a report is made of it

FLAGS = flags.FlagValues()
_SECONDS = flags.DEFINE_integer('seconds', LONGEST, 'Of all parts together.', lower_bound=20, upper_bound=LONGEST, flag_values=FLAGS)
_PARTS = flags.DEFINE_list('parts', ['train_step', 'depth', 'looking', 'together'], 'Which parts, in this order.', flag_values=FLAGS)
_DATA = flags.DEFINE_string('data', '', "Folder of cifar10; '' = where the commands look for it.", flag_values=FLAGS)
_DEVICE = flags.DEFINE_enum('device', 'gpu', ['gpu', 'cpu'], 'cpu: a rehearsal at tiny sizes.', flag_values=FLAGS)
_OUT = flags.DEFINE_string('out', 'results/gpu', 'A folder for the tables, their logs and README.md.', flag_values=FLAGS)


class Part(NamedTuple):
    """What is measured: its heading, its share of the time, the modules' words that are run one after the other while there is time, those
    that are run at the end in any case, and the Markdown file that they leave."""

    title: str
    share: float
    commands: Sequence[Sequence[str]]
    last: Sequence[str]
    table: pathlib.Path


def parts(device: str, out: pathlib.Path, data: str = '') -> dict[str, Part]:
    """Every part by its name, at the sizes of the device."""
    tiny, on = device == 'cpu', f'--device={device}'

    def alone(name, title, share, *words):
        table = out / f'{name}.md'
        return Part(title, share, [[f'benchmarks.{name}', on, f'--out={table}', *words]], [], table)

    runs = out / 'runs'
    if tiny:
        lengths = ('examples=100', 'test_examples=50')
        depth = ['--config=configs/depth_ablation.py:smoke', *(f'--config.data.{text}' for text in lengths), '--config.schedule.epochs=1']
        depth += [f'--config.schedule.{part}.epochs=0' for part in ('warmup', 'cooldown')]
    else:
        depth = ['--config=benchmarks/wide.py:cifar10', *([f'--config.data.dir={data}'] if data else [])]
    depth = ['experiments.depth_ablation', *depth, '--config.depth.rows=deck', '--config.lesion.epochs=0', f'--workdir={runs}']
    networks = 'lenet5_modern@8' if tiny else 'alexnet_owt@256; zfnet@128; lenet5_modern@256; cifar_18pct replaced(1,normalization=none) '
    networks += '' if tiny else 'replaced(2,normalization=none)@256'
    few = '--repeats=1' if tiny else '--repeats=5'
    seeds = ['--networks=mlp_300@8', '--seeds=2', '--block=0.05'] if tiny else ['--networks=alexnet_32@128; lenet5@128; mlp_300@128']
    return {
        'train_step': alone('train_step', "A training step beside PyTorch's", 0.45, f'--networks={networks}', '--starts=1', few),
        'depth': Part(
            "The deck's rows at AlexNet's width" if not tiny else "The deck's rows, tiny",
            0.25,
            [[*depth, f'--config.trials.seeds={count}'] for count in range(1, 2 if tiny else 6)],
            ['experiments.report', f'--workdir={runs}', f'--results={out / "depth"}'],
            out / 'depth' / 'README.md',
        ),
        'looking': alone('looking', "Occlusion, the strongest images and projections, beside Captum's", 0.18, few, *['--small'] * tiny),
        'together': alone('together', 'Seeds that train together', 0.12, few, *seeds),
    }


def ended(words: Sequence[str], seconds: float, log: pathlib.Path) -> int | None:
    """The exit code of `python -m WORDS`, whose output is added to the log; None where the time did not suffice: it is told to stop and,
    if it does not within GRACE, ended with all the processes that it began."""
    with log.open('ab') as file:
        process = subprocess.Popen([sys.executable, '-m', *words], stdout=file, stderr=file, start_new_session=True)
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(max(seconds, 0))
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def carried_out(name: str, part: Part, seconds: float, out: pathlib.Path) -> str:
    """What became of a part within so many seconds, in words."""
    begun, log, told = time.monotonic(), out / f'{name}.log', []
    log.unlink(missing_ok=True)
    part.table.unlink(missing_ok=True)  # one of an earlier day would be taken for this one's
    aside = GRACE + LAST * bool(part.last)
    for number, words in enumerate(part.commands, start=1):
        left = seconds - aside - (time.monotonic() - begun)
        if number > 1 and left < (time.monotonic() - begun) / (number - 1):  # about what one takes
            told.append(f'no time for more than {number - 1} of up to {len(part.commands)}')
            break
        code = ended(words, left, log)
        if code != 0:
            lines = log.read_text(errors='replace').strip().splitlines()
            told.append('cut short' if code is None else f'failed ({code}): {lines[-1] if lines else ""}')
            break
    if part.last:
        ended(part.last, LAST, log)
    if not part.table.exists() or told:
        told.append('the table has what was done' if part.table.exists() else 'no table')
    return f'{"; ".join(told) or "whole"} ({time.monotonic() - begun:.0f} s)'


def page(chosen: dict[str, Part], told: dict[str, str], device: str) -> str:
    """README.md: on what, what became of every part, and the tables that there are."""
    versions = [f'Python {platform.python_version()}']
    for name in ('jax', 'jax-cuda13-plugin', 'jax-cuda12-plugin', 'torch', 'captum'):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f'{name} {importlib.metadata.version(name)}')
    lines = [
        '# On a GPU' if device == 'gpu' else '# A rehearsal on CPU at tiny sizes, whose numbers say nothing',
        '',
        f'- card: {footing.card() or "none"}',
        f'- versions: {", ".join(versions)}',
        f'- {time.strftime("%Y-%m-%d %H:%M %Z")}; code {progress.code() or "of no checkout"}',
        f'- command: `{shlex.join(["python", "-m", "benchmarks.gpu", *sys.argv[1:]])}`',
    ]
    for name, part in chosen.items():
        lines += ['', f'## {part.title}', '', f'{name}: {told.get(name, "not begun")}']
        if name in told and part.table.exists():
            text = part.table.read_text().removeprefix('# ').strip()
            if part.table.name == 'README.md':  # of a folder beside this page
                text = re.sub(r'\]\((?![\w+.-]+:|#)', f']({part.table.parent.name}/', text)
            lines += ['', text]
    return '\n'.join(lines) + '\n'


def check(device: str, names: Sequence[str]) -> None:
    """ConfigError where there is nothing to measure the named parts with."""
    if device == 'gpu' and not footing.card():
        raise ConfigError(
            'no NVIDIA GPU is here (nvidia-smi names none); --device=cpu rehearses the script at tiny sizes, whose numbers say nothing.'
        )
    needed = {'torch': {'train_step', 'looking'}, 'captum': {'looking'}}
    missing = [module for module, users in needed.items() if users & set(names) and importlib.util.find_spec(module) is None]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} must be installed for the other side: pip install -e '.[bench]', or name other --parts."
        )
    asked = 'import jax, sys; sys.exit(jax.default_backend() != "gpu")'
    if device == 'gpu' and subprocess.run([sys.executable, '-c', asked], capture_output=True, check=False).returncode:
        raise ConfigError("jax sees no GPU; pip install -e '.[cuda]' for a build that does.")


def stopped(number, frame):
    """What a signal to stop does: the part that runs is ended on the way out."""
    sys.exit(AGAIN)


def main() -> None:
    device, out, begun = _DEVICE.value, pathlib.Path(_OUT.value), time.monotonic()
    known = parts(device, out, _DATA.value)
    for name in _PARTS.value:
        if name not in known:
            raise ConfigError(f'--parts={",".join(_PARTS.value)} names {name!r}; choose from {", ".join(known)}.')
    check(device, _PARTS.value)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, stopped)
    chosen, told = {name: known[name] for name in _PARTS.value}, {}
    out.mkdir(parents=True, exist_ok=True)
    for name, part in chosen.items():
        left = _SECONDS.value - (time.monotonic() - begun)
        shares = sum(other.share for key, other in chosen.items() if key not in told)
        told[name] = carried_out(name, part, left * part.share / shares, out)
        print(f'gpu: {name}: {told[name]}', file=sys.stderr, flush=True)
        (out / 'README.md').write_text(page(chosen, told, device))
    print(out / 'README.md')
    if any(words.startswith('failed') for words in told.values()):
        sys.exit(1)


if __name__ == '__main__':
    command.run_with_flags('gpu', main, __doc__, FLAGS)
