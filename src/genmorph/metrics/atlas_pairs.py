"""Which scans the realistic atlas score brings together, and which segmenter saw neither."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import person
from genmorph.seeds import derive_seed

GENERATED, REFERENCE_EACH = 20, 5


@dataclass(frozen=True)
class FittedSegmenter:
    """A segmenter as the score uses it.

    Attributes
    ----------
    segment : callable
        Volume `[x, y, z]` to labels `[x, y, z]`; a `GenmorphError` when it cannot.
    people_seen : frozenset of str
        Whom it was trained on, or its epoch chosen by.
    held_out_dice : mapping of str to float
        On people it never saw: each structure, and `mean`.
    settings : mapping
        JSON values.
    """

    segment: Callable[[np.ndarray], np.ndarray]
    people_seen: frozenset[str]
    held_out_dice: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def saw(self, scan_id: str) -> bool:
        """Whether the scan is of a person it saw."""
        return (person(scan_id) or scan_id) in self.people_seen


def choose_pairs(
    generated_ids: Iterable[str],
    reference_ids: Iterable[str],
    segmenters: Sequence[FittedSegmenter],
    *,
    generated: int = GENERATED,
    reference_each: int = REFERENCE_EACH,
    seed: int = 0,
) -> list[tuple[str, str, int]]:
    """Generated and real scans to bring together, and the segmenter that saw neither.

    Parameters
    ----------
    generated_ids, reference_ids : iterable of str
    segmenters : sequence of FittedSegmenter
        Several when they are cross-fitted: a pair is possible when one of them saw neither scan's
        person.
    generated, reference_each : int
        Scans drawn of the generated side, and for each of them of the real side; all where there
        are fewer.
    seed : int

    Returns
    -------
    list of (str, str, int)
        Generated id, real id, number of the segmenter, ordered by the real id.

    Raises
    ------
    MeasurementError
        When a side is empty, a person is on both sides, a scan is of a person that every
        segmenter saw, or no pair is possible.
    """
    sides = {"generated": sorted(generated_ids), "reference": sorted(reference_ids)}
    _check_people(sides, segmenters)
    rng = np.random.default_rng(derive_seed(seed, "atlas_score", "pairs"))
    possible = {
        made: [
            (made, real, number)
            for real in sides["reference"]
            if (number := _unseen_by(segmenters, made, real)) is not None
        ]
        for made in sides["generated"]
    }
    with_any = [made for made in sides["generated"] if possible[made]]
    if not with_any:
        raise MeasurementError(
            "atlas score: no segmenter saw neither side of any pair",
            "leave the same people of both sides out of one training",
        )
    chosen = []
    for made in _draw(with_any, generated, rng):
        chosen += _draw(possible[made], reference_each, rng)
    return sorted(chosen, key=lambda pair: (pair[1], pair[2], pair[0]))


def _draw(entries: Sequence[Any], most: int, rng: np.random.Generator) -> list[Any]:
    rows = rng.permutation(len(entries))[:most]
    return [entries[row] for row in rows]


def _unseen_by(segmenters: Sequence[FittedSegmenter], made: str, real: str) -> int | None:
    return next(
        (
            number
            for number, segmenter in enumerate(segmenters)
            if not segmenter.saw(made) and not segmenter.saw(real)
        ),
        None,
    )


def _check_people(
    sides: Mapping[str, Sequence[str]], segmenters: Sequence[FittedSegmenter]
) -> None:
    for side, ids in sides.items():
        if not ids:
            raise MeasurementError(f"atlas score: no {side} volumes")
    if not segmenters:
        raise MeasurementError("atlas score: no segmenter")
    on_side = [{person(scan_id) or scan_id for scan_id in ids} for ids in sides.values()]
    if both := sorted(set.intersection(*on_side)):
        raise MeasurementError(
            f"atlas score: on both sides: {', '.join(both)}", "compare disjoint people"
        )
    for side, ids in sides.items():
        seen = sorted(
            {
                person(scan_id) or scan_id
                for scan_id in ids
                if all(segmenter.saw(scan_id) for segmenter in segmenters)
            }
        )
        if seen:
            raise MeasurementError(
                f"atlas score: the segmenter was trained on {', '.join(seen)} of the {side} side",
                "train it on other people, or cross-fit several by person",
            )
