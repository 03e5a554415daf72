"""Registration of preprocessed volumes: a known affine is found, failures are named."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from genmorph.errors import ScanError
from genmorph.preprocessing.engines import builtin
from genmorph.preprocessing.steps import Registration
from genmorph.preprocessing.volumes import register_volumes

COARSE = Registration(resolution_mm=4.0, shrink_factors=(2, 1), smoothing_mm=(4.0, 2.0))
VOXEL_MM = 4.0
GRID = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])


def template() -> np.ndarray:
    return np.ascontiguousarray(builtin.template().data[::4, ::4, ::4])


def moved_by(volume: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The volume stretched, turned and shifted, and voxels of the volume to its own voxels."""
    to_moved = np.eye(4)
    to_moved[:3, :3] = Rotation.from_euler("xyz", (6, -4, 5), degrees=True).as_matrix()
    to_moved[:3, :3] @= np.diag([1.08, 0.95, 1.04])
    centre = (np.array(volume.shape) - 1) / 2
    to_moved[:3, 3] = centre + [1.5, -1.0, 0.5] - to_moved[:3, :3] @ centre
    pull = np.linalg.inv(to_moved)
    return affine_transform(volume, pull[:3, :3], pull[:3, 3], order=1), to_moved


@pytest.mark.parametrize("lifted", [0.0, 0.03, -1.0])
def test_a_known_affine_is_found(lifted):
    """Also where the background is not quite black, or intensities run from -1 to 1."""
    fixed = template()
    moving, truth = moved_by(fixed)
    if lifted < 0:
        fixed, moving = 2 * fixed + lifted, 2 * moving + lifted
    else:
        moving = moving + np.float32(lifted)
    found = register_volumes(moving, fixed, grid_affine=GRID, options=COARSE)
    voxels = np.argwhere(fixed > fixed.mean())[::50]
    points = np.c_[voxels, np.ones(len(voxels))].T
    error_mm = VOXEL_MM * np.linalg.norm(((found - truth) @ points)[:3], axis=0)
    assert error_mm.mean() < 1.0
    unmoved_mm = VOXEL_MM * np.linalg.norm(((np.eye(4) - truth) @ points)[:3], axis=0)
    assert unmoved_mm.mean() > 5.0


def test_the_same_bytes_each_time():
    fixed = template()
    moving, _ = moved_by(fixed)
    first, second = (
        register_volumes(moving, fixed, grid_affine=GRID, options=COARSE) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_empty_volumes_are_named():
    with pytest.raises(ScanError, match="moving volume is empty"):
        register_volumes(np.zeros_like(template()), template(), grid_affine=GRID, options=COARSE)


def test_an_implausible_change_of_volume_is_a_failure():
    fixed = template()
    strict = COARSE.model_copy(update={"least_scale": 0.99, "most_scale": 1.01})
    with pytest.raises(ScanError, match=r"1\.0\d times as large"):
        register_volumes(moved_by(fixed)[0], fixed, grid_affine=GRID, options=strict)
