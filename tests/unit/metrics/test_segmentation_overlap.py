"""Overlap of segments by hand, on made maps, and Wilcoxon's test against scipy and all signs."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.segmentation_overlap import (
    compare_overlaps,
    hard_segments,
    measure_segmentation_overlap,
    overlap,
)

TISSUES = ("CSF", "GM", "WM")
GRID = (12, 13, 14)


def maps(seed=0, *, brain=True):
    """Random probabilities that add up to 1 inside a box."""
    drawn = np.random.default_rng(seed).dirichlet((1, 1, 1), GRID).astype(np.float32)
    inside = np.zeros(GRID, dtype=np.float32)
    inside[2:-2, 2:-2, 2:-2] = float(brain)
    return {tissue: drawn[..., number] * inside for number, tissue in enumerate(TISSUES)}


def changed(own, share, seed=1):
    """The same maps with a share of the voxels replaced."""
    other = maps(seed)
    where = np.random.default_rng(seed).random(GRID) < share
    return {tissue: np.where(where, other[tissue], own[tissue]) for tissue in TISSUES}


def boxes(*columns):
    """A map of certain tissue in some columns of a 1 x 1 x 10 grid."""
    volume = np.zeros((1, 1, 10), dtype=np.float32)
    volume[..., list(columns)] = 1
    return volume


def pairs(n=6, share=0.2):
    return [(f"sub-{k:02d}_ses-1", maps(k), changed(maps(k), share, k + 100)) for k in range(n)]


# -- overlap --------------------------------------------------------------------------------------


def test_overlap_by_hand():
    found = overlap(boxes(0, 1, 2, 3) > 0, boxes(2, 3, 4, 5, 6, 7) > 0)
    assert found["dice"] == pytest.approx(2 * 2 / 10)
    assert found["volumetric_similarity"] == pytest.approx(1 - 2 / 10)
    apart = overlap(boxes(0, 1) > 0, boxes(5, 6) > 0)
    assert apart == {"dice": 0.0, "volumetric_similarity": 1.0}
    assert overlap(boxes() > 0, boxes(1) > 0) == {"dice": 0.0, "volumetric_similarity": 0.0}
    assert overlap(boxes() > 0, boxes() > 0) == {}


def test_hard_labels_are_the_argmax_inside_the_brain():
    own = maps(3)
    own["GM"][5, 5, 5] = own["WM"][5, 5, 5] = own["CSF"][5, 5, 5] = 0.1  # 0.3 in all: no brain
    found = hard_segments(own, 0.5)
    stack = np.stack([own[tissue] for tissue in TISSUES])
    label = np.where(stack.sum(0, dtype=np.float64) > 0.5, stack.argmax(0), -1)
    for number, tissue in enumerate(TISSUES):
        assert np.array_equal(found[tissue], label == number)
    assert not any(segment[5, 5, 5] for segment in found.values())
    assert any(segment[5, 5, 5] for segment in hard_segments(own, 0.2).values())


def test_the_order_of_tissues_does_not_change_labels():
    own = maps(3)
    own["GM"][5, 5, 5] = own["WM"][5, 5, 5]
    turned = {tissue: own[tissue] for tissue in reversed(TISSUES)}
    for tissue, segment in hard_segments(own, 0.5).items():
        assert np.array_equal(segment, hard_segments(turned, 0.5)[tissue])


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_a_segmentation_overlaps_itself_by_one(labels):
    found = measure_segmentation_overlap([("sub-1", maps(), maps())], labels=labels)
    assert list(found.values.values()) == pytest.approx([1.0] * 6)
    assert not found.spread


def test_hard_dice_is_that_of_a_confusion_matrix():
    """Against scikit-learn's F1 of each class, which is Dice."""
    from sklearn.metrics import f1_score

    original, reconstruction = maps(0), changed(maps(0), 0.3)
    found = measure_segmentation_overlap([("sub-1", original, reconstruction)])
    labels = []
    for own in (original, reconstruction):
        stack = np.stack([own[tissue] for tissue in TISSUES])
        labels.append(np.where(stack.sum(0) > 0.5, stack.argmax(0), -1).ravel())
    scores = f1_score(*labels, labels=[0, 1, 2], average=None)
    assert [found.values[f"dice_{tissue}"] for tissue in TISSUES] == pytest.approx(list(scores))


def test_soft_overlap_by_hand():
    original = {"GM": np.array([[[0.5, 1.0]]]), "WM": np.array([[[0.5, 0.0]]])}
    reconstruction = {"GM": np.array([[[0.25, 0.75]]]), "WM": np.array([[[0.75, 0.25]]])}
    found = measure_segmentation_overlap([("a", original, reconstruction)], labels="soft").values
    assert found["dice_GM"] == pytest.approx(2 * 1.0 / 2.5)
    assert found["dice_WM"] == pytest.approx(2 * 0.5 / 1.5)
    assert found["volumetric_similarity_GM"] == pytest.approx(1 - 0.5 / 2.5)


def test_more_change_overlaps_less():
    dice = [
        measure_segmentation_overlap(pairs(2, share)).values["dice_GM"] for share in (0, 0.1, 0.4)
    ]
    assert dice[0] == 1 > dice[1] > dice[2]


def test_a_person_counts_once_and_every_scan_is_kept():
    own = pairs(3)
    again = [(f"sub-00_ses-{k}", maps(k), changed(maps(k), 0.5, k)) for k in (2, 3)]
    found = measure_segmentation_overlap(iter(own + again))
    dice = {scan: values["dice_WM"] for scan, values in found.per_scan.items()}
    first = np.mean([dice["sub-00_ses-1"], dice["sub-00_ses-2"], dice["sub-00_ses-3"]])
    of_people = [first, dice["sub-01_ses-1"], dice["sub-02_ses-1"]]
    assert found.values["dice_WM"] == pytest.approx(np.mean(of_people))
    assert found.spread["dice_WM"] == pytest.approx(np.std(of_people, ddof=1))
    assert found.n == {"scans": 5, "reference_scans": 5, "reference_people": 3}
    assert found.settings["spread_over"] == "people"


def test_tissue_in_neither_segmentation_is_not_available():
    empty = {**maps(), "CSF": np.zeros(GRID, np.float32)}
    found = measure_segmentation_overlap([("sub-1", empty, empty), ("sub-2", maps(), maps())])
    assert "dice_CSF" not in found.per_scan["sub-1"]
    assert found.values["dice_CSF"] == 1
    assert "dice_CSF" not in found.spread
    assert found.notes == ("CSF of sub-1: n/a, in neither segmentation.",)
    nowhere = measure_segmentation_overlap([("sub-1", empty, empty)])
    assert "dice_CSF" not in nowhere.values
    assert "dice_CSF_difference" not in compare_overlaps(nowhere, nowhere).values


def test_an_empty_reconstruction_overlaps_nowhere_and_is_noted():
    found = measure_segmentation_overlap([("sub-1", maps(), maps(brain=False))])
    assert set(found.values.values()) == {0.0}
    assert "no tissue was found in the reconstruction" in found.notes[0]


@pytest.mark.parametrize(
    ("original", "reconstruction", "message"),
    [
        (maps(brain=False), maps(), "the original has no tissue"),
        ({**maps(), "GM": np.full(GRID, np.nan)}, maps(), "original: GM has a voxel that is not"),
        (maps(), {**maps(), "GM": np.full(GRID, np.inf)}, "reconstruction: GM has a voxel"),
        (maps(), {**maps(), "GM": np.full(GRID, 2.0)}, "no probability"),
        (maps(), {**maps(), "GM": np.full(GRID, -0.5)}, "no probability"),
        (maps(), dict.fromkeys(TISSUES, np.full(GRID, 0.9)), "add up to 2.7"),
        (maps(), {tissue: maps()[tissue][1:] for tissue in TISSUES}, "grids"),
        (maps(), {"GM": maps()["GM"]}, "tissues GM, elsewhere CSF, GM, WM"),
        ({}, {}, "no tissue"),
    ],
)
def test_bad_maps_are_refused(original, reconstruction, message):
    with pytest.raises(MeasurementError, match=f"sub-1.*{message}"):
        measure_segmentation_overlap([("sub-1", original, reconstruction)])


def test_bad_input_is_refused():
    with pytest.raises(MeasurementError, match="no pairs"):
        measure_segmentation_overlap([])
    with pytest.raises(MeasurementError, match="sub-00_ses-1 twice"):
        measure_segmentation_overlap(pairs(1) * 2)
    with pytest.raises(MeasurementError, match="labels 'fuzzy'"):
        measure_segmentation_overlap(pairs(1), labels="fuzzy")
    with pytest.raises(MeasurementError, match="brain_threshold 1"):
        measure_segmentation_overlap(pairs(1), brain_threshold=1)


# -- comparison -----------------------------------------------------------------------------------


def measured(dice, *, ids=None, **changes):
    """A measurement with these Dice values of GM, one a scan."""
    ids = ids or [f"sub-{number:03d}" for number in range(len(dice))]
    per_scan = {
        scan: {"dice_GM": value, "volumetric_similarity_GM": 0.9}
        for scan, value in zip(ids, dice, strict=True)
    }
    settings = {"tissues": ["GM"], "labels": "hard", **changes}
    return Measurement("segmentation_overlap", {}, {"scans": len(ids)}, settings, per_scan=per_scan)


@pytest.mark.parametrize("n", [9, 22, 50])
def test_p_is_scipys(n):
    rng = np.random.default_rng(n)
    first, second = rng.normal(0.86, 0.02, n), rng.normal(0.85, 0.02, n)
    found = compare_overlaps(measured(first), measured(second)).values
    assert found["dice_GM_p"] == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert found["dice_GM_difference"] == pytest.approx((first - second).mean())
    assert found["dice_GM_smallest_p"] == 2.0 ** (1 - n)


def test_many_people_take_the_normal_approximation_and_say_so():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.86, 0.02, 80), rng.normal(0.855, 0.02, 80)
    found = compare_overlaps(measured(first), measured(second))
    expected = stats.wilcoxon(first, second, method="asymptotic").pvalue
    assert found.values["dice_GM_p"] == pytest.approx(expected)
    assert "normal approximation, 80 people" in found.notes[0]


def test_ties_are_exact_against_all_signs():
    """Two decimals, as tables print them: equal differences, and some of floating noise."""
    first = np.array([0.81, 0.82, 0.83, 0.84, 0.85, 0.86, 0.87, 0.88, 0.90, 0.80])
    second = np.array([0.80, 0.81, 0.82, 0.83, 0.83, 0.84, 0.85, 0.89, 0.86, 0.80])
    differences = np.round(first - second, 2)
    left = differences[differences != 0]
    ranks = stats.rankdata(np.abs(left))
    sums = np.array([ranks @ signs for signs in itertools.product((0, 1), repeat=len(left))])
    own = ranks[left > 0].sum()
    expected = 2 * min((sums >= own).mean(), (sums <= own).mean())
    found = compare_overlaps(measured(first), measured(second), alpha=0.05).values
    assert found["dice_GM_p"] == pytest.approx(expected)
    assert found["dice_GM_smallest_p"] == 2.0**-8


@pytest.mark.parametrize(("n", "tested"), [(7, False), (8, True)])
def test_too_few_people_for_alpha_give_no_p(n, tested):
    """2^-6 = 0.0156 of seven people lies above 0.01; 2^-7 = 0.0078 of eight below."""
    second = np.linspace(0.7, 0.8, n)
    first = second + np.linspace(0.01, 0.03, n)
    found = compare_overlaps(measured(first), measured(second))
    assert found.values["dice_GM_smallest_p"] == 2.0 ** (1 - n)
    if tested:
        # all differences of one sign: the least p there is
        assert found.values["dice_GM_p"] == pytest.approx(2.0 ** (1 - n))
        assert found.values["dice_GM_significant"] == 1
    else:
        assert "dice_GM_p" not in found.values
        assert "dice_GM_significant" not in found.values
        assert "test n/a, 7 people with a difference allow no p below 0.0156" in found.notes[0]


def test_people_without_a_difference_are_left_out():
    first, second = np.linspace(0.7, 0.8, 12), np.linspace(0.7, 0.8, 12)
    first[:5] += 0.01
    found = compare_overlaps(measured(first), measured(second))
    assert found.values["dice_GM_smallest_p"] == 2.0**-4
    assert "dice_GM_p" not in found.values
    assert any("volumetric_similarity_GM: test n/a, no person has" in note for note in found.notes)


def test_one_difference_a_person():
    """Ten people scanned three times are ten, not thirty."""
    rng = np.random.default_rng(5)
    ids = [f"sub-{person}_ses-{visit}" for person in range(10) for visit in range(3)]
    first, second = rng.normal(0.86, 0.02, 30), rng.normal(0.85, 0.02, 30)
    found = compare_overlaps(measured(first, ids=ids), measured(second, ids=ids)).values
    of_people = (first - second).reshape(10, 3).mean(1)
    assert found["dice_GM_p"] == pytest.approx(stats.wilcoxon(of_people).pvalue)
    assert found["dice_GM_smallest_p"] == 2.0**-9


def test_order_of_scans_does_not_matter_and_sides_turn_the_sign():
    rng = np.random.default_rng(6)
    first, second = measured(rng.random(12)), measured(rng.random(12))
    turned = replace(second, per_scan=dict(reversed(second.per_scan.items())))
    one, other = compare_overlaps(first, turned), compare_overlaps(second, first)
    assert one.values["dice_GM_p"] == pytest.approx(other.values["dice_GM_p"])
    assert one.values["dice_GM_difference"] == pytest.approx(-other.values["dice_GM_difference"])


def test_false_positives_come_at_the_level():
    rng = np.random.default_rng(7)
    rejected = sum(
        compare_overlaps(
            measured(rng.normal(0.8, 0.02, 20)), measured(rng.normal(0.8, 0.02, 20)), alpha=0.05
        ).values["dice_GM_significant"]
        for _ in range(600)
    )
    low, high = stats.binom.interval(0.999, 600, 0.05)
    assert low <= rejected <= high


def test_what_is_missing_in_one_measurement_is_left_out_and_noted():
    first, second = measured(np.linspace(0.7, 0.8, 12)), measured(np.linspace(0.6, 0.75, 12))
    del second.per_scan["sub-003"]["dice_GM"]
    found = compare_overlaps(first, second)
    assert found.values["dice_GM_smallest_p"] == 2.0**-10
    assert "dice_GM: without sub-003" in found.notes[0]


def test_measurements_that_cannot_be_compared_are_refused():
    first = measured([0.8, 0.9])
    with pytest.raises(MeasurementError, match="2 scans in one measurement alone: sub-001, x"):
        compare_overlaps(first, measured([0.8, 0.9], ids=["sub-000", "x"]))
    with pytest.raises(MeasurementError, match="differ in labels"):
        compare_overlaps(first, measured([0.8, 0.9], labels="soft"))
    with pytest.raises(MeasurementError, match="a measurement of reconstruction"):
        compare_overlaps(replace(first, measure="reconstruction"), first)
    with pytest.raises(MeasurementError, match="alpha 1"):
        compare_overlaps(first, first, alpha=1)


def test_two_runs_of_one_measure_are_compared_and_named():
    runs = [
        replace(
            measure_segmentation_overlap(pairs(9, share)),
            data_label="simulated",
        )
        for share in (0.1, 0.4)
    ]
    named = [
        replace(run, settings={**run.settings, "run": {"model": name, "seed": 0}})
        for run, name in zip(runs, ("near", "far"), strict=True)
    ]
    found = compare_overlaps(*named)
    assert found.settings["first"] == {"model": "near", "seed": 0}
    assert found.settings["overlap"]["labels"] == "hard"
    assert found.data_label == "simulated"
    assert all(found.values[f"dice_{tissue}_difference"] > 0 for tissue in TISSUES)
    assert found.values["dice_GM_p"] == pytest.approx(2.0**-8)
    assert Measurement.from_json(found.to_json()) == found
