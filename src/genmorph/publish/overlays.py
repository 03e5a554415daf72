"""Labels in colour over a slice, and the legend that names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from genmorph.publish.figures import SMALL_POINTS
from genmorph.publish.tile import show_slice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap

OPACITY = 0.6
# neighbours in the brain take colours that differ in lightness too; more labels begin again
COLOURS = (
    "#e69f00", "#f0e6b0", "#0072b2", "#56d0ff", "#d55e00", "#009e73", "#cc79a7",
    "#9467bd", "#bcbd22", "#8c564b", "#17becf", "#e377c2", "#a0a0a0", "#6b8e23",
)  # fmt: skip


def label_colours(structures: Mapping[int, str]) -> dict[int, str]:
    """A colour for each label."""
    return {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(sorted(structures))}


def show_labels(
    axes: Axes,
    image: np.ndarray,
    labels: np.ndarray,
    size_mm: tuple[float, float],
    structures: Mapping[int, str],
) -> None:
    """Show a slice in grey, and its labels over it voxel by voxel.

    Parameters
    ----------
    axes : Axes
    image : ndarray
        `[right, up]`, intensities in [0, 1].
    labels : ndarray of whole numbers
        `[right, up]`; what is no structure stays grey.
    size_mm : tuple of float
        Width and height.
    structures : mapping of int to str
    """
    show_slice(axes, image, size_mm, interpolation="nearest")
    shown = np.ma.masked_where(~np.isin(labels, list(structures)), labels)
    limits = (-0.5, max(structures) + 0.5)
    colours = _colour_map(structures)
    show_slice(axes, shown, size_mm, colours=colours, limits=limits, interpolation="nearest")


def _colour_map(structures: Mapping[int, str]) -> ListedColormap:
    from matplotlib.colors import ListedColormap, to_rgba

    of_label = label_colours(structures)
    table = [
        to_rgba(of_label[label], OPACITY) if label in of_label else (0.0, 0.0, 0.0, 0.0)
        for label in range(max(structures) + 1)
    ]
    return ListedColormap(table)


def legend_of_labels(axes: Axes, structures: Mapping[int, str], *, columns: int) -> None:
    """Turn a tile into the legend of the labels."""
    from matplotlib.patches import Patch

    axes.set_facecolor("white")
    handles = [
        Patch(color=colour, label=structures[label].replace("_", " "))
        for label, colour in label_colours(structures).items()
    ]
    axes.legend(
        handles=handles,
        loc="upper left",
        ncols=columns,
        frameon=False,
        fontsize=SMALL_POINTS + 0.5,
        borderaxespad=0.3,
        handlelength=1.2,
        columnspacing=1.4,
        labelspacing=0.35,
    )
