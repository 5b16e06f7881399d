"""Libraries that only some experiments need, imported when they are asked for."""

import importlib
from types import ModuleType

from cnn_research.errors import ConfigError

_PACKAGES = {'sklearn': 'scikit-learn', 'skimage': 'scikit-image', 'cv2': 'opencv-contrib-python-headless', 'threadpoolctl': 'scikit-learn'}
_PACKAGES |= {'submitit': 'submitit', 'optuna': 'optuna'}
_EXTRAS = {'submitit': 'cluster', 'optuna': 'search'}  # the others are of 'traditional'


def needed(module: str, what: str) -> ModuleType:
    """The module; ConfigError, which says how to install it, where it is missing. what: needs it, in a sentence's words."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = _PACKAGES[module.partition('.')[0]]
        extra = _EXTRAS.get(package, 'traditional')
        raise ConfigError(f"{what} needs {package}: pip install 'cnn-research[{extra}]' ({error}).") from None
