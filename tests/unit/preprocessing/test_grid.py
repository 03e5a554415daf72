"""The way onto the grid against known functions; edges, crops and intensities against formulas."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from genmorph.errors import ScanError
from genmorph.preprocessing.grid import (
    centre_content,
    content_box,
    crop,
    cut_fraction,
    resample,
    scale_intensities,
    soften_edge,
)
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import IntensityScaling, Resample


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
    found, inside = resample(image, values > 0, to_scan, options, grid_affine)
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
    ours, _ = resample(Image(data, affine), data > 0, np.eye(4), options, grid_affine)
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
    volume, _ = resample(Image(stripes, np.eye(4)), whole, np.eye(4), options, affine)
    assert abs(volume[2:-2, 2:-2, 2:-2] - 0.5).max() < 0.02


def ball(shape=(40, 44, 36), centre=(20, 21, 18), radius=9.0):
    """A mask of a ball."""
    offset = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (offset**2).sum(axis=0) <= radius**2


def test_a_soft_edge_keeps_the_brain_and_fades_around_it():
    mask = ball()
    weights = soften_edge(mask, np.ones(3), 1.5, "outside")
    assert (weights[mask] == 1).all()
    along = weights[20, 21, 18:]
    assert (np.diff(along) <= 0).all() and along[-1] == 0
    assert ((along > 0.05) & (along < 0.95)).sum() >= 2
    inner = soften_edge(mask, np.ones(3), 1.5, "inside")
    assert (inner[~mask] == 0).all() and 0.3 < inner[mask].min() < 0.7


def test_the_width_of_a_soft_edge_is_in_millimetres():
    fine = soften_edge(ball(), np.ones(3), 2.0, "outside")
    coarse = soften_edge(ball(), np.full(3, 2.0), 2.0, "outside")
    assert fine.sum() > coarse.sum() > ball().sum()


def test_a_crop_leaves_every_voxel_where_it_was():
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (9, 4, -6), degrees=True).as_matrix() * 1.2
    affine[:3, 3] = (-5, 7, 3)
    mask = ball(centre=(25, 15, 18), radius=6.0)
    image = Image(np.random.default_rng(0).random(mask.shape).astype(np.float32), affine)
    box = content_box(mask)
    part = crop(image, box)
    assert part.data.shape == (13, 13, 13) and mask[box].sum() == mask.sum()
    assert part.data[2, 3, 4] == image.data[21, 12, 16]
    np.testing.assert_allclose(part.affine @ [2, 3, 4, 1], affine @ [21, 12, 16, 1])


def test_the_brain_is_centred_wherever_it_lies():
    mask = ball(centre=(12, 30, 14), radius=7.0)
    image = Image(mask.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    options = Resample(grid=(21, 21, 21), field_of_view_mm=(42, 42, 42), centre="content")
    grid_affine = np.diag([2.0, 2.0, 2.0, 1.0])
    grid_affine[:3, 3] = np.asarray(options.centre_mm) - 20
    to_scan = centre_content(image, mask, np.eye(4), options.centre_mm)
    assert cut_fraction(image, mask, to_scan, options.grid, grid_affine) == 0
    _, inside = resample(image, mask, to_scan, options, grid_affine)
    assert content_box(inside) == (slice(3, 18),) * 3


def test_the_share_of_the_brain_beyond_the_grid_is_counted():
    mask = np.zeros((10, 10, 10), bool)
    mask[2:8, 2:8, 2:8] = True
    image = Image(mask.astype(np.float32), np.eye(4))
    assert cut_fraction(image, mask, np.eye(4), (5, 10, 10), np.eye(4)) == pytest.approx(0.5)
    assert cut_fraction(image, mask, np.eye(4), (10, 10, 10), np.eye(4)) == 0


def test_a_whole_head_stays_and_its_brain_is_still_known():
    mask = ball()
    image = Image(np.where(mask, 5.0, 2.0).astype(np.float32), np.eye(4))
    options = Resample(grid=mask.shape, field_of_view_mm=mask.shape)
    kept = np.ones(mask.shape, np.float32)
    volume, inside = resample(image, mask, np.eye(4), options, np.eye(4), kept)
    np.testing.assert_allclose(volume, image.data)
    assert (inside == mask).all()
    scaled = scale_intensities(
        volume, inside, IntensityScaling(method="min_max", within="volume"), brain_only=False
    )
    assert set(np.unique(scaled)) == {0.0, 1.0}


SCALINGS = {
    "percentiles": lambda v: np.percentile(v, (10, 90)),
    "min_max": lambda v: (v.min(), v.max()),
    "robust_min_max": lambda v: (v[v < 500].min(), v[v < 500].max()),
}


@pytest.mark.parametrize("method", SCALINGS)
def test_intensities_are_scaled_by_their_formula_inside_the_brain_only(method):
    volume = np.linspace(-50, 150, 1000, dtype=np.float32).reshape(10, 10, 10)
    inside = (volume > 0) & (volume < 100)
    volume[5, 0, 0] = 5000.0  # a bright vessel, which robust scaling leaves out
    assert inside[5, 0, 0]
    options = IntensityScaling(method=method, percentiles=(10, 90), fence=3.0)
    scaled = scale_intensities(volume, inside, options)
    low, high = SCALINGS[method](volume[inside])
    assert (scaled[~inside] == 0).all() and (scaled[inside] > 0).all()
    expected = np.clip((volume[inside] - low) / (high - low), 1 / 255, 1)
    np.testing.assert_allclose(scaled[inside], expected, atol=1e-6)
    assert scaled.max() == 1.0


def test_percentiles_of_the_volume_count_the_background():
    volume = np.zeros((10, 10, 10), np.float32)
    volume[:5] = np.linspace(100, 200, 500).reshape(5, 10, 10)
    options = IntensityScaling(percentiles=(1, 99), within="volume")
    scaled = scale_intensities(volume, volume > 0, options)
    high = np.percentile(volume, 99)
    np.testing.assert_allclose(scaled[volume > 0], np.minimum(volume[volume > 0] / high, 1), 1e-5)


def test_a_brain_without_contrast_is_refused():
    flat = np.ones((5, 5, 5), np.float32)
    with pytest.raises(ScanError, match="no contrast"):
        scale_intensities(flat, flat > 0, IntensityScaling())
