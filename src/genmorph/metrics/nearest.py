"""Distances between volumes that see through a mirror image, a small shift and a little noise.

A copy that is flipped or a voxel off is still a copy, so a volume is compared in several
placements, and its least distance counts. Both sides of every comparison are treated alike.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.frechet import AXES, POSITIONS, REFERENCE_SHAPE, slice_positions, slices

if TYPE_CHECKING:
    from genmorph.metrics.features import Extractor

# of the energies that a squared distance is the difference of
ROUNDING = 1e-12
# intensities beyond these are no [0, 1] with overshoot: the features would be of a clipped image
LEAST_INTENSITY, GREATEST_INTENSITY = -1.0, 2.0


@dataclass(frozen=True)
class Placement:
    """How a volume lies over another one.

    Attributes
    ----------
    mirrored : bool
        Left and right exchanged.
    shift_voxels : tuple of int
        Then voxel x + shift comes to lie over voxel x of the other one.
    """

    mirrored: bool = False
    shift_voxels: tuple[int, int, int] = (0, 0, 0)

    def carried(self, other: np.ndarray) -> np.ndarray:
        """The other volume `[x, y, z]` brought to where the placed one lies: shifted, mirrored.

        Voxels that come from beyond the grid take the nearest value.
        """
        for axis, shift in enumerate(self.shift_voxels):
            places = np.arange(other.shape[axis]) - shift
            other = other.take(places.clip(0, other.shape[axis] - 1), axis)
        return other[::-1] if self.mirrored else other


class Space(Protocol):
    """Where volumes are compared: their images, or features of their slices.

    Attributes
    ----------
    placements : tuple of Placement
        In which a volume is compared; the first is as it is.
    """

    placements: tuple[Placement, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides a distance, JSON values."""

    def prepare(self, scan_id: str, volume: np.ndarray) -> np.ndarray:
        """What is kept of a volume `[x, y, z]`.

        Raises
        ------
        MeasurementError
            When the volume says nothing: constant, not finite, on another grid.
        """

    def placed(self, prepared: np.ndarray, number: int) -> np.ndarray:
        """Vector of a volume in the `number`-th placement."""


class ImageSpace:
    """Intensities, blurred, and brought to mean 0 and SD 1 over the volume.

    Parameters
    ----------
    blur_voxels : float
        SD of the Gaussian blur, which lets noise fade; 0 for none.
    shift_voxels : int
        All shifts of at most this many voxels, counted along the axes.
    mirror : bool
        Compare the mirror image too; the first axis runs from left to right.

    Raises
    ------
    MeasurementError
        When blur or shift are negative.
    """

    def __init__(
        self, *, blur_voxels: float = 1.0, shift_voxels: int = 1, mirror: bool = True
    ) -> None:
        _check_sizes(blur_voxels, shift_voxels)
        self.blur_voxels, self.shift_voxels, self.mirror = blur_voxels, shift_voxels, mirror
        steps = range(-shift_voxels, shift_voxels + 1)
        shifts = [
            shift
            for shift in itertools.product(steps, repeat=3)
            if sum(map(abs, shift)) <= shift_voxels
        ]
        shifts.sort(key=lambda shift: (sum(map(abs, shift)), shift))
        mirrored = (False, True) if mirror else (False,)
        self.placements = tuple(Placement(m, s) for m in mirrored for s in shifts)
        self._shape: tuple[int, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides a distance, JSON values."""
        return {
            "space": "image",
            "distance": "root mean square difference over the voxels",
            "intensities": "blurred, then brought to mean 0 and SD 1 over the volume",
            "blur_voxels": self.blur_voxels,
            "shift_voxels": self.shift_voxels,
            "mirror": self.mirror,
            "edge_left_out_voxels": self.shift_voxels,
        }

    def prepare(self, scan_id: str, volume: np.ndarray) -> np.ndarray:
        """Blurred and standardised volume, float32."""
        self._shape = _checked_shape(scan_id, volume, self._shape)
        if min(volume.shape) <= 2 * self.shift_voxels:
            raise MeasurementError(
                f"{scan_id}: volume {volume.shape} is too small for shifts of {self.shift_voxels}",
                "set shift_voxels to 0",
            )
        blurred = _blurred(volume, self.blur_voxels)
        deviation = blurred.std(dtype=np.float64)
        return ((blurred - blurred.mean(dtype=np.float64)) / deviation).astype(np.float32)

    def placed(self, prepared: np.ndarray, number: int) -> np.ndarray:
        """Voxels of the window that all placements share."""
        placement, edge = self.placements[number], self.shift_voxels
        volume = prepared[::-1] if placement.mirrored else prepared
        window = tuple(
            slice(edge + shift, size - edge + shift)
            for shift, size in zip(placement.shift_voxels, volume.shape, strict=True)
        )
        return volume[window].ravel()


class FeatureSpace:
    """Features of slices along the three axes, of the volume and of its mirror image.

    Small shifts are left to the network, which hardly sees them.

    Parameters
    ----------
    extractor : Extractor
    blur_voxels : float
        SD of a Gaussian blur of the volume before its slices are taken: the network sees noise and
        sharpness before it sees who it is.
    positions, reference_shape : sequence of int
        Slices along each axis, as in the Fréchet distance.
    averaged : bool
        Average the features over the slices of an axis; else the slices stand one behind another.
    mirror : bool
    """

    def __init__(
        self,
        extractor: Extractor,
        *,
        blur_voxels: float = 1.0,
        positions: Sequence[int] = POSITIONS,
        reference_shape: Sequence[int] = REFERENCE_SHAPE,
        averaged: bool = False,
        mirror: bool = True,
    ) -> None:
        _check_sizes(blur_voxels)
        self.extractor, self.blur_voxels = extractor, blur_voxels
        self.positions, self.reference_shape = tuple(positions), tuple(reference_shape)
        self.averaged, self.mirror = averaged, mirror
        self.placements = (Placement(), Placement(mirrored=True)) if mirror else (Placement(),)
        self._shape: tuple[int, ...] = ()
        self._known: dict[bytes, np.ndarray] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides a distance, JSON values."""
        return {
            "space": "feature",
            "distance": "root mean square difference over the features",
            "features": "averaged over the slices of an axis, axes one behind another"
            if self.averaged
            else "slices one behind another",
            "positions": list(self.positions),
            "reference_shape": list(self.reference_shape),
            "blur_voxels": self.blur_voxels,
            "mirror": self.mirror,
            **self.extractor.settings,
        }

    def prepare(self, scan_id: str, volume: np.ndarray) -> np.ndarray:
        """Features `[placements, features]`; a volume seen before costs nothing."""
        self._shape = _checked_shape(scan_id, volume, self._shape)
        low, high = float(volume.min()), float(volume.max())
        if low < LEAST_INTENSITY or high > GREATEST_INTENSITY:
            raise MeasurementError(
                f"{scan_id}: intensities from {low:.4g} to {high:.4g}, about 0 to 1 expected",
                "bring the volumes to [0, 1], as every recipe does",
            )
        volume = np.ascontiguousarray(volume, np.float32)
        key = hashlib.sha256(f"{volume.shape}".encode() + volume.tobytes()).digest()
        if key not in self._known:
            blurred = _blurred(volume, self.blur_voxels)
            both = (blurred, blurred[::-1])[: len(self.placements)]
            self._known[key] = np.stack([self._features(one) for one in both])
        return self._known[key]

    def placed(self, prepared: np.ndarray, number: int) -> np.ndarray:
        """Features of a placement."""
        return prepared[number]

    def _features(self, volume: np.ndarray) -> np.ndarray:
        voxels = slice_positions(volume.shape, self.reference_shape, self.positions)
        found = [self.extractor(slices(volume, axis, voxels[axis])) for axis in AXES]
        if self.averaged:
            found = [features.mean(0, dtype=np.float64, keepdims=True) for features in found]
        return np.concatenate([features.ravel() for features in found]).astype(np.float32)


@dataclass(frozen=True)
class Products:
    """Inner products of some volumes with others, per voxel or feature.

    Attributes
    ----------
    cross : ndarray
        `[placements, rows, columns]`, float64.
    row_energy, column_energy : ndarray
        `[placements, rows]` and `[columns]`: each vector's product with itself.
    """

    cross: np.ndarray
    row_energy: np.ndarray
    column_energy: np.ndarray

    def squared(self) -> np.ndarray:
        """Squared distances `[placements, rows, columns]`: |a|² + |b|² - 2 a·b.

        What rounding leaves of the distance between equal vectors is 0.
        """
        energies = self.row_energy[:, :, None] + self.column_energy
        found = energies - 2 * self.cross
        return np.where(found > ROUNDING * energies, found, 0.0)


def inner_products(
    space: Space,
    rows: Mapping[str, np.ndarray],
    columns: Mapping[str, np.ndarray],
    *,
    chunk: int,
    together: bool = False,
) -> Products:
    """Inner products of each row's volume, in all placements, with each column's volume.

    Sums are in double precision and in blocks: no more than `chunk` volumes of each side are held,
    whatever their number.

    Parameters
    ----------
    space : Space
    rows, columns : mapping of str to ndarray
        Volume `[x, y, z]` by id, read when needed, some of them more than once.
    chunk : int
    together : bool
        Columns are placed with the rows, rather than staying as they are.

    Raises
    ------
    MeasurementError
        When a volume is not fit for a distance.
    """
    row_ids, column_ids, placements = list(rows), list(columns), range(len(space.placements))
    cross = np.empty((len(placements), len(row_ids), len(column_ids)))
    row_energy = np.empty(cross.shape[:2])
    column_energy = np.empty(len(column_ids))
    for right in _blocks(len(column_ids), chunk):
        beside = [space.prepare(name, columns[name]) for name in column_ids[right]]
        others = _vectors(space, beside, 0)
        length = others.shape[1]
        column_energy[right] = np.einsum("cv,cv->c", others, others) / length
        for left in _blocks(len(row_ids), chunk):
            prepared = [space.prepare(name, rows[name]) for name in row_ids[left]]
            for number in placements:
                vectors = _vectors(space, prepared, number)
                if together:
                    others = _vectors(space, beside, number)
                cross[number, left, right] = vectors @ others.T / length
                row_energy[number, left] = np.einsum("rv,rv->r", vectors, vectors) / length
    return Products(cross, row_energy, column_energy)


def _blocks(n: int, chunk: int) -> list[slice]:
    return [slice(first, first + chunk) for first in range(0, n, chunk)]


def _vectors(space: Space, prepared: Sequence[np.ndarray], number: int) -> np.ndarray:
    return np.stack([space.placed(one, number) for one in prepared]).astype(np.float64)


def _blurred(volume: np.ndarray, blur_voxels: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    volume = np.asarray(volume, np.float32)
    return gaussian_filter(volume, blur_voxels, mode="nearest") if blur_voxels else volume


def _check_sizes(*voxels: float) -> None:
    if min(voxels) < 0:
        raise MeasurementError(
            f"memorisation: a blur or shift of {min(voxels)} voxels", "0 or more is needed"
        )


def _checked_shape(scan_id: str, volume: np.ndarray, known: tuple[int, ...]) -> tuple[int, ...]:
    """The grid of all volumes so far; refuses a volume that has no place among them."""
    if volume.ndim != 3:
        raise MeasurementError(f"{scan_id}: volume {volume.shape}, [x, y, z] expected")
    if known and volume.shape != known:
        raise MeasurementError(
            f"{scan_id}: volume {volume.shape} beside volumes of {known}",
            "bring all volumes to one grid",
        )
    if not np.isfinite(volume).all():
        raise MeasurementError(f"{scan_id}: values that are not finite")
    if volume.min() == volume.max():
        raise MeasurementError(
            f"{scan_id}: the volume is constant ({volume.flat[0]}): it resembles nobody",
            "look at that volume",
        )
    return volume.shape
