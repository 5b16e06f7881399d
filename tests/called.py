"""A command of absl flags as the shell calls it, in this process."""

import sys

from experiments.launch import command


def called(module, monkeypatch, capsys, *arguments):
    """(exit code, lines of stdout, stderr) of a module of experiments; what an earlier call said is forgotten."""
    name = module.__name__.rpartition('.')[2]
    module.FLAGS.unparse_flags()
    for flag in module.FLAGS:
        module.FLAGS[flag].unparse()
    monkeypatch.setattr(sys, 'argv', [name, *arguments])
    capsys.readouterr()
    code = 0
    try:
        command.run_with_flags(name, module.main, module.__doc__, module.FLAGS)
    except SystemExit as ended:
        code = ended.code
    out, err = capsys.readouterr()
    return code, out.splitlines(), err
