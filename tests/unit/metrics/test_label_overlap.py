"""Dice of many labels against a direct count, and a segmenter's Dice on unseen people."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.errors import MeasurementError
from genmorph.metrics.label_overlap import averaged, dice_per_structure, measure_segmenter

STRUCTURES = {1: "one", 2: "two", 5: "five"}


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
def test_dice_equals_a_direct_count(kind):
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 7, (2, 9, 10, 11)).astype(kind)
    found = dice_per_structure(first, second, STRUCTURES)
    for label, name in STRUCTURES.items():
        both = sum(a == label and b == label for a, b in zip(first.flat, second.flat, strict=True))
        either = np.count_nonzero(first == label) + np.count_nonzero(second == label)
        assert found[name] == pytest.approx(2 * both / either, abs=1e-15)
    assert found["mean"] == pytest.approx(np.mean([found[name] for name in STRUCTURES.values()]))


def test_a_structure_of_one_side_scores_0_and_of_neither_is_absent():
    first = np.array([[[0, 1, 1, 2]]], np.uint8)
    second = np.array([[[0, 1, 0, 0]]], np.uint8)
    assert dice_per_structure(first, second, STRUCTURES) == {
        "one": pytest.approx(2 / 3),
        "two": 0.0,
        "mean": pytest.approx(1 / 3),
    }
    assert dice_per_structure(np.zeros_like(first), np.zeros_like(first), STRUCTURES) == {}


def test_the_background_does_not_count():
    first = np.zeros((4, 4, 4), np.uint8)
    second = first.copy()
    first[0, 0, 0], second[3, 3, 3] = 1, 1
    assert dice_per_structure(first, second, STRUCTURES)["mean"] == 0.0


def test_label_maps_of_different_grids_are_refused():
    with pytest.raises(MeasurementError, match="label maps"):
        dice_per_structure(np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), STRUCTURES)


def test_rows_are_averaged_over_those_that_have_a_key():
    mean, spread = averaged([{"a": 1.0, "b": 2.0}, {"a": 3.0}])
    assert mean == {"a": 2.0, "b": 2.0}
    assert spread == {"a": pytest.approx(np.sqrt(2))}


def toy():
    rng = np.random.default_rng(0)
    labels = {f"sub-{n}_ses-1": rng.integers(0, 3, (4, 5, 6)).astype(np.uint8) for n in range(3)}
    volumes = {scan_id: truth.astype(np.float32) for scan_id, truth in labels.items()}
    return volumes, labels


def test_a_segmenter_is_measured_per_scan_and_on_the_mean():
    volumes, labels = toy()

    def misses_two(volume):
        return np.where(volume == 2, 0, volume).astype(np.uint8)

    found = measure_segmenter(
        misses_two, volumes, labels, people_seen={"sub-9"}, structures=STRUCTURES
    )
    assert found.values == {"one": 1.0, "two": 0.0, "mean": 0.5}
    assert set(found.per_scan) == set(volumes)
    assert found.n == {"unseen_scans": 3, "unseen_people": 3}


def test_a_segmenter_is_not_measured_on_people_it_saw():
    volumes, labels = toy()
    with pytest.raises(MeasurementError, match="sub-1"):
        measure_segmenter(lambda v: v, volumes, labels, people_seen={"sub-1"})


def test_what_is_missing_is_named():
    volumes, labels = toy()
    with pytest.raises(MeasurementError, match="no volumes"):
        measure_segmenter(lambda v: v, {}, labels, people_seen=())
    labels.pop("sub-2_ses-1")
    with pytest.raises(MeasurementError, match="no labels of sub-2_ses-1"):
        measure_segmenter(lambda v: v, volumes, labels, people_seen=())
