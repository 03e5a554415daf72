"""Fréchet distance between the features of slices of generated and of real volumes.

The Fréchet inception distance of Heusel et al. (2017), slice by slice as P1 (section 3) has it:
four slices along each axis, one distance a slice, averaged over the slices of an axis. The kernel
distance of the same features stands beside it.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.features import checked_pair
from genmorph.metrics.half_samples import (
    FEWEST_PEOPLE,
    SPREAD_OVER,
    HalfSamples,
    groups_of_people,
    half_samples,
    too_few_people,
)
from genmorph.metrics.kid import KERNEL, kernel_distance
from genmorph.metrics.measurement import Measurement, counts

if TYPE_CHECKING:
    from genmorph.metrics.features import Extractor

# of a volume [x, y, z] whose axes point to the right, to the front and up (RAS+)
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}

REFERENCE_SHAPE = (80, 96, 80)
POSITIONS = (30, 40, 50, 60)
HALF_SAMPLE_REPEATS = 20
VOLUMES_AT_A_TIME = 4

Slices = dict[str, tuple[int, ...]]
# voxels of a reference grid, or the middle slice of each axis (P5)
MIDDLE = "middle"
Positions = Sequence[int] | Literal["middle"]


# -- the distance ----------------------------------------------------------------------------------


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Fréchet distance between the normal distributions fitted to two sets of features.

    |m_a - m_b|² + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^½), in double precision.

    With A and B the centred features over √(n - 1), C_a = AᵀA and C_b = BᵀB, so the last trace is
    the sum of the singular values of A Bᵀ: no d x d matrix is formed or rooted, and nothing is
    squared that would lose digits. A side with more rows than d is first replaced by the
    triangular factor of its QR decomposition, which has the same covariance.

    Parameters
    ----------
    features_a : ndarray
        `[n, d]`.
    features_b : ndarray
        `[m, d]`.

    Returns
    -------
    float
        Not negative. The covariance of a single row, or of equal rows, is zero.

    Raises
    ------
    MeasurementError
        When a side is empty, has other features, or holds a value that is not finite.
    """
    sides = checked_pair("Fréchet distance", features_a, features_b)
    roots = [_covariance_root(side) for side in sides]
    mean_term = np.square(sides[0].mean(0) - sides[1].mean(0)).sum()
    own_terms = sum(np.square(root).sum() for root in roots)
    shared_term = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    # rounding may leave a tiny negative number where the distance is zero
    return max(float(mean_term + own_terms - 2 * shared_term), 0.0)


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """A matrix R with RᵀR the sample covariance of `features`, of at most d rows."""
    rows, dimension = features.shape
    root = (features - features.mean(0)) / np.sqrt(max(rows - 1, 1))
    return np.linalg.qr(root, mode="r") if rows > dimension else root


# -- slices ----------------------------------------------------------------------------------------


def slice_positions(
    shape: Sequence[int],
    reference_shape: Sequence[int] = REFERENCE_SHAPE,
    positions: Positions = POSITIONS,
) -> Slices:
    """Voxels of a grid that lie where `positions` lie on a reference grid.

    Both grids have the same field of view. Along each axis it is the voxel that holds the centre
    of the reference voxel: of n voxels for N reference voxels, floor((position + ½) n / N).
    'middle' is voxel n // 2 of an axis of n, whatever the reference grid.

    Returns
    -------
    dict of str to tuple of int
        For 'sagittal', 'coronal', 'axial': one voxel for each position.

    Raises
    ------
    MeasurementError
        When a position lies outside the reference grid.

    Examples
    --------
    >>> slice_positions((40, 48, 40))["coronal"]
    (15, 20, 25, 30)
    >>> slice_positions((160, 224, 160), positions="middle")["coronal"]
    (112,)
    """
    if positions == MIDDLE:
        return {name: (shape[axis] // 2,) for name, axis in AXES.items()}
    if isinstance(positions, str):
        raise MeasurementError(
            f"slice positions {positions!r}", f"give voxels, or '{MIDDLE}' for the middle slices"
        )
    outside = [position for position in positions if not 0 <= position < min(reference_shape)]
    if outside or not positions:
        raise MeasurementError(
            f"slice positions {list(positions)} on a grid of {tuple(reference_shape)}",
            "name voxels that all three axes have",
        )
    return {
        name: tuple(
            (2 * position + 1) * shape[axis] // (2 * reference_shape[axis])
            for position in positions
        )
        for name, axis in AXES.items()
    }


def slices(volume: np.ndarray, axis: str, positions: Sequence[int]) -> np.ndarray:
    """Slices of a volume.

    Parameters
    ----------
    volume : ndarray
        `[x, y, z]`, RAS+.
    axis : {'sagittal', 'coronal', 'axial'}
        What the slices are perpendicular to: x, y or z.
    positions : sequence of int
        Voxels along that axis.

    Returns
    -------
    ndarray
        `[len(positions), h, w]`; h and w are the remaining axes, in the volume's order.
    """
    return np.moveaxis(volume, AXES[axis], 0)[list(positions)]


# -- the measure -----------------------------------------------------------------------------------


def slice_frechet(
    generated: Iterable[tuple[str, np.ndarray]],
    reference: Iterable[tuple[str, np.ndarray]],
    *,
    extractor: Extractor,
    positions: Positions = POSITIONS,
    reference_shape: Sequence[int] = REFERENCE_SHAPE,
    half_sample_repeats: int = HALF_SAMPLE_REPEATS,
    half_sample_seed: int = 0,
) -> Measurement:
    """Fréchet and kernel distance slice by slice, averaged per axis (P1, section 3 and table 1).

    Parameters
    ----------
    generated, reference : iterable of (str, ndarray)
        Id and volume `[x, y, z]` in [0, 1]; read once, a few volumes at a time.
    extractor : Extractor
        Gives the features of slices.
    positions : sequence of int, or 'middle'
        Slices along each axis: voxels of `reference_shape`, or the middle slice (P5, section 6.3).
    reference_shape : sequence of int
        Grid the positions are meant on; they are scaled in proportion on other grids.
    half_sample_repeats, half_sample_seed : int
        Draws of half of the people, and the seed that decides them.

    Returns
    -------
    Measurement
        Values `axial`, `coronal`, `sagittal` (means over slices), `all_axes` (their mean),
        `axial_30`, ... by position on the reference grid, and the kernel distances `kid_axial`,
        ...; absent when a side has a single volume. The spread of each is its SD over half-samples
        of people, and `half_n_axial`, ... the mean over them: what half of the people give, hence
        how much of a distance is due to n; `extrapolated_axial`, ... is without that part. All
        are absent, with a note, when a side has fewer than 20 people.

    Raises
    ------
    MeasurementError
        When a side is empty, a slice is not finite, one of the reference is all zero, or grids
        differ.
    """
    real = _Side("reference", extractor, positions, reference_shape, may_be_black=False)
    real.add(reference)
    made = _Side("generated", extractor, positions, reference_shape, may_be_black=True)
    made.add(generated)
    if made.shape != real.shape:
        raise MeasurementError(f"generated volumes {made.shape}, reference volumes {real.shape}")
    labels = [MIDDLE] if positions == MIDDLE else [str(position) for position in positions]
    features = {
        axis: [
            (made.features(axis, number), real.features(axis, number))
            for number in range(len(labels))
        ]
        for axis in AXES
    }
    every_row = np.arange(len(made.ids)), np.arange(len(real.ids))
    groups = {"generated": groups_of_people(made.ids), "reference": groups_of_people(real.ids)}
    few = too_few_people(**groups)
    statistic = functools.partial(_distances, features, labels)
    halves = (
        HalfSamples({}, {})
        if few
        else half_samples(
            statistic, *groups.values(), repeats=half_sample_repeats, seed=half_sample_seed
        )
    )
    whole = statistic(*every_row)
    means = [name for name in (*AXES, "all_axes") if name in halves.mean]
    return Measurement(
        measure="frechet",
        values=whole
        | {f"half_n_{name}": value for name, value in halves.mean.items() if _of_an_axis(name)}
        | {f"extrapolated_{name}": extrapolated(whole[name], halves.mean[name]) for name in means},
        spread=halves.spread | {f"extrapolated_{name}": halves.spread[name] for name in means},
        n=counts(generated=made.ids, reference=real.ids),
        settings={
            **extractor.settings,
            "positions": MIDDLE if positions == MIDDLE else list(positions),
            "reference_grid": None if positions == MIDDLE else list(reference_shape),
            "slices_voxels": {axis: list(voxels) for axis, voxels in real.voxels.items()},
            "slice_orientation": "array axes as stored, right-anterior-superior",
            "average": "mean over the slices of an axis of the distance of each slice",
            "spread_over": SPREAD_OVER,
            "half_sample_repeats": half_sample_repeats,
            "half_sample_seed": half_sample_seed,
            "half_n": "mean over half-samples",
            "fewest_people": FEWEST_PEOPLE,
            "covariance_divisor": "n - 1",
            "trace_term": "sum of singular values",
            "kernel": KERNEL,
        },
        notes=tuple(_notes(made, real, few)),
    )


def extrapolated(whole: float, half: float) -> float:
    """Fréchet distance without the part of its bias that goes with 1/n (Chong and Forsyth 2020).

    With a bias b/n, all rows give F + b/n and halves of them F + 2b/n. Unlike the distance of all
    rows, its interval of 1.96 SD holds the true distance as often as it should.

    Parameters
    ----------
    whole, half : float
        Distance of all rows, and the mean over half-samples of them.

    Examples
    --------
    >>> extrapolated(12.0, 14.0)
    10.0
    """
    return 2 * whole - half


def _distances(
    features: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
    labels: Sequence[str],
    made_rows: np.ndarray,
    real_rows: np.ndarray,
) -> dict[str, float]:
    """Both distances between some rows of either side: of each slice, and their axis means."""
    distances: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"": frechet_distance}
    if min(len(made_rows), len(real_rows)) > 1:
        distances["kid_"] = kernel_distance
    values = {}
    for prefix, distance in distances.items():
        for axis, pairs in features.items():
            found = [distance(made[made_rows], real[real_rows]) for made, real in pairs]
            values[f"{prefix}{axis}"] = statistics.fmean(found)
            for label, value in zip(labels, found, strict=True):
                values[f"{prefix}{axis}_{label}"] = value
        values[f"{prefix}all_axes"] = statistics.fmean(values[f"{prefix}{axis}"] for axis in AXES)
    return values


def _of_an_axis(name: str) -> bool:
    """Whether a value is a mean over slices, not that of one slice."""
    return name.removeprefix("kid_") in (*AXES, "all_axes")


def _notes(made: _Side, real: _Side, few: str) -> Iterable[str]:
    """What a reader of the distances has to know."""
    fewest, dimension = min(len(made.ids), len(real.ids)), made.extractor.dimension
    if fewest <= dimension:
        yield (
            f"Fréchet distance: n does not exceed the {dimension} features of a slice, "
            "so its value is biased upwards, more so the smaller n: compare rows of equal n only."
        )
    if made.black:
        yield f"Fréchet distance: {made.black} generated slices are black."
    if fewest < 2:
        yield "Kernel distance: not defined for a single volume on a side."
    if few:
        yield f"No half-sample SD, nor half-n value, of the Fréchet and kernel distance ({few})."


class _Side:
    """Features of all slices of one side of the comparison.

    Equal slices are looked at once: they have equal features bit for bit whatever batch they come
    in, so that a repeated image has a covariance of exactly zero, and they cost nothing.
    """

    def __init__(
        self,
        name: str,
        extractor: Extractor,
        positions: Positions,
        reference_shape: Sequence[int],
        *,
        may_be_black: bool,
    ) -> None:
        self.name, self.extractor = name, extractor
        # a generator may give nothing where a scan has brain; a scan that does is a wrong one
        self.may_be_black, self.black = may_be_black, 0
        self.positions, self.reference_shape = positions, reference_shape
        self.ids: list[str] = []
        self.shape: tuple[int, ...] = ()
        self.voxels: Slices = {}
        self._keys: dict[str, list[list[bytes]]] = {axis: [] for axis in AXES}
        self._features: dict[bytes, np.ndarray] = {}

    def add(self, volumes: Iterable[tuple[str, np.ndarray]]) -> None:
        """Read all volumes, a few at a time."""
        iterator = iter(volumes)
        while some := list(itertools.islice(iterator, VOLUMES_AT_A_TIME)):
            for scan_id, volume in some:
                self._check_grid(scan_id, volume)
                self.ids.append(scan_id)
            for axis in AXES:
                self._add_slices(axis, some)
        if not self.ids:
            raise MeasurementError(f"Fréchet distance: no {self.name} volumes")

    def features(self, axis: str, number: int) -> np.ndarray:
        """Features `[n, d]` of the `number`-th slice along an axis, in the order of `ids`."""
        return np.stack([self._features[keys[number]] for keys in self._keys[axis]])

    def _check_grid(self, scan_id: str, volume: np.ndarray) -> None:
        if not self.shape:
            if volume.ndim != 3:
                raise MeasurementError(f"{scan_id}: volume {volume.shape}, [x, y, z] expected")
            self.shape = volume.shape
            self.voxels = slice_positions(volume.shape, self.reference_shape, self.positions)
        elif volume.shape != self.shape:
            raise MeasurementError(
                f"{scan_id}: volume {volume.shape} among {self.name} volumes of {self.shape}"
            )

    def _add_slices(self, axis: str, volumes: Sequence[tuple[str, np.ndarray]]) -> None:
        new: dict[bytes, np.ndarray] = {}
        for scan_id, volume in volumes:
            keys = []
            for number, image in enumerate(slices(volume, axis, self.voxels[axis])):
                self._check_slice(scan_id, axis, number, image)
                image = np.ascontiguousarray(image, dtype=np.float32)
                key = hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).digest()
                if key not in self._features:
                    new[key] = image
                keys.append(key)
            self._keys[axis].append(keys)
        if new:
            found = self.extractor(np.stack(list(new.values())))
            self._features |= dict(zip(new, found, strict=True))

    def _check_slice(self, scan_id: str, axis: str, number: int, image: np.ndarray) -> None:
        where = f"{self.name} {scan_id}: {axis} slice at voxel {self.voxels[axis][number]}"
        if not np.isfinite(image).all():
            raise MeasurementError(f"{where} holds values that are not finite")
        if not image.any():
            if self.may_be_black:
                self.black += 1
                return
            raise MeasurementError(
                f"{where}{self._position(axis, number)} is all zero: it says nothing of a brain",
                "look at that volume; if it is right, choose slices inside the brain",
            )

    def _position(self, axis: str, number: int) -> str:
        if self.positions == MIDDLE:
            return " (the middle)"
        return f" (position {self.positions[number]} of {self.reference_shape[AXES[axis]]})"
