"""Kernel distance between two sets of features.

With the features of the Inception network it is the kernel inception distance, KID (Bińkowski,
Sutherland, Arbel, Gretton, "Demystifying MMD GANs", 2018, section 4).
"""

from __future__ import annotations

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.features import checked_pair

KERNEL = "(x·y/d + 1)³, unbiased"
# rows of one product of features: bounds memory where a side has thousands of rows
ROWS_AT_A_TIME = 1024


def kernel_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Squared maximum mean discrepancy under a cubic polynomial kernel, without bias.

    k(x, y) = (x·y/d + 1)³; the means of k within a side leave out each row paired with itself, so
    that the expected value does not depend on n and is zero for equal distributions
    (section 4 of the paper). In double precision.

    Parameters
    ----------
    features_a : ndarray
        `[n, d]`, n at least 2.
    features_b : ndarray
        `[m, d]`, m at least 2.

    Returns
    -------
    float
        May be negative.

    Raises
    ------
    MeasurementError
        When a side has fewer than two rows, other features, or a value that is not finite.
    """
    first, second = checked_pair("kernel distance", features_a, features_b)
    fewest = min(len(first), len(second))
    if fewest < 2:
        raise MeasurementError(f"kernel distance: {fewest} row on a side, at least two are needed")
    between = _kernel_sum(first, second) / (len(first) * len(second))
    return _mean_within(first) + _mean_within(second) - 2 * between


def _mean_within(features: np.ndarray) -> float:
    """Mean of the kernel over all pairs of two different rows."""
    rows, dimension = features.shape
    with_themselves = np.power(np.square(features).sum(1) / dimension + 1, 3).sum()
    return float((_kernel_sum(features, features) - with_themselves) / (rows * (rows - 1)))


def _kernel_sum(features_a: np.ndarray, features_b: np.ndarray) -> float:
    dimension = features_a.shape[1]
    return sum(
        float(
            np.power(
                features_a[first : first + ROWS_AT_A_TIME] @ features_b.T / dimension + 1, 3
            ).sum()
        )
        for first in range(0, len(features_a), ROWS_AT_A_TIME)
    )
