"""The realistic atlas score on phantoms whose labels are known at every point."""

from __future__ import annotations

import functools
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from genmorph.errors import MeasurementError, ScanError
from genmorph.metrics.atlas_pairs import FittedSegmenter, choose_pairs
from genmorph.metrics.atlas_score import carry_labels, measure_atlas_score
from genmorph.metrics.label_overlap import dice_per_structure
from genmorph.preprocessing.steps import Registration
from genmorph.preprocessing.volumes import register_volumes

VOXEL_MM = 2.5
SHAPE = (62, 70, 62)
GRID = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
COARSE = Registration(
    resolution_mm=5.0, shrink_factors=(2, 1), smoothing_mm=(5.0, 2.5), sampling_fraction=0.3
)
CENTRE_MM = VOXEL_MM * (np.array(SHAPE) - 1) / 2
# centre (from the middle) and radii in mm, intensity; a later structure lies upon earlier ones
ELLIPSOIDS = {
    "brain": ((0, 0, 0), (60, 72, 56), 0.5),
    "front": ((4, 40, 10), (24, 18, 22), 0.8),
    "left": ((-30, -5, 4), (16, 30, 18), 0.65),
    "right": ((28, -10, -6), (18, 26, 20), 0.95),
    "low": ((2, -35, -20), (22, 20, 18), 0.35),
}
STRUCTURES = dict(enumerate(ELLIPSOIDS, start=1))
INTENSITIES = np.array([0.0, *(entry[2] for entry in ELLIPSOIDS.values())])


def displacement(points: np.ndarray) -> np.ndarray:
    """A smooth displacement `[n, 3]` of 1 mm rms that no affine transform comes near."""
    rng = np.random.default_rng(7)
    waves = rng.normal(0, 2 * np.pi / 60, (12, 3))
    field = np.cos(points @ waves.T + rng.uniform(0, 2 * np.pi, 12)) @ rng.normal(size=(12, 3))
    return field / np.sqrt(np.square(field).sum(1).mean())


def labels_at(dose_mm: float, affine: np.ndarray | None = None) -> np.ndarray:
    """Labels of the phantom, deformed, then moved by an affine (mm, about its middle)."""
    points = VOXEL_MM * np.argwhere(np.ones(SHAPE)) - CENTRE_MM
    if affine is not None:
        points = points @ affine[:3, :3].T + affine[:3, 3]
    points = points + dose_mm * displacement(points)
    labels = np.zeros(len(points), np.uint8)
    for label, (centre, radii, _) in enumerate(ELLIPSOIDS.values(), start=1):
        labels[(np.square((points - centre) / np.array(radii)).sum(1)) < 1] = label
    return labels.reshape(SHAPE)


def as_volume(labels: np.ndarray) -> np.ndarray:
    return INTENSITIES[labels].astype(np.float32)


def segment(volume: np.ndarray) -> np.ndarray:
    """What no network can do: the labels that made the volume."""
    return np.abs(volume[..., None] - INTENSITIES).argmin(-1).astype(np.uint8)


def segmenter(people=(), dice=1.0, **how) -> FittedSegmenter:
    return FittedSegmenter(
        how.get("segment", segment), frozenset(people), {"mean": dice, "brain": dice}
    )


register = functools.partial(register_volumes, grid_affine=GRID, options=COARSE)


def stay(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    return np.eye(4)


def score(generated, reference, **how):
    how = {"segmenters": [segmenter()], "register": stay, "structures": STRUCTURES} | how
    return measure_atlas_score(generated, reference, **how)


AFFINE = np.eye(4)
AFFINE[:3, :3] = Rotation.from_euler("xyz", (8, -5, 6), degrees=True).as_matrix()
AFFINE[:3, :3] @= np.diag([1.07, 0.94, 1.03])
AFFINE[:3, 3] = 6.0, -5.0, 4.0


@pytest.fixture(scope="module")
def by_dose():
    real = {"sub-1": as_volume(labels_at(0.0))}
    return {
        (dose, moved): score(
            {"sample-0": as_volume(labels_at(dose, AFFINE if moved else None))},
            real,
            register=register,
        ).values["mean"]
        for dose, moved in [(0, False), (4, False), (8, False), (4, True), (8, True)]
    }


def test_the_score_falls_with_deformation(by_dose):
    means = [by_dose[dose, False] for dose in (0, 4, 8)]
    assert means[0] > 0.98
    assert all(before - after > 0.05 for before, after in itertools.pairwise(means))


@pytest.mark.parametrize("dose", [4, 8])
def test_the_score_does_not_see_an_affine_transform(by_dose, dose):
    assert by_dose[dose, True] == pytest.approx(by_dose[dose, False], abs=0.02)


def test_without_registration_an_affine_transform_would_be_seen(by_dose):
    moved = {"sample-0": as_volume(labels_at(4, AFFINE))}
    unregistered = score(moved, {"sub-1": as_volume(labels_at(0.0))}).values["mean"]
    assert unregistered < by_dose[4, True] - 0.1


# -- small volumes, registrations that are given ---------------------------------------------------

SMALL = {1: "brain", 2: "front", 3: "left"}
LEVELS = np.array([0.0, 0.3, 0.6, 0.9])


def small(seed: int) -> np.ndarray:
    """A volume whose intensities are its labels, more or less alike from seed to seed."""
    labels = np.zeros((10, 12, 11), np.uint8)
    labels[2:8, 2:10, 2:9] = 1
    labels[3:5, 3:6, 3:6] = 2
    labels[5:7, 6:9, 5:8] = 3
    rng = np.random.default_rng(seed)
    spoiled = rng.random(labels.shape) < 0.02 * seed
    labels[spoiled] = rng.integers(1, 4, spoiled.sum())
    return LEVELS[labels].astype(np.float32)


def by_level(volume: np.ndarray) -> np.ndarray:
    return np.abs(volume[..., None] - LEVELS).argmin(-1).astype(np.uint8)


def quick(generated, reference, **how):
    how = {"segmenters": [segmenter(segment=by_level)], "structures": SMALL} | how
    return score(generated, reference, **how)


def made(n: int) -> dict[str, np.ndarray]:
    return {f"sample-{number}": small(number + 1) for number in range(n)}


def people(numbers) -> dict[str, np.ndarray]:
    return {f"sub-{number:02d}_ses-1": small(number % 5) for number in numbers}


def test_values_are_means_over_pairs_and_each_pair_is_kept():
    generated, reference = made(3), people([1, 2])
    found = quick(generated, reference)
    expected = {
        f"{a} on {b}": dice_per_structure(by_level(x), by_level(y), SMALL)
        for a, x in generated.items()
        for b, y in reference.items()
    }
    assert found.per_scan == expected
    rows = list(expected.values())
    for name in (*SMALL.values(), "mean"):
        assert found.values[name] == pytest.approx(np.mean([row[name] for row in rows]))
        assert found.spread[name] == pytest.approx(np.std([row[name] for row in rows], ddof=1))
    assert found.n == {
        "generated_scans": 3,
        "reference_scans": 2,
        "reference_people": 2,
        "pairs": 6,
        "scored_pairs": 6,
        "failed_pairs": 0,
        "scored_structures": 3,
    }
    assert found.settings["real_labels"] == "network"
    assert found.settings["spread_over"].startswith("pairs")
    assert found.values["segmenter_held_out_dice"] == 1.0
    assert found.notes == ()


def test_labels_are_carried_by_nearest_neighbour_and_end_with_the_grid():
    labels = by_level(small(3))
    shift = np.eye(4)
    shift[0, 3] = 2.4  # fixed voxel i shows moving voxel i + 2
    carried = carry_labels(labels, shift)
    np.testing.assert_array_equal(carried[:-2], labels[2:])
    assert not carried[-2:].any() and carried.dtype == np.uint8


def test_a_registration_that_fails_is_counted_and_named():
    generated, reference = made(3), people([1, 2])
    bad = generated["sample-1"]

    def fails_on_one(moving, fixed):
        if np.array_equal(moving, bad):
            raise ScanError("no way found")
        return np.eye(4)

    found = quick(generated, reference, register=fails_on_one)
    kept = quick(_without(generated, "sample-1"), reference)
    assert {key: found.n[key] for key in ("pairs", "scored_pairs", "failed_pairs")} == {
        "pairs": 6,
        "scored_pairs": 4,
        "failed_pairs": 2,
    }
    assert found.values == kept.values
    named = [note for note in found.notes if "no way found" in note]
    assert len(named) == 2 and all("sample-1 on sub-0" in note for note in named)


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        (np.full((4, 4), np.nan), "no finite transform"),
        (np.eye(3), "no finite transform"),
        (np.array([[1, 0, 0, 99.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "off the grid"),
    ],
)
def test_a_transform_that_cannot_be_is_a_failure(matrix, reason):
    found = quick(made(1), people([1]), register=lambda moving, fixed: matrix)
    assert found.n["failed_pairs"] == 1 and "mean" not in found.values
    assert any(reason in note for note in found.notes)
    assert any("all 1 pairs failed" in note for note in found.notes)


def test_a_generated_volume_that_cannot_be_segmented_is_a_failure():
    generated = made(2) | {"sample-9": np.zeros((10, 12, 11), np.float32)}
    found = quick(generated, people([1]))
    assert found.n["failed_pairs"] == 1 and found.n["scored_pairs"] == 2
    assert any("sample-9 on sub-01_ses-1" in note and "constant" in note for note in found.notes)


def test_a_brain_without_any_structure_scores_0():
    blank = segmenter(segment=lambda volume: np.zeros(volume.shape, np.uint8))
    manual = {"sub-01_ses-1": by_level(small(1))}
    found = quick(made(1), people([1]), segmenters=[blank], manual_labels=manual)
    assert found.values["mean"] == 0.0 and found.n["failed_pairs"] == 0


def test_below_a_held_out_dice_of_0_7_there_is_no_score():
    def never(moving, fixed):
        raise AssertionError("nothing is to be registered")

    poor = segmenter(segment=by_level, dice=0.69)
    found = quick(made(2), people([1]), segmenters=[poor], register=never)
    assert found.values == {
        "segmenter_held_out_dice": 0.69,
        "segmenter_held_out_dice_brain": 0.69,
    }
    assert "0.690" in found.notes[0] and "0.7" in found.notes[0]
    assert found.n["scored_pairs"] == 0
    enough = segmenter(segment=by_level, dice=0.7)
    assert "mean" in quick(made(2), people([1]), segmenters=[enough]).values


def test_one_poor_segmenter_of_several_is_enough_for_no_score():
    two = [segmenter(segment=by_level, dice=dice) for dice in (0.95, 0.6)]
    found = quick(made(1), people([1]), segmenters=two)
    assert "mean" not in found.values
    assert found.values["segmenter_held_out_dice"] == pytest.approx(0.775)


def test_manual_labels_stand_for_the_real_side():
    reference = people([1])
    manual = {"sub-01_ses-1": np.roll(by_level(small(1)), 1, axis=0)}
    found = quick(made(1), reference, manual_labels=manual)
    expected = dice_per_structure(by_level(small(1)), manual["sub-01_ses-1"], SMALL)
    assert found.per_scan["sample-0 on sub-01_ses-1"] == expected
    assert found.settings["real_labels"] == "manual"


# -- people ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generated", "reference", "seen", "named"),
    [
        (people([1, 2]), people([2, 3]), (), "on both sides: sub-02"),
        (people([1]), people([2, 3]), {"sub-03"}, "trained on sub-03 of the reference side"),
        (people([1]), people([2, 3]), {"sub-01"}, "trained on sub-01 of the generated side"),
        ({}, people([2]), (), "no generated"),
        (made(1), {}, (), "no reference"),
    ],
)
def test_people_on_two_sides_are_refused(generated, reference, seen, named):
    with pytest.raises(MeasurementError, match=named):
        quick(generated, reference, segmenters=[segmenter(seen, segment=by_level)])


def test_another_scan_of_a_person_is_that_person():
    with pytest.raises(MeasurementError, match="on both sides: sub-01"):
        quick({"sub-01_ses-2": small(1)}, people([1]))


def test_cross_fitted_segmenters_measure_only_whom_they_never_saw():
    """Persons 1 to 4 are unseen by the first segmenter, 5 to 8 by the second."""
    first, second = people([1, 2, 5, 6]), people([3, 4, 7, 8])
    asked = []

    def fitted(number, seen):
        def labels(volume):
            asked.append((number, volume))
            return by_level(volume)

        return segmenter([f"sub-{name:02d}" for name in seen], segment=labels)

    two = [fitted(0, [5, 6, 7, 8]), fitted(1, [1, 2, 3, 4])]
    pairs = choose_pairs(first, second, two)
    assert len(pairs) == 8
    for one, other, number in pairs:
        assert not two[number].saw(one) and not two[number].saw(other)
        assert number == (0 if int(one[4:6]) < 5 else 1)
    found = quick(first, second, segmenters=two)
    assert found.n["scored_pairs"] == 8 and {number for number, _ in asked} == {0, 1}


def test_pairs_that_no_segmenter_can_judge_are_refused():
    two = [segmenter(["sub-01"]), segmenter(["sub-02"])]
    with pytest.raises(MeasurementError, match="neither side"):
        choose_pairs(people([1]), people([2]), two)


def test_real_ids_that_name_no_people_are_said():
    found = quick(made(1), {"scan-1": small(2)})
    assert any("name no people" in note for note in found.notes)


# -- which pairs, and in which order ---------------------------------------------------------------


def test_pairs_are_drawn_by_the_seed_alone():
    generated, reference = [f"sample-{n}" for n in range(40)], [f"sub-{n}" for n in range(12)]
    one = choose_pairs(generated, reference, [segmenter()], seed=1)
    assert one == choose_pairs(generated[::-1], reference[::-1], [segmenter()], seed=1)
    assert one != choose_pairs(generated, reference, [segmenter()], seed=2)
    assert len(one) == len(set(one)) == 100
    drawn = {name: sum(pair[0] == name for pair in one) for name, _, _ in one}
    assert len(drawn) == 20 and set(drawn.values()) == {5}
    assert [pair[1] for pair in one] == sorted(pair[1] for pair in one)


@pytest.mark.parametrize("pairs_at_once", [1, 4, 100])
def test_the_result_depends_neither_on_the_pool_nor_on_the_batch(pairs_at_once):
    generated, reference = made(4), people([1, 2, 3])
    with ThreadPoolExecutor(2) as pool:
        found = quick(generated, reference, run_map=pool.map, pairs_at_once=pairs_at_once)
    assert found == quick(generated, reference)


def test_other_processes_can_do_the_work():
    def as_if_elsewhere(function, jobs):
        function = pickle.loads(pickle.dumps(function))
        return [function(pickle.loads(pickle.dumps(job))) for job in jobs]

    generated, reference = made(2), people([1])
    found = quick(generated, reference, run_map=as_if_elsewhere)
    assert found == quick(generated, reference)
    assert pickle.loads(pickle.dumps(register)).keywords["options"] == COARSE


def test_volumes_are_read_no_more_at_once_than_asked():
    class Lazy(dict):
        """Counts reads."""

        reads = 0

        def __getitem__(self, key):
            Lazy.reads += 1
            return super().__getitem__(key)

    segmented = []

    def labels(volume):
        segmented.append(volume)
        return by_level(volume)

    quick(
        Lazy(made(4)),
        Lazy(people([1, 2, 3])),
        segmenters=[segmenter(segment=labels)],
        pairs_at_once=4,
    )
    assert len(segmented) == 7, "each volume is segmented once"
    assert Lazy.reads == 3 * (4 + 1), "a batch of four pairs has four made volumes, one real"


# -- bad input -------------------------------------------------------------------------------------


def _without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


@pytest.mark.parametrize(
    ("generated", "reference", "how", "named"),
    [
        (made(1), {"sub-1": small(1)[1:]}, {}, "sub-1: volume"),
        (made(1), {"sub-1": small(1) * np.nan}, {}, "sub-1: a voxel is not finite"),
        ({"sample-0": small(1) * np.nan}, people([1]), {}, "sample-0: a voxel is not finite"),
        (made(1), {"sub-1": small(1) * 0}, {}, "sub-1: the volume is constant"),
        (made(1), people([1]), {"manual_labels": {}}, "no manual labels of sub-01_ses-1"),
        (
            made(1),
            people([1]),
            {"manual_labels": {"sub-01_ses-1": by_level(small(1))[1:]}},
            "sub-01_ses-1: labels",
        ),
        (
            made(1),
            people([1]),
            {"manual_labels": {"sub-01_ses-1": by_level(small(1)) * 0}},
            "no structure",
        ),
        (made(1), people([1]), {"segmenters": []}, "no segmenter"),
        (
            made(1),
            people([1]),
            {"segmenters": [FittedSegmenter(by_level, frozenset(), {})]},
            "not known",
        ),
    ],
)
def test_what_cannot_be_scored_is_named(generated, reference, how, named):
    with pytest.raises(MeasurementError, match=named):
        quick(generated, reference, **how)


def test_a_structure_that_neither_side_has_is_said():
    found = quick(made(2), people([1]), structures=SMALL | {9: "nowhere"})
    assert "nowhere" not in found.values and found.n["scored_structures"] == 3
    assert any("nowhere: in neither label map of 2 pairs" in note for note in found.notes)
