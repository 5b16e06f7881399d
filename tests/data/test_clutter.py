"""The embedded generator: pinned bytes, boxes against blanked digits, rendering against SciPy."""

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from cnn_research.data import clutter


@pytest.mark.parametrize(
    ('split', 'digest'),
    [
        ('train', 'e1225e1186a18e353278c041fb1111ee8c14e54f344d742e58497e0f97126c57'),
        ('test', '863348d1e69a930c35b55793790a72dc63b09ece09f3fb54dd8e4e4a08574ad8'),
    ],
)
def test_bytes_never_change(split, digest):
    # Written down once: trained networks and their tables are about these composites.
    images, labels, boxes = clutter.examples(split, np.arange(64))
    assert (images.dtype, labels.dtype, boxes.dtype) == (np.uint8, np.int32, np.int32)
    content = b''.join(array.astype(array.dtype.newbyteorder('<')).tobytes() for array in (images, labels, boxes))
    assert hashlib.sha256(content).hexdigest() == digest


def test_a_composite_depends_on_its_number_alone():
    numbers = np.array([39_999, 3, 3, 17, 5_000, 1_030])
    together = clutter.examples('train', numbers)
    for position, number in enumerate(numbers):
        for whole, single in zip(together, clutter.examples('train', [number]), strict=True):
            np.testing.assert_array_equal(whole[position], single[0])
    many = clutter.examples('test', np.arange(clutter.CHUNK + 5))[0]
    np.testing.assert_array_equal(many[-1], clutter.examples('test', [clutter.CHUNK + 4])[0][0])
    assert len({image.tobytes() for image in many}) == len(many)
    assert clutter.examples('test', [])[0].shape == (0, 32, 32, 3)


def test_train_and_test_share_no_digit():
    assert [len(clutter.digits(split)[0]) for split in ('train', 'test')] == [5000, 1500]
    train, test = ({image.tobytes() for image in clutter.digits(split)[0]} for split in ('train', 'test'))
    assert not train & test


@pytest.mark.parametrize('split', ['train', 'test'])
def test_a_split_is_made_of_its_own_digits(split, monkeypatch):
    own = clutter.digits(split)
    expected = clutter.examples(split, np.arange(8))[0]
    monkeypatch.setattr(clutter, 'digits', {split: own}.__getitem__)
    np.testing.assert_array_equal(clutter.examples(split, np.arange(8))[0], expected)


def without_whole_digits(indices, pieces):
    """Composites with and without their whole digits, and the boxes."""
    images, labels = clutter.digits('train')
    made = clutter.composites(images, labels, 7, indices, pieces, 7)
    blank = []
    for index in indices:
        changed = images.copy()
        changed[index % len(images)] = 0
        blank.append(clutter.composites(changed, labels, 7, [index], pieces, 7)[0][0])
    return made[0].astype(int), np.stack(blank).astype(int), made[1], made[2]


def test_the_box_holds_the_whole_digit_closely():
    indices = np.arange(4_970, 5_030)
    seen, blank, labels, boxes = without_whole_digits(indices, pieces=5)
    np.testing.assert_array_equal(labels, clutter.digits('train')[1][indices % 5000])
    slack = []
    for changed, (top, left, height, width) in zip((seen != blank).any(-1), boxes, strict=True):
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert top >= 0 and left >= 0 and top + height <= 32 and left + width <= 32
        assert top <= rows[0] and rows[-1] < top + height and left <= columns[0] and columns[-1] < left + width
        slack += [rows[0] - top, columns[0] - left, top + height - 1 - rows[-1], left + width - 1 - columns[-1]]
    assert max(slack) <= 1


def test_the_whole_digit_is_lighter_or_darker_everywhere():
    seen, blank, _, _ = without_whole_digits(np.arange(60), pieces=0)
    change = seen - blank
    strongest = np.abs(change).max(axis=(1, 2))  # (n, 3)
    assert strongest.min() >= 45
    lighter = change.max(axis=(1, 2)) > 0
    assert np.array_equal(lighter, change.min(axis=(1, 2)) >= 0)
    assert 15 < lighter.all(axis=1).sum() < 45 and (lighter.all(axis=1) == lighter.any(axis=1)).all()


def test_pieces_hide_no_whole_digit_and_are_small():
    images, labels = clutter.digits('train')
    bare, cluttered = (clutter.composites(images, labels, 7, np.arange(50), pieces, 7)[0].astype(int) for pieces in (0, 1))
    # The words of the noise follow those of the pieces, so it differs: a piece stands out, noise does not.
    changed = np.abs(cluttered - bare).max(-1) > 31
    assert changed.any(axis=(1, 2)).sum() > 30
    for mask in changed[changed.any(axis=(1, 2))]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert rows[-1] - rows[0] < 7 and columns[-1] - columns[0] < 7


def test_rendering_agrees_with_scipy():
    generator = np.random.default_rng(0)
    whole = clutter.digits('test')[0][:12]
    uniform = generator.random((5, 12))
    uniform[:3, :2] = [[0, 1], [0, 1], [1, 0]]  # both ends of scale, rotation and shear
    found, boxes = clutter._whole_digit(whole, uniform)
    for digit, alpha, (scale, turn, shear), box in zip(whole, found, uniform[:3].T, boxes, strict=True):
        angle = 2 * np.arctan(0.12566 * (2 * turn - 1))
        assert abs(angle) < 0.2501
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shearing = np.array([[1, 0], [0.15 * (2 * shear - 1), 1]])
        inverse = np.linalg.inv(rotation.T @ shearing * (0.7 + 0.25 * scale))
        offset = np.full(2, 13.5) - inverse @ np.full(2, 15.5)
        expected = ndimage.affine_transform(digit.astype(float), inverse, offset, (32, 32), order=1)
        rows, columns = (np.flatnonzero((expected >= 1).any(axis)) for axis in (1, 0))
        assert abs(rows[-1] - rows[0] + 1 - box[2]) <= 1 and abs(columns[-1] - columns[0] + 1 - box[3]) <= 1
        # Moved by whole pixels, so one of the few moves must fit.
        moves = [(box[0] - rows[0] + down, box[1] - columns[0] + right) for down in (0, 1) for right in (0, 1)]
        assert min(np.abs(np.roll(expected, move, (0, 1)) - alpha).max() for move in moves) < 6
