"""Distances between sets of volumes and features whose true value is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genmorph.controls.rows import Curve, Result, Row
from genmorph.metrics.frechet import extrapolated, frechet_distance
from genmorph.metrics.half_samples import half_samples
from genmorph.metrics.mmd import measure_mmd
from genmorph.metrics.ms_ssim import measure_ms_ssim_reconstruction
from genmorph.seeds import derive_seed

FEATURES = 8
ROWS = (80, 160)  # 10 and 20 rows a feature
COHORTS = 300
DRAWS = 20
SHIFT = 2.0
GREATEST_VARIANCE = 4.0
# of an interval of 95 %, over 300 cohorts and with an SD from 20 draws
LEAST_COVERAGE, MOST_COVERAGE = 0.90, 0.99

GRID = (16, 16, 16)
BATCH, REPEATS = 8, 200
NOISE = 0.05
OFFSET = 0.02


def run(seed: int, workers: int, folder: Path) -> Result:
    """Fréchet distance of Gaussian features, MMD of noise, MS-SSIM of blurred volumes."""
    coverage = [coverage_row(rows, seed) for rows in ROWS]
    similarity, curve = ms_ssim_rows(seed)
    return Result(
        rows=(*coverage, *mmd_rows(seed), *similarity),
        curves={"MS-SSIM of a noisy copy": curve},
    )


def _generator(seed: int, *use: str | int) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "controls", "distances", *use))


# -- Fréchet distance ------------------------------------------------------------------------------


def true_frechet(variances: np.ndarray, shift: float) -> float:
    """Distance of N(0, 1) from a Gaussian with a shifted mean and diagonal variances."""
    return float(shift**2 + np.square(1 - np.sqrt(variances)).sum())


def coverage_row(rows: int, seed: int) -> Row:
    """How often the interval of 1.96 half-sample SD holds the true Fréchet distance."""
    variances = np.linspace(1.0, GREATEST_VARIANCE, FEATURES)
    true = true_frechet(variances, SHIFT)
    held = 0
    for cohort in range(COHORTS):
        rng = _generator(seed, "frechet", rows, cohort)
        first = rng.standard_normal((rows, FEATURES))
        second = rng.standard_normal((rows, FEATURES)) * np.sqrt(variances)
        second[:, 0] += SHIFT
        value, spread = frechet_with_spread(first, second, cohort)
        held += abs(value - true) <= 1.96 * spread
    return Row(
        f"Fréchet distance of known Gaussians: coverage of 95 % intervals, n = {rows}",
        f"extrapolated in n, SD over {DRAWS} half-samples",
        f"{COHORTS} pairs of sets, {FEATURES} features",
        held / COHORTS,
        LEAST_COVERAGE,
        MOST_COVERAGE,
    )


def frechet_with_spread(first: np.ndarray, second: np.ndarray, seed: int) -> tuple[float, float]:
    """Extrapolated distance and its half-sample SD, as `slice_frechet` has them."""

    def distance(rows_a: np.ndarray, rows_b: np.ndarray) -> dict[str, float]:
        return {"frechet": frechet_distance(first[rows_a], second[rows_b])}

    people = [[[row] for row in range(len(side))] for side in (first, second)]
    halves = half_samples(distance, *people, repeats=DRAWS, seed=seed)
    whole = frechet_distance(first, second)
    return extrapolated(whole, halves.mean["frechet"]), halves.spread["frechet"]


# -- MMD -------------------------------------------------------------------------------------------


def noise_volumes(count: int, mean: float, seed: int, name: str) -> dict[str, np.ndarray]:
    """Volumes of independent Gaussian noise around a constant intensity."""
    rng = _generator(seed, "mmd", name)
    return {
        f"{name}-{number}": (mean + NOISE * rng.standard_normal(GRID)).astype(np.float32)
        for number in range(count)
    }


def mmd_rows(seed: int) -> list[Row]:
    """MMD of equal distributions is its floor; a known difference of means adds its square."""
    voxels = math.prod(GRID)
    count = BATCH * REPEATS
    one, other = (noise_volumes(count, 0.5, seed, name) for name in ("one", "other"))
    moved = noise_volumes(count, 0.5 + OFFSET, seed, "moved")
    common = {
        "batch_size": BATCH, "repeats": REPEATS, "natural_log": False, "seed": seed,
        "reference_name": "simulated",
    }  # fmt: skip
    who = f"{REPEATS} batches of {BATCH}"
    equal = measure_mmd(one, other, convention="biased", paired=False, **common).values
    floor = 2 * voxels * NOISE**2 / BATCH
    unbiased = measure_mmd(one, moved, convention="unbiased", paired=False, **common).values["mmd"]
    errors = (0.5 * (volume - 0.5) for volume in other.values())
    rebuilt = {name: volume + next(errors) for name, volume in one.items()}
    paired = measure_mmd(one, rebuilt, convention="biased_per_voxel", paired=True, **common).values
    return [
        Row("MMD of equal distributions over the true floor", "MMD, biased, independent", who,
            equal["mmd"] / floor, 0.99, 1.01),
        Row("MMD's printed floor over the true one", "MMD, biased, independent", who,
            equal["floor"] / floor, 0.99, 1.01),
        Row("MMD of means that differ, over the true difference", "MMD, unbiased", who,
            unbiased / (voxels * OFFSET**2), 0.97, 1.03),
        Row("MMD of pairs with a known difference over its true value", "MMD, per voxel, paired",
            who, paired["mmd"] / (0.25 * NOISE**2 / BATCH), 0.98, 1.02),
    ]  # fmt: skip


# -- MS-SSIM ---------------------------------------------------------------------------------------


def ms_ssim_rows(seed: int) -> tuple[list[Row], Curve]:
    """MS-SSIM is 1 for a copy and falls with noise."""
    from scipy.ndimage import gaussian_filter

    rng = _generator(seed, "ms-ssim")
    volume = gaussian_filter(rng.standard_normal((64, 64, 64)), 3.0)
    volume = ((volume - volume.min()) / np.ptp(volume)).astype(np.float32)
    noise = rng.standard_normal(volume.shape).astype(np.float32)
    levels = (0.0, 0.02, 0.05, 0.1, 0.2)
    rows = []
    for mode in ("wang", "kwon"):
        found = [
            measure_ms_ssim_reconstruction(
                [("volume", volume, np.clip(volume + level * noise, 0, 1))],
                mode=mode,
                data_range=1.0,
            ).values["ms_ssim"]
            for level in levels
        ]
        rows += [
            Row(f"MS-SSIM of a copy, {mode}", f"MS-SSIM, {mode}", "1 pair", found[0], 1 - 1e-6,
                1 + 1e-6),
            Row(f"MS-SSIM falls with each step of noise, {mode}", f"MS-SSIM, {mode}",
                f"{len(levels)} levels", falling(found), 1.0, 1.0),
        ]  # fmt: skip
    return rows, Curve(levels, tuple(found), "SD of noise", "MS-SSIM, kwon")


def falling(values: Sequence[float]) -> float:
    """Share of the steps of a sequence that go down."""
    steps = np.diff(values)
    return float((steps < 0).mean())
