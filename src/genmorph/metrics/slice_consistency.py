"""How smoothly slices follow each other: differences of neighbouring slices, beside real scans.

A model that makes a volume slice by slice (P2, section 2.1) may make each of them well and yet put
slices side by side that do not belong together. Volokitin et al. show it in pictures (figure 2);
the number is not theirs.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.frechet import AXES
from genmorph.metrics.measurement import Measurement, counts
from genmorph.metrics.volumes import checked_volume

BACKGROUND = 0.05  # of intensities in [0, 1]: networks seldom put out an exact zero


def neighbour_differences(
    volume: np.ndarray, background: float = BACKGROUND
) -> dict[str, float | None]:
    """Mean |difference| of neighbouring slices along each axis.

    Parameters
    ----------
    volume : ndarray
        `[x, y, z]`, in [0, 1].
    background : float
        A pair of neighbouring voxels counts when either is above it: what both leave dark says
        nothing, and its share differs from grid to grid.

    Returns
    -------
    dict of str to float or None
        For 'sagittal', 'coronal', 'axial': between slices along x, y, z; None where no pair counts.

    Examples
    --------
    >>> ramp = np.zeros((2, 3, 2)) + np.array([0.2, 0.4, 0.6])[:, None]
    >>> {axis: round(value, 3) for axis, value in neighbour_differences(ramp).items()}
    {'sagittal': 0.0, 'coronal': 0.2, 'axial': 0.0}
    """
    above = volume > background
    found: dict[str, float | None] = {}
    for name, axis in AXES.items():
        before, after = (np.moveaxis(above, axis, 0)[part] for part in (np.s_[:-1], np.s_[1:]))
        counted = before | after
        change = np.abs(np.diff(np.moveaxis(volume, axis, 0), axis=0))
        found[name] = float(change[counted].mean(dtype=float)) if counted.any() else None
    return found


def measure_slice_consistency(
    generated: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    *,
    background: float = BACKGROUND,
) -> Measurement:
    """Differences of neighbouring slices in generated volumes beside those in real scans.

    Parameters
    ----------
    generated, reference : mapping of str to ndarray
        Volumes `[x, y, z]` by id, on one grid; each is read once.
    background : float
        As in `neighbour_differences`.

    Returns
    -------
    Measurement
        For each axis (`coronal`, ...) the mean over generated volumes, `coronal_reference` over
        real scans, `coronal_ratio` of the two (above 1 slices jump, below 1 the volume is smoother
        than real ones) and `coronal_departure`, how far that ratio is from 1, to either side. The
        spread is the SD over scans.

    Raises
    ------
    MeasurementError
        When a side has no volumes, or one is not fit for a measure.
    """
    shape = None
    per_scan: dict[str, dict[str, float]] = {}
    values, spread, notes = {}, {}, []
    for suffix, volumes in (("", generated), ("_reference", reference)):
        side = "real scans" if suffix else "generated volumes"
        if not volumes:
            raise MeasurementError(f"slice consistency: no {side}")
        of_side: dict[str, list[float]] = {axis: [] for axis in AXES}
        dark = []
        for scan_id, volume in volumes.items():
            checked = checked_volume("slice consistency", scan_id, volume, shape)
            shape = checked.shape
            found = neighbour_differences(checked, background)
            if None in found.values():
                dark.append(scan_id)
                continue
            numbers = per_scan.setdefault(scan_id, {})
            for axis, value in found.items():
                of_side[axis].append(value)
                numbers[f"{axis}{suffix}"] = value
        if dark:
            notes.append(
                f"Slice consistency: n/a for {len(dark)} of {len(volumes)} {side}, as no two "
                f"neighbours are above {background:g}: {', '.join(dark[:5])}."
            )
        for axis, numbers_of_axis in of_side.items():
            if numbers_of_axis:
                values[f"{axis}{suffix}"] = statistics.fmean(numbers_of_axis)
            if len(numbers_of_axis) > 1:
                spread[f"{axis}{suffix}"] = statistics.stdev(numbers_of_axis)
    for axis in AXES:
        own, real = values.get(axis), values.get(f"{axis}_reference")
        if own is not None and real:
            values[f"{axis}_ratio"] = own / real
            values[f"{axis}_departure"] = abs(own / real - 1)
        else:
            notes.append(
                f"{axis}_ratio and {axis}_departure are not defined: a side has no difference to "
                "compare."
            )
    return Measurement(
        measure="slice_consistency",
        values=values,
        spread=spread,
        n=counts(generated=list(generated), reference=list(reference)),
        settings={
            "difference": "mean |difference| of neighbouring slices",
            "voxels": "pairs of neighbours of which either is above the background",
            "background": background,
            "average": "mean over scans of each scan's value",
            "ratio": "mean of generated / mean of real",
            "departure": "|ratio - 1|",
            "spread_over": "scans",
        },
        notes=tuple(notes),
        per_scan=per_scan,
    )
