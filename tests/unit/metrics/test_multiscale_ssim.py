"""MS-SSIM against independent code, its definition written out, and what it must not do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import MultiScaleSSIMMetric
from pytorch_msssim import ms_ssim as peer_ms_ssim
from scipy.ndimage import correlate1d, gaussian_filter

from genmorph.errors import MeasurementError
from genmorph.metrics.multiscale_ssim import (
    WEIGHTS,
    definition,
    ms_ssim,
    scale_moments,
)

# grids of the papers and the window that fits
PAPER_GRIDS = {
    (64, 64, 64): 3,
    (80, 96, 80): 5,
    (128, 128, 128): 7,
    (160, 224, 160): 9,
    (192, 256, 192): 11,
    (256, 256, 256): 11,
}


def pair(shape, seed=0, noise=0.2):
    """Two volumes in [0, 1] that share structure at every scale, with an empty border."""
    rng = np.random.default_rng(seed)
    fine = rng.random(shape, dtype=np.float32)
    volume = fine.copy()
    for size in (4, 16):
        coarse = rng.random([-(-side // size) for side in shape], dtype=np.float32)
        for axis in range(3):
            coarse = coarse.repeat(size, axis)
        volume += coarse[tuple(slice(side) for side in shape)]
    volume /= 3
    volume[:, : shape[1] // 8] = 0
    other = (1 - noise) * volume + noise * rng.random(shape, dtype=np.float32)
    return volume, other.astype(np.float32)


def value(first, second, **options):
    how = definition(first.shape, **options)
    return ms_ssim(scale_moments(first, how), scale_moments(second, how), how)


def tensors(*volumes, double=False):
    kind = torch.float64 if double else torch.float32
    return [torch.from_numpy(volume).to(kind)[None, None] for volume in volumes]


def pooled(volume):
    """Means of 2x2x2 voxels, an odd last plane left out."""
    x, y, z = (2 * (side // 2) for side in volume.shape)
    return volume[:x, :y, :z].reshape(x // 2, 2, y // 2, 2, z // 2, 2).mean((1, 3, 5))


# -- mode wang -------------------------------------------------------------------------------------


def test_equals_pytorch_msssim_with_eleven_taps():
    first, second = pair((176, 176, 176))
    found = value(first, second, mode="wang", data_range=1.0)
    assert found == pytest.approx(
        peer_ms_ssim(*tensors(first, second), data_range=1.0).item(), abs=1e-5
    )
    assert 0.3 < found < 0.99


@pytest.mark.parametrize(
    ("shape", "taps"), [((48, 64, 80), 3), ((64, 64, 64), 3), ((80, 96, 80), 5)]
)
@pytest.mark.parametrize("data_range", [1.0, 1.5])
def test_equals_pytorch_msssim_with_the_window_that_fits(shape, taps, data_range):
    first, second = pair(shape)
    assert definition(shape, mode="wang", data_range=data_range).taps == taps
    peer = peer_ms_ssim(
        *tensors(first, second, double=True), data_range=data_range, win_size=taps
    ).item()
    assert value(first, second, mode="wang", data_range=data_range) == pytest.approx(peer, abs=2e-6)


def test_equals_monai_with_the_window_that_fits():
    first, second = pair((96, 80, 88))
    peer = MultiScaleSSIMMetric(spatial_dims=3, data_range=1.0, kernel_size=5)
    found = value(first, second, mode="wang", data_range=1.0)
    assert found == pytest.approx(peer(*tensors(first, second)).item(), abs=1e-5)


def wang_written_out(first, second, data_range, taps, scales):
    """The definition in double precision, with scipy's correlation."""
    offsets = np.arange(taps) - taps // 2
    window = np.exp(-0.5 * (offsets / 1.5) ** 2)
    window /= window.sum()
    inside = (slice(taps // 2, -(taps // 2)),) * 3

    def mean(volume):
        for axis in range(3):
            volume = correlate1d(volume, window, axis=axis)
        return volume[inside]

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333][:scales])
    weights /= weights.sum()
    a, b = first.astype(float), second.astype(float)
    result = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            a, b = pooled(a), pooled(b)
        mean_a, mean_b = mean(a), mean(b)
        variances = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
        terms = (2 * (mean(a * b) - mean_a * mean_b) + c2) / (variances + c2)
        if scale == scales - 1:
            terms *= (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        result *= terms.mean() ** weight
    return result


@pytest.mark.parametrize(
    ("shape", "taps", "scales"),
    [((47, 60, 50), 5, 4), ((24, 30, 25), 3, 4), ((6, 9, 8), 3, 2), ((3, 4, 5), 3, 1)],
)
def test_small_grids_have_fewer_scales_with_weights_that_sum_to_one(shape, taps, scales):
    how = definition(shape, mode="wang", data_range=1.0)
    assert (how.taps, len(how.weights)) == (taps, scales)
    assert math.fsum(how.weights) == pytest.approx(1, abs=1e-12)
    assert how.settings["scales"] == scales
    first, second = pair(shape)
    expected = wang_written_out(first, second, 1.0, taps, scales)
    assert value(first, second, mode="wang", data_range=1.0) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(("shape", "taps"), list(PAPER_GRIDS.items()))
def test_every_grid_of_the_papers_has_five_scales(shape, taps):
    how = definition(shape, mode="wang", data_range=1.0)
    assert (how.taps, how.weights) == (taps, WEIGHTS)
    assert how.settings["window_taps"] == taps
    assert min(shape) >> 4 >= taps
    assert definition(shape, mode="kwon", data_range=1.0).settings["window_taps"] == 13


def test_intensities_may_be_brought_to_another_range():
    first, second = pair((48, 64, 48))
    shifted = [2 * volume.astype(float) - 1 for volume in (first, second)]
    peer = peer_ms_ssim(*tensors(*shifted, double=True), data_range=2.0, win_size=3).item()
    found = value(first, second, mode="wang", data_range=2.0, intensity_range=(-1, 1))
    assert found == pytest.approx(peer, abs=2e-6)
    assert abs(found - value(first, second, mode="wang", data_range=1.0)) > 1e-3


def test_a_negative_term_counts_as_zero_in_wang():
    first, _ = pair((48, 48, 48))
    opposite = 1 - first
    assert peer_ms_ssim(*tensors(first, opposite), data_range=1.0, win_size=3).item() == 0
    assert value(first, opposite, mode="wang", data_range=1.0) == 0


# -- mode kwon -------------------------------------------------------------------------------------


def kwon_written_out(first, second, coarsest_power=4):
    """The sums of papers.md A4 in double precision, on volumes as they are given."""
    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
    a, b = first.astype(float), second.astype(float)
    structures, similarity = [], 0.0
    for scale in range(5):
        if scale:
            a, b = pooled(a), pooled(b)
        mean_a, mean_b = gaussian_filter(a, 1.5), gaussian_filter(b, 1.5)
        var_a = gaussian_filter(a * a, 1.5) - mean_a**2
        var_b = gaussian_filter(b * b, 1.5) - mean_b**2
        covariance = gaussian_filter(a * b, 1.5) - mean_a * mean_b
        structure = (2 * covariance + 9e-4) / (var_a + var_b + 9e-4)
        luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        structures.append(structure.mean())
        similarity = (structure * luminance).mean()
    if coarsest_power == 4:
        return np.prod(
            [structures[scale] ** weights[scale] * similarity ** weights[4] for scale in range(4)]
        )
    fine = [structures[scale] ** weights[scale] for scale in range(4)]
    return np.prod([*fine, similarity ** weights[4]])


@pytest.mark.parametrize("shape", [(64, 64, 64), (80, 96, 80), (33, 47, 20), (16, 16, 16)])
@pytest.mark.parametrize("power", [4, 1])
def test_kwon_equals_its_code_written_out(shape, power):
    first, second = pair(shape)
    kwon = {"mode": "kwon", "data_range": 1.0, "coarsest_power": power}
    as_given = kwon_written_out(first, second, power)
    assert value(first, second, **kwon) == pytest.approx(as_given, abs=2e-6)
    doubled = kwon_written_out(2 * first - 1, 2 * second - 1, power)
    assert value(first, second, **kwon, intensity_range=(-1, 1)) == pytest.approx(doubled, abs=5e-6)
    assert abs(doubled - as_given) > 1e-3


def test_kwon_is_not_ms_ssim_and_its_default_is_what_its_code_does():
    first, second = pair((64, 64, 64), noise=0.6)
    default, four, one = (
        value(first, second, mode="kwon", data_range=1.0, coarsest_power=power)
        for power in (None, 4, 1)
    )
    assert default == four < one - 0.01


def test_a_negative_term_has_no_value_in_kwon():
    first, _ = pair((48, 48, 48))
    assert math.isnan(value(first, 1 - first, mode="kwon", data_range=1.0))


# -- both ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["wang", "kwon"])
def test_equal_volumes_are_at_one_and_order_does_not_matter(mode):
    first, second = pair((48, 64, 56))
    assert value(first, first, mode=mode, data_range=1.0) == pytest.approx(1, abs=1e-6)
    forth = value(first, second, mode=mode, data_range=1.0)
    assert forth == value(second, first, mode=mode, data_range=1.0) < 0.999
    assert value(first, pair(first.shape, noise=0.5)[1], mode=mode, data_range=1.0) < forth


@pytest.mark.parametrize("mode", ["wang", "kwon"])
def test_axes_are_treated_alike(mode):
    first, second = pair((48, 64, 56))
    turned = [np.ascontiguousarray(volume.transpose(2, 0, 1)) for volume in (first, second)]
    assert value(*turned, mode=mode, data_range=1.0) == pytest.approx(
        value(first, second, mode=mode, data_range=1.0), abs=1e-6
    )


@pytest.mark.parametrize(
    ("shape", "options", "match"),
    [
        ((2, 64, 64), {"mode": "wang"}, "axis of 2 voxels"),
        ((15, 64, 64), {"mode": "kwon"}, "axis of 15 voxels"),
        ((64, 64), {"mode": "wang"}, "three axes"),
        ((64, 64, 64), {"mode": "wong"}, "did you mean 'wang'"),
        ((64, 64, 64), {"mode": "wang", "data_range": 0.0}, "data range 0.0"),
        ((64, 64, 64), {"mode": "wang", "data_range": math.nan}, "data range nan"),
        ((64, 64, 64), {"mode": "wang", "intensity_range": (1, -1)}, "the lower first"),
        ((64, 64, 64), {"mode": "wang", "coarsest_power": 4}, "belongs to mode kwon"),
        ((64, 64, 64), {"mode": "kwon", "coarsest_power": 2}, "coarsest power 2"),
    ],
)
def test_what_is_not_defined_is_an_error(shape, options, match):
    with pytest.raises(MeasurementError, match=match):
        definition(shape, **{"data_range": 1.0, **options})


def test_moments_of_another_grid_are_an_error():
    how = definition((48, 48, 48), mode="wang", data_range=1.0)
    with pytest.raises(MeasurementError, match=r"\(48, 48, 47\) on the grid"):
        scale_moments(np.zeros((48, 48, 47), dtype=np.float32), how)
