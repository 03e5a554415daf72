"""What M3AE's latents hold: single dimensions moved, and the way from one person to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genmorph.errors import GenmorphError
from genmorph.publish.figures import (
    View,
    mark_sides,
    one_grid,
    save_figure,
    show_slice,
    slice_grid,
    style,
    tiles,
    voxel_sizes,
)
from genmorph.studies.m3ae.figures.common import (
    Files,
    Values,
    change_colours,
    change_limits,
    describe,
    model_of_run,
    words_below,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from genmorph.cohorts.manifest import Scan
    from genmorph.store import Store

PARTS = ("deformation", "intensity")  # what the first and the second half of z decide
DIMENSIONS_SHOWN = 2  # of each part
SD_STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)
TRAVERSAL_VIEW = View("axial")
INTERPOLATION_STEPS = 7
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
    training = [scan.scan_id for scan in _scans_of(files, values, store, "train")]
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
    ends = youngest_and_oldest(_scans_of(files, values, store, "test"))
    means = posterior_means(model, store, [scan.scan_id for scan in ends])
    decoded = decode(model, way_between(*means))
    names = ["scan\n" + describe(scan, diagnosis=False) for scan in ends]
    end = "posterior\nmean"
    between = [f"{step}/{INTERPOLATION_STEPS - 1}" for step in range(1, INTERPOLATION_STEPS - 1)]
    volumes = [store.read(ends[0].scan_id), *decoded, store.read(ends[1].scan_id)]
    titles = [names[0], end, *between, end, names[1]]
    notes = (
        f"Model {values['model']}, seed {values['seed']}.",
        f"Grey from 0 to 1. {_ends_in_words(ends)} Between them, volumes decoded at equal steps "
        "from one posterior mean to the other.",
    )
    with style():
        figure = slice_grid(
            volumes,
            titles,
            voxel_mm=voxel_sizes(store.affine),
            footer=words_below(store, values, notes),
            gaps_after=[0, len(volumes) - 2],
        )
    save_figure(figure, out.with_suffix(""))


def youngest_and_oldest(scans: Sequence[Scan]) -> list[Scan]:
    """The scans at the least and at the greatest age, of two people.

    Where fewer than two people's ages are known, the first and the last person by scan id.

    Raises
    ------
    GenmorphError
        When the scans are of one person.
    """
    if len({scan.participant_id for scan in scans}) < 2:
        raise GenmorphError(
            "figure: an interpolation needs two test people whose scans could be preprocessed",
            "give the test split more people (cohorts.NAME.splits), or the cohort more scans",
        )
    aged = [scan for scan in scans if scan.age_years is not None]
    if len({scan.participant_id for scan in aged}) < 2:
        ordered = sorted(scans, key=lambda scan: scan.scan_id)
    else:
        ordered = sorted(aged, key=lambda scan: (scan.age_years, scan.scan_id))
    youngest = ordered[0]
    others = [scan for scan in ordered if scan.participant_id != youngest.participant_id]
    return [youngest, others[-1]]


def _ends_in_words(ends: Sequence[Scan]) -> str:
    if any(scan.age_years is None for scan in ends):
        return "Ends: the first and the last test person; ages are not known."
    return "Ends: the youngest and the oldest test person."


def way_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Equally spaced points `[INTERPOLATION_STEPS, latent_size]` from one latent to another."""
    return np.linspace(start, end, INTERPOLATION_STEPS)


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


def _scans_of(files: Files, values: Values, store: Store, split: str) -> list[Scan]:
    """Scans of a split that the store holds, in order of scan id."""
    from genmorph.cohorts.manifest import read_manifest
    from genmorph.cohorts.populations import select
    from genmorph.files import read_tsv

    people = read_tsv(files["participants"], ("participant_id", "split"))
    scans = select(
        read_manifest(files["manifest"]), people, split=split, population=values["population"]
    )
    return [scan for scan in scans if scan.scan_id in store]
