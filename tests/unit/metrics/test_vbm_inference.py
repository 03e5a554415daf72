"""Thresholds: statsmodels, scipy, enumeration by hand, and rejection rates under no difference."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter

from genmorph.errors import MeasurementError
from genmorph.metrics import vbm_inference
from genmorph.metrics.vbm_inference import (
    MaximumNull,
    false_discovery_rate,
    family_wise,
    over_threshold,
    p_values,
    permute_maximum,
    uncorrected,
)
from genmorph.metrics.vbm_statistics import paired, two_sample


def samples(seed=0, people=(7, 9), voxels=400, effect=0.0):
    rng = np.random.default_rng(seed)
    first, second = (rng.standard_normal((n, voxels)) for n in people)
    first[:, : voxels // 4] += effect
    return first, second


@pytest.mark.parametrize("variance", ["unequal", "pooled"])
def test_p_equals_scipy(variance):
    first, second = samples(effect=1.5)
    found = two_sample(first, second, variance=variance, low_variance_fraction=None)
    expected = stats.ttest_ind(first, second, equal_var=variance == "pooled").pvalue
    np.testing.assert_allclose(p_values(found), expected, rtol=1e-9)


@pytest.mark.parametrize("variance", ["unequal", "pooled"])
def test_uncorrected(variance):
    first, second = samples(effect=1.5)
    t_map = two_sample(first, second, variance=variance, low_variance_fraction=None)
    found = uncorrected(t_map, 0.01)
    expected = stats.ttest_ind(first, second, equal_var=variance == "pooled").pvalue <= 0.01
    np.testing.assert_array_equal(found.mask, expected)
    np.testing.assert_array_equal(over_threshold(t_map, found.values), expected)
    if variance == "pooled":
        np.testing.assert_array_equal(np.abs(t_map.t) >= found.values["threshold_t"], expected)
    else:  # each voxel has its own degrees of freedom, so no t stands for all
        assert "threshold_t" not in found.values


@pytest.mark.parametrize("level", [0.01, 0.05, 0.2])
def test_false_discovery_rate_equals_statsmodels(level):
    from statsmodels.stats.multitest import multipletests

    t_map = two_sample(*samples(effect=1.5))
    t_map.t[5] = np.nan
    found = false_discovery_rate(t_map, level)
    tested = t_map.tested
    expected = multipletests(p_values(t_map)[tested], alpha=level, method="fdr_bh")[0]
    assert expected.any() and not expected.all()
    np.testing.assert_array_equal(found.mask[tested], expected)
    assert not found.mask[5]
    np.testing.assert_array_equal(over_threshold(t_map, found.values), found.mask)


def test_false_discovery_rate_that_no_voxel_reaches():
    t_map = two_sample(*samples())
    found = false_discovery_rate(t_map, 1e-6)
    assert not found.mask.any() and not found.values
    assert not over_threshold(t_map, found.values).any()


@pytest.mark.parametrize("level", [0, 1, -0.1, math.nan])
def test_levels_lie_between_zero_and_one(level):
    with pytest.raises(MeasurementError, match="level"):
        uncorrected(two_sample(*samples()), level)


# -- permutation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", ["unequal", "pooled", "reml"])
@pytest.mark.parametrize("fraction", [None, 0.01])
def test_every_relabelling_equals_one_by_one(variance, fraction):
    """3 against 4 people: all 35 ways, each tested on its own."""
    first, second = (side + 20 for side in samples(people=(3, 4), voxels=30))
    options = {"variance": variance, "low_variance_fraction": fraction}
    t_map = two_sample(first, second, **options)
    null = permute_maximum(first, second, t_map, permutations=100)
    everybody = np.concatenate([first, second])
    expected = []
    for chosen in itertools.combinations(range(7), 3):
        others = [row for row in range(7) if row not in chosen]
        expected.append(
            np.abs(two_sample(everybody[list(chosen)], everybody[others], **options).t).max()
        )
    np.testing.assert_allclose(null.maxima, expected, rtol=1e-9)
    assert null.settings["permutations_drawn"] == "every way once"


@pytest.mark.parametrize("fraction", [None, 0.01])
def test_every_sign_equals_one_by_one(fraction):
    first, second = samples(people=(4, 4), voxels=30)
    t_map = paired(first, second, low_variance_fraction=fraction)
    null = permute_maximum(first, second, t_map, permutations=16)
    expected = [
        np.abs(
            paired(
                (first - second) * np.array(signs)[:, None],
                np.zeros_like(first),
                low_variance_fraction=fraction,
            ).t
        ).max()
        for signs in itertools.product((1, -1), repeat=4)
    ]
    np.testing.assert_allclose(null.maxima, expected, rtol=1e-9)


@pytest.mark.parametrize("design", [two_sample, paired])
def test_drawn_permutations(design, monkeypatch):
    first, second = samples(people=(9, 9), effect=0.8)
    t_map = design(first, second)
    null = permute_maximum(first, second, t_map, permutations=60, seed=4)
    assert len(null.maxima) == 60
    assert null.maxima[0] == pytest.approx(np.nanmax(np.abs(t_map.t)))
    again = permute_maximum(first, second, t_map, permutations=60, seed=4)
    assert null.maxima.tobytes() == again.maxima.tobytes()
    other = permute_maximum(first, second, t_map, permutations=60, seed=5)
    assert (null.maxima[1:] != other.maxima[1:]).any()
    # however many are looked at together
    monkeypatch.setattr(vbm_inference, "VALUES_AT_A_TIME", 1)
    monkeypatch.setattr(vbm_inference, "VOXELS_AT_A_TIME", 33)
    few = permute_maximum(first, second, t_map, permutations=60, seed=4)
    np.testing.assert_allclose(few.maxima, null.maxima, rtol=1e-9)


def test_labels_that_are_drawn_keep_the_numbers_of_people():
    labels, every = vbm_inference._relabellings(5, 8, 200, np.random.default_rng(0))
    assert not every
    assert labels.shape == (200, 13) and (labels.sum(axis=1) == 5).all()
    np.testing.assert_array_equal(labels[0], [1] * 5 + [0] * 8)
    # each person is in the first group equally often: 5 of 13, within 4 standard errors
    assert np.abs(labels[1:].mean(axis=0) - 5 / 13).max() < 4 * math.sqrt(5 * 8) / 13 / math.sqrt(
        199
    )


def test_threshold_and_p_of_the_maximum_by_hand():
    null = MaximumNull(np.arange(1.0, 101), {})
    # five of a hundred exceed 95
    assert null.threshold(0.05) == 95
    np.testing.assert_allclose(
        null.p_values(np.array([0.5, 95.0, 95.5, -100.0, 101.0, np.nan])),
        [1, 0.06, 0.05, 0.01, 0, np.nan],
    )
    assert null.threshold(0.009) is None


def test_too_few_permutations_leave_no_threshold():
    first, second = samples(people=(3, 3), effect=9)
    t_map = two_sample(first, second)
    found = family_wise(t_map, permute_maximum(first, second, t_map), 0.04)
    assert found.mask is None and "20 permutations" in found.reason
    # a mirrored labelling has the same |t|, so 2 of 20 is the least
    assert found.values == {"peak_p_corrected": pytest.approx(0.1)}


def test_effect_is_found_and_p_agrees_with_the_threshold():
    first, second = samples(people=(12, 12), effect=2.5)
    t_map = two_sample(first, second)
    null = permute_maximum(first, second, t_map, permutations=400)
    found = family_wise(t_map, null, 0.05)
    assert found.mask[:100].mean() > 0.5 and found.mask[100:].sum() <= 2
    np.testing.assert_array_equal(found.mask, null.p_values(t_map.t) <= 0.05)
    np.testing.assert_array_equal(over_threshold(t_map, found.values), found.mask)


def test_people_not_scans_change_sides():
    """Two scans of a person that are alike are one person: 2 against 2 has 6 ways, not 70."""
    rng = np.random.default_rng(0)
    maps = [
        {f"sub-{side}{who}_ses-{ses}": volume for ses in (1, 2)}
        for side in "ab"
        for who, volume in enumerate(rng.standard_normal((2, 3, 3, 3)))
    ]
    first, second = maps[0] | maps[1], maps[2] | maps[3]
    null = permute_maximum(first, second, two_sample(first, second))
    assert len(null.maxima) == 6


@pytest.mark.parametrize(("design", "people"), [("unequal", 5), ("pooled", 5), ("paired", 7)])
def test_family_wise_rate_under_no_difference(design, people):
    """Smooth noise, 300 cohorts: 5 % rejected, give or take 3 standard errors."""
    rng = np.random.default_rng(1)
    cohorts, rejected = 300, 0
    for cohort in range(cohorts):
        noise = rng.standard_normal((2 * people, 6, 6, 6))
        smoothed = gaussian_filter(noise, (0, 1, 1, 1)).reshape(2 * people, -1)
        sides = smoothed[:people], smoothed[people:]
        t_map = paired(*sides) if design == "paired" else two_sample(*sides, variance=design)
        null = permute_maximum(*sides, t_map, permutations=100, seed=cohort)
        rejected += bool(family_wise(t_map, null, 0.05).mask.any())
    assert abs(rejected / cohorts - 0.05) < 3 * math.sqrt(0.05 * 0.95 / cohorts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"permutations": 1}, "1 permutations"),
        ({"swapped": True}, "the maps that the t-map was made of"),
        ({"spoilt": True}, "row-00001: .*not finite"),
    ],
)
def test_bad_input(change, message):
    first, second = samples(people=(4, 6))
    t_map = two_sample(first, second)
    if change.pop("swapped", False):
        second = second * 2
    if change.pop("spoilt", False):
        first[1, 7] = np.nan
    with pytest.raises(MeasurementError, match=message):
        permute_maximum(first, second, t_map, **change)


def test_voxels_without_a_t_take_no_part():
    first, second = samples(people=(5, 5))
    first[:, 3] = second[:, 3] = 7.0
    t_map = two_sample(first, second)
    assert np.isnan(t_map.t[3])
    null = permute_maximum(first, second, t_map, permutations=50)
    assert np.isfinite(null.maxima).all()
    kept = [voxel for voxel in range(400) if voxel != 3]
    without = two_sample(first[:, kept], second[:, kept])
    np.testing.assert_allclose(
        permute_maximum(first[:, kept], second[:, kept], without, permutations=50).maxima,
        null.maxima,
    )
    assert not uncorrected(replace(t_map), 0.5).mask[3]
