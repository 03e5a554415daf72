"""t-maps against scipy, statsmodels and nilearn, and worked by hand; memory, order, bad input."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from genmorph.errors import MeasurementError
from genmorph.metrics.vbm_moments import Differences, moments
from genmorph.metrics.vbm_statistics import paired, two_sample
from genmorph.metrics.vbm_variances import UndefinedTest

GRID = (4, 5, 3)


def group(seed, people=7, loc=0.0, scale=1.0, grid=GRID):
    rng = np.random.default_rng(seed)
    volumes = rng.normal(loc, scale, (people, *grid)).astype(np.float32)
    return {f"sub-{seed}{number:02d}_ses-1": volume for number, volume in enumerate(volumes)}


def stacked(maps):
    return np.stack(list(maps.values())).astype(np.float64)


# -- against others --------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", ["unequal", "pooled"])
def test_two_samples_equal_scipy(variance):
    first, second = group(1, people=6, scale=2), group(2, people=9, loc=0.3)
    found = two_sample(first, second, variance=variance, low_variance_fraction=None)
    expected = stats.ttest_ind(stacked(first), stacked(second), equal_var=variance == "pooled")
    np.testing.assert_allclose(found.t, expected.statistic, rtol=1e-10)
    np.testing.assert_allclose(
        np.broadcast_to(found.degrees_of_freedom, GRID), expected.df, rtol=1e-10
    )
    np.testing.assert_allclose(
        found.difference, stacked(first).mean(0) - stacked(second).mean(0), atol=1e-12
    )
    assert found.n == {
        "first_scans": 6,
        "first_people": 6,
        "second_scans": 9,
        "second_people": 9,
        "mask_voxels": math.prod(GRID),
    }


def test_welch_equals_statsmodels():
    from statsmodels.stats.weightstats import ttest_ind

    first, second = group(1, people=3, scale=3), group(2, people=8)
    found = two_sample(first, second, low_variance_fraction=None)
    t, _, degrees = ttest_ind(
        stacked(first).reshape(3, -1), stacked(second).reshape(8, -1), usevar="unequal"
    )
    np.testing.assert_allclose(found.t.ravel(), t, rtol=1e-10)
    np.testing.assert_allclose(found.degrees_of_freedom.ravel(), degrees, rtol=1e-10)


def test_pooled_equals_ordinary_least_squares_of_nilearn():
    from nilearn.mass_univariate import permuted_ols

    first, second = group(1, people=6), group(2, people=9, loc=0.5)
    in_first = np.r_[np.ones(6), np.zeros(9)][:, None]
    data = np.concatenate([stacked(first), stacked(second)]).reshape(15, -1)
    expected = permuted_ols(in_first, data, model_intercept=True, n_perm=0)
    found = two_sample(first, second, variance="pooled", low_variance_fraction=None)
    np.testing.assert_allclose(found.t.ravel(), np.ravel(expected["t"]), rtol=1e-5)


def test_pairs_equal_scipy():
    first = group(1)
    noise = group(2, scale=0.3, loc=0.1)
    second = {
        scan_id: (volume + other).astype(np.float32)
        for (scan_id, volume), other in zip(first.items(), noise.values(), strict=True)
    }
    found = paired(first, second, low_variance_fraction=None)
    expected = stats.ttest_rel(stacked(first), stacked(second))
    np.testing.assert_allclose(found.t, expected.statistic, rtol=1e-9)
    assert found.degrees_of_freedom == 6


def generalised_least_squares(data, labels, shares):
    """t of first less second by the textbook formula, with matrices."""
    design = np.stack([labels, 1 - labels], axis=1)
    inverse = np.diag(1 / np.where(labels == 1, shares[0], shares[1]))
    information = design.T @ inverse @ design
    beta = np.linalg.solve(information, design.T @ inverse @ data)
    residual = data - design @ beta
    mean_square = np.einsum("ij,ik,kj->j", residual, inverse, residual) / (len(data) - 2)
    contrast = np.array([1.0, -1.0])
    return (
        contrast @ beta / np.sqrt(mean_square * (contrast @ np.linalg.solve(information, contrast)))
    )


def test_reml_equals_the_maximum_of_the_restricted_likelihood():
    """Maximised here without knowing that it has a closed form, over the whole covariance."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    labels = np.r_[np.ones(6), np.zeros(10)]
    # means far from zero: all voxels are responsive
    data = rng.normal(9, np.where(labels == 1, 2.0, 0.7)[:, None], (16, 80))
    design = np.stack([labels, 1 - labels], axis=1)
    fitted = design @ np.linalg.lstsq(design, data, rcond=None)[0]
    scaled = data / np.sqrt(np.square(data - fitted).sum(0) / 14)
    covariance = scaled @ scaled.T / data.shape[1]

    def minus_likelihood(logarithms):
        variances = np.where(labels == 1, *np.exp(logarithms))
        weight = np.diag(1 / variances)
        information = design.T @ weight @ design
        projection = weight - weight @ design @ np.linalg.solve(information, design.T @ weight)
        return (
            np.log(variances).sum()
            + np.linalg.slogdet(information)[1]
            + np.trace(projection @ covariance)
        ) / 2

    best = minimize(minus_likelihood, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9})
    shares = np.exp(best.x)
    found = two_sample(data[:6], data[6:], variance="reml", low_variance_fraction=None)
    assert found.estimates["variance_ratio"] == pytest.approx(shares[0] / shares[1], rel=1e-5)
    np.testing.assert_allclose(found.t, generalised_least_squares(data, labels, shares), rtol=1e-5)
    assert found.degrees_of_freedom == 14


def test_reml_finds_the_ratio_and_leaves_out_voxels_without_signal():
    rng = np.random.default_rng(3)
    sizes = (50, 50)
    signal = [rng.normal(5, sd, (n, 3000)) for n, sd in zip(sizes, (2.0, 1.0), strict=True)]
    # no signal, and the opposite ratio: SPM does not count such voxels
    empty = [rng.normal(0, sd, (n, 3000)) for n, sd in zip(sizes, (1.0, 3.0), strict=True)]
    both = [np.hstack(pair) for pair in zip(signal, empty, strict=True)]
    found = two_sample(*both, variance="reml")
    alone = two_sample(*signal, variance="reml")
    assert alone.estimates["variance_ratio"] == pytest.approx(4, rel=0.05)
    # one in twenty of the empty voxels is counted by chance; were they all, the ratio would be 1
    assert 3 < found.estimates["variance_ratio"] < alone.estimates["variance_ratio"]


@pytest.mark.parametrize(
    ("variance", "least", "greatest"),
    # groups are weighted by variances drawn together: near the level, not on it
    [("unequal", 0.045, 0.057), ("reml", 0.05, 0.08), ("pooled", 0.15, 1)],
)
def test_level_under_unequal_variance_and_unequal_numbers(variance, least, greatest):
    """The small group varies more: Student's test rejects far too often, the others do not."""
    rng = np.random.default_rng(5)
    small, large = rng.normal(10, 3, (6, 20000)), rng.normal(10, 1, (24, 20000))
    found = two_sample(small, large, variance=variance, low_variance_fraction=None)
    p = 2 * stats.t.sf(np.abs(found.t), found.degrees_of_freedom)
    assert least < (p < 0.05).mean() < greatest


# -- by hand ---------------------------------------------------------------------------------------

ONE, TWO = np.array([[1.0], [2.0], [3.0]]), np.array([[2.0], [4.0], [9.0]])  # variances 1 and 13


@pytest.mark.parametrize(
    ("variance", "squared_error", "degrees"),
    [
        ("unequal", 14 / 3, 196 * 18 / (9 * 170)),
        ("pooled", 14 / 3, 4),
        # one voxel: each group is weighted by its own variance, and the weighted residual is 1
        ("reml", 14 / 3, 4),
    ],
)
@pytest.mark.parametrize("fraction", [None, 1e-3])
def test_three_values_by_hand(variance, squared_error, degrees, fraction):
    one, two = (ONE, TWO) if variance != "reml" else (ONE + 100, TWO + 100)
    found = two_sample(one, two, variance=variance, low_variance_fraction=fraction)
    corrected = squared_error * (1 + (fraction or 0))
    assert found.t.item() == pytest.approx(-3 / math.sqrt(corrected), rel=1e-12)
    assert np.ravel(found.degrees_of_freedom)[0] == pytest.approx(degrees, rel=1e-12)
    assert found.difference.item() == pytest.approx(-3)
    if fraction:
        added = found.estimates["low_variance_addend"]
        assert added == pytest.approx(squared_error / 1000, rel=1e-9)


def test_pairs_by_hand():
    found = paired(ONE, TWO, low_variance_fraction=None)  # differences -1, -2, -6: variance 7
    assert found.t.item() == pytest.approx(-3 / math.sqrt(7 / 3), rel=1e-12)
    assert found.degrees_of_freedom == 2


def test_two_scans_of_a_person_count_once():
    def maps(**values):
        return {f"sub-{name}": np.full((1, 1, 1), value) for name, value in values.items()}

    other = maps(x=2.0, y=4.0, z=9.0)
    again = maps(a_1=0.0, b=2.0, a_2=2.0, c=3.0)
    once, twice = two_sample(maps(a=1.0, b=2.0, c=3.0), other), two_sample(again, other)
    assert once.t == twice.t
    assert (twice.n["first_scans"], twice.n["first_people"]) == (4, 3)
    pairs = paired(again, {scan_id: 0 * volume for scan_id, volume in again.items()})
    assert pairs.degrees_of_freedom == 2


# -- the low-variance correction -------------------------------------------------------------------


@pytest.mark.parametrize("variance", ["unequal", "pooled", "reml"])
def test_low_variance_correction_removes_spikes_of_the_background(variance):
    """A background of hardly any variance, with a tiny bias between the groups."""
    rng = np.random.default_rng(0)
    scale = np.r_[np.full(4000, 0.1), np.full(4000, 1e-5)]
    first, second = (1 + scale * rng.standard_normal((n, 8000)) for n in (15, 18))
    first[:, 4000:] += 2e-5
    plain = two_sample(first, second, variance=variance, low_variance_fraction=None)
    corrected = two_sample(first, second, variance=variance)
    background, brain = slice(4000, None), slice(4000)
    assert (np.abs(plain.t[background]) > 3).mean() > 0.9
    assert (np.abs(corrected.t[background]) > 3).sum() == 0
    ratio = np.abs(corrected.t[brain]) / np.abs(plain.t[brain])
    assert 0.995 < np.median(ratio) < 1


def test_low_variance_correction_adds_to_the_residual_variance():
    """As SPM has it: ResMS + fraction x max ResMS, over the mask only."""
    first, second = group(1, scale=2), group(2)
    mask = np.zeros(GRID, dtype=bool)
    mask[1:3] = True
    found = two_sample(first, second, mask=mask, variance="pooled", low_variance_fraction=0.01)
    residual = (stacked(first).var(0, ddof=1) + stacked(second).var(0, ddof=1)) / 2
    residual += 0.01 * residual[mask].max()
    expected = (stacked(first).mean(0) - stacked(second).mean(0)) / np.sqrt(residual * 2 / 7)
    np.testing.assert_allclose(found.t[mask], expected[mask], rtol=1e-10)
    assert np.isnan(found.t[~mask]).all()


# -- one pass --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [2, 3, 100])
def test_chunks_do_not_change_a_byte(chunk):
    maps = group(1, people=7) | {"sub-101_ses-2": group(9, people=1)["sub-900_ses-1"]}
    whole, parts = moments(maps, chunk=1), moments(maps, chunk=chunk)
    assert whole.mean.tobytes() == parts.mean.tobytes()
    assert whole.variance.tobytes() == parts.variance.tobytes()


def test_few_maps_are_held_and_each_is_read_once():
    class Counted(Mapping):
        def __init__(self):
            self.references, self.most, self.reads = [], 0, 0

        def __iter__(self):
            return (f"sample-{number}" for number in range(20))

        def __len__(self):
            return 20

        def __getitem__(self, scan_id):
            volume = np.full(GRID, float(scan_id[7:]))
            self.references.append(weakref.ref(volume))
            self.most = max(self.most, sum(found() is not None for found in self.references))
            self.reads += 1
            return volume

    maps = Counted()
    found = moments(maps, chunk=3)
    assert maps.most <= 2  # values are copied into a buffer of three maps
    assert maps.reads <= 21  # the first also for its grid
    np.testing.assert_allclose(found.variance, np.var(np.arange(20), ddof=1))


def test_large_offset_loses_no_digits():
    rng = np.random.default_rng(0)
    data = 1e6 + 1e-2 * rng.standard_normal((30, 50))
    expected = np.var(data - 1e6, axis=0, ddof=1)
    np.testing.assert_allclose(moments(data).variance, expected, rtol=1e-9)
    naive = (np.square(data).sum(0) - np.square(data.sum(0)) / 30) / 29
    assert np.abs(naive / expected - 1).max() > 0.1  # what the sums would give as they are


def test_outlying_first_map_loses_no_digits():
    data = np.random.default_rng(0).standard_normal((30, 50))
    data[0] = 1e6
    np.testing.assert_allclose(moments(data).variance, np.var(data, axis=0, ddof=1), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, bool])
def test_kinds_of_numbers_and_memory_order(dtype):
    rng = np.random.default_rng(0)
    data = (rng.random((5, *GRID)) * 2).astype(dtype)
    in_order = moments({f"sample-{i}": volume for i, volume in enumerate(data)})
    reversed_order = moments({f"sample-{i}": np.asfortranarray(v) for i, v in enumerate(data)})
    np.testing.assert_allclose(
        in_order.variance.reshape(GRID), data.astype(float).var(0, ddof=1), atol=1e-12
    )
    np.testing.assert_array_equal(in_order.variance, reversed_order.variance)


def test_moments_can_be_used_again():
    first, second = group(1), group(2)
    mask = np.zeros(GRID, dtype=bool)
    mask[0, 1:] = True
    again = two_sample(moments(first), moments(second), mask=mask)
    np.testing.assert_array_equal(again.t, two_sample(first, second, mask=mask).t)
    with pytest.raises(MeasurementError, match="do not have"):
        moments(first, mask).inside(~mask)


# -- bad input -------------------------------------------------------------------------------------


def test_voxels_that_do_not_vary_are_not_defined():
    first, second = group(1), group(2)
    for volume in (*first.values(), *second.values()):
        volume[0, 0, 0] = 0.25
    found = two_sample(first, second)
    assert np.isnan(found.t[0, 0, 0]) and found.tested.sum() == math.prod(GRID) - 1


def test_constant_maps_are_an_error():
    maps = {f"sample-{number}": np.ones(GRID) for number in range(4)}
    with pytest.raises(UndefinedTest, match="no voxel of the mask varies"):
        two_sample(maps, {name: 2 * volume for name, volume in maps.items()})
    with pytest.raises(UndefinedTest, match="no voxel of the mask varies"):
        paired(maps, maps)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scan", [0, 4])
def test_values_that_are_not_finite_name_their_scan(value, scan):
    first, second = group(1), group(2)
    name = list(first)[scan]
    first[name][1, 2, 0] = value
    with pytest.raises(MeasurementError, match=f"{name}: .*not finite"):
        two_sample(first, second)
    mask = np.ones(GRID, dtype=bool)
    mask[1, 2, 0] = False
    assert np.isfinite(two_sample(first, second, mask=mask).t[mask]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": np.zeros(GRID, dtype=bool)}, "mask is empty"),
        ({"mask": np.ones((3, 3, 3), dtype=bool)}, "mask .3, 3, 3. on a grid"),
        ({"mask": np.ones(GRID)}, "booleans expected"),
        ({"chunk": 0}, "0 maps at a time"),
        ({"variance": "equal"}, "'equal'"),
        ({"variance": "pool"}, "did you mean 'pooled'"),
        ({"low_variance_fraction": -1e-3}, "low-variance fraction"),
        ({"low_variance_fraction": 1.0}, "low-variance fraction"),
        ({"low_variance_fraction": math.nan}, "low-variance fraction"),
        ({"second": {}}, "no maps"),
        ({"second": group(2, grid=(4, 5, 4))}, "do not share grid"),
        ({"second": group(2) | {"sub-x": np.ones((4, 5, 4))}}, "sub-x: map .4, 5, 4. among"),
        ({"second": {"sub-x": np.ones(GRID, dtype=complex)}}, "real numbers"),
        ({"second": np.ones((2, 3, 4))}, r"give \[n, voxels\]"),
    ],
)
def test_bad_input(change, message):
    arguments = {"first": group(1), "second": group(2)} | change
    with pytest.raises(MeasurementError, match=message):
        two_sample(arguments.pop("first"), arguments.pop("second"), **arguments)


@pytest.mark.parametrize("people", [1, 2])
def test_one_scan_on_a_side(people):
    few = group(2, people=people)
    if people == 1:
        few |= {"sub-200_ses-2": next(iter(few.values())) + 1}  # the same person again
        with pytest.raises(UndefinedTest, match="second 1 person"):
            two_sample(group(1), few)
        with pytest.raises(UndefinedTest, match="pairs 1 person"):
            paired(few, few)
    else:
        assert np.isfinite(two_sample(group(1), few).t).all()


def test_reml_without_responsive_voxels_says_so():
    rng = np.random.default_rng(0)
    with pytest.raises(UndefinedTest, match="differ from zero"):
        two_sample(rng.normal(0, 1, (4, 5)), rng.normal(0, 1, (4, 5)), variance="reml")
    with pytest.raises(UndefinedTest, match="no variance at all"):
        two_sample(np.full((4, 5), 9.0), rng.normal(9, 0.1, (4, 5)), variance="reml")


def test_pairs_need_both_maps():
    first = group(1)
    short = dict(list(first.items())[1:])
    with pytest.raises(MeasurementError, match="only one side has sub-100_ses-1"):
        paired(first, short)
    with pytest.raises(MeasurementError, match=r"maps .4, 5, 3. and .4, 5, 4."):
        paired(first, {scan_id: np.ones((4, 5, 4)) for scan_id in first})
    assert len(Differences(first, first)) == 7
