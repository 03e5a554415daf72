"""Voxel-based morphometry on true maps: a known loss is found, nothing is found without one."""

from __future__ import annotations

from pathlib import Path

from genmorph.controls.groups.overlap import pool_map
from genmorph.controls.morphometry import (
    DOSES,
    dose_name,
    dose_response,
    familywise_null,
    parametric_null,
    smoothed_people,
)
from genmorph.controls.rows import Curve, Result, Row
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.vbm import analysis_mask
from genmorph.metrics.vbm_statistics import LOW_VARIANCE_FRACTION
from genmorph.seeds import derive_seed

TRIALS, PEOPLE = 5, 20
SPLIT_PEOPLE, SPLITS = 48, 1000
LEAST_SHARE, MOST_SHARE = 0.0005, 0.0015
COHORTS, GROUP = 400, 12
# 95 % of the time 400 trials at 5 % come out between these
FEWEST, MOST = 12, 29
# of 5 trials at 5 %, three or more are rarer than 1 in 800
MOST_WITHOUT_LOSS = 2


def run(seed: int, workers: int, folder: Path) -> Result:
    """Dose-response of a medial temporal loss, and two nulls."""
    with pool_map(workers) as apply:
        response = dose_response(trials=TRIALS, n=PEOPLE, seed=seed, apply=apply)
        null = familywise_null(cohorts=COHORTS, n=GROUP, seed=seed, apply=apply)
    return Result(
        rows=(*dose_rows(response), *split_rows(seed), *null_rows(null)),
        curves={
            "t of a medial temporal loss": _curve(response, "peak_absolute_t", "greatest |t|"),
            "overlap with the true place": _curve(response, "overlap", "Dice"),
        },
    )


def dose_rows(response: Measurement) -> list[Row]:
    """What is found of each dose."""
    who = f"{TRIALS} trials, {PEOPLE} against {PEOPLE} people"
    how = "VBM, Welch, family-wise 0.05"
    values = response.values
    largest, none = dose_name(max(DOSES)), dose_name(0.0)
    rows = [
        Row("20 % medial temporal loss: trials in which it is found, in its place", how, who,
            values[f"{largest}.peak_inside"], TRIALS, TRIALS),
        Row("no loss: trials in which something is found", how, who,
            values[f"{none}.detected"], 0, MOST_WITHOUT_LOSS),
    ]  # fmt: skip
    for dose in DOSES:
        name = dose_name(dose)
        for key, title in (
            ("detected", "trials in which something is found"),
            ("overlap", "Dice of what is found with the smoothed mask"),
        ):
            control = f"{100 * dose:g} % medial temporal loss: {title}"
            rows.append(Row(control, how, who, values[f"{name}.{key}"]))
    return rows


def split_rows(seed: int) -> list[Row]:
    """Share of voxels below p = 0.001 over random halves of one group."""
    group = smoothed_people(0.0, SPLIT_PEOPLE, derive_seed(seed, "controls", "pool"))
    mask = analysis_mask([{str(number): one for number, one in enumerate(group.maps)}])
    rows = []
    for fraction in (None, LOW_VARIANCE_FRACTION):
        null = parametric_null(
            group.maps, mask, splits=SPLITS, seed=seed, low_variance_fraction=fraction
        )
        correction = "off" if fraction is None else "on"
        rows.append(
            Row(
                f"no difference: share at p < 0.001, low-variance correction {correction}",
                "VBM, Welch, parametric",
                f"{SPLITS} splits of {SPLIT_PEOPLE} people",
                null.values["share"],
                LEAST_SHARE if fraction is None else None,
                MOST_SHARE if fraction is None else rows[0].measured,
            )
        )
    return rows


def null_rows(null: Measurement) -> list[Row]:
    """How many of 400 cohorts without any effect have something found in them."""
    who = f"{COHORTS} cohorts, {GROUP} against {GROUP} people"
    plain = null.values["rejections"]
    return [
        Row("no difference: cohorts in which something is found", "VBM, family-wise 0.05", who,
            plain, FEWEST, MOST),
        Row("no difference: cohorts in which something is found, low-variance correction on",
            "VBM, family-wise 0.05", who, null.values["low_variance_rejections"], None, plain),
    ]  # fmt: skip


def _curve(response: Measurement, key: str, label: str) -> Curve:
    names = [f"{dose_name(dose)}.{key}" for dose in DOSES]
    return Curve(
        tuple(100 * dose for dose in DOSES),
        tuple(response.values[name] for name in names),
        "loss, %",
        label,
        tuple(response.spread[name] for name in names),
    )
