"""Standard error of the difference between two means, in each voxel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genmorph.errors import MeasurementError

# of SPM's PET defaults, which are also those under which it corrects low variance; fMRI's is 0.001
RESPONSIVE_P = 0.05

VARIANCES = {
    "unequal": "Welch: each group's own variance in each voxel",
    "pooled": "one variance of both groups in each voxel",
    "reml": "a variance of each group over all voxels by restricted maximum likelihood, then "
    "weighted least squares (SPM)",
}


class UndefinedTest(MeasurementError):
    """The maps are sound, but too few or too alike for the test."""


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


def add_low_variance(squared_error: np.ndarray, fraction: float | None) -> np.ndarray:
    """Ridgway's correction, in place: a fraction of the greatest squared error along the last axis.

    Where the squared error is not defined (NaN) it stays so, and does not count.

    Returns
    -------
    ndarray, shape (..., 1)
        What was added.
    """
    added = (fraction or 0.0) * np.nanmax(squared_error, axis=-1, keepdims=True)
    squared_error += added
    return added


def welch_satterthwaite(
    variances: Sequence[np.ndarray], people: tuple[int, int], squared_error: np.ndarray
) -> np.ndarray:
    """Degrees of freedom of Welch's test; NaN where neither group varies.

    Parameters
    ----------
    variances : two of ndarray, shape (voxels,)
        Of each group, divisor n - 1.
    people : tuple of int
    squared_error : ndarray, shape (voxels,)
        As `squared_standard_error` gives it for unequal variances.
    """
    inverse = np.zeros_like(squared_error)
    with np.errstate(divide="ignore", invalid="ignore"):
        for variance, n in zip(variances, people, strict=True):
            # its share of the whole: squares of tiny variances would be lost to underflow
            share = variance / n
            share /= squared_error
            share *= share
            share /= n - 1
            inverse += share
        return np.divide(1, inverse, out=inverse)
