"""Simulate a cohort: plan its visits, make them side by side, write one raw tree."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmorph.errors import CohortError, did_you_mean
from genmorph.files import atomic_folder

if TYPE_CHECKING:
    from genmorph.cohorts.simulate.anatomy import Template
    from genmorph.cohorts.simulate.person import Visit

DATA_LABEL = (
    "simulated: mostly warps of one template, which favours template-based models; "
    "no ranking may be read from it"
)
LAYOUTS = ("bids",)
FINEST_MM, COARSEST_MM = 0.7, 12.0


def simulate_cohort(
    out: Path | str,
    *,
    layout: str = "bids",
    n: int,
    seed: int,
    resolution_mm: float = 2.0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a raw cohort of whole heads whose anatomy is known.

    The same seed gives the same bytes whatever the number of workers, and the first scans of a
    larger cohort are those of a smaller one.

    Parameters
    ----------
    out : Path
        Folder to make; appears complete, by rename, and replaces an earlier one.
    layout : {'bids'}
    n : int
        Number of scans; about one person in eight has two, one to two years apart.
    seed : int
    resolution_mm : float
        Size of the cubic voxels.
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
    _check(layout, n, resolution_mm, workers)
    from genmorph.cohorts.simulate.person import plan_visits
    from genmorph.cohorts.simulate.tree import write_tables

    visits = plan_visits(n, seed)
    with atomic_folder(out) as root:
        make = partial(_make_scan, root=root, seed=seed, resolution_mm=resolution_mm)
        rows = []
        # closed before the folder goes: after an error no worker may still write into it
        with closing(_map(make, visits, min(workers, n), resolution_mm, root)) as results:
            for row in results:
                rows.append(row)
                if progress is not None:
                    progress(len(rows), n)
        write_tables(
            root, visits, rows, seed=seed, resolution_mm=resolution_mm, data_label=DATA_LABEL
        )


def _check(layout: str, n: int, resolution_mm: float, workers: int) -> None:
    if layout not in LAYOUTS:
        raise CohortError(f"simulate: layout '{layout}' is unknown", did_you_mean(layout, LAYOUTS))
    if n < 1:
        raise CohortError(f"simulate: n is {n}", "ask for one scan at least")
    if workers < 1:
        raise CohortError(f"simulate: workers is {workers}", "give one worker at least")
    if not FINEST_MM <= resolution_mm <= COARSEST_MM:
        raise CohortError(
            f"simulate: resolution {resolution_mm:g} mm is out of range",
            f"choose {FINEST_MM:g} to {COARSEST_MM:g} mm",
        )


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
    seed: int,
    resolution_mm: float,
    template: Template | None = None,
) -> dict[str, Any]:
    from genmorph.cohorts.simulate.scan import simulate_scan
    from genmorph.cohorts.simulate.tree import write_scan

    if template is None:
        template = _shared["template"]
    scan = simulate_scan(template, visit, seed=seed, resolution_mm=resolution_mm)
    return write_scan(root, scan)
