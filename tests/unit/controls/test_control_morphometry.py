"""Morphometry on true maps: a known loss and none, and the rows made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from genmorph.cohorts.simulate.tissue import scatter
from genmorph.cohorts.simulate.truth_maps import TrueMaps
from genmorph.controls import morphometry
from genmorph.controls.groups import effects
from genmorph.controls.morphometry import (
    STATISTICS,
    dose_response,
    familywise_null,
    parametric_null,
    smoothed_people,
)
from genmorph.errors import ControlError, MeasurementError
from genmorph.metrics.measurement import Measurement

QUICK = replace(STATISTICS, permutations=40)


@pytest.fixture(scope="module")
def found():
    return dose_response(doses=(0.0, 0.2), trials=1, n=16, seed=1, statistics=QUICK)


@pytest.fixture(scope="module")
def pool():
    """White noise of people who do not differ, smoothed, in a mask."""
    rng = np.random.default_rng(0)
    mask = np.zeros((14, 15, 13), bool)
    mask[2:-2, 2:-2, 2:-2] = True
    return rng.standard_normal((16, *mask.shape)).astype(np.float32), mask


# -- a known effect --------------------------------------------------------------------------------


def test_a_large_loss_is_found_where_it_is_and_none_is_not(found):
    values = found.values
    assert values["dose-20.detected"] == values["dose-20.peak_inside"] == 1
    assert values["dose-20.overlap"] > 0.3 and values["dose-20.false_voxels"] == 0
    assert values["dose-00.detected"] == 0 and values["dose-00.overlap"] == 0
    assert values["dose-20.peak_absolute_t"] > values["dose-00.peak_absolute_t"] + 1
    trial = found.per_scan["dose-20_trial-0"]
    assert trial["peak_t"] == -values["dose-20.peak_absolute_t"]
    assert 15 < abs(trial["peak_x_mm"]) < 40 and -35 < trial["peak_z_mm"] < 0
    assert trial["peak_p_corrected"] == pytest.approx(1 / 40)


def test_the_measurement_says_how_it_was_made(found):
    assert found.n == {"trials": 1, "people_with_loss": 16, "people_without_loss": 16}
    assert found.settings["permutations"] == 40 and found.settings["fwhm_mm"] == 8.0
    assert found.settings["doses"] == [0.0, 0.2] and not found.spread


def test_without_modulation_the_loss_is_not_found(monkeypatch):
    """What a Jacobian left out would do to the control."""

    def unmodulated(maps, tissue):
        return scatter(getattr(maps.tissues, tissue), maps.tissues.brain)

    monkeypatch.setattr(TrueMaps, "modulated", unmodulated)
    found = dose_response(doses=(0.2,), trials=1, n=16, seed=1, statistics=QUICK)
    assert found.values["dose-20.peak_inside"] == 0


def test_a_gain_at_the_right_place_is_no_loss(monkeypatch):
    """Were the sides exchanged, the peak would not count."""
    original = morphometry.two_sample
    monkeypatch.setattr(
        morphometry, "two_sample", lambda first, second, **keys: original(second, first, **keys)
    )
    found = dose_response(doses=(0.2,), trials=1, n=16, seed=1, statistics=QUICK)
    assert found.values["dose-20.detected"] == 1 and found.values["dose-20.peak_inside"] == 0


def test_trials_run_through_the_given_map_and_are_other_people():
    taken = []

    def apply(function, tasks):
        for task in tasks:
            taken.append(task)
            yield function(task)

    settings = {"doses": (0.2,), "n": 3, "seed": 1, "statistics": QUICK}
    found = dose_response(trials=2, apply=apply, **settings)
    assert taken == [0, 1]
    trials = [found.per_scan[f"dose-20_trial-{k}"] for k in range(2)]
    assert trials[1]["peak_t"] != trials[0]["peak_t"]
    assert found.spread["dose-20.peak_absolute_t"] > 0
    alone = dose_response(trials=1, **settings)
    assert alone.per_scan == {"dose-20_trial-0": trials[0]}


def test_smoothing_keeps_gray_matter():
    sharp = morphometry.people_with(0.0, 1, 3, 4.0).maps
    smooth = smoothed_people(0.0, 1, 3).maps
    assert smooth.sum() == pytest.approx(sharp.sum(), rel=2e-3)
    assert smooth.max() < sharp.max()


# -- no effect -------------------------------------------------------------------------------------


def test_voxels_with_a_small_p_are_as_many_as_promised(pool):
    maps, mask = pool
    found = parametric_null(maps, mask, splits=60, p=0.05, seed=2)
    assert found.values["share"] == pytest.approx(0.05, abs=0.01)
    assert found.n == {"people": 16, "splits": 60, "voxels": int(mask.sum())}
    corrected = parametric_null(maps, mask, splits=60, p=0.05, seed=2, low_variance_fraction=0.05)
    assert corrected.values["share"] < found.values["share"]
    assert parametric_null(maps, mask, splits=60, p=0.05, seed=2).to_json() == found.to_json()


def test_a_test_that_finds_too_much_is_seen(pool, monkeypatch):
    maps, mask = pool
    original = morphometry.two_sample

    def twice(*groups, **keys):
        t_map = original(*groups, **keys)
        return replace(t_map, t=2 * t_map.t)

    monkeypatch.setattr(morphometry, "two_sample", twice)
    found = parametric_null(maps, mask, splits=20, p=0.05, seed=2)
    assert found.values["share"] > 0.2


def test_an_odd_person_is_left_out(pool):
    maps, mask = pool
    found = parametric_null(maps[:9], mask, splits=3, p=0.05)
    assert found.n["people"] == 9 and 0 < found.values["share"] < 0.2


def test_null_cohorts_are_counted_with_and_without_the_correction(monkeypatch):
    monkeypatch.setattr(
        morphometry, "_null_cohort", lambda cohort, **_: (cohort % 10 == 0, cohort % 20 == 0)
    )
    found = familywise_null(cohorts=100, n=3)
    assert found.values == {
        "rejections": 10.0,
        "rate": 0.1,
        "low_variance_rejections": 5.0,
        "low_variance_rate": 0.05,
    }


def test_null_cohorts_are_made_of_people_who_do_not_differ():
    calls = []

    def apply(function, tasks):
        for task in tasks:
            calls.append(function(task))
        return calls

    found = familywise_null(cohorts=3, n=5, seed=4, statistics=QUICK, apply=apply)
    assert found.values["rejections"] == sum(first for first, _ in calls) <= 1
    assert found.n == {"cohorts": 3, "people_a_group": 5}


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda maps, mask: parametric_null(maps[:3], mask), "groups of 1"),
        (lambda maps, mask: parametric_null(maps, mask[1:]), "one grid"),
        (lambda maps, mask: parametric_null(maps, mask, splits=0), "0 trials"),
        (lambda maps, mask: dose_response(trials=0), "0 trials"),
        (lambda maps, mask: familywise_null(n=1), "groups of 1"),
        (
            lambda maps, mask: dose_response(
                doses=(0.0,), trials=1, n=3, statistics=replace(QUICK, permutations=10)
            ),
            "more permutations",
        ),
    ],
)
def test_what_cannot_be_tested_is_refused(pool, make, named):
    with pytest.raises(MeasurementError, match=named):
        make(*pool)


# -- rows ------------------------------------------------------------------------------------------


def test_rows_hold_the_largest_dose_and_none_and_print_the_others():
    doses = (0.0, 0.1, 0.2)
    values = {}
    for dose, detected in zip(doses, (0, 2, 5), strict=True):
        name = morphometry.dose_name(dose)
        values |= {f"{name}.detected": detected, f"{name}.peak_inside": detected}
        values |= {f"{name}.overlap": 0.7, f"{name}.peak_absolute_t": 4 + 20 * dose}
    found = Measurement(
        "vbm_dose_response",
        values=values,
        n={"trials": 5, "people_with_loss": 20, "people_without_loss": 20},
        settings={"doses": list(doses)},
    )
    rows = effects.dose_rows(found)
    assert [row.verdict for row in rows] == ["yes", *["printed"] * 4, "yes", "yes"]
    values["dose-20.peak_inside"], values["dose-00.detected"] = 4, 3
    rows = effects.dose_rows(replace(found, values=values))
    assert [row.verdict for row in rows] == ["no", *["printed"] * 4, "no", "yes"]
    curve = effects.dose_curve(found)
    assert curve.x == (0.0, 10.0, 20.0) and curve.y == (4.0, 6.0, 8.0) and curve.spread == ()


@pytest.mark.parametrize(
    ("rejections", "verdict"), [(11, "no"), (12, "yes"), (29, "yes"), (30, "no")]
)
def test_null_rows_hold_the_binomial_interval(rejections, verdict):
    found = Measurement(
        "vbm_familywise_null",
        values={"rejections": rejections, "low_variance_rejections": 3},
        n={"cohorts": 400, "people_a_group": 12},
        settings={},
    )
    assert [row.verdict for row in effects.null_rows(found)] == [verdict, "yes"]


@pytest.mark.parametrize(
    ("share", "corrected", "verdicts"),
    [
        (0.001, 0.0008, ["yes", "yes"]),
        (0.002, 0.0008, ["no", "yes"]),
        (0.001, 0.0012, ["yes", "no"]),
    ],
)
def test_split_rows_hold_the_share_and_its_order(share, corrected, verdicts):
    measured = [
        Measurement(
            "vbm_parametric_null",
            values={"share": value},
            n={"people": 48, "splits": 1000, "voxels": 9},
            settings={},
        )
        for value in (share, corrected)
    ]
    assert [row.verdict for row in effects.split_rows(*measured)] == verdicts


def _square_or_die(number):
    if number == 3:
        raise ValueError(number)
    return number**2


def test_tasks_side_by_side_come_back_in_order_and_a_failure_is_named():
    assert list(effects._side_by_side(_square_or_die, [2, 1, 4], 2)) == [4, 1, 16]
    with pytest.raises(ControlError, match="task 3"):
        effects._side_by_side(_square_or_die, [3], 1)
