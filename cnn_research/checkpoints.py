"""What is saved, verified, restored. A checkpoint is a folder WORKDIR/checkpoints/STEP of arrays.npz and manifest.json.

It is written beside its final name, synced to the disk, given a SHA-256 manifest and renamed, so that a name that exists is whole;
reading verifies the manifest, so that a flipped bit is an error and never a wrong number.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from cnn_research import config as configs
from cnn_research.architecture import Architecture
from cnn_research.errors import ArchitectureError, CheckpointError, ConfigError
from cnn_research.files import read_json
from cnn_research.files import write as write_text
from cnn_research.models import pretrained

_STEP = re.compile('[0-9]{9}|[1-9][0-9]{9,}')  # what `save` calls its folders; a user's own may lie beside them


class Trained(NamedTuple):
    """A trained network: variables {'params', 'preprocessing'} go to Network.apply and evaluate."""

    architecture: Architecture
    variables: dict
    config: ml_collections.ConfigDict
    step: int


def _folder(workdir) -> pathlib.Path:
    return pathlib.Path(workdir) / 'checkpoints'


def _synced(path: pathlib.Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def _names(tree) -> dict[str, Any]:
    """{path with slashes: leaf} of a tree of dicts, tuples and named tuples."""
    return {'/'.join(str(getattr(k, 'key', getattr(k, 'name', getattr(k, 'idx', k)))) for k in path): leaf for path, leaf in _leaves(tree)}


def _leaves(tree):
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def steps(workdir) -> list[int]:
    """Steps of the checkpoints that are there, rising."""
    folder = _folder(workdir)
    named = [path.name for path in folder.iterdir() if _STEP.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(map(int, named))


def save(workdir, step: int, tree, keep: int, marked: Collection[int] = ()) -> None:
    """Saves a tree of arrays as the checkpoint of `step`, and deletes all but the newest `keep` and those of `marked` steps."""
    folder = _folder(workdir)
    final, partial = folder / f'{step:09d}', folder / f'.{step:09d}.partial'
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    np.savez(partial / 'arrays.npz', **{name: np.asarray(leaf) for name, leaf in _names(tree).items()})
    write_text(partial / 'manifest.json', json.dumps({'step': step, 'sha256': _digest(partial / 'arrays.npz')}))
    for path in (partial / 'arrays.npz', partial):
        _synced(path)
    shutil.rmtree(final, ignore_errors=True)  # of the same step, and so the same arrays
    partial.rename(final)
    _synced(folder)
    there = steps(workdir)  # what is newer than this one did not verify, or this one would not have been made
    for old in [s for s in there if s > step] + [s for s in [s for s in there if s <= step][:-keep] if s not in marked]:
        shutil.rmtree(folder / f'{old:09d}')


def _digest(path: pathlib.Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def read(workdir, step: int) -> dict[str, np.ndarray]:
    """{path: array} of a checkpoint; CheckpointError where it is missing or not what was written."""
    folder = _folder(workdir) / f'{step:09d}'
    try:
        manifest = json.loads((folder / 'manifest.json').read_text())
        if manifest['sha256'] != _digest(folder / 'arrays.npz') or manifest['step'] != step:
            raise CheckpointError(f'the checkpoint {folder} is damaged: it does not match its manifest.')
        with np.load(folder / 'arrays.npz', allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:
        have = ', '.join(map(str, steps(workdir))) or 'none'
        raise CheckpointError(f'the checkpoint {folder} cannot be read ({type(error).__name__}); steps that are there: {have}.') from None


def restore(workdir, template) -> tuple[Any, list[str]]:
    """(the newest checkpoint that verifies, in the template's structure, or None; what was wrong with newer ones)."""
    problems = []
    for step in reversed(steps(workdir)):
        try:
            arrays = read(workdir, step)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        names = _names(template)
        wrong = [name for name in names if name not in arrays or arrays[name].shape != np.shape(names[name])] or set(arrays) - set(names)
        if wrong:
            raise CheckpointError(
                f'the checkpoint of step {step} in {workdir} is of another network or optimizer: {sorted(wrong)[0]} differs.'
            )
        return jax.tree.unflatten(jax.tree.structure(template), [arrays[name] for name in names]), problems
    return None, problems


def read_config(workdir) -> dict[str, Any]:
    """{dotted name: value} of WORKDIR/config.json; CheckpointError where it is damaged."""
    path = pathlib.Path(workdir) / 'config.json'
    return configs.flat(read_json(path))


def whole_config(workdir) -> ml_collections.ConfigDict:
    """The config of a workdir with all fields; CheckpointError where it is damaged, or has fields or an architecture that are none."""
    path = pathlib.Path(workdir) / 'config.json'
    try:
        config = configs.update(configs.default(), read_config(workdir))
        configs.network(config)
        return config
    except (ConfigError, ArchitectureError) as error:
        raise CheckpointError(f'{path} is damaged: {error}') from None


def load(workdir, step: int | None = None) -> Trained:
    """The trained network of a workdir, at its newest checkpoint that verifies or at `step`; CheckpointError where there is none."""
    path = pathlib.Path(workdir) / 'config.json'
    if not path.is_file():
        raise CheckpointError(f'{workdir} holds no run: there is no config.json in it.')
    config = whole_config(workdir)
    problems = []
    for candidate in [step] if step is not None else reversed(steps(workdir)):
        try:
            arrays = read(workdir, candidate)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        variables: dict = {}
        for name, array in arrays.items():
            root, *inner = name.removeprefix('state/').split('/')
            if root in ('params', 'preprocessing'):
                place = variables.setdefault(root, {})
                for part in inner[:-1]:
                    place = place.setdefault(part, {})
                place[inner[-1]] = array
        return Trained(configs.network(config), variables, config, candidate)
    raise CheckpointError(problems[0] if problems else f'{workdir} has no checkpoint yet.')


def trained(path, step: int | None = None, mean: str | None = None) -> Trained:
    """The network of a workdir, as `load` has it, or of a file of published weights, as models/pretrained.py reads it, at step 0.

    mean: a file of the mean image that goes with published weights.

    The config of published weights is the default with their architecture, and data.resize at the size of the images they were made for.
    """
    path = pathlib.Path(path)
    if path.is_dir() or path.suffix not in pretrained.READERS and not path.is_file():
        return load(path, step)
    if step is not None:
        raise CheckpointError(f'{path} has no steps to choose from; leave step {step} out.')
    net, variables = pretrained.load(path, mean=mean)
    fields = {'architecture': net.name, 'architecture_json': net.to_json(), 'data.resize': pretrained.IMAGE_SIDE}
    return Trained(net, variables, configs.update(configs.default(), fields), 0)
