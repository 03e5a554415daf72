"""How a sample of M3AE comes about: the cascade of transforms (the paper sketches it, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genmorph.publish.figures import SMALL_POINTS, save_figure, style, tiles
from genmorph.publish.tile import (
    colour_bar,
    deformation_grid,
    mark_sides,
    outline,
    show_slice,
    write_in_tile,
)
from genmorph.publish.views import View, voxel_sizes
from genmorph.studies.m3ae.figures.common import (
    Files,
    Values,
    change_colours,
    change_limits,
    growth_colours,
    model_of_run,
    words_below,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Limits = tuple[float, float]

TRANSFORM_VIEW = View("axial")
GRID_LINES = 20  # of a deformation grid along its longest axis, about
BRAIN_EDGE = 0.05  # intensity at the edge of a brain that is drawn as a line
EDGE_COLOUR, FOLD_COLOUR = "#9a9a9a", "#ff3df0"
DIM = (0.0, 2.2)  # limits of an image that lies under a deformation grid
GROWTH_LIMITS = (1.1, 1.25, 1.5, 2.0, 3.0, 4.0, 8.0)  # of a Jacobian determinant


def transforms(files: Files, values: Values, out: Path) -> None:
    """The cascade behind the first sample of a run; `files` has `checkpoint` and `store`.

    The sample is drawn again from the checkpoint; the store, which the model was trained on, tells
    the size of a voxel and what must be said of the data. `values` has `study`, `model`, `seed`
    (of the run) and `scale`.

    Raises
    ------
    GenmorphError
        When checkpoint and store have different grids.
    """
    from genmorph.store import Store

    store = Store(files["store"].parent)
    template, levels = cascade_of_sample(
        model_of_run(files, store), values["seed"], values["study"], values["model"]
    )
    run = f"Model {values['model']}, seed {values['seed']}, sample 1."
    with style():
        figure = draw_transforms(
            template,
            levels,
            voxel_mm=voxel_sizes(store.affine),
            footer=words_below(store, values, notes=(run,)),
        )
    save_figure(figure, out.with_suffix(""))


def cascade_of_sample(
    model: Any, seed: int, study: str, name: str
) -> tuple[np.ndarray, list[LevelArrays]]:
    """Template and levels behind the first sample of a run, drawn as `genmorph sample` does.

    Parameters
    ----------
    model : M3AE
    seed : int
        Seed of the run.
    study, name : str
        Study and model; the seed of sampling is derived from them.
    """
    import torch

    from genmorph.seeds import derive_seed

    run_seed = derive_seed(seed, study, name, "sample")
    generator = torch.Generator().manual_seed(derive_seed(run_seed, "sample", 0))

    def array(values: torch.Tensor | None) -> np.ndarray | None:
        return None if values is None else values[0].float().numpy()

    with torch.inference_mode():
        levels = [
            LevelArrays(
                intensity=array(level.full_intensity),
                image=array(level.image),
                displacement=array(level.full_displacement),
                jacobian_determinant=array(level.full_jacobian_determinant),
            )
            for level in model.cascade(model.draw_latents([generator]))
        ]
    return model.template.numpy(), levels


@dataclass(frozen=True)
class LevelArrays:
    """One level of the cascade that makes a sample.

    Attributes
    ----------
    intensity : ndarray
        What is added, on the full grid `[x, y, z]`.
    image : ndarray
        Image after this level, `[x, y, z]`.
    displacement : ndarray or None
        `[3, x, y, z]`, voxels of the full grid; None on the last level, which only adds.
    jacobian_determinant : ndarray or None
        Of the level's deformation, `[x, y, z]`.
    """

    intensity: np.ndarray
    image: np.ndarray
    displacement: np.ndarray | None = None
    jacobian_determinant: np.ndarray | None = None


def draw_transforms(
    template: np.ndarray,
    levels: Sequence[LevelArrays],
    *,
    voxel_mm: Sequence[float],
    footer: str = "",
    view: View = TRANSFORM_VIEW,
) -> Figure:
    """How a sample comes about: from the template through each level, x <- (x + A) o φ.

    Columns are the template and the levels, coarse to fine; rows are the deformation as a moved
    grid, its Jacobian determinant, the intensity term, and the image so far. Colours have the same
    limits on all levels, so that levels compare.

    Parameters
    ----------
    template : ndarray
        `[x, y, z]`.
    levels : sequence of LevelArrays
    voxel_mm : sequence of float
    footer : str
    view : View
    """
    size = view.size_mm(template.shape, voxel_mm)
    last = len(levels)
    figure, axes = tiles(
        [size[0]] * (last + 1),
        [size[1]] * 4,
        column_titles=[
            "template",
            *(f"level {number}" for number in range(1, last)),
            f"level {last}: the sample",
        ],
        row_titles=("deformation φ", "Jacobian det. of φ", "intensity term A", "image"),
        footer=footer,
    )
    growth = _growth_limits([level.jacobian_determinant for level in levels], view)
    change = change_limits([view.of(level.intensity) for level in levels])
    every = max(1, round(max(template.shape) / GRID_LINES))
    _write_keys([row[0] for row in axes], growth, change, every * max(voxel_mm))
    show_slice(axes[3][0], view.of(template), size)
    mark_sides(axes[3][0], view.plane)
    before = template
    for number, level in enumerate(levels, start=1):
        column = [row[number] for row in axes]
        brain = view.of(before) > BRAIN_EDGE
        if level.displacement is None:
            write_in_tile(column[0], "no deformation:\nthe last level only adds")
            write_in_tile(column[1], "")
        else:
            show_slice(column[0], view.of(before), size, limits=DIM)
            _show_deformation(column[0], level.displacement, view, voxel_mm, every)
            _show_growth(column[1], view.of(level.jacobian_determinant), size, growth)
            outline(column[1], brain, size, EDGE_COLOUR)
        added = view.of(level.intensity)
        show_slice(column[2], added, size, colours=change_colours(), limits=change)
        outline(column[2], brain, size, EDGE_COLOUR)
        show_slice(column[3], view.of(level.image), size)
        before = level.image
    return figure


def _show_deformation(
    axes: Axes, displacement: np.ndarray, view: View, voxel_mm: Sequence[float], every: int
) -> None:
    """The moved grid of a slice; the length beside it is the greatest of the whole volume."""
    right, up = view.axes
    moved = view.of(displacement)[[right, up]]
    deformation_grid(axes, moved, (voxel_mm[right], voxel_mm[up]), every=every)
    length = np.linalg.norm(displacement * np.reshape(voxel_mm, (3, 1, 1, 1)), axis=0).max()
    axes.text(
        0.97,
        0.03,
        f"max {length:.1f} mm",
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        size=SMALL_POINTS,
        color="white",
        bbox={"facecolor": "black", "edgecolor": "none", "pad": 1.2},
    )


def _show_growth(
    axes: Axes, determinant: np.ndarray, size: tuple[float, float], limits: Limits
) -> None:
    """Logarithm of a determinant in colour; folds, where it has none, are outlined."""
    folds = determinant <= 0
    logarithm = np.log2(np.where(folds, 1.0, determinant))
    show_slice(axes, logarithm, size, colours=growth_colours(), limits=limits)
    if folds.any():
        outline(axes, folds, size, FOLD_COLOUR)


def _write_keys(column: Sequence[Axes], growth: Limits, change: Limits, line_mm: float) -> None:
    """The template has no transforms: their keys stand in its column."""
    write_in_tile(
        column[0],
        f"lines every {line_mm:.3g} mm,\nmoved to where the\ndeformed image takes\n"
        "its intensity from",
    )
    colour_bar(
        column[1],
        growth_colours(),
        growth,
        {value: f"{2**value:.3g}" for value in (growth[0], 0.0, growth[1])},
        "above 1 the image shrinks,\nbelow 1 it grows",
    )
    colour_bar(
        column[2],
        change_colours(),
        change,
        {change[0]: f"−{change[1]:.2g}", 0.0: "0", change[1]: f"{change[1]:.2g}"},
        "added intensity",
    )


def _growth_limits(determinants: Sequence[np.ndarray | None], view: View) -> Limits:
    """Limits of log2 of all determinants shown: the first round factor that holds nearly all."""
    shown = np.concatenate([view.of(one).ravel() for one in determinants if one is not None])
    logarithms = np.abs(np.log2(shown[shown > 0]))
    greatest = np.quantile(logarithms, 0.998) if logarithms.size else 0.0
    fitting = [limit for limit in GROWTH_LIMITS if np.log2(limit) >= greatest]
    limit = float(np.log2((*fitting, GROWTH_LIMITS[-1])[0]))
    return -limit, limit
