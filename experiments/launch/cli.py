"""cnn-research: the commands as one script, wherever it is run.

cnn-research list                     every command in one line, and the config files with their scales
cnn-research train --help             what `python -m experiments.train --help` says
cnn-research train --config=configs/lenet5.py:mnist --config.data.dir=DATA
"""

import ast
import runpy
import sys

from cnn_research.errors import ConfigError, nearest
from experiments.launch import command, recipes


def listing() -> str:
    """Every command with the first line of what it says of itself, and every config file with its scales."""
    lines = ['Commands, cnn-research NAME --help:']
    wide = max(map(len, command.names()))
    for name, path in command.names().items():
        lines.append(f'  {name:{wide}}  {ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]}')
    lines += ['', 'Config files, --config=FILE:SCALE (the first scale is the default):']
    have = recipes.shipped()
    wide = max(map(len, have))
    lines += [f'  {file:{wide}}  {", ".join(recipes.scales(path))}' for file, path in have.items()]
    return '\n'.join(lines)


def _run(arguments: list[str]) -> None:
    name, *rest = arguments or ['--help']
    if name in command.HELP:
        print(f'{__doc__.strip()}\n\n{listing()}')
    elif name == 'list' and not rest:
        print(listing())
    elif name == 'list':
        raise ConfigError(f'list takes nothing after it, not {rest[0]!r}.')
    elif name in command.names():
        sys.argv = [f'cnn-research {name}', *rest]
        runpy.run_module(f'experiments.{name}', run_name='__main__', alter_sys=True)
    else:
        have = ['list', *command.names()]
        raise ConfigError(f'there is no command {name[:200]!r}; choose from {", ".join(have)}.{nearest(name, have)}')


def main() -> None:
    command.guarded('cnn-research', _run)(sys.argv[1:])
