"""A recipe carried out on a shard with a pool of workers."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.errors import CohortError, ScanError
from genmorph.files import atomic_folder, write_tsv
from genmorph.preprocessing.engines import Engines
from genmorph.preprocessing.gate import QUALITY_COLUMNS
from genmorph.preprocessing.raw import RawFile, parse_scan, read_raw
from genmorph.preprocessing.scan import BUILTIN, ImplausibleResult, preprocess_image
from genmorph.preprocessing.steps import Recipe
from genmorph.preprocessing.transforms import GRID_TO_SCAN, print_matrix
from genmorph.processes import WorkerDied, work_through
from genmorph.store import write_shard

STATUS_COLUMNS = (
    "scan_id",
    "status",
    "reason",
    "row",
    "sha256",
    "raw_sha256",
    "raw_size",
    "skull_stripped",
    "engine",
    *QUALITY_COLUMNS,
    GRID_TO_SCAN,
    "shard_root",
)


@dataclass(frozen=True)
class ScanRow:
    """A scan of a shard: its id, its file, whether the skull is already gone."""

    scan_id: str
    raw: RawFile
    skull_stripped: bool


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


def preprocess_shard(
    scans: Sequence[ScanRow],
    array: Path,
    table: Path,
    mosaics: Path,
    recipe: Recipe,
    *,
    engines: Engines = BUILTIN,
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
    engines : Engines
        Name of the software that carries out the steps.
    workers : int
        Processes. The bytes written do not depend on it.
    numerical_threads : int
        Of each worker.
    say : callable
        Takes a line of progress.
    """
    report, rows, engine_version = (
        ShardReport(),
        [],
        engines.describe(step.step for step in recipe.steps),
    )
    with (
        closing(_outcomes(scans, recipe, engines, workers, numerical_threads)) as outcomes,
        atomic_folder(mosaics) as pictures,
    ):

        def volumes() -> Iterator[tuple[str, np.ndarray]]:
            for scan, outcome in outcomes:
                if isinstance(outcome, str):
                    outcome = _Outcome(reason=outcome, **_hashed(scan.raw))
                rows.append(_row(scan, outcome, engine_version))
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


def one_engine(rows: Iterable[Mapping[str, Any]], *, allow_mixed: bool) -> list[str]:
    """Engines, with their versions, that made the scans of a cohort.

    Parameters
    ----------
    rows : iterable of mapping
        Status rows with `engine` and `shard`.
    allow_mixed : bool

    Raises
    ------
    CohortError
        When there are several and they are not allowed.
    """
    shards: dict[str, set[int]] = {}
    for row in rows:
        shards.setdefault(row["engine"], set()).add(int(row["shard"]))
    if len(shards) > 1 and not allow_mixed:
        made = "; ".join(
            f"{engine} made shards {', '.join(map(str, sorted(numbers)))}"
            for engine, numbers in sorted(shards.items())
        )
        raise CohortError(
            f"one cohort, several engines or versions: {made}",
            "remove the status tables of the shards to make anew, or set "
            "preprocessing.allow_mixed_engines",
        )
    return sorted(shards)


@dataclass(frozen=True)
class _Outcome:
    """What a worker sends back: a volume, or the reason why there is none."""

    volume: np.ndarray | None = None
    reason: str | None = None
    quality: dict[str, float] = field(default_factory=dict)
    mosaic: bytes | None = None  # a PNG
    raw_sha256: str | None = None
    raw_size: int | None = None
    grid_to_scan: np.ndarray | None = None  # (4, 4), where a matrix says it all


def _outcomes(
    scans: Sequence[ScanRow],
    recipe: Recipe,
    engines: Engines,
    workers: int,
    numerical_threads: int,
) -> Iterator[tuple[ScanRow, _Outcome | str]]:
    """Each scan, in order, with its outcome or with what killed its worker.

    Only results that came before their turn are held in memory.
    """
    work = functools.partial(_work, recipe=recipe, engines=engines)
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


def _work(scan: ScanRow, recipe: Recipe, engines: Engines) -> _Outcome:
    """One scan in a worker process: whatever is wrong with it becomes its reason."""
    try:
        raw = read_raw(scan.raw)
    except ScanError as error:
        return _Outcome(reason=_one_line(error.message))
    known = {"raw_sha256": raw.sha256, "raw_size": raw.size}
    try:
        image = parse_scan(raw.content, scan.raw.name)
        done = preprocess_image(image, recipe, skull_stripped=scan.skull_stripped, engines=engines)
    except ImplausibleResult as error:
        return _Outcome(None, _one_line(error.message), error.quality, _png(error.mosaic), **known)
    except ScanError as error:
        return _Outcome(reason=_one_line(error.message), **known)
    except Exception as error:
        # Libraries fail on one scan in ways of their own; the rest of the cohort goes on.
        return _Outcome(reason=_one_line(f"{type(error).__name__}: {error}"), **known)
    matrix = None if done.nonlinear else done.affine
    return _Outcome(
        done.volume, None, done.quality, _png(done.mosaic), grid_to_scan=matrix, **known
    )


def _row(scan: ScanRow, outcome: _Outcome, engine_version: str) -> dict[str, Any]:
    return {
        "scan_id": scan.scan_id,
        "status": "failed" if outcome.volume is None else "ok",
        "reason": outcome.reason,
        "raw_sha256": outcome.raw_sha256,
        "raw_size": outcome.raw_size,
        "skull_stripped": str(scan.skull_stripped).lower(),
        "engine": engine_version,
        **{key: f"{value:.4f}" for key, value in outcome.quality.items()},
        GRID_TO_SCAN: print_matrix(outcome.grid_to_scan),
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
