"""A recipe carried out: on one scan, and on a shard with a pool of workers."""

from __future__ import annotations

import functools
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.errors import ScanError
from genmorph.files import atomic_folder, sha256_file, write_tsv
from genmorph.preprocessing.raw import Image, read_scan
from genmorph.preprocessing.steps import Recipe
from genmorph.processes import die_with_parent, limit_threads
from genmorph.store import write_shard

QUALITY_COLUMNS = (
    "brain_ml",
    "affine_scale",
    "template_correlation",
    "variation_before",
    "variation_after",
)
STATUS_COLUMNS = (
    "scan_id",
    "status",
    "reason",
    "row",
    "sha256",
    "raw_sha256",
    "raw_size",
    *QUALITY_COLUMNS,
    "shard_root",
)


@dataclass(frozen=True)
class ScanRow:
    """A scan of a shard: its id, its file, whether the skull is already gone."""

    scan_id: str
    path: Path
    skull_stripped: bool


@dataclass(frozen=True)
class Preprocessed:
    """A scan on the recipe's grid.

    Attributes
    ----------
    volume : ndarray, float32, shape of the grid
        Intensities in [0, 1]; exactly 0 outside the brain.
    quality : dict
        Brain volume (ml), volume scaling of the affine, correlation with the template, coefficient
        of variation inside the brain before and after bias correction.
    mosaic : PIL.Image.Image
    """

    volume: np.ndarray
    quality: dict[str, float]
    mosaic: Any


@dataclass
class ShardReport:
    """What became of a shard.

    Attributes
    ----------
    n_ok, n_failed : int
    raw : dict
        SHA-256 and size of each raw scan that could be read, by scan id.
    """

    n_ok: int = 0
    n_failed: int = 0
    raw: dict[str, tuple[str, int]] = field(default_factory=dict)


def preprocess_scan(path: Path, recipe: Recipe, *, skull_stripped: bool) -> Preprocessed:
    """Carry out a recipe on one scan.

    Parameters
    ----------
    path : Path
        NIfTI file.
    recipe : Recipe
    skull_stripped : bool
        Brain extraction is skipped: what is above 0, holes filled, is the brain.

    Raises
    ------
    ScanError
        When the scan cannot be used, or a result is implausible.
    """
    from genmorph.preprocessing.engines import builtin
    from genmorph.preprocessing.mosaic import draw_mosaic

    raw = read_scan(path)
    image, mask = raw, _stripped_mask(raw) if skull_stripped else None
    if options := recipe.step("bias_correction"):
        image = builtin.correct_bias(raw, mask, options)
    if options := recipe.step("brain_extraction"):
        if mask is None:
            mask = builtin.extract_brain(image, options)
        _check_volume(mask, image, options.least_ml, options.most_ml)
    if mask is None:
        raise ScanError(f"{path.name}: has its skull, and the recipe has no brain extraction")
    brain = image.with_data(np.where(mask, image.data, 0.0))
    registration = recipe.step("affine_registration")
    affine = builtin.register_affine(brain, registration)
    grid_affine = np.asarray(recipe.grid_affine())
    options = recipe.step("resample")
    volume, inside = builtin.resample(brain, mask, affine, options, grid_affine)
    if not inside.any():
        raise ScanError(f"{path.name}: after registration nothing of the brain is on the grid")
    scaling = recipe.step("intensity_scaling")
    volume = builtin.scale_intensities(volume, inside, scaling.percentiles)
    reference = _template_on_grid(recipe)
    quality = {
        "brain_ml": float(mask.sum() * image.voxel_ml),
        "affine_scale": float(1.0 / np.linalg.det(affine[:3, :3])),
        "template_correlation": float(np.corrcoef(volume[inside], reference[inside])[0, 1]),
        "variation_before": _variation(raw, mask),
        "variation_after": _variation(image, mask),
    }
    _check_registration(quality, registration)
    mosaic = draw_mosaic(raw, image, mask, Image(volume, grid_affine), reference > 0)
    return Preprocessed(volume, quality, mosaic)


@functools.cache
def _template_on_grid(recipe: Recipe) -> np.ndarray:
    from genmorph.preprocessing.engines import builtin

    image, identity = builtin.template(), np.eye(4)
    options, grid_affine = recipe.step("resample"), np.asarray(recipe.grid_affine())
    volume, _ = builtin.resample(image, image.data > 0, identity, options, grid_affine)
    return volume


def preprocess_shard(
    scans: Sequence[ScanRow],
    array: Path,
    table: Path,
    mosaics: Path,
    recipe: Recipe,
    *,
    workers: int = 1,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> ShardReport:
    """Carry out a recipe on the scans of a shard; a scan that fails is a row with its reason.

    Parameters
    ----------
    scans : sequence of ScanRow
    array : Path
        `shard-0003.zarr` to write; it holds the scans that succeeded, in order.
    table : Path
        Status table to write, last of all: who sees it sees a whole shard.
    mosaics : Path
        Folder for a PNG per scan.
    recipe : Recipe
    workers : int
        Processes, one numerical thread each. The bytes written do not depend on it.
    say : callable
        Takes a line of progress.
    """
    report, rows, done = ShardReport(), {}, {}
    with atomic_folder(mosaics) as pictures:
        for count, (scan, outcome) in enumerate(_outcomes(scans, recipe, workers), start=1):
            row = {"scan_id": scan.scan_id, "status": "ok"}
            if scan.path.is_file():
                raw = (sha256_file(scan.path), scan.path.stat().st_size)
                report.raw[scan.scan_id] = raw
                row |= {"raw_sha256": raw[0], "raw_size": raw[1]}
            if isinstance(outcome, Preprocessed):
                done[scan.scan_id] = outcome.volume
                outcome.mosaic.save(pictures / f"{scan.scan_id}.png")
                row |= {key: f"{value:.4f}" for key, value in outcome.quality.items()}
                report.n_ok += 1
            else:
                row |= {"status": "failed", "reason": outcome}
                report.n_failed += 1
            rows[scan.scan_id] = row
            say(f"{count}/{len(scans)} {scan.scan_id}: {row.get('reason', 'ok')}")
    volumes = ((scan.scan_id, done[scan.scan_id]) for scan in scans if scan.scan_id in done)
    dtype = recipe.step("intensity_scaling").dtype
    written, root = write_shard(array, volumes, shape=recipe.grid, dtype=dtype)
    for entry in written:
        rows[entry["scan_id"]] |= entry
    ordered = [rows[scan.scan_id] | {"shard_root": root} for scan in scans]
    write_tsv(table, STATUS_COLUMNS, ordered)
    return report


def _outcomes(
    scans: Sequence[ScanRow], recipe: Recipe, workers: int
) -> Iterator[tuple[ScanRow, Preprocessed | str]]:
    """Each scan with its result or the reason why there is none, as they come.

    A worker that dies takes its pool with it: the scans that were under way are then tried one by
    one, each in a pool of its own, so that only the deadly one is lost.
    """
    suspects = []
    with _pool(workers) as pool:
        running = {pool.submit(_work, scan, recipe): scan for scan in scans}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                scan = running.pop(future)
                try:
                    yield scan, _result(future)
                except BrokenProcessPool:
                    suspects.append(scan)
    for scan in sorted(suspects, key=lambda scan: scan.scan_id):
        with _pool(1) as pool:
            try:
                yield scan, _result(pool.submit(_work, scan, recipe))
            except BrokenProcessPool:
                yield scan, "the worker process died (killed, or out of memory)"


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: libraries with threads of their own do not survive a fork.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    die_with_parent()
    limit_threads(1)
    import SimpleITK as sitk
    import torch

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    torch.set_num_threads(1)


def _work(scan: ScanRow, recipe: Recipe) -> Preprocessed:
    return preprocess_scan(scan.path, recipe, skull_stripped=scan.skull_stripped)


def _result(future: Future[Preprocessed]) -> Preprocessed | str:
    try:
        return future.result()
    except BrokenProcessPool:
        raise
    except ScanError as error:
        return error.message
    except Exception as error:
        # Libraries fail on one scan in ways of their own; the rest of the cohort goes on.
        return f"{type(error).__name__}: {error}".replace("\n", " ").replace("\t", " ")


def _stripped_mask(image: Image) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes(image.data > 0)


def _check_volume(mask: np.ndarray, image: Image, least_ml: float, most_ml: float) -> None:
    brain_ml = mask.sum() * image.voxel_ml
    if not least_ml <= brain_ml <= most_ml:
        raise ScanError(
            f"the brain would have {brain_ml:.0f} ml, plausible are {least_ml:.0f} to {most_ml:.0f}"
        )


def _check_registration(quality: dict[str, float], options: Any) -> None:
    scale = quality["affine_scale"]
    if not options.least_scale <= scale <= options.most_scale:
        raise ScanError(f"registration scales the brain's volume by {scale:.2f}")
    if quality["template_correlation"] < options.least_correlation:
        raise ScanError(
            f"registered brain and template correlate {quality['template_correlation']:.2f}, "
            f"below {options.least_correlation}"
        )


def _variation(image: Image, mask: np.ndarray) -> float:
    values = image.data[mask]
    return float(values.std() / max(abs(values.mean()), 1e-6))
