"""The sanity gate: what is measured of every scan, and the limits beyond which it has failed.

A scan beyond a limit of its recipe fails. Scans that merely differ from the rest of their cohort
are marked, not dropped: see `mark_outliers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import BrainExtraction, Registration, Resample

QUALITY_COLUMNS = {
    "brain_ml": "volume of the brain mask in the scan, ml",
    "csf_like_ml": "darkest of three intensity classes in the brain (Otsu), ml; no segmentation",
    "grey_like_ml": "middle class, ml",
    "white_like_ml": "brightest class, ml",
    "intensity_spread": "1.4826 MAD / median of the brain's intensities",
    "variation_before": "SD / mean of the brain's intensities in the raw scan",
    "variation_after": "the same after bias correction",
    "edge_cm2": "largest area of the brain on a face of the scan's field of view, cm2",
    "affine_scale": "volume of the brain on the grid / in the scan",
    "cut_fraction": "share of the brain beyond the grid",
    "template_overlap": "Dice of brain and template on the grid",
    "template_correlation": "with the template's intensities, inside the brain",
}
MAD_TO_SD = 1.4826  # of a normal distribution
OUTLIER_Z = 3.5
FEWEST_SCANS = 8  # with fewer, a median of deviations says little


def measure_brain(raw: Image, image: Image, mask: np.ndarray) -> dict[str, float]:
    """Measures of the brain in the scan's own space, by column of `QUALITY_COLUMNS`.

    Parameters
    ----------
    raw, image : Image
        The scan as it came and as it is now, on one grid.
    mask : ndarray of bool
    """
    values = image.data[mask]
    middle = float(np.median(values)) if values.size else float("nan")
    spread = MAD_TO_SD * float(np.median(np.abs(values - middle))) if values.size else float("nan")
    return {
        "brain_ml": float(mask.sum() * image.voxel_ml),
        **_tissue_like_ml(values, image.voxel_ml),
        "intensity_spread": spread / max(abs(middle), 1e-6),
        "variation_before": _variation(raw.data[mask]),
        "variation_after": _variation(values),
        "edge_cm2": edge_area_cm2(mask, image.voxel_mm),
    }


def _tissue_like_ml(values: np.ndarray, voxel_ml: float) -> dict[str, float]:
    """Volumes of three intensity classes: thresholds of Otsu on the histogram, no segmentation."""
    from skimage.filters import threshold_multiotsu

    names = ("csf_like_ml", "grey_like_ml", "white_like_ml")
    # a few very bright vessels would leave the histogram's bins empty
    low, high = np.percentile(values, (0.1, 99.9)) if values.size else (0.0, 0.0)
    clipped = np.clip(values, low, high)
    if np.unique(clipped).size < len(names):
        return dict.fromkeys(names, float("nan"))
    classes = np.digitize(clipped, threshold_multiotsu(clipped, classes=len(names), nbins=128))
    counts = np.bincount(classes, minlength=len(names))
    return {name: float(count * voxel_ml) for name, count in zip(names, counts, strict=True)}


def edge_area_cm2(mask: np.ndarray, voxel_mm: np.ndarray) -> float:
    """Largest area of a mask on one of the six faces of its array."""
    areas = []
    for axis in range(3):
        voxel_cm2 = float(np.prod(np.delete(voxel_mm, axis))) / 100.0
        areas += [np.take(mask, face, axis=axis).sum() * voxel_cm2 for face in (0, -1)]
    return float(max(areas))


def _variation(values: np.ndarray) -> float:
    return float(values.std() / max(abs(values.mean()), 1e-6)) if values.size else float("nan")


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Overlap of two masks, 0 to 1."""
    return float(2 * (first & second).sum() / max(first.sum() + second.sum(), 1))


def largest_dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two masks of these volumes, were the smaller one inside the larger."""
    volumes = (int(first.sum()), int(second.sum()))
    return 2 * min(volumes) / max(sum(volumes), 1)


def correlation(volume: np.ndarray, reference: np.ndarray, inside: np.ndarray) -> float:
    """Pearson correlation of two volumes inside a mask; NaN when one is constant."""
    with np.errstate(invalid="ignore"):
        return float(np.corrcoef(volume[inside], reference[inside])[0, 1])


def brain_problem(
    quality: Mapping[str, float], options: BrainExtraction, *, skull_stripped: bool
) -> str | None:
    """Why this cannot be a whole brain; None when it can."""
    brain_ml, edge_cm2 = quality["brain_ml"], quality["edge_cm2"]
    if not options.least_ml <= brain_ml <= options.most_ml:
        hint = "; was its skull really removed, and is its background 0?" if skull_stripped else ""
        return (
            f"the brain would have {brain_ml:.0f} ml, plausible are {options.least_ml:.0f} to "
            f"{options.most_ml:.0f}{hint}"
        )
    if edge_cm2 > options.most_edge_cm2:
        return (
            f"the brain is cut off: {edge_cm2:.0f} cm2 of it lie on a face of the scan's field of "
            f"view, more than {options.most_edge_cm2:g}"
        )
    return None


def grid_problem(quality: Mapping[str, float], options: Resample) -> str | None:
    """Why a brain does not lie on the grid; None when it does."""
    if quality["cut_fraction"] > options.most_cut_fraction:
        return (
            f"{100 * quality['cut_fraction']:.1f} % of the brain lie beyond the grid, more than "
            f"{100 * options.most_cut_fraction:g} %"
        )
    return None


def registration_problem(
    quality: Mapping[str, float], options: Registration, largest_overlap: float
) -> str | None:
    """Why a registration cannot be right; None when it can.

    Parameters
    ----------
    quality : mapping
    options : Registration
    largest_overlap : float
        Dice that brain and template could have at best: a small brain, registered rigidly, stays
        small.
    """
    scale, overlap = quality["affine_scale"], quality["template_overlap"]
    if not options.least_scale <= scale <= options.most_scale:
        return (
            f"registration scales the brain's volume by {scale:.2f}, plausible are "
            f"{options.least_scale} to {options.most_scale}"
        )
    if overlap < options.least_overlap * largest_overlap:
        return (
            f"registered brain and template overlap by {overlap:.2f} (Dice), below "
            f"{options.least_overlap} of the {largest_overlap:.2f} that their volumes allow"
        )
    found = quality["template_correlation"]
    if not found >= options.least_correlation:  # also when it is not a number
        return (
            f"registered brain and template correlate {found:.2f}, below "
            f"{options.least_correlation}"
        )
    return None


def robust_z(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """How far each scan lies from its cohort: (value - median) / (1.4826 MAD), by measure.

    Median and median absolute deviation (MAD) are those of the scans that did not fail. Where at
    least half of them agree exactly, where fewer than 8 have the measure, and for failed scans it
    is NaN.

    Parameters
    ----------
    rows : sequence of mapping
        Status rows: `status`, and measures as text.

    Returns
    -------
    dict
        Array `[len(rows)]` for each of `QUALITY_COLUMNS`.
    """
    good = np.array([row["status"] == "ok" for row in rows], dtype=bool)
    scores = {}
    for column in QUALITY_COLUMNS:
        values = np.array([float(row.get(column) or "nan") for row in rows])
        known = values[good & np.isfinite(values)]
        scores[column] = np.full(len(rows), np.nan)
        if known.size < FEWEST_SCANS:
            continue
        spread = MAD_TO_SD * np.median(np.abs(known - np.median(known)))
        if spread > 0:
            scores[column][good] = (values[good] - np.median(known)) / spread
    return scores


def mark_outliers(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Measures in which each scan is an outlier: |robust z| above 3.5 (Iglewicz and Hoaglin 1993).

    Returns
    -------
    list of list of str
        Column names for each row; none for failed scans.
    """
    scores = robust_z(rows)
    return [
        [column for column, z in scores.items() if abs(z[index]) > OUTLIER_Z]
        for index in range(len(rows))
    ]
