"""How fast photographs become batches on the device: ours from a folder and from prepared sets, and PyTorch's DataLoader from the folder.

Every side decodes JPEGs, scales them to a short side of 256 px, cuts out the centre and gives uint8 batches in random order, with the same
number of worker processes. They take turns in one run, each idle while another works: PyTorch's DataLoader with Pillow, and with
torchvision's decoder where that is installed. Then one prepared set is streamed for --steps steps, and the memory held is looked at.

  python -m benchmarks.input
  python -m benchmarks.input --folder=PHOTOS --workers=2 --batch=128 --steps=2000 --out=results/input_cpu.md
"""

import contextlib
import importlib.util
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from absl import app, flags
from PIL import Image

from benchmarks import footing
from cnn_research.data import images, prepare, prepare_shard, stream
from cnn_research.data.sources import open_source
from cnn_research.reporting import tables

try:
    import torch
except ImportError:
    sys.exit('The benchmarks need PyTorch: pip install -r requirements.txt, then -r benchmarks/requirements.txt')

SIDE = 256
FORMS = {'JPEG': ('jpeg', 92), 'raw': ('raw', 92)}

_FOLDER = flags.DEFINE_string('folder', '', 'Photographs in FOLDER/train/CLASS/; by default some are made.')
_IMAGES = flags.DEFINE_integer('images', 2000, 'So many are made, of 500x375 px.', lower_bound=2)
_WORKERS = flags.DEFINE_integer('workers', os.cpu_count(), 'Processes of every side.', lower_bound=1)
_BATCH = flags.DEFINE_integer('batch', 128, 'Images in a batch.', lower_bound=1)
_TURN = flags.DEFINE_integer('turn', 8, 'Batches that are timed in a turn.', lower_bound=1)
_REPEATS = flags.DEFINE_integer('repeats', 7, 'Turns of each side; what counts is the median.', lower_bound=1)
_STEPS = flags.DEFINE_integer('steps', 2000, 'Steps over which the memory is looked at; 0 = none.', lower_bound=0)
_OUT = flags.DEFINE_string('out', None, 'A Markdown file for the tables and how they were made.')


class Photographs(torch.utils.data.Dataset):
    """The files of a folder as PyTorch reads them: uint8 (3, SIDE, SIDE). decoder: 'Pillow' or 'torchvision'."""

    def __init__(self, files: list[str], decoder: str):
        self.files, self.decoder = files, decoder

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        if self.decoder == 'Pillow':
            with Image.open(self.files[index]) as opened:
                picture = opened.convert('RGB')
            width, height = picture.size
            size = _size(width, height)
            left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
            cut = picture.resize(size, Image.Resampling.BILINEAR).crop((left, top, left + SIDE, top + SIDE))
            return torch.from_numpy(np.array(cut)).permute(2, 0, 1)
        from torchvision.io import ImageReadMode, decode_jpeg, read_file
        from torchvision.transforms.v2 import functional

        found = decode_jpeg(read_file(self.files[index]), mode=ImageReadMode.RGB)
        return functional.center_crop(functional.resize(found, SIDE, antialias=True), SIDE)


def _size(width, height):
    short = min(width, height)
    return max(SIDE, round(width * SIDE / short)), max(SIDE, round(height * SIDE / short))


class Endless(torch.utils.data.Sampler):
    """Batches of `size` of `count` examples in random order, epoch after epoch without a seam."""

    def __init__(self, count: int, size: int):
        self.count, self.size = count, size

    def __iter__(self):
        step = 0
        while True:
            yield stream.order(0, stream.step_positions(step, self.size), self.count).tolist()
            step += 1


def photographs(place: pathlib.Path, count: int) -> None:
    """Noisy pictures of 500x375 px as JPEGs of about 100 kB, the size of ImageNet's, in place/train/CLASS/."""
    random = np.random.default_rng(0)
    noise = random.normal(0, 9, (375, 500, 1))
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
        smooth = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC)) + np.roll(noise, number, (0, 1))
        file = place / 'train' / f'class{number % 2}' / f'{number:05d}.jpg'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth.clip(0, 255).astype(np.uint8)).save(file, quality=95)


def ours(source, batch: int, workers: int) -> Iterator[jax.Array]:
    """Batches (B, SIDE, SIDE, 3) on the device, by the training's own feed."""
    feed = stream.open_feed(source, 0, batch, SIDE, resident_gb=0, workers=workers)
    with contextlib.closing(feed):
        for step in range(stream.ENDLESS):
            yield jax.block_until_ready(jax.device_put(feed.batch(step)['images']))


def theirs(files: list[str], decoder: str, batch: int, workers: int) -> Iterator:
    """Batches (B, 3, SIDE, SIDE) of a DataLoader, on the GPU where JAX is on one."""
    loader = torch.utils.data.DataLoader(
        Photographs(files, decoder),
        batch_sampler=Endless(len(files), batch),
        num_workers=workers,
        multiprocessing_context='spawn',
        pin_memory=torch.cuda.is_available(),
    )
    for found in loader:
        if jax.default_backend() == 'gpu' and torch.cuda.is_available():
            found = found.cuda(non_blocking=True)
            torch.cuda.synchronize()
        yield found


def timed(sides: dict[str, Iterator], batch: int, workers: int, turn: int, repeats: int) -> dict[str, list[float]]:
    """{side: images a second in each turn}. What was read ahead is taken first, and waited for until it is there again afterwards."""
    ahead, found = 3 * workers + 2, {name: [] for name in sides}
    for _ in range(repeats):
        for name, batches in sides.items():
            for _ in range(ahead):
                next(batches)
            begun = time.perf_counter()
            for _ in range(turn):
                next(batches)
            spent = time.perf_counter() - begun
            found[name].append(turn * batch / spent)
            time.sleep(ahead * spent / turn)
    return found


def resident() -> float:
    """MB held in memory by this process and those below it; shared pages count for each."""
    parents, sizes = {}, {}
    for place in pathlib.Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError, ValueError):
            parents[int(place.name)] = int((place / 'stat').read_text().rpartition(')')[2].split()[1])
            sizes[int(place.name)] = int((place / 'statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6
    own = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    return sum(sizes.get(pid, 0) for pid in own)


def flatness(batches: Iterator, steps: int) -> list[float]:
    """MB held after each tenth of the steps."""
    held = []
    for step in range(1, steps + 1):
        next(batches)
        if step % max(1, steps // 10) == 0:
            held.append(resident())
    return held


def sides_of(folder: pathlib.Path, prepared: pathlib.Path, batch: int, workers: int) -> dict[str, Callable[[], Iterator]]:
    """{what reads: a function that begins to read}, the folder prepared first where it is not yet."""
    source = open_source(f'folder:{folder}', 'train')
    files = [f'{folder}/train/{name}' for name in source.read.file_names(range(source.num_examples))]
    decoders = ['Pillow', *(['torchvision'] if importlib.util.find_spec('torchvision') else [])]
    sides = {f'DataLoader, {decoder}, folder': lambda d=decoder: theirs(files, d, batch, workers) for decoder in decoders}
    sides['ours, folder'] = lambda: ours(source, batch, workers)
    for words, (form, quality) in FORMS.items():
        given = prepare.plan(f'folder:{folder}', prepared, prepare_shard.Settings(SIDE, form, quality), f'input_{form}', ['train'])
        prepare.carry_out(given, workers)
        there = open_source(given.name, 'train', prepared)
        sides[f'ours, prepared {words}'] = lambda s=there: ours(s, batch, workers)
    return sides


COLUMNS = (
    tables.Column('side'),
    tables.Column('rate', 'images/s', '.0f'),
    tables.Column('range', 'lowest to highest'),
    tables.Column('ratio', 'times DataLoader with Pillow', '.2f'),
    tables.Column('ratios', 'of turns, lowest to highest'),
)


def main(argv):
    with tempfile.TemporaryDirectory(prefix='input-') as temporary, contextlib.ExitStack() as stack:
        folder = pathlib.Path(_FOLDER.value or temporary)
        if not _FOLDER.value:
            photographs(folder, _IMAGES.value)
        prepared = pathlib.Path(temporary, 'prepared')
        begin = sides_of(folder, prepared, _BATCH.value, _WORKERS.value)
        sides = {name: make() for name, make in begin.items()}
        for side in sides.values():
            stack.callback(side.close)
        found = timed(sides, _BATCH.value, _WORKERS.value, _TURN.value, _REPEATS.value)
        base, rows = next(iter(found.values())), []
        for name, rates in found.items():
            ratio, ratios = footing.ratio(rates, base)
            spread = f'{min(rates):.0f} to {max(rates):.0f}'
            rows.append({'side': name, 'rate': float(np.median(rates)), 'range': spread, 'ratio': ratio, 'ratios': ratios})
        held = flatness(next(reversed(sides.values())), _STEPS.value)
        files = list(folder.rglob('train/*/*'))
        kind = 'made for this, noisy,' if not _FOLDER.value else f'of {_FOLDER.value},'
        size = np.mean([file.stat().st_size for file in files]) / 1e3
        notes = [
            f'{len(files)} images {kind} {size:.0f} kB each on average; {_WORKERS.value} worker processes, batches of {_BATCH.value}, '
            f'{_REPEATS.value} turns of {_TURN.value} batches; load {os.getloadavg()[0]:.1f} at the end',
            f'JPEGs decoded here by {"simplejpeg" if images.fast() else "Pillow: simplejpeg is not installed"}',
        ]
        if held:
            every = ', '.join(f'{size:.0f}' for size in held)
            notes.append(f'MB held by all processes after each tenth of {_STEPS.value} streamed steps: {every}')
        caption = 'Photographs to batches on the device (median over turns; above 1: faster than the DataLoader with Pillow).'
        text = tables.to_markdown(tables.Table(COLUMNS, rows, caption)) + '\n'
        versions = f'torch {torch.__version__}, Pillow {Image.__version__}'
        footing.finish(text, 'input', sys.argv[1:], versions, notes, _OUT.value)


if __name__ == '__main__':
    app.run(main)
