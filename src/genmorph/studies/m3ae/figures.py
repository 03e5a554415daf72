"""P1's figures: scans, samples, reconstructions, and how a sample comes about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.publish.figures import (
    caption,
    new_figure,
    plane_of,
    save_figure,
    show,
    volume_grid,
)
from genmorph.sampling import sample_id
from genmorph.store import Store

COLUMNS = 6
FIELD_STEP = 2  # voxels between the lines of a drawn grid
PLANE = "axial"


def preprocessed(inputs: Mapping[str, Path], parameters: Mapping[str, Any], out: Path) -> None:
    """Preprocessed scans of different people, youngest to oldest where ages are known."""
    from genmorph.cohorts.manifest import read_manifest

    store = Store(inputs["store"].parent)
    first: dict[str, Any] = {}
    for scan in read_manifest(inputs["manifest"]):
        if scan.scan_id in store:
            first.setdefault(scan.participant_id, scan)
    people = sorted(first.values(), key=lambda scan: (scan.age_years or 0.0, scan.scan_id))
    chosen = [people[number] for number in _spread(len(people), COLUMNS)]
    titles = [f"{scan.scan_id}\n{_describe(scan)}" for scan in chosen]
    volumes = [store.read(scan.scan_id) for scan in chosen]
    save_figure(volume_grid(volumes, titles, "Preprocessed scans", _footer(store, parameters)), out)


def samples(inputs: Mapping[str, Path], parameters: Mapping[str, Any], out: Path) -> None:
    """The first samples of the model, as drawn: none is picked."""
    store = Store(inputs["samples"].parent)
    ids = store.ids[:COLUMNS]
    figure = volume_grid(
        [store.read(name) for name in ids],
        ids,
        "Samples of M3AE: the first drawn, none picked",
        _footer(store, parameters),
    )
    save_figure(figure, out)


def reconstructions(inputs: Mapping[str, Path], parameters: Mapping[str, Any], out: Path) -> None:
    """Held-out scans, their reconstructions, and the difference, in one plane."""
    real, made = Store(inputs["store"].parent), Store(inputs["reconstructions"].parent)
    ids = made.ids[:COLUMNS]
    height = np.divide(*plane_of(real.read(ids[0]), PLANE).shape)
    figure, axes = new_figure(3, len(ids), [height] * 3)
    for column, scan_id in enumerate(ids):
        original, copy = (plane_of(store.read(scan_id), PLANE) for store in (real, made))
        axes[0, column].set_title(scan_id, pad=3)
        show(axes[0, column], original)
        show(axes[1, column], copy)
        axes[2, column].imshow(copy - original, cmap="RdBu_r", vmin=-0.5, vmax=0.5)
    for row, label in enumerate(("scan", "reconstruction", "difference\n(red: too bright, ±0.5)")):
        axes[row, 0].set_ylabel(label)
    caption(figure, "Held-out scans and their reconstructions by M3AE", _footer(real, parameters))
    save_figure(figure, out)


def transforms(inputs: Mapping[str, Path], parameters: Mapping[str, Any], out: Path) -> None:
    """The first sample, from the template through each level (section 2, figure 1 of the paper)."""
    levels, template = _cascade(inputs["checkpoint"], parameters)
    height = np.divide(*plane_of(template, PLANE).shape)
    rows = (
        "deformation φ\n(every 2nd voxel)",
        "Jacobian det. of φ",
        "intensity term A",
        "volume so far",
    )
    figure, axes = new_figure(len(rows), len(levels) + 1, [height] * len(rows))
    show(axes[3, 0], plane_of(template, PLANE))
    for row in range(3):
        axes[row, 0].set_visible(False)
    axes[3, 0].set_title("template", pad=3)
    strongest = max(np.abs(level["intensity"]).max() for level in levels)
    for number, level in enumerate(levels, start=1):
        column = axes[:, number]
        column[0].set_title(f"level {number}", pad=3)
        if level["displacement"] is None:
            column[0].text(0.5, 0.5, "none at\nthis level", ha="center", va="center", color="0.5")
            column[1].set_visible(False)
        else:
            _draw_grid(column[0], level["displacement"])
            jacobian = plane_of(jacobian_determinant(level["displacement"]), PLANE)
            bars = column[1].imshow(
                np.log2(np.clip(jacobian, 0.25, 4.0)), cmap="PuOr", vmin=-1, vmax=1
            )
        shades = column[2].imshow(
            plane_of(level["intensity"], PLANE), cmap="RdBu_r", vmin=-strongest, vmax=strongest
        )
        show(column[3], plane_of(level["image"], PLANE))
    for row, label in enumerate(rows):
        axes[row, 0 if row == 3 else 1].set_ylabel(label)
    _colour_bar(figure, axes[1, 0], bars, "log2, ±1")
    _colour_bar(figure, axes[2, 0], shades, f"±{strongest:.2f}")
    heading = f"How a sample of M3AE comes about: {sample_id(0)} of seed {parameters['seed']}"
    caption(figure, heading, _footer(Store(inputs["store"].parent), parameters))
    save_figure(figure, out)


FIGURES = {
    "preprocessed": preprocessed,
    "samples": samples,
    "reconstructions": reconstructions,
    "transforms": transforms,
}


def jacobian_determinant(displacement: np.ndarray) -> np.ndarray:
    """Local volume change of a deformation: det(I + ∇u) by central differences.

    Parameters
    ----------
    displacement : ndarray, shape (3, x, y, z)
        In voxels.

    Returns
    -------
    ndarray, shape (x, y, z)
    """
    gradient = np.stack([np.stack(np.gradient(component)) for component in displacement])
    matrix = np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3)
    return np.linalg.det(matrix)


def _cascade(
    checkpoint: Path, parameters: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Levels of the first sample (the one that lies in the samples' store), and the template."""
    import torch

    from genmorph.seeds import derive_seed
    from genmorph.training.checkpoints import load_model

    model = load_model(checkpoint)
    run_seed = derive_seed(parameters["seed"], parameters["study"], parameters["model"], "sample")
    generator = torch.Generator().manual_seed(derive_seed(run_seed, "sample", 0))
    with torch.inference_mode():
        levels = model.cascade(model.draw_latents([generator]))
    found = [
        {
            "intensity": level.full_intensity[0].numpy(),
            "displacement": None
            if level.displacement is None
            else level.full_displacement[0].numpy(),
            "image": level.image[0].numpy(),
        }
        for level in levels
    ]
    return found, model.template.reshape(model.shape).numpy()


def _draw_grid(ax: Any, displacement: np.ndarray) -> None:
    """The deformed coordinate lines of the middle axial plane."""
    _, width, depth, height = displacement.shape
    plane = displacement[:, :, :, height // 2]
    x = np.arange(width)[:, None] + plane[0]
    y = np.arange(depth)[None, :] + plane[1]
    line = {"color": "0.25", "linewidth": 0.35}
    ax.plot(x[::FIELD_STEP].T, y[::FIELD_STEP].T, **line)
    ax.plot(x[:, ::FIELD_STEP], y[:, ::FIELD_STEP], **line)
    ax.set_xlim(-0.5, width - 0.5)
    ax.set_ylim(-0.5, depth - 0.5)
    ax.set_aspect("equal")


def _colour_bar(figure: Any, beside: Any, mappable: Any, label: str) -> None:
    box = beside.get_position()
    ax = figure.add_axes((box.x1 - 0.035, box.y0 + 0.02, 0.008, box.height - 0.04))
    bar = figure.colorbar(mappable, cax=ax)
    bar.outline.set_visible(False)
    bar.set_ticks([])
    ax.yaxis.set_label_position("left")
    ax.set_ylabel(label, fontsize=5)


def _describe(scan: Any) -> str:
    """Age, sex and diagnosis, as far as they are known."""
    age = "" if scan.age_years is None else f"{scan.age_years:.0f} y"
    return ", ".join(filter(None, (age, scan.sex, scan.diagnosis)))


def _spread(n: int, most: int) -> Sequence[int]:
    """At most `most` numbers spread evenly over `range(n)`."""
    return sorted({int(number) for number in np.linspace(0, n - 1, min(n, most)).round()})


def _footer(store: Store, parameters: Mapping[str, Any]) -> str:
    words = [
        store.description.data_label,
        f"scale {parameters['scale']}",
        f"grid {'x'.join(map(str, store.shape))}",
        "intensities 0 to 1",
        "right is right",
    ]
    return "; ".join(filter(None, words))
