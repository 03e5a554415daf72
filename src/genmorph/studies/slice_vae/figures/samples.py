"""Figure 2: samples of every model on every grid, in three views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genmorph.publish.figures import save_figure, style, tiles, title_over
from genmorph.publish.tile import mark_sides, show_slice, write_in_tile
from genmorph.publish.views import VIEWS, View, voxel_sizes
from genmorph.studies.slice_vae.figures.common import (
    Files,
    Values,
    grid_title,
    grids_of,
    open_samples,
    runs_of,
    words_below,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 2  # samples of a run
ORDER: tuple[View, ...] = (VIEWS[1], VIEWS[0], VIEWS[2])  # the paper's models work on coronal ones
NO_RUN = "not made"

# volumes `[x, y, z]` of a run, and the edges of their voxels
Shown = tuple[Sequence[np.ndarray], Sequence[float]]


def samples(files: Files, values: Values, out: Path) -> None:
    """The first samples of each run as they were drawn, none picked, in their middle slices.

    Parameters
    ----------
    files : mapping of str to Path
        `samples:RUN` (index.tsv) of every run.
    values : mapping
        `models` (runs, references among them), `runs` (`grid` and `recipe` of each), `scale`.
    out : Path
        The PNG; the SVG goes beside it.
    """
    runs = runs_of(values, values["models"])
    stores = open_samples(files, runs)
    grids = grids_of(runs)
    titles = {run.grid: grid_title(stores[run.name]) for run in runs}
    volumes: dict[tuple[str, int], Shown] = {}
    for run in runs:
        store = stores[run.name]
        made = [store.read(scan_id) for scan_id in store.ids[:SHOWN]]
        volumes[run.title, grids.index(run.grid)] = made, voxel_sizes(store.affine)
    notes = (
        "First samples of each run, none picked; middle slices; grey from 0 to 1; every voxel is "
        "shown as it is. A grid's name is what was used here.",
    )
    labels = (store.description.data_label for store in stores.values())
    with style():
        figure = draw_samples(
            volumes,
            rows=list(dict.fromkeys(run.title for run in runs)),
            grids=[titles[grid] for grid in grids],
            footer=words_below(labels, values, notes),
        )
    save_figure(figure, out.with_suffix(""))


def draw_samples(
    volumes: Mapping[tuple[str, int], Shown],
    *,
    rows: Sequence[str],
    grids: Sequence[str],
    footer: str = "",
    views: Sequence[View] = ORDER,
) -> Figure:
    """Two samples of each model one below the other, grids side by side, all of one scale.

    Parameters
    ----------
    volumes : mapping of (str, int) to (sequence of ndarray, sequence of float)
        By row and number of the grid: volumes `[x, y, z]`, and the edges of a voxel in mm. One
        that is absent is a run that is not made.
    rows, grids : sequence of str
        Titles.
    footer : str
    views : sequence of View
    """
    sizes = [
        view.size_mm(made[0].shape, voxel_mm)
        for made, voxel_mm in volumes.values()
        for view in views
    ]
    width, height = (max(side) for side in zip(*sizes, strict=True))
    middle = len(views) // 2
    columns = [f"\n{view.plane}" for _ in grids for view in views]
    figure, axes = tiles(
        [width] * len(columns),
        [height] * (SHOWN * len(rows)),
        column_titles=columns,
        row_titles=[f"{row}\n{number}" for row in rows for number in range(1, SHOWN + 1)],
        footer=footer,
        gaps_after=[len(views) * number - 1 for number in range(1, len(grids))],
    )
    for number, title in enumerate(grids):
        first, *_, last = axes[0][len(views) * number : len(views) * (number + 1)]
        title_over(first, last, title)
    for line, row in enumerate(rows):
        for number in range(len(grids)):
            made, voxel_mm = volumes.get((row, number), ((), ()))
            for sample in range(SHOWN):
                for place, view in enumerate(views):
                    tile = axes[SHOWN * line + sample][len(views) * number + place]
                    if sample >= len(made):
                        write_in_tile(tile, NO_RUN if place == middle else "")
                        continue
                    volume = made[sample]
                    size = view.size_mm(volume.shape, voxel_mm)
                    show_slice(tile, view.of(volume), size, interpolation="nearest")
                    if line == sample == 0:
                        mark_sides(tile, view.plane)
    return figure
