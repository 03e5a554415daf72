"""Mean and variance of a group of maps, voxel by voxel, in one pass that holds few of them.

Each person counts once: the maps of a person are averaged first, so that two scans of one head are
not taken for two people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.half_samples import groups_of_people
from genmorph.metrics.measurement import person

Maps = Mapping[str, np.ndarray]

CHUNK = 4
# voxels looked at together: their sums stay in the processor's cache while a chunk of maps is added
BLOCK = 1 << 13

UNIT = "one map a person: the mean of the person's maps"


@dataclass(frozen=True)
class Moments:
    """Mean and variance over the people of a group.

    Attributes
    ----------
    mean, variance : ndarray, float64, shape (voxels,)
        In the voxels of `mask`, in C order; the variance has divisor n - 1 and is NaN for a single
        person.
    people : tuple of str
        Who counts: persons where ids name them, else scans.
    ids : tuple of str
        Scans.
    mask : ndarray of bool
        On the grid of the maps.
    """

    mean: np.ndarray
    variance: np.ndarray
    people: tuple[str, ...]
    ids: tuple[str, ...]
    mask: np.ndarray

    def inside(self, mask: np.ndarray) -> Moments:
        """The same group in fewer voxels.

        Raises
        ------
        MeasurementError
            When grids differ, or a voxel asked for was not looked at.
        """
        checked_mask(mask, self.mask.shape)
        if (mask & ~self.mask).any():
            raise MeasurementError("VBM: the mask has voxels that the group's moments do not have")
        kept = mask[self.mask]
        return replace(self, mean=self.mean[kept], variance=self.variance[kept], mask=mask)


def moments(
    maps: Maps | np.ndarray, mask: np.ndarray | None = None, *, chunk: int = CHUNK
) -> Moments:
    """Mean and variance over people, each map read once.

    Sums are of differences from the first person's map, in double precision. That map is one of
    the sample, so its own distance from the mean is part of the variance: the sum of squares can
    exceed what is left after the mean is taken out by a factor of n at most, and no digits are lost
    that float64 does not have to spare. A voxel of one value in all maps has a variance of exactly
    zero.

    Parameters
    ----------
    maps : mapping of str to ndarray, or ndarray
        Map by scan id, all of one grid; or `[n, voxels]`, a row a person.
    mask : ndarray of bool, optional
        Voxels looked at; all when absent.
    chunk : int
        Maps held at a time. Memory goes with it, not with the number of maps; the sums do not
        depend on it.

    Raises
    ------
    MeasurementError
        When there are no maps, grids differ, or a voxel looked at is not finite (its scan is
        named).
    """
    if chunk < 1:
        raise MeasurementError(f"VBM: {chunk} maps at a time", "set `chunk` to 1 or more")
    maps = as_maps(maps)
    shape = np.shape(maps[next(iter(maps))])
    mask = np.ones(shape, dtype=bool) if mask is None else checked_mask(mask, shape)
    sums = None
    people: list[str] = []
    for name, vector in people_vectors(maps, mask):
        people.append(name)
        sums = sums or _Sums(vector, chunk)
        sums.add(vector)
        # gone before the next is read: its memory serves again, without new pages
        del vector
    sums.flush()
    mean, variance = sums.mean_and_variance(len(people))
    if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
        raise _not_finite(maps, mask)
    if len(people) < 2:
        variance.fill(np.nan)
    return Moments(mean, variance, tuple(people), tuple(maps), mask)


def as_maps(maps: Maps | np.ndarray) -> Maps:
    """Maps by id; the rows of an array `[n, voxels]` are people without a name.

    Raises
    ------
    MeasurementError
        When there are none.
    """
    if isinstance(maps, np.ndarray):
        if maps.ndim != 2:
            raise MeasurementError(
                f"VBM: an array {maps.shape}", "give [n, voxels], or maps [x, y, z] by scan id"
            )
        maps = {f"row-{number:05d}": row for number, row in enumerate(maps)}
    if not maps:
        raise MeasurementError("VBM: no maps")
    return maps


def people_vectors(maps: Maps, mask: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Each person and the mean of the person's maps in the mask, `[voxels]`, one at a time."""
    ids = list(maps)
    whole = bool(mask.all())
    for rows in groups_of_people(ids):
        name = person(ids[rows[0]]) or ids[rows[0]]
        yield name, _mean_vector(maps, [ids[row] for row in rows], mask, whole)


def _mean_vector(maps: Maps, ids: list[str], mask: np.ndarray, whole: bool) -> np.ndarray:
    vectors = [_vector(scan_id, maps[scan_id], mask, whole) for scan_id in ids]
    return vectors[0] if len(ids) == 1 else np.mean(vectors, axis=0, dtype=np.float64)


def people_matrix(maps: Maps | np.ndarray, mask: np.ndarray) -> tuple[list[str], np.ndarray]:
    """People and their maps in the mask, `[people, voxels]`: all in memory at once."""
    maps = as_maps(maps)
    names, vectors = zip(*people_vectors(maps, mask), strict=True)
    matrix = np.stack(vectors)
    if not np.isfinite(matrix).all():
        raise _not_finite(maps, mask)
    return list(names), matrix


class Differences(Mapping[str, np.ndarray]):
    """First map less second map of each scan, made when looked at.

    Raises
    ------
    MeasurementError
        When the sides do not hold the same scans, or there are none.
    """

    def __init__(self, first: Maps | np.ndarray, second: Maps | np.ndarray) -> None:
        self.first, self.second = as_maps(first), as_maps(second)
        alone = sorted(set(self.first) ^ set(self.second))
        if alone:
            raise MeasurementError(
                f"paired VBM: only one side has {', '.join(alone[:5])}"
                + (f" and {len(alone) - 5} more" if len(alone) > 5 else ""),
                "give both maps of every scan, or compare two samples",
            )

    def __getitem__(self, scan_id: str) -> np.ndarray:
        first, second = (np.asarray(side[scan_id]) for side in (self.first, self.second))
        if first.shape != second.shape:
            raise MeasurementError(f"{scan_id}: maps {first.shape} and {second.shape}")
        return np.subtract(first, second, dtype=np.float64)

    def __iter__(self) -> Iterator[str]:
        return iter(self.first)

    def __len__(self) -> int:
        return len(self.first)


def checked_mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A mask of booleans on the grid that is expected, with a voxel in it.

    Raises
    ------
    MeasurementError
    """
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise MeasurementError(f"VBM: a mask of {mask.dtype}, booleans expected")
    if mask.shape != tuple(shape):
        raise MeasurementError(
            f"VBM: mask {mask.shape} on a grid of {tuple(shape)}",
            "bring maps and mask to one grid",
        )
    if not mask.any():
        raise MeasurementError(
            "VBM: the mask is empty",
            "lower its threshold, and look at the maps: are they probabilities?",
        )
    return mask


def _vector(scan_id: str, volume: np.ndarray, mask: np.ndarray, whole: bool) -> np.ndarray:
    """Values of one map in the mask; a view where all voxels are asked for."""
    if volume.shape != mask.shape:
        raise MeasurementError(
            f"{scan_id}: map {volume.shape} among maps of {mask.shape}",
            "bring all maps to one grid",
        )
    if volume.dtype.kind not in "fiub":
        raise MeasurementError(f"{scan_id}: a map of {volume.dtype}, real numbers expected")
    return volume.reshape(-1) if whole else volume[mask]


def _not_finite(maps: Maps, mask: np.ndarray) -> MeasurementError:
    """The error that names the first scan with a value that is not finite."""
    named = next(
        (scan_id for scan_id in maps if not np.isfinite(maps[scan_id][mask]).all()),
        None,
    )
    if named is None:
        return MeasurementError("VBM: sums of the maps exceed double precision")
    return MeasurementError(
        f"{named}: its map holds values that are not finite",
        "leave that scan out, or give a mask without those voxels",
    )


class _Sums:
    """Sums over maps of differences from the first, and of their squares.

    Maps wait in a buffer until it is full.
    """

    def __init__(self, first: np.ndarray, chunk: int) -> None:
        self.origin = first.astype(np.float64)
        self.total = np.zeros_like(self.origin)
        self.squares = np.zeros_like(self.origin)
        self._difference = np.empty(min(BLOCK, len(first)))
        self._waiting = np.empty((chunk, len(first)), first.dtype)
        self._count = 0

    def add(self, vector: np.ndarray) -> None:
        """Add one map."""
        dtype = np.result_type(self._waiting, vector)
        if dtype != self._waiting.dtype:
            # a mean of two scans has more digits than a scan
            self.flush()
            self._waiting = np.empty(self._waiting.shape, dtype)
        self._waiting[self._count] = vector
        self._count += 1
        if self._count == len(self._waiting):
            self.flush()

    def flush(self) -> None:
        """Add the maps that wait in their order, a block of voxels at a time."""
        # values that are not finite are reported by name once the pass is over
        with np.errstate(invalid="ignore", over="ignore"):
            for start in range(0, len(self.origin), BLOCK):
                block = slice(start, start + BLOCK)
                origin, total, squares = self.origin[block], self.total[block], self.squares[block]
                difference = self._difference[: len(origin)]
                for values in self._waiting[: self._count, block]:
                    np.subtract(values, origin, out=difference)
                    total += difference
                    np.multiply(difference, difference, out=difference)
                    squares += difference
        self._count = 0

    def mean_and_variance(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Over `count` maps; divisor n - 1. The sums are used up."""
        with np.errstate(invalid="ignore", over="ignore"):
            variance = self.squares
            variance -= self.total * (self.total / count)
            # rounding may leave a tiny negative number
            np.maximum(variance, 0, out=variance)
            variance /= max(count - 1, 1)
            mean = self.total
            mean /= count
            mean += self.origin
        return mean, variance
