"""What is saved, verified, restored. A checkpoint is a folder WORKDIR/checkpoints/STEP of arrays.npz and manifest.json.

It is written beside its final name, synced to the disk, given a SHA-256 manifest and renamed, so that a name that exists is whole;
reading verifies the manifest, so that a flipped bit is an error and never a wrong number.
"""

import hashlib
import os
import pathlib
import re
import shutil
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np

from cnn_research import config as configs
from cnn_research import files, journal, records
from cnn_research.errors import ArchitectureError, CheckpointError, Fallback
from cnn_research.models import pretrained, tensor_files
from cnn_research.models.network import check_parameters
from cnn_research.trained import Trained


def _folder(workdir) -> pathlib.Path:
    return pathlib.Path(workdir) / 'checkpoints'


def _names(tree) -> dict[str, Any]:
    """{path with slashes: leaf} of a tree of dicts, tuples and named tuples."""
    return {'/'.join(str(getattr(k, 'key', getattr(k, 'name', getattr(k, 'idx', k)))) for k in path): leaf for path, leaf in _leaves(tree)}


def _leaves(tree):
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def steps(workdir) -> list[int]:
    """Steps of the checkpoints that are there, rising."""
    folder = _folder(workdir)
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(path.name) for path in there if re.fullmatch('[0-9]{9}|[1-9][0-9]{9,17}', path.name) and path.is_dir())


def save(workdir, step: int, tree, keep: int, marked: Collection[int] = (), about: Mapping[str, Any] | None = None) -> None:
    """Saves a tree of arrays as the checkpoint of `step`, and deletes all but the newest `keep` and those of `marked` steps.

    about: what its manifest says beside the arrays, as `manifest` gives it back. WriteError where it cannot be written.
    """
    folder = _folder(workdir)
    final = folder / f'{step:09d}'
    partial = folder / f'.{step:09d}.{os.getpid()}.partial'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob('.*.partial'):  # by processes that were killed: the workdir is this one's alone
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir()
        np.savez(partial / 'arrays.npz', **{name: np.asarray(leaf) for name, leaf in _names(tree).items()})
        records.write(partial / 'manifest.json', {**(about or {}), 'step': step, 'arrays': _digest(partial / 'arrays.npz')})
        for path in (partial / 'arrays.npz', partial):
            _synced(path)
        shutil.rmtree(final, ignore_errors=True)  # of the same step, and so the same arrays
        partial.rename(final)
        _synced(folder)
    except OSError as error:
        raise files.refused(final, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    there = steps(workdir)  # what is newer than this one did not verify, or this one would not have been made
    for old in [s for s in there if s > step] + [s for s in [s for s in there if s <= step][:-keep] if s not in marked]:
        shutil.rmtree(folder / f'{old:09d}', ignore_errors=True)


def _synced(path: pathlib.Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def _digest(path: pathlib.Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def manifest(workdir, step: int) -> dict[str, Any]:
    """What `save` was told about a checkpoint; CheckpointError where it is missing or not what was written."""
    folder = _folder(workdir) / f'{step:09d}'
    try:
        found = records.read(folder / 'manifest.json')
    except CheckpointError as error:
        have = ', '.join(map(str, steps(workdir))) or 'none'
        raise CheckpointError(f'the checkpoint {folder} cannot be read: {error} Steps that are there: {have}.') from None
    if found.get('step') != step or not isinstance(found.get('arrays'), str):
        raise CheckpointError(f'the checkpoint {folder} is damaged: its manifest is of another.')
    journal.check_told(folder / 'manifest.json', found)
    return found


def verify(workdir, step: int) -> dict[str, Any]:
    """The `manifest` of a checkpoint whose arrays are what was written, without reading their numbers; CheckpointError for another."""
    folder, told = _folder(workdir) / f'{step:09d}', manifest(workdir, step)
    try:
        if told['arrays'] != _digest(folder / 'arrays.npz'):
            raise CheckpointError(f'the checkpoint {folder} cannot be read: it is damaged: it does not match its manifest.')
    except OSError as error:
        raise CheckpointError(f'the checkpoint {folder} cannot be read: {type(error).__name__}.') from None
    return told


def read(workdir, step: int) -> dict[str, np.ndarray]:
    """{path: array} of a checkpoint; CheckpointError where it is missing or not what was written."""
    return _read(workdir, step)[0]


def _read(workdir, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """({path: array}, manifest)."""
    folder, told = _folder(workdir) / f'{step:09d}', verify(workdir, step)
    try:
        # Not by numpy.load, which sets aside what a header claims before it looks at what is there.
        with open(folder / 'arrays.npz', 'rb') as file:
            return {name: np.array(entry.read()) for name, entry in tensor_files.npz(file).items()}, told
    except CheckpointError as error:
        raise CheckpointError(f'the checkpoint {folder} cannot be read: {error}.') from None
    except (OSError, *pretrained.DAMAGE) as error:
        raise CheckpointError(f'the checkpoint {folder} cannot be read: {type(error).__name__}.') from None


def restore(workdir, template, fits: Callable[[dict], None] = lambda told: None) -> tuple[Any, dict | None, list[str]]:
    """(the newest checkpoint that verifies, in the template's structure, its manifest, what was wrong with newer ones); None, None where
    none does.

    fits(manifest) raises CheckpointError for a checkpoint that must not be gone on from, and so does this where all are such.
    """
    problems, unfit = [], []
    for step in reversed(steps(workdir)):
        try:
            arrays, told = _read(workdir, step)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        try:
            fits(told)
        except CheckpointError as error:
            unfit.append(str(error))
            problems.append(str(error))
            continue
        names = _names(template)
        wrong = [name for name in names if name not in arrays or arrays[name].shape != np.shape(names[name])] or set(arrays) - set(names)
        if wrong:
            raise CheckpointError(
                f'the checkpoint of step {step} in {workdir} is of another network or optimizer: {sorted(wrong)[0]} differs.'
            )
        return jax.tree.unflatten(jax.tree.structure(template), [arrays[name] for name in names]), told, problems
    if unfit:
        raise CheckpointError(f'{unfit[0]} Put back what was there, or choose another workdir; nothing was changed.')
    return None, None, problems


def load(workdir, step: int | None = None) -> Trained:
    """The trained network of a workdir: that of its result or, where the training is not finished, of its newest checkpoint that verifies,
    or of `step`. What else than the newest state it is stands in its `notes`, and is warned of (errors.Fallback).

    CheckpointError where there is none, or where it is not what was written.
    """
    if not (pathlib.Path(workdir) / configs.FILE).is_file():
        raise CheckpointError(f'{workdir} holds no run: there is no {configs.FILE} in it.')
    saved, notes, ended = configs.saved(workdir), [], None
    config = configs.update(configs.default(), saved.values)
    try:
        ended = journal.result(workdir)
    except CheckpointError as error:
        notes.append(str(error))
    if step is None and ended:
        step, others = ended['step'], ', '.join(str(other) for other in steps(workdir) if other != ended['step'])
        choice = f'It is the state that {journal.RESULT} was measured on; the command of the training, given again, makes it anew.'
        choice += f' Other steps are there: {others}.' if others else ''
    else:
        choice = ''
    for candidate in [step] if step is not None else reversed(steps(workdir)):
        try:
            arrays, told = _read(workdir, candidate)
        except CheckpointError as error:
            notes.append(f'{error} {choice}'.strip())
            continue
        if not of_the_run(told, saved):
            raise CheckpointError(f'{workdir}/{configs.FILE} is not the config that the checkpoint of step {candidate} was trained with.')
        if ended and told.get('key') not in (ended['key'], *(key for key, *_ in ended.get('continued', []))):
            raise CheckpointError(f'the checkpoint of step {candidate} in {workdir} is of another run than {journal.RESULT}.')
        if notes and candidate != step:
            notes.append(f'the state of step {candidate} is used instead.')
            warnings.warn(' '.join(notes), Fallback, stacklevel=2)
        notes += filter(None, [journal.other_rates(told.get('continued', []))])
        net = configs.network(config)
        names, shape = tuple(told.get('class_names', ())), told.get('image_shape')
        if names and len(names) != net.num_classes:
            raise CheckpointError(f'the checkpoint of step {candidate} names {len(names)} classes; {net.name} has {net.num_classes}.')
        return Trained(
            net, _variables(net, arrays, candidate), config, candidate, names, tuple(notes), shape and tuple(shape), told.get('data', {})
        )
    raise CheckpointError(notes[-1] if step is not None and notes else notes[0] if notes else f'{workdir} has no checkpoint yet.')


def of_the_run(told: Mapping[str, Any], saved: configs.Saved) -> bool:
    """Whether what a checkpoint or result says is of the run whose config was saved, or of one that this run went on from."""
    if told.get('key') in [key for key, *_ in saved.continued]:
        return True
    return told.get('config') == configs.decisive(saved.values) and told.get('key') == saved.key


def _variables(net, arrays: Mapping[str, np.ndarray], step: int) -> dict:
    """{'params', 'preprocessing'} of a checkpoint's arrays; CheckpointError where they are not those of the architecture."""
    variables: dict = {'params': {}, 'preprocessing': {}}
    for name, array in arrays.items():
        root, *inner = name.removeprefix('state/').split('/')
        if root in variables and inner:
            place = variables[root]
            for part in inner[:-1]:
                place = place.setdefault(part, {})
            place[inner[-1]] = array
    try:
        check_parameters(net, variables['params'])
    except ArchitectureError as error:
        raise CheckpointError(f'the checkpoint of step {step} is not one of {net.name}: {error}') from None
    channels, shapes = net.input_shape[2], {name: array.shape for name, array in variables['preprocessing'].items()}
    if any(shapes.get(name, ())[-1:] not in ((1,), (channels,)) for name in ('mean', 'scale')):
        raise CheckpointError(f'the checkpoint of step {step} has no preprocessing for {channels} channels: {shapes or "none"}.')
    return variables


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
    found = pretrained.load(path, mean=mean)
    fields = {'architecture': found.architecture.name, 'architecture_json': found.architecture.to_json(), 'data.resize': found.resize}
    config = configs.update(configs.default(), fields)
    return Trained(found.architecture, found.variables, config, 0, found.class_names or (), found.notes, found.image_shape)
