"""Voxel-based morphometry on true maps: a known loss is found where it is, and nothing where not.

The maps are what perfect segmentation and registration would give; the tests are the measure's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from genmorph.controls.morphometry import (
    DOSES,
    STATISTICS,
    dose_name,
    dose_response,
    familywise_null,
    parametric_null,
    smoothed_people,
)
from genmorph.controls.rows import Curve, Result, Row
from genmorph.errors import ControlError
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.vbm import analysis_mask
from genmorph.metrics.vbm_statistics import LOW_VARIANCE_FRACTION
from genmorph.processes import WorkerDied, work_through
from genmorph.seeds import derive_seed

TRIALS, PEOPLE_A_GROUP = 5, 20
LARGEST_DOSE = max(DOSES)
LEAST_OVERLAP = 0.5
POOL, SPLITS, P = 48, 1000, 0.001
COHORTS, PEOPLE_A_NULL_GROUP = 400, 12
# at a rate of 0.05, three or more of 5 trials are rarer than 1 in 800
FALSE_TRIALS = (0, 2)
# 95 % of binomial counts of 400 cohorts at that rate
FALSE_COHORTS = (12, 29)
SHARES = (0.0005, 0.0015)
CORRECTED = "low-variance correction"
TEST = f"VBM, Welch, {STATISTICS.permutations} permutations"


def run(seed: int, workers: int, folder: Path) -> Result:
    """Carry out the controls of morphometry on true maps; nothing is written to `folder`."""

    def apply(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        return _side_by_side(function, list(tasks), workers)

    doses = dose_response(trials=TRIALS, n=PEOPLE_A_GROUP, seed=seed, apply=apply)
    people = smoothed_people(0.0, POOL, derive_seed(seed, "controls", "pool"))
    mask = analysis_mask([{str(number): volume for number, volume in enumerate(people.maps)}])
    splits = [
        parametric_null(
            people.maps, mask, splits=SPLITS, p=P, seed=seed, low_variance_fraction=fraction
        )
        for fraction in (None, LOW_VARIANCE_FRACTION)
    ]
    null = familywise_null(cohorts=COHORTS, n=PEOPLE_A_NULL_GROUP, seed=seed, apply=apply)
    rows = (*dose_rows(doses), *split_rows(*splits), *null_rows(null))
    return Result(rows, {"VBM: a known medial temporal loss": dose_curve(doses)})


def dose_rows(found: Measurement) -> list[Row]:
    """How often each dose is found, and whether the largest is found in its place."""
    trials = found.n["trials"]
    n = f"{trials} x {found.n['people_with_loss']} against {found.n['people_without_loss']} people"
    rows = []
    for dose in found.settings["doses"]:
        name = dose_name(dose)
        low, high = None, None
        if dose == 0:
            low, high = FALSE_TRIALS
        what = f"{100 * dose:g} % medial temporal loss: trials "
        detected = found.values[f"{name}.detected"]
        rows.append(Row(f"{what}with any effect", TEST, n, detected, low, high))
        if dose == 0:
            continue
        low, high = (trials, trials) if dose == LARGEST_DOSE else (None, None)
        inside = found.values[f"{name}.peak_inside"]
        rows.append(Row(f"{what}with its peak in the region", TEST, n, inside, low, high))
        rows.append(
            Row(
                f"{100 * dose:g} % medial temporal loss: Dice with the smoothed region",
                TEST,
                n,
                found.values[f"{name}.overlap"],
                LEAST_OVERLAP if dose == LARGEST_DOSE else None,
                1.0 if dose == LARGEST_DOSE else None,
            )
        )
    return rows


def split_rows(without: Measurement, corrected: Measurement) -> list[Row]:
    """Share of voxels with a small p when there is no difference."""
    what = f"no difference: mean share of voxels at p < {P:g}"
    n = f"{without.n['splits']} halves of {without.n['people']} people"
    share = without.values["share"]
    return [
        Row(what, "VBM, Welch", n, share, *SHARES),
        Row(f"{what}, {CORRECTED}", "VBM, Welch", n, corrected.values["share"], 0.0, share),
    ]


def null_rows(found: Measurement) -> list[Row]:
    """Cohorts without any difference in which something was found."""
    what = "no difference: cohorts with a voxel at family-wise p <= 0.05"
    n = f"{found.n['cohorts']} x {found.n['people_a_group']} against {found.n['people_a_group']}"
    low, high = FALSE_COHORTS
    return [
        Row(what, TEST, n, found.values["rejections"], low, high),
        Row(
            f"{what}, {CORRECTED}",
            TEST,
            n,
            found.values["low_variance_rejections"],
            0,
            high,
        ),
    ]


def dose_curve(found: Measurement) -> Curve:
    """Greatest |t| over the dose, which grows with it."""
    doses = found.settings["doses"]
    names = [f"{dose_name(dose)}.peak_absolute_t" for dose in doses]
    return Curve(
        x=tuple(100 * dose for dose in doses),
        y=tuple(found.values[name] for name in names),
        x_label="medial temporal gray matter lost (%)",
        y_label="greatest |t|",
        spread=tuple(found.spread[name] for name in names if name in found.spread),
    )


def _side_by_side(
    function: Callable[[Any], Any], tasks: Sequence[Any], workers: int
) -> Iterator[Any]:
    """Results of the tasks in their order.

    Raises
    ------
    ControlError
        When a worker dies.
    """
    found: dict[int, Any] = {}
    for index, one in work_through(function, tasks, workers=workers):
        if isinstance(one, WorkerDied):
            raise ControlError(f"effects: task {tasks[index]}: {one}")
        found[index] = one
    return (found[index] for index in range(len(tasks)))
