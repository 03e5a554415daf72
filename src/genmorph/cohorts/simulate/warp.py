"""Smooth diffeomorphic warps: stationary velocity fields and their exponential.

Velocities and displacements are `[3, x, y, z]` in millimetres on a `Grid`.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from genmorph.cohorts.simulate.grids import Grid, sample_at
from genmorph.errors import GenmorphError

SQUARINGS = 6


def velocity_of_growth(growth: np.ndarray, spacing_mm: float) -> np.ndarray:
    """The curl-free velocity whose divergence is `growth`.

    The divergence of a stationary velocity is the rate at which the logarithm of local volume
    grows along its flow, so a map of wanted growth is turned into a warp by one Poisson equation,
    solved with cosine transforms (no flow through the box).

    Parameters
    ----------
    growth : ndarray `[x, y, z]`
        Wanted logarithmic change of volume; its sum must vanish (what grows takes the room of
        what shrinks), or else the rest is spread over the box.
    spacing_mm : float

    Returns
    -------
    ndarray `[3, x, y, z]`
        Velocity in mm.
    """
    from scipy.fft import dctn, idctn

    spectrum = dctn(growth.astype(np.float64), type=2)
    eigenvalue = np.zeros(growth.shape)
    for axis, n in enumerate(growth.shape):
        line = (2.0 * np.cos(np.pi * np.arange(n) / n) - 2.0) / spacing_mm**2
        eigenvalue = eigenvalue + line.reshape([-1 if i == axis else 1 for i in range(3)])
    spectrum.flat[0], eigenvalue.flat[0] = 0.0, 1.0
    potential = idctn(spectrum / eigenvalue, type=2)
    return np.stack(np.gradient(potential, spacing_mm)).astype(np.float32)


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], sigma_voxels: float
) -> np.ndarray:
    """A Gaussian random field `[x, y, z]` of unit variance away from the border.

    White noise under a Gaussian filter of `sigma_voxels`; correlation falls to 1/e at twice that.
    """
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(white_noise(rng, shape, sigma_voxels), sigma_voxels, mode="wrap")
    margin = _noise_margin(sigma_voxels)
    inner = tuple(slice(margin, margin + n) for n in shape)
    # a Gaussian filter leaves the variance (4 pi sigma^2)^(-3/2) of white noise in three dimensions
    return smooth[inner] * np.float32((4 * np.pi * sigma_voxels**2) ** 0.75)


def white_noise(
    rng: np.random.Generator, shape: tuple[int, ...], sigma_voxels: float
) -> np.ndarray:
    """The noise that `smooth_noise` filters: `shape` with a margin on each side, float32."""
    margin = _noise_margin(sigma_voxels)
    return rng.standard_normal([n + 2 * margin for n in shape], dtype=np.float32)


def smoothing_matrix(n: int, sigma_voxels: float) -> np.ndarray:
    """What `smooth_noise` does along one axis, `[n, n with margins]`, float64.

    Axis by axis on `white_noise`, these products give `smooth_noise` but for rounding; rows may be
    left out or combined where fewer points are asked for.
    """
    from scipy.ndimage import gaussian_filter1d

    margin = _noise_margin(sigma_voxels)
    matrix = gaussian_filter1d(np.eye(n + 2 * margin), sigma_voxels, axis=0, mode="wrap")
    return matrix[margin : margin + n] * (4 * np.pi * sigma_voxels**2) ** 0.25


def _noise_margin(sigma_voxels: float) -> int:
    return int(np.ceil(3 * sigma_voxels))


def random_velocity(
    rng: np.random.Generator, grid: Grid, *, correlation_mm: float, amplitude_mm: float
) -> np.ndarray:
    """A smooth random velocity `[3, x, y, z]`.

    Parameters
    ----------
    correlation_mm : float
        Distance at which the correlation has fallen to 1/e.
    amplitude_mm : float
        Standard deviation of each component.
    """
    sigma_voxels = correlation_mm / 2.0 / grid.spacing_mm
    components = [smooth_noise(rng, grid.shape, sigma_voxels) for _ in range(3)]
    return np.stack(components) * np.float32(amplitude_mm)


def mirror(velocity: np.ndarray) -> np.ndarray:
    """The velocity seen in the mirror of the sagittal plane through the grid's middle."""
    mirrored = velocity[:, ::-1].copy()
    mirrored[0] *= -1
    return mirrored


def exponential(velocity: np.ndarray, spacing_mm: float, squarings: int = SQUARINGS) -> np.ndarray:
    """Displacement (mm) of exp(`velocity`), by scaling and squaring.

    Parameters
    ----------
    velocity : ndarray `[3, x, y, z]`
        Stationary velocity in mm; `exponential(-velocity)` is the inverse warp.
    squarings : int
        The velocity is divided by 2**squarings, then the small warp is composed with itself that
        many times.
    """
    displacement = velocity / np.float32(2**squarings)
    identity = np.indices(velocity.shape[1:], dtype=np.float32)
    for _ in range(squarings):
        indices = identity + displacement / np.float32(spacing_mm)
        displacement = displacement + np.stack(
            [sample_at(component, indices) for component in displacement]
        )
    return displacement


def minimum_jacobian(
    displacement: np.ndarray, spacing_mm: float, mask: np.ndarray | None = None
) -> float:
    """Smallest Jacobian determinant of position + `displacement`, at the voxels of a mask or all.

    At each voxel the determinants of all eight choices of forward or backward differences are
    looked at, so that a fold of one cell is seen too.
    """
    position = displacement / spacing_mm + np.indices(displacement.shape[1:])
    forward = [np.diff(position, axis=1 + axis) for axis in range(3)]
    lowest = np.inf
    for corner in product((0, 1), repeat=3):
        columns = []
        for axis in range(3):
            cut = [slice(None)] + [
                slice(None) if other == axis else slice(corner[other], _end(corner[other]))
                for other in range(3)
            ]
            columns.append(forward[axis][tuple(cut)])
        determinant = _determinant(*columns)
        if mask is not None:
            determinant = determinant[mask[tuple(slice(k, _end(k)) for k in corner)]]
        lowest = min(lowest, float(determinant.min(initial=np.inf)))
    return lowest


def checked_minimum_jacobian(displacement: np.ndarray, spacing_mm: float, name: str) -> float:
    """`minimum_jacobian`, or an error when the warp of scan `name` folds.

    Raises
    ------
    GenmorphError
        When the determinant is not positive everywhere.
    """
    lowest = minimum_jacobian(displacement, spacing_mm)
    if not lowest > 0.0:
        raise GenmorphError(
            f"{name}: the simulated warp folds (Jacobian determinant {lowest:.3f})",
            "take another seed, and report this one",
        )
    return lowest


def _end(start: int) -> int | None:
    return None if start else -1


def _determinant(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )
