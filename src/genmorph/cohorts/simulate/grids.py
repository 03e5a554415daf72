"""Regular grids in millimetres, and sampling between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """An axis-aligned grid of cubic voxels.

    Attributes
    ----------
    origin_mm : tuple of float
        World position (RAS+) of the centre of voxel (0, 0, 0).
    spacing_mm : float
    shape : tuple of int
    """

    origin_mm: tuple[float, float, float]
    spacing_mm: float
    shape: tuple[int, int, int]

    @classmethod
    def over(cls, low_mm: tuple[float, ...], high_mm: tuple[float, ...], spacing_mm: float) -> Grid:
        """The smallest grid from `low_mm` that reaches `high_mm`."""
        shape = (
            int(np.ceil((high - low) / spacing_mm - 1e-9)) + 1
            for low, high in zip(low_mm, high_mm, strict=True)
        )
        return cls(tuple(low_mm), spacing_mm, tuple(shape))

    @property
    def affine(self) -> np.ndarray:
        """4x4 voxel-to-world matrix (mm)."""
        affine = np.diag([self.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return self.spacing_mm**3 / 1000.0

    def axes(self) -> list[np.ndarray]:
        """Three coordinate arrays (mm) that broadcast to the grid."""
        lines = [
            origin + self.spacing_mm * np.arange(n)
            for origin, n in zip(self.origin_mm, self.shape, strict=True)
        ]
        return list(np.meshgrid(*lines, indexing="ij", sparse=True))

    def points(self) -> np.ndarray:
        """World positions of all voxels, `[3, x, y, z]`, float32."""
        return np.stack([np.broadcast_to(axis, self.shape) for axis in self.axes()]).astype(
            np.float32
        )

    def indices_of(self, points_mm: np.ndarray) -> np.ndarray:
        """Fractional voxel indices of world positions `[3, ...]`."""
        origin = np.reshape(self.origin_mm, (3,) + (1,) * (points_mm.ndim - 1))
        return ((points_mm - origin) / self.spacing_mm).astype(np.float32)

    def sample(
        self, volume: np.ndarray, points_mm: np.ndarray, *, outside: float | None = None
    ) -> np.ndarray:
        """Trilinear values of a `volume` of this grid at world positions `[3, ...]`.

        Parameters
        ----------
        outside : float, optional
            Value beyond the grid; None repeats the grid's border.
        """
        return sample_at(volume, self.indices_of(points_mm), outside=outside)


def sample_at(
    volume: np.ndarray, indices: np.ndarray, *, outside: float | None = None
) -> np.ndarray:
    """Trilinear values at fractional voxel indices `[3, ...]`, float32."""
    from scipy.ndimage import map_coordinates

    mode = "nearest" if outside is None else "constant"
    return map_coordinates(
        volume, indices, order=1, mode=mode, cval=outside or 0.0, output=np.float32
    )
