"""Registration of preprocessed volumes with each other, on the grid they share."""

from __future__ import annotations

import numpy as np

from genmorph.errors import ScanError
from genmorph.preprocessing.engines import builtin
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import Registration

# of the width from background to the 99th percentile; a network's background is never quite black
FOREGROUND_FRACTION = 0.1


def register_volumes(
    moving: np.ndarray,
    fixed: np.ndarray,
    *,
    grid_affine: np.ndarray,
    options: Registration,
    foreground_fraction: float = FOREGROUND_FRACTION,
) -> np.ndarray:
    """Affine transform between two skull-stripped volumes of one recipe, by engine `builtin`.

    Parameters
    ----------
    moving, fixed : ndarray
        `[x, y, z]`, of one grid and intensity scale.
    grid_affine : ndarray, shape (4, 4)
        Voxels of that grid to millimetres, RAS+.
    options : Registration
        Rigid or affine, with the plausible range of the change in volume.
    foreground_fraction : float
        Voxels less than this above the background, in widths of the intensity range (1st to 99th
        percentile of `fixed`), are set to 0 on either side.

    Returns
    -------
    ndarray, shape (4, 4)
        Voxels of `fixed` to voxels of `moving`.

    Raises
    ------
    ScanError
        When a volume is empty, no way is found, or the change in volume is not plausible.
    """
    background, top = (float(value) for value in np.percentile(fixed, (1, 99)))
    threshold = foreground_fraction * (top - background)
    images = []
    for name, volume in (("moving", moving), ("fixed", fixed)):
        above = np.where(volume - background > threshold, volume - background, 0.0)
        if not above.any():
            raise ScanError(f"registration: the {name} volume is empty")
        images.append(Image(np.ascontiguousarray(above, dtype=np.float32), grid_affine))
    world = builtin.register_to(*images, options)
    scale = float(np.linalg.det(world[:3, :3]))
    if not options.least_scale <= scale <= options.most_scale:
        raise ScanError(
            f"registration: the moving brain came out {scale:.2f} times as large as the fixed one"
        )
    return np.linalg.inv(grid_affine) @ world @ grid_affine
