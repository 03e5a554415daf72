"""What every measure of whole volumes asks of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genmorph.errors import MeasurementError

# Volumes are scaled to [0, 1]. A model may overshoot in places; volumes in other units (bytes,
# [-1, 1], z-scores) lie outside these limits in far more voxels than this share.
LIMITS = (-0.5, 1.5)
SHARE_OUTSIDE = 0.01


def checked_volume(
    measure: str, name: str, volume: np.ndarray, shape: Sequence[int] | None = None
) -> np.ndarray:
    """A volume fit for a measure.

    Parameters
    ----------
    measure, name : str
        What the errors name: the measure, and the scan.
    volume : ndarray
        `[x, y, z]`, in [0, 1].
    shape : sequence of int, optional
        Grid it must have.

    Raises
    ------
    MeasurementError
        When it has no three axes or another grid, holds a value that is not finite, or more than
        1 % of its voxels lie outside [-0.5, 1.5].
    """
    volume = np.asarray(volume)
    if volume.ndim != 3 or not volume.size:
        raise MeasurementError(f"{measure}: {name} is {volume.shape}, [x, y, z] expected")
    if shape is not None and volume.shape != tuple(shape):
        raise MeasurementError(
            f"{measure}: {name} is {volume.shape} among volumes of {tuple(shape)}",
            "compare volumes on one grid: preprocess them with one recipe",
        )
    lowest, highest = float(volume.min()), float(volume.max())
    if not np.isfinite((lowest, highest)).all():
        raise MeasurementError(f"{measure}: {name} holds values that are not finite")
    if lowest < LIMITS[0] or highest > LIMITS[1]:
        outside = np.count_nonzero((volume < LIMITS[0]) | (volume > LIMITS[1])) / volume.size
        if outside > SHARE_OUTSIDE:
            raise MeasurementError(
                f"{measure}: intensities of {name} run from {lowest:g} to {highest:g}; "
                "volumes in [0, 1] are expected",
                "scale its intensities as the recipe does",
            )
    return volume


def is_constant(volume: np.ndarray) -> bool:
    """Whether all voxels are equal.

    Examples
    --------
    >>> is_constant(np.zeros((2, 2, 2))), is_constant(np.arange(8).reshape(2, 2, 2))
    (True, False)
    """
    return bool(volume.min() == volume.max())


def constant_note(measure: str, names: Sequence[str]) -> tuple[str, ...]:
    """The note on volumes that say nothing of a brain; none when there are none.

    Examples
    --------
    >>> constant_note("MMD", ["sample-0"])
    ('MMD: the same intensity in every voxel of sample-0; it is in the value all the same.',)
    >>> constant_note("MMD", [])
    ()
    """
    if not names:
        return ()
    listed = ", ".join(sorted(names)[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
    return (
        f"{measure}: the same intensity in every voxel of {listed}; "
        "it is in the value all the same.",
    )
