"""What M3AE's latents hold: single dimensions moved, and the way from one person to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genmorph.publish.figures import save_figure, style, tiles
from genmorph.publish.interpolation import (
    draw_interpolation,
    ends_in_words,
    way_between,
    youngest_and_oldest,
)
from genmorph.publish.slice_grid import one_grid
from genmorph.publish.tile import mark_sides, show_slice
from genmorph.publish.views import View, voxel_sizes
from genmorph.studies.m3ae.figures.common import (
    Files,
    Values,
    change_colours,
    change_limits,
    model_of_run,
    scans_of,
    words_below,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from genmorph.store import Store

PARTS = ("deformation", "intensity")  # what the first and the second half of z decide
DIMENSIONS_SHOWN = 2  # of each part
SD_STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)
TRAVERSAL_VIEW = View("axial")
BATCH_SIZE = 4


# -- one dimension at a time -----------------------------------------------------------------------


def traversals(files: Files, values: Values, out: Path) -> None:
    """The dimensions of z that differ most between training scans, each moved alone.

    Parameters
    ----------
    files : mapping of str to Path
        `checkpoint`, `store`, `manifest`, `participants`.
    values : mapping
        `model`, `seed`, `scale`, `population`.
    out : Path
        The PNG; the SVG goes beside it.
    """
    from genmorph.store import Store

    store = Store(files["store"].parent)
    model = model_of_run(files, store)
    training = [scan.scan_id for scan in scans_of(files, values, store, "train")]
    rows = traverse(model, posterior_means(model, store, training))
    notes = (
        f"Model {values['model']}, seed {values['seed']}.",
        f"Mean and SD of the posterior mean over {len(training)} training scans; all other "
        "dimensions stay at their mean. Of each half of z, the dimensions with the greatest SD.",
    )
    with style():
        figure = draw_traversals(
            rows, voxel_mm=voxel_sizes(store.affine), footer=words_below(store, values, notes)
        )
    save_figure(figure, out.with_suffix(""))


@dataclass(frozen=True)
class Traversal:
    """What one dimension of z does.

    Attributes
    ----------
    part : {'deformation', 'intensity'}
        What its half of z decides.
    dimension : int
        Counted from 1 over the whole of z.
    sd : float
        Of the posterior mean over the training scans.
    volumes : ndarray
        `[step, x, y, z]`, decoded at `SD_STEPS` times the SD about the mean.
    """

    part: str
    dimension: int
    sd: float
    volumes: np.ndarray


def traverse(model: Any, means: np.ndarray) -> list[Traversal]:
    """Move the widest dimensions of each half of z, one at a time.

    Parameters
    ----------
    model : M3AE
    means : ndarray
        `[n, latent_size]`, posterior means of the training scans.
    """
    mean, sd = means.mean(axis=0), means.std(axis=0)
    rows = []
    for part, dimensions in zip(PARTS, widest_dimensions(sd), strict=True):
        for dimension in dimensions:
            latents = np.tile(mean, (len(SD_STEPS), 1))
            latents[:, dimension] += np.multiply(SD_STEPS, sd[dimension])
            rows.append(
                Traversal(part, dimension + 1, float(sd[dimension]), decode(model, latents))
            )
    return rows


def widest_dimensions(sd: np.ndarray, shown: int = DIMENSIONS_SHOWN) -> list[list[int]]:
    """Of each half of z `[latent_size]` the dimensions of greatest SD; the first of equal ones.

    Examples
    --------
    >>> widest_dimensions(np.array([1.0, 3.0, 2.0, 0.5, 0.1, 0.9]))
    [[1, 2], [5, 3]]
    """
    half = len(sd) // 2
    return [
        [
            first + int(place)
            for place in np.argsort(-sd[first : first + half], kind="stable")[:shown]
        ]
        for first in (0, half)
    ]


def draw_traversals(
    rows: Sequence[Traversal],
    *,
    voxel_mm: Sequence[float],
    footer: str = "",
    view: View = TRAVERSAL_VIEW,
) -> Figure:
    """A row a dimension, a column a step, and in the last column the ends' difference.

    Differences of one part of z have the same limits: an intensity term is far weaker than a
    moved edge.

    Parameters
    ----------
    rows : sequence of Traversal
    voxel_mm : sequence of float
    footer : str
    view : View
    """
    shape = one_grid([volume for row in rows for volume in row.volumes])
    size = view.size_mm(shape, voxel_mm)
    differences = [view.of(row.volumes[-1] - row.volumes[0]) for row in rows]
    limits = {
        part: change_limits(
            [change for row, change in zip(rows, differences, strict=True) if row.part == part]
        )
        for part in dict.fromkeys(row.part for row in rows)
    }
    colours = ", ".join(f"{part} ±{most:.2g}" for part, (_, most) in limits.items())
    last = len(SD_STEPS)
    figure, axes = tiles(
        [size[0]] * (last + 1),
        [size[1]] * len(rows),
        column_titles=[*(_step_title(step) for step in SD_STEPS), "difference of ends"],
        row_titles=[f"{row.part}\ndimension {row.dimension}\nSD {row.sd:.2f}" for row in rows],
        footer=f"{footer} Difference: {_step_title(SD_STEPS[-1])} minus "
        f"{_step_title(SD_STEPS[0])}, violet below 0, yellow above; "
        f"greatest colours at: {colours}.",
        gaps_after=[last - 1],
    )
    for tiles_of_row, row, difference in zip(axes, rows, differences, strict=True):
        for tile, volume in zip(tiles_of_row, row.volumes, strict=False):
            show_slice(tile, view.of(volume), size)
        end, reach = tiles_of_row[last], limits[row.part]
        show_slice(end, difference, size, colours=change_colours(), limits=reach)
    mark_sides(axes[0][0], view.plane)
    return figure


def _step_title(step: float) -> str:
    return f"{step:+g} SD".replace("-", "−") if step else "mean"


# -- from one person to another --------------------------------------------------------------------


def interpolation(files: Files, values: Values, out: Path) -> None:
    """The straight way in z from the youngest to the oldest of the test people.

    Parameters
    ----------
    files : mapping of str to Path
        `checkpoint`, `store`, `manifest`, `participants`.
    values : mapping
        `model`, `seed`, `scale`, `population`.
    out : Path
        The PNG; the SVG goes beside it.
    """
    from genmorph.store import Store

    store = Store(files["store"].parent)
    model = model_of_run(files, store)
    ends = youngest_and_oldest(scans_of(files, values, store, "test"))
    means = posterior_means(model, store, [scan.scan_id for scan in ends])
    decoded = decode(model, way_between(*means))
    notes = (
        f"Model {values['model']}, seed {values['seed']}.",
        f"Grey from 0 to 1. {ends_in_words(ends)} Between them, volumes decoded at equal steps "
        "from one posterior mean to the other.",
    )
    with style():
        figure = draw_interpolation(
            ends,
            [store.read(scan.scan_id) for scan in ends],
            decoded,
            end_title="posterior\nmean",
            voxel_mm=voxel_sizes(store.affine),
            footer=words_below(store, values, notes),
        )
    save_figure(figure, out.with_suffix(""))


# -- the model -------------------------------------------------------------------------------------


def posterior_means(model: Any, store: Store, scan_ids: Sequence[str]) -> np.ndarray:
    """Posterior mean of z for some scans, `[n, latent_size]`."""
    import torch

    means = []
    with torch.inference_mode():
        for first in range(0, len(scan_ids), BATCH_SIZE):
            volumes = store.read_all(scan_ids[first : first + BATCH_SIZE])
            means.append(model.encode(torch.from_numpy(volumes))[0].numpy())
    return np.concatenate(means).astype(float)


def decode(model: Any, latents: np.ndarray) -> np.ndarray:
    """Volumes `[n, x, y, z]` for latents `[n, latent_size]`."""
    import torch

    with torch.inference_mode():
        return model.decode(torch.from_numpy(latents.astype(np.float32))).float().numpy()
