"""Deformations of known size."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.controls.deformations import (
    affine_displacement,
    deform_labels,
    deform_volume,
    random_affine,
    random_displacement,
)
from genmorph.errors import MeasurementError

VOXEL_MM = 4.0
SHAPE = (38, 46, 38)


def ball(size=1.0):
    """An ellipsoid of a brain's radii, or part of it."""
    middle = (np.asarray(SHAPE) - 1) / 2.0
    places = zip(np.indices(SHAPE), middle, (66.0, 84.0, 66.0), strict=True)
    return sum(((i - c) * VOXEL_MM / radius) ** 2 for i, c, radius in places) <= size**2


def shells():
    """Four labels, one inside the other."""
    return sum(ball(size).astype(np.uint8) for size in (1.0, 0.75, 0.55, 0.3))


def dice(first, second):
    labels = np.unique(first)[1:]
    return np.mean(
        [
            2 * ((first == k) & (second == k)).sum() / ((first == k).sum() + (second == k).sum())
            for k in labels
        ]
    )


@pytest.mark.parametrize("rms_mm", [0.0, 1.0, 8.0])
def test_a_displacement_has_the_size_asked_for_and_no_affine_part(rms_mm):
    mask = ball()
    displacement = random_displacement(mask, VOXEL_MM, rms_mm, 3)
    inside = displacement[:, mask].astype(np.float64)
    assert displacement.shape == (3, *SHAPE) and displacement.dtype == np.float32
    assert np.sqrt((inside**2).sum(axis=0).mean()) == pytest.approx(rms_mm, rel=1e-4, abs=1e-12)
    design = np.stack([np.ones(mask.sum()), *np.indices(SHAPE)[:, mask]])
    assert np.abs(design @ inside.T).max() <= 1e-3 * np.abs(design).sum(axis=1).max()


def test_one_seed_gives_one_shape_of_displacement():
    mask = ball()
    small, large = (random_displacement(mask, VOXEL_MM, rms, 3) for rms in (1.0, 4.0))
    np.testing.assert_allclose(large, 4.0 * small, rtol=1e-4, atol=1e-5)
    assert small.tobytes() == random_displacement(mask, VOXEL_MM, 1.0, 3).tobytes()
    assert np.abs(small - random_displacement(mask, VOXEL_MM, 1.0, 4)).max() > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_overlap_falls_with_size_and_nothing_folds_up_to_8_mm(seed):
    labels = shells()
    scores = [
        dice(labels, deform_labels(labels, random_displacement(labels > 0, 4.0, rms, seed), 4.0))
        for rms in (0.0, 2.0, 4.0, 6.0, 8.0)
    ]
    assert scores[0] == 1.0
    assert np.all(np.diff(scores) < 0.0)


def test_labels_stay_labels_and_volumes_become_mixed():
    labels = shells() * np.uint8(7)
    displacement = random_displacement(labels > 0, VOXEL_MM, 3.0, 0)
    moved = deform_labels(labels, displacement, VOXEL_MM)
    assert moved.dtype == labels.dtype and set(np.unique(moved)) == set(np.unique(labels))
    volume = deform_volume(labels.astype(np.float64), displacement, VOXEL_MM)
    assert volume.dtype == np.float32 and len(np.unique(volume)) > 10


def test_a_shift_by_whole_voxels_is_exact():
    labels = shells()
    displacement = np.zeros((3, *SHAPE), np.float32)
    displacement[1] = 2 * VOXEL_MM
    for deform in (deform_labels, deform_volume):
        moved = deform(labels, displacement, VOXEL_MM)
        np.testing.assert_array_equal(moved[:, :-2], labels[:, 2:])
        assert not moved[:, -2:].any()


def test_affine_transforms_stay_within_their_bounds_and_turn_about_the_middle():
    matrices = [random_affine(seed) for seed in range(50)]
    volumes = [np.linalg.det(matrix[:3, :3]) for matrix in matrices]
    assert min(volumes) >= 1.1**-3 and max(volumes) <= 1.1**3 and np.std(volumes) > 0.02
    assert all(np.abs(matrix[:3, 3]).max() <= 5.0 for matrix in matrices)
    turn = random_affine(1, scale=0.0, shear=0.0, translation_mm=0.0)
    np.testing.assert_allclose(turn[:3, :3] @ turn[:3, :3].T, np.eye(3), atol=1e-12)
    assert not np.allclose(turn, np.eye(4), atol=1e-3)
    np.testing.assert_array_equal(random_affine(1), random_affine(1))
    shape = (5, 5, 5)
    displacement = affine_displacement(turn, shape, VOXEL_MM)
    np.testing.assert_allclose(displacement[:, 2, 2, 2], 0.0, atol=1e-6)
    expected = (turn[:3, :3] - np.eye(3)) @ [0.0, 0.0, 2 * VOXEL_MM]
    np.testing.assert_allclose(displacement[:, 2, 2, 4], expected, atol=1e-5)


def test_the_affine_part_is_taken_out_over_the_mask():
    """So a least-squares affine fit of the displacement is no better than none."""
    mask = ball()
    displacement = random_displacement(mask, VOXEL_MM, 6.0, 2)[:, mask].astype(np.float64)
    design = np.stack([np.ones(mask.sum()), *np.indices(SHAPE)[:, mask]]).T
    _, residual, *_ = np.linalg.lstsq(design, displacement.T, rcond=None)
    assert residual.sum() == pytest.approx((displacement**2).sum(), rel=1e-6)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: random_displacement(np.zeros(SHAPE, bool), 4.0, 1.0, 0), "five voxels"),
        (lambda: random_displacement(ball(), 4.0, -1.0, 0), "-1"),
        (lambda: random_displacement(ball(), 4.0, float("nan"), 0), "nan"),
        (lambda: random_displacement(ball(), 4.0, 40.0, 0), "folds"),
        (lambda: deform_labels(shells(), np.zeros((3, 2, 2, 2)), 4.0), "own grid"),
    ],
)
def test_what_cannot_be_done_is_refused(make, named):
    with pytest.raises(MeasurementError, match=named):
        make()
