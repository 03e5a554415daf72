"""Maximum mean discrepancy (MMD) between volumes, with the kernel k(x, y) = x·y over voxels.

P2 (table 1), P3 (appendix table) and P5 (table 1) report it over small batches. With this kernel it
is the squared distance between the means of the two batches: it sees no difference in diversity,
and its expected value between equal distributions is far from zero unless it is corrected. The
reported conventions differ by the number of voxels, the batch size and the intensity range, so all
stand in the settings, and the expected floor stands beside the value.
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from genmorph.errors import MeasurementError, did_you_mean
from genmorph.metrics.measurement import Measurement, counts, person
from genmorph.metrics.volumes import checked_volume, constant_note, is_constant
from genmorph.seeds import derive_seed

Convention = Literal["biased", "biased_per_voxel", "unbiased"]

# of a side's volumes, kept for the repeats that draw them again; others are read anew
KEPT_BYTES = 256 * 2**20

# -- one pair of batches ---------------------------------------------------------------------------


class RunningSums:
    """Sum and sum of squares of volumes, in double precision: all that this kernel asks for."""

    def __init__(self) -> None:
        self.n = 0
        self._sum: np.ndarray | None = None
        self._squares = 0.0

    def add(self, volume: np.ndarray) -> None:
        """Take in one volume `[x, y, z]`, or `[v]`."""
        values = np.asarray(volume, dtype=np.float64).ravel()
        if self._sum is None:
            self._sum = values.copy()
        else:
            self._sum += values
        self._squares += float(values @ values)
        self.n += 1

    @property
    def mean(self) -> np.ndarray:
        """Mean volume, `[v]`."""
        if self._sum is None:
            raise MeasurementError("MMD: no volumes")
        return self._sum / self.n

    def variance(self) -> float:
        """Trace of the sample covariance, with divisor n - 1."""
        if self.n < 2:
            raise MeasurementError("MMD: one volume has no variance", "give two or more a batch")
        mean = self.mean
        return max(self._squares - self.n * float(mean @ mean), 0.0) / (self.n - 1)


def squared_mmd(
    first: Iterable[np.ndarray],
    second: Iterable[np.ndarray],
    *,
    convention: Convention,
    paired: bool = False,
) -> float:
    """Squared MMD between two batches of equal size, in one pass without a Gram matrix.

    `biased` is the V-statistic, Σ k(x, x')/B² + Σ k(y, y')/B² - 2 Σ k(x, y)/B² over all pairs,
    which is |x̄ - ȳ|². `biased_per_voxel` is that over the number of voxels. `unbiased` is the
    U-statistic (Gretton et al., 2012, lemma 6), whose first two sums leave out each volume with
    itself; here |x̄ - ȳ|² - (tr Sx + tr Sy)/B. When volumes are paired the last sum leaves out the
    pairs as well, since they depend on each other: |d̄|² - tr Sd/B of the differences d.

    Parameters
    ----------
    first, second : iterable of ndarray
        B volumes each; read once. With `paired` the k-th of both sides belong together.
    convention : {'biased', 'biased_per_voxel', 'unbiased'}
    paired : bool

    Raises
    ------
    MeasurementError
        When a side is empty, sizes or grids differ, or `unbiased` is asked of a single volume.
    """
    sums = [RunningSums()] if paired else [RunningSums(), RunningSums()]
    shape: tuple[int, ...] = ()
    for one, other in itertools.zip_longest(first, second):
        if one is None or other is None:
            raise MeasurementError("MMD: batches of different size")
        shape = shape or np.shape(one)
        if not np.shape(one) == np.shape(other) == shape:
            raise MeasurementError(f"MMD: volumes {np.shape(one)} and {np.shape(other)}")
        if paired:
            sums[0].add(np.subtract(one, other, dtype=np.float64))
        else:
            sums[0].add(one)
            sums[1].add(other)
    return _squared_mmd(sums, convention)


def _squared_mmd(sums: Sequence[RunningSums], convention: Convention) -> float:
    """Squared MMD from the sums of both sides, or from those of the differences of pairs."""
    size = sums[0].n
    difference = sums[0].mean if len(sums) == 1 else sums[0].mean - sums[1].mean
    biased = float(difference @ difference)
    if convention == "biased":
        return biased
    if convention == "biased_per_voxel":
        return biased / len(difference)
    return biased - sum(side.variance() for side in sums) / size


# -- the measure -----------------------------------------------------------------------------------


def measure_mmd(
    generated: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    *,
    convention: Convention,
    batch_size: int,
    repeats: int,
    paired: bool,
    natural_log: bool,
    seed: int,
    reference_name: str,
    intensity_range: tuple[float, float] = (0.0, 1.0),
) -> Measurement:
    """Squared MMD over repeated batches, with the value that equal distributions would give.

    Parameters
    ----------
    generated, reference : mapping of str to ndarray
        Volumes `[x, y, z]` in [0, 1] by id; read when needed, and few are kept.
    convention : {'biased', 'biased_per_voxel', 'unbiased'}
        P2 and P3 report the first, P5 the second.
    batch_size, repeats : int
        Volumes a side in each of so many repeats. A side is shuffled and dealt out in batches,
        shuffled anew when less than a batch is left.
    paired : bool
        Compare volumes of equal ids only, drawn together: scans and their reconstructions.
    natural_log : bool
        Give the natural logarithm too, as P3 prints it.
    seed : int
        Decides the batches.
    reference_name : str
        What the reference is: 'training', 'test', 'originals'. A training reference rewards copies.
    intensity_range : tuple of float
        Volumes in [0, 1] are brought to this range first; that of P2 and P3 is (-1, 1).

    Returns
    -------
    Measurement
        Values `mmd` (mean over repeats) and `floor`, what is expected of equal means:
        (tr Σx + tr Σy)/B, or tr Cov(x - y)/B when paired, in the convention's scale, and 0 for
        `unbiased`; with `natural_log` also the logarithms `log_mmd` and `log_floor` of these, where
        they are positive. The spread is over repeats.

    Raises
    ------
    MeasurementError
        When a batch is larger than a side, ids do not match in `paired`, grids or intensity ranges
        differ, or a voxel is not finite.
    """
    _check_arguments(convention, batch_size, repeats, intensity_range)
    constant: set[str] = set()
    sides = _sides(generated, reference, paired, constant)
    for side in sides:
        if len(side.ids) < batch_size:
            raise MeasurementError(
                f"MMD: batches of {batch_size}, but there are {len(side.ids)} {side.name} volumes",
                "set a smaller batch size",
            )
    dealt = [side.batches(batch_size, repeats, seed) for side in sides]
    # the kernel sees differences of intensities only: where their range begins cancels
    scale = (float(intensity_range[1]) - float(intensity_range[0])) ** 2
    found = [
        scale
        * _squared_mmd([side.sums(ids) for side, ids in zip(sides, batch, strict=True)], convention)
        for batch in zip(*dealt, strict=True)
    ]
    values, notes = {"mmd": statistics.fmean(found)}, list(_notes(sides, batch_size, repeats))
    floor = _floor([side.population for side in sides], convention, batch_size)
    if floor is not None:
        values["floor"] = scale * floor
    spread = {"mmd": statistics.stdev(found)} if repeats > 1 else {}
    if natural_log:
        positive = {name: value for name, value in values.items() if value > 0}
        notes += [
            f"MMD: no logarithm of {name}, as it is not positive."
            for name in values
            if name not in positive
        ]
        values |= {f"log_{name}": math.log(value) for name, value in positive.items()}
        if spread and min(found) > 0:
            spread["log_mmd"] = statistics.stdev(map(math.log, found))
    drawn_from = [sides[0].ids, sides[-1].ids]
    return Measurement(
        measure="mmd",
        values=values,
        spread=spread,
        n={
            **counts(generated=drawn_from[0], reference=drawn_from[1]),
            **{f"{side.name}_drawn": side.population.n for side in sides},
        },
        settings={
            "kernel": "x·y over voxels",
            "convention": convention,
            "batch_size": batch_size,
            "repeats": repeats,
            "batches": "dealt from a shuffled side, shuffled anew when less than a batch is left",
            "paired": paired,
            "reference": reference_name,
            "intensity_range": [float(end) for end in intensity_range],
            "natural_log": natural_log,
            "seed": seed,
            "average": "mean over repeats; logarithms are of the mean",
            "floor": _floor_formula(convention, paired),
            "spread_over": "repeats",
            "precision": "float64",
        },
        notes=(
            *notes,
            *_pairing_notes(list(generated), list(reference), paired),
            *constant_note("MMD", sorted(constant)),
        ),
    )


class _Side:
    """What batches are drawn from: the volumes of a side, or the differences of pairs."""

    def __init__(self, name: str, ids: list[str], read: Callable[[str], np.ndarray]) -> None:
        self.name, self.ids, self._read = name, ids, read
        self.population = RunningSums()
        self._seen: set[str] = set()

    def batches(self, size: int, repeats: int, seed: int) -> list[list[str]]:
        """Ids of each batch."""
        dealt: list[list[str]] = []
        shuffle = 0
        while len(dealt) < repeats:
            generator = np.random.default_rng(derive_seed(seed, "mmd", self.name, shuffle))
            order = [self.ids[number] for number in generator.permutation(len(self.ids))]
            dealt += [order[at : at + size] for at in range(0, len(order) - size + 1, size)]
            shuffle += 1
        return dealt[:repeats]

    def sums(self, batch: Sequence[str]) -> RunningSums:
        """Sums of a batch; each volume also enters `population`, once."""
        sums = RunningSums()
        for scan_id in batch:
            volume = self._read(scan_id)
            sums.add(volume)
            if scan_id not in self._seen:
                self._seen.add(scan_id)
                self.population.add(volume)
        return sums


def _sides(
    generated: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    paired: bool,
    constant: set[str],
) -> list[_Side]:
    for name, volumes in (("generated", generated), ("reference", reference)):
        if not len(volumes):
            raise MeasurementError(f"MMD: no {name} volumes")
    first = reference[next(iter(reference))]
    shape, kept = np.shape(first), max(1, KEPT_BYTES // np.asarray(first).nbytes)

    def reader(volumes: Mapping[str, np.ndarray]) -> Callable[[str], np.ndarray]:
        @functools.lru_cache(maxsize=kept)
        def read(scan_id: str) -> np.ndarray:
            volume = checked_volume("MMD", scan_id, volumes[scan_id], shape)
            if is_constant(volume):
                constant.add(scan_id)
            return volume

        return read

    made, real = reader(generated), reader(reference)
    if not paired:
        return [
            _Side("generated", list(generated), made),
            _Side("reference", list(reference), real),
        ]
    ids = [scan_id for scan_id in generated if scan_id in reference]
    if not ids:
        raise MeasurementError(
            "MMD: paired, but no id is on both sides",
            "give scans and their reconstructions",
        )
    return [
        _Side("paired", ids, lambda name: np.subtract(made(name), real(name), dtype=np.float64))
    ]


def _floor(
    populations: Sequence[RunningSums], convention: Convention, batch_size: int
) -> float | None:
    """Expected value of equal means, or None where no variance is known."""
    if convention == "unbiased":
        return 0.0
    if min(population.n for population in populations) < 2:
        return None
    floor = sum(population.variance() for population in populations) / batch_size
    return floor / len(populations[0].mean) if convention == "biased_per_voxel" else floor


def _floor_formula(convention: Convention, paired: bool) -> str:
    if convention == "unbiased":
        return "0, as it is unbiased"
    formula = "tr Cov(x - y) / B" if paired else "(tr Cov(x) + tr Cov(y)) / B"
    voxels = " / voxels" if convention == "biased_per_voxel" else ""
    return f"{formula}{voxels}, covariances of all volumes drawn"


def _check_arguments(
    convention: str, batch_size: int, repeats: int, intensity_range: tuple[float, float]
) -> None:
    if convention not in get_args(Convention):
        raise MeasurementError(
            f"MMD: convention {convention!r}", did_you_mean(convention, get_args(Convention))
        )
    if batch_size < 1 or repeats < 1:
        raise MeasurementError(
            f"MMD: {repeats} repeats of batches of {batch_size}", "give 1 or more of both"
        )
    if convention == "unbiased" and batch_size < 2:
        raise MeasurementError(
            "MMD: unbiased with one volume a batch", "set a batch size of 2 or more"
        )
    low, high = intensity_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise MeasurementError(
            f"MMD: intensity range {low} to {high}", "give two numbers, the lower first"
        )


def _notes(sides: Sequence[_Side], batch_size: int, repeats: int) -> Iterator[str]:
    disjoint = min(len(side.ids) // batch_size for side in sides)
    if repeats == 1:
        yield "MMD: no spread with a single repeat."
    elif repeats > disjoint:
        yield (
            f"MMD: {repeats} repeats of {disjoint} disjoint batches: repeats share volumes, so "
            "their SD is less than that between samples of their own."
        )
    if min(side.population.n for side in sides) < 2:
        yield "MMD: a single volume on a side has no variance, so no floor is known."


def _pairing_notes(generated: list[str], reference: list[str], paired: bool) -> Iterator[str]:
    shared = set(generated) & set(reference)
    if paired:
        unpaired = len(set(generated) | set(reference)) - len(shared)
        if unpaired:
            yield f"MMD: {unpaired} volumes have no partner and are left out."
        return
    same = sum(person(scan_id) is not None for scan_id in shared)
    if same:
        yield (
            f"MMD: {same} scans are on both sides, which are then not independent as the floor has "
            "it: paired compares each with its own."
        )
