"""MMD with the dot-product kernel: against Gram matrices, MONAI, simulation, and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics.mmd import compute_mmd

from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.mmd import RunningSums, measure_mmd, squared_mmd

CONVENTIONS = ["biased", "biased_per_voxel", "unbiased"]
SHAPE = (5, 6, 7)


def by_gram_matrices(first, second, convention, paired=False):
    """The definitions over all pairs, in double precision."""
    x, y = (np.reshape(side, (len(side), -1)).astype(float) for side in (first, second))
    size, voxels = x.shape
    within_x, within_y, between = x @ x.T, y @ y.T, x @ y.T
    if convention != "unbiased":
        gram = within_x.sum() + within_y.sum() - 2 * between.sum()
        return gram / size**2 / (voxels if convention == "biased_per_voxel" else 1)
    others = size * (size - 1)
    for gram in (within_x, within_y):
        np.fill_diagonal(gram, 0)
    if paired:
        np.fill_diagonal(between, 0)
    across = between.sum() / (others if paired else size**2)
    return (within_x.sum() + within_y.sum()) / others - 2 * across


def batch(n, seed, shift=0.0, shape=SHAPE):
    return np.random.default_rng(seed).random((n, *shape), dtype=np.float32) / 2 + shift


def named(volumes, prefix):
    return {f"{prefix}{number}": volume for number, volume in enumerate(volumes)}


OPTIONS = {
    "convention": "biased",
    "batch_size": 4,
    "repeats": 3,
    "paired": False,
    "natural_log": False,
    "seed": 0,
    "reference_name": "test",
}


def measure(made, real, **options):
    return measure_mmd(made, real, **{**OPTIONS, **options})


# -- one pair of batches ---------------------------------------------------------------------------


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(("size", "shift"), [(2, 0.3), (8, 0.0), (8, 0.02), (31, 0.4)])
def test_equals_gram_matrices(convention, paired, size, shift):
    first, second = batch(size, 1), batch(size, 2, shift)
    found = squared_mmd(iter(first), iter(second), convention=convention, paired=paired)
    expected = by_gram_matrices(first, second, convention, paired)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-11)
    assert found != 0


def test_the_unbiased_convention_is_that_of_monai():
    first, second = batch(6, 1), batch(6, 2, 0.1)
    tensors = [torch.from_numpy(side).double()[:, None] for side in (first, second)]
    found = squared_mmd(first, second, convention="unbiased")
    assert found == pytest.approx(compute_mmd(*tensors, y_mapping=None).item(), rel=1e-9)


def test_a_large_offset_costs_no_digits():
    """Where a Gram matrix in single precision would be wrong in the first digit."""
    first, second = 100 + batch(4, 1), 100 + batch(4, 2)
    exact = np.square((first.astype(float) - second.astype(float)).mean(0)).sum()
    assert squared_mmd(first, second, convention="biased") == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("paired", [False, True])
def test_the_unbiased_convention_is_zero_on_average_between_equal_distributions(paired):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(3000):
        common = rng.normal(size=(4, 6)) if paired else 0
        first, second = (common + rng.normal(size=(4, 6)) for _ in range(2))
        found.append(squared_mmd(first, second, convention="unbiased", paired=paired))
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(len(found))
    assert min(found) < 0


def test_batches_that_do_not_fit_are_errors():
    first = batch(3, 1)
    for one, other, convention, match in (
        (first, first[:2], "biased", "different size"),
        (first, batch(3, 2, shape=(5, 6, 1)), "biased", "volumes"),
        ([], [], "biased", "no volumes"),
        (first[:1], first[:1], "unbiased", "one volume has no variance"),
    ):
        with pytest.raises(MeasurementError, match=match):
            squared_mmd(one, other, convention=convention)


def test_running_sums_hold_mean_and_variance():
    sums = RunningSums()
    volumes = batch(7, 0)
    for volume in volumes:
        sums.add(volume)
    flat = volumes.reshape(7, -1).astype(float)
    np.testing.assert_allclose(sums.mean, flat.mean(0), rtol=1e-13)
    assert sums.variance() == pytest.approx(np.trace(np.cov(flat, rowvar=False)), rel=1e-12)


# -- the measure -----------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_whole_sides_in_one_batch_are_the_value_of_the_sides(convention):
    made, real = batch(6, 1), batch(6, 2, 0.1)
    found = measure(
        named(made, "sample-"),
        named(real, "sub-"),
        convention=convention,
        batch_size=6,
        repeats=1,
    )
    assert found.values["mmd"] == pytest.approx(by_gram_matrices(made, real, convention), rel=1e-9)
    assert found.spread == {}
    assert found.notes == ("MMD: no spread with a single repeat.",)
    assert found.n == {
        "generated_scans": 6,
        "reference_scans": 6,
        "reference_people": 6,
        "generated_drawn": 6,
        "reference_drawn": 6,
    }
    assert found.settings["convention"] == convention
    assert Measurement.from_json(found.to_json()) == found


def test_batches_of_a_shuffle_are_disjoint_and_cover_the_side():
    """Three batches of four of twelve: their mean difference is that of the sides."""
    made = {f"sample-{number}": np.full(SHAPE, number / 12) for number in range(12)}
    real = {f"sub-{number}": np.zeros(SHAPE) for number in range(12)}
    made["sample-0"][0, 0, 0] = 0.5  # no constant volume, or a note would say so
    found = measure(made, real)
    assert found.n["generated_drawn"] == found.n["reference_drawn"] == 12
    assert not any("repeats share" in note for note in found.notes)
    many = measure(made, real, repeats=4)
    assert any("4 repeats of 3 disjoint batches" in note for note in many.notes)
    roots = math.sqrt(found.values["mmd"] / math.prod(SHAPE))
    assert roots == pytest.approx(5.5 / 12, rel=0.1)


def test_mean_spread_and_seed():
    made, real = named(batch(40, 1), "sample-"), named(batch(50, 2, 0.02), "sub-")
    found = measure(made, real, repeats=10)
    assert found == measure(made, real, repeats=10)
    other = measure(made, real, repeats=10, seed=1)
    assert other.values["mmd"] != found.values["mmd"]
    assert other.values["mmd"] == pytest.approx(found.values["mmd"], rel=0.2)
    assert 0 < found.spread["mmd"] < found.values["mmd"]
    assert found.settings["spread_over"] == "repeats"
    first = measure(made, real, repeats=1)
    second = measure(made, real, repeats=2)
    # the first batches are the same: 2 m2 - m1 is the second's
    values = np.array([first.values["mmd"], 2 * second.values["mmd"] - first.values["mmd"]])
    assert second.spread["mmd"] == pytest.approx(values.std(ddof=1), rel=1e-6)


@pytest.mark.parametrize("convention", ["biased", "biased_per_voxel"])
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("size", [1, 4])
def test_the_floor_is_what_equal_distributions_give(convention, paired, size):
    """Fresh volumes, many batches: the mean value is the floor, known in closed form."""
    rng = np.random.default_rng(0)
    n, shape = 2400, (4, 4, 4)
    common, own = 0.1, 0.05
    base = 0.5 + common * rng.normal(size=(n, *shape))
    made, real = (
        named(base + own * rng.normal(size=(n, *shape)), "sub-" if paired else prefix)
        for prefix in ("sample-", "sub-")
    )
    if not paired:
        real = named(0.5 + np.hypot(common, own) * rng.normal(size=(n, *shape)), "sub-")
    found = measure(
        made, real, convention=convention, batch_size=size, repeats=n // size, paired=paired
    )
    voxels = math.prod(shape)
    variance = 2 * own**2 if paired else 2 * (common**2 + own**2)
    expected = variance * voxels / size / (voxels if convention == "biased_per_voxel" else 1)
    assert found.values["floor"] == pytest.approx(expected, rel=0.02)
    error = found.spread["mmd"] / math.sqrt(n // size)
    assert found.values["mmd"] == pytest.approx(found.values["floor"], abs=4 * error)
    assert 4 * error < 0.1 * found.values["floor"]


def test_the_unbiased_convention_has_no_floor_to_subtract_and_says_so():
    made, real = named(batch(20, 1), "sample-"), named(batch(20, 2), "sub-")
    unbiased = measure(made, real, convention="unbiased", repeats=5)
    biased = measure(made, real, repeats=5)
    assert unbiased.values["floor"] == 0
    assert unbiased.settings["floor"] == "0, as it is unbiased"
    # all volumes are drawn once: the corrections of the batches average to the floor nearly
    assert biased.values["mmd"] - unbiased.values["mmd"] == pytest.approx(
        biased.values["floor"], rel=0.05
    )


def test_pairs_are_drawn_together():
    """Far apart as sets, but each next to its partner."""
    rng = np.random.default_rng(0)
    real = named(rng.random((20, *SHAPE)), "sub-")
    made = {name: volume + 0.01 for name, volume in reversed(real.items())}
    paired = measure(made, real, paired=True)
    assert paired.values["mmd"] == pytest.approx(0.01**2 * math.prod(SHAPE), rel=1e-6)
    assert paired.values["floor"] == pytest.approx(0, abs=1e-9)
    assert paired.n["paired_drawn"] == 12
    independent = measure(made, real, paired=False)
    assert independent.values["mmd"] > 100 * paired.values["mmd"]
    assert any("20 scans are on both sides" in note for note in independent.notes)


def test_only_volumes_with_a_partner_are_paired():
    real = named(batch(12, 1), "sub-")
    made = dict(list(named(batch(12, 2), "sub-").items())[:9]) | {"sub-99": batch(1, 3)[0]}
    found = measure(made, real, paired=True, repeats=2)
    assert found.n["generated_scans"] == found.n["reference_scans"] == 9
    assert "MMD: 4 volumes have no partner and are left out." in found.notes


def test_an_intensity_range_scales_value_spread_and_floor():
    made, real = named(batch(20, 1), "sample-"), named(batch(20, 2, 0.1), "sub-")
    found = measure(made, real)
    wide = measure(made, real, intensity_range=(-1, 1))
    rescaled = [{name: 2 * v - 1 for name, v in side.items()} for side in (made, real)]
    drawn = [np.stack(list(side.values())) for side in rescaled]
    whole = measure(made, real, intensity_range=(-1, 1), batch_size=20, repeats=1)
    assert whole.values["mmd"] == pytest.approx(by_gram_matrices(*drawn, "biased"), rel=1e-6)
    assert wide.values["mmd"] == pytest.approx(4 * found.values["mmd"])
    assert wide.values["floor"] == pytest.approx(4 * found.values["floor"])
    assert wide.spread["mmd"] == pytest.approx(4 * found.spread["mmd"])
    assert wide.settings["intensity_range"] == [-1.0, 1.0]


def test_the_logarithm_is_natural_and_of_the_mean():
    made, real = named(batch(20, 1), "sample-"), named(batch(20, 2, 0.1), "sub-")
    found = measure(made, real, natural_log=True)
    for name in ("mmd", "floor"):
        assert found.values[f"log_{name}"] == pytest.approx(math.log(found.values[name]))
    assert found.spread["log_mmd"] == pytest.approx(
        found.spread["mmd"] / found.values["mmd"], rel=0.2
    )
    assert "log_mmd" not in measure(made, real).values


def test_what_has_no_logarithm_is_absent_with_a_reason():
    made = named(batch(12, 1), "sub-")
    found = measure(made, dict(made), paired=True, natural_log=True)
    assert found.values == {"mmd": 0, "floor": 0} and "log_mmd" not in found.spread
    assert "MMD: no logarithm of mmd, as it is not positive." in found.notes


def test_a_single_volume_a_side_has_no_floor_and_says_so():
    found = measure(
        named(batch(1, 1), "sample-"), named(batch(1, 2), "sub-"), batch_size=1, repeats=1
    )
    assert set(found.values) == {"mmd"}
    assert any("no floor is known" in note for note in found.notes)


def test_constant_volumes_are_noted():
    real = named(batch(12, 1), "sub-")
    found = measure(named(np.zeros((12, *SHAPE)), "sample-"), real)
    assert found.notes[0].startswith("MMD: the same intensity in every voxel of sample-0, sample-1")
    assert "and 7 more" in found.notes[0]


def bad(change, key="sub-3"):
    side = named(batch(12, 1), "sub-")
    side[key] = change(side[key])
    return side


GOOD = named(batch(12, 2), "sample-")
REAL = named(batch(12, 1), "sub-")


@pytest.mark.parametrize(
    ("made", "real", "options", "match"),
    [
        (GOOD, REAL, {"batch_size": 13}, "batches of 13, but there are 12 generated"),
        (GOOD, named(batch(3, 1), "sub-"), {}, "batches of 4, but there are 3 reference"),
        (GOOD, REAL, {"batch_size": 0}, "give 1 or more"),
        (GOOD, REAL, {"repeats": 0}, "give 1 or more"),
        (GOOD, REAL, {"convention": "unbiased", "batch_size": 1}, "a batch size of 2"),
        (GOOD, REAL, {"convention": "biassed"}, "did you mean 'biased'"),
        (GOOD, REAL, {"intensity_range": (1, 0)}, "the lower first"),
        (GOOD, REAL, {"paired": True}, "no id is on both sides"),
        ({}, REAL, {}, "no generated volumes"),
        (GOOD, {}, {}, "no reference volumes"),
        (GOOD, bad(lambda v: v[1:]), {}, r"sub-3 is \(4, 6, 7\) among"),
        (named(batch(12, 2, shape=(5, 6, 8)), "sample-"), REAL, {}, r"is \(5, 6, 8\) among"),
        (GOOD, bad(lambda v: np.where(v > 0.4, np.inf, v)), {}, "sub-3 holds values"),
        (GOOD, bad(lambda v: 255 * v), {}, "intensities of sub-3 run from"),
        (named(255 * batch(12, 2), "sample-"), REAL, {}, "intensities of sample-"),
    ],
)
def test_what_cannot_be_measured_is_an_error(made, real, options, match):
    with pytest.raises(MeasurementError, match=match):
        measure(made, real, **options)
