"""Opening a NIfTI image of somebody else's: a label atlas, a map, a t-map.

Raw scans have a reader of their own, with checks of its own (`preprocessing.raw`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genmorph.errors import GenmorphError

if TYPE_CHECKING:
    import nibabel as nib

MOST_VOXELS = 1024**3


def open_nifti(path: Path, error: type[GenmorphError]) -> tuple[nib.Nifti1Image, np.ndarray]:
    """Read a 3D image: its header, and its values as stored (scaled where the header says so).

    Parameters
    ----------
    path : Path
    error : type
        What to raise.

    Raises
    ------
    GenmorphError
        Of the type asked for: when the file is no NIfTI image, is damaged, is not 3D, or claims
        more voxels than an image has.
    """
    import nibabel as nib

    try:
        image = nib.load(path)
    except Exception as found:  # nibabel raises many kinds on damaged files
        raise error(f"{path}: cannot be read ({found})") from None
    if not isinstance(image, nib.Nifti1Image) or len(image.shape) != 3:
        raise error(f"{path}: no 3D NIfTI image")
    if int(np.prod(image.shape, dtype=object)) > MOST_VOXELS:
        raise error(f"{path}: its header claims {image.shape} voxels, which no image has")
    try:
        with np.errstate(all="ignore"):  # what is not finite is the caller's business
            return image, np.asarray(image.dataobj)
    except Exception as found:
        raise error(f"{path}: its voxels cannot be read ({found})") from None
