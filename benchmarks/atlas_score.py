"""How the realistic atlas score answers to what is done to real scans.

    python benchmarks/atlas_score.py OASIS_TREE --work FOLDER --out atlas_score.tsv

OASIS_TREE has T1 scans and, below derivatives/reference, Neuromorphometrics labels. Scans and
labels come to the 2.8 mm grid of recipe `slice_vae_64`; a segmenter is trained on half of the
people and never sees the others. Of these, scans of one side are spoiled in a known way and scored
against the scans of the other side. Prepared scans and the segmenter stay in FOLDER.

Writes a row a condition; the segmenter's Dice on unseen people is printed first.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.ndimage import affine_transform, gaussian_filter

from genmorph.controls.deformations import (
    affine_displacement,
    deform_volume,
    random_affine,
    random_displacement,
)
from genmorph.metrics.atlas_pairs import FittedSegmenter
from genmorph.metrics.atlas_score import measure_atlas_score
from genmorph.metrics.label_groups import group_labels
from genmorph.metrics.label_overlap import measure_segmenter
from genmorph.metrics.measurement import person
from genmorph.metrics.people_folds import Fold, folds_of_people
from genmorph.models.options.slice_segmenter import SliceSegmenterOptions
from genmorph.models.slice_segmenter import SliceSegmenter
from genmorph.models.slice_segmenter_training import train_segmenter
from genmorph.preprocessing.raw import read_scan
from genmorph.preprocessing.scan import preprocess_image
from genmorph.preprocessing.steps import Registration
from genmorph.preprocessing.volumes import register_volumes
from genmorph.processes import limit_threads
from genmorph.studies import load_spec

GRID = (64, 64, 64)
# small, so that a processor without an accelerator trains it in minutes
OPTIONS = {"channels": (8, 16, 32, 64), "learning_rate": 3e-3, "cross_entropy_weight": 1.0}
FWHM_PER_SIGMA = 2.3548
DARKEST = 0.05  # of a brain's voxels

Spoil = Callable[[np.ndarray, float], np.ndarray]


def main() -> None:
    """Prepare, train, score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder that is kept")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--scans", type=int, default=5, help="of the spoiled side")
    chosen = parser.parse_args()
    limit_threads(1)
    volumes, labels, grid_affine = prepared(chosen.tree, chosen.work)
    fold = folds_of_people([person(scan_id) for scan_id in volumes], folds=2, seed=0)[0]
    segmenter = fitted(volumes, labels, fold, chosen.work, chosen.epochs)
    score = functools.partial(
        measure_atlas_score,
        segmenters=[segmenter],
        register=functools.partial(
            register_volumes, grid_affine=grid_affine, options=Registration()
        ),
        n_generated=chosen.scans,
        seed=0,
    )
    first, second = (
        {scan_id: volume for scan_id, volume in volumes.items() if person(scan_id) in side}
        for side in (fold.first, fold.second)
    )
    rows = []
    voxel_mm = float(np.linalg.norm(grid_affine[:3, 0]))
    for row in conditions(score, first, second, labels, voxel_mm):
        print(
            {
                key: f"{value:.3f}" if isinstance(value, float) else value
                for key, value in row.items()
            }
        )
        rows.append(row)
        pd.DataFrame(rows).to_csv(chosen.out, sep="\t", index=False, float_format="%.4f")


# -- scans, labels, segmenter ----------------------------------------------------------------------


def prepared(
    root: Path, work: Path
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """First scans of all people with their labels, cut to the box that holds them all."""
    work.mkdir(parents=True, exist_ok=True)
    recipe = load_spec("slice_vae").recipe.altered({"resample": {"grid": GRID}})
    grid_affine = np.asarray(recipe.grid_affine())
    volumes, labels = {}, {}
    for path in sorted(root.glob("sub-*/ses-1/anat/*_T1w.nii.gz")):
        name = path.name.removesuffix("_T1w.nii.gz")
        kept = work / f"{name}.npz"
        if not kept.exists():
            done = preprocess_image(read_scan(path), recipe, skull_stripped=True)
            folder = root / "derivatives/reference" / path.parent.relative_to(root)
            file = nib.load(folder / f"{name}_desc-neuromorphometrics_dseg.nii.gz")
            pull = np.linalg.inv(file.affine) @ done.affine @ grid_affine
            grouped = group_labels(np.asarray(file.dataobj), "neuromorphometrics")
            carried = affine_transform(
                grouped, pull[:3, :3], pull[:3, 3], output_shape=recipe.grid, order=0
            )
            np.savez_compressed(kept, volume=done.volume, labels=carried)
        with np.load(kept) as arrays:
            volumes[name], labels[name] = arrays["volume"], arrays["labels"]
    box = common_box(volumes)
    grid_affine[:3, 3] += grid_affine[:3, :3] @ [part.start for part in box]
    return (
        {name: np.ascontiguousarray(volume[box]) for name, volume in volumes.items()},
        {name: np.ascontiguousarray(of_scan[box]) for name, of_scan in labels.items()},
        grid_affine,
    )


def common_box(volumes: Mapping[str, np.ndarray]) -> tuple[slice, ...]:
    """The smallest box with even edges that holds every brain."""
    brain = functools.reduce(np.logical_or, (volume > DARKEST for volume in volumes.values()))
    planes = [
        np.flatnonzero(brain.any(axis=tuple(other for other in range(3) if other != axis)))
        for axis in range(3)
    ]
    return tuple(slice(int(at[0]) // 2 * 2, -(-(int(at[-1]) + 1) // 2) * 2) for at in planes)


def fitted(
    volumes: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    fold: Fold,
    work: Path,
    epochs: int,
) -> FittedSegmenter:
    """The segmenter of a fold, trained unless it lies there, and measured on unseen people."""
    kept = work / "segmenter.safetensors"
    seen = [name for name in volumes if person(name) in fold.seen]
    if kept.exists():
        segmenter = SliceSegmenter.from_bytes(kept.read_bytes())
    else:
        segmenter = train_segmenter(
            {name: volumes[name] for name in seen},
            labels,
            held_out=[name for name in seen if person(name) in fold.selection],
            options=SliceSegmenterOptions(**OPTIONS, epochs=epochs),
            seed=0,
            say=functools.partial(print, flush=True),
        )
        kept.write_bytes(segmenter.to_bytes())
    measured = measure_segmenter(
        segmenter.segment,
        {name: volume for name, volume in volumes.items() if name not in seen},
        labels,
        people_seen=fold.seen,
    )
    for name, value in measured.values.items():
        print(f"{name}: Dice {value:.3f} ± {measured.spread[name]:.3f} on {measured.n}")
    return FittedSegmenter(segmenter.segment, fold.seen, measured.values)


# -- what is done to real scans --------------------------------------------------------------------


def conditions(
    score: Callable[..., object],
    first: Mapping[str, np.ndarray],
    second: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    voxel_mm: float,
) -> Iterator[dict[str, object]]:
    """A row each: scans of the first side, spoiled, against those of the second."""
    shape = next(iter(first.values())).shape
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    matrix_displacement = affine_displacement(random_affine(0), shape, voxel_mm)

    def deformed(volume: np.ndarray, rms_mm: float) -> np.ndarray:
        displacement = random_displacement(volume > DARKEST, voxel_mm, rms_mm, seed=0)
        return deform_volume(volume, displacement, voxel_mm)

    def moved(volume: np.ndarray, times: float) -> np.ndarray:
        return deform_volume(volume, times * matrix_displacement, voxel_mm)

    def blurred(volume: np.ndarray, fwhm_mm: float) -> np.ndarray:
        return gaussian_filter(volume, fwhm_mm / FWHM_PER_SIGMA / voxel_mm)

    def spoiled(spoil: Spoil, dose: float) -> dict[str, np.ndarray]:
        return {name: spoil(volume, dose) for name, volume in first.items()}

    table: list[tuple[str, Spoil, tuple[float, ...]]] = [
        ("deformation, mm rms", deformed, (2, 4, 8)),
        ("random affine", moved, (1,)),
        ("noise, SD", lambda volume, dose: volume + dose * noise, (0.05, 0.1)),
        ("blur, FWHM mm", blurred, (4, 8)),
    ]
    yield row_of("none", 0, "network", score(first, second, n_reference_each=3))
    yield row_of(
        "none", 0, "manual", score(first, second, n_reference_each=3, manual_labels=labels)
    )
    yield row_of("none, one pair a scan", 0, "network", score(first, second, n_reference_each=1))
    for name, spoil, doses in table:
        for dose in doses:
            made = spoiled(spoil, dose)
            yield row_of(name, dose, "network", score(made, second, n_reference_each=1))


def row_of(name: str, dose: float, real_labels: str, found: object) -> dict[str, object]:
    """A measurement as a row."""
    return {
        "condition": name,
        "dose": float(dose),
        "real_labels": real_labels,
        "pairs": found.n["pairs"],
        "failed": found.n["failed_pairs"],
        "SD": found.spread.get("mean", float("nan")),
        **{key: value for key, value in found.values.items() if "held_out" not in key},
    }


if __name__ == "__main__":
    main()
