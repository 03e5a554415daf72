"""Dice and the realistic atlas score of brains that were deformed, blurred or made noisy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.controls.deformations import (
    affine_displacement,
    deform_labels,
    deform_volume,
    random_affine,
    random_displacement,
)
from genmorph.controls.groups.distances import falling
from genmorph.controls.made_people import STRUCTURES, Brain, made_people
from genmorph.controls.rows import Curve, Result, Row
from genmorph.metrics.atlas_pairs import FittedSegmenter
from genmorph.metrics.atlas_score import measure_atlas_score
from genmorph.metrics.label_overlap import dice_per_structure, measure_segmenter
from genmorph.models.options.slice_segmenter import SliceSegmenterOptions
from genmorph.preprocessing.steps import Registration
from genmorph.preprocessing.volumes import register_volumes
from genmorph.seeds import derive_seed

VOXEL_MM = 4.0
DEFORMATIONS_MM = (0.0, 1.0, 2.0, 4.0, 8.0)
# 1 mm, a quarter of a voxel, changes less than the choice of pairs does
RAS_DEFORMATIONS_MM = (0.0, 2.0, 4.0, 8.0)
NOISE = (0.0, 0.05, 0.1, 0.2)
BLUR_MM = (0.0, 1.0, 2.0, 4.0)
LABELLED, SELECTION, UNSEEN = 10, 2, 4
ATLASES, TARGETS = 5, 3
AFFINES = 3
AFFINE_TOLERANCE = 0.02
LEAST_HELD_OUT = 0.7
SEGMENTER = SliceSegmenterOptions(
    n_labels=len(STRUCTURES) + 1, channels=(8, 16, 32), epochs=12, learning_rate=5e-3
)
REGISTRATION = Registration(shrink_factors=(2, 1), smoothing_mm=(4.0, 0.0))

Change = Callable[[np.ndarray, int], np.ndarray]


def run(seed: int, workers: int, folder: Path) -> Result:
    """Deform labels; train a segmenter; score generated brains that were changed in known ways."""
    dice = dice_curve(seed)
    segmenter = fit_segmenter(seed)
    atlases, targets = (
        {name: brain.volume for name, brain in made_people(n, seed + part, VOXEL_MM).items()}
        for n, part in ((ATLASES, 2), (TARGETS, 3))
    )
    with pool_map(workers) as run_map:
        score = functools.partial(
            atlas_score, atlases, targets, segmenter=segmenter, seed=seed, run_map=run_map
        )
        bound = score(unchanged)
        deformed = [score(deformer(rms)) for rms in RAS_DEFORMATIONS_MM]
        noisy = [score(noiser(level)) for level in NOISE]
        blurred = [score(blurrer(width)) for width in BLUR_MM]
        moved = [score(mover(number)) for number in range(AFFINES)]
    pairs = f"{ATLASES} x {TARGETS} people"
    rows = (
        Row("Dice of labels falls with each step of a non-affine deformation", "Dice",
            f"{len(DEFORMATIONS_MM)} sizes, {TARGETS} people", falling(dice), 1.0, 1.0),
        Row("segmenter of the atlas score: Dice on people it never saw", "2-D U-Net",
            f"{UNSEEN} people", float(segmenter.held_out_dice["mean"]), LEAST_HELD_OUT, 1.0),
        Row("RAS between real people", "RAS, network's labels", pairs, bound),
        Row("RAS falls with each step of a non-affine deformation", "RAS, network's labels",
            f"{len(RAS_DEFORMATIONS_MM)} sizes, {pairs}", falling(deformed), 1.0, 1.0),
        Row("RAS falls with each step of noise", "RAS, network's labels",
            f"{len(NOISE)} levels, {pairs}", falling(noisy), 1.0, 1.0),
        affine_row(moved, bound, pairs),
        Row("RAS of brains blurred by 4 mm, less that of sharp ones", "RAS, network's labels",
            pairs, blurred[-1] - blurred[0]),
    )  # fmt: skip
    mm = "deformation, mm rms"
    curves = {
        "Dice of deformed labels": Curve(DEFORMATIONS_MM, tuple(dice), mm, "Dice"),
        "RAS of deformed brains": Curve(RAS_DEFORMATIONS_MM, tuple(deformed), mm, "RAS"),
        "RAS of noisy brains": Curve(NOISE, tuple(noisy), "SD of noise", "RAS"),
        "RAS of blurred brains": Curve(BLUR_MM, tuple(blurred), "SD of blur, mm", "RAS"),
    }
    return Result(rows, curves)


# -- Dice ------------------------------------------------------------------------------------------


def dice_curve(seed: int) -> list[float]:
    """Mean Dice of labels with themselves deformed, for each size of the deformation."""
    brains = made_people(TARGETS, seed + 4, VOXEL_MM)
    curve = []
    for rms in DEFORMATIONS_MM:
        of_people = []
        for number, brain in enumerate(brains.values()):
            move = random_displacement(
                brain.labels > 0, VOXEL_MM, rms, derive_seed(seed, "controls", "dice", number)
            )
            moved = deform_labels(brain.labels, move, VOXEL_MM)
            of_people.append(dice_per_structure(moved, brain.labels, STRUCTURES)["mean"])
        curve.append(float(np.mean(of_people)))
    return curve


# -- realistic atlas score -------------------------------------------------------------------------


def fit_segmenter(seed: int) -> FittedSegmenter:
    """Train on labelled people of their own, and measure on others."""
    from genmorph.models.slice_segmenter_training import train_segmenter

    brains = made_people(LABELLED + SELECTION + UNSEEN, seed, VOXEL_MM)
    ids = list(brains)
    seen, unseen = ids[:-UNSEEN], ids[-UNSEEN:]
    volumes, labels = _split(brains)
    trained = train_segmenter(
        {name: volumes[name] for name in seen},
        labels,
        held_out=seen[-SELECTION:],
        options=SEGMENTER,
        seed=seed,
    )
    held_out = measure_segmenter(
        trained.segment,
        {name: volumes[name] for name in unseen},
        labels,
        people_seen=seen,
        structures=STRUCTURES,
    )
    return FittedSegmenter(trained.segment, frozenset(seen), held_out.values, {})


def _split(brains: Mapping[str, Brain]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return (
        {name: brain.volume for name, brain in brains.items()},
        {name: brain.labels for name, brain in brains.items()},
    )


def atlas_score(
    atlases: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    change: Change,
    *,
    segmenter: FittedSegmenter,
    seed: int,
    run_map: Any,
) -> float:
    """RAS of changed brains onto other people; NaN when it is not defined."""
    changed = {
        name: change(volume, number) for number, (name, volume) in enumerate(atlases.items())
    }
    measured = measure_atlas_score(
        changed,
        targets,
        segmenters=[segmenter],
        register=register,
        structures=STRUCTURES,
        n_generated=ATLASES,
        n_reference_each=TARGETS,
        seed=seed,
        run_map=run_map,
    )
    return measured.values.get("mean", float("nan"))


def affine_row(moved: Sequence[float], bound: float, pairs: str) -> Row:
    """Affine transforms change nothing; a score that is not defined fails, as the greatest NaN."""
    return Row(
        "RAS under an affine transform: greatest change",
        "RAS, network's labels",
        f"{len(moved)} transforms, {pairs}",
        float(np.abs(np.subtract(moved, bound)).max()),
        0.0,
        AFFINE_TOLERANCE,
    )


def register(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Affine registration of two brains of the controls' grid."""
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    affine[:3, 3] = -VOXEL_MM * (np.asarray(fixed.shape) - 1) / 2
    return register_volumes(moving, fixed, grid_affine=affine, options=REGISTRATION)


@contextmanager
def pool_map(workers: int) -> Iterator[Any]:
    """`map` over worker processes."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield pool.map


def unchanged(volume: np.ndarray, number: int) -> np.ndarray:
    """A real brain stands for the best that can be generated."""
    return volume


def deformer(rms_mm: float) -> Change:
    """A deformation of this size, of another shape for each brain."""

    def change(volume: np.ndarray, number: int) -> np.ndarray:
        seed = derive_seed(number, "controls", "deformed")
        move = random_displacement(volume > 0, VOXEL_MM, rms_mm, seed)
        return deform_volume(volume, move, VOXEL_MM)

    return change


def mover(transform: int) -> Change:
    """An affine transform, of another kind for each brain."""

    def change(volume: np.ndarray, number: int) -> np.ndarray:
        matrix = random_affine(derive_seed(number, "controls", "affine", transform))
        return deform_volume(volume, affine_displacement(matrix, volume.shape, VOXEL_MM), VOXEL_MM)

    return change


def noiser(level: float) -> Change:
    """Gaussian noise in the brain."""

    def change(volume: np.ndarray, number: int) -> np.ndarray:
        rng = np.random.default_rng(derive_seed(number, "controls", "noise"))
        noisy = volume + level * rng.standard_normal(volume.shape)
        return np.where(volume > 0, np.clip(noisy, 0, 1), 0).astype(np.float32)

    return change


def blurrer(sd_mm: float) -> Change:
    """Gaussian blur."""

    def change(volume: np.ndarray, number: int) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        return gaussian_filter(volume, sd_mm / VOXEL_MM)

    return change
