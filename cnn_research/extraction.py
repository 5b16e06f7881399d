"""What a network makes of a source, left for other programs: shards of .npz or of ArrayRecord, and what they are of.

A folder holds extraction.json (network, preprocessing, source, taps, and the SHA-256 of every shard), README.md that says it in words,
and the shards: features-00000-of-00012.npz, or features/1.0.0/ in TFDS's layout. A shard is written whole or not at all, and one that was
damaged is made again; the same call goes on where an earlier one ended.
"""

import hashlib
import json
import math
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_research import features, files, records, tasks
from cnn_research.data import layout
from cnn_research.data.sources import Source, subset
from cnn_research.errors import ConfigError, SourceError, Stopped
from cnn_research.trained import Trained

RECORD, NAME, VERSION = 'extraction.json', 'features', '1.0.0'
FORMATS = ('npz', 'array_record')
_BYTES, _MOST = 10**8, 10_000  # of a shard, where its number of examples is not named: bytes of features, and examples
_NEEDS = {'fingerprint': str, 'source': dict, 'shards': [{'file': str, 'first': int, 'examples': int, 'size': int, 'sha256': str}]}


class Plan(NamedTuple):
    """taps: {tap: shape of one example}; resize: short side in px that images are scaled to, 0 = as they are; side: of maps, 0 = whole;
    form: one of FORMATS; shard: examples of one file."""

    trained: Trained
    source: Source
    taps: Mapping[str, tuple[int, ...]]
    resize: int
    side: int
    form: str
    shard: int

    @property
    def shards(self) -> int:
        return -(-self.source.num_examples // self.shard)

    @property
    def bytes(self) -> int:
        """Of all features, as float32."""
        return self.source.num_examples * _bytes(self.taps)

    @property
    def split(self) -> str:
        """What the split is called in TFDS's layout, where a name is letters and digits."""
        return self.source.split if re.fullmatch(r'\w+', self.source.split) else 'all'


def plan(trained: Trained, source: Source, taps: Sequence[str], form: str = 'npz', shard: int = 0, side: int = 0) -> Plan:
    """taps: the network's and 'pixels', the image as the network reads it, averaged to at most 32 x 32 px; side: maps larger than side x
    side px are averaged to it, 0 = whole; shard: examples of one, 0 = as many as take about 100 MB. ResearchError for a tap that is none.
    """
    network = tasks.network(trained.config)
    shapes = {tap: features.shape(network, tap, side) for tap in taps}
    resize = tasks.resize_of(trained.config, source.image_shape, trained.image_shape)
    return Plan(trained, source, shapes, resize, side, form, shard or max(1, min(_MOST, _BYTES // _bytes(shapes))))


def _bytes(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return 4 * sum(map(math.prod, shapes.values()))


def described(given: Plan) -> dict[str, Any]:
    """What the features follow from, for extraction.json."""
    trained, source, network = given.trained, given.source, tasks.network(given.trained.config)
    preprocessing = {name: np.asarray(array) for name, array in trained.variables['preprocessing'].items()}
    return {
        'fingerprint': features.fingerprint(network, trained.variables, source, given.side, given.resize),
        'network': {
            'name': trained.architecture.name,
            'step': trained.step,
            'dtype': trained.config.dtype,
            'architecture': trained.architecture.to_json(),
            'learned': dict(trained.data),
        },
        'preprocessing': {
            'images': trained.config.data.preprocessing,
            'resize': given.resize,
            'view': f'centre, {"x".join(map(str, trained.architecture.input_shape))}',
            'then': '(image - mean) * scale',
            **{name: _told(array) for name, array in preprocessing.items()},
        },
        'source': {
            'name': source.name,
            'split': source.split,
            'examples': source.num_examples,
            'fingerprint': source.fingerprint,
            'classes': list(source.class_names),
        },
        'taps': {tap: list(shape) for tap, shape in given.taps.items()},
        'side': given.side,
        'format': given.form,
        'shard': given.shard,
    }


def _told(array: np.ndarray):
    """The numbers or, of a mean image, its shape, its mean of each channel, and the SHA-256 of its float32."""
    if array.size <= 16:
        return array.ravel().tolist()
    mean = array.mean(axis=tuple(range(array.ndim - 1))).tolist()
    return {'shape': list(array.shape), 'mean': mean, 'sha256': hashlib.sha256(np.ascontiguousarray(array, '<f4')).hexdigest()}


def begun(given: Plan, folder: pathlib.Path) -> dict[str, Any]:
    """What extraction.json says of shards that are there; {} of a new folder.

    ConfigError where the folder holds other features, CheckpointError where the record is damaged.
    """
    if not (folder / RECORD).is_file():
        if folder.is_dir() and {path.name for path in folder.iterdir()} - {files.LOCK}:
            raise ConfigError(f'{folder} holds something else: there is no {RECORD} in it; choose another folder, or a new one.')
        return {}
    kept, wanted = records.read(folder / RECORD, _NEEDS), json.loads(json.dumps(described(given)))
    wanted['source']['name'] = kept['source'].get('name')  # content decides, not place: a folder that moved has another name
    for field, value in wanted.items():
        if kept.get(field) != value and field != 'fingerprint':
            was, now = _few(field, kept.get(field), value)
            raise ConfigError(f'{folder} holds features of other {was}, not of {now}; choose another folder.')
    if kept['fingerprint'] != wanted['fingerprint']:
        raise ConfigError(f'{folder} holds features of other weights of {given.trained.architecture.name}; choose another folder.')
    return kept


def _few(field: str, was, now) -> tuple[str, str]:
    """(what is different, where it is now) in a field, in words of a line."""
    inner = (
        next((name for name in now if (was or {}).get(name) != now[name]), '') if isinstance(now, dict) and isinstance(was, dict) else ''
    )
    if field == 'taps' or not inner and isinstance(now, dict):
        return f'{field} ({", ".join(was or {})})', ', '.join(now)
    if inner:
        was, now, field = was.get(inner), now[inner], f'{field} ({inner})'
    return f'{field} {str(was)[:60]}', str(now)[:60]


def extract(
    given: Plan,
    folder: pathlib.Path,
    stop: Callable[[], bool] = lambda: False,
    said: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """FOLDER with all shards; the record. Stopped between two shards, once `stop` says so: the same call goes on from there. Busy where
    another process extracts into it.

    Shards hold the features (n, ...) float32 of each tap, `index` int64 in the split, `label` int32 as the source counts its classes and,
    where examples have names of files, `file_name`.
    """
    with files.claimed(folder):
        return _extracted(given, folder, stop, said)


def _extracted(given, folder, stop, said) -> dict[str, Any]:
    notes = list(dict.fromkeys((*given.trained.notes, *given.source.notes)))
    whole = {**described(given), 'notes': notes, 'shards': begun(given, folder).get('shards', [])}
    there = {shard['file']: shard for shard in whole['shards'] if _sound(folder, shard)}
    whole['shards'] = list(there.values())
    records.write(folder / RECORD, whole)  # before the first shard, so that none is ever without it
    for number in range(given.shards):
        path, first = _path(given, folder, number), number * given.shard
        name = path.relative_to(folder).as_posix()
        if name not in there:
            if stop():
                raise Stopped
            chosen = np.arange(first, min(first + given.shard, given.source.num_examples))
            size = _written(given, path, chosen)
            there[name] = {'file': name, 'first': first, 'examples': len(chosen), 'size': size, 'sha256': _digest(path)}
            whole['shards'] = sorted(there.values(), key=lambda shard: shard['first'])
            records.write(folder / RECORD, whole)
            said(f'{name}: {number + 1} of {given.shards} shards')
    if given.form == 'array_record':
        shards = [layout.Shard(shard['examples'], shard['size']) for shard in whole['shards']]
        words = f'Features of {given.source.name} ({given.source.split}), see extraction.json.'
        layout.describe(folder / NAME / VERSION, _features(given), {given.split: shards}, words)
    files.write(folder / 'README.md', _readme(given, whole))
    return whole


def _path(given: Plan, folder: pathlib.Path, number: int) -> pathlib.Path:
    if given.form == 'npz':
        return folder / f'{NAME}-{number:05d}-of-{given.shards:05d}.npz'
    return layout.place(folder / NAME / VERSION, NAME, given.split, number, given.shards)


def _digest(path: pathlib.Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _sound(folder: pathlib.Path, shard: Mapping) -> bool:
    try:
        return _digest(folder / shard['file']) == shard['sha256']
    except OSError:
        return False


def _written(given: Plan, path: pathlib.Path, chosen: np.ndarray) -> int:
    """The bytes of the examples of a shard that is written."""
    source, network = given.source, tasks.network(given.trained.config)
    found = features.collect(network, given.trained.variables, subset(source, chosen), list(given.taps), given.side, given.resize)
    arrays = {tap: found[tap].reshape(-1, *shape) for tap, shape in given.taps.items()}
    arrays |= {'index': chosen.astype(np.int64), 'label': subset(source, chosen).labels()}
    names = _names(source, chosen)
    arrays |= {'file_name': np.array(names)} if names else {}
    if given.form == 'npz':
        files.write(path, lambda file: np.savez(file, **arrays))
        return sum(array.nbytes for array in arrays.values())
    if names:
        arrays['file_name'] = names
    rows = ({name: array[place] for name, array in arrays.items()} for place in range(len(chosen)))
    return layout.write_shard(path, _features(given), rows).size


def _names(source: Source, chosen) -> list[str]:
    """What the source calls its images' files; [] where it has no names."""
    known = getattr(source.read, 'file_names', None)
    try:
        return known(chosen) if known else []
    except SourceError:
        return []


def _features(given: Plan):
    import tensorflow_datasets as tfds

    found = {tap: tfds.features.Tensor(shape=shape, dtype=np.float32) for tap, shape in given.taps.items()}
    found |= {'index': tfds.features.Scalar(np.int64), 'label': tfds.features.ClassLabel(names=list(given.source.class_names))}
    return tfds.features.FeaturesDict(found | ({'file_name': tfds.features.Text()} if _names(given.source, [0]) else {}))


def _readme(given: Plan, whole: Mapping) -> str:
    source, seen = whole['source'], whole['preprocessing']
    scaled = f'{seen["images"]}, then ' * (seen['images'] != 'none')
    scaled += f'scaled to a short side of {seen["resize"]} px, the central square of it' if seen['resize'] else 'as they are'
    lines = [
        f'# Features of {source["name"]} ({source["split"]})\n',
        f'{source["examples"]:,} examples in {len(whole["shards"])} shards, float32, in the order of the source.\n',
        '| tap | shape of one example |\n| --- | --- |',
        *(f'| {tap} | {"x".join(map(str, shape))} |' for tap, shape in whole['taps'].items()),
        f'\n- network: {whole["network"]["name"]}, step {whole["network"]["step"]:,}, computed in {whole["network"]["dtype"]}',
        f'- preprocessing: images {scaled}; {seen["view"]}; then {seen["then"]}, with the numbers of {RECORD}',
        f'- maps: averaged to at most {given.side} x {given.side} px' if given.side else '- maps: whole',
        *(['- pixels: averaged to at most 32 x 32 px'] if features.PIXELS in whole['taps'] else []),
        f'- source: fingerprint {source["fingerprint"]}',
        f'- all of it: fingerprint {whole["fingerprint"]}; the SHA-256 of every shard is in {RECORD}',
        *(f'- note: {note}' for note in whole['notes']),
        '\n`index` counts the examples of the split, `label` the classes of the source, in the order of `source.classes` there.\n',
        '    ' + _READ[given.form].format(name=NAME, split=given.split, version=VERSION, tap=next(iter(given.taps))),
    ]
    return '\n'.join(lines) + '\n'


_READ = {
    'npz': "np.concatenate([np.load(file)['{tap}'] for file in sorted(glob.glob('{name}-*.npz'))])",
    'array_record': "tfds.builder_from_directory('{name}/{version}').as_data_source('{split}')[0]['{tap}']",
}
