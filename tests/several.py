"""Starts processes that train together on CPU devices of this machine."""

import json
import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
_FIT = """
import json, pathlib, sys
from cnn_research import config as configs, parallel, train
from cnn_research.errors import ResearchError
values, parallel.PATIENCE = json.loads(sys.argv[1]), 8.0
try:
    train.fit(configs.update(configs.default(), values), pathlib.Path(sys.argv[2]))
except ResearchError as error:
    print(type(error).__name__, error)
    parallel.finish(20, 2)
    sys.exit(2)
parallel.finish()
"""


def port() -> int:
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]


def begun(words, devices=1):
    """A process of some devices."""
    environment = {**os.environ, 'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}'}
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fitting(settings, workdirs, devices=1, own=()):
    """Processes that fit together, one for each workdir; own: settings of each that the others have not."""
    here = {'parallel.coordinator': f'127.0.0.1:{port()}', 'parallel.processes': len(workdirs)} if len(workdirs) > 1 else {}
    made = []
    for number, workdir in enumerate(workdirs):
        values = {**settings, **here, **({'parallel.process': number} if here else {}), **(own[number] if own else {})}
        made.append(begun([sys.executable, '-c', _FIT, json.dumps(values), str(workdir)], devices))
    return made


def ended(processes, seconds=300):
    """[(exit code, stdout, lines of stderr)] of each; all are ended."""
    try:
        found = [(*one.communicate(timeout=seconds), one) for one in processes]
    finally:
        for one in processes:
            one.kill()
    return [(one.returncode, out, [line for line in err.splitlines() if '[Gloo]' not in line]) for out, err, one in found]
