"""Known deformations of labels and volumes: smooth random ones of a given size, and affine ones.

Arrays stand on grids of cubic voxels; displacements are in mm along the array's axes, and say where
each voxel of the result is taken from.
"""

from __future__ import annotations

import numpy as np

from genmorph.cohorts.simulate.scanner import rotation_matrix
from genmorph.cohorts.simulate.truth_maps import along_axes
from genmorph.cohorts.simulate.warp import minimum_jacobian, smooth_noise
from genmorph.errors import MeasurementError
from genmorph.seeds import derive_seed

CORRELATION_MM = 50.0  # smooth enough that a brain moved by 8 mm rms does not fold
ROTATION_DEGREES, SCALE, SHEAR, TRANSLATION_MM = 10.0, 0.1, 0.05, 5.0


def random_displacement(
    mask: np.ndarray,
    voxel_mm: float,
    rms_mm: float,
    seed: int,
    *,
    correlation_mm: float = CORRELATION_MM,
) -> np.ndarray:
    """A smooth random displacement `[3, x, y, z]` (mm) that no affine transform explains.

    A Gaussian random field for each axis, less its least-squares affine part over the mask, scaled
    to the wanted size. One seed gives one shape of displacement at all sizes.

    Parameters
    ----------
    mask : ndarray `[x, y, z]` of bool
        Voxels over which size and affine part are taken, and within which nothing may fold.
    rms_mm : float
        Root of the mean squared length of the displacement over the mask.
    correlation_mm : float
        Distance at which the field's correlation has fallen to 1/e.

    Raises
    ------
    MeasurementError
        When the mask has fewer than five voxels, the size is negative, or the deformation folds.
    """
    if mask.ndim != 3 or np.count_nonzero(mask) < 5:
        raise MeasurementError(
            "random displacement: the mask has fewer than five voxels", "give a mask of a volume"
        )
    if not 0.0 <= rms_mm < np.inf:
        raise MeasurementError(
            f"random displacement: a size of {rms_mm} mm", "give a size of 0 mm or more"
        )
    mask = np.asarray(mask, bool)
    field = _random_field(mask.shape, voxel_mm, correlation_mm, seed)
    design = np.stack([np.ones(mask.shape), *np.indices(mask.shape)])
    coefficients, *_ = np.linalg.lstsq(design[:, mask].T, field[:, mask].T, rcond=None)
    field -= np.tensordot(coefficients.T, design, axes=1)
    rms = np.sqrt((field[:, mask] ** 2).sum(axis=0).mean())
    displacement = (field * (rms_mm / rms)).astype(np.float32)
    lowest = minimum_jacobian(displacement, voxel_mm, mask)
    if not lowest > 0.0:
        raise MeasurementError(
            f"random displacement of {rms_mm:g} mm rms: it folds (Jacobian {lowest:.2f})",
            "ask for less, or for a longer correlation_mm",
        )
    return displacement


def random_affine(
    seed: int,
    *,
    rotation_degrees: float = ROTATION_DEGREES,
    scale: float = SCALE,
    shear: float = SHEAR,
    translation_mm: float = TRANSLATION_MM,
) -> np.ndarray:
    """A random affine transform, 4x4, about the origin (mm).

    Each angle, relative change of size, shear and shift is uniform within plus or minus its bound;
    sizes are exponentials, so that doubling and halving are alike.
    """
    rng = np.random.default_rng(derive_seed(seed, "random affine"))
    rotation = rotation_matrix(tuple(rng.uniform(-1, 1, 3) * rotation_degrees))
    upper = np.eye(3)
    upper[np.triu_indices(3, 1)] = rng.uniform(-1, 1, 3) * shear
    affine = np.eye(4)
    affine[:3, :3] = rotation @ upper @ np.diag((1.0 + scale) ** rng.uniform(-1, 1, 3))
    affine[:3, 3] = rng.uniform(-1, 1, 3) * translation_mm
    return affine


def affine_displacement(
    matrix: np.ndarray, shape: tuple[int, int, int], voxel_mm: float
) -> np.ndarray:
    """An affine transform about the grid's middle as a displacement `[3, x, y, z]` (mm)."""
    middle = np.reshape((np.asarray(shape) - 1) / 2.0, (3, 1, 1, 1))
    position = (np.indices(shape) - middle) * voxel_mm
    moved = np.tensordot(matrix[:3, :3], position, axes=1) + np.reshape(matrix[:3, 3], (3, 1, 1, 1))
    return (moved - position).astype(np.float32)


def deform_labels(labels: np.ndarray, displacement: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Labels `[x, y, z]` under a displacement (mm): the nearest label, zero from beyond the grid.

    Raises
    ------
    MeasurementError
        When the displacement is of another grid.
    """
    return _deform(labels, displacement, voxel_mm, order=0)


def deform_volume(volume: np.ndarray, displacement: np.ndarray, voxel_mm: float) -> np.ndarray:
    """A volume `[x, y, z]` under a displacement (mm): linear, zero from beyond the grid; float32.

    Raises
    ------
    MeasurementError
        When the displacement is of another grid.
    """
    return _deform(volume.astype(np.float32, copy=False), displacement, voxel_mm, order=1)


def _random_field(
    shape: tuple[int, int, int], voxel_mm: float, correlation_mm: float, seed: int
) -> np.ndarray:
    """Three Gaussian random fields `[3, x, y, z]`, made on a coarse grid about the middle.

    Cubic splines carry them to the voxels, so that the cost does not grow with the filter's width.
    """
    from scipy.interpolate import CubicSpline

    sigma_voxels = 4.0
    spacing_mm = correlation_mm / 2.0 / sigma_voxels
    nodes = [int(np.ceil(n * voxel_mm / spacing_mm)) + 2 for n in shape]
    matrices = tuple(
        CubicSpline((np.arange(m) - (m - 1) / 2) * spacing_mm, np.eye(m))(
            (np.arange(n) - (n - 1) / 2) * voxel_mm
        )
        for m, n in zip(nodes, shape, strict=True)
    )
    rng = np.random.default_rng(derive_seed(seed, "random displacement"))
    return np.stack(
        [along_axes(smooth_noise(rng, tuple(nodes), sigma_voxels), matrices) for _ in range(3)]
    )


def _deform(
    volume: np.ndarray, displacement: np.ndarray, voxel_mm: float, *, order: int
) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    if displacement.shape != (3, *volume.shape):
        raise MeasurementError(
            f"a volume of shape {volume.shape}, a displacement of shape {displacement.shape}",
            "make the displacement on the volume's own grid",
        )
    indices = np.indices(volume.shape) + displacement / voxel_mm
    return map_coordinates(volume, indices, order=order, mode="constant", cval=0)
