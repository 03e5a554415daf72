"""Voxel-based morphometry: where two groups differ in gray matter (Ashburner and Friston 2000).

Maps come in modulated by the Jacobian determinant, on the template's grid; here they are smoothed,
masked and tested. P5 (section 6.5) and P3 (figure 3) show such maps of generated scans.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from genmorph.errors import MeasurementError, did_you_mean
from genmorph.metrics.measurement import Measurement, counts, person
from genmorph.metrics.vbm_inference import (
    CORRECTIONS,
    FALSE_DISCOVERY,
    FAMILY_WISE,
    UNCORRECTED,
    Suprathreshold,
    false_discovery_rate,
    family_wise,
    permute_maximum,
    uncorrected,
)
from genmorph.metrics.vbm_moments import CHUNK, Maps, Moments, as_maps, checked_mask, moments
from genmorph.metrics.vbm_statistics import (
    LOW_VARIANCE_FRACTION,
    TMap,
    paired,
    two_sample,
)
from genmorph.metrics.vbm_variances import UndefinedTest

FWHM_MM = 8.0
MASK_THRESHOLD = 0.1
SIDES = ("generated", "reference")
DESIGNS = ("two_sample", "paired")
FWHM_OF_SIGMA = 2 * math.sqrt(2 * math.log(2))
DEFAULT_LEVEL = {UNCORRECTED: 0.001, FALSE_DISCOVERY: 0.05, FAMILY_WISE: 0.05}


# -- before the test -------------------------------------------------------------------------------


def smooth(volume: np.ndarray, fwhm_mm: float, voxel_mm: float | Sequence[float]) -> np.ndarray:
    """Smooth a map with a Gaussian.

    There is no tissue beyond the grid, as SPM and nilearn have it: the sum stays what it is as long
    as tissue keeps about 1.7 full widths away from the edge, where the kernel ends.

    Parameters
    ----------
    volume : ndarray
        `[x, y, z]`.
    fwhm_mm : float
        Full width at half maximum; 0 does nothing. σ = FWHM / (2 √(2 ln 2)).
    voxel_mm : float or sequence of float
        Edges of a voxel.

    Returns
    -------
    ndarray, float32

    Raises
    ------
    MeasurementError
        When a width is negative, an edge is not positive, or a voxel is not finite.
    """
    from scipy.ndimage import gaussian_filter

    edges = np.broadcast_to(np.asarray(voxel_mm, dtype=float), (volume.ndim,))
    if not (fwhm_mm >= 0 and (edges > 0).all()):
        raise MeasurementError(f"smoothing of {fwhm_mm} mm on voxels of {edges.tolist()} mm")
    if not np.isfinite(volume).all():
        raise MeasurementError("smoothing: a voxel is not finite, and would spread")
    if fwhm_mm == 0:
        return volume.astype(np.float32)
    sigma = fwhm_mm / (FWHM_OF_SIGMA * edges)
    smoothed = gaussian_filter(volume.astype(np.float64), sigma, mode="constant", truncate=4.0)
    return smoothed.astype(np.float32)


def analysis_mask(
    groups: Sequence[Maps | np.ndarray | Moments],
    threshold: float = MASK_THRESHOLD,
    *,
    chunk: int = CHUNK,
) -> np.ndarray:
    """Voxels tested, one mask for all groups: those whose mean map exceeds a threshold.

    The mean is that of the groups' means over people, so that a larger group does not decide alone.

    Parameters
    ----------
    groups : sequence of mapping, ndarray or Moments
        Maps by scan id, `[people, voxels]`, or what `moments` made of all voxels of either.
    threshold : float
        In the maps' own unit.
    chunk : int
        Maps held at a time.

    Returns
    -------
    ndarray of bool
        On the grid of the maps.

    Raises
    ------
    MeasurementError
        When grids differ, a voxel is not finite, or no voxel is left.
    """
    of_groups = [
        group if isinstance(group, Moments) else moments(group, chunk=chunk) for group in groups
    ]
    grids = sorted({group.mask.shape for group in of_groups})
    if len(grids) != 1:
        raise MeasurementError(f"VBM: groups on grids {grids}", "bring all maps to one grid")
    if not all(group.mask.all() for group in of_groups):
        raise MeasurementError("VBM: a mask needs the moments of all voxels")
    mean = sum(group.mean for group in of_groups) / len(of_groups)
    return checked_mask((mean > threshold).reshape(grids[0]), grids[0])


# -- the measure -----------------------------------------------------------------------------------


def measure_vbm(
    generated: Maps,
    reference: Maps,
    affine: np.ndarray,
    *,
    design: str = "two_sample",
    variance: str = "unequal",
    low_variance_fraction: float | None = LOW_VARIANCE_FRACTION,
    mask: np.ndarray | None = None,
    mask_threshold: float = MASK_THRESHOLD,
    correction: str = UNCORRECTED,
    level: float | None = None,
    permutations: int = 1000,
    seed: int = 0,
    chunk: int = CHUNK,
    map_settings: dict[str, Any] | None = None,
) -> tuple[TMap | None, Measurement]:
    """t-map of generated less real scans, and what it says.

    Parameters
    ----------
    generated, reference : mapping of str to ndarray
        Smoothed, modulated gray matter `[x, y, z]` by scan id, on one grid. In a paired design both
        sides have the same ids.
    affine : ndarray, shape (4, 4)
        Voxel to world in mm, of the template.
    design : {'two_sample', 'paired'}
    variance : {'unequal', 'pooled', 'reml'}
        Of two samples: see `two_sample`.
    low_variance_fraction : float or None
    mask : ndarray of bool, optional
        Voxels tested. When absent, `analysis_mask` of both sides.
    mask_threshold : float
        Of that mask.
    correction : {'uncorrected', 'false discovery rate', 'family-wise'}
    level : float, optional
        p or rate of the threshold; 0.001 uncorrected and 0.05 otherwise, when absent.
    permutations, seed : int
        Of the family-wise threshold.
    chunk : int
        Maps held at a time; a family-wise threshold holds the voxels of the mask of all people.
    map_settings : dict, optional
        How the maps were made (segmentation, template, smoothing): goes into the settings.

    Returns
    -------
    TMap or None
        None when the test is not defined: the measurement's note says why.
    Measurement
        `peak_t` (greatest |t|, with its sign), `greatest_t`, `least_t`, each with `_x_mm`, `_y_mm`,
        `_z_mm` of its voxel in the template's world; `voxels_over`, `voxels_over_positive`,
        `voxels_over_negative` and `ml_over` of the threshold; `threshold_t`, `threshold_p` as far
        as the threshold has them; `peak_p_corrected` when it is family-wise; what was estimated
        over all voxels.

    Raises
    ------
    MeasurementError
        When a side is empty, grids differ, a voxel is not finite, the mask is empty, or ids of
        pairs do not match.
    """
    if design not in DESIGNS:
        raise MeasurementError(f"VBM: design {design!r}; {did_you_mean(design, DESIGNS)}")
    if correction not in CORRECTIONS:
        raise MeasurementError(
            f"VBM: correction {correction!r}; {did_you_mean(correction, CORRECTIONS)}"
        )
    level = DEFAULT_LEVEL[correction] if level is None else level
    sides = as_maps(generated), as_maps(reference)
    read: tuple[Any, Any] = sides
    mask_origin, digest = "given", "mask_sha256"
    if mask is None:
        # two samples need no second look at the maps: the moments serve the mask and the test
        read = tuple(moments(side, chunk=chunk) for side in sides)
        mask = analysis_mask(read, mask_threshold)
        mask_origin = f"mean of the sides' mean maps over {mask_threshold:g}"
        # no choice, as that of a given mask is: other sides have another
        digest = "sides_mask_sha256"
    ids = {name: list(side) for name, side in zip(SIDES, sides, strict=True)}
    about = {
        "measure": "vbm",
        "n": counts(**ids) | {"mask_voxels": int(mask.sum())},
        "settings": {
            "design": design,
            "variance": variance if design == "two_sample" else "of the differences",
            "low_variance_fraction": low_variance_fraction,
            "mask": mask_origin,
            digest: _digest(mask),
            "affine": np.asarray(affine, dtype=float).tolist(),
            "maps": dict(map_settings or {}),
            "correction": correction,
            "level": level,
        },
    }
    notes = list(_notes_on_people(ids, design))
    shared = {
        "mask": mask,
        "low_variance_fraction": low_variance_fraction,
        "chunk": chunk,
        "names": SIDES,
    }
    try:
        if design == "paired":
            t_map = paired(*sides, **shared)
        else:
            t_map = two_sample(*read, variance=variance, **shared)
    except UndefinedTest as error:
        return None, Measurement(values={}, notes=(*notes, f"n/a: {error.message}."), **about)

    over = _threshold(t_map, sides, correction, level, permutations, seed)
    about["settings"] |= t_map.settings | over.settings
    undefined = int(mask.sum() - t_map.tested.sum())
    if undefined:
        notes.append(f"t is not defined in {undefined} voxels of the mask, which do not vary.")
    if over.reason:
        notes.append(f"No threshold: {over.reason}.")
    values = t_map.estimates | peaks(t_map, affine) | over.values
    if over.mask is not None:
        values |= _extent(t_map, over.mask, affine)
    return t_map, Measurement(values=values, notes=tuple(notes), **about)


def peaks(t_map: TMap, affine: np.ndarray) -> dict[str, float]:
    """Where t is greatest, least, and farthest from zero, in mm of the template's world.

    Of equal values the first voxel in C order counts. `peak` is the one of `greatest` and `least`
    that is farther from zero.
    """
    if t_map.t.ndim != 3:
        raise MeasurementError(f"VBM: a map {t_map.t.shape} has no place in the world")
    found = {"greatest": np.nanargmax(t_map.t), "least": np.nanargmin(t_map.t)}
    found["peak"] = max(found.values(), key=lambda index: abs(t_map.t.flat[index]))
    values = {}
    for name, index in found.items():
        voxel = np.unravel_index(index, t_map.t.shape)
        values[f"{name}_t"] = float(t_map.t[voxel])
        world = np.asarray(affine, dtype=float) @ [*voxel, 1]
        values |= {
            f"{name}_{axis}_mm": float(place) for axis, place in zip("xyz", world[:3], strict=True)
        }
    return values


def _extent(t_map: TMap, over: np.ndarray, affine: np.ndarray) -> dict[str, float]:
    """How much of the mask is over a threshold."""
    voxel_ml = abs(float(np.linalg.det(np.asarray(affine, dtype=float)[:3, :3]))) / 1000
    with np.errstate(invalid="ignore"):
        positive, negative = (int((over & side).sum()) for side in (t_map.t > 0, t_map.t < 0))
    return {
        "voxels_over": float(over.sum()),
        "voxels_over_positive": float(positive),
        "voxels_over_negative": float(negative),
        "ml_over": float(over.sum() * voxel_ml),
    }


def _threshold(
    t_map: TMap,
    sides: tuple[Maps, Maps],
    correction: str,
    level: float,
    permutations: int,
    seed: int,
) -> Suprathreshold:
    if correction == UNCORRECTED:
        return uncorrected(t_map, level)
    if correction == FALSE_DISCOVERY:
        return false_discovery_rate(t_map, level)
    null = permute_maximum(*sides, t_map, permutations=permutations, seed=seed)
    return family_wise(t_map, null, level)


def _notes_on_people(ids: dict[str, list[str]], design: str) -> Iterator[str]:
    """What the people of two samples mean for the test."""
    generated, reference = ({person(scan_id) for scan_id in side} - {None} for side in ids.values())
    both = len(generated & reference)
    if design == "two_sample" and both:
        yield (
            f"{both} people are on both sides, which the test of two samples takes for different "
            "people; the paired test does not."
        )


def _digest(mask: np.ndarray) -> str:
    """SHA-256 of a mask: its shape, and its voxels as bytes 0 and 1 in C order."""
    return hashlib.sha256(f"{mask.shape}".encode() + mask.astype(np.uint8).tobytes()).hexdigest()
