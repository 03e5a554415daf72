"""Slices through a volume, with the sizes of what they show in millimetres of the person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genmorph.errors import GenmorphError

# axes of a volume that run to the right and up in each view; the third is looked along
PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
SIDES = {"axial": ("L", "R"), "coronal": ("L", "R"), "sagittal": ("P", "A")}


@dataclass(frozen=True)
class View:
    """A slice through a volume.

    Attributes
    ----------
    plane : {'axial', 'coronal', 'sagittal'}
    fraction : float
        Where it lies along the axis looked along: 0 to 1 from bottom, back or left.
    """

    plane: str
    fraction: float = 0.5

    @property
    def axes(self) -> tuple[int, int]:
        """Axes of a volume that run to the right and up in the picture."""
        return PLANES[self.plane]

    @property
    def normal(self) -> int:
        """Axis of a volume that is looked along."""
        return 3 - sum(self.axes)

    def index(self, shape: Sequence[int]) -> int:
        """Voxel of the slice on a grid `[..., x, y, z]`."""
        size = shape[-3:][self.normal]
        return min(int(self.fraction * size), size - 1)

    def of(self, volume: np.ndarray) -> np.ndarray:
        """Slice `[..., right, up]` of a volume `[..., x, y, z]`."""
        axis = volume.ndim - 3 + self.normal
        return np.take(volume, self.index(volume.shape), axis=axis)

    def size_mm(self, shape: Sequence[int], voxel_mm: Sequence[float]) -> tuple[float, float]:
        """Width and height of the slice on a grid `[x, y, z]`."""
        right, up = self.axes
        return shape[right] * voxel_mm[right], shape[up] * voxel_mm[up]


VIEWS = (View("axial"), View("coronal"), View("sagittal"))


def voxel_sizes(affine: np.ndarray) -> tuple[float, float, float]:
    """Edges of a voxel in mm, from a 4x4 voxel-to-world matrix.

    Raises
    ------
    GenmorphError
        When the axes of the volume do not run to the right, to the front and up: left and right
        could not be told from the array.
    """
    directions = np.asarray(affine, dtype=float)[:3, :3]
    sizes = np.linalg.norm(directions, axis=0)
    if not np.allclose(directions / sizes, np.eye(3), atol=1e-3):
        raise GenmorphError(
            "figure: the volume's axes do not run right, front, up (RAS+)",
            "reorient the volumes before drawing them",
        )
    return tuple(float(size) for size in sizes)
