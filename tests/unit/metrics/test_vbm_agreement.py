"""Agreement of t-maps: cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.errors import MeasurementError
from genmorph.metrics.vbm_agreement import (
    cluster_dice,
    clusters,
    dice,
    measure_agreement,
    region_means,
)
from genmorph.metrics.vbm_statistics import TMap

GRID = (6, 4, 3)


def t_map(t):
    t = np.asarray(t, dtype=float)
    return TMap(t, 10.0, t / 5, np.isfinite(t), {"design": "test"}, {"first_scans": 6})


@pytest.fixture
def noise():
    return np.random.default_rng(0).standard_normal(GRID)


def mask_of(*voxels):
    mask = np.zeros(GRID, dtype=bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


@pytest.mark.parametrize(
    ("neighbours", "number"),
    [("faces", 3), ("faces and edges", 2), ("faces, edges and corners", 1)],
)
def test_clusters(neighbours, number):
    """(0,0,0) touches (1,1,0) by an edge, and that touches (2,2,1) by a corner."""
    assert clusters(mask_of((0, 0, 0), (1, 1, 0), (2, 2, 1)), neighbours)[1] == number


def test_dice_by_hand():
    first, second = mask_of((0, 0, 0), (1, 0, 0), (2, 0, 0)), mask_of((2, 0, 0))
    assert dice(first, second) == 2 * 1 / 4
    assert dice(first, first) == 1
    assert dice(first, ~first) == 0
    assert dice(mask_of(), mask_of()) is None


def test_cluster_dice_by_hand():
    # three clusters, of which one large one meets both clusters of the other mask
    first = mask_of((0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 3, 2), (5, 3, 0))
    second = mask_of((0, 0, 0), (2, 0, 0))
    assert cluster_dice(first, second) == (1 + 2) / (3 + 2)
    assert cluster_dice(second, first) == (1 + 2) / (3 + 2)
    assert cluster_dice(mask_of(), mask_of()) is None
    assert cluster_dice(first, mask_of()) == 0


def test_region_means_by_hand(noise):
    noise[0, 0, 0] = np.nan
    labels = np.zeros(GRID, dtype=np.int16)
    labels[0], labels[1] = 4, 9
    found = region_means(t_map(noise), labels, {4: "Hippocampus", 9: "Amygdala", 12: "Pallidum"})
    assert found == {
        "Hippocampus": pytest.approx(np.nanmean(noise[0])),
        "Amygdala": pytest.approx(noise[1].mean()),
    }


def test_agreement(noise):
    other = noise + 0.5 * np.random.default_rng(1).standard_normal(GRID)
    noise[0, 0, 0], other[5, 3, 2] = np.nan, np.nan
    labels = np.ones(GRID, dtype=np.uint8)
    labels[3:] = 2
    found = measure_agreement(
        t_map(noise),
        t_map(other),
        np.abs(noise) > 1,
        np.abs(other) > 1,
        threshold={"level": 0.3},
        regions=(labels, {1: "left", 2: "right", 3: "none"}),
        region_source="made up",
    )
    common = np.isfinite(noise) & np.isfinite(other)
    values = found.values
    assert values["correlation"] == pytest.approx(np.corrcoef(noise[common], other[common])[0, 1])
    # in one direction: over the threshold on the same side of zero
    same = sum((side * noise > 1) & (side * other > 1) for side in (1, -1))[common].sum()
    either = (np.abs(noise) > 1)[common].sum() + (np.abs(other) > 1)[common].sum()
    assert values["dice_voxels"] == pytest.approx(2 * same / either)
    assert values["mean_t_first_left"] == pytest.approx(np.nanmean(noise[:3]))
    assert values["mean_t_second_right"] == pytest.approx(np.nanmean(other[3:]))
    assert found.n["common_voxels"] == 70
    assert found.settings["threshold"] == {"level": 0.3}
    assert found.notes == (
        "No voxel of the first map in none.",
        "No voxel of the second map in none.",
    )


def test_a_map_agrees_with_itself_and_not_with_its_mirror(noise):
    over = np.abs(noise) > 1
    itself = measure_agreement(t_map(noise), t_map(noise), over, over, threshold={}).values
    assert itself == pytest.approx({"correlation": 1, "dice_voxels": 1, "dice_clusters": 1})
    mirror = measure_agreement(t_map(noise), t_map(-noise), over, over, threshold={}).values
    assert mirror == pytest.approx({"correlation": -1, "dice_voxels": 0, "dice_clusters": 0})


def test_clusters_of_opposite_sign_stay_apart():
    """The last plane of the positive half and the first of the negative half do not touch."""
    t = np.zeros(GRID)
    t[-1], t[0] = 3, -3
    over = np.abs(t) > 1
    half = t_map(np.where(t > 0, t, 0.1))
    found = measure_agreement(t_map(t), half, over, t > 1, threshold={})
    assert found.values["dice_clusters"] == pytest.approx((1 + 1) / (2 + 1))


def test_what_is_not_defined_is_absent_with_a_note(noise):
    none = np.zeros(GRID, dtype=bool)
    found = measure_agreement(t_map(noise), t_map(np.ones(GRID)), none, none, threshold={})
    assert found.values == {}
    assert len(found.notes) == 3 and all("not defined" in note for note in found.notes)


def test_bad_input(noise):
    over = np.abs(noise) > 1
    with pytest.raises(MeasurementError, match="on other grids"):
        measure_agreement(t_map(noise), t_map(noise[1:]), over, over[1:], threshold={})
    with pytest.raises(MeasurementError, match="share no voxel"):
        half, rest = noise.copy(), noise.copy()
        half[:3], rest[3:] = np.nan, np.nan
        measure_agreement(t_map(half), t_map(rest), over, over, threshold={})
    with pytest.raises(MeasurementError, match="whole numbers"):
        region_means(t_map(noise), noise, {1: "x"})
    with pytest.raises(MeasurementError, match="neighbours"):
        clusters(over, "edges")
