"""Smoothing, the mask, and the measure as a whole."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.vbm import analysis_mask, measure_vbm, peaks, smooth
from genmorph.metrics.vbm_inference import over_threshold
from genmorph.metrics.vbm_moments import moments
from genmorph.metrics.vbm_statistics import TMap, two_sample

GRID = (8, 9, 7)
AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, -20], [0, 0, 2, -30], [0, 0, 0, 1]])
LOSS = (3, 4, 2)


def group(side, people, loss=0.0, seed=0):
    """Half of the grid is gray matter; some people have less of it around one voxel."""
    rng = np.random.default_rng([seed, people, len(side)])
    maps = {}
    for number in range(people):
        volume = np.zeros(GRID, dtype=np.float32)
        volume[:, :, :4] = 0.6 + 0.05 * rng.standard_normal((*GRID[:2], 4))
        volume[LOSS] -= loss
        maps[f"{side}-{number:03d}"] = volume
    return maps


# -- smoothing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fwhm_mm", "voxel_mm"), [(8, 1.5), (4, 1.0), (6, (1, 2, 3))])
def test_smoothing_keeps_the_sum_and_equals_nilearn(fwhm_mm, voxel_mm):
    import nibabel as nib
    from nilearn.image import smooth_img

    volume = np.zeros((41, 42, 43), dtype=np.float32)
    volume[17:24, 18:23, 20] = np.random.default_rng(0).random((7, 5))
    found = smooth(volume, fwhm_mm, voxel_mm)
    assert found.sum(dtype=float) == pytest.approx(volume.sum(dtype=float), rel=1e-3)
    affine = np.diag([*np.broadcast_to(voxel_mm, 3), 1.0])
    expected = smooth_img(nib.Nifti1Image(volume, affine), fwhm_mm).get_fdata()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


def test_half_of_the_maximum_lies_half_a_width_away():
    volume = np.zeros((33, 33, 33), dtype=np.float32)
    volume[16, 16, 16] = 1
    found = smooth(volume, 8, 1.0)
    assert found[20, 16, 16] / found[16, 16, 16] == pytest.approx(0.5, rel=1e-3)


def test_no_smoothing_and_bad_widths():
    volume = np.ones(GRID)
    np.testing.assert_array_equal(smooth(volume, 0, 1), volume)
    for fwhm_mm, voxel_mm in ((-1, 1), (math.nan, 1), (8, 0), (8, (1, 1, -1))):
        with pytest.raises(MeasurementError, match="smoothing of"):
            smooth(volume, fwhm_mm, voxel_mm)
    volume[0, 0, 0] = np.nan
    with pytest.raises(MeasurementError, match="not finite"):
        smooth(volume, 8, 1)


# -- the mask --------------------------------------------------------------------------------------


def test_mask_gives_each_group_the_same_weight():
    few = {"sub-1": np.full(GRID, 0.3)}
    many = {f"sub-{number}": np.zeros(GRID) for number in range(2, 12)}
    assert analysis_mask((few, many), 0.1).all()  # the mean over all 11 is 0.027
    with pytest.raises(MeasurementError, match="mask is empty"):
        analysis_mask((few, many), 0.2)


def test_mask_by_hand():
    maps = {"sub-1": np.zeros(GRID), "sub-2": np.zeros(GRID)}
    maps["sub-1"][0, 0, 0], maps["sub-2"][0, 0, 0] = 0.5, 0.1
    maps["sub-1"][1, 0, 0] = 0.2  # mean 0.1: the threshold must be exceeded
    found = analysis_mask([maps], 0.1)
    assert found.sum() == 1 and found[0, 0, 0]
    np.testing.assert_array_equal(analysis_mask([moments(maps)], 0.1), found)


def test_mask_of_other_grids_or_of_parts():
    maps = group("sub", 2)
    with pytest.raises(MeasurementError, match="grids"):
        analysis_mask([maps, {"sub-x": np.ones((2, 2, 2))}])
    with pytest.raises(MeasurementError, match="all voxels"):
        analysis_mask([moments(maps, next(iter(maps.values())) > 0)])


# -- the measure -----------------------------------------------------------------------------------


@pytest.mark.parametrize("correction", ["uncorrected", "false discovery rate", "family-wise"])
def test_a_planted_loss_is_found_where_it_is(correction):
    generated, reference = group("sample", 12, loss=0.4), group("sub", 14)
    t_map, found = measure_vbm(
        generated, reference, AFFINE, correction=correction, permutations=200
    )
    values = found.values
    expected = stats.ttest_ind(
        [volume[LOSS] for volume in generated.values()],
        [volume[LOSS] for volume in reference.values()],
        equal_var=False,
    ).statistic
    assert values["peak_t"] == values["least_t"] < -10
    assert values["peak_t"] == pytest.approx(expected, rel=0.01)  # low variance corrected
    place = [values[f"peak_{axis}_mm"] for axis in "xyz"]
    assert place == [2 * 3 - 10, 2 * 4 - 20, 2 * 2 - 30]
    over = over_threshold(t_map, values)
    assert over[LOSS] and values["voxels_over"] == over.sum() <= 4
    assert values["voxels_over_positive"] + values["voxels_over_negative"] == over.sum()
    assert values["ml_over"] == pytest.approx(over.sum() * 8 / 1000)
    assert found.n == {
        "generated_scans": 12,
        "reference_scans": 14,
        "reference_people": 14,
        "mask_voxels": 8 * 9 * 4,
    }
    assert found.settings["contrast"] == "generated - reference"
    assert found.settings["correction"] == correction
    if correction == "family-wise":
        assert values["peak_p_corrected"] == pytest.approx(1 / 200)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert Measurement.from_json(content) == Measurement.from_json(found.to_json())


def test_the_measure_reads_each_map_of_two_samples_once():
    class Counted(dict):
        reads = 0

        def __getitem__(self, key):
            self.reads += 1
            return super().__getitem__(key)

    generated, reference = Counted(group("sample", 6)), Counted(group("sub", 7))
    measure_vbm(generated, reference, AFFINE)
    assert (generated.reads, reference.reads) == (6 + 1, 7 + 1)  # once more for the grid


def test_the_mask_can_be_given():
    mask = np.zeros(GRID, dtype=bool)
    mask[2:5] = True
    mask[:, :, 4:] = False
    sides = group("sample", 5), group("sub", 6)
    t_map, found = measure_vbm(*sides, AFFINE, mask=mask, variance="pooled")
    expected = two_sample(*sides, mask=mask, variance="pooled")
    np.testing.assert_array_equal(t_map.t, expected.t)
    assert found.settings["mask"] == "given"
    other = measure_vbm(*sides, AFFINE, mask=np.roll(mask, 1, axis=0), variance="pooled")[1]
    assert other.settings["mask_sha256"] != found.settings["mask_sha256"]
    assert "mask_sha256" not in measure_vbm(*sides, AFFINE)[1].settings


def test_reconstructions_against_their_originals():
    originals = group("sub", 10)
    rng = np.random.default_rng(0)
    made = {
        scan_id: (volume - 0.02 * (volume > 0) + 0.005 * rng.standard_normal(GRID)).astype("f4")
        for scan_id, volume in originals.items()
    }
    t_map, strict = measure_vbm(made, originals, AFFINE, design="paired")
    assert t_map.settings["design"] == "paired" and t_map.degrees_of_freedom == 9
    _, loose = measure_vbm(made, originals, AFFINE)
    # a bias of a third of the SD between people: pairs show it, two samples hardly do
    assert strict.values["voxels_over_negative"] > 0.8 * strict.n["mask_voxels"]
    assert loose.values["voxels_over"] < 0.1 * loose.n["mask_voxels"]
    assert loose.notes == (
        "10 people are on both sides, which the test of two samples takes for different people; "
        "the paired test does not.",
    )
    assert strict.notes == ()


@pytest.mark.parametrize("design", ["two_sample", "paired"])
def test_one_scan_or_no_variance_is_not_applicable(design):
    one = group("sub", 1)
    sides = (one, one) if design == "paired" else (group("sample", 5), one)
    t_map, found = measure_vbm(*sides, AFFINE, design=design)
    assert t_map is None and found.values == {}
    assert found.notes[-1].startswith("n/a: VBM: ") and "at least two" in found.notes[-1]
    same = {f"sub-{number}": one["sub-000"] for number in range(4)}
    t_map, found = measure_vbm(same, same, AFFINE, design=design)
    assert t_map is None and "n/a: VBM: no voxel of the mask varies" in found.notes[-1]
    assert found.settings["design"] == design and found.n["reference_scans"] == 4


def test_a_threshold_out_of_reach_is_not_applicable():
    _, found = measure_vbm(
        group("sample", 2), group("sub", 2), AFFINE, correction="family-wise", mask_threshold=0.2
    )
    assert "No threshold: 6 permutations cannot reach p of 0.05" in found.notes[0]
    assert "voxels_over" not in found.values and "peak_t" in found.values


def test_voxels_without_variance_are_counted():
    sides = group("sample", 4), group("sub", 4)
    for volume in (*sides[0].values(), *sides[1].values()):
        volume[:2, 0, 0] = 0.5
    _, found = measure_vbm(*sides, AFFINE)
    assert found.notes == ("t is not defined in 2 voxels of the mask, which do not vary.",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"design": "pairs"}, "did you mean 'paired'"),
        ({"correction": "fdr"}, "correction 'fdr'"),
        ({"variance": "welch"}, "variance 'welch'"),
        ({"level": 0.0}, "level 0"),
        ({"mask_threshold": 2.0}, "mask is empty"),
        ({"design": "paired"}, "only one side has"),
        ({"generated": {}}, "no maps"),
        ({"generated": {"sample-1": np.ones((2, 2, 2))}}, "grids"),
        ({"generated": {"sample-1": np.full(GRID, np.nan)}}, "sample-1: .*not finite"),
    ],
)
def test_bad_input(change, message):
    arguments = {"generated": group("sample", 4), "reference": group("sub", 4)} | change
    with pytest.raises(MeasurementError, match=message):
        measure_vbm(**arguments, affine=AFFINE)


def test_peaks_by_hand():
    t = np.full((2, 2, 2), np.nan)
    t[0, 0, 0], t[1, 0, 1], t[0, 1, 1] = 3.0, -2.0, 1.0
    t_map = TMap(t, 4.0, t, np.isfinite(t), {}, {})
    assert peaks(t_map, AFFINE) == {
        "greatest_t": 3, "greatest_x_mm": -10, "greatest_y_mm": -20, "greatest_z_mm": -30,
        "least_t": -2, "least_x_mm": -8, "least_y_mm": -20, "least_z_mm": -28,
        "peak_t": 3, "peak_x_mm": -10, "peak_y_mm": -20, "peak_z_mm": -30,
    }  # fmt: skip
