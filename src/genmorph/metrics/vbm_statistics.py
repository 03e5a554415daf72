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

LOW_VARIANCE_FRACTION = 1e-3
# of SPM's PET defaults, which are also those under which it corrects low variance; fMRI's is 0.001
RESPONSIVE_P = 0.05

VARIANCES = {
    "unequal": "Welch: each group's own variance in each voxel",
    "pooled": "one variance of both groups in each voxel",
    "reml": "a variance of each group over all voxels by restricted maximum likelihood, then "
    "weighted least squares (SPM)",
}
DEGREES_OF_FREEDOM = {
    "unequal": "Welch-Satterthwaite, voxel by voxel",
    "pooled": "n - 2",
    "reml": "n - 2",
}


class UndefinedTest(MeasurementError):
    """The maps are sound, but too few or too alike for the test."""


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
    sums_of_squares = [side.variance * (n - 1) for side, n in zip(sides, people, strict=True)]
    squared_error = squared_standard_error(
        (one.mean, two.mean), sums_of_squares, people, variance=variance
    )
    degrees: float | np.ndarray = float(sum(people) - 2)
    if variance == "unequal":
        degrees = _welch_satterthwaite([side.variance for side in sides], people)
    estimates = {}
    if variance == "reml":
        shares = restricted_likelihood_variances((one.mean, two.mean), sums_of_squares, people)
        estimates["variance_ratio"] = (shares[0] / shares[1]).item()
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


# -- variances -------------------------------------------------------------------------------------


def squared_standard_error(
    means: Sequence[np.ndarray],
    sums_of_squares: Sequence[np.ndarray],
    people: tuple[int, int],
    *,
    variance: str,
) -> np.ndarray:
    """Squared standard error of the difference between two means, before any correction.

    Parameters
    ----------
    means, sums_of_squares : two of ndarray, shape (..., voxels)
        Of each group: its mean, and the squared deviations from it summed over people.
    people : tuple of int
        In each group.
    variance : {'unequal', 'pooled', 'reml'}

    Returns
    -------
    ndarray, shape (..., voxels)
    """
    if variance == "unequal":
        return sum(
            squares / ((n - 1) * n) for squares, n in zip(sums_of_squares, people, strict=True)
        )
    # weighted least squares; equal weights are the pooled test
    shares = (1.0, 1.0)
    if variance == "reml":
        shares = restricted_likelihood_variances(means, sums_of_squares, people)
    residual = sum(
        squares / share for squares, share in zip(sums_of_squares, shares, strict=True)
    ) / (sum(people) - 2)
    return residual * sum(share / n for share, n in zip(shares, people, strict=True))


def restricted_likelihood_variances(
    means: Sequence[np.ndarray], sums_of_squares: Sequence[np.ndarray], people: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Variance of each group over all responsive voxels, by restricted maximum likelihood.

    SPM's way (spm_est_non_sphericity; Glaser and Friston, Human Brain Function, 2003): each voxel
    is scaled to a residual variance of one and taken for a sample of one covariance, which is λ₁
    for the first group's people and λ₂ for the second's. Voxels count whose F-test that both means
    are zero has p < 0.05. SPM finds λ by Fisher scoring. Here the restricted log-likelihood falls
    apart into a term for each group, -½ (n - 1) log λ - ½ S / λ, with S the group's sum of squares
    averaged over the scaled voxels, because each group has a mean of its own; so its maximum is
    λ = S / (n - 1).

    A voxel's residual variance holds that of its own people, so the scaling draws λ₁ and λ₂
    together, the more so the fewer people there are: with 12 and 8 people a true ratio of 4 comes
    out near 3.6. With few people and very unequal groups Welch's test keeps its level better.

    Parameters
    ----------
    means, sums_of_squares : two of ndarray, shape (..., voxels)
    people : tuple of int

    Returns
    -------
    tuple of ndarray, shape (..., 1)
        λ₁ and λ₂, scaled so that they average to one over people, as SPM scales them.

    Raises
    ------
    UndefinedTest
        When no voxel is responsive, or a group does not vary.
    """
    from scipy.stats import f

    residual = sum(sums_of_squares) / (sum(people) - 2)
    explained = sum(n * mean**2 for n, mean in zip(people, means, strict=True)) / 2
    least = f.isf(RESPONSIVE_P, 2, sum(people) - 2)
    responsive = (residual > 0) & (explained > least * residual)
    if not responsive.any(axis=-1).all():
        raise UndefinedTest(
            f"VBM: no voxel has means that differ from zero at p < {RESPONSIVE_P}, "
            "none to estimate the groups' variances from",
            "use variance `unequal` or `pooled`",
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = [np.where(responsive, squares / residual, 0) for squares in sums_of_squares]
    number = responsive.sum(axis=-1, keepdims=True)
    found = [
        squares.sum(axis=-1, keepdims=True) / (number * (n - 1))
        for squares, n in zip(scaled, people, strict=True)
    ]
    if not all((share > 0).all() for share in found):
        raise UndefinedTest(
            "VBM: a group has no variance at all, so the groups cannot be weighted by theirs",
            "use variance `unequal` or `pooled`",
        )
    average = sum(n * share for n, share in zip(people, found, strict=True)) / sum(people)
    return found[0] / average, found[1] / average


def with_low_variance_addend(squared_error: np.ndarray, fraction: float | None) -> np.ndarray:
    """Ridgway's correction: a fraction of the greatest squared error along the last axis is added.

    Where the squared error is not defined (NaN) it stays so, and does not count.
    """
    if fraction is None:
        return squared_error
    return squared_error + fraction * np.nanmax(squared_error, axis=-1, keepdims=True)


def _welch_satterthwaite(variances: Sequence[np.ndarray], people: tuple[int, int]) -> np.ndarray:
    """Degrees of freedom of Welch's test; NaN where neither group varies."""
    parts = [of_group / n for of_group, n in zip(variances, people, strict=True)]
    total = sum(parts)
    with np.errstate(divide="ignore", invalid="ignore"):
        # shares of the whole: squares of tiny variances would be lost to underflow
        shares = [part / total for part in parts]
        return 1 / sum(share**2 / (n - 1) for share, n in zip(shares, people, strict=True))


# -- inside ----------------------------------------------------------------------------------------


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
    """Divide, and put the voxels back on their grid."""
    varied = squared_error > 0
    if not varied.any():
        raise UndefinedTest(
            "VBM: no voxel of the mask varies between people",
            "look at the maps: are they copies of one another?",
        )
    squared_error = np.where(varied, squared_error, np.nan)
    corrected = with_low_variance_addend(squared_error, settings["low_variance_fraction"])
    if settings["low_variance_fraction"] is not None:
        addend = settings["low_variance_fraction"] * float(np.nanmax(squared_error))
        estimates = estimates | {"low_variance_addend": addend}

    def on_grid(values: np.ndarray) -> np.ndarray:
        volume = np.full(mask.shape, np.nan)
        volume[mask] = values
        return volume

    return TMap(
        t=on_grid(difference / np.sqrt(corrected)),
        degrees_of_freedom=on_grid(degrees) if isinstance(degrees, np.ndarray) else degrees,
        difference=on_grid(difference),
        mask=mask,
        settings=settings,
        n=n | {"mask_voxels": int(mask.sum())},
        estimates=estimates,
    )
