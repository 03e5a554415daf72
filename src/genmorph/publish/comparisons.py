"""Pairs of volumes, one below the other in three views, with their difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from genmorph.publish.figures import BLUE_BLACK_ORANGE, diverging, tiles
from genmorph.publish.slice_grid import one_grid
from genmorph.publish.tile import mark_sides, show_slice
from genmorph.publish.views import VIEWS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIFFERENCE_LIMIT = 0.25


def draw_pairs(
    pairs: Sequence[tuple[str, np.ndarray, np.ndarray]],
    *,
    names: tuple[str, str],
    subtracted: int,
    voxel_mm: Sequence[float],
    footer: str = "",
) -> Figure:
    """Two volumes of each pair and the difference between them, pair beside pair.

    Parameters
    ----------
    pairs : sequence of (str, ndarray, ndarray)
        Title, upper and lower volume `[x, y, z]`, RAS+, all on one grid.
    names : tuple of str
        What the upper and the lower volumes are.
    subtracted : {0, 1}
        Which of the two is taken from the other one.
    voxel_mm : sequence of float
    footer : str
        The words on the difference are added to it.

    Raises
    ------
    GenmorphError
        When there are no pairs, or volumes lie on different grids.
    """
    shape = one_grid([volume for _, *both in pairs for volume in both])
    sizes = [view.size_mm(shape, voxel_mm) for view in VIEWS]
    middle = len(VIEWS) // 2
    titles = [t if order == middle else "" for t, *_ in pairs for order in range(len(VIEWS))]
    limits = (-DIFFERENCE_LIMIT, DIFFERENCE_LIMIT)
    colours = diverging("growth", BLUE_BLACK_ORANGE)
    figure, axes = tiles(
        [width for width, _ in sizes] * len(pairs),
        [max(height for _, height in sizes)] * 3,
        column_titles=titles,
        row_titles=(*names, "difference"),
        footer=f"{footer} Difference: {names[1 - subtracted]} minus {names[subtracted]}, "
        f"−{DIFFERENCE_LIMIT} blue, 0 black, {DIFFERENCE_LIMIT} orange.".strip(),
        gaps_after=[len(VIEWS) * number - 1 for number in range(1, len(pairs))],
    )
    for number, (_, *both) in enumerate(pairs):
        for order, (view, size) in enumerate(zip(VIEWS, sizes, strict=True)):
            column = [row[number * len(VIEWS) + order] for row in axes]
            show_slice(column[0], view.of(both[0]), size)
            show_slice(column[1], view.of(both[1]), size)
            difference = view.of(both[1 - subtracted] - both[subtracted])
            show_slice(column[2], difference, size, colours=colours, limits=limits)
            if number == 0:
                mark_sides(column[0], view.plane)
    return figure
