"""How near reconstructions come to the scans they were made from (P1, section 3 and table 1)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import Measurement, counts
from genmorph.metrics.ssim import ssim_map, window_settings

# P1 does not state the range; the L2 and PSNR of its table 1 imply about 1.5 in all three rows:
# PSNR + 10 log10(L2) = 20 log10(range)
PAPER_DATA_RANGE = 1.5
MEASURES = ("l1", "l2", "psnr", "ssim")


def brain_mask(volume: np.ndarray) -> np.ndarray:
    """Voxels of the brain in a skull-stripped volume `[x, y, z]`: above zero, with holes filled."""
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes(volume > 0)


def psnr(mean_squared_error: float, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB; infinite when nothing differs."""
    if mean_squared_error == 0:
        return math.inf
    return 20 * math.log10(data_range) - 10 * math.log10(mean_squared_error)


def compare(
    original: np.ndarray, reconstruction: np.ndarray, *, data_range: float
) -> dict[str, float]:
    """Differences between one scan and its reconstruction.

    Parameters
    ----------
    original, reconstruction : ndarray
        `[x, y, z]`.
    data_range : float
        Of PSNR and SSIM.

    Returns
    -------
    dict of str to float
        `l1` (mean absolute error), `l2` (mean squared error, as the paper names it), `psnr` in dB
        and `ssim` over the grid; the same with `_brain` inside the original's brain.

    Raises
    ------
    MeasurementError
        When grids differ, a voxel is not finite, or the original is empty.
    """
    if original.shape != reconstruction.shape:
        raise MeasurementError(f"original {original.shape}, reconstruction {reconstruction.shape}")
    if not (np.isfinite(original).all() and np.isfinite(reconstruction).all()):
        raise MeasurementError("a voxel is not finite")
    mask = brain_mask(original)
    if not mask.any():
        raise MeasurementError("the original is zero everywhere")
    difference = reconstruction.astype(np.float64) - original
    similarity = ssim_map(original, reconstruction, data_range=data_range)
    values = {}
    for suffix, where in (("", ...), ("_brain", mask)):
        mean_squared_error = float(np.square(difference[where]).mean())
        values[f"l1{suffix}"] = float(np.abs(difference[where]).mean())
        values[f"l2{suffix}"] = mean_squared_error
        values[f"psnr{suffix}"] = psnr(mean_squared_error, data_range)
        values[f"ssim{suffix}"] = float(similarity[where].mean())
    return values


def measure_reconstruction(
    pairs: Iterable[tuple[str, np.ndarray, np.ndarray]], *, data_range: float = PAPER_DATA_RANGE
) -> Measurement:
    """Differences between scans and their reconstructions: mean and SD over scans.

    Parameters
    ----------
    pairs : iterable of (str, ndarray, ndarray)
        Scan id, original and reconstruction `[x, y, z]`; read once, one at a time.
    data_range : float
        Of PSNR and SSIM; the default is what the paper's numbers imply.

    Returns
    -------
    Measurement
        Values as `compare` has them, each a mean over scans of the scan's own value.

    Raises
    ------
    MeasurementError
        When there are no pairs, or one cannot be compared (its scan is named).
    """
    per_scan: dict[str, dict[str, float]] = {}
    shape: tuple[int, ...] = ()
    for scan_id, original, reconstruction in pairs:
        if shape and original.shape != shape:
            raise MeasurementError(f"{scan_id}: volume {original.shape} among volumes of {shape}")
        shape = original.shape
        try:
            per_scan[scan_id] = compare(original, reconstruction, data_range=data_range)
        except MeasurementError as error:
            raise MeasurementError(f"{scan_id}: {error.message}", error.cure) from None
    if not per_scan:
        raise MeasurementError("reconstruction: no pairs of volumes")
    values, spread, notes = {}, {}, []
    for key in next(iter(per_scan.values())):
        of_key = {scan_id: numbers[key] for scan_id, numbers in per_scan.items()}
        undefined = [scan_id for scan_id, value in of_key.items() if not math.isfinite(value)]
        if undefined:
            # an infinite PSNR has no mean
            notes.append(f"{key} is not defined: no difference in {', '.join(undefined)}.")
            continue
        values[key] = statistics.fmean(of_key.values())
        if len(of_key) > 1:
            spread[key] = statistics.stdev(of_key.values())
    ids = list(per_scan)
    return Measurement(
        measure="reconstruction",
        values=values,
        spread=spread,
        n={"scans": len(ids), **counts(reference=ids)},
        settings={
            "data_range": data_range,
            "l2": "mean squared error",
            "average": "mean over scans of each scan's value",
            "spread_over": "scans",
            "brain": "original above zero, holes filled",
            **window_settings(shape),
        },
        notes=tuple(notes),
        per_scan={
            scan_id: {key: value for key, value in numbers.items() if math.isfinite(value)}
            for scan_id, numbers in per_scan.items()
        },
    )
