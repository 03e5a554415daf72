"""The sanity gate: measures of known brains, limits, and who differs from a cohort."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.preprocessing import gate
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import BrainExtraction, Registration, Resample


def three_tissues():
    """A block of three intensities in known shares, 2 mm voxels, and its mask."""
    rng = np.random.default_rng(0)
    data = np.zeros((20, 24, 20))
    data[5:15, 2:6], data[5:15, 6:14], data[5:15, 14:22] = 20, 60, 100
    mask = data > 0
    data[mask] += rng.normal(0, 3, mask.sum())
    return Image(data.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])), mask


def test_volumes_of_three_classes_are_found():
    image, mask = three_tissues()
    quality = gate.measure_brain(image, image, mask)
    assert quality["brain_ml"] == pytest.approx(mask.sum() * 0.008)
    shares = [quality[f"{name}_like_ml"] / quality["brain_ml"] for name in ("csf", "grey", "white")]
    np.testing.assert_allclose(shares, [0.2, 0.4, 0.4], atol=0.01)
    assert quality["variation_before"] == quality["variation_after"]


def test_a_constant_brain_has_no_classes():
    image = Image(np.ones((8, 8, 8), np.float32), np.eye(4))
    assert np.isnan(gate.measure_brain(image, image, image.data > 0)["grey_like_ml"])


def test_the_area_on_a_face_is_in_square_centimetres():
    mask = np.zeros((10, 10, 10), bool)
    mask[3:7, 2:7, :4] = True  # on the lower z face alone
    assert gate.edge_area_cm2(mask, np.array([2.0, 3.0, 5.0])) == pytest.approx(20 * 6 / 100)
    mask[:, :, 0] = False
    assert gate.edge_area_cm2(mask, np.ones(3)) == 0


GOOD = {
    "brain_ml": 1400.0,
    "edge_cm2": 5.0,
    "cut_fraction": 0.001,
    "affine_scale": 1.2,
    "template_overlap": 0.95,
    "template_correlation": 0.7,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"brain_ml": 300.0}, "would have 300 ml"),
        ({"edge_cm2": 60.0}, "cut off: 60 cm2"),
        ({"cut_fraction": 0.05}, "5.0 % of the brain lie beyond the grid"),
        ({"affine_scale": 3.0}, "scales the brain's volume by 3.00"),
        ({"template_overlap": 0.7}, "overlap by 0.70"),
        ({"template_correlation": 0.1}, "correlate 0.10"),
        ({"template_correlation": float("nan")}, "correlate nan"),
    ],
)
def test_each_limit_has_its_reason(change, words):
    quality = GOOD | change
    problems = [
        gate.brain_problem(quality, BrainExtraction(), skull_stripped=False),
        gate.grid_problem(quality, Resample(grid=(8, 8, 8), field_of_view_mm=(8, 8, 8))),
        gate.registration_problem(quality, Registration(), 1.0),
    ]
    found = [problem for problem in problems if problem]
    if words is None:
        assert not found
    else:
        assert len(found) == 1 and words in found[0]


def test_a_small_brain_that_keeps_its_size_is_judged_by_what_it_can_reach():
    template = np.zeros((20, 20, 20), bool)
    template[2:18, 2:18, 2:18] = True
    small = np.zeros_like(template)
    small[5:15, 5:15, 5:15] = True
    largest = gate.largest_dice(small, template)
    assert gate.dice(small, template) == pytest.approx(largest)
    quality = GOOD | {"template_overlap": gate.dice(small, template)}
    assert quality["template_overlap"] < Registration().least_overlap
    assert gate.registration_problem(quality, Registration(), largest) is None
    quality["template_overlap"] = gate.dice(np.roll(small, 5, axis=0), template)
    assert "overlap" in gate.registration_problem(quality, Registration(), largest)


def cohort(n=20):
    """Status rows with brain volumes around 1500 ml."""
    rng = np.random.default_rng(1)
    return [
        {"status": "ok", "brain_ml": f"{1500 + 50 * z:.4f}", "edge_cm2": "0.0000"}
        for z in rng.normal(size=n)
    ]


def test_a_scan_unlike_its_cohort_is_marked_with_the_measure():
    rows = cohort()
    assert gate.mark_outliers(rows) == [[] for _ in rows]
    rows[3]["brain_ml"] = "900.0000"
    marks = gate.mark_outliers(rows)
    assert marks[3] == ["brain_ml"] and sum(map(len, marks)) == 1
    values = np.array([float(row["brain_ml"]) for row in rows])
    middle = np.median(values)
    expected = (900 - middle) / (1.4826 * np.median(np.abs(values - middle)))
    assert gate.robust_z(rows)["brain_ml"][3] == pytest.approx(expected)


def test_failed_scans_neither_count_nor_are_marked():
    rows = cohort()
    before = gate.robust_z(rows)["brain_ml"]
    rows += [{"status": "failed", "brain_ml": "90.0"}, {"status": "failed", "brain_ml": None}]
    after = gate.robust_z(rows)["brain_ml"]
    np.testing.assert_array_equal(after[: len(before)], before)
    assert np.isnan(after[-2:]).all()
    assert gate.mark_outliers(rows)[-2:] == [[], []]


def test_few_scans_or_equal_ones_have_no_outliers():
    few = [*cohort(6), {"status": "ok", "brain_ml": "10.0"}]
    assert not any(gate.mark_outliers(few))
    equal = [*cohort(), {"status": "ok", "brain_ml": "1500.0", "edge_cm2": "3.0"}]
    assert not any("edge_cm2" in marks for marks in gate.mark_outliers(equal))
