"""P1's figures: preprocessed scans, samples, reconstructions, and how a sample comes about.

The paper shows the first and the second (supplement, figures 2 and 5) and sketches the last
(figure 1). Functions that draw take arrays; those in `FIGURES` read files and call them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genmorph.errors import GenmorphError
from genmorph.publish.figures import (
    BLUE_BLACK_ORANGE,
    SMALL_POINTS,
    VIEWS,
    VIOLET_BLACK_YELLOW,
    View,
    colour_bar,
    deformation_grid,
    diverging,
    mark_sides,
    one_grid,
    outline,
    save_figure,
    show_slice,
    slice_grid,
    small_print,
    style,
    tiles,
    voxel_sizes,
    write_in_tile,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from genmorph.cohorts.manifest import Scan
    from genmorph.store import Store

Limits = tuple[float, float]

SHOWN = 6  # volumes of a figure
RECONSTRUCTIONS_SHOWN = 3
TRANSFORM_VIEW = View("axial")
GRID_LINES = 20  # of a deformation grid along its longest axis, about
BRAIN_EDGE = 0.05  # intensity at the edge of a brain that is drawn as a line
EDGE_COLOUR, FOLD_COLOUR = "#9a9a9a", "#ff3df0"
DIM = (0.0, 2.2)  # limits of an image that lies under a deformation grid
DIFFERENCE_LIMIT = 0.25
GROWTH_LIMITS = (1.1, 1.25, 1.5, 2.0, 3.0, 4.0, 8.0)  # of a Jacobian determinant


# -- arrays to figures -----------------------------------------------------------------------------


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


def draw_reconstructions(
    pairs: Sequence[tuple[str, np.ndarray, np.ndarray]],
    *,
    voxel_mm: Sequence[float],
    footer: str = "",
) -> Figure:
    """Scans, their reconstructions, and reconstruction minus scan, in three views each.

    Parameters
    ----------
    pairs : sequence of (str, ndarray, ndarray)
        Title, original and reconstruction `[x, y, z]`.
    voxel_mm : sequence of float
    footer : str
    """
    shape = one_grid([volume for _, *both in pairs for volume in both])
    sizes = [view.size_mm(shape, voxel_mm) for view in VIEWS]
    middle = len(VIEWS) // 2
    titles = [t if order == middle else "" for t, *_ in pairs for order in range(len(VIEWS))]
    limits = (-DIFFERENCE_LIMIT, DIFFERENCE_LIMIT)
    figure, axes = tiles(
        [width for width, _ in sizes] * len(pairs),
        [max(height for _, height in sizes)] * 3,
        column_titles=titles,
        row_titles=("scan", "reconstruction", "difference"),
        footer=f"{footer} Difference: reconstruction minus scan, "
        f"−{DIFFERENCE_LIMIT} blue, 0 black, {DIFFERENCE_LIMIT} orange.",
        gaps_after=[len(VIEWS) * number - 1 for number in range(1, len(pairs))],
    )
    for number, (_, original, reconstruction) in enumerate(pairs):
        for order, (view, size) in enumerate(zip(VIEWS, sizes, strict=True)):
            column = [row[number * len(VIEWS) + order] for row in axes]
            show_slice(column[0], view.of(original), size)
            show_slice(column[1], view.of(reconstruction), size)
            difference = view.of(reconstruction - original)
            show_slice(column[2], difference, size, colours=_growth_colours(), limits=limits)
            if number == 0:
                mark_sides(column[0], view.plane)
    return figure


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
    change = _change_limits([level.intensity for level in levels], view)
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
        show_slice(column[2], added, size, colours=_change_colours(), limits=change)
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
    show_slice(axes, logarithm, size, colours=_growth_colours(), limits=limits)
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
        _growth_colours(),
        growth,
        {value: f"{2**value:.3g}" for value in (growth[0], 0.0, growth[1])},
        "above 1 the image shrinks,\nbelow 1 it grows",
    )
    colour_bar(
        column[2],
        _change_colours(),
        change,
        {change[0]: f"−{change[1]:.2g}", 0.0: "0", change[1]: f"{change[1]:.2g}"},
        "added intensity",
    )


def _growth_colours() -> Any:
    return diverging("growth", BLUE_BLACK_ORANGE)


def _change_colours() -> Any:
    return diverging("change", VIOLET_BLACK_YELLOW)


def _growth_limits(determinants: Sequence[np.ndarray | None], view: View) -> Limits:
    """Limits of log2 of all determinants shown: the first round factor that holds nearly all."""
    shown = np.concatenate([view.of(one).ravel() for one in determinants if one is not None])
    logarithms = np.abs(np.log2(shown[shown > 0]))
    greatest = np.quantile(logarithms, 0.998) if logarithms.size else 0.0
    fitting = [limit for limit in GROWTH_LIMITS if np.log2(limit) >= greatest]
    limit = float(np.log2((*fitting, GROWTH_LIMITS[-1])[0]))
    return -limit, limit


def _change_limits(intensities: Sequence[np.ndarray], view: View) -> Limits:
    """Limits of all intensity terms shown, in hundredths, the greatest 1 in 500 aside."""
    shown = np.abs(np.concatenate([view.of(one).ravel() for one in intensities]))
    limit = max(float(np.ceil(np.quantile(shown, 0.998) * 100)) / 100, 0.01)
    return -limit, limit


# -- files to figures ------------------------------------------------------------------------------

Files = Mapping[str, Path]
Values = Mapping[str, Any]


def preprocessed(files: Files, values: Values, out: Path) -> None:
    """Scans of different people after preprocessing, from the youngest to the oldest.

    Parameters
    ----------
    files : mapping of str to Path
        `store` (its index.tsv) and `manifest`.
    values : mapping
        `scale`.
    out : Path
        The PNG; the SVG goes beside it.
    """
    from genmorph.cohorts.manifest import read_manifest
    from genmorph.store import Store

    store = Store(files["store"].parent)
    known = [scan for scan in read_manifest(files["manifest"]) if scan.scan_id in store]
    scans = choose_scans(known)
    volumes = [store.read(scan.scan_id) for scan in scans]
    _save_slices(volumes, [describe(scan) for scan in scans], store, values, out)


def samples(files: Files, values: Values, out: Path) -> None:
    """The first samples of a run as they were drawn, none picked; `files` has `samples`."""
    from genmorph.store import Store

    store = Store(files["samples"].parent)
    ids = store.ids[:SHOWN]
    titles = [f"sample {number}" for number in range(1, len(ids) + 1)]
    _save_slices([store.read(scan_id) for scan_id in ids], titles, store, values, out)


def reconstructions(files: Files, values: Values, out: Path) -> None:
    """Held-out scans and what the model makes of them; `files` has `store`, `reconstructions`."""
    from genmorph.store import Store

    original, made = Store(files["store"].parent), Store(files["reconstructions"].parent)
    pairs = [
        (f"test scan {number}", original.read(scan_id), made.read(scan_id))
        for number, scan_id in enumerate(made.ids[:RECONSTRUCTIONS_SHOWN], start=1)
    ]
    with style():
        figure = draw_reconstructions(
            pairs, voxel_mm=voxel_sizes(made.affine), footer=_footer(made, values)
        )
    save_figure(figure, out.with_suffix(""))


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
    from genmorph.training.checkpoints import load_model

    store = Store(files["store"].parent)
    template, levels = cascade_of_sample(
        load_model(files["checkpoint"]), values["seed"], values["study"], values["model"]
    )
    if template.shape != store.shape:
        raise GenmorphError(
            f"{files['checkpoint']}: made for a grid of {template.shape}, "
            f"{store.folder} has {store.shape}",
            "give the store the model was trained on",
        )
    run = f"Model {values['model']}, seed {values['seed']}, sample 1."
    with style():
        figure = draw_transforms(
            template,
            levels,
            voxel_mm=voxel_sizes(store.affine),
            footer=_footer(store, values, notes=(run,)),
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


FIGURES: dict[str, Callable[[Files, Values, Path], None]] = {
    "preprocessed": preprocessed,
    "samples": samples,
    "reconstructions": reconstructions,
    "transforms": transforms,
}


def choose_scans(scans: Sequence[Scan], shown: int = SHOWN) -> list[Scan]:
    """First scans of different people, spread over their ages; unknown ages come last."""
    first = {scan.participant_id: scan for scan in reversed(scans)}
    people = sorted(
        first.values(),
        key=lambda scan: (scan.age_years is None, scan.age_years or 0.0, scan.scan_id),
    )
    places = np.linspace(0, len(people) - 1, min(shown, len(people)))
    return [people[round(place)] for place in places]


def describe(scan: Scan) -> str:
    """Age and diagnosis of a scan, as far as known.

    Ids stay out of a picture, and ages from 90 years are not told apart: it is made to be shared.
    """
    words = []
    if scan.age_years is not None:
        words.append("90+ years" if scan.age_years >= 90 else f"{scan.age_years:.0f} years")
    if scan.diagnosis is not None:
        words.append(scan.diagnosis)
    return ", ".join(words) or "age unknown"


def _save_slices(
    volumes: Sequence[np.ndarray], titles: Sequence[str], store: Store, values: Values, out: Path
) -> None:
    notes = ("Grey from 0 to 1.",)
    with style():
        figure = slice_grid(
            volumes,
            titles,
            voxel_mm=voxel_sizes(store.affine),
            footer=_footer(store, values, notes),
        )
    save_figure(figure, out.with_suffix(""))


def _footer(store: Store, values: Values, notes: Sequence[str] = ()) -> str:
    source = store.description.source
    run = [f"Model {source['model']}, seed {source['seed']}."] if "seed" in source else []
    return small_print(
        data_label=store.description.data_label,
        shape=store.shape,
        voxel_mm=voxel_sizes(store.affine),
        scale=values["scale"],
        notes=[*run, *notes],
    )
