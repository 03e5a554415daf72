"""The realistic atlas score, RAS: would a generated scan do as an atlas? (P2, section 4.2)

A network labels the generated volume; an affine registration brings it onto a real one, its labels
with it; the score is their Dice with the labels of the real volume. A blurred or distorted brain
cannot lend its labels to a real one. The same between two disjoint sets of real people is the
score that a perfect model would reach.

P2 leaves open the number of pairs, and whether the real side's labels are the network's or given
ones: both are settings here. A score needs a segmenter that works, so it is absent where the
segmenter's own Dice on people it never saw is below 0.7.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genmorph.errors import GenmorphError, MeasurementError
from genmorph.metrics.atlas_pairs import (
    GENERATED,
    REFERENCE_EACH,
    FittedSegmenter,
    choose_pairs,
)
from genmorph.metrics.label_groups import STRUCTURES
from genmorph.metrics.label_overlap import MEAN, averaged, dice_per_structure
from genmorph.metrics.measurement import Measurement, counts, person

MEASURE = "atlas_score"
LEAST_HELD_OUT_DICE = 0.7
PAIRS_AT_ONCE = 16
HELD_OUT = "segmenter_held_out_dice"

# moving and fixed volume to the matrix (4, 4) from voxels of the fixed to voxels of the moving one
Register = Callable[[np.ndarray, np.ndarray], np.ndarray]
# Dice of a pair by structure, or why there is none
Outcome = dict[str, float] | str
# as the builtin: `map`, or that of a pool
Map = Callable[[Callable[[Any], Outcome], Iterable[Any]], Iterable[Outcome]]


# -- one pair --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """All that one registration needs, so that another process can carry it out."""

    generated: np.ndarray
    reference: np.ndarray
    generated_labels: np.ndarray
    reference_labels: np.ndarray


def carry_labels(labels: np.ndarray, to_moving: np.ndarray) -> np.ndarray:
    """Labels of the moving volume on the fixed volume's grid, by nearest neighbour.

    Parameters
    ----------
    labels : ndarray
        `[x, y, z]` of the moving volume; both have one grid.
    to_moving : ndarray, shape (4, 4)
        Voxels of the fixed volume to voxels of the moving one.

    Returns
    -------
    ndarray
        `[x, y, z]`; 0 where the moving volume ends.
    """
    from scipy.ndimage import affine_transform

    # the grid ends half a voxel beyond the centres of its last voxels
    return affine_transform(
        labels, to_moving[:3, :3], to_moving[:3, 3], order=0, mode="grid-constant", cval=0
    )


def _score(pair: _Pair, register: Register, structures: Mapping[int, str]) -> Outcome:
    """Dice of a pair, or why its registration failed."""
    try:
        to_moving = np.asarray(register(pair.generated, pair.reference), dtype=np.float64)
    except GenmorphError as error:
        return error.message
    if to_moving.shape != (4, 4) or not np.isfinite(to_moving).all():
        return "the registration gave no finite transform"
    carried = carry_labels(pair.generated_labels, to_moving)
    if pair.generated_labels.any() and not carried.any():
        return "the registration moved the whole brain off the grid"
    return dice_per_structure(carried, pair.reference_labels, structures)


# -- the measure -----------------------------------------------------------------------------------


def measure_atlas_score(
    generated: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    *,
    segmenters: Sequence[FittedSegmenter],
    register: Register,
    manual_labels: Mapping[str, np.ndarray] | None = None,
    structures: Mapping[int, str] = STRUCTURES,
    n_generated: int = GENERATED,
    n_reference_each: int = REFERENCE_EACH,
    seed: int = 0,
    least_held_out_dice: float = LEAST_HELD_OUT_DICE,
    settings: Mapping[str, Any] | None = None,
    run_map: Map = map,
    pairs_at_once: int = PAIRS_AT_ONCE,
) -> Measurement:
    """Dice of labels carried from generated to real scans, mean over pairs.

    With real scans of other people as `generated` it is the bound that a perfect model would
    reach.

    Parameters
    ----------
    generated, reference : mapping of str to ndarray
        Scan id to volume `[x, y, z]`, one grid and intensity scale; may read on each access.
    segmenters : sequence of FittedSegmenter
        One, or several cross-fitted by person.
    register : callable
        Moving (generated) and fixed (real) volume to the matrix (4, 4) that takes voxels of the
        fixed to voxels of the moving one. A `GenmorphError` is a failed registration.
    manual_labels : mapping of str to ndarray, optional
        Labels of the real scans. None: the network's own, as P2 is read here.
    structures : mapping of int to str
        Label and name of what is scored; not the background.
    n_generated, n_reference_each, seed : int
        See `choose_pairs`.
    least_held_out_dice : float
        Below it, of any segmenter, nothing is registered and no score is given.
    settings : mapping, optional
        Of the registration and where the manual labels are from, as JSON values.
    run_map : callable
        As the builtin `map`; that of a process pool carries out the registrations of
        `pairs_at_once` pairs side by side. `register` must then be picklable.
    pairs_at_once : int
        Pairs whose volumes are held in memory; the result does not depend on it.

    Returns
    -------
    Measurement
        `atlas_score`. Values `mean` and one for each structure: means over the pairs that could be
        registered; the spread is over these pairs. `per_scan` has each pair, by both ids.
        `segmenter_held_out_dice`, and with `_<structure>`, always stand beside them: of several
        segmenters the mean.

    Raises
    ------
    MeasurementError
        See `choose_pairs`; also when grids differ, a voxel is not finite, a real volume is
        constant, cannot be labelled or has no manual labels.
    """
    pairs = choose_pairs(
        generated,
        reference,
        segmenters,
        generated=n_generated,
        reference_each=n_reference_each,
        seed=seed,
    )
    instrument, worst = _held_out(segmenters)
    outcomes: dict[tuple[str, str], Outcome] = {}
    notes = []
    if worst < least_held_out_dice:
        notes.append(
            f"No score: the segmenter's Dice on people it never saw is {worst:.3f}, "
            f"below {least_held_out_dice:g}."
        )
    else:
        work = _Work(generated, reference, segmenters, manual_labels, structures)
        score = functools.partial(_score, register=register, structures=structures)
        for start in range(0, len(pairs), pairs_at_once):
            outcomes |= work.through(pairs[start : start + pairs_at_once], score, run_map)
        notes += _notes(outcomes, structures)
    if any(person(scan_id) is None for scan_id in reference):
        notes.append("Ids of the real side name no people: nothing tells whom the segmenter saw.")
    scored = {key: row for key, row in outcomes.items() if not isinstance(row, str)}
    values, spread = averaged(list(scored.values()))
    return Measurement(
        measure=MEASURE,
        values=values | instrument,
        spread=spread,
        n={
            **counts(
                generated=sorted({made for made, _, _ in pairs}),
                reference=sorted({real for _, real, _ in pairs}),
            ),
            "pairs": len(pairs),
            "scored_pairs": len(scored),
            "failed_pairs": sum(isinstance(row, str) for row in outcomes.values()),
            "scored_structures": sum(name in values for name in structures.values()),
        },
        settings={
            "structures": list(structures.values()),
            "real_labels": "network" if manual_labels is None else "manual",
            "label_interpolation": "nearest neighbour",
            "generated_wanted": n_generated,
            "reference_wanted_for_each": n_reference_each,
            "pairs_seed": seed,
            "least_held_out_dice": least_held_out_dice,
            "segmenters": [dict(segmenter.settings) for segmenter in segmenters],
            "average": "mean over pairs; of a pair, over the structures that either side has, "
            "background left out; failed pairs are counted, and not in the mean",
            "spread_over": "pairs, which share scans",
            **(settings or {}),
        },
        notes=tuple(notes),
        per_scan={f"{made} on {real}": row for (made, real), row in sorted(scored.items())},
    )


def _held_out(segmenters: Sequence[FittedSegmenter]) -> tuple[dict[str, float], float]:
    """Held-out Dice as values of the measurement, and that of the worst segmenter."""
    of_each = [segmenter.held_out_dice for segmenter in segmenters]
    if not all(MEAN in dice for dice in of_each):
        raise MeasurementError(
            "atlas score: the segmenter's Dice on people it never saw is not known",
            "measure it on labelled people that are left out of its training",
        )
    means, _ = averaged(of_each)
    values = {
        HELD_OUT if name == MEAN else f"{HELD_OUT}_{name}": value for name, value in means.items()
    }
    return values, min(dice[MEAN] for dice in of_each)


class _Work:
    """Volumes and labels of the pairs, held no longer than they are needed."""

    def __init__(
        self,
        generated: Mapping[str, np.ndarray],
        reference: Mapping[str, np.ndarray],
        segmenters: Sequence[FittedSegmenter],
        manual_labels: Mapping[str, np.ndarray] | None,
        structures: Mapping[int, str],
    ) -> None:
        self.generated, self.reference = generated, reference
        self.segmenters, self.manual = segmenters, manual_labels
        self.structures = structures
        self.shape: tuple[int, ...] = ()
        # generated scans come again and again: their labels are kept, a byte a voxel
        self._generated_labels: dict[tuple[str, int], np.ndarray | str] = {}
        # pairs are ordered by the real scan: its labels are needed once
        self._real: tuple[tuple[str, int], np.ndarray] | None = None

    def through(
        self,
        pairs: Sequence[tuple[str, str, int]],
        score: Callable[[_Pair], Outcome],
        run_map: Map,
    ) -> dict[tuple[str, str], Outcome]:
        """What became of some pairs."""
        outcomes: dict[tuple[str, str], Outcome] = {}
        ready: dict[tuple[str, str], _Pair] = {}
        volumes: dict[str, np.ndarray] = {}
        for made, real, number in pairs:
            for scan_id, side in ((made, self.generated), (real, self.reference)):
                if scan_id not in volumes:
                    volumes[scan_id] = self._checked(scan_id, side[scan_id])
            reference_labels = self._labels_of_real(real, number, volumes[real])
            labels = self._labels_of_generated(made, number, volumes[made])
            if isinstance(labels, str):
                outcomes[made, real] = labels
            else:
                ready[made, real] = _Pair(volumes[made], volumes[real], labels, reference_labels)
        return outcomes | dict(zip(ready, run_map(score, ready.values()), strict=True))

    def _checked(self, scan_id: str, volume: np.ndarray) -> np.ndarray:
        self.shape = self.shape or volume.shape
        if volume.ndim != 3 or volume.shape != self.shape:
            raise MeasurementError(
                f"atlas score: {scan_id}: volume {volume.shape} among volumes of {self.shape}"
            )
        if not np.isfinite(volume).all():
            raise MeasurementError(f"atlas score: {scan_id}: a voxel is not finite")
        return volume

    def _labels_of_generated(
        self, scan_id: str, number: int, volume: np.ndarray
    ) -> np.ndarray | str:
        """The network's labels, or why there are none: a failure of what is measured."""
        key = scan_id, number
        if key not in self._generated_labels:
            try:
                self._generated_labels[key] = self._segment(scan_id, number, volume)
            except GenmorphError as error:
                self._generated_labels[key] = error.message
        return self._generated_labels[key]

    def _labels_of_real(self, scan_id: str, number: int, volume: np.ndarray) -> np.ndarray:
        if self._real is None or self._real[0] != (scan_id, number):
            if self.manual is None:
                labels = self._segment(scan_id, number, volume)
            elif scan_id in self.manual:
                labels = self.manual[scan_id]
            else:
                raise MeasurementError(f"atlas score: no manual labels of {scan_id}")
            if labels.shape != volume.shape:
                raise MeasurementError(
                    f"atlas score: {scan_id}: labels {labels.shape}, volume {volume.shape}"
                )
            if not np.isin(labels, list(self.structures)).any():
                raise MeasurementError(f"atlas score: {scan_id}: its labels have no structure")
            self._real = (scan_id, number), labels
        return self._real[1]

    def _segment(self, scan_id: str, number: int, volume: np.ndarray) -> np.ndarray:
        if volume.min() == volume.max():
            raise MeasurementError(f"{scan_id}: the volume is constant")
        try:
            return self.segmenters[number].segment(volume)
        except GenmorphError as error:
            raise MeasurementError(f"{scan_id}: {error.message}", error.cure) from None


def _notes(
    outcomes: Mapping[tuple[str, str], Outcome], structures: Mapping[int, str]
) -> Iterator[str]:
    """Pairs without a score, each named, and structures that pairs do without."""
    failed = {key: row for key, row in outcomes.items() if isinstance(row, str)}
    for (made, real), reason in sorted(failed.items()):
        yield f"Failed: {made} on {real} ({reason})."
    if len(failed) == len(outcomes):
        yield f"No score: all {len(outcomes)} pairs failed."
    rows = [row for row in outcomes.values() if not isinstance(row, str)]
    absent = Counter(name for row in rows for name in structures.values() if name not in row)
    for name, times in sorted(absent.items()):
        yield f"{name}: in neither label map of {times} pairs, and not in their means."
