"""The stream's arithmetic against plain loops, and resident against streamed batches."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_research.data import stream
from cnn_research.errors import SourceError


@dataclasses.dataclass(frozen=True)
class Memory:
    """A source of random images in memory; `sides` are cycled through, so more than one gives images of different sizes."""

    num_examples: int = 23
    sides: tuple = (6,)
    channels: int = 3
    name: str = 'memory'
    split: str = 'train'

    @property
    def fingerprint(self):
        return repr(self)

    def read(self, indices):
        images = []
        for index in indices:
            side = self.sides[int(index) % len(self.sides)]
            images.append(np.random.default_rng(int(index)).integers(0, 256, (side, side + 1, self.channels), np.uint8))
        return images, np.asarray(indices, np.int32) % 10


def feed_of(source=None, **changes):
    settings = {'seed': 3, 'batch_size': 8, 'resize': 0, 'resident_gb': 1.0, 'workers': 0} | changes
    return contextlib.closing(stream.open_feed(source or Memory(), **settings))


def fetched(feed, step):
    return [np.asarray(array) for array in stream.fetch(feed.store, feed.batch(step))]


def test_each_epoch_is_a_permutation_of_its_own():
    epochs = stream.order(5, np.arange(4 * 50), 50).reshape(4, 50)
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert not np.array_equal(epochs[0], stream.order(6, np.arange(50), 50))


def test_order_depends_on_position_alone():
    whole = stream.order(5, np.arange(1000), 37)
    scattered = np.array([999, 0, 36, 37, 500, 38])
    np.testing.assert_array_equal(stream.order(5, scattered, 37), whole[scattered])
    np.testing.assert_array_equal([int(stream.order(5, np.array([position]), 37)[0]) for position in range(80)], whole[:80])


def test_order_of_a_seed_never_changes():
    # Written down once: a library that shuffled otherwise would break every resumed run.
    assert stream.order(0, np.arange(12), 10).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7, 5, 3]


def test_permutations_are_uniform():
    counts = np.zeros((5, 5))
    for seed in range(2000):
        counts[np.arange(5), stream.order(seed, np.arange(5), 5)] += 1
    chi_squared = ((counts - 400) ** 2 / 400).sum()
    assert chi_squared < 40  # 16 degrees of freedom: exceeded by chance with probability 0.0008, and the seeds are fixed


@pytest.mark.parametrize('processes', [1, 2, 3, 5])
def test_steps_and_processes_tile_the_positions(processes):
    parts = [stream.step_positions(step, 8, process, processes) for step in range(6) for process in range(processes)]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(48))


def test_holdout_matches_plain_integers():
    def held(fingerprint, index, fraction):
        word = (int.from_bytes(hashlib.sha256(fingerprint.encode()).digest()[:8], 'little') + (index + 1) * 0x9E3779B97F4A7C15) % 2**64
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        return (word ^ word >> 31) >> 11 < fraction * 2**53

    mask = stream.holdout_mask('abc', 300, 0.2)
    assert mask.tolist() == [held('abc', index, 0.2) for index in range(300)]


def test_holdout_is_a_nested_fraction_of_each_fingerprint():
    tenth, fifth = (stream.holdout_mask('abc', 100_000, fraction) for fraction in (0.1, 0.2))
    assert abs(tenth.mean() - 0.1) < 0.005 and abs(fifth.mean() - 0.2) < 0.005
    assert not np.any(tenth & ~fifth)
    other = stream.holdout_mask('abd', 100_000, 0.1)
    assert abs((tenth & other).mean() - 0.01) < 0.002  # independent of another set's
    np.testing.assert_array_equal(stream.holdout_mask('abc', 500, 0.1), tenth[:500])
    assert not stream.holdout_mask('abc', 1000, 0.0).any() and stream.holdout_mask('abc', 1000, 1.0).all()


@pytest.mark.parametrize('batch_size', [1, 4, 10, 11, 12, 40])
def test_evaluation_sees_every_example_once(batch_size):
    feed = stream.evaluation_feed(Memory(11), batch_size, 0, 1, workers=0)
    batches = [(batch['index'], batch['mask']) for batch in map(feed.batch, range(feed.steps))]
    assert {index.shape for index, _ in batches} == {(batch_size,)} == {mask.shape for _, mask in batches}
    assert np.concatenate([index[mask] for index, mask in batches]).tolist() == list(range(11))
    assert not np.concatenate([index[~mask] for index, mask in batches]).any()


def test_resized_is_short_side_then_centre():
    tall = np.random.default_rng(0).integers(0, 256, (40, 20, 3), np.uint8)
    scaled = np.asarray(Image.fromarray(tall).resize((10, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(stream.resized(tall, 10), scaled[5:15])
    np.testing.assert_array_equal(stream.resized(tall.transpose(1, 0, 2), 10).shape, (10, 10, 3))
    grey = tall[..., :1]
    np.testing.assert_array_equal(stream.resized(grey, 10)[..., 0], np.asarray(Image.fromarray(tall[..., 0]).resize((10, 20), 2))[5:15])
    square = tall[:20]
    np.testing.assert_array_equal(stream.resized(square, 20), square)
    assert stream.resized(tall, 55).shape == (55, 55, 3)


def test_store_holds_every_example(monkeypatch):
    monkeypatch.setattr(stream, 'CHUNK', 4)
    source, lines = Memory(), []
    stored = stream.store(source, 0, lines.append)
    images, labels = source.read(range(23))
    np.testing.assert_array_equal(stored['images'], images)
    np.testing.assert_array_equal(stored['labels'], labels)
    assert '23 of 23' in lines[-1]


def test_images_of_different_sizes_need_resize():
    mixed = Memory(sides=(6, 9))
    with pytest.raises(SourceError, match=r'6x7x3, 9x10x3.*data\.resize'):
        stream.store(mixed, 0)
    with pytest.raises(SourceError, match='different sizes'), feed_of(mixed, resident_gb=0, batch_size=1) as feed:
        [feed.batch(step) for step in range(4)]
    assert stream.store(mixed, 5)['images'].shape == (23, 5, 5, 3)
    with pytest.raises(SourceError, match='no examples'):
        stream.store(Memory(num_examples=0), 0)


@pytest.mark.parametrize('resize', [0, 4])
def test_streamed_equals_resident_at_every_step(resize):
    with feed_of(resize=resize) as resident, feed_of(resize=resize, resident_gb=0) as streamed:
        assert resident.store and not streamed.store
        for step in (0, 1, 2, 3, 7, 8, 2, 3):  # 23 examples: steps 2, 7 and 8 cross an epoch; 7 and the second 2 are jumps
            for expected, found in zip(fetched(resident, step), fetched(streamed, step), strict=True):
                np.testing.assert_array_equal(found, expected)
                assert found.dtype == expected.dtype


def test_worker_processes_change_nothing():
    with feed_of() as resident, feed_of(resident_gb=0, workers=2) as streamed:
        for step in (5, 6, 7, 8):
            for expected, found in zip(fetched(resident, step), fetched(streamed, step), strict=True):
                np.testing.assert_array_equal(found, expected)


def test_a_script_that_never_closes_its_feed_ends_quietly(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(
        'from test_stream import Memory\n'
        'from cnn_research.data import stream\n'
        "if __name__ == '__main__':\n"
        '    feed = stream.open_feed(Memory(), 0, 8, 0, resident_gb=0, workers=1)\n'
        "    print(feed.batch(0)['labels'].tolist())\n"
    )
    here = pathlib.Path(__file__).resolve().parent
    result = subprocess.run(
        [sys.executable, script], env=os.environ | {'PYTHONPATH': f'{here.parents[1]}:{here}'}, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == str((stream.order(0, np.arange(8), 23) % 10).tolist())
    assert result.returncode == 0 and not result.stderr


def test_an_error_in_a_worker_process_keeps_its_kind():
    mixed = Memory(sides=(6, 6, 6, 6, 9))
    with feed_of(mixed, resident_gb=0, workers=1) as feed:
        for _ in range(2):  # asked again, the same
            with pytest.raises(SourceError, match='9x10x3'):
                feed.batch(0)


@pytest.mark.parametrize('resident_gb', [0, 1])
def test_processes_together_see_the_global_batch(resident_gb):
    with feed_of() as single:
        whole = fetched(single, 4)
    parts = []
    for process in range(2):
        with feed_of(process_index=process, process_count=2, resident_gb=resident_gb) as feed:
            parts.append(fetched(feed, 4))
    for expected, *found in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(found), expected)


def test_fetch_runs_under_jit_and_gathers_by_index():
    source = Memory()
    with feed_of(source) as feed:
        batch = feed.batch(9)
        assert set(batch) == {'index', 'position'}
        images, labels, positions = jax.jit(stream.fetch)(feed.store, batch)
    expected = stream.order(3, np.arange(72, 80), 23)
    np.testing.assert_array_equal(images, source.read(expected)[0])
    np.testing.assert_array_equal(labels, expected % 10)
    np.testing.assert_array_equal(positions, np.arange(72, 80))


@pytest.mark.parametrize('resident_gb', [0, 1])
def test_evaluation_feed_counts_every_example_twice_in_two_passes(resident_gb):
    source = Memory()
    with contextlib.closing(stream.evaluation_feed(source, 8, 0, resident_gb, workers=0)) as feed:
        for _ in range(2):
            seen = []
            for step in range(feed.steps):
                batch = feed.batch(step)
                images, labels, positions = stream.fetch(feed.store, batch)
                np.testing.assert_array_equal(images, source.read(positions)[0])
                seen.extend(positions[batch['mask']].tolist())
            assert seen == list(range(23))


def resident():
    """Bytes in memory of this process and its children."""
    sizes = []
    for place in pathlib.Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError, ValueError):
            parent = int((place / 'stat').read_text().rpartition(')')[2].split()[1])
            if os.getpid() in (parent, int(place.name)):
                sizes.append(int((place / 'statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE'))
    return sum(sizes)


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path('/proc/self/statm').exists(), reason='the memory in use is read from /proc')
def test_memory_stays_flat_over_two_thousand_streamed_steps(tmp_path):
    from cnn_research.data.sources import open_source

    for number in range(40):
        place = tmp_path / 'photos' / 'train' / f'class{number % 2}'
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).resize((150, 100)).save(place / f'{number}.jpg')
    source, held = open_source(f'folder:{tmp_path}/photos', 'train'), []
    with feed_of(source, resident_gb=0.0, workers=1, resize=96, batch_size=16) as feed:
        for step in range(2000):
            assert feed.batch(step)['images'].shape == (16, 96, 96, 3)
            if step % 200 == 199:
                held.append(resident())
    # A batch is 442 kB: of 1,800 that were all kept, 800 MB would be left.
    assert max(held[2:]) - min(held[2:]) < 20e6
