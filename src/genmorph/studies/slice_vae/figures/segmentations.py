"""Figure 3: what the network of the realistic atlas score sees in samples and in real scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genmorph.errors import GenmorphError
from genmorph.publish.figures import (
    GREATEST_SCALE,
    PAGE_WIDTH_MM,
    save_figure,
    style,
    tiles,
    title_over,
    wrap,
)
from genmorph.publish.overlays import legend_of_labels, show_labels
from genmorph.publish.tile import mark_sides, show_slice, write_in_tile
from genmorph.publish.views import View, voxel_sizes
from genmorph.studies.slice_vae.figures.common import (
    REAL,
    Files,
    Values,
    grid_title,
    grids_of,
    open_samples,
    runs_of,
    words_below,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from genmorph.metrics.atlas_pairs import FittedSegmenter

VIEW = View("coronal")  # the network labels coronal slices
LEGEND_LINE_MM, LEGEND_LETTER_MM, LEGEND_MARK_MM = 3.6, 1.25, 7.5  # on the page


@dataclass(frozen=True)
class Labelled:
    """A volume with its labels.

    Attributes
    ----------
    volume : ndarray `[x, y, z]`
    voxel_mm : sequence of float
    labels : ndarray `[x, y, z]` or str
        Or why there are none.
    """

    volume: np.ndarray
    voxel_mm: Sequence[float]
    labels: np.ndarray | str


def segmentations(files: Files, values: Values, out: Path) -> None:
    """The first sample of each run and a real scan of its grid, each beside its labels.

    Parameters
    ----------
    files : mapping of str to Path
        `samples:RUN` (index.tsv) of every run, `training_scans` runs for the real scans among
        them, and `segmenters:RECIPE` (segmenters.json) of their recipes.
    values : mapping
        `models` (runs), `runs` (`grid` and `recipe` of each), `scale`.
    out : Path
        The PNG; the SVG goes beside it.

    Raises
    ------
    GenmorphError
        When a grid has no real scans to stand beside, or its segmenters label other structures
        than those of another grid.
    """
    from genmorph.metrics.label_groups import structures_of
    from genmorph.training.segmenters import read_segmenters

    runs = runs_of(values, values["models"])
    stores = open_samples(files, runs)
    grids = grids_of(runs)
    bare = set(grids) - {run.grid for run in runs if run.model == REAL}
    if bare:
        raise GenmorphError(
            f"figure: no scans of {sorted(bare)[0]} to stand beside",
            f"add the reference {REAL} of that grid to `models`",
        )
    fitted = {
        recipe: read_segmenters(files[f"segmenters:{recipe}"])
        for recipe in dict.fromkeys(run.recipe for run in runs)
    }
    groupings = {str(one.settings["grouping"]) for every in fitted.values() for one in every}
    if len(groupings) != 1:
        raise GenmorphError(f"figure: segmenters of several groupings: {sorted(groupings)}")
    pictures: dict[tuple[str, int], Labelled] = {}
    for run in runs:
        store = stores[run.name]
        scan_id = store.ids[0]
        volume = store.read(scan_id)
        labels = labels_of(scan_id, volume, fitted[run.recipe])
        shown = Labelled(volume, voxel_sizes(store.affine), labels)
        pictures[run.title, grids.index(run.grid)] = shown
    titles = {run.grid: grid_title(stores[run.name]) for run in runs}
    notes = (
        "First sample of each run, none picked; middle coronal slice, grey from 0 to 1, and the "
        "labels that the network gives it. Scans are labelled by a network that never saw the "
        "person.",
    )
    data_labels = (store.description.data_label for store in stores.values())
    with style():
        figure = draw_segmentations(
            pictures,
            rows=list(dict.fromkeys(run.title for run in runs)),
            grids=[titles[grid] for grid in grids],
            structures=structures_of(groupings.pop()),
            footer=words_below(data_labels, values, notes),
        )
    save_figure(figure, out.with_suffix(""))


def labels_of(
    scan_id: str, volume: np.ndarray, segmenters: Sequence[FittedSegmenter]
) -> np.ndarray | str:
    """Labels by the first segmenter that never saw the person, or why there are none."""
    unseen = [segmenter for segmenter in segmenters if not segmenter.saw(scan_id)]
    if not unseen:
        return "every network saw this person"
    try:
        return unseen[0].segment(volume)
    except GenmorphError as error:
        return error.message


def draw_segmentations(
    pictures: Mapping[tuple[str, int], Labelled],
    *,
    rows: Sequence[str],
    grids: Sequence[str],
    structures: Mapping[int, str],
    footer: str = "",
    view: View = VIEW,
) -> Figure:
    """Slices beside their labels; models one below the other, grids side by side, one scale.

    Parameters
    ----------
    pictures : mapping of (str, int) to Labelled
        By row and number of the grid; absent where no run is made.
    rows, grids : sequence of str
        Titles.
    structures : mapping of int to str
        Name by label.
    footer : str
    view : View
    """
    sizes = [view.size_mm(shown.volume.shape, shown.voxel_mm) for shown in pictures.values()]
    width, height = (max(side) for side in zip(*sizes, strict=True))
    columns, legend_mm = _legend_size(structures, 2 * len(grids) * width)
    figure, axes = tiles(
        [width] * (2 * len(grids)),
        [height] * len(rows) + [legend_mm],
        column_titles=["\nslice", "\nlabels"] * len(grids),
        row_titles=[*rows, ""],
        footer=footer,
        gaps_after=[2 * number - 1 for number in range(1, len(grids))],
    )
    for number, title in enumerate(grids):
        title_over(axes[0][2 * number], axes[0][2 * number + 1], title)
    for line, row in enumerate(rows):
        for number in range(len(grids)):
            pair = axes[line][2 * number : 2 * number + 2]
            _show(pair, pictures.get((row, number)), view, structures)
            if line == 0:
                mark_sides(pair[0], view.plane)
    first, *others = axes[-1]
    for tile in others:
        tile.set_visible(False)
    legend_of_labels(first, structures, columns=columns)
    return figure


def _legend_size(structures: Mapping[int, str], width_mm: float) -> tuple[int, float]:
    """Columns of the legend, and its height in mm of the person, as tiles are measured."""
    scale = min(GREATEST_SCALE, PAGE_WIDTH_MM / width_mm)
    entry = LEGEND_MARK_MM + LEGEND_LETTER_MM * max(map(len, structures.values()))
    columns = max(1, min(len(structures), int(scale * width_mm / entry)))
    lines = -(-len(structures) // columns)
    return columns, (lines * LEGEND_LINE_MM + 1.0) / scale


def _show(
    pair: Sequence[Axes], shown: Labelled | None, view: View, structures: Mapping[int, str]
) -> None:
    if shown is None:
        for tile, words in zip(pair, ("not made", ""), strict=True):
            write_in_tile(tile, words)
        return
    size = view.size_mm(shown.volume.shape, shown.voxel_mm)
    show_slice(pair[0], view.of(shown.volume), size, interpolation="nearest")
    if isinstance(shown.labels, str):
        write_in_tile(pair[1], "\n".join(wrap(f"n/a: {shown.labels}", 24.0)))
    else:
        show_labels(pair[1], view.of(shown.volume), view.of(shown.labels), size, structures)
