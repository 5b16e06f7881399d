"""Sets written as TFDS lays them out, without TensorFlow: FOLDER/NAME/VERSION with array_record shards, features.json, the names of the
classes and, last, dataset_info.json, without which a set counts as not whole.

`features` is a tfds.features.FeaturesDict. An example is {feature: value}; an image among them is what `png` makes of its pixels.
"""

import hashlib
import io
import json
import os
import pathlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from cnn_research.data.images import plain
from cnn_research.errors import WriteError


class Shard(NamedTuple):
    """What a shard holds: examples, and their bytes before compression."""

    examples: int
    size: int


def order(split: str, keys: Iterable[str | int]) -> np.ndarray:
    """(N,): the places of the keys in the order in which TFDS writes a split's examples, by the MD5 of split and key.

    tensorflow_datasets/core/hashing.py and shuffle.py; a builder's documentation says what its keys are.
    """
    salted = hashlib.md5(split.encode(), usedforsecurity=False)

    def hashed(key):
        one = salted.copy()
        one.update(str(key).replace('\\', '/').encode())
        return one.digest()

    hashes = [hashed(key) for key in keys]
    return np.array(sorted(range(len(hashes)), key=hashes.__getitem__), np.int64)


def png(image: np.ndarray) -> io.BytesIO:
    """uint8 (H, W, C), C = 1 or 3, as the value of an image feature."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, 'PNG')
    file.seek(0)
    return file


def place(folder: pathlib.Path, name: str, split: str, number: int, shards: int) -> pathlib.Path:
    """The file of a shard in a set's folder FOLDER/NAME/VERSION; number from 0."""
    return folder / f'{name}-{split}.array_record-{number:05d}-of-{shards:05d}'


def write_shard(path: pathlib.Path, features, examples: Iterable[Mapping]) -> Shard:
    """The shard, whole or not at all; WriteError where it cannot be written."""
    from array_record.python.array_record_module import ArrayRecordWriter

    count = size = 0
    partial = path.with_name(f'.{path.name}.{secrets.token_hex(6)}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = ArrayRecordWriter(str(partial), 'group_size:1')  # a group is what has to be decoded to read one record
        try:
            for example in examples:
                record = features.serialize_example(features.encode_example(example))
                writer.write(record)
                count, size = count + 1, size + len(record)
        finally:
            writer.close()
        _renamed(partial, path)
    except (OSError, RuntimeError) as error:  # array_record raises the latter
        reason = getattr(error, 'strerror', None) or plain(error)
        raise WriteError(
            f'{path} cannot be written ({reason}): make room or choose another place.', getattr(error, 'errno', None)
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return Shard(count, size)


def describe(
    folder: pathlib.Path,
    features,
    splits: Mapping[str, Sequence[Shard]],
    description: str,
    citation: str = '',
    url: str = '',
    supervised: Sequence[str] = (),
) -> None:
    """features.json, names of classes and dataset_info.json of FOLDER = .../NAME/VERSION, once its shards are there.

    supervised: the features that are input and target.
    """
    features.save_config(folder)
    facts = {
        'citation': citation,
        'description': description,
        'fileFormat': 'array_record',
        'location': {'urls': [url]} if url else {},
        'name': folder.parent.name,
        'splits': [
            {
                'filepathTemplate': '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
                'name': split,
                'numBytes': str(sum(shard.size for shard in shards)),
                'shardLengths': [str(shard.examples) for shard in shards],
            }
            for split, shards in splits.items()
        ],
        'supervisedKeys': {'tuple': {'items': [{'featureKey': key} for key in supervised]}} if supervised else {},
        'version': folder.name,
    }
    partial = folder / f'.dataset_info.json.{secrets.token_hex(6)}.partial'
    partial.write_text(json.dumps({name: value for name, value in facts.items() if value}, indent=2), 'utf-8')
    _renamed(partial, folder / 'dataset_info.json')


def _renamed(partial: pathlib.Path, path: pathlib.Path) -> None:
    with open(partial, 'rb') as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
