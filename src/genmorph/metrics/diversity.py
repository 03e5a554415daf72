"""How alike the samples of a model are: SSIM between pairs of them."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import Measurement, counts
from genmorph.metrics.ssim import local_moments, ssim_map, window_settings
from genmorph.seeds import derive_seed


def choose_pairs(n: int, max_pairs: int | None, seed: int) -> list[tuple[int, int]]:
    """All pairs of n volumes, or a random choice of `max_pairs` of them, in order.

    Examples
    --------
    >>> choose_pairs(3, None, 0)
    [(0, 1), (0, 2), (1, 2)]
    """
    pairs = list(itertools.combinations(range(n), 2))
    if max_pairs is None or len(pairs) <= max_pairs:
        return pairs
    generator = np.random.default_rng(derive_seed(seed, "diversity", n))
    chosen = generator.choice(len(pairs), size=max_pairs, replace=False)
    return [pairs[number] for number in sorted(chosen)]


def measure_diversity(
    volumes: Iterable[tuple[str, np.ndarray]],
    *,
    data_range: float = 1.0,
    max_pairs: int | None = None,
    seed: int = 0,
) -> Measurement:
    """SSIM between pairs of volumes: near 1 when a model repeats itself.

    Parameters
    ----------
    volumes : iterable of (str, ndarray)
        Id and volume `[x, y, z]`; all are held in memory.
    data_range : float
    max_pairs : int, optional
        Compare this many pairs, chosen by `seed`; None compares all.
    seed : int

    Returns
    -------
    Measurement
        Values `pairwise_ssim` (mean), `pairwise_ssim_max`, `pairwise_ssim_min`; the spread is
        over pairs. A single volume has no values, and a note says so.

    Raises
    ------
    MeasurementError
        When there is no volume, or grids differ.
    """
    by_id = dict(volumes)
    if not by_id:
        raise MeasurementError("diversity: no volumes")
    settings = {
        "data_range": data_range,
        "max_pairs": max_pairs,
        "seed": seed,
        "spread_over": "pairs",
        **window_settings(next(iter(by_id.values())).shape),
    }
    if len(by_id) == 1:
        reason = "Diversity: n/a for a single volume, as there is no pair to compare."
        return Measurement("diversity", {}, _counts(by_id, pairs=0), settings, notes=(reason,))
    moments = [local_moments(volume) for volume in by_id.values()]
    pairs = choose_pairs(len(moments), max_pairs, seed)
    similarities = [
        float(ssim_map(moments[one], moments[other], data_range=data_range).mean())
        for one, other in pairs
    ]
    return Measurement(
        measure="diversity",
        values={
            "pairwise_ssim": statistics.fmean(similarities),
            "pairwise_ssim_max": max(similarities),
            "pairwise_ssim_min": min(similarities),
        },
        spread={"pairwise_ssim": statistics.stdev(similarities)} if len(pairs) > 1 else {},
        n=_counts(by_id, len(pairs)),
        settings=settings,
    )


def _counts(by_id: Mapping[str, np.ndarray], pairs: int) -> dict[str, int]:
    return {"scans": len(by_id), "pairs": pairs, **counts(generated=list(by_id))}
