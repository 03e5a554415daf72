"""A recipe carried out: on one scan, and on a shard with a pool of workers."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.errors import ScanError
from genmorph.files import atomic_folder, write_tsv
from genmorph.preprocessing.raw import Image, RawFile, parse_scan, read_raw, read_scan
from genmorph.preprocessing.steps import AffineRegistration, Recipe
from genmorph.processes import WorkerDied, work_through
from genmorph.store import write_shard

QUALITY_COLUMNS = (
    "brain_ml",
    "affine_scale",
    "template_overlap",
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
    "skull_stripped",
    *QUALITY_COLUMNS,
    "shard_root",
)


@dataclass(frozen=True)
class ScanRow:
    """A scan of a shard: its id, its file, whether the skull is already gone."""

    scan_id: str
    raw: RawFile
    skull_stripped: bool


@dataclass(frozen=True)
class Preprocessed:
    """A scan on the recipe's grid.

    Attributes
    ----------
    volume : ndarray, float32, shape of the grid
        Intensities in [0, 1]; exactly 0 outside the brain.
    affine : ndarray, shape (4, 4)
        Template's world to the scan's world, millimetres, RAS+.
    quality : dict
        `brain_ml`; `affine_scale`, the registration's change of volume; `template_overlap` (Dice)
        and `template_correlation` inside the brain, both on the grid; coefficient of variation
        inside the brain before and after bias correction.
    mosaic : PIL.Image.Image
    """

    volume: np.ndarray
    affine: np.ndarray
    quality: dict[str, float]
    mosaic: Any


class ImplausibleResult(ScanError):
    """A step went through, but what came out cannot be a brain in place.

    Attributes
    ----------
    quality : dict
        As of `Preprocessed`, as far as it is known.
    mosaic : PIL.Image.Image
        What there is to see.
    """

    def __init__(self, message: str, quality: dict[str, float], mosaic: Any) -> None:
        super().__init__(message)
        self.quality, self.mosaic = quality, mosaic

    def __reduce__(self) -> tuple[type[ImplausibleResult], tuple[Any, ...]]:
        return type(self), (self.message, self.quality, self.mosaic)


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
    return preprocess_image(read_scan(path), recipe, skull_stripped=skull_stripped)


def preprocess_image(raw: Image, recipe: Recipe, *, skull_stripped: bool) -> Preprocessed:
    """Carry out a recipe on an image; see `preprocess_scan`.

    Raises
    ------
    ScanError
        When a step fails; as an `ImplausibleResult` when its result cannot be right.
    """
    from genmorph.preprocessing.engines import builtin
    from genmorph.preprocessing.mosaic import draw_mosaic

    image, mask = raw, _stripped_mask(raw) if skull_stripped else None
    if options := recipe.step("bias_correction"):
        image = builtin.correct_bias(raw, mask, options)
    if mask is None:
        mask = _extract_brain(image, recipe)
    quality = {
        "brain_ml": float(mask.sum() * image.voxel_ml),
        "variation_before": _variation(raw, mask),
        "variation_after": _variation(image, mask),
    }
    if problem := _volume_problem(quality, recipe, skull_stripped):
        raise ImplausibleResult(problem, quality, draw_mosaic(raw, image, mask))
    brain = image.with_data(np.where(mask, image.data, 0.0))
    registration = recipe.step("affine_registration")
    try:
        affine = builtin.register_affine(brain, registration)
    except ScanError as error:
        mosaic = draw_mosaic(raw, image, mask)
        raise ImplausibleResult(error.message, quality, mosaic) from None
    grid_affine, reference = np.asarray(recipe.grid_affine()), _template_on_grid(recipe)
    volume, inside = builtin.resample(brain, mask, affine, recipe.step("resample"), grid_affine)
    quality["affine_scale"] = float(1.0 / np.linalg.det(affine[:3, :3]))
    quality["template_overlap"] = _dice(inside, reference > 0)
    if not inside.any():
        problem = "after registration nothing of the brain is on the grid"
        raise ImplausibleResult(problem, quality, draw_mosaic(raw, image, mask))
    percentiles = recipe.step("intensity_scaling").percentiles
    volume = builtin.scale_intensities(volume, inside, percentiles)
    quality["template_correlation"] = float(np.corrcoef(volume[inside], reference[inside])[0, 1])
    mosaic = draw_mosaic(raw, image, mask, Image(volume, grid_affine), reference > 0)
    if problem := _registration_problem(quality, registration):
        raise ImplausibleResult(problem, quality, mosaic)
    return Preprocessed(volume, affine, quality, mosaic)


def _extract_brain(image: Image, recipe: Recipe) -> np.ndarray:
    from genmorph.preprocessing.engines import builtin

    options = recipe.step("brain_extraction")
    if options is None:
        raise ScanError("has its skull, and the recipe has no brain extraction")
    return builtin.extract_brain(image, options)


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
    numerical_threads: int = 1,
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
        Folder for a PNG per scan, also of those whose result was refused.
    recipe : Recipe
    workers : int
        Processes. The bytes written do not depend on it.
    numerical_threads : int
        Of each worker.
    say : callable
        Takes a line of progress.
    """
    report, rows = ShardReport(), []
    with (
        closing(_outcomes(scans, recipe, workers, numerical_threads)) as outcomes,
        atomic_folder(mosaics) as pictures,
    ):

        def volumes() -> Iterator[tuple[str, np.ndarray]]:
            for scan, outcome in outcomes:
                if isinstance(outcome, str):
                    outcome = _Outcome(reason=outcome, **_hashed(scan.raw))
                rows.append(_row(scan, outcome))
                say(f"{len(rows)}/{len(scans)} {scan.scan_id}: {outcome.reason or 'ok'}")
                if outcome.raw_sha256 is not None:
                    report.raw[scan.scan_id] = (outcome.raw_sha256, outcome.raw_size)
                if outcome.mosaic is not None:
                    (pictures / f"{scan.scan_id}.png").write_bytes(outcome.mosaic)
                if outcome.volume is not None:
                    yield scan.scan_id, outcome.volume

        dtype = recipe.step("intensity_scaling").dtype
        written, root = write_shard(array, volumes(), shape=recipe.grid, dtype=dtype)
    entries = {entry["scan_id"]: entry for entry in written}
    completed = [row | entries.get(row["scan_id"], {}) | {"shard_root": root} for row in rows]
    write_tsv(table, STATUS_COLUMNS, completed)
    report.n_ok, report.n_failed = len(written), len(scans) - len(written)
    return report


@dataclass(frozen=True)
class _Outcome:
    """What a worker sends back: a volume, or the reason why there is none."""

    volume: np.ndarray | None = None
    reason: str | None = None
    quality: dict[str, float] = field(default_factory=dict)
    mosaic: bytes | None = None  # a PNG
    raw_sha256: str | None = None
    raw_size: int | None = None


def _outcomes(
    scans: Sequence[ScanRow], recipe: Recipe, workers: int, numerical_threads: int = 1
) -> Iterator[tuple[ScanRow, _Outcome | str]]:
    """Each scan, in order, with its outcome or with what killed its worker.

    Only results that came before their turn are held in memory.
    """
    work = functools.partial(_work, recipe=recipe)
    early: dict[int, _Outcome | str] = {}
    following = 0
    with closing(
        work_through(work, scans, workers=workers, numerical_threads=numerical_threads)
    ) as outcomes:
        for index, outcome in outcomes:
            early[index] = str(outcome) if isinstance(outcome, WorkerDied) else outcome
            while following in early:
                yield scans[following], early.pop(following)
                following += 1


def _work(scan: ScanRow, recipe: Recipe) -> _Outcome:
    """One scan in a worker process: whatever is wrong with it becomes its reason."""
    try:
        raw = read_raw(scan.raw)
    except ScanError as error:
        return _Outcome(reason=_one_line(error.message))
    known = {"raw_sha256": raw.sha256, "raw_size": raw.size}
    try:
        image = parse_scan(raw.content, scan.raw.name)
        done = preprocess_image(image, recipe, skull_stripped=scan.skull_stripped)
    except ImplausibleResult as error:
        return _Outcome(None, _one_line(error.message), error.quality, _png(error.mosaic), **known)
    except ScanError as error:
        return _Outcome(reason=_one_line(error.message), **known)
    except Exception as error:
        # Libraries fail on one scan in ways of their own; the rest of the cohort goes on.
        return _Outcome(reason=_one_line(f"{type(error).__name__}: {error}"), **known)
    return _Outcome(done.volume, None, done.quality, _png(done.mosaic), **known)


def _row(scan: ScanRow, outcome: _Outcome) -> dict[str, Any]:
    return {
        "scan_id": scan.scan_id,
        "status": "failed" if outcome.volume is None else "ok",
        "reason": outcome.reason,
        "raw_sha256": outcome.raw_sha256,
        "raw_size": outcome.raw_size,
        "skull_stripped": str(scan.skull_stripped).lower(),
        **{key: f"{value:.4f}" for key, value in outcome.quality.items()},
    }


def _hashed(raw: RawFile) -> dict[str, Any]:
    """Hash of a scan whose worker died before it could tell."""
    try:
        found = read_raw(raw)
    except ScanError:
        return {}
    return {"raw_sha256": found.sha256, "raw_size": found.size}


def _png(picture: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _stripped_mask(image: Image) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes(image.data > 0)


def _volume_problem(quality: dict[str, float], recipe: Recipe, skull_stripped: bool) -> str | None:
    options, brain_ml = recipe.step("brain_extraction"), quality["brain_ml"]
    if options is None or options.least_ml <= brain_ml <= options.most_ml:
        return None
    hint = "; was its skull really removed, and is its background 0?" if skull_stripped else ""
    return (
        f"the brain would have {brain_ml:.0f} ml, plausible are {options.least_ml:.0f} to "
        f"{options.most_ml:.0f}{hint}"
    )


def _registration_problem(quality: dict[str, float], options: AffineRegistration) -> str | None:
    scale, overlap = quality["affine_scale"], quality["template_overlap"]
    if not options.least_scale <= scale <= options.most_scale:
        return (
            f"registration scales the brain's volume by {scale:.2f}, plausible are "
            f"{options.least_scale} to {options.most_scale}"
        )
    if overlap < options.least_overlap:
        return (
            f"registered brain and template overlap by {overlap:.2f} (Dice), below "
            f"{options.least_overlap}"
        )
    correlation = quality["template_correlation"]
    if not correlation >= options.least_correlation:  # also when it is not a number
        return (
            f"registered brain and template correlate {correlation:.2f}, below "
            f"{options.least_correlation}"
        )
    return None


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / max(first.sum() + second.sum(), 1))


def _variation(image: Image, mask: np.ndarray) -> float:
    values = image.data[mask]
    return float(values.std() / max(abs(values.mean()), 1e-6)) if values.size else float("nan")
