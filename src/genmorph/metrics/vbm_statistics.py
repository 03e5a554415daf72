"""t of every voxel: two samples, or pairs.

Tudosiu et al. (P5, section 6.5) test in SPM with `independence yes, variance unequal`. SPM's
unequal variance is one variance a group, estimated over all voxels by restricted maximum
likelihood; voxel by voxel it is Welch's test. Both are offered, and named in every result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genmorph.errors import MeasurementError, did_you_mean
from genmorph.metrics.measurement import counts
from genmorph.metrics.vbm_moments import CHUNK, UNIT, Differences, Maps, Moments, moments
from genmorph.metrics.vbm_variances import (
    RESPONSIVE_P,
    VARIANCES,
    UndefinedTest,
    add_low_variance,
    restricted_likelihood_variances,
    squared_standard_error,
    welch_satterthwaite,
)

LOW_VARIANCE_FRACTION = 1e-3

DEGREES_OF_FREEDOM = {
    "unequal": "Welch-Satterthwaite, voxel by voxel",
    "pooled": "n - 2",
    "reml": "n - 2",
}


@dataclass(frozen=True)
class TMap:
    """t of every voxel.

    Attributes
    ----------
    t : ndarray, float64
        On the grid of the maps; NaN outside the mask and where no variance leaves t undefined.
    degrees_of_freedom : float or ndarray
        One number, or on the grid where each voxel has its own.
    difference : ndarray, float64
        First mean less second mean, on the grid; NaN outside the mask.
    mask : ndarray of bool
        Voxels tested, the same for both groups.
    settings : dict
        Every setting of the test.
    n : dict of int
        Scans and people on each side, and voxels of the mask.
    estimates : dict of float
        What was estimated on the way over all voxels: the ratio of the groups' variances, what the
        low-variance correction added.
    """

    t: np.ndarray
    degrees_of_freedom: float | np.ndarray
    difference: np.ndarray
    mask: np.ndarray
    settings: dict[str, Any]
    n: dict[str, int]
    estimates: dict[str, float] = field(default_factory=dict)

    @property
    def tested(self) -> np.ndarray:
        """Voxels whose t is defined."""
        return np.isfinite(self.t)


# -- the tests -------------------------------------------------------------------------------------


def two_sample(
    first: Maps | np.ndarray | Moments,
    second: Maps | np.ndarray | Moments,
    *,
    mask: np.ndarray | None = None,
    variance: str = "unequal",
    low_variance_fraction: float | None = LOW_VARIANCE_FRACTION,
    chunk: int = CHUNK,
    names: tuple[str, str] = ("first", "second"),
) -> TMap:
    """t of the difference between the means of two groups of people.

    Parameters
    ----------
    first, second : mapping of str to ndarray, ndarray or Moments
        Maps by scan id, `[people, voxels]`, or what `moments` made of either.
    mask : ndarray of bool, optional
        Voxels tested; all when absent.
    variance : {'unequal', 'pooled', 'reml'}
        `unequal` is Welch's test. `pooled` is Student's. `reml` is what SPM does for unequal
        variance: see `restricted_likelihood_variances`.
    low_variance_fraction : float or None
        Ridgway et al. (2012), as SPM has it: this fraction of the greatest residual variance in the
        mask is added to that of every voxel, so that voxels of hardly any variance (background) do
        not give the greatest t. For Welch's test, where there is no common residual variance, the
        same is done to the squared standard error; for the others that is the same thing. Degrees
        of freedom do not change. None leaves it out.
    chunk : int
        Maps held at a time.
    names : tuple of str
        Of the sides, for errors and counts.

    Returns
    -------
    TMap

    Raises
    ------
    UndefinedTest
        When a side has fewer than two people, or no voxel has any variance.
    MeasurementError
        When grids differ, or a voxel is not finite.
    """
    if variance not in VARIANCES:
        raise MeasurementError(f"VBM: variance {variance!r}; {did_you_mean(variance, VARIANCES)}")
    _check_fraction(low_variance_fraction)
    sides = [
        _moments_inside(maps, mask, chunk, name)
        for maps, name in zip((first, second), names, strict=True)
    ]
    one, two = sides
    if one.mask.shape != two.mask.shape or (one.mask != two.mask).any():
        raise MeasurementError(
            f"VBM: {names[0]} {one.mask.shape} and {names[1]} {two.mask.shape} "
            "do not share grid and mask",
            "bring both groups to one grid, and give one mask",
        )
    people = len(one.people), len(two.people)
    squared_error, degrees, estimates = _two_sample_error(sides, people, variance)
    return _t_map(
        one.mean - two.mean,
        squared_error,
        degrees,
        mask=one.mask,
        settings={
            "design": "two samples, independent",
            "contrast": f"{names[0]} - {names[1]}",
            "variance": variance,
            "variance_method": VARIANCES[variance],
            "degrees_of_freedom": DEGREES_OF_FREEDOM[variance],
            "low_variance_fraction": low_variance_fraction,
            "unit": UNIT,
        }
        | ({"responsive_p": RESPONSIVE_P} if variance == "reml" else {}),
        n=counts(**{name: list(side.ids) for name, side in zip(names, sides, strict=True)}),
        estimates=estimates,
    )


def paired(
    first: Maps | np.ndarray,
    second: Maps | np.ndarray,
    *,
    mask: np.ndarray | None = None,
    low_variance_fraction: float | None = LOW_VARIANCE_FRACTION,
    chunk: int = CHUNK,
    names: tuple[str, str] = ("first", "second"),
) -> TMap:
    """t of the mean difference within pairs: scans and their own reconstructions (P3, figure 3).

    Parameters
    ----------
    first, second : mapping of str to ndarray, or ndarray
        Both maps of every scan under its id, or `[pairs, voxels]`. Differences of scans of one
        person are averaged first.
    mask, low_variance_fraction, chunk, names
        As `two_sample` has them; the variance is that of the differences.

    Returns
    -------
    TMap
        With n - 1 degrees of freedom.

    Raises
    ------
    UndefinedTest
        When there are fewer than two people, or no voxel has any variance.
    MeasurementError
        When a scan has one map only, grids differ, or a voxel is not finite.
    """
    _check_fraction(low_variance_fraction)
    pairs = _moments_inside(Differences(first, second), mask, chunk, "pairs")
    ids = list(pairs.ids)
    return _t_map(
        pairs.mean,
        pairs.variance / len(pairs.people),
        float(len(pairs.people) - 1),
        mask=pairs.mask,
        settings={
            "design": "paired",
            "contrast": f"{names[0]} - {names[1]}",
            "variance": "of the differences",
            "variance_method": "of the differences in each voxel",
            "degrees_of_freedom": "n - 1",
            "low_variance_fraction": low_variance_fraction,
            "unit": UNIT,
        },
        n=counts(**dict.fromkeys(names, ids)),
        estimates={},
    )


# -- inside ----------------------------------------------------------------------------------------


def _two_sample_error(
    sides: Sequence[Moments], people: tuple[int, int], variance: str
) -> tuple[np.ndarray, float | np.ndarray, dict[str, float]]:
    """Squared standard error, degrees of freedom, and what was estimated over all voxels."""
    sums_of_squares = [side.variance * (n - 1) for side, n in zip(sides, people, strict=True)]
    means = [side.mean for side in sides]
    squared_error = squared_standard_error(means, sums_of_squares, people, variance=variance)
    if variance == "unequal":
        del sums_of_squares
        variances = [side.variance for side in sides]
        return squared_error, welch_satterthwaite(variances, people, squared_error), {}
    estimates = {}
    if variance == "reml":
        shares = restricted_likelihood_variances(means, sums_of_squares, people)
        estimates["variance_ratio"] = (shares[0] / shares[1]).item()
    return squared_error, float(sum(people) - 2), estimates


def _moments_inside(
    maps: Maps | np.ndarray | Moments, mask: np.ndarray | None, chunk: int, name: str
) -> Moments:
    if not isinstance(maps, Moments):
        found = moments(maps, mask, chunk=chunk)
    else:
        found = maps if mask is None else maps.inside(mask)
    if len(found.people) < 2:
        raise UndefinedTest(f"VBM: {name} {len(found.people)} person, at least two are needed")
    return found


def _check_fraction(fraction: float | None) -> None:
    if fraction is not None and not 0 <= fraction < 1:
        raise MeasurementError(
            f"VBM: low-variance fraction {fraction}",
            "set it to 0.001, as SPM has it, or to None to leave it out",
        )


def _t_map(
    difference: np.ndarray,
    squared_error: np.ndarray,
    degrees: float | np.ndarray,
    *,
    mask: np.ndarray,
    settings: dict[str, Any],
    n: dict[str, int],
    estimates: dict[str, float],
) -> TMap:
    """Divide, and put the voxels back on their grid; the squared error is used up."""
    squared_error[squared_error <= 0] = np.nan
    if np.isnan(squared_error).all():
        raise UndefinedTest(
            "VBM: no voxel of the mask varies between people",
            "look at the maps: are they copies of one another?",
        )
    added = add_low_variance(squared_error, settings["low_variance_fraction"]).item()
    if settings["low_variance_fraction"] is not None:
        estimates = estimates | {"low_variance_addend": added}
    t = np.sqrt(squared_error, out=squared_error)
    np.divide(difference, t, out=t)

    def on_grid(values: np.ndarray) -> np.ndarray:
        if mask.all():
            return values.reshape(mask.shape)
        volume = np.full(mask.shape, np.nan)
        volume[mask] = values
        return volume

    return TMap(
        t=on_grid(t),
        degrees_of_freedom=on_grid(degrees) if isinstance(degrees, np.ndarray) else degrees,
        difference=on_grid(difference),
        mask=mask,
        settings=settings,
        n=n | {"mask_voxels": int(mask.sum())},
        estimates=estimates,
    )
