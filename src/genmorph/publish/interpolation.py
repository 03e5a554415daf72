"""From one person to another along a straight line in a model's latents, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from genmorph.errors import GenmorphError
from genmorph.publish.slice_grid import slice_grid
from genmorph.publish.words import Scan, describe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTERPOLATION_STEPS = 7


def youngest_and_oldest(scans: Sequence[Scan]) -> list[Scan]:
    """The scans at the least and at the greatest age, of two people; of equal ages by scan id.

    Where fewer than two people's ages are known, the first and the last person by scan id.

    Raises
    ------
    GenmorphError
        When the scans are of one person.
    """
    if len({scan.participant_id for scan in scans}) < 2:
        raise GenmorphError(
            "figure: an interpolation needs two test people whose scans could be preprocessed",
            "give the test split more people (cohorts.NAME.splits), or the cohort more scans",
        )
    aged = [scan for scan in scans if scan.age_years is not None]
    if len({scan.participant_id for scan in aged}) < 2:
        ordered = sorted(scans, key=lambda scan: scan.scan_id)
    else:
        ordered = sorted(aged, key=lambda scan: (scan.age_years, scan.scan_id))
    youngest = ordered[0]
    others = [scan for scan in ordered if scan.participant_id != youngest.participant_id]
    return [youngest, others[-1]]


def way_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Equally spaced points `[INTERPOLATION_STEPS, ...]` from one latent to another."""
    return np.linspace(start, end, INTERPOLATION_STEPS)


def ends_in_words(ends: Sequence[Scan]) -> str:
    """Who stands at the ends, no more than ages tell: those of a bin are all of one age."""
    if any(scan.age_years is None for scan in ends):
        return "Ends: the first and the last test person; ages are not known."
    if any(scan.age_precision == "bin" for scan in ends):
        return "Ends: test people of the youngest and of the oldest age group."
    return "Ends: the youngest and the oldest test person."


def draw_interpolation(
    ends: Sequence[Scan],
    scans: Sequence[np.ndarray],
    decoded: Sequence[np.ndarray],
    *,
    end_title: str,
    voxel_mm: Sequence[float],
    footer: str = "",
) -> Figure:
    """A column a step, each person's scan outside of what is decoded from it.

    Parameters
    ----------
    ends : sequence of Scan
        The two people.
    scans : sequence of ndarray
        Their volumes `[x, y, z]`.
    decoded : sequence of ndarray
        `INTERPOLATION_STEPS` volumes, the first and the last of them decoded from the two scans.
    end_title : str
        What these two are decoded from.
    voxel_mm : sequence of float
    footer : str
    """
    names = ["scan\n" + describe(scan, diagnosis=False) for scan in ends]
    between = [f"{step}/{INTERPOLATION_STEPS - 1}" for step in range(1, INTERPOLATION_STEPS - 1)]
    return slice_grid(
        [scans[0], *decoded, scans[1]],
        [names[0], end_title, *between, end_title, names[1]],
        voxel_mm=voxel_mm,
        footer=footer,
        gaps_after=[0, len(decoded)],
    )
