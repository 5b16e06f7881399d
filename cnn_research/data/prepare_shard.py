"""One shard of a prepared set: encoded images in, an array_record file of small ones and the record of what went into it out.

Nothing here knows of the shards beside it: the file's bytes follow from the job and the files that it names, whoever writes it and when.
"""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cnn_research.data import cache, images, prepared
from cnn_research.errors import SourceError, WriteError

FORMS = ('jpeg', 'raw')


class Settings(NamedTuple):
    """side: of the short side, in px. form: 'jpeg', of a quality from 1 to 100 and colour at half the resolution, or 'raw' uint8.

    square: the central square alone is kept, which is what `stream.resized` gives of an image of that side.
    """

    side: int
    form: str
    quality: int
    square: bool = False


class Example(NamedTuple):
    """name: of the file. content: its bytes or, of a set that is prepared raw, its pixels; or the error that it cannot be read by."""

    name: str
    label: int
    content: bytes | np.ndarray | SourceError


@dataclass(frozen=True)
class Files:
    """Examples that are files below a folder, [(name, label)]; set upright as an image folder is."""

    folder: str
    upright = True

    def examples(self, items: Sequence[tuple[str, int]]) -> Iterator[Example]:
        for name, label in items:
            try:
                yield Example(name, label, pathlib.Path(self.folder, name).read_bytes())
            except OSError as error:
                yield Example(name, label, SourceError(f'it cannot be read: {error.strerror}.'))


@dataclass(frozen=True)
class Numbered:
    """Examples of a prepared set, by number; as a prepared set is read, EXIF orientation does not count."""

    records: prepared.Records
    label: str
    upright = False

    def examples(self, items: Sequence[int]) -> Iterator[Example]:
        for index in items:
            try:
                record = self.records.records([index])[0]
            except SourceError as error:
                yield Example(str(index), -1, error)
                continue
            names = [record[key] for key in prepared.FILE_NAMES if key in record] or [str(index)]
            name = names[0].decode('utf-8', 'replace') if isinstance(names[0], bytes) else str(names[0])
            yield Example(name, int(record[self.label]), record[self.records.image])


class Job(NamedTuple):
    """A shard to write: DIRECTORY/FILE of the `items` of an origin. labels: how many there are."""

    directory: str
    file: str
    origin: Files | Numbered
    items: list
    labels: int
    settings: Settings

    @property
    def path(self) -> pathlib.Path:
        return pathlib.Path(self.directory, self.file)

    @property
    def told(self) -> pathlib.Path:
        return pathlib.Path(self.directory, 'shards', f'{self.file}.json')


def recalled(job: Job) -> dict[str, Any] | None:
    """What is known of a shard that is there, by its size; None where it is to be written."""
    found = cache.recall(job.told)
    with contextlib.suppress(OSError):
        if found.get('bytes') == os.stat(job.path).st_size:
            return found
    return None


def write(job: Job) -> dict[str, Any]:
    """Writes the shard and, after it, its record: {'examples', 'bytes', 'sha256', 'files': [[name, bytes, SHA-256]], 'unreadable': [[name,
    why]], 'others': names that are no images, 'marks': of what occurs, how often}. WriteError where the place or disk does not let it."""
    from array_record.python import array_record_module
    from tensorflow_datasets.proto import tf_example_pb2

    told: dict[str, Any] = {'files': [], 'unreadable': [], 'others': [], 'marks': {}}
    partial = job.path.parent / f'.{job.file}.{secrets.token_hex(6)}.partial'
    try:
        job.told.parent.mkdir(parents=True, exist_ok=True)
        # JPEGs gain nothing by being compressed again, and raw pixels are there to be read fast.
        writer = array_record_module.ArrayRecordWriter(str(partial), 'group_size:1,uncompressed')
        for example in job.origin.examples(job.items):
            pixels = _pixels(job, example, told)
            if pixels is not None:
                writer.write(_serialized(tf_example_pb2.Example(), job.settings, example, pixels))
        writer.close()
        with open(partial, 'rb') as file:
            told |= {
                'examples': len(told['files']),
                'bytes': os.stat(partial).st_size,
                'sha256': hashlib.file_digest(file, 'sha256').hexdigest(),
            }
            os.fsync(file.fileno())
        os.replace(partial, job.path)
        write_json(job.told, told)
    except (OSError, RuntimeError) as error:  # array_record's own is a RuntimeError
        raise WriteError(f'{images.plain(job.path)} cannot be written: {images.plain(error)}; the same command goes on.') from error
    finally:
        partial.unlink(missing_ok=True)
    return told


def check(job: Job) -> str:
    """'' where a shard is what its record says, in content and number of examples; else what is wrong, and the record is taken away."""
    from array_record.python import array_record_module

    told = recalled(job)
    wrong = '' if told else 'is missing or not of its size'
    if told:
        with open(job.path, 'rb') as file:
            wrong = '' if hashlib.file_digest(file, 'sha256').hexdigest() == told['sha256'] else 'is not what was written'
    if not wrong:
        reader = array_record_module.ArrayRecordReader(str(job.path))
        wrong = '' if reader.num_records() == told['examples'] else f'holds {reader.num_records()} examples, not {told["examples"]}'
        reader.close()
    if wrong:
        job.told.unlink(missing_ok=True)
    return f'{job.file} {wrong}' if wrong else ''


def _pixels(job: Job, example: Example, told: dict) -> np.ndarray | None:
    """(H, W, 3) as it is stored; None, with the reason told, for what is not."""
    content, side = example.content, job.settings.side
    try:
        if isinstance(content, SourceError):
            raise content
        if not 0 <= example.label < job.labels:
            raise SourceError(f'its label, {example.label}, is none of {job.labels} classes.')
        if isinstance(content, np.ndarray):
            digest, marks = content.tobytes(), ['grey'] * (content.shape[-1] == 1)
            pixels = images.scaled(content if content.shape[-1] == 3 else content.repeat(3, axis=-1), side)
        else:
            if not images.named_as_image(example.name) and not images.is_image(io.BytesIO(content)):
                told['others'].append(example.name)
                return None
            if not content:
                raise SourceError('the file is empty.')
            head = images.header(io.BytesIO(content), example.name, job.origin.upright)
            digest, marks = content, [*head.marks, *['grey'] * (head.channels == 1)]
            pixels, scale = images.small(content, 3, example.name, job.origin.upright, side)
            marks += ['reduced'] * (scale > 1)
        if job.settings.square:
            top, left = ((size - side) // 2 for size in pixels.shape[:2])
            pixels = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    except SourceError as error:
        told['unreadable'].append([images.plain(example.name), str(error).removeprefix(f'{images.plain(example.name)} ')])
        return None
    for mark in marks:
        told['marks'][mark] = told['marks'].get(mark, 0) + 1
    told['files'].append([example.name, len(digest), hashlib.sha256(digest).hexdigest()])
    return pixels


def _serialized(record, settings: Settings, example: Example, pixels: np.ndarray) -> bytes:
    """tf.train.Example, as TFDS lays out the features of `prepare.features`."""
    feature = record.features.feature
    if settings.form == 'raw' and settings.square:
        feature['image'].bytes_list.value.append(pixels.tobytes())
    elif settings.form == 'raw':
        feature['image/shape'].int64_list.value.extend(pixels.shape)
        feature['image/value'].bytes_list.value.append(pixels.tobytes())
    else:
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, 'JPEG', quality=settings.quality, subsampling='4:2:0')
        feature['image'].bytes_list.value.append(encoded.getvalue())
    feature['label'].int64_list.value.append(example.label)
    feature['file_name'].bytes_list.value.append(os.fsencode(example.name))
    return record.SerializeToString(deterministic=True)


def write_json(path: pathlib.Path, content: dict) -> None:
    partial = path.parent / f'.{path.name}.{secrets.token_hex(6)}.partial'
    with open(partial, 'w', encoding='utf-8') as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
