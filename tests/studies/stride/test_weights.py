"""Kernels as numbers, against gratings whose frequency and direction are known, plain Fourier sums, and filters sought by ascent."""

import numpy as np
import pytest
from scipy import optimize

from cnn_research.studies.stride import weights


def random_kernels(*shape):
    return np.random.default_rng(0).normal(size=shape)


def grating(frequency, degrees, size=31):
    """(size, size, 3, 1): a grey wave under a Gaussian, varying in a direction counted counter-clockwise from the row."""
    down, across = np.mgrid[:size, :size] - size // 2
    along = across * np.cos(np.radians(degrees)) - down * np.sin(np.radians(degrees))
    wave = np.sin(2 * np.pi * frequency * along) * np.exp(-(down**2 + across**2) / (2 * (size / 6) ** 2))
    return np.repeat(wave[..., None, None], 3, axis=2)


def test_spectrum_is_the_fourier_sum_of_the_kernel_without_its_mean():
    kernels = random_kernels(4, 3, 2, 2)
    found = weights.spectrum(kernels)
    frequencies = np.fft.fftfreq(weights.GRID)
    for row, column, number in [(0, 0, 0), (1, 0, 0), (7, 60, 1), (40, 33, 1)]:
        expected = 0
        for channel in range(2):
            one = kernels[:, :, channel, number]
            places = [(y, x) for y in range(4) for x in range(3)]
            terms = [(one[y, x] - one.mean()) * np.exp(-2j * np.pi * (frequencies[row] * y + frequencies[column] * x)) for y, x in places]
            expected += abs(sum(terms)) ** 2 / weights.GRID**2
        assert found[row, column, number] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('size', [1, 3, 7, 11])
def test_bands_and_rings_share_out_all_energy_at_any_size_and_scale(size):
    kernels = random_kernels(size, size, 3, 5) + 0.3
    bands, rings = weights.bands(kernels), weights.radial_histogram(kernels)
    np.testing.assert_allclose(sum(bands), 1)
    np.testing.assert_allclose(bands.constant + rings.sum(0), 1)
    limits = [int(32 * limit) for limit in weights.LIMITS]
    for part, ring in zip(bands[1:], np.split(rings, limits), strict=True):
        np.testing.assert_allclose(part, ring.sum(0), atol=1e-12)
    np.testing.assert_allclose(weights.bands(1e-4 * kernels), bands)
    means = kernels.mean((0, 1))
    np.testing.assert_allclose(bands.constant, size**2 * (means**2).sum(0) / (kernels**2).sum((0, 1, 2)))


@pytest.mark.parametrize(('frequency', 'band'), [(0.06, 'low'), (0.18, 'mid'), (0.4, 'high'), (0.5, 'high')])
@pytest.mark.parametrize('degrees', [0, 45, 70])
def test_a_grating_falls_into_its_band_and_ring(frequency, band, degrees):
    kernel = grating(frequency, degrees)
    if frequency == 0.5:  # a sine at the highest frequency of a row is zero at each pixel
        kernel = np.resize([1.0, -1.0], (9, 9, 1, 1))
    assert getattr(weights.bands(kernel), band)[0] > 0.97
    rings = weights.radial_histogram(kernel)[:, 0]
    if frequency < 0.5:
        middle = rings @ (weights.EDGES[1:] + weights.EDGES[:-1]) / 2 / rings.sum()
        assert middle == pytest.approx(frequency, abs=0.01)


def test_a_constant_filter_is_all_constant_and_a_dead_one_shares_out_nothing():
    kernels = np.stack([np.full((5, 5, 3), 2.0), np.zeros((5, 5, 3))], axis=-1)
    np.testing.assert_allclose(weights.bands(kernels), [[1, np.nan], [0, np.nan], [0, np.nan], [0, np.nan]], atol=1e-12)
    assert np.isnan(weights.radial_histogram(kernels)[:, 1]).all()
    assert np.isnan(weights.orientation(kernels).selectivity).all()
    assert np.isnan(weights.colour_share(kernels)).tolist() == [False, True]


@pytest.mark.parametrize('degrees', [0, 30, 90, 135, 179])
def test_orientation_of_a_grating(degrees):
    found = weights.orientation(grating(0.2, degrees))
    assert (found.angle[0] - degrees + 90) % 180 == pytest.approx(90, abs=0.5)
    assert found.selectivity[0] > 0.9


def test_orientation_turns_with_the_filter_and_a_round_one_has_none():
    kernels = random_kernels(7, 7, 3, 6)
    upright, turned = weights.orientation(kernels), weights.orientation(np.rot90(kernels))
    np.testing.assert_allclose((upright.angle + 90) % 180, turned.angle, atol=1e-9)
    np.testing.assert_allclose(upright.selectivity, turned.selectivity)
    assert (upright.selectivity > 0.01).all()
    mirrored = weights.orientation(kernels[:, ::-1])
    np.testing.assert_allclose((180 - upright.angle) % 180, mirrored.angle, atol=1e-9)
    dot = np.zeros((5, 5, 1, 1))
    dot[2, 2] = 1
    assert weights.orientation(dot).selectivity[0] < 1e-12


def test_colour_share_is_the_energy_off_the_grey_axis():
    colours = np.array([[1, 1, 1], [1, -1, 0], [0, 1, 0], [1, 1, -2]], float)
    kernels = random_kernels(5, 5, 1, 4) * colours.T
    np.testing.assert_allclose(weights.colour_share(kernels), [0, 1, 2 / 3, 1], atol=1e-12)
    kernels = random_kernels(3, 3, 3, 4)
    chromatic = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])
    expected = [sum((axis @ kernels[y, x, :, o]) ** 2 for axis in chromatic for y in range(3) for x in range(3)) for o in range(4)]
    np.testing.assert_allclose(weights.colour_share(kernels), expected / (kernels**2).sum((0, 1, 2)))


def test_norm_spread():
    kernels = np.ones((3, 3, 2, 5)) * [1, 1, 2, 1, 5]
    np.testing.assert_allclose(weights.rms(kernels), [1, 1, 2, 1, 5])
    assert weights.norm_spread(kernels) == pytest.approx((5, np.std([1, 1, 2, 1, 5]) / 2))
    assert weights.norm_spread(7 * kernels) == pytest.approx(weights.norm_spread(kernels))
    assert weights.norm_spread(kernels * [0, 0, 0, 1, 1])[0] == np.inf
    assert np.isnan(weights.norm_spread(0 * kernels)).all()


@pytest.mark.parametrize('shape', [(3, 3, 4), (3, 3, 0, 4), (66, 66, 1, 1)])
def test_what_are_no_kernels_is_refused(shape):
    with pytest.raises(ValueError, match='kernels have shape'):
        weights.bands(np.ones(shape))
    with pytest.raises(ValueError, match='three input maps'):
        weights.colour_share(np.ones((3, 3, 2, 4)))


# ---- what kernels of a size can have in the mid band


def mid_of_what_varies(flat, height, width):
    """The share by the Fourier transform of the kernel, by no quadratic form."""
    kernel = flat.reshape(height, width) - flat.mean()
    power = np.square(np.abs(np.fft.fft2(kernel, (weights.GRID, weights.GRID))))
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(weights.GRID), np.fft.fftfreq(weights.GRID)))
    low, high = weights.LIMITS
    return power[(radius >= low) & (radius < high)].sum() / power.sum()


@pytest.mark.parametrize(('height', 'width'), [(2, 2), (3, 3), (2, 4), (4, 4)])
@pytest.mark.slow
def test_no_filter_found_by_ascent_or_descent_leaves_the_range_of_its_size(height, width):
    least, random, most = weights.mid_range(height, width)
    ends = {}
    for sign in (1, -1):
        starts = np.random.default_rng(3).normal(size=(4, height * width))
        found = [optimize.minimize(lambda flat, sign=sign: -sign * mid_of_what_varies(flat, height, width), start) for start in starts]
        ends[sign] = max(-one.fun for one in found)
    assert (ends[1], -ends[-1]) == pytest.approx((most, least), abs=2e-4)
    drawn = [mid_of_what_varies(flat, height, width) for flat in np.random.default_rng(4).normal(size=(2000, height * width))]
    assert random == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(2000))


def test_the_largest_share_differs_between_sizes():
    assert [round(weights.mid_range(size, size).most, 2) for size in (3, 5, 7, 11)] == [0.33, 0.67, 0.79, 0.96]
    assert np.isnan(weights.mid_range(1, 1)).all()
    with pytest.raises(ValueError, match='1 to 65 px'):
        weights.mid_range(3, 66)


def extreme(size, sign):
    """A filter with the largest (1) or the smallest (-1) share in mid of what varies, by power iteration on images of the band."""
    rng, radius = np.random.default_rng(5), np.hypot(*np.meshgrid(np.fft.fftfreq(65), np.fft.fftfreq(65)))
    inside = (radius >= 1 / 8) & (radius < 1 / 4)
    kernel = rng.normal(size=(size, size))
    for _ in range(1000):
        passed = np.fft.ifft2(np.fft.fft2(kernel, (65, 65)) * inside).real[:size, :size]
        kernel = passed if sign > 0 else kernel - passed
        kernel = (kernel - kernel.mean()) / np.linalg.norm(kernel - kernel.mean())
    return np.repeat(kernel[..., None, None], 3, axis=2)


@pytest.mark.parametrize('size', [2, 3, 5, 7])
@pytest.mark.slow
def test_coverage_has_the_same_ends_and_the_same_middle_at_every_size(size):
    def coverage(kernels):
        return weights.mid_coverage(weights.bands(kernels), size, size)

    best, worst, drawn = extreme(size, 1), extreme(size, -1), random_kernels(size, size, 3, 4000)
    assert coverage(best) == pytest.approx(1, abs=1e-3) and coverage(worst) == pytest.approx(-1, abs=1e-3)
    assert abs(coverage(drawn)) < 0.02
    assert coverage(best + 5) == pytest.approx(coverage(best)) and coverage(-3 * best) == pytest.approx(coverage(best))
    least, random, most = weights.mid_range(size, size)
    half = coverage(np.concatenate([best, worst], axis=3))
    share = (least + most) / 2
    assert half == pytest.approx((share - random) / (most - random if share > random else random - least), abs=2e-3)


def test_coverage_of_what_does_not_vary_is_no_number():
    shares = weights.bands(np.concatenate([random_kernels(3, 3, 3, 2), np.full((3, 3, 3, 1), 0.1)], axis=3))
    assert np.isnan(weights.mid_coverage(shares, 3, 3)) and np.isfinite(weights.mid_coverage(weights.Bands(*np.array(shares)[:, :2]), 3, 3))
    assert np.isnan(weights.mid_coverage(weights.bands(np.zeros((3, 3, 3, 2))), 3, 3))
    assert np.isnan(weights.mid_coverage(weights.bands(np.ones((1, 1, 3, 2))), 1, 1))
