"""Photographs made small once: an image folder or a prepared set becomes array_record files in TFDS's layout, read as any other set.

Every shard is a job of its own (`prepare_shard`), so that processes share them and a run that was killed goes on with those that are
missing. The files do not depend on how many processes wrote them or how often they were interrupted. dataset_info.json, without which a set
is not opened, comes last.
"""

import collections
import contextlib
import csv
import hashlib
import io
import json
import multiprocessing
import os
import pathlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from typing import Any, NamedTuple

import numpy as np
from PIL import features as pillow_features

from cnn_research import files
from cnn_research.data import cache, folders, prepare_shard, prepared
from cnn_research.data.images import plain
from cnn_research.data.prepare_shard import Files, Job, Numbered, Settings
from cnn_research.data.source import sha256
from cnn_research.errors import ConfigError, SourceError

SHARD = 1024  # examples listed for a shard: less than a minute's work, and lost when it is interrupted
VERSION, UNREADABLE = '1.0.0', 'unreadable.csv'
FORMAT = 1  # raised when the same images come to be written otherwise
_MARKS = {
    'reduced': 'decoded at a half, quarter or eighth of their size (JPEG, DCT) before they were scaled, about 1 of 255 from all pixels',
    'grey': 'grey, stored in colour',
    'transparent': 'with transparency, composed on white',
    'turned': 'set upright as the EXIF orientation says',
    'frames': 'with several frames, of which the first was taken',
    'cmyk': 'in CMYK, made RGB without the colour profile',
}


class Part(NamedTuple):
    """A split to be prepared. items: for the origin, in the order in which they are written. fingerprint: of a split that has one already.

    order: names in the order that an image folder's fingerprint has them; () for other origins.
    """

    split: str
    origin: Files | Numbered
    items: list
    fingerprint: str
    order: tuple[str, ...]
    notes: tuple[str, ...]


class Plan(NamedTuple):
    """What is to be prepared, and where: directory = OUT/NAME/1.0.0."""

    source: str
    name: str
    directory: pathlib.Path
    settings: Settings
    classes: tuple[str, ...]
    parts: tuple[Part, ...]

    def jobs(self) -> dict[str, list[Job]]:
        """{split: its shards}."""
        found = {}
        for part in self.parts:
            slices = [part.items[start : start + SHARD] for start in range(0, len(part.items), SHARD)]
            names = [f'{self.name}-{part.split}.array_record-{number:05d}-of-{len(slices):05d}' for number in range(len(slices))]
            found[part.split] = [
                Job(str(self.directory), file, part.origin, items, len(self.classes), self.settings)
                for file, items in zip(names, slices, strict=True)
            ]
        return found

    def identity(self) -> dict[str, Any]:
        """What must be the same for a preparation to be gone on with."""
        return {
            'format': FORMAT,
            'source': plain(self.source),
            'settings': dict(self.settings._asdict()),
            'fingerprints': {part.split: part.fingerprint for part in self.parts},
            'classes': hashlib.sha256(json.dumps(self.classes).encode()).hexdigest(),
            'images': {part.split: hashlib.sha256(json.dumps(part.items).encode()).hexdigest() for part in self.parts},
            'Pillow': f'{pillow_features.version("pil")} with libjpeg-turbo {pillow_features.version("libjpeg_turbo")}',
        }


class Done(NamedTuple):
    """counts: {split: (images listed, written)}. said: of the set, a line for each split and thing. unreadable: how many there are."""

    counts: dict[str, tuple[int, int]]
    said: tuple[str, ...]
    unreadable: int
    table: pathlib.Path


def plan(source: str, out, settings: Settings, name: str = '', splits: Sequence[str] = (), data_dir=None) -> Plan:
    """Looks at a source ('folder:DIR', or a prepared set that `open_source` knows) and says what there is to do.

    name: of the set to be made; '' = the source's, with the side behind it. splits: () = all that have labels. Raises ConfigError and
    SourceError for what cannot be prepared, with what can, before any work.
    """
    if settings.form not in prepare_shard.FORMS:
        raise ConfigError(f'form={settings.form!r} is not one of {", ".join(prepare_shard.FORMS)}.')
    for field, low, high in (('side', 8, 8192), ('quality', 1, 100)):
        if not low <= getattr(settings, field) <= high:
            raise ConfigError(f'{field}={getattr(settings, field)} is out of range; it must be from {low} to {high}.')
    is_folder = source.startswith('folder:')
    source = f'folder:{folders.directory(source).resolve()}' if is_folder else source
    own = folders.directory(source).name if is_folder else source.partition(':')[0].replace('/', '_')
    name = name or re.sub(r'\W+', '_', f'{own}_{settings.side}', flags=re.ASCII)
    if not re.fullmatch(r'[A-Za-z]\w*', name, re.ASCII):
        raise ConfigError(f'name={plain(name)!r} is not what a set can be called: a letter, then letters, digits and _; give --name=NAME.')
    classes, parts = _of_folder(source, splits) if is_folder else _of_set(source, splits, prepared.root(data_dir))
    for part in parts:
        if not re.fullmatch(r'[A-Za-z]\w*', part.split, re.ASCII) or part.split == 'all':
            raise ConfigError(f'the split {part.split!r} is not what one can be called in TFDS: a letter, then letters, digits and _.')
    return Plan(source, name, prepared.root(out) / name / VERSION, settings, classes, parts)


def _of_folder(source, splits):
    found = folders.listed(source, splits)
    classes, parts = tuple(next(iter(found.values())).files), []
    for split, listing in found.items():
        items = [(file, label) for label, name in enumerate(classes) for file in listing.files[name]]
        # As TFDS does, so that slices such as 'train[:10%]' hold images of all classes.
        shuffled = sorted(items, key=lambda item: hashlib.sha256(os.fsencode(item[0])).digest())
        order = tuple(file for file, _ in items)
        parts.append(Part(split, Files(str(listing.folder)), shuffled, '', order, listing.notes))
    return classes, tuple(parts)


def _of_set(source, splits, place):
    classes, parts, left = (), [], []
    for split in splits or prepared.splits(source, place, ()):
        found = prepared.opened(source, split, place, ())
        read = found.read
        if not splits and read.records([0])[0][read.label] < 0:  # the test images of ImageNet
            left.append(f'{source} ({split}) has no labels and is left out')
            continue
        if classes and classes != found.class_names:
            raise SourceError(f'{source}: its splits have other classes than each other.')
        classes = found.class_names
        parts.append(Part(split, Numbered(read.plain(), read.label), list(range(found.num_examples)), found.fingerprint, (), found.notes))
    if not parts:
        raise SourceError(f'{source} has no split with labels.')
    parts[0] = parts[0]._replace(notes=(*parts[0].notes, *left))
    return classes, tuple(parts)


def carry_out(given: Plan, workers: int, log: Callable[[str], None] = lambda line: None) -> Done:
    """Writes what is missing of a plan with so many processes (0: in this one), checks all of it, and makes it a set that can be opened.

    Called again, after whatever stopped it, it goes on. log: is given a line for each shard. Raises ConfigError where another
    preparation is in that place, Busy where another process works on it, WriteError where there is no room, SourceError where the check
    finds a shard that is not what was written, which the next call writes again.
    """
    _claim(given)
    with files.claimed(given.directory):
        return _carried_out(given, workers, log)


def _carried_out(given: Plan, workers: int, log: Callable[[str], None]) -> Done:
    jobs, place = given.jobs(), given.directory
    missing = [job for every in jobs.values() for job in every if prepare_shard.recalled(job) is None]
    total, begun = sum(map(len, jobs.values())), time.monotonic()
    images_done = 0
    if missing:
        log(f'{total - len(missing)} of {total} shards are there; {len(missing)} to be written by {workers} processes')
    with contextlib.ExitStack() as stack:
        spawning = multiprocessing.get_context('spawn')
        pool = stack.enter_context(ProcessPoolExecutor(workers, spawning, _follow)) if workers else None
        for number, (job, told) in enumerate(_each(pool, prepare_shard.write, missing), total - len(missing) + 1):
            images_done += len(job.items)
            rate = images_done / (time.monotonic() - begun)
            left = sum(len(one.items) for one in missing) - images_done
            log(f'{number} of {total} shards: {job.file}, {told["examples"]} images; {rate:.0f} images/s, {left / rate / 60:.0f} min left')
        log(f'checking {total} shards')
        every = [job for part in jobs.values() for job in part]
        wrong = [problem for _, problem in _each(pool, prepare_shard.check, every) if problem]
    if wrong:
        more = f' and {len(wrong) - 1} more' if len(wrong) > 1 else ''
        raise SourceError(f'{plain(place)}: {wrong[0]}{more}; give the same command again, which writes it anew.')
    told = {split: [prepare_shard.recalled(job) for job in every] for split, every in jobs.items()}
    return _finished(given, told)


def _claim(given: Plan) -> None:
    path, own = given.directory / prepared.PLAN, given.identity()
    there = cache.recall(path).get('plan')
    if there is None and given.directory.is_dir() and any(given.directory.iterdir()):
        raise ConfigError(f'{plain(given.directory)} holds something else; give another --name or --out.')
    if there is None:
        given.directory.mkdir(parents=True, exist_ok=True)
        prepare_shard.write_json(path, {'plan': own})
        return
    changed = [key for key in own if json.loads(json.dumps(own[key])) != (there.get(key) if isinstance(there, dict) else None)]
    if changed:
        said = '; '.join(f'{key} was {_short(there.get(key))}, now {_short(own[key])}' for key in changed)
        raise ConfigError(
            f'{plain(given.directory)} was prepared, or begun, otherwise: {said}. Give another --name or --out, or remove it to begin anew.'
        )


def _short(value) -> str:
    text = ', '.join(f'{k}={_short(v)}' for k, v in value.items()) if isinstance(value, dict) else str(value)
    return text[:10] + '...' if re.fullmatch('[0-9a-f]{64}', text) else text


def _follow() -> None:
    """Has a process end with the one that started it, and leave the keyboard's interrupt to that."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    above = multiprocessing.parent_process()

    def watch():
        above.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _each(pool, work, jobs: Iterable[Job]):
    """(job, result) of each as it is done, here where there is no pool; the first error ends those that have not begun."""
    if pool is None:
        yield from ((job, work(job)) for job in jobs)
        return
    waiting = {pool.submit(work, job): job for job in jobs}
    try:
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    except BrokenExecutor:
        raise SourceError('one of the processes was ended from outside, perhaps for lack of memory; the same command goes on.') from None
    finally:
        for future in waiting:
            future.cancel()


def features(settings: Settings, classes: Sequence[str]):
    """What TFDS calls the features of a prepared set: image (H, W, 3) uint8, label, file_name; H = W = side of squares."""
    import tensorflow_datasets as tfds

    shape = (settings.side, settings.side, 3) if settings.square else (None, None, 3)
    image = tfds.features.Image(shape=shape, dtype=np.uint8, encoding_format='jpeg')
    if settings.form == 'raw':
        image = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding='bytes')
    label = tfds.features.ClassLabel(names=list(classes))
    return tfds.features.FeaturesDict({'image': image, 'label': label, 'file_name': tfds.features.Text()})


def _finished(given: Plan, told: dict[str, list[dict]]) -> Done:
    settings, said, counts, unreadable, about = given.settings, [], {}, [], []
    written = f'JPEG of quality {settings.quality}' if settings.form == 'jpeg' else 'raw uint8'
    written += ', the central square alone' * settings.square
    for part in given.parts:
        shards = told[part.split]
        files = [tuple(file) for shard in shards for file in shard['files']]
        marks = sum((collections.Counter(shard['marks']) for shard in shards), collections.Counter())
        bad, others = [row for s in shards for row in s['unreadable']], [name for s in shards for name in s['others']]
        unreadable += [(part.split, *row) for row in bad]
        counts[part.split] = len(part.items), len(files)
        if not files:
            raise SourceError(
                f'{given.source} ({part.split}): none of {len(part.items)} images can be read; the first: {bad[:1] or others[:1]}.'
            )
        known = {name: (name, size, digest) for name, size, digest in files}
        fingerprint = part.fingerprint or folders.identity(
            given.classes, [known[name] for name in part.order if name in known], any(mark in marks for mark in folders.MARKED)
        )
        content = sha256(*(shard['sha256'].encode() for shard in shards))
        lines = [f'{len(files):,} of {len(part.items):,} images, short side {settings.side} px, {written}']
        lines += [f'{marks[mark]} {words}' for mark, words in _MARKS.items() if marks[mark]]
        lines += [f'{len(bad)} unreadable, left out ({folders.few(name for name, _ in bad)})'] if bad else []
        lines += [f'{len(others)} no images, left out ({folders.few(others)})'] if others else []
        said += [f'{given.name} ({part.split}): {line}.' for line in (f'prepared from {plain(given.source)}, {lines[0]}', *lines[1:])]
        said += part.notes
        about.append(f'{part.split}: {"; ".join(lines)}. Fingerprint of the source: {fingerprint}. SHA-256 of the shards: {content}.')
    kind = 'an image folder' if given.source.startswith('folder:') else f'the TFDS set {given.source}'
    _write_table(given.directory / UNREADABLE, unreadable)
    lead = f'Prepared from {kind}; scaled (bilinear, antialiased) to a short side of {settings.side} px, {written}.'
    _write_info(given, told, '\n'.join([lead, *about]))
    prepare_shard.write_json(given.directory / prepared.PLAN, {'plan': given.identity(), 'said': said, 'directory': str(given.directory)})
    for left in given.directory.rglob('.*.partial'):  # by processes that were killed
        left.unlink(missing_ok=True)
    for split, (_, count) in counts.items():  # as everybody will
        found = prepared.opened(given.name, split, given.directory.parents[1], ())
        found.read([0, count - 1])
        if found.num_examples != count:
            raise SourceError(f'{given.name} ({split}) opens with {found.num_examples} examples, not {count}.')
    return Done(counts, tuple(said), len(unreadable), given.directory / UNREADABLE)


def _write_table(path, rows) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([('split', 'file', 'why'), *rows])
    partial = path.parent / f'.{path.name}.partial'
    partial.write_text(text.getvalue(), 'utf-8')
    os.replace(partial, path)


def _write_info(given: Plan, told: dict[str, list[dict]], description: str) -> None:
    """label.labels.txt, features.json and, last, dataset_info.json."""
    import tensorflow_datasets as tfds
    from etils import epath
    from tensorflow_datasets.core import dataset_info, naming

    version = tfds.core.Version(VERSION)
    place = given.directory / '.info'
    place.mkdir(exist_ok=True)
    about = dataset_info.DatasetIdentity(name=given.name, version=version, data_dir=str(place), module_name='')
    described = {'description': description, 'features': features(given.settings, given.classes), 'supervised_keys': ('image', 'label')}
    info = dataset_info.DatasetInfo(builder=about, **described)
    info.set_file_format('array_record')
    parts = []
    for split, shards in told.items():
        form = {'template': naming.DEFAULT_FILENAME_TEMPLATE, 'dataset_name': given.name, 'filetype_suffix': 'array_record'}
        template = naming.ShardedFileTemplate(data_dir=epath.Path(place), split=split, **form)
        lengths, size = [shard['examples'] for shard in shards], sum(shard['bytes'] for shard in shards)
        parts.append(tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size, filename_template=template))
    info.set_splits(tfds.core.splits.SplitDict(parts))
    info.write_to_directory(str(place))
    for file in sorted(place.iterdir(), key=lambda file: file.name == 'dataset_info.json'):
        os.replace(file, given.directory / file.name)
    place.rmdir()
