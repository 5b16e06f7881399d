"""The parts of matplotlib that figures are made of, each imported when the first is made: what draws nothing does not wait for it.

A name here stands for matplotlib's class of that name, in annotations and isinstance too; calling it makes one of matplotlib's.
"""

import importlib


class _Late(type):
    """The type of such a name; `home` is the module of matplotlib that has it."""

    def __call__(cls, *arguments, **named):
        return getattr(importlib.import_module(cls.home), cls.__name__)(*arguments, **named)

    def __instancecheck__(cls, one):
        return isinstance(one, getattr(importlib.import_module(cls.home), cls.__name__))


def _late(home: str, name: str) -> type:
    return _Late(name, (), {'home': home, '__module__': __name__})


Figure = _late('matplotlib.figure', 'Figure')
Axes = _late('matplotlib.axes', 'Axes')
FigureCanvasAgg = _late('matplotlib.backends.backend_agg', 'FigureCanvasAgg')
ListedColormap = _late('matplotlib.colors', 'ListedColormap')
Patch = _late('matplotlib.patches', 'Patch')
Rectangle = _late('matplotlib.patches', 'Rectangle')
FuncFormatter = _late('matplotlib.ticker', 'FuncFormatter')
LogLocator = _late('matplotlib.ticker', 'LogLocator')
MaxNLocator = _late('matplotlib.ticker', 'MaxNLocator')
NullLocator = _late('matplotlib.ticker', 'NullLocator')


def colormap(name: str):
    """matplotlib.colormaps[name]."""
    return importlib.import_module('matplotlib').colormaps[name]


def rc_context(settings: dict):
    """matplotlib.rc_context(settings)."""
    return importlib.import_module('matplotlib').rc_context(settings)
