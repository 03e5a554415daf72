"""What no engine does: edges, the way onto the recipe's grid, intensities. The same for all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genmorph.errors import ScanError
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import IntensityScaling, Resample

FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))
FAINTEST = 1e-3  # of the softened edge; below it is background
STORED_STEP = 1.0 / 255.0  # of a volume kept in bytes


def soften_edge(mask: np.ndarray, voxel_mm: np.ndarray, sigma_mm: float, edge: str) -> np.ndarray:
    """Weights of a brain mask whose edge is blurred and on which the mask is laid again.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    voxel_mm : ndarray, shape (3,)
    sigma_mm : float
        Of the Gaussian.
    edge : {'outside', 'inside'}
        Outside: the larger of mask and blurred mask. Inside: their product.

    Returns
    -------
    ndarray, float32, values in [0, 1]
    """
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(mask.astype(np.float32), sigma_mm / np.asarray(voxel_mm))
    weights = np.maximum(mask, blurred) if edge == "outside" else mask * blurred
    return np.where(weights > FAINTEST, weights, 0.0).astype(np.float32)


def content_box(content: np.ndarray) -> tuple[slice, slice, slice]:
    """The smallest box that holds every voxel of `content` that is not 0."""
    planes = [
        np.flatnonzero(content.any(axis=tuple(other for other in range(3) if other != axis)))
        for axis in range(3)
    ]
    return tuple(slice(int(found[0]), int(found[-1]) + 1) for found in planes)


def crop(image: Image, box: tuple[slice, slice, slice]) -> Image:
    """A part of an image, every voxel where it was in space."""
    affine = image.affine.copy()
    affine[:3, 3] += image.affine[:3, :3] @ [part.start for part in box]
    return Image(np.ascontiguousarray(image.data[box]), affine)


def centre_content(
    image: Image, mask: np.ndarray, to_scan: np.ndarray, centre_mm: tuple[float, float, float]
) -> np.ndarray:
    """Shift a transform so that the middle of the brain's box comes to a point of the grid's world.

    Parameters
    ----------
    image : Image
    mask : ndarray of bool
        Brain on the image's grid.
    to_scan : ndarray, shape (4, 4)
        The grid's world to the scan's, millimetres.
    centre_mm : tuple of float

    Returns
    -------
    ndarray, shape (4, 4)
    """
    world = _brain_points(image, mask, to_scan)
    middle = (world.min(axis=1) + world.max(axis=1)) / 2
    shift = np.eye(4)
    shift[:3, 3] = middle - np.asarray(centre_mm)
    return to_scan @ shift


def cut_fraction(
    image: Image,
    mask: np.ndarray,
    to_scan: np.ndarray,
    grid: tuple[int, int, int],
    grid_affine: np.ndarray,
) -> float:
    """Share of the brain's voxels that lie beyond the grid."""
    world = _brain_points(image, mask, to_scan)
    inverse = np.linalg.inv(grid_affine)
    index = inverse[:3, :3] @ world + inverse[:3, 3:]
    last = np.asarray(grid)[:, None] - 0.5
    return float(((index < -0.5) | (index > last)).any(axis=0).mean())


def _brain_points(image: Image, mask: np.ndarray, to_scan: np.ndarray) -> np.ndarray:
    """Centres of the brain's voxels `[3, n]` in the grid's world."""
    to_grid_world = np.linalg.inv(to_scan) @ image.affine
    return to_grid_world[:3, :3] @ np.argwhere(mask).T + to_grid_world[:3, 3:]


def resample(
    image: Image,
    mask: np.ndarray,
    to_scan: np.ndarray,
    options: Resample,
    grid_affine: np.ndarray,
    kept: np.ndarray | None = None,
    to_points: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Bring an image onto the recipe's grid with one interpolation.

    Where the grid is coarser than the scan, a Gaussian of the missing width prevents aliasing.

    Parameters
    ----------
    image : Image
    mask : ndarray of bool
        Brain on the image's grid.
    to_scan : ndarray, shape (4, 4)
        The grid's world to the scan's, millimetres.
    options : Resample
    grid_affine : ndarray, shape (4, 4)
    kept : ndarray, optional
        Share of each voxel that stays. Default: the brain alone, and then values are normalised
        by the mask, so that no background bleeds into the brain's edge.
    to_points : callable, optional
        Takes points `[3, n]` of the grid's world to the scan's, where no matrix does.

    Returns
    -------
    volume : ndarray, float32, shape of the grid
    inside : ndarray of bool
        The brain on the grid.
    """
    from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates

    weight = mask.astype(np.float32)
    values = np.where(mask, image.data, 0.0) if kept is None else image.data * kept
    values = values.astype(np.float32)
    # sizes of a grid voxel as seen in the scan
    target_mm = np.linalg.norm((to_scan @ grid_affine)[:3, :3], axis=0)
    missing = np.sqrt(np.maximum(target_mm**2 - image.voxel_mm**2, 0.0))
    sigma = missing / FWHM_PER_SIGMA / image.voxel_mm
    if sigma.max() > 0.1:
        values, weight = gaussian_filter(values, sigma), gaussian_filter(weight, sigma)
    to_voxel = np.linalg.inv(image.affine) @ to_scan @ grid_affine
    indices = None
    if to_points is not None:
        world = _points(grid_affine, options.grid)
        indices = _moved(np.linalg.inv(image.affine), to_points(world))

    def pull(data: np.ndarray) -> np.ndarray:
        if indices is not None:
            return map_coordinates(data, indices, order=1, cval=0.0).reshape(options.grid)
        return affine_transform(
            data, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=options.grid, order=1, cval=0.0
        )

    values, weight = pull(values), pull(weight)
    inside = weight > 0.5
    if kept is None:
        values = np.where(inside, values / np.maximum(weight, 1e-6), 0.0)
    return values.astype(np.float32), inside


def _points(grid_affine: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """World points `[3, n]` of a grid's voxels."""
    return _moved(grid_affine, np.indices(grid).reshape(3, -1))


def _moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return matrix[:3, :3] @ points + matrix[:3, 3:]


def intensity_range(values: np.ndarray, options: IntensityScaling) -> tuple[float, float]:
    """The two intensities that become 0 and 1; see `IntensityScaling`."""
    if options.method == "percentiles":
        low, high = np.percentile(values, options.percentiles)
        return low, high
    if options.method == "robust_min_max":
        first, third = np.percentile(values, (25.0, 75.0))
        reach = options.fence * (third - first)
        values = values[(values >= first - reach) & (values <= third + reach)]
    return values.min(), values.max()


def scale_intensities(
    volume: np.ndarray, inside: np.ndarray, options: IntensityScaling, *, brain_only: bool = True
) -> np.ndarray:
    """Scale intensities to [0, 1].

    The darkest brain voxel becomes 1/255, one step of a stored byte: what is zero is background.

    Parameters
    ----------
    volume : ndarray, float32
    inside : ndarray of bool
        The brain.
    options : IntensityScaling
    brain_only : bool
        Exactly 0 outside the brain; otherwise values there are scaled and clipped too.

    Raises
    ------
    ScanError
        When all values are the same.
    """
    low, high = intensity_range(volume[inside] if options.within == "brain" else volume, options)
    if high <= low:
        raise ScanError(
            "the brain has no contrast: the intensities that should become 0 and 1 coincide"
        )
    share = (volume - low) / (high - low)
    around = 0.0 if brain_only else np.clip(share, 0.0, 1.0)
    return np.where(inside, np.clip(share, STORED_STEP, 1.0), around).astype(np.float32)
