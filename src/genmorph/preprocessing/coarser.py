"""The volumes of a store, resampled onto a coarser grid over the same field of view.

P2 prepares its scans at 0.7 mm and makes the smaller sizes from them (section 3.2): bias
correction, brain extraction and registration are done once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.errors import StoreError
from genmorph.files import read_tsv, write_tsv
from genmorph.preprocessing.grid import resample
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import Recipe
from genmorph.processes import WorkerDied, work_through
from genmorph.store import decode, open_shard, read_row, write_shard


def onto_coarser_grid(volume: np.ndarray, affine: np.ndarray, recipe: Recipe) -> np.ndarray:
    """A preprocessed volume on the grid of a coarser recipe.

    Parameters
    ----------
    volume : ndarray `[x, y, z]`, in [0, 1]
        What is 0 is background, unless the recipe keeps the head.
    affine : ndarray, shape (4, 4)
        Of the volume, mm.
    recipe : Recipe
        Its `resample` step says the grid.

    Returns
    -------
    ndarray, float32
    """
    image = Image(volume, affine)
    kept = np.ones(volume.shape, np.float32) if recipe.whole_head else None
    options, grid_affine = recipe.step("resample"), np.asarray(recipe.grid_affine())
    return resample(image, volume > 0, np.eye(4), options, grid_affine, kept)[0]


def resample_shard(
    finer: Path,
    finer_table: Path,
    array: Path,
    table: Path,
    recipe: Recipe,
    affine: np.ndarray,
    *,
    workers: int = 1,
) -> int:
    """Resample one shard; its status table keeps what is known of each scan.

    Parameters
    ----------
    finer, finer_table : Path
        Array and status table of the shard to resample.
    array, table : Path
        To write; the table last.
    recipe : Recipe
        With the coarser grid.
    affine : ndarray, shape (4, 4)
        Of the finer volumes, mm.
    workers : int
        Processes. The bytes written do not depend on it.

    Returns
    -------
    int
        Number of volumes.

    Raises
    ------
    StoreError
        When a volume is not the one that the table knows.
    """
    rows = read_tsv(finer_table, ("scan_id", "status", "row", "sha256"))
    made = [row for row in rows if row["status"] == "ok"]
    work = functools.partial(_work, path=finer, affine=affine, recipe=recipe)
    with closing(_in_order(work, made, workers)) as volumes:
        dtype = recipe.step("intensity_scaling").dtype
        written, root = write_shard(array, volumes, shape=recipe.grid, dtype=dtype)
    entries = {entry["scan_id"]: entry for entry in written}
    completed = [row | entries.get(row["scan_id"], {}) | {"shard_root": root} for row in rows]
    write_tsv(table, list(rows[0]), completed)
    return len(written)


def _work(
    row: Mapping[str, str], path: Path, affine: np.ndarray, recipe: Recipe
) -> np.ndarray | StoreError:
    try:
        stored = read_row(open_shard(path), path, row)
    except StoreError as error:
        return error
    return onto_coarser_grid(decode(stored), affine, recipe)


def _in_order(
    work: Callable[[Any], Any], rows: list[dict[str, str]], workers: int
) -> Iterator[tuple[str, np.ndarray]]:
    early: dict[int, np.ndarray] = {}
    following = 0
    with closing(work_through(work, rows, workers=workers)) as outcomes:
        for index, outcome in outcomes:
            if isinstance(outcome, WorkerDied):
                raise StoreError(f"{rows[index]['scan_id']}: {outcome}", "give the job more memory")
            if isinstance(outcome, StoreError):
                raise outcome
            early[index] = outcome
            while following in early:
                yield rows[following]["scan_id"], early.pop(following)
                following += 1
