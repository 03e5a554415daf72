"""MS-SSIM as a measure: how alike the samples of a model are, and how true its reconstructions.

The two definitions stand in `multiscale_ssim`. P2 (table 1) and P5 (table 1) report the mean over
pairs of generated volumes, P3 (appendix table) that between scans and their reconstructions.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.diversity import choose_pairs
from genmorph.metrics.measurement import Measurement, counts, person
from genmorph.metrics.multiscale_ssim import (
    Definition,
    Mode,
    ScaleMoments,
    definition,
    ms_ssim,
    scale_moments,
)
from genmorph.metrics.volumes import checked_volume, constant_note, is_constant

VOLUMES_IN_MEMORY = 8


def measure_ms_ssim(
    volumes: Mapping[str, np.ndarray],
    *,
    mode: Mode,
    data_range: float,
    intensity_range: tuple[float, float] = (0.0, 1.0),
    coarsest_power: int | None = None,
    max_pairs: int | None = None,
    seed: int = 0,
    volumes_in_memory: int = VOLUMES_IN_MEMORY,
) -> Measurement:
    """MS-SSIM between pairs of volumes: near 1 when a model repeats itself.

    What P2 and P3 report is `mode='kwon'`, `data_range=1`, `intensity_range=(-1, 1)`.

    Parameters
    ----------
    volumes : mapping of str to ndarray
        Volumes `[x, y, z]` in [0, 1] by id; read when needed, some of them more than once.
    mode : {'wang', 'kwon'}
    data_range, intensity_range, coarsest_power
        As `multiscale_ssim.definition` takes them.
    max_pairs : int, optional
        Compare this many pairs, chosen by `seed`; None compares all.
    seed : int
    volumes_in_memory : int
        At least 2. Volumes whose moments are held at a time, each about 3.4 times its volume in
        float32. It does not change the values, and with more of them fewer are read twice.

    Returns
    -------
    Measurement
        Values `ms_ssim` (mean), `ms_ssim_max`, `ms_ssim_min`; the spread is over pairs, which are
        not independent as a volume is in many. No values, with a note, for a single volume or
        where the value of a pair is not defined.

    Raises
    ------
    MeasurementError
        When there is no volume, grids or intensity ranges differ, a voxel is not finite, or the
        definition does not exist on the grid.
    """
    ids = list(volumes)
    if not ids:
        raise MeasurementError("MS-SSIM: no volumes")
    if max_pairs is not None and max_pairs < 1:
        raise MeasurementError(f"MS-SSIM: {max_pairs} pairs", "compare at least one pair")
    if volumes_in_memory < 2:
        raise MeasurementError(
            f"MS-SSIM: {volumes_in_memory} volumes in memory", "a pair needs two"
        )
    how = definition(
        np.shape(volumes[ids[0]]),
        mode=mode,
        data_range=data_range,
        intensity_range=intensity_range,
        coarsest_power=coarsest_power,
    )
    pairs = choose_pairs(len(ids), max_pairs, seed)
    settings = {
        **how.settings,
        "compared": "pairs of volumes",
        "max_pairs": max_pairs,
        "choice": "all pairs, or a random choice without replacement",
        "seed": seed,
        "spread_over": "pairs",
    }
    n = {"scans": len(ids), "pairs": len(pairs), **counts(generated=ids)}
    if not pairs:
        reason = "MS-SSIM: n/a for a single volume, as there is no pair to compare."
        return Measurement("ms_ssim", {}, n, settings, notes=(reason,))
    constant: set[str] = set()
    found = list(_similarities(volumes, ids, pairs, how, volumes_in_memory, constant))
    within = sum(
        person(ids[one]) is not None and person(ids[one]) == person(ids[other])
        for one, other in pairs
    )
    notes = [*_definition_notes(how), *constant_note("MS-SSIM", sorted(constant))]
    if within:
        notes.append(
            f"MS-SSIM: {within} of {len(pairs)} pairs are two scans of one person, "
            "which are more alike than people are."
        )
    undefined = sum(map(math.isnan, found))
    if undefined:
        notes.append(_undefined_note(f"{undefined} of {len(pairs)} pairs"))
        return Measurement("ms_ssim", {}, n, settings, notes=tuple(notes))
    return Measurement(
        measure="ms_ssim",
        values={
            "ms_ssim": statistics.fmean(found),
            "ms_ssim_max": max(found),
            "ms_ssim_min": min(found),
        },
        spread={"ms_ssim": statistics.stdev(found)} if len(found) > 1 else {},
        n=n,
        settings=settings,
        notes=tuple(notes),
    )


def measure_ms_ssim_reconstruction(
    pairs: Iterable[tuple[str, np.ndarray, np.ndarray]],
    *,
    mode: Mode,
    data_range: float,
    intensity_range: tuple[float, float] = (0.0, 1.0),
    coarsest_power: int | None = None,
) -> Measurement:
    """MS-SSIM between scans and their reconstructions: mean and SD over scans (P3).

    Parameters
    ----------
    pairs : iterable of (str, ndarray, ndarray)
        Scan id, original and reconstruction `[x, y, z]` in [0, 1]; read once, one at a time.
    mode : {'wang', 'kwon'}
    data_range, intensity_range, coarsest_power
        As `multiscale_ssim.definition` takes them.

    Returns
    -------
    Measurement
        Value `ms_ssim`, each scan's own in `per_scan`. Where that of a scan is not defined it is
        absent there, the mean is absent too, and a note names the scan.

    Raises
    ------
    MeasurementError
        When there are no pairs, grids or intensity ranges differ, a voxel is not finite, or the
        definition does not exist on the grid. The scan is named.
    """
    how: Definition | None = None
    found: dict[str, float] = {}
    constant: set[str] = set()
    for scan_id, original, reconstruction in pairs:
        if how is None:
            how = definition(
                np.shape(original),
                mode=mode,
                data_range=data_range,
                intensity_range=intensity_range,
                coarsest_power=coarsest_power,
            )
        sides = {scan_id: original, f"reconstruction of {scan_id}": reconstruction}
        moments = [_moments(name, side, how, constant) for name, side in sides.items()]
        found[scan_id] = ms_ssim(*moments, how)
    if how is None:
        raise MeasurementError("MS-SSIM: no pairs of volumes")
    defined = {scan_id: value for scan_id, value in found.items() if not math.isnan(value)}
    undefined = [scan_id for scan_id in found if scan_id not in defined]
    notes = [*_definition_notes(how), *constant_note("MS-SSIM", sorted(constant))]
    if undefined:
        notes.append(_undefined_note(", ".join(undefined)))
    whole = not undefined
    return Measurement(
        measure="ms_ssim_reconstruction",
        values={"ms_ssim": statistics.fmean(found.values())} if whole else {},
        spread={"ms_ssim": statistics.stdev(found.values())} if whole and len(found) > 1 else {},
        n={"scans": len(found), **counts(reference=list(found))},
        settings={
            **how.settings,
            "compared": "scans with their reconstructions",
            "average": "mean over scans of each scan's value",
            "spread_over": "scans",
        },
        notes=tuple(notes),
        per_scan={scan_id: {"ms_ssim": value} for scan_id, value in defined.items()},
    )


def _similarities(
    volumes: Mapping[str, np.ndarray],
    ids: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    how: Definition,
    volumes_in_memory: int,
    constant: set[str],
) -> Iterator[float]:
    """Values of the pairs, in an order that reads few volumes twice.

    The volumes are cut into blocks of half of what memory may hold, and pairs are taken block
    against block.
    """
    block = volumes_in_memory // 2
    held: dict[int, tuple[ScaleMoments, ...]] = {}

    def blocks_of(pair: tuple[int, int]) -> tuple[int, int]:
        return pair[0] // block, pair[1] // block

    for blocks, some in itertools.groupby(sorted(pairs, key=blocks_of), key=blocks_of):
        held = {number: moments for number, moments in held.items() if number // block in blocks}
        for pair in some:
            for number in pair:
                if number not in held:
                    name = ids[number]
                    held[number] = _moments(name, volumes[name], how, constant)
            yield ms_ssim(held[pair[0]], held[pair[1]], how)


def _moments(
    name: str, volume: np.ndarray, how: Definition, constant: set[str]
) -> tuple[ScaleMoments, ...]:
    """Moments of a volume that was checked; one that is constant is added to `constant`."""
    volume = checked_volume("MS-SSIM", name, volume, how.shape)
    if is_constant(volume):
        constant.add(name)
    return scale_moments(volume, how)


def _definition_notes(how: Definition) -> Iterator[str]:
    low, high = how.intensity_range
    if how.data_range != high - low:
        yield (
            f"MS-SSIM: constants of a data range of {how.data_range:g} on intensities that span "
            f"{high - low:g}."
        )


def _undefined_note(which: str) -> str:
    return (
        f"MS-SSIM: not defined for {which}, as the mean of a term is negative and has no "
        "fractional power in mode kwon; mode wang counts it as zero."
    )
