"""Structural similarity (Wang et al., 2004) of volumes, as a map over the grid.

Gaussian window of SD 1.5 voxels and 11 taps an axis, population moments, borders mirrored with the
edge repeated: scikit-image's `structural_similarity` with `gaussian_weights=True` and
`use_sample_covariance=False`. That function averages over the inside of the grid only; here the map
is given, for means over the whole grid or a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genmorph.errors import MeasurementError

K1, K2 = 0.01, 0.03
TAPS = 11
SIGMA_VOXELS = 1.5


def window_taps(shape: Sequence[int]) -> int:
    """Width of the window on a grid: 11 voxels, or the greatest odd number that fits.

    Examples
    --------
    >>> window_taps((80, 96, 80)), window_taps((6, 9, 8))
    (11, 5)
    """
    smallest = min(shape)
    return min(TAPS, smallest if smallest % 2 else smallest - 1)


def gaussian_window(taps: int) -> np.ndarray:
    """Weights of the window along one axis, `[taps]`; a narrower window has a narrower Gaussian."""
    offsets = np.arange(taps) - taps // 2
    sigma = SIGMA_VOXELS * taps / TAPS
    weights = np.exp(-0.5 * np.square(offsets / sigma))
    return weights / weights.sum()


def window_settings(shape: Sequence[int]) -> dict[str, Any]:
    """What a reader has to know of the window on this grid."""
    taps = window_taps(shape)
    return {
        "ssim_window": "gaussian",
        "ssim_taps": taps,
        "ssim_sigma_voxels": round(SIGMA_VOXELS * taps / TAPS, 6),
        "ssim_border": "mirrored; mean over every voxel",
        "ssim_constants": [K1, K2],
        "ssim_moments": "population",
    }


@dataclass(frozen=True)
class LocalMoments:
    """A volume with its local mean and variance, shared by all pairs it takes part in.

    Attributes
    ----------
    volume, mean, variance : ndarray
        `[x, y, z]`, float64.
    """

    volume: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def local_moments(volume: np.ndarray) -> LocalMoments:
    """Mean and variance of a volume under the window around each voxel."""
    volume = np.asarray(volume, dtype=np.float64)
    mean = _smooth(volume)
    return LocalMoments(volume, mean, _smooth(np.square(volume)) - np.square(mean))


def ssim_map(
    first: np.ndarray | LocalMoments, second: np.ndarray | LocalMoments, *, data_range: float
) -> np.ndarray:
    """Structural similarity around each voxel.

    Parameters
    ----------
    first, second : ndarray or LocalMoments
        Volumes `[x, y, z]`.
    data_range : float
        Difference between the greatest and the least possible intensity: it decides the two
        constants, hence the value. It has no default.

    Returns
    -------
    ndarray
        `[x, y, z]`, float64, at most 1.

    Raises
    ------
    MeasurementError
        When the volumes have different grids, or the data range is not positive.
    """
    first, second = (
        side if isinstance(side, LocalMoments) else local_moments(side) for side in (first, second)
    )
    if first.volume.shape != second.volume.shape:
        raise MeasurementError(f"SSIM of volumes {first.volume.shape} and {second.volume.shape}")
    if not data_range > 0:
        raise MeasurementError(f"SSIM: data range {data_range}", "give a positive number")
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    product = first.mean * second.mean
    covariance = _smooth(first.volume * second.volume) - product
    numerator = (2 * product + c1) * (2 * covariance + c2)
    squares = np.square(first.mean) + np.square(second.mean)
    return numerator / ((squares + c1) * (first.variance + second.variance + c2))


def _smooth(volume: np.ndarray) -> np.ndarray:
    from scipy.ndimage import correlate1d

    weights = gaussian_window(window_taps(volume.shape))
    for axis in range(volume.ndim):
        volume = correlate1d(volume, weights, axis=axis, mode="reflect")
    return volume
