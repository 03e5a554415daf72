"""The way from a grid to each scan, as status tables have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genmorph.errors import CohortError
from genmorph.files import read_tsv

GRID_TO_SCAN = "grid_to_scan"


def print_matrix(matrix: np.ndarray | None) -> str | None:
    """The upper three rows of a (4, 4) matrix, row by row, in digits that read back exactly."""
    if matrix is None:
        return None
    return " ".join(repr(float(value)) for value in np.asarray(matrix)[:3].ravel())


def read_transforms(status: Path) -> dict[str, np.ndarray]:
    """Each scan's matrix (4, 4) from the grid's world to its own, in millimetres.

    Parameters
    ----------
    status : Path
        A store's status.tsv. Scans that failed, or whose registration is nonlinear, are absent.

    Raises
    ------
    GenmorphError
        When there is no such table, or it has no such column.
    CohortError
        When a cell is not twelve finite numbers.
    """
    found = {}
    for row in read_tsv(status, ("scan_id", GRID_TO_SCAN)):
        words = row[GRID_TO_SCAN]
        if words is None:
            continue
        try:
            upper = np.array([float(word) for word in words.split()]).reshape(3, 4)
        except ValueError:
            upper = np.full((3, 4), np.nan)
        if not np.isfinite(upper).all():
            raise CohortError(
                f"{status}: {GRID_TO_SCAN} of {row['scan_id']} is not twelve numbers",
                "preprocess that scan's shard again",
            )
        found[str(row["scan_id"])] = np.vstack([upper, [0.0, 0.0, 0.0, 1.0]])
    return found
