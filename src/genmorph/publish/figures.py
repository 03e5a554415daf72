"""Drawing shared by all studies: slices, fields, and figures that repeat byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genmorph.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES = 7.2  # two columns of a page
DPI = 200
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "genmorph",
    "image.interpolation": "nearest",
}
# axis a plane is perpendicular to, and what lies at its left and right edge (volumes are RAS+)
PLANES = {"axial": (2, "L", "R"), "coronal": (1, "L", "R"), "sagittal": (0, "P", "A")}


def plane_of(volume: np.ndarray, plane: str, position: int | None = None) -> np.ndarray:
    """A plane through a volume `[x, y, z]`, as rows from top to bottom; default the middle."""
    axis = PLANES[plane][0]
    index = volume.shape[axis] // 2 if position is None else position
    return np.take(volume, index, axis=axis).T[::-1]


def new_figure(rows: int, columns: int, row_heights: Sequence[float]) -> tuple[Figure, Any]:
    """A figure of the page's width with a grid of bare axes.

    Parameters
    ----------
    rows, columns : int
    row_heights : sequence of float
        Height of each row over the width of a column.

    Returns
    -------
    figure : Figure
    axes : ndarray of Axes, shape (rows, columns)
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    column = WIDTH_INCHES / (columns + 0.35)
    height = column * sum(row_heights) + 0.85
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(WIDTH_INCHES, height),
        squeeze=False,
        gridspec_kw={"height_ratios": list(row_heights)},
    )
    figure.subplots_adjust(
        left=0.35 * column / WIDTH_INCHES,
        right=0.995,
        top=1 - 0.52 / height,
        bottom=0.33 / height,
        wspace=0.03,
        hspace=0.04,
    )
    for ax in axes.flat:
        bare(ax)
    return figure, axes


def bare(ax: Axes) -> None:
    """Take ticks and frame from axes."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def show(ax: Axes, image: np.ndarray, *, low: float = 0.0, high: float = 1.0) -> None:
    """A grey slice with a fixed window, so that brightness means the same in each."""
    ax.imshow(image, cmap="gray", vmin=low, vmax=high)


def mark_sides(ax: Axes, plane: str) -> None:
    """Say what lies left and right."""
    _, left, right = PLANES[plane]
    for x, word, side in ((0.02, left, "left"), (0.98, right, "right")):
        ax.text(
            x, 0.5, word, transform=ax.transAxes, ha=side, va="center", color="0.75", fontsize=5
        )


def volume_grid(
    volumes: Sequence[np.ndarray], titles: Sequence[str], heading: str, footer: str
) -> Figure:
    """Volumes side by side: a column each; axial, coronal and sagittal planes below each other.

    Parameters
    ----------
    volumes : sequence of ndarray, shape (x, y, z)
        Intensities in [0, 1].
    titles : sequence of str
        One for each column.
    heading, footer : str
        What is shown; what must be said of the data.
    """
    planes = list(PLANES)
    heights = [np.divide(*plane_of(volumes[0], plane).shape) for plane in planes]
    figure, axes = new_figure(len(planes), len(volumes), heights)
    for column, (volume, title) in enumerate(zip(volumes, titles, strict=True)):
        axes[0, column].set_title(title, pad=3)
        for row, plane in enumerate(planes):
            show(axes[row, column], plane_of(volume, plane))
            if column == 0:
                axes[row, 0].set_ylabel(plane)
                mark_sides(axes[row, 0], plane)
    caption(figure, heading, footer)
    return figure


def caption(figure: Figure, heading: str, footer: str) -> None:
    """Heading above, and in small print below what must be said of the data."""
    height = figure.get_figheight()
    figure.text(0.005, 1 - 0.13 / height, heading, ha="left", va="center", fontsize=8)
    figure.text(0.005, 0.12 / height, footer, ha="left", va="center", fontsize=5, color="0.35")


def save_figure(figure: Figure, out: Path) -> None:
    """Write `out` (PNG) and the same as SVG, atomically and without time stamps.

    The same figure gives the same bytes.
    """
    import matplotlib.pyplot as plt

    for suffix, metadata in (
        (".svg", {"Date": None, "Creator": None}),
        (".png", {"Software": None}),
    ):
        with atomic_path(out.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, dpi=DPI, metadata=metadata)
    plt.close(figure)
