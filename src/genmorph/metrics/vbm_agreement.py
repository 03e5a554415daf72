"""How well two t-maps agree: voxels, clusters, regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.vbm_statistics import TMap

CONNECTIVITY = {"faces": 1, "faces and edges": 2, "faces, edges and corners": 3}


def clusters(mask: np.ndarray, connectivity: str = "faces and edges") -> tuple[np.ndarray, int]:
    """Connected voxels of a mask: labels from 1 on its grid, and how many there are.

    `faces and edges` (18 neighbours) is what SPM takes.
    """
    from scipy.ndimage import generate_binary_structure, label

    if connectivity not in CONNECTIVITY:
        raise MeasurementError(
            f"VBM: neighbours {connectivity!r}; allowed: {', '.join(CONNECTIVITY)}"
        )
    neighbours = generate_binary_structure(mask.ndim, CONNECTIVITY[connectivity])
    found, number = label(mask, structure=neighbours)
    return found, int(number)


def dice(first: np.ndarray, second: np.ndarray) -> float | None:
    """2 |A ∩ B| / (|A| + |B|) of two masks; None when both are empty."""
    size = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / size if size else None


def cluster_dice(
    first: np.ndarray, second: np.ndarray, connectivity: str = "faces and edges"
) -> float | None:
    """Share of the clusters of two masks that touch a cluster of the other; None without clusters.

    (clusters of A that meet B + clusters of B that meet A) / (clusters of A + clusters of B): the
    Dice coefficient with clusters in the place of voxels, so that a small cluster counts as much as
    a large one.
    """
    met = total = 0
    for mask, other in ((first, second), (second, first)):
        labels, number = clusters(mask, connectivity)
        total += number
        met += len(np.unique(labels[mask & other]))
    return met / total if total else None


def region_means(t_map: TMap, labels: np.ndarray, names: Mapping[int, str]) -> dict[str, float]:
    """Mean t in each region of a label image.

    Parameters
    ----------
    t_map : TMap
    labels : ndarray of int
        On the grid of the map.
    names : mapping of int to str
        Regions looked at.

    Returns
    -------
    dict of str to float
        Over the voxels of the region whose t is defined; a region without any is absent.

    Raises
    ------
    MeasurementError
        When the label image lies on another grid or holds no whole numbers.
    """
    if labels.shape != t_map.mask.shape or labels.dtype.kind not in "iu":
        raise MeasurementError(
            f"VBM: regions {labels.dtype} {labels.shape} for a map {t_map.mask.shape}",
            "give whole numbers on the grid of the map",
        )
    numbers, values = labels[t_map.tested], t_map.t[t_map.tested]
    means = {}
    for number, name in names.items():
        inside = numbers == number
        if inside.any():
            means[name] = float(values[inside].mean())
    return means


def measure_agreement(
    first: TMap,
    second: TMap,
    first_over: np.ndarray,
    second_over: np.ndarray,
    *,
    threshold: Mapping[str, Any],
    regions: tuple[np.ndarray, Mapping[int, str]] | None = None,
    region_source: str = "",
    connectivity: str = "faces and edges",
) -> Measurement:
    """Agreement of two t-maps, say of a difference in real and in generated people.

    Parameters
    ----------
    first, second : TMap
    first_over, second_over : ndarray of bool
        Voxels over each map's threshold, as the functions of `vbm_inference` give them.
    threshold : mapping
        Settings of that threshold.
    regions : (ndarray of int, mapping of int to str), optional
        Label image on the same grid, and the names of its regions.
    region_source : str
        What the label image is, with its licence.
    connectivity : {'faces', 'faces and edges', 'faces, edges and corners'}
        Neighbours within a cluster.

    Returns
    -------
    Measurement
        `correlation` (Pearson, over the voxels both maps define), `dice_voxels` and
        `dice_clusters` of voxels over the threshold in one direction (voxels where one map is
        positive and the other negative do not overlap), and `mean_t_first_REGION`,
        `mean_t_second_REGION`. What is not defined is absent, with a note.

    Raises
    ------
    MeasurementError
        When grids differ, or the maps share no voxel.
    """
    if len({array.shape for array in (first.t, second.t, first_over, second_over)}) > 1:
        raise MeasurementError(f"VBM: maps {first.t.shape} and {second.t.shape} on other grids")
    common = first.tested & second.tested
    if not common.any():
        raise MeasurementError("VBM: the two maps share no voxel")
    values: dict[str, float | None] = {
        "correlation": _correlation(first.t[common], second.t[common])
    }
    values |= _overlaps(first, second, first_over & common, second_over & common, connectivity)
    notes = [f"{name}: not defined ({_WHY[name]})." for name in values if values[name] is None]
    if regions is not None:
        for side, t_map in (("first", first), ("second", second)):
            means = region_means(t_map, *regions)
            values |= {f"mean_t_{side}_{name}": mean for name, mean in means.items()}
            empty = [name for name in regions[1].values() if name not in means]
            if empty:
                notes.append(f"No voxel of the {side} map in {', '.join(empty)}.")
    return Measurement(
        measure="vbm_agreement",
        values={name: value for name, value in values.items() if value is not None},
        n={
            f"{name}_{key}": count
            for name, t_map in (("first", first), ("second", second))
            for key, count in t_map.n.items()
        }
        | {"common_voxels": int(common.sum())},
        settings={
            "voxels": "defined in both maps",
            "threshold": dict(threshold),
            "cluster_neighbours": connectivity,
            "cluster_dice": "share of both maps' clusters that meet one of the other",
            "direction": "voxels of opposite sign do not overlap",
            "regions": region_source,
            "first": first.settings,
            "second": second.settings,
        },
        notes=tuple(notes),
    )


_WHY = {
    "correlation": "a map is constant in the common voxels, or they are fewer than two",
    "dice_voxels": "no voxel of either map is over the threshold",
    "dice_clusters": "no voxel of either map is over the threshold",
}


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _overlaps(
    first: TMap, second: TMap, first_over: np.ndarray, second_over: np.ndarray, connectivity: str
) -> dict[str, float | None]:
    """Dice of voxels and of clusters; positive and negative voxels stand side by side."""
    # a gap between the two halves keeps clusters of opposite sign apart
    gap = np.zeros((1, *first.t.shape[1:]), dtype=bool)
    halves = [
        np.concatenate([over & (t_map.t > 0), gap, over & (t_map.t < 0)])
        for t_map, over in ((first, first_over), (second, second_over))
    ]
    return {"dice_voxels": dice(*halves), "dice_clusters": cluster_dice(*halves, connectivity)}
