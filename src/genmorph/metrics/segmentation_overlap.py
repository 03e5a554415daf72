"""Overlap of tissue segments between scans and their reconstructions (P3, section 4 and table 1).

Dice says how far two segments lie on each other, volumetric similarity whether they are equally
large (Taha and Hanbury, "Metrics for evaluating 3D medical image segmentation", 2015). P3 tests
differences in Dice between two models by Wilcoxon's signed-rank test at p < 0.01.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.half_samples import mean_of_each_person
from genmorph.metrics.measurement import Measurement, counts

Maps = Mapping[str, np.ndarray]
Labels = Literal["hard", "soft"]

MEASURE = "segmentation_overlap"
DICE, SIMILARITY = "dice", "volumetric_similarity"
PAPER_ALPHA = 0.01
# maps stored as bytes are rounded by half a step of 1/255
TOLERANCE = 2e-3
# exact distributions of the signed-rank statistic: without ties by recursion, with ties by all
# 2^n signs
MOST_EXACT, MOST_EXACT_WITH_TIES = 50, 13
# differences of two Dice values are equal when they agree to this many decimals
DECIMALS = 12


def hard_segments(maps: Maps, brain_threshold: float) -> dict[str, np.ndarray]:
    """Each tissue's voxels: where it is the likeliest tissue, inside the brain.

    Parameters
    ----------
    maps : mapping of str to ndarray
        Probability of each tissue `[x, y, z]`.
    brain_threshold : float
        A voxel is of the brain where the tissues together are likelier than this.

    Returns
    -------
    dict of str to ndarray of bool
        Disjoint. Of two equally likely tissues the first by name has the voxel.
    """
    names = sorted(maps)
    total = sum(np.asarray(maps[name], dtype=np.float64) for name in names)
    likeliest = np.zeros(np.shape(total), dtype=np.intp)
    highest = np.asarray(maps[names[0]])
    for number, name in enumerate(names[1:], start=1):
        higher = maps[name] > highest
        likeliest[higher] = number
        highest = np.where(higher, maps[name], highest)
    brain = total > brain_threshold
    return {name: brain & (likeliest == number) for number, name in enumerate(names)}


def overlap(segment_a: np.ndarray, segment_b: np.ndarray) -> dict[str, float]:
    """Dice and volumetric similarity of two segments.

    Parameters
    ----------
    segment_a, segment_b : ndarray
        `[x, y, z]`: booleans, or probabilities. Of probabilities the smaller one is what both have
        in common (Crum et al., "Generalized overlap measures", 2006), so that a map overlaps
        itself by 1.

    Returns
    -------
    dict of str to float
        `dice` = 2 |a ∩ b| / (|a| + |b|), `volumetric_similarity` = 1 - ||a| - |b|| / (|a| + |b|);
        empty when both segments are.
    """
    volume_a, volume_b = (
        float(segment.sum(dtype=np.float64)) for segment in (segment_a, segment_b)
    )
    both = volume_a + volume_b
    if both == 0:
        return {}
    common = float(np.minimum(segment_a, segment_b).sum(dtype=np.float64))
    return {DICE: 2 * common / both, SIMILARITY: 1 - abs(volume_a - volume_b) / both}


def measure_segmentation_overlap(
    pairs: Iterable[tuple[str, Maps, Maps]],
    *,
    labels: Labels = "hard",
    brain_threshold: float = 0.5,
) -> Measurement:
    """Overlap of each tissue between scans and their reconstructions: mean and SD over people.

    Parameters
    ----------
    pairs : iterable of (str, mapping, mapping)
        Scan id, and of the original and of its reconstruction the probability of each tissue
        `[x, y, z]`; read once, one pair at a time.
    labels : {'hard', 'soft'}
        Whether a voxel belongs to its likeliest tissue alone (as P3's overlap), or to each by its
        probability.
    brain_threshold : float
        Of hard labels: a voxel is of the brain where its tissues together are likelier than this.

    Returns
    -------
    Measurement
        `dice_GM`, `volumetric_similarity_GM` and so on: mean over people of each person's mean over
        scans; `per_scan` holds every scan. A tissue that neither segmentation of a scan has is left
        out for that scan, with a note.

    Raises
    ------
    MeasurementError
        When there are no pairs, a scan comes twice, tissues or grids differ, a map is no
        probability, or an original has no tissue at all.
    """
    if labels not in ("hard", "soft"):
        raise MeasurementError(f"segmentation overlap: labels '{labels}'", "hard or soft")
    if not 0 <= brain_threshold < 1:
        raise MeasurementError(
            f"segmentation overlap: brain_threshold {brain_threshold}", "from 0 to below 1"
        )
    per_scan: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    tissues: list[str] = []
    for scan_id, original, reconstruction in pairs:
        if scan_id in per_scan:
            raise MeasurementError(f"segmentation overlap: {scan_id} twice", "give each scan once")
        tissues = tissues or sorted(original)
        _check_maps(scan_id, tissues, original, reconstruction)
        sides = [
            hard_segments(maps, brain_threshold) if labels == "hard" else maps
            for maps in (original, reconstruction)
        ]
        per_scan[scan_id], reasons = _of_scan(scan_id, tissues, *sides)
        notes += reasons
    if not per_scan:
        raise MeasurementError("segmentation overlap: no pairs of segmentations")
    values, spread = _over_people(per_scan, tissues)
    scan_ids = list(per_scan)
    return Measurement(
        measure=MEASURE,
        values=values,
        spread=spread,
        n={"scans": len(scan_ids), **counts(reference=scan_ids)},
        settings={
            "labels": labels,
            "brain_threshold": brain_threshold if labels == "hard" else None,
            "tissues": tissues,
            "overlap": "2 |a ∩ b| / (|a| + |b|); of probabilities the smaller one",
            "volumetric_similarity": "1 - ||a| - |b|| / (|a| + |b|)",
            "average": "one value a person, the mean of the person's scans",
            "spread_over": "people",
        },
        notes=tuple(notes),
        per_scan=per_scan,
    )


def compare_overlaps(
    first: Measurement, second: Measurement, *, alpha: float = PAPER_ALPHA
) -> Measurement:
    """Wilcoxon's signed-rank test between two models that reconstructed the same scans.

    Two-sided, on one difference a person; people without a difference are left out, as Wilcoxon
    did. With n people left no p can be below 2^(1 - n): if that is not below alpha, the test cannot
    come out and is not made. P3 does not say what it did about its number of comparisons: nothing
    is corrected here.

    Parameters
    ----------
    first, second : Measurement
        Of `measure_segmentation_overlap`, with the same settings.
    alpha : float
        Level; P3 has 0.01.

    Returns
    -------
    Measurement
        For each value of the two, such as `dice_GM`: `dice_GM_difference` (mean over people, first
        less second; the spread is the SD over people), `dice_GM_smallest_p` (what n allows),
        `dice_GM_p` and `dice_GM_significant` (1 or 0). What is not defined is absent and noted.

    Raises
    ------
    MeasurementError
        When a measurement is of something else, settings or scans differ, or alpha is no level.
    """
    _check_comparable(first, second, alpha)
    values: dict[str, float] = {}
    spread: dict[str, float] = {}
    notes: list[str] = []
    for tissue in first.settings["tissues"]:
        for name in (DICE, SIMILARITY):
            key = f"{name}_{tissue}"
            differences, reasons = _differences(key, first, second)
            notes += reasons
            if not len(differences):
                continue
            values[f"{key}_difference"] = float(differences.mean())
            if len(differences) > 1:
                spread[f"{key}_difference"] = float(differences.std(ddof=1))
            found, reason = _signed_rank(key, differences, alpha)
            values |= found
            notes += reason
    return Measurement(
        measure="overlap_comparison",
        values=values,
        spread=spread,
        n=dict(first.n),
        settings={
            "test": "Wilcoxon's signed-rank test, two-sided, zero differences left out",
            "exact_up_to": {"without_ties": MOST_EXACT, "with_ties": MOST_EXACT_WITH_TIES},
            "equal_to_decimals": DECIMALS,
            "alpha": alpha,
            "correction": "none",
            "spread_over": "people",
            "overlap": _without_run(first),
            "first": first.settings.get("run"),
            "second": second.settings.get("run"),
        },
        data_label="; ".join(sorted({first.data_label, second.data_label} - {""})),
        notes=tuple(notes),
    )


def _check_maps(scan_id: str, tissues: Sequence[str], original: Maps, reconstruction: Maps) -> None:
    """Refuse maps that are no probabilities of the same tissues on one grid."""
    shapes = set()
    for side, maps in (("original", original), ("reconstruction", reconstruction)):
        where = f"segmentation overlap: {scan_id}, {side}"
        if not maps:
            raise MeasurementError(f"{where}: no tissue")
        if sorted(maps) != list(tissues):
            raise MeasurementError(
                f"{where}: tissues {', '.join(sorted(maps))}, elsewhere {', '.join(tissues)}"
            )
        for tissue, probability in maps.items():
            shapes.add(probability.shape)
            if not np.isfinite(probability).all():
                raise MeasurementError(f"{where}: {tissue} has a voxel that is not finite")
            if probability.min() < -TOLERANCE or probability.max() > 1 + TOLERANCE:
                raise MeasurementError(
                    f"{where}: {tissue} from {probability.min():g} to {probability.max():g} is no "
                    "probability",
                    "give maps from 0 to 1",
                )
        if len(shapes) > 1:
            raise MeasurementError(f"{where}: grids {', '.join(map(str, sorted(shapes)))}")
        total = sum(np.asarray(one, dtype=np.float64) for one in maps.values())
        if total.max() > 1 + TOLERANCE * len(maps):
            raise MeasurementError(
                f"{where}: tissues add up to {total.max():g} in a voxel",
                "give probabilities of tissues that exclude each other",
            )


def _of_scan(
    scan_id: str, tissues: Sequence[str], original: Maps, reconstruction: Maps
) -> tuple[dict[str, float], list[str]]:
    if not any(segment.any() for segment in original.values()):
        raise MeasurementError(
            f"segmentation overlap: {scan_id}: the original has no tissue",
            "its segmentation failed: look at the maps, or leave the scan out and say so",
        )
    notes = []
    if not any(segment.any() for segment in reconstruction.values()):
        notes.append(f"{scan_id}: no tissue was found in the reconstruction; its overlap is 0.")
    found = {}
    for tissue in tissues:
        numbers = overlap(original[tissue], reconstruction[tissue])
        if not numbers:
            notes.append(f"{tissue} of {scan_id}: n/a, in neither segmentation.")
        found |= {f"{name}_{tissue}": value for name, value in numbers.items()}
    return found, notes


def _over_people(
    per_scan: Mapping[str, Mapping[str, float]], tissues: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    values, spread = {}, {}
    for key in (f"{name}_{tissue}" for tissue in tissues for name in (DICE, SIMILARITY)):
        of_people = _each_person({scan: own[key] for scan, own in per_scan.items() if key in own})
        if len(of_people):
            values[key] = statistics.fmean(of_people)
        if len(of_people) > 1:
            spread[key] = statistics.stdev(of_people)
    return values, spread


def _each_person(of_scans: Mapping[str, float]) -> np.ndarray:
    """One value a person: the mean of the person's scans; volumes without a name stand alone."""
    return mean_of_each_person(list(of_scans), np.array(list(of_scans.values()), dtype=np.float64))


def _without_run(measurement: Measurement) -> dict[str, Any]:
    return {key: value for key, value in measurement.settings.items() if key != "run"}


def _check_comparable(first: Measurement, second: Measurement, alpha: float) -> None:
    if not 0 < alpha < 1:
        raise MeasurementError(f"overlap comparison: alpha {alpha}", "a level between 0 and 1")
    others = {first.measure, second.measure} - {MEASURE}
    if others:
        raise MeasurementError(
            f"overlap comparison: a measurement of {', '.join(sorted(others))}",
            f"give two of {MEASURE}",
        )
    settings = _without_run(first), _without_run(second)
    differing = [
        key
        for key in sorted(settings[0].keys() | settings[1].keys())
        if settings[0].get(key) != settings[1].get(key)
    ]
    if differing:
        raise MeasurementError(
            f"overlap comparison: the measurements differ in {', '.join(differing)}",
            "measure both models with the same settings",
        )
    unpaired = sorted(first.per_scan.keys() ^ second.per_scan.keys())
    if unpaired:
        raise MeasurementError(
            f"overlap comparison: {len(unpaired)} scans in one measurement alone: "
            f"{', '.join(unpaired[:5])}{', ...' if len(unpaired) > 5 else ''}",
            "measure both models on the same scans",
        )


def _differences(key: str, first: Measurement, second: Measurement) -> tuple[np.ndarray, list[str]]:
    """First less second of each person, and which scans had no value to compare."""
    of_scans, without = {}, []
    for scan_id, own in first.per_scan.items():
        other = second.per_scan[scan_id]
        if key in own and key in other:
            of_scans[scan_id] = own[key] - other[key]
        else:
            without.append(scan_id)
    notes = [f"{key}: without {', '.join(without)}, where it is n/a."] if without else []
    return np.round(_each_person(of_scans), DECIMALS), notes


def _signed_rank(
    key: str, differences: np.ndarray, alpha: float
) -> tuple[dict[str, float], list[str]]:
    """The test's values, and why there is none or how it was made."""
    from scipy.stats import PermutationMethod, wilcoxon

    left = differences[differences != 0]
    if not len(left):
        return {}, [f"{key}: test n/a, no person has a difference."]
    smallest = 2.0 ** (1 - len(left))
    values = {f"{key}_smallest_p": smallest}
    if smallest >= alpha:
        return values, [
            f"{key}: test n/a, {len(left)} people with a difference allow no p below "
            f"{smallest:.3g}, and alpha is {alpha:g}."
        ]
    ties = len(np.unique(np.abs(left))) < len(left)
    notes = []
    method: Any = "exact"
    if ties and len(left) <= MOST_EXACT_WITH_TIES:
        method = PermutationMethod(n_resamples=np.inf)
    elif ties or len(left) > MOST_EXACT:
        method = "asymptotic"
        notes = [f"{key}: p by the normal approximation, {len(left)} people with a difference."]
    p = float(wilcoxon(left, method=method).pvalue)
    return {**values, f"{key}_p": p, f"{key}_significant": float(p < alpha)}, notes
