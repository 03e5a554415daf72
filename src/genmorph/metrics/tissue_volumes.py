"""Tissue volumes of generated and of real scans, compared as in P5 (section 4.2 and Table 2).

The segmentation is made elsewhere: what comes in are volumes in ml, a row a scan. Every person has
one value, the mean of the person's scans, since scans of one person are not independent.

P5 marks the cells whose two-sided t-test does not reach the Bonferroni level. A large p is no proof
that volumes agree: it also comes from few scans or from scans that vary much. So the difference,
its interval and an equivalence test (two one-sided tests: Schuirmann, "A comparison of the two
one-sided tests procedure and the power approach", 1987) stand beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.half_samples import mean_of_each_person
from genmorph.metrics.measurement import Measurement, counts, person

if TYPE_CHECKING:
    import pandas as pd

TISSUES = ("GM", "WM", "CSF", "DGM")
# deep gray matter needs an atlas of its own: without one its column is n/a
OPTIONAL = ("DGM",)
SIDES = ("generated", "reference")
# P5 tests 12 synthetic populations x 4 tissues at 0.001 / 48 = 2.083e-5
PAPER_FAMILY_ALPHA = 0.001
FEWEST = 20


@dataclass(frozen=True)
class _Side:
    """Volumes of one side: the table's rows, and one value a person."""

    name: str
    scan_ids: list[str]
    scans: dict[str, np.ndarray]
    people: dict[str, np.ndarray]

    @property
    def size(self) -> int:
        """People and unnamed volumes."""
        return len(next(iter(self.people.values())))


def compare_tissue_volumes(
    generated: pd.DataFrame,
    reference: pd.DataFrame,
    *,
    comparisons: int,
    family_alpha: float = PAPER_FAMILY_ALPHA,
    equivalence_margin: float = 0.05,
    fewest: int = FEWEST,
    confidence: float = 0.95,
    source: Mapping[str, Any],
) -> Measurement:
    """Mean tissue volumes of both sides, their difference, and two tests of it.

    Parameters
    ----------
    generated, reference : DataFrame
        A row a scan: `scan_id`, and in ml `GM`, `WM`, `CSF`, `DGM` (deep gray matter, which may be
        absent or all NaN).
    comparisons : int
        Tests of the whole table: populations times models times tissues. P5 has 48.
    family_alpha : float
        Level of all tests together; each is tested at `family_alpha / comparisons` (Bonferroni).
    equivalence_margin : float
        Share of the reference mean within which volumes count as equivalent. The mean is taken as
        known, so that its own error is not in the test.
    fewest : int
        People or unnamed volumes a side below which `bold` is withheld.
    confidence : float
        Of the interval; the equivalence test is made at `1 - confidence`, and not corrected for the
        number of comparisons.
    source : mapping
        What segmented: engine, atlas with name, licence and SHA-256, or the user's own software.

    Returns
    -------
    Measurement
        For each tissue, such as `GM`: `GM_generated_ml` and `GM_reference_ml` (mean; the spread is
        the SD over people), `GM_difference_ml` and `GM_difference_percent` of the reference mean
        (generated less reference) with `_low` and `_high` of Welch's interval, `GM_p` of Welch's
        two-sided t-test, `GM_bold` (1 when it is not significant, as P5 prints it in bold; absent
        when a side is too small for that to say anything), `GM_equivalence_p` and `GM_equivalent`
        (1 or 0). `per_scan` holds the generated volumes. What is not defined is absent and noted.

    Raises
    ------
    MeasurementError
        When a side is empty, a column is missing, a volume is not a finite number of ml, a scan
        stands twice, the reference mean is zero, or an option is out of range.
    """
    _check_options(comparisons, family_alpha, equivalence_margin, fewest, confidence)
    if not source:
        raise MeasurementError(
            "tissue volumes: no source of the segmentation",
            "name the engine and the atlas, or the software that segmented",
        )
    sides = [_side("generated", generated), _side("reference", reference)]
    settings = {
        "test": "Welch's t-test, two-sided",
        "family_alpha": family_alpha,
        "comparisons": comparisons,
        "level": family_alpha / comparisons,
        "correction": "Bonferroni",
        "equivalence_test": "two one-sided Welch tests",
        "equivalence_margin": equivalence_margin,
        "equivalence_level": _level(confidence),
        "fewest": fewest,
        "confidence": confidence,
        "average": "one value a person, the mean of the person's scans",
        "spread_over": "people",
        "source": dict(source),
    }
    values: dict[str, float] = {}
    spread: dict[str, float] = {}
    notes = _notes_on_people(*sides)
    for tissue in TISSUES:
        without = [side.name for side in sides if tissue not in side.people]
        if without:
            notes.append(f"{tissue}: n/a, no volumes of the {' and of the '.join(without)} scans.")
            continue
        found, deviations, reasons = _compare(tissue, *sides, settings)
        values |= found
        spread |= deviations
        notes += reasons
    first, second = sides
    return Measurement(
        measure="tissue_volumes",
        values=values,
        spread=spread,
        n={
            **counts(generated=first.scan_ids, reference=second.scan_ids),
            "generated_values": first.size,
            "reference_values": second.size,
        },
        settings=settings,
        notes=tuple(notes),
        per_scan={
            scan_id: {f"{tissue}_ml": float(ml[row]) for tissue, ml in first.scans.items()}
            for row, scan_id in enumerate(first.scan_ids)
        },
    )


def verdict(measurement: Measurement, tissue: str) -> str:
    """What the tests say of one tissue, in words.

    Returns
    -------
    str
        `significant`, `not significant`, `underpowered` (not tested for want of people) or `n/a`;
        then, if it was tested, `equivalent` or `not shown equivalent`.
    """
    values = measurement.values
    if f"{tissue}_generated_ml" not in values:
        return "n/a"
    words = []
    if f"{tissue}_bold" in values:
        words.append("not significant" if values[f"{tissue}_bold"] else "significant")
    else:
        words.append("underpowered" if f"{tissue}_p" in values else "n/a")
    if f"{tissue}_equivalent" in values:
        shown = values[f"{tissue}_equivalent"]
        words.append("equivalent" if shown else "not shown equivalent")
    return ", ".join(words)


def _level(confidence: float) -> float:
    return round(1 - confidence, 12)  # 0.05, and not 0.050000000000000044


def _check_options(
    comparisons: int, family_alpha: float, margin: float, fewest: int, confidence: float
) -> None:
    wrong = [
        f"{name} = {value}"
        for name, value, holds in (
            ("comparisons", comparisons, comparisons >= 1),
            ("family_alpha", family_alpha, 0 < family_alpha < 1),
            ("equivalence_margin", margin, margin > 0),
            ("fewest", fewest, fewest >= 2),
            ("confidence", confidence, 0 < confidence < 1),
        )
        if not holds
    ]
    if wrong:
        raise MeasurementError(
            f"tissue volumes: {', '.join(wrong)}",
            "at least one comparison, a positive margin, fewest of two or more, levels between "
            "0 and 1",
        )


def _side(name: str, table: pd.DataFrame) -> _Side:
    """Check one side's table and take each person's mean."""
    missing = {"scan_id", *TISSUES} - set(OPTIONAL) - set(table.columns)
    if missing:
        raise MeasurementError(
            f"tissue volumes: the {name} table has no column {', '.join(sorted(missing))}",
            f"columns: scan_id, {', '.join(TISSUES)} in ml",
        )
    if table.empty:
        raise MeasurementError(f"tissue volumes: no {name} scans")
    if table["scan_id"].isna().any():
        raise MeasurementError(f"tissue volumes: a {name} scan without a scan_id", "name each scan")
    scan_ids = [str(scan_id) for scan_id in table["scan_id"]]
    twice = sorted(scan_id for scan_id, times in Counter(scan_ids).items() if times > 1)
    if twice:
        raise MeasurementError(
            f"tissue volumes: {', '.join(twice)} twice among the {name} scans",
            "give each scan one row",
        )
    scans = {}
    for tissue in TISSUES:
        if tissue in table and not (tissue in OPTIONAL and table[tissue].isna().all()):
            scans[tissue] = _finite_volumes(name, tissue, scan_ids, table[tissue])
    people = {tissue: mean_of_each_person(scan_ids, volumes) for tissue, volumes in scans.items()}
    return _Side(name, scan_ids, scans, people)


def _finite_volumes(name: str, tissue: str, scan_ids: list[str], column: pd.Series) -> np.ndarray:
    try:
        volumes = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise MeasurementError(
            f"tissue volumes: {tissue} of the {name} scans is not a column of numbers"
        ) from None
    wrong = [
        f"{scan_id} ({volume:g})"
        for scan_id, volume in zip(scan_ids, volumes, strict=True)
        if not (math.isfinite(volume) and volume >= 0)
    ]
    if wrong:
        raise MeasurementError(
            f"tissue volumes: {tissue} of {name} scans is no volume in ml: {', '.join(wrong)}",
            "segment these scans again, or leave them out and say so",
        )
    return volumes


def _notes_on_people(generated: _Side, reference: _Side) -> list[str]:
    """What breaks the independence of the two sides."""
    named = [
        {person(scan_id) for scan_id in side.scan_ids} - {None} for side in (generated, reference)
    ]
    shared = len(named[0] & named[1])
    return (
        [
            f"{shared} people are on both sides: the tests take the sides as independent, so that "
            "differences look less certain than they are."
        ]
        if shared
        else []
    )


def _compare(
    tissue: str, generated: _Side, reference: _Side, settings: Mapping[str, Any]
) -> tuple[dict[str, float], dict[str, float], list[str]]:
    """Values, spread and notes of one tissue."""
    first, second = generated.people[tissue], reference.people[tissue]
    mean = float(second.mean())
    if mean == 0:
        raise MeasurementError(
            f"tissue volumes: {tissue} of every reference scan is zero",
            "its segmentation failed: look at the maps",
        )
    difference = float(first.mean()) - mean
    values = {
        f"{tissue}_generated_ml": float(first.mean()),
        f"{tissue}_reference_ml": mean,
        f"{tissue}_difference_ml": difference,
        f"{tissue}_difference_percent": 100 * difference / mean,
    }
    spread = {
        f"{tissue}_{name}_ml": float(own.std(ddof=1))
        for name, own in zip(SIDES, (first, second), strict=True)
        if len(own) > 1
    }
    single = [name for name, own in zip(SIDES, (first, second), strict=True) if len(own) == 1]
    if single:
        reason = (
            f"{tissue}: tests n/a, a single person or volume on the {' and '.join(single)} side"
        )
        return values, spread, [f"{reason} has no variance."]
    if np.ptp(first) == np.ptp(second) == 0:
        reason = f"{tissue}: tests n/a, volumes of neither side vary, so that there is no error to "
        return values, spread, [f"{reason}test against."]
    values |= _tests(tissue, first, second, settings)
    fewest = settings["fewest"]
    few = {
        name: len(own)
        for name, own in zip(SIDES, (first, second), strict=True)
        if len(own) < fewest
    }
    if few:
        sizes = " and ".join(f"{n} {name}" for name, n in few.items())
        reason = f"{tissue}: bold withheld, underpowered: {sizes} people or volumes"
        return values, spread, [f"{reason}, at least {fewest} a side are needed."]
    values[f"{tissue}_bold"] = float(values[f"{tissue}_p"] >= settings["level"])
    return values, spread, []


def _tests(
    tissue: str, first: np.ndarray, second: np.ndarray, settings: Mapping[str, Any]
) -> dict[str, float]:
    """Welch's test with its interval, and the equivalence test."""
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    mean = float(second.mean())
    margin = settings["equivalence_margin"] * mean
    means = CompareMeans(DescrStatsW(first), DescrStatsW(second))
    low, high = means.tconfint_diff(alpha=1 - settings["confidence"], usevar="unequal")
    equivalence = float(means.ttost_ind(-margin, margin, usevar="unequal")[0])
    return {
        f"{tissue}_difference_ml_low": float(low),
        f"{tissue}_difference_ml_high": float(high),
        f"{tissue}_difference_percent_low": float(100 * low / mean),
        f"{tissue}_difference_percent_high": float(100 * high / mean),
        f"{tissue}_p": float(means.ttest_ind(usevar="unequal")[1]),
        f"{tissue}_equivalence_p": equivalence,
        f"{tissue}_equivalent": float(equivalence < settings["equivalence_level"]),
    }
