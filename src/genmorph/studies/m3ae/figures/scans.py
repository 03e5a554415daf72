"""P1's pictures of volumes: preprocessed scans, samples, reconstructions beside their scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genmorph.publish.comparisons import draw_pairs
from genmorph.publish.figures import save_figure, style
from genmorph.publish.slice_grid import slice_grid
from genmorph.publish.views import voxel_sizes
from genmorph.studies.m3ae.figures.common import Files, Values, describe, words_below

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from genmorph.cohorts.manifest import Scan
    from genmorph.store import Store

SHOWN = 6  # volumes of a figure
RECONSTRUCTIONS_SHOWN = 3


def preprocessed(files: Files, values: Values, out: Path) -> None:
    """Scans of different people after preprocessing, from the youngest to the oldest.

    Parameters
    ----------
    files : mapping of str to Path
        `store` (its index.tsv) and `manifest`.
    values : mapping
        `scale`.
    out : Path
        The PNG; the SVG goes beside it.
    """
    from genmorph.cohorts.manifest import read_manifest
    from genmorph.store import Store

    store = Store(files["store"].parent)
    known = [scan for scan in read_manifest(files["manifest"]) if scan.scan_id in store]
    scans = choose_scans(known)
    volumes = [store.read(scan.scan_id) for scan in scans]
    _save_slices(volumes, [describe(scan) for scan in scans], store, values, out)


def samples(files: Files, values: Values, out: Path) -> None:
    """The first samples of a run as they were drawn, none picked; `files` has `samples`."""
    from genmorph.store import Store

    store = Store(files["samples"].parent)
    ids = store.ids[:SHOWN]
    titles = [f"sample {number}" for number in range(1, len(ids) + 1)]
    _save_slices([store.read(scan_id) for scan_id in ids], titles, store, values, out)


def reconstructions(files: Files, values: Values, out: Path) -> None:
    """Held-out scans and what the model makes of them; `files` has `store`, `reconstructions`."""
    from genmorph.store import Store

    original, made = Store(files["store"].parent), Store(files["reconstructions"].parent)
    pairs = [
        (f"test scan {number}", original.read(scan_id), made.read(scan_id))
        for number, scan_id in enumerate(made.ids[:RECONSTRUCTIONS_SHOWN], start=1)
    ]
    with style():
        figure = draw_reconstructions(
            pairs, voxel_mm=voxel_sizes(made.affine), footer=words_below(made, values)
        )
    save_figure(figure, out.with_suffix(""))


def draw_reconstructions(
    pairs: Sequence[tuple[str, np.ndarray, np.ndarray]],
    *,
    voxel_mm: Sequence[float],
    footer: str = "",
) -> Figure:
    """Scans, their reconstructions, and reconstruction minus scan, in three views each.

    Parameters
    ----------
    pairs : sequence of (str, ndarray, ndarray)
        Title, original and reconstruction `[x, y, z]`.
    voxel_mm : sequence of float
    footer : str
    """
    return draw_pairs(
        pairs,
        names=("scan", "reconstruction"),
        subtracted=0,
        voxel_mm=voxel_mm,
        footer=footer,
    )


def choose_scans(scans: Sequence[Scan], shown: int = SHOWN) -> list[Scan]:
    """First scans of different people, spread over their ages; unknown ages come last."""
    first = {scan.participant_id: scan for scan in reversed(scans)}
    people = sorted(
        first.values(),
        key=lambda scan: (scan.age_years is None, scan.age_years or 0.0, scan.scan_id),
    )
    places = np.linspace(0, len(people) - 1, min(shown, len(people)))
    return [people[round(place)] for place in places]


def _save_slices(
    volumes: Sequence[np.ndarray], titles: Sequence[str], store: Store, values: Values, out: Path
) -> None:
    notes = ("Grey from 0 to 1.",)
    with style():
        figure = slice_grid(
            volumes,
            titles,
            voxel_mm=voxel_sizes(store.affine),
            footer=words_below(store, values, notes),
        )
    save_figure(figure, out.with_suffix(""))
