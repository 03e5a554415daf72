"""What a tile of a figure shows: a slice, sides, a deformation, an outline, colours, words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from genmorph.publish.figures import QUIET, SMALL_POINTS
from genmorph.publish.views import SIDES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


def show_slice(
    axes: Axes,
    image: np.ndarray,
    size_mm: tuple[float, float],
    *,
    colours: str | Colormap = "gray",
    limits: tuple[float, float] = (0.0, 1.0),
    interpolation: str = "bilinear",
) -> None:
    """Show a slice in the middle of a tile.

    Parameters
    ----------
    axes : Axes
    image : ndarray
        `[right, up]`.
    size_mm : tuple of float
        Its width and height.
    colours : str or Colormap
    limits : tuple of float
        Intensities that take the first and the last colour: fixed, so that tiles compare.
    interpolation : {'bilinear', 'nearest'}
        Nearest shows every voxel, for grids to compare.
    """
    width, height = size_mm
    window = axes.get_xlim(), axes.get_ylim()
    axes.imshow(
        image.T,
        origin="lower",
        extent=(-width / 2, width / 2, -height / 2, height / 2),
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        interpolation=interpolation,
        interpolation_stage="data",
        aspect="auto",
    )
    axes.set(xlim=window[0], ylim=window[1])


def mark_sides(axes: Axes, plane: str) -> None:
    """Write L and R (P and A in a sagittal view) in the upper corners of a tile."""
    for x, side, letter in zip((0.03, 0.97), ("left", "right"), SIDES[plane], strict=True):
        axes.text(
            x,
            0.97,
            letter,
            transform=axes.transAxes,
            ha=side,
            va="top",
            size=SMALL_POINTS,
            color="#d0d0d0",
        )


def deformation_grid(
    axes: Axes,
    displacement: np.ndarray,
    voxel_mm: Sequence[float],
    *,
    every: int,
    colour: str = "#f2dfb4",
) -> None:
    """Draw a regular grid of lines as a displacement moves it.

    Parameters
    ----------
    axes : Axes
    displacement : ndarray
        `[2, right, up]` in voxels, its components to the right and up.
    voxel_mm : sequence of float
        Edges of a voxel to the right and up.
    every : int
        Voxels between lines.
    colour : str
    """
    from matplotlib.collections import LineCollection

    shape = displacement.shape[1:]
    centre = (np.array(shape) - 1) / 2
    moved = np.indices(shape) + displacement - centre[:, None, None]
    points = moved * np.asarray(voxel_mm)[:, None, None]
    first_right, first_up = ((size - 1) % every // 2 for size in shape)
    lines = [points[:, number].T for number in range(first_right, shape[0], every)]
    lines += [points[:, :, number].T for number in range(first_up, shape[1], every)]
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.4), autolim=False)


def outline(axes: Axes, mask: np.ndarray, size_mm: tuple[float, float], colour: str) -> None:
    """Draw the edge of a mask `[right, up]` over a tile."""
    right, up = (
        (np.arange(count) + 0.5) / count * length - length / 2
        for count, length in zip(mask.shape, size_mm, strict=True)
    )
    axes.contour(right, up, mask.T.astype(float), [0.5], colors=colour, linewidths=0.5)


def colour_bar(
    axes: Axes,
    colours: str | Colormap,
    limits: tuple[float, float],
    ticks: Mapping[float, str],
    title: str,
) -> None:
    """Turn a tile into a horizontal colour bar with its title above and labels below.

    Parameters
    ----------
    axes : Axes
    colours, limits
        As given to `show_slice`.
    ticks : mapping of float to str
        Label by value.
    title : str
        May have several lines.
    """
    write_in_tile(axes, title, y=0.5, anchor="bottom")
    bar = axes.inset_axes((0.14, 0.36, 0.72, 0.08))
    ramp = np.linspace(*limits, 256)[None]
    bar.imshow(ramp, cmap=colours, aspect="auto", extent=(*limits, 0, 1))
    bar.set_yticks([])
    bar.set_xticks(list(ticks), list(ticks.values()))
    bar.tick_params(length=1.8, width=0.4, pad=1.5, labelsize=SMALL_POINTS, labelcolor=QUIET)


def write_in_tile(axes: Axes, text: str, *, y: float = 0.5, anchor: str = "center") -> None:
    """Make a tile part of the white page and write small words at height `y` (0 to 1)."""
    axes.set_facecolor("white")
    axes.text(
        0.5,
        y,
        text,
        transform=axes.transAxes,
        ha="center",
        va=anchor,
        size=SMALL_POINTS,
        color=QUIET,
        linespacing=1.35,
    )
