"""Each step against something known: poses, header mistakes, resampling of known functions."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from genmorph.errors import ScanError
from genmorph.preprocessing.engines import builtin
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import AffineRegistration, Resample

COARSE = AffineRegistration(resolution_mm=4.0, shrink_factors=(2, 1), smoothing_mm=(4.0, 2.0))


def template_at(degrees, shift=(0.0, 0.0, 0.0), scale=1.0) -> tuple[Image, np.ndarray]:
    """The template at 4 mm in another pose, and the affine that leads there."""
    template = builtin.template()
    turn = np.eye(4)
    turn[:3, :3] = scale * Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    turn[:3, 3] = shift
    data = np.ascontiguousarray(template.data[::4, ::4, ::4])
    return Image(data, turn @ template.affine @ np.diag([4.0, 4.0, 4.0, 1.0])), turn


def largest_error_mm(found: np.ndarray, truth: np.ndarray) -> float:
    points = np.array([[-60, -70, 0, 1], [55, 40, 30, 1], [0, -20, -60, 1], [20, 0, 75, 1]]).T
    return float(np.linalg.norm(((found - truth) @ points)[:3], axis=0).max())


@pytest.mark.parametrize(
    ("degrees", "scale"),
    [((0, 0, 0), 1.0), ((25, 0, 0), 0.9), ((-50, 5, 0), 1.1), ((15, -12, 18), 1.0)],
)
def test_a_head_in_any_usual_pose_is_found(degrees, scale):
    image, truth = template_at(degrees, shift=(12.0, -30.0, 25.0), scale=scale)
    assert largest_error_mm(builtin.register_affine(image, COARSE), truth) < 2.0


@pytest.mark.parametrize("degrees", [(90, 0, 0), (0, 0, 180), (0, 90, 0)])
def test_a_header_that_names_the_wrong_axes_is_found_out(degrees):
    image, _ = template_at(degrees)
    with pytest.raises(ScanError, match="orientation in its header"):
        builtin.register_affine(image, COARSE)


def test_registration_draws_the_same_voxels_each_time():
    image, _ = template_at((7, 0, -4))
    first, second = (builtin.register_affine(image, COARSE) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_linear_function_of_space_survives_resampling():
    """Smoothing and linear interpolation leave a plane as it is, so every value is known."""
    slope, constant = np.array([0.3, -0.2, 0.5]), 100.0
    turn = Rotation.from_euler("xyz", (10, -5, 8), degrees=True).as_matrix()
    image_affine = np.eye(4)
    image_affine[:3, :3] = turn @ np.diag([1.0, 1.3, 0.9])
    image_affine[:3, 3] = (-30, -35, -28)
    shape = (60, 56, 64)
    world = image_affine[:3, :3] @ np.indices(shape).reshape(3, -1) + image_affine[:3, 3:]
    values = (slope @ world + constant).reshape(shape).astype(np.float32)
    to_scan = np.eye(4)
    to_scan[:3, :3] = np.diag([1.05, 0.95, 1.0])
    to_scan[:3, 3] = (1.0, -2.0, 0.5)
    options = Resample(grid=(6, 5, 7), field_of_view_mm=(18, 15, 21))
    grid_affine = np.diag([3.0, 3.0, 3.0, 1.0])
    grid_affine[:3, 3] = (-7, -5, -8)
    image = Image(values, image_affine)
    found, inside = builtin.resample(image, values > 0, to_scan, options, grid_affine)
    grid_world = (to_scan @ grid_affine)[:3, :3] @ np.indices(options.grid).reshape(3, -1)
    expected = slope @ (grid_world + (to_scan @ grid_affine)[:3, 3:]) + constant
    assert inside.all()
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-4)


def test_resampling_agrees_with_nilearn_where_nothing_is_smoothed():
    from nilearn.image import resample_img

    rng = np.random.default_rng(2)
    data = rng.random((20, 24, 18)).astype(np.float32) + 0.5
    affine = np.diag([3.0, 2.5, 3.5, 1.0])
    affine[:3, 3] = (-20, -25, -15)
    options = Resample(grid=(9, 11, 7), field_of_view_mm=(18, 22, 14))
    grid_affine = np.diag([2.0, 2.0, 2.0, 1.0])
    grid_affine[:3, 3] = (-3, -4, 2)
    ours, _ = builtin.resample(Image(data, affine), data > 0, np.eye(4), options, grid_affine)
    theirs = resample_img(
        nib.Nifti1Image(data, affine),
        target_affine=grid_affine,
        target_shape=options.grid,
        interpolation="linear",
        force_resample=True,
        copy_header=True,
    ).get_fdata()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_fine_stripes_do_not_alias():
    stripes = np.zeros((48, 48, 48), np.float32)
    stripes[::2] = 1.0
    options = Resample(grid=(12, 12, 12), field_of_view_mm=(48, 48, 48))
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    whole = np.ones_like(stripes, dtype=bool)
    volume, _ = builtin.resample(Image(stripes, np.eye(4)), whole, np.eye(4), options, affine)
    assert abs(volume[2:-2, 2:-2, 2:-2] - 0.5).max() < 0.02


def test_intensities_are_scaled_inside_the_brain_only():
    volume = np.linspace(-50, 150, 1000, dtype=np.float32).reshape(10, 10, 10)
    inside = (volume > 0) & (volume < 100)
    scaled = builtin.scale_intensities(volume, inside, (10.0, 90.0))
    low, high = np.percentile(volume[inside], (10, 90))
    assert (scaled[~inside] == 0).all() and (scaled[inside] > 0).all()
    between = inside & (volume > low + 1) & (volume < high)
    np.testing.assert_allclose(scaled[between], (volume[between] - low) / (high - low), atol=1e-6)
    assert scaled.max() == 1.0
    with pytest.raises(ScanError, match="no contrast"):
        builtin.scale_intensities(np.ones_like(volume), inside, (10.0, 90.0))


def test_an_image_without_a_head_has_no_brain():
    from genmorph.preprocessing.steps import BrainExtraction

    data = np.zeros((40, 44, 48), np.float32)
    data[2, 3, 4] = 1.0
    with pytest.raises(ScanError, match="found no brain"):
        builtin.extract_brain(
            Image(data, np.diag([4.0, 4.0, 4.0, 1.0])), BrainExtraction(network_voxels=160)
        )
