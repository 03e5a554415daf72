"""Controls of voxel-based morphometry on true maps: what it finds where the truth is known.

The tests are those of `metrics.vbm`: were they wrong, these controls would fail. Only the maps are
made here, without scans, segmentation or registration. Trials are independent of each other;
`apply` may be the `map` of a pool of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from genmorph.controls.cohorts import (
    PeopleMaps,
    medial_temporal_mask,
    people_with,
    smoothed_medial_temporal_mask,
)
from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.vbm import FWHM_MM, MASK_THRESHOLD, analysis_mask, smooth
from genmorph.metrics.vbm_agreement import dice
from genmorph.metrics.vbm_inference import family_wise, permute_maximum, uncorrected
from genmorph.metrics.vbm_statistics import LOW_VARIANCE_FRACTION, TMap, two_sample
from genmorph.seeds import derive_seed

DOSES = (0.0, 0.05, 0.1, 0.2)
PEAK_MARGIN_MM = 4.0  # from the mask, within which a peak counts as found
LOST, WHOLE = "with loss", "without loss"

Apply = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Statistics:
    """How maps are made ready, compared and judged.

    Attributes
    ----------
    voxel_mm, fwhm_mm : float
    mask_threshold : float
        A voxel is tested where the mean smoothed map exceeds it.
    variance : {'unequal', 'pooled', 'reml'}
    low_variance_fraction : float or None
        Of the low-variance correction; None is without it.
    permutations : int
        Of the greatest |t|, the labels as they are included.
    level : float
        Family-wise.
    """

    voxel_mm: float = 4.0
    fwhm_mm: float = FWHM_MM
    mask_threshold: float = MASK_THRESHOLD
    variance: str = "unequal"
    low_variance_fraction: float | None = None
    permutations: int = 200
    level: float = 0.05


STATISTICS = Statistics()


def smoothed_people(
    dose: float,
    n: int,
    seed: int,
    statistics: Statistics = STATISTICS,
    *,
    head_size: bool = True,
) -> PeopleMaps:
    """`people_with`, each map smoothed."""
    group = people_with(dose, n, seed, statistics.voxel_mm, head_size=head_size)
    smoothed = [smooth(volume, statistics.fwhm_mm, statistics.voxel_mm) for volume in group.maps]
    return group._replace(maps=np.stack(smoothed))


# -- a known effect --------------------------------------------------------------------------------


def dose_response(
    *,
    doses: Sequence[float] = DOSES,
    trials: int = 5,
    n: int = 20,
    seed: int = 0,
    head_size: bool = False,
    statistics: Statistics = STATISTICS,
    apply: Apply = map,
) -> Measurement:
    """What is found of a known medial temporal loss: people who have it against people who do not.

    The groups of a trial are other people of the same distribution; the doses of a trial act on the
    same people.

    Parameters
    ----------
    doses : sequence of float
        Parts of medial temporal gray matter lost.
    trials : int
        Pairs of groups.
    n : int
        People in each group.
    head_size : bool
        False gives everybody the head of the template. People's heads differ by a tenth in volume,
        so groups of 20 may differ by chance as much as a small dose makes.
    apply : callable
        As `map`.

    Returns
    -------
    Measurement
        For each dose, as `dose-20.<value>`: `detected` (trials with any voxel over the family-wise
        threshold), `peak_inside` (of these, trials whose greatest |t| is a loss within 4 mm of the
        medial temporal mask), and means over trials: `peak_absolute_t`, `overlap` (Dice of what is
        over the threshold with the mask smoothed and cut at half its maximum) and `false_voxels`
        (over the threshold, and farther from the mask than 4 mm and the filter's width). Each trial
        stands in `per_scan`.

    Raises
    ------
    MeasurementError
        When there is no trial, or a group has fewer than two people.
    """
    _check(trials, n)
    run = partial(
        _dose_trial,
        doses=tuple(doses),
        n=n,
        seed=seed,
        head_size=head_size,
        statistics=statistics,
    )
    found = list(apply(run, range(trials)))
    values, spread = {}, {}
    for place, dose in enumerate(doses):
        of_dose = [of_trial[place] for of_trial in found]
        name = dose_name(dose)
        values[f"{name}.detected"] = float(sum(each["detected"] for each in of_dose))
        values[f"{name}.peak_inside"] = float(
            sum(each["detected"] * each["peak_inside"] for each in of_dose)
        )
        for key in ("peak_absolute_t", "overlap", "false_voxels"):
            numbers = [each[key] for each in of_dose]
            values[f"{name}.{key}"] = float(np.mean(numbers))
            if trials > 1:
                spread[f"{name}.{key}"] = float(np.std(numbers, ddof=1))
    return Measurement(
        "vbm_dose_response",
        values=values,
        spread=spread,
        n={"trials": trials, "people_with_loss": n, "people_without_loss": n},
        settings={
            **_settings(statistics),
            "doses": list(doses),
            "head_size": head_size,
            "seed": seed,
            "peak_margin_mm": PEAK_MARGIN_MM,
            "spread_over": "trials",
        },
        per_scan={
            f"{dose_name(dose)}_trial-{trial}": {key: float(x) for key, x in each.items()}
            for trial, of_trial in enumerate(found)
            for dose, each in zip(doses, of_trial, strict=True)
        },
    )


def _dose_trial(
    trial: int,
    *,
    doses: tuple[float, ...],
    n: int,
    seed: int,
    head_size: bool,
    statistics: Statistics,
) -> list[dict[str, float]]:
    """One group without loss against another at each dose."""

    def people(dose: float, group: str) -> PeopleMaps:
        own = derive_seed(seed, "controls", group, trial)
        return smoothed_people(dose, n, own, statistics, head_size=head_size)

    without = people(0.0, WHOLE)
    return [_found(people(dose, LOST), without, statistics, trial) for dose in doses]


def _found(
    with_loss: PeopleMaps, without: PeopleMaps, statistics: Statistics, seed: int
) -> dict[str, float]:
    """Greatest |t| of two groups, and whether and where anything is significant."""
    groups = _named(with_loss.maps, without.maps)
    mask = analysis_mask(groups, statistics.mask_threshold)
    t_map, over, p = _family_wise(groups, mask, statistics, seed)
    peak = np.unravel_index(np.nanargmax(np.abs(t_map.t)), t_map.t.shape)
    t = float(t_map.t[peak])
    near = medial_temporal_mask(statistics.voxel_mm, PEAK_MARGIN_MM)
    far = ~medial_temporal_mask(statistics.voxel_mm, PEAK_MARGIN_MM + statistics.fwhm_mm)
    overlap = dice(over, smoothed_medial_temporal_mask(statistics.voxel_mm, statistics.fwhm_mm))
    x, y, z = with_loss.affine[:3, :3] @ peak + with_loss.affine[:3, 3]
    return {
        "peak_t": t,
        "peak_absolute_t": abs(t),
        "peak_p_corrected": p,
        "detected": bool(over.any()),
        "peak_inside": bool(near[peak]) and t < 0,
        "peak_x_mm": x,
        "peak_y_mm": y,
        "peak_z_mm": z,
        "voxels": int(over.sum()),
        "false_voxels": int((over & far).sum()),
        "overlap": overlap if overlap is not None else 0.0,
    }


# -- no effect -------------------------------------------------------------------------------------


def parametric_null(
    maps: np.ndarray,
    mask: np.ndarray,
    *,
    splits: int = 1000,
    p: float = 0.001,
    seed: int = 0,
    variance: str = "unequal",
    low_variance_fraction: float | None = None,
) -> Measurement:
    """Share of voxels below a p, over random halves of people who do not differ.

    Parameters
    ----------
    maps : ndarray `[n, x, y, z]`
        Smoothed, one a person.
    mask : ndarray `[x, y, z]` of bool
        Voxels tested.
    splits : int
        Random halves; an odd person is left out, another one each time.
    p : float
        Two-sided, uncorrected.

    Returns
    -------
    Measurement
        `share`: mean share of the mask's voxels with a smaller p, `p` itself when the test keeps
        what it promises; its spread is over splits.

    Raises
    ------
    MeasurementError
        When a half would have fewer than two people, or maps and mask do not share a grid.
    """
    if maps.shape[1:] != mask.shape:
        raise MeasurementError(
            f"parametric null: maps {maps.shape[1:]}, a mask {mask.shape}", "give both on one grid"
        )
    half = len(maps) // 2
    _check(splits, half)
    inside = maps[:, mask]
    rng = np.random.default_rng(derive_seed(seed, "controls", "splits"))
    shares = []
    for _ in range(splits):
        order = rng.permutation(len(maps))
        t_map = two_sample(
            inside[order[:half]],
            inside[order[half : 2 * half]],
            variance=variance,
            low_variance_fraction=low_variance_fraction,
        )
        shares.append(float(uncorrected(t_map, p).mask.mean()))
    return Measurement(
        "vbm_parametric_null",
        values={"share": float(np.mean(shares))},
        spread={"share": float(np.std(shares, ddof=1))} if splits > 1 else {},
        n={"people": len(maps), "splits": splits, "voxels": int(mask.sum())},
        settings={
            "p": p,
            "sides": "two-sided",
            "variance": variance,
            "low_variance_fraction": low_variance_fraction,
            "seed": seed,
            "spread_over": "splits",
        },
    )


def familywise_null(
    *,
    cohorts: int = 400,
    n: int = 12,
    seed: int = 0,
    statistics: Statistics = STATISTICS,
    apply: Apply = map,
) -> Measurement:
    """In how many cohorts without any effect the family-wise threshold is exceeded.

    Parameters
    ----------
    cohorts : int
        Independent pairs of groups of healthy people.
    n : int
        People in each group.
    apply : callable
        As `map`.

    Returns
    -------
    Measurement
        `rejections`: number of cohorts with a voxel over the threshold; `rate`: their share. The
        same with `low_variance_` before, of the same cohorts with the low-variance correction.

    Raises
    ------
    MeasurementError
        When there is no cohort, or a group has fewer than two people.
    """
    _check(cohorts, n)
    run = partial(_null_cohort, n=n, seed=seed, statistics=statistics)
    rejected = np.array(list(apply(run, range(cohorts))))
    values = {}
    for name, of_test in zip(("", "low_variance_"), rejected.T, strict=True):
        values[f"{name}rejections"] = float(of_test.sum())
        values[f"{name}rate"] = float(of_test.mean())
    return Measurement(
        "vbm_familywise_null",
        values=values,
        n={"cohorts": cohorts, "people_a_group": n},
        settings={
            **_settings(statistics),
            "low_variance_fraction_of_low_variance": LOW_VARIANCE_FRACTION,
            "seed": seed,
        },
    )


def _null_cohort(cohort: int, *, n: int, seed: int, statistics: Statistics) -> tuple[bool, bool]:
    """Whether two groups that do not differ have a voxel over the threshold.

    By the test that is asked for, and by the same with the low-variance correction.
    """
    both = smoothed_people(0.0, 2 * n, derive_seed(seed, "controls", "null", cohort), statistics)
    # ages and sexes take turns in the order people are planned: shuffled, only chance is left
    rng = np.random.default_rng(derive_seed(seed, "controls", "groups", cohort))
    order = rng.permutation(2 * n)
    groups = _named(both.maps[order[:n]], both.maps[order[n:]])
    mask = analysis_mask(groups, statistics.mask_threshold)
    corrected = replace(statistics, low_variance_fraction=LOW_VARIANCE_FRACTION)
    return tuple(
        bool(_family_wise(groups, mask, each, cohort)[1].any()) for each in (statistics, corrected)
    )


# -- both ------------------------------------------------------------------------------------------


def _named(first: np.ndarray, second: np.ndarray) -> tuple[dict[str, np.ndarray], ...]:
    """Maps `[n, x, y, z]` of two groups by names that tell people apart."""
    return tuple(
        {f"{side}-{number}": volume for number, volume in enumerate(maps)}
        for side, maps in (("first", first), ("second", second))
    )


def _family_wise(
    groups: tuple[dict[str, np.ndarray], ...],
    mask: np.ndarray,
    statistics: Statistics,
    seed: int,
) -> tuple[TMap, np.ndarray, float]:
    """t-map, voxels over the family-wise threshold, and p of the greatest |t|."""
    t_map = two_sample(
        *groups,
        mask=mask,
        variance=statistics.variance,
        low_variance_fraction=statistics.low_variance_fraction,
    )
    null = permute_maximum(*groups, t_map, permutations=statistics.permutations, seed=seed)
    found = family_wise(t_map, null, statistics.level)
    if found.mask is None:
        raise MeasurementError(f"controls: {found.reason}", "ask for more permutations")
    return t_map, found.mask, found.values["peak_p_corrected"]


def _settings(statistics: Statistics) -> dict[str, Any]:
    return {**asdict(statistics), "correction": "family-wise, maximum |t|", "sides": "two-sided"}


def dose_name(dose: float) -> str:
    """Prefix of a dose's values."""
    return f"dose-{round(100 * dose):02d}"


def _check(trials: int, n: int) -> None:
    if trials < 1:
        raise MeasurementError(f"controls: {trials} trials", "ask for one at least")
    if n < 2:
        raise MeasurementError(f"controls: groups of {n}", "each group needs two people at least")
