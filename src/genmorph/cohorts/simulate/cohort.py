"""Simulate a cohort: plan its visits, make them side by side, write one raw tree."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmorph.cohorts.simulate.trees import TREES
from genmorph.errors import CohortError, did_you_mean
from genmorph.files import atomic_folder

if TYPE_CHECKING:
    from genmorph.cohorts.simulate.anatomy import Template
    from genmorph.cohorts.simulate.atlas import LabelAtlas
    from genmorph.cohorts.simulate.person import Visit
    from genmorph.cohorts.simulate.scanner import Scanner
    from genmorph.cohorts.simulate.trees.common import Made

DATA_LABEL = (
    "simulated: mostly warps of one template, which favours template-based models; "
    "no ranking may be read from it"
)
TRUTHS = ("full", "volumes")
FINEST_MM, COARSEST_MM = 0.7, 12.0


def simulate_cohort(
    out: Path | str,
    *,
    layout: str = "bids",
    n: int,
    seed: int,
    resolution_mm: float | None = None,
    truth: str = "full",
    atlas: LabelAtlas | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a raw cohort of whole heads whose anatomy is known, and its truth.

    The raw tree is as the source lays it out; what no source would have lies below
    `derivatives/truth`. The same seed gives the same bytes whatever the number of workers, and
    the first scans of a larger cohort are those of a smaller one.

    Parameters
    ----------
    out : Path
        Folder to make; appears complete, by rename, and replaces an earlier one.
    layout : {'bids', 'adni', 'hcp', 'ukb', 'oasis'}
        Also decides who is scanned (ages, diagnoses, repeats), and how images lie in space.
    n : int
        Number of scans; some people have two, months or years apart.
    seed : int
    resolution_mm : float, optional
        Size of cubic voxels; None takes the source's own.
    truth : {'full', 'volumes'}
        'volumes' writes the truth table without maps.
    atlas : LabelAtlas, optional
        Its regions are carried to each scan.
    workers : int
        Processes that make scans side by side.
    progress : callable, optional
        Called with the number of scans made and `n`, after each scan.

    Raises
    ------
    CohortError
        When an argument is out of range, or a worker process dies.
    GenmorphError
        When a person's warp folds.
    """
    _check(layout, n, resolution_mm, truth, atlas, workers)
    from genmorph.cohorts.simulate.person import plan_visits
    from genmorph.cohorts.simulate.trees.truth import write_truth_tables

    tree = import_module(TREES[layout])
    scanner = tree.SCANNER.at(resolution_mm)
    visits = plan_visits(n, seed, tree.POPULATION)
    with atomic_folder(out) as root:
        make = partial(
            _make_scan,
            root=root,
            layout=layout,
            seed=seed,
            scanner=scanner,
            truth=truth,
            atlas=atlas,
        )
        rows = []
        # closed before the folder goes: after an error no worker may still write into it
        with closing(_map(make, visits, min(workers, n), scanner.resolution_mm, root)) as results:
            for row in results:
                rows.append(row)
                if progress is not None:
                    progress(len(rows), n)
        made = _made(tuple(zip(visits, rows, strict=True)), layout, seed, scanner, truth, atlas)
        tree.write_tables(root, made)
        write_truth_tables(root, made)


def _made(
    scans: tuple[tuple[Visit, dict[str, Any]], ...],
    layout: str,
    seed: int,
    scanner: Scanner,
    truth: str,
    atlas: LabelAtlas | None,
) -> Made:
    """The finished cohort, with what is said of it."""
    from genmorph.cohorts.simulate.trees.common import Made, readme

    description = {
        "Simulated": True,
        "DataLabel": DATA_LABEL,
        "Seed": seed,
        "ResolutionMm": scanner.resolution_mm,
        "Scans": len(scans),
        "Layout": layout,
        "VoxelMm": list(scanner.voxel_mm),
        "Orientation": scanner.orientation,
        "Truth": truth,
    }
    if atlas is not None:
        description["Labels"] = atlas.description()
    cubic = len(set(scanner.voxel_mm)) == 1
    voxels = " x ".join(f"{size:g}" for size in scanner.voxel_mm[: 1 if cubic else 3])
    return Made(scans, seed, description, readme(seed, voxels, DATA_LABEL))


def _check(
    layout: str,
    n: int,
    resolution_mm: float | None,
    truth: str,
    atlas: LabelAtlas | None,
    workers: int,
) -> None:
    for name, value, known in (("layout", layout, TREES), ("truth", truth, TRUTHS)):
        if value not in known:
            raise CohortError(f"simulate: {name} '{value}' is unknown", did_you_mean(value, known))
    if n < 1:
        raise CohortError(f"simulate: n is {n}", "ask for one scan at least")
    if workers < 1:
        raise CohortError(f"simulate: workers is {workers}", "give one worker at least")
    if resolution_mm is not None and not FINEST_MM <= resolution_mm <= COARSEST_MM:
        raise CohortError(
            f"simulate: resolution {resolution_mm:g} mm is out of range",
            f"choose {FINEST_MM:g} to {COARSEST_MM:g} mm",
        )
    if atlas is not None:
        if truth != "full":
            raise CohortError(
                "simulate: a label atlas, but no maps are asked for", "take --truth full"
            )
        atlas.check()


@lru_cache(maxsize=2)
def _template(resolution_mm: float) -> Template:
    from genmorph.cohorts.simulate.anatomy import build_template

    return build_template(resolution_mm)


# -- workers ---------------------------------------------------------------------------------------

_shared: dict[str, Template] = {}  # the template of this worker process


def _map(
    make: Callable[..., dict[str, Any]],
    visits: Sequence[Visit],
    workers: int,
    resolution_mm: float,
    scratch: Path,
) -> Generator[dict[str, Any], None, None]:
    """Rows of the visits in their order, made by `workers` processes.

    The template lies in a folder below `scratch` meanwhile, for all processes to map.
    """
    template = _template(resolution_mm)
    if workers == 1:
        yield from (make(visit, template=template) for visit in visits)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    with tempfile.TemporaryDirectory(prefix=".template-", dir=scratch) as folder:
        template.save(Path(folder))
        # spawn, not fork: a caller that has started threads may not be forked safely
        with ProcessPoolExecutor(
            workers, get_context("spawn"), initializer=_start_worker, initargs=(folder,)
        ) as pool:
            try:
                yield from pool.map(make, visits)
            except BrokenProcessPool:
                raise CohortError(
                    "simulate: a worker process died", "give fewer workers, or more memory"
                ) from None
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(folder: str) -> None:
    from genmorph.cohorts.simulate.anatomy import Template

    _shared["template"] = Template.load(Path(folder))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent is killed would wait for work for ever."""
    from multiprocessing import parent_process

    parent_process().join()
    os._exit(1)


def _make_scan(
    visit: Visit,
    *,
    root: Path,
    layout: str,
    seed: int,
    scanner: Scanner,
    truth: str,
    atlas: LabelAtlas | None,
    template: Template | None = None,
) -> dict[str, Any]:
    """Make and write one scan; its row of the truth table."""
    from genmorph.cohorts.simulate.scan import simulate_scan
    from genmorph.cohorts.simulate.trees.truth import truth_row, write_truth

    tree = import_module(TREES[layout])
    if template is None:
        template = _shared["template"]
    scan = simulate_scan(template, visit, seed=seed, scanner=scanner, atlas=atlas)
    path = tree.write_raw(root, scan, seed)
    write_truth(root, scan, images=truth == "full", atlas=atlas.name if atlas else None)
    return truth_row(scan, path, tree.source_id(visit))
