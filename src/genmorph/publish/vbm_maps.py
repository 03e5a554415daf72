"""t-maps as NIfTI images and as figures: glass brain and slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genmorph.errors import GenmorphError
from genmorph.files import atomic_path
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.vbm_statistics import TMap
from genmorph.publish.figures import (
    BLUE_BLACK_ORANGE,
    MM_PER_INCH,
    PAGE_WIDTH_MM,
    QUIET,
    SMALL_POINTS,
    diverging,
    line_mm,
    tiles,
    wrap,
)
from genmorph.publish.tile import colour_bar, mark_sides, show_slice
from genmorph.publish.views import PLANES, View, voxel_sizes

if TYPE_CHECKING:
    import nibabel as nib
    from matplotlib.figure import Figure

# of the way through the mask, from bottom, back or left
FRACTIONS = (0.12, 0.27, 0.42, 0.58, 0.73, 0.88)
# from gray matter in the dark to white matter below the colours of t
BACKGROUND_LIMITS = (0.0, 1.3)
GLASS_VIEWS = "Views: left half, from the back, right half, from above."
LEAST_LIMIT = 1.0  # of |t|, where hardly anything is shown
BAR_WIDTH_MM = 120.0  # of the person, as the other tiles


# -- images ----------------------------------------------------------------------------------------


def t_image(t_map: TMap, affine: np.ndarray) -> nib.Nifti1Image:
    """t as an image that other software knows for one: float32, NaN outside the mask.

    Its header says `t test` and the degrees of freedom. Where each voxel has its own, the header,
    which has room for one number, holds the least of them (so that p read from it is never too
    small) and its description says so; `degrees_of_freedom_image` has them all.
    """
    image = _image(t_map.t, affine)
    degrees = t_map.degrees_of_freedom
    own = isinstance(degrees, np.ndarray)
    least = float(np.nanmin(degrees)) if own else float(degrees)
    image.header.set_intent("t test", (least,), name="t")
    image.header["descrip"] = f"t, least of voxelwise df {least:.2f}" if own else f"t, df {least:g}"
    return image


def degrees_of_freedom_image(t_map: TMap, affine: np.ndarray) -> nib.Nifti1Image:
    """Degrees of freedom of each voxel's t, NaN where t is not defined."""
    degrees = np.where(t_map.tested, t_map.degrees_of_freedom, np.nan)
    image = _image(degrees, affine)
    image.header["descrip"] = "degrees of freedom of t"
    return image


def mask_image(mask: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """A mask as an image of 0 and 1."""
    import nibabel as nib

    image = nib.Nifti1Image(mask.astype(np.uint8), np.asarray(affine, dtype=float))
    _place(image)
    return image


def save_image(image: nib.Nifti1Image, path: Path | str) -> None:
    """Write an image (`.nii` or `.nii.gz`) atomically: equal images, equal bytes."""
    with atomic_path(path) as temporary:
        image.to_filename(temporary)


def _image(volume: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    import nibabel as nib

    if volume.ndim != 3:
        raise GenmorphError(f"t-map {volume.shape}: an image needs a grid [x, y, z]")
    image = nib.Nifti1Image(volume.astype(np.float32), np.asarray(affine, dtype=float))
    _place(image)
    return image


def _place(image: nib.Nifti1Image) -> None:
    """Say that the world is MNI's and lengths are mm."""
    image.set_sform(image.affine, code="mni")
    image.set_qform(image.affine, code="mni")
    image.header.set_xyzt_units("mm")


# -- figures ---------------------------------------------------------------------------------------


def describe(measurement: Measurement) -> str:
    """What a figure of a `vbm` measurement shows, for its small print.

    Which voxels a picture colours it says itself: the threshold is that of the measurement.
    """
    settings, values, n = measurement.settings, measurement.values, measurement.n
    sides = [
        f"{n.get(f'{side}_people', n[f'{side}_scans'])} {side}"
        for side in ("generated", "reference")
    ]
    bound = [
        f"{symbol} {values[key]:.3g}"
        for key, symbol in (("threshold_t", "|t| >"), ("threshold_p", "p ≤"))
        if key in values
    ]
    threshold = f"{settings['correction']} {settings['level']:g}, two-sided"
    parts = [
        f"t of {settings['contrast']}, {settings['design']}; variance {settings['variance']}",
        ", ".join(sides),
    ]
    if "voxels_over" in values:
        parts.append(f"threshold {threshold}" + (f" ({', '.join(bound)})" if bound else ""))
        parts.append(f"{values['voxels_over']:.0f} of {n['mask_voxels']} voxels over it")
    else:
        parts.append(f"no threshold {threshold} could be found")
    return "; ".join(parts) + "."


def glass_brain(
    t_map: TMap,
    affine: np.ndarray,
    over: np.ndarray | None = None,
    *,
    footer: str = "",
    limit: float | None = None,
) -> Figure:
    """Projections of t through the brain: left and right half, from the back, from above.

    In each place the t farthest from zero along the line of sight. Outlines are nilearn's, which
    come with it.

    Parameters
    ----------
    t_map : TMap
        In MNI space.
    affine : ndarray, shape (4, 4)
    over : ndarray of bool, optional
        Voxels shown; all tested ones when absent.
    footer : str
        Small print; which voxels are coloured is added.
    limit : float, optional
        |t| of the last colour; the greatest that is shown, when absent.

    Raises
    ------
    GenmorphError
        When the mask of voxels lies on another grid.
    """
    import nibabel as nib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from nilearn.plotting import plot_glass_brain

    shown = _shown(t_map, over)
    limit = limit or _limit(t_map, shown)
    volume = np.where(shown, t_map.t, 0).astype(np.float32)
    words = wrap(f"{footer} {_coloured(over)} {GLASS_VIEWS}".strip(), PAGE_WIDTH_MM - 4)
    below_mm = len(words) * line_mm(SMALL_POINTS) + 2
    height_mm = 46 + below_mm
    figure = Figure(figsize=(PAGE_WIDTH_MM / MM_PER_INCH, height_mm / MM_PER_INCH), facecolor="w")
    FigureCanvasAgg(figure)
    bottom = below_mm / height_mm
    plot_glass_brain(
        nib.Nifti1Image(volume, np.asarray(affine, dtype=float)),
        display_mode="lyrz",
        figure=figure,
        axes=(0, bottom, 1, 1 - bottom),
        plot_abs=False,
        threshold=None,
        colorbar=True,
        cmap=diverging("t", BLUE_BLACK_ORANGE),
        vmin=-limit,
        vmax=limit,
        symmetric_cbar=True,
        black_bg=True,
        resampling_interpolation="nearest",
    )
    for number, line in enumerate(words, start=1):
        figure.text(
            2 / PAGE_WIDTH_MM,
            (below_mm - number * line_mm(SMALL_POINTS)) / height_mm,
            line,
            size=SMALL_POINTS,
            color=QUIET,
        )
    return figure


def slices(
    t_map: TMap,
    affine: np.ndarray,
    over: np.ndarray | None = None,
    *,
    background: np.ndarray | None = None,
    footer: str = "",
    limit: float | None = None,
    fractions: Sequence[float] = FRACTIONS,
) -> Figure:
    """t in colours over slices of a brain in gray, axial, coronal and sagittal.

    Parameters
    ----------
    t_map : TMap
    affine : ndarray, shape (4, 4)
        Axes run right, front, up.
    over : ndarray of bool, optional
        Voxels coloured; all tested ones when absent.
    background : ndarray, optional
        `[x, y, z]` in [0, 1] on the grid of the map; nilearn's packaged MNI template when absent.
    footer : str
        Small print; which voxels are coloured is added.
    limit : float, optional
        |t| of the last colour; the greatest that is shown, when absent.
    fractions : sequence of float
        Where slices lie, 0 to 1 through the mask. In each direction the ones nearest to
        the greatest and to the least t that is shown are moved onto them.

    Raises
    ------
    GenmorphError
        When grids differ or the axes do not run right, front, up.
    """
    voxel_mm = voxel_sizes(affine)
    shown = _shown(t_map, over)
    limit = limit or _limit(t_map, shown)
    background = mni_background(t_map.t.shape, affine) if background is None else background
    if background.shape != t_map.t.shape:
        raise GenmorphError(f"t-map {t_map.t.shape} over a background {background.shape}")
    peaks = _peaks(t_map.t, shown)
    colours = diverging("t", BLUE_BLACK_ORANGE)
    sizes = {plane: View(plane).size_mm(t_map.t.shape, voxel_mm) for plane in PLANES}
    figure, axes = tiles(
        [max(width for width, _ in sizes.values())] * len(fractions) + [BAR_WIDTH_MM],
        [height for _, height in sizes.values()],
        row_titles=list(sizes),
        footer=f"{footer} {_coloured(over)}".strip(),
    )
    for row, (plane, size) in zip(axes, sizes.items(), strict=True):
        normal = View(plane).normal
        indices = _indices(t_map.mask, normal, fractions)
        indices = _through(indices, [int(peak[normal]) for peak in peaks])
        for tile, index in zip(row, indices, strict=False):
            t, gray, visible = (
                np.take(volume, index, axis=normal) for volume in (t_map.t, background, shown)
            )
            show_slice(tile, gray, size, limits=BACKGROUND_LIMITS)
            show_slice(
                tile,
                np.ma.masked_where(~visible, t),
                size,
                colours=colours,
                limits=(-limit, limit),
                # each voxel as it is: between voxels, what is under the threshold would take colour
                interpolation="nearest",
            )
            place_mm = affine[normal, normal] * index + affine[normal, 3]
            tile.text(
                0.5,
                0.97,
                f"{'xyz'[normal]} = {place_mm:.0f} mm",
                transform=tile.transAxes,
                ha="center",
                va="top",
                size=SMALL_POINTS,
                color="#d0d0d0",
            )
        mark_sides(row[0], plane)
        row[-1].set_facecolor("white")
    ticks = {-limit: f"{-limit:.1f}", 0.0: "0", limit: f"{limit:.1f}"}
    colour_bar(axes[1][-1], colours, (-limit, limit), ticks, "t")
    return figure


def mni_background(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """nilearn's packaged MNI template on a grid `[x, y, z]`, 0 to 1."""
    from nilearn.datasets import load_mni152_template
    from nilearn.image import resample_img

    image = resample_img(
        load_mni152_template(resolution=1),
        target_affine=np.asarray(affine, dtype=float),
        target_shape=tuple(shape),
        interpolation="linear",
        force_resample=True,
        copy_header=True,
    )
    volume = np.asarray(image.dataobj, dtype=np.float32)
    return volume / max(float(volume.max()), 1e-6)


def _shown(t_map: TMap, over: np.ndarray | None) -> np.ndarray:
    if over is not None and over.shape != t_map.t.shape:
        raise GenmorphError(f"t-map {t_map.t.shape} and voxels to show {over.shape}")
    return t_map.tested if over is None else over & t_map.tested


def _coloured(over: np.ndarray | None) -> str:
    """Which voxels a picture colours, for its small print."""
    if over is None:
        return "Coloured: every voxel tested, over a threshold or not."
    if not over.any():
        return "Coloured: voxels over a threshold, of which there are none."
    return "Coloured: voxels over the threshold."


def _limit(t_map: TMap, shown: np.ndarray) -> float:
    """Greatest |t| that is shown."""
    return max(float(np.abs(t_map.t[shown]).max(initial=0)), LEAST_LIMIT)


def _indices(mask: np.ndarray, normal: int, fractions: Sequence[float]) -> list[int]:
    """Slices at fractions of the way through a mask along an axis."""
    others = tuple(axis for axis in range(3) if axis != normal)
    first, *_, last = np.flatnonzero(mask.any(axis=others))[[0, -1]]
    return [int(first + fraction * (last - first) + 0.5) for fraction in fractions]


def _peaks(t: np.ndarray, shown: np.ndarray) -> list[tuple[np.intp, ...]]:
    """Voxels of the greatest and of the least t that is shown, as far as there are such."""
    return [
        np.unravel_index(np.argmax(np.where(side, np.abs(t), 0)), t.shape)
        for side in (shown & (t > 0), shown & (t < 0))
        if side.any()
    ]


def _through(indices: Sequence[int], peaks: Sequence[int]) -> list[int]:
    """Slices with the nearest to each peak moved onto it, no slice twice."""
    free, moved = list(indices), []
    for peak in list(dict.fromkeys(peaks))[: len(free)]:
        nearest = min(free, key=lambda index: abs(index - peak))
        free.remove(nearest)
        moved.append(peak)
    return sorted(free + moved)
