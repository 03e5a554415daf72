"""Dice of many labels between two label maps, and of a segmenter on people it never saw."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.label_groups import STRUCTURES
from genmorph.metrics.measurement import Measurement, counts, person

MEAN = "mean"


def dice_per_structure(
    found: np.ndarray, truth: np.ndarray, structures: Mapping[int, str] = STRUCTURES
) -> dict[str, float]:
    """2 |A ∩ B| / (|A| + |B|) of each structure, and their mean.

    Parameters
    ----------
    found, truth : ndarray of whole numbers, one shape
    structures : mapping of int to str
        Label and name; the background is left out by not being one.

    Returns
    -------
    dict of str to float
        By name; one that neither map has is absent. `mean` is over those that are defined, and
        absent when none is.

    Raises
    ------
    MeasurementError
        When the shapes differ.
    """
    if found.shape != truth.shape:
        raise MeasurementError(f"label maps {found.shape} and {truth.shape}")
    labels = list(structures)
    a, b = found.ravel(), truth.ravel()
    most = int(max(a.max(initial=0), b.max(initial=0), *labels)) + 1
    volume_a, volume_b = np.bincount(a, minlength=most), np.bincount(b, minlength=most)
    both = np.bincount(a[a == b], minlength=most)
    dice = {
        structures[label]: float(2 * both[label] / (volume_a[label] + volume_b[label]))
        for label in labels
        if volume_a[label] + volume_b[label]
    }
    return dice | {MEAN: statistics.fmean(dice.values())} if dice else {}


def averaged(rows: Collection[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation of each key over the rows that have it."""
    keys = sorted({key for row in rows for key in row})
    values = {key: [row[key] for row in rows if key in row] for key in keys}
    return (
        {key: statistics.fmean(of_key) for key, of_key in values.items()},
        {key: statistics.stdev(of_key) for key, of_key in values.items() if len(of_key) > 1},
    )


def measure_segmenter(
    segment: Callable[[np.ndarray], np.ndarray],
    volumes: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    *,
    people_seen: Collection[str],
    structures: Mapping[int, str] = STRUCTURES,
    settings: Mapping[str, Any] | None = None,
) -> Measurement:
    """Dice of a segmenter on labelled people it never saw.

    Parameters
    ----------
    segment : callable
        Volume `[x, y, z]` to labels `[x, y, z]`.
    volumes, labels : mapping of str to ndarray
        By scan id; read one at a time.
    people_seen : collection of str
        Whom it was trained on, or its epoch chosen by.
    structures : mapping of int to str
    settings : mapping, optional
        Of the segmenter, as JSON values.

    Returns
    -------
    Measurement
        `segmenter_dice`: of each structure and `mean`, means over scans; `per_scan`.

    Raises
    ------
    MeasurementError
        When there is no volume, one has no labels, or one is of a person the segmenter saw.
    """
    if not volumes:
        raise MeasurementError("segmenter: no volumes to measure it on")
    seen = sorted({person(scan_id) or scan_id for scan_id in volumes} & set(people_seen))
    if seen:
        raise MeasurementError(
            f"segmenter: it was trained on {', '.join(seen)}, on whom it is measured",
            "measure it on other people",
        )
    if unlabelled := sorted(set(volumes) - set(labels)):
        raise MeasurementError(f"segmenter: no labels of {', '.join(unlabelled)}")
    per_scan = {
        scan_id: dice_per_structure(segment(volumes[scan_id]), labels[scan_id], structures)
        for scan_id in volumes
    }
    values, spread = averaged(list(per_scan.values()))
    return Measurement(
        measure="segmenter_dice",
        values=values,
        spread=spread,
        n=counts(unseen=list(per_scan)),
        settings={
            "structures": list(structures.values()),
            "average": "mean over scans; of a scan, over the structures that it or its "
            "segmentation has, background left out",
            "spread_over": "scans",
            **(settings or {}),
        },
        per_scan=per_scan,
    )
