"""Reconstruction measures and SSIM: constructed volumes and independent references."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from genmorph.errors import MeasurementError
from genmorph.metrics.diversity import choose_pairs, measure_diversity
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.reconstruction import brain_mask, compare, measure_reconstruction
from genmorph.metrics.ssim import local_moments, ssim_map, window_taps


def brute_force_ssim(first, second, data_range, taps, sigma):
    """Definition written out: a weighted sum over the window of every voxel."""
    reach = taps // 2
    offsets = np.arange(-reach, reach + 1)
    line = np.exp(-0.5 * (offsets / sigma) ** 2)
    window = np.einsum("i,j,k->ijk", line, line, line)
    window /= window.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    padded = [np.pad(side.astype(float), reach, mode="symmetric") for side in (first, second)]
    result = np.empty(first.shape)
    for voxel in itertools.product(*map(range, first.shape)):
        a, b = (side[tuple(slice(i, i + taps) for i in voxel)] for side in padded)
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        var_a = (window * (a - mean_a) ** 2).sum()
        var_b = (window * (b - mean_b) ** 2).sum()
        covariance = (window * (a - mean_a) * (b - mean_b)).sum()
        result[voxel] = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
            (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
        )
    return result


@pytest.mark.parametrize(("shape", "taps"), [((11, 13, 12), 11), ((6, 7, 9), 5)])
def test_ssim_equals_its_definition(shape, taps):
    rng = np.random.default_rng(0)
    first = rng.random(shape)
    second = 0.7 * first + 0.3 * rng.random(shape)
    assert window_taps(shape) == taps
    expected = brute_force_ssim(first, second, 1.5, taps, sigma=1.5 * taps / 11)
    np.testing.assert_allclose(ssim_map(first, second, data_range=1.5), expected, atol=1e-12)


def test_ssim_equals_scikit_image():
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(1)
    first, second = rng.random((2, 14, 16, 12))
    mean, expected = structural_similarity(
        first,
        second,
        data_range=1.0,
        gaussian_weights=True,
        use_sample_covariance=False,
        full=True,
    )
    found = ssim_map(first, second, data_range=1.0)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found[5:-5, 5:-5, 5:-5].mean() == pytest.approx(mean)


def test_ssim_of_equal_volumes_is_one_and_of_shared_moments_the_same():
    first, second = np.random.default_rng(0).random((2, 8, 9, 7))
    assert ssim_map(first, first, data_range=1.0) == pytest.approx(1)
    np.testing.assert_array_equal(
        ssim_map(local_moments(first), local_moments(second), data_range=1.0),
        ssim_map(first, second, data_range=1.0),
    )


def test_ssim_needs_a_range_and_one_grid():
    volume = np.ones((4, 5, 6))
    with pytest.raises(MeasurementError, match="data range"):
        ssim_map(volume, volume, data_range=0.0)
    with pytest.raises(MeasurementError, match="SSIM of volumes"):
        ssim_map(volume, volume[1:], data_range=1.0)


# -- reconstruction --------------------------------------------------------------------------------


@pytest.fixture
def scan():
    """A brain of 0.5 in one corner of the grid, with a hole inside."""
    volume = np.zeros((8, 9, 10), np.float32)
    volume[1:6, 2:7, 3:8] = 0.5
    volume[3, 4, 5] = 0
    return volume


def test_the_hole_belongs_to_the_brain(scan):
    mask = brain_mask(scan)
    assert mask[3, 4, 5] and mask.sum() == 125


def test_known_differences(scan):
    found = compare(scan, scan + np.float32(0.1) * brain_mask(scan), data_range=1.5)
    assert found["l2_brain"] == pytest.approx(0.01)
    assert found["l2"] == pytest.approx(0.01 * 125 / 720)
    assert found["l1_brain"] == pytest.approx(0.1)
    assert found["l1"] == pytest.approx(0.1 * 125 / 720)
    # 10 log10(1.5² / 0.01)
    assert found["psnr_brain"] == pytest.approx(23.5218, abs=1e-4)
    assert found["psnr"] == pytest.approx(10 * math.log10(2.25 / found["l2"]))
    assert found["ssim_brain"] < found["ssim"] < 1


@pytest.mark.parametrize("data_range", [1.0, 1.5])
def test_psnr_equals_scikit_image(scan, data_range):
    from skimage.metrics import peak_signal_noise_ratio

    noisy = scan + 0.1 * np.random.default_rng(3).normal(size=scan.shape)
    found = compare(scan, noisy, data_range=data_range)
    expected = peak_signal_noise_ratio(scan.astype(float), noisy, data_range=data_range)
    assert found["psnr"] == pytest.approx(expected, rel=1e-9)


def test_range_of_the_paper_is_implied_by_its_table():
    """L2 0.047 and PSNR 16.81 (M3AE), 0.045 and 16.99 (βVAE), 0.137 and 12.21 (αWGAN)."""
    from genmorph.metrics.reconstruction import PAPER_DATA_RANGE, psnr

    for l2, reported in ((0.047, 16.81), (0.045, 16.99), (0.137, 12.21)):
        assert psnr(l2, PAPER_DATA_RANGE) == pytest.approx(reported, abs=0.07)


def test_mean_and_spread_over_scans(scan):
    mask = brain_mask(scan)
    pairs = [
        ("sub-1_ses-1", scan, scan + np.float32(0.1) * mask),
        ("sub-1_ses-2", scan, scan + np.float32(0.3) * mask),
    ]
    found = measure_reconstruction(iter(pairs))
    assert found.values["l1_brain"] == pytest.approx(0.2)
    assert found.spread["l1_brain"] == pytest.approx(0.1 * math.sqrt(2))
    assert found.per_scan["sub-1_ses-2"]["l1_brain"] == pytest.approx(0.3)
    assert found.n == {"scans": 2, "reference_scans": 2, "reference_people": 1}
    assert found.settings["data_range"] == 1.5
    assert found.settings["ssim_taps"] == 7


def test_a_perfect_reconstruction_has_no_psnr(scan):
    found = measure_reconstruction([("sub-1", scan, scan), ("sub-2", scan, scan * 0.9)])
    assert "psnr" not in found.values and "psnr" not in found.per_scan["sub-1"]
    assert any("psnr is not defined" in note and "sub-1" in note for note in found.notes)
    assert found.values["l2"] > 0


def test_what_cannot_be_compared_is_an_error_that_names_the_scan(scan):
    with pytest.raises(MeasurementError, match="sub-1: original"):
        measure_reconstruction([("sub-1", scan, scan[1:])])
    with pytest.raises(MeasurementError, match="sub-2: the original is zero"):
        measure_reconstruction([("sub-1", scan, scan), ("sub-2", 0 * scan, scan)])
    with pytest.raises(MeasurementError, match="sub-1: a voxel is not finite"):
        measure_reconstruction([("sub-1", scan, scan * np.nan)])
    with pytest.raises(MeasurementError, match="no pairs"):
        measure_reconstruction([])


# -- diversity -------------------------------------------------------------------------------------


def test_pairs_of_samples():
    rng = np.random.default_rng(0)
    volumes = {f"sample-{number}": rng.random((6, 7, 8)) for number in range(4)}
    volumes["sample-4"] = volumes["sample-1"]
    found = measure_diversity(volumes.items(), data_range=1.0)
    assert found.n == {"scans": 5, "pairs": 10, "generated_scans": 5}
    assert found.values["pairwise_ssim_max"] == pytest.approx(1)
    pair = ssim_map(volumes["sample-0"], volumes["sample-3"], data_range=1.0).mean()
    assert found.values["pairwise_ssim_min"] <= pair < 0.5
    assert found.values["pairwise_ssim"] < 0.5


def test_chosen_pairs_depend_on_the_seed_alone():
    assert choose_pairs(30, 12, seed=1) == choose_pairs(30, 12, seed=1)
    assert choose_pairs(30, 12, seed=1) != choose_pairs(30, 12, seed=2)
    assert len(set(choose_pairs(30, 12, seed=1))) == 12


def test_one_sample_has_no_pair():
    found = measure_diversity([("sample-0", np.ones((4, 4, 4)))])
    assert found.values == {} and "no pair" in found.notes[0]
    with pytest.raises(MeasurementError, match="no volumes"):
        measure_diversity([])


# -- measurements ----------------------------------------------------------------------------------


def test_a_measurement_survives_its_file(scan):
    found = measure_reconstruction([("sub-1", scan, scan * 0.9), ("sub-2", scan, scan * 0.8)])
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Measurement.from_json(json.loads(text)) == found


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(MeasurementError, match="psnr"):
        Measurement(measure="m", values={"psnr": math.inf}, n={}, settings={})


def test_a_foreign_file_is_refused():
    with pytest.raises(MeasurementError, match="unknown"):
        Measurement.from_json({"measure": "m", "values": {}, "n": {}, "settings": {}, "x": 1})
    with pytest.raises(MeasurementError, match="missing"):
        Measurement.from_json({"measure": "m"})


def test_only_features_need_torch():
    """The other measures answer without it: a table or a test must not wait for its import."""
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from genmorph.metrics import diversity, features, frechet, reconstruction, ssim\n"
        "assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
