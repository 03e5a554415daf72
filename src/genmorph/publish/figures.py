"""Drawing that the studies share: volumes as tiles of slices, deformations, colour bars, files.

Lengths are millimetres: of the page for the layout, of the person inside a tile, so that all tiles
of a figure have one scale. The left of a picture is the left of the person (as neurologists do).

Same input, same bytes: no dates, no random ids, letters as paths.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genmorph.errors import GenmorphError
from genmorph.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

PAGE_WIDTH_MM = 180.0  # two columns of a journal page
COLUMN_WIDTH_MM = 85.0
GREATEST_SCALE = 0.3  # of the page to the person: few tiles make a narrow page
DOTS_PER_INCH = {"png": 300, "svg": 200}
MM_PER_INCH = 25.4
POINTS_PER_INCH = 72

INK, QUIET = "#1a1a1a", "#5f5f5f"
TITLE_POINTS, SMALL_POINTS = 8.0, 6.0

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
    "font.size": TITLE_POINTS,
    "text.color": INK,
    "axes.linewidth": 0.4,
    "svg.fonttype": "path",
    "svg.hashsalt": "genmorph",
}

# diverging colours whose middle is black, as zero is in the images beside them
BLUE_BLACK_ORANGE = ("#d9efff", "#4a9ad6", "#174a78", "#000000", "#7a3510", "#e0752d", "#ffe9d2")
VIOLET_BLACK_YELLOW = ("#efe2ff", "#a276e0", "#4a2a80", "#000000", "#5f4f00", "#cfae1c", "#fff6c2")

# axes of a volume that run to the right and up in each view; the third is looked along
PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
SIDES = {"axial": ("L", "R"), "coronal": ("L", "R"), "sagittal": ("P", "A")}


# -- views -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """A slice through a volume.

    Attributes
    ----------
    plane : {'axial', 'coronal', 'sagittal'}
    fraction : float
        Where it lies along the axis looked along: 0 to 1 from bottom, back or left.
    """

    plane: str
    fraction: float = 0.5

    @property
    def axes(self) -> tuple[int, int]:
        """Axes of a volume that run to the right and up in the picture."""
        return PLANES[self.plane]

    @property
    def normal(self) -> int:
        """Axis of a volume that is looked along."""
        return 3 - sum(self.axes)

    def index(self, shape: Sequence[int]) -> int:
        """Voxel of the slice on a grid `[..., x, y, z]`."""
        size = shape[-3:][self.normal]
        return min(int(self.fraction * size), size - 1)

    def of(self, volume: np.ndarray) -> np.ndarray:
        """Slice `[..., right, up]` of a volume `[..., x, y, z]`."""
        axis = volume.ndim - 3 + self.normal
        return np.take(volume, self.index(volume.shape), axis=axis)

    def size_mm(self, shape: Sequence[int], voxel_mm: Sequence[float]) -> tuple[float, float]:
        """Width and height of the slice on a grid `[x, y, z]`."""
        right, up = self.axes
        return shape[right] * voxel_mm[right], shape[up] * voxel_mm[up]


VIEWS = (View("axial"), View("coronal"), View("sagittal"))


def voxel_sizes(affine: np.ndarray) -> tuple[float, float, float]:
    """Edges of a voxel in mm, from a 4x4 voxel-to-world matrix.

    Raises
    ------
    GenmorphError
        When the axes of the volume do not run to the right, to the front and up: left and right
        could not be told from the array.
    """
    directions = np.asarray(affine, dtype=float)[:3, :3]
    sizes = np.linalg.norm(directions, axis=0)
    if not np.allclose(directions / sizes, np.eye(3), atol=1e-3):
        raise GenmorphError(
            "figure: the volume's axes do not run right, front, up (RAS+)",
            "reorient the volumes before drawing them",
        )
    return tuple(float(size) for size in sizes)


# -- the page --------------------------------------------------------------------------------------


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw inside this: the house's fonts and line widths, whatever the user's own are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def tiles(
    widths_mm: Sequence[float],
    heights_mm: Sequence[float],
    *,
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    footer: str = "",
    gaps_after: Sequence[int] = (),
) -> tuple[Figure, list[list[Axes]]]:
    """A page of black tiles in rows and columns, all of one scale.

    Parameters
    ----------
    widths_mm, heights_mm : sequence of float
        What each column and each row shows, in mm of the person.
    column_titles, row_titles : sequence of str
        May have several lines.
    footer : str
        Small print below.
    gaps_after : sequence of int
        Columns followed by a wider gap.

    Returns
    -------
    figure : Figure
    axes : list of list of Axes
        By row and column; coordinates are mm of the person from the centre of the tile.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    edge, gap, wide_gap = 1.0, 0.6, 2.6
    left = edge + _title_space_mm(row_titles)
    top = edge + _title_space_mm(column_titles)
    steps = [wide_gap if column in gaps_after else gap for column in range(len(widths_mm) - 1)]
    beside = left + edge + sum(steps)
    wanted = beside + GREATEST_SCALE * sum(widths_mm)
    page_width_mm = min(PAGE_WIDTH_MM, max(COLUMN_WIDTH_MM, wanted))
    scale = (page_width_mm - beside) / sum(widths_mm)
    words = wrap(footer, page_width_mm - left - edge)
    below = edge + (len(words) * line_mm(SMALL_POINTS) + 1.4 if words else 0)
    height_mm = top + scale * sum(heights_mm) + gap * (len(heights_mm) - 1) + below

    figure = Figure(figsize=(page_width_mm / MM_PER_INCH, height_mm / MM_PER_INCH))
    FigureCanvasAgg(figure)
    page = _Page(figure, page_width_mm, height_mm)
    lefts = left + np.concatenate([[0], np.cumsum(np.multiply(widths_mm[:-1], scale) + steps)])
    tops = top + np.concatenate([[0], np.cumsum(np.multiply(heights_mm[:-1], scale) + gap)])
    axes = [
        [page.tile(x, y, scale, (wide, tall)) for x, wide in zip(lefts, widths_mm, strict=True)]
        for y, tall in zip(tops, heights_mm, strict=True)
    ]
    for y, tall, title in zip(tops, heights_mm, row_titles or [""] * len(tops), strict=True):
        form = {"rotation": 90, "ha": "right", "va": "center", "multialignment": "center"}
        page.write(left - 0.9, y + tall * scale / 2, title, **form)
    for x, wide, title in zip(lefts, widths_mm, column_titles or [""] * len(lefts), strict=True):
        page.write(x + wide * scale / 2, top - 1.5, title, ha="center", va="baseline")
    for number, line in enumerate(words, start=1):
        y = height_mm - below + 0.8 + number * line_mm(SMALL_POINTS)
        page.write(left, y, line, size=SMALL_POINTS, color=QUIET, ha="left", va="baseline")
    return figure, axes


@dataclass(frozen=True)
class _Page:
    """A figure measured in mm from its upper left corner."""

    figure: Figure
    width_mm: float
    height_mm: float

    def tile(self, x: float, y: float, scale: float, size: tuple[float, float]) -> Axes:
        width, height = size
        axes = self.figure.add_axes(
            (
                x / self.width_mm,
                1 - (y + height * scale) / self.height_mm,
                width * scale / self.width_mm,
                height * scale / self.height_mm,
            ),
            facecolor="black",
        )
        axes.set(xlim=(-width / 2, width / 2), ylim=(-height / 2, height / 2), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    def write(self, x: float, y: float, text: str, **form: Any) -> None:
        if text:
            form = {"linespacing": 1.25} | form
            self.figure.text(x / self.width_mm, 1 - y / self.height_mm, text, **form)


def line_mm(points: float) -> float:
    """Height of a line of words of some size, in mm."""
    return points / POINTS_PER_INCH * MM_PER_INCH * 1.35


def _title_space_mm(titles: Sequence[str]) -> float:
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    return lines * line_mm(TITLE_POINTS) + 0.8 if lines else 0.0


def wrap(text: str, width_mm: float) -> list[str]:
    """Break small print into lines that fit a width in mm."""
    # a letter of this typeface is about 0.53 of its size wide
    letter_mm = 0.53 * SMALL_POINTS / POINTS_PER_INCH * MM_PER_INCH
    return textwrap.wrap(text, int(width_mm / letter_mm))


def small_print(
    *,
    data_label: str,
    shape: Sequence[int] | None = None,
    voxel_mm: Sequence[float] | None = None,
    scale: str,
    notes: Sequence[str] = (),
    sides: bool = True,
) -> str:
    """The words under every figure: what the data are, the grid, and what left and right mean.

    A figure of several grids names them in its headings; it has neither `shape` nor `voxel_mm`.
    `sides` is False for a figure without pictures of people.
    """
    grid = f": {grid_words(shape, voxel_mm)}" if shape and voxel_mm else ""
    parts = [
        f"Data: {data_label.rstrip('.')}." if data_label else "",
        f"Scale {scale}{grid}.",
        *notes,
        "Left of a picture: the person's left." if sides else "",
    ]
    return " ".join(part for part in parts if part)


def grid_words(shape: Sequence[int], voxel_mm: Sequence[float]) -> str:
    """A grid in words.

    Examples
    --------
    >>> grid_words((16, 16, 16), (11.2, 11.2, 11.2)).replace(chr(160), " ")
    '16 × 16 × 16 voxels of 11.2 mm'
    """
    edges = [f"{size:.3g}" for size in voxel_mm]
    edge = edges[0] if len(set(edges)) == 1 else " × ".join(edges)
    return f"{' × '.join(map(str, shape))} voxels of {edge}\u00a0mm"


def diverging(name: str, colours: Sequence[str]) -> Colormap:
    """A colour map from evenly spaced colours, the middle one for the middle value."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(name, colours, N=257)


def title_over(first: Axes, last: Axes, title: str) -> None:
    """Write a title above several tiles of the first row, a line higher than their own titles."""
    figure = first.figure
    left, right = first.get_position().x0, last.get_position().x1
    above_mm = 1.5 + line_mm(TITLE_POINTS)
    y = first.get_position().y1 + above_mm / MM_PER_INCH / figure.get_figheight()
    figure.text((left + right) / 2, y, title, ha="center", va="baseline")


# -- inside a tile ---------------------------------------------------------------------------------


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


# -- a figure that several papers have -------------------------------------------------------------


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


# -- files -----------------------------------------------------------------------------------------


def save_figure(figure: Figure, path: Path | str) -> None:
    """Write a figure as `path`.png and `path`.svg, each atomically; equal figures, equal bytes.

    Parameters
    ----------
    figure : Figure
    path : Path or str
        Without suffix.
    """
    path = Path(path)
    metadata = {
        "png": {"Software": None},
        "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    }
    with style():
        for suffix, entries in metadata.items():
            with atomic_path(path.with_name(f"{path.name}.{suffix}")) as temporary:
                figure.savefig(
                    temporary, format=suffix, dpi=DOTS_PER_INCH[suffix], metadata=entries
                )
