"""Reading a raw scan, and saying in a researcher's words why one cannot be used."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genmorph.errors import ScanError

MOST_VOXELS = 1024**3
VOXEL_RANGE_MM = (0.1, 10.0)


@dataclass(frozen=True)
class Image:
    """A 3D image in world space.

    Attributes
    ----------
    data : ndarray, float32, shape (x, y, z)
        Axes run to the right, anterior, superior as nearly as the scanner's grid allows.
    affine : ndarray, shape (4, 4)
        Voxel indices to millimetres (RAS+).
    """

    data: np.ndarray
    affine: np.ndarray

    @property
    def voxel_mm(self) -> np.ndarray:
        """Edge lengths of a voxel."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def with_data(self, data: np.ndarray) -> Image:
        """Other values on the same grid."""
        return Image(np.ascontiguousarray(data, dtype=np.float32), self.affine)


def read_scan(path: Path) -> Image:
    """Read a NIfTI scan and check that it can be a T1 image of a head.

    Raises
    ------
    ScanError
        When the file is missing, truncated or no NIfTI; when the image is not 3D, has NaN or
        infinite values, is constant, or its header's geometry is impossible.
    """
    import nibabel as nib

    if not path.is_file():
        raise ScanError(f"{path.name}: the file is missing")
    try:
        image = nib.load(path)
        shape = image.shape
        if int(np.prod(shape, dtype=object)) > MOST_VOXELS:
            raise ScanError(f"{path.name}: header claims {shape} voxels, more than can be a scan")
        if len(shape) == 4 and shape[3] == 1:
            image, shape = image.slicer[..., 0], shape[:3]
        if len(shape) != 3:
            raise ScanError(f"{path.name}: not a 3D image but {len(shape)}D, shape {shape}")
        _check_geometry(path, image.affine)
        image = nib.as_closest_canonical(image)
        data = image.get_fdata(dtype=np.float32)
    except ScanError:
        raise
    except (OSError, EOFError, ValueError, zlib.error, nib.filebasedimages.ImageFileError) as error:
        raise ScanError(f"{path.name}: truncated or not a NIfTI file ({error})") from None
    if not np.isfinite(data).all():
        raise ScanError(
            f"{path.name}: has {int((~np.isfinite(data)).sum())} NaN or infinite voxels"
        )
    if data.min() == data.max():
        raise ScanError(f"{path.name}: every voxel is {data.flat[0]:g}")
    return Image(np.ascontiguousarray(data), image.affine)


def _check_geometry(path: Path, affine: np.ndarray) -> None:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ScanError(f"{path.name}: its affine is singular or not finite")
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    least, most = VOXEL_RANGE_MM
    if (voxel_mm < least).any() or (voxel_mm > most).any():
        sizes = " x ".join(f"{size:.3g}" for size in voxel_mm)
        raise ScanError(f"{path.name}: voxels of {sizes} mm, expected {least} to {most}")
