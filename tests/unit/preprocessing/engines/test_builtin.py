"""Each step against something known: poses and header mistakes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from genmorph.errors import ConfigError, ScanError
from genmorph.preprocessing.engines import Engines, builtin
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import Registration

COARSE = Registration(resolution_mm=4.0, shrink_factors=(2, 1), smoothing_mm=(4.0, 2.0))


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


def test_a_rigid_registration_keeps_the_brains_size():
    image, truth = template_at((20, -5, 8), shift=(10.0, -15.0, 5.0), scale=0.9)
    options = COARSE.model_copy(update={"degrees_of_freedom": "rigid"})
    found = builtin.register_affine(image, options)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(found[:3, :3]), 1.0, atol=1e-6)
    turned = Rotation.from_matrix(found[:3, :3].T @ truth[:3, :3] / 0.9)
    assert np.degrees(turned.magnitude()) < 2.0


def test_versions_name_what_decides_the_result():
    assert set(builtin.versions()) == {"SimpleITK", "deepbet"}
    assert Engines().describe(["registration"]).startswith("builtin (SimpleITK 2.")


def test_an_unknown_engine_is_named():
    with pytest.raises(ConfigError, match="no 'buildin'; did you mean 'builtin'"):
        Engines("buildin")


def test_an_image_without_a_head_has_no_brain():
    from genmorph.preprocessing.steps import BrainExtraction

    data = np.zeros((40, 44, 48), np.float32)
    data[2, 3, 4] = 1.0
    with pytest.raises(ScanError, match="found no brain"):
        builtin.extract_brain(
            Image(data, np.diag([4.0, 4.0, 4.0, 1.0])), BrainExtraction(network_voxels=160)
        )
