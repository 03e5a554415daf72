"""A figure that several papers have: volumes as rows of slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from genmorph.errors import GenmorphError
from genmorph.publish.figures import tiles
from genmorph.publish.tile import mark_sides, show_slice
from genmorph.publish.views import VIEWS, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def slice_grid(
    volumes: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    voxel_mm: Sequence[float],
    footer: str = "",
    views: Sequence[View] = VIEWS,
    scans_along: str = "columns",
    gaps_after: Sequence[int] = (),
) -> Figure:
    """Several volumes, each in several views, grey from 0 (black) to 1 (white).

    Parameters
    ----------
    volumes : sequence of ndarray
        `[x, y, z]`, RAS+, on one grid.
    titles : sequence of str
        One for each volume.
    voxel_mm : sequence of float
        Edges of a voxel.
    footer : str
    views : sequence of View
    scans_along : {'columns', 'rows'}
        Volumes side by side, or one below the other.
    gaps_after : sequence of int
        Columns followed by a wider gap.

    Raises
    ------
    GenmorphError
        When there are no volumes, or they lie on different grids.
    """
    shape = one_grid(volumes)
    sizes = [view.size_mm(shape, voxel_mm) for view in views]
    names = [view.plane for view in views]
    if scans_along == "columns":
        widths = [max(width for width, _ in sizes)] * len(volumes)
        heights = [height for _, height in sizes]
        columns, rows = list(titles), names
    else:
        widths = [width for width, _ in sizes]
        heights = [max(height for _, height in sizes)] * len(volumes)
        columns, rows = names, list(titles)
    figure, axes = tiles(
        widths,
        heights,
        column_titles=columns,
        row_titles=rows,
        footer=footer,
        gaps_after=gaps_after,
    )
    for number, volume in enumerate(volumes):
        for order, (view, size) in enumerate(zip(views, sizes, strict=True)):
            tile = axes[order][number] if scans_along == "columns" else axes[number][order]
            show_slice(tile, view.of(volume), size)
            if number == 0:
                mark_sides(tile, view.plane)
    return figure


def one_grid(volumes: Sequence[np.ndarray]) -> tuple[int, int, int]:
    """The grid `[x, y, z]` that all volumes lie on.

    Raises
    ------
    GenmorphError
        When there are no volumes, or they lie on different grids.
    """
    shapes = sorted({volume.shape for volume in volumes})
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise GenmorphError(f"figure: volumes [x, y, z] of one grid expected, found {shapes}")
    return shapes[0]
