"""Pages of figures that the studies share: tiles of one scale, words, style, files.

Lengths are millimetres: of the page for the layout, of the person inside a tile, so that all tiles
of a figure have one scale. The left of a picture is the left of the person (as neurologists do).

Same input, same bytes: no dates, no random ids, letters as paths.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
